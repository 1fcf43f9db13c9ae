/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * CRC32C (Castagnoli, as in iSCSI, RFC 3720 appendix B.4) of a byte range.
 *
 * ISA-L computes the register without the final inversion; this adds it, so that the check value
 * of "123456789" is 0xE3069283.
 */
#ifndef HB_BASE_CRC32C_H
#define HB_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#include <isa-l/crc.h>

static inline uint32_t
hb_crc32c(const void *bytes, size_t length)
{
	return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)length, UINT32_MAX) ^ UINT32_MAX;
}

#endif
