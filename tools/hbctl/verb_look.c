/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl account, packet, order: look one thing up. The engine first, MySQL when the engine is
 * down or no longer has it. Every answer names its source and its journal sequence.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ids.h"
#include "shm/names.h"
#include "shm/order_number.h"
#include "tools/hbctl/hbctl.h"

/*
 * What MySQL says about it.
 * @param engine_error why the engine did not say it, "" when it was not asked
 * @return HBCTL_OK with *answer, or the exit code of what was said
 */
static int
ask_ledger(struct hbctl *hbctl, const struct hbctl_ledger_key *key, const char *engine_error,
	json_t **answer)
{
	bool asked = engine_error[0] != '\0';
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *got = hbctl_in_child(hbctl, hbctl_ledger_read, key, NULL, error);
	int result;

	if (json_is_true(json_object_get(got, "ok"))) {
		*answer = got;
		return HBCTL_OK;
	}
	result = hbctl_fail(hbctl,
		hbctl_json_text(got, "status")[0] == '\0' ? HBCTL_UNREACHABLE : HBCTL_WRONG,
		"%s%s%sMySQL: %s", asked ? "engine: " : "", engine_error, asked ? "; " : "",
		got == NULL ? error : hbctl_json_text(got, "error"));
	json_decref(got);
	return result;
}

static void
print_money_line(struct hbctl *hbctl, const char *name, const json_t *object, const char *key)
{
	char money[HBCTL_MONEY_BYTES];

	if (json_object_get(object, key) == NULL)
		return;
	hbctl_money(money, hbctl_json_i64(object, key));
	fprintf(hbctl->out, "%-11s%s yuan\n", name, money);
}

static void
print_time_line(struct hbctl *hbctl, const char *name, const json_t *object, const char *key)
{
	char when[HBCTL_TIME_BYTES];

	if (json_object_get(object, key) == NULL)
		return;
	hbctl_time(when, (uint64_t)hbctl_json_i64(object, key));
	fprintf(hbctl->out, "%-11s%s\n", name, when);
}

static void
print_account_line(struct hbctl *hbctl, const char *name, const json_t *object, const char *key)
{
	char account[HBCTL_NAME_BYTES];

	if (hbctl_json_i64(object, key) == 0)
		return;
	hbctl_account_name(account, (uint64_t)hbctl_json_i64(object, key));
	fprintf(hbctl->out, "%-11s%s\n", name, account);
}

static void
print_text_line(struct hbctl *hbctl, const char *name, const json_t *object)
{
	if (hbctl_json_text(object, name)[0] != '\0')
		fprintf(hbctl->out, "%-11s%s\n", name, hbctl_json_text(object, name));
}

static void
print_source(struct hbctl *hbctl, const json_t *object)
{
	fprintf(hbctl->out, "source     %s, sequence %" PRId64 "\n",
		hbctl_json_text(object, "source"), hbctl_json_i64(object, "as_of_seq"));
}

/* Print as JSON or by `print`, and free. */
static int
show(struct hbctl *hbctl, json_t *object, void (*print)(struct hbctl *hbctl, const json_t *object))
{
	if (hbctl->json) {
		hbctl_print_json(hbctl, object);
		return HBCTL_OK;
	}
	print(hbctl, object);
	json_decref(object);
	return HBCTL_OK;
}

static void
print_account(struct hbctl *hbctl, const json_t *account)
{
	uint64_t number = (uint64_t)hbctl_json_i64(account, "account");

	fprintf(hbctl->out, "account    %" PRIu64 " (partition %" PRIu32 ")\n", number,
		hb_partition_of(number));
	print_money_line(hbctl, "available", account, "available_fen");
	print_money_line(hbctl, "frozen", account, "frozen_fen");
	if (hbctl_json_i64(account, "barred") != 0 ||
		json_is_true(json_object_get(account, "barred")))
		fprintf(hbctl->out,
			"debits     barred: nothing goes out, what others pay comes in\n");
	print_source(hbctl, account);
}

int
hbctl_run_account(struct hbctl *hbctl)
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply *reply = (struct hb_reply *)(void *)room;
	struct hb_frame frame;
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = NULL;
	uint64_t account;
	int result;

	if (!hbctl_parse_account(hbctl->positional[0], &account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not an account number (1..%" PRIu64 ")", hbctl->positional[0],
			HB_ACCOUNT_MAX);
	memset(&frame, 0, sizeof(frame));
	frame.operation = HB_OP_BALANCE;
	frame.target = frame.user = account;
	if (hbctl_engine_call(hbctl, &frame, sizeof(frame), reply, HBCTL_CALL_TIMEOUT_MS, error) !=
		0) {
		const struct hbctl_ledger_key key = {.account = account};

		result = ask_ledger(hbctl, &key, error, &answer);
		return result != HBCTL_OK ? result : show(hbctl, answer, print_account);
	}
	if (reply->status != HB_STATUS_OK) /* accounts are never removed: MySQL knows no more */
		return hbctl_refused(hbctl, "account", reply->status);
	return show(hbctl,
		json_pack("{s:b, s:s, s:I, s:I, s:I, s:i, s:I}", "ok", 1, "source", "engine",
			"account", (json_int_t)account, "available_fen",
			(json_int_t)reply->amount_fen, "frozen_fen", (json_int_t)reply->other_fen,
			"barred", (reply->flags & HB_REPLY_BARRED) != 0, "as_of_seq",
			(json_int_t)reply->as_of_seq),
		print_account);
}

/* The packet's head; claims are added page by page. */
static json_t *
detail_json(const struct hb_reply_detail *d)
{
	static const uint8_t no_seed[32];
	json_t *o = json_pack("{s:b, s:s, s:o, s:s, s:s}", "ok", 1, "source", "engine", "packet",
		hbctl_json_packet(d->head.id), "kind", hb_packet_kind_name(d->kind), "state",
		hb_packet_state_name(d->state));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"sender", d->sender}, {"group", d->group}, {"recipient", d->recipient},
		{"total_fen", (uint64_t)d->total_fen}, {"left_fen", (uint64_t)d->left_fen},
		{"refunded_fen", (uint64_t)d->refunded_fen}, {"count", d->share_count},
		{"taken", d->taken_count}, {"share_min_fen", (uint64_t)d->head.amount_fen},
		{"share_max_fen", (uint64_t)d->head.other_fen}, {"created_ms", d->created_ms},
		{"deadline_ms", d->deadline_ms}, {"as_of_seq", d->head.as_of_seq}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(o, "algorithm", json_string(hb_split_algorithm_name(d->algorithm)));
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
	fprintf(hbctl->out, "packet     %s  %s, %s\n", hbctl_json_text(p, "packet"),
		hbctl_json_text(p, "kind"), hbctl_json_text(p, "state"));
	print_account_line(hbctl, "sender", p, "sender");
	print_account_line(hbctl, "group", p, "group");
	print_account_line(hbctl, "recipient", p, "recipient");
	print_money_line(hbctl, "total", p, "total_fen");
	print_money_line(hbctl, "left", p, "left_fen");
	print_money_line(hbctl, "refunded", p, "refunded_fen");
	fprintf(hbctl->out, "shares     %" PRId64 " of %" PRId64 " taken, %s\n",
		hbctl_json_i64(p, "taken"), hbctl_json_i64(p, "count"),
		hbctl_json_text(p, "algorithm"));
	print_time_line(hbctl, "created", p, "created_ms");
	print_time_line(hbctl, "deadline", p, "deadline_ms");
	print_text_line(hbctl, "greeting", p);
	print_text_line(hbctl, "commitment", p);
	print_text_line(hbctl, "seed", p);
	print_source(hbctl, p);
	if (json_array_size(json_object_get(p, "claims")) > 0)
		fprintf(hbctl->out, "\n share              user        amount  time\n");
	print_claims(hbctl, p);
}

int
hbctl_packet_fetch(struct hbctl *hbctl, uint64_t id, json_t **packet)
{
	const struct hbctl_ledger_key key = {.packet = id};
	char error[HBCTL_ERROR_BYTES] = "";
	uint16_t status = HB_STATUS_OK;
	int result;

	*packet = NULL;
	result = fetch_packet(hbctl, id, packet, &status, error);
	if (result == 0 && status == HB_STATUS_OK)
		return HBCTL_OK;
	json_decref(*packet);
	*packet = NULL;
	if (result == 0 && status != HB_STATUS_PACKET_UNKNOWN && status != HB_STATUS_PACKET_GONE)
		return hbctl_refused(hbctl, "packet", status);
	return ask_ledger(hbctl, &key, result != 0 ? error : hb_status_advice(status), packet);
}

int
hbctl_run_packet(struct hbctl *hbctl)
{
	json_t *packet;
	uint64_t id;
	int result;

	if (!hbctl_parse_packet(hbctl->positional[0], &id))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not a packet: 16 hexadecimal digits beginning with 01",
			hbctl->positional[0]);
	result = hbctl_packet_fetch(hbctl, id, &packet);
	return result == HBCTL_OK ? show(hbctl, packet, print_packet) : result;
}

static json_t *
number_json(const char *text, const struct hb_order_number *n)
{
	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:i}", "order_no", text,
		"business", (int)n->business, "business_name", hb_business_name(n->business),
		"version", (int)n->version, "node", (int)n->node, "allocator", (int)n->allocator,
		"user_digits", (int)n->user_digits, "table",
		(int)(n->user_digits % HB_PARTITION_COUNT), "time_ms",
		(json_int_t)hb_stamp_ms(n->stamp), "sequence", (int)hb_stamp_sequence(n->stamp));
}

static void
print_number(struct hbctl *hbctl, const json_t *order)
{
	fprintf(hbctl->out,
		"business   %02" PRId64 " %s\nversion    %" PRId64 "\nnode       %02" PRId64
		"\nallocator  %02" PRId64 "\nuser       %04" PRId64 " (table order_%02" PRId64
		")\n",
		hbctl_json_i64(order, "business"), hbctl_json_text(order, "business_name"),
		hbctl_json_i64(order, "version"), hbctl_json_i64(order, "node"),
		hbctl_json_i64(order, "allocator"), hbctl_json_i64(order, "user_digits"),
		hbctl_json_i64(order, "table"));
	print_time_line(hbctl, "time", order, "time_ms");
	fprintf(hbctl->out, "sequence   %04" PRId64 "\n", hbctl_json_i64(order, "sequence"));
}

static void
print_order(struct hbctl *hbctl, const json_t *order)
{
	print_account_line(hbctl, "account", order, "account");
	print_money_line(hbctl, "amount", order, "amount_fen");
	print_money_line(hbctl, "settled", order, "settled_fen");
	print_text_line(hbctl, "state", order);
	print_text_line(hbctl, "packet", order);
	print_account_line(hbctl, "peer", order, "peer");
	print_source(hbctl, order);
}

/* The engine keeps recharge orders, and wants to know whose. @return 0 with *answer, or -errno */
static int
order_from_engine(struct hbctl *hbctl, const struct hb_order_number *number, uint64_t account,
	json_t **answer, char error[HBCTL_ERROR_BYTES])
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply_order *order = (struct hb_reply_order *)(void *)room;
	struct hb_frame_order frame;
	int result;

	memset(&frame, 0, sizeof(frame));
	frame.head.operation = HB_OP_ORDER_QUERY;
	frame.head.target = account;
	frame.order_stamp = number->stamp;
	result = hbctl_engine_call(
		hbctl, &frame.head, sizeof(frame), &order->head, HBCTL_CALL_TIMEOUT_MS, error);
	if (result != 0)
		return result;
	if (order->head.status != HB_STATUS_OK || order->head.length < sizeof(*order) ||
		order->business != number->business) {
		snprintf(error, HBCTL_ERROR_BYTES, "%s", hb_status_advice(HB_STATUS_ORDER_UNKNOWN));
		return -ENOENT;
	}
	*answer = json_pack("{s:b, s:s, s:I, s:I, s:I, s:s, s:I}", "ok", 1, "source", "engine",
		"account", (json_int_t)order->account, "amount_fen",
		(json_int_t)order->head.amount_fen, "settled_fen", (json_int_t)order->settled_fen,
		"state", hb_order_state_name(order->state), "as_of_seq",
		(json_int_t)order->head.as_of_seq);
	return 0;
}

int
hbctl_order_fetch(struct hbctl *hbctl, const char *order_no, json_t **order)
{
	const struct hbctl_ledger_key key = {.order_no = order_no};

	return ask_ledger(hbctl, &key, "", order);
}

int
hbctl_run_order(struct hbctl *hbctl)
{
	const char *text = hbctl->positional[0];
	const char *owner = hbctl_option_value(hbctl, "--account");
	struct hb_order_number number;
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = NULL;
	json_t *fields;
	uint64_t account = 0;
	int result = HBCTL_OK;

	if (strlen(text) != HB_ORDER_NUMBER_LENGTH || !hb_order_number_parse(text, &number))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not an order number: %d digits of version 1 or 2", text,
			HB_ORDER_NUMBER_LENGTH);
	if (owner != NULL && (!hbctl_parse_account(owner, &account) ||
				     hb_account_digits(account) != number.user_digits))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--account %s is not whose number this is: its user digits would differ",
			owner);
	fields = number_json(text, &number);
	if (!hbctl->json) /* worth something in any case */
		print_number(hbctl, fields);
	if (owner == NULL || order_from_engine(hbctl, &number, account, &answer, error) != 0) {
		const struct hbctl_ledger_key key = {.order_no = text};

		result = ask_ledger(hbctl, &key, error, &answer);
	}
	if (result == HBCTL_OK && hbctl->json)
		json_object_update_missing(answer, fields);
	json_decref(fields);
	return result == HBCTL_OK ? show(hbctl, answer, print_order) : result;
}
