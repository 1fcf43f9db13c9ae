/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl import accounts, import credits: rows of a CSV file through control's admin API, in
 * portions of up to 1000. The key of a row is the idempotency key of its command, so the same file
 * given again does what is left and nothing twice, wherever it was interrupted.
 *
 * The file is read and checked as a whole first. Bad lines, and those that the node refuses, go
 * into FILE.errors.csv with the reason, in a form that can be corrected and imported. As the node
 * forgets keys after seven days, FILE.import keeps when a file of credits was begun, and after six
 * days it is refused. Memory: the file, and 48 bytes a row.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/ids.h"
#include "tools/hbctl/csv.h"
#include "tools/hbctl/hbctl.h"

#define FILE_BYTES_MAX	 (INT64_C(1) << 30)
#define PORTION_ROWS_MAX 1000
#define KEY_BYTES_MAX	 56 /* a name before it makes it 64 */
#define AGAIN_MAX	 60 /* portions answered "not now" in a row, a second apart */
#define BEGUN_S_MAX	 (HB_IDEMPOTENCY_KEPT_S - 86400)
#define SHOW_EVERY_NS	 UINT64_C(200000000)
#define ROWS_FIRST	 1024

enum column {
	ACCOUNT,
	KIND,
	AMOUNT,
	CHANNEL,
	KEY,
	IGNORED, /* what an errors file has in front */
	COLUMN_COUNT
};

/* What a file is of: its columns, and where its rows go. */
struct what {
	const char *name; /* before the key, too */
	const char *path;
	const char *columns[COLUMN_COUNT]; /* NULL: it has no such column */
	bool needed[COLUMN_COUNT];
	const char *done_before; /* a refusal that says the row was done, or NULL */
	bool money;
};

static const struct what accounts = {
	.name = "accounts",
	.path = "/accounts",
	.columns = {[ACCOUNT] = "account", [KIND] = "kind"},
	.needed = {[ACCOUNT] = true},
	.done_before = "account_exists",
};

static const struct what credits = {
	.name = "credits",
	.path = "/credits",
	.columns = {[ACCOUNT] = "account",
		[AMOUNT] = "amount_fen",
		[CHANNEL] = "channel",
		[KEY] = "key"},
	.needed = {[ACCOUNT] = true, [AMOUNT] = true, [KEY] = true},
	.money = true,
};

struct row {
	uint64_t line;
	size_t begin; /* of the record in the file … */
	size_t end;
	uint64_t account;
	int64_t amount_fen;
	uint32_t key; /* number of the key in the pool, 0: none */
	bool enterprise;
};

struct import {
	struct hbctl *hbctl;
	const struct what *what;
	const char *path;
	char *text;
	size_t bytes;
	size_t header_begin;
	size_t header_end;
	int column[HBCTL_CSV_FIELDS_MAX]; /* of each field */
	uint32_t column_count;
	struct row *rows;
	size_t count;
	size_t room;
	char (*keys)[KEY_BYTES_MAX + 1]; /* from 1 on, of credits */
	uint64_t *seen;			 /* hash table of row + 1 by key or account */
	size_t seen_room;
	FILE *errors;
	char errors_path[HB_PATH_MAX];
	uint64_t bad; /* lines that are no row */
	uint64_t done;
	uint64_t already; /* by an earlier run */
	uint64_t failed;  /* refused by the node */
	uint64_t started_ns;
	uint64_t shown_ns;
};

static volatile sig_atomic_t interrupted;

static void
on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

/* ---- what is wrong with a line ---- */

/* The errors file is made at the first error. @return HBCTL_OK, or the exit code of what was said
 */
static int
write_error(
	struct import *in, uint64_t line, const char *reason, size_t begin, size_t end, bool whole)
{
	if (in->errors == NULL) {
		in->errors = fopen(in->errors_path, "we");
		if (in->errors == NULL)
			return hbctl_fail(in->hbctl, HBCTL_WRONG, "cannot write %s: %s",
				in->errors_path, strerror(errno));
		fprintf(in->errors, "line,reason,%.*s\n", (int)(in->header_end - in->header_begin),
			in->text + in->header_begin);
	}
	fprintf(in->errors, "%" PRIu64 ",", line);
	hbctl_csv_write(in->errors, reason, strlen(reason));
	fputc(',', in->errors);
	if (whole)
		fwrite(in->text + begin, 1, end - begin, in->errors);
	else /* it breaks the rules: one field of it all */
		hbctl_csv_write(in->errors, in->text + begin, end - begin);
	fputc('\n', in->errors);
	if (ferror(in->errors))
		return hbctl_fail(in->hbctl, HBCTL_WRONG, "cannot write %s: %s", in->errors_path,
			strerror(errno));
	return HBCTL_OK;
}

/* ---- the file ---- */

static int
read_text(struct import *in)
{
	int fd = open(in->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t got = 0;
	int result = HBCTL_USAGE;

	if (fd < 0 || fstat(fd, &st) != 0) {
		result = hbctl_fail(
			in->hbctl, HBCTL_USAGE, "cannot read %s: %s", in->path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX) {
		result = hbctl_fail(in->hbctl, HBCTL_USAGE,
			"%s is not a file of at most 1 GiB; split it", in->path);
		goto out;
	}
	in->text = malloc((size_t)st.st_size + 1);
	while (in->text != NULL && got < (size_t)st.st_size) {
		ssize_t part = read(fd, in->text + got, (size_t)st.st_size - got);

		if (part <= 0)
			break;
		got += (size_t)part;
	}
	in->bytes = got;
	if (in->text != NULL && got == (size_t)st.st_size)
		result = HBCTL_OK;
	else
		result = hbctl_fail(
			in->hbctl, HBCTL_WRONG, "%s could not be read to its end", in->path);
out:
	if (fd >= 0)
		close(fd);
	return result;
}

static int
column_of(const struct what *what, const char *name)
{
	if (strcmp(name, "line") == 0 || strcmp(name, "reason") == 0)
		return IGNORED;
	for (int i = 0; i < IGNORED; i++)
		if (what->columns[i] != NULL && strcmp(what->columns[i], name) == 0)
			return i;
	return -1;
}

static void
column_names(const struct what *what, char *text, size_t room)
{
	size_t used = 0;

	for (int i = 0; i < IGNORED; i++)
		if (what->columns[i] != NULL)
			used += (size_t)snprintf(text + used, room - used, "%s%s%s",
				used > 0 ? ", " : "", what->columns[i],
				what->needed[i] ? "" : " (may be left out)");
}

static int
refuse_header(struct import *in, const char *why, const char *name)
{
	char names[128] = "";

	column_names(in->what, names, sizeof(names));
	return hbctl_fail(in->hbctl, HBCTL_USAGE,
		"%s: the first line must name the columns, and it %s%s%.40s%s; the columns of %s "
		"are: %s",
		in->path, why, name[0] ? " '" : "", name, name[0] ? "'" : "", in->what->name,
		names);
}

static int
read_header(struct import *in, struct hbctl_csv *csv, struct hbctl_csv_record *record)
{
	bool has[COLUMN_COUNT] = {false};

	if (!hbctl_csv_next(csv, record))
		return refuse_header(in, "is missing", "");
	if (record->error != NULL)
		return refuse_header(in, "is no CSV:", record->error);
	for (uint32_t i = 0; i < record->count; i++) {
		int column = column_of(in->what, record->field[i]);

		if (column < 0)
			return refuse_header(in, "has the unknown", record->field[i]);
		if (column != IGNORED && has[column])
			return refuse_header(in, "has twice", record->field[i]);
		has[column] = true;
		in->column[i] = column;
	}
	for (int i = 0; i < IGNORED; i++)
		if (in->what->needed[i] && !has[i])
			return refuse_header(in, "lacks", in->what->columns[i]);
	/* an errors file of an errors file names its columns once */
	in->header_begin = record->begin;
	in->header_end = record->end;
	in->column_count = record->count;
	return HBCTL_OK;
}

/* ---- rows ---- */

static bool
is_number(const char *text)
{
	return text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
}

static bool
parse_amount(const char *text, int64_t *fen, char *reason, size_t room)
{
	uint64_t value = 0;

	if (hbctl_parse_u64(text, 1, HB_CREDIT_FEN_MAX, &value)) {
		*fen = (int64_t)value;
		return true;
	}
	if (text[0] == '-' && is_number(text + 1))
		snprintf(reason, room, "amount_fen %.40s is negative", text);
	else if (!is_number(text))
		snprintf(reason, room, "amount_fen '%.40s' is not a whole number", text);
	else if (strspn(text, "0") == strlen(text))
		snprintf(reason, room, "amount_fen is 0");
	else
		snprintf(reason, room, "amount_fen %.40s is more than %" PRId64, text,
			HB_CREDIT_FEN_MAX);
	return false;
}

static bool
parse_key(struct import *in, const char *text, struct row *row, char *reason, size_t room)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++)
		if (text[i] < '!' || text[i] > '~')
			length = KEY_BYTES_MAX + 1;
	if (length < 1 || length > KEY_BYTES_MAX) {
		snprintf(reason, room, "key '%.60s' must be 1..%d visible ASCII characters", text,
			KEY_BYTES_MAX);
		return false;
	}
	row->key = (uint32_t)in->count + 1;
	memcpy(in->keys[in->count], text, length + 1);
	return true;
}

static bool
parse_field(
	struct import *in, int column, const char *text, struct row *row, char *reason, size_t room)
{
	switch (column) {
	case ACCOUNT:
		if (hbctl_parse_account(text, &row->account))
			return true;
		snprintf(reason, room, "account '%.40s' is not a number in 1..%" PRIu64, text,
			HB_ACCOUNT_MAX);
		return false;
	case KIND:
		row->enterprise = strcmp(text, "enterprise") == 0;
		if (row->enterprise || text[0] == '\0' || strcmp(text, "user") == 0)
			return true;
		snprintf(reason, room, "kind '%.40s' is neither user nor enterprise", text);
		return false;
	case AMOUNT:
		return parse_amount(text, &row->amount_fen, reason, room);
	case CHANNEL:
		if (text[0] == '\0' || strcmp(text, "manual") == 0)
			return true;
		snprintf(reason, room, "channel '%.40s' is not manual", text);
		return false;
	case KEY:
		return parse_key(in, text, row, reason, room);
	default:
		return true;
	}
}

static uint64_t
row_hash(const struct import *in, const struct row *row)
{
	uint64_t hash = 0;

	if (row->key == 0)
		return hb_mix64(row->account);
	for (const char *c = in->keys[row->key - 1]; *c != '\0'; c++)
		hash = hb_mix64(hash ^ (uint8_t)*c);
	return hash;
}

static bool
same_key(const struct import *in, const struct row *a, const struct row *b)
{
	if (a->key == 0)
		return a->account == b->account;
	return strcmp(in->keys[a->key - 1], in->keys[b->key - 1]) == 0;
}

/* @return the row that has the same key, or NULL after keeping this one */
static const struct row *
find_same(struct import *in, const struct row *row)
{
	size_t mask = in->seen_room - 1;
	size_t i = row_hash(in, row) & mask;

	for (; in->seen[i] != 0; i = (i + 1) & mask)
		if (same_key(in, &in->rows[in->seen[i] - 1], row))
			return &in->rows[in->seen[i] - 1];
	in->seen[i] = in->count + 1;
	return NULL;
}

/* Rows are fewer than line ends; so the room is known before. */
static int
make_room(struct import *in)
{
	size_t lines = 2;

	for (size_t i = 0; i < in->bytes; i++)
		lines += in->text[i] == '\n';
	in->room = lines;
	for (in->seen_room = ROWS_FIRST; in->seen_room < 2 * lines; in->seen_room *= 2)
		;
	in->rows = calloc(lines, sizeof(*in->rows));
	in->seen = calloc(in->seen_room, sizeof(*in->seen));
	if (in->what->needed[KEY])
		in->keys = calloc(lines, sizeof(*in->keys));
	if (in->rows == NULL || in->seen == NULL || (in->what->needed[KEY] && in->keys == NULL))
		return hbctl_fail(in->hbctl, HBCTL_WRONG, "no memory for %zu rows", lines);
	return HBCTL_OK;
}

static bool
parse_row(struct import *in, const struct hbctl_csv_record *record, struct row *row, char *reason,
	size_t room)
{
	const struct row *same;

	*row = (struct row){.line = record->line, .begin = record->begin, .end = record->end};
	if (record->error != NULL) {
		snprintf(reason, room, "%s", record->error);
		return false;
	}
	if (record->count != in->column_count) {
		snprintf(reason, room, "the line has %" PRIu32 " fields, the first line %" PRIu32,
			record->count, in->column_count);
		return false;
	}
	for (uint32_t i = 0; i < record->count; i++)
		if (!parse_field(in, in->column[i], record->field[i], row, reason, room))
			return false;
	same = find_same(in, row);
	if (same != NULL)
		snprintf(reason, room, "the same %s stands in line %" PRIu64,
			row->key == 0 ? "account" : "key", same->line);
	return same == NULL;
}

static int
read_rows(struct import *in)
{
	static struct hbctl_csv_record record;
	struct hbctl_csv csv;
	char reason[160];
	int result;

	hbctl_csv_begin(&csv, in->text, in->bytes);
	result = read_header(in, &csv, &record);
	if (result == HBCTL_OK)
		result = make_room(in);
	while (result == HBCTL_OK && hbctl_csv_next(&csv, &record)) {
		if (parse_row(in, &record, &in->rows[in->count], reason, sizeof(reason))) {
			in->count++;
			continue;
		}
		in->bad++;
		result = write_error(
			in, record.line, reason, record.begin, record.end, record.error == NULL);
	}
	return result;
}

/* ---- sending ---- */

static json_t *
row_json(const struct import *in, const struct row *row)
{
	char key[HBCTL_NAME_BYTES + KEY_BYTES_MAX];
	json_t *item = json_pack("{s:I}", "account", (json_int_t)row->account);

	if (row->key == 0)
		snprintf(key, sizeof(key), "%s:%" PRIu64, in->what->name, row->account);
	else
		snprintf(key, sizeof(key), "%s:%s", in->what->name, in->keys[row->key - 1]);
	json_object_set_new(item, "key", json_string(key));
	if (in->what->money) {
		json_object_set_new(item, "amount_fen", json_integer(row->amount_fen));
		json_object_set_new(item, "channel", json_string("manual"));
	} else {
		json_object_set_new(
			item, "kind", json_string(row->enterprise ? "enterprise" : "user"));
	}
	return item;
}

/* Nothing was done, or it is not known; the same again is safe and may succeed. */
static bool
for_now(const char *status)
{
	static const char *const words[] = {"busy", "unavailable", "unknown_outcome", "table_full",
		"storage_low", "clock_stopped"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], status) == 0)
			return true;
	return false;
}

/*
 * Take the answers of a portion. Rows that are to be sent again stay in `pending`.
 * @return HBCTL_OK, or the exit code of what was said
 */
static int
take_answers(struct import *in, const json_t *items, size_t *pending, size_t *pending_count,
	char *why, size_t room)
{
	size_t left = 0;

	for (size_t i = 0; i < *pending_count; i++) {
		const json_t *item = json_array_get(items, i);
		const struct row *row = &in->rows[pending[i]];
		const char *status = hbctl_json_text(item, "status");
		char reason[HBCTL_ERROR_BYTES];
		int result;

		if (for_now(status)) {
			snprintf(why, room, "%s: %s", status, hbctl_json_text(item, "message"));
			pending[left++] = pending[i];
			continue;
		}
		if (strcmp(status, "ok") == 0) {
			bool before = json_is_true(json_object_get(item, "already"));

			in->already += before;
			in->done += !before;
			continue;
		}
		if (in->what->done_before != NULL && strcmp(status, in->what->done_before) == 0) {
			in->already++;
			continue;
		}
		in->failed++;
		snprintf(
			reason, sizeof(reason), "%s: %s", status, hbctl_json_text(item, "message"));
		result = write_error(in, row->line, reason, row->begin, row->end, true);
		if (result != HBCTL_OK)
			return result;
	}
	*pending_count = left;
	return HBCTL_OK;
}

static char *
portion_text(const struct import *in, const size_t *pending, size_t count)
{
	json_t *items = json_array();
	json_t *body;
	char *text;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(items, row_json(in, &in->rows[pending[i]]));
	body = json_pack("{s:o}", "items", items);
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	return text;
}

/* One request. @return HBCTL_OK with *answer or with `why` it is to be sent again */
static int
send_once(struct import *in, const size_t *pending, size_t count, json_t **answer, char *why,
	size_t room)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char *text = portion_text(in, pending, count);
	int status = 0;

	if (text == NULL)
		return hbctl_fail(in->hbctl, HBCTL_WRONG, "no memory");
	*answer = hbctl_control_post(in->hbctl, in->what->path, text, NULL, &status, error);
	free(text);
	if (*answer == NULL) {
		snprintf(why, room, "%.200s", error);
		return HBCTL_OK;
	}
	if (status == 200)
		return HBCTL_OK;
	if (for_now(hbctl_json_text(*answer, "status"))) {
		snprintf(why, room, "%s: %s", hbctl_json_text(*answer, "status"),
			hbctl_json_text(*answer, "message"));
		json_decref(*answer);
		*answer = NULL;
		return HBCTL_OK;
	}
	return hbctl_control_refused(in->hbctl, *answer, status);
}

/* All rows of a portion have their outcome, or the import ends here. */
static int
send_portion(struct import *in, size_t first, size_t count)
{
	size_t pending[PORTION_ROWS_MAX];
	size_t pending_count = count;
	char why[HBCTL_ERROR_BYTES] = "";

	for (size_t i = 0; i < count; i++)
		pending[i] = first + i;
	for (int again = 0; pending_count > 0; again++) {
		json_t *answer = NULL;
		int result;

		if (again > 0)
			sleep(1);
		if (interrupted || again == AGAIN_MAX)
			return interrupted ? HBCTL_OK
					   : hbctl_fail(in->hbctl, HBCTL_UNREACHABLE,
						     "stopped: %s; given again, the file goes on "
						     "from here",
						     why);
		result = send_once(in, pending, pending_count, &answer, why, sizeof(why));
		if (result == HBCTL_OK && answer != NULL) {
			size_t before = pending_count;

			result = take_answers(in, json_object_get(answer, "items"), pending,
				&pending_count, why, sizeof(why));
			if (pending_count < before)
				again = 0;
		}
		json_decref(answer);
		if (result != HBCTL_OK)
			return result;
	}
	return HBCTL_OK;
}

static uint64_t
rate(const struct import *in, uint64_t rows)
{
	uint64_t ms = (hb_mono_ns() - in->started_ns) / 1000000;

	return rows * 1000 / (ms == 0 ? 1 : ms);
}

static void
show_progress(struct import *in)
{
	uint64_t rows = in->done + in->already + in->failed;
	uint64_t per_s = rate(in, rows);
	uint64_t now_ns = hb_mono_ns();

	if (isatty(fileno(in->hbctl->err)) != 1 || now_ns < in->shown_ns + SHOW_EVERY_NS)
		return;
	in->shown_ns = now_ns;
	fprintf(in->hbctl->err,
		"\r%" PRIu64 " of %zu rows, %" PRIu64 " rows/s, %" PRIu64 " s left   ", rows,
		in->count, per_s, (in->count - rows) / (per_s == 0 ? 1 : per_s));
}

static int
send_rows(struct import *in)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	int result = HBCTL_OK;

	interrupted = 0;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	in->started_ns = hb_mono_ns();
	for (size_t first = 0; first < in->count && result == HBCTL_OK && !interrupted;
		first += PORTION_ROWS_MAX) {
		size_t left = in->count - first;

		result = send_portion(in, first, left < PORTION_ROWS_MAX ? left : PORTION_ROWS_MAX);
		show_progress(in);
	}
	if (in->shown_ns != 0)
		fprintf(in->hbctl->err, "\r%60s\r", "");
	return result;
}

/* ---- when it was begun ---- */

static int
write_begun(struct import *in, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	char text[32];
	bool good;

	snprintf(text, sizeof(text), "%" PRIu64 "\n", hb_wall_ns() / 1000000000);
	good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	if (good)
		return HBCTL_OK;
	return hbctl_fail(in->hbctl, HBCTL_WRONG,
		"cannot write %s: %s; it keeps when the file was begun", path, strerror(errno));
}

/* Money must not be booked again when the node has forgotten the keys. */
static int
check_begun(struct import *in)
{
	char path[HB_PATH_MAX];
	char text[32] = "";
	uint64_t begun_s = 0;
	FILE *file;

	if (!in->what->money)
		return HBCTL_OK;
	snprintf(path, sizeof(path), "%s.import", in->path);
	file = fopen(path, "re");
	if (file == NULL)
		return write_begun(in, path);
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	if (!hbctl_parse_u64(text, 1, INT64_MAX / 1000, &begun_s))
		return hbctl_fail(in->hbctl, HBCTL_WRONG,
			"%s does not say when the import was begun; if it never was, remove it",
			path);
	if (hb_wall_ns() / 1000000000 < begun_s + BEGUN_S_MAX)
		return HBCTL_OK;
	return hbctl_fail(in->hbctl, HBCTL_WRONG,
		"%s was begun more than 6 days ago, and the node soon forgets which of its keys it "
		"has done. Take the rows that are not booked ('hbctl orders --account') into a new "
		"file",
		in->path);
}

/* ---- the verb ---- */

static int
summary(struct import *in, bool dry, int result)
{
	uint64_t rows = in->done + in->already + in->failed;
	uint64_t left = dry ? 0 : in->count - rows;
	uint64_t per_s = dry ? 0 : rate(in, rows);
	bool good = result == HBCTL_OK && in->bad == 0 && in->failed == 0 && left == 0;
	bool errors = in->bad + in->failed > 0;

	if (in->hbctl->json && result == HBCTL_OK)
		hbctl_print_json(in->hbctl,
			json_pack("{s:b, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "ok",
				(int)good, "file", in->path, "dry_run", (int)dry, "rows",
				(json_int_t)in->count, "bad", (json_int_t)in->bad, "done",
				(json_int_t)in->done, "already", (json_int_t)in->already, "failed",
				(json_int_t)in->failed, "left", (json_int_t)left, "rows_per_second",
				(json_int_t)per_s, "errors_file",
				errors ? hbctl_json_string(in->errors_path) : json_null()));
	if (!in->hbctl->json) {
		if (dry)
			fprintf(in->hbctl->out, "%zu row(s) are good; nothing was sent\n",
				in->count);
		else
			fprintf(in->hbctl->out,
				"%" PRIu64 " done, %" PRIu64 " done before, %" PRIu64
				" refused, %" PRIu64 " left; %" PRIu64 " rows/s\n",
				in->done, in->already, in->failed, left, per_s);
		if (errors)
			fprintf(in->hbctl->out,
				"%" PRIu64 " bad line(s), %" PRIu64 " refused: see %s\n", in->bad,
				in->failed, in->errors_path);
	}
	if (result == HBCTL_OK && interrupted && left > 0)
		fprintf(in->hbctl->err,
			"hbctl: interrupted; given again, the file goes on from here\n");
	return result == HBCTL_OK && !good ? HBCTL_WRONG : result;
}

static void
end(struct import *in)
{
	free(in->text);
	free(in->rows);
	free(in->keys);
	free(in->seen);
}

static int
close_errors(struct import *in, int result)
{
	bool written = in->errors == NULL || fclose(in->errors) == 0;

	in->errors = NULL;
	if (result == HBCTL_OK && !written)
		return hbctl_fail(in->hbctl, HBCTL_WRONG, "cannot write %s: %s", in->errors_path,
			strerror(errno));
	return result;
}

static int
run_import(struct hbctl *hbctl, const struct what *what)
{
	struct import in = {.hbctl = hbctl, .what = what, .path = hbctl->positional[0]};
	bool dry = hbctl_option_value(hbctl, "--dry-run") != NULL;
	int result;

	if (strlen(in.path) + sizeof(".errors.csv") > sizeof(in.errors_path))
		return hbctl_fail(hbctl, HBCTL_USAGE, "the file's name is too long");
	snprintf(in.errors_path, sizeof(in.errors_path), "%s.errors.csv", in.path);
	result = read_text(&in);
	if (result == HBCTL_OK) {
		unlink(in.errors_path); /* of an earlier run */
		result = read_rows(&in);
	}
	if (result == HBCTL_OK && !dry)
		result = check_begun(&in);
	if (result == HBCTL_OK) {
		if (!dry)
			result = send_rows(&in);
		result = summary(&in, dry, close_errors(&in, result));
	} else {
		close_errors(&in, result);
	}
	end(&in);
	return result;
}

int
hbctl_run_import_accounts(struct hbctl *hbctl)
{
	return run_import(hbctl, &accounts);
}

int
hbctl_run_import_credits(struct hbctl *hbctl)
{
	return run_import(hbctl, &credits);
}
