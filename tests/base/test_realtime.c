/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Real-time threads (base/realtime.h): who leaves is ordinary, who stays is what the process was
 * started as.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/realtime.h"

static bool
become_realtime(void)
{
	const struct sched_param parameters = {.sched_priority = 1};

	return sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

static void *
thread_that_leaves(void *argument)
{
	*(int *)argument = sched_getscheduler(0);
	hb_realtime_leave();
	return NULL;
}

static void
a_thread_inherits_and_leaves_alone(void **state)
{
	pthread_t thread;
	int policy = -1;

	(void)state;
	if (!become_realtime())
		skip();
	assert_int_equal(pthread_create(&thread, NULL, thread_that_leaves, &policy), 0);
	pthread_join(thread, NULL);
	assert_int_equal(policy, SCHED_FIFO);
	assert_int_equal(sched_getscheduler(0), SCHED_FIFO);
	hb_realtime_leave();
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

static void
a_thread_stays_only_where_it_is_wanted(void **state)
{
	(void)state;
	if (!become_realtime())
		skip();
	assert_true(hb_realtime_stay("test", true));
	assert_int_equal(sched_getscheduler(0), SCHED_FIFO);
	assert_false(hb_realtime_stay("test", false));
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

static void
an_ordinary_thread_stays_ordinary(void **state)
{
	(void)state;
	assert_false(hb_realtime_stay("test", true));
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ordinary_thread_stays_ordinary),
		cmocka_unit_test(a_thread_inherits_and_leaves_alone),
		cmocka_unit_test(a_thread_stays_only_where_it_is_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
