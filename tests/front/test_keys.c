/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The key file of user tokens: which files and lines are taken, which are refused by name.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "front/keys.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
/* the public key of RFC 8032, 7.1, test 1 */
#define CURVE "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

static char directory[] = "/tmp/front-keys-XXXXXX";
static char path[64];
static struct hb_jwt_keys keys;
static char error[HB_JWT_KEYS_ERROR_BYTES];

static int
set_up(void **state)
{
	(void)state;
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/jwt.keys", directory);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hb_jwt_keys_clear(&keys);
	unlink(path);
	return rmdir(directory);
}

static int
load(const char *text, mode_t mode)
{
	FILE *file;

	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
	hb_jwt_keys_clear(&keys);
	error[0] = '\0';
	return hb_jwt_keys_load(&keys, path, error);
}

static void
keys_of_both_kinds_comments_and_blank_lines_are_read(void **state)
{
	(void)state;
	assert_int_equal(
		load("# two keys\n\nmain HS256 " HEX64 "\n  \t\nnext\tEdDSA   " CURVE "\r\n", 0400),
		0);
	assert_int_equal(keys.count, 2);
	assert_int_equal(hb_jwt_keys_find(&keys, "main", 4)->secret_bytes, 32);
	assert_int_equal(hb_jwt_keys_find(&keys, "main", 4)->secret[1], 0x11);
	assert_non_null(hb_jwt_keys_find(&keys, "next", 4)->public_key);
	assert_null(hb_jwt_keys_find(&keys, "mai", 3));
	assert_null(hb_jwt_keys_find(&keys, "", 0));
}

static void
a_file_without_a_final_newline_is_read(void **state)
{
	(void)state;
	assert_int_equal(load("main HS256 " HEX64, 0600), 0);
	assert_int_equal(keys.count, 1);
}

static void
a_file_that_others_have_rights_on_is_refused_by_name(void **state)
{
	static const mode_t modes[] = {0440, 0404, 0640, 0644, 0420, 0401, 0666};

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(load("main HS256 " HEX64 "\n", modes[i]), -EACCES);
		assert_non_null(strstr(error, path));
		assert_non_null(strstr(error, "chmod"));
		assert_int_equal(keys.count, 0);
	}
}

static void
what_is_not_a_regular_file_is_refused_by_name(void **state)
{
	(void)state;
	unlink(path);
	assert_int_equal(hb_jwt_keys_load(&keys, path, error), -ENOENT);
	assert_non_null(strstr(error, path));
	assert_int_equal(hb_jwt_keys_load(&keys, directory, error), -EINVAL);
	assert_int_equal(mkfifo(path, 0400), 0);
	assert_int_equal(hb_jwt_keys_load(&keys, path, error), -EINVAL);
	assert_non_null(strstr(error, "regular file"));
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(hb_jwt_keys_load(&keys, path, error), -ELOOP);
	assert_non_null(strstr(error, path));
}

static void
broken_lines_are_refused_with_their_number_and_never_quoted(void **state)
{
	static const char *const lines[] = {
		"main",
		"main HS256",
		"main HS256 " HEX64 " more",
		"main HS512 " HEX64,
		"main none " HEX64,
		"main hs256 " HEX64,
		"main HS256 0011",
		"main HS256 " HEX64 "0",
		"main HS256 zz" HEX64,
		"main EdDSA " HEX64 "00",
		"ma/in HS256 " HEX64,
		"good HS256 " HEX64,
		"a123456789012345678901234567890123456789012345678901234567890123456 HS256 " HEX64,
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "good HS256 " HEX64 "\n%s\n", lines[i]);
		if (load(text, 0400) != -EINVAL)
			fail_msg("took the line: %s", lines[i]);
		assert_non_null(strstr(error, "line 2"));
		assert_non_null(strstr(error, path));
		assert_null(strstr(error, "00112233"));
		assert_int_equal(keys.count, 0);
	}
}

static void
a_file_without_keys_or_with_too_many_is_refused(void **state)
{
	char text[HB_JWT_KEY_FILE_BYTES_MAX + 2] = "";
	size_t length = 0;

	(void)state;
	assert_int_equal(load("", 0400), -EINVAL);
	assert_int_equal(load("# nothing\n", 0400), -EINVAL);
	for (int i = 0; i <= HB_JWT_KEYS_MAX; i++) {
		if (i > 0)
			assert_int_equal(load(text, 0400), 0);
		length += (size_t)snprintf(
			text + length, sizeof(text) - length, "k%d HS256 " HEX64 "\n", i);
	}
	assert_int_equal(load(text, 0400), -EINVAL);
	memset(text, '\n', sizeof(text) - 1);
	assert_int_equal(load(text, 0400), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_both_kinds_comments_and_blank_lines_are_read),
		cmocka_unit_test(a_file_without_a_final_newline_is_read),
		cmocka_unit_test(a_file_that_others_have_rights_on_is_refused_by_name),
		cmocka_unit_test(what_is_not_a_regular_file_is_refused_by_name),
		cmocka_unit_test(broken_lines_are_refused_with_their_number_and_never_quoted),
		cmocka_unit_test(a_file_without_keys_or_with_too_many_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
