/* SPDX-License-Identifier: Apache-2.0 */
/* Pressure switches one thing off after another, calm switches them on again, storage at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "controlplane/degrade.h"

#define S UINT64_C(1000000000)

static const struct hb_degrade_limits limits = {
	.lag_ms = 30000, .busy_per_s = 50, .step_ns = 5 * S, .calm_ns = 30 * S};
static const struct hb_degrade_measures calm = {.lag_ms = 200};
static const struct hb_degrade_measures overload = {.busy_per_s = 50};
static struct hb_degrade_auto state;
static uint64_t second;

static int
begin(void **context)
{
	(void)context;
	memset(&state, 0, sizeof(state));
	second = 1000;
	return 0;
}

/* The same measure each second. @return the level at the end */
static uint32_t
for_seconds(uint64_t count, const struct hb_degrade_measures *measures)
{
	uint32_t level = state.level;

	for (; count > 0; count--)
		level = hb_degrade_judge(&state, &limits, measures, second++ * S);
	return level;
}

static void
overload_switches_off_one_level_after_another_and_calm_back(void **context)
{
	(void)context;
	assert_int_equal(for_seconds(100, &calm), HB_DEGRADE_NORMAL);
	assert_int_equal(for_seconds(5, &overload), HB_DEGRADE_NORMAL);
	assert_int_equal(for_seconds(1, &overload), HB_DEGRADE_NO_LISTS);
	assert_int_equal(for_seconds(6, &overload), HB_DEGRADE_NO_PUSH);
	assert_int_equal(for_seconds(6, &overload), HB_DEGRADE_NO_NEW_PACKETS);
	assert_int_equal(for_seconds(100, &overload), HB_DEGRADE_NO_NEW_PACKETS);
	assert_int_equal(for_seconds(30, &calm), HB_DEGRADE_NO_NEW_PACKETS);
	assert_int_equal(for_seconds(1, &calm), HB_DEGRADE_NO_PUSH);
	assert_int_equal(for_seconds(31, &calm), HB_DEGRADE_NO_LISTS);
	assert_int_equal(for_seconds(31, &calm), HB_DEGRADE_NORMAL);
	assert_int_equal(for_seconds(100, &calm), HB_DEGRADE_NORMAL);
}

static void
a_short_burst_switches_nothing_off(void **context)
{
	(void)context;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(for_seconds(4, &overload), HB_DEGRADE_NORMAL);
		assert_int_equal(for_seconds(1, &calm), HB_DEGRADE_NORMAL);
	}
}

static void
mysql_behind_switches_off_lists_and_no_more(void **context)
{
	const struct hb_degrade_measures behind = {.lag_ms = 30000};

	(void)context;
	assert_int_equal(for_seconds(5, &behind), HB_DEGRADE_NORMAL);
	assert_int_equal(for_seconds(500, &behind), HB_DEGRADE_NO_LISTS);
	assert_int_equal(for_seconds(31, &calm), HB_DEGRADE_NORMAL);
}

static void
a_volume_that_sheds_switches_new_packets_off_at_once(void **context)
{
	const struct hb_degrade_measures full = {.storage_level = HB_STORAGE_NO_PACKETS};

	(void)context;
	assert_int_equal(for_seconds(1, &full), HB_DEGRADE_NO_NEW_PACKETS);
	assert_int_equal(for_seconds(30, &calm), HB_DEGRADE_NO_NEW_PACKETS);
	assert_int_equal(for_seconds(1, &calm), HB_DEGRADE_NO_PUSH);
}

static void
names_and_numbers_belong_together(void **context)
{
	(void)context;
	for (uint32_t level = 0; level < HB_DEGRADE_COUNT; level++)
		assert_int_equal(hb_degrade_find(hb_degrade_name(level)), level);
	assert_int_equal(hb_degrade_find("no-grabs"), HB_DEGRADE_COUNT);
	assert_string_equal(hb_degrade_name(HB_DEGRADE_COUNT), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			overload_switches_off_one_level_after_another_and_calm_back, begin),
		cmocka_unit_test_setup(a_short_burst_switches_nothing_off, begin),
		cmocka_unit_test_setup(mysql_behind_switches_off_lists_and_no_more, begin),
		cmocka_unit_test_setup(a_volume_that_sheds_switches_new_packets_off_at_once, begin),
		cmocka_unit_test_setup(names_and_numbers_belong_together, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
