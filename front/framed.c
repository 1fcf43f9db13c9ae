/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of users over TCP: length, hello, who may ask what. No memory of its own.
 */
#include "front/framed.h"

#include <string.h>

uint32_t
hb_framed_length(const struct hb_frame *frame)
{
	uint32_t bytes_max = frame->operation == HB_FRAMED_HELLO ? HB_FRAMED_HELLO_BYTES_MAX
								 : HB_FRAME_BYTES_MAX;

	if (frame->version != HB_FRAME_VERSION || frame->length < sizeof(*frame) ||
		frame->length > bytes_max || frame->length % HB_FRAME_UNIT_BYTES != 0)
		return 0;
	return frame->length;
}

const char *
hb_framed_token(const struct hb_frame *frame, size_t *length)
{
	struct hb_frame expected = {.version = HB_FRAME_VERSION,
		.operation = HB_FRAMED_HELLO,
		.length = frame->length,
		.issued_s = frame->issued_s,
		.correlation = frame->correlation};
	const char *text = (const char *)(frame + 1);
	size_t room = frame->length - sizeof(*frame);

	if (memcmp(frame, &expected, sizeof(expected)) != 0)
		return NULL;
	*length = strnlen(text, room);
	/* Padding is less than a unit and zero, so that a token has one form only. */
	if (*length == 0 || room - *length >= HB_FRAME_UNIT_BYTES)
		return NULL;
	for (size_t i = *length; i < room; i++)
		if (text[i] != '\0')
			return NULL;
	return text;
}

/* Operations whose target is an account: of users only their own. */
static bool
about_own_account(const struct hb_frame *frame)
{
	switch (frame->operation) {
	case HB_OP_PACKET_CREATE:
	case HB_OP_BALANCE:
	case HB_OP_TRANSFER:
		return true;
	case HB_OP_TOKEN_ASK:
		return ((const struct hb_frame_token *)(const void *)frame)->for_operation !=
		       HB_OP_GRAB;
	default:
		return false;
	}
}

static bool
has_idempotency_key(const struct hb_frame *frame)
{
	static const uint8_t none[16];

	switch (frame->operation) {
	case HB_OP_PACKET_CREATE:
		return memcmp(((const struct hb_frame_packet_create *)(const void *)frame)
				       ->idempotency_key,
			       none, sizeof(none)) != 0;
	case HB_OP_TRANSFER:
		return memcmp(((const struct hb_frame_transfer *)(const void *)frame)
				       ->idempotency_key,
			       none, sizeof(none)) != 0;
	default:
		return false;
	}
}

enum hb_status
hb_framed_admit(struct hb_frame *frame, const struct hb_identity *identity, int64_t now_s)
{
	enum hb_status status;

	if (identity == NULL || identity->expires_s <= now_s)
		return HB_STATUS_UNAUTHORIZED;
	status = hb_frame_check(frame, frame->length);
	if (status != HB_STATUS_OK)
		return status;
	if ((HB_OPS_FRONT & HB_OP_BIT(frame->operation)) == 0)
		return HB_STATUS_NOT_ALLOWED;
	if (frame->user != 0 && frame->user != identity->account)
		return HB_STATUS_NOT_ALLOWED;
	if (about_own_account(frame) && frame->target != identity->account)
		return HB_STATUS_NOT_ALLOWED;
	if (has_idempotency_key(frame))
		return HB_STATUS_NOT_ALLOWED;
	frame->user = identity->account;
	/* As over HTTP: the owner of the packet answers for group 0. */
	if (!hb_identity_in_group(identity, frame->group))
		frame->group = 0;
	return HB_STATUS_OK;
}

void
hb_framed_reply(struct hb_reply *reply, const struct hb_frame *frame, enum hb_status status)
{
	*reply = (struct hb_reply){.version = HB_FRAME_VERSION,
		.operation = frame->operation,
		.length = sizeof(*reply),
		.status = (uint16_t)status,
		.correlation = frame->correlation};
}
