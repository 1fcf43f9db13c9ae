/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment files as bytes of frames. A source only reads; a process that dies here leaves nothing.
 */
#include "persist/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/crc32c.h"

#define READ_BYTES_FIRST 16384u

int
hb_source_create(struct hb_source *source)
{
	*source = (struct hb_source){.fd = -1};
	source->buffer = aligned_alloc(HB_JOURNAL_BLOCK_BYTES, HB_SOURCE_BUFFER_BYTES);
	source->compressed = malloc(ZSTD_compressBound(HB_PACKED_BLOCK_BYTES_MAX));
	source->unpacker = ZSTD_createDCtx();
	if (source->buffer != NULL && source->compressed != NULL && source->unpacker != NULL)
		return 0;
	hb_source_destroy(source);
	return -ENOMEM;
}

void
hb_source_close(struct hb_source *source)
{
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
	source->buffer_bytes = 0;
	source->error[0] = '\0';
}

void
hb_source_destroy(struct hb_source *source)
{
	hb_source_close(source);
	free(source->buffer);
	free(source->compressed);
	ZSTD_freeDCtx(source->unpacker);
	*source = (struct hb_source){.fd = -1};
}

void
hb_source_name(const struct hb_source *source, char name[64])
{
	snprintf(name, 64, source->packed ? HB_JOURNAL_PACKED_FORMAT : HB_JOURNAL_RAW_FORMAT,
		(unsigned long long)source->segment_number);
}

int
hb_packed_header_read(int fd, const uint8_t stream_id[16], uint64_t segment_number,
	struct hb_packed_header *header)
{
	struct stat status;
	ssize_t n = pread(fd, header, sizeof(*header), 0);

	if (n < 0 || fstat(fd, &status) != 0)
		return -errno;
	if (n != (ssize_t)sizeof(*header) || header->magic != HB_PACKED_MAGIC ||
		header->crc != hb_crc32c(header, offsetof(struct hb_packed_header, crc)) ||
		header->version != HB_JOURNAL_VERSION || header->bytes != sizeof(*header) ||
		memcmp(header->stream_id, stream_id, 16) != 0 ||
		header->segment_number != segment_number ||
		header->file_bytes != (uint64_t)status.st_size)
		return -EBADMSG;
	return 0;
}

static void
begin_source(struct hb_source *source, uint64_t segment_number)
{
	hb_source_close(source);
	source->segment_number = segment_number;
	source->buffer_offset = 0;
	source->read_bytes = READ_BYTES_FIRST;
	source->block_at = 0;
	source->blocks_read = 0;
	source->block_offset = 0;
}

static int
open_packed(struct hb_source *source, int dir_fd, const char *name, const uint8_t stream_id[16])
{
	int rc;

	source->packed = true;
	source->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (source->fd < 0)
		return -errno;
	rc = hb_packed_header_read(source->fd, stream_id, source->segment_number, &source->header);
	if (rc != 0) {
		snprintf(source->error, sizeof(source->error),
			"%s: the header of the packed segment is damaged", name);
		close(source->fd);
		source->fd = -1;
		return rc;
	}
	source->bytes = source->header.file_bytes;
	source->offset = sizeof(source->header);
	return 0;
}

static int
open_raw(struct hb_source *source, int dir_fd)
{
	char name[64];
	struct stat status;

	source->packed = false;
	hb_source_name(source, name);
	source->fd = openat(dir_fd, name, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (source->fd < 0 && errno == EINVAL)
		source->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (source->fd < 0)
		return -errno;
	if (fstat(source->fd, &status) != 0) {
		int rc = -errno;

		hb_source_close(source);
		return rc;
	}
	source->bytes = (uint64_t)status.st_size;
	source->offset = 0;
	return 0;
}

int
hb_source_open(struct hb_source *source, int dir_fd, uint64_t segment_number,
	const uint8_t stream_id[16], bool packed_only)
{
	char packed[64];
	int rc;

	begin_source(source, segment_number);
	source->packed = true;
	hb_source_name(source, packed);
	rc = open_packed(source, dir_fd, packed, stream_id);
	if (rc != -ENOENT || packed_only)
		return rc;
	rc = open_raw(source, dir_fd);
	/* packed and recycled between the two attempts */
	if (rc == -ENOENT)
		rc = open_packed(source, dir_fd, packed, stream_id);
	if (rc == -ENOENT)
		source->packed = false;
	return rc;
}

int
hb_source_open_packed(struct hb_source *source, int dir_fd, const char *name,
	uint64_t segment_number, const uint8_t stream_id[16])
{
	begin_source(source, segment_number);
	return open_packed(source, dir_fd, name, stream_id);
}

static int64_t
peek_raw(struct hb_source *source, uint32_t length, bool fresh, const uint8_t **at)
{
	uint64_t end = source->buffer_offset + source->buffer_bytes;
	uint32_t want;
	ssize_t n;

	if (source->offset + length > source->bytes)
		return 0;
	if (!fresh && source->offset >= source->buffer_offset && source->offset + length <= end) {
		*at = source->buffer + (source->offset - source->buffer_offset);
		return (int64_t)(end - source->offset);
	}
	want = fresh ? READ_BYTES_FIRST : source->read_bytes;
	if (want < length)
		want = (uint32_t)hb_round_up(length, HB_JOURNAL_BLOCK_BYTES);
	HB_ASSERT(want <= HB_SOURCE_BUFFER_BYTES);
	source->buffer_offset = source->offset;
	source->buffer_bytes = 0;
	n = pread(source->fd, source->buffer, want, (off_t)source->offset);
	if (n < 0) {
		int rc = -errno;

		snprintf(source->error, sizeof(source->error), "reading at offset %llu failed: %s",
			(unsigned long long)source->offset, strerror(-rc));
		return rc;
	}
	source->buffer_bytes = (uint32_t)n;
	source->read_bytes = want < HB_SOURCE_BUFFER_BYTES / 2 ? want * 2 : HB_SOURCE_BUFFER_BYTES;
	*at = source->buffer;
	return n >= (ssize_t)length ? n : 0;
}

static int
block_damaged(struct hb_source *source, const char *what)
{
	char name[64];

	hb_source_name(source, name);
	snprintf(source->error, sizeof(source->error), "%s: block %u at offset %llu: %s", name,
		source->blocks_read, (unsigned long long)source->offset, what);
	return -EBADMSG;
}

/* Load the next block. @return 1, 0 at the end, -EBADMSG */
static int
next_block(struct hb_source *source)
{
	struct hb_packed_block block;
	size_t n;

	source->buffer_bytes = 0;
	source->block_at = 0;
	if (source->blocks_read == source->header.block_count)
		return source->offset == source->bytes
			       ? 0
			       : block_damaged(source, "bytes behind the last block");
	if (pread(source->fd, &block, sizeof(block), (off_t)source->offset) !=
			(ssize_t)sizeof(block) ||
		block.magic != HB_PACKED_BLOCK_MAGIC ||
		block.crc != hb_crc32c(&block, offsetof(struct hb_packed_block, crc)))
		return block_damaged(source, "the block header is damaged");
	if (block.unpacked_length > HB_PACKED_BLOCK_BYTES_MAX ||
		block.packed_length > ZSTD_compressBound(HB_PACKED_BLOCK_BYTES_MAX) ||
		pread(source->fd, source->compressed, block.packed_length,
			(off_t)(source->offset + sizeof(block))) != (ssize_t)block.packed_length ||
		hb_crc32c(source->compressed, block.packed_length) != block.packed_crc)
		return block_damaged(source, "the compressed bytes are damaged");
	n = ZSTD_decompressDCtx(source->unpacker, source->buffer, HB_SOURCE_BUFFER_BYTES,
		source->compressed, block.packed_length);
	if (ZSTD_isError(n) || n != block.unpacked_length)
		return block_damaged(source, "the compressed bytes do not unpack");
	source->buffer_bytes = block.unpacked_length;
	source->block_offset = source->offset;
	source->offset += sizeof(block) + block.packed_length;
	source->blocks_read++;
	return 1;
}

static int64_t
peek_packed(struct hb_source *source, uint32_t length, const uint8_t **at)
{
	if (source->block_at >= source->buffer_bytes) {
		int rc = next_block(source);

		if (rc <= 0)
			return rc;
	}
	if (source->buffer_bytes - source->block_at < length)
		return block_damaged(source, "a frame reaches over the end of its block");
	*at = source->buffer + source->block_at;
	return source->buffer_bytes - source->block_at;
}

int64_t
hb_source_peek(struct hb_source *source, uint32_t length, bool fresh, const uint8_t **at)
{
	if (source->fd < 0)
		return 0;
	if (source->packed)
		return peek_packed(source, length, at);
	return peek_raw(source, length, fresh, at);
}

void
hb_source_advance(struct hb_source *source, const struct hb_journal_frame *frame)
{
	if (source->packed)
		source->block_at += HB_JOURNAL_FRAME_HEADER_BYTES + frame->payload_length;
	else
		source->offset += frame->frame_length;
}
