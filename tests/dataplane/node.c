/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The dataplane under test and its persist: see node.h.
 */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "dataplane/descriptors.h"
#include "dataplane/env.h"
#include "shm/engine.h"
#include "shm/ids.h"
#include "shm/record.h"

static const struct hb_capacity capacity = {.accounts = 4096,
	.packets = 1024,
	.arena_bytes = 1 << 20,
	.windows = 4096,
	.orders = 4096,
	.idempotency = 4096,
	.holds = 1024};

/* One connection's life of the fake persist. */
struct session {
	struct fake_persist *persist;
	struct hb_segment journal;
	struct hb_journal_rings *rings;
	struct hb_ring_end ring[HB_PARTITION_COUNT];
	uint32_t lcore_count;
	int lcore_wake[HB_LCORE_COUNT_MAX];
	int wake;
	int socket;
};

static void
replay(struct fake_persist *persist, const struct hb_record *record)
{
	struct hb_partition *p = &persist->replayed.partition[record->ring];
	struct hb_credit credit;

	if (record->core_sequence <= p->head->core_sequence)
		return; /* on disk already, its tail was not moved before the kill */
	HB_ASSERT(hb_apply_check(p, record) == NULL);
	hb_apply(p, record, &credit);
	if (credit.account != 0)
		hb_apply_credit(&persist->replayed.partition[hb_partition_of(credit.account)],
			p->number, &credit);
	atomic_fetch_add(&persist->seq, 1);
}

static bool
commit(struct session *s)
{
	uint64_t bytes[HB_PARTITION_COUNT];
	bool any = false;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		uint8_t *at;
		int64_t left = hb_ring_peek(&s->ring[p], (void **)&at);

		HB_ASSERT(left >= 0);
		bytes[p] = (uint64_t)left;
		for (; left > 0; any = true) {
			const struct hb_record *record = (const void *)at;

			HB_ASSERT(hb_record_verify(record, (size_t)left) == NULL);
			HB_ASSERT(record->ring == p);
			replay(s->persist, record);
			at += record->length;
			left -= record->length;
		}
	}
	if (atomic_load(&s->persist->die))
		return false; /* killed between writing and moving the tails */
	atomic_store(&s->rings->committed_seq, atomic_load(&s->persist->seq));
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		atomic_store(&s->rings->applied[p],
			s->persist->replayed.partition[p].head->core_sequence);
		if (bytes[p] > 0)
			hb_ring_consume(&s->ring[p], bytes[p]);
	}
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < s->lcore_count && any; i++)
		if (atomic_load(&s->rings->lcore[i].waiting) != 0)
			eventfd_write(s->lcore_wake[i], 1);
	return any;
}

static void
wait_for_records(struct session *s)
{
	struct pollfd p = {.fd = s->wake, .events = POLLIN};
	eventfd_t rung;
	bool empty = true;
	void *at;

	atomic_store(&s->rings->persist_sleeping, 1);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		empty = empty && hb_ring_peek(&s->ring[i], &at) == 0;
	if (empty && poll(&p, 1, 20) > 0)
		eventfd_read(s->wake, &rung);
	atomic_store(&s->rings->persist_sleeping, 0);
}

static void
make_journal(struct session *s)
{
	HB_ASSERT(
		hb_segment_create(&s->journal, "test-journal", HB_SEGMENT_JOURNAL,
			HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES) == 0);
	hb_segment_ready(&s->journal);
}

static bool
greet(struct session *s)
{
	struct hb_link_welcome welcome = {.magic = HB_LINK_MAGIC,
		.version = HB_LINK_VERSION,
		.layout_hash = hb_layout_hash(),
		.node = 1,
		.epoch = s->persist->epoch};
	struct hb_link_hello hello;
	struct hb_state fresh;
	char error[160];
	int fds[HB_DESCRIPTORS_MAX], out[3];
	uint32_t fd_count;
	ssize_t got;

	do {
		struct pollfd p = {.fd = s->socket, .events = POLLIN};

		poll(&p, 1, 10);
		if (atomic_load(&s->persist->die))
			return false;
		got = hb_descriptors_receive(s->socket, &hello, sizeof(hello), fds, &fd_count);
	} while (got == -EAGAIN);
	HB_ASSERT(got == (ssize_t)sizeof(hello) && hello.magic == HB_LINK_MAGIC);
	s->lcore_count = hello.lcore_count;
	memcpy(s->lcore_wake, fds, hello.lcore_count * sizeof(int));
	s->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	out[0] = s->wake;
	if (hello.mode == HB_LINK_RESUME) {
		HB_ASSERT(fd_count == hello.lcore_count + 1);
		HB_ASSERT(hb_segment_attach(&s->journal, fds[hello.lcore_count], HB_SEGMENT_JOURNAL,
				  true, error) == 0);
		hb_descriptors_send(s->socket, &welcome, sizeof(welcome), out, 1);
	} else {
		make_journal(s);
		HB_ASSERT(hb_state_create(&fresh, &capacity, 1) == 0);
		out[1] = s->journal.fd;
		out[2] = fresh.segment.fd;
		hb_descriptors_send(s->socket, &welcome, sizeof(welcome), out, 3);
		hb_state_close(&fresh);
	}
	s->rings = (void *)(s->journal.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		hb_ring_consumer(&s->ring[p], &s->rings->ring[p],
			hb_segment_map_twice(s->journal.fd,
				HB_JOURNAL_DATA_OFFSET + p * HB_JOURNAL_RING_BYTES,
				HB_JOURNAL_RING_BYTES, false),
			HB_JOURNAL_RING_BYTES);
	return true;
}

static bool
hung_up(int socket)
{
	char byte;

	return recv(socket, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
serve(struct session *s)
{
	if (greet(s)) {
		atomic_store(&s->persist->attached, true);
		while (!atomic_load(&s->persist->die) && !hung_up(s->socket)) {
			if (atomic_load(&s->persist->hold))
				usleep(200);
			else if (!commit(s))
				wait_for_records(s);
		}
		if (!atomic_load(&s->persist->die))
			while (commit(s)) /* the dataplane ended: drain */
				;
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			hb_segment_unmap_twice(s->ring[p].data, HB_JOURNAL_RING_BYTES);
	}
	for (uint32_t i = 0; i < s->lcore_count; i++)
		close(s->lcore_wake[i]);
	if (s->wake > 0)
		close(s->wake);
	hb_segment_close(&s->journal);
	close(s->socket);
	atomic_store(&s->persist->attached, false);
}

static void *
run_persist(void *argument)
{
	struct fake_persist *persist = argument;

	while (!atomic_load(&persist->die)) {
		struct session s = {.persist = persist};
		struct pollfd p = {.fd = persist->listener, .events = POLLIN};

		poll(&p, 1, 10);
		s.socket = accept4(persist->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (s.socket >= 0)
			serve(&s);
	}
	close(persist->listener);
	return NULL;
}

void
persist_start(struct node *node)
{
	struct fake_persist *persist = &node->persist;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[HB_PATH_MAX];

	hb_path(path, node->directory, HB_PATH_PERSIST_SOCKET);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	unlink(path);
	persist->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(persist->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(persist->listener, 8), 0);
	atomic_store(&persist->die, false);
	assert_int_equal(pthread_create(&persist->thread, NULL, run_persist, persist), 0);
}

void
persist_kill(struct node *node)
{
	atomic_store(&node->persist.die, true);
	pthread_join(node->persist.thread, NULL);
}

static void *
run_dataplane(void *argument)
{
	struct node *node = argument;

	node->result = hb_dataplane_run(&node->setup, node->error);
	return NULL;
}

static void
make_directories(struct node *node)
{
	static const char *const parts[] = {"socket", "socket/dataplane", "socket/persist"};
	char path[HB_PATH_MAX];

	snprintf(node->directory, sizeof(node->directory), "/tmp/dataplane-test-XXXXXX");
	assert_non_null(mkdtemp(node->directory));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hb_path(path, node->directory, parts[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	chmod(node->directory, 0755);
	snprintf(node->socket, sizeof(node->socket), "%s/%s", node->directory,
		HB_PATH_DATAPLANE_SOCKET);
}

int64_t node_retention_s;
const char *node_frame_keys;
uint32_t node_port_count = 1;

/* Ports as env_plain.c has them, with these keys. */
static void
open_ports(struct node *node)
{
	char path[256];
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "%s/key", node->directory);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/%s", node->directory, HB_PATH_KEY_FRAME);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	file = fdopen(fd, "w");
	assert_non_null(file);
	fputs(node_frame_keys, file);
	assert_int_equal(fclose(file), 0);
	snprintf(node->config.port_address, sizeof(node->config.port_address), "10.0.0.1");
	node->setup.port_count = node_port_count;
}

void
node_start(struct node *node, uint32_t lcores, uint32_t parked_max)
{
	int pair[2];

	memset(node, 0, sizeof(*node));
	hb_log_open("test", 0);
	make_directories(node);
	hb_config_defaults(&node->config);
	snprintf(node->config.node_directory, sizeof(node->config.node_directory), "%s",
		node->directory);
	node->config.dataplane_lcores = lcores;
	node->config.dataplane_parked_max = parked_max;
	node->config.dataplane_clients_max = 256;
	if (node_retention_s != 0)
		node->config.capacity_retention_s = node_retention_s;
	node->setup.config = &node->config;
	node->setup.front_uid = 65534;
	node->setup.control_uid = getuid();
	node->setup.token_keys.count = 1;
	memcpy(node->setup.token_keys.key[0], "0123456789abcdef", HB_TOKEN_KEY_BYTES);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	node->setup.stop_fd = pair[0];
	node->signals = pair[1];
	if (node_frame_keys != NULL)
		open_ports(node);
	node->persist.epoch = 1;
	assert_int_equal(hb_state_create(&node->persist.replayed, &capacity, 1), 0);
	persist_start(node);
	assert_int_equal(pthread_create(&node->thread, NULL, run_dataplane, node), 0);
}

void
node_remove(const char *directory)
{
	static const char *const parts[] = {HB_PATH_PERSIST_SOCKET, HB_PATH_DATAPLANE_SOCKET,
		"socket/dataplane", "socket/persist", "socket", HB_PATH_KEY_FRAME,
		HB_PATH_KEY_TOKEN, "key", ""};
	char path[HB_PATH_MAX];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hb_path(path, directory, parts[i]);
		remove(path);
	}
}

void
node_signal(struct node *node, uint32_t number)
{
	struct signalfd_siginfo information = {.ssi_signo = number};

	assert_int_equal(
		write(node->signals, &information, sizeof(information)), sizeof(information));
}

void
node_stop(struct node *node)
{
	node_signal(node, SIGTERM);
	pthread_join(node->thread, NULL);
	assert_string_equal(node->error, "");
	assert_int_equal(node->result, 0);
	while (atomic_load(&node->persist.attached))
		usleep(200);
	persist_kill(node);
	hb_state_close(&node->persist.replayed);
	close(node->setup.stop_fd);
	close(node->signals);
	node_remove(node->directory);
}

struct hb_client *
node_client_sized(struct node *node, uint32_t request, uint32_t reply)
{
	struct hb_client *client = NULL;
	char error[160] = "";

	for (int i = 0; i < 500 && client == NULL; i++) {
		int result = hb_client_open(&client, node->socket, "test", request, reply, error);

		if (result != 0 && result != -ENOENT && result != -ECONNREFUSED)
			break;
		if (result != 0)
			usleep(2000);
	}
	if (client == NULL)
		fail_msg("cannot attach: %s", error);
	return client;
}

struct hb_client *
node_client(struct node *node, const char *name)
{
	(void)name;
	return node_client_sized(node, 0, 0);
}

void
frame_begin(
	void *frame, enum hb_operation operation, uint32_t length, uint64_t target, uint64_t user)
{
	struct hb_frame *f = frame;

	memset(frame, 0, length);
	f->version = HB_FRAME_VERSION;
	f->operation = (uint8_t)operation;
	f->length = (uint16_t)length;
	f->issued_s = (uint32_t)time(NULL);
	f->target = target;
	f->user = user;
}

uint16_t
call(struct hb_client *client, void *frame, void *reply)
{
	int result = hb_client_call(client, frame, reply, 3000);

	if (result != 0)
		fail_msg("no reply: %s", strerror(-result));
	return ((struct hb_reply *)reply)->status;
}

void
fund(struct hb_client *client, uint64_t account, int64_t amount_fen)
{
	struct hb_frame_account_open open;
	struct hb_frame_order order;
	union {
		struct hb_reply head;
		uint8_t bytes[HB_REPLY_BYTES_MAX];
	} reply;

	frame_begin(&open, HB_OP_ACCOUNT_OPEN, sizeof(open), account, 0);
	open.kind = HB_ACCOUNT_USER;
	assert_int_equal(call(client, &open, &reply), HB_STATUS_OK);
	frame_begin(&order, HB_OP_ORDER_OPEN, sizeof(order), account, 0);
	order.amount_fen = amount_fen;
	order.business = HB_BUSINESS_RECHARGE;
	order.channel = HB_SYSTEM_CLEARING_MANUAL;
	assert_int_equal(call(client, &order, &reply), HB_STATUS_OK);
	order.head.operation = HB_OP_CREDIT;
	order.order_stamp = reply.head.order_stamp;
	assert_int_equal(call(client, &order, &reply), HB_STATUS_OK);
}

uint64_t
send_packet(struct hb_client *client, uint64_t sender, int64_t total_fen, uint32_t count,
	uint32_t lifetime_s)
{
	struct hb_frame_packet_create create;
	struct hb_reply reply;

	frame_begin(&create, HB_OP_PACKET_CREATE, sizeof(create), sender, sender);
	create.head.group = 7;
	create.kind = HB_PACKET_LUCKY;
	create.algorithm = HB_SPLIT_DOUBLE_MEAN;
	create.count = count;
	create.total_fen = total_fen;
	create.lifetime_s = lifetime_s;
	assert_int_equal(call(client, &create, &reply), HB_STATUS_OK);
	return reply.id;
}

void
grab_frame(struct hb_frame *frame, uint64_t packet, uint64_t user)
{
	frame_begin(frame, HB_OP_GRAB, sizeof(*frame), packet, user);
	frame->group = 7;
	frame->correlation = user;
}

int64_t
balance(struct hb_client *client, uint64_t account)
{
	struct hb_frame frame;
	struct hb_reply reply;
	uint16_t status;

	frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), account, account);
	status = call(client, &frame, &reply);
	return status == HB_STATUS_OK ? reply.amount_fen : -1;
}

uint64_t
counter(struct hb_client *client, enum hb_counter which)
{
	const struct hb_segment *segment = hb_client_node_segment(client);

	return hb_counter_sum(
		(const struct hb_node *)(const void *)(segment->base + HB_SEGMENT_GUARD_BYTES),
		which);
}

void
tally_reply(void *context, const struct hb_reply *reply)
{
	struct tally *t = context;

	if (reply->status == HB_STATUS_OK)
		t->ok++;
	else if (reply->status == HB_STATUS_BUSY)
		t->busy++;
	else
		t->other++;
}

void
tally_collect(struct hb_client *client, struct tally *t, uint32_t expected, uint32_t timeout_ms)
{
	uint64_t until_ns = hb_mono_ns() + timeout_ms * UINT64_C(1000000);

	while (t->ok + t->busy + t->other < expected && hb_mono_ns() < until_ns) {
		assert_true(hb_client_poll(client, tally_reply, t, 32) >= 0);
		usleep(100);
	}
}
