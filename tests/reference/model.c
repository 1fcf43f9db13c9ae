/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference model: what every operation means, in the order of docs/frames.md. See model.h.
 * Where the documents leave the order of two refusals open, the order here is the contract.
 */
#include "tests/reference/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/node.h"
#include "shm/order_number.h"

#define BUCKETS		256
#define PARAMETERS_MAX	200
#define WEEK_MS		(UINT64_C(7) * 86400 * 1000)
#define FORGOTTEN_KEYS	4 /* by one new key */
#define SKIPPED_IDS_MAX 64
#define REMEMBERED	64 /* sequences of a token */
#define AHEAD_MAX	1024
#define WINDOWS_MAX	20000 /* tokens used in one life of a model */
#define REASONS		4

/* ---- tables: entries by two numbers and their partition, in chains ---- */

struct node {
	uint64_t a, b;
	uint32_t partition;
	uint32_t next; /* number of the next entry + 1 */
	bool there;
};

struct table {
	uint8_t *entries;
	uint32_t entry_bytes, room, used, count, free; /* free: first given back + 1 */
	uint32_t bucket[BUCKETS];
};

struct account {
	struct node node;
	int64_t available_fen, frozen_fen;
	bool barred;
	uint32_t day; /* that is counted */
	struct {
		uint32_t count;
		int64_t fen;
	} held[REASONS];
};

struct claim {
	int64_t amount_fen;
	uint64_t user, time_ms;
};

struct packet {
	struct node node;
	struct hb_reply_detail detail; /* what does not change, and left, refunded, taken, state */
	uint64_t counter, ended_sequence;
	struct claim *claims;
	uint8_t seed[32];
	bool committed;
};

struct hold {
	struct node node;
	uint64_t account, deadline_ms, order, ended_ms, ended_sequence, counter;
	int64_t amount_fen, fee_fen;
	uint32_t day, reason, exit_reason;
	uint8_t state;
};

struct order {
	struct node node;
	uint64_t account, hold, ended_ms, ended_sequence;
	int64_t amount_fen, settled_fen, refunded_fen;
	uint16_t business, channel, attempt;
	uint8_t state;
};

struct window {
	struct node node;
	uint32_t newest, used[REMEMBERED]; /* by sequence mod 64 */
};

struct key {
	struct node node;
	uint64_t result, time_ms;
	uint32_t bytes;
	uint8_t parameters[PARAMETERS_MAX];
};

struct part {
	uint64_t sequence, time_ns, last_stamp, packet_counter, hold_counter;
	uint32_t accounts, packets, holds, orders, keys;
	int64_t open_packets_fen, open_holds_fen;
	uint32_t *packet_slots, *hold_slots; /* in use, by counter mod capacity */
	uint32_t oldest_key, next_key;	     /* of the ring of keys in the order they came */
	uint32_t *key_ring;
};

struct model {
	struct hb_capacity capacity;
	uint32_t node;
	struct table accounts, packets, holds, orders, windows, keys;
	struct part part[HB_PARTITION_COUNT];
};

/* The command at hand. */
struct command {
	struct model *m;
	struct part *p;
	uint32_t number; /* of the partition */
	const struct hb_frame *frame;
	const struct hb_input *input;
	uint64_t now_ms;
	union model_reply *reply;
	struct model_effect *effect;
	/* what is used up when the command is done */
	uint32_t sequence; /* of the token, 0 = none */
	bool has_key;
	uint64_t key_a, key_b;
	uint32_t key_bytes;
	const void *parameters; /* on the stack of the command's function */
};

static void
table_open(struct table *t, uint32_t entry_bytes, uint64_t room)
{
	t->entry_bytes = entry_bytes;
	t->room = (uint32_t)room;
	t->entries = calloc(room, entry_bytes);
	HB_ASSERT(t->entries != NULL);
}

static void *
entry(const struct table *t, uint32_t number)
{
	return t->entries + (uint64_t)number * t->entry_bytes;
}

static uint32_t
bucket_of(uint64_t a, uint64_t b)
{
	return (uint32_t)((a * 0x9e3779b97f4a7c15u ^ b * 0xc2b2ae3d27d4eb4fu) >> 40) % BUCKETS;
}

static void *
find(const struct table *t, uint32_t partition, uint64_t a, uint64_t b)
{
	for (uint32_t i = t->bucket[bucket_of(a, b)]; i != 0;) {
		struct node *node = entry(t, i - 1);

		if (node->a == a && node->b == b && node->partition == partition)
			return node;
		i = node->next;
	}
	return NULL;
}

static void *
add(struct table *t, uint32_t partition, uint64_t a, uint64_t b)
{
	uint32_t number = t->free != 0 ? t->free - 1 : t->used++;
	uint32_t *bucket = &t->bucket[bucket_of(a, b)];
	struct node *node = entry(t, number);

	HB_ASSERT(number < t->room);
	t->free = node->next;
	memset(node, 0, t->entry_bytes);
	*node = (struct node){
		.a = a, .b = b, .partition = partition, .next = *bucket, .there = true};
	*bucket = number + 1;
	t->count++;
	return node;
}

static void
take_away(struct table *t, struct node *node)
{
	uint32_t number = (uint32_t)((uint64_t)((uint8_t *)node - t->entries) / t->entry_bytes);
	uint32_t *at = &t->bucket[bucket_of(node->a, node->b)];

	while (*at != number + 1)
		at = &((struct node *)entry(t, *at - 1))->next;
	*at = node->next;
	node->there = false;
	node->next = t->free;
	t->free = number + 1;
	t->count--;
}

struct model *
model_open(const struct hb_capacity *capacity, uint32_t node)
{
	struct model *m = calloc(1, sizeof(*m));

	HB_ASSERT(m != NULL);
	m->capacity = *capacity;
	m->node = node;
	table_open(&m->accounts, sizeof(struct account), capacity->accounts * HB_PARTITION_COUNT);
	table_open(&m->packets, sizeof(struct packet), capacity->packets * HB_PARTITION_COUNT);
	table_open(&m->holds, sizeof(struct hold), capacity->holds * HB_PARTITION_COUNT);
	table_open(&m->orders, sizeof(struct order), capacity->orders * HB_PARTITION_COUNT);
	table_open(&m->windows, sizeof(struct window), WINDOWS_MAX);
	table_open(&m->keys, sizeof(struct key), capacity->idempotency * HB_PARTITION_COUNT);
	for (int i = 0; i < HB_PARTITION_COUNT; i++) {
		struct part *p = &m->part[i];

		p->packet_slots = calloc(capacity->packets, sizeof(*p->packet_slots));
		p->hold_slots = calloc(capacity->holds, sizeof(*p->hold_slots));
		p->key_ring = calloc(capacity->idempotency, sizeof(*p->key_ring));
		HB_ASSERT(p->packet_slots != NULL && p->hold_slots != NULL && p->key_ring != NULL);
	}
	return m;
}

void
model_close(struct model *m)
{
	struct table *tables[] = {
		&m->accounts, &m->packets, &m->holds, &m->orders, &m->windows, &m->keys};

	for (uint32_t i = 0; i < m->packets.used; i++)
		if (((struct packet *)entry(&m->packets, i))->node.there)
			free(((struct packet *)entry(&m->packets, i))->claims);
	for (int i = 0; i < 6; i++)
		free(tables[i]->entries);
	for (int i = 0; i < HB_PARTITION_COUNT; i++) {
		free(m->part[i].packet_slots);
		free(m->part[i].hold_slots);
		free(m->part[i].key_ring);
	}
	free(m);
}

/* ---- ids, accounts, money ---- */

static bool
is_user(uint64_t id)
{
	return id >= 1 && id < UINT64_C(1) << 52;
}

static bool
is_system(uint64_t id)
{
	return id >> 56 == 0x7f && (id & HB_ACCOUNT_MAX) >= 1 && (id & HB_ACCOUNT_MAX) <= 6;
}

static uint64_t
make_id(uint64_t kind, uint32_t partition, uint32_t node, uint64_t low)
{
	return kind << 56 | (uint64_t)partition << 52 | (uint64_t)node << 45 | low;
}

static struct account *
account_of(const struct model *m, uint64_t id)
{
	return find(&m->accounts, model_partition(id), id, 0);
}

static struct account *
account_made(struct model *m, uint64_t id)
{
	struct account *account = account_of(m, id);

	if (account != NULL)
		return account;
	m->part[model_partition(id)].accounts++;
	return add(&m->accounts, model_partition(id), id, 0);
}

static void
give(struct model *m, uint64_t id, int64_t available_fen, int64_t frozen_fen)
{
	struct account *account = account_made(m, id);

	account->available_fen += available_fen;
	account->frozen_fen += frozen_fen;
	HB_ASSERT(account->frozen_fen >= 0);
	HB_ASSERT(account->available_fen >= 0 || is_system(id));
}

void
model_credit(struct model *m, uint64_t account, int64_t amount_fen)
{
	give(m, account, amount_fen, 0);
}

/* A quarter of the account table stays free for those who get money without asking. */
static bool
accounts_low(const struct model *m, uint32_t partition)
{
	return m->part[partition].accounts >= m->capacity.accounts - m->capacity.accounts / 4;
}

static bool
orders_full(const struct command *c)
{
	uint64_t room = c->m->capacity.orders;

	return c->p->orders >= room - room / 4;
}

bool
model_reserve_low(const struct model *m)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (accounts_low(m, i))
			return true;
	return false;
}

/* ---- what all commands have in common ---- */

static struct command
command_begin(struct model *m, uint32_t partition, const struct hb_input *input)
{
	struct part *p = &m->part[partition];
	uint64_t now_ns = input->now_ns > p->time_ns ? input->now_ns : p->time_ns;

	/* ledger time never goes back */
	return (struct command){
		.m = m, .p = p, .number = partition, .input = input, .now_ms = now_ns / 1000000};
}

static void
answer(struct command *c, enum hb_status status)
{
	memset(&c->reply->head, 0, sizeof(c->reply->head));
	c->reply->head.version = 1;
	c->reply->head.operation = c->frame->operation;
	c->reply->head.length = 64;
	c->reply->head.status = (uint16_t)status;
	c->reply->head.correlation = c->frame->correlation;
}

static void
answer_body(struct command *c, uint64_t bytes)
{
	c->reply->head.length = (uint16_t)((bytes + 63) / 64 * 64);
	memset(c->reply->bytes + 64, 0, c->reply->head.length - 64u);
}

/* Is the node as a whole fit for this? Control's commands go on longest. */
static enum hb_status
node_status(const struct command *c, uint32_t storage_level)
{
	if (c->input->clock_stopped)
		return HB_STATUS_CLOCK_STOPPED;
	return c->input->storage_level >= storage_level ? HB_STATUS_STORAGE_LOW : HB_STATUS_OK;
}

/* The order stamp that would be next, 0 = busy. Time, then a sequence of four digits. */
static uint64_t
stamp_next(const struct command *c)
{
	uint64_t ms = c->p->last_stamp >> 14, sequence = (c->p->last_stamp & 0x3fff) + 1;

	if (sequence > 9999) {
		ms++;
		sequence = 0;
	}
	if (ms < c->now_ms) {
		ms = c->now_ms;
		sequence = 0;
	}
	if (ms > c->now_ms + 1000)
		return 0;
	return ms << 14 | sequence | (c->input->config->order_version == 2 ? UINT64_C(1) << 62 : 0);
}

/* One record: it has the next sequence and the ledger's time. */
static void
record(struct command *c)
{
	c->p->sequence++;
	if (c->input->now_ns > c->p->time_ns)
		c->p->time_ns = c->input->now_ns;
	if (c->effect != NULL)
		c->effect->records = 1;
}

static void
use_stamp(struct command *c, uint64_t stamp)
{
	c->p->last_stamp = stamp & ~(UINT64_C(1) << 62);
}

static void
send_credit(struct command *c, uint64_t account, int64_t amount_fen)
{
	c->effect->credit = account;
	c->effect->credit_fen = amount_fen;
}

/* ---- money tokens ---- */

static enum hb_status
token_status(struct command *c)
{
	const struct hb_token_keys *keys = &c->input->config->token_keys;
	const struct hb_frame *f = c->frame;
	const struct window *window;
	uint32_t initial = 0, newest;

	c->sequence = 0;
	if (f->token_id == 0)
		return c->input->trusted || !c->input->config->tokens_required
			       ? HB_STATUS_OK
			       : HB_STATUS_TOKEN_INVALID;
	for (uint32_t i = 0; i < keys->count && initial == 0; i++) {
		bool holds = i == 0 || c->now_ms / 1000 <= keys->until_s[i];

		if (holds && model_token_mac(keys->key[i], f->token_id, f->user, f->target,
				     f->token_expiry_s, f->operation) == f->token_mac)
			initial = model_token_initial(keys->key[i], f->token_id, f->user);
	}
	if (initial == 0)
		return HB_STATUS_TOKEN_INVALID;
	if (c->now_ms / 1000 > f->token_expiry_s)
		return HB_STATUS_TOKEN_EXPIRED;
	window = find(&c->m->windows, c->number, f->token_id, f->user);
	newest = window != NULL ? window->newest : initial;
	if (f->sequence <= initial || f->sequence > newest + AHEAD_MAX)
		return HB_STATUS_SEQUENCE_INVALID;
	if (window != NULL && f->sequence <= newest &&
		(newest - f->sequence >= REMEMBERED ||
			window->used[f->sequence % REMEMBERED] == f->sequence))
		return HB_STATUS_SEQUENCE_USED;
	c->sequence = f->sequence;
	return HB_STATUS_OK;
}

static void
use_token(struct command *c)
{
	const struct hb_frame *f = c->frame;
	struct window *window;

	if (c->sequence == 0)
		return;
	window = find(&c->m->windows, c->number, f->token_id, f->user);
	if (window == NULL)
		window = add(&c->m->windows, c->number, f->token_id, f->user);
	window->used[c->sequence % REMEMBERED] = c->sequence;
	if (c->sequence > window->newest)
		window->newest = c->sequence;
}

/* ---- idempotency keys ---- */

static struct key *
key_number(const struct command *c, uint32_t number)
{
	uint64_t room = c->m->capacity.idempotency;

	return entry(&c->m->keys, c->p->key_ring[number % room]);
}

static bool
oldest_key_is_over(const struct command *c)
{
	return c->p->keys > 0 && key_number(c, c->p->oldest_key)->time_ms + WEEK_MS < c->now_ms;
}

/*
 * Was this command done before? `done` is the key then. A key of zeros stands for token and
 * sequence: another command under it is told like a token that was used.
 */
static enum hb_status
key_status(struct command *c, const uint8_t key[16], const void *parameters, uint32_t bytes,
	const struct key **done)
{
	bool of_token;

	*done = NULL;
	memcpy(&c->key_a, key, 8);
	memcpy(&c->key_b, key + 8, 8);
	of_token = c->key_a == 0 && c->key_b == 0;
	if (of_token && c->frame->token_id == 0)
		return HB_STATUS_OK;
	if (of_token) {
		c->key_a = c->frame->token_id;
		c->key_b = c->frame->sequence | (uint64_t)c->frame->operation << 32;
	}
	c->has_key = true;
	c->key_bytes = bytes;
	c->parameters = parameters;
	*done = find(&c->m->keys, c->number, c->key_a, c->key_b);
	if (*done == NULL)
		return c->p->keys < c->m->capacity.idempotency || oldest_key_is_over(c)
			       ? HB_STATUS_OK
			       : HB_STATUS_TABLE_FULL;
	if ((*done)->bytes != bytes || memcmp((*done)->parameters, parameters, bytes) != 0) {
		enum hb_status status = of_token ? token_status(c) : HB_STATUS_CONFLICT;

		return status == HB_STATUS_OK ? HB_STATUS_SEQUENCE_USED : status;
	}
	return HB_STATUS_OK;
}

static void
keep_key(struct command *c, uint64_t result)
{
	struct key *key;

	if (!c->has_key || (c->key_a == 0 && c->key_b == 0))
		return;
	for (int i = 0; i < FORGOTTEN_KEYS && oldest_key_is_over(c); i++) {
		take_away(&c->m->keys, &key_number(c, c->p->oldest_key++)->node);
		c->p->keys--;
	}
	key = add(&c->m->keys, c->number, c->key_a, c->key_b);
	c->p->key_ring[c->p->next_key++ % c->m->capacity.idempotency] =
		(uint32_t)((uint64_t)((uint8_t *)key - c->m->keys.entries) / sizeof(*key));
	c->p->keys++;
	key->result = result;
	key->time_ms = c->now_ms;
	key->bytes = c->key_bytes;
	memcpy(key->parameters, c->parameters, c->key_bytes);
}

/* A refusal by key, or the answer that was given before. @return true when that is all */
static bool
answered_before(struct command *c, enum hb_status status, const struct key *done,
	int64_t amount_fen, bool has_order)
{
	if (status == HB_STATUS_OK && done == NULL)
		return false;
	answer(c, status);
	if (status != HB_STATUS_OK)
		return true;
	c->reply->head.flags = HB_REPLY_ALREADY;
	c->reply->head.amount_fen = amount_fen;
	c->reply->head.id = c->frame->target;
	c->reply->head.order_stamp = has_order ? done->result : 0;
	return true;
}

/* ---- packets ---- */

static struct packet *
packet_of(const struct command *c, uint64_t id)
{
	return find(&c->m->packets, c->number, id, 0);
}

static enum hb_status
absent(const struct command *c, uint64_t id, uint64_t kind, uint64_t last, enum hb_status gone,
	enum hb_status unknown)
{
	uint64_t counter = id & HB_ID_COUNTER_MASK;

	return counter >= 1 && counter <= last &&
			       id == make_id(kind, c->number, c->m->node, counter)
		       ? gone
		       : unknown;
}

static enum hb_status
packet_absent(const struct command *c)
{
	return absent(c, c->frame->target, 1, c->p->packet_counter, HB_STATUS_PACKET_GONE,
		HB_STATUS_PACKET_UNKNOWN);
}

/* A counter whose slot is in use is passed over, 64 at most. */
static uint64_t
next_counter(uint64_t last, const uint32_t *slots, uint64_t capacity)
{
	for (uint64_t n = last + 1; n <= last + SKIPPED_IDS_MAX; n++)
		if (slots[n % capacity] == 0)
			return n;
	return 0;
}

static const struct claim *
claim_of(const struct packet *packet, uint64_t user)
{
	for (uint32_t i = 0; i < packet->detail.taken_count; i++)
		if (packet->claims[i].user == user)
			return &packet->claims[i];
	return NULL;
}

static bool
is_member(const struct packet *packet, const struct hb_frame *frame)
{
	return packet->detail.kind == HB_PACKET_NORMAL ? frame->user == packet->detail.recipient
						       : frame->group == packet->detail.group;
}

static bool
packet_within_limits(const struct hb_frame_packet_create *f, const struct hb_engine_config *config)
{
	int64_t count = f->count;

	if (f->kind == HB_PACKET_NORMAL) {
		if (f->count != 1 || f->head.group != 0 || !is_user(f->recipient))
			return false;
	} else if (f->kind != HB_PACKET_LUCKY || f->head.group == 0 || f->recipient != 0) {
		return false;
	}
	if (f->algorithm != HB_SPLIT_DOUBLE_MEAN && f->algorithm != HB_SPLIT_SEED)
		return false;
	if (f->total_fen < 1 || f->total_fen > HB_PACKET_TOTAL_FEN_MAX ||
		f->total_fen > config->packet_total_fen_max || f->count < 1 ||
		f->count > HB_PACKET_COUNT_MAX || f->count > config->packet_count_max ||
		f->lifetime_s > config->packet_lifetime_s_max)
		return false;
	if (f->share_min_fen < 1 || f->share_min_fen > f->share_max_fen ||
		f->share_max_fen > f->total_fen)
		return false;
	return f->share_min_fen * count <= f->total_fen && f->total_fen <= f->share_max_fen * count;
}

static enum hb_status
debit_status(const struct account *account, int64_t amount_fen)
{
	if (account == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	if (account->barred)
		return HB_STATUS_ACCOUNT_FROZEN;
	if (account->available_fen < amount_fen)
		return HB_STATUS_INSUFFICIENT;
	return HB_STATUS_OK;
}

static enum hb_status
packet_status(struct command *c, const struct hb_frame_packet_create *f, uint64_t *counter,
	uint64_t *stamp)
{
	const struct account *sender = account_of(c->m, f->head.user);
	enum hb_status status = node_status(c, HB_STORAGE_NO_PACKETS);

	if (status != HB_STATUS_OK)
		return status;
	if (c->input->degrade_level >= HB_DEGRADE_NO_NEW_PACKETS)
		return HB_STATUS_DEGRADED;
	if (!packet_within_limits(f, c->input->config))
		return HB_STATUS_LIMIT;
	status = token_status(c);
	if (status != HB_STATUS_OK)
		return status;
	status = debit_status(sender, f->total_fen);
	if (status != HB_STATUS_OK)
		return status;
	*counter = next_counter(c->p->packet_counter, c->p->packet_slots, c->m->capacity.packets);
	if (*counter == 0)
		return HB_STATUS_TABLE_FULL;
	*stamp = stamp_next(c);
	return *stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static struct packet *
packet_made(
	struct command *c, const struct hb_frame_packet_create *f, uint64_t counter, uint64_t stamp)
{
	uint64_t id = make_id(1, c->number, c->m->node, counter);
	struct packet *packet = add(&c->m->packets, c->number, id, 0);
	struct hb_reply_detail *d = &packet->detail;

	c->p->packets++;
	c->p->packet_counter = counter;
	c->p->packet_slots[counter % c->m->capacity.packets] = 1;
	c->p->open_packets_fen += f->total_fen;
	packet->counter = counter;
	packet->claims = calloc(f->count, sizeof(*packet->claims));
	HB_ASSERT(packet->claims != NULL);
	memcpy(packet->seed, c->input->seed, 32);
	model_split(packet->seed, f->algorithm, f->total_fen, f->count, f->share_min_fen,
		f->share_max_fen, &packet->claims[0].amount_fen, sizeof(struct claim));
	d->head.id = id;
	d->head.order_stamp = stamp;
	d->head.amount_fen = f->share_min_fen;
	d->head.other_fen = f->share_max_fen;
	d->sender = f->head.user;
	d->group = f->head.group;
	d->recipient = f->recipient;
	d->total_fen = d->left_fen = f->total_fen;
	d->created_ms = c->now_ms;
	d->deadline_ms = c->now_ms + UINT64_C(1000) * f->lifetime_s;
	d->share_count = f->count;
	d->state = HB_PACKET_OPEN;
	d->kind = f->kind;
	d->algorithm = f->algorithm;
	d->greeting_length = f->greeting_length;
	memcpy(d->greeting, f->greeting, sizeof(d->greeting));
	return packet;
}

/* What is left out of a PACKET_CREATE says the same as what stands for it. */
static struct hb_frame_packet_create
packet_meant(const struct hb_frame_packet_create *f)
{
	struct hb_frame_packet_create meant = *f;

	meant.share_min_fen = f->share_min_fen == 0 ? 1 : f->share_min_fen;
	meant.share_max_fen = f->share_max_fen == 0 ? f->total_fen : f->share_max_fen;
	meant.lifetime_s = f->lifetime_s == 0 ? 86400 : f->lifetime_s;
	meant.algorithm = f->algorithm == 0 ? HB_SPLIT_DOUBLE_MEAN : f->algorithm;
	return meant;
}

static void
do_packet_create(struct command *c)
{
	const struct hb_frame_packet_create f = packet_meant((const void *)c->frame);
	uint64_t counter, stamp, parameters[24] = {f.head.user, f.head.group};
	const struct key *done;
	const struct packet *packet;
	enum hb_status status;

	if (c->frame->user != c->frame->target) {
		answer(c, HB_STATUS_FRAME_INVALID);
		return;
	}
	memcpy(&parameters[2], (const uint8_t *)&f + 80, 176);
	status = key_status(c, f.idempotency_key, parameters, 192, &done);
	if (status == HB_STATUS_OK && done != NULL) {
		packet = packet_of(c, done->result);
		answer(c, HB_STATUS_OK);
		c->reply->head.flags = HB_REPLY_ALREADY;
		c->reply->head.id = done->result;
		c->reply->head.order_stamp = packet != NULL ? packet->detail.head.order_stamp : 0;
		c->reply->head.amount_fen = f.total_fen;
		return;
	}
	if (status == HB_STATUS_OK)
		status = packet_status(c, &f, &counter, &stamp);
	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	record(c);
	use_stamp(c, stamp);
	packet = packet_made(c, &f, counter, stamp);
	give(c->m, f.head.user, -f.total_fen, f.total_fen);
	use_token(c);
	keep_key(c, packet->node.a);
	c->reply->head.id = packet->node.a;
	c->reply->head.order_stamp = stamp;
	c->reply->head.amount_fen = f.total_fen;
}

static enum hb_status
packet_close(struct command *c, struct packet *packet)
{
	struct hb_reply_detail *d = &packet->detail;
	uint64_t stamp = stamp_next(c);

	if (c->input->clock_stopped)
		return HB_STATUS_CLOCK_STOPPED;
	if (c->now_ms < d->deadline_ms)
		return HB_STATUS_NOT_DUE;
	if (stamp == 0)
		return HB_STATUS_BUSY;
	record(c);
	use_stamp(c, stamp);
	give(c->m, d->sender, d->left_fen, -d->left_fen);
	c->p->open_packets_fen -= d->left_fen;
	d->refunded_fen = d->left_fen;
	d->left_fen = 0;
	d->state = HB_PACKET_REFUNDED;
	packet->ended_sequence = c->p->sequence;
	return HB_STATUS_OK;
}

/* A winner was told before. Member, deadline, sold out; then the node; then the token. */
static enum hb_status
grab_status(struct command *c, struct packet *packet, uint64_t *stamp)
{
	bool due = c->now_ms >= packet->detail.deadline_ms;
	enum hb_status status;

	if (!is_member(packet, c->frame))
		return HB_STATUS_NOT_MEMBER;
	if (packet->detail.state == HB_PACKET_REFUNDED)
		return HB_STATUS_EXPIRED;
	if (packet->detail.state == HB_PACKET_SOLD_OUT)
		return due ? HB_STATUS_EXPIRED : HB_STATUS_SOLD_OUT;
	status = node_status(c, HB_STORAGE_NO_GRABS);
	if (status != HB_STATUS_OK)
		return status;
	if (due) {
		status = packet_close(c, packet);
		return status == HB_STATUS_OK ? HB_STATUS_EXPIRED : status;
	}
	if (c->input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	status = token_status(c);
	if (status != HB_STATUS_OK)
		return status;
	*stamp = stamp_next(c);
	return *stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static void
do_grab(struct command *c)
{
	struct packet *packet = packet_of(c, c->frame->target);
	struct hb_reply *reply = &c->reply->head;
	struct hb_reply_detail *d;
	const struct claim *mine;
	struct claim *claim;
	enum hb_status status;
	uint64_t stamp = 0;

	if (packet == NULL || !is_user(c->frame->user)) {
		answer(c, packet == NULL ? packet_absent(c) : HB_STATUS_NOT_MEMBER);
		return;
	}
	d = &packet->detail;
	mine = claim_of(packet, c->frame->user);
	status = mine != NULL ? HB_STATUS_OK : grab_status(c, packet, &stamp);
	answer(c, status);
	reply->id = packet->node.a;
	if (status != HB_STATUS_OK)
		return;
	if (mine != NULL) {
		reply->flags = HB_REPLY_ALREADY;
	} else {
		claim = &packet->claims[d->taken_count++];
		claim->user = c->frame->user;
		claim->time_ms = c->now_ms;
		record(c);
		use_stamp(c, stamp);
		use_token(c);
		give(c->m, d->sender, 0, -claim->amount_fen);
		send_credit(c, claim->user, claim->amount_fen);
		c->p->open_packets_fen -= claim->amount_fen;
		d->left_fen -= claim->amount_fen;
		if (d->taken_count == d->share_count) {
			d->state = HB_PACKET_SOLD_OUT;
			packet->ended_sequence = c->p->sequence;
		}
		mine = claim;
	}
	reply->amount_fen = mine->amount_fen;
	reply->other_fen = d->left_fen;
	reply->index = (uint32_t)(mine - packet->claims);
	reply->count = d->share_count - d->taken_count;
	reply->order_stamp = stamp;
}

static void
do_expire(struct command *c)
{
	struct packet *packet = packet_of(c, c->frame->target);
	enum hb_status status = HB_STATUS_OK;
	bool open;

	if (packet == NULL) {
		answer(c, packet_absent(c));
		return;
	}
	open = packet->detail.state == HB_PACKET_OPEN;
	if (open)
		status = packet_close(c, packet);
	answer(c, status);
	c->reply->head.flags = open ? 0 : HB_REPLY_ALREADY;
	c->reply->head.id = packet->node.a;
	c->reply->head.amount_fen = packet->detail.refunded_fen;
}

bool
model_expire_due(struct model *m, uint64_t id, const struct hb_input *input)
{
	struct command c = command_begin(m, model_partition(id), input);
	struct packet *packet = packet_of(&c, id);

	return packet != NULL && packet->detail.state == HB_PACKET_OPEN &&
	       packet_close(&c, packet) == HB_STATUS_OK;
}

/* The first of the largest shares, once it is certain; of one share nobody is the luckiest. */
static uint32_t
luckiest(const struct packet *packet)
{
	const struct hb_reply_detail *d = &packet->detail;
	uint32_t best = 0;

	if (d->state == HB_PACKET_OPEN || d->share_count == 1 || d->taken_count == 0)
		return UINT32_MAX;
	for (uint32_t i = 1; i < d->taken_count; i++)
		if (packet->claims[i].amount_fen > packet->claims[best].amount_fen)
			best = i;
	return best;
}

static void
do_detail(struct command *c)
{
	uint32_t first = ((const struct hb_frame_detail *)(const void *)c->frame)->claim_first;
	struct packet *packet = packet_of(c, c->frame->target);
	struct hb_reply_detail *d = &c->reply->detail;
	uint32_t n;

	if (packet == NULL) {
		answer(c, packet_absent(c));
		return;
	}
	if (!c->input->trusted && c->frame->user != packet->detail.sender &&
		!is_member(packet, c->frame) && claim_of(packet, c->frame->user) == NULL) {
		answer(c, HB_STATUS_NOT_MEMBER);
		return;
	}
	n = first < packet->detail.taken_count ? packet->detail.taken_count - first : 0;
	answer(c, HB_STATUS_OK);
	d->head.flags = n > 24 ? HB_REPLY_MORE : 0;
	n = n > 24 ? 24 : n;
	answer_body(c, sizeof(*d) + n * sizeof(d->claims[0]));
	if (!packet->committed)
		model_commitment(packet->detail.commitment, packet->node.a, packet->seed,
			packet->detail.total_fen, packet->detail.share_count,
			packet->detail.head.amount_fen, packet->detail.head.other_fen,
			packet->detail.algorithm);
	packet->committed = true;
	memcpy((uint8_t *)d + 64, (const uint8_t *)&packet->detail + 64, sizeof(*d) - 64);
	d->head.id = packet->node.a;
	d->head.order_stamp = packet->detail.head.order_stamp;
	d->head.amount_fen = packet->detail.head.amount_fen;
	d->head.other_fen = packet->detail.head.other_fen;
	d->head.index = first;
	d->head.count = n;
	d->luckiest_index = luckiest(packet);
	if (packet->detail.state != HB_PACKET_OPEN)
		memcpy(d->seed, packet->seed, 32);
	for (uint32_t i = 0; i < n; i++) {
		d->claims[i].user = packet->claims[first + i].user;
		d->claims[i].amount_fen = packet->claims[first + i].amount_fen;
		d->claims[i].time_ms = packet->claims[first + i].time_ms;
	}
}

/* ---- accounts, tokens ---- */

static void
do_balance(struct command *c)
{
	const struct account *account = account_of(c->m, c->frame->target);

	answer(c, account == NULL ? HB_STATUS_ACCOUNT_UNKNOWN : HB_STATUS_OK);
	if (account == NULL)
		return;
	c->reply->head.id = c->frame->target;
	c->reply->head.flags = account->barred ? HB_REPLY_BARRED : 0;
	c->reply->head.amount_fen = account->available_fen;
	c->reply->head.other_fen = account->frozen_fen;
}

static void
do_token_issue(struct command *c)
{
	uint8_t operation = ((const struct hb_frame_token *)(const void *)c->frame)->for_operation;
	const uint8_t *key = c->input->config->token_keys.key[0];
	uint64_t id = c->input->token_id;
	uint32_t expiry_s = (uint32_t)((id >> 14) / 1000) + 3600;
	struct hb_reply_token *token = (void *)(c->reply->bytes + 64);
	uint64_t user = c->frame->user, target = c->frame->target;
	enum hb_status status = HB_STATUS_OK;

	if (operation != HB_OP_GRAB && operation != HB_OP_PACKET_CREATE &&
		operation != HB_OP_TRANSFER)
		status = HB_STATUS_FRAME_INVALID;
	else if (!is_user(user) || (operation != HB_OP_GRAB && target != user))
		status = HB_STATUS_LIMIT;
	else if (operation == HB_OP_GRAB && packet_of(c, target) == NULL)
		status = packet_absent(c);
	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	answer_body(c, 64 + sizeof(*token));
	c->reply->head.id = user;
	c->reply->head.count = 1;
	*token = (struct hb_reply_token){
		.token_id = id,
		.token_mac = model_token_mac(key, id, user, target, expiry_s, operation),
		.user = user,
		.target = target,
		.expiry_s = expiry_s,
		.sequence = model_token_initial(key, id, user),
		.for_operation = operation,
	};
}

static void
do_account_open(struct command *c)
{
	const struct hb_frame_account_open *f = (const void *)c->frame;
	const uint64_t parameters[3] = {HB_OP_ACCOUNT_OPEN, c->frame->target, f->kind};
	const struct key *done;
	enum hb_status status =
		key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);

	if (answered_before(c, status, done, 0, false))
		return;
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status == HB_STATUS_OK && f->kind != 1 && f->kind != 2)
		status = HB_STATUS_LIMIT;
	if (status == HB_STATUS_OK && account_of(c->m, c->frame->target) != NULL)
		status = HB_STATUS_ACCOUNT_EXISTS;
	if (status == HB_STATUS_OK && accounts_low(c->m, c->number))
		status = HB_STATUS_TABLE_FULL;
	answer(c, status);
	c->reply->head.id = c->frame->target;
	if (status != HB_STATUS_OK)
		return;
	record(c);
	account_made(c->m, c->frame->target);
	keep_key(c, c->frame->target);
}

static void
do_freeze(struct command *c)
{
	const struct hb_frame_account_freeze *f = (const void *)c->frame;
	const uint64_t parameters[4] = {
		c->frame->operation, c->frame->target, f->case_id, f->operator_id};
	struct account *account = account_of(c->m, c->frame->target);
	bool freeze = c->frame->operation == HB_OP_ACCOUNT_FREEZE;
	const struct key *done;
	enum hb_status status =
		key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);

	if (answered_before(c, status, done, 0, false))
		return;
	status = account == NULL ? HB_STATUS_ACCOUNT_UNKNOWN
				 : node_status(c, HB_STORAGE_CONTROL_ONLY);
	answer(c, status);
	c->reply->head.id = c->frame->target;
	if (status != HB_STATUS_OK)
		return;
	if (account->barred == freeze) {
		c->reply->head.flags = HB_REPLY_ALREADY;
		return;
	}
	record(c);
	account->barred = freeze;
	keep_key(c, c->frame->target);
}

static enum hb_status
transfer_status(struct command *c, const struct hb_frame_transfer *f, uint64_t *stamp)
{
	const struct account *from = account_of(c->m, f->head.user);
	enum hb_status status = node_status(c, HB_STORAGE_NO_GRABS);

	if (status != HB_STATUS_OK)
		return status;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || !is_user(f->to) ||
		f->to == f->head.user)
		return HB_STATUS_LIMIT;
	status = token_status(c);
	if (status != HB_STATUS_OK)
		return status;
	status = debit_status(from, f->amount_fen);
	if (status != HB_STATUS_OK)
		return status;
	if (c->input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	*stamp = stamp_next(c);
	return *stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

/* What moves money and is done: the reply names amount and order. */
static void
answer_order(struct command *c, int64_t amount_fen, uint64_t stamp)
{
	c->reply->head.id = c->frame->target;
	c->reply->head.amount_fen = amount_fen;
	c->reply->head.order_stamp = stamp;
}

static void
do_transfer(struct command *c)
{
	const struct hb_frame_transfer *f = (const void *)c->frame;
	const uint64_t parameters[4] = {
		HB_OP_TRANSFER, c->frame->user, f->to, (uint64_t)f->amount_fen};
	const struct key *done;
	enum hb_status status;
	uint64_t stamp = 0;

	if (c->frame->user != c->frame->target) {
		answer(c, HB_STATUS_FRAME_INVALID);
		return;
	}
	status = key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);
	if (answered_before(c, status, done, f->amount_fen, true))
		return;
	status = transfer_status(c, f, &stamp);
	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	record(c);
	use_stamp(c, stamp);
	use_token(c);
	give(c->m, f->head.user, -f->amount_fen, 0);
	send_credit(c, f->to, f->amount_fen);
	keep_key(c, stamp);
	answer_order(c, f->amount_fen, stamp);
}

/* A channel, or another account of the node's own, owes only so much. */
static bool
may_owe(const struct model *m, uint64_t account, int64_t more_fen)
{
	const struct account *found = account_of(m, account);

	return more_fen - (found != NULL ? found->available_fen : 0) <= HB_MONEY_FEN_CAP / 128;
}

static enum hb_status
adjust_status(struct command *c, const struct hb_frame_adjust *f, uint64_t *stamp)
{
	uint64_t from = f->head.target;
	const struct account *account = account_of(c->m, from);
	enum hb_status status = node_status(c, HB_STORAGE_CONTROL_ONLY);

	if (status != HB_STATUS_OK)
		return status;
	if (f->maker_id == f->checker_id)
		return HB_STATUS_SAME_PERSON;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || f->case_id == 0 ||
		f->maker_id == 0 || f->checker_id == 0 || f->reason == 0 || f->to == from)
		return HB_STATUS_LIMIT;
	if (!(is_system(f->to) || (is_system(from) && is_user(f->to))))
		return HB_STATUS_LIMIT;
	if (is_system(from) && !may_owe(c->m, from, f->amount_fen))
		return HB_STATUS_LIMIT;
	if (!is_system(from) && account == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	if (!is_system(from) && account->available_fen < f->amount_fen)
		return HB_STATUS_INSUFFICIENT;
	if (c->input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	*stamp = stamp_next(c);
	return *stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static void
do_adjust(struct command *c)
{
	const struct hb_frame_adjust *f = (const void *)c->frame;
	const uint64_t parameters[8] = {HB_OP_ADJUST, c->frame->target, f->to,
		(uint64_t)f->amount_fen, f->case_id, f->maker_id, f->checker_id, f->reason};
	const struct key *done;
	uint64_t stamp = 0;
	enum hb_status status =
		key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);

	if (answered_before(c, status, done, f->amount_fen, true))
		return;
	status = adjust_status(c, f, &stamp);
	answer(c, status);
	c->reply->head.id = c->frame->target;
	if (status != HB_STATUS_OK)
		return;
	record(c);
	use_stamp(c, stamp);
	give(c->m, f->head.target, -f->amount_fen, 0);
	send_credit(c, f->to, f->amount_fen);
	keep_key(c, stamp);
	answer_order(c, f->amount_fen, stamp);
}

/* ---- orders ---- */

static struct order *
order_of(const struct command *c, uint64_t stamp)
{
	return stamp == 0 ? NULL : find(&c->m->orders, c->number, stamp, 0);
}

static struct order *
order_made(struct command *c, uint64_t stamp, uint64_t account, int64_t amount_fen, uint8_t state)
{
	struct order *order = add(&c->m->orders, c->number, stamp, 0);

	c->p->orders++;
	order->account = account;
	order->amount_fen = amount_fen;
	order->state = state;
	return order;
}

static bool
is_final(uint8_t state)
{
	return state == HB_ORDER_DONE || state == HB_ORDER_FAILED || state == HB_ORDER_INVALID;
}

static void
order_becomes(struct command *c, struct order *order, uint8_t state)
{
	order->state = state;
	if (!is_final(state))
		return;
	order->ended_ms = c->p->time_ns / 1000000000 * 1000;
	order->ended_sequence = c->p->sequence;
}

/* The steps of ORDER_UPDATE, as docs/frames.md lists them. */
static bool
step_allowed(bool goes_out, uint8_t before, uint8_t after)
{
	switch (before) {
	case HB_ORDER_OPEN:
		return !goes_out && (after == HB_ORDER_SENDING || after == HB_ORDER_FAILED ||
					    after == HB_ORDER_INVALID);
	case HB_ORDER_SENDING:
		return after == HB_ORDER_UNKNOWN ||
		       (goes_out ? after == HB_ORDER_APPROVED
				 : after == HB_ORDER_OPEN || after == HB_ORDER_FAILED);
	case HB_ORDER_UNKNOWN:
		return goes_out ? after == HB_ORDER_APPROVED
				: after == HB_ORDER_OPEN || after == HB_ORDER_FAILED;
	case HB_ORDER_REQUESTED:
		return goes_out && after == HB_ORDER_APPROVED;
	case HB_ORDER_APPROVED:
		return goes_out && after == HB_ORDER_SENDING;
	default:
		return false;
	}
}

static void
do_order_open(struct command *c)
{
	const struct hb_frame_order *f = (const void *)c->frame;
	const uint64_t parameters[6] = {HB_OP_ORDER_OPEN, c->frame->target, (uint64_t)f->amount_fen,
		f->business | (uint64_t)f->channel << 16, f->product, f->purpose_id};
	const struct key *done;
	struct order *order;
	uint64_t stamp = 0;
	enum hb_status status =
		key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);

	if (answered_before(c, status, done, f->amount_fen, true))
		return;
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status == HB_STATUS_OK &&
		(f->business != 10 || f->channel < 1 || f->channel > 4 || f->amount_fen < 1 ||
			f->amount_fen > HB_CREDIT_FEN_MAX || f->purpose_id != 0))
		status = HB_STATUS_LIMIT;
	if (status == HB_STATUS_OK && account_of(c->m, c->frame->target) == NULL)
		status = HB_STATUS_ACCOUNT_UNKNOWN;
	if (status == HB_STATUS_OK && orders_full(c))
		status = HB_STATUS_TABLE_FULL;
	if (status == HB_STATUS_OK) {
		stamp = stamp_next(c);
		status = stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
	}
	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	record(c);
	use_stamp(c, stamp);
	order = order_made(c, stamp, c->frame->target, f->amount_fen, HB_ORDER_OPEN);
	order->business = f->business;
	order->channel = f->channel;
	keep_key(c, stamp);
	answer_order(c, f->amount_fen, stamp);
}

static enum hb_status
credit_status(const struct command *c, const struct order *order, const struct hb_frame_order *f)
{
	enum hb_status status;

	if (order == NULL || order->account != c->frame->target)
		return HB_STATUS_ORDER_UNKNOWN;
	if (order->hold != 0)
		return HB_STATUS_ORDER_STATE;
	if (order->amount_fen != f->amount_fen)
		return HB_STATUS_AMOUNT_MISMATCH;
	if (order->state == HB_ORDER_DONE)
		return HB_STATUS_OK; /* settled already gets the same reply */
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status != HB_STATUS_OK)
		return status;
	if (is_final(order->state))
		return HB_STATUS_ORDER_STATE;
	return may_owe(c->m, make_id(0x7f, c->number, 0, order->channel), f->amount_fen)
		       ? HB_STATUS_OK
		       : HB_STATUS_LIMIT;
}

static void
do_credit(struct command *c)
{
	const struct hb_frame_order *f = (const void *)c->frame;
	struct order *order = order_of(c, f->order_stamp);
	enum hb_status status = credit_status(c, order, f);

	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	answer_order(c, f->amount_fen, f->order_stamp);
	if (order->state == HB_ORDER_DONE) {
		c->reply->head.flags = HB_REPLY_ALREADY;
		return;
	}
	record(c);
	order_becomes(c, order, HB_ORDER_DONE);
	order->settled_fen = f->amount_fen;
	give(c->m, make_id(0x7f, c->number, 0, order->channel), -f->amount_fen, 0);
	give(c->m, order->account, f->amount_fen, 0);
}

static void
do_order_query(struct command *c)
{
	const struct hb_frame_order *f = (const void *)c->frame;
	const struct order *order = order_of(c, f->order_stamp);
	struct hb_reply_order *reply = &c->reply->order;

	if (order == NULL || order->account != c->frame->target) {
		answer(c, HB_STATUS_ORDER_UNKNOWN);
		return;
	}
	answer(c, HB_STATUS_OK);
	answer_body(c, sizeof(*reply));
	answer_order(c, order->amount_fen, f->order_stamp);
	reply->account = order->account;
	reply->settled_fen = order->settled_fen;
	reply->business = order->business;
	reply->state = order->state;
	reply->attempt = order->attempt;
	reply->channel = order->channel;
	reply->hold_id = order->hold;
	reply->refunded_fen = order->refunded_fen;
}

static struct hold *
hold_of(const struct command *c, uint64_t id)
{
	return find(&c->m->holds, c->number, id, 0);
}

static enum hb_status
update_status(
	const struct command *c, const struct order *order, const struct hb_frame_order_update *f)
{
	enum hb_status status;

	if (order == NULL || order->account != c->frame->target)
		return HB_STATUS_ORDER_UNKNOWN;
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status != HB_STATUS_OK)
		return status;
	if (order->state != f->state_before ||
		!step_allowed(order->hold != 0, f->state_before, f->state_after))
		return HB_STATUS_ORDER_STATE;
	if (f->state_after != HB_ORDER_SENDING)
		return f->attempt == order->attempt && f->channel == 0 ? HB_STATUS_OK
								       : HB_STATUS_LIMIT;
	if (f->channel < 1 || f->channel > 4 || f->attempt != order->attempt + 1)
		return HB_STATUS_LIMIT;
	if (order->hold == 0)
		return f->channel == order->channel ? HB_STATUS_OK : HB_STATUS_LIMIT;
	if (account_of(c->m, order->account)->barred)
		return HB_STATUS_ACCOUNT_FROZEN;
	return c->now_ms < hold_of(c, order->hold)->deadline_ms ? HB_STATUS_OK : HB_STATUS_HOLD_DUE;
}

static void
do_order_update(struct command *c)
{
	const struct hb_frame_order_update *f = (const void *)c->frame;
	struct order *order = order_of(c, f->order_stamp);
	uint64_t parameters[2 + 14] = {HB_OP_ORDER_UPDATE, c->frame->target};
	const struct key *done;
	enum hb_status status;

	memcpy(&parameters[2], (const uint8_t *)f + 80, 80); /* all of the body but the key */
	status = key_status(c, f->idempotency_key, parameters, 96, &done);
	if (answered_before(c, status, done, order != NULL ? order->amount_fen : 0, true))
		return;
	status = update_status(c, order, f);
	answer(c, status);
	c->reply->head.id = c->frame->target;
	c->reply->head.order_stamp = f->order_stamp;
	if (status == HB_STATUS_ORDER_UNKNOWN)
		return;
	if (status == HB_STATUS_OK) {
		record(c);
		order->attempt = f->attempt;
		if (f->channel != 0)
			order->channel = f->channel;
		order_becomes(c, order, f->state_after);
		keep_key(c, f->order_stamp);
	}
	c->reply->head.amount_fen = order->amount_fen;
	c->reply->head.index = order->state;
	c->reply->head.count = order->attempt;
}

static enum hb_status
load_status(const struct command *c, const struct order *order, const struct hb_frame_order_load *f)
{
	const struct hold *hold = hold_of(c, f->hold_id);
	enum hb_status status;

	if (order != NULL)
		return order->account == c->frame->target && order->amount_fen == f->amount_fen &&
				       order->settled_fen == f->settled_fen &&
				       order->refunded_fen == f->refunded_fen &&
				       order->hold == f->hold_id &&
				       order->business == f->business &&
				       order->channel == f->channel && order->state == f->state
			       ? HB_STATUS_OK
			       : HB_STATUS_CONFLICT;
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status != HB_STATUS_OK)
		return status;
	if (f->order_stamp == 0 || (f->order_stamp & ~(UINT64_C(1) << 62)) > c->p->last_stamp)
		return HB_STATUS_ORDER_UNKNOWN;
	if (!is_final(f->state) || (hold != NULL && hold->state == HB_HOLD_OPEN))
		return HB_STATUS_ORDER_STATE;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || f->settled_fen < 0 ||
		f->settled_fen > f->amount_fen || f->refunded_fen < 0 ||
		f->refunded_fen > f->settled_fen || f->business < 10 || f->business > 99)
		return HB_STATUS_LIMIT;
	if (account_of(c->m, c->frame->target) == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	return orders_full(c) ? HB_STATUS_TABLE_FULL : HB_STATUS_OK;
}

static void
do_order_load(struct command *c)
{
	const struct hb_frame_order_load *f = (const void *)c->frame;
	struct order *order = order_of(c, f->order_stamp);
	enum hb_status status = load_status(c, order, f);

	answer(c, status);
	answer_order(c, status == HB_STATUS_OK ? f->amount_fen : 0, f->order_stamp);
	if (status != HB_STATUS_OK)
		return;
	if (order != NULL) {
		c->reply->head.flags = HB_REPLY_ALREADY;
		return;
	}
	record(c);
	order = order_made(c, f->order_stamp, c->frame->target, f->amount_fen, f->state);
	order->settled_fen = f->settled_fen;
	order->refunded_fen = f->refunded_fen;
	order->hold = f->hold_id;
	order->business = f->business;
	order->channel = f->channel;
	order_becomes(c, order, f->state);
}

/* ---- holds ---- */

static bool
is_counted(uint32_t reason)
{
	return reason == HB_HOLD_WITHDRAWAL || reason == HB_HOLD_CHANNEL_REFUND;
}

static void
answer_hold(struct command *c, const struct hold *hold)
{
	const struct account *account = account_of(c->m, hold->account);
	const struct order *order = order_of(c, hold->order);
	struct hb_reply_hold *reply = &c->reply->hold;

	answer_body(c, sizeof(*reply));
	reply->head.id = hold->node.a;
	reply->head.amount_fen = hold->amount_fen;
	reply->head.order_stamp = hold->order;
	reply->account = hold->account;
	reply->deadline_ms = hold->deadline_ms;
	reply->day = hold->day;
	reply->state = hold->state;
	reply->reason = (uint8_t)hold->reason;
	reply->order_state = order != NULL ? order->state : 0;
	if (account->day == hold->day) {
		reply->day_count = account->held[hold->reason].count;
		reply->day_fen = account->held[hold->reason].fen;
	}
}

static enum hb_status
hold_absent(const struct command *c)
{
	return absent(c, c->frame->target, 2, c->p->hold_counter, HB_STATUS_HOLD_GONE,
		HB_STATUS_HOLD_UNKNOWN);
}

static enum hb_status
hold_status(struct command *c, const struct hb_frame_hold *f, uint64_t *counter, uint64_t *stamp)
{
	const struct account *account = account_of(c->m, f->head.user);
	enum hb_status status = node_status(c, HB_STORAGE_NO_GRABS);

	if (status != HB_STATUS_OK)
		return status;
	if (f->amount_fen < 1 || f->amount_fen > HB_CREDIT_FEN_MAX || !is_counted(f->reason) ||
		f->lifetime_s > HB_HOLD_LIFETIME_S_MAX)
		return HB_STATUS_LIMIT;
	status = token_status(c);
	if (status != HB_STATUS_OK)
		return status;
	status = debit_status(account, f->amount_fen);
	if (status != HB_STATUS_OK)
		return status;
	if (account->day == model_beijing_day(c->now_ms) &&
		account->held[f->reason].count >= HB_HOLDS_PER_DAY_MAX)
		return HB_STATUS_LIMIT;
	*counter = next_counter(c->p->hold_counter, c->p->hold_slots, c->m->capacity.holds);
	if (*counter == 0 || orders_full(c))
		return HB_STATUS_TABLE_FULL;
	*stamp = stamp_next(c);
	return *stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

static struct hold *
hold_made(struct command *c, const struct hb_frame_hold *f, uint64_t counter, uint64_t stamp)
{
	uint64_t id = make_id(2, c->number, c->m->node, counter);
	uint64_t lifetime_s = f->lifetime_s == 0 ? 604800 : f->lifetime_s;
	struct hold *hold = add(&c->m->holds, c->number, id, 0);
	struct account *account = account_of(c->m, f->head.user);
	struct order *order = order_made(c, stamp, f->head.user, f->amount_fen, HB_ORDER_REQUESTED);

	c->p->holds++;
	c->p->hold_counter = counter;
	c->p->hold_slots[counter % c->m->capacity.holds] = 1;
	c->p->open_holds_fen += f->amount_fen;
	order->hold = id;
	order->business = f->reason == HB_HOLD_WITHDRAWAL ? 11 : 40;
	hold->counter = counter;
	hold->account = f->head.user;
	hold->amount_fen = f->amount_fen;
	hold->deadline_ms = c->now_ms + 1000 * lifetime_s;
	hold->order = stamp;
	hold->reason = f->reason;
	hold->state = HB_HOLD_OPEN;
	hold->day = model_beijing_day(c->now_ms);
	if (account->day != hold->day) {
		memset(account->held, 0, sizeof(account->held));
		account->day = hold->day;
	}
	account->held[f->reason].count++;
	account->held[f->reason].fen += f->amount_fen;
	return hold;
}

static void
do_hold(struct command *c)
{
	const struct hb_frame_hold *f = (const void *)c->frame;
	const uint64_t parameters[5] = {
		HB_OP_HOLD, c->frame->user, (uint64_t)f->amount_fen, f->reason, f->lifetime_s};
	uint64_t counter, stamp = 0;
	const struct hold *hold;
	const struct key *done;
	enum hb_status status;

	if (c->frame->user != c->frame->target) {
		answer(c, HB_STATUS_FRAME_INVALID);
		return;
	}
	status = key_status(c, f->idempotency_key, parameters, sizeof(parameters), &done);
	if (status == HB_STATUS_OK && done != NULL) {
		hold = hold_of(c, done->result);
		answer(c, HB_STATUS_OK);
		if (hold != NULL)
			answer_hold(c, hold);
		c->reply->head.flags = HB_REPLY_ALREADY;
		c->reply->head.id = done->result;
		c->reply->head.amount_fen = f->amount_fen;
		return;
	}
	if (status == HB_STATUS_OK)
		status = hold_status(c, f, &counter, &stamp);
	answer(c, status);
	if (status != HB_STATUS_OK)
		return;
	record(c);
	use_stamp(c, stamp);
	use_token(c);
	hold = hold_made(c, f, counter, stamp);
	give(c->m, f->head.user, -f->amount_fen, f->amount_fen);
	keep_key(c, hold->node.a);
	answer_hold(c, hold);
}

static bool
was_sent(const struct order *order)
{
	return order->state == HB_ORDER_SENDING || order->state == HB_ORDER_UNKNOWN;
}

/* Give the money back, and take the hold out of its day's count. */
static void
hold_void(struct command *c, struct hold *hold)
{
	struct account *account = account_of(c->m, hold->account);
	struct order *order = order_of(c, hold->order);

	order_becomes(c, order, was_sent(order) ? HB_ORDER_FAILED : HB_ORDER_INVALID);
	give(c->m, hold->account, hold->amount_fen, -hold->amount_fen);
	if (account->day != hold->day)
		return;
	account->held[hold->reason].count--;
	account->held[hold->reason].fen -= hold->amount_fen;
}

static void
hold_post(struct command *c, struct hold *hold, int64_t fee_fen)
{
	struct order *order = order_of(c, hold->order);

	order_becomes(c, order, HB_ORDER_DONE);
	order->settled_fen = hold->amount_fen;
	give(c->m, hold->account, 0, -hold->amount_fen);
	give(c->m, make_id(0x7f, c->number, 0, order->channel), hold->amount_fen - fee_fen, 0);
	if (fee_fen > 0)
		give(c->m, make_id(0x7f, c->number, 0, HB_SYSTEM_FEES), fee_fen, 0);
}

static void
hold_ends(struct command *c, struct hold *hold, uint8_t state, int64_t fee_fen, uint32_t reason)
{
	record(c);
	if (state == HB_HOLD_POSTED)
		hold_post(c, hold, fee_fen);
	else
		hold_void(c, hold);
	c->p->open_holds_fen -= hold->amount_fen;
	hold->state = state;
	hold->fee_fen = fee_fen;
	hold->exit_reason = reason;
	hold->ended_ms = c->p->time_ns / 1000000;
	hold->ended_sequence = c->p->sequence;
}

static enum hb_status
exit_status(const struct command *c, const struct hold *hold, const struct hb_frame_hold_exit *f)
{
	const struct order *order = order_of(c, hold->order);
	bool post = f->head.operation == HB_OP_POST;
	enum hb_status status;

	if (hold->amount_fen != f->amount_fen)
		return HB_STATUS_AMOUNT_MISMATCH;
	if (hold->state != HB_HOLD_OPEN) {
		if (hold->state != (post ? HB_HOLD_POSTED : HB_HOLD_VOIDED))
			return HB_STATUS_HOLD_STATE;
		/* what its deadline did is as good as asked for */
		return hold->exit_reason == 0 || (hold->exit_reason == f->reason &&
							 hold->fee_fen == f->fee_fen)
			       ? HB_STATUS_OK
			       : HB_STATUS_CONFLICT;
	}
	status = node_status(c, HB_STORAGE_CONTROL_ONLY);
	if (status != HB_STATUS_OK)
		return status;
	if (f->fee_fen < 0 || f->fee_fen > f->amount_fen || f->reason == 0)
		return HB_STATUS_LIMIT;
	return !post || was_sent(order) ? HB_STATUS_OK : HB_STATUS_ORDER_STATE;
}

static void
do_hold_exit(struct command *c)
{
	const struct hb_frame_hold_exit *f = (const void *)c->frame;
	struct hold *hold = hold_of(c, c->frame->target);
	bool post = c->frame->operation == HB_OP_POST;
	enum hb_status status;
	bool again;

	if (hold == NULL) {
		answer(c, hold_absent(c));
		return;
	}
	status = exit_status(c, hold, f);
	again = hold->state != HB_HOLD_OPEN;
	if (status == HB_STATUS_OK && !again)
		hold_ends(c, hold, post ? HB_HOLD_POSTED : HB_HOLD_VOIDED, f->fee_fen, f->reason);
	answer(c, status);
	answer_hold(c, hold);
	if (status != HB_STATUS_OK)
		return;
	if (again)
		c->reply->head.flags = HB_REPLY_ALREADY;
	else
		c->reply->head.other_fen = f->fee_fen;
}

static void
do_hold_query(struct command *c)
{
	const struct hold *hold = hold_of(c, c->frame->target);

	answer(c, hold == NULL ? hold_absent(c) : HB_STATUS_OK);
	if (hold != NULL)
		answer_hold(c, hold);
}

bool
model_void_due(struct model *m, uint64_t id, const struct hb_input *input)
{
	struct command c = command_begin(m, model_partition(id), input);
	struct hold *hold = hold_of(&c, id);

	if (hold == NULL || hold->state != HB_HOLD_OPEN || input->clock_stopped ||
		c.now_ms < hold->deadline_ms || was_sent(order_of(&c, hold->order)))
		return false;
	hold_ends(&c, hold, HB_HOLD_VOIDED, 0, 0);
	return true;
}

void
model_mark(struct model *m, uint32_t partition, const struct hb_input *input)
{
	struct command c = command_begin(m, partition, input);

	record(&c);
}

/* ---- what is over is forgotten ---- */

/* All of the retention while a table is half empty, nothing of it when it is full. */
static uint64_t
kept_ms(uint64_t retention_ms, uint64_t used, uint64_t room)
{
	if (used * 2 <= room)
		return retention_ms;
	return used >= room ? 0 : retention_ms / (room / 2) * (room - used);
}

static bool
over(const struct command *c, uint64_t ended_ms, uint64_t ended_sequence, uint64_t used,
	uint64_t room)
{
	return ended_ms + kept_ms(c->input->retention_ms, used, room) <= c->now_ms &&
	       ended_sequence <= c->input->applied_sequence;
}

static bool
packet_over(const struct command *c, const struct packet *packet)
{
	const struct hb_reply_detail *d = &packet->detail;

	return d->state != HB_PACKET_OPEN &&
	       over(c,
		       d->state == HB_PACKET_REFUNDED ? d->deadline_ms
						      : packet->claims[d->share_count - 1].time_ms,
		       packet->ended_sequence, c->p->packets, c->m->capacity.packets);
}

static bool
hold_over(const struct command *c, const struct hold *hold)
{
	return hold->state != HB_HOLD_OPEN &&
	       over(c, hold->ended_ms, hold->ended_sequence, c->p->holds, c->m->capacity.holds);
}

static bool
order_over(const struct command *c, const struct order *order)
{
	uint64_t room = c->m->capacity.orders;

	return is_final(order->state) &&
	       over(c, order->ended_ms, order->ended_sequence, c->p->orders, room - room / 4);
}

bool
model_may_forget(const struct model *m, uint32_t partition, uint32_t object_kind, uint64_t object,
	const struct hb_input *input)
{
	struct command c = command_begin((struct model *)m, partition, input);
	const struct packet *packet = packet_of(&c, object);
	const struct order *order = order_of(&c, object);
	const struct hold *hold = hold_of(&c, object);

	if (input->clock_stopped)
		return false;
	if (object_kind == HB_OBJECT_PACKET)
		return packet != NULL && packet_over(&c, packet);
	if (object_kind == HB_OBJECT_HOLD)
		return hold != NULL && hold_over(&c, hold);
	return object_kind == HB_OBJECT_ORDER && order != NULL && order_over(&c, order);
}

bool
model_has_forgettable(const struct model *m, uint32_t partition, const struct hb_input *input)
{
	const struct table *tables[] = {&m->packets, &m->holds, &m->orders};

	for (uint32_t kind = 1; kind <= 3; kind++)
		for (uint32_t i = 0; i < tables[kind - 1]->used; i++) {
			const struct node *node = entry(tables[kind - 1], i);

			if (node->there && node->partition == partition &&
				model_may_forget(m, partition, kind, node->a, input))
				return true;
		}
	return false;
}

void
model_forget(struct model *m, uint32_t partition, uint32_t object_kind, uint64_t object,
	const struct hb_input *input)
{
	struct command c = command_begin(m, partition, input);
	struct packet *packet = packet_of(&c, object);
	struct hold *hold = hold_of(&c, object);

	record(&c);
	if (object_kind == HB_OBJECT_PACKET) {
		c.p->packets--;
		c.p->packet_slots[packet->counter % m->capacity.packets] = 0;
		free(packet->claims);
		take_away(&m->packets, &packet->node);
	} else if (object_kind == HB_OBJECT_HOLD) {
		c.p->holds--;
		c.p->hold_slots[hold->counter % m->capacity.holds] = 0;
		take_away(&m->holds, &hold->node);
	} else {
		c.p->orders--;
		take_away(&m->orders, &order_of(&c, object)->node);
	}
}

/* ---- the door ---- */

void
model_ask(struct model *m, const struct hb_frame *frame, const struct hb_input *input,
	union model_reply *reply, struct model_effect *effect)
{
	static void (*const operations[HB_OP_COUNT])(struct command *) = {
		[HB_OP_GRAB] = do_grab,
		[HB_OP_PACKET_CREATE] = do_packet_create,
		[HB_OP_PACKET_DETAIL] = do_detail,
		[HB_OP_BALANCE] = do_balance,
		[HB_OP_TRANSFER] = do_transfer,
		[HB_OP_TOKEN_ISSUE] = do_token_issue,
		[HB_OP_ACCOUNT_OPEN] = do_account_open,
		[HB_OP_ORDER_OPEN] = do_order_open,
		[HB_OP_CREDIT] = do_credit,
		[HB_OP_ORDER_QUERY] = do_order_query,
		[HB_OP_PACKET_EXPIRE] = do_expire,
		[HB_OP_ACCOUNT_FREEZE] = do_freeze,
		[HB_OP_ACCOUNT_UNFREEZE] = do_freeze,
		[HB_OP_HOLD] = do_hold,
		[HB_OP_POST] = do_hold_exit,
		[HB_OP_VOID] = do_hold_exit,
		[HB_OP_HOLD_QUERY] = do_hold_query,
		[HB_OP_ORDER_UPDATE] = do_order_update,
		[HB_OP_ORDER_LOAD] = do_order_load,
		[HB_OP_ADJUST] = do_adjust,
	};
	struct command c = command_begin(m, model_partition(frame->target), input);

	memset(effect, 0, sizeof(*effect));
	c.frame = frame;
	c.reply = reply;
	c.effect = effect;
	if (operations[frame->operation] != NULL) {
		operations[frame->operation](&c);
		return;
	}
	if (frame->operation == HB_OP_MARK)
		record(&c);
	/* the others are the dataplane's own */
	answer(&c, frame->operation == HB_OP_MARK ? HB_STATUS_OK : HB_STATUS_FRAME_INVALID);
}

struct model_totals
model_totals(const struct model *m, uint32_t partition)
{
	const struct part *p = &m->part[partition];

	return (struct model_totals){.sequence = p->sequence,
		.time_ns = p->time_ns,
		.last_stamp = p->last_stamp,
		.accounts = p->accounts,
		.packets = p->packets,
		.holds = p->holds,
		.orders = p->orders,
		.open_packets_fen = p->open_packets_fen,
		.open_holds_fen = p->open_holds_fen};
}

int64_t
model_money(const struct model *m)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < m->accounts.used; i++) {
		const struct account *account = entry(&m->accounts, i);

		sum += account->available_fen + account->frozen_fen;
	}
	return sum;
}

bool
model_pick(const struct model *m, uint32_t object_kind, uint64_t random, uint64_t *id,
	uint64_t *deadline_ms, bool *open)
{
	const struct table *t = object_kind == HB_OBJECT_PACKET ? &m->packets : &m->holds;
	const struct node *node;

	if (t->used == 0)
		return false;
	node = entry(t, (uint32_t)(random % t->used));
	if (!node->there)
		return false;
	*id = node->a;
	if (object_kind == HB_OBJECT_PACKET) {
		const struct packet *packet = (const void *)node;

		*deadline_ms = packet->detail.deadline_ms;
		*open = packet->detail.state == HB_PACKET_OPEN;
	} else {
		const struct hold *hold = (const void *)node;

		*deadline_ms = hold->deadline_ms;
		*open = hold->state == HB_HOLD_OPEN;
	}
	return true;
}
