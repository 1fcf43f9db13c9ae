/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * An lcore's view of its clients: attaching and letting go by messages of the main thread, and
 * hanging up on clients that break their rings or do not read.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "base/assert.h"
#include "base/log.h"
#include "dataplane/attach.h"
#include "dataplane/lcore.h"

static void
tell_main(
	struct hb_lcore *lcore, enum hb_main_message_kind kind, uint32_t slot, uint64_t generation)
{
	struct hb_message message = {.kind = kind, .slot = slot, .generation = generation};

	/* Sized for a kick and a let-go of every slot, so it is never full. */
	HB_ASSERT(hb_spsc_push(&lcore->to_main, &message));
	eventfd_write(lcore->shared->main_wake, 1);
}

static void
attach(struct hb_lcore *lcore, const struct hb_message *message)
{
	const struct hb_client_slot *from = message->client;
	struct hb_lcore_client *client = &lcore->clients[message->slot];

	HB_ASSERT(!client->active && lcore->active_count < lcore->shared->clients_max);
	*client = (struct hb_lcore_client){.active = true,
		.trusted = from->trusted,
		.bell = from->bell.ring,
		.generation = message->generation,
		.operation_mask = from->operation_mask,
		.request = from->request[lcore->number],
		.reply = from->reply[lcore->number]};
	lcore->active[lcore->active_count++] = message->slot;
}

static void
forget(struct hb_lcore *lcore, uint32_t slot)
{
	if (!lcore->clients[slot].active)
		return;
	lcore->clients[slot].active = false;
	for (uint32_t i = 0; i < lcore->active_count; i++) {
		if (lcore->active[i] != slot)
			continue;
		lcore->active[i] = lcore->active[--lcore->active_count];
		return;
	}
}

void
hb_client_kick(struct hb_lcore *lcore, uint32_t slot, const char *why)
{
	struct hb_lcore_client *client = &lcore->clients[slot];

	if (!client->active)
		return;
	hb_log(HB_LOG_WARN, "client_kicked", "lcore=%u slot=%u reason=\"%s\"", lcore->number, slot,
		why);
	forget(lcore, slot);
	tell_main(lcore, HB_MAIN_KICK, slot, client->generation);
}

bool
hb_clients_messages(struct hb_lcore *lcore)
{
	struct hb_message message;
	bool any = false;

	while (hb_spsc_pop(&lcore->from_main, &message)) {
		any = true;
		if (message.kind == HB_LCORE_ATTACH) {
			attach(lcore, &message);
		} else if (message.kind == HB_LCORE_DETACH) {
			forget(lcore, message.slot);
			tell_main(lcore, HB_MAIN_LET_GO, message.slot, message.generation);
		} else {
			lcore->stopping = true;
		}
	}
	return any;
}
