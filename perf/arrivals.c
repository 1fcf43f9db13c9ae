/* SPDX-License-Identifier: Apache-2.0 */
/* The arrivals of an open loop (arrivals.h); SplitMix64 as the generator. */
#include "perf/arrivals.h"

#include <math.h>

#include "base/assert.h"

uint64_t
hb_arrivals_gap_ns(struct hb_arrivals *arrivals)
{
	arrivals->random += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t x = arrivals->random;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	double uniform = ((double)(x >> 11) + 1.0) * 0x1p-53; /* in (0, 1] */

	return (uint64_t)(-log(uniform) * arrivals->gap_ns);
}

void
hb_arrivals_init(struct hb_arrivals *arrivals, uint64_t seed, double rate_per_s, uint64_t count)
{
	double mean_ns = 1e9 / rate_per_s;
	double drawn_ns = 1.0;

	HB_ASSERT(rate_per_s > 0);
	*arrivals = (struct hb_arrivals){.random = seed, .gap_ns = mean_ns};
	for (uint64_t i = 0; i < count; i++)
		drawn_ns += (double)hb_arrivals_gap_ns(arrivals);
	*arrivals = (struct hb_arrivals){
		.random = seed, .gap_ns = mean_ns * (mean_ns * (double)count / drawn_ns)};
}
