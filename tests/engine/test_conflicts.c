/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that is asked again under its key is answered again; under the same key anything else
 * is refused and changes nothing. For the commands of operators and workflows, field by field.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ids.h"
#include "tests/engine/world.h"

#define USER	1001
#define CASE_ID 77

/* A field of a command's content. */
struct content {
	const char *name;
	size_t offset;
	size_t bytes;
};
#define CONTENT(type, field)                                                                       \
	{                                                                                          \
#field, offsetof(struct type, field), sizeof(((struct type *)0)->field)            \
	}

static struct world w;

static int
setup(void **unused)
{
	(void)unused;
	world_open(&w);
	w.input.trusted = true;
	assert_int_equal(world_fund(&w, USER, 10000), HB_STATUS_OK);
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	world_check_replay(&w);
	assert_int_equal(world_money(&w), 0);
	world_close(&w);
	return 0;
}

/* Everything that a command could have changed. */
static uint64_t
fingerprint(void)
{
	uint64_t sum = w.journal_bytes;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition_head *head = w.state.partition[i].head;

		sum = hb_mix64(sum ^ head->state_hash) + head->balance_hash + head->core_sequence +
		      head->idempotency_next + head->last_stamp;
	}
	return sum;
}

/* The command again: answered, and nothing happens. */
static void
expect_answered_again(const void *command, size_t bytes)
{
	_Alignas(8) uint8_t frame[HB_FRAME_BYTES_MAX];
	uint64_t before = fingerprint();

	memcpy(frame, command, bytes);
	assert_int_equal(world_ask(&w, frame), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_true(fingerprint() == before);
}

static void
expect_refused(const void *command, size_t bytes, enum hb_status status, const char *what)
{
	_Alignas(8) uint8_t frame[HB_FRAME_BYTES_MAX];
	uint64_t before = fingerprint();
	enum hb_status got;

	memcpy(frame, command, bytes);
	got = world_ask(&w, frame);
	if (got != status)
		fail_msg("another %s was answered %s, not %s", what, hb_status_name(got),
			hb_status_name(status));
	if (fingerprint() != before)
		fail_msg("another %s was refused and changed something", what);
}

/* Each field of the content changed in each of its bytes, under the same key. */
static void
expect_conflicts(const void *command, size_t bytes, const struct content *fields, size_t count)
{
	_Alignas(8) uint8_t frame[HB_FRAME_BYTES_MAX];

	for (size_t i = 0; i < count; i++) {
		for (size_t at = 0; at < fields[i].bytes; at++) {
			memcpy(frame, command, bytes);
			frame[fields[i].offset + at] ^= 1;
			expect_refused(frame, bytes, HB_STATUS_CONFLICT, fields[i].name);
		}
	}
	expect_answered_again(command, bytes);
}
#define EXPECT_CONFLICTS(command, fields)                                                          \
	expect_conflicts(&(command), sizeof(command), fields, sizeof(fields) / sizeof((fields)[0]))

static void
test_freeze_and_unfreeze(void **unused)
{
	static const struct content fields[] = {CONTENT(hb_frame_account_freeze, case_id),
		CONTENT(hb_frame_account_freeze, operator_id)};
	struct hb_frame_account_freeze f = {
		.head = {.operation = HB_OP_ACCOUNT_FREEZE, .length = sizeof(f), .target = USER},
		.idempotency_key = "freeze-1",
		.case_id = CASE_ID,
		.operator_id = 2};
	struct hb_frame_account_freeze thaw = f;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, 0);
	EXPECT_CONFLICTS(f, fields);
	/* The key of a freeze is not one for its opposite. */
	thaw.head.operation = HB_OP_ACCOUNT_UNFREEZE;
	expect_refused(&thaw, sizeof(thaw), HB_STATUS_CONFLICT, "operation");
	memcpy(thaw.idempotency_key, "thaw-1", 7);
	assert_int_equal(world_ask(&w, &thaw), HB_STATUS_OK);
	EXPECT_CONFLICTS(thaw, fields);
	/* The freeze was done, and is not done anew: the account stays free. */
	expect_answered_again(&f, sizeof(f));
	assert_int_equal(world_send(&w, USER, 5, 10, 1, 0, &(uint64_t){0}), HB_STATUS_OK);
}

static void
test_adjust(void **unused)
{
	static const struct content fields[] = {CONTENT(hb_frame_adjust, to),
		CONTENT(hb_frame_adjust, amount_fen), CONTENT(hb_frame_adjust, case_id),
		CONTENT(hb_frame_adjust, maker_id), CONTENT(hb_frame_adjust, checker_id),
		CONTENT(hb_frame_adjust, reason)};
	struct hb_frame_adjust f = {
		.head = {.operation = HB_OP_ADJUST, .length = sizeof(f), .target = USER},
		.idempotency_key = "adjust-1",
		.to = hb_system_account(HB_SYSTEM_SUSPENSE, hb_partition_of(USER)),
		.amount_fen = 300,
		.case_id = CASE_ID,
		.maker_id = 4,
		.checker_id = 5,
		.reason = 6};
	struct hb_frame_account_freeze freeze = {.head = {.operation = HB_OP_ACCOUNT_FREEZE,
							 .length = sizeof(freeze),
							 .target = USER},
		.idempotency_key = "adjust-1",
		.case_id = CASE_ID,
		.operator_id = 4};

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	world_deliver(&w);
	EXPECT_CONFLICTS(f, fields);
	expect_refused(&freeze, sizeof(freeze), HB_STATUS_CONFLICT, "operation");
	assert_int_equal(world_available(&w, USER), 9700);
}

/* A withdrawal that waits for approval. */
static uint64_t
requested(uint64_t *hold)
{
	assert_int_equal(world_hold(&w, USER, 500, hold), HB_STATUS_OK);
	return w.reply.head.order_stamp;
}

static uint64_t
sent(uint64_t *hold)
{
	uint64_t stamp = requested(hold);

	assert_int_equal(world_step(&w, USER, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_OK);
	assert_int_equal(
		world_step(&w, USER, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1), HB_STATUS_OK);
	return stamp;
}

static void
test_order_update(void **unused)
{
	static const struct content fields[] = {CONTENT(hb_frame_order_update, order_stamp),
		CONTENT(hb_frame_order_update, operator_id),
		CONTENT(hb_frame_order_update, state_before),
		CONTENT(hb_frame_order_update, state_after),
		CONTENT(hb_frame_order_update, attempt), CONTENT(hb_frame_order_update, reason),
		CONTENT(hb_frame_order_update, channel),
		CONTENT(hb_frame_order_update, channel_reference)};
	uint64_t hold;
	struct hb_frame_order_update f = {
		.head = {.operation = HB_OP_ORDER_UPDATE, .length = sizeof(f), .target = USER},
		.idempotency_key = "approve-1",
		.order_stamp = requested(&hold),
		.operator_id = 9,
		.state_before = HB_ORDER_REQUESTED,
		.state_after = HB_ORDER_APPROVED,
		.reason = 3};

	(void)unused;
	memset(f.channel_reference, 'x', sizeof(f.channel_reference));
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	EXPECT_CONFLICTS(f, fields);
	memcpy(f.idempotency_key, "send-1", 7);
	memset(f.idempotency_key + 7, 0, sizeof(f.idempotency_key) - 7);
	f.state_before = HB_ORDER_APPROVED;
	f.state_after = HB_ORDER_SENDING;
	f.attempt = 1;
	f.channel = HB_SYSTEM_CLEARING_WECHAT;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	EXPECT_CONFLICTS(f, fields);
	/* Also later, when the order has gone on. */
	assert_int_equal(world_step(&w, USER, f.order_stamp, HB_ORDER_SENDING, HB_ORDER_UNKNOWN, 1),
		HB_STATUS_OK);
	EXPECT_CONFLICTS(f, fields);
}

static void
expect_exit_conflicts(const struct hb_frame_hold_exit *f, int64_t available_fen)
{
	bool posted = f->head.operation == HB_OP_POST; /* a VOID has no fee */
	struct hb_frame_hold_exit other = *f;

	expect_answered_again(f, sizeof(*f));
	for (int64_t fee_fen = 0; posted && fee_fen <= f->amount_fen; fee_fen++) {
		other.fee_fen = fee_fen;
		if (fee_fen != f->fee_fen)
			expect_refused(&other, sizeof(other), HB_STATUS_CONFLICT, "fee");
	}
	other = *f;
	for (uint32_t bit = 0; bit < 32; bit++) {
		other.reason = f->reason ^ UINT32_C(1) << bit;
		expect_refused(&other, sizeof(other), HB_STATUS_CONFLICT, "reason");
	}
	other = *f;
	other.amount_fen--;
	expect_refused(&other, sizeof(other), HB_STATUS_AMOUNT_MISMATCH, "amount");
	other = *f;
	other.head.operation = posted ? HB_OP_VOID : HB_OP_POST;
	other.fee_fen = 0;
	expect_refused(&other, sizeof(other), HB_STATUS_HOLD_STATE, "operation");
	expect_answered_again(f, sizeof(*f));
	assert_int_equal(world_available(&w, USER), available_fen);
	assert_int_equal(world_frozen(&w, USER), 0);
}

static void
test_post(void **unused)
{
	struct hb_frame_hold_exit f = {.head = {.operation = HB_OP_POST, .length = sizeof(f)},
		.amount_fen = 500,
		.fee_fen = 20,
		.reason = 7};

	(void)unused;
	sent(&f.head.target);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	world_deliver(&w);
	expect_exit_conflicts(&f, 9500);
}

static void
test_void(void **unused)
{
	struct hb_frame_hold_exit f = {.head = {.operation = HB_OP_VOID, .length = sizeof(f)},
		.amount_fen = 500,
		.reason = 7};

	(void)unused;
	requested(&f.head.target);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	expect_exit_conflicts(&f, 10000);
}

/* Whoever voids what the deadline voided before hears that it is done, whatever his reason. */
static void
test_a_void_after_the_deadlines_void_is_done_already(void **unused)
{
	struct hb_frame_hold_exit f = {.head = {.operation = HB_OP_VOID, .length = sizeof(f)},
		.amount_fen = 500,
		.reason = 7};

	(void)unused;
	w.hold_lifetime_s = 60;
	requested(&f.head.target);
	world_advance_ms(&w, 60000);
	assert_int_equal(world_void_due(&w), 1);
	expect_answered_again(&f, sizeof(f));
	f.reason = 8;
	expect_answered_again(&f, sizeof(f));
}

static void
test_order_load(void **unused)
{
	static const struct content fields[] = {CONTENT(hb_frame_order_load, amount_fen),
		CONTENT(hb_frame_order_load, settled_fen),
		CONTENT(hb_frame_order_load, refunded_fen), CONTENT(hb_frame_order_load, hold_id),
		CONTENT(hb_frame_order_load, business), CONTENT(hb_frame_order_load, channel),
		CONTENT(hb_frame_order_load, state)};
	uint64_t hold;
	struct hb_frame_order_load f = {
		.head = {.operation = HB_OP_ORDER_LOAD, .length = sizeof(f), .target = USER},
		.order_stamp = requested(&hold),
		.amount_fen = 500,
		.business = HB_BUSINESS_WITHDRAWAL,
		.state = HB_ORDER_INVALID,
		.hold_id = hold};
	struct hb_frame_order_load stranger = f;

	(void)unused;
	/* It lives, and is no order that is over: a load does not touch it. */
	expect_refused(&f, sizeof(f), HB_STATUS_CONFLICT, "state");
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 500, 0), HB_STATUS_OK);
	world_advance_ms(&w, 1000);
	assert_true(world_evict(&w, 1000) >= 2);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, 0);
	EXPECT_CONFLICTS(f, fields);
	do
		stranger.head.target++;
	while (hb_partition_of(stranger.head.target) != hb_partition_of(USER));
	assert_int_equal(world_fund(&w, stranger.head.target, 1), HB_STATUS_OK);
	expect_refused(&stranger, sizeof(stranger), HB_STATUS_CONFLICT, "account");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_freeze_and_unfreeze),
		TEST(test_adjust),
		TEST(test_order_update),
		TEST(test_post),
		TEST(test_void),
		TEST(test_a_void_after_the_deadlines_void_is_done_already),
		TEST(test_order_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
