/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixture of the journal's tests. Removes only what it made: the directory from mkdtemp.
 */
#include "tests/persist/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/paths.h"
#include "persist/superblock.h"
#include "shm/order_number.h"

static void
begin(struct fixture *f, const char *where)
{
	memset(f, 0, sizeof(*f));
	hb_log_open("test", 0);
	hb_config_defaults(&f->config);
	f->config.journal_segment_mib = 1;
	f->config.journal_segments_ready = 2;
	snprintf(f->root, sizeof(f->root), "%s/hongbao-journal-XXXXXX", where);
	assert_non_null(mkdtemp(f->root));
	snprintf(f->directory, sizeof(f->directory), "%s/" HB_PATH_JOURNAL, f->root);
	snprintf(f->config.node_directory, sizeof(f->config.node_directory), "%s", f->root);
}

void
fixture_begin(struct fixture *f)
{
	begin(f, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

void
fixture_begin_on_disk(struct fixture *f)
{
	begin(f, "/tmp");
}

static int
remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void
fixture_end(struct fixture *f)
{
	fixture_close(f);
	assert_int_equal(nftw(f->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int
fixture_open(struct fixture *f)
{
	int rc = hb_journal_open(&f->journal, &f->config, f->directory, 0, f->error);

	f->open = rc == 0;
	return rc;
}

void
fixture_close(struct fixture *f)
{
	if (f->open)
		hb_journal_close(&f->journal);
	f->open = false;
}

struct hb_record_grab
fixture_record(uint16_t ring, uint64_t core_sequence)
{
	struct hb_record_grab grab = {
		.head.ring = ring,
		.head.core_sequence = core_sequence,
		.head.time_ns = UINT64_C(1800000000000000000) + core_sequence * 83333,
		.packet = UINT64_C(0x0100080000000000) + core_sequence / 100,
		.user = 1000 + hb_mix64(core_sequence * 16 + ring) % 100000,
		.amount_fen = (int64_t)(1 + hb_mix64(core_sequence) % 1000),
		.left_fen = (int64_t)(hb_mix64(core_sequence + 7) % 100000),
		.share_index = (uint32_t)(core_sequence % 100),
		.left_count = 99 - (uint32_t)(core_sequence % 100),
		/* both versions of order numbers */
		.order_stamp = (UINT64_C(1800000000000) + core_sequence / 12) << 14 |
			       (ring % 2 == 0 ? 0 : HB_STAMP_VERSION_2),
		.token.token_id = hb_mix64(core_sequence + (uint64_t)ring * 977),
		.token.sequence = 1,
		.token.expiry_s = 1800003600,
	};

	hb_record_seal(&grab.head, HB_RECORD_GRAB, sizeof(grab));
	return grab;
}

void
fixture_add(struct fixture *f, uint16_t ring)
{
	struct hb_record_grab grab = fixture_record(ring, ++f->core_sequence[ring]);
	const char *fault = NULL;
	uint32_t taken = 0;

	assert_int_equal(hb_frame_add(&f->journal, ring, &grab, sizeof(grab), &taken, &fault), 1);
	assert_int_equal(taken, sizeof(grab));
}

void
fixture_write(struct fixture *f)
{
	static const _Atomic bool never = false;

	assert_int_equal(hb_frame_write(&f->journal, &never), 0);
}

void
fixture_frame(struct fixture *f, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fixture_add(f, (uint16_t)(i % HB_PARTITION_COUNT));
	fixture_write(f);
}

int
fixture_read(struct fixture *f, uint64_t *records)
{
	struct hb_journal_reader *reader;
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc;

	*records = 0;
	rc = hb_journal_reader_open(&reader, f->directory, f->error);
	if (rc != 0)
		return rc;
	rc = hb_journal_reader_seek(reader, 1);
	while (rc == 0) {
		rc = hb_journal_reader_next(reader, &record, &at);
		if (rc <= 0)
			break;
		(*records)++;
		assert_int_equal(at.seq, *records);
		rc = 0;
	}
	snprintf(f->error, sizeof(f->error), "%s", hb_journal_reader_error(reader));
	hb_journal_reader_close(reader);
	return rc;
}

static int
open_file(struct fixture *f, const char *name, int flags)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->directory, name);
	fd = open(path, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void
fixture_peek(struct fixture *f, const char *name, uint64_t offset, void *bytes, size_t length)
{
	int fd = open_file(f, name, O_RDONLY);

	assert_int_equal(pread(fd, bytes, length, (off_t)offset), length);
	close(fd);
}

void
fixture_poke(struct fixture *f, const char *name, uint64_t offset, const void *bytes, size_t length)
{
	int fd = open_file(f, name, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
	close(fd);
}

void
fixture_flip(struct fixture *f, const char *name, uint64_t offset)
{
	uint8_t byte;

	fixture_peek(f, name, offset, &byte, 1);
	byte ^= 0x10;
	fixture_poke(f, name, offset, &byte, 1);
}

bool
fixture_exists(struct fixture *f, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", f->directory, name);
	return access(path, F_OK) == 0;
}

void
fixture_hint(struct fixture *f, uint64_t seq)
{
	struct hb_superblock superblock;
	char error[256];
	int fd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(hb_superblock_read(fd, &superblock, error), 0);
	superblock.durable_seq = seq;
	assert_int_equal(hb_superblock_write(fd, &superblock), 0);
	assert_int_equal(hb_superblock_write(fd, &superblock), 0);
	close(fd);
}
