/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * When the packets of one partition end: a wheel of one-second buckets.
 *
 * Buckets hold lists of packet slots, linked by slot numbers in an array as long as the packet
 * table. A deadline further away than one turn of the wheel stays in its bucket until it is due.
 * Rebuilt from state at start; memory taken once and owned by the partition's lcore.
 */
#ifndef HB_DATAPLANE_DEADLINES_H
#define HB_DATAPLANE_DEADLINES_H

#include <stdint.h>

#include "shm/state.h"

#define HB_DEADLINE_BUCKETS   4096
#define HB_DEADLINES_PER_TURN 64 /* packets closed by one partition in one turn */

struct hb_deadlines {
	uint32_t *next;	  /* per packet slot: following slot + 1, 0 = last */
	uint32_t *bucket; /* first slot + 1 */
	uint64_t next_s;  /* Unix second of the bucket to look at next */
	uint64_t count;
};

/** Allocate and enter every open packet. @return 0 or -ENOMEM */
int hb_deadlines_init(struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s);
void hb_deadlines_free(struct hb_deadlines *deadlines);

/** Enter an open packet of the partition. */
void hb_deadlines_add(struct hb_deadlines *deadlines, const struct hb_partition *p,
	const struct hb_packet *packet);

/**
 * Take out a packet that is due at now_s, or that is no longer open.
 * @return the packet, or NULL when nothing is due: then the wheel stands behind now_s
 */
const struct hb_packet *hb_deadlines_take(
	struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s);

#endif
