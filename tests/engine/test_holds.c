/* SPDX-License-Identifier: Apache-2.0 */
/* Money on its way out, steps of orders, frozen accounts, adjustments. */
#include <string.h>

#include "tests/engine/world.h"

#define USER   1001
#define DAY_MS UINT64_C(86400000)

static struct world w;

static int
setup(void **unused)
{
	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, USER, 100000), HB_STATUS_OK);
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

static uint64_t
clearing(void)
{
	return hb_system_account(HB_SYSTEM_CLEARING_MANUAL, hb_partition_of(USER));
}

static uint64_t
fees(void)
{
	return hb_system_account(HB_SYSTEM_FEES, hb_partition_of(USER));
}

/* A hold whose order was sent to the channel. */
static uint64_t
sent_hold(int64_t amount_fen, uint64_t *stamp)
{
	uint64_t hold;

	assert_int_equal(world_hold(&w, USER, amount_fen, &hold), HB_STATUS_OK);
	*stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, USER, *stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_OK);
	assert_int_equal(
		world_step(&w, USER, *stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1), HB_STATUS_OK);
	return hold;
}

static uint8_t
order_state(uint64_t stamp)
{
	struct hb_frame_order f = {
		.head = {.operation = HB_OP_ORDER_QUERY, .length = sizeof(f), .target = USER},
		.order_stamp = stamp};

	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	return w.reply.order.state;
}

static void
test_a_hold_is_paid_out_less_the_fee(void **unused)
{
	uint64_t stamp, hold = sent_hold(30000, &stamp);
	int64_t before = world_available(&w, clearing());

	(void)unused;
	assert_int_equal(world_available(&w, USER), 70000);
	assert_int_equal(world_frozen(&w, USER), 30000);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 29999, 0), HB_STATUS_AMOUNT_MISMATCH);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 30000, 30001), HB_STATUS_LIMIT);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 30000, -1), HB_STATUS_LIMIT);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 30000, 100), HB_STATUS_OK);
	assert_int_equal(world_frozen(&w, USER), 0);
	assert_int_equal(world_available(&w, USER), 70000);
	assert_int_equal(world_available(&w, clearing()), before + 29900);
	assert_int_equal(world_available(&w, fees()), 100);
	assert_int_equal(order_state(stamp), HB_ORDER_DONE);
}

static void
test_a_hold_has_exactly_one_exit(void **unused)
{
	uint64_t stamp, hold = sent_hold(30000, &stamp), records;

	(void)unused;
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 30000, 0), HB_STATUS_OK);
	records = w.record_count;
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 30000, 0), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 30000, 0), HB_STATUS_HOLD_STATE);
	hold = sent_hold(20000, &stamp);
	records += 3;
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 20000, 0), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 20000, 0), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold, 20000, 0), HB_STATUS_HOLD_STATE);
	assert_int_equal(w.record_count, records + 1);
	assert_int_equal(order_state(stamp), HB_ORDER_FAILED);
	assert_int_equal(world_available(&w, USER), 70000);
	assert_int_equal(world_exit(&w, HB_OP_POST, hold + 1, 1, 0), HB_STATUS_HOLD_UNKNOWN);
}

static void
test_only_what_was_sent_is_paid_and_only_what_was_not_goes_back_at_the_deadline(void **unused)
{
	uint64_t stamp, asked, sent, rejected;

	(void)unused;
	assert_int_equal(world_hold(&w, USER, 1000, &asked), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_POST, asked, 1000, 0), HB_STATUS_ORDER_STATE);
	assert_int_equal(world_hold(&w, USER, 2000, &rejected), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_VOID, rejected, 2000, 0), HB_STATUS_OK);
	assert_int_equal(order_state(w.reply.head.order_stamp), HB_ORDER_INVALID);
	sent = sent_hold(4000, &stamp);
	assert_int_equal(world_void_due(&w), 0);
	world_advance_ms(&w, UINT64_C(1000) * HB_HOLD_LIFETIME_S_DEFAULT);
	assert_int_equal(world_void_due(&w), 1);
	assert_int_equal(world_frozen(&w, USER), 4000);
	/* The attempt failed: past the deadline it is not sent again, it goes back. */
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_SENDING, HB_ORDER_UNKNOWN, 1), HB_STATUS_OK);
	assert_int_equal(world_void_due(&w), 0);
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_UNKNOWN, HB_ORDER_APPROVED, 1), HB_STATUS_OK);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 2),
		HB_STATUS_HOLD_DUE);
	assert_int_equal(world_void_due(&w), 1);
	assert_int_equal(world_exit(&w, HB_OP_POST, sent, 4000, 0), HB_STATUS_HOLD_STATE);
	assert_int_equal(world_available(&w, USER), 100000);
}

static void
test_the_reply_counts_what_was_held_on_the_day_and_not_given_back(void **unused)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = USER,
					  .user = USER},
		.amount_fen = 500,
		.reason = HB_HOLD_CHANNEL_REFUND};
	uint64_t first, second;

	(void)unused;
	assert_int_equal(world_hold(&w, USER, 1000, &first), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 1);
	assert_int_equal(w.reply.hold.day_fen, 1000);
	assert_int_equal(w.reply.hold.day, 20261123);
	assert_int_equal(world_hold(&w, USER, 2000, &second), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 2);
	assert_int_equal(w.reply.hold.day_fen, 3000);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 1);
	assert_int_equal(world_exit(&w, HB_OP_VOID, first, 1000, 0), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 1);
	assert_int_equal(w.reply.hold.day_fen, 2000);
	/* 16:00 UTC is midnight in Beijing. */
	world_advance_ms(&w, DAY_MS - 8 * 3600000 - 1);
	assert_int_equal(world_hold(&w, USER, 10, &first), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 2);
	world_advance_ms(&w, 1);
	assert_int_equal(world_hold(&w, USER, 10, &first), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day, 20261124);
	assert_int_equal(w.reply.hold.day_count, 1);
	assert_int_equal(w.reply.hold.day_fen, 10);
	assert_int_equal(world_exit(&w, HB_OP_VOID, second, 2000, 0), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, USER, 10, &first), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 2);
}

static void
test_the_same_key_gets_the_same_hold(void **unused)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = USER,
					  .user = USER},
		.idempotency_key = "withdrawal-1",
		.amount_fen = 500,
		.reason = HB_HOLD_WITHDRAWAL};
	uint64_t hold, stamp;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	hold = w.reply.head.id;
	stamp = w.reply.head.order_stamp;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(w.reply.head.id, hold);
	assert_int_equal(w.reply.head.order_stamp, stamp);
	assert_int_equal(world_frozen(&w, USER), 500);
	f.amount_fen = 501;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_CONFLICT);
}

static void
test_what_cannot_be_held_is_refused(void **unused)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = USER,
					  .user = USER},
		.amount_fen = 500,
		.reason = HB_HOLD_RECHARGE_FOR_PACKET};
	static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX};
	uint64_t hold;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	f.reason = HB_HOLD_WITHDRAWAL;
	f.lifetime_s = HB_HOLD_LIFETIME_S_MAX + 1;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(world_hold(&w, USER, bad[i], &hold), HB_STATUS_LIMIT);
	assert_int_equal(world_hold(&w, USER, 100001, &hold), HB_STATUS_INSUFFICIENT);
	assert_int_equal(world_hold(&w, 4242, 1, &hold), HB_STATUS_ACCOUNT_UNKNOWN);
	f.head.user = 4242;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f.head.user = USER;
	f.reserved[5] = 1;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
}

static void
test_a_frozen_account_receives_but_does_not_pay(void **unused)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER,
					      .length = sizeof(f),
					      .target = USER,
					      .user = USER},
		.to = 6,
		.amount_fen = 60};
	uint64_t packet, hold, stamp, records;

	(void)unused;
	assert_int_equal(world_hold(&w, USER, 1000, &hold), HB_STATUS_OK);
	stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_OK);
	assert_int_equal(world_freeze(&w, 4242, true), HB_STATUS_ACCOUNT_UNKNOWN);
	assert_int_equal(world_freeze(&w, USER, true), HB_STATUS_OK);
	records = w.record_count;
	assert_int_equal(world_freeze(&w, USER, true), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_ACCOUNT_FROZEN);
	assert_int_equal(world_send(&w, USER, 7, 100, 10, 0, &packet), HB_STATUS_ACCOUNT_FROZEN);
	assert_int_equal(world_hold(&w, USER, 1000, &hold), HB_STATUS_ACCOUNT_FROZEN);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1),
		HB_STATUS_ACCOUNT_FROZEN);
	assert_int_equal(w.record_count, records);
	assert_int_equal(world_fund(&w, USER, 50), HB_STATUS_OK);
	assert_int_equal(world_freeze(&w, USER, false), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
}

static void
test_an_order_takes_allowed_steps_only_and_attempts_are_counted(void **unused)
{
	uint64_t stamp, hold;

	(void)unused;
	assert_int_equal(world_hold(&w, USER, 1000, &hold), HB_STATUS_OK);
	stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_SENDING, 1),
		HB_STATUS_ORDER_STATE);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_DONE, 0),
		HB_STATUS_ORDER_STATE);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_INVALID, 0),
		HB_STATUS_ORDER_STATE); /* that is VOID's */
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 1),
		HB_STATUS_LIMIT);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_OK);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_ORDER_STATE);
	assert_int_equal(w.reply.head.index, HB_ORDER_APPROVED);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 2),
		HB_STATUS_LIMIT);
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1), HB_STATUS_OK);
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_SENDING, HB_ORDER_APPROVED, 1), HB_STATUS_OK);
	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1),
		HB_STATUS_LIMIT);
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 2), HB_STATUS_OK);
	assert_int_equal(world_step(&w, USER + 1, stamp, HB_ORDER_SENDING, HB_ORDER_UNKNOWN, 2),
		HB_STATUS_ORDER_UNKNOWN);
	order_state(stamp);
	assert_int_equal(w.reply.order.attempt, 2);
	assert_int_equal(w.reply.order.channel, HB_SYSTEM_CLEARING_MANUAL);
	assert_int_equal(w.reply.order.hold_id, hold);
}

static void
test_a_recharge_that_was_given_up_is_not_credited(void **unused)
{
	struct hb_frame_order f = {
		.head = {.operation = HB_OP_ORDER_OPEN, .length = sizeof(f), .target = USER},
		.amount_fen = 100,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.order_stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, USER, f.order_stamp, HB_ORDER_OPEN, HB_ORDER_SENDING, 1),
		HB_STATUS_OK);
	f.head.operation = HB_OP_CREDIT;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(world_available(&w, USER), 100100);
	f.head.operation = HB_OP_ORDER_OPEN;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.order_stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, USER, f.order_stamp, HB_ORDER_OPEN, HB_ORDER_INVALID, 0),
		HB_STATUS_OK);
	f.head.operation = HB_OP_CREDIT;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_ORDER_STATE);
	assert_int_equal(world_available(&w, USER), 100100);
}

static void
test_an_adjustment_needs_two_people_and_a_case(void **unused)
{
	uint64_t suspense = hb_system_account(HB_SYSTEM_SUSPENSE, 3);
	struct hb_frame_adjust f = {
		.head = {.operation = HB_OP_ADJUST, .length = sizeof(f), .target = USER},
		.idempotency_key = "adjust-1",
		.to = suspense,
		.amount_fen = 40,
		.case_id = 9,
		.maker_id = 1,
		.checker_id = 1,
		.reason = 2};

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_SAME_PERSON);
	f.checker_id = 2;
	f.case_id = 0;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	f.case_id = 9;
	f.to = 6; /* between users it is a transfer */
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	f.to = suspense;
	f.amount_fen = 100001;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_INSUFFICIENT);
	f.amount_fen = 40;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	world_deliver(&w);
	assert_int_equal(world_available(&w, USER), 99960);
	assert_int_equal(world_available(&w, suspense), 40);
	/* A system account may go below zero, also one that only a credit made known. */
	assert_int_equal(world_adjust(&w, suspense, 6, 100), HB_STATUS_OK);
	world_deliver(&w);
	assert_int_equal(world_available(&w, suspense), -60);
	assert_int_equal(world_available(&w, 6), 100);
	assert_int_equal(world_adjust(&w, suspense + 1, 6, 100), HB_STATUS_FRAME_INVALID);
	assert_int_equal(world_adjust(&w, 4242, suspense, 1), HB_STATUS_ACCOUNT_UNKNOWN);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_hold_is_paid_out_less_the_fee),
		TEST(test_a_hold_has_exactly_one_exit),
		TEST(test_only_what_was_sent_is_paid_and_only_what_was_not_goes_back_at_the_deadline),
		TEST(test_the_reply_counts_what_was_held_on_the_day_and_not_given_back),
		TEST(test_the_same_key_gets_the_same_hold),
		TEST(test_what_cannot_be_held_is_refused),
		TEST(test_a_frozen_account_receives_but_does_not_pay),
		TEST(test_an_order_takes_allowed_steps_only_and_attempts_are_counted),
		TEST(test_a_recharge_that_was_given_up_is_not_credited),
		TEST(test_an_adjustment_needs_two_people_and_a_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
