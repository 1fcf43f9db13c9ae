/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One MySQL transaction's worth of journal records: gathered, turned into rows, written.
 *
 * The position row moves by compare-and-set in the same transaction, so that each record is
 * applied exactly once whoever dies when. Balances after each flow are computed in journal order
 * from balances kept in memory; the rows of accounts and packets are changed by relative amounts,
 * once per batch. What is kept in memory is a cache: it holds only as long as every batch was
 * written, and is dropped whenever one was not.
 *
 * One thread. Memory is bounded by the limits below. If the process dies here, the server rolls
 * the transaction back, or it was committed together with its position.
 */
#ifndef HB_PERSIST_BATCH_H
#define HB_PERSIST_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "persist/db.h"
#include "persist/schema.h"
#include "shm/record.h"

#define HB_BATCH_RECORDS_MAX   65536
#define HB_BATCH_BYTES_MAX     (16u << 20) /* of records */
#define HB_BATCH_ACCOUNTS_KEPT (1u << 18)  /* the cache is dropped when it would grow above */
#define HB_BATCH_PACKETS_KEPT  (1u << 18)

struct hb_batch;

/** @return 0 or -ENOMEM */
int hb_batch_create(struct hb_batch **batch);
void hb_batch_destroy(struct hb_batch *batch);

/** Use a new connection, whose database is chosen; drops the cache and records. NULL: none. */
void hb_batch_connect(struct hb_batch *batch, struct hb_db *db);

/**
 * The shards whose rows this server has, a bit each: all when nobody says. Rows of others are left
 * out, but for the origins of packets. To be told before a connection is used.
 */
void hb_batch_shards(struct hb_batch *batch, uint32_t shards);

/** The node number for order numbers; EPOCH_START records that follow change it. */
void hb_batch_node(struct hb_batch *batch, uint32_t node);

/** Drop records, rows and cache: after a failed write, or when the position moved elsewhere. */
void hb_batch_forget(struct hb_batch *batch);

/** Take a copy of a verified record. @return true, or false when the batch is full */
bool hb_batch_add(struct hb_batch *batch, const struct hb_record *record, uint64_t seq);
uint32_t hb_batch_record_count(const struct hb_batch *batch);

/**
 * Write the batch: one transaction from position `from` to `to`. Afterwards the batch is empty.
 * @return 0; -ESTALE when the position row was not at `from`; -EBADMSG or -EEXIST when a record
 *         cannot be applied (poison); else as in persist/db.h. After an error nothing was written,
 *         except that after -ENOTCONN nobody knows: read the position. The cache is dropped.
 */
int hb_batch_write(struct hb_batch *batch, const struct hb_row_position *from,
	const struct hb_row_position *to, char error[HB_DB_ERROR_BYTES]);

#endif
