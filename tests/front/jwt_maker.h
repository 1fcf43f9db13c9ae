/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Makes user tokens for tests, good and broken ones: base64 of any header and claims, signed with
 * a key of either algorithm. Texts belong to the caller.
 */
#ifndef HB_TESTS_FRONT_JWT_MAKER_H
#define HB_TESTS_FRONT_JWT_MAKER_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#define JWT_TEXT_MAX 8192

/** base64url without padding; NUL terminated. @return length */
size_t jwt_base64(char *out, const void *bytes, size_t length);

/** header.claims signed by HMAC-SHA256 with the secret. */
void jwt_make_hs256(char out[JWT_TEXT_MAX], const char *header, const char *claims,
	const uint8_t *secret, size_t secret_bytes);

/** header.claims signed by an Ed25519 key pair. */
void jwt_make_eddsa(char out[JWT_TEXT_MAX], const char *header, const char *claims, EVP_PKEY *pair);

#endif
