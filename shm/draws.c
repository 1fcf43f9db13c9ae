/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of draws: see draws.h. The compression follows FIPS 180-4, its constants are from there;
 * the instructions keep the state as (A,B,E,F) and (C,D,G,H).
 */
#include "shm/draws.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#define BLOCK_BYTES    64
#define MESSAGE_BYTES  55
#define NUMBER_AT      47
#define CPUID_FEATURES 7
#define CPUID_SHA      (1u << 29) /* EBX of leaf 7 */

static const char domain[15] = "hongbao-draw-v1";
_Static_assert(sizeof(domain) + HB_DRAWS_SEED_BYTES == NUMBER_AT, "layout of a message");
_Static_assert(NUMBER_AT + sizeof(uint64_t) == MESSAGE_BYTES, "one block with its padding");

static const uint32_t round_constant[64] __attribute__((aligned(16))) = {0x428a2f98, 0x71374491,
	0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
	0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc,
	0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354,
	0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c,
	0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f,
	0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* A message with its padding: a one bit, zeros, and its length in bits. */
static void
message(uint8_t block[BLOCK_BYTES], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t number)
{
	memset(block, 0, BLOCK_BYTES);
	memcpy(block, domain, sizeof(domain));
	memcpy(block + sizeof(domain), seed, HB_DRAWS_SEED_BYTES);
	memcpy(block + NUMBER_AT, &number, sizeof(number));
	block[MESSAGE_BYTES] = 0x80;
	block[BLOCK_BYTES - 2] = MESSAGE_BYTES * 8 >> 8;
	block[BLOCK_BYTES - 1] = MESSAGE_BYTES * 8 & 0xff;
}

struct lane {
	__m128i abef, cdgh;
	__m128i w[4]; /* the last 16 words of the schedule */
};

__attribute__((target("sha,sse4.1"), always_inline)) static inline void
lane_begin(struct lane *lane, const uint8_t block[BLOCK_BYTES])
{
	const __m128i big_endian =
		_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);

	lane->abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
	lane->cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
	for (int i = 0; i < 4; i++)
		lane->w[i] = _mm_shuffle_epi8(
			_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * i)),
			big_endian);
}

/* Rounds 4g .. 4g+3, and the words of rounds 4g+16 .. 4g+19. */
__attribute__((target("sha,sse4.1"), always_inline)) static inline void
lane_rounds(struct lane *lane, int g)
{
	__m128i *w = lane->w;
	__m128i constants = _mm_load_si128((const __m128i *)(const void *)&round_constant[4 * g]);
	__m128i words = _mm_add_epi32(w[g % 4], constants);
	__m128i next;

	lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, words);
	lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, _mm_shuffle_epi32(words, 0x0e));
	if (g >= 12)
		return;
	next = _mm_add_epi32(_mm_sha256msg1_epu32(w[g % 4], w[(g + 1) % 4]),
		_mm_alignr_epi8(w[(g + 3) % 4], w[(g + 2) % 4], 4));
	w[g % 4] = _mm_sha256msg2_epu32(next, w[(g + 3) % 4]);
}

__attribute__((target("sha,sse4.1"), always_inline)) static inline void
lane_end(const struct lane *lane, const struct lane *begin, uint64_t out[HB_DRAWS_PER_BLOCK])
{
	const __m128i big_endian =
		_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
	__m128i feba = _mm_shuffle_epi32(_mm_add_epi32(lane->abef, begin->abef), 0x1b);
	__m128i dchg = _mm_shuffle_epi32(_mm_add_epi32(lane->cdgh, begin->cdgh), 0xb1);
	__m128i dcba = _mm_blend_epi16(feba, dchg, 0xf0);
	__m128i hgfe = _mm_alignr_epi8(dchg, feba, 8);

	_mm_storeu_si128((__m128i *)(void *)&out[0], _mm_shuffle_epi8(dcba, big_endian));
	_mm_storeu_si128((__m128i *)(void *)&out[2], _mm_shuffle_epi8(hgfe, big_endian));
}

__attribute__((target("sha,sse4.1"))) static void
blocks_by_instructions(
	uint64_t out[HB_DRAWS_AT_ONCE], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t first)
{
	uint8_t block[BLOCK_BYTES];
	struct lane a, b, begin;

	message(block, seed, first);
	lane_begin(&a, block);
	begin = a;
	first++;
	memcpy(block + NUMBER_AT, &first, sizeof(first));
	lane_begin(&b, block);
#pragma GCC unroll 16
	for (int g = 0; g < 16; g++) {
		lane_rounds(&a, g);
		lane_rounds(&b, g);
	}
	lane_end(&a, &begin, &out[0]);
	lane_end(&b, &begin, &out[HB_DRAWS_PER_BLOCK]);
}

static bool
has_sha_instructions(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid_count(CPUID_FEATURES, 0, &eax, &ebx, &ecx, &edx) != 0 &&
	       (ebx & CPUID_SHA) != 0;
}

void
hb_draws_blocks_plain(
	uint64_t out[HB_DRAWS_AT_ONCE], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t first)
{
	uint8_t block[BLOCK_BYTES];

	for (uint64_t i = 0; i < HB_DRAWS_BLOCKS; i++) {
		message(block, seed, first + i);
		SHA256(block, MESSAGE_BYTES, (unsigned char *)&out[i * HB_DRAWS_PER_BLOCK]);
	}
}

void
hb_draws_blocks(
	uint64_t out[HB_DRAWS_AT_ONCE], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t first)
{
	static _Thread_local int known; /* 1 yes, -1 no: the instruction that asks is a slow one */

	if (known == 0)
		known = has_sha_instructions() ? 1 : -1;
	if (known > 0)
		blocks_by_instructions(out, seed, first);
	else
		hb_draws_blocks_plain(out, seed, first);
}
