/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding what concerns accounts and orders: open, balance, transfer, recharge. Pure functions.
 */
#include "shm/decide_internal.h"
#include "shm/node.h"

bool
hbi_channel_known(uint16_t channel)
{
	return channel >= HB_SYSTEM_CLEARING_WECHAT && channel <= HB_SYSTEM_CLEARING_MANUAL;
}

void
hbi_decide_balance(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision)
{
	const struct hb_account *account = hb_account_find(p, frame->target);
	struct hb_reply *reply;

	if (account == NULL) {
		hbi_reply(decision, frame, HB_STATUS_ACCOUNT_UNKNOWN);
		return;
	}
	reply = hbi_reply(decision, frame, HB_STATUS_OK);
	reply->id = account->id;
	reply->flags = account->barred ? HB_REPLY_BARRED : 0;
	reply->amount_fen = account->available_fen;
	reply->other_fen = account->frozen_fen;
}

bool
hbi_done_before(const struct hb_frame *frame, enum hb_status status,
	const struct hb_idempotency_entry *done, int64_t amount_fen, struct hb_decision *decision)
{
	struct hb_reply *reply;

	if (status == HB_STATUS_OK && done == NULL)
		return false;
	reply = hbi_reply(decision, frame, status);
	if (status != HB_STATUS_OK)
		return true;
	reply->flags = HB_REPLY_ALREADY;
	reply->amount_fen = amount_fen;
	reply->id = frame->target;
	if (done->record_type == HB_RECORD_ORDER_OPEN || done->record_type == HB_RECORD_TRANSFER ||
		done->record_type == HB_RECORD_ORDER_UPDATE ||
		done->record_type == HB_RECORD_ADJUST)
		reply->order_stamp = done->result;
	return true;
}

void
hbi_decide_account_open(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_account_open *f = (const void *)frame;
	const uint64_t parameters[3] = {HB_OP_ACCOUNT_OPEN, frame->target, f->kind};
	const struct hb_idempotency_entry *done;
	struct hb_record_account_open *r;
	struct hb_idempotency keep;
	enum hb_status status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);

	if (hbi_done_before(frame, status, done, 0, decision))
		return;
	status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);
	if (status == HB_STATUS_OK && f->kind != HB_ACCOUNT_USER &&
		f->kind != HB_ACCOUNT_ENTERPRISE)
		status = HB_STATUS_LIMIT;
	if (status == HB_STATUS_OK && hb_account_find(p, frame->target) != NULL)
		status = HB_STATUS_ACCOUNT_EXISTS;
	if (status == HB_STATUS_OK && hb_accounts_low(p))
		status = HB_STATUS_TABLE_FULL;
	hbi_reply(decision, frame, status)->id = frame->target;
	if (status != HB_STATUS_OK)
		return;
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->account = frame->target;
	r->kind = f->kind;
	r->idempotency = keep;
	hbi_record_end(decision, r, HB_RECORD_ACCOUNT_OPEN, sizeof(*r));
}

static enum hb_status
transfer_check(const struct hb_partition *p, const struct hb_frame_transfer *f,
	const struct hb_input *input, struct hb_token_use *use, uint64_t *order_stamp)
{
	const struct hb_account *from = hb_account_find(p, f->head.user);
	enum hb_status status = hbi_node_check(input, HB_STORAGE_NO_GRABS);

	if (status != HB_STATUS_OK)
		return status;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || !hb_is_user_account(f->to) ||
		f->to == f->head.user)
		return HB_STATUS_LIMIT;
	status = hbi_token_check(p, &f->head, input, use);
	if (status != HB_STATUS_OK)
		return status;
	status = hbi_debit_check(from, f->amount_fen);
	if (status != HB_STATUS_OK)
		return status;
	if (input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	*order_stamp = hbi_stamp_next(p, input);
	return *order_stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

void
hbi_decide_transfer(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_transfer *f = (const void *)frame;
	const uint64_t parameters[4] = {
		HB_OP_TRANSFER, frame->user, f->to, (uint64_t)f->amount_fen};
	const struct hb_idempotency_entry *done;
	struct hb_record_transfer *r;
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
	if (hbi_done_before(frame, status, done, f->amount_fen, decision))
		return;
	status = transfer_check(p, f, input, &use, &order_stamp);
	reply = hbi_reply(decision, frame, status);
	if (status != HB_STATUS_OK)
		return;
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->from = frame->user;
	r->to = f->to;
	r->amount_fen = f->amount_fen;
	r->order_stamp = order_stamp;
	r->token = use;
	r->idempotency = keep;
	hbi_record_end(decision, r, HB_RECORD_TRANSFER, sizeof(*r));
	reply->id = frame->target;
	reply->amount_fen = f->amount_fen;
	reply->order_stamp = order_stamp;
}

static enum hb_status
order_open_check(const struct hb_partition *p, const struct hb_frame_order *f,
	const struct hb_input *input, uint64_t *order_stamp)
{
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (f->business != HB_BUSINESS_RECHARGE || !hbi_channel_known(f->channel) ||
		f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || f->purpose_id != 0)
		return HB_STATUS_LIMIT;
	if (hb_account_find(p, f->head.target) == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	if (!hbi_order_room(p))
		return HB_STATUS_TABLE_FULL;
	*order_stamp = hbi_stamp_next(p, input);
	return *order_stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

void
hbi_decide_order_open(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_order *f = (const void *)frame;
	const uint64_t parameters[6] = {HB_OP_ORDER_OPEN, frame->target, (uint64_t)f->amount_fen,
		f->business | (uint64_t)f->channel << 16, f->product, f->purpose_id};
	const struct hb_idempotency_entry *done;
	struct hb_record_order_open *r;
	struct hb_idempotency keep;
	struct hb_reply *reply;
	uint64_t order_stamp = 0;
	enum hb_status status = hbi_idempotency_check(
		p, frame, f->idempotency_key, parameters, sizeof(parameters), input, &keep, &done);

	if (hbi_done_before(frame, status, done, f->amount_fen, decision))
		return;
	status = order_open_check(p, f, input, &order_stamp);
	reply = hbi_reply(decision, frame, status);
	if (status != HB_STATUS_OK)
		return;
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->order_stamp = order_stamp;
	r->account = frame->target;
	r->amount_fen = f->amount_fen;
	r->business = f->business;
	r->channel = f->channel;
	r->product = f->product;
	r->idempotency = keep;
	hbi_record_end(decision, r, HB_RECORD_ORDER_OPEN, sizeof(*r));
	reply->id = frame->target;
	reply->amount_fen = f->amount_fen;
	reply->order_stamp = order_stamp;
}

/* What the node's own accounts owe stays below their part of the cap. */
bool
hbi_system_account_fits(const struct hb_partition *p, uint64_t account, int64_t amount_fen)
{
	const struct hb_account *found = hb_account_find(p, account);
	int64_t out_fen = found != NULL ? -found->available_fen : 0;

	/* Six accounts, sixteen partitions: the sum stays below HB_MONEY_FEN_CAP. */
	return out_fen <= HB_MONEY_FEN_CAP / 128 - amount_fen;
}

static enum hb_status
credit_check(const struct hb_partition *p, const struct hb_frame_order *f,
	const struct hb_order *order, const struct hb_input *input)
{
	enum hb_status status = hbi_node_check(input, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (!hbi_step_allowed(order, HB_ORDER_DONE, HBI_BY_CREDIT))
		return HB_STATUS_ORDER_STATE;
	if (!hbi_system_account_fits(
		    p, hb_system_account(order->channel, p->number), f->amount_fen))
		return HB_STATUS_LIMIT;
	return HB_STATUS_OK;
}

void
hbi_decide_credit(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_order *f = (const void *)frame;
	const struct hb_order *order = hb_order_find(p, f->order_stamp);
	struct hb_record_credit *r;
	struct hb_reply *reply;
	enum hb_status status;

	if (order == NULL || order->account != frame->target) {
		hbi_reply(decision, frame, HB_STATUS_ORDER_UNKNOWN);
		return;
	}
	if (order->hold_id != 0) {
		hbi_reply(decision, frame, HB_STATUS_ORDER_STATE);
		return;
	}
	if (order->amount_fen != f->amount_fen) {
		hbi_reply(decision, frame, HB_STATUS_AMOUNT_MISMATCH);
		return;
	}
	/* The order is the idempotency key: settled already gets the same reply. */
	status = order->state == HB_ORDER_DONE ? HB_STATUS_OK : credit_check(p, f, order, input);
	reply = hbi_reply(decision, frame, status);
	if (status != HB_STATUS_OK)
		return;
	reply->id = frame->target;
	reply->amount_fen = f->amount_fen;
	reply->order_stamp = f->order_stamp;
	if (order->state == HB_ORDER_DONE) {
		reply->flags = HB_REPLY_ALREADY;
		return;
	}
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->order_stamp = f->order_stamp;
	r->account = frame->target;
	r->amount_fen = f->amount_fen;
	r->channel = order->channel;
	hbi_record_end(decision, r, HB_RECORD_CREDIT, sizeof(*r));
}

void
hbi_decide_order_query(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision)
{
	const struct hb_frame_order *f = (const void *)frame;
	const struct hb_order *order = hb_order_find(p, f->order_stamp);
	struct hb_reply_order *reply;

	if (order == NULL || order->account != frame->target) {
		hbi_reply(decision, frame, HB_STATUS_ORDER_UNKNOWN);
		return;
	}
	reply = (void *)hbi_reply(decision, frame, HB_STATUS_OK);
	hbi_reply_extend(&reply->head, sizeof(*reply));
	reply->head.id = frame->target;
	reply->head.amount_fen = order->amount_fen;
	reply->head.order_stamp = order->stamp;
	reply->account = order->account;
	reply->settled_fen = order->settled_fen;
	reply->business = order->business;
	reply->state = order->state;
	reply->attempt = order->attempt;
	reply->channel = order->channel;
	reply->hold_id = order->hold_id;
	reply->refunded_fen = order->refunded_fen;
}
