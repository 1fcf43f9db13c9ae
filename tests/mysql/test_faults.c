/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The applier while connections break and the server dies, forgets and is put back to an older
 * state: after each fault everything applied is there once. Judged by the rows that the journal
 * says there must be (persist/check.h), and by the engine's own state.
 *
 *     test_mysql_faults [FAULTS [SEED]]     24 faults unless said otherwise
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "base/bits.h"
#include "base/clock.h"
#include "persist/check.h"
#include "tests/mysql/proxy.h"

#define FAULTS_DEFAULT	   24
#define USERS		   120
#define GRABS		   60	 /* of a round */
#define FIRE_MS		   60000 /* a fault that has not come by then counts as a failure */
#define APPLIED_MS	   60000
#define REQUEST_CUT_MAX	   40000 /* bytes */
#define REPLY_CUT_MAX	   600
#define RESTART_INTERVAL   15 /* faults between two deaths of the server */
#define RESTORE_INTERVAL   25 /* and between two older states */
#define CHECK_INTERVAL	   25
#define READ_ONLY_INTERVAL 8 /* faults between two times of a server that takes no writes */
#define READ_ONLY_MS	   20000
#define APPLIER		   "applier" /* may write rows and nothing else, as in a node */

static const char *const fault_names[PROXY_FAULT_COUNT] = {"restored_older", "cut_before_commit",
	"cut_with_commit", "cut_after_commit", "cut_request", "cut_reply", "refused_begin",
	"refused_commit", "killed_server"};

static struct bed_server server;
static struct bed bed;
static struct proxy proxy;
static char server_path[100];
static uint64_t fault_count = FAULTS_DEFAULT;
static uint64_t random_state;
static uint64_t counts[PROXY_FAULT_COUNT];
static uint64_t read_only_count;

static uint64_t
below(uint64_t limit)
{
	random_state += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(random_state) % limit;
}

static uint64_t
committed(void)
{
	return hb_committed_seq(&bed.journal.commit);
}

static int
begin(void **state)
{
	char path[100];

	(void)state;
	bed_server_open(&server);
	snprintf(server_path, sizeof(server_path), "%s/mysql.sock", server.directory);
	snprintf(path, sizeof(path), "%s/proxy.sock", server.directory);
	proxy_open(&proxy, path, server_path);
	bed_open(&bed, &server, "faults", 4096);
	snprintf(bed.config.mysql_socket, sizeof(bed.config.mysql_socket), "%s", path);
	bed.config.applier_batch_records_max = 64;
	bed_fund(&bed, USERS);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(), APPLIED_MS).seq, committed());
	bed_applier_stop(&bed);
	bed_sql(&bed, "CREATE USER '" APPLIER "'@'localhost'");
	bed_sql(&bed,
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, "
		"LOCK TABLES ON `faults`.* TO '" APPLIER "'@'localhost'");
	snprintf(bed.config.mysql_user, sizeof(bed.config.mysql_user), APPLIER);
	bed_applier_start(&bed);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	bed_close(&bed);
	proxy_close(&proxy);
	bed_server_close(&server);
	return 0;
}

/* ---- faults ---- */

/* Rows and position as they were some rounds ago: what a failover to a late copy leaves. */
static void
keep_copy(void)
{
	char command[512];

	bed_server_end(&server, SIGTERM);
	snprintf(command, sizeof(command), "rm -rf %s.old && cp -a %s %s.old", server.data,
		server.data, server.data);
	assert_int_equal(system(command), 0);
	bed_server_start(&server, NULL);
}

static void
put_copy_back(void)
{
	char command[512];

	bed_server_end(&server, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s && mv %s.old %s", server.data, server.data,
		server.data);
	assert_int_equal(system(command), 0);
	bed_server_start(&server, NULL);
}

/* As after a failover to a replica, or by an operator's hand: the server itself refuses. */
static void
read_only_server(void)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * READ_ONLY_MS;
	struct hb_applier_status status;
	uint64_t before;

	bed_sql(&bed, "SET GLOBAL read_only = ON");
	before = (uint64_t)bed_number(&bed, "SELECT seq FROM jpos");
	do {
		bed_traffic(&bed, USERS, GRABS / 4);
		status = bed_wait(&bed, committed(), 100);
		if (hb_mono_ns() > until)
			fail_msg("nobody is told that the server is read-only: %s", status.error);
	} while (strstr(status.error, "read-only") == NULL);
	assert_int_equal(status.state, HB_APPLIER_WAITING);
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), before);
	bed_sql(&bed, "SET GLOBAL read_only = OFF");
	read_only_count++;
}

static enum proxy_fault
draw_fault(uint64_t number)
{
	if (number % RESTART_INTERVAL == RESTART_INTERVAL - 1)
		return PROXY_KILL_SERVER;
	return (enum proxy_fault)(1 + below(PROXY_KILL_SERVER - 1));
}

static void
arm(enum proxy_fault fault)
{
	atomic_store(&proxy.server, server.pid);
	atomic_store(&proxy.bytes_left,
		1 + below(fault == PROXY_CUT_REQUEST ? REQUEST_CUT_MAX : REPLY_CUT_MAX));
	atomic_store(&proxy.fault, (int)fault);
	counts[fault]++;
}

/* Records come until the fault has happened. */
static void
run_into(enum proxy_fault fault)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * FIRE_MS;

	while (atomic_load(&proxy.fault) != PROXY_NOTHING) {
		bed_traffic(&bed, USERS, GRABS);
		bed_wait(&bed, committed(), 200);
		if (hb_mono_ns() > until)
			fail_msg("the fault %s does not happen", fault_names[fault]);
	}
	if (fault == PROXY_KILL_SERVER) {
		waitpid(server.pid, NULL, 0);
		server.pid = 0;
		bed_server_start(&server, NULL);
	}
}

static void
wait_applied(const char *what)
{
	struct hb_applier_status status = bed_wait(&bed, committed(), APPLIED_MS);

	if (status.seq != committed())
		fail_msg("after %s the applier stands at %" PRIu64 " of %" PRIu64 ": %s", what,
			status.seq, committed(), status.error);
}

/* ---- what must be there ---- */

static void
count_rows(void)
{
	uint64_t grabs = 0, packets = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		grabs += bed.world.state.partition[i].head->grab_count;
		packets += bed.world.state.partition[i].head->packet_count;
	}
	assert_int_equal(bed_number_all(&bed, "SELECT COUNT(*) FROM claim_NN"), grabs);
	assert_int_equal(bed_number_all(&bed, "SELECT COUNT(*) FROM packet_NN"), packets);
	assert_int_equal(
		bed_number_all(&bed, "SELECT CAST(COALESCE(SUM(available_fen + frozen_fen), 0) AS "
				     "SIGNED) FROM account_NN"),
		0);
	assert_int_equal(bed_number(&bed, "SELECT seq FROM jpos"), committed());
}

static void
check_everything(void)
{
	static struct hb_check_result result;
	const struct hb_check_options options = {.config = &bed.config, .cut_seq = committed()};
	char error[256] = "";

	if (hb_check_run(&options, &result, error) != 0)
		fail_msg("check: %s", error);
	for (uint32_t i = 0; i < result.violation_count && i < HB_CHECK_VIOLATIONS_MAX; i++)
		printf("  %s | %s | expected %s | found %s\n", result.violation[i].kind,
			result.violation[i].where, result.violation[i].expected,
			result.violation[i].found);
	assert_true(result.ok);
}

static void
no_broken_connection_and_no_lost_transaction_loses_or_doubles_a_row(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < fault_count; i++) {
		enum proxy_fault fault = draw_fault(i);

		if (i % RESTORE_INTERVAL == 3)
			keep_copy();
		if (i % RESTORE_INTERVAL == RESTORE_INTERVAL / 2) {
			put_copy_back();
			counts[PROXY_NOTHING]++;
		}
		if (i % READ_ONLY_INTERVAL == READ_ONLY_INTERVAL / 2) {
			read_only_server();
			wait_applied("a server that was read-only");
		}
		arm(fault);
		run_into(fault);
		wait_applied(fault_names[fault]);
		count_rows();
		if (i % CHECK_INTERVAL == CHECK_INTERVAL - 1 || i == fault_count - 1) {
			check_everything();
			fprintf(stderr, "%" PRIu64 " of %" PRIu64 " faults\n", i + 1, fault_count);
		}
	}
	for (uint32_t i = 0; i < PROXY_FAULT_COUNT; i++)
		printf("%s %" PRIu64 "\n", fault_names[i], counts[i]);
	printf("read_only_server %" PRIu64 "\n", read_only_count);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			no_broken_connection_and_no_lost_transaction_loses_or_doubles_a_row, begin,
			end),
	};

	if (getrandom(&random_state, sizeof(random_state), 0) != sizeof(random_state))
		return 2;
	if (argc > 1)
		fault_count = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		random_state = strtoull(argv[2], NULL, 0);
	printf("seed %" PRIu64 "\n", random_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
