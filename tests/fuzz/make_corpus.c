/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the first inputs of the targets that want binary ones: frames, packets, records, journal
 * frames and a snapshot's section, as a small world of the engine makes them. What is in
 * tests/fuzz/corpus/ was begun by it and grows by `./hongbao fuzz`; run it again when a format
 * changes.
 *
 *   make_corpus DIRECTORY
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "dataplane/wire.h"
#include "persist/journal_format.h"
#include "tests/engine/world.h"

#define USERS 12

static struct world world;
static const char *root;

static void
put(const char *target, const char *name, uint8_t head, const void *bytes, size_t length)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, target);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
	file = fopen(path, "we");
	HB_ASSERT(file != NULL);
	if (head != 0xff)
		HB_ASSERT(fputc(head, file) == head);
	HB_ASSERT(fwrite(bytes, 1, length, file) == length);
	HB_ASSERT(fclose(file) == 0);
}

static void
live(void)
{
	uint64_t packet, other, hold;

	world_open(&world);
	for (uint64_t user = 1; user <= USERS; user++)
		HB_ASSERT(world_fund(&world, 1000 + user, 100000) == HB_STATUS_OK);
	HB_ASSERT(world_send(&world, 1001, 7, 1000, 5, HB_SPLIT_DOUBLE_MEAN, &packet) == 0);
	HB_ASSERT(world_send(&world, 1002, 7, 2000, 20, HB_SPLIT_SEED, &other) == 0);
	for (uint64_t user = 3; user <= USERS; user++) {
		(void)world_grab(&world, packet, 1000 + user, 7);
		(void)world_grab(&world, other, 1000 + user, 7);
	}
	HB_ASSERT(world_hold(&world, 1003, 100, &hold) == 0);
	(void)world_exit(&world, HB_OP_VOID, hold, 100, 0);
	HB_ASSERT(world_freeze(&world, 1004, true) == 0);
	(void)world_adjust(&world, 1005, 1006, 5);
	world_deliver(&world);
}

/* A record behind its length in two bytes. @return how many bytes that are */
static size_t
put_prefixed(uint8_t *out, const struct hb_record *record)
{
	out[0] = (uint8_t)record->length;
	out[1] = (uint8_t)(record->length >> 8);
	memcpy(out + 2, record, record->length);
	return 2 + (size_t)record->length;
}

#define JOURNAL_FRAMES 6 /* of a file for fuzz_journal.c */

/* The records of one ring, each in a frame of its own, a fault before the third. @return bytes */
static size_t
journal_frames(uint8_t *out, uint32_t ring, bool faults, uint8_t fault)
{
	size_t n = 0;
	uint32_t count = 0;

	for (uint64_t at = 0; at < world.journal_bytes && count < JOURNAL_FRAMES;) {
		const struct hb_record *record = (const void *)(world.journal + at);

		at += record->length;
		if (record->ring != ring)
			continue;
		if (faults)
			out[n++] = count == 2 ? fault : 0;
		n += put_prefixed(out + n, record);
		count++;
	}
	HB_ASSERT(count > 3);
	out[n++] = 0; /* frames end where nothing is left */
	return n;
}

/* The same with two records in a frame. */
static size_t
journal_pairs(uint8_t *out, uint32_t ring)
{
	uint8_t *length = NULL;
	size_t n = 0, begin = 0;
	uint32_t count = 0;

	for (uint64_t at = 0; at < world.journal_bytes && count < JOURNAL_FRAMES;) {
		const struct hb_record *record = (const void *)(world.journal + at);

		at += record->length;
		if (record->ring != ring)
			continue;
		if (count++ % 2 == 0) {
			length = out + n;
			n += 2;
			begin = n;
		}
		memcpy(out + n, record, record->length);
		n += record->length;
		length[0] = (uint8_t)(n - begin);
		length[1] = (uint8_t)((n - begin) >> 8);
	}
	out[n++] = 0;
	return n;
}

/* Ways of a journal's bytes: see the head of fuzz_journal.c. */
static void
put_journals(void)
{
	static const struct {
		const char *name;
		uint8_t mode, asked[6];
		uint32_t asked_bytes;
	} ways[] = {
		{"split", 0x09, {0}, 0},
		{"packed", 0x03, {0}, 0},
		{"packed-split", 0x0b, {0}, 0},
		{"ask-oldest", 0x29, {0}, 1},
		{"ask-second", 0x29, {4}, 1},
		{"ask-above", 0x21, {7}, 1},
		{"ask-limit", 0x21, {1 | 2 << 3}, 1},
		{"ask-packed", 0x2b, {5}, 1},
		{"superblock-both", 0x05, {3, 0, 0, 1}, 4},
		{"superblock-first", 0x05, {1, 40, 0, 1}, 4},
		{"superblock-version", 0x05, {7, 8, 0, 9}, 4},
		{"superblock-place", 0x05, {7, 16, 0, 1}, 4},
		{"superblock-cut", 0x05, {8, 0, 8, 0}, 4},
		{"superblock-none", 0x05, {16, 0, 0, 0}, 4},
		{"superblock-durable", 0x05, {7, offsetof(struct hb_superblock, durable_seq), 0, 9},
			4},
		{"later", 0x43, {0}, 0},
		{"later-split", 0x4b, {0}, 0},
		{"first-gone", 0x29, {0x80 | 1}, 1},
		{"first-gone-oldest", 0x29, {0x80}, 1},
	};
	static uint8_t bytes[1 << 16];
	const uint32_t ring = hb_partition_of(1001);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		size_t n = ways[i].asked_bytes;

		memcpy(bytes, ways[i].asked, n);
		n += journal_frames(bytes + n, ring, false, 0);
		put("journal", ways[i].name, ways[i].mode, bytes, n);
	}
	for (uint8_t fault = 1; fault < 37; fault++) {
		char name[32];
		size_t n = 1;

		if (fault > 11 && fault < 32)
			continue;
		snprintf(name, sizeof(name), "fault-%02u", fault);
		n = journal_frames(bytes, ring, true, fault);
		put("journal", name, 0x11, bytes, n);
		snprintf(name, sizeof(name), "packed-fault-%02u", fault);
		bytes[0] = 0;
		n = 1 + journal_frames(bytes + 1, ring, true, fault);
		put("journal", name, 0x13, bytes, n);
	}
	for (uint8_t fault = 1; fault < 8; fault++) {
		char name[32];
		size_t n;

		snprintf(name, sizeof(name), "packed-wrong-%u", fault);
		bytes[0] = fault;
		n = 1 + journal_frames(bytes + 1, ring, true, 0);
		put("journal", name, 0x13, bytes, n);
	}
	/* two records in each frame, asked for the second */
	bytes[0] = 2;
	put("journal", "ask-within", 0x21, bytes, 1 + journal_pairs(bytes + 1, ring));
	/* the newest of three says more than is there */
	bytes[0] = 1 | 3 << 5;
	put("journal", "witness", 0x21, bytes, 1 + journal_frames(bytes + 1, ring, false, 0) / 4);
	for (uint32_t at = 0; at < 3; at++)
		bytes[at] = (uint8_t)(1 + at);
	put("journal", "raw-short", 0, bytes, 3);
}

/* All records as fuzz_record.c wants them, and each ring's as frames for fuzz_journal.c. */
static void
put_records(void)
{
	uint8_t *prefixed = malloc(world.journal_bytes * 2 + 64);
	uint8_t *frames = malloc(world.journal_bytes * 2 + 64);
	size_t n = 0, f = 0;

	HB_ASSERT(prefixed != NULL && frames != NULL);
	for (uint64_t at = 0; at < world.journal_bytes;) {
		const struct hb_record *record = (const void *)(world.journal + at);

		n += put_prefixed(prefixed + n, record);
		f += put_prefixed(frames + f, record);
		at += record->length;
	}
	put("record", "world", 0xff, prefixed, n);
	put("journal", "world-frames", 1, frames, f < 4000 ? f : 4000);
	put("journal", "zeros", 0, frames + f, 0);
	free(prefixed);
	free(frames);
}

/* One frame of every operation, with a body of zeros, behind the two bytes of fuzz_frame.c. */
static void
put_frames(void)
{
	const uint64_t targets[] = {1001, hb_id_make(HB_ID_PACKET, 1, 0, 1),
		hb_id_make(HB_ID_HOLD, 1, 0, 1), hb_system_account(HB_SYSTEM_FEES, 1)};
	const uint8_t hints[] = {4, 3, 8, 0};
	char name[32];

	for (uint8_t operation = 0; operation < HB_OP_COUNT; operation++)
		for (uint16_t length = 64; length <= HB_FRAME_BYTES_MAX; length += 8)
			for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
				static _Alignas(64) uint8_t bytes[2 + 64 + HB_FRAME_BYTES_MAX];
				struct hb_frame frame = {.version = HB_FRAME_VERSION,
					.operation = operation,
					.length = length,
					.target = targets[i],
					.user = 1002,
					.group = 7};
				_Alignas(64) uint8_t whole[HB_FRAME_BYTES_MAX] = {0};

				memcpy(whole, &frame, sizeof(frame));
				if (hb_frame_check((const void *)whole, length) != HB_STATUS_OK)
					continue;
				bytes[0] = (uint8_t)(hints[i] | 1 << 4);
				bytes[1] = 1;
				memcpy(bytes + 2, whole, length);
				snprintf(name, sizeof(name), "operation-%02u-%zu", operation, i);
				put("frame", name, 0xff, bytes, length + 2u);
			}
}

/* What users may send over TCP, behind a hello; and one of control's. */
static void
put_framed(void)
{
	static const uint16_t lengths[] = {[HB_OP_GRAB] = 64,
		[HB_OP_PACKET_CREATE] = 256,
		[HB_OP_PACKET_DETAIL] = 128,
		[HB_OP_BALANCE] = 64,
		[HB_OP_TOKEN_ASK] = 128,
		[HB_OP_TRANSFER] = 128,
		[HB_OP_TOKEN_ISSUE] = 128};
	_Alignas(64) uint8_t bytes[128 + HB_FRAME_BYTES_MAX];
	struct hb_frame hello = {.version = HB_FRAME_VERSION, .length = 128};
	char name[32];

	for (uint8_t operation = 0; operation < sizeof(lengths) / sizeof(lengths[0]); operation++) {
		struct hb_frame frame = {.version = HB_FRAME_VERSION,
			.operation = operation,
			.length = lengths[operation],
			.target = 1001,
			.group = 7};

		if (lengths[operation] == 0)
			continue;
		if (operation == HB_OP_GRAB || operation == HB_OP_PACKET_DETAIL)
			frame.target = hb_id_make(HB_ID_PACKET, 1, 0, 1);
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, &hello, sizeof(hello));
		memcpy(bytes + sizeof(hello), "head.claims.mac", 15);
		memcpy(bytes + 128, &frame, sizeof(frame));
		snprintf(name, sizeof(name), "operation-%02u", operation);
		put("framed", name, 0xff, bytes, 128u + lengths[operation]);
	}
}

/* A question of each protocol on a port, for the address that fuzz_wire.c has. */
static void
put_packets(void)
{
	static const uint8_t arp[] = "\xff\xff\xff\xff\xff\xff\2\0\0\0\0\2\x08\x06"
				     "\0\1\x08\0\6\4\0\1\2\0\0\0\0\2\x0a\x4d\0\2"
				     "\0\0\0\0\0\0\x0a\x4d\0\1";
	static const struct hb_wire_self client = {
		.mac_address = {2, 0, 0, 0, 0, 2}, .address = 0x02004d0a};
	static const struct hb_wire_peer node = {
		.mac_address = {2, 0, 0, 0, 0, 1}, .udp_port = 0xe81c, .address = 0x01004d0a};
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX] = {0};
	uint8_t *payload = bytes + HB_WIRE_HEADERS_BYTES;
	struct hb_frame frame = {
		.version = HB_FRAME_VERSION, .operation = HB_OP_BALANCE, .length = 64};
	uint32_t length;

	put("wire", "arp", 1, arp, sizeof(arp) - 1);
	for (uint8_t count = 1; count <= HB_DATAGRAM_FRAMES_MAX; count += 21) {
		struct hb_datagram head = {.magic = HB_DATAGRAM_MAGIC,
			.version = HB_DATAGRAM_VERSION,
			.count = count,
			.key_id = 1,
			.bytes = count * 64u};

		memcpy(payload, &head, sizeof(head));
		for (uint8_t i = 0; i < count; i++)
			memcpy(payload + sizeof(head) + i * 64u, &frame, sizeof(frame));
		length = hb_wire_head(
			&client, &node, 12345, bytes, (uint32_t)sizeof(head) + head.bytes);
		put("wire", count == 1 ? "datagram" : "datagram-22", 1, bytes, length);
	}
	length = hb_wire_head(&client, &node, 12345, bytes, 16);
	bytes[23] =
		1; /* the protocol: ICMP; what follows the head of 20 bytes is an echo request */
	memset(bytes + 34, 0, 24);
	bytes[34] = 8;
	put("wire", "echo", 1, bytes, length);
}

struct saved {
	uint8_t bytes[1 << 20];
	size_t length;
};

static int
save_bytes(void *context, void *from, size_t length)
{
	struct saved *saved = context;

	HB_ASSERT(saved->length + length <= sizeof(saved->bytes));
	memcpy(saved->bytes + saved->length, from, length);
	saved->length += length;
	return 0;
}

static void
put_snapshots(void)
{
	static struct saved saved;
	char name[32];

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i += 5) {
		saved.length = 0;
		HB_ASSERT(hb_state_save(&world.state.partition[i], save_bytes, &saved) == 0);
		snprintf(name, sizeof(name), "partition-%02u", i);
		put("snapshot", name, 0xff, saved.bytes, saved.length);
	}
}

/* The n-th user of partition 0, which fuzz_snapshot.c loads into. */
static uint64_t
user_at_home(uint32_t n)
{
	uint64_t id = 1000;

	do
		id++;
	while (hb_partition_of(id) != 0 || n-- > 0);
	return id;
}

static void
transfer_at_home(void)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER,
					      .length = sizeof(f),
					      .target = user_at_home(0),
					      .user = user_at_home(0)},
		.idempotency_key = {1},
		.to = user_at_home(2),
		.amount_fen = 5};

	HB_ASSERT(world_ask(&world, &f) == HB_STATUS_OK);
	f.idempotency_key[0] = 2;
	HB_ASSERT(world_ask(&world, &f) == HB_STATUS_OK);
}

static void
hold_at_home(uint8_t exit, uint64_t user)
{
	uint64_t hold, stamp;

	HB_ASSERT(world_hold(&world, user, 100, &hold) == HB_STATUS_OK);
	stamp = world.reply.head.order_stamp;
	if (exit == 0)
		return;
	HB_ASSERT(world_step(&world, user, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0) == 0);
	HB_ASSERT(world_step(&world, user, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1) == 0);
	HB_ASSERT(world_exit(&world, exit, hold, 100, exit == HB_OP_POST ? 3 : 0) == 0);
}

static void
packets_at_home(void)
{
	uint64_t user = user_at_home(0), packet, large, due;

	HB_ASSERT(world_send(&world, user, 7, 1000, 2, HB_SPLIT_DOUBLE_MEAN, &packet) == 0);
	HB_ASSERT(world_send(&world, user, 7, 2000, 20, HB_SPLIT_SEED, &large) == 0);
	HB_ASSERT(world_send(&world, user, 7, 100, 3, HB_SPLIT_DOUBLE_MEAN, &due) == 0);
	for (uint32_t n = 1; n < 4; n++) {
		struct hb_frame grab = world_grab_frame(&world, large, user_at_home(n), 7, 1);

		HB_ASSERT(world_ask(&world, &grab) == HB_STATUS_OK);
		if (n < 3)
			HB_ASSERT(world_grab(&world, packet, user_at_home(n), 7) == HB_STATUS_OK);
	}
}

/* Everything in one partition: its records, and its section of a snapshot. */
static void
put_home(void)
{
	struct hb_frame_order_load load = {
		.head = {.operation = HB_OP_ORDER_LOAD, .length = sizeof(load)},
		.order_stamp = 5,
		.amount_fen = 10,
		.business = HB_BUSINESS_RECHARGE,
		.state = HB_ORDER_FAILED};
	static uint8_t prefixed[1 << 16];
	static struct saved saved;
	size_t n = 0;

	world_open(&world);
	for (uint32_t i = 0; i < 3; i++)
		HB_ASSERT(world_fund(&world, user_at_home(i), 100000) == HB_STATUS_OK);
	packets_at_home();
	transfer_at_home();
	hold_at_home(HB_OP_VOID, user_at_home(1));
	hold_at_home(HB_OP_POST, user_at_home(1));
	hold_at_home(0, user_at_home(1));
	load.head.target = user_at_home(0);
	HB_ASSERT(world_ask(&world, &load) == HB_STATUS_OK);
	HB_ASSERT(world_freeze(&world, user_at_home(2), true) == 0);
	HB_ASSERT(world_freeze(&world, user_at_home(2), false) == 0);
	HB_ASSERT(world_adjust(&world, user_at_home(0), hb_system_account(HB_SYSTEM_SUSPENSE, 0),
			  5) == 0);
	world_deliver(&world);
	for (uint64_t at = 0; at < world.journal_bytes;) {
		const struct hb_record *record = (const void *)(world.journal + at);

		n += put_prefixed(prefixed + n, record);
		at += record->length;
	}
	put("record", "home", 0xff, prefixed, n);
	HB_ASSERT(hb_state_save(&world.state.partition[0], save_bytes, &saved) == 0);
	put("snapshot", "home", 0xff, saved.bytes, saved.length);
	world_close(&world);
}

int
main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	root = argv[1];
	live();
	put_records();
	put_journals();
	put_frames();
	put_framed();
	put_packets();
	put_snapshots();
	world_close(&world);
	put_home();
	return 0;
}
