/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Hexadecimal digits into bytes and numbers, and back. Nothing here looks behind the first
 * character that is no digit, so a NUL ends a text that is too short.
 */
#ifndef HB_BASE_HEX_H
#define HB_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HB_HEX_U64_DIGITS 16

/** @return the value of a digit of either case, -1 when it is none */
static inline int
hb_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/** Read `count` bytes from twice as many digits. @return false when there are fewer */
static inline bool
hb_hex_bytes(const char *digits, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = hb_hex_digit(digits[2 * i]);
		int low = high < 0 ? -1 : hb_hex_digit(digits[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/** Read 16 digits, lower case as identifiers are written. @return false when there are
 * fewer; *value means nothing then */
static inline bool
hb_hex_u64(const char *digits, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < HB_HEX_U64_DIGITS; i++) {
		int digit = digits[i] >= 'A' && digits[i] <= 'F' ? -1 : hb_hex_digit(digits[i]);

		if (digit < 0)
			return false;
		*value = *value << 4 | (uint64_t)digit;
	}
	return true;
}

/** Write 2 * count digits, lower case, and a NUL behind them. */
static inline void
hb_hex_text(char *text, const uint8_t *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < count; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[2 * count] = '\0';
}

#endif
