/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reader says about whole, torn and damaged journals.
 */
#include "tests/persist/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"

#define FRAMES 6
static const uint32_t frame_records[FRAMES] = {1, 3, 60, 1, 130, 2};

/* Frames of different sizes; f->journal is closed, the durable hint is the end. */
static uint64_t
fill(struct fixture *f, uint64_t frame_offset[FRAMES + 1], uint64_t first_seq[FRAMES + 1])
{
	uint64_t seq = 1, offset = 0;

	assert_int_equal(fixture_open(f), 0);
	for (int i = 0; i < FRAMES; i++) {
		frame_offset[i] = offset;
		first_seq[i] = seq;
		fixture_frame(f, frame_records[i]);
		seq += frame_records[i];
		offset += hb_round_up(192 + 96 * frame_records[i], 4096);
	}
	frame_offset[FRAMES] = offset;
	first_seq[FRAMES] = seq;
	assert_int_equal(f->journal.segment_offset, offset);
	fixture_close(f);
	return seq - 1;
}

static void
what_is_written_is_read_back(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	uint64_t records, expected = 0;
	uint64_t core[HB_RING_COUNT] = {0};

	(void)state;
	fixture_begin_on_disk(&f);
	assert_int_equal(fixture_open(&f), 0);
	/* more than two segments, frames up to the largest */
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t count = i % 5 == 0 ? 2700 : 1 + i * 13;

		fixture_frame(&f, count);
		expected += count;
	}
	assert_true(f.journal.segment_number >= 3);
	assert_int_equal(hb_committed_seq(&f.journal.commit), expected);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, expected);

	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_seek_first(reader), 0);
	while (hb_journal_reader_next(reader, &record, &at) > 0) {
		struct hb_record_grab grab = fixture_record(record->ring, ++core[record->ring]);

		assert_memory_equal(record, &grab, sizeof(grab));
	}
	assert_string_equal(hb_journal_reader_error(reader), "");
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

static void
seeking_delivers_the_sequence_asked_for_first(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	for (uint32_t i = 0; i < 12; i++)
		fixture_frame(&f, 2000);
	assert_true(f.journal.segment_number >= 3);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	for (uint64_t seq = 1; seq <= 24000; seq += 1777) {
		assert_int_equal(hb_journal_reader_seek(reader, seq), 0);
		assert_int_equal(hb_journal_reader_next(reader, &record, &at), 1);
		assert_int_equal(at.seq, seq);
	}
	assert_int_equal(hb_journal_reader_seek(reader, 24001), 0);
	assert_int_equal(hb_journal_reader_next(reader, &record, &at), 0);
	assert_int_equal(hb_journal_reader_seek(reader, 24002), -ERANGE);
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

static void
a_reader_follows_the_writer_up_to_its_limit(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	uint64_t seq = 0;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	hb_journal_reader_limit(reader, 0);
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	for (uint32_t i = 0; i < 30; i++) {
		uint64_t committed;

		fixture_frame(&f, 1 + i * 29);
		committed = hb_committed_seq(&f.journal.commit);
		/* also a limit in the middle of a frame is kept */
		for (uint64_t limit = committed - i / 2; limit <= committed; limit += i / 2 + 1) {
			hb_journal_reader_limit(reader, limit);
			while (hb_journal_reader_next(reader, &record, &at) > 0)
				assert_int_equal(at.seq, ++seq);
			assert_int_equal(seq, limit);
		}
		hb_journal_reader_limit(reader, committed);
		while (hb_journal_reader_next(reader, &record, &at) > 0)
			seq = at.seq;
		assert_int_equal(seq, committed);
	}
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

/* Whatever part of the last write reached the disk, the frames before it are read. */
static void
every_torn_prefix_ends_the_journal_before_it(void **state)
{
	struct fixture f;
	uint64_t offset[FRAMES + 1], first[FRAMES + 1], records;
	static uint8_t image[65536], zeros[65536];
	uint64_t size;

	(void)state;
	fixture_begin(&f);
	fill(&f, offset, first);
	size = offset[FRAMES];
	assert_true(size <= sizeof(image));
	fixture_peek(&f, RAW_1, 0, image, size);
	for (int frame = 0; frame < FRAMES; frame++) {
		uint64_t used = 192 + 96 * frame_records[frame];

		fixture_hint(&f, first[frame] - 1);
		fixture_poke(&f, RAW_1, 0, zeros, size);
		fixture_poke(&f, RAW_1, 0, image, offset[frame]);
		for (uint64_t cut = 0; cut < used; cut += cut < 200 ? 17 : 397) {
			fixture_poke(&f, RAW_1, offset[frame], image + offset[frame], cut);
			assert_int_equal(fixture_read(&f, &records), 0);
			assert_int_equal(records, first[frame] - 1);
		}
		fixture_poke(&f, RAW_1, offset[frame], image + offset[frame], used);
		assert_int_equal(fixture_read(&f, &records), 0);
		assert_int_equal(records, first[frame + 1] - 1);
	}
	fixture_end(&f);
}

static void
a_flipped_byte_in_any_sector_is_found(void **state)
{
	struct fixture f;
	uint64_t offset[FRAMES + 1], first[FRAMES + 1], records, last;
	uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	fixture_begin(&f);
	last = fill(&f, offset, first);
	for (uint64_t at = 0; at < offset[FRAMES]; at += 512) {
		uint64_t place = at + hb_mix64(seed + at) % 512;

		/* the superblock knows that all of it was durable */
		fixture_hint(&f, last);
		fixture_flip(&f, RAW_1, place);
		assert_int_equal(fixture_read(&f, &records), -EBADMSG);
		assert_non_null(strstr(f.error, "the superblock shows"));
		assert_non_null(strstr(f.error, RAW_1));
		/* it does not: a later frame does, except behind the last one, a torn tail */
		fixture_hint(&f, 0);
		if (at < offset[FRAMES - 1]) {
			assert_int_equal(fixture_read(&f, &records), -EBADMSG);
			assert_non_null(strstr(f.error, "a later frame shows"));
		} else {
			assert_int_equal(fixture_read(&f, &records), 0);
			assert_int_equal(records, first[FRAMES - 1] - 1);
		}
		fixture_flip(&f, RAW_1, place);
	}
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, last);
	fixture_end(&f);
}

static void
one_damaged_superblock_copy_is_survived_and_two_are_refused(void **state)
{
	struct fixture f;
	uint64_t offset[FRAMES + 1], first[FRAMES + 1], records;

	(void)state;
	fixture_begin(&f);
	fill(&f, offset, first);
	for (uint64_t copy = 0; copy < 2; copy++) {
		fixture_flip(&f, "superblock", copy * 4096 + 40);
		assert_int_equal(fixture_read(&f, &records), 0);
		fixture_flip(&f, "superblock", copy * 4096 + 40);
	}
	fixture_flip(&f, "superblock", 100);
	fixture_flip(&f, "superblock", 4096 + 100);
	assert_int_equal(fixture_read(&f, &records), -EBADMSG);
	assert_non_null(strstr(f.error, "both copies of the superblock are damaged"));
	fixture_end(&f);
}

static void
a_segment_of_another_journal_is_refused(void **state)
{
	struct fixture f, other;
	uint64_t offset[FRAMES + 1], first[FRAMES + 1], records;
	static uint8_t image[65536];

	(void)state;
	fixture_begin(&f);
	fixture_begin(&other);
	fill(&f, offset, first);
	fill(&other, offset, first);
	fixture_peek(&other, RAW_1, 0, image, offset[FRAMES]);
	fixture_poke(&f, RAW_1, 0, image, offset[FRAMES]);
	assert_int_equal(fixture_read(&f, &records), -EBADMSG);
	assert_non_null(strstr(f.error, "another journal"));
	fixture_end(&other);
	fixture_end(&f);
}

static void
a_missing_segment_is_named(void **state)
{
	struct fixture f;
	char path[128];
	uint64_t records;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	for (uint32_t i = 0; i < 14; i++)
		fixture_frame(&f, 2000);
	assert_true(f.journal.segment_number >= 3);
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/" RAW_2, f.directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fixture_read(&f, &records), -EBADMSG);
	assert_non_null(strstr(f.error, "is damaged"));
	fixture_end(&f);
}

/* Seeking begins at the segment's first frame; behind a damaged one it must not go on in the next.
 */
static void
a_seek_into_a_segment_whose_first_frame_is_damaged_names_it(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	struct hb_journal_frame first;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	while (f.journal.segment_number < 4)
		fixture_frame(&f, 2000);
	fixture_close(&f);
	fixture_peek(&f, RAW_2, 0, &first, sizeof(first));
	fixture_flip(&f, RAW_2, HB_JOURNAL_FRAME_HEADER_BYTES + 10);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_seek(reader, first.first_seq + 100), -EBADMSG);
	assert_non_null(strstr(hb_journal_reader_error(reader), RAW_2));
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(seeking_delivers_the_sequence_asked_for_first),
		cmocka_unit_test(a_reader_follows_the_writer_up_to_its_limit),
		cmocka_unit_test(every_torn_prefix_ends_the_journal_before_it),
		cmocka_unit_test(a_flipped_byte_in_any_sector_is_found),
		cmocka_unit_test(one_damaged_superblock_copy_is_survived_and_two_are_refused),
		cmocka_unit_test(a_segment_of_another_journal_is_refused),
		cmocka_unit_test(a_missing_segment_is_named),
		cmocka_unit_test(a_seek_into_a_segment_whose_first_frame_is_damaged_names_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
