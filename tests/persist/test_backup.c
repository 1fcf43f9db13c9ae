/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of a journal up to a cut: they hold every record up to it and none behind, whatever the
 * writer and the packing do meanwhile, and a writer goes on behind them.
 */
#include "tests/persist/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/backup.h"

static struct fixture f;
static char target[128];
static unsigned targets;
static char error[HB_JOURNAL_ERROR_BYTES];

static void
begin(void)
{
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
}

static void
write_segments(uint64_t until)
{
	while (f.journal.segment_number < until)
		fixture_frame(&f, 300);
	fixture_frame(&f, 7);
}

static uint64_t
committed(void)
{
	return hb_committed_seq(&f.journal.commit);
}

static int
back_up(uint64_t cut_seq, const char *earlier, struct hb_backup_cut *cut)
{
	struct hb_backup_request request = {
		.journal = f.directory, .target = target, .earlier = earlier, .cut_seq = cut_seq};

	snprintf(target, sizeof(target), "%s/copy-%u", f.root, targets++);
	assert_int_equal(mkdir(target, 0700), 0);
	error[0] = '\0';
	return hb_backup_journal(&request, cut, error);
}

static void
expect_copy(uint64_t cut_seq, const char *earlier, struct hb_backup_cut *cut)
{
	struct hb_backup_cut seen;

	if (back_up(cut_seq, earlier, cut) != 0)
		fail_msg("%s", error);
	assert_int_equal(cut->first_seq, 1);
	assert_int_equal(hb_backup_verify_journal(target, &seen, NULL, NULL, error), 0);
	assert_int_equal(seen.seq, cut->seq);
	assert_int_equal(seen.records, cut->seq);
	assert_memory_equal(seen.chain, cut->chain, sizeof(cut->chain));
}

static void
a_copy_ends_at_its_cut_in_raw_and_packed_segments(void **state)
{
	struct hb_backup_cut cut;
	uint64_t early, middle;

	(void)state;
	begin();
	fixture_frame(&f, 5);
	early = committed();
	write_segments(2);
	middle = committed();
	write_segments(4);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	assert_int_equal(hb_pack_segment(&f.journal, 2, error), 0);
	expect_copy(early, NULL, &cut); /* in the middle of a packed segment */
	assert_int_equal(cut.seq, early);
	expect_copy(middle, NULL, &cut); /* behind one */
	assert_int_equal(cut.seq, middle);
	expect_copy(committed(), NULL, &cut);
	assert_int_equal(cut.seq, committed());
	expect_copy(HB_BACKUP_CUT_AT_END, NULL, &cut);
	assert_int_equal(cut.seq, committed());
	fixture_end(&f);
}

static void
a_further_copy_shares_packed_segments_with_the_one_before(void **state)
{
	struct hb_backup_cut cut;
	char earlier[128], path[256];
	struct stat file;

	(void)state;
	begin();
	write_segments(3);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	expect_copy(committed(), NULL, &cut);
	assert_int_equal(cut.bytes_linked, 0);
	snprintf(earlier, sizeof(earlier), "%s", target);
	write_segments(4);
	expect_copy(committed(), earlier, &cut);
	assert_true(cut.bytes_linked > 0);
	snprintf(path, sizeof(path), "%s/" PACKED_1, target);
	assert_int_equal(stat(path, &file), 0);
	assert_int_equal(file.st_nlink, 2);
	fixture_end(&f);
}

/* The copy is a journal: recovery finds its end, and records follow in a new epoch. */
static void
a_writer_goes_on_behind_a_copy(void **state)
{
	static struct fixture restored;
	struct hb_backup_cut cut;
	uint64_t records = 0;

	(void)state;
	begin();
	write_segments(2);
	expect_copy(committed(), NULL, &cut);
	write_segments(2); /* the node lives on */
	fixture_begin(&restored);
	assert_int_equal(rmdir(restored.directory) == 0 || errno == ENOENT, 1);
	snprintf(restored.directory, sizeof(restored.directory), "%.60s", target);
	memcpy(restored.core_sequence, f.core_sequence, sizeof(f.core_sequence));
	if (fixture_open(&restored) != 0)
		fail_msg("%s", restored.error);
	assert_int_equal(restored.journal.next_seq, cut.seq + 1);
	assert_int_equal(hb_journal_begin_epoch(&restored.journal, true), 0);
	assert_true(restored.journal.segment_number > 2); /* the last one is as if full */
	fixture_close(&restored);
	assert_int_equal(fixture_read(&restored, &records), 0);
	assert_int_equal(records, cut.seq + 1);
	fixture_end(&restored);
	fixture_end(&f);
}

static void
damage_and_cuts_that_are_none_are_named(void **state)
{
	struct hb_backup_cut cut;

	(void)state;
	begin();
	write_segments(2);
	assert_int_equal(back_up(committed() - 3, NULL, &cut), -EBADMSG); /* within a frame */
	assert_non_null(strstr(error, "was wanted"));
	assert_true(back_up(committed() + 1000, NULL, &cut) < 0);
	fixture_flip(&f, RAW_1, 5000);
	assert_int_equal(back_up(committed(), NULL, &cut), -EBADMSG);
	assert_non_null(strstr(error, RAW_1));
	fixture_end(&f);
}

static _Atomic bool stop;

static void *
write_and_pack(void *argument)
{
	char why[HB_JOURNAL_ERROR_BYTES];
	uint64_t packed = 0;

	(void)argument;
	while (!atomic_load(&stop) && f.journal.segment_number < 60) {
		fixture_frame(&f, 200);
		if (f.journal.segment_number > packed + 2 &&
			hb_pack_segment(&f.journal, packed + 1, why) == 0)
			packed++;
	}
	return NULL;
}

/* The writer writes, packs and recycles under the copy. */
static void
copies_beside_a_busy_writer_are_whole(void **state)
{
	struct hb_backup_cut cut;
	char earlier[128] = "";
	pthread_t writer;

	(void)state;
	begin();
	write_segments(2);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&writer, NULL, write_and_pack, NULL), 0);
	for (int i = 0; i < 12; i++) {
		uint64_t now = committed();

		expect_copy(now, earlier[0] == '\0' ? NULL : earlier, &cut);
		assert_int_equal(cut.seq, now);
		snprintf(earlier, sizeof(earlier), "%s", target);
	}
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	print_message("last cut %llu of %llu, %llu bytes linked\n", (unsigned long long)cut.seq,
		(unsigned long long)committed(), (unsigned long long)cut.bytes_linked);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_ends_at_its_cut_in_raw_and_packed_segments),
		cmocka_unit_test(a_further_copy_shares_packed_segments_with_the_one_before),
		cmocka_unit_test(a_writer_goes_on_behind_a_copy),
		cmocka_unit_test(damage_and_cuts_that_are_none_are_named),
		cmocka_unit_test(copies_beside_a_busy_writer_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
