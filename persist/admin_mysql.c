/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket's commands about MySQL servers: the shard map, moving a shard, rebuilding a
 * server. Moving and rebuilding take as long as there are rows, so they run in a thread of their
 * own that goes on when the asker hangs up; "mysql" tells how it goes. If the process dies, so does
 * the work, and the command can be given again (server_work.h).
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "persist/persist.h"
#include "persist/server_work.h"

#define SHARD_NONE HB_PARTITION_COUNT /* a rebuild */

/* One work at a time; under `lock`, but for what its thread alone looks at while it runs. */
static struct {
	pthread_mutex_t lock;
	struct hb_applier *applier;
	uint32_t shard;
	char server[HB_SERVER_NAME_BYTES];
	uint64_t number; /* of the work, counted since start */
	bool running;
	bool ok; /* of the one that ended */
	char error[256];
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

static json_t *
failure(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static void *
work_main(void *argument)
{
	char error[256] = "";
	int rc;

	(void)argument;
	if (work.shard == SHARD_NONE)
		rc = hb_server_rebuild(work.applier, work.server, error);
	else
		rc = hb_server_move_shard(work.applier, work.shard, work.server, NULL, NULL, error);
	pthread_mutex_lock(&work.lock);
	work.running = false;
	work.ok = rc == 0;
	snprintf(work.error, sizeof(work.error), "%s", rc == 0 ? "" : error);
	pthread_mutex_unlock(&work.lock);
	return NULL;
}

/* @return NULL, or why it does not begin */
static const char *
begin_work(struct hb_applier *applier, uint32_t shard, const char *server, uint64_t *number)
{
	const char *why = "another move or rebuild is under way: wait for its end";
	pthread_t thread;

	pthread_mutex_lock(&work.lock);
	if (!work.running) {
		work.applier = applier;
		work.shard = shard;
		snprintf(work.server, sizeof(work.server), "%s", server);
		work.running = pthread_create(&thread, NULL, work_main, NULL) == 0;
		why = work.running ? NULL : "no thread can be started";
		if (work.running)
			pthread_detach(thread);
		*number = ++work.number;
	}
	pthread_mutex_unlock(&work.lock);
	return why;
}

static json_t *
start_work(struct hb_persist *persist, const json_t *command, bool move)
{
	const char *server = json_string_value(json_object_get(command, "server"));
	const json_t *shard = json_object_get(command, "shard");
	uint64_t number = 0;
	const char *why;

	if (persist->applier == NULL)
		return failure("no applier runs: see the log of persist");
	if (server == NULL || strlen(server) >= HB_SERVER_NAME_BYTES)
		return failure("server must be a name of mysql.servers");
	if (move && (!json_is_integer(shard) || json_integer_value(shard) < 0 ||
			    json_integer_value(shard) >= HB_PARTITION_COUNT))
		return failure("shard must be a number from 0 to 15");
	why = begin_work(persist->applier, move ? (uint32_t)json_integer_value(shard) : SHARD_NONE,
		server, &number);
	if (why != NULL)
		return failure(why);
	return json_pack("{s:b, s:I}", "ok", 1, "work", (json_int_t)number);
}

static json_t *
work_json(const struct hb_applier_task *task)
{
	json_t *json;

	pthread_mutex_lock(&work.lock);
	json = json_pack("{s:I, s:b, s:b, s:s, s:s, s:s, s:I}", "number", (json_int_t)work.number,
		"running", (int)work.running, "ok", (int)work.ok, "error", work.error, "what",
		task->what, "phase", task->phase, "rows", (json_int_t)task->rows);
	pthread_mutex_unlock(&work.lock);
	return json;
}

static json_t *
moved_json(const struct hb_server_map *map)
{
	if (map->moved_shard == HB_NO_SHARD)
		return json_null();
	return json_pack("{s:i, s:s, s:s}", "shard", (int)map->moved_shard, "from",
		map->server[map->moved_from].name, "to", map->server[map->moved_to].name);
}

static json_t *
map_json(struct hb_persist *persist)
{
	char shards[HB_SERVER_MAP_TEXT_BYTES], option[HB_SERVER_MAP_TEXT_BYTES] = "";
	struct hb_server_map map, wanted;
	struct hb_applier_task task;
	char ignored[256];

	if (persist->applier == NULL)
		return failure("no applier runs: see the log of persist");
	hb_applier_map(persist->applier, &map, &task);
	hb_server_map_text(&map, shards);
	if (persist->config.mysql_shards[0] != 0 &&
		hb_server_map_from_config(&wanted, &persist->config, ignored) == 0)
		hb_server_map_text(&wanted, option);
	return json_pack("{s:b, s:I, s:s, s:s, s:o, s:o, s:o}", "ok", 1, "version",
		(json_int_t)map.version, "shards", shards, "option", option, "moved",
		moved_json(&map), "work", work_json(&task), "servers", hb_admin_appliers(persist));
}

json_t *
hb_admin_mysql(struct hb_persist *persist, const char *name, const json_t *command)
{
	if (strcmp(name, "mysql") == 0)
		return map_json(persist);
	if (strcmp(name, "mysql_move") == 0)
		return start_work(persist, command, true);
	if (strcmp(name, "mysql_rebuild") == 0)
		return start_work(persist, command, false);
	return NULL;
}
