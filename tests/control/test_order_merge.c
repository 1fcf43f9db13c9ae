/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging tables into pages of orders: the same rows in the same order as sorting all of them,
 * whatever the tables hold, rows of equal times included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/order_pages.h"

#define TABLES	   16
#define ROWS_MAX   400 /* of a table */
#define WORLDS	   200
#define TIMES_FEW  9 /* so that many rows are of one time */
#define TIMES_MANY 100000

static struct hb_order_row table[TABLES][ROWS_MAX];
static uint32_t table_count[TABLES];
static struct hb_order_row all[TABLES * ROWS_MAX];
static uint32_t all_count;

static int
compare(const void *a, const void *b)
{
	const struct hb_order_row *x = a;
	const struct hb_order_row *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms > y->at_ms ? -1 : 1;
	return -memcmp(x->order_no, y->order_no, sizeof(x->order_no));
}

static void
make_world(void)
{
	uint64_t times = random() % 2 ? TIMES_FEW : TIMES_MANY;

	all_count = 0;
	for (uint32_t t = 0; t < TABLES; t++) {
		table_count[t] = random() % 4 ? (uint32_t)random() % ROWS_MAX : 0;
		for (uint32_t i = 0; i < table_count[t]; i++) {
			struct hb_order_row *row = &table[t][i];
			char number[HB_ORDER_NUMBER_LENGTH + 1];

			memset(row, 0, sizeof(*row));
			row->at_ms = (uint64_t)random() % times;
			snprintf(number, sizeof(number), "%010ld%010u%012u", random(), i, t);
			memcpy(row->order_no, number, HB_ORDER_NUMBER_LENGTH);
			all[all_count++] = *row;
		}
		qsort(table[t], table_count[t], sizeof(table[t][0]), compare);
	}
	qsort(all, all_count, sizeof(all[0]), compare);
}

static void
merge_all(struct hb_order_merge *merge)
{
	for (uint32_t t = 0; t < TABLES; t++) {
		uint32_t limit = table_count[t] < merge->depth ? table_count[t] : merge->depth;

		hb_order_merge_begin(merge);
		for (uint32_t i = 0; i < limit; i++)
			if (hb_order_merge_row(merge, &table[t][i]) != 0)
				break;
		hb_order_merge_end(merge);
	}
}

static void
a_merge_is_what_sorting_everything_gives(void **state)
{
	static const uint32_t depths[] = {1, 2, 21, 500, TABLES * ROWS_MAX + 1};
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int world = 0; world < WORLDS; world++) {
		make_world();
		for (size_t d = 0; d < sizeof(depths) / sizeof(depths[0]); d++) {
			uint32_t wanted = all_count < depths[d] ? all_count : depths[d];
			struct hb_order_merge merge;

			assert_int_equal(hb_order_merge_open(&merge, depths[d]), 0);
			merge_all(&merge);
			assert_int_equal(merge.count, wanted);
			assert_memory_equal(merge.best, all, wanted * sizeof(all[0]));
			hb_order_merge_close(&merge);
		}
	}
}

static void
a_table_that_has_nothing_to_add_is_not_read_on(void **state)
{
	struct hb_order_row rows[4] = {{.at_ms = 9}, {.at_ms = 8}, {.at_ms = 2}, {.at_ms = 1}};
	struct hb_order_merge merge;

	(void)state;
	assert_int_equal(hb_order_merge_open(&merge, 2), 0);
	hb_order_merge_begin(&merge);
	assert_int_equal(hb_order_merge_row(&merge, &rows[0]), 0);
	assert_int_equal(hb_order_merge_row(&merge, &rows[1]), 1);
	hb_order_merge_end(&merge);
	hb_order_merge_begin(&merge);
	assert_int_equal(hb_order_merge_row(&merge, &rows[2]), 1);
	hb_order_merge_end(&merge);
	assert_int_equal(merge.count, 2);
	assert_int_equal(merge.best[1].at_ms, 8);
	hb_order_merge_close(&merge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_merge_is_what_sorting_everything_gives),
		cmocka_unit_test(a_table_that_has_nothing_to_add_is_not_read_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
