/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The rows that MySQL should hold after some records: as order-independent sums per table and key
 * bucket, and, for buckets that are looked at closer, the rows themselves.
 *
 * Rows are final at the end only where they change (accounts, packets, orders of workflows): those
 * are kept in memory, the others are summed at once. Money moves along the flows here, so balances
 * are computed apart from the engine's. One thread; owns its memory.
 */
#ifndef HB_PERSIST_EXPECTED_H
#define HB_PERSIST_EXPECTED_H

#include <stdbool.h>
#include <stdint.h>

#include "persist/map.h"
#include "persist/rows.h"
#include "persist/schema.h"

#define HB_ROW_BUCKETS 512

struct hb_row_sum {
	uint64_t count;
	uint64_t hash; /* sum of row hashes mod 2^64 */
};

struct hb_table_sum {
	struct hb_row_sum bucket[HB_ROW_BUCKETS];
};

/** Sum over the buckets. */
struct hb_row_sum hb_table_total(const struct hb_table_sum *sum);

/** Hash over all columns, and the bucket of the key columns. */
uint64_t hb_row_hash(enum hb_table table, const void *row);
uint32_t hb_row_bucket(enum hb_table table, const void *row);
void hb_table_sum_add(struct hb_table_sum *sum, enum hb_table table, const void *row);

/**
 * Blank out what cannot be known without the records before the first one: when an account was
 * opened and how often it changed.
 */
void hb_row_mask(enum hb_table table, void *row);

/* Rows collected for a closer look. */
struct hb_row_set {
	uint8_t *rows;
	uint64_t count;
	uint64_t room;
	bool wanted[HB_ROW_BUCKETS];
};
/** @return 0 or -ENOMEM */
int hb_row_set_add(struct hb_row_set *set, enum hb_table table, const void *row);

struct hb_expected_packet {
	uint64_t packet; /* key of the map */
	bool older;	 /* created before the records: its row is not known */
	struct hb_row_packet row;
};

struct hb_expected {
	uint32_t node;
	bool partial;		/* the first record is not the journal's first: see hb_row_mask */
	struct hb_map accounts; /* struct hb_row_account */
	struct hb_map packets;	/* struct hb_expected_packet */
	struct hb_map orders;	/* not done when they came: struct expected_order */
	struct hb_table_sum sum[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	struct hb_row_set collected[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	uint64_t claim_count;
	int64_t claim_fen;
	int64_t grab_order_fen;
	int64_t flow_fen; /* of all legs together: zero */
};

/** @param node first number of the node, as the journal's superblock says */
void hb_expected_open(struct hb_expected *expected, uint32_t node);
/** Forget sums and rows, but not which buckets are wanted: for a second pass. */
void hb_expected_restart(struct hb_expected *expected, uint32_t node);
void hb_expected_close(struct hb_expected *expected);

/** Make an account or packet known that is older than the first record. @return 0 or -ENOMEM */
int hb_expected_account(struct hb_expected *expected, const struct hb_row_account *account);
int hb_expected_packet(struct hb_expected *expected, const struct hb_packet_origin *origin);

/** Take the rows of the next record. @return NULL, or why it has none (a constant text) */
const char *hb_expected_add(
	struct hb_expected *expected, const struct hb_record *record, uint64_t seq);

/** Add the rows that were kept because they change. @return 0 or -ENOMEM */
int hb_expected_finish(struct hb_expected *expected);

#endif
