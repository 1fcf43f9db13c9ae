/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records to notices, and the table of packets that this needs: see the header. If the process
 * dies here the table is gone and is filled again from the newest snapshot and the journal.
 */
#include "persist/announcement.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"

struct origin {
	uint64_t packet; /* 0: none */
	uint64_t sender;
	uint64_t group;
	uint64_t recipient;
};

struct hb_packet_origins {
	uint64_t capacity;
	struct origin *slot; /* capacity slots of each partition */
};

struct hb_packet_origins *
hb_packet_origins_new(uint64_t capacity)
{
	struct hb_packet_origins *origins = calloc(1, sizeof(*origins));

	HB_ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
	if (origins == NULL)
		return NULL;
	origins->capacity = capacity;
	/* so large that it comes from the kernel as zeros: pages are taken when they are used */
	origins->slot = calloc(HB_PARTITION_COUNT * capacity, sizeof(*origins->slot));
	if (origins->slot != NULL)
		return origins;
	free(origins);
	return NULL;
}

void
hb_packet_origins_free(struct hb_packet_origins *origins)
{
	if (origins == NULL)
		return;
	free(origins->slot);
	free(origins);
}

static struct origin *
slot_of(const struct hb_packet_origins *origins, uint64_t packet)
{
	uint64_t counter = packet & HB_ID_COUNTER_MASK;

	return &origins->slot[hb_partition_of(packet) * origins->capacity +
			      (counter & (origins->capacity - 1))];
}

void
hb_packet_origins_add(struct hb_packet_origins *origins, const struct hb_packet *packet)
{
	*slot_of(origins, packet->id) = (struct origin){
		.packet = packet->id,
		.sender = packet->sender,
		.group = packet->group,
		.recipient = packet->recipient,
	};
}

/* What all notices of a record have in common. */
static struct hb_notice
begin(const struct hb_record *record, uint64_t seq, enum hb_notice_kind kind, uint64_t stamp)
{
	return (struct hb_notice){
		.seq = seq,
		.kind = (uint8_t)kind,
		.allocator = (uint8_t)record->ring,
		.order_stamp = stamp,
		.time_ms = record->time_ns / 1000000,
	};
}

static void
set_origin(const struct hb_packet_origins *origins, struct hb_notice *notice, uint64_t packet)
{
	const struct origin *origin = slot_of(origins, packet);

	notice->packet = packet;
	if (origin->packet != packet) {
		notice->flags |= HB_NOTICE_UNKNOWN;
		return;
	}
	notice->sender = origin->sender;
	notice->group = origin->group;
	notice->recipient = origin->recipient;
}

static uint32_t
of_create(struct hb_packet_origins *origins, const struct hb_record_packet_create *r, uint64_t seq,
	struct hb_notice *notice)
{
	*slot_of(origins, r->packet) = (struct origin){
		.packet = r->packet,
		.sender = r->sender,
		.group = r->group,
		.recipient = r->recipient,
	};
	*notice = begin(&r->head, seq, HB_NOTICE_PACKET, r->order_stamp);
	set_origin(origins, notice, r->packet);
	notice->amount_fen = r->total_fen;
	notice->count = r->count;
	notice->deadline_ms = r->deadline_ms;
	return 1;
}

static uint32_t
of_grab(const struct hb_packet_origins *origins, const struct hb_record_grab *r, uint64_t seq,
	struct hb_notice *notices)
{
	struct hb_notice *grab = &notices[0], *over = &notices[1];

	*grab = begin(&r->head, seq, HB_NOTICE_GRAB, r->order_stamp);
	set_origin(origins, grab, r->packet);
	grab->user = r->user;
	grab->amount_fen = r->amount_fen;
	grab->left_fen = r->left_fen;
	grab->count = r->left_count;
	grab->share = r->share_index;
	if (r->left_count > 0)
		return 1;
	grab->flags |= HB_NOTICE_MORE;
	*over = begin(&r->head, seq, HB_NOTICE_OVER, 0);
	set_origin(origins, over, r->packet);
	over->part = 1;
	over->flags |= HB_NOTICE_SOLD;
	return 2;
}

static uint32_t
of_expire(const struct hb_packet_origins *origins, const struct hb_record_packet_expire *r,
	uint64_t seq, struct hb_notice *notice)
{
	*notice = begin(&r->head, seq, HB_NOTICE_OVER, r->order_stamp);
	set_origin(origins, notice, r->packet);
	notice->amount_fen = r->refund_fen;
	return 1;
}

static uint32_t
of_transfer(const struct hb_record_transfer *r, uint64_t seq, struct hb_notice *notice)
{
	*notice = begin(&r->head, seq, HB_NOTICE_TRANSFER, r->order_stamp);
	notice->sender = r->from;
	notice->user = r->to;
	notice->amount_fen = r->amount_fen;
	return 1;
}

static uint32_t
of_credit(const struct hb_record_credit *r, uint64_t seq, struct hb_notice *notice)
{
	*notice = begin(&r->head, seq, HB_NOTICE_CREDIT, r->order_stamp);
	notice->user = r->account;
	notice->amount_fen = r->amount_fen;
	if (r->hold_id != 0)
		notice->flags |= HB_NOTICE_HELD;
	return 1;
}

uint32_t
hb_notices_of(struct hb_packet_origins *origins, const struct hb_record *record, uint64_t seq,
	struct hb_notice notices[HB_NOTICES_OF_RECORD_MAX])
{
	const void *body = record;

	switch (record->type) {
	case HB_RECORD_PACKET_CREATE:
		return of_create(origins, body, seq, notices);
	case HB_RECORD_GRAB:
		return of_grab(origins, body, seq, notices);
	case HB_RECORD_PACKET_EXPIRE:
		return of_expire(origins, body, seq, notices);
	case HB_RECORD_TRANSFER:
		return of_transfer(body, seq, notices);
	case HB_RECORD_CREDIT:
		return of_credit(body, seq, notices);
	default:
		return 0;
	}
}
