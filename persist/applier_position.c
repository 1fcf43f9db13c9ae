/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Where servers stand, asked by somebody who has no appliers: recovery, before there is a journal
 * to follow, and tools. A connection of its own for each question; keeps nothing.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "persist/applier.h"
#include "persist/db.h"
#include "persist/schema.h"

#define POSITION_TIMEOUT_S 2

struct table_count {
	uint64_t count;
};

static int
keep_count(void *context, const void *row)
{
	*(uint64_t *)context = ((const struct table_count *)row)->count;
	return 0;
}

/* Does the database have a position table at all? */
static int
has_position_table(
	struct hb_db *db, const char *database, uint64_t *found, char error[HB_DB_ERROR_BYTES])
{
	static const struct hb_db_column name_column[] = {
		{"table_schema", HB_DB_TEXT, 0, HB_CONFIG_TEXT_MAX}};
	static const struct hb_db_column count_column[] = {
		HB_DB_COLUMN(HB_DB_U64, struct table_count, count)};
	struct hb_db_statement *select;
	struct table_count row;
	int rc = hb_db_prepare(db,
		"SELECT COUNT(*) FROM information_schema.tables "
		"WHERE table_schema = ? AND table_name = 'jpos'",
		name_column, 1, count_column, 1, &select, error);

	*found = 0;
	return rc != 0 ? rc : hb_db_query(select, database, &row, keep_count, found, error);
}

int
hb_applier_server_position(
	const struct hb_config *config, const uint8_t stream_id[16], uint64_t *seq, char error[256])
{
	struct hb_row_position position;
	struct hb_db *db;
	uint64_t found;
	int rc = hb_db_open(&db, config, config->mysql_user, POSITION_TIMEOUT_S, error);

	*seq = 0;
	if (rc != 0)
		return rc;
	rc = has_position_table(db, config->mysql_database, &found, error);
	if (rc == 0 && found > 0) {
		rc = hb_schema_use(db, config->mysql_database, error);
		if (rc == 0)
			rc = hb_position_read(db, stream_id, false, &position, error);
		if (rc == 1)
			*seq = position.seq;
	}
	hb_db_close(db);
	return rc < 0 ? rc : 0;
}

int
hb_applier_position(
	const struct hb_config *config, const uint8_t stream_id[16], uint64_t *seq, char error[256])
{
	struct hb_server_map map;
	int rc = hb_server_map_from_config(&map, config, error);
	bool known = false;

	*seq = 0;
	for (uint32_t i = 0; i < map.server_count && rc != -EINVAL; i++) {
		struct hb_config one;
		uint64_t position;

		hb_server_config(config, &map.server[i].primary, &one);
		rc = hb_applier_server_position(&one, stream_id, &position, error);
		known = known || rc == 0;
		if (rc == 0 && position > *seq)
			*seq = position;
	}
	return known ? 0 : rc;
}
