/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotency keys: a FIFO of the last 7 days with an index by key. Kept and forgotten by apply
 * alone, by the time of the record at hand.
 */
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

#define FORGET_MAX 4 /* per key kept: enough to shrink after a busy time */

static uint64_t
key_home(const struct hb_partition *p, const uint8_t key[16])
{
	uint64_t half[2];

	memcpy(half, key, sizeof(half));
	return hb_mix64(half[0] ^ hb_mix64(half[1])) & (2 * p->capacity.idempotency - 1);
}

static struct hb_idempotency_entry *
entry_at(const struct hb_partition *p, uint64_t number)
{
	return &p->idempotency[number & (p->capacity.idempotency - 1)];
}

struct hb_idempotency_entry *
hb_idempotency_find(const struct hb_partition *p, const uint8_t key[16])
{
	uint64_t mask = 2 * p->capacity.idempotency - 1;

	for (uint64_t i = key_home(p, key); p->idempotency_index[i] != 0; i = (i + 1) & mask) {
		struct hb_idempotency_entry *entry = &p->idempotency[p->idempotency_index[i] - 1];

		if (memcmp(entry->key, key, sizeof(entry->key)) == 0)
			return entry;
	}
	return NULL;
}

bool
hbi_idempotency_is_none(const struct hb_idempotency *idempotency)
{
	static const uint8_t none[16];

	return memcmp(idempotency->key, none, sizeof(none)) == 0;
}

static bool
oldest_is_over(const struct hb_partition *p, uint64_t time_ms)
{
	const struct hb_idempotency_entry *oldest = entry_at(p, p->head->idempotency_first);

	return oldest->time_ms + UINT64_C(1000) * HB_IDEMPOTENCY_KEPT_S < time_ms;
}

bool
hbi_idempotency_room(const struct hb_partition *p, uint64_t time_ms)
{
	uint64_t kept = p->head->idempotency_next - p->head->idempotency_first;

	return kept < p->capacity.idempotency || oldest_is_over(p, time_ms);
}

static void
index_delete(struct hb_partition *p, uint32_t value)
{
	uint64_t mask = 2 * p->capacity.idempotency - 1;
	uint64_t hole = key_home(p, p->idempotency[value - 1].key);
	uint64_t i;

	/*
	 * Between an entry and its home lie only older ones: they were there when it came, and what
	 * moves into a hole below comes in their order. So the oldest is at home.
	 */
	HB_ASSERT(p->idempotency_index[hole] == value);
	for (i = (hole + 1) & mask; p->idempotency_index[i] != 0; i = (i + 1) & mask) {
		uint64_t home = key_home(p, p->idempotency[p->idempotency_index[i] - 1].key);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			p->idempotency_index[hole] = p->idempotency_index[i];
			hole = i;
		}
	}
	p->idempotency_index[hole] = 0;
}

void
hbi_idempotency_index_add(struct hb_partition *p, uint64_t number)
{
	uint64_t mask = 2 * p->capacity.idempotency - 1;
	uint64_t i = key_home(p, entry_at(p, number)->key);

	while (p->idempotency_index[i] != 0)
		i = (i + 1) & mask;
	p->idempotency_index[i] = (uint32_t)(number & (p->capacity.idempotency - 1)) + 1;
}

static void
forget_oldest(struct hb_partition *p)
{
	struct hb_idempotency_entry *oldest = entry_at(p, p->head->idempotency_first);

	p->head->state_hash -= hbi_idempotency_hash(oldest);
	index_delete(p, (uint32_t)(oldest - p->idempotency) + 1);
	memset(oldest, 0, sizeof(*oldest));
	p->head->idempotency_first++;
}

void
hbi_idempotency_keep(struct hb_partition *p, const struct hb_idempotency *idempotency,
	uint8_t record_type, uint64_t result, uint64_t time_ns)
{
	uint64_t time_ms = time_ns / 1000000;
	struct hb_idempotency_entry *entry;

	if (hbi_idempotency_is_none(idempotency))
		return;
	for (int n = 0; n < FORGET_MAX && p->head->idempotency_first < p->head->idempotency_next &&
			oldest_is_over(p, time_ms);
		n++)
		forget_oldest(p);
	HB_ASSERT(p->head->idempotency_next - p->head->idempotency_first < p->capacity.idempotency);
	entry = entry_at(p, p->head->idempotency_next);
	memcpy(entry->key, idempotency->key, sizeof(entry->key));
	entry->parameter_hash = idempotency->parameter_hash;
	entry->result = result;
	entry->time_ms = time_ms;
	entry->record_type = record_type;
	hbi_idempotency_index_add(p, p->head->idempotency_next);
	p->head->idempotency_next++;
	p->head->state_hash += hbi_idempotency_hash(entry);
}
