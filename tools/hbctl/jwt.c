/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User tokens for trying things out: JWT in its compact form (RFC 7515, RFC 7519) signed with
 * HMAC-SHA256 by libsodium. Secrets are wiped by whoever holds them; none is printed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/assert.h"
#include "base/key_text.h"
#include "tools/hbctl/hbctl.h"

#define KEY_FILE_BYTES_MAX 65536
#define BASE64		   sodium_base64_VARIANT_URLSAFE_NO_PADDING

/* Append in base64url. @return new length, 0 when it does not fit */
static size_t
append_base64(char token[HBCTL_JWT_BYTES], size_t length, const void *bytes, size_t count)
{
	if (sodium_base64_ENCODED_LEN(count, BASE64) > HBCTL_JWT_BYTES - length)
		return 0;
	sodium_bin2base64(token + length, HBCTL_JWT_BYTES - length, bytes, count, BASE64);
	return length + strlen(token + length);
}

int
hbctl_jwt_sign(char token[HBCTL_JWT_BYTES], const char *header, const char *claims,
	const uint8_t *key, size_t key_bytes)
{
	uint8_t mac[crypto_auth_hmacsha256_BYTES];
	crypto_auth_hmacsha256_state state;
	size_t length = append_base64(token, 0, header, strlen(header));

	if (length == 0 || length + 2 > HBCTL_JWT_BYTES)
		return -E2BIG;
	token[length++] = '.';
	length = append_base64(token, length, claims, strlen(claims));
	if (length == 0 || length + 2 > HBCTL_JWT_BYTES)
		return -E2BIG;
	crypto_auth_hmacsha256_init(&state, key, key_bytes);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)token, length);
	crypto_auth_hmacsha256_final(&state, mac);
	sodium_memzero(&state, sizeof(state));
	token[length++] = '.';
	return append_base64(token, length, mac, sizeof(mac)) == 0 ? -E2BIG : 0;
}

/* One line "kid HS256 hex". @return 0 taken, -EAGAIN not this one, other -errno with `error` */
static int
take_key_line(struct hbctl_jwt_key *key, char *line, const char *kid, unsigned number,
	char error[HBCTL_ERROR_BYTES])
{
	char *rest = NULL;
	const char *name = strtok_r(line, " \t\r", &rest);
	const char *algorithm = strtok_r(NULL, " \t\r", &rest);
	const char *hex = strtok_r(NULL, " \t\r", &rest);
	const char *end;

	if (name == NULL || name[0] == '#')
		return -EAGAIN;
	if (algorithm == NULL || hex == NULL || strtok_r(NULL, " \t\r", &rest) != NULL ||
		strlen(name) >= sizeof(key->kid)) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"line %u is not 'kid HS256 HEX' or 'kid EdDSA HEX'", number);
		return -EINVAL;
	}
	if (kid != NULL ? strcmp(name, kid) != 0 : strcmp(algorithm, "HS256") != 0)
		return -EAGAIN;
	if (strcmp(algorithm, "HS256") != 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"key '%s' is %s: only its public part is here, so its tokens must be "
			"signed by the business system; take an HS256 key",
			name, algorithm);
		return -ENOTSUP;
	}
	if (sodium_hex2bin(key->secret, sizeof(key->secret), hex, strlen(hex), NULL,
		    &key->secret_bytes, &end) != 0 ||
		*end != '\0' || key->secret_bytes == 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"line %u: the secret of '%s' is not hexadecimal of 1 to %d bytes", number,
			name, HBCTL_JWT_KEY_BYTES_MAX);
		return -EINVAL;
	}
	memcpy(key->kid, name, strlen(name) + 1);
	return 0;
}

int
hbctl_jwt_key_find(
	struct hbctl_jwt_key *key, const char *text, const char *kid, char error[HBCTL_ERROR_BYTES])
{
	char *copy = strdup(text);
	char *rest = copy;
	char *line;
	int result = -EAGAIN;
	unsigned number = 0;

	if (copy == NULL)
		return -ENOMEM;
	while (result == -EAGAIN && (line = strsep(&rest, "\n")) != NULL)
		result = take_key_line(key, line, kid, ++number, error);
	sodium_memzero(copy, strlen(text));
	free(copy);
	if (result != -EAGAIN)
		return result;
	if (kid != NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "there is no key '%s'", kid);
	else
		snprintf(error, HBCTL_ERROR_BYTES,
			"there is no HS256 key; tokens must be signed by the business system");
	return -ENOENT;
}

char *
hbctl_key_file_read(const char *path, char error[HBCTL_ERROR_BYTES])
{
	char *text = calloc(1, KEY_FILE_BYTES_MAX + 1);

	if (text == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "out of memory");
		return NULL;
	}
	if (hb_key_text_read(path, text, KEY_FILE_BYTES_MAX, error) == 0)
		return text;
	sodium_memzero(text, KEY_FILE_BYTES_MAX + 1);
	free(text);
	return NULL;
}
