/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Read a journal directory: every record from any sequence on, over raw and packed segments.
 *
 * Used by recovery, snapshots, appliers, `hbctl journal` and the checks. A reader only reads; any
 * number may work beside a living writer. It checks everything on the way: frame CRC, chain of
 * SHA-256, numbers, record CRC, consecutive core sequences per ring, zero padding. What is wrong is
 * told with file, offset and sequence. One thread per reader; memory is a fixed few MiB per reader
 * and none per record.
 *
 * While it reads, a raw segment may be packed and recycled under it; it then goes on in the packed
 * file by itself.
 *
 *	struct hb_journal_reader *reader;
 *	char error[HB_JOURNAL_ERROR_BYTES];
 *	if (hb_journal_reader_open(&reader, directory, error)) ...
 *	hb_journal_reader_limit(reader, committed);
 *	if (hb_journal_reader_seek(reader, from)) ... hb_journal_reader_error(reader)
 *	while ((rc = hb_journal_reader_next(reader, &record, &at)) > 0)
 *		use(record, at.seq);
 *	if (rc < 0) ... hb_journal_reader_error(reader)
 */
#ifndef HB_PERSIST_JOURNAL_READER_H
#define HB_PERSIST_JOURNAL_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "persist/journal_format.h"
#include "shm/record.h"

#define HB_JOURNAL_ERROR_BYTES 512

struct hb_journal_reader;

/* Where a record stands. `frame` points into the reader and holds until the next call. */
struct hb_journal_position {
	uint64_t seq;
	uint64_t epoch;
	const struct hb_journal_frame *frame; /* epoch, numbers, chain, wall_ns */
	uint64_t segment_number;
	uint64_t frame_offset;	/* raw segment: of the frame in its file; packed: of its block */
	uint32_t record_offset; /* from the begin of the frame */
	bool packed;
	bool frame_end; /* the last record of its frame */
};

/* What the directory says about itself. */
struct hb_journal_info {
	uint8_t stream_id[16];
	uint32_t node;
	uint64_t epoch;
	uint64_t state_epoch;
	uint64_t durable_seq;	/* the superblock's hint: everything up to here was committed */
	uint64_t first_segment; /* 0 when there is no segment */
	uint64_t last_segment;	/* ready ones included */
};

/* The end of what is readable: see hb_journal_reader_tail. */
struct hb_journal_tail {
	uint64_t next_seq; /* the sequence that the next frame will begin with */
	uint64_t next_frame;
	uint64_t segment_number; /* where the next frame belongs; 0: no segment yet */
	uint64_t segment_offset;
	uint64_t epoch; /* of the last frame, 0: none */
	uint8_t chain[32];
	uint64_t ring_sequence[HB_RING_COUNT]; /* last core sequence; 0: none since the seek */
	uint32_t ring_crc[HB_RING_COUNT];      /* crc field of that record */
	uint64_t wall_ns;		       /* of the last frame */
	char reason[160]; /* why there is no frame at the end: "zeros", "payload CRC differs" … */
};

/**
 * Open a journal directory and read its superblock. Nothing is locked.
 * @return 0, or -errno with `error`: -ENOENT (no superblock), -EBADMSG (both copies damaged)
 */
int hb_journal_reader_open(struct hb_journal_reader **reader, const char *directory,
	char error[HB_JOURNAL_ERROR_BYTES]);
void hb_journal_reader_close(struct hb_journal_reader *reader);

/** The superblock as it is now (read anew) and the segments there are. @return 0 or -errno */
int hb_journal_reader_info(struct hb_journal_reader *reader, struct hb_journal_info *info);

/**
 * Do not deliver records above `seq`. With a limit, everything up to it must be readable: a frame
 * that is not is damage. UINT64_MAX (the default): read to the end, as recovery does.
 */
void hb_journal_reader_limit(struct hb_journal_reader *reader, uint64_t seq);

/** The record that `next` returns first: 1 for all, at most one above the newest.
 * @return 0; -ENOENT when it is older than the oldest segment, -ERANGE when it is above the end,
 *         -EBADMSG when a frame on the way is damaged */
int hb_journal_reader_seek(struct hb_journal_reader *reader, uint64_t seq);

/** Seek to the oldest record there is. @return as seek */
int hb_journal_reader_seek_first(struct hb_journal_reader *reader);

/**
 * The next record, verified, 8-byte aligned, valid until the next call.
 * Past the limit or the end it returns 0; call it again when the limit was raised or more was
 * written.
 * @return 1 with record and position, 0 at the limit or the end, -EBADMSG when the journal is
 *         damaged, other -errno when reading failed; see hb_journal_reader_error
 */
int hb_journal_reader_next(struct hb_journal_reader *reader, const struct hb_record **record,
	struct hb_journal_position *position);

/** What was wrong: file, offset, sequence and what to do. "" when nothing was. */
const char *hb_journal_reader_error(const struct hb_journal_reader *reader);

/**
 * Tell the reader that `seq` was durable (a snapshot or MySQL knows it): an end before it is damage
 * and not a torn tail.
 */
void hb_journal_reader_witness(struct hb_journal_reader *reader, uint64_t seq, const char *who);

/** After `next` returned 0 without a limit: where the journal ends. */
void hb_journal_reader_tail(const struct hb_journal_reader *reader, struct hb_journal_tail *tail);

#endif
