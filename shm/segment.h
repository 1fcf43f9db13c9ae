/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shared-memory segments: memfds with a guard at offset 0.
 *
 * A segment has one creator, who fills it and stores `magic` last (release): from then on it is
 * ready. Whoever attaches compares kind, layout version and layout hash and is refused with both
 * named. There are only offsets in a segment, never pointers. Size is sealed, so no peer can make
 * a mapping fault; what others only read is sealed against future writes after the creator
 * mapped it. Memory that survived a crash of its owner is not read for state: see
 * docs/architecture.md.
 *
 * Descriptors travel over Unix sockets; nothing has a name in the file system.
 */
#ifndef HB_SHM_SEGMENT_H
#define HB_SHM_SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HB_SEGMENT_MAGIC       UINT64_C(0x6f61626f676e6f68) /* "hongbao" */
#define HB_SEGMENT_GUARD_BYTES 4096

enum hb_segment_kind {
	HB_SEGMENT_STATE = 1,	/* written by the dataplane alone (before: by recovery) */
	HB_SEGMENT_JOURNAL = 2, /* journal rings: dataplane -> persist */
	HB_SEGMENT_CLIENT = 3,	/* request and reply rings of one client */
	HB_SEGMENT_NODE = 4,	/* dataplane's counters and sleep flags, others read */
	HB_SEGMENT_NOTICES = 5, /* what was committed, persist -> whoever follows */
};

struct hb_segment_guard {
	_Atomic uint64_t magic; /* stored last; 0 = being created */
	uint32_t kind;
	uint32_t layout_version;
	uint64_t layout_hash; /* hb_layout_hash() of the creator */
	uint64_t bytes;	      /* of the whole segment */
	uint64_t created_ns;  /* wall */
	uint32_t creator_pid;
	uint32_t reserved0;
	uint64_t generation; /* of a client slot; 0 elsewhere */
	uint8_t reserved[4040];
};
_Static_assert(sizeof(struct hb_segment_guard) == HB_SEGMENT_GUARD_BYTES, "guard");

struct hb_segment {
	int fd;
	uint8_t *base;
	uint64_t bytes;
};

#define HB_LAYOUT_VERSION 3
/** Hash over the offsets and sizes of every structure in shared memory, made at compile time. */
uint64_t hb_layout_hash(void);

/**
 * Create and map a segment of zeros, not yet ready.
 * @param name for people, in /proc/PID/maps
 * @return 0, or -errno; the caller owns the segment and ends it with hb_segment_close
 */
int hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes);
/**
 * No huge pages for what is not touched yet. For a state that a job makes, looks through once and
 * throws away: clearing 2 MiB for each line it touches costs more than the look-ups save.
 */
void hb_segment_keep_small_pages(struct hb_segment *segment);
/** Declare it ready: stores the guard's magic (release). */
void hb_segment_ready(struct hb_segment *segment);
/** Seal against future writable mappings by others; the creator's own mapping stays writable. */
int hb_segment_seal_read_only(struct hb_segment *segment);

/**
 * Map a segment received from its creator and check its guard. Takes the descriptor in any case.
 * @param error says what differs, at least 160 bytes
 * @return 0, -EPROTO with `error` filled, or -errno
 */
int hb_segment_attach(struct hb_segment *segment, int fd, enum hb_segment_kind kind, bool writable,
	char error[160]);

/** Unmap and close. Safe on a zeroed or closed segment (fd <= 0, base NULL). */
void hb_segment_close(struct hb_segment *segment);

/**
 * Map `bytes` of a segment at `offset` twice in a row, for hb_ring.
 * @return the address, or NULL with errno
 */
uint8_t *hb_segment_map_twice(int fd, uint64_t offset, uint64_t bytes, bool writable);
void hb_segment_unmap_twice(uint8_t *at, uint64_t bytes);

#endif
