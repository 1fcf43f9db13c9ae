/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User tokens. First byte even: the rest is a token as it comes, and must be refused unless we made
 * it. Odd: header and claims, each ended by a zero byte, are signed with the right key first, so
 * that what reads them is reached.
 *
 * Parsers: front/jwt.c
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

static const char secret_hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static struct hb_jwt *
open_jwt(void)
{
	static struct hb_jwt_keys keys;
	char path[64], error[HB_JWT_KEYS_ERROR_BYTES], line[160];
	struct hb_jwt *jwt = NULL;
	int fd;
	int n = snprintf(line, sizeof(line), "k1 HS256 %s\n", secret_hex);

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

static size_t
sign(char token[TOKEN_ROOM], struct hb_fuzz_input *input)
{
	uint8_t key[32], mac[32];
	const char *header;
	unsigned mac_bytes = sizeof(mac);
	size_t header_bytes = hb_fuzz_text(input, &header), n;

	if (header_bytes + input->left > HB_JWT_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	n = base64url(token, header, header_bytes);
	token[n++] = '.';
	n += base64url(token + n, input->at, input->left);
	HB_ASSERT(HMAC(EVP_sha256(), key, sizeof(key), (uint8_t *)token, n, mac, &mac_bytes));
	token[n++] = '.';
	return n + base64url(token + n, mac, sizeof(mac));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct hb_jwt *jwt;
	static char token[TOKEN_ROOM];
	struct hb_fuzz_input input = {bytes, length};
	const struct hb_identity *identity;
	const char *why = NULL;
	bool ours = (hb_fuzz_byte(&input) & 1) != 0;
	size_t n;

	if (jwt == NULL)
		jwt = open_jwt();
	if (ours) {
		n = sign(token, &input);
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
