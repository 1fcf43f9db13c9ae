/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User tokens. First byte even: the rest is a token as it comes, and must be refused unless we made
 * it. Odd: header and claims, each ended by a zero byte, are signed with the right key first, so
 * that what reads them is reached; by HMAC, or when the byte says 0x13 by Ed25519, which is slow.
 *
 * Parsers: front/jwt.c without hb_jwt_open hb_jwt_close hb_jwt_cache_hits hb_identity_in_group
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/hmac.h>

#include "front/jwt.h"
#include "tests/fuzz/fuzz.h"

#define NOW_S	   1700000000
#define TOKEN_ROOM (2 * HB_JWT_BYTES_MAX)

#define BY_EDDSA 0x13

static uint8_t secret[32]; /* of both keys */
static EVP_PKEY *pair;

static void
hex(char *to, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

static struct hb_jwt *
open_jwt(void)
{
	static struct hb_jwt_keys keys;
	char path[64], error[HB_JWT_KEYS_ERROR_BYTES], line[256];
	char secret_hex[65], public_hex[65];
	uint8_t public_key[32];
	size_t public_bytes = sizeof(public_key);
	struct hb_jwt *jwt = NULL;
	int fd, n;

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)i;
	pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof(secret));
	HB_ASSERT(pair != NULL);
	HB_ASSERT(EVP_PKEY_get_raw_public_key(pair, public_key, &public_bytes) == 1);
	hex(secret_hex, secret, sizeof(secret));
	hex(public_hex, public_key, sizeof(public_key));
	n = snprintf(line, sizeof(line), "k1 HS256 %s\ne1 EdDSA %s\n", secret_hex, public_hex);

	snprintf(path, sizeof(path), "/dev/shm/hb-fuzz-jwt-%d", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	HB_ASSERT(fd >= 0 && write(fd, line, (size_t)n) == n);
	if (hb_jwt_keys_load(&keys, path, error) != 0) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	HB_ASSERT(hb_jwt_open(&jwt, &keys) == 0);
	close(fd);
	unlink(path);
	return jwt;
}

static size_t
base64url(char *to, const void *bytes, size_t length)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *from = bytes;
	size_t out = 0;

	for (size_t i = 0; i < length; i += 3) {
		uint32_t three = (uint32_t)from[i] << 16 |
				 (i + 1 < length ? (uint32_t)from[i + 1] << 8 : 0) |
				 (i + 2 < length ? from[i + 2] : 0);

		for (size_t k = 0; k < 4 && i + k <= length; k++)
			to[out++] = digits[three >> (18 - 6 * k) & 63];
	}
	return out;
}

/* @return bytes of the signature */
static size_t
sign_text(uint8_t signature[64], const char *text, size_t length, bool by_eddsa)
{
	unsigned mac_bytes = 64;
	size_t bytes = 64;
	EVP_MD_CTX *digest;

	if (!by_eddsa) {
		HB_ASSERT(HMAC(EVP_sha256(), secret, sizeof(secret), (const uint8_t *)text, length,
			signature, &mac_bytes));
		return mac_bytes;
	}
	digest = EVP_MD_CTX_new();
	HB_ASSERT(digest != NULL && EVP_DigestSignInit(digest, NULL, NULL, NULL, pair) == 1);
	HB_ASSERT(EVP_DigestSign(digest, signature, &bytes, (const uint8_t *)text, length) == 1);
	EVP_MD_CTX_free(digest);
	return bytes;
}

static size_t
sign(char token[TOKEN_ROOM], struct hb_fuzz_input *input, bool by_eddsa)
{
	uint8_t signature[64];
	const char *header;
	size_t header_bytes = hb_fuzz_text(input, &header), n, bytes;

	if (header_bytes + input->left > HB_JWT_BYTES_MAX)
		return 0;
	n = base64url(token, header, header_bytes);
	token[n++] = '.';
	n += base64url(token + n, input->at, input->left);
	bytes = sign_text(signature, token, n, by_eddsa);
	token[n++] = '.';
	return n + base64url(token + n, signature, bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct hb_jwt *jwt;
	static char token[TOKEN_ROOM];
	struct hb_fuzz_input input = {bytes, length};
	const struct hb_identity *identity;
	const char *why = NULL;
	uint8_t way = hb_fuzz_byte(&input);
	bool ours = (way & 1) != 0;
	size_t n;

	if (jwt == NULL)
		jwt = open_jwt();
	if (ours) {
		n = sign(token, &input, way == BY_EDDSA);
	} else {
		n = input.left < sizeof(token) ? input.left : sizeof(token);
		memcpy(token, input.at, n);
	}
	identity = hb_jwt_verify(jwt, token, n, NOW_S, &why);
	if (identity == NULL) {
		HB_ASSERT(why != NULL && why[0] != '\0');
		return 0;
	}
	HB_ASSERT(ours); /* nobody guesses a MAC */
	HB_ASSERT(identity->account >= 1 && identity->expires_s > NOW_S);
	HB_ASSERT(identity->group_count <= HB_JWT_GROUPS_MAX);
	return 0;
}
