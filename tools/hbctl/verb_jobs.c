/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl jobs, job run: control's job frame over its admin API. Control owns the jobs; this only
 * asks and prints.
 */
#include <ctype.h>
#include <string.h>

#include "tools/hbctl/hbctl.h"

#define JOB_NAME_BYTES_MAX 64

/* An answer of control that is not 200 .. 202. @return exit code of what was said */
static int
control_refused(struct hbctl *hbctl, json_t *answer, int status)
{
	const char *message = hbctl_json_text(answer, "message");
	int result = hbctl_fail(hbctl, HBCTL_WRONG, "control: %s (HTTP %d)",
		message[0] == '\0' ? hbctl_json_text(answer, "status") : message, status);

	json_decref(answer);
	return result;
}

/* "key=value" pairs of what control tells about a job. */
static void
print_job(struct hbctl *hbctl, const json_t *job)
{
	const char *key;
	json_t *value;

	fprintf(hbctl->out, "%-24s", hbctl_json_text(job, "name"));
	json_object_foreach((json_t *)(uintptr_t)job, key, value)
	{
		size_t length = strlen(key);
		char when[HBCTL_TIME_BYTES];

		if (strcmp(key, "name") == 0)
			continue;
		if (json_is_integer(value) && length > 3 && strcmp(key + length - 3, "_ms") == 0 &&
			json_integer_value(value) > INT64_C(1000000000000)) {
			hbctl_time(when, (uint64_t)json_integer_value(value));
			fprintf(hbctl->out, "  %.*s=%s", (int)length - 3, key, when);
		} else if (json_is_integer(value)) {
			fprintf(hbctl->out, "  %s=%" JSON_INTEGER_FORMAT, key,
				json_integer_value(value));
		} else if (json_is_string(value)) {
			fprintf(hbctl->out, "  %s=%s", key, json_string_value(value));
		} else if (json_is_boolean(value)) {
			fprintf(hbctl->out, "  %s=%s", key, json_is_true(value) ? "yes" : "no");
		}
	}
	fputc('\n', hbctl->out);
}

int
hbctl_run_jobs(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int status = 0;
	json_t *answer = hbctl_control_call(hbctl, "GET", "/jobs", NULL, &status, error);
	size_t index;
	json_t *job;

	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status != 200)
		return control_refused(hbctl, answer, status);
	if (hbctl->json) {
		json_t *jobs = json_object_get(answer, "jobs");

		hbctl_print_json(hbctl,
			json_pack("{s:b, s:O}", "ok", 1, "jobs", jobs == NULL ? answer : jobs));
		json_decref(answer);
		return HBCTL_OK;
	}
	json_array_foreach(json_is_array(answer) ? answer : json_object_get(answer, "jobs"), index,
		job) print_job(hbctl, job);
	json_decref(answer);
	return HBCTL_OK;
}

static bool
job_name_ok(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > JOB_NAME_BYTES_MAX)
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && *name != '-' && *name != '_')
			return false;
	return true;
}

int
hbctl_run_job(struct hbctl *hbctl)
{
	const char *name = hbctl->positional[0];
	char error[HBCTL_ERROR_BYTES] = "";
	char path[JOB_NAME_BYTES_MAX + 16];
	int status = 0;
	json_t *answer;

	if (!job_name_ok(name))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not a job's name; 'hbctl jobs' lists them", name);
	snprintf(path, sizeof(path), "/jobs/%s/run", name);
	answer = hbctl_control_call(hbctl, "POST", path, "{}", &status, error);
	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status < 200 || status > 202)
		return control_refused(hbctl, answer, status);
	if (hbctl->json) {
		if (!json_is_object(answer)) {
			json_decref(answer);
			answer = json_object();
		}
		json_object_set_new(answer, "ok", json_true());
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	json_object_set_new(answer, "name", json_string(name));
	print_job(hbctl, answer);
	json_decref(answer);
	return HBCTL_OK;
}
