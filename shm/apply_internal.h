/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shared by the files of apply: the few ways a record changes balances, stamps and orders, each
 * counted in the hash of the record's ring.
 */
#ifndef HB_SHM_APPLY_INTERNAL_H
#define HB_SHM_APPLY_INTERNAL_H

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/order_number.h"
#include "shm/state_internal.h"

/* A balance change here, counted in the hash of the record's ring. */
static inline void
hbi_change(struct hb_partition *p, struct hb_account *account, int64_t available_fen,
	int64_t frozen_fen)
{
	uint64_t delta = hbi_balance_delta(account->id, available_fen, frozen_fen);

	p->head->state_hash += delta;
	hbi_account_change(p, account, available_fen, frozen_fen, delta);
}

/* The other leg: counted where it originates, applied by hb_apply_credit. */
static inline void
hbi_send_credit(
	struct hb_partition *p, uint64_t account, int64_t amount_fen, struct hb_credit *credit)
{
	uint32_t to = hb_partition_of(account);

	p->head->state_hash += hbi_balance_delta(account, amount_fen, 0);
	p->head->sent_count[to]++;
	p->head->sent_fen[to] += (uint64_t)amount_fen;
	credit->account = account;
	credit->amount_fen = amount_fen;
}

/* Is an order stamp not after the allocator's newest? */
static inline bool
hbi_stamp_used(const struct hb_partition *p, uint64_t stamp)
{
	return hb_stamp_plain(stamp) <= p->head->last_stamp;
}

static inline void
hbi_use_stamp(struct hb_partition *p, uint64_t stamp)
{
	HB_ASSERT(!hbi_stamp_used(p, stamp));
	p->head->last_stamp = hb_stamp_plain(stamp);
}

static inline uint8_t
hbi_account_kind_of(uint64_t account)
{
	return hb_id_kind(account) == HB_ID_SYSTEM_ACCOUNT ? HB_ACCOUNT_SYSTEM : HB_ACCOUNT_USER;
}

/* A step of an order; notes when it is over. Its hash is the caller's. */
static inline void
hbi_order_step(struct hb_order *order, uint8_t state, const struct hb_record *record)
{
	order->state = state;
	if (!hbi_order_final(order))
		return;
	order->ended_s = (uint32_t)(record->time_ns / UINT64_C(1000000000));
	order->final_sequence = record->core_sequence;
}

/* apply_check.c */

/** Room for the token's window and the idempotency key of a record. @return NULL or the reason */
const char *hbi_check_keys(const struct hb_partition *p, const struct hb_record *record);
/** Is the account there, or a slot for it beside that of a system account? */
const char *hbi_check_account_room(const struct hb_partition *p, uint64_t account);

/* apply_workflow.c */
void hbi_apply_workflow(
	struct hb_partition *p, const struct hb_record *record, struct hb_credit *credit);
const char *hbi_check_workflow(const struct hb_partition *p, const struct hb_record *record);

/* evict.c */
void hbi_apply_evict(struct hb_partition *p, const struct hb_record_evict *r);
const char *hbi_check_evict(const struct hb_partition *p, const struct hb_record_evict *r);

#endif
