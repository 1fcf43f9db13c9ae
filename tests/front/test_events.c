/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Whom a notice concerns, what he is told, ids, and the index of listeners.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "front/events.h"
#include "shm/ids.h"

#define LISTENERS 300
#define NOTICES	  3000

static struct hb_listener *
listen_as(uint64_t user, uint32_t group_count, const uint64_t *groups)
{
	struct hb_identity *identity = calloc(1, sizeof(*identity) + group_count * 8);
	struct hb_listener *listener = malloc(hb_listener_bytes(group_count));

	identity->account = user;
	identity->group_count = group_count;
	if (group_count > 0)
		memcpy(identity->groups, groups, group_count * 8);
	hb_listener_init(listener, identity);
	free(identity);
	return listener;
}

static bool
concerns(const struct hb_notice *notice, uint64_t user, uint64_t group)
{
	struct hb_listener *listener = listen_as(user, group != 0, &group);
	bool answer = hb_event_concerns(notice, listener);

	free(listener);
	return answer;
}

static void
a_packet_concerns_sender_members_and_the_recipient(void **state)
{
	struct hb_notice lucky = {
		.kind = HB_NOTICE_GRAB, .packet = 1, .sender = 10, .user = 11, .group = 20};
	struct hb_notice normal = {
		.kind = HB_NOTICE_PACKET, .packet = 1, .sender = 10, .recipient = 12};
	struct hb_notice transfer = {.kind = HB_NOTICE_TRANSFER, .sender = 10, .user = 11};

	(void)state;
	assert_true(concerns(&lucky, 10, 0));
	assert_true(concerns(&lucky, 11, 0));
	assert_true(concerns(&lucky, 99, 20));
	assert_false(concerns(&lucky, 99, 21));
	assert_false(concerns(&lucky, 99, 0));
	/* a group is no user and a user no group, whatever their numbers */
	assert_false(concerns(&lucky, 20, 10));
	assert_true(concerns(&normal, 10, 0));
	assert_true(concerns(&normal, 12, 0));
	assert_false(concerns(&normal, 11, 20));
	assert_true(concerns(&transfer, 10, 0));
	assert_true(concerns(&transfer, 11, 0));
	assert_false(concerns(&transfer, 12, 20));
}

/* ---- texts ---- */

/* The data of an event whose frame around it is right. */
static json_t *
parse(const char *text, uint32_t length, const char *event, const char *id)
{
	char head[96];
	json_t *value;
	int n = snprintf(head, sizeof(head), "event: %s\nid: %s\ndata: ", event, id);

	assert_int_equal(strlen(text), length);
	assert_memory_equal(text, head, (size_t)n);
	assert_string_equal(text + length - 3, "}\n\n");
	assert_ptr_equal(strchr(text + n, '\n'), text + length - 2);
	value = json_loadb(text + n, length - (uint32_t)n - 2, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(value);
	return value;
}

static int64_t
number(const json_t *value, const char *name)
{
	const json_t *field = json_object_get(value, name);

	assert_true(json_is_integer(field));
	return json_integer_value(field);
}

static const char *
string(const json_t *value, const char *name)
{
	const char *text = json_string_value(json_object_get(value, name));

	return text == NULL ? "" : text;
}

static void
a_grab_is_told_with_amounts_and_only_to_its_grabber_with_the_order(void **state)
{
	struct hb_notice notice = {
		.seq = 17,
		.kind = HB_NOTICE_GRAB,
		.allocator = 3,
		.count = 2,
		.packet = hb_id_make(HB_ID_PACKET, 3, 1, 9),
		.sender = 10,
		.user = 11,
		.group = 20,
		.amount_fen = 123,
		.left_fen = 456,
		.order_stamp = UINT64_C(1764000000000) << 14,
		.time_ms = 1764000000000,
		.share = 1,
	};
	char text[HB_EVENT_TEXT_BYTES_MAX];
	json_t *value;

	(void)state;
	value = parse(text, hb_event_text(text, &notice, 0, 1), "grab", "17");
	assert_string_equal(string(value, "packet"), "0130200000000009");
	assert_string_equal(string(value, "kind"), "lucky");
	assert_int_equal(number(value, "group"), 20);
	assert_int_equal(number(value, "sender"), 10);
	assert_int_equal(number(value, "user"), 11);
	assert_int_equal(number(value, "amount_fen"), 123);
	assert_int_equal(number(value, "left_fen"), 456);
	assert_int_equal(number(value, "left_count"), 2);
	assert_int_equal(number(value, "share"), 1);
	assert_int_equal(number(value, "time_ms"), 1764000000000);
	assert_null(json_object_get(value, "order_no"));
	json_decref(value);
	assert_true(hb_event_owns(&notice, 11));
	assert_false(hb_event_owns(&notice, 10));
	value = parse(text, hb_event_text(text, &notice, 11, 1), "grab", "17");
	assert_int_equal(strlen(string(value, "order_no")), 32);
	assert_memory_equal(string(value, "order_no"), "21", 2);
	json_decref(value);
}

static void
two_events_of_one_record_have_two_ids_and_one_may_go_on_between_them(void **state)
{
	struct hb_notice grab = {.seq = 17, .kind = HB_NOTICE_GRAB, .flags = HB_NOTICE_MORE};
	struct hb_notice over = {
		.seq = 17, .part = 1, .kind = HB_NOTICE_OVER, .flags = HB_NOTICE_SOLD};
	char text[HB_EVENT_TEXT_BYTES_MAX];
	json_t *value;

	(void)state;
	json_decref(parse(text, hb_event_text(text, &grab, 0, 1), "grab", "17.0"));
	value = parse(text, hb_event_text(text, &over, 0, 1), "over", "17");
	assert_string_equal(string(value, "reason"), "sold_out");
	json_decref(value);
	assert_true(hb_event_key(&grab) < hb_event_key(&over));
	over.part = 0;
	over.flags = 0;
	over.amount_fen = 50;
	over.sender = 10;
	over.order_stamp = 1;
	value = parse(text, hb_event_text(text, &over, 10, 1), "over", "17");
	assert_string_equal(string(value, "reason"), "expired");
	assert_int_equal(number(value, "refunded_fen"), 50);
	assert_memory_equal(string(value, "order_no"), "22", 2);
	json_decref(value);
}

static void
both_sides_of_a_transfer_hear_their_own_order(void **state)
{
	struct hb_notice notice = {.seq = 5,
		.kind = HB_NOTICE_TRANSFER,
		.sender = 10,
		.user = 11,
		.amount_fen = 7,
		.order_stamp = 1};
	char text[HB_EVENT_TEXT_BYTES_MAX];
	json_t *value;

	(void)state;
	value = parse(text, hb_event_text(text, &notice, 10, 1), "transfer", "5");
	assert_memory_equal(string(value, "order_no"), "30", 2);
	assert_int_equal(number(value, "from"), 10);
	assert_int_equal(number(value, "to"), 11);
	json_decref(value);
	value = parse(text, hb_event_text(text, &notice, 11, 1), "transfer", "5");
	assert_memory_equal(string(value, "order_no"), "31", 2);
	json_decref(value);
}

static void
the_longest_event_fits(void **state)
{
	char text[HB_EVENT_TEXT_BYTES_MAX];

	(void)state;
	for (uint8_t kind = HB_NOTICE_PACKET; kind <= HB_NOTICE_CREDIT; kind++) {
		struct hb_notice notice;

		memset(&notice, 0xff, sizeof(notice));
		notice.kind = kind;
		notice.allocator = 15;
		notice.order_stamp = UINT64_C(253000000000000) << 14;
		notice.amount_fen = notice.left_fen = INT64_MIN;
		/* both a group and a recipient: more than any has */
		assert_true(hb_event_text(text, &notice, UINT64_MAX, 99) < sizeof(text));
	}
}

/* ---- ids ---- */

static void
ids_are_read_as_they_were_written_and_anything_else_is_refused(void **state)
{
	static const char *const bad[] = {"", ".0", "-1", "+1", " 1", "1 ", "1.1", "1.00", "1.0.0",
		"0x1", "1e3", "12345678901234567890", "9999999999999999999", "abc", "1,0"};
	char text[HB_EVENT_ID_BYTES_MAX];
	uint64_t key;

	(void)state;
	for (uint64_t wanted = 0; wanted < 1000; wanted++) {
		uint32_t length = hb_event_id_format(text, wanted);

		assert_true(hb_event_id_parse(text, length, &key));
		assert_int_equal(key, wanted);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hb_event_id_parse(bad[i], strlen(bad[i]), &key));
}

/* ---- the index ---- */

struct told {
	uint32_t count;
	struct hb_listener *listener[LISTENERS];
};

static void
tell(void *context, struct hb_listener *listener)
{
	struct told *told = context;

	assert_true(told->count < LISTENERS);
	told->listener[told->count++] = listener;
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed = hb_mix64(*seed + 1);
	return *seed;
}

/* Small numbers, so that users, senders and groups meet. */
static struct hb_notice
random_notice(uint64_t *seed)
{
	return (struct hb_notice){
		.kind = HB_NOTICE_GRAB,
		.sender = next_random(seed) % 40,
		.user = next_random(seed) % 40,
		.recipient = next_random(seed) % 40,
		.group = next_random(seed) % 40,
	};
}

static void
check_told(const struct told *told, const struct hb_notice *notice,
	struct hb_listener *const *listeners, const bool *in)
{
	uint32_t expected = 0;

	for (uint32_t i = 0; i < LISTENERS; i++) {
		uint32_t times = 0;

		for (uint32_t j = 0; j < told->count; j++)
			times += told->listener[j] == listeners[i];
		assert_int_equal(times, in[i] && hb_event_concerns(notice, listeners[i]));
		expected += times;
	}
	assert_int_equal(expected, told->count);
}

static void
whoever_is_concerned_is_told_once_while_listeners_come_and_go(void **state)
{
	static struct hb_listener *listeners[LISTENERS];
	static bool in[LISTENERS];
	struct hb_event_index *index = hb_event_index_new();
	uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (uint32_t i = 0; i < LISTENERS; i++) {
		uint64_t groups[8];
		uint32_t count = (uint32_t)(next_random(&seed) % 9);

		for (uint32_t j = 0; j < count; j++)
			groups[j] = 1 + next_random(&seed) % 40;
		listeners[i] = listen_as(1 + next_random(&seed) % 40, count, groups);
	}
	for (uint32_t n = 0; n < NOTICES; n++) {
		struct hb_notice notice = random_notice(&seed);
		uint32_t i = (uint32_t)(next_random(&seed) % LISTENERS);
		struct told told = {0};

		if (in[i])
			hb_event_index_remove(listeners[i]);
		else
			hb_event_index_add(index, listeners[i]);
		in[i] = !in[i];
		hb_event_index_each(index, &notice, tell, &told);
		check_told(&told, &notice, listeners, in);
	}
	for (uint32_t i = 0; i < LISTENERS; i++) {
		hb_event_index_remove(listeners[i]);
		hb_event_index_remove(listeners[i]);
		free(listeners[i]);
	}
	hb_event_index_free(index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_concerns_sender_members_and_the_recipient),
		cmocka_unit_test(
			a_grab_is_told_with_amounts_and_only_to_its_grabber_with_the_order),
		cmocka_unit_test(
			two_events_of_one_record_have_two_ids_and_one_may_go_on_between_them),
		cmocka_unit_test(both_sides_of_a_transfer_hear_their_own_order),
		cmocka_unit_test(the_longest_event_fits),
		cmocka_unit_test(ids_are_read_as_they_were_written_and_anything_else_is_refused),
		cmocka_unit_test(whoever_is_concerned_is_told_once_while_listeners_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
