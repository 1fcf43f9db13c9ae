/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One connection to the MySQL or MariaDB server that holds the ledger.
 *
 * Values are always bound, never part of SQL text; SQL text is made of constants and table
 * numbers alone. Rows travel as C structures described by columns, many per round trip.
 * A connection belongs to one thread. It refuses a server whose settings could lose a committed
 * transaction. If the process dies here: the server rolls back what was not committed.
 */
#ifndef HB_PERSIST_DB_H
#define HB_PERSIST_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"

#define HB_DB_ERROR_BYTES 256

struct hb_db;
struct hb_db_statement;

enum hb_db_type {
	HB_DB_U64,
	HB_DB_I64,
	HB_DB_U32,
	HB_DB_U16,
	HB_DB_U8,
	HB_DB_TEXT,  /* `bytes` long, padded with NUL when shorter */
	HB_DB_BYTES, /* exactly `bytes` long */
};

/* One column of a row, and where it lies in the structure that holds the row. */
struct hb_db_column {
	const char *name;
	enum hb_db_type type;
	uint32_t offset;
	uint32_t bytes;
};
#define HB_DB_COLUMN(type, row, field)                                                             \
	{                                                                                          \
#field, type, offsetof(row, field), sizeof(((row *)0)->field)                      \
	}
#define HB_DB_COLUMNS_MAX 24

/*
 * Errors of all functions below, besides -ENOMEM:
 *  -ENOTCONN the connection is gone or could not be made: open a new one and look at what is there
 *  -EAGAIN   nothing wrong with the data (dead lock, time-out, disk full, read only): roll back and
 *            try again
 *  -EEXIST   a duplicate key: the row is there already
 *  -EBADMSG  the server refuses the data itself (range, character set, constraint)
 *  -EPERM    login, privileges, or settings of the server that may lose commits
 *  -EIO      anything else
 * Where there is an `error` argument it says what, with the server's own words.
 */

/**
 * Connect by mysql.socket, else mysql.host, else the node's private server, and make the session
 * strict. Does not choose a database.
 * @param user login, such as config->mysql_user
 * @param timeout_s of connecting; reading and writing may take ten times as long
 */
int hb_db_open(struct hb_db **db, const struct hb_config *config, const char *user,
	uint32_t timeout_s, char error[HB_DB_ERROR_BYTES]);

/** NULL is fine. Statements end with it. */
void hb_db_close(struct hb_db *db);

/** Where a configuration leads to, for people: the socket or host:port. */
void hb_db_server_name(const struct hb_config *config, char *name, size_t bytes);

/**
 * Refuse a server that could lose commits: innodb_flush_log_at_trx_commit must be 1,
 * innodb_doublewrite ON, and sync_binlog 1 if log_bin is ON.
 * @return 0, or -EPERM with variable, found and wanted value
 */
int hb_db_check_durability(struct hb_db *db, char error[HB_DB_ERROR_BYTES]);

/** Run constant SQL without result. */
int hb_db_execute(struct hb_db *db, const char *sql, char error[HB_DB_ERROR_BYTES]);

/**
 * Send rows one by one, as is done with servers that are not MariaDB and know no array binding:
 * about a fifth of the speed. For tests.
 */
void hb_db_row_by_row(struct hb_db *db);

/** The server's id of this connection, as KILL takes it. */
uint64_t hb_db_connection_id(const struct hb_db *db);

/**
 * Prepare a statement; it lives until hb_db_release or the connection closes.
 * @param in columns of the placeholders, in order; kept by reference
 * @param out columns of the result, in order; kept by reference; NULL when there is none
 */
int hb_db_prepare(struct hb_db *db, const char *sql, const struct hb_db_column *in,
	uint32_t in_count, const struct hb_db_column *out, uint32_t out_count,
	struct hb_db_statement **statement, char error[HB_DB_ERROR_BYTES]);

/** End a statement. NULL is fine. */
void hb_db_release(struct hb_db_statement *statement);

/**
 * Run a statement once per row, in few round trips.
 * @param rows array of structures of `row_bytes`
 * @param matched set to the number of rows inserted or found by the condition (NULL: not wanted)
 */
int hb_db_bulk(struct hb_db_statement *statement, const void *rows, size_t row_bytes,
	uint32_t row_count, uint64_t *matched, char error[HB_DB_ERROR_BYTES]);

/**
 * Run a query and hand over each row of the result, as it comes from the server. The callback may
 * not use the connection; what it returns other than 0 ends the walk and is returned.
 * @param parameters structure with the placeholders' values; NULL when there are none
 * @param row structure that is filled for each row
 */
typedef int hb_db_row_fn(void *context, const void *row);
int hb_db_query(struct hb_db_statement *statement, const void *parameters, void *row,
	hb_db_row_fn *callback, void *context, char error[HB_DB_ERROR_BYTES]);

#endif
