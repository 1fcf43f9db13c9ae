/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The tables of the ledger in MySQL: how rows lie in them, and the versions of the schema.
 *
 * Each kind of table exists once per partition: order_00 … order_15. Migrations are SQL files in
 * persist/schema, built into the program; each brings the schema from one version to the next and
 * may be run again when it was interrupted.
 */
#ifndef HB_PERSIST_SCHEMA_H
#define HB_PERSIST_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "persist/db.h"
#include "persist/rows.h"

enum hb_table {
	HB_TABLE_ORDER,
	HB_TABLE_CLAIM,
	HB_TABLE_FLOW,
	HB_TABLE_ACCOUNT,
	HB_TABLE_PACKET,
	HB_TABLE_ORIGIN, /* instead of the others, for shards that another server has */
	HB_TABLE_COUNT,
};

/* Key columns come first. */
struct hb_table_layout {
	const char *name; /* without the number */
	const struct hb_db_column *columns;
	uint32_t column_count;
	uint32_t key_count;
	uint32_t row_bytes;
};
extern const struct hb_table_layout hb_table_layouts[HB_TABLE_COUNT];

#define HB_SQL_BYTES_MAX 4096

/** "INSERT INTO order_07 (…) VALUES (?, …)" with all columns. */
void hb_table_insert_sql(enum hb_table table, uint32_t partition, char sql[HB_SQL_BYTES_MAX]);
/** "SELECT … FROM order_07" with all columns. */
void hb_table_select_sql(enum hb_table table, uint32_t partition, char sql[HB_SQL_BYTES_MAX]);

/* The position row: what has been applied. */
struct hb_row_position {
	uint8_t stream[16];
	uint64_t epoch;
	uint64_t seq;
	uint8_t chain[32]; /* of the frame that holds seq */
	uint64_t at_ns;	   /* when it was written, wall */
};

/** The newest version of the schema this program knows. */
uint32_t hb_schema_version(void);

/**
 * Create the database if it is missing, use it, and bring its schema to the newest version.
 * @return 0; -EPROTO when the schema is newer than this program; else as in persist/db.h
 */
int hb_schema_upgrade(struct hb_db *db, const char *database, char error[HB_DB_ERROR_BYTES]);

/** Use the database; its schema must have exactly our version. @return 0, -EPROTO, as db.h */
int hb_schema_use(struct hb_db *db, const char *database, char error[HB_DB_ERROR_BYTES]);

/**
 * Read the position row of a stream.
 * @param lock read for update, within a transaction
 * @return 1 found, 0 none, or as in persist/db.h
 */
int hb_position_read(struct hb_db *db, const uint8_t stream[16], bool lock,
	struct hb_row_position *position, char error[HB_DB_ERROR_BYTES]);

/** Create the position row of a server that has none, and say which shards it has. */
int hb_position_create(struct hb_db *db, const struct hb_row_position *position, uint32_t shards,
	char error[HB_DB_ERROR_BYTES]);

/* ---- which shards a server has, by its own word: table `shard` ---- */

/** @param shards a bit each */
int hb_shards_read(struct hb_db *db, uint32_t *shards, char error[HB_DB_ERROR_BYTES]);

/**
 * After a move that is on record, in one transaction each, and again without harm: the new server
 * has the shard, and needs no origins of its packets any more; the old one has it no more, and
 * knows the origins of its packets. Its rows are still there: hb_shard_clear.
 */
int hb_shard_gained(struct hb_db *db, uint32_t shard, char error[HB_DB_ERROR_BYTES]);
int hb_shard_lost(struct hb_db *db, uint32_t shard, char error[HB_DB_ERROR_BYTES]);

#endif
