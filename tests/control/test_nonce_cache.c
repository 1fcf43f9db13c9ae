/* SPDX-License-Identifier: Apache-2.0 */
/* A nonce is accepted once within its period, and memory is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "controlplane/nonce_cache.h"

static void
fingerprint(uint8_t out[16], uint64_t number)
{
	memset(out, 0, 16);
	memcpy(out + 8, &number, sizeof(number));
}

static int
add(struct hb_nonce_cache *cache, uint64_t number, uint64_t now_s)
{
	uint8_t bytes[16];

	fingerprint(bytes, number);
	return hb_nonce_cache_add(cache, bytes, now_s);
}

static void
a_nonce_is_accepted_once(void **state)
{
	struct hb_nonce_cache *cache;

	(void)state;
	assert_int_equal(hb_nonce_cache_create(&cache, 64, 600), 0);
	assert_int_equal(add(cache, 1, 1000), 0);
	assert_int_equal(add(cache, 1, 1000), -EEXIST);
	assert_int_equal(add(cache, 2, 1000), 0);
	assert_int_equal(add(cache, 0, 1000), 0); /* all zero bits is a nonce like others */
	assert_int_equal(add(cache, 0, 1000), -EEXIST);
	hb_nonce_cache_destroy(cache);
}

static void
a_nonce_is_remembered_for_its_period_across_a_turn(void **state)
{
	struct hb_nonce_cache *cache;

	(void)state;
	assert_int_equal(hb_nonce_cache_create(&cache, 64, 600), 0);
	assert_int_equal(add(cache, 1, 1000), 0);
	assert_int_equal(add(cache, 2, 1599), 0);
	assert_int_equal(add(cache, 3, 1600), 0); /* turns */
	assert_int_equal(add(cache, 1, 1600), -EEXIST);
	assert_int_equal(add(cache, 2, 2199), -EEXIST);
	assert_int_equal(add(cache, 4, 2200), 0); /* turns again */
	assert_int_equal(add(cache, 2, 2200), 0);
	assert_int_equal(add(cache, 3, 2200), -EEXIST);
	hb_nonce_cache_destroy(cache);
}

static void
after_a_long_silence_nothing_old_is_kept(void **state)
{
	struct hb_nonce_cache *cache;

	(void)state;
	assert_int_equal(hb_nonce_cache_create(&cache, 64, 600), 0);
	assert_int_equal(add(cache, 1, 1000), 0);
	assert_int_equal(add(cache, 1, 1000000), 0);
	assert_int_equal(add(cache, 1, 1000000), -EEXIST);
	hb_nonce_cache_destroy(cache);
}

static void
a_clock_that_goes_back_forgets_nothing(void **state)
{
	struct hb_nonce_cache *cache;

	(void)state;
	assert_int_equal(hb_nonce_cache_create(&cache, 64, 600), 0);
	assert_int_equal(add(cache, 1, 5000), 0);
	assert_int_equal(add(cache, 2, 1000), 0);
	assert_int_equal(add(cache, 1, 1000), -EEXIST);
	hb_nonce_cache_destroy(cache);
}

static void
a_full_cache_refuses_instead_of_forgetting(void **state)
{
	struct hb_nonce_cache *cache;

	(void)state;
	assert_int_equal(hb_nonce_cache_create(&cache, 64, 600), 0);
	for (uint64_t i = 1; i <= 64; i++)
		assert_int_equal(add(cache, i, 1000), 0);
	assert_int_equal(add(cache, 65, 1000), -ENOSPC);
	assert_int_equal(add(cache, 1, 1000), -EEXIST);
	assert_int_equal(add(cache, 65, 1600), 0);
	for (uint64_t i = 1; i <= 64; i++)
		assert_int_equal(add(cache, i, 1600), -EEXIST);
	hb_nonce_cache_destroy(cache);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_nonce_is_accepted_once),
		cmocka_unit_test(a_nonce_is_remembered_for_its_period_across_a_turn),
		cmocka_unit_test(after_a_long_silence_nothing_old_is_kept),
		cmocka_unit_test(a_clock_that_goes_back_forgets_nothing),
		cmocka_unit_test(a_full_cache_refuses_instead_of_forgetting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
