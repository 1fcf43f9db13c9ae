/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl jobs, job run: control's job frame over its admin API. Control owns the jobs; this only
 * asks and prints.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "tools/hbctl/hbctl.h"

#define JOB_NAME_BYTES_MAX 64

static const char *
job_state(const json_t *job)
{
	if (json_is_true(json_object_get(job, "running")))
		return "running";
	if (hbctl_json_i64(job, "runs") == 0)
		return "-";
	if (!json_is_true(json_object_get(job, "ok")))
		return "failed";
	return json_is_true(json_object_get(job, "alarm")) ? "ALARM" : "ok";
}

static void
print_job(struct hbctl *hbctl, const json_t *job)
{
	char when[HBCTL_TIME_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(job, "last_run_ms"));
	fprintf(hbctl->out, "%-22s %-8s %8" PRId64 " s  %-24s %8" PRId64 "  %s\n",
		hbctl_json_text(job, "name"), job_state(job), hbctl_json_i64(job, "interval_s"),
		when, hbctl_json_i64(job, "found"), hbctl_json_text(job, "result"));
}

static void
print_job_head(struct hbctl *hbctl)
{
	fprintf(hbctl->out, "%-22s %-8s %10s  %-24s %8s  %s\n", "job", "state", "every", "last run",
		"found", "result");
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
		return hbctl_control_refused(hbctl, answer, status);
	if (hbctl->json) {
		json_t *jobs = json_object_get(answer, "jobs");

		hbctl_print_json(hbctl,
			json_pack("{s:b, s:O}", "ok", 1, "jobs", jobs == NULL ? answer : jobs));
		json_decref(answer);
		return HBCTL_OK;
	}
	print_job_head(hbctl);
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
		return hbctl_control_refused(hbctl, answer, status);
	if (hbctl->json) {
		if (!json_is_object(answer)) {
			json_decref(answer);
			answer = json_object();
		}
		json_object_set_new(answer, "ok", json_true());
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	print_job_head(hbctl);
	print_job(hbctl, answer);
	json_decref(answer);
	return HBCTL_OK;
}
