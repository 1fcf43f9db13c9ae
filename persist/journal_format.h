/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The bytes of a journal directory: superblock, frames, packed segments, snapshots.
 *
 * docs/journal-format.md says the same in words and is enough to write a reader. Little endian,
 * natural alignment, reserved bytes zero. Nothing here changes once written; a new meaning is a new
 * version. Who writes: hongbao-persist alone, under the lock of the directory.
 */
#ifndef HB_PERSIST_JOURNAL_FORMAT_H
#define HB_PERSIST_JOURNAL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "shm/limits.h"
#include "shm/record.h"

#define HB_JOURNAL_LOCK_FILE	   "lock"
#define HB_JOURNAL_SUPERBLOCK_FILE "superblock"
#define HB_JOURNAL_RAW_FORMAT	   "segment-%016llx.raw"
#define HB_JOURNAL_PACKED_FORMAT   "segment-%016llx.packed"
#define HB_JOURNAL_SNAPSHOT_FORMAT "snapshot-%016llx"

#define HB_JOURNAL_VERSION  1
#define HB_SNAPSHOT_VERSION 2 /* 1 is read too: without holds, with shorter orders */

/* Superblock: two copies at 0 and 4096 of its file, written in turn; the higher generation holds.
 */
#define HB_SUPERBLOCK_MAGIC  UINT64_C(0x72657075736a6268) /* "hbjsuper" */
#define HB_SUPERBLOCK_BYTES  4096
#define HB_SUPERBLOCK_COPIES 2

struct hb_superblock {
	uint64_t magic;
	uint16_t version;
	uint16_t bytes; /* 4096 */
	uint32_t node;
	uint64_t generation; /* counts writes; copy = generation mod 2 */
	uint8_t stream_id[16];
	uint64_t epoch;		 /* newest given out; one per start */
	uint64_t state_epoch;	 /* epoch given to the dataplane whose state is the living one */
	uint64_t first_segment;	 /* oldest segment that exists, raw or packed */
	uint64_t active_segment; /* being written when this was written, or earlier */
	uint64_t durable_seq;	 /* hint: everything up to here was on disk */
	uint64_t durable_frame;	 /* number of the frame that ends with it */
	uint64_t wall_ns;
	uint64_t segment_bytes; /* of newly made segments */
	uint8_t reserved[3988];
	uint32_t crc; /* CRC32C of bytes 0..4091 */
};
_Static_assert(sizeof(struct hb_superblock) == HB_SUPERBLOCK_BYTES, "superblock");
_Static_assert(offsetof(struct hb_superblock, stream_id) == 24, "superblock stream_id");
_Static_assert(offsetof(struct hb_superblock, durable_seq) == 72, "superblock durable_seq");
_Static_assert(offsetof(struct hb_superblock, crc) == 4092, "superblock crc");

/* Frame: the unit of writing. Begins on a block; header, records back to back, zeros. */
#define HB_JOURNAL_FRAME_MAGIC	      UINT32_C(0x6d726668) /* "hfrm" */
#define HB_JOURNAL_FRAME_HEADER_BYTES 192

struct hb_journal_frame {
	uint32_t magic;
	uint16_t version;
	uint16_t header_length; /* 192 */
	uint32_t frame_length;	/* with padding: a multiple of 4096, at most 262144 */
	uint32_t payload_length;
	uint8_t stream_id[16];
	uint64_t epoch;
	uint64_t segment_number; /* consecutive from 1 */
	uint64_t frame_number;	 /* consecutive from 1, over segments */
	uint64_t first_seq;
	uint32_t record_count;
	uint32_t flags;		/* 0 */
	uint64_t committed_seq; /* newest committed sequence when this frame was built */
	uint64_t wall_ns;
	uint8_t previous_chain[32];
	uint8_t chain[32];    /* SHA-256(this header with chain and both CRCs zero, payload) */
	uint32_t payload_crc; /* CRC32C of the payload */
	uint32_t header_crc;  /* CRC32C of the 192 bytes with this field zero */
	uint8_t reserved[32];
};
_Static_assert(sizeof(struct hb_journal_frame) == HB_JOURNAL_FRAME_HEADER_BYTES, "frame header");
_Static_assert(offsetof(struct hb_journal_frame, epoch) == 32, "frame epoch");
_Static_assert(offsetof(struct hb_journal_frame, first_seq) == 56, "frame first_seq");
_Static_assert(offsetof(struct hb_journal_frame, previous_chain) == 88, "frame previous_chain");
_Static_assert(offsetof(struct hb_journal_frame, payload_crc) == 152, "frame payload_crc");

#define HB_JOURNAL_PAYLOAD_BYTES_MAX (HB_JOURNAL_FRAME_BYTES_MAX - HB_JOURNAL_FRAME_HEADER_BYTES)

/* Packed segment: one header block, then blocks of whole frames without padding, each zstd. */
#define HB_PACKED_MAGIC		  UINT64_C(0x64656b6361706268) /* "hbpacked" */
#define HB_PACKED_BLOCK_MAGIC	  UINT32_C(0x6b6c6268)	       /* "hblk" */
#define HB_PACKED_BLOCK_BYTES_MAX (UINT32_C(1) << 20)	       /* before compression */

struct hb_packed_header {
	uint64_t magic;
	uint16_t version;
	uint16_t bytes; /* 256 */
	uint32_t block_count;
	uint8_t stream_id[16];
	uint64_t segment_number;
	uint64_t first_frame;
	uint64_t last_frame;
	uint64_t first_seq;
	uint64_t last_seq;
	uint64_t last_wall_ns;	 /* of the last frame */
	uint64_t unpacked_bytes; /* of all blocks */
	uint64_t file_bytes;
	uint8_t previous_chain[32]; /* of the first frame */
	uint8_t chain[32];	    /* of the last frame */
	uint8_t reserved[92];
	uint32_t crc; /* CRC32C of bytes 0..251 */
};
_Static_assert(sizeof(struct hb_packed_header) == 256, "packed header");
_Static_assert(offsetof(struct hb_packed_header, previous_chain) == 96, "packed previous_chain");

struct hb_packed_block {
	uint32_t magic;
	uint32_t packed_length; /* of the zstd frame that follows */
	uint32_t unpacked_length;
	uint32_t frame_count;
	uint64_t first_frame;
	uint64_t first_seq;
	uint32_t packed_crc; /* CRC32C of the zstd frame */
	uint32_t crc;	     /* CRC32C of bytes 0..35 */
};
_Static_assert(sizeof(struct hb_packed_block) == 40, "packed block");

/* Snapshot: header, then one section per partition. */
#define HB_SNAPSHOT_MAGIC	  UINT64_C(0x746f68736e736268) /* "hbsnshot" */
#define HB_SNAPSHOT_SECTION_MAGIC UINT32_C(0x63736268)	       /* "hbsc" */

struct hb_snapshot_header {
	uint64_t magic;
	uint16_t version;
	uint16_t bytes; /* 512 */
	uint32_t section_count;
	uint8_t stream_id[16];
	uint32_t node;
	uint32_t reserved0;
	uint64_t epoch;	       /* of the last frame applied */
	uint64_t seq;	       /* newest sequence applied; the end of a frame */
	uint64_t frame_number; /* of that frame */
	uint8_t chain[32];     /* of that frame */
	uint64_t wall_ns;      /* when it was made */
	uint64_t frame_wall_ns;
	uint64_t file_bytes;
	uint64_t ring_sequence[HB_RING_COUNT];
	uint32_t ring_crc[HB_RING_COUNT]; /* crc field of that ring's last record */
	uint8_t reserved[184];
	uint32_t crc; /* CRC32C of bytes 0..507 */
};
_Static_assert(sizeof(struct hb_snapshot_header) == 512, "snapshot header");

struct hb_snapshot_section {
	uint32_t magic;
	uint32_t partition;
	uint64_t length;   /* of the data that follows */
	uint32_t data_crc; /* CRC32C of the data */
	uint32_t reserved;
	uint8_t sha256[32]; /* of the data */
	uint32_t reserved1;
	uint32_t crc; /* CRC32C of bytes 0..59 */
};
_Static_assert(sizeof(struct hb_snapshot_section) == 64, "snapshot section");

#endif
