/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The supervisor's protocol, read back from a socket that stands for systemd's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/notify.h"

#define SECOND UINT64_C(1000000000)

static int supervisor;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int
listen_here(void **state)
{
	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test-notify-%d", (int)getpid());
	supervisor = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return bind(supervisor, (struct sockaddr *)&address, sizeof(address));
}

static int
leave(void **state)
{
	(void)state;
	unlink(address.sun_path);
	return close(supervisor);
}

/* Next message, "" when there is none. */
static const char *
heard(void)
{
	static char text[64];
	ssize_t n = recv(supervisor, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* hb_notify_alive keeps what it read of the environment, so each case is a process of its own. */
static void
in_child(void (*work)(void))
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		work();
		_exit(0);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

static void
without_a_supervisor_nothing_is_sent(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(hb_notify_send("READY=1"), -ENOENT);
	setenv("NOTIFY_SOCKET", "relative/path", 1);
	assert_int_equal(hb_notify_send("READY=1"), -ENOENT);
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	assert_int_equal(hb_notify_send("READY=1"), -ENOENT);
	hb_notify_ready();
	assert_string_equal(heard(), "");
}

static void
ready_and_stopping_reach_the_socket(void **state)
{
	(void)state;
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	hb_notify_ready();
	hb_notify_stopping();
	assert_string_equal(heard(), "READY=1");
	assert_string_equal(heard(), "STOPPING=1");
	assert_string_equal(heard(), "");
}

static void
four_signs_in_thirty_seconds(void)
{
	setenv("WATCHDOG_USEC", "30000000", 1);
	unsetenv("WATCHDOG_PID");
	for (uint64_t ns = 100 * SECOND; ns <= 130 * SECOND; ns += SECOND / 10)
		hb_notify_alive(ns);
}

static void
signs_for_another_pid(void)
{
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	hb_notify_alive(100 * SECOND);
}

static void
signs_without_a_watchdog(void)
{
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	hb_notify_alive(100 * SECOND);
}

static void
signs_of_life_go_out_three_times_per_interval(void **state)
{
	int count = 0;

	(void)state;
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	in_child(four_signs_in_thirty_seconds);
	for (const char *text = heard(); text[0] != '\0'; text = heard(), count++)
		assert_string_equal(text, "WATCHDOG=1");
	assert_int_equal(count, 4); /* at 0, 10, 20 and 30 s */
}

static void
a_process_that_is_not_watched_gives_no_sign(void **state)
{
	(void)state;
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	in_child(signs_for_another_pid);
	in_child(signs_without_a_watchdog);
	assert_string_equal(heard(), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_supervisor_nothing_is_sent),
		cmocka_unit_test(ready_and_stopping_reach_the_socket),
		cmocka_unit_test(signs_of_life_go_out_three_times_per_interval),
		cmocka_unit_test(a_process_that_is_not_watched_gives_no_sign),
	};

	return cmocka_run_group_tests(tests, listen_here, leave);
}
