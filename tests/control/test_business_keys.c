/* SPDX-License-Identifier: Apache-2.0 */
/* A key file is read only when it is ours alone and wholly understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/business_keys.h"

static char directory[] = "/tmp/control-keys-XXXXXX";
static char path[64];

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/business.keys", directory);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static int
load(const char *text, mode_t mode, struct hb_business_keys **keys, char error[256])
{
	FILE *file;

	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
	return hb_business_keys_load(keys, path, error);
}

static void
a_right_file_is_read(void **state)
{
	struct hb_business_keys *keys = NULL;
	char error[256];

	(void)state;
	assert_int_equal(load("# keys\n\ndemo 000102030405060708090a0b0c0d0e0F\n"
			      "other-1\tffffffffffffffffffffffffffffffffff\n",
				 0400, &keys, error),
		0);
	assert_int_equal(keys->count, 2);
	assert_int_equal(hb_business_key_find(keys, "demo")->secret_bytes, 16);
	assert_int_equal(hb_business_key_find(keys, "demo")->secret[15], 0x0f);
	assert_int_equal(hb_business_key_find(keys, "other-1")->secret_bytes, 17);
	assert_null(hb_business_key_find(keys, "dem"));
	hb_business_keys_free(keys);
}

static void
a_file_open_to_others_is_refused_by_name(void **state)
{
	static const mode_t modes[] = {0440, 0404, 0640, 0420, 0410};
	struct hb_business_keys *keys = NULL;
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(
			load("demo 000102030405060708090a0b0c0d0e0f\n", modes[i], &keys, error),
			-EACCES);
		assert_non_null(strstr(error, path));
	}
}

static void
what_is_no_file_is_refused(void **state)
{
	struct hb_business_keys *keys = NULL;
	char error[256];

	(void)state;
	unlink(path);
	assert_int_equal(hb_business_keys_load(&keys, path, error), -ENOENT);
	assert_non_null(strstr(error, path));
	assert_int_equal(hb_business_keys_load(&keys, directory, error), -EINVAL);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(hb_business_keys_load(&keys, path, error), -ELOOP);
}

static void
lines_that_are_not_understood_are_refused_by_number(void **state)
{
	static const char *const lines[] = {
		"demo\n",
		"demo 00\n",
		"demo 000102030405060708090a0b0c0d0e0\n",
		"demo 000102030405060708090a0b0c0d0e0g\n",
		"demo 000102030405060708090a0b0c0d0e0f more\n",
		"de/mo 000102030405060708090a0b0c0d0e0f\n",
		"a23456789012345678901234567890123 000102030405060708090a0b0c0d0e0f\n",
		"first 000102030405060708090a0b0c0d0e0f\n",
	};
	struct hb_business_keys *keys = NULL;
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char text[256];

		snprintf(
			text, sizeof(text), "first 000102030405060708090a0b0c0d0e0f\n%s", lines[i]);
		assert_int_equal(load(text, 0400, &keys, error), -EINVAL);
		assert_non_null(strstr(error, "line 2"));
	}
	assert_int_equal(load("# nothing\n", 0400, &keys, error), -EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_right_file_is_read),
		cmocka_unit_test(a_file_open_to_others_is_refused_by_name),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(lines_that_are_not_understood_are_refused_by_number),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
