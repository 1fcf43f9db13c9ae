/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The stream of draws that shares are made from: SHA-256 of a label, the seed and a counter.
 *
 * Block i is SHA-256("hongbao-draw-v1" | seed[32] | i as u64 LE): 55 bytes, so with its padding
 * exactly one block of SHA-256. It gives the draws 4i .. 4i+3. Blocks are made two at a time: the
 * instructions that compress one wait for each other, those of two do not. A processor without
 * them gets the same numbers from OpenSSL. The memory is the caller's.
 */
#ifndef HB_SHM_DRAWS_H
#define HB_SHM_DRAWS_H

#include <stdint.h>

#define HB_DRAWS_PER_BLOCK  4
#define HB_DRAWS_BLOCKS	    2 /* made at once */
#define HB_DRAWS_AT_ONCE    (HB_DRAWS_PER_BLOCK * HB_DRAWS_BLOCKS)
#define HB_DRAWS_SEED_BYTES 32

/** Blocks `first` and `first` + 1. */
void hb_draws_blocks(
	uint64_t out[HB_DRAWS_AT_ONCE], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t first);
/** The same by OpenSSL, on any processor. */
void hb_draws_blocks_plain(
	uint64_t out[HB_DRAWS_AT_ONCE], const uint8_t seed[HB_DRAWS_SEED_BYTES], uint64_t first);

#endif
