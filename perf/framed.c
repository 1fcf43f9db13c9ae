/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framed load (framed.h): users' connections, their queues, the schedule. Written from
 * docs/frames.md; the layouts are those of shm/frame.h.
 */
#include "perf/framed.h"

#include <errno.h>
#include <inttypes.h>
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
#include "base/clock.h"
#include "perf/arrivals.h"
#include "shm/frame.h"
#include "shm/token.h"

#define OPERATION_HELLO 0
#define GROUP		7 /* of the packets that hongbao-bench rings makes */
#define TOKEN_BYTES_MAX 4096
#define REPLIES_BYTES	16384
#define EVENTS_MAX	128
#define WAIT_NS_MAX	UINT64_C(50000000) /* look at time-outs at least this often */
#define START_AFTER_NS	UINT64_C(10000000)
#define NS_PER_MS	UINT64_C(1000000)
#define NONE		UINT32_MAX

struct hb_framed_grab {
	uint64_t packet, token_id, token_mac;
	uint32_t token_expiry_s, sequence;
	uint32_t user;		  /* by number */
	uint32_t next;		  /* of the same user in this run, or NONE */
	uint64_t due_ns, sent_ns; /* sent_ns 0: not under way */
};

struct hb_framed_connection {
	int fd; /* -1: closed */
	uint32_t in_flight;
	uint32_t head,
		tail; /* grabs that have not left: all of a closed loop, the due of an open one */
	uint64_t heard_ns; /* when the last reply came, or something left after none was due */
	uint32_t bytes;
	uint8_t replies[REPLIES_BYTES];
};

struct run {
	struct hb_framed *framed;
	struct hb_load *load;
	struct addrinfo *address;
	int epoll_fd;
	struct hb_arrivals arrivals;
	uint64_t next; /* of an open loop: line that is due next, counted from request_first */
	uint64_t next_due_ns;
	uint64_t lines; /* how many lines the sent ones reach */
	uint64_t under_way;
	uint64_t first_answer_ns, last_answer_ns;
	uint64_t timeouts_checked_ns;
	bool over; /* nothing more leaves */
};

static int
fail(char error[256], int result, const char *what, const char *why)
{
	snprintf(error, 256, "%.120s: %.120s", what, why);
	return result;
}

/* ---- files ---- */

static bool
grab_parse(const char *line, struct hb_framed_grab *grab, uint64_t *user)
{
	struct hb_token token;
	char text[HB_TOKEN_TEXT_MAX];
	uint64_t told;
	int end = 0;

	_Static_assert(HB_TOKEN_TEXT_MAX > 95, "the width of the scan below");
	if (sscanf(line, "%" SCNu64 " %16" SCNx64 " %95s %" SCNu32 " %n", user, &grab->packet, text,
		    &grab->sequence, &end) != 4 ||
		line[end] != '\0')
		return false;
	if (!hb_token_parse(text, (uint32_t)strlen(text), &token, &told) || told != *user)
		return false;
	grab->token_id = token.id;
	grab->token_mac = token.mac;
	grab->token_expiry_s = token.expiry_s;
	return true;
}

static int
grabs_read(struct hb_framed *framed, FILE *file, uint64_t **users)
{
	char line[256];
	uint64_t room = 0;

	while (fgets(line, sizeof(line), file) != NULL) {
		if (framed->grab_count == room) {
			room = room == 0 ? 4096 : 2 * room;
			void *grabs = realloc(framed->grabs, room * sizeof(*framed->grabs));

			if (grabs == NULL)
				return -ENOMEM;
			framed->grabs = grabs;
			void *numbers = realloc(*users, room * sizeof(**users));

			if (numbers == NULL)
				return -ENOMEM;
			*users = numbers;
		}
		uint64_t at = framed->grab_count;

		if (at == NONE || !grab_parse(line, &framed->grabs[at], &(*users)[at]))
			return -EPROTO;
		framed->grab_count++;
	}
	return ferror(file) ? -EIO : framed->grab_count == 0 ? -EPROTO : 0;
}

/* Users by number instead of account. */
static int
users_number(struct hb_framed *framed, const uint64_t *users)
{
	uint64_t first = UINT64_MAX;

	for (uint64_t i = 0; i < framed->grab_count; i++)
		if (users[i] < first)
			first = users[i];
	for (uint64_t i = 0; i < framed->grab_count; i++) {
		if (users[i] - first >= framed->user_count)
			return -EPROTO;
		framed->grabs[i].user = (uint32_t)(users[i] - first);
	}
	return 0;
}

static int
tokens_read(struct hb_framed *framed, FILE *file)
{
	char line[TOKEN_BYTES_MAX + 2];

	framed->tokens = calloc(HB_LOAD_CONNECTIONS_MAX, sizeof(*framed->tokens));
	if (framed->tokens == NULL)
		return -ENOMEM;
	while (fgets(line, sizeof(line), file) != NULL) {
		size_t length = strcspn(line, "\n");

		if (length == 0 || line[length] != '\n' ||
			framed->user_count == HB_LOAD_CONNECTIONS_MAX)
			return -EPROTO;
		line[length] = '\0';
		framed->tokens[framed->user_count] = strdup(line);
		if (framed->tokens[framed->user_count] == NULL)
			return -ENOMEM;
		framed->user_count++;
	}
	return ferror(file) ? -EIO : framed->user_count == 0 ? -EPROTO : 0;
}

int
hb_framed_open(
	struct hb_framed *framed, const char *grabs_path, const char *tokens_path, char error[256])
{
	uint64_t *users = NULL;
	const char *path = tokens_path, *why = "";
	FILE *file = fopen(path, "re");
	int result = file == NULL ? -errno : tokens_read(framed, file);

	if (result == -EPROTO)
		why = "not user tokens, one a line, or more than there may be connections";
	if (result != 0)
		goto end;
	fclose(file);
	path = grabs_path;
	file = fopen(path, "re");
	result = file == NULL ? -errno : grabs_read(framed, file, &users);
	if (result == -EPROTO)
		why = "not lines of user, packet, token and sequence";
	if (result == 0) {
		result = users_number(framed, users);
		why = "a user has no user token";
	}
end:
	if (result != 0)
		fail(error, result, path, result == -EPROTO ? why : strerror(-result));
	if (file != NULL)
		fclose(file);
	free(users);
	if (result != 0)
		hb_framed_close(framed);
	return result;
}

void
hb_framed_close(struct hb_framed *framed)
{
	for (uint32_t i = 0; i < framed->user_count; i++)
		free(framed->tokens[i]);
	free(framed->tokens);
	free(framed->grabs);
	*framed = (struct hb_framed){0};
}

/* ---- connections ---- */

static bool
send_whole(int fd, const void *bytes, size_t length)
{
	ssize_t n;

	do
		n = send(fd, bytes, length, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)length;
}

/* Say who one is, and hear that it is believed. @return 0, -EPROTO, -EACCES, -errno */
static int
greet(int fd, const char *token)
{
	uint8_t bytes[sizeof(struct hb_frame) + TOKEN_BYTES_MAX] = {0};
	size_t length = (strlen(token) + 63) / 64 * 64;
	struct hb_frame frame = {.version = HB_FRAME_VERSION,
		.operation = OPERATION_HELLO,
		.length = (uint16_t)(sizeof(frame) + length)};
	struct hb_reply reply;

	memcpy(bytes, &frame, sizeof(frame));
	memcpy(bytes + sizeof(frame), token, strlen(token));
	if (!send_whole(fd, bytes, frame.length))
		return -EPIPE;
	ssize_t n = recv(fd, &reply, sizeof(reply), MSG_WAITALL);

	if (n < 0)
		return -errno;
	if (n != sizeof(reply) || reply.operation != OPERATION_HELLO ||
		reply.length != sizeof(reply))
		return -EPROTO;
	return reply.status == HB_STATUS_OK ? 0 : -EACCES;
}

static int
connection_open(struct run *run, uint32_t user)
{
	struct hb_framed_connection *connection = &run->framed->connections[user];
	int one = 1;
	int fd = socket(run->address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = (time_t)(run->load->timeout_ms / 1000),
		.tv_usec = (suseconds_t)(run->load->timeout_ms % 1000 * 1000)};
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = user};
	int result = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, run->address->ai_addr, run->address->ai_addrlen) != 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		result = -errno;
	if (result == 0)
		result = greet(fd, run->framed->tokens[user]);
	if (result == 0 && epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		result = -errno;
	if (result != 0) {
		close(fd);
		return result;
	}
	connection->fd = fd;
	return 0;
}

static void
connection_end(struct run *run, struct hb_framed_connection *connection, uint64_t *counter)
{
	*counter += connection->in_flight;
	run->under_way -= connection->in_flight;
	connection->in_flight = 0;
	close(connection->fd);
	connection->fd = -1;
}

/* What the connection has room for, in one piece: 64 frames fit any socket's buffer, as no more
 * are ever unanswered. */
static void
connection_fill(struct run *run, struct hb_framed_connection *connection)
{
	struct hb_framed *framed = run->framed;
	struct hb_frame frames[HB_FRAMED_IN_FLIGHT_MAX];
	uint64_t now = hb_mono_ns();
	uint32_t issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	uint32_t count = 0;

	while (connection->head != NONE && connection->in_flight + count < framed->in_flight) {
		uint32_t line = connection->head;
		struct hb_framed_grab *grab = &framed->grabs[line];

		connection->head = grab->next;
		grab->sent_ns = now;
		if (run->load->closed)
			grab->due_ns = now;
		hb_histogram_add(&run->load->late, now > grab->due_ns ? now - grab->due_ns : 0);
		if (line - run->load->request_first >= run->lines)
			run->lines = line - run->load->request_first + 1;
		frames[count++] = (struct hb_frame){.version = HB_FRAME_VERSION,
			.operation = HB_OP_GRAB,
			.length = sizeof(struct hb_frame),
			.issued_s = issued_s,
			.correlation = line,
			.target = grab->packet,
			.group = GROUP,
			.token_id = grab->token_id,
			.token_mac = grab->token_mac,
			.token_expiry_s = grab->token_expiry_s,
			.sequence = grab->sequence};
	}
	if (count == 0)
		return;
	if (connection->in_flight == 0)
		connection->heard_ns = now;
	connection->in_flight += count;
	run->under_way += count;
	run->load->sent += count;
	if (!send_whole(connection->fd, frames, count * sizeof(frames[0])))
		connection_end(run, connection, &run->load->errors.reset);
}

/* ---- replies ---- */

/* False when nobody waits for it. */
static bool
reply_take(struct run *run, uint32_t user, const struct hb_reply *reply, uint64_t now)
{
	struct hb_framed *framed = run->framed;
	struct hb_load *load = run->load;

	if (reply->correlation >= framed->grab_count)
		return false;
	struct hb_framed_grab *grab = &framed->grabs[reply->correlation];

	if (grab->user != user || grab->sent_ns == 0)
		return false;
	hb_load_count_outcome(load, 0, hb_status_name(reply->status));
	if (reply->status == HB_STATUS_OK) {
		load->amount_fen_sum += (uint64_t)reply->amount_fen;
		hb_load_count_accepted(load, grab->due_ns, now);
	} else {
		load->refused++;
		hb_histogram_add(&load->refusal, now - grab->sent_ns);
	}
	grab->sent_ns = 0;
	framed->connections[user].in_flight--;
	run->under_way--;
	run->last_answer_ns = now;
	if (run->first_answer_ns == 0)
		run->first_answer_ns = now;
	return true;
}

/* Take the whole replies that are there. False when the stream is out of order. */
static bool
replies_take(struct run *run, uint32_t user, uint64_t now)
{
	struct hb_framed_connection *connection = &run->framed->connections[user];
	uint32_t at = 0;
	struct hb_reply reply;

	while (connection->bytes - at >= sizeof(reply)) {
		memcpy(&reply, connection->replies + at, sizeof(reply));
		if (reply.length < sizeof(reply) || reply.length > REPLIES_BYTES)
			return false;
		if (connection->bytes - at < reply.length)
			break;
		if (!reply_take(run, user, &reply, now))
			return false;
		at += reply.length;
	}
	memmove(connection->replies, connection->replies + at, connection->bytes - at);
	connection->bytes -= at;
	return true;
}

static void
connection_read(struct run *run, uint32_t user)
{
	struct hb_framed_connection *connection = &run->framed->connections[user];

	if (connection->fd < 0)
		return; /* closed earlier in this batch */
	ssize_t n = recv(connection->fd, connection->replies + connection->bytes,
		REPLIES_BYTES - connection->bytes, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_end(run, connection, &run->load->errors.reset);
		return;
	}
	connection->bytes += (uint32_t)n;
	connection->heard_ns = hb_mono_ns();
	if (!replies_take(run, user, connection->heard_ns)) {
		connection_end(run, connection, &run->load->errors.protocol);
		return;
	}
	if (run->over)
		return;
	if (run->load->closed && connection->head == NONE)
		run->over = true; /* the others are not to have the node to themselves */
	else
		connection_fill(run, connection);
}

/* ---- the run ---- */

static void
timeouts_check(struct run *run, uint64_t now)
{
	struct hb_framed *framed = run->framed;

	if (now - run->timeouts_checked_ns < WAIT_NS_MAX)
		return;
	run->timeouts_checked_ns = now;
	for (uint32_t i = 0; i < framed->user_count; i++) {
		struct hb_framed_connection *connection = &framed->connections[i];

		if (connection->in_flight > 0 &&
			now - connection->heard_ns > run->load->timeout_ms * NS_PER_MS)
			connection_end(run, connection, &run->load->errors.timeout);
	}
}

/* A grab waits on the connection of its user. */
static void
queue(struct hb_framed *framed, uint64_t line)
{
	struct hb_framed_grab *grab = &framed->grabs[line];
	struct hb_framed_connection *connection = &framed->connections[grab->user];

	grab->next = NONE;
	if (connection->head == NONE)
		connection->head = (uint32_t)line;
	else
		framed->grabs[connection->tail].next = (uint32_t)line;
	connection->tail = (uint32_t)line;
}

static void
arrivals_take(struct run *run, uint64_t now)
{
	struct hb_load *load = run->load;

	while (run->next < load->request_count && run->next_due_ns <= now) {
		uint64_t line = load->request_first + run->next++;
		struct hb_framed_grab *grab = &run->framed->grabs[line];
		struct hb_framed_connection *connection = &run->framed->connections[grab->user];

		grab->due_ns = run->next_due_ns;
		queue(run->framed, line);
		if (connection->fd >= 0)
			connection_fill(run, connection);
		run->next_due_ns += hb_arrivals_gap_ns(&run->arrivals);
	}
}

static bool
time_over(const struct run *run, uint64_t now)
{
	const struct hb_load *load = run->load;
	uint64_t end_ns = load->start_ns;

	if (load->closed)
		end_ns += load->duration_ms * NS_PER_MS;
	else
		end_ns += (uint64_t)((double)load->request_count / load->rate_per_s * 1e9) +
			  load->drain_ms * NS_PER_MS;
	return now > end_ns;
}

/* Grabs that are due and have not left. */
static bool
waiting(const struct hb_framed *framed)
{
	for (uint32_t i = 0; i < framed->user_count; i++)
		if (framed->connections[i].fd >= 0 && framed->connections[i].head != NONE)
			return true;
	return false;
}

static int
run_loop(struct run *run)
{
	struct hb_load *load = run->load;
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		uint64_t now = hb_mono_ns();

		if (!load->closed && !run->over)
			arrivals_take(run, now);
		run->over = run->over || time_over(run, now);
		bool all_left = load->closed ? run->over : run->next == load->request_count;

		if (run->under_way == 0 && (run->over || (all_left && !waiting(run->framed))))
			return 0;
		uint64_t wait_ns = WAIT_NS_MAX;

		if (!load->closed && !run->over && run->next < load->request_count &&
			run->next_due_ns < now + wait_ns)
			wait_ns = run->next_due_ns > now ? run->next_due_ns - now : 0;
		struct timespec timeout = {.tv_nsec = (long)wait_ns};
		int n = epoll_pwait2(run->epoll_fd, events, EVENTS_MAX, &timeout, NULL);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++)
			connection_read(run, events[i].data.u32);
		timeouts_check(run, hb_mono_ns());
	}
}

static int
run_open(struct run *run, char error[256])
{
	struct hb_framed *framed = run->framed;
	struct hb_load *load = run->load;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	int found = getaddrinfo(load->host, load->port, &hints, &run->address);

	if (found != 0)
		return fail(error, -EINVAL, load->host, gai_strerror(found));
	run->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	framed->connections = calloc(framed->user_count, sizeof(*framed->connections));
	if (run->epoll_fd < 0 || framed->connections == NULL)
		return fail(error, -ENOMEM, "no memory or no epoll", strerror(errno));
	for (uint32_t i = 0; i < framed->user_count; i++)
		framed->connections[i].fd = -1;
	for (uint32_t i = 0; i < framed->user_count; i++) {
		int result = connection_open(run, i);

		if (result == -EACCES)
			return fail(
				error, result, "hello", "the node does not accept the user token");
		if (result != 0)
			return fail(error, result, "connecting", strerror(-result));
		framed->connections[i].head = NONE;
	}
	return 0;
}

static void
run_close(struct run *run)
{
	struct hb_framed *framed = run->framed;

	for (uint32_t i = 0; framed->connections != NULL && i < framed->user_count; i++)
		if (framed->connections[i].fd >= 0)
			close(framed->connections[i].fd);
	if (run->epoll_fd >= 0)
		close(run->epoll_fd);
	if (run->address != NULL)
		freeaddrinfo(run->address);
	free(framed->connections);
	framed->connections = NULL;
}

static void
schedule_begin(struct run *run)
{
	struct hb_framed *framed = run->framed;
	struct hb_load *load = run->load;

	if (!load->closed)
		hb_arrivals_init(&run->arrivals, load->seed, load->rate_per_s, load->request_count);
	load->start_ns = hb_mono_ns() + (load->closed ? 0 : START_AFTER_NS);
	run->last_answer_ns = load->start_ns;
	if (!load->closed) {
		run->next_due_ns = load->start_ns + hb_arrivals_gap_ns(&run->arrivals);
		return;
	}
	for (uint64_t i = 0; i < load->request_count; i++)
		queue(framed, load->request_first + i);
	for (uint32_t i = 0; i < framed->user_count; i++)
		connection_fill(run, &framed->connections[i]);
}

int
hb_framed_run(struct hb_framed *framed, struct hb_load *load, uint64_t *lines, char error[256])
{
	HB_ASSERT(framed->in_flight >= 1 && framed->in_flight <= HB_FRAMED_IN_FLIGHT_MAX);
	HB_ASSERT(load->request_first <= framed->grab_count);
	HB_ASSERT(load->request_count <= framed->grab_count - load->request_first);
	HB_ASSERT(load->closed ? load->duration_ms > 0 : load->rate_per_s > 0);

	struct run run = {.framed = framed, .load = load, .epoll_fd = -1};

	load->connection_count = framed->user_count;
	hb_histogram_reset(&load->latency);
	hb_histogram_reset(&load->late);
	hb_histogram_reset(&load->refusal);
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* arrivals to the microsecond */
	int result = run_open(&run, error);

	if (result != 0)
		goto end;
	schedule_begin(&run);
	result = run_loop(&run);
	if (result != 0)
		fail(error, result, "epoll", strerror(-result));
	if (load->closed)
		load->request_count = load->sent;
	load->errors.unsent = load->request_count - load->sent;
	load->schedule_ns = load->closed ? 0 : run.next_due_ns - load->start_ns;
	load->elapsed_ns = run.last_answer_ns - load->start_ns;
	load->answering_ns = run.last_answer_ns - run.first_answer_ns;
	*lines = run.lines;
end:
	run_close(&run);
	return result;
}
