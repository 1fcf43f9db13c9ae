/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The link between dataplane and persist: handshake and the journal segment.
 *
 * Persist listens on a SEQPACKET socket. The dataplane connects and sends hb_link_hello:
 *  - FRESH: it has no state. Persist recovers (newest snapshot + journal) into a new state segment,
 *    makes a new journal segment, and answers with both; then forgets the state segment.
 *  - RESUME: it lives and its persist died. It hands the journal segment back (the last
 * descriptor); persist finds the last record of each ring on disk and goes on behind it.
 * Descriptors with hello: lcore_count bells (persist rings them when it moved a tail), then
 * with RESUME the journal segment. With the welcome: persist's wake eventfd, and for FRESH the
 * journal segment and the state segment.
 *
 * The journal segment holds one ring per partition. Its tail moves only after the records before
 * it are on disk, so the tail is the commit watermark: a reply parked at ring position x may leave
 * when tail >= x. `committed_seq` is the newest committed global sequence, stored before the tails.
 *
 * Who writes: heads the dataplane, tails and the persist line persist, lcore_waiting[i] lcore i.
 * If the dataplane dies here: persist drains what was published, commits it, and frees the segment.
 * If persist dies here: the dataplane keeps the segment, parks replies, and resumes with the
 * successor; records between tail and the last one on disk are skipped by core sequence.
 */
#ifndef HB_SHM_LINK_H
#define HB_SHM_LINK_H

#include <stdatomic.h>
#include <stdint.h>

#include "shm/limits.h"
#include "shm/ring.h"
#include "shm/segment.h"

#define HB_LINK_MAGIC	0x68626c6bu /* "hblk" */
#define HB_LINK_VERSION 1

enum hb_link_mode {
	HB_LINK_FRESH = 1,
	HB_LINK_RESUME = 2,
};

struct hb_link_hello {
	uint32_t magic;
	uint32_t version;
	uint64_t layout_hash;
	uint32_t mode; /* enum hb_link_mode */
	uint32_t lcore_count;
	uint64_t epoch; /* RESUME: the epoch of the state, else 0 */
};
_Static_assert(sizeof(struct hb_link_hello) == 32, "link hello");

struct hb_link_welcome {
	uint32_t magic;
	uint32_t version;
	uint64_t layout_hash;
	int32_t error; /* 0, or an errno value; then `message` says why and no descriptors come */
	uint32_t node;
	uint64_t epoch;
	uint64_t recovered_seq; /* FRESH: journal sequence the state stands at */
	char message[160];
};
_Static_assert(sizeof(struct hb_link_welcome) == 200, "link welcome");

/* At HB_SEGMENT_GUARD_BYTES of the journal segment. */
struct hb_journal_rings {
	struct hb_ring ring[HB_PARTITION_COUNT];
	/* persist's line */
	_Alignas(128) _Atomic uint32_t persist_sleeping;
	_Atomic uint32_t storage_level; /* enum hb_storage_level */
	_Atomic uint64_t committed_seq;
	_Atomic uint64_t heartbeat_ns;
	/* lcore i waits for commits while it sleeps: ring its bell */
	struct {
		_Alignas(128) _Atomic uint32_t waiting;
	} lcore[HB_LCORE_COUNT_MAX];
	/* per ring: core sequence up to which every MySQL server has its records; 0: not known */
	_Alignas(128) _Atomic uint64_t applied[HB_PARTITION_COUNT];
};
#define HB_JOURNAL_DATA_OFFSET (HB_SEGMENT_GUARD_BYTES + 12288)
_Static_assert(sizeof(struct hb_journal_rings) <= 12288, "journal rings");
#define HB_JOURNAL_RING_BYTES (UINT64_C(4) << 20) /* per partition */

#endif
