/* SPDX-License-Identifier: Apache-2.0 */
/* The check finds what was changed behind the ledger's back, and nothing else. */
#include "tests/mysql/bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "persist/check.h"
#include "persist/snapshot.h"

static struct bed_server server;
static struct bed bed;
static struct hb_check_result result;

static uint64_t
committed(void)
{
	return hb_committed_seq(&bed.journal.commit);
}

static void
run_check(void)
{
	const struct hb_check_options options = {.config = &bed.config, .cut_seq = committed()};
	char error[256] = "";

	if (hb_check_run(&options, &result, error) != 0)
		fail_msg("check: %s", error);
}

static int
start(void **state)
{
	(void)state;
	bed_server_open(&server);
	bed_open(&bed, &server, "checked", 4096);
	bed_fund(&bed, 200);
	bed_traffic(&bed, 200, 2000);
	bed_mark(&bed);
	bed_traffic(&bed, 200, 500);
	world_advance_ms(&bed.world, 5000);
	bed_mark(&bed);
	bed_traffic(&bed, 200, 100);
	bed_mark(&bed);
	bed_commit(&bed);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(), 20000).seq, committed());
	bed_applier_stop(&bed);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	bed_close(&bed);
	bed_server_close(&server);
	return 0;
}

static void
print_violations(void)
{
	for (uint32_t i = 0; i < result.violation_count && i < HB_CHECK_VIOLATIONS_MAX; i++)
		printf("  %s | %s | expected %s | found %s\n", result.violation[i].kind,
			result.violation[i].where, result.violation[i].expected,
			result.violation[i].found);
}

static void
assert_right(void)
{
	run_check();
	if (!result.ok)
		print_violations();
	assert_true(result.ok);
	assert_int_equal(result.violation_count, 0);
}

static const struct hb_check_violation *
find_violation(const char *kind, const char *where)
{
	for (uint32_t i = 0; i < result.violation_count && i < HB_CHECK_VIOLATIONS_MAX; i++)
		if (strcmp(result.violation[i].kind, kind) == 0 &&
			strncmp(result.violation[i].where, where, strlen(where)) == 0)
			return &result.violation[i];
	print_violations();
	fail_msg("no violation %s %s", kind, where);
	return NULL;
}

/* Keep a table, change it, let the check name the change, put the table back. */
static void
assert_finds(const char *table, const char *change, const char *kind, const char *expected,
	const char *found)
{
	bed_sql(&bed, "CREATE TABLE kept LIKE %s", table);
	bed_sql(&bed, "INSERT INTO kept SELECT * FROM %s", table);
	bed_sql(&bed, "%s", change);
	run_check();
	assert_false(result.ok);
	const struct hb_check_violation *v = find_violation(kind, table);

	if (strstr(v->expected, expected) == NULL || strstr(v->found, found) == NULL) {
		print_violations();
		fail_msg("%s: not described as %s / %s", table, expected, found);
	}
	bed_sql(&bed, "DELETE FROM %s", table);
	bed_sql(&bed, "INSERT INTO %s SELECT * FROM kept", table);
	bed_sql(&bed, "DROP TABLE kept");
}

static void
test_untouched_ledger_is_right(void **state)
{
	(void)state;
	assert_right();
	assert_int_equal(result.journal_seq, committed());
	assert_int_equal(result.mysql_seq, committed());
	assert_int_equal(result.first_seq, 1);
	assert_int_equal(result.mark_count, 3 * HB_PARTITION_COUNT);
	assert_true(result.grab_count > 1000);
	assert_true(result.row_count > 4 * result.grab_count);
}

static void
test_names_a_deleted_row(void **state)
{
	(void)state;
	assert_finds(
		"order_03", "DELETE FROM order_03 LIMIT 1", "row_missing", "account=", "no row");
	assert_finds(
		"claim_05", "DELETE FROM claim_05 LIMIT 1", "row_missing", "amount_fen=", "no row");
	assert_finds("flow_00", "DELETE FROM flow_00 LIMIT 1", "row_missing",
		"available_delta=", "no row");
	assert_finds("account_07", "DELETE FROM account_07 LIMIT 1", "row_missing",
		"available_fen=", "no row");
	assert_finds(
		"packet_01", "DELETE FROM packet_01 LIMIT 1", "row_missing", "sender=", "no row");
}

static void
test_names_an_added_row(void **state)
{
	(void)state;
	assert_finds("claim_02",
		"INSERT INTO claim_02 SELECT packet, 999999, 1, share, at_ms, jseq FROM claim_02 "
		"LIMIT 1",
		"row_extra", "no row", "amount_fen=1 ");
	assert_finds("order_15",
		"INSERT INTO order_15 VALUES (REPEAT('9', 32), 1, 21, 2, 5, 0, 0, 0, 1)",
		"row_extra", "no row", "amount_fen=5 ");
	assert_finds("account_04", "INSERT INTO account_04 VALUES (123456, 0, 0, 0, 1, 0, 1)",
		"row_extra", "no row", "version=0");
}

static void
test_names_what_is_off_by_one_fen(void **state)
{
	(void)state;
	assert_finds("order_06",
		"UPDATE order_06 SET amount_fen = amount_fen + 1 WHERE business = 21 LIMIT 1",
		"row_differs", "amount_fen=", "amount_fen=");
	assert_finds("claim_06", "UPDATE claim_06 SET amount_fen = amount_fen - 1 LIMIT 1",
		"row_differs", "amount_fen=", "amount_fen=");
	assert_finds("flow_08", "UPDATE flow_08 SET available_after = available_after + 1 LIMIT 1",
		"row_differs", "available_after=", "available_after=");
	assert_finds("account_09", "UPDATE account_09 SET frozen_fen = frozen_fen + 1 LIMIT 1",
		"row_differs", "frozen_fen=", "frozen_fen=");
	assert_finds("packet_10", "UPDATE packet_10 SET left_fen = left_fen + 1 LIMIT 1",
		"row_differs", "left_fen=", "left_fen=");
}

/* Sums of amounts stay the same: only the rows tell. */
static void
test_names_a_balance_that_was_shifted(void **state)
{
	(void)state;
	assert_finds("account_11",
		"UPDATE account_11 SET available_fen = available_fen + IF(account = (SELECT "
		"MIN(account) FROM (SELECT account FROM account_11) a), 1, -1) ORDER BY account "
		"LIMIT 2",
		"row_differs", "available_fen=", "available_fen=");
	assert_finds("claim_12",
		"UPDATE claim_12 SET amount_fen = amount_fen + IF(share % 2 = 0, 1, -1) "
		"WHERE share < 2",
		"row_differs", "amount_fen=", "amount_fen=");
}

static void
test_names_a_state_that_was_changed(void **state)
{
	(void)state;
	assert_finds("order_13", "UPDATE order_13 SET state = 1 WHERE business = 10 LIMIT 1",
		"row_differs", "state=2", "state=1");
	assert_finds("account_14", "UPDATE account_14 SET barred = 1 LIMIT 1", "row_differs",
		"barred=0", "barred=1");
	assert_finds("packet_02", "UPDATE packet_02 SET state = 4 LIMIT 1", "row_differs",
		"state=", "state=4");
	assert_finds("packet_03", "UPDATE packet_03 SET greeting = 'x' LIMIT 1", "row_differs", "",
		"greeting=x");
}

static void
test_finds_a_position_that_was_moved(void **state)
{
	(void)state;
	bed_sql(&bed, "UPDATE jpos SET seq = seq - 1");
	run_check();
	find_violation("position", "jpos");
	assert_int_equal(result.violation_count, 1);
	bed_sql(&bed, "UPDATE jpos SET seq = seq + 1");
	assert_right();
}

static void
test_finds_a_table_that_was_emptied(void **state)
{
	(void)state;
	bed_sql(&bed, "CREATE TABLE kept LIKE flow_05");
	bed_sql(&bed, "INSERT INTO kept SELECT * FROM flow_05");
	bed_sql(&bed, "DELETE FROM flow_05");
	run_check();
	assert_non_null(strstr(find_violation("table", "flow_05")->found, "0 rows"));
	find_violation("row_missing", "flow_05");
	assert_int_equal(result.violation_count, 1 + HB_CHECK_ROWS_NAMED_MAX);
	bed_sql(&bed, "INSERT INTO flow_05 SELECT * FROM kept");
	bed_sql(&bed, "DROP TABLE kept");
	assert_right();
}

static void
test_finds_a_record_that_was_changed(void **state)
{
	char command[2048];

	(void)state;
	/* one byte in the middle of the first segment */
	snprintf(command, sizeof(command),
		"cp %s/segment-0000000000000001.* %s/../kept && printf X | dd status=none "
		"conv=notrunc bs=1 seek=20900 of=$(ls %s/segment-0000000000000001.*)",
		bed.journal.directory, bed.journal.directory, bed.journal.directory);
	assert_int_equal(system(command), 0);
	run_check();
	assert_false(result.ok);
	find_violation("journal", "journal, after record");
	snprintf(command, sizeof(command), "cp %s/../kept $(ls %s/segment-0000000000000001.*)",
		bed.journal.directory, bed.journal.directory);
	assert_int_equal(system(command), 0);
	assert_right();
}

/* A mark as it would be had a credit been lost or doubled, or memory been changed. */
static void
check_with_mark(const char *name, int64_t applied_fen, uint64_t hash_change)
{
	static struct bed other;
	const struct hb_check_options options = {.config = &other.config, .journal_only = true};
	struct hb_check_options at_cut = options;
	char error[256];

	bed_open(&other, &server, name, 4096);
	bed_fund(&other, 100);
	bed_traffic(&other, 100, 1000);
	bed_mark(&other);
	bed_commit(&other);
	world_advance_ms(&other.world, 2000);
	bed_mark(&other);
	bed_commit(&other);
	world_advance_ms(&other.world, 2000);
	bed_mark(&other);
	struct hb_record_mark *mark = (void *)other.world.journal;

	assert_int_equal(mark->head.type, HB_RECORD_MARK);
	mark->applied_fen[3] += (uint64_t)applied_fen;
	mark->state_hash += hash_change;
	hb_record_seal(&mark->head, HB_RECORD_MARK, sizeof(*mark));
	bed_commit(&other);
	at_cut.cut_seq = hb_committed_seq(&other.journal.commit);
	assert_int_equal(hb_check_run(&at_cut, &result, error), 0);
	bed_close(&other);
}

static void
test_finds_credits_that_were_lost_or_doubled(void **state)
{
	(void)state;
	check_with_mark("credit_lost", -1, 0);
	assert_non_null(strstr(find_violation("credit_sums", "MARK")->expected, "at least"));
	assert_int_equal(result.violation_count, 1);
	check_with_mark("credit_doubled", 1, 0);
	assert_non_null(strstr(find_violation("credit_sums", "MARK")->expected, "at most"));
	assert_int_equal(result.violation_count, 1);
	check_with_mark("credit_right", 0, 0);
	assert_int_equal(result.violation_count, 0);
}

static void
test_finds_memory_that_differs_from_the_journal(void **state)
{
	(void)state;
	check_with_mark("memory", 0, 1);
	assert_non_null(strstr(find_violation("journal", "journal")->found, "state hash"));
}

/* The first records are gone: the check begins at a snapshot, and still finds what came after. */
static void
test_begins_at_a_snapshot_when_old_segments_are_gone(void **state)
{
	static struct bed other;
	struct hb_check_options options = {.config = &other.config};
	char command[1200];
	char error[256] = "";

	(void)state;
	bed_open(&other, &server, "partial", 4096);
	bed_fund(&other, 100);
	for (int i = 0; i < 20 && other.journal.segment_number < 2; i++)
		bed_traffic(&other, 100, 6000);
	assert_true(other.journal.segment_number > 1);
	bed_mark(&other);
	bed_commit(&other);
	assert_int_equal(hb_journal_write_hint(&other.journal), 0);
	assert_int_equal(hb_snapshot_run(&other.config), 0);
	bed_traffic(&other, 100, 2000);
	bed_applier_start(&other);
	uint64_t cut = hb_committed_seq(&other.journal.commit);
	assert_int_equal(bed_wait(&other, cut, 60000).seq, cut);
	bed_applier_stop(&other);
	snprintf(command, sizeof(command), "rm %s/segment-0000000000000001.*",
		other.journal.directory);
	assert_int_equal(system(command), 0);
	options.cut_seq = cut;
	if (hb_check_run(&options, &result, error) != 0)
		fail_msg("%s", error);
	print_violations();
	assert_int_equal(result.violation_count, 0);
	assert_true(result.first_seq > 1);
	bed_sql(&other, "UPDATE account_02 SET available_fen = available_fen + 1 LIMIT 1");
	assert_int_equal(hb_check_run(&options, &result, error), 0);
	find_violation("table", "account_02");
	bed_close(&other);
}

static void
test_result_is_json(void **state)
{
	json_error_t error;

	(void)state;
	assert_right();
	char *text = hb_check_json(&result, 0);
	json_t *object = json_loads(text, 0, &error);

	assert_non_null(object);
	assert_true(json_is_true(json_object_get(object, "ok")));
	assert_int_equal(json_integer_value(json_object_get(object, "journal_seq")), committed());
	assert_int_equal(json_integer_value(json_object_get(object, "mysql_lag")), 0);
	assert_int_equal(json_array_size(json_object_get(object, "violations")), 0);
	json_decref(object);
	free(text);
	bed_sql(&bed, "UPDATE jpos SET seq = seq - 1");
	run_check();
	bed_sql(&bed, "UPDATE jpos SET seq = seq + 1");
	text = hb_check_json(&result, 3);
	object = json_loads(text, 0, &error);
	assert_true(json_is_false(json_object_get(object, "ok")));
	const json_t *first = json_array_get(json_object_get(object, "violations"), 0);

	assert_string_equal(json_string_value(json_object_get(first, "kind")), "position");
	json_decref(object);
	free(text);
}

/* A withdrawal with all its steps; ends with POST or VOID, or stays open. */
static void
withdraw(uint64_t account, uint8_t operation)
{
	struct world *w = &bed.world;
	uint64_t hold, stamp;

	assert_int_equal(world_hold(w, account, 500, &hold), HB_STATUS_OK);
	stamp = w->reply.head.order_stamp;
	assert_int_equal(world_step(w, account, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0),
		HB_STATUS_OK);
	assert_int_equal(world_step(w, account, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1),
		HB_STATUS_OK);
	assert_int_equal(world_step(w, account, stamp, HB_ORDER_SENDING, HB_ORDER_APPROVED, 1),
		HB_STATUS_OK);
	assert_int_equal(world_step(w, account, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 2),
		HB_STATUS_OK);
	if (operation != 0)
		assert_int_equal(
			world_exit(w, operation, hold, 500, operation == HB_OP_POST ? 2 : 0),
			HB_STATUS_OK);
}

static void
test_workflows_and_what_was_forgotten_are_right_too(void **state)
{
	struct world *w = &bed.world;

	(void)state;
	for (uint64_t user = 1; user <= 30; user++) {
		assert_int_equal(world_fund(w, user, 10000), HB_STATUS_OK);
		withdraw(user, user % 3 == 0 ? HB_OP_POST : user % 3 == 1 ? HB_OP_VOID : 0);
	}
	assert_int_equal(world_freeze(w, 7, true), HB_STATUS_OK);
	assert_int_equal(
		world_adjust(w, 8, hb_system_account(HB_SYSTEM_SUSPENSE, 2), 5), HB_STATUS_OK);
	assert_int_equal(
		world_adjust(w, hb_system_account(HB_SYSTEM_SUSPENSE, 4), 9, 5), HB_STATUS_OK);
	world_deliver(w);
	world_advance_ms(w, UINT64_C(8) * 86400000);
	assert_true(world_evict(w, 86400000) > 200);
	bed_mark(&bed);
	bed_commit(&bed);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(), 20000).seq, committed());
	bed_applier_stop(&bed);
	assert_right();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untouched_ledger_is_right),
		cmocka_unit_test(test_names_a_deleted_row),
		cmocka_unit_test(test_names_an_added_row),
		cmocka_unit_test(test_names_what_is_off_by_one_fen),
		cmocka_unit_test(test_names_a_balance_that_was_shifted),
		cmocka_unit_test(test_names_a_state_that_was_changed),
		cmocka_unit_test(test_finds_a_position_that_was_moved),
		cmocka_unit_test(test_finds_a_table_that_was_emptied),
		cmocka_unit_test(test_finds_a_record_that_was_changed),
		cmocka_unit_test(test_finds_credits_that_were_lost_or_doubled),
		cmocka_unit_test(test_finds_memory_that_differs_from_the_journal),
		cmocka_unit_test(test_workflows_and_what_was_forgotten_are_right_too),
		cmocka_unit_test(test_begins_at_a_snapshot_when_old_segments_are_gone),
		cmocka_unit_test(test_result_is_json),
	};

	return cmocka_run_group_tests(tests, start, end);
}
