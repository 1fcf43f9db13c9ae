/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: the packing thread with a clock of the test's, writes that fail or write nothing, and
 * packed files that do not read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "base/clock.h"
#include "base/log.h"
#include "persist/segment_list.h"
#include "persist/source.h"
#include "tests/persist/fixture.h"

#define SECOND_NS UINT64_C(1000000000)

/* What the calls of pack.c do in a test. */
static struct {
	uint64_t mono_ns, wall_ns;     /* its clocks */
	void (*slept)(void);	       /* after each long sleep of the thread */
	uint64_t writes, writes_until; /* the one that fails; 0: none */
	ssize_t failed;		       /* what it returns: -1, 0 */
	int error;
	bool no_unlink;
} calls;

static uint64_t
mono_ns_of_test(void)
{
	return calls.mono_ns;
}

static uint64_t
wall_ns_of_test(void)
{
	return calls.wall_ns;
}

static int
nanosleep_of_test(const struct timespec *time, struct timespec *left)
{
	(void)left;
	if (time->tv_nsec >= 100000000L && calls.slept != NULL)
		calls.slept();
	return 0;
}

static ssize_t
pwrite_of_test(int fd, const void *bytes, size_t length, off_t at)
{
	if (++calls.writes == calls.writes_until) {
		errno = calls.error;
		return calls.failed;
	}
	return pwrite(fd, bytes, length, at);
}

static int
unlinkat_of_test(int folder, const char *name, int flags)
{
	if (calls.no_unlink) {
		errno = EACCES;
		return -1;
	}
	return unlinkat(folder, name, flags);
}

#define hb_mono_ns mono_ns_of_test
#define hb_wall_ns wall_ns_of_test
#define nanosleep  nanosleep_of_test
#define pwrite	   pwrite_of_test
#define unlinkat   unlinkat_of_test
#include "persist/pack.c"
#undef unlinkat
#undef pwrite

static struct fixture f;

static void
begin(uint32_t segment_mib, uint64_t segments, uint32_t records_per_frame)
{
	memset(&calls, 0, sizeof(calls));
	fixture_begin(&f);
	f.config.journal_segment_mib = segment_mib;
	assert_int_equal(fixture_open(&f), 0);
	while (f.journal.segment_number <= segments)
		fixture_frame(&f, records_per_frame);
}

static void
segment_name(char name[128], uint64_t number, const char *ending)
{
	snprintf(name, 128, "%s/segment-%016llx.%s", f.directory, (unsigned long long)number,
		ending);
}

static bool
there_is(uint64_t number, const char *ending)
{
	char name[128];

	segment_name(name, number, ending);
	return access(name, F_OK) == 0;
}

#define DAMAGED 2 /* segment */
#define BLOCKED 3 /* segment whose packed file cannot be made at first */

static uint32_t sleeps;

/*
 * The course of the thread's test, a long sleep at a time, 20 s each. After a failure it looks
 * again when 60 s are over, and drops what is old every 60 s.
 */
static void
next_sleep(void)
{
	char name[128];

	calls.mono_ns += 20 * SECOND_NS;
	sleeps++;
	if (sleeps == 1) {
		assert_true(there_is(1, "packed"));
		assert_false(there_is(DAMAGED, "packed"));
		assert_int_equal(atomic_load(&f.journal.gauges.pack_failures), 1);
	} else if (sleeps == 5) { /* the one behind it was tried too */
		assert_int_equal(atomic_load(&f.journal.gauges.pack_failures), 2);
		assert_false(there_is(BLOCKED, "packed"));
		segment_name(name, BLOCKED, "packed.tmp");
		assert_int_equal(rmdir(name), 0);
	} else if (sleeps == 9) {
		assert_true(there_is(BLOCKED, "packed"));
		assert_true(there_is(1, "packed")); /* at a wall clock of 0 nothing is old */
		calls.wall_ns = UINT64_C(1) << 62;
		segment_name(name, 1, "raw"); /* its file was given to the pool */
		(void)unlink(name);
	} else if (sleeps == 14) {
		assert_false(there_is(1, "packed"));
		atomic_store(&f.journal.pack_stop, true);
	}
}

static void
the_thread_packs_passes_over_damage_tries_again_and_drops(void **state)
{
	char name[128];

	(void)state;
	begin(1, 4, 300);
	snprintf(name, sizeof(name), "segment-%016x.raw", DAMAGED);
	fixture_flip(&f, name, 400000); /* not in its first frame, which seals segment 1 */
	segment_name(name, BLOCKED, "packed.tmp");
	assert_int_equal(mkdir(name, 0700), 0);
	f.journal.keep_days = 1;
	atomic_store(&f.journal.pack_mark, hb_committed_seq(&f.journal.commit));
	sleeps = 0;
	calls.slept = next_sleep;
	assert_null(pack_main(&f.journal));
	assert_int_equal(sleeps, 14);
	assert_true(there_is(DAMAGED, "raw"));
	assert_true(there_is(BLOCKED, "packed"));
	assert_true(there_is(4, "packed"));
	drop_old(&f.journal); /* there is nothing more */
	fixture_end(&f);
}

static void
the_thread_starts_and_stops(void **state)
{
	(void)state;
	begin(1, 1, 300);
	assert_int_equal(hb_pack_start(&f.journal), 0);
	while (!there_is(1, "packed"))
		usleep(1000);
	hb_pack_stop(&f.journal);
	fixture_end(&f);
}

/* A journal whose newest segment is packed, as a copy of an old one may be. */
static void
a_folder_of_packed_segments_alone_has_nothing_to_pack_and_all_to_drop(void **state)
{
	char name[128], other[128];
	int kept;

	(void)state;
	begin(1, 1, 300);
	assert_int_equal(hb_pack_segment(&f.journal, 1, f.error), 0);
	snprintf(other, sizeof(other), "%s/other", f.root);
	assert_int_equal(mkdir(other, 0700), 0);
	segment_name(name, 1, "packed");
	snprintf(other, sizeof(other), "%s/other/" PACKED_1, f.root);
	assert_int_equal(rename(name, other), 0);
	snprintf(other, sizeof(other), "%s/other", f.root);
	kept = f.journal.dir_fd;
	f.journal.dir_fd = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(first_unpacked(&f.journal), f.journal.segment_number);
	assert_int_equal(hb_pack_drop(&f.journal, 0, UINT64_MAX), 0);
	assert_int_equal(hb_pack_drop(&f.journal, UINT64_MAX, UINT64_MAX), 1);
	assert_int_equal(hb_pack_drop(&f.journal, UINT64_MAX, UINT64_MAX), 0);
	close(f.journal.dir_fd);
	f.journal.dir_fd = kept;
	fixture_end(&f);
}

static void
who_begins_where_all_is_packed_waits_for_the_active_segment(void **state)
{
	int kept;

	(void)state;
	begin(1, 2, 300);
	assert_int_equal(first_unpacked(&f.journal), 1);
	assert_int_equal(hb_pack_segment(&f.journal, 1, f.error), 0);
	assert_int_equal(first_unpacked(&f.journal), 2);
	assert_int_equal(hb_pack_segment(&f.journal, 2, f.error), 0);
	assert_int_equal(first_unpacked(&f.journal), f.journal.segment_number);
	/* a folder that cannot be listed packs and drops nothing */
	kept = f.journal.dir_fd;
	f.journal.dir_fd = -1;
	assert_int_equal(first_unpacked(&f.journal), f.journal.segment_number);
	assert_int_equal(hb_pack_drop(&f.journal, UINT64_MAX, UINT64_MAX), 0);
	f.journal.dir_fd = kept;
	hb_pack_stop(&f.journal); /* was never started */
	fixture_end(&f);
}

static void
a_write_that_fails_or_writes_nothing_leaves_the_raw_segment(void **state)
{
	static const struct {
		ssize_t failed;
		int error, rc;
	} ways[] = {{-1, ENOSPC, -ENOSPC}, {0, 0, -EIO}, {-1, EINTR, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int rc = -1;

		/* segments longer than a block, so that there are several */
		begin(3, 1, 600);
		for (uint64_t n = 1; rc != 0; n++) {
			calls.writes = 0;
			calls.writes_until = n;
			calls.failed = ways[i].failed;
			calls.error = ways[i].error;
			rc = hb_pack_segment(&f.journal, 1, f.error);
			assert_true(rc == 0 || rc == ways[i].rc);
			assert_true((rc == 0) == there_is(1, "packed"));
			assert_true(rc == 0 || there_is(1, "raw"));
		}
		assert_true(calls.writes > 4);
		fixture_end(&f);
	}
}

static void
packing_at_leisure_ends_with_the_thread(void **state)
{
	struct packing p = {.journal = &f.journal, .number = 1, .fd = -1, .error = f.error};

	(void)state;
	begin(1, 1, 300);
	assert_int_equal(end_block(&p), 0); /* nothing to write */
	atomic_store(&f.journal.pack_stop, true);
	assert_int_equal(hb_pack_segment(&f.journal, 1, f.error), 0);
	fixture_end(&f);
}

static void
a_packed_file_that_ends_elsewhere_is_not_believed(void **state)
{
	struct packing p = {.journal = &f.journal, .number = 1, .fd = -1, .error = f.error};
	struct hb_packed_header right;
	const struct hb_journal_frame *frame;

	(void)state;
	begin(1, 1, 300);
	assert_int_equal(hb_pack_segment(&f.journal, 1, f.error), 0);
	fixture_peek(&f, PACKED_1, 0, &right, sizeof(right));
	assert_int_equal(packing_open(&p, "other.tmp"), 0);
	p.header = right;
	assert_int_equal(verify_file(&p, PACKED_1), 0);
	p.header.last_frame--;
	assert_int_equal(verify_file(&p, PACKED_1), -EBADMSG);
	p.header = right;
	p.header.chain[5] ^= 1;
	assert_int_equal(verify_file(&p, PACKED_1), -EBADMSG);
	assert_non_null(strstr(f.error, "does not read back"));
	/* the frame behind the first, with another chain before it */
	assert_int_equal(hb_source_open_packed(&p.source, f.journal.dir_fd, PACKED_1, 1,
				 f.journal.superblock.stream_id),
		0);
	p.header = (struct hb_packed_header){0};
	assert_int_equal(next_frame(&p, &p.source, &p.header, &frame), 1);
	hb_source_advance(&p.source, frame);
	p.header.last_frame = frame->frame_number;
	assert_int_equal(next_frame(&p, &p.source, &p.header, &frame), 0);
	packing_close(&p);
	fixture_end(&f);
}

static void
only_what_is_old_and_below_the_mark_may_be_dropped(void **state)
{
	struct hb_packed_header header;
	char name[128];
	uint64_t last, wall;

	(void)state;
	begin(1, 2, 300);
	assert_int_equal(hb_pack_segment(&f.journal, 1, f.error), 0);
	fixture_peek(&f, PACKED_1, 0, &header, sizeof(header));
	last = header.last_seq;
	wall = header.last_wall_ns;
	assert_false(may_drop(&f.journal, "no-such-file", 1, UINT64_MAX, UINT64_MAX));
	assert_false(may_drop(&f.journal, PACKED_1, 2, UINT64_MAX, UINT64_MAX)); /* another's */
	assert_false(may_drop(&f.journal, PACKED_1, 1, last, UINT64_MAX));
	assert_false(may_drop(&f.journal, PACKED_1, 1, last + 1, wall));
	assert_true(may_drop(&f.journal, PACKED_1, 1, last + 1, wall + 1));
	fixture_close(&f); /* the pool would make the file another segment's */
	segment_name(name, 1, "raw");
	(void)unlink(name);
	assert_int_equal(fixture_open(&f), 0);
	calls.no_unlink = true;
	assert_int_equal(hb_pack_drop(&f.journal, UINT64_MAX, UINT64_MAX), 0);
	assert_true(there_is(1, "packed"));
	calls.no_unlink = false;
	assert_int_equal(hb_pack_drop(&f.journal, UINT64_MAX, UINT64_MAX), 1);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_thread_packs_passes_over_damage_tries_again_and_drops),
		cmocka_unit_test(the_thread_starts_and_stops),
		cmocka_unit_test(
			a_folder_of_packed_segments_alone_has_nothing_to_pack_and_all_to_drop),
		cmocka_unit_test(who_begins_where_all_is_packed_waits_for_the_active_segment),
		cmocka_unit_test(a_write_that_fails_or_writes_nothing_leaves_the_raw_segment),
		cmocka_unit_test(packing_at_leisure_ends_with_the_thread),
		cmocka_unit_test(a_packed_file_that_ends_elsewhere_is_not_believed),
		cmocka_unit_test(only_what_is_old_and_below_the_mark_may_be_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
