/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The writing side of a journal directory: lock, position, frames, ready segments, packing.
 *
 * There is one struct hb_journal in a process and, by the lock, one process per directory. Its
 * position (segment, offset, numbers, chain) belongs to one thread at a time: main while it opens
 * and recovers, the writer thread while a dataplane is attached. Helpers run beside it: the pool
 * thread makes zeroed segments ahead and writes the durable hint once a second; the pack thread
 * packs sealed segments and drops old ones. The writer waits for neither, except when no segment
 * is ready.
 *
 * If the process dies here: everything committed is in the segments; the next start finds the end
 * (persist/recovery.c).
 */
#ifndef HB_PERSIST_JOURNAL_H
#define HB_PERSIST_JOURNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "persist/commit.h"
#include "persist/histogram.h"
#include "persist/journal_format.h"
#include "persist/journal_frame.h"
#include "persist/journal_reader.h"

#define HB_JOURNAL_DIRECTORY_BYTES 512
#define HB_RECYCLE_MAX		   4 /* packed raw files kept for new segments */

/* Segments ahead of the writer: persist/pool.c. Fields under `lock` unless atomic. */
struct hb_pool {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more; /* a segment became ready, or stop */
	pthread_cond_t work; /* one was taken, or stop */
	bool running;
	bool stop;
	uint64_t ready_until;		  /* highest number that is ready */
	uint64_t recycle[HB_RECYCLE_MAX]; /* numbers of raw files that are packed */
	uint32_t recycle_count;
	uint64_t count_next_ns;			/* the thread's own: when files are counted again */
	uint64_t looked_ns;			/* and when it looked at the volume */
	struct hb_histogram_window sync_window; /* and what it saw of sync_us then */
	char fault[160];			/* why no segment can be made, "" when one can */
};

/* What others of the process watch; written by one thread each, read by any. */
struct hb_journal_gauges {
	_Atomic uint64_t frames;     /* written since start */
	_Atomic uint64_t last_frame; /* number of the newest committed frame */
	_Atomic uint64_t records;
	_Atomic uint64_t bytes;	  /* written, with padding */
	_Atomic uint64_t waits;	  /* times the writer found no ready segment */
	_Atomic uint64_t skipped; /* records already on disk when a dataplane resumed */
	_Atomic uint64_t segments_made;
	_Atomic uint64_t segments_recycled;
	_Atomic uint64_t segments_packed;
	_Atomic uint64_t segments_dropped;
	_Atomic uint64_t pack_failures; /* a damaged segment, or no room */
	_Atomic uint64_t pack_bytes_in;
	_Atomic uint64_t pack_bytes_out;
	_Atomic uint64_t directory_bytes;
	_Atomic uint64_t segment_count;
	_Atomic uint64_t volume_used; /* bytes, as the storage level is found from */
	_Atomic uint64_t volume_whole;
	_Atomic uint64_t sync_us_p99_second; /* of the last second; 0: nothing was written */
	_Atomic uint64_t ring_sequence[HB_RING_COUNT];
};

struct hb_journal {
	char directory[HB_JOURNAL_DIRECTORY_BYTES];
	int dir_fd;
	int lock_fd;
	uint32_t node;
	uint64_t segment_bytes_new; /* of segments to be made */
	uint32_t ready_target;
	uint64_t volume_bytes; /* 0: the file system's */
	_Atomic uint32_t keep_days;
	bool direct_io_off; /* the file system has no O_DIRECT */

	pthread_mutex_t superblock_lock;
	struct hb_superblock superblock; /* as last written */

	/* position */
	int segment_fd; /* -1: the next frame opens the next segment */
	uint64_t segment_number;
	uint64_t segment_offset;
	uint64_t segment_bytes;
	uint64_t epoch;
	uint64_t next_seq;
	uint64_t next_frame;
	uint8_t chain[HB_SHA256_BYTES];
	uint64_t ring_sequence[HB_RING_COUNT];
	uint32_t ring_crc[HB_RING_COUNT]; /* of that record */

	/* the frame being built */
	struct hb_digest digest;
	struct hb_journal_frame *frame; /* HB_JOURNAL_FRAME_BYTES_MAX, block aligned */
	uint32_t frame_records;
	uint32_t frame_payload;

	struct hb_commit commit;
	_Atomic uint64_t active_segment; /* for the helpers */
	_Atomic uint32_t storage_level;	 /* enum hb_storage_level, by volume */
	_Atomic bool starved;		 /* the writer waits for a segment */
	pthread_mutex_t level_lock;
	_Atomic uint32_t *level_target; /* under level_lock: in the journal segment, or NULL */
	struct hb_histogram sync_us;
	struct hb_journal_gauges gauges;
	struct hb_pool pool;

	/* packing: persist/pack.c */
	pthread_t pack_thread;
	bool pack_running;
	_Atomic bool pack_stop;
	_Atomic uint64_t pack_mark; /* records up to here may be dropped; set by the owner */
};

/**
 * Open for writing: make the directory if it is missing, lock it, read the superblock (a new one
 * in an empty directory), find the end of the journal, cut a torn tail, start the pool thread.
 * No epoch is begun yet.
 * @param witness_seq a sequence that MySQL knows, 0 when nothing is known
 * @return 0, or -errno with `error`: -EBUSY locked by another process, -EXDEV another node's,
 *         -EBADMSG damaged
 */
int hb_journal_open(struct hb_journal *journal, const struct hb_config *config,
	const char *directory, uint64_t witness_seq, char error[HB_JOURNAL_ERROR_BYTES]);

/** Write the durable hint, end the threads, unlock. Safe on a zeroed struct. */
void hb_journal_close(struct hb_journal *journal);

/**
 * Begin a new epoch: superblock (both copies, synced), then the EPOCH_START record, committed.
 * @param for_state the state of a fresh dataplane belongs to this epoch
 * @return 0 or -errno when the superblock could not be written
 */
int hb_journal_begin_epoch(struct hb_journal *journal, bool for_state);

/** Write the superblock with the committed sequence as hint. @return 0 or -errno */
int hb_journal_write_hint(struct hb_journal *journal);

/**
 * Where the storage level is shown to the dataplane: a word in shared memory, NULL for none.
 * It is set now and whenever the level changes.
 */
void hb_journal_show_level(struct hb_journal *journal, _Atomic uint32_t *target);
/** Show the level as it is now: by volume, or the highest while the writer starves. */
void hb_journal_update_level(struct hb_journal *journal);

/* ---- frames: persist/writer.c ---- */

/**
 * Put a record into the frame being built: copied first, then verified, so that shared memory is
 * read once.
 * @param bytes_left readable bytes at `record`
 * @param taken set to the record's length when it was taken or is to be skipped
 * @return 1 taken, 0 the frame is full, 2 to be skipped (on disk already), or -EPROTO with `fault`
 */
int hb_frame_add(struct hb_journal *journal, uint16_t ring, const void *record, size_t bytes_left,
	uint32_t *taken, const char **fault);

/**
 * Write the frame and wait until it is on disk; then publish it in journal->commit.
 * An empty frame is nothing. Any error of the disk ends the process.
 * @return 0, or -ECANCELED when no segment is ready and `stop` became true while waiting
 */
int hb_frame_write(struct hb_journal *journal, const _Atomic bool *stop);

/* ---- ready segments: persist/pool.c ---- */

/** Make the first segments and start the thread. @return 0 or -errno with `error` */
int hb_pool_start(struct hb_journal *journal, char error[HB_JOURNAL_ERROR_BYTES]);
void hb_pool_stop(struct hb_journal *journal);
/**
 * One turn of the thread: once a second the volume and the hint, then at most one segment.
 * @return true when a segment was made
 */
bool hb_pool_turn(struct hb_journal *journal);
/** Wait until segment `number` is ready. @return false when `stop` became true first */
bool hb_pool_wait(struct hb_journal *journal, uint64_t number, const _Atomic bool *stop);
/** Give a raw segment whose packed file is complete to the pool, or remove it. */
void hb_pool_recycle(struct hb_journal *journal, uint64_t number);

/* ---- packing: persist/pack.c ---- */

int hb_pack_start(struct hb_journal *journal);
void hb_pack_stop(struct hb_journal *journal);
/** Pack one sealed segment now. @return 0 or -errno with `error` (-EBADMSG: damaged) */
int hb_pack_segment(
	struct hb_journal *journal, uint64_t number, char error[HB_JOURNAL_ERROR_BYTES]);
/** Remove packed segments that nobody needs any more. @return how many */
uint32_t hb_pack_drop(struct hb_journal *journal, uint64_t below_seq, uint64_t older_than_ns);

/* ---- recovery: persist/recovery.c ---- */

/** Find the end of the journal, cut a torn tail, set the position. Called by hb_journal_open. */
int hb_journal_recover(
	struct hb_journal *journal, uint64_t witness_seq, char error[HB_JOURNAL_ERROR_BYTES]);

#endif
