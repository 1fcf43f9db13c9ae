/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts, packets and orders from MySQL, for when the engine does not answer or has let go of
 * them. Works with nothing but MySQL running. Reads in one snapshot, whose journal sequence comes
 * from the position row. The connection ends with the call.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "persist/db.h"
#include "persist/rows.h"
#include "persist/schema.h"
#include "persist/server_map.h"
#include "shm/ids.h"
#include "shm/names.h"
#include "shm/order_number.h"
#include "tools/hbctl/hbctl.h"

#define CONNECT_TIMEOUT_S 5

struct claims {
	json_t *array;
	int64_t most_fen;
	uint32_t luckiest;
};

static int
take_row(void *context, const void *row)
{
	(void)row; /* it stays where the query was told to put it */
	*(bool *)context = true;
	return 0;
}

/* SELECT … FROM table WHERE <condition>, into `row`. @return 0 or -errno with `error` */
static int
read_rows(struct hb_db *db, enum hb_table table, uint32_t partition, const char *condition,
	void *row, hb_db_row_fn *each, void *context, char error[HB_DB_ERROR_BYTES])
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	struct hb_db_statement *select;
	char sql[HB_SQL_BYTES_MAX];
	size_t length;
	int result;

	hb_table_select_sql(table, partition, sql);
	length = strlen(sql);
	HB_ASSERT(length + strlen(condition) < sizeof(sql));
	memcpy(sql + length, condition, strlen(condition) + 1);
	/* the key is the first column, so the row itself holds the parameter */
	result = hb_db_prepare(
		db, sql, layout->columns, 1, layout->columns, layout->column_count, &select, error);
	if (result != 0)
		return result;
	return hb_db_query(select, row, row, each, context, error);
}

static int
read_position(struct hb_db *db, uint64_t *seq, char error[HB_DB_ERROR_BYTES])
{
	static const struct hb_db_column column[] = {
		{"seq", HB_DB_U64, 0, sizeof(uint64_t)},
	};
	struct hb_db_statement *select;
	bool found = false;
	int result = hb_db_prepare(db, "SELECT seq FROM jpos ORDER BY at_ns DESC LIMIT 1", NULL, 0,
		column, 1, &select, error);

	*seq = 0;
	if (result != 0)
		return result;
	return hb_db_query(select, NULL, seq, take_row, &found, error);
}

static json_t *
account_json(struct hb_db *db, uint64_t account, char error[HB_DB_ERROR_BYTES])
{
	struct hb_row_account row = {.account = account};
	bool found = false;
	int result = read_rows(db, HB_TABLE_ACCOUNT, hb_partition_of(account), " WHERE account = ?",
		&row, take_row, &found, error);

	if (result != 0 || !found)
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:b}", "account", (json_int_t)row.account,
		"available_fen", (json_int_t)row.available_fen, "frozen_fen",
		(json_int_t)row.frozen_fen, "barred", (int)row.barred);
}

static int
take_claim(void *context, const void *row)
{
	const struct hb_row_claim *claim = row;
	struct claims *claims = context;

	if (claim->amount_fen > claims->most_fen) {
		claims->most_fen = claim->amount_fen;
		claims->luckiest = claim->share;
	}
	json_array_append_new(claims->array,
		json_pack("{s:I, s:I, s:I}", "user", (json_int_t)claim->account, "amount_fen",
			(json_int_t)claim->amount_fen, "time_ms", (json_int_t)claim->at_ms));
	return 0;
}

static json_t *
packet_head_json(const struct hb_row_packet *row)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"sender", row->sender}, {"group", row->group_id},
		{"recipient", row->recipient}, {"total_fen", (uint64_t)row->total_fen},
		{"left_fen", (uint64_t)row->left_fen},
		{"refunded_fen", (uint64_t)row->refunded_fen}, {"count", row->share_count},
		{"taken", row->share_count - row->left_count},
		{"share_min_fen", (uint64_t)row->share_min_fen},
		{"share_max_fen", (uint64_t)row->share_max_fen}, {"created_ms", row->created_ms},
		{"deadline_ms", row->deadline_ms}};
	json_t *packet = json_pack("{s:o, s:s, s:s, s:s}", "packet", hbctl_json_packet(row->packet),
		"kind", hb_packet_kind_name(row->kind), "state", hb_packet_state_name(row->state),
		"algorithm", hb_split_algorithm_name(row->algorithm));
	char greeting[HB_GREETING_BYTES_MAX + 1];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(
			packet, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	snprintf(greeting, sizeof(greeting), "%.*s", HB_GREETING_BYTES_MAX, row->greeting);
	if (greeting[0] != '\0')
		json_object_set_new(packet, "greeting", hbctl_json_string(greeting));
	json_object_set_new(
		packet, "commitment", hbctl_json_hex(row->commitment, sizeof(row->commitment)));
	if (row->state != HB_PACKET_OPEN)
		json_object_set_new(packet, "seed", hbctl_json_hex(row->seed, sizeof(row->seed)));
	return packet;
}

static json_t *
packet_json(struct hb_db *db, uint64_t id, char error[HB_DB_ERROR_BYTES])
{
	uint32_t partition = hb_partition_of(id);
	struct hb_row_packet row = {.packet = id};
	struct hb_row_claim claim = {.packet = id};
	struct claims claims = {.array = NULL};
	bool found = false;
	json_t *packet;
	int result = read_rows(
		db, HB_TABLE_PACKET, partition, " WHERE packet = ?", &row, take_row, &found, error);

	if (result != 0 || !found)
		return NULL;
	claims.array = json_array();
	result = read_rows(db, HB_TABLE_CLAIM, partition, " WHERE packet = ? ORDER BY share",
		&claim, take_claim, &claims, error);
	if (result != 0) {
		json_decref(claims.array);
		return NULL;
	}
	packet = packet_head_json(&row);
	if (row.state != HB_PACKET_OPEN && row.share_count > 1 && claims.most_fen > 0)
		json_object_set_new(packet, "luckiest", json_integer(claims.luckiest));
	json_object_set_new(packet, "claims", claims.array);
	return packet;
}

static json_t *
order_json(struct hb_db *db, const char *order_no, char error[HB_DB_ERROR_BYTES])
{
	struct hb_order_number number;
	struct hb_row_order row = {.account = 0};
	bool found = false;
	json_t *order;
	int result;

	HB_ASSERT(hb_order_number_parse(order_no, &number));
	memcpy(row.order_no, order_no, sizeof(row.order_no));
	result = read_rows(db, HB_TABLE_ORDER, number.user_digits % HB_PARTITION_COUNT,
		" WHERE order_no = ?", &row, take_row, &found, error);
	if (result != 0 || !found)
		return NULL;
	order = json_pack("{s:I, s:I, s:s, s:I, s:I}", "account", (json_int_t)row.account,
		"amount_fen", (json_int_t)row.amount_fen, "state", hb_order_state_name(row.state),
		"at_ms", (json_int_t)row.at_ms, "seq", (json_int_t)row.jseq);
	if (row.packet != 0)
		json_object_set_new(order, "packet", hbctl_json_packet(row.packet));
	if (row.peer != 0)
		json_object_set_new(order, "peer", json_integer((json_int_t)row.peer));
	return order;
}

static json_t *
find(struct hb_db *db, const struct hbctl_ledger_key *key, char error[HB_DB_ERROR_BYTES])
{
	if (key->order_no != NULL)
		return order_json(db, key->order_no, error);
	if (key->packet != 0)
		return packet_json(db, key->packet, error);
	return account_json(db, key->account, error);
}

static uint32_t
shard_of(const struct hbctl_ledger_key *key)
{
	struct hb_order_number number;

	if (key->order_no == NULL)
		return hb_partition_of(key->packet != 0 ? key->packet : key->account);
	HB_ASSERT(hb_order_number_parse(key->order_no, &number));
	return number.user_digits % HB_PARTITION_COUNT;
}

/* Connect to the server that has the shard. */
static int
open_shard(const struct hb_config *node, uint32_t shard, struct hb_db **db,
	char error[HBCTL_ERROR_BYTES])
{
	char directory[HB_PATH_MAX];
	struct hb_server_map map;
	struct hb_config config;
	int result;

	hb_path(directory, node->node_directory, HB_PATH_JOURNAL);
	result = hb_server_map_load(&map, node, directory, error);
	if (result != 0)
		return result;
	hb_server_config(node, &map.server[map.owner[shard]].primary, &config);
	result = hb_db_open(db, &config, config.mysql_user, CONNECT_TIMEOUT_S, error);
	return result == 0 ? hb_schema_use(*db, config.mysql_database, error) : result;
}

json_t *
hbctl_ledger_read(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	struct hb_db *db = NULL;
	json_t *answer = NULL;
	uint64_t seq = 0;
	int result = open_shard(&hbctl->config, shard_of(context), &db, error);

	if (result == 0)
		result = hb_db_execute(
			db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);
	if (result == 0)
		result = read_position(db, &seq, error);
	if (result == 0)
		answer = find(db, context, error);
	if (answer != NULL) {
		json_object_set_new(answer, "ok", json_true());
		json_object_set_new(answer, "source", json_string("mysql"));
		json_object_set_new(answer, "as_of_seq", json_integer((json_int_t)seq));
	} else if (error[0] == '\0') {
		snprintf(error, HBCTL_ERROR_BYTES,
			"not found among everything up to sequence %" PRIu64, seq);
		answer = json_pack(
			"{s:b, s:s, s:s}", "ok", 0, "status", "not_found", "error", error);
	}
	hb_db_close(db);
	return answer;
}
