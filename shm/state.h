/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The state of the 16 partitions in memory: accounts, packets with their claims, holds, token
 * windows, orders, idempotency keys.
 *
 * One owner per partition: the lcore it is mapped to, or the thread that replays. No locks and no
 * atomics; nobody else maps the segment. `apply` is the only writer (shm/engine.h). All places are
 * offsets or indexes. Capacities are fixed when the segment is made and recorded in it; "full" is
 * answered before anything changes. Packets, holds and orders that are over are forgotten by EVICT
 * records (shm/evict.c); their ids and stamps never come again, so absence never means "new".
 *
 * If the owner dies here: the memory is thrown away and built anew from snapshot and journal.
 */
#ifndef HB_SHM_STATE_H
#define HB_SHM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/frame.h"
#include "shm/limits.h"
#include "shm/record.h"
#include "shm/segment.h"

/* Per partition; powers of two. */
struct hb_capacity {
	uint64_t accounts;    /* account slots; a quarter stays free */
	uint64_t packets;     /* packets in memory */
	uint64_t arena_bytes; /* claims, claim indexes and greetings */
	uint64_t windows;     /* token window slots; a quarter stays free */
	uint64_t orders;      /* order slots; a quarter stays free */
	uint64_t idempotency; /* keys kept */
	uint64_t holds;	      /* holds in memory */
};
#define HB_CAPACITY_DEFAULT                                                                        \
	((struct hb_capacity){.accounts = 1 << 19,                                                 \
		.packets = 1 << 17,                                                                \
		.arena_bytes = UINT64_C(1) << 27,                                                  \
		.windows = 1 << 19,                                                                \
		.orders = 1 << 17,                                                                 \
		.idempotency = 1 << 17,                                                            \
		.holds = 1 << 16})

/* Reasons whose holds are counted per day: withdrawal, refund through a channel. */
#define HB_HOLD_DAY_REASONS 2

struct hb_account {
	uint64_t id; /* 0 = free slot */
	int64_t available_fen;
	int64_t frozen_fen;
	uint64_t version; /* counts changes */
	uint8_t kind;	  /* enum hb_account_kind */
	uint8_t barred;	  /* debits refused */
	/* What was held on `day` and not given back, by reason: hbi_day_index. */
	uint16_t day_count[HB_HOLD_DAY_REASONS];
	uint16_t reserved0;
	int64_t day_fen[HB_HOLD_DAY_REASONS];
	uint32_t day; /* Beijing yyyymmdd, 0 = never */
	uint32_t reserved1;
};
_Static_assert(sizeof(struct hb_account) == 64, "account");

/*
 * The first line is what a grab needs, the others what creating, expanding and closing need, and
 * the seed, which salts the claim index of a large packet.
 */
struct hb_packet {
	uint64_t id; /* 0 = free slot */
	uint64_t sender;
	uint64_t group;
	uint64_t created_ms;
	int64_t left_fen;
	uint64_t deadline_ms;
	uint32_t count;
	uint32_t left_count;
	uint32_t block; /* in the arena, units of 16 bytes: claims, index, greeting */
	uint8_t state;	/* enum hb_packet_state */
	uint8_t kind;
	uint8_t algorithm;
	uint8_t funding;

	int64_t total_fen;
	uint64_t recipient;
	uint64_t order_stamp;
	int64_t share_min_fen;
	int64_t share_max_fen;
	uint64_t draw_next;	 /* of the expansion */
	int64_t expand_left_fen; /* not yet drawn into shares */
	int64_t refunded_fen;

	uint64_t hold_id;
	uint32_t expanded_count; /* shares drawn so far */
	uint32_t article;
	uint8_t greeting_length;
	uint8_t reserved[7];
	uint64_t final_sequence; /* core sequence of the record that ended it, 0 = open */
	uint8_t seed[32];
};
_Static_assert(sizeof(struct hb_packet) == 192, "packet");

/* Share and claim in one: amount_fen is drawn by expansion, user and time are set by the grab. */
struct hb_claim {
	uint64_t user; /* 0 = not taken */
	uint32_t amount_fen;
	uint32_t offset_ms; /* of the grab, since created_ms */
};
_Static_assert(sizeof(struct hb_claim) == 16, "claim");

struct hb_window {
	uint64_t token_id; /* 0 = free slot */
	uint64_t user;
	uint64_t used;	 /* bit i: sequence newest - i was used */
	uint32_t newest; /* sequence */
	uint32_t expiry_s;
};
_Static_assert(sizeof(struct hb_window) == 32, "window");

struct hb_order {
	uint64_t stamp; /* 0 = free slot */
	uint64_t account;
	int64_t amount_fen;
	int64_t settled_fen;
	uint64_t purpose_id;
	uint64_t hold_id;
	uint16_t business;
	uint16_t channel;
	uint32_t product;
	uint8_t state; /* enum hb_order_state */
	uint8_t reserved;
	uint16_t attempt; /* of sending it to a channel, 0 = never sent */
	uint32_t ended_s; /* Unix seconds, 0 = not in a final state */
	int64_t refunded_fen;
	uint64_t final_sequence; /* core sequence of the record that ended it */
};
_Static_assert(sizeof(struct hb_order) == 80, "order");
/* Snapshots of content 0 have orders without the last two fields. */
#define HB_ORDER_BYTES_0 64

enum hb_hold_state {
	HB_HOLD_OPEN = 1,
	HB_HOLD_POSTED = 2,
	HB_HOLD_VOIDED = 3,
};

/* Money between an account and a channel. Its slot is its id's counter, like a packet's. */
struct hb_hold {
	uint64_t id; /* 0 = free slot */
	uint64_t account;
	int64_t amount_fen;
	uint64_t deadline_ms;
	uint64_t order_stamp;
	uint64_t ended_ms;	 /* Unix ms of its exit, 0 = open */
	uint64_t final_sequence; /* core sequence of its exit */
	uint32_t day;		 /* Beijing yyyymmdd that counts it */
	uint8_t reason;		 /* enum hb_hold_reason */
	uint8_t state;		 /* enum hb_hold_state */
	uint16_t exit_content;	 /* hbi_exit_content, 0 = not known */
};
_Static_assert(sizeof(struct hb_hold) == 64, "hold");

struct hb_idempotency_entry {
	uint8_t key[16];
	uint64_t parameter_hash;
	uint64_t result; /* packet id, order stamp or account */
	uint64_t time_ms;
	uint8_t record_type; /* 0 = free */
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct hb_idempotency_entry) == 48, "idempotency entry");

/* What a snapshot holds: 0 the first version, 2 with holds and the longer order. */
#define HB_STATE_CONTENT 2

/* Numbers of a partition; part of snapshots as a whole. */
struct hb_partition_head {
	uint64_t core_sequence;	 /* of the last record applied */
	uint64_t time_ns;	 /* of the last record applied: ledger time */
	uint64_t last_stamp;	 /* of the order number allocator, without the mark */
	uint64_t packet_counter; /* of the last packet id given out */
	uint64_t hold_counter;
	uint64_t state_hash; /* over this ring's own records: engine.h */
	uint64_t account_count;
	uint64_t packet_count;
	uint64_t window_count;
	uint64_t order_count;
	uint64_t window_sweep;	    /* slot the expiry sweep looks at next */
	uint64_t idempotency_first; /* oldest entry kept; entry i is at slot i mod capacity */
	uint64_t idempotency_next;
	uint64_t arena_used;	  /* units of 16 bytes */
	int64_t open_packets_fen; /* sum of left over this partition's packets */
	uint64_t balance_hash;	  /* over the accounts here as they stand: for the memory audit */
	uint64_t grab_count;
	uint64_t hold_count;
	uint64_t arena_live;	/* units of 16 bytes in blocks of packets */
	uint64_t content;	/* of a snapshot: HB_STATE_CONTENT; 0 = first version */
	int64_t open_holds_fen; /* sum over this partition's open holds */
	uint64_t evict_count;
	uint64_t reserved[10];
	uint64_t sent_count[HB_PARTITION_COUNT];
	uint64_t sent_fen[HB_PARTITION_COUNT];
	uint64_t applied_count[HB_PARTITION_COUNT];
	uint64_t applied_fen[HB_PARTITION_COUNT];
};
_Static_assert(sizeof(struct hb_partition_head) == 768, "partition head");

/* A partition as its owner sees it: pointers into its own mapping. Private to a process. */
struct hb_partition {
	uint32_t number;
	uint32_t node;
	struct hb_capacity capacity;
	struct hb_partition_head *head;
	struct hb_account *accounts;
	struct hb_packet *packets;
	uint8_t *arena;
	struct hb_window *windows;
	struct hb_order *orders;
	struct hb_idempotency_entry *idempotency;
	struct hb_hold *holds;
	uint32_t *arena_free;	     /* per size class: first free block + 1, see arena.c */
	uint32_t *idempotency_index; /* 2 * capacity slots: (entry mod capacity) + 1 */
	struct hb_audit {	     /* of the running audit pass, see hb_audit_step */
		uint64_t cursor;     /* next slot to add */
		uint64_t sum;	     /* over the slots before it, as they stand */
	} audit;
};

/* At HB_SEGMENT_GUARD_BYTES of the state segment. */
struct hb_state_head {
	struct hb_capacity capacity;
	uint32_t node;
	uint32_t partition_count;
	uint64_t partition_bytes; /* partition i begins at 2 * guard + i * partition_bytes */
};

struct hb_state {
	struct hb_segment segment;
	struct hb_partition partition[HB_PARTITION_COUNT];
};

/** Bytes of the segment that a state of this capacity lies in. */
uint64_t hb_state_bytes(const struct hb_capacity *capacity);

/**
 * Make an empty state in a new segment. Pages are touched only as they are used.
 * @return 0 or -errno
 */
int hb_state_create(struct hb_state *state, const struct hb_capacity *capacity, uint32_t node);
/** Map a state made by another process; takes the descriptor. @return as hb_segment_attach */
int hb_state_attach(struct hb_state *state, int fd, char error[160]);
void hb_state_close(struct hb_state *state);

/** Look-ups; NULL when there is none. Owner's thread only. */
struct hb_account *hb_account_find(const struct hb_partition *p, uint64_t account);
struct hb_packet *hb_packet_find(const struct hb_partition *p, uint64_t packet);
struct hb_claim *hb_packet_claims(const struct hb_partition *p, const struct hb_packet *packet);
const uint8_t *hb_packet_greeting(const struct hb_partition *p, const struct hb_packet *packet);
/** The claim of a user in a packet, or NULL. */
struct hb_claim *hb_claim_find(
	const struct hb_partition *p, const struct hb_packet *packet, uint64_t user);
struct hb_window *hb_window_find(const struct hb_partition *p, uint64_t token_id, uint64_t user);
struct hb_order *hb_order_find(const struct hb_partition *p, uint64_t stamp);
struct hb_hold *hb_hold_find(const struct hb_partition *p, uint64_t hold);
struct hb_idempotency_entry *hb_idempotency_find(
	const struct hb_partition *p, const uint8_t key[16]);

/**
 * Write or read the content of a partition for a snapshot, independent of capacities:
 * head, then accounts, packets with claims and greeting, windows, orders, idempotency entries,
 * holds, each table as u64 count and entries (docs/journal-format.md).
 * The callback moves exactly `bytes` bytes and returns 0 or -errno, which ends the walk.
 * @return 0, the callback's error, -EPROTO (damaged content) or -ENOSPC (capacity too small)
 */
typedef int hb_state_io_fn(void *context, void *bytes, size_t length);
int hb_state_save(const struct hb_partition *p, hb_state_io_fn *write, void *context);
int hb_state_load(struct hb_partition *p, hb_state_io_fn *read, void *context);
/**
 * Read what hb_state_save wrote as far as its packets, and look at each; without a state.
 * @return 0, the read callback's error or -EPROTO
 */
int hb_state_visit_packets(hb_state_io_fn *read, void *context,
	void (*visit)(void *visitor, const struct hb_packet *packet), void *visitor);

#endif
