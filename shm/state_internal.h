/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What only the engine's own files share: changing tables and keeping the hashes true. Everything
 * here that is not const is called by apply or by loading a snapshot, nobody else.
 */
#ifndef HB_SHM_STATE_INTERNAL_H
#define HB_SHM_STATE_INTERNAL_H

#include <string.h>

#include "base/bits.h"
#include "base/prefetch.h"
#include "shm/engine.h"
#include "shm/ids.h"
#include "shm/state.h"

#define HBI_ARENA_UNIT_BYTES 16

/* Factors of an account's balances in the hashes: sums of factor * fen mod 2^64. */
static inline uint64_t
hbi_key_available(uint64_t account)
{
	return hb_mix64(account * 2 + UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t
hbi_key_frozen(uint64_t account)
{
	return hb_mix64(account * 2 + UINT64_C(0x9e3779b97f4a7c16));
}

/**
 * What a balance change adds to the hash of the ring whose record caused it. Most changes are of
 * one balance: the factor of the other is not worked out, as nothing times it is nothing.
 */
static inline uint64_t
hbi_balance_delta(uint64_t account, int64_t available_fen, int64_t frozen_fen)
{
	uint64_t delta = 0;

	if (available_fen != 0)
		delta += hbi_key_available(account) * (uint64_t)available_fen;
	if (frozen_fen != 0)
		delta += hbi_key_frozen(account) * (uint64_t)frozen_fen;
	return delta;
}

/** The part of a packet's hash that a grab changes, and the part that it does not. */
static inline uint64_t
hbi_packet_hash_moving(const struct hb_packet *packet)
{
	uint64_t moving = hb_mix64((uint64_t)packet->left_fen) + packet->left_count +
			  ((uint64_t)packet->state << 32);

	return hb_mix64(packet->id ^ moving);
}

static inline uint64_t
hbi_packet_hash(const struct hb_packet *packet)
{
	return hbi_packet_hash_moving(packet) +
	       hb_mix64((uint64_t)packet->refunded_fen ^ packet->id);
}

static inline uint64_t
hbi_claim_hash(uint64_t packet, uint64_t user, uint32_t share_index, int64_t amount_fen)
{
	return hb_mix64(
		packet ^ hb_mix64(user + ((uint64_t)share_index << 52)) ^ (uint64_t)amount_fen);
}

static inline uint64_t
hbi_token_use_hash(const struct hb_token_use *use, uint64_t user)
{
	return hb_mix64(use->token_id ^ hb_mix64(user) ^ (uint64_t)use->sequence << 40);
}

uint64_t hbi_order_hash(const struct hb_order *order);
uint64_t hbi_idempotency_hash(const struct hb_idempotency_entry *entry);

/** Slot that a look-up of the account begins with. */
static inline uint64_t
hbi_account_home(const struct hb_partition *p, uint64_t account)
{
	return hb_mix64(account) >> 8 & (p->capacity.accounts - 1);
}

/** Slot of the account, or the free slot where it would go. The table is never full. */
static inline struct hb_account *
hbi_account_slot(const struct hb_partition *p, uint64_t account)
{
	uint64_t mask = p->capacity.accounts - 1;
	uint64_t i = hbi_account_home(p, account);

	while (p->accounts[i].id != account && p->accounts[i].id != 0)
		i = (i + 1) & mask;
	return &p->accounts[i];
}

static inline void
hbi_account_prefetch(const struct hb_partition *p, uint64_t account)
{
	hb_prefetch_write(&p->accounts[hbi_account_home(p, account)]);
}
/** The account's slot, opened with `kind` when missing. Asserts that the table has room. */
struct hb_account *hbi_account_get(struct hb_partition *p, uint64_t account, uint8_t kind);
/**
 * Change balances in memory, balance_hash and a running audit; asserts no user goes below 0.
 * @param delta hbi_balance_delta of the same change
 */
void hbi_account_change(struct hb_partition *p, struct hb_account *account, int64_t available_fen,
	int64_t frozen_fen, uint64_t delta);

/* arena.c: blocks by size class. */
#define HBI_ARENA_CLASSES 192

/** Units of 16 bytes that a packet's block takes: its class's size. */
uint64_t hbi_packet_block_units(uint32_t count, uint8_t greeting_length);
/** Is there a block for such a packet? */
bool hbi_arena_room(const struct hb_partition *p, uint32_t count, uint8_t greeting_length);
/** Take a block of zeros; asserts that there is one. @return its first unit */
uint32_t hbi_arena_take(struct hb_partition *p, uint32_t count, uint8_t greeting_length);
/** Give a packet's block back. */
void hbi_arena_give(struct hb_partition *p, const struct hb_packet *packet);

static inline struct hb_packet *
hbi_packet_slot(const struct hb_partition *p, uint64_t packet)
{
	return &p->packets[(packet & HB_ID_COUNTER_MASK) & (p->capacity.packets - 1)];
}

static inline struct hb_packet *
hbi_packet_find(const struct hb_partition *p, uint64_t packet)
{
	struct hb_packet *slot = hbi_packet_slot(p, packet);

	return packet != 0 && slot->id == packet ? slot : NULL;
}

static inline struct hb_claim *
hbi_claims(const struct hb_partition *p, const struct hb_packet *packet)
{
	return (struct hb_claim *)(p->arena + (uint64_t)packet->block * HBI_ARENA_UNIT_BYTES);
}

/** Bytes of the claims and their index. */
uint64_t hbi_claim_bytes(uint32_t count);

/** Slots of the claim index, 0 for small packets. */
static inline uint32_t
hbi_claim_index_slots(uint32_t count)
{
	return count <= HB_CLAIMS_LINEAR_MAX ? 0 : (uint32_t)hb_power_of_two_ceil(2ull * count);
}

static inline uint32_t *
hbi_claim_index(const struct hb_partition *p, const struct hb_packet *packet)
{
	return (uint32_t *)(hbi_claims(p, packet) + packet->count);
}

/* An entry of the index: number of the claim + 1, and bits of the hash so that a look at the claim
 * of somebody else is rare. */
#define HBI_CLAIM_NUMBER_BITS 17
#define HBI_CLAIM_NUMBER_MASK ((1u << HBI_CLAIM_NUMBER_BITS) - 1)
_Static_assert(HB_PACKET_COUNT_MAX <= HBI_CLAIM_NUMBER_MASK, "number of a claim in its index");

/* The seed salts the index, so nobody can choose users that collide. */
static inline uint64_t
hbi_claim_key(const struct hb_packet *packet, uint64_t user)
{
	uint64_t salt;

	memcpy(&salt, packet->seed, sizeof(salt));
	return hb_mix64(user ^ salt);
}

static inline uint32_t
hbi_claim_tag(uint64_t key)
{
	return (uint32_t)(key >> 32) & ~HBI_CLAIM_NUMBER_MASK;
}

/** The claim of a user in a packet, or NULL. */
static inline struct hb_claim *
hbi_claim_find(const struct hb_partition *p, const struct hb_packet *packet, uint64_t user)
{
	struct hb_claim *claims = hbi_claims(p, packet);
	uint32_t slots = hbi_claim_index_slots(packet->count);
	const uint32_t *index;
	uint64_t key;

	if (slots == 0) {
		uint32_t taken = packet->count - packet->left_count;

		for (uint32_t i = 0; i < taken; i++)
			if (claims[i].user == user)
				return &claims[i];
		return NULL;
	}
	index = hbi_claim_index(p, packet);
	key = hbi_claim_key(packet, user);
	for (uint32_t i = (uint32_t)key & (slots - 1); index[i] != 0; i = (i + 1) & (slots - 1)) {
		struct hb_claim *claim = &claims[(index[i] & HBI_CLAIM_NUMBER_MASK) - 1];

		if (((index[i] ^ hbi_claim_tag(key)) & ~HBI_CLAIM_NUMBER_MASK) == 0 &&
			claim->user == user)
			return claim;
	}
	return NULL;
}

uint8_t *hbi_packet_greeting(const struct hb_partition *p, const struct hb_packet *packet);
/** Enter claim number `claim` of a packet into its index, if it has one. */
void hbi_claim_index_add(struct hb_partition *p, struct hb_packet *packet, uint32_t claim);

/** Slot that a look-up of the window begins with. */
static inline uint64_t
hbi_window_home(const struct hb_partition *p, uint64_t token_id, uint64_t user)
{
	return hb_mix64(token_id + user * UINT64_C(0x9e3779b97f4a7c15)) & (p->capacity.windows - 1);
}

/** May this sequence be used now? @return HB_STATUS_OK or why not */
enum hb_status hbi_window_check(const struct hb_partition *p, uint64_t token_id, uint64_t user,
	uint32_t sequence, uint32_t initial);
/** Can a record use this sequence, however far it runs ahead? For records that were decided. */
bool hbi_window_takes(
	const struct hb_partition *p, uint64_t token_id, uint64_t user, uint32_t sequence);
/** Use a sequence: changes the window and the hash, sweeps a few slots. No-op for token_id 0. */
void hbi_window_use(
	struct hb_partition *p, const struct hb_token_use *use, uint64_t user, uint64_t time_ns);
struct hb_window *hbi_window_insert(struct hb_partition *p, uint64_t token_id, uint64_t user);

bool hbi_idempotency_is_none(const struct hb_idempotency *idempotency);
/** True when a further key can be kept at this time. */
bool hbi_idempotency_room(const struct hb_partition *p, uint64_t time_ms);
/** Keep a record's key and its result; forgets keys older than HB_IDEMPOTENCY_KEPT_S. */
void hbi_idempotency_keep(struct hb_partition *p, const struct hb_idempotency *idempotency,
	uint8_t record_type, uint64_t result, uint64_t time_ns);
void hbi_idempotency_index_add(struct hb_partition *p, uint64_t number);

/* orders.c */
struct hb_order *hbi_order_insert(struct hb_partition *p, uint64_t stamp);
void hbi_order_delete(struct hb_partition *p, struct hb_order *order);
bool hbi_order_room(const struct hb_partition *p);
bool hbi_order_final(const struct hb_order *order);

/* Who may take an order from one state to another. */
enum hbi_step_by {
	HBI_BY_UPDATE,
	HBI_BY_CREDIT,
	HBI_BY_POST,
	HBI_BY_VOID,
};
bool hbi_step_allowed(const struct hb_order *order, uint8_t state_after, enum hbi_step_by by);
/** The state a VOID leaves the order in: invalid when it was never sent, else failed. */
uint8_t hbi_void_state(const struct hb_order *order);

/* holds.c */

/** The next counter with a free slot, at most HB_ID_SKIP_MAX ahead. @return 0 when there is none */
uint64_t hbi_packet_counter_next(const struct hb_partition *p);
uint64_t hbi_hold_counter_next(const struct hb_partition *p);
/** HOLD_GONE or HOLD_UNKNOWN for a hold that is not in memory. */
enum hb_status hbi_hold_absent(const struct hb_partition *p, uint64_t hold);
/** Index of a reason in an account's counters of the day, or -1 when it is not counted. */
int hbi_day_index(uint32_t reason);
/** Count a hold, or with `sign` -1 take it back if its day is still the account's. */
void hbi_day_add(struct hb_partition *p, struct hb_account *account, const struct hb_hold *hold,
	int64_t sign);
uint64_t hbi_hold_hash(const struct hb_hold *hold);
/**
 * What a POST or VOID says besides the amount, in 16 bits: tells the same command again from
 * another one. 0 for reason 0, the deadline's.
 */
uint16_t hbi_exit_content(int64_t fee_fen, uint32_t reason);

#endif
