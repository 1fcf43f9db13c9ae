/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading the key file of front/keys.h. The text of the file is wiped before the function ends;
 * the set belongs to the caller. Dying in here leaves nothing behind.
 */
#include "front/keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/hex.h"
#include "base/key_text.h"

#define ED25519_KEY_BYTES 32
#define WORDS_PER_LINE	  3

struct word {
	const char *at;
	size_t length;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* @return number of words, WORDS_PER_LINE + 1 when there are more */
static size_t
split_words(const char *line, size_t length, struct word words[WORDS_PER_LINE])
{
	size_t count = 0, i = 0;

	for (;;) {
		while (i < length && is_blank(line[i]))
			i++;
		if (i == length)
			return count;
		if (count == WORDS_PER_LINE)
			return count + 1;
		words[count].at = line + i;
		while (i < length && !is_blank(line[i]))
			i++;
		words[count].length = (size_t)(line + i - words[count].at);
		count++;
	}
}

/* @return bytes, or 0 when it is no hex or does not fit */
static uint32_t
take_hex(struct word word, uint8_t *out, size_t capacity)
{
	if (word.length % 2 != 0 || word.length / 2 > capacity)
		return 0;
	if (!hb_hex_bytes(word.at, out, word.length / 2))
		return 0;
	return (uint32_t)(word.length / 2);
}

static bool
take_kid(struct word word, char kid[HB_JWT_KID_MAX + 1])
{
	if (word.length > HB_JWT_KID_MAX)
		return false;
	for (size_t i = 0; i < word.length; i++) {
		char c = word.at[i];

		if ((c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') &&
			c != '.' && c != '_' && c != '-')
			return false;
	}
	memcpy(kid, word.at, word.length);
	kid[word.length] = '\0';
	return true;
}

static bool
word_is(struct word word, const char *text)
{
	return word.length == strlen(text) && memcmp(word.at, text, word.length) == 0;
}

/* @return NULL, or what is wrong */
static const char *
take_key(struct hb_jwt_key *key, const struct word words[WORDS_PER_LINE])
{
	if (!take_kid(words[0], key->kid))
		return "the key's name has more than 64 characters or others than A-Z a-z 0-9 . _ "
		       "-";
	key->secret_bytes = take_hex(words[2], key->secret, sizeof(key->secret));
	if (word_is(words[1], "HS256")) {
		key->algorithm = HB_JWT_HS256;
		if (key->secret_bytes < HB_JWT_SECRET_BYTES_MIN)
			return "a secret of HS256 has 64 to 256 hexadecimal digits";
		return NULL;
	}
	if (!word_is(words[1], "EdDSA"))
		return "the algorithm is neither HS256 nor EdDSA";
	key->algorithm = HB_JWT_EDDSA;
	if (key->secret_bytes != ED25519_KEY_BYTES)
		return "a public key of EdDSA has 64 hexadecimal digits";
	key->public_key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->secret, ED25519_KEY_BYTES);
	return key->public_key == NULL ? "OpenSSL refuses the public key" : NULL;
}

/* @return NULL, or what is wrong with the line */
static const char *
take_line(struct hb_jwt_keys *keys, const char *line, size_t length)
{
	struct hb_jwt_key *key = &keys->key[keys->count];
	struct word words[WORDS_PER_LINE];
	size_t count = split_words(line, length, words);
	const char *wrong;

	if (count == 0 || words[0].at[0] == '#')
		return NULL;
	if (count != WORDS_PER_LINE)
		return "a line has three words: name, HS256 or EdDSA, key as hex";
	if (keys->count == HB_JWT_KEYS_MAX)
		return "there are more than 16 keys";
	wrong = take_key(key, words);
	if (wrong == NULL && hb_jwt_keys_find(keys, key->kid, strlen(key->kid)) != NULL)
		wrong = "there are two keys of this name";
	keys->count++; /* a broken one too: clear must wipe it */
	return wrong;
}

static int
take_lines(struct hb_jwt_keys *keys, const char *path, const char *text, size_t length,
	char error[HB_JWT_KEYS_ERROR_BYTES])
{
	const char *at = text, *end = text + length;

	for (unsigned line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		const char *wrong;

		if (stop == NULL)
			stop = end;
		wrong = take_line(keys, at, (size_t)(stop - at));
		if (wrong != NULL) {
			snprintf(error, HB_JWT_KEYS_ERROR_BYTES, "key file %.256s line %u: %s",
				path, line, wrong);
			return -EINVAL;
		}
		at = stop + 1;
	}
	if (keys->count > 0)
		return 0;
	snprintf(error, HB_JWT_KEYS_ERROR_BYTES,
		"key file %.256s: has no key; a line is: name HS256 <secret as hex>", path);
	return -EINVAL;
}

int
hb_jwt_keys_load(struct hb_jwt_keys *keys, const char *path, char error[HB_JWT_KEYS_ERROR_BYTES])
{
	char text[HB_JWT_KEY_FILE_BYTES_MAX + 1];
	int result;

	memset(keys, 0, sizeof(*keys));
	result = hb_key_text_read(path, text, HB_JWT_KEY_FILE_BYTES_MAX, error);
	if (result == 0)
		result = take_lines(keys, path, text, strlen(text), error);
	OPENSSL_cleanse(text, sizeof(text));
	if (result != 0)
		hb_jwt_keys_clear(keys);
	return result;
}

const struct hb_jwt_key *
hb_jwt_keys_find(const struct hb_jwt_keys *keys, const char *kid, size_t length)
{
	for (uint32_t i = 0; i < keys->count; i++) {
		const struct hb_jwt_key *key = &keys->key[i];

		if (strlen(key->kid) == length && memcmp(key->kid, kid, length) == 0)
			return key;
	}
	return NULL;
}

void
hb_jwt_keys_clear(struct hb_jwt_keys *keys)
{
	for (uint32_t i = 0; i < keys->count; i++)
		EVP_PKEY_free(keys->key[i].public_key);
	OPENSSL_cleanse(keys, sizeof(*keys));
}
