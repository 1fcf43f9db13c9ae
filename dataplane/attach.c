/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Clients coming and going (dataplane/attach.h). The socket is the ring's lifetime. What a client
 * may do is decided from its uid (SO_PEERCRED), never from what it says.
 */
#include "dataplane/attach.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/unix_socket.h"
#include "dataplane/dataplane.h"
#include "dataplane/descriptors.h"

#define BACKLOG 64

static void
count(struct hb_dataplane *dp, enum hb_counter counter)
{
	hb_counter_add(dp->shared->node, HB_COUNTER_COLUMN_MAIN, counter, 1);
}

int
hb_attach_listen(struct hb_dataplane *dp, char error[256])
{
	char path[HB_PATH_MAX];

	hb_path(path, dp->setup.config->node_directory, HB_PATH_DATAPLANE_SOCKET);
	dp->listener = hb_unix_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, 0660, BACKLOG);
	if (dp->listener == -ENAMETOOLONG)
		snprintf(error, 256, "%.160s is too long for a socket (%d characters at most)",
			path, HB_UNIX_PATH_MAX);
	else if (dp->listener < 0)
		snprintf(error, 256, "cannot listen on %.160s: %s", path, strerror(-dp->listener));
	if (dp->listener < 0)
		return dp->listener;
	hb_log(HB_LOG_INFO, "listening", "socket=%s clients_max=%u", path, dp->shared->clients_max);
	return hb_dataplane_watch(dp, dp->listener, HB_EVENT_LISTENER, 0);
}

static void
refuse(struct hb_dataplane *dp, int socket, int error_number, const char *message)
{
	struct hb_attach_welcome welcome = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.error = error_number};

	snprintf(welcome.message, sizeof(welcome.message), "%s", message);
	count(dp, HB_COUNTER_CLIENTS_REFUSED); /* before he hears it, so that he can see it */
	hb_descriptors_send(socket, &welcome, sizeof(welcome), NULL, 0);
	hb_log(HB_LOG_WARN, "client_refused", "reason=\"%s\"", welcome.message);
}

/* @return 0 when a client of this uid may do nothing here */
static uint64_t
operation_mask(const struct hb_dataplane *dp, uid_t uid, bool *trusted)
{
	*trusted = uid == 0 || uid == dp->setup.control_uid;
	if (*trusted)
		return HB_OPS_CONTROL;
	return uid == dp->setup.front_uid || uid == geteuid() ? HB_OPS_FRONT : 0;
}

static struct hb_client_slot *
free_slot(struct hb_dataplane *dp)
{
	for (uint32_t i = 0; i < dp->shared->clients_max; i++)
		if (dp->slots[i].state == HB_SLOT_FREE)
			return &dp->slots[i];
	return NULL;
}

static void
accept_one(struct hb_dataplane *dp, int fd)
{
	struct hb_client_slot *slot = free_slot(dp);
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t length = sizeof(peer);
	char message[160];
	bool trusted;
	uint64_t mask;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
		close(fd);
		return;
	}
	mask = operation_mask(dp, peer.uid, &trusted);
	if (mask == 0 || slot == NULL) {
		if (mask == 0)
			snprintf(message, sizeof(message),
				"user %u may not attach: only user.front, user.control and root",
				peer.uid);
		else
			snprintf(message, sizeof(message),
				"all %u client slots are in use; raise dataplane.clients_max",
				dp->shared->clients_max);
		refuse(dp, fd, mask == 0 ? EPERM : EUSERS, message);
		close(fd);
		return;
	}
	*slot = (struct hb_client_slot){.state = HB_SLOT_GREETING,
		.socket = fd,
		.bell = {-1, -1},
		.trusted = trusted,
		.uid = peer.uid,
		.pid = peer.pid,
		.operation_mask = mask,
		.greeting_until_ns = hb_mono_ns() + HB_ATTACH_GREETING_NS};
	if (hb_dataplane_watch(dp, fd, HB_EVENT_CLIENT, (uint32_t)(slot - dp->slots)) != 0) {
		close(fd);
		slot->state = HB_SLOT_FREE;
	}
}

void
hb_attach_accept(struct hb_dataplane *dp)
{
	for (;;) {
		int fd = accept4(dp->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		accept_one(dp, fd);
	}
}

/* Give back everything but the slot's state; nobody maps it any more. */
static void
release(struct hb_dataplane *dp, struct hb_client_slot *slot)
{
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		hb_segment_unmap_twice(slot->request[i].data, slot->request[i].capacity);
		hb_segment_unmap_twice(slot->reply[i].data, slot->reply[i].capacity);
	}
	hb_segment_close(&slot->segment);
	hb_bell_close(&slot->bell);
	if (slot->socket >= 0)
		close(slot->socket);
	*slot = (struct hb_client_slot){.state = HB_SLOT_FREE, .socket = -1, .bell = {-1, -1}};
}

/* The client is gone or has to go. */
static void
hang_up(struct hb_dataplane *dp, struct hb_client_slot *slot)
{
	if (slot->state == HB_SLOT_GREETING) {
		release(dp, slot);
		return;
	}
	if (slot->state != HB_SLOT_ATTACHED)
		return;
	close(slot->socket); /* tells the client now; epoll forgets it */
	slot->socket = -1;
	slot->state = HB_SLOT_LEAVING;
	slot->holders = dp->shared->lcore_count;
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		struct hb_message message = {.kind = HB_LCORE_DETACH,
			.slot = (uint32_t)(slot - dp->slots),
			.generation = slot->generation};

		hb_dataplane_tell(dp, i, &message);
	}
	hb_log(HB_LOG_INFO, "client_detached", "name=\"%s\" pid=%d generation=%lu", slot->name,
		slot->pid, slot->generation);
	count(dp, HB_COUNTER_CLIENTS_DETACHED);
}

static uint32_t
ring_bytes(uint32_t wanted, uint32_t standard)
{
	return wanted == 0 ? standard : wanted;
}

static bool
ring_bytes_valid(uint32_t bytes)
{
	return bytes >= 4096 && bytes <= HB_ATTACH_RING_BYTES_MAX && hb_is_power_of_two(bytes);
}

/* @return NULL when the hello can be answered, else why not */
static const char *
hello_problem(const struct hb_attach_hello *hello, ssize_t got, char message[160])
{
	if (got != (ssize_t)sizeof(*hello) || hello->magic != HB_ATTACH_MAGIC)
		return "this is no attach hello (docs/frames.md)";
	if (hello->version != HB_ATTACH_VERSION) {
		snprintf(message, 160, "attach version %u is not known here, only %u",
			hello->version, HB_ATTACH_VERSION);
		return message;
	}
	/* 0: a client that was written from docs/frames.md, which is bound to the versions. */
	if (hello->layout_hash != 0 && hello->layout_hash != hb_layout_hash()) {
		snprintf(message, 160,
			"the client has layout %016lx, the dataplane %016lx: install both from one "
			"build",
			hello->layout_hash, hb_layout_hash());
		return message;
	}
	if (!ring_bytes_valid(ring_bytes(hello->request_bytes, HB_CLIENT_REQUEST_BYTES_DEFAULT)) ||
		!ring_bytes_valid(ring_bytes(hello->reply_bytes, HB_CLIENT_REPLY_BYTES_DEFAULT)))
		return "ring sizes are powers of two from 4096 to 16777216";
	return NULL;
}

static int
make_rings(struct hb_dataplane *dp, struct hb_client_slot *slot, uint32_t request, uint32_t reply)
{
	uint64_t bytes =
		HB_CLIENT_DATA_OFFSET + dp->shared->lcore_count * ((uint64_t)request + reply);
	uint64_t offset = HB_CLIENT_DATA_OFFSET;
	struct hb_client_layout *rings;
	int result = hb_segment_create(&slot->segment, "hongbao-client", HB_SEGMENT_CLIENT, bytes);

	if (result != 0)
		return result;
	((struct hb_segment_guard *)(void *)slot->segment.base)->generation = slot->generation;
	rings = (struct hb_client_layout *)(void *)(slot->segment.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		uint8_t *data = hb_segment_map_twice(slot->segment.fd, offset, request, false);

		if (data == NULL)
			return -errno;
		hb_ring_consumer(&slot->request[i], &rings->request[i], data, request);
		data = hb_segment_map_twice(slot->segment.fd, offset + request, reply, true);
		if (data == NULL)
			return -errno;
		hb_ring_producer(&slot->reply[i], &rings->reply[i], data, reply);
		offset += (uint64_t)request + reply;
	}
	result = hb_bell_make(&slot->bell);
	if (result != 0)
		return result;
	hb_segment_ready(&slot->segment);
	return 0;
}

static int
send_welcome(struct hb_dataplane *dp, const struct hb_client_slot *slot)
{
	struct hb_attach_welcome welcome = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.lcore_count = dp->shared->lcore_count,
		.operation_mask = slot->operation_mask,
		.generation = slot->generation,
		.request_bytes = (uint32_t)slot->request[0].capacity,
		.reply_bytes = (uint32_t)slot->reply[0].capacity};
	int fds[3 + HB_LCORE_COUNT_MAX] = {slot->segment.fd, slot->bell.wait, dp->node_segment.fd};
	uint32_t shared = 0;
	int result = 0;

	memcpy(welcome.lcore_of_partition, dp->shared->lcore_of_partition,
		sizeof(welcome.lcore_of_partition));
	for (; shared < dp->shared->lcore_count; shared++) {
		fds[3 + shared] = hb_bell_share(dp->shared->lcore_bell[shared].ring);
		if (fds[3 + shared] < 0) {
			result = fds[3 + shared];
			break;
		}
	}
	if (result == 0)
		result = hb_descriptors_send(
			slot->socket, &welcome, sizeof(welcome), fds, 3 + shared);
	for (uint32_t i = 0; i < shared; i++)
		close(fds[3 + i]);
	return result;
}

static void
greet(struct hb_dataplane *dp, struct hb_client_slot *slot)
{
	struct hb_attach_hello hello;
	int fds[HB_DESCRIPTORS_MAX];
	uint32_t fd_count;
	char message[160];
	ssize_t got = hb_descriptors_receive(slot->socket, &hello, sizeof(hello), fds, &fd_count);
	const char *problem;
	int result;

	for (uint32_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (got == -EAGAIN)
		return;
	problem = got > 0 ? hello_problem(&hello, got, message) : "";
	if (problem != NULL) {
		if (problem[0] != '\0')
			refuse(dp, slot->socket, EPROTO, problem);
		release(dp, slot);
		return;
	}
	slot->generation = ++dp->next_generation;
	snprintf(slot->name, sizeof(slot->name), "%.31s", hello.name);
	/* it carries frames from outside, whatever user it has: a name can only take rights away */
	if (strcmp(slot->name, HB_PORT_CLIENT_NAME) == 0) {
		slot->trusted = false;
		slot->operation_mask &= HB_OPS_FRONT;
	}
	result = make_rings(dp, slot,
		ring_bytes(hello.request_bytes, HB_CLIENT_REQUEST_BYTES_DEFAULT),
		ring_bytes(hello.reply_bytes, HB_CLIENT_REPLY_BYTES_DEFAULT));
	if (result != 0) {
		snprintf(message, sizeof(message), "cannot make the client's rings: %s",
			strerror(-result));
		refuse(dp, slot->socket, -result, message);
		release(dp, slot);
		return;
	}
	if (send_welcome(dp, slot) != 0) {
		release(dp, slot);
		return;
	}
	slot->state = HB_SLOT_ATTACHED;
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		struct hb_message attach = {.kind = HB_LCORE_ATTACH,
			.slot = (uint32_t)(slot - dp->slots),
			.generation = slot->generation,
			.client = slot};

		hb_dataplane_tell(dp, i, &attach);
	}
	hb_log(HB_LOG_INFO, "client_attached",
		"name=\"%s\" pid=%d uid=%u generation=%lu trusted=%d", slot->name, slot->pid,
		slot->uid, slot->generation, slot->trusted);
	count(dp, HB_COUNTER_CLIENTS_ATTACHED);
}

void
hb_attach_event(struct hb_dataplane *dp, uint32_t slot)
{
	if (dp->slots[slot].state == HB_SLOT_GREETING)
		greet(dp, &dp->slots[slot]);
	else
		hang_up(dp, &dp->slots[slot]); /* nothing is ever said after the hello */
}

static void
take_message(struct hb_dataplane *dp, const struct hb_message *message)
{
	struct hb_client_slot *slot = &dp->slots[message->slot];

	if (message->generation != slot->generation)
		return; /* a kick that crossed the client's own hang-up */
	if (message->kind == HB_MAIN_KICK) {
		hang_up(dp, slot);
		return;
	}
	HB_ASSERT(slot->state == HB_SLOT_LEAVING && slot->holders > 0);
	if (--slot->holders == 0)
		release(dp, slot);
}

void
hb_attach_messages(struct hb_dataplane *dp)
{
	struct hb_message message;

	for (uint32_t i = 0; i < dp->shared->lcore_count; i++)
		while (hb_spsc_pop(&dp->lcores[i]->to_main, &message))
			take_message(dp, &message);
}

void
hb_attach_expire(struct hb_dataplane *dp, uint64_t now_ns)
{
	for (uint32_t i = 0; i < dp->shared->clients_max; i++) {
		struct hb_client_slot *slot = &dp->slots[i];

		if (slot->state == HB_SLOT_GREETING && now_ns > slot->greeting_until_ns)
			release(dp, slot);
	}
}

void
hb_attach_close(struct hb_dataplane *dp)
{
	char path[HB_PATH_MAX];

	if (dp->listener >= 0) {
		hb_path(path, dp->setup.config->node_directory, HB_PATH_DATAPLANE_SOCKET);
		unlink(path);
		close(dp->listener);
	}
	for (uint32_t i = 0; dp->slots != NULL && i < dp->shared->clients_max; i++)
		if (dp->slots[i].state != HB_SLOT_FREE)
			release(dp, &dp->slots[i]);
}
