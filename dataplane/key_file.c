/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The money token keys: dataplane/key_file.h. The text is wiped; the keys belong to the caller.
 */
#include "dataplane/key_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/key_text.h"

#define DIGITS	    (2 * HB_TOKEN_KEY_BYTES)
#define UNTIL_S_MAX UINT64_C(100000000000)

/* One line: the key, and of all but the first until when it verifies. @return 0 or -EINVAL */
static int
take_line(struct hb_token_keys *keys, const char *line)
{
	const char *rest = line + DIGITS;
	uint32_t i = keys->count;
	uint64_t until_s = 0;
	char *end;

	if (i == HB_TOKEN_KEYS_MAX || !hb_hex_bytes(line, keys->key[i], HB_TOKEN_KEY_BYTES))
		return -EINVAL;
	if (i == 0 && *rest != '\0')
		return -EINVAL;
	if (i > 0) {
		if (rest[0] != ' ' || rest[1] < '0' || rest[1] > '9')
			return -EINVAL;
		until_s = strtoull(rest + 1, &end, 10);
		if (*end != '\0' || until_s > UNTIL_S_MAX)
			return -EINVAL;
	}
	keys->until_s[i] = until_s;
	keys->count++;
	return 0;
}

int
hb_key_text_parse(struct hb_token_keys *keys, char *text)
{
	memset(keys, 0, sizeof(*keys));
	while (*text != '\0') {
		char *end = strchr(text, '\n');

		if (end != NULL)
			*end = '\0';
		if (take_line(keys, text) != 0)
			return -EINVAL;
		if (end == NULL)
			break;
		text = end + 1;
	}
	return keys->count > 0 ? 0 : -EINVAL;
}

int
hb_key_file_read(const char *path, struct hb_token_keys *keys, char error[256])
{
	char text[HB_KEY_FILE_BYTES_MAX + 1] = "";
	int result = hb_key_text_read(path, text, HB_KEY_FILE_BYTES_MAX - 1, error);

	if (result != 0)
		goto out;
	result = hb_key_text_parse(keys, text);
	if (result != 0)
		snprintf(error, 256,
			"the key file %.120s does not hold exactly %d hexadecimal digits, and "
			"behind them at most %d lines of digits and a second",
			path, DIGITS, HB_TOKEN_KEYS_MAX - 1);
out:
	explicit_bzero(text, sizeof(text));
	return result;
}
