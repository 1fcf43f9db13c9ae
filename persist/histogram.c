/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histogram of durations. Belongs to whoever embeds it; lost with the process.
 */
#include "persist/histogram.h"

/* values 0..7 have a bucket each; above, 8 buckets per power of two */
static uint32_t
bucket_of(uint64_t value)
{
	uint32_t power, bucket;

	if (value < HB_HISTOGRAM_STEPS)
		return (uint32_t)value;
	power = 63 - (uint32_t)__builtin_clzll(value);
	bucket = (power - 2) * HB_HISTOGRAM_STEPS +
		 (uint32_t)(value >> (power - 3)) % HB_HISTOGRAM_STEPS;
	return bucket < HB_HISTOGRAM_BUCKETS ? bucket : HB_HISTOGRAM_BUCKETS - 1;
}

static uint64_t
upper_bound(uint32_t bucket)
{
	uint32_t power;

	if (bucket < HB_HISTOGRAM_STEPS)
		return bucket;
	power = bucket / HB_HISTOGRAM_STEPS + 2;
	return ((UINT64_C(9) + bucket % HB_HISTOGRAM_STEPS) << (power - 3)) - 1;
}

void
hb_histogram_add(struct hb_histogram *histogram, uint64_t value)
{
	_Atomic uint64_t *count = &histogram->count[bucket_of(value)];

	/* one writer: no atomic read-modify-write needed */
	atomic_store_explicit(
		count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
	if (value > atomic_load_explicit(&histogram->max, memory_order_relaxed))
		atomic_store_explicit(&histogram->max, value, memory_order_relaxed);
}

static uint64_t
quantile(const uint64_t count[HB_HISTOGRAM_BUCKETS], uint32_t per_mille)
{
	uint64_t total = 0, seen = 0;

	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKETS; i++)
		total += count[i];
	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKETS; i++) {
		seen += count[i];
		if (seen != 0 && seen * 1000 >= total * per_mille)
			return upper_bound(i);
	}
	return 0;
}

uint64_t
hb_histogram_quantile(const struct hb_histogram *histogram, uint32_t per_mille)
{
	uint64_t count[HB_HISTOGRAM_BUCKETS];

	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKETS; i++)
		count[i] = atomic_load_explicit(&histogram->count[i], memory_order_relaxed);
	return quantile(count, per_mille);
}

uint64_t
hb_histogram_quantile_since(struct hb_histogram_window *window,
	const struct hb_histogram *histogram, uint32_t per_mille)
{
	uint64_t count[HB_HISTOGRAM_BUCKETS];

	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKETS; i++) {
		uint64_t now = atomic_load_explicit(&histogram->count[i], memory_order_relaxed);

		count[i] = now - window->seen[i];
		window->seen[i] = now;
	}
	return quantile(count, per_mille);
}
