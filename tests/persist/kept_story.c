/* SPDX-License-Identifier: Apache-2.0 */
/* The story of the kept journals (kept_story.h). Everything in it is determined. */
#include "tests/persist/kept_story.h"

#include <string.h>

#include "persist/snapshot.h"
#include "tests/engine/world.h"

static struct world w;
static uint64_t written;

void
kept_configure(struct hb_config *config)
{
	config->node_number = KEPT_NODE;
	config->capacity_accounts = 1024;
	config->capacity_packets = 1024;
	config->capacity_arena_mib = 1;
	config->capacity_windows = 1024;
	config->capacity_orders = 1024;
	config->capacity_idempotency = 1024;
}

static void
play(uint32_t packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		uint64_t packet, sender = 1 + i % KEPT_USERS;
		uint32_t count = 2 + i % 5;

		world_advance_ms(&w, 7);
		assert_int_equal(
			world_send(&w, sender, 5, 100 + count, count,
				i % 2 == 0 ? HB_SPLIT_DOUBLE_MEAN : HB_SPLIT_SEED, &packet),
			HB_STATUS_OK);
		/* of every second packet one share is left */
		for (uint32_t j = 0; j + i % 2 < count; j++)
			assert_int_equal(world_grab(&w, packet, 1 + (sender + j) % KEPT_USERS, 5),
				HB_STATUS_OK);
	}
	world_deliver(&w);
}

static void
add(struct fixture *f, const struct hb_record *record)
{
	const char *fault = NULL;
	uint32_t taken;

	if (f->journal.frame_records == 60)
		fixture_write(f);
	assert_int_equal(
		hb_frame_add(&f->journal, record->ring, record, record->length, &taken, &fault), 1);
}

static void
to_disk(struct fixture *f)
{
	assert_int_equal(fixture_open(f), 0);
	assert_int_equal(hb_journal_begin_epoch(&f->journal, true), 0);
	while (written < w.journal_bytes) {
		const struct hb_record *record = (const void *)(w.journal + written);

		add(f, record);
		written += record->length;
	}
	fixture_write(f);
	fixture_close(f);
}

/* What a replay compares its own hashes with. */
static void
marks_to_disk(struct fixture *f)
{
	static _Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX], reply[HB_REPLY_BYTES_MAX];
	struct hb_decision decision = {.records = records, .reply = (void *)reply};
	struct hb_credit credit;

	assert_int_equal(fixture_open(f), 0);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		hb_decide_mark(&w.state.partition[i], &w.input, &decision);
		hb_apply(&w.state.partition[i], (void *)records, &credit);
		add(f, (void *)records);
	}
	fixture_write(f);
	fixture_close(f);
}

void
kept_story(struct fixture *f, FILE *expected)
{
	world_open(&w);
	w.random = 1;
	written = 0;
	kept_configure(&f->config);
	for (uint64_t user = 1; user <= KEPT_USERS; user++)
		assert_int_equal(world_fund(&w, user, 100000), HB_STATUS_OK);
	play(16);
	to_disk(f);
	assert_int_equal(hb_snapshot_run(&f->config), 0);
	play(10);
	to_disk(f);
	marks_to_disk(f);
	for (uint64_t user = 1; user <= KEPT_USERS; user++)
		fprintf(expected, "%llu %lld %lld\n", (unsigned long long)user,
			(long long)world_available(&w, user), (long long)world_frozen(&w, user));
	world_close(&w);
}
