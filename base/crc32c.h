/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * CRC32C (Castagnoli, as in iSCSI, RFC 3720 appendix B.4) of a byte range.
 *
 * ISA-L computes the register without the final inversion; this adds it, so that the check value
 * of "123456789" is 0xE3069283. A record of the journal is too short for ISA-L's folding to pay:
 * it is done with the processor's instruction (measured for 92 bytes: 17 ns, not 28).
 */
#ifndef HB_BASE_CRC32C_H
#define HB_BASE_CRC32C_H

#include <nmmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <isa-l/crc.h>

#define HB_CRC32C_SHORT_BYTES 256

static inline uint32_t
hb_crc32c_short(const uint8_t *at, size_t length)
{
	uint64_t crc = UINT32_MAX;

	for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), at += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		crc = _mm_crc32_u64(crc, word);
	}
	for (; length > 0; length--, at++)
		crc = _mm_crc32_u8((uint32_t)crc, *at);
	return (uint32_t)crc ^ UINT32_MAX;
}

/**
 * The same of four bytes and whole words behind them: how a record is laid out. The four come as a
 * value, as a load of bytes that were just stored one by one waits until all of them are in the
 * cache.
 */
static inline uint32_t
hb_crc32c_words(uint32_t four, const void *words, size_t count)
{
	const uint8_t *at = words;
	uint64_t crc = _mm_crc32_u32(UINT32_MAX, four);

	for (size_t i = 0; i < count; i++) {
		uint64_t word;

		memcpy(&word, at + i * sizeof(word), sizeof(word));
		crc = _mm_crc32_u64(crc, word);
	}
	return (uint32_t)crc ^ UINT32_MAX;
}

static inline uint32_t
hb_crc32c(const void *bytes, size_t length)
{
	if (length <= HB_CRC32C_SHORT_BYTES)
		return hb_crc32c_short(bytes, length);
	return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)length, UINT32_MAX) ^ UINT32_MAX;
}

#endif
