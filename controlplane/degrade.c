/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levels of degradation (degrade.h), and GET and POST /degrade. `lock` is over what was decided; it
 * is held while the dataplane is told, so that two decisions cannot cross on their way.
 */
#include "controlplane/degrade.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "controlplane/engine_json.h"
#include "shm/ids.h"

#define NS_PER_S     UINT64_C(1000000000)
#define NS_PER_MS    UINT64_C(1000000)
#define TELL_MS	     1000
#define REFRESH_AT_S (HB_DEGRADE_AUTO_S / 2)

struct hb_degrade {
	struct hb_control *control;
	pthread_mutex_t lock;
	struct hb_degrade_limits limits;
	struct hb_degrade_auto automatic;
	bool looked; /* at a dataplane since this control began */
	bool by_operator;
	uint32_t operator_level;
	uint64_t operator_until_s; /* 0: until changed */
	uint64_t busy;		   /* the counter, and when it was read */
	uint64_t busy_ns;
	_Atomic uint32_t level; /* in force */
};

/* ---- judging ---- */

void
hb_degrade_limits_take(struct hb_degrade_limits *limits, const struct hb_config *config)
{
	limits->lag_ms = config->degrade_lag_ms;
	limits->busy_per_s = config->degrade_busy_per_s;
	limits->step_ns = (uint64_t)config->degrade_step_s * NS_PER_S;
	limits->calm_ns = (uint64_t)config->degrade_calm_s * NS_PER_S;
}

/* The level that this measure alone asks for. */
static uint32_t
wanted_level(const struct hb_degrade_auto *state, const struct hb_degrade_limits *limits,
	const struct hb_degrade_measures *measures)
{
	uint32_t wanted = HB_DEGRADE_NORMAL;

	if (measures->lag_ms >= limits->lag_ms)
		wanted = HB_DEGRADE_NO_LISTS;
	if (measures->busy_per_s >= limits->busy_per_s)
		wanted = state->level < HB_DEGRADE_NO_NEW_PACKETS ? state->level + 1
								  : HB_DEGRADE_NO_NEW_PACKETS;
	if (measures->storage_level >= HB_STORAGE_NO_PACKETS)
		wanted = HB_DEGRADE_NO_NEW_PACKETS;
	return wanted;
}

uint32_t
hb_degrade_judge(struct hb_degrade_auto *state, const struct hb_degrade_limits *limits,
	const struct hb_degrade_measures *measures, uint64_t mono_ns)
{
	uint32_t wanted = wanted_level(state, limits, measures);

	if (wanted <= state->level)
		state->rising_ns = 0;
	else if (state->rising_ns == 0)
		state->rising_ns = mono_ns;
	if (wanted >= state->level)
		state->falling_ns = 0;
	else if (state->falling_ns == 0)
		state->falling_ns = mono_ns;
	if (measures->storage_level >= HB_STORAGE_NO_PACKETS) {
		state->level = wanted;
		state->rising_ns = 0;
	} else if (state->rising_ns != 0 && mono_ns - state->rising_ns >= limits->step_ns) {
		state->level++;
		state->rising_ns = 0;
	} else if (state->falling_ns != 0 && mono_ns - state->falling_ns >= limits->calm_ns) {
		state->level--;
		state->falling_ns = 0;
	}
	return state->level;
}

/* ---- telling the dataplane; with the lock held ---- */

static void
tell(struct hb_degrade *degrade, uint32_t level, bool by_operator, uint64_t until_s)
{
	union hb_any_frame frame;
	union hb_any_reply answer;
	int error;

	hb_frame_begin(&frame, HB_OP_DEGRADE, sizeof(frame.degrade),
		hb_system_account(HB_SYSTEM_CLEARING_MANUAL, 0), 0);
	frame.degrade.level = level;
	frame.degrade.by = by_operator ? HB_DEGRADE_BY_OPERATOR : HB_DEGRADE_BY_MEASURE;
	frame.degrade.until_s = until_s;
	error = hb_engine_call_one(
		degrade->control->engine, &frame.head, &answer.head, sizeof(answer), TELL_MS);
	if (error != 0 || answer.head.status != HB_STATUS_OK)
		hb_log(HB_LOG_WARN, "degrade_not_told", "level=%s error=%d status=%s",
			hb_degrade_name(level), error,
			error == 0 ? hb_status_name(answer.head.status) : "");
}

/* The level in force, kept where requests look. */
static uint32_t
settle(struct hb_degrade *degrade, uint64_t wall_s)
{
	uint32_t level;

	if (degrade->by_operator && degrade->operator_until_s != 0 &&
		wall_s >= degrade->operator_until_s) {
		degrade->by_operator = false;
		hb_log(HB_LOG_INFO, "degrade_over", "level=%s by=operator",
			hb_degrade_name(degrade->operator_level));
	}
	level = degrade->by_operator ? degrade->operator_level : degrade->automatic.level;
	if (atomic_exchange(&degrade->level, level) != level)
		hb_log(HB_LOG_WARN, "degrade", "level=%s by=%s", hb_degrade_name(level),
			degrade->by_operator ? "operator" : "measure");
	return level;
}

/* Does the dataplane know what it should? */
static bool
is_told(const struct hb_degrade *degrade, const struct hb_engine_view *view, uint32_t level,
	uint64_t wall_s)
{
	if (view->degrade_level != level)
		return false;
	if (degrade->by_operator)
		return view->degrade_by == HB_DEGRADE_BY_OPERATOR &&
		       view->degrade_until_s == degrade->operator_until_s;
	if (view->degrade_by == HB_DEGRADE_BY_OPERATOR)
		return false;
	return level == HB_DEGRADE_NORMAL || view->degrade_until_s > wall_s + REFRESH_AT_S;
}

static void
tell_if_needed(struct hb_degrade *degrade, const struct hb_engine_view *view)
{
	uint64_t wall_s = hb_wall_ns() / NS_PER_S;
	uint32_t level = settle(degrade, wall_s);

	if (!view->attached || is_told(degrade, view, level, wall_s))
		return;
	if (degrade->by_operator)
		tell(degrade, level, true, degrade->operator_until_s);
	else
		tell(degrade, level, false,
			level == HB_DEGRADE_NORMAL ? 0 : wall_s + HB_DEGRADE_AUTO_S);
}

/* ---- measures ---- */

static int64_t
slowest_lag_ms(const json_t *status)
{
	json_t *applier;
	int64_t most = 0;
	size_t i;

	json_array_foreach(json_object_get(status, "appliers"), i, applier)
	{
		int64_t lag_ms = json_integer_value(json_object_get(applier, "lag_ms"));

		most = lag_ms > most ? lag_ms : most;
	}
	return most;
}

static int64_t
busy_per_s(struct hb_degrade *degrade, const struct hb_engine_view *view, uint64_t mono_ns)
{
	uint64_t busy = view->counter[HB_COUNTER_REFUSED_BUSY];
	uint64_t passed_ms = (mono_ns - degrade->busy_ns) / NS_PER_MS;
	uint64_t per_s = 0;

	if (degrade->busy_ns != 0 && busy >= degrade->busy && passed_ms > 0)
		per_s = (busy - degrade->busy) * 1000 / passed_ms;
	degrade->busy = busy;
	degrade->busy_ns = mono_ns;
	return (int64_t)per_s;
}

/* An operator's level that a control before this one has set. */
static void
take_over(struct hb_degrade *degrade, const struct hb_engine_view *view)
{
	if (degrade->looked || !view->attached)
		return;
	degrade->looked = true;
	if (degrade->by_operator || view->degrade_by != HB_DEGRADE_BY_OPERATOR)
		return;
	degrade->by_operator = true;
	degrade->operator_level = view->degrade_level;
	degrade->operator_until_s = view->degrade_until_s;
}

void
hb_degrade_turn(struct hb_degrade *degrade, const struct hb_engine_view *view, const json_t *status)
{
	uint64_t mono_ns = hb_mono_ns();
	struct hb_degrade_measures measures = {.storage_level = view->storage_level};

	pthread_mutex_lock(&degrade->lock);
	if (status) {
		measures.lag_ms = slowest_lag_ms(status);
		measures.storage_level =
			(uint32_t)json_integer_value(json_object_get(status, "storage_level"));
	}
	if (view->attached)
		measures.busy_per_s = busy_per_s(degrade, view, mono_ns);
	take_over(degrade, view);
	hb_degrade_judge(&degrade->automatic, &degrade->limits, &measures, mono_ns);
	tell_if_needed(degrade, view);
	pthread_mutex_unlock(&degrade->lock);
}

/* ---- life ---- */

int
hb_degrade_create(struct hb_degrade **out, struct hb_control *control)
{
	struct hb_degrade *degrade = calloc(1, sizeof(*degrade));

	if (!degrade)
		return -ENOMEM;
	degrade->control = control;
	hb_degrade_limits_take(&degrade->limits, control->config);
	pthread_mutex_init(&degrade->lock, NULL);
	*out = degrade;
	return 0;
}

void
hb_degrade_destroy(struct hb_degrade *degrade)
{
	if (!degrade)
		return;
	pthread_mutex_destroy(&degrade->lock);
	free(degrade);
}

void
hb_degrade_configure(struct hb_degrade *degrade, const struct hb_config *config)
{
	pthread_mutex_lock(&degrade->lock);
	hb_degrade_limits_take(&degrade->limits, config);
	pthread_mutex_unlock(&degrade->lock);
}

uint32_t
hb_degrade_now(const struct hb_degrade *degrade)
{
	return atomic_load(&degrade->level);
}

bool
hb_degrade_no_lists(const struct hb_control *control, struct hb_http_reply *reply)
{
	/* without one (tests of single handlers) nothing is off */
	if (!control->degrade || hb_degrade_now(control->degrade) < HB_DEGRADE_NO_LISTS)
		return false;
	hb_http_error(reply, 503, hb_status_name(HB_STATUS_DEGRADED),
		"lists are switched off for a while, so that grabs go on; ask again later");
	reply->retry_after = HB_DEGRADE_RETRY_AFTER;
	return true;
}

/* ---- the admin API ---- */

static json_t *
degrade_json(struct hb_degrade *degrade)
{
	uint64_t until_s = degrade->by_operator ? degrade->operator_until_s : 0;

	return json_pack("{s:s,s:s,s:s,s:s,s:I}", "status", "ok", "level",
		hb_degrade_name(atomic_load(&degrade->level)), "by",
		degrade->by_operator ? "operator" : "measure", "measured",
		hb_degrade_name(degrade->automatic.level), "until_ms",
		(json_int_t)(until_s * 1000));
}

void
hb_degrade_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;

	pthread_mutex_lock(&control->degrade->lock);
	hb_http_json(reply, 200, degrade_json(control->degrade));
	pthread_mutex_unlock(&control->degrade->lock);
}

/* {"level":"no-lists","for_s":600}, {"level":"auto"}. @return NULL or what is wrong */
static const char *
take_wish(struct hb_degrade *degrade, const json_t *body)
{
	const char *name = json_string_value(json_object_get(body, "level"));
	const json_t *for_s = json_object_get(body, "for_s");
	uint64_t wall_s = hb_wall_ns() / NS_PER_S;
	uint32_t level;

	if (!name)
		return "the body must be {\"level\":NAME} or {\"level\":NAME,\"for_s\":SECONDS}";
	if (strcmp(name, "auto") == 0) {
		degrade->by_operator = false;
		return NULL;
	}
	level = hb_degrade_find(name);
	if (level == HB_DEGRADE_COUNT)
		return "level must be normal, no-lists, no-push, no-new-packets or auto";
	if (for_s && (!json_is_integer(for_s) || json_integer_value(for_s) < 1 ||
			     json_integer_value(for_s) > HB_DEGRADE_FOR_S_MAX))
		return "for_s must be whole seconds, at most a day";
	degrade->by_operator = true;
	degrade->operator_level = level;
	degrade->operator_until_s = for_s ? wall_s + (uint64_t)json_integer_value(for_s) : 0;
	return NULL;
}

void
hb_degrade_post(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	json_t *body = json_loadb(request->body, request->body_bytes, JSON_REJECT_DUPLICATES, NULL);
	struct hb_engine_view *view = calloc(1, sizeof(*view));
	const char *wrong;

	if (!view) {
		hb_http_error(reply, 503, "busy", "no memory; ask again");
		goto out;
	}
	hb_engine_look(control->engine, view);
	pthread_mutex_lock(&control->degrade->lock);
	control->degrade->looked = true; /* the newer word counts */
	wrong = take_wish(control->degrade, body);
	if (!wrong)
		tell_if_needed(control->degrade, view);
	if (wrong)
		hb_http_error(reply, 400, "bad_request", "%s", wrong);
	else
		hb_http_json(reply, 200, degrade_json(control->degrade));
	pthread_mutex_unlock(&control->degrade->lock);
out:
	free(view);
	json_decref(body);
}
