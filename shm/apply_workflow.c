/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying the records of workflows: accounts barred, holds and their one exit, steps of orders,
 * orders that come back, adjustments. Each has its check for journals that may be damaged. If the
 * process dies in the middle, its memory is thrown away (apply.c).
 */
#include "shm/apply_internal.h"

static uint64_t
barred_hash(uint64_t account)
{
	return hb_mix64(account ^ UINT64_C(0x6261727265640000));
}

static void
apply_account_bar(struct hb_partition *p, const struct hb_record_account_freeze *r, uint8_t barred)
{
	struct hb_account *account = hb_account_find(p, r->account);

	HB_ASSERT(account != NULL);
	HB_ASSERT(account->barred != barred);
	account->barred = barred;
	account->version++;
	p->head->state_hash += barred ? barred_hash(r->account) : -barred_hash(r->account);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->account, r->head.time_ns);
}

static const char *
check_account_bar(
	const struct hb_partition *p, const struct hb_record_account_freeze *r, uint8_t barred)
{
	const struct hb_account *account = hb_account_find(p, r->account);

	if (account == NULL || account->barred == barred)
		return barred ? "ACCOUNT_FREEZE: there is no such account to freeze"
			      : "ACCOUNT_UNFREEZE: the account is not frozen";
	return NULL;
}

static void
hold_order_open(struct hb_partition *p, const struct hb_record_hold *r)
{
	struct hb_order *order = hbi_order_insert(p, r->order_stamp);

	hbi_use_stamp(p, r->order_stamp);
	order->account = r->account;
	order->amount_fen = r->amount_fen;
	order->hold_id = r->hold_id;
	order->business = (uint16_t)hb_hold_business(r->reason);
	order->state = HB_ORDER_REQUESTED;
	p->head->state_hash += hbi_order_hash(order);
}

static void
apply_hold(struct hb_partition *p, const struct hb_record_hold *r)
{
	struct hb_account *account = hb_account_find(p, r->account);
	uint64_t counter = r->hold_id & HB_ID_COUNTER_MASK;
	struct hb_hold *hold = &p->holds[counter & (p->capacity.holds - 1)];

	HB_ASSERT(account != NULL);
	HB_ASSERT(hold->id == 0);
	HB_ASSERT(counter > p->head->hold_counter);
	p->head->hold_counter = counter;
	p->head->hold_count++;
	hold->id = r->hold_id;
	hold->account = r->account;
	hold->amount_fen = r->amount_fen;
	hold->deadline_ms = r->deadline_ms;
	hold->order_stamp = r->order_stamp;
	hold->day = r->day;
	hold->reason = (uint8_t)r->reason;
	hold->state = HB_HOLD_OPEN;
	hold_order_open(p, r);
	hbi_change(p, account, -r->amount_fen, r->amount_fen);
	hbi_day_add(p, account, hold, 1);
	p->head->open_holds_fen += r->amount_fen;
	p->head->state_hash += hbi_hold_hash(hold);
	hbi_window_use(p, &r->token, r->account, r->head.time_ns);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->hold_id, r->head.time_ns);
}

static const char *
check_hold(const struct hb_partition *p, const struct hb_record_hold *r)
{
	const struct hb_account *account = hb_account_find(p, r->account);
	uint64_t counter = r->hold_id & HB_ID_COUNTER_MASK;

	if (account == NULL || r->amount_fen < 1 || account->available_fen < r->amount_fen)
		return "HOLD: the account does not have the money";
	if (counter <= p->head->hold_counter || counter > p->head->hold_counter + HB_ID_SKIP_MAX ||
		hb_partition_of(r->hold_id) != p->number || hb_id_kind(r->hold_id) != HB_ID_HOLD)
		return "HOLD: the hold id is not one of the next";
	if (p->holds[counter & (p->capacity.holds - 1)].id != 0)
		return "HOLD: capacity.holds is too small for this journal";
	if (!hbi_order_room(p))
		return "HOLD: capacity.orders is too small for this journal";
	if (hbi_day_index(r->reason) < 0)
		return "HOLD: the reason is unknown";
	if (hbi_stamp_used(p, r->order_stamp))
		return "HOLD: the order stamp was used before";
	return NULL;
}

/* The hold's one exit: it and its order are over. */
static void
hold_end(struct hb_partition *p, struct hb_hold *hold, const struct hb_record_hold_exit *r,
	enum hb_hold_state state)
{
	struct hb_order *order = hb_order_find(p, hold->order_stamp);

	HB_ASSERT(order != NULL);
	p->head->state_hash -= hbi_hold_hash(hold) + hbi_order_hash(order);
	hold->state = (uint8_t)state;
	hold->exit_content = hbi_exit_content(r->fee_fen, r->reason);
	hold->ended_ms = r->head.time_ns / 1000000;
	hold->final_sequence = r->head.core_sequence;
	hbi_order_step(order, r->state_after, &r->head);
	order->settled_fen = state == HB_HOLD_POSTED ? r->amount_fen : 0;
	p->head->state_hash += hbi_hold_hash(hold) + hbi_order_hash(order);
	p->head->open_holds_fen -= hold->amount_fen;
}

static void
apply_hold_exit(struct hb_partition *p, const struct hb_record_hold_exit *r)
{
	struct hb_hold *hold = hb_hold_find(p, r->hold_id);
	struct hb_account *account = hb_account_find(p, r->account);
	bool posted = r->head.type == HB_RECORD_POST;

	HB_ASSERT(hold != NULL);
	HB_ASSERT(hold->state == HB_HOLD_OPEN);
	HB_ASSERT(hold->amount_fen == r->amount_fen);
	HB_ASSERT(account != NULL);
	hold_end(p, hold, r, posted ? HB_HOLD_POSTED : HB_HOLD_VOIDED);
	if (!posted) {
		hbi_day_add(p, account, hold, -1);
		hbi_change(p, account, r->amount_fen, -r->amount_fen);
		return;
	}
	hbi_change(p, account, 0, -r->amount_fen);
	hbi_change(p,
		hbi_account_get(p, hb_system_account(r->channel, p->number), HB_ACCOUNT_SYSTEM),
		r->amount_fen - r->fee_fen, 0);
	if (r->fee_fen > 0)
		hbi_change(p,
			hbi_account_get(
				p, hb_system_account(HB_SYSTEM_FEES, p->number), HB_ACCOUNT_SYSTEM),
			r->fee_fen, 0);
}

static const char *
check_hold_exit(const struct hb_partition *p, const struct hb_record_hold_exit *r)
{
	const struct hb_hold *hold = hb_hold_find(p, r->hold_id);
	const struct hb_order *order = hold != NULL ? hb_order_find(p, hold->order_stamp) : NULL;
	bool posted = r->head.type == HB_RECORD_POST;

	if (hold == NULL || hold->state != HB_HOLD_OPEN || hold->account != r->account ||
		hold->amount_fen != r->amount_fen)
		return "POST or VOID: there is no such open hold";
	if (order == NULL ||
		!hbi_step_allowed(order, r->state_after, posted ? HBI_BY_POST : HBI_BY_VOID))
		return "POST or VOID: the order is not in a state that allows this";
	if (posted && !hb_is_system_account(hb_system_account(r->channel, p->number)))
		return "POST: there is no such clearing account";
	if (r->fee_fen < 0 || r->fee_fen > (posted ? r->amount_fen : 0))
		return "POST or VOID: the fee is not part of the amount";
	return hbi_check_account_room(p, r->account);
}

static void
apply_order_update(struct hb_partition *p, const struct hb_record_order_update *r)
{
	struct hb_order *order = hb_order_find(p, r->order_stamp);

	HB_ASSERT(order != NULL);
	HB_ASSERT(hbi_step_allowed(order, r->state_after, HBI_BY_UPDATE));
	p->head->state_hash -= hbi_order_hash(order);
	order->attempt = r->attempt;
	order->channel = r->channel;
	hbi_order_step(order, r->state_after, &r->head);
	p->head->state_hash += hbi_order_hash(order);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->order_stamp, r->head.time_ns);
}

static const char *
check_order_update(const struct hb_partition *p, const struct hb_record_order_update *r)
{
	const struct hb_order *order = hb_order_find(p, r->order_stamp);

	if (order == NULL || order->account != r->account || order->state != r->state_before ||
		!hbi_step_allowed(order, r->state_after, HBI_BY_UPDATE))
		return "ORDER_UPDATE: the order is not in a state that allows this";
	return NULL;
}

static void
apply_order_load(struct hb_partition *p, const struct hb_record_order_load *r)
{
	struct hb_order *order = hbi_order_insert(p, r->order_stamp);

	order->account = r->account;
	order->amount_fen = r->amount_fen;
	order->settled_fen = r->settled_fen;
	order->refunded_fen = r->refunded_fen;
	order->business = r->business;
	order->channel = r->channel;
	order->hold_id = r->hold_id;
	hbi_order_step(order, r->state, &r->head);
	p->head->state_hash += hbi_order_hash(order);
}

static const char *
check_order_load(const struct hb_partition *p, const struct hb_record_order_load *r)
{
	const struct hb_order as_loaded = {.state = r->state};

	if (hb_order_find(p, r->order_stamp) != NULL || r->order_stamp == 0)
		return "ORDER_LOAD: the order is in memory";
	if (!hbi_stamp_used(p, r->order_stamp))
		return "ORDER_LOAD: no order ever had this stamp";
	if (!hbi_order_final(&as_loaded))
		return "ORDER_LOAD: the order is not in a final state";
	if (!hbi_order_room(p))
		return "ORDER_LOAD: capacity.orders is too small for this journal";
	return NULL;
}

static void
apply_adjust(struct hb_partition *p, const struct hb_record_adjust *r, struct hb_credit *credit)
{
	hbi_use_stamp(p, r->order_stamp);
	hbi_change(p, hbi_account_get(p, r->from, hbi_account_kind_of(r->from)), -r->amount_fen, 0);
	hbi_send_credit(p, r->to, r->amount_fen, credit);
	p->head->state_hash += hb_mix64(r->case_id ^ hb_mix64(r->order_stamp));
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->order_stamp, r->head.time_ns);
}

static const char *
check_adjust(const struct hb_partition *p, const struct hb_record_adjust *r)
{
	const struct hb_account *from = hb_account_find(p, r->from);
	bool system = hb_is_system_account(r->from);

	if (hb_partition_of(r->from) != p->number || (!system && !hb_is_user_account(r->from)) ||
		(!hb_is_system_account(r->to) && !hb_is_user_account(r->to)))
		return "ADJUST: there is no such account";
	if (r->amount_fen < 1 || r->amount_fen > HB_CREDIT_FEN_MAX ||
		(!system && (from == NULL || from->available_fen < r->amount_fen)))
		return "ADJUST: the account does not have the money";
	if (r->maker_id == r->checker_id)
		return "ADJUST: maker and checker are the same person";
	if (hbi_stamp_used(p, r->order_stamp))
		return "ADJUST: the order stamp was used before";
	return hbi_check_account_room(p, r->from);
}

void
hbi_apply_workflow(struct hb_partition *p, const struct hb_record *record, struct hb_credit *credit)
{
	const void *r = record;

	switch (record->type) {
	case HB_RECORD_ACCOUNT_FREEZE:
		apply_account_bar(p, r, 1);
		break;
	case HB_RECORD_ACCOUNT_UNFREEZE:
		apply_account_bar(p, r, 0);
		break;
	case HB_RECORD_HOLD:
		apply_hold(p, r);
		break;
	case HB_RECORD_POST:
	case HB_RECORD_VOID:
		apply_hold_exit(p, r);
		break;
	case HB_RECORD_ORDER_UPDATE:
		apply_order_update(p, r);
		break;
	case HB_RECORD_ORDER_LOAD:
		apply_order_load(p, r);
		break;
	case HB_RECORD_ADJUST:
		apply_adjust(p, r, credit);
		break;
	default:
		HB_ASSERT(!"record type that this version applies");
	}
}

const char *
hbi_check_workflow(const struct hb_partition *p, const struct hb_record *record)
{
	const void *r = record;

	switch (record->type) {
	case HB_RECORD_ACCOUNT_FREEZE:
		return check_account_bar(p, r, 1);
	case HB_RECORD_ACCOUNT_UNFREEZE:
		return check_account_bar(p, r, 0);
	case HB_RECORD_HOLD:
		return check_hold(p, r);
	case HB_RECORD_POST:
	case HB_RECORD_VOID:
		return check_hold_exit(p, r);
	case HB_RECORD_ORDER_UPDATE:
		return check_order_update(p, r);
	case HB_RECORD_ORDER_LOAD:
		return check_order_load(p, r);
	case HB_RECORD_ADJUST:
		return check_adjust(p, r);
	default:
		return "record type is not applied by this version";
	}
}
