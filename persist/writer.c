/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and writing of frames: one write in flight, straight to disk, never over a block that
 * holds durable data. A disk error is not survivable: what the disk holds is then unknown, so the
 * process ends and the next start finds out. The memory is the journal's.
 *
 * If the process dies while a write is under way: the frame is there whole, or torn and cut by the
 * next start; in both cases nobody was told. After the write, before the commit is published:
 * the frame is there, and the rings still hold its records, which are skipped by core sequence.
 */
#include "persist/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"

_Noreturn static void
disk_failed(const struct hb_journal *journal, const char *what, int error_number)
{
	hb_log(HB_LOG_ERROR, "journal_write_failed",
		"what=\"%s\" segment=%llu offset=%llu error=\"%s\" advice=\"check the disk; the "
		"next start finds what was written\"",
		what, (unsigned long long)journal->segment_number,
		(unsigned long long)journal->segment_offset, strerror(error_number));
	abort();
}

static uint8_t *
payload_of(struct hb_journal_frame *frame)
{
	return (uint8_t *)frame + HB_JOURNAL_FRAME_HEADER_BYTES;
}

/* The record is in private memory and whole: does it continue its ring? */
static int
check_sequence(struct hb_journal *journal, uint16_t ring, const struct hb_record *record,
	const char **fault)
{
	uint64_t last = journal->ring_sequence[ring];

	if (record->ring != ring) {
		*fault = "the record carries another ring's number";
		return -EPROTO;
	}
	if (record->core_sequence > last + 1 || record->core_sequence == 0) {
		*fault = "records are missing before this one in its ring";
		return -EPROTO;
	}
	if (record->core_sequence == last + 1)
		return 1;
	if (record->core_sequence == last && record->crc != journal->ring_crc[ring]) {
		*fault = "the record differs from the one on disk with its core sequence";
		return -EPROTO;
	}
	return 2;
}

int
hb_frame_add(struct hb_journal *journal, uint16_t ring, const void *record, size_t bytes_left,
	uint32_t *taken, const char **fault)
{
	struct hb_record head;
	struct hb_record *copy = (void *)(payload_of(journal->frame) + journal->frame_payload);
	uint32_t room = HB_JOURNAL_PAYLOAD_BYTES_MAX - journal->frame_payload;
	int rc;

	HB_ASSERT(ring < HB_RING_COUNT);
	*fault = "a record is cut off";
	if (bytes_left < sizeof(head))
		return -EPROTO;
	memcpy(&head, record, sizeof(head));
	*fault = "a record has an impossible length";
	if (head.length < sizeof(head) || head.length > HB_RECORD_BYTES_MAX ||
		head.length % 8 != 0 || head.length > bytes_left)
		return -EPROTO;
	if (head.length > room)
		return 0;
	memcpy(copy, record, head.length);
	/* the peer may have changed the length meanwhile: verify looks at the copy alone */
	*fault = hb_record_verify(copy, head.length);
	if (*fault != NULL)
		return -EPROTO;
	if (copy->length != head.length) {
		*fault = "a record changed while it was read";
		return -EPROTO;
	}
	rc = check_sequence(journal, ring, copy, fault);
	if (rc < 0)
		return rc;
	*taken = head.length;
	if (rc == 2)
		return 2;
	journal->ring_sequence[ring] = copy->core_sequence;
	journal->ring_crc[ring] = copy->crc;
	journal->frame_payload += head.length;
	journal->frame_records++;
	return 1;
}

static int
open_segment(struct hb_journal *journal, uint64_t number)
{
	char name[64];
	struct stat status;
	int flags = O_WRONLY | O_CLOEXEC;

	snprintf(name, sizeof(name), HB_JOURNAL_RAW_FORMAT, (unsigned long long)number);
	if (!journal->direct_io_off)
		flags |= O_DIRECT;
	journal->segment_fd = openat(journal->dir_fd, name, flags);
	if (journal->segment_fd < 0 || fstat(journal->segment_fd, &status) != 0)
		return -errno;
	journal->segment_bytes = (uint64_t)status.st_size;
	return 0;
}

/* The segment before has no room for the frame: go on in the next one. */
static int
leave_segment(struct hb_journal *journal, const _Atomic bool *stop)
{
	if (!hb_pool_wait(journal, journal->segment_number + 1, stop))
		return -ECANCELED;
	close(journal->segment_fd);
	journal->segment_fd = -1;
	journal->segment_offset = 0;
	journal->segment_number++;
	return 0;
}

/* Make room for a frame. After a start the segment is not open yet, and may be full already. */
static int
make_room(struct hb_journal *journal, uint32_t frame_length, const _Atomic bool *stop)
{
	while (journal->segment_fd < 0 ||
		journal->segment_offset + frame_length > journal->segment_bytes) {
		int rc;

		if (journal->segment_fd >= 0) {
			rc = leave_segment(journal, stop);
			if (rc != 0)
				return rc;
		}
		if (!hb_pool_wait(journal, journal->segment_number, stop))
			return -ECANCELED;
		rc = open_segment(journal, journal->segment_number);
		if (rc != 0)
			disk_failed(journal, "open", -rc);
		HB_ASSERT(journal->segment_offset != 0 || frame_length <= journal->segment_bytes);
	}
	return 0;
}

static void
fill_header(struct hb_journal *journal, uint32_t frame_length)
{
	struct hb_journal_frame *frame = journal->frame;

	memset(frame, 0, sizeof(*frame));
	frame->magic = HB_JOURNAL_FRAME_MAGIC;
	frame->version = HB_JOURNAL_VERSION;
	frame->header_length = HB_JOURNAL_FRAME_HEADER_BYTES;
	frame->frame_length = frame_length;
	frame->payload_length = journal->frame_payload;
	memcpy(frame->stream_id, journal->superblock.stream_id, sizeof(frame->stream_id));
	frame->epoch = journal->epoch;
	frame->segment_number = journal->segment_number;
	frame->frame_number = journal->next_frame;
	frame->first_seq = journal->next_seq;
	frame->record_count = journal->frame_records;
	frame->committed_seq = hb_committed_seq(&journal->commit);
	frame->wall_ns = hb_wall_ns();
	memcpy(frame->previous_chain, journal->chain, sizeof(frame->previous_chain));
	hb_frame_seal(&journal->digest, frame, payload_of(frame));
}

static void
write_to_disk(struct hb_journal *journal, uint32_t frame_length)
{
	struct iovec part = {.iov_base = journal->frame, .iov_len = frame_length};
	uint64_t begun_ns = hb_mono_ns();
	ssize_t n;

	n = pwritev2(journal->segment_fd, &part, 1, (off_t)journal->segment_offset, RWF_DSYNC);
	if (n != (ssize_t)frame_length)
		disk_failed(journal, n < 0 ? "write" : "short write", n < 0 ? errno : EIO);
	hb_histogram_add(&journal->sync_us, (hb_mono_ns() - begun_ns) / 1000);
}

static void
add_to(_Atomic uint64_t *gauge, uint64_t n)
{
	atomic_store_explicit(
		gauge, atomic_load_explicit(gauge, memory_order_relaxed) + n, memory_order_relaxed);
}

int
hb_frame_write(struct hb_journal *journal, const _Atomic bool *stop)
{
	uint32_t used = HB_JOURNAL_FRAME_HEADER_BYTES + journal->frame_payload;
	uint32_t frame_length = (uint32_t)hb_round_up(used, HB_JOURNAL_BLOCK_BYTES);

	if (journal->frame_records == 0)
		return 0;
	if (make_room(journal, frame_length, stop) != 0)
		return -ECANCELED;
	memset((uint8_t *)journal->frame + used, 0, frame_length - used);
	fill_header(journal, frame_length);
	write_to_disk(journal, frame_length);

	memcpy(journal->chain, journal->frame->chain, sizeof(journal->chain));
	journal->segment_offset += frame_length;
	journal->next_frame++;
	journal->next_seq += journal->frame_records;
	/* with its first frame a segment seals the one before */
	atomic_store(&journal->active_segment, journal->segment_number);
	add_to(&journal->gauges.frames, 1);
	atomic_store(&journal->gauges.last_frame, journal->next_frame - 1);
	add_to(&journal->gauges.records, journal->frame_records);
	add_to(&journal->gauges.bytes, frame_length);
	for (uint32_t i = 0; i < HB_RING_COUNT; i++)
		atomic_store_explicit(&journal->gauges.ring_sequence[i], journal->ring_sequence[i],
			memory_order_relaxed);
	journal->frame_records = 0;
	journal->frame_payload = 0;
	hb_commit_publish(&journal->commit, journal->next_seq - 1);
	return 0;
}
