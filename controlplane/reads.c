/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool (reads.h) over persist/db.h. A connection keeps the statements it prepared, by query
 * and shard. SQL text is made of constants and the shard's two digits. If the process dies, the
 * server ends the read-only transactions.
 */
#include "controlplane/reads.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "persist/db.h"
#include "persist/server_map.h"

#define CONNECT_TIMEOUT_S     1
#define STATEMENT_SECONDS_MAX "2"
#define POSITION_AGAIN_MS     20
#define REPLICA_PAUSE_NS      UINT64_C(5000000000) /* after one did not answer */
#define SQL_BYTES_MAX	      640

struct connection {
	struct hb_db *db; /* NULL: to be made */
	struct hb_db_statement *statement[HB_READ_QUERY_COUNT][HB_PARTITION_COUNT];
};

struct place;

struct hb_read {
	struct place *place;
	struct connection connection;
	uint32_t shard;
	uint64_t as_of_seq;
	uint64_t position_ns; /* wall: when the position was written */
	bool has_shard;
	bool broken;
	bool taken;
};

/* A server or a replica, and the connections to it. */
struct place {
	struct hb_reads *reads;
	struct hb_config config; /* leads to it */
	char name[HB_SERVER_NAME_BYTES];
	bool there; /* a replica may not be */
	pthread_mutex_t lock;
	pthread_cond_t returned;
	struct hb_read slot[HB_READS_CONNECTIONS];
	_Atomic uint64_t pause_until_ns; /* a replica that did not answer is left alone */
	_Atomic bool away;		 /* for the log: told once */
};

struct hb_reads {
	const struct hb_config *config;
	uint32_t server_count;
	struct place server[HB_SERVERS_MAX];
	struct place replica[HB_SERVERS_MAX];
	_Atomic uint32_t owner[HB_PARTITION_COUNT]; /* where a shard was found last */
	_Atomic uint64_t failed;
	_Atomic uint64_t from_replicas;
};

struct position_row {
	uint64_t seq;
	uint64_t at_ns;
	uint64_t shard; /* 1: the shard is at this server */
};

struct query {
	const char *sql; /* NN = the shard's two digits */
	const struct hb_db_column *in;
	uint32_t in_count;
	const struct hb_db_column *out;
	uint32_t out_count;
};

#define COUNT(a)	    (sizeof(a) / sizeof((a)[0]))
#define IN(type, field)	    HB_DB_COLUMN(type, struct hb_read_parameters, field)
#define ORDER(type, field)  HB_DB_COLUMN(type, struct hb_order_row, field)
#define FLOW(type, field)   HB_DB_COLUMN(type, struct hb_flow_row, field)
#define PACKET(type, field) HB_DB_COLUMN(type, struct hb_packet_row, field)

static const struct hb_db_column position_out[] = {
	HB_DB_COLUMN(HB_DB_U64, struct position_row, seq),
	HB_DB_COLUMN(HB_DB_U64, struct position_row, at_ns),
	HB_DB_COLUMN(HB_DB_U64, struct position_row, shard),
};
static const struct hb_db_column orders_in[] = {
	IN(HB_DB_U64, account),
	IN(HB_DB_U64, before),
	IN(HB_DB_U64, before),
	IN(HB_DB_TEXT, before_order_no),
	IN(HB_DB_U32, limit),
};
static const struct hb_db_column order_in[] = {IN(HB_DB_TEXT, order_no)};
static const struct hb_db_column order_out[] = {
	ORDER(HB_DB_TEXT, order_no),
	ORDER(HB_DB_U64, account),
	ORDER(HB_DB_U16, business),
	ORDER(HB_DB_U8, state),
	ORDER(HB_DB_I64, amount_fen),
	ORDER(HB_DB_U64, packet),
	ORDER(HB_DB_U64, peer),
	ORDER(HB_DB_U64, at_ms),
	ORDER(HB_DB_U64, jseq),
};
static const struct hb_db_column statement_in[] = {
	IN(HB_DB_U64, account),
	IN(HB_DB_U64, before),
	IN(HB_DB_U64, before),
	IN(HB_DB_U8, before_leg),
	IN(HB_DB_U32, limit),
};
static const struct hb_db_column flow_out[] = {
	FLOW(HB_DB_U64, jseq),
	FLOW(HB_DB_U8, leg),
	FLOW(HB_DB_I64, available_delta),
	FLOW(HB_DB_I64, frozen_delta),
	FLOW(HB_DB_I64, available_after),
	FLOW(HB_DB_I64, frozen_after),
	FLOW(HB_DB_TEXT, order_no),
	FLOW(HB_DB_U64, at_ms),
};
static const struct hb_db_column sent_in[] = {
	IN(HB_DB_U64, account),
	IN(HB_DB_U64, before),
	IN(HB_DB_U64, before),
	IN(HB_DB_U64, before_packet),
	IN(HB_DB_U32, limit),
};
static const struct hb_db_column overdue_in[] = {
	IN(HB_DB_U64, deadline_ms),
	IN(HB_DB_U32, limit),
};
static const struct hb_db_column packet_out[] = {
	PACKET(HB_DB_U64, packet),
	PACKET(HB_DB_U64, sender),
	PACKET(HB_DB_U64, group_id),
	PACKET(HB_DB_U64, recipient),
	PACKET(HB_DB_U8, kind),
	PACKET(HB_DB_U8, algorithm),
	PACKET(HB_DB_U8, state),
	PACKET(HB_DB_I64, total_fen),
	PACKET(HB_DB_I64, left_fen),
	PACKET(HB_DB_I64, refunded_fen),
	PACKET(HB_DB_U32, share_count),
	PACKET(HB_DB_U32, left_count),
	PACKET(HB_DB_U64, created_ms),
	PACKET(HB_DB_U64, deadline_ms),
	PACKET(HB_DB_TEXT, order_no),
	PACKET(HB_DB_TEXT, greeting),
	PACKET(HB_DB_U64, jseq),
};

#define OLD(type, field)   HB_DB_COLUMN(type, struct hb_old_packet_row, field)
#define CLAIM(type, field) HB_DB_COLUMN(type, struct hb_claim_row, field)

static const struct hb_db_column old_packet_in[] = {IN(HB_DB_U64, packet)};
static const struct hb_db_column claims_in[] = {
	IN(HB_DB_U64, packet),
	IN(HB_DB_U32, share_first),
	IN(HB_DB_U32, limit),
};
static const struct hb_db_column claim_of_in[] = {
	IN(HB_DB_U64, packet),
	IN(HB_DB_U64, account),
};
static const struct hb_db_column old_packet_out[] = {
	OLD(HB_DB_U64, packet),
	OLD(HB_DB_U64, sender),
	OLD(HB_DB_U64, group_id),
	OLD(HB_DB_U64, recipient),
	OLD(HB_DB_U8, kind),
	OLD(HB_DB_U8, algorithm),
	OLD(HB_DB_U8, state),
	OLD(HB_DB_I64, total_fen),
	OLD(HB_DB_I64, left_fen),
	OLD(HB_DB_I64, refunded_fen),
	OLD(HB_DB_U32, share_count),
	OLD(HB_DB_U32, left_count),
	OLD(HB_DB_I64, share_min_fen),
	OLD(HB_DB_I64, share_max_fen),
	OLD(HB_DB_U64, created_ms),
	OLD(HB_DB_U64, deadline_ms),
	OLD(HB_DB_TEXT, greeting),
	OLD(HB_DB_BYTES, commitment),
	OLD(HB_DB_BYTES, seed),
};
static const struct hb_db_column claim_out[] = {
	CLAIM(HB_DB_U64, account),
	CLAIM(HB_DB_I64, amount_fen),
	CLAIM(HB_DB_U32, share),
	CLAIM(HB_DB_U64, at_ms),
};

#define CLAIM_COLUMNS "SELECT account, amount_fen, share, at_ms FROM claim_NN WHERE packet = ? "

#define ORDER_COLUMNS                                                                              \
	"SELECT order_no, account, business, state, amount_fen, packet, peer, at_ms, jseq "        \
	"FROM order_NN "
#define ORDER_PAGE                                                                                 \
	"AND (at_ms < ? OR (at_ms = ? AND order_no < ?)) "                                         \
	"ORDER BY at_ms DESC, order_no DESC LIMIT ?"
#define PACKET_COLUMNS                                                                             \
	"SELECT packet, sender, group_id, recipient, kind, algorithm, state, total_fen, "          \
	"left_fen, refunded_fen, share_count, left_count, created_ms, deadline_ms, order_no, "     \
	"greeting, jseq FROM packet_NN "

/* Business 21 is PACKET_GRAB, 11 and 40 are WITHDRAWAL and REFUND, which have holds; packet state 1
 * is OPEN: both are fixed for ever (shm/record.h). */
static const struct query queries[HB_READ_QUERY_COUNT] = {
	[HB_READ_POSITION] = {"SELECT seq, at_ns, (SELECT COUNT(*) FROM shard WHERE shard = "
			      "CAST(SUBSTRING('_NN', 2) AS UNSIGNED)) FROM jpos",
		NULL, 0, position_out, COUNT(position_out)},
	[HB_READ_ORDERS] = {ORDER_COLUMNS "WHERE account = ? " ORDER_PAGE, orders_in,
		COUNT(orders_in), order_out, COUNT(order_out)},
	[HB_READ_PACKETS_RECEIVED] = {ORDER_COLUMNS
		"WHERE account = ? AND business = 21 " ORDER_PAGE,
		orders_in, COUNT(orders_in), order_out, COUNT(order_out)},
	/* The index has all that is sorted by, and is a fraction of the rows; those come last. */
	[HB_READ_ALL_ORDERS] = {"SELECT o.order_no, o.account, o.business, o.state, o.amount_fen, "
				"o.packet, o.peer, o.at_ms, o.jseq FROM (SELECT order_no, at_ms "
				"FROM order_NN FORCE INDEX (account_at) "
				"WHERE at_ms < ? OR (at_ms = ? AND order_no < ?) "
				"ORDER BY at_ms DESC, order_no DESC LIMIT ?) k "
				"JOIN order_NN o ON o.order_no = k.order_no "
				"ORDER BY k.at_ms DESC, k.order_no DESC",
		orders_in + 1, COUNT(orders_in) - 1, order_out, COUNT(order_out)},
	[HB_READ_HOLDS] = {ORDER_COLUMNS "WHERE account = ? AND business IN (11, 40) " ORDER_PAGE,
		orders_in, COUNT(orders_in), order_out, COUNT(order_out)},
	[HB_READ_ORDER] = {ORDER_COLUMNS "WHERE order_no = ?", order_in, COUNT(order_in), order_out,
		COUNT(order_out)},
	[HB_READ_STATEMENT] = {"SELECT jseq, leg, available_delta, frozen_delta, available_after, "
			       "frozen_after, order_no, at_ms FROM flow_NN WHERE account = ? "
			       "AND (jseq < ? OR (jseq = ? AND leg < ?)) "
			       "ORDER BY jseq DESC, leg DESC LIMIT ?",
		statement_in, COUNT(statement_in), flow_out, COUNT(flow_out)},
	[HB_READ_PACKETS_SENT] = {PACKET_COLUMNS
		"WHERE sender = ? AND (created_ms < ? OR (created_ms = ? AND packet < ?)) "
		"ORDER BY created_ms DESC, packet DESC LIMIT ?",
		sent_in, COUNT(sent_in), packet_out, COUNT(packet_out)},
	[HB_READ_OVERDUE] = {PACKET_COLUMNS "WHERE state = 1 AND deadline_ms < ? LIMIT ?",
		overdue_in, COUNT(overdue_in), packet_out, COUNT(packet_out)},
	[HB_READ_PACKET] = {"SELECT packet, sender, group_id, recipient, kind, algorithm, state, "
			    "total_fen, left_fen, refunded_fen, share_count, left_count, "
			    "share_min_fen, share_max_fen, created_ms, deadline_ms, greeting, "
			    "commitment, seed FROM packet_NN WHERE packet = ?",
		old_packet_in, COUNT(old_packet_in), old_packet_out, COUNT(old_packet_out)},
	[HB_READ_CLAIMS] = {CLAIM_COLUMNS "AND share >= ? ORDER BY share LIMIT ?", claims_in,
		COUNT(claims_in), claim_out, COUNT(claim_out)},
	[HB_READ_CLAIM_OF] = {CLAIM_COLUMNS "AND account = ?", claim_of_in, COUNT(claim_of_in),
		claim_out, COUNT(claim_out)},
	[HB_READ_LUCKIEST] = {CLAIM_COLUMNS "ORDER BY amount_fen DESC, share LIMIT 1",
		old_packet_in, COUNT(old_packet_in), claim_out, COUNT(claim_out)},
};

/* ---- the pool ---- */

static void
place_open(struct hb_reads *reads, struct place *place, const struct hb_server *server,
	const struct hb_server_address *address)
{
	place->reads = reads;
	place->there = address->given;
	snprintf(place->name, sizeof(place->name), "%s", server->name);
	hb_server_config(reads->config, address, &place->config);
	pthread_mutex_init(&place->lock, NULL);
	pthread_cond_init(&place->returned, NULL);
	for (int i = 0; i < HB_READS_CONNECTIONS; i++)
		place->slot[i].place = place;
}

int
hb_reads_create(struct hb_reads **out, const struct hb_config *config)
{
	struct hb_reads *reads = calloc(1, sizeof(*reads));
	struct hb_server_map map;
	char error[256] = "";

	if (!reads)
		return -ENOMEM;
	if (hb_server_map_from_config(&map, config, error) != 0) {
		hb_log(HB_LOG_ERROR, "shard_map_refused", "error=\"%s\"", error);
		free(reads);
		return -EINVAL;
	}
	reads->config = config;
	reads->server_count = map.server_count;
	for (uint32_t i = 0; i < map.server_count; i++) {
		place_open(reads, &reads->server[i], &map.server[i], &map.server[i].primary);
		place_open(reads, &reads->replica[i], &map.server[i], &map.server[i].replica);
	}
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		atomic_store(&reads->owner[i], map.owner[i]);
	*out = reads;
	return 0;
}

static void
disconnect(struct connection *connection)
{
	hb_db_close(connection->db);
	memset(connection, 0, sizeof(*connection));
}

static void
place_close(struct place *place)
{
	for (int i = 0; i < HB_READS_CONNECTIONS; i++) {
		HB_ASSERT(!place->slot[i].taken);
		disconnect(&place->slot[i].connection);
	}
	pthread_cond_destroy(&place->returned);
	pthread_mutex_destroy(&place->lock);
}

void
hb_reads_destroy(struct hb_reads *reads)
{
	if (!reads)
		return;
	for (uint32_t i = 0; i < reads->server_count; i++) {
		place_close(&reads->server[i]);
		place_close(&reads->replica[i]);
	}
	free(reads);
}

static struct hb_read *
take(struct place *place)
{
	struct timespec until;
	struct hb_read *taken = NULL;
	int waited = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HB_READS_WAIT_MS / 1000;
	pthread_mutex_lock(&place->lock);
	while (!taken && waited == 0) {
		for (int i = 0; i < HB_READS_CONNECTIONS && !taken; i++) {
			if (!place->slot[i].taken)
				taken = &place->slot[i];
		}
		if (!taken)
			waited = pthread_cond_timedwait(&place->returned, &place->lock, &until);
	}
	if (taken) {
		taken->taken = true;
		taken->broken = false;
	}
	pthread_mutex_unlock(&place->lock);
	return taken;
}

static void
give_back(struct hb_read *read)
{
	struct place *place = read->place;

	if (read->broken)
		disconnect(&read->connection);
	pthread_mutex_lock(&place->lock);
	read->taken = false;
	pthread_cond_signal(&place->returned);
	pthread_mutex_unlock(&place->lock);
}

/* ---- one connection ---- */

static int
connect_now(struct hb_read *read, char error[HB_READS_ERROR_BYTES])
{
	const struct hb_config *config = &read->place->config;
	char use[HB_CONFIG_TEXT_MAX + 8];
	int result;

	if (strpbrk(config->mysql_database, "`\\")) {
		snprintf(error, HB_READS_ERROR_BYTES, "mysql.database is not a plain name");
		return -EINVAL;
	}
	result = hb_db_open(
		&read->connection.db, config, config->mysql_control_user, CONNECT_TIMEOUT_S, error);
	if (result != 0)
		return result;
	snprintf(use, sizeof(use), "USE `%s`", config->mysql_database);
	result = hb_db_execute(read->connection.db, use, error);
	if (result == 0)
		result = hb_db_execute(read->connection.db,
			"SET SESSION max_statement_time = " STATEMENT_SECONDS_MAX, error);
	if (result != 0)
		disconnect(&read->connection);
	return result;
}

static int
prepared(struct hb_read *read, enum hb_read_query number, uint32_t shard,
	struct hb_db_statement **statement, char error[HB_READS_ERROR_BYTES])
{
	struct hb_db_statement **kept = &read->connection.statement[number][shard];
	const struct query *query = &queries[number];
	char sql[SQL_BYTES_MAX];
	char *place;
	int result;

	if (!*kept) {
		HB_ASSERT(strlen(query->sql) < sizeof(sql));
		memcpy(sql, query->sql, strlen(query->sql) + 1);
		for (place = sql; (place = strstr(place, "_NN")) != NULL;) {
			place[1] = (char)('0' + shard / 10);
			place[2] = (char)('0' + shard % 10);
		}
		result = hb_db_prepare(read->connection.db, sql, query->in, query->in_count,
			query->out, query->out_count, kept, error);
		if (result != 0)
			return result;
	}
	*statement = *kept;
	return 0;
}

int
hb_read_query(struct hb_read *read, enum hb_read_query query, uint32_t shard,
	const struct hb_read_parameters *parameters, void *row,
	int (*each)(void *context, const void *row), void *context,
	char error[HB_READS_ERROR_BYTES])
{
	struct hb_db_statement *statement = NULL;
	int result = prepared(read, query, shard, &statement, error);

	HB_ASSERT(shard == read->shard);
	if (result == 0)
		result = hb_db_query(statement, parameters, row, each, context, error);
	if (result < 0) {
		read->broken = true;
		atomic_fetch_add_explicit(&read->place->reads->failed, 1, memory_order_relaxed);
	}
	return result;
}

static int
position_min(void *context, const void *row)
{
	struct hb_read *read = context;
	const struct position_row *position = row;

	if (position->seq < read->as_of_seq) {
		read->as_of_seq = position->seq;
		read->position_ns = position->at_ns;
	}
	read->has_shard = position->shard != 0;
	return 0;
}

/* Open a snapshot, see at which sequence it stands and whether the shard is there. */
static int
snapshot(struct hb_read *read, char error[HB_READS_ERROR_BYTES])
{
	struct position_row row;
	int result = hb_db_execute(read->connection.db,
		"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);

	read->as_of_seq = UINT64_MAX;
	read->position_ns = 0;
	read->has_shard = false;
	if (result == 0)
		result = hb_read_query(
			read, HB_READ_POSITION, read->shard, NULL, &row, position_min, read, error);
	if (result != 0) {
		read->broken = true;
		return result;
	}
	if (read->as_of_seq == UINT64_MAX)
		read->as_of_seq = 0;
	return 0;
}

/* A kept connection may have died since; then once more with a new one. */
static int
first_snapshot(struct hb_read *read, char error[HB_READS_ERROR_BYTES])
{
	int result;

	if (read->connection.db && snapshot(read, error) == 0)
		return 0;
	disconnect(&read->connection);
	read->broken = false;
	result = connect_now(read, error);
	return result != 0 ? result : snapshot(read, error);
}

/* The reason goes into the log when MySQL goes away; callers hear only that it is away. */
static void
note(struct place *place, int result, const char *error)
{
	bool away = result != 0;

	if (atomic_exchange(&place->away, away) == away)
		return;
	if (away)
		hb_log(HB_LOG_WARN, "mysql_away", "name=%s error=\"%s\"", place->name, error);
	else
		hb_log(HB_LOG_INFO, "mysql_back", "name=%s failed=%lu", place->name,
			(unsigned long)hb_reads_failed(place->reads));
}

/* A snapshot of a shard at one place, wherever it stands. */
static int
begin_at(
	struct place *place, uint32_t shard, struct hb_read **out, char error[HB_READS_ERROR_BYTES])
{
	struct hb_read *read = take(place);
	int result;

	if (!read) {
		snprintf(error, HB_READS_ERROR_BYTES, "all connections to MySQL are in use");
		return -EBUSY;
	}
	read->shard = shard;
	result = first_snapshot(read, error);
	note(place, result, error);
	if (result != 0) {
		read->broken = true;
		give_back(read);
		return result;
	}
	*out = read;
	return 0;
}

/* @return 0 when the shard is at this server; -ENOENT when it is not */
static int
begin_at_server(struct hb_reads *reads, uint32_t server, uint32_t shard, struct hb_read **out,
	char error[HB_READS_ERROR_BYTES])
{
	int result = begin_at(&reads->server[server], shard, out, error);

	if (result != 0 || (*out)->has_shard) {
		if (result == 0)
			atomic_store(&reads->owner[shard], server);
		return result;
	}
	hb_read_end(*out);
	*out = NULL;
	snprintf(error, HB_READS_ERROR_BYTES, "no server has shard %u", shard);
	return -ENOENT;
}

/* The shard has moved, or its server was filled anew: it is where a server says it has it. */
static int
find_shard(struct hb_reads *reads, uint32_t not_at, uint32_t shard, struct hb_read **out,
	char error[HB_READS_ERROR_BYTES])
{
	int result = -ENOENT;

	for (uint32_t i = 0; i < reads->server_count; i++) {
		if (i == not_at)
			continue;
		result = begin_at_server(reads, i, shard, out, error);
		if (result == 0)
			return 0;
	}
	return result;
}

/* What a replica has is taken when it is fresh enough: how old may its position be? */
static int
begin_at_replica(struct hb_reads *reads, uint32_t shard, uint64_t min_seq, uint64_t age_ns_max,
	struct hb_read **out, char error[HB_READS_ERROR_BYTES])
{
	struct place *place = &reads->replica[atomic_load(&reads->owner[shard])];
	int result;

	if (!place->there || hb_mono_ns() < atomic_load(&place->pause_until_ns))
		return -ENOENT;
	result = begin_at(place, shard, out, error);
	if (result != 0) {
		atomic_store(&place->pause_until_ns, hb_mono_ns() + REPLICA_PAUSE_NS);
		return result;
	}
	if ((*out)->has_shard && (*out)->as_of_seq >= min_seq &&
		hb_wall_ns() <= (*out)->position_ns + age_ns_max) {
		atomic_fetch_add_explicit(&reads->from_replicas, 1, memory_order_relaxed);
		return 0;
	}
	hb_read_end(*out);
	*out = NULL;
	return -ENOENT;
}

static int
begin(struct hb_reads *reads, uint32_t shard, uint64_t min_seq, struct hb_read **out,
	char error[HB_READS_ERROR_BYTES])
{
	uint64_t age_ns_max = (uint64_t)reads->config->mysql_replica_lag_ms_max * UINT64_C(1000000);
	uint32_t server = atomic_load(&reads->owner[shard]);
	char ignored[HB_READS_ERROR_BYTES];
	int result;

	if (begin_at_replica(reads, shard, min_seq, age_ns_max, out, ignored) == 0)
		return 0;
	result = begin_at_server(reads, server, shard, out, error);
	if (result == -ENOENT)
		result = find_shard(reads, server, shard, out, error);
	/* better an old answer that says how old it is than none */
	if (result != 0 && begin_at_replica(reads, shard, 0, UINT64_MAX / 2, out, ignored) == 0)
		result = 0;
	return result;
}

int
hb_read_begin(struct hb_reads *reads, uint32_t shard, uint64_t min_seq, struct hb_read **out,
	char error[HB_READS_ERROR_BYTES])
{
	const struct timespec pause = {.tv_nsec = POSITION_AGAIN_MS * 1000000};
	uint64_t until_ns = hb_mono_ns() + HB_READS_WAIT_MS * UINT64_C(1000000);
	struct hb_read *read = NULL;
	int result;

	HB_ASSERT(shard < HB_PARTITION_COUNT);
	result = begin(reads, shard, min_seq, &read, error);
	while (result == 0 && read->as_of_seq < min_seq && hb_mono_ns() < until_ns) {
		nanosleep(&pause, NULL);
		result = snapshot(read, error);
		/* it moves away just now: the caller asks again, and finds it */
		if (result == 0 && !read->has_shard) {
			snprintf(error, HB_READS_ERROR_BYTES, "shard %u has moved", shard);
			result = -EBUSY;
		}
	}
	if (result != 0) {
		atomic_fetch_add_explicit(&reads->failed, 1, memory_order_relaxed);
		if (read) {
			read->broken = true;
			give_back(read);
		}
		return result;
	}
	*out = read;
	return 0;
}

void
hb_read_end(struct hb_read *read)
{
	char error[HB_READS_ERROR_BYTES];

	if (!read)
		return;
	if (!read->broken && hb_db_execute(read->connection.db, "COMMIT", error) != 0)
		read->broken = true;
	give_back(read);
}

uint64_t
hb_read_as_of_seq(const struct hb_read *read)
{
	return read->as_of_seq;
}

uint64_t
hb_reads_from_replicas(const struct hb_reads *reads)
{
	return atomic_load_explicit(&reads->from_replicas, memory_order_relaxed);
}

uint64_t
hb_reads_failed(const struct hb_reads *reads)
{
	return atomic_load_explicit(&reads->failed, memory_order_relaxed);
}
