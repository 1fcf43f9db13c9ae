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
	parking->capacity = (uint64_t)count_max * TYPICAL_BYTES + HB_PARKED_BYTES_MAX;
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
entry_at(struct hb_parking *parking, uint64_t offset)
{
	return (struct hb_parked *)(void *)(parking->bytes + offset);
}

static uint64_t
behind(const struct hb_parking *parking, uint64_t offset, const struct hb_parked *entry)
{
	offset += sizeof(*entry) + entry->reply_length;
	return offset < parking->capacity ? offset : offset - parking->capacity;
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
	parking->head = behind(parking, parking->head, entry);
	parking->used += sizeof(*entry) + entry->reply_length;
	parking->count++;
}

struct hb_parked *
hb_parking_first(struct hb_parking *parking)
{
	return parking->count == 0 ? NULL : entry_at(parking, parking->tail);
}

struct hb_parked *
hb_parking_behind(struct hb_parking *parking, const struct hb_parked *entry)
{
	uint64_t next = behind(parking, (uint64_t)((const uint8_t *)entry - parking->bytes), entry);

	/* They are never the same with something in between: some room always stays free. */
	return next == parking->head ? NULL : entry_at(parking, next);
}

void
hb_parking_pop(struct hb_parking *parking)
{
	struct hb_parked *entry = hb_parking_first(parking);

	HB_ASSERT(entry != NULL);
	parking->tail = behind(parking, parking->tail, entry);
	parking->used -= sizeof(*entry) + entry->reply_length;
	parking->count--;
}
