/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Bytes of one segment file, raw or packed, as a sequence of frames. Knows files and compression,
 * and nothing about chains or records: that is the reader's (reader.c).
 *
 * A source belongs to one reader and owns its buffers. Raw segments are read with O_DIRECT, past
 * the page cache, as the writer writes past it too.
 */
#ifndef HB_PERSIST_SOURCE_H
#define HB_PERSIST_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/journal_format.h"

#define HB_SOURCE_BUFFER_BYTES (UINT32_C(1) << 20)
#define HB_SOURCE_ERROR_BYTES  256

struct ZSTD_DCtx_s;

struct hb_source {
	int fd; /* -1: closed */
	bool packed;
	uint64_t segment_number;
	uint64_t bytes;	 /* of the file */
	uint64_t offset; /* raw: of the frame looked at; packed: of the block behind the one held */
	uint8_t *buffer; /* raw: file content; packed: one block, unpacked */
	uint64_t buffer_offset; /* raw: place of buffer[0] in the file */
	uint32_t buffer_bytes;
	uint32_t read_bytes; /* raw: size of the next read; grows while reading on */
	/* packed only */
	struct hb_packed_header header;
	uint8_t *compressed;
	struct ZSTD_DCtx_s *unpacker;
	uint32_t block_at; /* of the frame looked at, in buffer */
	uint32_t blocks_read;
	uint64_t block_offset; /* in the file, of the block held */
	char error[HB_SOURCE_ERROR_BYTES];
};

/** Allocate the buffers. @return 0 or -ENOMEM */
int hb_source_create(struct hb_source *source);
void hb_source_destroy(struct hb_source *source);

/**
 * Open a segment: the packed file when there is one, else the raw one.
 * @param packed_only do not fall back to the raw file
 * @return 0, -ENOENT, or -errno with source->error
 */
int hb_source_open(struct hb_source *source, int dir_fd, uint64_t segment_number,
	const uint8_t stream_id[16], bool packed_only);
/** Open a packed segment by another name (while it is being made). @return as above */
int hb_source_open_packed(struct hb_source *source, int dir_fd, const char *name,
	uint64_t segment_number, const uint8_t stream_id[16]);
void hb_source_close(struct hb_source *source);

/**
 * At least `length` bytes at the current frame, contiguous and 8-byte aligned.
 * @param fresh read from the file again, whatever the buffer holds
 * @param at set to the bytes
 * @return bytes there (>= length), 0 when the segment ends before, or -errno with source->error
 */
int64_t hb_source_peek(struct hb_source *source, uint32_t length, bool fresh, const uint8_t **at);

/** Go on behind a frame. */
void hb_source_advance(struct hb_source *source, const struct hb_journal_frame *frame);

/** File name, for messages. */
void hb_source_name(const struct hb_source *source, char name[64]);

/** Read and check the header of a packed segment. @return 0, -EBADMSG or -errno */
int hb_packed_header_read(int fd, const uint8_t stream_id[16], uint64_t segment_number,
	struct hb_packed_header *header);

#endif
