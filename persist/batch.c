/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Gathers records, computes rows and balances, writes them in one transaction: see the header.
 *
 * Rows of each table are sorted by key before they are inserted, so that the server goes through
 * its tree in order. Order of work in hb_batch_write: origins of packets, rows, balances, then
 * BEGIN, position, inserts, updates, COMMIT.
 */
#include "persist/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "persist/map.h"
#include "persist/server_map.h"
#include "shm/ids.h"

#define KEYS_PER_SELECT	   256
#define EARLY_RECORD_BYTES (1u << 20)

/* A growing array of rows of one table. */
struct row_list {
	uint8_t *rows;
	uint32_t count;
	uint32_t room;
};

/* The kinds of statements; each exists per partition and is prepared when first needed. */
enum statement_kind {
	INSERT_FIRST = 0, /* + enum hb_table */
	UPDATE_ACCOUNT = HB_TABLE_COUNT,
	UPDATE_PACKET,
	UPDATE_ORDER,
	SELECT_ACCOUNTS,
	SELECT_PACKETS,
	STATEMENT_COUNT,
};

struct cached_account {
	uint64_t account; /* key */
	int64_t available_fen;
	int64_t frozen_fen;
	uint64_t opened_jseq;	 /* set when the row is not stored yet */
	int64_t available_delta; /* of this batch */
	int64_t frozen_delta;
	uint64_t version_delta;
	uint8_t kind;
	uint8_t barred;
	bool loaded; /* was looked for in MySQL */
	bool stored; /* has a row in MySQL */
	bool dirty;
};

struct cached_packet {
	uint64_t packet; /* key */
	uint64_t sender; /* 0: not known yet */
	uint64_t order_stamp;
	int64_t left_delta; /* of this batch */
	int64_t left_count_delta;
	int64_t refunded_delta;
	uint8_t state;
	bool dirty;
};

/* Rows of the UPDATE statements. */
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
struct order_update {
	char order_no[HB_ROW_ORDER_NO_BYTES];
	uint32_t number; /* in the batch: the last one of an order holds */
	uint8_t state;
};
struct position_update {
	uint64_t seq;
	uint64_t epoch;
	uint8_t chain[32];
	uint64_t at_ns;
	uint8_t stream[16];
	uint64_t from_seq;
};

/* A list of u64 that never becomes longer than its room. */
struct key_list {
	uint64_t *keys;
	uint32_t count;
	uint32_t room;
};

struct hb_batch {
	struct hb_db *db; /* borrowed */
	struct hb_db_statement *statements[STATEMENT_COUNT][HB_PARTITION_COUNT];
	struct hb_db_statement *move_position;
	uint32_t node;
	uint32_t shards; /* a bit per shard that this server has */

	uint8_t *records; /* back to back */
	size_t record_bytes;
	size_t record_room;
	uint32_t record_count;
	uint64_t first_seq;

	struct hb_map accounts;
	struct hb_map packets;
	struct key_list dirty_accounts;
	struct key_list dirty_packets;
	struct key_list missing; /* to be looked up; sorted out by partition */

	struct row_list inserts[HB_TABLE_COUNT][HB_PARTITION_COUNT];
	struct row_list order_updates[HB_PARTITION_COUNT];
};

static struct hb_db_column key_columns[KEYS_PER_SELECT];

static const struct hb_db_column account_update_columns[] = {
	HB_DB_COLUMN(HB_DB_I64, struct account_update, available_delta),
	HB_DB_COLUMN(HB_DB_I64, struct account_update, frozen_delta),
	HB_DB_COLUMN(HB_DB_U64, struct account_update, version_delta),
	HB_DB_COLUMN(HB_DB_U8, struct account_update, kind),
	HB_DB_COLUMN(HB_DB_U8, struct account_update, barred),
	HB_DB_COLUMN(HB_DB_U64, struct account_update, account),
};
static const struct hb_db_column packet_update_columns[] = {
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, left_delta),
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, left_count_delta),
	HB_DB_COLUMN(HB_DB_I64, struct packet_update, refunded_delta),
	HB_DB_COLUMN(HB_DB_U8, struct packet_update, state),
	HB_DB_COLUMN(HB_DB_U64, struct packet_update, packet),
};
static const struct hb_db_column order_update_columns[] = {
	HB_DB_COLUMN(HB_DB_U8, struct order_update, state),
	HB_DB_COLUMN(HB_DB_TEXT, struct order_update, order_no),
};
static const struct hb_db_column position_update_columns[] = {
	HB_DB_COLUMN(HB_DB_U64, struct position_update, seq),
	HB_DB_COLUMN(HB_DB_U64, struct position_update, epoch),
	HB_DB_COLUMN(HB_DB_BYTES, struct position_update, chain),
	HB_DB_COLUMN(HB_DB_U64, struct position_update, at_ns),
	HB_DB_COLUMN(HB_DB_BYTES, struct position_update, stream),
	HB_DB_COLUMN(HB_DB_U64, struct position_update, from_seq),
	HB_DB_COLUMN(HB_DB_U64, struct position_update, epoch),
};
static const struct hb_db_column packet_origin_columns[] = {
	HB_DB_COLUMN(HB_DB_U64, struct hb_packet_origin, packet),
	HB_DB_COLUMN(HB_DB_U64, struct hb_packet_origin, sender),
	HB_DB_COLUMN(HB_DB_U64, struct hb_packet_origin, order_stamp),
};
#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

static int
out_of_memory(char error[HB_DB_ERROR_BYTES])
{
	snprintf(error, HB_DB_ERROR_BYTES, "out of memory");
	return -ENOMEM;
}

/* ---- memory ---- */

int
hb_batch_create(struct hb_batch **batch)
{
	struct hb_batch *b = calloc(1, sizeof(*b));

	*batch = b;
	if (b == NULL)
		return -ENOMEM;
	b->shards = HB_ALL_SHARDS;
	for (uint32_t i = 0; i < KEYS_PER_SELECT; i++)
		key_columns[i] = (struct hb_db_column){
			"key", HB_DB_U64, i * (uint32_t)sizeof(uint64_t), sizeof(uint64_t)};
	hb_map_open(&b->accounts, sizeof(struct cached_account));
	hb_map_open(&b->packets, sizeof(struct cached_packet));
	return 0;
}

void
hb_batch_destroy(struct hb_batch *b)
{
	if (b == NULL)
		return;
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
			free(b->inserts[t][p].rows);
		free(b->order_updates[p].rows);
	}
	hb_map_close(&b->accounts);
	hb_map_close(&b->packets);
	free(b->dirty_accounts.keys);
	free(b->dirty_packets.keys);
	free(b->missing.keys);
	free(b->records);
	free(b);
}

static void
drop_rows(struct hb_batch *b)
{
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
			b->inserts[t][p].count = 0;
		b->order_updates[p].count = 0;
	}
	b->record_bytes = 0;
	b->record_count = 0;
	b->dirty_accounts.count = 0;
	b->dirty_packets.count = 0;
	b->missing.count = 0;
}

void
hb_batch_forget(struct hb_batch *b)
{
	drop_rows(b);
	hb_map_clear(&b->accounts);
	hb_map_clear(&b->packets);
}

void
hb_batch_connect(struct hb_batch *b, struct hb_db *db)
{
	hb_batch_forget(b);
	memset(b->statements, 0, sizeof(b->statements));
	b->move_position = NULL;
	b->db = db;
}

void
hb_batch_shards(struct hb_batch *b, uint32_t shards)
{
	HB_ASSERT(b->db == NULL || shards == b->shards);
	b->shards = shards;
}

/* Does this server have the rows of an account or packet? */
static bool
has(const struct hb_batch *b, uint64_t id)
{
	return (b->shards >> hb_partition_of(id) & 1) != 0;
}

void
hb_batch_node(struct hb_batch *b, uint32_t node)
{
	b->node = node;
}

uint32_t
hb_batch_record_count(const struct hb_batch *b)
{
	return b->record_count;
}

/* Room for `bytes` more at `used`; doubles. */
static int
reserve(uint8_t **memory, size_t used, size_t bytes, size_t *room)
{
	size_t wanted = *room == 0 ? EARLY_RECORD_BYTES : *room;
	uint8_t *larger;

	if (used + bytes <= *room)
		return 0;
	while (wanted < used + bytes)
		wanted *= 2;
	larger = realloc(*memory, wanted);
	if (larger == NULL)
		return -ENOMEM;
	*memory = larger;
	*room = wanted;
	return 0;
}

bool
hb_batch_add(struct hb_batch *b, const struct hb_record *record, uint64_t seq)
{
	if (b->record_count >= HB_BATCH_RECORDS_MAX ||
		b->record_bytes + record->length > HB_BATCH_BYTES_MAX ||
		reserve(&b->records, b->record_bytes, record->length, &b->record_room) != 0)
		return false;
	if (b->record_count == 0)
		b->first_seq = seq;
	HB_ASSERT(seq == b->first_seq + b->record_count);
	memcpy(b->records + b->record_bytes, record, record->length);
	b->record_bytes += record->length;
	b->record_count++;
	return true;
}

static void *
list_add(struct row_list *list, uint32_t row_bytes)
{
	if (list->count == list->room) {
		uint32_t room = list->room == 0 ? 256 : list->room * 2;
		uint8_t *larger = realloc(list->rows, (size_t)room * row_bytes);

		if (larger == NULL)
			return NULL;
		list->rows = larger;
		list->room = room;
	}
	return list->rows + (size_t)list->count++ * row_bytes;
}

static int
key_add(struct key_list *list, uint64_t key)
{
	if (list->count == list->room) {
		uint32_t room = list->room == 0 ? 1024 : list->room * 2;
		uint64_t *larger = realloc(list->keys, room * sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		list->keys = larger;
		list->room = room;
	}
	list->keys[list->count++] = key;
	return 0;
}

/* ---- statements ---- */

static int
statement(struct hb_batch *b, enum statement_kind kind, uint32_t partition,
	struct hb_db_statement **found, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement **s = &b->statements[kind][partition];
	const struct hb_table_layout *accounts = &hb_table_layouts[HB_TABLE_ACCOUNT];
	char sql[HB_SQL_BYTES_MAX];
	size_t length;
	int rc = 0;

	if (*s != NULL) {
		*found = *s;
		return 0;
	}
	switch (kind) {
	case UPDATE_ACCOUNT:
		snprintf(sql, sizeof(sql),
			"UPDATE account_%02u SET available_fen = available_fen + ?, "
			"frozen_fen = frozen_fen + ?, version = version + ?, kind = ?, barred = ? "
			"WHERE account = ?",
			partition);
		rc = hb_db_prepare(b->db, sql, account_update_columns,
			COUNT(account_update_columns), NULL, 0, s, error);
		break;
	case UPDATE_PACKET:
		snprintf(sql, sizeof(sql),
			"UPDATE packet_%02u SET left_fen = left_fen + ?, "
			"left_count = CAST(left_count AS SIGNED) + ?, "
			"refunded_fen = refunded_fen + ?, state = ? WHERE packet = ?",
			partition);
		rc = hb_db_prepare(b->db, sql, packet_update_columns, COUNT(packet_update_columns),
			NULL, 0, s, error);
		break;
	case UPDATE_ORDER:
		snprintf(sql, sizeof(sql), "UPDATE order_%02u SET state = ? WHERE order_no = ?",
			partition);
		rc = hb_db_prepare(b->db, sql, order_update_columns, COUNT(order_update_columns),
			NULL, 0, s, error);
		break;
	case SELECT_ACCOUNTS:
	case SELECT_PACKETS:
		if (kind == SELECT_ACCOUNTS)
			hb_table_select_sql(HB_TABLE_ACCOUNT, partition, sql);
		else
			snprintf(sql, sizeof(sql),
				"SELECT packet, sender, order_stamp FROM %s_%02u",
				(b->shards >> partition & 1) != 0 ? "packet" : "origin", partition);
		length = strlen(sql);
		length += (size_t)snprintf(sql + length, sizeof(sql) - length, " WHERE %s IN (?",
			kind == SELECT_ACCOUNTS ? "account" : "packet");
		for (uint32_t i = 1; i < KEYS_PER_SELECT; i++)
			length += (size_t)snprintf(sql + length, sizeof(sql) - length, ", ?");
		snprintf(sql + length, sizeof(sql) - length, ")");
		rc = hb_db_prepare(b->db, sql, key_columns, KEYS_PER_SELECT,
			kind == SELECT_ACCOUNTS ? accounts->columns : packet_origin_columns,
			kind == SELECT_ACCOUNTS ? accounts->column_count
						: COUNT(packet_origin_columns),
			s, error);
		break;
	default:
		hb_table_insert_sql((enum hb_table)kind, partition, sql);
		rc = hb_db_prepare(b->db, sql, hb_table_layouts[kind].columns,
			hb_table_layouts[kind].column_count, NULL, 0, s, error);
		break;
	}
	*found = *s;
	return rc;
}

/* ---- what MySQL knows already ---- */

static int
keep_account(void *context, const void *row)
{
	struct hb_batch *b = context;
	const struct hb_row_account *stored = row;
	struct cached_account *account = hb_map_find(&b->accounts, stored->account);

	HB_ASSERT(account != NULL);
	account->available_fen = stored->available_fen;
	account->frozen_fen = stored->frozen_fen;
	account->kind = stored->kind;
	account->barred = stored->barred;
	account->opened_jseq = stored->opened_jseq;
	account->stored = true;
	return 0;
}

static int
keep_packet(void *context, const void *row)
{
	struct hb_batch *b = context;
	const struct hb_packet_origin *stored = row;
	struct cached_packet *packet = hb_map_find(&b->packets, stored->packet);

	HB_ASSERT(packet != NULL);
	packet->sender = stored->sender;
	packet->order_stamp = stored->order_stamp;
	return 0;
}

/* Look up some keys of one partition; unused places repeat the last key. */
static int
look_up_some(struct hb_batch *b, enum statement_kind kind, uint32_t partition,
	uint64_t keys[KEYS_PER_SELECT], uint32_t count, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *select;
	struct hb_row_account account;
	struct hb_packet_origin origin;
	int rc;

	if (count == 0)
		return 0;
	for (uint32_t i = count; i < KEYS_PER_SELECT; i++)
		keys[i] = keys[count - 1];
	rc = statement(b, kind, partition, &select, error);
	if (rc != 0)
		return rc;
	if (kind == SELECT_ACCOUNTS)
		return hb_db_query(select, keys, &account, keep_account, b, error);
	return hb_db_query(select, keys, &origin, keep_packet, b, error);
}

/* Look up b->missing and empty it. */
static int
look_up_missing(struct hb_batch *b, enum statement_kind kind, char error[HB_DB_ERROR_BYTES])
{
	uint64_t keys[KEYS_PER_SELECT];
	int rc = 0;

	for (uint32_t p = 0; b->missing.count > 0 && p < HB_PARTITION_COUNT && rc == 0; p++) {
		uint32_t count = 0;

		for (uint32_t i = 0; i < b->missing.count && rc == 0; i++) {
			if (hb_partition_of(b->missing.keys[i]) != p)
				continue;
			keys[count++] = b->missing.keys[i];
			if (count == KEYS_PER_SELECT) {
				rc = look_up_some(b, kind, p, keys, count, error);
				count = 0;
			}
		}
		if (rc == 0)
			rc = look_up_some(b, kind, p, keys, count, error);
	}
	b->missing.count = 0;
	return rc;
}

static const struct hb_record *
record_at(const struct hb_batch *b, size_t offset)
{
	return (const struct hb_record *)(const void *)(b->records + offset);
}

/* The packet whose origin the rows on this server need; 0 when none, or no rows are here. */
static uint64_t
packet_needed(const struct hb_batch *b, const struct hb_record *record)
{
	uint64_t needed = hb_rows_packet_needed(record);

	if (needed == 0 || has(b, needed))
		return needed;
	if (record->type == HB_RECORD_GRAB &&
		has(b, ((const struct hb_record_grab *)(const void *)record)->user))
		return needed;
	return 0;
}

/* Know sender and send order of every packet that the records name. */
static int
find_packets(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	for (size_t at = 0; at < b->record_bytes; at += record_at(b, at)->length) {
		const struct hb_record *record = record_at(b, at);
		uint64_t needed = packet_needed(b, record);

		if (record->type == HB_RECORD_PACKET_CREATE) {
			const struct hb_record_packet_create *r = (const void *)record;
			struct cached_packet *packet = hb_map_get(&b->packets, r->packet);

			if (packet == NULL)
				return out_of_memory(error);
			packet->sender = r->sender;
			packet->order_stamp = r->order_stamp;
		} else if (needed != 0 && hb_map_find(&b->packets, needed) == NULL) {
			if (hb_map_get(&b->packets, needed) == NULL ||
				key_add(&b->missing, needed) != 0)
				return out_of_memory(error);
		}
	}
	return look_up_missing(b, SELECT_PACKETS, error);
}

/* ---- records -> rows ---- */

static int
poison(const struct hb_record *record, uint64_t seq, const char *why, char error[HB_DB_ERROR_BYTES])
{
	snprintf(error, HB_DB_ERROR_BYTES, "record %lu (%s): %s", (unsigned long)seq,
		hb_record_type_name(record->type), why);
	return -EBADMSG;
}

static int
add_row(struct hb_batch *b, enum hb_table table, uint32_t partition, const void *row)
{
	uint32_t bytes = hb_table_layouts[table].row_bytes;
	void *place = list_add(&b->inserts[table][partition], bytes);

	if (place == NULL)
		return -ENOMEM;
	memcpy(place, row, bytes);
	return 0;
}

/* An account that this batch changes; looked up before balances are computed. */
static int
touch_account(struct hb_batch *b, uint64_t id)
{
	struct cached_account *account = hb_map_get(&b->accounts, id);

	if (account == NULL)
		return -ENOMEM;
	if (!account->loaded) {
		account->loaded = true;
		account->kind = hb_rows_account_kind(id);
		if (key_add(&b->missing, id) != 0)
			return -ENOMEM;
	}
	if (account->dirty)
		return 0;
	account->dirty = true;
	return key_add(&b->dirty_accounts, id);
}

static int
touch_packet(struct hb_batch *b, const struct hb_packet_change *change)
{
	struct cached_packet *packet = hb_map_find(&b->packets, change->packet);

	HB_ASSERT(packet != NULL);
	packet->left_delta += change->left_fen;
	packet->left_count_delta += change->left_count;
	packet->refunded_delta += change->refunded_fen;
	packet->state = change->state;
	if (packet->dirty)
		return 0;
	packet->dirty = true;
	return key_add(&b->dirty_packets, change->packet);
}

static int
touch_order(struct hb_batch *b, const struct hb_rows *rows)
{
	uint32_t partition = hb_partition_of(rows->order_change.account);
	struct order_update *update =
		list_add(&b->order_updates[partition], sizeof(struct order_update));

	if (update == NULL)
		return -ENOMEM;
	memcpy(update->order_no, rows->order_change.order_no, HB_ROW_ORDER_NO_BYTES);
	update->state = rows->order_change.state;
	update->number = b->order_updates[partition].count;
	return 0;
}

/* The packet itself, or what is to be known here of a packet of another server. */
static int
add_packet(struct hb_batch *b, const struct hb_row_packet *packet)
{
	const struct hb_row_origin origin = {
		packet->packet, packet->sender, packet->order_stamp, packet->jseq};
	uint32_t partition = hb_partition_of(packet->packet);

	if (has(b, packet->packet))
		return add_row(b, HB_TABLE_PACKET, partition, packet);
	return add_row(b, HB_TABLE_ORIGIN, partition, &origin);
}

/* Add the rows of one record; balances come later. */
static int
add_rows(struct hb_batch *b, const struct hb_rows *rows)
{
	int rc = 0;

	for (uint32_t i = 0; i < rows->order_count && rc == 0; i++)
		if (has(b, rows->order[i].account))
			rc = add_row(b, HB_TABLE_ORDER, hb_partition_of(rows->order[i].account),
				&rows->order[i]);
	for (uint32_t i = 0; i < rows->flow_count && rc == 0; i++)
		if (has(b, rows->flow[i].account))
			rc = touch_account(b, rows->flow[i].account);
	if (rc == 0 && rows->claim_count > 0 && has(b, rows->claim.packet))
		rc = add_row(b, HB_TABLE_CLAIM, hb_partition_of(rows->claim.packet), &rows->claim);
	if (rc == 0 && rows->packet_count > 0)
		rc = add_packet(b, &rows->packet);
	if (rc == 0 && rows->packet_change.packet != 0 && has(b, rows->packet_change.packet))
		rc = touch_packet(b, &rows->packet_change);
	if (rc == 0 && rows->order_change.account != 0 && has(b, rows->order_change.account))
		rc = touch_order(b, rows);
	if (rc == 0 && rows->account_event.account != 0 && has(b, rows->account_event.account))
		rc = touch_account(b, rows->account_event.account);
	return rc;
}

/* Rows of a record of this batch, whose packet was found before if any of them are here. */
static const char *
rows_of(struct hb_batch *b, const struct hb_record *record, uint64_t seq, struct hb_rows *rows)
{
	uint64_t needed = packet_needed(b, record);
	struct hb_packet_origin origin = {0};

	if (record->type == HB_RECORD_EPOCH_START)
		b->node = ((const struct hb_record_epoch_start *)(const void *)record)->node;
	if (needed == 0 && hb_rows_packet_needed(record) != 0) {
		memset(rows, 0, sizeof(*rows));
		return NULL;
	}
	if (needed != 0) {
		const struct cached_packet *packet = hb_map_find(&b->packets, needed);

		HB_ASSERT(packet != NULL);
		if (packet->sender == 0)
			return "its packet has no row in MySQL: rows are missing there";
		origin = (struct hb_packet_origin){needed, packet->sender, packet->order_stamp};
	}
	return hb_rows_of(record, seq, b->node, &origin, rows);
}

/* Everything but the flows, whose balances need the accounts that are found out here. */
static int
gather_rows(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	uint64_t seq = b->first_seq;
	struct hb_rows rows;

	for (size_t at = 0; at < b->record_bytes; at += record_at(b, at)->length, seq++) {
		const char *why = rows_of(b, record_at(b, at), seq, &rows);

		if (why != NULL)
			return poison(record_at(b, at), seq, why, error);
		if (add_rows(b, &rows) != 0)
			return out_of_memory(error);
	}
	return look_up_missing(b, SELECT_ACCOUNTS, error);
}

static void
open_account(struct cached_account *account, uint64_t seq)
{
	if (!account->stored && account->opened_jseq == 0)
		account->opened_jseq = seq;
}

/* Move an account's balance by a flow, and note the balance in the flow. */
static bool
apply_flow(struct hb_batch *b, struct hb_row_flow *flow)
{
	struct cached_account *account = hb_map_find(&b->accounts, flow->account);

	HB_ASSERT(account != NULL);
	HB_ASSERT(account->dirty);
	if (__builtin_add_overflow(
		    account->available_fen, flow->available_delta, &account->available_fen) ||
		__builtin_add_overflow(
			account->frozen_fen, flow->frozen_delta, &account->frozen_fen))
		return false;
	open_account(account, flow->jseq);
	account->available_delta += flow->available_delta;
	account->frozen_delta += flow->frozen_delta;
	account->version_delta++;
	flow->available_after = account->available_fen;
	flow->frozen_after = account->frozen_fen;
	return true;
}

static void
apply_account_event(struct hb_batch *b, const struct hb_rows *rows, uint64_t seq)
{
	struct cached_account *account = hb_map_find(&b->accounts, rows->account_event.account);

	if (account == NULL)
		return;
	open_account(account, seq);
	account->version_delta++;
	if (rows->account_event.event == HB_ACCOUNT_OPENED)
		account->kind = rows->account_event.kind;
	else
		account->barred = rows->account_event.event == HB_ACCOUNT_BARRED;
}

/* The flows, in journal order, with the balances after each. */
static int
gather_flows(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	uint64_t seq = b->first_seq;
	struct hb_rows rows;

	for (size_t at = 0; at < b->record_bytes; at += record_at(b, at)->length, seq++) {
		const char *why = rows_of(b, record_at(b, at), seq, &rows);

		HB_ASSERT(why == NULL);
		if (rows.account_event.account != 0)
			apply_account_event(b, &rows, seq);
		for (uint32_t i = 0; i < rows.flow_count; i++) {
			struct hb_row_flow *flow = &rows.flow[i];

			if (!has(b, flow->account))
				continue;
			if (!apply_flow(b, flow))
				return poison(record_at(b, at), seq, "a balance overflows", error);
			if (add_row(b, HB_TABLE_FLOW, hb_partition_of(flow->account), flow) != 0)
				return out_of_memory(error);
		}
	}
	return 0;
}

/* Accounts that have no row yet are inserted with their balances. */
static int
gather_new_accounts(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	for (uint32_t i = 0; i < b->dirty_accounts.count; i++) {
		uint64_t id = b->dirty_accounts.keys[i];
		const struct cached_account *account = hb_map_find(&b->accounts, id);
		const struct hb_row_account row = {
			.account = id,
			.available_fen = account->available_fen,
			.frozen_fen = account->frozen_fen,
			.version = account->version_delta,
			.opened_jseq = account->opened_jseq,
			.kind = account->kind,
			.barred = account->barred,
		};

		if (!account->stored &&
			add_row(b, HB_TABLE_ACCOUNT, hb_partition_of(id), &row) != 0)
			return out_of_memory(error);
	}
	return 0;
}

/* ---- rows -> MySQL ---- */

static int
compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int
compare_order(const void *a, const void *b)
{
	return memcmp(a, b, HB_ROW_ORDER_NO_BYTES);
}

static int
compare_u64_pair(const void *a, const void *b)
{
	int first = compare_u64(a, b);

	return first != 0 ? first : compare_u64((const uint64_t *)a + 1, (const uint64_t *)b + 1);
}

/* By the key, which is at the begin of each row; legs come in order. */
static void
sort_rows(enum hb_table table, struct row_list *list)
{
	static int (*const compare[HB_TABLE_COUNT])(const void *, const void *) = {
		[HB_TABLE_ORDER] = compare_order,
		[HB_TABLE_CLAIM] = compare_u64_pair,
		[HB_TABLE_FLOW] = compare_u64_pair,
		[HB_TABLE_ACCOUNT] = compare_u64,
		[HB_TABLE_PACKET] = compare_u64,
		[HB_TABLE_ORIGIN] = compare_u64,
	};

	qsort(list->rows, list->count, hb_table_layouts[table].row_bytes, compare[table]);
}

static int
bulk_exactly(struct hb_batch *b, enum statement_kind kind, uint32_t partition, const void *rows,
	size_t row_bytes, uint32_t count, const char *what, char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *s;
	uint64_t matched = 0;
	int rc = statement(b, kind, partition, &s, error);

	if (rc == 0)
		rc = hb_db_bulk(s, rows, row_bytes, count, &matched, error);
	if (rc == 0 && matched != count) {
		snprintf(error, HB_DB_ERROR_BYTES,
			"%s_%02u: %lu of %u rows are there to be changed: rows are missing in "
			"MySQL",
			what, partition, (unsigned long)matched, count);
		return -EBADMSG;
	}
	return rc;
}

static int
write_inserts(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	int rc = 0;

	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++) {
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
			struct row_list *list = &b->inserts[t][p];

			if (list->count == 0)
				continue;
			sort_rows((enum hb_table)t, list);
			rc = bulk_exactly(b, INSERT_FIRST + t, p, list->rows,
				hb_table_layouts[t].row_bytes, list->count,
				hb_table_layouts[t].name, error);
		}
	}
	return rc;
}

static int
compare_update(const void *a, const void *b)
{
	const struct order_update *x = a, *y = b;
	int order = memcmp(x->order_no, y->order_no, HB_ROW_ORDER_NO_BYTES);

	return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

/* Several steps of one order in a batch become one row. */
static void
keep_last_update(struct row_list *list)
{
	struct order_update *updates = (struct order_update *)(void *)list->rows;
	uint32_t kept = 0;

	qsort(updates, list->count, sizeof(*updates), compare_update);
	for (uint32_t i = 0; i < list->count; i++)
		if (i + 1 == list->count || memcmp(updates[i].order_no, updates[i + 1].order_no,
						    HB_ROW_ORDER_NO_BYTES) != 0)
			updates[kept++] = updates[i];
	list->count = kept;
}

static int
write_order_updates(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	int rc = 0;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
		struct row_list *list = &b->order_updates[p];

		if (list->count == 0)
			continue;
		keep_last_update(list);
		rc = bulk_exactly(b, UPDATE_ORDER, p, list->rows, sizeof(struct order_update),
			list->count, "order", error);
	}
	return rc;
}

static bool
fill_account_update(const struct hb_batch *b, uint64_t id, struct account_update *update)
{
	const struct cached_account *account = hb_map_find(&b->accounts, id);

	if (!account->stored)
		return false;
	*update = (struct account_update){
		.available_delta = account->available_delta,
		.frozen_delta = account->frozen_delta,
		.version_delta = account->version_delta,
		.account = id,
		.kind = account->kind,
		.barred = account->barred,
	};
	return true;
}

static int
write_account_updates(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	struct key_list *dirty = &b->dirty_accounts;
	struct account_update *updates;
	int rc = 0;

	if (dirty->count == 0)
		return 0;
	qsort(dirty->keys, dirty->count, sizeof(uint64_t), compare_u64);
	updates = malloc(dirty->count * sizeof(*updates));
	if (updates == NULL)
		return out_of_memory(error);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
		uint32_t count = 0;

		for (uint32_t i = 0; i < dirty->count; i++)
			if (hb_partition_of(dirty->keys[i]) == p &&
				fill_account_update(b, dirty->keys[i], &updates[count]))
				count++;
		if (count > 0)
			rc = bulk_exactly(b, UPDATE_ACCOUNT, p, updates, sizeof(*updates), count,
				"account", error);
	}
	free(updates);
	return rc;
}

static int
write_packet_updates(struct hb_batch *b, char error[HB_DB_ERROR_BYTES])
{
	struct key_list *dirty = &b->dirty_packets;
	struct packet_update *updates;
	int rc = 0;

	if (dirty->count == 0)
		return 0;
	qsort(dirty->keys, dirty->count, sizeof(uint64_t), compare_u64);
	updates = malloc(dirty->count * sizeof(*updates));
	if (updates == NULL)
		return out_of_memory(error);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && rc == 0; p++) {
		uint32_t count = 0;

		for (uint32_t i = 0; i < dirty->count; i++) {
			const struct cached_packet *packet =
				hb_map_find(&b->packets, dirty->keys[i]);

			if (hb_partition_of(packet->packet) != p)
				continue;
			updates[count++] =
				(struct packet_update){packet->left_delta, packet->left_count_delta,
					packet->refunded_delta, packet->packet, packet->state};
		}
		if (count > 0)
			rc = bulk_exactly(b, UPDATE_PACKET, p, updates, sizeof(*updates), count,
				"packet", error);
	}
	free(updates);
	return rc;
}

static int
move_position(struct hb_batch *b, const struct hb_row_position *from,
	const struct hb_row_position *to, char error[HB_DB_ERROR_BYTES])
{
	struct position_update update = {
		.seq = to->seq, .epoch = to->epoch, .at_ns = to->at_ns, .from_seq = from->seq};
	uint64_t matched = 0;
	int rc = 0;

	memcpy(update.chain, to->chain, sizeof(update.chain));
	memcpy(update.stream, to->stream, sizeof(update.stream));
	if (b->move_position == NULL)
		rc = hb_db_prepare(b->db,
			"UPDATE jpos SET seq = ?, epoch = ?, chain = ?, at_ns = ? "
			"WHERE stream = ? AND seq = ? AND epoch <= ?",
			position_update_columns, COUNT(position_update_columns), NULL, 0,
			&b->move_position, error);
	if (rc == 0)
		rc = hb_db_bulk(b->move_position, &update, sizeof(update), 1, &matched, error);
	if (rc == 0 && matched != 1) {
		snprintf(error, HB_DB_ERROR_BYTES, "the position in MySQL is not at %lu any more",
			(unsigned long)from->seq);
		return -ESTALE;
	}
	return rc;
}

static int
write_transaction(struct hb_batch *b, const struct hb_row_position *from,
	const struct hb_row_position *to, char error[HB_DB_ERROR_BYTES])
{
	char ignored[HB_DB_ERROR_BYTES];
	int rc = hb_db_execute(b->db, "START TRANSACTION", error);

	if (rc == 0)
		rc = move_position(b, from, to, error);
	if (rc == 0)
		rc = write_inserts(b, error);
	if (rc == 0)
		rc = write_order_updates(b, error);
	if (rc == 0)
		rc = write_packet_updates(b, error);
	if (rc == 0)
		rc = write_account_updates(b, error);
	/* After a COMMIT that failed nobody knows: end the connection and read the position. */
	if (rc == 0)
		return hb_db_execute(b->db, "COMMIT", error) == 0 ? 0 : -ENOTCONN;
	if (rc != -ENOTCONN && hb_db_execute(b->db, "ROLLBACK", ignored) != 0)
		return -ENOTCONN;
	return rc;
}

/* What was written is now what MySQL knows. */
static void
settle(struct hb_batch *b)
{
	for (uint32_t i = 0; i < b->dirty_accounts.count; i++) {
		struct cached_account *account =
			hb_map_find(&b->accounts, b->dirty_accounts.keys[i]);

		account->available_delta = 0;
		account->frozen_delta = 0;
		account->version_delta = 0;
		account->stored = true;
		account->dirty = false;
	}
	for (uint32_t i = 0; i < b->dirty_packets.count; i++) {
		struct cached_packet *packet = hb_map_find(&b->packets, b->dirty_packets.keys[i]);

		packet->left_delta = 0;
		packet->left_count_delta = 0;
		packet->refunded_delta = 0;
		packet->dirty = false;
	}
	drop_rows(b);
}

int
hb_batch_write(struct hb_batch *b, const struct hb_row_position *from,
	const struct hb_row_position *to, char error[HB_DB_ERROR_BYTES])
{
	int rc;

	HB_ASSERT(b->db != NULL);
	HB_ASSERT(b->record_count > 0);
	HB_ASSERT(b->first_seq == from->seq + 1);
	HB_ASSERT(to->seq == from->seq + b->record_count);
	if (b->accounts.count > HB_BATCH_ACCOUNTS_KEPT)
		hb_map_clear(&b->accounts);
	if (b->packets.count > HB_BATCH_PACKETS_KEPT)
		hb_map_clear(&b->packets);
	rc = find_packets(b, error);
	if (rc == 0)
		rc = gather_rows(b, error);
	if (rc == 0)
		rc = gather_flows(b, error);
	if (rc == 0)
		rc = gather_new_accounts(b, error);
	if (rc == 0)
		rc = write_transaction(b, from, to, error);
	if (rc == 0)
		settle(b);
	else
		hb_batch_forget(b);
	return rc;
}
