/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export and import of the ledger's rows (persist/ledger_dump.h). A call owns its buffers; rows
 * pass through in chunks, so memory does not grow with the ledger.
 */
#include "persist/ledger_dump.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/write_all.h"
#include "shm/limits.h"

#define FORMAT_NAME    "hongbao-ledger"
#define LEVEL	       3
#define CHUNK_ROWS     1000
#define BUFFER_BYTES   (UINT32_C(1) << 18)
#define LINE_BYTES_MAX 8192
#define ROW_BYTES_MAX  1024

_Static_assert(HB_LEDGER_ERROR_BYTES >= HB_DB_ERROR_BYTES, "error buffers");

/* ---- a compressed stream ---- */

struct stream {
	int fd;
	ZSTD_CCtx *packer;
	ZSTD_DCtx *unpacker;
	uint8_t *buffer; /* of the file's bytes */
	uint8_t *plain;	 /* reading: unpacked, not taken yet */
	size_t buffer_bytes, buffer_at;
	size_t plain_bytes, plain_at;
	size_t frame_left; /* reading: 0 when the zstd frame is complete */
};

static int
stream_open(struct stream *s, int fd, bool writing)
{
	*s = (struct stream){.fd = fd, .frame_left = 1};
	s->buffer = malloc(BUFFER_BYTES);
	s->plain = malloc(BUFFER_BYTES);
	if (writing)
		s->packer = ZSTD_createCCtx();
	else
		s->unpacker = ZSTD_createDCtx();
	if (s->buffer == NULL || s->plain == NULL || (writing ? !s->packer : !s->unpacker))
		return -ENOMEM;
	if (writing) {
		ZSTD_CCtx_setParameter(s->packer, ZSTD_c_compressionLevel, LEVEL);
		ZSTD_CCtx_setParameter(s->packer, ZSTD_c_checksumFlag, 1);
	}
	return 0;
}

static void
stream_close(struct stream *s)
{
	ZSTD_freeCCtx(s->packer);
	ZSTD_freeDCtx(s->unpacker);
	free(s->buffer);
	free(s->plain);
}

static int
put(struct stream *s, const void *bytes, size_t length, bool end)
{
	ZSTD_inBuffer in = {bytes, length, 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {s->buffer, BUFFER_BYTES, 0};
		int rc;

		left = ZSTD_compressStream2(
			s->packer, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
		HB_ASSERT(!ZSTD_isError(left));
		rc = hb_write_all(s->fd, s->buffer, out.pos);
		if (rc != 0)
			return rc;
	} while (in.pos < in.size || (end && left > 0));
	return 0;
}

static int
put_line(struct stream *s, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	int rc = text == NULL ? -ENOMEM : put(s, text, strlen(text), false);

	if (rc == 0)
		rc = put(s, "\n", 1, false);
	free(text);
	json_decref(object);
	return rc;
}

/* More of the plain bytes. @return 1, 0 at the end, -EBADMSG, or -errno */
static int
refill(struct stream *s)
{
	ZSTD_outBuffer out = {s->plain, BUFFER_BYTES, 0};

	s->plain_at = s->plain_bytes = 0;
	while (out.pos == 0) {
		ZSTD_inBuffer in;

		if (s->buffer_at == s->buffer_bytes) {
			ssize_t n = read(s->fd, s->buffer, BUFFER_BYTES);

			if (n < 0)
				return -errno;
			if (n == 0)
				return s->frame_left == 0 ? 0 : -EBADMSG;
			s->buffer_bytes = (size_t)n;
			s->buffer_at = 0;
		}
		in = (ZSTD_inBuffer){s->buffer, s->buffer_bytes, s->buffer_at};
		s->frame_left = ZSTD_decompressStream(s->unpacker, &out, &in);
		if (ZSTD_isError(s->frame_left))
			return -EBADMSG;
		s->buffer_at = in.pos;
	}
	s->plain_bytes = out.pos;
	return 1;
}

static int
take(struct stream *s, void *bytes, size_t length)
{
	uint8_t *to = bytes;

	while (length > 0) {
		size_t n = s->plain_bytes - s->plain_at;

		if (n == 0) {
			int rc = refill(s);

			if (rc <= 0)
				return rc == 0 ? -EBADMSG : rc;
			continue;
		}
		n = n < length ? n : length;
		memcpy(to, s->plain + s->plain_at, n);
		s->plain_at += n;
		to += n;
		length -= n;
	}
	return 0;
}

static int
take_line(struct stream *s, json_t **object)
{
	char line[LINE_BYTES_MAX];
	size_t length = 0;
	int rc;

	*object = NULL;
	while ((rc = take(s, line + length, 1)) == 0 && line[length] != '\n')
		if (++length == sizeof(line))
			return -EBADMSG;
	if (rc == 0)
		*object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	return rc == 0 && !json_is_object(*object) ? -EBADMSG : rc;
}

/* ---- sections ---- */

static const char *const type_names[] = {
	[HB_DB_U64] = "u64",
	[HB_DB_I64] = "i64",
	[HB_DB_U32] = "u32",
	[HB_DB_U16] = "u16",
	[HB_DB_U8] = "u8",
	[HB_DB_TEXT] = "text",
	[HB_DB_BYTES] = "bytes",
};

static uint32_t
packed_row_bytes(const struct hb_table_layout *layout)
{
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < layout->column_count; i++)
		bytes += layout->columns[i].bytes;
	return bytes;
}

static json_t *
section_json(const struct hb_table_layout *layout, uint32_t partition)
{
	json_t *columns = json_array();

	for (uint32_t i = 0; i < layout->column_count; i++)
		json_array_append_new(
			columns, json_pack("{s:s, s:s, s:i}", "name", layout->columns[i].name,
					 "type", type_names[layout->columns[i].type], "bytes",
					 (int)layout->columns[i].bytes));
	return json_pack("{s:s, s:i, s:i, s:o}", "table", layout->name, "partition", (int)partition,
		"row_bytes", (int)packed_row_bytes(layout), "columns", columns);
}

static json_t *
hex(const uint8_t *bytes, size_t count)
{
	char text[2 * 32 + 1];

	HB_ASSERT(count <= 32);
	hb_hex_text(text, bytes, count);
	return json_string(text);
}

static bool
unhex(const char *text, uint8_t *bytes, size_t count)
{
	return text != NULL && strlen(text) == 2 * count &&
	       strspn(text, "0123456789abcdef") == 2 * count && hb_hex_bytes(text, bytes, count);
}

/* ---- export ---- */

struct export
{
	struct stream stream;
	const struct hb_table_layout *layout;
	uint8_t *chunk; /* CHUNK_ROWS rows */
	uint32_t chunk_rows;
	uint64_t rows;
	int rc;
};

static int
flush_chunk(struct export *e)
{
	uint32_t count = e->chunk_rows;
	int rc = put(&e->stream, &count, sizeof(count), false);

	if (rc == 0 && count > 0)
		rc = put(&e->stream, e->chunk, (size_t)count * packed_row_bytes(e->layout), false);
	e->rows += count;
	e->chunk_rows = 0;
	return rc;
}

static int
export_row(void *context, const void *row)
{
	struct export *e = context;
	uint8_t *to = e->chunk + (size_t)e->chunk_rows * packed_row_bytes(e->layout);

	for (uint32_t i = 0; i < e->layout->column_count; i++) {
		const struct hb_db_column *column = &e->layout->columns[i];

		memcpy(to, (const uint8_t *)row + column->offset, column->bytes);
		to += column->bytes;
	}
	if (++e->chunk_rows == CHUNK_ROWS)
		e->rc = flush_chunk(e);
	return e->rc;
}

static void
order_by_key(const struct hb_table_layout *layout, char sql[HB_SQL_BYTES_MAX])
{
	for (uint32_t i = 0; i < layout->key_count; i++) {
		size_t length = strlen(sql);

		snprintf(sql + length, HB_SQL_BYTES_MAX - length, "%s%s",
			i == 0 ? " ORDER BY " : ", ", layout->columns[i].name);
	}
}

static int
export_table(struct export *e, struct hb_db *db, enum hb_table table, uint32_t partition,
	char error[HB_LEDGER_ERROR_BYTES])
{
	_Alignas(8) uint8_t row[ROW_BYTES_MAX];
	char sql[HB_SQL_BYTES_MAX];
	struct hb_db_statement *select;
	int rc;

	e->layout = &hb_table_layouts[table];
	HB_ASSERT(e->layout->row_bytes <= sizeof(row));
	memset(row, 0, sizeof(row));
	rc = put_line(&e->stream, section_json(e->layout, partition));
	if (rc != 0)
		return rc;
	hb_table_select_sql(table, partition, sql);
	order_by_key(e->layout, sql);
	rc = hb_db_prepare(
		db, sql, NULL, 0, e->layout->columns, e->layout->column_count, &select, error);
	if (rc == 0)
		rc = hb_db_query(select, NULL, row, export_row, e, error);
	hb_db_release(select);
	if (rc == 0 && e->chunk_rows > 0)
		rc = flush_chunk(e);
	return rc == 0 ? flush_chunk(e) : rc; /* the end: no rows */
}

static int
export_all(struct export *e, struct hb_db *db, const struct hb_ledger_dump *dump,
	char error[HB_LEDGER_ERROR_BYTES])
{
	int rc = put_line(&e->stream,
		json_pack("{s:s, s:i, s:i, s:o, s:I, s:I, s:o, s:I}", "format", FORMAT_NAME,
			"version", HB_LEDGER_DUMP_VERSION, "schema", (int)dump->schema, "stream",
			hex(dump->stream, sizeof(dump->stream)), "seq",
			(json_int_t)dump->position.seq, "epoch", (json_int_t)dump->position.epoch,
			"chain", hex(dump->position.chain, sizeof(dump->position.chain)), "at_ns",
			(json_int_t)dump->position.at_ns));

	for (uint32_t table = 0; table < HB_TABLE_COUNT && rc == 0; table++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++)
			rc = export_table(e, db, (enum hb_table)table, p, error);
	if (rc == 0)
		rc = put_line(
			&e->stream, json_pack("{s:b, s:I}", "end", 1, "rows", (json_int_t)e->rows));
	if (rc == 0)
		rc = put(&e->stream, NULL, 0, true);
	if (rc == 0 && fsync(e->stream.fd) != 0)
		rc = -errno;
	return rc;
}

int
hb_ledger_export(struct hb_db *db, const uint8_t stream[16], int fd, struct hb_ledger_dump *dump,
	char error[HB_LEDGER_ERROR_BYTES])
{
	struct export e = {.rows = 0};
	int rc;

	*dump = (struct hb_ledger_dump){.schema = hb_schema_version()};
	error[0] = '\0';
	memcpy(dump->stream, stream, sizeof(dump->stream));
	rc = hb_position_read(db, stream, false, &dump->position, error);
	if (rc == 0) {
		snprintf(error, HB_LEDGER_ERROR_BYTES, "MySQL has applied nothing of this journal");
		return -ENOENT;
	}
	if (rc < 0)
		return rc;
	e.chunk = malloc((size_t)CHUNK_ROWS * ROW_BYTES_MAX);
	rc = stream_open(&e.stream, fd, true);
	if (rc == 0 && e.chunk == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = export_all(&e, db, dump, error);
	dump->rows = e.rows;
	stream_close(&e.stream);
	free(e.chunk);
	if (rc != 0 && error[0] == '\0')
		snprintf(error, HB_LEDGER_ERROR_BYTES, "cannot write the ledger's rows: %s",
			strerror(-rc));
	return rc;
}

/* ---- reading ---- */

struct import {
	struct stream stream;
	struct hb_db *db;    /* NULL: only look */
	uint32_t partitions; /* of this server */
	uint8_t *chunk;	     /* as in the file */
	uint8_t *rows;	     /* as the layout wants them */
	uint64_t row_count;
	char *error;

	/* the section being read */
	const struct hb_table_layout *layout;
	uint32_t partition;
	uint32_t row_bytes;
	uint32_t column_count;
	const struct hb_db_column *column[HB_DB_COLUMNS_MAX]; /* in the file's order */
	struct hb_db_statement *insert; /* NULL: not this server's, or only looking */
};

static int
damaged(struct import *i, const char *what)
{
	snprintf(i->error, HB_LEDGER_ERROR_BYTES, "the ledger's dump is damaged: %s", what);
	return -EBADMSG;
}

static int
read_head(struct import *i, struct hb_ledger_dump *dump)
{
	json_t *head = NULL;
	const char *format;
	int rc = take_line(&i->stream, &head);

	if (rc != 0)
		return rc == -EBADMSG ? damaged(i, "it has no head") : rc;
	format = json_string_value(json_object_get(head, "format"));
	dump->schema = (uint32_t)json_integer_value(json_object_get(head, "schema"));
	dump->position.seq = (uint64_t)json_integer_value(json_object_get(head, "seq"));
	dump->position.epoch = (uint64_t)json_integer_value(json_object_get(head, "epoch"));
	dump->position.at_ns = (uint64_t)json_integer_value(json_object_get(head, "at_ns"));
	if (format == NULL || strcmp(format, FORMAT_NAME) != 0 ||
		!unhex(json_string_value(json_object_get(head, "stream")), dump->stream, 16) ||
		!unhex(json_string_value(json_object_get(head, "chain")), dump->position.chain,
			32)) {
		rc = damaged(i, "its head is not that of a ledger's dump");
	} else if (json_integer_value(json_object_get(head, "version")) > HB_LEDGER_DUMP_VERSION ||
		   dump->schema > hb_schema_version()) {
		snprintf(i->error, HB_LEDGER_ERROR_BYTES,
			"the ledger's dump is of a newer program (schema %u, this one knows %u): "
			"restore it with that program",
			dump->schema, hb_schema_version());
		rc = -EBADMSG;
	}
	memcpy(dump->position.stream, dump->stream, sizeof(dump->stream));
	json_decref(head);
	return rc;
}

static const struct hb_db_column *
find_column(const struct hb_table_layout *layout, const json_t *wanted)
{
	const char *name = json_string_value(json_object_get(wanted, "name"));
	const char *type = json_string_value(json_object_get(wanted, "type"));
	json_int_t bytes = json_integer_value(json_object_get(wanted, "bytes"));

	for (uint32_t i = 0; name != NULL && type != NULL && i < layout->column_count; i++) {
		const struct hb_db_column *column = &layout->columns[i];

		if (strcmp(column->name, name) == 0 &&
			strcmp(type_names[column->type], type) == 0 && column->bytes == bytes)
			return column;
	}
	return NULL;
}

static int
read_columns(struct import *i, const json_t *columns)
{
	size_t index;
	json_t *value;
	uint32_t bytes = 0;

	i->column_count = 0;
	if (json_array_size(columns) == 0 || json_array_size(columns) > HB_DB_COLUMNS_MAX)
		return damaged(i, "a section has no columns");
	json_array_foreach((json_t *)(uintptr_t)columns, index, value)
	{
		const struct hb_db_column *column = find_column(i->layout, value);

		if (column == NULL)
			return damaged(i, "a section has a column that this program does not know");
		i->column[i->column_count++] = column;
		bytes += column->bytes;
	}
	return bytes == i->row_bytes ? 0 : damaged(i, "a section's columns do not add up");
}

static int
open_section(struct import *i, const json_t *head)
{
	const char *name = json_string_value(json_object_get(head, "table"));
	json_int_t partition = json_integer_value(json_object_get(head, "partition"));
	char sql[HB_SQL_BYTES_MAX];
	uint32_t table = 0;
	int rc;

	while (table < HB_TABLE_COUNT &&
		(name == NULL || strcmp(hb_table_layouts[table].name, name) != 0))
		table++;
	if (table == HB_TABLE_COUNT || partition < 0 || partition >= HB_PARTITION_COUNT)
		return damaged(i, "a section is of a table that this program does not know");
	i->layout = &hb_table_layouts[table];
	i->partition = (uint32_t)partition;
	i->row_bytes = (uint32_t)json_integer_value(json_object_get(head, "row_bytes"));
	if (i->row_bytes == 0 || i->row_bytes > ROW_BYTES_MAX)
		return damaged(i, "a section's rows have no length");
	rc = read_columns(i, json_object_get(head, "columns"));
	if (rc != 0 || i->db == NULL || (i->partitions >> partition & 1) == 0)
		return rc;
	hb_table_insert_sql((enum hb_table)table, i->partition, sql);
	return hb_db_prepare(i->db, sql, i->layout->columns, i->layout->column_count, NULL, 0,
		&i->insert, i->error);
}

static void
unpack_rows(struct import *i, uint32_t count)
{
	memset(i->rows, 0, (size_t)count * i->layout->row_bytes);
	for (uint32_t r = 0; r < count; r++) {
		const uint8_t *from = i->chunk + (size_t)r * i->row_bytes;
		uint8_t *to = i->rows + (size_t)r * i->layout->row_bytes;

		for (uint32_t c = 0; c < i->column_count; c++) {
			memcpy(to + i->column[c]->offset, from, i->column[c]->bytes);
			from += i->column[c]->bytes;
		}
	}
}

static int
insert_rows(struct import *i, uint32_t count)
{
	int rc;

	if (i->insert == NULL)
		return 0;
	unpack_rows(i, count);
	rc = hb_db_execute(i->db, "START TRANSACTION", i->error);
	if (rc == 0)
		rc = hb_db_bulk(i->insert, i->rows, i->layout->row_bytes, count, NULL, i->error);
	if (rc == 0)
		rc = hb_db_execute(i->db, "COMMIT", i->error);
	return rc;
}

static int
read_rows(struct import *i)
{
	uint32_t count;
	int rc;

	while ((rc = take(&i->stream, &count, sizeof(count))) == 0 && count > 0) {
		if (count > CHUNK_ROWS)
			return damaged(i, "a chunk is too long");
		rc = take(&i->stream, i->chunk, (size_t)count * i->row_bytes);
		if (rc == 0)
			rc = insert_rows(i, count);
		if (rc != 0)
			break;
		i->row_count += count;
	}
	if (rc == -EBADMSG && i->error[0] == '\0')
		return damaged(i, "it ends early or its checksum is wrong");
	return rc;
}

/* @return 1 a section was read, 0 the end was, or -errno */
static int
read_section(struct import *i)
{
	json_t *head = NULL;
	int rc = take_line(&i->stream, &head);

	if (rc != 0) {
		json_decref(head);
		return rc == -EBADMSG ? damaged(i, "it ends early or its checksum is wrong") : rc;
	}
	if (json_is_true(json_object_get(head, "end"))) {
		if (json_integer_value(json_object_get(head, "rows")) != (json_int_t)i->row_count)
			rc = damaged(i, "rows are missing");
		json_decref(head);
		return rc;
	}
	rc = open_section(i, head);
	json_decref(head);
	if (rc == 0)
		rc = read_rows(i);
	hb_db_release(i->insert);
	i->insert = NULL;
	return rc == 0 ? 1 : rc;
}

static int
read_all(struct import *i)
{
	int rc;

	i->chunk = malloc((size_t)CHUNK_ROWS * ROW_BYTES_MAX);
	i->rows = malloc((size_t)CHUNK_ROWS * ROW_BYTES_MAX);
	rc = i->chunk == NULL || i->rows == NULL ? -ENOMEM : 1;
	while (rc == 1)
		rc = read_section(i);
	/* the checksum stands behind the last byte */
	if (rc == 0)
		rc = i->stream.plain_at == i->stream.plain_bytes ? refill(&i->stream) : 1;
	if (rc == 1 || rc == -EBADMSG)
		rc = i->error[0] != '\0' ? -EBADMSG : damaged(i, "its end is wrong");
	return rc;
}

static void
import_close(struct import *i)
{
	stream_close(&i->stream);
	free(i->chunk);
	free(i->rows);
}

int
hb_ledger_verify(int fd, struct hb_ledger_dump *dump, char error[HB_LEDGER_ERROR_BYTES])
{
	struct import i = {.error = error};
	int rc;

	*dump = (struct hb_ledger_dump){0};
	error[0] = '\0';
	rc = stream_open(&i.stream, fd, false);
	if (rc == 0)
		rc = read_head(&i, dump);
	if (rc == 0)
		rc = read_all(&i);
	dump->rows = i.row_count;
	import_close(&i);
	if (rc != 0 && error[0] == '\0')
		snprintf(error, HB_LEDGER_ERROR_BYTES, "cannot read the ledger's dump: %s",
			strerror(-rc));
	return rc;
}

/* ---- import ---- */

struct count_row {
	uint64_t count;
};

static int
keep_count(void *context, const void *row)
{
	*(uint64_t *)context = ((const struct count_row *)row)->count;
	return 0;
}

/* A database with a position is in use: by this stream or by another. */
static int
check_unused(struct hb_db *db, char error[HB_LEDGER_ERROR_BYTES])
{
	static const struct hb_db_column column[] = {
		HB_DB_COLUMN(HB_DB_U64, struct count_row, count)};
	struct hb_db_statement *select;
	struct count_row row;
	uint64_t count = 0;
	int rc = hb_db_prepare(db, "SELECT COUNT(*) FROM jpos", NULL, 0, column, 1, &select, error);

	if (rc == 0)
		rc = hb_db_query(select, NULL, &row, keep_count, &count, error);
	hb_db_release(select);
	if (rc != 0 || count == 0)
		return rc;
	snprintf(error, HB_LEDGER_ERROR_BYTES,
		"the database holds the ledger of a journal already: a dump goes into an empty "
		"one");
	return -EEXIST;
}

static int
empty_tables(struct hb_db *db, uint32_t partitions, char error[HB_LEDGER_ERROR_BYTES])
{
	char sql[64];
	int rc = 0;

	for (uint32_t table = 0; table < HB_TABLE_COUNT; table++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			if ((partitions >> p & 1) == 0)
				continue;
			snprintf(sql, sizeof(sql), "DELETE FROM %s_%02u",
				hb_table_layouts[table].name, p);
			rc = hb_db_execute(db, sql, error);
		}
	return rc;
}

int
hb_ledger_import(struct hb_db *db, int fd, const uint8_t stream[16], uint32_t partitions,
	struct hb_ledger_dump *dump, char error[HB_LEDGER_ERROR_BYTES])
{
	struct import i = {.db = db, .partitions = partitions, .error = error};
	int rc;

	*dump = (struct hb_ledger_dump){0};
	error[0] = '\0';
	rc = stream_open(&i.stream, fd, false);
	if (rc == 0)
		rc = read_head(&i, dump);
	if (rc == 0 && memcmp(dump->stream, stream, sizeof(dump->stream)) != 0) {
		snprintf(error, HB_LEDGER_ERROR_BYTES, "the ledger's dump is of another journal");
		rc = -EBADMSG;
	}
	if (rc == 0)
		rc = check_unused(db, error);
	if (rc == 0)
		rc = empty_tables(db, partitions, error);
	if (rc == 0)
		rc = read_all(&i);
	if (rc == 0)
		rc = hb_position_create(db, &dump->position, partitions, error);
	dump->rows = i.row_count;
	import_close(&i);
	if (rc != 0 && error[0] == '\0')
		snprintf(error, HB_LEDGER_ERROR_BYTES, "cannot import the ledger's dump: %s",
			strerror(-rc));
	return rc;
}
