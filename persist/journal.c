/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing of a journal directory for writing: lock, superblock, epochs, durable hint.
 *
 * The directory belongs to the one process that holds the lock. If it dies here, the kernel drops
 * the lock; an epoch that was written to the superblock and never used is only a gap in numbers.
 */
#include "persist/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "persist/segment_list.h"
#include "persist/superblock.h"
#include "shm/node.h"

#define MIB (UINT64_C(1) << 20)

static int
open_directory(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES])
{
	if (mkdir(journal->directory, 0700) != 0 && errno != EEXIST) {
		int rc = -errno;

		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot make the directory %.200s: %s",
			journal->directory, strerror(-rc));
		return rc;
	}
	journal->dir_fd = open(journal->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (journal->dir_fd < 0) {
		int rc = -errno;

		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot open the directory %.200s: %s",
			journal->directory, strerror(-rc));
		return rc;
	}
	return 0;
}

/* The file tells who holds it, for people; the lock itself is the kernel's. */
static int
lock_directory(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES])
{
	char text[64] = "";
	int fd = openat(journal->dir_fd, HB_JOURNAL_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n;

	if (fd < 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot open the lock of %.200s: %s",
			journal->directory, strerror(errno));
		return -EACCES;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		n = pread(fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"the journal %.200s is in use by another process (%s): stop it, or give "
			"this node a directory of its own",
			journal->directory, text);
		close(fd);
		return -EBUSY;
	}
	n = snprintf(text, sizeof(text), "pid %d node %u\n", (int)getpid(), journal->node);
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
		hb_log(HB_LOG_WARN, "lock_text_not_written", "error=\"%s\"", strerror(errno));
	journal->lock_fd = fd;
	return 0;
}

static int
new_superblock(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_segment_list list;
	struct hb_superblock *superblock = &journal->superblock;
	int rc = hb_segment_list_read(&list, journal->dir_fd);
	size_t count = list.count;

	hb_segment_list_free(&list);
	if (rc == 0 && count > 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"the journal %.200s has segments but no superblock: restore the file "
			"superblock from a copy of this journal",
			journal->directory);
		return -EBADMSG;
	}
	*superblock = (struct hb_superblock){
		.node = journal->node,
		.first_segment = 1,
		.active_segment = 1,
		.segment_bytes = journal->segment_bytes_new,
	};
	if (rc == 0 && getrandom(superblock->stream_id, sizeof(superblock->stream_id), 0) !=
			       (ssize_t)sizeof(superblock->stream_id))
		rc = -EIO;
	if (rc == 0)
		rc = hb_superblock_create(journal->dir_fd, superblock);
	if (rc == 0)
		hb_log(HB_LOG_INFO, "journal_created", "directory=%s node=%u", journal->directory,
			journal->node);
	else
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot begin a journal in %.200s: %s",
			journal->directory, strerror(-rc));
	return rc;
}

static int
load_superblock(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES])
{
	char why[256];
	int rc = hb_superblock_read(journal->dir_fd, &journal->superblock, why);

	if (rc == -ENOENT) {
		rc = new_superblock(journal, error);
		if (rc != 0)
			return rc;
		rc = hb_superblock_read(journal->dir_fd, &journal->superblock, why);
	}
	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "journal %.200s: %s", journal->directory,
			why);
		return rc;
	}
	if (journal->superblock.node != journal->node) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"the journal %.200s belongs to node %u, but node.number is %u: give this "
			"node a directory of its own, or set node.number",
			journal->directory, journal->superblock.node, journal->node);
		return -EXDEV;
	}
	return 0;
}

/* O_DIRECT is wanted; a file system without it still works through the page cache. */
static void
probe_direct_io(struct hb_journal *journal)
{
	int fd = openat(
		journal->dir_fd, HB_JOURNAL_SUPERBLOCK_FILE, O_RDONLY | O_DIRECT | O_CLOEXEC);

	journal->direct_io_off = fd < 0 && errno == EINVAL;
	if (fd >= 0)
		close(fd);
	if (journal->direct_io_off)
		hb_log(HB_LOG_WARN, "direct_io_off",
			"directory=%s effect=\"writes go through the page cache, still synced\"",
			journal->directory);
}

static int
allocate(struct hb_journal *journal)
{
	journal->frame = aligned_alloc(HB_JOURNAL_BLOCK_BYTES, HB_JOURNAL_FRAME_BYTES_MAX);
	if (journal->frame == NULL || hb_digest_open(&journal->digest) != 0)
		return -ENOMEM;
	return 0;
}

int
hb_journal_open(struct hb_journal *journal, const struct hb_config *config, const char *directory,
	uint64_t witness_seq, char error[HB_JOURNAL_ERROR_BYTES])
{
	int rc;

	memset(journal, 0, sizeof(*journal));
	journal->dir_fd = journal->lock_fd = journal->segment_fd = -1;
	pthread_mutex_init(&journal->superblock_lock, NULL);
	pthread_mutex_init(&journal->level_lock, NULL);
	snprintf(journal->directory, sizeof(journal->directory), "%s", directory);
	journal->node = (uint32_t)config->node_number;
	journal->segment_bytes_new = (uint64_t)config->journal_segment_mib * MIB;
	journal->ready_target = (uint32_t)config->journal_segments_ready;
	journal->volume_bytes = (uint64_t)config->journal_volume_mib * MIB;
	journal->keep_days = (uint32_t)config->journal_keep_days;

	rc = open_directory(journal, error);
	if (rc == 0)
		rc = lock_directory(journal, error);
	if (rc == 0)
		rc = load_superblock(journal, error);
	if (rc != 0)
		goto out;
	probe_direct_io(journal);
	rc = allocate(journal);
	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "out of memory");
		goto out;
	}
	rc = hb_journal_recover(journal, witness_seq, error);
	if (rc == 0)
		rc = hb_pool_start(journal, error);
out:
	if (rc != 0)
		hb_journal_close(journal);
	return rc;
}

void
hb_journal_close(struct hb_journal *journal)
{
	if (journal->directory[0] == '\0')
		return;
	hb_pack_stop(journal);
	if (journal->pool.running) {
		hb_pool_stop(journal);
		if (hb_journal_write_hint(journal) != 0)
			hb_log(HB_LOG_ERROR, "superblock_not_written", "error=\"%s\"",
				strerror(errno));
	}
	hb_digest_close(&journal->digest);
	free(journal->frame);
	if (journal->segment_fd >= 0)
		close(journal->segment_fd);
	if (journal->lock_fd >= 0)
		close(journal->lock_fd);
	if (journal->dir_fd >= 0)
		close(journal->dir_fd);
	pthread_mutex_destroy(&journal->superblock_lock);
	pthread_mutex_destroy(&journal->level_lock);
	journal->directory[0] = '\0';
}

int
hb_journal_write_hint(struct hb_journal *journal)
{
	struct hb_superblock *superblock = &journal->superblock;
	int rc;

	pthread_mutex_lock(&journal->superblock_lock);
	superblock->durable_seq = hb_committed_seq(&journal->commit);
	superblock->durable_frame = atomic_load(&journal->gauges.last_frame);
	superblock->active_segment = atomic_load(&journal->active_segment);
	superblock->segment_bytes = journal->segment_bytes_new;
	rc = hb_superblock_write(journal->dir_fd, superblock);
	pthread_mutex_unlock(&journal->superblock_lock);
	return rc;
}

void
hb_journal_update_level(struct hb_journal *journal)
{
	uint32_t level = atomic_load(&journal->starved) ? HB_STORAGE_CONTROL_ONLY
							: atomic_load(&journal->storage_level);

	pthread_mutex_lock(&journal->level_lock);
	if (journal->level_target != NULL)
		atomic_store(journal->level_target, level);
	pthread_mutex_unlock(&journal->level_lock);
}

void
hb_journal_show_level(struct hb_journal *journal, _Atomic uint32_t *target)
{
	pthread_mutex_lock(&journal->level_lock);
	journal->level_target = target;
	pthread_mutex_unlock(&journal->level_lock);
	hb_journal_update_level(journal);
}

static void
fill_epoch_start(struct hb_journal *journal, struct hb_record_epoch_start *record)
{
	*record = (struct hb_record_epoch_start){
		.epoch = journal->epoch,
		.node = journal->node,
		.partition_count = HB_PARTITION_COUNT,
	};
	record->head.ring = HB_RING_PERSIST;
	record->head.core_sequence = journal->ring_sequence[HB_RING_PERSIST] + 1;
	record->head.time_ns = hb_wall_ns();
	snprintf((char *)record->build, sizeof(record->build), "hongbao %s", HB_VERSION);
	hb_record_seal(&record->head, HB_RECORD_EPOCH_START, sizeof(*record));
}

int
hb_journal_begin_epoch(struct hb_journal *journal, bool for_state)
{
	static const _Atomic bool never = false;
	struct hb_record_epoch_start record;
	const char *fault = NULL;
	uint32_t taken;
	int rc;

	pthread_mutex_lock(&journal->superblock_lock);
	journal->superblock.epoch = journal->epoch + 1;
	if (for_state)
		journal->superblock.state_epoch = journal->epoch + 1;
	/* both copies: an epoch once used is never given out again, whichever copy is lost */
	rc = hb_superblock_write(journal->dir_fd, &journal->superblock);
	if (rc == 0)
		rc = hb_superblock_write(journal->dir_fd, &journal->superblock);
	pthread_mutex_unlock(&journal->superblock_lock);
	if (rc != 0)
		return rc;
	journal->epoch++;
	fill_epoch_start(journal, &record);
	HB_ASSERT(hb_frame_add(journal, HB_RING_PERSIST, &record, sizeof(record), &taken, &fault) ==
		  1);
	return hb_frame_write(journal, &never);
}
