/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The header-only helpers: CRC32C against its published check value, mixing, rounding,
 * hexadecimal digits, paths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/hex.h"
#include "base/paths.h"

static void
crc32c_gives_the_published_check_value(void **state)
{
	(void)state;
	assert_int_equal(hb_crc32c("123456789", 9), 0xE3069283u);
	assert_int_equal(hb_crc32c("", 0), 0);
}

static void
mixing_keeps_zero_and_separates_neighbours(void **state)
{
	(void)state;
	assert_true(hb_mix64(0) == 0);
	assert_true(hb_mix64(1) == UINT64_C(0xb456bcfc34c2cb2c));
	assert_true(hb_mix64(1) % 16 != hb_mix64(2) % 16 || hb_mix64(2) % 16 != hb_mix64(3) % 16);
}

static void
hexadecimal_digits_are_read_whole_or_not_at_all(void **state)
{
	uint8_t bytes[3] = {0};
	char text[7];
	uint64_t value;

	(void)state;
	assert_true(hb_hex_bytes("00aBfF", bytes, 3));
	assert_memory_equal(bytes, "\x00\xab\xff", 3);
	hb_hex_text(text, bytes, 3);
	assert_string_equal(text, "00abff");
	assert_false(hb_hex_bytes("00aBf", bytes, 3));
	assert_false(hb_hex_bytes("00 Bff", bytes, 3));
	assert_true(hb_hex_u64("0123456789abcdef.raw", &value) && value == 0x0123456789abcdef);
	assert_false(hb_hex_u64("0123456789abcde", &value));
	assert_false(hb_hex_u64("0123456789ABCDEF", &value));
	assert_false(hb_hex_u64("0123456789abcdeg", &value));
}

static void
rounding_reaches_the_next_power_or_multiple(void **state)
{
	(void)state;
	assert_true(hb_power_of_two_ceil(0) == 1);
	assert_true(hb_power_of_two_ceil(1) == 1);
	assert_true(hb_power_of_two_ceil(1025) == 2048);
	assert_true(hb_is_power_of_two(4096) && !hb_is_power_of_two(0) && !hb_is_power_of_two(6));
	assert_true(hb_round_up(1, 4096) == 4096 && hb_round_up(8192, 4096) == 8192);
}

static void
a_path_is_the_directory_and_the_relative_part(void **state)
{
	char path[HB_PATH_MAX];

	(void)state;
	hb_path(path, "/var/lib/hongbao/x", HB_PATH_DATAPLANE_SOCKET);
	assert_string_equal(path, "/var/lib/hongbao/x/socket/dataplane/attach.sock");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_gives_the_published_check_value),
		cmocka_unit_test(mixing_keeps_zero_and_separates_neighbours),
		cmocka_unit_test(hexadecimal_digits_are_read_whole_or_not_at_all),
		cmocka_unit_test(rounding_reaches_the_next_power_or_multiple),
		cmocka_unit_test(a_path_is_the_directory_and_the_relative_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
