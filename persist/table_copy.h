/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Whole tables of one shard: summed, cleared, copied from one server to another. Values are bound;
 * a large table is worked on in small transactions. One thread per connection. If the process dies,
 * a table may be half cleared or half copied: who uses it does so again.
 */
#ifndef HB_PERSIST_TABLE_COPY_H
#define HB_PERSIST_TABLE_COPY_H

#include "persist/db.h"
#include "persist/expected.h"
#include "persist/schema.h"

/** Number and hash of all rows. @return 0 or as in persist/db.h */
int hb_table_sum_read(struct hb_db *db, enum hb_table table, uint32_t partition,
	struct hb_row_sum *sum, char error[HB_DB_ERROR_BYTES]);

/** Delete all rows of a table. */
int hb_table_clear(
	struct hb_db *db, enum hb_table table, uint32_t partition, char error[HB_DB_ERROR_BYTES]);

/**
 * Copy all rows into the empty table of another server.
 * @param sum of what was read
 * @param progress called with the rows of each transaction; other than 0 ends the copy
 */
int hb_table_copy(struct hb_db *from, struct hb_db *to, enum hb_table table, uint32_t partition,
	struct hb_row_sum *sum, int (*progress)(void *context, uint32_t rows), void *context,
	char error[HB_DB_ERROR_BYTES]);

/** Copy the origins of a shard's packets: from packet_NN when `from` has the shard. */
int hb_origins_copy(struct hb_db *from, struct hb_db *to, uint32_t partition, bool from_packets,
	char error[HB_DB_ERROR_BYTES]);

#endif
