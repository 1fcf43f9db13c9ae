/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Committed credits on their way to the owners of their accounts. Within an lcore they are applied
 * at once, between lcores they go through a queue per pair; a full queue keeps the credit where it
 * is parked. Credits under way when the process dies are not lost: replaying a GRAB or TRANSFER
 * implies both legs.
 */
#include "base/assert.h"
#include "dataplane/lcore.h"
#include "shm/ids.h"

void
hb_accounts_low_update(struct hb_lcore *lcore, const struct hb_partition *p)
{
	uint32_t bit = UINT32_C(1) << p->number;
	uint32_t flags = atomic_load_explicit(&lcore->shared->accounts_low, memory_order_relaxed);
	bool low = hb_accounts_low(p);

	if (low == ((flags & bit) != 0))
		return;
	if (low)
		atomic_fetch_or_explicit(&lcore->shared->accounts_low, bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&lcore->shared->accounts_low, ~bit, memory_order_relaxed);
}

static void
apply(struct hb_lcore *lcore, uint32_t from_partition, uint32_t to_partition,
	const struct hb_credit *credit)
{
	struct hb_partition *to = lcore->owned[to_partition]->partition;

	hb_apply_credit(to, from_partition, credit);
	hb_accounts_low_update(lcore, to);
	hb_count(lcore, HB_COUNTER_CREDITS_APPLIED, 1);
}

bool
hb_credit_deliver(struct hb_lcore *lcore, uint32_t from_partition, const struct hb_credit *credit)
{
	struct hb_shared *shared = lcore->shared;
	uint32_t to_partition = hb_partition_of(credit->account);
	uint32_t to_lcore = shared->lcore_of_partition[to_partition];

	if (to_lcore == lcore->number) {
		apply(lcore, from_partition, to_partition, credit);
	} else {
		struct hb_credit_message message = {.credit = *credit,
			.from_partition = from_partition,
			.to_partition = to_partition};

		lcore->wake_lcores |= UINT32_C(1) << to_lcore;
		if (!hb_spsc_push(&shared->credits[lcore->number][to_lcore], &message))
			return false;
	}
	hb_count(lcore, HB_COUNTER_CREDITS_SENT, 1);
	return true;
}

static void
prefetch(struct hb_lcore *lcore, const struct hb_credit_message *message)
{
	hb_prefetch_credit(lcore->owned[message->to_partition]->partition, &message->credit);
}

bool
hb_credits_drain(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;
	struct hb_credit_message message[HB_PREFETCH_CREDIT_AHEAD];
	bool any = false;

	for (uint32_t from = 0; from < shared->lcore_count; from++) {
		uint32_t count;

		if (from == lcore->number)
			continue;
		do {
			count = 0;
			while (count < HB_PREFETCH_CREDIT_AHEAD &&
				hb_spsc_pop(&shared->credits[from][lcore->number], &message[count]))
				prefetch(lcore, &message[count++]);
			for (uint32_t i = 0; i < count; i++)
				apply(lcore, message[i].from_partition, message[i].to_partition,
					&message[i].credit);
			any |= count > 0;
		} while (count == HB_PREFETCH_CREDIT_AHEAD);
	}
	return any;
}

void
hb_credits_wake(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;

	while (lcore->wake_lcores != 0) {
		uint32_t to = (uint32_t)__builtin_ctz(lcore->wake_lcores);

		lcore->wake_lcores &= lcore->wake_lcores - 1;
		if (atomic_load_explicit(&shared->node->lcore[to].sleeping, memory_order_seq_cst) !=
			0)
			hb_bell_ring(shared->lcore_bell[to].ring);
	}
}
