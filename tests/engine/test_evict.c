/* SPDX-License-Identifier: Apache-2.0 */
/* What is over is forgotten, and is never taken for new. */
#include <string.h>

#include "tests/engine/world.h"

#define SENDER 1001
#define GROUP  7
#define DAY_MS UINT64_C(86400000)

static struct world w;

static int
setup(void **unused)
{
	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, SENDER, 10000000), HB_STATUS_OK);
	world_evict(&w, 0); /* the recharge's order */
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	assert_int_equal(world_money(&w), 0);
	world_check_frozen(&w);
	world_check_replay(&w);
	world_close(&w);
	return 0;
}

static struct hb_partition *
own(void)
{
	return &w.state.partition[hb_partition_of(SENDER)];
}

static void
test_a_packet_goes_when_it_is_over_old_and_in_mysql(void **unused)
{
	struct hb_frame_detail detail = {
		.head = {.operation = HB_OP_PACKET_DETAIL, .length = sizeof(detail)}};
	uint64_t open, packet;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 2, 0, &open), HB_STATUS_OK);
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 1, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	world_advance_ms(&w, DAY_MS - 1);
	assert_int_equal(world_evict(&w, DAY_MS), 0);
	world_advance_ms(&w, 1);
	w.applied_nothing = true;
	assert_int_equal(world_evict(&w, DAY_MS), 0);
	w.applied_nothing = false;
	assert_int_equal(world_evict(&w, DAY_MS), 1);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_PACKET_GONE);
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_PACKET_GONE);
	assert_int_equal(world_grab(&w, packet + 1, 6, GROUP), HB_STATUS_PACKET_UNKNOWN);
	detail.head.target = packet;
	assert_int_equal(world_ask(&w, &detail), HB_STATUS_PACKET_GONE);
	assert_int_equal(world_grab(&w, open, 6, GROUP), HB_STATUS_EXPIRED);
	assert_int_equal(world_evict(&w, DAY_MS), 0);
	world_advance_ms(&w, DAY_MS);
	assert_int_equal(world_evict(&w, DAY_MS), 1);
	assert_int_equal(own()->head->packet_count, 0);
	assert_int_equal(own()->head->arena_live, 0);
}

static void
test_a_repeated_send_of_a_forgotten_packet_makes_none(void **unused)
{
	struct hb_frame_packet_create f = {.head = {.operation = HB_OP_PACKET_CREATE,
						   .length = sizeof(f),
						   .target = SENDER,
						   .user = SENDER,
						   .group = GROUP},
		.idempotency_key = "send-1",
		.kind = HB_PACKET_LUCKY,
		.count = 1,
		.total_fen = 50};
	uint64_t packet;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	packet = w.reply.head.id;
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	assert_int_equal(world_evict(&w, 0), 1);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(w.reply.head.id, packet);
	assert_int_equal(w.reply.head.amount_fen, 50);
	assert_int_equal(own()->head->packet_count, 0);
}

static void
test_the_arena_is_used_again_and_starts_with_zeros(void **unused)
{
	uint64_t packet, used = 0;

	(void)unused;
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t count = 1 + round % 5 * 40;

		assert_int_equal(
			world_send(&w, SENDER, GROUP, 1000, count, 0, &packet), HB_STATUS_OK);
		for (uint64_t user = 1; user <= count; user++)
			assert_int_equal(world_grab(&w, packet, user, GROUP), HB_STATUS_OK);
		assert_int_equal(world_evict(&w, 0), 1);
		if (round == 4)
			used = own()->head->arena_used;
	}
	assert_int_equal(own()->head->arena_used, used);
}

static void
test_an_old_open_packet_does_not_stop_new_ones(void **unused)
{
	uint64_t old, packet;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 10, 2, 0, &old), HB_STATUS_OK);
	for (uint32_t i = 0; i < 3 * own()->capacity.packets; i++) {
		assert_int_equal(world_send(&w, SENDER, GROUP, 1, 1, 0, &packet), HB_STATUS_OK);
		assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
		if (i % 64 == 0)
			world_deliver(&w);
		if (i % 1000 == 0)
			world_evict(&w, 0);
	}
	assert_int_equal(world_grab(&w, old, 5, GROUP), HB_STATUS_OK);
}

static void
test_a_full_table_shortens_the_retention(void **unused)
{
	uint64_t packet, n = 0;

	(void)unused;
	while (world_send(&w, SENDER, GROUP, 1, 1, 0, &packet) == HB_STATUS_OK) {
		assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
		n++;
	}
	assert_int_equal(w.reply.head.status, HB_STATUS_TABLE_FULL);
	assert_int_equal(n, own()->capacity.packets);
	world_deliver(&w);
	assert_true(world_evict(&w, 3 * DAY_MS) > 0);
	assert_int_equal(world_send(&w, SENDER, GROUP, 1, 1, 0, &packet), HB_STATUS_OK);
	world_advance_ms(&w, 3 * DAY_MS);
	world_evict(&w, 3 * DAY_MS);
	assert_int_equal(own()->head->packet_count, 1);
}

static void
test_holds_and_orders_go_and_an_order_comes_back_as_it_was(void **unused)
{
	struct hb_frame_order_load load = {
		.head = {.operation = HB_OP_ORDER_LOAD, .length = sizeof(load), .target = SENDER},
		.amount_fen = 100,
		.settled_fen = 0,
		.business = HB_BUSINESS_WITHDRAWAL,
		.state = HB_ORDER_REQUESTED};
	uint64_t hold, open;

	(void)unused;
	assert_int_equal(world_hold(&w, SENDER, 50, &open), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, SENDER, 100, &hold), HB_STATUS_OK);
	load.order_stamp = w.reply.head.order_stamp;
	load.hold_id = hold;
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 100, 0), HB_STATUS_OK);
	world_advance_ms(&w, DAY_MS);
	assert_int_equal(world_evict(&w, DAY_MS), 2);
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 100, 0), HB_STATUS_HOLD_GONE);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 100, 0), HB_STATUS_HOLD_GONE);
	assert_int_equal(
		world_step(&w, SENDER, load.order_stamp, HB_ORDER_INVALID, HB_ORDER_APPROVED, 0),
		HB_STATUS_ORDER_UNKNOWN);
	/* An order that could still move money does not come back, nor one that never was. */
	assert_int_equal(world_ask(&w, &load), HB_STATUS_ORDER_STATE);
	load.state = HB_ORDER_INVALID;
	load.refunded_fen = 1;
	assert_int_equal(world_ask(&w, &load), HB_STATUS_LIMIT);
	load.refunded_fen = 0;
	load.order_stamp += UINT64_C(1) << 40;
	assert_int_equal(world_ask(&w, &load), HB_STATUS_ORDER_UNKNOWN);
	load.order_stamp -= UINT64_C(1) << 40;
	assert_int_equal(world_ask(&w, &load), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &load), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(hb_order_find(own(), load.order_stamp)->hold_id, hold);
	assert_int_equal(world_evict(&w, DAY_MS), 0);
	world_advance_ms(&w, DAY_MS);
	assert_int_equal(world_evict(&w, DAY_MS), 1);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_packet_goes_when_it_is_over_old_and_in_mysql),
		TEST(test_a_repeated_send_of_a_forgotten_packet_makes_none),
		TEST(test_the_arena_is_used_again_and_starts_with_zeros),
		TEST(test_an_old_open_packet_does_not_stop_new_ones),
		TEST(test_a_full_table_shortens_the_retention),
		TEST(test_holds_and_orders_go_and_an_order_comes_back_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
