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

/* Of the running dataplane's own labels, so that it may be of another version than hbctl. */
static json_t *
dataplane_counters(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	const struct hb_node *node;
	json_t *counters;

	if (hbctl_engine_open(hbctl, error) != 0)
		return NULL;
	node = hbctl_engine_node(hbctl);
	counters = json_object();
	for (uint32_t i = 0; i < node->counter_count && i < HB_COUNTER_SLOTS; i++) {
		const struct hb_counter_label *label = &node->label[i];

		if (memchr(label->key, '\0', sizeof(label->key)) == NULL)
			continue;
		json_object_set_new(counters, label->key,
			json_integer((json_int_t)hb_counter_sum(node, (enum hb_counter)i)));
	}
	return counters;
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

static void
print_counters(struct hbctl *hbctl, const char *process, const json_t *counters)
{
	const struct hb_node *node = hbctl->client == NULL ? NULL : hbctl_engine_node(hbctl);
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)counters, key, value)
	{
		const char *label = "";

		for (uint32_t i = 0; strcmp(process, "dataplane") == 0 && node != NULL &&
				     i < node->counter_count && i < HB_COUNTER_SLOTS;
			i++)
			if (strncmp(node->label[i].key, key, sizeof(node->label[i].key)) == 0)
				label = node->label[i].label;
		fprintf(hbctl->out, "%-10s %-24s %20" JSON_INTEGER_FORMAT "  %.*s\n", process, key,
			json_integer_value(value), (int)sizeof(node->label[0].label), label);
	}
}

int
hbctl_run_counters(struct hbctl *hbctl)
{
	char dataplane_error[HBCTL_ERROR_BYTES] = "";
	char persist_error[HBCTL_ERROR_BYTES] = "";
	json_t *dataplane = dataplane_counters(hbctl, dataplane_error);
	json_t *persist = persist_counters(hbctl, persist_error);
	int result = HBCTL_OK;

	if (dataplane == NULL && persist == NULL)
		return hbctl_fail(
			hbctl, HBCTL_UNREACHABLE, "%s; %s", dataplane_error, persist_error);
	if (dataplane == NULL || persist == NULL) {
		fprintf(hbctl->err, "hbctl: %s\n",
			dataplane == NULL ? dataplane_error : persist_error);
		result = HBCTL_WRONG;
	}
	if (hbctl->json) {
		hbctl_print_json(hbctl, json_pack("{s:b, s:O?, s:O?}", "ok", result == HBCTL_OK,
						"dataplane", dataplane, "persist", persist));
	} else {
		print_counters(hbctl, "dataplane", dataplane);
		print_counters(hbctl, "persist", persist);
	}
	json_decref(dataplane);
	json_decref(persist);
	return result;
}
