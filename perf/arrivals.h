/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Arrivals of a Poisson process, of which it is known that the last of its n falls on n / rate:
 * gaps drawn as always, all scaled by one factor. So the offered rate is the wanted one, whatever
 * the seed, and the schedule is a function of the seed alone. Owns nothing.
 */
#ifndef HB_PERF_ARRIVALS_H
#define HB_PERF_ARRIVALS_H

#include <stdint.h>

struct hb_arrivals {
	uint64_t random;
	double gap_ns; /* mean, scaled */
};

/** @param rate_per_s above 0 @param count of arrivals that the schedule has */
void hb_arrivals_init(
	struct hb_arrivals *arrivals, uint64_t seed, double rate_per_s, uint64_t count);

/** @return ns from the last arrival, or from the start, to the next one */
uint64_t hb_arrivals_gap_ns(struct hb_arrivals *arrivals);

#endif
