/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Parsing of dataplane/front_keys.h. The text is wiped; the set is the caller's.
 */
#include "dataplane/front_keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/key_text.h"
#include "shm/frame.h"

#define BLANKS " \t"

static const struct {
	const char *name;
	uint64_t mask;
} operations[] = {
	{"front", HB_OPS_FRONT},
	{"grab", HB_OP_BIT(HB_OP_GRAB)},
	{"send", HB_OP_BIT(HB_OP_PACKET_CREATE)},
	{"detail", HB_OP_BIT(HB_OP_PACKET_DETAIL)},
	{"balance", HB_OP_BIT(HB_OP_BALANCE)},
	{"token", HB_OP_BIT(HB_OP_TOKEN_ASK)},
	{"transfer", HB_OP_BIT(HB_OP_TRANSFER)},
};

static bool
parse_id(const char *word, uint32_t *id)
{
	char *end = NULL;
	unsigned long long value;

	errno = 0;
	value = strtoull(word, &end, 10);
	*id = (uint32_t)value;
	return errno == 0 && *word >= '0' && *word <= '9' && *end == '\0' && value >= 1 &&
	       value <= UINT32_MAX;
}

static bool
parse_key(const char *word, uint8_t key[HB_DATAGRAM_KEY_BYTES])
{
	return strlen(word) == 2 * HB_DATAGRAM_KEY_BYTES &&
	       hb_hex_bytes(word, key, HB_DATAGRAM_KEY_BYTES);
}

static bool
parse_operations(char *word, uint64_t *mask)
{
	char *rest = word;
	const char *name;

	*mask = 0;
	while ((name = strsep(&rest, ",")) != NULL) {
		uint64_t found = 0;

		for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
			if (strcmp(name, operations[i].name) == 0)
				found = operations[i].mask;
		if (found == 0)
			return false;
		*mask |= found;
	}
	return true;
}

/* @return NULL, or what is wrong with the line */
static const char *
parse_line(struct hb_front_keys *keys, char *line)
{
	struct hb_front_key *key = &keys->key[keys->count];
	char *rest = NULL;
	char *id = strtok_r(line, BLANKS, &rest);
	char *secret, *mask;

	if (id == NULL || *id == '#')
		return NULL;
	secret = strtok_r(NULL, BLANKS, &rest);
	mask = strtok_r(NULL, BLANKS, &rest);
	if (mask == NULL || strtok_r(NULL, BLANKS, &rest) != NULL)
		return "wants: ID HEX-KEY OPERATIONS";
	if (keys->count == HB_FRONT_KEYS_MAX)
		return "is one key too many";
	if (!parse_id(id, &key->id))
		return "has no id in 1..4294967295";
	if (hb_front_key_find(keys, key->id) != NULL)
		return "has an id that was used above";
	if (!parse_key(secret, key->key))
		return "has no key of 32 hexadecimal digits";
	if (!parse_operations(mask, &key->operation_mask))
		return "has other operations than front or grab,send,detail,balance,token,transfer";
	keys->count++;
	return NULL;
}

static int
parse(struct hb_front_keys *keys, char *text, const char *path, char error[256])
{
	char *line;

	for (unsigned number = 1; (line = strsep(&text, "\n")) != NULL; number++) {
		const char *wrong = parse_line(keys, line);

		if (wrong == NULL)
			continue;
		snprintf(error, 256, "%.150s:%u %s", path, number, wrong);
		return -EINVAL;
	}
	return 0;
}

int
hb_front_keys_read(struct hb_front_keys *keys, const char *path, char error[256])
{
	static const size_t text_bytes = HB_FRONT_KEYS_BYTES_MAX + 1;
	struct hb_front_keys *fresh = calloc(1, sizeof(*fresh));
	char *text = calloc(1, text_bytes);
	int result = -ENOMEM;

	if (fresh == NULL || text == NULL) {
		snprintf(error, 256, "no memory for the keys");
		goto out;
	}
	result = hb_key_text_read(path, text, HB_FRONT_KEYS_BYTES_MAX, error);
	if (result == 0)
		result = parse(fresh, text, path, error);
	if (result == 0)
		*keys = *fresh;
out:
	if (text != NULL)
		explicit_bzero(text, text_bytes);
	if (fresh != NULL)
		explicit_bzero(fresh, sizeof(*fresh));
	free(text);
	free(fresh);
	return result;
}

const struct hb_front_key *
hb_front_key_find(const struct hb_front_keys *keys, uint32_t id)
{
	for (uint32_t i = 0; i < keys->count; i++)
		if (keys->key[i].id == id)
			return &keys->key[i];
	return NULL;
}
