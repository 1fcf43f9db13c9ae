/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The queue that carries credits and messages from one thread to another: order, fullness, and
 * that an entry is whole when it is seen. Made for the thread sanitizer too (tests/races).
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "spsc.h"

#define ENTRIES 8
#define CREDITS 50000

struct credit {
	uint64_t number;
	uint64_t twice;
	uint64_t thrice;
};

static void *
give(void *argument)
{
	struct hb_spsc *queue = argument;

	for (uint64_t i = 0; i < CREDITS;) {
		struct credit credit = {.number = i, .twice = 2 * i, .thrice = 3 * i};

		if (hb_spsc_push(queue, &credit))
			i++;
		else
			sched_yield();
	}
	return NULL;
}

static void
every_entry_arrives_once_in_order_and_whole(void **state)
{
	struct hb_spsc queue;
	struct credit credit;
	pthread_t giver;

	(void)state;
	assert_int_equal(hb_spsc_init(&queue, ENTRIES, sizeof(credit)), 0);
	assert_int_equal(pthread_create(&giver, NULL, give, &queue), 0);
	for (uint64_t i = 0; i < CREDITS;) {
		if (!hb_spsc_pop(&queue, &credit)) {
			sched_yield();
			continue;
		}
		assert_int_equal(credit.number, i);
		assert_int_equal(credit.twice, 2 * i);
		assert_int_equal(credit.thrice, 3 * i);
		i++;
	}
	pthread_join(giver, NULL);
	assert_true(hb_spsc_empty(&queue));
	hb_spsc_free(&queue);
}

static void
a_full_queue_takes_nothing_and_loses_nothing(void **state)
{
	struct hb_spsc queue;
	struct credit credit = {0};

	(void)state;
	assert_int_equal(hb_spsc_init(&queue, ENTRIES, sizeof(credit)), 0);
	for (credit.number = 0; hb_spsc_push(&queue, &credit); credit.number++)
		assert_true(credit.number < ENTRIES);
	assert_int_equal(credit.number, ENTRIES);
	for (uint64_t i = 0; i < ENTRIES; i++) {
		assert_true(hb_spsc_pop(&queue, &credit));
		assert_int_equal(credit.number, i);
	}
	assert_false(hb_spsc_pop(&queue, &credit));
	hb_spsc_free(&queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry_arrives_once_in_order_and_whole),
		cmocka_unit_test(a_full_queue_takes_nothing_and_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
