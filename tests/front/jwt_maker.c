/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * See jwt_maker.h. Only for tests: it signs whatever it is given.
 */
#include "jwt_maker.h"

#include <string.h>

#include <openssl/hmac.h>

#include "base/assert.h"

size_t
jwt_base64(char *out, const void *bytes, size_t length)
{
	int written = EVP_EncodeBlock((unsigned char *)out, bytes, (int)length);

	for (int i = 0; i < written; i++) {
		if (out[i] == '+')
			out[i] = '-';
		else if (out[i] == '/')
			out[i] = '_';
	}
	while (written > 0 && out[written - 1] == '=')
		written--;
	out[written] = '\0';
	return (size_t)written;
}

/* @return length of header.claims */
static size_t
put_text(char *out, const char *header, const char *claims)
{
	size_t length = jwt_base64(out, header, strlen(header));

	HB_ASSERT((strlen(header) + strlen(claims)) * 4 / 3 + 200 < JWT_TEXT_MAX);
	out[length++] = '.';
	return length + jwt_base64(out + length, claims, strlen(claims));
}

void
jwt_make_hs256(char out[JWT_TEXT_MAX], const char *header, const char *claims,
	const uint8_t *secret, size_t secret_bytes)
{
	size_t length = put_text(out, header, claims);
	uint8_t signature[32];

	HB_ASSERT(HMAC(EVP_sha256(), secret, (int)secret_bytes, (const unsigned char *)out, length,
			  signature, NULL) != NULL);
	out[length++] = '.';
	jwt_base64(out + length, signature, sizeof(signature));
}

void
jwt_make_eddsa(char out[JWT_TEXT_MAX], const char *header, const char *claims, EVP_PKEY *pair)
{
	size_t length = put_text(out, header, claims);
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	uint8_t signature[64];
	size_t signature_bytes = sizeof(signature);

	HB_ASSERT(EVP_DigestSignInit(digest, NULL, NULL, NULL, pair) == 1);
	HB_ASSERT(EVP_DigestSign(digest, signature, &signature_bytes, (const unsigned char *)out,
			  length) == 1);
	EVP_MD_CTX_free(digest);
	out[length++] = '.';
	jwt_base64(out + length, signature, signature_bytes);
}
