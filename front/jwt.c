/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Verification of user tokens and the cache of verified ones (front/jwt.h). The handle owns the
 * cache's memory; an entry is one allocation that ends when it expires or makes room. Nothing here
 * outlives the process.
 */
#include "front/jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <sodium/crypto_shorthash.h>
#include <sodium/randombytes.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/ids.h"

#define WAYS		    4 /* places of one hash in the cache */
#define HEADER_BYTES_MAX    512
#define SIGNATURE_BYTES_MAX 64
#define HS256_BYTES	    32
#define ED25519_BYTES	    64

_Static_assert((HB_JWT_CACHE_ENTRIES & (HB_JWT_CACHE_ENTRIES - 1)) == 0, "power of two");

struct entry {
	uint64_t hash;
	uint32_t token_bytes;
	char *token; /* behind the identity, in the same allocation */
	struct hb_identity identity;
};

struct hb_jwt {
	const struct hb_jwt_keys *keys;
	EVP_MAC_CTX *mac;
	EVP_MD_CTX *digest;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	uint64_t hits;
	struct entry *cache[HB_JWT_CACHE_ENTRIES];
	union { /* of the token verified last */
		struct hb_identity identity;
		uint8_t room[sizeof(struct hb_identity) + HB_JWT_GROUPS_MAX * sizeof(uint64_t)];
	} last;
};

struct part {
	const char *at;
	size_t length;
};

int
hb_jwt_open(struct hb_jwt **out, const struct hb_jwt_keys *keys)
{
	struct hb_jwt *jwt = calloc(1, sizeof(*jwt));
	EVP_MAC *mac;

	*out = NULL;
	if (jwt == NULL)
		return -ENOMEM;
	jwt->keys = keys;
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	jwt->mac = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac); /* the context holds it */
	jwt->digest = EVP_MD_CTX_new();
	if (jwt->mac == NULL || jwt->digest == NULL) {
		hb_jwt_close(jwt);
		return -ENOMEM;
	}
	randombytes_buf(jwt->hash_key, sizeof(jwt->hash_key));
	*out = jwt;
	return 0;
}

void
hb_jwt_close(struct hb_jwt *jwt)
{
	if (jwt == NULL)
		return;
	for (size_t i = 0; i < HB_JWT_CACHE_ENTRIES; i++)
		free(jwt->cache[i]);
	EVP_MAC_CTX_free(jwt->mac);
	EVP_MD_CTX_free(jwt->digest);
	free(jwt);
}

/* The cache. */

static uint64_t
cache_hash(const struct hb_jwt *jwt, const char *token, size_t length)
{
	uint64_t hash;

	_Static_assert(crypto_shorthash_BYTES == sizeof(hash), "SipHash-2-4");
	crypto_shorthash(
		(unsigned char *)&hash, (const unsigned char *)token, length, jwt->hash_key);
	return hash;
}

/* The places where a hash may lie: `WAYS` pointers. */
static struct entry **
cache_set(struct hb_jwt *jwt, uint64_t hash)
{
	return &jwt->cache[hash & (HB_JWT_CACHE_ENTRIES - WAYS)];
}

static struct entry **
cache_find(struct hb_jwt *jwt, uint64_t hash, const char *token, size_t length)
{
	struct entry **set = cache_set(jwt, hash);

	for (size_t i = 0; i < WAYS; i++) {
		const struct entry *entry = set[i];

		if (entry != NULL && entry->hash == hash && entry->token_bytes == length &&
			CRYPTO_memcmp(entry->token, token, length) == 0)
			return &set[i];
	}
	return NULL;
}

/* Without memory nothing is kept: the next request verifies again. */
static void
cache_put(struct hb_jwt *jwt, uint64_t hash, const char *token, size_t length, int64_t now_s)
{
	const struct hb_identity *identity = &jwt->last.identity;
	size_t identity_bytes = sizeof(*identity) + identity->group_count * sizeof(uint64_t);
	struct entry **set = cache_set(jwt, hash), **place = NULL;
	struct entry *entry = malloc(offsetof(struct entry, identity) + identity_bytes + length);

	if (entry == NULL)
		return;
	for (size_t i = 0; i < WAYS && place == NULL; i++)
		if (set[i] == NULL || set[i]->identity.expires_s <= now_s)
			place = &set[i];
	if (place == NULL)
		place = &set[hash >> 62];
	entry->hash = hash;
	entry->token_bytes = (uint32_t)length;
	memcpy(&entry->identity, identity, identity_bytes);
	entry->token = (char *)&entry->identity + identity_bytes;
	memcpy(entry->token, token, length);
	free(*place);
	*place = entry;
}

/* Base64 of RFC 7515: URL alphabet, no padding, no bits left over. */

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

/* @return bytes written, or -1 when it is not canonical or does not fit */
static ssize_t
base64_decode(struct part part, uint8_t *out, size_t capacity)
{
	uint32_t bits = 0, bit_count = 0;
	size_t length = 0;

	for (size_t i = 0; i < part.length; i++) {
		int digit = base64_digit(part.at[i]);

		if (digit < 0)
			return -1;
		bits = bits << 6 | (uint32_t)digit;
		bit_count += 6;
		if (bit_count < 8)
			continue;
		bit_count -= 8;
		if (length == capacity)
			return -1;
		out[length++] = (uint8_t)(bits >> bit_count);
		bits &= (1u << bit_count) - 1;
	}
	/* One character alone carries no byte; bits that do not fill one must be zero. */
	if (part.length % 4 == 1 || bits != 0)
		return -1;
	return (ssize_t)length;
}

static bool
split_token(const char *token, size_t length, struct part parts[3])
{
	const char *end = token + length;
	const char *first = memchr(token, '.', length);
	const char *second;

	if (first == NULL)
		return false;
	second = memchr(first + 1, '.', (size_t)(end - first - 1));
	if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
		return false;
	parts[0] = (struct part){token, (size_t)(first - token)};
	parts[1] = (struct part){first + 1, (size_t)(second - first - 1)};
	parts[2] = (struct part){second + 1, (size_t)(end - second - 1)};
	return true;
}

static json_t *
load_object(const uint8_t *bytes, size_t length)
{
	json_error_t error;
	json_t *object = json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, &error);

	if (object != NULL && !json_is_object(object)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* The key that the header names, if its algorithm is the one the header claims. */
static const struct hb_jwt_key *
key_of(const struct hb_jwt *jwt, struct part part, const char **why)
{
	uint8_t bytes[HEADER_BYTES_MAX];
	ssize_t length = base64_decode(part, bytes, sizeof(bytes));
	json_t *header = length < 0 ? NULL : load_object(bytes, (size_t)length);
	const json_t *kid = json_object_get(header, "kid");
	const char *alg = json_string_value(json_object_get(header, "alg"));
	const struct hb_jwt_key *key = NULL;

	*why = "the token's header is malformed";
	if (header == NULL || alg == NULL)
		goto out;
	*why = "the token's header asks for extensions";
	if (json_object_get(header, "crit") != NULL)
		goto out;
	*why = "the token's kid names no key";
	if (!json_is_string(kid))
		goto out;
	key = hb_jwt_keys_find(jwt->keys, json_string_value(kid), json_string_length(kid));
	if (key == NULL)
		goto out;
	*why = "the token's alg is not that of its key";
	if (strcmp(alg, key->algorithm == HB_JWT_HS256 ? "HS256" : "EdDSA") != 0)
		key = NULL;
out:
	json_decref(header);
	return key;
}

static bool
hs256_agrees(struct hb_jwt *jwt, const struct hb_jwt_key *key, struct part text,
	const uint8_t signature[HS256_BYTES])
{
	char name[] = "SHA256";
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_end(),
	};
	uint8_t own[HS256_BYTES];
	size_t own_bytes = 0;

	return EVP_MAC_init(jwt->mac, key->secret, key->secret_bytes, parameters) == 1 &&
	       EVP_MAC_update(jwt->mac, (const unsigned char *)text.at, text.length) == 1 &&
	       EVP_MAC_final(jwt->mac, own, &own_bytes, sizeof(own)) == 1 &&
	       own_bytes == sizeof(own) && CRYPTO_memcmp(own, signature, sizeof(own)) == 0;
}

static bool
eddsa_agrees(struct hb_jwt *jwt, const struct hb_jwt_key *key, struct part text,
	const uint8_t signature[ED25519_BYTES])
{
	bool agrees;

	agrees = EVP_DigestVerifyInit(jwt->digest, NULL, NULL, NULL, key->public_key) == 1 &&
		 EVP_DigestVerify(jwt->digest, signature, ED25519_BYTES,
			 (const unsigned char *)text.at, text.length) == 1;
	EVP_MD_CTX_reset(jwt->digest);
	return agrees;
}

static bool
signature_agrees(
	struct hb_jwt *jwt, const struct hb_jwt_key *key, struct part text, struct part part)
{
	uint8_t signature[SIGNATURE_BYTES_MAX];
	ssize_t length = base64_decode(part, signature, sizeof(signature));

	if (key->algorithm == HB_JWT_HS256)
		return length == HS256_BYTES && hs256_agrees(jwt, key, text, signature);
	return length == ED25519_BYTES && eddsa_agrees(jwt, key, text, signature);
}

/* Decimal, no sign, no leading zero. @return 0 when it is no account number */
static uint64_t
account_of(const json_t *subject)
{
	const char *text = json_string_value(subject);
	size_t length = json_string_length(subject);
	uint64_t account = 0;

	if (text == NULL || length == 0 || length > 16 || text[0] == '0')
		return 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		account = account * 10 + (uint64_t)(text[i] - '0');
	}
	return hb_is_user_account(account) ? account : 0;
}

static bool
take_groups(struct hb_identity *identity, const json_t *groups)
{
	identity->group_count = 0;
	if (groups == NULL)
		return true;
	if (!json_is_array(groups) || json_array_size(groups) > HB_JWT_GROUPS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(groups); i++) {
		const json_t *group = json_array_get(groups, i);

		if (!json_is_integer(group) || json_integer_value(group) < 1 ||
			json_integer_value(group) > HB_GROUP_MAX)
			return false;
		identity->groups[identity->group_count++] = (uint64_t)json_integer_value(group);
	}
	return true;
}

static bool
is_positive(const json_t *number)
{
	return json_is_integer(number) && json_integer_value(number) >= 1;
}

/* @return NULL, or what is wrong */
static const char *
take_claims(struct hb_identity *identity, const json_t *claims, int64_t now_s)
{
	const json_t *not_before = json_object_get(claims, "nbf");
	const json_t *expires = json_object_get(claims, "exp");
	const json_t *enterprise = json_object_get(claims, "ent");

	identity->account = account_of(json_object_get(claims, "sub"));
	if (identity->account == 0)
		return "the token's sub is not an account number as text";
	if (!is_positive(expires))
		return "the token has no exp in whole seconds";
	identity->expires_s = json_integer_value(expires);
	if (now_s >= identity->expires_s)
		return "the token has expired";
	if (not_before != NULL && !json_is_integer(not_before))
		return "the token's nbf is not in whole seconds";
	if (not_before != NULL && now_s < json_integer_value(not_before))
		return "the token is not valid yet";
	if (!take_groups(identity, json_object_get(claims, "groups")))
		return "the token's groups are not at most 64 positive whole numbers";
	if (enterprise != NULL && !is_positive(enterprise))
		return "the token's ent is not a positive whole number";
	return NULL;
}

/* Everything that needs no cache; fills jwt->last. @return NULL, or what is wrong */
static const char *
verify_afresh(struct hb_jwt *jwt, const char *token, size_t length, int64_t now_s)
{
	uint8_t bytes[HB_JWT_BYTES_MAX];
	const struct hb_jwt_key *key;
	struct part parts[3], signed_text;
	ssize_t claims_bytes;
	const char *wrong;
	json_t *claims;

	if (!split_token(token, length, parts))
		return "the token does not have three parts";
	key = key_of(jwt, parts[0], &wrong);
	if (key == NULL)
		return wrong;
	signed_text = (struct part){token, (size_t)(parts[2].at - 1 - token)};
	if (!signature_agrees(jwt, key, signed_text, parts[2]))
		return "the token's signature is wrong";
	claims_bytes = base64_decode(parts[1], bytes, sizeof(bytes));
	claims = claims_bytes < 0 ? NULL : load_object(bytes, (size_t)claims_bytes);
	if (claims == NULL)
		return "the token's claims are malformed";
	wrong = take_claims(&jwt->last.identity, claims, now_s);
	json_decref(claims);
	return wrong;
}

const struct hb_identity *
hb_jwt_verify(struct hb_jwt *jwt, const char *token, size_t length, int64_t now_s, const char **why)
{
	struct entry **found;
	uint64_t hash;

	if (length > HB_JWT_BYTES_MAX) {
		*why = "the token is too long";
		return NULL;
	}
	hash = cache_hash(jwt, token, length);
	found = cache_find(jwt, hash, token, length);
	if (found != NULL && now_s < (*found)->identity.expires_s) {
		jwt->hits++;
		return &(*found)->identity;
	}
	if (found != NULL) {
		free(*found);
		*found = NULL;
	}
	*why = verify_afresh(jwt, token, length, now_s);
	if (*why != NULL)
		return NULL;
	if (length <= HB_JWT_CACHED_BYTES_MAX)
		cache_put(jwt, hash, token, length, now_s);
	return &jwt->last.identity;
}

bool
hb_identity_in_group(const struct hb_identity *identity, uint64_t group)
{
	for (uint32_t i = 0; i < identity->group_count; i++)
		if (identity->groups[i] == group)
			return true;
	return false;
}

uint64_t
hb_jwt_cache_hits(const struct hb_jwt *jwt)
{
	return jwt->hits;
}
