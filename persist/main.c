/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-persist: journal, recovery, snapshots, appliers. `hongbao-persist snapshot` is the job
 * that makes one snapshot and exits; the long-running process starts it now and then.
 *
 * Main thread: the link to the dataplane, the snapshot job, signals. It sleeps in epoll. If the
 * process dies anywhere, the next start finds everything that was committed, and a living
 * dataplane brings the rest in its rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/realtime.h"
#include "base/sandbox.h"
#include "persist/persist.h"
#include "persist/snapshot.h"

#define TICK_MS		       1000
#define WRITER_STUCK_NS	       UINT64_C(20000000000) /* one write of a disk that still answers */
#define FIRST_SNAPSHOT_DIVISOR 10
#define LOCK_RETRIES_MAX       60 /* of 50 ms: a killed predecessor takes its time to vanish */
#define SNAPSHOT_NICE	       10
#define IO_PRIORITY_LOWEST     ((2 << 13) | 7) /* best effort, level 7 */
#define IO_PRIORITY_PROCESS    1
#define ARGUMENTS_MAX	       64
#define EXIT_BAD_CONFIG	       2

extern char **environ;

static struct hb_persist persist;

struct snapshot_job {
	char *arguments[ARGUMENTS_MAX + 2]; /* of the child */
	pid_t pid;			    /* 0: none runs */
	uint64_t next_ns;
	uint64_t asked_seq; /* committed when the last job was started */
};

/* ---- the snapshot job ---- */

/*
 * The job stays behind everybody. Its session is its own (POSIX_SPAWN_SETSID), so where the kernel
 * weighs sessions against each other (autogroup) it does not burn persist's share.
 */
static void
stay_behind(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	(void)setpriority(PRIO_PROCESS, 0, SNAPSHOT_NICE);
	if (fd < 0)
		return;
	(void)!write(fd, "19", 2);
	close(fd);
}

static int
snapshot_main(const struct hb_config *config)
{
	stay_behind();
	(void)syscall(SYS_ioprio_set, IO_PRIORITY_PROCESS, 0, IO_PRIORITY_LOWEST);
	return hb_snapshot_run(config) == 0 ? 0 : 1;
}

static void
snapshot_job_open(struct snapshot_job *job, int argc, char **argv)
{
	int count = 0;

	for (int i = 0; i < argc && count < ARGUMENTS_MAX; i++)
		job->arguments[count++] = argv[i];
	job->arguments[count++] = "snapshot";
	job->arguments[count] = NULL;
	/* the first one early: a process that keeps dying must not keep us from ever making one */
	job->next_ns = hb_mono_ns() + (uint64_t)persist.config.snapshot_interval_s *
					      UINT64_C(1000000000) / FIRST_SNAPSHOT_DIVISOR;
}

static void
newest_snapshot(void)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count = hb_snapshot_list(persist.journal_directory, seq);

	if (count > 0)
		atomic_store(&persist.last_snapshot_seq, seq[0]);
}

static void
snapshot_start(struct snapshot_job *job, uint64_t now_ns)
{
	posix_spawnattr_t attributes;
	sigset_t none;
	int rc;

	job->next_ns = now_ns + (uint64_t)persist.config.snapshot_interval_s * UINT64_C(1000000000);
	if (hb_committed_seq(&persist.journal.commit) <= job->asked_seq)
		return;
	job->asked_seq = hb_committed_seq(&persist.journal.commit);
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
	rc = posix_spawn(&job->pid, hb_sandbox_self, NULL, &attributes, job->arguments, environ);
	posix_spawnattr_destroy(&attributes);
	if (rc != 0) {
		job->pid = 0;
		hb_log(HB_LOG_ERROR, "snapshot_not_started", "error=\"%s\"", strerror(rc));
	}
	atomic_store(&persist.snapshot_running, job->pid != 0);
}

static void
snapshot_reap(struct snapshot_job *job)
{
	int status;

	if (job->pid == 0 || waitpid(job->pid, &status, WNOHANG) != job->pid)
		return;
	job->pid = 0;
	atomic_store(&persist.snapshot_running, false);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		atomic_fetch_add(&persist.snapshots_made, 1);
	} else {
		atomic_fetch_add(&persist.snapshots_failed, 1);
		job->asked_seq = 0;
		hb_log(HB_LOG_ERROR, "snapshot_job_failed", "status=%d", status);
	}
	newest_snapshot();
}

/* ---- what may be dropped ---- */

/* Below every applier's position and the second newest snapshot. */
static uint64_t
release_mark(void)
{
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];
	uint64_t seq[HB_SNAPSHOTS_MAX];
	uint64_t mark;
	uint32_t count;
	int snapshots = hb_snapshot_list(persist.journal_directory, seq);

	if (snapshots < 2 || persist.applier == NULL)
		return 0;
	mark = seq[1];
	count = hb_applier_status(persist.applier, status, HB_APPLIER_SERVERS_MAX);
	for (uint32_t i = 0; i < count && i < HB_APPLIER_SERVERS_MAX; i++)
		if (status[i].shards != 0 && status[i].seq < mark)
			mark = status[i].seq;
	return count == 0 ? 0 : mark;
}

/* ---- start ---- */

/* What MySQL knows of this journal; 0 when there is no journal yet or no server answers. */
static uint64_t
mysql_witness(void)
{
	struct hb_journal_reader *reader;
	struct hb_journal_info info;
	char error[HB_JOURNAL_ERROR_BYTES], why[256];
	uint64_t seq = 0;

	if (hb_journal_reader_open(&reader, persist.journal_directory, error) != 0)
		return 0;
	if (hb_journal_reader_info(reader, &info) == 0 &&
		hb_applier_position(&persist.config, info.stream_id, &seq, why) != 0) {
		hb_log(HB_LOG_WARN, "mysql_position_unknown",
			"error=\"%s\" effect=\"the end of the journal is judged without it\"", why);
		seq = 0;
	}
	hb_journal_reader_close(reader);
	return seq;
}

static void
start_appliers(void)
{
	char error[256] = "";

	persist.applier_source.journal_directory = persist.journal_directory;
	memcpy(persist.applier_source.stream_id, persist.journal.superblock.stream_id, 16);
	persist.applier_source.commit = &persist.journal.commit;
	persist.applier_source.release_mark = &persist.journal.pack_mark;
	if (hb_applier_start(&persist.applier, &persist.config, &persist.applier_source, error) ==
		0)
		return;
	persist.applier = NULL;
	hb_log(HB_LOG_ERROR, "appliers_not_started",
		"error=\"%s\" effect=\"MySQL falls behind; the journal goes on\"", error);
}

static void
start_announcer(void)
{
	struct hb_announcer_source source = {
		.journal_directory = persist.journal_directory,
		.commit = &persist.journal.commit,
		.slots = hb_power_of_two_ceil((uint64_t)persist.config.notices_events),
		.packets = hb_capacity_from_config(&persist.config).packets,
	};
	char error[HB_JOURNAL_ERROR_BYTES] = "";

	memcpy(source.stream_id, persist.journal.superblock.stream_id, sizeof(source.stream_id));
	if (hb_announcer_start(&persist.announcer, &source, error) != 0)
		hb_log(HB_LOG_ERROR, "announcer_not_started",
			"error=\"%s\" effect=\"there are no event streams\"", error);
}

/* Servers and shards must make sense before anything is written. */
static bool
map_is_sound(void)
{
	struct hb_server_map map;
	char error[256] = "";

	if (hb_server_map_load(&map, &persist.config, persist.journal_directory, error) == 0)
		return true;
	hb_log(HB_LOG_ERROR, "shard_map_refused", "error=\"%s\"", error);
	fprintf(stderr, "hongbao-persist: %s\n", error);
	return false;
}

static int
open_journal(char error[HB_JOURNAL_ERROR_BYTES])
{
	uint64_t witness_seq = mysql_witness();
	int rc = -EBUSY;

	for (int i = 0; i < LOCK_RETRIES_MAX && rc == -EBUSY; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		rc = hb_journal_open(&persist.journal, &persist.config, persist.journal_directory,
			witness_seq, error);
	}
	return rc;
}

/* @return 0, or the exit status */
static int
start(void)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	int rc;

	hb_path(persist.journal_directory, persist.config.node_directory, HB_PATH_JOURNAL);
	if (!map_is_sound())
		return EXIT_BAD_CONFIG;
	rc = open_journal(error);
	if (rc == 0) {
		rc = hb_journal_begin_epoch(&persist.journal, false);
		if (rc != 0)
			snprintf(error, sizeof(error), "cannot begin an epoch: %s", strerror(-rc));
	}
	if (rc != 0) {
		hb_log(HB_LOG_ERROR, "journal_not_opened", "error=\"%s\"", error);
		return rc == -EBUSY || rc == -EXDEV ? EXIT_BAD_CONFIG : 1;
	}
	atomic_store(&persist.epoch, persist.journal.epoch);
	atomic_store(&persist.state_epoch, persist.journal.superblock.state_epoch);
	newest_snapshot();
	if (hb_pack_start(&persist.journal) != 0)
		return 1;
	start_appliers();
	start_announcer();
	if (hb_admin_start(&persist) != 0 || hb_notices_listen(&persist) != 0 ||
		hb_link_listen(&persist) != 0)
		return 1;
	hb_log(HB_LOG_INFO, "ready", "node=%u epoch=%llu committed_seq=%llu", persist.journal.node,
		(unsigned long long)persist.journal.epoch,
		(unsigned long long)hb_committed_seq(&persist.journal.commit));
	hb_notify_ready();
	return 0;
}

/* ---- the loop ---- */

static int
open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	/* before any thread exists, so that all inherit it */
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Options that are live; a file that cannot be read changes nothing. */
static void
reload(void)
{
	char error[256];

	if (hb_config_reload(&persist.config, HB_CONFIG_OF_PERSIST, error) != 0) {
		hb_log(HB_LOG_ERROR, "options_not_read",
			"error=\"%s\" effect=\"the old options go on\"", error);
		atomic_fetch_add(&persist.reload_failures, 1);
		return;
	}
	atomic_store(&persist.journal.keep_days, (uint32_t)persist.config.journal_keep_days);
	hb_log(HB_LOG_INFO, "reloaded", "complete=1");
	atomic_fetch_add(&persist.reloads, 1);
}

/* @return true when the process shall end */
static bool
read_signals(int fd, struct snapshot_job *job)
{
	struct signalfd_siginfo information;
	bool end = false;

	while (read(fd, &information, sizeof(information)) == (ssize_t)sizeof(information)) {
		if (information.ssi_signo == SIGCHLD)
			snapshot_reap(job);
		else if (information.ssi_signo == SIGHUP)
			reload();
		else
			end = true;
	}
	return end;
}

/* What MySQL has may be forgotten by the dataplane. */
static void
tell_applied(void)
{
	uint64_t applied[HB_PARTITION_COUNT];

	hb_applier_applied(persist.applier, applied);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		atomic_store_explicit(
			&persist.session.rings->applied[i], applied[i], memory_order_relaxed);
}

/* The writer stores its heartbeat after each write and at least once a second. */
static bool
writer_turns(uint64_t now_ns)
{
	uint64_t beat_ns;

	if (!persist.attached)
		return true;
	beat_ns = atomic_load_explicit(&persist.session.rings->heartbeat_ns, memory_order_relaxed);
	return beat_ns >= now_ns || now_ns - beat_ns < WRITER_STUCK_NS;
}

static void
tick(struct snapshot_job *job, uint64_t *marked_ns)
{
	uint64_t now_ns = hb_mono_ns();

	if (writer_turns(now_ns))
		hb_notify_alive(now_ns);
	if (job->pid == 0 && now_ns >= job->next_ns)
		snapshot_start(job, now_ns);
	if (persist.attached && persist.applier != NULL)
		tell_applied();
	if (persist.announcer != NULL)
		(void)hb_announcer_sweep(persist.announcer);
	if (now_ns - *marked_ns >= UINT64_C(10000000000)) {
		*marked_ns = now_ns;
		atomic_store(&persist.journal.pack_mark, release_mark());
	}
}

static void
run(int signal_fd, struct snapshot_job *job)
{
	uint64_t marked_ns = 0;

	for (;;) {
		struct pollfd watched[] = {
			{.fd = signal_fd, .events = POLLIN},
			{.fd = persist.listen_fd, .events = POLLIN},
			{.fd = persist.link_fd, .events = POLLIN},
			{.fd = persist.failed_fd, .events = POLLIN},
			{.fd = persist.notices_fd, .events = POLLIN},
		};
		eventfd_t count;

		if (poll(watched, 5, TICK_MS) < 0 && errno != EINTR)
			return;
		if (watched[0].revents != 0 && read_signals(signal_fd, job))
			return;
		/* the dataplane sends nothing after its hello: whatever comes is the end */
		if (watched[2].revents != 0)
			hb_link_hang_up(&persist);
		if (watched[3].revents != 0) {
			(void)eventfd_read(persist.failed_fd, &count);
			hb_link_hang_up(&persist);
		}
		if (watched[1].revents != 0)
			hb_link_accept(&persist);
		if (watched[4].revents != 0)
			hb_notices_accept(&persist);
		tick(job, &marked_ns);
	}
}

static void
stop(struct snapshot_job *job)
{
	hb_notify_stopping();
	hb_log(HB_LOG_INFO, "stopping", "committed_seq=%llu",
		(unsigned long long)hb_committed_seq(&persist.journal.commit));
	hb_link_close(&persist);
	hb_runner_stop(&persist.writer);
	hb_applier_stop(persist.applier);
	hb_announcer_stop(persist.announcer);
	if (job->pid != 0) {
		kill(job->pid, SIGTERM);
		(void)waitpid(job->pid, NULL, 0);
	}
	hb_journal_close(&persist.journal);
	hb_log(HB_LOG_INFO, "stopped", "%s", "");
}

int
main(int argc, char **argv)
{
	struct snapshot_job job = {.pid = 0};
	int first, signal_fd, rc;
	char error[256];

	first = hb_config_from_arguments(&persist.config, argc, argv,
		"Keeps the journal, recovers, makes snapshots, and fills MySQL.\n"
		"hongbao-persist snapshot [options] makes one snapshot and exits.");
	hb_log_open("persist", (int)persist.config.log_debug);
	if (hb_sandbox_enter(HB_SANDBOX_PERSIST, persist.config.security_seccomp, error) != 0) {
		hb_log(HB_LOG_ERROR, "no_sandbox", "error=\"%s\"", error);
		return EXIT_BAD_CONFIG;
	}
	if (first < argc && strcmp(argv[first], "snapshot") == 0 && first + 1 == argc)
		return snapshot_main(&persist.config);
	if (first < argc) {
		fprintf(stderr,
			"hongbao-persist: unknown argument \"%s\": only \"snapshot\" is "
			"known\n",
			argv[first]);
		return EXIT_BAD_CONFIG;
	}
	persist.listen_fd = persist.link_fd = persist.notices_fd = -1;
	persist.started_ns = hb_wall_ns();
	persist.failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signal_fd = open_signals();
	if (persist.failed_fd < 0 || signal_fd < 0)
		return 1;
	/* after getopt has sorted the arguments; the options stay as they were given */
	snapshot_job_open(&job, argc, argv);
	/* keeps what we were started with; everybody else of this process is ordinary */
	if (hb_runner_start(&persist.writer) != 0)
		return 1;
	hb_realtime_leave();
	rc = start();
	if (rc != 0)
		return rc;
	run(signal_fd, &job);
	stop(&job);
	return 0;
}
