/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * User tokens (JWT) as the business system would sign them, many at a time, so that a benchmark
 * can show the front tokens that it has not seen: front/jwt.h is the verifier.
 *
 * Keys come from the caller and are forgotten at the end; a key of a benchmark's own is no secret.
 */
#ifndef HB_PERF_USER_TOKENS_H
#define HB_PERF_USER_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

struct hb_user_tokens {
	const char *algorithm;	/* HS256 or EdDSA */
	const char *secret_hex; /* HS256: the secret; EdDSA: 32 bytes of seed */
	const char *kid;
	uint64_t first; /* account of the first token */
	uint64_t count;
	uint64_t group; /* that each vouches for; 0: none */
	uint64_t lifetime_s;
	bool public_key; /* print the public key of EdDSA instead */
};

/**
 * Print the tokens to standard output, one a line.
 * @param error says what is wrong on failure
 * @return 0, -EINVAL (algorithm or key), -EIO (libcrypto, or standard output)
 */
int hb_user_tokens_print(const struct hb_user_tokens *tokens, char error[160]);

#endif
