/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl account, packet, order: look one thing up. The engine first, MySQL through control when
 * the engine is down or no longer has it. Every answer names its source and its journal sequence.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ids.h"
#include "shm/order_number.h"
#include "tools/hbctl/hbctl.h"

/* What control says about it, printed as it comes. `engine_error` is why the engine did not. */
static int
ask_control(struct hbctl *hbctl, const char *path, const char *engine_error, json_t *more)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int status = 0;
	json_t *answer = hbctl_control_call(hbctl, "GET", path, NULL, &status, error);
	const char *key;
	json_t *value;

	if (answer == NULL) {
		json_decref(more);
		return hbctl_fail(
			hbctl, HBCTL_UNREACHABLE, "engine: %s; MySQL: %s", engine_error, error);
	}
	if (status != 200) {
		const char *message = hbctl_json_text(answer, "message");
		int result = hbctl_fail(hbctl, status >= 500 ? HBCTL_UNREACHABLE : HBCTL_WRONG,
			"engine: %s; MySQL: %s (HTTP %d)", engine_error,
			message[0] == '\0' ? hbctl_json_text(answer, "status") : message, status);

		json_decref(answer);
		json_decref(more);
		return result;
	}
	json_object_set_new(more, "ok", json_true());
	json_object_set_new(more, "source", json_string("mysql"));
	json_object_update_missing(more, answer);
	json_decref(answer);
	if (hbctl->json) {
		hbctl_print_json(hbctl, more);
		return HBCTL_OK;
	}
	json_object_foreach(more, key, value)
	{
		char money[HBCTL_MONEY_BYTES];
		size_t length = strlen(key);
		char *text;

		if (json_is_integer(value) && length > 4 && strcmp(key + length - 4, "_fen") == 0) {
			hbctl_money(money, json_integer_value(value));
			fprintf(hbctl->out, "%-14.*s %s\n", (int)length - 4, key, money);
			continue;
		}
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		fprintf(hbctl->out, "%-14s %s\n", key, text == NULL ? "" : text);
		free(text);
	}
	json_decref(more);
	return HBCTL_OK;
}

int
hbctl_run_account(struct hbctl *hbctl)
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	const struct hb_reply *reply = (const struct hb_reply *)(void *)room;
	struct hb_frame frame;
	char error[HBCTL_ERROR_BYTES] = "";
	char path[64];
	char money[HBCTL_MONEY_BYTES];
	uint64_t account;

	if (!hbctl_parse_account(hbctl->positional[0], &account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not an account number (1..%" PRIu64 ")", hbctl->positional[0],
			HB_ACCOUNT_MAX);
	memset(&frame, 0, sizeof(frame));
	frame.operation = HB_OP_BALANCE;
	frame.target = frame.user = account;
	snprintf(path, sizeof(path), "/accounts/%" PRIu64, account);
	if (hbctl_engine_call(hbctl, &frame, sizeof(frame), (struct hb_reply *)(void *)room,
		    HBCTL_CALL_TIMEOUT_MS, error) != 0)
		return ask_control(hbctl, path, error, json_object());
	if (reply->status != HB_STATUS_OK) /* accounts are never removed: MySQL knows no more */
		return hbctl_refused(hbctl, "account", reply->status);
	if (hbctl->json) {
		hbctl_print_json(hbctl, json_pack("{s:b, s:s, s:I, s:I, s:I, s:I}", "ok", 1,
						"source", "engine", "account", (json_int_t)account,
						"available_fen", (json_int_t)reply->amount_fen,
						"frozen_fen", (json_int_t)reply->other_fen,
						"as_of_seq", (json_int_t)reply->as_of_seq));
		return HBCTL_OK;
	}
	hbctl_money(money, reply->amount_fen);
	fprintf(hbctl->out, "account    %" PRIu64 " (partition %" PRIu32 ")\navailable  %s yuan\n",
		account, hb_partition_of(account), money);
	hbctl_money(money, reply->other_fen);
	fprintf(hbctl->out, "frozen     %s yuan\nsource     engine, sequence %" PRIu64 "\n", money,
		reply->as_of_seq);
	return HBCTL_OK;
}

/* The packet's head; claims are added page by page. */
static json_t *
detail_json(const struct hb_reply_detail *d)
{
	static const uint8_t no_seed[32];
	json_t *o = json_pack("{s:b, s:s, s:o, s:s, s:s}", "ok", 1, "source", "engine", "packet",
		hbctl_json_packet(d->head.id), "kind",
		d->kind == HB_PACKET_NORMAL ? "normal" : "lucky", "state",
		hbctl_packet_state_name(d->state));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"sender", d->sender}, {"group", d->group}, {"recipient", d->recipient},
		{"total_fen", (uint64_t)d->total_fen}, {"left_fen", (uint64_t)d->left_fen},
		{"refunded_fen", (uint64_t)d->refunded_fen}, {"count", d->share_count},
		{"taken_count", d->taken_count}, {"created_ms", d->created_ms},
		{"deadline_ms", d->deadline_ms}, {"as_of_seq", d->head.as_of_seq}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(o, "algorithm",
		json_string(d->algorithm == HB_SPLIT_SEED ? "seed" : "double-mean"));
	if (d->luckiest_index != UINT32_MAX)
		json_object_set_new(o, "luckiest", json_integer(d->luckiest_index));
	if (d->greeting_length > 0 && d->greeting_length <= HB_GREETING_BYTES_MAX)
		json_object_set_new(
			o, "greeting", json_stringn((const char *)d->greeting, d->greeting_length));
	json_object_set_new(o, "commitment", hbctl_json_hex(d->commitment, 32));
	if (memcmp(d->seed, no_seed, sizeof(no_seed)) != 0)
		json_object_set_new(o, "seed", hbctl_json_hex(d->seed, 32));
	json_object_set_new(o, "claims", json_array());
	return o;
}

static void
add_claims(json_t *packet, const struct hb_reply_detail *d)
{
	json_t *claims = json_object_get(packet, "claims");

	for (uint32_t i = 0; i < d->head.count; i++)
		json_array_append_new(
			claims, json_pack("{s:I, s:I, s:I}", "user", (json_int_t)d->claims[i].user,
					"amount_fen", (json_int_t)d->claims[i].amount_fen,
					"time_ms", (json_int_t)d->claims[i].time_ms));
}

static bool
detail_is_whole(const struct hb_reply_detail *d)
{
	return d->head.length >= sizeof(*d) && d->head.count <= HB_DETAIL_CLAIMS_MAX &&
	       d->head.length >= sizeof(*d) + d->head.count * sizeof(d->claims[0]);
}

/* All pages of a packet. @return 0 with *packet or with *status, or -errno with error */
static int
fetch_packet(struct hbctl *hbctl, uint64_t id, json_t **packet, uint16_t *status,
	char error[HBCTL_ERROR_BYTES])
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply_detail *detail = (struct hb_reply_detail *)(void *)room;
	uint32_t first = 0;
	struct hb_frame_detail frame;
	int result;

	do {
		memset(&frame, 0, sizeof(frame));
		frame.head.operation = HB_OP_PACKET_DETAIL;
		frame.head.target = id;
		frame.claim_first = first;
		result = hbctl_engine_call(hbctl, &frame.head, sizeof(frame), &detail->head,
			HBCTL_CALL_TIMEOUT_MS, error);
		if (result != 0)
			return result;
		*status = detail->head.status;
		if (*status != HB_STATUS_OK)
			return 0;
		if (!detail_is_whole(detail)) {
			snprintf(error, HBCTL_ERROR_BYTES, "the dataplane's reply is damaged");
			return -EPROTO;
		}
		if (*packet == NULL)
			*packet = detail_json(detail);
		add_claims(*packet, detail);
		first += detail->head.count;
	} while ((detail->head.flags & HB_REPLY_MORE) != 0 && detail->head.count > 0);
	return 0;
}

static void
print_money_line(struct hbctl *hbctl, const char *name, int64_t fen)
{
	char money[HBCTL_MONEY_BYTES];

	hbctl_money(money, fen);
	fprintf(hbctl->out, "%-11s%s yuan\n", name, money);
}

static void
print_claims(struct hbctl *hbctl, const json_t *packet)
{
	const json_t *luckiest = json_object_get(packet, "luckiest");
	size_t index;
	json_t *claim;

	json_array_foreach(json_object_get(packet, "claims"), index, claim)
	{
		char money[HBCTL_MONEY_BYTES];
		char when[HBCTL_TIME_BYTES];

		hbctl_money(money, hbctl_json_i64(claim, "amount_fen"));
		hbctl_time(when, (uint64_t)hbctl_json_i64(claim, "time_ms"));
		fprintf(hbctl->out, "%6zu  %16" PRId64 "  %12s  %s%s\n", index,
			hbctl_json_i64(claim, "user"), money, when,
			luckiest != NULL && json_integer_value(luckiest) == (json_int_t)index
				? "  luckiest"
				: "");
	}
}

static void
print_packet(struct hbctl *hbctl, const json_t *p)
{
	char when[HBCTL_TIME_BYTES];

	fprintf(hbctl->out, "packet     %s  %s, %s\n", hbctl_json_text(p, "packet"),
		hbctl_json_text(p, "kind"), hbctl_json_text(p, "state"));
	fprintf(hbctl->out, "sender     %" PRId64 "\n", hbctl_json_i64(p, "sender"));
	if (hbctl_json_i64(p, "group") != 0)
		fprintf(hbctl->out, "group      %" PRId64 "\n", hbctl_json_i64(p, "group"));
	if (hbctl_json_i64(p, "recipient") != 0)
		fprintf(hbctl->out, "recipient  %" PRId64 "\n", hbctl_json_i64(p, "recipient"));
	print_money_line(hbctl, "total", hbctl_json_i64(p, "total_fen"));
	print_money_line(hbctl, "left", hbctl_json_i64(p, "left_fen"));
	print_money_line(hbctl, "refunded", hbctl_json_i64(p, "refunded_fen"));
	fprintf(hbctl->out, "shares     %" PRId64 " of %" PRId64 " taken, %s\n",
		hbctl_json_i64(p, "taken_count"), hbctl_json_i64(p, "count"),
		hbctl_json_text(p, "algorithm"));
	hbctl_time(when, (uint64_t)hbctl_json_i64(p, "created_ms"));
	fprintf(hbctl->out, "created    %s\n", when);
	hbctl_time(when, (uint64_t)hbctl_json_i64(p, "deadline_ms"));
	fprintf(hbctl->out, "deadline   %s\n", when);
	if (json_object_get(p, "greeting") != NULL)
		fprintf(hbctl->out, "greeting   %s\n", hbctl_json_text(p, "greeting"));
	fprintf(hbctl->out, "commitment %s\n", hbctl_json_text(p, "commitment"));
	if (json_object_get(p, "seed") != NULL)
		fprintf(hbctl->out, "seed       %s\n", hbctl_json_text(p, "seed"));
	fprintf(hbctl->out, "source     engine, sequence %" PRId64 "\n",
		hbctl_json_i64(p, "as_of_seq"));
	if (json_array_size(json_object_get(p, "claims")) > 0)
		fprintf(hbctl->out, "\n share              user        amount  time\n");
	print_claims(hbctl, p);
}

int
hbctl_run_packet(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char path[64];
	json_t *packet = NULL;
	uint16_t status = HB_STATUS_OK;
	uint64_t id;
	int result;

	if (!hbctl_parse_packet(hbctl->positional[0], &id))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not a packet: 16 hexadecimal digits beginning with 01",
			hbctl->positional[0]);
	snprintf(path, sizeof(path), "/packets/%016" PRIx64, id);
	result = fetch_packet(hbctl, id, &packet, &status, error);
	if (result != 0 || status == HB_STATUS_PACKET_UNKNOWN) {
		json_decref(packet);
		return ask_control(
			hbctl, path, result != 0 ? error : hb_status_advice(status), json_object());
	}
	if (status != HB_STATUS_OK) {
		json_decref(packet);
		return hbctl_refused(hbctl, "packet", status);
	}
	if (hbctl->json) {
		hbctl_print_json(hbctl, packet);
		return HBCTL_OK;
	}
	print_packet(hbctl, packet);
	json_decref(packet);
	return HBCTL_OK;
}

static json_t *
number_json(const char *text, const struct hb_order_number *n)
{
	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:i}", "order_no", text,
		"business", (int)n->business, "business_name", hbctl_business_name(n->business),
		"version", (int)n->version, "node", (int)n->node, "allocator", (int)n->allocator,
		"user_digits", (int)n->user_digits, "table",
		(int)(n->user_digits % HB_PARTITION_COUNT), "time_ms",
		(json_int_t)hb_stamp_ms(n->stamp), "sequence", (int)hb_stamp_sequence(n->stamp));
}

static void
print_number(struct hbctl *hbctl, const struct hb_order_number *n)
{
	char when[HBCTL_TIME_BYTES];

	hbctl_time(when, hb_stamp_ms(n->stamp));
	fprintf(hbctl->out,
		"business   %02u %s\nversion    %u\nnode       %02u\nallocator  %02u\n"
		"user       %04u (table order_%02u)\ntime       %s\nsequence   %04u\n",
		n->business, hbctl_business_name(n->business), n->version, n->node, n->allocator,
		n->user_digits, n->user_digits % HB_PARTITION_COUNT, when,
		hb_stamp_sequence(n->stamp));
}

static void
print_order(struct hbctl *hbctl, json_t *number, const struct hb_reply_order *order)
{
	const struct {
		const char *key;
		int64_t value;
	} numbers[] = {{"account", (int64_t)order->account}, {"amount_fen", order->head.amount_fen},
		{"settled_fen", order->settled_fen}, {"as_of_seq", (int64_t)order->head.as_of_seq}};

	if (!hbctl->json) {
		fprintf(hbctl->out, "account    %" PRIu64 "\n", order->account);
		print_money_line(hbctl, "amount", order->head.amount_fen);
		print_money_line(hbctl, "settled", order->settled_fen);
		fprintf(hbctl->out, "state      %s\nsource     engine, sequence %" PRIu64 "\n",
			hbctl_order_state_name(order->state), order->head.as_of_seq);
		json_decref(number);
		return;
	}
	json_object_set_new(number, "ok", json_true());
	json_object_set_new(number, "source", json_string("engine"));
	json_object_set_new(number, "state", json_string(hbctl_order_state_name(order->state)));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(number, numbers[i].key, json_integer(numbers[i].value));
	hbctl_print_json(hbctl, number);
}

int
hbctl_run_order(struct hbctl *hbctl)
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply_order *order = (struct hb_reply_order *)(void *)room;
	const char *text = hbctl->positional[0];
	struct hb_frame_order frame;
	struct hb_order_number number;
	char error[HBCTL_ERROR_BYTES] = "";
	char path[64];
	int result;

	if (strlen(text) != HB_ORDER_NUMBER_LENGTH || !hb_order_number_parse(text, &number))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not an order number: %d digits of version 1", text,
			HB_ORDER_NUMBER_LENGTH);
	memset(&frame, 0, sizeof(frame));
	frame.head.operation = HB_OP_ORDER_QUERY;
	frame.head.target = hb_system_account(HB_SYSTEM_CLEARING_MANUAL, number.allocator);
	frame.order_stamp = number.stamp;
	if (!hbctl->json)
		print_number(hbctl, &number);
	result = hbctl_engine_call(
		hbctl, &frame.head, sizeof(frame), &order->head, HBCTL_CALL_TIMEOUT_MS, error);
	if (result == 0 && order->head.status == HB_STATUS_OK &&
		order->head.length >= sizeof(*order) && order->business == number.business) {
		print_order(hbctl, number_json(text, &number), order);
		return HBCTL_OK;
	}
	if (result == 0)
		snprintf(error, sizeof(error), "%s",
			order->head.status == HB_STATUS_OK ? "there is no such order"
							   : hb_status_advice(order->head.status));
	snprintf(path, sizeof(path), "/orders/%s", text);
	return ask_control(
		hbctl, path, error, hbctl->json ? number_json(text, &number) : json_object());
}
