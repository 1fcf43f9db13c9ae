/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See bare_client.h. One thread, one connection. All rows are in memory, cut into batches and
 * sorted before the clock starts. If it dies, the server rolls back; the second database stays.
 */
#include "perf/bare_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "persist/db.h"
#include "persist/map.h"
#include "persist/schema.h"
#include "shm/frame.h"
#include "shm/ids.h"

#define COUNT(array)	  (sizeof(array) / sizeof((array)[0]))
#define SQL_MAX		  512
#define ROWS_FIRST	  4096
#define CONNECT_TIMEOUT_S 10
#define STAND_IN_FROZEN	  "1000000000000" /* fen: what a sender has frozen before */

/* What is written in this order: three tables of rows, then changes. */
enum step {
	STEP_ORDER,
	STEP_CLAIM,
	STEP_FLOW,
	STEP_ACCOUNT, /* rows of accounts that a grab opened */
	STEP_PACKET_UPDATE,
	STEP_ACCOUNT_UPDATE,
	STEP_COUNT,
};

struct account_update {
	int64_t available_delta;
	int64_t frozen_delta;
	uint64_t version_delta;
	uint64_t account;
	uint8_t kind;
	uint8_t barred;
};

struct packet_update {
	int64_t left_delta;
	int64_t left_count_delta;
	int64_t refunded_delta;
	uint64_t packet;
	uint8_t state;
};

struct row_list {
	uint8_t *rows;
	size_t row_bytes;
	uint64_t count;
	uint64_t room;
};

/* An account of the ledger: its row when it is opened, and what a batch adds. */
struct account {
	uint64_t id;	 /* key */
	uint64_t batch;	 /* above 0: of its newest change, plus 1 */
	uint64_t change; /* index of it among the rows or the updates */
	bool opened;	 /* that change is its row */
};

struct packet {
	uint64_t id; /* key */
	uint64_t batch;
	uint64_t update;
};

struct bare {
	const struct hb_bare_client *options;
	struct hb_db *db;
	char *error;
	struct row_list lists[STEP_COUNT][HB_PARTITION_COUNT];
	struct hb_db_statement *statements[STEP_COUNT][HB_PARTITION_COUNT];
	uint64_t *ends[STEP_COUNT]
		      [HB_PARTITION_COUNT]; /* of each batch: index behind its last row */
	uint64_t batches;
	uint64_t seq_min, seq_max;
	uint64_t grabs;
};

static const struct hb_db_column account_columns[] = {
	HB_DB_COLUMN(HB_DB_I64, struct account_update, available_delta),
	HB_DB_COLUMN(HB_DB_I64, struct account_update, frozen_delta),
	HB_DB_COLUMN(HB_DB_U64, struct account_update, version_delta),
	HB_DB_COLUMN(HB_DB_U8, struct account_update, kind),
	HB_DB_COLUMN(HB_DB_U8, struct account_update, barred),
	HB_DB_COLUMN(HB_DB_U64, struct account_update, account),
};

static const struct hb_db_column packet_columns[] = {
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, left_delta),
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, left_count_delta),
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, refunded_delta),
	HB_DB_COLUMN(HB_DB_U8, struct packet_update, state),
	HB_DB_COLUMN(HB_DB_U64, struct packet_update, packet),
};

static const enum hb_table table_of[STEP_COUNT] = {
	[STEP_ORDER] = HB_TABLE_ORDER,
	[STEP_CLAIM] = HB_TABLE_CLAIM,
	[STEP_FLOW] = HB_TABLE_FLOW,
	[STEP_ACCOUNT] = HB_TABLE_ACCOUNT,
	[STEP_PACKET_UPDATE] = HB_TABLE_PACKET,
	[STEP_ACCOUNT_UPDATE] = HB_TABLE_ACCOUNT,
};

static uint64_t
seq_of(enum step step, const void *row)
{
	return step == STEP_ORDER   ? ((const struct hb_row_order *)row)->jseq
	       : step == STEP_CLAIM ? ((const struct hb_row_claim *)row)->jseq
	       : step == STEP_FLOW  ? ((const struct hb_row_flow *)row)->jseq
				    : ((const struct hb_row_account *)row)->opened_jseq;
}

static void *
list_add(struct row_list *list)
{
	if (list->count == list->room) {
		uint64_t room = list->room == 0 ? ROWS_FIRST : list->room * 2;
		void *grown = realloc(list->rows, room * list->row_bytes);

		if (grown == NULL)
			return NULL;
		list->rows = grown;
		list->room = room;
	}
	return list->rows + list->count++ * list->row_bytes;
}

static void *
list_at(const struct row_list *list, uint64_t index)
{
	return list->rows + index * list->row_bytes;
}

static int
no_memory(struct bare *b)
{
	snprintf(b->error, HB_DB_ERROR_BYTES, "no memory for the rows");
	return -ENOMEM;
}

/* ---- read ---- */

static int
take_row(void *context, const void *row)
{
	struct row_list *list = context;
	void *place = list_add(list);

	if (place == NULL)
		return -ENOMEM;
	memcpy(place, row, list->row_bytes);
	return 0;
}

/* Rows of one table that come from records above `after`, in the journal's order. */
static int
read_table(struct bare *b, enum step step, uint32_t partition)
{
	static const struct hb_db_column after[] = {{"after", HB_DB_U64, 0, sizeof(uint64_t)}};
	const struct hb_table_layout *layout = &hb_table_layouts[table_of[step]];
	const char *sequence = step == STEP_ACCOUNT ? "opened_jseq" : "jseq";
	struct row_list *list = &b->lists[step][partition];
	uint64_t row[512 / sizeof(uint64_t)] = {0};
	struct hb_db_statement *statement;
	char sql[HB_SQL_BYTES_MAX + SQL_MAX], select[HB_SQL_BYTES_MAX];
	int rc;

	HB_ASSERT(layout->row_bytes <= sizeof(row));
	hb_table_select_sql(table_of[step], partition, select);
	snprintf(sql, sizeof(sql), "%s WHERE %s > ? ORDER BY %s", select, sequence, sequence);
	rc = hb_db_prepare(
		b->db, sql, after, 1, layout->columns, layout->column_count, &statement, b->error);
	if (rc != 0)
		return rc;
	rc = hb_db_query(statement, &b->options->after, row, take_row, list, b->error);
	hb_db_release(statement);
	return rc == -ENOMEM ? no_memory(b) : rc;
}

static int
read_ledger(struct bare *b)
{
	char sql[SQL_MAX];
	int rc;

	snprintf(sql, sizeof(sql), "USE %s", b->options->from);
	rc = hb_db_execute(b->db, sql, b->error);
	b->seq_min = UINT64_MAX;
	for (uint32_t step = 0; step <= STEP_ACCOUNT; step++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			const struct row_list *list = &b->lists[step][p];

			rc = read_table(b, (enum step)step, p);
			if (list->count == 0)
				continue;
			uint64_t first = seq_of((enum step)step, list_at(list, 0));
			uint64_t last = seq_of((enum step)step, list_at(list, list->count - 1));

			b->seq_min = first < b->seq_min ? first : b->seq_min;
			b->seq_max = last > b->seq_max ? last : b->seq_max;
			b->grabs += step == STEP_ORDER ? list->count : 0;
		}
	}
	if (rc == 0 && b->grabs == 0) {
		snprintf(b->error, HB_DB_ERROR_BYTES, "%s has no orders above record %" PRIu64,
			b->options->from, b->options->after);
		return -ENOENT;
	}
	return rc;
}

/* ---- prepare ---- */

static uint64_t
batch_of(const struct bare *b, uint64_t seq)
{
	return (seq - b->seq_min) / b->options->records_per_commit;
}

/* Where each batch ends in a list that is in the journal's order. */
static int
cut_rows(struct bare *b, enum step step, uint32_t partition)
{
	const struct row_list *list = &b->lists[step][partition];
	uint64_t *ends = calloc(b->batches, sizeof(*ends));
	uint64_t at = 0;

	b->ends[step][partition] = ends;
	if (ends == NULL)
		return no_memory(b);
	for (uint64_t batch = 0; batch < b->batches; batch++) {
		while (at < list->count && batch_of(b, seq_of(step, list_at(list, at))) <= batch)
			at++;
		ends[batch] = at;
	}
	return 0;
}

/* One change of an account per batch: of its row when the batch opens it. */
static int
change_account(
	struct bare *b, struct hb_map *accounts, const struct hb_row_flow *flow, uint64_t batch)
{
	uint32_t p = hb_partition_of(flow->account);
	struct row_list *list = &b->lists[STEP_ACCOUNT_UPDATE][p];
	struct account *account = hb_map_get(accounts, flow->account);
	struct account_update *update;

	if (account == NULL)
		return -ENOMEM;
	if (account->batch == batch + 1 && account->opened) {
		struct hb_row_account *row = list_at(&b->lists[STEP_ACCOUNT][p], account->change);

		row->available_fen += flow->available_delta;
		row->frozen_fen += flow->frozen_delta;
		row->version++;
		return 0;
	}
	if (account->batch != batch + 1) {
		if (list_add(list) == NULL)
			return -ENOMEM;
		account->batch = batch + 1;
		account->opened = false;
		account->change = list->count - 1;
		*(struct account_update *)list_at(list, account->change) = (struct account_update){
			.account = flow->account, .kind = hb_rows_account_kind(flow->account)};
	}
	update = list_at(list, account->change);
	update->available_delta += flow->available_delta;
	update->frozen_delta += flow->frozen_delta;
	update->version_delta++;
	return 0;
}

static int
change_packet(
	struct bare *b, struct hb_map *packets, const struct hb_row_claim *claim, uint64_t batch)
{
	struct row_list *list = &b->lists[STEP_PACKET_UPDATE][hb_partition_of(claim->packet)];
	struct packet *packet = hb_map_get(packets, claim->packet);
	struct packet_update *update;

	if (packet == NULL)
		return -ENOMEM;
	if (packet->batch != batch + 1) {
		if (list_add(list) == NULL)
			return -ENOMEM;
		packet->batch = batch + 1;
		packet->update = list->count - 1;
		*(struct packet_update *)list_at(list, packet->update) =
			(struct packet_update){.packet = claim->packet, .state = HB_PACKET_OPEN};
	}
	update = list_at(list, packet->update);
	update->left_delta -= claim->amount_fen;
	update->left_count_delta--;
	return 0;
}

/* An account that a batch opens has its balance of that batch in its row; the rest are changes. */
static int
open_account(struct hb_map *accounts, struct hb_row_account *row, uint64_t index, uint64_t batch)
{
	struct account *account = hb_map_get(accounts, row->account);

	if (account == NULL)
		return -ENOMEM;
	account->batch = batch + 1;
	account->opened = true;
	account->change = index;
	row->available_fen = row->frozen_fen = 0;
	row->version = 0;
	return 0;
}

/* The changes of one partition, batch by batch. */
static int
prepare_changes(struct bare *b, uint32_t p, struct hb_map *accounts, struct hb_map *packets)
{
	uint64_t flow = 0, claim = 0, opened = 0;

	for (uint32_t step = STEP_PACKET_UPDATE; step < STEP_COUNT; step++) {
		b->ends[step][p] = calloc(b->batches, sizeof(uint64_t));
		if (b->ends[step][p] == NULL)
			return no_memory(b);
	}
	for (uint64_t batch = 0; batch < b->batches; batch++) {
		int rc = 0;

		for (; rc == 0 && opened < b->ends[STEP_ACCOUNT][p][batch]; opened++)
			rc = open_account(accounts, list_at(&b->lists[STEP_ACCOUNT][p], opened),
				opened, batch);
		for (; rc == 0 && flow < b->ends[STEP_FLOW][p][batch]; flow++)
			rc = change_account(
				b, accounts, list_at(&b->lists[STEP_FLOW][p], flow), batch);
		for (; rc == 0 && claim < b->ends[STEP_CLAIM][p][batch]; claim++)
			rc = change_packet(
				b, packets, list_at(&b->lists[STEP_CLAIM][p], claim), batch);
		if (rc != 0)
			return no_memory(b);
		b->ends[STEP_PACKET_UPDATE][p][batch] = b->lists[STEP_PACKET_UPDATE][p].count;
		b->ends[STEP_ACCOUNT_UPDATE][p][batch] = b->lists[STEP_ACCOUNT_UPDATE][p].count;
	}
	return 0;
}

static int
compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int
compare_pair(const void *a, const void *b)
{
	int first = compare_u64(a, b);

	return first != 0 ? first : compare_u64((const uint64_t *)a + 1, (const uint64_t *)b + 1);
}

static int
compare_order(const void *a, const void *b)
{
	return memcmp(a, b, HB_ROW_ORDER_NO_BYTES);
}

static int
compare_account_update(const void *a, const void *b)
{
	return compare_u64(&((const struct account_update *)a)->account,
		&((const struct account_update *)b)->account);
}

static int
compare_packet_update(const void *a, const void *b)
{
	return compare_u64(&((const struct packet_update *)a)->packet,
		&((const struct packet_update *)b)->packet);
}

/* By the key within each batch, as the applier does. */
static void
sort_batches(struct bare *b, uint32_t step, uint32_t partition)
{
	static int (*const compare[STEP_COUNT])(const void *, const void *) = {
		[STEP_ORDER] = compare_order,
		[STEP_CLAIM] = compare_pair,
		[STEP_FLOW] = compare_pair,
		[STEP_ACCOUNT] = compare_u64,
		[STEP_PACKET_UPDATE] = compare_packet_update,
		[STEP_ACCOUNT_UPDATE] = compare_account_update,
	};
	const struct row_list *list = &b->lists[step][partition];
	uint64_t first = 0;

	for (uint64_t batch = 0; batch < b->batches; batch++) {
		uint64_t end = b->ends[step][partition][batch];

		if (end > first)
			qsort(list_at(list, first), end - first, list->row_bytes, compare[step]);
		first = end;
	}
}

static int
prepare(struct bare *b)
{
	struct hb_map accounts, packets;
	int rc = 0;

	b->batches = batch_of(b, b->seq_max) + 1;
	hb_map_open(&accounts, sizeof(struct account));
	hb_map_open(&packets, sizeof(struct packet));
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
		for (uint32_t step = 0; step <= STEP_ACCOUNT && rc == 0; step++)
			rc = cut_rows(b, (enum step)step, p);
		if (rc == 0)
			rc = prepare_changes(b, p, &accounts, &packets);
		for (uint32_t step = 0; step < STEP_COUNT && rc == 0; step++)
			sort_batches(b, step, p);
	}
	hb_map_close(&accounts);
	hb_map_close(&packets);
	return rc;
}

/* ---- the second database ---- */

static int
execute(struct bare *b, const char *format, const char *into, const char *from, uint32_t partition)
{
	char sql[SQL_MAX], number[4];
	size_t length = 0;

	snprintf(number, sizeof(number), "%02u", partition);
	for (const char *at = format; *at != '\0'; at++) {
		const char *text = *at == '@'	? into
				   : *at == '$' ? from
				   : *at == '#' ? number
						: NULL;

		if (text == NULL)
			sql[length++] = *at;
		else
			length += (size_t)snprintf(sql + length, sizeof(sql) - length, "%s", text);
		HB_ASSERT(length < sizeof(sql) - 1);
	}
	sql[length] = '\0';
	return hb_db_execute(b->db, sql, b->error);
}

/*
 * Tables as the ledger's, with the accounts and packets that were there before the grabs. What an
 * earlier run wrote stays: a row costs the more the more rows there are.
 */
static int
make_tables(struct bare *b)
{
	static const char *const per_partition[] = {
		"CREATE TABLE IF NOT EXISTS @.order_# LIKE $.order_#",
		"CREATE TABLE IF NOT EXISTS @.claim_# LIKE $.claim_#",
		"CREATE TABLE IF NOT EXISTS @.flow_# LIKE $.flow_#",
		"CREATE TABLE IF NOT EXISTS @.account_# LIKE $.account_#",
		"CREATE TABLE IF NOT EXISTS @.packet_# LIKE $.packet_#",
		"INSERT INTO @.packet_# SELECT * FROM $.packet_# "
		"WHERE packet NOT IN (SELECT packet FROM @.packet_#)",
		"UPDATE @.packet_# SET left_fen = total_fen, left_count = share_count, state = 1",
	};
	const char *into = b->options->into, *from = b->options->from;
	char sql[SQL_MAX];
	int rc = execute(b, "CREATE DATABASE IF NOT EXISTS @", into, from, 0);

	if (rc == 0)
		rc = execute(b, "CREATE TABLE IF NOT EXISTS @.jpos LIKE $.jpos", into, from, 0);
	if (rc == 0)
		rc = execute(b, "REPLACE INTO @.jpos SELECT * FROM $.jpos LIMIT 1", into, from, 0);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
		for (size_t i = 0; i < COUNT(per_partition) && rc == 0; i++)
			rc = execute(b, per_partition[i], into, from, p);
		snprintf(sql, sizeof(sql),
			"INSERT INTO @.account_# SELECT account, available_fen, "
			"frozen_fen + " STAND_IN_FROZEN ", version, kind, barred, opened_jseq "
			"FROM $.account_# WHERE opened_jseq <= %" PRIu64
			" AND account NOT IN (SELECT account FROM @.account_#)",
			b->options->after);
		if (rc == 0)
			rc = execute(b, sql, into, from, p);
	}
	return rc == 0 ? execute(b, "USE @", into, from, 0) : rc;
}

static int
prepare_statements(struct bare *b)
{
	char sql[HB_SQL_BYTES_MAX];
	int rc = 0;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		for (uint32_t step = 0; step <= STEP_ACCOUNT && rc == 0; step++) {
			const struct hb_table_layout *layout = &hb_table_layouts[table_of[step]];

			hb_table_insert_sql(table_of[step], p, sql);
			rc = hb_db_prepare(b->db, sql, layout->columns, layout->column_count, NULL,
				0, &b->statements[step][p], b->error);
		}
		snprintf(sql, sizeof(sql),
			"UPDATE packet_%02u SET left_fen = left_fen + ?, "
			"left_count = CAST(left_count AS SIGNED) + ?, "
			"refunded_fen = refunded_fen + ?, state = ? WHERE packet = ?",
			p);
		if (rc == 0)
			rc = hb_db_prepare(b->db, sql, packet_columns, COUNT(packet_columns), NULL,
				0, &b->statements[STEP_PACKET_UPDATE][p], b->error);
		snprintf(sql, sizeof(sql),
			"UPDATE account_%02u SET available_fen = available_fen + ?, "
			"frozen_fen = frozen_fen + ?, version = version + ?, kind = ?, barred = ? "
			"WHERE account = ?",
			p);
		if (rc == 0)
			rc = hb_db_prepare(b->db, sql, account_columns, COUNT(account_columns),
				NULL, 0, &b->statements[STEP_ACCOUNT_UPDATE][p], b->error);
	}
	return rc;
}

/* ---- write ---- */

static int
write_step(struct bare *b, uint32_t step, uint32_t p, uint64_t batch)
{
	uint64_t first = batch == 0 ? 0 : b->ends[step][p][batch - 1];
	uint64_t count = b->ends[step][p][batch] - first;
	const struct row_list *list = &b->lists[step][p];
	uint64_t matched = 0;
	int rc;

	if (count == 0)
		return 0;
	rc = hb_db_bulk(b->statements[step][p], list_at(list, first), list->row_bytes,
		(uint32_t)count, &matched, b->error);
	if (rc == 0 && matched != count) {
		snprintf(b->error, HB_DB_ERROR_BYTES,
			"step %u, partition %u: %" PRIu64 " of %" PRIu64 " rows", step, p, matched,
			count);
		return -EPROTO;
	}
	return rc;
}

static int
write_batch(struct bare *b, uint64_t batch)
{
	int rc = hb_db_execute(b->db, "START TRANSACTION", b->error);

	if (rc == 0)
		rc = hb_db_execute(
			b->db, "UPDATE jpos SET seq = seq + 1, at_ns = at_ns + 1", b->error);
	for (uint32_t step = 0; step < STEP_COUNT; step++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++)
			rc = write_step(b, step, p, batch);
	return rc == 0 ? hb_db_execute(b->db, "COMMIT", b->error) : rc;
}

static int
run(struct bare *b)
{
	uint64_t begin_ns, ns, rows = 0;
	int rc;

	begin_ns = hb_mono_ns();
	for (uint64_t batch = 0; batch < b->batches; batch++) {
		rc = write_batch(b, batch);
		if (rc != 0)
			return rc;
	}
	ns = hb_mono_ns() - begin_ns;
	for (uint32_t step = 0; step < STEP_COUNT; step++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			rows += b->lists[step][p].count;
	printf("{\"grabs\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"commits\":%" PRIu64
	       ",\"records_per_commit\":%" PRIu64 ",\"seconds\":%.3f,\"rate_per_s\":%.1f}\n",
		b->grabs, rows, b->batches, b->options->records_per_commit, (double)ns / 1e9,
		(double)b->grabs * 1e9 / (double)(ns + 1));
	return 0;
}

static int
connect_server(struct bare *b)
{
	static struct hb_config config;
	int rc;

	snprintf(config.mysql_socket, sizeof(config.mysql_socket), "%s", b->options->socket);
	rc = hb_db_open(&b->db, &config, "root", CONNECT_TIMEOUT_S, b->error);
	return rc == 0 ? hb_db_check_durability(b->db, b->error) : rc;
}

int
hb_bare_client(const struct hb_bare_client *options, char error[256])
{
	static struct bare bare;
	static const size_t row_bytes[STEP_COUNT] = {sizeof(struct hb_row_order),
		sizeof(struct hb_row_claim), sizeof(struct hb_row_flow),
		sizeof(struct hb_row_account), sizeof(struct packet_update),
		sizeof(struct account_update)};
	int rc;

	bare.options = options;
	bare.error = error;
	for (uint32_t step = 0; step < STEP_COUNT; step++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			bare.lists[step][p].row_bytes = row_bytes[step];
	rc = connect_server(&bare);
	if (rc == 0)
		rc = read_ledger(&bare);
	if (rc == 0)
		rc = prepare(&bare);
	if (rc == 0)
		rc = make_tables(&bare);
	if (rc == 0)
		rc = prepare_statements(&bare);
	if (rc == 0)
		rc = run(&bare);
	hb_db_close(bare.db);
	for (uint32_t step = 0; step < STEP_COUNT; step++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
			free(bare.lists[step][p].rows);
			free(bare.ends[step][p]);
		}
	}
	return rc;
}
