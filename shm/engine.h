/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The engine: two pure functions.
 *
 * `decide` looks at a partition and a frame and says what shall happen: records and a reply, or a
 * refusal. It changes nothing. `apply` is the only writer of state. The dataplane calls both;
 * recovery, snapshots and checks call `apply` alone, so time, randomness, limits and keys never
 * enter a replay. Neither allocates, calls the system, or knows DPDK.
 *
 * A record's effect on accounts of other partitions leaves `apply` as a credit. The dataplane
 * delivers it when the record is committed, with hb_apply_credit at the other partition's owner;
 * replay does so at once. Credits commute and cannot fail.
 */
#ifndef HB_SHM_ENGINE_H
#define HB_SHM_ENGINE_H

#include "shm/state.h"
#include "shm/token_batch.h"

struct hb_engine_config {
	struct hb_token_keys token_keys;
	int64_t packet_total_fen_max;
	uint32_t packet_count_max;
	uint32_t packet_lifetime_s_max;
	uint32_t order_version; /* 2: numbers of new orders are of version 2, else of 1 */
	bool tokens_required; /* money operations of users need a token; off in benchmarks of parts
			       */
};

/* What decide may know besides state and frame. */
struct hb_input {
	const struct hb_engine_config *config;
	uint64_t now_ns;	/* ledger clock, Unix epoch */
	uint8_t seed[32];	/* fresh random bytes; used by PACKET_CREATE */
	uint64_t token_id;	/* a fresh token id for TOKEN_ISSUE, see hb_token_id_next */
	uint32_t storage_level; /* enum hb_storage_level */
	uint32_t degrade_level; /* enum hb_degrade_level */
	bool clock_stopped;
	bool trusted;	       /* the frame came through a ring of control: no money token needed */
	uint64_t retention_ms; /* how long what is over stays in memory; EVICT */
	uint64_t applied_sequence;     /* core sequence up to which MySQL has the ring's records */
	bool credits_reserve_low;      /* some partition's account table is down to its reserve */
	struct hb_token_batch *tokens; /* of the burst the frame is in, or NULL: its MAC alone */
	uint32_t token_place;	       /* of the frame in it */
};

struct hb_decision {
	uint32_t record_count; /* in the order to be applied, back to back in `records` */
	uint32_t record_bytes;
	uint8_t *records; /* given by the caller: HB_DECISION_BYTES_MAX bytes, 8-byte aligned */
	struct hb_reply *reply; /* given by the caller: HB_REPLY_BYTES_MAX bytes, 8-byte aligned */
};
#define HB_DECISION_BYTES_MAX (HB_DECISION_RECORDS_MAX * HB_RECORD_BYTES_MAX)

/* The part of a record that belongs to an account of any partition. */
struct hb_credit {
	uint64_t account; /* 0 = no credit */
	int64_t amount_fen;
};

/**
 * Decide a frame that passed hb_frame_check and the ring's operation mask.
 * Records come out sealed, with the partition's ring, next core sequences and ledger time.
 * The reply's head is complete but for as_of_seq. Operations that need the dataplane itself
 * (TOKEN_ASK, TOKEN_TAKE, AUDIT, CLOCK_CONFIRM, DEGRADE) are not decided here and get
 * FRAME_INVALID.
 */
void hb_decide(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);

/** Decide what is due at a deadline: a PACKET_EXPIRE record if the packet is open and due. */
void hb_decide_expire(const struct hb_partition *p, uint64_t packet, const struct hb_input *input,
	struct hb_decision *decision);

/** Decide what is due at a hold's deadline: a VOID record if it is open, due and was never sent. */
void hb_decide_hold_due(const struct hb_partition *p, uint64_t hold, const struct hb_input *input,
	struct hb_decision *decision);

/* Where the search for something to forget stands; zeros at the beginning. The caller's. */
struct hb_evict_cursor {
	uint32_t kind; /* enum hb_object_kind */
	uint32_t passes;
	uint64_t slot;
};

/**
 * Look at the next HB_EVICT_SLOTS slots for an object that is over for input->retention_ms (less
 * when its table is more than half full) and that MySQL has (input->applied_sequence).
 * @return true with one EVICT record; the cursor is behind what was looked at
 */
bool hb_decide_evict(const struct hb_partition *p, struct hb_evict_cursor *cursor,
	const struct hb_input *input, struct hb_decision *decision);

/** A MARK with the partition's hash and credit sums. */
void hb_decide_mark(
	const struct hb_partition *p, const struct hb_input *input, struct hb_decision *decision);

/**
 * Apply a verified record to its partition. Asserts everything a correct journal guarantees:
 * next core sequence, time not before the last, after-state of GRAB, hash of MARK.
 * @param credit set to the credit that the record implies, account 0 when none
 */
void hb_apply(struct hb_partition *p, const struct hb_record *record, struct hb_credit *credit);

/** Apply a credit at the account's owner; opens a missing account. */
void hb_apply_credit(
	struct hb_partition *to, uint32_t from_partition, const struct hb_credit *credit);

/**
 * The credit that a record implies, from the record alone: the one that hb_apply hands out. So
 * partitions can be replayed apart (persist/replay_crew.c).
 */
struct hb_credit hb_record_credit(const struct hb_record *record);

/**
 * What a replay checks before hb_apply, so that a damaged journal is named instead of asserted.
 * @return NULL when hb_apply will not fail, else what is wrong (a constant string)
 */
const char *hb_apply_check(const struct hb_partition *p, const struct hb_record *record);
/** The same before hb_apply_credit. */
const char *hb_apply_credit_check(const struct hb_partition *to, const struct hb_credit *credit);

/** PACKET_GONE or PACKET_UNKNOWN, for a packet that is not in memory. */
enum hb_status hb_packet_absent(const struct hb_partition *p, uint64_t packet);

/** True when the account table is so full that only the reserve for credits is left. */
bool hb_accounts_low(const struct hb_partition *p);

/*
 * How many frames or credits before its use each of these is called. Deciding one takes
 * the time of a few lines from memory, so this many are on their way while others are decided. A
 * whole burst at once is worse than none: a processor drops prefetches when too many wait.
 */
#define HB_PREFETCH_HEAD_AHEAD	 8
#define HB_PREFETCH_CLAIMS_AHEAD 4
#define HB_PREFETCH_CREDIT_AHEAD 8
#define HB_PREFETCH_CHAIN_AHEAD	 4

typedef void hb_prefetch_frame_fn(const struct hb_partition *p, const struct hb_frame *frame);
/** Prefetch the packet and the token's window that a frame names. */
hb_prefetch_frame_fn hb_prefetch_head;
/** Prefetch what the packet names: reads it. */
hb_prefetch_frame_fn hb_prefetch_claims;

#define HB_PARTITIONS_ALL ((UINT32_C(1) << HB_PARTITION_COUNT) - 1)

struct hb_state;
typedef void hb_prefetch_record_fn(
	const struct hb_state *state, uint32_t partitions, const struct hb_record *record);
/**
 * The same two steps before a record is applied again, with the account of its credit.
 * @param partitions a bit for each that is looked at
 */
hb_prefetch_record_fn hb_prefetch_record_head;
hb_prefetch_record_fn hb_prefetch_record_claims;

typedef void hb_prefetch_credit_fn(const struct hb_partition *to, const struct hb_credit *credit);
/** Prefetch the account of a credit, where it is when nobody was there first. */
hb_prefetch_credit_fn hb_prefetch_credit;
/** Look there, and when it is another's, prefetch the places behind it. */
hb_prefetch_credit_fn hb_prefetch_credit_chain;

/**
 * The memory audit: recompute the hash over the accounts as they stand in memory, and compare it
 * with head->balance_hash, which apply keeps from the changes alone. Bounded steps.
 * A pass runs over many calls; apply keeps it right meanwhile (p->audit).
 * @return 1 pass complete and equal, 0 not complete, -1 complete and different: memory was changed
 *         behind the engine
 */
int hb_audit_step(struct hb_partition *p, uint32_t slots);

#endif
