/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items of work: tests/sim/work.h. Workers are forked for each batch and take items from a shared
 * counter; the parent runs none itself, as its segments would be theirs too. If it all dies here,
 * the file is that of the last whole batch.
 */
#include "tests/sim/work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crc32c.h"

#define PROGRESS_S 10

/* What workers of a batch share with their parent. */
struct board {
	_Atomic uint64_t next;
	_Atomic bool stop;
	struct {
		_Atomic uint64_t item; /* under way */
		_Atomic bool busy;
		uint64_t violations;
		uint64_t sums[SIM_SUMS_MAX];
	} worker[SIM_JOBS_MAX];
};

static void
run_items(struct sim_work *work, struct board *board, uint32_t worker, uint64_t end)
{
	for (;;) {
		uint64_t item = atomic_fetch_add(&board->next, 1);

		if (item >= end || atomic_load(&board->stop))
			return;
		atomic_store(&board->worker[worker].item, item);
		atomic_store(&board->worker[worker].busy, true);
		if (!work->run(item, board->worker[worker].sums)) {
			board->worker[worker].violations++;
			atomic_store(&board->stop, !work->keep_going);
		}
		atomic_store(&board->worker[worker].busy, false);
	}
}

static void
wait_worker(struct sim_work *work, struct board *board, uint32_t worker, pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	fprintf(stderr, "%s %" PRIu64 ": the simulator itself died (status 0x%x)\n", work->name,
		atomic_load(&board->worker[worker].item), (unsigned)status);
	board->worker[worker].violations++;
}

static int
run_batch(struct sim_work *work, struct board *board, uint64_t end)
{
	pid_t pids[SIM_JOBS_MAX];
	uint32_t started = 0;
	int rc = 0;

	memset(board, 0, sizeof(*board));
	atomic_store(&board->next, work->from + work->done);
	if (work->jobs == 0)
		run_items(work, board, 0, end);
	fflush(NULL);
	for (; started < work->jobs; started++) {
		pids[started] = fork();
		if (pids[started] == 0) {
			run_items(work, board, started, end);
			fflush(NULL);
			exit(0); /* what was counted of coverage is written on the way */
		}
		if (pids[started] < 0) {
			rc = -errno;
			atomic_store(&board->stop, true);
			break;
		}
	}
	for (uint32_t i = 0; i < started; i++)
		wait_worker(work, board, i, pids[i]);
	return rc;
}

static void
add_up(struct sim_work *work, const struct board *board)
{
	for (uint32_t i = 0; i < SIM_JOBS_MAX; i++) {
		work->violations += board->worker[i].violations;
		for (uint32_t s = 0; s < work->sum_count; s++)
			work->sums[s] += board->worker[i].sums[s];
	}
}

/* ---- the file ---- */

/* Sums of one program only: a check sum of what runs here. */
static uint32_t
program_crc(void)
{
	static uint8_t piece[1 << 16];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint32_t crc = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, piece, sizeof(piece))) > 0)
		crc = crc * 31 + hb_crc32c(piece, (size_t)n);
	if (fd >= 0)
		close(fd);
	return crc;
}

static int
save(const struct sim_work *work)
{
	char temporary[512];
	FILE *file;
	bool good;

	snprintf(temporary, sizeof(temporary), "%s.tmp", work->resume);
	file = fopen(temporary, "w");
	if (file == NULL) {
		fprintf(stderr, "sim: cannot write %s: %s\n", temporary, strerror(errno));
		return -EIO;
	}
	fprintf(file, "%s %08x %" PRIu64 " %" PRIu64 " %" PRIu64 " %u", work->name, program_crc(),
		work->from, work->done, work->violations, work->sum_count);
	for (uint32_t i = 0; i < work->sum_count; i++)
		fprintf(file, " %" PRIu64, work->sums[i]);
	fprintf(file, "\n");
	good = fflush(file) == 0 && fsync(fileno(file)) == 0;
	good = fclose(file) == 0 && good;
	if (good && rename(temporary, work->resume) == 0)
		return 0;
	fprintf(stderr, "sim: cannot write %s: %s\n", work->resume, strerror(errno));
	return -EIO;
}

static int
load(struct sim_work *work)
{
	FILE *file = fopen(work->resume, "r");
	char name[64] = "";
	uint64_t from = 0;
	uint32_t crc = 0, sum_count = 0;
	bool good;

	if (file == NULL)
		return errno == ENOENT ? 0 : -errno;
	good = fscanf(file, "%63s %x %" SCNu64 " %" SCNu64 " %" SCNu64 " %u", name, &crc, &from,
		       &work->done, &work->violations, &sum_count) == 6;
	good = good && strcmp(name, work->name) == 0 && from == work->from &&
	       sum_count == work->sum_count && crc == program_crc();
	for (uint32_t i = 0; good && i < sum_count; i++)
		good = fscanf(file, "%" SCNu64, &work->sums[i]) == 1;
	fclose(file);
	if (good)
		return 0;
	fprintf(stderr,
		"sim: %s is of another build, another first number or another kind of run: name "
		"another file, or remove this one to begin anew\n",
		work->resume);
	return -EINVAL;
}

static uint64_t
now_s(void)
{
	return (uint64_t)time(NULL); /* not one of the calls that the simulator answers */
}

static void
tell_progress(const struct sim_work *work, uint64_t begun_s, uint64_t begun_at)
{
	uint64_t seconds = now_s() - begun_s, here = work->done - begun_at;

	fprintf(stderr, "%s: %" PRIu64 " of %" PRIu64 " done, %" PRIu64 " violations", work->name,
		work->done, work->count, work->violations);
	if (here > 0 && seconds > 0)
		fprintf(stderr, ", %" PRIu64 " s to go",
			(work->count - work->done) * seconds / here);
	fprintf(stderr, "\n");
}

static int
run_batches(struct sim_work *work, struct board *board)
{
	uint64_t begun_s = now_s(), told_s = begun_s, begun_at = work->done;
	int rc = 0;

	while (rc == 0 && work->done < work->count && (work->violations == 0 || work->keep_going)) {
		uint64_t left = work->count - work->done;
		uint64_t step = left < work->batch ? left : work->batch;

		rc = run_batch(work, board, work->from + work->done + step);
		add_up(work, board);
		/* a batch that was cut short is not behind us */
		if (rc != 0 || (work->violations > 0 && !work->keep_going))
			break;
		work->done += step;
		if (work->resume != NULL)
			rc = save(work);
		if (now_s() - told_s >= PROGRESS_S) {
			told_s = now_s();
			tell_progress(work, begun_s, begun_at);
		}
	}
	return rc;
}

int
sim_work_run(struct sim_work *work)
{
	struct board *board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = 0;

	HB_ASSERT(work->sum_count <= SIM_SUMS_MAX && work->jobs <= SIM_JOBS_MAX);
	if (board == MAP_FAILED)
		return -errno;
	if (work->resume != NULL)
		rc = load(work);
	if (rc == 0)
		rc = run_batches(work, board);
	munmap(board, sizeof(*board));
	return rc;
}
