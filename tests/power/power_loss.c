/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD that makes the real hongbao-persist lose power: below the directory
 * HB_POWER_JOURNAL it writes down, in HB_POWER_LOG/log, what each write covers before it happens,
 * and what each sync made durable after it happened. Nothing is synced in truth. When all processes
 * have been killed, tests/e2e/power.py reads that log and takes back, sector by sector and name by
 * name, some of what no sync had covered.
 *
 * HB_POWER_SYNC=no does not write down syncs: that is a build whose syncs were taken out, as far as
 * a disk can see. In programs other than hongbao-persist the library does nothing. It belongs to
 * nobody; if the process dies between a record and its write, taking back changes nothing.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECORD_MAGIC 0x72777068u /* "hpwr" */
#define PATH_BYTES   512
#define PIECE_BYTES  (1u << 20)
#define FDS_MAX	     4096
#define SECTOR_BYTES 512u
#define SYNC_US	     5000 /* a sync takes as long as on a disk, so that the power goes in it */

enum record_kind {
	RECORD_WRITE = 1, /* of an inode: offset, length, the bytes before (none: zeros) */
	RECORD_SYNC,	  /* of an inode: offset, length; length 0: all of it */
	RECORD_CREATE,	  /* name */
	RECORD_RENAME,	  /* from, to, where what was at `to` is kept ("" = nothing was) */
	RECORD_UNLINK,	  /* name, where it is kept */
	RECORD_SYNC_NAMES /* of a folder: name */
};

/* As it lies in the log; the data follows. */
struct record {
	uint32_t magic;
	uint32_t kind;
	uint64_t inode;
	uint64_t offset;
	uint64_t length;
	uint64_t size; /* of the file before */
	uint32_t data_length;
	uint32_t reserved;
};

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_fsync)(int);

static bool active;
static bool syncs_count;
static int log_fd = -1;
static char journal[PATH_BYTES];
static char log_directory[PATH_BYTES];
static bool tracked[FDS_MAX];
static _Atomic uint32_t kept_count;

static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "power_loss: %s: %s\n", what, strerror(errno));
	abort();
}

static void *
next_of(const char *name)
{
	void *at = dlsym(RTLD_NEXT, name);

	must(at != NULL, name);
	return at;
}

/* Other libraries may call before us. */
static void
find_real(void)
{
	*(void **)&real_openat = next_of("openat64");
	*(void **)&real_close = next_of("close");
	*(void **)&real_pwrite = next_of("pwrite64");
	*(void **)&real_pwritev2 = next_of("pwritev64v2");
	*(void **)&real_fallocate = next_of("posix_fallocate64");
	*(void **)&real_renameat = next_of("renameat");
	*(void **)&real_unlinkat = next_of("unlinkat");
	*(void **)&real_fsync = next_of("fsync");
}

__attribute__((constructor(101))) static void
begin(void)
{
	char path[PATH_BYTES + 8], program[PATH_BYTES] = "";
	const char *directory = getenv("HB_POWER_JOURNAL"), *log = getenv("HB_POWER_LOG");
	const char *sync = getenv("HB_POWER_SYNC");

	find_real();
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) <= 0 ||
		strstr(program, "/hongbao-persist") == NULL || directory == NULL || log == NULL)
		return;
	snprintf(journal, sizeof(journal), "%s", directory);
	snprintf(log_directory, sizeof(log_directory), "%s", log);
	snprintf(path, sizeof(path), "%s/log", log_directory);
	log_fd = real_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	must(log_fd >= 0, path);
	syncs_count = sync == NULL || strcmp(sync, "no") != 0;
	active = true;
}

/* ---- the log ---- */

static void
put(struct record *record, const void *data, size_t length)
{
	struct iovec parts[2] = {{.iov_base = record, .iov_len = sizeof(*record)},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = length}};

	record->magic = RECORD_MAGIC;
	record->data_length = (uint32_t)length;
	must(writev(log_fd, parts, length == 0 ? 1 : 2) == (ssize_t)(sizeof(*record) + length),
		"the log");
}

static void
put_names(enum record_kind kind, const char *first, const char *second, const char *third)
{
	struct record record = {.kind = kind};
	char text[3 * PATH_BYTES];
	int length = snprintf(text, sizeof(text), "%s%c%s%c%s", first, 0, second, 0, third);

	put(&record, text, (size_t)length);
}

static bool
is_zero(const uint8_t *bytes, size_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* What lies where a write is going to be. */
static void
put_write(int fd, uint64_t offset, uint64_t length)
{
	static _Thread_local uint8_t bytes[PIECE_BYTES];
	char path[64];
	struct stat status;
	int reader;

	must(fstat(fd, &status) == 0, "fstat");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = real_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	must(reader >= 0, path);
	/* whole sectors, as they are lost whole */
	length = (offset + length + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
	offset = offset / SECTOR_BYTES * SECTOR_BYTES;
	length -= offset;
	while (length > 0) {
		uint64_t piece = length < PIECE_BYTES ? length : PIECE_BYTES;
		struct record record = {.kind = RECORD_WRITE,
			.inode = status.st_ino,
			.offset = offset,
			.length = piece,
			.size = (uint64_t)status.st_size};

		memset(bytes, 0, piece);
		must(pread(reader, bytes, piece, (off_t)offset) >= 0, "pread");
		put(&record, bytes, is_zero(bytes, piece) ? 0 : piece);
		offset += piece;
		length -= piece;
	}
	real_close(reader);
}

static void
put_sync(int fd, uint64_t offset, uint64_t length)
{
	struct record record = {.kind = RECORD_SYNC, .offset = offset, .length = length};
	struct stat status;

	must(fstat(fd, &status) == 0, "fstat");
	record.inode = status.st_ino;
	usleep(SYNC_US);
	if (syncs_count)
		put(&record, NULL, 0);
}

/* ---- names ---- */

static bool
is_below_journal(const char *path)
{
	size_t length = strlen(journal);

	return strncmp(path, journal, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool
path_of(int fd, char path[PATH_BYTES])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_BYTES - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	return true;
}

static void
full_path(char path[PATH_BYTES], int directory, const char *name)
{
	char folder[PATH_BYTES];

	if (name[0] == '/' || directory == AT_FDCWD || !path_of(directory, folder))
		snprintf(path, PATH_BYTES, "%s", name);
	else
		must(snprintf(path, PATH_BYTES, "%s/%s", folder, name) < PATH_BYTES, name);
}

static bool
exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

/* A second name, so that the file can come back. */
static void
keep(char kept[PATH_BYTES], const char *path)
{
	must(snprintf(kept, PATH_BYTES, "%.400s/kept-%d-%u", log_directory, (int)getpid(),
		     atomic_fetch_add(&kept_count, 1)) < PATH_BYTES,
		"a name");
	must(link(path, kept) == 0, kept);
}

static int
remove_name(int directory, const char *name, int flags)
{
	char path[PATH_BYTES], kept[PATH_BYTES];

	if (real_unlinkat == NULL)
		find_real();
	if (!active)
		return real_unlinkat(directory, name, flags);
	full_path(path, directory, name);
	if (is_below_journal(path) && exists(path)) {
		keep(kept, path);
		put_names(RECORD_UNLINK, path, kept, "");
	}
	return real_unlinkat(directory, name, flags);
}

static int
open_file(int directory, const char *name, int flags, mode_t mode)
{
	char path[PATH_BYTES];
	bool is_new = false;
	int fd;

	if (real_openat == NULL)
		find_real();
	if (!active)
		return real_openat(directory, name, flags, mode);
	full_path(path, directory, name);
	if (is_below_journal(path) && (flags & O_CREAT) != 0 && strstr(path, "/lock") == NULL) {
		/* made anew: the old content is another file */
		if ((flags & O_TRUNC) != 0 && exists(path))
			remove_name(directory, name, 0);
		is_new = !exists(path);
		if (is_new)
			put_names(RECORD_CREATE, path, "", "");
	}
	fd = real_openat(directory, name, flags, mode);
	if (fd >= 0 && fd < FDS_MAX)
		tracked[fd] = is_below_journal(path) && strstr(path, "/lock") == NULL;
	return fd;
}

int open64(const char *path, int flags, ...);
int openat64(int directory, const char *name, int flags, ...);

int
open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return open_file(AT_FDCWD, path, flags, mode);
}

int
openat64(int directory, const char *name, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return open_file(directory, name, flags, mode);
}

/* What the compiler makes of an open() without a mode. */
int __openat64_2(int directory, const char *name, int flags);
int __open64_2(const char *path, int flags);

int
__openat64_2(int directory, const char *name, int flags)
{
	return open_file(directory, name, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
	return open_file(AT_FDCWD, path, flags, 0);
}

int
close(int fd)
{
	if (real_close == NULL)
		find_real();
	if (fd >= 0 && fd < FDS_MAX)
		tracked[fd] = false;
	return real_close(fd);
}

int
renameat(int from_directory, const char *from, int to_directory, const char *to)
{
	char old[PATH_BYTES], new[PATH_BYTES], kept[PATH_BYTES] = "";

	if (real_renameat == NULL)
		find_real();
	if (!active)
		return real_renameat(from_directory, from, to_directory, to);
	full_path(old, from_directory, from);
	full_path(new, to_directory, to);
	if (is_below_journal(new)) {
		if (exists(new))
			keep(kept, new);
		put_names(RECORD_RENAME, old, new, kept);
	}
	return real_renameat(from_directory, from, to_directory, to);
}

int
rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int
unlinkat(int directory, const char *name, int flags)
{
	return remove_name(directory, name, flags);
}

int
unlink(const char *path)
{
	return remove_name(AT_FDCWD, path, 0);
}

/* ---- contents ---- */

static bool
is_tracked(int fd)
{
	return active && fd >= 0 && fd < FDS_MAX && tracked[fd];
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at);
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags);
int posix_fallocate64(int fd, off_t at, off_t length);

ssize_t
pwrite64(int fd, const void *bytes, size_t length, off_t at)
{
	if (real_pwrite == NULL)
		find_real();
	if (is_tracked(fd))
		put_write(fd, (uint64_t)at, length);
	return real_pwrite(fd, bytes, length, at);
}

ssize_t
pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
	uint64_t length = 0;
	ssize_t n;

	if (real_pwritev2 == NULL)
		find_real();
	if (!is_tracked(fd))
		return real_pwritev2(fd, parts, count, at, flags);
	for (int i = 0; i < count; i++)
		length += parts[i].iov_len;
	put_write(fd, (uint64_t)at, length);
	n = real_pwritev2(fd, parts, count, at, flags & ~(RWF_DSYNC | RWF_SYNC));
	if (n > 0 && (flags & (RWF_DSYNC | RWF_SYNC)) != 0)
		put_sync(fd, (uint64_t)at, (uint64_t)n);
	return n;
}

int
posix_fallocate64(int fd, off_t at, off_t length)
{
	if (real_fallocate == NULL)
		find_real();
	/* a longer file: its new part may be gone again */
	if (is_tracked(fd))
		put_write(fd, (uint64_t)at, 1);
	return real_fallocate(fd, at, length);
}

int
fsync(int fd)
{
	struct stat status;
	char path[PATH_BYTES];

	if (real_fsync == NULL)
		find_real();
	if (!active || !path_of(fd, path) || !is_below_journal(path))
		return real_fsync(fd);
	must(fstat(fd, &status) == 0, "fstat");
	if (!S_ISDIR(status.st_mode))
		put_sync(fd, 0, 0);
	else if (syncs_count)
		put_names(RECORD_SYNC_NAMES, path, "", "");
	return 0;
}
