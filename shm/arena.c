/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena: blocks with the claims, index and greeting of one packet each. A block has the size
 * of its class, is taken from the class's list of free blocks or, when that is empty, from the end
 * of what was ever used, and is never split or joined.
 *
 * So what a class takes is the most blocks of it that were in use at once. A state that was loaded
 * from a snapshot begins with the blocks in use then, and whatever follows needs no more room in
 * it than it needed in the state that lived: a replay never runs out where the engine did not.
 * Where blocks lie is no part of the state's meaning, of its hash or of a snapshot.
 *
 * A free block is zero but for its first four bytes: the next free block + 1.
 */
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

#define STEPS_LOG2 3 /* classes per doubling: 8, so at most an eighth of a block is unused */
#define STEPS	   (1u << STEPS_LOG2)
#define EXACT_MAX  (2u * STEPS) /* up to this many units every size is a class */

/* Sizes in a doubling of 2^k units are 2^k + i * 2^(k-3). */
static uint32_t
step_shift(uint64_t units)
{
	return units <= EXACT_MAX ? 0 : 63u - (uint32_t)__builtin_clzll(units - 1) - STEPS_LOG2;
}

static uint32_t
class_of(uint64_t class_units)
{
	uint32_t shift = step_shift(class_units);

	/* EXACT_MAX < units: (units - 1) >> shift is in STEPS .. 2 * STEPS - 1. */
	return shift == 0 ? (uint32_t)class_units
			  : shift * STEPS + (uint32_t)((class_units - 1) >> shift) + 1;
}

uint64_t
hbi_packet_block_units(uint32_t count, uint8_t greeting_length)
{
	uint64_t units =
		hb_round_up(hbi_claim_bytes(count) + greeting_length, HBI_ARENA_UNIT_BYTES) /
		HBI_ARENA_UNIT_BYTES;

	return hb_round_up(units, UINT64_C(1) << step_shift(units));
}

static uint32_t *
link_of(const struct hb_partition *p, uint64_t block)
{
	return (uint32_t *)(void *)(p->arena + block * HBI_ARENA_UNIT_BYTES);
}

bool
hbi_arena_room(const struct hb_partition *p, uint32_t count, uint8_t greeting_length)
{
	uint64_t units = hbi_packet_block_units(count, greeting_length);

	return p->arena_free[class_of(units)] != 0 ||
	       (p->head->arena_used + units) * HBI_ARENA_UNIT_BYTES <= p->capacity.arena_bytes;
}

uint32_t
hbi_arena_take(struct hb_partition *p, uint32_t count, uint8_t greeting_length)
{
	uint64_t units = hbi_packet_block_units(count, greeting_length);
	uint32_t *first = &p->arena_free[class_of(units)];
	uint64_t block;

	HB_ASSERT(class_of(units) < HBI_ARENA_CLASSES);
	HB_ASSERT(hbi_arena_room(p, count, greeting_length));
	p->head->arena_live += units;
	if (*first != 0) {
		block = *first - 1;
		*first = *link_of(p, block);
		*link_of(p, block) = 0;
		return (uint32_t)block;
	}
	block = p->head->arena_used;
	p->head->arena_used += units;
	return (uint32_t)block;
}

void
hbi_arena_give(struct hb_partition *p, const struct hb_packet *packet)
{
	uint64_t units = hbi_packet_block_units(packet->count, packet->greeting_length);
	uint32_t *first = &p->arena_free[class_of(units)];

	memset(hb_packet_claims(p, packet), 0, units * HBI_ARENA_UNIT_BYTES);
	*link_of(p, packet->block) = *first;
	*first = packet->block + 1;
	p->head->arena_live -= units;
}
