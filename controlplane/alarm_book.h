/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The table of alarm rules and the book of what is in alarm. Pure: time and values come in, changes
 * come out, so every rule can be tried without a node.
 *
 * A rule is about one value of one subject (a server, a job, or nothing). It is raised when the
 * value has been beyond `raise` for raise_after_s, and cleared when it has been within `clear` for
 * clear_after_s; between the two nothing changes. What cannot be measured stays as it was: a
 * measure that is missing is no good news.
 *
 * The book is the caller's and has no lock. It is lost with the process: the next one raises again
 * what is still wrong, under a new id.
 */
#ifndef HB_CONTROLPLANE_ALARM_BOOK_H
#define HB_CONTROLPLANE_ALARM_BOOK_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/config.h"

#define HB_ALARMS_MAX		   128 /* subjects watched, raised or not */
#define HB_ALARM_CHANGES_KEPT	   128 /* of the past, for hbctl alarms */
#define HB_ALARM_SUBJECT_BYTES	   64
#define HB_ALARM_TEXT_BYTES	   192
#define HB_ALARM_ID_BYTES	   17
#define HB_ALARM_SERVER_FAILURES   5 /* in a row, as persist counts them */
#define HB_ALARM_HOURS_UNKNOWN_MAX 1000000

/*
 * name, key, severity, raise, clear, falling, about
 * `raise` and `clear` are expressions over `config`. falling: low values are the bad ones.
 */
#define HB_ALARM_RULE_TABLE(X)                                                                     \
	X(DATAPLANE_DOWN, "dataplane_down", "critical", 1, 0, false,                               \
		"control is not attached to the dataplane")                                        \
	X(DATAPLANE_RESTARTED, "dataplane_restarted", "warning", 1, 0, false,                      \
		"the dataplane was started anew in the last 10 minutes")                           \
	X(PERSIST_DOWN, "persist_down", "critical", 1, 0, false, "persist does not answer")        \
	X(HEARTBEAT_OLD, "heartbeat_old", "critical", config->alarm_heartbeat_ms,                  \
		config->alarm_heartbeat_ms / 2, false, "an lcore has not turned for so many ms")   \
	X(CLOCK_STOPPED, "clock_stopped", "critical", 1, 0, false,                                 \
		"money operations wait for hbctl clock confirm")                                   \
	X(AUDIT_FAILED, "audit_failed", "critical", 1, 0, false,                                   \
		"the memory audit found memory changed behind the engine")                         \
	X(STORAGE_LEVEL, "storage_level", "critical", 1, 0, false,                                 \
		"the journal's volume is so full that operations are shed")                        \
	X(DISK_FULL_SOON, "disk_full_soon", "warning", config->alarm_disk_full_h,                  \
		config->alarm_disk_full_h * 2, true,                                               \
		"hours until the journal's volume is full, at the pace of the last hour")          \
	X(SYNC_SLOW, "sync_slow", "warning", config->alarm_sync_p99_us,                            \
		config->alarm_sync_p99_us / 2, false,                                              \
		"p99 of the journal's synchronous writes, us")                                     \
	X(SNAPSHOT_FAILED, "snapshot_failed", "warning", 1, 0, false,                              \
		"snapshots failed since the last one that was made")                               \
	X(MYSQL_DOWN, "mysql_down", "critical", HB_ALARM_SERVER_FAILURES, 0, false,                \
		"a MySQL server failed so many times in a row")                                    \
	X(APPLIER_POISONED, "applier_poisoned", "critical", 1, 0, false,                           \
		"a record cannot be applied; a person must look")                                  \
	X(APPLIER_LAG_RECORDS, "applier_lag_records", "warning", config->alarm_lag_records,        \
		config->alarm_lag_records / 2, false, "records that a MySQL server is behind")     \
	X(APPLIER_LAG_TIME, "applier_lag_time", "warning", config->alarm_lag_ms,                   \
		config->alarm_lag_ms / 2, false, "ms since a MySQL server was level")              \
	X(CHECK_DIFFERENCES, "check_differences", "critical", 1, 0, false,                         \
		"violations that the last hbctl check found")                                      \
	X(JOB_FAILED, "job_failed", "warning", 1, 0, false, "a job failed or found something")     \
	X(PORT_FORGED, "port_forged", "warning", config->alarm_forged_per_s,                       \
		config->alarm_forged_per_s / 2, false, "datagrams a second whose MAC was wrong")   \
	X(DEGRADED, "degraded", "warning", 1, 0, false,                                            \
		"level of what is switched off, by measure or by an operator")

enum hb_alarm_rule {
#define HB_ALARM_RULE_ENUM(name, key, severity, raise, clear, falling, about) HB_ALARM_##name,
	HB_ALARM_RULE_TABLE(HB_ALARM_RULE_ENUM)
#undef HB_ALARM_RULE_ENUM
	HB_ALARM_RULE_COUNT
};

/* What the options say, taken over as a whole when they are reloaded. */
struct hb_alarm_limits {
	int64_t raise[HB_ALARM_RULE_COUNT];
	int64_t clear[HB_ALARM_RULE_COUNT];
	int64_t raise_after_ns;
	int64_t clear_after_ns;
};

enum hb_alarm_change_kind {
	HB_ALARM_NO_CHANGE = 0,
	HB_ALARM_RAISED,
	HB_ALARM_CLEARED,
	HB_ALARM_TEST,
};

struct hb_alarm {
	enum hb_alarm_rule rule;
	char subject[HB_ALARM_SUBJECT_BYTES];
	char id[HB_ALARM_ID_BYTES]; /* of this raising; the clear has the same */
	bool active;
	uint64_t turning_ns; /* monotonic: since when the value says otherwise; 0 it does not */
	uint64_t since_ms;   /* wall, of the raising */
	int64_t value;
	char text[HB_ALARM_TEXT_BYTES];
};

struct hb_alarm_change {
	enum hb_alarm_change_kind kind;
	uint64_t at_ms; /* wall */
	int64_t limit;	/* that the value crossed */
	struct hb_alarm alarm;
};

struct hb_alarm_book {
	uint32_t count;
	uint32_t unwatched; /* subjects there was no room for */
	uint64_t changes;   /* since start; the newest is at (changes - 1) % KEPT */
	struct hb_alarm alarm[HB_ALARMS_MAX];
	struct hb_alarm_change change[HB_ALARM_CHANGES_KEPT];
};

struct hb_alarm_time {
	uint64_t mono_ns; /* never 0 */
	uint64_t wall_ms;
};

const char *hb_alarm_key(enum hb_alarm_rule rule);
const char *hb_alarm_severity(enum hb_alarm_rule rule);
const char *hb_alarm_about(enum hb_alarm_rule rule);
/** "raised", "cleared", "test". */
const char *hb_alarm_change_name(enum hb_alarm_change_kind kind);

void hb_alarm_limits_take(struct hb_alarm_limits *limits, const struct hb_config *config);

/**
 * A value was measured.
 * @param subject "" when the rule has only one
 * @param text one sentence for people, shown while the alarm is raised
 * @return what that changes, HB_ALARM_NO_CHANGE in most cases; then *change is filled in
 */
enum hb_alarm_change_kind hb_alarm_note(struct hb_alarm_book *book,
	const struct hb_alarm_limits *limits, const struct hb_alarm_time *now,
	enum hb_alarm_rule rule, const char *subject, int64_t value, const char *text,
	struct hb_alarm_change *change);

/** A change that no value made: an operator tries the way out. */
void hb_alarm_test(struct hb_alarm_book *book, uint64_t wall_ms, struct hb_alarm_change *change);

/** The change as the object that goes to the webhook. */
json_t *hb_alarm_change_json(const struct hb_alarm_change *change, int64_t node_number);
/** {"active":[…],"recent":[newest first …],"unwatched":n} */
json_t *hb_alarm_book_json(const struct hb_alarm_book *book, int64_t node_number);
uint32_t hb_alarms_active(const struct hb_alarm_book *book);

/* ---- how long a volume will last ---- */

#define HB_FORECAST_POINTS     60
#define HB_FORECAST_STEP_NS    UINT64_C(60000000000)
#define HB_FORECAST_POINTS_MIN 10 /* fewer say nothing */
#define HB_FORECAST_FULL_PCT   95 /* where persist takes control records only */

/* Used bytes, once a minute, of the last hour. Begins as zeros. */
struct hb_forecast {
	uint32_t count;
	uint32_t next;
	struct {
		uint64_t at_ns;
		uint64_t used;
	} point[HB_FORECAST_POINTS];
};

/**
 * Note how much is used, and tell the hours until HB_FORECAST_FULL_PCT of `whole` are.
 * @return hours, HB_ALARM_HOURS_UNKNOWN_MAX when it does not fill or is not known yet
 */
int64_t hb_forecast_hours(
	struct hb_forecast *forecast, uint64_t now_ns, uint64_t used, uint64_t whole);

#endif
