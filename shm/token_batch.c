/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MACs of a burst's tokens: see token_batch.h. One function in the compiler's vectors, compiled for
 * three kinds of processors; which one is known when the program starts.
 */
#include "shm/token_batch.h"

#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"

/* With fewer frames than this one after another is faster. */
#define FRAMES_MIN 3

typedef uint64_t lanes __attribute__((vector_size(HB_TOKEN_LANES * sizeof(uint64_t))));

struct siphash_lanes {
	lanes v0, v1, v2, v3;
};

/* What the hashes are made of, a lane for each frame. */
struct words {
	lanes id, user, target, last;
};

static inline __attribute__((always_inline)) void
siphash_end(struct siphash_lanes *s, uint32_t words, uint64_t *out)
{
	const lanes none = {0};
	const lanes length = none + HB_SIPHASH_LENGTH_WORD(words);
	lanes hash;

	HB_SIPHASH_WORD(s, length);
	HB_SIPHASH_FINISH(s);
	hash = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	memcpy(out, &hash, sizeof(hash));
}

/* As hb_token_mac_and_initial, for all lanes. */
static inline __attribute__((always_inline)) void
hashes(const struct words *words, const uint8_t *key, uint64_t *mac, uint64_t *initial)
{
	const struct hb_siphash begin = hb_siphash_begin(key);
	const lanes none = {0};
	const lanes one = none + 1;
	struct siphash_lanes both = {.v0 = none + begin.v0,
		.v1 = none + begin.v1,
		.v2 = none + begin.v2,
		.v3 = none + begin.v3};
	struct siphash_lanes first;

	HB_SIPHASH_WORD(&both, words->id);
	HB_SIPHASH_WORD(&both, words->user);
	first = both;
	HB_SIPHASH_WORD(&both, words->target);
	HB_SIPHASH_WORD(&first, one);
	HB_SIPHASH_WORD(&both, words->last);
	siphash_end(&first, HB_TOKEN_INITIAL_WORDS, initial);
	siphash_end(&both, HB_TOKEN_MAC_WORDS, mac);
}

__attribute__((target("avx512f"))) static void
hashes_avx512(const struct words *words, const uint8_t *key, uint64_t *mac, uint64_t *initial)
{
	hashes(words, key, mac, initial);
}

__attribute__((target("avx2"))) static void
hashes_avx2(const struct words *words, const uint8_t *key, uint64_t *mac, uint64_t *initial)
{
	hashes(words, key, mac, initial);
}

static void
hashes_plain(const struct words *words, const uint8_t *key, uint64_t *mac, uint64_t *initial)
{
	hashes(words, key, mac, initial);
}

/* A group that the burst does not fill repeats its first frame. */
static void
gather(const struct hb_token_batch *batch, uint32_t first, struct words *words)
{
	for (uint32_t i = 0; i < HB_TOKEN_LANES; i++) {
		const struct hb_frame *frame =
			batch->frame[first + i < batch->count ? first + i : first];

		words->id[i] = frame->token_id;
		words->user[i] = frame->user;
		words->target[i] = frame->target;
		words->last[i] = hb_token_last_word(frame->token_expiry_s, frame->operation);
	}
}

bool
hb_token_batch_make(struct hb_token_batch *batch, uint32_t group,
	const uint8_t key[HB_TOKEN_KEY_BYTES], enum hb_token_lanes_by by)
{
	uint32_t first = group * HB_TOKEN_LANES;
	struct words words;

	HB_ASSERT(first < batch->count && batch->count <= HB_BURST_MAX);
	if (by == HB_TOKEN_LANES_AVX512 && !__builtin_cpu_supports("avx512f"))
		return false;
	if (by == HB_TOKEN_LANES_AVX2 && !__builtin_cpu_supports("avx2"))
		return false;
	gather(batch, first, &words);
	if (by == HB_TOKEN_LANES_AVX512)
		hashes_avx512(&words, key, &batch->mac[first], &batch->initial[first]);
	else if (by == HB_TOKEN_LANES_AVX2)
		hashes_avx2(&words, key, &batch->mac[first], &batch->initial[first]);
	else
		hashes_plain(&words, key, &batch->mac[first], &batch->initial[first]);
	batch->made |= 1u << group;
	return true;
}

static void
make(struct hb_token_batch *batch, uint32_t group, const uint8_t key[HB_TOKEN_KEY_BYTES])
{
	enum hb_token_lanes_by by = HB_TOKEN_LANES_BY_COUNT;

	while (!hb_token_batch_make(batch, group, key, --by))
		;
}

uint64_t
hb_token_batch_mac_first(struct hb_token_batch *batch, uint32_t place,
	const uint8_t key[HB_TOKEN_KEY_BYTES], uint32_t *initial)
{
	uint32_t group = place / HB_TOKEN_LANES;
	const struct hb_frame *frame = batch->frame[place];

	if (batch->count - group * HB_TOKEN_LANES < FRAMES_MIN)
		return hb_token_mac_and_initial(key, frame->token_id, frame->user, frame->target,
			frame->token_expiry_s, frame->operation, initial);
	make(batch, group, key);
	return hb_token_batch_mac(batch, place, key, initial);
}
