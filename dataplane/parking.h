/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Replies of one partition that wait until what they depend on is on disk, in order.
 *
 * A FIFO of bytes, taken once at start, that belongs to the partition's lcore. An entry carries
 * the journal position that must be committed, the credits its records imply, and the reply. The
 * memory behind the end is slack for the longest entry, so entries are contiguous without padding.
 * Dies with its process: its clients then hear "unknown outcome" and ask again.
 */
#ifndef HB_DATAPLANE_PARKING_H
#define HB_DATAPLANE_PARKING_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/engine.h"
#include "shm/frame.h"
#include "shm/limits.h"

#define HB_PARKED_NO_CLIENT UINT32_MAX

struct hb_parked {
	uint64_t position;   /* of the journal ring behind the newest record it depends on */
	uint64_t generation; /* of the client slot */
	uint32_t slot;	     /* of the client, or HB_PARKED_NO_CLIENT */
	uint16_t reply_length;
	uint8_t credit_count;
	uint8_t credit_next; /* credits before this one were delivered */
	struct hb_credit credit[HB_DECISION_RECORDS_MAX];
	uint64_t reserved;
};
_Static_assert(sizeof(struct hb_parked) == 64, "parked entry");

#define HB_PARKED_BYTES_MAX (sizeof(struct hb_parked) + HB_REPLY_BYTES_MAX)

struct hb_parking {
	uint8_t *bytes;
	uint64_t capacity;
	uint64_t used;
	uint64_t head; /* offset, below capacity */
	uint64_t tail;
	uint32_t count;
	uint32_t count_max;
};

/** @param count_max entries of the usual 64-byte reply @return 0 or -ENOMEM */
int hb_parking_init(struct hb_parking *parking, uint32_t count_max);
void hb_parking_free(struct hb_parking *parking);

/** Is there room for one more entry of any length? */
static inline bool
hb_parking_has_room(const struct hb_parking *parking)
{
	return parking->count < parking->count_max &&
	       parking->used + HB_PARKED_BYTES_MAX <= parking->capacity;
}

/** Append; there must be room. @param reply NULL when reply_length is 0 */
void hb_parking_push(
	struct hb_parking *parking, const struct hb_parked *entry, const struct hb_reply *reply);

/** The oldest entry, or NULL. Its reply lies behind it. */
struct hb_parked *hb_parking_first(struct hb_parking *parking);

/** The entry behind this one, or NULL. */
struct hb_parked *hb_parking_behind(struct hb_parking *parking, const struct hb_parked *entry);

static inline struct hb_reply *
hb_parked_reply(struct hb_parked *entry)
{
	return (struct hb_reply *)(void *)(entry + 1);
}

/** Remove the oldest entry. */
void hb_parking_pop(struct hb_parking *parking);

#endif
