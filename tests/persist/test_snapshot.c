/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: with the rest of the journal they give the state that the engine had; a damaged one
 * costs time and nothing else; what contradicts the state is named.
 */
#include "tests/engine/world.h"
#include "tests/persist/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "persist/replay.h"
#include "persist/snapshot.h"

#define USERS 200

static struct world w;
static struct fixture f;
static uint64_t written; /* bytes of w.journal that are on disk */

static void
begin(void)
{
	fixture_begin(&f);
	world_open(&w);
	written = 0;
	w.random = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	print_message("seed %llu\n", (unsigned long long)w.random);
	f.config.node_number = 7;
	f.config.capacity_accounts = 4096;
	f.config.capacity_packets = 4096;
	f.config.capacity_arena_mib = 4;
	f.config.capacity_windows = 4096;
	f.config.capacity_orders = 4096;
	f.config.capacity_idempotency = 1024;
	for (uint64_t user = 1; user <= USERS; user++)
		assert_int_equal(world_fund(&w, user, 100000), HB_STATUS_OK);
}

static void
end(void)
{
	world_close(&w);
	fixture_end(&f);
}

static void
play(uint32_t packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		uint64_t packet, sender = 1 + world_random(&w) % USERS;
		uint32_t count = 1 + (uint32_t)(world_random(&w) % 12);

		world_advance_ms(&w, 7);
		if (world_send(&w, sender, 5, 100 + count, count, HB_SPLIT_DOUBLE_MEAN, &packet) !=
			HB_STATUS_OK)
			continue;
		for (uint32_t j = 0; j < count; j++)
			(void)world_grab(&w, packet, 1 + world_random(&w) % USERS, 5);
	}
	world_deliver(&w);
}

static void
add(const struct hb_record *record)
{
	const char *fault = NULL;
	uint32_t taken;

	if (f.journal.frame_records == 40)
		fixture_write(&f);
	assert_int_equal(
		hb_frame_add(&f.journal, record->ring, record, record->length, &taken, &fault), 1);
}

/* Write what the world decided since the last call, then close the journal (durable hint). */
static void
to_disk(void)
{
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
	while (written < w.journal_bytes) {
		const struct hb_record *record = (const void *)(w.journal + written);

		add(record);
		written += record->length;
	}
	fixture_write(&f);
	fixture_close(&f);
}

/* A MARK of one partition, right or with another hash. */
static void
mark_to_disk(uint32_t number, uint64_t change)
{
	static _Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX], reply[HB_REPLY_BYTES_MAX];
	struct hb_decision decision = {.records = records, .reply = (void *)reply};
	struct hb_record_mark *mark = (void *)records;
	struct hb_credit credit;

	hb_decide_mark(&w.state.partition[number], &w.input, &decision);
	assert_int_equal(decision.record_count, 1);
	if (change == 0)
		hb_apply(&w.state.partition[number], &mark->head, &credit);
	mark->state_hash += change;
	hb_record_seal(&mark->head, HB_RECORD_MARK, sizeof(*mark));
	assert_int_equal(fixture_open(&f), 0);
	add(&mark->head);
	fixture_write(&f);
	fixture_close(&f);
}

/* Newest snapshot and the journal behind it. @return hb_replay's answer */
static int
rebuild(struct hb_state *state, struct hb_snapshot_header *header, struct hb_replay_result *result)
{
	struct hb_capacity capacity = hb_capacity_from_config(&f.config);
	struct hb_journal_reader *reader;
	struct hb_journal_info info;
	int rc;

	assert_int_equal(hb_state_create(state, &capacity, 7), 0);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_info(reader, &info), 0);
	assert_int_equal(hb_snapshot_load_newest(f.directory, info.durable_seq, info.stream_id,
				 state, header, f.error),
		0);
	hb_journal_reader_limit(reader, info.durable_seq);
	rc = hb_replay(reader, state, header, result, NULL, NULL, f.error);
	hb_journal_reader_close(reader);
	return rc;
}

static uint64_t
check_rebuilt(void)
{
	struct hb_state state;
	struct hb_snapshot_header header;
	struct hb_replay_result result;

	assert_int_equal(rebuild(&state, &header, &result), 0);
	world_check_same(&w.state, &state);
	hb_state_close(&state);
	return header.seq;
}

static void
a_snapshot_and_the_rest_of_the_journal_give_the_same_state(void **state)
{
	uint64_t first;

	(void)state;
	begin();
	play(60);
	to_disk();
	assert_int_equal(check_rebuilt(), 0);
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	first = check_rebuilt();
	assert_true(first > 0);
	play(60);
	to_disk();
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		mark_to_disk(i, 0);
	assert_int_equal(check_rebuilt(), first);
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	assert_true(check_rebuilt() > first);
	end();
}

static void
a_start_behind_a_snapshot_continues_rings_that_were_quiet_since(void **state)
{
	uint64_t core[HB_RING_COUNT];

	(void)state;
	begin();
	play(30);
	to_disk();
	memcpy(core, f.journal.ring_sequence, sizeof(core));
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fixture_open(&f), 0);
		assert_memory_equal(
			f.journal.ring_sequence, core, HB_PARTITION_COUNT * sizeof(core[0]));
		assert_int_equal(hb_journal_begin_epoch(&f.journal, false), 0);
		fixture_close(&f);
		assert_int_equal(hb_snapshot_run(&f.config), 0);
	}
	end();
}

static void
a_damaged_snapshot_is_passed_over_for_an_older_one(void **state)
{
	uint64_t seq[HB_SNAPSHOTS_MAX], older;
	char name[64];
	struct stat status;

	(void)state;
	begin();
	play(20);
	to_disk();
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	older = check_rebuilt();
	play(20);
	to_disk();
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	assert_int_equal(hb_snapshot_list(f.directory, seq), 2);
	snprintf(name, sizeof(name), "snapshot/snapshot-%016llx", (unsigned long long)seq[0]);
	{
		char path[160];

		snprintf(path, sizeof(path), "%s/%s", f.directory, name);
		assert_int_equal(stat(path, &status), 0);
	}
	for (uint64_t at = 3; at < (uint64_t)status.st_size;
		at += 1 + (uint64_t)status.st_size / 11) {
		fixture_flip(&f, name, at);
		assert_int_equal(check_rebuilt(), older);
		fixture_flip(&f, name, at);
	}
	assert_int_equal(check_rebuilt(), seq[0]);
	/* the newest header is damaged: a start still finds the end */
	fixture_flip(&f, name, 20);
	assert_int_equal(fixture_open(&f), 0);
	end();
}

/* Nothing of a header that does not add up may be believed, also when there is no other one. */
static void
a_start_does_without_its_only_snapshot_when_the_header_is_damaged(void **state)
{
	char name[64];
	uint64_t seq;

	(void)state;
	begin();
	play(20);
	to_disk();
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	seq = check_rebuilt();
	play(20);
	to_disk();
	snprintf(name, sizeof(name), "snapshot/snapshot-%016llx", (unsigned long long)seq);
	for (uint64_t offset = 0; offset < sizeof(struct hb_snapshot_header); offset += 4) {
		fixture_flip(&f, name, offset);
		assert_int_equal(fixture_open(&f), 0);
		fixture_close(&f);
		fixture_flip(&f, name, offset);
	}
	end();
}

static void
a_mark_with_another_hash_is_named_and_ends_the_replay(void **state)
{
	struct hb_state again;
	struct hb_snapshot_header header;
	struct hb_replay_result result;

	(void)state;
	begin();
	play(10);
	to_disk();
	mark_to_disk(3, 1);
	assert_int_equal(rebuild(&again, &header, &result), -EBADMSG);
	assert_non_null(strstr(f.error, "MARK"));
	hb_state_close(&again);
	assert_int_equal(hb_snapshot_run(&f.config), -EBADMSG);
	end();
}

static void
a_snapshot_above_the_journal_is_refused_at_the_start(void **state)
{
	static uint8_t image[1 << 18], zeros[1 << 18];

	(void)state;
	begin();
	play(10);
	to_disk();
	fixture_peek(&f, RAW_1, 0, image, sizeof(image));
	play(10);
	to_disk();
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	/* the disk lost what it had promised */
	fixture_poke(&f, RAW_1, 0, zeros, sizeof(zeros));
	fixture_poke(&f, RAW_1, 0, image, sizeof(image));
	fixture_hint(&f, 0);
	assert_int_equal(fixture_open(&f), -EBADMSG);
	assert_non_null(strstr(f.error, "the newest snapshot shows"));
	end();
}

static void
as_many_snapshots_stay_as_are_to_be_kept(void **state)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];

	(void)state;
	begin();
	for (int i = 0; i < 5; i++) {
		play(2);
		to_disk();
		assert_int_equal(hb_snapshot_run(&f.config), 0);
		/* again, with nothing new: nothing is written */
		assert_int_equal(hb_snapshot_run(&f.config), 0);
	}
	assert_int_equal(hb_snapshot_list(f.directory, seq), f.config.snapshot_keep);
	assert_true(seq[0] > seq[1] && seq[1] > seq[2]);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_and_the_rest_of_the_journal_give_the_same_state),
		cmocka_unit_test(a_start_behind_a_snapshot_continues_rings_that_were_quiet_since),
		cmocka_unit_test(a_damaged_snapshot_is_passed_over_for_an_older_one),
		cmocka_unit_test(a_start_does_without_its_only_snapshot_when_the_header_is_damaged),
		cmocka_unit_test(a_mark_with_another_hash_is_named_and_ends_the_replay),
		cmocka_unit_test(a_snapshot_above_the_journal_is_refused_at_the_start),
		cmocka_unit_test(as_many_snapshots_stay_as_are_to_be_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
