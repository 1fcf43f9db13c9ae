/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs run when they are due or wanted, one at a time, and tell what they found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/jobs.h"

static _Atomic int runs;
static _Atomic int at_once;
static _Atomic int at_once_max;
static _Atomic bool healthy = true;

static void
count_runs(void *context, struct hb_job_result *result)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	int now = atomic_fetch_add(&at_once, 1) + 1;

	(void)context;
	if (now > atomic_load(&at_once_max))
		atomic_store(&at_once_max, now);
	nanosleep(&pause, NULL);
	atomic_fetch_add(&runs, 1);
	result->alarm = !atomic_load(&healthy);
	result->found = result->alarm ? 3 : 0;
	snprintf(result->text, sizeof(result->text), "found %d", (int)result->found);
	atomic_fetch_sub(&at_once, 1);
}

static json_int_t
number(const json_t *json, const char *name)
{
	return json_integer_value(json_object_get(json, name));
}

static void
a_wanted_job_runs_once_and_tells(void **state)
{
	struct hb_jobs *jobs;
	json_t *json = NULL;

	(void)state;
	assert_int_equal(hb_jobs_create(&jobs), 0);
	hb_jobs_register(jobs, "one", "counts", 3600, count_runs, NULL);
	hb_jobs_register(jobs, "two", "counts", 3600, count_runs, NULL);
	assert_int_equal(hb_jobs_start(jobs), 0);
	assert_int_equal(hb_jobs_run(jobs, "one", 1000, &json), 0);
	assert_int_equal(atomic_load(&runs), 1);
	assert_int_equal(number(json, "runs"), 1);
	assert_string_equal(json_string_value(json_object_get(json, "result")), "found 0");
	json_decref(json);
	assert_int_equal(hb_jobs_run(jobs, "three", 1000, &json), -ENOENT);
	json = hb_jobs_json(jobs);
	assert_int_equal(json_array_size(json), 2);
	assert_int_equal(number(json_array_get(json, 1), "runs"), 0);
	json_decref(json);
	hb_jobs_stop(jobs);
	assert_int_equal(atomic_load(&at_once_max), 1);
}

static void
an_alarm_stays_until_the_job_is_content_again(void **state)
{
	struct hb_jobs *jobs;
	json_t *json = NULL;

	(void)state;
	assert_int_equal(hb_jobs_create(&jobs), 0);
	hb_jobs_register(jobs, "one", "counts", 3600, count_runs, NULL);
	assert_int_equal(hb_jobs_start(jobs), 0);
	atomic_store(&healthy, false);
	assert_int_equal(hb_jobs_run(jobs, "one", 1000, &json), 0);
	assert_int_equal(number(json, "found"), 3);
	assert_non_null(json_object_get(json, "alarm_since_ms"));
	json_decref(json);
	assert_int_equal(hb_jobs_alarms(jobs), 1);
	atomic_store(&healthy, true);
	assert_int_equal(hb_jobs_run(jobs, "one", 1000, &json), 0);
	assert_null(json_object_get(json, "alarm_since_ms"));
	json_decref(json);
	assert_int_equal(hb_jobs_alarms(jobs), 0);
	hb_jobs_stop(jobs);
}

static void
a_due_job_runs_by_itself(void **state)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	struct hb_jobs *jobs;
	int before = atomic_load(&runs);

	(void)state;
	assert_int_equal(hb_jobs_create(&jobs), 0);
	hb_jobs_register(jobs, "now", "counts", 0, count_runs, NULL);
	assert_int_equal(hb_jobs_start(jobs), 0);
	for (int i = 0; i < 20 && atomic_load(&runs) < before + 2; i++)
		nanosleep(&pause, NULL);
	hb_jobs_stop(jobs);
	assert_true(atomic_load(&runs) >= before + 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wanted_job_runs_once_and_tells),
		cmocka_unit_test(an_alarm_stays_until_the_job_is_content_again),
		cmocka_unit_test(a_due_job_runs_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
