/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * User tokens: strict verification of JWTs (RFC 7519) in compact form, and a cache of those that
 * were verified.
 *
 * The key named by `kid` decides the algorithm; the header's `alg` must only agree with it. A
 * token needs: header {alg, kid}, claims sub (account number as text) and exp; nbf is honoured;
 * groups (array of numbers) and ent (number) are optional. All times are whole seconds and are
 * compared without leeway. Refused are: any other algorithm, `crit`, JSON with a name twice,
 * base64 that is not canonical, tokens above HB_JWT_BYTES_MAX.
 *
 * The cache holds whole tokens and what they say until they expire. It is looked up by a hash with
 * a key of its own (an outsider cannot aim at one set) and compares the whole token. It is bounded:
 * HB_JWT_CACHE_ENTRIES tokens of at most HB_JWT_CACHED_BYTES_MAX bytes.
 *
 * One handle belongs to one thread (an nginx worker). Dying here loses the cache, which is
 * refilled.
 */
#ifndef HB_FRONT_JWT_H
#define HB_FRONT_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "front/keys.h"

#define HB_JWT_BYTES_MAX	4096
#define HB_JWT_GROUPS_MAX	64
#define HB_JWT_CACHE_ENTRIES	32768 /* a power of two */
#define HB_JWT_CACHED_BYTES_MAX 512
#define HB_GROUP_MAX		INT64_C(9007199254740991) /* exact as a JSON number everywhere */

/* What a verified token says. */
struct hb_identity {
	uint64_t account;
	int64_t expires_s; /* Unix seconds */
	uint32_t group_count;
	uint64_t groups[];
};

struct hb_jwt;

/**
 * Make a verifier.
 * @param keys must live as long as the handle
 * @return 0 or -ENOMEM; the caller ends it with hb_jwt_close
 */
int hb_jwt_open(struct hb_jwt **jwt, const struct hb_jwt_keys *keys);
void hb_jwt_close(struct hb_jwt *jwt);

/**
 * Verify a token.
 * @param now_s Unix seconds
 * @param why on failure a sentence for the client (static)
 * @return what it says, valid until the next call with this handle; NULL when it is refused
 */
const struct hb_identity *hb_jwt_verify(
	struct hb_jwt *jwt, const char *token, size_t length, int64_t now_s, const char **why);

/** True when the token vouches for the group. */
bool hb_identity_in_group(const struct hb_identity *identity, uint64_t group);

/** Tokens answered from the cache since the start: for tests. */
uint64_t hb_jwt_cache_hits(const struct hb_jwt *jwt);

#endif
