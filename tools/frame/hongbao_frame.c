/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Frames over UDP as tools/frame/hongbao_frame.h has them. A kernel socket; the datagram's codec is
 * the node's own (dataplane/wire.h). All memory belongs to the handle.
 */
#include "tools/frame/hongbao_frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "dataplane/wire.h"
#include "shm/ids.h"

#define UDP_BASE_DEFAULT    7400
#define AGAIN_MS_DEFAULT    20
#define DEADLINE_MS_DEFAULT 2000
#define AGAIN_DOUBLED_MAX   3 /* 8 times the first pause */
#define SOCKET_BYTES	    (4 << 20)

struct hb_front {
	struct hb_front_options options;
	struct sockaddr_in node;
	int socket;
	uint64_t datagrams;
	uint64_t again;
	uint64_t correlation; /* of the first request of the running ask */
	bool answered[HB_FRONT_REQUESTS_MAX];
	/* the datagram being filled, for one owner */
	_Alignas(64) uint8_t datagram[HB_DATAGRAM_BYTES_MAX];
	uint32_t bytes; /* of frames in it */
	uint8_t frames;
	uint32_t owner;
};

int
hb_front_open(struct hb_front **out, const struct hb_front_options *options,
	char error[HB_FRONT_ERROR_BYTES])
{
	struct hb_front *front = calloc(1, sizeof(*front));
	int bytes = SOCKET_BYTES;
	int result;

	if (front == NULL) {
		snprintf(error, HB_FRONT_ERROR_BYTES, "no memory");
		return -ENOMEM;
	}
	front->options = *options;
	if (front->options.udp_base == 0)
		front->options.udp_base = UDP_BASE_DEFAULT;
	if (front->options.lcores == 0)
		front->options.lcores = 1;
	if (front->options.again_ms == 0)
		front->options.again_ms = AGAIN_MS_DEFAULT;
	if (front->options.deadline_ms == 0)
		front->options.deadline_ms = DEADLINE_MS_DEFAULT;
	front->node.sin_family = AF_INET;
	front->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	result = -errno;
	if (front->socket < 0) {
		snprintf(error, HB_FRONT_ERROR_BYTES, "no socket: %s", strerror(-result));
		free(front);
		return result;
	}
	if (!hb_wire_address_parse(options->address, &front->node.sin_addr.s_addr)) {
		snprintf(error, HB_FRONT_ERROR_BYTES, "\"%.60s\" is no IPv4 address",
			options->address);
		hb_front_close(front);
		return -EINVAL;
	}
	(void)setsockopt(front->socket, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	/* replies to an earlier process of this one's port must not fit */
	front->correlation = hb_wall_ns();
	*out = front;
	return 0;
}

void
hb_front_close(struct hb_front *front)
{
	if (front == NULL)
		return;
	close(front->socket);
	explicit_bzero(&front->options, sizeof(front->options));
	free(front);
}

static void
send_datagram(struct hb_front *front)
{
	struct hb_datagram *head = (void *)front->datagram;

	if (front->frames == 0)
		return;
	*head = (struct hb_datagram){.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.count = front->frames,
		.key_id = front->options.key_id,
		.bytes = front->bytes,
		.number = ++front->datagrams};
	hb_datagram_seal(head, front->options.key);
	front->node.sin_port = htons((uint16_t)(front->options.udp_base + front->owner));
	/* what does not leave is asked again like what is lost */
	(void)sendto(front->socket, front->datagram, sizeof(*head) + front->bytes, 0,
		(const struct sockaddr *)&front->node, sizeof(front->node));
	front->frames = 0;
	front->bytes = 0;
}

static void
add_frame(struct hb_front *front, const struct hb_frame *frame, uint64_t correlation)
{
	struct hb_frame *copy;

	if (front->frames == HB_DATAGRAM_FRAMES_MAX ||
		sizeof(struct hb_datagram) + front->bytes + frame->length > HB_DATAGRAM_BYTES_MAX)
		send_datagram(front);
	copy = (void *)(front->datagram + sizeof(struct hb_datagram) + front->bytes);
	memcpy(copy, frame, frame->length);
	copy->issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	copy->correlation = correlation;
	front->bytes += frame->length;
	front->frames++;
}

static uint32_t
owner_of(const struct hb_front *front, const struct hb_frame *frame)
{
	return hb_partition_of(frame->target) % front->options.lcores;
}

/* Send what is not answered, owner by owner. */
static void
send_open(struct hb_front *front, const struct hb_front_request *requests, uint32_t count)
{
	for (uint32_t owner = 0; owner < front->options.lcores; owner++) {
		front->owner = owner;
		for (uint32_t i = 0; i < count; i++)
			if (!front->answered[i] && requests[i].error != -EMSGSIZE &&
				owner_of(front, requests[i].frame) == owner)
				add_frame(front, requests[i].frame, front->correlation + i);
		send_datagram(front);
	}
}

/* @return 1 when a request was answered by it */
static uint32_t
take_reply(struct hb_front *front, struct hb_front_request *requests, uint32_t count,
	const struct hb_reply *reply)
{
	uint64_t i = reply->correlation - front->correlation;

	if (i >= count || front->answered[i] || reply->status == HB_STATUS_BUSY)
		return 0;
	memcpy(requests[i].reply, reply, reply->length);
	requests[i].error = 0;
	front->answered[i] = true;
	return 1;
}

static uint32_t
take_datagram(struct hb_front *front, struct hb_front_request *requests, uint32_t count)
{
	static _Alignas(64) uint8_t bytes[HB_DATAGRAM_BYTES_MAX + 1];
	const struct hb_datagram *head = (const void *)bytes;
	ssize_t n = recv(front->socket, bytes, sizeof(bytes), 0);
	uint32_t at = sizeof(*head), answered = 0;

	if (n < (ssize_t)sizeof(*head) ||
		!hb_datagram_shape_ok(head, (uint32_t)n, HB_DATAGRAM_FLAG_REPLY) ||
		head->key_id != front->options.key_id ||
		!hb_datagram_authentic(head, front->options.key))
		return 0;
	for (uint32_t i = 0; i < head->count; i++) {
		const struct hb_reply *reply = (const void *)(bytes + at);

		if ((uint32_t)n - at < sizeof(*reply) || reply->length < sizeof(*reply) ||
			reply->length > HB_REPLY_BYTES_MAX || reply->length > (uint32_t)n - at)
			break;
		answered += take_reply(front, requests, count, reply);
		at += reply->length;
	}
	return answered;
}

/* Take replies until all are answered or the time has come. @return how many were answered */
static uint32_t
listen_until(struct hb_front *front, struct hb_front_request *requests, uint32_t count,
	uint32_t wanted, uint64_t until_ns)
{
	uint32_t answered = 0;

	while (answered < wanted) {
		struct pollfd readable = {.fd = front->socket, .events = POLLIN};
		uint64_t now_ns = hb_mono_ns();
		struct timespec patience;

		if (now_ns >= until_ns)
			break;
		patience.tv_sec = (time_t)((until_ns - now_ns) / 1000000000);
		patience.tv_nsec = (long)((until_ns - now_ns) % 1000000000);
		if (ppoll(&readable, 1, &patience, NULL) > 0)
			answered += take_datagram(front, requests, count);
	}
	return answered;
}

uint32_t
hb_front_ask(struct hb_front *front, struct hb_front_request *requests, uint32_t count)
{
	uint64_t now_ns = hb_mono_ns();
	uint64_t end_ns = now_ns + front->options.deadline_ms * UINT64_C(1000000);
	uint32_t answered = 0, impossible = 0;

	if (count > HB_FRONT_REQUESTS_MAX)
		count = HB_FRONT_REQUESTS_MAX;
	memset(front->answered, 0, count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = requests[i].frame->length;
		bool fits = length >= sizeof(struct hb_frame) && length <= HB_FRAME_BYTES_MAX;

		requests[i].error = fits ? -ETIMEDOUT : -EMSGSIZE;
		impossible += !fits;
	}
	for (uint32_t round = 0; answered + impossible < count && now_ns < end_ns; round++) {
		uint32_t doubled = round < AGAIN_DOUBLED_MAX ? round : AGAIN_DOUBLED_MAX;
		uint64_t until_ns =
			now_ns + ((uint64_t)front->options.again_ms << doubled) * 1000000;

		if (round > 0)
			front->again += count - impossible - answered;
		send_open(front, requests, count);
		answered += listen_until(front, requests, count, count - impossible - answered,
			until_ns < end_ns ? until_ns : end_ns);
		now_ns = hb_mono_ns();
	}
	front->correlation += count;
	return answered;
}

void
hb_front_counts(const struct hb_front *front, uint64_t *datagrams, uint64_t *again)
{
	*datagrams = front->datagrams;
	*again = front->again;
}
