/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A copy of a journal directory up to one sequence, the cut, made beside a living writer.
 *
 * The copy is a journal directory of its own: packed segments are linked from an earlier backup or
 * copied as they are, what is not packed yet is read frame by frame (and so verified) and written
 * as a raw segment that ends behind the frame of the cut, the superblock names the cut as durable.
 * The caller owns both directories and says when the whole backup is complete: if the process dies
 * here, a directory without manifest is left (docs/operations.md).
 */
#ifndef HB_PERSIST_BACKUP_H
#define HB_PERSIST_BACKUP_H

#include <stddef.h>
#include <stdint.h>

#include "persist/journal_frame.h"
#include "persist/journal_reader.h"

#define HB_BACKUP_SNAPSHOTS    2	    /* copied: the newest that verify */
#define HB_BACKUP_CUT_AT_END   UINT64_MAX   /* nobody writes: the cut is the end */
#define HB_JOURNAL_LEDGER_FILE "ledger.zst" /* rows for an empty MySQL: persist/ledger_dump.h */

struct hb_backup_cut {
	uint8_t stream_id[16];
	uint32_t node;
	uint32_t snapshot_count;
	uint64_t first_seq; /* 1: the journal is complete */
	uint64_t seq;	    /* of the cut: the last record that is in */
	uint64_t epoch;	    /* of the last frame */
	uint64_t frame_number;
	uint64_t records;
	uint8_t chain[HB_SHA256_BYTES];
	uint64_t snapshot_seq[HB_BACKUP_SNAPSHOTS];
	uint64_t bytes_copied;
	uint64_t bytes_linked; /* shared with the earlier backup */
};

/* Called now and then with what has been done so far; `bytes` of this step. */
typedef void hb_backup_progress_fn(void *context, const char *step, uint64_t bytes);

struct hb_backup_request {
	const char *journal; /* the directory to copy */
	const char *target;  /* an empty directory */
	const char *earlier; /* journal of an earlier backup of the same stream, or NULL */
	uint64_t cut_seq;    /* a committed sequence that ends a frame, or HB_BACKUP_CUT_AT_END */
	hb_backup_progress_fn *progress; /* or NULL */
	void *context;
};

/**
 * Copy the journal up to the cut, then read the whole copy again as recovery does.
 * @return 0; -EBADMSG damaged, -ENOENT no journal, or -errno, with `error`
 */
int hb_backup_journal(const struct hb_backup_request *request, struct hb_backup_cut *cut,
	char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * Read a journal directory that nobody writes, from its first record to its end, with its newest
 * snapshots.
 * @param cut filled in
 * @return as above
 */
int hb_backup_verify_journal(const char *directory, struct hb_backup_cut *cut,
	hb_backup_progress_fn *progress, void *context, char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * Copy all bytes of one file to another and sync it.
 * @param sha256 NULL, or set to the hash of the bytes
 * @return 0 or -errno
 */
int hb_backup_copy_file(int from_fd, int to_fd, uint64_t *bytes, uint8_t sha256[HB_SHA256_BYTES]);

/** SHA-256 and length of a file. @return 0 or -errno */
int hb_backup_hash_file(int fd, uint64_t *bytes, uint8_t sha256[HB_SHA256_BYTES]);

#endif
