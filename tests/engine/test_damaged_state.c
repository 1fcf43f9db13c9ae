/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving and loading a partition when the stream fails, is damaged, or does not fit: an error, and
 * no assertion. Each error of the stream is tried at each of its calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/state_internal.h"
#include "tests/engine/world.h"

#define ALICE 1001
#define GROUP 7

static const struct hb_capacity usual = {.accounts = 256,
	.packets = 256,
	.arena_bytes = 1 << 16,
	.windows = 256,
	.orders = 256,
	.idempotency = 256,
	.holds = 256};

/* A stream in memory that fails at its call number `fail_at`. */
struct stream {
	uint8_t bytes[1 << 16];
	size_t length, at;
	uint64_t calls, fail_at;
};

static int
save(void *context, void *bytes, size_t length)
{
	struct stream *s = context;

	if (++s->calls == s->fail_at)
		return -EIO;
	assert_true(s->length + length <= sizeof(s->bytes));
	memcpy(s->bytes + s->length, bytes, length);
	s->length += length;
	return 0;
}

static int
load(void *context, void *bytes, size_t length)
{
	struct stream *s = context;

	if (++s->calls == s->fail_at)
		return -EIO;
	if (length > s->length - s->at)
		return -EPROTO;
	memcpy(bytes, s->bytes + s->at, length);
	s->at += length;
	return 0;
}

static struct world w;
static struct stream saved, again;
static uint32_t home;

/* Where the tables of the saved partition begin: their counts. */
static struct {
	struct hb_partition_head *head;
	struct hb_account *accounts;
	struct hb_packet *packet[2];
	struct hb_window *windows;
	struct hb_order *orders;
	struct hb_hold *holds;
} at;

static uint8_t *
behind_count(uint8_t *table, uint64_t expected)
{
	uint64_t count;

	memcpy(&count, table, 8);
	assert_int_equal(count, expected);
	return table + 8;
}

static void
find_tables(struct stream *s, const struct hb_partition_head *head)
{
	uint8_t *p = s->bytes + sizeof(*head);

	at.head = (void *)s->bytes;
	at.accounts = (void *)(p = behind_count(p, head->account_count));
	p = behind_count(p + head->account_count * sizeof(struct hb_account), head->packet_count);
	for (int i = 0; i < 2; i++) {
		at.packet[i] = (void *)p;
		p += sizeof(struct hb_packet) + at.packet[i]->count * sizeof(struct hb_claim) +
		     at.packet[i]->greeting_length;
	}
	at.windows = (void *)(p = behind_count(p, head->window_count));
	p += head->window_count * sizeof(struct hb_window);
	at.orders = (void *)(p = behind_count(p, head->order_count));
	p += head->order_count * sizeof(struct hb_order);
	p = behind_count(p, head->idempotency_next - head->idempotency_first);
	p += (head->idempotency_next - head->idempotency_first) *
	     sizeof(struct hb_idempotency_entry);
	at.holds = (void *)behind_count(p, head->hold_count);
}

/* Two accounts, packets, windows, orders, keys and holds in one partition. */
static int
open_story(void **unused)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER, .length = sizeof(f)}};
	uint64_t packets[2], hold, other = ALICE;

	(void)unused;
	world_open_sized(&w, &usual);
	home = hb_partition_of(ALICE);
	do
		other++;
	while (hb_partition_of(other) != home);
	assert_int_equal(world_fund(&w, ALICE, 10000), HB_STATUS_OK);
	assert_int_equal(world_fund(&w, other, 10000), HB_STATUS_OK);
	for (int i = 0; i < 2; i++) {
		struct hb_frame grab;

		assert_int_equal(
			world_send(&w, ALICE, GROUP, 100, i == 0 ? 4 : 100, 1, &packets[i]),
			HB_STATUS_OK);
		grab = world_grab_frame(&w, packets[i], other, GROUP, 1);
		assert_int_equal(world_ask(&w, &grab), HB_STATUS_OK);
		assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_OK);
		f.head.target = f.head.user = ALICE;
		f.to = other;
		f.amount_fen = 1;
		f.idempotency_key[0] = (uint8_t)(i + 1);
		assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	}
	world_deliver(&w);
	memset(&saved, 0, sizeof(saved));
	assert_int_equal(hb_state_save(&w.state.partition[home], save, &saved), 0);
	return 0;
}

static int
close_story(void **unused)
{
	(void)unused;
	world_close(&w);
	return 0;
}

/* @return what loading `again` into an empty partition of these capacities says */
static int
loaded(const struct hb_capacity *capacity)
{
	struct hb_state state;
	int result;

	again.at = 0;
	again.calls = 0;
	assert_int_equal(hb_state_create(&state, capacity, 7), 0);
	result = hb_state_load(&state.partition[home], load, &again);
	hb_state_close(&state);
	return result;
}

static void
begin_anew(void)
{
	again = saved;
	again.fail_at = 0;
	find_tables(&again, w.state.partition[home].head);
}

static void
test_a_stream_that_fails_at_any_call_ends_the_walk(void **unused)
{
	uint64_t writes = saved.calls;

	(void)unused;
	for (uint64_t n = 1; n <= writes; n++) {
		memset(&again, 0, sizeof(again));
		again.fail_at = n;
		assert_int_equal(hb_state_save(&w.state.partition[home], save, &again), -EIO);
		assert_int_equal(again.calls, n);
	}
	begin_anew();
	assert_int_equal(loaded(&usual), 0);
	for (uint64_t reads = again.calls, n = 1; n <= reads; n++) {
		begin_anew();
		again.fail_at = n;
		assert_int_equal(loaded(&usual), -EIO);
		assert_int_equal(again.calls, n);
	}
}

static void
count_packet(void *visitor, const struct hb_packet *packet)
{
	assert_int_equal(packet->total_fen, 100);
	(*(uint32_t *)visitor)++;
}

static int
visited(uint32_t *count)
{
	*count = 0;
	again.at = 0;
	again.calls = 0;
	return hb_state_visit_packets(load, &again, count_packet, count);
}

static void
test_packets_are_visited_without_a_state(void **unused)
{
	uint32_t count;

	(void)unused;
	begin_anew();
	assert_int_equal(visited(&count), 0);
	assert_int_equal(count, 2);
	for (uint64_t reads = again.calls, n = 1; n <= reads; n++) {
		begin_anew();
		again.fail_at = n;
		assert_int_equal(visited(&count), -EIO);
		assert_int_equal(again.calls, n);
	}
	begin_anew();
	at.packet[1]->count = HB_PACKET_COUNT_MAX + 1;
	assert_int_equal(visited(&count), -EPROTO);
	begin_anew();
	at.packet[1]->greeting_length = HB_GREETING_BYTES_MAX + 1;
	assert_int_equal(visited(&count), -EPROTO);
}

/* One field of the saved bytes is another: loading must say so. */
#define DAMAGED(field, value, result)                                                              \
	do {                                                                                       \
		begin_anew();                                                                      \
		(field) = (__typeof__(field))(value);                                              \
		assert_int_equal(loaded(&usual), (result));                                        \
	} while (0)

static void
test_damage_in_a_table_is_refused(void **unused)
{
	(void)unused;
	begin_anew();
	DAMAGED(at.head->content, 1, -EPROTO);
	DAMAGED(at.head->content, 0, -EPROTO); /* the first version had no holds */
	DAMAGED(at.head->account_count, 1, -EPROTO);
	DAMAGED(at.accounts[0].id, 0, -EPROTO);
	DAMAGED(at.accounts[0].id, ALICE + 1, -EPROTO);
	DAMAGED(at.accounts[1].id, at.accounts[0].id, -EPROTO);
	DAMAGED(at.packet[0]->id, at.packet[0]->id ^ UINT64_C(3) << 56, -EPROTO);
	DAMAGED(at.packet[0]->id, at.packet[0]->id ^ UINT64_C(1) << 52, -EPROTO);
	DAMAGED(at.packet[0]->count, 0, -EPROTO);
	DAMAGED(at.packet[0]->count, HB_PACKET_COUNT_MAX + 1, -EPROTO);
	DAMAGED(at.packet[0]->left_count, at.packet[0]->count + 1, -EPROTO);
	DAMAGED(at.packet[0]->expanded_count, at.packet[0]->count + 1, -EPROTO);
	DAMAGED(at.packet[0]->greeting_length, HB_GREETING_BYTES_MAX + 1, -EPROTO);
	DAMAGED(at.packet[1]->id, at.packet[0]->id, -EPROTO);
	DAMAGED(at.windows[0].token_id, 0, -EPROTO);
	DAMAGED(at.orders[0].stamp, 0, -EPROTO);
	DAMAGED(at.orders[1].stamp, at.orders[0].stamp, -EPROTO);
	DAMAGED(at.holds[0].id, at.holds[0].id ^ UINT64_C(3) << 56, -EPROTO);
	DAMAGED(at.holds[0].id, at.holds[0].id ^ UINT64_C(1) << 52, -EPROTO);
	DAMAGED(at.holds[1].id, at.holds[0].id, -EPROTO);
}

static void
test_what_does_not_fit_is_refused_as_too_large(void **unused)
{
	struct hb_capacity small = usual;

	(void)unused;
	DAMAGED(at.packet[1]->id, at.packet[0]->id + usual.packets, -ENOSPC);
	DAMAGED(at.holds[1].id, at.holds[0].id + usual.holds, -ENOSPC);
	begin_anew();
	small.arena_bytes = 64;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.accounts = 2;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.packets = 1;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.windows = 1;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.orders = 4;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.idempotency = 1;
	assert_int_equal(loaded(&small), -ENOSPC);
	small = usual;
	small.holds = 1;
	assert_int_equal(loaded(&small), -ENOSPC);
}

/* Content 0: shorter orders, no holds. What is over then counts as ended by the last record. */
static void
test_the_first_version_says_when_what_is_over_ended(void **unused)
{
	uint64_t orders, keys;
	uint8_t *from, *to;
	struct hb_state state;

	(void)unused;
	begin_anew();
	orders = at.head->order_count;
	keys = at.head->idempotency_next - at.head->idempotency_first;
	at.head->content = 0;
	at.head->hold_count = 0;
	at.packet[0]->state = HB_PACKET_REFUNDED;
	from = to = (void *)at.orders;
	for (uint64_t i = 0; i < orders;
		i++, from += sizeof(struct hb_order), to += HB_ORDER_BYTES_0)
		memmove(to, from, HB_ORDER_BYTES_0);
	memmove(to, from, 8 + keys * sizeof(struct hb_idempotency_entry));
	again.length = (size_t)(to + 8 + keys * sizeof(struct hb_idempotency_entry) - again.bytes);
	again.at = again.calls = 0;
	assert_int_equal(hb_state_create(&state, &usual, 7), 0);
	assert_int_equal(hb_state_load(&state.partition[home], load, &again), 0);
	assert_int_equal(again.at, again.length);
	for (uint64_t i = 0; i < usual.orders; i++) {
		const struct hb_order *order = &state.partition[home].orders[i];

		if (order->stamp != 0)
			assert_int_equal(order->final_sequence,
				hbi_order_final(order) ? state.partition[home].head->core_sequence
						       : 0);
	}
	assert_int_equal(hb_packet_find(&state.partition[home], at.packet[0]->id)->final_sequence,
		state.partition[home].head->core_sequence);
	hb_state_close(&state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stream_that_fails_at_any_call_ends_the_walk),
		cmocka_unit_test(test_packets_are_visited_without_a_state),
		cmocka_unit_test(test_damage_in_a_table_is_refused),
		cmocka_unit_test(test_what_does_not_fit_is_refused_as_too_large),
		cmocka_unit_test(test_the_first_version_says_when_what_is_over_ended),
	};

	return cmocka_run_group_tests(tests, open_story, close_story);
}
