/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-linear histogram: see histogram.h for the layout and its error. The memory is the caller's;
 * if the process dies the counts are lost with it.
 */
#include "perf/histogram.h"

#include <string.h>

#include "base/assert.h"

/* The bucket of a value: its power of two, then the six bits below its leading one. */
static uint32_t
bucket_of(uint64_t value)
{
	if (value < HB_HISTOGRAM_SUB_COUNT)
		return (uint32_t)value;
	uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HB_HISTOGRAM_SUB_BITS;
	uint32_t sub = (uint32_t)(value >> shift) - HB_HISTOGRAM_SUB_COUNT;

	return (shift + 1) * HB_HISTOGRAM_SUB_COUNT + sub;
}

/* The largest value that falls into a bucket. */
static uint64_t
bucket_upper(uint32_t bucket)
{
	if (bucket < HB_HISTOGRAM_SUB_COUNT)
		return bucket;
	uint32_t shift = bucket / HB_HISTOGRAM_SUB_COUNT - 1;
	uint64_t sub = bucket % HB_HISTOGRAM_SUB_COUNT + HB_HISTOGRAM_SUB_COUNT;

	return ((sub + 1) << shift) - 1; /* the last bucket wraps to 2^64 - 1 as it should */
}

void
hb_histogram_reset(struct hb_histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min = UINT64_MAX;
}

void
hb_histogram_add(struct hb_histogram *histogram, uint64_t value)
{
	histogram->count++;
	histogram->sum += value;
	if (value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->bucket[bucket_of(value)]++;
}

void
hb_histogram_merge(struct hb_histogram *into, const struct hb_histogram *from)
{
	into->count += from->count;
	into->sum += from->sum;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKET_COUNT; i++)
		into->bucket[i] += from->bucket[i];
}

uint64_t
hb_histogram_percentile(const struct hb_histogram *histogram, uint32_t per_million)
{
	HB_ASSERT(per_million <= 1000000);
	if (histogram->count == 0)
		return 0;

	uint64_t rank =
		(uint64_t)(((unsigned __int128)histogram->count * per_million + 999999) / 1000000);
	uint64_t seen = 0;

	for (uint32_t i = 0; i < HB_HISTOGRAM_BUCKET_COUNT; i++) {
		seen += histogram->bucket[i];
		if (seen >= rank && seen > 0) {
			uint64_t upper = bucket_upper(i);

			return upper < histogram->max ? upper : histogram->max;
		}
	}
	HB_ASSERT(seen == histogram->count);
	return histogram->max;
}
