/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl mysql: the shard map, moving a shard, rebuilding a server, and checksums of the tables.
 *
 * Moving and rebuilding are persist's work, in a thread there; this asks how it goes until it has
 * ended, and may be interrupted without stopping it. Checksums are read from the servers by a child
 * that became the persist user.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "persist/journal_reader.h"
#include "persist/server_map.h"
#include "persist/table_copy.h"
#include "tools/hbctl/hbctl.h"

#define CONNECT_TIMEOUT_S 5
#define LOOK_PAUSE_US	  200000
#define COMMAND_BYTES	  160

/* Ask persist. @return NULL with *exit_code when it was said what is wrong */
static json_t *
ask(struct hbctl *hbctl, const char *command, int *exit_code)
{
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = NULL;

	if (hbctl_persist_open(hbctl, error) == 0)
		answer = hbctl_persist_call(hbctl, command, HBCTL_CALL_TIMEOUT_MS, error);
	*exit_code = HBCTL_OK;
	if (answer == NULL) {
		*exit_code = hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		*exit_code = hbctl_fail(
			hbctl, HBCTL_WRONG, "persist: %s", hbctl_json_text(answer, "error"));
		json_decref(answer);
		answer = NULL;
	}
	return answer;
}

/* ---- status ---- */

static void
print_servers(struct hbctl *hbctl, const json_t *answer)
{
	size_t index;
	json_t *server;

	fprintf(hbctl->out, "%-15s %-12s %-9s %12s %8s %8s  %s\n", "server", "shards", "state",
		"sequence", "lag", "lag ms", "address");
	json_array_foreach(json_object_get(answer, "servers"), index, server)
	{
		const char *shards = hbctl_json_text(server, "shards");
		const char *error = hbctl_json_text(server, "error");

		fprintf(hbctl->out,
			"%-15s %-12s %-9s %12" PRId64 " %8" PRId64 " %8" PRId64 "  %s\n",
			hbctl_json_text(server, "name"), shards[0] == '\0' ? "none" : shards,
			hbctl_json_text(server, "state"), hbctl_json_i64(server, "seq"),
			hbctl_json_i64(server, "lag"), hbctl_json_i64(server, "lag_ms"),
			hbctl_json_text(server, "server"));
		if (error[0] != '\0')
			fprintf(hbctl->out, "    %s\n", error);
	}
}

static void
print_map(struct hbctl *hbctl, const json_t *answer)
{
	const json_t *work = json_object_get(answer, "work");
	const json_t *moved = json_object_get(answer, "moved");
	const char *shards = hbctl_json_text(answer, "shards");
	const char *option = hbctl_json_text(answer, "option");

	print_servers(hbctl, answer);
	fprintf(hbctl->out, "\nshard map       version %" PRId64 ": %s\n",
		hbctl_json_i64(answer, "version"), shards);
	if (option[0] != '\0' && strcmp(option, shards) != 0)
		fprintf(hbctl->out,
			"mysql.shards    says %s: the map above is in force; make the option "
			"equal\n",
			option);
	if (json_is_object(moved))
		fprintf(hbctl->out,
			"not finished    shard %" PRId64 " has left %s; old rows are there yet: "
			"'hbctl mysql move-shard %" PRId64 " %s'\n",
			hbctl_json_i64(moved, "shard"), hbctl_json_text(moved, "from"),
			hbctl_json_i64(moved, "shard"), hbctl_json_text(moved, "to"));
	if (hbctl_json_i64(work, "number") > 0)
		fprintf(hbctl->out, "work            %s: %s, %" PRId64 " rows %s\n",
			hbctl_json_text(work, "what"), hbctl_json_text(work, "phase"),
			hbctl_json_i64(work, "rows"), hbctl_json_text(work, "error"));
}

int
hbctl_run_mysql_status(struct hbctl *hbctl)
{
	int result;
	json_t *answer = ask(hbctl, "{\"cmd\":\"mysql\"}", &result);

	if (answer == NULL)
		return result;
	if (hbctl->json) {
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	print_map(hbctl, answer);
	json_decref(answer);
	return HBCTL_OK;
}

/* ---- work ---- */

static void
show_work(struct hbctl *hbctl, const json_t *work, const char *end)
{
	if (isatty(fileno(hbctl->err)) == 1)
		fprintf(hbctl->err, "\r\033[K%s: %s, %" PRId64 " rows%s",
			hbctl_json_text(work, "what"), hbctl_json_text(work, "phase"),
			hbctl_json_i64(work, "rows"), end);
}

static int
work_ended(struct hbctl *hbctl, const json_t *work)
{
	show_work(hbctl, work, "\n");
	if (!json_is_true(json_object_get(work, "ok")))
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", hbctl_json_text(work, "error"));
	if (hbctl->json)
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:s, s:I}", "ok", 1, "what", hbctl_json_text(work, "what"),
				"rows", (json_int_t)hbctl_json_i64(work, "rows")));
	else
		fprintf(hbctl->out, "%s: done, %" PRId64 " rows\n", hbctl_json_text(work, "what"),
			hbctl_json_i64(work, "rows"));
	return HBCTL_OK;
}

/* Look until the work of this number has ended. */
static int
follow_work(struct hbctl *hbctl, int64_t number)
{
	int result;

	for (;;) {
		json_t *answer = ask(hbctl, "{\"cmd\":\"mysql\"}", &result);
		const json_t *work = json_object_get(answer, "work");
		bool running = json_is_true(json_object_get(work, "running"));

		if (answer == NULL)
			return result;
		if (hbctl_json_i64(work, "number") != number)
			result = hbctl_fail(hbctl, HBCTL_WRONG,
				"persist has begun other work meanwhile: see 'hbctl mysql status'");
		else if (running)
			show_work(hbctl, work, "");
		else
			result = work_ended(hbctl, work);
		json_decref(answer);
		if (result != HBCTL_OK || !running)
			return result;
		usleep(LOOK_PAUSE_US);
	}
}

static int
begin_work(struct hbctl *hbctl, json_t *command)
{
	char text[COMMAND_BYTES];
	size_t length = json_dumpb(command, text, sizeof(text) - 1, JSON_COMPACT);
	json_t *answer;
	int64_t number;
	int result;

	json_decref(command);
	if (length == 0 || length >= sizeof(text))
		return hbctl_fail(hbctl, HBCTL_USAGE, "the name of the server is too long");
	text[length] = '\0';
	answer = ask(hbctl, text, &result);
	if (answer == NULL)
		return result;
	number = hbctl_json_i64(answer, "work");
	json_decref(answer);
	return follow_work(hbctl, number);
}

int
hbctl_run_mysql_move_shard(struct hbctl *hbctl)
{
	uint64_t shard;

	if (!hbctl_parse_u64(hbctl->positional[0], 0, HB_PARTITION_COUNT - 1, &shard))
		return hbctl_fail(hbctl, HBCTL_USAGE, "SHARD is a number from 0 to %d, not \"%s\"",
			HB_PARTITION_COUNT - 1, hbctl->positional[0]);
	return begin_work(
		hbctl, json_pack("{s:s, s:I, s:o}", "cmd", "mysql_move", "shard", (json_int_t)shard,
			       "server", hbctl_json_string(hbctl->positional[1])));
}

int
hbctl_run_mysql_rebuild(struct hbctl *hbctl)
{
	return begin_work(hbctl, json_pack("{s:s, s:o}", "cmd", "mysql_rebuild", "server",
					 hbctl_json_string(hbctl->positional[0])));
}

/* ---- checksums ---- */

static int
sum_tables(struct hb_db *db, uint32_t shards, json_t *tables, char error[HBCTL_ERROR_BYTES])
{
	char name[HBCTL_NAME_BYTES], hash[32];
	struct hb_row_sum sum;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		for (uint32_t t = 0; t < HB_TABLE_COUNT; t++) {
			int result;

			if ((shards >> p & 1) == 0 || t == HB_TABLE_ORIGIN)
				continue;
			result = hb_table_sum_read(db, (enum hb_table)t, p, &sum, error);
			if (result != 0)
				return result;
			snprintf(name, sizeof(name), "%s_%02u", hb_table_layouts[t].name, p);
			snprintf(hash, sizeof(hash), "%016" PRIx64, sum.hash);
			json_object_set_new(tables, name,
				json_pack(
					"{s:I, s:s}", "rows", (json_int_t)sum.count, "hash", hash));
		}
	}
	return 0;
}

/* The tables of a server's shards, at one moment. */
static int
sum_server(const struct hb_config *node, const struct hb_server_map *map, uint32_t server,
	const uint8_t stream[16], json_t *servers, json_t *tables, char error[HBCTL_ERROR_BYTES])
{
	struct hb_row_position position = {0};
	struct hb_db *db = NULL;
	struct hb_config config;
	int result;

	hb_server_config(node, &map->server[server].primary, &config);
	result = hb_db_open(&db, &config, config.mysql_user, CONNECT_TIMEOUT_S, error);
	if (result == 0)
		result = hb_schema_use(db, config.mysql_database, error);
	if (result == 0)
		result = hb_db_execute(
			db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);
	if (result == 0)
		result = hb_position_read(db, stream, false, &position, error);
	if (result >= 0)
		result = sum_tables(db, hb_server_map_shards(map, server), tables, error);
	hb_db_close(db);
	if (result == 0)
		json_object_set_new(
			servers, map->server[server].name, json_integer((json_int_t)position.seq));
	return result;
}

/* In the child. */
static json_t *
checksum(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	json_t *servers = json_object(), *tables = json_object();
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info = {0};
	char directory[HB_PATH_MAX];
	struct hb_server_map map;
	int result;

	(void)context;
	hb_path(directory, hbctl->config.node_directory, HB_PATH_JOURNAL);
	result = hb_server_map_load(&map, &hbctl->config, directory, error);
	if (result == 0)
		result = hb_journal_reader_open(&reader, directory, error);
	if (result == 0)
		result = hb_journal_reader_info(reader, &info);
	hb_journal_reader_close(reader);
	for (uint32_t i = 0; i < map.server_count && result == 0; i++)
		if (hb_server_map_shards(&map, i) != 0)
			result = sum_server(
				&hbctl->config, &map, i, info.stream_id, servers, tables, error);
	if (result == 0)
		return json_pack("{s:b, s:o, s:o}", "ok", 1, "servers", servers, "tables", tables);
	json_decref(servers);
	json_decref(tables);
	if (error[0] == '\0')
		snprintf(error, HBCTL_ERROR_BYTES, "%s", strerror(-result));
	return NULL;
}

static void
print_sums(struct hbctl *hbctl, const json_t *answer)
{
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(answer, "tables"), name, value)
		fprintf(hbctl->out, "%-12s %12" PRId64 " rows  %s\n", name,
			hbctl_json_i64(value, "rows"), hbctl_json_text(value, "hash"));
	json_object_foreach(json_object_get(answer, "servers"), name, value)
		fprintf(hbctl->out, "server %s at sequence %" JSON_INTEGER_FORMAT "\n", name,
			json_integer_value(value));
}

int
hbctl_run_mysql_checksum(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = hbctl_in_child(hbctl, checksum, NULL, NULL, error);
	int result = HBCTL_OK;

	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	if (!json_is_true(json_object_get(answer, "ok")))
		result = hbctl_fail(hbctl, HBCTL_WRONG, "%s", hbctl_json_text(answer, "error"));
	else if (hbctl->json)
		hbctl_print_json(hbctl, json_incref(answer));
	else
		print_sums(hbctl, answer);
	json_decref(answer);
	return result;
}
