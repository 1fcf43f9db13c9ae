/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl degrade: what is switched off, by control's admin API. Control keeps and tells it; this
 * only asks.
 */
#include <inttypes.h>
#include <string.h>

#include "tools/hbctl/hbctl.h"

#define DAY_S 86400

static int
print_level(struct hbctl *hbctl, json_t *answer)
{
	uint64_t until_ms = (uint64_t)hbctl_json_i64(answer, "until_ms");
	char when[HBCTL_TIME_BYTES];

	if (hbctl->json) {
		json_object_del(answer, "status");
		json_object_set_new(answer, "ok", json_true());
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	hbctl_time(when, until_ms);
	fprintf(hbctl->out, "level      %s, by %s%s%s\nmeasured   %s\n",
		hbctl_json_text(answer, "level"), hbctl_json_text(answer, "by"),
		until_ms == 0 ? "" : " until ", until_ms == 0 ? "" : when,
		hbctl_json_text(answer, "measured"));
	json_decref(answer);
	return HBCTL_OK;
}

int
hbctl_run_degrade(struct hbctl *hbctl)
{
	const char *level = hbctl->positional_count > 0 ? hbctl->positional[0] : NULL;
	const char *time = hbctl_option_value(hbctl, "--for");
	char error[HBCTL_ERROR_BYTES] = "";
	char body[96] = "";
	uint64_t for_s = 0;
	int status = 0;
	json_t *answer;

	if (level != NULL && strcmp(level, "auto") != 0 &&
		hb_degrade_find(level) == HB_DEGRADE_COUNT)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.40s' is no level: normal, no-lists, no-push, no-new-packets or auto",
			level);
	if (time != NULL && (level == NULL || strcmp(level, "auto") == 0 ||
				    !hbctl_parse_duration(time, &for_s) || for_s > DAY_S))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--for goes with a level and takes 90s, 15m, 1h, at most 1d");
	if (level != NULL && for_s != 0)
		snprintf(body, sizeof(body), "{\"level\":\"%s\",\"for_s\":%" PRIu64 "}", level,
			for_s);
	else if (level != NULL)
		snprintf(body, sizeof(body), "{\"level\":\"%s\"}", level);
	answer = hbctl_control_call(hbctl, level == NULL ? "GET" : "POST", "/degrade",
		level == NULL ? NULL : body, &status, error);
	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status != 200)
		return hbctl_control_refused(hbctl, answer, status);
	return print_level(hbctl, answer);
}
