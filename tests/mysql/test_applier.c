/* SPDX-License-Identifier: Apache-2.0 */
/* The applier against a real server: exactly once, whatever dies. */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/rows.h"

#define KILLS_MAX 40

static struct bed_server server;

static int
start_server(void **state)
{
	(void)state;
	bed_server_open(&server);
	return 0;
}

static int
end_server(void **state)
{
	(void)state;
	bed_server_close(&server);
	return 0;
}

static uint64_t
committed(const struct bed *bed)
{
	return hb_committed_seq(&bed->journal.commit);
}

/* What MySQL holds is what the engine holds. */
static void
assert_ledger_right(struct bed *bed)
{
	struct world *w = &bed->world;
	uint64_t grabs = 0;
	uint64_t packets = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		grabs += w->state.partition[i].head->grab_count;
		packets += w->state.partition[i].head->packet_count;
	}
	assert_int_equal(bed_number_all(bed, "SELECT COUNT(*) FROM claim_NN"), grabs);
	assert_int_equal(
		bed_number_all(bed, "SELECT COUNT(*) FROM order_NN WHERE business = 21"), grabs);
	assert_int_equal(bed_number_all(bed, "SELECT COUNT(*) FROM packet_NN"), packets);
	assert_int_equal(
		bed_number_all(bed, "SELECT CAST(COALESCE(SUM(available_fen + frozen_fen), 0)"
				    " AS SIGNED) FROM account_NN"),
		0);
	assert_int_equal(
		bed_number_all(bed, "SELECT CAST(COALESCE(SUM(available_delta + frozen_delta),"
				    " 0) AS SIGNED) FROM flow_NN"),
		0);
	for (uint64_t user = 1; user <= 40; user += 3) {
		uint32_t p = hb_partition_of(user);

		assert_int_equal(
			bed_number(bed,
				"SELECT available_fen FROM account_%02u WHERE account = %lu", p,
				(unsigned long)user),
			world_available(w, user));
		assert_int_equal(
			bed_number(bed, "SELECT frozen_fen FROM account_%02u WHERE account = %lu",
				p, (unsigned long)user),
			world_frozen(w, user));
	}
	/* the last flow of each account says its balance */
	assert_int_equal(
		bed_number_all(bed,
			"SELECT COUNT(*) FROM account_NN a WHERE available_fen <> "
			"(SELECT available_after FROM flow_NN f WHERE f.account = a.account "
			"ORDER BY jseq DESC, leg DESC LIMIT 1)"),
		0);
}

static void
test_every_record_becomes_its_rows(void **state)
{
	static struct bed bed; /* a failed test leaves its applier running */

	(void)state;
	bed_open(&bed, &server, "rows", 4096);
	bed_fund(&bed, 200);
	bed_traffic(&bed, 200, 3000);
	bed_applier_start(&bed);
	struct hb_applier_status status = bed_wait(&bed, committed(&bed), 20000);
	assert_string_equal(status.error, "");
	assert_int_equal(status.seq, committed(&bed));
	assert_ledger_right(&bed);
	/* records that come while it runs */
	bed_traffic(&bed, 200, 1000);
	status = bed_wait(&bed, committed(&bed), 20000);
	assert_int_equal(status.seq, committed(&bed));
	assert_ledger_right(&bed);
	assert_int_equal(bed_number_all(&bed, "SELECT COUNT(*) FROM order_NN WHERE business = 10 "
					      "AND state = 2"),
		200);
	int64_t refunded = bed_number_all(&bed, "SELECT COUNT(*) FROM packet_NN WHERE state = 3");
	assert_true(refunded > 0);
	assert_int_equal(bed_number_all(&bed, "SELECT COUNT(*) FROM order_NN WHERE business = 22"),
		refunded);
	bed_close(&bed);
}

static void
test_stop_at_stands_exactly_there(void **state)
{
	static struct bed bed;
	char error[256] = "";

	(void)state;
	bed_open(&bed, &server, "stop", 4096);
	bed_fund(&bed, 100);
	bed_traffic(&bed, 100, 1000);
	uint64_t middle = committed(&bed) / 2 + 3;

	bed_applier_start(&bed);
	if (hb_applier_stop_at(bed.applier, middle, 20000, error) == -ERANGE)
		skip(); /* it was faster than us */
	assert_string_equal(error, "");
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), middle);
	usleep(100000);
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), middle);
	assert_int_equal(hb_applier_stop_at(bed.applier, middle - 1, 1000, error), -ERANGE);
	hb_applier_resume(bed.applier);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	assert_int_equal(hb_applier_stop_at(bed.applier, committed(&bed), 5000, error), 0);
	assert_ledger_right(&bed);
	bed_close(&bed);
}

/* Kill the applier's connections at random moments, COMMIT among them. */
static void
test_killed_connections_apply_nothing_twice(void **state)
{
	static struct bed bed;
	uint32_t kills = 0;

	(void)state;
	bed_open(&bed, &server, "killed", 4096);
	bed.config.applier_batch_records_max = 64;
	bed_fund(&bed, 300);
	bed_traffic(&bed, 300, 4000);
	bed_applier_start(&bed);
	uint64_t transactions = 0;
	while (kills < KILLS_MAX) {
		/* let it get somewhere, so that the kill finds it at work */
		struct hb_applier_status status = bed_wait(&bed, committed(&bed), 1 + kills % 7);

		assert_int_not_equal(status.state, HB_APPLIER_POISONED);
		if (status.seq == committed(&bed))
			break;
		if (status.transactions == transactions)
			continue;
		transactions = status.transactions;
		int64_t id = bed_number(&bed,
			"SELECT COALESCE(MIN(id), 0) FROM information_schema.processlist "
			"WHERE db = 'killed' AND id <> CONNECTION_ID()");
		if (id == 0)
			continue;
		bed_sql(&bed,
			"BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR 1094 BEGIN END; "
			"KILL CONNECTION %ld; END",
			(long)id);
		kills++;
	}
	printf("connections killed: %u\n", kills);
	assert_true(kills > 0);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	assert_ledger_right(&bed);
	bed_close(&bed);
}

static void
test_killed_server_is_waited_for(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "restart", 4096);
	bed.config.applier_batch_records_max = 128;
	bed_fund(&bed, 100);
	bed_traffic(&bed, 100, 1000);
	bed_applier_start(&bed);
	bed_wait(&bed, committed(&bed) / 3, 20000);
	bed_server_end(&server, SIGKILL);
	bed_traffic(&bed, 100, 500);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_WAITING, 10000);

	assert_int_equal(status.state, HB_APPLIER_WAITING);
	assert_string_not_equal(status.error, "");
	bed_server_start(&server, NULL);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	assert_ledger_right(&bed);
	bed_close(&bed);
}

/* Nobody commits anything, so only asking the server can tell. */
static void
test_a_server_that_ends_while_nothing_happens_is_missed_and_found_again(void **state)
{
	static struct bed bed;
	struct hb_applier_status status;

	(void)state;
	bed_open(&bed, &server, "quiet", 4096);
	bed_fund(&bed, 10);
	bed_applier_start(&bed);
	bed_wait(&bed, committed(&bed), 20000);
	bed_server_end(&server, SIGTERM);
	status = bed_wait_state(&bed, HB_APPLIER_WAITING, 10000);
	assert_int_equal(status.state, HB_APPLIER_WAITING);
	assert_true(status.failures > 0);
	bed_server_start(&server, NULL);
	status = bed_wait_state(&bed, HB_APPLIER_RUNNING, 20000);
	assert_int_equal(status.state, HB_APPLIER_RUNNING);
	for (int i = 0; i < 200 && status.failures > 0; i++) {
		usleep(10000);
		hb_applier_status(bed.applier, &status, 1);
	}
	assert_int_equal(status.failures, 0);
	bed_close(&bed);
}

/* A copy of the data directory is put back: rows and position are older together. */
static void
test_restored_older_server_heals_by_replay(void **state)
{
	static struct bed bed;
	char command[512];

	(void)state;
	bed_open(&bed, &server, "restored", 4096);
	bed_fund(&bed, 100);
	bed_traffic(&bed, 100, 500);
	bed_applier_start(&bed);
	uint64_t older = committed(&bed);
	assert_int_equal(bed_wait(&bed, older, 20000).seq, older);
	bed_server_end(&server, SIGTERM);
	snprintf(command, sizeof(command), "cp -a %s %s.old", server.data, server.data);
	assert_int_equal(system(command), 0);
	bed_server_start(&server, NULL);
	bed_traffic(&bed, 100, 500);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));

	bed_server_end(&server, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s && mv %s.old %s", server.data, server.data,
		server.data);
	assert_int_equal(system(command), 0);
	bed_server_start(&server, NULL);
	bed_traffic(&bed, 100, 200);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	bed_wait_state(&bed, HB_APPLIER_RUNNING, 5000);
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), committed(&bed));
	assert_ledger_right(&bed);
	bed_close(&bed);
}

static void
test_poison_stops_and_resume_goes_on_once_repaired(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "poison", 4096);
	bed_fund(&bed, 50);
	bed_applier_start(&bed);
	uint64_t before = committed(&bed);
	assert_int_equal(bed_wait(&bed, before, 20000).seq, before);
	/* a row that a later record will make: the next order of everybody */
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		bed_sql(&bed,
			"INSERT INTO flow_%02u SELECT account, %lu, 1, 0, 0, 0, 0, '0', 0 "
			"FROM account_%02u",
			p, (unsigned long)before + 1, p);
	bed_traffic(&bed, 50, 100);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_POISONED, 10000);

	assert_int_equal(status.state, HB_APPLIER_POISONED);
	assert_non_null(strstr(status.error, "Duplicate entry"));
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), before);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		bed_sql(&bed, "DELETE FROM flow_%02u WHERE order_no = '0'", p);
	hb_applier_resume(bed.applier);
	bed_wait_state(&bed, HB_APPLIER_RUNNING, 10000);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	assert_ledger_right(&bed);
	bed_close(&bed);
}

static void
test_missing_row_is_poison(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "missing", 4096);
	bed_fund(&bed, 50);
	bed_traffic(&bed, 50, 100);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		bed_sql(&bed, "DELETE FROM packet_%02u", p);
	bed_traffic(&bed, 50, 100);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_POISONED, 10000);

	assert_int_equal(status.state, HB_APPLIER_POISONED);
	assert_non_null(strstr(status.error, "rows are missing"));
	bed_close(&bed);
}

static void
test_position_ahead_of_the_journal_is_refused(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "ahead", 4096);
	bed_fund(&bed, 20);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	bed_applier_stop(&bed);
	bed_sql(&bed, "UPDATE jpos SET seq = seq + 1000");
	bed_applier_start(&bed);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_POISONED, 10000);

	assert_int_equal(status.state, HB_APPLIER_POISONED);
	assert_non_null(strstr(status.error, "lost records"));
	bed_close(&bed);
}

static void
test_position_of_another_journal_is_refused(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "foreign", 4096);
	bed_fund(&bed, 20);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	bed_applier_stop(&bed);
	bed_sql(&bed, "UPDATE jpos SET chain = REVERSE(chain)");
	bed_applier_start(&bed);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_POISONED, 10000);

	assert_int_equal(status.state, HB_APPLIER_POISONED);
	assert_non_null(strstr(status.error, "do not belong together"));
	bed_close(&bed);
}

static void
test_server_that_may_lose_commits_is_refused(void **state)
{
	static struct bed bed;

	(void)state;
	bed_open(&bed, &server, "lossy", 4096);
	bed_fund(&bed, 5);
	bed_server_end(&server, SIGTERM);
	bed_server_start(&server, "--innodb-flush-log-at-trx-commit=2");
	bed_applier_start(&bed);
	struct hb_applier_status status = bed_wait_state(&bed, HB_APPLIER_WAITING, 100);

	for (int i = 0; i < 100 && status.error[0] == 0; i++) {
		usleep(20000);
		status = bed_wait_state(&bed, HB_APPLIER_WAITING, 100);
	}
	assert_int_equal(status.seq, 0);
	assert_non_null(strstr(status.error, "innodb_flush_log_at_trx_commit is '2'"));
	bed_server_end(&server, SIGTERM);
	bed_server_start(&server, "--log-bin");
	usleep(100000);
	status = bed_wait_state(&bed, HB_APPLIER_WAITING, 100);
	for (int i = 0; i < 300 && strstr(status.error, "sync_binlog is '0'") == NULL; i++) {
		usleep(20000);
		status = bed_wait_state(&bed, HB_APPLIER_WAITING, 100);
	}
	assert_non_null(strstr(status.error, "sync_binlog is '0'"));
	bed_server_end(&server, SIGTERM);
	bed_server_start(&server, NULL);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	bed_close(&bed);
}

static void
test_the_newest_position_is_told(void **state)
{
	static struct bed bed;
	char error[256] = "";
	uint64_t seq = 99;

	(void)state;
	bed_open(&bed, &server, "position", 4096);
	bed_fund(&bed, 20);
	assert_int_equal(hb_applier_position(&bed.config, bed.source.stream_id, &seq, error), 0);
	assert_int_equal(seq, 0);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	assert_int_equal(hb_applier_position(&bed.config, bed.source.stream_id, &seq, error), 0);
	assert_int_equal(seq, committed(&bed));
	bed_close(&bed);
}

struct numbered {
	uint64_t number;
	char text[16];
};

/* MySQL knows no array binding; the same rows must come out, and the same count of matches. */
static void
test_rows_one_by_one_are_the_same_rows(void **state)
{
	static const struct hb_db_column columns[] = {
		HB_DB_COLUMN(HB_DB_TEXT, struct numbered, text),
		HB_DB_COLUMN(HB_DB_U64, struct numbered, number),
	};
	static struct bed bed;
	struct numbered rows[40] = {0};
	struct hb_db_statement *insert;
	struct hb_db_statement *update;
	char error[HB_DB_ERROR_BYTES];
	uint64_t matched = 0;
	struct hb_db *db;

	(void)state;
	bed_open(&bed, &server, "onebyone", 4096);
	assert_int_equal(hb_db_open(&db, &bed.config, "root", 5, error), 0);
	assert_int_equal(hb_db_execute(db, "CREATE DATABASE onebyone", error), 0);
	assert_int_equal(hb_db_execute(db, "USE onebyone", error), 0);
	assert_int_equal(hb_db_execute(db,
				 "CREATE TABLE t (text VARCHAR(16) NOT NULL, "
				 "number BIGINT UNSIGNED NOT NULL PRIMARY KEY)",
				 error),
		0);
	for (uint64_t i = 0; i < 40; i++) {
		rows[i].number = i % 20 + 1;
		snprintf(rows[i].text, sizeof(rows[i].text), "row %lu", (unsigned long)i);
	}
	assert_int_equal(hb_db_prepare(db, "INSERT INTO t (text, number) VALUES (?, ?)", columns, 2,
				 NULL, 0, &insert, error),
		0);
	assert_int_equal(hb_db_prepare(db, "UPDATE t SET text = ? WHERE number = ?", columns, 2,
				 NULL, 0, &update, error),
		0);
	assert_int_equal(hb_db_bulk(insert, rows, sizeof(rows[0]), 10, &matched, error), 0);
	assert_int_equal(matched, 10);
	hb_db_row_by_row(db);
	assert_int_equal(hb_db_bulk(insert, rows + 10, sizeof(rows[0]), 10, &matched, error), 0);
	assert_int_equal(matched, 10);
	assert_int_equal(hb_db_bulk(update, rows + 20, sizeof(rows[0]), 20, &matched, error), 0);
	assert_int_equal(matched, 20);
	/* unchanged, but found */
	assert_int_equal(hb_db_bulk(update, rows + 20, sizeof(rows[0]), 20, &matched, error), 0);
	assert_int_equal(matched, 20);
	assert_int_equal(hb_db_bulk(insert, rows, sizeof(rows[0]), 1, &matched, error), -EEXIST);
	assert_int_equal(
		bed_number(&bed, "SELECT COUNT(*) FROM t WHERE text = CONCAT('row ', number + 19)"),
		20);
	hb_db_release(update);
	hb_db_close(db);
	bed_close(&bed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_record_becomes_its_rows),
		cmocka_unit_test(test_stop_at_stands_exactly_there),
		cmocka_unit_test(test_killed_connections_apply_nothing_twice),
		cmocka_unit_test(test_killed_server_is_waited_for),
		cmocka_unit_test(
			test_a_server_that_ends_while_nothing_happens_is_missed_and_found_again),
		cmocka_unit_test(test_restored_older_server_heals_by_replay),
		cmocka_unit_test(test_poison_stops_and_resume_goes_on_once_repaired),
		cmocka_unit_test(test_missing_row_is_poison),
		cmocka_unit_test(test_position_ahead_of_the_journal_is_refused),
		cmocka_unit_test(test_position_of_another_journal_is_refused),
		cmocka_unit_test(test_server_that_may_lose_commits_is_refused),
		cmocka_unit_test(test_the_newest_position_is_told),
		cmocka_unit_test(test_rows_one_by_one_are_the_same_rows),
	};

	return cmocka_run_group_tests(tests, start_server, end_server);
}
