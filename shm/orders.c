/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders of a partition: open addressing with linear probing, entries move when one is deleted;
 * and the one table of what may happen to an order. Changed by apply alone.
 */
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

/*
 * An order of money that comes in waits for its CREDIT; one of money that goes out has a hold,
 * which ends with the order: POST when the channel has paid, VOID when it certainly has not.
 * SENDING is written before a channel is asked, UNKNOWN when it is not known whether it did it.
 * An attempt that is known to have failed goes back, and may be sent again under a new number.
 */
static const struct step {
	bool goes_out; /* the order has a hold */
	uint8_t before;
	uint8_t after;
	uint8_t by; /* enum hbi_step_by */
} steps[] = {
	{false, HB_ORDER_OPEN, HB_ORDER_SENDING, HBI_BY_UPDATE},
	{false, HB_ORDER_OPEN, HB_ORDER_FAILED, HBI_BY_UPDATE},
	{false, HB_ORDER_OPEN, HB_ORDER_INVALID, HBI_BY_UPDATE},
	{false, HB_ORDER_OPEN, HB_ORDER_DONE, HBI_BY_CREDIT},
	{false, HB_ORDER_SENDING, HB_ORDER_OPEN, HBI_BY_UPDATE},
	{false, HB_ORDER_SENDING, HB_ORDER_UNKNOWN, HBI_BY_UPDATE},
	{false, HB_ORDER_SENDING, HB_ORDER_FAILED, HBI_BY_UPDATE},
	{false, HB_ORDER_SENDING, HB_ORDER_DONE, HBI_BY_CREDIT},
	{false, HB_ORDER_UNKNOWN, HB_ORDER_OPEN, HBI_BY_UPDATE},
	{false, HB_ORDER_UNKNOWN, HB_ORDER_FAILED, HBI_BY_UPDATE},
	{false, HB_ORDER_UNKNOWN, HB_ORDER_DONE, HBI_BY_CREDIT},
	{true, HB_ORDER_REQUESTED, HB_ORDER_APPROVED, HBI_BY_UPDATE},
	{true, HB_ORDER_REQUESTED, HB_ORDER_INVALID, HBI_BY_VOID},
	{true, HB_ORDER_APPROVED, HB_ORDER_SENDING, HBI_BY_UPDATE},
	{true, HB_ORDER_APPROVED, HB_ORDER_INVALID, HBI_BY_VOID},
	{true, HB_ORDER_SENDING, HB_ORDER_APPROVED, HBI_BY_UPDATE},
	{true, HB_ORDER_SENDING, HB_ORDER_UNKNOWN, HBI_BY_UPDATE},
	{true, HB_ORDER_SENDING, HB_ORDER_DONE, HBI_BY_POST},
	{true, HB_ORDER_SENDING, HB_ORDER_FAILED, HBI_BY_VOID},
	{true, HB_ORDER_UNKNOWN, HB_ORDER_APPROVED, HBI_BY_UPDATE},
	{true, HB_ORDER_UNKNOWN, HB_ORDER_DONE, HBI_BY_POST},
	{true, HB_ORDER_UNKNOWN, HB_ORDER_FAILED, HBI_BY_VOID},
};

bool
hbi_step_allowed(const struct hb_order *order, uint8_t state_after, enum hbi_step_by by)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].goes_out == (order->hold_id != 0) && steps[i].before == order->state &&
			steps[i].after == state_after && steps[i].by == by)
			return true;
	return false;
}

uint8_t
hbi_void_state(const struct hb_order *order)
{
	bool sent = order->state == HB_ORDER_SENDING || order->state == HB_ORDER_UNKNOWN;

	return sent ? HB_ORDER_FAILED : HB_ORDER_INVALID;
}

bool
hbi_order_final(const struct hb_order *order)
{
	return order->state == HB_ORDER_DONE || order->state == HB_ORDER_FAILED ||
	       order->state == HB_ORDER_INVALID;
}

static uint64_t
order_home(const struct hb_partition *p, uint64_t stamp)
{
	return hb_mix64(stamp) & (p->capacity.orders - 1);
}

static struct hb_order *
order_slot(const struct hb_partition *p, uint64_t stamp)
{
	uint64_t mask = p->capacity.orders - 1;
	uint64_t i = order_home(p, stamp);

	while (p->orders[i].stamp != stamp && p->orders[i].stamp != 0)
		i = (i + 1) & mask;
	return &p->orders[i];
}

struct hb_order *
hb_order_find(const struct hb_partition *p, uint64_t stamp)
{
	struct hb_order *slot;

	if (stamp == 0)
		return NULL;
	slot = order_slot(p, stamp);
	return slot->stamp == stamp ? slot : NULL;
}

bool
hbi_order_room(const struct hb_partition *p)
{
	return p->head->order_count < p->capacity.orders - p->capacity.orders / 4;
}

struct hb_order *
hbi_order_insert(struct hb_partition *p, uint64_t stamp)
{
	struct hb_order *slot = order_slot(p, stamp);

	HB_ASSERT(stamp != 0);
	HB_ASSERT(slot->stamp == 0);
	HB_ASSERT(p->head->order_count + 1 < p->capacity.orders);
	slot->stamp = stamp;
	p->head->order_count++;
	return slot;
}

/* Later entries of the chain move back, so there are no tombstones. */
void
hbi_order_delete(struct hb_partition *p, struct hb_order *order)
{
	uint64_t mask = p->capacity.orders - 1;
	uint64_t hole = (uint64_t)(order - p->orders);

	for (uint64_t i = (hole + 1) & mask; p->orders[i].stamp != 0; i = (i + 1) & mask) {
		uint64_t home = order_home(p, p->orders[i].stamp);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			p->orders[hole] = p->orders[i];
			hole = i;
		}
	}
	memset(&p->orders[hole], 0, sizeof(p->orders[hole]));
	p->head->order_count--;
}
