/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk: tests/sim/disk.h. Contents are kept in blocks of 4 KiB, NULL for zeros, so
 * that prepared segments cost nothing.
 */
#include "tests/sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "persist/journal_format.h"
#include "persist/journal_frame.h"
#include "tests/sim/wrapped.h"

#define ROOT_PATH    "/sim"
#define BLOCK_BYTES  4096u
#define SECTOR_BYTES 512u
#define SECTORS	     (BLOCK_BYTES / SECTOR_BYTES)
#define BLOCKS_MAX   512u /* of a file: 2 MiB */
#define FILES_MAX    512
#define NAMES_MAX    64
#define NAME_BYTES   64
#define CHANGES_MAX  256
#define FDS_MAX	     64
#define FD_FIRST     (1 << 20)
#define LISTS_MAX    8
/* Segments are shorter than the product makes them, so that a seed fills several. */
#define SEGMENT_BYTES_MAX (72u * BLOCK_BYTES)

struct block {
	uint8_t *now;	  /* as processes see it; NULL: zeros */
	uint8_t *durable; /* NULL: zeros */
	uint8_t unsynced; /* bit per sector */
};

struct file {
	struct block *blocks; /* BLOCKS_MAX */
	uint64_t bytes;
	uint64_t bytes_durable;
	uint64_t bytes_max; /* what is written behind is dropped */
	uint32_t block_end; /* blocks behind were never touched */
};

struct name {
	char text[NAME_BYTES]; /* below ROOT_PATH, with a slash in front; "" = free */
	int file;	       /* -1: a folder */
};

/* A change of names that is not synced: made (from = ""), moved, or removed (to = ""). */
struct change {
	char from[NAME_BYTES];
	char to[NAME_BYTES];
	int file;
};

struct descriptor {
	enum sim_process owner; /* SIM_NOBODY: free */
	int file;		/* -1: a folder */
	bool direct;
	char name[NAME_BYTES];
};

struct list {
	bool open;
	int fd;
	uint32_t next;
	struct dirent64 entry;
};

struct sim_disk_plan disk_plan;

static struct {
	struct file files[FILES_MAX];
	int file_count;
	struct name now[NAMES_MAX];
	struct name durable[NAMES_MAX];
	struct change changes[CHANGES_MAX];
	uint32_t change_count;
	struct descriptor fds[FDS_MAX];
	struct list lists[LISTS_MAX];
	int newest_file; /* where the newest durable frame lies */
	uint64_t newest_offset;
	uint64_t next_seq; /* of the frame that is durable next */
	void (*during_write)(bool slow);
	sim_durable_fn *durable_record;
} disk;

static uint8_t *spare_blocks; /* free blocks, linked by their first bytes */
static struct block *spare_tables[FILES_MAX];
static uint32_t spare_table_count;

static uint8_t *
block_take(void)
{
	uint8_t *block = spare_blocks;

	if (block == NULL) {
		block = __real_malloc(BLOCK_BYTES);
		HB_ASSERT(block != NULL);
	} else {
		memcpy(&spare_blocks, block, sizeof(spare_blocks));
	}
	memset(block, 0, BLOCK_BYTES);
	return block;
}

static void
block_give(uint8_t *block)
{
	if (block == NULL)
		return;
	memcpy(block, &spare_blocks, sizeof(spare_blocks));
	spare_blocks = block;
}

/* ---- names ---- */

static struct name *
find_in(struct name table[NAMES_MAX], const char *text)
{
	for (uint32_t i = 0; i < NAMES_MAX; i++)
		if (table[i].text[0] != '\0' && strcmp(table[i].text, text) == 0)
			return &table[i];
	return NULL;
}

static void
put_in(struct name table[NAMES_MAX], const char *text, int file)
{
	struct name *at = find_in(table, text);

	for (uint32_t i = 0; at == NULL && i < NAMES_MAX; i++)
		if (table[i].text[0] == '\0')
			at = &table[i];
	HB_ASSERT(at != NULL);
	memcpy(at->text, text, strlen(text) + 1);
	at->file = file;
}

static void
remove_in(struct name table[NAMES_MAX], const char *text)
{
	struct name *at = find_in(table, text);

	if (at != NULL)
		at->text[0] = '\0';
}

static void
apply_change(struct name table[NAMES_MAX], const struct change *change)
{
	if (change->from[0] != '\0')
		remove_in(table, change->from);
	if (change->to[0] != '\0')
		put_in(table, change->to, change->file);
}

static void
change_names(const char *from, const char *to, int file)
{
	struct change *change = &disk.changes[disk.change_count];

	HB_ASSERT(disk.change_count < CHANGES_MAX);
	disk.change_count++;
	*change = (struct change){.file = file};
	memcpy(change->from, from, strlen(from) + 1);
	memcpy(change->to, to, strlen(to) + 1);
	apply_change(disk.now, change);
}

static bool
in_folder(const char *name, const char *folder)
{
	size_t length = strlen(folder);

	return strncmp(name, folder, length) == 0 && name[length] == '/' &&
	       strchr(name + length + 1, '/') == NULL;
}

static void
sync_folder(const char *folder)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < disk.change_count; i++) {
		const struct change *change = &disk.changes[i];

		if (in_folder(change->to[0] != '\0' ? change->to : change->from, folder))
			apply_change(disk.durable, change);
		else
			disk.changes[kept++] = *change;
	}
	disk.change_count = kept;
}

/* ---- contents ---- */

static int
file_make(const char *name)
{
	int number = disk.file_count++;
	struct file *file = &disk.files[number];

	HB_ASSERT(number < FILES_MAX);
	memset(file, 0, sizeof(*file));
	if (spare_table_count > 0)
		file->blocks = spare_tables[--spare_table_count];
	else
		file->blocks = __real_calloc(BLOCKS_MAX, sizeof(*file->blocks));
	HB_ASSERT(file->blocks != NULL);
	file->bytes_max = strstr(name, "/segment-") != NULL ? SEGMENT_BYTES_MAX
							    : (uint64_t)BLOCKS_MAX * BLOCK_BYTES;
	return number;
}

static void
file_empty(struct file *file)
{
	for (uint32_t i = 0; i < file->block_end; i++) {
		struct block *block = &file->blocks[i];

		block_give(block->now);
		block_give(block->durable);
		*block = (struct block){0};
	}
	file->block_end = 0;
}

/* A piece inside one sector. */
static void
write_piece(struct file *file, uint64_t at, const uint8_t *from, uint32_t length)
{
	struct block *block = &file->blocks[at / BLOCK_BYTES];
	uint32_t inside = (uint32_t)(at % BLOCK_BYTES);

	if (block->now == NULL && hb_is_zero(from, length))
		return;
	if (block->now == NULL)
		block->now = block_take();
	memcpy(block->now + inside, from, length);
	block->unsynced |= (uint8_t)(1u << (inside / SECTOR_BYTES));
}

static void
write_bytes(struct file *file, uint64_t at, const uint8_t *from, uint64_t length)
{
	uint64_t end = at + length < file->bytes_max ? at + length : file->bytes_max;
	uint32_t last = (uint32_t)((end + BLOCK_BYTES - 1) / BLOCK_BYTES);

	if (at >= end)
		return;
	length = end - at;
	if (end > file->bytes)
		file->bytes = end;
	if (last > file->block_end)
		file->block_end = last;
	while (length > 0) {
		struct block *block = &file->blocks[at / BLOCK_BYTES];
		uint32_t step = SECTOR_BYTES - (uint32_t)(at % SECTOR_BYTES);

		/* the usual case, fast: zeros over zeros, a block at a time */
		if (block->now == NULL && at % BLOCK_BYTES == 0 && length >= BLOCK_BYTES &&
			hb_is_zero(from, BLOCK_BYTES)) {
			at += BLOCK_BYTES;
			from += BLOCK_BYTES;
			length -= BLOCK_BYTES;
			continue;
		}
		if (step > length)
			step = (uint32_t)length;
		write_piece(file, at, from, step);
		at += step;
		from += step;
		length -= step;
	}
}

static void
sync_block(struct block *block)
{
	if (block->unsynced == 0)
		return;
	if (block->durable == NULL)
		block->durable = block_take();
	for (uint32_t i = 0; i < SECTORS; i++)
		if ((block->unsynced & (1u << i)) != 0)
			memcpy(block->durable + i * SECTOR_BYTES, block->now + i * SECTOR_BYTES,
				SECTOR_BYTES);
	block->unsynced = 0;
}

static void
sync_range(struct file *file, uint64_t at, uint64_t length)
{
	uint64_t end = (at + length + BLOCK_BYTES - 1) / BLOCK_BYTES;

	for (uint64_t i = at / BLOCK_BYTES; i < end && i < file->block_end; i++)
		sync_block(&file->blocks[i]);
	file->bytes_durable = file->bytes;
}

/* ---- faults ---- */

void
sim_disk_reset(void (*during_write)(bool slow), sim_durable_fn *durable)
{
	for (int i = 0; i < disk.file_count; i++) {
		file_empty(&disk.files[i]);
		spare_tables[spare_table_count++] = disk.files[i].blocks;
	}
	memset(&disk, 0, sizeof(disk));
	memset(&disk_plan, 0, sizeof(disk_plan));
	disk.newest_file = -1;
	disk.next_seq = 1;
	disk.during_write = during_write;
	disk.durable_record = durable;
}

void
sim_disk_process_died(enum sim_process process)
{
	for (uint32_t i = 0; i < FDS_MAX; i++)
		if (disk.fds[i].owner == process)
			disk.fds[i].owner = SIM_NOBODY;
	for (uint32_t i = 0; i < LISTS_MAX; i++)
		disk.lists[i].open = false;
}

/* One sector at a loss of power. */
static void
decide_sector(struct block *block, uint32_t sector)
{
	uint8_t *durable = block->durable + sector * SECTOR_BYTES;
	uint32_t torn_at = (uint32_t)sim_below(SECTOR_BYTES / 8) * 8;
	uint8_t *now = block->now + sector * SECTOR_BYTES;

	if (memcmp(durable, now, SECTOR_BYTES) == 0)
		return;
	switch (sim_below(5)) {
	case 0:
	case 1:
		memcpy(durable, now, SECTOR_BYTES);
		return;
	case 2:
		sim_count(SIM_SECTOR_TORN);
		memcpy(durable, now, torn_at);
		return;
	default:
		sim_count(SIM_SECTOR_LOST);
	}
}

void
sim_disk_power_loss(void)
{
	uint32_t keep = disk.change_count == 0 ? 0 : (uint32_t)sim_below(disk.change_count + 1);

	for (uint32_t i = 0; i < keep; i++)
		apply_change(disk.durable, &disk.changes[i]);
	if (keep < disk.change_count)
		sim_count(SIM_NAME_LOST);
	disk.change_count = 0;
	memcpy(disk.now, disk.durable, sizeof(disk.now));
	for (int f = 0; f < disk.file_count; f++) {
		struct file *file = &disk.files[f];

		if (file->bytes != file->bytes_durable && sim_chance(500))
			file->bytes = file->bytes_durable;
		file->bytes_durable = file->bytes;
		for (uint32_t i = 0; i < file->block_end; i++) {
			struct block *block = &file->blocks[i];

			if (block->unsynced == 0)
				continue;
			if (block->durable == NULL)
				block->durable = block_take();
			for (uint32_t s = 0; s < SECTORS; s++)
				if ((block->unsynced & (1u << s)) != 0)
					decide_sector(block, s);
			block->unsynced = 0;
			memcpy(block->now, block->durable, BLOCK_BYTES);
		}
	}
	for (uint32_t i = 0; i < FDS_MAX; i++)
		disk.fds[i].owner = SIM_NOBODY;
}

bool
sim_disk_rot(void)
{
	for (uint32_t attempt = 0; attempt < 200; attempt++) {
		const struct name *name = &disk.now[sim_below(NAMES_MAX)];
		struct file *file;
		struct block *block;
		uint64_t number;
		uint32_t bit;

		if (name->text[0] == '\0' || name->file < 0 || strstr(name->text, "lock") != NULL)
			continue;
		file = &disk.files[name->file];
		if (file->block_end == 0)
			continue;
		number = sim_below(file->block_end);
		block = &file->blocks[number];
		if (block->durable == NULL || block->now == NULL || block->unsynced != 0)
			continue;
		if (name->file == disk.newest_file && number * BLOCK_BYTES >= disk.newest_offset)
			continue;
		bit = (uint32_t)sim_below(BLOCK_BYTES * 8);
		block->durable[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		block->now[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		sim_count(SIM_ROT);
		sim_note("rot: %s block %llu bit %u", name->text, (unsigned long long)number, bit);
		return true;
	}
	return false;
}

static bool
is_mortal(void)
{
	return machine.running == SIM_PERSIST || machine.running == SIM_SNAPSHOT;
}

/* One step of the disk; the process may die before it. */
static bool
death_is_due(void)
{
	if (!is_mortal() || disk_plan.death_in == 0)
		return false;
	return --disk_plan.death_in == 0;
}

static _Noreturn void
die(void)
{
	machine.power_lost = disk_plan.death_is_power;
	sim_die();
}

static void
step(void)
{
	if (death_is_due())
		die();
}

/* A random part of a write, sector by sector. */
static void
write_partly(struct file *file, uint64_t at, const uint8_t *from, uint64_t length)
{
	uint32_t per_thousand = (uint32_t)sim_below(1001);

	while (length > 0) {
		uint64_t piece = SECTOR_BYTES - at % SECTOR_BYTES;

		if (piece > length)
			piece = length;
		if (sim_chance(per_thousand))
			write_bytes(file, at, from, piece);
		at += piece;
		from += piece;
		length -= piece;
	}
}

/* ---- what is durable ---- */

static void
tell_records(int file, uint64_t at, const struct hb_journal_frame *frame)
{
	const uint8_t *record = (const uint8_t *)frame + HB_JOURNAL_FRAME_HEADER_BYTES;

	disk.newest_file = file;
	disk.newest_offset = at;
	disk.next_seq = frame->first_seq + frame->record_count;
	for (uint32_t i = 0; i < frame->record_count; i++) {
		disk.durable_record(record);
		record += ((const struct hb_record *)(const void *)record)->length;
	}
}

static void
copy_durable(const struct file *file, uint64_t at, uint8_t *to, uint64_t length)
{
	for (; length > 0; at += BLOCK_BYTES, to += BLOCK_BYTES, length -= BLOCK_BYTES) {
		const uint8_t *from = file->blocks[at / BLOCK_BYTES].durable;

		if (from == NULL)
			memset(to, 0, BLOCK_BYTES);
		else
			memcpy(to, from, BLOCK_BYTES);
	}
}

/*
 * Frames that a write left behind when its process died become durable when recovery syncs their
 * file: they are told then.
 */
static void
tell_file(int number)
{
	static _Alignas(8) uint8_t bytes[HB_JOURNAL_FRAME_BYTES_MAX];
	const struct hb_journal_frame *frame = (const void *)bytes;
	const struct file *file = &disk.files[number];

	for (uint32_t i = 0; i < file->block_end; i++) {
		if (file->blocks[i].durable == NULL)
			continue;
		memcpy(bytes, file->blocks[i].durable, sizeof(*frame));
		if (frame->magic != HB_JOURNAL_FRAME_MAGIC || frame->first_seq != disk.next_seq ||
			frame->frame_length > sizeof(bytes) ||
			(uint64_t)i * BLOCK_BYTES + frame->frame_length > file->bytes_durable)
			continue;
		copy_durable(file, (uint64_t)i * BLOCK_BYTES, bytes, frame->frame_length);
		if (hb_crc32c(bytes + sizeof(*frame), frame->payload_length) == frame->payload_crc)
			tell_records(number, (uint64_t)i * BLOCK_BYTES, frame);
	}
}

/* ---- descriptors ---- */

static struct descriptor *
descriptor(int fd)
{
	if (fd < FD_FIRST || fd >= FD_FIRST + FDS_MAX)
		return NULL;
	HB_ASSERT(disk.fds[fd - FD_FIRST].owner != SIM_NOBODY);
	return &disk.fds[fd - FD_FIRST];
}

static struct file *
file_of(int fd)
{
	const struct descriptor *d = descriptor(fd);

	HB_ASSERT(d != NULL && d->file >= 0);
	return &disk.files[d->file];
}

static bool
is_ours(int fd)
{
	return fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX;
}

static bool
path_is_ours(const char *path)
{
	return strncmp(path, ROOT_PATH "/", sizeof(ROOT_PATH)) == 0;
}

static void
name_at(char out[NAME_BYTES], int directory, const char *name)
{
	if (strcmp(name, ".") == 0)
		snprintf(out, NAME_BYTES, "%s", descriptor(directory)->name);
	else
		HB_ASSERT(snprintf(out, NAME_BYTES, "%s/%s", descriptor(directory)->name, name) <
			  NAME_BYTES);
}

static int
failed(int error_number)
{
	errno = error_number;
	return -1;
}

static int
open_name(const char *name, int flags)
{
	struct name *at = find_in(disk.now, name);
	int file = -1, fd = 0;

	if (at == NULL && (flags & O_CREAT) == 0)
		return failed(ENOENT);
	if (at == NULL || (flags & O_TRUNC) != 0)
		step();
	if (at == NULL) {
		file = file_make(name);
		change_names("", name, file);
	} else {
		file = at->file;
	}
	if ((flags & O_TRUNC) != 0 && file >= 0 && at != NULL) {
		/* made anew: the old content is not there again after a loss of power */
		file = file_make(name);
		change_names("", name, file);
	}
	while (fd < FDS_MAX && disk.fds[fd].owner != SIM_NOBODY)
		fd++;
	HB_ASSERT(fd < FDS_MAX && machine.running != SIM_NOBODY);
	disk.fds[fd] = (struct descriptor){
		.owner = machine.running, .file = file, .direct = (flags & O_DIRECT) != 0};
	memcpy(disk.fds[fd].name, name, strlen(name) + 1);
	return FD_FIRST + fd;
}

int
__wrap_openat64(int directory, const char *name, int flags, ...)
{
	char full[NAME_BYTES];
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	if (!is_ours(directory))
		return __real_openat64(directory, name, flags, mode);
	name_at(full, directory, name);
	return open_name(full, flags);
}

int
__wrap___openat64_2(int directory, const char *name, int flags)
{
	return __wrap_openat64(directory, name, flags);
}

int
__wrap_open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	if (!path_is_ours(path))
		return __real_open64(path, flags, mode);
	return open_name(path + sizeof(ROOT_PATH) - 1, flags);
}

int
__wrap_close(int fd)
{
	if (sim_segment_is_kept(fd))
		return 0;
	if (!is_ours(fd))
		return __real_close(fd);
	descriptor(fd)->owner = SIM_NOBODY;
	return 0;
}

/* ---- reading and writing ---- */

/* Wrong bytes for one sector of what was read; never of the newest frame. */
static void
spoil(int fd, uint8_t *bytes, size_t length, uint64_t at)
{
	const struct descriptor *d = descriptor(fd);
	uint64_t sector = sim_below((length + SECTOR_BYTES - 1) / SECTOR_BYTES);
	uint64_t from = sector * SECTOR_BYTES;
	uint64_t count = length - from < SECTOR_BYTES ? length - from : SECTOR_BYTES;

	if (d->file == disk.newest_file && at + from + count > disk.newest_offset)
		return;
	disk_plan.bad_reads--;
	if (disk_plan.bad_reads_stale) {
		sim_count(SIM_STALE_READ);
		memset(bytes + from, 0, count);
		return;
	}
	sim_count(SIM_MISDIRECTED_READ);
	memmove(bytes + from, bytes + sim_below(length - count + 1), count);
}

ssize_t
__wrap_pread64(int fd, void *bytes, size_t length, off_t offset)
{
	uint8_t *to = bytes;
	uint64_t at = (uint64_t)offset;
	const struct file *file;
	size_t left;

	if (!is_ours(fd))
		return __real_pread64(fd, bytes, length, offset);
	file = file_of(fd);
	if (descriptor(fd)->direct && (at % SECTOR_BYTES != 0 || length % SECTOR_BYTES != 0 ||
					      (uintptr_t)bytes % SECTOR_BYTES != 0))
		return failed(EINVAL);
	if (disk_plan.read_errors > 0 && sim_chance(50)) {
		disk_plan.read_errors--;
		sim_count(SIM_READ_ERROR);
		return failed(EIO);
	}
	if (at >= file->bytes)
		return 0;
	if (length > file->bytes - at)
		length = file->bytes - at;
	for (left = length; left > 0;) {
		const struct block *block = &file->blocks[at / BLOCK_BYTES];
		size_t piece = BLOCK_BYTES - at % BLOCK_BYTES;

		if (piece > left)
			piece = left;
		if (block->now == NULL)
			memset(to, 0, piece);
		else
			memcpy(to, block->now + at % BLOCK_BYTES, piece);
		to += piece;
		at += piece;
		left -= piece;
	}
	if (disk_plan.bad_reads > 0 && length > 0 && sim_chance(100))
		spoil(fd, bytes, length, (uint64_t)offset);
	return (ssize_t)length;
}

ssize_t
__wrap_pwrite64(int fd, const void *bytes, size_t length, off_t at)
{
	if (!is_ours(fd))
		return __real_pwrite64(fd, bytes, length, at);
	if (death_is_due()) {
		write_partly(file_of(fd), (uint64_t)at, bytes, length);
		die();
	}
	write_bytes(file_of(fd), (uint64_t)at, bytes, length);
	return (ssize_t)length;
}

ssize_t
__wrap_pwritev64v2(int fd, const struct iovec *part, int count, off_t offset, int flags)
{
	uint64_t at = (uint64_t)offset;
	const uint8_t *bytes = part->iov_base;
	struct descriptor *d = descriptor(fd);
	bool slow = false;

	if (d == NULL)
		return __real_pwritev64v2(fd, part, count, offset, flags);
	HB_ASSERT(count == 1);
	if (d->direct && (at % SECTOR_BYTES != 0 || part->iov_len % SECTOR_BYTES != 0 ||
				 (uintptr_t)bytes % SECTOR_BYTES != 0))
		return failed(EINVAL);
	if (disk_plan.slow_writes > 0) {
		disk_plan.slow_writes--;
		sim_count(SIM_SLOW_WRITE);
		slow = true;
	}
	disk.during_write(slow);
	if (death_is_due()) {
		write_partly(file_of(fd), at, bytes, part->iov_len);
		die();
	}
	if (disk_plan.write_error_in > 0 && --disk_plan.write_error_in == 0) {
		write_partly(file_of(fd), at, bytes, part->iov_len);
		machine.abort_expected = true;
		if (sim_below(2) == 0) {
			sim_count(SIM_SHORT_WRITE);
			return (ssize_t)(part->iov_len / 2);
		}
		sim_count(SIM_WRITE_ERROR);
		return failed(EIO);
	}
	write_bytes(file_of(fd), at, bytes, part->iov_len);
	if ((flags & RWF_DSYNC) != 0) {
		sync_range(file_of(fd), at, part->iov_len);
		if (part->iov_len >= BLOCK_BYTES &&
			((const struct hb_journal_frame *)(const void *)bytes)->magic ==
				HB_JOURNAL_FRAME_MAGIC)
			tell_records(d->file, at, (const void *)bytes);
	}
	step();
	return (ssize_t)part->iov_len;
}

int
__wrap_fsync(int fd)
{
	const struct descriptor *d = descriptor(fd);

	if (d == NULL)
		return __real_fsync(fd);
	step();
	if (d->file < 0)
		sync_folder(d->name);
	else
		sync_range(file_of(fd), 0, (uint64_t)BLOCKS_MAX * BLOCK_BYTES);
	if (d->file >= 0 && strstr(d->name, "/segment-") != NULL)
		tell_file(d->file);
	step();
	return 0;
}

/* ---- names ---- */

static int
move(const char *from, const char *to)
{
	const struct name *at = find_in(disk.now, from);

	if (at == NULL)
		return failed(ENOENT);
	step();
	change_names(from, to, at->file);
	step();
	return 0;
}

int
__wrap_renameat(int from_directory, const char *from, int to_directory, const char *to)
{
	char old[NAME_BYTES], new[NAME_BYTES];

	if (!is_ours(from_directory))
		return __real_renameat(from_directory, from, to_directory, to);
	name_at(old, from_directory, from);
	name_at(new, to_directory, to);
	return move(old, new);
}

int
__wrap_rename(const char *from, const char *to)
{
	if (!path_is_ours(from))
		return __real_rename(from, to);
	return move(from + sizeof(ROOT_PATH) - 1, to + sizeof(ROOT_PATH) - 1);
}

static int
take_away(const char *name)
{
	if (find_in(disk.now, name) == NULL)
		return failed(ENOENT);
	step();
	change_names(name, "", -1);
	return 0;
}

int
__wrap_unlinkat(int directory, const char *name, int flags)
{
	char full[NAME_BYTES];

	if (!is_ours(directory))
		return __real_unlinkat(directory, name, flags);
	name_at(full, directory, name);
	return take_away(full);
}

int
__wrap_unlink(const char *path)
{
	if (!path_is_ours(path))
		return __real_unlink(path);
	return take_away(path + sizeof(ROOT_PATH) - 1);
}

/* Folders are there at once and for good: files in them are what matters. */
int
__wrap_mkdir(const char *path, mode_t mode)
{
	const char *name = path + sizeof(ROOT_PATH) - 1;

	if (!path_is_ours(path))
		return __real_mkdir(path, mode);
	if (find_in(disk.now, name) != NULL)
		return failed(EEXIST);
	put_in(disk.now, name, -1);
	put_in(disk.durable, name, -1);
	return 0;
}

static void
fill_status(struct stat64 *status, int file)
{
	memset(status, 0, sizeof(*status));
	status->st_mode = file < 0 ? S_IFDIR | 0700 : S_IFREG | 0600;
	if (file >= 0) {
		status->st_size = (off_t)disk.files[file].bytes;
		status->st_blocks = status->st_size / SECTOR_BYTES;
	}
}

int
__wrap_fstat64(int fd, struct stat64 *status)
{
	if (!is_ours(fd))
		return __real_fstat64(fd, status);
	fill_status(status, descriptor(fd)->file);
	return 0;
}

int
__wrap_fstatat64(int directory, const char *name, struct stat64 *status, int flags)
{
	char full[NAME_BYTES];
	const struct name *at;

	if (!is_ours(directory))
		return __real_fstatat64(directory, name, status, flags);
	name_at(full, directory, name);
	at = find_in(disk.now, full);
	if (at == NULL)
		return failed(ENOENT);
	fill_status(status, at->file);
	return 0;
}

int
__wrap_fstatvfs64(int fd, struct statvfs64 *volume)
{
	if (!is_ours(fd))
		return __real_fstatvfs64(fd, volume);
	memset(volume, 0, sizeof(*volume));
	volume->f_frsize = BLOCK_BYTES;
	volume->f_blocks = 1 << 20;
	volume->f_bfree = volume->f_bavail = disk_plan.no_space > 0 ? 1 << 17 : 1 << 19;
	return 0;
}

off_t
__wrap_lseek64(int fd, off_t at, int whence)
{
	if (!is_ours(fd))
		return __real_lseek64(fd, at, whence);
	HB_ASSERT(at == 0 && whence == SEEK_END);
	return (off_t)file_of(fd)->bytes;
}

int
__wrap_posix_fallocate64(int fd, off_t at, off_t length)
{
	uint64_t end;

	if (!is_ours(fd))
		return __real_posix_fallocate64(fd, at, length);
	step();
	if (disk_plan.no_space > 0) {
		disk_plan.no_space--;
		sim_count(SIM_NO_SPACE);
		return ENOSPC;
	}
	end = (uint64_t)(at + length);
	if (end > file_of(fd)->bytes_max)
		end = file_of(fd)->bytes_max;
	if (end > file_of(fd)->bytes)
		file_of(fd)->bytes = end;
	return 0;
}

int
__wrap_posix_fadvise64(int fd, off_t at, off_t length, int advice)
{
	return is_ours(fd) ? 0 : __real_posix_fadvise64(fd, at, length, advice);
}

int
__wrap_ftruncate64(int fd, off_t length)
{
	if (!is_ours(fd))
		return __real_ftruncate64(fd, length);
	HB_ASSERT(length == 0); /* the text of the lock file */
	file_of(fd)->bytes = 0;
	return 0;
}

/* Locks hold as long as their process: the simulator starts one of each kind. */
int
__wrap_flock(int fd, int operation)
{
	return is_ours(fd) ? 0 : __real_flock(fd, operation);
}

int
__wrap_fcntl64(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return is_ours(fd) ? 0 : __real_fcntl64(fd, command, argument);
}

/* ---- lists of names ---- */

static struct list *
list_of(DIR *directory)
{
	uintptr_t at = (uintptr_t)directory, first = (uintptr_t)disk.lists;

	return at >= first && at < first + sizeof(disk.lists) ? (struct list *)at : NULL;
}

DIR *
__wrap_fdopendir(int fd)
{
	if (!is_ours(fd))
		return __real_fdopendir(fd);
	for (uint32_t i = 0; i < LISTS_MAX; i++) {
		if (disk.lists[i].open)
			continue;
		disk.lists[i] = (struct list){.open = true, .fd = fd};
		return (DIR *)(void *)&disk.lists[i];
	}
	sim_violation("the simulator has no room for one more open folder");
}

DIR *
__wrap_opendir(const char *path)
{
	int fd;

	if (!path_is_ours(path))
		return __real_opendir(path);
	fd = __wrap_open64(path, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? NULL : __wrap_fdopendir(fd);
}

struct dirent64 *
__wrap_readdir64(DIR *directory)
{
	struct list *list = list_of(directory);
	const char *folder;

	if (list == NULL)
		return __real_readdir64(directory);
	folder = descriptor(list->fd)->name;
	while (list->next < NAMES_MAX) {
		const struct name *name = &disk.now[list->next++];

		if (name->text[0] == '\0' || !in_folder(name->text, folder))
			continue;
		snprintf(list->entry.d_name, sizeof(list->entry.d_name), "%s",
			name->text + strlen(folder) + 1);
		return &list->entry;
	}
	return NULL;
}

int
__wrap_closedir(DIR *directory)
{
	struct list *list = list_of(directory);

	if (list == NULL)
		return __real_closedir(directory);
	list->open = false;
	return __wrap_close(list->fd);
}

int
__wrap_dirfd(DIR *directory)
{
	struct list *list = list_of(directory);

	return list == NULL ? __real_dirfd(directory) : list->fd;
}
