/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSV as RFC 4180 has it, what breaks its rules, and amounts in yuan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shm/limits.h"
#include "tools/hbctl/csv.h"
#include "tools/hbctl/hbctl.h"

#define RANDOM_FILES 2000

static struct hbctl_csv csv;
static struct hbctl_csv_record record;

static void
expect_record(uint64_t line, uint32_t count, ...)
{
	va_list fields;

	assert_true(hbctl_csv_next(&csv, &record));
	assert_null(record.error);
	assert_int_equal(record.line, line);
	assert_int_equal(record.count, count);
	va_start(fields, count);
	for (uint32_t i = 0; i < count; i++)
		assert_string_equal(record.field[i], va_arg(fields, const char *));
	va_end(fields);
}

static void
begin(const char *text)
{
	hbctl_csv_begin(&csv, text, strlen(text));
}

static void
records_are_lines_with_fields_between_commas(void **state)
{
	(void)state;
	begin("\xef\xbb\xbf"
	      "a,b,c\r\n1,,3\n\r\n\n,\r\nlast");
	expect_record(1, 3, "a", "b", "c");
	expect_record(2, 3, "1", "", "3");
	expect_record(5, 2, "", "");
	expect_record(6, 1, "last");
	assert_false(hbctl_csv_next(&csv, &record));
	begin("");
	assert_false(hbctl_csv_next(&csv, &record));
	begin("\xef\xbb\xbf");
	assert_false(hbctl_csv_next(&csv, &record));
}

static void
quotes_hold_commas_quotes_and_line_ends(void **state)
{
	(void)state;
	begin("\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",\"\"\r\nx,\"\"\"\"\n");
	expect_record(1, 4, "a,b", "say \"hi\"", "two\r\nlines", "");
	assert_int_equal(record.begin, 0);
	assert_int_equal(record.end, 34);
	expect_record(3, 2, "x", "\"");
	assert_false(hbctl_csv_next(&csv, &record));
}

static void
what_breaks_the_rules_is_told_and_the_next_record_is_read(void **state)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{"\"a\"b,c\nx,y\n", "behind a closing quote"},
		{"a\"b,c\nx,y\n", "a quote stands inside"},
		{"a\rb,c\nx,y\n", "a carriage return"},
		{"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\nx,y\n", "more than 16 fields"},
	};
	char *text = malloc(2 * HBCTL_CSV_RECORD_BYTES_MAX);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(cases[i].text);
		assert_true(hbctl_csv_next(&csv, &record));
		assert_non_null(strstr(record.error, cases[i].error));
		expect_record(2, 2, "x", "y");
	}
	begin("a,\"never closed\nx,y\n");
	assert_true(hbctl_csv_next(&csv, &record));
	assert_string_equal(record.error, "a quote is never closed");
	assert_false(hbctl_csv_next(&csv, &record));
	hbctl_csv_begin(&csv, "a\0b\nx,y\n", 8);
	assert_true(hbctl_csv_next(&csv, &record));
	assert_string_equal(record.error, "the record has a zero byte");
	expect_record(2, 2, "x", "y");
	assert_non_null(text);
	memset(text, 'a', HBCTL_CSV_RECORD_BYTES_MAX);
	memcpy(text + HBCTL_CSV_RECORD_BYTES_MAX, ",b\nx,y", 7);
	begin(text);
	assert_true(hbctl_csv_next(&csv, &record));
	assert_non_null(strstr(record.error, "longer than"));
	expect_record(2, 2, "x", "y");
	free(text);
}

/* What is written as a field in quotes comes back; whatever stands in a file, reading it ends. */
static void
any_text_comes_back_from_quotes_and_any_file_ends(void **state)
{
	static const char alphabet[] = "ab,\"\r\n\xe7\xba\xa2 1";
	unsigned seed = (unsigned)time(NULL);
	char text[64];

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int n = 0; n < RANDOM_FILES; n++) {
		size_t length = (size_t)random() % (sizeof(text) - 1);
		char *written = NULL;
		size_t bytes = 0;
		FILE *file = open_memstream(&written, &bytes);

		for (size_t i = 0; i < length; i++)
			text[i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
		text[length] = '\0';
		hbctl_csv_write(file, text, length);
		fputs(",x\n", file);
		fclose(file);
		hbctl_csv_begin(&csv, written, bytes);
		expect_record(1, 2, text, "x");
		assert_false(hbctl_csv_next(&csv, &record));
		free(written);
		hbctl_csv_begin(&csv, text, length);
		for (size_t records = 0; hbctl_csv_next(&csv, &record); records++)
			assert_true(records <= length && record.end >= record.begin);
	}
}

static void
amounts_are_yuan_with_at_most_two_decimals(void **state)
{
	static const struct {
		const char *text;
		int64_t fen;
	} good[] = {{"0", 0}, {"1", 100}, {"0.01", 1}, {"0.1", 10}, {"12.34", 1234},
		{"12.05", 1205}, {"1000000000", HB_CREDIT_FEN_MAX},
		{"999999999.99", HB_CREDIT_FEN_MAX - 1}};
	static const char *const bad[] = {"", ".", ".5", "1.", "1.234", "-1", "+1", "1,5", "1e3",
		" 1", "1 ", "0x10", "1000000000.01", "1000000001", "99999999999999999999",
		"18446744073709551616", "1.-1", "1.2.3", "1.+1"};
	int64_t fen;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(hbctl_parse_money(good[i].text, HB_CREDIT_FEN_MAX, &fen));
		assert_int_equal(fen, good[i].fen);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (hbctl_parse_money(bad[i], HB_CREDIT_FEN_MAX, &fen))
			fail_msg("'%s' became %lld", bad[i], (long long)fen);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_lines_with_fields_between_commas),
		cmocka_unit_test(quotes_hold_commas_quotes_and_line_ends),
		cmocka_unit_test(what_breaks_the_rules_is_told_and_the_next_record_is_read),
		cmocka_unit_test(any_text_comes_back_from_quotes_and_any_file_ends),
		cmocka_unit_test(amounts_are_yuan_with_at_most_two_decimals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
