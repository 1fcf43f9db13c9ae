/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /metrics: Prometheus text exposition 0.0.4 of the dataplane's counters, persist's counters
 * and appliers, and our own. Made anew for each scrape from live values; keeps nothing.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "controlplane/alarms.h"
#include "controlplane/engine_json.h"
#include "shm/node.h"

#define NAME_MAX_LENGTH 96

/* A metric name out of a key: letters, digits and underscores only. */
static void
metric_name(char out[NAME_MAX_LENGTH], const char *prefix, const char *key, bool counter)
{
	snprintf(out, NAME_MAX_LENGTH, "%s%.48s%s", prefix, key, counter ? "_total" : "");
	for (char *c = out; *c; c++) {
		if (!isalnum((unsigned char)*c) && *c != '_')
			*c = '_';
	}
}

/* Help text: backslash and newline must not stand for themselves. */
static void
put_help(FILE *out, const char *name, const char *help, const char *type)
{
	fprintf(out, "# HELP %s ", name);
	for (const char *c = help; *c; c++) {
		if (*c == '\\')
			fputs("\\\\", out);
		else
			fputc(*c == '\n' ? ' ' : *c, out);
	}
	fprintf(out, "\n# TYPE %s %s\n", name, type);
}

static void
put_label_value(FILE *out, const char *value)
{
	for (const char *c = value; *c; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out);
		fputc(*c == '\n' ? ' ' : *c, out);
	}
}

static void
put_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	put_help(out, name, help, type);
	fprintf(out, "%s %llu\n", name, (unsigned long long)value);
}

/* By what the labels say: the dataplane may be newer than we are. */
void
hb_metrics_put_counters(FILE *out, const struct hb_engine_view *view)
{
	for (uint32_t i = 0; i < view->counter_count; i++) {
		const struct hb_counter_label *label = &view->label[i];
		const char *type = label->kind == HB_KIND_SUM ? "counter"
				   : label->kind == HB_KIND_GAUGE || label->kind == HB_KIND_MAXIMUM
					   ? "gauge"
					   : "untyped";
		char name[NAME_MAX_LENGTH];
		char help[sizeof(label->label) + sizeof(label->unit) + 8];

		if (label->key[0] == '\0')
			continue;
		metric_name(name, "hongbao_", label->key, label->kind == HB_KIND_SUM);
		snprintf(help, sizeof(help), label->unit[0] == '\0' ? "%s" : "%s, in %s",
			label->label, label->unit);
		put_one(out, name, type, help, view->counter[i]);
	}
}

static void
put_dataplane(FILE *out, const struct hb_engine_view *view)
{
	uint64_t now_ns = hb_mono_ns();

	put_one(out, "hongbao_dataplane_up", "gauge", "1 when control is attached to the dataplane",
		view->attached);
	if (!view->attached)
		return;
	put_one(out, "hongbao_epoch", "gauge", "epoch of the journal", view->epoch);
	put_one(out, "hongbao_clock_stopped", "gauge", "1 when the clock waits for an operator",
		view->clock_stopped);
	put_one(out, "hongbao_storage_level", "gauge",
		"0 ok, 1 no new packets, 2 no grabs, 3 control only", view->storage_level);
	hb_metrics_put_counters(out, view);
	put_one(out, "hongbao_degrade_level", "gauge",
		"0 normal, 1 no lists, 2 no push either, 3 no new packets either",
		view->degrade_level);
	put_help(out, "hongbao_lcore_busy_seconds_total", "time an lcore had work", "counter");
	for (uint32_t i = 0; i < view->lcore_count; i++)
		fprintf(out, "hongbao_lcore_busy_seconds_total{lcore=\"%u\"} %llu.%09llu\n", i,
			(unsigned long long)(view->lcore[i].busy_ns / 1000000000),
			(unsigned long long)(view->lcore[i].busy_ns % 1000000000));
	put_help(out, "hongbao_lcore_heartbeat_age_seconds", "since the last duty cycle", "gauge");
	for (uint32_t i = 0; i < view->lcore_count; i++) {
		uint64_t beat_ns = view->lcore[i].heartbeat_ns;
		uint64_t age_ms = now_ns > beat_ns ? (now_ns - beat_ns) / 1000000 : 0;

		fprintf(out, "hongbao_lcore_heartbeat_age_seconds{lcore=\"%u\"} %llu.%03llu\n", i,
			(unsigned long long)(age_ms / 1000), (unsigned long long)(age_ms % 1000));
	}
}

static void
put_applier_numbers(
	FILE *out, const json_t *appliers, const char *name, const char *help, const char *key)
{
	const json_t *applier;
	size_t i;

	put_help(out, name, help, "gauge");
	json_array_foreach((json_t *)(uintptr_t)appliers, i, applier)
	{
		const char *server = json_string_value(json_object_get(applier, "server"));

		fprintf(out, "%s{server=\"", name);
		put_label_value(out, server ? server : "");
		fprintf(out, "\"} %" JSON_INTEGER_FORMAT "\n",
			json_integer_value(json_object_get(applier, key)));
	}
}

static void
put_appliers(FILE *out, const json_t *status)
{
	json_t *appliers = json_object_get(status, "appliers");
	json_t *applier;
	size_t i;

	put_help(out, "hongbao_applier_lag_records", "records that MySQL does not hold yet",
		"gauge");
	json_array_foreach(appliers, i, applier)
	{
		const char *server = json_string_value(json_object_get(applier, "server"));

		fputs("hongbao_applier_lag_records{server=\"", out);
		put_label_value(out, server ? server : "");
		fprintf(out, "\"} %" JSON_INTEGER_FORMAT "\n",
			json_integer_value(json_object_get(applier, "lag")));
	}
	put_applier_numbers(out, appliers, "hongbao_applier_lag_milliseconds",
		"how long ago the server was level with the journal", "lag_ms");
	put_applier_numbers(out, appliers, "hongbao_applier_failures",
		"failures in a row; from 5 on it is an alarm", "failures");
	put_help(out, "hongbao_applier_running", "1 while the applier runs", "gauge");
	json_array_foreach(appliers, i, applier)
	{
		const char *server = json_string_value(json_object_get(applier, "server"));
		const char *state = json_string_value(json_object_get(applier, "state"));

		fputs("hongbao_applier_running{server=\"", out);
		put_label_value(out, server ? server : "");
		fprintf(out, "\"} %d\n", state && strcmp(state, "running") == 0);
	}
}

static void
put_persist(FILE *out, const struct hb_control *control)
{
	char error[256];
	char name[NAME_MAX_LENGTH];
	json_t *answer = NULL;
	const char *key;
	json_t *value;
	bool up = hb_persist_admin_ask(&control->persist, "status", &answer, error) == 0;

	put_one(out, "hongbao_persist_up", "gauge", "1 when persist answers", up);
	if (!up)
		return;
	put_one(out, "hongbao_committed_seq", "gauge", "newest journal sequence on disk",
		(uint64_t)json_integer_value(json_object_get(answer, "committed_seq")));
	put_appliers(out, answer);
	json_decref(answer);
	if (hb_persist_admin_ask(&control->persist, "counters", &answer, error) != 0)
		return;
	json_object_foreach(json_object_get(answer, "counters"), key, value)
	{
		if (!json_is_integer(value))
			continue;
		/* Persist does not say which of its numbers may fall. */
		metric_name(name, "hongbao_persist_", key, false);
		fprintf(out, "# TYPE %s untyped\n%s %" JSON_INTEGER_FORMAT "\n", name, name,
			json_integer_value(value));
	}
	json_decref(answer);
}

static void
put_server(FILE *out, const char *socket, struct hb_http_server *server)
{
	struct hb_http_counts counts = {0};

	if (!server)
		return;
	hb_http_counts_read(server, &counts);
	for (int i = 2; i <= 5; i++)
		fprintf(out,
			"hongbao_control_http_replies_total{socket=\"%s\",code=\"%dxx\"} %llu\n",
			socket, i, (unsigned long long)counts.replies[i]);
}

static void
put_alarms(FILE *out, struct hb_alarms *alarms)
{
	struct hb_alarm_counts counts = {0};

	hb_alarms_counts_read(alarms, &counts);
	put_one(out, "hongbao_control_alarms_active", "gauge", "alarms that are raised",
		counts.active);
	put_one(out, "hongbao_control_alarm_changes_total", "counter",
		"alarms raised or cleared, and tests", counts.changes);
	put_one(out, "hongbao_control_alarms_sent_total", "counter",
		"alarm messages that the webhook took", counts.webhook.sent);
	put_one(out, "hongbao_control_alarms_failed_total", "counter",
		"tries to send an alarm that failed", counts.webhook.failed);
	put_one(out, "hongbao_control_alarms_dropped_total", "counter", "alarm messages given up",
		counts.webhook.dropped);
	put_one(out, "hongbao_control_alarms_waiting", "gauge",
		"alarm messages that wait for the webhook", counts.webhook.waiting);
}

static void
put_own(FILE *out, const struct hb_control *control, const struct hb_engine_view *view)
{
	put_help(out, "hongbao_control_http_replies_total", "HTTP replies of control", "counter");
	put_server(out, "admin", control->admin_server);
	put_server(out, "http", control->http_server);
	put_one(out, "hongbao_control_engine_frames_total", "counter", "frames of control answered",
		view->frames);
	put_one(out, "hongbao_control_engine_unknown_total", "counter",
		"frames of control whose outcome stayed unknown", view->unknown);
	put_one(out, "hongbao_control_engine_attaches_total", "counter",
		"times control attached to a dataplane", view->attaches);
	put_one(out, "hongbao_control_engine_in_flight", "gauge", "frames without reply",
		view->in_flight);
	put_one(out, "hongbao_control_mysql_reads_failed_total", "counter",
		"reads of lists and orders that MySQL did not answer",
		hb_reads_failed(control->reads));
	put_one(out, "hongbao_control_mysql_reads_from_replicas_total", "counter",
		"reads of lists and orders that a replica answered",
		hb_reads_from_replicas(control->reads));
	put_one(out, "hongbao_control_jobs_alarm", "gauge", "jobs in alarm",
		hb_jobs_alarms(control->jobs));
	put_alarms(out, control->alarms);
}

void
hb_metrics_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	struct hb_engine_view view;
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (!out) {
		hb_http_error(reply, 503, "busy", "no memory for the metrics; ask again");
		return;
	}
	hb_engine_look(control->engine, &view);
	put_dataplane(out, &view);
	put_persist(out, control);
	put_own(out, control, &view);
	if (fclose(out) != 0) {
		free(text);
		hb_http_error(reply, 503, "busy", "no memory for the metrics; ask again");
		return;
	}
	hb_http_text(reply, "text/plain; version=0.0.4; charset=utf-8", text, bytes);
}
