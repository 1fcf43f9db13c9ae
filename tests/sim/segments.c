/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments that are used again: making, mapping and first touching one takes longer than the rest
 * of a simulated start. Of a journal segment both processes see the same mapping; it is free when
 * both have let go. A state segment has one owner.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/link.h"
#include "shm/segment.h"
#include "tests/sim/wrapped.h"

#define SEGMENTS_MAX  4
#define SEGMENT_BYTES (HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES)

static struct {
	struct hb_segment segment;
	uint8_t *ring[HB_PARTITION_COUNT];
	uint32_t users;
} kept[SEGMENTS_MAX];
static uint32_t kept_count;

#define STATES_MAX	8
#define STATE_BYTES_MAX (UINT64_C(8) << 20) /* larger ones are made and forgotten */

/* States, zeroed when they come back. */
static struct {
	struct hb_segment segment;
	bool used;
} states[STATES_MAX];

static int
number_of(int fd)
{
	for (uint32_t i = 0; i < kept_count; i++)
		if (kept[i].segment.fd == fd)
			return (int)i;
	return -1;
}

bool
sim_segment_is_kept(int fd)
{
	return number_of(fd) >= 0;
}

static void
make(uint32_t i)
{
	HB_ASSERT(i < SEGMENTS_MAX);
	HB_ASSERT(__real_hb_segment_create(
			  &kept[i].segment, "sim-journal", HB_SEGMENT_JOURNAL, SEGMENT_BYTES) == 0);
	for (uint32_t r = 0; r < HB_PARTITION_COUNT; r++) {
		kept[i].ring[r] = __real_hb_segment_map_twice(kept[i].segment.fd,
			HB_JOURNAL_DATA_OFFSET + r * HB_JOURNAL_RING_BYTES, HB_JOURNAL_RING_BYTES,
			true);
		HB_ASSERT(kept[i].ring[r] != NULL);
	}
}

static int
create_state(struct hb_segment *segment, const char *name, uint64_t bytes)
{
	int rc;

	bytes = hb_round_up(bytes, 4096);
	for (uint32_t i = 0; i < STATES_MAX; i++) {
		if (states[i].used ||
			(states[i].segment.base != NULL && states[i].segment.bytes != bytes))
			continue;
		if (states[i].segment.base == NULL) {
			rc = __real_hb_segment_create(
				&states[i].segment, name, HB_SEGMENT_STATE, bytes);
			if (rc != 0)
				return rc;
		}
		states[i].used = true;
		*segment = states[i].segment;
		return 0;
	}
	return __real_hb_segment_create(segment, name, HB_SEGMENT_STATE, bytes);
}

static bool
state_came_back(struct hb_segment *segment)
{
	for (uint32_t i = 0; segment->base != NULL && i < STATES_MAX; i++) {
		if (states[i].segment.base != segment->base)
			continue;
		HB_ASSERT(states[i].used);
		states[i].used = false;
		memset(segment->base + HB_SEGMENT_GUARD_BYTES, 0,
			segment->bytes - HB_SEGMENT_GUARD_BYTES);
		*segment = (struct hb_segment){.fd = -1};
		return true;
	}
	return false;
}

int
__wrap_hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes)
{
	uint32_t i = 0;

	if (kind == HB_SEGMENT_STATE && bytes <= STATE_BYTES_MAX)
		return create_state(segment, name, bytes);
	if (kind != HB_SEGMENT_JOURNAL)
		return __real_hb_segment_create(segment, name, kind, bytes);
	while (i < kept_count && kept[i].users != 0)
		i++;
	if (i == kept_count) {
		make(i);
		kept_count++;
	}
	HB_ASSERT(bytes == SEGMENT_BYTES);
	memset(kept[i].segment.base + HB_SEGMENT_GUARD_BYTES, 0,
		HB_JOURNAL_DATA_OFFSET - HB_SEGMENT_GUARD_BYTES);
	kept[i].users = 1;
	*segment = kept[i].segment;
	return 0;
}

int
__wrap_hb_segment_attach(struct hb_segment *segment, int fd, enum hb_segment_kind kind,
	bool writable, char error[160])
{
	int i = number_of(fd);

	if (i < 0)
		return __real_hb_segment_attach(segment, fd, kind, writable, error);
	kept[i].users++;
	*segment = kept[i].segment;
	return 0;
}

void
__wrap_hb_segment_close(struct hb_segment *segment)
{
	int i = number_of(segment->fd);

	if (i < 0 && state_came_back(segment))
		return;
	if (i < 0) {
		__real_hb_segment_close(segment);
		return;
	}
	HB_ASSERT(kept[i].users > 0);
	kept[i].users--;
	*segment = (struct hb_segment){.fd = -1};
}

uint8_t *
__wrap_hb_segment_map_twice(int fd, uint64_t offset, uint64_t bytes, bool writable)
{
	int i = number_of(fd);

	if (i < 0)
		return __real_hb_segment_map_twice(fd, offset, bytes, writable);
	return kept[i].ring[(offset - HB_JOURNAL_DATA_OFFSET) / HB_JOURNAL_RING_BYTES];
}

void
__wrap_hb_segment_unmap_twice(uint8_t *at, uint64_t bytes)
{
	for (uint32_t i = 0; i < kept_count; i++)
		for (uint32_t r = 0; r < HB_PARTITION_COUNT; r++)
			if (kept[i].ring[r] == at)
				return;
	__real_hb_segment_unmap_twice(at, bytes);
}
