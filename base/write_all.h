/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Write bytes however many calls it takes. No state; what was written stays when the process dies.
 */
#ifndef HB_BASE_WRITE_ALL_H
#define HB_BASE_WRITE_ALL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/** Write all of it at the descriptor's position. @return 0 or -errno (-EIO: nothing more is taken)
 */
static inline int
hb_write_all(int fd, const void *bytes, size_t length)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		ssize_t n = write(fd, from, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		length -= (size_t)n;
	}
	return 0;
}

#endif
