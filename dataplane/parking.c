/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The FIFO of dataplane/parking.h.
 */
#include "dataplane/parking.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"

/* Most replies have 64 bytes, so an entry takes 128; the slack holds the longest at the end. */
#define TYPICAL_BYTES 128

int
hb_parking_init(struct hb_parking *parking, uint32_t count_max)
{
	memset(parking, 0, sizeof(*parking));
	parking->count_max = count_max;
	parking->capacity = hb_power_of_two_ceil((uint64_t)count_max * TYPICAL_BYTES);
	HB_ASSERT(parking->capacity >= HB_PARKED_BYTES_MAX);
	parking->bytes = aligned_alloc(HB_CACHE_LINE_BYTES,
		hb_round_up(parking->capacity + HB_PARKED_BYTES_MAX, HB_CACHE_LINE_BYTES));
	return parking->bytes == NULL ? -ENOMEM : 0;
}

void
hb_parking_free(struct hb_parking *parking)
{
	free(parking->bytes);
	parking->bytes = NULL;
}

static struct hb_parked *
entry_at(struct hb_parking *parking, uint64_t position)
{
	return (struct hb_parked *)(void *)(parking->bytes + (position & (parking->capacity - 1)));
}

void
hb_parking_push(
	struct hb_parking *parking, const struct hb_parked *entry, const struct hb_reply *reply)
{
	struct hb_parked *at = entry_at(parking, parking->head);

	HB_ASSERT(hb_parking_has_room(parking));
	HB_ASSERT(entry->reply_length <= HB_REPLY_BYTES_MAX && entry->reply_length % 64 == 0);
	*at = *entry;
	if (entry->reply_length != 0)
		memcpy(at + 1, reply, entry->reply_length);
	parking->head += sizeof(*entry) + entry->reply_length;
	parking->count++;
}

struct hb_parked *
hb_parking_first(struct hb_parking *parking)
{
	return parking->count == 0 ? NULL : entry_at(parking, parking->tail);
}

void
hb_parking_pop(struct hb_parking *parking)
{
	struct hb_parked *entry = hb_parking_first(parking);

	HB_ASSERT(entry != NULL);
	parking->tail += sizeof(*entry) + entry->reply_length;
	parking->count--;
}
