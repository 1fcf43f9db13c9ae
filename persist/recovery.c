/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the end of the journal at a start: everything readable is kept; a torn tail, which
 * nobody was told about, is cut; damage before what was durable is refused and nothing is changed.
 *
 * Starts at the newest snapshot whose header verifies, as its chain and ring sequences are part
 * of it; without one it reads from the beginning. If the process dies here: zeros behind the cut
 * are written again by the next start.
 */
#include "persist/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "persist/snapshot.h"

/* The newest snapshot header that is whole. @return true with `header`, else it is zeros */
static bool
newest_header(const struct hb_journal *journal, struct hb_snapshot_header *header)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count = hb_snapshot_list(journal->directory, seq);

	for (int i = 0; i < count; i++)
		if (hb_snapshot_read_header(
			    journal->directory, seq[i], journal->superblock.stream_id, header) == 0)
			return true;
	/* a damaged one leaves its bytes behind */
	memset(header, 0, sizeof(*header));
	return false;
}

/* Read everything from the snapshot on. @return 0 at the end, or the reader's error */
static int
walk(struct hb_journal_reader *reader, const struct hb_snapshot_header *snapshot, uint64_t *records)
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc = snapshot->seq == 0 ? hb_journal_reader_seek(reader, 1)
				    : hb_journal_reader_seek(reader, snapshot->seq + 1);

	while (rc == 0) {
		rc = hb_journal_reader_next(reader, &record, &at);
		if (rc <= 0)
			return rc;
		/* a snapshot ends with a frame, the one before this */
		if (at.seq == snapshot->seq + 1 && snapshot->seq != 0 &&
			memcmp(at.frame->previous_chain, snapshot->chain, HB_SHA256_BYTES) != 0)
			return -EXDEV;
		(*records)++;
		rc = 0;
	}
	return rc;
}

/* Zeros over the remains of a torn frame: one frame length from the cut on. */
static int
zero_behind(struct hb_journal *journal, uint64_t segment_number, uint64_t offset)
{
	char name[64];
	uint8_t *zeros;
	off_t end;
	int rc = 0;
	int fd;

	snprintf(name, sizeof(name), HB_JOURNAL_RAW_FORMAT, (unsigned long long)segment_number);
	fd = openat(journal->dir_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	zeros = calloc(1, HB_JOURNAL_FRAME_BYTES_MAX);
	end = lseek(fd, 0, SEEK_END);
	if (zeros == NULL || end < 0)
		rc = -ENOMEM;
	if (rc == 0 && (uint64_t)end > offset) {
		uint64_t length = (uint64_t)end - offset;

		if (length > HB_JOURNAL_FRAME_BYTES_MAX)
			length = HB_JOURNAL_FRAME_BYTES_MAX;
		if (pwrite(fd, zeros, length, (off_t)offset) != (ssize_t)length)
			rc = -EIO;
	}
	/* also what was read: a write that failed or was cut short may be seen and not be on disk
	 */
	if (rc == 0 && fsync(fd) != 0)
		rc = -EIO;
	free(zeros);
	close(fd);
	return rc;
}

static void
set_position(struct hb_journal *journal, const struct hb_journal_tail *tail,
	const struct hb_snapshot_header *snapshot)
{
	journal->segment_number = tail->segment_number == 0 ? 1 : tail->segment_number;
	journal->segment_offset = tail->segment_offset;
	journal->next_seq = tail->next_seq;
	journal->next_frame = tail->next_frame;
	memcpy(journal->chain, tail->chain, sizeof(journal->chain));
	journal->epoch =
		tail->epoch > journal->superblock.epoch ? tail->epoch : journal->superblock.epoch;
	for (uint32_t i = 0; i < HB_RING_COUNT; i++) {
		bool seen = tail->ring_sequence[i] != 0;

		journal->ring_sequence[i] =
			seen ? tail->ring_sequence[i] : snapshot->ring_sequence[i];
		journal->ring_crc[i] = seen ? tail->ring_crc[i] : snapshot->ring_crc[i];
		atomic_store(&journal->gauges.ring_sequence[i], journal->ring_sequence[i]);
	}
	atomic_store(&journal->gauges.last_frame, tail->next_frame - 1);
	atomic_store(&journal->active_segment, journal->segment_number);
	hb_commit_publish(&journal->commit, tail->next_seq - 1);
}

int
hb_journal_recover(
	struct hb_journal *journal, uint64_t witness_seq, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal_reader *reader;
	struct hb_snapshot_header snapshot = {0};
	struct hb_journal_tail tail;
	uint64_t records = 0, begun_ns = hb_mono_ns();
	int rc = hb_journal_reader_open(&reader, journal->directory, error);

	if (rc != 0)
		return rc;
	if (newest_header(journal, &snapshot))
		hb_journal_reader_witness(reader, snapshot.seq, "the newest snapshot");
	hb_journal_reader_witness(reader, witness_seq, "MySQL");
	rc = walk(reader, &snapshot, &records);
	if (rc == -EXDEV)
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"journal %.200s: the snapshot at sequence %llu does not continue into the "
			"journal: one of them was replaced. Remove the snapshot or restore the "
			"segment",
			journal->directory, (unsigned long long)snapshot.seq);
	else if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	hb_journal_reader_tail(reader, &tail);
	hb_journal_reader_close(reader);
	if (rc != 0)
		return rc;
	set_position(journal, &tail, &snapshot);
	rc = zero_behind(journal, journal->segment_number, journal->segment_offset);
	if (rc == 0)
		rc = zero_behind(journal, journal->segment_number + 1, 0);
	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"journal %.200s: cannot write zeros behind its end: %s", journal->directory,
			strerror(-rc));
		return rc;
	}
	hb_log(HB_LOG_INFO, "journal_end_found",
		"seq=%llu segment=%llu offset=%llu reason=\"%s\" records=%llu from_snapshot=%llu "
		"ms=%llu",
		(unsigned long long)tail.next_seq - 1, (unsigned long long)journal->segment_number,
		(unsigned long long)journal->segment_offset, tail.reason,
		(unsigned long long)records, (unsigned long long)snapshot.seq,
		(unsigned long long)((hb_mono_ns() - begun_ns) / 1000000));
	return 0;
}
