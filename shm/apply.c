/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply: the only writer of state. One function per record type (those of holds, workflows and
 * adjustments are in apply_workflow.c, EVICT is in evict.c), each the same for the live
 * engine and for replay. What a correct journal guarantees is asserted here; hb_apply_check says
 * the same beforehand for journals that may be damaged.
 *
 * If the process dies in the middle of an apply, its memory is thrown away; the record is in the
 * journal or it never happened.
 */
#include <string.h>

#include "shm/apply_internal.h"
#include "shm/split.h"

static void
apply_account_open(struct hb_partition *p, const struct hb_record_account_open *r)
{
	hbi_account_get(p, r->account, r->kind);
	p->head->state_hash += hb_mix64(r->account ^ r->kind);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->account, r->head.time_ns);
}

static void
apply_order_open(struct hb_partition *p, const struct hb_record_order_open *r)
{
	struct hb_order *order = hbi_order_insert(p, r->order_stamp);

	hbi_use_stamp(p, r->order_stamp);
	order->account = r->account;
	order->amount_fen = r->amount_fen;
	order->purpose_id = r->purpose_id;
	order->business = r->business;
	order->channel = r->channel;
	order->product = r->product;
	order->state = HB_ORDER_OPEN;
	p->head->state_hash += hbi_order_hash(order);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->order_stamp, r->head.time_ns);
}

static void
apply_credit_record(struct hb_partition *p, const struct hb_record_credit *r)
{
	struct hb_order *order = hb_order_find(p, r->order_stamp);
	uint64_t clearing = hb_system_account(r->channel, p->number);

	HB_ASSERT(order != NULL);
	HB_ASSERT(hbi_step_allowed(order, HB_ORDER_DONE, HBI_BY_CREDIT));
	HB_ASSERT(order->account == r->account);
	p->head->state_hash -= hbi_order_hash(order);
	hbi_order_step(order, HB_ORDER_DONE, &r->head);
	order->settled_fen = r->amount_fen;
	p->head->state_hash += hbi_order_hash(order);
	hbi_change(p, hbi_account_get(p, clearing, HB_ACCOUNT_SYSTEM), -r->amount_fen, 0);
	hbi_change(p, hbi_account_get(p, r->account, HB_ACCOUNT_USER), r->amount_fen, 0);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->order_stamp, r->head.time_ns);
}

/* Draw the next shares into the claims, at most HB_EXPAND_SHARES_MAX. */
static void
expand_shares(struct hb_partition *p, struct hb_packet *packet)
{
	struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t n = packet->count - packet->expanded_count;
	struct hb_split split = {
		.left_fen = packet->expand_left_fen,
		.share_min_fen = packet->share_min_fen,
		.share_max_fen = packet->share_max_fen,
		.draw_next = packet->draw_next,
		.left_count = n,
		.algorithm = packet->algorithm,
	};

	if (n > HB_EXPAND_SHARES_MAX)
		n = HB_EXPAND_SHARES_MAX;
	hb_split_draw(&split, packet->seed, &claims[packet->expanded_count].amount_fen,
		sizeof(*claims), n);
	packet->expanded_count += n;
	packet->expand_left_fen = split.left_fen;
	packet->draw_next = split.draw_next;
}

static struct hb_packet *
packet_fill(struct hb_partition *p, const struct hb_record_packet_create *r)
{
	uint64_t counter = r->packet & HB_ID_COUNTER_MASK;
	struct hb_packet *packet = &p->packets[counter & (p->capacity.packets - 1)];

	HB_ASSERT(packet->id == 0);
	HB_ASSERT(counter > p->head->packet_counter);
	p->head->packet_counter = counter;
	p->head->packet_count++;
	packet->id = r->packet;
	packet->sender = r->sender;
	packet->group = r->group;
	packet->recipient = r->recipient;
	packet->left_fen = r->total_fen;
	packet->deadline_ms = r->deadline_ms;
	packet->count = r->count;
	packet->left_count = r->count;
	packet->block = hbi_arena_take(p, r->count, r->greeting_length);
	packet->state = HB_PACKET_OPEN;
	packet->kind = r->kind;
	packet->algorithm = r->algorithm;
	packet->funding = r->funding;
	packet->total_fen = r->total_fen;
	packet->created_ms = r->head.time_ns / 1000000;
	packet->order_stamp = r->order_stamp;
	packet->share_min_fen = r->share_min_fen;
	packet->share_max_fen = r->share_max_fen;
	packet->expand_left_fen = r->total_fen;
	packet->hold_id = r->hold_id;
	packet->article = r->article;
	packet->greeting_length = r->greeting_length;
	memcpy(packet->seed, r->seed, sizeof(packet->seed));
	memcpy(hbi_packet_greeting(p, packet), r->greeting, r->greeting_length);
	return packet;
}

static void
apply_packet_create(struct hb_partition *p, const struct hb_record_packet_create *r)
{
	struct hb_account *sender = hb_account_find(p, r->sender);
	struct hb_packet *packet;

	HB_ASSERT(sender != NULL);
	HB_ASSERT(r->funding == HB_FUNDED_BY_BALANCE);
	hbi_use_stamp(p, r->order_stamp);
	packet = packet_fill(p, r);
	expand_shares(p, packet);
	hbi_change(p, sender, -r->total_fen, r->total_fen);
	p->head->open_packets_fen += r->total_fen;
	p->head->state_hash += hbi_packet_hash(packet);
	hbi_window_use(p, &r->token, r->sender, r->head.time_ns);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->packet, r->head.time_ns);
}

static void
apply_grab(struct hb_partition *p, const struct hb_record_grab *r, struct hb_credit *credit)
{
	struct hb_packet *packet = hbi_packet_find(p, r->packet);
	struct hb_claim *claim;
	uint32_t taken;

	HB_ASSERT(packet != NULL);
	HB_ASSERT(packet->state == HB_PACKET_OPEN);
	taken = packet->count - packet->left_count;
	HB_ASSERT(r->share_index == taken);
	claim = &hbi_claims(p, packet)[taken];
	HB_ASSERT(claim->user == 0);
	HB_ASSERT(claim->amount_fen == r->amount_fen);
	hbi_use_stamp(p, r->order_stamp);

	p->head->state_hash -= hbi_packet_hash_moving(packet);
	claim->user = r->user;
	claim->offset_ms = (uint32_t)(r->head.time_ns / 1000000 - packet->created_ms);
	hbi_claim_index_add(p, packet, taken);
	packet->left_fen -= r->amount_fen;
	packet->left_count--;
	if (packet->left_count == 0) {
		packet->state = HB_PACKET_SOLD_OUT;
		packet->final_sequence = r->head.core_sequence;
	} else if ((taken + 1) % HB_EXPAND_SHARES_MAX == 0) {
		HB_ASSERT(taken + 1 == packet->expanded_count);
		expand_shares(p, packet);
	}
	HB_ASSERT(packet->left_fen == r->left_fen);
	HB_ASSERT(packet->left_count == r->left_count);
	p->head->state_hash += hbi_packet_hash_moving(packet) +
			       hbi_claim_hash(r->packet, r->user, taken, r->amount_fen);

	p->head->open_packets_fen -= r->amount_fen;
	p->head->grab_count++;
	hbi_change(p, hb_account_find(p, packet->sender), 0, -r->amount_fen);
	hbi_send_credit(p, r->user, r->amount_fen, credit);
	hbi_window_use(p, &r->token, r->user, r->head.time_ns);
}

static void
apply_packet_expire(struct hb_partition *p, const struct hb_record_packet_expire *r)
{
	struct hb_packet *packet = hb_packet_find(p, r->packet);

	HB_ASSERT(packet != NULL);
	HB_ASSERT(packet->state == HB_PACKET_OPEN);
	HB_ASSERT(packet->left_fen == r->refund_fen);
	HB_ASSERT(r->refund_hold_id == 0);
	hbi_use_stamp(p, r->order_stamp);
	p->head->state_hash -= hbi_packet_hash(packet);
	packet->refunded_fen = r->refund_fen;
	packet->left_fen = 0;
	packet->state = HB_PACKET_REFUNDED;
	packet->final_sequence = r->head.core_sequence;
	p->head->state_hash += hbi_packet_hash(packet);
	p->head->open_packets_fen -= r->refund_fen;
	hbi_change(p, hb_account_find(p, packet->sender), r->refund_fen, -r->refund_fen);
}

static void
apply_transfer(struct hb_partition *p, const struct hb_record_transfer *r, struct hb_credit *credit)
{
	struct hb_account *from = hb_account_find(p, r->from);

	HB_ASSERT(from != NULL);
	hbi_use_stamp(p, r->order_stamp);
	hbi_change(p, from, -r->amount_fen, 0);
	hbi_send_credit(p, r->to, r->amount_fen, credit);
	hbi_window_use(p, &r->token, r->from, r->head.time_ns);
	hbi_idempotency_keep(p, &r->idempotency, r->head.type, r->order_stamp, r->head.time_ns);
}

void
hb_apply(struct hb_partition *p, const struct hb_record *record, struct hb_credit *credit)
{
	HB_ASSERT(record->ring == p->number);
	HB_ASSERT(record->core_sequence == p->head->core_sequence + 1);
	HB_ASSERT(record->time_ns >= p->head->time_ns);
	credit->account = 0;
	credit->amount_fen = 0;
	p->head->core_sequence = record->core_sequence;
	p->head->time_ns = record->time_ns;
	switch (record->type) {
	case HB_RECORD_GRAB:
		apply_grab(p, (const void *)record, credit);
		break;
	case HB_RECORD_PACKET_CREATE:
		apply_packet_create(p, (const void *)record);
		break;
	case HB_RECORD_PACKET_EXPIRE:
		apply_packet_expire(p, (const void *)record);
		break;
	case HB_RECORD_TRANSFER:
		apply_transfer(p, (const void *)record, credit);
		break;
	case HB_RECORD_ACCOUNT_OPEN:
		apply_account_open(p, (const void *)record);
		break;
	case HB_RECORD_ORDER_OPEN:
		apply_order_open(p, (const void *)record);
		break;
	case HB_RECORD_CREDIT:
		apply_credit_record(p, (const void *)record);
		break;
	case HB_RECORD_MARK:
		HB_ASSERT(((const struct hb_record_mark *)(const void *)record)->state_hash ==
			  p->head->state_hash);
		break;
	case HB_RECORD_EVICT:
		hbi_apply_evict(p, (const void *)record);
		break;
	default:
		hbi_apply_workflow(p, record, credit);
	}
	HB_ASSERT(p->head->open_packets_fen >= 0);
	HB_ASSERT(p->head->open_holds_fen >= 0);
}

struct hb_credit
hb_record_credit(const struct hb_record *record)
{
	const void *at = record;

	switch (record->type) {
	case HB_RECORD_GRAB: {
		const struct hb_record_grab *r = at;

		return (struct hb_credit){r->user, r->amount_fen};
	}
	case HB_RECORD_TRANSFER: {
		const struct hb_record_transfer *r = at;

		return (struct hb_credit){r->to, r->amount_fen};
	}
	case HB_RECORD_ADJUST: {
		const struct hb_record_adjust *r = at;

		return (struct hb_credit){r->to, r->amount_fen};
	}
	default:
		return (struct hb_credit){0, 0};
	}
}

void
hb_apply_credit(struct hb_partition *to, uint32_t from_partition, const struct hb_credit *credit)
{
	HB_ASSERT(credit->amount_fen > 0);
	to->head->applied_count[from_partition]++;
	to->head->applied_fen[from_partition] += (uint64_t)credit->amount_fen;
	hbi_account_change(to,
		hbi_account_get(to, credit->account, hbi_account_kind_of(credit->account)),
		credit->amount_fen, 0, hbi_balance_delta(credit->account, credit->amount_fen, 0));
}

static const char *
check_packet_create(const struct hb_partition *p, const struct hb_record_packet_create *r)
{
	uint64_t counter = r->packet & HB_ID_COUNTER_MASK;
	const struct hb_account *sender = hb_account_find(p, r->sender);

	if (sender == NULL || sender->available_fen < r->total_fen)
		return "PACKET_CREATE: the sender does not have the money";
	if (counter <= p->head->packet_counter ||
		counter > p->head->packet_counter + HB_ID_SKIP_MAX ||
		hb_partition_of(r->packet) != p->number || hb_id_kind(r->packet) != HB_ID_PACKET)
		return "PACKET_CREATE: the packet id is not one of the next";
	if (p->packets[counter & (p->capacity.packets - 1)].id != 0)
		return "PACKET_CREATE: capacity.packets is too small for this journal";
	if (!hbi_arena_room(p, r->count, r->greeting_length))
		return "PACKET_CREATE: capacity.arena_mib is too small for this journal";
	if (!hb_split_possible(r->total_fen, r->count, r->share_min_fen, r->share_max_fen))
		return "PACKET_CREATE: the shares cannot add up";
	if ((r->kind != HB_PACKET_NORMAL && r->kind != HB_PACKET_LUCKY) ||
		(r->algorithm != HB_SPLIT_DOUBLE_MEAN && r->algorithm != HB_SPLIT_SEED))
		return "PACKET_CREATE: the kind or the algorithm is unknown";
	if (r->funding != HB_FUNDED_BY_BALANCE)
		return "PACKET_CREATE: this version knows no packets funded by a channel";
	if (hbi_stamp_used(p, r->order_stamp))
		return "PACKET_CREATE: the order stamp was used before";
	return NULL;
}

static const char *
check_grab(const struct hb_partition *p, const struct hb_record_grab *r)
{
	const struct hb_packet *packet = hb_packet_find(p, r->packet);
	uint32_t taken;

	if (packet == NULL || packet->state != HB_PACKET_OPEN)
		return "GRAB: the packet is not open";
	taken = packet->count - packet->left_count;
	if (r->share_index != taken || r->left_count + 1 != packet->left_count)
		return "GRAB: the share is not the next one";
	if (r->amount_fen != hb_packet_claims(p, packet)[taken].amount_fen)
		return "GRAB: the amount is not the share's";
	if (r->left_fen != packet->left_fen - r->amount_fen)
		return "GRAB: what is left of the packet does not add up";
	if (!hb_is_user_account(r->user))
		return "GRAB: there can be no such user";
	if (hb_claim_find(p, packet, r->user) != NULL)
		return "GRAB: the user has a share of this packet already";
	if (hbi_stamp_used(p, r->order_stamp))
		return "GRAB: the order stamp was used before";
	return NULL;
}

static const char *
check_other(const struct hb_partition *p, const struct hb_record *record)
{
	switch (record->type) {
	case HB_RECORD_PACKET_EXPIRE: {
		const struct hb_record_packet_expire *r = (const void *)record;
		const struct hb_packet *packet = hb_packet_find(p, r->packet);

		if (packet == NULL || packet->state != HB_PACKET_OPEN ||
			packet->left_fen != r->refund_fen || hbi_stamp_used(p, r->order_stamp))
			return "PACKET_EXPIRE: the packet is not open with this remainder";
		return NULL;
	}
	case HB_RECORD_TRANSFER: {
		const struct hb_record_transfer *r = (const void *)record;
		const struct hb_account *from = hb_account_find(p, r->from);

		if (from == NULL || from->available_fen < r->amount_fen || r->amount_fen < 1 ||
			hbi_stamp_used(p, r->order_stamp))
			return "TRANSFER: the payer does not have the money";
		if (!hb_is_user_account(r->to))
			return "TRANSFER: there can be no such payee";
		return NULL;
	}
	case HB_RECORD_ORDER_OPEN: {
		const struct hb_record_order_open *r = (const void *)record;

		if (hbi_stamp_used(p, r->order_stamp))
			return "ORDER_OPEN: the order stamp was used before";
		if (!hb_is_user_account(r->account) || hb_partition_of(r->account) != p->number)
			return "ORDER_OPEN: there can be no such account here";
		if (!hbi_order_room(p))
			return "ORDER_OPEN: capacity.orders is too small for this journal";
		return NULL;
	}
	case HB_RECORD_CREDIT: {
		const struct hb_record_credit *r = (const void *)record;
		const struct hb_order *order = hb_order_find(p, r->order_stamp);

		if (order == NULL || !hbi_step_allowed(order, HB_ORDER_DONE, HBI_BY_CREDIT) ||
			order->account != r->account || order->amount_fen != r->amount_fen)
			return "CREDIT: there is no such open order";
		if (!hb_is_system_account(hb_system_account(r->channel, p->number)) ||
			r->amount_fen < 1 || r->amount_fen > HB_CREDIT_FEN_MAX)
			return "CREDIT: no channel can have paid this";
		return hbi_check_account_room(p, r->account);
	}
	case HB_RECORD_MARK:
		if (((const struct hb_record_mark *)(const void *)record)->state_hash !=
			p->head->state_hash)
			return "MARK: the state hash differs from the replayed state";
		return NULL;
	case HB_RECORD_ACCOUNT_OPEN: {
		const struct hb_record_account_open *r = (const void *)record;

		if (!hb_is_user_account(r->account) || hb_partition_of(r->account) != p->number ||
			(r->kind != HB_ACCOUNT_USER && r->kind != HB_ACCOUNT_ENTERPRISE))
			return "ACCOUNT_OPEN: there can be no such account here";
		return hbi_check_account_room(p, r->account);
	}
	case HB_RECORD_EVICT:
		return hbi_check_evict(p, (const void *)record);
	default:
		return hbi_check_workflow(p, record);
	}
}

const char *
hb_apply_check(const struct hb_partition *p, const struct hb_record *record)
{
	const char *fault;

	if (record->ring != p->number)
		return "record is of another ring";
	if (record->core_sequence != p->head->core_sequence + 1)
		return "core sequence is not the next one";
	if (record->time_ns < p->head->time_ns)
		return "ledger time goes back";
	fault = hbi_check_keys(p, record);
	if (fault != NULL)
		return fault;
	if (record->type == HB_RECORD_GRAB)
		return check_grab(p, (const void *)record);
	if (record->type == HB_RECORD_PACKET_CREATE)
		return check_packet_create(p, (const void *)record);
	return check_other(p, record);
}

const char *
hb_apply_credit_check(const struct hb_partition *to, const struct hb_credit *credit)
{
	const struct hb_account *account = hb_account_find(to, credit->account);

	if (credit->amount_fen < 1 || credit->amount_fen > HB_MONEY_FEN_CAP)
		return "the credit's amount is impossible";
	if (account == NULL)
		return hbi_check_account_room(to, credit->account);
	return account->available_fen > HB_MONEY_FEN_CAP - credit->amount_fen
		       ? "the account would have more than all money there can be"
		       : NULL;
}
