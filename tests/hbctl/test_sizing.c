/* SPDX-License-Identifier: Apache-2.0 */
/* What sizing says is what the engine makes and what its tables hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "shm/state_internal.h"
#include "tools/hbctl/sizing.h"

static const struct hbctl_sizing_wish wishes[] = {
	{.accounts = 1,
		.packets = 1,
		.shares_per_packet = 1,
		.grabs_per_second = 1,
		.busy_hours = 1},
	{.accounts = 10000,
		.packets = 1000,
		.shares_per_packet = 10,
		.grabs_per_second = 100,
		.busy_hours = 4},
	{.accounts = 1000000,
		.packets = 100000,
		.shares_per_packet = 100,
		.grabs_per_second = 1000,
		.busy_hours = 4},
	{.accounts = 50000000,
		.packets = 2000000,
		.shares_per_packet = 50,
		.grabs_per_second = 20000,
		.busy_hours = 6},
};
#define WISHES (sizeof(wishes) / sizeof(wishes[0]))

static void
make(struct hbctl_sizing *sizing, const struct hbctl_sizing_wish *wish)
{
	struct hb_config config;
	const char *too_much = NULL;

	hb_config_defaults(&config);
	assert_int_equal(hbctl_sizing_make(sizing, wish, &config, &too_much), 0);
	assert_null(too_much);
}

static void
the_segment_that_the_engine_makes_has_the_size_that_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < WISHES; i++) {
		struct hbctl_sizing sizing;
		static struct hb_state engine;
		struct stat st;

		make(&sizing, &wishes[i]);
		assert_int_equal(hb_state_create(&engine, &sizing.capacity, 1), 0);
		assert_int_equal(fstat(engine.segment.fd, &st), 0);
		assert_int_equal(st.st_size, sizing.state_bytes);
		hb_state_close(&engine);
	}
}

static void
the_tables_hold_what_was_wished_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < WISHES; i++) {
		const struct hbctl_sizing_wish *wish = &wishes[i];
		struct hbctl_sizing sizing;
		const struct hb_capacity *c = &sizing.capacity;
		uint64_t packets = wish->packets / HB_PARTITION_COUNT;

		make(&sizing, wish);
		assert_true(c->accounts * 3 / 4 * HB_PARTITION_COUNT >= wish->accounts);
		assert_true(c->packets * HB_PARTITION_COUNT >= wish->packets);
		assert_true(c->arena_bytes >=
			    packets * HBI_ARENA_UNIT_BYTES *
				    hbi_packet_block_units((uint32_t)wish->shares_per_packet, 0));
		assert_true(c->windows * 3 / 4 * HB_PARTITION_COUNT >=
			    wish->grabs_per_second * HB_TOKEN_LIFETIME_S);
		assert_true(sizing.memory_bytes > 2 * sizing.state_bytes);
	}
}

static void
the_journal_is_counted_in_records(void **state)
{
	struct hbctl_sizing_wish wish = wishes[2];
	struct hbctl_sizing less, more;

	(void)state;
	make(&less, &wish);
	wish.busy_hours += 2;
	make(&more, &wish);
	assert_int_equal(more.journal_day_bytes - less.journal_day_bytes,
		2 * 3600 * wish.grabs_per_second * sizeof(struct hb_record_grab));
	assert_true(
		less.journal_second_bytes > wish.grabs_per_second * sizeof(struct hb_record_grab));
	assert_true(more.journal_volume_bytes > 7 * more.journal_day_bytes);
	assert_int_equal(less.sync_us_max * wish.grabs_per_second / 1000000 *
				 sizeof(struct hb_record_grab) /
				 (HB_JOURNAL_FRAME_BYTES_MAX * UINT64_C(9) / 10),
		1);
}

static void
more_grabs_need_more_cores_and_lcores_stay_a_power_of_two(void **state)
{
	struct hbctl_sizing_wish wish = wishes[1];
	uint64_t cores = 0;

	(void)state;
	for (wish.grabs_per_second = 100; wish.grabs_per_second <= 40000;
		wish.grabs_per_second *= 5) {
		struct hbctl_sizing sizing;

		make(&sizing, &wish);
		assert_true(sizing.cores >= cores);
		assert_true((sizing.lcores & (sizing.lcores - 1)) == 0 && sizing.lcores <= 16);
		cores = sizing.cores;
	}
	assert_true(cores > 2);
}

static void
what_no_node_holds_is_refused_by_name(void **state)
{
	struct hbctl_sizing_wish wish = wishes[2];
	struct hbctl_sizing sizing;
	struct hb_config config;
	const char *too_much = NULL;

	(void)state;
	hb_config_defaults(&config);
	wish.packets = HBCTL_SIZING_PACKETS_MAX;
	assert_int_equal(hbctl_sizing_make(&sizing, &wish, &config, &too_much), -ERANGE);
	assert_string_equal(too_much, "packets");
	wish = wishes[2];
	wish.grabs_per_second = HBCTL_SIZING_GRABS_MAX;
	assert_int_equal(hbctl_sizing_make(&sizing, &wish, &config, &too_much), -ERANGE);
	assert_string_equal(too_much, "grabs per second");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_segment_that_the_engine_makes_has_the_size_that_is_told),
		cmocka_unit_test(the_tables_hold_what_was_wished_for),
		cmocka_unit_test(the_journal_is_counted_in_records),
		cmocka_unit_test(more_grabs_need_more_cores_and_lcores_stay_a_power_of_two),
		cmocka_unit_test(what_no_node_holds_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
