/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Several servers: who has which rows, one of them down, a shard moved with a death at every step,
 * a server rebuilt. Two private MariaDB servers; each test has a database and a journal of its own.
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/check.h"
#include "persist/server_work.h"
#include "persist/table_copy.h"

#define WAIT_MS	 30000
#define USERS	 64
#define ACCOUNTS 4096

static struct bed_server server_a, server_b;
static struct bed bed;
static char error[256];

static int
start_servers(void **state)
{
	(void)state;
	bed_server_open(&server_a);
	bed_server_open(&server_b);
	return 0;
}

static int
end_servers(void **state)
{
	(void)state;
	bed_server_close(&server_a);
	bed_server_close(&server_b);
	return 0;
}

/* A node over both servers. The bed's own socket stays that of a, see at(). */
static void
open_node(const char *name, const char *shards)
{
	struct hb_config *config = &bed.config;

	bed_open(&bed, &server_a, name, ACCOUNTS);
	config->mysql_socket[0] = 0;
	snprintf(config->mysql_servers, sizeof(config->mysql_servers),
		"a=unix:%s/mysql.sock b=unix:%s/mysql.sock", server_a.directory,
		server_b.directory);
	snprintf(config->mysql_shards, sizeof(config->mysql_shards), "%s", shards);
	bed_fund(&bed, USERS);
	bed_applier_start(&bed);
}

/* The bed as seen by one server, for bed_sql and bed_number. */
static struct bed *
at(const struct bed_server *server)
{
	static struct bed view;

	view = bed;
	snprintf(view.config.mysql_socket, sizeof(view.config.mysql_socket), "%s/mysql.sock",
		server->directory);
	return &view;
}

static uint64_t
committed(void)
{
	return hb_committed_seq(&bed.journal.commit);
}

static struct hb_applier_status
status_of(uint32_t index)
{
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];

	assert_int_equal(hb_applier_status(bed.applier, status, HB_APPLIER_SERVERS_MAX), 2);
	return status[index];
}

/* Until a server has everything, or has nothing to have. */
static void
wait_level(uint32_t index)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * WAIT_MS;

	for (;;) {
		struct hb_applier_status status = status_of(index);

		if (status.state == HB_APPLIER_IDLE || status.seq >= committed())
			return;
		if (status.state == HB_APPLIER_POISONED || hb_mono_ns() > until)
			fail_msg("server %s is %s at %lu of %lu: %s", status.name,
				hb_applier_state_name(status.state), (unsigned long)status.seq,
				(unsigned long)committed(), status.error);
		usleep(2000);
	}
}

static void
wait_state(uint32_t index, enum hb_applier_state wanted)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * WAIT_MS;

	while (status_of(index).state != wanted) {
		if (hb_mono_ns() > until)
			fail_msg("server %u is %s and not %s", index,
				hb_applier_state_name(status_of(index).state),
				hb_applier_state_name(wanted));
		usleep(2000);
	}
}

static void
run_check(struct hb_check_result *result)
{
	struct hb_check_options options = {.config = &bed.config, .cut_seq = committed()};

	wait_level(0);
	wait_level(1);
	if (hb_check_run(&options, result, error) != 0)
		fail_msg("check: %s", error);
}

static void
expect_sound(void)
{
	static struct hb_check_result result;

	run_check(&result);
	if (!result.ok)
		fail_msg("%s at %s: expected %s, found %s", result.violation[0].kind,
			result.violation[0].where, result.violation[0].expected,
			result.violation[0].found);
	assert_int_equal(result.mysql_seq, committed());
}

/* Rows of a table kind on a server, in the shards first..last. */
static int64_t
rows_of(const struct bed_server *server, const char *table, uint32_t first, uint32_t last)
{
	int64_t count = 0;

	for (uint32_t i = first; i <= last; i++)
		count += bed_number(at(server), "SELECT COUNT(*) FROM %s_%02u", table, i);
	return count;
}

static void
every_row_is_at_its_server_and_nowhere_else(void **state)
{
	static struct hb_check_result result;
	static const char *const tables[] = {"order", "claim", "flow", "account", "packet"};

	(void)state;
	open_node("spread", "a:0-5 b:6-15");
	bed_traffic(&bed, USERS, 2000);
	expect_sound();
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		assert_true(rows_of(&server_a, tables[i], 0, 5) > 0);
		assert_true(rows_of(&server_b, tables[i], 6, 15) > 0);
		assert_int_equal(rows_of(&server_a, tables[i], 6, 15), 0);
		assert_int_equal(rows_of(&server_b, tables[i], 0, 5), 0);
	}
	assert_int_equal(rows_of(&server_a, "origin", 0, 5), 0);
	assert_int_equal(rows_of(&server_a, "origin", 6, 15), rows_of(&server_b, "packet", 6, 15));
	/* grabbers of one server took from packets of the other, and their orders say from whom */
	assert_true(bed_number(at(&server_a),
			    "SELECT COUNT(*) FROM order_03 JOIN origin_07 USING (packet) "
			    "WHERE order_03.peer = origin_07.sender") > 0);
	/* what is wrong is found at the server that has it */
	bed_sql(at(&server_b), "UPDATE account_09 SET available_fen = available_fen + 1 LIMIT 1");
	run_check(&result);
	assert_false(result.ok);
	for (uint32_t i = 0; i < result.violation_count; i++)
		assert_int_equal(strncmp(result.violation[i].where, "server b, account_09", 20), 0);
	bed_sql(at(&server_a), "INSERT INTO shard (shard) VALUES (12)");
	run_check(&result);
	assert_string_equal(result.violation[0].kind, "shards");
	assert_string_equal(result.violation[0].where, "server a, shard");
	assert_string_equal(result.violation[0].found, "0-5,12");
	bed_close(&bed);
}

static void
while_one_server_is_down_the_other_goes_on(void **state)
{
	uint64_t applied[HB_PARTITION_COUNT], later[HB_PARTITION_COUNT];
	uint64_t before;

	(void)state;
	open_node("down", "a:0-7 b:8-15");
	wait_level(0);
	wait_level(1);
	hb_applier_applied(bed.applier, applied);
	bed_server_end(&server_b, SIGKILL);
	before = status_of(1).seq;
	for (int i = 0; i < 5; i++) {
		bed_traffic(&bed, USERS, 500);
		wait_level(0);
		assert_int_equal(status_of(0).lag_ms, 0);
	}
	wait_state(1, HB_APPLIER_WAITING);
	for (int i = 0; i < 200 && status_of(1).failures < 5; i++)
		usleep(50000);
	assert_true(status_of(1).failures >= 5);
	assert_true(status_of(1).lag_ms > 0);
	assert_int_equal(status_of(1).seq, before);
	/* the dataplane may forget only what both have */
	hb_applier_applied(bed.applier, later);
	assert_memory_equal(applied, later, sizeof(applied));
	bed_server_start(&server_b, NULL);
	expect_sound();
	assert_int_equal(status_of(1).failures, 0);
	bed_close(&bed);
}

/* ---- moving ---- */

static int
die_at(void *context, enum hb_move_step step)
{
	return step == *(enum hb_move_step *)context;
}

static void
move(uint32_t shard, const char *server)
{
	error[0] = 0;
	if (hb_server_move_shard(bed.applier, shard, server, NULL, NULL, error) != 0)
		fail_msg("move of %u to %s: %s", shard, server, error);
}

/* Where each row is depends only on whether the map was stored before the death. */
static void
a_move_that_dies_at_any_step_can_be_given_again(void **state)
{
	static const char *const names[] = {"a", "b"};

	(void)state;
	open_node("die", "a:0-7 b:8-15");
	bed_traffic(&bed, USERS, 1000);
	for (uint32_t i = 0; i < HB_MOVE_STEP_COUNT; i++) {
		enum hb_move_step dies = (enum hb_move_step)i;
		struct hb_server_map map;
		struct hb_applier_task task;
		uint32_t to = (i + 1) % 2; /* there and back */
		int rc = hb_server_move_shard(bed.applier, 3, names[to], die_at, &dies, error);

		if (dies == HB_MOVE_JOINED) { /* neither server was without shards */
			assert_int_equal(rc, 0);
			continue;
		}
		assert_int_equal(rc, -ECANCELED);
		bed_applier_stop(&bed);
		bed_traffic(&bed, USERS, 200);
		bed_applier_start(&bed);
		wait_level(0);
		wait_level(1);
		hb_applier_map(bed.applier, &map, &task);
		assert_int_equal(map.owner[3], dies < HB_MOVE_STORED ? 1 - to : to);
		assert_int_equal(map.moved_shard, dies < HB_MOVE_STORED ? HB_NO_SHARD : 3);
		if (dies >= HB_MOVE_STORED) {
			rc = hb_server_move_shard(bed.applier, 4, "b", NULL, NULL, error);
			assert_int_equal(rc, -EBUSY);
			assert_non_null(strstr(error, "first finish that with 'hbctl mysql "
						      "move-shard 3"));
		}
		bed_traffic(&bed, USERS, 200);
		move(3, names[to]);
		expect_sound();
	}
	bed_close(&bed);
}

static _Atomic bool load_ends;

static void *
load(void *context)
{
	(void)context;
	while (!atomic_load(&load_ends)) {
		bed_traffic(&bed, USERS, 100);
		usleep(1000);
	}
	return NULL;
}

static void
shards_move_under_load_and_nothing_is_lost(void **state)
{
	pthread_t thread;

	(void)state;
	open_node("loaded", "a:0-7 b:8-15");
	atomic_store(&load_ends, false);
	assert_int_equal(pthread_create(&thread, NULL, load, NULL), 0);
	move(0, "b");
	move(9, "a");
	move(0, "b"); /* there already */
	move(9, "b");
	atomic_store(&load_ends, true);
	pthread_join(thread, NULL);
	expect_sound();
	assert_int_equal(rows_of(&server_a, "flow", 0, 0), 0);
	assert_true(rows_of(&server_b, "flow", 0, 0) > 0);
	bed_close(&bed);
}

static void
an_empty_server_joins_with_its_first_shard_and_leaves_with_its_last(void **state)
{
	enum hb_move_step dies = HB_MOVE_JOINED;

	(void)state;
	open_node("join", "");
	bed_traffic(&bed, USERS, 1000);
	wait_level(0);
	wait_state(1, HB_APPLIER_IDLE);
	assert_int_equal(
		hb_server_move_shard(bed.applier, 6, "b", die_at, &dies, error), -ECANCELED);
	bed_applier_stop(&bed);
	bed_traffic(&bed, USERS, 200);
	bed_applier_start(&bed);
	move(6, "b");
	bed_traffic(&bed, USERS, 500);
	expect_sound();
	move(6, "a");
	wait_state(1, HB_APPLIER_IDLE);
	bed_traffic(&bed, USERS, 500);
	expect_sound();
	/* the last shard leaves, and the process dies before the old server knows */
	move(6, "b");
	dies = HB_MOVE_TOLD;
	assert_int_equal(
		hb_server_move_shard(bed.applier, 6, "a", die_at, &dies, error), -ECANCELED);
	bed_applier_stop(&bed);
	bed_applier_start(&bed);
	bed_traffic(&bed, USERS, 200);
	move(6, "a");
	expect_sound();
	move(7, "b");
	bed_traffic(&bed, USERS, 200);
	expect_sound();
	bed_close(&bed);
}

static void
a_map_that_the_servers_contradict_is_refused(void **state)
{
	char path[600];

	(void)state;
	open_node("lostmap", "a:0-7 b:8-15");
	wait_level(0);
	wait_level(1);
	bed_applier_stop(&bed);
	snprintf(path, sizeof(path), "%s/" HB_SERVER_MAP_FILE, bed.journal.directory);
	assert_int_equal(unlink(path), 0);
	snprintf(bed.config.mysql_shards, sizeof(bed.config.mysql_shards), "a:0-8 b:9-15");
	bed_applier_start(&bed);
	wait_state(0, HB_APPLIER_POISONED);
	wait_state(1, HB_APPLIER_POISONED);
	assert_non_null(strstr(status_of(0).error, "the server has the shards 0-7, but by the "
						   "shard map"));
	bed_applier_stop(&bed);
	assert_int_equal(unlink(path), 0);
	snprintf(bed.config.mysql_shards, sizeof(bed.config.mysql_shards), "a:0-7 b:8-15");
	bed_applier_start(&bed);
	expect_sound();
	bed_close(&bed);
}

/* A ledger of version 1 had all shards, and no table that says so. */
static void
a_ledger_of_version_1_has_all_shards(void **state)
{
	(void)state;
	open_node("version1", "");
	bed_traffic(&bed, USERS, 500);
	wait_level(0);
	bed_applier_stop(&bed);
	bed_sql(at(&server_a), "DROP TABLE shard");
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		bed_sql(at(&server_a), "DROP TABLE origin_%02u", i);
	bed_sql(at(&server_a), "DELETE FROM schema_version WHERE version > 1");
	bed_traffic(&bed, USERS, 500);
	bed_applier_start(&bed);
	wait_level(0);
	assert_int_equal(bed_number(at(&server_a), "SELECT COUNT(*) FROM shard"), 16);
	move(11, "b");
	expect_sound();
	bed_close(&bed);
}

static void
work_waits_for_a_check_and_a_check_for_work(void **state)
{
	(void)state;
	open_node("claims", "a:0-7 b:8-15");
	wait_level(0);
	wait_level(1);
	assert_int_equal(hb_applier_stop_at(bed.applier, committed(), 10000, error), 0);
	assert_int_equal(hb_server_move_shard(bed.applier, 1, "b", NULL, NULL, error), -EBUSY);
	assert_non_null(strstr(error, "the appliers are stopped"));
	assert_int_equal(hb_server_rebuild(bed.applier, "b", error), -EBUSY);
	hb_applier_resume(bed.applier);
	assert_int_equal(hb_server_move_shard(bed.applier, 1, "c", NULL, NULL, error), -ENOENT);
	assert_non_null(strstr(error, "no server c is defined in mysql.servers; there are: a b"));
	move(1, "b");
	expect_sound();
	bed_close(&bed);
}

/* ---- rebuilding ---- */

static void
sums_of(const struct bed_server *server, struct hb_row_sum sums[HB_TABLE_COUNT][HB_PARTITION_COUNT])
{
	const struct hb_config *config = &at(server)->config;
	struct hb_db *db;

	assert_int_equal(hb_db_open(&db, config, "root", 5, error), 0);
	assert_int_equal(hb_schema_use(db, config->mysql_database, error), 0);
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			assert_int_equal(
				hb_table_sum_read(db, (enum hb_table)t, p, &sums[t][p], error), 0);
	hb_db_close(db);
}

static void
a_rebuilt_server_has_identical_tables(void **state)
{
	static struct hb_row_sum before[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	static struct hb_row_sum after[HB_TABLE_COUNT][HB_PARTITION_COUNT];

	(void)state;
	open_node("rebuild", "a:0-7 b:8-15");
	bed_traffic(&bed, USERS, 3000);
	move(2, "b");
	expect_sound();
	sums_of(&server_b, before);
	assert_true(before[HB_TABLE_FLOW][9].count > 0);
	/* also when it has no rows left and its applier is poisoned by that */
	for (int i = 0; i < 2; i++) {
		if (i == 1) {
			bed_sql(at(&server_b), "DELETE FROM packet_09");
			bed_applier_stop(&bed);
			bed_sql(at(&server_b), "DELETE FROM jpos");
			bed_applier_start(&bed);
			wait_state(1, HB_APPLIER_POISONED);
		}
		if (hb_server_rebuild(bed.applier, "b", error) != 0)
			fail_msg("rebuild: %s", error);
		sums_of(&server_b, after);
		assert_memory_equal(before, after, sizeof(before));
		expect_sound();
	}
	assert_int_equal(hb_server_rebuild(bed.applier, "c", error), -ENOENT);
	bed_close(&bed);
}

static void
a_rebuild_is_refused_when_the_journal_lost_its_beginning(void **state)
{
	static struct hb_row_sum before[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	static struct hb_row_sum after[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	char path[600];

	(void)state;
	open_node("short", "a:0-7 b:8-15");
	bed_traffic(&bed, USERS, 20000); /* more than one segment of 1 MiB */
	expect_sound();
	sums_of(&server_b, before);
	snprintf(path, sizeof(path), "%s/segment-%016d.raw", bed.journal.directory, 1);
	if (unlink(path) != 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(hb_server_rebuild(bed.applier, "b", error), -ENODATA);
	assert_non_null(strstr(error, "Restore a backup of the server"));
	sums_of(&server_b, after);
	assert_memory_equal(before, after, sizeof(before));
	bed_close(&bed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_at_its_server_and_nowhere_else),
		cmocka_unit_test(while_one_server_is_down_the_other_goes_on),
		cmocka_unit_test(a_move_that_dies_at_any_step_can_be_given_again),
		cmocka_unit_test(shards_move_under_load_and_nothing_is_lost),
		cmocka_unit_test(
			an_empty_server_joins_with_its_first_shard_and_leaves_with_its_last),
		cmocka_unit_test(a_map_that_the_servers_contradict_is_refused),
		cmocka_unit_test(a_ledger_of_version_1_has_all_shards),
		cmocka_unit_test(work_waits_for_a_check_and_a_check_for_work),
		cmocka_unit_test(a_rebuilt_server_has_identical_tables),
		cmocka_unit_test(a_rebuild_is_refused_when_the_journal_lost_its_beginning),
	};

	return cmocka_run_group_tests(tests, start_servers, end_servers);
}
