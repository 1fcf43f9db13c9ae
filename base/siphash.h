/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * SipHash-2-4 of a few whole words, inline: the MACs of money tokens are made of three and four.
 *
 * The function is the one of J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input
 * PRF", INDOCRYPT 2012, for inputs of n * 8 bytes read as little-endian words. A library's takes a
 * call and a loop over bytes for each (22 ns here); two at once share the processor's units, as
 * each alone is a chain of additions that wait for each other. The steps are written for whatever
 * has +, ^ and shifts, so that they also do for vectors of words. Pure, holds no memory.
 */
#ifndef HB_BASE_SIPHASH_H
#define HB_BASE_SIPHASH_H

#include <stdint.h>
#include <string.h>

#define HB_SIPHASH_KEY_BYTES 16

struct hb_siphash {
	uint64_t v0, v1, v2, v3;
};

#define HB_SIPHASH_ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

/* One round of a state with v0 to v3. */
#define HB_SIPHASH_ROUND(s)                                                                        \
	do {                                                                                       \
		(s)->v0 += (s)->v1;                                                                \
		(s)->v2 += (s)->v3;                                                                \
		(s)->v1 = HB_SIPHASH_ROTATE((s)->v1, 13) ^ (s)->v0;                                \
		(s)->v3 = HB_SIPHASH_ROTATE((s)->v3, 16) ^ (s)->v2;                                \
		(s)->v0 = HB_SIPHASH_ROTATE((s)->v0, 32);                                          \
		(s)->v2 += (s)->v1;                                                                \
		(s)->v0 += (s)->v3;                                                                \
		(s)->v1 = HB_SIPHASH_ROTATE((s)->v1, 17) ^ (s)->v2;                                \
		(s)->v3 = HB_SIPHASH_ROTATE((s)->v3, 21) ^ (s)->v0;                                \
		(s)->v2 = HB_SIPHASH_ROTATE((s)->v2, 32);                                          \
	} while (0)

/* Take a word. */
#define HB_SIPHASH_WORD(s, word)                                                                   \
	do {                                                                                       \
		(s)->v3 ^= (word);                                                                 \
		HB_SIPHASH_ROUND(s);                                                               \
		HB_SIPHASH_ROUND(s);                                                               \
		(s)->v0 ^= (word);                                                                 \
	} while (0)

/* The word behind the last. */
#define HB_SIPHASH_LENGTH_WORD(words) ((uint64_t)((words)*8) << 56)

/* What is left to do when all words, the length too, were taken; v0 ^ v1 ^ v2 ^ v3 is the hash. */
#define HB_SIPHASH_FINISH(s)                                                                       \
	do {                                                                                       \
		(s)->v2 ^= 0xff;                                                                   \
		HB_SIPHASH_ROUND(s);                                                               \
		HB_SIPHASH_ROUND(s);                                                               \
		HB_SIPHASH_ROUND(s);                                                               \
		HB_SIPHASH_ROUND(s);                                                               \
	} while (0)

static inline struct hb_siphash
hb_siphash_begin(const uint8_t key[HB_SIPHASH_KEY_BYTES])
{
	uint64_t half[2];

	memcpy(half, key, sizeof(half));
	return (struct hb_siphash){.v0 = half[0] ^ UINT64_C(0x736f6d6570736575),
		.v1 = half[1] ^ UINT64_C(0x646f72616e646f6d),
		.v2 = half[0] ^ UINT64_C(0x6c7967656e657261),
		.v3 = half[1] ^ UINT64_C(0x7465646279746573)};
}

static inline void
hb_siphash_word(struct hb_siphash *s, uint64_t word)
{
	HB_SIPHASH_WORD(s, word);
}

/** @param words there were, all taken with hb_siphash_word */
static inline uint64_t
hb_siphash_end(struct hb_siphash *s, uint32_t words)
{
	hb_siphash_word(s, HB_SIPHASH_LENGTH_WORD(words));
	HB_SIPHASH_FINISH(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

static inline uint64_t
hb_siphash_words(const uint8_t key[HB_SIPHASH_KEY_BYTES], const uint64_t *word, uint32_t words)
{
	struct hb_siphash s = hb_siphash_begin(key);

	for (uint32_t i = 0; i < words; i++)
		hb_siphash_word(&s, word[i]);
	return hb_siphash_end(&s, words);
}

#endif
