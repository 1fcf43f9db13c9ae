/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: snapshot files in which one field is wrong though every checksum is right, sections
 * longer than the buffer, and calls that fail where a small snapshot does not come.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "persist/journal_frame.h"
#include "persist/superblock.h"
#include "shm/state_internal.h"
#include "tests/persist/fixture.h"

/* What the calls of snapshot.c do in a test. */
static struct {
	uint64_t writes_until; /* the one that fails; 0: none */
	ssize_t failed;
	int error;
	int mkdir_error, lock_error; /* 0: none */
} calls;

static ssize_t
pwrite_of_test(int fd, const void *bytes, size_t length, off_t at)
{
	if (calls.writes_until != 0 && --calls.writes_until == 0) {
		errno = calls.error;
		return calls.failed;
	}
	return pwrite(fd, bytes, length, at);
}

static int
mkdir_of_test(const char *path, mode_t mode)
{
	if (calls.mkdir_error == 0)
		return mkdir(path, mode);
	errno = calls.mkdir_error;
	return -1;
}

static int
fcntl_of_test(int fd, int command, struct flock *lock)
{
	if (calls.lock_error == 0)
		return fcntl(fd, command, lock);
	errno = calls.lock_error;
	return -1;
}

#define pwrite pwrite_of_test
#define mkdir  mkdir_of_test
#define fcntl  fcntl_of_test
#include "persist/snapshot.c"
#undef pwrite
#undef mkdir
#undef fcntl

#define NODE	  7
#define SEQ	  5
#define ACCOUNTS  20000 /* of one partition: more than a buffer of them */
#define FILE_NAME SNAPSHOT_FOLDER "/snapshot-0000000000000005"

static struct fixture f;
static struct hb_state state;
static uint8_t stream_id[16];

static void
make_state(struct hb_state *made)
{
	static const struct hb_capacity capacity = {.accounts = 32768,
		.packets = 64,
		.arena_bytes = 1 << 16,
		.windows = 64,
		.orders = 64,
		.idempotency = 64,
		.holds = 64};

	assert_int_equal(hb_state_create(made, &capacity, NODE), 0);
}

/* A journal, and a state with many accounts in its partition 3. */
static void
begin(void)
{
	uint32_t made = 0;

	memset(&calls, 0, sizeof(calls));
	fixture_begin(&f);
	f.config.node_number = NODE;
	assert_int_equal(fixture_open(&f), 0);
	memcpy(stream_id, f.journal.superblock.stream_id, sizeof(stream_id));
	make_state(&state);
	for (uint64_t account = 1; made < ACCOUNTS; account++)
		if (hb_partition_of(account) == 3) {
			hbi_account_get(&state.partition[3], account, HB_ACCOUNT_USER);
			made++;
		}
}

static void
end(void)
{
	hb_state_close(&state);
	fixture_end(&f);
}

static int
write_one(uint64_t seq)
{
	struct hb_snapshot_header header = {.node = NODE, .seq = seq};

	memcpy(header.stream_id, stream_id, sizeof(stream_id));
	return hb_snapshot_write(f.directory, &state, &header, f.error);
}

static int
verify(void)
{
	char path[HB_PATH_MAX];
	struct hb_snapshot_header header;

	snapshot_path(path, f.directory, SEQ, "");
	return hb_snapshot_verify(path, stream_id, &header, f.error);
}

static int
load(uint64_t limit, struct hb_snapshot_header *header)
{
	struct hb_state loaded;
	int rc;

	make_state(&loaded);
	rc = hb_snapshot_load_newest(f.directory, limit, stream_id, &loaded, header, f.error);
	hb_state_close(&loaded);
	return rc;
}

/* Without a look at checksums of the whole, as after hb_snapshot_verify. */
static int
load_unverified(void)
{
	char path[HB_PATH_MAX];
	struct hb_state loaded;
	int rc;

	make_state(&loaded);
	snapshot_path(path, f.directory, SEQ, "");
	rc = load_file(path, &loaded, f.error);
	hb_state_close(&loaded);
	return rc;
}

static void
put_header(struct hb_snapshot_header header)
{
	header.crc = hb_crc32c(&header, offsetof(struct hb_snapshot_header, crc));
	fixture_poke(&f, FILE_NAME, 0, &header, sizeof(header));
}

static void
put_section(uint64_t at, struct hb_snapshot_section section)
{
	section.crc = hb_crc32c(&section, offsetof(struct hb_snapshot_section, crc));
	fixture_poke(&f, FILE_NAME, at, &section, sizeof(section));
}

/* Each in turn, and each is found; without them the file is good. */
#define WRONG_HEADER(change)                                                                       \
	do {                                                                                       \
		struct hb_snapshot_header header = right;                                          \
		change;                                                                            \
		put_header(header);                                                                \
		assert_int_equal(verify(), -EBADMSG);                                              \
		put_header(right);                                                                 \
		assert_int_equal(verify(), 0);                                                     \
	} while (0)

static void
a_header_with_a_wrong_field_is_refused_although_its_checksum_is_right(void **unused)
{
	struct hb_snapshot_header right, found;

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	fixture_peek(&f, FILE_NAME, 0, &right, sizeof(right));
	WRONG_HEADER(header.version = 0);
	WRONG_HEADER(header.version = HB_SNAPSHOT_VERSION + 1);
	WRONG_HEADER(header.bytes--);
	WRONG_HEADER(header.section_count--);
	WRONG_HEADER(header.stream_id[3] ^= 1);
	WRONG_HEADER(header.file_bytes++);
	WRONG_HEADER(header.magic++);
	/* whole, but not the one that its name says */
	found = right;
	found.seq++;
	put_header(found);
	assert_int_equal(hb_snapshot_read_header(f.directory, SEQ, stream_id, &found), -EBADMSG);
	assert_int_equal(load(UINT64_MAX, &found), 0);
	assert_int_equal(found.seq, 0); /* passed over, and there is no older one */
	put_header(right);
	assert_int_equal(load(SEQ - 1, &found), 0);
	assert_int_equal(found.seq, 0); /* above the limit */
	assert_int_equal(load(SEQ, &found), 0);
	assert_int_equal(found.seq, SEQ);
	end();
}

#define WRONG_SECTION(change)                                                                      \
	do {                                                                                       \
		struct hb_snapshot_section section = right;                                        \
		change;                                                                            \
		put_section(sizeof(struct hb_snapshot_header), section);                           \
		assert_int_equal(verify(), -EBADMSG);                                              \
		put_section(sizeof(struct hb_snapshot_header), right);                             \
		assert_int_equal(verify(), 0);                                                     \
	} while (0)

static void
a_section_with_a_wrong_field_is_refused_although_its_checksum_is_right(void **unused)
{
	struct hb_snapshot_section right;

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	fixture_peek(&f, FILE_NAME, sizeof(struct hb_snapshot_header), &right, sizeof(right));
	WRONG_SECTION(section.magic++);
	WRONG_SECTION(section.partition++);
	WRONG_SECTION(section.data_crc++);
	WRONG_SECTION(section.sha256[9] ^= 1);
	fixture_flip(&f, FILE_NAME,
		sizeof(struct hb_snapshot_header) + offsetof(struct hb_snapshot_section, reserved));
	assert_int_equal(verify(), -EBADMSG);
	end();
}

/* A section that says it is longer than what is in it. */
static void
bytes_behind_a_section_are_found(void **unused)
{
	struct hb_snapshot_header header, right_header;
	struct hb_snapshot_section last, right;
	const uint8_t more[8] = {0};
	uint64_t at;

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	fixture_peek(&f, FILE_NAME, 0, &right_header, sizeof(right_header));
	at = sizeof(right_header);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		fixture_peek(&f, FILE_NAME, at, &right, sizeof(right));
		if (i + 1 < HB_PARTITION_COUNT)
			at += sizeof(right) + right.length;
	}
	fixture_poke(&f, FILE_NAME, right_header.file_bytes, more, sizeof(more));
	header = right_header;
	header.file_bytes += sizeof(more);
	put_header(header);
	assert_int_equal(verify(), -EBADMSG);
	assert_non_null(strstr(f.error, "the end"));
	last = right;
	last.length += sizeof(more);
	put_section(at, last);
	assert_int_equal(load_unverified(), -EBADMSG);
	last = right;
	last.data_crc++;
	put_section(at, last);
	assert_int_equal(load_unverified(), -EBADMSG);
	assert_non_null(strstr(f.error, "cannot be loaded"));
	put_section(at, right);
	assert_int_equal(load_unverified(), 0);
	end();
}

static void
a_state_that_is_too_small_says_which_options_to_raise(void **unused)
{
	static const struct hb_capacity small = {.accounts = 1024,
		.packets = 64,
		.arena_bytes = 1 << 16,
		.windows = 64,
		.orders = 64,
		.idempotency = 64,
		.holds = 64};
	struct hb_snapshot_header header;
	struct hb_state loaded;

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	assert_int_equal(hb_state_create(&loaded, &small, NODE), 0);
	assert_int_equal(
		hb_snapshot_load_newest(f.directory, SEQ, stream_id, &loaded, &header, f.error),
		-ENOSPC);
	assert_non_null(strstr(f.error, "raise the capacity.* options"));
	hb_state_close(&loaded);
	end();
}

static void
names_that_are_no_snapshots_are_not_listed(void **unused)
{
	static const char *const others[] = {"snapshot-000000000000000g",
		"snapshot-0000000000000000", "snapshot-00000000000000001", "lock", "other"};
	uint64_t seqs[HB_SNAPSHOTS_MAX];
	char path[HB_PATH_MAX];

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(path, sizeof(path), "%s/" SNAPSHOT_FOLDER "/%s", f.directory, others[i]);
		fclose(fopen(path, "we"));
	}
	assert_int_equal(hb_snapshot_list(f.directory, seqs), 1);
	assert_int_equal(seqs[0], SEQ);
	/* more than anybody keeps: as many as fit */
	for (uint64_t seq = 100; seq < 100 + HB_SNAPSHOTS_MAX; seq++) {
		snapshot_path(path, f.directory, seq, "");
		fclose(fopen(path, "we"));
	}
	assert_int_equal(hb_snapshot_list(f.directory, seqs), HB_SNAPSHOTS_MAX);
	end();
}

static void
a_write_that_fails_anywhere_leaves_no_snapshot(void **unused)
{
	static const struct {
		ssize_t failed;
		int error;
	} ways[] = {{-1, ENOSPC}, {0, 0}};
	uint64_t seqs[HB_SNAPSHOTS_MAX];

	(void)unused;
	begin();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (uint64_t n = 1;; n++) {
			int rc;

			calls.writes_until = n;
			calls.failed = ways[i].failed;
			calls.error = ways[i].error;
			rc = write_one(10 * i + 20);
			if (rc == 0)
				break;
			assert_int_equal(hb_snapshot_list(f.directory, seqs), i);
		}
	calls.writes_until = 3;
	calls.failed = -1;
	calls.error = EINTR; /* is tried again */
	assert_int_equal(write_one(SEQ), 0);
	calls.writes_until = 0;
	assert_int_equal(verify(), 0);
	end();
}

static void
a_section_that_ends_too_early_gives_no_bytes(void **unused)
{
	struct stream stream;
	uint8_t byte;

	(void)unused;
	begin();
	assert_int_equal(write_one(SEQ), 0);
	assert_int_equal(stream_open(&stream, -1), 0);
	assert_int_equal(read_bytes(&stream, &byte, 1), -EBADMSG);
	stream_close(&stream);
	end();
}

static void
a_folder_that_cannot_be_made_and_a_lock_that_is_held_are_told(void **unused)
{
	char path[HB_PATH_MAX];
	int lock;

	(void)unused;
	begin();
	calls.mkdir_error = EACCES;
	assert_int_equal(write_one(SEQ), -EACCES);
	assert_int_equal(lock_folder(f.directory), -EACCES);
	calls.mkdir_error = 0;
	assert_int_equal(write_one(SEQ), 0);
	assert_int_equal(write_one(SEQ + 1), 0); /* the folder is there */
	lock = lock_folder(f.directory);
	assert_true(lock >= 0);
	fixture_close(&f);
	assert_int_equal(hb_snapshot_run(&f.config), 0); /* another job makes one */
	close(lock);
	calls.lock_error = EACCES; /* the other way to say so */
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	calls.lock_error = ENOLCK;
	assert_int_equal(hb_snapshot_run(&f.config), -ENOLCK);
	calls.lock_error = 0;
	snprintf(path, sizeof(path), "%s/" SNAPSHOT_FOLDER "/lock", f.directory);
	assert_int_equal(access(path, F_OK), 0);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_header_with_a_wrong_field_is_refused_although_its_checksum_is_right),
		cmocka_unit_test(
			a_section_with_a_wrong_field_is_refused_although_its_checksum_is_right),
		cmocka_unit_test(bytes_behind_a_section_are_found),
		cmocka_unit_test(a_state_that_is_too_small_says_which_options_to_raise),
		cmocka_unit_test(names_that_are_no_snapshots_are_not_listed),
		cmocka_unit_test(a_write_that_fails_anywhere_leaves_no_snapshot),
		cmocka_unit_test(a_section_that_ends_too_early_gives_no_bytes),
		cmocka_unit_test(a_folder_that_cannot_be_made_and_a_lock_that_is_held_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
