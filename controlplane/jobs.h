/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The frame of all jobs: names, intervals, one run at a time, timing, last result, alarms.
 *
 * One thread runs what is due, in order of registration; an operator can ask for a run at once.
 * A job says what it found in one sentence and whether that is an alarm. Changes of a job's alarm
 * are logged when they happen, not at every run. Nothing is kept over a restart: every job looks
 * at the truth anew.
 */
#ifndef HB_CONTROLPLANE_JOBS_H
#define HB_CONTROLPLANE_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#define HB_JOBS_MAX	  32
#define HB_JOB_TEXT_BYTES 256

struct hb_job_result {
	bool ok;	/* the job could do its work */
	bool alarm;	/* somebody must look at it */
	uint64_t found; /* what a checker found, 0 in a healthy system */
	char text[HB_JOB_TEXT_BYTES];
};

typedef void hb_job_fn(void *context, struct hb_job_result *result);

struct hb_jobs;

int hb_jobs_create(struct hb_jobs **jobs);
/** Before hb_jobs_start. `name` and `about` are constants. */
void hb_jobs_register(struct hb_jobs *jobs, const char *name, const char *about,
	uint32_t interval_s, hb_job_fn *run, void *context);
/** Start the thread. @return 0 or -errno */
int hb_jobs_start(struct hb_jobs *jobs);
/** Wait for the job that runs, then free. NULL is fine. */
void hb_jobs_stop(struct hb_jobs *jobs);

/**
 * Run a job now and wait for its end.
 * @return 0 with *json; -ENOENT no such job; -ETIMEDOUT when it was not done in time (it goes on)
 */
int hb_jobs_run(struct hb_jobs *jobs, const char *name, uint32_t timeout_ms, json_t **json);

/** All jobs as a JSON array. */
json_t *hb_jobs_json(struct hb_jobs *jobs);

/** Jobs in alarm now. */
uint32_t hb_jobs_alarms(struct hb_jobs *jobs);

#endif
