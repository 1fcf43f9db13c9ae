/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing of sealed segments: padding dropped, frames kept bit for bit, so the chain stays
 * verifiable; blocks of up to 1 MiB compressed with zstd. Runs at the lowest priority; the writer
 * never waits for it. A segment is read and checked like everywhere else before it is packed, and
 * the packed file is read again before the raw one is given up.
 *
 * If the process dies here: a file with the suffix .tmp is left, which the next start removes; with
 * both files there, the packed one is complete and the raw one goes to the pool.
 */
#include "persist/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "persist/segment_list.h"
#include "persist/source.h"

#define PACK_LEVEL	    6
#define PACK_POLL_MS	    250
#define PACK_PAUSE_MS	    20 /* after a block, while nobody waits for the segment */
#define PACK_RETRY_NS	    UINT64_C(60000000000) /* after a failure */
#define DROP_INTERVAL_NS    UINT64_C(60000000000)
#define IO_PRIORITY_LOWEST  ((2 << 13) | 7) /* best effort, level 7 */
#define IO_PRIORITY_PROCESS 1

struct packing {
	struct hb_journal *journal;
	uint64_t number;
	struct hb_source source;
	struct hb_digest digest;
	ZSTD_CCtx *compressor;
	uint8_t *block; /* HB_PACKED_BLOCK_BYTES_MAX */
	uint8_t *compressed;
	size_t compressed_max;
	int fd;
	struct hb_packed_header header;
	struct hb_packed_block open; /* the block being filled */
	char *error;
};

static int
give_up(struct packing *p, int rc, const char *what)
{
	snprintf(p->error, HB_JOURNAL_ERROR_BYTES, "journal %.200s: segment %llu: %s%s%s",
		p->journal->directory, (unsigned long long)p->number, what,
		rc == -EBADMSG ? "" : ": ", rc == -EBADMSG ? "" : strerror(-rc));
	return rc;
}

static int
write_all(int fd, const void *bytes, size_t length, off_t at)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		ssize_t n = pwrite(fd, from, length, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

/*
 * Packing comes in bursts of a whole segment. Spread it out, so that it takes a little of a CPU all
 * the time and not all of it now and then; but not when the writer gains on it.
 */
static void
pause_if_ahead(const struct packing *p)
{
	uint64_t active = atomic_load(&p->journal->active_segment);

	if (active <= p->number + 1 && !atomic_load(&p->journal->pack_stop))
		nanosleep(&(struct timespec){.tv_nsec = PACK_PAUSE_MS * 1000000L}, NULL);
}

static int
end_block(struct packing *p)
{
	struct hb_packed_block *open = &p->open;
	size_t n;
	int rc;

	if (open->frame_count == 0)
		return 0;
	n = ZSTD_compressCCtx(p->compressor, p->compressed, p->compressed_max, p->block,
		open->unpacked_length, PACK_LEVEL);
	HB_ASSERT(!ZSTD_isError(n));
	open->magic = HB_PACKED_BLOCK_MAGIC;
	open->packed_length = (uint32_t)n;
	open->packed_crc = hb_crc32c(p->compressed, n);
	open->crc = hb_crc32c(open, offsetof(struct hb_packed_block, crc));
	rc = write_all(p->fd, open, sizeof(*open), (off_t)p->header.file_bytes);
	if (rc == 0)
		rc = write_all(
			p->fd, p->compressed, n, (off_t)(p->header.file_bytes + sizeof(*open)));
	p->header.file_bytes += sizeof(*open) + n;
	p->header.unpacked_bytes += open->unpacked_length;
	p->header.block_count++;
	*open = (struct hb_packed_block){0};
	pause_if_ahead(p);
	return rc;
}

static int
add_frame(struct packing *p, const struct hb_journal_frame *frame)
{
	uint32_t length = HB_JOURNAL_FRAME_HEADER_BYTES + frame->payload_length;
	struct hb_packed_header *header = &p->header;
	int rc = 0;

	if (p->open.unpacked_length + length > HB_PACKED_BLOCK_BYTES_MAX)
		rc = end_block(p);
	if (rc != 0)
		return rc;
	if (p->open.frame_count == 0) {
		p->open.first_frame = frame->frame_number;
		p->open.first_seq = frame->first_seq;
	}
	if (header->last_frame == 0) {
		header->first_frame = frame->frame_number;
		header->first_seq = frame->first_seq;
		memcpy(header->previous_chain, frame->previous_chain, HB_SHA256_BYTES);
	}
	header->last_frame = frame->frame_number;
	header->last_seq = frame->first_seq + frame->record_count - 1;
	header->last_wall_ns = frame->wall_ns;
	memcpy(header->chain, frame->chain, HB_SHA256_BYTES);
	memcpy(p->block + p->open.unpacked_length, frame, length);
	p->open.unpacked_length += length;
	p->open.frame_count++;
	return 0;
}

/* The next frame of the raw segment. @return 1, 0 at the end of what continues, or -errno */
static int
next_frame(struct packing *p, struct hb_source *source, const struct hb_packed_header *last,
	const struct hb_journal_frame **frame)
{
	const uint8_t *at;
	int64_t n = hb_source_peek(source, HB_JOURNAL_FRAME_HEADER_BYTES, false, &at);

	if (n <= 0)
		return (int)n;
	*frame = (const void *)at;
	if (!hb_frame_header_ok(
		    *frame, p->journal->superblock.stream_id, source->segment_number, NULL))
		return 0;
	n = hb_source_peek(source,
		source->packed ? HB_JOURNAL_FRAME_HEADER_BYTES + (*frame)->payload_length
			       : (*frame)->frame_length,
		false, &at);
	if (n <= 0)
		return (int)n;
	*frame = (const void *)at;
	if (last->last_frame != 0 &&
		((*frame)->frame_number != last->last_frame + 1 ||
			memcmp((*frame)->previous_chain, last->chain, HB_SHA256_BYTES) != 0))
		return 0;
	return hb_frame_check_payload(&p->digest, *frame, at + HB_JOURNAL_FRAME_HEADER_BYTES) ==
			       NULL
		       ? 1
		       : 0;
}

/* A sealed segment's frames end where the next segment's begin. */
static int
check_continued(struct packing *p)
{
	struct hb_source *source = &p->source;
	const struct hb_journal_frame *frame;
	int rc = hb_source_open(
		source, p->journal->dir_fd, p->number + 1, p->journal->superblock.stream_id, false);

	if (rc == 0)
		rc = next_frame(p, source, &p->header, &frame);
	hb_source_close(source);
	if (rc < 0)
		return give_up(p, rc, "cannot read the segment after it");
	if (rc == 0)
		return give_up(p, -EBADMSG,
			"its frames end before the next segment begins: it is damaged. It is left "
			"as it is; restore the file from a copy");
	return 0;
}

static int
copy_frames(struct packing *p)
{
	const struct hb_journal_frame *frame;
	int rc = hb_source_open(
		&p->source, p->journal->dir_fd, p->number, p->journal->superblock.stream_id, false);

	if (rc != 0)
		return give_up(p, rc, "cannot be opened");
	p->header.file_bytes = sizeof(p->header);
	while ((rc = next_frame(p, &p->source, &p->header, &frame)) > 0) {
		rc = add_frame(p, frame);
		if (rc != 0)
			return give_up(p, rc, "cannot write the packed file");
		hb_source_advance(&p->source, frame);
	}
	hb_source_close(&p->source);
	if (rc < 0)
		return give_up(p, rc, "cannot be read");
	rc = end_block(p);
	if (rc != 0)
		return give_up(p, rc, "cannot write the packed file");
	return check_continued(p);
}

static int
finish_file(struct packing *p)
{
	struct hb_packed_header *header = &p->header;
	int rc;

	header->magic = HB_PACKED_MAGIC;
	header->version = HB_JOURNAL_VERSION;
	header->bytes = sizeof(*header);
	memcpy(header->stream_id, p->journal->superblock.stream_id, sizeof(header->stream_id));
	header->segment_number = p->number;
	header->crc = hb_crc32c(header, offsetof(struct hb_packed_header, crc));
	rc = write_all(p->fd, header, sizeof(*header), 0);
	if (rc == 0 && fsync(p->fd) != 0)
		rc = -errno;
	return rc == 0 ? 0 : give_up(p, rc, "cannot write the packed file");
}

/* Read the packed file as a reader will: every frame, to the same end. */
static int
verify_file(struct packing *p, const char *name)
{
	struct hb_source *source = &p->source;
	struct hb_packed_header seen = {0};
	const struct hb_journal_frame *frame;
	int rc = hb_source_open_packed(
		source, p->journal->dir_fd, name, p->number, p->journal->superblock.stream_id);

	if (rc != 0)
		return give_up(p, rc, "the packed file cannot be read again");
	while ((rc = next_frame(p, source, &seen, &frame)) > 0) {
		seen.last_frame = frame->frame_number;
		memcpy(seen.chain, frame->chain, HB_SHA256_BYTES);
		hb_source_advance(source, frame);
	}
	hb_source_close(source);
	if (rc < 0 || seen.last_frame != p->header.last_frame ||
		memcmp(seen.chain, p->header.chain, HB_SHA256_BYTES) != 0)
		return give_up(p, -EBADMSG, "the packed file does not read back as written");
	return 0;
}

static void
packing_close(struct packing *p)
{
	if (p->fd >= 0)
		close(p->fd);
	hb_source_destroy(&p->source);
	hb_digest_close(&p->digest);
	ZSTD_freeCCtx(p->compressor);
	free(p->block);
	free(p->compressed);
}

static int
packing_open(struct packing *p, const char *temporary)
{
	p->compressed_max = ZSTD_compressBound(HB_PACKED_BLOCK_BYTES_MAX);
	p->block = malloc(HB_PACKED_BLOCK_BYTES_MAX);
	p->compressed = malloc(p->compressed_max);
	p->compressor = ZSTD_createCCtx();
	if (p->block == NULL || p->compressed == NULL || p->compressor == NULL ||
		hb_digest_open(&p->digest) != 0 || hb_source_create(&p->source) != 0)
		return -ENOMEM;
	p->fd = openat(p->journal->dir_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return p->fd < 0 ? -errno : 0;
}

int
hb_pack_segment(struct hb_journal *journal, uint64_t number, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct packing p = {.journal = journal, .number = number, .fd = -1, .error = error};
	char name[64], temporary[80];
	int rc;

	p.source.fd = -1;
	snprintf(name, sizeof(name), HB_JOURNAL_PACKED_FORMAT, (unsigned long long)number);
	snprintf(temporary, sizeof(temporary), "%s.tmp", name);
	rc = packing_open(&p, temporary);
	if (rc != 0) {
		give_up(&p, rc, "cannot begin to pack");
		goto out;
	}
	rc = copy_frames(&p);
	if (rc == 0)
		rc = finish_file(&p);
	if (rc == 0)
		rc = verify_file(&p, temporary);
	if (rc == 0 && (renameat(journal->dir_fd, temporary, journal->dir_fd, name) != 0 ||
			       fsync(journal->dir_fd) != 0))
		rc = give_up(&p, -errno, "cannot name the packed file");
	if (rc == 0) {
		atomic_fetch_add(&journal->gauges.segments_packed, 1);
		atomic_fetch_add(&journal->gauges.pack_bytes_in, journal->segment_bytes_new);
		atomic_fetch_add(&journal->gauges.pack_bytes_out, p.header.file_bytes);
		hb_pool_recycle(journal, number);
	}
out:
	if (rc != 0)
		unlinkat(journal->dir_fd, temporary, 0);
	packing_close(&p);
	return rc;
}

/* ---- dropping ---- */

/* @return true when the packed segment is below the sequence and older than the time */
static bool
may_drop(struct hb_journal *journal, const char *name, uint64_t number, uint64_t below_seq,
	uint64_t older_than_ns)
{
	struct hb_packed_header header;
	int fd = openat(journal->dir_fd, name, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno
			: hb_packed_header_read(fd, journal->superblock.stream_id, number, &header);

	if (fd >= 0)
		close(fd);
	return rc == 0 && header.last_seq < below_seq && header.last_wall_ns < older_than_ns;
}

uint32_t
hb_pack_drop(struct hb_journal *journal, uint64_t below_seq, uint64_t older_than_ns)
{
	struct hb_segment_list list;
	uint32_t dropped = 0;
	int rc = hb_segment_list_read(&list, journal->dir_fd);

	/* from the oldest on, without a gap; the first that must stay ends it */
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		char name[64];

		if (list.entry[i].raw)
			break;
		snprintf(name, sizeof(name), HB_JOURNAL_PACKED_FORMAT,
			(unsigned long long)list.entry[i].number);
		if (!may_drop(journal, name, list.entry[i].number, below_seq, older_than_ns) ||
			unlinkat(journal->dir_fd, name, 0) != 0)
			break;
		dropped++;
		pthread_mutex_lock(&journal->superblock_lock);
		journal->superblock.first_segment = list.entry[i].number + 1;
		pthread_mutex_unlock(&journal->superblock_lock);
	}
	hb_segment_list_free(&list);
	atomic_fetch_add(&journal->gauges.segments_dropped, dropped);
	return dropped;
}

/* ---- the thread ---- */

/* The oldest raw segment that is not packed; the active one when there is none. */
static uint64_t
first_unpacked(struct hb_journal *journal)
{
	struct hb_segment_list list;
	uint64_t number = atomic_load(&journal->active_segment);
	int rc = hb_segment_list_read(&list, journal->dir_fd);

	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		if (!list.entry[i].raw || list.entry[i].packed)
			continue;
		if (list.entry[i].number < number)
			number = list.entry[i].number;
		break;
	}
	hb_segment_list_free(&list);
	return number;
}

static void
drop_old(struct hb_journal *journal)
{
	uint64_t kept_ns = (uint64_t)journal->keep_days * 86400 * UINT64_C(1000000000);
	uint64_t now_ns = hb_wall_ns();
	uint32_t dropped;

	if (now_ns < kept_ns)
		return;
	dropped = hb_pack_drop(journal, atomic_load(&journal->pack_mark), now_ns - kept_ns);
	if (dropped > 0)
		hb_log(HB_LOG_INFO, "segments_dropped", "count=%u below_seq=%llu", dropped,
			(unsigned long long)atomic_load(&journal->pack_mark));
}

static void
lower_priority(void)
{
	pid_t thread = gettid();

	(void)setpriority(PRIO_PROCESS, (id_t)thread, 19);
	(void)syscall(SYS_ioprio_set, IO_PRIORITY_PROCESS, thread, IO_PRIORITY_LOWEST);
}

static void *
pack_main(void *argument)
{
	struct hb_journal *journal = argument;
	uint64_t next = first_unpacked(journal);
	uint64_t dropped_ns = hb_mono_ns(), retry_ns = 0;
	char error[HB_JOURNAL_ERROR_BYTES];

	lower_priority();
	while (!atomic_load(&journal->pack_stop)) {
		uint64_t now_ns = hb_mono_ns();

		/* the first frame of the active segment seals the one before it */
		if (next < atomic_load(&journal->active_segment) && now_ns >= retry_ns) {
			int rc = hb_pack_segment(journal, next, error);

			/* a damaged one stays for a person; the next start looks at it again */
			if (rc == 0 || rc == -EBADMSG)
				next++;
			if (rc == 0)
				continue;
			hb_log(HB_LOG_ERROR, "segment_not_packed", "error=\"%s\"", error);
			atomic_fetch_add(&journal->gauges.pack_failures, 1);
			retry_ns = now_ns + PACK_RETRY_NS;
		}
		if (now_ns - dropped_ns >= DROP_INTERVAL_NS) {
			dropped_ns = now_ns;
			drop_old(journal);
		}
		nanosleep(&(struct timespec){.tv_nsec = PACK_POLL_MS * 1000000L}, NULL);
	}
	return NULL;
}

int
hb_pack_start(struct hb_journal *journal)
{
	int rc = -pthread_create(&journal->pack_thread, NULL, pack_main, journal);

	journal->pack_running = rc == 0;
	return rc;
}

void
hb_pack_stop(struct hb_journal *journal)
{
	if (!journal->pack_running)
		return;
	atomic_store(&journal->pack_stop, true);
	pthread_join(journal->pack_thread, NULL);
	journal->pack_running = false;
}
