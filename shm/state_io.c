/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of a partition as a stream of bytes, for snapshots: independent of capacities and of
 * where things lie. The caller frames the stream with checksums. Loading goes into an empty
 * partition; what does not fit or does not add up is refused.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

struct stream {
	hb_state_io_fn *move;
	void *context;
	int error; /* of the first failure; later moves do nothing */
};

static void
move(struct stream *s, void *bytes, size_t length)
{
	if (s->error == 0 && length > 0)
		s->error = s->move(s->context, bytes, length);
}

/* Reading: a table's count, refused when it is above what the table may hold. */
static uint64_t
read_count(struct stream *s, uint64_t expected, uint64_t max)
{
	uint64_t count = 0;

	move(s, &count, sizeof(count));
	if (s->error == 0 && count != expected)
		s->error = -EPROTO;
	if (s->error == 0 && count > max)
		s->error = -ENOSPC;
	return s->error == 0 ? count : 0;
}

/* In the stream, whose order is the one of the first version, these two have changed places. */
static void
packet_turn(struct hb_packet *packet)
{
	uint64_t kept = packet->created_ms;

	packet->created_ms = packet->recipient;
	packet->recipient = kept;
}

static void
save_packet(struct stream *s, const struct hb_partition *p, const struct hb_packet *packet)
{
	struct hb_packet turned = *packet;

	packet_turn(&turned);
	move(s, &turned, sizeof(turned));
	move(s, hb_packet_claims(p, packet), packet->count * sizeof(struct hb_claim));
	move(s, hbi_packet_greeting(p, packet), packet->greeting_length);
}

static void
save_holds(struct stream *s, const struct hb_partition *p)
{
	move(s, &p->head->hold_count, sizeof(uint64_t));
	for (uint64_t i = 0; i < p->capacity.holds && s->error == 0; i++)
		if (p->holds[i].id != 0)
			move(s, &p->holds[i], sizeof(p->holds[i]));
}

int
hb_state_save(const struct hb_partition *p, hb_state_io_fn *write, void *context)
{
	struct stream s = {.move = write, .context = context};
	uint64_t keys = p->head->idempotency_next - p->head->idempotency_first;
	struct hb_partition_head head = *p->head;

	head.content = HB_STATE_CONTENT;
	move(&s, &head, sizeof(head));
	move(&s, &p->head->account_count, sizeof(uint64_t));
	for (uint64_t i = 0; i < p->capacity.accounts && s.error == 0; i++)
		if (p->accounts[i].id != 0)
			move(&s, &p->accounts[i], sizeof(p->accounts[i]));
	move(&s, &p->head->packet_count, sizeof(uint64_t));
	for (uint64_t i = 0; i < p->capacity.packets && s.error == 0; i++)
		if (p->packets[i].id != 0)
			save_packet(&s, p, &p->packets[i]);
	move(&s, &p->head->window_count, sizeof(uint64_t));
	for (uint64_t i = 0; i < p->capacity.windows && s.error == 0; i++)
		if (p->windows[i].token_id != 0)
			move(&s, &p->windows[i], sizeof(p->windows[i]));
	move(&s, &p->head->order_count, sizeof(uint64_t));
	for (uint64_t i = 0; i < p->capacity.orders && s.error == 0; i++)
		if (p->orders[i].stamp != 0)
			move(&s, &p->orders[i], sizeof(p->orders[i]));
	move(&s, &keys, sizeof(keys));
	for (uint64_t n = p->head->idempotency_first; n < p->head->idempotency_next; n++)
		move(&s, &p->idempotency[n & (p->capacity.idempotency - 1)],
			sizeof(p->idempotency[0]));
	save_holds(&s, p);
	return s.error;
}

static void
load_accounts(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	uint64_t count = read_count(s, head->account_count, p->capacity.accounts - 1);

	for (uint64_t n = 0; n < count; n++) {
		struct hb_account account;

		move(s, &account, sizeof(account));
		if (s->error != 0)
			return;
		if (account.id == 0 || hb_partition_of(account.id) != p->number ||
			hb_account_find(p, account.id) != NULL) {
			s->error = -EPROTO;
			return;
		}
		*hbi_account_get(p, account.id, account.kind) = account;
	}
}

/* Shares are drawn in steps, the next one when the last share of a step is taken. */
static uint32_t
expanded_count(const struct hb_packet *packet)
{
	uint32_t taken = packet->count - packet->left_count;
	uint32_t steps = (taken / HB_EXPAND_SHARES_MAX + 1) * HB_EXPAND_SHARES_MAX;

	return steps < packet->count ? steps : packet->count;
}

static bool
packet_sane(const struct hb_partition *p, const struct hb_packet *packet)
{
	return hb_id_kind(packet->id) == HB_ID_PACKET && hb_partition_of(packet->id) == p->number &&
	       packet->count >= 1 && packet->count <= HB_PACKET_COUNT_MAX &&
	       packet->left_count <= packet->count &&
	       packet->expanded_count == expanded_count(packet) &&
	       packet->greeting_length <= HB_GREETING_BYTES_MAX;
}

static void
load_packet(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	struct hb_packet packet, *slot;

	move(s, &packet, sizeof(packet));
	if (s->error != 0)
		return;
	packet_turn(&packet);
	slot = &p->packets[(packet.id & HB_ID_COUNTER_MASK) & (p->capacity.packets - 1)];
	if (!packet_sane(p, &packet) || slot->id == packet.id) {
		s->error = -EPROTO;
		return;
	}
	if (slot->id != 0 || !hbi_arena_room(p, packet.count, packet.greeting_length)) {
		s->error = -ENOSPC;
		return;
	}
	packet.block = hbi_arena_take(p, packet.count, packet.greeting_length);
	if (head->content == 0 && packet.state != HB_PACKET_OPEN)
		packet.final_sequence = head->core_sequence;
	*slot = packet;
	move(s, hb_packet_claims(p, slot), packet.count * sizeof(struct hb_claim));
	move(s, hbi_packet_greeting(p, slot), packet.greeting_length);
	for (uint32_t i = 0; s->error == 0 && i < packet.count - packet.left_count; i++)
		hbi_claim_index_add(p, slot, i);
}

static void
load_windows(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	uint64_t count =
		read_count(s, head->window_count, p->capacity.windows - p->capacity.windows / 4);

	for (uint64_t n = 0; n < count && s->error == 0; n++) {
		struct hb_window window;

		move(s, &window, sizeof(window));
		if (s->error == 0 && window.token_id == 0)
			s->error = -EPROTO;
		if (s->error == 0)
			*hbi_window_insert(p, window.token_id, window.user) = window;
	}
}

static void
load_orders(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	uint64_t count =
		read_count(s, head->order_count, p->capacity.orders - p->capacity.orders / 4);

	for (uint64_t n = 0; n < count && s->error == 0; n++) {
		struct hb_order order = {0};

		move(s, &order, head->content == 0 ? HB_ORDER_BYTES_0 : sizeof(order));
		if (head->content == 0 && hbi_order_final(&order)) {
			order.final_sequence = head->core_sequence;
			order.ended_s = (uint32_t)(head->time_ns / UINT64_C(1000000000));
		}
		if (s->error == 0 && (order.stamp == 0 || hb_order_find(p, order.stamp) != NULL))
			s->error = -EPROTO;
		if (s->error == 0)
			*hbi_order_insert(p, order.stamp) = order;
	}
}

static void
load_idempotency(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	uint64_t count = read_count(
		s, head->idempotency_next - head->idempotency_first, p->capacity.idempotency);

	for (uint64_t n = head->idempotency_first; count > 0 && s->error == 0; n++, count--) {
		move(s, &p->idempotency[n & (p->capacity.idempotency - 1)],
			sizeof(p->idempotency[0]));
		if (s->error == 0)
			hbi_idempotency_index_add(p, n);
	}
}

/* Content 0 has no holds, and no count of them. */
static void
load_holds(struct stream *s, struct hb_partition *p, const struct hb_partition_head *head)
{
	uint64_t count =
		head->content == 0 ? 0 : read_count(s, head->hold_count, p->capacity.holds);

	for (uint64_t n = 0; n < count && s->error == 0; n++) {
		struct hb_hold hold, *slot;

		move(s, &hold, sizeof(hold));
		if (s->error != 0)
			return;
		slot = &p->holds[(hold.id & HB_ID_COUNTER_MASK) & (p->capacity.holds - 1)];
		if (hb_id_kind(hold.id) != HB_ID_HOLD || hb_partition_of(hold.id) != p->number ||
			slot->id == hold.id)
			s->error = -EPROTO;
		else if (slot->id != 0)
			s->error = -ENOSPC;
		else
			*slot = hold;
	}
}

int
hb_state_load(struct hb_partition *p, hb_state_io_fn *read, void *context)
{
	struct stream s = {.move = read, .context = context};
	struct hb_partition_head head;
	uint64_t packets;

	HB_ASSERT(p->head->core_sequence == 0);
	move(&s, &head, sizeof(head));
	if (s.error == 0 && head.content != HB_STATE_CONTENT &&
		(head.content != 0 || head.hold_count != 0))
		s.error = -EPROTO;
	if (s.error != 0)
		return s.error;
	load_accounts(&s, p, &head);
	packets = read_count(&s, head.packet_count, p->capacity.packets);
	for (uint64_t n = 0; n < packets && s.error == 0; n++)
		load_packet(&s, p, &head);
	load_windows(&s, p, &head);
	load_orders(&s, p, &head);
	load_idempotency(&s, p, &head);
	load_holds(&s, p, &head);
	if (s.error != 0)
		return s.error;
	/* Places in tables are this process's own; everything else is as it was saved. */
	head.arena_used = p->head->arena_used;
	head.arena_live = p->head->arena_live;
	head.content = HB_STATE_CONTENT;
	head.window_sweep &= p->capacity.windows - 1;
	*p->head = head;
	return 0;
}

static void
skip(struct stream *s, uint64_t length)
{
	uint8_t bytes[1024];

	while (length > 0 && s->error == 0) {
		size_t step = length < sizeof(bytes) ? (size_t)length : sizeof(bytes);

		move(s, bytes, step);
		length -= step;
	}
}

int
hb_state_visit_packets(hb_state_io_fn *read, void *context,
	void (*visit)(void *visitor, const struct hb_packet *packet), void *visitor)
{
	struct stream s = {.move = read, .context = context};
	struct hb_partition_head head;
	uint64_t count;

	move(&s, &head, sizeof(head));
	if (s.error != 0)
		return s.error;
	count = read_count(&s, head.account_count, UINT64_MAX);
	for (uint64_t n = 0; n < count && s.error == 0; n++)
		skip(&s, sizeof(struct hb_account));
	count = read_count(&s, head.packet_count, UINT64_MAX);
	for (uint64_t n = 0; n < count && s.error == 0; n++) {
		struct hb_packet packet;

		move(&s, &packet, sizeof(packet));
		if (s.error != 0)
			break;
		if (packet.count > HB_PACKET_COUNT_MAX ||
			packet.greeting_length > HB_GREETING_BYTES_MAX)
			return -EPROTO;
		packet_turn(&packet);
		visit(visitor, &packet);
		skip(&s, packet.count * sizeof(struct hb_claim) + packet.greeting_length);
	}
	return s.error;
}
