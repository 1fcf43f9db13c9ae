/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl journal verify, journal dump: read a journal directory as recovery does, beside a living
 * node or far from it. Reads only; a bad frame or record is named with its place.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "persist/journal_reader.h"
#include "tools/hbctl/hbctl.h"
#include "tools/hbctl/record_fields.h"

#define PROGRESS_EVERY 1000000

/* DIR of the command line, or the node's. */
static const char *
journal_directory(const struct hbctl *hbctl, char room[HB_PATH_MAX])
{
	if (hbctl->positional_count > 0)
		return hbctl->positional[0];
	hb_path(room, hbctl->config.node_directory, HB_PATH_JOURNAL);
	return room;
}

static int
open_failed(struct hbctl *hbctl, const char *directory, int result, const char *error)
{
	if (result == -EBADMSG)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	return hbctl_fail(hbctl, HBCTL_USAGE, "%s%s%s%s", error[0] == '\0' ? directory : "",
		error[0] == '\0' ? ": " : "", error[0] == '\0' ? strerror(-result) : error,
		result == -EACCES ? "; run hbctl as root" : "");
}

struct walk {
	uint64_t first_seq;
	uint64_t last_seq;
	uint64_t records;
	uint64_t frames;
	uint64_t epochs;
	uint64_t last_epoch;
	bool packed;
	uint64_t segment_number;
	uint64_t frame_offset;
};

/* To the end. @return 0, or the reader's -errno */
static int
walk_all(struct hbctl *hbctl, struct hb_journal_reader *reader, struct walk *walk)
{
	bool terminal = isatty(fileno(hbctl->err)) == 1;
	struct hb_journal_position at;
	const struct hb_record *record;
	int got;

	while ((got = hb_journal_reader_next(reader, &record, &at)) > 0) {
		if (walk->records++ == 0)
			walk->first_seq = at.seq;
		walk->last_seq = at.seq;
		walk->frames += at.frame_end ? 1 : 0;
		walk->epochs += at.epoch != walk->last_epoch ? 1 : 0;
		walk->last_epoch = at.epoch;
		walk->packed = at.packed;
		walk->segment_number = at.segment_number;
		walk->frame_offset = at.frame_offset;
		if (terminal && walk->records % PROGRESS_EVERY == 0)
			fprintf(hbctl->err, "\r%" PRIu64 " records", walk->records);
	}
	if (terminal && walk->records >= PROGRESS_EVERY)
		fprintf(hbctl->err, "\r\033[K");
	return got;
}

static json_t *
verify_json(const char *directory, const struct walk *walk, const struct hb_journal_info *info,
	const struct hb_journal_tail *tail)
{
	json_t *answer = json_pack("{s:b, s:o, s:o, s:i, s:I, s:I, s:I, s:I, s:I}", "ok", 1,
		"directory", hbctl_json_string(directory), "stream",
		hbctl_json_hex(info->stream_id, sizeof(info->stream_id)), "node", (int)info->node,
		"first_seq", (json_int_t)walk->first_seq, "last_seq", (json_int_t)walk->last_seq,
		"records", (json_int_t)walk->records, "frames", (json_int_t)walk->frames, "epochs",
		(json_int_t)walk->epochs);

	json_object_set_new(answer, "epoch", json_integer((json_int_t)walk->last_epoch));
	json_object_set_new(answer, "first_segment", json_integer((json_int_t)info->first_segment));
	json_object_set_new(answer, "last_segment", json_integer((json_int_t)tail->segment_number));
	json_object_set_new(answer, "durable_seq", json_integer((json_int_t)info->durable_seq));
	json_object_set_new(answer, "chain", hbctl_json_hex(tail->chain, sizeof(tail->chain)));
	json_object_set_new(answer, "end", hbctl_json_string(tail->reason));
	return answer;
}

static void
print_verified(struct hbctl *hbctl, const struct walk *walk, const struct hb_journal_info *info,
	const struct hb_journal_tail *tail)
{
	char chain[2 * sizeof(tail->chain) + 1];

	fprintf(hbctl->out,
		"the journal is whole: %" PRIu64 " records in %" PRIu64 " frames, sequence %" PRIu64
		" to %" PRIu64 "\n",
		walk->records, walk->frames, walk->first_seq, walk->last_seq);
	fprintf(hbctl->out,
		"segments %" PRIu64 " to %" PRIu64 ", %" PRIu64 " epoch(s), the last is %" PRIu64
		"\nend      segment %" PRIu64 ", offset %" PRIu64 ": %s\nchain    ",
		info->first_segment, tail->segment_number, walk->epochs, walk->last_epoch,
		tail->segment_number, tail->segment_offset, tail->reason);
	hb_hex_text(chain, tail->chain, sizeof(tail->chain));
	fprintf(hbctl->out, "%s\n", chain);
}

static int
damaged(struct hbctl *hbctl, const char *directory, const struct walk *walk, const char *error)
{
	fprintf(hbctl->err, "hbctl: %s\n", error);
	if (hbctl->json)
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:o, s:I, s:I, s:o}", "ok", 0, "directory",
				hbctl_json_string(directory), "records", (json_int_t)walk->records,
				"last_good_seq", (json_int_t)walk->last_seq, "error",
				hbctl_json_string(error)));
	else
		fprintf(hbctl->out,
			"the journal is damaged behind sequence %" PRIu64 " (%" PRIu64
			" records before it are whole)\n%s\n",
			walk->last_seq, walk->records, error);
	return HBCTL_WRONG;
}

int
hbctl_run_journal_verify(struct hbctl *hbctl)
{
	char room[HB_PATH_MAX];
	const char *directory = journal_directory(hbctl, room);
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info;
	struct hb_journal_tail tail;
	struct walk walk = {.records = 0};
	int result = hb_journal_reader_open(&reader, directory, error);

	if (result != 0)
		return open_failed(hbctl, directory, result, error);
	result = hb_journal_reader_info(reader, &info);
	if (result == 0 && info.first_segment != 0)
		result = hb_journal_reader_seek_first(reader);
	if (result == 0)
		result = walk_all(hbctl, reader, &walk);
	if (result != 0) {
		result = damaged(hbctl, directory, &walk,
			hb_journal_reader_error(reader)[0] == '\0'
				? strerror(-result)
				: hb_journal_reader_error(reader));
		goto out;
	}
	hb_journal_reader_tail(reader, &tail);
	if (hbctl->json)
		hbctl_print_json(hbctl, verify_json(directory, &walk, &info, &tail));
	else
		print_verified(hbctl, &walk, &info, &tail);
	result = HBCTL_OK;
out:
	hb_journal_reader_close(reader);
	return result;
}

struct filter {
	uint64_t from;
	uint64_t to;
	uint64_t packet;
	uint64_t account;
	uint8_t type;
};

/* @return HBCTL_OK, or HBCTL_USAGE after saying what is wrong */
static int
read_filter(struct hbctl *hbctl, struct filter *filter)
{
	const char *from = hbctl_option_value(hbctl, "--from");
	const char *to = hbctl_option_value(hbctl, "--to");
	const char *packet = hbctl_option_value(hbctl, "--packet");
	const char *account = hbctl_option_value(hbctl, "--account");
	const char *type = hbctl_option_value(hbctl, "--type");

	memset(filter, 0, sizeof(*filter));
	filter->to = UINT64_MAX;
	if (from != NULL && !hbctl_parse_u64(from, 1, UINT64_MAX, &filter->from))
		return hbctl_fail(hbctl, HBCTL_USAGE, "--from %s is not a sequence", from);
	if (to != NULL && !hbctl_parse_u64(to, 1, UINT64_MAX, &filter->to))
		return hbctl_fail(hbctl, HBCTL_USAGE, "--to %s is not a sequence", to);
	if (packet != NULL && !hbctl_parse_packet(packet, &filter->packet))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--packet %s is not 16 hexadecimal digits beginning with 01", packet);
	if (account != NULL && !hbctl_parse_u64(account, 1, INT64_MAX, &filter->account))
		return hbctl_fail(hbctl, HBCTL_USAGE, "--account %s is not a number", account);
	if (type != NULL && (filter->type = hbctl_record_type_number(type)) == 0)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--type %s is no record type; GRAB, PACKET_CREATE, CREDIT … are", type);
	return HBCTL_OK;
}

static bool
wanted(const struct filter *filter, const struct hb_record *record)
{
	if (filter->type != 0 && record->type != filter->type)
		return false;
	if (filter->packet != 0 && !hbctl_record_has_packet(record, filter->packet))
		return false;
	return filter->account == 0 || hbctl_record_has_account(record, filter->account);
}

static int
dump(struct hbctl *hbctl, struct hb_journal_reader *reader, const struct filter *filter,
	uint32_t node)
{
	struct hb_journal_position at;
	const struct hb_record *record;
	int got;

	while ((got = hb_journal_reader_next(reader, &record, &at)) > 0 && at.seq <= filter->to) {
		json_t *object;

		if (!wanted(filter, record))
			continue;
		object = hbctl_record_json(record, at.seq, node);
		if (hbctl->json) {
			hbctl_print_json(hbctl, object);
		} else {
			hbctl_record_print(object, hbctl->out);
			json_decref(object);
		}
		if (ferror(hbctl->out))
			return 0;
	}
	return got < 0 ? got : 0;
}

int
hbctl_run_journal_dump(struct hbctl *hbctl)
{
	char room[HB_PATH_MAX];
	const char *directory = journal_directory(hbctl, room);
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info;
	struct filter filter;
	int result = read_filter(hbctl, &filter);

	if (result != HBCTL_OK)
		return result;
	result = hb_journal_reader_open(&reader, directory, error);
	if (result != 0)
		return open_failed(hbctl, directory, result, error);
	result = hb_journal_reader_info(reader, &info);
	if (result == 0 && info.first_segment != 0)
		result = filter.from == 0 ? hb_journal_reader_seek_first(reader)
					  : hb_journal_reader_seek(reader, filter.from);
	if (result == 0)
		result = dump(hbctl, reader, &filter, info.node);
	if (result != 0)
		result = hbctl_fail(hbctl, HBCTL_WRONG, "%s",
			hb_journal_reader_error(reader)[0] == '\0'
				? strerror(-result)
				: hb_journal_reader_error(reader));
	hb_journal_reader_close(reader);
	return result;
}
