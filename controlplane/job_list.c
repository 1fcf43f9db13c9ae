/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shipped jobs. Each looks at the truth and sends idempotent commands, so running one twice or
 * in the middle of a failure does no harm.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "controlplane/case_commands.h"
#include "controlplane/engine_json.h"
#include "shm/ids.h"

#define MARK_INTERVAL_S	      3600 /* the dataplane marks what changed by itself */
#define OVERDUE_INTERVAL_S    600
#define OVERDUE_AFTER_S	      60  /* the engine closes packets itself; this late is too late */
#define OVERDUE_PACKETS_MAX   256 /* re-driven by one run; the rest by the next */
#define LAG_INTERVAL_S	      30
#define LAG_RECORDS_MAX	      100000
#define UNFINISHED_INTERVAL_S 60

/* ---- mark ---- */

/* Why a helper that answers HTTP refused, as the job's own text. */
static void
take_refusal(struct hb_http_reply *reply, struct hb_job_result *result)
{
	const char *message = json_string_value(json_object_get(reply->json, "message"));

	result->ok = false;
	snprintf(result->text, sizeof(result->text), "%s", message ? message : "refused");
	json_decref(reply->json);
}

static void
run_mark(void *context, struct hb_job_result *result)
{
	struct hb_http_reply reply = {0};
	uint64_t as_of_seq;

	if (!hb_call_all_partitions(context, HB_OP_MARK, &as_of_seq, &reply)) {
		take_refusal(&reply, result);
		return;
	}
	snprintf(result->text, sizeof(result->text),
		"state hashes of all partitions are at seq %llu", (unsigned long long)as_of_seq);
}

/* ---- expired but not refunded ---- */

struct overdue {
	uint64_t packet[OVERDUE_PACKETS_MAX];
	uint32_t count;
};

static int
note_overdue(void *context, const void *data)
{
	struct overdue *overdue = context;
	const struct hb_packet_row *row = data;

	if (overdue->count < OVERDUE_PACKETS_MAX)
		overdue->packet[overdue->count++] = row->packet;
	return 0;
}

/* @return how many shards could not be read, with `error` of the last of them */
static uint32_t
find_overdue(const struct hb_control *control, struct overdue *overdue, uint64_t *as_of_seq,
	char error[HB_READS_ERROR_BYTES])
{
	uint32_t unread = 0;
	struct hb_read_parameters parameters = {
		.deadline_ms = hb_wall_ns() / 1000000 - OVERDUE_AFTER_S * 1000,
	};
	struct hb_packet_row row;

	*as_of_seq = UINT64_MAX;
	for (uint32_t shard = 0; shard < HB_PARTITION_COUNT; shard++) {
		struct hb_read *read = NULL;
		int result;

		parameters.limit = OVERDUE_PACKETS_MAX - overdue->count;
		if (parameters.limit == 0)
			break;
		result = hb_read_begin(control->reads, shard, 0, &read, error);
		if (result == 0) {
			result = hb_read_query(read, HB_READ_OVERDUE, shard, &parameters, &row,
				note_overdue, overdue, error);
			if (hb_read_as_of_seq(read) < *as_of_seq)
				*as_of_seq = hb_read_as_of_seq(read);
		}
		hb_read_end(read);
		unread += result != 0;
	}
	return unread;
}

/*
 * Ask the engine to close a packet. MySQL may be behind, so a packet that the engine closed
 * already is no finding.
 * @return 1 it was still open and is closed now, 0 it was closed, -1 the engine did not say
 */
static int
redrive(const struct hb_control *control, uint64_t packet)
{
	union hb_any_frame frame;
	union hb_any_reply answer;

	hb_frame_begin(&frame, HB_OP_PACKET_EXPIRE, sizeof(frame.head), packet, 0);
	if (hb_engine_call_one(control->engine, &frame.head, &answer.head, sizeof(answer),
		    HB_ENGINE_TIMEOUT_MS) != 0)
		return -1;
	if (answer.head.status == HB_STATUS_OK)
		return !(answer.head.flags & HB_REPLY_ALREADY);
	return answer.head.status == HB_STATUS_PACKET_UNKNOWN ||
			       answer.head.status == HB_STATUS_PACKET_GONE
		       ? 0
		       : -1;
}

static void
run_expired_not_refunded(void *context, struct hb_job_result *result)
{
	const struct hb_control *control = context;
	char error[HB_READS_ERROR_BYTES] = "";
	struct overdue overdue = {.count = 0};
	uint64_t as_of_seq = 0;
	uint32_t closed = 0;
	uint32_t unknown = 0;
	uint32_t unread = find_overdue(control, &overdue, &as_of_seq, error);

	for (uint32_t i = 0; i < overdue.count; i++) {
		int outcome = redrive(control, overdue.packet[i]);

		closed += outcome == 1;
		unknown += outcome == -1;
	}
	result->found = closed + unknown;
	result->alarm = result->found > 0;
	if (unread > 0) {
		result->ok = false;
		snprintf(result->text, sizeof(result->text),
			"%u shards could not be read (MySQL: %.100s); in the others %u packets "
			"were "
			"closed",
			unread, error, closed);
		return;
	}
	snprintf(result->text, sizeof(result->text),
		"%u packets past their deadline were open in the engine: %u closed now, %u without "
		"an "
		"answer; %u were only late in MySQL (seq %llu)",
		closed + unknown, closed, unknown, overdue.count - closed - unknown,
		(unsigned long long)as_of_seq);
}

/* ---- applier lag ---- */

static void
judge_applier(const json_t *applier, struct hb_job_result *result)
{
	const char *server = json_string_value(json_object_get(applier, "server"));
	const char *name = json_string_value(json_object_get(applier, "name"));
	const char *state = json_string_value(json_object_get(applier, "state"));
	const char *error = json_string_value(json_object_get(applier, "error"));
	json_int_t lag = json_integer_value(json_object_get(applier, "lag"));
	bool stopped = state && strcmp(state, "poisoned") == 0;

	if (lag > (json_int_t)result->found)
		result->found = (uint64_t)lag;
	if (!stopped && lag <= LAG_RECORDS_MAX)
		return;
	result->alarm = true;
	snprintf(result->text, sizeof(result->text),
		"applier of %.60s (%.16s) is %s, %lld records behind%s%.60s", server ? server : "?",
		name ? name : "?", state ? state : "?", (long long)lag,
		error && error[0] ? ": " : "", error ? error : "");
}

static void
run_applier_lag(void *context, struct hb_job_result *result)
{
	const struct hb_control *control = context;
	json_t *status = NULL;
	json_t *applier;
	size_t i;

	if (hb_persist_admin_ask(&control->persist, "status", &status, result->text) != 0) {
		result->ok = false;
		return;
	}
	json_array_foreach(json_object_get(status, "appliers"), i, applier)
		judge_applier(applier, result);
	if (!result->alarm)
		snprintf(result->text, sizeof(result->text),
			"the slowest applier is %llu records behind",
			(unsigned long long)result->found);
	json_decref(status);
}

void
hb_jobs_register_all(struct hb_control *control)
{
	hb_jobs_register(control->jobs, "mark", "writes the state hash of every partition",
		MARK_INTERVAL_S, run_mark, control);
	hb_jobs_register(control->jobs, "expired-not-refunded",
		"finds packets past their deadline that are still open, and closes them",
		OVERDUE_INTERVAL_S, run_expired_not_refunded, control);
	hb_jobs_register(control->jobs, "applier-lag", "alarms when MySQL falls behind the journal",
		LAG_INTERVAL_S, run_applier_lag, control);
	hb_jobs_register(control->jobs, "unfinished-cases",
		"finishes commands of operators whose outcome was not learnt",
		UNFINISHED_INTERVAL_S, hb_run_unfinished_cases, control);
}
