/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User tokens: the signature against the example of RFC 7515, key lines, and the rights of key
 * files.
 */
#include "tests/hbctl/harness.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

/* RFC 7515, appendix A.1: header, claims and key as given there, line ends included. */
static void
signing_gives_the_example_of_rfc_7515(void **state)
{
	static const char header[] = "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}";
	static const char claims[] = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
				     "\"http://example.com/is_root\":true}";
	static const char key_text[] =
		"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9"
		"CAow";
	uint8_t key[64];
	size_t key_bytes;
	char token[HBCTL_JWT_BYTES];

	(void)state;
	assert_int_equal(sodium_base642bin(key, sizeof(key), key_text, strlen(key_text), NULL,
				 &key_bytes, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
		0);
	assert_int_equal(hbctl_jwt_sign(token, header, claims, key, key_bytes), 0);
	assert_string_equal(token,
		"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
		"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb2"
		"90Ijp0cnVlfQ."
		"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

static void
claims_that_do_not_fit_are_refused(void **state)
{
	static char claims[HBCTL_JWT_BYTES];
	char token[HBCTL_JWT_BYTES];

	(void)state;
	memset(claims, 'x', sizeof(claims) - 1);
	for (size_t length = HBCTL_JWT_BYTES / 2; length < HBCTL_JWT_BYTES; length++) {
		int result;

		claims[length] = '\0';
		result = hbctl_jwt_sign(token, "{}", claims, (const uint8_t *)"k", 1);
		assert_true(result == 0 || result == -E2BIG);
		claims[length] = 'x';
	}
	claims[sizeof(claims) - 1] = '\0';
	assert_int_equal(hbctl_jwt_sign(token, "{}", claims, (const uint8_t *)"k", 1), -E2BIG);
}

static const char keys[] =
	"# comment\n"
	"\n"
	"edge EdDSA d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\n"
	"first HS256 00112233\n"
	"second HS256 aabbccddeeff\n";

static void
keys_are_found_by_name_or_the_first_that_can_sign(void **state)
{
	struct hbctl_jwt_key key;
	char error[HBCTL_ERROR_BYTES];

	(void)state;
	assert_int_equal(hbctl_jwt_key_find(&key, keys, NULL, error), 0);
	assert_string_equal(key.kid, "first");
	assert_int_equal(key.secret_bytes, 4);
	assert_memory_equal(key.secret, "\x00\x11\x22\x33", 4);
	assert_int_equal(hbctl_jwt_key_find(&key, keys, "second", error), 0);
	assert_int_equal(key.secret_bytes, 6);
}

static void
a_key_that_cannot_sign_says_why(void **state)
{
	struct hbctl_jwt_key key;
	char error[HBCTL_ERROR_BYTES];

	(void)state;
	assert_int_equal(hbctl_jwt_key_find(&key, keys, "edge", error), -ENOTSUP);
	assert_non_null(strstr(error, "only its public part is here"));
	assert_int_equal(hbctl_jwt_key_find(&key, keys, "third", error), -ENOENT);
	assert_string_equal(error, "there is no key 'third'");
	assert_int_equal(hbctl_jwt_key_find(&key, "", NULL, error), -ENOENT);
	assert_int_equal(hbctl_jwt_key_find(&key, "a HS256 0g\n", NULL, error), -EINVAL);
	assert_int_equal(hbctl_jwt_key_find(&key, "a HS256 012\n", NULL, error), -EINVAL);
	assert_int_equal(hbctl_jwt_key_find(&key, "a HS256\n", NULL, error), -EINVAL);
	assert_int_equal(hbctl_jwt_key_find(&key, "a HS256 00 11\n", NULL, error), -EINVAL);
}

static void
secrets_that_others_may_read_are_refused_by_name(void **state)
{
	char directory[] = "/tmp/hbctl-test-XXXXXX";
	char path[64], link[64];
	char error[HBCTL_ERROR_BYTES];
	char *text;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/jwt.keys", directory);
	snprintf(link, sizeof(link), "%s/link", directory);
	assert_null(hbctl_key_file_read(path, error));
	assert_non_null(strstr(error, path));
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(keys, file);
	fclose(file);
	assert_int_equal(chmod(path, 0640), 0);
	assert_null(hbctl_key_file_read(path, error));
	assert_non_null(strstr(error, "mode 0640"));
	assert_int_equal(chmod(path, 0400), 0);
	text = hbctl_key_file_read(path, error);
	assert_string_equal(text, keys);
	free(text);
	assert_int_equal(symlink(path, link), 0);
	assert_null(hbctl_key_file_read(link, error));
	assert_non_null(strstr(error, "a regular file is needed"));
	assert_null(hbctl_key_file_read(directory, error));
	unlink(link);
	unlink(path);
	rmdir(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signing_gives_the_example_of_rfc_7515),
		cmocka_unit_test(claims_that_do_not_fit_are_refused),
		cmocka_unit_test(keys_are_found_by_name_or_the_first_that_can_sign),
		cmocka_unit_test(a_key_that_cannot_sign_says_why),
		cmocka_unit_test(secrets_that_others_may_read_are_refused_by_name),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
