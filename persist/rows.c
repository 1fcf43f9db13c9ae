/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What each kind of record means in orders, claims, flows, accounts and packets. No state, no
 * input but the arguments; if the process dies here nothing is lost.
 *
 * The flows of one record add up to zero over its legs. Each account's flow names that account's
 * own order, so that a statement leads to an order its owner may read.
 */
#include "persist/rows.h"

#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "shm/frame.h"
#include "shm/ids.h"
#include "shm/order_number.h"

#define NS_PER_MS UINT64_C(1000000)

/* Of the record being turned into rows. */
struct context {
	struct hb_rows *rows;
	uint64_t seq;
	uint64_t at_ms;
	uint32_t node;
	uint32_t partition;
};

static void
order_number(const struct context *c, char text[HB_ROW_ORDER_NO_BYTES], enum hb_business business,
	uint64_t account, uint64_t stamp)
{
	char number[HB_ORDER_NUMBER_LENGTH + 1];

	hb_order_number_format(number, business, c->node, c->partition, account, stamp);
	memcpy(text, number, HB_ROW_ORDER_NO_BYTES);
}

static struct hb_row_order *
add_order(const struct context *c, enum hb_business business, enum hb_order_state state,
	uint64_t account, uint64_t stamp, int64_t amount_fen)
{
	HB_ASSERT(c->rows->order_count < HB_ROWS_ORDERS_MAX);
	struct hb_row_order *order = &c->rows->order[c->rows->order_count++];

	order_number(c, order->order_no, business, account, stamp);
	order->account = account;
	order->amount_fen = amount_fen;
	order->at_ms = c->at_ms;
	order->jseq = c->seq;
	order->business = (uint16_t)business;
	order->state = (uint8_t)state;
	return order;
}

static void
add_flow(const struct context *c, uint64_t account, int64_t available_delta, int64_t frozen_delta,
	const char order_no[HB_ROW_ORDER_NO_BYTES])
{
	HB_ASSERT(c->rows->flow_count < HB_ROWS_FLOWS_MAX);
	struct hb_row_flow *flow = &c->rows->flow[c->rows->flow_count++];

	flow->account = account;
	flow->jseq = c->seq;
	flow->available_delta = available_delta;
	flow->frozen_delta = frozen_delta;
	flow->at_ms = c->at_ms;
	flow->leg = (uint8_t)c->rows->flow_count;
	memcpy(flow->order_no, order_no, HB_ROW_ORDER_NO_BYTES);
}

static void
rows_of_account_open(const struct context *c, const struct hb_record_account_open *r)
{
	c->rows->account_event.account = r->account;
	c->rows->account_event.event = HB_ACCOUNT_OPENED;
	c->rows->account_event.kind = r->kind;
}

static void
rows_of_account_freeze(const struct context *c, const struct hb_record_account_freeze *r,
	enum hb_account_event event)
{
	c->rows->account_event.account = r->account;
	c->rows->account_event.event = event;
}

static void
rows_of_order_open(const struct context *c, const struct hb_record_order_open *r)
{
	struct hb_row_order *order = add_order(c, (enum hb_business)r->business, HB_ORDER_OPEN,
		r->account, r->order_stamp, r->amount_fen);

	order->peer = hb_system_account((enum hb_system_account)r->channel, c->partition);
}

/* The order was opened as a recharge; other orders are not settled by a CREDIT. */
static void
rows_of_credit(const struct context *c, const struct hb_record_credit *r)
{
	char order_no[HB_ROW_ORDER_NO_BYTES];
	uint64_t clearing = hb_system_account((enum hb_system_account)r->channel, c->partition);
	bool held = r->hold_id != 0;

	order_number(c, order_no, HB_BUSINESS_RECHARGE, r->account, r->order_stamp);
	c->rows->order_change.account = r->account;
	c->rows->order_change.state = HB_ORDER_DONE;
	memcpy(c->rows->order_change.order_no, order_no, HB_ROW_ORDER_NO_BYTES);
	add_flow(c, clearing, -r->amount_fen, 0, order_no);
	add_flow(c, r->account, held ? 0 : r->amount_fen, held ? r->amount_fen : 0, order_no);
}

static void
change_order(const struct context *c, enum hb_business business, uint64_t account, uint64_t stamp,
	uint8_t state)
{
	c->rows->order_change.account = account;
	c->rows->order_change.state = state;
	order_number(c, c->rows->order_change.order_no, business, account, stamp);
}

static void
rows_of_order_update(const struct context *c, const struct hb_record_order_update *r)
{
	change_order(c, (enum hb_business)r->business, r->account, r->order_stamp, r->state_after);
}

/* A hold opens the order of what goes out. */
static void
rows_of_hold(const struct context *c, const struct hb_record_hold *r)
{
	struct hb_row_order *order = add_order(c, (enum hb_business)hb_hold_business(r->reason),
		HB_ORDER_REQUESTED, r->account, r->order_stamp, r->amount_fen);

	add_flow(c, r->account, -r->amount_fen, r->amount_fen, order->order_no);
}

static void
rows_of_hold_exit(const struct context *c, const struct hb_record_hold_exit *r)
{
	const char *order_no = c->rows->order_change.order_no;
	uint32_t p = c->partition;

	change_order(c, (enum hb_business)r->business, r->account, r->order_stamp, r->state_after);
	if (r->head.type == HB_RECORD_VOID) {
		add_flow(c, r->account, r->amount_fen, -r->amount_fen, order_no);
		return;
	}
	add_flow(c, r->account, 0, -r->amount_fen, order_no);
	add_flow(c, hb_system_account((enum hb_system_account)r->channel, p),
		r->amount_fen - r->fee_fen, 0, order_no);
	if (r->fee_fen > 0)
		add_flow(c, hb_system_account(HB_SYSTEM_FEES, p), r->fee_fen, 0, order_no);
}

/* One order, of the user or enterprise when there is one: his statement leads to it. */
static void
rows_of_adjust(const struct context *c, const struct hb_record_adjust *r)
{
	bool to_owns = hb_id_kind(r->from) == HB_ID_SYSTEM_ACCOUNT &&
		       hb_id_kind(r->to) != HB_ID_SYSTEM_ACCOUNT;
	uint64_t owner = to_owns ? r->to : r->from;
	struct hb_row_order *order = add_order(
		c, HB_BUSINESS_ADJUSTMENT, HB_ORDER_DONE, owner, r->order_stamp, r->amount_fen);

	order->peer = to_owns ? r->from : r->to;
	add_flow(c, r->from, -r->amount_fen, 0, order->order_no);
	add_flow(c, r->to, r->amount_fen, 0, order->order_no);
}

/* A greeting that is not UTF-8 must not stop the ledger: what is wrong in it becomes '?'. */
static void
copy_greeting(char out[HB_GREETING_BYTES_MAX], const uint8_t *greeting, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t n = hb_utf8_length(greeting + at, length - at);

		if (n == 0)
			out[at++] = '?';
		for (; n > 0; n--, at++)
			out[at] = (char)greeting[at];
	}
}

static void
rows_of_packet_create(const struct context *c, const struct hb_record_packet_create *r)
{
	struct hb_row_packet *packet = &c->rows->packet;
	struct hb_row_order *order = add_order(
		c, HB_BUSINESS_PACKET_SEND, HB_ORDER_DONE, r->sender, r->order_stamp, r->total_fen);

	order->packet = r->packet;
	order->peer = r->recipient;
	c->rows->packet_count = 1;
	packet->packet = r->packet;
	packet->sender = r->sender;
	packet->group_id = r->group;
	packet->recipient = r->recipient;
	packet->kind = r->kind;
	packet->algorithm = r->algorithm;
	packet->state = HB_PACKET_OPEN;
	packet->total_fen = r->total_fen;
	packet->left_fen = r->total_fen;
	packet->share_count = r->count;
	packet->left_count = r->count;
	packet->share_min_fen = r->share_min_fen;
	packet->share_max_fen = r->share_max_fen;
	packet->created_ms = c->at_ms;
	packet->deadline_ms = r->deadline_ms;
	packet->order_stamp = r->order_stamp;
	packet->jseq = c->seq;
	memcpy(packet->order_no, order->order_no, HB_ROW_ORDER_NO_BYTES);
	copy_greeting(packet->greeting, r->greeting, r->greeting_length);
	memcpy(packet->commitment, r->commitment, sizeof(packet->commitment));
	memcpy(packet->seed, r->seed, sizeof(packet->seed));
	if (r->funding == HB_FUNDED_BY_BALANCE)
		add_flow(c, r->sender, -r->total_fen, r->total_fen, order->order_no);
}

static void
rows_of_grab(const struct context *c, const struct hb_record_grab *r,
	const struct hb_packet_origin *origin)
{
	char send_order_no[HB_ROW_ORDER_NO_BYTES];
	struct hb_row_order *order = add_order(
		c, HB_BUSINESS_PACKET_GRAB, HB_ORDER_DONE, r->user, r->order_stamp, r->amount_fen);
	struct hb_row_claim *claim = &c->rows->claim;

	order->packet = r->packet;
	order->peer = origin->sender;
	c->rows->claim_count = 1;
	claim->packet = r->packet;
	claim->account = r->user;
	claim->amount_fen = r->amount_fen;
	claim->share = r->share_index;
	claim->at_ms = c->at_ms;
	claim->jseq = c->seq;
	order_number(
		c, send_order_no, HB_BUSINESS_PACKET_SEND, origin->sender, origin->order_stamp);
	add_flow(c, origin->sender, 0, -r->amount_fen, send_order_no);
	add_flow(c, r->user, r->amount_fen, 0, order->order_no);
	c->rows->packet_change.packet = r->packet;
	c->rows->packet_change.left_fen = -r->amount_fen;
	c->rows->packet_change.left_count = -1;
	c->rows->packet_change.state = r->left_count == 0 ? HB_PACKET_SOLD_OUT : HB_PACKET_OPEN;
}

static void
rows_of_packet_expire(const struct context *c, const struct hb_record_packet_expire *r,
	const struct hb_packet_origin *origin)
{
	c->rows->packet_change.packet = r->packet;
	c->rows->packet_change.left_fen = -r->refund_fen;
	c->rows->packet_change.refunded_fen = r->refund_fen;
	c->rows->packet_change.state = HB_PACKET_REFUNDED;
	if (r->refund_fen == 0)
		return;
	struct hb_row_order *order = add_order(c, HB_BUSINESS_PACKET_REFUND, HB_ORDER_DONE,
		origin->sender, r->order_stamp, r->refund_fen);

	order->packet = r->packet;
	if (r->refund_hold_id == 0)
		add_flow(c, origin->sender, r->refund_fen, -r->refund_fen, order->order_no);
}

/* Two orders with one stamp: out and in. */
static void
rows_of_transfer(const struct context *c, const struct hb_record_transfer *r)
{
	struct hb_row_order *out = add_order(
		c, HB_BUSINESS_TRANSFER_OUT, HB_ORDER_DONE, r->from, r->order_stamp, r->amount_fen);
	struct hb_row_order *in = add_order(
		c, HB_BUSINESS_TRANSFER_IN, HB_ORDER_DONE, r->to, r->order_stamp, r->amount_fen);

	out->peer = r->to;
	in->peer = r->from;
	add_flow(c, r->from, -r->amount_fen, 0, out->order_no);
	add_flow(c, r->to, r->amount_fen, 0, in->order_no);
}

uint64_t
hb_rows_packet_needed(const struct hb_record *record)
{
	if (record->type == HB_RECORD_GRAB)
		return ((const struct hb_record_grab *)record)->packet;
	if (record->type == HB_RECORD_PACKET_EXPIRE)
		return ((const struct hb_record_packet_expire *)record)->packet;
	return 0;
}

uint8_t
hb_rows_account_kind(uint64_t account)
{
	return hb_id_kind(account) == HB_ID_SYSTEM_ACCOUNT ? HB_ACCOUNT_SYSTEM : HB_ACCOUNT_USER;
}

const char *
hb_rows_of(const struct hb_record *record, uint64_t seq, uint32_t node,
	const struct hb_packet_origin *origin, struct hb_rows *rows)
{
	const struct context c = {rows, seq, record->time_ns / NS_PER_MS, node, record->ring};
	const void *r = record;

	memset(rows, 0, sizeof(*rows));
	switch (record->type) {
	case HB_RECORD_EPOCH_START:
	case HB_RECORD_MARK:
	case HB_RECORD_EVICT:
	case HB_RECORD_ORDER_LOAD:
		return NULL;
	case HB_RECORD_ORDER_UPDATE:
		rows_of_order_update(&c, r);
		return NULL;
	case HB_RECORD_HOLD:
		if (hb_hold_business(((const struct hb_record_hold *)r)->reason) == 0)
			return "this version has no order for the hold's reason";
		rows_of_hold(&c, r);
		return NULL;
	case HB_RECORD_POST:
	case HB_RECORD_VOID:
		rows_of_hold_exit(&c, r);
		return NULL;
	case HB_RECORD_ADJUST:
		rows_of_adjust(&c, r);
		return NULL;
	case HB_RECORD_ACCOUNT_OPEN:
		rows_of_account_open(&c, r);
		return NULL;
	case HB_RECORD_ACCOUNT_FREEZE:
		rows_of_account_freeze(&c, r, HB_ACCOUNT_BARRED);
		return NULL;
	case HB_RECORD_ACCOUNT_UNFREEZE:
		rows_of_account_freeze(&c, r, HB_ACCOUNT_UNBARRED);
		return NULL;
	case HB_RECORD_ORDER_OPEN:
		rows_of_order_open(&c, r);
		return NULL;
	case HB_RECORD_CREDIT:
		rows_of_credit(&c, r);
		return NULL;
	case HB_RECORD_PACKET_CREATE:
		if (((const struct hb_record_packet_create *)r)->greeting_length >
			HB_GREETING_BYTES_MAX)
			return "the greeting is longer than a greeting may be";
		rows_of_packet_create(&c, r);
		return NULL;
	case HB_RECORD_GRAB:
		rows_of_grab(&c, r, origin);
		return NULL;
	case HB_RECORD_PACKET_EXPIRE:
		rows_of_packet_expire(&c, r, origin);
		return NULL;
	case HB_RECORD_TRANSFER:
		rows_of_transfer(&c, r);
		return NULL;
	default:
		return "this version has no rows for the record's type; install the version that "
		       "wrote it";
	}
}
