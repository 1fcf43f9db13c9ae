/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl status: ask every process on its own socket, say which do not answer, and show the few
 * numbers that tell how the node is. The answer is collected as JSON, then printed either way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "persist/server_map.h"
#include "tools/hbctl/hbctl.h"

#define STATUS_TIMEOUT_MS    3000
#define HEARTBEAT_AGE_NS_MAX UINT64_C(2000000000) /* a sleeping lcore wakes at least this often */

enum state {
	DOWN,
	UP,
	UNKNOWN, /* we may not ask */
};

static enum state
state_of(int result)
{
	if (result == -EACCES || result == -EPERM)
		return UNKNOWN;
	return result == 0 ? UP : DOWN;
}

static void
add_process(json_t *answer, const char *name, enum state state, int64_t pid, const char *problem)
{
	static const char *const names[] = {"down", "up", "unknown"};
	json_t *process = json_pack(
		"{s:s, s:s, s:I}", "name", name, "state", names[state], "pid", (json_int_t)pid);

	if (problem[0] != '\0')
		json_object_set_new(process, "problem", hbctl_json_string(problem));
	json_array_append_new(json_object_get(answer, "processes"), process);
}

static uint32_t
lcores_silent(const struct hb_node *node)
{
	uint64_t now_ns = hb_mono_ns();
	uint32_t silent = 0;

	for (uint32_t i = 0; i < node->lcore_count && i < HB_LCORE_COUNT_MAX; i++) {
		const struct hb_lcore_line *lcore = &node->lcore[i];
		uint64_t beat_ns = atomic_load_explicit(&lcore->heartbeat_ns, memory_order_relaxed);

		if (atomic_load_explicit(&lcore->sleeping, memory_order_relaxed) == 0 &&
			now_ns > beat_ns + HEARTBEAT_AGE_NS_MAX)
			silent++;
	}
	return silent;
}

static void
collect_dataplane(struct hbctl *hbctl, json_t *answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	const struct hb_node *node;
	struct ucred peer = {.pid = 0};
	socklen_t length = sizeof(peer);
	uint32_t silent;
	int result;

	result = hbctl_engine_open(hbctl, error);
	if (result != 0) {
		add_process(answer, "dataplane", state_of(result), 0, error);
		return;
	}
	getsockopt(hb_client_socket_fd(hbctl->client), SOL_SOCKET, SO_PEERCRED, &peer, &length);
	node = hbctl_engine_node(hbctl);
	silent = lcores_silent(node);
	if (silent > 0)
		snprintf(error, sizeof(error), "%" PRIu32 " of %" PRIu32 " lcores make no turns",
			silent, node->lcore_count);
	add_process(answer, "dataplane", silent == 0 ? UP : DOWN, peer.pid, error);
	json_object_set_new(answer, "engine",
		json_pack("{s:I, s:I, s:I, s:b, s:s, s:s, s:I, s:I, s:I, s:I}", "epoch",
			(json_int_t)node->epoch, "lcores", (json_int_t)node->lcore_count,
			"started_ms", (json_int_t)(node->started_ns / 1000000), "clock_stopped",
			atomic_load_explicit(&node->clock_stopped, memory_order_relaxed) != 0,
			"storage_level",
			hbctl_storage_name(
				atomic_load_explicit(&node->storage_level, memory_order_relaxed)),
			"degrade_level",
			hb_degrade_name(
				atomic_load_explicit(&node->degrade_level, memory_order_relaxed)),
			"frames", (json_int_t)hb_counter_sum(node, HB_COUNTER_FRAMES), "grabs",
			(json_int_t)hb_counter_sum(node, HB_COUNTER_GRABS), "records",
			(json_int_t)hb_counter_sum(node, HB_COUNTER_RECORDS), "parked",
			(json_int_t)hb_counter_sum(node, HB_COUNTER_PARKED)));
}

/* The furthest that any applier is behind; -1 when there is none. */
static int64_t
applier_lag(const json_t *persist)
{
	int64_t most = -1;
	size_t index;
	json_t *applier;

	json_array_foreach(json_object_get(persist, "appliers"), index, applier)
	{
		int64_t lag = hbctl_json_i64(applier, "lag");

		most = lag > most ? lag : most;
	}
	return most;
}

static void
collect_persist(struct hbctl *hbctl, json_t *answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int opened = hbctl_persist_open(hbctl, error);
	json_t *persist = opened != 0 ? NULL
				      : hbctl_persist_call(hbctl, "{\"cmd\":\"status\"}",
						STATUS_TIMEOUT_MS, error);
	int64_t lag;

	if (persist == NULL || !json_is_true(json_object_get(persist, "ok"))) {
		add_process(answer, "persist", opened == 0 ? DOWN : state_of(opened), 0,
			persist == NULL ? error : hbctl_json_text(persist, "error"));
		json_decref(persist);
		return;
	}
	if (strcmp(hbctl_json_text(persist, "dataplane"), "attached") != 0)
		snprintf(error, sizeof(error), "no dataplane is connected");
	add_process(answer, "persist", UP, hbctl_json_i64(persist, "pid"), error);
	lag = applier_lag(persist);
	if (lag >= 0)
		json_object_set_new(answer, "mysql_lag", json_integer(lag));
	json_object_set(answer, "appliers", json_object_get(persist, "appliers"));
	json_object_del(persist, "appliers");
	json_object_del(persist, "ok");
	json_object_set_new(answer, "journal", persist);
}

static void
collect_control(struct hbctl *hbctl, json_t *answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char path[HB_PATH_MAX];
	int status = 0, pid = 0, probed;
	json_t *control;

	hb_path(path, hbctl->config.node_directory, HB_PATH_CONTROL_SOCKET);
	probed = hbctl_probe_unix(path, &pid);
	control = hbctl_control_call(hbctl, "GET", "/status", NULL, &status, error);
	if (control != NULL && status != 200)
		snprintf(error, sizeof(error), "its admin API answers HTTP %d", status);
	add_process(answer, "control", control == NULL && probed == 0 ? DOWN : state_of(probed),
		pid, error);
	if (control != NULL && status == 200)
		json_object_set(answer, "control", control);
	json_decref(control);
}

static int
pid_from_file(const char *path)
{
	FILE *file = fopen(path, "re");
	int pid = 0;

	if (file == NULL)
		return 0;
	if (fscanf(file, "%9d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

/* mysql.servers may name the private server, or only others. */
static bool
has_private_server(const struct hb_config *config)
{
	struct hb_server_map map;
	char ignored[256];

	if (config->mysql_servers[0] == '\0' ||
		hb_server_map_from_config(&map, config, ignored) != 0)
		return true;
	for (uint32_t i = 0; i < map.server_count; i++)
		if (map.server[i].primary.socket[0] == '\0' &&
			map.server[i].primary.host[0] == '\0')
			return true;
	return false;
}

static void
collect_front_and_mysql(struct hbctl *hbctl, json_t *answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char path[HB_PATH_MAX];
	int pid = 0, probed;

	hb_path(path, hbctl->config.node_directory, "nginx/nginx.pid");
	probed = hbctl_front_health(hbctl, error);
	add_process(answer, "nginx", probed == -EAGAIN ? UP : state_of(probed), pid_from_file(path),
		error);
	if (hbctl->config.mysql_host[0] != '\0' || !has_private_server(&hbctl->config))
		return; /* somebody else's servers: the appliers' states tell enough */
	if (hbctl->config.mysql_socket[0] != '\0')
		snprintf(path, sizeof(path), "%s", hbctl->config.mysql_socket);
	else
		hb_path(path, hbctl->config.node_directory, HB_PATH_MYSQL_SOCKET);
	error[0] = '\0';
	probed = hbctl_probe_unix(path, &pid);
	if (probed != 0)
		snprintf(error, sizeof(error), "%.200s: %s", path, strerror(-probed));
	add_process(answer, "mysql", state_of(probed), pid, error);
}

/* @return exit code: nothing answers, something is wrong, all is well */
static int
judge(const json_t *answer)
{
	const json_t *engine = json_object_get(answer, "engine");
	size_t index, up = 0, problems = 0;
	json_t *process, *applier;

	json_array_foreach(json_object_get(answer, "processes"), index, process)
	{
		if (strcmp(hbctl_json_text(process, "state"), "up") == 0)
			up++;
		if (json_object_get(process, "problem") != NULL)
			problems++;
	}
	json_array_foreach(json_object_get(answer, "appliers"), index, applier)
	{
		const char *state = hbctl_json_text(applier, "state");

		if (strcmp(state, "poisoned") == 0 || strcmp(state, "stopped") == 0)
			problems++;
	}
	if (json_is_true(json_object_get(engine, "clock_stopped")) ||
		(engine != NULL && strcmp(hbctl_json_text(engine, "storage_level"), "ok") != 0))
		problems++;
	if (up == 0)
		return HBCTL_UNREACHABLE;
	return problems == 0 ? HBCTL_OK : HBCTL_WRONG;
}

static void
print_engine(FILE *out, const json_t *engine)
{
	char when[HBCTL_TIME_BYTES];

	if (engine == NULL)
		return;
	hbctl_time(when, (uint64_t)hbctl_json_i64(engine, "started_ms"));
	fprintf(out,
		"\nengine     epoch %" PRId64 ", %" PRId64 " lcore(s), since %s\n"
		"           %" PRId64 " frames, %" PRId64 " grabs, %" PRId64 " records, %" PRId64
		" replies parked\n",
		hbctl_json_i64(engine, "epoch"), hbctl_json_i64(engine, "lcores"), when,
		hbctl_json_i64(engine, "frames"), hbctl_json_i64(engine, "grabs"),
		hbctl_json_i64(engine, "records"), hbctl_json_i64(engine, "parked"));
	fprintf(out, "clock      %s\nstorage    %s\nlevel      %s\n",
		json_is_true(json_object_get(engine, "clock_stopped"))
			? "money operations are stopped: see 'hbctl clock status'"
			: "ok",
		hbctl_json_text(engine, "storage_level"), hbctl_json_text(engine, "degrade_level"));
}

static void
print_journal(FILE *out, const json_t *answer)
{
	const json_t *journal = json_object_get(answer, "journal");
	size_t index;
	json_t *applier;

	if (journal == NULL)
		return;
	fprintf(out,
		"journal    committed sequence %" PRId64 ", %" PRId64 " segment(s), %" PRId64
		" MiB, last snapshot at %" PRId64 "\n",
		hbctl_json_i64(journal, "committed_seq"), hbctl_json_i64(journal, "segments"),
		hbctl_json_i64(journal, "journal_bytes") >> 20,
		hbctl_json_i64(journal, "last_snapshot_seq"));
	fprintf(out, "T_sync     p50 %" PRId64 " us, p99 %" PRId64 " us\n",
		hbctl_json_i64(journal, "sync_us_p50"), hbctl_json_i64(journal, "sync_us_p99"));
	json_array_foreach(json_object_get(answer, "appliers"), index, applier)
	{
		const char *error = hbctl_json_text(applier, "error");

		fprintf(out,
			"MySQL      %s %s: %s at sequence %" PRId64 ", lag %" PRId64 " (%" PRId64
			" ms), shards %s%s%s\n",
			hbctl_json_text(applier, "name"), hbctl_json_text(applier, "server"),
			hbctl_json_text(applier, "state"), hbctl_json_i64(applier, "seq"),
			hbctl_json_i64(applier, "lag"), hbctl_json_i64(applier, "lag_ms"),
			hbctl_json_text(applier, "shards"), error[0] == '\0' ? "" : ": ", error);
	}
}

static void
print_status(struct hbctl *hbctl, const json_t *answer)
{
	size_t index;
	json_t *process;

	fprintf(hbctl->out, "node       %s (%s)\n\n", hbctl_json_text(answer, "directory"),
		hbctl->config_path);
	json_array_foreach(json_object_get(answer, "processes"), index, process)
	{
		const char *problem = hbctl_json_text(process, "problem");

		fprintf(hbctl->out, "%-10s %-8s", hbctl_json_text(process, "name"),
			hbctl_json_text(process, "state"));
		if (hbctl_json_i64(process, "pid") > 0)
			fprintf(hbctl->out, "pid %-9" PRId64, hbctl_json_i64(process, "pid"));
		fprintf(hbctl->out, "%s\n", problem);
	}
	print_engine(hbctl->out, json_object_get(answer, "engine"));
	print_journal(hbctl->out, answer);
}

int
hbctl_run_status(struct hbctl *hbctl)
{
	json_t *answer = json_pack("{s:b, s:o, s:o, s:[]}", "ok", 0, "directory",
		hbctl_json_string(hbctl->config.node_directory), "config",
		hbctl_json_string(hbctl->config_path), "processes");
	int result;

	collect_dataplane(hbctl, answer);
	collect_persist(hbctl, answer);
	collect_control(hbctl, answer);
	collect_front_and_mysql(hbctl, answer);
	result = judge(answer);
	json_object_set_new(answer, "ok", json_boolean(result == HBCTL_OK));
	if (hbctl->json) {
		hbctl_print_json(hbctl, answer);
		return result;
	}
	print_status(hbctl, answer);
	json_decref(answer);
	return result;
}
