/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk: tests/sim/disk.h. Here are the calls of the product.
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
#include "tests/sim/disk_internal.h"
#include "tests/sim/wrapped.h"

struct sim_disk_plan disk_plan;

#define ONLY_IO	    (1u << SIM_FAIL_IO)
#define ANY_FAILURE (1u << SIM_FAIL_IO | 1u << SIM_FAIL_SPACE)
#define ANY_WRITE   (ANY_FAILURE | 1u << SIM_FAIL_SHORT)

struct sim_disk_watch disk_watch;
struct disk disk;

static uint8_t *spare_blocks; /* free blocks, linked by their first bytes */
static struct block *spare_tables[FILES_MAX];
static uint32_t spare_table_count;

uint8_t *
disk_block_take(void)
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

void
disk_block_give(uint8_t *block)
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

void
disk_apply_change(struct name table[NAMES_MAX], const struct change *change)
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
	disk_apply_change(disk.now, change);
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
			disk_apply_change(disk.durable, change);
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

		disk_block_give(block->now);
		disk_block_give(block->durable);
		*block = (struct block){0};
	}
	file->block_end = 0;
}

void
disk_forget_newest_file(void)
{
	struct file *file = &disk.files[--disk.file_count];

	file_empty(file);
	spare_tables[spare_table_count++] = file->blocks;
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
		block->now = disk_block_take();
	memcpy(block->now + inside, from, length);
	block->touched = true;
	block->unsynced |= (uint8_t)(1u << (inside / SECTOR_BYTES));
	block->dropped &= (uint8_t) ~(1u << (inside / SECTOR_BYTES));
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
	uint32_t written = block->unsynced & ~block->dropped;

	if (written == 0)
		return;
	if (block->durable == NULL)
		block->durable = disk_block_take();
	for (uint32_t i = 0; i < SECTORS; i++)
		if ((written & (1u << i)) != 0)
			memcpy(block->durable + i * SECTOR_BYTES, block->now + i * SECTOR_BYTES,
				SECTOR_BYTES);
	block->touched = true;
	block->unsynced &= block->dropped;
}

/* A sync failed: the kernel calls the pages clean, and what they hold is on its way to nowhere. */
static void
drop_unsynced(struct file *file)
{
	for (uint32_t i = 0; i < file->block_end; i++) {
		file->blocks[i].dropped = file->blocks[i].unsynced;
		file->blocks[i].touched = true;
	}
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
	while (disk.file_count > 0)
		disk_forget_newest_file();
	memset(&disk, 0, sizeof(disk));
	memset(&disk_plan, 0, sizeof(disk_plan));
	memset(&disk_watch, 0, sizeof(disk_watch));
	disk_forget_rot();
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

/* The disk has changed: the machine may stop here, or the process. */
static void
point(void)
{
	if (!is_mortal())
		return;
	disk_watch.points++;
	if (disk_watch.points == disk_watch.halt_at)
		longjmp(machine.halt, 1);
	if (disk_watch.points == disk_watch.death_at)
		sim_die();
}

/* One call of the disk; it may be the one that fails. @param kinds it knows, 1 << kind */
static enum sim_failure
failure_due(uint32_t kinds)
{
	if (!is_mortal() || ++disk_watch.calls != disk_watch.fail_at ||
		(kinds & 1u << disk_watch.failure) == 0)
		return SIM_FAIL_NOT;
	sim_note("call %llu fails", (unsigned long long)disk_watch.calls);
	machine.abort_expected = true;
	disk_watch.failed = true;
	return disk_watch.failure;
}

static int
failed(int error_number)
{
	errno = error_number;
	return -1;
}

/* A call that is done or not, and may fail. @return 0, or -1 with errno */
static int
attempt(uint32_t kinds)
{
	switch (failure_due(kinds)) {
	case SIM_FAIL_NOT:
		return 0;
	case SIM_FAIL_SPACE:
		return failed(ENOSPC);
	default:
		return failed(EIO);
	}
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
	disk.newest_seq = frame->first_seq;
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
open_name(const char *name, int flags)
{
	struct name *at = find_in(disk.now, name);
	int file = -1, fd = 0;

	if (at == NULL && (flags & O_CREAT) == 0)
		return failed(ENOENT);
	if (attempt(at == NULL ? ANY_FAILURE : ONLY_IO) != 0)
		return -1;
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
	if (file >= 0 && (at == NULL || (flags & O_TRUNC) != 0))
		point();
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
	switch (failure_due(ONLY_IO | 1u << SIM_FAIL_SHORT)) {
	case SIM_FAIL_SHORT:
		length /= 2;
		break;
	case SIM_FAIL_IO:
		return failed(EIO);
	default:
		break;
	}
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
	switch (failure_due(ANY_WRITE)) {
	case SIM_FAIL_SHORT:
		length /= 2;
		break;
	case SIM_FAIL_SPACE:
		return failed(ENOSPC);
	case SIM_FAIL_IO:
		write_partly(file_of(fd), (uint64_t)at, bytes, length);
		return failed(EIO);
	default:
		break;
	}
	write_bytes(file_of(fd), (uint64_t)at, bytes, length);
	point();
	return (ssize_t)length;
}

/* A synced write fails: what it had written by then is seen, and may be lost yet. */
static ssize_t
fail_write(enum sim_failure failure, int fd, const struct iovec *part, uint64_t at)
{
	if (failure == SIM_FAIL_SPACE)
		return failed(ENOSPC);
	write_partly(file_of(fd), at, part->iov_base, part->iov_len);
	return failure == SIM_FAIL_SHORT ? (ssize_t)(part->iov_len / 2) : failed(EIO);
}

/* A synced write while it is under way. */
static void
in_flight(int fd, uint64_t at, const struct iovec *part)
{
	if (disk_watch.points + 1 == disk_watch.death_at && is_mortal())
		write_partly(file_of(fd), at, part->iov_base, part->iov_len);
	else if (disk_watch.points + 1 == disk_watch.halt_at && is_mortal())
		write_bytes(file_of(fd), at, part->iov_base, part->iov_len);
	point();
}

ssize_t
__wrap_pwritev64v2(int fd, const struct iovec *part, int count, off_t offset, int flags)
{
	uint64_t at = (uint64_t)offset;
	const uint8_t *bytes = part->iov_base;
	struct descriptor *d = descriptor(fd);
	enum sim_failure failure;
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
	failure = failure_due(ANY_WRITE);
	if (failure != SIM_FAIL_NOT)
		return fail_write(failure, fd, part, at);
	in_flight(fd, at, part);
	write_bytes(file_of(fd), at, bytes, part->iov_len);
	if ((flags & RWF_DSYNC) != 0) {
		sync_range(file_of(fd), at, part->iov_len);
		if (part->iov_len >= BLOCK_BYTES &&
			((const struct hb_journal_frame *)(const void *)bytes)->magic ==
				HB_JOURNAL_FRAME_MAGIC)
			tell_records(d->file, at, (const void *)bytes);
	}
	point();
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
	if (attempt(ANY_FAILURE) != 0) {
		if (d->file >= 0)
			drop_unsynced(file_of(fd));
		return -1;
	}
	if (d->file < 0)
		sync_folder(d->name);
	else
		sync_range(file_of(fd), 0, (uint64_t)BLOCKS_MAX * BLOCK_BYTES);
	if (d->file >= 0 && strstr(d->name, "/segment-") != NULL)
		tell_file(d->file);
	point();
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
	if (attempt(ANY_FAILURE) != 0)
		return -1;
	change_names(from, to, at->file);
	point();
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
	if (attempt(ONLY_IO) != 0)
		return -1;
	change_names(name, "", -1);
	point();
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
	if (attempt(ANY_FAILURE) != 0)
		return errno;
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
