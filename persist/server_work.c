/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Moving a shard and rebuilding a server: see the header.
 *
 * A move: both servers stand at one sequence S; the target gets the rows as they are at S, which
 * are counted and compared; then the map is stored, which is the one moment of the move; the
 * appliers take the map over, each with a transaction of its own that may be repeated, and go on
 * behind S. Only then the old rows are cleared. Before the map is stored, what the target has of
 * the shard is nothing that anybody looks at. Connections belong to the call.
 */
#include "persist/server_work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/log.h"
#include "persist/applier_internal.h"
#include "persist/journal_reader.h"
#include "persist/schema.h"
#include "persist/table_copy.h"

#define CONNECT_TIMEOUT_S   5
#define STOP_TIMEOUT_MS	    60000
#define TAKE_MAP_TIMEOUT_MS 60000
#define PARK_TIMEOUT_MS	    60000 /* an applier may wait for a server that hangs */
#define MARK_PAUSE_MS	    1000  /* a release of segments that was decided before ends */
#define PROGRESS_MS	    200

struct move {
	struct hb_applier *applier;
	struct hb_server_map map;
	uint32_t shard;
	uint32_t from;
	uint32_t to;
	uint64_t seq;
	struct hb_row_position position; /* of the old server, at seq */
	struct hb_db *from_db;
	struct hb_db *to_db;
	struct hb_applier_task task;
	bool stuck; /* nobody knows which map is on disk */
	int (*at_step)(void *context, enum hb_move_step step);
	void *context;
	char *error; /* of 256 bytes */
};

__attribute__((format(printf, 3, 4))) static int
refuse(char error[256], int rc, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, 256, format, arguments);
	va_end(arguments);
	return rc;
}

static int
ended(char error[256])
{
	return refuse(error, -ECANCELED, "persist ends; give the command again when it runs");
}

static void
set_phase(struct hb_applier *applier, struct hb_applier_task *task, const char *phase)
{
	snprintf(task->phase, sizeof(task->phase), "%s", phase);
	hbi_applier_task(applier, task);
}

static void
end_task(struct hb_applier *applier, struct hb_applier_task *task, int rc, const char *error)
{
	snprintf(task->error, sizeof(task->error), "%s", rc == 0 ? "" : error);
	set_phase(applier, task, rc == 0 ? "done" : "failed");
	if (rc == 0)
		hb_log(HB_LOG_INFO, "server_work_done", "what=\"%s\" rows=%" PRIu64, task->what,
			task->rows);
	else
		hb_log(HB_LOG_ERROR, "server_work_failed", "what=\"%s\" error=\"%s\"", task->what,
			error);
}

static int
step(struct move *m, enum hb_move_step at)
{
	return m->at_step != NULL && m->at_step(m->context, at) != 0 ? -ECANCELED : 0;
}

/* ---- connections ---- */

/* Errors name the server. */
static int
at_server(const struct hb_server_map *map, uint32_t server, int rc, char error[256])
{
	char text[256];

	if (rc == 0)
		return 0;
	snprintf(text, sizeof(text), "%s", error);
	snprintf(error, 256, "server %s: %.220s", map->server[server].name, text);
	return rc;
}

static int
open_server(struct hb_applier *applier, uint32_t server, struct hb_db **db, char error[256])
{
	const struct hb_config *config = hbi_applier_config(applier, server);
	int rc = hb_db_open(db, config, config->mysql_user, CONNECT_TIMEOUT_S, error);

	if (rc == 0)
		rc = hb_db_check_durability(*db, error);
	if (rc == 0)
		rc = hb_schema_upgrade(*db, config->mysql_database, error);
	return rc;
}

static int
open_both(struct move *m)
{
	int rc = at_server(&m->map, m->from,
		open_server(m->applier, m->from, &m->from_db, m->error), m->error);

	if (rc == 0)
		rc = at_server(&m->map, m->to, open_server(m->applier, m->to, &m->to_db, m->error),
			m->error);
	if (rc == 0)
		rc = at_server(&m->map, m->from,
			hb_db_execute(m->from_db,
				"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", m->error),
			m->error);
	return rc;
}

/* The position of a server must be where its applier stands. */
static int
expect_position(struct move *m, struct hb_db *db, uint32_t server, struct hb_row_position *position)
{
	int rc = hb_position_read(
		db, hbi_applier_source(m->applier)->stream_id, false, position, m->error);

	if (rc < 0)
		return at_server(&m->map, server, rc, m->error);
	if (rc == 1 && position->seq == m->seq)
		return 0;
	return refuse(m->error, -ESTALE,
		"server %s stands at %" PRIu64 " and not at %" PRIu64
		": does another persist write to it?",
		m->map.server[server].name, rc == 1 ? position->seq : 0, m->seq);
}

/* ---- a server without shards joins ---- */

static int
clear_origins(struct move *m)
{
	int rc = 0;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++)
		rc = hb_table_clear(m->to_db, HB_TABLE_ORIGIN, p, m->error);
	return rc;
}

static int
forget_position(struct hb_db *db, const uint8_t stream[16], char error[256])
{
	static const struct hb_db_column column[] = {{"stream", HB_DB_BYTES, 0, 16}};
	struct hb_db_statement *statement;
	int rc = hb_db_prepare(
		db, "DELETE FROM jpos WHERE stream = ?", column, 1, NULL, 0, &statement, error);

	if (rc == 0)
		rc = hb_db_bulk(statement, stream, 16, 1, NULL, error);
	hb_db_release(statement);
	return rc;
}

/*
 * It takes the position of the server that gives the shard, and the origins of all packets, which
 * that server has too. The position comes last: without it the server is nothing.
 */
static int
join(struct move *m)
{
	uint32_t shards = 0;
	char text[64];
	int rc = hb_shards_read(m->to_db, &shards, m->error);

	if (rc == 0 && shards != 0) {
		hb_shards_text(shards, text);
		return refuse(m->error, -EEXIST,
			"server %s says that it has the shards %s, which the map gives to others: "
			"is it another node's? Empty its database '%.64s' first",
			m->map.server[m->to].name, text,
			hbi_applier_config(m->applier, m->to)->mysql_database);
	}
	if (rc == 0)
		rc = forget_position(m->to_db, hbi_applier_source(m->applier)->stream_id, m->error);
	if (rc == 0)
		rc = clear_origins(m);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++)
		rc = hb_origins_copy(m->from_db, m->to_db, p, m->map.owner[p] == m->from, m->error);
	if (rc == 0)
		rc = hb_position_create(m->to_db, &m->position, 0, m->error);
	return at_server(&m->map, m->to, rc, m->error);
}

/* ---- the rows ---- */

static int
count_rows(void *context, uint32_t rows)
{
	struct move *m = context;

	m->task.rows += rows;
	hbi_applier_task(m->applier, &m->task);
	return hbi_applier_is_ending(m->applier) ? ended(m->error) : 0;
}

static int
clear_tables(struct hb_db *db, uint32_t shard, char error[256])
{
	int rc = 0;

	for (uint32_t t = 0; t < HB_TABLE_COUNT && rc == 0; t++)
		if (t != HB_TABLE_ORIGIN)
			rc = hb_table_clear(db, (enum hb_table)t, shard, error);
	return rc;
}

static int
copy_table(struct move *m, enum hb_table table)
{
	struct hb_row_sum sent, found;
	int rc = hb_table_copy(
		m->from_db, m->to_db, table, m->shard, &sent, count_rows, m, m->error);

	if (rc == 0)
		rc = hb_table_sum_read(m->to_db, table, m->shard, &found, m->error);
	if (rc == 0 && (sent.count != found.count || sent.hash != found.hash))
		return refuse(m->error, -EIO,
			"%s_%02u: %" PRIu64 " rows were sent, and %" PRIu64
			" are there or differ: nothing was moved",
			hb_table_layouts[table].name, m->shard, sent.count, found.count);
	return rc;
}

static int
copy_tables(struct move *m)
{
	int rc = at_server(&m->map, m->to, clear_tables(m->to_db, m->shard, m->error), m->error);

	for (uint32_t t = 0; t < HB_TABLE_COUNT && rc == 0; t++) {
		if (t == HB_TABLE_ORIGIN)
			continue;
		rc = copy_table(m, (enum hb_table)t);
		if (rc == 0 && t == 0)
			rc = step(m, HB_MOVE_HALF);
	}
	return rc;
}

/* ---- the move ---- */

/* Everything up to the moment of the move; nothing that anybody looks at changes. */
static int
prepare(struct move *m)
{
	bool joins = hb_server_map_shards(&m->map, m->to) == 0;
	uint32_t mask = 1u << m->from | (joins ? 0 : 1u << m->to);
	struct hb_row_position position;
	int rc;

	set_phase(m->applier, &m->task, "stopping");
	m->seq = hb_committed_seq(hbi_applier_source(m->applier)->commit);
	rc = hbi_applier_stop(m->applier, mask, m->seq, STOP_TIMEOUT_MS, m->error);
	if (rc == 0)
		rc = step(m, HB_MOVE_STOPPED);
	if (rc == 0)
		rc = open_both(m);
	if (rc == 0)
		rc = expect_position(m, m->from_db, m->from, &m->position);
	if (rc == 0)
		rc = joins ? join(m) : expect_position(m, m->to_db, m->to, &position);
	if (rc == 0 && joins)
		rc = step(m, HB_MOVE_JOINED);
	if (rc == 0) {
		set_phase(m->applier, &m->task, "copying");
		rc = copy_tables(m);
	}
	return rc == 0 ? step(m, HB_MOVE_COPIED) : rc;
}

/*
 * The moment. When storing failed, the file tells which map is there. If it is the new one, only a
 * power failure can take it back, and then servers and map disagree aloud. If nobody can tell, the
 * appliers must not go on with either: they stand until persist starts again.
 */
static int
store(struct move *m)
{
	const struct hb_applier_source *source = hbi_applier_source(m->applier);
	struct hb_server_map moved = m->map;
	struct hb_server_map there;
	char ignored[256];
	int rc;

	moved.owner[m->shard] = m->to;
	moved.moved_shard = m->shard;
	moved.moved_from = m->from;
	moved.moved_to = m->to;
	rc = hb_server_map_store(&moved, source->journal_directory, m->error);
	if (rc != 0) {
		m->stuck = hb_server_map_load(&there, hbi_applier_node_config(m->applier),
				   source->journal_directory, ignored) != 0;
		if (m->stuck || there.version == m->map.version)
			return rc;
		moved.version = there.version;
	}
	m->map = moved;
	return 0;
}

/* The appliers take the map over and go on. */
static int
take_over(struct move *m)
{
	set_phase(m->applier, &m->task, "taking over");
	hbi_applier_map_set(m->applier, &m->map);
	hbi_applier_go_on(m->applier, 1u << m->from | 1u << m->to);
	int rc = step(m, HB_MOVE_TOLD);

	if (rc != 0)
		return rc;
	/* the last shard may have gone: then nobody connects there any more, but us */
	if (hb_server_map_shards(&m->map, m->from) == 0 && m->from_db != NULL)
		rc = at_server(
			&m->map, m->from, hb_shard_lost(m->from_db, m->shard, m->error), m->error);
	else if (!hbi_applier_await_map(m->applier, m->from, m->map.version, TAKE_MAP_TIMEOUT_MS))
		rc = refuse(m->error, -ETIMEDOUT,
			"shard %u is moved, but server %s does not answer: its old rows are not "
			"cleared; give the command again when it does",
			m->shard, m->map.server[m->from].name);
	if (rc == 0 &&
		!hbi_applier_await_map(m->applier, m->to, m->map.version, TAKE_MAP_TIMEOUT_MS))
		rc = refuse(m->error, -ETIMEDOUT,
			"shard %u is moved, but server %s does not answer: what it lacks follows "
			"when it does; then give the command again to clear the old rows",
			m->shard, m->map.server[m->to].name);
	return rc == 0 ? step(m, HB_MOVE_TAKEN) : rc;
}

/* The old rows, of which nobody knows any more. */
static int
clear_old(struct move *m)
{
	int rc;

	set_phase(m->applier, &m->task, "clearing");
	rc = at_server(&m->map, m->from, clear_tables(m->from_db, m->shard, m->error), m->error);
	if (rc == 0)
		rc = step(m, HB_MOVE_CLEARED);
	if (rc != 0)
		return rc;
	m->map.moved_shard = HB_NO_SHARD;
	rc = hb_server_map_store(
		&m->map, hbi_applier_source(m->applier)->journal_directory, m->error);
	if (rc == 0)
		hbi_applier_map_set(m->applier, &m->map);
	return rc;
}

/* The snapshot has served: what follows on this connection changes rows. */
static int
end_snapshot(struct move *m)
{
	return at_server(&m->map, m->from, hb_db_execute(m->from_db, "COMMIT", m->error), m->error);
}

static int
move_now(struct move *m)
{
	int rc = prepare(m);

	if (rc == 0)
		rc = end_snapshot(m);
	if (rc == 0)
		rc = store(m);
	if (rc == 0)
		rc = step(m, HB_MOVE_STORED);
	if (rc == 0)
		rc = take_over(m);
	return rc == 0 ? clear_old(m) : rc;
}

static int
finish_earlier(struct move *m)
{
	int rc;

	m->from = m->map.moved_from;
	rc = at_server(&m->map, m->from, open_server(m->applier, m->from, &m->from_db, m->error),
		m->error);
	if (rc == 0)
		rc = take_over(m);
	return rc == 0 ? clear_old(m) : rc;
}

static int
find_server(const struct hb_server_map *map, const char *name, uint32_t *server, char error[256])
{
	char names[HB_SERVERS_MAX * (HB_SERVER_NAME_BYTES + 1) + 1] = "";
	int found = hb_server_map_find(map, name);
	size_t length = 0;

	if (found >= 0) {
		*server = (uint32_t)found;
		return 0;
	}
	for (uint32_t i = 0; i < map->server_count; i++)
		length += (size_t)snprintf(
			names + length, sizeof(names) - length, " %s", map->server[i].name);
	return refuse(error, -ENOENT,
		"no server %.16s is defined in mysql.servers; there are:%.180s", name, names);
}

static int
move_shard(struct move *m, const char *server)
{
	int rc = find_server(&m->map, server, &m->to, m->error);

	if (rc != 0)
		return rc;
	if (m->map.moved_shard == m->shard && m->map.moved_to == m->to)
		return finish_earlier(m);
	if (m->map.moved_shard != HB_NO_SHARD)
		return refuse(m->error, -EBUSY,
			"shard %u was moved to %s and its old rows are not cleared yet: first "
			"finish that with 'hbctl mysql move-shard %u %s'",
			m->map.moved_shard, m->map.server[m->map.moved_to].name, m->map.moved_shard,
			m->map.server[m->map.moved_to].name);
	m->from = m->map.owner[m->shard];
	return m->from == m->to ? 0 : move_now(m);
}

int
hb_server_move_shard(struct hb_applier *applier, uint32_t shard, const char *server,
	int (*at_step)(void *context, enum hb_move_step step), void *context, char error[256])
{
	struct move m = {.applier = applier,
		.shard = shard,
		.at_step = at_step,
		.context = context,
		.error = error};
	int rc = hbi_applier_claim(applier, error);

	HB_ASSERT(shard < HB_PARTITION_COUNT);
	if (rc != 0)
		return rc;
	snprintf(m.task.what, sizeof(m.task.what), "move-shard %u %.15s", shard, server);
	hbi_applier_map(applier, &m.map);
	rc = move_shard(&m, server);
	hb_db_close(m.from_db);
	hb_db_close(m.to_db);
	end_task(applier, &m.task, rc, error);
	if (rc == -ECANCELED)
		hbi_applier_abandon(applier);
	else if (!m.stuck)
		hbi_applier_unclaim(applier);
	return rc;
}

/* ---- rebuild ---- */

static void
pause_ms(uint32_t ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
		NULL);
}

/* From now on no segment may go: the server will need them all. */
static void
keep_segments(const struct hb_applier_source *source)
{
	if (source->release_mark == NULL)
		return;
	atomic_store(source->release_mark, 0);
	pause_ms(MARK_PAUSE_MS);
	atomic_store(source->release_mark, 0);
}

static int
expect_whole_journal(const struct hb_applier_source *source, char error[256])
{
	char reader_error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader;
	struct hb_journal_position at;
	const struct hb_record *record;
	int rc = hb_journal_reader_open(&reader, source->journal_directory, reader_error);

	if (rc != 0)
		return refuse(error, rc, "%.255s", reader_error);
	rc = hb_journal_reader_seek_first(reader);
	if (rc == 0)
		rc = hb_journal_reader_next(reader, &record, &at);
	if (rc < 0)
		refuse(error, rc, "%.255s", hb_journal_reader_error(reader));
	else if (rc == 1 && at.seq != 1)
		rc = refuse(error, -ENODATA,
			"the journal begins at record %" PRIu64
			": rows of older records cannot be made again. Restore a backup of the "
			"server instead; from its position on they follow by themselves",
			at.seq);
	hb_journal_reader_close(reader);
	return rc < 0 ? rc : 0;
}

/* The position goes first: with rows but no position the applier stops at the first of them. */
static int
empty_server(struct hb_db *db, const uint8_t stream[16], char error[256])
{
	char sql[64];
	int rc = forget_position(db, stream, error);

	if (rc == 0)
		rc = hb_db_execute(db, "DELETE FROM shard", error);
	for (uint32_t t = 0; t < HB_TABLE_COUNT && rc == 0; t++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			snprintf(sql, sizeof(sql), "TRUNCATE TABLE %s_%02u",
				hb_table_layouts[t].name, p);
			rc = hb_db_execute(db, sql, error);
		}
	}
	return rc;
}

/* The applier does the work; wait for it to reach what is committed now. */
static int
await_level(
	struct hb_applier *applier, uint32_t server, struct hb_applier_task *task, char error[256])
{
	uint64_t goal = hb_committed_seq(hbi_applier_source(applier)->commit);
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];

	for (;;) {
		(void)hb_applier_status(applier, status, HB_APPLIER_SERVERS_MAX);
		task->rows = status[server].records;
		hbi_applier_task(applier, task);
		if (status[server].state == HB_APPLIER_POISONED)
			return refuse(error, -EIO, "server %s: %.200s", status[server].name,
				status[server].error);
		if (status[server].state == HB_APPLIER_RUNNING && status[server].seq >= goal)
			return 0;
		if (hbi_applier_is_ending(applier))
			return ended(error);
		pause_ms(PROGRESS_MS);
	}
}

static int
rebuild(struct hb_applier *applier, const struct hb_server_map *map, uint32_t server,
	struct hb_applier_task *task, char error[256])
{
	const struct hb_applier_source *source = hbi_applier_source(applier);
	struct hb_db *db = NULL;
	int rc;

	if (!hbi_applier_park(applier, server, PARK_TIMEOUT_MS))
		return refuse(error, -ETIMEDOUT,
			"the applier of server %s does not let go of its connection; try again",
			map->server[server].name);
	keep_segments(source);
	rc = expect_whole_journal(source, error);
	if (rc != 0)
		return rc;
	set_phase(applier, task, "emptying");
	rc = open_server(applier, server, &db, error);
	if (rc == 0)
		rc = empty_server(db, source->stream_id, error);
	hb_db_close(db);
	if (rc != 0)
		return at_server(map, server, rc, error);
	set_phase(applier, task, "applying");
	hbi_applier_unpark(applier, server);
	return await_level(applier, server, task, error);
}

int
hb_server_rebuild(struct hb_applier *applier, const char *name, char error[256])
{
	struct hb_applier_task task = {.rows = 0};
	struct hb_server_map map;
	uint32_t server = 0;
	int rc = hbi_applier_claim(applier, error);

	if (rc != 0)
		return rc;
	snprintf(task.what, sizeof(task.what), "rebuild %.15s", name);
	hbi_applier_map(applier, &map);
	rc = find_server(&map, name, &server, error);
	if (rc == 0 && map.moved_shard != HB_NO_SHARD)
		rc = refuse(error, -EBUSY,
			"a move is not finished: first give 'hbctl mysql move-shard %u %s' again",
			map.moved_shard, map.server[map.moved_to].name);
	if (rc == 0 && hb_server_map_shards(&map, server) == 0)
		rc = refuse(error, -ENOENT, "server %s has no shard: there is nothing to rebuild",
			name);
	if (rc == 0)
		rc = rebuild(applier, &map, server, &task, error);
	end_task(applier, &task, rc, error);
	hbi_applier_unclaim(applier);
	return rc;
}
