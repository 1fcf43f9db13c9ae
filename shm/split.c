/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares of a packet from its seed. Pure functions; the formulas are in split.h.
 */
#include "shm/split.h"

#include <string.h>

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "base/assert.h"
#include "shm/draws.h"
#include "shm/limits.h"

/* The stream of draws, with the blocks that hold the next one. */
struct draws {
	const uint8_t *seed;
	uint64_t next;
	uint64_t first; /* draw in `made`, a multiple of how many there are */
	uint64_t made[HB_DRAWS_AT_ONCE];
};

static uint64_t
draws_take(struct draws *draws)
{
	uint64_t first = draws->next / HB_DRAWS_AT_ONCE * HB_DRAWS_AT_ONCE;

	if (first != draws->first) {
		hb_draws_blocks(draws->made, draws->seed, first / HB_DRAWS_PER_BLOCK);
		draws->first = first;
	}
	return draws->made[draws->next++ % HB_DRAWS_AT_ONCE];
}

/* Uniform in 0..n-1 without bias: draws in the incomplete last interval are thrown away. */
static uint64_t
draws_below(struct draws *draws, uint64_t n)
{
	uint64_t draw = draws_take(draws);

	HB_ASSERT(n > 0);
	/* The incomplete interval has 2^64 mod n draws, fewer than n: only one so high needs to be
	 * compared, and the division for it is rarely made. */
	while (draw > UINT64_MAX - n && draw > UINT64_MAX - -n % n)
		draw = draws_take(draws);
	return draw % n;
}

static int64_t
min_fen(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
max_fen(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
draw_double_mean(struct draws *draws, const struct hb_split *split)
{
	uint64_t n = split->left_count;
	uint64_t spare = (uint64_t)(split->left_fen - split->share_min_fen * (int64_t)n);
	uint64_t upper = 2 * spare / n;

	/* The upper end 2*spare/n is rarely whole: round up as often as its fraction says. */
	if (2 * spare % n > 0 && draws_below(draws, n) < 2 * spare % n)
		upper++;
	return split->share_min_fen + (int64_t)draws_below(draws, upper + 1);
}

static int64_t
draw_share(struct draws *draws, const struct hb_split *split)
{
	int64_t others = (int64_t)split->left_count - 1;
	int64_t low, high, share;

	if (others == 0)
		return split->left_fen;
	low = max_fen(split->share_min_fen, split->left_fen - split->share_max_fen * others);
	high = min_fen(split->share_max_fen, split->left_fen - split->share_min_fen * others);
	HB_ASSERT(low <= high);
	if (split->algorithm == HB_SPLIT_SEED)
		share = 1 + (int64_t)draws_below(draws, (uint64_t)split->left_fen);
	else
		share = draw_double_mean(draws, split);
	return max_fen(low, min_fen(high, share));
}

bool
hb_split_possible(int64_t total_fen, uint32_t count, int64_t share_min_fen, int64_t share_max_fen)
{
	int64_t least, most;

	if (total_fen < 1 || total_fen > HB_PACKET_TOTAL_FEN_MAX)
		return false;
	if (count < 1 || count > HB_PACKET_COUNT_MAX)
		return false;
	if (share_min_fen < 1 || share_min_fen > share_max_fen || share_max_fen > total_fen)
		return false;
	/* All factors are below 2^31 and 2^17: no overflow. */
	least = share_min_fen * (int64_t)count;
	most = share_max_fen * (int64_t)count;
	return least <= total_fen && total_fen <= most;
}

void
hb_split_draw(struct hb_split *split, const uint8_t seed[32], uint32_t *out_fen,
	uint32_t out_stride_bytes, uint32_t n)
{
	struct draws draws = {.seed = seed, .next = split->draw_next, .first = UINT64_MAX};

	HB_ASSERT(n <= split->left_count);
	for (uint32_t i = 0; i < n; i++) {
		int64_t share = draw_share(&draws, split);

		HB_ASSERT(share >= 1);
		HB_ASSERT(share <= split->left_fen);
		split->left_fen -= share;
		split->left_count--;
		*out_fen = (uint32_t)share;
		out_fen = (uint32_t *)((uint8_t *)out_fen + out_stride_bytes);
	}
	HB_ASSERT((split->left_count == 0) == (split->left_fen == 0));
	split->draw_next = draws.next;
}

void
hb_split_commitment(uint8_t out[32], uint64_t packet, const uint8_t seed[32], int64_t total_fen,
	uint32_t count, int64_t share_min_fen, int64_t share_max_fen, uint8_t algorithm)
{
	static const char domain[17] = "hongbao-packet-v1";
	SHA256_CTX sha;

	SHA256_Init(&sha);
	SHA256_Update(&sha, domain, sizeof(domain));
	SHA256_Update(&sha, &packet, sizeof(packet));
	SHA256_Update(&sha, seed, 32);
	SHA256_Update(&sha, &total_fen, sizeof(total_fen));
	SHA256_Update(&sha, &count, sizeof(count));
	SHA256_Update(&sha, &share_min_fen, sizeof(share_min_fen));
	SHA256_Update(&sha, &share_max_fen, sizeof(share_max_fen));
	SHA256_Update(&sha, &algorithm, sizeof(algorithm));
	SHA256_Final(out, &sha);
}
