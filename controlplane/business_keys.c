/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads key/business.keys (business_keys.h). The file is opened once, checked by its descriptor and
 * read through it, so what was checked is what is read.
 */
#include "controlplane/business_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static int
check_rights(int fd, const char *path, char error[256])
{
	struct stat status;

	if (fstat(fd, &status) != 0) {
		snprintf(error, 256, "%s: %s", path, strerror(errno));
		return -EIO;
	}
	if (!S_ISREG(status.st_mode)) {
		snprintf(error, 256, "%s is not a regular file", path);
		return -EINVAL;
	}
	if (status.st_mode & (S_IRWXG | S_IRWXO)) {
		snprintf(error, 256, "%s is open to group or others (mode %04o); chmod 0400 it",
			path, status.st_mode & 07777);
		return -EPERM;
	}
	return 0;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
parse_secret(struct hb_business_key *key, const char *hex)
{
	size_t digits = strlen(hex);

	if (digits % 2 || digits / 2 < HB_BUSINESS_SECRET_BYTES_MIN ||
		digits / 2 > HB_BUSINESS_SECRET_BYTES_MAX)
		return false;
	for (size_t i = 0; i < digits / 2; i++) {
		int high = hex_digit(hex[2 * i]);
		int low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key->secret[i] = (uint8_t)(high << 4 | low);
	}
	key->secret_bytes = digits / 2;
	return true;
}

/* One line; NULL or what is wrong with it. */
static const char *
parse_line(struct hb_business_keys *keys, char *line)
{
	struct hb_business_key *key;
	char *save = NULL;
	char *id = strtok_r(line, " \t\r\n", &save);
	char *secret = strtok_r(NULL, " \t\r\n", &save);

	if (!id || id[0] == '#')
		return NULL;
	if (!secret || strtok_r(NULL, " \t\r\n", &save))
		return "is not `key-id hex-secret`";
	if (strlen(id) > HB_BUSINESS_KEY_ID_MAX || id[strspn(id, ID_CHARACTERS)] != '\0')
		return "has a key id that is not 1..32 letters, digits, - or _";
	if (hb_business_key_find(keys, id))
		return "repeats a key id";
	if (keys->count == HB_BUSINESS_KEYS_MAX)
		return "is one key too many (256 at most)";
	key = &keys->key[keys->count];
	if (!parse_secret(key, secret))
		return "has a secret that is not 32..128 hexadecimal digits";
	memcpy(key->id, id, strlen(id) + 1);
	keys->count++;
	return NULL;
}

static int
parse_file(struct hb_business_keys *keys, FILE *file, const char *path, char error[256])
{
	char line[512];

	for (int number = 1; fgets(line, sizeof(line), file); number++) {
		const char *wrong =
			strlen(line) + 1 == sizeof(line) ? "is too long" : parse_line(keys, line);

		OPENSSL_cleanse(line, sizeof(line));
		if (wrong) {
			snprintf(error, 256, "%s: line %d %s", path, number, wrong);
			return -EINVAL;
		}
	}
	if (ferror(file)) {
		snprintf(error, 256, "%s cannot be read", path);
		return -EIO;
	}
	if (keys->count == 0) {
		snprintf(error, 256, "%s has no key; add a line `key-id hex-secret`", path);
		return -EINVAL;
	}
	return 0;
}

int
hb_business_keys_load(struct hb_business_keys **out, const char *path, char error[256])
{
	struct hb_business_keys *keys = NULL;
	FILE *file = NULL;
	int fd;
	int result;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		result = -errno;
		snprintf(error, 256, "key file %s cannot be opened: %s", path, strerror(errno));
		return result;
	}
	result = check_rights(fd, path, error);
	if (result != 0)
		goto out;
	keys = calloc(1, sizeof(*keys));
	file = fdopen(fd, "r");
	if (!keys || !file) {
		result = -ENOMEM;
		snprintf(error, 256, "no memory for the keys of %s", path);
		goto out;
	}
	fd = -1;
	result = parse_file(keys, file, path, error);
	if (result == 0) {
		*out = keys;
		keys = NULL;
	}
out:
	if (file)
		fclose(file);
	if (fd >= 0)
		close(fd);
	hb_business_keys_free(keys);
	return result;
}

void
hb_business_keys_free(struct hb_business_keys *keys)
{
	if (!keys)
		return;
	OPENSSL_cleanse(keys, sizeof(*keys));
	free(keys);
}

const struct hb_business_key *
hb_business_key_find(const struct hb_business_keys *keys, const char *id)
{
	for (uint32_t i = 0; i < keys->count; i++) {
		if (strcmp(keys->key[i].id, id) == 0)
			return &keys->key[i];
	}
	return NULL;
}
