/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Tables from server to server: see the header. The copy reads a stream on one connection and
 * writes arrays of rows on the other; its memory is one array.
 */
#include "persist/table_copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define COPY_ROWS     4096 /* of one transaction */
#define CLEAR_ROWS    8192
#define ROW_BYTES_MAX 512

struct copy {
	struct hb_db *to;
	struct hb_db_statement *insert;
	const struct hb_table_layout *layout;
	enum hb_table table;
	struct hb_row_sum sum;
	uint8_t *rows;
	uint32_t count;
	int (*progress)(void *context, uint32_t rows);
	void *context;
	char *error;
};

static int
add_to_sum(void *context, const void *row)
{
	struct copy *copy = context;

	copy->sum.count++;
	copy->sum.hash += hb_row_hash(copy->table, row);
	return 0;
}

int
hb_table_sum_read(struct hb_db *db, enum hb_table table, uint32_t partition, struct hb_row_sum *sum,
	char error[HB_DB_ERROR_BYTES])
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	_Alignas(8) uint8_t row[ROW_BYTES_MAX] = {0};
	struct copy copy = {.table = table};
	struct hb_db_statement *select;
	char sql[HB_SQL_BYTES_MAX];
	int rc;

	HB_ASSERT(layout->row_bytes <= sizeof(row));
	hb_table_select_sql(table, partition, sql);
	rc = hb_db_prepare(db, sql, NULL, 0, layout->columns, layout->column_count, &select, error);
	if (rc == 0)
		rc = hb_db_query(select, NULL, row, add_to_sum, &copy, error);
	hb_db_release(select);
	*sum = copy.sum;
	return rc;
}

int
hb_table_clear(
	struct hb_db *db, enum hb_table table, uint32_t partition, char error[HB_DB_ERROR_BYTES])
{
	static const struct hb_db_column limit_column[] = {
		{"rows", HB_DB_U32, 0, sizeof(uint32_t)}};
	const uint32_t limit = CLEAR_ROWS;
	struct hb_db_statement *clear;
	uint64_t cleared = CLEAR_ROWS;
	char sql[128];
	int rc;

	snprintf(sql, sizeof(sql), "DELETE FROM %s_%02u LIMIT ?", hb_table_layouts[table].name,
		partition);
	rc = hb_db_prepare(db, sql, limit_column, 1, NULL, 0, &clear, error);
	while (rc == 0 && cleared == CLEAR_ROWS)
		rc = hb_db_bulk(clear, &limit, sizeof(limit), 1, &cleared, error);
	hb_db_release(clear);
	return rc;
}

/* Write what is gathered, in one transaction. */
static int
write_rows(struct copy *copy)
{
	uint64_t written = 0;
	int rc;

	if (copy->count == 0)
		return 0;
	rc = hb_db_execute(copy->to, "START TRANSACTION", copy->error);
	if (rc == 0)
		rc = hb_db_bulk(copy->insert, copy->rows, copy->layout->row_bytes, copy->count,
			&written, copy->error);
	if (rc == 0)
		rc = hb_db_execute(copy->to, "COMMIT", copy->error);
	if (rc == 0 && copy->progress != NULL)
		rc = copy->progress(copy->context, copy->count);
	copy->count = 0;
	return rc;
}

static int
take_row(void *context, const void *row)
{
	struct copy *copy = context;

	add_to_sum(copy, row);
	memcpy(copy->rows + (size_t)copy->count * copy->layout->row_bytes, row,
		copy->layout->row_bytes);
	copy->count++;
	return copy->count == COPY_ROWS ? write_rows(copy) : 0;
}

/* `select_sql` gives rows of the layout of copy->table. */
static int
copy_rows(struct copy *copy, struct hb_db *from, const char *select_sql, uint32_t partition)
{
	const struct hb_table_layout *layout = &hb_table_layouts[copy->table];
	_Alignas(8) uint8_t row[ROW_BYTES_MAX] = {0};
	struct hb_db_statement *select = NULL;
	char sql[HB_SQL_BYTES_MAX];
	int rc = -ENOMEM;

	HB_ASSERT(layout->row_bytes <= sizeof(row));
	copy->layout = layout;
	copy->rows = malloc((size_t)COPY_ROWS * layout->row_bytes);
	if (copy->rows == NULL) {
		snprintf(copy->error, HB_DB_ERROR_BYTES, "out of memory");
		return rc;
	}
	hb_table_insert_sql(copy->table, partition, sql);
	rc = hb_db_prepare(copy->to, sql, layout->columns, layout->column_count, NULL, 0,
		&copy->insert, copy->error);
	if (rc == 0)
		rc = hb_db_prepare(from, select_sql, NULL, 0, layout->columns, layout->column_count,
			&select, copy->error);
	if (rc == 0)
		rc = hb_db_query(select, NULL, row, take_row, copy, copy->error);
	if (rc == 0)
		rc = write_rows(copy);
	hb_db_release(select);
	hb_db_release(copy->insert);
	free(copy->rows);
	return rc;
}

int
hb_table_copy(struct hb_db *from, struct hb_db *to, enum hb_table table, uint32_t partition,
	struct hb_row_sum *sum, int (*progress)(void *context, uint32_t rows), void *context,
	char error[HB_DB_ERROR_BYTES])
{
	struct copy copy = {
		.to = to, .table = table, .progress = progress, .context = context, .error = error};
	char sql[HB_SQL_BYTES_MAX];
	int rc;

	hb_table_select_sql(table, partition, sql);
	rc = copy_rows(&copy, from, sql, partition);
	*sum = copy.sum;
	return rc;
}

int
hb_origins_copy(struct hb_db *from, struct hb_db *to, uint32_t partition, bool from_packets,
	char error[HB_DB_ERROR_BYTES])
{
	struct copy copy = {.to = to, .table = HB_TABLE_ORIGIN, .error = error};
	char sql[HB_SQL_BYTES_MAX];

	snprintf(sql, sizeof(sql), "SELECT packet, sender, order_stamp, jseq FROM %s_%02u",
		from_packets ? "packet" : "origin", partition);
	return copy_rows(&copy, from, sql, partition);
}
