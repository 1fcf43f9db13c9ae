/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal reader: walks frames and records over raw and packed segments and checks them all.
 *
 * A reader owns its buffers and descriptors; it writes nothing, so a process that dies here leaves
 * nothing. Beside a living writer three things happen under a reader, and each is met by looking
 * again: a frame appears where there was none; a segment is packed and its raw file recycled; old
 * packed segments are dropped.
 */
#include "persist/journal_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "persist/journal_frame.h"
#include "persist/segment_list.h"
#include "persist/source.h"
#include "persist/superblock.h"

#define REASON_BYTES	 160
#define LOOKS_MAX	 4 /* before an unreadable place is believed to be damaged */
#define LATER_SCAN_BYTES (UINT64_C(1) << 20) /* of each segment behind the end */

struct hb_journal_reader {
	char directory[HB_JOURNAL_ERROR_BYTES / 2];
	int dir_fd;
	struct hb_superblock superblock;
	struct hb_digest digest;
	uint64_t limit;
	uint64_t witness_seq;
	char witness_who[32];

	struct hb_source source; /* the segment read */
	struct hb_source probe;	 /* the one that may come next */

	/* what must come next */
	bool number_known; /* false: the next frame's own numbers and chain are taken */
	bool rings_known;  /* every ring's last core sequence is known */
	uint64_t next_frame;
	uint64_t next_seq;
	uint64_t epoch;
	uint8_t chain[HB_SHA256_BYTES];
	uint64_t wall_ns;
	uint64_t ring_sequence[HB_RING_COUNT];
	uint32_t ring_crc[HB_RING_COUNT];

	/* the frame whose records are being delivered */
	const struct hb_journal_frame *frame;
	uint32_t record_index;
	uint32_t record_offset;
	uint64_t frame_offset;
	bool frame_packed;

	char reason[REASON_BYTES]; /* why the last place looked at holds no frame */
	char error[HB_JOURNAL_ERROR_BYTES];
};

static int fail(struct hb_journal_reader *reader, int rc, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int
fail(struct hb_journal_reader *reader, int rc, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reader->error, sizeof(reader->error), format, arguments);
	va_end(arguments);
	return rc;
}

int
hb_journal_reader_open(
	struct hb_journal_reader **out, const char *directory, char error[HB_JOURNAL_ERROR_BYTES])
{
	char why[256] = "out of memory";
	int rc = -ENOMEM;
	struct hb_journal_reader *reader = calloc(1, sizeof(*reader));

	*out = NULL;
	if (reader == NULL)
		goto out;
	reader->source.fd = reader->probe.fd = -1;
	reader->limit = UINT64_MAX;
	snprintf(reader->directory, sizeof(reader->directory), "%s", directory);
	reader->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (reader->dir_fd < 0) {
		rc = -errno;
		snprintf(why, sizeof(why), "%s", strerror(-rc));
		goto out;
	}
	if (hb_digest_open(&reader->digest) != 0 || hb_source_create(&reader->source) != 0 ||
		hb_source_create(&reader->probe) != 0)
		goto out;
	rc = hb_superblock_read(reader->dir_fd, &reader->superblock, why);
	if (rc != 0)
		goto out;
	*out = reader;
	return 0;
out:
	snprintf(error, HB_JOURNAL_ERROR_BYTES, "journal %.200s: %s", directory, why);
	hb_journal_reader_close(reader);
	return rc;
}

void
hb_journal_reader_close(struct hb_journal_reader *reader)
{
	if (reader == NULL)
		return;
	hb_source_destroy(&reader->source);
	hb_source_destroy(&reader->probe);
	hb_digest_close(&reader->digest);
	if (reader->dir_fd >= 0)
		close(reader->dir_fd);
	free(reader);
}

void
hb_journal_reader_limit(struct hb_journal_reader *reader, uint64_t seq)
{
	reader->limit = seq;
}

const char *
hb_journal_reader_error(const struct hb_journal_reader *reader)
{
	return reader->error;
}

void
hb_journal_reader_witness(struct hb_journal_reader *reader, uint64_t seq, const char *who)
{
	if (seq <= reader->witness_seq)
		return;
	reader->witness_seq = seq;
	snprintf(reader->witness_who, sizeof(reader->witness_who), "%s", who);
}

int
hb_journal_reader_info(struct hb_journal_reader *reader, struct hb_journal_info *info)
{
	struct hb_segment_list list;
	char why[256];
	int rc = hb_superblock_read(reader->dir_fd, &reader->superblock, why);

	*info = (struct hb_journal_info){0};
	if (rc != 0)
		return fail(reader, rc, "journal %s: %s", reader->directory, why);
	memcpy(info->stream_id, reader->superblock.stream_id, sizeof(info->stream_id));
	info->node = reader->superblock.node;
	info->epoch = reader->superblock.epoch;
	info->state_epoch = reader->superblock.state_epoch;
	info->durable_seq = reader->superblock.durable_seq;
	rc = hb_segment_list_read(&list, reader->dir_fd);
	if (rc == 0 && list.count > 0) {
		info->first_segment = list.entry[0].number;
		info->last_segment = list.entry[list.count - 1].number;
	}
	hb_segment_list_free(&list);
	if (rc != 0)
		return fail(reader, rc, "journal %s: cannot list segments: %s", reader->directory,
			strerror(-rc));
	return 0;
}

/* ---- one frame ---- */

static const char *
records_fault(struct hb_journal_reader *reader, const struct hb_journal_frame *frame,
	uint64_t sequence[HB_RING_COUNT], uint32_t crc[HB_RING_COUNT], uint32_t *index)
{
	const uint8_t *at = (const uint8_t *)frame + HB_JOURNAL_FRAME_HEADER_BYTES;
	size_t left = frame->payload_length;

	for (*index = 0; *index < frame->record_count; (*index)++) {
		const struct hb_record *record = (const struct hb_record *)at;
		const char *fault = hb_record_verify(record, left);

		if (fault != NULL)
			return fault;
		if ((reader->rings_known || sequence[record->ring] != 0) &&
			record->core_sequence != sequence[record->ring] + 1)
			return "the core sequence of its ring is not the next one";
		sequence[record->ring] = record->core_sequence;
		crc[record->ring] = record->crc;
		at += record->length;
		left -= record->length;
	}
	return left == 0 ? NULL : "bytes behind the last record";
}

static const char *
numbers_fault(const struct hb_journal_reader *reader, const struct hb_journal_frame *frame)
{
	if (frame->epoch < reader->epoch)
		return "the epoch is older than the one before";
	if (!reader->number_known)
		return NULL;
	if (frame->frame_number != reader->next_frame)
		return "the frame number is not the next one";
	if (frame->first_seq != reader->next_seq)
		return "the first sequence is not the next one";
	if (memcmp(frame->previous_chain, reader->chain, HB_SHA256_BYTES) != 0)
		return "the chain does not continue the frame before";
	return NULL;
}

/* Check a whole frame and make it the current one. @return 1, or 0 with the reason */
static int
accept_frame(struct hb_journal_reader *reader, struct hb_source *source,
	const struct hb_journal_frame *frame)
{
	uint64_t sequence[HB_RING_COUNT];
	uint32_t crc[HB_RING_COUNT];
	uint32_t index = 0;
	uint32_t whole = HB_JOURNAL_FRAME_HEADER_BYTES + frame->payload_length;
	const char *fault = numbers_fault(reader, frame);

	memcpy(sequence, reader->ring_sequence, sizeof(sequence));
	memcpy(crc, reader->ring_crc, sizeof(crc));
	if (fault == NULL)
		fault = hb_frame_check_payload(&reader->digest, frame,
			(const uint8_t *)frame + HB_JOURNAL_FRAME_HEADER_BYTES);
	if (fault == NULL && !source->packed &&
		!hb_is_zero((const uint8_t *)frame + whole, frame->frame_length - whole))
		fault = "the padding is not zero";
	if (fault != NULL) {
		snprintf(reader->reason, REASON_BYTES, "%s", fault);
		return 0;
	}
	fault = records_fault(reader, frame, sequence, crc, &index);
	if (fault != NULL) {
		snprintf(reader->reason, REASON_BYTES, "record %u of the frame: %s", index, fault);
		return 0;
	}
	memcpy(reader->ring_sequence, sequence, sizeof(sequence));
	memcpy(reader->ring_crc, crc, sizeof(crc));
	memcpy(reader->chain, frame->chain, HB_SHA256_BYTES);
	reader->number_known = true;
	reader->next_frame = frame->frame_number + 1;
	reader->next_seq = frame->first_seq + frame->record_count;
	reader->epoch = frame->epoch;
	reader->wall_ns = frame->wall_ns;
	reader->frame = frame;
	reader->record_index = 0;
	reader->record_offset = HB_JOURNAL_FRAME_HEADER_BYTES;
	reader->frame_offset = source->packed ? source->block_offset : source->offset;
	reader->frame_packed = source->packed;
	hb_source_advance(source, frame);
	return 1;
}

/*
 * The header of the frame at the source's place.
 * @return 1 with `frame`, 0 with the reason, or -errno with the error
 */
static int
header_at(struct hb_journal_reader *reader, struct hb_source *source, bool fresh,
	const struct hb_journal_frame **frame)
{
	const uint8_t *at = NULL;
	const char *reason = NULL;
	int64_t n = hb_source_peek(source, HB_JOURNAL_FRAME_HEADER_BYTES, fresh, &at);

	if (n < 0)
		return fail(reader, (int)n, "journal %s: %s", reader->directory, source->error);
	if (n == 0) {
		snprintf(reader->reason, REASON_BYTES, "%s",
			source->fd < 0 ? "the segment is missing" : "the segment ends");
		return 0;
	}
	*frame = (const struct hb_journal_frame *)at;
	if (!hb_frame_header_ok(
		    *frame, reader->superblock.stream_id, source->segment_number, &reason)) {
		snprintf(reader->reason, REASON_BYTES, "%s", reason);
		return 0;
	}
	return 1;
}

static int
frame_at(struct hb_journal_reader *reader, struct hb_source *source, bool fresh)
{
	const struct hb_journal_frame *frame = NULL;
	const uint8_t *at = NULL;
	int64_t n;
	int rc = header_at(reader, source, fresh, &frame);

	if (rc <= 0)
		return rc;
	n = hb_source_peek(source,
		source->packed ? HB_JOURNAL_FRAME_HEADER_BYTES + frame->payload_length
			       : frame->frame_length,
		false, &at);
	if (n < 0)
		return fail(reader, (int)n, "journal %s: %s", reader->directory, source->error);
	if (n == 0) {
		snprintf(reader->reason, REASON_BYTES, "the frame reaches over the segment's end");
		return 0;
	}
	/* the second look may have read the file again */
	frame = (const struct hb_journal_frame *)at;
	if (!hb_frame_header_ok(
		    frame, reader->superblock.stream_id, source->segment_number, NULL)) {
		snprintf(reader->reason, REASON_BYTES, "the frame changed while it was read");
		return 0;
	}
	return accept_frame(reader, source, frame);
}

/* ---- from segment to segment ---- */

static void
swap_sources(struct hb_journal_reader *reader)
{
	struct hb_source other = reader->source;

	reader->source = reader->probe;
	reader->probe = other;
}

/* Step over the frames before the next one in a packed segment. */
static int
skip_packed(struct hb_journal_reader *reader, struct hb_source *source)
{
	const struct hb_journal_frame *frame;

	while (reader->number_known) {
		int rc = header_at(reader, source, false, &frame);

		if (rc <= 0)
			return rc;
		if (frame->frame_number >= reader->next_frame)
			break;
		hb_source_advance(source, frame);
	}
	return 1;
}

/* The raw file may have been packed and recycled: go on in the packed one if there is one. */
static int
try_packed(struct hb_journal_reader *reader)
{
	int rc = hb_source_open(&reader->probe, reader->dir_fd, reader->source.segment_number,
		reader->superblock.stream_id, true);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return fail(reader, rc, "journal %s: %s", reader->directory, reader->probe.error);
	swap_sources(reader);
	hb_source_close(&reader->probe);
	rc = skip_packed(reader, &reader->source);
	return rc <= 0 ? rc : frame_at(reader, &reader->source, false);
}

static int
try_next_segment(struct hb_journal_reader *reader)
{
	char reason[REASON_BYTES];
	int rc = hb_source_open(&reader->probe, reader->dir_fd, reader->source.segment_number + 1,
		reader->superblock.stream_id, false);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return fail(reader, rc, "journal %s: %s", reader->directory, reader->probe.error);
	memcpy(reason, reader->reason, sizeof(reason));
	rc = frame_at(reader, &reader->probe, true);
	if (rc > 0)
		swap_sources(reader);
	else
		memcpy(reader->reason, reason, sizeof(reason));
	hb_source_close(&reader->probe);
	return rc;
}

/* One look at every place where the next frame can be. @return 1, 0 or -errno */
static int
look(struct hb_journal_reader *reader)
{
	int rc;

	if (reader->source.fd < 0) {
		rc = hb_source_open(&reader->source, reader->dir_fd, reader->source.segment_number,
			reader->superblock.stream_id, false);
		if (rc != 0 && rc != -ENOENT)
			return fail(reader, rc, "journal %s: %s", reader->directory,
				reader->source.error);
	}
	rc = frame_at(reader, &reader->source, false);
	if (rc == 0 && !reader->source.packed)
		rc = frame_at(reader, &reader->source, true);
	if (rc == 0 && !reader->source.packed)
		rc = try_packed(reader);
	/* a segment whose first frame is damaged must not be passed over */
	if (rc == 0 && reader->number_known)
		rc = try_next_segment(reader);
	return rc;
}

/* The newest sequence that a parseable frame behind the end names, in one raw file. */
static uint64_t
later_in_file(
	struct hb_journal_reader *reader, struct hb_source *source, uint64_t from, uint64_t bytes)
{
	uint64_t newest = 0;
	uint64_t end = from + bytes < source->bytes ? from + bytes : source->bytes;
	const uint8_t *at;

	for (source->offset = from; source->offset < end;
		source->offset += HB_JOURNAL_BLOCK_BYTES) {
		const struct hb_journal_frame *frame;
		uint64_t last;

		if (hb_source_peek(source, HB_JOURNAL_BLOCK_BYTES, false, &at) <= 0)
			break;
		frame = (const struct hb_journal_frame *)at;
		if (frame->magic != HB_JOURNAL_FRAME_MAGIC ||
			!hb_frame_header_ok(
				frame, reader->superblock.stream_id, source->segment_number, NULL))
			continue;
		last = frame->first_seq + frame->record_count - 1;
		if (frame->frame_number > reader->next_frame && last > newest)
			newest = last;
	}
	return newest;
}

/* The newest sequence that a segment names behind the end. */
static uint64_t
later_in_segment(struct hb_journal_reader *reader, uint64_t number)
{
	struct hb_source *probe = &reader->probe;
	bool here = number == reader->source.segment_number;
	uint64_t seq = 0;

	if (hb_source_open(probe, reader->dir_fd, number, reader->superblock.stream_id, false) != 0)
		return 0;
	if (probe->packed)
		seq = probe->header.last_seq;
	else
		seq = later_in_file(reader, probe,
			here ? reader->source.offset + HB_JOURNAL_BLOCK_BYTES : 0,
			here ? UINT64_MAX / 2 : LATER_SCAN_BYTES);
	hb_source_close(probe);
	return seq;
}

/* The newest sequence that anything behind the end names, 0: nothing. @return 0 or -errno */
static int
later_seq(struct hb_journal_reader *reader, uint64_t *newest)
{
	uint64_t first = reader->source.segment_number + (reader->source.packed ? 1 : 0);
	struct hb_segment_list list;
	int rc = hb_segment_list_read(&list, reader->dir_fd);

	*newest = 0;
	if (rc != 0)
		fail(reader, rc, "journal %s: cannot list segments: %s", reader->directory,
			strerror(-rc));
	for (size_t i = 0; i < list.count; i++) {
		uint64_t seq = 0;

		if (list.entry[i].number >= first)
			seq = later_in_segment(reader, list.entry[i].number);
		if (seq > *newest)
			*newest = seq;
	}
	hb_segment_list_free(&list);
	return rc;
}

static int
damaged(struct hb_journal_reader *reader, const char *who, uint64_t seq)
{
	char name[64];
	const struct hb_source *source = &reader->source;

	hb_source_name(source, name);
	return fail(reader, -EBADMSG,
		"journal %s is damaged: %s, offset %llu, where frame %llu with sequence %llu must "
		"be: %s; but %s shows that sequence %llu was durable. Nothing was changed. Restore "
		"the file from a copy; do not cut the journal",
		reader->directory, name,
		(unsigned long long)(source->packed ? source->block_offset : source->offset),
		(unsigned long long)reader->next_frame, (unsigned long long)reader->next_seq,
		reader->reason, who, (unsigned long long)seq);
}

/* No frame where one is looked for: the end, or damage? @return 0, 1 to look again, or -errno */
static int
judge_end(struct hb_journal_reader *reader, bool last_look)
{
	char why[256];
	uint64_t later;
	int rc;

	if (!reader->number_known)
		return last_look ? damaged(reader, "its name", reader->next_seq) : 1;
	/* nobody looks for a frame above the limit */
	if (reader->limit != UINT64_MAX)
		return last_look ? damaged(reader, "the commit watermark", reader->limit) : 1;
	if (reader->witness_seq >= reader->next_seq)
		return last_look ? damaged(reader, reader->witness_who, reader->witness_seq) : 1;
	if (hb_superblock_read(reader->dir_fd, &reader->superblock, why) == 0 &&
		reader->superblock.durable_seq >= reader->next_seq)
		return last_look ? damaged(reader, "the superblock", reader->superblock.durable_seq)
				 : 1;
	rc = later_seq(reader, &later);
	if (rc != 0)
		return rc;
	if (later >= reader->next_seq)
		return last_look ? damaged(reader, "a later frame", later) : 1;
	return 0;
}

static int
load_frame(struct hb_journal_reader *reader)
{
	reader->frame = NULL;
	for (int looks = 1;; looks++) {
		int rc = look(reader);

		if (rc != 0)
			return rc;
		rc = judge_end(reader, looks == LOOKS_MAX);
		if (rc <= 0)
			return rc;
	}
}

/* ---- seeking ---- */

static void
begin_at(struct hb_journal_reader *reader, uint64_t segment_number)
{
	reader->frame = NULL;
	reader->number_known = segment_number == 1;
	reader->rings_known = segment_number == 1;
	reader->next_frame = 1;
	reader->next_seq = 1;
	reader->epoch = 0;
	reader->wall_ns = 0;
	reader->error[0] = '\0';
	memset(reader->chain, 0, sizeof(reader->chain));
	memset(reader->ring_sequence, 0, sizeof(reader->ring_sequence));
	memset(reader->ring_crc, 0, sizeof(reader->ring_crc));
}

/* First sequence of a segment. @return 1, 0 when no frame begins it, or -errno */
static int
first_seq_of(struct hb_journal_reader *reader, uint64_t number, uint64_t *first_seq)
{
	const struct hb_journal_frame *frame;
	int rc = hb_source_open(
		&reader->probe, reader->dir_fd, number, reader->superblock.stream_id, false);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return fail(reader, rc, "journal %s: %s", reader->directory, reader->probe.error);
	rc = header_at(reader, &reader->probe, true, &frame);
	if (rc > 0)
		*first_seq = frame->first_seq;
	hb_source_close(&reader->probe);
	return rc;
}

/* Index of the last segment that begins at or before seq; count when there is none. */
static int
find_segment(struct hb_journal_reader *reader, const struct hb_segment_list *list, uint64_t seq,
	size_t *index)
{
	size_t low = 0, high = list->count;

	*index = list->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		size_t at = middle;
		uint64_t first = 0;
		int rc = first_seq_of(reader, list->entry[at].number, &first);

		/* ready segments hold no frame, and a damaged one cannot say: ask the one before */
		while (rc == 0 && at > low) {
			at--;
			rc = first_seq_of(reader, list->entry[at].number, &first);
		}
		if (rc < 0)
			return rc;
		if (rc == 0 || first > seq) {
			high = at;
		} else {
			*index = at;
			low = middle + 1;
		}
	}
	return 0;
}

static int
begin_segment(struct hb_journal_reader *reader, uint64_t number)
{
	const struct hb_journal_frame *frame;
	int rc = hb_source_open(
		&reader->source, reader->dir_fd, number, reader->superblock.stream_id, false);

	begin_at(reader, number);
	if (rc != 0 && rc != -ENOENT)
		return fail(reader, rc, "journal %s: %s", reader->directory, reader->source.error);
	if (number == 1)
		return 0;
	rc = header_at(reader, &reader->source, true, &frame);
	if (rc > 0) {
		reader->next_frame = frame->frame_number;
		reader->next_seq = frame->first_seq;
	}
	return rc < 0 ? rc : 0;
}

/* Read on until the frame that holds seq is the current one, or the next one begins with it. */
static int
walk_to(struct hb_journal_reader *reader, uint64_t seq)
{
	uint64_t limit = reader->limit;
	int rc = 0;

	reader->limit = UINT64_MAX;
	while (reader->next_seq < seq) {
		rc = load_frame(reader);
		if (rc <= 0)
			break;
	}
	reader->limit = limit;
	if (rc < 0)
		return rc;
	if (reader->frame != NULL && seq < reader->next_seq) {
		while (reader->frame->first_seq + reader->record_index < seq) {
			const struct hb_record *record =
				(const void *)((const uint8_t *)reader->frame +
					       reader->record_offset);

			reader->record_offset += record->length;
			reader->record_index++;
		}
		return 0;
	}
	reader->frame = NULL;
	if (reader->next_seq == seq)
		return 0;
	return fail(reader, -ERANGE,
		"journal %s: sequence %llu is above the end of the journal (next is %llu)",
		reader->directory, (unsigned long long)seq, (unsigned long long)reader->next_seq);
}

int
hb_journal_reader_seek(struct hb_journal_reader *reader, uint64_t seq)
{
	struct hb_segment_list list;
	size_t index = 0;
	uint64_t number = 1;
	int rc = hb_segment_list_read(&list, reader->dir_fd);

	HB_ASSERT(seq > 0);
	if (rc != 0) {
		fail(reader, rc, "journal %s: cannot list segments: %s", reader->directory,
			strerror(-rc));
		goto out;
	}
	if (list.count > 0) {
		rc = find_segment(reader, &list, seq, &index);
		if (rc != 0)
			goto out;
		number = list.entry[index < list.count ? index : 0].number;
	}
	if (index == list.count && number != 1) {
		rc = fail(reader, -ENOENT,
			"journal %s: sequence %llu is older than the oldest segment",
			reader->directory, (unsigned long long)seq);
		goto out;
	}
	rc = begin_segment(reader, number);
	if (rc == 0)
		rc = walk_to(reader, seq);
out:
	hb_segment_list_free(&list);
	return rc;
}

int
hb_journal_reader_seek_first(struct hb_journal_reader *reader)
{
	struct hb_segment_list list;
	uint64_t number;
	int rc = hb_segment_list_read(&list, reader->dir_fd);

	number = rc == 0 && list.count > 0 ? list.entry[0].number : 1;
	hb_segment_list_free(&list);
	if (rc != 0)
		return fail(reader, rc, "journal %s: cannot list segments: %s", reader->directory,
			strerror(-rc));
	return begin_segment(reader, number);
}

/* ---- records ---- */

int
hb_journal_reader_next(struct hb_journal_reader *reader, const struct hb_record **record,
	struct hb_journal_position *position)
{
	const struct hb_journal_frame *frame;
	uint64_t seq;

	if (reader->frame == NULL || reader->record_index == reader->frame->record_count) {
		int rc;

		if (reader->next_seq > reader->limit)
			return 0;
		rc = load_frame(reader);
		if (rc <= 0)
			return rc;
	}
	frame = reader->frame;
	seq = frame->first_seq + reader->record_index;
	if (seq > reader->limit)
		return 0;
	*record = (const void *)((const uint8_t *)frame + reader->record_offset);
	position->seq = seq;
	position->epoch = frame->epoch;
	position->frame = frame;
	position->segment_number = frame->segment_number;
	position->frame_offset = reader->frame_offset;
	position->record_offset = reader->record_offset;
	position->packed = reader->frame_packed;
	position->frame_end = reader->record_index + 1 == frame->record_count;
	reader->record_index++;
	reader->record_offset += (*record)->length;
	return 1;
}

void
hb_journal_reader_tail(const struct hb_journal_reader *reader, struct hb_journal_tail *tail)
{
	const struct hb_source *source = &reader->source;

	*tail = (struct hb_journal_tail){0};
	tail->next_seq = reader->next_seq;
	tail->next_frame = reader->next_frame;
	tail->epoch = reader->epoch;
	tail->wall_ns = reader->wall_ns;
	memcpy(tail->chain, reader->chain, sizeof(tail->chain));
	memcpy(tail->ring_sequence, reader->ring_sequence, sizeof(tail->ring_sequence));
	memcpy(tail->ring_crc, reader->ring_crc, sizeof(tail->ring_crc));
	snprintf(tail->reason, sizeof(tail->reason), "%s", reader->reason);
	if (source->packed) {
		tail->segment_number = source->segment_number + 1;
	} else if (source->fd >= 0) {
		tail->segment_number = source->segment_number;
		tail->segment_offset = source->offset;
	}
}
