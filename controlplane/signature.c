/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks signed requests (signature.h). No state of its own: keys and nonces belong to their
 * tables.
 */
#include "controlplane/signature.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <urcu-bp.h>

#include "base/hex.h"
#include "controlplane/json_fields.h"

#define DIGEST_BYTES  32
#define TIMESTAMP_MAX UINT64_C(99999999999)

static int
mac(uint8_t out[DIGEST_BYTES], const struct hb_business_key *key, const char *const *parts,
	size_t part_count)
{
	EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};
	size_t length = 0;
	int result = -EIO;

	if (!context || !EVP_MAC_init(context, key->secret, key->secret_bytes, parameters))
		goto out;
	for (size_t i = 0; i < part_count; i++) {
		if ((i && !EVP_MAC_update(context, (const uint8_t *)"\n", 1)) ||
			!EVP_MAC_update(context, (const uint8_t *)parts[i], strlen(parts[i])))
			goto out;
	}
	if (EVP_MAC_final(context, out, &length, DIGEST_BYTES) && length == DIGEST_BYTES)
		result = 0;
out:
	EVP_MAC_CTX_free(context);
	EVP_MAC_free(algorithm);
	return result;
}

int
hb_signature_make(char out[HB_SIGNATURE_HEX_LENGTH + 1], const struct hb_business_key *key,
	const struct hb_signed_request *request)
{
	uint8_t digest[DIGEST_BYTES];
	char body_hex[2 * DIGEST_BYTES + 1];
	const char *parts[] = {
		request->method, request->uri, request->timestamp, request->nonce, body_hex};

	if (!EVP_Digest(request->body_bytes ? request->body : "", request->body_bytes, digest, NULL,
		    EVP_sha256(), NULL))
		return -EIO;
	hb_hex_text(body_hex, digest, DIGEST_BYTES);
	if (mac(digest, key, parts, sizeof(parts) / sizeof(parts[0])) != 0)
		return -EIO;
	hb_hex_text(out, digest, DIGEST_BYTES);
	return 0;
}

static bool
well_formed(const struct hb_signed_request *request)
{
	size_t nonce_length;

	if (!request->key_id || !request->timestamp || !request->nonce || !request->signature)
		return false;
	nonce_length = strlen(request->nonce);
	if (nonce_length < HB_NONCE_LENGTH_MIN || nonce_length > HB_NONCE_LENGTH_MAX)
		return false;
	for (const char *c = request->nonce; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	return strlen(request->signature) == HB_SIGNATURE_HEX_LENGTH;
}

static bool
in_time(const struct hb_signature_checker *checker, uint64_t timestamp_s, uint64_t now_s)
{
	return timestamp_s >= checker->started_s && timestamp_s + HB_SIGNATURE_WINDOW_S >= now_s &&
	       timestamp_s <= now_s + HB_SIGNATURE_WINDOW_S;
}

static enum hb_signature_result
remember(const struct hb_signature_checker *checker, const char *key_id, const char *nonce,
	uint64_t now_s)
{
	char text[HB_BUSINESS_KEY_ID_MAX + 1 + HB_NONCE_LENGTH_MAX + 1];
	uint8_t digest[DIGEST_BYTES];
	int length = snprintf(text, sizeof(text), "%s %s", key_id, nonce);

	if (!EVP_Digest(text, (size_t)length, digest, NULL, EVP_sha256(), NULL))
		return HB_SIGNATURE_BUSY;
	switch (hb_nonce_cache_add(checker->nonces, digest, now_s)) {
	case 0:
		return HB_SIGNATURE_OK;
	case -EEXIST:
		return HB_SIGNATURE_REPLAYED;
	default:
		return HB_SIGNATURE_BUSY;
	}
}

/* Is it signed with the key it names? The keys stay while we are in here. */
static enum hb_signature_result
check_signature(const struct hb_signature_checker *checker, const struct hb_signed_request *request)
{
	char expected[HB_SIGNATURE_HEX_LENGTH + 1];
	const struct hb_business_keys *keys = rcu_dereference(checker->keys);
	const struct hb_business_key *key =
		keys == NULL ? NULL : hb_business_key_find(keys, request->key_id);

	if (key == NULL)
		return HB_SIGNATURE_KEY;
	if (hb_signature_make(expected, key, request) != 0)
		return HB_SIGNATURE_BUSY;
	if (CRYPTO_memcmp(expected, request->signature, HB_SIGNATURE_HEX_LENGTH) != 0)
		return HB_SIGNATURE_WRONG;
	return HB_SIGNATURE_OK;
}

enum hb_signature_result
hb_signature_check(const struct hb_signature_checker *checker,
	const struct hb_signed_request *request, uint64_t now_s)
{
	enum hb_signature_result result;
	uint64_t timestamp_s;

	if (!well_formed(request) ||
		!hb_decimal_parse(request->timestamp, TIMESTAMP_MAX, &timestamp_s))
		return HB_SIGNATURE_MISSING;
	rcu_read_lock();
	result = check_signature(checker, request);
	rcu_read_unlock();
	if (result != HB_SIGNATURE_OK)
		return result;
	if (!in_time(checker, timestamp_s, now_s))
		return HB_SIGNATURE_TIMESTAMP;
	return remember(checker, request->key_id, request->nonce, now_s);
}

void
hb_signature_keys_swap(struct hb_signature_checker *checker, struct hb_business_keys *keys)
{
	struct hb_business_keys *old = rcu_xchg_pointer(&checker->keys, keys);

	synchronize_rcu();
	hb_business_keys_free(old);
}

const char *
hb_signature_message(enum hb_signature_result result)
{
	switch (result) {
	case HB_SIGNATURE_OK:
		return "";
	case HB_SIGNATURE_MISSING:
		return "X-HB-Key, X-HB-Timestamp (Unix seconds), X-HB-Nonce (8..64 visible "
		       "characters) "
		       "and X-HB-Signature (64 hexadecimal digits) are required";
	case HB_SIGNATURE_KEY:
		return "X-HB-Key names no key of this node";
	case HB_SIGNATURE_TIMESTAMP:
		return "X-HB-Timestamp is more than 300 s from our clock or before our start; sign "
		       "the "
		       "request again with the time of now";
	case HB_SIGNATURE_WRONG:
		return "X-HB-Signature does not match the request";
	case HB_SIGNATURE_REPLAYED:
		return "X-HB-Nonce was used before; sign the request again with a new one";
	case HB_SIGNATURE_BUSY:
		return "too many requests in the last minutes; ask again later";
	}
	return "unknown";
}
