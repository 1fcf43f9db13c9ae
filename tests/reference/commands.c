/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random commands for a world: mostly ones that succeed, few keys so that they meet, and steps of
 * the clock to just before, at and behind what matters. Everything is drawn from the world's seed.
 */
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/node.h"
#include "tests/reference/world.h"

#define START_NS  (UINT64_C(1795392000) * 1000000000)
#define MS_NS	  UINT64_C(1000000)
#define S_NS	  UINT64_C(1000000000)
#define DAY_S	  86400
#define LARGE_MIN 1020 /* shares: about as many as one record draws */

#define PICK(w, list, count)                                                                       \
	((list)[world_below((w), (count) < sizeof(list) / sizeof((list)[0])                        \
					 ? (uint32_t)(count)                                       \
					 : (uint32_t)(sizeof(list) / sizeof((list)[0])))])
#define PUSH(list, count) (&(list)[(count)++ % (sizeof(list) / sizeof((list)[0]))])

void
commands_begin(struct world *w)
{
	bool tight = world_one_in(w, 8);
	bool crowded = world_one_in(w, 16); /* the account table gets down to its reserve */
	uint32_t parts = crowded ? 1 : 1u << world_below(w, 3);
	uint32_t users = crowded ? WORLD_USERS_MAX : tight ? 8 : 24;
	uint32_t homes[4];

	w->capacity = (struct hb_capacity){.accounts = 64,
		.packets = tight ? 8 : 32,
		.arena_bytes = 1 << 19,
		.windows = 4096,
		.orders = tight ? 32 : 256,
		.idempotency = tight ? 64 : 2048,
		.holds = tight ? 8 : 32};
	for (uint32_t i = 0; i < parts; i++)
		homes[i] = world_below(w, HB_PARTITION_COUNT);
	for (uint64_t id = 1000; w->user_count < users; id++) {
		uint32_t home = world_below(w, parts);

		while (model_partition(id) != homes[home])
			id++;
		w->users[w->user_count++] = id;
	}
	for (uint32_t i = 0; i < w->user_count; i++)
		w->partitions |= (uint16_t)(1u << model_partition(w->users[i]));
	w->config.token_keys.count = 1 + world_below(w, 3);
	for (uint32_t i = 0; i < w->config.token_keys.count; i++) {
		memset(w->config.token_keys.key[i], (int)(i + 1), HB_TOKEN_KEY_BYTES);
		w->config.token_keys.until_s[i] = START_NS / S_NS + world_below(w, 7200);
	}
	w->config.packet_total_fen_max = 100000;
	w->config.packet_count_max = 2000;
	w->config.packet_lifetime_s_max = 7 * DAY_S;
	w->config.order_version = 1 + world_below(w, 2);
	w->config.tokens_required = !world_one_in(w, 8);
	w->input.config = &w->config;
	w->input.now_ns = START_NS + world_random(w) % (DAY_S * S_NS);
	w->large_left = 2;
	w->check_records = world_one_in(w, 8);
}

/* ---- the clock and the node ---- */

/* To a deadline: to the millisecond before it, to it, or to the last nanosecond of it. */
static void
clock_to(struct world *w, uint64_t ms)
{
	uint64_t at_ns = ms * MS_NS;

	if (world_one_in(w, 3))
		at_ns -= 1;
	else if (world_one_in(w, 2))
		at_ns += MS_NS - 1;
	if (at_ns > w->input.now_ns)
		w->input.now_ns = at_ns;
}

static void
clock_jump(struct world *w)
{
	uint64_t id, deadline_ms;
	bool open;

	switch (world_below(w, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (model_pick(w->model, HB_OBJECT_PACKET, world_random(w), &id, &deadline_ms,
			    &open) &&
			open)
			clock_to(w, deadline_ms);
		break;
	case 5:
		if (model_pick(
			    w->model, HB_OBJECT_HOLD, world_random(w), &id, &deadline_ms, &open) &&
			open)
			clock_to(w, deadline_ms);
		break;
	case 6:
	case 7:
	case 8:
		if (w->token_count > 0)
			clock_to(w, (PICK(w, w->tokens, w->token_count).expiry_s +
					    UINT64_C(1) * world_below(w, 2)) *
					    1000);
		break;
	case 9:
		clock_to(w, w->config.token_keys.until_s[1] * 1000 + 1000);
		break;
	case 10: /* to where a key of seven days ago is just kept, or not any more */
		w->input.now_ns += UINT64_C(7) * DAY_S * S_NS - world_below(w, 3) * MS_NS;
		break;
	case 11: /* days begin in Beijing at 16:00 UTC */
		w->input.now_ns += DAY_S * S_NS -
				   (w->input.now_ns + 8 * 3600 * S_NS) % (DAY_S * S_NS) -
				   world_below(w, 2);
		break;
	case 12:
		w->input.now_ns -= world_random(w) % (3600 * S_NS);
		break;
	default:
		w->input.now_ns += world_random(w) % (600 * S_NS);
	}
}

static void
clock_move(struct world *w)
{
	uint32_t draw = world_below(w, 256);

	if (draw < 48)
		w->input.now_ns += world_random(w) % (2 * MS_NS);
	else if (draw < 60)
		w->input.now_ns += world_random(w) % S_NS;
	else if (draw < 62)
		w->input.now_ns += world_random(w) % (60 * S_NS);
	else if (draw == 62)
		clock_jump(w);
}

static void
rotate_keys(struct world *w)
{
	struct hb_token_keys *keys = &w->config.token_keys;

	memmove(keys->key[1], keys->key[0], sizeof(keys->key[0]) * (HB_TOKEN_KEYS_MAX - 1));
	memmove(&keys->until_s[1], &keys->until_s[0],
		sizeof(keys->until_s[0]) * (HB_TOKEN_KEYS_MAX - 1));
	memset(keys->key[0], (int)world_below(w, 256), HB_TOKEN_KEY_BYTES);
	keys->until_s[1] = w->input.now_ns / S_NS + world_below(w, 4000);
	keys->count = keys->count < HB_TOKEN_KEYS_MAX ? keys->count + 1 : HB_TOKEN_KEYS_MAX;
}

/* How the node is doing: nearly always well. */
static void
levels_move(struct world *w)
{
	switch (world_below(w, 1024)) {
	case 0:
		w->input.storage_level = world_below(w, 4);
		break;
	case 1:
		w->input.degrade_level = world_below(w, HB_DEGRADE_COUNT);
		break;
	case 2:
		w->input.clock_stopped = true;
		break;
	case 3:
		w->config.order_version = 1 + world_below(w, 2);
		break;
	case 4:
		if (world_one_in(w, 4))
			rotate_keys(w);
		break;
	default:
		if (world_one_in(w, 32)) {
			w->input.storage_level = 0;
			w->input.degrade_level = 0;
			w->input.clock_stopped = false;
		}
	}
}

/* ---- parts of frames ---- */

static uint64_t
a_user(struct world *w)
{
	uint32_t draw = world_below(w, 64);

	if (draw == 0)
		return world_below(w, 3) * HB_ACCOUNT_MAX; /* 0, the last, one too many */
	return w->users[world_below(w, w->user_count)];
}

static uint64_t
a_system_account(struct world *w)
{
	return hb_system_account(1 + world_below(w, world_one_in(w, 16) ? 7 : 6),
		model_partition(w->users[world_below(w, w->user_count)]));
}

static uint64_t
a_packet(struct world *w)
{
	uint32_t draw = world_below(w, 64);
	uint32_t newest = w->packet_count;

	if (draw == 0 || newest == 0) /* one that there is not, or not yet */
		return hb_id_make(HB_ID_PACKET, model_partition(w->users[0]),
			world_one_in(w, 4) ? 3 : 7, world_below(w, 2000));
	if (draw < 4)
		return PICK(w, w->packets, newest);
	return w->packets[(newest - 1 - world_below(w, newest < 6 ? newest : 6)) % WORLD_PACKETS];
}

static struct known_hold
a_hold(struct world *w)
{
	if (w->hold_count > 0 && !world_one_in(w, 64))
		return PICK(w, w->holds, w->hold_count);
	return (struct known_hold){.id = hb_id_make(HB_ID_HOLD, model_partition(w->users[0]),
					   world_one_in(w, 4) ? 3 : 7, world_below(w, 500)),
		.amount_fen = 1};
}

static struct known_order
an_order(struct world *w)
{
	if (w->order_count > 0 && !world_one_in(w, 64))
		return PICK(w, w->orders, w->order_count);
	return (struct known_order){
		.account = a_user(w), .stamp = w->last_stamp + world_below(w, 2), .amount_fen = 1};
}

static int64_t
an_amount(struct world *w, int64_t usual)
{
	static const int64_t strange[] = {0, -1, 1, INT64_MAX, INT64_MIN, HB_CREDIT_FEN_MAX,
		HB_CREDIT_FEN_MAX + 1, HB_MONEY_FEN_CAP};

	if (world_one_in(w, 64))
		return PICK(w, strange, 8);
	if (world_one_in(w, 16))
		return w->balance_fen + world_below(w, 2);
	return 1 + (int64_t)world_below(w, (uint32_t)usual);
}

static void
a_key(struct world *w, uint8_t key[16])
{
	uint64_t *made;

	if (world_one_in(w, 2))
		return;
	if (w->key_count > 0 && world_one_in(w, 12)) {
		memcpy(key + 8 * world_below(w, 2), &PICK(w, w->keys, w->key_count), 8);
		return;
	}
	made = PUSH(w->keys, w->key_count);
	*made = 1 + w->counter++;
	memcpy(key, made, 8);
}

/* A sequence of a token: mostly the next, else one at an edge of what may be. */
static uint32_t
a_sequence(struct world *w, const struct known_token *t)
{
	static const int32_t edges[] = {0, 0, -1, 2, 3, 1024, 1025, -62, -63, -64, -65, -1023};

	if (world_one_in(w, 4))
		return t->last + (uint32_t)PICK(w, edges, 12);
	if (world_one_in(w, 32))
		return t->initial + world_below(w, 2);
	return t->last + 1;
}

static struct known_token *
mint(struct world *w, const struct hb_frame *f)
{
	const struct hb_token_keys *keys = &w->config.token_keys;
	const uint8_t *key = keys->key[world_one_in(w, 16) ? world_below(w, keys->count) : 0];
	struct known_token *t = PUSH(w->tokens, w->token_count);
	uint64_t ms = w->input.now_ns / MS_NS;

	t->id = ms << 14 | w->token_minted++ % 10000;
	t->user = f->user;
	t->target = f->target;
	t->operation = f->operation;
	t->expiry_s = (uint32_t)(ms / 1000) + HB_TOKEN_LIFETIME_S;
	t->mac = model_token_mac(key, t->id, t->user, t->target, t->expiry_s, t->operation);
	t->initial = model_token_initial(key, t->id, t->user);
	t->last = t->initial;
	return t;
}

/* A money token for this frame: a new one, or one that was used, with its user and target. */
static void
add_token(struct world *w, struct hb_frame *f)
{
	struct known_token *t;

	w->used_token = NULL;
	if (w->input.trusted && !world_one_in(w, 4))
		return;
	if (world_one_in(w, 64))
		return;
	t = w->token_count > 0 && world_one_in(w, 2) ? &PICK(w, w->tokens, w->token_count) : NULL;
	if (t == NULL || (t->operation != f->operation && !world_one_in(w, 64)))
		t = mint(w, f);
	if (t->operation == f->operation) {
		f->user = t->user;
		f->target = t->target;
	}
	f->token_id = t->id;
	f->token_mac = t->mac;
	f->token_expiry_s = t->expiry_s;
	f->sequence = a_sequence(w, t);
	w->used_token = t;
	switch (world_below(w, 256)) {
	case 0:
		f->token_mac ^= UINT64_C(1) << world_below(w, 64);
		break;
	case 1:
		f->user = a_user(w);
		break;
	case 2:
		f->token_expiry_s += 1;
		break;
	}
}

/* ---- frames ---- */

static void
make_grab(struct world *w, union frame *f)
{
	uint64_t recipient = 0;

	f->head.target = a_packet(w);
	for (uint32_t i = 0; i < w->packet_count && i < WORLD_PACKETS; i++)
		if (w->packets[i] == f->head.target)
			recipient = w->recipients[i];
	f->head.user = recipient != 0 && !world_one_in(w, 8) ? recipient : a_user(w);
	f->head.group = world_one_in(w, 16) ? world_below(w, 3) : 1;
	add_token(w, &f->head);
}

static void
make_create(struct world *w, union frame *f)
{
	static const uint32_t lives_s[] = {0, 0, 1, 60, 600, 3600, 7 * DAY_S, 7 * DAY_S + 1};
	struct hb_frame_packet_create *c = &f->create;
	bool large = w->large_left > 0 && world_one_in(w, 64);

	f->head.user = f->head.target = a_user(w);
	a_key(w, c->idempotency_key);
	c->kind = world_one_in(w, 8) ? HB_PACKET_NORMAL : HB_PACKET_LUCKY;
	c->algorithm = (uint8_t)world_below(w, world_one_in(w, 32) ? 4 : 3);
	c->count = 1 + world_below(w, world_one_in(w, 8) ? 40 : 12);
	c->total_fen = an_amount(w, 1500);
	if (large) {
		w->large_left--;
		c->kind = HB_PACKET_LUCKY;
		c->count = LARGE_MIN + world_below(w, 20);
		c->total_fen = 2000;
	}
	if (c->kind == HB_PACKET_NORMAL && !world_one_in(w, 32)) {
		c->count = 1;
		c->recipient = a_user(w);
	} else {
		f->head.group = 1 + world_one_in(w, 16);
	}
	if (world_one_in(w, 4))
		c->share_min_fen = 1 + world_below(w, 20);
	if (world_one_in(w, 4))
		c->share_max_fen = 1 + world_below(w, 300);
	c->lifetime_s = PICK(w, lives_s, 8);
	if (world_one_in(w, 4)) {
		c->greeting_length = (uint8_t)(1 + world_below(w, 128));
		memset(c->greeting, 'a' + (int)world_below(w, 26), c->greeting_length);
	}
	add_token(w, &f->head);
}

static void
make_transfer(struct world *w, union frame *f)
{
	f->head.user = f->head.target = a_user(w);
	a_key(w, f->transfer.idempotency_key);
	f->transfer.to = a_user(w);
	f->transfer.amount_fen = an_amount(w, 200);
	add_token(w, &f->head);
}

static void
make_order(struct world *w, union frame *f)
{
	struct hb_frame_order *o = &f->order;

	if (f->head.operation == HB_OP_ORDER_OPEN) {
		f->head.target = a_user(w);
		a_key(w, o->idempotency_key);
		o->amount_fen = an_amount(w, 5000);
		o->business = world_one_in(w, 64) ? 11 : 10;
		o->channel = (uint16_t)(1 + world_below(w, world_one_in(w, 32) ? 5 : 4));
		o->product = world_below(w, 2);
		o->purpose_id = world_one_in(w, 64);
	} else {
		struct known_order known = an_order(w);

		f->head.target = world_one_in(w, 64) ? a_user(w) : known.account;
		o->order_stamp = known.stamp;
		o->amount_fen = known.amount_fen + world_one_in(w, 64);
	}
}

static void
make_open(struct world *w, union frame *f)
{
	f->head.target = a_user(w);
	a_key(w, f->open.idempotency_key);
	f->open.kind = (uint8_t)(1 + world_below(w, world_one_in(w, 8) ? 4 : 2));
}

static void
make_freeze(struct world *w, union frame *f)
{
	f->head.target = a_user(w);
	a_key(w, f->freeze.idempotency_key);
	f->freeze.case_id = world_below(w, 3);
	f->freeze.operator_id = world_below(w, 3);
}

static void
make_hold(struct world *w, union frame *f)
{
	static const uint32_t lives_s[] = {0, 0, 1, 60, 3600, 86400, 7776000, 7776001};

	f->head.user = f->head.target = a_user(w);
	a_key(w, f->hold.idempotency_key);
	f->hold.amount_fen = an_amount(w, 100);
	f->hold.reason = world_one_in(w, 16) ? world_below(w, 5) : world_one_in(w, 3) ? 3 : 1;
	f->hold.lifetime_s = PICK(w, lives_s, 8);
	/* there are no tokens for holds: control asks */
	if (world_one_in(w, 8))
		add_token(w, &f->head);
}

/* Fees and reasons are few: the engine tells them apart by 16 bits. */
static void
make_exit(struct world *w, union frame *f)
{
	struct known_hold known = a_hold(w);

	f->head.target = known.id;
	f->hold_exit.amount_fen = known.amount_fen + world_one_in(w, 64);
	f->hold_exit.reason = world_one_in(w, 32) ? 0 : 1 + world_below(w, 2);
	if (f->head.operation == HB_OP_POST)
		f->hold_exit.fee_fen = world_one_in(w, 32) ? -1 : (int64_t)world_below(w, 3);
}

static void
make_update(struct world *w, union frame *f)
{
	static const uint8_t after_open[] = {HB_ORDER_SENDING, HB_ORDER_SENDING, HB_ORDER_FAILED};
	struct known_order known = an_order(w);
	struct hb_frame_order_update *u = &f->update;

	f->head.target = world_one_in(w, 64) ? a_user(w) : known.account;
	a_key(w, u->idempotency_key);
	u->order_stamp = known.stamp;
	u->state_before = world_one_in(w, 32) ? (uint8_t)world_below(w, 9) : known.state;
	u->operator_id = world_below(w, 2);
	u->reason = world_below(w, 3);
	switch (known.state) {
	case HB_ORDER_OPEN:
		u->state_after = PICK(w, after_open, 3);
		break;
	case HB_ORDER_REQUESTED:
		u->state_after = HB_ORDER_APPROVED;
		break;
	case HB_ORDER_APPROVED:
		u->state_after = HB_ORDER_SENDING;
		break;
	default:
		u->state_after = (uint8_t)world_below(w, 10);
	}
	if (world_one_in(w, 16))
		u->state_after = (uint8_t)world_below(w, 10);
	u->attempt = known.attempt;
	if (u->state_after == HB_ORDER_SENDING) {
		u->attempt++;
		u->channel = (uint16_t)(1 + world_below(w, world_one_in(w, 16) ? 5 : 4));
	}
	if (world_one_in(w, 32))
		u->attempt++;
	if (world_one_in(w, 4))
		memcpy(u->channel_reference, "REFERENCE", 1 + world_below(w, 9));
}

static void
make_load(struct world *w, union frame *f)
{
	static const uint8_t states[] = {2, 7, 8, 2, 7, 8, 1, 3};
	struct known_order known = an_order(w);
	struct hb_frame_order_load *l = &f->load;

	f->head.target = known.account;
	l->order_stamp = world_one_in(w, 8) ? w->last_stamp : known.stamp;
	l->amount_fen = world_one_in(w, 32) ? an_amount(w, 10) : known.amount_fen;
	l->state = world_one_in(w, 8) ? PICK(w, states, 8) : known.state;
	l->settled_fen = l->state == HB_ORDER_DONE ? l->amount_fen : 0;
	if (world_one_in(w, 32))
		l->settled_fen = an_amount(w, 10);
	if (world_one_in(w, 16))
		l->refunded_fen = an_amount(w, 10);
	l->hold_id = known.hold;
	l->business = world_one_in(w, 32) ? (uint16_t)(9 + 91 * world_below(w, 2))
					  : (known.hold != 0 ? 11 : 10);
	l->channel = (uint16_t)world_below(w, 3);
}

static void
make_adjust(struct world *w, union frame *f)
{
	struct hb_frame_adjust *a = &f->adjust;

	f->head.target = world_one_in(w, 2) ? a_system_account(w) : a_user(w);
	a_key(w, a->idempotency_key);
	a->to = world_one_in(w, 2) ? a_system_account(w) : a_user(w);
	a->amount_fen = an_amount(w, 1000);
	a->case_id = !world_one_in(w, 64);
	a->maker_id = world_below(w, 16);
	a->checker_id = world_below(w, 16);
	a->reason = !world_one_in(w, 64);
}

static void
make_other(struct world *w, union frame *f)
{
	switch (f->head.operation) {
	case HB_OP_PACKET_DETAIL:
		f->detail.claim_first =
			world_one_in(w, 4) ? world_below(w, 48) : world_one_in(w, 64) * UINT32_MAX;
		f->head.target = a_packet(w);
		f->head.user = a_user(w);
		f->head.group = world_below(w, 3);
		break;
	case HB_OP_BALANCE:
		f->head.target = world_one_in(w, 8) ? a_system_account(w) : a_user(w);
		break;
	case HB_OP_TOKEN_ISSUE:
		f->token.for_operation = (uint8_t)(1 + world_below(w, 2));
		if (world_one_in(w, 4))
			f->token.for_operation = (uint8_t)world_below(w, 8);
		f->head.target = f->token.for_operation == HB_OP_GRAB ? a_packet(w) : a_user(w);
		f->head.user = f->token.for_operation == HB_OP_GRAB || world_one_in(w, 16)
				       ? a_user(w)
				       : f->head.target;
		break;
	case HB_OP_PACKET_EXPIRE:
		f->head.target = a_packet(w);
		break;
	case HB_OP_HOLD_QUERY:
		f->head.target = a_hold(w).id;
		break;
	default:
		f->head.target = a_system_account(w);
	}
}

/* How often each operation is asked, of 1024. */
static const struct {
	uint16_t weight;
	uint8_t operation;
	uint8_t length;
	void (*make)(struct world *w, union frame *f);
} mix[] = {
	{400, HB_OP_GRAB, 1, make_grab},
	{50, HB_OP_PACKET_CREATE, 4, make_create},
	{48, HB_OP_PACKET_DETAIL, 2, make_other},
	{50, HB_OP_BALANCE, 1, make_other},
	{100, HB_OP_TRANSFER, 2, make_transfer},
	{12, HB_OP_TOKEN_ISSUE, 2, make_other},
	{16, HB_OP_ACCOUNT_OPEN, 2, make_open},
	{44, HB_OP_ORDER_OPEN, 2, make_order},
	{56, HB_OP_CREDIT, 2, make_order},
	{20, HB_OP_ORDER_QUERY, 2, make_order},
	{14, HB_OP_PACKET_EXPIRE, 1, make_other},
	{6, HB_OP_ACCOUNT_FREEZE, 2, make_freeze},
	{18, HB_OP_ACCOUNT_UNFREEZE, 2, make_freeze},
	{36, HB_OP_HOLD, 2, make_hold},
	{24, HB_OP_POST, 2, make_exit},
	{16, HB_OP_VOID, 2, make_exit},
	{14, HB_OP_HOLD_QUERY, 1, make_other},
	{64, HB_OP_ORDER_UPDATE, 3, make_update},
	{12, HB_OP_ORDER_LOAD, 2, make_load},
	{18, HB_OP_ADJUST, 2, make_adjust},
	{1, HB_OP_MARK, 1, make_other},
	{1, HB_OP_TOKEN_ASK, 2, make_other},
	{1, HB_OP_TOKEN_TAKE, 1, make_other},
	{1, HB_OP_CLOCK_CONFIRM, 1, make_other},
	{1, HB_OP_AUDIT, 1, make_other},
	{1, HB_OP_DEGRADE, 2, make_other},
};

static void
make_new(struct world *w, union frame *f)
{
	uint32_t draw = world_below(w, 1024), i = 0;

	while (draw >= mix[i].weight && i + 1 < sizeof(mix) / sizeof(mix[0]))
		draw -= mix[i++].weight;
	memset(f, 0, (size_t)mix[i].length * 64);
	f->head.version = HB_FRAME_VERSION;
	f->head.operation = mix[i].operation;
	f->head.length = (uint16_t)(mix[i].length * 64);
	f->head.correlation = w->operation;
	w->used_token = NULL;
	mix[i].make(w, f);
}

/* One byte of a frame becomes another. */
static void
damage(struct world *w, union frame *f)
{
	uint32_t at = world_below(w, f->head.length);
	bool exit = f->head.operation == HB_OP_POST || f->head.operation == HB_OP_VOID;

	if (world_one_in(w, 2))
		at = world_below(w, f->head.length > 64 ? 128 : 64);
	if (exit && at >= 72 && at < 84)
		return;
	f->bytes[at] = world_one_in(w, 2) ? (uint8_t)world_random(w)
					  : (uint8_t)(f->bytes[at] ^ 1u << world_below(w, 8));
}

void
commands_next(struct world *w, union frame *f)
{
	clock_move(w);
	levels_move(w);
	w->input.trusted = world_below(w, 10) < 3;
	if (w->frame_count > 0 && world_one_in(w, 12)) {
		*f = PICK(w, w->frames, w->frame_count); /* once more, as after a time-out */
		w->used_token = NULL;
	} else {
		make_new(w, f);
		if (f->head.operation != HB_OP_BALANCE && f->head.operation != HB_OP_PACKET_DETAIL)
			memcpy(PUSH(w->frames, w->frame_count), f, f->head.length);
	}
	if (world_one_in(w, 48))
		damage(w, f);
	w->input.token_id = w->input.now_ns / MS_NS << 14 | w->counter % 10000;
	if (f->head.operation == HB_OP_PACKET_CREATE)
		for (int i = 0; i < 4; i++) {
			uint64_t r = world_random(w);

			memcpy(w->input.seed + 8 * i, &r, 8);
		}
}

static struct known_order *
known_order(struct world *w, uint64_t account, uint64_t stamp)
{
	for (uint32_t i = 0; i < w->order_count && i < WORLD_ORDERS; i++)
		if (w->orders[i].stamp == stamp && w->orders[i].account == account)
			return &w->orders[i];
	return NULL;
}

static void
learn_of_order(struct world *w, uint64_t stamp, uint8_t state, uint16_t attempt)
{
	for (uint32_t i = 0; i < w->order_count && i < WORLD_ORDERS; i++)
		if (w->orders[i].stamp == stamp) {
			w->orders[i].state = state;
			if (attempt != UINT16_MAX)
				w->orders[i].attempt = attempt;
		}
}

/* Something that was not there before. */
static void
learn_new(struct world *w, const union frame *f, const struct hb_reply *reply)
{
	switch (f->head.operation) {
	case HB_OP_PACKET_CREATE:
		w->recipients[w->packet_count % WORLD_PACKETS] = f->create.recipient;
		*PUSH(w->packets, w->packet_count) = reply->id;
		break;
	case HB_OP_ORDER_OPEN:
		*PUSH(w->orders, w->order_count) = (struct known_order){.account = f->head.target,
			.stamp = reply->order_stamp,
			.amount_fen = reply->amount_fen,
			.state = HB_ORDER_OPEN};
		break;
	case HB_OP_HOLD:
		*PUSH(w->holds, w->hold_count) = (struct known_hold){.id = reply->id,
			.account = f->head.target,
			.order = reply->order_stamp,
			.amount_fen = reply->amount_fen};
		*PUSH(w->orders, w->order_count) = (struct known_order){.account = f->head.target,
			.stamp = reply->order_stamp,
			.hold = reply->id,
			.amount_fen = reply->amount_fen,
			.state = HB_ORDER_REQUESTED};
		break;
	default:
		break;
	}
}

void
commands_learn(struct world *w, const union frame *f)
{
	const struct hb_reply *reply = &w->said.head;
	bool order_reply = f->head.operation == HB_OP_ORDER_UPDATE && reply->index != 0;

	if (order_reply && known_order(w, f->head.target, f->update.order_stamp) != NULL)
		learn_of_order(
			w, f->update.order_stamp, (uint8_t)reply->index, (uint16_t)reply->count);
	if (reply->status != HB_STATUS_OK)
		return;
	if (reply->order_stamp != 0)
		w->last_stamp = reply->order_stamp;
	if (w->used_token != NULL && w->used_token->operation == f->head.operation &&
		f->head.sequence > w->used_token->last && (reply->flags & HB_REPLY_ALREADY) == 0)
		w->used_token->last = f->head.sequence;
	if (f->head.operation == HB_OP_BALANCE) {
		w->balance_fen = reply->amount_fen;
	} else if (f->head.operation == HB_OP_CREDIT) {
		learn_of_order(w, reply->order_stamp, HB_ORDER_DONE, UINT16_MAX);
	} else if (f->head.operation == HB_OP_POST || f->head.operation == HB_OP_VOID) {
		learn_of_order(w, reply->order_stamp, w->said.hold.order_state, UINT16_MAX);
	} else if ((reply->flags & HB_REPLY_ALREADY) == 0) {
		learn_new(w, f, reply);
	}
}
