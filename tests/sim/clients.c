/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients and oracles: tests/sim/clients.h. All of it is static and begins empty with each seed.
 */
#include "tests/sim/clients.h"

#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/token.h"
#include "tests/sim/node.h"

#define USERS	      40
#define PACKETS_MAX   160
#define ASKED_MAX     4096
#define IN_FLIGHT_MAX 48
#define GROUP	      7
#define FACTS	      16384 /* slots of the table of durable facts; a power of two */

enum asked_state {
	ASKED_WAITING = 1,
	ASKED_OK,
	ASKED_REFUSED,
	ASKED_UNKNOWN, /* the dataplane hung up before a reply */
};

/* One thing asked, possibly several times. */
struct asked {
	union {
		struct hb_frame head;
		struct hb_frame_packet_create create;
		struct hb_frame_transfer transfer;
		struct hb_frame_account_open open;
		struct hb_frame_order order;
		uint8_t bytes[HB_FRAME_BYTES_MAX];
	} frame;
	enum asked_state state;
	uint8_t client;
	bool acknowledged; /* OK was heard once */
	uint32_t packet;   /* index, of CREATE and GRAB */
	uint32_t user;	   /* index */
	uint64_t id;	   /* told with the first OK */
	uint64_t stamp;
	int64_t amount_fen;
};

struct packet {
	uint64_t id;
	uint32_t count;
	int64_t total_fen;
	uint64_t sender;
	bool sold_out;		  /* somebody was told */
	int64_t share_fen[USERS]; /* acknowledged; 0 = not */
	uint32_t share_index[USERS];
};

struct user {
	uint64_t account;
	bool opened;
	uint32_t order_asked; /* index of an ORDER_OPEN that was answered and not yet credited; 0 */
};

/* A durable fact, by (kind, a, b). */
struct fact {
	uint64_t key; /* 0 = free */
	int64_t value;
};

static struct asked asked[ASKED_MAX];
static uint32_t asked_count;
static struct packet packets[PACKETS_MAX];
static uint32_t packet_count;
static struct user users[USERS];
static struct fact facts[FACTS];
static uint32_t waiting;
static struct sim_numbers numbers;
static struct hb_ring_end request_end[SIM_CLIENTS][SIM_LCORES_MAX];
static struct hb_ring_end reply_end[SIM_CLIENTS][SIM_LCORES_MAX];
static uint64_t token_counter;
static bool attached;

void sim_clients_attached(struct hb_ring (*requests)[SIM_LCORES_MAX],
	uint8_t *(*request_bytes)[SIM_LCORES_MAX], struct hb_ring (*replies)[SIM_LCORES_MAX],
	uint8_t *(*reply_bytes)[SIM_LCORES_MAX]);

void
sim_clients_attached(struct hb_ring (*requests)[SIM_LCORES_MAX],
	uint8_t *(*request_bytes)[SIM_LCORES_MAX], struct hb_ring (*replies)[SIM_LCORES_MAX],
	uint8_t *(*reply_bytes)[SIM_LCORES_MAX])
{
	sim_clients_hung_up();
	attached = true;
	for (uint32_t c = 0; c < SIM_CLIENTS; c++) {
		for (uint32_t l = 0; l < node.lcore_count; l++) {
			const struct hb_client_slot *slot = &node.slots[c];

			hb_ring_producer(&request_end[c][l], &requests[c][l], request_bytes[c][l],
				slot->request[l].capacity);
			hb_ring_consumer(&reply_end[c][l], &replies[c][l], reply_bytes[c][l],
				slot->reply[l].capacity);
		}
	}
}

void
sim_clients_reset(void)
{
	memset(asked, 0, sizeof(asked[0]) * (asked_count + 1));
	memset(packets, 0, sizeof(packets));
	memset(users, 0, sizeof(users));
	memset(facts, 0, sizeof(facts));
	memset(&numbers, 0, sizeof(numbers));
	asked_count = 1; /* 0 means none */
	packet_count = 0;
	waiting = 0;
	attached = false;
	token_counter = 0;
	for (uint32_t i = 0; i < USERS; i++)
		users[i].account = 1000 + i * 37 + sim_below(37);
}

const struct sim_numbers *
sim_clients_numbers(void)
{
	return &numbers;
}

uint32_t
sim_clients_waiting(void)
{
	return waiting;
}

void
sim_clients_hung_up(void)
{
	attached = false;
	for (uint32_t i = 1; waiting > 0 && i < asked_count; i++) {
		if (asked[i].state != ASKED_WAITING)
			continue;
		asked[i].state = asked[i].acknowledged ? ASKED_OK : ASKED_UNKNOWN;
		waiting--;
	}
}

/* ---- durable facts ---- */

static uint64_t
fact_key(uint8_t kind, uint64_t a, uint64_t b)
{
	return hb_mix64(hb_mix64(a ^ (uint64_t)kind << 48) + b) | 1;
}

static struct fact *
fact_at(uint64_t key)
{
	uint32_t slot = (uint32_t)(key >> 20) & (FACTS - 1);

	while (facts[slot].key != 0 && facts[slot].key != key)
		slot = (slot + 1) & (FACTS - 1);
	return &facts[slot];
}

static void
fact_add(uint8_t kind, uint64_t a, uint64_t b, int64_t value)
{
	struct fact *fact = fact_at(fact_key(kind, a, b));

	fact->key = fact_key(kind, a, b);
	fact->value += value;
}

static int64_t
fact_value(uint8_t kind, uint64_t a, uint64_t b)
{
	return fact_at(fact_key(kind, a, b))->value;
}

void
sim_clients_durable(const void *bytes)
{
	const struct hb_record *record = bytes;

	switch (record->type) {
	case HB_RECORD_PACKET_CREATE: {
		const struct hb_record_packet_create *r = bytes;

		fact_add(record->type, r->packet, 0, r->total_fen);
		return;
	}
	case HB_RECORD_GRAB: {
		const struct hb_record_grab *r = bytes;

		fact_add(record->type, r->packet, r->user, r->amount_fen);
		fact_add(record->type, r->packet, 0, 1);
		return;
	}
	case HB_RECORD_TRANSFER: {
		const struct hb_record_transfer *r = bytes;

		fact_add(record->type, r->from, r->order_stamp, r->amount_fen);
		return;
	}
	case HB_RECORD_CREDIT: {
		const struct hb_record_credit *r = bytes;

		fact_add(record->type, r->account, r->order_stamp, r->amount_fen);
		return;
	}
	default:
		return;
	}
}

static void
must_be_durable(const char *what, uint8_t kind, uint64_t a, uint64_t b, int64_t value)
{
	if (fact_value(kind, a, b) != value)
		sim_violation("%s was acknowledged before it was on disk (%llx, %llu: %lld told, "
			      "%lld durable)",
			what, (unsigned long long)a, (unsigned long long)b, (long long)value,
			(long long)fact_value(kind, a, b));
}

/* ---- asking ---- */

static struct asked *
new_question(enum hb_operation operation, uint32_t bytes, uint64_t target, uint64_t user)
{
	struct asked *a = &asked[asked_count];

	memset(a, 0, sizeof(*a));
	a->frame.head.version = HB_FRAME_VERSION;
	a->frame.head.operation = (uint8_t)operation;
	a->frame.head.length = (uint16_t)bytes;
	a->frame.head.target = target;
	a->frame.head.user = user;
	a->frame.head.correlation = asked_count;
	a->client = SIM_CLIENT_CONTROL;
	return a;
}

static void
make_key(uint8_t key[16])
{
	uint64_t number = asked_count, salt = UINT64_C(0x5eed);

	memcpy(key, &number, 8);
	memcpy(key + 8, &salt, 8);
}

static void
give_token(struct asked *a)
{
	struct hb_frame *f = &a->frame.head;
	const uint8_t *key = (const uint8_t *)"0123456789abcdef";
	uint64_t ms = machine.wall_ns / 1000000;

	a->client = (uint8_t)(1 + sim_below(SIM_CLIENTS - 1));
	f->token_id = ms << 14 | (token_counter++ % 10000);
	f->token_expiry_s = (uint32_t)(ms / 1000) + HB_TOKEN_LIFETIME_S;
	f->token_mac =
		hb_token_mac(key, f->token_id, f->user, f->target, f->token_expiry_s, f->operation);
	f->sequence = hb_token_initial_sequence(key, f->token_id, f->user) + 1;
}

static void
ask_account(uint32_t user)
{
	struct user *u = &users[user];
	struct asked *a;

	if (!u->opened) {
		a = new_question(HB_OP_ACCOUNT_OPEN, sizeof(a->frame.open), u->account, 0);
		a->frame.open.kind = HB_ACCOUNT_USER;
		make_key(a->frame.open.idempotency_key);
	} else {
		const struct asked *order = &asked[u->order_asked];
		bool open = u->order_asked == 0;

		a = new_question(open ? HB_OP_ORDER_OPEN : HB_OP_CREDIT, sizeof(a->frame.order),
			u->account, 0);
		a->frame.order.amount_fen =
			open ? 1 + (int64_t)sim_below(20000) : order->frame.order.amount_fen;
		a->frame.order.order_stamp = open ? 0 : order->stamp;
		a->frame.order.business = HB_BUSINESS_RECHARGE;
		a->frame.order.channel = HB_SYSTEM_CLEARING_MANUAL;
		make_key(a->frame.order.idempotency_key);
		u->order_asked = 0;
	}
	a->user = user;
}

static void
ask_create(uint32_t user)
{
	uint64_t account = users[user].account;
	struct asked *a =
		new_question(HB_OP_PACKET_CREATE, sizeof(a->frame.create), account, account);
	struct hb_frame_packet_create *f = &a->frame.create;

	f->head.group = GROUP;
	f->kind = HB_PACKET_LUCKY;
	f->algorithm = (uint8_t)(1 + sim_below(2));
	f->count = 1 + (uint32_t)sim_below(sim_chance(200) ? 36 : 8);
	f->total_fen = f->count + (int64_t)sim_below(400);
	f->lifetime_s = 1 + (uint32_t)sim_below(40);
	f->greeting_length = (uint8_t)sim_below(20);
	memset(f->greeting, 'g', f->greeting_length);
	make_key(f->idempotency_key);
	a->user = user;
	a->packet = UINT32_MAX;
	if (sim_chance(500))
		give_token(a);
}

static void
ask_grab(uint32_t user, uint32_t packet)
{
	struct asked *a = new_question(
		HB_OP_GRAB, sizeof(a->frame.head), packets[packet].id, users[user].account);

	a->frame.head.group = GROUP;
	a->user = user;
	a->packet = packet;
	give_token(a);
}

static void
ask_transfer(uint32_t user)
{
	uint64_t account = users[user].account;
	struct asked *a = new_question(HB_OP_TRANSFER, sizeof(a->frame.transfer), account, account);

	a->frame.transfer.to = users[sim_below(USERS)].account;
	a->frame.transfer.amount_fen = 1 + (int64_t)sim_below(300);
	make_key(a->frame.transfer.idempotency_key);
	a->user = user;
	if (sim_chance(700))
		give_token(a);
}

static void
ask_other(uint32_t user)
{
	static const enum hb_operation operations[] = {
		HB_OP_BALANCE, HB_OP_PACKET_DETAIL, HB_OP_MARK, HB_OP_CLOCK_CONFIRM, HB_OP_AUDIT};
	enum hb_operation operation =
		operations[sim_below(sizeof(operations) / sizeof(operations[0]))];
	uint64_t target = hb_system_account(HB_SYSTEM_FEES, (uint32_t)sim_below(16));
	uint32_t bytes = sizeof(struct hb_frame);

	if (operation == HB_OP_BALANCE)
		target = users[user].account;
	if (operation == HB_OP_PACKET_DETAIL) {
		if (packet_count == 0)
			return ask_account(user);
		target = packets[sim_below(packet_count)].id;
		bytes = sizeof(struct hb_frame_detail);
	}
	new_question(operation, bytes, target, users[user].account);
}

/* Put it on the ring of the lcore that owns its target. @return false when there is no room */
static bool
send(struct asked *a)
{
	uint32_t lcore = hb_partition_of(a->frame.head.target) % node.lcore_count;
	struct hb_ring_end *end = &request_end[a->client][lcore];
	void *at = hb_ring_reserve(end, a->frame.head.length);

	if (at == NULL)
		return false;
	a->frame.head.issued_s = (uint32_t)(machine.wall_ns / 1000000000);
	memcpy(at, &a->frame, a->frame.head.length);
	hb_ring_advance(end, a->frame.head.length);
	hb_ring_publish(end);
	a->state = ASKED_WAITING;
	waiting++;
	numbers.operations++;
	return true;
}

static void
ask_again(void)
{
	struct asked *a = &asked[1 + sim_below(asked_count - 1)];

	/* what nobody knows is asked first */
	for (uint32_t i = 0; i < 8 && a->state != ASKED_UNKNOWN; i++)
		a = &asked[1 + sim_below(asked_count - 1)];
	if (a->state == ASKED_WAITING)
		return;
	if (a->frame.head.operation == HB_OP_GRAB && sim_chance(500))
		a->frame.head.sequence++;
	send(a);
}

static void
ask_one(void)
{
	uint32_t user = (uint32_t)sim_below(USERS), kind = (uint32_t)sim_below(100);

	if (asked_count == ASKED_MAX || (asked_count > 20 && kind < 14)) {
		ask_again();
		return;
	}
	if (!users[user].opened || users[user].order_asked != 0 || kind < 22)
		ask_account(user);
	else if (kind < 30 && packet_count < PACKETS_MAX - IN_FLIGHT_MAX)
		ask_create(user);
	else if (kind < 80 && packet_count > 0)
		ask_grab(user, packet_count - 1 -
				       (uint32_t)sim_below(packet_count < 12 ? packet_count : 12));
	else if (kind < 92)
		ask_transfer(user);
	else
		ask_other(user);
	if (send(&asked[asked_count]))
		asked_count++;
}

void
sim_clients_ask(uint32_t burst)
{
	for (uint32_t i = 0; attached && i < burst && waiting < IN_FLIGHT_MAX; i++)
		ask_one();
}

/* ---- listening ---- */

static void
heard_grab(struct asked *a, const struct hb_reply *reply)
{
	struct packet *p = &packets[a->packet];
	int64_t known = p->share_fen[a->user];

	if (reply->status == HB_STATUS_SOLD_OUT) {
		p->sold_out = true;
		if (fact_value(HB_RECORD_GRAB, p->id, 0) < p->count)
			sim_violation("packet %llx was called sold out with %lld of %u shares on "
				      "disk",
				(unsigned long long)p->id,
				(long long)fact_value(HB_RECORD_GRAB, p->id, 0), p->count);
	}
	if (known != 0 &&
		(reply->status == HB_STATUS_SOLD_OUT || reply->status == HB_STATUS_EXPIRED ||
			reply->status == HB_STATUS_PACKET_UNKNOWN))
		sim_violation("user %u won %lld fen of packet %llx and now hears %s", a->user,
			(long long)known, (unsigned long long)p->id, hb_status_name(reply->status));
	if (reply->status != HB_STATUS_OK)
		return;
	must_be_durable(
		"a share", HB_RECORD_GRAB, p->id, users[a->user].account, reply->amount_fen);
	if (known != 0 && (known != reply->amount_fen || p->share_index[a->user] != reply->index))
		sim_violation("user %u had %lld fen (share %u) of packet %llx and now hears %lld "
			      "(share %u)",
			a->user, (long long)known, p->share_index[a->user],
			(unsigned long long)p->id, (long long)reply->amount_fen, reply->index);
	if (known == 0)
		numbers.claims++;
	p->share_fen[a->user] = reply->amount_fen;
	p->share_index[a->user] = reply->index;
}

static void
heard_create(struct asked *a, const struct hb_reply *reply)
{
	struct packet *p;

	if (a->packet != UINT32_MAX) {
		if (packets[a->packet].id != reply->id)
			sim_violation("a send asked again made another packet");
		return;
	}
	must_be_durable(
		"a packet", HB_RECORD_PACKET_CREATE, reply->id, 0, a->frame.create.total_fen);
	a->packet = packet_count;
	p = &packets[packet_count++];
	HB_ASSERT(packet_count <= PACKETS_MAX);
	*p = (struct packet){.id = reply->id,
		.count = a->frame.create.count,
		.total_fen = a->frame.create.total_fen,
		.sender = a->frame.create.head.user};
}

static void
heard_ok(struct asked *a, const struct hb_reply *reply)
{
	uint32_t index = (uint32_t)(a - asked);

	numbers.acked++;
	switch (a->frame.head.operation) {
	case HB_OP_ACCOUNT_OPEN:
		users[a->user].opened = true;
		break;
	case HB_OP_ORDER_OPEN:
		if (a->acknowledged && a->stamp != reply->order_stamp)
			sim_violation("an order asked again got another number");
		if (!a->acknowledged && users[a->user].order_asked == 0)
			users[a->user].order_asked = index;
		break;
	case HB_OP_CREDIT:
		must_be_durable("a credit", HB_RECORD_CREDIT, a->frame.head.target,
			a->frame.order.order_stamp, a->frame.order.amount_fen);
		break;
	case HB_OP_TRANSFER:
		if (a->acknowledged && a->stamp != reply->order_stamp)
			sim_violation("a transfer asked again got another number");
		must_be_durable("a transfer", HB_RECORD_TRANSFER, a->frame.head.target,
			reply->order_stamp, a->frame.transfer.amount_fen);
		break;
	case HB_OP_PACKET_CREATE:
		heard_create(a, reply);
		break;
	default:
		break;
	}
	a->stamp = reply->order_stamp;
	a->id = reply->id;
	a->acknowledged = true;
}

static void
heard(const struct hb_reply *reply)
{
	struct asked *a = &asked[reply->correlation];

	if (reply->correlation == 0 || reply->correlation >= asked_count ||
		a->state != ASKED_WAITING || reply->operation != a->frame.head.operation)
		sim_violation("a reply to nothing that was asked: operation %u, correlation %llu",
			reply->operation, (unsigned long long)reply->correlation);
	waiting--;
	if (a->frame.head.operation == HB_OP_GRAB)
		heard_grab(a, reply);
	if (reply->status == HB_STATUS_OK)
		heard_ok(a, reply);
	else if (a->acknowledged &&
		 (reply->status == HB_STATUS_INSUFFICIENT || reply->status == HB_STATUS_CONFLICT))
		sim_violation("done once and acknowledged, asked again it is refused: %s",
			hb_status_name(reply->status));
	a->state = a->acknowledged ? ASKED_OK : ASKED_REFUSED;
}

uint32_t
sim_clients_listen(void)
{
	uint32_t count = 0;

	for (uint32_t c = 0; attached && c < SIM_CLIENTS; c++) {
		for (uint32_t l = 0; l < node.lcore_count; l++) {
			struct hb_ring_end *end = &reply_end[c][l];
			void *at = NULL;
			int64_t left = hb_ring_peek(end, &at);

			HB_ASSERT(left >= 0);
			while (left > 0) {
				const struct hb_reply *reply = at;

				heard(reply);
				left -= reply->length;
				at = (uint8_t *)at + reply->length;
				hb_ring_consume(end, reply->length);
				count++;
			}
		}
	}
	return count;
}

/* ---- oracles ---- */

static void
check_packet(const struct hb_partition *p, const struct hb_packet *packet)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t taken = packet->count - packet->left_count;
	int64_t sum_fen = 0;

	for (uint32_t i = 0; i < taken; i++) {
		sum_fen += claims[i].amount_fen;
		if (claims[i].user == 0 || claims[i].amount_fen == 0)
			sim_violation("packet %llx: share %u is half taken",
				(unsigned long long)packet->id, i);
		for (uint32_t j = 0; j < i; j++)
			if (claims[j].user == claims[i].user)
				sim_violation("packet %llx: user %llu has two shares",
					(unsigned long long)packet->id,
					(unsigned long long)claims[i].user);
	}
	for (uint32_t i = taken; i < packet->count; i++)
		if (claims[i].user != 0)
			sim_violation("packet %llx: share %u is taken out of turn",
				(unsigned long long)packet->id, i);
	if (sum_fen + packet->left_fen + packet->refunded_fen != packet->total_fen)
		sim_violation("packet %llx: %lld grabbed + %lld left + %lld refunded != %lld",
			(unsigned long long)packet->id, (long long)sum_fen,
			(long long)packet->left_fen, (long long)packet->refunded_fen,
			(long long)packet->total_fen);
	if (packet->state != HB_PACKET_OPEN && packet->left_fen != 0)
		sim_violation(
			"packet %llx is closed and not empty", (unsigned long long)packet->id);
}

static void
check_packets(const struct hb_state *state)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &state->partition[i];

		HB_ASSERT(p->head->packet_counter < p->capacity.packets);

		/* slots are given out in turn */
		for (uint64_t slot = 0; slot <= p->head->packet_counter; slot++)
			if (p->packets[slot].id != 0)
				check_packet(p, &p->packets[slot]);
	}
}

/* What users were told about packets is in the state. */
static void
check_told_packets(const struct hb_state *state)
{
	for (uint32_t i = 0; i < packet_count; i++) {
		const struct packet *told = &packets[i];
		const struct hb_partition *p = &state->partition[hb_partition_of(told->id)];
		const struct hb_packet *packet = hb_packet_find(p, told->id);

		if (packet == NULL || packet->sender != told->sender ||
			packet->total_fen != told->total_fen || packet->count != told->count)
			sim_violation("packet %llx was acknowledged and is %s",
				(unsigned long long)told->id, packet == NULL ? "gone" : "another");
		if (told->sold_out && packet->left_count != 0)
			sim_violation("packet %llx was called sold out and has %u shares left",
				(unsigned long long)told->id, packet->left_count);
		for (uint32_t u = 0; u < USERS; u++) {
			const struct hb_claim *claim;

			if (told->share_fen[u] == 0)
				continue;
			claim = hb_claim_find(p, packet, users[u].account);
			if (claim == NULL || claim->amount_fen != told->share_fen[u] ||
				claim - hb_packet_claims(p, packet) != told->share_index[u])
				sim_violation("user %u was told %lld fen of packet %llx; it is %s",
					u, (long long)told->share_fen[u],
					(unsigned long long)told->id,
					claim == NULL ? "gone" : "another share");
		}
	}
}

/* What a balance must be by the packets in the state and the commands whose key is known. */
struct expected {
	int64_t available_fen[USERS];
	int64_t frozen_fen[USERS];
};

static uint32_t
user_of(uint64_t account)
{
	uint32_t user = (uint32_t)((account - 1000) / 37);

	HB_ASSERT(user < USERS && users[user].account == account);
	return user;
}

static void
expect_packets(const struct hb_state *state, struct expected *expected)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &state->partition[i];

		for (uint64_t slot = 0; slot <= p->head->packet_counter; slot++) {
			const struct hb_packet *packet = &p->packets[slot];
			const struct hb_claim *claims;
			uint32_t sender;

			if (packet->id == 0)
				continue;
			claims = hb_packet_claims(p, packet);
			sender = user_of(packet->sender);
			expected->available_fen[sender] += packet->refunded_fen - packet->total_fen;
			expected->frozen_fen[sender] += packet->left_fen;
			for (uint32_t c = 0; c < packet->count - packet->left_count; c++)
				expected->available_fen[user_of(claims[c].user)] +=
					claims[c].amount_fen;
		}
	}
}

static const uint8_t *
key_of(const struct asked *a)
{
	switch (a->frame.head.operation) {
	case HB_OP_ACCOUNT_OPEN:
		return a->frame.open.idempotency_key;
	case HB_OP_ORDER_OPEN:
		return a->frame.order.idempotency_key;
	case HB_OP_PACKET_CREATE:
		return a->frame.create.idempotency_key;
	case HB_OP_TRANSFER:
		return a->frame.transfer.idempotency_key;
	default:
		return NULL;
	}
}

/* The order is the key of its credit. */
static void
expect_credit(const struct hb_partition *p, const struct asked *a, struct expected *expected)
{
	const struct hb_idempotency_entry *entry =
		hb_idempotency_find(p, a->frame.order.idempotency_key);
	const struct hb_order *order = entry == NULL ? NULL : hb_order_find(p, entry->result);

	if (order != NULL && order->state == HB_ORDER_DONE)
		expected->available_fen[a->user] += a->frame.order.amount_fen;
}

static void
check_told_credit(const struct hb_partition *p, const struct asked *a)
{
	const struct hb_order *order = hb_order_find(p, a->frame.order.order_stamp);

	if (a->acknowledged && (order == NULL || order->state != HB_ORDER_DONE))
		sim_violation("a credit of %lld fen was acknowledged and is gone",
			(long long)a->frame.order.amount_fen);
}

/* Commands: what was acknowledged is there; what is there counts, told or not. */
static void
expect_commands(const struct hb_state *state, struct expected *expected)
{
	for (uint32_t i = 1; i < asked_count; i++) {
		const struct asked *a = &asked[i];
		const struct hb_partition *p =
			&state->partition[hb_partition_of(a->frame.head.target)];
		const uint8_t *key = key_of(a);
		const struct hb_idempotency_entry *entry;

		if (a->frame.head.operation == HB_OP_CREDIT)
			check_told_credit(p, a);
		if (key == NULL)
			continue;
		entry = hb_idempotency_find(p, key);
		if (entry == NULL && a->acknowledged)
			sim_violation("command %u (operation %u) was acknowledged and is gone", i,
				a->frame.head.operation);
		if (entry == NULL)
			continue;
		if (a->frame.head.operation == HB_OP_ORDER_OPEN)
			expect_credit(p, a, expected);
		if (a->frame.head.operation != HB_OP_TRANSFER)
			continue;
		if (a->acknowledged && entry->result != a->stamp)
			sim_violation("transfer %u was acknowledged with another number", i);
		expected->available_fen[a->user] -= a->frame.transfer.amount_fen;
		expected->available_fen[user_of(a->frame.transfer.to)] +=
			a->frame.transfer.amount_fen;
	}
}

static void
check_balances(const struct hb_state *state)
{
	struct expected expected = {0};
	int64_t sum_fen = 0;

	expect_packets(state, &expected);
	expect_commands(state, &expected);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &state->partition[i];

		for (uint64_t slot = 0; slot < p->capacity.accounts; slot++)
			sum_fen += p->accounts[slot].available_fen + p->accounts[slot].frozen_fen;
	}
	if (sum_fen != 0)
		sim_violation("all money together is %lld fen and not zero", (long long)sum_fen);
	for (uint32_t u = 0; u < USERS; u++) {
		const struct hb_account *account = hb_account_find(
			&state->partition[hb_partition_of(users[u].account)], users[u].account);
		int64_t available_fen = account == NULL ? 0 : account->available_fen;
		int64_t frozen_fen = account == NULL ? 0 : account->frozen_fen;

		if (available_fen != expected.available_fen[u] ||
			frozen_fen != expected.frozen_fen[u])
			sim_violation("user %u has %lld + %lld frozen; by what happened it is "
				      "%lld + %lld",
				u, (long long)available_fen, (long long)frozen_fen,
				(long long)expected.available_fen[u],
				(long long)expected.frozen_fen[u]);
	}
}

void
sim_check_recovered(const struct hb_state *state)
{
	check_packets(state);
	check_told_packets(state);
	check_balances(state);
}

void
sim_check_living(const struct hb_state *state)
{
	check_packets(state);
	check_told_packets(state);
}
