/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What lies around frames on an Ethernet: ARP, ICMP echo, UDP over IPv4, and the datagram of
 * docs/frames.md with its MAC. Pure functions over bytes, without DPDK and without state.
 *
 * Everything that comes in is checked against its length before it is read; nothing is trusted
 * before the MAC was right. All memory is the caller's. Any thread.
 *
 * Sources of the formats: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 768 (UDP).
 */
#ifndef HB_DATAPLANE_WIRE_H
#define HB_DATAPLANE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#define HB_MAC_ADDRESS_BYTES	 6
#define HB_WIRE_HEADERS_BYTES	 42   /* Ethernet 14, IPv4 20, UDP 8: what we send */
#define HB_WIRE_PACKET_BYTES_MAX 1514 /* an Ethernet of 1,500 bytes, without its checksum */

#define HB_DATAGRAM_MAGIC      UINT32_C(0x67646268) /* "hbdg" */
#define HB_DATAGRAM_VERSION    1
#define HB_DATAGRAM_HEAD_BYTES 48
#define HB_DATAGRAM_BYTES_MAX  (HB_WIRE_PACKET_BYTES_MAX - HB_WIRE_HEADERS_BYTES)
#define HB_DATAGRAM_FRAMES_MAX 22 /* of 64 bytes */
#define HB_DATAGRAM_KEY_BYTES  16
#define HB_DATAGRAM_FLAG_REPLY 1 /* from the node */

/* At the beginning of a UDP payload; frames or replies follow back to back. */
struct hb_datagram {
	uint32_t magic;
	uint8_t version;
	uint8_t flags;
	uint8_t count; /* of frames or replies, 1..22 */
	uint8_t reserved;
	uint32_t key_id;
	uint32_t bytes;	 /* of frames or replies behind this head */
	uint64_t number; /* the sender's count of datagrams */
	uint64_t reserved1;
	uint8_t mac[16]; /* SipHash-2-4 with 128 bits over this head, mac zero, and what follows */
};
_Static_assert(sizeof(struct hb_datagram) == HB_DATAGRAM_HEAD_BYTES, "datagram head");

/* Where a datagram came from, and so where its answers go. Network byte order. */
struct hb_wire_peer {
	uint8_t mac_address[HB_MAC_ADDRESS_BYTES];
	uint16_t udp_port;
	uint32_t address;
};

/* What a packet is. */
enum hb_wire_kind {
	HB_WIRE_OTHER,	  /* not for us, or nothing we speak */
	HB_WIRE_BROKEN,	  /* for us, but its lengths do not agree, or it is a fragment */
	HB_WIRE_ANSWERED, /* ARP or ICMP: turned into its answer in place; to be sent back */
	HB_WIRE_UDP,	  /* `udp` is set */
};

struct hb_wire_udp {
	struct hb_wire_peer peer;
	uint16_t port;	/* ours, host byte order */
	uint32_t bytes; /* of the payload */
	const uint8_t *payload;
};

/* Who we are on this port. */
struct hb_wire_self {
	uint8_t mac_address[HB_MAC_ADDRESS_BYTES];
	uint32_t address; /* network byte order */
};

/**
 * Look at a packet.
 * @param bytes changed only when the result is ANSWERED
 * @param arp set to true when it was ARP, false when ICMP; only with ANSWERED
 */
enum hb_wire_kind hb_wire_take(const struct hb_wire_self *self, uint8_t *bytes, uint32_t length,
	struct hb_wire_udp *udp, bool *arp);

/**
 * Write Ethernet, IPv4 and UDP heads in front of a payload of `payload_bytes` bytes that stands at
 * bytes + HB_WIRE_HEADERS_BYTES.
 * @param port our UDP port, host byte order
 * @return length of the packet
 */
uint32_t hb_wire_head(const struct hb_wire_self *self, const struct hb_wire_peer *peer,
	uint16_t port, uint8_t *bytes, uint32_t payload_bytes);

/** Set the MAC of a whole datagram, wherever it lies: head and `bytes` of it. */
void hb_datagram_seal(void *datagram, const uint8_t key[HB_DATAGRAM_KEY_BYTES]);

/** Does the MAC agree? Time does not depend on where it differs. The shape was checked. */
bool hb_datagram_authentic(const void *datagram, const uint8_t key[HB_DATAGRAM_KEY_BYTES]);

/** Do length, version and count agree with a payload of `bytes` bytes? The MAC is not looked at. */
bool hb_datagram_shape_ok(const struct hb_datagram *datagram, uint32_t bytes, uint8_t flags);

/** "10.0.0.1" to network byte order. @return false when it is no IPv4 address */
bool hb_wire_address_parse(const char *text, uint32_t *address);

#endif
