/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting what is over. A packet that is sold out or refunded, a hold that has ended and an
 * order in a final state leave memory by an EVICT record once they have been over for the retention
 * time and MySQL has them. The retention shrinks as a table fills, from all of it at half full to
 * nothing at full. Ids and stamps never come again, so what is not there is never taken for new.
 */
#include <string.h>

#include "shm/apply_internal.h"
#include "shm/decide_internal.h"

/* How long objects of a table stay, in ms: all of the retention up to half full. */
static uint64_t
kept_ms(uint64_t retention_ms, uint64_t used, uint64_t capacity)
{
	if (used <= capacity / 2)
		return retention_ms;
	return used >= capacity ? 0 : retention_ms / (capacity / 2) * (capacity - used);
}

static bool
old_enough(const struct hb_partition *p, const struct hb_input *input, uint64_t ended_ms,
	uint64_t kept, uint64_t final_sequence)
{
	return ended_ms + kept <= hbi_now_ms(p, input) && final_sequence <= input->applied_sequence;
}

/* When a packet was over, Unix ms: its last share was taken, or its deadline. */
static uint64_t
packet_ended_ms(const struct hb_partition *p, const struct hb_packet *packet)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);

	if (packet->state == HB_PACKET_REFUNDED)
		return packet->deadline_ms;
	return packet->created_ms + claims[packet->count - 1].offset_ms;
}

static bool
packet_over(const struct hb_partition *p, uint64_t slot, const struct hb_input *input)
{
	const struct hb_packet *packet = &p->packets[slot];
	uint64_t arena_units = p->capacity.arena_bytes / HBI_ARENA_UNIT_BYTES;
	uint64_t kept = kept_ms(input->retention_ms, p->head->packet_count, p->capacity.packets);
	uint64_t kept_by_arena = kept_ms(input->retention_ms, p->head->arena_live, arena_units);

	if (packet->id == 0 || packet->state == HB_PACKET_OPEN)
		return false;
	return old_enough(p, input, packet_ended_ms(p, packet),
		kept < kept_by_arena ? kept : kept_by_arena, packet->final_sequence);
}

static bool
hold_over(const struct hb_partition *p, uint64_t slot, const struct hb_input *input)
{
	const struct hb_hold *hold = &p->holds[slot];

	return hold->id != 0 && hold->state != HB_HOLD_OPEN &&
	       old_enough(p, input, hold->ended_ms,
		       kept_ms(input->retention_ms, p->head->hold_count, p->capacity.holds),
		       hold->final_sequence);
}

static bool
order_over(const struct hb_partition *p, uint64_t slot, const struct hb_input *input)
{
	const struct hb_order *order = &p->orders[slot];
	uint64_t usable = p->capacity.orders - p->capacity.orders / 4;

	return order->stamp != 0 && hbi_order_final(order) &&
	       old_enough(p, input, order->ended_s * UINT64_C(1000),
		       kept_ms(input->retention_ms, p->head->order_count, usable),
		       order->final_sequence);
}

/* Slots are given out in the order of the counter: memory beyond it is not touched. */
static uint64_t
used_slots(uint64_t capacity, uint64_t counter)
{
	return counter + 1 < capacity ? counter + 1 : capacity;
}

/* What is at the cursor, 0 when it must stay. The cursor moves on. */
static uint64_t
look(const struct hb_partition *p, struct hb_evict_cursor *cursor, const struct hb_input *input,
	uint64_t *slots)
{
	uint64_t slot = cursor->slot++;

	switch (cursor->kind) {
	case HB_OBJECT_PACKET:
		*slots = used_slots(p->capacity.packets, p->head->packet_counter);
		return packet_over(p, slot, input) ? p->packets[slot].id : 0;
	case HB_OBJECT_HOLD:
		*slots = used_slots(p->capacity.holds, p->head->hold_counter);
		return hold_over(p, slot, input) ? p->holds[slot].id : 0;
	default:
		*slots = p->head->order_count == 0 ? 1 : p->capacity.orders;
		return order_over(p, slot, input) ? p->orders[slot].stamp : 0;
	}
}

/*
 * The next ids' slots come first: they hold the oldest objects of a table that was filled once.
 * @return the id of one that may go, or 0
 */
static uint64_t
in_the_way(const struct hb_partition *p, const struct hb_input *input, uint32_t *kind)
{
	for (uint64_t n = 1; n <= HB_ID_SKIP_MAX; n++) {
		uint64_t packet = (p->head->packet_counter + n) & (p->capacity.packets - 1);
		uint64_t hold = (p->head->hold_counter + n) & (p->capacity.holds - 1);

		*kind = HB_OBJECT_PACKET;
		if (p->head->packet_counter >= p->capacity.packets && packet_over(p, packet, input))
			return p->packets[packet].id;
		*kind = HB_OBJECT_HOLD;
		if (p->head->hold_counter >= p->capacity.holds && hold_over(p, hold, input))
			return p->holds[hold].id;
	}
	return 0;
}

/* Look at up to HB_EVICT_SLOTS slots. @return what may go, or 0 */
static uint64_t
search(const struct hb_partition *p, struct hb_evict_cursor *cursor, const struct hb_input *input,
	uint32_t *kind)
{
	uint64_t object = in_the_way(p, input, kind);

	for (uint32_t n = 0; n < HB_EVICT_SLOTS && object == 0; n++) {
		uint64_t slots;

		if (cursor->kind == 0)
			cursor->kind = HB_OBJECT_PACKET;
		*kind = cursor->kind;
		object = look(p, cursor, input, &slots);
		if (cursor->slot < slots)
			continue;
		cursor->slot = 0;
		cursor->kind = *kind == HB_OBJECT_ORDER ? HB_OBJECT_PACKET : *kind + 1;
		cursor->passes += *kind == HB_OBJECT_ORDER;
	}
	return object;
}

bool
hb_decide_evict(const struct hb_partition *p, struct hb_evict_cursor *cursor,
	const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_evict *r;
	uint32_t kind = 0;
	uint64_t object;

	decision->record_count = 0;
	decision->record_bytes = 0;
	object = input->clock_stopped ? 0 : search(p, cursor, input, &kind);
	if (object == 0)
		return false;
	r = hbi_record_begin(p, input, decision, sizeof(*r));
	r->object = object;
	r->object_kind = kind;
	hbi_record_end(decision, r, HB_RECORD_EVICT, sizeof(*r));
	return true;
}

static void
evict_packet(struct hb_partition *p, struct hb_packet *packet)
{
	HB_ASSERT(packet != NULL);
	HB_ASSERT(packet->state != HB_PACKET_OPEN);
	HB_ASSERT(packet->left_fen == 0);
	p->head->state_hash -= hbi_packet_hash(packet);
	hbi_arena_give(p, packet);
	memset(packet, 0, sizeof(*packet));
	p->head->packet_count--;
}

static void
evict_hold(struct hb_partition *p, struct hb_hold *hold)
{
	HB_ASSERT(hold != NULL);
	HB_ASSERT(hold->state != HB_HOLD_OPEN);
	p->head->state_hash -= hbi_hold_hash(hold);
	memset(hold, 0, sizeof(*hold));
	p->head->hold_count--;
}

static void
evict_order(struct hb_partition *p, struct hb_order *order)
{
	HB_ASSERT(order != NULL);
	HB_ASSERT(hbi_order_final(order));
	p->head->state_hash -= hbi_order_hash(order);
	hbi_order_delete(p, order);
}

void
hbi_apply_evict(struct hb_partition *p, const struct hb_record_evict *r)
{
	p->head->evict_count++;
	if (r->object_kind == HB_OBJECT_PACKET)
		evict_packet(p, hb_packet_find(p, r->object));
	else if (r->object_kind == HB_OBJECT_HOLD)
		evict_hold(p, hb_hold_find(p, r->object));
	else
		evict_order(p, hb_order_find(p, r->object));
}

const char *
hbi_check_evict(const struct hb_partition *p, const struct hb_record_evict *r)
{
	const struct hb_packet *packet = hb_packet_find(p, r->object);
	const struct hb_hold *hold = hb_hold_find(p, r->object);
	const struct hb_order *order = hb_order_find(p, r->object);

	switch (r->object_kind) {
	case HB_OBJECT_PACKET:
		return packet != NULL && packet->state != HB_PACKET_OPEN
			       ? NULL
			       : "EVICT: there is no such packet that is over";
	case HB_OBJECT_HOLD:
		return hold != NULL && hold->state != HB_HOLD_OPEN
			       ? NULL
			       : "EVICT: there is no such hold that has ended";
	case HB_OBJECT_ORDER:
		return order != NULL && hbi_order_final(order)
			       ? NULL
			       : "EVICT: there is no such order that is over";
	default:
		return "EVICT: the kind of object is unknown";
	}
}
