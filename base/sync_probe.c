/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk probe (sync_probe.h). Its file is unlinked before the first write, so nothing stays
 * behind even when the process dies.
 */
#include "base/sync_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define PROBE_BLOCK_BYTES 4096
#define PROBE_FILE_BLOCKS 1024
#define PROBE_FILE_BYTES  (PROBE_FILE_BLOCKS * PROBE_BLOCK_BYTES)

static int
probe_writes(int fd, uint8_t *block, uint32_t count, uint64_t *latency_ns)
{
	if (pwrite(fd, block, PROBE_FILE_BYTES, 0) != PROBE_FILE_BYTES)
		return errno != 0 ? -errno : -EIO;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t start = hb_mono_ns();

		memset(block, (int)(i & 0xff), PROBE_BLOCK_BYTES);
		if (pwrite(fd, block, PROBE_BLOCK_BYTES,
			    (off_t)(i % PROBE_FILE_BLOCKS) * PROBE_BLOCK_BYTES) !=
			PROBE_BLOCK_BYTES)
			return errno != 0 ? -errno : -EIO;
		latency_ns[i] = hb_mono_ns() - start;
	}
	return 0;
}

int
hb_sync_probe(const char *directory, uint32_t count, uint64_t *latency_ns, char error[256])
{
	char path[512];
	uint8_t *block = NULL;
	int result = 0;

	if (snprintf(path, sizeof(path), "%s/sync-probe.%d", directory, (int)getpid()) >=
		(int)sizeof(path)) {
		snprintf(error, 256, "the directory's name is too long");
		return -ENAMETOOLONG;
	}
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);

	if (fd < 0) {
		result = -errno;
		goto out;
	}
	unlink(path);
	block = aligned_alloc(PROBE_BLOCK_BYTES, PROBE_FILE_BYTES);
	if (block == NULL) {
		result = -ENOMEM;
		goto out;
	}
	memset(block, 0, PROBE_FILE_BYTES);
	result = probe_writes(fd, block, count, latency_ns);
out:
	if (result != 0)
		snprintf(error, 256, "probe of %s: %s", directory, strerror(-result));
	free(block);
	if (fd >= 0)
		close(fd);
	return result;
}
