/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a start makes of a journal directory: epochs, torn tails, damage, locks, recycled files,
 * and rings brought back by a living dataplane.
 */
#include "tests/persist/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "persist/session.h"
#include "persist/superblock.h"
#include "shm/node.h"

static void
every_start_is_a_new_epoch_and_sequences_go_on(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	uint64_t epoch = 0, starts = 0, seq = 0;

	(void)state;
	fixture_begin_on_disk(&f);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(fixture_open(&f), 0);
		assert_int_equal(hb_journal_begin_epoch(&f.journal, i % 2 == 0), 0);
		fixture_frame(&f, 20);
		fixture_close(&f);
	}
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	while (hb_journal_reader_next(reader, &record, &at) > 0) {
		assert_int_equal(at.seq, ++seq);
		if (record->type == HB_RECORD_EPOCH_START) {
			const struct hb_record_epoch_start *start = (const void *)record;

			assert_int_equal(start->epoch, ++epoch);
			assert_int_equal(start->head.core_sequence, ++starts);
			assert_int_equal(start->head.ring, HB_RING_PERSIST);
		}
		assert_int_equal(at.epoch, epoch);
	}
	assert_int_equal(starts, 4);
	assert_int_equal(seq, 84);
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

static void
a_torn_tail_is_cut_zeroed_and_written_over(void **state)
{
	struct fixture f;
	uint64_t records;
	uint8_t block[4096];

	(void)state;
	fixture_begin_on_disk(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 5);
	fixture_frame(&f, 100); /* 3 blocks at 4096 */
	fixture_close(&f);
	fixture_hint(&f, 5);
	/* the last block of the frame never reached the disk */
	memset(block, 0, sizeof(block));
	fixture_poke(&f, RAW_1, 4096 + 8192, block, 512);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(f.journal.next_seq, 6);
	assert_int_equal(f.journal.segment_offset, 4096);
	for (uint64_t at = 4096; at < 16384; at += 4096) {
		fixture_peek(&f, RAW_1, at, block, sizeof(block));
		assert_true(hb_is_zero(block, sizeof(block)));
	}
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
	memset(f.core_sequence, 0, sizeof(f.core_sequence));
	for (int i = 0; i < 5; i++)
		f.core_sequence[i] = 1;
	fixture_frame(&f, 5);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, 11);
	fixture_end(&f);
}

static void
damage_before_the_durable_end_is_refused_and_nothing_is_changed(void **state)
{
	struct fixture f;
	static uint8_t before[65536], after[65536];

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	for (int i = 0; i < 5; i++)
		fixture_frame(&f, 30);
	fixture_close(&f);
	fixture_flip(&f, RAW_1, 2 * 4096 + 500);
	fixture_peek(&f, RAW_1, 0, before, sizeof(before));
	assert_int_equal(fixture_open(&f), -EBADMSG);
	assert_non_null(strstr(f.error, "the payload CRC differs"));
	fixture_peek(&f, RAW_1, 0, after, sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	fixture_end(&f);
}

static void
a_position_of_mysql_above_the_end_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 30);
	fixture_close(&f);
	assert_int_equal(
		hb_journal_open(&f.journal, &f.config, f.directory, 31, f.error), -EBADMSG);
	assert_non_null(strstr(f.error, "MySQL shows that sequence 31 was durable"));
	assert_int_equal(hb_journal_open(&f.journal, &f.config, f.directory, 30, f.error), 0);
	f.open = true;
	fixture_end(&f);
}

static void
a_gap_or_a_repeat_in_a_ring_is_refused(void **state)
{
	struct fixture f;
	struct hb_record_grab grab;
	const char *fault = NULL;
	uint32_t taken = 0;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_add(&f, 3);
	grab = fixture_record(3, 3);
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, sizeof(grab), &taken, &fault), -EPROTO);
	assert_non_null(strstr(fault, "missing"));
	/* what is there already is skipped, but only when it is the same */
	grab = fixture_record(3, 1);
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, sizeof(grab), &taken, &fault), 2);
	grab.amount_fen++;
	hb_record_seal(&grab.head, HB_RECORD_GRAB, sizeof(grab));
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, sizeof(grab), &taken, &fault), -EPROTO);
	assert_non_null(strstr(fault, "differs"));
	grab = fixture_record(4, 1);
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, sizeof(grab), &taken, &fault), -EPROTO);
	grab = fixture_record(3, 2);
	grab.user ^= 1;
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, sizeof(grab), &taken, &fault), -EPROTO);
	assert_int_equal(hb_frame_add(&f.journal, 3, &grab, 40, &taken, &fault), -EPROTO);
	fixture_end(&f);
}

/* Rewrite a frame with a changed record so that CRC and chain are right: only the rule is broken.
 */
static void
a_gap_on_disk_is_refused_although_every_checksum_is_right(void **state)
{
	struct fixture f;
	struct hb_digest digest;
	uint64_t records;
	static _Alignas(8) uint8_t frame[4096];
	struct hb_journal_frame *header = (void *)frame;
	struct hb_record_grab *grab = (void *)(frame + HB_JOURNAL_FRAME_HEADER_BYTES);

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 1);
	fixture_frame(&f, 1);
	fixture_close(&f);
	fixture_peek(&f, RAW_1, 4096, frame, sizeof(frame));
	*grab = fixture_record(0, 3);
	assert_int_equal(hb_digest_open(&digest), 0);
	memset(header->chain, 0, sizeof(header->chain));
	hb_frame_seal(&digest, header, grab);
	hb_digest_close(&digest);
	fixture_poke(&f, RAW_1, 4096, frame, sizeof(frame));
	assert_int_equal(fixture_read(&f, &records), -EBADMSG);
	assert_non_null(strstr(f.error, "core sequence"));
	fixture_end(&f);
}

static void
old_frames_of_a_recycled_segment_are_not_taken(void **state)
{
	struct fixture f;
	char error[HB_JOURNAL_ERROR_BYTES];
	uint64_t records;
	static _Atomic bool never;

	(void)state;
	fixture_begin_on_disk(&f);
	assert_int_equal(fixture_open(&f), 0);
	while (f.journal.segment_number < 3)
		fixture_frame(&f, 2000);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	/* go on until the raw file of segment 1 comes back under another number, full of old frames
	 */
	while (atomic_load(&f.journal.gauges.segments_recycled) == 0 ||
		f.journal.segment_number < 7) {
		fixture_frame(&f, 2000);
		if (f.journal.segment_number >= 5 &&
			!fixture_exists(&f, "segment-0000000000000004.packed"))
			assert_int_equal(hb_pack_segment(&f.journal, 4, error), 0);
		assert_true(hb_pool_wait(&f.journal, f.journal.segment_number + 1, &never));
		assert_true(f.journal.segment_number < 30);
	}
	fixture_frame(&f, 3);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, hb_committed_seq(&f.journal.commit));
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(f.journal.next_seq, records + 1);
	fixture_frame(&f, 10);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	fixture_end(&f);
}

static void
a_start_behind_an_exactly_full_segment_goes_on_in_the_next(void **state)
{
	struct fixture f;
	uint64_t records;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	while (f.journal.segment_fd < 0 || f.journal.segment_offset < f.journal.segment_bytes)
		fixture_frame(&f, 1);
	assert_int_equal(f.journal.segment_number, 1);
	fixture_close(&f);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, false), 0);
	assert_int_equal(f.journal.segment_number, 2);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, 257);
	fixture_end(&f);
}

static void
a_second_process_and_another_node_are_refused_by_name(void **state)
{
	struct fixture f;
	struct hb_journal other;
	char error[HB_JOURNAL_ERROR_BYTES], holder[32];

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_open(&other, &f.config, f.directory, 0, error), -EBUSY);
	snprintf(holder, sizeof(holder), "pid %d node 1", (int)getpid());
	assert_non_null(strstr(error, holder));
	fixture_close(&f);
	f.config.node_number = 7;
	assert_int_equal(fixture_open(&f), -EXDEV);
	assert_non_null(strstr(f.error, "belongs to node 1, but node.number is 7"));
	fixture_end(&f);
}

static void
segments_without_a_superblock_are_refused(void **state)
{
	struct fixture f;
	char path[128];

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 1);
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/superblock", f.directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fixture_open(&f), -EBADMSG);
	assert_non_null(strstr(f.error, "segments but no superblock"));
	fixture_end(&f);
}

/* ---- sessions ---- */

/* The dataplane's half: the producer ends of the rings in a session's segment. */
struct producer {
	struct hb_segment segment;
	struct hb_journal_rings *rings;
	struct hb_ring_end end[HB_PARTITION_COUNT];
	uint8_t *data[HB_PARTITION_COUNT];
};

static void
produce_open(struct producer *p, const struct hb_session *session)
{
	char error[160];

	assert_int_equal(hb_segment_attach(&p->segment, dup(session->segment.fd),
				 HB_SEGMENT_JOURNAL, true, error),
		0);
	p->rings = (void *)(p->segment.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		p->data[i] = hb_segment_map_twice(p->segment.fd,
			HB_JOURNAL_DATA_OFFSET + i * HB_JOURNAL_RING_BYTES, HB_JOURNAL_RING_BYTES,
			true);
		assert_non_null(p->data[i]);
		hb_ring_producer(&p->end[i], &p->rings->ring[i], p->data[i], HB_JOURNAL_RING_BYTES);
	}
}

static void
produce_close(struct producer *p)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		hb_segment_unmap_twice(p->data[i], HB_JOURNAL_RING_BYTES);
	hb_segment_close(&p->segment);
}

static void
produce(struct fixture *f, struct producer *p, uint16_t ring, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hb_record_grab grab = fixture_record(ring, ++f->core_sequence[ring]);
		void *at = hb_ring_reserve(&p->end[ring], sizeof(grab));

		assert_non_null(at);
		memcpy(at, &grab, sizeof(grab));
		hb_ring_advance(&p->end[ring], sizeof(grab));
	}
	hb_ring_publish(&p->end[ring]);
}

static void
a_failed_write_of_the_superblock_is_repeated_in_the_same_copy(void **state)
{
	struct fixture f;
	struct hb_superblock superblock = {.node = 1}, seen;
	struct rlimit whole, none;
	char error[256];
	int dir_fd;

	(void)state;
	fixture_begin(&f);
	dir_fd = open(f.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(hb_superblock_create(dir_fd, &superblock), 0);
	assert_int_equal(hb_superblock_read(dir_fd, &superblock, error), 0);
	seen = superblock;
	/* as on a disk that fails: nothing can be written to any place of a file */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &whole);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = whole.rlim_max};
	setrlimit(RLIMIT_FSIZE, &none);
	assert_int_equal(hb_superblock_write(dir_fd, &superblock), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &whole);
	assert_int_equal(hb_superblock_write(dir_fd, &superblock), 0);
	assert_int_equal(superblock.generation, seen.generation + 1);
	close(dir_fd);
	fixture_end(&f);
}

static void
a_session_commits_before_it_moves_tails(void **state)
{
	struct fixture f;
	struct hb_session session;
	struct hb_runner runner;
	struct producer p = {0};
	uint64_t records;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&session, &f.journal);
	assert_int_equal(hb_session_fresh(&session), 0);
	produce_open(&p, &session);
	assert_int_equal(hb_session_turn(&session), 0);
	produce(&f, &p, 2, 5);
	produce(&f, &p, 9, 7);
	assert_int_equal(hb_session_turn(&session), 1);
	assert_int_equal(atomic_load(&p.rings->committed_seq), 12);
	assert_int_equal(atomic_load(&p.rings->ring[2].tail), 5 * 96);
	assert_int_equal(atomic_load(&p.rings->ring[9].tail), 7 * 96);
	/* more than a frame holds takes several */
	produce(&f, &p, 2, 4000);
	assert_int_equal(hb_session_turn(&session), 1);
	assert_int_equal(hb_session_turn(&session), 1);
	assert_int_equal(hb_session_turn(&session), 0);
	assert_int_equal(atomic_load(&p.rings->committed_seq), 4012);
	/* the thread drains what a dead dataplane left */
	produce(&f, &p, 5, 1000);
	assert_int_equal(hb_runner_start(&runner), 0);
	hb_session_start(&session, &runner);
	hb_session_drain(&session);
	assert_int_equal(atomic_load(&p.rings->committed_seq), 5012);
	/* and serves the next session */
	atomic_store(&session.hang_up, false);
	produce(&f, &p, 5, 10);
	hb_session_start(&session, &runner);
	hb_session_drain(&session);
	hb_runner_stop(&runner);
	assert_int_equal(atomic_load(&p.rings->committed_seq), 5022);
	hb_session_close(&session);
	produce_close(&p);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, 5022);
	fixture_end(&f);
}

/* Persist died after a write and before it moved the tails: its successor skips those records. */
static void
a_resumed_session_skips_what_is_on_disk_and_goes_on(void **state)
{
	struct fixture f;
	struct hb_session session, next;
	struct producer p = {0};
	char error[160] = "";
	uint64_t records;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&session, &f.journal);
	assert_int_equal(hb_session_fresh(&session), 0);
	produce_open(&p, &session);
	produce(&f, &p, 1, 10);
	assert_int_equal(hb_session_turn(&session), 1);
	/* as if the tail had not been moved any more */
	atomic_store(&p.rings->ring[1].tail, 3 * 96);
	produce(&f, &p, 1, 4);
	produce(&f, &p, 7, 2);
	hb_session_close(&session);
	fixture_close(&f);

	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&next, &f.journal);
	assert_int_equal(hb_session_resume(
				 &next, dup(p.segment.fd), f.journal.superblock.state_epoch, error),
		0);
	while (hb_session_turn(&next) > 0)
		;
	assert_int_equal(atomic_load(&f.journal.gauges.skipped), 7);
	assert_int_equal(atomic_load(&p.rings->ring[1].tail), 14 * 96);
	assert_int_equal(atomic_load(&p.rings->committed_seq), 16);
	hb_session_close(&next);
	produce_close(&p);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, 16);
	fixture_end(&f);
}

static void
rings_that_do_not_continue_the_disk_are_refused(void **state)
{
	struct fixture f;
	struct hb_session session, next;
	struct producer p = {0};
	char error[160] = "";

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&session, &f.journal);
	assert_int_equal(hb_session_fresh(&session), 0);
	produce_open(&p, &session);
	f.core_sequence[4] = 3;
	produce(&f, &p, 4, 1);
	hb_session_close(&session);
	hb_session_init(&next, &f.journal);
	assert_int_equal(hb_session_resume(
				 &next, dup(p.segment.fd), f.journal.superblock.state_epoch, error),
		-EPROTO);
	assert_non_null(strstr(error, "ring 4 begins with core sequence 4"));
	hb_session_close(&next);
	hb_session_init(&next, &f.journal);
	assert_int_equal(hb_session_resume(&next, dup(p.segment.fd),
				 f.journal.superblock.state_epoch + 1, error),
		-ESTALE);
	assert_non_null(strstr(error, "start the dataplane afresh"));
	hb_session_close(&next);
	produce_close(&p);
	fixture_end(&f);
}

static void
a_ring_with_rubbish_ends_the_session_and_not_the_process(void **state)
{
	struct fixture f;
	struct hb_session session;
	struct producer p = {0};

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&session, &f.journal);
	assert_int_equal(hb_session_fresh(&session), 0);
	produce_open(&p, &session);
	produce(&f, &p, 0, 3);
	memset(hb_ring_reserve(&p.end[6], 96), 0x5a, 96);
	hb_ring_advance(&p.end[6], 96);
	hb_ring_publish(&p.end[6]);
	assert_int_equal(hb_session_turn(&session), -EPROTO);
	assert_true(atomic_load(&session.failed));
	/* what was good is committed */
	assert_int_equal(atomic_load(&p.rings->committed_seq), 3);
	hb_session_close(&session);
	produce_close(&p);
	fixture_end(&f);
}

/* ---- a full volume ---- */

struct filler {
	struct fixture *f;
	_Atomic uint64_t frames;
	_Atomic bool stop;
};

static void *
fill_main(void *argument)
{
	struct filler *filler = argument;

	while (!atomic_load(&filler->stop)) {
		for (uint32_t i = 0; i < 500; i++)
			fixture_add(filler->f, (uint16_t)(i % HB_PARTITION_COUNT));
		if (hb_frame_write(&filler->f->journal, &filler->stop) != 0)
			break;
		atomic_fetch_add(&filler->frames, 1);
	}
	return NULL;
}

/* Wait until the writer stands still: short waits for the pool do not count. */
static uint64_t
wait_for_standstill(struct filler *filler)
{
	uint64_t frames = 0;

	for (int i = 0; i < 50; i++) {
		frames = atomic_load(&filler->frames);
		usleep(150000);
		if (atomic_load(&filler->f->journal.starved) &&
			atomic_load(&filler->frames) == frames)
			return frames;
	}
	fail_msg("the writer never stood still");
	return frames;
}

static void
a_full_volume_makes_the_writer_wait_and_not_fail(void **state)
{
	struct fixture f;
	struct filler filler = {.f = &f};
	_Atomic uint32_t shown = 99;
	char error[HB_JOURNAL_ERROR_BYTES];
	uint64_t records, frames;
	pthread_t thread;

	(void)state;
	fixture_begin(&f);
	f.config.journal_volume_mib = 6;
	assert_int_equal(fixture_open(&f), 0);
	hb_journal_show_level(&f.journal, &shown);
	assert_int_equal(pthread_create(&thread, NULL, fill_main, &filler), 0);
	frames = wait_for_standstill(&filler);
	assert_int_equal(atomic_load(&shown), HB_STORAGE_CONTROL_ONLY);
	/* packing makes room */
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(hb_pack_segment(&f.journal, i, error), 0);
	assert_true(wait_for_standstill(&filler) > frames);
	atomic_store(&filler.stop, true);
	pthread_join(thread, NULL);
	hb_journal_show_level(&f.journal, NULL);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, atomic_load(&filler.frames) * 500);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_start_is_a_new_epoch_and_sequences_go_on),
		cmocka_unit_test(a_torn_tail_is_cut_zeroed_and_written_over),
		cmocka_unit_test(damage_before_the_durable_end_is_refused_and_nothing_is_changed),
		cmocka_unit_test(a_position_of_mysql_above_the_end_is_refused),
		cmocka_unit_test(a_gap_or_a_repeat_in_a_ring_is_refused),
		cmocka_unit_test(a_gap_on_disk_is_refused_although_every_checksum_is_right),
		cmocka_unit_test(old_frames_of_a_recycled_segment_are_not_taken),
		cmocka_unit_test(a_start_behind_an_exactly_full_segment_goes_on_in_the_next),
		cmocka_unit_test(a_second_process_and_another_node_are_refused_by_name),
		cmocka_unit_test(segments_without_a_superblock_are_refused),
		cmocka_unit_test(a_failed_write_of_the_superblock_is_repeated_in_the_same_copy),
		cmocka_unit_test(a_session_commits_before_it_moves_tails),
		cmocka_unit_test(a_resumed_session_skips_what_is_on_disk_and_goes_on),
		cmocka_unit_test(rings_that_do_not_continue_the_disk_are_refused),
		cmocka_unit_test(a_ring_with_rubbish_ends_the_session_and_not_the_process),
		cmocka_unit_test(a_full_volume_makes_the_writer_wait_and_not_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
