/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Unix sockets by path: who listens replaces what a dead process left, with the rights it asked
 * for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/unix_socket.h"

static char folder[] = "/tmp/unix-socket-XXXXXX";
static char path[64];

static int
set_up(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/a.sock", folder);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static void
a_client_reaches_the_listener_of_a_path(void **state)
{
	int listener = hb_unix_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, 4);
	int client = hb_unix_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK);
	int server = accept(listener, NULL, NULL);
	struct stat st;
	char byte = 0;

	(void)state;
	assert_true(listener >= 0);
	assert_true(client >= 0);
	assert_true(server >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(fcntl(client, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(send(client, "x", 1, 0), 1);
	assert_int_equal(recv(server, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	close(server);
	close(client);
	close(listener);
}

static void
what_a_dead_listener_left_is_replaced_and_refuses_until_then(void **state)
{
	int listener;

	(void)state;
	close(hb_unix_listen(path, SOCK_STREAM, 0600, 4));
	assert_int_equal(hb_unix_connect(path, SOCK_STREAM), -ECONNREFUSED);
	listener = hb_unix_listen(path, SOCK_STREAM, 0660, 4);
	assert_true(listener >= 0);
	close(hb_unix_connect(path, SOCK_STREAM));
	close(listener);
	unlink(path);
	assert_int_equal(hb_unix_connect(path, SOCK_STREAM), -ENOENT);
}

static void
a_path_that_no_socket_can_have_is_refused(void **state)
{
	char text[HB_UNIX_PATH_MAX + 2];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(hb_unix_listen(text, SOCK_STREAM, 0600, 4), -ENAMETOOLONG);
	assert_int_equal(hb_unix_connect(text, SOCK_STREAM), -ENAMETOOLONG);
	text[sizeof(text) - 2] = '\0';
	assert_int_equal(hb_unix_connect(text, SOCK_STREAM), -ENOENT);
	assert_int_equal(hb_unix_listen("/nowhere/a.sock", SOCK_STREAM, 0600, 4), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_reaches_the_listener_of_a_path),
		cmocka_unit_test(what_a_dead_listener_left_is_replaced_and_refuses_until_then),
		cmocka_unit_test(a_path_that_no_socket_can_have_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
