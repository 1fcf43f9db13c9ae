/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl mark, clock status, clock confirm, counters: short talks with the engine. Nothing is kept.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/hbctl/hbctl.h"

int
hbctl_run_mark(struct hbctl *hbctl)
{
	uint64_t as_of_seq;
	int result = hbctl_engine_tell_all(hbctl, HB_OP_MARK, "mark", &as_of_seq);

	if (result != HBCTL_OK)
		return result;
	if (hbctl->json)
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:i, s:I}", "ok", 1, "partitions",
				       HB_PARTITION_COUNT, "as_of_seq", (json_int_t)as_of_seq));
	else
		fprintf(hbctl->out, "%d partitions marked, committed up to sequence %" PRIu64 "\n",
			HB_PARTITION_COUNT, as_of_seq);
	return HBCTL_OK;
}

static void
print_clock(struct hbctl *hbctl, bool stopped)
{
	uint64_t now_ms = hb_wall_ns() / 1000000;
	char when[HBCTL_TIME_BYTES];

	if (hbctl->json) {
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:b, s:I, s:I, s:I}", "ok", !stopped, "stopped",
				       stopped, "wall_ms", (json_int_t)now_ms, "step_ms_max",
				       (json_int_t)hbctl->config.clock_step_ms_max, "gap_s_max",
				       (json_int_t)hbctl->config.clock_gap_s_max));
		return;
	}
	hbctl_time(when, now_ms);
	fprintf(hbctl->out, "clock      %s\nmoney      %s\n", when,
		stopped ? "stopped: the clock jumped; check it, then 'hbctl clock confirm'"
			: "running");
}

int
hbctl_run_clock_status(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	bool stopped;

	if (hbctl_engine_open(hbctl, error) != 0)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	stopped = atomic_load_explicit(
			  &hbctl_engine_node(hbctl)->clock_stopped, memory_order_relaxed) != 0;
	print_clock(hbctl, stopped);
	return stopped ? HBCTL_WRONG : HBCTL_OK;
}

int
hbctl_run_clock_confirm(struct hbctl *hbctl)
{
	uint64_t as_of_seq;
	int result = hbctl_engine_tell_all(hbctl, HB_OP_CLOCK_CONFIRM, "clock confirm", &as_of_seq);

	if (result != HBCTL_OK)
		return result;
	return hbctl_run_clock_status(hbctl);
}

void
hbctl_counters_add(json_t *answer, const struct hb_node *node)
{
	json_t *values = json_object(), *labels = json_object();

	for (uint32_t i = 0; i < node->counter_count && i < HB_COUNTER_SLOTS; i++) {
		struct hb_counter_label label;

		if (!hb_counter_label_read(node, i, &label))
			continue;
		json_object_set_new(
			values, label.key, json_integer((json_int_t)hb_counter_sum(node, i)));
		json_object_set_new(labels, label.key,
			json_pack("{s:o, s:s, s:o}", "label", hbctl_json_string(label.label),
				"kind", hb_counter_kind_name(label.kind), "unit",
				hbctl_json_string(label.unit)));
	}
	json_object_set_new(answer, "dataplane", values);
	json_object_set_new(answer, "labels", labels);
}

static json_t *
persist_counters(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	json_t *answer =
		hbctl_persist_call(hbctl, "{\"cmd\":\"counters\"}", HBCTL_CALL_TIMEOUT_MS, error);
	json_t *counters = json_incref(json_object_get(answer, "counters"));

	if (answer != NULL && counters == NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "persist: %s", hbctl_json_text(answer, "error"));
	json_decref(answer);
	return counters;
}

void
hbctl_counters_print(struct hbctl *hbctl, const char *process, const json_t *answer)
{
	const json_t *labels = json_object_get(answer, "labels");
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(answer, process), key, value)
	{
		const json_t *label =
			strcmp(process, "dataplane") == 0 ? json_object_get(labels, key) : NULL;
		const char *kind = hbctl_json_text(label, "kind");
		bool plain = kind[0] == '\0' || strcmp(kind, "sum") == 0;

		fprintf(hbctl->out, "%-10s %-24s %20" JSON_INTEGER_FORMAT " %-5s  %s%s%s%s\n",
			process, key, json_integer_value(value), hbctl_json_text(label, "unit"),
			hbctl_json_text(label, "label"), plain ? "" : " (", plain ? "" : kind,
			plain ? "" : ")");
	}
}

int
hbctl_run_counters(struct hbctl *hbctl)
{
	char dataplane_error[HBCTL_ERROR_BYTES] = "";
	char persist_error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = json_pack("{s:n, s:n}", "dataplane", "labels");
	json_t *persist = persist_counters(hbctl, persist_error);
	int result = HBCTL_OK;

	if (hbctl_engine_open(hbctl, dataplane_error) == 0)
		hbctl_counters_add(answer, hbctl_engine_node(hbctl));
	json_object_set_new(answer, "persist", persist == NULL ? json_null() : persist);
	if (dataplane_error[0] != '\0' && persist == NULL) {
		json_decref(answer);
		return hbctl_fail(
			hbctl, HBCTL_UNREACHABLE, "%s; %s", dataplane_error, persist_error);
	}
	if (dataplane_error[0] != '\0' || persist == NULL) {
		fprintf(hbctl->err, "hbctl: %s\n",
			dataplane_error[0] != '\0' ? dataplane_error : persist_error);
		result = HBCTL_WRONG;
	}
	json_object_set_new(answer, "ok", json_boolean(result == HBCTL_OK));
	if (hbctl->json) {
		hbctl_print_json(hbctl, answer);
		return result;
	}
	hbctl_counters_print(hbctl, "dataplane", answer);
	hbctl_counters_print(hbctl, "persist", answer);
	json_decref(answer);
	return result;
}
