/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the simulated disk is made of; for disk.c, which is the calls, and disk_loss.c, which is
 * what happens to the contents when power is lost or bits rot. Contents are kept in blocks of
 * 4 KiB, NULL for zeros, so that prepared segments cost nothing.
 */
#ifndef HB_TESTS_SIM_DISK_INTERNAL_H
#define HB_TESTS_SIM_DISK_INTERNAL_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/disk.h"

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
	uint8_t dropped;  /* of them: a sync failed, and the next one will not write them either */
	bool touched;	  /* since the disk was saved */
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

struct disk {
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
	uint64_t newest_seq; /* its first sequence */
	uint64_t next_seq;   /* of the frame that is durable next */
	void (*during_write)(bool slow);
	sim_durable_fn *durable_record;
};
extern struct disk disk;

uint8_t *disk_block_take(void);
void disk_block_give(uint8_t *block);
/** Free what the newest file holds, and its number. */
void disk_forget_newest_file(void);
/** The disk is new: nothing has rotted (disk_loss.c). */
void disk_forget_rot(void);
/** Apply one change of names to a table of names. */
void disk_apply_change(struct name table[NAMES_MAX], const struct change *change);

#endif
