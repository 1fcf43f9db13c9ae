/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The ledger's rows as one compressed file: for a journal whose oldest segments are gone, so that
 * the rows cannot be made again from records.
 *
 * The file is one zstd stream. It begins with a line of JSON: format, version, schema, stream, seq.
 * Then comes a section per table and partition: a line of JSON that names the columns, then chunks,
 * each a little-endian u32 of rows and as many rows of `row_bytes`, ended by a chunk of 0 rows. The
 * last line says how many rows there were. Columns are found by name, so a later schema can read
 * it. docs/schema.md describes it for people.
 *
 * Importing is repeatable: the position row is written last, and while there is none, whatever
 * rows a dead predecessor left are removed first.
 */
#ifndef HB_PERSIST_LEDGER_DUMP_H
#define HB_PERSIST_LEDGER_DUMP_H

#include <stdint.h>

#include "persist/db.h"
#include "persist/schema.h"

#define HB_LEDGER_DUMP_VERSION	 1
#define HB_LEDGER_ALL_PARTITIONS UINT32_C(0xffff)
#define HB_LEDGER_ERROR_BYTES	 512

struct hb_ledger_dump {
	uint8_t stream[16];
	uint32_t schema;
	struct hb_row_position position; /* of the dump; seq 0: the server had none */
	uint64_t rows;
};

/**
 * Read all rows of one consistent view into a file.
 * The transaction that makes the view is the caller's: START TRANSACTION WITH CONSISTENT SNAPSHOT.
 * @param fd opened for writing, empty; synced at the end
 * @return 0, -ENOENT when the server has no position of this stream, or as in persist/db.h
 */
int hb_ledger_export(struct hb_db *db, const uint8_t stream[16], int fd,
	struct hb_ledger_dump *dump, char error[HB_LEDGER_ERROR_BYTES]);

/**
 * Read a dump to its end without a server: checksum, columns, counts.
 * @return 0, -EBADMSG damaged or not of this program, or -errno
 */
int hb_ledger_verify(int fd, struct hb_ledger_dump *dump, char error[HB_LEDGER_ERROR_BYTES]);

/**
 * Fill empty tables from a dump. The schema is there already and the database holds no position of
 * any stream; rows that are left from an interrupted import are deleted.
 * @param partitions bit p: the tables of partition p are this server's
 * @return 0; -EEXIST when the database has a position; -EBADMSG; or as in persist/db.h
 */
int hb_ledger_import(struct hb_db *db, int fd, const uint8_t stream[16], uint32_t partitions,
	struct hb_ledger_dump *dump, char error[HB_LEDGER_ERROR_BYTES]);

#endif
