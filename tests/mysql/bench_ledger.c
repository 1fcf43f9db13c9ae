/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the applier drains a backlog into MariaDB, and how long the check takes.
 *
 *   bench_ledger [grabs] [users] [applier.batch_records_max]
 *
 * By default 200,000 grabs by 20,000 users. Behind a backlog batches are four times as large.
 *
 * The records are real: the engine decides them, the journal's writer writes them, and the check
 * at the end must be right. The numbers are of this machine with nothing else running.
 */
#include "tests/mysql/bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/check.h"

#define SHARES 100

static struct bed_server server;
static struct bed bed;

static double
seconds_since(uint64_t begin_ns)
{
	return (double)(hb_mono_ns() - begin_ns) / 1e9;
}

/* Packets of 100 shares, each taken by users in turn: every grab wins. */
static void
make_journal(uint32_t grabs, uint64_t users)
{
	struct world *w = &bed.world;
	uint64_t user = 0;

	for (uint64_t i = 1; i <= users; i++) {
		assert_int_equal(world_fund(w, i, 100000), HB_STATUS_OK);
		if (i % 512 == 0)
			bed_commit(&bed);
	}
	for (uint32_t done = 0; done < grabs; done += SHARES) {
		uint64_t packet;

		assert_int_equal(world_send(w, world_random(w) % users + 1, 7, SHARES * 20, SHARES,
					 HB_SPLIT_DOUBLE_MEAN, &packet),
			HB_STATUS_OK);
		for (uint32_t i = 0; i < SHARES; i++) {
			user = user * 7 % users + 13;
			user = (user + world_random(w) % 5) % users;
			while (world_grab(w, packet, user + 1, 7) != HB_STATUS_OK ||
				(w->reply.head.flags & HB_REPLY_ALREADY) != 0)
				user = world_random(w) % users;
		}
		world_advance_ms(w, 5);
		world_deliver(w);
		bed_commit(&bed);
	}
	bed_mark(&bed);
	bed_commit(&bed);
}

static double
cpu_seconds(pid_t pid)
{
	char path[64];
	unsigned long user = 0;
	unsigned long kernel = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
		    &kernel) != 2)
		user = kernel = 0;
	fclose(file);
	return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

int
main(int argc, char **argv)
{
	uint32_t grabs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200000;
	uint64_t users = argc > 2 ? strtoul(argv[2], NULL, 10) : 20000;
	struct hb_check_options options = {.config = &bed.config};
	struct hb_check_result result;
	char error[256] = "";

	bed_server_open(&server);
	bed_open(&bed, &server, "bench", 65536);
	bed.config.applier_interval_ms = 200;
	if (argc > 3)
		bed.config.applier_batch_records_max = (int64_t)strtoul(argv[3], NULL, 10);
	uint64_t begin = hb_mono_ns();
	make_journal(grabs, users);
	options.cut_seq = hb_committed_seq(&bed.journal.commit);
	printf("journal of %u grabs, %lu records: %.1f s\n", grabs, (unsigned long)options.cut_seq,
		seconds_since(begin));

	double server_cpu = cpu_seconds(server.pid);
	double own_cpu = cpu_seconds(getpid());
	begin = hb_mono_ns();
	bed_applier_start(&bed);
	struct hb_applier_status status = bed_wait(&bed, options.cut_seq, 600000);
	double seconds = seconds_since(begin);
	printf("applied: %.1f s, %.0f grabs/s, server %.1f us, applier %.1f us of CPU a grab, "
	       "%lu transactions, state %s %s\n",
		seconds, grabs / seconds, (cpu_seconds(server.pid) - server_cpu) * 1e6 / grabs,
		(cpu_seconds(getpid()) - own_cpu) * 1e6 / grabs, (unsigned long)status.transactions,
		hb_applier_state_name(status.state), status.error);
	bed_applier_stop(&bed);

	int rc = hb_check_run(&options, &result, error);
	char *text = hb_check_json(&result, 0);
	printf("check: %d %s %.2f s %s\n", rc, error, (double)result.elapsed_ms / 1000, text);
	free(text);
	bed_close(&bed);
	bed_server_close(&server);
	return rc == 0 && result.ok ? 0 : 1;
}
