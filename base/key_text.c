/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a key file: rights first, then the bytes. No memory of its own.
 */
#include "base/key_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
read_text(int fd, const char *path, char *text, size_t bytes_max, char error[256])
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		snprintf(error, 256, "the key file %.150s is not a regular file", path);
		return -EINVAL;
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		snprintf(error, 256,
			"the key file %.150s has mode %04o; group and others must have no access: "
			"chmod 0400 it",
			path, (unsigned)st.st_mode & 07777u);
		return -EACCES;
	}
	n = read(fd, text, bytes_max + 1);
	if (n < 0 || (size_t)n > bytes_max || memchr(text, '\0', (size_t)n) != NULL) {
		snprintf(error, 256,
			"the key file %.150s cannot be read, or is no text of at most %zu bytes",
			path, bytes_max);
		return -EINVAL;
	}
	text[n] = '\0';
	return 0;
}

int
hb_key_text_read(const char *path, char *text, size_t bytes_max, char error[256])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int result;

	if (fd < 0) {
		result = -errno;
		snprintf(error, 256, "cannot read the key file %.150s: %s", path,
			result == -ELOOP ? "it is a link; a regular file is needed"
					 : strerror(-result));
		return result;
	}
	result = read_text(fd, path, text, bytes_max, error);
	close(fd);
	return result;
}
