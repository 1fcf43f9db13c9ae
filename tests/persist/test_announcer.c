/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The announcer over a real journal: what was committed is told once, in order, with the packet's
 * sender and group, also of packets that are older than its start; a restart tells again what
 * streams may have missed; a journal that cannot be read is only a delay.
 */
#include "tests/engine/world.h"
#include "tests/persist/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/announcement.h"
#include "persist/announcer.h"
#include "persist/snapshot.h"
#include "shm/notices.h"

#define USERS	    200
#define GROUP	    77
#define SLOTS	    4096
#define PACKETS	    4096
#define WAIT_MS_MAX 10000

static struct world w;
static struct fixture f;
static uint64_t written; /* bytes of w.journal that are on disk */
static struct hb_announcer *announcer;
static struct hb_notices reader;

static void
begin(void)
{
	fixture_begin(&f);
	world_open(&w);
	written = 0;
	w.random = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	print_message("seed %llu\n", (unsigned long long)w.random);
	f.config.node_number = 7;
	f.config.capacity_accounts = 4096;
	f.config.capacity_packets = PACKETS;
	f.config.capacity_arena_mib = 4;
	f.config.capacity_windows = 4096;
	f.config.capacity_orders = 4096;
	f.config.capacity_idempotency = 1024;
	for (uint64_t user = 1; user <= USERS; user++)
		assert_int_equal(world_fund(&w, user, 100000), HB_STATUS_OK);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
}

static void
end(void)
{
	world_close(&w);
	fixture_end(&f);
}

static uint64_t
send_packet(uint32_t count)
{
	uint64_t packet;

	world_advance_ms(&w, 7);
	assert_int_equal(world_send(&w, 1 + world_random(&w) % USERS, GROUP, 100 + count, count,
				 HB_SPLIT_DOUBLE_MEAN, &packet),
		HB_STATUS_OK);
	return packet;
}

static void
play(uint32_t packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		uint64_t packet = send_packet(1 + (uint32_t)(world_random(&w) % 12));

		for (uint32_t j = 0; j < 10; j++)
			(void)world_grab(&w, packet, 1 + world_random(&w) % USERS, GROUP);
	}
	world_deliver(&w);
}

/* Commit what the world decided since the last call, in frames of 40 records. */
static void
commit(void)
{
	while (written < w.journal_bytes) {
		const struct hb_record *record = (const void *)(w.journal + written);
		const char *fault = NULL;
		uint32_t taken;

		if (f.journal.frame_records == 40)
			fixture_write(&f);
		assert_int_equal(hb_frame_add(&f.journal, record->ring, record, record->length,
					 &taken, &fault),
			1);
		written += record->length;
	}
	fixture_write(&f);
}

static void
start(void)
{
	struct hb_announcer_source source = {
		.journal_directory = f.directory,
		.commit = &f.journal.commit,
		.slots = SLOTS,
		.packets = PACKETS,
	};
	char error[160];
	int pair[2];

	memcpy(source.stream_id, f.journal.superblock.stream_id, sizeof(source.stream_id));
	assert_int_equal(hb_announcer_start(&announcer, &source, f.error), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(hb_announcer_admit(announcer, pair[0]), 0);
	assert_int_equal(hb_notices_receive(&reader, pair[1], error), 0);
	assert_int_equal(hb_announcer_sweep(announcer), 1);
	close(pair[1]);
	assert_int_equal(hb_announcer_sweep(announcer), 0);
}

static void
stop(void)
{
	hb_announcer_stop(announcer);
	hb_notices_close(&reader);
}

static void
wait_for(uint64_t seq)
{
	uint64_t until_ns = hb_mono_ns() + WAIT_MS_MAX * UINT64_C(1000000);

	while (hb_announcer_seq(announcer) < seq) {
		assert_true(hb_mono_ns() < until_ns);
		usleep(1000);
	}
	assert_int_equal(hb_announcer_seq(announcer), seq);
}

static void
expect(uint64_t number, uint8_t kind, uint64_t seq, uint8_t part, struct hb_notice *notice)
{
	assert_int_equal(hb_notices_read(&reader, number, notice), 1);
	assert_int_equal(notice->kind, kind);
	assert_int_equal(notice->seq, seq);
	assert_int_equal(notice->part, part);
	assert_int_equal(notice->flags & HB_NOTICE_UNKNOWN, 0);
}

static void
expect_grab(uint64_t *number, uint64_t seq, const struct hb_record_grab *r)
{
	const struct hb_packet *packet =
		hb_packet_find(&w.state.partition[r->head.ring], r->packet);
	struct hb_notice notice;

	expect((*number)++, HB_NOTICE_GRAB, seq, 0, &notice);
	assert_int_equal(notice.packet, r->packet);
	assert_int_equal(notice.user, r->user);
	assert_int_equal(notice.sender, packet->sender);
	assert_int_equal(notice.group, GROUP);
	assert_int_equal(notice.amount_fen, r->amount_fen);
	assert_int_equal(notice.left_fen, r->left_fen);
	assert_int_equal(notice.count, r->left_count);
	assert_int_equal(notice.order_stamp, r->order_stamp);
	assert_int_equal(notice.allocator, r->head.ring);
	assert_int_equal((notice.flags & HB_NOTICE_MORE) != 0, r->left_count == 0);
	if (r->left_count > 0)
		return;
	expect((*number)++, HB_NOTICE_OVER, seq, 1, &notice);
	assert_int_equal(notice.packet, r->packet);
	assert_int_equal(notice.sender, packet->sender);
	assert_int_equal(notice.group, GROUP);
	assert_true((notice.flags & HB_NOTICE_SOLD) != 0);
}

/* The ring tells of the records from `begin` of the world's journal on, and of nothing else. */
static void
expect_told(uint64_t begin, uint64_t seq)
{
	uint64_t number = 0;

	for (uint64_t at = begin; at < written; seq++) {
		const struct hb_record *record = (const void *)(w.journal + at);
		const struct hb_record_packet_create *create = (const void *)record;
		const struct hb_record_credit *credit = (const void *)record;
		struct hb_notice notice;

		if (record->type == HB_RECORD_GRAB) {
			expect_grab(&number, seq, (const void *)record);
		} else if (record->type == HB_RECORD_PACKET_CREATE) {
			expect(number++, HB_NOTICE_PACKET, seq, 0, &notice);
			assert_int_equal(notice.packet, create->packet);
			assert_int_equal(notice.sender, create->sender);
			assert_int_equal(notice.amount_fen, create->total_fen);
			assert_int_equal(notice.count, create->count);
			/* whoever has the seed before the packet is over knows every share */
			assert_null(memmem(&notice, sizeof(notice), create->seed, 8));
		} else if (record->type == HB_RECORD_CREDIT) {
			expect(number++, HB_NOTICE_CREDIT, seq, 0, &notice);
			assert_int_equal(notice.user, credit->account);
			assert_int_equal(notice.amount_fen, credit->amount_fen);
		}
		at += record->length;
	}
	assert_int_equal(hb_notices_head(&reader), number);
}

/* ---- the tests ---- */

static void
every_committed_record_is_told_once_in_order_and_nothing_before_it_is_committed(void **state)
{
	(void)state;
	begin();
	play(40);
	start();
	wait_for(1);
	assert_int_equal(hb_notices_head(&reader), 0);
	commit();
	wait_for(hb_committed_seq(&f.journal.commit));
	expect_told(0, 2);
	/* and so is what comes while it runs, in frames of any size */
	for (int i = 0; i < 20; i++) {
		play(1);
		commit();
		usleep((unsigned)(world_random(&w) % 8000));
	}
	wait_for(hb_committed_seq(&f.journal.commit));
	expect_told(0, 2);
	stop();
	end();
}

static void
a_successor_tells_what_came_after_a_snapshot_and_knows_the_packets_before_it(void **state)
{
	uint64_t seq[HB_SNAPSHOTS_MAX], old, begin_at;

	(void)state;
	begin();
	play(40);
	old = send_packet(100);
	commit();
	fixture_close(&f);
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	assert_int_equal(hb_snapshot_list(f.directory, seq), 1);
	assert_int_equal(fixture_open(&f), 0);
	begin_at = written;
	for (uint64_t user = 1; user <= 100; user++)
		assert_int_equal(world_grab(&w, old, user, GROUP), HB_STATUS_OK);
	play(10);
	commit();
	start();
	assert_int_equal(reader.first_seq, seq[0] + 1);
	wait_for(hb_committed_seq(&f.journal.commit));
	expect_told(begin_at, seq[0] + 1);
	stop();
	end();
}

static void
with_a_damaged_snapshot_a_grab_is_still_told_to_its_grabber(void **state)
{
	uint64_t seq[HB_SNAPSHOTS_MAX], old;
	struct hb_notice notice;
	char name[64];

	(void)state;
	begin();
	old = send_packet(2);
	commit();
	fixture_close(&f);
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	assert_int_equal(hb_snapshot_list(f.directory, seq), 1);
	assert_int_equal(fixture_open(&f), 0);
	snprintf(name, sizeof(name), "snapshot/snapshot-%016llx", (unsigned long long)seq[0]);
	fixture_flip(&f, name, 700);
	assert_int_equal(world_grab(&w, old, 5, GROUP), HB_STATUS_OK);
	commit();
	start();
	wait_for(hb_committed_seq(&f.journal.commit));
	assert_int_equal(hb_notices_head(&reader), 1);
	assert_int_equal(hb_notices_read(&reader, 0, &notice), 1);
	assert_int_equal(notice.user, 5);
	assert_int_equal(notice.sender, 0);
	assert_true((notice.flags & HB_NOTICE_UNKNOWN) != 0);
	stop();
	end();
}

static void
a_transfer_and_an_expiry_name_who_they_concern(void **state)
{
	struct hb_record_transfer transfer = {
		.head = {.ring = 3, .type = HB_RECORD_TRANSFER, .time_ns = 5000000},
		.from = 11,
		.to = 12,
		.amount_fen = 13,
		.order_stamp = 14,
	};
	struct hb_packet packet = {
		.id = hb_id_make(HB_ID_PACKET, 3, 7, 9), .sender = 21, .recipient = 22};
	struct hb_record_packet_expire expire = {
		.head = {.ring = 3, .type = HB_RECORD_PACKET_EXPIRE},
		.packet = packet.id,
		.refund_fen = 23,
		.order_stamp = 24,
	};
	struct hb_record_credit held = {
		.head = {.ring = 3, .type = HB_RECORD_CREDIT}, .account = 31, .hold_id = 32};
	struct hb_record_hold_exit post = {.head = {.ring = 3, .type = HB_RECORD_POST}};
	struct hb_packet_origins *origins = hb_packet_origins_new(16);
	struct hb_notice notices[HB_NOTICES_OF_RECORD_MAX];

	(void)state;
	assert_int_equal(hb_notices_of(origins, &transfer.head, 100, notices), 1);
	assert_int_equal(notices[0].sender, 11);
	assert_int_equal(notices[0].user, 12);
	assert_int_equal(notices[0].amount_fen, 13);
	assert_int_equal(notices[0].time_ms, 5);
	hb_packet_origins_add(origins, &packet);
	assert_int_equal(hb_notices_of(origins, &expire.head, 101, notices), 1);
	assert_int_equal(notices[0].kind, HB_NOTICE_OVER);
	assert_int_equal(notices[0].sender, 21);
	assert_int_equal(notices[0].recipient, 22);
	assert_int_equal(notices[0].amount_fen, 23);
	assert_int_equal(notices[0].flags, 0);
	assert_int_equal(hb_notices_of(origins, &held.head, 102, notices), 1);
	assert_int_equal(notices[0].flags, HB_NOTICE_HELD);
	assert_int_equal(hb_notices_of(origins, &post.head, 103, notices), 0);
	/* the slot's next packet has pushed the first out */
	packet.id += 16;
	hb_packet_origins_add(origins, &packet);
	assert_int_equal(hb_notices_of(origins, &expire.head, 104, notices), 1);
	assert_true((notices[0].flags & HB_NOTICE_UNKNOWN) != 0);
	hb_packet_origins_free(origins);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_committed_record_is_told_once_in_order_and_nothing_before_it_is_committed),
		cmocka_unit_test(
			a_successor_tells_what_came_after_a_snapshot_and_knows_the_packets_before_it),
		cmocka_unit_test(with_a_damaged_snapshot_a_grab_is_still_told_to_its_grabber),
		cmocka_unit_test(a_transfer_and_an_expiry_name_who_they_concern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
