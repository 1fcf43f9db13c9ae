/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding what operators and workflows do: freeze an account, take an order a step on, bring an
 * old order back, adjust. Pure functions.
 */
#include "shm/decide_internal.h"
#include "shm/node.h"

void
hbi_decide_account_freeze(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_account_freeze *f = (const void *)frame;
	const uint64_t parameters[4] = {
		frame->operation, frame->target, f->case_id, f->operator_id};
	const struct hb_account *account = hb_account_find(p, frame->target);
	bool freeze = frame->operation == HB_OP_ACCOUNT_FREEZE;
	const struct hb_idempotency_entry *done;
	struct hb_record_account_freeze *r;
	struct hb_idempotency keep;
	struct hb_reply *reply;
	enum hb_status status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);

	if (hbi_done_before(frame, status, done, 0, decision))
		return;
	status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);
	if (account == NULL)
		status = HB_STATUS_ACCOUNT_UNKNOWN;
	reply = hbi_reply(decision, frame, status);
	reply->id = frame->target;
	if (status != HB_STATUS_OK)
		return;
	if (account->barred == freeze) {
		reply->flags = HB_REPLY_ALREADY;
		return;
	}
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->account = frame->target;
	r->case_id = f->case_id;
	r->operator_id = f->operator_id;
	r->idempotency = keep;
	hbi_record_end(decision, r, freeze ? HB_RECORD_ACCOUNT_FREEZE : HB_RECORD_ACCOUNT_UNFREEZE,
		sizeof(*r));
}

/* A step to SENDING lets money out: it needs a channel, a new attempt, a hold in time. */
static enum hb_status
sending_check(const struct hb_partition *p, const struct hb_order *order,
	const struct hb_frame_order_update *f, const struct hb_input *input)
{
	const struct hb_hold *hold = hb_hold_find(p, order->hold_id);
	const struct hb_account *account = hb_account_find(p, order->account);

	if (!hbi_channel_known(f->channel) || f->attempt != order->attempt + 1)
		return HB_STATUS_LIMIT;
	if (order->hold_id == 0)
		return f->channel == order->channel ? HB_STATUS_OK : HB_STATUS_LIMIT;
	HB_ASSERT(hold != NULL);
	HB_ASSERT(account != NULL);
	if (account->barred)
		return HB_STATUS_ACCOUNT_FROZEN;
	return hbi_now_ms(p, input) < hold->deadline_ms ? HB_STATUS_OK : HB_STATUS_HOLD_DUE;
}

static enum hb_status
update_check(const struct hb_partition *p, const struct hb_order *order,
	const struct hb_frame_order_update *f, const struct hb_input *input)
{
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (order->state != f->state_before ||
		!hbi_step_allowed(order, f->state_after, HBI_BY_UPDATE))
		return HB_STATUS_ORDER_STATE;
	if (f->state_after == HB_ORDER_SENDING)
		return sending_check(p, order, f, input);
	return f->attempt == order->attempt && f->channel == 0 ? HB_STATUS_OK : HB_STATUS_LIMIT;
}

static void
update_record(const struct hb_partition *p, const struct hb_order *order,
	const struct hb_frame_order_update *f, const struct hb_idempotency *keep,
	const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_order_update *r = hbi_record_begin(p, input, decision, sizeof(*r));

	r->order_stamp = f->order_stamp;
	r->account = order->account;
	r->state_before = f->state_before;
	r->state_after = f->state_after;
	r->attempt = f->attempt;
	r->reason = f->reason;
	r->operator_id = f->operator_id;
	memcpy(r->channel_reference, f->channel_reference, sizeof(r->channel_reference));
	r->business = order->business;
	r->channel = f->channel != 0 ? f->channel : order->channel;
	r->idempotency = *keep;
	hbi_record_end(decision, r, HB_RECORD_ORDER_UPDATE, sizeof(*r));
}

void
hbi_decide_order_update(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_order_update *f = (const void *)frame;
	const struct hb_order *order = hb_order_find(p, f->order_stamp);
	uint64_t parameters[12] = {HB_OP_ORDER_UPDATE, frame->target, f->order_stamp,
		f->state_before | (uint64_t)f->state_after << 8 | (uint64_t)f->attempt << 16 |
			(uint64_t)f->reason << 32,
		f->operator_id, f->channel};
	const struct hb_idempotency_entry *done;
	struct hb_idempotency keep;
	struct hb_reply *reply;
	enum hb_status status;

	memcpy(&parameters[6], f->channel_reference, sizeof(f->channel_reference));
	status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);
	if (hbi_done_before(frame, status, done, order != NULL ? order->amount_fen : 0, decision))
		return;
	if (order == NULL || order->account != frame->target)
		status = HB_STATUS_ORDER_UNKNOWN;
	else
		status = update_check(p, order, f, input);
	reply = hbi_reply(decision, frame, status);
	reply->id = frame->target;
	reply->order_stamp = f->order_stamp;
	if (status == HB_STATUS_ORDER_UNKNOWN)
		return;
	reply->amount_fen = order->amount_fen;
	reply->index = status == HB_STATUS_OK ? f->state_after : order->state;
	reply->count = status == HB_STATUS_OK ? f->attempt : order->attempt;
	if (status == HB_STATUS_OK)
		update_record(p, order, f, &keep, input, decision);
}

/* Only what may have been evicted comes back: an order in a final state, of the past. */
static enum hb_status
load_check(const struct hb_partition *p, const struct hb_frame_order_load *f,
	const struct hb_input *input)
{
	const struct hb_order as_loaded = {.state = f->state};
	const struct hb_hold *hold = hb_hold_find(p, f->hold_id);
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (f->order_stamp == 0 || hb_stamp_plain(f->order_stamp) > p->head->last_stamp)
		return HB_STATUS_ORDER_UNKNOWN;
	if (!hbi_order_final(&as_loaded) || (hold != NULL && hold->state == HB_HOLD_OPEN))
		return HB_STATUS_ORDER_STATE;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || f->settled_fen < 0 ||
		f->settled_fen > f->amount_fen || f->refunded_fen < 0 ||
		f->refunded_fen > f->settled_fen || f->business < 10 || f->business > 99)
		return HB_STATUS_LIMIT;
	if (hb_account_find(p, f->head.target) == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	return hbi_order_room(p) ? HB_STATUS_OK : HB_STATUS_TABLE_FULL;
}

static void
load_record(const struct hb_partition *p, const struct hb_frame_order_load *f,
	const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_order_load *r = hbi_record_begin(p, input, decision, sizeof(*r));

	r->order_stamp = f->order_stamp;
	r->account = f->head.target;
	r->amount_fen = f->amount_fen;
	r->settled_fen = f->settled_fen;
	r->refunded_fen = f->refunded_fen;
	r->business = f->business;
	r->channel = f->channel;
	r->state = f->state;
	r->hold_id = f->hold_id;
	hbi_record_end(decision, r, HB_RECORD_ORDER_LOAD, sizeof(*r));
}

/* An order in memory stays as it is: only a load that says the same is answered with it. */
static bool
is_as_loaded(const struct hb_order *order, const struct hb_frame_order_load *f)
{
	return order->account == f->head.target && order->amount_fen == f->amount_fen &&
	       order->settled_fen == f->settled_fen && order->refunded_fen == f->refunded_fen &&
	       order->hold_id == f->hold_id && order->business == f->business &&
	       order->channel == f->channel && order->state == f->state;
}

void
hbi_decide_order_load(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_order_load *f = (const void *)frame;
	const struct hb_order *order = hb_order_find(p, f->order_stamp);
	struct hb_reply *reply;
	enum hb_status status;

	if (order == NULL)
		status = load_check(p, f, input);
	else
		status = is_as_loaded(order, f) ? HB_STATUS_OK : HB_STATUS_CONFLICT;
	reply = hbi_reply(decision, frame, status);
	reply->id = frame->target;
	reply->order_stamp = f->order_stamp;
	if (status != HB_STATUS_OK)
		return;
	reply->amount_fen = order != NULL ? order->amount_fen : f->amount_fen;
	if (order != NULL)
		reply->flags = HB_REPLY_ALREADY;
	else
		load_record(p, f, input, decision);
}

static enum hb_status
adjust_check(const struct hb_partition *p, const struct hb_frame_adjust *f,
	const struct hb_input *input, uint64_t *order_stamp)
{
	uint64_t from = f->head.target;
	const struct hb_account *account = hb_account_find(p, from);
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (f->maker_id == f->checker_id)
		return HB_STATUS_SAME_PERSON;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || f->case_id == 0 ||
		f->maker_id == 0 || f->checker_id == 0 || f->reason == 0 || f->to == from ||
		(!hb_is_system_account(f->to) && !hb_is_user_account(f->to)) ||
		(!hb_is_system_account(f->to) && !hb_is_system_account(from)))
		return HB_STATUS_LIMIT;
	if (hb_is_system_account(from)) {
		if (!hbi_system_account_fits(p, from, f->amount_fen))
			return HB_STATUS_LIMIT;
	} else if (account == NULL) {
		return HB_STATUS_ACCOUNT_UNKNOWN;
	} else if (account->available_fen < f->amount_fen) {
		return HB_STATUS_INSUFFICIENT;
	}
	if (input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	*order_stamp = hbi_stamp_next(p, input);
	return *order_stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static void
adjust_record(const struct hb_partition *p, const struct hb_frame_adjust *f, uint64_t order_stamp,
	const struct hb_idempotency *keep, const struct hb_input *input,
	struct hb_decision *decision)
{
	struct hb_record_adjust *r = hbi_record_begin(p, input, decision, sizeof(*r));

	r->from = f->head.target;
	r->to = f->to;
	r->amount_fen = f->amount_fen;
	r->order_stamp = order_stamp;
	r->case_id = f->case_id;
	r->maker_id = f->maker_id;
	r->checker_id = f->checker_id;
	r->reason = f->reason;
	r->idempotency = *keep;
	hbi_record_end(decision, r, HB_RECORD_ADJUST, sizeof(*r));
}

void
hbi_decide_adjust(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_adjust *f = (const void *)frame;
	const uint64_t parameters[8] = {HB_OP_ADJUST, frame->target, f->to, (uint64_t)f->amount_fen,
		f->case_id, f->maker_id, f->checker_id, f->reason};
	const struct hb_idempotency_entry *done;
	struct hb_idempotency keep;
	struct hb_reply *reply;
	uint64_t order_stamp = 0;
	enum hb_status status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);

	if (hbi_done_before(frame, status, done, f->amount_fen, decision))
		return;
	status = adjust_check(p, f, input, &order_stamp);
	reply = hbi_reply(decision, frame, status);
	reply->id = frame->target;
	if (status != HB_STATUS_OK)
		return;
	adjust_record(p, f, order_stamp, &keep, input, decision);
	reply->amount_fen = f->amount_fen;
	reply->order_stamp = order_stamp;
}
