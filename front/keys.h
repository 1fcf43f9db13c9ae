/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The keys that user tokens (JWT) are verified with, read from a file.
 *
 * The file has one key per line: `kid HS256 <secret as hex>` or `kid EdDSA <public key as hex>`;
 * empty lines and lines that begin with # are skipped. Several keys may be live at once, so that
 * the business system can change from one to the next. The file must be a regular file that
 * neither group nor others may read; what is wrong is said with the file's name, never with its
 * contents.
 *
 * Read once by nginx's master while it reads its configuration; workers inherit the memory and do
 * not write it. The caller owns the set and ends it with hb_jwt_keys_clear. If the process dies
 * here nothing is left behind.
 */
#ifndef HB_FRONT_KEYS_H
#define HB_FRONT_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#define HB_JWT_KEYS_MAX		  16
#define HB_JWT_KID_MAX		  64 /* characters: letters, digits, '.', '_', '-' */
#define HB_JWT_SECRET_BYTES_MIN	  32 /* of HS256: no shorter than its hash */
#define HB_JWT_SECRET_BYTES_MAX	  128
#define HB_JWT_KEY_FILE_BYTES_MAX 16384
#define HB_JWT_KEYS_ERROR_BYTES	  512

enum hb_jwt_algorithm {
	HB_JWT_HS256 = 1,
	HB_JWT_EDDSA = 2, /* Ed25519 */
};

struct hb_jwt_key {
	char kid[HB_JWT_KID_MAX + 1];
	enum hb_jwt_algorithm algorithm;
	uint32_t secret_bytes;			 /* HS256 */
	uint8_t secret[HB_JWT_SECRET_BYTES_MAX]; /* HS256 */
	EVP_PKEY *public_key;			 /* EdDSA */
};

struct hb_jwt_keys {
	uint32_t count;
	struct hb_jwt_key key[HB_JWT_KEYS_MAX];
};

/**
 * Read a key file.
 * @param keys filled; on failure it is empty
 * @param error on failure one sentence: which file, what is wrong, what to do
 * @return 0, -ENOENT, -EACCES (rights too wide), -EINVAL (contents), or another -errno
 */
int hb_jwt_keys_load(
	struct hb_jwt_keys *keys, const char *path, char error[HB_JWT_KEYS_ERROR_BYTES]);

/** The key of that name, or NULL. Any thread, as nobody writes the set. */
const struct hb_jwt_key *hb_jwt_keys_find(
	const struct hb_jwt_keys *keys, const char *kid, size_t length);

/** Wipe and free. Safe on a set of zeros. */
void hb_jwt_keys_clear(struct hb_jwt_keys *keys);

#endif
