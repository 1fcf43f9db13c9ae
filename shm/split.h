/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shares of a packet: a deterministic integer function of its seed and parameters.
 *
 * Anyone can recompute them (docs/fairness.md):
 *   draws: block i = SHA-256("hongbao-draw-v1" | seed[32] | i as u64 LE) gives draws 4i .. 4i+3 as
 *          u64 LE. `below(n)` takes draws until one is < 2^64 - (2^64 mod n) and returns it mod n.
 *   left, n: what is left and how many shares are left, this one included. The last share takes
 *          all. With lo = max(min, left - max*(n-1)), hi = min(max, left - min*(n-1)):
 *   double-mean v1: e = left - n*min; u = floor(2e/n); if 2e mod n > 0 and below(n) < 2e mod n
 *          then u = u + 1; share = min + below(u+1), then clamped into [lo, hi].
 *          Without bounds every position has the same expectation, the mean.
 *   seed v1: share = 1 + below(left), then clamped into [lo, hi].
 *   commitment = SHA-256("hongbao-packet-v1" | packet u64 | seed[32] | total i64 | count u32 |
 *          min i64 | max i64 | algorithm u8), integers little endian.
 */
#ifndef HB_SHM_SPLIT_H
#define HB_SHM_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/record.h"

struct hb_split {
	int64_t left_fen;
	int64_t share_min_fen;
	int64_t share_max_fen;
	uint64_t draw_next; /* number of the next draw */
	uint32_t left_count;
	uint8_t algorithm; /* enum hb_split_algorithm */
};

/** True when `count` shares within the bounds can add up to the total. */
bool hb_split_possible(
	int64_t total_fen, uint32_t count, int64_t share_min_fen, int64_t share_max_fen);

/**
 * Draw the next `n` shares into out and advance. n <= left_count; amounts fit into 32 bits as
 * total <= HB_PACKET_TOTAL_FEN_MAX. The parameters must satisfy hb_split_possible.
 */
void hb_split_draw(struct hb_split *split, const uint8_t seed[32], uint32_t *out_fen,
	uint32_t out_stride_bytes, uint32_t n);

void hb_split_commitment(uint8_t out[32], uint64_t packet, const uint8_t seed[32],
	int64_t total_fen, uint32_t count, int64_t share_min_fen, int64_t share_max_fen,
	uint8_t algorithm);

#endif
