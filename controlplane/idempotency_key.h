/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The engine's 16-byte key of one item of a request, made from the caller's Idempotency-Key.
 *
 *   first 16 bytes of SHA-256(key-id | 0x00 | Idempotency-Key | 0x00 | item index in decimal)
 *
 * A request without "items" is item 0. So a retry of a whole batch meets the same keys, and two
 * callers never meet each other's.
 */
#ifndef HB_CONTROLPLANE_IDEMPOTENCY_KEY_H
#define HB_CONTROLPLANE_IDEMPOTENCY_KEY_H

#include <stdbool.h>
#include <stdint.h>

#define HB_IDEMPOTENCY_TEXT_MAX 64

/** True for 1..64 visible ASCII characters. */
bool hb_idempotency_text_valid(const char *text);

/** @return 0, or -EIO when OpenSSL fails */
int hb_idempotency_key(uint8_t key[16], const char *key_id, const char *text, uint32_t item);

#endif
