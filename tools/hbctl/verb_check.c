/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl check: engine, journal and MySQL at one cut (persist/check.h has the proof).
 *
 * The replay runs in a child that became the persist user: it may read journal and ledger and
 * nothing else, and if an assertion ends it, the parent says so and the appliers go on. The child
 * writes its result as JSON into a pipe. The parent resumes the appliers on every way out but
 * SIGKILL; then `status` shows them stopped, and `applier resume` or the next check frees them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "persist/applier.h"
#include "persist/check.h"
#include "persist/journal_reader.h"
#include "persist/server_map.h"
#include "tools/hbctl/hbctl.h"

#define APPLIER_STOP_TIMEOUT_MS 70000
#define CHECK_LOCK		"log" /* the folder; a lock on it hurts nobody */
#define ENGINE_TIMEOUT_MS	60000
#define BUSY_ATTEMPTS		100
#define BUSY_PAUSE_US		50000
#define CUT_UNKNOWN		UINT64_MAX /* nobody told: the child looks where MySQL stands */

static volatile sig_atomic_t interrupted;

static void
interrupt(int signal_number)
{
	interrupted = signal_number;
}

static void
say(const struct hbctl *hbctl, const char *text)
{
	if (!hbctl->json || isatty(fileno(hbctl->err)) == 1)
		fprintf(hbctl->err, "%s\n", text);
}

int
hbctl_appliers_resume(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	json_t *answer = hbctl_persist_call(
		hbctl, "{\"cmd\":\"applier_resume\"}", HBCTL_CALL_TIMEOUT_MS, error);
	bool ok = json_is_true(json_object_get(answer, "ok"));

	if (answer != NULL && !ok)
		snprintf(error, HBCTL_ERROR_BYTES, "persist: %s", hbctl_json_text(answer, "error"));
	json_decref(answer);
	return ok ? 0 : -EIO;
}

int
hbctl_run_applier_resume(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";

	if (hbctl_persist_open(hbctl, error) != 0)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (hbctl_appliers_resume(hbctl, error) != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	if (hbctl->json)
		hbctl_print_json(hbctl, json_pack("{s:b}", "ok", 1));
	else
		fprintf(hbctl->out, "the appliers go on\n");
	return HBCTL_OK;
}

/* --- the child --- */

struct progress {
	char phase[24];
	bool terminal;
	bool quiet;
};

static void
show_progress(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct progress *progress = context;
	bool fresh = strcmp(progress->phase, phase) != 0;

	if (progress->quiet && !progress->terminal)
		return;
	snprintf(progress->phase, sizeof(progress->phase), "%s", phase);
	if (progress->terminal)
		fprintf(stderr, "\r\033[K%s %" PRIu64 " of %" PRIu64, phase, done, total);
	else if (fresh)
		fprintf(stderr, "checking %s\n", phase);
}

/* Where the journal ends, read from `from` on. Damage on the way is an error. */
static int
journal_end(struct hb_journal_reader *reader, uint64_t from, uint64_t *end)
{
	struct hb_journal_position at;
	const struct hb_record *record;
	int got = from == 0 ? hb_journal_reader_seek_first(reader)
			    : hb_journal_reader_seek(reader, from);

	if (got != 0)
		return got;
	*end = from;
	while ((got = hb_journal_reader_next(reader, &record, &at)) > 0)
		*end = at.seq;
	return got;
}

/* Where all servers that have shards stand. Without persist nobody brings them to one sequence. */
static int
common_position(const struct hb_config *config, const char *directory, const uint8_t stream[16],
	uint64_t *position, char error[HBCTL_ERROR_BYTES])
{
	const char *first = NULL;
	struct hb_server_map map;
	int result = hb_server_map_load(&map, config, directory, error);

	for (uint32_t i = 0; i < map.server_count && result == 0; i++) {
		struct hb_config one;
		uint64_t found;

		if (hb_server_map_shards(&map, i) == 0)
			continue;
		hb_server_config(config, &map.server[i].primary, &one);
		result = hb_applier_server_position(&one, stream, &found, error);
		if (result == 0 && first != NULL && found != *position) {
			snprintf(error, HBCTL_ERROR_BYTES,
				"server %s stands at %" PRIu64 " and server %s at %" PRIu64
				": start persist, which brings them to one sequence",
				first, *position, map.server[i].name, found);
			return -ESTALE;
		}
		*position = found;
		first = map.server[i].name;
	}
	return result;
}

/* Without persist: the cut is where MySQL stands, or the journal's end without MySQL. */
static int
find_cut(const struct hb_config *config, bool journal_only, uint64_t *cut, uint64_t *end,
	char error[HBCTL_ERROR_BYTES])
{
	char directory[HB_PATH_MAX];
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info;
	uint64_t position = 0;
	int result;

	hb_path(directory, config->node_directory, HB_PATH_JOURNAL);
	result = hb_journal_reader_open(&reader, directory, error);
	if (result != 0)
		return result;
	result = hb_journal_reader_info(reader, &info);
	if (result == 0 && !journal_only)
		result = common_position(config, directory, info.stream_id, &position, error);
	if (result == 0 && info.first_segment != 0) {
		result = journal_end(reader, position, end);
		if (result != 0)
			snprintf(error, HBCTL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	}
	*cut = journal_only ? *end : position;
	hb_journal_reader_close(reader);
	return result;
}

struct order {
	uint64_t cut;
	bool journal_only;
};

/* In the child. */
static json_t *
check(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	static struct hb_check_result result;
	const struct order *order = context;
	struct progress progress = {.terminal = isatty(STDERR_FILENO) == 1, .quiet = hbctl->json};
	struct hb_check_options options = {.config = &hbctl->config,
		.cut_seq = order->cut,
		.journal_only = order->journal_only,
		.progress = show_progress,
		.context = &progress};
	uint64_t end = order->cut;
	json_t *answer = NULL;
	char *text;
	int done = 0;

	if (order->cut == CUT_UNKNOWN)
		done = find_cut(&hbctl->config, order->journal_only, &options.cut_seq, &end, error);
	if (done == 0)
		done = hb_check_run(&options, &result, error);
	if (progress.terminal && progress.phase[0] != '\0')
		fprintf(stderr, "\r\033[K");
	if (done != 0) {
		if (error[0] == '\0')
			snprintf(error, HBCTL_ERROR_BYTES, "%s", strerror(-done));
		return NULL;
	}
	text = hb_check_json(&result, order->journal_only ? 0 : end - result.mysql_seq);
	if (text != NULL)
		answer = json_loads(text, 0, NULL);
	free(text);
	return answer;
}

/* --- the parent --- */

static void
add_violation(json_t *violations, const char *kind, const char *where, const char *found)
{
	json_array_append_new(violations, json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "where",
						  where, "expected", "", "found", found));
}

/* What could not be proved is a violation too, so that nobody reads an empty list as "fine". */
static int
unproved(struct hbctl *hbctl, int exit_code, const char *what, const char *error)
{
	json_t *violations;

	fprintf(hbctl->err, "hbctl: %s: %s\n", what, error);
	if (!hbctl->json)
		return exit_code;
	violations = json_array();
	add_violation(violations, "unproved", what, error);
	hbctl_print_json(hbctl, json_pack("{s:b, s:i, s:o, s:n, s:n, s:o}", "ok", 0, "exit",
					exit_code, "error", hbctl_json_string(error), "journal_seq",
					"mysql_lag", "violations", violations));
	return exit_code;
}

static void
append(char error[HBCTL_ERROR_BYTES], const char *more)
{
	size_t length = strlen(error);

	snprintf(error + length, HBCTL_ERROR_BYTES - length, "%s", more);
}

static int
ask_partition(struct hbctl *hbctl, enum hb_operation operation, uint32_t partition,
	char error[HBCTL_ERROR_BYTES])
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply *reply = (struct hb_reply *)(void *)room;
	int result;

	for (unsigned attempt = 0; attempt < BUSY_ATTEMPTS; attempt++) {
		result = hbctl_engine_call_partition(
			hbctl, operation, partition, reply, ENGINE_TIMEOUT_MS, error);
		if (result != 0 || reply->status == HB_STATUS_OK)
			return result;
		snprintf(error, HBCTL_ERROR_BYTES, "partition %" PRIu32 ": %s", partition,
			hb_status_advice(reply->status));
		if (reply->status != HB_STATUS_BUSY || interrupted)
			return -EIO;
		usleep(BUSY_PAUSE_US);
	}
	return -EIO;
}

/*
 * The engine's part: marks for the replay to compare with, and its own memory audit. An audit
 * that fails ends the dataplane, as wrong money in memory must not be served.
 */
static int
ask_engine(struct hbctl *hbctl, json_t *violations)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char where[HBCTL_NAME_BYTES];
	int result = 0;

	say(hbctl, "marking 16 partitions");
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && result == 0 && !interrupted; p++)
		result = ask_partition(hbctl, HB_OP_MARK, p, error);
	if (result != 0) {
		if (result != -EACCES)
			append(error, "; when it ended by itself its log says why (a failed memory "
				      "audit ends it); --offline checks journal and MySQL alone");
		return unproved(hbctl, HBCTL_UNREACHABLE, "the dataplane does not answer", error);
	}
	say(hbctl, "auditing the engine's memory");
	for (uint32_t p = 0; p < HB_PARTITION_COUNT && !interrupted; p++) {
		result = ask_partition(hbctl, HB_OP_AUDIT, p, error);
		if (result == 0)
			continue;
		snprintf(where, sizeof(where), "partition %" PRIu32, p);
		if (result != -EPIPE)
			return unproved(hbctl, HBCTL_UNREACHABLE, "memory audit", error);
		add_violation(violations, "memory_audit", where,
			"the dataplane ended during the audit: balances in memory were changed "
			"behind the engine, or it was stopped; its log says which");
		break;
	}
	return HBCTL_OK;
}

/*
 * Without MySQL the cut is what is committed now, and nobody has to stop.
 * @return HBCTL_OK with *cut, or the exit code of what was said
 */
static int
make_cut(struct hbctl *hbctl, bool offline, bool journal_only, uint64_t *cut)
{
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer;
	int result = HBCTL_OK;

	*cut = CUT_UNKNOWN;
	if (hbctl_persist_open(hbctl, error) != 0) {
		if (offline)
			return HBCTL_OK; /* nobody applies */
		return unproved(hbctl, HBCTL_UNREACHABLE, "persist does not answer", error);
	}
	if (!journal_only)
		say(hbctl, "stopping the appliers at one sequence");
	answer = hbctl_persist_call(hbctl,
		journal_only ? "{\"cmd\":\"status\"}" : "{\"cmd\":\"applier_stop\",\"seq\":null}",
		APPLIER_STOP_TIMEOUT_MS, error);
	if (answer != NULL && json_is_true(json_object_get(answer, "ok")))
		*cut = (uint64_t)hbctl_json_i64(answer, journal_only ? "committed_seq" : "seq");
	else if (answer != NULL)
		result = unproved(hbctl, HBCTL_WRONG, "the appliers do not reach the cut",
			hbctl_json_text(answer, "error"));
	else if (!interrupted)
		result = unproved(hbctl, HBCTL_UNREACHABLE, "persist does not answer", error);
	json_decref(answer);
	return result;
}

static void
free_appliers(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	sigset_t ending;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, NULL); /* the next Ctrl-C waits until they are free */
	if (hbctl_persist_open(hbctl, error) == 0 && hbctl_appliers_resume(hbctl, error) != 0)
		fprintf(hbctl->err,
			"hbctl: the appliers may still be stopped: %s; run 'hbctl applier "
			"resume'\n",
			error);
}

/* Stop, check, resume. @return HBCTL_OK with *answer, or the exit code of what was said */
static int
check_at_cut(struct hbctl *hbctl, bool offline, bool journal_only, json_t **answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	uint64_t cut = CUT_UNKNOWN;
	int result = interrupted ? HBCTL_OK : make_cut(hbctl, offline, journal_only, &cut);

	if (result == HBCTL_OK && !interrupted) {
		struct order order = {.cut = cut, .journal_only = journal_only};

		*answer = hbctl_in_child(hbctl, check, &order, &interrupted, error);
	}
	if (!journal_only && (cut != CUT_UNKNOWN || result != HBCTL_OK || interrupted))
		free_appliers(hbctl);
	if (result == HBCTL_OK && interrupted)
		return unproved(hbctl, HBCTL_WRONG, "the check was interrupted", "by a signal");
	if (result == HBCTL_OK && *answer == NULL)
		return unproved(hbctl, HBCTL_WRONG, "the check could not be finished", error);
	return result;
}

static void
print_violations(struct hbctl *hbctl, const json_t *violations)
{
	size_t index;
	json_t *violation;

	json_array_foreach(violations, index, violation)
	{
		const char *expected = hbctl_json_text(violation, "expected");

		fprintf(hbctl->out, "  %-18s %s\n", hbctl_json_text(violation, "kind"),
			hbctl_json_text(violation, "where"));
		if (expected[0] != '\0')
			fprintf(hbctl->out, "    expected %s\n", expected);
		fprintf(hbctl->out, "    found    %s\n", hbctl_json_text(violation, "found"));
	}
}

static const char *
proved(const struct hbctl *hbctl)
{
	bool engine = hbctl_option_value(hbctl, "--offline") == NULL;

	if (hbctl_option_value(hbctl, "--journal-only") != NULL)
		return engine ? "engine and journal agree" : "the journal is sound";
	return engine ? "engine, journal and MySQL agree" : "journal and MySQL agree";
}

static void
print_report(struct hbctl *hbctl, const json_t *answer)
{
	static const char *const hidden[] = {"ok", "violations"};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)answer, key, value)
	{
		if (strcmp(key, hidden[0]) != 0 && strcmp(key, hidden[1]) != 0 &&
			json_is_integer(value))
			fprintf(hbctl->out, "%-18s %" JSON_INTEGER_FORMAT "\n", key,
				json_integer_value(value));
	}
	if (json_is_true(json_object_get(answer, "ok"))) {
		fprintf(hbctl->out, "all is well: %s\n", proved(hbctl));
		return;
	}
	fprintf(hbctl->out, "something is wrong:\n");
	print_violations(hbctl, json_object_get(answer, "violations"));
}

/* Control raises or clears an alarm by what was found; a control that is down misses it. */
static void
tell_control(struct hbctl *hbctl, size_t violations)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char body[64];
	int status = 0;

	snprintf(body, sizeof(body), "{\"violations\":%zu}", violations);
	json_decref(hbctl_control_call(hbctl, "POST", "/alarms/check", body, &status, error));
}

/* The child's answer and the engine's violations together. */
static int
conclude(struct hbctl *hbctl, json_t *answer, const json_t *engine_violations)
{
	json_t *violations = json_object_get(answer, "violations");
	bool ok = json_is_true(json_object_get(answer, "ok"));
	const char *error = json_string_value(json_object_get(answer, "error"));
	int result;

	if (error != NULL) {
		result = unproved(hbctl, HBCTL_WRONG, "the check could not be finished", error);
		json_decref(answer);
		return result;
	}
	if (json_is_array(violations) && json_array_size(engine_violations) > 0) {
		json_array_extend(violations, (json_t *)(uintptr_t)engine_violations);
		json_object_set_new(answer, "ok", json_false());
		ok = false;
	}
	tell_control(hbctl, ok ? 0 : json_array_size(json_object_get(answer, "violations")));
	if (hbctl->json) {
		hbctl_print_json(hbctl, answer);
	} else {
		print_report(hbctl, answer);
		json_decref(answer);
	}
	return ok ? HBCTL_OK : HBCTL_WRONG;
}

/* The end of one check would free the appliers under another. Kept to the exit. */
bool
hbctl_appliers_alone(const struct hbctl *hbctl)
{
	char path[HB_PATH_MAX];
	int fd;

	hb_path(path, hbctl->config.node_directory, CHECK_LOCK);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

int
hbctl_run_check(struct hbctl *hbctl)
{
	const struct sigaction action = {.sa_handler = interrupt}; /* no SA_RESTART: waits end */
	bool journal_only = hbctl_option_value(hbctl, "--journal-only") != NULL;
	bool offline = hbctl_option_value(hbctl, "--offline") != NULL;
	json_t *violations = json_array();
	json_t *answer = NULL;
	int result = HBCTL_OK;

	if (!hbctl_appliers_alone(hbctl)) {
		json_decref(violations);
		return unproved(hbctl, HBCTL_WRONG, "another check or backup is running",
			"wait for its end");
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (!offline)
		result = ask_engine(hbctl, violations);
	if (result == HBCTL_OK)
		result = check_at_cut(hbctl, offline, journal_only, &answer);
	if (result == HBCTL_OK)
		result = conclude(hbctl, answer, violations);
	json_decref(violations);
	return result;
}
