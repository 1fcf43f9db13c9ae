/* SPDX-License-Identifier: Apache-2.0 */
/* The owner of control's tests (engine_owner.h): one thread, one lcore, up to four clients. */
#include "tests/engine/world.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "shm/client.h"
#include "shm/ids.h"
#include "shm/node.h"
#include "tests/control/engine_owner.h"

#define CLIENTS_MAX 4
#define ASKS_MAX    64

struct client {
	int socket; /* -1 = free */
	int wake;
	struct hb_segment segment;
	struct hb_ring_end request;
	struct hb_ring_end reply;
};

struct engine_owner {
	pthread_t thread;
	int listener;
	int wake;
	struct hb_segment node_segment;
	struct hb_node *node;
	struct client clients[CLIENTS_MAX];
	struct world world;
	pthread_mutex_t lock; /* asks */
	struct hb_frame_token asks[ASKS_MAX];
	uint32_t ask_count;
	_Atomic bool stopping;
	_Atomic bool hang_up;
	_Atomic bool silent;
	_Atomic uint32_t busy;
	_Atomic uint64_t pass_ms; /* before the next frame */
	_Atomic uint64_t frames;
};

static void
ring(int fd)
{
	uint64_t one = 1;
	ssize_t wrote = write(fd, &one, sizeof(one));

	(void)wrote;
}

static void
detach(struct client *client)
{
	hb_segment_unmap_twice(client->request.data, client->request.capacity);
	hb_segment_unmap_twice(client->reply.data, client->reply.capacity);
	hb_segment_close(&client->segment);
	close(client->wake);
	close(client->socket);
	client->socket = -1;
}

static void
send_welcome(struct engine_owner *owner, struct client *client, struct hb_attach_welcome *welcome)
{
	int fds[] = {client->segment.fd, client->wake, owner->node_segment.fd, owner->wake};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(fds))];
	} control = {0};
	struct iovec io = {.iov_base = welcome, .iov_len = sizeof(*welcome)};
	struct msghdr message = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(head), fds, sizeof(fds));
	HB_ASSERT(sendmsg(client->socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(*welcome));
}

static void
attach(struct engine_owner *owner)
{
	struct hb_attach_welcome welcome = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.lcore_count = 1,
		.operation_mask = HB_OPS_CONTROL};
	struct client *client = owner->clients;
	struct hb_client_layout *rings;
	struct hb_attach_hello hello;

	while (client->socket >= 0)
		HB_ASSERT(++client < owner->clients + CLIENTS_MAX);
	client->socket = accept4(owner->listener, NULL, NULL, SOCK_CLOEXEC);
	HB_ASSERT(client->socket >= 0);
	HB_ASSERT(recv(client->socket, &hello, sizeof(hello), 0) == (ssize_t)sizeof(hello));
	welcome.request_bytes = hello.request_bytes;
	welcome.reply_bytes = hello.reply_bytes;
	client->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	HB_ASSERT(hb_segment_create(&client->segment, "test-client", HB_SEGMENT_CLIENT,
			  HB_CLIENT_DATA_OFFSET + hello.request_bytes + hello.reply_bytes) == 0);
	rings = (struct hb_client_layout *)(void *)(client->segment.base + HB_SEGMENT_GUARD_BYTES);
	hb_ring_consumer(&client->request, &rings->request[0],
		hb_segment_map_twice(
			client->segment.fd, HB_CLIENT_DATA_OFFSET, hello.request_bytes, true),
		hello.request_bytes);
	hb_ring_producer(&client->reply, &rings->reply[0],
		hb_segment_map_twice(client->segment.fd,
			HB_CLIENT_DATA_OFFSET + hello.request_bytes, hello.reply_bytes, true),
		hello.reply_bytes);
	hb_segment_ready(&client->segment);
	send_welcome(owner, client, &welcome);
}

static void
reply_begin(struct hb_reply *reply, const struct hb_frame *frame, enum hb_status status)
{
	memset(reply, 0, sizeof(*reply));
	reply->version = HB_FRAME_VERSION;
	reply->operation = frame->operation;
	reply->length = sizeof(*reply);
	reply->status = (uint16_t)status;
}

/* Hand over up to HB_TOKENS_PER_REPLY_MAX of the partition's asks. */
static void
take_tokens(struct engine_owner *owner, const struct hb_frame *frame, struct hb_reply *reply)
{
	struct hb_reply_token *tokens = (void *)(reply + 1);
	uint32_t count = 0;
	bool more = false;

	pthread_mutex_lock(&owner->lock);
	for (uint32_t i = 0; i < owner->ask_count;) {
		struct hb_frame_token *ask = &owner->asks[i];

		if (hb_partition_of(ask->head.target) != hb_partition_of(frame->target)) {
			i++;
			continue;
		}
		if (count == HB_TOKENS_PER_REPLY_MAX) {
			more = true;
			break;
		}
		HB_ASSERT(world_ask(&owner->world, ask) == HB_STATUS_OK);
		memcpy(&tokens[count++], &owner->world.reply.head + 1, sizeof(tokens[0]));
		*ask = owner->asks[--owner->ask_count];
	}
	pthread_mutex_unlock(&owner->lock);
	reply_begin(reply, frame, HB_STATUS_OK);
	reply->count = count;
	reply->flags = more ? HB_REPLY_MORE : 0;
	reply->length = (uint16_t)hb_round_up(sizeof(*reply) + count * sizeof(tokens[0]), 64);
}

static void
decide(struct engine_owner *owner, struct hb_frame *frame, struct hb_reply *reply)
{
	enum hb_status status;

	if (atomic_load(&owner->busy) > 0) {
		atomic_fetch_sub(&owner->busy, 1);
		reply_begin(reply, frame, HB_STATUS_BUSY);
		return;
	}
	if (frame->operation == HB_OP_TOKEN_TAKE) {
		take_tokens(owner, frame, reply);
		return;
	}
	world_advance_ms(&owner->world, atomic_exchange(&owner->pass_ms, 0));
	status = world_ask(&owner->world, frame);
	world_deliver(&owner->world);
	if (status == HB_STATUS_FRAME_INVALID || owner->world.reply.head.length < sizeof(*reply))
		reply_begin(reply, frame, status);
	else
		memcpy(reply, &owner->world.reply, owner->world.reply.head.length);
	reply->as_of_seq = owner->world.record_count;
}

static bool
serve(struct engine_owner *owner, struct client *client)
{
	_Alignas(64) uint8_t frame_bytes[HB_FRAME_BYTES_MAX];
	_Alignas(64) uint8_t reply_bytes[HB_REPLY_BYTES_MAX];
	struct hb_frame *frame = (void *)frame_bytes;
	struct hb_reply *reply = (void *)reply_bytes;
	uint8_t *at = NULL;
	int64_t left = hb_ring_peek(&client->request, (void **)&at);
	bool worked = left > 0;
	uint32_t length;

	HB_ASSERT(left >= 0);
	for (; left > 0; left -= length, at += length) {
		length = ((const struct hb_frame *)(const void *)at)->length;
		HB_ASSERT(length >= sizeof(*frame) && length <= left);
		memcpy(frame_bytes, at, length);
		decide(owner, frame, reply);
		reply->correlation = frame->correlation;
		hb_ring_consume(&client->request, length);
		atomic_fetch_add(&owner->frames, 1);
		if (!atomic_load(&owner->silent)) {
			void *room = hb_ring_reserve(&client->reply, reply->length);

			HB_ASSERT(room);
			memcpy(room, reply, reply->length);
			hb_ring_advance(&client->reply, reply->length);
		}
	}
	if (worked && hb_ring_publish(&client->reply))
		ring(client->wake);
	return worked;
}

static bool
serve_all(struct engine_owner *owner)
{
	bool worked = false;

	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (owner->clients[i].socket >= 0)
			worked |= serve(owner, &owner->clients[i]);
	}
	return worked;
}

static void
wait_for_work(struct engine_owner *owner)
{
	struct pollfd fds[2 + CLIENTS_MAX] = {
		{.fd = owner->listener, .events = POLLIN}, {.fd = owner->wake, .events = POLLIN}};
	uint64_t rung;
	ssize_t got;

	for (int i = 0; i < CLIENTS_MAX; i++)
		fds[2 + i] = (struct pollfd){.fd = owner->clients[i].socket, .events = POLLIN};
	poll(fds, 2 + CLIENTS_MAX, -1);
	got = read(owner->wake, &rung, sizeof(rung));
	(void)got;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (owner->clients[i].socket >= 0 && fds[2 + i].revents)
			detach(&owner->clients[i]);
	}
	if (fds[0].revents)
		attach(owner);
}

static void *
run(void *context)
{
	struct engine_owner *owner = context;

	while (!atomic_load(&owner->stopping)) {
		if (atomic_exchange(&owner->hang_up, false)) {
			for (int i = 0; i < CLIENTS_MAX; i++) {
				if (owner->clients[i].socket >= 0)
					detach(&owner->clients[i]);
			}
		}
		if (serve_all(owner))
			continue;
		atomic_store(&owner->node->lcore[0].sleeping, 1);
		if (!serve_all(owner))
			wait_for_work(owner);
		atomic_store(&owner->node->lcore[0].sleeping, 0);
	}
	return NULL;
}

struct engine_owner *
engine_owner_start(const char *path)
{
	struct engine_owner *owner = calloc(1, sizeof(*owner));
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	HB_ASSERT(owner && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	world_open(&owner->world);
	owner->world.input.trusted = true;
	pthread_mutex_init(&owner->lock, NULL);
	for (int i = 0; i < CLIENTS_MAX; i++)
		owner->clients[i].socket = -1;
	owner->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	HB_ASSERT(hb_segment_create(&owner->node_segment, "test-node", HB_SEGMENT_NODE,
			  HB_SEGMENT_GUARD_BYTES + sizeof(struct hb_node)) == 0);
	owner->node = (void *)(owner->node_segment.base + HB_SEGMENT_GUARD_BYTES);
	hb_node_init(owner->node, 1);
	hb_segment_ready(&owner->node_segment);
	HB_ASSERT(hb_segment_seal_read_only(&owner->node_segment) == 0);
	owner->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unlink(path);
	HB_ASSERT(bind(owner->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	HB_ASSERT(listen(owner->listener, 8) == 0);
	HB_ASSERT(pthread_create(&owner->thread, NULL, run, owner) == 0);
	return owner;
}

void
engine_owner_stop(struct engine_owner *owner)
{
	atomic_store(&owner->stopping, true);
	ring(owner->wake);
	pthread_join(owner->thread, NULL);
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (owner->clients[i].socket >= 0)
			detach(&owner->clients[i]);
	}
	close(owner->listener);
	close(owner->wake);
	hb_segment_close(&owner->node_segment);
	world_close(&owner->world);
	pthread_mutex_destroy(&owner->lock);
	free(owner);
}

void
engine_owner_hang_up(struct engine_owner *owner)
{
	atomic_store(&owner->hang_up, true);
	ring(owner->wake);
}

void
engine_owner_silent(struct engine_owner *owner, bool silent)
{
	atomic_store(&owner->silent, silent);
}

void
engine_owner_busy(struct engine_owner *owner, uint32_t frames)
{
	atomic_store(&owner->busy, frames);
}

void
engine_owner_pass_ms(struct engine_owner *owner, uint64_t ms)
{
	atomic_fetch_add(&owner->pass_ms, ms);
}

void
engine_owner_ask(struct engine_owner *owner, uint64_t user, uint8_t operation, uint64_t target)
{
	pthread_mutex_lock(&owner->lock);
	HB_ASSERT(owner->ask_count < ASKS_MAX);
	owner->asks[owner->ask_count++] =
		(struct hb_frame_token){.head = {.operation = HB_OP_TOKEN_ISSUE,
						.length = sizeof(struct hb_frame_token),
						.target = target,
						.user = user},
			.for_operation = operation};
	pthread_mutex_unlock(&owner->lock);
}

uint64_t
engine_owner_frames(struct engine_owner *owner)
{
	return atomic_load(&owner->frames);
}

struct world *
engine_owner_world(struct engine_owner *owner)
{
	return &owner->world;
}
