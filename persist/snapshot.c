/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshot files. A snapshot is written under a temporary name, synced, read again in
 * full, renamed. Memory: one buffer of 1 MiB while writing or reading; the state belongs to the
 * caller. If the process dies here, a .tmp file is left, which the next snapshot overwrites.
 */
#include "persist/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/paths.h"
#include "persist/journal_frame.h"
#include "persist/replay.h"

#define BUFFER_BYTES	(UINT32_C(1) << 20)
#define SNAPSHOT_FOLDER "snapshot"

/* A section on its way to or from a file. */
struct stream {
	int fd;
	uint8_t *buffer;
	uint32_t used;	 /* writing: bytes in buffer; reading: bytes given out */
	uint32_t held;	 /* reading: bytes in buffer */
	uint64_t offset; /* in the file, behind what was written or read */
	uint64_t left;	 /* reading: bytes of the section not yet in buffer */
	uint64_t length; /* of the section so far */
	uint32_t crc;
	struct hb_digest digest;
};

struct hb_capacity
hb_capacity_from_config(const struct hb_config *config)
{
	return (struct hb_capacity){
		.accounts = hb_power_of_two_ceil((uint64_t)config->capacity_accounts),
		.packets = hb_power_of_two_ceil((uint64_t)config->capacity_packets),
		.arena_bytes = hb_power_of_two_ceil((uint64_t)config->capacity_arena_mib << 20),
		.windows = hb_power_of_two_ceil((uint64_t)config->capacity_windows),
		.orders = hb_power_of_two_ceil((uint64_t)config->capacity_orders),
		.idempotency = hb_power_of_two_ceil((uint64_t)config->capacity_idempotency),
		.holds = hb_power_of_two_ceil((uint64_t)config->capacity_holds),
	};
}

static int
stream_open(struct stream *stream, int fd)
{
	*stream = (struct stream){.fd = fd, .buffer = malloc(BUFFER_BYTES)};
	if (stream->buffer == NULL || hb_digest_open(&stream->digest) != 0)
		return -ENOMEM;
	return 0;
}

static void
stream_close(struct stream *stream)
{
	hb_digest_close(&stream->digest);
	free(stream->buffer);
}

/* ---- names ---- */

static void
snapshot_path(char path[HB_PATH_MAX], const char *directory, uint64_t seq, const char *suffix)
{
	int n = snprintf(path, HB_PATH_MAX,
		"%s/" SNAPSHOT_FOLDER "/" HB_JOURNAL_SNAPSHOT_FORMAT "%s", directory,
		(unsigned long long)seq, suffix);

	HB_ASSERT(n > 0 && n < HB_PATH_MAX);
}

static void
folder_path(char path[HB_PATH_MAX], const char *directory)
{
	int n = snprintf(path, HB_PATH_MAX, "%s/" SNAPSHOT_FOLDER, directory);

	HB_ASSERT(n > 0 && n < HB_PATH_MAX);
}

static int
newest_first(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x < *y) - (*x > *y);
}

int
hb_snapshot_list(const char *directory, uint64_t seq[HB_SNAPSHOTS_MAX])
{
	char path[HB_PATH_MAX];
	struct dirent *file;
	int count = 0;
	DIR *folder;

	folder_path(path, directory);
	folder = opendir(path);
	if (folder == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((file = readdir(folder)) != NULL && count < HB_SNAPSHOTS_MAX) {
		const char *digits = file->d_name + strlen("snapshot-");
		char *end = NULL;

		if (strncmp(file->d_name, "snapshot-", strlen("snapshot-")) != 0 ||
			strlen(digits) != 16)
			continue;
		seq[count] = strtoull(digits, &end, 16); /* 16 digits always fit */
		if (*end == '\0' && seq[count] != 0)
			count++;
	}
	closedir(folder);
	qsort(seq, (size_t)count, sizeof(seq[0]), newest_first);
	return count;
}

/* ---- reading ---- */

static bool
header_ok(const struct hb_snapshot_header *header, const uint8_t stream_id[16], uint64_t bytes)
{
	return header->magic == HB_SNAPSHOT_MAGIC &&
	       header->crc == hb_crc32c(header, offsetof(struct hb_snapshot_header, crc)) &&
	       header->version >= 1 && header->version <= HB_SNAPSHOT_VERSION &&
	       header->bytes == sizeof(*header) && header->section_count == HB_PARTITION_COUNT &&
	       memcmp(header->stream_id, stream_id, 16) == 0 && header->file_bytes == bytes;
}

static int
read_header(int fd, const uint8_t stream_id[16], struct hb_snapshot_header *header)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return -errno;
	if (pread(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header) ||
		!header_ok(header, stream_id, (uint64_t)status.st_size))
		return -EBADMSG;
	return 0;
}

int
hb_snapshot_read_header(const char *directory, uint64_t seq, const uint8_t stream_id[16],
	struct hb_snapshot_header *header)
{
	char path[HB_PATH_MAX];
	int fd, rc;

	snapshot_path(path, directory, seq, "");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = read_header(fd, stream_id, header);
	if (rc == 0 && header->seq != seq)
		rc = -EBADMSG;
	close(fd);
	return rc;
}

static int
fill_buffer(struct stream *stream)
{
	uint64_t want = stream->left < BUFFER_BYTES ? stream->left : BUFFER_BYTES;
	ssize_t n;

	if (want == 0)
		return -EBADMSG;
	n = pread(stream->fd, stream->buffer, want, (off_t)stream->offset);
	if (n < 0)
		return -errno;
	if ((uint64_t)n != want)
		return -EBADMSG;
	stream->crc = hb_crc32c_more(stream->crc, stream->buffer, want);
	stream->offset += want;
	stream->left -= want;
	stream->held = (uint32_t)want;
	stream->used = 0;
	return 0;
}

/* hb_state_io_fn of loading */
static int
read_bytes(void *context, void *bytes, size_t length)
{
	struct stream *stream = context;
	uint8_t *to = bytes;

	while (length > 0) {
		size_t step = stream->held - stream->used;

		if (step == 0) {
			int rc = fill_buffer(stream);

			if (rc != 0)
				return rc;
			continue;
		}
		if (step > length)
			step = length;
		memcpy(to, stream->buffer + stream->used, step);
		stream->used += (uint32_t)step;
		stream->length += step;
		to += step;
		length -= step;
	}
	return 0;
}

/* Begin the next section of a file being read. */
static int
begin_reading(struct stream *stream, uint32_t partition, struct hb_snapshot_section *section)
{
	if (pread(stream->fd, section, sizeof(*section), (off_t)stream->offset) !=
			(ssize_t)sizeof(*section) ||
		section->magic != HB_SNAPSHOT_SECTION_MAGIC || section->partition != partition ||
		section->crc != hb_crc32c(section, offsetof(struct hb_snapshot_section, crc)))
		return -EBADMSG;
	stream->offset += sizeof(*section);
	stream->left = section->length;
	stream->used = stream->held = 0;
	stream->length = 0;
	stream->crc = 0;
	return 0;
}

static int
verify_section(struct stream *stream, uint32_t partition)
{
	struct hb_snapshot_section section;
	uint8_t sha256[HB_SHA256_BYTES];
	int rc = begin_reading(stream, partition, &section);

	if (rc != 0)
		return rc;
	hb_digest_begin(&stream->digest);
	while (stream->left > 0) {
		rc = fill_buffer(stream);
		if (rc != 0)
			return rc;
		hb_digest_add(&stream->digest, stream->buffer, stream->held);
	}
	hb_digest_end(&stream->digest, sha256);
	if (stream->crc != section.data_crc || memcmp(sha256, section.sha256, sizeof(sha256)) != 0)
		return -EBADMSG;
	return 0;
}

int
hb_snapshot_verify(const char *path, const uint8_t stream_id[16], struct hb_snapshot_header *header,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct stream stream = {.fd = -1};
	const char *what = "the header", *how = "is damaged";
	int rc = -ENOMEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		rc = -errno;
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "snapshot %.300s: %s", path, strerror(-rc));
		return rc;
	}
	if (stream_open(&stream, fd) != 0)
		goto out;
	rc = read_header(fd, stream_id, header);
	stream.offset = sizeof(*header);
	if (rc == -EBADMSG && header->magic == HB_SNAPSHOT_MAGIC &&
		header->version > HB_SNAPSHOT_VERSION) {
		what = "the version";
		how = "is newer than this program";
	}
	for (uint32_t i = 0; rc == 0 && i < HB_PARTITION_COUNT; i++) {
		what = "a section";
		rc = verify_section(&stream, i);
	}
	if (rc == 0 && stream.offset != header->file_bytes) {
		what = "the end";
		rc = -EBADMSG;
	}
out:
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "snapshot %.300s: %s %s (offset %llu)",
			path, what, rc == -EBADMSG ? how : strerror(-rc),
			(unsigned long long)stream.offset);
	stream_close(&stream);
	close(fd);
	return rc;
}

/* Load a verified file. */
static int
load_file(const char *path, struct hb_state *state, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct stream stream = {.fd = -1};
	struct hb_snapshot_section section;
	int rc = -ENOMEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (stream_open(&stream, fd) != 0)
		goto out;
	rc = 0;
	stream.offset = sizeof(struct hb_snapshot_header);
	for (uint32_t i = 0; rc == 0 && i < HB_PARTITION_COUNT; i++) {
		rc = begin_reading(&stream, i, &section);
		if (rc == 0)
			rc = hb_state_load(&state->partition[i], read_bytes, &stream);
		if (rc == 0 && (stream.length != section.length || stream.crc != section.data_crc))
			rc = -EBADMSG;
	}
out:
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "snapshot %.300s cannot be loaded: %s",
			path,
			rc == -ENOSPC
				? "raise the capacity.* options to what they were when it was "
				  "made"
				: strerror(-rc));
	stream_close(&stream);
	close(fd);
	return rc;
}

int
hb_snapshot_load_newest(const char *directory, uint64_t limit, const uint8_t stream_id[16],
	struct hb_state *state, struct hb_snapshot_header *header,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count = hb_snapshot_list(directory, seq);

	*header = (struct hb_snapshot_header){0};
	if (count < 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot list the snapshots of %.200s: %s",
			directory, strerror(-count));
		return count;
	}
	for (int i = 0; i < count; i++) {
		char path[HB_PATH_MAX];
		int rc;

		if (seq[i] > limit)
			continue;
		snapshot_path(path, directory, seq[i], "");
		/* verified before a byte of it goes into the state */
		rc = hb_snapshot_verify(path, stream_id, header, error);
		if (rc == 0 && header->seq != seq[i]) {
			snprintf(error, HB_JOURNAL_ERROR_BYTES,
				"snapshot %.300s: it is the one at sequence %llu", path,
				(unsigned long long)header->seq);
			rc = -EBADMSG;
		}
		if (rc != 0) {
			hb_log(HB_LOG_ERROR, "snapshot_damaged",
				"error=\"%s\" effect=\"an older one and more journal is used\"",
				error);
			*header = (struct hb_snapshot_header){0};
			continue;
		}
		return load_file(path, state, error);
	}
	return 0;
}

static int
visit_sections(int fd, void (*visit)(void *visitor, const struct hb_packet *packet), void *visitor)
{
	struct stream stream = {.fd = -1};
	int rc = stream_open(&stream, fd);

	stream.offset = sizeof(struct hb_snapshot_header);
	for (uint32_t i = 0; rc == 0 && i < HB_PARTITION_COUNT; i++) {
		struct hb_snapshot_section section;
		uint64_t begin = stream.offset + sizeof(section);

		rc = begin_reading(&stream, i, &section);
		if (rc == 0)
			rc = hb_state_visit_packets(read_bytes, &stream, visit, visitor);
		stream.offset = begin + section.length;
	}
	stream_close(&stream);
	return rc;
}

int
hb_snapshot_visit_packets(const char *directory, uint64_t seq, const uint8_t stream_id[16],
	void (*visit)(void *visitor, const struct hb_packet *packet), void *visitor,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_snapshot_header header;
	char path[HB_PATH_MAX];
	int fd, rc;

	snapshot_path(path, directory, seq, "");
	rc = hb_snapshot_verify(path, stream_id, &header, error);
	if (rc != 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? -errno : visit_sections(fd, visit, visitor);
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "snapshot %.300s cannot be read: %s", path,
			strerror(-rc));
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- writing ---- */

static int
flush(struct stream *stream)
{
	uint8_t *from = stream->buffer;

	stream->crc = hb_crc32c_more(stream->crc, from, stream->used);
	hb_digest_add(&stream->digest, from, stream->used);
	while (stream->used > 0) {
		ssize_t n = pwrite(stream->fd, from, stream->used, (off_t)stream->offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		stream->offset += (uint64_t)n;
		stream->used -= (uint32_t)n;
	}
	return 0;
}

/* hb_state_io_fn of saving */
static int
write_bytes(void *context, void *bytes, size_t length)
{
	struct stream *stream = context;
	const uint8_t *from = bytes;

	stream->length += length;
	while (length > 0) {
		size_t step = BUFFER_BYTES - stream->used;

		if (step == 0) {
			int rc = flush(stream);

			if (rc != 0)
				return rc;
			continue;
		}
		if (step > length)
			step = length;
		memcpy(stream->buffer + stream->used, from, step);
		stream->used += (uint32_t)step;
		from += step;
		length -= step;
	}
	return 0;
}

static int
write_section(struct stream *stream, const struct hb_partition *partition)
{
	struct hb_snapshot_section section = {
		.magic = HB_SNAPSHOT_SECTION_MAGIC,
		.partition = partition->number,
	};
	off_t at = (off_t)stream->offset;
	int rc;

	stream->offset += sizeof(section);
	stream->used = 0;
	stream->length = 0;
	stream->crc = 0;
	hb_digest_begin(&stream->digest);
	rc = hb_state_save(partition, write_bytes, stream);
	if (rc == 0)
		rc = flush(stream);
	hb_digest_end(&stream->digest, section.sha256);
	if (rc != 0)
		return rc;
	section.length = stream->length;
	section.data_crc = stream->crc;
	section.crc = hb_crc32c(&section, offsetof(struct hb_snapshot_section, crc));
	return pwrite(stream->fd, &section, sizeof(section), at) == (ssize_t)sizeof(section) ? 0
											     : -EIO;
}

static int
write_file(int fd, const struct hb_state *state, struct hb_snapshot_header *header)
{
	struct stream stream;
	int rc = stream_open(&stream, fd);

	stream.offset = sizeof(*header);
	for (uint32_t i = 0; rc == 0 && i < HB_PARTITION_COUNT; i++)
		rc = write_section(&stream, &state->partition[i]);
	header->magic = HB_SNAPSHOT_MAGIC;
	header->version = HB_SNAPSHOT_VERSION;
	header->bytes = sizeof(*header);
	header->section_count = HB_PARTITION_COUNT;
	header->wall_ns = hb_wall_ns();
	header->file_bytes = stream.offset;
	header->crc = hb_crc32c(header, offsetof(struct hb_snapshot_header, crc));
	if (rc == 0 && pwrite(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header))
		rc = -EIO;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	stream_close(&stream);
	return rc;
}

static int
sync_folder(const char *directory)
{
	char path[HB_PATH_MAX];
	int rc = 0, fd;

	folder_path(path, directory);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc;
}

int
hb_snapshot_write(const char *directory, const struct hb_state *state,
	struct hb_snapshot_header *header, char error[HB_JOURNAL_ERROR_BYTES])
{
	char folder[HB_PATH_MAX], path[HB_PATH_MAX], temporary[HB_PATH_MAX];
	struct hb_snapshot_header seen;
	int fd, rc;

	folder_path(folder, directory);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
		rc = -errno;
		goto out;
	}
	snapshot_path(path, directory, header->seq, "");
	snapshot_path(temporary, directory, header->seq, ".tmp");
	fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = write_file(fd, state, header);
	/* what is verified shall come from the disk as far as the kernel lets us */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	if (rc == 0) {
		rc = hb_snapshot_verify(temporary, header->stream_id, &seen, error);
		if (rc != 0) {
			unlink(temporary);
			return rc;
		}
	}
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc == 0)
		rc = sync_folder(directory);
	if (rc != 0)
		unlink(temporary);
out:
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot write a snapshot in %.200s: %s",
			folder, strerror(-rc));
	return rc;
}

/* ---- the job ---- */

static void
remove_old(const char *directory, uint32_t keep)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	int count = hb_snapshot_list(directory, seq);

	for (int i = (int)keep; i < count; i++) {
		char path[HB_PATH_MAX];

		snapshot_path(path, directory, seq[i], "");
		unlink(path);
	}
}

static void
remove_temporaries(const char *directory)
{
	char path[HB_PATH_MAX];
	struct dirent *file;
	DIR *folder;

	folder_path(path, directory);
	folder = opendir(path);
	if (folder == NULL)
		return;
	while ((file = readdir(folder)) != NULL) {
		size_t length = strlen(file->d_name);

		if (length > 4 && strcmp(file->d_name + length - 4, ".tmp") == 0)
			unlinkat(dirfd(folder), file->d_name, 0);
	}
	closedir(folder);
}

/* One job at a time. @return the lock's descriptor, or -errno */
static int
lock_folder(const char *directory)
{
	char path[HB_PATH_MAX];
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int folder, fd, rc;

	folder_path(path, directory);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return -errno;
	fd = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	rc = -errno;
	close(folder);
	if (fd < 0)
		return rc;
	if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static void
header_from_replay(struct hb_snapshot_header *header, const struct hb_replay_result *result,
	const struct hb_journal_info *info)
{
	*header = (struct hb_snapshot_header){
		.node = info->node,
		.epoch = result->epoch,
		.seq = result->seq,
		.frame_number = result->frame_number,
		.frame_wall_ns = result->frame_wall_ns,
	};
	memcpy(header->stream_id, info->stream_id, sizeof(header->stream_id));
	memcpy(header->chain, result->chain, sizeof(header->chain));
	memcpy(header->ring_sequence, result->ring_sequence, sizeof(header->ring_sequence));
	memcpy(header->ring_crc, result->ring_crc, sizeof(header->ring_crc));
}

static int
run_locked(const struct hb_config *config, const char *directory, struct hb_journal_reader *reader,
	struct hb_state *state, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal_info info;
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	uint64_t begun_ns = hb_mono_ns(), loaded_ns;
	int rc = hb_journal_reader_info(reader, &info);

	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
		return rc;
	}
	rc = hb_snapshot_load_newest(
		directory, info.durable_seq, info.stream_id, state, &header, error);
	if (rc != 0)
		return rc;
	loaded_ns = hb_mono_ns();
	if (info.durable_seq <= header.seq) {
		hb_log(HB_LOG_INFO, "snapshot_not_needed", "seq=%llu",
			(unsigned long long)header.seq);
		return 0;
	}
	/* never past the durable sequence: a snapshot must not know more than the disk */
	hb_journal_reader_limit(reader, info.durable_seq);
	rc = hb_replay(reader, state, &header, &result, NULL, NULL, error);
	if (rc != 0)
		return rc;
	header_from_replay(&header, &result, &info);
	rc = hb_snapshot_write(directory, state, &header, error);
	if (rc != 0)
		return rc;
	remove_old(directory, (uint32_t)config->snapshot_keep);
	hb_log(HB_LOG_INFO, "snapshot_written",
		"seq=%llu records=%llu marks=%llu bytes=%llu load_ms=%llu ms=%llu",
		(unsigned long long)header.seq, (unsigned long long)result.records,
		(unsigned long long)result.marks, (unsigned long long)header.file_bytes,
		(unsigned long long)((loaded_ns - begun_ns) / 1000000),
		(unsigned long long)((hb_mono_ns() - begun_ns) / 1000000));
	return 0;
}

int
hb_snapshot_run(const struct hb_config *config)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "", directory[HB_PATH_MAX];
	struct hb_capacity capacity = hb_capacity_from_config(config);
	struct hb_journal_reader *reader = NULL;
	struct hb_state state = {0};
	int lock, rc;

	hb_path(directory, config->node_directory, HB_PATH_JOURNAL);
	rc = hb_journal_reader_open(&reader, directory, error);
	if (rc != 0)
		goto out;
	lock = lock_folder(directory);
	if (lock == -EAGAIN || lock == -EACCES) {
		hb_log(HB_LOG_INFO, "snapshot_not_needed", "reason=\"another job makes one\"");
		goto out;
	}
	if (lock < 0) {
		rc = lock;
		snprintf(error, sizeof(error), "cannot lock the snapshots: %s", strerror(-rc));
		goto out;
	}
	remove_temporaries(directory);
	rc = hb_state_create(&state, &capacity, (uint32_t)config->node_number);
	if (rc != 0)
		snprintf(error, sizeof(error), "no memory for the state: %s", strerror(-rc));
	else {
		hb_segment_keep_small_pages(&state.segment);
		rc = run_locked(config, directory, reader, &state, error);
	}
	if (state.segment.base != NULL)
		hb_state_close(&state);
	close(lock);
out:
	hb_journal_reader_close(reader);
	if (rc != 0)
		hb_log(HB_LOG_ERROR, "snapshot_failed", "error=\"%s\"", error);
	return rc;
}
