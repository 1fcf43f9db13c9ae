/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real hongbao-persist loses power again and again, below a dataplane of ours with clients:
 * power_loss.so writes down what no sync has covered, power.py takes some of it back when all
 * have been killed. What the clients were told must be in the journal, once. The same with a
 * persist whose syncs do nothing must be found out.
 *
 *     test_power_loss PERSIST LIBRARY POWER.PY [CYCLES [SEED]]
 *
 * The clients' history is memory of this process, so that it survives theirs.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "persist/journal_reader.h"
#include "shm/ids.h"
#include "tests/dataplane/node.h"
#include "tests/shell.h"

#define CYCLES_DEFAULT 4
#define MUTANT_CYCLES  6
#define TOLD_MAX       (1u << 20)
#define TOLD_MIN       20 /* acknowledgements of a cycle before the power goes */
#define WRITES_MIN     10 /* of a cycle, seen by the library */
#define SHARES	       100
#define BURST	       10
#define START_MS       30000
#define SENDER	       UINT64_C(100001) /* the first one; each life has its own */
#define SENDER_FEN     INT64_C(100000000)
#define FIRST_USER     UINT64_C(2000)
#define SNAPSHOT_EVERY 3 /* cycles */
#define VERIFY_EVERY   10

/* One share that somebody was told. */
struct told {
	uint64_t packet;
	uint64_t user;
	int64_t amount_fen;
};

/* Shared with the child that is killed. */
struct history {
	_Atomic uint64_t count;
	struct told told[TOLD_MAX];
};

static const char *persist_program, *library, *loser;
static uint64_t cycles = CYCLES_DEFAULT;
static uint64_t random_state;
static struct history *history;
static char root[64];
static char journal[96];
static char power_directory[96];
static char config_path[96];
static pid_t persist_pid;
static pid_t dataplane_pid;

static uint64_t
below(uint64_t limit)
{
	random_state += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(random_state) % limit;
}

/* ---- a node ---- */

static void
make_node(void)
{
	FILE *file;

	snprintf(root, sizeof(root), "/tmp/hongbao-power-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(journal, sizeof(journal), "%s/journal", root);
	snprintf(power_directory, sizeof(power_directory), "%s/power", root);
	snprintf(config_path, sizeof(config_path), "%s/hongbao.conf", root);
	shell("mkdir -p %s/journal/snapshot %s/power %s/socket/persist %s/socket/dataplane %s/key "
	      "%s/log",
		root, root, root, root, root, root);
	file = fopen(config_path, "w");
	assert_non_null(file);
	fprintf(file,
		"node: { directory = \"%s\"; number = 1; };\n"
		"journal: { segment_mib = 1; };\n"
		"capacity: { accounts = 4096; packets = 4096; arena_mib = 4; windows = 4096;\n"
		"  orders = 4096; idempotency = 4096; holds = 1024; };\n",
		root);
	assert_int_equal(fclose(file), 0);
	atomic_store(&history->count, 0);
}

static pid_t
spawn_persist(bool synced, const char *verb)
{
	char log[128];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	setpgid(0, 0);
	setenv("LD_PRELOAD", library, 1);
	setenv("HB_POWER_JOURNAL", journal, 1);
	setenv("HB_POWER_LOG", power_directory, 1);
	setenv("HB_POWER_SYNC", synced ? "yes" : "no", 1);
	snprintf(log, sizeof(log), "%s/log/persist.log", root);
	if (freopen(log, "a", stderr) == NULL)
		_exit(126);
	if (verb != NULL)
		execl(persist_program, persist_program, verb, "-c", config_path, NULL);
	else
		execl(persist_program, persist_program, "-c", config_path, NULL);
	_exit(127);
}

/* @return false when it ended instead */
static bool
persist_is_up(void)
{
	uint64_t until_ns = hb_mono_ns() + UINT64_C(1000000) * START_MS;
	char path[HB_PATH_MAX];
	struct stat status;

	hb_path(path, root, HB_PATH_PERSIST_SOCKET);
	while (stat(path, &status) != 0) {
		if (waitpid(persist_pid, NULL, WNOHANG) != 0) {
			persist_pid = 0;
			return false;
		}
		if (hb_mono_ns() > until_ns)
			fail_msg("persist does not come up: see %s/log", root);
		usleep(2000);
	}
	return true;
}

/* ---- the dataplane and its clients: a process of their own ---- */

static void
heard(void *context, const struct hb_reply *reply)
{
	uint32_t *waiting = context;
	uint64_t at = atomic_load(&history->count);

	(*waiting)--;
	if (reply->status != HB_STATUS_OK || at == TOLD_MAX)
		return;
	history->told[at] = (struct told){
		.packet = reply->id, .user = reply->correlation, .amount_fen = reply->amount_fen};
	atomic_store(&history->count, at + 1);
}

static void
grab_all(struct hb_client *client, uint64_t packet)
{
	for (uint64_t user = 0; user < SHARES; user += BURST) {
		uint32_t waiting = 0;

		for (uint64_t i = 0; i < BURST; i++) {
			struct hb_frame frame;

			grab_frame(&frame, packet, FIRST_USER + user + i);
			waiting += hb_client_send(client, &frame) == 0;
		}
		hb_client_flush(client);
		while (waiting > 0) {
			if (hb_client_poll(client, heard, &waiting, BURST) < 0)
				_exit(0);
			usleep(50);
		}
	}
}

static _Noreturn void
run_clients(struct node *dataplane, uint64_t sender)
{
	struct hb_client *client = node_client(dataplane, "clients");

	fund(client, sender, SENDER_FEN);
	for (;;)
		grab_all(client, send_packet(client, sender, SHARES * 20, SHARES, 3600));
}

static void *
run_dataplane(void *argument)
{
	struct node *dataplane = argument;

	hb_dataplane_run(&dataplane->setup, dataplane->error);
	_exit(0);
}

static pid_t
spawn_dataplane(uint64_t sender)
{
	static struct node dataplane;
	pthread_t thread;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	hb_config_defaults(&dataplane.config);
	snprintf(dataplane.config.node_directory, sizeof(dataplane.config.node_directory), "%s",
		root);
	snprintf(dataplane.socket, sizeof(dataplane.socket), "%s/%s", root,
		HB_PATH_DATAPLANE_SOCKET);
	dataplane.config.dataplane_lcores = 1;
	dataplane.setup.config = &dataplane.config;
	dataplane.setup.front_uid = 65534;
	dataplane.setup.control_uid = getuid();
	dataplane.setup.token_keys.count = 1;
	memcpy(dataplane.setup.token_keys.key[0], "0123456789abcdef", HB_TOKEN_KEY_BYTES);
	dataplane.setup.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pthread_create(&thread, NULL, run_dataplane, &dataplane) != 0)
		_exit(1);
	run_clients(&dataplane, sender);
}

/* ---- loss of power ---- */

static void
kill_group(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(-*pid, SIGKILL);
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

static void
lose_power(void)
{
	char path[HB_PATH_MAX];

	if (below(2) == 0)
		kill_group(&persist_pid);
	kill_group(&dataplane_pid);
	kill_group(&persist_pid);
	hb_path(path, root, HB_PATH_PERSIST_SOCKET);
	unlink(path);
	shell("python3 -B %s %s %s %" PRIu64 " >>%s/log/losses", loser, power_directory, journal,
		below(UINT64_C(1) << 32), root);
}

/* One life: until enough was told, then a random moment. @return false when it did not start */
static bool
live(uint64_t number, bool synced, bool snapshot)
{
	uint64_t before = atomic_load(&history->count);
	uint64_t until_ns = hb_mono_ns() + UINT64_C(1000000) * START_MS;
	pid_t job = 0;

	persist_pid = spawn_persist(synced, NULL);
	if (!persist_is_up())
		return false;
	dataplane_pid = spawn_dataplane(SENDER + number);
	while (atomic_load(&history->count) < before + TOLD_MIN) {
		if (hb_mono_ns() > until_ns)
			fail_msg("nobody is told anything: see %s/log", root);
		if (waitpid(persist_pid, NULL, WNOHANG) != 0) {
			persist_pid = 0;
			return false; /* it refused the journal when the dataplane came */
		}
		usleep(1000);
	}
	if (snapshot)
		job = spawn_persist(synced, "snapshot");
	usleep((useconds_t)below(150000));
	kill_group(&job);
	return true;
}

/* ---- what must be there ---- */

struct key {
	uint64_t packet;
	uint64_t user;
	int64_t amount_fen;
};

static int
compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->packet != y->packet)
		return x->packet < y->packet ? -1 : 1;
	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return 0;
}

/* Every GRAB of the journal, in order of packet and user. @return how many, or -1: unreadable */
static int64_t
read_grabs(struct key *grabs)
{
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	char error[HB_JOURNAL_ERROR_BYTES];
	int64_t count = 0;
	int rc = hb_journal_reader_open(&reader, journal, error);

	if (rc != 0)
		return -1;
	rc = hb_journal_reader_seek(reader, 1);
	while (rc == 0 && (rc = hb_journal_reader_next(reader, &record, &at)) > 0) {
		const struct hb_record_grab *grab = (const void *)record;

		rc = 0;
		if (record->type != HB_RECORD_GRAB || count == TOLD_MAX)
			continue;
		grabs[count++] = (struct key){grab->packet, grab->user, grab->amount_fen};
	}
	hb_journal_reader_close(reader);
	qsort(grabs, (size_t)count, sizeof(*grabs), compare_keys);
	return rc < 0 ? -1 : count;
}

/* @return shares that were told and are not there, and pairs that are there twice */
static uint64_t
count_wrong(void)
{
	struct key *grabs = malloc(TOLD_MAX * sizeof(*grabs));
	uint64_t told = atomic_load(&history->count), wrong = 0;
	int64_t count;

	assert_non_null(grabs);
	count = read_grabs(grabs);
	for (int64_t i = 1; i < count; i++)
		wrong += compare_keys(&grabs[i - 1], &grabs[i]) == 0;
	for (uint64_t i = 0; i < told; i++) {
		struct key key = {history->told[i].packet, history->told[i].user, 0};
		const struct key *found =
			count <= 0 ? NULL
				   : bsearch(&key, grabs, (size_t)count, sizeof(key), compare_keys);

		wrong += found == NULL || found->amount_fen != history->told[i].amount_fen;
	}
	free(grabs);
	return wrong;
}

/* Also of a test that failed: its files stay. */
static int
end_processes(void **state)
{
	(void)state;
	kill_group(&dataplane_pid);
	kill_group(&persist_pid);
	return 0;
}

static void
end_node(void)
{
	end_processes(NULL);
	if (strncmp(root, "/tmp/hongbao-power-", 19) == 0)
		shell("rm -rf %s", root);
}

static void
no_loss_of_power_loses_or_doubles_a_share_that_was_told(void **state)
{
	(void)state;
	make_node();
	for (uint64_t i = 0; i < cycles; i++) {
		if (!live(i, true, i % SNAPSHOT_EVERY == 0))
			fail_msg("cycle %" PRIu64 ": persist refuses its journal: see %s/log", i,
				root);
		lose_power();
		if (i % VERIFY_EVERY == VERIFY_EVERY - 1 || i == cycles - 1) {
			uint64_t wrong = count_wrong();

			fprintf(stderr,
				"%" PRIu64 " of %" PRIu64 " cycles, %" PRIu64
				" shares told, %" PRIu64 " wrong\n",
				i + 1, cycles, atomic_load(&history->count), wrong);
			if (wrong != 0)
				fail_msg("%" PRIu64 " shares are lost or doubled: see %s", wrong,
					root);
		}
	}
	/* the library must have seen the journal being written, or this proved nothing */
	shell("python3 -B -c 'import json, sys, collections\n"
	      "total = collections.Counter()\n"
	      "for line in open(sys.argv[1]): total.update(json.loads(line))\n"
	      "print(dict(total))\n"
	      "sys.exit(total[\"writes\"] < %u * total[\"losses\"])' %s/log/losses",
		WRITES_MIN, root);
	end_node();
}

static void
a_persist_whose_syncs_do_nothing_is_found_out(void **state)
{
	uint64_t wrong = 0;
	bool refused = false;

	(void)state;
	make_node();
	for (uint64_t i = 0; i < MUTANT_CYCLES && !refused && wrong == 0; i++) {
		refused = !live(i, false, false);
		lose_power();
		wrong = count_wrong();
	}
	fprintf(stderr, "without syncs: %s, %" PRIu64 " of %" PRIu64 " shares wrong\n",
		refused ? "refused" : "not refused", wrong, atomic_load(&history->count));
	assert_true(refused || wrong > 0);
	end_node();
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(
			no_loss_of_power_loses_or_doubles_a_share_that_was_told, end_processes),
		cmocka_unit_test_teardown(
			a_persist_whose_syncs_do_nothing_is_found_out, end_processes),
	};

	if (argc < 4) {
		fprintf(stderr, "usage: %s PERSIST LIBRARY POWER.PY [CYCLES [SEED]]\n", argv[0]);
		return 2;
	}
	persist_program = argv[1];
	library = argv[2];
	loser = argv[3];
	if (getrandom(&random_state, sizeof(random_state), 0) != sizeof(random_state))
		return 2;
	if (argc > 4)
		cycles = strtoull(argv[4], NULL, 0);
	if (argc > 5)
		random_state = strtoull(argv[5], NULL, 0);
	printf("seed %" PRIu64 "\n", random_state);
	hb_log_open("test", 0);
	history = mmap(NULL, sizeof(*history), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (history == MAP_FAILED)
		return 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
