/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Table layouts and schema migrations. Owns no memory. If the process dies in a migration, the
 * version row still says the old version and the same migration runs again.
 */
#include "persist/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static const char *const migrations[] = {
#include "0001_ledger.sql.inc"
	,
#include "0002_shards.sql.inc"
};
#define MIGRATION_COUNT (sizeof(migrations) / sizeof(migrations[0]))

#define TEXT(row, field)  HB_DB_COLUMN(HB_DB_TEXT, struct row, field)
#define BYTES(row, field) HB_DB_COLUMN(HB_DB_BYTES, struct row, field)
#define U64(row, field)	  HB_DB_COLUMN(HB_DB_U64, struct row, field)
#define I64(row, field)	  HB_DB_COLUMN(HB_DB_I64, struct row, field)
#define U32(row, field)	  HB_DB_COLUMN(HB_DB_U32, struct row, field)
#define U16(row, field)	  HB_DB_COLUMN(HB_DB_U16, struct row, field)
#define U8(row, field)	  HB_DB_COLUMN(HB_DB_U8, struct row, field)

static const struct hb_db_column order_columns[] = {
	TEXT(hb_row_order, order_no),
	U64(hb_row_order, account),
	U16(hb_row_order, business),
	U8(hb_row_order, state),
	I64(hb_row_order, amount_fen),
	U64(hb_row_order, packet),
	U64(hb_row_order, peer),
	U64(hb_row_order, at_ms),
	U64(hb_row_order, jseq),
};

static const struct hb_db_column claim_columns[] = {
	U64(hb_row_claim, packet),
	U64(hb_row_claim, account),
	I64(hb_row_claim, amount_fen),
	U32(hb_row_claim, share),
	U64(hb_row_claim, at_ms),
	U64(hb_row_claim, jseq),
};

static const struct hb_db_column flow_columns[] = {
	U64(hb_row_flow, account),
	U64(hb_row_flow, jseq),
	U8(hb_row_flow, leg),
	I64(hb_row_flow, available_delta),
	I64(hb_row_flow, frozen_delta),
	I64(hb_row_flow, available_after),
	I64(hb_row_flow, frozen_after),
	TEXT(hb_row_flow, order_no),
	U64(hb_row_flow, at_ms),
};

static const struct hb_db_column account_columns[] = {
	U64(hb_row_account, account),
	I64(hb_row_account, available_fen),
	I64(hb_row_account, frozen_fen),
	U64(hb_row_account, version),
	U8(hb_row_account, kind),
	U8(hb_row_account, barred),
	U64(hb_row_account, opened_jseq),
};

static const struct hb_db_column packet_columns[] = {
	U64(hb_row_packet, packet),
	U64(hb_row_packet, sender),
	U64(hb_row_packet, group_id),
	U64(hb_row_packet, recipient),
	U8(hb_row_packet, kind),
	U8(hb_row_packet, algorithm),
	U8(hb_row_packet, state),
	I64(hb_row_packet, total_fen),
	I64(hb_row_packet, left_fen),
	I64(hb_row_packet, refunded_fen),
	U32(hb_row_packet, share_count),
	U32(hb_row_packet, left_count),
	I64(hb_row_packet, share_min_fen),
	I64(hb_row_packet, share_max_fen),
	U64(hb_row_packet, created_ms),
	U64(hb_row_packet, deadline_ms),
	U64(hb_row_packet, order_stamp),
	TEXT(hb_row_packet, order_no),
	TEXT(hb_row_packet, greeting),
	BYTES(hb_row_packet, commitment),
	BYTES(hb_row_packet, seed),
	U64(hb_row_packet, jseq),
};

static const struct hb_db_column origin_columns[] = {
	U64(hb_row_origin, packet),
	U64(hb_row_origin, sender),
	U64(hb_row_origin, order_stamp),
	U64(hb_row_origin, jseq),
};

static const struct hb_db_column position_columns[] = {
	BYTES(hb_row_position, stream),
	U64(hb_row_position, epoch),
	U64(hb_row_position, seq),
	BYTES(hb_row_position, chain),
	U64(hb_row_position, at_ns),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LAYOUT(text, columns, keys, row)                                                           \
	{                                                                                          \
		text, columns, COUNT(columns), keys, sizeof(struct row)                            \
	}

const struct hb_table_layout hb_table_layouts[HB_TABLE_COUNT] = {
	[HB_TABLE_ORDER] = LAYOUT("order", order_columns, 1, hb_row_order),
	[HB_TABLE_CLAIM] = LAYOUT("claim", claim_columns, 2, hb_row_claim),
	[HB_TABLE_FLOW] = LAYOUT("flow", flow_columns, 3, hb_row_flow),
	[HB_TABLE_ACCOUNT] = LAYOUT("account", account_columns, 1, hb_row_account),
	[HB_TABLE_PACKET] = LAYOUT("packet", packet_columns, 1, hb_row_packet),
	[HB_TABLE_ORIGIN] = LAYOUT("origin", origin_columns, 1, hb_row_origin),
};

static size_t
append(char *sql, size_t length, const char *text)
{
	int written = snprintf(sql + length, HB_SQL_BYTES_MAX - length, "%s", text);

	HB_ASSERT(written >= 0 && length + (size_t)written < HB_SQL_BYTES_MAX);
	return length + (size_t)written;
}

static size_t
append_columns(char *sql, size_t length, const struct hb_table_layout *layout)
{
	for (uint32_t i = 0; i < layout->column_count; i++) {
		length = append(sql, length, i == 0 ? "" : ", ");
		length = append(sql, length, layout->columns[i].name);
	}
	return length;
}

void
hb_table_insert_sql(enum hb_table table, uint32_t partition, char sql[HB_SQL_BYTES_MAX])
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	size_t length = (size_t)snprintf(
		sql, HB_SQL_BYTES_MAX, "INSERT INTO %s_%02u (", layout->name, partition);

	length = append_columns(sql, length, layout);
	length = append(sql, length, ") VALUES (");
	for (uint32_t i = 0; i < layout->column_count; i++)
		length = append(sql, length, i == 0 ? "?" : ", ?");
	append(sql, length, ")");
}

void
hb_table_select_sql(enum hb_table table, uint32_t partition, char sql[HB_SQL_BYTES_MAX])
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	char from[64];
	size_t length = append(sql, 0, "SELECT ");

	length = append_columns(sql, length, layout);
	snprintf(from, sizeof(from), " FROM %s_%02u", layout->name, partition);
	append(sql, length, from);
}

uint32_t
hb_schema_version(void)
{
	return MIGRATION_COUNT;
}

/* Replace every NN by the partition's number and run the statement. */
static int
run_for_partition(
	struct hb_db *db, const char *statement, uint32_t partition, char error[HB_DB_ERROR_BYTES])
{
	char sql[HB_SQL_BYTES_MAX];
	size_t length = strlen(statement);

	HB_ASSERT(length < sizeof(sql));
	memcpy(sql, statement, length + 1);
	for (char *at = strstr(sql, "_NN"); at != NULL; at = strstr(at, "_NN")) {
		at[1] = (char)('0' + partition / 10);
		at[2] = (char)('0' + partition % 10);
	}
	return hb_db_execute(db, sql, error);
}

static int
run_statement(struct hb_db *db, const char *statement, char error[HB_DB_ERROR_BYTES])
{
	int rc = 0;

	if (strstr(statement, "_NN") == NULL)
		return hb_db_execute(db, statement, error);
	for (uint32_t partition = 0; partition < HB_PARTITION_COUNT && rc == 0; partition++)
		rc = run_for_partition(db, statement, partition, error);
	return rc;
}

/* Drop comment lines; a statement ends with a semicolon at the end of a line. */
static int
run_migration(struct hb_db *db, const char *text, char error[HB_DB_ERROR_BYTES])
{
	char statement[HB_SQL_BYTES_MAX];
	size_t length = 0;

	while (*text != 0) {
		size_t line = strcspn(text, "\n");
		bool ends = line > 0 && text[line - 1] == ';';

		if (strncmp(text, "--", 2) != 0 && line > 0) {
			HB_ASSERT(length + line + 1 < sizeof(statement));
			memcpy(statement + length, text, line);
			length += line;
			statement[length++] = '\n';
		}
		text += line + (text[line] == '\n');
		if (!ends)
			continue;
		statement[length - 2] = 0; /* without the semicolon */
		length = 0;
		int rc = run_statement(db, statement, error);
		if (rc != 0)
			return rc;
	}
	HB_ASSERT(length == 0);
	return 0;
}

struct version_row {
	uint32_t version;
};
static const struct hb_db_column version_columns[] = {U32(version_row, version)};

static int
keep_version(void *context, const void *row)
{
	*(uint32_t *)context = ((const struct version_row *)row)->version;
	return 0;
}

static int
read_version(struct hb_db *db, uint32_t *version, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *select;
	struct version_row row;
	int rc = hb_db_prepare(db, "SELECT COALESCE(MAX(version), 0) FROM schema_version", NULL, 0,
		version_columns, 1, &select, error);

	*version = 0;
	if (rc == 0)
		rc = hb_db_query(select, NULL, &row, keep_version, version, error);
	hb_db_release(select);
	return rc;
}

static int
write_version(struct hb_db *db, uint32_t version, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *insert;
	struct version_row row = {version};
	int rc = hb_db_prepare(db, "INSERT INTO schema_version (version) VALUES (?)",
		version_columns, 1, NULL, 0, &insert, error);

	if (rc == 0)
		rc = hb_db_bulk(insert, &row, sizeof(row), 1, NULL, error);
	hb_db_release(insert);
	return rc;
}

static int
run_with_database(struct hb_db *db, const char *before, const char *database, const char *after,
	char error[HB_DB_ERROR_BYTES])
{
	char sql[HB_CONFIG_TEXT_MAX + 128];

	for (const char *c = database; *c != 0; c++)
		if (!isalnum((unsigned char)*c) && *c != '_') {
			snprintf(error, HB_DB_ERROR_BYTES,
				"mysql.database '%.64s': letters, digits and _ only", database);
			return -EPERM;
		}
	snprintf(sql, sizeof(sql), "%s%s%s", before, database, after);
	return hb_db_execute(db, sql, error);
}

static int
version_differs(uint32_t version, char error[HB_DB_ERROR_BYTES])
{
	snprintf(error, HB_DB_ERROR_BYTES,
		"the schema has version %u, this program knows %u; install the newer program",
		version, hb_schema_version());
	return -EPROTO;
}

int
hb_schema_upgrade(struct hb_db *db, const char *database, char error[HB_DB_ERROR_BYTES])
{
	uint32_t version;
	int rc = run_with_database(db, "USE `", database, "`", error);

	if (rc != 0 && rc != -ENOTCONN)
		rc = run_with_database(db, "CREATE DATABASE IF NOT EXISTS `", database,
			"` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", error);
	if (rc == 0)
		rc = run_with_database(db, "USE `", database, "`", error);
	if (rc == 0)
		rc = hb_db_execute(db,
			"CREATE TABLE IF NOT EXISTS schema_version (version INT UNSIGNED NOT NULL, "
			"PRIMARY KEY (version)) ENGINE=InnoDB",
			error);
	if (rc == 0)
		rc = read_version(db, &version, error);
	if (rc == 0 && version > MIGRATION_COUNT)
		return version_differs(version, error);
	for (uint32_t i = rc == 0 ? version : MIGRATION_COUNT; i < MIGRATION_COUNT && rc == 0;
		i++) {
		rc = run_migration(db, migrations[i], error);
		if (rc == 0)
			rc = write_version(db, i + 1, error);
	}
	return rc;
}

int
hb_schema_use(struct hb_db *db, const char *database, char error[HB_DB_ERROR_BYTES])
{
	uint32_t version;
	int rc = run_with_database(db, "USE `", database, "`", error);

	if (rc == 0)
		rc = read_version(db, &version, error);
	if (rc == 0 && version != MIGRATION_COUNT)
		rc = version_differs(version, error);
	return rc;
}

struct position_found {
	struct hb_row_position *position;
	int count;
};

static int
keep_position(void *context, const void *row)
{
	struct position_found *found = context;

	*found->position = *(const struct hb_row_position *)row;
	found->count++;
	return 0;
}

int
hb_position_read(struct hb_db *db, const uint8_t stream[16], bool lock,
	struct hb_row_position *position, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *select;
	struct hb_row_position key = {0};
	struct hb_row_position row;
	struct position_found found = {position, 0};
	int rc = hb_db_prepare(db,
		lock ? "SELECT stream, epoch, seq, chain, at_ns FROM jpos WHERE stream = ? FOR "
		       "UPDATE"
		     : "SELECT stream, epoch, seq, chain, at_ns FROM jpos WHERE stream = ?",
		position_columns, 1, position_columns, COUNT(position_columns), &select, error);

	memcpy(key.stream, stream, sizeof(key.stream));
	if (rc == 0)
		rc = hb_db_query(select, &key, &row, keep_position, &found, error);
	hb_db_release(select);
	return rc == 0 ? found.count : rc;
}

/* ---- shards ---- */

static int
keep_shard(void *context, const void *row)
{
	const struct version_row *shard = row;

	if (shard->version < HB_PARTITION_COUNT)
		*(uint32_t *)context |= 1u << shard->version;
	return 0;
}

int
hb_shards_read(struct hb_db *db, uint32_t *shards, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *select;
	struct version_row row;
	int rc = hb_db_prepare(db, "SELECT CAST(shard AS UNSIGNED) FROM shard", NULL, 0,
		version_columns, 1, &select, error);

	*shards = 0;
	if (rc == 0)
		rc = hb_db_query(select, NULL, &row, keep_shard, shards, error);
	hb_db_release(select);
	return rc;
}

/* Run constant statements, NN replaced, as one transaction. */
static int
run_together(struct hb_db *db, const char *const *statements, uint32_t shard,
	char error[HB_DB_ERROR_BYTES])
{
	char ignored[HB_DB_ERROR_BYTES];
	int rc = hb_db_execute(db, "START TRANSACTION", error);

	for (; *statements != NULL && rc == 0; statements++)
		rc = run_for_partition(db, *statements, shard, error);
	if (rc == 0)
		return hb_db_execute(db, "COMMIT", error) == 0 ? 0 : -ENOTCONN;
	(void)hb_db_execute(db, "ROLLBACK", ignored);
	return rc;
}

static const char shard_delete[] =
	"DELETE FROM shard WHERE shard = CAST(SUBSTRING('_NN', 2) AS UNSIGNED)";
static const char shard_insert[] =
	"INSERT INTO shard (shard) VALUES (CAST(SUBSTRING('_NN', 2) AS UNSIGNED))";
static const char origin_delete[] = "DELETE FROM origin_NN";
static const char origin_fill[] = "INSERT INTO origin_NN (packet, sender, order_stamp, jseq) "
				  "SELECT packet, sender, order_stamp, jseq FROM packet_NN";

int
hb_shard_gained(struct hb_db *db, uint32_t shard, char error[HB_DB_ERROR_BYTES])
{
	static const char *const statements[] = {shard_delete, shard_insert, origin_delete, NULL};

	return run_together(db, statements, shard, error);
}

int
hb_shard_lost(struct hb_db *db, uint32_t shard, char error[HB_DB_ERROR_BYTES])
{
	static const char *const statements[] = {shard_delete, origin_delete, origin_fill, NULL};
	uint32_t shards;
	int rc = hb_shards_read(db, &shards, error);

	/* done before: its packets may be cleared already */
	if (rc != 0 || (shards >> shard & 1) == 0)
		return rc;
	return run_together(db, statements, shard, error);
}

static int
insert_position(
	struct hb_db *db, const struct hb_row_position *position, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *insert;
	int rc = hb_db_prepare(db,
		"INSERT INTO jpos (stream, epoch, seq, chain, at_ns) VALUES (?, ?, ?, ?, ?)",
		position_columns, COUNT(position_columns), NULL, 0, &insert, error);

	if (rc == 0)
		rc = hb_db_bulk(insert, position, sizeof(*position), 1, NULL, error);
	hb_db_release(insert);
	return rc;
}

int
hb_position_create(struct hb_db *db, const struct hb_row_position *position, uint32_t shards,
	char error[HB_DB_ERROR_BYTES])
{
	char ignored[HB_DB_ERROR_BYTES];
	int rc = hb_db_execute(db, "START TRANSACTION", error);

	if (rc == 0)
		rc = insert_position(db, position, error);
	if (rc == 0)
		rc = hb_db_execute(db, "DELETE FROM shard", error);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT && rc == 0; i++)
		if ((shards >> i & 1) != 0)
			rc = run_for_partition(db, shard_insert, i, error);
	if (rc == 0)
		return hb_db_execute(db, "COMMIT", error) == 0 ? 0 : -ENOTCONN;
	(void)hb_db_execute(db, "ROLLBACK", ignored);
	return rc;
}
