/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ledger that an older program filled is brought to this version with its rows; a later one is
 * refused. tests/fixtures/schema-N.sql is the dump of a small ledger of version N;
 * HB_UPDATE_GOLDEN=1 writes the one of this version, if there is none.
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "persist/schema.h"
#include "tests/shell.h"

#define USERS 12

static struct bed_server server;
static struct bed bed;

static void
write_fixture(void)
{
	char path[512];

	snprintf(path, sizeof(path), FIXTURES "/schema-%u.sql", hb_schema_version());
	if (getenv("HB_UPDATE_GOLDEN") == NULL || access(path, F_OK) == 0)
		return;
	bed_fund(&bed, USERS);
	bed_traffic(&bed, USERS, 120);
	bed_applier_start(&bed);
	(void)bed_wait(&bed, hb_committed_seq(&bed.journal.commit), 20000);
	bed_applier_stop(&bed);
	shell("%s/dump_database.py %s %s >%s", SOURCES, bed.config.mysql_socket,
		bed.config.mysql_database, path);
}

static int
start(void **state)
{
	char error[HB_DB_ERROR_BYTES] = "";
	struct hb_db *db;

	(void)state;
	bed_server_open(&server);
	bed_open(&bed, &server, "made", 1024);
	assert_int_equal(hb_db_open(&db, &bed.config, "root", 5, error), 0);
	assert_int_equal(hb_schema_upgrade(db, bed.config.mysql_database, error), 0);
	hb_db_close(db);
	write_fixture();
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
load(uint32_t version)
{
	bed_sql(&bed, "CREATE DATABASE kept_%u CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", version);
	shell("mariadb --no-defaults --socket=%s --user=root --default-character-set=utf8mb4 "
	      "kept_%u <" FIXTURES "/schema-%u.sql",
		bed.config.mysql_socket, version, version);
}

static int64_t
money_of(uint32_t version)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
		"SELECT CAST(COALESCE(SUM(available_fen + frozen_fen), 0) AS SIGNED) FROM "
		"kept_%u.account_NN WHERE kind = 1",
		version);
	return bed_number_all(&bed, sql);
}

static int64_t
count_of(uint32_t version, const char *table)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM kept_%u.%s_NN", version, table);
	return bed_number_all(&bed, sql);
}

static void
test_every_kept_schema_is_brought_to_this_version_with_its_rows(void **state)
{
	static const char *const tables[] = {"order", "claim", "flow", "account", "packet"};

	(void)state;
	for (uint32_t version = 1; version <= hb_schema_version(); version++) {
		char error[HB_DB_ERROR_BYTES] = "", name[32];
		int64_t before[5];
		struct hb_db *db;

		load(version);
		snprintf(name, sizeof(name), "kept_%u", version);
		assert_int_equal(money_of(version), INT64_C(1000000) * USERS);
		for (size_t i = 0; i < 5; i++) {
			before[i] = count_of(version, tables[i]);
			assert_true(before[i] > 0);
		}
		assert_int_equal(hb_db_open(&db, &bed.config, "root", 5, error), 0);
		if (hb_schema_upgrade(db, name, error) != 0)
			fail_msg("version %u: %s", version, error);
		assert_int_equal(hb_schema_use(db, name, error), 0);
		hb_db_close(db);
		assert_int_equal(
			bed_number(&bed,
				"SELECT CAST(MAX(version) AS SIGNED) FROM %s.schema_version", name),
			hb_schema_version());
		for (size_t i = 0; i < 5; i++)
			assert_int_equal(count_of(version, tables[i]), before[i]);
		assert_int_equal(money_of(version), INT64_C(1000000) * USERS);
	}
}

static void
test_a_schema_of_a_later_version_is_refused(void **state)
{
	char error[HB_DB_ERROR_BYTES] = "";
	struct hb_db *db;

	(void)state;
	bed_sql(&bed, "INSERT INTO kept_1.schema_version (version) VALUES (%u)",
		hb_schema_version() + 1);
	assert_int_equal(hb_db_open(&db, &bed.config, "root", 5, error), 0);
	assert_int_equal(hb_schema_upgrade(db, "kept_1", error), -EPROTO);
	assert_non_null(strstr(error, "install the newer program"));
	hb_db_close(db);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kept_schema_is_brought_to_this_version_with_its_rows),
		cmocka_unit_test(test_a_schema_of_a_later_version_is_refused),
	};

	return cmocka_run_group_tests(tests, start, end);
}
