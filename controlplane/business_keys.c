/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads key/business.keys (business_keys.h). The text is wiped before the function ends.
 */
#include "controlplane/business_keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/hex.h"
#include "base/key_text.h"

#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static bool
parse_secret(struct hb_business_key *key, const char *hex)
{
	size_t digits = strlen(hex);

	if (digits % 2 || digits / 2 < HB_BUSINESS_SECRET_BYTES_MIN ||
		digits / 2 > HB_BUSINESS_SECRET_BYTES_MAX)
		return false;
	key->secret_bytes = digits / 2;
	return hb_hex_bytes(hex, key->secret, key->secret_bytes);
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
parse_text(struct hb_business_keys *keys, char *text, const char *path, char error[256])
{
	char *line;

	for (unsigned number = 1; (line = strsep(&text, "\n")) != NULL; number++) {
		const char *wrong = parse_line(keys, line);

		if (wrong == NULL)
			continue;
		snprintf(error, 256, "%.150s: line %u %s", path, number, wrong);
		return -EINVAL;
	}
	if (keys->count > 0)
		return 0;
	snprintf(error, 256, "%.150s has no key; add a line `key-id hex-secret`", path);
	return -EINVAL;
}

int
hb_business_keys_load(struct hb_business_keys **out, const char *path, char error[256])
{
	struct hb_business_keys *keys = calloc(1, sizeof(*keys));
	char *text = calloc(1, HB_BUSINESS_KEYS_BYTES_MAX + 1);
	int result = -ENOMEM;

	if (keys == NULL || text == NULL) {
		snprintf(error, 256, "no memory for the keys of %.150s", path);
		goto out;
	}
	result = hb_key_text_read(path, text, HB_BUSINESS_KEYS_BYTES_MAX, error);
	if (result == 0)
		result = parse_text(keys, text, path, error);
	OPENSSL_cleanse(text, HB_BUSINESS_KEYS_BYTES_MAX + 1);
	if (result != 0)
		goto out;
	*out = keys;
	keys = NULL;
out:
	free(text);
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
