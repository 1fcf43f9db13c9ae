/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of clients (docs/frames.md) at the engine's door: any bytes are refused or decided. What
 * is decided must be a reply of the format and records that verify and that a replay would take.
 * The partitions hold accounts, packets, orders and holds; deciding changes nothing, so they serve
 * all inputs.
 *
 * Parsers: shm/frame.c
 */
#include <string.h>

#include "shm/token.h"
#include "tests/engine/world.h"
#include "tests/fuzz/fuzz.h"

#define SENDER 1001
#define GROUP  7

static struct world world;
static uint64_t packets[3];
static uint64_t hold;

static void
fill_world(void)
{
	world_open(&world);
	for (uint64_t user = SENDER; user < SENDER + 40; user++)
		HB_ASSERT(world_fund(&world, user, 1000000) == HB_STATUS_OK);
	for (int i = 0; i < 3; i++)
		HB_ASSERT(world_send(&world, SENDER, GROUP, 5000, i == 1 ? 2 : 20,
				  HB_SPLIT_DOUBLE_MEAN, &packets[i]) == HB_STATUS_OK);
	for (uint64_t user = SENDER + 1; user < SENDER + 5; user++)
		(void)world_grab(&world, packets[user % 3], user, GROUP);
	HB_ASSERT(world_hold(&world, SENDER + 1, 500, &hold) == HB_STATUS_OK);
	HB_ASSERT(world_freeze(&world, SENDER + 9, true) == HB_STATUS_OK);
	world_deliver(&world);
}

/* Ids that exist are hard to guess: some numbers in an input stand for them. */
static void
name_objects(struct hb_frame *frame, uint8_t hint)
{
	if ((hint & 1) != 0)
		frame->target = packets[hint >> 4 & 1];
	if ((hint & 2) != 0)
		frame->user = SENDER + (hint >> 4);
	if ((hint & 4) != 0)
		frame->target = frame->user;
	if ((hint & 8) != 0)
		frame->target = hold;
}

static void
check_decision(const struct hb_partition *p, const struct hb_decision *decision)
{
	const struct hb_reply *reply = decision->reply;
	const struct hb_record *record = (const void *)decision->records;

	HB_ASSERT(reply->length >= sizeof(*reply));
	HB_ASSERT(reply->length <= HB_REPLY_BYTES_MAX && reply->length % 64 == 0);
	HB_ASSERT(decision->record_count <= HB_DECISION_RECORDS_MAX);
	if (decision->record_count == 0)
		return;
	HB_ASSERT(hb_record_verify(record, decision->record_bytes) == NULL);
	HB_ASSERT(hb_apply_check(p, record) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static _Alignas(64) uint8_t copy[HB_FRAME_BYTES_MAX];
	static _Alignas(64) uint8_t records[HB_DECISION_BYTES_MAX];
	struct hb_fuzz_input input = {bytes, length};
	struct hb_decision decision = {.records = records, .reply = &world.reply.head};
	struct hb_frame *frame = (void *)copy;
	uint8_t hint, mode;
	size_t bytes_there;

	if (world.journal == NULL)
		fill_world();
	hint = hb_fuzz_byte(&input);
	mode = hb_fuzz_byte(&input);
	bytes_there = input.left < sizeof(copy) ? input.left : sizeof(copy);
	memset(copy, 0, sizeof(copy));
	memcpy(copy, input.at, bytes_there);
	if (bytes_there >= sizeof(*frame))
		name_objects(frame, hint);
	if (hb_frame_check(frame, (uint32_t)bytes_there) != HB_STATUS_OK)
		return 0;
	HB_ASSERT(frame->length <= bytes_there);
	world.input.trusted = (mode & 1) != 0;
	world.input.storage_level = mode >> 1 & 3;
	world.input.clock_stopped = (mode & 8) != 0;
	world.config.tokens_required = (mode & 16) != 0;
	switch (frame->operation) {
	case HB_OP_TOKEN_ASK: /* these are the lcore's, not the engine's */
	case HB_OP_TOKEN_TAKE:
	case HB_OP_CLOCK_CONFIRM:
	case HB_OP_AUDIT:
	case HB_OP_DEGRADE:
		return 0;
	default:
		break;
	}
	hb_decide(&world.state.partition[hb_partition_of(frame->target)], frame, &world.input,
		&decision);
	check_decision(&world.state.partition[hb_partition_of(frame->target)], &decision);
	return 0;
}
