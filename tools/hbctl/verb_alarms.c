/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl alarms, alarms test: control's book of alarms over its admin API. Control owns it; this
 * only asks and prints.
 */
#include <inttypes.h>
#include <string.h>

#include "tools/hbctl/hbctl.h"

#define RECENT_SHOWN 20

static void
print_alarm(struct hbctl *hbctl, const json_t *alarm, const char *state, const char *time_key)
{
	char when[HBCTL_TIME_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(alarm, time_key));
	fprintf(hbctl->out, "%-24s %-8s %-8s %-20s %-16s %12" PRId64 "  %s\n", when, state,
		hbctl_json_text(alarm, "severity"), hbctl_json_text(alarm, "rule"),
		hbctl_json_text(alarm, "subject"), hbctl_json_i64(alarm, "value"),
		hbctl_json_text(alarm, "text"));
}

static void
print_webhook(struct hbctl *hbctl, const json_t *webhook)
{
	const char *url = hbctl_json_text(webhook, "url");
	const char *error = hbctl_json_text(webhook, "error");

	if (url[0] == '\0') {
		fprintf(hbctl->out, "webhook: none; alarms are in control's log only\n");
		return;
	}
	fprintf(hbctl->out,
		"webhook: %s, %" PRId64 " taken, %" PRId64 " waiting, %" PRId64
		" tries failed, %" PRId64 " given up%s%s\n",
		url, hbctl_json_i64(webhook, "sent"), hbctl_json_i64(webhook, "waiting"),
		hbctl_json_i64(webhook, "failed"), hbctl_json_i64(webhook, "dropped"),
		error[0] == '\0' ? "" : "; last: ", error);
}

static void
print_alarms(struct hbctl *hbctl, const json_t *answer)
{
	const json_t *active = json_object_get(answer, "active");
	const json_t *recent = json_object_get(answer, "recent");

	if (json_array_size(active) == 0)
		fprintf(hbctl->out, "nothing is in alarm\n");
	for (size_t i = 0; i < json_array_size(active); i++)
		print_alarm(hbctl, json_array_get(active, i), "ACTIVE", "since_ms");
	if (json_array_size(recent) > 0)
		fprintf(hbctl->out, "\nrecently, newest first:\n");
	for (size_t i = 0; i < json_array_size(recent) && i < RECENT_SHOWN; i++) {
		const json_t *change = json_array_get(recent, i);

		print_alarm(hbctl, change, hbctl_json_text(change, "state"), "at_ms");
	}
	fputc('\n', hbctl->out);
	print_webhook(hbctl, json_object_get(answer, "webhook"));
}

int
hbctl_run_alarms(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int status = 0;
	json_t *answer = hbctl_control_call(hbctl, "GET", "/alarms", NULL, &status, error);
	int result;

	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status != 200)
		return hbctl_control_refused(hbctl, answer, status);
	result = json_array_size(json_object_get(answer, "active")) == 0 ? HBCTL_OK : HBCTL_WRONG;
	if (hbctl->json) {
		json_object_del(answer, "status");
		json_object_set_new(answer, "ok", json_boolean(result == HBCTL_OK));
		hbctl_print_json(hbctl, answer);
		return result;
	}
	print_alarms(hbctl, answer);
	json_decref(answer);
	return result;
}

int
hbctl_run_alarms_test(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int status = 0;
	json_t *answer = hbctl_control_call(hbctl, "POST", "/alarms/test", "{}", &status, error);

	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status != 200)
		return hbctl_control_refused(hbctl, answer, status);
	if (hbctl->json) {
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:s}", "ok", 1, "id", hbctl_json_text(answer, "id")));
	} else {
		fprintf(hbctl->out, "the receiver took test alarm %s\n",
			hbctl_json_text(answer, "id"));
	}
	json_decref(answer);
	return HBCTL_OK;
}
