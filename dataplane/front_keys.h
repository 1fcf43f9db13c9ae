/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Keys of fronts on other machines (key/frame.keys): whoever has one may send frames over a port,
 * within its operations.
 *
 *   # id   32 hex digits                      operations, or "front" for all a front may do
 *   1      00112233445566778899aabbccddeeff   front
 *   2      ffeeddccbbaa99887766554433221100   grab,detail
 *
 * Several keys hold at once, so a key is changed without a pause: add the new one, SIGHUP, change
 * the fronts, take the old one out, SIGHUP. No key can have an operation that only control has.
 */
#ifndef HB_DATAPLANE_FRONT_KEYS_H
#define HB_DATAPLANE_FRONT_KEYS_H

#include <stdint.h>

#include "dataplane/wire.h"

#define HB_FRONT_KEYS_MAX	64
#define HB_FRONT_KEYS_BYTES_MAX 16384

struct hb_front_key {
	uint32_t id; /* 1..2^32-1 */
	uint64_t operation_mask;
	uint8_t key[HB_DATAGRAM_KEY_BYTES];
};

struct hb_front_keys {
	uint32_t count;
	struct hb_front_key key[HB_FRONT_KEYS_MAX];
};

/**
 * Read the file: a regular file without rights of group and others.
 * @param error what is wrong, with the line
 * @return 0 or -errno; `keys` is filled only with 0
 */
int hb_front_keys_read(struct hb_front_keys *keys, const char *path, char error[256]);

/** The key of an id, or NULL. */
const struct hb_front_key *hb_front_key_find(const struct hb_front_keys *keys, uint32_t id);

#endif
