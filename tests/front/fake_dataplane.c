/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A stand-in for the dataplane that only the front's system test runs: the real attach handshake
 * and the real rings, but answers that echo the frame instead of deciding anything, so the test
 * sees what the front made of a request and what it makes of a reply.
 *
 *   fake_dataplane SOCKET LCORES
 *
 * Echoed: amount_fen = sequence or amount; other_fen = group; id = target. A frame for a packet
 * with the counter SILENT_COUNTER is never answered; REFUSED_COUNTER is answered sold_out,
 * GONE_COUNTER packet_gone. It ends by a signal, and then its clients see a hang-up as with the
 * real one.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "shm/client.h"
#include "shm/ids.h"
#include "shm/node.h"

#define CLIENTS_MAX	64
#define SILENT_COUNTER	0xdeadu
#define REFUSED_COUNTER 0xbeefu
#define GONE_COUNTER	0x907eu
#define LISTEN_BACKLOG	64

struct client {
	int socket; /* -1 = free */
	int wake;
	struct hb_segment segment;
	struct hb_ring_end request[HB_LCORE_COUNT_MAX];
	struct hb_ring_end reply[HB_LCORE_COUNT_MAX];
};

static uint32_t lcore_count;
static int lcore_wake[HB_LCORE_COUNT_MAX];
static struct hb_segment node_segment;
static struct hb_node *node;
static struct client clients[CLIENTS_MAX];

/* SIGUSR1: pushes are switched off; SIGUSR2: nothing is */
static void
degrade(int number)
{
	atomic_store(
		&node->degrade_level, number == SIGUSR1 ? HB_DEGRADE_NO_PUSH : HB_DEGRADE_NORMAL);
}

static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fake_dataplane: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
make_node(void)
{
	must(hb_segment_create(&node_segment, "hb-node", HB_SEGMENT_NODE,
		     HB_SEGMENT_GUARD_BYTES + sizeof(struct hb_node)) == 0,
		"node segment");
	node = (struct hb_node *)(void *)(node_segment.base + HB_SEGMENT_GUARD_BYTES);
	hb_node_init(node, lcore_count);
	signal(SIGUSR1, degrade);
	signal(SIGUSR2, degrade);
	for (uint32_t i = 0; i < lcore_count; i++) {
		lcore_wake[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		must(lcore_wake[i] >= 0, "eventfd");
	}
	hb_segment_ready(&node_segment);
	must(hb_segment_seal_read_only(&node_segment) == 0, "seal");
}

static int
listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	must(fd >= 0 && strlen(path) < sizeof(address.sun_path), "socket");
	memcpy(address.sun_path, path, strlen(path) + 1);
	unlink(path);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	must(chmod(path, 0666) == 0, "chmod");
	must(listen(fd, LISTEN_BACKLOG) == 0, "listen");
	return fd;
}

static void
welcome_client(const struct client *client, const struct hb_attach_welcome *welcome)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE((3 + HB_LCORE_COUNT_MAX) * sizeof(int))];
	} control = {0};
	struct iovec io = {.iov_base = (void *)(uintptr_t)welcome, .iov_len = sizeof(*welcome)};
	size_t fd_bytes = (3 + lcore_count) * sizeof(int);
	struct msghdr message = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(fd_bytes)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int fds[3 + HB_LCORE_COUNT_MAX] = {client->segment.fd, client->wake, node_segment.fd};

	memcpy(&fds[3], lcore_wake, lcore_count * sizeof(int));
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(fd_bytes);
	memcpy(CMSG_DATA(head), fds, fd_bytes);
	(void)!sendmsg(client->socket, &message, MSG_NOSIGNAL);
}

static void
make_rings(struct client *client, const struct hb_attach_welcome *welcome)
{
	uint64_t step = (uint64_t)welcome->request_bytes + welcome->reply_bytes;
	struct hb_client_layout *rings;

	must(hb_segment_create(&client->segment, "hb-client", HB_SEGMENT_CLIENT,
		     HB_CLIENT_DATA_OFFSET + lcore_count * step) == 0,
		"client segment");
	rings = (struct hb_client_layout *)(void *)(client->segment.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t i = 0; i < lcore_count; i++) {
		uint64_t at = HB_CLIENT_DATA_OFFSET + i * step;

		hb_ring_consumer(&client->request[i], &rings->request[i],
			hb_segment_map_twice(client->segment.fd, at, welcome->request_bytes, true),
			welcome->request_bytes);
		hb_ring_producer(&client->reply[i], &rings->reply[i],
			hb_segment_map_twice(client->segment.fd, at + welcome->request_bytes,
				welcome->reply_bytes, true),
			welcome->reply_bytes);
	}
	hb_segment_ready(&client->segment);
}

static void
attach(int listener)
{
	struct hb_attach_welcome welcome = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.lcore_count = lcore_count,
		.operation_mask = HB_OPS_FRONT,
		.request_bytes = HB_CLIENT_REQUEST_BYTES_DEFAULT,
		.reply_bytes = HB_CLIENT_REPLY_BYTES_DEFAULT};
	struct hb_attach_hello hello;
	struct client *client = NULL;

	for (int i = 0; i < CLIENTS_MAX && client == NULL; i++)
		if (clients[i].socket < 0)
			client = &clients[i];
	must(client != NULL, "no free client");
	client->socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(client->socket >= 0, "accept");
	if (recv(client->socket, &hello, sizeof(hello), 0) != (ssize_t)sizeof(hello)) {
		close(client->socket);
		client->socket = -1;
		return;
	}
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		welcome.lcore_of_partition[p] = (uint8_t)(p % lcore_count);
	client->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	must(client->wake >= 0, "eventfd");
	make_rings(client, &welcome);
	welcome_client(client, &welcome);
}

static void
detach(struct client *client)
{
	for (uint32_t i = 0; i < lcore_count; i++) {
		hb_segment_unmap_twice(client->request[i].data, client->request[i].capacity);
		hb_segment_unmap_twice(client->reply[i].data, client->reply[i].capacity);
	}
	hb_segment_close(&client->segment);
	close(client->wake);
	close(client->socket);
	client->socket = -1;
}

union hb_any {
	struct hb_frame head;
	struct hb_frame_packet_create create;
	struct hb_frame_transfer transfer;
	struct hb_frame_detail detail;
};

static void
detail_of(struct hb_reply_detail *detail, const union hb_any *any)
{
	detail->head.length = (uint16_t)hb_round_up(
		sizeof(*detail) + 2 * sizeof(struct hb_reply_claim), HB_FRAME_UNIT_BYTES);
	detail->head.count = 2;
	detail->head.amount_fen = 2;
	detail->head.other_fen = 900;
	detail->sender = 1001;
	detail->group = any->head.group;
	detail->total_fen = 1000;
	detail->left_fen = 400;
	detail->created_ms = 1700000000000;
	detail->deadline_ms = 1700086400000;
	detail->share_count = 10;
	detail->taken_count = 2;
	detail->luckiest_index = UINT32_MAX;
	detail->state = HB_PACKET_OPEN;
	detail->kind = HB_PACKET_LUCKY;
	detail->algorithm = HB_SPLIT_DOUBLE_MEAN;
	detail->greeting_length = 6;
	memcpy(detail->greeting, "a\"b\n\xc3\xa9", 6);
	for (uint32_t i = 0; i < 2; i++)
		detail->claims[i] = (struct hb_reply_claim){
			.user = 2001 + i, .amount_fen = 300, .time_ms = 1700000000001 + i};
}

/* @return false when the frame is not to be answered */
static bool
answer(const union hb_any *any, struct hb_reply *reply)
{
	uint64_t counter = any->head.target & HB_ID_COUNTER_MASK;
	bool is_packet = hb_id_kind(any->head.target) == HB_ID_PACKET;

	if (is_packet && counter == SILENT_COUNTER)
		return false;
	memset(reply, 0, HB_REPLY_BYTES_MAX);
	reply->version = HB_FRAME_VERSION;
	reply->operation = any->head.operation;
	reply->length = sizeof(*reply);
	reply->correlation = any->head.correlation;
	reply->as_of_seq = 77;
	reply->id = any->head.target;
	reply->other_fen = (int64_t)any->head.group;
	reply->amount_fen = any->head.sequence;
	reply->order_stamp = UINT64_C(1700000000000) << 14 | 1;
	if (hb_frame_check(&any->head, any->head.length) != HB_STATUS_OK)
		reply->status = HB_STATUS_FRAME_INVALID;
	else if (is_packet && counter == REFUSED_COUNTER)
		reply->status = HB_STATUS_SOLD_OUT;
	else if (is_packet && counter == GONE_COUNTER)
		reply->status = HB_STATUS_PACKET_GONE;
	else if (any->head.operation == HB_OP_TRANSFER)
		reply->amount_fen = any->transfer.amount_fen;
	else if (any->head.operation == HB_OP_PACKET_CREATE)
		reply->id = hb_id_make(HB_ID_PACKET, hb_partition_of(any->head.target), 1, 9);
	else if (any->head.operation == HB_OP_PACKET_DETAIL)
		detail_of((struct hb_reply_detail *)(void *)reply, any);
	return true;
}

static bool
serve_ring(struct client *client, uint32_t lcore)
{
	_Alignas(64) uint8_t bytes[HB_REPLY_BYTES_MAX];
	struct hb_reply *reply = (struct hb_reply *)(void *)bytes;
	uint8_t *at = NULL;
	int64_t left = hb_ring_peek(&client->request[lcore], (void **)&at);
	bool worked = left > 0;

	must(left >= 0, "damaged ring");
	while (left > 0) {
		union hb_any any;
		uint32_t length = ((const struct hb_frame *)(const void *)at)->length;

		HB_ASSERT(length >= sizeof(struct hb_frame) && length <= left);
		memcpy(&any, at, length);
		if (answer(&any, reply)) {
			void *room = hb_ring_reserve(&client->reply[lcore], reply->length);

			must(room != NULL, "reply ring is full");
			memcpy(room, reply, reply->length);
			hb_ring_advance(&client->reply[lcore], reply->length);
		}
		hb_ring_consume(&client->request[lcore], length);
		at += length;
		left -= length;
	}
	if (worked && hb_ring_publish(&client->reply[lcore]))
		(void)!write(client->wake, &(uint64_t){1}, sizeof(uint64_t));
	return worked;
}

static bool
serve(void)
{
	bool worked = false;

	for (int i = 0; i < CLIENTS_MAX; i++)
		for (uint32_t lcore = 0; clients[i].socket >= 0 && lcore < lcore_count; lcore++)
			worked |= serve_ring(&clients[i], lcore);
	return worked;
}

static void
sleep_until_something(int listener)
{
	struct pollfd fds[1 + HB_LCORE_COUNT_MAX + CLIENTS_MAX];
	uint64_t rung;
	nfds_t count = 0;

	fds[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
	for (uint32_t i = 0; i < lcore_count; i++)
		fds[count++] = (struct pollfd){.fd = lcore_wake[i], .events = POLLIN};
	for (int i = 0; i < CLIENTS_MAX; i++)
		fds[count++] = (struct pollfd){.fd = clients[i].socket, .events = POLLIN};
	/* a signal: look again */
	if (poll(fds, count, -1) < 0 && errno == EINTR)
		return;
	for (uint32_t i = 0; i < lcore_count; i++)
		(void)!read(lcore_wake[i], &rung, sizeof(rung));
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (clients[i].socket >= 0 && fds[1 + lcore_count + (nfds_t)i].revents != 0)
			detach(&clients[i]);
	if (fds[0].revents != 0)
		attach(listener);
}

static void
announce_sleep(uint32_t sleeping)
{
	for (uint32_t i = 0; i < lcore_count; i++)
		atomic_store(&node->lcore[i].sleeping, sleeping);
}

int
main(int argc, char **argv)
{
	int listener;

	if (argc != 3) {
		fprintf(stderr, "usage: fake_dataplane SOCKET LCORES\n");
		return 2;
	}
	lcore_count = (uint32_t)strtoul(argv[2], NULL, 10);
	must(lcore_count >= 1 && lcore_count <= HB_LCORE_COUNT_MAX, "lcores");
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i].socket = -1;
	make_node();
	listener = listen_on(argv[1]);
	for (;;) {
		if (serve())
			continue;
		announce_sleep(1);
		if (!serve())
			sleep_until_something(listener);
		announce_sleep(0);
	}
}
