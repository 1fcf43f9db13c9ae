/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Well-formed UTF-8 (RFC 3629 section 4), NUL excluded. Pure functions.
 */
#ifndef HB_BASE_UTF8_H
#define HB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of the character at `at`, 0 when it is malformed, cut off or NUL. `left` >= 1. */
static inline size_t
hb_utf8_length(const uint8_t *at, size_t left)
{
	/* By lead byte: length, and the bounds of the second byte. */
	static const struct {
		uint8_t first, last, length, second_min, second_max;
	} forms[] = {
		{0x01, 0x7f, 1, 0, 0},
		{0xc2, 0xdf, 2, 0x80, 0xbf},
		{0xe0, 0xe0, 3, 0xa0, 0xbf},
		{0xe1, 0xec, 3, 0x80, 0xbf},
		{0xed, 0xed, 3, 0x80, 0x9f},
		{0xee, 0xef, 3, 0x80, 0xbf},
		{0xf0, 0xf0, 4, 0x90, 0xbf},
		{0xf1, 0xf3, 4, 0x80, 0xbf},
		{0xf4, 0xf4, 4, 0x80, 0x8f},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (at[0] < forms[i].first || at[0] > forms[i].last)
			continue;
		if (forms[i].length > left)
			return 0;
		if (forms[i].length > 1 &&
			(at[1] < forms[i].second_min || at[1] > forms[i].second_max))
			return 0;
		for (size_t j = 2; j < forms[i].length; j++)
			if ((at[j] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

static inline bool
hb_utf8_valid(const uint8_t *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t n = hb_utf8_length(bytes + at, length - at);

		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

#endif
