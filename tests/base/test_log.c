/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The log line, read back from standard error through a pipe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/log.h"

static int pipe_ends[2];
static int saved_stderr;

static int
capture(void **state)
{
	(void)state;
	saved_stderr = dup(STDERR_FILENO);
	if (pipe(pipe_ends) != 0)
		return -1;
	return dup2(pipe_ends[1], STDERR_FILENO) < 0;
}

static int
release(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	return close(saved_stderr);
}

static const char *
written(void)
{
	static char text[8192];
	ssize_t length = read(pipe_ends[0], text, sizeof(text) - 1);

	assert_true(length > 0);
	text[length] = '\0';
	return text;
}

static void
a_line_has_time_level_process_and_event(void **state)
{
	const char *text;

	(void)state;
	hb_log_open("persist", 0);
	hb_log(HB_LOG_INFO, "recovered", "seq=%d file=%s", 42, "a.log");
	text = written();
	assert_memory_equal(text, "time=2", 6);
	assert_non_null(strstr(text, "Z level=info process=persist event=recovered seq=42 "
				     "file=a.log\n"));
	hb_log(HB_LOG_ERROR, "ended", "%s", "");
	assert_non_null(strstr(written(), "level=error process=persist event=ended\n"));
}

static void
values_with_spaces_are_quoted_and_control_characters_escaped(void **state)
{
	(void)state;
	hb_log(HB_LOG_WARN, "refused", "error=%s seq=%d", "it said \"no\"\nlevel=x\x1b", 7);
	assert_non_null(strstr(
		written(), "event=refused error=\"it said \\\"no\\\"\\nlevel=x\\x1b\" seq=7\n"));
	hb_log(HB_LOG_WARN, "refused", "error=\"%s\" seq=%d", "two words", 7);
	assert_non_null(strstr(written(), "event=refused error=\"two words\" seq=7\n"));
}

static void
debug_lines_appear_only_when_asked_for(void **state)
{
	(void)state;
	hb_log_open("persist", 0);
	hb_log(HB_LOG_DEBUG, "hidden", "%s", "");
	hb_log_open("persist", 1);
	hb_log(HB_LOG_DEBUG, "shown", "%s", "");
	assert_null(strstr(written(), "hidden"));
}

static void
a_line_too_long_is_cut_and_marked(void **state)
{
	char text[4000];
	const char *line;

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	hb_log(HB_LOG_INFO, "long", "text=%s", text);
	line = written();
	assert_true(strlen(line) <= 2048);
	assert_string_equal(line + strlen(line) - 7, " cut=1\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_line_has_time_level_process_and_event, capture, release),
		cmocka_unit_test_setup_teardown(
			values_with_spaces_are_quoted_and_control_characters_escaped, capture,
			release),
		cmocka_unit_test_setup_teardown(
			debug_lines_appear_only_when_asked_for, capture, release),
		cmocka_unit_test_setup_teardown(
			a_line_too_long_is_cut_and_marked, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
