/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * From a journal record to the rows it means: a pure function, used by the applier and by the
 * check, so that both have one idea of the ledger (docs/schema.md).
 *
 * A row is a structure without holes, texts padded with zeros: equal rows are equal bytes.
 */
#ifndef HB_PERSIST_ROWS_H
#define HB_PERSIST_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/limits.h"
#include "shm/record.h"

#define HB_ROW_ORDER_NO_BYTES 32

struct hb_row_order {
	char order_no[HB_ROW_ORDER_NO_BYTES];
	uint64_t account;
	uint64_t packet; /* 0: none */
	uint64_t peer; /* the other account: sender, recipient, clearing account; 0: none or many */
	int64_t amount_fen;
	uint64_t at_ms;
	uint64_t jseq;
	uint16_t business; /* enum hb_business */
	uint8_t state;	   /* enum hb_order_state */
	uint8_t reserved[5];
};
_Static_assert(sizeof(struct hb_row_order) == 88, "order row");

struct hb_row_claim {
	uint64_t packet;
	uint64_t account;
	int64_t amount_fen;
	uint64_t at_ms;
	uint64_t jseq;
	uint32_t share; /* from 0 */
	uint32_t reserved;
};
_Static_assert(sizeof(struct hb_row_claim) == 48, "claim row");

struct hb_row_flow {
	uint64_t account;
	uint64_t jseq;
	int64_t available_delta;
	int64_t frozen_delta;
	int64_t available_after; /* in journal order; filled in by who knows the balances */
	int64_t frozen_after;
	uint64_t at_ms;
	char order_no[HB_ROW_ORDER_NO_BYTES];
	uint8_t leg; /* from 1 */
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct hb_row_flow) == 96, "flow row");

struct hb_row_account {
	uint64_t account;
	int64_t available_fen;
	int64_t frozen_fen;
	uint64_t version; /* changes: one per flow row, and one per opening, freeze and unfreeze */
	uint64_t opened_jseq;
	uint8_t kind; /* enum hb_account_kind */
	uint8_t barred;
	uint8_t reserved[6];
};
_Static_assert(sizeof(struct hb_row_account) == 48, "account row");

struct hb_row_packet {
	uint64_t packet;
	uint64_t sender;
	uint64_t group_id;
	uint64_t recipient;
	int64_t total_fen;
	int64_t left_fen;
	int64_t refunded_fen;
	int64_t share_min_fen;
	int64_t share_max_fen;
	uint64_t created_ms;
	uint64_t deadline_ms;
	uint64_t order_stamp;
	uint64_t jseq;
	uint32_t share_count;
	uint32_t left_count; /* shares nobody took */
	uint8_t kind;
	uint8_t algorithm;
	uint8_t state; /* enum hb_packet_state */
	uint8_t reserved[5];
	char order_no[HB_ROW_ORDER_NO_BYTES];
	uint8_t commitment[32];
	uint8_t seed[32];
	char greeting[HB_GREETING_BYTES_MAX];
};
_Static_assert(sizeof(struct hb_row_packet) == 120 + 3 * 32 + HB_GREETING_BYTES_MAX, "packet row");

/* Of a packet whose shard another server has: what rows of this one need of it. */
struct hb_row_origin {
	uint64_t packet;
	uint64_t sender;
	uint64_t order_stamp;
	uint64_t jseq;
};
_Static_assert(sizeof(struct hb_row_origin) == 32, "origin row");

/* What a GRAB or PACKET_EXPIRE leaves out, known from the packet's PACKET_CREATE. */
struct hb_packet_origin {
	uint64_t packet;
	uint64_t sender;
	uint64_t order_stamp; /* of the send order */
};

/* A change of a packet row: relative, but for the state. */
struct hb_packet_change {
	uint64_t packet; /* 0: no change */
	int64_t left_fen;
	int64_t left_count;
	int64_t refunded_fen;
	uint8_t state;
};

enum hb_account_event {
	HB_ACCOUNT_NO_EVENT = 0,
	HB_ACCOUNT_OPENED = 1, /* sets the kind; the row may exist: a credit opens it too */
	HB_ACCOUNT_BARRED = 2,
	HB_ACCOUNT_UNBARRED = 3,
};

#define HB_ROWS_ORDERS_MAX 2
#define HB_ROWS_FLOWS_MAX  3

/* Everything one record means. */
struct hb_rows {
	uint32_t order_count;
	uint32_t flow_count;
	uint32_t claim_count;  /* 0 or 1 */
	uint32_t packet_count; /* 0 or 1: a new row */
	struct hb_row_order order[HB_ROWS_ORDERS_MAX];
	struct hb_row_flow flow[HB_ROWS_FLOWS_MAX]; /* balances after: zero */
	struct hb_row_claim claim;
	struct hb_row_packet packet;
	struct hb_packet_change packet_change;
	struct {
		uint64_t account; /* 0: no order changes */
		char order_no[HB_ROW_ORDER_NO_BYTES];
		uint8_t state;
	} order_change;
	struct {
		uint64_t account;
		enum hb_account_event event;
		uint8_t kind;
	} account_event;
};

/** The packet whose origin hb_rows_of needs for this record; 0 when none. */
uint64_t hb_rows_packet_needed(const struct hb_record *record);

/**
 * The rows of a verified record.
 * @param seq its journal sequence
 * @param node number of the node that wrote it (EPOCH_START), two digits of the order numbers
 * @param origin of the packet that hb_rows_packet_needed names, else not looked at
 * @return NULL, or why there are none: a constant text. Records without meaning for the ledger
 *         (EPOCH_START, MARK, EVICT, ORDER_LOAD) give no rows and NULL
 */
const char *hb_rows_of(const struct hb_record *record, uint64_t seq, uint32_t node,
	const struct hb_packet_origin *origin, struct hb_rows *rows);

/** The kind a row of an account opened by a credit has. */
uint8_t hb_rows_account_kind(uint64_t account);

#endif
