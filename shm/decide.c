/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decide: the door. Finds the operation's function; the functions are in decide_packet.c (what
 * members do with packets), decide_control.c (accounts, orders, money from outside), decide_hold.c
 * (money on its way out), decide_workflow.c (steps of orders, freezes, adjustments) and
 * decide_token.c (tokens, keys). Nothing here changes state.
 */
#include "shm/decide_internal.h"

void
hb_decide(const struct hb_partition *p, const struct hb_frame *frame, const struct hb_input *input,
	struct hb_decision *decision)
{
	decision->record_count = 0;
	decision->record_bytes = 0;
	HB_ASSERT(hb_partition_of(frame->target) == p->number);
	switch (frame->operation) {
	case HB_OP_GRAB:
		hbi_decide_grab(p, frame, input, decision);
		return;
	case HB_OP_PACKET_CREATE:
		hbi_decide_packet_create(p, frame, input, decision);
		return;
	case HB_OP_PACKET_DETAIL:
		hbi_decide_detail(p, frame, input, decision);
		return;
	case HB_OP_PACKET_EXPIRE:
		hbi_decide_expire_frame(p, frame, input, decision);
		return;
	case HB_OP_BALANCE:
		hbi_decide_balance(p, frame, decision);
		return;
	case HB_OP_TRANSFER:
		hbi_decide_transfer(p, frame, input, decision);
		return;
	case HB_OP_TOKEN_ISSUE:
		hbi_decide_token_issue(p, frame, input, decision);
		return;
	case HB_OP_ACCOUNT_OPEN:
		hbi_decide_account_open(p, frame, input, decision);
		return;
	case HB_OP_ORDER_OPEN:
		hbi_decide_order_open(p, frame, input, decision);
		return;
	case HB_OP_CREDIT:
		hbi_decide_credit(p, frame, input, decision);
		return;
	case HB_OP_ORDER_QUERY:
		hbi_decide_order_query(p, frame, decision);
		return;
	case HB_OP_HOLD:
		hbi_decide_hold(p, frame, input, decision);
		return;
	case HB_OP_POST:
	case HB_OP_VOID:
		hbi_decide_hold_exit(p, frame, input, decision);
		return;
	case HB_OP_HOLD_QUERY:
		hbi_decide_hold_query(p, frame, decision);
		return;
	case HB_OP_ACCOUNT_FREEZE:
	case HB_OP_ACCOUNT_UNFREEZE:
		hbi_decide_account_freeze(p, frame, input, decision);
		return;
	case HB_OP_ORDER_UPDATE:
		hbi_decide_order_update(p, frame, input, decision);
		return;
	case HB_OP_ORDER_LOAD:
		hbi_decide_order_load(p, frame, input, decision);
		return;
	case HB_OP_ADJUST:
		hbi_decide_adjust(p, frame, input, decision);
		return;
	case HB_OP_MARK:
		hb_decide_mark(p, input, decision);
		hbi_reply(decision, frame, HB_STATUS_OK);
		return;
	default:
		hbi_reply(decision, frame, HB_STATUS_FRAME_INVALID);
	}
}

void
hb_decide_mark(
	const struct hb_partition *p, const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_mark *r;

	decision->record_count = 0;
	decision->record_bytes = 0;
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->state_hash = p->head->state_hash;
	memcpy(r->sent_count, p->head->sent_count, sizeof(r->sent_count));
	memcpy(r->sent_fen, p->head->sent_fen, sizeof(r->sent_fen));
	memcpy(r->applied_count, p->head->applied_count, sizeof(r->applied_count));
	memcpy(r->applied_fen, p->head->applied_fen, sizeof(r->applied_fen));
	hbi_record_end(decision, r, HB_RECORD_MARK, sizeof(*r));
}

/* Its first line; the seed of a large packet is read again and again. */
static void
prefetch_packet(const struct hb_partition *p, uint64_t packet)
{
	hb_prefetch_write(hbi_packet_slot(p, packet));
}

void
hb_prefetch_head(const struct hb_partition *p, const struct hb_frame *frame)
{
	if (hb_id_kind(frame->target) == HB_ID_PACKET)
		prefetch_packet(p, frame->target);
	if (frame->token_id != 0)
		hb_prefetch(&p->windows[hbi_window_home(p, frame->token_id, frame->user)]);
}

/* What the look-up of a claim and the next grab of the packet will touch. */
static void
prefetch_claims(const struct hb_partition *p, const struct hb_packet *packet, uint64_t user)
{
	const struct hb_claim *claims = hbi_claims(p, packet);
	const struct hb_claim *next = claims + (packet->count - packet->left_count);
	uint32_t slots = hbi_claim_index_slots(packet->count);

	hb_prefetch_write(next);
	if (slots > 0)
		hb_prefetch(&hbi_claim_index(
			p, packet)[(uint32_t)hbi_claim_key(packet, user) & (slots - 1)]);
	else
		for (; claims < next; claims += HB_CACHE_LINE_BYTES / sizeof(*claims))
			hb_prefetch(claims);
}

void
hb_prefetch_claims(const struct hb_partition *p, const struct hb_frame *frame)
{
	const struct hb_packet *packet;

	if (frame->operation != HB_OP_GRAB)
		return;
	packet = hbi_packet_find(p, frame->target);
	if (packet == NULL)
		return;
	prefetch_claims(p, packet, frame->user);
	hbi_account_prefetch(p, packet->sender);
}

static bool
among(uint32_t partitions, uint32_t partition)
{
	return (partitions >> partition & 1) != 0;
}

void
hb_prefetch_record_head(
	const struct hb_state *state, uint32_t partitions, const struct hb_record *record)
{
	const struct hb_record_grab *r = (const void *)record;
	uint32_t from = record->ring % HB_PARTITION_COUNT, to;
	const struct hb_partition *p = &state->partition[from];

	if (record->type != HB_RECORD_GRAB)
		return;
	if (among(partitions, from)) {
		prefetch_packet(p, r->packet);
		hb_prefetch(&p->windows[hbi_window_home(p, r->token.token_id, r->user)]);
	}
	to = hb_partition_of(r->user);
	if (among(partitions, to))
		hbi_account_prefetch(&state->partition[to], r->user);
}

void
hb_prefetch_record_claims(
	const struct hb_state *state, uint32_t partitions, const struct hb_record *record)
{
	const struct hb_record_grab *r = (const void *)record;
	uint32_t from = record->ring % HB_PARTITION_COUNT, to;
	const struct hb_partition *p = &state->partition[from];
	const struct hb_credit credit = {.account = r->user};
	const struct hb_packet *packet;

	if (record->type != HB_RECORD_GRAB)
		return;
	to = hb_partition_of(r->user);
	if (among(partitions, to))
		hb_prefetch_credit_chain(&state->partition[to], &credit);
	if (!among(partitions, from))
		return;
	packet = hbi_packet_find(p, r->packet);
	if (packet == NULL)
		return;
	prefetch_claims(p, packet, r->user);
	hbi_account_prefetch(p, packet->sender);
}

void
hb_prefetch_credit(const struct hb_partition *to, const struct hb_credit *credit)
{
	hbi_account_prefetch(to, credit->account);
}

void
hb_prefetch_credit_chain(const struct hb_partition *to, const struct hb_credit *credit)
{
	const struct hb_account *home = &to->accounts[hbi_account_home(to, credit->account)];
	uint64_t elsewhere = home->id != credit->account; /* no branch: nobody could foresee it */

	hb_prefetch_write(home + elsewhere);
	hb_prefetch_write(home + 2 * elsewhere);
}
