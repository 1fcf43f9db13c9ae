/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: a file system without O_DIRECT, a segment that cannot be opened, a start that is
 * stopped while it waits for one, and a record that changes while it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "persist/journal_frame.h"
#include "persist/snapshot.h"
#include "persist/superblock.h"
#include "tests/persist/fixture.h"

/* What the calls of journal.c and writer.c do in a test. */
static struct {
	bool no_direct_io, no_status, no_segments, record_changes;
	uint32_t opened_direct, opened_otherwise; /* segments to be written */
} calls;

static int
openat_of_test(int folder, const char *name, int flags, ...)
{
	if (calls.no_direct_io && (flags & O_DIRECT) != 0) {
		errno = EINVAL;
		return -1;
	}
	if ((flags & O_ACCMODE) == O_WRONLY && (flags & O_DIRECT) != 0)
		calls.opened_direct++;
	else if ((flags & O_ACCMODE) == O_WRONLY)
		calls.opened_otherwise++;
	return openat(folder, name, flags, 0600);
}

static int
fstat_of_test(int fd, struct stat *status)
{
	if (!calls.no_status)
		return fstat(fd, status);
	errno = EIO;
	return -1;
}

static bool
pool_wait_of_test(struct hb_journal *journal, uint64_t number, const _Atomic bool *stop)
{
	return !calls.no_segments && hb_pool_wait(journal, number, stop);
}

static const char *
record_verify_of_test(struct hb_record *record, size_t bytes_left)
{
	const char *fault = hb_record_verify(record, bytes_left);

	if (calls.record_changes)
		record->length += 8;
	return fault;
}

static jmp_buf ended; /* where the test goes on when the process would end */

static _Noreturn void
abort_of_test(void)
{
	longjmp(ended, 1);
}

#define openat openat_of_test
#include "persist/journal.c"
#define fstat		 fstat_of_test
#define hb_pool_wait	 pool_wait_of_test
#define hb_record_verify record_verify_of_test
#define abort		 abort_of_test
#include "persist/writer.c"
#undef openat
#undef fstat
#undef hb_pool_wait
#undef hb_record_verify
#undef abort

static const _Atomic bool never = false;
static struct fixture f;

static void
begin(void)
{
	memset(&calls, 0, sizeof(calls));
	fixture_begin(&f);
}

static void
without_direct_io_the_page_cache_is_written_through(void **unused)
{
	uint64_t records;

	(void)unused;
	begin();
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 5);
	assert_int_equal(calls.opened_direct, 1);
	fixture_close(&f);
	calls.no_direct_io = true;
	calls.opened_direct = calls.opened_otherwise = 0;
	assert_int_equal(fixture_open(&f), 0);
	assert_true(f.journal.direct_io_off);
	memcpy(f.core_sequence, f.journal.ring_sequence, sizeof(f.core_sequence));
	fixture_frame(&f, 5);
	assert_int_equal(calls.opened_direct, 0);
	assert_true(calls.opened_otherwise >= 1);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, 10);
	fixture_end(&f);
}

static void
a_segment_that_cannot_be_looked_at_ends_the_process(void **unused)
{
	(void)unused;
	begin();
	assert_int_equal(fixture_open(&f), 0);
	fixture_add(&f, 0);
	calls.no_status = true;
	if (setjmp(ended) == 0) {
		(void)hb_frame_write(&f.journal, &never);
		fail();
	}
	fixture_end(&f);
}

static void
who_is_stopped_while_there_is_no_segment_writes_nothing(void **unused)
{
	uint64_t before;

	(void)unused;
	begin();
	assert_int_equal(fixture_open(&f), 0);
	fixture_add(&f, 0); /* the first frame of all */
	calls.no_segments = true;
	assert_int_equal(hb_frame_write(&f.journal, &never), -ECANCELED);
	calls.no_segments = false;
	fixture_write(&f);
	/* until the next frame has no room in the first segment */
	do {
		fixture_frame(&f, 2000);
		before = f.journal.segment_number;
	} while (f.journal.segment_offset + 200000 < f.journal.segment_bytes);
	for (uint32_t i = 0; i < 2000; i++)
		fixture_add(&f, 0);
	calls.no_segments = true;
	assert_int_equal(hb_frame_write(&f.journal, &never), -ECANCELED);
	assert_int_equal(f.journal.segment_number, before);
	calls.no_segments = false;
	assert_int_equal(hb_frame_write(&f.journal, &never), 0);
	assert_int_equal(f.journal.segment_number, before + 1);
	fixture_end(&f);
}

static void
a_record_that_changes_while_it_is_read_is_refused(void **unused)
{
	struct hb_record_grab grab = fixture_record(0, 1);
	const char *fault = NULL;
	uint32_t taken;

	(void)unused;
	begin();
	assert_int_equal(fixture_open(&f), 0);
	calls.record_changes = true;
	assert_int_equal(hb_frame_add(&f.journal, 0, &grab, sizeof(grab), &taken, &fault), -EPROTO);
	assert_string_equal(fault, "a record changed while it was read");
	calls.record_changes = false;
	assert_int_equal(hb_frame_add(&f.journal, 0, &grab, sizeof(grab), &taken, &fault), 1);
	fixture_write(&f);
	fixture_end(&f);
}

/* A snapshot with another chain, though its checksums are right: of another journal's life. */
static void
a_start_refuses_a_snapshot_that_the_journal_does_not_continue(void **unused)
{
	static const char name[] = "snapshot/snapshot-0000000000000005";
	struct hb_snapshot_header header = {.seq = 5};
	struct hb_capacity capacity = {.accounts = 64,
		.packets = 64,
		.arena_bytes = 1 << 16,
		.windows = 64,
		.orders = 64,
		.idempotency = 64,
		.holds = 64};
	struct hb_state state;
	struct hb_journal_frame frame;

	(void)unused;
	begin();
	assert_int_equal(fixture_open(&f), 0);
	fixture_frame(&f, 5);
	fixture_frame(&f, 5);
	fixture_close(&f);
	fixture_peek(&f, RAW_1, 0, &frame, sizeof(frame));
	memcpy(header.chain, frame.chain, sizeof(header.chain));
	memcpy(header.stream_id, frame.stream_id, sizeof(header.stream_id));
	assert_int_equal(hb_state_create(&state, &capacity, 1), 0);
	assert_int_equal(hb_snapshot_write(f.directory, &state, &header, f.error), 0);
	hb_state_close(&state);
	assert_int_equal(fixture_open(&f), 0);
	fixture_close(&f);
	fixture_peek(&f, name, 0, &header, sizeof(header));
	header.chain[7] ^= 1;
	header.crc = hb_crc32c(&header, offsetof(struct hb_snapshot_header, crc));
	fixture_poke(&f, name, 0, &header, sizeof(header));
	assert_int_equal(fixture_open(&f), -EXDEV);
	assert_non_null(strstr(f.error, "does not continue"));
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_direct_io_the_page_cache_is_written_through),
		cmocka_unit_test(a_segment_that_cannot_be_looked_at_ends_the_process),
		cmocka_unit_test(who_is_stopped_while_there_is_no_segment_writes_nothing),
		cmocka_unit_test(a_record_that_changes_while_it_is_read_is_refused),
		cmocka_unit_test(a_start_refuses_a_snapshot_that_the_journal_does_not_continue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
