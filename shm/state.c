/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of a partition: where they lie in the segment, look-ups, and the few ways apply changes
 * them. The segment belongs to its one owner; nothing here allocates after hb_state_create.
 */
#include "shm/state.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

#define PARTITIONS_OFFSET (2 * HB_SEGMENT_GUARD_BYTES)
#define TABLE_ALIGN	  UINT64_C(4096)

static bool
capacity_sane(const struct hb_capacity *c)
{
	return hb_is_power_of_two(c->accounts) && hb_is_power_of_two(c->packets) &&
	       hb_is_power_of_two(c->arena_bytes) && hb_is_power_of_two(c->windows) &&
	       hb_is_power_of_two(c->orders) && hb_is_power_of_two(c->idempotency) &&
	       hb_is_power_of_two(c->holds) && c->holds <= UINT32_MAX / 2 &&
	       c->idempotency <= UINT32_MAX / 2 &&
	       c->arena_bytes / HBI_ARENA_UNIT_BYTES <= UINT32_MAX;
}

static void *
place(uint8_t *base, uint64_t *offset, uint64_t bytes)
{
	void *at = base == NULL ? NULL : base + *offset;

	*offset = hb_round_up(*offset + bytes, TABLE_ALIGN);
	return at;
}

/* Set a partition's pointers from its base; with base NULL only count. @return bytes taken */
static uint64_t
partition_layout(struct hb_partition *p, uint8_t *base, const struct hb_capacity *c)
{
	uint64_t offset = 0;

	p->capacity = *c;
	p->head = place(base, &offset, sizeof(*p->head));
	p->accounts = place(base, &offset, c->accounts * sizeof(*p->accounts));
	p->packets = place(base, &offset, c->packets * sizeof(*p->packets));
	p->arena = place(base, &offset, c->arena_bytes);
	p->windows = place(base, &offset, c->windows * sizeof(*p->windows));
	p->orders = place(base, &offset, c->orders * sizeof(*p->orders));
	p->idempotency = place(base, &offset, c->idempotency * sizeof(*p->idempotency));
	p->holds = place(base, &offset, c->holds * sizeof(*p->holds));
	p->arena_free = place(base, &offset, HBI_ARENA_CLASSES * sizeof(*p->arena_free));
	p->idempotency_index =
		place(base, &offset, 2 * c->idempotency * sizeof(*p->idempotency_index));
	return offset;
}

static struct hb_state_head *
state_head(const struct hb_segment *segment)
{
	return (struct hb_state_head *)(segment->base + HB_SEGMENT_GUARD_BYTES);
}

static void
state_map_partitions(struct hb_state *state)
{
	const struct hb_state_head *head = state_head(&state->segment);

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct hb_partition *p = &state->partition[i];

		partition_layout(p,
			state->segment.base + PARTITIONS_OFFSET + i * head->partition_bytes,
			&head->capacity);
		p->number = i;
		p->node = head->node;
		memset(&p->audit, 0, sizeof(p->audit));
	}
}

uint64_t
hb_state_bytes(const struct hb_capacity *capacity)
{
	struct hb_partition measure;

	return PARTITIONS_OFFSET + HB_PARTITION_COUNT * partition_layout(&measure, NULL, capacity);
}

int
hb_state_create(struct hb_state *state, const struct hb_capacity *capacity, uint32_t node)
{
	struct hb_partition measure;
	struct hb_state_head *head;
	uint64_t partition_bytes;
	int error;

	if (!capacity_sane(capacity) || node > HB_NODE_MAX)
		return -EINVAL;
	partition_bytes = partition_layout(&measure, NULL, capacity);
	error = hb_segment_create(
		&state->segment, "hongbao-state", HB_SEGMENT_STATE, hb_state_bytes(capacity));
	if (error != 0)
		return error;
	head = state_head(&state->segment);
	head->capacity = *capacity;
	head->node = node;
	head->partition_count = HB_PARTITION_COUNT;
	head->partition_bytes = partition_bytes;
	state_map_partitions(state);
	hb_segment_ready(&state->segment);
	return 0;
}

int
hb_state_attach(struct hb_state *state, int fd, char error[160])
{
	const struct hb_state_head *head;
	struct hb_partition measure;
	int result = hb_segment_attach(&state->segment, fd, HB_SEGMENT_STATE, true, error);

	if (result != 0)
		return result;
	head = state_head(&state->segment);
	if (!capacity_sane(&head->capacity) || head->partition_count != HB_PARTITION_COUNT ||
		head->partition_bytes != partition_layout(&measure, NULL, &head->capacity) ||
		state->segment.bytes !=
			PARTITIONS_OFFSET + HB_PARTITION_COUNT * head->partition_bytes) {
		hb_segment_close(&state->segment);
		strncpy(error, "the state segment's capacities do not add up to its size", 159);
		error[159] = '\0';
		return -EPROTO;
	}
	state_map_partitions(state);
	return 0;
}

void
hb_state_close(struct hb_state *state)
{
	hb_segment_close(&state->segment);
	memset(state->partition, 0, sizeof(state->partition));
}

struct hb_account *
hb_account_find(const struct hb_partition *p, uint64_t account)
{
	struct hb_account *slot;

	if (account == 0)
		return NULL;
	slot = hbi_account_slot(p, account);
	return slot->id == account ? slot : NULL;
}

struct hb_account *
hbi_account_get(struct hb_partition *p, uint64_t account, uint8_t kind)
{
	struct hb_account *slot;

	HB_ASSERT(account != 0);
	slot = hbi_account_slot(p, account);
	if (slot->id == account)
		return slot;
	HB_ASSERT(hb_partition_of(account) == p->number);
	HB_ASSERT(p->head->account_count + 1 < p->capacity.accounts);
	slot->id = account;
	slot->kind = kind;
	p->head->account_count++;
	return slot;
}

void
hbi_account_change(struct hb_partition *p, struct hb_account *account, int64_t available_fen,
	int64_t frozen_fen, uint64_t delta)
{
	HB_ASSERT(!__builtin_add_overflow(
		account->available_fen, available_fen, &account->available_fen));
	HB_ASSERT(!__builtin_add_overflow(account->frozen_fen, frozen_fen, &account->frozen_fen));
	HB_ASSERT(account->frozen_fen >= 0);
	HB_ASSERT(account->available_fen >= 0 || account->kind == HB_ACCOUNT_SYSTEM);
	account->version++;
	p->head->balance_hash += delta;
	if ((uint64_t)(account - p->accounts) < p->audit.cursor)
		p->audit.sum += delta;
}

bool
hb_accounts_low(const struct hb_partition *p)
{
	return p->head->account_count >= p->capacity.accounts - p->capacity.accounts / 4;
}

struct hb_packet *
hb_packet_find(const struct hb_partition *p, uint64_t packet)
{
	return hbi_packet_find(p, packet);
}

struct hb_claim *
hb_packet_claims(const struct hb_partition *p, const struct hb_packet *packet)
{
	return hbi_claims(p, packet);
}

uint64_t
hbi_claim_bytes(uint32_t count)
{
	return (uint64_t)count * sizeof(struct hb_claim) +
	       (uint64_t)hbi_claim_index_slots(count) * sizeof(uint32_t);
}

uint8_t *
hbi_packet_greeting(const struct hb_partition *p, const struct hb_packet *packet)
{
	return (uint8_t *)hb_packet_claims(p, packet) + hbi_claim_bytes(packet->count);
}

const uint8_t *
hb_packet_greeting(const struct hb_partition *p, const struct hb_packet *packet)
{
	return hbi_packet_greeting(p, packet);
}

struct hb_claim *
hb_claim_find(const struct hb_partition *p, const struct hb_packet *packet, uint64_t user)
{
	return hbi_claim_find(p, packet, user);
}

void
hbi_claim_index_add(struct hb_partition *p, struct hb_packet *packet, uint32_t claim)
{
	uint32_t slots = hbi_claim_index_slots(packet->count);
	uint32_t *index;
	uint64_t key;
	uint32_t i;

	if (slots == 0)
		return;
	index = hbi_claim_index(p, packet);
	key = hbi_claim_key(packet, hbi_claims(p, packet)[claim].user);
	i = (uint32_t)key & (slots - 1);
	while (index[i] != 0)
		i = (i + 1) & (slots - 1);
	index[i] = hbi_claim_tag(key) | (claim + 1);
}

uint64_t
hbi_order_hash(const struct hb_order *order)
{
	return hb_mix64(order->stamp ^
			hb_mix64((uint64_t)order->settled_fen + order->state +
				 ((uint64_t)order->attempt << 48)) ^
			hb_mix64((uint64_t)order->refunded_fen));
}

uint64_t
hbi_idempotency_hash(const struct hb_idempotency_entry *entry)
{
	uint64_t key[2];

	memcpy(key, entry->key, sizeof(key));
	return hb_mix64(key[0] ^ hb_mix64(key[1] ^ entry->result));
}
