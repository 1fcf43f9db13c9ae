/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The MACs of the tokens of a burst, made for eight frames side by side.
 *
 * A SipHash is a chain of additions that wait for each other, and a token needs two; eight chains
 * in vector registers take little longer than one. So the frames of a burst are named before the
 * first is decided, and the MACs of a group of eight are made when the first of them is asked for:
 * a burst of refusals that look at no token makes none.
 *
 * The memory is the caller's, one batch for each thread that decides. Frames that were added must
 * not change until the batch begins anew.
 */
#ifndef HB_SHM_TOKEN_BATCH_H
#define HB_SHM_TOKEN_BATCH_H

#include "base/assert.h"
#include "shm/limits.h"
#include "shm/token.h"

#define HB_TOKEN_LANES 8

struct hb_token_batch {
	const struct hb_frame *frame[HB_BURST_MAX];
	uint64_t mac[HB_BURST_MAX];
	uint64_t initial[HB_BURST_MAX];
	uint32_t count;
	uint32_t made; /* a bit for each group of HB_TOKEN_LANES */
};

static inline void
hb_token_batch_begin(struct hb_token_batch *batch)
{
	batch->count = 0;
	batch->made = 0;
}

/** Name the next frame; its place is how many there were. At most HB_BURST_MAX. */
static inline void
hb_token_batch_add(struct hb_token_batch *batch, const struct hb_frame *frame)
{
	batch->frame[batch->count++] = frame;
}

/* Makes the MACs of the place's group, or this one alone when it has few. */
uint64_t hb_token_batch_mac_first(struct hb_token_batch *batch, uint32_t place,
	const uint8_t key[HB_TOKEN_KEY_BYTES], uint32_t *initial);

/**
 * As hb_token_mac_and_initial for the frame at a place.
 * @param key the same one for all of the batch
 * @param initial set @return the MAC its token should have
 */
static inline uint64_t
hb_token_batch_mac(struct hb_token_batch *batch, uint32_t place,
	const uint8_t key[HB_TOKEN_KEY_BYTES], uint32_t *initial)
{
	HB_ASSERT(place < batch->count);
	if ((batch->made >> place / HB_TOKEN_LANES & 1) == 0)
		return hb_token_batch_mac_first(batch, place, key, initial);
	*initial = hb_token_initial_of(batch->initial[place]);
	return batch->mac[place];
}

/* How a group is made; tests compare all that the processor knows. */
enum hb_token_lanes_by {
	HB_TOKEN_LANES_PLAIN,
	HB_TOKEN_LANES_AVX2,
	HB_TOKEN_LANES_AVX512,
	HB_TOKEN_LANES_BY_COUNT,
};

/** @return false when the processor does not know how; nothing was made then */
bool hb_token_batch_make(struct hb_token_batch *batch, uint32_t group,
	const uint8_t key[HB_TOKEN_KEY_BYTES], enum hb_token_lanes_by by);

#endif
