/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * From a frame to records, applied state and a parked reply.
 *
 * Room for records, reply and credits is reserved before anything is decided: where there is none
 * the answer is "busy" and nothing has changed. Records are applied before they are published, so
 * if the process dies in between, they do not exist and nobody was told.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "dataplane/lcore.h"
#include "shm/ids.h"

static bool
has_room(struct hb_owned *owned)
{
	return hb_parking_has_room(&owned->parking) &&
	       hb_ring_reserve(&owned->journal, HB_DECISION_BYTES_MAX) != NULL;
}

static void
watch(struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t id)
{
	hb_deadlines_add(deadlines, p, hb_deadlines_slot(deadlines, p, id));
}

/* A hold whose deadline passed while it was sent is due again when that attempt has failed. */
static void
follow_step(struct hb_owned *owned, const struct hb_record_order_update *r)
{
	const struct hb_order *order = hb_order_find(owned->partition, r->order_stamp);

	if (r->state_after == HB_ORDER_APPROVED && order != NULL && order->hold_id != 0)
		watch(&owned->hold_deadlines, owned->partition, order->hold_id);
}

/* What the dataplane keeps beside the state has to follow a record. */
static void
follow(struct hb_lcore *lcore, struct hb_owned *owned, const struct hb_record *record)
{
	const struct hb_partition *p = owned->partition;

	switch (record->type) {
	case HB_RECORD_PACKET_CREATE:
		hb_count(lcore, HB_COUNTER_PACKETS_CREATED, 1);
		watch(&owned->deadlines, p,
			((const struct hb_record_packet_create *)(const void *)record)->packet);
		return;
	case HB_RECORD_PACKET_EXPIRE:
		hb_count(lcore, HB_COUNTER_PACKETS_EXPIRED, 1);
		return;
	case HB_RECORD_GRAB:
		hb_count(lcore, HB_COUNTER_GRABS, 1);
		return;
	case HB_RECORD_TRANSFER:
		hb_count(lcore, HB_COUNTER_TRANSFERS, 1);
		return;
	case HB_RECORD_CREDIT:
		hb_count(lcore, HB_COUNTER_CREDITS, 1);
		hb_accounts_low_update(lcore, p);
		return;
	case HB_RECORD_ACCOUNT_OPEN:
		hb_accounts_low_update(lcore, p);
		return;
	case HB_RECORD_HOLD:
		hb_count(lcore, HB_COUNTER_HOLDS, 1);
		watch(&owned->hold_deadlines, p,
			((const struct hb_record_hold *)(const void *)record)->hold_id);
		return;
	case HB_RECORD_POST:
		hb_count(lcore, HB_COUNTER_HOLDS_POSTED, 1);
		hb_accounts_low_update(lcore, p);
		return;
	case HB_RECORD_VOID:
		hb_count(lcore, HB_COUNTER_HOLDS_VOIDED, 1);
		return;
	case HB_RECORD_ORDER_UPDATE:
		follow_step(owned, (const struct hb_record_order_update *)(const void *)record);
		return;
	case HB_RECORD_ADJUST:
		hb_count(lcore, HB_COUNTER_ADJUSTMENTS, 1);
		hb_accounts_low_update(lcore, p);
		return;
	case HB_RECORD_EVICT:
		hb_count(lcore, HB_COUNTER_EVICTIONS, 1);
		return;
	case HB_RECORD_MARK:
		hb_count(lcore, HB_COUNTER_MARKS, 1);
		owned->mark_sequence = record->core_sequence;
		return;
	default:
		return;
	}
}

/* Put the records into the journal ring and apply them. @return how many credits they imply */
static uint32_t
perform(struct hb_lcore *lcore, struct hb_owned *owned, const struct hb_decision *decision,
	struct hb_credit credits[HB_DECISION_RECORDS_MAX])
{
	const uint8_t *at = decision->records;
	uint32_t credit_count = 0;
	void *room;

	if (decision->record_count == 0)
		return 0;
	room = hb_ring_reserve(&owned->journal, decision->record_bytes);
	HB_ASSERT(room != NULL);
	memcpy(room, decision->records, decision->record_bytes);
	hb_ring_advance(&owned->journal, decision->record_bytes);
	hb_ring_prefetch(&owned->journal);
	lcore->unpublished |= UINT32_C(1) << owned->partition->number;
	for (uint32_t i = 0; i < decision->record_count; i++) {
		const struct hb_record *record = (const struct hb_record *)(const void *)at;

		hb_apply(owned->partition, record, &credits[credit_count]);
		if (credits[credit_count].account != 0)
			credit_count++;
		follow(lcore, owned, record);
		at += record->length;
	}
	hb_count(lcore, HB_COUNTER_RECORDS, decision->record_count);
	hb_count(lcore, HB_COUNTER_RECORD_BYTES, decision->record_bytes);
	return credit_count;
}

static struct hb_input *
input_for(struct hb_lcore *lcore, bool trusted)
{
	lcore->input.trusted = trusted;
	lcore->input.credits_reserve_low =
		atomic_load_explicit(&lcore->shared->accounts_low, memory_order_relaxed) != 0;
	return &lcore->input;
}

static struct hb_reply *
reply_begin(struct hb_lcore *lcore, const struct hb_frame *frame, enum hb_status status)
{
	struct hb_reply *reply = (struct hb_reply *)(void *)lcore->reply;

	memset(reply, 0, sizeof(*reply));
	reply->version = HB_FRAME_VERSION;
	reply->operation = frame->operation;
	reply->length = sizeof(*reply);
	reply->status = (uint16_t)status;
	reply->correlation = frame->correlation;
	return reply;
}

static void
count_outcome(struct hb_lcore *lcore, const struct hb_frame *frame, const struct hb_reply *reply)
{
	switch (reply->status) {
	case HB_STATUS_OK:
		if (frame->operation == HB_OP_GRAB && (reply->flags & HB_REPLY_ALREADY) != 0)
			hb_count(lcore, HB_COUNTER_GRABS_ALREADY, 1);
		if (frame->operation == HB_OP_TOKEN_ISSUE)
			hb_count(lcore, HB_COUNTER_TOKENS_ISSUED, 1);
		return;
	case HB_STATUS_TOKEN_INVALID:
	case HB_STATUS_TOKEN_EXPIRED:
	case HB_STATUS_SEQUENCE_USED:
	case HB_STATUS_SEQUENCE_INVALID:
		hb_count(lcore, HB_COUNTER_REFUSED_TOKEN, 1);
		return;
	case HB_STATUS_BUSY:
		hb_count(lcore, HB_COUNTER_REFUSED_BUSY, 1);
		return;
	case HB_STATUS_FRAME_INVALID:
		hb_count(lcore, HB_COUNTER_REFUSED_FRAME, 1);
		return;
	default:
		hb_count(lcore, HB_COUNTER_REFUSED_STATE, 1);
	}
}

static void
decide(struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	struct hb_input *input = input_for(lcore, lcore->clients[slot].trusted);
	struct hb_decision decision = {
		.records = lcore->records, .reply = (struct hb_reply *)(void *)lcore->reply};
	struct hb_credit credits[HB_DECISION_RECORDS_MAX];
	uint32_t credit_count;

	if (frame->operation == HB_OP_PACKET_CREATE)
		hb_seed_take(&lcore->seeds, input->seed);
	if (frame->operation == HB_OP_TOKEN_ISSUE)
		input->token_id = hb_token_id_next(
			&owned->token_last_id, input->now_ns / 1000000, lcore->shared->node->epoch);
	hb_decide(owned->partition, frame, input, &decision);
	if (frame->operation == HB_OP_PACKET_CREATE)
		explicit_bzero(input->seed, sizeof(input->seed));
	credit_count = perform(lcore, owned, &decision, credits);
	count_outcome(lcore, frame, decision.reply);
	hb_reply_park(lcore, owned, slot, credits, credit_count);
}

static void
token_ask(
	struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	const struct hb_frame_token *f = (const struct hb_frame_token *)(const void *)frame;
	struct hb_token_ask ask = {
		.user = frame->user, .target = frame->target, .for_operation = f->for_operation};
	enum hb_status status = HB_STATUS_OK;
	struct hb_reply *reply;

	if (!hb_token_ask_valid(f))
		status = HB_STATUS_FRAME_INVALID;
	else if (f->for_operation == HB_OP_GRAB &&
		 hb_packet_find(owned->partition, frame->target) == NULL)
		status = hb_packet_absent(owned->partition, frame->target);
	else if (!hb_token_asks_push(&owned->asks, &ask))
		status = HB_STATUS_BUSY;
	reply = reply_begin(lcore, frame, status);
	reply->id = frame->target;
	count_outcome(lcore, frame, reply);
	hb_reply_park(lcore, owned, slot, NULL, 0);
}

static void
token_take(
	struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	struct hb_reply *reply = reply_begin(lcore, frame, HB_STATUS_OK);
	struct hb_reply_token *token = (struct hb_reply_token *)(void *)(reply + 1);
	struct hb_token_ask ask;
	uint64_t bytes;

	while (reply->count < HB_TOKENS_PER_REPLY_MAX && hb_token_asks_pop(&owned->asks, &ask))
		hb_token_mint(&token[reply->count++], lcore->live.engine.token_keys.key[0],
			hb_token_id_next(&owned->token_last_id, lcore->input.now_ns / 1000000,
				lcore->shared->node->epoch),
			&ask);
	bytes = sizeof(*reply) + reply->count * sizeof(*token);
	reply->length = (uint16_t)hb_round_up(bytes, HB_FRAME_UNIT_BYTES);
	memset(lcore->reply + bytes, 0, reply->length - bytes);
	reply->flags = owned->asks.count != 0 ? HB_REPLY_MORE : 0;
	hb_count(lcore, HB_COUNTER_TOKENS_ISSUED, reply->count);
	hb_reply_park(lcore, owned, slot, NULL, 0);
}

static void
clock_confirm(
	struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	hb_log(HB_LOG_WARN, "clock_confirmed", "was_stopped=%d wall_s=%lu",
		hb_ledger_clock_stopped(&lcore->shared->clock), lcore->wall_s);
	hb_ledger_clock_confirm(&lcore->shared->clock);
	atomic_store_explicit(&lcore->shared->node->clock_stopped, 0, memory_order_relaxed);
	lcore->input.clock_stopped = false;
	reply_begin(lcore, frame, HB_STATUS_OK);
	hb_reply_park(lcore, owned, slot, NULL, 0);
}

/* Read by every lcore at its next turn; by others in the node segment. */
static void
degrade(struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	const struct hb_frame_degrade *wanted = (const void *)frame;
	struct hb_node *node = lcore->shared->node;
	uint32_t before = atomic_exchange(&node->degrade_level, wanted->level);

	/* whoever sees the level without its end sees at worst no end for a turn */
	atomic_store(&node->degrade_until_s, wanted->until_s);
	atomic_store(&node->degrade_by, wanted->by);
	lcore->input.degrade_level = wanted->level;
	if (before != wanted->level)
		hb_log(HB_LOG_WARN, "degrade", "level=%s before=%s by=%s until_s=%lu",
			hb_degrade_name(wanted->level), hb_degrade_name(before),
			wanted->by == HB_DEGRADE_BY_OPERATOR ? "operator" : "measure",
			wanted->until_s);
	reply_begin(lcore, frame, HB_STATUS_OK);
	hb_reply_park(lcore, owned, slot, NULL, 0);
}

static void
audit_ask(
	struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot, const struct hb_frame *frame)
{
	struct hb_audit *audit = &owned->partition->audit;
	struct hb_audit_waiter *waiter;

	if (owned->audit_waiter_count == HB_AUDIT_WAITERS_MAX) {
		hb_reply_refuse(lcore, slot, frame, HB_STATUS_BUSY);
		return;
	}
	/* The pass that answers must have begun after the frame came. */
	if (owned->audit_waiter_count == 0)
		*audit = (struct hb_audit){.cursor = 0};
	waiter = &owned->audit_waiter[owned->audit_waiter_count++];
	*waiter = (struct hb_audit_waiter){.slot = slot,
		.passes = audit->cursor == 0 ? 1 : 2,
		.generation = lcore->clients[slot].generation,
		.correlation = frame->correlation};
	lcore->clients[slot].reply_reserved += sizeof(struct hb_reply);
}

/* Everything that needs no state. @return OK with the partition's owner set, or the refusal */
static enum hb_status
admit(struct hb_lcore *lcore, uint32_t slot, const struct hb_frame *frame, uint32_t bytes,
	struct hb_owned **owned)
{
	enum hb_status status = hb_frame_check(frame, bytes);

	if (status != HB_STATUS_OK)
		return status;
	if ((lcore->clients[slot].operation_mask & HB_OP_BIT(frame->operation)) == 0)
		return HB_STATUS_NOT_ALLOWED;
	if (frame->issued_s + (uint64_t)HB_FRAME_AGE_S_MAX < lcore->wall_s ||
		frame->issued_s > lcore->wall_s + HB_FRAME_AHEAD_S_MAX)
		return HB_STATUS_FRAME_STALE;
	*owned = lcore->owned[hb_partition_of(frame->target)];
	if (*owned == NULL)
		return HB_STATUS_FRAME_INVALID; /* put on the wrong lcore's ring */
	return has_room(*owned) ? HB_STATUS_OK : HB_STATUS_BUSY;
}

void
hb_frame_handle(struct hb_lcore *lcore, uint32_t slot, const struct hb_frame *frame, uint32_t bytes)
{
	struct hb_owned *owned = NULL;
	enum hb_status status = admit(lcore, slot, frame, bytes, &owned);

	hb_count(lcore, HB_COUNTER_FRAMES, 1);
	if (status != HB_STATUS_OK) {
		hb_reply_refuse(lcore, slot, frame, status);
		return;
	}
	switch (frame->operation) {
	case HB_OP_TOKEN_ASK:
		token_ask(lcore, owned, slot, frame);
		return;
	case HB_OP_TOKEN_TAKE:
		token_take(lcore, owned, slot, frame);
		return;
	case HB_OP_CLOCK_CONFIRM:
		clock_confirm(lcore, owned, slot, frame);
		return;
	case HB_OP_DEGRADE:
		degrade(lcore, owned, slot, frame);
		return;
	case HB_OP_AUDIT:
		audit_ask(lcore, owned, slot, frame);
		return;
	default:
		decide(lcore, owned, slot, frame);
	}
}

/* End what is due in one wheel: expire packets, void holds. @return true when something was */
static bool
end_due(struct hb_lcore *lcore, struct hb_owned *owned, struct hb_deadlines *deadlines)
{
	const struct hb_partition *p = owned->partition;
	uint64_t now_s = lcore->input.now_ns / 1000000000;
	struct hb_decision decision = {
		.records = lcore->records, .reply = (struct hb_reply *)(void *)lcore->reply};
	struct hb_credit credits[HB_DECISION_RECORDS_MAX];
	bool any = false;

	if (deadlines->next_s > now_s)
		return false;
	for (uint32_t i = 0; i < HB_DEADLINES_PER_TURN && has_room(owned); i++) {
		uint32_t slot = hb_deadlines_take(deadlines, p, now_s);

		if (slot == HB_DEADLINE_NONE)
			break;
		if (deadlines->kind == HB_OBJECT_HOLD)
			hb_decide_hold_due(p, p->holds[slot].id, input_for(lcore, true), &decision);
		else
			hb_decide_expire(p, p->packets[slot].id, input_for(lcore, true), &decision);
		if (decision.record_count == 0) {
			/* A packet that is open still: no order number is free at this moment. */
			if (deadlines->kind == HB_OBJECT_PACKET &&
				p->packets[slot].state == HB_PACKET_OPEN) {
				hb_deadlines_add(deadlines, p, slot);
				break;
			}
			continue;
		}
		HB_ASSERT(perform(lcore, owned, &decision, credits) == 0);
		any = true;
	}
	return any;
}

bool
hb_deadlines_turn(struct hb_lcore *lcore, struct hb_owned *owned)
{
	bool any;

	if (lcore->input.clock_stopped)
		return false;
	any = end_due(lcore, owned, &owned->deadlines);
	any |= end_due(lcore, owned, &owned->hold_deadlines);
	return any;
}

/* The slot of what will be forgotten must not be in a wheel any more. */
static bool
out_of_wheel(struct hb_owned *owned, const struct hb_record_evict *r)
{
	struct hb_deadlines *deadlines =
		r->object_kind == HB_OBJECT_HOLD ? &owned->hold_deadlines : &owned->deadlines;

	return r->object_kind == HB_OBJECT_ORDER ||
	       hb_deadlines_remove(deadlines, owned->partition,
		       hb_deadlines_slot(deadlines, owned->partition, r->object));
}

bool
hb_evict_turn(struct hb_lcore *lcore, struct hb_owned *owned)
{
	struct hb_input *input = input_for(lcore, true);
	struct hb_decision decision = {
		.records = lcore->records, .reply = (struct hb_reply *)(void *)lcore->reply};
	struct hb_credit credits[HB_DECISION_RECORDS_MAX];
	bool any = false;

	if (lcore->mono_ns < owned->evict_due_ns || input->storage_level >= HB_STORAGE_CONTROL_ONLY)
		return false;
	owned->evict_due_ns = lcore->mono_ns + HB_EVICT_INTERVAL_NS;
	input->retention_ms = lcore->live.retention_ms;
	input->applied_sequence = atomic_load_explicit(
		&lcore->shared->journal->applied[owned->partition->number], memory_order_relaxed);
	for (uint32_t i = 0; i < HB_EVICTS_PER_TURN && has_room(owned); i++) {
		if (!hb_decide_evict(owned->partition, &owned->evict_cursor, input, &decision))
			break;
		if (!out_of_wheel(owned, (const void *)decision.records))
			continue;
		HB_ASSERT(perform(lcore, owned, &decision, credits) == 0);
		any = true;
	}
	if (any)
		owned->evict_due_ns = 0;
	return any;
}

bool
hb_mark_turn(struct hb_lcore *lcore, struct hb_owned *owned)
{
	struct hb_decision decision = {
		.records = lcore->records, .reply = (struct hb_reply *)(void *)lcore->reply};
	struct hb_credit credits[HB_DECISION_RECORDS_MAX];

	if (lcore->mono_ns < owned->mark_due_ns)
		return false;
	owned->mark_due_ns = lcore->mono_ns + lcore->live.mark_interval_ns;
	if (owned->partition->head->core_sequence == owned->mark_sequence || !has_room(owned))
		return false;
	hb_decide_mark(owned->partition, input_for(lcore, true), &decision);
	HB_ASSERT(perform(lcore, owned, &decision, credits) == 0);
	return true;
}

/* @return true when a pass was completed */
static bool
audit_step(struct hb_lcore *lcore, struct hb_partition *p, uint32_t slots)
{
	int result = hb_audit_step(p, slots);

	if (result < 0) {
		hb_count(lcore, HB_COUNTER_AUDIT_FAILURES, 1);
		hb_log(HB_LOG_ERROR, "audit_failed",
			"partition=%u core_sequence=%lu advice=\"balances in memory were changed "
			"behind the engine; ending, a restart recovers from the journal; have the "
			"machine's memory tested\"",
			p->number, p->head->core_sequence);
		abort();
	}
	if (result > 0)
		hb_count(lcore, HB_COUNTER_AUDITS, 1);
	return result > 0;
}

static void
audit_answer(struct hb_lcore *lcore, struct hb_owned *owned, const struct hb_audit_waiter *waiter)
{
	struct hb_lcore_client *client = &lcore->clients[waiter->slot];
	struct hb_frame frame = {.operation = HB_OP_AUDIT, .correlation = waiter->correlation};

	if (!client->active || client->generation != waiter->generation)
		return;
	client->reply_reserved -= sizeof(struct hb_reply);
	reply_begin(lcore, &frame, HB_STATUS_OK);
	hb_reply_park(lcore, owned, waiter->slot, NULL, 0);
}

bool
hb_audit_turn(struct hb_lcore *lcore, struct hb_owned *owned)
{
	uint32_t kept = 0;
	bool complete;

	if (owned->audit_waiter_count == 0 || !has_room(owned))
		return false;
	complete = audit_step(lcore, owned->partition, HB_AUDIT_SLOTS_PER_TURN);
	for (uint32_t i = 0; i < owned->audit_waiter_count; i++) {
		struct hb_audit_waiter *waiter = &owned->audit_waiter[i];

		if (complete)
			waiter->passes--;
		if (waiter->passes == 0 && hb_parking_has_room(&owned->parking)) {
			audit_answer(lcore, owned, waiter);
			continue;
		}
		waiter->passes += waiter->passes == 0; /* no room: one more pass */
		owned->audit_waiter[kept++] = *waiter;
	}
	owned->audit_waiter_count = kept;
	return true;
}

void
hb_audit_idle(struct hb_lcore *lcore)
{
	/* The next partition that is ours; one always is. */
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct hb_owned *owned = lcore->owned[lcore->idle_audit_partition];

		if (owned != NULL) {
			if (audit_step(lcore, owned->partition, HB_AUDIT_SLOTS_IDLE))
				lcore->idle_audit_partition =
					(lcore->idle_audit_partition + 1) % HB_PARTITION_COUNT;
			return;
		}
		lcore->idle_audit_partition =
			(lcore->idle_audit_partition + 1) % HB_PARTITION_COUNT;
	}
}
