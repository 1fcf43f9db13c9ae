/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /config/reload: control reads its options again, takes over those that are live, and says of
 * every option that differs what becomes of it. hbctl config reload tells the other processes.
 *
 * control->config is written here alone, under `reload_lock`; whoever uses a live option gets it
 * through its own configure function, never from there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "controlplane/alarms.h"
#include "controlplane/control.h"
#include "controlplane/degrade.h"

#define ALL_LIVE                                                                                   \
	(HB_CONFIG_OF_DATAPLANE | HB_CONFIG_OF_PERSIST | HB_CONFIG_OF_CONTROL | HB_CONFIG_OF_NGINX)

static pthread_mutex_t reload_lock = PTHREAD_MUTEX_INITIALIZER;

static json_t *
processes_json(uint32_t live)
{
	static const char *const names[] = {"dataplane", "persist", "control", "nginx"};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (live & 1u << i)
			json_array_append_new(list, json_string(names[i]));
	}
	return list;
}

static void
append_change(void *context, const char *key, const char *before, const char *after)
{
	/* the rest of a URL may be a secret of its receiver */
	if (strcmp(key, "alarm.webhook") == 0)
		before = after = "(not shown)";
	json_array_append_new(
		context, json_pack("{s:s,s:s,s:s,s:o}", "key", key, "before", before, "now", after,
				 "live", processes_json(hb_config_live_of(key))));
}

int
hb_reload_options(struct hb_control *control, json_t *changes, char error[256])
{
	struct hb_config *fresh = calloc(1, sizeof(*fresh));
	struct hb_config *before = calloc(1, sizeof(*before));
	int result = -ENOMEM;

	pthread_mutex_lock(&reload_lock);
	if (!fresh || !before) {
		snprintf(error, 256, "no memory for the options");
		goto out;
	}
	*before = *control->config;
	/* The options of the other processes, too: what they were is known here alone. */
	result = hb_config_reload(control->config, ALL_LIVE, error);
	if (result != 0) {
		hb_log(HB_LOG_ERROR, "options_not_read",
			"error=\"%s\" effect=\"the old options go on\"", error);
		goto out;
	}
	if (changes && hb_config_read_again(fresh, error) == 0)
		hb_config_compare(before, fresh, append_change, changes);
	hb_alarms_configure(control->alarms, control->config);
	hb_degrade_configure(control->degrade, control->config);
out:
	pthread_mutex_unlock(&reload_lock);
	free(fresh);
	free(before);
	return result;
}

void
hb_config_reload_post(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	json_t *changes = json_array();
	char error[256] = "";

	if (hb_reload_options(request->context, changes, error) != 0) {
		json_decref(changes);
		hb_http_error(reply, 422, "options_refused", "%s", error);
		return;
	}
	hb_http_json(reply, 200, json_pack("{s:s,s:o}", "status", "ok", "changes", changes));
}
