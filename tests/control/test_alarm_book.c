/* SPDX-License-Identifier: Apache-2.0 */
/* An alarm is raised after a value was bad for a while, and cleared after it was good for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "controlplane/alarm_book.h"

#define S  UINT64_C(1000000000)
#define GB (UINT64_C(1) << 30)

static struct hb_alarm_book book;
static struct hb_alarm_limits limits;
static struct hb_alarm_change change;

static int
begin(void **state)
{
	struct hb_config config;

	(void)state;
	memset(&book, 0, sizeof(book));
	hb_config_defaults(&config);
	hb_alarm_limits_take(&limits, &config);
	limits.raise_after_ns = 5 * (int64_t)S;
	limits.clear_after_ns = 15 * (int64_t)S;
	return 0;
}

static enum hb_alarm_change_kind
at(uint64_t second, enum hb_alarm_rule rule, const char *subject, int64_t value)
{
	const struct hb_alarm_time now = {.mono_ns = (1000 + second) * S, .wall_ms = second * 1000};

	return hb_alarm_note(&book, &limits, &now, rule, subject, value, "text", &change);
}

static void
a_bad_value_raises_once_and_a_good_one_clears_once(void **state)
{
	char id[HB_ALARM_ID_BYTES];

	(void)state;
	assert_int_equal(at(0, HB_ALARM_MYSQL_DOWN, "main", 5), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(4, HB_ALARM_MYSQL_DOWN, "main", 6), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(5, HB_ALARM_MYSQL_DOWN, "main", 7), HB_ALARM_RAISED);
	assert_int_equal(change.alarm.value, 7);
	assert_int_equal(change.limit, 5);
	assert_string_equal(change.alarm.subject, "main");
	memcpy(id, change.alarm.id, sizeof(id));
	for (uint64_t second = 6; second < 20; second++)
		assert_int_equal(at(second, HB_ALARM_MYSQL_DOWN, "main", 7), HB_ALARM_NO_CHANGE);
	assert_int_equal(hb_alarms_active(&book), 1);
	assert_int_equal(at(20, HB_ALARM_MYSQL_DOWN, "main", 0), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(34, HB_ALARM_MYSQL_DOWN, "main", 0), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(35, HB_ALARM_MYSQL_DOWN, "main", 0), HB_ALARM_CLEARED);
	assert_string_equal(change.alarm.id, id);
	assert_int_equal(at(60, HB_ALARM_MYSQL_DOWN, "main", 0), HB_ALARM_NO_CHANGE);
	assert_int_equal(hb_alarms_active(&book), 0);
	assert_int_equal(book.changes, 2);
}

static void
a_value_that_swings_does_not_flap(void **state)
{
	int64_t raise = limits.raise[HB_ALARM_SYNC_SLOW];
	int64_t clear = limits.clear[HB_ALARM_SYNC_SLOW];

	(void)state;
	assert_true(clear < raise);
	for (uint64_t second = 0; second < 100; second++) /* never 5 s in a row */
		assert_int_equal(
			at(second, HB_ALARM_SYNC_SLOW, "", second % 4 == 0 ? clear : raise + 1),
			HB_ALARM_NO_CHANGE);
	at(150, HB_ALARM_SYNC_SLOW, "", clear);
	at(200, HB_ALARM_SYNC_SLOW, "", raise);
	assert_int_equal(at(205, HB_ALARM_SYNC_SLOW, "", raise), HB_ALARM_RAISED);
	for (uint64_t second = 206; second < 300; second++) /* between the two nothing changes */
		assert_int_equal(at(second, HB_ALARM_SYNC_SLOW, "", clear + 1), HB_ALARM_NO_CHANGE);
}

static void
a_falling_rule_is_raised_by_low_values(void **state)
{
	(void)state;
	assert_int_equal(
		at(0, HB_ALARM_DISK_FULL_SOON, "", HB_ALARM_HOURS_UNKNOWN_MAX), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(10, HB_ALARM_DISK_FULL_SOON, "", 24), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(15, HB_ALARM_DISK_FULL_SOON, "", 3), HB_ALARM_RAISED);
	assert_int_equal(at(50, HB_ALARM_DISK_FULL_SOON, "", 47), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(90, HB_ALARM_DISK_FULL_SOON, "", 47), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(91, HB_ALARM_DISK_FULL_SOON, "", 48), HB_ALARM_NO_CHANGE);
	assert_int_equal(at(106, HB_ALARM_DISK_FULL_SOON, "", 48), HB_ALARM_CLEARED);
}

static void
every_rule_can_be_raised_and_cleared(void **state)
{
	(void)state;
	for (enum hb_alarm_rule rule = 0; rule < HB_ALARM_RULE_COUNT; rule++) {
		assert_int_equal(at(0, rule, "x", limits.raise[rule]), HB_ALARM_NO_CHANGE);
		assert_int_equal(at(5, rule, "x", limits.raise[rule]), HB_ALARM_RAISED);
		assert_int_equal(at(6, rule, "x", limits.clear[rule]), HB_ALARM_NO_CHANGE);
		assert_int_equal(at(21, rule, "x", limits.clear[rule]), HB_ALARM_CLEARED);
		assert_true(strlen(hb_alarm_key(rule)) > 0 && strlen(hb_alarm_about(rule)) > 0);
	}
}

static void
subjects_are_told_apart_and_too_many_are_counted(void **state)
{
	char subject[16];
	json_t *json;

	(void)state;
	for (int i = 0; i < HB_ALARMS_MAX; i++) {
		snprintf(subject, sizeof(subject), "server-%d", i);
		at(0, HB_ALARM_MYSQL_DOWN, subject, 5);
	}
	assert_int_equal(at(0, HB_ALARM_MYSQL_DOWN, "one more", 5), HB_ALARM_NO_CHANGE);
	assert_int_equal(book.unwatched, 1);
	assert_int_equal(at(5, HB_ALARM_MYSQL_DOWN, "server-3", 5), HB_ALARM_RAISED);
	assert_int_equal(at(5, HB_ALARM_MYSQL_DOWN, "server-4", 0), HB_ALARM_NO_CHANGE);
	json = hb_alarm_book_json(&book, 7);
	assert_int_equal(json_array_size(json_object_get(json, "active")), 1);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(json_object_get(json, "active"), 0), "subject")),
		"server-3");
	json_decref(json);
}

static void
the_past_keeps_its_newest_changes(void **state)
{
	json_t *json, *recent;

	(void)state;
	for (uint64_t i = 0; i < HB_ALARM_CHANGES_KEPT + 10; i++)
		hb_alarm_test(&book, 1000 + i, &change);
	json = hb_alarm_book_json(&book, 7);
	recent = json_object_get(json, "recent");
	assert_int_equal(json_array_size(recent), HB_ALARM_CHANGES_KEPT);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(recent, 0), "at_ms")),
		1000 + HB_ALARM_CHANGES_KEPT + 9);
	json_decref(json);
}

static void
the_forecast_follows_the_pace_of_the_last_hour(void **state)
{
	struct hb_forecast forecast = {0};
	uint64_t minute;
	int64_t hours = 0;

	(void)state;
	for (minute = 0; minute < 9; minute++) /* too little is known */
		assert_int_equal(
			hb_forecast_hours(&forecast, (minute * 60 + 1) * S, minute * GB, 1000 * GB),
			HB_ALARM_HOURS_UNKNOWN_MAX);
	for (; minute < 120; minute++)
		hours = hb_forecast_hours(&forecast, (minute * 60 + 1) * S, minute * GB, 1000 * GB);
	/* 950 GB are the limit, 119 used, 60 an hour */
	assert_in_range(hours, 13, 14);
	for (; minute < 300; minute++) /* it stands still */
		hours = hb_forecast_hours(&forecast, (minute * 60 + 1) * S, 120 * GB, 1000 * GB);
	assert_int_equal(hours, HB_ALARM_HOURS_UNKNOWN_MAX);
	assert_int_equal(
		hb_forecast_hours(&forecast, (minute * 60 + 1) * S, 951 * GB, 1000 * GB), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_bad_value_raises_once_and_a_good_one_clears_once, begin),
		cmocka_unit_test_setup(a_value_that_swings_does_not_flap, begin),
		cmocka_unit_test_setup(a_falling_rule_is_raised_by_low_values, begin),
		cmocka_unit_test_setup(every_rule_can_be_raised_and_cleared, begin),
		cmocka_unit_test_setup(subjects_are_told_apart_and_too_many_are_counted, begin),
		cmocka_unit_test_setup(the_past_keeps_its_newest_changes, begin),
		cmocka_unit_test_setup(the_forecast_follows_the_pace_of_the_last_hour, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
