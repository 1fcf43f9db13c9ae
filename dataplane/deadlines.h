/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * When the packets or holds of one partition end: a wheel of one-second buckets.
 *
 * Buckets hold lists of slots of the table, linked by slot numbers in an array as long as it. A
 * deadline further away than one turn of the wheel stays in its bucket until it is due. What ended
 * before its deadline stays too, until its bucket comes or hb_deadlines_remove takes it out before
 * its slot is used again. Rebuilt from state at start; memory taken once and owned by the
 * partition's lcore.
 */
#ifndef HB_DATAPLANE_DEADLINES_H
#define HB_DATAPLANE_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/state.h"

#define HB_DEADLINE_BUCKETS   4096
#define HB_DEADLINES_PER_TURN 64 /* objects ended by one partition in one turn */
#define HB_DEADLINE_NONE      UINT32_MAX

struct hb_deadlines {
	enum hb_object_kind kind; /* packets or holds */
	uint32_t *next;	  /* per slot: 0 = not in the wheel, else following slot + 2, 1 = last */
	uint32_t *bucket; /* first slot + 2; 0 or 1 = empty */
	uint64_t next_s;  /* Unix second of the bucket to look at next */
	uint64_t count;
};

/** Allocate and enter everything of this kind that is open. @return 0 or -ENOMEM */
int hb_deadlines_init(struct hb_deadlines *deadlines, const struct hb_partition *p,
	enum hb_object_kind kind, uint64_t now_s);
void hb_deadlines_free(struct hb_deadlines *deadlines);

/** The slot of an id in its table. */
uint32_t hb_deadlines_slot(
	const struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t id);

/** Enter a slot that holds something open, unless it is in the wheel. */
void hb_deadlines_add(struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t slot);

/** Take a slot out, before it is used again. @return false when it must wait for its bucket */
bool hb_deadlines_remove(
	struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t slot);

/**
 * Take out a slot that is due at now_s, or that is no longer open.
 * @return the slot, or HB_DEADLINE_NONE when nothing is due: then the wheel stands behind now_s
 */
uint32_t hb_deadlines_take(
	struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s);

#endif
