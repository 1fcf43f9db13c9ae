/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The packets of dataplane/wire.h. No state: what dies with the process is one packet.
 */
#include "dataplane/wire.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#include <sodium/crypto_shorthash.h>
#include <sodium/crypto_verify_16.h>

#include "base/assert.h"
#include "shm/frame.h"

#define ETHERNET_BYTES	14
#define ETHERTYPE_IPV4	0x0800
#define ETHERTYPE_ARP	0x0806
#define ARP_BYTES	28
#define ARP_REQUEST	1
#define ARP_REPLY	2
#define IPV4_BYTES_MIN	20
#define IPV4_FRAGMENT	0x3fff /* more fragments, or an offset */
#define IPV4_DONT_CUT	0x4000
#define IPV4_TTL	64
#define PROTOCOL_ICMP	1
#define PROTOCOL_UDP	17
#define UDP_BYTES	8
#define ICMP_BYTES_MIN	8
#define ICMP_ECHO	8
#define ICMP_ECHO_REPLY 0

_Static_assert(HB_DATAGRAM_HEAD_BYTES + HB_DATAGRAM_FRAMES_MAX * HB_FRAME_UNIT_BYTES <=
		       HB_DATAGRAM_BYTES_MAX,
	"22 frames of 64 bytes fit");
_Static_assert(HB_DATAGRAM_HEAD_BYTES + HB_REPLY_BYTES_MAX <= HB_DATAGRAM_BYTES_MAX,
	"the longest reply fits");
_Static_assert(crypto_shorthash_siphashx24_KEYBYTES == HB_DATAGRAM_KEY_BYTES, "key");
_Static_assert(crypto_shorthash_siphashx24_BYTES == 16, "MAC");

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void
put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* The Internet checksum (RFC 1071) over bytes whose own checksum field is zero. */
static uint16_t
checksum(const uint8_t *bytes, uint32_t length)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i + 1 < length; i += 2)
		sum += get16(bytes + i);
	if (length % 2 != 0)
		sum += (uint32_t)bytes[length - 1] << 8;
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void
turn_ethernet(const struct hb_wire_self *self, uint8_t *bytes)
{
	memcpy(bytes, bytes + HB_MAC_ADDRESS_BYTES, HB_MAC_ADDRESS_BYTES);
	memcpy(bytes + HB_MAC_ADDRESS_BYTES, self->mac_address, HB_MAC_ADDRESS_BYTES);
}

static enum hb_wire_kind
take_arp(const struct hb_wire_self *self, uint8_t *bytes, uint32_t length)
{
	static const uint8_t ethernet_ipv4[6] = {0, 1, 8, 0, 6, 4};
	uint8_t *arp = bytes + ETHERNET_BYTES;

	if (length < ETHERNET_BYTES + ARP_BYTES ||
		memcmp(arp, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0)
		return HB_WIRE_BROKEN;
	if (get16(arp + 6) != ARP_REQUEST || memcmp(arp + 24, &self->address, 4) != 0)
		return HB_WIRE_OTHER;
	turn_ethernet(self, bytes);
	put16(arp + 6, ARP_REPLY);
	memcpy(arp + 18, arp + 8, 10); /* the asker's addresses become the target's */
	memcpy(arp + 8, self->mac_address, HB_MAC_ADDRESS_BYTES);
	memcpy(arp + 14, &self->address, 4);
	return HB_WIRE_ANSWERED;
}

static void
turn_ipv4(const struct hb_wire_self *self, uint8_t *ip, uint32_t head_bytes)
{
	memcpy(ip + 16, ip + 12, 4);
	memcpy(ip + 12, &self->address, 4);
	ip[8] = IPV4_TTL;
	put16(ip + 10, 0);
	put16(ip + 10, checksum(ip, head_bytes));
}

static enum hb_wire_kind
take_icmp(const struct hb_wire_self *self, uint8_t *bytes, uint8_t *ip, uint32_t head_bytes,
	uint32_t ip_bytes)
{
	uint8_t *icmp = ip + head_bytes;
	uint32_t icmp_bytes = ip_bytes - head_bytes;

	if (icmp_bytes < ICMP_BYTES_MIN)
		return HB_WIRE_BROKEN;
	if (icmp[0] != ICMP_ECHO || icmp[1] != 0)
		return HB_WIRE_OTHER;
	if (checksum(icmp, icmp_bytes) != 0)
		return HB_WIRE_BROKEN;
	turn_ethernet(self, bytes);
	turn_ipv4(self, ip, head_bytes);
	icmp[0] = ICMP_ECHO_REPLY;
	put16(icmp + 2, 0);
	put16(icmp + 2, checksum(icmp, icmp_bytes));
	return HB_WIRE_ANSWERED;
}

static enum hb_wire_kind
take_udp(const uint8_t *bytes, const uint8_t *ip, uint32_t head_bytes, uint32_t ip_bytes,
	struct hb_wire_udp *udp)
{
	const uint8_t *head = ip + head_bytes;
	uint32_t udp_bytes = ip_bytes - head_bytes;

	if (udp_bytes < UDP_BYTES || get16(head + 4) < UDP_BYTES || get16(head + 4) > udp_bytes)
		return HB_WIRE_BROKEN;
	memcpy(udp->peer.mac_address, bytes + HB_MAC_ADDRESS_BYTES, HB_MAC_ADDRESS_BYTES);
	memcpy(&udp->peer.address, ip + 12, 4);
	memcpy(&udp->peer.udp_port, head, 2);
	udp->port = get16(head + 2);
	udp->bytes = get16(head + 4) - UDP_BYTES;
	udp->payload = head + UDP_BYTES;
	return HB_WIRE_UDP;
}

static enum hb_wire_kind
take_ipv4(const struct hb_wire_self *self, uint8_t *bytes, uint32_t length, struct hb_wire_udp *udp)
{
	uint8_t *ip = bytes + ETHERNET_BYTES;
	uint32_t head_bytes, ip_bytes;

	if (length < ETHERNET_BYTES + IPV4_BYTES_MIN)
		return HB_WIRE_BROKEN;
	if (memcmp(bytes, self->mac_address, HB_MAC_ADDRESS_BYTES) != 0 ||
		memcmp(ip + 16, &self->address, 4) != 0)
		return HB_WIRE_OTHER;
	head_bytes = (ip[0] & 15u) * 4;
	ip_bytes = get16(ip + 2);
	if (ip[0] >> 4 != 4 || head_bytes < IPV4_BYTES_MIN || ip_bytes < head_bytes ||
		ip_bytes > length - ETHERNET_BYTES || (get16(ip + 6) & IPV4_FRAGMENT) != 0)
		return HB_WIRE_BROKEN;
	if (ip[9] == PROTOCOL_ICMP)
		return take_icmp(self, bytes, ip, head_bytes, ip_bytes);
	return ip[9] == PROTOCOL_UDP ? take_udp(bytes, ip, head_bytes, ip_bytes, udp)
				     : HB_WIRE_OTHER;
}

enum hb_wire_kind
hb_wire_take(const struct hb_wire_self *self, uint8_t *bytes, uint32_t length,
	struct hb_wire_udp *udp, bool *arp)
{
	if (length < ETHERNET_BYTES)
		return HB_WIRE_BROKEN;
	*arp = get16(bytes + 12) == ETHERTYPE_ARP;
	if (*arp)
		return take_arp(self, bytes, length);
	return get16(bytes + 12) == ETHERTYPE_IPV4 ? take_ipv4(self, bytes, length, udp)
						   : HB_WIRE_OTHER;
}

uint32_t
hb_wire_head(const struct hb_wire_self *self, const struct hb_wire_peer *peer, uint16_t port,
	uint8_t *bytes, uint32_t payload_bytes)
{
	uint8_t *ip = bytes + ETHERNET_BYTES;
	uint8_t *udp = ip + IPV4_BYTES_MIN;

	HB_ASSERT(payload_bytes <= HB_DATAGRAM_BYTES_MAX);
	memcpy(bytes, peer->mac_address, HB_MAC_ADDRESS_BYTES);
	memcpy(bytes + HB_MAC_ADDRESS_BYTES, self->mac_address, HB_MAC_ADDRESS_BYTES);
	put16(bytes + 12, ETHERTYPE_IPV4);
	memset(ip, 0, IPV4_BYTES_MIN);
	ip[0] = 0x45;
	put16(ip + 2, IPV4_BYTES_MIN + UDP_BYTES + payload_bytes);
	put16(ip + 6, IPV4_DONT_CUT);
	ip[8] = IPV4_TTL;
	ip[9] = PROTOCOL_UDP;
	memcpy(ip + 12, &self->address, 4);
	memcpy(ip + 16, &peer->address, 4);
	put16(ip + 10, checksum(ip, IPV4_BYTES_MIN));
	put16(udp, port);
	memcpy(udp + 2, &peer->udp_port, 2);
	put16(udp + 4, UDP_BYTES + payload_bytes);
	put16(udp + 6, 0); /* none: the MAC says more (allowed over IPv4, RFC 768) */
	return HB_WIRE_HEADERS_BYTES + payload_bytes;
}

static void
datagram_mac(const void *datagram, const uint8_t key[HB_DATAGRAM_KEY_BYTES], uint8_t mac[16])
{
	uint8_t copy[HB_DATAGRAM_BYTES_MAX];
	struct hb_datagram head;

	memcpy(&head, datagram, sizeof(head));
	HB_ASSERT(head.bytes <= sizeof(copy) - sizeof(head));
	memcpy(copy, datagram, sizeof(head) + head.bytes);
	memset(copy + offsetof(struct hb_datagram, mac), 0, sizeof(head.mac));
	crypto_shorthash_siphashx24(mac, copy, sizeof(head) + head.bytes, key);
}

void
hb_datagram_seal(void *datagram, const uint8_t key[HB_DATAGRAM_KEY_BYTES])
{
	uint8_t mac[16];

	datagram_mac(datagram, key, mac);
	memcpy((uint8_t *)datagram + offsetof(struct hb_datagram, mac), mac, sizeof(mac));
}

bool
hb_datagram_authentic(const void *datagram, const uint8_t key[HB_DATAGRAM_KEY_BYTES])
{
	uint8_t mac[16];

	datagram_mac(datagram, key, mac);
	return crypto_verify_16(
		       mac, (const uint8_t *)datagram + offsetof(struct hb_datagram, mac)) == 0;
}

bool
hb_datagram_shape_ok(const struct hb_datagram *datagram, uint32_t bytes, uint8_t flags)
{
	return datagram->magic == HB_DATAGRAM_MAGIC && datagram->version == HB_DATAGRAM_VERSION &&
	       datagram->flags == flags && datagram->reserved == 0 && datagram->reserved1 == 0 &&
	       datagram->count >= 1 && datagram->count <= HB_DATAGRAM_FRAMES_MAX &&
	       bytes <= HB_DATAGRAM_BYTES_MAX && bytes >= sizeof(*datagram) &&
	       datagram->bytes == bytes - sizeof(*datagram) &&
	       datagram->bytes >= (uint32_t)datagram->count * HB_FRAME_UNIT_BYTES;
}

bool
hb_wire_address_parse(const char *text, uint32_t *address)
{
	return inet_pton(AF_INET, text, address) == 1;
}
