/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Clients that die, do not read, or may not do what they ask; and full parking.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node.h"

#define SENDER UINT64_C(1001)

static struct node node;
static struct hb_client *control;

static int
setup(void **state)
{
	(void)state;
	node_start(&node, 2, 64);
	control = node_client(&node, "control");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	hb_client_close(control);
	node_stop(&node);
	return 0;
}

static void
full_parking_answers_busy_and_the_rest_follows_the_commit(void **state)
{
	struct hb_frame_packet_create create;
	struct tally t = {0};
	struct hb_frame frame;

	(void)state;
	fund(control, SENDER, 100);
	atomic_store(&node.persist.hold, true);
	/* The record that everything behind it waits for. */
	frame_begin(&create, HB_OP_PACKET_CREATE, sizeof(create), SENDER, SENDER);
	create.head.group = 7;
	create.kind = HB_PACKET_LUCKY;
	create.algorithm = HB_SPLIT_SEED;
	create.count = 5;
	create.total_fen = 50;
	assert_int_equal(hb_client_send(control, &create.head), 0);
	for (uint32_t i = 0; i < 200; i++) {
		frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), SENDER, SENDER);
		assert_int_equal(hb_client_send(control, &frame), 0);
	}
	hb_client_flush(control);
	tally_collect(control, &t, 201, 60);
	assert_int_equal(t.ok, 0);
	assert_int_equal(t.busy, 201 - 64);
	atomic_store(&node.persist.hold, false);
	tally_collect(control, &t, 201, 2000);
	assert_int_equal(t.ok, 64);
	assert_int_equal(t.busy, 201 - 64);
	assert_int_equal(counter(control, HB_COUNTER_PARKED), 0);
}

static void
a_dead_client_leaves_its_slot_and_others_go_on(void **state)
{
	struct hb_frame frame;
	int status;
	pid_t child;

	(void)state;
	fund(control, SENDER, 100);
	for (int i = 0; i < 300; i++) { /* more than dataplane.clients_max */
		struct hb_client *client = node_client_sized(&node, 4096, 4096);

		frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), SENDER, SENDER);
		assert_int_equal(hb_client_send(client, &frame), 0);
		hb_client_flush(client);
		hb_client_close(client);
	}
	child = fork();
	if (child == 0) {
		struct hb_client *client = node_client_sized(&node, 4096, 4096);

		for (;;) {
			frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), SENDER, SENDER);
			hb_client_send(client, &frame);
			hb_client_flush(client);
		}
	}
	/* control itself, the 300, and the child, which dies with its rings in use */
	for (int i = 0; i < 5000 && counter(control, HB_COUNTER_CLIENTS_ATTACHED) < 302; i++)
		usleep(1000);
	usleep(20000);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	assert_int_equal(balance(control, SENDER), 100);
	for (int i = 0; i < 1000 && counter(control, HB_COUNTER_CLIENTS_DETACHED) < 301; i++)
		usleep(1000);
	assert_int_equal(counter(control, HB_COUNTER_CLIENTS_DETACHED), 301);
}

static bool
hung_up(const struct hb_client *client, int timeout_ms)
{
	struct pollfd p = {.fd = hb_client_socket_fd(client), .events = POLLIN};

	return poll(&p, 1, timeout_ms) > 0;
}

static void
a_client_that_does_not_read_is_hung_up_on_and_hinders_nobody(void **state)
{
	struct hb_client *slow = node_client_sized(&node, 4096, 4096);
	struct hb_frame frame;

	(void)state;
	fund(control, SENDER, 100);
	for (;;) {
		frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), SENDER, SENDER);
		if (hb_client_send(slow, &frame) == -EAGAIN && hung_up(slow, 0))
			break;
		hb_client_flush(slow);
		assert_int_equal(balance(control, SENDER), 100);
	}
	hb_client_close(slow);
	assert_int_equal(balance(control, SENDER), 100);
}

/* In a child of another user. @return what the child saw */
static int
as_user(uid_t uid)
{
	struct hb_frame_token issue;
	struct hb_client *client;
	union reply reply;
	char error[160] = "";
	int status;
	pid_t child;

	chmod(node.socket, 0666);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		if (setuid(uid) != 0)
			_exit(99);
		if (hb_client_open(&client, node.socket, "child", 0, 0, error) != 0)
			_exit(strstr(error, "may not attach") != NULL ? 1 : 98);
		frame_begin(&issue, HB_OP_TOKEN_ISSUE, sizeof(issue), SENDER, SENDER);
		issue.for_operation = HB_OP_TRANSFER;
		if (hb_client_operation_mask(client) != HB_OPS_FRONT)
			_exit(97);
		if (hb_client_call(client, &issue.head, &reply.head, 2000) != 0)
			_exit(96);
		_exit(reply.head.status == HB_STATUS_NOT_ALLOWED ? 2 : 95);
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void
what_a_client_may_do_comes_from_its_user(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip();
	assert_int_equal(hb_client_operation_mask(control), HB_OPS_CONTROL);
	assert_int_equal(as_user(65534), 2); /* user.front of this node */
	assert_int_equal(as_user(12345), 1);
	assert_int_equal(counter(control, HB_COUNTER_CLIENTS_REFUSED), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(full_parking_answers_busy_and_the_rest_follows_the_commit),
		TEST(a_dead_client_leaves_its_slot_and_others_go_on),
		TEST(a_client_that_does_not_read_is_hung_up_on_and_hinders_nobody),
		TEST(what_a_client_may_do_comes_from_its_user),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
