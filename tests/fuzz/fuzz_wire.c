/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets from a port: Ethernet, ARP, IPv4, ICMP, UDP and the datagram in it. The first byte says
 * whether the payload is to be sealed with the right key first, so that what lies behind the MAC is
 * reached. Whatever is found lies within the packet; an answer goes to whom it came from.
 *
 * Parsers: dataplane/wire.c
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/wire.h"
#include "tests/fuzz/fuzz.h"

static const struct hb_wire_self self = {
	.mac_address = {2, 0, 0, 0, 0, 1}, .address = 0x01004d0a}; /* 10.77.0.1 */
static const uint8_t key[HB_DATAGRAM_KEY_BYTES] = "0123456789abcde";

static void
check_datagram(uint8_t *payload, uint32_t bytes, bool seal)
{
	struct hb_datagram head;

	if (bytes < sizeof(head))
		return;
	memcpy(&head, payload, sizeof(head));
	if (!hb_datagram_shape_ok(&head, bytes, 0))
		return;
	HB_ASSERT(head.magic == HB_DATAGRAM_MAGIC && head.version == HB_DATAGRAM_VERSION);
	HB_ASSERT(head.count >= 1 && head.count <= HB_DATAGRAM_FRAMES_MAX);
	HB_ASSERT(sizeof(head) + head.bytes == bytes);
	if (seal)
		hb_datagram_seal(payload, key);
	if (!hb_datagram_authentic(payload, key))
		HB_ASSERT(!seal);
	payload[bytes - 1] ^= 1;
	HB_ASSERT(!hb_datagram_authentic(payload, key) || !seal);
}

static void
check_udp(const struct hb_wire_udp *udp, const uint8_t *packet, uint32_t length)
{
	uint8_t answer[HB_WIRE_PACKET_BYTES_MAX] = {0};
	uint32_t bytes;

	HB_ASSERT(udp->payload >= packet && udp->payload + udp->bytes <= packet + length);
	bytes = hb_wire_head(&self, &udp->peer, udp->port, answer, 64);
	HB_ASSERT(bytes == HB_WIRE_HEADERS_BYTES + 64);
	HB_ASSERT(memcmp(answer, udp->peer.mac_address, HB_MAC_ADDRESS_BYTES) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct hb_fuzz_input input = {bytes, length};
	uint8_t mode = hb_fuzz_byte(&input);
	uint32_t packet_bytes =
		(uint32_t)(input.left < HB_WIRE_PACKET_BYTES_MAX ? input.left
								 : HB_WIRE_PACKET_BYTES_MAX);
	/* of its own length, so that a sanitizer sees reads beyond */
	uint8_t *packet = malloc(packet_bytes == 0 ? 1 : packet_bytes);
	struct hb_wire_udp udp;
	bool arp;

	HB_ASSERT(packet != NULL);
	memcpy(packet, input.at, packet_bytes);
	switch (hb_wire_take(&self, packet, packet_bytes, &udp, &arp)) {
	case HB_WIRE_UDP:
		check_udp(&udp, packet, packet_bytes);
		check_datagram(packet + (udp.payload - packet), udp.bytes, (mode & 1) != 0);
		break;
	case HB_WIRE_ANSWERED:
		HB_ASSERT(packet_bytes >= 14);
		HB_ASSERT(memcmp(packet + 6, self.mac_address, HB_MAC_ADDRESS_BYTES) == 0);
		break;
	default:
		break;
	}
	free(packet);
	return 0;
}
