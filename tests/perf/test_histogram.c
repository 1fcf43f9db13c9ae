/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences about the histogram of the load generator (perf/histogram.h), checked against sorted
 * arrays. The random seed is printed and can be given as HB_TEST_SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/clock.h"
#include "perf/histogram.h"

#define VALUE_COUNT 20000

static uint64_t seed;
static uint64_t values[VALUE_COUNT];

static uint64_t
random_next(void)
{
	seed += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(seed);
}

static int
compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
percentiles_of_an_empty_histogram_are_zero(void **state)
{
	static struct hb_histogram histogram;

	(void)state;
	hb_histogram_reset(&histogram);
	assert_int_equal(hb_histogram_percentile(&histogram, 500000), 0);
	assert_int_equal(hb_histogram_percentile(&histogram, 1000000), 0);
}

static void
values_below_64_are_exact(void **state)
{
	static struct hb_histogram histogram;

	(void)state;
	hb_histogram_reset(&histogram);
	for (uint64_t value = 0; value < 64; value++)
		hb_histogram_add(&histogram, value);
	assert_int_equal(hb_histogram_percentile(&histogram, 0), 0);
	assert_int_equal(hb_histogram_percentile(&histogram, 500000), 31);
	assert_int_equal(hb_histogram_percentile(&histogram, 1000000), 63);
}

static void
extremes_of_64_bits_are_counted_and_told(void **state)
{
	static struct hb_histogram histogram;

	(void)state;
	hb_histogram_reset(&histogram);
	hb_histogram_add(&histogram, UINT64_MAX);
	hb_histogram_add(&histogram, 0);
	assert_int_equal(histogram.min, 0);
	assert_true(hb_histogram_percentile(&histogram, 1000000) == UINT64_MAX);
	assert_int_equal(hb_histogram_percentile(&histogram, 500000), 0);
}

static void
a_percentile_is_never_below_and_at_most_one_64th_above_the_true_value(void **state)
{
	static struct hb_histogram histogram;
	static const uint32_t ranks[] = {1, 100000, 500000, 900000, 990000, 999000, 999900};

	(void)state;
	for (unsigned bits = 4; bits <= 64; bits += 6) {
		hb_histogram_reset(&histogram);
		for (size_t i = 0; i < VALUE_COUNT; i++) {
			values[i] = random_next() >> (64 - bits);
			hb_histogram_add(&histogram, values[i]);
		}
		qsort(values, VALUE_COUNT, sizeof(values[0]), compare_u64);
		for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
			uint64_t rank = ((uint64_t)VALUE_COUNT * ranks[i] + 999999) / 1000000;
			uint64_t wanted = values[rank - 1];
			uint64_t got = hb_histogram_percentile(&histogram, ranks[i]);

			assert_true(got >= wanted);
			assert_true(got - wanted <= wanted / 64);
		}
		assert_true(
			hb_histogram_percentile(&histogram, 1000000) == values[VALUE_COUNT - 1]);
	}
}

static void
merging_two_halves_equals_counting_the_whole(void **state)
{
	static struct hb_histogram whole, halves[2];

	(void)state;
	hb_histogram_reset(&whole);
	hb_histogram_reset(&halves[0]);
	hb_histogram_reset(&halves[1]);
	for (size_t i = 0; i < VALUE_COUNT; i++) {
		uint64_t value = random_next() >> (random_next() % 60);

		hb_histogram_add(&whole, value);
		hb_histogram_add(&halves[i & 1], value);
	}
	hb_histogram_merge(&halves[0], &halves[1]);
	assert_memory_equal(&whole, &halves[0], sizeof(whole));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles_of_an_empty_histogram_are_zero),
		cmocka_unit_test(values_below_64_are_exact),
		cmocka_unit_test(extremes_of_64_bits_are_counted_and_told),
		cmocka_unit_test(
			a_percentile_is_never_below_and_at_most_one_64th_above_the_true_value),
		cmocka_unit_test(merging_two_halves_equals_counting_the_whole),
	};
	const char *given = getenv("HB_TEST_SEED");

	seed = given != NULL ? strtoull(given, NULL, 0) : hb_wall_ns();
	print_message("HB_TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
