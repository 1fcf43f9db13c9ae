/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The duty cycle of the port lcore (dataplane/port.h): packets in, frames to their owners, replies
 * out. Everything is bounded: a burst of packets a turn, a table of requests under way. An
 * authentic frame without room is answered "busy"; what is not authentic is counted and dropped.
 */
#include "dataplane/port.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/realtime.h"
#include "dataplane/env.h"
#include "shm/client.h"
#include "shm/ids.h"

#define BURST_PACKETS	 32
#define REPLIES_PER_TURN 1024
#define BUILDERS	 8 /* datagrams being filled, one per front and key */
#define RING_BYTES	 (1u << 20)
#define ATTACH_RETRY_NS	 UINT64_C(100000000)
#define SPIN_NS		 UINT64_C(3000)
#define NAP_NS_MIN	 UINT64_C(50000)
#define NAP_NS_MAX	 UINT64_C(300000)
#define NAP_NS_SILENT	 UINT64_C(1000000) /* when nothing came for SILENT_NS */
#define SILENT_NS	 UINT64_C(1000000000)

/* A frame under way to its owner; its place is in the correlation. */
struct pending {
	struct hb_wire_peer peer;
	uint64_t correlation; /* the front's */
	uint32_t key_id;
	uint32_t generation;
	uint32_t next_free;
	uint16_t udp_port; /* ours, that the frame came to */
	uint8_t port;
	bool used;
};

/* A datagram of replies being filled. */
struct builder {
	struct hb_env_packet packet;
	struct hb_wire_peer peer;
	uint32_t key_id;
	uint32_t bytes; /* of replies */
	uint16_t udp_port;
	uint8_t port;
	uint8_t count; /* 0: free */
};

struct hb_port {
	struct hb_node *node;
	char socket_path[HB_PATH_MAX];
	char key_path[HB_PATH_MAX];
	struct hb_client *client; /* NULL: not attached */
	struct hb_wire_self self[HB_ENV_PORTS_MAX];
	uint32_t port_count;
	uint32_t udp_base;
	uint64_t attach_retry_ns;
	uint64_t datagram_number;
	bool busy_idle;
	struct hb_front_keys *keys;
	_Atomic(struct hb_front_keys *) fresh_keys; /* of the main thread, taken by the lcore */
	_Atomic bool stopping;
	uint32_t first_free;
	struct pending pending[HB_PORT_PENDING_MAX];
	struct builder builder[BUILDERS];
	uint32_t builder_next; /* given up first when another is wanted */
};

#define NONE UINT32_MAX

static void
count(struct hb_port *port, enum hb_counter counter, uint64_t n)
{
	hb_counter_add(port->node, HB_COUNTER_COLUMN_PORT, counter, n);
}

/* ---- frames under way ---- */

static void
pending_reset(struct hb_port *port)
{
	for (uint32_t i = 0; i < HB_PORT_PENDING_MAX; i++) {
		port->pending[i].used = false;
		port->pending[i].generation++;
		port->pending[i].next_free = i + 1 < HB_PORT_PENDING_MAX ? i + 1 : NONE;
	}
	port->first_free = 0;
}

static struct pending *
pending_new(struct hb_port *port)
{
	struct pending *entry;

	if (port->first_free == NONE)
		return NULL;
	entry = &port->pending[port->first_free];
	port->first_free = entry->next_free;
	entry->used = true;
	entry->generation++;
	return entry;
}

static void
pending_free(struct hb_port *port, struct pending *entry)
{
	entry->used = false;
	entry->next_free = port->first_free;
	port->first_free = (uint32_t)(entry - port->pending);
}

static uint64_t
correlation_of(const struct hb_port *port, const struct pending *entry)
{
	return (uint64_t)entry->generation << 32 | (uint64_t)(entry - port->pending);
}

static struct pending *
pending_find(struct hb_port *port, uint64_t correlation)
{
	struct pending *entry;

	if ((uint32_t)correlation >= HB_PORT_PENDING_MAX)
		return NULL;
	entry = &port->pending[(uint32_t)correlation];
	return entry->used && entry->generation == correlation >> 32 ? entry : NULL;
}

/* ---- answers ---- */

static void
builder_send(struct hb_port *port, struct builder *builder)
{
	const struct hb_front_key *key = hb_front_key_find(port->keys, builder->key_id);
	uint8_t *datagram = builder->packet.bytes + HB_WIRE_HEADERS_BYTES;
	struct hb_datagram head = {.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.flags = HB_DATAGRAM_FLAG_REPLY,
		.count = builder->count,
		.key_id = builder->key_id,
		.bytes = builder->bytes};

	builder->count = 0;
	if (key == NULL) { /* taken out meanwhile */
		count(port, HB_COUNTER_PORT_KEY_UNKNOWN, 1);
		hb_env_packet_drop(&builder->packet);
		return;
	}
	head.number = ++port->datagram_number;
	memcpy(datagram, &head, sizeof(head));
	hb_datagram_seal(datagram, key->key);
	builder->packet.length = hb_wire_head(&port->self[builder->port], &builder->peer,
		builder->udp_port, builder->packet.bytes, HB_DATAGRAM_HEAD_BYTES + builder->bytes);
	if (hb_env_port_send(builder->port, &builder->packet, 1) == 1)
		count(port, HB_COUNTER_PORT_SENT, 1);
	else
		count(port, HB_COUNTER_PORT_UNSENT, 1);
}

static bool
builder_fits(const struct builder *builder, const struct pending *to)
{
	return builder->count > 0 && builder->key_id == to->key_id && builder->port == to->port &&
	       builder->udp_port == to->udp_port &&
	       memcmp(&builder->peer, &to->peer, sizeof(to->peer)) == 0;
}

/* The datagram that a reply of `bytes` bytes goes into. @return NULL when there is no packet */
static struct builder *
builder_for(struct hb_port *port, const struct pending *to, uint32_t bytes)
{
	struct builder *builder = NULL;

	for (uint32_t i = 0; i < BUILDERS && builder == NULL; i++)
		if (builder_fits(&port->builder[i], to))
			builder = &port->builder[i];
	if (builder == NULL) {
		builder = &port->builder[port->builder_next++ % BUILDERS];
		if (builder->count > 0)
			builder_send(port, builder);
	} else if (builder->count == HB_DATAGRAM_FRAMES_MAX ||
		   HB_DATAGRAM_HEAD_BYTES + builder->bytes + bytes > HB_DATAGRAM_BYTES_MAX) {
		builder_send(port, builder);
	}
	if (builder->count > 0)
		return builder;
	if (!hb_env_packet_new(&builder->packet))
		return NULL;
	builder->peer = to->peer;
	builder->key_id = to->key_id;
	builder->udp_port = to->udp_port;
	builder->port = to->port;
	builder->bytes = 0;
	return builder;
}

static void
answer(struct hb_port *port, const struct pending *to, const struct hb_reply *reply)
{
	struct builder *builder = builder_for(port, to, reply->length);
	uint8_t *copy;

	if (builder == NULL) {
		count(port, HB_COUNTER_PORT_UNSENT, 1);
		return;
	}
	copy = builder->packet.bytes + HB_WIRE_HEADERS_BYTES + HB_DATAGRAM_HEAD_BYTES +
	       builder->bytes;
	memcpy(copy, reply, reply->length);
	memcpy(copy + offsetof(struct hb_reply, correlation), &to->correlation,
		sizeof(to->correlation));
	builder->bytes += reply->length;
	builder->count++;
}

static void
refuse(struct hb_port *port, const struct pending *to, const struct hb_frame *frame,
	enum hb_status status)
{
	const struct hb_reply reply = {.version = HB_FRAME_VERSION,
		.operation = frame->operation,
		.length = sizeof(reply),
		.status = (uint16_t)status};

	answer(port, to, &reply);
}

static void
take_reply(void *context, const struct hb_reply *reply)
{
	struct hb_port *port = context;
	struct pending *entry = pending_find(port, reply->correlation);

	if (entry == NULL)
		return; /* of before the last attach */
	answer(port, entry, reply);
	pending_free(port, entry);
}

/* ---- frames ---- */

/* One whole frame, copied out of its packet. `from` says where the answer goes. */
static void
take_frame(struct hb_port *port, struct pending *from, const struct hb_front_key *key,
	struct hb_frame *frame)
{
	struct pending *entry;
	enum hb_status status = hb_frame_check(frame, frame->length);
	uint8_t owner;

	count(port, HB_COUNTER_PORT_FRAMES, 1);
	from->correlation = frame->correlation;
	if (status == HB_STATUS_OK && (key->operation_mask & HB_OP_BIT(frame->operation)) == 0) {
		count(port, HB_COUNTER_PORT_NOT_ALLOWED, 1);
		status = HB_STATUS_NOT_ALLOWED;
	}
	if (status != HB_STATUS_OK) {
		refuse(port, from, frame, status);
		return;
	}
	owner = port->node->lcore_of_partition[hb_partition_of(frame->target)];
	if (from->udp_port != port->udp_base + owner)
		count(port, HB_COUNTER_PORT_RESTEERED, 1);
	entry = port->client != NULL ? pending_new(port) : NULL;
	if (entry != NULL) {
		uint32_t generation = entry->generation;

		*entry = *from;
		entry->used = true;
		entry->generation = generation;
		frame->correlation = correlation_of(port, entry);
		if (hb_client_send(port->client, frame) == 0)
			return;
		pending_free(port, entry);
	}
	count(port, HB_COUNTER_PORT_BUSY, 1);
	refuse(port, from, frame, HB_STATUS_BUSY);
}

/* The frames of an authentic datagram. */
static void
take_frames(struct hb_port *port, struct pending *from, const struct hb_front_key *key,
	const struct hb_datagram *datagram)
{
	static _Alignas(64) uint8_t copy[HB_FRAME_BYTES_MAX];
	const uint8_t *at = (const uint8_t *)(datagram + 1);
	uint32_t left = datagram->bytes;
	struct hb_frame *frame = (void *)copy;

	for (uint32_t i = 0; i < datagram->count; i++) {
		if (left >= sizeof(*frame))
			memcpy(copy, at, sizeof(*frame));
		if (left < sizeof(*frame) || frame->length < sizeof(*frame) ||
			frame->length > HB_FRAME_BYTES_MAX ||
			frame->length % HB_FRAME_UNIT_BYTES != 0 || frame->length > left) {
			count(port, HB_COUNTER_PORT_BROKEN, 1);
			return;
		}
		memcpy(copy, at, frame->length);
		at += frame->length;
		left -= frame->length;
		take_frame(port, from, key, frame);
	}
	if (left != 0)
		count(port, HB_COUNTER_PORT_BROKEN, 1);
}

static void
take_datagram(struct hb_port *port, uint8_t number, const struct hb_wire_udp *udp)
{
	static _Alignas(64) uint8_t copy[HB_DATAGRAM_BYTES_MAX];
	const struct hb_datagram *datagram = (const void *)copy;
	struct pending from = {.peer = udp->peer, .udp_port = udp->port, .port = number};
	const struct hb_front_key *key;

	if (udp->port < port->udp_base || udp->port >= port->udp_base + port->node->lcore_count) {
		count(port, HB_COUNTER_PORT_OTHER, 1);
		return;
	}
	if (udp->bytes < sizeof(*datagram) || udp->bytes > sizeof(copy)) {
		count(port, HB_COUNTER_PORT_BROKEN, 1);
		return;
	}
	memcpy(copy, udp->payload, udp->bytes);
	if (!hb_datagram_shape_ok(datagram, udp->bytes, 0)) {
		count(port, HB_COUNTER_PORT_BROKEN, 1);
		return;
	}
	key = hb_front_key_find(port->keys, datagram->key_id);
	if (key == NULL) {
		count(port, HB_COUNTER_PORT_KEY_UNKNOWN, 1);
		return;
	}
	if (!hb_datagram_authentic(datagram, key->key)) {
		count(port, HB_COUNTER_PORT_FORGED, 1);
		return;
	}
	count(port, HB_COUNTER_PORT_DATAGRAMS, 1);
	from.key_id = key->id;
	take_frames(port, &from, key, datagram);
}

/* ---- packets ---- */

static void
take_packet(struct hb_port *port, uint8_t number, struct hb_env_packet *packet)
{
	struct hb_wire_udp udp;
	bool arp = false;

	count(port, HB_COUNTER_PORT_PACKETS, 1);
	switch (hb_wire_take(&port->self[number], packet->bytes, packet->length, &udp, &arp)) {
	case HB_WIRE_UDP:
		take_datagram(port, number, &udp);
		break;
	case HB_WIRE_ANSWERED:
		count(port, arp ? HB_COUNTER_PORT_ARP : HB_COUNTER_PORT_ICMP, 1);
		if (hb_env_port_send(number, packet, 1) == 1)
			count(port, HB_COUNTER_PORT_SENT, 1);
		else
			count(port, HB_COUNTER_PORT_UNSENT, 1);
		return;
	case HB_WIRE_BROKEN:
		count(port, HB_COUNTER_PORT_BROKEN, 1);
		break;
	case HB_WIRE_OTHER:
		count(port, HB_COUNTER_PORT_OTHER, 1);
		break;
	}
	hb_env_packet_drop(packet);
}

static bool
receive_all(struct hb_port *port)
{
	struct hb_env_packet packets[BURST_PACKETS];
	bool any = false;

	for (uint8_t number = 0; number < port->port_count; number++) {
		uint32_t n = hb_env_port_receive(number, packets, BURST_PACKETS);

		for (uint32_t i = 0; i < n; i++)
			take_packet(port, number, &packets[i]);
		any |= n > 0;
	}
	return any;
}

static void
send_all(struct hb_port *port)
{
	for (uint32_t i = 0; i < BUILDERS; i++)
		if (port->builder[i].count > 0)
			builder_send(port, &port->builder[i]);
}

/* ---- the client end ---- */

static void
detach(struct hb_port *port)
{
	hb_client_close(port->client);
	port->client = NULL;
	pending_reset(port);
}

static void
attach_if_due(struct hb_port *port, uint64_t now_ns)
{
	char error[160];

	if (port->client != NULL || now_ns < port->attach_retry_ns)
		return;
	port->attach_retry_ns = now_ns + ATTACH_RETRY_NS;
	if (hb_client_open(&port->client, port->socket_path, HB_PORT_CLIENT_NAME, RING_BYTES,
		    RING_BYTES, error) != 0)
		port->client = NULL;
}

/* @return true when there were replies */
static bool
poll_replies(struct hb_port *port)
{
	int n;

	if (port->client == NULL)
		return false;
	n = hb_client_poll(port->client, take_reply, port, REPLIES_PER_TURN);
	if (n < 0) {
		hb_log(HB_LOG_ERROR, "port_rings_damaged", "advice=\"attaching again\"");
		detach(port);
	}
	return n > 0;
}

static bool
hung_up(const struct hb_port *port)
{
	struct pollfd socket = {.fd = hb_client_socket_fd(port->client), .events = POLLIN};

	return poll(&socket, 1, 0) > 0;
}

/* ---- idle ---- */

static void
nap(struct hb_port *port, uint64_t ns)
{
	const struct timespec limit = {.tv_nsec = (long)ns};
	struct pollfd watched = {.fd = -1, .events = POLLIN};

	if (port->client == NULL) {
		nanosleep(&limit, NULL);
		return;
	}
	/* Drivers without interrupts are polled, so a sleep is short; a reply ends it at once. */
	watched.fd = hb_client_wake_fd(port->client);
	if (hb_client_sleep(port->client))
		(void)ppoll(&watched, 1, &limit, NULL);
	hb_client_awake(port->client);
}

static void
idle(struct hb_port *port, uint64_t now_ns, uint64_t idle_since_ns, uint64_t *nap_ns)
{
	if (port->busy_idle || now_ns - idle_since_ns < SPIN_NS) {
		hb_env_pause();
		return;
	}
	nap(port, *nap_ns);
	if (now_ns - idle_since_ns > SILENT_NS)
		*nap_ns = NAP_NS_SILENT;
	else if (*nap_ns < NAP_NS_MAX)
		*nap_ns += NAP_NS_MIN;
}

static void
take_keys(struct hb_port *port)
{
	struct hb_front_keys *fresh =
		atomic_exchange_explicit(&port->fresh_keys, NULL, memory_order_acq_rel);

	if (fresh == NULL)
		return;
	explicit_bzero(port->keys, sizeof(*port->keys));
	free(port->keys);
	port->keys = fresh;
}

int
hb_port_run(void *argument)
{
	struct hb_port *port = argument;
	uint64_t idle_since_ns, nap_ns = NAP_NS_MIN, looked_ns = 0;

	hb_realtime_leave(); /* it polls a driver without end, and no grab of others waits for it */
	idle_since_ns = hb_mono_ns();
	while (!atomic_load_explicit(&port->stopping, memory_order_relaxed)) {
		uint64_t now_ns = hb_mono_ns();
		bool any;

		take_keys(port);
		attach_if_due(port, now_ns);
		any = receive_all(port);
		if (port->client != NULL)
			hb_client_flush(port->client);
		any |= poll_replies(port);
		send_all(port);
		if (port->client != NULL && now_ns - looked_ns > ATTACH_RETRY_NS) {
			looked_ns = now_ns;
			if (hung_up(port))
				detach(port);
		}
		if (any) {
			idle_since_ns = now_ns;
			nap_ns = NAP_NS_MIN;
		} else {
			idle(port, now_ns, idle_since_ns, &nap_ns);
		}
	}
	if (port->client != NULL)
		detach(port);
	return 0;
}

/* ---- the main thread's side ---- */

int
hb_port_reload(struct hb_port *port, char error[256])
{
	struct hb_front_keys *fresh = calloc(1, sizeof(*fresh)), *missed;
	int result = -ENOMEM;

	if (fresh == NULL)
		snprintf(error, 256, "no memory for the keys");
	else
		result = hb_front_keys_read(fresh, port->key_path, error);
	if (result != 0) {
		free(fresh);
		return result;
	}
	hb_log(HB_LOG_INFO, "front_keys", "count=%u", fresh->count);
	missed = atomic_exchange_explicit(&port->fresh_keys, fresh, memory_order_acq_rel);
	if (missed != NULL)
		explicit_bzero(missed, sizeof(*missed));
	free(missed);
	return 0;
}

int
hb_port_create(struct hb_port **out, const struct hb_config *config, struct hb_node *node,
	uint32_t port_count, char error[256])
{
	struct hb_port *port = NULL;
	uint32_t address;
	int result;

	if (!hb_wire_address_parse(config->port_address, &address)) {
		snprintf(error, 256,
			"port.address = \"%.40s\" is no IPv4 address; dataplane.ports needs one",
			config->port_address);
		return -EINVAL;
	}
	port = calloc(1, sizeof(*port));
	if (port != NULL)
		port->keys = calloc(1, sizeof(*port->keys));
	if (port == NULL || port->keys == NULL) {
		snprintf(error, 256, "no memory for the ports");
		free(port);
		return -ENOMEM;
	}
	port->node = node;
	port->port_count = port_count;
	port->udp_base = (uint32_t)config->port_udp_base;
	port->busy_idle = strcmp(config->dataplane_idle, "busy") == 0;
	hb_path(port->socket_path, config->node_directory, HB_PATH_DATAPLANE_SOCKET);
	hb_path(port->key_path, config->node_directory, HB_PATH_KEY_FRAME);
	pending_reset(port);
	for (uint32_t i = 0; i < port_count; i++) {
		hb_env_port_address(i, port->self[i].mac_address);
		port->self[i].address = address;
	}
	result = hb_port_reload(port, error);
	if (result != 0) {
		hb_port_destroy(port);
		return result;
	}
	*out = port;
	return 0;
}

void
hb_port_destroy(struct hb_port *port)
{
	struct hb_front_keys *fresh;

	if (port == NULL)
		return;
	fresh = atomic_exchange(&port->fresh_keys, NULL);
	if (fresh != NULL)
		explicit_bzero(fresh, sizeof(*fresh));
	explicit_bzero(port->keys, sizeof(*port->keys));
	free(fresh);
	free(port->keys);
	free(port);
}

void
hb_port_stop(struct hb_port *port)
{
	atomic_store_explicit(&port->stopping, true, memory_order_relaxed);
}
