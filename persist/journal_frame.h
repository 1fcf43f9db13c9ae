/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Seal and check one journal frame: CRC32C of header and payload, SHA-256 chain.
 *
 * Shared by writer, reader and packing, so there is one definition of a whole frame. A digest
 * belongs to one thread; OpenSSL's SHA-256 is fetched once per digest and not per frame.
 */
#ifndef HB_PERSIST_JOURNAL_FRAME_H
#define HB_PERSIST_JOURNAL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/journal_format.h"

#define HB_SHA256_BYTES 32

struct evp_md_st;
struct evp_md_ctx_st;

struct hb_digest {
	struct evp_md_st *algorithm;
	struct evp_md_ctx_st *context;
};

/** @return 0 or -ENOMEM */
int hb_digest_open(struct hb_digest *digest);
void hb_digest_close(struct hb_digest *digest);
void hb_digest_begin(struct hb_digest *digest);
void hb_digest_add(struct hb_digest *digest, const void *bytes, size_t length);
void hb_digest_end(struct hb_digest *digest, uint8_t out[HB_SHA256_BYTES]);

/** CRC32C over several pieces: begin with 0, pass the last result on. */
uint32_t hb_crc32c_more(uint32_t crc, const void *bytes, size_t length);

/** Fill in payload_crc, chain and header_crc; all other fields are set. */
void hb_frame_seal(struct hb_digest *digest, struct hb_journal_frame *frame, const void *payload);

/**
 * True when the bytes are a frame header of this stream and segment with a right header CRC and
 * lengths that agree. Says nothing about the payload.
 * @param reason set to what is wrong (a constant string) when false
 */
bool hb_frame_header_ok(const struct hb_journal_frame *frame, const uint8_t stream_id[16],
	uint64_t segment_number, const char **reason);

/** Check payload CRC and chain. @return NULL or what is wrong (a constant string) */
const char *hb_frame_check_payload(
	struct hb_digest *digest, const struct hb_journal_frame *frame, const void *payload);

/** True when all bytes are zero. */
bool hb_is_zero(const void *bytes, size_t length);

#endif
