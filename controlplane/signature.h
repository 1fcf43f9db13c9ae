/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Signed requests of business systems (docs/openapi.yaml, "Signing").
 *
 *   X-HB-Signature = hex(HMAC-SHA256(secret,
 *       METHOD \n PATH?QUERY \n TIMESTAMP \n NONCE \n hex(SHA256(body))))
 *
 * A request is accepted once: the timestamp is within HB_SIGNATURE_WINDOW_S of now and not before
 * this process began, and the nonce was not seen. The nonce is remembered only after the signature
 * was right, so strangers cannot fill the cache.
 */
#ifndef HB_CONTROLPLANE_SIGNATURE_H
#define HB_CONTROLPLANE_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

#include "controlplane/business_keys.h"
#include "controlplane/nonce_cache.h"

#define HB_SIGNATURE_WINDOW_S	300
#define HB_NONCE_LENGTH_MIN	8
#define HB_NONCE_LENGTH_MAX	64
#define HB_SIGNATURE_HEX_LENGTH 64

struct hb_signature_checker {
	struct hb_business_keys *keys; /* swapped by hb_signature_keys_swap; read under RCU */
	struct hb_nonce_cache *nonces;
	uint64_t started_s; /* Unix seconds; older signatures are refused */
};

/* What is signed and how; texts are NUL terminated, NULL when the header is missing. */
struct hb_signed_request {
	const char *method;
	const char *uri; /* PATH?QUERY as the client sent it */
	const char *key_id;
	const char *timestamp;
	const char *nonce;
	const char *signature;
	const void *body;
	size_t body_bytes;
};

enum hb_signature_result {
	HB_SIGNATURE_OK,
	HB_SIGNATURE_MISSING,	/* a header is missing or malformed */
	HB_SIGNATURE_KEY,	/* unknown key id */
	HB_SIGNATURE_TIMESTAMP, /* outside the window or before our start */
	HB_SIGNATURE_WRONG,
	HB_SIGNATURE_REPLAYED, /* the nonce was seen */
	HB_SIGNATURE_BUSY,     /* the nonce cache is full */
};

/** Write the signature of a request, 64 hexadecimal digits and NUL. @return 0 or -EIO (OpenSSL) */
int hb_signature_make(char out[HB_SIGNATURE_HEX_LENGTH + 1], const struct hb_business_key *key,
	const struct hb_signed_request *request);

/**
 * Check a request. Thread safe, also while the keys are swapped.
 * @param now_s Unix seconds
 */
enum hb_signature_result hb_signature_check(const struct hb_signature_checker *checker,
	const struct hb_signed_request *request, uint64_t now_s);

/**
 * Take other keys from now on, NULL: none. Returns when no check uses the old ones any more, and
 * frees them. One caller at a time.
 */
void hb_signature_keys_swap(struct hb_signature_checker *checker, struct hb_business_keys *keys);

/** One sentence for the caller. */
const char *hb_signature_message(enum hb_signature_result result);

#endif
