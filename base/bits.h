/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Small integer helpers without state: mixing, rounding, powers of two.
 */
#ifndef HB_BASE_BITS_H
#define HB_BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define HB_CACHE_LINE_BYTES 64

/**
 * Mix 64 bits so that every input bit moves every output bit.
 * Source: the finaliser of MurmurHash3 (public domain, fmix64). A bijection; fmix64(0) = 0.
 */
static inline uint64_t
hb_mix64(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	x ^= x >> 33;
	return x;
}

static inline bool
hb_is_power_of_two(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

/** Round up to a power of two; x must be in 1..2^63. */
static inline uint64_t
hb_power_of_two_ceil(uint64_t x)
{
	return x <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(x - 1));
}

/** Round up to a multiple of a power of two. */
static inline uint64_t
hb_round_up(uint64_t x, uint64_t multiple)
{
	return (x + multiple - 1) & ~(multiple - 1);
}

#endif
