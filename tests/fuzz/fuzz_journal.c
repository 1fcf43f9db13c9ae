/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal files. The first byte says how the bytes become files and how they are read:
 *
 *   bits 0, 1   0 a raw segment as it comes; 1 frames whose numbers, chain and checksums are made
 *               right, so that what stands behind them is reached; 2 a packed segment as it comes;
 *               3 frames as for 1, in a packed segment
 *   SUPERBLOCK  the bytes begin with a change of the superblock: which copies, a place, a value
 *   SPLIT       frames from the third on stand in a second segment
 *   FAULTS      a byte before each frame says which field of its header, or of the packed
 *               segment's, is wrong though the checksums are right
 *   ASK         the bytes go on with where reading begins, its limit, what a witness says, and
 *               whether the first segment is gone
 *   LATER       the raw segment has its first frame alone, and is packed with all of them while
 *               it is read
 *
 * The reader must name a fault or give records that verify, in sequence. The files lie in memory
 * (/dev/shm), in a folder of this process.
 *
 * Parsers: persist/reader.c, persist/source.c, persist/journal_frame.c without hb_digest_open
 * hb_crc32c_more, persist/superblock.c without hb_superblock_create hb_superblock_write write_copy
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "persist/journal_frame.h"
#include "persist/journal_reader.h"
#include "persist/superblock.h"
#include "tests/fuzz/fuzz.h"

#define FRAMES_MAX	     8
#define FRAME_BYTES_MAX	     8192u
#define FILE_BYTES	     (FRAMES_MAX * FRAME_BYTES_MAX)
#define FRAMES_BEFORE_SPLIT  2
#define PACKED_BYTES_MAX     (sizeof(struct hb_packed_header) + 4 * FILE_BYTES)
#define SUPERBLOCK_FILE_SIZE (HB_SUPERBLOCK_COPIES * sizeof(struct hb_superblock))

enum mode {
	KIND = 0x03,
	KIND_RAW = 0,
	KIND_FRAMES = 1,
	KIND_PACKED = 2,
	KIND_FRAMES_PACKED = 3,
	SUPERBLOCK = 0x04,
	SPLIT = 0x08,
	FAULTS = 0x10,
	ASK = 0x20,
	LATER = 0x40,
};

/* Frames on their way into a file. */
struct frames {
	uint8_t *bytes;
	uint32_t used;
	uint32_t count;
	uint64_t number; /* of the next frame */
	uint64_t next_seq;
	uint64_t segment;
	uint8_t chain[32];
};

static const char *const segment_names[] = {"segment-0000000000000001.raw",
	"segment-0000000000000001.packed", "segment-0000000000000002.raw",
	"segment-0000000000000002.packed"};
static char directory[64];
static int directory_fd;
static struct hb_superblock superblock;
static struct hb_superblock superblock_file[HB_SUPERBLOCK_COPIES];
static struct hb_digest digest;
static uint8_t *file_bytes, *packed_bytes;
static size_t packed_later; /* bytes of a packed segment that comes while the raw one is read */

static void
remove_directory(void)
{
	for (size_t i = 0; i < sizeof(segment_names) / sizeof(segment_names[0]); i++)
		(void)unlinkat(directory_fd, segment_names[i], 0);
	(void)unlinkat(directory_fd, HB_JOURNAL_SUPERBLOCK_FILE, 0);
	(void)rmdir(directory);
}

static void
make_directory(void)
{
	int fd;

	snprintf(directory, sizeof(directory), "/dev/shm/hb-fuzz-%d", (int)getpid());
	HB_ASSERT(mkdir(directory, 0700) == 0);
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	HB_ASSERT(directory_fd >= 0);
	superblock =
		(struct hb_superblock){.node = 1, .first_segment = 1, .segment_bytes = 1 << 20};
	memcpy(superblock.stream_id, "fuzzed--journal-", 16);
	HB_ASSERT(hb_superblock_create(directory_fd, &superblock) == 0);
	fd = openat(directory_fd, HB_JOURNAL_SUPERBLOCK_FILE, O_RDONLY | O_CLOEXEC);
	HB_ASSERT(fd >= 0);
	HB_ASSERT(read(fd, superblock_file, SUPERBLOCK_FILE_SIZE) == SUPERBLOCK_FILE_SIZE);
	close(fd);
	HB_ASSERT(hb_digest_open(&digest) == 0);
	file_bytes = aligned_alloc(4096, FILE_BYTES);
	packed_bytes = malloc(PACKED_BYTES_MAX);
	HB_ASSERT(file_bytes != NULL && packed_bytes != NULL);
	atexit(remove_directory);
}

static void
put_file(const char *name, const void *bytes, size_t length)
{
	int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	HB_ASSERT(fd >= 0);
	HB_ASSERT(write(fd, bytes, length) == (ssize_t)length);
	close(fd);
}

/* ---- the superblock ---- */

static uint16_t
take_u16(struct hb_fuzz_input *input)
{
	uint16_t low = hb_fuzz_byte(input);

	return (uint16_t)(low | hb_fuzz_byte(input) << 8);
}

/*
 * Bits 0 and 1: these copies; bit 2: with a right CRC afterwards; bit 3: the file is cut there; bit
 * 4: there is none.
 */
static void
change_superblock(struct hb_fuzz_input *input)
{
	struct hb_superblock changed[HB_SUPERBLOCK_COPIES];
	uint8_t how = hb_fuzz_byte(input);
	uint32_t at = take_u16(input) % sizeof(changed[0]);
	uint8_t value = hb_fuzz_byte(input);

	memcpy(changed, superblock_file, sizeof(changed));
	for (uint32_t i = 0; i < HB_SUPERBLOCK_COPIES; i++) {
		if ((how >> i & 1) == 0)
			continue;
		((uint8_t *)&changed[i])[at] ^= value;
		if ((how & 4) != 0)
			changed[i].crc =
				hb_crc32c(&changed[i], offsetof(struct hb_superblock, crc));
	}
	put_file(HB_JOURNAL_SUPERBLOCK_FILE, changed, (how & 8) != 0 ? at : SUPERBLOCK_FILE_SIZE);
	if ((how & 16) != 0)
		HB_ASSERT(unlinkat(directory_fd, HB_JOURNAL_SUPERBLOCK_FILE, 0) == 0);
}

/* ---- frames ---- */

/* Records back to back in the payload get their CRC; what is no record stays as it is. */
static uint32_t
seal_records(uint8_t *payload, uint32_t length)
{
	uint32_t at = 0, count = 0;

	while (length - at >= sizeof(struct hb_record)) {
		struct hb_record *record = (void *)(payload + at);

		if (record->length < sizeof(*record) || record->length > HB_RECORD_BYTES_MAX ||
			record->length % 8 != 0 || record->length > length - at)
			break;
		hb_record_seal(record, record->type, record->length);
		at += record->length;
		count++;
	}
	return count == 0 ? 1 : count;
}

/* One field that the checksums then vouch for. */
static void
wrong_before_seal(struct hb_journal_frame *frame, uint8_t fault)
{
	switch (fault) {
	case 1:
		frame->frame_number++;
		return;
	case 2:
		frame->first_seq++;
		return;
	case 3:
		frame->previous_chain[0] ^= 1;
		return;
	case 4:
		frame->epoch = 0;
		return;
	case 5:
		frame->segment_number++;
		return;
	case 6:
		frame->stream_id[0] ^= 1;
		return;
	case 7:
		frame->version++;
		return;
	case 8:
		frame->flags = 1;
		return;
	case 9:
		frame->record_count++;
		return;
	case 10:
		frame->frame_length += 4096;
		return;
	case 11:
		frame->epoch = 5;
		return;
	default:
		return;
	}
}

/* A byte that its checksum does not fit. */
static void
wrong_after_seal(struct hb_journal_frame *frame, uint8_t fault)
{
	uint8_t *payload = (uint8_t *)(frame + 1);

	switch (fault) {
	case 32:
		frame->header_crc ^= 1;
		return;
	case 33:
		payload[0] ^= 1;
		return;
	case 34:
		payload[frame->payload_length] = 1; /* padding */
		return;
	case 35:
		frame->magic ^= 1;
		return;
	case 36: /* header and payload agree, the chain does not */
		frame->chain[0] ^= 1;
		frame->header_crc = 0;
		frame->header_crc = hb_crc32c(frame, sizeof(*frame));
		return;
	default:
		return;
	}
}

static void
fill_header(const struct frames *frames, struct hb_journal_frame *frame, uint32_t length)
{
	frame->magic = HB_JOURNAL_FRAME_MAGIC;
	frame->version = HB_JOURNAL_VERSION;
	frame->header_length = HB_JOURNAL_FRAME_HEADER_BYTES;
	frame->payload_length = length;
	frame->frame_length = (uint32_t)hb_round_up(HB_JOURNAL_FRAME_HEADER_BYTES + length, 4096);
	memcpy(frame->stream_id, superblock.stream_id, 16);
	frame->epoch = 1;
	frame->segment_number = frames->segment;
	frame->frame_number = frames->number;
	frame->first_seq = frames->next_seq;
	frame->record_count = seal_records((uint8_t *)(frame + 1), length);
	memcpy(frame->previous_chain, frames->chain, 32);
}

/* One frame from the input. @return false at the end */
static bool
make_frame(struct hb_fuzz_input *input, struct frames *frames, bool faults)
{
	struct hb_journal_frame *frame = (void *)(frames->bytes + frames->used);
	uint8_t fault = faults ? hb_fuzz_byte(input) : 0;
	uint32_t length = take_u16(input) & ~7u;

	if (input->left == 0)
		return false;
	if (length > input->left)
		length = (uint32_t)input->left & ~7u;
	if (length > 4096)
		length = 4096;
	memset(frame, 0, sizeof(*frame));
	memcpy(frame + 1, input->at, length);
	input->at += length;
	input->left -= length;
	fill_header(frames, frame, length);
	wrong_before_seal(frame, fault);
	hb_frame_seal(&digest, frame, frame + 1);
	memcpy(frames->chain, frame->chain, 32);
	frames->next_seq += frame->record_count;
	frames->number++;
	frames->count++;
	frames->used += (uint32_t)hb_round_up(HB_JOURNAL_FRAME_HEADER_BYTES + length, 4096);
	wrong_after_seal(frame, fault);
	return true;
}

static void
begin_frames(struct frames *frames, uint64_t segment)
{
	memset(file_bytes, 0, FILE_BYTES);
	frames->bytes = file_bytes;
	frames->used = 0;
	frames->count = 0;
	frames->segment = segment;
}

/* The frames and a block of zeros behind them. */
static void
put_raw(const struct frames *frames)
{
	uint32_t length = frames->used + 4096;

	put_file(segment_names[frames->segment == 1 ? 0 : 2], frames->bytes,
		length < FILE_BYTES ? length : FILE_BYTES);
}

/* The frames of a file without their padding, as one block. @return its bytes, unpacked */
static size_t
gather(const struct frames *frames, uint8_t *to)
{
	size_t n = 0;

	for (uint32_t at = 0; at < frames->used;) {
		const struct hb_journal_frame *frame = (const void *)(frames->bytes + at);
		size_t length = HB_JOURNAL_FRAME_HEADER_BYTES + frame->payload_length;

		memcpy(to + n, frame, length);
		n += length;
		at += (uint32_t)hb_round_up(length, 4096);
	}
	return n;
}

/* Which part of a packed segment is wrong; 0 and others: none. */
enum packed_fault {
	PACKED_HEADER_CRC = 1,
	PACKED_BLOCK_CRC,
	PACKED_BYTES,
	PACKED_BYTES_TRUSTED, /* the CRC fits bytes that are no zstd */
	PACKED_TAIL,
	PACKED_LENGTH,
	PACKED_CUT,
};

/* @return bytes of the file in packed_bytes */
static size_t
make_packed(const struct frames *frames, uint8_t fault)
{
	static uint8_t unpacked[FILE_BYTES];
	struct hb_packed_header *header = (void *)packed_bytes;
	struct hb_packed_block *block = (void *)(header + 1);
	uint8_t *compressed = (uint8_t *)(block + 1);
	size_t room = PACKED_BYTES_MAX - sizeof(*header) - sizeof(*block);
	size_t length = gather(frames, unpacked);

	*header = (struct hb_packed_header){.magic = HB_PACKED_MAGIC,
		.version = HB_JOURNAL_VERSION,
		.bytes = sizeof(*header),
		.block_count = 1,
		.segment_number = frames->segment,
		.last_seq = frames->next_seq - 1};
	memcpy(header->stream_id, superblock.stream_id, 16);
	*block = (struct hb_packed_block){.magic = HB_PACKED_BLOCK_MAGIC,
		.unpacked_length = (uint32_t)length,
		.frame_count = frames->count,
		.packed_length = (uint32_t)ZSTD_compress(compressed, room, unpacked, length, 1)};
	if (fault == PACKED_BYTES_TRUSTED)
		compressed[0] ^= 1;
	block->packed_crc = hb_crc32c(compressed, block->packed_length);
	if (fault == PACKED_LENGTH)
		block->unpacked_length -= 8;
	block->crc = hb_crc32c(block, offsetof(struct hb_packed_block, crc)) ^
		     (fault == PACKED_BLOCK_CRC);
	if (fault == PACKED_BYTES)
		compressed[block->packed_length - 1] ^= 1;
	header->file_bytes = sizeof(*header) + sizeof(*block) + block->packed_length +
			     (fault == PACKED_TAIL ? 8 : 0);
	header->crc = hb_crc32c(header, offsetof(struct hb_packed_header, crc)) ^
		      (fault == PACKED_HEADER_CRC);
	return header->file_bytes - (fault == PACKED_CUT ? 8 : 0);
}

/* All frames of a segment that is packed, or begins raw and is packed later. */
static void
put_packed(const struct frames *frames, uint8_t fault, bool later)
{
	size_t length = make_packed(frames, fault);

	if (!later) {
		put_file(segment_names[1], packed_bytes, length);
		return;
	}
	packed_later = length;
	if (frames->count > 1) {
		const struct hb_journal_frame *first = (const void *)frames->bytes;
		size_t kept = hb_round_up(
			HB_JOURNAL_FRAME_HEADER_BYTES + (size_t)first->payload_length, 4096);

		memset(frames->bytes + kept, 0, FILE_BYTES - kept);
	}
	put_raw(frames);
}

static void
put_frames(struct hb_fuzz_input *input, uint8_t mode)
{
	struct frames frames = {.number = 1, .next_seq = 1};
	bool packed = (mode & KIND) == KIND_FRAMES_PACKED;
	uint8_t fault = packed && (mode & FAULTS) != 0 ? hb_fuzz_byte(input) : 0;

	begin_frames(&frames, 1);
	while (frames.number <= FRAMES_MAX) {
		if ((mode & SPLIT) != 0 && frames.number == FRAMES_BEFORE_SPLIT + 1) {
			if (packed)
				put_packed(&frames, fault, (mode & LATER) != 0);
			else
				put_raw(&frames);
			begin_frames(&frames, 2);
		}
		if (!make_frame(input, &frames, (mode & FAULTS) != 0))
			break;
	}
	/* the last segment of two is raw, as in a journal that is written */
	if (packed && frames.segment == 1)
		put_packed(&frames, fault, (mode & LATER) != 0);
	else
		put_raw(&frames);
}

/* ---- reading ---- */

static void
look_at_end(struct hb_journal_reader *reader, uint64_t next)
{
	struct hb_journal_tail tail;
	struct hb_journal_info info;

	hb_journal_reader_tail(reader, &tail);
	HB_ASSERT(next == 0 || tail.next_seq == next);
	if (hb_journal_reader_info(reader, &info) == 0)
		HB_ASSERT(info.first_segment <= info.last_segment);
}

static void
pack_now(void)
{
	if (packed_later == 0)
		return;
	put_file(segment_names[1], packed_bytes, packed_later);
	packed_later = 0;
}

/* Most inputs are read by one reader: it has buffers of megabytes. NULL: it cannot be opened. */
static struct hb_journal_reader *
open_reader(bool own)
{
	static struct hb_journal_reader *common;
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = own ? NULL : common;

	if (reader == NULL && hb_journal_reader_open(&reader, directory, error) != 0)
		HB_ASSERT(error[0] != '\0');
	if (!own)
		common = reader;
	return reader;
}

/* @param ask bits 0 to 2: begin there, 0 at the oldest; 3, 4: limit; 5, 6: witness; 7: see ASK */
static void
read_all(uint8_t ask, bool superblock_changed)
{
	struct hb_journal_reader *reader;
	struct hb_journal_position at;
	const struct hb_record *record;
	uint64_t begin = ask & 7, limit = ask >> 3 & 3, witness = ask >> 5 & 3;
	uint64_t next = begin;
	bool own = superblock_changed || witness != 0; /* what it heard stays with a reader */
	int rc;

	if ((ask & 0x80) != 0) {
		(void)unlinkat(directory_fd, segment_names[0], 0);
		(void)unlinkat(directory_fd, segment_names[1], 0);
	}
	reader = open_reader(own);
	if (reader == NULL)
		return;
	hb_journal_reader_limit(reader, limit != 0 ? limit : UINT64_MAX);
	if (witness != 0)
		hb_journal_reader_witness(reader, witness, "a witness");
	rc = begin == 0 ? hb_journal_reader_seek_first(reader)
			: hb_journal_reader_seek(reader, begin);
	while (rc == 0 && (rc = hb_journal_reader_next(reader, &record, &at)) > 0) {
		HB_ASSERT(next == 0 || at.seq == next);
		next = at.seq + 1;
		HB_ASSERT(limit == 0 || at.seq <= limit);
		HB_ASSERT(hb_record_verify(record, record->length) == NULL);
		pack_now();
		rc = 0;
	}
	if (rc < 0)
		HB_ASSERT(hb_journal_reader_error(reader)[0] != '\0');
	else if (limit == 0)
		look_at_end(reader, next);
	if (own)
		hb_journal_reader_close(reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static bool changed;
	struct hb_fuzz_input input = {bytes, length};
	uint8_t mode = hb_fuzz_byte(&input);
	uint8_t ask;

	if (directory[0] == '\0')
		make_directory();
	for (size_t i = 0; i < sizeof(segment_names) / sizeof(segment_names[0]); i++)
		(void)unlinkat(directory_fd, segment_names[i], 0);
	if (changed)
		put_file(HB_JOURNAL_SUPERBLOCK_FILE, superblock_file, SUPERBLOCK_FILE_SIZE);
	packed_later = 0;
	changed = (mode & SUPERBLOCK) != 0;
	if (changed)
		change_superblock(&input);
	ask = (mode & ASK) != 0 ? hb_fuzz_byte(&input) : 1;
	if ((mode & KIND) == KIND_RAW)
		put_file(segment_names[0], input.at, input.left);
	else if ((mode & KIND) == KIND_PACKED)
		put_file(segment_names[1], input.at, input.left);
	else
		put_frames(&input, mode);
	read_all(ask, changed);
	return 0;
}
