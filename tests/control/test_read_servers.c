/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads over several servers: a shard is read where it is, also while it moves; one server that is
 * away takes only its shards along; replicas are read while they are fresh, or alone. The replica
 * is a second server that an applier of its own fills from the same journal: rows and position are
 * of one moment there too.
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/reads.h"
#include "persist/server_work.h"
#include "shm/ids.h"

#define USERS	20
#define GRABS	2000
#define WAIT_MS 20000

static struct bed_server server_a, server_b;
static struct bed bed;
static struct hb_reads *reads;
static char error[256];

static int
set_up_group(void **state)
{
	(void)state;
	bed_server_open(&server_a);
	bed_server_open(&server_b);
	return 0;
}

static int
tear_down_group(void **state)
{
	(void)state;
	bed_server_close(&server_a);
	bed_server_close(&server_b);
	return 0;
}

static uint64_t
committed(void)
{
	return hb_committed_seq(&bed.journal.commit);
}

static void
open_node(const char *name, const char *servers, const char *shards)
{
	struct hb_config *config = &bed.config;

	bed_open(&bed, &server_a, name, 4096);
	config->mysql_socket[0] = 0;
	snprintf(config->mysql_control_user, sizeof(config->mysql_control_user), "root");
	snprintf(config->mysql_servers, sizeof(config->mysql_servers), "%s", servers);
	snprintf(config->mysql_shards, sizeof(config->mysql_shards), "%s", shards);
	bed_fund(&bed, USERS);
	bed_traffic(&bed, USERS, GRABS);
	bed_applier_start(&bed);
}

static void
close_node(void)
{
	hb_reads_destroy(reads);
	reads = NULL;
	bed_close(&bed);
}

static void
wait_applied(struct hb_applier *applier)
{
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * WAIT_MS;
	uint32_t level;

	do {
		uint32_t count = hb_applier_status(applier, status, HB_APPLIER_SERVERS_MAX);

		level = 0;
		for (uint32_t i = 0; i < count; i++)
			level += status[i].shards == 0 || status[i].seq >= committed();
		if (level == count)
			return;
		usleep(2000);
	} while (hb_mono_ns() < until);
	fail_msg("the appliers do not catch up: %s", status[0].error);
}

static int
count_row(void *context, const void *row)
{
	(void)row;
	++*(uint32_t *)context;
	return 0;
}

/* @return orders of the user, or an error of reads.h */
static int
orders_of(uint64_t user, uint64_t min_seq, uint64_t *as_of_seq)
{
	struct hb_read_parameters parameters = {
		.account = user, .before = UINT64_MAX, .limit = HB_READS_ROWS_MAX};
	struct hb_read *read = NULL;
	struct hb_order_row row;
	uint32_t count = 0;
	int rc = hb_read_begin(reads, hb_partition_of(user), min_seq, &read, error);

	if (rc == 0)
		rc = hb_read_query(read, HB_READ_ORDERS, hb_partition_of(user), &parameters, &row,
			count_row, &count, error);
	if (rc == 0 && as_of_seq != NULL)
		*as_of_seq = hb_read_as_of_seq(read);
	hb_read_end(read);
	return rc == 0 ? (int)count : rc;
}

static void
a_moved_shard_is_read_where_it_is(void **state)
{
	char servers[200];
	uint64_t user = 1;
	uint32_t shard = hb_partition_of(user);
	uint64_t as_of = 0;
	int orders;

	(void)state;
	snprintf(servers, sizeof(servers), "a=unix:%s/mysql.sock b=unix:%s/mysql.sock",
		server_a.directory, server_b.directory);
	open_node("moved", servers, "a:0-7 b:8-15");
	wait_applied(bed.applier);
	assert_int_equal(hb_reads_create(&reads, &bed.config), 0);
	for (uint64_t i = 1; i <= USERS; i++)
		assert_true(orders_of(i, 0, NULL) > 0);
	orders = orders_of(user, 0, NULL);
	for (int i = 0; i < 4; i++) {
		const char *to = (shard < 8) == (i % 2 == 0) ? "b" : "a";

		if (hb_server_move_shard(bed.applier, shard, to, NULL, NULL, error) != 0)
			fail_msg("%s", error);
		assert_int_equal(orders_of(user, 0, NULL), orders);
		bed_traffic(&bed, USERS, 50);
		orders = orders_of(user, committed(), &as_of);
		assert_true(orders > 0);
		assert_true(as_of >= committed());
	}
	close_node();
}

static void
a_server_that_is_away_takes_only_its_shards_along(void **state)
{
	char servers[200];

	(void)state;
	snprintf(servers, sizeof(servers), "a=unix:%s/mysql.sock b=unix:%s/mysql.sock",
		server_a.directory, server_b.directory);
	open_node("away", servers, "a:0-7 b:8-15");
	wait_applied(bed.applier);
	assert_int_equal(hb_reads_create(&reads, &bed.config), 0);
	for (uint64_t i = 1; i <= USERS; i++)
		assert_true(orders_of(i, 0, NULL) > 0);
	bed_server_end(&server_b, SIGKILL);
	for (uint64_t i = 1; i <= USERS; i++) {
		int rc = orders_of(i, 0, NULL);

		if (hb_partition_of(i) < 8)
			assert_true(rc > 0);
		else
			assert_int_equal(rc, -ENOTCONN);
	}
	bed_server_start(&server_b, NULL);
	for (uint64_t i = 1; i <= USERS; i++)
		assert_true(orders_of(i, 0, NULL) > 0);
	close_node();
}

static void
replicas_are_read_while_they_are_fresh_or_alone(void **state)
{
	struct hb_applier *replicator = NULL;
	struct hb_config replica_config;
	char servers[200];
	uint64_t as_of = 0, early;

	(void)state;
	snprintf(servers, sizeof(servers), "a=unix:%s/mysql.sock", server_a.directory);
	open_node("replica", servers, "");
	replica_config = bed.config;
	snprintf(replica_config.mysql_servers, sizeof(replica_config.mysql_servers),
		"a=unix:%s/mysql.sock", server_b.directory);
	assert_int_equal(hb_applier_start(&replicator, &replica_config, &bed.source, error), 0);
	wait_applied(bed.applier);
	wait_applied(replicator);
	snprintf(bed.config.mysql_replicas, sizeof(bed.config.mysql_replicas),
		"a=unix:%s/mysql.sock", server_b.directory);
	bed.config.mysql_replica_lag_ms_max = 60000;
	assert_int_equal(hb_reads_create(&reads, &bed.config), 0);
	for (uint64_t i = 1; i <= USERS; i++)
		assert_true(orders_of(i, 0, NULL) > 0);
	assert_int_equal(hb_reads_from_replicas(reads), USERS);
	/* it falls behind: who wants the newest is answered by the server */
	early = committed();
	hb_applier_stop(replicator);
	bed_traffic(&bed, USERS, 50);
	wait_applied(bed.applier);
	assert_true(orders_of(1, committed(), &as_of) > 0);
	assert_int_equal(as_of, committed());
	assert_int_equal(hb_reads_from_replicas(reads), USERS);
	assert_true(orders_of(1, 0, &as_of) > 0);
	assert_int_equal(as_of, early);
	assert_int_equal(hb_reads_from_replicas(reads), USERS + 1);
	/* and further than the bound: nobody is answered by it, */
	bed.config.mysql_replica_lag_ms_max = 1;
	usleep(5000);
	assert_true(orders_of(1, 0, &as_of) > 0);
	assert_int_equal(as_of, committed());
	/* but when the server is away */
	bed_server_end(&server_a, SIGKILL);
	assert_true(orders_of(1, 0, &as_of) > 0);
	assert_int_equal(as_of, early);
	bed_server_start(&server_a, NULL);
	/* a replica that is away is not missed */
	bed.config.mysql_replica_lag_ms_max = 60000;
	bed_server_end(&server_b, SIGKILL);
	assert_true(orders_of(1, 0, &as_of) > 0);
	assert_int_equal(as_of, committed());
	bed_server_start(&server_b, NULL);
	close_node();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_moved_shard_is_read_where_it_is),
		cmocka_unit_test(a_server_that_is_away_takes_only_its_shards_along),
		cmocka_unit_test(replicas_are_read_while_they_are_fresh_or_alone),
	};

	return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
