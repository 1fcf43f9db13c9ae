/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A world of the comparison: the real engine and the model side by side, both asked the same. One
 * thread; a world belongs to its caller and dies with the process. Everything in it follows from
 * its seed.
 */
#ifndef HB_TESTS_REFERENCE_WORLD_H
#define HB_TESTS_REFERENCE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/engine.h"
#include "tests/reference/model.h"

#define WORLD_OPERATIONS  20000 /* of a seed */
#define WORLD_USERS_MAX	  44
#define WORLD_PACKETS	  64 /* remembered by the maker of commands, the newest last */
#define WORLD_HOLDS	  32
#define WORLD_ORDERS	  64
#define WORLD_FRAMES	  64
#define WORLD_TOKENS	  32
#define WORLD_KEYS	  32
#define WORLD_CREDITS_MAX 4096

struct known_hold {
	uint64_t id, account, order;
	int64_t amount_fen;
};

struct known_order {
	uint64_t account, stamp, hold;
	int64_t amount_fen;
	uint8_t state;
	uint16_t attempt;
};

struct known_token {
	uint64_t id, mac, user, target;
	uint32_t expiry_s, initial, last;
	uint8_t operation;
};

union frame {
	struct hb_frame head;
	struct hb_frame_packet_create create;
	struct hb_frame_transfer transfer;
	struct hb_frame_detail detail;
	struct hb_frame_token token;
	struct hb_frame_account_open open;
	struct hb_frame_order order;
	struct hb_frame_account_freeze freeze;
	struct hb_frame_hold hold;
	struct hb_frame_hold_exit hold_exit;
	struct hb_frame_order_update update;
	struct hb_frame_order_load load;
	struct hb_frame_adjust adjust;
	struct hb_frame_degrade degrade;
	uint8_t bytes[HB_FRAME_BYTES_MAX];
};

struct world {
	uint64_t seed;
	uint64_t random;
	uint64_t operation; /* number of the one at hand, from 1 */
	struct hb_state state;
	struct model *model;
	struct hb_capacity capacity;
	struct hb_engine_config config;
	struct hb_input input;
	uint16_t partitions; /* bit i: something may live there */
	bool check_records;  /* ask hb_apply_check about each */
	/* records of this world, for a replay */
	uint8_t *journal;
	uint64_t journal_bytes, journal_room;
	struct {
		uint32_t from;
		struct hb_credit credit;
	} waiting[WORLD_CREDITS_MAX];
	uint32_t waiting_count;
	uint64_t credits; /* that were ever on their way */
	/* what the maker of commands remembers */
	uint64_t users[WORLD_USERS_MAX], packets[WORLD_PACKETS], recipients[WORLD_PACKETS],
		last_stamp, counter;
	uint32_t user_count, packet_count, hold_count, order_count, frame_count, token_count,
		key_count;
	uint32_t large_left; /* packets of more shares than one record draws */
	struct known_hold holds[WORLD_HOLDS];
	struct known_order orders[WORLD_ORDERS];
	struct known_token tokens[WORLD_TOKENS];
	union frame frames[WORLD_FRAMES];
	uint64_t keys[WORLD_KEYS];
	uint64_t balance_account;
	int64_t balance_fen;
	struct known_token *used_token; /* of the frame at hand */
	uint32_t token_minted;
	_Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX];
	_Alignas(8) union model_reply said, expected; /* by the engine; by the model */
};

static inline uint64_t
world_random(struct world *w)
{
	uint64_t x = w->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint32_t
world_below(struct world *w, uint32_t n)
{
	return (uint32_t)((world_random(w) >> 32) * n >> 32);
}

static inline bool
world_one_in(struct world *w, uint32_t n)
{
	return world_below(w, n) == 0;
}

/* commands.c: what is asked */

/** Draw what a world is like; capacity, users, configuration. */
void commands_begin(struct world *w);
/** Move the clock and the node's levels, and make the next frame. */
void commands_next(struct world *w, union frame *frame);
/** Learn from the answer. */
void commands_learn(struct world *w, const union frame *frame);

#endif
