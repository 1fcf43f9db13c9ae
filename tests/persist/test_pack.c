/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed segments: the same frames, smaller, still checked; and what may be dropped.
 */
#include "tests/persist/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/segment_list.h"

static void
fill_segments(struct fixture *f, uint64_t segments, uint32_t records_per_frame)
{
	assert_int_equal(fixture_open(f), 0);
	while (f->journal.segment_number <= segments)
		fixture_frame(f, records_per_frame);
}

static void
a_packed_segment_reads_like_the_raw_one_and_is_small(void **state)
{
	struct fixture f;
	struct stat status;
	char error[HB_JOURNAL_ERROR_BYTES], path[128];
	uint64_t records, expected;

	(void)state;
	fixture_begin(&f);
	/* low load: two grabs in a frame of 4 KiB */
	fill_segments(&f, 2, 2);
	expected = hb_committed_seq(&f.journal.commit);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	assert_int_equal(hb_pack_segment(&f.journal, 2, error), 0);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, expected);
	snprintf(path, sizeof(path), "%s/" PACKED_1, f.directory);
	assert_int_equal(stat(path, &status), 0);
	print_message("%llu bytes per grab\n", (unsigned long long)status.st_size / 512);
	assert_true(status.st_size / 512 <= 150);
	/* a start finds the end behind packed segments too, whether or not raw files are left */
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/" RAW_1, f.directory);
	(void)unlink(path);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(f.journal.next_seq, expected + 1);
	fixture_frame(&f, 3);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, expected + 3);
	fixture_end(&f);
}

static void
a_reader_goes_on_in_the_packed_file_when_the_raw_one_is_recycled(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	char error[HB_JOURNAL_ERROR_BYTES], path[128], held[128];
	static uint8_t rubbish[1 << 20];
	uint64_t seq = 0;
	bool packed = false;

	(void)state;
	fixture_begin(&f);
	fill_segments(&f, 1, 20);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	while (seq < 105) {
		assert_int_equal(hb_journal_reader_next(reader, &record, &at), 1);
		assert_int_equal(at.seq, ++seq);
	}
	snprintf(path, sizeof(path), "%s/" RAW_1, f.directory);
	snprintf(held, sizeof(held), "%s/held", f.directory);
	assert_int_equal(link(path, held), 0);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	/* the reader holds the file open; its bytes become another segment's, its name goes */
	memset(rubbish, 0xa5, sizeof(rubbish));
	fixture_poke(&f, "held", 0, rubbish, sizeof(rubbish));
	(void)unlink(path);
	while (hb_journal_reader_next(reader, &record, &at) > 0) {
		assert_int_equal(at.seq, ++seq);
		packed |= at.packed;
	}
	assert_string_equal(hb_journal_reader_error(reader), "");
	assert_true(packed);
	assert_int_equal(seq, hb_committed_seq(&f.journal.commit));
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

static void
a_flipped_byte_anywhere_in_a_packed_segment_is_found(void **state)
{
	struct fixture f;
	struct stat status;
	char error[HB_JOURNAL_ERROR_BYTES], path[128];
	uint64_t records;

	(void)state;
	fixture_begin(&f);
	fill_segments(&f, 1, 30);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/" PACKED_1, f.directory);
	assert_int_equal(stat(path, &status), 0);
	for (uint64_t at = 0; at < (uint64_t)status.st_size; at += at < 300 ? 7 : 509) {
		fixture_flip(&f, PACKED_1, at);
		assert_int_equal(fixture_read(&f, &records), -EBADMSG);
		fixture_flip(&f, PACKED_1, at);
	}
	assert_int_equal(fixture_read(&f, &records), 0);
	fixture_end(&f);
}

static void
a_damaged_raw_segment_is_not_packed_and_stays(void **state)
{
	struct fixture f;
	char error[HB_JOURNAL_ERROR_BYTES] = "";

	(void)state;
	fixture_begin(&f);
	fill_segments(&f, 1, 20);
	fixture_flip(&f, RAW_1, 40 * 4096 + 300);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), -EBADMSG);
	assert_non_null(strstr(error, "segment 1"));
	assert_true(fixture_exists(&f, RAW_1));
	assert_false(fixture_exists(&f, PACKED_1));
	fixture_end(&f);
}

static void
only_old_packed_segments_below_the_mark_are_dropped(void **state)
{
	struct fixture f;
	struct hb_journal_reader *reader;
	char error[HB_JOURNAL_ERROR_BYTES];
	uint64_t end;

	(void)state;
	fixture_begin(&f);
	fill_segments(&f, 9, 500);
	end = hb_committed_seq(&f.journal.commit);
	for (uint64_t i = 1; i <= 8; i++)
		assert_int_equal(hb_pack_segment(&f.journal, i, error), 0);
	/* some raw files wait in the pool; they are no reason to drop more or less */
	assert_int_equal(hb_pack_drop(&f.journal, 0, UINT64_MAX), 0);
	assert_int_equal(hb_pack_drop(&f.journal, end, 0), 0);
	fixture_close(&f);
	for (uint64_t i = 1; i <= 4; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/segment-%016llx.raw", f.directory,
			(unsigned long long)i);
		(void)unlink(path);
	}
	assert_int_equal(fixture_open(&f), 0);
	assert_true(hb_pack_drop(&f.journal, end, UINT64_MAX) >= 4);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_seek(reader, 1), -ENOENT);
	assert_non_null(strstr(hb_journal_reader_error(reader), "older than the oldest segment"));
	assert_int_equal(hb_journal_reader_seek(reader, end), 0);
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packed_segment_reads_like_the_raw_one_and_is_small),
		cmocka_unit_test(a_reader_goes_on_in_the_packed_file_when_the_raw_one_is_recycled),
		cmocka_unit_test(a_flipped_byte_anywhere_in_a_packed_segment_is_found),
		cmocka_unit_test(a_damaged_raw_segment_is_not_packed_and_stays),
		cmocka_unit_test(only_old_packed_segments_below_the_mark_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
