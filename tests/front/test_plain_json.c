/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What is plain means what jansson says it means: texts made of pieces of JSON, most of them nearly
 * right, are read by both.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "front/plain_json.h"

#define MEMBERS_MAX 8
#define TEXTS	    300000
#define TEXT_BYTES  256

static struct hb_plain_member members[MEMBERS_MAX];

/* The bytes lie in an allocation of their own length, so that a sanitizer sees reads beyond. */
static char *
copy(const char *bytes, size_t length)
{
	char *own = malloc(length == 0 ? 1 : length);

	memcpy(own, bytes, length);
	return own;
}

static void
the_usual_body_is_plain(void **state)
{
	static const char body[] = " {\"group\" : 7,\n\"token\":\"GR-0-x\", \"sequence\":\t0}\r\n";

	(void)state;
	assert_int_equal(hb_plain_json(body, strlen(body), members, MEMBERS_MAX), 3);
	assert_memory_equal(members[0].name, "group", members[0].name_length);
	assert_null(members[0].text);
	assert_int_equal(members[0].number, 7);
	assert_memory_equal(members[1].text, "GR-0-x", 6);
	assert_int_equal(members[1].text_length, 6);
	assert_int_equal(members[2].number, 0);
	assert_int_equal(hb_plain_json("{}", 2, members, MEMBERS_MAX), 0);
}

static void
what_has_another_form_is_not_plain(void **state)
{
	static const char *const texts[] = {"", " ", "{", "}", "[]", "7", "\"a\"", "{}x", "{} {}",
		"{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{a:1}",
		"{\"a\":-1}", "{\"a\":01}", "{\"a\":1.0}", "{\"a\":1e3}", "{\"a\":+1}",
		"{\"a\":1234567890123456789}", "{\"a\":true}", "{\"a\":null}", "{\"a\":{}}",
		"{\"a\":[1]}", "{\"a\":\"\\u0041\"}", "{\"\\u0041\":1}", "{\"a\":\"\xc3\xa9\"}",
		"{\"a\":\"\x7f\"}", "{\"a\":\"\t\"}", "{\"a\":\"b}", "{\"a\":'b'}",
		"\xef\xbb\xbf{}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (hb_plain_json(texts[i], strlen(texts[i]), members, MEMBERS_MAX) != -1)
			fail_msg("plain: %s", texts[i]);
}

static void
more_members_than_there_is_room_for_are_not_plain(void **state)
{
	static const char body[] = "{\"a\":1,\"b\":2,\"c\":3}";

	(void)state;
	assert_int_equal(hb_plain_json(body, strlen(body), members, 3), 3);
	assert_int_equal(hb_plain_json(body, strlen(body), members, 2), -1);
}

/* A name may be there twice: then jansson keeps the last, and nobody compares. */
static bool
has_twice(int count)
{
	for (int i = 0; i < count; i++)
		for (int k = 0; k < i; k++)
			if (members[i].name_length == members[k].name_length &&
				memcmp(members[i].name, members[k].name, members[k].name_length) ==
					0)
				return true;
	return false;
}

static void
expect_same(const json_t *object, int count)
{
	assert_int_equal(json_object_size(object), count);
	for (int i = 0; i < count; i++) {
		const json_t *value =
			json_object_getn(object, members[i].name, members[i].name_length);

		if (members[i].text == NULL) {
			assert_true(json_is_integer(value));
			assert_int_equal(json_integer_value(value), members[i].number);
			continue;
		}
		assert_true(json_is_string(value));
		assert_int_equal(json_string_length(value), members[i].text_length);
		assert_memory_equal(
			json_string_value(value), members[i].text, members[i].text_length);
	}
}

/* An object, or nearly. */
static void
random_text(char text[TEXT_BYTES])
{
	static const char *const pieces[] = {"{", "}", "\"a\"", "\"b\"", ":", ":", ",", ",", "1",
		"0", "20", "\"a\":1", "\"b\":\"c d\"", "\"long name\": 123456789012345678", " ",
		"\n", "\"", "\\", "-", ".", "e", "[", "]", "null", "\"\"", "\x01", "\xc3\xa9"};
	size_t length = 1;

	text[0] = '{';
	for (int left = (int)(random() % 9); left > 0; left--) {
		const char *piece = pieces[(size_t)random() % (sizeof(pieces) / sizeof(pieces[0]))];

		memcpy(text + length, piece, strlen(piece));
		length += strlen(piece);
	}
	if (random() % 8 != 0)
		text[length++] = '}';
	text[length] = '\0';
}

static void
what_is_plain_is_what_jansson_reads(void **state)
{
	unsigned seed = 20261126, plain = 0;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < TEXTS; i++) {
		char text[TEXT_BYTES];
		int count;
		json_t *object;
		char *own;

		random_text(text);
		own = copy(text, strlen(text));
		count = hb_plain_json(own, strlen(text), members, MEMBERS_MAX);
		if (count >= 0 && !has_twice(count)) {
			object = json_loadb(own, strlen(text), JSON_REJECT_DUPLICATES, NULL);
			if (object == NULL)
				fail_msg("not JSON: %s", text);
			expect_same(object, count);
			json_decref(object);
			plain++;
		}
		free(own);
	}
	assert_true(plain > TEXTS / 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_usual_body_is_plain),
		cmocka_unit_test(what_has_another_form_is_not_plain),
		cmocka_unit_test(more_members_than_there_is_room_for_are_not_plain),
		cmocka_unit_test(what_is_plain_is_what_jansson_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
