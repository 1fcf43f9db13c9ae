/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading the text of a key file, which nobody but its owner may read. The text is the caller's,
 * who wipes it.
 */
#ifndef HB_BASE_KEY_TEXT_H
#define HB_BASE_KEY_TEXT_H

#include <stddef.h>

/**
 * Read a regular file whose group and others have no rights; a link is refused, and a FIFO in its
 * place does not hold us.
 * @param text room for bytes_max + 1; NUL terminated on success
 * @param bytes_max of the file
 * @param error on failure names the file, what is wrong and what to do
 * @return 0; -EACCES (rights of others), -EINVAL (no regular file, longer than bytes_max, or a NUL
 * in it), -ELOOP (a link), or -errno of open
 */
int hb_key_text_read(const char *path, char *text, size_t bytes_max, char error[256]);

#endif
