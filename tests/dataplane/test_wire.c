/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Packets byte by byte: what is answered, what is refused, and that nothing is read beyond a
 * packet's end (each lies in memory of its own length).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dataplane/wire.h"
#include "shm/frame.h"

static const uint8_t key[HB_DATAGRAM_KEY_BYTES] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const uint8_t ours[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t theirs[6] = {2, 0, 0, 0, 0, 2};
static struct hb_wire_self self;
static struct hb_wire_peer peer;

static int
set_up(void **state)
{
	(void)state;
	memcpy(self.mac_address, ours, 6);
	assert_true(hb_wire_address_parse("10.0.0.1", &self.address));
	memcpy(peer.mac_address, theirs, 6);
	assert_true(hb_wire_address_parse("10.0.0.2", &peer.address));
	peer.udp_port = 0x3930; /* 12345 in network order */
	return 0;
}

/* Take a packet that lies in an allocation of its own length. */
static enum hb_wire_kind
take(const uint8_t *bytes, uint32_t length, uint8_t *after, struct hb_wire_udp *udp)
{
	static uint8_t kept[HB_WIRE_PACKET_BYTES_MAX];
	uint8_t *own = malloc(length == 0 ? 1 : length);
	enum hb_wire_kind kind;
	bool arp;

	memcpy(own, bytes, length);
	kind = hb_wire_take(&self, own, length, udp, &arp);
	memcpy(after != NULL ? after : kept, own, length);
	if (kind == HB_WIRE_UDP)
		assert_true(udp->payload >= own && udp->payload + udp->bytes <= own + length);
	free(own);
	return kind;
}

/* As a peer would send it to us: our writer with the roles exchanged. */
static uint32_t
udp_packet(uint8_t *bytes, uint16_t port, uint32_t payload_bytes)
{
	struct hb_wire_self sender = {.address = peer.address};
	struct hb_wire_peer receiver = {.address = self.address};

	memcpy(sender.mac_address, theirs, 6);
	memcpy(receiver.mac_address, ours, 6);
	receiver.udp_port = (uint16_t)(port >> 8 | port << 8);
	return hb_wire_head(&sender, &receiver, 12345, bytes, payload_bytes);
}

static void
an_arp_request_for_our_address_becomes_its_answer(void **state)
{
	uint8_t request[60] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6,
		4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1};
	static const uint8_t reply[42] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6,
		4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2};
	uint8_t after[60];
	struct hb_wire_udp udp;

	(void)state;
	assert_int_equal(take(request, sizeof(request), after, &udp), HB_WIRE_ANSWERED);
	assert_memory_equal(after, reply, sizeof(reply));
	request[41] = 9;
	assert_int_equal(take(request, sizeof(request), NULL, &udp), HB_WIRE_OTHER);
	for (uint32_t length = 0; length < 42; length++)
		assert_int_not_equal(take(request, length, NULL, &udp), HB_WIRE_ANSWERED);
}

static void
an_echo_request_comes_back_with_right_checksums(void **state)
{
	uint8_t packet[14 + 20 + 12] = {0}, after[sizeof(packet)];
	struct hb_wire_udp udp;
	uint32_t sum = 0;

	(void)state;
	udp_packet(packet, 1, 4); /* Ethernet and IPv4 heads for 12 bytes */
	packet[14 + 9] = 1;
	packet[14 + 10] = packet[14 + 11] = 0;
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)(packet[i] << 8 | packet[i + 1]);
	sum = ~((sum & 0xffff) + (sum >> 16));
	packet[24] = (uint8_t)(sum >> 8);
	packet[25] = (uint8_t)sum;
	memcpy(packet + 34, "\x08\x00\x00\x00\x12\x34\x00\x01ping", 12);
	sum = 0;
	for (int i = 34; i < 46; i += 2)
		sum += (uint32_t)(packet[i] << 8 | packet[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	packet[36] = (uint8_t)(~sum >> 8);
	packet[37] = (uint8_t)~sum;
	assert_int_equal(take(packet, sizeof(packet), after, &udp), HB_WIRE_ANSWERED);
	assert_int_equal(after[34], 0);
	assert_memory_equal(after, theirs, 6);
	assert_memory_equal(after + 26, &self.address, 4);
	assert_memory_equal(after + 38, packet + 38, 8);
	sum = 0;
	for (int i = 34; i < 46; i += 2)
		sum += (uint32_t)(after[i] << 8 | after[i + 1]);
	assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	packet[45] ^= 1;
	assert_int_equal(take(packet, sizeof(packet), NULL, &udp), HB_WIRE_BROKEN);
}

static void
a_datagram_names_its_sender_and_its_bytes(void **state)
{
	uint8_t packet[HB_WIRE_PACKET_BYTES_MAX] = {0};
	struct hb_wire_udp udp;
	uint32_t length = udp_packet(packet, 7401, 100);

	(void)state;
	assert_int_equal(length, HB_WIRE_HEADERS_BYTES + 100);
	assert_int_equal(take(packet, length, NULL, &udp), HB_WIRE_UDP);
	assert_int_equal(udp.port, 7401);
	assert_int_equal(udp.bytes, 100);
	assert_memory_equal(&udp.peer, &peer, sizeof(peer));
	for (uint32_t cut = 0; cut < length; cut++)
		assert_int_not_equal(take(packet, cut, NULL, &udp), HB_WIRE_UDP);
	packet[14 + 6] = 0x20; /* more fragments */
	assert_int_equal(take(packet, length, NULL, &udp), HB_WIRE_BROKEN);
	packet[14 + 6] = 0;
	packet[14 + 19] = 7; /* another address */
	assert_int_equal(take(packet, length, NULL, &udp), HB_WIRE_OTHER);
}

static void
any_bytes_are_taken_without_reading_beyond_them(void **state)
{
	uint8_t packet[HB_WIRE_PACKET_BYTES_MAX];
	unsigned seed = (unsigned)time(NULL);
	struct hb_wire_udp udp;

	(void)state;
	printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 100000; i++) {
		uint32_t length = udp_packet(packet, 7400, (uint32_t)random() % 64);

		for (long n = random() % 4; n >= 0; n--)
			packet[(uint32_t)random() % length] = (uint8_t)random();
		(void)take(packet, (uint32_t)random() % (length + 1), NULL, &udp);
	}
}

static void
a_mac_is_of_head_and_frames_and_key(void **state)
{
	/* SipHash-2-4 with 128 bits of no bytes under this key, from its authors' vectors */
	_Alignas(8) uint8_t bytes[HB_DATAGRAM_HEAD_BYTES + 128] = {0};
	struct hb_datagram *datagram = (void *)bytes;
	uint8_t other[HB_DATAGRAM_KEY_BYTES];

	(void)state;
	*datagram = (struct hb_datagram){.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.count = 2,
		.key_id = 1,
		.bytes = 128};
	hb_datagram_seal(datagram, key);
	assert_true(hb_datagram_shape_ok(datagram, sizeof(bytes), 0));
	assert_true(hb_datagram_authentic(datagram, key));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (i >= 12 && i < 16)
			continue; /* its own length: the shape is checked before */
		bytes[i] ^= 0x40;
		assert_false(hb_datagram_authentic(datagram, key));
		bytes[i] ^= 0x40;
	}
	memcpy(other, key, sizeof(other));
	other[15] ^= 1;
	assert_false(hb_datagram_authentic(datagram, other));
}

static void
lengths_that_do_not_agree_are_refused(void **state)
{
	struct hb_datagram datagram = {.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.count = 1,
		.bytes = 64};
	struct hb_datagram changed;

	(void)state;
	assert_true(hb_datagram_shape_ok(&datagram, 112, 0));
	assert_false(hb_datagram_shape_ok(&datagram, 111, 0));
	assert_false(hb_datagram_shape_ok(&datagram, 112, HB_DATAGRAM_FLAG_REPLY));
	changed = datagram;
	changed.count = 0;
	assert_false(hb_datagram_shape_ok(&changed, 112, 0));
	changed.count = 2;
	assert_false(hb_datagram_shape_ok(&changed, 112, 0));
	changed.count = 23;
	changed.bytes = 23 * 64;
	assert_false(hb_datagram_shape_ok(&changed, 48 + 23 * 64, 0));
	changed = datagram;
	changed.reserved = 1;
	assert_false(hb_datagram_shape_ok(&changed, 112, 0));
	changed = datagram;
	changed.version = 2;
	assert_false(hb_datagram_shape_ok(&changed, 112, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_arp_request_for_our_address_becomes_its_answer),
		cmocka_unit_test(an_echo_request_comes_back_with_right_checksums),
		cmocka_unit_test(a_datagram_names_its_sender_and_its_bytes),
		cmocka_unit_test(any_bytes_are_taken_without_reading_beyond_them),
		cmocka_unit_test(a_mac_is_of_head_and_frames_and_key),
		cmocka_unit_test(lengths_that_do_not_agree_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
