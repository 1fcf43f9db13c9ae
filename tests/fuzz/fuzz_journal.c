/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal files. The first byte says how the bytes become files: 1 = frames whose numbers, chain
 * and checksums are made right, so that what stands behind them is reached; 2 = a packed segment.
 * The reader must name a fault or give records that verify, in sequence.
 *
 * The files lie in memory (/dev/shm), in a folder of this process.
 *
 * Parsers: persist/reader.c persist/journal_frame.c persist/pack.c persist/superblock.c
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "persist/journal_frame.h"
#include "persist/journal_reader.h"
#include "persist/superblock.h"
#include "tests/fuzz/fuzz.h"

#define FRAMES_MAX 8
#define FILE_BYTES (FRAMES_MAX * 8192u)
#define SEALED	   1
#define PACKED	   2

static char directory[64];
static int directory_fd;
static struct hb_superblock superblock;
static struct hb_digest digest;
static uint8_t *file_bytes;

static void
remove_directory(void)
{
	static const char *const names[] = {"superblock", "segment-0000000000000001.raw",
		"segment-0000000000000001.packed", "segment-0000000000000002.raw"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(directory_fd, names[i], 0);
	(void)rmdir(directory);
}

static void
make_directory(void)
{
	snprintf(directory, sizeof(directory), "/dev/shm/hb-fuzz-%d", (int)getpid());
	HB_ASSERT(mkdir(directory, 0700) == 0);
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	HB_ASSERT(directory_fd >= 0);
	superblock =
		(struct hb_superblock){.node = 1, .first_segment = 1, .segment_bytes = 1 << 20};
	memcpy(superblock.stream_id, "fuzzed--journal-", 16);
	HB_ASSERT(hb_superblock_create(directory_fd, &superblock) == 0);
	HB_ASSERT(hb_digest_open(&digest) == 0);
	file_bytes = aligned_alloc(4096, FILE_BYTES);
	HB_ASSERT(file_bytes != NULL);
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

/* One frame from the input. @return its length in the file, 0 at the end */
static uint32_t
make_frame(struct hb_fuzz_input *input, uint8_t *at, uint64_t number, uint64_t *next_seq,
	uint8_t chain[32])
{
	struct hb_journal_frame *frame = (void *)at;
	uint32_t length = hb_fuzz_byte(input);

	length = (length | (uint32_t)hb_fuzz_byte(input) << 8) & ~7u;
	if (input->left == 0)
		return 0;
	if (length > input->left)
		length = (uint32_t)input->left & ~7u;
	if (length > 4096)
		length = 4096;
	memset(frame, 0, sizeof(*frame));
	memcpy(at + sizeof(*frame), input->at, length);
	input->at += length;
	input->left -= length;
	frame->magic = HB_JOURNAL_FRAME_MAGIC;
	frame->version = HB_JOURNAL_VERSION;
	frame->header_length = HB_JOURNAL_FRAME_HEADER_BYTES;
	frame->payload_length = length;
	frame->frame_length = (uint32_t)hb_round_up(HB_JOURNAL_FRAME_HEADER_BYTES + length, 4096);
	memcpy(frame->stream_id, superblock.stream_id, 16);
	frame->epoch = 1;
	frame->segment_number = 1;
	frame->frame_number = number;
	frame->first_seq = *next_seq;
	frame->record_count = seal_records(at + sizeof(*frame), length);
	memcpy(frame->previous_chain, chain, 32);
	hb_frame_seal(&digest, frame, at + sizeof(*frame));
	memcpy(chain, frame->chain, 32);
	*next_seq += frame->record_count;
	return frame->frame_length;
}

static void
make_frames(struct hb_fuzz_input *input)
{
	uint8_t chain[32] = {0};
	uint64_t next_seq = 1;
	uint32_t at = 0, length;

	memset(file_bytes, 0, FILE_BYTES);
	for (uint64_t n = 1; n <= FRAMES_MAX; n++) {
		length = make_frame(input, file_bytes + at, n, &next_seq, chain);
		if (length == 0)
			break;
		at += length;
	}
	put_file("segment-0000000000000001.raw", file_bytes, FILE_BYTES);
}

static void
read_all(void)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_position at;
	const struct hb_record *record;
	uint64_t next = 1;
	int rc;

	HB_ASSERT(hb_journal_reader_open(&reader, directory, error) == 0);
	rc = hb_journal_reader_seek(reader, 1);
	while (rc == 0 && (rc = hb_journal_reader_next(reader, &record, &at)) > 0) {
		HB_ASSERT(at.seq == next++);
		HB_ASSERT(hb_record_verify(record, record->length) == NULL);
		rc = 0;
	}
	if (rc < 0)
		HB_ASSERT(hb_journal_reader_error(reader)[0] != '\0');
	hb_journal_reader_close(reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct hb_fuzz_input input = {bytes, length};
	uint8_t mode = hb_fuzz_byte(&input);

	if (directory[0] == '\0')
		make_directory();
	(void)unlinkat(directory_fd, "segment-0000000000000001.raw", 0);
	(void)unlinkat(directory_fd, "segment-0000000000000001.packed", 0);
	if ((mode & SEALED) != 0)
		make_frames(&input);
	else if ((mode & PACKED) != 0)
		put_file("segment-0000000000000001.packed", input.at, input.left);
	else
		put_file("segment-0000000000000001.raw", input.at, input.left);
	read_all();
	return 0;
}
