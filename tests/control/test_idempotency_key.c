/* SPDX-License-Identifier: Apache-2.0 */
/* Engine keys depend on caller, Idempotency-Key and item, and on nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "controlplane/idempotency_key.h"

static void
assert_key(const char *key_id, const char *text, uint32_t item, const char *expected)
{
	uint8_t key[16];
	char hex[33];

	assert_int_equal(hb_idempotency_key(key, key_id, text, item), 0);
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", key[i]);
	assert_string_equal(hex, expected);
}

/* Vectors by hashlib: sha256(b"demo\0order-17\x00" + b"0") and with b"999". */
static void
keys_are_the_documented_hash(void **state)
{
	(void)state;
	assert_key("demo", "order-17", 0, "9df6b4a058df35dc40b0a07919124775");
	assert_key("demo", "order-17", 999, "7ff8c01c8124519867a51ad2e7a64fe8");
}

static void
callers_texts_and_items_never_meet(void **state)
{
	uint8_t a[16], b[16], c[16], d[16];

	(void)state;
	assert_int_equal(hb_idempotency_key(a, "demo", "x1", 1), 0);
	assert_int_equal(hb_idempotency_key(b, "demo", "x", 11), 0);
	assert_int_equal(hb_idempotency_key(c, "demox", "1", 1), 0);
	assert_int_equal(hb_idempotency_key(d, "demo", "x1", 1), 0);
	assert_memory_not_equal(a, b, 16);
	assert_memory_not_equal(a, c, 16);
	assert_memory_not_equal(b, c, 16);
	assert_memory_equal(a, d, 16);
}

static void
texts_are_1_to_64_visible_characters(void **state)
{
	char text[66];

	(void)state;
	memset(text, 'k', sizeof(text));
	text[65] = '\0';
	assert_false(hb_idempotency_text_valid(text));
	text[64] = '\0';
	assert_true(hb_idempotency_text_valid(text));
	assert_true(hb_idempotency_text_valid("!~"));
	assert_false(hb_idempotency_text_valid(""));
	assert_false(hb_idempotency_text_valid("a b"));
	assert_false(hb_idempotency_text_valid("a\x7f"));
	assert_false(hb_idempotency_text_valid("\xc3\xa4"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_the_documented_hash),
		cmocka_unit_test(callers_texts_and_items_never_meet),
		cmocka_unit_test(texts_are_1_to_64_visible_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
