/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to JSON and back (engine_json.h). Pure but for the two helpers that send; a call that
 * ends without an outcome is told as such and can be asked again.
 */
#include "controlplane/engine_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "controlplane/json_fields.h"
#include "controlplane/old_packet.h"
#include "shm/ids.h"
#include "shm/names.h"

void
hb_frame_begin(union hb_any_frame *frame, enum hb_operation operation, uint16_t length,
	uint64_t target, uint64_t user)
{
	HB_ASSERT(length <= sizeof(*frame));
	memset(frame, 0, sizeof(*frame));
	frame->head.operation = (uint8_t)operation;
	frame->head.length = length;
	frame->head.target = target;
	frame->head.user = user;
}

void
hb_packet_id_format(char text[HB_PACKET_ID_TEXT_BYTES], uint64_t packet)
{
	snprintf(text, HB_PACKET_ID_TEXT_BYTES, "%016llx", (unsigned long long)packet);
}

json_t *
hb_outcome_json(int error, const struct hb_reply *reply, int *http)
{
	if (error == -EAGAIN) {
		*http = 503;
		return json_pack("{s:s,s:s}", "status", "unavailable", "message",
			"the engine cannot be reached; nothing was done; ask again");
	}
	if (error == -EMSGSIZE) {
		*http = 500;
		return json_pack("{s:s,s:s}", "status", "internal", "message",
			"the engine's reply was longer than expected");
	}
	if (error != 0) {
		*http = hb_status_http(HB_STATUS_UNKNOWN_OUTCOME);
		return json_pack("{s:s,s:s}", "status", hb_status_name(HB_STATUS_UNKNOWN_OUTCOME),
			"message",
			"the outcome is not known yet; ask again with the same Idempotency-Key");
	}
	*http = hb_status_http(reply->status);
	if (reply->status == HB_STATUS_OK)
		return NULL;
	return json_pack("{s:s,s:s,s:I}", "status", hb_status_name(reply->status), "message",
		hb_status_advice(reply->status), "as_of_seq", (json_int_t)reply->as_of_seq);
}

bool
hb_call_or_answer(struct hb_control *control, union hb_any_frame *frame, union hb_any_reply *answer,
	struct hb_http_reply *reply)
{
	int error = hb_engine_call_one(control->engine, &frame->head, &answer->head,
		sizeof(*answer), HB_ENGINE_TIMEOUT_MS);
	int http = 200;
	json_t *outcome = hb_outcome_json(error, &answer->head, &http);

	if (!outcome)
		return true;
	hb_http_json(reply, http, outcome);
	return false;
}

int
hb_engine_ask(struct hb_control *control, union hb_any_frame *frame, union hb_any_reply *answer)
{
	memset(answer, 0, sizeof(*answer));
	return hb_engine_call_one(control->engine, &frame->head, &answer->head, sizeof(*answer),
		HB_ENGINE_TIMEOUT_MS);
}

bool
hb_call_all_partitions(struct hb_control *control, enum hb_operation operation, uint64_t *as_of_seq,
	struct hb_http_reply *reply)
{
	union hb_any_frame frames[HB_PARTITION_COUNT];
	struct hb_reply replies[HB_PARTITION_COUNT];
	struct hb_engine_call calls[HB_PARTITION_COUNT];

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		hb_frame_begin(&frames[i], operation, sizeof(struct hb_frame),
			hb_system_account(HB_SYSTEM_FEES, i), 0);
		calls[i] = (struct hb_engine_call){.frame = &frames[i].head,
			.reply = &replies[i],
			.reply_room = sizeof(replies[i])};
	}
	hb_engine_call_many(control->engine, calls, HB_PARTITION_COUNT, HB_ENGINE_TIMEOUT_MS);
	*as_of_seq = 0;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		int http = 200;
		json_t *outcome = hb_outcome_json(calls[i].error, &replies[i], &http);

		if (outcome) {
			json_object_set_new(outcome, "partition", json_integer(i));
			hb_http_json(reply, http, outcome);
			return false;
		}
		if (replies[i].as_of_seq > *as_of_seq)
			*as_of_seq = replies[i].as_of_seq;
	}
	return true;
}

/* ---- names ---- */

const char *
hb_hold_state_name(uint32_t state)
{
	static const char *const names[] = {"unknown", "open", "posted", "voided"};

	return names[state < sizeof(names) / sizeof(names[0]) ? state : 0];
}

const char *
hb_hold_reason_name(uint32_t reason)
{
	static const char *const names[] = {
		"unknown", "withdrawal", "recharge-for-packet", "channel-refund"};

	return names[reason < sizeof(names) / sizeof(names[0]) ? reason : 0];
}

const char *
hb_system_account_name(uint32_t which)
{
	static const char *const names[] = {
		"unknown", "wechat", "alipay", "99bill", "manual", "fees", "suspense"};

	return names[which < sizeof(names) / sizeof(names[0]) ? which : 0];
}

/* ---- one account, one packet ---- */

void
hb_account_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	uint64_t account;
	union hb_any_frame frame;
	union hb_any_reply answer;

	/* Operators may look at system accounts as well: any u64 that the engine takes. */
	if (!hb_decimal_parse(request->parameter[0], UINT64_MAX, &account)) {
		hb_http_error(reply, 400, "bad_request", "the account is not a decimal number");
		return;
	}
	hb_frame_begin(&frame, HB_OP_BALANCE, sizeof(frame.head), account, 0);
	if (!hb_call_or_answer(request->context, &frame, &answer, reply))
		return;
	hb_http_json(reply, 200,
		json_pack("{s:s,s:I,s:I,s:I,s:b,s:I}", "status", "ok", "account",
			(json_int_t)account, "available_fen", (json_int_t)answer.head.amount_fen,
			"frozen_fen", (json_int_t)answer.head.other_fen, "barred",
			(answer.head.flags & HB_REPLY_BARRED) != 0, "as_of_seq",
			(json_int_t)answer.head.as_of_seq));
}

static json_t *
claims_json(const struct hb_reply_detail *detail)
{
	json_t *claims = json_array();

	for (uint32_t i = 0; i < detail->head.count && i < HB_DETAIL_CLAIMS_MAX; i++) {
		const struct hb_reply_claim *claim = &detail->claims[i];

		json_array_append_new(
			claims, json_pack("{s:I,s:I,s:I}", "user", (json_int_t)claim->user,
					"amount_fen", (json_int_t)claim->amount_fen, "time_ms",
					(json_int_t)claim->time_ms));
	}
	return claims;
}

/* The seed is told when nothing is left to win, and lets anybody recompute the shares. */
static void
fairness_json(json_t *json, const struct hb_reply_detail *d)
{
	char commitment[65];
	char seed[65];

	hb_hex_text(commitment, d->commitment, sizeof(d->commitment));
	hb_hex_text(seed, d->seed, sizeof(d->seed));
	json_object_set_new(json, "commitment", json_string(commitment));
	json_object_set_new(
		json, "seed", d->state == HB_PACKET_OPEN ? json_null() : json_string(seed));
	json_object_set_new(json, "luckiest",
		d->luckiest_index == UINT32_MAX ? json_null() : json_integer(d->luckiest_index));
}

json_t *
hb_detail_json(const struct hb_reply_detail *d)
{
	bool lucky = d->kind == HB_PACKET_LUCKY;
	char id[HB_PACKET_ID_TEXT_BYTES];
	json_t *json;

	hb_packet_id_format(id, d->head.id);
	json = json_pack("{s:s,s:s,s:s,s:I,s:s,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s%}",
		"status", "ok", "packet", id, "kind", hb_packet_kind_name(d->kind),
		lucky ? "group" : "recipient", (json_int_t)(lucky ? d->group : d->recipient),
		"algorithm", hb_split_algorithm_name(d->algorithm), "sender", (json_int_t)d->sender,
		"state", hb_packet_state_name(d->state), "total_fen", (json_int_t)d->total_fen,
		"left_fen", (json_int_t)d->left_fen, "refunded_fen", (json_int_t)d->refunded_fen,
		"count", (json_int_t)d->share_count, "taken", (json_int_t)d->taken_count,
		"share_min_fen", (json_int_t)d->head.amount_fen, "share_max_fen",
		(json_int_t)d->head.other_fen, "created_ms", (json_int_t)d->created_ms,
		"deadline_ms", (json_int_t)d->deadline_ms, "greeting", (const char *)d->greeting,
		(size_t)d->greeting_length);
	if (!json)
		return NULL;
	fairness_json(json, d);
	json_object_set_new(json, "claims", claims_json(d));
	json_object_set_new(json, "more", json_boolean(d->head.flags & HB_REPLY_MORE));
	json_object_set_new(json, "as_of_seq", json_integer((json_int_t)d->head.as_of_seq));
	return json;
}

bool
hb_packet_request_read(const struct hb_http_request *request, struct hb_http_reply *reply,
	const char *const names[], char values[][HB_HTTP_QUERY_VALUE_MAX + 1], uint64_t *packet,
	uint64_t *after)
{
	*after = 0;
	if (!hb_packet_id_parse(request->parameter[0], packet)) {
		hb_http_error(reply, 400, "bad_request",
			"the packet id is not 16 hexadecimal digits in lower case");
		return false;
	}
	if (!hb_http_query(request, reply, names, values))
		return false;
	if (values[0][0] && !hb_decimal_parse(values[0], HB_PACKET_COUNT_MAX, after)) {
		hb_http_error(reply, 400, "bad_request", "query parameter after must be in 0..%d",
			HB_PACKET_COUNT_MAX);
		return false;
	}
	return true;
}

void
hb_packet_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	static const char *const names[] = {"after", NULL};
	char values[1][HB_HTTP_QUERY_VALUE_MAX + 1];
	uint64_t packet;
	uint64_t after;
	union hb_any_frame frame;
	union hb_any_reply answer;
	json_t *json;
	int http = 200;
	int error;

	if (!hb_packet_request_read(request, reply, names, values, &packet, &after))
		return;
	hb_frame_begin(&frame, HB_OP_PACKET_DETAIL, sizeof(frame.detail), packet, 0);
	frame.detail.claim_first = (uint32_t)after;
	error = hb_engine_call_one(((struct hb_control *)request->context)->engine, &frame.head,
		&answer.head, sizeof(answer), HB_ENGINE_TIMEOUT_MS);
	if (error == 0 && answer.head.status == HB_STATUS_PACKET_GONE) {
		hb_old_packet_answer(request->context, packet, (uint32_t)after,
			&(struct hb_viewer){.trusted = true}, reply);
		return;
	}
	json = hb_outcome_json(error, &answer.head, &http);
	if (!json)
		json = hb_detail_json(&answer.detail);
	if (json)
		hb_http_json(reply, http, json);
	else
		hb_http_error(reply, 500, "internal", "the packet's greeting is not UTF-8");
}
