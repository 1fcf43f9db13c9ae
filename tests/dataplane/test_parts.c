/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The dataplane's parts on their own: parking, deadlines, ledger clock, token numbers, key file.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "dataplane/deadlines.h"
#include "dataplane/key_file.h"
#include "dataplane/ledger_clock.h"
#include "dataplane/parking.h"
#include "dataplane/tokens.h"
#include "shm/ids.h"

#define MS   UINT64_C(1000000)
#define S    UINT64_C(1000000000)
#define NOON (UINT64_C(1700000000) * S)

/* --- parking --- */

static void
parked_replies_leave_in_order_and_whole(void **state)
{
	union {
		struct hb_reply head;
		uint8_t bytes[HB_REPLY_BYTES_MAX];
	} reply;
	uint32_t seed = (uint32_t)time(NULL), state_now = seed;
	uint64_t pushed = 0, popped = 0;
	struct hb_parking parking;

	(void)state;
	print_message("seed %u\n", seed);
	assert_int_equal(hb_parking_init(&parking, 64), 0);
	for (int i = 0; i < 20000; i++) {
		state_now = state_now * 1664525 + 1013904223;
		if ((state_now >> 16) % 2 == 0 && hb_parking_has_room(&parking)) {
			struct hb_parked entry = {.position = pushed,
				.reply_length = (uint16_t)((state_now >> 20) % 17 * 64)};

			memset(&reply, (int)(pushed & 0xff), sizeof(reply));
			hb_parking_push(&parking, &entry, &reply.head);
			pushed++;
		} else if (hb_parking_first(&parking) != NULL) {
			struct hb_parked *first = hb_parking_first(&parking);
			const uint8_t *bytes = (const uint8_t *)hb_parked_reply(first);

			assert_int_equal(first->position, popped);
			for (uint32_t b = 0; b < first->reply_length; b++)
				assert_int_equal(bytes[b], popped & 0xff);
			hb_parking_pop(&parking);
			popped++;
		}
	}
	assert_true(popped > 1000);
	hb_parking_free(&parking);
}

static void
a_full_parking_has_no_room(void **state)
{
	struct hb_parked entry = {.reply_length = 0};
	struct hb_parking parking;
	uint32_t n = 0;

	(void)state;
	assert_int_equal(hb_parking_init(&parking, 64), 0);
	for (; hb_parking_has_room(&parking); n++)
		hb_parking_push(&parking, &entry, NULL);
	assert_int_equal(n, 64);
	hb_parking_pop(&parking);
	assert_true(hb_parking_has_room(&parking));
	hb_parking_free(&parking);
}

/* --- deadlines --- */

#define PACKETS 256

static void
every_packet_comes_up_once_when_it_is_due_and_not_before(void **state)
{
	struct hb_partition_head head = {.packet_counter = PACKETS};
	struct hb_packet *packets = calloc(PACKETS, sizeof(*packets));
	struct hb_partition p = {.head = &head, .packets = packets, .capacity.packets = PACKETS};
	uint64_t now_s = NOON / S, taken = 0;
	struct hb_deadlines deadlines;

	(void)state;
	for (uint32_t i = 0; i < PACKETS; i++) {
		packets[i].id = i + 1;
		packets[i].state = HB_PACKET_OPEN;
		/* some long past, some beyond one turn of the wheel */
		packets[i].deadline_ms = (now_s - 20 + i * 37) * 1000 + i;
	}
	assert_int_equal(hb_deadlines_init(&deadlines, &p, HB_OBJECT_PACKET, now_s), 0);
	for (uint64_t s = now_s; s < now_s + 10000; s += s % 3 == 0 ? 1 : 2) {
		uint32_t slot;

		while ((slot = hb_deadlines_take(&deadlines, &p, s)) != HB_DEADLINE_NONE) {
			const struct hb_packet *packet = &packets[slot];

			assert_int_equal(packet->state, HB_PACKET_OPEN);
			assert_true(packet->deadline_ms <= s * 1000);
			assert_true(packet->deadline_ms + 3000 > s * 1000 || s == now_s);
			packets[slot].state = HB_PACKET_REFUNDED;
			taken++;
		}
	}
	assert_int_equal(taken, PACKETS);
	assert_int_equal(deadlines.count, 0);
	hb_deadlines_free(&deadlines);
	free(packets);
}

static void
after_a_pause_of_days_what_is_due_comes_at_once(void **state)
{
	struct hb_partition_head head = {.packet_counter = 1};
	struct hb_packet packets[4] = {{.id = 1, .state = HB_PACKET_OPEN}};
	struct hb_partition p = {.head = &head, .packets = packets, .capacity.packets = 4};
	uint64_t now_s = NOON / S;
	struct hb_deadlines deadlines;

	(void)state;
	packets[0].deadline_ms = (now_s + 100) * 1000;
	assert_int_equal(hb_deadlines_init(&deadlines, &p, HB_OBJECT_PACKET, now_s), 0);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 99), HB_DEADLINE_NONE);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 86400 * 9), 0);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 86400 * 9), HB_DEADLINE_NONE);
	hb_deadlines_free(&deadlines);
}

/* A slot that is used again while its old entry is in a list would tie two lists together. */
static void
what_was_taken_out_never_comes_up(void **state)
{
	struct hb_partition_head head = {.packet_counter = 1};
	struct hb_packet packets[4] = {{.id = 1, .state = HB_PACKET_OPEN},
		{.id = 2, .state = HB_PACKET_OPEN}, {.id = 3, .state = HB_PACKET_OPEN}};
	struct hb_partition p = {.head = &head, .packets = packets, .capacity.packets = 4};
	uint64_t now_s = NOON / S;
	struct hb_deadlines deadlines;

	(void)state;
	head.packet_counter = 3;
	for (uint32_t i = 0; i < 3; i++)
		packets[i].deadline_ms = (now_s + 100) * 1000;
	assert_int_equal(hb_deadlines_init(&deadlines, &p, HB_OBJECT_PACKET, now_s), 0);
	packets[1].state = HB_PACKET_SOLD_OUT;
	assert_true(hb_deadlines_remove(&deadlines, &p, 1));
	assert_true(hb_deadlines_remove(&deadlines, &p, 1));
	packets[1] = (struct hb_packet){
		.id = 6, .state = HB_PACKET_OPEN, .deadline_ms = (now_s + 300) * 1000};
	hb_deadlines_add(&deadlines, &p, 1);
	hb_deadlines_add(&deadlines, &p, 1);
	assert_int_equal(deadlines.count, 3);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 200), 2);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 200), 0);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 200), HB_DEADLINE_NONE);
	assert_int_equal(hb_deadlines_take(&deadlines, &p, now_s + 301), 1);
	assert_int_equal(deadlines.count, 0);
	hb_deadlines_free(&deadlines);
}

/* --- ledger clock --- */

struct clocks {
	struct hb_ledger_clock_shared shared;
	struct hb_ledger_clock clock;
};

static void
clocks_start(struct clocks *c, uint64_t state_ns, uint64_t wall_ns)
{
	hb_ledger_clock_shared_init(&c->shared, 5 * S, 30 * 86400 * S);
	hb_ledger_clock_check_start(&c->shared, state_ns, wall_ns);
	hb_ledger_clock_init(&c->clock, &c->shared, state_ns, wall_ns, 1000 * S);
}

static void
ledger_time_never_goes_back(void **state)
{
	struct clocks c;

	(void)state;
	clocks_start(&c, 0, NOON);
	hb_ledger_clock_look(&c.clock, NOON + S, 1001 * S);
	assert_int_equal(c.clock.now_ns, NOON + S);
	hb_ledger_clock_look(&c.clock, NOON - S, 1001 * S + MS);
	assert_int_equal(c.clock.now_ns, NOON + S);
	assert_false(hb_ledger_clock_stopped(&c.shared));
}

static void
a_jump_stops_the_clock_until_it_is_confirmed(void **state)
{
	struct clocks c;

	(void)state;
	clocks_start(&c, NOON - S, NOON);
	assert_int_equal(
		hb_ledger_clock_look(&c.clock, NOON + 3600 * S, 1001 * S), HB_CLOCK_JUMPED);
	assert_true(hb_ledger_clock_stopped(&c.shared));
	assert_int_equal(c.clock.now_ns, NOON + S); /* goes on by the boot clock */
	assert_int_equal(hb_ledger_clock_look(&c.clock, NOON + 3601 * S, 1002 * S), HB_CLOCK_GOOD);
	assert_int_equal(c.clock.now_ns, NOON + 2 * S);
	hb_ledger_clock_confirm(&c.shared);
	assert_false(hb_ledger_clock_stopped(&c.shared));
	hb_ledger_clock_look(&c.clock, NOON + 3602 * S, 1003 * S);
	assert_int_equal(c.clock.now_ns, NOON + 3602 * S);
	assert_false(hb_ledger_clock_stopped(&c.shared));
}

static void
a_late_discoverer_of_a_confirmed_jump_stops_nobody(void **state)
{
	struct clocks c;
	struct hb_ledger_clock late;

	(void)state;
	clocks_start(&c, 0, NOON);
	late = c.clock;
	hb_ledger_clock_look(&c.clock, NOON + 3600 * S, 1001 * S);
	hb_ledger_clock_confirm(&c.shared);
	assert_int_equal(hb_ledger_clock_look(&late, NOON + 3601 * S, 1002 * S), HB_CLOCK_GOOD);
	assert_false(hb_ledger_clock_stopped(&c.shared));
}

static void
many_small_steps_are_a_jump_too_but_slow_correction_is_followed(void **state)
{
	struct clocks c;
	bool stopped = false;

	(void)state;
	clocks_start(&c, 0, NOON);
	for (uint64_t i = 1; i <= 10 && !stopped; i++) /* +1 s every 10 ms */
		stopped = hb_ledger_clock_look(&c.clock, NOON + i * S, 1000 * S + i * 10 * MS) ==
			  HB_CLOCK_JUMPED;
	assert_true(stopped);
	clocks_start(&c, 0, NOON);
	for (uint64_t i = 1; i <= 100000; i++) /* 500 ppm for 100,000 s */
		assert_int_equal(
			hb_ledger_clock_look(&c.clock, NOON + i * S + i * MS / 2, (1000 + i) * S),
			HB_CLOCK_GOOD);
}

static void
a_state_from_the_future_or_long_ago_stops_the_clock_at_start(void **state)
{
	struct clocks c;

	(void)state;
	clocks_start(&c, NOON + 4 * S, NOON);
	assert_false(hb_ledger_clock_stopped(&c.shared));
	clocks_start(&c, NOON + 6 * S, NOON);
	assert_true(hb_ledger_clock_stopped(&c.shared));
	assert_int_equal(c.clock.now_ns, NOON + 6 * S);
	clocks_start(&c, NOON - 31 * 86400 * S, NOON);
	assert_true(hb_ledger_clock_stopped(&c.shared));
	assert_int_equal(c.clock.now_ns, NOON - 31 * 86400 * S);
	hb_ledger_clock_confirm(&c.shared);
	hb_ledger_clock_look(&c.clock, NOON + S, 1001 * S);
	assert_int_equal(c.clock.now_ns, NOON + S);
}

/* --- tokens --- */

static int
by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
token_ids_are_never_repeated_whatever_the_clock_does(void **state)
{
	uint64_t last = 0, before = 0;

	(void)state;
	for (uint64_t i = 0; i < 30000; i++) {
		uint64_t id = hb_token_id_next(&last, i < 25000 ? 1000 : 990, 7);

		assert_true(id > before);
		assert_true((id & 0x3fff) <= HB_TOKEN_COUNTER_MAX);
		before = id;
	}
}

/* Ledger time stands still over starts while the wall clock is behind the newest record. */
static void
token_ids_of_two_starts_in_one_millisecond_differ(void **state)
{
	enum {
		STARTS = 50,
		COUNT = 500
	};
	static uint64_t id[STARTS * COUNT];
	uint64_t count = 0;

	(void)state;
	for (uint64_t epoch = 80; epoch < 80 + STARTS; epoch++) {
		uint64_t last = hb_token_id_first(1000);

		for (uint64_t i = 0; i < COUNT; i++)
			id[count++] = hb_token_id_next(&last, 1000, epoch);
	}
	qsort(id, count, sizeof(id[0]), by_value);
	for (uint64_t i = 1; i < count; i++)
		assert_true(id[i] != id[i - 1]);
}

static void
a_full_queue_of_asks_refuses_and_keeps_its_order(void **state)
{
	static uint64_t order[HB_TOKEN_ASKS_MAX];
	struct hb_token_asks asks;
	struct hb_token_ask ask = {.for_operation = HB_OP_TRANSFER};
	uint32_t n = 0;

	(void)state;
	assert_int_equal(hb_token_asks_init(&asks), 0);
	for (uint64_t user = 0; asks.count < HB_TOKEN_ASKS_MAX; user++) {
		ask.user = user;
		if (hb_token_asks_push(&asks, &ask))
			order[n++] = user;
	}
	assert_false(hb_token_asks_push(&asks, &ask));
	for (uint32_t i = 0; i < HB_TOKEN_ASKS_MAX; i++) {
		assert_true(hb_token_asks_pop(&asks, &ask));
		assert_int_equal(ask.user, order[i]);
	}
	assert_false(hb_token_asks_pop(&asks, &ask));
	for (uint32_t i = 0; i < HB_TOKEN_ASKS_OF_USER_MAX; i++)
		assert_true(hb_token_asks_push(&asks, &ask));
	assert_false(hb_token_asks_push(&asks, &ask)); /* one user cannot fill it */
	assert_true(hb_token_asks_pop(&asks, &ask));
	assert_true(hb_token_asks_push(&asks, &ask));
	hb_token_asks_free(&asks);
}

static void
a_token_is_asked_for_with_a_target_that_goes_with_its_operation(void **state)
{
	struct hb_frame_token f = {.head.user = 1001, .head.target = 1001};

	(void)state;
	f.for_operation = HB_OP_TRANSFER;
	assert_true(hb_token_ask_valid(&f));
	f.for_operation = HB_OP_GRAB;
	assert_false(hb_token_ask_valid(&f));
	f.head.target = hb_id_make(HB_ID_PACKET, 3, 1, 9);
	assert_true(hb_token_ask_valid(&f));
	f.for_operation = HB_OP_PACKET_CREATE;
	assert_false(hb_token_ask_valid(&f));
	f.head.target = 1002; /* somebody else's account */
	assert_false(hb_token_ask_valid(&f));
	f.for_operation = HB_OP_CREDIT;
	f.head.target = 1001;
	assert_false(hb_token_ask_valid(&f));
}

/* --- key file --- */

static void
key_case(const char *text, mode_t mode, int expected, const char *why)
{
	char path[] = "/tmp/dataplane-key-XXXXXX", error[256] = "";
	struct hb_token_keys keys;
	int fd = mkstemp(path);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	assert_int_equal(hb_key_file_read(path, &keys, error), expected);
	if (expected == 0)
		assert_memory_equal(keys.key[0],
			"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd"
			"\xee\xff",
			16);
	else
		assert_true(strstr(error, path) != NULL && strstr(error, why) != NULL);
	unlink(path);
}

static void
a_key_that_others_can_read_or_that_is_not_whole_is_refused_by_name(void **state)
{
	struct hb_token_keys keys;
	char error[256];

	(void)state;
	key_case("00112233445566778899aabbccddeeff\n", 0400, 0, "");
	key_case("00112233445566778899AABBCCDDEEFF", 0600, 0, "");
	key_case("00112233445566778899aabbccddeeff\n", 0440, -EACCES, "440");
	key_case("00112233445566778899aabbccddeeff\n", 0404, -EACCES, "chmod");
	key_case("00112233445566778899aabbccddee\n", 0400, -EINVAL, "32");
	key_case("00112233445566778899aabbccddeefff", 0400, -EINVAL, "32");
	key_case("00112233445566778899aabbccddeeXf\n", 0400, -EINVAL, "32");
	key_case("", 0400, -EINVAL, "32");
	key_case("00112233445566778899aabbccddeeff 1764115200\n", 0400, -EINVAL, "32");
	assert_int_equal(hb_key_file_read("/nonexistent/key", &keys, error), -ENOENT);
	assert_non_null(strstr(error, "/nonexistent/key"));
	assert_int_equal(hb_key_file_read("/dev/null", &keys, error), -EINVAL);
	assert_non_null(strstr(error, "regular"));
}

static void
keys_before_come_with_their_end_and_are_at_most_three(void **state)
{
	static const char line[] = "ffeeddccbbaa99887766554433221100 1764115200\n";
	char text[HB_KEY_FILE_BYTES_MAX] = "00112233445566778899aabbccddeeff\n";
	char copy[HB_KEY_FILE_BYTES_MAX];
	struct hb_token_keys keys;

	(void)state;
	for (uint32_t before = 0; before <= HB_TOKEN_KEYS_MAX - 1; before++) {
		memcpy(copy, text, sizeof(text));
		assert_int_equal(hb_key_text_parse(&keys, copy), 0);
		assert_int_equal(keys.count, before + 1);
		if (before > 0) {
			assert_int_equal(keys.until_s[before], 1764115200);
			assert_int_equal(keys.key[before][0], 0xff);
		}
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", line);
	}
	assert_int_equal(hb_key_text_parse(&keys, text), -EINVAL);
	snprintf(text, sizeof(text), "00112233445566778899aabbccddeeff\n%.32s\n", line);
	assert_int_equal(hb_key_text_parse(&keys, text), -EINVAL);
	snprintf(text, sizeof(text), "00112233445566778899aabbccddeeff\n%.32s -1\n", line);
	assert_int_equal(hb_key_text_parse(&keys, text), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_before_come_with_their_end_and_are_at_most_three),
		cmocka_unit_test(parked_replies_leave_in_order_and_whole),
		cmocka_unit_test(a_full_parking_has_no_room),
		cmocka_unit_test(every_packet_comes_up_once_when_it_is_due_and_not_before),
		cmocka_unit_test(after_a_pause_of_days_what_is_due_comes_at_once),
		cmocka_unit_test(what_was_taken_out_never_comes_up),
		cmocka_unit_test(ledger_time_never_goes_back),
		cmocka_unit_test(a_jump_stops_the_clock_until_it_is_confirmed),
		cmocka_unit_test(a_late_discoverer_of_a_confirmed_jump_stops_nobody),
		cmocka_unit_test(many_small_steps_are_a_jump_too_but_slow_correction_is_followed),
		cmocka_unit_test(a_state_from_the_future_or_long_ago_stops_the_clock_at_start),
		cmocka_unit_test(token_ids_are_never_repeated_whatever_the_clock_does),
		cmocka_unit_test(token_ids_of_two_starts_in_one_millisecond_differ),
		cmocka_unit_test(a_full_queue_of_asks_refuses_and_keeps_its_order),
		cmocka_unit_test(a_token_is_asked_for_with_a_target_that_goes_with_its_operation),
		cmocka_unit_test(
			a_key_that_others_can_read_or_that_is_not_whole_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
