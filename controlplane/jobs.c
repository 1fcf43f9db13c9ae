/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs jobs (jobs.h) in one thread that sleeps until the next is due. The list of jobs is fixed
 * after the start; what changes is under `lock`, which is not held while a job runs. If the process
 * dies in a job, the next process runs it again: jobs send idempotent commands only.
 */
#include "controlplane/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "controlplane/json_fields.h"

#define NS_PER_S UINT64_C(1000000000)

struct job {
	const char *name;
	const char *about;
	uint32_t interval_s;
	hb_job_fn *run;
	void *context;
	uint64_t due_ns; /* monotonic */
	bool wanted;	 /* by an operator, at once */
	bool running;
	uint64_t runs;
	uint64_t failures;
	uint64_t started_ns; /* wall, of the last run */
	uint64_t took_ns;
	uint64_t alarm_since_ns; /* wall, 0 = none */
	struct hb_job_result last;
};

struct hb_jobs {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool started;
	bool stopping;
	uint32_t count;
	struct job job[HB_JOBS_MAX];
};

int
hb_jobs_create(struct hb_jobs **out)
{
	struct hb_jobs *jobs = calloc(1, sizeof(*jobs));
	pthread_condattr_t attributes;

	if (!jobs)
		return -ENOMEM;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&jobs->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&jobs->lock, NULL);
	*out = jobs;
	return 0;
}

void
hb_jobs_register(struct hb_jobs *jobs, const char *name, const char *about, uint32_t interval_s,
	hb_job_fn *run, void *context)
{
	HB_ASSERT(!jobs->started && jobs->count < HB_JOBS_MAX);
	jobs->job[jobs->count++] = (struct job){.name = name,
		.about = about,
		.interval_s = interval_s,
		.run = run,
		.context = context,
		.due_ns = hb_mono_ns() + interval_s * NS_PER_S};
}

static void
note(struct job *job, const struct hb_job_result *result, uint64_t started_ns, uint64_t took_ns)
{
	bool alarm = result->alarm || !result->ok;
	bool before = job->alarm_since_ns != 0;

	job->last = *result;
	hb_text_plain(job->last.text);
	job->runs++;
	job->failures += !result->ok;
	job->started_ns = started_ns;
	job->took_ns = took_ns;
	if (alarm && !before) {
		job->alarm_since_ns = started_ns;
		hb_log(HB_LOG_ERROR, "job_alarm", "job=%s found=%lu text=\"%s\"", job->name,
			(unsigned long)result->found, job->last.text);
	} else if (!alarm && before) {
		job->alarm_since_ns = 0;
		hb_log(HB_LOG_INFO, "job_alarm_over", "job=%s text=\"%s\"", job->name,
			job->last.text);
	}
}

/* With the lock held; gives it up while the job runs. */
static void
run_job(struct hb_jobs *jobs, struct job *job)
{
	struct hb_job_result result = {.ok = true};
	uint64_t wall_ns = hb_wall_ns();
	uint64_t began_ns = hb_mono_ns();

	job->wanted = false;
	job->running = true;
	pthread_mutex_unlock(&jobs->lock);
	job->run(job->context, &result);
	pthread_mutex_lock(&jobs->lock);
	job->running = false;
	job->due_ns = hb_mono_ns() + job->interval_s * NS_PER_S;
	note(job, &result, wall_ns, hb_mono_ns() - began_ns);
	pthread_cond_broadcast(&jobs->changed);
}

static struct job *
next_job(struct hb_jobs *jobs, uint64_t now_ns, uint64_t *due_ns)
{
	*due_ns = UINT64_MAX;
	for (uint32_t i = 0; i < jobs->count; i++) {
		struct job *job = &jobs->job[i];

		if (job->wanted || job->due_ns <= now_ns)
			return job;
		if (job->due_ns < *due_ns)
			*due_ns = job->due_ns;
	}
	return NULL;
}

static void *
run(void *context)
{
	struct hb_jobs *jobs = context;

	pthread_mutex_lock(&jobs->lock);
	while (!jobs->stopping) {
		uint64_t due_ns;
		struct job *job = next_job(jobs, hb_mono_ns(), &due_ns);
		struct timespec until;

		if (job) {
			run_job(jobs, job);
			continue;
		}
		if (due_ns == UINT64_MAX)
			due_ns = hb_mono_ns() + 3600 * NS_PER_S;
		until.tv_sec = (time_t)(due_ns / NS_PER_S);
		until.tv_nsec = (long)(due_ns % NS_PER_S);
		pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until);
	}
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

int
hb_jobs_start(struct hb_jobs *jobs)
{
	int result = -pthread_create(&jobs->thread, NULL, run, jobs);

	jobs->started = result == 0;
	return result;
}

void
hb_jobs_stop(struct hb_jobs *jobs)
{
	if (!jobs)
		return;
	if (jobs->started) {
		pthread_mutex_lock(&jobs->lock);
		jobs->stopping = true;
		pthread_cond_broadcast(&jobs->changed);
		pthread_mutex_unlock(&jobs->lock);
		pthread_join(jobs->thread, NULL);
	}
	pthread_cond_destroy(&jobs->changed);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}

static json_t *
job_json(const struct job *job)
{
	json_t *json = json_pack("{s:s,s:s,s:I,s:b,s:I,s:I}", "name", job->name, "about",
		job->about, "interval_s", (json_int_t)job->interval_s, "running", (int)job->running,
		"runs", (json_int_t)job->runs, "failures", (json_int_t)job->failures);

	HB_ASSERT(json);
	if (job->runs) {
		json_t *last = json_pack("{s:b,s:b,s:I,s:s,s:I,s:I}", "ok", (int)job->last.ok,
			"alarm", (int)job->last.alarm, "found", (json_int_t)job->last.found,
			"result", job->last.text, "last_run_ms",
			(json_int_t)(job->started_ns / 1000000), "took_us",
			(json_int_t)(job->took_ns / 1000));

		HB_ASSERT(last);
		json_object_update(json, last);
		json_decref(last);
	}
	if (job->alarm_since_ns)
		json_object_set_new(json, "alarm_since_ms",
			json_integer((json_int_t)(job->alarm_since_ns / 1000000)));
	return json;
}

static struct job *
find(struct hb_jobs *jobs, const char *name)
{
	for (uint32_t i = 0; i < jobs->count; i++) {
		if (strcmp(jobs->job[i].name, name) == 0)
			return &jobs->job[i];
	}
	return NULL;
}

int
hb_jobs_run(struct hb_jobs *jobs, const char *name, uint32_t timeout_ms, json_t **json)
{
	struct job *job = find(jobs, name);
	struct timespec until;
	uint64_t until_ns = hb_mono_ns() + timeout_ms * UINT64_C(1000000);
	uint64_t run_wanted;
	int result = 0;

	if (!job)
		return -ENOENT;
	until.tv_sec = (time_t)(until_ns / NS_PER_S);
	until.tv_nsec = (long)(until_ns % NS_PER_S);
	pthread_mutex_lock(&jobs->lock);
	/* A run under way began before the question, so the one after it is the answer. */
	run_wanted = job->runs + 1 + job->running;
	job->wanted = true;
	pthread_cond_broadcast(&jobs->changed);
	while (job->runs < run_wanted && result == 0 && !jobs->stopping)
		result = -pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until);
	if (job->runs >= run_wanted) {
		*json = job_json(job);
		result = 0;
	} else {
		result = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&jobs->lock);
	return result;
}

json_t *
hb_jobs_json(struct hb_jobs *jobs)
{
	json_t *list = json_array();

	pthread_mutex_lock(&jobs->lock);
	for (uint32_t i = 0; i < jobs->count; i++)
		json_array_append_new(list, job_json(&jobs->job[i]));
	pthread_mutex_unlock(&jobs->lock);
	return list;
}

uint32_t
hb_jobs_alarms(struct hb_jobs *jobs)
{
	uint32_t alarms = 0;

	pthread_mutex_lock(&jobs->lock);
	for (uint32_t i = 0; i < jobs->count; i++)
		alarms += jobs->job[i].alarm_since_ns != 0;
	pthread_mutex_unlock(&jobs->lock);
	return alarms;
}
