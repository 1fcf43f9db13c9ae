/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a framed TCP connection, taken as the front takes them: length by head, hellos,
 * frames. What passes must be a frame of the user that the engine's own check takes; the stream
 * goes on only where the next head is known.
 *
 * Parsers: front/framed.c
 */
#include <stdlib.h>
#include <string.h>

#include "front/framed.h"
#include "tests/fuzz/fuzz.h"

#define NOW_S	INT64_C(1700000000)
#define ACCOUNT 1001
#define GROUP	7

static struct hb_identity *identity;

static void
make_identity(void)
{
	identity = calloc(1, sizeof(*identity) + sizeof(uint64_t));
	HB_ASSERT(identity != NULL);
	identity->account = ACCOUNT;
	identity->expires_s = NOW_S + 60;
	identity->group_count = 1;
	identity->groups[0] = GROUP;
}

static void
check_hello(const struct hb_frame *frame)
{
	size_t length;
	const char *token = hb_framed_token(frame, &length);

	if (token == NULL)
		return;
	HB_ASSERT(token == (const char *)(frame + 1));
	HB_ASSERT(length > 0 && length <= HB_JWT_BYTES_MAX);
	HB_ASSERT(sizeof(*frame) + length <= frame->length);
	HB_ASSERT(memchr(token, '\0', length) == NULL);
}

static void
check_frame(struct hb_frame *frame)
{
	struct hb_frame before = *frame;
	enum hb_status status = hb_framed_admit(frame, identity, NOW_S);
	struct hb_reply reply;

	hb_framed_reply(&reply, &before, status);
	HB_ASSERT(reply.length == sizeof(reply) && reply.correlation == before.correlation);
	if (status != HB_STATUS_OK) {
		HB_ASSERT(memcmp(frame, &before, sizeof(before)) == 0);
		return;
	}
	HB_ASSERT(hb_frame_check(frame, frame->length) == HB_STATUS_OK);
	HB_ASSERT((HB_OPS_FRONT & HB_OP_BIT(frame->operation)) != 0);
	HB_ASSERT(frame->user == ACCOUNT && (frame->group == 0 || frame->group == GROUP));
	HB_ASSERT(before.user == 0 || before.user == ACCOUNT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static _Alignas(64) uint8_t own[HB_FRAMED_HELLO_BYTES_MAX];
	uint32_t frame_bytes;

	if (identity == NULL)
		make_identity();
	for (; length >= sizeof(struct hb_frame); bytes += frame_bytes, length -= frame_bytes) {
		memcpy(own, bytes, sizeof(struct hb_frame));
		frame_bytes = hb_framed_length((struct hb_frame *)(void *)own);
		if (frame_bytes == 0 || frame_bytes > length)
			break;
		HB_ASSERT(frame_bytes <= sizeof(own) && frame_bytes % HB_FRAME_UNIT_BYTES == 0);
		memcpy(own, bytes, frame_bytes);
		if (own[1] == HB_FRAMED_HELLO)
			check_hello((const void *)own);
		else
			check_frame((void *)own);
	}
	return 0;
}
