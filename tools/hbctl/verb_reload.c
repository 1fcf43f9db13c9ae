/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl config reload: the running processes take over what has changed in the configuration.
 * Control says what differs; persist and dataplane are signalled and count what they took. Nothing
 * is kept; given again it does nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/hbctl/hbctl.h"

#define TAKEN_NS UINT64_C(8000000000)
#define LOOK_US	 20000
#define COUNTS	 2 /* taken completely, refused */

/* How often a process has read its options: [0] completely, [1] not. @return 0 or -errno */
typedef int read_counts_fn(
	struct hbctl *hbctl, uint64_t counts[COUNTS], pid_t *pid, char error[HBCTL_ERROR_BYTES]);

static int
dataplane_counts(
	struct hbctl *hbctl, uint64_t counts[COUNTS], pid_t *pid, char error[HBCTL_ERROR_BYTES])
{
	struct ucred peer = {.pid = 0};
	socklen_t length = sizeof(peer);
	int result = hbctl_engine_open(hbctl, error);
	const struct hb_node *node;

	if (result != 0)
		return result;
	getsockopt(hb_client_socket_fd(hbctl->client), SOL_SOCKET, SO_PEERCRED, &peer, &length);
	*pid = peer.pid;
	node = hbctl_engine_node(hbctl);
	counts[0] = atomic_load(&node->reloads);
	counts[1] = atomic_load(&node->reload_failures);
	return 0;
}

static int
persist_counts(
	struct hbctl *hbctl, uint64_t counts[COUNTS], pid_t *pid, char error[HBCTL_ERROR_BYTES])
{
	json_t *status =
		hbctl_persist_call(hbctl, "{\"cmd\":\"status\"}", HBCTL_CALL_TIMEOUT_MS, error);

	if (status == NULL)
		return -EIO;
	*pid = (pid_t)hbctl_json_i64(status, "pid");
	counts[0] = (uint64_t)hbctl_json_i64(status, "reloads");
	counts[1] = (uint64_t)hbctl_json_i64(status, "reload_failures");
	json_decref(status);
	return 0;
}

/* Signal a process, and wait until it has counted. @return 0 or -errno with `error` */
static int
reload(struct hbctl *hbctl, const char *name, read_counts_fn *read_counts,
	char error[HBCTL_ERROR_BYTES])
{
	uint64_t before[COUNTS], now[COUNTS];
	uint64_t until_ns = hb_mono_ns() + TAKEN_NS;
	pid_t pid = 0;
	int result = read_counts(hbctl, before, &pid, error);

	if (result != 0)
		return result;
	if (pid <= 1 || kill(pid, SIGHUP) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%s (pid %d) cannot be signalled: %s", name,
			(int)pid, strerror(errno));
		return -EPERM;
	}
	while (hb_mono_ns() < until_ns) {
		usleep(LOOK_US);
		result = read_counts(hbctl, now, &pid, error);
		if (result != 0)
			return result;
		if (now[1] != before[1]) {
			snprintf(error, HBCTL_ERROR_BYTES,
				"%s could not take all of it; log/%s.log says why", name, name);
			return -EINVAL;
		}
		if (now[0] != before[0])
			return 0;
	}
	snprintf(error, HBCTL_ERROR_BYTES, "%s has not answered in %d s", name,
		(int)(TAKEN_NS / 1000000000));
	return -ETIMEDOUT;
}

int
hbctl_dataplane_reload(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	return reload(hbctl, "dataplane", dataplane_counts, error);
}

/* What becomes of one option. */
static void
print_change(struct hbctl *hbctl, const json_t *change)
{
	const json_t *live = json_object_get(change, "live");
	const char *first = json_string_value(json_array_get(live, 0));
	const char *what = "needs a restart";

	if (first != NULL && strcmp(first, "nginx") == 0)
		what = "./hongbao reload, or systemctl restart hongbao-front";
	else if (first != NULL)
		what = "in force";
	fprintf(hbctl->out, "%-26s %s -> %s: %s", hbctl_json_text(change, "key"),
		hbctl_json_text(change, "before"), hbctl_json_text(change, "now"), what);
	for (size_t i = 0; i < json_array_size(live) && strcmp(what, "in force") == 0; i++)
		fprintf(hbctl->out, "%s%s", i == 0 ? " at " : ", ",
			json_string_value(json_array_get(live, i)));
	fputc('\n', hbctl->out);
}

static void
print_changes(struct hbctl *hbctl, const json_t *changes)
{
	for (size_t i = 0; i < json_array_size(changes); i++)
		print_change(hbctl, json_array_get(changes, i));
	if (json_array_size(changes) == 0)
		fprintf(hbctl->out, "no option differs\n");
}

int
hbctl_run_config_reload(struct hbctl *hbctl)
{
	static const struct {
		const char *name;
		read_counts_fn *read_counts;
	} processes[] = {{"persist", persist_counts}, {"dataplane", dataplane_counts}};
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *failures = json_array();
	json_t *answer;
	int status = 0;
	bool good;

	answer = hbctl_control_call(hbctl, "POST", "/config/reload", "{}", &status, error);
	if (answer == NULL || status != 200) {
		json_decref(failures);
		return answer == NULL ? hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error)
				      : hbctl_control_refused(hbctl, answer, status);
	}
	for (size_t i = 0; i < sizeof(processes) / sizeof(processes[0]); i++) {
		if (reload(hbctl, processes[i].name, processes[i].read_counts, error) != 0)
			json_array_append_new(failures, hbctl_json_string(error));
	}
	good = json_array_size(failures) == 0;
	if (hbctl->json) {
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:O, s:o}", "ok", good, "changes",
				       json_object_get(answer, "changes"), "failures", failures));
	} else {
		print_changes(hbctl, json_object_get(answer, "changes"));
		for (size_t i = 0; i < json_array_size(failures); i++)
			fprintf(hbctl->err, "hbctl: %s\n",
				json_string_value(json_array_get(failures, i)));
		json_decref(failures);
	}
	json_decref(answer);
	return good ? HBCTL_OK : HBCTL_WRONG;
}
