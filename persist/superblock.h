/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The superblock of a journal directory: who it belongs to, the newest epoch, what was durable.
 *
 * Two copies of 4 KiB in one file, written in turn and synced, so a torn write leaves the other.
 * Only the holder of the directory's lock writes. If the process dies here, the higher generation
 * that verifies holds; an older one only weakens the durable hint, and a new epoch is written to
 * both copies before it is used.
 */
#ifndef HB_PERSIST_SUPERBLOCK_H
#define HB_PERSIST_SUPERBLOCK_H

#include "persist/journal_format.h"

/**
 * Read the newest copy that verifies.
 * @param dir_fd the journal directory
 * @param error at least 256 bytes
 * @return 0; -ENOENT when there is no file, -EBADMSG when both copies are damaged, or -errno
 */
int hb_superblock_read(int dir_fd, struct hb_superblock *superblock, char error[256]);

/** Make the file of a new journal: both copies, synced, with directory entry. @return 0 or -errno
 */
int hb_superblock_create(int dir_fd, const struct hb_superblock *superblock);

/**
 * Write the next generation to the other copy and sync it.
 * @param superblock its generation, wall_ns and crc are set here
 * @return 0 or -errno: then nothing may be believed about that copy
 */
int hb_superblock_write(int dir_fd, struct hb_superblock *superblock);

#endif
