/* SPDX-License-Identifier: Apache-2.0 */
/* A signed request is accepted once, in its time, and only as it was signed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "controlplane/signature.h"

#define NOW_S 1795420800

static struct hb_business_keys keys;
static struct hb_signature_checker checker = {.keys = &keys, .started_s = NOW_S - 1000};

static int
set_up(void **state)
{
	(void)state;
	memset(&keys, 0, sizeof(keys));
	keys.count = 1;
	memcpy(keys.key[0].id, "demo", 5);
	keys.key[0].secret_bytes = 32;
	memset(keys.key[0].secret, 0xab, 32);
	return hb_nonce_cache_create(&checker.nonces, 64, 600);
}

static int
tear_down(void **state)
{
	(void)state;
	hb_nonce_cache_destroy(checker.nonces);
	return 0;
}

static void
sign(struct hb_signed_request *request, char signature[HB_SIGNATURE_HEX_LENGTH + 1])
{
	assert_int_equal(hb_signature_make(signature, &keys.key[0], request), 0);
	request->signature = signature;
}

static struct hb_signed_request
example(void)
{
	return (struct hb_signed_request){.method = "POST",
		.uri = "/business/v1/credits?x=1",
		.key_id = "demo",
		.timestamp = "1795420800",
		.nonce = "0123456789abcdef",
		.body = "{}",
		.body_bytes = 2};
}

/* The vector is made by: python3 -c with hmac and hashlib over the text of signature.h. */
static void
the_signature_is_the_documented_one(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	sign(&request, signature);
	assert_string_equal(
		signature, "2c26e36b16508b5ea6b922a00ab86af477fbf2eb482317e4c14f4a87dd71edf0");
}

static void
a_right_request_is_accepted_once(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	sign(&request, signature);
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S), HB_SIGNATURE_OK);
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S + 1), HB_SIGNATURE_REPLAYED);
}

static void
every_part_is_covered(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	sign(&request, signature);
	for (int part = 0; part < 6; part++) {
		struct hb_signed_request changed = request;

		changed.method = part == 0 ? "GET" : request.method;
		changed.uri = part == 1 ? "/business/v1/credits?x=2" : request.uri;
		changed.timestamp = part == 2 ? "1795420801" : request.timestamp;
		changed.nonce = part == 3 ? "0123456789abcdeg" : request.nonce;
		changed.body = part == 4 ? "[]" : request.body;
		changed.body_bytes = part == 5 ? 1 : request.body_bytes;
		assert_int_equal(hb_signature_check(&checker, &changed, NOW_S), HB_SIGNATURE_WRONG);
	}
	/* None of the refused ones used up the nonce. */
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S), HB_SIGNATURE_OK);
}

static void
the_time_window_is_300_seconds_both_ways(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	sign(&request, signature);
	assert_int_equal(
		hb_signature_check(&checker, &request, NOW_S + 301), HB_SIGNATURE_TIMESTAMP);
	assert_int_equal(
		hb_signature_check(&checker, &request, NOW_S - 301), HB_SIGNATURE_TIMESTAMP);
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S + 300), HB_SIGNATURE_OK);
}

static void
a_request_from_before_the_start_is_refused(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	request.timestamp = "1795420799";
	sign(&request, signature);
	checker.started_s = NOW_S;
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S), HB_SIGNATURE_TIMESTAMP);
	checker.started_s = NOW_S - 1000;
}

static void
malformed_headers_are_refused(void **state)
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	sign(&request, signature);
	for (int part = 0; part < 8; part++) {
		struct hb_signed_request changed = request;

		changed.key_id = part == 0 ? NULL : request.key_id;
		changed.timestamp = part == 1 ? NULL : part == 2 ? "17954208x0" : request.timestamp;
		changed.nonce = part == 3   ? NULL
				: part == 4 ? "1234567"
				: part == 5 ? "with space"
					    : request.nonce;
		changed.signature = part == 6 ? NULL : part == 7 ? "abc" : request.signature;
		assert_int_equal(
			hb_signature_check(&checker, &changed, NOW_S), HB_SIGNATURE_MISSING);
	}
	request.key_id = "other";
	assert_int_equal(hb_signature_check(&checker, &request, NOW_S), HB_SIGNATURE_KEY);
}

static void
other_keys_count_from_the_swap_on(void **state)
{
	struct hb_signature_checker own = {.started_s = NOW_S - 1000, .nonces = checker.nonces};
	struct hb_business_keys *first = calloc(1, sizeof(*first));
	struct hb_business_keys *second = calloc(1, sizeof(*second));
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = example();

	(void)state;
	assert_true(first != NULL && second != NULL);
	*first = keys;
	*second = keys;
	memcpy(second->key[0].id, "next", 5);
	sign(&request, signature);
	assert_int_equal(hb_signature_check(&own, &request, NOW_S), HB_SIGNATURE_KEY);
	hb_signature_keys_swap(&own, first);
	assert_int_equal(hb_signature_check(&own, &request, NOW_S), HB_SIGNATURE_OK);
	hb_signature_keys_swap(&own, second);
	assert_int_equal(hb_signature_check(&own, &request, NOW_S), HB_SIGNATURE_KEY);
	hb_signature_keys_swap(&own, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_signature_is_the_documented_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_right_request_is_accepted_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_part_is_covered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_time_window_is_300_seconds_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_request_from_before_the_start_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(malformed_headers_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			other_keys_count_from_the_swap_on, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
