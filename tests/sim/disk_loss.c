/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to the simulated disk's contents when power is lost, bits rot or sectors change
 * places: tests/sim/disk.h. All of it happens between the calls of processes.
 */
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/crc32c.h"
#include "persist/journal_format.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/wrapped.h"

#define ROTS_MAX 16

/* Bits that rotted, so that somebody can put them right. */
static struct {
	struct block *block;
	uint32_t bit;
	uint32_t crc; /* of the sector with it */
} rots[ROTS_MAX];
static uint32_t rot_count;

/* ---- loss of power ---- */

static const uint8_t zeros[BLOCK_BYTES];

static bool
sector_differs(const struct block *block, uint32_t sector)
{
	const uint8_t *durable = block->durable == NULL ? zeros : block->durable;

	return (block->unsynced & (1u << sector)) != 0 &&
	       memcmp(durable + sector * SECTOR_BYTES, block->now + sector * SECTOR_BYTES,
		       SECTOR_BYTES) != 0;
}

static uint32_t
draw_sector(void)
{
	switch (sim_below(5)) {
	case 0:
	case 1:
		return SIM_LOSS_KEPT;
	case 2:
		sim_count(SIM_SECTOR_TORN);
		return (uint32_t)sim_below(SIM_LOSS_KEPT);
	default:
		sim_count(SIM_SECTOR_LOST);
		return 0;
	}
}

/* Decide a file's sectors: by the loss, from *next on, or at random when there is none. */
static void
lose_contents(struct file *file, const struct sim_loss *loss, uint32_t *next)
{
	for (uint32_t i = 0; i < file->block_end; i++) {
		struct block *block = &file->blocks[i];

		if (block->unsynced == 0)
			continue;
		block->touched = true;
		if (block->durable == NULL)
			block->durable = disk_block_take();
		for (uint32_t s = 0; s < SECTORS; s++)
			if (sector_differs(block, s))
				memcpy(block->durable + s * SECTOR_BYTES,
					block->now + s * SECTOR_BYTES,
					8 * (loss == NULL ? draw_sector()
							  : loss->sector[(*next)++]));
		block->unsynced = block->dropped = 0;
		memcpy(block->now, block->durable, BLOCK_BYTES);
	}
}

static void
lose(const struct sim_loss *loss, uint32_t names_kept)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i < names_kept; i++)
		disk_apply_change(disk.durable, &disk.changes[i]);
	disk.change_count = 0;
	memcpy(disk.now, disk.durable, sizeof(disk.now));
	for (int f = 0; f < disk.file_count; f++) {
		struct file *file = &disk.files[f];

		if (file->bytes != file->bytes_durable &&
			(loss == NULL ? sim_chance(500) : !loss->sizes_kept))
			file->bytes = file->bytes_durable;
		file->bytes_durable = file->bytes;
		lose_contents(file, loss, &next);
	}
	for (uint32_t i = 0; i < FDS_MAX; i++)
		disk.fds[i].owner = SIM_NOBODY;
}

void
sim_disk_power_loss(void)
{
	uint32_t keep = disk.change_count == 0 ? 0 : (uint32_t)sim_below(disk.change_count + 1);

	if (keep < disk.change_count)
		sim_count(SIM_NAME_LOST);
	lose(NULL, keep);
}

void
sim_disk_lose(const struct sim_loss *loss)
{
	lose(loss, loss->names_kept);
}

struct sim_pending
sim_disk_pending(void)
{
	struct sim_pending pending = {.names = disk.change_count};

	for (int f = 0; f < disk.file_count; f++) {
		const struct file *file = &disk.files[f];

		pending.sizes += file->bytes != file->bytes_durable;
		for (uint32_t i = 0; i < file->block_end; i++)
			for (uint32_t s = 0; s < SECTORS; s++)
				pending.sectors += sector_differs(&file->blocks[i], s);
	}
	HB_ASSERT(pending.sectors <= SIM_PENDING_MAX);
	return pending;
}

/* ---- going back ---- */

static struct disk saved;
static struct block *saved_blocks[FILES_MAX];

static uint8_t *
copy_of(const uint8_t *block)
{
	uint8_t *copy;

	if (block == NULL)
		return NULL;
	copy = disk_block_take();
	memcpy(copy, block, BLOCK_BYTES);
	return copy;
}

static void
copy_block(struct block *to, const struct block *from)
{
	disk_block_give(to->now);
	disk_block_give(to->durable);
	*to = *from;
	to->now = copy_of(from->now);
	to->durable = copy_of(from->durable);
	to->touched = false;
}

static void
forget_saved(void)
{
	for (int f = 0; f < saved.file_count; f++) {
		for (uint32_t i = 0; i < saved.files[f].block_end; i++) {
			disk_block_give(saved_blocks[f][i].now);
			disk_block_give(saved_blocks[f][i].durable);
		}
		__real_free(saved_blocks[f]);
	}
	memset(&saved, 0, sizeof(saved));
}

void
sim_disk_save(void)
{
	forget_saved();
	saved = disk;
	for (int f = 0; f < disk.file_count; f++) {
		struct file *file = &disk.files[f];

		saved_blocks[f] = __real_calloc(file->block_end + 1, sizeof(struct block));
		HB_ASSERT(saved_blocks[f] != NULL);
		for (uint32_t i = 0; i < file->block_end; i++) {
			copy_block(&saved_blocks[f][i], &file->blocks[i]);
			file->blocks[i].touched = false;
		}
	}
}

void
sim_disk_restore(void)
{
	static const struct block empty;

	while (disk.file_count > saved.file_count)
		disk_forget_newest_file();
	for (int f = 0; f < disk.file_count; f++) {
		struct file *file = &disk.files[f];

		for (uint32_t i = 0; i < file->block_end; i++)
			if (i >= saved.files[f].block_end)
				copy_block(&file->blocks[i], &empty);
			else if (file->blocks[i].touched)
				copy_block(&file->blocks[i], &saved_blocks[f][i]);
	}
	disk = saved;
}

/* ---- rot ---- */

static void
flip(struct block *block, uint32_t bit)
{
	block->durable[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	block->now[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	block->touched = true;
}

static uint32_t
sector_crc(const struct block *block, uint32_t bit)
{
	return hb_crc32c(block->now + bit / 8 / SECTOR_BYTES * SECTOR_BYTES, SECTOR_BYTES);
}

static void
remember_rot(struct block *block, uint32_t bit)
{
	if (rot_count == ROTS_MAX)
		return;
	rots[rot_count].block = block;
	rots[rot_count].bit = bit;
	rots[rot_count].crc = sector_crc(block, bit);
	rot_count++;
}

void
sim_disk_repair_rot(void)
{
	while (rot_count > 0) {
		struct block *block = rots[--rot_count].block;
		uint32_t bit = rots[rot_count].bit;

		if (block->now != NULL && block->durable != NULL &&
			sector_crc(block, bit) == rots[rot_count].crc)
			flip(block, bit);
	}
}

void
disk_forget_rot(void)
{
	rot_count = 0;
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
		flip(block, bit);
		remember_rot(block, bit);
		sim_count(SIM_ROT);
		sim_note("rot: %s block %llu bit %u", name->text, (unsigned long long)number, bit);
		return true;
	}
	return false;
}

/* ---- damage ---- */

static bool
is_segment(const struct name *name)
{
	return strstr(name->text, "/segment-") != NULL;
}

/* @return blocks of a segment up to the end of its last frame; `frames` is added to */
static uint32_t
frame_blocks(const struct file *file, uint64_t *frames)
{
	uint32_t at = 0;

	while (at < file->block_end) {
		const struct hb_journal_frame *frame = (const void *)file->blocks[at].durable;

		if (frame == NULL || frame->magic != HB_JOURNAL_FRAME_MAGIC)
			break;
		at += frame->frame_length / BLOCK_BYTES;
		(*frames)++;
	}
	return at;
}

static enum sim_place
place_of(const struct name *name, uint32_t block, uint32_t frames_end, uint64_t covered)
{
	if (strstr(name->text, "superblock") != NULL)
		return SIM_PLACE_SUPERBLOCK;
	if (!is_segment(name))
		return SIM_PLACE_SNAPSHOT;
	if (block >= frames_end)
		return SIM_PLACE_BEHIND;
	if (name->file == disk.newest_file && (uint64_t)block * BLOCK_BYTES >= disk.newest_offset &&
		covered < disk.newest_seq)
		return SIM_PLACE_LAST_FRAME;
	return SIM_PLACE_FRAME;
}

uint32_t
sim_disk_sectors(struct sim_sector *sectors, uint64_t covered)
{
	uint32_t count = 0;

	for (uint32_t n = 0; n < NAMES_MAX; n++) {
		const struct name *name = &disk.now[n];
		const struct file *file = &disk.files[name->file < 0 ? 0 : name->file];
		uint32_t frames_end = 0;
		uint64_t frames = 0;

		if (name->text[0] == '\0' || name->file < 0 || strstr(name->text, "/lock") != NULL)
			continue;
		if (is_segment(name))
			frames_end = frame_blocks(file, &frames);
		for (uint32_t i = 0; i < file->block_end; i++) {
			if (file->blocks[i].durable == NULL && !is_segment(name))
				continue;
			for (uint32_t s = 0; s < SECTORS && count < SIM_SECTORS_MAX; s++)
				sectors[count++] = (struct sim_sector){.file = name->file,
					.at = (uint64_t)i * BLOCK_BYTES + s * SECTOR_BYTES,
					.place = place_of(name, i, frames_end, covered)};
		}
	}
	HB_ASSERT(count < SIM_SECTORS_MAX);
	return count;
}

static struct block *
block_of(const struct sim_sector *sector)
{
	struct block *block = &disk.files[sector->file].blocks[sector->at / BLOCK_BYTES];

	HB_ASSERT(block->unsynced == 0);
	block->touched = true;
	if (block->durable == NULL)
		block->durable = disk_block_take();
	if (block->now == NULL)
		block->now = copy_of(block->durable);
	return block;
}

static void
set_sector(const struct sim_sector *sector, const uint8_t *bytes)
{
	struct block *block = block_of(sector);

	memcpy(block->durable + sector->at % BLOCK_BYTES, bytes, SECTOR_BYTES);
	memcpy(block->now + sector->at % BLOCK_BYTES, bytes, SECTOR_BYTES);
}

/* The whole block. */
static void
copy_block_of(const struct sim_sector *sector, const struct sim_sector *other)
{
	struct block *to = block_of(sector);
	const struct block *from = block_of(other);

	memcpy(to->durable, from->durable, BLOCK_BYTES);
	memcpy(to->now, from->durable, BLOCK_BYTES);
}

bool
sim_disk_damage(
	const struct sim_sector *sector, enum sim_damage damage, const struct sim_sector *other)
{
	uint8_t mine[SECTOR_BYTES], theirs[SECTOR_BYTES];
	uint32_t bit;

	memcpy(mine, block_of(sector)->durable + sector->at % BLOCK_BYTES, SECTOR_BYTES);
	memcpy(theirs, block_of(other)->durable + other->at % BLOCK_BYTES, SECTOR_BYTES);
	switch (damage) {
	case SIM_DAMAGE_FLIP:
		bit = (uint32_t)(sector->at % BLOCK_BYTES) * 8 +
		      (uint32_t)sim_below(SECTOR_BYTES * 8);
		flip(block_of(sector), bit);
		return true;
	case SIM_DAMAGE_ZERO:
		set_sector(sector, zeros);
		return !hb_is_zero(mine, SECTOR_BYTES);
	case SIM_DAMAGE_SWAP:
		set_sector(other, mine);
		/* fallthrough */
	case SIM_DAMAGE_COPY:
		set_sector(sector, theirs);
		/* behind the end a piece alone is nothing; a whole old frame is */
		if (damage == SIM_DAMAGE_COPY && sector->place == SIM_PLACE_BEHIND &&
			sector->at % BLOCK_BYTES == 0)
			copy_block_of(sector, other);
		return memcmp(mine, theirs, SECTOR_BYTES) != 0;
	case SIM_DAMAGE_COUNT:
		break;
	}
	return false;
}

uint64_t
sim_disk_hint(void)
{
	const struct hb_superblock *newest = NULL;

	for (uint32_t n = 0; n < NAMES_MAX; n++) {
		if (disk.now[n].file < 0 || disk.now[n].text[0] == '\0' ||
			strstr(disk.now[n].text, "/superblock") == NULL)
			continue;
		for (uint32_t i = 0; i < HB_SUPERBLOCK_COPIES; i++) {
			const struct hb_superblock *copy =
				(const void *)disk.files[disk.now[n].file].blocks[i].durable;

			if (copy != NULL &&
				(newest == NULL || copy->generation > newest->generation))
				newest = copy;
		}
	}
	return newest == NULL ? 0 : newest->durable_seq;
}

uint64_t
sim_disk_last_seq(void)
{
	return disk.next_seq - 1;
}

uint64_t
sim_disk_frames(void)
{
	uint64_t frames = 0;

	for (uint32_t n = 0; n < NAMES_MAX; n++)
		if (disk.now[n].text[0] != '\0' && disk.now[n].file >= 0 &&
			is_segment(&disk.now[n]))
			frame_blocks(&disk.files[disk.now[n].file], &frames);
	return frames;
}

void
sim_disk_forget_snapshots(void)
{
	for (uint32_t n = 0; n < NAMES_MAX; n++) {
		if (strstr(disk.now[n].text, "/snapshot-") != NULL)
			disk.now[n].text[0] = '\0';
		if (strstr(disk.durable[n].text, "/snapshot-") != NULL)
			disk.durable[n].text[0] = '\0';
	}
}
