/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Making an lcore: everything it will ever need is taken here, before it starts. The memory
 * belongs to the struct hb_lcore and is given back by hb_lcore_free.
 */
#include "dataplane/lcore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/clock.h"

static int
owned_init(struct hb_owned *owned, const struct hb_lcore *lcore, struct hb_partition *p,
	int journal_fd)
{
	struct hb_shared *shared = lcore->shared;
	uint64_t now_ms = lcore->clock.now_ns / 1000000;
	uint8_t *data;
	int result;

	owned->partition = p;
	data = hb_segment_map_twice(journal_fd,
		HB_JOURNAL_DATA_OFFSET + p->number * HB_JOURNAL_RING_BYTES, HB_JOURNAL_RING_BYTES,
		true);
	if (data == NULL)
		return -errno;
	hb_ring_producer(
		&owned->journal, &shared->journal->ring[p->number], data, HB_JOURNAL_RING_BYTES);
	owned->committed = owned->journal.peer;
	result = hb_parking_init(&owned->parking, shared->parked_max);
	if (result == 0)
		result = hb_deadlines_init(&owned->deadlines, p, HB_OBJECT_PACKET, now_ms / 1000);
	if (result == 0)
		result =
			hb_deadlines_init(&owned->hold_deadlines, p, HB_OBJECT_HOLD, now_ms / 1000);
	if (result == 0)
		result = hb_token_asks_init(&owned->asks);
	/* Ids before this millisecond may have been given out by the process before. */
	owned->token_last_id = hb_token_id_first(now_ms);
	owned->mark_sequence = p->head->core_sequence;
	owned->mark_due_ns = hb_mono_ns() + shared->live[0].mark_interval_ns;
	return result;
}

void
hb_lcore_live_update(struct hb_lcore *lcore)
{
	uint32_t generation =
		atomic_load_explicit(&lcore->shared->live_generation, memory_order_acquire);

	lcore->live = lcore->shared->live[generation & 1];
	/* pairs with hb_dataplane's wait: nobody reads the older half any more */
	atomic_store_explicit(&lcore->live_seen, generation, memory_order_release);
}

int
hb_lcore_init(struct hb_lcore *lcore, struct hb_shared *shared, uint32_t number,
	struct hb_state *state, int journal_fd)
{
	int result;

	lcore->shared = shared;
	lcore->number = number;
	lcore->spin_ns = HB_IDLE_SPIN_NS;
	hb_lcore_live_update(lcore);
	lcore->input.config = &lcore->live.engine;
	lcore->clients = calloc(shared->clients_max, sizeof(*lcore->clients));
	lcore->active = calloc(shared->clients_max, sizeof(*lcore->active));
	if (lcore->clients == NULL || lcore->active == NULL ||
		hb_spsc_init(&lcore->from_main, 2 * (uint64_t)shared->clients_max + 8,
			sizeof(struct hb_message)) != 0 ||
		hb_spsc_init(&lcore->to_main, 2 * (uint64_t)shared->clients_max + 8,
			sizeof(struct hb_message)) != 0)
		return -ENOMEM;
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		if (shared->lcore_of_partition[p] != number)
			continue;
		lcore->owned[p] = calloc(1, sizeof(*lcore->owned[p]));
		if (lcore->owned[p] == NULL)
			return -ENOMEM;
		result = owned_init(lcore->owned[p], lcore, &state->partition[p], journal_fd);
		if (result != 0)
			return result;
		hb_accounts_low_update(lcore, &state->partition[p]);
		lcore->owned_count++;
	}
	return 0;
}

void
hb_lcore_free(struct hb_lcore *lcore)
{
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		struct hb_owned *owned = lcore->owned[p];

		if (owned == NULL)
			continue;
		hb_segment_unmap_twice(owned->journal.data, HB_JOURNAL_RING_BYTES);
		hb_parking_free(&owned->parking);
		hb_deadlines_free(&owned->deadlines);
		hb_deadlines_free(&owned->hold_deadlines);
		hb_token_asks_free(&owned->asks);
		free(owned);
	}
	free(lcore->clients);
	free(lcore->active);
	hb_spsc_free(&lcore->from_main);
	hb_spsc_free(&lcore->to_main);
}
