/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One check from begin to end: replay to the cut, then invariants, then MySQL. The invariants are
 * in check_state.c, MySQL in check_mysql.c. Read only; if the process dies nothing is left behind.
 */
#include "persist/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/paths.h"
#include "persist/check_internal.h"
#include "shm/ids.h"

#define PROGRESS_RECORDS 8192
/* A credit that was committed this long before a mark must have been applied by the mark. */
#define CREDIT_DELAY_NS UINT64_C(1000000000)

/* The marks of a ring that the credit check looks back at. */
struct mark_history {
	uint64_t frame; /* that holds this ring's newest mark, 0: none in this epoch */
	/* when that frame was certainly committed: the next one was begun. 0: not known yet */
	uint64_t committed_ns;
	/* what the newest mark of each other ring had sent to us, when that mark was written */
	uint64_t sent_count[HB_PARTITION_COUNT];
	uint64_t sent_fen[HB_PARTITION_COUNT];
};

struct replay_context {
	struct hbi_check *check;
	struct hb_record_mark *newest; /* per ring; type 0: none yet */
	struct mark_history history[HB_PARTITION_COUNT];
	uint64_t frame; /* being read */
};

void
hbi_violation(struct hbi_check *check, const char *kind, const char *where, const char *expected,
	const char *found)
{
	struct hb_check_result *result = check->result;
	uint32_t i = result->violation_count++;

	result->ok = false;
	if (i >= HB_CHECK_VIOLATIONS_MAX)
		return;
	struct hb_check_violation *v = &result->violation[i];

	snprintf(v->kind, sizeof(v->kind), "%s", kind);
	snprintf(v->where, sizeof(v->where), "%s", where);
	snprintf(v->expected, sizeof(v->expected), "%s", expected);
	snprintf(v->found, sizeof(v->found), "%s", found);
}

void
hbi_progress(struct hbi_check *check, const char *phase, uint64_t done, uint64_t total)
{
	uint64_t now = hb_mono_ns();

	if (check->options->progress == NULL || now - check->progress_ns < HBI_PROGRESS_NS)
		return;
	check->progress_ns = now;
	check->options->progress(check->options->context, phase, done, total);
}

static void
credit_violation(struct hbi_check *check, uint64_t seq, uint32_t from, uint32_t to,
	const char *expected_format, uint64_t expected_count, uint64_t expected_fen,
	uint64_t found_count, uint64_t found_fen)
{
	char where[128];
	char expected[128];
	char found[128];

	snprintf(where, sizeof(where), "MARK at %" PRIu64 ", credits from partition %u to %u", seq,
		from, to);
	snprintf(expected, sizeof(expected), "%s %" PRIu64 " credits, %" PRIu64 " fen",
		expected_format, expected_count, expected_fen);
	snprintf(found, sizeof(found), "%" PRIu64 " credits, %" PRIu64 " fen", found_count,
		found_fen);
	hbi_violation(check, "credit_sums", where, expected, found);
}

/*
 * What a mark says it has sent must be what its records imply; what it says it has applied must
 * not be more than was sent before it, nor less than was sent before its ring's mark before.
 */
static void
check_mark(struct replay_context *c, const struct hb_record_mark *mark,
	const struct hb_journal_position *position)
{
	uint64_t seq = position->seq;
	uint32_t to = mark->head.ring;
	const struct hb_partition_head *own = c->check->state.partition[to].head;
	struct mark_history *history = &c->history[to];
	bool old_enough = history->committed_ns != 0 &&
			  mark->head.time_ns >= history->committed_ns + CREDIT_DELAY_NS;

	for (uint32_t from = 0; from < HB_PARTITION_COUNT; from++) {
		uint64_t count = mark->applied_count[from];
		uint64_t fen = mark->applied_fen[from];

		if (mark->sent_count[from] != own->sent_count[from] ||
			mark->sent_fen[from] != own->sent_fen[from])
			credit_violation(c->check, seq, to, from, "sent exactly",
				own->sent_count[from], own->sent_fen[from], mark->sent_count[from],
				mark->sent_fen[from]);
		if (count > own->applied_count[from] || fen > own->applied_fen[from])
			credit_violation(c->check, seq, from, to, "applied at most",
				own->applied_count[from], own->applied_fen[from], count, fen);
		if (old_enough &&
			(count < history->sent_count[from] || fen < history->sent_fen[from]))
			credit_violation(c->check, seq, from, to, "applied at least",
				history->sent_count[from], history->sent_fen[from], count, fen);
		history->sent_count[from] = c->newest[from].sent_count[to];
		history->sent_fen[from] = c->newest[from].sent_fen[to];
	}
	history->frame = position->frame->frame_number;
	history->committed_ns = 0;
	c->newest[to] = *mark;
}

/* One write is under way at a time: a frame is begun when the one before it is on disk. */
static void
note_commits(struct replay_context *c, const struct hb_journal_frame *frame)
{
	if (frame->frame_number == c->frame)
		return;
	c->frame = frame->frame_number;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (c->history[i].frame != 0 && c->history[i].committed_ns == 0)
			c->history[i].committed_ns = frame->wall_ns;
}

/* After a restart all credits are applied anew from the journal: look back no further. */
static void
forget_marks(struct replay_context *c)
{
	memset(c->newest, 0, sizeof(*c->newest) * HB_PARTITION_COUNT);
	memset(c->history, 0, sizeof(c->history));
}

static int
each_record(
	void *context, const struct hb_record *record, const struct hb_journal_position *position)
{
	struct replay_context *c = context;
	struct hb_check_result *result = c->check->result;
	const char *why;

	note_commits(c, position->frame);
	if (record->type == HB_RECORD_MARK) {
		check_mark(c, (const void *)record, position);
		result->mark_count++;
	}
	if (record->type == HB_RECORD_EPOCH_START)
		forget_marks(c);
	why = hb_expected_add(c->check->expected, record, position->seq);
	if (why != NULL) {
		char where[64];

		snprintf(where, sizeof(where), "record %" PRIu64 " (%s)", position->seq,
			hb_record_type_name(record->type));
		hbi_violation(c->check, "record", where, "a record with rows", why);
	}
	result->grab_count += record->type == HB_RECORD_GRAB;
	result->record_count++;
	result->journal_seq = position->seq;
	c->check->cut_epoch = position->epoch;
	memcpy(c->check->cut_chain, position->frame->chain, sizeof(c->check->cut_chain));
	if (result->record_count % PROGRESS_RECORDS == 0)
		hbi_progress(c->check, "journal", position->seq, c->check->options->cut_seq);
	return 0;
}

/* Make accounts and packets of the snapshot known, for records that build on them. */
static int
expect_snapshot(struct hbi_check *check)
{
	int rc = 0;

	check->expected->partial = true;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &check->state.partition[i];

		for (uint64_t j = 0; j < p->capacity.accounts && rc == 0; j++) {
			const struct hb_account *a = &p->accounts[j];
			const struct hb_row_account row = {.account = a->id,
				.available_fen = a->available_fen,
				.frozen_fen = a->frozen_fen,
				.opened_jseq = 1,
				.kind = a->kind,
				.barred = a->barred};

			if (a->id != 0)
				rc = hb_expected_account(check->expected, &row);
		}
		for (uint64_t j = 0; j < p->capacity.packets && rc == 0; j++) {
			const struct hb_packet *packet = &p->packets[j];
			const struct hb_packet_origin origin = {
				packet->id, packet->sender, packet->order_stamp};

			if (packet->id != 0)
				rc = hb_expected_packet(check->expected, &origin);
		}
	}
	return rc;
}

/* The oldest snapshot whose next record is still in the journal. */
static int
load_oldest_snapshot(
	struct hbi_check *check, uint64_t oldest_seq, char error[HB_JOURNAL_ERROR_BYTES])
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count;

	count = hb_snapshot_list(check->directory, seq);
	while (count > 0 && seq[count - 1] + 1 < oldest_seq)
		count--;
	if (count <= 0 || seq[count - 1] > check->options->cut_seq) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"the journal begins at record %" PRIu64
			" and no snapshot leads up to it; restore the older segments",
			oldest_seq);
		return -ENOENT;
	}
	int rc = hb_snapshot_load_newest(check->directory, seq[count - 1], check->info.stream_id,
		&check->state, &check->start, error);
	if (rc == 0 && check->start.seq != seq[count - 1]) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "snapshot %" PRIu64 " is damaged",
			seq[count - 1]);
		return -EBADMSG;
	}
	return rc == 0 ? expect_snapshot(check) : rc;
}

/* Stand before the first record that can be replayed. */
static int
find_start(struct hbi_check *check, struct hb_journal_reader *reader,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc = hb_journal_reader_seek_first(reader);

	if (rc == 0)
		rc = hb_journal_reader_next(reader, &record, &at);
	if (rc < 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
		return rc;
	}
	check->result->first_seq = 1;
	if (rc == 0 || at.seq == 1)
		return 0;
	rc = load_oldest_snapshot(check, at.seq, error);
	check->result->first_seq = check->start.seq + 1;
	return rc;
}

/* Rows and state of every record up to the cut. Damage is a violation, not an error. */
static int
replay(struct hbi_check *check, struct hb_journal_reader *reader)
{
	struct replay_context context = {.check = check};
	struct hb_replay_result replayed = {0};
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	char where[64];
	int rc;

	context.newest = calloc(HB_PARTITION_COUNT, sizeof(*context.newest));
	if (context.newest == NULL)
		return -ENOMEM;
	hb_journal_reader_limit(reader, check->options->cut_seq);
	rc = find_start(check, reader, error);
	if (rc == 0)
		rc = hb_replay(reader, &check->state, &check->start, &replayed, each_record,
			&context, error);
	free(context.newest);
	if (rc == 0 && check->result->journal_seq == check->options->cut_seq)
		return 0;
	if (rc == -ENOMEM)
		return rc;
	if (rc == 0)
		snprintf(error, sizeof(error), "ends at %" PRIu64, check->result->journal_seq);
	check->journal_broken = true;
	snprintf(
		where, sizeof(where), "journal, after record %" PRIu64, check->result->journal_seq);
	hbi_violation(check, "journal", where, "a whole journal up to the cut", error);
	return 0;
}

int
hbi_collect_rows(struct hbi_check *check)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc;

	if (check->expected->partial) /* the state has moved on from the snapshot */
		return -ENOTSUP;
	hb_expected_restart(check->expected, check->info.node);
	rc = hb_journal_reader_open(&reader, check->directory, error);
	if (rc != 0)
		return rc;
	hb_journal_reader_limit(reader, check->options->cut_seq);
	rc = hb_journal_reader_seek(reader, 1);
	while (rc >= 0 && (rc = hb_journal_reader_next(reader, &record, &at)) > 0) {
		if (hb_expected_add(check->expected, record, at.seq) != NULL)
			rc = -EBADMSG;
		if (at.seq % PROGRESS_RECORDS == 0)
			hbi_progress(check, "rows", at.seq, check->options->cut_seq);
	}
	hb_journal_reader_close(reader);
	return rc == 0 ? hb_expected_finish(check->expected) : rc;
}

/* Every snapshot must be whole: recovery would pass over a damaged one and take longer. */
static void
check_snapshots(struct hbi_check *check)
{
	struct hb_snapshot_header header;
	uint64_t seq[HB_SNAPSHOTS_MAX];
	char error[HB_JOURNAL_ERROR_BYTES], where[64];
	char path[sizeof(check->directory) + 64];
	int count = hb_snapshot_list(check->directory, seq);

	for (int i = 0; i < count; i++) {
		snprintf(where, sizeof(where), "snapshot/" HB_JOURNAL_SNAPSHOT_FORMAT,
			(unsigned long long)seq[i]);
		snprintf(path, sizeof(path), "%s/%s", check->directory, where);
		int rc = hb_snapshot_verify(path, check->info.stream_id, &header, error);

		if (rc == 0 && header.seq != seq[i]) {
			rc = -EBADMSG;
			snprintf(error, sizeof(error), "its header says %" PRIu64, header.seq);
		}
		if (rc != 0 && rc != -ENOENT) /* a newer one may have replaced it meanwhile */
			hbi_violation(check, "snapshot", where, "a whole snapshot", error);
	}
}

static int
run(struct hbi_check *check)
{
	const struct hb_config *config = check->options->config;
	const struct hb_capacity capacity = hb_capacity_from_config(config);
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = NULL;
	int rc;

	hb_path(check->directory, config->node_directory, HB_PATH_JOURNAL);
	rc = hb_journal_reader_open(&reader, check->directory, error);
	if (rc == 0)
		rc = hb_journal_reader_info(reader, &check->info);
	if (rc == 0)
		rc = hb_state_create(&check->state, &capacity, check->info.node);
	check->state_open = rc == 0;
	if (rc == 0)
		hb_segment_keep_small_pages(&check->state.segment);
	hb_expected_open(check->expected, check->info.node);
	if (rc == 0)
		rc = replay(check, reader);
	if (rc == 0)
		rc = hb_expected_finish(check->expected);
	hb_journal_reader_close(reader);
	if (rc != 0) {
		snprintf(check->error, 256, "%.200s", error[0] != 0 ? error : strerror(-rc));
		return rc;
	}
	check_snapshots(check);
	if (check->journal_broken)
		return 0;
	hbi_check_invariants(check);
	return check->options->journal_only ? 0 : hbi_check_mysql(check);
}

int
hb_check_run(
	const struct hb_check_options *options, struct hb_check_result *result, char error[256])
{
	uint64_t begin_ns = hb_mono_ns();
	struct hbi_check check = {.options = options, .result = result, .error = error};
	int rc;

	memset(result, 0, sizeof(*result));
	result->ok = true;
	error[0] = 0;
	check.expected = malloc(sizeof(*check.expected));
	if (check.expected == NULL) {
		snprintf(error, 256, "out of memory");
		return -ENOMEM;
	}
	rc = run(&check);
	if (check.state_open)
		hb_state_close(&check.state);
	hb_expected_close(check.expected);
	free(check.expected);
	result->elapsed_ms = (hb_mono_ns() - begin_ns) / 1000000;
	if (rc != 0)
		result->ok = false;
	return rc;
}

/* Texts come from the database too: what is not UTF-8, also by being cut, becomes '?'. */
static json_t *
json_text(const char *text)
{
	json_t *string = json_string(text);
	char ascii[sizeof(((struct hb_check_violation *)0)->found)];
	size_t i = 0;

	if (string != NULL)
		return string;
	for (; text[i] != 0 && i + 1 < sizeof(ascii); i++)
		ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	ascii[i] = 0;
	return json_string(ascii);
}

char *
hb_check_json(const struct hb_check_result *result, uint64_t mysql_lag)
{
	json_t *violations = json_array();
	uint32_t described = result->violation_count < HB_CHECK_VIOLATIONS_MAX
				     ? result->violation_count
				     : HB_CHECK_VIOLATIONS_MAX;
	char *text;

	for (uint32_t i = 0; i < described; i++) {
		const struct hb_check_violation *v = &result->violation[i];

		json_t *entry = json_object();

		json_object_set_new(entry, "kind", json_string(v->kind));
		json_object_set_new(entry, "where", json_text(v->where));
		json_object_set_new(entry, "expected", json_text(v->expected));
		json_object_set_new(entry, "found", json_text(v->found));
		json_array_append_new(violations, entry);
	}
	json_t *object = json_pack(
		"{s:b, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ok",
		result->ok, "journal_seq", (json_int_t)result->journal_seq, "mysql_lag",
		(json_int_t)mysql_lag, "violations", violations, "violation_count",
		(json_int_t)result->violation_count, "first_seq", (json_int_t)result->first_seq,
		"records", (json_int_t)result->record_count, "grabs",
		(json_int_t)result->grab_count, "marks", (json_int_t)result->mark_count, "accounts",
		(json_int_t)result->account_count, "packets", (json_int_t)result->packet_count,
		"rows", (json_int_t)result->row_count, "elapsed_ms",
		(json_int_t)result->elapsed_ms);
	text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}
