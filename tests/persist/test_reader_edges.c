/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: places where a frame is looked for and is not, or is another one a moment later, and
 * files that come and go while they are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "persist/journal_frame.h"
#include "persist/journal_reader.h"
#include "persist/segment_list.h"
#include "persist/source.h"
#include "persist/superblock.h"
#include "tests/persist/fixture.h"

/* What the calls of reader.c do in a test. */
static struct {
	uint32_t headers_until; /* the look at a header that finds it changed; 0: none */
	bool segment_gone;	/* a segment was listed and is not there any more */
} calls;

static bool
header_ok_of_test(const struct hb_journal_frame *frame, const uint8_t stream_id[16],
	uint64_t segment_number, const char **reason)
{
	if (calls.headers_until != 0 && --calls.headers_until == 0)
		return false;
	return hb_frame_header_ok(frame, stream_id, segment_number, reason);
}

static int
source_open_of_test(struct hb_source *source, int dir_fd, uint64_t segment_number,
	const uint8_t stream_id[16], bool packed_only)
{
	if (calls.segment_gone)
		return -ENOENT;
	return hb_source_open(source, dir_fd, segment_number, stream_id, packed_only);
}

#define hb_frame_header_ok header_ok_of_test
#define hb_source_open	   source_open_of_test
#undef fail /* of cmocka */
#include "persist/reader.c"
#undef hb_frame_header_ok
#undef hb_source_open

static struct fixture f;
static struct hb_journal_reader *reader;
static const struct hb_record *record;
static struct hb_journal_position at;

static void
begin(uint64_t segments, uint32_t records_per_frame)
{
	memset(&calls, 0, sizeof(calls));
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	while (f.journal.segment_number <= segments)
		fixture_frame(&f, records_per_frame);
}

static void
begin_reading(void)
{
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
}

static void
end(void)
{
	hb_journal_reader_close(reader);
	fixture_end(&f);
}

static uint64_t
read_to_end(int *rc)
{
	uint64_t count = 0;

	while ((*rc = hb_journal_reader_next(reader, &record, &at)) > 0)
		count++;
	return count;
}

static void
a_segment_that_comes_later_is_read_when_it_is_there(void **unused)
{
	struct hb_journal_info info;
	int rc;

	(void)unused;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	fixture_close(&f); /* waits for the files that are made ahead */
	for (uint64_t i = 1; i <= 4; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/segment-%016llx.raw", f.directory,
			(unsigned long long)i);
		(void)unlink(path);
	}
	begin_reading();
	assert_int_equal(hb_journal_reader_info(reader, &info), 0);
	assert_int_equal(info.first_segment, 0); /* there is none */
	assert_int_equal(info.last_segment, 0);
	assert_int_equal(hb_journal_reader_seek_first(reader), 0);
	assert_int_equal(hb_journal_reader_next(reader, &record, &at), 0);
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 3);
	assert_int_equal(read_to_end(&rc), 3);
	assert_int_equal(rc, 0);
	end();
}

static void
a_folder_that_cannot_be_listed_is_told(void **unused)
{
	int kept;

	(void)unused;
	begin(1, 300);
	begin_reading();
	kept = reader->dir_fd;
	reader->dir_fd = -1;
	assert_int_equal(hb_journal_reader_seek_first(reader), -EBADF);
	assert_non_null(strstr(hb_journal_reader_error(reader), "cannot list segments"));
	reader->dir_fd = kept;
	end();
}

static void
a_frame_that_reaches_over_the_end_of_its_file_is_damage(void **unused)
{
	char path[128];
	struct stat status;
	int rc;

	(void)unused;
	begin(0, 0);
	for (int i = 0; i < 4; i++)
		fixture_frame(&f, 200); /* 20 KiB each */
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/" RAW_1, f.directory);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(truncate(path, 20480 + 4096), 0);
	begin_reading();
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	assert_true(read_to_end(&rc) < 4 * 200);
	assert_int_equal(rc, -EBADMSG); /* the durable hint names more */
	assert_non_null(strstr(hb_journal_reader_error(reader), "reaches over"));
	end();
}

static void
a_header_that_changes_between_two_looks_is_looked_at_again(void **unused)
{
	int rc;

	(void)unused;
	begin(0, 0);
	fixture_frame(&f, 10);
	fixture_close(&f);
	begin_reading();
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	calls.headers_until = 2;
	assert_int_equal(read_to_end(&rc), 10);
	assert_int_equal(rc, 0);
	assert_int_equal(calls.headers_until, 0);
	end();
}

/* Frames lie where nobody would write them, the newest first. */
static void
the_newest_of_later_frames_counts_wherever_it_lies(void **unused)
{
	static uint8_t blocks[4][4096];

	(void)unused;
	begin(0, 0);
	for (int i = 0; i < 4; i++)
		fixture_frame(&f, 1); /* one block each */
	fixture_close(&f);
	fixture_peek(&f, RAW_1, 0, blocks, sizeof(blocks));
	fixture_poke(&f, RAW_1, 4096 * 2, blocks[3], 4096);
	fixture_poke(&f, RAW_1, 4096 * 3, blocks[2], 4096);
	fixture_flip(&f, RAW_1, 4096 + 200);
	fixture_hint(&f, 0);
	begin_reading();
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	assert_int_equal(hb_journal_reader_next(reader, &record, &at), 1);
	assert_int_equal(hb_journal_reader_next(reader, &record, &at), -EBADMSG);
	assert_non_null(strstr(hb_journal_reader_error(reader), "a later frame shows that sequence "
								"4"));
	end();
}

static void
a_packed_segment_behind_the_end_shows_that_it_is_damage(void **unused)
{
	int rc;

	(void)unused;
	begin(2, 300);
	assert_int_equal(hb_pack_segment(&f.journal, 2, f.error), 0);
	fixture_close(&f);
	fixture_hint(&f, 0);
	fixture_flip(&f, RAW_1, 400000);
	begin_reading();
	assert_int_equal(hb_journal_reader_seek(reader, 1), 0);
	(void)read_to_end(&rc);
	assert_int_equal(rc, -EBADMSG);
	assert_non_null(strstr(hb_journal_reader_error(reader), "a later frame"));
	end();
}

static void
an_oldest_segment_without_a_first_frame_is_damage(void **unused)
{
	char path[128];
	int rc;

	(void)unused;
	begin(2, 300);
	fixture_close(&f);
	snprintf(path, sizeof(path), "%s/" RAW_1, f.directory);
	assert_int_equal(unlink(path), 0);
	fixture_flip(&f, RAW_2, 100); /* its header */
	begin_reading();
	assert_int_equal(hb_journal_reader_seek_first(reader), 0);
	assert_int_equal(read_to_end(&rc), 0);
	assert_int_equal(rc, -EBADMSG);
	/* where nothing was read yet, nothing of a packed segment is stepped over */
	assert_int_equal(skip_packed(reader, &reader->source), 1);
	end();
}

static void
a_segment_that_is_gone_since_it_was_listed_is_passed_over(void **unused)
{
	uint64_t first = 0;

	(void)unused;
	begin(2, 300);
	begin_reading();
	calls.segment_gone = true;
	assert_int_equal(first_seq_of(reader, 2, &first), 0);
	calls.segment_gone = false;
	assert_int_equal(first_seq_of(reader, 2, &first), 1);
	assert_true(first > 1);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_segment_that_comes_later_is_read_when_it_is_there),
		cmocka_unit_test(a_folder_that_cannot_be_listed_is_told),
		cmocka_unit_test(a_frame_that_reaches_over_the_end_of_its_file_is_damage),
		cmocka_unit_test(a_header_that_changes_between_two_looks_is_looked_at_again),
		cmocka_unit_test(the_newest_of_later_frames_counts_wherever_it_lies),
		cmocka_unit_test(a_packed_segment_behind_the_end_shows_that_it_is_damage),
		cmocka_unit_test(an_oldest_segment_without_a_first_frame_is_damage),
		cmocka_unit_test(a_segment_that_is_gone_since_it_was_listed_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
