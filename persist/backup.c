/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying a journal directory up to a cut. Segments are taken from the oldest on; while we read,
 * the writer may pack a raw segment, recycle it, or drop the oldest packed one: packed files never
 * change, so they are copied whole, and everything else goes through the journal reader, which
 * copes with all of that by itself.
 *
 * Nothing outlives a call; if the process dies, the target is left unfinished.
 */
#include "persist/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/write_all.h"
#include "persist/segment_list.h"
#include "persist/snapshot.h"
#include "persist/source.h"
#include "persist/superblock.h"

#define COPY_BYTES     (UINT32_C(1) << 20)
#define PROGRESS_EVERY (UINT64_C(16) << 20)
#define NAME_BYTES     64
#define SNAPSHOT_DIR   "snapshot"

struct copying {
	const struct hb_backup_request *request;
	struct hb_backup_cut *cut;
	struct hb_superblock superblock;
	int from_fd;
	int to_fd;
	int earlier_fd; /* -1: none */
	int segment_fd; /* the raw one being written, -1: none */
	uint64_t segment_number;
	uint64_t segment_offset;
	uint64_t first_segment; /* 0: none copied yet */
	uint64_t next_seq;	/* behind the packed segments copied; 0: none */
	uint64_t shown;
	char *error;
};

static int
fail(struct copying *c, int rc, const char *what, const char *name)
{
	snprintf(c->error, HB_JOURNAL_ERROR_BYTES, "%s %.160s: %s", what, name, strerror(-rc));
	return rc;
}

static void
show(struct copying *c, const char *step, uint64_t bytes)
{
	if (c->request->progress == NULL || bytes - c->shown < PROGRESS_EVERY)
		return;
	c->shown = bytes;
	c->request->progress(c->request->context, step, bytes);
}

/* ---- files ---- */

/* Read a file through; to_fd -1: only hash. */
static int
pump(int from_fd, int to_fd, uint64_t *bytes, uint8_t *sha256)
{
	struct hb_digest digest = {0};
	uint8_t *buffer = malloc(COPY_BYTES);
	ssize_t n;
	int rc = buffer == NULL ? -ENOMEM : 0;

	*bytes = 0;
	if (rc == 0 && sha256 != NULL) {
		rc = hb_digest_open(&digest);
		if (rc == 0)
			hb_digest_begin(&digest);
	}
	while (rc == 0 && (n = read(from_fd, buffer, COPY_BYTES)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			rc = -errno;
			break;
		}
		if (sha256 != NULL)
			hb_digest_add(&digest, buffer, (size_t)n);
		if (to_fd >= 0)
			rc = hb_write_all(to_fd, buffer, (size_t)n);
		*bytes += (uint64_t)n;
	}
	if (rc == 0 && sha256 != NULL)
		hb_digest_end(&digest, sha256);
	if (rc == 0 && to_fd >= 0 && fsync(to_fd) != 0)
		rc = -errno;
	hb_digest_close(&digest);
	free(buffer);
	return rc;
}

int
hb_backup_copy_file(int from_fd, int to_fd, uint64_t *bytes, uint8_t sha256[HB_SHA256_BYTES])
{
	HB_ASSERT(to_fd >= 0);
	return pump(from_fd, to_fd, bytes, sha256);
}

int
hb_backup_hash_file(int fd, uint64_t *bytes, uint8_t sha256[HB_SHA256_BYTES])
{
	return pump(fd, -1, bytes, sha256);
}

/* @return 0 or -errno; what was begun is removed again */
static int
copy_named(struct copying *c, int from_dir, const char *name, int to_dir)
{
	uint64_t bytes = 0;
	int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
	int to = -1;
	int rc = from < 0 ? -errno : 0;

	if (rc == 0) {
		to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		rc = to < 0 ? -errno : hb_backup_copy_file(from, to, &bytes, NULL);
	}
	if (from >= 0)
		close(from);
	if (to >= 0) {
		close(to);
		if (rc != 0)
			unlinkat(to_dir, name, 0);
	}
	if (rc == 0) {
		c->cut->bytes_copied += bytes;
		show(c, "copied", c->cut->bytes_copied);
	}
	return rc;
}

/* ---- packed segments ---- */

static int
read_packed_header(int dir_fd, const char *name, const struct copying *c, uint64_t number,
	struct hb_packed_header *header)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno
			: hb_packed_header_read(fd, c->superblock.stream_id, number, header);

	if (fd >= 0)
		close(fd);
	return rc;
}

/* The same packed file in the earlier backup: a second name for it costs nothing. */
static bool
link_earlier(struct copying *c, const char *name, const struct hb_packed_header *header)
{
	struct hb_packed_header had;

	if (c->earlier_fd < 0 ||
		read_packed_header(c->earlier_fd, name, c, header->segment_number, &had) != 0 ||
		memcmp(&had, header, sizeof(had)) != 0 ||
		linkat(c->earlier_fd, name, c->to_fd, name, 0) != 0)
		return false;
	c->cut->bytes_linked += header->file_bytes;
	return true;
}

/*
 * One packed segment that ends before the cut.
 * @return 1 copied, 0 it is not packed, goes past the cut or does not continue, or -errno
 */
static int
copy_packed(struct copying *c, uint64_t number)
{
	struct hb_packed_header header;
	char name[NAME_BYTES];
	int rc;

	snprintf(name, sizeof(name), HB_JOURNAL_PACKED_FORMAT, (unsigned long long)number);
	rc = read_packed_header(c->from_fd, name, c, number, &header);
	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return fail(c, rc, "cannot read", name);
	if (header.last_seq > c->request->cut_seq)
		return 0;
	if (!link_earlier(c, name, &header)) {
		rc = copy_named(c, c->from_fd, name, c->to_fd);
		if (rc == -ENOENT)
			return 0;
		if (rc != 0)
			return fail(c, rc, "cannot copy", name);
	}
	if (c->first_segment == 0) {
		c->first_segment = number;
		c->cut->first_seq = header.first_seq;
	}
	c->next_seq = header.last_seq + 1;
	return 1;
}

static int
copy_all_packed(struct copying *c)
{
	struct hb_segment_list list;
	uint64_t expected = 0;
	int rc = hb_segment_list_read(&list, c->from_fd);

	if (rc != 0)
		fail(c, rc, "cannot list", c->request->journal);
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		uint64_t number = list.entry[i].number;

		if (expected != 0 && number != expected)
			break; /* a gap: the reader will say so */
		rc = copy_packed(c, number);
		if (rc == 1) {
			expected = number + 1;
			rc = 0;
			continue;
		}
		/* dropped since the list was made, as nothing else removes a packed one? */
		if (rc == 0 && expected == 0 && !list.entry[i].raw)
			continue;
		break;
	}
	hb_segment_list_free(&list);
	return rc;
}

/* ---- what is not packed ---- */

static int
end_segment(struct copying *c)
{
	int rc = 0;

	if (c->segment_fd < 0)
		return 0;
	if (fsync(c->segment_fd) != 0)
		rc = -errno;
	close(c->segment_fd);
	c->segment_fd = -1;
	return rc;
}

static int
begin_raw_segment(struct copying *c, uint64_t number)
{
	char name[NAME_BYTES];
	int rc = end_segment(c);

	snprintf(name, sizeof(name), HB_JOURNAL_RAW_FORMAT, (unsigned long long)number);
	if (rc != 0)
		return fail(c, rc, "cannot write the segment before", name);
	c->segment_fd = openat(c->to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (c->segment_fd < 0)
		return fail(c, -errno, "cannot make", name);
	c->segment_number = number;
	c->segment_offset = 0;
	if (c->first_segment == 0)
		c->first_segment = number;
	return 0;
}

/* A frame as it stands in a raw segment: header, payload, zeros. */
static int
write_frame(struct copying *c, const struct hb_journal_frame *frame)
{
	static const uint8_t zeros[HB_JOURNAL_BLOCK_BYTES];
	size_t length = sizeof(*frame) + frame->payload_length;
	size_t padding = frame->frame_length - length;
	int rc = 0;

	HB_ASSERT(padding < sizeof(zeros));
	if (c->segment_fd < 0 || c->segment_number != frame->segment_number)
		rc = begin_raw_segment(c, frame->segment_number);
	if (rc != 0)
		return rc;
	rc = hb_write_all(c->segment_fd, frame, length);
	if (rc == 0)
		rc = hb_write_all(c->segment_fd, zeros, padding);
	if (rc != 0)
		return fail(c, rc, "cannot write", "a raw segment");
	c->segment_offset += frame->frame_length;
	c->cut->bytes_copied += frame->frame_length;
	c->cut->seq = frame->first_seq + frame->record_count - 1;
	c->cut->frame_number = frame->frame_number;
	show(c, "copied", c->cut->bytes_copied);
	return 0;
}

static int
copy_frames(struct copying *c, struct hb_journal_reader *reader)
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc = c->next_seq == 0 ? hb_journal_reader_seek_first(reader)
				  : hb_journal_reader_seek(reader, c->next_seq);

	while (rc == 0) {
		rc = hb_journal_reader_next(reader, &record, &at);
		if (rc <= 0)
			break;
		if (c->cut->first_seq == 0)
			c->cut->first_seq = at.seq;
		rc = at.frame_end ? write_frame(c, at.frame) : 0;
		if (rc != 0)
			return rc;
	}
	if (rc != 0)
		snprintf(c->error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	return rc;
}

static int
copy_raw(struct copying *c)
{
	struct hb_journal_reader *reader;
	int rc;

	if (c->next_seq != 0 && c->next_seq > c->request->cut_seq)
		return 0;
	rc = hb_journal_reader_open(&reader, c->request->journal, c->error);
	if (rc != 0)
		return rc;
	hb_journal_reader_limit(reader, c->request->cut_seq);
	rc = copy_frames(c, reader);
	hb_journal_reader_close(reader);
	if (rc == 0) {
		rc = end_segment(c);
		if (rc != 0)
			fail(c, rc, "cannot sync", "a raw segment");
	}
	return rc;
}

/* ---- snapshots ---- */

/* @return true when it was there, and what was copied verifies */
static bool
copy_snapshot(struct copying *c, int from_dir, int to_dir, uint64_t seq)
{
	struct hb_snapshot_header header;
	char name[NAME_BYTES], path[HB_JOURNAL_ERROR_BYTES], why[HB_JOURNAL_ERROR_BYTES];

	snprintf(name, sizeof(name), HB_JOURNAL_SNAPSHOT_FORMAT, (unsigned long long)seq);
	if (copy_named(c, from_dir, name, to_dir) != 0)
		return false;
	snprintf(path, sizeof(path), "%.400s/" SNAPSHOT_DIR "/%s", c->request->target, name);
	if (hb_snapshot_verify(path, c->superblock.stream_id, &header, why) == 0)
		return true;
	unlinkat(to_dir, name, 0);
	return false;
}

static int
copy_snapshots(struct copying *c)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count = hb_snapshot_list(c->request->journal, seq);
	int from_dir, to_dir;

	if (mkdirat(c->to_fd, SNAPSHOT_DIR, 0700) != 0)
		return fail(c, -errno, "cannot make", SNAPSHOT_DIR);
	from_dir = openat(c->from_fd, SNAPSHOT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to_dir = openat(c->to_fd, SNAPSHOT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < count && from_dir >= 0 && to_dir >= 0; i++) {
		if (c->cut->snapshot_count == HB_BACKUP_SNAPSHOTS)
			break;
		if (seq[i] <= c->cut->seq && seq[i] + 1 >= c->cut->first_seq &&
			copy_snapshot(c, from_dir, to_dir, seq[i]))
			c->cut->snapshot_seq[c->cut->snapshot_count++] = seq[i];
	}
	if (to_dir >= 0) {
		(void)fsync(to_dir);
		close(to_dir);
	}
	if (from_dir >= 0)
		close(from_dir);
	if (c->cut->snapshot_count > 0 || c->cut->first_seq == 1)
		return 0;
	snprintf(c->error, HB_JOURNAL_ERROR_BYTES,
		"journal %.160s begins at sequence %llu and no snapshot that verifies reaches it: "
		"make one (hbctl snapshot), then back up again",
		c->request->journal, (unsigned long long)c->cut->first_seq);
	return -EBADMSG;
}

/* ---- superblock and the whole ---- */

static int
write_superblock(struct copying *c)
{
	struct hb_superblock superblock = c->superblock;
	int rc;

	if (superblock.epoch < c->cut->epoch)
		superblock.epoch = c->cut->epoch;
	superblock.first_segment = c->first_segment;
	superblock.active_segment = c->segment_number == 0 ? c->first_segment : c->segment_number;
	superblock.durable_seq = c->cut->seq;
	superblock.durable_frame = c->cut->frame_number;
	rc = hb_superblock_create(c->to_fd, &superblock);
	return rc == 0 ? 0 : fail(c, rc, "cannot write", HB_JOURNAL_SUPERBLOCK_FILE);
}

int
hb_backup_verify_journal(const char *directory, struct hb_backup_cut *cut,
	hb_backup_progress_fn *progress, void *context, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal_reader *reader;
	struct hb_journal_info info;
	struct hb_journal_tail tail;
	const struct hb_record *record;
	struct hb_journal_position at;
	uint64_t shown = 0;
	int rc = hb_journal_reader_open(&reader, directory, error);

	if (rc != 0)
		return rc;
	*cut = (struct hb_backup_cut){0};
	rc = hb_journal_reader_info(reader, &info);
	if (rc == 0)
		rc = hb_journal_reader_seek_first(reader);
	while (rc == 0 && (rc = hb_journal_reader_next(reader, &record, &at)) > 0) {
		if (cut->records++ == 0)
			cut->first_seq = at.seq;
		cut->epoch = at.epoch;
		rc = 0;
		if (progress != NULL && cut->records - shown >= PROGRESS_EVERY / 96) {
			shown = cut->records;
			progress(context, "records verified", shown);
		}
	}
	if (rc == 0) {
		hb_journal_reader_tail(reader, &tail);
		cut->seq = tail.next_seq - 1;
		cut->frame_number = tail.next_frame - 1;
		cut->node = info.node;
		memcpy(cut->stream_id, info.stream_id, sizeof(cut->stream_id));
		memcpy(cut->chain, tail.chain, sizeof(cut->chain));
	} else {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	}
	hb_journal_reader_close(reader);
	return rc;
}

/* The copy says the same as what was read. */
static int
verify_copy(struct copying *c)
{
	const struct hb_backup_request *request = c->request;
	struct hb_backup_cut seen;
	int rc = hb_backup_verify_journal(
		request->target, &seen, request->progress, request->context, c->error);

	if (rc != 0)
		return rc;
	if ((request->cut_seq != HB_BACKUP_CUT_AT_END && seen.seq != request->cut_seq) ||
		seen.seq != c->cut->seq || seen.first_seq != c->cut->first_seq) {
		snprintf(c->error, HB_JOURNAL_ERROR_BYTES,
			"the copy of %.160s holds sequence %llu to %llu where %llu to %llu was "
			"wanted: try again",
			request->journal, (unsigned long long)seen.first_seq,
			(unsigned long long)seen.seq, (unsigned long long)c->cut->first_seq,
			(unsigned long long)c->cut->seq);
		return -EBADMSG;
	}
	c->cut->epoch = seen.epoch;
	c->cut->node = seen.node;
	c->cut->records = seen.records;
	c->cut->frame_number = seen.frame_number;
	memcpy(c->cut->stream_id, seen.stream_id, sizeof(seen.stream_id));
	memcpy(c->cut->chain, seen.chain, sizeof(seen.chain));
	return 0;
}

static int
open_both(struct copying *c)
{
	const struct hb_backup_request *request = c->request;
	char why[256];
	int rc;

	c->from_fd = open(request->journal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->from_fd < 0)
		return fail(c, -errno, "cannot open", request->journal);
	c->to_fd = open(request->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->to_fd < 0)
		return fail(c, -errno, "cannot open", request->target);
	if (request->earlier != NULL)
		c->earlier_fd = open(request->earlier, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = hb_superblock_read(c->from_fd, &c->superblock, why);
	if (rc != 0)
		snprintf(c->error, HB_JOURNAL_ERROR_BYTES, "journal %.160s: %.200s",
			request->journal, why);
	return rc;
}

int
hb_backup_journal(const struct hb_backup_request *request, struct hb_backup_cut *cut,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct copying c = {.request = request,
		.cut = cut,
		.from_fd = -1,
		.to_fd = -1,
		.earlier_fd = -1,
		.segment_fd = -1,
		.error = error};
	int rc;

	*cut = (struct hb_backup_cut){0};
	rc = open_both(&c);
	if (rc == 0)
		rc = copy_all_packed(&c);
	if (rc == 0 && c.next_seq != 0)
		cut->seq = c.next_seq - 1;
	if (rc == 0)
		rc = copy_raw(&c);
	if (rc == 0 && cut->seq == 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "journal %.160s has no records",
			request->journal);
		rc = -ENOENT;
	}
	if (rc == 0)
		rc = copy_snapshots(&c);
	if (rc == 0)
		rc = write_superblock(&c);
	if (rc == 0)
		rc = verify_copy(&c);
	/* once more, with the numbers of the cut when it lies at the end of a packed segment */
	if (rc == 0)
		rc = write_superblock(&c);
	if (rc == 0 && fsync(c.to_fd) != 0)
		rc = fail(&c, -errno, "cannot sync", request->target);
	if (c.segment_fd >= 0)
		close(c.segment_fd);
	if (c.earlier_fd >= 0)
		close(c.earlier_fd);
	if (c.to_fd >= 0)
		close(c.to_fd);
	if (c.from_fd >= 0)
		close(c.from_fd);
	return rc;
}
