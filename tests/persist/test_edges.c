/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: the small parts of the journal where a field is wrong though its checksum is right, a
 * name is nearly one of ours, or a call fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/crc32c.h"
#include "persist/journal_frame.h"
#include "persist/map.h"
#include "persist/segment_list.h"
#include "persist/superblock.h"
#include "tests/persist/fixture.h"

/* What the calls of the parts do in a test. */
static struct {
	bool no_memory, no_open, no_direct_io;
	uint64_t syncs_until, writes_until; /* the one that fails; 0: none */
	ssize_t failed;
	int error;
} calls;

static void *
calloc_of_test(size_t count, size_t bytes)
{
	return calls.no_memory ? NULL : calloc(count, bytes);
}

static int
fsync_of_test(int fd)
{
	if (calls.syncs_until != 0 && --calls.syncs_until == 0) {
		errno = EIO;
		return -1;
	}
	return fsync(fd);
}

static ssize_t
pwritev2_of_test(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
	if (calls.writes_until != 0 && --calls.writes_until == 0) {
		errno = calls.error;
		return calls.failed;
	}
	return pwritev2(fd, parts, count, at, flags);
}

/* An interruption, a byte at a time, and in the end nothing more. */
static ssize_t
write_of_test(int fd, const void *bytes, size_t length)
{
	(void)bytes;
	(void)length;
	if (calls.error == EINTR) {
		calls.error = 0;
		errno = EINTR;
		return -1;
	}
	if (fd == 2) {
		errno = ENOSPC;
		return -1;
	}
	if (calls.failed == 0)
		return fd == 0 ? 0 : (ssize_t)length;
	calls.failed--;
	return 1;
}

#define write write_of_test
#include "base/write_all.h"
#undef write
#define calloc calloc_of_test
#include "persist/map.c"
#undef calloc
#include "persist/segment_list.c"
#define fsync	 fsync_of_test
#define pwritev2 pwritev2_of_test
#include "persist/superblock.c"
#undef fsync
#undef pwritev2

static struct fixture f;

static void
begin(void)
{
	memset(&calls, 0, sizeof(calls));
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
}

struct counted {
	uint64_t key;
	uint64_t value;
};

static void
a_map_keeps_what_it_has_when_it_cannot_grow(void **unused)
{
	struct hb_map map;
	struct counted *entry;
	uint64_t cursor = 0, sum = 0, kept = 0;

	(void)unused;
	hb_map_open(&map, sizeof(struct counted));
	assert_null(hb_map_find(&map, 1));
	assert_null(hb_map_next(&map, &cursor));
	for (uint64_t key = 1; key <= 1000; key++) {
		entry = hb_map_get(&map, key);
		assert_int_equal(entry->value, 0);
		entry->value = key;
		entry = hb_map_get(&map, key); /* the same, though perhaps elsewhere */
		assert_int_equal(entry->value, key);
	}
	assert_null(hb_map_find(&map, 0));
	assert_null(hb_map_find(&map, 1001));
	calls.no_memory = true;
	for (uint64_t key = 1001; hb_map_get(&map, key) != NULL; key++)
		kept++;
	calls.no_memory = false;
	assert_true(kept < 100000);
	cursor = 0;
	while ((entry = hb_map_next(&map, &cursor)) != NULL)
		sum += entry->value;
	assert_int_equal(sum, 1000 * 1001 / 2);
	hb_map_close(&map);
}

static void
a_name_that_is_nearly_a_segments_is_none(void **unused)
{
	static const char *const others[] = {"segment-", "segment-0000000000000001",
		"segment-000000000000000/.raw", "segment-000000000000000:.raw",
		"segment-000000000000000`.raw", "segment-000000000000000g.raw",
		"segment-000000000000000A.raw", "segment-0000000000000000.raw",
		"segment-0000000000000001.rawx", "segment-0000000000000001.packed.tmp",
		"Segment-0000000000000001.raw", "superblock"};
	struct hb_segment_entry entry;

	(void)unused;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(parse_name(others[i], &entry));
	assert_true(parse_name("segment-00000000000000af.raw", &entry));
	assert_true(entry.number == 0xaf && entry.raw && !entry.packed);
	assert_true(parse_name("segment-0000000000000009.packed", &entry));
	assert_true(entry.number == 9 && !entry.raw && entry.packed);
}

static void
a_folder_of_many_segments_is_listed_in_order(void **unused)
{
	struct hb_segment_list list;
	uint64_t last = 0;

	(void)unused;
	begin();
	fixture_close(&f);
	for (int i = 300; i > 0; i--) {
		char path[160];

		snprintf(path, sizeof(path), "%s/segment-%016x.%s", f.directory, i * 3,
			i % 2 == 0 ? "raw" : "packed");
		fclose(fopen(path, "we"));
	}
	int fd = open(f.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(hb_segment_list_read(&list, fd), 0);
	assert_true(list.count >= 300);
	for (size_t i = 0; i < list.count; i++) {
		assert_true(list.entry[i].number > last);
		last = list.entry[i].number;
	}
	hb_segment_list_free(&list);
	close(fd);
	fixture_end(&f);
}

/* A frame header with a field changed and its checksum right again. */
#define WRONG_FRAME(change)                                                                        \
	do {                                                                                       \
		struct hb_journal_frame frame = right;                                             \
		const char *reason = NULL;                                                         \
		change;                                                                            \
		frame.header_crc = 0;                                                              \
		frame.header_crc = hb_crc32c(&frame, sizeof(frame));                               \
		assert_false(hb_frame_header_ok(&frame, right.stream_id, 1, &reason));             \
		assert_non_null(reason);                                                           \
	} while (0)

static void
a_frame_header_with_a_wrong_field_is_refused_although_its_checksum_is_right(void **unused)
{
	struct hb_journal_frame right;

	(void)unused;
	begin();
	fixture_frame(&f, 100);
	fixture_peek(&f, RAW_1, 0, &right, sizeof(right));
	assert_true(hb_frame_header_ok(&right, right.stream_id, 1, NULL));
	WRONG_FRAME(frame.magic++);
	WRONG_FRAME(frame.version++);
	WRONG_FRAME(frame.stream_id[0]++);
	WRONG_FRAME(frame.segment_number++);
	WRONG_FRAME(frame.header_length++);
	WRONG_FRAME(frame.flags = 1);
	WRONG_FRAME(frame.reserved[31] = 1);
	WRONG_FRAME(frame.frame_length = HB_JOURNAL_FRAME_BYTES_MAX + HB_JOURNAL_BLOCK_BYTES);
	WRONG_FRAME(frame.frame_length++);
	WRONG_FRAME(frame.frame_length -= HB_JOURNAL_BLOCK_BYTES);
	WRONG_FRAME(frame.frame_length += HB_JOURNAL_BLOCK_BYTES);
	WRONG_FRAME(frame.payload_length++);
	WRONG_FRAME(frame.payload_length = UINT32_MAX);
	WRONG_FRAME(frame.record_count = 0);
	fixture_end(&f);
}

static void
a_superblock_of_another_size_is_no_copy(void **unused)
{
	struct hb_superblock superblock = {.magic = HB_SUPERBLOCK_MAGIC,
		.version = HB_JOURNAL_VERSION,
		.bytes = HB_SUPERBLOCK_BYTES};

	(void)unused;
	superblock.crc = superblock_crc(&superblock);
	assert_null(superblock_fault(&superblock, 0));
	superblock.bytes--;
	superblock.crc = superblock_crc(&superblock);
	assert_non_null(superblock_fault(&superblock, 0));
}

static void
a_superblock_that_cannot_be_written_is_told_each_time(void **unused)
{
	struct hb_superblock superblock;
	char error[256];
	int fd;

	(void)unused;
	begin();
	superblock = f.journal.superblock;
	fixture_close(&f);
	fd = open(f.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	calls.failed = -1;
	calls.error = ENOSPC;
	for (uint64_t n = 1; n <= HB_SUPERBLOCK_COPIES; n++) {
		calls.writes_until = n;
		assert_int_equal(hb_superblock_create(fd, &superblock), -ENOSPC);
	}
	for (uint64_t n = 1; n <= 2; n++) {
		calls.syncs_until = n;
		assert_int_equal(hb_superblock_create(fd, &superblock), -EIO);
	}
	calls.failed = 100; /* a write cut short */
	calls.writes_until = 1;
	assert_int_equal(hb_superblock_write(fd, &superblock), -EIO);
	assert_int_equal(hb_superblock_read(fd, &superblock, error), 0);
	close(fd);
	assert_int_equal(hb_superblock_write(-1, &superblock), -EBADF);
	fixture_end(&f);
}

static void
writing_all_goes_on_after_a_part_and_an_interruption(void **unused)
{
	static const char bytes[100];

	(void)unused;
	calls.error = EINTR;
	calls.failed = 30;
	assert_int_equal(hb_write_all(1, bytes, sizeof(bytes)), 0);
	assert_int_equal(calls.failed, 0);
	assert_int_equal(hb_write_all(0, bytes, sizeof(bytes)), -EIO); /* nothing more is taken */
	assert_int_equal(hb_write_all(2, bytes, sizeof(bytes)), -ENOSPC);
}

/* ---- what the writer is given ---- */

static int
add(const void *record, size_t bytes)
{
	const char *fault = NULL;
	uint32_t taken = 0;

	return hb_frame_add(&f.journal, 0, record, bytes, &taken, &fault);
}

static void
the_writer_takes_no_record_whose_length_cannot_be(void **unused)
{
	struct hb_record_grab grab = fixture_record(0, 1), wrong;

	(void)unused;
	begin();
	assert_int_equal(add(&grab, sizeof(struct hb_record) - 1), -EPROTO);
	assert_int_equal(add(&grab, sizeof(grab) - 8), -EPROTO);
	wrong = grab;
	wrong.head.length = sizeof(struct hb_record) - 8;
	assert_int_equal(add(&wrong, sizeof(wrong)), -EPROTO);
	wrong.head.length = HB_RECORD_BYTES_MAX + 8;
	assert_int_equal(add(&wrong, HB_RECORD_BYTES_MAX * 2), -EPROTO);
	wrong.head.length = sizeof(grab) - 1;
	assert_int_equal(add(&wrong, sizeof(wrong)), -EPROTO);
	wrong = fixture_record(0, 0);
	assert_int_equal(add(&wrong, sizeof(wrong)), -EPROTO);
	wrong = fixture_record(0, 3);
	assert_int_equal(add(&wrong, sizeof(wrong)), -EPROTO);
	assert_int_equal(add(&grab, sizeof(grab)), 1);
	fixture_end(&f);
}

static void
closing_a_journal_twice_is_harmless(void **unused)
{
	(void)unused;
	begin();
	hb_journal_close(&f.journal);
	hb_journal_close(&f.journal);
	f.open = false;
	fixture_end(&f);
}

static void
a_hint_that_cannot_be_written_does_not_keep_a_journal_open(void **unused)
{
	char path[160];

	(void)unused;
	begin();
	fixture_frame(&f, 3);
	snprintf(path, sizeof(path), "%s/" HB_JOURNAL_SUPERBLOCK_FILE, f.directory);
	assert_int_equal(unlink(path), 0);
	fixture_close(&f);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_keeps_what_it_has_when_it_cannot_grow),
		cmocka_unit_test(a_name_that_is_nearly_a_segments_is_none),
		cmocka_unit_test(a_folder_of_many_segments_is_listed_in_order),
		cmocka_unit_test(
			a_frame_header_with_a_wrong_field_is_refused_although_its_checksum_is_right),
		cmocka_unit_test(a_superblock_of_another_size_is_no_copy),
		cmocka_unit_test(a_superblock_that_cannot_be_written_is_told_each_time),
		cmocka_unit_test(writing_all_goes_on_after_a_part_and_an_interruption),
		cmocka_unit_test(the_writer_takes_no_record_whose_length_cannot_be),
		cmocka_unit_test(closing_a_journal_twice_is_harmless),
		cmocka_unit_test(a_hint_that_cannot_be_written_does_not_keep_a_journal_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
