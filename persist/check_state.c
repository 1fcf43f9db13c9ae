/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The invariants I1 to I4 (check.h) over the replayed state, and the engine's balances against
 * those that follow from the flow rows: two computations that share no code.
 */
#include <inttypes.h>
#include <stdio.h>

#include "persist/check_internal.h"
#include "shm/ids.h"

/* Sums over all partitions. */
struct totals {
	int64_t balances_fen;
	int64_t claimed_fen;
	uint64_t claims;
	uint64_t evicted;
	struct hb_map left; /* struct sender_left */
};

struct sender_left {
	uint64_t sender;  /* key */
	int64_t left_fen; /* of open packets, and of open holds */
};

static void
number_violation(struct hbi_check *check, const char *kind, const char *object, const char *what,
	int64_t expected, int64_t found)
{
	char where[128];
	char expected_text[32];
	char found_text[32];

	snprintf(where, sizeof(where), "%s: %s", object, what);
	snprintf(expected_text, sizeof(expected_text), "%" PRId64, expected);
	snprintf(found_text, sizeof(found_text), "%" PRId64, found);
	hbi_violation(check, kind, where, expected_text, found_text);
}

static void
packet_violation(
	struct hbi_check *check, const char *what, uint64_t packet, int64_t expected, int64_t found)
{
	char object[32];

	snprintf(object, sizeof(object), "packet %016" PRIx64, packet);
	number_violation(check, "invariant_1", object, what, expected, found);
}

static void
account_violation(struct hbi_check *check, const char *kind, const char *what, uint64_t account,
	int64_t expected, int64_t found)
{
	char object[32];

	snprintf(object, sizeof(object), "account %" PRIu64, account);
	number_violation(check, kind, object, what, expected, found);
}

/* I1, and what is left counts for the sender's frozen balance. */
static void
check_packet(struct hbi_check *check, const struct hb_partition *p, const struct hb_packet *packet,
	struct totals *totals)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t taken = packet->count - packet->left_count;
	int64_t claimed = 0;
	struct sender_left *left;

	for (uint32_t i = 0; i < taken; i++) {
		claimed += claims[i].amount_fen;
		if (claims[i].user == 0)
			packet_violation(check, "taken shares without user", packet->id, 0, 1);
	}
	if (claimed + packet->left_fen + packet->refunded_fen != packet->total_fen)
		packet_violation(check, "claimed + left + refunded, fen", packet->id,
			packet->total_fen, claimed + packet->left_fen + packet->refunded_fen);
	if (packet->state != HB_PACKET_OPEN && packet->left_fen != 0)
		packet_violation(
			check, "left of a closed packet, fen", packet->id, 0, packet->left_fen);
	totals->claims += taken;
	totals->claimed_fen += claimed;
	left = hb_map_get(&totals->left, packet->sender);
	if (left != NULL)
		left->left_fen += packet->left_fen;
}

/* An open hold is part of its account's frozen balance, and has an order that is not over. */
static void
check_hold(struct hbi_check *check, const struct hb_partition *p, const struct hb_hold *hold,
	struct totals *totals)
{
	const struct hb_order *order = hb_order_find(p, hold->order_stamp);
	struct sender_left *left;
	char object[32];

	if (hold->state != HB_HOLD_OPEN)
		return;
	snprintf(object, sizeof(object), "hold %016" PRIx64, hold->id);
	if (order == NULL || order->hold_id != hold->id || order->ended_s != 0)
		number_violation(
			check, "invariant_2", object, "open hold with an open order", 1, 0);
	left = hb_map_get(&totals->left, hold->account);
	if (left != NULL)
		left->left_fen += hold->amount_fen;
}

/* I2 for one account, and its balances against the flow rows. */
static void
check_account(struct hbi_check *check, const struct hb_account *account, struct totals *totals)
{
	const struct hb_row_account *row = hb_map_find(&check->expected->accounts, account->id);
	const struct sender_left *left = hb_map_find(&totals->left, account->id);
	bool system = hb_id_kind(account->id) == HB_ID_SYSTEM_ACCOUNT;

	totals->balances_fen += account->available_fen + account->frozen_fen;
	if (account->frozen_fen != (left != NULL ? left->left_fen : 0))
		account_violation(check, "invariant_2",
			"frozen = left of its packets + open holds, fen", account->id,
			left != NULL ? left->left_fen : 0, account->frozen_fen);
	if (!system && (account->available_fen < 0 || account->frozen_fen < 0))
		account_violation(check, "invariant_2", "below zero, fen", account->id, 0,
			account->available_fen < 0 ? account->available_fen : account->frozen_fen);
	if (row == NULL || row->available_fen != account->available_fen)
		account_violation(check, "balance", "available by flows, fen", account->id,
			account->available_fen, row != NULL ? row->available_fen : 0);
	if (row == NULL || row->frozen_fen != account->frozen_fen)
		account_violation(check, "balance", "frozen by flows, fen", account->id,
			account->frozen_fen, row != NULL ? row->frozen_fen : 0);
}

static void
check_totals(struct hbi_check *check, const struct totals *totals)
{
	const struct hb_expected *e = check->expected;

	if (totals->balances_fen != 0)
		number_violation(check, "invariant_3", "all accounts", "sum of balances, fen", 0,
			totals->balances_fen);
	if (e->flow_fen != 0)
		number_violation(
			check, "invariant_3", "all flows", "sum of deltas, fen", 0, e->flow_fen);
	if (e->claim_fen != e->grab_order_fen)
		number_violation(check, "invariant_4", "grab orders", "sum = claims, fen",
			e->claim_fen, e->grab_order_fen);
	/* The state has the claims of older records too, and none of packets it forgot. */
	if (e->partial || totals->evicted != 0)
		return;
	if (totals->claims != check->result->grab_count || e->claim_count != totals->claims)
		number_violation(check, "invariant_4", "all packets", "claims = GRAB records",
			(int64_t)check->result->grab_count, (int64_t)totals->claims);
	if (e->claim_fen != totals->claimed_fen)
		number_violation(check, "invariant_4", "claims", "sum = claimed in state, fen",
			totals->claimed_fen, e->claim_fen);
}

/* What was sent from each partition to each other has arrived there. */
static void
check_credits(struct hbi_check *check)
{
	for (uint32_t from = 0; from < HB_PARTITION_COUNT; from++) {
		for (uint32_t to = 0; to < HB_PARTITION_COUNT; to++) {
			const struct hb_partition_head *a = check->state.partition[from].head;
			const struct hb_partition_head *b = check->state.partition[to].head;

			char pair[64];

			if (a->sent_count[to] == b->applied_count[from] &&
				a->sent_fen[to] == b->applied_fen[from])
				continue;
			snprintf(pair, sizeof(pair), "credits from partition %u to %u", from, to);
			number_violation(check, "credit_sums", pair, "applied = sent, fen",
				(int64_t)a->sent_fen[to], (int64_t)b->applied_fen[from]);
		}
	}
}

void
hbi_check_invariants(struct hbi_check *check)
{
	struct totals totals = {0};

	hb_map_open(&totals.left, sizeof(struct sender_left));
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &check->state.partition[i];

		for (uint64_t j = 0; j < p->capacity.packets; j++)
			if (p->packets[j].id != 0)
				check_packet(check, p, &p->packets[j], &totals);
		for (uint64_t j = 0; j < p->capacity.holds; j++)
			if (p->holds[j].id != 0)
				check_hold(check, p, &p->holds[j], &totals);
		totals.evicted += p->head->evict_count;
		check->result->packet_count += p->head->packet_count;
		check->result->account_count += p->head->account_count;
	}
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &check->state.partition[i];

		for (uint64_t j = 0; j < p->capacity.accounts; j++)
			if (p->accounts[j].id != 0)
				check_account(check, &p->accounts[j], &totals);
		hbi_progress(check, "invariants", i + 1, HB_PARTITION_COUNT);
	}
	check_totals(check, &totals);
	check_credits(check);
	hb_map_close(&totals.left);
}
