/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: replay of records from a reader of the test's own, which ends, fails and repeats
 * itself as told; and a crew whose members find faults.
 */
#include "tests/engine/world.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/notify.h"
#include "persist/journal_reader.h"
#include "persist/replay.h"
#include "persist/replay_internal.h"
#include "persist/snapshot.h"

/* The reader: one record, so often; and what else the calls of a replay do. */
static struct {
	const struct hb_record *record;
	uint64_t times, seq;
	int seek_rc;
	struct hb_journal_frame frame; /* that all records are in */
	int cpus;		       /* 0: the kernel does not say */
	bool no_memory, nothing_wanted;
} calls;

static int
seek_of_test(struct hb_journal_reader *reader, uint64_t seq)
{
	(void)reader;
	calls.seq = seq - 1;
	return calls.seek_rc;
}

static int
next_of_test(struct hb_journal_reader *reader, const struct hb_record **record,
	struct hb_journal_position *position)
{
	(void)reader;
	if (calls.times == 0)
		return 0;
	calls.times--;
	*record = calls.record;
	*position = (struct hb_journal_position){.seq = ++calls.seq, .frame = &calls.frame};
	return 1;
}

static const char *
error_of_test(const struct hb_journal_reader *reader)
{
	(void)reader;
	return "the reader's words";
}

static int
affinity_of_test(pid_t pid, size_t bytes, cpu_set_t *set)
{
	(void)pid;
	(void)bytes;
	for (int i = 0; i < calls.cpus; i++)
		CPU_SET((size_t)i, set);
	return calls.cpus == 0 ? -1 : 0;
}

static void *
aligned_alloc_of_test(size_t align, size_t bytes)
{
	return calls.no_memory ? NULL : aligned_alloc(align, bytes);
}

#define aligned_alloc aligned_alloc_of_test
#include "persist/replay_crew.c"
#undef aligned_alloc

static bool
give_of_test(struct hbi_crew *crew, uint64_t seq, const struct hb_record *record)
{
	return !calls.nothing_wanted && hbi_crew_give(crew, seq, record);
}

#define hb_journal_reader_seek	seek_of_test
#define hb_journal_reader_next	next_of_test
#define hb_journal_reader_error error_of_test
#define sched_getaffinity	affinity_of_test
#define hbi_crew_give		give_of_test
#define look_ahead		look_ahead_in_frame /* the crew has one too */
#include "persist/replay.c"

static struct world w;
static struct hb_replay_result result;
static char error[HB_JOURNAL_ERROR_BYTES];
static const struct hb_snapshot_header from_the_beginning;
static struct hb_record_mark of_persist; /* a record that concerns no partition */

static void
begin_test(void)
{
	memset(&calls, 0, sizeof(calls));
	world_open(&w);
	memset(&of_persist, 0, sizeof(of_persist));
	of_persist.head.ring = HB_RING_PERSIST;
	hb_record_seal(&of_persist.head, HB_RECORD_MARK, sizeof(of_persist));
	calls.record = &of_persist.head;
	calls.frame.first_seq = 1;
	calls.frame.record_count = 1;
}

static int
replay_from(const struct hb_snapshot_header *start)
{
	return hb_replay(NULL, &w.state, start, &result, NULL, NULL, error);
}

static void
a_long_replay_signs_that_it_lives(void **unused)
{
	(void)unused;
	begin_test();
	calls.times = RECORDS_PER_SIGN + 1;
	assert_int_equal(replay_from(&from_the_beginning), 0);
	assert_int_equal(result.records, RECORDS_PER_SIGN + 1);
	assert_int_equal(result.marks, 0); /* persist's own compare nothing */
	world_close(&w);
}

static void
a_journal_that_does_not_continue_the_snapshot_is_refused(void **unused)
{
	struct hb_snapshot_header start = {.seq = 4, .chain = {1}};

	(void)unused;
	begin_test();
	calls.frame.first_seq = 5;
	calls.times = 1;
	assert_int_equal(replay_from(&start), -EBADMSG);
	assert_non_null(strstr(error, "does not continue"));
	calls.frame.previous_chain[0] = 1;
	calls.times = 1;
	assert_int_equal(replay_from(&start), 0);
	world_close(&w);
}

static int
stop_at_two(void *context, const struct hb_record *record, const struct hb_journal_position *at)
{
	(void)record;
	(void)at;
	return ++*(int *)context == 2 ? -ECANCELED : 0;
}

static void
who_counts_records_may_end_the_replay(void **unused)
{
	int count = 0;

	(void)unused;
	begin_test();
	calls.times = 5;
	assert_int_equal(
		hb_replay(NULL, &w.state, &from_the_beginning, &result, stop_at_two, &count, error),
		-ECANCELED);
	assert_int_equal(result.records, 1);
	world_close(&w);
}

static void
a_start_that_cannot_be_found_ends_a_replay_in_threads_too(void **unused)
{
	(void)unused;
	begin_test();
	calls.seek_rc = -ERANGE;
	assert_int_equal(
		hb_replay_in_threads(NULL, &w.state, &from_the_beginning, 2, &result, error),
		-ERANGE);
	assert_string_equal(error, "the reader's words");
	calls.seek_rc = 0;
	calls.times = 3;
	calls.nothing_wanted = true; /* somebody found a fault, and it was another's */
	assert_true(
		hb_replay_in_threads(NULL, &w.state, &from_the_beginning, 2, &result, error) >= 0);
	assert_int_equal(result.records, 0);
	world_close(&w);
}

static void
a_fault_whose_record_cannot_be_read_again_is_told_all_the_same(void **unused)
{
	const struct hbi_fault fault = {.seq = 7, .what = "what is wrong"};

	(void)unused;
	begin_test();
	calls.seek_rc = -EBADMSG;
	assert_int_equal(tell_fault(NULL, &fault, error), -EBADMSG);
	assert_string_equal(error, "sequence 7: what is wrong");
	calls.seek_rc = 0;
	assert_int_equal(tell_fault(NULL, &fault, error), -EBADMSG);
	assert_string_equal(error, "sequence 7: what is wrong");
	calls.times = 1;
	assert_int_equal(tell_fault(NULL, &fault, error), -EBADMSG);
	assert_non_null(strstr(error, "MARK"));
	world_close(&w);
}

static void
there_are_as_many_threads_as_cpus_up_to_four(void **unused)
{
	(void)unused;
	calls.cpus = 0;
	assert_int_equal(hb_replay_threads(), 0);
	calls.cpus = 1;
	assert_int_equal(hb_replay_threads(), 0);
	calls.cpus = 3;
	assert_int_equal(hb_replay_threads(), 3);
	calls.cpus = 9;
	assert_int_equal(hb_replay_threads(), HB_REPLAY_THREADS_MAX);
}

/* The last GRAB of the world, by somebody without an account, and its state before it. */
static const struct hb_record *
a_grab(void)
{
	const struct hb_record *record = NULL;
	struct hb_credit credit;
	struct hb_state before;
	uint64_t packet;

	assert_int_equal(world_fund(&w, 1, 100000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, 1, 5, 100, 2, HB_SPLIT_DOUBLE_MEAN, &packet), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, packet, 77, 5), HB_STATUS_OK);
	assert_int_equal(hb_state_create(&before, &w.state.partition[0].capacity, 7), 0);
	for (uint64_t at = 0; at < w.journal_bytes; at += record->length) {
		record = (const void *)(w.journal + at);
		if (record->type != HB_RECORD_GRAB)
			hb_apply(&before.partition[record->ring], record, &credit);
	}
	hb_state_close(&w.state);
	w.state = before;
	return record;
}

static void
a_credit_for_which_there_is_no_room_is_a_fault_of_the_credit(void **unused)
{
	struct hbi_fault fault = {0};
	const struct hb_record *grab;
	struct hb_partition *to = NULL;

	(void)unused;
	begin_test();
	grab = a_grab();
	assert_int_equal(grab->type, HB_RECORD_GRAB);
	to = &w.state.partition[hb_partition_of(77)];
	to->head->account_count = to->capacity.accounts - 1;
	assert_false(hbi_replay_record(&w.state, HB_PARTITIONS_ALL, grab, &fault));
	assert_true(fault.of_credit);
	world_close(&w);
}

static void
a_crew_that_has_found_a_fault_wants_nothing_more(void **unused)
{
	struct hb_record_grab wrong = {.head = {.ring = 0, .core_sequence = 9}, .user = 1};
	struct hbi_crew *crew;
	struct hbi_fault fault;
	uint64_t seq = 1;

	(void)unused;
	begin_test();
	hb_record_seal(&wrong.head, HB_RECORD_GRAB, sizeof(wrong));
	assert_int_equal(hbi_crew_start(&crew, &w.state, 1), 0);
	assert_true(hbi_crew_give(crew, seq, &wrong.head));
	while (hbi_crew_give(crew, ++seq, &of_persist.head))
		assert_true(seq < 100000000);
	fault = hbi_crew_end(crew);
	assert_int_equal(fault.seq, 1);
	world_close(&w);
}

static void
who_has_found_a_fault_does_nothing_more(void **unused)
{
	struct hb_record_grab wrong = {.head = {.ring = 0, .core_sequence = 9}, .user = 1};
	struct hbi_crew *crew;

	(void)unused;
	begin_test();
	hb_record_seal(&wrong.head, HB_RECORD_GRAB, sizeof(wrong));
	assert_int_equal(hbi_crew_start(&crew, &w.state, 1), 0);
	crew->member[0].fault = (struct hbi_fault){3, "before", false};
	assert_true(hbi_crew_give(crew, 4, &wrong.head));
	assert_string_equal(hbi_crew_end(crew).what, "before");
	world_close(&w);
}

/* Faults of two threads that were given nothing. */
static struct hbi_fault
first_of(struct hbi_fault a, struct hbi_fault b)
{
	struct hbi_crew *crew;

	assert_int_equal(hbi_crew_start(&crew, &w.state, 2), 0);
	crew->member[0].fault = a;
	crew->member[1].fault = b;
	return hbi_crew_end(crew);
}

static void
of_two_faults_the_earlier_counts_and_of_one_record_its_own(void **unused)
{
	const struct hbi_fault own = {5, "own", false}, credit = {5, "credit", true};
	const struct hbi_fault later = {6, "later", false};

	(void)unused;
	begin_test();
	assert_string_equal(first_of(own, credit).what, "own");
	assert_string_equal(first_of(credit, own).what, "own");
	assert_string_equal(first_of(later, credit).what, "credit");
	assert_string_equal(first_of(credit, later).what, "credit");
	world_close(&w);
}

static void
a_credit_follows_from_its_record_alone(void **unused)
{
	const struct hb_record_grab grab = {
		.head.type = HB_RECORD_GRAB, .user = 3, .amount_fen = 30};
	const struct hb_record_transfer transfer = {
		.head.type = HB_RECORD_TRANSFER, .to = 4, .amount_fen = 40};
	const struct hb_record_adjust adjust = {
		.head.type = HB_RECORD_ADJUST, .to = 5, .amount_fen = 50};

	(void)unused;
	assert_int_equal(hb_record_credit(&grab.head).account, 3);
	assert_int_equal(hb_record_credit(&transfer.head).account, 4);
	assert_int_equal(hb_record_credit(&adjust.head).amount_fen, 50);
	assert_int_equal(hb_record_credit(&of_persist.head).account, 0);
}

static void
without_memory_there_is_no_crew_and_one_thread_replays(void **unused)
{
	(void)unused;
	begin_test();
	calls.no_memory = true;
	calls.times = 3;
	assert_int_equal(
		hb_replay_in_threads(NULL, &w.state, &from_the_beginning, 2, &result, error), 0);
	assert_int_equal(result.records, 3);
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_replay_signs_that_it_lives),
		cmocka_unit_test(a_journal_that_does_not_continue_the_snapshot_is_refused),
		cmocka_unit_test(who_counts_records_may_end_the_replay),
		cmocka_unit_test(a_start_that_cannot_be_found_ends_a_replay_in_threads_too),
		cmocka_unit_test(a_fault_whose_record_cannot_be_read_again_is_told_all_the_same),
		cmocka_unit_test(there_are_as_many_threads_as_cpus_up_to_four),
		cmocka_unit_test(a_credit_for_which_there_is_no_room_is_a_fault_of_the_credit),
		cmocka_unit_test(a_crew_that_has_found_a_fault_wants_nothing_more),
		cmocka_unit_test(who_has_found_a_fault_does_nothing_more),
		cmocka_unit_test(of_two_faults_the_earlier_counts_and_of_one_record_its_own),
		cmocka_unit_test(a_credit_follows_from_its_record_alone),
		cmocka_unit_test(without_memory_there_is_no_crew_and_one_thread_replays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
