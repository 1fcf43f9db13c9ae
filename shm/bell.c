/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The bells of shm/bell.h.
 */
#include "shm/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define BELL_BYTES 4096 /* the smallest pipe there is */

int
hb_bell_make(struct hb_bell *bell)
{
	int ends[2];

	bell->wait = bell->ring = -1;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	bell->wait = ends[0];
	bell->ring = ends[1];
	(void)fcntl(bell->ring, F_SETPIPE_SZ, BELL_BYTES); /* else it is larger than it need be */
	return 0;
}

void
hb_bell_close(struct hb_bell *bell)
{
	if (bell->wait >= 0)
		close(bell->wait);
	if (bell->ring >= 0)
		close(bell->ring);
	bell->wait = bell->ring = -1;
}

int
hb_bell_share(int ring)
{
	char path[32];
	int fd;

	/* dup() would share the flags */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ring);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void
hb_bell_ring(int ring)
{
	uint64_t one = 1;
	ssize_t ignored = write(ring, &one, sizeof(one)); /* full means rung already */

	(void)ignored;
}

void
hb_bell_clear(int wait)
{
	char rung[BELL_BYTES];
	ssize_t ignored = read(wait, rung, sizeof(rung));

	(void)ignored;
}
