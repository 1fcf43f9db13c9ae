/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures and judges (alarms.h), and answers GET /alarms, POST /alarms/test and POST
 * /alarms/check. `lock` is over the book, the limits and what the last measures were; it is not
 * held while persist or the receiver is waited for. Memory is the watch's own, and lost with the
 * process.
 */
#include "controlplane/alarms.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "controlplane/alarm_book.h"
#include "controlplane/degrade.h"
#include "controlplane/json_fields.h"

#define NS_PER_S	 UINT64_C(1000000000)
#define NS_PER_MS	 UINT64_C(1000000)
#define RESTART_SHOWN_NS (600 * NS_PER_S)
#define TEST_WAIT_MS	 8000
#define CHECK_UNKNOWN	 (-1)
#define URL_SHOWN_BYTES	 128
#define VIOLATIONS_MAX	 INT64_C(1000000000000)

/* What is remembered between two measures. */
struct before {
	uint64_t dataplane_started_ns;
	uint64_t restarted_ns; /* monotonic, 0 not seen */
	uint64_t forged;
	uint64_t forged_ns;
	uint64_t snapshots_made;
	uint64_t snapshots_failed_then;
};

struct hb_alarms {
	struct hb_control *control;
	struct hb_webhook *webhook;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool stopping;
	uint64_t interval_ns;
	char url_shown[URL_SHOWN_BYTES]; /* scheme and host */
	struct hb_alarm_limits limits;
	struct hb_alarm_book book;
	struct hb_forecast forecast;
	struct before before;
	int64_t check_violations; /* of the last hbctl check, or CHECK_UNKNOWN */
	struct hb_alarm_time now; /* of the measure under way */
};

/* ---- a change on its way out ---- */

static uint64_t
publish(struct hb_alarms *alarms, const struct hb_alarm_change *change)
{
	const struct hb_alarm *alarm = &change->alarm;
	bool test = change->kind == HB_ALARM_TEST;
	json_t *json = hb_alarm_change_json(change, alarms->control->config->node_number);
	char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	HB_ASSERT(text);
	hb_log(change->kind == HB_ALARM_RAISED ? HB_LOG_ERROR : HB_LOG_INFO, "alarm",
		"state=%s rule=%s severity=%s subject=\"%s\" value=%" PRId64 " limit=%" PRId64
		" id=%s text=\"%s\"",
		hb_alarm_change_name(change->kind), test ? "test" : hb_alarm_key(alarm->rule),
		test ? "test" : hb_alarm_severity(alarm->rule), alarm->subject, alarm->value,
		change->limit, alarm->id, alarm->text);
	return hb_webhook_send(alarms->webhook, text);
}

/* With the lock held. */
static void __attribute__((format(printf, 5, 6))) note(struct hb_alarms *alarms,
	enum hb_alarm_rule rule, const char *subject, int64_t value, const char *format, ...)
{
	struct hb_alarm_change change;
	char text[HB_ALARM_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	hb_text_plain(text);
	if (hb_alarm_note(&alarms->book, &alarms->limits, &alarms->now, rule, subject, value, text,
		    &change) != HB_ALARM_NO_CHANGE)
		publish(alarms, &change);
}

/* ---- measures; with the lock held ---- */

static void
measure_lcores(struct hb_alarms *alarms, const struct hb_engine_view *view)
{
	uint64_t oldest_ms = 0;
	uint32_t which = 0;

	for (uint32_t i = 0; i < view->lcore_count; i++) {
		uint64_t beat_ns = view->lcore[i].heartbeat_ns;
		uint64_t age_ms = 0;

		if (beat_ns != 0 && beat_ns < alarms->now.mono_ns)
			age_ms = (alarms->now.mono_ns - beat_ns) / NS_PER_MS;
		if (age_ms >= oldest_ms) {
			oldest_ms = age_ms;
			which = i;
		}
	}
	note(alarms, HB_ALARM_HEARTBEAT_OLD, "", (int64_t)oldest_ms,
		"lcore %u turned %" PRIu64 " ms ago", which, oldest_ms);
}

static void
measure_restart(struct hb_alarms *alarms, const struct hb_engine_view *view)
{
	struct before *before = &alarms->before;

	if (before->dataplane_started_ns != 0 && before->dataplane_started_ns != view->started_ns)
		before->restarted_ns = alarms->now.mono_ns;
	before->dataplane_started_ns = view->started_ns;
	note(alarms, HB_ALARM_DATAPLANE_RESTARTED, "",
		before->restarted_ns != 0 &&
			alarms->now.mono_ns - before->restarted_ns < RESTART_SHOWN_NS,
		"the dataplane started anew; its log says why the one before ended");
}

static void
measure_forged(struct hb_alarms *alarms, const struct hb_engine_view *view)
{
	struct before *before = &alarms->before;
	uint64_t forged = view->counter[HB_COUNTER_PORT_FORGED];
	uint64_t passed_ns = alarms->now.mono_ns - before->forged_ns;
	uint64_t per_s = 0;

	if (before->forged_ns != 0 && forged >= before->forged && passed_ns > NS_PER_MS)
		per_s = (forged - before->forged) * 1000 / (passed_ns / NS_PER_MS);
	before->forged = forged;
	before->forged_ns = alarms->now.mono_ns;
	note(alarms, HB_ALARM_PORT_FORGED, "", (int64_t)per_s,
		"%" PRIu64 " datagrams a second with a wrong MAC", per_s);
}

static void
measure_engine(struct hb_alarms *alarms, const struct hb_engine_view *view)
{
	note(alarms, HB_ALARM_DATAPLANE_DOWN, "", !view->attached, "%s",
		view->attached ? "attached" : view->error);
	if (!view->attached)
		return;
	note(alarms, HB_ALARM_CLOCK_STOPPED, "", view->clock_stopped, "%s",
		view->clock_stopped ? "money operations wait: look at the time, then hbctl clock "
				      "confirm"
				    : "the clock goes");
	note(alarms, HB_ALARM_AUDIT_FAILED, "", (int64_t)view->counter[HB_COUNTER_AUDIT_FAILURES],
		"%" PRIu64 " passes since the dataplane began",
		view->counter[HB_COUNTER_AUDIT_FAILURES]);
	measure_restart(alarms, view);
	measure_lcores(alarms, view);
	measure_forged(alarms, view);
}

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int64_t
number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void
measure_applier(struct hb_alarms *alarms, const json_t *applier)
{
	const char *name = text_of(applier, "name");
	const char *state = text_of(applier, "state");
	const char *error = text_of(applier, "error");
	int64_t failures = number_of(applier, "failures");
	int64_t lag = number_of(applier, "lag");
	int64_t lag_ms = number_of(applier, "lag_ms");

	note(alarms, HB_ALARM_MYSQL_DOWN, name, failures, "MySQL server %.40s is %.16s%s%.80s",
		name, state, error[0] ? ": " : "", error);
	note(alarms, HB_ALARM_APPLIER_POISONED, name, strcmp(state, "poisoned") == 0,
		"applier of %.40s is %.16s at seq %" PRId64 "%s%.60s", name, state,
		number_of(applier, "seq"), error[0] ? ": " : "", error);
	note(alarms, HB_ALARM_APPLIER_LAG_RECORDS, name, lag,
		"MySQL server %.40s is %" PRId64 " records behind", name, lag);
	note(alarms, HB_ALARM_APPLIER_LAG_TIME, name, lag_ms,
		"MySQL server %.40s was level %" PRId64 " ms ago", name, lag_ms);
}

static void
measure_snapshots(struct hb_alarms *alarms, const json_t *status)
{
	struct before *before = &alarms->before;
	uint64_t made = (uint64_t)number_of(status, "snapshots_made");
	uint64_t failed = (uint64_t)number_of(status, "snapshots_failed");

	if (made != before->snapshots_made || failed < before->snapshots_failed_then) {
		before->snapshots_made = made;
		before->snapshots_failed_then = failed;
	}
	note(alarms, HB_ALARM_SNAPSHOT_FAILED, "",
		(int64_t)(failed - before->snapshots_failed_then),
		"%" PRIu64 " snapshots failed since the last good one; persist's log says why",
		failed - before->snapshots_failed_then);
}

static void
measure_persist(struct hb_alarms *alarms, const json_t *status, const char *error)
{
	uint64_t used, whole;
	json_t *applier;
	int64_t hours;
	size_t i;

	note(alarms, HB_ALARM_PERSIST_DOWN, "", status == NULL, "%s",
		status ? "persist answers" : error);
	if (!status)
		return;
	used = (uint64_t)number_of(status, "volume_used");
	whole = (uint64_t)number_of(status, "volume_whole");
	note(alarms, HB_ALARM_STORAGE_LEVEL, "", number_of(status, "storage_level"),
		"level %" PRId64 ": %" PRIu64 " of %" PRIu64
		" MiB of the journal's volume are used",
		number_of(status, "storage_level"), used >> 20, whole >> 20);
	hours = hb_forecast_hours(&alarms->forecast, alarms->now.mono_ns, used, whole);
	note(alarms, HB_ALARM_DISK_FULL_SOON, "", hours,
		"about %" PRId64 " hours until %d %% of the journal's volume are used", hours,
		HB_FORECAST_FULL_PCT);
	note(alarms, HB_ALARM_SYNC_SLOW, "", number_of(status, "sync_us_p99_second"),
		"p99 of the journal's writes of the last second is %" PRId64 " us",
		number_of(status, "sync_us_p99_second"));
	measure_snapshots(alarms, status);
	json_array_foreach(json_object_get(status, "appliers"), i, applier)
		measure_applier(alarms, applier);
}

static void
measure_jobs(struct hb_alarms *alarms, const json_t *jobs)
{
	json_t *job;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)jobs, i, job)
	{
		const char *name = text_of(job, "name");

		if (number_of(job, "runs") > 0)
			note(alarms, HB_ALARM_JOB_FAILED, name,
				json_object_get(job, "alarm_since_ms") != NULL, "job %.40s: %.120s",
				name, text_of(job, "result"));
	}
}

static void
measure(struct hb_alarms *alarms)
{
	struct hb_control *control = alarms->control;
	struct hb_engine_view *view = calloc(1, sizeof(*view));
	json_t *status = NULL;
	json_t *jobs;
	char error[256] = "";

	if (!view)
		return;
	hb_engine_look(control->engine, view);
	if (hb_persist_admin_ask(&control->persist, "status", &status, error) != 0)
		status = NULL;
	hb_degrade_turn(control->degrade, view, status);
	jobs = hb_jobs_json(control->jobs);
	pthread_mutex_lock(&alarms->lock);
	alarms->now.mono_ns = hb_mono_ns();
	alarms->now.wall_ms = hb_wall_ns() / NS_PER_MS;
	measure_engine(alarms, view);
	measure_persist(alarms, status, error);
	measure_jobs(alarms, jobs);
	note(alarms, HB_ALARM_DEGRADED, "", hb_degrade_now(control->degrade), "level %s",
		hb_degrade_name(hb_degrade_now(control->degrade)));
	if (alarms->check_violations != CHECK_UNKNOWN)
		note(alarms, HB_ALARM_CHECK_DIFFERENCES, "", alarms->check_violations,
			"the last hbctl check found %" PRId64 " violations",
			alarms->check_violations);
	pthread_mutex_unlock(&alarms->lock);
	json_decref(jobs);
	json_decref(status);
	free(view);
}

static void *
run(void *context)
{
	struct hb_alarms *alarms = context;

	pthread_mutex_lock(&alarms->lock);
	while (!alarms->stopping) {
		uint64_t due_ns = hb_mono_ns() + alarms->interval_ns;
		struct timespec until = {.tv_sec = (time_t)(due_ns / NS_PER_S),
			.tv_nsec = (long)(due_ns % NS_PER_S)};

		pthread_mutex_unlock(&alarms->lock);
		measure(alarms);
		pthread_mutex_lock(&alarms->lock);
		if (!alarms->stopping)
			pthread_cond_timedwait(&alarms->changed, &alarms->lock, &until);
	}
	pthread_mutex_unlock(&alarms->lock);
	return NULL;
}

/* ---- start, options, stop ---- */

/* Scheme and host of a URL: what follows may be a secret of the receiver. */
static void
show_url(char shown[URL_SHOWN_BYTES], const char *url)
{
	const char *host = strstr(url, "://");
	size_t length = host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;

	snprintf(shown, URL_SHOWN_BYTES, "%.*s", (int)length, url);
}

static void
webhook_options(struct hb_webhook_options *options, const struct hb_config *config)
{
	snprintf(options->url, sizeof(options->url), "%s", config->alarm_webhook);
	snprintf(options->ca_file, sizeof(options->ca_file), "%s", config->alarm_ca_file);
	options->timeout_ms = config->alarm_timeout_ms;
}

static void
take_options(struct hb_alarms *alarms, const struct hb_config *config)
{
	hb_alarm_limits_take(&alarms->limits, config);
	alarms->interval_ns = (uint64_t)config->alarm_interval_ms * NS_PER_MS;
	show_url(alarms->url_shown, config->alarm_webhook);
}

int
hb_alarms_read_keys(struct hb_alarms *alarms, char error[256])
{
	struct hb_business_keys *keys = NULL;
	char path[HB_PATH_MAX];
	int result;

	hb_path(path, alarms->control->config->node_directory, HB_PATH_KEY_ALARM);
	result = hb_business_keys_load(&keys, path, error);
	if (result == 0)
		hb_webhook_keys(alarms->webhook, keys);
	return result;
}

int
hb_alarms_start(struct hb_alarms **out, struct hb_control *control, char error[256])
{
	struct hb_alarms *alarms = calloc(1, sizeof(*alarms));
	struct hb_webhook_options options;
	pthread_condattr_t attributes;
	int result;

	if (!alarms)
		return -ENOMEM;
	alarms->control = control;
	alarms->check_violations = CHECK_UNKNOWN;
	take_options(alarms, control->config);
	webhook_options(&options, control->config);
	result = hb_webhook_start(&alarms->webhook, &options);
	if (result != 0)
		goto fail;
	result = hb_alarms_read_keys(alarms, error);
	if (result != 0 && options.url[0] != '\0')
		goto fail;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&alarms->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&alarms->lock, NULL);
	result = -pthread_create(&alarms->thread, NULL, run, alarms);
	if (result != 0) {
		pthread_cond_destroy(&alarms->changed);
		pthread_mutex_destroy(&alarms->lock);
		goto fail;
	}
	*out = alarms;
	return 0;
fail:
	hb_webhook_stop(alarms->webhook);
	free(alarms);
	return result;
}

void
hb_alarms_stop(struct hb_alarms *alarms)
{
	if (!alarms)
		return;
	pthread_mutex_lock(&alarms->lock);
	alarms->stopping = true;
	pthread_cond_broadcast(&alarms->changed);
	pthread_mutex_unlock(&alarms->lock);
	pthread_join(alarms->thread, NULL);
	hb_webhook_stop(alarms->webhook);
	pthread_cond_destroy(&alarms->changed);
	pthread_mutex_destroy(&alarms->lock);
	free(alarms);
}

void
hb_alarms_configure(struct hb_alarms *alarms, const struct hb_config *config)
{
	struct hb_webhook_options options;

	webhook_options(&options, config);
	hb_webhook_configure(alarms->webhook, &options);
	pthread_mutex_lock(&alarms->lock);
	take_options(alarms, config);
	pthread_cond_broadcast(&alarms->changed);
	pthread_mutex_unlock(&alarms->lock);
}

void
hb_alarms_counts_read(struct hb_alarms *alarms, struct hb_alarm_counts *counts)
{
	pthread_mutex_lock(&alarms->lock);
	counts->active = hb_alarms_active(&alarms->book);
	counts->changes = alarms->book.changes;
	pthread_mutex_unlock(&alarms->lock);
	hb_webhook_counts_read(alarms->webhook, &counts->webhook);
}

void
hb_alarms_check_result(struct hb_alarms *alarms, uint64_t violations)
{
	pthread_mutex_lock(&alarms->lock);
	alarms->check_violations =
		violations > (uint64_t)VIOLATIONS_MAX ? VIOLATIONS_MAX : (int64_t)violations;
	pthread_mutex_unlock(&alarms->lock);
}

/* ---- the admin API ---- */

static json_t *
webhook_json(struct hb_alarms *alarms, const char *url_shown)
{
	struct hb_webhook_counts counts;

	hb_webhook_counts_read(alarms->webhook, &counts);
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:s}", "url", url_shown, "sent",
		(json_int_t)counts.sent, "failed", (json_int_t)counts.failed, "dropped",
		(json_int_t)counts.dropped, "waiting", (json_int_t)counts.waiting, "error",
		counts.error);
}

void
hb_alarms_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	struct hb_alarms *alarms = control->alarms;
	char url_shown[URL_SHOWN_BYTES];
	json_t *json;

	pthread_mutex_lock(&alarms->lock);
	json = hb_alarm_book_json(&alarms->book, control->config->node_number);
	memcpy(url_shown, alarms->url_shown, sizeof(url_shown));
	pthread_mutex_unlock(&alarms->lock);
	HB_ASSERT(json);
	json_object_set_new(json, "status", json_string("ok"));
	json_object_set_new(json, "webhook", webhook_json(alarms, url_shown));
	hb_http_json(reply, 200, json);
}

void
hb_alarms_test(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	struct hb_alarms *alarms = control->alarms;
	struct hb_alarm_change change;
	struct hb_webhook_counts counts;
	uint64_t number;
	int result;

	pthread_mutex_lock(&alarms->lock);
	hb_alarm_test(&alarms->book, hb_wall_ns() / NS_PER_MS, &change);
	number = publish(alarms, &change);
	pthread_mutex_unlock(&alarms->lock);
	if (number == 0) {
		hb_http_error(reply, 409, "no_webhook",
			"the test is in the log only: alarm.webhook is empty");
		return;
	}
	result = hb_webhook_wait(alarms->webhook, number, TEST_WAIT_MS);
	hb_webhook_counts_read(alarms->webhook, &counts);
	if (result != 0) {
		hb_http_error(reply, 502, "not_taken",
			"the receiver has not taken it in %d s (%s); it is tried again",
			TEST_WAIT_MS / 1000, counts.error[0] ? counts.error : "no answer yet");
		return;
	}
	hb_http_json(reply, 200,
		json_pack("{s:s,s:s,s:o}", "status", "ok", "id", change.alarm.id, "webhook",
			webhook_json(alarms, "")));
}

void
hb_alarms_check_post(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	json_t *body = json_loadb(request->body, request->body_bytes, JSON_REJECT_DUPLICATES, NULL);
	const json_t *violations = json_object_get(body, "violations");

	if (!json_is_integer(violations) || json_integer_value(violations) < 0) {
		json_decref(body);
		hb_http_error(reply, 400, "bad_request", "the body must be {\"violations\":n}");
		return;
	}
	hb_alarms_check_result(control->alarms, (uint64_t)json_integer_value(violations));
	json_decref(body);
	hb_http_json(reply, 200, json_pack("{s:s}", "status", "ok"));
}
