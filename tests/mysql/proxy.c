/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy: tests/mysql/proxy.h. A client of MySQL sends a command and waits for its answer, so a
 * COMMIT is always the end of what was read at once.
 */
#include "tests/mysql/proxy.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/engine/world.h"

#define PAIRS_MAX   16
#define PIECE_BYTES 65536u
#define POLL_MS	    20

struct pair {
	int client; /* -1: free */
	int server;
	bool deaf; /* the server's next answer is for nobody */
};

struct commands {
	uint8_t bytes[32];
	size_t length;
};
/* Length, sequence 0, COM_QUERY, text. */
static const struct commands commit = {"\x07\0\0\0\x03"
				       "COMMIT",
	11};
static const struct commands begin = {"\x12\0\0\0\x03"
				      "START TRANSACTION",
	22};
/* Length, sequence 1, ERR, number, state, text. */
static const struct commands read_only = {"\x0d\0\0\x01\xff\x0a\x05#HY000read", 17};
static const struct commands dead_lock = {"\x0d\0\0\x01\xff\xbd\x04#40001lock", 17};

static int
connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
hang_up(struct pair *pair)
{
	close(pair->client);
	close(pair->server);
	pair->client = pair->server = -1;
}

static bool
send_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

static bool
ends_with(const uint8_t *bytes, size_t length, const struct commands *command)
{
	return length >= command->length &&
	       memcmp(bytes + length - command->length, command->bytes, command->length) == 0;
}

static void
done(struct proxy *proxy)
{
	atomic_store(&proxy->fault, PROXY_NOTHING);
}

/* A part passes, then the connection ends. @return true when it was cut */
static bool
cut_after(struct proxy *proxy, struct pair *pair, int to, const uint8_t *bytes, size_t length)
{
	uint64_t left = atomic_load(&proxy->bytes_left);

	if (left > length) {
		atomic_store(&proxy->bytes_left, left - length);
		return false;
	}
	send_all(to, bytes, left);
	hang_up(pair);
	done(proxy);
	return true;
}

/* What happens to a COMMIT. @return false when it passes like anything else */
static bool
meddle_commit(struct proxy *proxy, struct pair *pair, const uint8_t *bytes, size_t length)
{
	switch (atomic_load(&proxy->fault)) {
	case PROXY_CUT_BEFORE_COMMIT:
		hang_up(pair);
		done(proxy);
		return true;
	case PROXY_CUT_WITH_COMMIT:
		send_all(pair->server, bytes, length);
		hang_up(pair);
		done(proxy);
		return true;
	case PROXY_CUT_AFTER_COMMIT:
		pair->deaf = true;
		return false;
	case PROXY_REFUSE_COMMIT:
		send_all(pair->client, dead_lock.bytes, dead_lock.length);
		done(proxy);
		return true;
	case PROXY_KILL_SERVER:
		send_all(pair->server, bytes, length);
		kill(atomic_load(&proxy->server), SIGKILL);
		done(proxy);
		return true;
	default:
		return false;
	}
}

/* @return false when the pair hung up or the bytes are not to be passed on */
static bool
meddle_request(struct proxy *proxy, struct pair *pair, const uint8_t *bytes, size_t length)
{
	int fault = atomic_load(&proxy->fault);

	if (fault == PROXY_CUT_REQUEST)
		return !cut_after(proxy, pair, pair->server, bytes, length);
	if (fault == PROXY_REFUSE_BEGIN && ends_with(bytes, length, &begin)) {
		send_all(pair->client, read_only.bytes, read_only.length);
		done(proxy);
		return false;
	}
	return !ends_with(bytes, length, &commit) || !meddle_commit(proxy, pair, bytes, length);
}

static bool
meddle_reply(struct proxy *proxy, struct pair *pair, const uint8_t *bytes, size_t length)
{
	if (pair->deaf) {
		hang_up(pair);
		done(proxy);
		return false;
	}
	if (atomic_load(&proxy->fault) == PROXY_CUT_REPLY)
		return !cut_after(proxy, pair, pair->client, bytes, length);
	return true;
}

/* One read from one side. */
static void
pass(struct proxy *proxy, struct pair *pair, bool from_client)
{
	static uint8_t bytes[PIECE_BYTES];
	ssize_t n = read(from_client ? pair->client : pair->server, bytes, sizeof(bytes));

	if (n <= 0) {
		hang_up(pair);
		return;
	}
	if (from_client ? !meddle_request(proxy, pair, bytes, (size_t)n)
			: !meddle_reply(proxy, pair, bytes, (size_t)n))
		return;
	if (!send_all(from_client ? pair->server : pair->client, bytes, (size_t)n))
		hang_up(pair);
}

static void
take_client(struct proxy *proxy, struct pair *pairs)
{
	int client = accept(proxy->listener, NULL, NULL);

	for (uint32_t i = 0; client >= 0 && i < PAIRS_MAX; i++) {
		if (pairs[i].client >= 0)
			continue;
		pairs[i] =
			(struct pair){.client = client, .server = connect_to(proxy->server_path)};
		if (pairs[i].server < 0)
			hang_up(&pairs[i]);
		return;
	}
	if (client >= 0)
		close(client);
}

static void *
proxy_main(void *argument)
{
	struct proxy *proxy = argument;
	struct pair pairs[PAIRS_MAX];
	struct pollfd polls[1 + 2 * PAIRS_MAX];

	for (uint32_t i = 0; i < PAIRS_MAX; i++)
		pairs[i] = (struct pair){.client = -1, .server = -1};
	while (!atomic_load(&proxy->stop)) {
		polls[0] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
		for (uint32_t i = 0; i < PAIRS_MAX; i++) {
			polls[1 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
			polls[2 + 2 * i] = (struct pollfd){.fd = pairs[i].server, .events = POLLIN};
		}
		if (poll(polls, 1 + 2 * PAIRS_MAX, POLL_MS) <= 0)
			continue;
		for (uint32_t i = 0; i < PAIRS_MAX; i++) {
			if (pairs[i].client >= 0 && polls[1 + 2 * i].revents != 0)
				pass(proxy, &pairs[i], true);
			if (pairs[i].server >= 0 && polls[2 + 2 * i].revents != 0)
				pass(proxy, &pairs[i], false);
		}
		if (polls[0].revents != 0)
			take_client(proxy, pairs);
	}
	for (uint32_t i = 0; i < PAIRS_MAX; i++)
		if (pairs[i].client >= 0)
			hang_up(&pairs[i]);
	return NULL;
}

void
proxy_open(struct proxy *proxy, const char *path, const char *server_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(proxy, 0, sizeof(*proxy));
	snprintf(proxy->path, sizeof(proxy->path), "%s", path);
	snprintf(proxy->server_path, sizeof(proxy->server_path), "%s", server_path);
	assert_true(strlen(path) < sizeof(proxy->path));
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	proxy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(proxy->listener >= 0);
	assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(proxy->listener, PAIRS_MAX), 0);
	assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_main, proxy), 0);
}

void
proxy_close(struct proxy *proxy)
{
	atomic_store(&proxy->stop, true);
	pthread_join(proxy->thread, NULL);
	close(proxy->listener);
	unlink(proxy->path);
}
