/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Routes, JSON to frame, reply to JSON (front/gateway.h). Which fields a route takes is a table;
 * each field has one rule. Memory of jansson is freed before a function returns; nothing is kept
 * between calls, so dying here loses nothing.
 */
#include "front/gateway.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "shm/ids.h"
#include "shm/names.h"
#include "shm/order_number.h"
#include "shm/token.h"

#define MESSAGE_BYTES_MAX 512
#define PACKET_TEXT_BYTES HB_HEX_U64_DIGITS

/* Writing answers. Room is ours to guarantee: everything written has a bound. */

static void
put(struct hb_answer *answer, const char *text, size_t length)
{
	HB_ASSERT(length <= sizeof(answer->text) - answer->length);
	memcpy(answer->text + answer->length, text, length);
	answer->length += (uint32_t)length;
}

#define PUT(answer, literal) put(answer, literal, sizeof(literal) - 1)

static void
put_text(struct hb_answer *answer, const char *text)
{
	put(answer, text, strlen(text));
}

static void
put_number(struct hb_answer *answer, uint64_t number)
{
	char digits[20], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	put(answer, at, (size_t)(digits + sizeof(digits) - at));
}

static void
put_money(struct hb_answer *answer, int64_t fen)
{
	if (fen < 0)
		PUT(answer, "-");
	put_number(answer, fen < 0 ? -(uint64_t)fen : (uint64_t)fen);
}

static void
put_hex(struct hb_answer *answer, const uint8_t *bytes, size_t length)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		char pair[2] = {digit[bytes[i] >> 4], digit[bytes[i] & 15]};

		put(answer, pair, sizeof(pair));
	}
}

static void
put_packet(struct hb_answer *answer, uint64_t packet)
{
	uint64_t big_endian = __builtin_bswap64(packet);

	put_hex(answer, (const uint8_t *)&big_endian, sizeof(big_endian));
}

/* Inside of a JSON string; bytes that are no UTF-8 become U+FFFD. At most 6 bytes for one. */
static void
put_escaped(struct hb_answer *answer, const void *bytes, size_t length)
{
	const uint8_t *at = bytes, *end = at + length;

	while (at < end) {
		size_t n = hb_utf8_length(at, (size_t)(end - at));

		if (n == 0) {
			PUT(answer, "\\ufffd");
			at++;
		} else if (*at == '"' || *at == '\\') {
			char pair[2] = {'\\', (char)*at++};

			put(answer, pair, sizeof(pair));
		} else if (*at < 0x20 || *at == 0x7f) {
			PUT(answer, "\\u00");
			put_hex(answer, at++, 1);
		} else {
			put(answer, (const char *)at, n);
			at += n;
		}
	}
}

static void
put_order_number(struct hb_answer *answer, enum hb_business business, uint32_t node,
	uint64_t allocator_of, uint64_t account, uint64_t stamp)
{
	char text[HB_ORDER_NUMBER_LENGTH + 1];

	hb_order_number_format(text, business, node, hb_partition_of(allocator_of), account, stamp);
	PUT(answer, ",\"order_no\":\"");
	put(answer, text, HB_ORDER_NUMBER_LENGTH);
	PUT(answer, "\"");
}

static void
begin(struct hb_answer *answer, int http, const char *status)
{
	answer->http = http;
	answer->length = 0;
	PUT(answer, "{\"status\":\"");
	put_text(answer, status);
	PUT(answer, "\"");
}

static void
end_with_sequence(struct hb_answer *answer, const struct hb_reply *reply)
{
	PUT(answer, ",\"as_of_seq\":");
	put_number(answer, reply->as_of_seq);
	PUT(answer, "}\n");
}

static void
put_already(struct hb_answer *answer, const struct hb_reply *reply)
{
	if ((reply->flags & HB_REPLY_ALREADY) != 0)
		PUT(answer, ",\"already\":true");
	else
		PUT(answer, ",\"already\":false");
}

void
hb_gateway_error(struct hb_answer *answer, int http, const char *status, const char *message)
{
	begin(answer, http, status);
	PUT(answer, ",\"message\":\"");
	put_escaped(answer, message, strnlen(message, MESSAGE_BYTES_MAX));
	PUT(answer, "\"}\n");
}

void
hb_gateway_status(struct hb_answer *answer, enum hb_status status)
{
	hb_gateway_error(answer, hb_status_http((uint16_t)status), hb_status_name((uint16_t)status),
		hb_status_advice((uint16_t)status));
}

void
hb_gateway_health(struct hb_answer *answer, bool attached)
{
	if (!attached) {
		hb_gateway_error(
			answer, 503, "unavailable", "the dataplane is not there; ask again");
		return;
	}
	begin(answer, 200, "ok");
	PUT(answer, "}\n");
}

static int __attribute__((format(printf, 2, 3)))
refuse(struct hb_answer *answer, const char *format, ...)
{
	char message[MESSAGE_BYTES_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	hb_gateway_error(answer, 400, "bad_request", message);
	return 400;
}

/* Routes. */

static bool
text_is(struct hb_text text, const char *literal)
{
	return text.length == strlen(literal) && memcmp(text.at, literal, text.length) == 0;
}

/* Packet ids are 16 lower-case hexadecimal digits. */
static bool
take_packet(struct hb_text text, uint64_t *packet)
{
	return text.length == PACKET_TEXT_BYTES && hb_hex_u64(text.at, packet) &&
	       hb_id_kind(*packet) == HB_ID_PACKET;
}

static const struct {
	const char *path;
	enum hb_method method;
	enum hb_route route;
} routes[] = {
	{"/v1/packets", HB_METHOD_POST, HB_ROUTE_PACKET_SEND},
	{"/v1/balance", HB_METHOD_GET, HB_ROUTE_BALANCE},
	{"/v1/tokens", HB_METHOD_POST, HB_ROUTE_TOKEN_ASK},
	{"/v1/transfers", HB_METHOD_POST, HB_ROUTE_TRANSFER},
	{"/health", HB_METHOD_GET, HB_ROUTE_HEALTH},
};

static bool
route_packet(struct hb_call *call, enum hb_method *method, struct hb_text path)
{
	static const char prefix[] = "/v1/packets/";
	const size_t id_begin = sizeof(prefix) - 1, id_end = id_begin + PACKET_TEXT_BYTES;
	struct hb_text id, rest;

	if (path.length < id_end || memcmp(path.at, prefix, id_begin) != 0)
		return false;
	id = (struct hb_text){path.at + id_begin, PACKET_TEXT_BYTES};
	rest = (struct hb_text){path.at + id_end, path.length - id_end};
	if (!take_packet(id, &call->packet))
		return false;
	call->route = rest.length == 0 ? HB_ROUTE_PACKET_DETAIL : HB_ROUTE_PACKET_GRAB;
	*method = rest.length == 0 ? HB_METHOD_GET : HB_METHOD_POST;
	return rest.length == 0 || text_is(rest, "/grab");
}

int
hb_gateway_route(
	struct hb_call *call, struct hb_answer *answer, enum hb_method method, struct hb_text path)
{
	enum hb_method right = HB_METHOD_OTHER;
	bool found;

	memset(call, 0, sizeof(*call));
	found = route_packet(call, &right, path);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]) && !found; i++) {
		found = text_is(path, routes[i].path);
		call->route = routes[i].route;
		right = routes[i].method;
	}
	if (!found) {
		hb_gateway_error(answer, 404, "not_found", "there is no such resource");
		return 404;
	}
	if (method != right) {
		hb_gateway_error(answer, 405, "method_not_allowed",
			right == HB_METHOD_GET ? "use GET" : "use POST");
		return 405;
	}
	return 0;
}

/* Fields of bodies. */

enum field {
	FIELD_KIND,
	FIELD_GROUP,
	FIELD_RECIPIENT,
	FIELD_TOTAL,
	FIELD_COUNT,
	FIELD_ALGORITHM,
	FIELD_SHARE_MIN,
	FIELD_SHARE_MAX,
	FIELD_LIFETIME,
	FIELD_GREETING,
	FIELD_TOKEN,
	FIELD_SEQUENCE,
	FIELD_TO,
	FIELD_AMOUNT,
	FIELD_OPERATION,
	FIELD_TARGET,
	FIELDS, /* not a field */
};
#define BIT(field) (UINT32_C(1) << (field))

/* Numbers: least and largest value. Texts: least and largest length in bytes. */
static const struct {
	const char *name;
	bool is_text;
	int64_t min;
	int64_t max;
} rules[FIELDS] = {
	[FIELD_KIND] = {"kind", true, 1, 16},
	[FIELD_GROUP] = {"group", false, 1, HB_GROUP_MAX},
	[FIELD_RECIPIENT] = {"recipient", false, 1, HB_ACCOUNT_MAX},
	[FIELD_TOTAL] = {"total_fen", false, 1, HB_PACKET_TOTAL_FEN_MAX},
	[FIELD_COUNT] = {"count", false, 1, HB_PACKET_COUNT_MAX},
	[FIELD_ALGORITHM] = {"algorithm", true, 1, 16},
	[FIELD_SHARE_MIN] = {"share_min_fen", false, 1, HB_PACKET_TOTAL_FEN_MAX},
	[FIELD_SHARE_MAX] = {"share_max_fen", false, 1, HB_PACKET_TOTAL_FEN_MAX},
	[FIELD_LIFETIME] = {"lifetime_s", false, 1, HB_PACKET_LIFETIME_S_MAX},
	[FIELD_GREETING] = {"greeting", true, 0, HB_GREETING_BYTES_MAX},
	[FIELD_TOKEN] = {"token", true, 1, HB_TOKEN_TEXT_MAX - 1},
	[FIELD_SEQUENCE] = {"sequence", false, 1, UINT32_MAX},
	[FIELD_TO] = {"to", false, 1, HB_ACCOUNT_MAX},
	[FIELD_AMOUNT] = {"amount_fen", false, 1, HB_CREDIT_FEN_MAX},
	[FIELD_OPERATION] = {"operation", true, 1, 16},
	[FIELD_TARGET] = {"target", true, 1, PACKET_TEXT_BYTES},
};

#define FIELDS_MONEY_TOKEN (BIT(FIELD_TOKEN) | BIT(FIELD_SEQUENCE))

static const struct {
	uint32_t needed;
	uint32_t optional;
} bodies[HB_ROUTE_COUNT] = {
	[HB_ROUTE_PACKET_SEND] = {BIT(FIELD_KIND) | BIT(FIELD_TOTAL) | FIELDS_MONEY_TOKEN,
		BIT(FIELD_GROUP) | BIT(FIELD_RECIPIENT) | BIT(FIELD_COUNT) | BIT(FIELD_ALGORITHM) |
			BIT(FIELD_SHARE_MIN) | BIT(FIELD_SHARE_MAX) | BIT(FIELD_LIFETIME) |
			BIT(FIELD_GREETING)},
	[HB_ROUTE_PACKET_GRAB] = {FIELDS_MONEY_TOKEN, BIT(FIELD_GROUP)},
	[HB_ROUTE_TOKEN_ASK] = {BIT(FIELD_OPERATION), BIT(FIELD_TARGET)},
	[HB_ROUTE_TRANSFER] = {BIT(FIELD_TO) | BIT(FIELD_AMOUNT) | FIELDS_MONEY_TOKEN, 0},
};

/* Values of a body or of arguments; texts point into the JSON. 0 and NULL where there is none. */
struct values {
	uint32_t present;
	int64_t number[FIELDS];
	struct hb_text text[FIELDS];
};

static bool
has(const struct values *values, enum field field)
{
	return (values->present & BIT(field)) != 0;
}

static enum field
field_named(const char *name, uint32_t allowed)
{
	for (unsigned i = 0; i < FIELDS; i++)
		if ((allowed & BIT(i)) != 0 && strcmp(rules[i].name, name) == 0)
			return (enum field)i;
	return FIELDS;
}

static int
take_value(struct values *values, enum field field, const json_t *value, struct hb_answer *answer)
{
	long long min = rules[field].min, max = rules[field].max, size;

	if (rules[field].is_text) {
		if (!json_is_string(value))
			return refuse(answer, "%s: must be a text", rules[field].name);
		values->text[field].at = json_string_value(value);
		values->text[field].length = json_string_length(value);
		size = (long long)values->text[field].length;
		if (size < min || size > max)
			return refuse(answer, "%s: must have %lld to %lld bytes", rules[field].name,
				min, max);
	} else {
		if (!json_is_integer(value))
			return refuse(answer, "%s: must be a whole number", rules[field].name);
		size = json_integer_value(value);
		if (size < min || size > max)
			return refuse(
				answer, "%s: must be %lld to %lld", rules[field].name, min, max);
		values->number[field] = size;
	}
	values->present |= BIT(field);
	return 0;
}

static int
take_values(struct values *values, json_t *object, enum hb_route route, struct hb_answer *answer)
{
	uint32_t needed = bodies[route].needed, missing;
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		enum field field = field_named(name, needed | bodies[route].optional);
		int http;

		if (field == FIELDS)
			return refuse(answer, "%.100s: unknown field", name);
		http = take_value(values, field, value, answer);
		if (http != 0)
			return http;
	}
	missing = needed & ~values->present;
	if (missing != 0)
		return refuse(answer, "%s: is missing", rules[__builtin_ctz(missing)].name);
	return 0;
}

static int
refuse_json(struct hb_answer *answer, const json_error_t *error)
{
	/* jansson's text names the field and is cut to its own bound. */
	if (json_error_code(error) == json_error_duplicate_key)
		return refuse(answer, "%s", error->text);
	return refuse(answer, "the body is not valid JSON: %s", error->text);
}

static struct json_t *
load_body(struct hb_text body, struct hb_answer *answer)
{
	json_error_t error;
	json_t *object;

	if (body.length == 0 || body.length > HB_BODY_BYTES_MAX) {
		refuse(answer, "the body must be a JSON object of at most %d bytes",
			HB_BODY_BYTES_MAX);
		return NULL;
	}
	object = json_loadb(body.at, body.length, JSON_REJECT_DUPLICATES, &error);
	if (object == NULL) {
		refuse_json(answer, &error);
		return NULL;
	}
	if (json_is_object(object))
		return object;
	json_decref(object);
	refuse(answer, "the body must be a JSON object");
	return NULL;
}

/* Arguments of the query string: decimal numbers only. */

static bool
take_decimal(struct hb_text text, int64_t max, int64_t *number)
{
	*number = 0;
	if (text.length == 0 || text.length > 16 || (text.at[0] == '0' && text.length > 1))
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		*number = *number * 10 + (text.at[i] - '0');
	}
	return *number <= max;
}

struct argument {
	const char *name;
	int64_t max;
	int64_t number;
	bool present;
};

static int
take_argument(
	struct argument *arguments, size_t count, struct hb_text pair, struct hb_answer *answer)
{
	const char *equals = memchr(pair.at, '=', pair.length);
	struct hb_text name = {pair.at, equals == NULL ? pair.length : (size_t)(equals - pair.at)};
	struct hb_text value = {equals == NULL ? pair.at : equals + 1, 0};

	if (equals != NULL)
		value.length = pair.length - name.length - 1;
	for (size_t i = 0; i < count; i++) {
		if (!text_is(name, arguments[i].name))
			continue;
		if (arguments[i].present)
			return refuse(answer, "%s: is given twice", arguments[i].name);
		arguments[i].present = true;
		if (!take_decimal(value, arguments[i].max, &arguments[i].number))
			return refuse(answer, "%s: must be 0 to %lld", arguments[i].name,
				(long long)arguments[i].max);
		return 0;
	}
	return refuse(answer, "%.*s: unknown argument",
		(int)(name.length < 100 ? name.length : 100), name.at);
}

static int
take_arguments(
	struct argument *arguments, size_t count, struct hb_text text, struct hb_answer *answer)
{
	const char *at = text.at, *end = text.length == 0 ? at : at + text.length;

	while (at < end) {
		const char *stop = memchr(at, '&', (size_t)(end - at));
		struct hb_text pair = {at, (size_t)((stop == NULL ? end : stop) - at)};
		int http = take_argument(arguments, count, pair, answer);

		if (http != 0)
			return http;
		at = stop == NULL ? end : stop + 1;
	}
	return 0;
}

/* Frames. */

/* A group counts only when the user's token vouches for it; the owner answers for 0. */
static uint64_t
group_vouched(const struct hb_identity *identity, uint64_t group)
{
	return hb_identity_in_group(identity, group) ? group : 0;
}

static void
frame_head(struct hb_frame *head, enum hb_operation operation, size_t bytes, uint64_t target,
	const struct hb_identity *identity, uint32_t now_s)
{
	memset(head, 0, bytes);
	head->version = HB_FRAME_VERSION;
	head->operation = (uint8_t)operation;
	head->length = (uint16_t)bytes;
	head->issued_s = now_s;
	head->target = target;
	head->user = identity->account;
}

/* Whether the token is right is for the owner to decide; here it must have the form of one. */
static int
frame_token(struct hb_frame *head, const struct values *values, struct hb_answer *answer)
{
	struct hb_text text = values->text[FIELD_TOKEN];
	struct hb_token token;
	uint64_t user;

	if (!hb_token_parse(text.at, (uint32_t)text.length, &token, &user))
		return refuse(answer, "token: is not a money token");
	head->token_id = token.id;
	head->token_mac = token.mac;
	head->token_expiry_s = token.expiry_s;
	head->sequence = (uint32_t)values->number[FIELD_SEQUENCE];
	return 0;
}

/* Kind with what belongs to it: lucky has a group, normal one recipient and one share. */
static int
packet_kind(struct hb_frame_packet_create *create, const struct values *values,
	struct hb_answer *answer)
{
	int64_t count = has(values, FIELD_COUNT) ? values->number[FIELD_COUNT] : 1;

	create->count = (uint32_t)count;
	if (text_is(values->text[FIELD_KIND], "lucky")) {
		create->kind = HB_PACKET_LUCKY;
		if (has(values, FIELD_RECIPIENT))
			return refuse(answer, "recipient: a lucky packet is for a group");
		if (!has(values, FIELD_GROUP))
			return refuse(answer, "group: is missing");
		if (!has(values, FIELD_COUNT))
			return refuse(answer, "count: is missing");
		return 0;
	}
	if (!text_is(values->text[FIELD_KIND], "normal"))
		return refuse(answer, "kind: must be lucky or normal");
	create->kind = HB_PACKET_NORMAL;
	if (has(values, FIELD_GROUP))
		return refuse(answer, "group: a normal packet is for a recipient");
	if (!has(values, FIELD_RECIPIENT))
		return refuse(answer, "recipient: is missing");
	if (count != 1)
		return refuse(answer, "count: a normal packet has one share");
	create->recipient = (uint64_t)values->number[FIELD_RECIPIENT];
	return 0;
}

static int
packet_algorithm(struct hb_frame_packet_create *create, const struct values *values,
	struct hb_answer *answer)
{
	create->algorithm = HB_SPLIT_DOUBLE_MEAN;
	if (!has(values, FIELD_ALGORITHM) || text_is(values->text[FIELD_ALGORITHM], "double-mean"))
		return 0;
	if (!text_is(values->text[FIELD_ALGORITHM], "seed"))
		return refuse(answer, "algorithm: must be double-mean or seed");
	create->algorithm = HB_SPLIT_SEED;
	return 0;
}

static int
frame_send(union hb_any_frame *frame, const struct hb_identity *identity,
	const struct values *values, uint32_t now_s, struct hb_answer *answer)
{
	struct hb_frame_packet_create *create = &frame->create;
	struct hb_text greeting = values->text[FIELD_GREETING];
	int http;

	frame_head(&create->head, HB_OP_PACKET_CREATE, sizeof(*create), identity->account, identity,
		now_s);
	http = packet_kind(create, values, answer);
	if (http == 0)
		http = packet_algorithm(create, values, answer);
	if (http != 0)
		return http;
	create->head.group = group_vouched(identity, (uint64_t)values->number[FIELD_GROUP]);
	if (create->kind == HB_PACKET_LUCKY && create->head.group == 0) {
		hb_gateway_error(answer, 403, hb_status_name(HB_STATUS_NOT_MEMBER),
			"group: your login does not vouch for this group");
		return 403;
	}
	create->total_fen = values->number[FIELD_TOTAL];
	create->share_min_fen = values->number[FIELD_SHARE_MIN];
	create->share_max_fen = values->number[FIELD_SHARE_MAX];
	create->lifetime_s = (uint32_t)values->number[FIELD_LIFETIME];
	create->greeting_length = (uint8_t)greeting.length;
	if (greeting.length > 0)
		memcpy(create->greeting, greeting.at, greeting.length);
	return frame_token(&create->head, values, answer);
}

static int
frame_grab(union hb_any_frame *frame, uint64_t packet, const struct hb_identity *identity,
	const struct values *values, uint32_t now_s, struct hb_answer *answer)
{
	frame_head(&frame->head, HB_OP_GRAB, sizeof(frame->head), packet, identity, now_s);
	frame->head.group = group_vouched(identity, (uint64_t)values->number[FIELD_GROUP]);
	return frame_token(&frame->head, values, answer);
}

static int
frame_ask(union hb_any_frame *frame, const struct hb_identity *identity,
	const struct values *values, uint32_t now_s, struct hb_answer *answer)
{
	struct hb_text operation = values->text[FIELD_OPERATION];
	uint64_t target = identity->account;
	uint8_t for_operation = HB_OP_GRAB;

	if (text_is(operation, "send"))
		for_operation = HB_OP_PACKET_CREATE;
	else if (text_is(operation, "transfer"))
		for_operation = HB_OP_TRANSFER;
	else if (!text_is(operation, "grab"))
		return refuse(answer, "operation: must be grab, send or transfer");
	if (for_operation == HB_OP_GRAB) {
		if (!has(values, FIELD_TARGET))
			return refuse(answer, "target: is missing");
		if (!take_packet(values->text[FIELD_TARGET], &target))
			return refuse(answer, "target: is not the id of a packet");
	} else if (has(values, FIELD_TARGET)) {
		return refuse(answer, "target: is for operation grab only");
	}
	frame_head(&frame->head, HB_OP_TOKEN_ASK, sizeof(frame->token), target, identity, now_s);
	frame->token.for_operation = for_operation;
	return 0;
}

static int
frame_transfer(union hb_any_frame *frame, struct hb_call *call, const struct hb_identity *identity,
	const struct values *values, uint32_t now_s, struct hb_answer *answer)
{
	call->to = (uint64_t)values->number[FIELD_TO];
	if (call->to == identity->account)
		return refuse(answer, "to: is your own account");
	frame_head(&frame->head, HB_OP_TRANSFER, sizeof(frame->transfer), identity->account,
		identity, now_s);
	frame->transfer.to = call->to;
	frame->transfer.amount_fen = values->number[FIELD_AMOUNT];
	return frame_token(&frame->head, values, answer);
}

static int
frame_with_body(struct hb_call *call, union hb_any_frame *frame, struct hb_answer *answer,
	const struct hb_identity *identity, struct hb_text body, uint32_t now_s)
{
	struct values values = {0};
	json_t *object = load_body(body, answer);
	int http;

	if (object == NULL)
		return answer->http;
	http = take_values(&values, object, call->route, answer);
	if (http != 0)
		goto out;
	if (call->route == HB_ROUTE_PACKET_SEND)
		http = frame_send(frame, identity, &values, now_s, answer);
	else if (call->route == HB_ROUTE_PACKET_GRAB)
		http = frame_grab(frame, call->packet, identity, &values, now_s, answer);
	else if (call->route == HB_ROUTE_TOKEN_ASK)
		http = frame_ask(frame, identity, &values, now_s, answer);
	else
		http = frame_transfer(frame, call, identity, &values, now_s, answer);
out:
	json_decref(object);
	return http;
}

static int
frame_detail(union hb_any_frame *frame, uint64_t packet, struct hb_answer *answer,
	const struct hb_identity *identity, struct hb_text text, uint32_t now_s)
{
	struct argument arguments[] = {
		{.name = "group", .max = HB_GROUP_MAX},
		{.name = "after", .max = HB_PACKET_COUNT_MAX},
	};
	int http = take_arguments(arguments, 2, text, answer);

	if (http != 0)
		return http;
	frame_head(
		&frame->head, HB_OP_PACKET_DETAIL, sizeof(frame->detail), packet, identity, now_s);
	frame->head.group = group_vouched(identity, (uint64_t)arguments[0].number);
	frame->detail.claim_first = (uint32_t)arguments[1].number;
	return 0;
}

uint64_t
hb_gateway_group(const struct hb_identity *identity, struct hb_text arguments)
{
	struct argument known[] = {
		{.name = "group", .max = HB_GROUP_MAX},
		{.name = "after", .max = HB_PACKET_COUNT_MAX},
	};
	struct hb_answer ignored;

	if (take_arguments(known, 2, arguments, &ignored) != 0)
		return 0;
	return group_vouched(identity, (uint64_t)known[0].number);
}

int
hb_gateway_frame(struct hb_call *call, union hb_any_frame *frame, struct hb_answer *answer,
	const struct hb_identity *identity, struct hb_text arguments, struct hb_text body,
	uint32_t now_s)
{
	int http;

	HB_ASSERT(call->route > HB_ROUTE_HEALTH && call->route < HB_ROUTE_COUNT);
	call->user = identity->account;
	if (call->route == HB_ROUTE_PACKET_DETAIL)
		return frame_detail(frame, call->packet, answer, identity, arguments, now_s);
	http = take_arguments(NULL, 0, arguments, answer);
	if (http != 0)
		return http;
	if (call->route != HB_ROUTE_BALANCE)
		return frame_with_body(call, frame, answer, identity, body, now_s);
	frame_head(&frame->head, HB_OP_BALANCE, sizeof(frame->head), identity->account, identity,
		now_s);
	return 0;
}

/* Replies. */

static void
reply_send(struct hb_answer *answer, const struct hb_call *call, uint32_t node,
	const struct hb_reply *reply)
{
	begin(answer, 201, "ok");
	PUT(answer, ",\"packet\":\"");
	put_packet(answer, reply->id);
	PUT(answer, "\"");
	put_order_number(
		answer, HB_BUSINESS_PACKET_SEND, node, call->user, call->user, reply->order_stamp);
	put_already(answer, reply);
	end_with_sequence(answer, reply);
}

static void
reply_grab(struct hb_answer *answer, const struct hb_call *call, uint32_t node,
	const struct hb_reply *reply)
{
	begin(answer, 200, "ok");
	PUT(answer, ",\"packet\":\"");
	put_packet(answer, call->packet);
	PUT(answer, "\",\"amount_fen\":");
	put_money(answer, reply->amount_fen);
	PUT(answer, ",\"share\":");
	put_number(answer, reply->index);
	PUT(answer, ",\"left_fen\":");
	put_money(answer, reply->other_fen);
	PUT(answer, ",\"left_count\":");
	put_number(answer, reply->count);
	put_order_number(answer, HB_BUSINESS_PACKET_GRAB, node, call->packet, call->user,
		reply->order_stamp);
	put_already(answer, reply);
	end_with_sequence(answer, reply);
}

static void
reply_balance(struct hb_answer *answer, const struct hb_call *call, const struct hb_reply *reply)
{
	begin(answer, 200, "ok");
	PUT(answer, ",\"account\":");
	put_number(answer, call->user);
	PUT(answer, ",\"available_fen\":");
	put_money(answer, reply->amount_fen);
	PUT(answer, ",\"frozen_fen\":");
	put_money(answer, reply->other_fen);
	end_with_sequence(answer, reply);
}

static void
reply_transfer(struct hb_answer *answer, const struct hb_call *call, uint32_t node,
	const struct hb_reply *reply)
{
	begin(answer, 200, "ok");
	PUT(answer, ",\"to\":");
	put_number(answer, call->to);
	PUT(answer, ",\"amount_fen\":");
	put_money(answer, reply->amount_fen);
	put_order_number(
		answer, HB_BUSINESS_TRANSFER_OUT, node, call->user, call->user, reply->order_stamp);
	put_already(answer, reply);
	end_with_sequence(answer, reply);
}

static void
detail_for(struct hb_answer *answer, const struct hb_reply_detail *detail)
{
	if (detail->kind == HB_PACKET_LUCKY) {
		PUT(answer, "\",\"kind\":\"lucky\",\"group\":");
		put_number(answer, detail->group);
	} else {
		PUT(answer, "\",\"kind\":\"normal\",\"recipient\":");
		put_number(answer, detail->recipient);
	}
	if (detail->algorithm == HB_SPLIT_SEED)
		PUT(answer, ",\"algorithm\":\"seed\"");
	else
		PUT(answer, ",\"algorithm\":\"double-mean\"");
}

static void
detail_state(struct hb_answer *answer, const struct hb_reply_detail *detail)
{
	PUT(answer, ",\"state\":\"");
	put_text(answer, hb_packet_state_name(detail->state));
	PUT(answer, "\",\"total_fen\":");
	put_money(answer, detail->total_fen);
	PUT(answer, ",\"left_fen\":");
	put_money(answer, detail->left_fen);
	PUT(answer, ",\"refunded_fen\":");
	put_money(answer, detail->refunded_fen);
	PUT(answer, ",\"count\":");
	put_number(answer, detail->share_count);
	PUT(answer, ",\"taken\":");
	put_number(answer, detail->taken_count);
	PUT(answer, ",\"share_min_fen\":");
	put_money(answer, detail->head.amount_fen);
	PUT(answer, ",\"share_max_fen\":");
	put_money(answer, detail->head.other_fen);
	PUT(answer, ",\"created_ms\":");
	put_number(answer, detail->created_ms);
	PUT(answer, ",\"deadline_ms\":");
	put_number(answer, detail->deadline_ms);
}

/* What lets anybody recompute the shares; the seed is told when nothing is left to win. */
static void
detail_fairness(struct hb_answer *answer, const struct hb_reply_detail *detail)
{
	PUT(answer, "\",\"commitment\":\"");
	put_hex(answer, detail->commitment, sizeof(detail->commitment));
	if (detail->state == HB_PACKET_OPEN) {
		PUT(answer, "\",\"seed\":null");
	} else {
		PUT(answer, "\",\"seed\":\"");
		put_hex(answer, detail->seed, sizeof(detail->seed));
		PUT(answer, "\"");
	}
	PUT(answer, ",\"luckiest\":");
	if (detail->luckiest_index == UINT32_MAX)
		PUT(answer, "null");
	else
		put_number(answer, detail->luckiest_index);
}

static void
detail_claims(struct hb_answer *answer, const struct hb_reply_detail *detail)
{
	PUT(answer, ",\"claims\":[");
	for (uint32_t i = 0; i < detail->head.count; i++) {
		const struct hb_reply_claim *claim = &detail->claims[i];

		if (i > 0)
			PUT(answer, ",");
		PUT(answer, "{\"user\":");
		put_number(answer, claim->user);
		PUT(answer, ",\"amount_fen\":");
		put_money(answer, claim->amount_fen);
		PUT(answer, ",\"time_ms\":");
		put_number(answer, claim->time_ms);
		PUT(answer, "}");
	}
	if ((detail->head.flags & HB_REPLY_MORE) != 0)
		PUT(answer, "],\"more\":true");
	else
		PUT(answer, "],\"more\":false");
}

static bool
detail_fits(const struct hb_reply_detail *detail)
{
	return detail->head.length >= sizeof(*detail) &&
	       detail->head.count <= HB_DETAIL_CLAIMS_MAX &&
	       detail->head.length >=
		       sizeof(*detail) + detail->head.count * sizeof(struct hb_reply_claim) &&
	       detail->greeting_length <= HB_GREETING_BYTES_MAX;
}

static void
reply_detail(struct hb_answer *answer, const struct hb_call *call, const struct hb_reply *reply)
{
	const struct hb_reply_detail *detail = (const struct hb_reply_detail *)(const void *)reply;

	if (!detail_fits(detail)) {
		hb_gateway_error(answer, 500, "internal", "the reply of the dataplane is damaged");
		return;
	}
	begin(answer, 200, "ok");
	PUT(answer, ",\"packet\":\"");
	put_packet(answer, call->packet);
	detail_for(answer, detail);
	PUT(answer, ",\"sender\":");
	put_number(answer, detail->sender);
	detail_state(answer, detail);
	PUT(answer, ",\"greeting\":\"");
	put_escaped(answer, detail->greeting, detail->greeting_length);
	detail_fairness(answer, detail);
	detail_claims(answer, detail);
	end_with_sequence(answer, reply);
}

static void
reply_refusal(struct hb_answer *answer, const struct hb_reply *reply)
{
	begin(answer, hb_status_http(reply->status), hb_status_name(reply->status));
	PUT(answer, ",\"message\":\"");
	put_text(answer, hb_status_advice(reply->status));
	PUT(answer, "\"");
	end_with_sequence(answer, reply);
}

void
hb_gateway_reply(struct hb_answer *answer, const struct hb_call *call, uint32_t node,
	const struct hb_reply *reply)
{
	if (reply->status != HB_STATUS_OK) {
		reply_refusal(answer, reply);
		return;
	}
	switch (call->route) {
	case HB_ROUTE_PACKET_SEND:
		reply_send(answer, call, node, reply);
		return;
	case HB_ROUTE_PACKET_GRAB:
		reply_grab(answer, call, node, reply);
		return;
	case HB_ROUTE_PACKET_DETAIL:
		reply_detail(answer, call, reply);
		return;
	case HB_ROUTE_BALANCE:
		reply_balance(answer, call, reply);
		return;
	case HB_ROUTE_TRANSFER:
		reply_transfer(answer, call, node, reply);
		return;
	default: /* TOKEN_ASK: the token goes to the business system, not to the user */
		begin(answer, 202, "asked");
		PUT(answer, "}\n");
	}
}
