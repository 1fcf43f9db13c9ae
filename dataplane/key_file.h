/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading the money token keys: a line of 32 hexadecimal digits that signs, and up to three more of
 * keys that signed before, each with the Unix second up to which it verifies.
 *
 *     00112233445566778899aabbccddeeff
 *     ffeeddccbbaa99887766554433221100 1764115200
 */
#ifndef HB_DATAPLANE_KEY_FILE_H
#define HB_DATAPLANE_KEY_FILE_H

#include <stdint.h>

#include "shm/token.h"

#define HB_KEY_FILE_BYTES_MAX 256

/** Parse the text of a key file; it is cut into lines. @return 0 or -EINVAL */
int hb_key_text_parse(struct hb_token_keys *keys, char *text);

/**
 * Read the keys from a regular file that only its owner can read.
 * @param error on failure names the file, what is wrong and what to do
 * @return 0 or -errno
 */
int hb_key_file_read(const char *path, struct hb_token_keys *keys, char error[256]);

#endif
