/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The wheel of dataplane/deadlines.h.
 */
#include "dataplane/deadlines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ids.h"

#define LAST 1 /* in `next`: end of the list */
#define LINK 2 /* added to a slot's number */

static uint64_t
slot_count(const struct hb_deadlines *d, const struct hb_partition *p)
{
	return d->kind == HB_OBJECT_HOLD ? p->capacity.holds : p->capacity.packets;
}

static bool
is_open(const struct hb_deadlines *d, const struct hb_partition *p, uint32_t slot)
{
	if (d->kind == HB_OBJECT_HOLD)
		return p->holds[slot].state == HB_HOLD_OPEN;
	return p->packets[slot].state == HB_PACKET_OPEN;
}

/* The first second at whose beginning the deadline has passed. */
static uint64_t
due_s(const struct hb_deadlines *d, const struct hb_partition *p, uint32_t slot)
{
	uint64_t deadline_ms = d->kind == HB_OBJECT_HOLD ? p->holds[slot].deadline_ms
							 : p->packets[slot].deadline_ms;

	return deadline_ms / 1000 + 1;
}

int
hb_deadlines_init(struct hb_deadlines *deadlines, const struct hb_partition *p,
	enum hb_object_kind kind, uint64_t now_s)
{
	uint64_t counter = kind == HB_OBJECT_HOLD ? p->head->hold_counter : p->head->packet_counter;
	uint64_t slots;

	memset(deadlines, 0, sizeof(*deadlines));
	deadlines->kind = kind;
	deadlines->next_s = now_s;
	slots = slot_count(deadlines, p);
	deadlines->next = calloc(slots, sizeof(*deadlines->next));
	deadlines->bucket = calloc(HB_DEADLINE_BUCKETS, sizeof(*deadlines->bucket));
	if (deadlines->next == NULL || deadlines->bucket == NULL)
		return -ENOMEM;
	/* Slots are given out in the order of the counter: none is used beyond it. */
	if (slots > counter + 1)
		slots = counter + 1;
	for (uint64_t slot = 0; slot < slots; slot++)
		if (is_open(deadlines, p, (uint32_t)slot))
			hb_deadlines_add(deadlines, p, (uint32_t)slot);
	return 0;
}

void
hb_deadlines_free(struct hb_deadlines *deadlines)
{
	free(deadlines->next);
	free(deadlines->bucket);
	memset(deadlines, 0, sizeof(*deadlines));
}

uint32_t
hb_deadlines_slot(const struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t id)
{
	return (uint32_t)((id & HB_ID_COUNTER_MASK) & (slot_count(deadlines, p) - 1));
}

void
hb_deadlines_add(struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t slot)
{
	uint64_t due = due_s(deadlines, p, slot);
	uint64_t second = due > deadlines->next_s ? due : deadlines->next_s;
	uint32_t *bucket = &deadlines->bucket[second % HB_DEADLINE_BUCKETS];

	if (deadlines->next[slot] != 0)
		return;
	deadlines->next[slot] = *bucket == 0 ? LAST : *bucket;
	*bucket = slot + LINK;
	deadlines->count++;
}

static void
unlink_slot(struct hb_deadlines *deadlines, uint32_t *link, uint32_t slot)
{
	*link = deadlines->next[slot];
	deadlines->next[slot] = 0;
	deadlines->count--;
}

bool
hb_deadlines_remove(struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t slot)
{
	uint32_t *link = &deadlines->bucket[due_s(deadlines, p, slot) % HB_DEADLINE_BUCKETS];

	if (deadlines->next[slot] == 0)
		return true;
	for (; *link > LAST; link = &deadlines->next[*link - LINK]) {
		if (*link != slot + LINK)
			continue;
		unlink_slot(deadlines, link, slot);
		return true;
	}
	return false; /* it was overdue when it was entered: in the bucket of that second */
}

static uint32_t
take_from(struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t *link,
	uint64_t now_s)
{
	while (*link > LAST) {
		uint32_t slot = *link - LINK;

		if (!is_open(deadlines, p, slot) || due_s(deadlines, p, slot) <= now_s) {
			unlink_slot(deadlines, link, slot);
			return slot;
		}
		link = &deadlines->next[slot];
	}
	return HB_DEADLINE_NONE;
}

uint32_t
hb_deadlines_take(struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s)
{
	uint32_t slot;

	/* After a long pause every bucket is looked at once, not once per second that passed. */
	if (now_s > HB_DEADLINE_BUCKETS && deadlines->next_s < now_s - HB_DEADLINE_BUCKETS + 1)
		deadlines->next_s = now_s - HB_DEADLINE_BUCKETS + 1;
	for (; deadlines->next_s <= now_s; deadlines->next_s++) {
		if (deadlines->count == 0)
			continue;
		slot = take_from(deadlines, p,
			&deadlines->bucket[deadlines->next_s % HB_DEADLINE_BUCKETS], now_s);
		if (slot != HB_DEADLINE_NONE)
			return slot;
	}
	return HB_DEADLINE_NONE;
}
