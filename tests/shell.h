/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * For tests: run a shell command.
 */
#ifndef HB_TESTS_SHELL_H
#define HB_TESTS_SHELL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/** Run the command; the test fails when it does. */
__attribute__((format(printf, 1, 2))) static inline void
shell(const char *format, ...)
{
	char command[2048];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	assert_in_range(length, 1, sizeof(command) - 1);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

#endif
