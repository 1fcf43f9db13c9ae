/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal whose oldest segments are gone cannot make the rows again: its backup has them, and an
 * applier that meets an empty database begins with them. Damaged dumps change nothing that counts.
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/backup.h"
#include "persist/check.h"
#include "persist/ledger_dump.h"
#include "persist/snapshot.h"

#define USERS 60

static struct bed_server server;
static struct bed bed; /* the node that is backed up */
static char root[64];  /* of the restored one */
static struct hb_backup_cut cut;
static struct hb_ledger_dump dump;

static uint64_t
committed(const struct bed *of)
{
	return hb_committed_seq(&of->journal.commit);
}

static void
apply_all(void)
{
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(&bed), 20000).seq, committed(&bed));
	bed_applier_stop(&bed);
}

/* The first segments are packed, in a snapshot and in MySQL; the oldest is dropped. */
static void
drop_oldest(void)
{
	char error[HB_JOURNAL_ERROR_BYTES], command[1024];
	uint64_t sealed = bed.journal.segment_number - 1;

	assert_true(sealed >= 1);
	for (uint64_t number = 1; number <= sealed; number++)
		assert_int_equal(hb_pack_segment(&bed.journal, number, error), 0);
	assert_int_equal(hb_journal_write_hint(&bed.journal), 0);
	assert_int_equal(hb_snapshot_run(&bed.config), 0);
	/* its raw file may be kept for recycling */
	snprintf(command, sizeof(command), "rm %s/segment-0000000000000001.*",
		bed.journal.directory);
	assert_int_equal(system(command), 0);
}

static void
export_rows(const char *path)
{
	char error[HB_LEDGER_ERROR_BYTES] = "";
	struct hb_db *db;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(hb_db_open(&db, &bed.config, "root", 5, error), 0);
	assert_int_equal(hb_schema_use(db, bed.config.mysql_database, error), 0);
	assert_int_equal(
		hb_db_execute(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error),
		0);
	if (hb_ledger_export(db, bed.source.stream_id, fd, &dump, error) != 0)
		fail_msg("%s", error);
	hb_db_close(db);
	close(fd);
}

static int
back_up(void **state)
{
	char target[128], path[192], error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_backup_request request = {.journal = bed.journal.directory, .target = target};

	(void)state;
	bed_server_open(&server);
	bed_open(&bed, &server, "saved", 4096);
	bed_fund(&bed, USERS);
	while (bed.journal.segment_number < 3)
		bed_traffic(&bed, USERS, 2000);
	bed_mark(&bed);
	apply_all();
	drop_oldest();
	bed_traffic(&bed, USERS, 300);
	bed_mark(&bed);
	apply_all();
	snprintf(root, sizeof(root), "/tmp/hongbao-restored-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(target, sizeof(target), "%s/" HB_PATH_JOURNAL, root);
	assert_int_equal(mkdir(target, 0700), 0);
	request.cut_seq = committed(&bed);
	snprintf(path, sizeof(path), "%s/" HB_JOURNAL_LEDGER_FILE, target);
	export_rows(path);
	/* the node lives on behind the cut */
	bed_traffic(&bed, USERS, 200);
	if (hb_backup_journal(&request, &cut, error) != 0)
		fail_msg("%s", error);
	assert_true(cut.first_seq > 1);
	assert_int_equal(cut.seq, request.cut_seq);
	assert_int_equal(dump.position.seq, cut.seq);
	return 0;
}

static int
end(void **state)
{
	char command[128];

	(void)state;
	bed_close(&bed);
	bed_server_close(&server);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

/* An applier on the restored journal, into another database. @return its state at the end */
static struct hb_applier_status
restore(const char *database, struct hb_config *config)
{
	struct hb_applier_source source;
	struct hb_applier *applier;
	struct hb_applier_status status = {.state = HB_APPLIER_WAITING};
	static struct hb_commit commit;
	char directory[128], error[256];

	*config = bed.config;
	snprintf(config->node_directory, sizeof(config->node_directory), "%s", root);
	snprintf(config->mysql_database, sizeof(config->mysql_database), "%s", database);
	snprintf(directory, sizeof(directory), "%s/" HB_PATH_JOURNAL, root);
	hb_commit_publish(&commit, cut.seq);
	source = (struct hb_applier_source){.journal_directory = directory, .commit = &commit};
	memcpy(source.stream_id, cut.stream_id, sizeof(source.stream_id));
	assert_int_equal(hb_applier_start(&applier, config, &source, error), 0);
	for (int i = 0; i < 5000 && status.seq < cut.seq; i++) {
		usleep(2000);
		hb_applier_status(applier, &status, 1);
		if (status.state == HB_APPLIER_POISONED)
			break;
	}
	hb_applier_stop(applier);
	return status;
}

static void
test_an_empty_database_is_filled_from_the_rows_of_the_backup(void **state)
{
	static const char *const tables[] = {"order", "claim", "flow", "account", "packet"};
	static struct hb_check_result result;
	struct hb_config config;
	struct hb_check_options options = {.config = &config, .cut_seq = cut.seq};
	struct hb_applier_status status = restore("restored", &config);
	uint64_t rows = 0;
	char error[256] = "", sql[128];

	(void)state;
	if (status.state == HB_APPLIER_POISONED)
		fail_msg("%s", status.error);
	assert_int_equal(status.seq, cut.seq);
	if (hb_check_run(&options, &result, error) != 0)
		fail_msg("%s", error);
	for (uint32_t i = 0; i < result.violation_count; i++)
		print_message("%s %s: %s, not %s\n", result.violation[i].kind,
			result.violation[i].where, result.violation[i].found,
			result.violation[i].expected);
	assert_true(result.ok);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM restored.%s_NN", tables[i]);
		rows += (uint64_t)bed_number_all(&bed, sql);
	}
	assert_int_equal(rows, dump.rows);
	assert_int_equal(bed_number(&bed,
				 "SELECT CAST((SELECT BIT_XOR(CRC32(CONCAT_WS(',', packet, sender, "
				 "greeting, HEX(seed), order_no))) FROM restored.packet_03) = "
				 "(SELECT BIT_XOR(CRC32(CONCAT_WS(',', packet, sender, greeting, "
				 "HEX(seed), order_no))) FROM packet_03 WHERE jseq <= %llu) AS "
				 "SIGNED)",
				 (unsigned long long)cut.seq),
		1);
}

static void
test_without_the_rows_the_applier_says_what_is_missing(void **state)
{
	char from[192], to[256];
	struct hb_config config;

	(void)state;
	snprintf(from, sizeof(from), "%s/" HB_PATH_JOURNAL "/" HB_JOURNAL_LEDGER_FILE, root);
	snprintf(to, sizeof(to), "%s.away", from);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(restore("missing", &config).state, HB_APPLIER_POISONED);
	assert_int_equal(rename(to, from), 0);
}

/* A dead import leaves rows without position; the next one begins anew. */
static void
test_an_interrupted_import_is_repeated(void **state)
{
	struct hb_config config;

	(void)state;
	bed_sql(&bed, "CREATE DATABASE again");
	for (uint32_t i = 0; i < 16; i += 5)
		bed_sql(&bed, "CREATE TABLE again.flow_%02u LIKE flow_%02u", i, i);
	bed_sql(&bed, "INSERT INTO again.flow_05 SELECT * FROM flow_05 LIMIT 7");
	assert_int_equal(restore("again", &config).seq, cut.seq);
	assert_int_equal(bed_number(&bed, "SELECT COUNT(*) FROM again.flow_05"),
		bed_number(&bed, "SELECT COUNT(*) FROM restored.flow_05"));
}

static void
test_a_damaged_dump_is_noticed_at_every_place(void **state)
{
	char path[192], error[HB_LEDGER_ERROR_BYTES];
	struct hb_ledger_dump seen;
	struct stat file;
	uint8_t byte;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/" HB_PATH_JOURNAL "/" HB_JOURNAL_LEDGER_FILE, root);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0 && fstat(fd, &file) == 0);
	assert_int_equal(hb_ledger_verify(fd, &seen, error), 0);
	assert_int_equal(seen.rows, dump.rows);
	for (off_t at = 5; at < file.st_size; at += 1 + file.st_size / 23) {
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(hb_ledger_verify(fd, &seen, error), -EBADMSG);
		assert_true(error[0] != '\0');
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(ftruncate(fd, file.st_size - 3), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hb_ledger_verify(fd, &seen, error), -EBADMSG);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_database_is_filled_from_the_rows_of_the_backup),
		cmocka_unit_test(test_without_the_rows_the_applier_says_what_is_missing),
		cmocka_unit_test(test_an_interrupted_import_is_repeated),
		cmocka_unit_test(test_a_damaged_dump_is_noticed_at_every_place),
	};

	return cmocka_run_group_tests(tests, back_up, end);
}
