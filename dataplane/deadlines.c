/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The wheel of dataplane/deadlines.h.
 */
#include "dataplane/deadlines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The first second at whose beginning the deadline has passed. */
static uint64_t
due_s(const struct hb_packet *packet)
{
	return packet->deadline_ms / 1000 + 1;
}

int
hb_deadlines_init(struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s)
{
	uint64_t slots;

	memset(deadlines, 0, sizeof(*deadlines));
	deadlines->next_s = now_s;
	deadlines->next = calloc(p->capacity.packets, sizeof(*deadlines->next));
	deadlines->bucket = calloc(HB_DEADLINE_BUCKETS, sizeof(*deadlines->bucket));
	if (deadlines->next == NULL || deadlines->bucket == NULL)
		return -ENOMEM;
	/* Slots are given out in the order of the counter: none is used beyond it. */
	slots = p->head->packet_counter + 1;
	if (slots > p->capacity.packets)
		slots = p->capacity.packets;
	for (uint64_t slot = 0; slot < slots; slot++)
		if (p->packets[slot].id != 0 && p->packets[slot].state == HB_PACKET_OPEN)
			hb_deadlines_add(deadlines, p, &p->packets[slot]);
	return 0;
}

void
hb_deadlines_free(struct hb_deadlines *deadlines)
{
	free(deadlines->next);
	free(deadlines->bucket);
	memset(deadlines, 0, sizeof(*deadlines));
}

void
hb_deadlines_add(struct hb_deadlines *deadlines, const struct hb_partition *p,
	const struct hb_packet *packet)
{
	uint32_t slot = (uint32_t)(packet - p->packets);
	uint64_t second = due_s(packet) > deadlines->next_s ? due_s(packet) : deadlines->next_s;
	uint32_t *bucket = &deadlines->bucket[second % HB_DEADLINE_BUCKETS];

	deadlines->next[slot] = *bucket;
	*bucket = slot + 1;
	deadlines->count++;
}

static const struct hb_packet *
take_from(struct hb_deadlines *deadlines, const struct hb_partition *p, uint32_t *link,
	uint64_t now_s)
{
	while (*link != 0) {
		uint32_t slot = *link - 1;
		const struct hb_packet *packet = &p->packets[slot];

		if (packet->state != HB_PACKET_OPEN || due_s(packet) <= now_s) {
			*link = deadlines->next[slot];
			deadlines->count--;
			return packet;
		}
		link = &deadlines->next[slot];
	}
	return NULL;
}

const struct hb_packet *
hb_deadlines_take(struct hb_deadlines *deadlines, const struct hb_partition *p, uint64_t now_s)
{
	const struct hb_packet *packet;

	/* After a long pause every bucket is looked at once, not once per second that passed. */
	if (now_s > HB_DEADLINE_BUCKETS && deadlines->next_s < now_s - HB_DEADLINE_BUCKETS + 1)
		deadlines->next_s = now_s - HB_DEADLINE_BUCKETS + 1;
	for (; deadlines->next_s <= now_s; deadlines->next_s++) {
		if (deadlines->count == 0)
			continue;
		packet = take_from(deadlines, p,
			&deadlines->bucket[deadlines->next_s % HB_DEADLINE_BUCKETS], now_s);
		if (packet != NULL)
			return packet;
	}
	return NULL;
}
