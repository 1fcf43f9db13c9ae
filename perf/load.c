/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open-loop load (load.h): schedule, connections, and just enough of HTTP to know when an
 * answer is whole and what it says. Connections and their buffers belong to the run and are freed
 * at its end.
 */
#include "perf/load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "perf/arrivals.h"

#define ANSWER_BYTES_MAX  8192
#define EVENTS_MAX	  128
#define WAIT_NS_MAX	  UINT64_C(50000000) /* look at time-outs at least this often */
#define NS_PER_MS	  UINT64_C(1000000)
#define START_AFTER_NS	  (10 * NS_PER_MS)
#define BODY_LENGTH_UNSET UINT32_MAX

struct connection {
	int fd; /* -1: closed */
	bool busy;
	uint64_t due_ns;
	uint64_t sent_ns;
	uint32_t answer_bytes;
	uint32_t head_length; /* 0 until the empty line was seen */
	uint32_t body_length;
	uint32_t send_length; /* of a request that did not leave in one piece */
	uint32_t send_done;
	char answer[ANSWER_BYTES_MAX + 1];
	uint8_t request[HB_PLAN_REQUEST_BYTES_MAX];
};

struct run {
	struct hb_load *load;
	struct addrinfo *address;
	struct connection *connections;
	uint32_t *free_list; /* indexes of connections without a request */
	uint32_t free_count;
	uint32_t busy_count;
	int epoll_fd;
	struct hb_arrivals arrivals;
	uint64_t next;	     /* request that is due next */
	uint64_t lines_used; /* of the plan: differs from next by those that were given up */
	uint64_t next_due_ns;
	uint64_t first_answer_ns;
	uint64_t last_answer_ns;
	uint64_t timeouts_checked_ns;
};

static int
connection_open(struct run *run, struct connection *connection)
{
	int one = 1;
	int fd = socket(run->address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, run->address->ai_addr, run->address->ai_addrlen) != 0)
		goto failed;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		goto failed;

	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP,
		.data.u32 = (uint32_t)(connection - run->connections)};

	if (epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		goto failed;
	connection->fd = fd;
	return 0;
failed:;
	int result = -errno;

	close(fd);
	return result;
}

static void
connection_close(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
}

static void
connection_release(struct run *run, struct connection *connection)
{
	HB_ASSERT(connection->busy);
	connection->busy = false;
	run->busy_count--;
	run->free_list[run->free_count++] = (uint32_t)(connection - run->connections);
}

static void
connection_failed(struct run *run, struct connection *connection, uint64_t *counter)
{
	(*counter)++;
	connection_close(connection);
	connection_release(run, connection);
}

/* Send what is left of a request. False when the connection is broken. */
static bool
connection_flush(struct run *run, struct connection *connection)
{
	while (connection->send_done < connection->send_length) {
		ssize_t n = send(connection->fd, connection->request + connection->send_done,
			connection->send_length - connection->send_done,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			connection->send_done += (uint32_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || errno != EAGAIN)
			return false;

		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP,
			.data.u32 = (uint32_t)(connection - run->connections)};

		return epoll_ctl(run->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) == 0;
	}
	return true;
}

/* On to the next arrival; the schedule ends where the plan does. */
static void
schedule_step(struct run *run)
{
	struct hb_load *load = run->load;

	run->next++;
	if (load->request_first + run->lines_used == load->plan->request_count)
		load->request_count = run->next;
	if (run->next < load->request_count && !load->closed)
		run->next_due_ns += hb_arrivals_gap_ns(&run->arrivals);
}

/* Requests that wait for a connection, and whose users wait no longer. */
static void
requests_give_up(struct run *run, uint64_t now)
{
	struct hb_load *load = run->load;
	uint64_t patience_ns = load->patience_ms * NS_PER_MS;

	if (patience_ns == 0)
		return;
	while (run->next < load->request_count && run->next_due_ns + patience_ns < now) {
		load->given_up++;
		schedule_step(run);
	}
}

static void
request_start(struct run *run)
{
	struct hb_load *load = run->load;
	struct connection *connection = &run->connections[run->free_list[--run->free_count]];

	connection->busy = true;
	run->busy_count++;
	connection->due_ns = load->closed ? hb_mono_ns() : run->next_due_ns;
	connection->answer_bytes = 0;
	connection->head_length = 0;
	connection->body_length = BODY_LENGTH_UNSET;
	connection->send_done = 0;
	connection->send_length = hb_plan_request(load->plan,
		(uint32_t)(load->request_first + run->lines_used++), connection->request);
	schedule_step(run);

	if (connection->fd < 0) {
		load->reconnects++;
		if (connection_open(run, connection) != 0) {
			connection_failed(run, connection, &load->errors.connect);
			return;
		}
	}
	connection->sent_ns = hb_mono_ns();
	hb_histogram_add(&load->late, connection->sent_ns > connection->due_ns
					      ? connection->sent_ns - connection->due_ns
					      : 0);
	if (!connection_flush(run, connection))
		connection_failed(run, connection, &load->errors.reset);
}

/* The value of a header, NULL when it is not there. `name` has its colon. */
static const char *
header_find(const struct connection *connection, const char *name)
{
	size_t length = strlen(name);
	const char *line = connection->answer;
	const char *end = connection->answer + connection->head_length;

	while ((line = memchr(line, '\n', (size_t)(end - line))) != NULL) {
		line++;
		if ((size_t)(end - line) > length && strncasecmp(line, name, length) == 0)
			return line + length + strspn(line + length, " ");
	}
	return NULL;
}

/* Find the end of the head and the body's length. False when this is no answer we can read. */
static bool
answer_head(struct connection *connection)
{
	char *end = memmem(connection->answer, connection->answer_bytes, "\r\n\r\n", 4);

	if (end == NULL)
		return connection->answer_bytes < ANSWER_BYTES_MAX;
	connection->head_length = (uint32_t)(end - connection->answer) + 4;
	if (connection->head_length < 16 || memcmp(connection->answer, "HTTP/1.1 ", 9) != 0)
		return false;

	const char *length = header_find(connection, "Content-Length:");
	char *length_end;

	if (length == NULL)
		return false;
	unsigned long value = strtoul(length, &length_end, 10);

	if (length_end == length || *length_end != '\r' ||
		value > ANSWER_BYTES_MAX - connection->head_length)
		return false;
	connection->body_length = (uint32_t)value;
	return true;
}

/* The body's "status" text, "" when it has none. */
static void
answer_status(const char *body, char out[32])
{
	const char *at = strstr(body, "\"status\":\"");
	size_t length = 0;

	if (at != NULL) {
		at += strlen("\"status\":\"");
		length = strcspn(at, "\"");
		if (length > 31)
			length = 31;
		memcpy(out, at, length);
	}
	out[length] = '\0';
}

void
hb_load_count_outcome(struct hb_load *load, int http, const char *status)
{
	struct hb_load_outcome *outcome = load->outcomes;
	struct hb_load_outcome *last = load->outcomes + HB_LOAD_OUTCOMES_MAX - 1;

	while (outcome < last && outcome->count > 0 &&
		(outcome->http != http || strcmp(outcome->status, status) != 0))
		outcome++;
	if (outcome->count == 0) {
		outcome->http = http;
		snprintf(outcome->status, sizeof(outcome->status), "%s", status);
	}
	outcome->count++;
}

void
hb_load_count_accepted(struct hb_load *load, uint64_t due_ns, uint64_t now_ns)
{
	uint64_t second = (due_ns - load->start_ns) / (1000 * NS_PER_MS);

	load->accepted++;
	hb_histogram_add(&load->latency, now_ns - due_ns);
	if (second < HB_LOAD_SECONDS_MAX && now_ns - due_ns > load->worst_ns[second])
		load->worst_ns[second] = now_ns - due_ns;
}

static void
answer_complete(struct run *run, struct connection *connection)
{
	struct hb_load *load = run->load;
	const char *body = connection->answer + connection->head_length;
	const char *close_wanted = header_find(connection, "Connection:");
	int http = (int)strtol(connection->answer + 9, NULL, 10);
	uint64_t now = hb_mono_ns();
	char status[32];

	connection->answer[connection->head_length + connection->body_length] = '\0';
	answer_status(body, status);
	hb_load_count_outcome(load, http, status);
	if (http == 200 && (!load->whole_answers || strcmp(status, "ok") == 0)) {
		const char *amount = strstr(body, "\"amount_fen\":");

		if (amount != NULL)
			load->amount_fen_sum += strtoull(amount + 13, NULL, 10);
		hb_load_count_accepted(load, connection->due_ns, now);
	} else {
		load->refused++;
		hb_histogram_add(&load->refusal, now - connection->sent_ns);
	}
	run->last_answer_ns = now;
	if (run->first_answer_ns == 0)
		run->first_answer_ns = now;
	if (close_wanted != NULL && strncasecmp(close_wanted, "close", 5) == 0)
		connection_close(connection);
	connection_release(run, connection);
}

static void
connection_read(struct run *run, struct connection *connection)
{
	ssize_t n = recv(connection->fd, connection->answer + connection->answer_bytes,
		ANSWER_BYTES_MAX - connection->answer_bytes, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_failed(run, connection, &run->load->errors.reset);
		return;
	}
	connection->answer_bytes += (uint32_t)n;
	if (connection->head_length == 0 && !answer_head(connection)) {
		connection_failed(run, connection, &run->load->errors.protocol);
		return;
	}
	if (connection->head_length == 0)
		return;

	uint32_t whole = connection->head_length + connection->body_length;

	if (connection->answer_bytes == whole)
		answer_complete(run, connection);
	else if (connection->answer_bytes > whole)
		connection_failed(run, connection, &run->load->errors.protocol);
}

static void
connection_event(struct run *run, struct connection *connection, uint32_t events)
{
	if (connection->fd < 0)
		return; /* closed earlier in this batch */
	if (!connection->busy) {
		connection_close(connection); /* idle and readable: the server hung up */
		return;
	}
	if ((events & EPOLLOUT) != 0) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP,
			.data.u32 = (uint32_t)(connection - run->connections)};

		if (epoll_ctl(run->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) != 0 ||
			!connection_flush(run, connection)) {
			connection_failed(run, connection, &run->load->errors.reset);
			return;
		}
	}
	if ((events & ~(uint32_t)EPOLLOUT) != 0)
		connection_read(run, connection);
}

static void
timeouts_check(struct run *run, uint64_t now)
{
	struct hb_load *load = run->load;

	if (now - run->timeouts_checked_ns < WAIT_NS_MAX)
		return;
	run->timeouts_checked_ns = now;
	for (uint32_t i = 0; i < load->connection_count; i++) {
		struct connection *connection = &run->connections[i];

		if (connection->busy && now - connection->sent_ns > load->timeout_ms * NS_PER_MS)
			connection_failed(run, connection, &load->errors.timeout);
	}
}

/* Wait for events, but not past the next arrival. */
static int
run_wait(struct run *run, struct epoll_event *events)
{
	uint64_t now = hb_mono_ns();
	uint64_t wait_ns = WAIT_NS_MAX;

	if (run->next < run->load->request_count && run->free_count > 0) {
		uint64_t tick_ns = run->load->tick_us * UINT64_C(1000);
		uint64_t wake_ns = run->next_due_ns;

		if (tick_ns > 0)
			wake_ns += tick_ns - 1 - (wake_ns + tick_ns - 1) % tick_ns;
		uint64_t left = wake_ns > now ? wake_ns - now : 0;

		if (left < wait_ns)
			wait_ns = left;
	}
	struct timespec timeout = {.tv_nsec = (long)wait_ns};

	return epoll_pwait2(run->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
}

/* Past its time a closed loop sends nothing more, and nothing may queue for ever behind the
 * expected end of a schedule. */
static void
schedule_end_check(struct run *run)
{
	struct hb_load *load = run->load;
	uint64_t now_ns = hb_mono_ns();
	uint64_t past_ns = now_ns - load->start_ns;

	if (run->next == load->request_count || now_ns < load->start_ns)
		return;
	if (load->closed) {
		if (load->duration_ms > 0 && past_ns > load->duration_ms * NS_PER_MS)
			load->request_count = run->next;
	} else if (past_ns > (uint64_t)((double)load->request_count / load->rate_per_s * 1e9) +
				     load->drain_ms * NS_PER_MS) {
		load->errors.unsent += load->request_count - run->next;
		run->next = load->request_count;
	}
}

static int
run_loop(struct run *run)
{
	struct hb_load *load = run->load;
	struct epoll_event events[EVENTS_MAX];

	while (run->next < load->request_count || run->busy_count > 0) {
		uint64_t now = hb_mono_ns();

		requests_give_up(run, now);
		while (run->next < load->request_count && run->next_due_ns <= now &&
			run->free_count > 0)
			request_start(run);
		int n = run_wait(run, events);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++)
			connection_event(
				run, &run->connections[events[i].data.u32], events[i].events);
		timeouts_check(run, hb_mono_ns());
		schedule_end_check(run);
	}
	return 0;
}

static int
run_open(struct run *run, char error[256])
{
	struct hb_load *load = run->load;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	int found = getaddrinfo(load->host, load->port, &hints, &run->address);

	if (found != 0) {
		snprintf(error, 256, "%s:%s: %s", load->host, load->port, gai_strerror(found));
		return -EINVAL;
	}
	run->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run->connections = calloc(load->connection_count, sizeof(*run->connections));
	run->free_list = calloc(load->connection_count, sizeof(*run->free_list));
	if (run->epoll_fd < 0 || run->connections == NULL || run->free_list == NULL) {
		snprintf(error, 256, "no memory or no epoll for %u connections",
			load->connection_count);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < load->connection_count; i++)
		run->connections[i].fd = -1;
	for (uint32_t i = 0; i < load->connection_count; i++) {
		int result = connection_open(run, &run->connections[i]);

		if (result != 0) {
			snprintf(error, 256, "connect to %s:%s: %s; is the node up?", load->host,
				load->port, strerror(-result));
			return result;
		}
		run->free_list[run->free_count++] = i;
	}
	return 0;
}

static void
run_close(struct run *run)
{
	if (run->connections != NULL)
		for (uint32_t i = 0; i < run->load->connection_count; i++)
			connection_close(&run->connections[i]);
	if (run->epoll_fd >= 0)
		close(run->epoll_fd);
	if (run->address != NULL)
		freeaddrinfo(run->address);
	free(run->connections);
	free(run->free_list);
}

int
hb_load_run(struct hb_load *load, char error[256])
{
	HB_ASSERT(load->request_first <= load->plan->request_count);
	HB_ASSERT(load->patience_ms > 0 ||
		  load->request_count <= load->plan->request_count - load->request_first);
	HB_ASSERT(load->patience_ms == 0 || !load->closed);
	HB_ASSERT(load->connection_count >= 1);
	HB_ASSERT(load->connection_count <= HB_LOAD_CONNECTIONS_MAX);
	HB_ASSERT(load->closed || load->rate_per_s > 0);

	struct run run = {.load = load, .epoll_fd = -1};

	hb_histogram_reset(&load->latency);
	hb_histogram_reset(&load->late);
	hb_histogram_reset(&load->refusal);
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* arrivals to the microsecond */
	int result = run_open(&run, error);

	if (result == 0) {
		if (!load->closed)
			hb_arrivals_init(
				&run.arrivals, load->seed, load->rate_per_s, load->request_count);
		load->start_ns = hb_mono_ns() + START_AFTER_NS;
		run.last_answer_ns = load->start_ns;
		run.next_due_ns =
			load->start_ns + (load->closed ? 0 : hb_arrivals_gap_ns(&run.arrivals));
		result = run_loop(&run);
		if (result != 0)
			snprintf(error, 256, "epoll: %s", strerror(-result));
		load->sent = run.lines_used;
		load->schedule_ns = run.next_due_ns - load->start_ns;
		load->elapsed_ns = run.last_answer_ns - load->start_ns;
		load->answering_ns = run.last_answer_ns - run.first_answer_ns;
	}
	run_close(&run);
	return result;
}

uint64_t
hb_load_failed(const struct hb_load *load)
{
	const struct hb_load_errors *errors = &load->errors;

	return load->refused + errors->connect + errors->reset + errors->timeout +
	       errors->protocol + errors->unsent;
}
