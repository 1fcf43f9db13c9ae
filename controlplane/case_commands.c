/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of operators over the admin socket: freeze, hold, post, void, adjust. Each is a case
 * (cases.h), written before the engine is asked. An adjustment waits until another operator
 * approves it; the engine looks at both names again.
 *
 * Root connects for everybody: hbctl says in the request who sits before it. A case whose outcome
 * was not learnt (the dataplane or this process died) is driven again by a job; what the engine did
 * already it answers again, as the key is the case's.
 */
#include "controlplane/case_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "controlplane/cases.h"
#include "controlplane/holds.h"
#include "controlplane/idempotency_key.h"
#include "controlplane/json_fields.h"
#include "shm/ids.h"
#include "shm/state.h"

#define KEY_ID		     "hongbao case" /* no business key has a space in its name */
#define APPROVE_WITHIN_S     86400
#define APPROVE_WITHIN_S_MAX (7 * 86400)
#define REASON_CODE_OPERATOR 1 /* of an ADJUST record: the words are in the case */
#define LIST_LIMIT_DEFAULT   20
#define LIST_LIMIT_MAX	     100
#define DRIVE_AGAIN_AFTER_MS 10000
/* The engine forgets keys after HB_IDEMPOTENCY_KEPT_S: then only a person can know. */
#define DRIVE_AGAIN_UNTIL_MS (UINT64_C(1000) * (HB_IDEMPOTENCY_KEPT_S - 86400))
#define UNFINISHED_MAX	     64 /* driven by one run of the job */

/* Which of the case's keys: its steps are told apart by number. */
enum key_item {
	KEY_MAIN,
	KEY_APPROVED,
	KEY_SENDING,
};

static const struct hb_choice verbs[] = {{"freeze", HB_CASE_FREEZE}, {"unfreeze", HB_CASE_UNFREEZE},
	{"hold", HB_CASE_HOLD}, {"post", HB_CASE_POST}, {"void", HB_CASE_VOID},
	{"adjust", HB_CASE_ADJUST}, {NULL, 0}};
static const struct hb_choice hold_reasons[] = {
	{"withdrawal", HB_HOLD_WITHDRAWAL}, {"channel-refund", HB_HOLD_CHANNEL_REFUND}, {NULL, 0}};
static const struct hb_choice channels[] = {{"manual", HB_SYSTEM_CLEARING_MANUAL},
	{"wechat", HB_SYSTEM_CLEARING_WECHAT}, {"alipay", HB_SYSTEM_CLEARING_ALIPAY},
	{"99bill", HB_SYSTEM_CLEARING_99BILL}, {NULL, 0}};
static const struct hb_choice states[] = {{"asked", HB_CASE_ASKED}, {"ordered", HB_CASE_ORDERED},
	{"done", HB_CASE_DONE}, {"refused", HB_CASE_REFUSED}, {"withdrawn", HB_CASE_WITHDRAWN},
	{NULL, 0}};

static uint64_t
now_ms(void)
{
	return hb_wall_ns() / 1000000;
}

static bool
needs_approval(uint8_t verb)
{
	return verb == HB_CASE_ADJUST;
}

/* ---- asking the engine ---- */

static int
case_key(const struct hb_case *c, enum key_item item, uint8_t key[16])
{
	char text[HB_IDEMPOTENCY_TEXT_MAX + 1];

	snprintf(text, sizeof(text), "%" PRIu64 "-%016" PRIx64, c->number, c->salt);
	return hb_idempotency_key(key, KEY_ID, text, item) == 0 ? 0 : -EAGAIN;
}

static int
drive_freeze(struct hb_control *control, const struct hb_case *c, union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame,
		c->verb == HB_CASE_FREEZE ? HB_OP_ACCOUNT_FREEZE : HB_OP_ACCOUNT_UNFREEZE,
		sizeof(frame.account_freeze), c->account, 0);
	frame.account_freeze.case_id = c->number;
	frame.account_freeze.operator_id = c->asker.uid;
	if (case_key(c, KEY_MAIN, frame.account_freeze.idempotency_key) != 0)
		return -EAGAIN;
	return hb_engine_ask(control, &frame, answer);
}

static int
drive_hold(struct hb_control *control, const struct hb_case *c, union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame, HB_OP_HOLD, sizeof(frame.hold), c->account, c->account);
	frame.hold.amount_fen = c->amount_fen;
	frame.hold.lifetime_s = c->lifetime_s;
	frame.hold.reason = c->hold_reason;
	if (case_key(c, KEY_MAIN, frame.hold.idempotency_key) != 0)
		return -EAGAIN;
	return hb_engine_ask(control, &frame, answer);
}

static int
drive_adjust(struct hb_control *control, const struct hb_case *c, union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame, HB_OP_ADJUST, sizeof(frame.adjust), c->account, 0);
	frame.adjust.to = c->to;
	frame.adjust.amount_fen = c->amount_fen;
	frame.adjust.case_id = c->number;
	frame.adjust.maker_id = c->asker.uid;
	frame.adjust.checker_id = c->checker.uid;
	frame.adjust.reason = REASON_CODE_OPERATOR;
	if (case_key(c, KEY_MAIN, frame.adjust.idempotency_key) != 0)
		return -EAGAIN;
	return hb_engine_ask(control, &frame, answer);
}

static int
exit_hold(struct hb_control *control, const struct hb_case *c, int64_t amount_fen,
	union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame, c->verb == HB_CASE_POST ? HB_OP_POST : HB_OP_VOID,
		sizeof(frame.hold_exit), c->hold, 0);
	frame.hold_exit.amount_fen = amount_fen;
	frame.hold_exit.fee_fen = c->fee_fen;
	frame.hold_exit.reason = (uint32_t)c->number; /* below HB_CASES_MAX, not 0 */
	return hb_engine_ask(control, &frame, answer);
}

/* One step of a hold's order. @return 0 with the answer, as hb_engine_call.error */
static int
take_step(struct hb_control *control, const struct hb_case *c, const struct hb_reply_order *order,
	uint8_t state_after, union hb_any_reply *answer)
{
	bool sending = state_after == HB_ORDER_SENDING;
	union hb_any_frame frame;

	hb_frame_begin(&frame, HB_OP_ORDER_UPDATE, sizeof(frame.order_update), order->account, 0);
	frame.order_update.order_stamp = order->head.order_stamp;
	frame.order_update.operator_id = c->asker.uid;
	frame.order_update.state_before = sending ? HB_ORDER_APPROVED : HB_ORDER_REQUESTED;
	frame.order_update.state_after = state_after;
	frame.order_update.attempt = (uint16_t)(order->attempt + sending);
	frame.order_update.reason = (uint32_t)c->number;
	frame.order_update.channel = sending ? c->channel : 0;
	if (sending)
		memcpy(frame.order_update.channel_reference, c->reference, sizeof(c->reference));
	if (case_key(c, sending ? KEY_SENDING : KEY_APPROVED, frame.order_update.idempotency_key) !=
		0)
		return -EAGAIN;
	return hb_engine_ask(control, &frame, answer);
}

/*
 * Money that a person has paid out by hand: the order is taken through the steps that are left up
 * to SENDING, then the hold is posted. What an earlier drive did is found done.
 */
static int
steps_to_sending(struct hb_control *control, const struct hb_case *c,
	const struct hb_reply_hold *hold, union hb_any_reply *answer)
{
	struct hb_reply_order order;
	int error = hb_order_query(control, hold->account, hold->head.order_stamp, answer);

	if (error != 0 || answer->head.status != HB_STATUS_OK)
		return error;
	order = answer->order;
	if (order.state == HB_ORDER_REQUESTED) {
		error = take_step(control, c, &order, HB_ORDER_APPROVED, answer);
		if (error != 0 || answer->head.status != HB_STATUS_OK)
			return error;
		order.state = HB_ORDER_APPROVED;
	}
	if (order.state == HB_ORDER_APPROVED)
		return take_step(control, c, &order, HB_ORDER_SENDING, answer);
	/* Somebody sent it already: only through the same channel is it the same payment. */
	if (order.channel != c->channel)
		answer->head.status = HB_STATUS_ORDER_STATE;
	return 0;
}

static int
drive_exit(struct hb_control *control, const struct hb_case *c, union hb_any_reply *answer)
{
	struct hb_reply_hold hold;
	int error = hb_hold_query(control, c->hold, answer);

	if (error != 0 || answer->head.status != HB_STATUS_OK)
		return error;
	hold = answer->hold;
	if (c->verb == HB_CASE_POST && hold.state == HB_HOLD_OPEN) {
		error = steps_to_sending(control, c, &hold, answer);
		if (error != 0 || answer->head.status != HB_STATUS_OK)
			return error;
	}
	return exit_hold(control, c, hold.head.amount_fen, answer);
}

static int
drive(struct hb_control *control, const struct hb_case *c, union hb_any_reply *answer)
{
	switch (c->verb) {
	case HB_CASE_FREEZE:
	case HB_CASE_UNFREEZE:
		return drive_freeze(control, c, answer);
	case HB_CASE_HOLD:
		return drive_hold(control, c, answer);
	case HB_CASE_POST:
	case HB_CASE_VOID:
		return drive_exit(control, c, answer);
	default:
		HB_ASSERT(c->verb == HB_CASE_ADJUST);
		return drive_adjust(control, c, answer);
	}
}

/* ---- outcomes ---- */

static uint32_t
order_business(const struct hb_case *c, uint32_t hold_reason)
{
	if (c->verb == HB_CASE_ADJUST)
		return HB_BUSINESS_ADJUSTMENT;
	return hold_reason == HB_HOLD_WITHDRAWAL ? HB_BUSINESS_WITHDRAWAL : HB_BUSINESS_REFUND;
}

/* The order belongs to the user of an adjustment; its stamp comes from who paid. */
static void
note_order(const struct hb_control *control, struct hb_case *c, const union hb_any_reply *answer)
{
	bool hold = c->verb != HB_CASE_ADJUST;
	uint64_t account = hold ? answer->hold.account : c->account;
	uint32_t allocator = hb_partition_of(account);

	if (answer->head.order_stamp == 0)
		return;
	if (!hold && hb_is_user_account(c->to))
		account = c->to;
	hb_order_number_format(c->order_no, order_business(c, answer->hold.reason),
		(uint32_t)control->config->node_number, allocator, account,
		answer->head.order_stamp);
}

/* True when nothing was done and the same may succeed a moment later. */
static bool
for_now(int error, const struct hb_reply *reply)
{
	return error == -EAGAIN || (error == 0 && hb_status_http(reply->status) == 503);
}

/*
 * Write what the engine said.
 * @return false: it is not known yet, or not on disk; the case stays ordered
 */
static bool
conclude(const struct hb_control *control, struct hb_case *c, int error,
	const union hb_any_reply *answer)
{
	bool ok = error == 0 && answer->head.status == HB_STATUS_OK;

	if (error != 0 && error != -EAGAIN)
		return false;
	if (for_now(error, &answer->head) && needs_approval(c->verb)) {
		c->state = HB_CASE_ASKED; /* the approval may be repeated */
		memset(&c->checker, 0, sizeof(c->checker));
		c->approved_ms = 0;
	} else {
		c->state = ok ? HB_CASE_DONE : HB_CASE_REFUSED;
		c->outcome = error == -EAGAIN ? HB_STATUS_BUSY : answer->head.status;
		c->over_ms = now_ms();
		c->as_of_seq = answer->head.as_of_seq;
	}
	if (ok) {
		if (c->verb == HB_CASE_HOLD)
			c->hold = answer->head.id;
		if (c->verb != HB_CASE_FREEZE && c->verb != HB_CASE_UNFREEZE)
			note_order(control, c, answer);
	}
	return hb_cases_step(control->cases, c, HB_CASE_ORDERED) == 0;
}

static bool
has_hold(const struct hb_case *c, const union hb_any_reply *answer)
{
	return (c->verb == HB_CASE_HOLD || c->verb == HB_CASE_POST || c->verb == HB_CASE_VOID) &&
	       answer->head.status == HB_STATUS_OK && answer->head.length >= sizeof(answer->hold);
}

/* Do what a case asks for and answer with the outcome. */
static void
drive_and_answer(struct hb_control *control, struct hb_case *c, struct hb_http_reply *reply)
{
	union hb_any_reply answer;
	int error = drive(control, c, &answer);
	int http = 200;
	json_t *json = hb_outcome_json(error, &answer.head, &http);

	if (!conclude(control, c, error, &answer) && !json) {
		/* done, but the line could not be written: the job will */
		hb_log(HB_LOG_ERROR, "case_not_written", "case=%" PRIu64, c->number);
	}
	if (!json) {
		json = json_pack("{s:s,s:b,s:I}", "status", "ok", "already",
			(answer.head.flags & HB_REPLY_ALREADY) != 0, "as_of_seq",
			(json_int_t)answer.head.as_of_seq);
		HB_ASSERT(json);
		if (has_hold(c, &answer))
			json_object_set_new(json, "hold", hb_hold_json(&answer.hold));
	}
	json_object_set_new(json, "case", hb_case_json(c));
	hb_log(HB_LOG_INFO, "case", "number=%" PRIu64 " verb=%s state=%s asker=%s checker=%s",
		c->number, hb_case_verb_name(c->verb), hb_case_state_name(c->state), c->asker.name,
		c->checker.name[0] ? c->checker.name : "-");
	hb_http_json(reply, http, json);
}

/* What is known of a case that was asked for before. */
static void
answer_known(struct hb_control *control, struct hb_case *c, struct hb_http_reply *reply)
{
	if (c->state == HB_CASE_ORDERED) {
		drive_and_answer(control, c, reply);
		return;
	}
	hb_http_json(reply, 200,
		json_pack("{s:s,s:b,s:o}", "status", "ok", "already", 1, "case", hb_case_json(c)));
}

/* ---- reading requests ---- */

static void
read_text(struct hb_fields *fields, const char *name, char *out, size_t bytes_max)
{
	const char *text;
	size_t length;

	if (!hb_field_text_optional(fields, name, bytes_max, &text, &length))
		return;
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
			hb_fields_refuse(fields, name, "must not have control characters");
			return;
		}
	}
	memcpy(out, text, length);
	out[length] = '\0';
}

static void
read_operator(struct hb_fields *fields, struct hb_operator *operator)
{
	int64_t uid = 0;

	memset(operator, 0, sizeof(*operator));
	hb_field_integer(fields, "operator_uid", 0, UINT32_MAX - 1, &uid);
	read_text(fields, "operator_name", operator->name, HB_OPERATOR_NAME_MAX);
	operator->uid =(uint32_t) uid;
	if (!hb_operator_name_valid(operator->name))
		hb_fields_refuse(fields, "operator_name", "must be the name of a Unix user, 1..%d",
			HB_OPERATOR_NAME_MAX);
}

/* A user's account or one of the node's own. */
static void
read_any_account(struct hb_fields *fields, const char *name, uint64_t *account)
{
	int64_t value = 0;

	hb_field_integer(fields, name, 1, INT64_MAX, &value);
	*account = (uint64_t)value;
	if (!hb_is_user_account(*account) && !hb_is_system_account(*account))
		hb_fields_refuse(fields, name, "is neither a user's account nor the node's own");
}

static void
read_hold_case(struct hb_fields *fields, struct hb_case *c)
{
	int64_t lifetime_s = 0;

	hb_field_account(fields, "account", &c->account);
	hb_field_integer(fields, "amount_fen", 1, HB_CREDIT_FEN_MAX, &c->amount_fen);
	c->hold_reason = HB_HOLD_WITHDRAWAL;
	hb_field_choice_optional(fields, "kind", hold_reasons, &c->hold_reason);
	hb_field_integer_optional(fields, "lifetime_s", 1, HB_HOLD_LIFETIME_S_MAX, &lifetime_s);
	c->lifetime_s = (uint32_t)lifetime_s;
}

static void
read_post_case(struct hb_fields *fields, struct hb_case *c)
{
	uint32_t channel = HB_SYSTEM_CLEARING_MANUAL;

	hb_field_hold(fields, "hold", &c->hold);
	hb_field_choice_optional(fields, "channel", channels, &channel);
	hb_field_integer_optional(fields, "fee_fen", 0, HB_CREDIT_FEN_MAX, &c->fee_fen);
	read_text(fields, "reference", c->reference, HB_CASE_REFERENCE_BYTES_MAX);
	c->channel = (uint16_t)channel;
}

static void
read_adjust_case(struct hb_fields *fields, struct hb_case *c)
{
	int64_t within_s = APPROVE_WITHIN_S;

	read_any_account(fields, "account", &c->account);
	read_any_account(fields, "to", &c->to);
	hb_field_integer(fields, "amount_fen", 1, HB_CREDIT_FEN_MAX, &c->amount_fen);
	hb_field_integer_optional(fields, "within_s", 1, APPROVE_WITHIN_S_MAX, &within_s);
	if (c->account == c->to)
		hb_fields_refuse(fields, "to", "must be another account than the one that pays");
	if (hb_is_user_account(c->account) && hb_is_user_account(c->to))
		hb_fields_refuse(fields, "to",
			"one of both must be an account of the node: between users money goes by "
			"transfer");
	c->expires_ms = now_ms() + UINT64_C(1000) * (uint64_t)within_s;
}

static void
read_case(struct hb_fields *fields, struct hb_case *c)
{
	uint32_t verb = 0;

	hb_field_choice(fields, "verb", verbs, &verb);
	c->verb = (uint8_t)verb;
	read_operator(fields, &c->asker);
	read_text(fields, "reason", c->reason, HB_CASE_REASON_BYTES_MAX);
	if (!c->reason[0])
		hb_fields_refuse(fields, "reason", "is required: say why, in words");
	if (verb == HB_CASE_FREEZE || verb == HB_CASE_UNFREEZE)
		hb_field_account(fields, "account", &c->account);
	else if (verb == HB_CASE_HOLD)
		read_hold_case(fields, c);
	else if (verb == HB_CASE_POST)
		read_post_case(fields, c);
	else if (verb == HB_CASE_VOID)
		hb_field_hold(fields, "hold", &c->hold);
	else if (verb == HB_CASE_ADJUST)
		read_adjust_case(fields, c);
}

static bool
has_store(const struct hb_control *control, struct hb_http_reply *reply)
{
	if (control->cases)
		return true;
	hb_http_error(reply, 503, "cases_unavailable",
		"the file of cases could not be read when control started; its log says why");
	return false;
}

/* Only a person may stand for the two-operator rule. */
static bool
is_person(const struct hb_operator *operator, struct hb_http_reply * reply)
{
	if (operator->uid != 0)
		return true;
	hb_http_error(reply, 403, "operator_unnamed",
		"root is nobody in particular: log in under a name of your own, or say "
		"--operator NAME");
	return false;
}

static bool
read_key(const struct hb_http_request *request, struct hb_case *c, struct hb_http_reply *reply)
{
	const char *text = hb_http_header(request, "Idempotency-Key");

	if (!text || !hb_idempotency_text_valid(text)) {
		hb_http_error(reply, 400, "bad_request",
			"Idempotency-Key: the header must have 1..%d visible ASCII characters",
			HB_IDEMPOTENCY_TEXT_MAX);
		return false;
	}
	snprintf(c->key, sizeof(c->key), "%s", text);
	return true;
}

/* Read the whole body by `read`. @return false: refused */
static bool
read_body(const struct hb_http_request *request,
	void (*read)(struct hb_fields *fields, struct hb_case *c), struct hb_case *c,
	struct hb_http_reply *reply)
{
	char error[HB_FIELDS_ERROR_BYTES] = "";
	json_t *document = hb_json_parse(request->body, request->body_bytes, error);
	struct hb_fields fields;
	bool good = document != NULL;

	if (good) {
		hb_fields_begin(&fields, document, -1);
		if (!fields.error[0])
			read(&fields, c);
		good = hb_fields_end(&fields);
	}
	if (!good)
		hb_http_error(reply, 400, "bad_request", "%s", document ? fields.error : error);
	json_decref(document);
	return good;
}

/* ---- requests ---- */

static void
not_added(int result, struct hb_http_reply *reply)
{
	if (result == -EEXIST)
		hb_http_error(reply, 409, hb_status_name(HB_STATUS_CONFLICT), "%s",
			hb_status_advice(HB_STATUS_CONFLICT));
	else if (result == -ENOSPC)
		hb_http_error(
			reply, 503, "cases_full", "there are %d cases, no more fit", HB_CASES_MAX);
	else
		hb_http_error(reply, 503, "cases_unavailable",
			"the case could not be written to disk, so nothing was done");
}

void
hb_case_post(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct hb_control *control = request->context;
	struct hb_case c = {.asked_ms = now_ms()};
	int result;

	if (!has_store(control, reply) || !read_key(request, &c, reply) ||
		!read_body(request, read_case, &c, reply))
		return;
	if (needs_approval(c.verb) && !is_person(&c.asker, reply))
		return;
	c.state = needs_approval(c.verb) ? HB_CASE_ASKED : HB_CASE_ORDERED;
	result = hb_cases_add(control->cases, &c);
	if (result < 0)
		not_added(result, reply);
	else if (result == 1)
		answer_known(control, &c, reply);
	else if (c.state == HB_CASE_ASKED)
		hb_http_json(reply, 201,
			json_pack("{s:s,s:b,s:o}", "status", "ok", "already", 0, "case",
				hb_case_json(&c)));
	else
		drive_and_answer(control, &c, reply);
}

/* The case of the path. @return false: refused */
static bool
find_case(const struct hb_http_request *request, struct hb_case *c, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	uint64_t number = 0;

	if (!has_store(control, reply))
		return false;
	if (!hb_decimal_parse(request->parameter[0], HB_CASES_MAX, &number) || number == 0) {
		hb_http_error(reply, 400, "bad_request", "the case is not a number in 1..%d",
			HB_CASES_MAX);
		return false;
	}
	if (hb_cases_get(control->cases, number, c) == 0)
		return true;
	hb_http_error(reply, 404, "case_unknown", "there is no case %" PRIu64, number);
	return false;
}

void
hb_case_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct hb_case c;

	if (find_case(request, &c, reply))
		hb_http_json(reply, 200,
			json_pack("{s:s,s:o}", "status", "ok", "case", hb_case_json(&c)));
}

static void
read_checker(struct hb_fields *fields, struct hb_case *c)
{
	read_operator(fields, &c->checker);
}

/* A case that somebody wants to approve or withdraw. @return false: refused */
static bool
find_asked(const struct hb_http_request *request, struct hb_case *c, struct hb_case *by,
	struct hb_http_reply *reply)
{
	if (!find_case(request, c, reply) || !read_body(request, read_checker, by, reply) ||
		!is_person(&by->checker, reply))
		return false;
	if (c->state == HB_CASE_ASKED)
		return true;
	if (needs_approval(c->verb) && c->checker.uid == by->checker.uid)
		return true; /* the same again: it hears what became of it */
	hb_http_error(reply, 409, "case_state", "case %" PRIu64 " does not wait: it is %s",
		c->number, hb_case_state_name(c->state));
	return false;
}

void
hb_case_approve(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct hb_control *control = request->context;
	struct hb_case c;
	struct hb_case by;

	if (!find_asked(request, &c, &by, reply))
		return;
	if (c.asker.uid == by.checker.uid) {
		hb_http_error(reply, hb_status_http(HB_STATUS_SAME_PERSON),
			hb_status_name(HB_STATUS_SAME_PERSON),
			"%s asked for it; another operator must approve it", c.asker.name);
		return;
	}
	if (c.state == HB_CASE_WITHDRAWN) {
		hb_http_error(reply, 409, "case_state",
			"case %" PRIu64 " does not wait: it is withdrawn", c.number);
		return;
	}
	if (c.state != HB_CASE_ASKED) {
		answer_known(control, &c, reply);
		return;
	}
	if (now_ms() >= c.expires_ms) {
		hb_http_error(reply, 410, "case_expired",
			"nobody approved case %" PRIu64 " in time; ask for it again", c.number);
		return;
	}
	c.checker = by.checker;
	c.approved_ms = now_ms();
	c.state = HB_CASE_ORDERED;
	if (hb_cases_step(control->cases, &c, HB_CASE_ASKED) != 0) {
		hb_http_error(reply, 503, "cases_unavailable",
			"the approval could not be written, so nothing was done; look at the case");
		return;
	}
	drive_and_answer(control, &c, reply);
}

void
hb_case_withdraw(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct hb_control *control = request->context;
	struct hb_case c;
	struct hb_case by;

	if (!find_asked(request, &c, &by, reply))
		return;
	if (c.state != HB_CASE_ASKED && c.state != HB_CASE_WITHDRAWN) {
		hb_http_error(reply, 409, "case_state", "case %" PRIu64 " does not wait: it is %s",
			c.number, hb_case_state_name(c.state));
		return;
	}
	if (c.state == HB_CASE_ASKED) {
		c.checker = by.checker;
		c.over_ms = now_ms();
		c.state = HB_CASE_WITHDRAWN;
		if (hb_cases_step(control->cases, &c, HB_CASE_ASKED) != 0) {
			hb_http_error(reply, 503, "cases_unavailable",
				"it could not be written; look at the case");
			return;
		}
	}
	hb_http_json(reply, 200, json_pack("{s:s,s:o}", "status", "ok", "case", hb_case_json(&c)));
}

/* ---- lists ---- */

enum {
	ACCOUNT,
	HOLD,
	ORDER,
	STATE,
	BEFORE,
	LIMIT,
	QUERY_COUNT
};
static const char *const query_names[] = {[ACCOUNT] = "account",
	[HOLD] = "hold",
	[ORDER] = "order",
	[STATE] = "state",
	[BEFORE] = "before",
	[LIMIT] = "limit",
	[QUERY_COUNT] = NULL};

static bool
read_state(const char *word, uint8_t *state)
{
	for (const struct hb_choice *s = states; s->word; s++) {
		if (strcmp(s->word, word) == 0)
			*state = (uint8_t)s->value;
	}
	return *state != 0;
}

/* @return the name of the query parameter that is wrong, or NULL */
static const char *
read_filter(
	char values[][HB_HTTP_QUERY_VALUE_MAX + 1], struct hb_case_filter *filter, uint64_t *limit)
{
	struct hb_order_number number;

	if (values[ACCOUNT][0] && !hb_decimal_parse(values[ACCOUNT], INT64_MAX, &filter->account))
		return query_names[ACCOUNT];
	if (values[HOLD][0] && !hb_hold_id_parse(values[HOLD], &filter->hold))
		return query_names[HOLD];
	if (values[ORDER][0] && !hb_order_number_parse(values[ORDER], &number))
		return query_names[ORDER];
	snprintf(filter->order_no, sizeof(filter->order_no), "%s", values[ORDER]);
	if (values[STATE][0] && !read_state(values[STATE], &filter->state))
		return query_names[STATE];
	if (values[BEFORE][0] && !hb_decimal_parse(values[BEFORE], HB_CASES_MAX, &filter->before))
		return query_names[BEFORE];
	if (values[LIMIT][0] &&
		(!hb_decimal_parse(values[LIMIT], LIST_LIMIT_MAX, limit) || *limit == 0))
		return query_names[LIMIT];
	return NULL;
}

void
hb_case_list(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	char values[QUERY_COUNT][HB_HTTP_QUERY_VALUE_MAX + 1];
	struct hb_case found[LIST_LIMIT_MAX];
	struct hb_case_filter filter = {.account = 0};
	uint64_t limit = LIST_LIMIT_DEFAULT;
	const char *wrong;
	uint32_t count;
	json_t *items;

	if (!has_store(control, reply) || !hb_http_query(request, reply, query_names, values))
		return;
	wrong = read_filter(values, &filter, &limit);
	if (wrong) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter %s is not what it should be", wrong);
		return;
	}
	count = hb_cases_list(control->cases, &filter, found, (uint32_t)limit);
	items = json_array();
	for (uint32_t i = 0; i < count; i++)
		json_array_append_new(items, hb_case_json(&found[i]));
	hb_http_json(reply, 200,
		json_pack("{s:s,s:o,s:o}", "status", "ok", "items", items, "next",
			count == limit ? json_integer((json_int_t)found[count - 1].number)
				       : json_null()));
}

/* ---- the job ---- */

void
hb_run_unfinished_cases(void *context, struct hb_job_result *result)
{
	struct hb_control *control = context;
	const struct hb_case_filter filter = {.state = HB_CASE_ORDERED};
	struct hb_case found[UNFINISHED_MAX];
	uint64_t at_ms = now_ms();
	uint32_t too_old = 0;
	uint32_t finished = 0;
	uint32_t count;

	if (!control->cases) {
		result->ok = false;
		snprintf(result->text, sizeof(result->text), "the file of cases is not there");
		return;
	}
	count = hb_cases_list(control->cases, &filter, found, UNFINISHED_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct hb_case *c = &found[i];
		uint64_t since_ms = c->approved_ms ? c->approved_ms : c->asked_ms;
		union hb_any_reply answer;

		if (at_ms < since_ms + DRIVE_AGAIN_AFTER_MS)
			continue;
		if (at_ms > since_ms + DRIVE_AGAIN_UNTIL_MS) {
			too_old++;
			continue;
		}
		finished += conclude(control, c, drive(control, c, &answer), &answer);
	}
	result->found = count;
	result->alarm = too_old > 0;
	snprintf(result->text, sizeof(result->text),
		"%u cases without an outcome, %u of them finished now, %u too old to be sure "
		"(hbctl case NUMBER, hbctl trace)",
		count, finished, too_old);
}
