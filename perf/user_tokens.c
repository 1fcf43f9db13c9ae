/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing user tokens: see user_tokens.h. Each token is made on the stack and printed; the key is
 * freed at the end. If the process dies, what was printed is whole lines but perhaps the last.
 */
#include "perf/user_tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hex.h"

#define SECRET_BYTES_MIN 32
#define SECRET_BYTES_MAX 128
#define ED25519_BYTES	 32
#define SIGNATURE_MAX	 64
#define PLAIN_MAX	 256
#define TOKEN_MAX	 1024

struct signer {
	uint8_t secret[SECRET_BYTES_MAX];
	size_t secret_bytes;
	EVP_PKEY *key; /* EdDSA; NULL: HS256 */
	EVP_MD_CTX *context;
};

static int
fail(char error[160], int result, const char *what)
{
	snprintf(error, 160, "%s", what);
	return result;
}

/* base64url without padding. @return characters written */
static size_t
base64url(char *out, const uint8_t *bytes, size_t count)
{
	size_t length = (size_t)EVP_EncodeBlock((uint8_t *)out, bytes, (int)count);

	while (length > 0 && out[length - 1] == '=')
		length--;
	out[length] = '\0';
	for (char *at = out; *at != '\0'; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
	return length;
}

static int
signer_open(struct signer *signer, const struct hb_user_tokens *tokens, char error[160])
{
	bool eddsa = strcmp(tokens->algorithm, "EdDSA") == 0;

	memset(signer, 0, sizeof(*signer));
	if (!eddsa && strcmp(tokens->algorithm, "HS256") != 0)
		return fail(error, -EINVAL, "--algorithm must be HS256 or EdDSA");
	if (OPENSSL_hexstr2buf_ex(signer->secret, sizeof(signer->secret), &signer->secret_bytes,
		    tokens->secret_hex, '\0') != 1)
		return fail(error, -EINVAL, "--secret must be hexadecimal, at most 128 bytes");
	if (eddsa ? signer->secret_bytes != ED25519_BYTES : signer->secret_bytes < SECRET_BYTES_MIN)
		return fail(error, -EINVAL, "--secret has 32 bytes for EdDSA, 32 to 128 for HS256");
	if (!eddsa)
		return 0;
	signer->key = EVP_PKEY_new_raw_private_key(
		EVP_PKEY_ED25519, NULL, signer->secret, signer->secret_bytes);
	signer->context = EVP_MD_CTX_new();
	if (signer->key == NULL || signer->context == NULL)
		return fail(error, -EIO, "libcrypto does not take the key");
	return 0;
}

static void
signer_close(struct signer *signer)
{
	EVP_MD_CTX_free(signer->context);
	EVP_PKEY_free(signer->key);
	OPENSSL_cleanse(signer, sizeof(*signer));
}

static int
public_key_print(const struct signer *signer, char error[160])
{
	char text[2 * ED25519_BYTES + 1];
	uint8_t key[ED25519_BYTES];
	size_t length = sizeof(key);

	if (signer->key == NULL || EVP_PKEY_get_raw_public_key(signer->key, key, &length) != 1)
		return fail(error, -EINVAL, "--public is for EdDSA");
	hb_hex_text(text, key, length);
	puts(text);
	return 0;
}

/* @return length of the signature, 0 when libcrypto fails */
static size_t
sign(const struct signer *signer, const char *text, size_t length, uint8_t out[SIGNATURE_MAX])
{
	unsigned int hmac_length = 0;
	size_t signature_length = SIGNATURE_MAX;

	if (signer->key == NULL) {
		if (HMAC(EVP_sha256(), signer->secret, (int)signer->secret_bytes,
			    (const uint8_t *)text, length, out, &hmac_length) == NULL)
			return 0;
		return hmac_length;
	}
	EVP_MD_CTX_reset(signer->context);
	if (EVP_DigestSignInit(signer->context, NULL, NULL, NULL, signer->key) != 1 ||
		EVP_DigestSign(signer->context, out, &signature_length, (const uint8_t *)text,
			length) != 1)
		return 0;
	return signature_length;
}

static int
token_print(const struct signer *signer, const struct hb_user_tokens *tokens, uint64_t account,
	uint64_t expires_s, char error[160])
{
	char head[PLAIN_MAX], claims[PLAIN_MAX], token[TOKEN_MAX], groups[48] = "";
	uint8_t signature[SIGNATURE_MAX];
	size_t length, signature_length;

	if (tokens->group > 0)
		snprintf(groups, sizeof(groups), ",\"groups\":[%" PRIu64 "]", tokens->group);
	int head_length = snprintf(head, sizeof(head),
		"{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}", tokens->algorithm, tokens->kid);
	int claims_length = snprintf(claims, sizeof(claims),
		"{\"sub\":\"%" PRIu64 "\",\"exp\":%" PRIu64 "%s}", account, expires_s, groups);

	if (head_length >= PLAIN_MAX || claims_length >= PLAIN_MAX)
		return fail(error, -EINVAL, "--kid is too long");
	length = base64url(token, (const uint8_t *)head, (size_t)head_length);
	token[length++] = '.';
	length += base64url(token + length, (const uint8_t *)claims, (size_t)claims_length);
	signature_length = sign(signer, token, length, signature);
	if (signature_length == 0)
		return fail(error, -EIO, "libcrypto does not sign");
	token[length++] = '.';
	base64url(token + length, signature, signature_length);
	return puts(token) >= 0 ? 0 : fail(error, -EIO, "standard output is gone");
}

int
hb_user_tokens_print(const struct hb_user_tokens *tokens, char error[160])
{
	uint64_t expires_s = hb_wall_ns() / 1000000000 + tokens->lifetime_s;
	struct signer signer;
	int result = signer_open(&signer, tokens, error);

	if (result == 0 && tokens->public_key)
		result = public_key_print(&signer, error);
	for (uint64_t i = 0; result == 0 && !tokens->public_key && i < tokens->count; i++)
		result = token_print(&signer, tokens, tokens->first + i, expires_s, error);
	signer_close(&signer);
	return result;
}
