/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Which nonces of signed requests were seen, so that a recorded request cannot be sent again.
 *
 * Two generations of a hash set: new nonces go into the young one, both are searched, and when the
 * young one is a period old it becomes the old one, whose content is forgotten. So a nonce is
 * remembered for at least one period and at most two, nothing is ever deleted singly, and memory
 * is bounded. A nonce is kept as 128 bits of its SHA-256.
 *
 * In memory only: after a restart, requests signed before the start are refused (signature.h).
 */
#ifndef HB_CONTROLPLANE_NONCE_CACHE_H
#define HB_CONTROLPLANE_NONCE_CACHE_H

#include <stdint.h>

#define HB_NONCES_MAX (1u << 19) /* of one generation; twice as many slots */

struct hb_nonce_cache;

/**
 * @param capacity nonces of one generation, a power of two
 * @param period_s how long a nonce is remembered at least
 * @return 0 or -ENOMEM
 */
int hb_nonce_cache_create(struct hb_nonce_cache **cache, uint32_t capacity, uint64_t period_s);
void hb_nonce_cache_destroy(struct hb_nonce_cache *cache);

/**
 * Remember a nonce. Thread safe.
 * @param fingerprint 16 bytes of a hash over caller and nonce
 * @param now_s any clock that does not go back
 * @return 0, -EEXIST when it was seen before, -ENOSPC when the generation is full
 */
int hb_nonce_cache_add(struct hb_nonce_cache *cache, const uint8_t fingerprint[16], uint64_t now_s);

#endif
