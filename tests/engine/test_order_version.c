/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.version may change at every restart: numbers stay unique, each order keeps the text it was
 * made with, and both versions are found by their text.
 */
#include <stdlib.h>
#include <string.h>

#include "shm/apply_internal.h"
#include "tests/engine/world.h"

#define GROUP	    5
#define NUMBERS_MAX 4096
#define NODE	    7

typedef char number_text[HB_ORDER_NUMBER_LENGTH + 1];

static struct world w;
static number_text numbers[NUMBERS_MAX];
static uint32_t number_count;

static void
take_number(uint32_t business, uint32_t ring, uint64_t account, uint64_t stamp)
{
	assert_true(number_count < NUMBERS_MAX);
	hb_order_number_format(numbers[number_count++], business, NODE, ring, account, stamp);
}

/* The numbers of the orders that a record makes. */
static void
take_numbers_of(const struct hb_record *record)
{
	const union {
		struct hb_record head;
		struct hb_record_order_open open;
		struct hb_record_packet_create create;
		struct hb_record_grab grab;
		struct hb_record_packet_expire expire;
		struct hb_record_hold hold;
		struct hb_record_transfer transfer;
		struct hb_record_adjust adjust;
	} *r = (const void *)record;
	uint32_t ring = record->ring;

	switch (record->type) {
	case HB_RECORD_ORDER_OPEN:
		take_number(r->open.business, ring, r->open.account, r->open.order_stamp);
		return;
	case HB_RECORD_PACKET_CREATE:
		take_number(HB_BUSINESS_PACKET_SEND, ring, r->create.sender, r->create.order_stamp);
		return;
	case HB_RECORD_GRAB:
		take_number(HB_BUSINESS_PACKET_GRAB, ring, r->grab.user, r->grab.order_stamp);
		return;
	case HB_RECORD_HOLD:
		take_number(HB_BUSINESS_WITHDRAWAL, ring, r->hold.account, r->hold.order_stamp);
		return;
	case HB_RECORD_TRANSFER:
		take_number(
			HB_BUSINESS_TRANSFER_OUT, ring, r->transfer.from, r->transfer.order_stamp);
		take_number(HB_BUSINESS_TRANSFER_IN, ring, r->transfer.to, r->transfer.order_stamp);
		return;
	case HB_RECORD_ADJUST:
		take_number(HB_BUSINESS_ADJUSTMENT, ring, r->adjust.from, r->adjust.order_stamp);
		return;
	default:
		return;
	}
}

static void
take_all_numbers(void)
{
	uint64_t at = 0;

	number_count = 0;
	while (at < w.journal_bytes) {
		const struct hb_record *record = (const void *)(w.journal + at);

		take_numbers_of(record);
		at += record->length;
	}
}

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* @return how many of all numbers are of a version; fails when one came twice or does not parse */
static uint32_t
count_version(uint32_t version)
{
	uint32_t count = 0;

	take_all_numbers();
	qsort(numbers, number_count, sizeof(numbers[0]), compare);
	for (uint32_t i = 0; i < number_count; i++) {
		struct hb_order_number parsed;

		if (i > 0)
			assert_string_not_equal(numbers[i - 1], numbers[i]);
		assert_true(hb_order_number_parse(numbers[i], &parsed));
		count += parsed.version == version;
	}
	return count;
}

static void
restart_with(uint32_t version)
{
	world_restart(&w);
	w.config.order_version = version;
}

/* ORDER_OPEN; its stamp is in the reply. */
static uint64_t
open_order(uint64_t account)
{
	struct hb_frame_order f = {
		.head = {.operation = HB_OP_ORDER_OPEN,
			.length = sizeof(f),
			.target = account,
			.user = account},
		.amount_fen = 100,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL,
	};
	bool trusted = w.input.trusted;

	w.input.trusted = true;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	w.input.trusted = trusted;
	return w.reply.head.order_stamp;
}

static enum hb_status
query(uint64_t account, uint64_t stamp)
{
	struct hb_frame_order f = {
		.head = {.operation = HB_OP_ORDER_QUERY,
			.length = sizeof(f),
			.target = account,
			.user = account},
		.order_stamp = stamp,
	};
	enum hb_status status;

	w.input.trusted = true;
	status = world_ask(&w, &f);
	w.input.trusted = false;
	return status;
}

static enum hb_status
credit(uint64_t account, uint64_t stamp)
{
	struct hb_frame_order f = {
		.head = {.operation = HB_OP_CREDIT,
			.length = sizeof(f),
			.target = account,
			.user = account},
		.order_stamp = stamp,
		.amount_fen = 100,
		.channel = HB_SYSTEM_CLEARING_MANUAL,
	};
	enum hb_status status;

	w.input.trusted = true;
	status = world_ask(&w, &f);
	w.input.trusted = false;
	return status;
}

/* Orders of every kind. */
static void
some_orders(void)
{
	uint64_t packet;

	for (uint64_t sender = 1; sender <= 20; sender++) {
		assert_int_equal(world_fund(&w, sender, 10000), HB_STATUS_OK);
		assert_int_equal(world_send(&w, sender, GROUP, 500, 5, 0, &packet), HB_STATUS_OK);
		for (uint64_t user = 100; user < 105; user++)
			assert_int_equal(world_grab(&w, packet, user, GROUP), HB_STATUS_OK);
		world_deliver(&w);
	}
}

static void
test_versions_change_at_restarts_and_numbers_stay_unique(void **unused)
{
	static const uint32_t versions[] = {1, 2, 2, 1, 2, 1};
	uint32_t expected_2 = 0, before;

	(void)unused;
	world_open(&w);
	for (uint32_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		restart_with(versions[i]);
		take_all_numbers();
		before = number_count;
		some_orders();
		take_all_numbers();
		assert_true(number_count > before + 100);
		if (versions[i] == 2)
			expected_2 += number_count - before;
		assert_int_equal(count_version(2), expected_2);
		if (i % 2 == 1)
			world_advance_ms(&w, 1); /* and else the clock stands still */
	}
	world_check_replay(&w);
	world_close(&w);
}

static void
test_an_order_keeps_the_number_it_was_made_with(void **unused)
{
	uint64_t stamps[2], hold, account = 9;
	struct hb_order_number parsed;
	number_text text;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, account, 1000), HB_STATUS_OK);
	stamps[0] = open_order(account);
	restart_with(2);
	stamps[1] = open_order(account);
	assert_int_equal(stamps[0] & HB_STAMP_VERSION_2, 0);
	assert_true((stamps[1] & HB_STAMP_VERSION_2) != 0);
	assert_true(hb_stamp_plain(stamps[1]) > stamps[0]);
	for (uint32_t i = 0; i < 2; i++) {
		hb_order_number_format(text, HB_BUSINESS_RECHARGE, NODE, hb_partition_of(account),
			account, stamps[i]);
		assert_true(hb_order_number_parse(text, &parsed));
		assert_int_equal(parsed.version, i + 1);
		restart_with(2 - i);
		assert_int_equal(query(account, parsed.stamp), HB_STATUS_OK);
		/* The other version's text of the same time is another number: of no order. */
		assert_int_equal(
			query(account, parsed.stamp ^ HB_STAMP_VERSION_2), HB_STATUS_ORDER_UNKNOWN);
		assert_int_equal(credit(account, parsed.stamp), HB_STATUS_OK);
		world_deliver(&w);
	}
	assert_int_equal(world_available(&w, account), 1200);
	/* A withdrawal of version 2 goes all its way under version 1. */
	restart_with(2);
	assert_int_equal(world_hold(&w, account, 50, &hold), HB_STATUS_OK);
	stamps[0] = w.reply.head.order_stamp;
	assert_true((stamps[0] & HB_STAMP_VERSION_2) != 0);
	restart_with(1);
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 50, 0), HB_STATUS_OK);
	assert_int_equal(w.reply.head.order_stamp, stamps[0]);
	world_check_replay(&w);
	world_close(&w);
}

/* What an older program must not read wrongly, it refuses by the record's version. */
static void
test_records_with_marked_stamps_have_version_2(void **unused)
{
	uint32_t with_mark = 0;
	uint64_t at = 0;

	(void)unused;
	world_open(&w);
	w.config.order_version = 2;
	some_orders();
	while (at < w.journal_bytes) {
		struct hb_record *record = (void *)(w.journal + at);
		bool marked =
			record->type == HB_RECORD_PACKET_CREATE || record->type == HB_RECORD_GRAB ||
			record->type == HB_RECORD_ORDER_OPEN || record->type == HB_RECORD_CREDIT;

		assert_int_equal(record->version, marked ? 2 : 1);
		with_mark += marked;
		record->version = (uint8_t)(3 - record->version);
		assert_string_equal(hb_record_verify(record, record->length),
			"record version does not fit its order stamp");
		at += record->length;
	}
	assert_true(with_mark > 100);
	world_close(&w);
}

static void
test_a_used_time_is_used_with_the_mark_as_well(void **unused)
{
	struct hb_partition *p;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, 9, 1000), HB_STATUS_OK);
	p = &w.state.partition[hb_partition_of(9)];
	open_order(9);
	assert_true(hbi_stamp_used(p, p->head->last_stamp));
	assert_true(hbi_stamp_used(p, p->head->last_stamp | HB_STAMP_VERSION_2));
	assert_false(hbi_stamp_used(p, p->head->last_stamp + 1));
	assert_false(hbi_stamp_used(p, (p->head->last_stamp + 1) | HB_STAMP_VERSION_2));
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_change_at_restarts_and_numbers_stay_unique),
		cmocka_unit_test(test_an_order_keeps_the_number_it_was_made_with),
		cmocka_unit_test(test_records_with_marked_stamps_have_version_2),
		cmocka_unit_test(test_a_used_time_is_used_with_the_mark_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
