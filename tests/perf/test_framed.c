/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences about the framed load (perf/framed.h), against a small server of frames in a thread of
 * this process on a port of the loopback interface.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/framed.h"
#include "shm/frame.h"
#include "shm/token.h"
#include "tests/perf/listener.h"

#define USERS	   3
#define GRABS	   300
#define FIRST_USER UINT64_C(3000000000000)
#define AMOUNT_FEN 5
#define HANG_UP_AT 100

static char grabs_path[] = "/tmp/hongbao-grabs-XXXXXX";
static char tokens_path[] = "/tmp/hongbao-tokens-XXXXXX";

enum manner {
	MANNER_BACKWARDS, /* answers what it has read in the opposite order */
	MANNER_SOLD_OUT,  /* refuses every tenth */
	MANNER_HANG_UP,	  /* ends the first user's connection at the grab HANG_UP_AT */
	MANNER_NO_HELLO,  /* believes nobody */
	MANNER_TWICE,	  /* answers every frame two times */
};

struct server {
	pthread_t thread;
	int listen_fd;
	char port[8];
	enum manner manner;
	uint32_t served;
	uint32_t together_max; /* frames of a connection that were there at once */
	_Atomic bool stop;
};

static void
write_files(void)
{
	FILE *grabs = fopen(grabs_path, "we");
	FILE *tokens = fopen(tokens_path, "we");

	assert_non_null(grabs);
	assert_non_null(tokens);
	for (uint64_t i = 0; i < GRABS; i++) {
		struct hb_token token = {
			.operation = HB_OP_GRAB, .id = UINT64_C(1790000000000) << 14 | i, .mac = i};
		char text[HB_TOKEN_TEXT_MAX];
		uint64_t user = FIRST_USER + (i * 7 + i / 10) % USERS;

		hb_token_format(text, &token, 0, user);
		fprintf(grabs, "%llu %016llx %s %llu\n", (unsigned long long)user,
			(unsigned long long)(1ull << 56 | i), text,
			(unsigned long long)(10000 + i));
	}
	for (int i = 0; i < USERS; i++)
		fprintf(tokens, "token-of-%d\n", i);
	assert_int_equal(fclose(grabs), 0);
	assert_int_equal(fclose(tokens), 0);
}

/* Answer the whole frames of one read. False when the connection is to be closed. */
static bool
serve(struct server *server, int fd, const uint8_t *bytes, size_t length)
{
	struct hb_reply replies[2 * HB_FRAMED_IN_FLIGHT_MAX];
	size_t count = length / sizeof(struct hb_frame), told = 0;

	if (bytes[1] != HB_OP_GRAB) {
		struct hb_reply hello = {.length = sizeof(hello),
			.status = server->manner == MANNER_NO_HELLO ? HB_STATUS_UNAUTHORIZED
								    : HB_STATUS_OK};

		assert_int_equal(length % 64, 0);
		assert_memory_equal(bytes + sizeof(struct hb_frame), "token-of-", 9);
		return send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello);
	}
	assert_int_equal(length % sizeof(struct hb_frame), 0);
	assert_in_range(count, 1, HB_FRAMED_IN_FLIGHT_MAX);
	if (count > server->together_max)
		server->together_max = (uint32_t)count;
	for (size_t i = count; i-- > 0;) {
		struct hb_frame frame;

		memcpy(&frame, bytes + i * sizeof(frame), sizeof(frame));
		assert_int_equal(frame.sequence, 10000 + frame.correlation);
		assert_int_equal(frame.target, 1ull << 56 | frame.correlation);
		if (server->manner == MANNER_HANG_UP && ++server->served == HANG_UP_AT)
			return false;
		for (int again = 0; again <= (server->manner == MANNER_TWICE); again++)
			replies[told++] = (struct hb_reply){.version = HB_FRAME_VERSION,
				.operation = HB_OP_GRAB,
				.length = sizeof(struct hb_reply),
				.status = server->manner == MANNER_SOLD_OUT &&
							  frame.correlation % 10 == 0
						  ? HB_STATUS_SOLD_OUT
						  : HB_STATUS_OK,
				.correlation = frame.correlation,
				.amount_fen = AMOUNT_FEN};
	}
	return send(fd, replies, told * sizeof(replies[0]), MSG_NOSIGNAL) >= 0;
}

static void *
server_main(void *context)
{
	struct server *server = context;
	struct pollfd fds[1 + USERS] = {{.fd = server->listen_fd, .events = POLLIN}};
	nfds_t count = 1;
	uint8_t bytes[16384];

	while (!server->stop) {
		if (poll(fds, count, 5) <= 0)
			continue;
		if ((fds[0].revents & POLLIN) != 0 && count <= USERS)
			fds[count++] = (struct pollfd){
				.fd = accept(server->listen_fd, NULL, NULL), .events = POLLIN};
		for (nfds_t i = 1; i < count; i++) {
			if (fds[i].fd < 0 || (fds[i].revents & (POLLIN | POLLHUP)) == 0)
				continue;
			ssize_t n = recv(fds[i].fd, bytes, sizeof(bytes), MSG_DONTWAIT);

			if (n > 0 && serve(server, fds[i].fd, bytes, (size_t)n))
				continue;
			close(fds[i].fd);
			fds[i].fd = -1;
		}
	}
	for (nfds_t i = 1; i < count; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	return NULL;
}

static void
server_start(struct server *server, enum manner manner)
{
	*server = (struct server){.manner = manner};
	server->listen_fd = listen_on_loopback(server->port, USERS);
	assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void
server_stop(struct server *server)
{
	server->stop = true;
	pthread_join(server->thread, NULL);
	close(server->listen_fd);
}

static int
run_against(struct hb_load *load, enum manner manner, bool closed, struct server *server,
	uint64_t *lines, char error[256])
{
	struct hb_framed framed = {0};

	assert_int_equal(hb_framed_open(&framed, grabs_path, tokens_path, error), 0);
	assert_int_equal(framed.grab_count, GRABS);
	framed.in_flight = 16;
	server_start(server, manner);
	*load = (struct hb_load){.host = "127.0.0.1",
		.rate_per_s = 3000,
		.closed = closed,
		.duration_ms = 5000,
		.request_count = GRABS,
		.seed = 1,
		.timeout_ms = 2000,
		.drain_ms = 2000};
	snprintf(load->port, sizeof(load->port), "%s", server->port);
	int result = hb_framed_run(&framed, load, lines, error);

	server_stop(server);
	hb_framed_close(&framed);
	return result;
}

static void
every_grab_of_an_open_loop_is_sent_once_and_answers_come_in_any_order(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_equal(run_against(&load, MANNER_BACKWARDS, false, &server, &lines, error), 0);
	assert_int_equal(load.sent, GRABS);
	assert_int_equal(load.accepted, GRABS);
	assert_int_equal(load.latency.count, GRABS);
	assert_int_equal(load.amount_fen_sum, GRABS * AMOUNT_FEN);
	assert_int_equal(hb_load_failed(&load), 0);
	assert_int_equal(lines, GRABS);
	assert_in_range(load.schedule_ns, 99000000, 101000000);
}

static void
a_closed_loop_keeps_frames_under_way_and_ends_when_a_user_has_no_more(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_equal(run_against(&load, MANNER_BACKWARDS, true, &server, &lines, error), 0);
	assert_int_equal(load.accepted, load.sent);
	assert_in_range(load.sent, GRABS / USERS, GRABS);
	assert_in_range(lines, load.sent, GRABS);
	assert_int_equal(hb_load_failed(&load), 0);
	assert_in_range(server.together_max, 2, 16);
}

static void
refusals_are_told_by_their_status(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_equal(run_against(&load, MANNER_SOLD_OUT, false, &server, &lines, error), 0);
	assert_int_equal(load.refused, GRABS / 10);
	assert_int_equal(load.accepted, GRABS - GRABS / 10);
	assert_string_equal(load.outcomes[0].status, "sold_out");
	assert_int_equal(hb_load_failed(&load), GRABS / 10);
}

static void
a_connection_that_ends_leaves_resets_and_what_was_not_sent(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_equal(run_against(&load, MANNER_HANG_UP, false, &server, &lines, error), 0);
	assert_true(load.errors.reset > 0);
	assert_true(load.errors.unsent > 0);
	assert_int_equal(load.accepted + load.errors.reset + load.errors.unsent, GRABS);
}

static void
an_answer_that_nobody_waits_for_ends_the_connection(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_equal(run_against(&load, MANNER_TWICE, true, &server, &lines, error), 0);
	assert_true(load.errors.protocol > 0);
}

static void
a_user_token_that_is_not_accepted_is_told(void **state)
{
	static struct hb_load load;
	struct server server;
	uint64_t lines = 0;
	char error[256];

	(void)state;
	assert_int_not_equal(run_against(&load, MANNER_NO_HELLO, true, &server, &lines, error), 0);
	assert_non_null(strstr(error, "user token"));
}

static void
a_line_that_is_no_grab_and_a_user_without_token_are_refused(void **state)
{
	struct hb_framed framed = {0};
	char error[256] = "";

	(void)state;
	assert_int_not_equal(hb_framed_open(&framed, tokens_path, tokens_path, error), 0);
	assert_non_null(strstr(error, "not lines of user, packet, token and sequence"));
	FILE *tokens = fopen(tokens_path, "we");

	assert_non_null(tokens);
	fputs("token-of-0\n", tokens);
	assert_int_equal(fclose(tokens), 0);
	assert_int_not_equal(hb_framed_open(&framed, grabs_path, tokens_path, error), 0);
	assert_non_null(strstr(error, "has no user token"));
	assert_int_not_equal(hb_framed_open(&framed, grabs_path, "/no/such/file", error), 0);
	assert_non_null(strstr(error, "/no/such/file"));
}

static int
files_setup(void **state)
{
	(void)state;
	int grabs = mkstemp(grabs_path), tokens = mkstemp(tokens_path);

	if (grabs < 0 || tokens < 0)
		return -1;
	close(grabs);
	close(tokens);
	write_files();
	return 0;
}

static int
files_teardown(void **state)
{
	(void)state;
	unlink(tokens_path);
	return unlink(grabs_path);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_grab_of_an_open_loop_is_sent_once_and_answers_come_in_any_order),
		cmocka_unit_test(
			a_closed_loop_keeps_frames_under_way_and_ends_when_a_user_has_no_more),
		cmocka_unit_test(refusals_are_told_by_their_status),
		cmocka_unit_test(a_connection_that_ends_leaves_resets_and_what_was_not_sent),
		cmocka_unit_test(an_answer_that_nobody_waits_for_ends_the_connection),
		cmocka_unit_test(a_user_token_that_is_not_accepted_is_told),
		cmocka_unit_test(a_line_that_is_no_grab_and_a_user_without_token_are_refused),
	};

	return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
