/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The engine alone, for benchmarks: 16 partitions in memory, journal rings of the real size, a
 * reader thread that empties them into a log, and a replica that is built from the log alone.
 *
 * One thread drives; the reader only copies bytes. Between measurements hb_world_settle replays
 * the log into the replica, so at the end both must be the same. Everything belongs to the struct;
 * if the process dies there is nothing to repair.
 */
#ifndef HB_PERF_ENGINE_WORLD_H
#define HB_PERF_ENGINE_WORLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/engine.h"
#include "shm/ring.h"
#include "shm/segment.h"

#define HB_WORLD_GROUP	    7
#define HB_WORLD_STATUS_MAX 64
#define HB_WORLD_LOOK_EVERY 32 /* frames between two looks at the clock, whatever the burst */

struct hb_world {
	struct hb_state state;
	struct hb_state replica;
	struct hb_engine_config config;
	struct hb_input input;
	uint64_t clock_ahead_ns; /* added to the wall clock, to let packets expire */
	struct hb_segment journal;
	struct hb_ring_end producer[HB_PARTITION_COUNT];
	struct hb_ring_end consumer[HB_PARTITION_COUNT]; /* the reader's */
	pthread_t reader;
	atomic_bool reader_stop;
	uint8_t *log;
	uint64_t log_room;
	_Atomic uint64_t log_used;
	uint64_t replayed_records;
	uint64_t replay_ns;
	uint64_t token_counter;
	uint64_t random;
};

/* What came of a run of frames. */
struct hb_world_outcome {
	uint64_t status[HB_WORLD_STATUS_MAX];
	uint64_t already; /* of status OK: the outcome of an earlier request */
	int64_t amount_fen;
	uint64_t wall_ns;
	uint64_t cpu_ns; /* of the driving thread */
};

struct hb_world_check {
	uint64_t packets;
	uint64_t claims;
	int64_t claims_fen;
	int64_t money_fen; /* all balances, system accounts too: must be 0 */
	const char *wrong; /* NULL, or what is not true */
};

/* What the state's objects take, over all partitions. */
struct hb_world_memory {
	uint64_t accounts, packets, windows;		/* there are */
	uint64_t account_bytes, packet_bytes;		/* of one slot */
	uint64_t account_room_bytes, packet_room_bytes; /* of all slots, free ones too */
	uint64_t arena_bytes; /* blocks of packets: shares with claims, indexes, greetings */
};

/** @param log_room bytes of records between two settles @return 0 or -errno */
int hb_world_open(struct hb_world *world, const struct hb_capacity *capacity, uint64_t log_room);
void hb_world_close(struct hb_world *world);

/** Bytes of the state in huge pages, from /proc; 0 = none. */
uint64_t hb_world_huge_bytes(const struct hb_world *world);

/**
 * Write to each page of the state, to be called before the first measurement: a hypervisor with
 * page tables of its own (shadow paging) fills them at the first access, which costs more than ten
 * grabs.
 */
void hb_world_touch(struct hb_world *world);

uint64_t hb_world_random(struct hb_world *world);

/** Ask one thing outside of any measurement, as control. Asserts status OK. @return the reply */
const struct hb_reply *hb_world_ask(struct hb_world *world, void *frame);

/** Open an account; put money into it. */
void hb_world_open_account(struct hb_world *world, uint64_t account);
void hb_world_fund(struct hb_world *world, uint64_t account, int64_t amount_fen);
/** Send a lucky packet to HB_WORLD_GROUP. @return its id */
uint64_t hb_world_send(struct hb_world *world, uint64_t sender, int64_t total_fen, uint32_t count,
	uint32_t lifetime_s);

/** A GRAB frame with a valid token, its first sequence. */
void hb_world_grab_frame(
	struct hb_world *world, struct hb_frame *frame, uint64_t packet, uint64_t user);

/** The same with a token id of another packet: its window is that of `token_id`. */
void hb_world_token(const struct hb_world *world, struct hb_frame *frame, uint64_t token_id);

/** Drive frames through the engine, `burst` at a time, and measure. */
void hb_world_drive(struct hb_world *world, const struct hb_frame *frames, uint64_t count,
	uint32_t burst, struct hb_world_outcome *outcome);

/** Wait for the reader, verify all records of the log and replay them into the replica. */
void hb_world_settle(struct hb_world *world);

void hb_world_memory(const struct hb_world *world, struct hb_world_memory *memory);

/** Settle, then check everything that must be true of the books. */
void hb_world_check(struct hb_world *world, struct hb_world_check *check);

#endif
