/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A histogram of durations with about 12 % resolution: 8 steps per power of two.
 *
 * One thread records, any thread reads. Counts since start; nothing allocated.
 */
#ifndef HB_PERSIST_HISTOGRAM_H
#define HB_PERSIST_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HB_HISTOGRAM_STEPS   8
#define HB_HISTOGRAM_BUCKETS (40 * HB_HISTOGRAM_STEPS)

struct hb_histogram {
	_Atomic uint64_t count[HB_HISTOGRAM_BUCKETS];
	_Atomic uint64_t max;
};

void hb_histogram_add(struct hb_histogram *histogram, uint64_t value);

/** The value that `per_mille` of all values do not exceed (upper bound of its bucket); 0: empty. */
uint64_t hb_histogram_quantile(const struct hb_histogram *histogram, uint32_t per_mille);

/* What a reader has seen of a histogram; begins as zeros. */
struct hb_histogram_window {
	uint64_t seen[HB_HISTOGRAM_BUCKETS];
};

/** The same quantile of the values that came since the last call with this window; 0: none came. */
uint64_t hb_histogram_quantile_since(struct hb_histogram_window *window,
	const struct hb_histogram *histogram, uint32_t per_mille);

#endif
