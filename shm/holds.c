/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds of a partition, the counters of the day that they move, and counters of ids. The slot of a
 * packet or hold is its id's counter; a counter whose slot is in use is passed over, so ids never
 * come again and one old object does not stop new ones. Changed by apply alone.
 */
#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

struct hb_hold *
hb_hold_find(const struct hb_partition *p, uint64_t hold)
{
	struct hb_hold *slot = &p->holds[(hold & HB_ID_COUNTER_MASK) & (p->capacity.holds - 1)];

	return hold != 0 && slot->id == hold ? slot : NULL;
}

uint64_t
hbi_packet_counter_next(const struct hb_partition *p)
{
	uint64_t last = p->head->packet_counter;

	for (uint64_t n = last + 1; n <= last + HB_ID_SKIP_MAX; n++)
		if (p->packets[n & (p->capacity.packets - 1)].id == 0)
			return n;
	return 0;
}

uint64_t
hbi_hold_counter_next(const struct hb_partition *p)
{
	uint64_t last = p->head->hold_counter;

	for (uint64_t n = last + 1; n <= last + HB_ID_SKIP_MAX; n++)
		if (p->holds[n & (p->capacity.holds - 1)].id == 0)
			return n;
	return 0;
}

static bool
was_given(const struct hb_partition *p, uint64_t id, enum hb_id_kind kind, uint64_t last)
{
	uint64_t counter = id & HB_ID_COUNTER_MASK;

	return counter >= 1 && counter <= last &&
	       id == hb_id_make(kind, p->number, p->node, counter);
}

enum hb_status
hb_packet_absent(const struct hb_partition *p, uint64_t packet)
{
	return was_given(p, packet, HB_ID_PACKET, p->head->packet_counter)
		       ? HB_STATUS_PACKET_GONE
		       : HB_STATUS_PACKET_UNKNOWN;
}

enum hb_status
hbi_hold_absent(const struct hb_partition *p, uint64_t hold)
{
	return was_given(p, hold, HB_ID_HOLD, p->head->hold_counter) ? HB_STATUS_HOLD_GONE
								     : HB_STATUS_HOLD_UNKNOWN;
}

int
hbi_day_index(uint32_t reason)
{
	if (reason == HB_HOLD_WITHDRAWAL)
		return 0;
	return reason == HB_HOLD_CHANNEL_REFUND ? 1 : -1;
}

static uint64_t
day_hash(const struct hb_account *account)
{
	uint64_t hash = 0;

	for (uint64_t i = 0; i < HB_HOLD_DAY_REASONS; i++)
		if (account->day_count[i] != 0)
			hash += hb_mix64(
				account->id ^
				hb_mix64((uint64_t)account->day_fen[i] ^ account->day << 8) ^
				i << 62 ^ (uint64_t)account->day_count[i] << 40);
	return hash;
}

void
hbi_day_add(struct hb_partition *p, struct hb_account *account, const struct hb_hold *hold,
	int64_t sign)
{
	int i = hbi_day_index(hold->reason);

	if (i < 0 || (sign < 0 && account->day != hold->day))
		return;
	p->head->state_hash -= day_hash(account);
	if (account->day != hold->day) {
		for (int other = 0; other < HB_HOLD_DAY_REASONS; other++) {
			account->day_count[other] = 0;
			account->day_fen[other] = 0;
		}
		account->day = hold->day;
	}
	account->day_count[i] = (uint16_t)(account->day_count[i] + sign);
	account->day_fen[i] += sign * hold->amount_fen;
	HB_ASSERT(account->day_fen[i] >= 0);
	p->head->state_hash += day_hash(account);
}

uint64_t
hbi_hold_hash(const struct hb_hold *hold)
{
	return hb_mix64(hold->id ^ hb_mix64((uint64_t)hold->amount_fen ^ hold->account << 8 ^
					    (uint64_t)hold->state << 56));
}

uint16_t
hbi_exit_content(int64_t fee_fen, uint32_t reason)
{
	if (reason == 0)
		return 0;
	return (uint16_t)(1 + hb_mix64((uint64_t)fee_fen ^ hb_mix64(reason)) % UINT16_MAX);
}
