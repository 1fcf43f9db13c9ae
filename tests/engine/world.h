/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A small world for tests of the engine: 16 partitions in memory, a journal that is a growing
 * array, and credits that are delivered when the test says so. One thread, no processes.
 */
#ifndef HB_TESTS_ENGINE_WORLD_H
#define HB_TESTS_ENGINE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shm/engine.h"
#include "shm/ids.h"
#include "shm/node.h"
#include "shm/order_number.h"

#define WORLD_CREDITS_MAX 65536

struct world {
	struct hb_state state;
	struct hb_engine_config config;
	struct hb_input input;
	uint8_t *journal;
	uint64_t journal_bytes;
	uint64_t journal_room;
	uint64_t record_count;
	struct {
		uint32_t from;
		struct hb_credit credit;
	} waiting[WORLD_CREDITS_MAX];
	uint32_t waiting_count;
	uint64_t random; /* state of world_random */
	uint64_t token_counter;
	bool applied_nothing;	  /* MySQL stands still */
	uint32_t hold_lifetime_s; /* of world_hold; 0 = the default */
	union {
		struct hb_reply head;
		struct hb_reply_detail detail;
		struct hb_reply_order order;
		struct hb_reply_hold hold;
		uint8_t bytes[HB_REPLY_BYTES_MAX];
	} reply;
};

/** Small capacities, time 2026-11-23 00:00:00 UTC, tokens not required. */
void world_open(struct world *w);
/** The same with capacities of the caller's. */
void world_open_sized(struct world *w, const struct hb_capacity *capacity);
void world_close(struct world *w);
/** Make one partition of the state as it was when the world was opened: much faster than that. */
void world_forget(struct world *w, uint32_t partition);

/** Decide, journal, apply one frame; credits wait. @return the status */
enum hb_status world_ask(struct world *w, void *frame);
/** Deliver the credits that wait. */
void world_deliver(struct world *w);
void world_advance_ms(struct world *w, uint64_t ms);
uint64_t world_random(struct world *w);

/** Frames by operation; each returns the status and leaves the reply in w->reply. */
enum hb_status world_fund(struct world *w, uint64_t account, int64_t amount_fen);
enum hb_status world_send(struct world *w, uint64_t sender, uint64_t group, int64_t total_fen,
	uint32_t count, uint8_t algorithm, uint64_t *packet);
enum hb_status world_grab(struct world *w, uint64_t packet, uint64_t user, uint64_t group);
int64_t world_available(struct world *w, uint64_t account);
int64_t world_frozen(struct world *w, uint64_t account);

enum hb_status world_hold(struct world *w, uint64_t account, int64_t amount_fen, uint64_t *hold);
/** POST or VOID. */
enum hb_status world_exit(
	struct world *w, uint8_t operation, uint64_t hold, int64_t amount_fen, int64_t fee_fen);
/** ORDER_UPDATE; to SENDING through the manual channel. */
enum hb_status world_step(struct world *w, uint64_t account, uint64_t order_stamp, uint8_t before,
	uint8_t after, uint16_t attempt);
enum hb_status world_freeze(struct world *w, uint64_t account, bool freeze);
enum hb_status world_adjust(struct world *w, uint64_t from, uint64_t to, int64_t amount_fen);
/** Forget what may be forgotten, a whole pass over every partition. @return how many objects */
uint32_t world_evict(struct world *w, uint64_t retention_ms);
/** Void the holds whose deadline has passed. @return how many */
uint32_t world_void_due(struct world *w);
/** Fail unless every account's frozen balance is its open packets and open holds. */
void world_check_frozen(const struct world *w);

/** A GRAB frame with a valid token and the sequence initial + nth. */
struct hb_frame world_grab_frame(
	struct world *w, uint64_t packet, uint64_t user, uint64_t group, uint32_t nth);

/** Replay the journal into a new state and check it is the same as w's (credits delivered). */
void world_check_replay(struct world *w);
/** The process dies, with the credits under way, and the next one begins from the journal. */
void world_restart(struct world *w);
/** Fail unless both states hold the same content. */
void world_check_same(const struct hb_state *a, const struct hb_state *b);
/** Sum of all balances, system accounts included: always zero. */
int64_t world_money(const struct world *w);

#endif
