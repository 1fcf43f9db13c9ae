/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of a frame that need no state, and the table of statuses. No memory of its own.
 */
#include "shm/frame.h"

#include <string.h>

#include "base/utf8.h"
#include "shm/ids.h"
#include "shm/node.h"

const char *
hb_status_name(uint16_t status)
{
	switch (status) {
#define HB_STATUS_CASE(number, name, text, http, advice)                                           \
	case number:                                                                               \
		return text;
		HB_STATUS_TABLE(HB_STATUS_CASE)
#undef HB_STATUS_CASE
	default:
		return "unknown_status";
	}
}

int
hb_status_http(uint16_t status)
{
	switch (status) {
#define HB_STATUS_CASE(number, name, text, http, advice)                                           \
	case number:                                                                               \
		return http;
		HB_STATUS_TABLE(HB_STATUS_CASE)
#undef HB_STATUS_CASE
	default:
		return 500;
	}
}

const char *
hb_status_advice(uint16_t status)
{
	switch (status) {
#define HB_STATUS_CASE(number, name, text, http, advice)                                           \
	case number:                                                                               \
		return advice;
		HB_STATUS_TABLE(HB_STATUS_CASE)
#undef HB_STATUS_CASE
	default:
		return "";
	}
}

/* Length of each operation's frame; 0 = no such operation. */
static const uint16_t frame_length[HB_OP_COUNT] = {
	[HB_OP_GRAB] = sizeof(struct hb_frame),
	[HB_OP_PACKET_CREATE] = sizeof(struct hb_frame_packet_create),
	[HB_OP_PACKET_DETAIL] = sizeof(struct hb_frame_detail),
	[HB_OP_BALANCE] = sizeof(struct hb_frame),
	[HB_OP_TOKEN_ASK] = sizeof(struct hb_frame_token),
	[HB_OP_TRANSFER] = sizeof(struct hb_frame_transfer),
	[HB_OP_TOKEN_ISSUE] = sizeof(struct hb_frame_token),
	[HB_OP_TOKEN_TAKE] = sizeof(struct hb_frame),
	[HB_OP_ACCOUNT_OPEN] = sizeof(struct hb_frame_account_open),
	[HB_OP_ORDER_OPEN] = sizeof(struct hb_frame_order),
	[HB_OP_CREDIT] = sizeof(struct hb_frame_order),
	[HB_OP_ORDER_QUERY] = sizeof(struct hb_frame_order),
	[HB_OP_PACKET_EXPIRE] = sizeof(struct hb_frame),
	[HB_OP_MARK] = sizeof(struct hb_frame),
	[HB_OP_CLOCK_CONFIRM] = sizeof(struct hb_frame),
	[HB_OP_AUDIT] = sizeof(struct hb_frame),
	[HB_OP_ACCOUNT_FREEZE] = sizeof(struct hb_frame_account_freeze),
	[HB_OP_ACCOUNT_UNFREEZE] = sizeof(struct hb_frame_account_freeze),
	[HB_OP_HOLD] = sizeof(struct hb_frame_hold),
	[HB_OP_POST] = sizeof(struct hb_frame_hold_exit),
	[HB_OP_VOID] = sizeof(struct hb_frame_hold_exit),
	[HB_OP_HOLD_QUERY] = sizeof(struct hb_frame),
	[HB_OP_ORDER_UPDATE] = sizeof(struct hb_frame_order_update),
	[HB_OP_ORDER_LOAD] = sizeof(struct hb_frame_order_load),
	[HB_OP_ADJUST] = sizeof(struct hb_frame_adjust),
	[HB_OP_DEGRADE] = sizeof(struct hb_frame_degrade),
};

static bool
all_zero(const uint8_t *bytes, size_t length)
{
	uint8_t any = 0;

	for (size_t i = 0; i < length; i++)
		any |= bytes[i];
	return any == 0;
}

static bool
packet_create_body_fits(const struct hb_frame_packet_create *f)
{
	if (f->reserved0 != 0 || f->reserved1 != 0 || f->greeting_length > HB_GREETING_BYTES_MAX)
		return false;
	return hb_utf8_valid(f->greeting, f->greeting_length) &&
	       all_zero(f->greeting + f->greeting_length,
		       (size_t)(HB_GREETING_BYTES_MAX - f->greeting_length));
}

static bool
order_update_body_fits(const struct hb_frame_order_update *f)
{
	size_t length = strnlen((const char *)f->channel_reference, sizeof(f->channel_reference));

	for (size_t i = 0; i < length; i++)
		if (f->channel_reference[i] < 0x21 || f->channel_reference[i] > 0x7e)
			return false;
	return all_zero(f->channel_reference + length, sizeof(f->channel_reference) - length) &&
	       all_zero(f->reserved0, sizeof(f->reserved0)) &&
	       all_zero(f->reserved1, sizeof(f->reserved1));
}

/* The operations of workflows: accounts, holds, orders, adjustments. */
static bool
workflow_body_fits(const struct hb_frame *frame)
{
	switch (frame->operation) {
	case HB_OP_ACCOUNT_FREEZE:
	case HB_OP_ACCOUNT_UNFREEZE: {
		const struct hb_frame_account_freeze *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_HOLD: {
		const struct hb_frame_hold *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_POST:
	case HB_OP_VOID: {
		const struct hb_frame_hold_exit *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved)) &&
		       (frame->operation == HB_OP_POST || f->fee_fen == 0);
	}
	case HB_OP_ORDER_UPDATE:
		return order_update_body_fits((const void *)frame);
	case HB_OP_ORDER_LOAD: {
		const struct hb_frame_order_load *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_ADJUST:
		return ((const struct hb_frame_adjust *)(const void *)frame)->reserved == 0;
	default:
		return true;
	}
}

static bool
body_fits(const struct hb_frame *frame)
{
	switch (frame->operation) {
	case HB_OP_PACKET_CREATE:
		return packet_create_body_fits((const void *)frame);
	case HB_OP_PACKET_DETAIL: {
		const struct hb_frame_detail *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_TOKEN_ASK:
	case HB_OP_TOKEN_ISSUE: {
		const struct hb_frame_token *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_TRANSFER: {
		const struct hb_frame_transfer *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_ACCOUNT_OPEN: {
		const struct hb_frame_account_open *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_ORDER_OPEN:
	case HB_OP_CREDIT:
	case HB_OP_ORDER_QUERY: {
		const struct hb_frame_order *f = (const void *)frame;

		return all_zero(f->reserved, sizeof(f->reserved));
	}
	case HB_OP_DEGRADE: {
		const struct hb_frame_degrade *f = (const void *)frame;

		return f->level < HB_DEGRADE_COUNT && f->by <= HB_DEGRADE_BY_OPERATOR &&
		       all_zero(f->reserved, sizeof(f->reserved));
	}
	default:
		return workflow_body_fits(frame);
	}
}

/* The kind of id that an operation may name as its target. */
static bool
target_fits(const struct hb_frame *frame)
{
	uint32_t kind = hb_id_kind(frame->target);

	switch (frame->operation) {
	case HB_OP_GRAB:
	case HB_OP_PACKET_DETAIL:
	case HB_OP_PACKET_EXPIRE:
		return kind == HB_ID_PACKET;
	case HB_OP_TOKEN_ASK:
	case HB_OP_TOKEN_ISSUE:
		return kind == HB_ID_PACKET || hb_is_user_account(frame->target);
	case HB_OP_POST:
	case HB_OP_VOID:
	case HB_OP_HOLD_QUERY:
		return kind == HB_ID_HOLD;
	case HB_OP_ADJUST:
		return hb_is_system_account(frame->target) || hb_is_user_account(frame->target);
	case HB_OP_BALANCE:
		return kind == HB_ID_SYSTEM_ACCOUNT || hb_is_user_account(frame->target);
	case HB_OP_TOKEN_TAKE:
	case HB_OP_MARK:
	case HB_OP_CLOCK_CONFIRM:
	case HB_OP_AUDIT:
	case HB_OP_DEGRADE:
		return kind == HB_ID_SYSTEM_ACCOUNT;
	default:
		return hb_is_user_account(frame->target);
	}
}

enum hb_status
hb_frame_check(const struct hb_frame *frame, uint32_t bytes)
{
	if (bytes < sizeof(*frame))
		return HB_STATUS_FRAME_INVALID;
	if (frame->version != HB_FRAME_VERSION)
		return HB_STATUS_FRAME_VERSION;
	if (frame->operation >= HB_OP_COUNT || frame_length[frame->operation] == 0)
		return HB_STATUS_FRAME_INVALID;
	if (frame->length != frame_length[frame->operation] || frame->length > bytes)
		return HB_STATUS_FRAME_INVALID;
	if (!target_fits(frame) || !body_fits(frame))
		return HB_STATUS_FRAME_INVALID;
	return HB_STATUS_OK;
}
