/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading the money token key.
 */
#ifndef HB_DATAPLANE_KEY_FILE_H
#define HB_DATAPLANE_KEY_FILE_H

#include <stdint.h>

#include "shm/token.h"

/**
 * Read 32 hexadecimal digits from a regular file that only its owner can read.
 * @param error on failure names the file, what is wrong and what to do
 * @return 0 or -errno
 */
int hb_key_file_read(const char *path, uint8_t key[HB_TOKEN_KEY_BYTES], char error[256]);

#endif
