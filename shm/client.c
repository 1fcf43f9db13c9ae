/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The client side of attaching (shm/client.h). A handle owns its socket, descriptors and mappings
 * and belongs to one thread. If the dataplane dies, the socket hangs up and the rings stay as they
 * are; if this process dies, the dataplane sees the hang-up and frees them.
 */
#include "shm/client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/bell.h"
#include "shm/ids.h"
#include "shm/node.h"

#define DESCRIPTORS_MAX	    (3 + HB_LCORE_COUNT_MAX)
#define HANDSHAKE_TIMEOUT_S 5

struct hb_client {
	int socket;
	int wake;
	int lcore_wake[HB_LCORE_COUNT_MAX];
	struct hb_segment segment;
	struct hb_segment node_segment;
	const struct hb_node *node;
	struct hb_attach_welcome welcome;
	struct hb_ring_end request[HB_LCORE_COUNT_MAX];
	struct hb_ring_end reply[HB_LCORE_COUNT_MAX];
	uint32_t unpublished; /* bit i: the request ring of lcore i */
	uint32_t poll_first;  /* lcore to poll first, so that none starves */
	uint64_t call_correlation;
};

static int
connect_to(const char *path, char error[160])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = HANDSHAKE_TIMEOUT_S};
	int result, fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, 160, "the socket path has %zu characters, at most %zu fit",
			strlen(path), sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	result = -errno;
	snprintf(error, 160, "no dataplane at %.90s: %s; is it running?", path, strerror(errno));
	close(fd);
	return result;
}

/* One message with its descriptors. @return bytes, or -errno; unused slots of fds are -1 */
static ssize_t
receive(int socket, void *bytes, size_t length, int fds[DESCRIPTORS_MAX], uint32_t *fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec io = {.iov_base = bytes, .iov_len = length};
	struct msghdr message = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);

	*fd_count = 0;
	if (got < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*fd_count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *fd_count * sizeof(int));
	}
	return got;
}

static int
check_welcome(const struct hb_attach_welcome *welcome, ssize_t got, char error[160])
{
	if (got == -EAGAIN) {
		snprintf(error, 160, "the dataplane did not answer within %d s",
			HANDSHAKE_TIMEOUT_S);
		return -ETIMEDOUT;
	}
	if (got != (ssize_t)sizeof(*welcome) || welcome->magic != HB_ATTACH_MAGIC) {
		snprintf(error, 160, "the dataplane hung up or answered in another language");
		return got < 0 ? (int)got : -EPROTO;
	}
	if (welcome->error != 0) {
		snprintf(error, 160, "%.159s", welcome->message);
		return -welcome->error;
	}
	if (welcome->version != HB_ATTACH_VERSION || welcome->layout_hash != hb_layout_hash()) {
		snprintf(error, 160, "the dataplane has layout %016llx, this program %016llx",
			(unsigned long long)welcome->layout_hash,
			(unsigned long long)hb_layout_hash());
		return -EPROTO;
	}
	return 0;
}

static bool
sizes_fit(const struct hb_attach_welcome *welcome, uint64_t segment_bytes)
{
	uint64_t request = welcome->request_bytes, reply = welcome->reply_bytes;

	if (welcome->lcore_count < 1 || welcome->lcore_count > HB_LCORE_COUNT_MAX)
		return false;
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		if (welcome->lcore_of_partition[p] >= welcome->lcore_count)
			return false;
	return request >= 4096 && hb_is_power_of_two(request) && reply >= 4096 &&
	       hb_is_power_of_two(reply) &&
	       segment_bytes >= HB_CLIENT_DATA_OFFSET + welcome->lcore_count * (request + reply);
}

static int
map_rings(struct hb_client *client)
{
	const struct hb_attach_welcome *welcome = &client->welcome;
	struct hb_client_layout *rings =
		(struct hb_client_layout *)(void *)(client->segment.base + HB_SEGMENT_GUARD_BYTES);
	uint64_t offset = HB_CLIENT_DATA_OFFSET;

	for (uint32_t i = 0; i < welcome->lcore_count; i++) {
		uint8_t *data = hb_segment_map_twice(
			client->segment.fd, offset, welcome->request_bytes, true);

		if (data == NULL)
			return -errno;
		hb_ring_producer(
			&client->request[i], &rings->request[i], data, welcome->request_bytes);
		offset += welcome->request_bytes;
		/* read only: replies are ours to look at, not to change */
		data = hb_segment_map_twice(
			client->segment.fd, offset, welcome->reply_bytes, false);
		if (data == NULL)
			return -errno;
		hb_ring_consumer(&client->reply[i], &rings->reply[i], data, welcome->reply_bytes);
		offset += welcome->reply_bytes;
	}
	return 0;
}

/* Takes every descriptor, whatever the result. */
static int
take_descriptors(struct hb_client *client, int *fds, uint32_t fd_count, char error[160])
{
	uint32_t expected = 3 + client->welcome.lcore_count;
	uint32_t taken = 0;
	int result = -EPROTO;

	if (fd_count != expected || expected > DESCRIPTORS_MAX) {
		snprintf(error, 160, "the dataplane sent %u descriptors, expected %u", fd_count,
			expected);
		goto out;
	}
	taken = expected;
	client->wake = fds[1];
	memcpy(client->lcore_wake, &fds[3], client->welcome.lcore_count * sizeof(int));
	result = hb_segment_attach(&client->segment, fds[0], HB_SEGMENT_CLIENT, true, error);
	if (result != 0) {
		close(fds[2]);
		goto out;
	}
	result = hb_segment_attach(&client->node_segment, fds[2], HB_SEGMENT_NODE, false, error);
	if (result != 0)
		goto out;
	if (client->node_segment.bytes < HB_SEGMENT_GUARD_BYTES + sizeof(struct hb_node) ||
		!sizes_fit(&client->welcome, client->segment.bytes)) {
		snprintf(error, 160, "the dataplane's welcome does not fit its segments");
		result = -EPROTO;
		goto out;
	}
	client->node = (const struct hb_node *)(const void *)(client->node_segment.base +
							      HB_SEGMENT_GUARD_BYTES);
	result = map_rings(client);
	if (result != 0)
		snprintf(error, 160, "cannot map the rings: %s", strerror(-result));
out:
	for (uint32_t i = taken; i < fd_count; i++)
		close(fds[i]);
	return result;
}

static int
handshake(struct hb_client *client, const char *name, uint32_t request_bytes, uint32_t reply_bytes,
	char error[160])
{
	struct hb_attach_hello hello = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.request_bytes = request_bytes,
		.reply_bytes = reply_bytes};
	int fds[DESCRIPTORS_MAX];
	uint32_t fd_count;
	ssize_t got;
	int result;

	snprintf(hello.name, sizeof(hello.name), "%s", name);
	/*
	 * A dataplane that refuses this user says so at once and hangs up, perhaps before the hello
	 * or on top of it: what it said is still there, behind the error.
	 */
	(void)!send(client->socket, &hello, sizeof(hello), MSG_NOSIGNAL);
	got = receive(client->socket, &client->welcome, sizeof(client->welcome), fds, &fd_count);
	if (got == -ECONNRESET)
		got = receive(
			client->socket, &client->welcome, sizeof(client->welcome), fds, &fd_count);
	result = check_welcome(&client->welcome, got, error);
	if (result == 0)
		return take_descriptors(client, fds, fd_count, error);
	for (uint32_t i = 0; i < fd_count; i++)
		close(fds[i]);
	return result;
}

/* A bell whose dataplane has died must not end who rings it. */
static void
ignore_broken_pipes(void)
{
	struct sigaction now;

	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

int
hb_client_open(struct hb_client **out, const char *socket_path, const char *name,
	uint32_t request_bytes, uint32_t reply_bytes, char error[160])
{
	struct hb_client *client = calloc(1, sizeof(*client));
	int result;

	*out = NULL;
	snprintf(error, 160, "out of memory or descriptors");
	if (client == NULL)
		return -ENOMEM;
	ignore_broken_pipes();
	client->wake = -1;
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX; i++)
		client->lcore_wake[i] = -1;
	client->socket = connect_to(socket_path, error);
	if (client->socket < 0) {
		result = client->socket;
		free(client);
		return result;
	}
	result = handshake(client, name, request_bytes, reply_bytes, error);
	if (result != 0) {
		hb_client_close(client);
		return result;
	}
	error[0] = '\0';
	*out = client;
	return 0;
}

void
hb_client_close(struct hb_client *client)
{
	if (client == NULL)
		return;
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX; i++) {
		hb_segment_unmap_twice(client->request[i].data, client->request[i].capacity);
		hb_segment_unmap_twice(client->reply[i].data, client->reply[i].capacity);
		if (client->lcore_wake[i] >= 0)
			close(client->lcore_wake[i]);
	}
	hb_segment_close(&client->segment);
	hb_segment_close(&client->node_segment);
	if (client->wake >= 0)
		close(client->wake);
	close(client->socket);
	free(client);
}

int
hb_client_wake_fd(const struct hb_client *client)
{
	return client->wake;
}

int
hb_client_socket_fd(const struct hb_client *client)
{
	return client->socket;
}

uint64_t
hb_client_operation_mask(const struct hb_client *client)
{
	return client->welcome.operation_mask;
}

uint32_t
hb_client_lcore_count(const struct hb_client *client)
{
	return client->welcome.lcore_count;
}

const struct hb_segment *
hb_client_node_segment(const struct hb_client *client)
{
	return &client->node_segment;
}

int
hb_client_send(struct hb_client *client, const struct hb_frame *frame)
{
	uint32_t lcore = client->welcome.lcore_of_partition[hb_partition_of(frame->target)];
	uint32_t length = frame->length;
	void *at;

	if (length < sizeof(*frame) || length > HB_FRAME_BYTES_MAX ||
		length % HB_FRAME_UNIT_BYTES != 0)
		return -EINVAL;
	at = hb_ring_reserve(&client->request[lcore], length);
	if (at == NULL)
		return -EAGAIN;
	memcpy(at, frame, length);
	hb_ring_advance(&client->request[lcore], length);
	client->unpublished |= UINT32_C(1) << lcore;
	return 0;
}

void
hb_client_flush(struct hb_client *client)
{
	while (client->unpublished != 0) {
		uint32_t lcore = (uint32_t)__builtin_ctz(client->unpublished);

		client->unpublished &= client->unpublished - 1;
		hb_ring_publish(&client->request[lcore]);
		if (atomic_load_explicit(
			    &client->node->lcore[lcore].sleeping, memory_order_seq_cst) != 0)
			hb_bell_ring(client->lcore_wake[lcore]);
	}
}

/* @return how many were delivered, or -EPROTO */
static int
poll_ring(struct hb_ring_end *end, hb_client_reply_fn *fn, void *context, unsigned max)
{
	uint8_t *at = NULL;
	int64_t bytes = hb_ring_peek(end, (void **)&at);
	unsigned count = 0;

	if (bytes < 0)
		return (int)bytes;
	while (bytes > 0 && count < max) {
		const struct hb_reply *reply = (const struct hb_reply *)(const void *)at;
		uint32_t length = bytes < (int64_t)sizeof(*reply) ? 0 : reply->length;

		if (length < sizeof(*reply) || length > bytes || length > HB_REPLY_BYTES_MAX ||
			length % HB_FRAME_UNIT_BYTES != 0)
			return -EPROTO;
		fn(context, reply);
		hb_ring_consume(end, length);
		at += length;
		bytes -= length;
		count++;
	}
	return (int)count;
}

int
hb_client_poll(struct hb_client *client, hb_client_reply_fn *fn, void *context, unsigned max)
{
	uint32_t lcores = client->welcome.lcore_count;
	unsigned total = 0;

	for (uint32_t i = 0; i < lcores && total < max; i++) {
		uint32_t lcore = (client->poll_first + i) % lcores;
		int got = poll_ring(&client->reply[lcore], fn, context, max - total);

		if (got < 0)
			return got;
		total += (unsigned)got;
	}
	client->poll_first = (client->poll_first + 1) % lcores;
	return (int)total;
}

bool
hb_client_sleep(struct hb_client *client)
{
	for (uint32_t i = 0; i < client->welcome.lcore_count; i++)
		if (!hb_ring_sleep(&client->reply[i]))
			return false;
	return true;
}

void
hb_client_awake(struct hb_client *client)
{
	for (uint32_t i = 0; i < client->welcome.lcore_count; i++)
		hb_ring_awake(&client->reply[i]);
	hb_bell_clear(client->wake);
}

struct call {
	uint64_t correlation;
	struct hb_reply *reply;
	bool done;
};

static void
call_reply(void *context, const struct hb_reply *reply)
{
	struct call *call = context;

	if (reply->correlation != call->correlation)
		return; /* of a call that timed out before */
	memcpy(call->reply, reply, reply->length);
	call->done = true;
}

/* Block until something may have come. @return 0, -ETIMEDOUT or -EPIPE */
static int
call_wait(struct hb_client *client, uint64_t deadline_ns)
{
	struct pollfd fds[2] = {{.fd = client->wake, .events = POLLIN},
		{.fd = client->socket, .events = POLLIN | POLLRDHUP}};
	uint64_t now_ns = hb_mono_ns();
	int result = 0;

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	if (hb_client_sleep(client)) {
		poll(fds, 2, (int)((deadline_ns - now_ns) / 1000000 + 1));
		if (fds[1].revents != 0)
			result = -EPIPE;
	}
	hb_client_awake(client);
	return result;
}

int
hb_client_call(struct hb_client *client, struct hb_frame *frame, struct hb_reply *reply,
	uint32_t timeout_ms)
{
	uint64_t deadline_ns = hb_mono_ns() + (uint64_t)timeout_ms * 1000000;
	struct call call = {.reply = reply};
	int result;

	frame->correlation = ++client->call_correlation;
	call.correlation = frame->correlation;
	result = hb_client_send(client, frame);
	if (result != 0)
		return result;
	hb_client_flush(client);
	for (;;) {
		int got = hb_client_poll(client, call_reply, &call, HB_BURST_MAX);

		if (call.done)
			return 0;
		if (got < 0 || result != 0)
			return got < 0 ? -EPIPE : result;
		if (got == 0)
			result = call_wait(client, deadline_ns);
	}
}
