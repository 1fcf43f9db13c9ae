/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing and checking of journal frames. Works on the caller's memory and keeps nothing; a process
 * that dies here leaves nothing.
 */
#include "persist/journal_frame.h"

#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/assert.h"
#include "base/crc32c.h"

int
hb_digest_open(struct hb_digest *digest)
{
	digest->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
	digest->context = EVP_MD_CTX_new();
	if (digest->algorithm != NULL && digest->context != NULL)
		return 0;
	hb_digest_close(digest);
	return -ENOMEM;
}

void
hb_digest_close(struct hb_digest *digest)
{
	EVP_MD_CTX_free(digest->context);
	EVP_MD_free(digest->algorithm);
	*digest = (struct hb_digest){0};
}

void
hb_digest_begin(struct hb_digest *digest)
{
	HB_ASSERT(EVP_DigestInit_ex2(digest->context, digest->algorithm, NULL) == 1);
}

void
hb_digest_add(struct hb_digest *digest, const void *bytes, size_t length)
{
	HB_ASSERT(EVP_DigestUpdate(digest->context, bytes, length) == 1);
}

void
hb_digest_end(struct hb_digest *digest, uint8_t out[HB_SHA256_BYTES])
{
	unsigned length = 0;

	HB_ASSERT(EVP_DigestFinal_ex(digest->context, out, &length) == 1);
	HB_ASSERT(length == HB_SHA256_BYTES);
}

uint32_t
hb_crc32c_more(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	/* the library counts in int */
	while (length > 0) {
		size_t step = length < (1u << 30) ? length : (1u << 30);

		crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)step, crc ^ UINT32_MAX) ^
		      UINT32_MAX;
		at += step;
		length -= step;
	}
	return crc;
}

static uint32_t
header_crc(const struct hb_journal_frame *frame)
{
	struct hb_journal_frame copy = *frame;

	copy.header_crc = 0;
	return hb_crc32c(&copy, sizeof(copy));
}

static void
frame_chain(struct hb_digest *digest, const struct hb_journal_frame *frame, const void *payload,
	uint8_t chain[HB_SHA256_BYTES])
{
	struct hb_journal_frame copy = *frame;

	memset(copy.chain, 0, sizeof(copy.chain));
	copy.payload_crc = 0;
	copy.header_crc = 0;
	hb_digest_begin(digest);
	hb_digest_add(digest, &copy, sizeof(copy));
	hb_digest_add(digest, payload, frame->payload_length);
	hb_digest_end(digest, chain);
}

void
hb_frame_seal(struct hb_digest *digest, struct hb_journal_frame *frame, const void *payload)
{
	HB_ASSERT(frame->payload_length <= HB_JOURNAL_PAYLOAD_BYTES_MAX);
	frame_chain(digest, frame, payload, frame->chain);
	frame->payload_crc = hb_crc32c(payload, frame->payload_length);
	frame->header_crc = header_crc(frame);
}

static const char *
header_fault(
	const struct hb_journal_frame *frame, const uint8_t stream_id[16], uint64_t segment_number)
{
	uint64_t whole = (uint64_t)frame->payload_length + HB_JOURNAL_FRAME_HEADER_BYTES;

	if (frame->magic == 0 && hb_is_zero(frame, sizeof(*frame)))
		return "there are zeros";
	if (frame->magic != HB_JOURNAL_FRAME_MAGIC)
		return "no frame begins there";
	if (frame->header_crc != header_crc(frame))
		return "the header CRC differs";
	if (frame->version != HB_JOURNAL_VERSION)
		return "the frame has a version this program does not know";
	if (memcmp(frame->stream_id, stream_id, 16) != 0)
		return "the frame belongs to another journal";
	if (frame->segment_number != segment_number)
		return "the frame belongs to another segment (a recycled file's old content)";
	if (frame->header_length != HB_JOURNAL_FRAME_HEADER_BYTES || frame->flags != 0 ||
		!hb_is_zero(frame->reserved, sizeof(frame->reserved)))
		return "the header has fields this program does not know";
	if (frame->frame_length > HB_JOURNAL_FRAME_BYTES_MAX ||
		frame->frame_length % HB_JOURNAL_BLOCK_BYTES != 0 || whole > frame->frame_length ||
		whole % 8 != 0 || frame->frame_length - whole >= HB_JOURNAL_BLOCK_BYTES ||
		frame->record_count == 0)
		return "the lengths in the header do not agree";
	return NULL;
}

bool
hb_frame_header_ok(const struct hb_journal_frame *frame, const uint8_t stream_id[16],
	uint64_t segment_number, const char **reason)
{
	const char *fault = header_fault(frame, stream_id, segment_number);

	if (reason != NULL)
		*reason = fault;
	return fault == NULL;
}

const char *
hb_frame_check_payload(
	struct hb_digest *digest, const struct hb_journal_frame *frame, const void *payload)
{
	uint8_t chain[HB_SHA256_BYTES];

	if (hb_crc32c(payload, frame->payload_length) != frame->payload_crc)
		return "the payload CRC differs";
	frame_chain(digest, frame, payload, chain);
	if (memcmp(chain, frame->chain, sizeof(chain)) != 0)
		return "the chain hash differs";
	return NULL;
}

bool
hb_is_zero(const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	return length == 0 || (at[0] == 0 && memcmp(at, at + 1, length - 1) == 0);
}
