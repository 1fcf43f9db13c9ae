/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Parking and releasing replies. Nothing is told before it is committed: a reply leaves when the
 * tail of its partition's journal ring has passed the newest record that was made before it.
 *
 * Room in the client's reply ring was reserved before its frame was taken (clients.c), so a
 * release never waits for a client and one that does not read hinders nobody else.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "dataplane/lcore.h"
#include "shm/ids.h"

void
hb_reply_park(struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot,
	const struct hb_credit *credits, uint32_t credit_count)
{
	const struct hb_reply *reply = (const struct hb_reply *)(const void *)lcore->reply;
	struct hb_parked entry = {.position = owned->journal.position, .slot = slot};

	HB_ASSERT(credit_count <= HB_DECISION_RECORDS_MAX);
	entry.credit_count = (uint8_t)credit_count;
	for (uint32_t i = 0; i < credit_count; i++)
		entry.credit[i] = credits[i];
	if (slot != HB_PARKED_NO_CLIENT) {
		struct hb_lcore_client *client = &lcore->clients[slot];

		entry.generation = client->generation;
		entry.reply_length = reply->length;
		client->reply_reserved += reply->length;
	}
	hb_parking_push(&owned->parking, &entry, reply);
	lcore->parked |= UINT32_C(1) << owned->partition->number;
	hb_count(lcore, HB_COUNTER_PARKED, 1);
}

/* Copy a reply into its client's ring. The room was reserved when its frame was taken. */
static void
hand_over(struct hb_lcore *lcore, uint32_t slot, const struct hb_reply *reply)
{
	struct hb_lcore_client *client = &lcore->clients[slot];
	void *at = hb_ring_reserve(&client->reply, reply->length);

	if (at == NULL) {
		/* Only a client that moves its tail backwards gets here. */
		hb_count(lcore, HB_COUNTER_REPLIES_DROPPED, 1);
		hb_client_kick(lcore, slot, "its reply ring has absurd positions");
		return;
	}
	memcpy(at, reply, reply->length);
	hb_ring_advance(&client->reply, reply->length);
	client->unpublished = true;
	lcore->any_unpublished_reply = true;
	hb_count(lcore, HB_COUNTER_REPLIES, 1);
}

void
hb_reply_refuse(
	struct hb_lcore *lcore, uint32_t slot, const struct hb_frame *frame, enum hb_status status)
{
	struct hb_reply reply = {.version = HB_FRAME_VERSION,
		.operation = frame->operation,
		.length = sizeof(reply),
		.status = (uint16_t)status,
		.correlation = frame->correlation,
		.as_of_seq = atomic_load_explicit(
			&lcore->shared->journal->committed_seq, memory_order_acquire)};

	hb_count(lcore,
		status == HB_STATUS_BUSY ? HB_COUNTER_REFUSED_BUSY : HB_COUNTER_REFUSED_FRAME, 1);
	hand_over(lcore, slot, &reply);
}

/* @return false when a credit cannot be delivered now: the entry stays */
static bool
release_one(struct hb_lcore *lcore, struct hb_owned *owned, struct hb_parked *entry,
	uint64_t committed_seq)
{
	struct hb_reply *reply = hb_parked_reply(entry);
	struct hb_lcore_client *client;

	for (; entry->credit_next < entry->credit_count; entry->credit_next++)
		if (!hb_credit_deliver(
			    lcore, owned->partition->number, &entry->credit[entry->credit_next]))
			return false;
	if (entry->reply_length == 0)
		return true;
	client = &lcore->clients[entry->slot];
	if (!client->active || client->generation != entry->generation) {
		hb_count(lcore, HB_COUNTER_REPLIES_DROPPED, 1);
		return true;
	}
	client->reply_reserved -= entry->reply_length;
	reply->as_of_seq = committed_seq;
	hand_over(lcore, entry->slot, reply);
	return true;
}

static void
look_at_tail(struct hb_owned *owned)
{
	uint64_t tail = atomic_load_explicit(&owned->journal.ring->tail, memory_order_acquire);

	if (tail < owned->committed || tail > owned->journal.position) {
		hb_log(HB_LOG_ERROR, "commit_absurd",
			"partition=%u tail=%lu before=%lu made=%lu advice=\"persist moved a tail "
			"where there is no record; ending, a restart recovers from the journal\"",
			owned->partition->number, tail, owned->committed, owned->journal.position);
		abort();
	}
	owned->committed = tail;
}

/*
 * The accounts of an entry's credits, by hb_prefetch_credit or _chain.
 * @return the entry to look at next; NULL: not yet released
 */
static struct hb_parked *
prefetch_credits(struct hb_lcore *lcore, struct hb_owned *owned, const struct hb_parked *entry,
	hb_prefetch_credit_fn *prefetch)
{
	if (entry == NULL || entry->position > owned->committed)
		return NULL;
	for (uint32_t i = entry->credit_next; i < entry->credit_count; i++) {
		const struct hb_credit *credit = &entry->credit[i];
		struct hb_owned *to = lcore->owned[hb_partition_of(credit->account)];

		if (to != NULL)
			prefetch(to->partition, credit);
	}
	return hb_parking_behind(&owned->parking, entry);
}

bool
hb_replies_release(struct hb_lcore *lcore, struct hb_owned *owned)
{
	struct hb_parked *entry = hb_parking_first(&owned->parking);
	struct hb_parked *home = entry, *chain = entry; /* looked at before `entry` is released */
	uint64_t committed_seq;
	uint64_t released = 0;

	if (entry == NULL)
		return false;
	look_at_tail(owned);
	/* Loaded behind the tail, and persist stores it before: it covers what we release. */
	committed_seq =
		atomic_load_explicit(&lcore->shared->journal->committed_seq, memory_order_acquire);
	for (int i = 0; i < HB_PREFETCH_CREDIT_AHEAD; i++)
		home = prefetch_credits(lcore, owned, home, hb_prefetch_credit);
	for (int i = 0; i < HB_PREFETCH_CHAIN_AHEAD; i++)
		chain = prefetch_credits(lcore, owned, chain, hb_prefetch_credit_chain);
	while (entry != NULL && entry->position <= owned->committed) {
		home = prefetch_credits(lcore, owned, home, hb_prefetch_credit);
		chain = prefetch_credits(lcore, owned, chain, hb_prefetch_credit_chain);
		if (!release_one(lcore, owned, entry, committed_seq))
			break;
		hb_parking_pop(&owned->parking);
		released++;
		entry = hb_parking_first(&owned->parking);
	}
	if (entry == NULL)
		lcore->parked &= ~(UINT32_C(1) << owned->partition->number);
	if (released != 0)
		hb_count(lcore, HB_COUNTER_PARKED, -released);
	return released != 0;
}

void
hb_replies_publish(struct hb_lcore *lcore)
{
	if (!lcore->any_unpublished_reply)
		return;
	lcore->any_unpublished_reply = false;
	for (uint32_t i = 0; i < lcore->active_count; i++) {
		struct hb_lcore_client *client = &lcore->clients[lcore->active[i]];

		if (!client->unpublished)
			continue;
		client->unpublished = false;
		if (hb_ring_publish(&client->reply))
			hb_bell_ring(client->bell);
	}
}
