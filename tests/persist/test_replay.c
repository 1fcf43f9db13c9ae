/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay in several threads: the same state, the same figures and the same complaints as in one,
 * for whole journals and for such that contradict themselves anywhere. The linker gives
 * pthread_create to this file, so that threads can be refused.
 */
#include "tests/engine/world.h"
#include "tests/persist/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "persist/replay.h"
#include "persist/snapshot.h"

#define USERS	     200
#define FRAME	     300
#define CONFUSIONS   150
#define LONG_PACKETS 3500 /* records for more batches than a crew has */
#define CREDITED     INT64_C(1000000)

static struct world w;
static struct fixture f;
static uint8_t *records; /* what is written, a copy of w.journal that may be spoilt */
static uint32_t threads_left = UINT32_MAX;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
	void *(*function)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
	void *(*function)(void *), void *argument);

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
	void *(*function)(void *), void *argument)
{
	if (threads_left == 0)
		return EAGAIN;
	threads_left--;
	return __real_pthread_create(thread, attributes, function, argument);
}

static void
begin(uint64_t seed)
{
	world_open_sized(&w, &(struct hb_capacity){.accounts = 4096,
				     .packets = 4096,
				     .arena_bytes = 4 << 20,
				     .windows = 8192,
				     .orders = 4096,
				     .idempotency = 4096,
				     .holds = 4096});
	w.random = seed;
	for (uint64_t user = 1; user <= USERS; user++)
		assert_int_equal(world_fund(&w, user, CREDITED), HB_STATUS_OK);
}

static void
other_business(void)
{
	uint64_t user = 1 + world_random(&w) % USERS, hold;

	switch (world_random(&w) % 4) {
	case 0:
		if (world_hold(&w, user, 50, &hold) == HB_STATUS_OK && world_random(&w) % 2 == 0)
			(void)world_exit(&w, HB_OP_VOID, hold, 50, 0);
		break;
	case 1:
		(void)world_freeze(&w, user, true);
		(void)world_freeze(&w, user, false);
		break;
	case 2:
		(void)world_adjust(&w, user, 1 + world_random(&w) % USERS, 5);
		break;
	default:
		(void)world_void_due(&w);
	}
}

/* Packets and grabs, and now and then something else. Credits arrive late and are spent. */
static void
play(uint32_t packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		uint64_t packet, sender = 1 + world_random(&w) % USERS;
		uint32_t count = 1 + (uint32_t)(world_random(&w) % 12);

		world_advance_ms(&w, 7);
		if (world_random(&w) % 8 == 0)
			other_business();
		if (world_send(&w, sender, 5, 100 + count, count, HB_SPLIT_DOUBLE_MEAN, &packet) !=
			HB_STATUS_OK)
			continue;
		for (uint32_t j = 0; j < count; j++)
			(void)world_grab(&w, packet, 1 + world_random(&w) % USERS, 5);
		if (i % 50 == 0)
			world_deliver(&w);
	}
	world_deliver(&w);
}

/* The records of `records` into a new journal. */
static void
to_disk(void)
{
	const char *fault = NULL;
	uint64_t at = 0;
	uint32_t taken;

	fixture_begin(&f);
	f.config.node_number = 7;
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
	while (at < w.journal_bytes) {
		const struct hb_record *record = (const void *)(records + at);

		if (f.journal.frame_records == FRAME)
			fixture_write(&f);
		assert_int_equal(hb_frame_add(&f.journal, record->ring, record, record->length,
					 &taken, &fault),
			1);
		at += record->length;
	}
	fixture_write(&f);
	fixture_close(&f);
}

static void
take_records(void)
{
	records = realloc(records, w.journal_bytes);
	assert_non_null(records);
	memcpy(records, w.journal, w.journal_bytes);
}

/* From the beginning, without a snapshot. */
static int
replay(uint32_t threads, struct hb_state *state, struct hb_replay_result *result)
{
	static const struct hb_snapshot_header none;
	struct hb_journal_reader *reader;
	int rc;

	f.error[0] = '\0';
	assert_int_equal(hb_state_create(state, &w.state.partition[0].capacity, 7), 0);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	rc = hb_replay_in_threads(reader, state, &none, threads, result, f.error);
	hb_journal_reader_close(reader);
	return rc;
}

static void
check_same_bytes(const struct hb_state *a, const struct hb_state *b)
{
	assert_int_equal(a->segment.bytes, b->segment.bytes);
	/* behind the guard, which has the time it was made */
	assert_memory_equal(a->segment.base + HB_SEGMENT_GUARD_BYTES,
		b->segment.base + HB_SEGMENT_GUARD_BYTES,
		a->segment.bytes - HB_SEGMENT_GUARD_BYTES);
}

static void
any_number_of_threads_makes_the_same_state_to_the_last_byte(void **unused)
{
	struct hb_replay_result result, again_result;
	struct hb_state state, again;
	uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;

	(void)unused;
	print_message("seed %llu\n", (unsigned long long)seed);
	begin(seed);
	play(LONG_PACKETS);
	take_records();
	assert_true(w.journal_bytes > UINT64_C(16) << 17); /* more than a crew holds at once */
	to_disk();
	assert_int_equal(replay(0, &state, &result), 0);
	world_check_same(&w.state, &state);
	for (uint32_t threads = 1; threads <= HB_REPLAY_THREADS_MAX; threads++) {
		assert_int_equal(replay(threads, &again, &again_result), 0);
		check_same_bytes(&state, &again);
		assert_memory_equal(&result, &again_result, sizeof(result));
		hb_state_close(&again);
	}
	hb_state_close(&state);
	fixture_end(&f);
	world_close(&w);
}

/* Change a field of a random record behind its head, and seal it again: only its sense is wrong. */
static void
confuse(void)
{
	uint64_t number = world_random(&w) % w.record_count, at = 0;
	struct hb_record *record;
	uint32_t body;

	while (number-- > 0)
		at += ((const struct hb_record *)(const void *)(records + at))->length;
	record = (void *)(records + at);
	body = record->length - (uint32_t)sizeof(*record);
	if (body == 0 || record->type == HB_RECORD_PACKET_CREATE)
		return; /* its greeting has a length */
	records[at + sizeof(*record) + world_random(&w) % body] ^=
		(uint8_t)(1u << world_random(&w) % 8);
	hb_record_seal(record, record->type, record->length);
}

static void
a_journal_that_contradicts_itself_is_refused_in_the_same_words(void **unused)
{
	uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	char error[HB_JOURNAL_ERROR_BYTES];
	uint32_t refused = 0;

	(void)unused;
	print_message("seed %llu\n", (unsigned long long)seed);
	begin(seed);
	play(60);
	for (uint32_t i = 0; i < CONFUSIONS; i++) {
		struct hb_replay_result result;
		struct hb_state state, again;
		uint32_t threads = 1 + i % HB_REPLAY_THREADS_MAX;
		int rc;

		take_records();
		for (uint32_t j = 0; j <= i % 3; j++)
			confuse();
		to_disk();
		rc = replay(0, &state, &result);
		memcpy(error, f.error, sizeof(error));
		refused += rc != 0;
		assert_int_equal(replay(threads, &again, &result), rc);
		assert_string_equal(f.error, error);
		if (rc == 0)
			check_same_bytes(&state, &again);
		hb_state_close(&state);
		hb_state_close(&again);
		fixture_end(&f);
	}
	print_message("%u of %u refused\n", refused, CONFUSIONS);
	assert_in_range(refused, CONFUSIONS / 4, CONFUSIONS);
	world_close(&w);
}

/* What is damaged on the disk lies behind all that was handed out, and is told by its place. */
static void
damage_on_the_disk_is_told_when_what_lies_before_it_is_right(void **unused)
{
	struct hb_replay_result result;
	struct hb_state state;
	char error[HB_JOURNAL_ERROR_BYTES];

	(void)unused;
	begin(1);
	play(300);
	take_records();
	to_disk();
	fixture_flip(&f, RAW_1, w.journal_bytes / 2);
	assert_int_equal(replay(0, &state, &result), -EBADMSG);
	memcpy(error, f.error, sizeof(error));
	hb_state_close(&state);
	for (uint32_t threads = 1; threads <= HB_REPLAY_THREADS_MAX; threads++) {
		assert_int_equal(replay(threads, &state, &result), -EBADMSG);
		assert_string_equal(f.error, error);
		hb_state_close(&state);
	}
	fixture_end(&f);
	world_close(&w);
}

static void
threads_that_are_not_to_be_had_are_done_without(void **unused)
{
	struct hb_replay_result result;
	struct hb_state state;

	(void)unused;
	begin(2);
	play(100);
	take_records();
	to_disk();
	for (uint32_t left = 0; left <= HB_REPLAY_THREADS_MAX; left++) {
		threads_left = left;
		assert_int_equal(replay(HB_REPLAY_THREADS_MAX, &state, &result), 0);
		threads_left = UINT32_MAX;
		world_check_same(&w.state, &state);
		hb_state_close(&state);
	}
	fixture_end(&f);
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_number_of_threads_makes_the_same_state_to_the_last_byte),
		cmocka_unit_test(a_journal_that_contradicts_itself_is_refused_in_the_same_words),
		cmocka_unit_test(damage_on_the_disk_is_told_when_what_lies_before_it_is_right),
		cmocka_unit_test(threads_that_are_not_to_be_had_are_done_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
