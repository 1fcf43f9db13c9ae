/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences about plans and the open-loop load (perf/plan.h, perf/load.h), against a small HTTP
 * server in a thread of this process on a port of the loopback interface.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "perf/load.h"
#include "tests/perf/listener.h"

#define REQUESTS	300
#define RATE_PER_S	1000.0
#define CONNECTIONS	4
#define STALL_AT	100
#define STALL_MS	200
#define CONNECTIONS_MAX 64

static char plan_path[] = "/tmp/hongbao-plan-XXXXXX";

/* What the server does. */
enum manner {
	MANNER_OK,
	MANNER_STALL,	/* answers nobody for STALL_MS after STALL_AT requests */
	MANNER_REFUSE,	/* every tenth: 410 sold_out */
	MANNER_HANG_UP, /* closes instead of the answer to every tenth */
	MANNER_CLOSE,	/* answers every tenth with Connection: close, in two pieces */
};

struct server {
	pthread_t thread;
	int listen_fd;
	char port[8];
	enum manner manner;
	uint32_t served;

	_Atomic bool stop;
};

static const char answer_ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n"
				"{\"status\":\"ok\",\"amount_fen\":  5}";
static const char answer_close[] = "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 15"
				   "\r\n\r\n{\"status\":\"ok\"}";
static const char answer_sold_out[] = "HTTP/1.1 410 Gone\r\nContent-Length: 21\r\n\r\n"
				      "{\"status\":\"sold_out\"}";

static void
send_text(int fd, const char *text, size_t length)
{
	assert_int_equal(send(fd, text, length, MSG_NOSIGNAL), (int)length);
}

/* One request came; false when the connection is to be closed. */
static bool
serve(struct server *server, int fd)
{
	bool tenth = ++server->served % 10 == 0;
	enum manner manner = server->manner;

	if (manner == MANNER_STALL && server->served == STALL_AT)
		usleep(STALL_MS * 1000);
	if (manner == MANNER_HANG_UP && tenth)
		return false;
	if (manner == MANNER_CLOSE && tenth) {
		send_text(fd, answer_close, 30);
		usleep(1000);
		send_text(fd, answer_close + 30, strlen(answer_close) - 30);
		return false;
	}
	if (manner == MANNER_REFUSE && tenth)
		send_text(fd, answer_sold_out, strlen(answer_sold_out));
	else
		send_text(fd, answer_ok, strlen(answer_ok));
	return true;
}

static void *
server_run(void *context)
{
	struct server *server = context;
	struct pollfd polled[CONNECTIONS_MAX] = {{.fd = server->listen_fd, .events = POLLIN}};
	nfds_t count = 1;
	char bytes[8192];

	while (!server->stop) {
		if (poll(polled, count, 20) <= 0)
			continue;
		for (nfds_t i = count - 1; i > 0; i--) {
			if (polled[i].revents == 0)
				continue;
			ssize_t n = recv(polled[i].fd, bytes, sizeof(bytes), 0);

			if (n > 0 && serve(server, polled[i].fd))
				continue;
			close(polled[i].fd);
			polled[i] = polled[--count];
		}
		if (polled[0].revents != 0 && count < CONNECTIONS_MAX) {
			polled[count].fd = accept(server->listen_fd, NULL, NULL);
			polled[count].events = POLLIN;
			polled[count++].revents = 0;
		}
	}
	for (nfds_t i = 0; i < count; i++)
		close(polled[i].fd);
	return NULL;
}

static void
server_start(struct server *server, enum manner manner)
{
	memset(server, 0, sizeof(*server));
	server->manner = manner;
	server->listen_fd = listen_on_loopback(server->port, CONNECTIONS_MAX);
	assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void
server_stop(struct server *server)
{
	server->stop = true;
	pthread_join(server->thread, NULL);
}

static void
write_all(int fd, const void *bytes, size_t length)
{
	assert_int_equal(write(fd, bytes, length), (int)length);
}

/* Plan of REQUESTS requests over two headers. Returns its length. */
static long
write_plan(void)
{
	static const char line[] = "POST /x HTTP/1.1\r\n", body[] = "{\"a\":1}";
	static const char *const headers[] = {"Host: a\r\n", "Host: b\r\nX: 1\r\n"};
	uint32_t counts[2] = {2, REQUESTS};
	int fd = open(plan_path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	write_all(fd, HB_PLAN_MAGIC, 8);
	write_all(fd, counts, sizeof(counts));
	for (size_t i = 0; i < 2; i++) {
		uint32_t length = (uint32_t)strlen(headers[i]);

		write_all(fd, &length, 4);
		write_all(fd, headers[i], length);
	}
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t header = i % 2;
		uint16_t lengths[2] = {sizeof(line) - 1, sizeof(body) - 1};

		write_all(fd, &header, 4);
		write_all(fd, lengths, 4);
		write_all(fd, line, lengths[0]);
		write_all(fd, body, lengths[1]);
	}
	long length = lseek(fd, 0, SEEK_CUR);

	close(fd);
	return length;
}

static int
plan_setup(void **state)
{
	int fd = mkstemp(plan_path);

	(void)state;
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int
plan_teardown(void **state)
{
	(void)state;
	return unlink(plan_path);
}

/** @return how many requests the server saw */
static uint32_t
run_patiently(struct hb_load *load, struct hb_plan *plan, enum manner manner, uint32_t patience_ms)
{
	struct server server;
	char error[256] = "";

	write_plan();
	assert_int_equal(hb_plan_open(plan, plan_path, error), 0);
	server_start(&server, manner);
	memset(load, 0, sizeof(*load));
	load->plan = plan;
	snprintf(load->host, sizeof(load->host), "127.0.0.1");
	snprintf(load->port, sizeof(load->port), "%s", server.port);
	load->connection_count = CONNECTIONS;
	load->rate_per_s = RATE_PER_S;
	load->request_count = REQUESTS;
	load->seed = 42;
	load->timeout_ms = 10000; /* the machine may be busy */
	load->drain_ms = 10000;
	load->patience_ms = patience_ms;
	load->whole_answers = true;
	assert_int_equal(hb_load_run(load, error), 0);
	server_stop(&server);
	hb_plan_close(plan);
	return server.served;
}

static void
run_against(struct hb_load *load, struct hb_plan *plan, enum manner manner)
{
	run_patiently(load, plan, manner, 0);
}

static void
a_request_is_line_shared_header_length_and_body(void **state)
{
	static const char wanted[] = "POST /x HTTP/1.1\r\nHost: b\r\nX: 1\r\n"
				     "Content-Length: 7\r\n\r\n{\"a\":1}";
	uint8_t out[HB_PLAN_REQUEST_BYTES_MAX];
	struct hb_plan plan;
	char error[256];

	(void)state;
	write_plan();
	assert_int_equal(hb_plan_open(&plan, plan_path, error), 0);
	assert_int_equal(plan.request_count, REQUESTS);
	assert_int_equal(hb_plan_request(&plan, 1, out), strlen(wanted));
	assert_memory_equal(out, wanted, strlen(wanted));
	hb_plan_close(&plan);
}

static void
a_plan_cut_anywhere_is_refused(void **state)
{
	struct hb_plan plan;
	char error[256];
	long whole = write_plan();

	(void)state;
	for (long length = whole - 1; length >= 0; length -= length > 200 ? 97 : 1) {
		assert_int_equal(truncate(plan_path, length), 0);
		assert_int_not_equal(hb_plan_open(&plan, plan_path, error), 0);
	}
}

static void
every_request_is_sent_once_and_every_answer_counted(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	run_against(&load, &plan, MANNER_OK);
	assert_int_equal(load.accepted, REQUESTS);
	assert_int_equal(hb_load_failed(&load), 0);
	assert_int_equal(load.latency.count, REQUESTS);
	assert_int_equal(load.amount_fen_sum, REQUESTS * 5);
	assert_int_equal(load.outcomes[0].count, REQUESTS);
	assert_string_equal(load.outcomes[0].status, "ok");
	/* The last of 300 arrivals at 1000/s falls on 0.3 s, whatever the seed. */
	assert_in_range(load.schedule_ns, 299990000, 300010000);
}

static void
a_stalled_server_is_charged_for_every_request_it_held_up(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	run_against(&load, &plan, MANNER_STALL);
	assert_int_equal(load.accepted, REQUESTS);
	/* 200 requests were due while nobody was answered; a closed loop would see CONNECTIONS. */
	uint64_t late = hb_histogram_percentile(&load.latency, 750000);

	assert_true(late >= 50000000);
	assert_true(load.latency.max >= STALL_MS * 900000ull);
}

static void
a_request_out_of_patience_is_not_sent_and_leaves_its_line_to_the_next(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	uint32_t served = run_patiently(&load, &plan, MANNER_STALL, STALL_MS / 4);

	assert_true(load.given_up > 0);
	assert_int_equal(load.sent + load.given_up, REQUESTS);
	assert_int_equal(load.accepted, load.sent);
	assert_int_equal(served, load.sent);
	assert_int_equal(hb_load_failed(&load), 0);
}

static void
refusals_are_told_apart_from_acceptance(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	run_against(&load, &plan, MANNER_REFUSE);
	assert_int_equal(load.refused, REQUESTS / 10);
	assert_int_equal(load.accepted, REQUESTS - REQUESTS / 10);
	assert_int_equal(hb_load_failed(&load), REQUESTS / 10);
	assert_int_equal(load.outcomes[1].http, 410);
	assert_string_equal(load.outcomes[1].status, "sold_out");
}

static void
a_hang_up_instead_of_an_answer_is_an_error_and_the_load_goes_on(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	run_against(&load, &plan, MANNER_HANG_UP);
	assert_int_equal(load.errors.reset, REQUESTS / 10);
	assert_int_equal(load.accepted, REQUESTS - REQUESTS / 10);
}

static void
a_closed_loop_sends_from_the_first_wanted_request_until_its_time_is_over(void **state)
{
	static struct hb_load load;
	struct server server;
	struct hb_plan plan;
	char error[256] = "";

	(void)state;
	write_plan();
	assert_int_equal(hb_plan_open(&plan, plan_path, error), 0);
	server_start(&server, MANNER_STALL);
	load = (struct hb_load){.plan = &plan,
		.host = "127.0.0.1",
		.connection_count = 1,
		.closed = true,
		.duration_ms = STALL_MS / 2, /* the server stands still when it is over */
		.request_first = 10,
		.request_count = REQUESTS - 10,
		.timeout_ms = 1000,
		.whole_answers = true};
	snprintf(load.port, sizeof(load.port), "%s", server.port);
	assert_int_equal(hb_load_run(&load, error), 0);
	server_stop(&server);
	hb_plan_close(&plan);
	assert_int_equal(load.accepted, load.sent);
	assert_in_range(load.sent, 1, REQUESTS - 11); /* not all: the time was over */
	assert_int_equal(load.request_count, load.sent);
	assert_int_equal(hb_load_failed(&load), 0);
}

static void
an_answer_in_pieces_that_closes_its_connection_counts(void **state)
{
	static struct hb_load load;
	struct hb_plan plan;

	(void)state;
	run_against(&load, &plan, MANNER_CLOSE);
	assert_int_equal(load.accepted, REQUESTS);
	assert_int_equal(hb_load_failed(&load), 0);
	assert_in_range(load.reconnects, 1, REQUESTS / 10);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_line_shared_header_length_and_body),
		cmocka_unit_test(a_plan_cut_anywhere_is_refused),
		cmocka_unit_test(every_request_is_sent_once_and_every_answer_counted),
		cmocka_unit_test(a_stalled_server_is_charged_for_every_request_it_held_up),
		cmocka_unit_test(
			a_request_out_of_patience_is_not_sent_and_leaves_its_line_to_the_next),
		cmocka_unit_test(refusals_are_told_apart_from_acceptance),
		cmocka_unit_test(a_hang_up_instead_of_an_answer_is_an_error_and_the_load_goes_on),
		cmocka_unit_test(an_answer_in_pieces_that_closes_its_connection_counts),
		cmocka_unit_test(
			a_closed_loop_sends_from_the_first_wanted_request_until_its_time_is_over),
	};

	return cmocka_run_group_tests(tests, plan_setup, plan_teardown);
}
