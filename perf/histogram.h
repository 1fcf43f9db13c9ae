/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A log-linear histogram of non-negative integers, such as latencies in nanoseconds.
 *
 * Values below 64 have a bucket each; above, every power of two is cut into 64 buckets of equal
 * width. A percentile is answered with the upper edge of its bucket, so it is never below the true
 * value and at most 1/64 = 1.6 % above it. Minimum, maximum, count and sum are exact. Two
 * histograms are merged by adding them up. Fixed size, no allocation; one thread writes.
 */
#ifndef HB_PERF_HISTOGRAM_H
#define HB_PERF_HISTOGRAM_H

#include <stdint.h>

#define HB_HISTOGRAM_SUB_BITS	  6
#define HB_HISTOGRAM_SUB_COUNT	  (1u << HB_HISTOGRAM_SUB_BITS)
#define HB_HISTOGRAM_BUCKET_COUNT ((64u - HB_HISTOGRAM_SUB_BITS + 1u) * HB_HISTOGRAM_SUB_COUNT)

struct hb_histogram {
	uint64_t count;
	uint64_t sum; /* wraps only after 2^64 */
	uint64_t min; /* UINT64_MAX while empty */
	uint64_t max;
	uint64_t bucket[HB_HISTOGRAM_BUCKET_COUNT];
};

void hb_histogram_reset(struct hb_histogram *histogram);
void hb_histogram_add(struct hb_histogram *histogram, uint64_t value);
/** Add everything that `from` counted to `into`. */
void hb_histogram_merge(struct hb_histogram *into, const struct hb_histogram *from);

/**
 * The smallest counted value that at least this share of all values does not exceed.
 * @param per_million 0..1000000; 990000 is the 99th percentile, 1000000 the maximum
 * @return upper edge of the value's bucket, never above the maximum; 0 when empty
 */
uint64_t hb_histogram_percentile(const struct hb_histogram *histogram, uint32_t per_million);

#endif
