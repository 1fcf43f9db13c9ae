/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl trace: everything that was recorded about an order, a packet, a hold or an account, in
 * journal order, with MySQL's rows beside the records that made them.
 *
 * The journal has no index by account, so it is read from its beginning; progress goes to standard
 * error. Rows of records that the journal no longer has come first. The cases of operators come
 * from control and stand where their time is. Memory: the rows, the cases, and the ids of the
 * packets that the account sent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "persist/journal_reader.h"
#include "shm/ids.h"
#include "tools/hbctl/record_fields.h"
#include "tools/hbctl/trace.h"

#define PROGRESS_EVERY	 1000000
#define ROOM_FIRST	 64
#define CASES_PATH_BYTES 128

struct trace {
	struct hbctl *hbctl;
	struct hbctl_trace_subject subject;
	uint32_t node;
	json_t *rows; /* of MySQL, ascending; NULL when it did not answer */
	size_t row_next;
	json_t *steps; /* of cases, ascending by time; owned */
	size_t step_next;
	uint64_t *packet; /* sent by the account, ascending */
	size_t packet_count;
	size_t packet_room;
	uint64_t first_seq; /* of the journal */
	uint64_t last_seq;
	uint64_t records;
	uint64_t rows_shown;
	uint64_t cases;
};

/* ---- what is looked for ---- */

static int
parse_since(struct trace *t, const char *text)
{
	uint64_t seconds;

	if (!hbctl_parse_duration(text, &seconds))
		return hbctl_fail(t->hbctl, HBCTL_USAGE,
			"--since %s is not a time such as 90s, 15m, 1h or 7d", text);
	t->subject.since_ms = ((uint64_t)time(NULL) - seconds) * 1000;
	return HBCTL_OK;
}

static int
parse_subject(struct trace *t, const char *text)
{
	struct hbctl_trace_subject *s = &t->subject;
	const char *since = hbctl_option_value(t->hbctl, "--since");
	size_t length = strlen(text);
	char *end;

	if (length == HB_ORDER_NUMBER_LENGTH && hb_order_number_parse(text, &s->order)) {
		s->kind = HBCTL_TRACE_ORDER;
		s->text = text;
	} else if (length == 16 && strspn(text, "0123456789abcdef") == 16 && text[0] == '0' &&
		   (text[1] == '1' || text[1] == '2')) {
		s->kind = HBCTL_TRACE_PACKET;
		s->id = strtoull(text, &end, 16);
	} else if (hbctl_parse_account(text, &s->id)) {
		s->kind = HBCTL_TRACE_ACCOUNT;
	} else {
		return hbctl_fail(t->hbctl, HBCTL_USAGE,
			"'%s' is no order number (32 digits), packet or hold (16 hexadecimal "
			"digits beginning with 01 or 02) or account",
			text);
	}
	if (since == NULL)
		return HBCTL_OK;
	if (s->kind != HBCTL_TRACE_ACCOUNT)
		return hbctl_fail(t->hbctl, HBCTL_USAGE, "--since is for accounts");
	return parse_since(t, since);
}

/* ---- the packets of an account: a grab from one of them changes its frozen money ---- */

static int
compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Ids of one partition are given out in order, and an account's packets are all of one. */
static bool
keep_packet(struct trace *t, uint64_t packet)
{
	if (t->packet_count == t->packet_room) {
		size_t room = t->packet_room == 0 ? ROOM_FIRST : 2 * t->packet_room;
		uint64_t *grown = reallocarray(t->packet, room, sizeof(*grown));

		if (grown == NULL)
			return false;
		t->packet = grown;
		t->packet_room = room;
	}
	t->packet[t->packet_count++] = packet;
	return true;
}

static bool
is_of_kept_packet(const struct trace *t, const struct hb_record *record)
{
	uint64_t packet = 0;

	if (record->type == HB_RECORD_GRAB)
		packet = ((const struct hb_record_grab *)(const void *)record)->packet;
	else if (record->type == HB_RECORD_PACKET_EXPIRE)
		packet = ((const struct hb_record_packet_expire *)(const void *)record)->packet;
	return packet != 0 && t->packet_count > 0 &&
	       bsearch(&packet, t->packet, t->packet_count, sizeof(packet), compare_ids) != NULL;
}

/* @return 1 wanted, 0 not, -ENOMEM */
static int
is_wanted(struct trace *t, const struct hb_record *record)
{
	const struct hbctl_trace_subject *s = &t->subject;
	const struct hb_record_packet_create *create = (const void *)record;

	if (s->kind == HBCTL_TRACE_ORDER)
		return hbctl_record_has_order(record, s->order.allocator, s->order.stamp);
	if (s->kind == HBCTL_TRACE_PACKET)
		return hbctl_record_has_packet(record, s->id);
	if (record->type == HB_RECORD_PACKET_CREATE && create->sender == s->id &&
		!keep_packet(t, create->packet))
		return -ENOMEM;
	if (record->time_ns / 1000000 < s->since_ms)
		return 0;
	return hbctl_record_has_account(record, s->id) || is_of_kept_packet(t, record);
}

/* ---- showing ---- */

static const char *
type_words(const char *type)
{
	static const struct {
		const char *type;
		const char *words;
	} table[] = {
		{"ACCOUNT_OPEN", "account opened"},
		{"ACCOUNT_FREEZE", "account frozen"},
		{"ACCOUNT_UNFREEZE", "account unfrozen"},
		{"ORDER_OPEN", "order opened"},
		{"ORDER_UPDATE", "order taken a step on"},
		{"ORDER_LOAD", "order brought back into memory"},
		{"CREDIT", "money came in"},
		{"PACKET_CREATE", "packet sent"},
		{"GRAB", "share grabbed"},
		{"PACKET_EXPIRE", "packet ended, rest given back"},
		{"HOLD", "money held"},
		{"POST", "held money went out"},
		{"VOID", "held money given back"},
		{"TRANSFER", "money transferred"},
		{"ADJUST", "adjusted"},
		{"EVICT", "left memory"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].type, type) == 0)
			return table[i].words;
	return type;
}

static void
print_row(const struct trace *t, const json_t *row)
{
	FILE *out = t->hbctl->out;
	const char *name;
	json_t *value;

	fprintf(out, "    mysql %s", hbctl_json_text(row, "table"));
	json_object_foreach((json_t *)(uintptr_t)row, name, value)
	{
		if (strcmp(name, "table") == 0 || strcmp(name, "commitment") == 0)
			continue;
		if (json_is_string(value))
			fprintf(out, " %s=%s", name, json_string_value(value));
		else
			fprintf(out, " %s=%" JSON_INTEGER_FORMAT, name, json_integer_value(value));
	}
	fputc('\n', out);
}

static void
show_row(struct trace *t, json_t *row)
{
	t->rows_shown++;
	if (!t->hbctl->json) {
		print_row(t, row);
		return;
	}
	json_object_set_new(row, "source", json_string("mysql"));
	hbctl_print_json(t->hbctl, json_incref(row));
}

/* Rows of records up to `seq`. */
static void
show_rows(struct trace *t, uint64_t seq)
{
	while (t->rows != NULL && t->row_next < json_array_size(t->rows)) {
		json_t *row = json_array_get(t->rows, t->row_next);

		if ((uint64_t)hbctl_json_i64(row, "seq") > seq)
			return;
		show_row(t, row);
		t->row_next++;
	}
}

/* ---- cases: what operators wanted, and who they were ---- */

/* One step of a case: asked, approved, or how it ended. */
static void
add_step(json_t *steps, const json_t *c, const char *step, const char *time_key, const char *who)
{
	int64_t time_ms = hbctl_json_i64(c, time_key);
	json_t *object;

	if (time_ms == 0)
		return;
	object = json_copy((json_t *)(uintptr_t)c);
	json_object_set_new(object, "source", json_string("control"));
	json_object_set_new(object, "step", json_string(step));
	json_object_set_new(object, "time_ms", json_integer(time_ms));
	json_object_set_new(
		object, "by", json_string(hbctl_json_text(json_object_get(c, who), "name")));
	json_array_append_new(steps, object);
}

static int
compare_steps(const void *a, const void *b)
{
	int64_t x = hbctl_json_i64(*(json_t *const *)a, "time_ms");
	int64_t y = hbctl_json_i64(*(json_t *const *)b, "time_ms");

	return (x > y) - (x < y);
}

/* Sorted by a copy: the array takes each of them again. */
static json_t *
sorted_steps(json_t *steps)
{
	size_t count = json_array_size(steps);
	json_t **list = calloc(count + 1, sizeof(*list));
	json_t *sorted = json_array();

	for (size_t i = 0; i < count && list != NULL; i++)
		list[i] = json_array_get(steps, i);
	if (list != NULL)
		qsort(list, count, sizeof(*list), compare_steps);
	for (size_t i = 0; i < count && list != NULL; i++)
		json_array_append(sorted, list[i]);
	free(list);
	json_decref(steps);
	return sorted;
}

static void
add_steps(json_t *steps, const json_t *answer)
{
	size_t index;
	json_t *c;

	json_array_foreach(json_object_get(answer, "items"), index, c)
	{
		bool withdrawn = strcmp(hbctl_json_text(c, "state"), "withdrawn") == 0;

		add_step(steps, c, "asked", "asked_ms", "asker");
		add_step(steps, c, "approved", "approved_ms", "checker");
		add_step(steps, c, hbctl_json_text(c, "state"), "over_ms",
			withdrawn ? "checker" : "nobody");
	}
}

static void
cases_path(const struct trace *t, int64_t before, char path[CASES_PATH_BYTES])
{
	const struct hbctl_trace_subject *s = &t->subject;
	size_t used;

	if (s->kind == HBCTL_TRACE_ORDER)
		snprintf(path, CASES_PATH_BYTES, "/cases?limit=100&order=%s", s->text);
	else if (s->kind == HBCTL_TRACE_PACKET)
		snprintf(path, CASES_PATH_BYTES, "/cases?limit=100&hold=%016" PRIx64, s->id);
	else
		snprintf(path, CASES_PATH_BYTES, "/cases?limit=100&account=%" PRIu64, s->id);
	used = strlen(path);
	if (before != 0)
		snprintf(path + used, CASES_PATH_BYTES - used, "&before=%" PRId64, before);
}

/* Control may be away, and so may its cases: the records name their numbers in any case. */
static void
read_cases(struct trace *t)
{
	bool packet =
		t->subject.kind == HBCTL_TRACE_PACKET && hb_id_kind(t->subject.id) == HB_ID_PACKET;
	char path[CASES_PATH_BYTES];
	char error[HBCTL_ERROR_BYTES] = "";
	int64_t before = 0;

	t->steps = json_array();
	do {
		json_t *answer;
		int status = 0;

		if (packet)
			break; /* no case is about one */
		cases_path(t, before, path);
		answer = hbctl_control_call(t->hbctl, "GET", path, NULL, &status, error);
		if (status == 200)
			add_steps(t->steps, answer);
		else
			fprintf(t->hbctl->err,
				"hbctl: control does not tell the cases of operators%s%s\n",
				error[0] == '\0' ? "" : ": ", error);
		before = status == 200 ? hbctl_json_i64(answer, "next") : 0;
		json_decref(answer);
	} while (before != 0);
	t->steps = sorted_steps(t->steps);
}

static void
print_step(struct trace *t, const json_t *step)
{
	char when[HBCTL_TIME_BYTES];
	const char *by = hbctl_json_text(step, "by");

	hbctl_time(when, (uint64_t)hbctl_json_i64(step, "time_ms"));
	fprintf(t->hbctl->out, "case %" PRId64 " %s %s: %s%s%s", hbctl_json_i64(step, "number"),
		hbctl_json_text(step, "step"), hbctl_json_text(step, "verb"), when,
		by[0] == '\0' ? "" : " by ", by);
	if (strcmp(hbctl_json_text(step, "step"), "asked") == 0)
		fprintf(t->hbctl->out, " reason=\"%s\"", hbctl_json_text(step, "reason"));
	else if (hbctl_json_text(step, "outcome")[0] != '\0' && by[0] == '\0')
		fprintf(t->hbctl->out, " outcome=%s", hbctl_json_text(step, "outcome"));
	fputc('\n', t->hbctl->out);
}

/* Steps up to a time. */
static void
show_steps(struct trace *t, uint64_t time_ms)
{
	while (t->step_next < json_array_size(t->steps)) {
		json_t *step = json_array_get(t->steps, t->step_next);
		uint64_t at_ms = (uint64_t)hbctl_json_i64(step, "time_ms");

		if (at_ms > time_ms)
			return;
		t->step_next++;
		if (at_ms < t->subject.since_ms)
			continue;
		t->cases++;
		if (t->hbctl->json)
			hbctl_print_json(t->hbctl, json_incref(step));
		else
			print_step(t, step);
	}
}

static void
show_record(struct trace *t, const struct hb_record *record, uint64_t seq)
{
	json_t *object = hbctl_record_json(record, seq, t->node);
	const char *words = type_words(hbctl_json_text(object, "type"));

	show_rows(t, seq - 1);
	show_steps(t, record->time_ns / 1000000);
	t->records++;
	if (t->hbctl->json) {
		json_object_set_new(object, "what", json_string(words));
		json_object_set_new(object, "source", json_string("journal"));
		hbctl_print_json(t->hbctl, object);
	} else {
		fprintf(t->hbctl->out, "%s: ", words);
		hbctl_record_print(object, t->hbctl->out);
		json_decref(object);
	}
	show_rows(t, seq);
}

/* ---- the walk ---- */

static int
walk(struct trace *t, struct hb_journal_reader *reader)
{
	bool terminal = isatty(fileno(t->hbctl->err)) == 1;
	const struct hb_record *record;
	struct hb_journal_position at;
	int got;

	while ((got = hb_journal_reader_next(reader, &record, &at)) > 0) {
		int wanted = is_wanted(t, record);

		if (t->first_seq == 0)
			t->first_seq = at.seq;
		t->last_seq = at.seq;
		if (wanted < 0)
			return wanted;
		if (terminal && at.seq % PROGRESS_EVERY == 0)
			fprintf(t->hbctl->err, "\r%" PRIu64 " records\r", at.seq);
		if (wanted > 0)
			show_record(t, record, at.seq);
		if (ferror(t->hbctl->out))
			return 0;
	}
	return got;
}

static int
read_journal(struct trace *t)
{
	char directory[HB_PATH_MAX], error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info;
	int result;

	hb_path(directory, t->hbctl->config.node_directory, HB_PATH_JOURNAL);
	result = hb_journal_reader_open(&reader, directory, error);
	if (result != 0)
		return hbctl_fail(t->hbctl, HBCTL_USAGE, "%s%s", error,
			result == -EACCES ? "; run hbctl as root" : "");
	result = hb_journal_reader_info(reader, &info);
	t->node = info.node;
	if (result == 0 && info.first_segment != 0)
		result = hb_journal_reader_seek_first(reader);
	if (result == 0)
		result = walk(t, reader);
	if (result != 0)
		result = hbctl_fail(t->hbctl, HBCTL_WRONG, "%s",
			hb_journal_reader_error(reader)[0] == '\0'
				? strerror(-result)
				: hb_journal_reader_error(reader));
	hb_journal_reader_close(reader);
	return result;
}

/* MySQL may be away: the journal alone is worth something. */
static void
read_rows(struct trace *t, char why[HBCTL_ERROR_BYTES], json_t **answer)
{
	*answer = hbctl_in_child(t->hbctl, hbctl_trace_rows, &t->subject, NULL, why);
	if (json_is_true(json_object_get(*answer, "ok"))) {
		t->rows = json_object_get(*answer, "rows");
		if (json_is_true(json_object_get(*answer, "more")))
			snprintf(why, HBCTL_ERROR_BYTES, "only the first %d rows are shown",
				HBCTL_TRACE_ROWS_MAX);
		return;
	}
	if (*answer != NULL)
		snprintf(why, HBCTL_ERROR_BYTES, "%s", hbctl_json_text(*answer, "error"));
}

static int
conclude(struct trace *t, const char *why)
{
	bool found = t->records > 0 || t->rows_shown > 0 || t->cases > 0;

	if (t->hbctl->json) {
		hbctl_print_json(t->hbctl,
			json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "ok", (int)found,
				"records", (json_int_t)t->records, "rows",
				(json_int_t)t->rows_shown, "steps", (json_int_t)t->cases,
				"first_seq", (json_int_t)t->first_seq, "last_seq",
				(json_int_t)t->last_seq, "mysql",
				why[0] == '\0' ? json_string("ok") : hbctl_json_string(why)));
	} else {
		fprintf(t->hbctl->out,
			"%" PRIu64 " record(s) in the journal, sequence %" PRIu64 " to %" PRIu64
			"; %" PRIu64 " row(s) in MySQL%s%s\n",
			t->records, t->first_seq, t->last_seq, t->rows_shown,
			why[0] == '\0' ? "" : ": ", why);
	}
	if (!found)
		fprintf(t->hbctl->err, "hbctl: nothing was ever recorded about it%s\n",
			t->first_seq > 1 ? " in what is left of the journal" : "");
	return found ? HBCTL_OK : HBCTL_WRONG;
}

int
hbctl_run_trace(struct hbctl *hbctl)
{
	struct trace t = {.hbctl = hbctl};
	char why[HBCTL_ERROR_BYTES] = "";
	json_t *answer = NULL;
	int result = parse_subject(&t, hbctl->positional[0]);

	if (result != HBCTL_OK)
		return result;
	read_rows(&t, why, &answer);
	read_cases(&t);
	result = read_journal(&t);
	if (result == HBCTL_OK) {
		show_rows(&t, UINT64_MAX);
		show_steps(&t, UINT64_MAX);
		result = conclude(&t, why);
	}
	json_decref(t.steps);
	json_decref(answer);
	free(t.packet);
	return result;
}
