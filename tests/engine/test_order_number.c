/* SPDX-License-Identifier: Apache-2.0 */
/* Order numbers and Beijing time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/engine/world.h"

static void
test_a_number_is_32_digits_and_decodes_to_its_parts(void **unused)
{
	char text[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_order_number n;
	uint64_t stamp = UINT64_C(1795392000123) << 14 | 45;

	(void)unused;
	hb_order_number_format(text, HB_BUSINESS_PACKET_GRAB, 7, 3, 1001, stamp);
	assert_int_equal(strlen(text), 32);
	assert_int_equal(strncmp(text + 11, "20261123080000123", 17), 0);
	assert_true(hb_order_number_parse(text, &n));
	assert_int_equal(n.business, HB_BUSINESS_PACKET_GRAB);
	assert_int_equal(n.node, 7);
	assert_int_equal(n.allocator, 3);
	assert_int_equal(n.stamp, stamp);
	assert_int_equal(n.user_digits % HB_PARTITION_COUNT, hb_partition_of(1001));
}

static void
test_damaged_numbers_do_not_parse(void **unused)
{
	static const char *const bad[] = {"", "2110703", "2110703000120261123080000123004x",
		"21107030001202611230800001230045", "21307030001202611230800001230045",
		"21107990001202611230800001230045", "211070300012026112308000012300456",
		"21107030001202602300800001230045", "21107030001202611232500001230045",
		"01107030001202611230800001230045"};
	struct hb_order_number n;

	(void)unused;
	assert_true(hb_order_number_parse(bad[3], &n));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (i != 3)
			assert_false(hb_order_number_parse(bad[i], &n));
}

static void
test_stamps_never_repeat_when_the_clock_steps(void **unused)
{
	uint64_t seed = (uint64_t)time(NULL), last = 0, now = 1795392000000, refused = 0;

	(void)unused;
	printf("seed %lu\n", (unsigned long)seed);
	srandom((unsigned)seed);
	for (int i = 0; i < 2000000; i++) {
		uint64_t next;

		if (i % 1000 == 0)
			now += (uint64_t)(random() % 300) - 100;
		next = hb_stamp_next(last, now);
		if (next == 0) {
			refused++;
			now += 500;
			continue;
		}
		assert_true(next > last);
		assert_true(hb_stamp_sequence(next) <= 9999);
		assert_true(hb_stamp_ms(next) <= now + HB_ORDER_RUN_AHEAD_MS_MAX);
		last = next;
	}
	assert_true(refused < 1000);
}

static void
test_a_full_millisecond_runs_ahead_until_the_bound(void **unused)
{
	uint64_t now = 1795392000000, last = 0, n = 0;

	(void)unused;
	for (uint64_t next; (next = hb_stamp_next(last, now)) != 0; last = next)
		n++;
	assert_int_equal(n, 10000 * (HB_ORDER_RUN_AHEAD_MS_MAX + 1));
}

static void
test_beijing_time_goes_there_and_back(void **unused)
{
	char text[18];
	uint64_t ms;

	(void)unused;
	for (uint64_t t = 100000000000; t < 4102444800000; t += 86399999999 / 7) {
		hb_beijing_time_format(text, t);
		assert_true(hb_beijing_time_parse(text, &ms));
		assert_int_equal(ms, t);
	}
	hb_beijing_time_format(text, 1709222400000); /* 2024-02-29 16:00 UTC */
	assert_string_equal(text, "20240301000000000");
}

static void
test_accounts_spread_evenly_over_partitions(void **unused)
{
	uint32_t count[HB_PARTITION_COUNT] = {0};

	(void)unused;
	for (uint64_t account = 1; account <= 160000; account++)
		count[hb_partition_of(account)]++;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		assert_in_range(count[i], 9600, 10400);
}

struct parts {
	uint32_t business, node, allocator;
	uint64_t account, stamp;
};

static struct parts
random_parts(struct world *w)
{
	return (struct parts){.business = 10 + (uint32_t)(world_random(w) % 90),
		.node = (uint32_t)(world_random(w) % 100),
		.allocator = (uint32_t)(world_random(w) % HB_PARTITION_COUNT),
		.account = 1 + world_random(w) % HB_ACCOUNT_MAX,
		.stamp = (100000000000 + world_random(w) % 4000000000000) << 14 |
			 world_random(w) % 10000};
}

static void
check_parts(const char *text, uint32_t version, const struct parts *a)
{
	struct hb_order_number n;

	assert_int_equal(strlen(text), HB_ORDER_NUMBER_LENGTH);
	assert_true(hb_order_number_parse(text, &n));
	assert_int_equal(n.version, version);
	assert_int_equal(n.business, a->business);
	assert_int_equal(n.node, a->node);
	assert_int_equal(n.allocator, a->allocator);
	assert_int_equal(n.user_digits, hb_account_digits(a->account));
	assert_int_equal(n.stamp, a->stamp);
}

/* The mark alone says the version; numbers of version 2 sort by age. */
static void
test_both_versions_say_the_same_parts_and_never_meet(void **unused)
{
	uint64_t seed = (uint64_t)time(NULL);
	struct world *w = test_calloc(1, sizeof(*w));

	(void)unused;
	printf("seed %lu\n", (unsigned long)seed);
	w->random = seed;
	for (int i = 0; i < 50000; i++) {
		struct parts a = random_parts(w), b = a;
		char one[HB_ORDER_NUMBER_LENGTH + 1], two[HB_ORDER_NUMBER_LENGTH + 1];
		char later[HB_ORDER_NUMBER_LENGTH + 1];

		hb_order_number_format(one, a.business, a.node, a.allocator, a.account, a.stamp);
		check_parts(one, 1, &a);
		b.stamp = hb_stamp_next(a.stamp, hb_stamp_ms(a.stamp) + world_random(w) % 3);
		b.stamp |= HB_STAMP_VERSION_2;
		a.stamp |= HB_STAMP_VERSION_2;
		hb_order_number_format(two, a.business, a.node, a.allocator, a.account, a.stamp);
		check_parts(two, 2, &a);
		assert_string_not_equal(one, two);
		hb_order_number_format(later, b.business, b.node, b.allocator, b.account, b.stamp);
		assert_true(strcmp(two, later) < 0);
		check_parts(later, 2, &b);
	}
	test_free(w);
}

static void
test_damaged_numbers_of_version_2_do_not_parse(void **unused)
{
	static const char *const bad[] = {
		"21207030001100029415702530031661",  /* the reserved zero is a one */
		"21207030001099999999999999999999",  /* more than 64 bits */
		"21207030001000000000000000000001",  /* 1970 */
		"21207030001000029415702530047999x", /* too long */
		"212070300010000294157025300x1661",
		"21207030001004611686018427387904", /* the mark itself is no time */
		"21207030001004641101720957419566",
	};
	char text[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_order_number n;

	(void)unused;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hb_order_number_parse(bad[i], &n));
	hb_order_number_format(
		text, 21, 7, 3, 1001, HB_STAMP_VERSION_2 | UINT64_C(1795392000123) << 14 | 9999);
	assert_true(hb_order_number_parse(text, &n));
	hb_order_number_format(
		text, 21, 7, 3, 1001, HB_STAMP_VERSION_2 | UINT64_C(1795392000123) << 14 | 10000);
	assert_false(hb_order_number_parse(text, &n));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_number_is_32_digits_and_decodes_to_its_parts),
		cmocka_unit_test(test_damaged_numbers_do_not_parse),
		cmocka_unit_test(test_both_versions_say_the_same_parts_and_never_meet),
		cmocka_unit_test(test_damaged_numbers_of_version_2_do_not_parse),
		cmocka_unit_test(test_stamps_never_repeat_when_the_clock_steps),
		cmocka_unit_test(test_a_full_millisecond_runs_ahead_until_the_bound),
		cmocka_unit_test(test_beijing_time_goes_there_and_back),
		cmocka_unit_test(test_accounts_spread_evenly_over_partitions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
