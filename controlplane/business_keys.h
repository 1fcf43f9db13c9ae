/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The secrets of business systems: key/business.keys, lines `key-id hex-secret`, `#` comments.
 *
 * Read at start and again on SIGHUP. The table owns the secrets and
 * wipes them when it is freed.
 */
#ifndef HB_CONTROLPLANE_BUSINESS_KEYS_H
#define HB_CONTROLPLANE_BUSINESS_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define HB_BUSINESS_KEYS_MAX	     256
#define HB_BUSINESS_KEYS_BYTES_MAX   131072 /* of the file, with comments */
#define HB_BUSINESS_KEY_ID_MAX	     32	    /* letters, digits, - and _ */
#define HB_BUSINESS_SECRET_BYTES_MIN 16
#define HB_BUSINESS_SECRET_BYTES_MAX 64

struct hb_business_key {
	char id[HB_BUSINESS_KEY_ID_MAX + 1];
	uint8_t secret[HB_BUSINESS_SECRET_BYTES_MAX];
	size_t secret_bytes;
};

struct hb_business_keys {
	struct hb_business_key key[HB_BUSINESS_KEYS_MAX];
	uint32_t count;
};

/**
 * Read the file. Refused by name: missing, not a regular file, readable by group or others, a line
 * that is not understood, an id that comes twice, no key at all.
 * @param error one sentence that says what is wrong and what to do
 * @return 0 with *keys for hb_business_keys_free, or -errno
 */
int hb_business_keys_load(struct hb_business_keys **keys, const char *path, char error[256]);
void hb_business_keys_free(struct hb_business_keys *keys);

/** The key of an id, or NULL. */
const struct hb_business_key *hb_business_key_find(
	const struct hb_business_keys *keys, const char *id);

#endif
