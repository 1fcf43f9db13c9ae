/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the engine's tests: see world.h. */
#include "tests/engine/world.h"

#include <stdlib.h>
#include <string.h>

#define WORLD_START_NS (UINT64_C(1795392000) * 1000000000)

void
world_open(struct world *w)
{
	const struct hb_capacity capacity = {.accounts = 4096,
		.packets = 4096,
		.arena_bytes = 1 << 22,
		.windows = 4096,
		.orders = 4096,
		.idempotency = 1024,
		.holds = 1024};

	world_open_sized(w, &capacity);
}

void
world_open_sized(struct world *w, const struct hb_capacity *capacity)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(hb_state_create(&w->state, capacity, 7), 0);
	memcpy(w->config.token_keys.key[0], "0123456789abcdef", HB_TOKEN_KEY_BYTES);
	w->config.token_keys.count = 1;
	w->config.packet_total_fen_max = 20000000;
	w->config.packet_count_max = 10000;
	w->config.packet_lifetime_s_max = 7 * 86400;
	w->input.config = &w->config;
	w->input.now_ns = WORLD_START_NS;
	w->journal_room = 1 << 20;
	w->journal = malloc(w->journal_room);
	assert_non_null(w->journal);
	w->random = 1;
}

void
world_close(struct world *w)
{
	hb_state_close(&w->state);
	free(w->journal);
}

void
world_forget(struct world *w, uint32_t partition)
{
	/* Partitions lie one behind the other, their heads first; the last one is as long. */
	const uint8_t *first = (const uint8_t *)w->state.partition[0].head;
	size_t bytes = (size_t)((const uint8_t *)w->state.partition[1].head - first);

	memset(w->state.partition[partition].head, 0, bytes);
	memset(&w->state.partition[partition].audit, 0, sizeof(w->state.partition[0].audit));
}

/* splitmix64: good enough to drive tests, and its seed is printed. */
uint64_t
world_random(struct world *w)
{
	w->random += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(w->random);
}

void
world_advance_ms(struct world *w, uint64_t ms)
{
	w->input.now_ns += ms * 1000000;
}

static void
journal_append(struct world *w, const uint8_t *bytes, uint32_t length)
{
	if (w->journal_bytes + length > w->journal_room) {
		w->journal_room *= 2;
		w->journal = realloc(w->journal, w->journal_room);
		assert_non_null(w->journal);
	}
	memcpy(w->journal + w->journal_bytes, bytes, length);
	w->journal_bytes += length;
}

static void
take_records(struct world *w, struct hb_partition *p, const struct hb_decision *decision)
{
	uint32_t at = 0;

	journal_append(w, decision->records, decision->record_bytes);
	for (uint32_t i = 0; i < decision->record_count; i++) {
		const struct hb_record *record = (const void *)(decision->records + at);
		struct hb_credit credit;

		assert_null(hb_record_verify(record, decision->record_bytes - at));
		assert_null(hb_apply_check(p, record));
		hb_apply(p, record, &credit);
		if (credit.account != 0) {
			assert_true(w->waiting_count < WORLD_CREDITS_MAX);
			w->waiting[w->waiting_count].from = p->number;
			w->waiting[w->waiting_count++].credit = credit;
		}
		at += record->length;
		w->record_count++;
	}
	assert_int_equal(at, decision->record_bytes);
}

enum hb_status
world_ask(struct world *w, void *frame_bytes)
{
	_Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX];
	struct hb_frame *frame = frame_bytes;
	struct hb_partition *p = &w->state.partition[hb_partition_of(frame->target)];
	struct hb_decision decision = {.records = records, .reply = &w->reply.head};
	enum hb_status status;

	frame->version = HB_FRAME_VERSION;
	frame->issued_s = (uint32_t)(w->input.now_ns / 1000000000);
	status = hb_frame_check(frame, frame->length);
	if (status != HB_STATUS_OK)
		return status;
	for (int i = 0; i < 4; i++) {
		uint64_t r = world_random(w);

		memcpy(w->input.seed + 8 * i, &r, 8);
	}
	w->input.token_id = w->input.now_ns / 1000000 << 14 | (w->token_counter++ % 10000);
	hb_prefetch_head(p, frame);
	hb_prefetch_claims(p, frame);
	hb_decide(p, frame, &w->input, &decision);
	take_records(w, p, &decision);
	return (enum hb_status)w->reply.head.status;
}

void
world_deliver(struct world *w)
{
	for (uint32_t i = 0; i < w->waiting_count; i++)
		hb_apply_credit(&w->state.partition[hb_partition_of(w->waiting[i].credit.account)],
			w->waiting[i].from, &w->waiting[i].credit);
	w->waiting_count = 0;
}

enum hb_status
world_fund(struct world *w, uint64_t account, int64_t amount_fen)
{
	struct hb_frame_account_open open = {.head = {.operation = HB_OP_ACCOUNT_OPEN,
						     .length = sizeof(open),
						     .target = account},
		.kind = HB_ACCOUNT_USER};
	struct hb_frame_order order = {
		.head = {.operation = HB_OP_ORDER_OPEN, .length = sizeof(order), .target = account},
		.amount_fen = amount_fen,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
	enum hb_status status = world_ask(w, &open);

	if (status != HB_STATUS_OK && status != HB_STATUS_ACCOUNT_EXISTS)
		return status;
	status = world_ask(w, &order);
	if (status != HB_STATUS_OK)
		return status;
	order.head.operation = HB_OP_CREDIT;
	order.order_stamp = w->reply.head.order_stamp;
	return world_ask(w, &order);
}

enum hb_status
world_send(struct world *w, uint64_t sender, uint64_t group, int64_t total_fen, uint32_t count,
	uint8_t algorithm, uint64_t *packet)
{
	struct hb_frame_packet_create f = {.head = {.operation = HB_OP_PACKET_CREATE,
						   .length = sizeof(f),
						   .target = sender,
						   .user = sender,
						   .group = group},
		.kind = HB_PACKET_LUCKY,
		.algorithm = algorithm,
		.count = count,
		.total_fen = total_fen};
	enum hb_status status = world_ask(w, &f);

	*packet = w->reply.head.id;
	return status;
}

enum hb_status
world_grab(struct world *w, uint64_t packet, uint64_t user, uint64_t group)
{
	struct hb_frame f = {.operation = HB_OP_GRAB,
		.length = sizeof(f),
		.target = packet,
		.user = user,
		.group = group};

	return world_ask(w, &f);
}

enum hb_status
world_hold(struct world *w, uint64_t account, int64_t amount_fen, uint64_t *hold)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = account,
					  .user = account},
		.amount_fen = amount_fen,
		.lifetime_s = w->hold_lifetime_s,
		.reason = HB_HOLD_WITHDRAWAL};
	enum hb_status status = world_ask(w, &f);

	*hold = w->reply.head.id;
	return status;
}

enum hb_status
world_exit(struct world *w, uint8_t operation, uint64_t hold, int64_t amount_fen, int64_t fee_fen)
{
	struct hb_frame_hold_exit f = {
		.head = {.operation = operation, .length = sizeof(f), .target = hold},
		.amount_fen = amount_fen,
		.fee_fen = fee_fen,
		.reason = 7};

	return world_ask(w, &f);
}

enum hb_status
world_step(struct world *w, uint64_t account, uint64_t order_stamp, uint8_t before, uint8_t after,
	uint16_t attempt)
{
	struct hb_frame_order_update f = {
		.head = {.operation = HB_OP_ORDER_UPDATE, .length = sizeof(f), .target = account},
		.order_stamp = order_stamp,
		.state_before = before,
		.state_after = after,
		.attempt = attempt,
		.channel = after == HB_ORDER_SENDING ? HB_SYSTEM_CLEARING_MANUAL : 0};

	return world_ask(w, &f);
}

enum hb_status
world_freeze(struct world *w, uint64_t account, bool freeze)
{
	struct hb_frame_account_freeze f = {
		.head = {.operation = freeze ? HB_OP_ACCOUNT_FREEZE : HB_OP_ACCOUNT_UNFREEZE,
			.length = sizeof(f),
			.target = account},
		.case_id = 1,
		.operator_id = 2};

	return world_ask(w, &f);
}

enum hb_status
world_adjust(struct world *w, uint64_t from, uint64_t to, int64_t amount_fen)
{
	struct hb_frame_adjust f = {
		.head = {.operation = HB_OP_ADJUST, .length = sizeof(f), .target = from},
		.to = to,
		.amount_fen = amount_fen,
		.case_id = 3,
		.maker_id = 4,
		.checker_id = 5,
		.reason = 6};

	return world_ask(w, &f);
}

uint32_t
world_evict(struct world *w, uint64_t retention_ms)
{
	_Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX];
	struct hb_decision decision = {.records = records, .reply = &w->reply.head};
	uint32_t count = 0;

	w->input.retention_ms = retention_ms;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct hb_partition *p = &w->state.partition[i];
		struct hb_evict_cursor cursor = {0};

		w->input.applied_sequence = w->applied_nothing ? 0 : p->head->core_sequence;
		while (cursor.passes < 1) {
			if (!hb_decide_evict(p, &cursor, &w->input, &decision))
				continue;
			take_records(w, p, &decision);
			count++;
		}
	}
	return count;
}

uint32_t
world_void_due(struct world *w)
{
	_Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX];
	struct hb_decision decision = {.records = records, .reply = &w->reply.head};
	uint32_t count = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct hb_partition *p = &w->state.partition[i];

		for (uint64_t slot = 0; slot < p->capacity.holds; slot++) {
			hb_decide_hold_due(p, p->holds[slot].id, &w->input, &decision);
			take_records(w, p, &decision);
			count += decision.record_count;
		}
	}
	return count;
}

/* What of an account's money is in open packets and holds of its partition. */
static int64_t
bound_fen(const struct hb_partition *p, uint64_t account)
{
	int64_t sum = 0;

	for (uint64_t i = 0; i < p->capacity.packets; i++)
		if (p->packets[i].sender == account)
			sum += p->packets[i].left_fen;
	for (uint64_t i = 0; i < p->capacity.holds; i++)
		if (p->holds[i].account == account && p->holds[i].state == HB_HOLD_OPEN)
			sum += p->holds[i].amount_fen;
	return sum;
}

void
world_check_frozen(const struct world *w)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &w->state.partition[i];
		int64_t frozen = 0;

		for (uint64_t slot = 0; slot < p->capacity.accounts; slot++) {
			const struct hb_account *a = &p->accounts[slot];

			frozen += a->frozen_fen;
			if (a->frozen_fen != 0)
				assert_int_equal(a->frozen_fen, bound_fen(p, a->id));
		}
		assert_int_equal(frozen, p->head->open_packets_fen + p->head->open_holds_fen);
	}
}

struct hb_frame
world_grab_frame(struct world *w, uint64_t packet, uint64_t user, uint64_t group, uint32_t nth)
{
	uint64_t n = w->token_counter++;
	uint64_t id = (w->input.now_ns / 1000000 + n / 10000) << 14 | n % 10000;
	uint32_t expiry_s = (uint32_t)(w->input.now_ns / 1000000000) + HB_TOKEN_LIFETIME_S;

	return (struct hb_frame){.operation = HB_OP_GRAB,
		.length = sizeof(struct hb_frame),
		.target = packet,
		.user = user,
		.group = group,
		.token_id = id,
		.token_mac = hb_token_mac(
			w->config.token_keys.key[0], id, user, packet, expiry_s, HB_OP_GRAB),
		.token_expiry_s = expiry_s,
		.sequence = hb_token_initial_sequence(w->config.token_keys.key[0], id, user) + nth};
}

int64_t
world_available(struct world *w, uint64_t account)
{
	const struct hb_account *a =
		hb_account_find(&w->state.partition[hb_partition_of(account)], account);

	return a != NULL ? a->available_fen : 0;
}

int64_t
world_frozen(struct world *w, uint64_t account)
{
	const struct hb_account *a =
		hb_account_find(&w->state.partition[hb_partition_of(account)], account);

	return a != NULL ? a->frozen_fen : 0;
}

int64_t
world_money(const struct world *w)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &w->state.partition[i];

		for (uint64_t slot = 0; slot < p->capacity.accounts; slot++)
			sum += p->accounts[slot].available_fen + p->accounts[slot].frozen_fen;
	}
	for (uint32_t i = 0; i < w->waiting_count; i++)
		sum += w->waiting[i].credit.amount_fen;
	return sum;
}

static void
check_same_accounts(const struct hb_partition *a, const struct hb_partition *b)
{
	for (uint64_t i = 0; i < a->capacity.accounts; i++) {
		const struct hb_account *x = &a->accounts[i], *y;

		if (x->id == 0)
			continue;
		y = hb_account_find(b, x->id);
		assert_non_null(y);
		assert_memory_equal(x, y, sizeof(*x));
	}
}

static void
check_same_packets(const struct hb_partition *a, const struct hb_partition *b)
{
	for (uint64_t i = 0; i < a->capacity.packets; i++) {
		const struct hb_packet *x = &a->packets[i], *y;
		struct hb_packet without_place;

		if (x->id == 0)
			continue;
		y = hb_packet_find(b, x->id);
		assert_non_null(y);
		without_place = *x;
		without_place.block = y->block;
		assert_memory_equal(&without_place, y, sizeof(*y));
		assert_memory_equal(hb_packet_claims(a, x), hb_packet_claims(b, y),
			x->count * sizeof(struct hb_claim));
		assert_memory_equal(
			hb_packet_greeting(a, x), hb_packet_greeting(b, y), x->greeting_length);
	}
}

static void
check_same_orders_and_holds(const struct hb_partition *a, const struct hb_partition *b)
{
	assert_int_equal(a->head->order_count, b->head->order_count);
	assert_int_equal(a->head->hold_count, b->head->hold_count);
	assert_int_equal(a->head->hold_counter, b->head->hold_counter);
	assert_int_equal(a->head->packet_counter, b->head->packet_counter);
	assert_int_equal(a->head->open_holds_fen, b->head->open_holds_fen);
	assert_int_equal(a->head->arena_live, b->head->arena_live);
	for (uint64_t i = 0; i < a->capacity.orders; i++)
		if (a->orders[i].stamp != 0) {
			const struct hb_order *other = hb_order_find(b, a->orders[i].stamp);

			assert_non_null(other);
			assert_memory_equal(&a->orders[i], other, sizeof(*other));
		}
	for (uint64_t i = 0; i < a->capacity.holds; i++)
		if (a->holds[i].id != 0) {
			const struct hb_hold *other = hb_hold_find(b, a->holds[i].id);

			assert_non_null(other);
			assert_memory_equal(&a->holds[i], other, sizeof(*other));
		}
}

void
world_check_same(const struct hb_state *a, const struct hb_state *b)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &a->partition[i], *q = &b->partition[i];

		assert_int_equal(p->head->state_hash, q->head->state_hash);
		assert_int_equal(p->head->balance_hash, q->head->balance_hash);
		assert_int_equal(p->head->core_sequence, q->head->core_sequence);
		assert_int_equal(p->head->account_count, q->head->account_count);
		assert_int_equal(p->head->packet_count, q->head->packet_count);
		assert_int_equal(p->head->open_packets_fen, q->head->open_packets_fen);
		assert_memory_equal(
			p->head->applied_fen, q->head->applied_fen, sizeof(p->head->applied_fen));
		check_same_accounts(p, q);
		check_same_packets(p, q);
		check_same_orders_and_holds(p, q);
	}
}

/* The journal into a new state. */
static void
replay(const struct world *w, struct hb_state *state)
{
	uint64_t at = 0;

	assert_int_equal(hb_state_create(state, &w->state.partition[0].capacity, 7), 0);
	while (at < w->journal_bytes) {
		const struct hb_record *record = (const void *)(w->journal + at);
		struct hb_partition *p = &state->partition[record->ring];
		struct hb_credit credit;

		assert_null(hb_record_verify(record, w->journal_bytes - at));
		assert_null(hb_apply_check(p, record));
		hb_apply(p, record, &credit);
		if (credit.account != 0)
			hb_apply_credit(&state->partition[hb_partition_of(credit.account)],
				p->number, &credit);
		at += record->length;
	}
}

void
world_check_replay(struct world *w)
{
	struct hb_state again;

	world_deliver(w);
	replay(w, &again);
	world_check_same(&w->state, &again);
	hb_state_close(&again);
}

void
world_restart(struct world *w)
{
	struct hb_state next;

	replay(w, &next);
	hb_state_close(&w->state);
	w->state = next;
	w->waiting_count = 0; /* a replay applies credits at once */
}
