/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /status: everything an operator's overview needs in one answer. A part that cannot be asked
 * says why instead of failing the whole.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "controlplane/engine_json.h"
#include "shm/node.h"

static const char *
storage_level_name(uint32_t level)
{
	static const char *const names[] = {"ok", "no_packets", "no_grabs", "control_only"};

	return level < sizeof(names) / sizeof(names[0]) ? names[level] : "unknown";
}

static json_t *
lcores_json(const struct hb_engine_view *view)
{
	uint64_t now_ns = hb_mono_ns();
	json_t *lcores = json_array();

	for (uint32_t i = 0; i < view->lcore_count; i++) {
		uint64_t beat_ns = view->lcore[i].heartbeat_ns;
		json_t *partitions = json_array();

		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
			if (view->lcore_of_partition[p] == i)
				json_array_append_new(partitions, json_integer(p));
		}
		json_array_append_new(lcores,
			json_pack("{s:I,s:I,s:b,s:I,s:I,s:o}", "lcore", (json_int_t)i, "cpu",
				(json_int_t)view->lcore[i].cpu, "sleeping",
				(int)view->lcore[i].sleeping, "heartbeat_age_ms",
				(json_int_t)(now_ns > beat_ns ? (now_ns - beat_ns) / 1000000 : 0),
				"busy_ms", (json_int_t)(view->lcore[i].busy_ns / 1000000),
				"partitions", partitions));
	}
	return lcores;
}

static json_t *
counters_json(const struct hb_engine_view *view)
{
	json_t *counters = json_object();

	for (uint32_t i = 0; i < view->counter_count; i++)
		json_object_set_new(
			counters, view->label[i].key, json_integer((json_int_t)view->counter[i]));
	return counters;
}

static json_t *
dataplane_json(const struct hb_engine_view *view)
{
	json_t *json;

	if (!view->attached)
		return json_pack("{s:b,s:s}", "attached", 0, "error", view->error);
	json = json_pack("{s:b,s:I,s:I,s:b,s:s,s:o,s:o}", "attached", 1, "epoch",
		(json_int_t)view->epoch, "started_ms", (json_int_t)(view->started_ns / 1000000),
		"clock_stopped", (int)view->clock_stopped, "storage_level",
		storage_level_name(view->storage_level), "lcores", lcores_json(view), "counters",
		counters_json(view));
	HB_ASSERT(json);
	json_object_set_new(
		json, "degrade_level", json_string(hb_degrade_name(view->degrade_level)));
	json_object_set_new(json, "clients",
		json_integer((json_int_t)(view->counter[HB_COUNTER_CLIENTS_ATTACHED] -
					  view->counter[HB_COUNTER_CLIENTS_DETACHED])));
	return json;
}

/* Persist's own words, and the largest lag of its appliers. */
static json_t *
persist_json(const struct hb_control *control, json_t **lag)
{
	char error[256];
	json_t *status = NULL;
	json_t *applier;
	size_t i;

	*lag = json_null();
	if (hb_persist_admin_ask(&control->persist, "status", &status, error) != 0)
		return json_pack("{s:b,s:s}", "ok", 0, "error", error);
	json_array_foreach(json_object_get(status, "appliers"), i, applier)
	{
		json_t *one = json_object_get(applier, "lag");

		if (json_is_integer(one) &&
			(json_is_null(*lag) ||
				json_integer_value(one) > json_integer_value(*lag))) {
			json_decref(*lag);
			*lag = json_incref(one);
		}
	}
	return status;
}

static json_t *
http_json(struct hb_http_server *server)
{
	struct hb_http_counts counts = {0};

	if (server)
		hb_http_counts_read(server, &counts);
	return json_pack("{s:I,s:I,s:I,s:I}", "requests", (json_int_t)counts.requests,
		"refused_4xx", (json_int_t)counts.replies[4], "failed_5xx",
		(json_int_t)counts.replies[5], "refused_peers", (json_int_t)counts.refused_peers);
}

void
hb_status_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	struct hb_engine_view view;
	json_t *lag;
	json_t *persist = persist_json(control, &lag);
	json_t *json;

	hb_engine_look(control->engine, &view);
	json = json_pack("{s:s,s:s,s:i,s:i,s:I,s:o,s:o,s:o,s:o,s:I}", "status", "ok", "version",
		HB_VERSION, "node", (int)control->config->node_number, "pid", (int)getpid(),
		"uptime_s", (json_int_t)((hb_wall_ns() - control->started_ns) / 1000000000),
		"dataplane", dataplane_json(&view), "persist", persist, "mysql_lag", lag, "jobs",
		hb_jobs_json(control->jobs), "alarms", (json_int_t)hb_jobs_alarms(control->jobs));
	HB_ASSERT(json);
	json_object_set_new(json, "engine_client",
		json_pack("{s:I,s:I,s:I,s:I}", "attaches", (json_int_t)view.attaches, "frames",
			(json_int_t)view.frames, "unknown_outcomes", (json_int_t)view.unknown,
			"in_flight", (json_int_t)view.in_flight));
	json_object_set_new(json, "http", http_json(control->http_server));
	json_object_set_new(json, "mysql_reads_failed",
		json_integer((json_int_t)hb_reads_failed(control->reads)));
	hb_http_json(reply, 200, json);
}
