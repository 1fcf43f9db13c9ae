/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding holds: money of an account that is on its way out through a channel. HOLD takes it from
 * the available balance and makes the order; POST and VOID are its two exits, of which exactly one
 * happens; a deadline voids what was never sent. Pure functions.
 */
#include "shm/decide_internal.h"
#include "shm/node.h"

static void
reply_hold(const struct hb_partition *p, const struct hb_hold *hold, struct hb_reply *head)
{
	const struct hb_account *account = hb_account_find(p, hold->account);
	const struct hb_order *order = hb_order_find(p, hold->order_stamp);
	struct hb_reply_hold *reply = (void *)head;
	int i = hbi_day_index(hold->reason);

	hbi_reply_extend(head, sizeof(*reply));
	head->id = hold->id;
	head->amount_fen = hold->amount_fen;
	head->order_stamp = hold->order_stamp;
	reply->account = hold->account;
	reply->deadline_ms = hold->deadline_ms;
	reply->day = hold->day;
	reply->state = hold->state;
	reply->reason = hold->reason;
	reply->order_state = order != NULL ? order->state : 0;
	if (account == NULL || i < 0 || account->day != hold->day)
		return;
	reply->day_count = account->day_count[i];
	reply->day_fen = account->day_fen[i];
}

void
hbi_decide_hold_query(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision)
{
	const struct hb_hold *hold = hb_hold_find(p, frame->target);

	if (hold == NULL)
		hbi_reply(decision, frame, hbi_hold_absent(p, frame->target));
	else
		reply_hold(p, hold, hbi_reply(decision, frame, HB_STATUS_OK));
}

/* What an account has held for a reason on a day, without the hold being decided. */
static void
day_so_far(const struct hb_account *account, uint32_t reason, uint32_t day, uint32_t *count,
	int64_t *fen)
{
	int i = hbi_day_index(reason);
	bool same = account->day == day;

	HB_ASSERT(i >= 0);
	*count = same ? account->day_count[i] : 0;
	*fen = same ? account->day_fen[i] : 0;
}

static enum hb_status
hold_check(const struct hb_partition *p, const struct hb_frame_hold *f,
	const struct hb_input *input, struct hb_token_use *use, uint64_t *order_stamp)
{
	const struct hb_account *account = hb_account_find(p, f->head.user);
	enum hb_status status = hbi_node_check(input, HB_STORAGE_NO_GRABS);
	uint32_t day_count;
	int64_t day_fen;

	if (status != HB_STATUS_OK)
		return status;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX ||
		hbi_day_index(f->reason) < 0 || f->lifetime_s > HB_HOLD_LIFETIME_S_MAX)
		return HB_STATUS_LIMIT;
	status = hbi_token_check(p, &f->head, input, use);
	if (status != HB_STATUS_OK)
		return status;
	status = hbi_debit_check(account, f->amount_fen);
	if (status != HB_STATUS_OK)
		return status;
	day_so_far(account, f->reason, hb_beijing_day(hbi_now_ms(p, input)), &day_count, &day_fen);
	if (day_count >= HB_HOLDS_PER_DAY_MAX)
		return HB_STATUS_LIMIT;
	if (hbi_hold_counter_next(p) == 0 || !hbi_order_room(p))
		return HB_STATUS_TABLE_FULL;
	*order_stamp = hbi_stamp_next(p, input);
	return *order_stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static const struct hb_record_hold *
hold_record(const struct hb_partition *p, const struct hb_frame_hold *f, uint64_t order_stamp,
	const struct hb_token_use *use, const struct hb_idempotency *keep,
	const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_hold *r = hbi_record_begin(p, input, decision, sizeof(*r));
	uint32_t lifetime_s = f->lifetime_s == 0 ? HB_HOLD_LIFETIME_S_DEFAULT : f->lifetime_s;

	r->hold_id = hb_id_make(HB_ID_HOLD, p->number, p->node, hbi_hold_counter_next(p));
	r->account = f->head.user;
	r->amount_fen = f->amount_fen;
	r->deadline_ms = r->head.time_ns / 1000000 + UINT64_C(1000) * lifetime_s;
	r->order_stamp = order_stamp;
	r->reason = f->reason;
	r->day = hb_beijing_day(r->head.time_ns / 1000000);
	r->token = *use;
	r->idempotency = *keep;
	hbi_record_end(decision, r, HB_RECORD_HOLD, sizeof(*r));
	return r;
}

/* The reply to a HOLD looks ahead: state has not been changed yet. */
static void
hold_reply(const struct hb_partition *p, const struct hb_record_hold *r, struct hb_reply *head)
{
	struct hb_reply_hold *reply = (void *)head;

	hbi_reply_extend(head, sizeof(*reply));
	day_so_far(hb_account_find(p, r->account), r->reason, r->day, &reply->day_count,
		&reply->day_fen);
	reply->day_count += 1;
	reply->day_fen += r->amount_fen;
	reply->day = r->day;
	reply->account = r->account;
	reply->deadline_ms = r->deadline_ms;
	reply->state = HB_HOLD_OPEN;
	reply->reason = (uint8_t)r->reason;
	reply->order_state = HB_ORDER_REQUESTED;
	head->id = r->hold_id;
	head->amount_fen = r->amount_fen;
	head->order_stamp = r->order_stamp;
}

/* The same command came before: the hold as it stands, as far as it is still in memory. */
static void
hold_repeat(const struct hb_partition *p, const struct hb_frame_hold *f,
	const struct hb_idempotency_entry *done, struct hb_decision *decision)
{
	const struct hb_hold *hold = hb_hold_find(p, done->result);
	struct hb_reply *reply = hbi_reply(decision, &f->head, HB_STATUS_OK);

	if (hold != NULL)
		reply_hold(p, hold, reply);
	reply->flags = HB_REPLY_ALREADY;
	reply->id = done->result;
	reply->amount_fen = f->amount_fen;
}

void
hbi_decide_hold(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_hold *f = (const void *)frame;
	const uint64_t parameters[5] = {
		HB_OP_HOLD, frame->user, (uint64_t)f->amount_fen, f->reason, f->lifetime_s};
	const struct hb_idempotency_entry *done;
	struct hb_idempotency keep;
	struct hb_token_use use;
	struct hb_reply *reply;
	uint64_t order_stamp = 0;
	enum hb_status status;

	if (frame->user != frame->target) {
		hbi_reply(decision, frame, HB_STATUS_FRAME_INVALID);
		return;
	}
	status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);
	if (status == HB_STATUS_OK && done != NULL) {
		hold_repeat(p, f, done, decision);
		return;
	}
	if (status == HB_STATUS_OK)
		status = hold_check(p, f, input, &use, &order_stamp);
	reply = hbi_reply(decision, frame, status);
	if (status == HB_STATUS_OK)
		hold_reply(p, hold_record(p, f, order_stamp, &use, &keep, input, decision), reply);
}

static void
exit_record(const struct hb_partition *p, const struct hb_hold *hold, const struct hb_order *order,
	enum hb_record_type type, int64_t fee_fen, uint32_t reason, const struct hb_input *input,
	struct hb_decision *decision)
{
	struct hb_record_hold_exit *r = hbi_record_begin(p, input, decision, sizeof(*r));
	bool posted = type == HB_RECORD_POST;

	r->hold_id = hold->id;
	r->account = hold->account;
	r->amount_fen = hold->amount_fen;
	r->fee_fen = fee_fen;
	r->order_stamp = hold->order_stamp;
	r->channel = posted ? order->channel : 0;
	r->business = (uint8_t)order->business;
	r->state_after = posted ? HB_ORDER_DONE : hbi_void_state(order);
	r->reason = reason;
	hbi_record_end(decision, r, type, sizeof(*r));
}

/* The same exit again is answered again; one that the deadline made first is as good as asked for.
 */
static enum hb_status
ended_check(const struct hb_hold *hold, const struct hb_frame_hold_exit *f)
{
	bool posted = f->head.operation == HB_OP_POST;

	if (hold->state != (posted ? HB_HOLD_POSTED : HB_HOLD_VOIDED))
		return HB_STATUS_HOLD_STATE;
	if (hold->exit_content != 0 &&
		hold->exit_content != hbi_exit_content(f->fee_fen, f->reason))
		return HB_STATUS_CONFLICT;
	return HB_STATUS_OK;
}

static enum hb_status
exit_check(const struct hb_hold *hold, const struct hb_order *order,
	const struct hb_frame_hold_exit *f, const struct hb_input *input)
{
	bool posted = f->head.operation == HB_OP_POST;
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (hold->amount_fen != f->amount_fen)
		return HB_STATUS_AMOUNT_MISMATCH;
	if (hold->state != HB_HOLD_OPEN)
		return ended_check(hold, f);
	if (status != HB_STATUS_OK)
		return status;
	if (f->fee_fen < 0 || f->fee_fen > f->amount_fen || f->reason == 0)
		return HB_STATUS_LIMIT;
	HB_ASSERT(order != NULL);
	return hbi_step_allowed(order, posted ? HB_ORDER_DONE : hbi_void_state(order),
		       posted ? HBI_BY_POST : HBI_BY_VOID)
		       ? HB_STATUS_OK
		       : HB_STATUS_ORDER_STATE;
}

/* POST or VOID. The hold is the idempotency key: the same exit again gets the same reply. */
void
hbi_decide_hold_exit(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_hold_exit *f = (const void *)frame;
	const struct hb_hold *hold = hb_hold_find(p, frame->target);
	bool posted = frame->operation == HB_OP_POST;
	const struct hb_order *order;
	struct hb_reply_hold *reply;
	enum hb_status status;

	if (hold == NULL) {
		hbi_reply(decision, frame, hbi_hold_absent(p, frame->target));
		return;
	}
	order = hb_order_find(p, hold->order_stamp);
	status = exit_check(hold, order, f, input);
	reply = (void *)hbi_reply(decision, frame, status);
	reply_hold(p, hold, &reply->head);
	if (status != HB_STATUS_OK)
		return;
	if (hold->state != HB_HOLD_OPEN) {
		reply->head.flags = HB_REPLY_ALREADY;
		return;
	}
	exit_record(p, hold, order, posted ? HB_RECORD_POST : HB_RECORD_VOID, f->fee_fen, f->reason,
		input, decision);
	reply->head.other_fen = f->fee_fen;
	reply->state = posted ? HB_HOLD_POSTED : HB_HOLD_VOIDED;
	reply->order_state = posted ? HB_ORDER_DONE : hbi_void_state(order);
	if (!posted && reply->day_count > 0) {
		reply->day_count -= 1;
		reply->day_fen -= hold->amount_fen;
	}
}

void
hb_decide_hold_due(const struct hb_partition *p, uint64_t hold_id, const struct hb_input *input,
	struct hb_decision *decision)
{
	const struct hb_hold *hold = hb_hold_find(p, hold_id);
	const struct hb_order *order;

	decision->record_count = 0;
	decision->record_bytes = 0;
	if (hold == NULL || hold->state != HB_HOLD_OPEN || input->clock_stopped ||
		hbi_now_ms(p, input) < hold->deadline_ms)
		return;
	order = hb_order_find(p, hold->order_stamp);
	HB_ASSERT(order != NULL);
	/* What was sent may have been paid: only who knows that it was not may void it. */
	if (hbi_void_state(order) == HB_ORDER_INVALID)
		exit_record(p, hold, order, HB_RECORD_VOID, 0, 0, input, decision);
}
