/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alarm rules with hysteresis (alarm_book.h). No clock is read here and nothing is allocated but
 * the JSON that is returned.
 */
#include "controlplane/alarm_book.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define MS_PER_H  UINT64_C(3600000)

static const struct {
	const char *key;
	const char *severity;
	const char *about;
	bool falling;
} rules[HB_ALARM_RULE_COUNT] = {
#define RULE(name, key, severity, raise, clear, falling, about)                                    \
	[HB_ALARM_##name] = {key, severity, about, falling},
	HB_ALARM_RULE_TABLE(RULE)
#undef RULE
};

const char *
hb_alarm_key(enum hb_alarm_rule rule)
{
	return rules[rule].key;
}

const char *
hb_alarm_severity(enum hb_alarm_rule rule)
{
	return rules[rule].severity;
}

const char *
hb_alarm_about(enum hb_alarm_rule rule)
{
	return rules[rule].about;
}

const char *
hb_alarm_change_name(enum hb_alarm_change_kind kind)
{
	static const char *const names[] = {"none", "raised", "cleared", "test"};

	HB_ASSERT(kind < sizeof(names) / sizeof(names[0]));
	return names[kind];
}

void
hb_alarm_limits_take(struct hb_alarm_limits *limits, const struct hb_config *config)
{
#define LIMIT(name, key, severity, raise_value, clear_value, falling, about)                       \
	limits->raise[HB_ALARM_##name] = (raise_value);                                            \
	limits->clear[HB_ALARM_##name] = (clear_value);
	HB_ALARM_RULE_TABLE(LIMIT)
#undef LIMIT
	limits->raise_after_ns = config->alarm_raise_after_s * NS_PER_S;
	limits->clear_after_ns = config->alarm_clear_after_s * NS_PER_S;
}

/* @return NULL when there is no room for one more */
static struct hb_alarm *
find(struct hb_alarm_book *book, enum hb_alarm_rule rule, const char *subject)
{
	struct hb_alarm *alarm;

	for (uint32_t i = 0; i < book->count; i++) {
		alarm = &book->alarm[i];
		if (alarm->rule == rule &&
			strncmp(alarm->subject, subject, sizeof(alarm->subject) - 1) == 0)
			return alarm;
	}
	if (book->count == HB_ALARMS_MAX) {
		book->unwatched++;
		return NULL;
	}
	alarm = &book->alarm[book->count++];
	memset(alarm, 0, sizeof(*alarm));
	alarm->rule = rule;
	snprintf(alarm->subject, sizeof(alarm->subject), "%s", subject);
	return alarm;
}

static void
make_id(char id[HB_ALARM_ID_BYTES])
{
	uint64_t random;

	HB_ASSERT(getrandom(&random, sizeof(random), 0) == (ssize_t)sizeof(random));
	snprintf(id, HB_ALARM_ID_BYTES, "%016llx", (unsigned long long)random);
}

static void
keep(struct hb_alarm_book *book, const struct hb_alarm_change *change)
{
	book->change[book->changes++ % HB_ALARM_CHANGES_KEPT] = *change;
}

/* Does the value speak for the state that the alarm is not in? */
static bool
says_otherwise(const struct hb_alarm *alarm, int64_t value, const struct hb_alarm_limits *limits)
{
	int64_t raise = limits->raise[alarm->rule];
	int64_t clear = limits->clear[alarm->rule];

	if (rules[alarm->rule].falling)
		return alarm->active ? value >= clear : value <= raise;
	return alarm->active ? value <= clear : value >= raise;
}

enum hb_alarm_change_kind
hb_alarm_note(struct hb_alarm_book *book, const struct hb_alarm_limits *limits,
	const struct hb_alarm_time *now, enum hb_alarm_rule rule, const char *subject,
	int64_t value, const char *text, struct hb_alarm_change *change)
{
	struct hb_alarm *alarm = find(book, rule, subject);
	int64_t after_ns;

	if (!alarm)
		return HB_ALARM_NO_CHANGE;
	alarm->value = value;
	snprintf(alarm->text, sizeof(alarm->text), "%s", text);
	if (!says_otherwise(alarm, value, limits)) {
		alarm->turning_ns = 0;
		return HB_ALARM_NO_CHANGE;
	}
	if (alarm->turning_ns == 0)
		alarm->turning_ns = now->mono_ns;
	after_ns = alarm->active ? limits->clear_after_ns : limits->raise_after_ns;
	if (now->mono_ns - alarm->turning_ns < (uint64_t)after_ns)
		return HB_ALARM_NO_CHANGE;
	alarm->turning_ns = 0;
	alarm->active = !alarm->active;
	if (alarm->active) {
		alarm->since_ms = now->wall_ms;
		make_id(alarm->id);
	}
	*change = (struct hb_alarm_change){
		.kind = alarm->active ? HB_ALARM_RAISED : HB_ALARM_CLEARED,
		.at_ms = now->wall_ms,
		.limit = alarm->active ? limits->raise[rule] : limits->clear[rule],
		.alarm = *alarm,
	};
	keep(book, change);
	return change->kind;
}

void
hb_alarm_test(struct hb_alarm_book *book, uint64_t wall_ms, struct hb_alarm_change *change)
{
	*change = (struct hb_alarm_change){
		.kind = HB_ALARM_TEST,
		.at_ms = wall_ms,
		.alarm = {.since_ms = wall_ms,
			.text = "an operator tries the way of the alarms; nothing is wrong"},
	};
	make_id(change->alarm.id);
	keep(book, change);
}

static json_t *
alarm_json(const struct hb_alarm *alarm, enum hb_alarm_change_kind kind, int64_t node_number)
{
	bool test = kind == HB_ALARM_TEST;
	json_t *json =
		json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:I}", "node", (json_int_t)node_number,
			"id", alarm->id, "rule", test ? "test" : rules[alarm->rule].key, "severity",
			test ? "test" : rules[alarm->rule].severity, "subject", alarm->subject,
			"value", (json_int_t)alarm->value, "about",
			test ? "a test of the webhook" : rules[alarm->rule].about, "text",
			alarm->text, "since_ms", (json_int_t)alarm->since_ms);

	HB_ASSERT(json);
	return json;
}

json_t *
hb_alarm_change_json(const struct hb_alarm_change *change, int64_t node_number)
{
	json_t *json = alarm_json(&change->alarm, change->kind, node_number);

	json_object_set_new(json, "state", json_string(hb_alarm_change_name(change->kind)));
	json_object_set_new(json, "limit", json_integer((json_int_t)change->limit));
	json_object_set_new(json, "at_ms", json_integer((json_int_t)change->at_ms));
	return json;
}

json_t *
hb_alarm_book_json(const struct hb_alarm_book *book, int64_t node_number)
{
	uint64_t kept =
		book->changes < HB_ALARM_CHANGES_KEPT ? book->changes : HB_ALARM_CHANGES_KEPT;
	json_t *active = json_array();
	json_t *recent = json_array();

	for (uint32_t i = 0; i < book->count; i++) {
		if (book->alarm[i].active)
			json_array_append_new(
				active, alarm_json(&book->alarm[i], HB_ALARM_RAISED, node_number));
	}
	for (uint64_t i = 1; i <= kept; i++) {
		const struct hb_alarm_change *change =
			&book->change[(book->changes - i) % HB_ALARM_CHANGES_KEPT];

		json_array_append_new(recent, hb_alarm_change_json(change, node_number));
	}
	return json_pack("{s:o,s:o,s:I}", "active", active, "recent", recent, "unwatched",
		(json_int_t)book->unwatched);
}

uint32_t
hb_alarms_active(const struct hb_alarm_book *book)
{
	uint32_t active = 0;

	for (uint32_t i = 0; i < book->count; i++)
		active += book->alarm[i].active;
	return active;
}

/* ---- how long a volume will last ---- */

int64_t
hb_forecast_hours(struct hb_forecast *forecast, uint64_t now_ns, uint64_t used, uint64_t whole)
{
	uint32_t newest = (forecast->next + HB_FORECAST_POINTS - 1) % HB_FORECAST_POINTS;
	uint64_t full = whole / 100 * HB_FORECAST_FULL_PCT;
	uint64_t passed_ms, hours;
	uint32_t oldest;

	if (forecast->count == 0 || now_ns - forecast->point[newest].at_ns >= HB_FORECAST_STEP_NS) {
		forecast->point[forecast->next].at_ns = now_ns;
		forecast->point[forecast->next].used = used;
		forecast->next = (forecast->next + 1) % HB_FORECAST_POINTS;
		if (forecast->count < HB_FORECAST_POINTS)
			forecast->count++;
	}
	if (used >= full)
		return 0;
	oldest = (forecast->next + HB_FORECAST_POINTS - forecast->count) % HB_FORECAST_POINTS;
	if (forecast->count < HB_FORECAST_POINTS_MIN || used <= forecast->point[oldest].used)
		return HB_ALARM_HOURS_UNKNOWN_MAX;
	passed_ms = (now_ns - forecast->point[oldest].at_ns) / NS_PER_MS;
	/* bytes left : bytes an hour, without losing the small paces */
	hours = (uint64_t)((unsigned __int128)(full - used) * passed_ms /
			   ((unsigned __int128)(used - forecast->point[oldest].used) * MS_PER_H));
	return hours > HB_ALARM_HOURS_UNKNOWN_MAX ? HB_ALARM_HOURS_UNKNOWN_MAX : (int64_t)hours;
}
