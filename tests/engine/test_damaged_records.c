/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a replay says to records that a correct journal cannot have: each damage is named, nothing
 * is asserted and nothing changes. Every record here was decided by the engine and then damaged in
 * one field.
 */
#include <string.h>

#include "shm/state_internal.h"
#include "tests/engine/world.h"

#define ALICE  1001
#define BOB    1002
#define NOBODY 1003
#define GROUP  7

static const struct hb_capacity two_packets = {.accounts = 64,
	.packets = 2,
	.arena_bytes = 1 << 16,
	.windows = 64,
	.orders = 64,
	.idempotency = 64,
	.holds = 2};

static _Alignas(8) uint8_t bytes[HB_DECISION_BYTES_MAX];

static struct hb_partition *
home(struct world *w, uint64_t id)
{
	return &w->state.partition[hb_partition_of(id)];
}

/* Decide a frame without applying what comes of it. @return the record, in `bytes` */
static void *
decided(struct world *w, void *frame_bytes)
{
	struct hb_frame *frame = frame_bytes;
	struct hb_decision decision = {.records = bytes, .reply = &w->reply.head};

	frame->version = HB_FRAME_VERSION;
	assert_int_equal(hb_frame_check(frame, frame->length), HB_STATUS_OK);
	hb_decide(home(w, frame->target), frame, &w->input, &decision);
	assert_int_equal(w->reply.head.status, HB_STATUS_OK);
	assert_int_equal(decision.record_count, 1);
	assert_null(hb_apply_check(home(w, frame->target), (const void *)bytes));
	return bytes;
}

/* The record in `bytes` must be refused with words that begin like this. */
static void
refused(struct world *w, uint64_t target, const char *words)
{
	const char *fault = hb_apply_check(home(w, target), (const void *)bytes);

	if (fault == NULL || strncmp(fault, words, strlen(words)) != 0)
		fail_msg("'%s' instead of '%s'", fault != NULL ? fault : "no fault", words);
}

/* Damage one field for one look. */
#define DAMAGED(w, target, field, value, words)                                                    \
	do {                                                                                       \
		__typeof__(field) whole = (field);                                                 \
		(field) = (__typeof__(field))(value);                                              \
		refused((w), (target), (words));                                                   \
		(field) = whole;                                                                   \
	} while (0)

static struct hb_frame_packet_create
a_packet(uint64_t sender)
{
	return (struct hb_frame_packet_create){
		.head = {.operation = HB_OP_PACKET_CREATE,
			.length = sizeof(struct hb_frame_packet_create),
			.target = sender,
			.user = sender,
			.group = GROUP},
		.kind = HB_PACKET_LUCKY,
		.count = 3,
		.total_fen = 300};
}

static void
test_a_record_of_another_ring_sequence_or_time_is_named(void **unused)
{
	struct hb_frame_packet_create f = a_packet(ALICE);
	struct hb_record *r;
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->ring, r->ring + 1, "record is of another ring");
	DAMAGED(&w, ALICE, r->core_sequence, r->core_sequence + 1, "core sequence is not the next");
	DAMAGED(&w, ALICE, r->time_ns, 1, "ledger time goes back");
	DAMAGED(&w, ALICE, r->type, HB_RECORD_REFUND_OPEN, "record type is not applied");
	world_close(&w);
}

static void
test_a_damaged_packet_create_is_named(void **unused)
{
	struct hb_frame_packet_create f = a_packet(ALICE);
	struct hb_record_packet_create *r;
	static struct world w;
	uint64_t packet;

	(void)unused;
	world_open_sized(&w, &two_packets);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 2, 1, &packet), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->sender, NOBODY, "PACKET_CREATE: the sender");
	DAMAGED(&w, ALICE, r->total_fen, 901, "PACKET_CREATE: the sender");
	DAMAGED(&w, ALICE, r->packet, packet, "PACKET_CREATE: the packet id");
	DAMAGED(&w, ALICE, r->packet, r->packet + HB_ID_SKIP_MAX, "PACKET_CREATE: the packet id");
	DAMAGED(&w, ALICE, r->packet, r->packet ^ UINT64_C(1) << 52,
		"PACKET_CREATE: the packet id");
	DAMAGED(&w, ALICE, r->packet, r->packet ^ UINT64_C(3) << 56,
		"PACKET_CREATE: the packet id");
	DAMAGED(&w, ALICE, r->packet, r->packet + 1, "PACKET_CREATE: capacity.packets");
	DAMAGED(&w, ALICE, r->count, 5000, "PACKET_CREATE: capacity.arena_mib");
	DAMAGED(&w, ALICE, r->share_min_fen, 101, "PACKET_CREATE: the shares");
	DAMAGED(&w, ALICE, r->kind, 3, "PACKET_CREATE: the kind");
	DAMAGED(&w, ALICE, r->algorithm, 3, "PACKET_CREATE: the kind");
	DAMAGED(&w, ALICE, r->funding, HB_FUNDED_BY_HOLD, "PACKET_CREATE: this version");
	DAMAGED(&w, ALICE, r->order_stamp, 1, "PACKET_CREATE: the order stamp");
	r->algorithm = HB_SPLIT_SEED;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	r->kind = HB_PACKET_NORMAL;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	world_close(&w);
}

static void
test_a_damaged_grab_is_named(void **unused)
{
	struct hb_frame f = {.operation = HB_OP_GRAB, .length = 64, .user = BOB, .group = GROUP};
	struct hb_frame expire = {.operation = HB_OP_PACKET_EXPIRE, .length = 64};
	struct hb_record_packet_expire *e;
	struct hb_record_grab *r;
	static struct world w;
	uint64_t over;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 10, 1, 1, &over), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, over, ALICE, GROUP), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 3, 1, &f.target), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, f.target, ALICE, GROUP), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->packet, 5, "GRAB: the packet is not open");
	DAMAGED(&w, ALICE, r->packet, over, "GRAB: the packet is not open");
	DAMAGED(&w, ALICE, r->share_index, 0, "GRAB: the share is not");
	DAMAGED(&w, ALICE, r->left_count, 2, "GRAB: the share is not");
	DAMAGED(&w, ALICE, r->amount_fen, r->amount_fen + 1, "GRAB: the amount");
	DAMAGED(&w, ALICE, r->left_fen, r->left_fen + 1, "GRAB: what is left");
	DAMAGED(&w, ALICE, r->user, 0, "GRAB: there can be no such user");
	DAMAGED(&w, ALICE, r->user, ALICE, "GRAB: the user has a share");
	DAMAGED(&w, ALICE, r->order_stamp, 1, "GRAB: the order stamp");

	world_advance_ms(&w, 90000000);
	expire.target = f.target;
	e = decided(&w, &expire);
	DAMAGED(&w, ALICE, e->packet, 5, "PACKET_EXPIRE: the packet is not open");
	DAMAGED(&w, ALICE, e->packet, over, "PACKET_EXPIRE: the packet is not open");
	DAMAGED(&w, ALICE, e->refund_fen, 1, "PACKET_EXPIRE: the packet is not open");
	DAMAGED(&w, ALICE, e->order_stamp, 1, "PACKET_EXPIRE: the packet is not open");
	world_close(&w);
}

static void
test_a_damaged_transfer_or_adjustment_is_named(void **unused)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER,
					      .length = sizeof(f),
					      .target = ALICE,
					      .user = ALICE},
		.to = BOB,
		.amount_fen = 10};
	struct hb_frame_adjust g = {
		.head = {.operation = HB_OP_ADJUST, .length = sizeof(g), .target = ALICE},
		.amount_fen = 10,
		.case_id = 1,
		.maker_id = 2,
		.checker_id = 3,
		.reason = 4};
	struct hb_record_transfer *r;
	struct hb_record_adjust *a;
	static struct world w;
	uint64_t system;

	(void)unused;
	world_open(&w);
	system = hb_system_account(HB_SYSTEM_SUSPENSE, hb_partition_of(ALICE));
	g.to = system;
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->from, NOBODY, "TRANSFER: the payer");
	DAMAGED(&w, ALICE, r->amount_fen, 1001, "TRANSFER: the payer");
	DAMAGED(&w, ALICE, r->amount_fen, 0, "TRANSFER: the payer");
	DAMAGED(&w, ALICE, r->order_stamp, 1, "TRANSFER: the payer");
	DAMAGED(&w, ALICE, r->to, 0, "TRANSFER: there can be no such payee");

	a = decided(&w, &g);
	DAMAGED(&w, ALICE, a->from, ALICE + 1, "ADJUST: there is no such account");
	DAMAGED(&w, ALICE, a->from, hb_id_make(HB_ID_PACKET, hb_partition_of(ALICE), 7, 1),
		"ADJUST: there is no such");
	DAMAGED(&w, ALICE, a->to, 0, "ADJUST: there is no such account");
	DAMAGED(&w, ALICE, a->amount_fen, 0, "ADJUST: the account does not have");
	DAMAGED(&w, ALICE, a->amount_fen, HB_CREDIT_FEN_MAX + 1, "ADJUST: the account does not");
	DAMAGED(&w, ALICE, a->amount_fen, 1001, "ADJUST: the account does not have");
	DAMAGED(&w, ALICE, a->maker_id, a->checker_id, "ADJUST: maker and checker");
	DAMAGED(&w, ALICE, a->order_stamp, 1, "ADJUST: the order stamp");
	for (uint64_t id = ALICE + 1;; id++) /* somebody of the same partition, without account */
		if (hb_partition_of(id) == hb_partition_of(ALICE)) {
			DAMAGED(&w, ALICE, a->from, id, "ADJUST: the account does not have");
			break;
		}
	a->from = hb_system_account(HB_SYSTEM_FEES, hb_partition_of(ALICE));
	assert_null(hb_apply_check(home(&w, ALICE), &a->head));
	a->to = BOB;
	assert_null(hb_apply_check(home(&w, ALICE), &a->head));
	world_close(&w);
}

static void
test_a_damaged_record_of_an_account_is_named(void **unused)
{
	struct hb_frame_account_open f = {
		.head = {.operation = HB_OP_ACCOUNT_OPEN, .length = sizeof(f), .target = NOBODY},
		.kind = HB_ACCOUNT_ENTERPRISE};
	struct hb_frame_account_freeze g = {
		.head = {.operation = HB_OP_ACCOUNT_FREEZE, .length = sizeof(g), .target = ALICE}};
	struct hb_record_account_freeze *z;
	struct hb_record_account_open *r;
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, NOBODY, r->account, 0, "ACCOUNT_OPEN: there can be no such");
	DAMAGED(&w, NOBODY, r->account, NOBODY + 1, "ACCOUNT_OPEN: there can be no such");
	DAMAGED(&w, NOBODY, r->kind, HB_ACCOUNT_SYSTEM, "ACCOUNT_OPEN: there can be no such");
	z = decided(&w, &g);
	DAMAGED(&w, ALICE, z->account, NOBODY, "ACCOUNT_FREEZE: there is no such account");
	DAMAGED(&w, ALICE, z->head.type, HB_RECORD_ACCOUNT_UNFREEZE,
		"ACCOUNT_UNFREEZE: the account");
	assert_int_equal(world_freeze(&w, ALICE, true), HB_STATUS_OK);
	g.head.operation = HB_OP_ACCOUNT_UNFREEZE;
	z = decided(&w, &g);
	DAMAGED(&w, ALICE, z->account, NOBODY, "ACCOUNT_UNFREEZE: the account");
	DAMAGED(&w, ALICE, z->head.type, HB_RECORD_ACCOUNT_FREEZE, "ACCOUNT_FREEZE: there is no");
	world_close(&w);
}

static struct hb_frame_order
an_order(uint8_t operation, uint64_t stamp, int64_t amount_fen)
{
	return (struct hb_frame_order){.head = {.operation = operation,
					       .length = sizeof(struct hb_frame_order),
					       .target = ALICE},
		.order_stamp = stamp,
		.amount_fen = amount_fen,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
}

/* Open an order whose amount no order can have, as a damaged journal may. @return its stamp */
static uint64_t
strange_order(struct world *w, int64_t amount_fen)
{
	struct hb_frame_order f = an_order(HB_OP_ORDER_OPEN, 0, 10);
	struct hb_record_order_open *r = decided(w, &f);
	struct hb_credit credit;

	r->amount_fen = amount_fen;
	assert_null(hb_apply_check(home(w, ALICE), &r->head));
	hb_apply(home(w, ALICE), &r->head, &credit);
	return r->order_stamp;
}

static void
test_a_damaged_order_open_or_credit_is_named(void **unused)
{
	struct hb_frame_order f = an_order(HB_OP_ORDER_OPEN, 0, 10), g;
	const int64_t strange_fen[] = {0, HB_CREDIT_FEN_MAX + 1};
	struct hb_record_order_open *r;
	struct hb_record_credit *c;
	static struct world w;
	uint64_t open, done;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	done = w.reply.head.order_stamp;
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->order_stamp, done, "ORDER_OPEN: the order stamp");
	DAMAGED(&w, ALICE, r->account, 0, "ORDER_OPEN: there can be no such account");
	DAMAGED(&w, ALICE, r->account, NOBODY, "ORDER_OPEN: there can be no such account");
	home(&w, ALICE)->head->order_count += 3072;
	refused(&w, ALICE, "ORDER_OPEN: capacity.orders");
	home(&w, ALICE)->head->order_count -= 3072;

	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	open = w.reply.head.order_stamp;
	g = an_order(HB_OP_CREDIT, open, 10);
	c = decided(&w, &g);
	DAMAGED(&w, ALICE, c->order_stamp, 1, "CREDIT: there is no such open order");
	DAMAGED(&w, ALICE, c->order_stamp, done, "CREDIT: there is no such open order");
	DAMAGED(&w, ALICE, c->account, NOBODY, "CREDIT: there is no such open order");
	DAMAGED(&w, ALICE, c->amount_fen, 11, "CREDIT: there is no such open order");
	DAMAGED(&w, ALICE, c->channel, 7, "CREDIT: no channel");
	for (int i = 0; i < 2; i++) {
		uint64_t stamp = strange_order(&w, strange_fen[i]);

		c = decided(&w, &g);
		c->order_stamp = stamp;
		c->amount_fen = strange_fen[i];
		refused(&w, ALICE, "CREDIT: no channel can have paid this");
	}
	world_close(&w);
}

static void
test_a_damaged_hold_is_named(void **unused)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = ALICE,
					  .user = ALICE},
		.amount_fen = 10,
		.reason = HB_HOLD_CHANNEL_REFUND};
	struct hb_record_hold *r;
	static struct world w;
	uint64_t hold;

	(void)unused;
	world_open_sized(&w, &two_packets);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 100, &hold), HB_STATUS_OK);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->account, NOBODY, "HOLD: the account does not have");
	DAMAGED(&w, ALICE, r->amount_fen, 0, "HOLD: the account does not have");
	DAMAGED(&w, ALICE, r->amount_fen, 901, "HOLD: the account does not have");
	DAMAGED(&w, ALICE, r->hold_id, hold, "HOLD: the hold id");
	DAMAGED(&w, ALICE, r->hold_id, r->hold_id + HB_ID_SKIP_MAX, "HOLD: the hold id");
	DAMAGED(&w, ALICE, r->hold_id, r->hold_id ^ UINT64_C(1) << 52, "HOLD: the hold id");
	DAMAGED(&w, ALICE, r->hold_id, r->hold_id ^ UINT64_C(3) << 56, "HOLD: the hold id");
	DAMAGED(&w, ALICE, r->hold_id, r->hold_id + 1, "HOLD: capacity.holds");
	DAMAGED(&w, ALICE, home(&w, ALICE)->head->order_count, 48, "HOLD: capacity.orders");
	DAMAGED(&w, ALICE, r->reason, HB_HOLD_RECHARGE_FOR_PACKET, "HOLD: the reason");
	DAMAGED(&w, ALICE, r->order_stamp, 1, "HOLD: the order stamp");
	world_close(&w);
}

static void
test_a_damaged_exit_of_a_hold_is_named(void **unused)
{
	struct hb_frame_hold_exit f = {.head = {.operation = HB_OP_POST, .length = sizeof(f)},
		.amount_fen = 100,
		.reason = 7};
	struct hb_record_hold_exit *r;
	struct hb_order *order, kept;
	static struct world w;
	uint64_t over, stamp;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 100, &over), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_VOID, over, 100, 0), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 100, &f.head.target), HB_STATUS_OK);
	stamp = w.reply.head.order_stamp;
	assert_int_equal(world_step(&w, ALICE, stamp, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, 0), 0);
	assert_int_equal(world_step(&w, ALICE, stamp, HB_ORDER_APPROVED, HB_ORDER_SENDING, 1), 0);
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->hold_id, 5, "POST or VOID: there is no such open hold");
	DAMAGED(&w, ALICE, r->hold_id, over, "POST or VOID: there is no such open hold");
	DAMAGED(&w, ALICE, r->account, NOBODY, "POST or VOID: there is no such open hold");
	DAMAGED(&w, ALICE, r->amount_fen, 99, "POST or VOID: there is no such open hold");
	DAMAGED(&w, ALICE, r->state_after, HB_ORDER_OPEN, "POST or VOID: the order is not");
	DAMAGED(&w, ALICE, r->channel, 7, "POST: there is no such clearing account");
	DAMAGED(&w, ALICE, r->fee_fen, -1, "POST or VOID: the fee");
	DAMAGED(&w, ALICE, r->fee_fen, 101, "POST or VOID: the fee");
	f.head.operation = HB_OP_VOID;
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->fee_fen, 1, "POST or VOID: the fee");
	/* a snapshot that lost the order */
	order = hb_order_find(home(&w, ALICE), stamp);
	kept = *order;
	hbi_order_delete(home(&w, ALICE), order);
	refused(&w, ALICE, "POST or VOID: the order is not");
	*hbi_order_insert(home(&w, ALICE), stamp) = kept;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	world_close(&w);
}

static void
test_a_damaged_step_or_load_of_an_order_is_named(void **unused)
{
	struct hb_frame_order_update f = {
		.head = {.operation = HB_OP_ORDER_UPDATE, .length = sizeof(f), .target = ALICE},
		.state_before = HB_ORDER_REQUESTED,
		.state_after = HB_ORDER_APPROVED};
	struct hb_frame_order_load g = {
		.head = {.operation = HB_OP_ORDER_LOAD, .length = sizeof(g), .target = ALICE},
		.amount_fen = 10,
		.business = HB_BUSINESS_RECHARGE,
		.state = HB_ORDER_DONE};
	struct hb_record_order_update *r;
	struct hb_record_order_load *l;
	static struct world w;
	uint64_t hold;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 100, &hold), HB_STATUS_OK);
	f.order_stamp = w.reply.head.order_stamp;
	r = decided(&w, &f);
	DAMAGED(&w, ALICE, r->order_stamp, 1, "ORDER_UPDATE: the order is not");
	DAMAGED(&w, ALICE, r->account, NOBODY, "ORDER_UPDATE: the order is not");
	DAMAGED(&w, ALICE, r->state_before, HB_ORDER_OPEN, "ORDER_UPDATE: the order is not");
	DAMAGED(&w, ALICE, r->state_after, HB_ORDER_DONE, "ORDER_UPDATE: the order is not");

	g.order_stamp = f.order_stamp - 1;
	g.order_stamp = hb_order_find(home(&w, ALICE), g.order_stamp) == NULL ? g.order_stamp : 5;
	l = decided(&w, &g);
	DAMAGED(&w, ALICE, l->order_stamp, f.order_stamp, "ORDER_LOAD: the order is in memory");
	DAMAGED(&w, ALICE, l->order_stamp, 0, "ORDER_LOAD: the order is in memory");
	DAMAGED(&w, ALICE, l->order_stamp, f.order_stamp + 1, "ORDER_LOAD: no order ever");
	DAMAGED(&w, ALICE, l->state, HB_ORDER_OPEN, "ORDER_LOAD: the order is not in a final");
	DAMAGED(&w, ALICE, home(&w, ALICE)->head->order_count, 3072, "ORDER_LOAD: capacity.orders");
	world_close(&w);
}

static void
test_an_evict_of_what_is_not_over_is_named(void **unused)
{
	struct hb_record_evict *r = (void *)bytes;
	struct hb_frame mark = {.operation = HB_OP_MARK, .length = 64};
	static struct world w;
	uint64_t packet, hold, order;

	(void)unused;
	world_open(&w);
	mark.target = hb_system_account(HB_SYSTEM_FEES, hb_partition_of(ALICE));
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 10, 1, 1, &packet), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_OK);
	order = w.reply.head.order_stamp;
	decided(&w, &mark);
	DAMAGED(&w, ALICE, ((struct hb_record_mark *)(void *)bytes)->state_hash, 1,
		"MARK: the state");
	r->head.type = HB_RECORD_EVICT;
	r->object_kind = HB_OBJECT_PACKET;
	DAMAGED(&w, ALICE, r->object, packet, "EVICT: there is no such packet");
	DAMAGED(&w, ALICE, r->object, 1, "EVICT: there is no such packet");
	r->object_kind = HB_OBJECT_HOLD;
	DAMAGED(&w, ALICE, r->object, hold, "EVICT: there is no such hold");
	DAMAGED(&w, ALICE, r->object, 1, "EVICT: there is no such hold");
	r->object_kind = HB_OBJECT_ORDER;
	DAMAGED(&w, ALICE, r->object, order, "EVICT: there is no such order");
	DAMAGED(&w, ALICE, r->object, 1, "EVICT: there is no such order");
	DAMAGED(&w, ALICE, r->object_kind, 4, "EVICT: the kind of object");
	assert_int_equal(world_grab(&w, packet, BOB, GROUP), HB_STATUS_OK);
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 10, 0), HB_STATUS_OK);
	r->head.core_sequence += 2;
	r->head.time_ns = w.input.now_ns;
	r->object_kind = HB_OBJECT_PACKET;
	r->object = packet;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	r->object_kind = HB_OBJECT_HOLD;
	r->object = hold;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	r->object_kind = HB_OBJECT_ORDER;
	r->object = order;
	assert_null(hb_apply_check(home(&w, ALICE), &r->head));
	world_close(&w);
}

static void
test_tables_that_are_too_small_for_a_journal_are_named(void **unused)
{
	struct hb_frame_account_open f = {
		.head = {.operation = HB_OP_ACCOUNT_OPEN, .length = sizeof(f), .target = NOBODY},
		.kind = HB_ACCOUNT_USER,
		.idempotency_key = {1}};
	struct hb_frame_order g = an_order(HB_OP_ORDER_OPEN, 0, 10);
	struct hb_partition_head *head;
	struct hb_record_grab *r;
	struct hb_frame grab;
	static struct world w;
	uint64_t packet;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 3, 1, &packet), HB_STATUS_OK);
	decided(&w, &f);
	head = home(&w, NOBODY)->head;
	DAMAGED(&w, NOBODY, head->account_count, 4094, "capacity.accounts");
	DAMAGED(&w, NOBODY, head->account_count, 4093, "capacity.accounts");
	/* keys: as many as there may be, and the oldest is of today; when it is old, it makes room
	 */
	home(&w, NOBODY)->idempotency[0].time_ms = w.input.now_ns / 1000000;
	DAMAGED(&w, NOBODY, head->idempotency_next, 1024, "capacity.idempotency");
	home(&w, NOBODY)->idempotency[0].time_ms = 1;
	head->idempotency_next = 1024;
	assert_null(hb_apply_check(home(&w, NOBODY), (const void *)bytes));
	head->idempotency_next = 0;

	/* an account that is there needs no room */
	assert_int_equal(world_ask(&w, &g), HB_STATUS_OK);
	g = an_order(HB_OP_CREDIT, w.reply.head.order_stamp, 10);
	decided(&w, &g);
	home(&w, ALICE)->head->account_count += 4092;
	assert_null(hb_apply_check(home(&w, ALICE), (const void *)bytes));
	home(&w, ALICE)->head->account_count -= 4092;

	grab = world_grab_frame(&w, packet, BOB, GROUP, 1);
	r = decided(&w, &grab);
	DAMAGED(&w, ALICE, home(&w, ALICE)->head->window_count, 4095, "capacity.windows");
	assert_int_equal(world_ask(&w, &grab), HB_STATUS_OK);
	grab.user = NOBODY;
	r->head.core_sequence++;
	r->share_index++;
	refused(&w, ALICE, "the token's sequence was used before");
	DAMAGED(&w, ALICE, r->token.sequence, r->token.sequence - 64, "the token's sequence");
	DAMAGED(&w, ALICE, r->token.sequence, r->token.sequence - 1, "GRAB: ");
	world_close(&w);
}

static void
test_a_credit_that_no_money_covers_is_named(void **unused)
{
	struct hb_credit credit = {.account = ALICE, .amount_fen = 1};
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_null(hb_apply_credit_check(home(&w, ALICE), &credit));
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_null(hb_apply_credit_check(home(&w, ALICE), &credit));
	credit.amount_fen = 0;
	assert_non_null(hb_apply_credit_check(home(&w, ALICE), &credit));
	credit.amount_fen = HB_MONEY_FEN_CAP;
	assert_non_null(hb_apply_credit_check(home(&w, ALICE), &credit));
	credit.amount_fen = HB_MONEY_FEN_CAP + 1;
	assert_non_null(hb_apply_credit_check(home(&w, ALICE), &credit));
	credit.account = NOBODY;
	credit.amount_fen = 1;
	home(&w, NOBODY)->head->account_count = 4094;
	assert_non_null(hb_apply_credit_check(home(&w, NOBODY), &credit));
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_record_of_another_ring_sequence_or_time_is_named),
		cmocka_unit_test(test_a_damaged_packet_create_is_named),
		cmocka_unit_test(test_a_damaged_grab_is_named),
		cmocka_unit_test(test_a_damaged_transfer_or_adjustment_is_named),
		cmocka_unit_test(test_a_damaged_record_of_an_account_is_named),
		cmocka_unit_test(test_a_damaged_order_open_or_credit_is_named),
		cmocka_unit_test(test_a_damaged_hold_is_named),
		cmocka_unit_test(test_a_damaged_exit_of_a_hold_is_named),
		cmocka_unit_test(test_a_damaged_step_or_load_of_an_order_is_named),
		cmocka_unit_test(test_an_evict_of_what_is_not_over_is_named),
		cmocka_unit_test(test_tables_that_are_too_small_for_a_journal_are_named),
		cmocka_unit_test(test_a_credit_that_no_money_covers_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
