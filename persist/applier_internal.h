/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the work on servers (moving a shard, rebuilding) needs of the appliers: see applier.h and
 * server_work.c. Called by one thread at a time, the one that claimed the appliers.
 */
#ifndef HB_PERSIST_APPLIER_INTERNAL_H
#define HB_PERSIST_APPLIER_INTERNAL_H

#include "persist/applier.h"
#include "persist/server_map.h"

/* Who holds the appliers back. */
enum hbi_applier_claim {
	HBI_CLAIM_NONE,
	HBI_CLAIM_STOP, /* hb_applier_stop_at; a claim for work takes its place only after resume */
	HBI_CLAIM_WORK,
};

/** Claim the appliers for work. @return 0, or -EBUSY with `error` saying who has them */
int hbi_applier_claim(struct hb_applier *applier, char error[256]);
/** Give them back: everything that stands goes on. */
void hbi_applier_unclaim(struct hb_applier *applier);

/** Let go without telling anybody to go on: what stands stands, as after a death. */
void hbi_applier_abandon(struct hb_applier *applier);
/** The appliers are being ended: give up soon. */
bool hbi_applier_is_ending(struct hb_applier *applier);

/** Stop the servers of `mask` at seq, as hb_applier_stop_at does with all. */
int hbi_applier_stop(struct hb_applier *applier, uint32_t mask, uint64_t seq, uint32_t timeout_ms,
	char error[256]);
void hbi_applier_go_on(struct hb_applier *applier, uint32_t mask);

/** Let a server's applier close its connection and stand, wherever it is; false after `ms`. */
bool hbi_applier_park(struct hb_applier *applier, uint32_t server, uint32_t timeout_ms);
void hbi_applier_unpark(struct hb_applier *applier, uint32_t server);

void hbi_applier_map(struct hb_applier *applier, struct hb_server_map *map);
/** Tell the appliers a map that was stored; those whose shards differ connect anew. */
void hbi_applier_map_set(struct hb_applier *applier, const struct hb_server_map *map);
/** Wait until a server has taken over the map of this version. */
bool hbi_applier_await_map(
	struct hb_applier *applier, uint32_t server, uint64_t version, uint32_t timeout_ms);

/** The node's configuration, and the one that leads to a server. */
const struct hb_config *hbi_applier_node_config(const struct hb_applier *applier);
const struct hb_config *hbi_applier_config(const struct hb_applier *applier, uint32_t server);
const struct hb_applier_source *hbi_applier_source(const struct hb_applier *applier);
void hbi_applier_task(struct hb_applier *applier, const struct hb_applier_task *task);

#endif
