/* SPDX-License-Identifier: Apache-2.0 */
/* Records become rows: whose tables, which numbers, legs that add up to zero. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "persist/expected.h"
#include "persist/map.h"
#include "persist/rows.h"
#include "persist/schema.h"
#include "shm/frame.h"
#include "shm/ids.h"
#include "shm/order_number.h"

#define NODE   7
#define SEQ    1234
#define MS     UINT64_C(1795392000123)
#define STAMP  (MS << 14 | 5)
#define SENDER 1001
#define USER   2002

static struct hb_rows rows;

/* Seal as a record of a partition, and turn into rows. */
static void
turn(void *record, enum hb_record_type type, uint32_t length, uint32_t partition,
	const struct hb_packet_origin *origin)
{
	struct hb_record *head = record;

	head->ring = (uint16_t)partition;
	head->core_sequence = 1;
	head->time_ns = MS * 1000000 + 999;
	hb_record_seal(head, type, length);
	assert_null(hb_record_verify(head, length));
	assert_null(hb_rows_of(head, SEQ, NODE, origin, &rows));
}

static void
assert_number(const char order_no[HB_ROW_ORDER_NO_BYTES], uint32_t business, uint32_t allocator,
	uint64_t account, uint64_t stamp)
{
	char wanted[HB_ORDER_NUMBER_LENGTH + 1];

	hb_order_number_format(wanted, business, NODE, allocator, account, stamp);
	assert_memory_equal(order_no, wanted, HB_ROW_ORDER_NO_BYTES);
}

static void
assert_flow(uint32_t i, uint64_t account, int64_t available, int64_t frozen)
{
	assert_true(i < rows.flow_count);
	assert_int_equal(rows.flow[i].account, account);
	assert_int_equal(rows.flow[i].available_delta, available);
	assert_int_equal(rows.flow[i].frozen_delta, frozen);
	assert_int_equal(rows.flow[i].leg, i + 1);
	assert_int_equal(rows.flow[i].jseq, SEQ);
	assert_int_equal(rows.flow[i].at_ms, MS);
}

static void
assert_flows_balanced(void)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < rows.flow_count; i++)
		sum += rows.flow[i].available_delta + rows.flow[i].frozen_delta;
	assert_int_equal(sum, 0);
}

static void
test_grab_is_an_order_a_claim_and_two_legs(void **state)
{
	uint64_t packet = hb_id_make(HB_ID_PACKET, hb_partition_of(SENDER), NODE, 9);
	const struct hb_packet_origin origin = {packet, SENDER, STAMP - (4 << 14)};
	struct hb_record_grab r = {.packet = packet,
		.user = USER,
		.amount_fen = 42,
		.left_fen = 58,
		.share_index = 3,
		.left_count = 2,
		.order_stamp = STAMP};

	(void)state;
	turn(&r, HB_RECORD_GRAB, sizeof(r), hb_partition_of(packet), &origin);
	assert_int_equal(hb_rows_packet_needed(&r.head), packet);
	assert_int_equal(rows.order_count, 1);
	assert_number(rows.order[0].order_no, 21, hb_partition_of(packet), USER, STAMP);
	assert_int_equal(rows.order[0].account, USER);
	assert_int_equal(rows.order[0].peer, SENDER);
	assert_int_equal(rows.order[0].packet, packet);
	assert_int_equal(rows.order[0].amount_fen, 42);
	assert_int_equal(rows.order[0].state, HB_ORDER_DONE);
	assert_int_equal(rows.claim_count, 1);
	assert_int_equal(rows.claim.account, USER);
	assert_int_equal(rows.claim.share, 3);
	assert_int_equal(rows.claim.amount_fen, 42);
	assert_int_equal(rows.flow_count, 2);
	assert_flow(0, SENDER, 0, -42);
	assert_flow(1, USER, 42, 0);
	assert_number(
		rows.flow[0].order_no, 20, hb_partition_of(packet), SENDER, origin.order_stamp);
	assert_memory_equal(rows.flow[1].order_no, rows.order[0].order_no, 32);
	assert_int_equal(rows.packet_change.left_fen, -42);
	assert_int_equal(rows.packet_change.left_count, -1);
	assert_int_equal(rows.packet_change.state, HB_PACKET_OPEN);
	r.left_count = 0;
	turn(&r, HB_RECORD_GRAB, sizeof(r), hb_partition_of(packet), &origin);
	assert_int_equal(rows.packet_change.state, HB_PACKET_SOLD_OUT);
}

static void
make_packet(void *place, const char *greeting, uint32_t *length)
{
	struct hb_record_packet_create *r = place;
	size_t n = strlen(greeting);

	*r = (struct hb_record_packet_create){
		.packet = hb_id_make(HB_ID_PACKET, hb_partition_of(SENDER), NODE, 9),
		.sender = SENDER,
		.group = 77,
		.total_fen = 1000,
		.share_min_fen = 1,
		.share_max_fen = 1000,
		.deadline_ms = MS + 86400000,
		.order_stamp = STAMP,
		.count = 10,
		.kind = HB_PACKET_LUCKY,
		.algorithm = HB_SPLIT_DOUBLE_MEAN,
		.greeting_length = (uint8_t)n,
	};
	memcpy(r->greeting, greeting, n);
	*length = (uint32_t)((sizeof(*r) + n + 7) & ~(size_t)7);
}

static void
test_send_is_an_order_a_packet_and_one_row_of_two_legs(void **state)
{
	_Alignas(8) uint8_t bytes[HB_RECORD_BYTES_MAX] = {0};
	uint32_t length;

	(void)state;
	make_packet(bytes, "恭喜发财", &length);
	turn(bytes, HB_RECORD_PACKET_CREATE, length, hb_partition_of(SENDER), NULL);
	assert_int_equal(rows.order_count, 1);
	assert_number(rows.order[0].order_no, 20, hb_partition_of(SENDER), SENDER, STAMP);
	assert_int_equal(rows.flow_count, 1);
	assert_flow(0, SENDER, -1000, 1000);
	assert_int_equal(rows.packet_count, 1);
	assert_int_equal(rows.packet.left_fen, 1000);
	assert_int_equal(rows.packet.left_count, 10);
	assert_int_equal(rows.packet.created_ms, MS);
	assert_int_equal(rows.packet.group_id, 77);
	assert_string_equal(rows.packet.greeting, "恭喜发财");
}

static void
test_greeting_that_is_not_utf8_does_not_stop_the_ledger(void **state)
{
	static const struct {
		const char *sent, *kept;
	} cases[] = {
		{"a\xff"
		 "b",
			"a?b"},
		{"\xe6\x81", "??"},	      /* cut off */
		{"\xc0\xaf", "??"},	      /* overlong */
		{"\xed\xa0\x80", "???"},      /* surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
		{"\xf0\x9f\xa7\xa7", "\xf0\x9f\xa7\xa7"},
	};
	_Alignas(8) uint8_t bytes[HB_RECORD_BYTES_MAX];
	uint32_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(bytes, 0, sizeof(bytes));
		make_packet(bytes, cases[i].sent, &length);
		turn(bytes, HB_RECORD_PACKET_CREATE, length, hb_partition_of(SENDER), NULL);
		assert_string_equal(rows.packet.greeting, cases[i].kept);
	}
}

static void
test_expiry_refunds_what_is_left(void **state)
{
	uint64_t packet = hb_id_make(HB_ID_PACKET, hb_partition_of(SENDER), NODE, 9);
	const struct hb_packet_origin origin = {packet, SENDER, STAMP - 1};
	struct hb_record_packet_expire r = {
		.packet = packet, .refund_fen = 58, .order_stamp = STAMP};

	(void)state;
	turn(&r, HB_RECORD_PACKET_EXPIRE, sizeof(r), hb_partition_of(packet), &origin);
	assert_int_equal(hb_rows_packet_needed(&r.head), packet);
	assert_int_equal(rows.order_count, 1);
	assert_number(rows.order[0].order_no, 22, hb_partition_of(packet), SENDER, STAMP);
	assert_int_equal(rows.flow_count, 1);
	assert_flow(0, SENDER, 58, -58);
	assert_int_equal(rows.packet_change.left_fen, -58);
	assert_int_equal(rows.packet_change.left_count, 0);
	assert_int_equal(rows.packet_change.refunded_fen, 58);
	assert_int_equal(rows.packet_change.state, HB_PACKET_REFUNDED);
}

static void
test_transfer_is_two_orders_with_one_stamp(void **state)
{
	struct hb_record_transfer r = {
		.from = SENDER, .to = USER, .amount_fen = 300, .order_stamp = STAMP};

	(void)state;
	turn(&r, HB_RECORD_TRANSFER, sizeof(r), hb_partition_of(SENDER), NULL);
	assert_int_equal(rows.order_count, 2);
	assert_number(rows.order[0].order_no, 30, hb_partition_of(SENDER), SENDER, STAMP);
	assert_number(rows.order[1].order_no, 31, hb_partition_of(SENDER), USER, STAMP);
	assert_int_equal(rows.order[0].peer, USER);
	assert_int_equal(rows.order[1].peer, SENDER);
	assert_flow(0, SENDER, -300, 0);
	assert_flow(1, USER, 300, 0);
	assert_flows_balanced();
}

static void
test_recharge_opens_an_order_that_the_credit_settles(void **state)
{
	uint32_t partition = hb_partition_of(USER);
	struct hb_record_order_open open = {.order_stamp = STAMP,
		.account = USER,
		.amount_fen = 500,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
	struct hb_record_credit credit = {.order_stamp = STAMP,
		.account = USER,
		.amount_fen = 500,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
	char order_no[HB_ROW_ORDER_NO_BYTES];

	(void)state;
	turn(&open, HB_RECORD_ORDER_OPEN, sizeof(open), partition, NULL);
	assert_int_equal(rows.order_count, 1);
	assert_int_equal(rows.flow_count, 0);
	assert_int_equal(rows.order[0].state, HB_ORDER_OPEN);
	assert_number(rows.order[0].order_no, 10, partition, USER, STAMP);
	memcpy(order_no, rows.order[0].order_no, sizeof(order_no));
	turn(&credit, HB_RECORD_CREDIT, sizeof(credit), partition, NULL);
	assert_int_equal(rows.order_count, 0);
	assert_int_equal(rows.order_change.account, USER);
	assert_int_equal(rows.order_change.state, HB_ORDER_DONE);
	assert_memory_equal(rows.order_change.order_no, order_no, sizeof(order_no));
	assert_flow(0, hb_system_account(HB_SYSTEM_CLEARING_MANUAL, partition), -500, 0);
	assert_flow(1, USER, 500, 0);
	assert_flows_balanced();
}

static void
test_accounts_are_opened_barred_and_unbarred(void **state)
{
	struct hb_record_account_open open = {.account = USER, .kind = HB_ACCOUNT_ENTERPRISE};
	struct hb_record_account_freeze freeze = {.account = USER};

	(void)state;
	turn(&open, HB_RECORD_ACCOUNT_OPEN, sizeof(open), hb_partition_of(USER), NULL);
	assert_int_equal(rows.account_event.account, USER);
	assert_int_equal(rows.account_event.event, HB_ACCOUNT_OPENED);
	assert_int_equal(rows.account_event.kind, HB_ACCOUNT_ENTERPRISE);
	turn(&freeze, HB_RECORD_ACCOUNT_FREEZE, sizeof(freeze), hb_partition_of(USER), NULL);
	assert_int_equal(rows.account_event.event, HB_ACCOUNT_BARRED);
	turn(&freeze, HB_RECORD_ACCOUNT_UNFREEZE, sizeof(freeze), hb_partition_of(USER), NULL);
	assert_int_equal(rows.account_event.event, HB_ACCOUNT_UNBARRED);
}

static void
test_hold_opens_an_order_that_post_or_void_ends(void **state)
{
	uint32_t partition = hb_partition_of(USER);
	struct hb_record_hold hold = {.hold_id = hb_id_make(HB_ID_HOLD, partition, NODE, 1),
		.account = USER,
		.amount_fen = 500,
		.order_stamp = STAMP,
		.reason = HB_HOLD_WITHDRAWAL};
	struct hb_record_hold_exit end = {.hold_id = hold.hold_id,
		.account = USER,
		.amount_fen = 500,
		.fee_fen = 3,
		.order_stamp = STAMP,
		.channel = HB_SYSTEM_CLEARING_99BILL,
		.business = HB_BUSINESS_WITHDRAWAL,
		.state_after = HB_ORDER_DONE};
	char order_no[HB_ROW_ORDER_NO_BYTES];

	(void)state;
	turn(&hold, HB_RECORD_HOLD, sizeof(hold), partition, NULL);
	assert_int_equal(rows.order_count, 1);
	assert_int_equal(rows.order[0].state, HB_ORDER_REQUESTED);
	assert_number(rows.order[0].order_no, 11, partition, USER, STAMP);
	memcpy(order_no, rows.order[0].order_no, sizeof(order_no));
	assert_flow(0, USER, -500, 500);
	assert_flows_balanced();
	turn(&end, HB_RECORD_POST, sizeof(end), partition, NULL);
	assert_int_equal(rows.order_change.state, HB_ORDER_DONE);
	assert_memory_equal(rows.order_change.order_no, order_no, sizeof(order_no));
	assert_flow(0, USER, 0, -500);
	assert_flow(1, hb_system_account(HB_SYSTEM_CLEARING_99BILL, partition), 497, 0);
	assert_flow(2, hb_system_account(HB_SYSTEM_FEES, partition), 3, 0);
	assert_flows_balanced();
	end.fee_fen = 0;
	end.state_after = HB_ORDER_FAILED;
	turn(&end, HB_RECORD_VOID, sizeof(end), partition, NULL);
	assert_int_equal(rows.order_change.state, HB_ORDER_FAILED);
	assert_int_equal(rows.flow_count, 1);
	assert_flow(0, USER, 500, -500);
}

static void
test_step_of_a_workflow_changes_its_order(void **state)
{
	uint32_t partition = hb_partition_of(USER);
	struct hb_record_order_update step = {.order_stamp = STAMP,
		.account = USER,
		.state_before = HB_ORDER_APPROVED,
		.state_after = HB_ORDER_SENDING,
		.business = HB_BUSINESS_WITHDRAWAL};

	(void)state;
	turn(&step, HB_RECORD_ORDER_UPDATE, sizeof(step), partition, NULL);
	assert_int_equal(rows.order_change.state, HB_ORDER_SENDING);
	assert_number(rows.order_change.order_no, 11, partition, USER, STAMP);
	assert_int_equal(rows.order_count + rows.flow_count, 0);
}

static void
test_adjustment_is_an_order_of_the_user(void **state)
{
	uint64_t suspense = hb_system_account(HB_SYSTEM_SUSPENSE, 3);
	struct hb_record_adjust adjust = {
		.from = suspense, .to = USER, .amount_fen = 9, .order_stamp = STAMP};

	(void)state;
	turn(&adjust, HB_RECORD_ADJUST, sizeof(adjust), 3, NULL);
	assert_int_equal(rows.order_count, 1);
	assert_int_equal(rows.order[0].account, USER);
	assert_int_equal(rows.order[0].peer, suspense);
	assert_number(rows.order[0].order_no, 90, 3, USER, STAMP);
	assert_flow(0, suspense, -9, 0);
	assert_flow(1, USER, 9, 0);
	assert_flows_balanced();
}

static void
test_records_without_rows_are_told_from_unknown_ones(void **state)
{
	struct hb_record_mark mark = {0};
	struct hb_record_hold hold = {0};

	(void)state;
	turn(&mark, HB_RECORD_MARK, sizeof(mark), 3, NULL);
	assert_int_equal(rows.order_count + rows.flow_count + rows.claim_count, 0);
	hb_record_seal(&hold.head, HB_RECORD_HOLD, sizeof(hold));
	assert_non_null(hb_rows_of(&hold.head, SEQ, NODE, NULL, &rows));
}

/* A hole would make equal rows different. */
static void
test_every_column_is_in_the_hash_and_nothing_else(void **state)
{
	(void)state;
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++) {
		const struct hb_table_layout *layout = &hb_table_layouts[t];
		_Alignas(8) uint8_t row[1024] = {0};
		uint64_t before = hb_row_hash((enum hb_table)t, row);

		assert_true(layout->row_bytes <= sizeof(row));
		for (uint32_t i = 0; i < layout->column_count; i++) {
			row[layout->columns[i].offset] ^= 1;
			assert_int_not_equal(hb_row_hash((enum hb_table)t, row), before);
			row[layout->columns[i].offset] ^= 1;
		}
		assert_int_equal(hb_row_hash((enum hb_table)t, row), before);
	}
}

/* One fen from one row to another keeps sums of amounts, and must not keep the sum of hashes. */
static void
test_a_shifted_fen_changes_the_sum(void **state)
{
	struct hb_table_sum *sums = test_calloc(2, sizeof(*sums));
	struct hb_row_claim a = {.packet = 1, .account = 2, .amount_fen = 10};
	struct hb_row_claim b = {.packet = 1, .account = 3, .amount_fen = 11};

	(void)state;
	hb_table_sum_add(&sums[0], HB_TABLE_CLAIM, &a);
	hb_table_sum_add(&sums[0], HB_TABLE_CLAIM, &b);
	a.amount_fen = 11;
	b.amount_fen = 10;
	hb_table_sum_add(&sums[1], HB_TABLE_CLAIM, &b);
	hb_table_sum_add(&sums[1], HB_TABLE_CLAIM, &a);
	assert_int_equal(hb_table_total(&sums[0]).count, 2);
	assert_int_not_equal(hb_table_total(&sums[0]).hash, hb_table_total(&sums[1]).hash);
	test_free(sums);
}

static void
test_map_keeps_what_was_put(void **state)
{
	struct entry {
		uint64_t key;
		uint64_t value;
	};
	struct hb_map map;
	uint64_t cursor = 0;
	uint64_t seen = 0;

	(void)state;
	hb_map_open(&map, sizeof(struct entry));
	assert_null(hb_map_find(&map, 5));
	for (uint64_t i = 1; i <= 10000; i++)
		((struct entry *)hb_map_get(&map, i * i))->value = i;
	assert_int_equal(map.count, 10000);
	for (uint64_t i = 1; i <= 10000; i++)
		assert_int_equal(((struct entry *)hb_map_find(&map, i * i))->value, i);
	assert_null(hb_map_find(&map, 3));
	while (hb_map_next(&map, &cursor) != NULL)
		seen++;
	assert_int_equal(seen, 10000);
	hb_map_clear(&map);
	assert_null(hb_map_find(&map, 4));
	hb_map_close(&map);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grab_is_an_order_a_claim_and_two_legs),
		cmocka_unit_test(test_send_is_an_order_a_packet_and_one_row_of_two_legs),
		cmocka_unit_test(test_greeting_that_is_not_utf8_does_not_stop_the_ledger),
		cmocka_unit_test(test_expiry_refunds_what_is_left),
		cmocka_unit_test(test_transfer_is_two_orders_with_one_stamp),
		cmocka_unit_test(test_recharge_opens_an_order_that_the_credit_settles),
		cmocka_unit_test(test_accounts_are_opened_barred_and_unbarred),
		cmocka_unit_test(test_hold_opens_an_order_that_post_or_void_ends),
		cmocka_unit_test(test_step_of_a_workflow_changes_its_order),
		cmocka_unit_test(test_adjustment_is_an_order_of_the_user),
		cmocka_unit_test(test_records_without_rows_are_told_from_unknown_ones),
		cmocka_unit_test(test_every_column_is_in_the_hash_and_nothing_else),
		cmocka_unit_test(test_a_shifted_fen_changes_the_sum),
		cmocka_unit_test(test_map_keeps_what_was_put),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
