/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal segments that are used again: making and mapping one takes longer than the rest of a
 * simulated start. Both processes see the same mapping; it is free when both have let go.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
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

int
__wrap_hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes)
{
	uint32_t i = 0;

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
