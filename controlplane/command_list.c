/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands themselves (commands.h): the fields of each, the frame they make, the answer.
 * Pure functions.
 */
#include "controlplane/commands.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/order_number.h"
#include "shm/token.h"

#define GROUP_MAX ((INT64_C(1) << 53) - 1) /* exact as a JSON number everywhere */

static const struct hb_choice account_kinds[] = {
	{"user", HB_ACCOUNT_USER}, {"enterprise", HB_ACCOUNT_ENTERPRISE}, {NULL, 0}};
static const struct hb_choice channels[] = {{"manual", HB_SYSTEM_CLEARING_MANUAL}, {NULL, 0}};
static const struct hb_choice packet_kinds[] = {
	{"lucky", HB_PACKET_LUCKY}, {"normal", HB_PACKET_NORMAL}, {NULL, 0}};
static const struct hb_choice algorithms[] = {
	{"double-mean", HB_SPLIT_DOUBLE_MEAN}, {"seed", HB_SPLIT_SEED}, {NULL, 0}};
static const struct hb_choice token_operations[] = {{"grab", HB_OP_GRAB},
	{"send", HB_OP_PACKET_CREATE}, {"transfer", HB_OP_TRANSFER}, {NULL, 0}};

static json_t *
with_order(const struct hb_control *control, json_t *json, uint32_t business, uint64_t account,
	const struct hb_reply *reply)
{
	char number[HB_ORDER_NUMBER_LENGTH + 1];

	HB_ASSERT(json);
	if (reply->order_stamp) {
		hb_order_number_format(number, business, (uint32_t)control->config->node_number,
			hb_partition_of(account), account, reply->order_stamp);
		json_object_set_new(json, "order_no", json_string(number));
	}
	json_object_set_new(json, "already", json_boolean(reply->flags & HB_REPLY_ALREADY));
	json_object_set_new(json, "as_of_seq", json_integer((json_int_t)reply->as_of_seq));
	return json;
}

/* ---- accounts ---- */

static void
account_open_read(struct hb_fields *fields, union hb_any_frame *frame)
{
	uint64_t account = 0;
	uint32_t kind = 0;

	hb_field_account(fields, "account", &account);
	hb_field_choice(fields, "kind", account_kinds, &kind);
	hb_frame_begin(frame, HB_OP_ACCOUNT_OPEN, sizeof(frame->account_open), account, 0);
	frame->account_open.kind = (uint8_t)kind;
}

static json_t *
account_open_answer(const struct hb_control *control, const union hb_any_frame *frame,
	const struct hb_reply *reply)
{
	(void)control;
	return json_pack("{s:s,s:I,s:s,s:b,s:I}", "status", "ok", "account",
		(json_int_t)frame->head.target, "kind",
		frame->account_open.kind == HB_ACCOUNT_USER ? "user" : "enterprise", "already",
		(reply->flags & HB_REPLY_ALREADY) != 0, "as_of_seq", (json_int_t)reply->as_of_seq);
}

const struct hb_command hb_command_account_open = {
	.http_done = 201,
	.keyed = true,
	.key_offset = offsetof(struct hb_frame_account_open, idempotency_key),
	.read = account_open_read,
	.answer = account_open_answer,
};

/* ---- credits: an order, then the money for it ---- */

static void
credit_read(struct hb_fields *fields, union hb_any_frame *frame)
{
	uint64_t account = 0;
	int64_t amount_fen = 0;
	uint32_t channel = 0;

	hb_field_account(fields, "account", &account);
	hb_field_integer(fields, "amount_fen", 1, HB_CREDIT_FEN_MAX, &amount_fen);
	hb_field_choice(fields, "channel", channels, &channel);
	hb_frame_begin(frame, HB_OP_ORDER_OPEN, sizeof(frame->order), account, 0);
	frame->order.amount_fen = amount_fen;
	frame->order.business = HB_BUSINESS_RECHARGE;
	frame->order.channel = (uint16_t)channel;
}

/* The order is what makes CREDIT safe to repeat; the key belongs to ORDER_OPEN. */
static void
credit_then(union hb_any_frame *frame, const struct hb_reply *reply)
{
	int64_t amount_fen = frame->order.amount_fen;
	uint64_t account = frame->head.target;

	hb_frame_begin(frame, HB_OP_CREDIT, sizeof(frame->order), account, 0);
	frame->order.amount_fen = amount_fen;
	frame->order.order_stamp = reply->order_stamp;
}

static json_t *
credit_answer(const struct hb_control *control, const union hb_any_frame *frame,
	const struct hb_reply *reply)
{
	return with_order(control,
		json_pack("{s:s,s:I,s:I}", "status", "ok", "account",
			(json_int_t)frame->head.target, "amount_fen",
			(json_int_t)reply->amount_fen),
		HB_BUSINESS_RECHARGE, frame->head.target, reply);
}

const struct hb_command hb_command_credit = {
	.http_done = 201,
	.keyed = true,
	.key_offset = offsetof(struct hb_frame_order, idempotency_key),
	.read = credit_read,
	.then = credit_then,
	.order_business = HB_BUSINESS_RECHARGE,
	.answer = credit_answer,
};

/* ---- packets on behalf of a sender ---- */

static void
packet_target_read(struct hb_fields *fields, uint32_t kind, union hb_any_frame *frame)
{
	int64_t group = 0;
	int64_t count = 1;

	if (kind == HB_PACKET_NORMAL) {
		hb_field_account(fields, "recipient", &frame->packet_create.recipient);
		hb_field_integer_optional(fields, "count", 1, 1, &count);
	} else {
		hb_field_integer(fields, "group", 1, GROUP_MAX, &group);
		hb_field_integer(fields, "count", 1, HB_PACKET_COUNT_MAX, &count);
	}
	frame->head.group = (uint64_t)group;
	frame->packet_create.count = (uint32_t)count;
}

static void
packet_create_read(struct hb_fields *fields, union hb_any_frame *frame)
{
	struct hb_frame_packet_create *create = &frame->packet_create;
	uint64_t sender = 0;
	uint32_t kind = 0;
	uint32_t algorithm = HB_SPLIT_DOUBLE_MEAN;
	int64_t lifetime_s = 0;
	const char *greeting;
	size_t greeting_length;

	hb_field_account(fields, "sender", &sender);
	hb_frame_begin(frame, HB_OP_PACKET_CREATE, sizeof(*create), sender, sender);
	hb_field_choice(fields, "kind", packet_kinds, &kind);
	packet_target_read(fields, kind, frame);
	hb_field_integer(fields, "total_fen", 1, HB_PACKET_TOTAL_FEN_MAX, &create->total_fen);
	hb_field_choice_optional(fields, "algorithm", algorithms, &algorithm);
	hb_field_integer_optional(
		fields, "share_min_fen", 1, HB_PACKET_TOTAL_FEN_MAX, &create->share_min_fen);
	hb_field_integer_optional(
		fields, "share_max_fen", 1, HB_PACKET_TOTAL_FEN_MAX, &create->share_max_fen);
	hb_field_integer_optional(fields, "lifetime_s", 1, HB_PACKET_LIFETIME_S_MAX, &lifetime_s);
	hb_field_text_optional(
		fields, "greeting", HB_GREETING_BYTES_MAX, &greeting, &greeting_length);
	create->kind = (uint8_t)kind;
	create->algorithm = (uint8_t)algorithm;
	create->lifetime_s = (uint32_t)lifetime_s;
	create->greeting_length = (uint8_t)greeting_length;
	memcpy(create->greeting, greeting, greeting_length);
}

static json_t *
packet_create_answer(const struct hb_control *control, const union hb_any_frame *frame,
	const struct hb_reply *reply)
{
	char id[HB_PACKET_ID_TEXT_BYTES];

	hb_packet_id_format(id, reply->id);
	return with_order(control, json_pack("{s:s,s:s}", "status", "ok", "packet", id),
		HB_BUSINESS_PACKET_SEND, frame->head.target, reply);
}

const struct hb_command hb_command_packet_create = {
	.http_done = 201,
	.keyed = true,
	.key_offset = offsetof(struct hb_frame_packet_create, idempotency_key),
	.read = packet_create_read,
	.answer = packet_create_answer,
};

/* ---- money tokens ---- */

static void
token_issue_read(struct hb_fields *fields, union hb_any_frame *frame)
{
	uint64_t user = 0;
	uint64_t target = 0;
	uint32_t operation = 0;

	hb_field_account(fields, "user", &user);
	hb_field_choice(fields, "operation", token_operations, &operation);
	if (operation == HB_OP_GRAB)
		hb_field_packet(fields, "target", &target);
	else
		target = user;
	hb_frame_begin(frame, HB_OP_TOKEN_ISSUE, sizeof(frame->token), target, user);
	frame->token.for_operation = (uint8_t)operation;
}

static const char *
token_operation_name(uint8_t operation)
{
	for (const struct hb_choice *c = token_operations; c->word; c++) {
		if (c->value == operation)
			return c->word;
	}
	return "unknown";
}

json_t *
hb_token_json(const struct hb_reply_token *t)
{
	const struct hb_token token = {.id = t->token_id,
		.mac = t->token_mac,
		.expiry_s = t->expiry_s,
		.operation = t->for_operation};
	char text[HB_TOKEN_TEXT_MAX];
	char id[HB_PACKET_ID_TEXT_BYTES];
	json_t *json;

	hb_token_format(text, &token, 0, t->user);
	json = json_pack("{s:s,s:s,s:I,s:I,s:s,s:I}", "status", "ok", "token", text, "sequence",
		(json_int_t)t->sequence, "user", (json_int_t)t->user, "operation",
		token_operation_name(t->for_operation), "expires_s", (json_int_t)t->expiry_s);
	HB_ASSERT(json);
	if (t->for_operation == HB_OP_GRAB) {
		hb_packet_id_format(id, t->target);
		json_object_set_new(json, "target", json_string(id));
	}
	return json;
}

static json_t *
token_issue_answer(const struct hb_control *control, const union hb_any_frame *frame,
	const struct hb_reply *reply)
{
	struct hb_reply_token token;

	(void)control;
	(void)frame;
	HB_ASSERT(reply->length >= sizeof(*reply) + sizeof(token));
	memcpy(&token, reply + 1, sizeof(token));
	return hb_token_json(&token);
}

const struct hb_command hb_command_token_issue = {
	.http_done = 201,
	.read = token_issue_read,
	.answer = token_issue_answer,
};
