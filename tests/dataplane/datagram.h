/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a front at 10.0.0.2 sends to a node at 10.0.0.1, for tests of the ports.
 */
#ifndef HB_TESTS_DATAPLANE_DATAGRAM_H
#define HB_TESTS_DATAPLANE_DATAGRAM_H

#include <string.h>

#include "base/assert.h"
#include "dataplane/wire.h"
#include "shm/frame.h"

/* Of key 1 and key 2 in the tests' key/frame.keys. */
static const uint8_t datagram_key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/** A datagram with frames of 64 bytes. @return the packet's length */
static inline uint32_t
datagram_make(uint8_t *bytes, const uint8_t receiver_mac[6], uint32_t key_id, uint16_t port,
	const struct hb_frame *frames, uint8_t count)
{
	struct hb_wire_self sender = {.mac_address = {2, 0, 0, 0, 0, 2}};
	struct hb_wire_peer receiver;
	struct hb_datagram head = {.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.count = count,
		.key_id = key_id,
		.bytes = count * 64u};
	uint8_t *payload = bytes + HB_WIRE_HEADERS_BYTES;

	memcpy(receiver.mac_address, receiver_mac, sizeof(receiver.mac_address));
	HB_ASSERT(hb_wire_address_parse("10.0.0.2", &sender.address));
	HB_ASSERT(hb_wire_address_parse("10.0.0.1", &receiver.address));
	receiver.udp_port = (uint16_t)(port >> 8 | port << 8);
	memcpy(payload, &head, sizeof(head));
	memcpy(payload + sizeof(head), frames, head.bytes);
	hb_datagram_seal(payload, datagram_key);
	return hb_wire_head(&sender, &receiver, 5000, bytes, (uint32_t)sizeof(head) + head.bytes);
}

/** Check a packet that came back and take its replies out. @return how many */
static inline uint32_t
datagram_replies(
	const uint8_t *bytes, uint32_t length, struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX])
{
	struct hb_datagram head;

	memcpy(&head, bytes + HB_WIRE_HEADERS_BYTES, sizeof(head));
	HB_ASSERT(hb_datagram_shape_ok(
		&head, length - HB_WIRE_HEADERS_BYTES, HB_DATAGRAM_FLAG_REPLY));
	HB_ASSERT(hb_datagram_authentic(bytes + HB_WIRE_HEADERS_BYTES, datagram_key));
	memcpy(replies, bytes + HB_WIRE_HEADERS_BYTES + sizeof(head), head.count * 64u);
	return head.count;
}

#endif
