/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * MySQL against the rows that the records mean.
 *
 * Every table is read once and summed per key bucket in the same way as the expected rows: reading
 * 3.3 million rows a second is as fast as letting the server compute sums, and needs no second
 * definition of a hash in SQL. Where buckets differ, their rows are read again on both sides and
 * named. One read-only transaction per server, so that all its tables are of one moment; all
 * servers stand at the same cut. Of shards that it does not have, a server has only the origins of
 * their packets.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "persist/check_internal.h"
#include "persist/server_map.h"
#include "shm/limits.h"

#define CONNECT_TIMEOUT_S  10
#define CHAIN_SHOWN_BYTES  8
#define BUCKETS_WANTED_MAX 64 /* looked at closer, over all tables */
#define PROGRESS_ROWS	   65536

/* One pass over the tables: either sums or rows. */
struct scan {
	struct hbi_check *check;
	enum hb_table table;
	struct hb_table_sum *sum; /* NULL: collect */
	struct hb_row_set *rows;
	uint8_t *row; /* as handed over; masked in place */
};

struct comparison {
	struct hbi_check *check;
	const struct hb_server *server; /* NULL: the only one, which needs no name */
	uint32_t shards;
	uint32_t index; /* how many were compared before */
	struct hb_db *db;
	struct hb_db_statement *select[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	struct hb_row_set found[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	uint32_t buckets_wanted;
	uint32_t rows_named;
};

/* A violation on this server. */
static void
violation(struct comparison *c, const char *kind, const char *place, const char *expected,
	const char *found)
{
	char where[128];

	if (c->server == NULL)
		snprintf(where, sizeof(where), "%s", place);
	else
		snprintf(where, sizeof(where), "server %s, %.100s", c->server->name, place);
	hbi_violation(c->check, kind, where, expected, found);
}

/* Has this server the rows of this table, or none? */
static bool
has_table(const struct comparison *c, enum hb_table table, uint32_t partition)
{
	return ((c->shards >> partition & 1) != 0) == (table != HB_TABLE_ORIGIN);
}

static int
connect_server(struct hb_db **db, const struct hb_config *config, char *error)
{
	char db_error[HB_DB_ERROR_BYTES] = "";
	int rc = hb_db_open(db, config, config->mysql_user, CONNECT_TIMEOUT_S, db_error);

	if (rc != 0)
		snprintf(error, 256, "MySQL as %.32s: %.200s", config->mysql_user, db_error);
	return rc;
}

static int
prepare_select(struct comparison *c, enum hb_table table, uint32_t partition,
	char error[HB_DB_ERROR_BYTES])
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	char sql[HB_SQL_BYTES_MAX];

	hb_table_select_sql(table, partition, sql);
	if (c->check->expected->partial && table != HB_TABLE_ACCOUNT) {
		size_t length = strlen(sql);

		snprintf(sql + length, sizeof(sql) - length, " WHERE jseq >= %" PRIu64,
			c->check->result->first_seq);
	}
	return hb_db_prepare(c->db, sql, NULL, 0, layout->columns, layout->column_count,
		&c->select[table][partition], error);
}

static int
take_row(void *context, const void *row)
{
	struct scan *scan = context;
	struct hb_check_result *result = scan->check->result;

	if (scan->check->expected->partial)
		hb_row_mask(scan->table, scan->row);
	if (scan->sum == NULL)
		return hb_row_set_add(scan->rows, scan->table, row);
	hb_table_sum_add(scan->sum, scan->table, row);
	if (++result->row_count % PROGRESS_ROWS == 0)
		hbi_progress(scan->check, "mysql", result->row_count, 0);
	return 0;
}

/* Read a table into a sum, or its wanted rows. */
static int
scan_table(struct comparison *c, enum hb_table table, uint32_t partition, struct hb_table_sum *sum)
{
	union {
		struct hb_row_order order;
		struct hb_row_claim claim;
		struct hb_row_flow flow;
		struct hb_row_account account;
		struct hb_row_packet packet;
		struct hb_row_origin origin;
		uint8_t bytes[1];
	} row;
	struct scan scan = {c->check, table, sum, &c->found[table][partition], row.bytes};
	char error[HB_DB_ERROR_BYTES] = "";
	int rc = 0;

	memset(&row, 0, sizeof(row));
	if (c->select[table][partition] == NULL)
		rc = prepare_select(c, table, partition, error);
	if (rc == 0)
		rc = hb_db_query(c->select[table][partition], NULL, &row, take_row, &scan, error);
	if (rc != 0)
		snprintf(c->check->error, 256, "%s_%02u: %.200s", hb_table_layouts[table].name,
			partition, error);
	return rc;
}

/* Remember which buckets differ, and report the table. */
static void
compare_sums(struct comparison *c, enum hb_table table, uint32_t partition,
	const struct hb_table_sum *found)
{
	static const struct hb_table_sum empty;
	const struct hb_table_sum *expected = has_table(c, table, partition)
						      ? &c->check->expected->sum[table][partition]
						      : &empty;
	uint32_t buckets = 0;
	char where[64];
	char expected_text[64];
	char found_text[64];

	for (uint32_t i = 0; i < HB_ROW_BUCKETS; i++) {
		if (expected->bucket[i].count == found->bucket[i].count &&
			expected->bucket[i].hash == found->bucket[i].hash)
			continue;
		buckets++;
		if (c->buckets_wanted >= BUCKETS_WANTED_MAX)
			continue;
		c->buckets_wanted++;
		c->found[table][partition].wanted[i] = true;
		c->check->expected->collected[table][partition].wanted[i] = true;
	}
	if (buckets == 0)
		return;
	snprintf(where, sizeof(where), "%s_%02u", hb_table_layouts[table].name, partition);
	snprintf(expected_text, sizeof(expected_text), "%" PRIu64 " rows",
		hb_table_total(expected).count);
	snprintf(found_text, sizeof(found_text), "%" PRIu64 " rows, %u of %u buckets differ",
		hb_table_total(found).count, buckets, HB_ROW_BUCKETS);
	violation(c, "table", where, expected_text, found_text);
}

/* ---- naming rows ---- */

static const struct hb_table_layout *sort_layout; /* of the qsort under way; one thread */

static int
compare_keys(const struct hb_table_layout *layout, const void *a, const void *b)
{
	for (uint32_t i = 0; i < layout->key_count; i++) {
		const struct hb_db_column *column = &layout->columns[i];
		int order = memcmp((const uint8_t *)a + column->offset,
			(const uint8_t *)b + column->offset, column->bytes);

		if (order != 0)
			return order;
	}
	return 0;
}

static int
compare_for_sort(const void *a, const void *b)
{
	return compare_keys(sort_layout, a, b);
}

static void
sort_set(const struct hb_table_layout *layout, struct hb_row_set *set)
{
	sort_layout = layout;
	if (set->count > 0)
		qsort(set->rows, set->count, layout->row_bytes, compare_for_sort);
}

/* One value as text. */
static void
format_value(char *text, size_t room, const struct hb_db_column *column, const uint8_t *row)
{
	const uint8_t *value = row + column->offset;
	uint64_t number = 0;

	switch (column->type) {
	case HB_DB_TEXT:
		snprintf(text, room, "%s=%.*s", column->name, (int)column->bytes,
			(const char *)value);
		return;
	case HB_DB_BYTES:
		memcpy(&number, value, sizeof(number));
		snprintf(text, room, "%s=0x%016" PRIx64 "...", column->name,
			__builtin_bswap64(number));
		return;
	case HB_DB_I64:
		memcpy(&number, value, sizeof(number));
		snprintf(text, room, "%s=%" PRId64, column->name, (int64_t)number);
		return;
	default:
		memcpy(&number, value, column->bytes); /* little endian */
		snprintf(text, room, "%s=%" PRIu64, column->name, number);
		return;
	}
}

/* Columns first..end of a row, only those that differ from `other` when it is given. */
static void
format_row(char *text, size_t room, const struct hb_table_layout *layout, uint32_t first,
	uint32_t end, const uint8_t *row, const uint8_t *other)
{
	size_t length = 0;

	text[0] = 0;
	for (uint32_t i = first; i < end; i++) {
		const struct hb_db_column *column = &layout->columns[i];
		char value[192];

		if (other != NULL &&
			memcmp(row + column->offset, other + column->offset, column->bytes) == 0)
			continue;
		format_value(value, sizeof(value), column, row);
		int written = snprintf(
			text + length, room - length, "%s%s", length > 0 ? " " : "", value);
		if (written < 0 || (size_t)written >= room - length)
			return;
		length += (size_t)written;
	}
}

static void
name_row(struct comparison *c, const char *kind, const struct hb_table_layout *layout,
	uint32_t partition, const uint8_t *expected, const uint8_t *found)
{
	const uint8_t *row = expected != NULL ? expected : found;
	char key[96];
	char where[128];
	char expected_text[320] = "no row";
	char found_text[320] = "no row";

	if (c->rows_named++ >= HB_CHECK_ROWS_NAMED_MAX)
		return;
	format_row(key, sizeof(key), layout, 0, layout->key_count, row, NULL);
	snprintf(where, sizeof(where), "%s_%02u %s", layout->name, partition, key);
	if (expected != NULL)
		format_row(expected_text, sizeof(expected_text), layout, layout->key_count,
			layout->column_count, expected, found);
	if (found != NULL)
		format_row(found_text, sizeof(found_text), layout, layout->key_count,
			layout->column_count, found, expected);
	violation(c, kind, where, expected_text, found_text);
}

/* Walk both sides in key order. */
static void
name_rows(struct comparison *c, enum hb_table table, uint32_t partition)
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	struct hb_row_set empty = {0};
	struct hb_row_set *expected = has_table(c, table, partition)
					      ? &c->check->expected->collected[table][partition]
					      : &empty;
	struct hb_row_set *found = &c->found[table][partition];
	uint64_t i = 0;
	uint64_t j = 0;

	sort_set(layout, expected);
	sort_set(layout, found);
	while (i < expected->count || j < found->count) {
		const uint8_t *e = expected->rows + i * layout->row_bytes;
		const uint8_t *f = found->rows + j * layout->row_bytes;
		int order = i == expected->count ? 1
			    : j == found->count	 ? -1
						 : compare_keys(layout, e, f);

		if (order < 0)
			name_row(c, "row_missing", layout, partition, e, NULL);
		else if (order > 0)
			name_row(c, "row_extra", layout, partition, NULL, f);
		else if (memcmp(e, f, layout->row_bytes) != 0)
			name_row(c, "row_differs", layout, partition, e, f);
		i += order <= 0;
		j += order >= 0;
	}
}

static bool
any_wanted(const struct hb_row_set *set)
{
	for (uint32_t i = 0; i < HB_ROW_BUCKETS; i++)
		if (set->wanted[i])
			return true;
	return false;
}

static int
drill_down(struct comparison *c)
{
	int rc = hbi_collect_rows(c->check);

	if (rc == -ENOTSUP)
		return 0;
	if (rc != 0) {
		snprintf(c->check->error, 256, "reading the journal again: %s", strerror(-rc));
		return rc;
	}
	for (uint32_t t = 0; t < HB_TABLE_COUNT && rc == 0; t++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			if (!any_wanted(&c->found[t][p]))
				continue;
			rc = scan_table(c, (enum hb_table)t, p, NULL);
			if (rc == 0)
				name_rows(c, (enum hb_table)t, p);
		}
	}
	return rc;
}

/* ---- the comparison ---- */

static void
chain_text(char text[80], uint64_t seq, uint64_t epoch, const uint8_t chain[32])
{
	int length = snprintf(text, 80, "seq=%" PRIu64 " epoch=%" PRIu64 " chain=", seq, epoch);

	HB_ASSERT(length + 2 * CHAIN_SHOWN_BYTES < 80);
	hb_hex_text(text + length, chain, CHAIN_SHOWN_BYTES);
}

static int
compare_position(struct comparison *c)
{
	struct hbi_check *check = c->check;
	struct hb_row_position position = {0};
	char error[HB_DB_ERROR_BYTES] = "";
	char expected[80];
	char found[80] = "no row";
	int rc = hb_position_read(c->db, check->info.stream_id, false, &position, error);

	if (rc < 0) {
		snprintf(check->error, 256, "jpos: %.200s", error);
		return rc;
	}
	if (c->index == 0 || position.seq < check->result->mysql_seq)
		check->result->mysql_seq = position.seq;
	if (rc == 0 && check->options->cut_seq == 0)
		return 0;
	if (rc == 1 && position.seq == check->options->cut_seq &&
		(position.seq == 0 || (position.epoch == check->cut_epoch &&
					      memcmp(position.chain, check->cut_chain,
						      sizeof(position.chain)) == 0)))
		return 0;
	chain_text(expected, check->options->cut_seq, check->cut_epoch, check->cut_chain);
	if (rc == 1)
		chain_text(found, position.seq, position.epoch, position.chain);
	violation(c, "position", "jpos", expected, found);
	return 0;
}

/* By its own word the server has the shards that the map gives it. */
static int
compare_shards(struct comparison *c)
{
	char error[HB_DB_ERROR_BYTES] = "";
	char expected[64], found[64];
	uint32_t shards;
	int rc = hb_shards_read(c->db, &shards, error);

	if (rc != 0) {
		snprintf(c->check->error, 256, "shard: %.200s", error);
		return rc;
	}
	if (shards == c->shards || c->check->options->cut_seq == 0)
		return 0;
	hb_shards_text(c->shards, expected);
	hb_shards_text(shards, found);
	violation(c, "shards", "shard", expected, found);
	return 0;
}

static int
compare_tables(struct comparison *c)
{
	struct hb_table_sum *found = malloc(sizeof(*found));
	int rc = found == NULL ? -ENOMEM : 0;

	for (uint32_t t = 0; t < HB_TABLE_COUNT && rc == 0; t++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			memset(found, 0, sizeof(*found));
			rc = scan_table(c, (enum hb_table)t, p, found);
			if (rc == 0)
				compare_sums(c, (enum hb_table)t, p, found);
		}
	}
	free(found);
	return rc == 0 && c->buckets_wanted > 0 ? drill_down(c) : rc;
}

static int
compare(struct comparison *c)
{
	char error[HB_DB_ERROR_BYTES] = "";
	int rc = hb_schema_use(c->db, c->check->options->config->mysql_database, error);

	if (rc == 0)
		rc = hb_db_execute(
			c->db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);
	if (rc != 0) {
		snprintf(c->check->error, 256, "%.255s", error);
		return rc;
	}
	rc = compare_position(c);
	if (rc == 0)
		rc = compare_shards(c);
	return rc == 0 ? compare_tables(c) : rc;
}

static void
forget_wanted(struct hb_expected *expected)
{
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			memset(expected->collected[t][p].wanted, 0,
				sizeof(expected->collected[t][p].wanted));
}

static int
compare_server(struct hbi_check *check, const struct hb_server_map *map, uint32_t server,
	uint32_t index, uint32_t *rows_named)
{
	struct comparison *c = calloc(1, sizeof(*c));
	struct hb_config config;
	int rc;

	if (c == NULL) {
		snprintf(check->error, 256, "out of memory");
		return -ENOMEM;
	}
	c->check = check;
	c->server = map->server_count > 1 ? &map->server[server] : NULL;
	c->shards = hb_server_map_shards(map, server);
	c->index = index;
	c->rows_named = *rows_named;
	forget_wanted(check->expected);
	hb_server_config(check->options->config, &map->server[server].primary, &config);
	rc = connect_server(&c->db, &config, check->error);
	if (rc == 0)
		rc = compare(c);
	hb_db_close(c->db);
	*rows_named = c->rows_named;
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			free(c->found[t][p].rows);
	free(c);
	return rc;
}

int
hbi_check_mysql(struct hbi_check *check)
{
	struct hb_server_map map;
	uint32_t rows_named = 0;
	uint32_t index = 0;
	int rc = hb_server_map_load(&map, check->options->config, check->directory, check->error);

	for (uint32_t i = 0; i < map.server_count && rc == 0; i++) {
		if (hb_server_map_shards(&map, i) == 0)
			continue;
		rc = compare_server(check, &map, i, index++, &rows_named);
	}
	return rc;
}
