/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The money token key: dataplane/key_file.h. The text is wiped; the key belongs to the caller.
 */
#include "dataplane/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS (2 * HB_TOKEN_KEY_BYTES)

static int
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* @return 0 or -EINVAL */
static int
parse(const char *text, ssize_t length, uint8_t key[HB_TOKEN_KEY_BYTES])
{
	if (length != DIGITS && !(length == DIGITS + 1 && text[DIGITS] == '\n'))
		return -EINVAL;
	for (uint32_t i = 0; i < HB_TOKEN_KEY_BYTES; i++) {
		int high = digit_value(text[2 * i]);
		int low = digit_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int
hb_key_file_read(const char *path, uint8_t key[HB_TOKEN_KEY_BYTES], char error[256])
{
	char text[DIGITS + 2];
	struct stat st;
	int result;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0) {
		result = -errno;
		snprintf(error, 256, "cannot read the key file %.150s: %s", path, strerror(errno));
		return result;
	}
	result = -EACCES;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		snprintf(error, 256, "the key file %.150s is not a regular file", path);
		goto out;
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		snprintf(error, 256,
			"the key file %.150s has mode %03o; group and others must have no access: "
			"chmod 0400",
			path, (unsigned)st.st_mode & 0777u);
		goto out;
	}
	result = parse(text, read(fd, text, sizeof(text)), key);
	if (result != 0)
		snprintf(error, 256,
			"the key file %.150s does not hold exactly %d hexadecimal digits", path,
			DIGITS);
out:
	explicit_bzero(text, sizeof(text));
	close(fd);
	return result;
}
