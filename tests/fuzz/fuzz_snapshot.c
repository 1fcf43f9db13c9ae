/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of a snapshot's section: refused, or a state that can be saved again to the same
 * bytes. Checksums are left out, as they do not stop somebody who can compute them.
 *
 * Parsers: shm/state_io.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/state.h"
#include "tests/engine/world.h"
#include "tests/fuzz/fuzz.h"

#define SAVED_BYTES_MAX (1u << 20)

struct saved {
	uint8_t *bytes;
	size_t length;
};

static int
read_input(void *context, void *to, size_t length)
{
	struct hb_fuzz_input *input = context;

	if (length > input->left)
		return -EBADMSG;
	memcpy(to, input->at, length);
	input->at += length;
	input->left -= length;
	return 0;
}

static int
write_saved(void *context, void *from, size_t length)
{
	struct saved *saved = context;

	HB_ASSERT(saved->length + length <= SAVED_BYTES_MAX);
	memcpy(saved->bytes + saved->length, from, length);
	saved->length += length;
	return 0;
}

/* Small, as every input begins with an empty state; and so full tables are met. */
static const struct hb_capacity capacity = {.accounts = 64,
	.packets = 64,
	.arena_bytes = 1 << 16,
	.windows = 64,
	.orders = 64,
	.idempotency = 64,
	.holds = 64};

static void
look(void *visitor, const struct hb_packet *packet)
{
	HB_ASSERT(packet->count <= HB_PACKET_COUNT_MAX);
	(*(uint64_t *)visitor)++;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct world world, second;
	static struct saved saved;
	struct hb_fuzz_input input = {bytes, length}, again;
	uint64_t visited = 0;
	size_t first;

	if (length > SAVED_BYTES_MAX / 2)
		return 0;
	again = input;
	(void)hb_state_visit_packets(read_input, &again, look, &visited);
	if (saved.bytes == NULL)
		saved.bytes = malloc(SAVED_BYTES_MAX * 2);
	HB_ASSERT(saved.bytes != NULL);
	if (world.journal == NULL) {
		world_open_sized(&world, &capacity);
		world_open_sized(&second, &capacity);
	}
	world_forget(&world, 0);
	if (hb_state_load(&world.state.partition[0], read_input, &input) == 0) {
		saved.length = 0;
		HB_ASSERT(hb_state_save(&world.state.partition[0], write_saved, &saved) == 0);
		first = saved.length;
		world_forget(&second, 0);
		again = (struct hb_fuzz_input){saved.bytes, first};
		HB_ASSERT(hb_state_load(&second.state.partition[0], read_input, &again) == 0);
		HB_ASSERT(again.left == 0);
		HB_ASSERT(second.state.partition[0].head->state_hash ==
			  world.state.partition[0].head->state_hash);
	}
	return 0;
}
