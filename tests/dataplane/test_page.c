/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * docs/frames.md is enough: a client in another language, written from it, works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node.h"

static const char *script;

static void
a_client_written_from_the_page_opens_sends_and_grabs(void **state)
{
	static struct node node;
	int status;
	pid_t child;

	(void)state;
	node_start(&node, 2, 64);
	hb_client_close(node_client(&node, "wait until it listens"));
	child = fork();
	if (child == 0) {
		execlp("python3", "python3", script, node.socket, (char *)NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 0);
	node_stop(&node);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_written_from_the_page_opens_sends_and_grabs),
	};

	script = argc > 1 ? argv[1] : "tests/dataplane/frame_client.py";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
