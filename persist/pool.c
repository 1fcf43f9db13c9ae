/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments made ahead of the writer: files of zeros with their final name, or packed raw files
 * under a new name. Zeros are written, not only allocated: overwriting needs no change of the file
 * system's own records. The thread also writes the durable hint and looks at the volume, once a
 * second.
 *
 * Writes files only behind the active segment. If the process dies here: a file with the suffix
 * .tmp is left and removed at the next start; a file with its final name is complete. A recycled
 * file holds old frames, which no reader takes, as they carry their old segment's number.
 */
#include "persist/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "persist/segment_list.h"
#include "shm/node.h"

#define ZERO_STEP_BYTES	   (UINT64_C(1) << 20)
#define ZERO_PAUSE_NS	   2000000 /* between steps when nobody waits: leave the disk to the writer */
#define LOOK_INTERVAL_NS   UINT64_C(1000000000)
#define COUNT_PAUSE	   50 /* times the duration of counting */
#define LEVEL_NO_PACKETS   70 /* per cent of the volume */
#define LEVEL_NO_GRABS	   85
#define LEVEL_CONTROL_ONLY 95

static void
add_to(_Atomic uint64_t *gauge, uint64_t n)
{
	atomic_fetch_add_explicit(gauge, n, memory_order_relaxed);
}

/* Fill a new file with zeros, straight to disk. */
static int
write_zeros(const struct hb_journal *journal, int fd, bool hurry)
{
	int rc = 0;
	uint64_t bytes = journal->segment_bytes_new;
	uint8_t *zeros = aligned_alloc(HB_JOURNAL_BLOCK_BYTES, ZERO_STEP_BYTES);

	if (zeros == NULL)
		return -ENOMEM;
	memset(zeros, 0, ZERO_STEP_BYTES);
	/* the space first, so that a full disk is found before anything is written */
	rc = -posix_fallocate(fd, 0, (off_t)bytes);
	for (uint64_t at = 0; rc == 0 && at < bytes; at += ZERO_STEP_BYTES) {
		ssize_t n = pwrite(fd, zeros, ZERO_STEP_BYTES, (off_t)at);

		if (n != (ssize_t)ZERO_STEP_BYTES)
			rc = n < 0 ? -errno : -EIO;
		if (!hurry && !atomic_load(&journal->starved))
			nanosleep(&(struct timespec){.tv_nsec = ZERO_PAUSE_NS}, NULL);
	}
	free(zeros);
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	return rc;
}

static int
make_segment(struct hb_journal *journal, uint64_t number, bool hurry)
{
	char name[64], temporary[80];
	int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
	int rc, fd;

	snprintf(name, sizeof(name), HB_JOURNAL_RAW_FORMAT, (unsigned long long)number);
	snprintf(temporary, sizeof(temporary), "%s.tmp", name);
	if (!journal->direct_io_off)
		flags |= O_DIRECT;
	fd = openat(journal->dir_fd, temporary, flags, 0600);
	if (fd < 0)
		return -errno;
	rc = write_zeros(journal, fd, hurry);
	close(fd);
	if (rc == 0 && renameat(journal->dir_fd, temporary, journal->dir_fd, name) != 0)
		rc = -errno;
	if (rc == 0 && fsync(journal->dir_fd) != 0)
		rc = -errno;
	if (rc != 0)
		unlinkat(journal->dir_fd, temporary, 0);
	else
		add_to(&journal->gauges.segments_made, 1);
	return rc;
}

/* Give a packed raw file its new name. @return 0, -ENOENT when there is none, or -errno */
static int
recycle_segment(struct hb_journal *journal, uint64_t number)
{
	char from[64], to[64];
	struct stat status;
	uint64_t old = 0;

	pthread_mutex_lock(&journal->pool.lock);
	/* the oldest first: a raw file keeps its packed one from being dropped */
	if (journal->pool.recycle_count > 0) {
		old = journal->pool.recycle[0];
		journal->pool.recycle_count--;
		memmove(journal->pool.recycle, journal->pool.recycle + 1,
			journal->pool.recycle_count * sizeof(old));
	}
	pthread_mutex_unlock(&journal->pool.lock);
	if (old == 0)
		return -ENOENT;
	snprintf(from, sizeof(from), HB_JOURNAL_RAW_FORMAT, (unsigned long long)old);
	snprintf(to, sizeof(to), HB_JOURNAL_RAW_FORMAT, (unsigned long long)number);
	if (fstatat(journal->dir_fd, from, &status, 0) != 0)
		return -ENOENT;
	if ((uint64_t)status.st_size != journal->segment_bytes_new) {
		unlinkat(journal->dir_fd, from, 0);
		return -ENOENT;
	}
	if (renameat(journal->dir_fd, from, journal->dir_fd, to) != 0 ||
		fsync(journal->dir_fd) != 0)
		return -errno;
	add_to(&journal->gauges.segments_recycled, 1);
	return 0;
}

static void
note_fault(struct hb_journal *journal, uint64_t number, int rc)
{
	struct hb_pool *pool = &journal->pool;
	char fault[sizeof(pool->fault)];

	snprintf(fault, sizeof(fault), "segment %llu cannot be made: %s",
		(unsigned long long)number, strerror(-rc));
	pthread_mutex_lock(&pool->lock);
	if (strcmp(fault, pool->fault) != 0)
		hb_log(HB_LOG_ERROR, "segment_not_made",
			"segment=%llu error=\"%s\" advice=\"free space on the journal's volume\"",
			(unsigned long long)number, strerror(-rc));
	memcpy(pool->fault, fault, sizeof(fault));
	pthread_mutex_unlock(&pool->lock);
}

/* ---- the volume ---- */

static void
directory_usage(int dir_fd, uint64_t *bytes, uint64_t *segments)
{
	struct dirent *file;
	DIR *directory;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((file = readdir(directory)) != NULL) {
		struct stat status;

		if (file->d_name[0] == '.' ||
			fstatat(dirfd(directory), file->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISREG(status.st_mode))
			*bytes += (uint64_t)status.st_blocks * 512;
		if (strncmp(file->d_name, "segment-", 8) == 0)
			(*segments)++;
		if (S_ISDIR(status.st_mode)) {
			int sub = openat(dir_fd, file->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			if (sub >= 0)
				directory_usage(sub, bytes, segments);
			if (sub >= 0)
				close(sub);
		}
	}
	closedir(directory);
}

static uint32_t
level_of(uint64_t used, uint64_t whole)
{
	if (whole == 0 || used * 100 >= whole * LEVEL_CONTROL_ONLY)
		return HB_STORAGE_CONTROL_ONLY;
	if (used * 100 >= whole * LEVEL_NO_GRABS)
		return HB_STORAGE_NO_GRABS;
	if (used * 100 >= whole * LEVEL_NO_PACKETS)
		return HB_STORAGE_NO_PACKETS;
	return HB_STORAGE_OK;
}

/* Count the files; their number may be large, so at most 2 % of the time goes into it. */
static uint64_t
count_files(struct hb_journal *journal)
{
	uint64_t bytes = 0, segments = 0, begun_ns = hb_mono_ns();

	if (begun_ns < journal->pool.count_next_ns)
		return atomic_load(&journal->gauges.directory_bytes);
	directory_usage(journal->dir_fd, &bytes, &segments);
	atomic_store(&journal->gauges.directory_bytes, bytes);
	atomic_store(&journal->gauges.segment_count, segments);
	journal->pool.count_next_ns = hb_mono_ns() + COUNT_PAUSE * (hb_mono_ns() - begun_ns);
	return bytes;
}

/* How much of the volume is used, in bytes. @return 0 or -errno */
static int
volume_usage(struct hb_journal *journal, uint64_t *used, uint64_t *whole)
{
	struct statvfs volume;

	*used = count_files(journal);
	*whole = journal->volume_bytes;
	if (*whole != 0)
		return 0;
	if (fstatvfs(journal->dir_fd, &volume) != 0)
		return -errno;
	/* what only root may use counts as used */
	*used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize;
	*whole = *used + volume.f_bavail * volume.f_frsize;
	return 0;
}

static void
look_at_volume(struct hb_journal *journal)
{
	uint64_t whole, used;
	uint32_t level, before;

	if (volume_usage(journal, &used, &whole) != 0)
		return;
	atomic_store(&journal->gauges.volume_used, used);
	atomic_store(&journal->gauges.volume_whole, whole);
	level = level_of(used, whole);
	before = atomic_exchange(&journal->storage_level, level);
	hb_journal_update_level(journal);
	if (level != before)
		hb_log(level > before ? HB_LOG_WARN : HB_LOG_INFO, "storage_level",
			"level=%u before=%u used_percent=%llu", level, before,
			(unsigned long long)(whole == 0 ? 100 : used * 100 / whole));
}

/*
 * The last part of the volume is for packing and snapshots, which make room; the segments that are
 * ready then are the reserve of control records.
 */
static bool
room_for_segment(struct hb_journal *journal)
{
	uint64_t whole, used;

	return volume_usage(journal, &used, &whole) != 0 ||
	       level_of(used + journal->segment_bytes_new, whole) < HB_STORAGE_CONTROL_ONLY;
}

/* Make one segment when fewer are ready than wanted. @return true when one was made */
static bool
make_ready(struct hb_journal *journal, bool hurry)
{
	struct hb_pool *pool = &journal->pool;
	uint64_t active = atomic_load(&journal->active_segment);
	uint64_t next;
	int rc;

	pthread_mutex_lock(&pool->lock);
	next = pool->ready_until + 1;
	pthread_mutex_unlock(&pool->lock);
	if (next > active + journal->ready_target)
		return false;
	rc = recycle_segment(journal, next);
	if (rc == -ENOENT && !room_for_segment(journal))
		rc = -ENOSPC;
	else if (rc == -ENOENT)
		rc = make_segment(journal, next, hurry);
	if (rc != 0) {
		note_fault(journal, next, rc);
		return false;
	}
	pthread_mutex_lock(&pool->lock);
	pool->ready_until = next;
	pool->fault[0] = '\0';
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	return true;
}

/* ---- the thread ---- */

static void
wait_for_work(struct hb_pool *pool)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_mutex_lock(&pool->lock);
	if (!pool->stop)
		pthread_cond_timedwait(&pool->work, &pool->lock, &until);
	pthread_mutex_unlock(&pool->lock);
}

bool
hb_pool_turn(struct hb_journal *journal)
{
	struct hb_pool *pool = &journal->pool;

	if (hb_mono_ns() - pool->looked_ns >= LOOK_INTERVAL_NS) {
		pool->looked_ns = hb_mono_ns();
		look_at_volume(journal);
		atomic_store(&journal->gauges.sync_us_p99_second,
			hb_histogram_quantile_since(&pool->sync_window, &journal->sync_us, 990));
		if (hb_committed_seq(&journal->commit) != journal->superblock.durable_seq &&
			hb_journal_write_hint(journal) != 0)
			hb_log(HB_LOG_ERROR, "superblock_not_written", "error=\"%s\"",
				strerror(errno));
	}
	return make_ready(journal, false);
}

static void *
pool_main(void *argument)
{
	struct hb_journal *journal = argument;
	struct hb_pool *pool = &journal->pool;

	for (;;) {
		bool stop;

		pthread_mutex_lock(&pool->lock);
		stop = pool->stop;
		pthread_mutex_unlock(&pool->lock);
		if (stop)
			return NULL;
		if (!hb_pool_turn(journal))
			wait_for_work(pool);
	}
}

bool
hb_pool_wait(struct hb_journal *journal, uint64_t number, const _Atomic bool *stop)
{
	struct hb_pool *pool = &journal->pool;
	bool ready, waited = false;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct timespec until;

		ready = pool->ready_until >= number;
		if (ready || atomic_load(stop))
			break;
		if (!waited) {
			waited = true;
			atomic_store(&journal->starved, true);
			hb_journal_update_level(journal);
			add_to(&journal->gauges.waits, 1);
		}
		pthread_cond_signal(&pool->work);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&pool->more, &pool->lock, &until);
	}
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	if (waited) {
		atomic_store(&journal->starved, false);
		hb_journal_update_level(journal);
	}
	return ready;
}

void
hb_pool_recycle(struct hb_journal *journal, uint64_t number)
{
	struct hb_pool *pool = &journal->pool;
	char name[64];
	bool kept = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->recycle_count < HB_RECYCLE_MAX) {
		pool->recycle[pool->recycle_count++] = number;
		kept = true;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
	if (kept)
		return;
	snprintf(name, sizeof(name), HB_JOURNAL_RAW_FORMAT, (unsigned long long)number);
	unlinkat(journal->dir_fd, name, 0);
}

/* ---- start and stop ---- */

static void
remove_temporaries(int dir_fd)
{
	struct dirent *file;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);

	if (directory == NULL)
		return;
	while ((file = readdir(directory)) != NULL) {
		size_t length = strlen(file->d_name);

		if (strncmp(file->d_name, "segment-", 8) == 0 && length > 4 &&
			strcmp(file->d_name + length - 4, ".tmp") == 0)
			unlinkat(dir_fd, file->d_name, 0);
	}
	closedir(directory);
}

/* Which segments behind the active one are there, and which raw files are packed already. */
static int
take_stock(struct hb_journal *journal)
{
	struct hb_segment_list list;
	uint64_t active = atomic_load(&journal->active_segment);
	struct hb_pool *pool = &journal->pool;
	int rc = hb_segment_list_read(&list, journal->dir_fd);

	pool->ready_until = active - 1;
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		const struct hb_segment_entry *entry = &list.entry[i];

		if (entry->raw && entry->packed)
			hb_pool_recycle(journal, entry->number);
		else if (entry->raw && entry->number == pool->ready_until + 1)
			pool->ready_until++;
	}
	hb_segment_list_free(&list);
	return rc;
}

int
hb_pool_start(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_pool *pool = &journal->pool;
	pthread_condattr_t clock;
	int rc;

	remove_temporaries(journal->dir_fd);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->more, &clock);
	pthread_cond_init(&pool->work, &clock);
	pthread_condattr_destroy(&clock);
	rc = take_stock(journal);
	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "journal %.200s: cannot list segments: %s",
			journal->directory, strerror(-rc));
		return rc;
	}
	look_at_volume(journal);
	/* the segment in use must be there before anybody is served */
	if (pool->ready_until < atomic_load(&journal->active_segment) &&
		!make_ready(journal, true)) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"journal %.200s: %s: free space on its volume", journal->directory,
			pool->fault);
		return -ENOSPC;
	}
	rc = -pthread_create(&pool->thread, NULL, pool_main, journal);
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot start a thread: %s", strerror(-rc));
	pool->running = rc == 0;
	return rc;
}

void
hb_pool_stop(struct hb_journal *journal)
{
	struct hb_pool *pool = &journal->pool;

	if (!pool->running)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	pthread_join(pool->thread, NULL);
	pool->running = false;
}
