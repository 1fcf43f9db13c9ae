/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The records of the journal: the only thing that changes state (docs/journal-format.md).
 *
 * Little endian, natural alignment, every reserved byte zero. A record is made by `decide` in the
 * partition that owns it, carries that partition's ring number and next core sequence, and a
 * CRC32C over everything after the crc field. Record types and field offsets never change once
 * written; a new meaning is a new `version` of a type. Records are a multiple of 8 bytes long.
 */
#ifndef HB_SHM_RECORD_H
#define HB_SHM_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "shm/limits.h"

/* Ring 0..15 = the partition; 16 = persist's own records (EPOCH_START). */
#define HB_RING_PERSIST HB_PARTITION_COUNT
#define HB_RING_COUNT	(HB_PARTITION_COUNT + 1)

enum hb_record_type {
	HB_RECORD_NONE = 0, /* preallocated zeros */
	HB_RECORD_EPOCH_START = 1,
	HB_RECORD_MARK = 2,
	HB_RECORD_ACCOUNT_OPEN = 10,
	HB_RECORD_ACCOUNT_FREEZE = 11,
	HB_RECORD_ACCOUNT_UNFREEZE = 12,
	HB_RECORD_ORDER_OPEN = 20,
	HB_RECORD_ORDER_UPDATE = 21,
	HB_RECORD_ORDER_LOAD = 22,
	HB_RECORD_CREDIT = 30,
	HB_RECORD_PACKET_CREATE = 40,
	HB_RECORD_GRAB = 41,
	HB_RECORD_PACKET_EXPIRE = 42,
	HB_RECORD_HOLD = 50,
	HB_RECORD_POST = 51,
	HB_RECORD_VOID = 52,
	HB_RECORD_TRANSFER = 60,
	HB_RECORD_REFUND_OPEN = 70,
	HB_RECORD_REFUND_DONE = 71,
	HB_RECORD_REFUND_FAILED = 72,
	HB_RECORD_ADJUST = 80,
	HB_RECORD_EVICT = 90,
};

struct hb_record {
	uint32_t crc;	 /* CRC32C of bytes 4..length-1 */
	uint16_t length; /* of the whole record, a multiple of 8 */
	uint8_t type;	 /* enum hb_record_type */
	uint8_t version; /* 2: an order stamp in it has the mark of version 2; else 1 */
	uint16_t ring;
	uint16_t flags;
	uint32_t reserved;
	uint64_t core_sequence; /* 1, 2, 3 … per ring, over restarts */
	uint64_t time_ns;	/* ledger time, Unix epoch; never decreases within a ring */
};
_Static_assert(sizeof(struct hb_record) == 32, "record header");

/* Which token and sequence a money record uses; all zero when none was needed. */
struct hb_token_use {
	uint64_t token_id;
	uint32_t sequence;
	uint32_t expiry_s; /* Unix seconds */
};
_Static_assert(sizeof(struct hb_token_use) == 16, "token use");

/* The idempotency key of a command with the hash of its parameters; all zero when none. */
struct hb_idempotency {
	uint8_t key[16];
	uint64_t parameter_hash;
};
_Static_assert(sizeof(struct hb_idempotency) == 24, "idempotency");

struct hb_record_epoch_start {
	struct hb_record head;
	uint64_t epoch;
	uint32_t node;
	uint32_t partition_count;
	uint8_t build[32]; /* version of the writing program, NUL padded */
};
_Static_assert(sizeof(struct hb_record_epoch_start) == 80, "EPOCH_START");

/*
 * State of the ring's own partition after its previous record, taken by the dataplane from its
 * memory. Replay compares `state_hash`; credits are compared per partition pair.
 */
struct hb_record_mark {
	struct hb_record head;
	uint64_t state_hash;
	uint64_t reserved;
	uint64_t sent_count[HB_PARTITION_COUNT]; /* credits this ring's records imply, by target */
	uint64_t sent_fen[HB_PARTITION_COUNT];
	uint64_t applied_count[HB_PARTITION_COUNT]; /* credits applied here, by origin */
	uint64_t applied_fen[HB_PARTITION_COUNT];
};
_Static_assert(sizeof(struct hb_record_mark) == 560, "MARK");

enum hb_account_kind {
	HB_ACCOUNT_USER = 1,
	HB_ACCOUNT_ENTERPRISE = 2,
	HB_ACCOUNT_SYSTEM = 3,
};

struct hb_record_account_open {
	struct hb_record head;
	uint64_t account;
	uint8_t kind; /* enum hb_account_kind */
	uint8_t reserved[7];
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_account_open) == 72, "ACCOUNT_OPEN");

/* ACCOUNT_FREEZE and ACCOUNT_UNFREEZE: bars debits only. */
struct hb_record_account_freeze {
	struct hb_record head;
	uint64_t account;
	uint64_t case_id;
	uint64_t operator_id;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_account_freeze) == 80, "ACCOUNT_FREEZE");

/* The two business digits of an order number. Never renumbered. */
enum hb_business {
	HB_BUSINESS_RECHARGE = 10,
	HB_BUSINESS_WITHDRAWAL = 11,
	HB_BUSINESS_PACKET_SEND = 20,
	HB_BUSINESS_PACKET_GRAB = 21,
	HB_BUSINESS_PACKET_REFUND = 22,
	HB_BUSINESS_TRANSFER_OUT = 30,
	HB_BUSINESS_TRANSFER_IN = 31,
	HB_BUSINESS_REFUND = 40,
	HB_BUSINESS_COLLECTION = 50,
	HB_BUSINESS_ADJUSTMENT = 90,
};

enum hb_order_state {
	HB_ORDER_OPEN = 1,
	HB_ORDER_DONE = 2,
	HB_ORDER_REQUESTED = 3,
	HB_ORDER_APPROVED = 4,
	HB_ORDER_SENDING = 5,
	HB_ORDER_UNKNOWN = 6,
	HB_ORDER_FAILED = 7,
	HB_ORDER_INVALID = 8,
};

/*
 * order_stamp = logical Unix milliseconds << 14 | sequence 0..9999, with bit 62 when the order's
 * number is of version 2: shm/order_number.h.
 */
struct hb_record_order_open {
	struct hb_record head;
	uint64_t order_stamp;
	uint64_t account;
	int64_t amount_fen;
	uint16_t business;   /* enum hb_business */
	uint16_t channel;    /* enum hb_system_account of its clearing account */
	uint32_t product;    /* registered payment business, 0 = built in */
	uint64_t purpose_id; /* packet or hold it will fund, 0 = the account's available balance */
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_order_open) == 96, "ORDER_OPEN");

/* One workflow step. SENDING names the attempt, so its channel number can be rebuilt. */
struct hb_record_order_update {
	struct hb_record head;
	uint64_t order_stamp;
	uint64_t account;
	uint8_t state_before; /* enum hb_order_state */
	uint8_t state_after;
	uint16_t attempt;
	uint32_t reason;
	uint64_t operator_id;
	uint8_t channel_reference[48];
	uint16_t business; /* of the order */
	uint16_t channel;  /* of the order from this step on */
	uint8_t reserved[4];
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_order_update) == 144, "ORDER_UPDATE");

struct hb_record_order_load {
	struct hb_record head;
	uint64_t order_stamp;
	uint64_t account;
	int64_t amount_fen;
	int64_t settled_fen;
	int64_t refunded_fen;
	uint16_t business;
	uint16_t channel;
	uint8_t state;
	uint8_t reserved[3];
	uint64_t hold_id;
};
_Static_assert(sizeof(struct hb_record_order_load) == 88, "ORDER_LOAD");

/*
 * clearing(channel) -amount; then either the account's available +amount (hold_id = 0), or the
 * hold named by hold_id is made with the amount in the account's frozen balance.
 */
struct hb_record_credit {
	struct hb_record head;
	uint64_t order_stamp;
	uint64_t account;
	int64_t amount_fen;
	uint64_t hold_id;
	uint16_t channel;
	uint16_t reserved[3];
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_credit) == 96, "CREDIT");

enum hb_packet_kind {
	HB_PACKET_NORMAL = 1, /* one share, one named recipient */
	HB_PACKET_LUCKY = 2,  /* random shares, to a group */
};

enum hb_split_algorithm {
	HB_SPLIT_DOUBLE_MEAN = 1, /* version 1 of each: shm/split.h */
	HB_SPLIT_SEED = 2,
};

enum hb_packet_funding {
	HB_FUNDED_BY_BALANCE = 0, /* available -> frozen */
	HB_FUNDED_BY_HOLD = 1,	  /* takes over the recharge's hold */
};

/* The greeting follows, greeting_length bytes, zero padded to a multiple of 8. */
struct hb_record_packet_create {
	struct hb_record head;
	uint64_t packet;
	uint64_t sender;
	uint64_t group;	    /* lucky: the group; normal: 0 */
	uint64_t recipient; /* normal: the user; lucky: 0 */
	int64_t total_fen;
	int64_t share_min_fen;
	int64_t share_max_fen; /* total_fen when there is no bound */
	uint64_t deadline_ms;  /* Unix ms, ledger time */
	uint64_t order_stamp;
	uint64_t hold_id; /* the hold taken over, 0 when paid from balance */
	uint32_t count;
	uint8_t kind;	   /* enum hb_packet_kind */
	uint8_t algorithm; /* enum hb_split_algorithm */
	uint8_t funding;   /* enum hb_packet_funding */
	uint8_t greeting_length;
	uint32_t article; /* marketing packet: the article, 0 = none */
	uint32_t reserved;
	uint8_t seed[32];
	uint8_t commitment[32]; /* SHA-256, see shm/split.h */
	struct hb_token_use token;
	struct hb_idempotency idempotency;
	uint8_t greeting[];
};
_Static_assert(sizeof(struct hb_record_packet_create) == 232, "PACKET_CREATE");

struct hb_record_grab {
	struct hb_record head;
	uint64_t packet;
	uint64_t user;
	int64_t amount_fen;
	int64_t left_fen; /* of the packet, after this grab: checked on replay */
	uint32_t share_index;
	uint32_t left_count;
	uint64_t order_stamp; /* the grabber's in-order */
	struct hb_token_use token;
};
_Static_assert(sizeof(struct hb_record_grab) == 96, "GRAB");

/* frozen -> available, or -> the refund hold of a channel-funded packet. */
struct hb_record_packet_expire {
	struct hb_record head;
	uint64_t packet;
	int64_t refund_fen;
	uint64_t order_stamp; /* of the refund order, 0 when nothing was left */
	uint64_t refund_hold_id;
};
_Static_assert(sizeof(struct hb_record_packet_expire) == 64, "PACKET_EXPIRE");

enum hb_hold_reason {
	HB_HOLD_WITHDRAWAL = 1,
	HB_HOLD_RECHARGE_FOR_PACKET = 2,
	HB_HOLD_CHANNEL_REFUND = 3,
};

/** The business of the order that a HOLD makes; 0 for reasons that make none. */
static inline uint32_t
hb_hold_business(uint32_t reason)
{
	if (reason == HB_HOLD_WITHDRAWAL)
		return HB_BUSINESS_WITHDRAWAL;
	return reason == HB_HOLD_CHANNEL_REFUND ? HB_BUSINESS_REFUND : 0;
}

/* HOLD: available -> frozen, with exactly one exit: POST, VOID or taken over by a packet. */
struct hb_record_hold {
	struct hb_record head;
	uint64_t hold_id;
	uint64_t account;
	int64_t amount_fen;
	uint64_t deadline_ms;
	uint64_t order_stamp;
	uint32_t reason; /* enum hb_hold_reason */
	uint32_t day;	 /* Beijing yyyymmdd of the daily counters */
	struct hb_token_use token;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_hold) == 120, "HOLD");

/*
 * POST: frozen -> clearing(channel) less fee -> fees; the order is done. VOID: frozen -> available;
 * reason 0 = the deadline passed.
 */
struct hb_record_hold_exit {
	struct hb_record head;
	uint64_t hold_id;
	uint64_t account;
	int64_t amount_fen;
	int64_t fee_fen;
	uint64_t order_stamp;
	uint16_t channel;
	uint8_t business;    /* of the order: enum hb_business */
	uint8_t state_after; /* of the order: enum hb_order_state */
	uint32_t reason;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_hold_exit) == 104, "POST, VOID");

/* from -amount at its owner, to +amount as a credit. Two orders share one stamp: out and in. */
struct hb_record_transfer {
	struct hb_record head;
	uint64_t from;
	uint64_t to;
	int64_t amount_fen;
	uint64_t order_stamp;
	struct hb_token_use token;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_transfer) == 104, "TRANSFER");

/* REFUND_OPEN, _DONE, _FAILED: keyed by refund number, cumulative never above what was paid. */
struct hb_record_refund {
	struct hb_record head;
	uint64_t order_stamp; /* the paid order */
	uint64_t account;
	int64_t amount_fen;
	int64_t refunded_after_fen;
	uint64_t refund_stamp;
	uint64_t hold_id;
	uint16_t channel;
	uint16_t attempt;
	uint32_t reason;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_refund) == 112, "REFUND");

/* One of both is a system account at least; maker and checker are different people. */
struct hb_record_adjust {
	struct hb_record head;
	uint64_t from;
	uint64_t to;
	int64_t amount_fen;
	uint64_t order_stamp;
	uint64_t case_id;
	uint64_t maker_id;
	uint64_t checker_id;
	uint32_t reason;
	uint32_t reserved;
	struct hb_idempotency idempotency;
};
_Static_assert(sizeof(struct hb_record_adjust) == 120, "ADJUST");

enum hb_object_kind {
	HB_OBJECT_PACKET = 1,
	HB_OBJECT_HOLD = 2,
	HB_OBJECT_ORDER = 3,
};

struct hb_record_evict {
	struct hb_record head;
	uint64_t object;      /* packet, hold or order stamp */
	uint32_t object_kind; /* enum hb_object_kind */
	uint32_t reserved;
};
_Static_assert(sizeof(struct hb_record_evict) == 48, "EVICT");

/* The longest record: a packet with the longest greeting. */
_Static_assert(
	sizeof(struct hb_record_packet_create) + HB_GREETING_BYTES_MAX <= HB_RECORD_BYTES_MAX,
	"longest record");

/**
 * Fill in length, type, version and CRC of a record whose other fields are set.
 * @param length of the whole record in bytes, a multiple of 8
 */
void hb_record_seal(struct hb_record *record, enum hb_record_type type, uint32_t length);

/**
 * Check a record that came from outside (shared memory or disk).
 * @param bytes_left readable bytes at `record`
 * @return NULL when it is whole and known, else what is wrong with it (a constant string)
 */
const char *hb_record_verify(const struct hb_record *record, size_t bytes_left);

/** The name of a record type for people ("GRAB"); "UNKNOWN" for others. */
const char *hb_record_type_name(uint8_t type);

#endif
