/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Frames: what a client asks of the owner of a partition, and the replies (docs/frames.md).
 *
 * The same bytes travel in client rings, in UDP datagrams and in framed TCP. A frame is 64 bytes
 * of head, then the operation's body; its length is a multiple of 64, so that a grab is exactly
 * one cache line. Little endian, natural alignment, reserved bytes zero (refused otherwise).
 */
#ifndef HB_SHM_FRAME_H
#define HB_SHM_FRAME_H

#include <stdint.h>

#include "shm/limits.h"
#include "shm/record.h"

#define HB_FRAME_VERSION    1
#define HB_FRAME_UNIT_BYTES 64

enum hb_operation {
	HB_OP_GRAB = 1,
	HB_OP_PACKET_CREATE = 2,
	HB_OP_PACKET_DETAIL = 3,
	HB_OP_BALANCE = 4,
	HB_OP_TOKEN_ASK = 5,
	HB_OP_TRANSFER = 6,
	HB_OP_TOKEN_ISSUE = 16,
	HB_OP_TOKEN_TAKE = 17,
	HB_OP_ACCOUNT_OPEN = 18,
	HB_OP_ORDER_OPEN = 19,
	HB_OP_CREDIT = 20,
	HB_OP_ORDER_QUERY = 21,
	HB_OP_PACKET_EXPIRE = 22,
	HB_OP_ACCOUNT_FREEZE = 23,
	HB_OP_ACCOUNT_UNFREEZE = 24,
	HB_OP_HOLD = 25,
	HB_OP_POST = 26,
	HB_OP_VOID = 27,
	HB_OP_HOLD_QUERY = 28,
	HB_OP_ORDER_UPDATE = 29,
	HB_OP_ORDER_LOAD = 30,
	HB_OP_ADJUST = 31,
	HB_OP_MARK = 32,
	HB_OP_CLOCK_CONFIRM = 33,
	HB_OP_AUDIT = 34,
	HB_OP_DEGRADE = 36, /* 35 is free */
	HB_OP_COUNT = 37,   /* not an operation */
};

/* Operation masks, one bit per operation. */
#define HB_OP_BIT(operation) (UINT64_C(1) << (operation))
#define HB_OPS_READ	     (HB_OP_BIT(HB_OP_PACKET_DETAIL) | HB_OP_BIT(HB_OP_BALANCE))
#define HB_OPS_FRONT                                                                               \
	(HB_OPS_READ | HB_OP_BIT(HB_OP_GRAB) | HB_OP_BIT(HB_OP_PACKET_CREATE) |                    \
		HB_OP_BIT(HB_OP_TOKEN_ASK) | HB_OP_BIT(HB_OP_TRANSFER))
#define HB_OPS_WORKFLOW                                                                            \
	(HB_OP_BIT(HB_OP_ACCOUNT_FREEZE) | HB_OP_BIT(HB_OP_ACCOUNT_UNFREEZE) |                     \
		HB_OP_BIT(HB_OP_HOLD) | HB_OP_BIT(HB_OP_POST) | HB_OP_BIT(HB_OP_VOID) |            \
		HB_OP_BIT(HB_OP_HOLD_QUERY) | HB_OP_BIT(HB_OP_ORDER_UPDATE) |                      \
		HB_OP_BIT(HB_OP_ORDER_LOAD) | HB_OP_BIT(HB_OP_ADJUST))
#define HB_OPS_CONTROL                                                                             \
	(HB_OPS_FRONT | HB_OP_BIT(HB_OP_TOKEN_ISSUE) | HB_OP_BIT(HB_OP_TOKEN_TAKE) |               \
		HB_OP_BIT(HB_OP_ACCOUNT_OPEN) | HB_OP_BIT(HB_OP_ORDER_OPEN) |                      \
		HB_OP_BIT(HB_OP_CREDIT) | HB_OP_BIT(HB_OP_ORDER_QUERY) |                           \
		HB_OP_BIT(HB_OP_PACKET_EXPIRE) | HB_OP_BIT(HB_OP_MARK) |                           \
		HB_OP_BIT(HB_OP_CLOCK_CONFIRM) | HB_OP_BIT(HB_OP_AUDIT) |                          \
		HB_OP_BIT(HB_OP_DEGRADE) | HB_OPS_WORKFLOW)

/* Business outcome of a frame. Numbers and names are part of the contract: never renumbered. */
#define HB_STATUS_TABLE(X)                                                                         \
	X(0, OK, "ok", 200, "")                                                                    \
	X(10, PACKET_UNKNOWN, "packet_unknown", 404, "there is no such packet")                    \
	X(11, NOT_MEMBER, "not_member", 403, "the packet is for another group or person")          \
	X(12, EXPIRED, "expired", 410, "the packet is past its deadline")                          \
	X(13, SOLD_OUT, "sold_out", 410, "every share has been taken")                             \
	X(14, TOKEN_INVALID, "token_invalid", 403,                                                 \
		"the money token is not for this user, operation and target; ask for a new one")   \
	X(15, TOKEN_EXPIRED, "token_expired", 403,                                                 \
		"the money token is too old; ask for a new one")                                   \
	X(16, SEQUENCE_USED, "sequence_used", 409,                                                 \
		"this sequence was used before; send the next one")                                \
	X(17, SEQUENCE_INVALID, "sequence_invalid", 403,                                           \
		"the sequence is outside the token's window; send the last one plus one")          \
	X(19, PACKET_GONE, "packet_gone", 410,                                                     \
		"the packet is over and no longer in memory; it is in the lists of orders")        \
	X(20, ACCOUNT_UNKNOWN, "account_unknown", 404, "there is no such account")                 \
	X(21, ACCOUNT_FROZEN, "account_frozen", 403, "debits of this account are barred")          \
	X(22, INSUFFICIENT, "insufficient", 409, "the available balance is too small")             \
	X(23, LIMIT, "limit", 422, "a value is outside its limits")                                \
	X(24, CONFLICT, "idempotency_conflict", 409,                                               \
		"the idempotency key was used with other parameters")                              \
	X(25, ORDER_UNKNOWN, "order_unknown", 404, "there is no such order")                       \
	X(26, ORDER_STATE, "order_state", 409, "the order is not in a state that allows this")     \
	X(27, AMOUNT_MISMATCH, "amount_mismatch", 409, "the amount is not the order's amount")     \
	X(28, ACCOUNT_EXISTS, "account_exists", 409, "the account exists already")                 \
	X(29, NOT_DUE, "not_due", 409, "the deadline has not been reached")                        \
	X(30, BUSY, "busy", 503, "no room at the moment; ask again")                               \
	X(31, TABLE_FULL, "table_full", 503, "a table of the engine is full; tell the operator")   \
	X(32, CLOCK_STOPPED, "clock_stopped", 503,                                                 \
		"the clock jumped; an operator must confirm it (hbctl clock confirm)")             \
	X(33, STORAGE_LOW, "storage_low", 503,                                                     \
		"the journal volume is nearly full; ask again later")                              \
	X(34, NOT_ALLOWED, "not_allowed", 403, "this client may not use the operation")            \
	X(35, FRAME_INVALID, "frame_invalid", 400, "the frame breaks docs/frames.md")              \
	X(36, FRAME_VERSION, "frame_version", 400, "the frame is of another version")              \
	X(37, FRAME_STALE, "frame_stale", 400, "the frame's issue time is too far from now")       \
	X(38, UNKNOWN_OUTCOME, "unknown_outcome", 202,                                             \
		"the outcome is not known yet; ask again with the same sequence")                  \
	X(39, HOLD_UNKNOWN, "hold_unknown", 404, "there is no such hold")                          \
	X(40, HOLD_GONE, "hold_gone", 410,                                                         \
		"the hold has ended and is no longer in memory; its order says how")               \
	X(41, HOLD_STATE, "hold_state", 409, "the hold has ended in the other way")                \
	X(42, HOLD_DUE, "hold_due", 409, "the hold is past its deadline; void it")                 \
	X(43, SAME_PERSON, "same_person", 403,                                                     \
		"an adjustment needs a maker and another person as checker")                       \
	X(44, UNAUTHORIZED, "unauthorized", 401,                                                   \
		"log in: the user token is missing, expired or not valid")                         \
	X(50, DEGRADED, "degraded", 503,                                                           \
		"switched off for a while, so that grabs go on; ask again later")

enum hb_status {
#define HB_STATUS_ENUM(number, name, text, http, advice) HB_STATUS_##name = number,
	HB_STATUS_TABLE(HB_STATUS_ENUM)
#undef HB_STATUS_ENUM
};

struct hb_frame {
	uint8_t version;      /* HB_FRAME_VERSION */
	uint8_t operation;    /* enum hb_operation */
	uint16_t length;      /* of head and body in bytes, a multiple of 64 */
	uint32_t issued_s;    /* Unix seconds when the client made the frame */
	uint64_t correlation; /* the client's; comes back unchanged */
	uint64_t target;      /* what decides the partition: packet or account */
	uint64_t user;	      /* who asks: the account the front verified; 0 for the operator */
	uint64_t group;	      /* a group the user's token vouches for; 0 = none */
	uint64_t token_id;    /* money token, all zero when the operation needs none */
	uint64_t token_mac;
	uint32_t token_expiry_s;
	uint32_t sequence;
};
_Static_assert(sizeof(struct hb_frame) == 64, "frame head");

/* PACKET_CREATE: target = user = sender; group = the group of a lucky packet. 256 bytes. */
struct hb_frame_packet_create {
	struct hb_frame head;
	uint8_t idempotency_key[16]; /* all zero: made of token id and sequence */
	uint8_t kind;
	uint8_t algorithm;
	uint8_t greeting_length;
	uint8_t reserved0;
	uint32_t count;
	int64_t total_fen;
	int64_t share_min_fen; /* 0 = 1 */
	int64_t share_max_fen; /* 0 = no bound */
	uint64_t recipient;
	uint32_t lifetime_s; /* 0 = HB_PACKET_LIFETIME_S_DEFAULT */
	uint32_t reserved1;
	uint8_t greeting[HB_GREETING_BYTES_MAX];
};
_Static_assert(sizeof(struct hb_frame_packet_create) == 256, "PACKET_CREATE frame");

/* TRANSFER: user = from decides the partition, so target = from as well. 128 bytes. */
struct hb_frame_transfer {
	struct hb_frame head;
	uint8_t idempotency_key[16]; /* all zero: made of token id and sequence */
	uint64_t to;
	int64_t amount_fen;
	uint8_t reserved[32];
};
_Static_assert(sizeof(struct hb_frame_transfer) == 128, "TRANSFER frame");

/* PACKET_DETAIL: claims from claim_first on. 128 bytes. BALANCE: no body, target = account. */
struct hb_frame_detail {
	struct hb_frame head;
	uint32_t claim_first;
	uint8_t reserved[60];
};
_Static_assert(sizeof(struct hb_frame_detail) == 128, "PACKET_DETAIL frame");

/* TOKEN_ASK and TOKEN_ISSUE: a token for `user` to use `for_operation` on `target`. 128 bytes. */
struct hb_frame_token {
	struct hb_frame head;
	uint8_t for_operation; /* GRAB, PACKET_CREATE or TRANSFER */
	uint8_t reserved[63];
};
_Static_assert(sizeof(struct hb_frame_token) == 128, "token frame");

/* ACCOUNT_OPEN: target = account. 128 bytes. */
struct hb_frame_account_open {
	struct hb_frame head;
	uint8_t idempotency_key[16];
	uint8_t kind; /* enum hb_account_kind */
	uint8_t reserved[47];
};
_Static_assert(sizeof(struct hb_frame_account_open) == 128, "ACCOUNT_OPEN frame");

/* ORDER_OPEN: target = account; CREDIT and ORDER_QUERY besides name the order. 128 bytes. */
struct hb_frame_order {
	struct hb_frame head;
	uint8_t idempotency_key[16];
	uint64_t order_stamp;
	int64_t amount_fen;
	uint16_t business;
	uint16_t channel;
	uint32_t product;
	uint64_t purpose_id;
	uint8_t reserved[16];
};
_Static_assert(sizeof(struct hb_frame_order) == 128, "order frame");

/* ACCOUNT_FREEZE and ACCOUNT_UNFREEZE: target = account. 128 bytes. */
struct hb_frame_account_freeze {
	struct hb_frame head;
	uint8_t idempotency_key[16];
	uint64_t case_id;
	uint64_t operator_id;
	uint8_t reserved[32];
};
_Static_assert(sizeof(struct hb_frame_account_freeze) == 128, "ACCOUNT_FREEZE frame");

/* HOLD: target = user = account. 128 bytes. */
struct hb_frame_hold {
	struct hb_frame head;
	uint8_t idempotency_key[16]; /* all zero: made of token id and sequence */
	int64_t amount_fen;
	uint32_t lifetime_s; /* 0 = HB_HOLD_LIFETIME_S_DEFAULT */
	uint32_t reason;     /* enum hb_hold_reason */
	uint8_t reserved[32];
};
_Static_assert(sizeof(struct hb_frame_hold) == 128, "HOLD frame");

/* POST and VOID: target = hold, which is the command's idempotency key too. 128 bytes. */
struct hb_frame_hold_exit {
	struct hb_frame head;
	int64_t amount_fen; /* of the hold */
	int64_t fee_fen;    /* POST: of it kept as fee */
	uint32_t reason;    /* not 0: that is the deadline's */
	uint8_t reserved[44];
};
_Static_assert(sizeof(struct hb_frame_hold_exit) == 128, "POST, VOID frame");

/* ORDER_UPDATE: one step of an order's workflow; target = account. 192 bytes. */
struct hb_frame_order_update {
	struct hb_frame head;
	uint8_t idempotency_key[16];
	uint64_t order_stamp;
	uint64_t operator_id;
	uint8_t state_before; /* enum hb_order_state: what the caller believes it is */
	uint8_t state_after;
	uint16_t attempt; /* SENDING: the last attempt + 1; other steps: the last attempt */
	uint32_t reason;
	uint16_t channel; /* SENDING: the clearing account's number, else 0 */
	uint8_t reserved0[6];
	uint8_t channel_reference[48]; /* NUL padded */
	uint8_t reserved1[32];
};
_Static_assert(sizeof(struct hb_frame_order_update) == 192, "ORDER_UPDATE frame");

/* ORDER_LOAD: an order that was evicted comes back; target = account. 128 bytes. */
struct hb_frame_order_load {
	struct hb_frame head;
	uint64_t order_stamp;
	int64_t amount_fen;
	int64_t settled_fen;
	int64_t refunded_fen;
	uint64_t hold_id;
	uint16_t business;
	uint16_t channel;
	uint8_t state; /* a final one */
	uint8_t reserved[19];
};
_Static_assert(sizeof(struct hb_frame_order_load) == 128, "ORDER_LOAD frame");

/* ADJUST: target = the account that pays. 128 bytes. */
struct hb_frame_adjust {
	struct hb_frame head;
	uint8_t idempotency_key[16];
	uint64_t to;
	int64_t amount_fen;
	uint64_t case_id;
	uint64_t maker_id;
	uint64_t checker_id;
	uint32_t reason;
	uint32_t reserved;
};
_Static_assert(sizeof(struct hb_frame_adjust) == 128, "ADJUST frame");

/* DEGRADE: what is off from now on; target = any system account. 128 bytes. */
struct hb_frame_degrade {
	struct hb_frame head;
	uint32_t level;	  /* enum hb_degrade_level */
	uint32_t by;	  /* enum hb_degrade_by */
	uint64_t until_s; /* Unix seconds; 0: until changed */
	uint8_t reserved[48];
};
_Static_assert(sizeof(struct hb_frame_degrade) == 128, "DEGRADE frame");

/*
 * TOKEN_TAKE, MARK, CLOCK_CONFIRM, AUDIT, PACKET_EXPIRE, HOLD_QUERY have no body. For TOKEN_TAKE,
 * MARK, CLOCK_CONFIRM and AUDIT the target is any id of the partition: hb_system_account(x,
 * partition).
 */

#define HB_REPLY_ALREADY 0x0001 /* the outcome was decided by an earlier request */
#define HB_REPLY_MORE	 0x0002 /* there is more to read after this */
#define HB_REPLY_BARRED	 0x0004 /* BALANCE: debits of the account are barred */

struct hb_reply {
	uint8_t version;
	uint8_t operation;
	uint16_t length; /* of head and body, a multiple of 64 */
	uint16_t status; /* enum hb_status */
	uint16_t flags;
	uint64_t correlation;
	/* GRAB: the share; BALANCE: available; TRANSFER, CREDIT: the amount; DETAIL: smallest share
	 */
	int64_t amount_fen;
	int64_t other_fen;    /* GRAB: left in the packet; BALANCE: frozen; DETAIL: largest share */
	uint64_t id;	      /* packet, hold, or account of a balance or token */
	uint64_t order_stamp; /* of the order that the request made */
	uint32_t index;	      /* GRAB: number of the share, from 0 */
	uint32_t count;	      /* GRAB: shares left; TOKEN_TAKE, DETAIL: entries that follow */
	uint64_t as_of_seq; /* every record this reply depends on has a journal sequence <= this */
};
_Static_assert(sizeof(struct hb_reply) == 64, "reply head");

/* Body of a TOKEN_ISSUE (one) or TOKEN_TAKE (count) reply. */
struct hb_reply_token {
	uint64_t token_id;
	uint64_t token_mac;
	uint64_t user;
	uint64_t target;
	uint32_t expiry_s;
	uint32_t sequence; /* initial; the first request uses this plus one */
	uint8_t for_operation;
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct hb_reply_token) == 48, "token of a reply");

struct hb_reply_claim {
	uint64_t user;
	int64_t amount_fen;
	uint64_t time_ms;
};
_Static_assert(sizeof(struct hb_reply_claim) == 24, "claim of a reply");

enum hb_packet_state {
	HB_PACKET_OPEN = 1,
	HB_PACKET_SOLD_OUT = 2,
	HB_PACKET_REFUNDED = 3,
};

/*
 * Body of a PACKET_DETAIL reply, then `count` claims in the order of grabbing. The bounds of a
 * share, which its recomputation needs, are in the head: amount_fen and other_fen.
 */
struct hb_reply_detail {
	struct hb_reply head;
	uint64_t sender;
	uint64_t group;
	uint64_t recipient;
	int64_t total_fen;
	int64_t left_fen;
	int64_t refunded_fen;
	uint64_t created_ms;
	uint64_t deadline_ms;
	uint32_t share_count;
	uint32_t taken_count;
	uint32_t luckiest_index; /* UINT32_MAX before the packet is sold out or closed */
	uint8_t state;		 /* enum hb_packet_state */
	uint8_t kind;
	uint8_t algorithm;
	uint8_t greeting_length;
	uint8_t commitment[32];
	uint8_t seed[32]; /* zero until the packet is sold out or closed */
	uint8_t greeting[HB_GREETING_BYTES_MAX];
	struct hb_reply_claim claims[];
};
_Static_assert(
	sizeof(struct hb_reply_detail) == 64 + 64 + 16 + 64 + HB_GREETING_BYTES_MAX, "detail");
_Static_assert(
	sizeof(struct hb_reply_detail) + HB_DETAIL_CLAIMS_MAX * sizeof(struct hb_reply_claim) <=
		HB_REPLY_BYTES_MAX,
	"detail fits");

/* Body of an ORDER_QUERY reply. */
struct hb_reply_order {
	struct hb_reply head;
	uint64_t account;
	int64_t settled_fen;
	uint16_t business;
	uint8_t state; /* enum hb_order_state */
	uint8_t reserved0;
	uint16_t attempt;
	uint16_t channel;
	uint64_t hold_id; /* 0 = none */
	int64_t refunded_fen;
	uint8_t reserved[24];
};
_Static_assert(sizeof(struct hb_reply_order) == 128, "order reply");

/* Body of a HOLD, POST, VOID or HOLD_QUERY reply. */
struct hb_reply_hold {
	struct hb_reply head;
	uint64_t account;
	uint64_t deadline_ms;
	int64_t day_fen;    /* held by this account for this reason on `day` and not given back */
	uint32_t day_count; /* holds of that day, this one included */
	uint32_t day;	    /* Beijing yyyymmdd */
	uint8_t state;	    /* enum hb_hold_state */
	uint8_t reason;	    /* enum hb_hold_reason */
	uint8_t order_state;
	uint8_t reserved[29];
};
_Static_assert(sizeof(struct hb_reply_hold) == 128, "hold reply");

/** Stable text of a status ("sold_out"); "unknown_status" for other numbers. */
const char *hb_status_name(uint16_t status);
/** HTTP status code of a status; 500 for other numbers. */
int hb_status_http(uint16_t status);
/** One sentence on what is wrong and what to do; empty for OK. */
const char *hb_status_advice(uint16_t status);

/**
 * Check what can be checked of a frame without state: version, length for its operation, known
 * operation, reserved bytes, and that `target` belongs to a partition.
 * @param frame readable for HB_FRAME_BYTES_MAX or `bytes` bytes
 * @return HB_STATUS_OK, FRAME_VERSION or FRAME_INVALID
 */
enum hb_status hb_frame_check(const struct hb_frame *frame, uint32_t bytes);

#endif
