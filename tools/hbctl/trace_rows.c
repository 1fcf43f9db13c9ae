/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MySQL's side of a trace: orders, claims, flows and the packet, in one snapshot. Columns become
 * JSON by their type; a packet's seed is left out, as it is secret while somebody can still win.
 */
#include "tools/hbctl/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "persist/schema.h"
#include "shm/ids.h"

#define CONNECT_TIMEOUT_S 5
#define ROW_BYTES_MAX	  1024
#define TABLE_NAME_BYTES  24

struct parameters {
	uint64_t id;
	uint64_t since_ms;
	char order_no[HB_ORDER_NUMBER_LENGTH];
};

#define PARAMETER(type, field) HB_DB_COLUMN(type, struct parameters, field)
static const struct hb_db_column by_id[] = {PARAMETER(HB_DB_U64, id)};
static const struct hb_db_column by_id_since[] = {
	PARAMETER(HB_DB_U64, id), PARAMETER(HB_DB_U64, since_ms)};
static const struct hb_db_column by_order[] = {PARAMETER(HB_DB_TEXT, order_no)};
static const struct hb_db_column by_id_order[] = {
	PARAMETER(HB_DB_U64, id), PARAMETER(HB_DB_TEXT, order_no)};

struct gathering {
	struct hb_db *db;
	struct parameters parameters;
	json_t *rows;
	const struct hb_table_layout *layout;
	char table[TABLE_NAME_BYTES];
	uint64_t account; /* of the last order row */
	uint64_t packet;
	bool more;
	char *error;
};

static json_t *
value_json(const struct hb_db_column *column, const uint8_t *at)
{
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;

	switch (column->type) {
	case HB_DB_U64:
	case HB_DB_I64:
		memcpy(&u64, at, sizeof(u64));
		return strcmp(column->name, "packet") == 0 ? hbctl_json_packet(u64)
							   : json_integer((json_int_t)u64);
	case HB_DB_U32:
		memcpy(&u32, at, sizeof(u32));
		return json_integer(u32);
	case HB_DB_U16:
		memcpy(&u16, at, sizeof(u16));
		return json_integer(u16);
	case HB_DB_U8:
		return json_integer(*at);
	case HB_DB_TEXT: {
		char text[256];

		snprintf(text, sizeof(text), "%.*s", (int)column->bytes, (const char *)at);
		return hbctl_json_string(text);
	}
	default:
		return hbctl_json_hex(at, column->bytes);
	}
}

static int
take_row(void *context, const void *row)
{
	struct gathering *g = context;
	json_t *object = json_pack("{s:s}", "table", g->table);

	if (json_array_size(g->rows) == HBCTL_TRACE_ROWS_MAX) {
		g->more = true;
		json_decref(object);
		return 0;
	}
	for (uint32_t i = 0; i < g->layout->column_count; i++) {
		const struct hb_db_column *column = &g->layout->columns[i];
		const char *name = strcmp(column->name, "jseq") == 0 ? "seq" : column->name;

		if (strcmp(name, "seed") != 0)
			json_object_set_new(object, name,
				value_json(column, (const uint8_t *)row + column->offset));
	}
	if (json_object_get(object, "account") != NULL)
		g->account = (uint64_t)hbctl_json_i64(object, "account");
	json_array_append_new(g->rows, object);
	return 0;
}

static int
gather(struct gathering *g, enum hb_table table, uint32_t partition, const char *condition,
	const struct hb_db_column *in, uint32_t in_count)
{
	_Alignas(8) uint8_t row[ROW_BYTES_MAX] = {0};
	struct hb_db_statement *select;
	char sql[HB_SQL_BYTES_MAX];
	size_t length;
	int rc;

	g->layout = &hb_table_layouts[table];
	HB_ASSERT(g->layout->row_bytes <= sizeof(row));
	snprintf(g->table, sizeof(g->table), "%s_%02u", g->layout->name, partition);
	hb_table_select_sql(table, partition, sql);
	length = strlen(sql);
	HB_ASSERT(length + strlen(condition) < sizeof(sql));
	memcpy(sql + length, condition, strlen(condition) + 1);
	rc = hb_db_prepare(g->db, sql, in, in_count, g->layout->columns, g->layout->column_count,
		&select, g->error);
	if (rc == 0)
		rc = hb_db_query(select, &g->parameters, row, take_row, g, g->error);
	hb_db_release(select);
	return rc;
}

static int
gather_account(struct gathering *g, uint64_t account)
{
	uint32_t shard = hb_partition_of(account);
	int rc = gather(
		g, HB_TABLE_ORDER, shard, " WHERE account = ? AND at_ms >= ?", by_id_since, 2);

	return rc != 0 ? rc
		       : gather(g, HB_TABLE_FLOW, shard, " WHERE account = ? AND at_ms >= ?",
				 by_id_since, 2);
}

static int
gather_packet(struct gathering *g, uint64_t packet)
{
	uint32_t shard = hb_partition_of(packet);
	int rc = gather(g, HB_TABLE_PACKET, shard, " WHERE packet = ?", by_id, 1);

	return rc != 0 ? rc
		       : gather(g, HB_TABLE_CLAIM, shard, " WHERE packet = ? ORDER BY share", by_id,
				 1);
}

static int
gather_order(struct gathering *g, const struct hbctl_trace_subject *subject)
{
	uint32_t shard = subject->order.user_digits % HB_PARTITION_COUNT;
	int rc = gather(g, HB_TABLE_ORDER, shard, " WHERE order_no = ?", by_order, 1);

	g->parameters.id = g->account;
	if (rc != 0 || g->account == 0)
		return rc;
	return gather(
		g, HB_TABLE_FLOW, shard, " WHERE account = ? AND order_no = ?", by_id_order, 2);
}

struct position {
	uint64_t seq;
};

static int
keep_position(void *context, const void *row)
{
	*(uint64_t *)context = ((const struct position *)row)->seq;
	return 0;
}

static int
read_position(struct hb_db *db, uint64_t *seq, char error[HBCTL_ERROR_BYTES])
{
	static const struct hb_db_column column[] = {HB_DB_COLUMN(HB_DB_U64, struct position, seq)};
	struct hb_db_statement *select;
	struct position row;
	int rc = hb_db_prepare(
		db, "SELECT seq FROM jpos ORDER BY seq", NULL, 0, column, 1, &select, error);

	*seq = 0;
	if (rc == 0)
		rc = hb_db_query(select, NULL, &row, keep_position, seq, error);
	hb_db_release(select);
	return rc;
}

static int
by_seq(const void *a, const void *b)
{
	json_int_t x = hbctl_json_i64(*(json_t *const *)a, "seq");
	json_int_t y = hbctl_json_i64(*(json_t *const *)b, "seq");

	return (x > y) - (x < y);
}

/* A new array with the same rows, ascending. */
static json_t *
sorted(json_t *rows)
{
	size_t count = json_array_size(rows);
	json_t **list = calloc(count == 0 ? 1 : count, sizeof(*list));
	json_t *result = json_array();

	HB_ASSERT(list != NULL);
	for (size_t i = 0; i < count; i++)
		list[i] = json_array_get(rows, i);
	qsort(list, count, sizeof(*list), by_seq);
	for (size_t i = 0; i < count; i++)
		json_array_append(result, list[i]);
	free(list);
	json_decref(rows);
	return result;
}

json_t *
hbctl_trace_rows(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	const struct hbctl_trace_subject *subject = context;
	const struct hb_config *config = &hbctl->config;
	struct gathering g = {.rows = json_array(), .error = error};
	uint64_t seq = 0;
	int rc = hb_db_open(&g.db, config, config->mysql_user, CONNECT_TIMEOUT_S, error);

	g.parameters.id = subject->id;
	g.parameters.since_ms = subject->since_ms;
	if (subject->text != NULL)
		memcpy(g.parameters.order_no, subject->text, sizeof(g.parameters.order_no));
	if (rc == 0)
		rc = hb_schema_use(g.db, config->mysql_database, error);
	if (rc == 0)
		rc = hb_db_execute(
			g.db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);
	if (rc == 0)
		rc = read_position(g.db, &seq, error);
	if (rc == 0 && subject->kind == HBCTL_TRACE_ACCOUNT)
		rc = gather_account(&g, subject->id);
	else if (rc == 0 && subject->kind == HBCTL_TRACE_PACKET)
		rc = gather_packet(&g, subject->id);
	else if (rc == 0)
		rc = gather_order(&g, subject);
	hb_db_close(g.db);
	if (rc != 0) {
		json_decref(g.rows);
		return NULL;
	}
	return json_pack("{s:b, s:I, s:b, s:o}", "ok", 1, "as_of_seq", (json_int_t)seq, "more",
		(int)g.more, "rows", sorted(g.rows));
}
