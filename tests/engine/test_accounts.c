/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts, recharges and transfers. */
#include <string.h>

#include "shm/token.h"
#include "tests/engine/world.h"

static struct world w;

static int
setup(void **unused)
{
	(void)unused;
	world_open(&w);
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	assert_int_equal(world_money(&w), 0);
	world_check_replay(&w);
	world_close(&w);
	return 0;
}

static struct hb_frame_order
order_frame(uint64_t account, int64_t amount_fen)
{
	return (struct hb_frame_order){.head = {.operation = HB_OP_ORDER_OPEN,
					       .length = sizeof(struct hb_frame_order),
					       .target = account},
		.idempotency_key = "order-1",
		.amount_fen = amount_fen,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
}

static void
test_a_recharge_is_credited_once(void **unused)
{
	struct hb_frame_order f;

	(void)unused;
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	f = order_frame(5, 250);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.order_stamp = w.reply.head.order_stamp;
	f.head.operation = HB_OP_CREDIT;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(world_available(&w, 5), 350);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(world_available(&w, 5), 350);
	f.amount_fen = 251;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_AMOUNT_MISMATCH);
	f.order_stamp++;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_ORDER_UNKNOWN);
}

static void
test_the_same_key_gets_the_same_order_and_other_parameters_conflict(void **unused)
{
	struct hb_frame_order f = order_frame(5, 250);
	uint64_t stamp;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_ACCOUNT_UNKNOWN);
	assert_int_equal(world_fund(&w, 5, 1), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	stamp = w.reply.head.order_stamp;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.order_stamp, stamp);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	f.amount_fen = 251;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_CONFLICT);
	world_advance_ms(&w, UINT64_C(1000) * (HB_IDEMPOTENCY_KEPT_S + 10));
	f.idempotency_key[0] = 'x';
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.idempotency_key[0] = 'o';
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_not_equal(w.reply.head.order_stamp, stamp);
}

static void
test_amounts_outside_their_limits_are_refused(void **unused)
{
	static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, HB_CREDIT_FEN_MAX + 1};

	(void)unused;
	assert_int_equal(world_fund(&w, 5, 1), HB_STATUS_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hb_frame_order f = order_frame(5, bad[i]);

		assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	}
}

/*
 * The key of a transfer without one is made of token and sequence, so another user's frame with
 * them finds the first transfer when both users are of one partition: he hears about the token
 * only.
 */
static void
test_a_stranger_with_a_used_token_hears_that_it_is_not_his(void **unused)
{
	uint64_t id = w.input.now_ns / 1000000 << 14 | 1;
	uint32_t expiry_s = (uint32_t)(hb_stamp_ms(id) / 1000) + HB_TOKEN_LIFETIME_S;
	const uint8_t *key = w.config.token_keys.key[0];
	uint64_t stranger = 6;
	struct hb_frame_transfer f = {
		.head = {.operation = HB_OP_TRANSFER,
			.length = sizeof(f),
			.target = 5,
			.user = 5,
			.token_id = id,
			.token_expiry_s = expiry_s,
			.token_mac = hb_token_mac(key, id, 5, 5, expiry_s, HB_OP_TRANSFER),
			.sequence = hb_token_initial_sequence(key, id, 5) + 1},
		.to = 7,
		.amount_fen = 10};

	(void)unused;
	while (hb_partition_of(stranger) != hb_partition_of(5))
		stranger++;
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	assert_int_equal(world_fund(&w, stranger, 100), HB_STATUS_OK);
	w.config.tokens_required = true;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.amount_fen = 11;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_SEQUENCE_USED);
	f.head.user = f.head.target = stranger;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_TOKEN_INVALID);
}

/* Its own key makes a second transfer another command, but the token's sequence is used. */
static void
test_a_sequence_serves_one_transfer_whatever_its_key(void **unused)
{
	uint64_t id = w.input.now_ns / 1000000 << 14 | 1;
	uint32_t expiry_s = (uint32_t)(hb_stamp_ms(id) / 1000) + HB_TOKEN_LIFETIME_S;
	struct hb_frame_transfer f = {
		.head = {.operation = HB_OP_TRANSFER,
			.length = sizeof(f),
			.target = 5,
			.user = 5,
			.token_id = id,
			.token_expiry_s = expiry_s,
			.token_mac = hb_token_mac(
				w.config.token_keys.key[0], id, 5, 5, expiry_s, HB_OP_TRANSFER),
			.sequence =
				hb_token_initial_sequence(w.config.token_keys.key[0], id, 5) + 1},
		.to = 6,
		.amount_fen = 10,
		.idempotency_key = {1}};

	(void)unused;
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	w.config.tokens_required = true;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.idempotency_key[0] = 2;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_SEQUENCE_USED);
	f.head.sequence++;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	world_deliver(&w);
	assert_int_equal(world_available(&w, 6), 20);
}

static void
test_a_transfer_moves_money_between_partitions(void **unused)
{
	struct hb_frame_transfer f = {
		.head = {.operation = HB_OP_TRANSFER, .length = sizeof(f), .target = 5, .user = 5},
		.to = 6,
		.amount_fen = 60};

	(void)unused;
	assert_int_not_equal(hb_partition_of(5), hb_partition_of(6));
	assert_int_equal(world_ask(&w, &f), HB_STATUS_ACCOUNT_UNKNOWN);
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(world_available(&w, 5), 40);
	assert_int_equal(world_available(&w, 6), 0);
	world_deliver(&w);
	assert_int_equal(world_available(&w, 6), 60);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_INSUFFICIENT);
	f.to = 5;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	f.to = UINT64_MAX;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
}

static void
test_frames_that_break_the_format_are_refused(void **unused)
{
	struct hb_frame_order f = order_frame(5, 1);

	(void)unused;
	f.reserved[3] = 1;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f = order_frame(5, 1);
	f.head.length = 64;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f = order_frame(0, 1);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f = order_frame(5, 1);
	f.head.operation = HB_OP_COUNT;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f = order_frame(5, 1);
	f.head.version = 2;
	assert_int_equal(hb_frame_check(&f.head, sizeof(f)), HB_STATUS_FRAME_VERSION);
}

static void
test_a_changed_byte_of_memory_is_found_by_the_audit(void **unused)
{
	struct hb_partition *p = &w.state.partition[hb_partition_of(5)];

	(void)unused;
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	assert_int_equal(hb_audit_step(p, UINT32_MAX), 1);
	assert_int_equal(hb_audit_step(p, 4000), 0);
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	assert_int_equal(hb_audit_step(p, 4000), 1);
	hb_account_find(p, 5)->available_fen++;
	assert_int_equal(hb_audit_step(p, UINT32_MAX), -1);
	hb_account_find(p, 5)->available_fen--;
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_recharge_is_credited_once),
		TEST(test_the_same_key_gets_the_same_order_and_other_parameters_conflict),
		TEST(test_amounts_outside_their_limits_are_refused),
		TEST(test_a_stranger_with_a_used_token_hears_that_it_is_not_his),
		TEST(test_a_sequence_serves_one_transfer_whatever_its_key),
		TEST(test_a_transfer_moves_money_between_partitions),
		TEST(test_frames_that_break_the_format_are_refused),
		TEST(test_a_changed_byte_of_memory_is_found_by_the_audit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
