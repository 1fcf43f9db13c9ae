/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call of the system fails once, in each way it can: what reads, packs, snapshots or opens a
 * journal then says so or does without, never dies, and what is on disk is as good as before. (A
 * write of a frame that fails ends the process: that is the simulator's.)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "persist/segment_list.h"
#include "persist/replay.h"
#include "persist/snapshot.h"
#include "tests/persist/kept_story.h"
#include "tests/shell.h"

enum way {
	FAILS,
	IS_INTERRUPTED,
	IS_SHORT,
	WAYS
};

/* Of this thread: the pool's thread of an open journal goes on undisturbed. */
static _Thread_local struct {
	bool armed, hit;
	uint64_t left; /* calls until the one that fails */
	enum way way;
} plan;

static bool
fails_now(enum way way)
{
	if (!plan.armed || plan.way != way)
		return false;
	if (--plan.left > 0)
		return false;
	plan.armed = false;
	plan.hit = true;
	return true;
}

#define WRAP(type, name, parameters, arguments, failed, error)                                     \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		if (fails_now(FAILS)) {                                                            \
			errno = (error);                                                           \
			return (failed);                                                           \
		}                                                                                  \
		return __real_##name arguments;                                                    \
	}

#define WRAP_MOVE(name, buffer_type)                                                               \
	ssize_t __real_##name(int fd, buffer_type bytes, size_t length, off_t offset);             \
	ssize_t __wrap_##name(int fd, buffer_type bytes, size_t length, off_t offset);             \
	ssize_t __wrap_##name(int fd, buffer_type bytes, size_t length, off_t offset)              \
	{                                                                                          \
		if (plan.way == IS_SHORT && fails_now(IS_SHORT))                                   \
			length /= 2;                                                               \
		else if (plan.way != IS_SHORT && fails_now(plan.way)) {                            \
			errno = plan.way == FAILS ? EIO : EINTR;                                   \
			return -1;                                                                 \
		}                                                                                  \
		return __real_##name(fd, bytes, length, offset);                                   \
	}

#define WRAP_OPEN(name, first, argument)                                                           \
	int __real_##name(first const char *path, int flags, ...);                                 \
	int __wrap_##name(first const char *path, int flags, ...);                                 \
	int __wrap_##name(first const char *path, int flags, ...)                                  \
	{                                                                                          \
		va_list more;                                                                      \
		mode_t mode;                                                                       \
		va_start(more, flags);                                                             \
		mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;                          \
		va_end(more);                                                                      \
		if (fails_now(FAILS)) {                                                            \
			errno = EMFILE;                                                            \
			return -1;                                                                 \
		}                                                                                  \
		return __real_##name(argument path, flags, mode);                                  \
	}

#define COMMA ,
WRAP(void *, malloc, (size_t bytes), (bytes), NULL, ENOMEM)
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL, ENOMEM)
WRAP(void *, aligned_alloc, (size_t align, size_t bytes), (align, bytes), NULL, ENOMEM)
WRAP(void *, reallocarray, (void *at, size_t count, size_t bytes), (at, count, bytes), NULL, ENOMEM)
WRAP(int, fsync, (int fd), (fd), -1, EIO)
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), -1, EIO)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EIO)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, EACCES)
WRAP(int, fstat64, (int fd, struct stat *status), (fd, status), -1, EIO)
WRAP(int, ftruncate64, (int fd, off_t length), (fd, length), -1, EIO)
WRAP(int, posix_fallocate64, (int fd, off_t from, off_t length), (fd, from, length), ENOSPC, 0)
WRAP(off_t, lseek64, (int fd, off_t to, int whence), (fd, to, whence), -1, EIO)
WRAP(int, flock, (int fd, int how), (fd, how), -1, EIO)
WRAP(DIR *, opendir, (const char *path), (path), NULL, EMFILE)
WRAP(DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM)
WRAP(ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL, 0)
WRAP(ZSTD_CCtx *, ZSTD_createCCtx, (void), (), NULL, 0)
WRAP(EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL, 0)
WRAP(EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX * where, const char *name, const char *properties),
	(where, name, properties), NULL, 0)
WRAP(ssize_t, getrandom, (void *bytes, size_t length, unsigned flags), (bytes, length, flags), -1,
	EIO)
WRAP_MOVE(pread64, void *)
WRAP_MOVE(pwrite64, const void *)
WRAP_OPEN(openat64, int folder COMMA, folder COMMA)
WRAP_OPEN(open64, , )

static struct fixture f;
/* Kept apart: the journal as the story left it; one with a segment that can be packed. */
static char whole[64], sealed[64];
static const char *template = whole;

static void
put_back(void)
{
	shell("rm -rf %s && cp -a %s %s", f.directory, template, f.directory);
}

static int
open_story(void **unused)
{
	FILE *nowhere = fopen("/dev/null", "we");

	(void)unused;
	fixture_begin(&f);
	kept_story(&f, nowhere);
	fclose(nowhere);
	fixture_close(&f);
	snprintf(whole, sizeof(whole), "%s/whole", f.root);
	shell("cp -a %s %s", f.directory, whole);
	assert_int_equal(fixture_open(&f), 0);
	memcpy(f.core_sequence, f.journal.ring_sequence, sizeof(f.core_sequence));
	while (f.journal.segment_number < 2)
		fixture_frame(&f, 600);
	fixture_close(&f);
	snprintf(sealed, sizeof(sealed), "%s/sealed", f.root);
	shell("cp -a %s %s", f.directory, sealed);
	return 0;
}

static int
close_story(void **unused)
{
	(void)unused;
	fixture_end(&f);
	return 0;
}

/* ---- what is done while a call fails: 0 or -errno ---- */

static int
read_all(void)
{
	uint64_t records;

	return fixture_read(&f, &records);
}

static int
open_and_close(void)
{
	int rc = fixture_open(&f);

	plan.armed = false;
	fixture_close(&f);
	return rc;
}

static int
open_new(void)
{
	bool armed = plan.armed;
	int rc;

	plan.armed = false;
	shell("rm -rf %s", f.directory);
	plan.armed = armed;
	rc = fixture_open(&f);
	plan.armed = false;
	fixture_close(&f);
	return rc;
}

static int
snapshot(void)
{
	return hb_snapshot_run(&f.config);
}

static int
rebuild(void)
{
	struct hb_capacity capacity = hb_capacity_from_config(&f.config);
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	struct hb_state state;
	uint8_t stream_id[16];
	bool armed = plan.armed;
	int rc;

	plan.armed = false;
	fixture_peek(&f, HB_JOURNAL_SUPERBLOCK_FILE, offsetof(struct hb_superblock, stream_id),
		stream_id, 16);
	assert_int_equal(hb_state_create(&state, &capacity, KEPT_NODE), 0);
	plan.armed = armed;
	rc = hb_state_rebuild(
		f.directory, UINT64_MAX, stream_id, &state, 0, &header, &result, f.error);
	plan.armed = false;
	hb_state_close(&state);
	return rc;
}

static void
look(void *visitor, const struct hb_packet *packet)
{
	*(int64_t *)visitor += packet->total_fen;
}

static int
visit(void)
{
	uint64_t seqs[HB_SNAPSHOTS_MAX];
	uint8_t stream_id[16];
	bool armed = plan.armed;
	int64_t sum = 0;
	int rc;

	plan.armed = false;
	fixture_peek(&f, HB_JOURNAL_SUPERBLOCK_FILE, offsetof(struct hb_superblock, stream_id),
		stream_id, 16);
	plan.armed = armed;
	rc = hb_snapshot_list(f.directory, seqs);
	if (rc <= 0)
		return rc < 0 ? rc : -ENOENT;
	return hb_snapshot_visit_packets(f.directory, seqs[0], stream_id, look, &sum, f.error);
}

static int
pack(void)
{
	bool armed = plan.armed;
	int rc;

	plan.armed = false;
	assert_int_equal(fixture_open(&f), 0);
	plan.armed = armed;
	rc = hb_pack_segment(&f.journal, 1, f.error);
	plan.armed = false;
	fixture_close(&f);
	return rc;
}

/* Let call 1, 2, 3 … fail, until nothing is left that could. @return how many of them were felt */
static uint32_t
each_call(int (*what)(void), enum way way, bool changes)
{
	uint32_t felt = 0;

	for (uint64_t n = 1;; n++) {
		int rc;

		if (changes)
			put_back();
		plan.hit = false;
		plan.way = way;
		plan.left = n;
		plan.armed = true;
		rc = what();
		plan.armed = false;
		if (!plan.hit) {
			assert_int_equal(rc, 0);
			return felt;
		}
		assert_true(rc <= 0);
		felt += rc < 0;
	}
}

/* And afterwards the same without a failure goes well. */
static void
in_each_way(int (*what)(void), bool changes)
{
	put_back();
	assert_int_equal(what(), 0);
	for (enum way way = FAILS; way < WAYS; way++) {
		uint32_t felt = each_call(what, way, changes);

		print_message("way %d: %u felt\n", (int)way, felt);
		if (way == FAILS)
			assert_true(felt > 0);
	}
	if (changes)
		put_back();
	assert_int_equal(what(), 0);
}

static void
test_reading_says_so(void **unused)
{
	(void)unused;
	in_each_way(read_all, false);
}

static void
test_opening_says_so_and_opens_the_next_time(void **unused)
{
	(void)unused;
	in_each_way(open_and_close, true);
}

static void
test_making_a_journal_says_so(void **unused)
{
	(void)unused;
	in_each_way(open_new, true);
}

static void
test_a_snapshot_is_whole_or_not_there(void **unused)
{
	(void)unused;
	in_each_way(snapshot, true);
}

static void
test_rebuilding_says_so(void **unused)
{
	(void)unused;
	in_each_way(rebuild, false);
}

static void
test_visiting_packets_says_so(void **unused)
{
	(void)unused;
	in_each_way(visit, false);
}

static void
test_packing_leaves_the_raw_segment(void **unused)
{
	(void)unused;
	template = sealed;
	in_each_way(pack, true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_says_so),
		cmocka_unit_test(test_opening_says_so_and_opens_the_next_time),
		cmocka_unit_test(test_making_a_journal_says_so),
		cmocka_unit_test(test_a_snapshot_is_whole_or_not_there),
		cmocka_unit_test(test_rebuilding_says_so),
		cmocka_unit_test(test_visiting_packets_says_so),
		cmocka_unit_test(test_packing_leaves_the_raw_segment),
	};

	return cmocka_run_group_tests(tests, open_story, close_story);
}
