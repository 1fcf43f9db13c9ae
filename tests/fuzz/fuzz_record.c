/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal records of a journal that may be damaged or made by somebody else: whatever
 * hb_apply_check lets pass, hb_apply must be able to apply, and all money must stay zero.
 *
 * An input is records one after the other, each behind two bytes of its length. Sequence, ring,
 * time and CRC are set right here, as a checksum never stops somebody who can compute it.
 *
 * Parsers: shm/record.c without hb_record_type_name, shm/apply_check.c
 */
#include <string.h>

#include "shm/record.h"
#include "tests/engine/world.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS_MAX 64

static int64_t unbalanced_fen; /* credits that their account could not take */
static uint32_t touched;       /* bit p: partition p was changed by this input */

static void
apply(struct world *world, struct hb_partition *p, const struct hb_record *record)
{
	struct hb_partition *to;
	struct hb_credit credit;

	hb_apply(p, record, &credit);
	touched |= UINT32_C(1) << p->number;
	if (credit.account == 0)
		return;
	to = &world->state.partition[hb_partition_of(credit.account)];
	touched |= UINT32_C(1) << to->number;
	if (hb_apply_credit_check(to, &credit) == NULL)
		hb_apply_credit(to, record->ring, &credit);
	else
		unbalanced_fen += credit.amount_fen;
}

static bool
take_record(struct hb_fuzz_input *input, struct world *world, uint8_t *copy)
{
	struct hb_record *record = (void *)copy;
	struct hb_partition *p;
	size_t length = hb_fuzz_byte(input);

	length |= (size_t)hb_fuzz_byte(input) << 8;
	if (length < sizeof(*record) || length > HB_RECORD_BYTES_MAX || length > input->left)
		return false;
	memcpy(copy, input->at, length);
	input->at += length;
	input->left -= length;
	/* as it is, and as if cut off */
	(void)hb_record_verify(record, length);
	(void)hb_record_verify(record, length % 64);
	if (length % 8 != 0 || record->ring >= HB_PARTITION_COUNT)
		return true;
	p = &world->state.partition[record->ring];
	record->core_sequence = p->head->core_sequence + 1;
	if (record->time_ns < p->head->time_ns)
		record->time_ns = p->head->time_ns;
	hb_record_seal(record, record->type, (uint32_t)length);
	if (hb_record_verify(record, length) != NULL || hb_apply_check(p, record) != NULL)
		return true;
	apply(world, p, record);
	return true;
}

/* Small, as every input begins with an empty state; and so full tables are met. */
static const struct hb_capacity capacity = {.accounts = 64,
	.packets = 64,
	.arena_bytes = 1 << 16,
	.windows = 64,
	.orders = 64,
	.idempotency = 64,
	.holds = 64};

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static _Alignas(64) uint8_t copy[HB_RECORD_BYTES_MAX];
	static struct world world;
	struct hb_fuzz_input input = {bytes, length};

	unbalanced_fen = 0;
	if (world.journal == NULL)
		world_open_sized(&world, &capacity);
	for (; touched != 0; touched &= touched - 1)
		world_forget(&world, (uint32_t)__builtin_ctz(touched));
	for (int i = 0; i < RECORDS_MAX && take_record(&input, &world, copy); i++)
		continue;
	HB_ASSERT(world_money(&world) + unbalanced_fen == 0);
	return 0;
}
