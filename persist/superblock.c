/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing of the superblock file. Written at most about once a second, so the file is
 * opened each time and no descriptor has an owner.
 */
#include "persist/superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"

#define LOOKS_MAX 3

static uint32_t
superblock_crc(const struct hb_superblock *superblock)
{
	return hb_crc32c(superblock, offsetof(struct hb_superblock, crc));
}

static const char *
superblock_fault(const struct hb_superblock *superblock, unsigned copy)
{
	if (superblock->magic != HB_SUPERBLOCK_MAGIC)
		return "no superblock";
	if (superblock->crc != superblock_crc(superblock))
		return "CRC differs";
	if (superblock->version != HB_JOURNAL_VERSION || superblock->bytes != HB_SUPERBLOCK_BYTES)
		return "a version this program does not know";
	if (superblock->generation % HB_SUPERBLOCK_COPIES != copy)
		return "copy in the wrong place";
	return NULL;
}

/* A whole copy that a later program wrote. @return its version, 0 when there is none */
static unsigned
newer_version(const struct hb_superblock copies[HB_SUPERBLOCK_COPIES])
{
	unsigned version = 0;

	for (unsigned i = 0; i < HB_SUPERBLOCK_COPIES; i++)
		if (copies[i].magic == HB_SUPERBLOCK_MAGIC &&
			copies[i].crc == superblock_crc(&copies[i]) &&
			copies[i].version > HB_JOURNAL_VERSION)
			version = copies[i].version;
	return version;
}

static const struct hb_superblock *
newest_copy(const struct hb_superblock copies[HB_SUPERBLOCK_COPIES],
	const char *fault[HB_SUPERBLOCK_COPIES])
{
	const struct hb_superblock *newest = NULL;

	for (unsigned i = 0; i < HB_SUPERBLOCK_COPIES; i++) {
		fault[i] = superblock_fault(&copies[i], i);
		if (fault[i] == NULL &&
			(newest == NULL || copies[i].generation > newest->generation))
			newest = &copies[i];
	}
	return newest;
}

int
hb_superblock_read(int dir_fd, struct hb_superblock *superblock, char error[256])
{
	struct hb_superblock copies[HB_SUPERBLOCK_COPIES];
	const char *fault[HB_SUPERBLOCK_COPIES];
	const struct hb_superblock *newest = NULL;
	ssize_t n;
	int fd = openat(dir_fd, HB_JOURNAL_SUPERBLOCK_FILE, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		int rc = -errno;

		snprintf(error, 256, "cannot open the journal's superblock: %s", strerror(-rc));
		return rc;
	}
	/* both may be in the middle of a write, one after the other: look again */
	for (unsigned looks = 0; looks < LOOKS_MAX && newest == NULL; looks++) {
		memset(copies, 0, sizeof(copies));
		n = pread(fd, copies, sizeof(copies), 0);
		if (n < 0) {
			snprintf(error, 256, "cannot read the journal's superblock: %s",
				strerror(errno));
			close(fd);
			return -EIO;
		}
		newest = newest_copy(copies, fault);
	}
	close(fd);
	if (newest == NULL && newer_version(copies) != 0) {
		snprintf(error, 256,
			"the journal has format version %u, this program knows %u: a newer program "
			"wrote it; install that one",
			newer_version(copies), HB_JOURNAL_VERSION);
		return -EBADMSG;
	}
	if (newest == NULL) {
		snprintf(error, 256,
			"both copies of the superblock are damaged (%s; %s): restore the file "
			"superblock from a copy of this journal",
			fault[0], fault[1]);
		return -EBADMSG;
	}
	*superblock = *newest;
	return 0;
}

static int
write_copy(int fd, struct hb_superblock *superblock)
{
	struct iovec part = {.iov_base = superblock, .iov_len = sizeof(*superblock)};
	off_t at = (off_t)(superblock->generation % HB_SUPERBLOCK_COPIES) * HB_SUPERBLOCK_BYTES;
	ssize_t n;

	superblock->wall_ns = hb_wall_ns();
	superblock->crc = superblock_crc(superblock);
	n = pwritev2(fd, &part, 1, at, RWF_DSYNC);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*superblock) ? 0 : -EIO;
}

int
hb_superblock_create(int dir_fd, const struct hb_superblock *superblock)
{
	static const char temporary[] = HB_JOURNAL_SUPERBLOCK_FILE ".tmp";
	struct hb_superblock copy = *superblock;
	int rc = 0;
	int fd = openat(dir_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	copy.magic = HB_SUPERBLOCK_MAGIC;
	copy.version = HB_JOURNAL_VERSION;
	copy.bytes = HB_SUPERBLOCK_BYTES;
	for (copy.generation = 0; rc == 0 && copy.generation < HB_SUPERBLOCK_COPIES;
		copy.generation++)
		rc = write_copy(fd, &copy);
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	if (rc == 0 && renameat(dir_fd, temporary, dir_fd, HB_JOURNAL_SUPERBLOCK_FILE) != 0)
		rc = -errno;
	if (rc == 0 && fsync(dir_fd) != 0)
		rc = -errno;
	return rc;
}

int
hb_superblock_write(int dir_fd, struct hb_superblock *superblock)
{
	int rc;
	int fd = openat(dir_fd, HB_JOURNAL_SUPERBLOCK_FILE, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	superblock->generation++;
	rc = write_copy(fd, superblock);
	/* the other copy is the only good one now: the next attempt must go to this one again */
	if (rc != 0)
		superblock->generation--;
	close(fd);
	return rc;
}
