/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * From HTTP to frames and back: a table of requests with what becomes of them, every field's
 * bounds, and the JSON of every reply. Every frame made here must pass hb_frame_check.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "front/gateway.h"
#include "shm/ids.h"
#include "shm/order_number.h"
#include "shm/token.h"

#define NOW_S	  1700000000u
#define ACCOUNT	  1001
#define NODE	  42
#define PACKET	  "0130200000000009"
#define PACKET_ID UINT64_C(0x0130200000000009)
#define GRAB_PATH "/v1/packets/" PACKET "/grab"
#define TOKEN	  "GR-0-1001-20260301120000000-0001-0123456789abcdef"
#define MONEY	  "\"token\":\"" TOKEN "\",\"sequence\":5"
#define LUCKY	  "\"kind\":\"lucky\",\"group\":7,\"total_fen\":1000,\"count\":10,"
#define NORMAL	  "\"kind\":\"normal\",\"recipient\":1002,\"total_fen\":1000,"
#define MUTATIONS 30000

static struct hb_identity *identity;
static struct hb_call call;
static struct hb_answer answer;
static union hb_any_frame frame;

static int
set_up(void **state)
{
	(void)state;
	identity = calloc(1, sizeof(*identity) + 2 * sizeof(uint64_t));
	identity->account = ACCOUNT;
	identity->group_count = 2;
	identity->groups[0] = 7;
	identity->groups[1] = 8;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	free(identity);
	return 0;
}

/* The bytes lie in an allocation of their own length, so that a sanitizer sees reads beyond. */
static struct hb_text
copy(const char *bytes, size_t length)
{
	char *own = malloc(length == 0 ? 1 : length);

	if (length > 0)
		memcpy(own, bytes, length);
	return (struct hb_text){own, length};
}

static int
ask_bytes(enum hb_method method, const char *path, const char *arguments, const char *body,
	size_t body_length)
{
	struct hb_text texts[3] = {copy(path, strlen(path)), copy(arguments, strlen(arguments)),
		copy(body, body_length)};
	int http = hb_gateway_route(&call, &answer, method, texts[0]);

	if (http == 0 && call.route != HB_ROUTE_HEALTH) {
		memset(&frame, 0xee, sizeof(frame)); /* nothing of before may shine through */
		http = hb_gateway_frame(
			&call, &frame, &answer, identity, texts[1], texts[2], NOW_S);
		if (http == 0) {
			assert_int_equal(
				hb_frame_check(&frame.head, frame.head.length), HB_STATUS_OK);
			assert_int_equal(frame.head.user, ACCOUNT);
			assert_int_equal(frame.head.issued_s, NOW_S);
			assert_int_equal(call.user, ACCOUNT);
		}
	}
	for (int i = 0; i < 3; i++)
		free((void *)(uintptr_t)texts[i].at);
	return http;
}

static int
post(const char *path, const char *body)
{
	return ask_bytes(HB_METHOD_POST, path, "", body, strlen(body));
}

static int
get(const char *path, const char *arguments)
{
	return ask_bytes(HB_METHOD_GET, path, arguments, "", 0);
}

/* Parse what was answered; every answer must be JSON. The caller frees it. */
static json_t *
answer_json(void)
{
	json_error_t error;
	json_t *json = json_loadb(answer.text, answer.length, JSON_REJECT_DUPLICATES, &error);

	if (json == NULL)
		fail_msg("not JSON (%s): %.*s", error.text, (int)answer.length, answer.text);
	return json;
}

static void
expect_refused(int http, const char *status, const char *message)
{
	json_t *json = answer_json();
	const char *said = json_string_value(json_object_get(json, "message"));

	assert_int_equal(answer.http, http);
	assert_string_equal(json_string_value(json_object_get(json, "status")), status);
	if (said == NULL || strstr(said, message) == NULL)
		fail_msg("the message does not say \"%s\": %s", message, said);
	json_decref(json);
}

static void
routes_are_exact(void **state)
{
	static const struct {
		enum hb_method method;
		const char *path;
		int http;
		enum hb_route route;
	} cases[] = {
		{HB_METHOD_GET, "/health", 0, HB_ROUTE_HEALTH},
		{HB_METHOD_POST, "/v1/packets", 0, HB_ROUTE_PACKET_SEND},
		{HB_METHOD_POST, GRAB_PATH, 0, HB_ROUTE_PACKET_GRAB},
		{HB_METHOD_GET, "/v1/packets/" PACKET, 0, HB_ROUTE_PACKET_DETAIL},
		{HB_METHOD_GET, "/v1/balance", 0, HB_ROUTE_BALANCE},
		{HB_METHOD_POST, "/v1/tokens", 0, HB_ROUTE_TOKEN_ASK},
		{HB_METHOD_POST, "/v1/transfers", 0, HB_ROUTE_TRANSFER},
		{HB_METHOD_GET, "/v1/packets", 405, 0},
		{HB_METHOD_GET, GRAB_PATH, 405, 0},
		{HB_METHOD_POST, "/v1/packets/" PACKET, 405, 0},
		{HB_METHOD_OTHER, "/v1/balance", 405, 0},
		{HB_METHOD_OTHER, "/health", 405, 0},
		{HB_METHOD_GET, "", 404, 0},
		{HB_METHOD_GET, "/", 404, 0},
		{HB_METHOD_GET, "/v1/", 404, 0},
		{HB_METHOD_GET, "/v1/balance/", 404, 0},
		{HB_METHOD_GET, "/v1/balances", 404, 0},
		{HB_METHOD_GET, "/v1/Balance", 404, 0},
		{HB_METHOD_GET, "/v1/packets/", 404, 0},
		{HB_METHOD_GET, "/v1/packets/013020000000000", 404, 0},
		{HB_METHOD_GET, "/v1/packets/01302000000000099", 404, 0},
		{HB_METHOD_GET, "/v1/packets/013020000000000A", 404, 0},
		{HB_METHOD_GET, "/v1/packets/013020000000000g", 404, 0},
		{HB_METHOD_GET, "/v1/packets/0230200000000009", 404, 0}, /* a hold */
		{HB_METHOD_GET, "/v1/packets/00000000000003e9", 404, 0}, /* an account */
		{HB_METHOD_POST, GRAB_PATH "/", 404, 0},
		{HB_METHOD_POST, "/v1/packets/" PACKET "/grabs", 404, 0},
		{HB_METHOD_POST, "/v1/packets/" PACKET "grab", 404, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hb_text path = copy(cases[i].path, strlen(cases[i].path));
		int http = hb_gateway_route(&call, &answer, cases[i].method, path);

		if (http != cases[i].http || (http == 0 && call.route != cases[i].route))
			fail_msg("%s: %d, route %d", cases[i].path, http, (int)call.route);
		if (http != 0)
			json_decref(answer_json());
		free((void *)(uintptr_t)path.at);
	}
}

/* One row: body sent to path, and what the message must name. */
static const struct {
	const char *path;
	const char *body;
	const char *says;
} refused[] = {
	/* not a JSON object */
	{GRAB_PATH, "", "JSON object"},
	{GRAB_PATH, "x", "not valid JSON"},
	{GRAB_PATH, "[]", "JSON object"},
	{GRAB_PATH, "5", "not valid JSON"},
	{GRAB_PATH, "null", "not valid JSON"},
	{GRAB_PATH, "{" MONEY, "not valid JSON"},
	{GRAB_PATH, "{" MONEY "}}", "not valid JSON"},
	{GRAB_PATH, "{" MONEY ",}", "not valid JSON"},
	{GRAB_PATH, "{'sequence':5}", "not valid JSON"},
	{GRAB_PATH, "{" MONEY ",\"group\":NaN}", "not valid JSON"},
	{GRAB_PATH, "{" MONEY ",\"group\":07}", "not valid JSON"},
	{GRAB_PATH, "{\"token\":\"\xff\xfe\",\"sequence\":5}", "not valid JSON"},
	{GRAB_PATH, "{\"token\":\"a\\u0000b\",\"sequence\":5}", "not valid JSON"},
	/* unknown, twice, missing */
	{GRAB_PATH, "{" MONEY ",\"amount_fen\":5}", "amount_fen: unknown field"},
	{GRAB_PATH, "{" MONEY ",\"Group\":5}", "Group: unknown field"},
	{GRAB_PATH, "{" MONEY ",\"\":5}", ": unknown field"},
	{GRAB_PATH, "{" MONEY ",\"a\\\"b\":5}", "a\"b: unknown field"},
	{GRAB_PATH, "{" MONEY ",\"sequence\":6}", "sequence"},
	{GRAB_PATH, "{" MONEY ",\"group\":7,\"group\":7}", "duplicate object key near '\"group\"'"},
	{GRAB_PATH, "{\"sequence\":5}", "token: is missing"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\"}", "sequence: is missing"},
	/* numbers */
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":\"5\"}", "sequence: must be a whole"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":5.0}", "sequence: must be a whole"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":5e0}", "sequence: must be a whole"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":true}", "sequence: must be a whole"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":null}", "sequence: must be a whole"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":0}", "sequence: must be 1"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":-5}", "sequence: must be 1"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":4294967296}", "sequence: must be 1"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":1e999}", "not valid JSON"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "\",\"sequence\":99999999999999999999}",
		"not valid JSON"},
	{GRAB_PATH, "{" MONEY ",\"group\":0}", "group: must be 1"},
	{GRAB_PATH, "{" MONEY ",\"group\":9007199254740992}", "group: must be 1"},
	/* money tokens */
	{GRAB_PATH, "{\"token\":5,\"sequence\":5}", "token: must be a text"},
	{GRAB_PATH, "{\"token\":\"\",\"sequence\":5}", "token: must have"},
	{GRAB_PATH, "{\"token\":\"rubbish\",\"sequence\":5}", "token: is not a money token"},
	{GRAB_PATH, "{\"token\":\"" TOKEN "0\",\"sequence\":5}", "token: is not a money token"},
	{GRAB_PATH, "{\"token\":\"X" TOKEN "\",\"sequence\":5}", "token: is not a money token"},
	/* sending */
	{"/v1/packets", "{" LUCKY "\"recipient\":5," MONEY "}", "recipient: a lucky"},
	{"/v1/packets", "{" NORMAL "\"group\":7," MONEY "}", "group: a normal"},
	{"/v1/packets", "{" NORMAL "\"count\":2," MONEY "}", "count: a normal"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"total_fen\":5,\"count\":1," MONEY "}",
		"group: is missing"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"total_fen\":5," MONEY "}",
		"count: is missing"},
	{"/v1/packets", "{\"kind\":\"normal\",\"total_fen\":5," MONEY "}", "recipient: is missing"},
	{"/v1/packets", "{\"kind\":\"Lucky\",\"group\":7,\"total_fen\":5,\"count\":1," MONEY "}",
		"kind: must be"},
	{"/v1/packets", "{\"kind\":1,\"group\":7,\"total_fen\":5,\"count\":1," MONEY "}",
		"kind: must be a text"},
	{"/v1/packets", "{\"group\":7,\"total_fen\":5,\"count\":1," MONEY "}", "kind: is missing"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"count\":1," MONEY "}",
		"total_fen: is missing"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"total_fen\":0,\"count\":1," MONEY "}",
		"total_fen: must be 1"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"total_fen\":-5,\"count\":1," MONEY "}",
		"total_fen: must be 1"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"total_fen\":0.5,\"count\":1," MONEY "}",
		"total_fen: must be a whole"},
	{"/v1/packets",
		"{\"kind\":\"lucky\",\"group\":7,\"total_fen\":2000000001,\"count\":1," MONEY "}",
		"total_fen: must be 1"},
	{"/v1/packets",
		"{\"kind\":\"lucky\",\"group\":7,\"total_fen\":9223372036854775807,\"count\":"
		"1," MONEY "}",
		"total_fen: must be 1"},
	{"/v1/packets", "{\"kind\":\"lucky\",\"group\":7,\"total_fen\":5,\"count\":0," MONEY "}",
		"count: must be 1"},
	{"/v1/packets",
		"{\"kind\":\"lucky\",\"group\":7,\"total_fen\":5,\"count\":100001," MONEY "}",
		"count: must be 1"},
	{"/v1/packets", "{\"kind\":\"normal\",\"recipient\":0,\"total_fen\":5," MONEY "}",
		"recipient: must be 1"},
	{"/v1/packets",
		"{\"kind\":\"normal\",\"recipient\":4503599627370496,\"total_fen\":5," MONEY "}",
		"recipient: must be 1"},
	{"/v1/packets", "{\"kind\":\"normal\",\"recipient\":\"1002\",\"total_fen\":5," MONEY "}",
		"recipient: must be a whole"},
	{"/v1/packets", "{" LUCKY "\"algorithm\":\"fair\"," MONEY "}", "algorithm: must be"},
	{"/v1/packets", "{" LUCKY "\"share_min_fen\":0," MONEY "}", "share_min_fen: must be 1"},
	{"/v1/packets", "{" LUCKY "\"share_max_fen\":-1," MONEY "}", "share_max_fen: must be 1"},
	{"/v1/packets", "{" LUCKY "\"lifetime_s\":0," MONEY "}", "lifetime_s: must be 1"},
	{"/v1/packets", "{" LUCKY "\"lifetime_s\":2592001," MONEY "}", "lifetime_s: must be 1"},
	{"/v1/packets", "{" LUCKY "\"greeting\":7," MONEY "}", "greeting: must be a text"},
	{"/v1/packets", "{" LUCKY "\"idempotency_key\":\"x\"," MONEY "}",
		"idempotency_key: unknown"},
	/* asking for tokens */
	{"/v1/tokens", "{}", "operation: is missing"},
	{"/v1/tokens", "{\"operation\":\"steal\"}", "operation: must be"},
	{"/v1/tokens", "{\"operation\":\"grab\"}", "target: is missing"},
	{"/v1/tokens", "{\"operation\":\"grab\",\"target\":\"1002\"}", "target: is not"},
	{"/v1/tokens", "{\"operation\":\"grab\",\"target\":\"00000000000003e9\"}",
		"target: is not"},
	{"/v1/tokens", "{\"operation\":\"grab\",\"target\":1002}", "target: must be a text"},
	{"/v1/tokens", "{\"operation\":\"send\",\"target\":\"" PACKET "\"}", "target: is for"},
	/* transfers */
	{"/v1/transfers", "{\"to\":1001,\"amount_fen\":5," MONEY "}", "to: is your own"},
	{"/v1/transfers", "{\"to\":0,\"amount_fen\":5," MONEY "}", "to: must be 1"},
	{"/v1/transfers", "{\"to\":1002,\"amount_fen\":0," MONEY "}", "amount_fen: must be 1"},
	{"/v1/transfers", "{\"to\":1002,\"amount_fen\":-1," MONEY "}", "amount_fen: must be 1"},
	{"/v1/transfers", "{\"to\":1002,\"amount_fen\":100000000001," MONEY "}",
		"amount_fen: must be 1"},
	{"/v1/transfers", "{\"to\":1002,\"amount_fen\":1.5," MONEY "}",
		"amount_fen: must be a whole"},
	{"/v1/transfers", "{\"to\":1002," MONEY "}", "amount_fen: is missing"},
};

static void
a_bad_body_is_refused_and_the_field_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int http = post(refused[i].path, refused[i].body);

		if (http != 400)
			fail_msg("row %zu answered %d: %s", i, http, refused[i].body);
		expect_refused(400, "bad_request", refused[i].says);
	}
}

static void
a_body_above_its_bound_is_refused(void **state)
{
	char body[HB_BODY_BYTES_MAX + 1];

	(void)state;
	memset(body, ' ', sizeof(body));
	memcpy(body, "{" MONEY "}", strlen("{" MONEY "}"));
	assert_int_equal(ask_bytes(HB_METHOD_POST, GRAB_PATH, "", body, HB_BODY_BYTES_MAX), 0);
	assert_int_equal(ask_bytes(HB_METHOD_POST, GRAB_PATH, "", body, sizeof(body)), 400);
}

static void
deep_json_is_refused_without_harm(void **state)
{
	char body[HB_BODY_BYTES_MAX];

	(void)state;
	memset(body, '[', sizeof(body));
	assert_int_equal(ask_bytes(HB_METHOD_POST, GRAB_PATH, "", body, sizeof(body)), 400);
}

static void
a_grab_is_one_cache_line_with_the_money_token(void **state)
{
	struct hb_token token;
	uint64_t user;

	(void)state;
	assert_int_equal(post(GRAB_PATH, "{\"group\":7," MONEY "}"), 0);
	assert_true(hb_token_parse(TOKEN, (uint32_t)strlen(TOKEN), &token, &user));
	assert_int_equal(frame.head.operation, HB_OP_GRAB);
	assert_int_equal(frame.head.length, 64);
	assert_int_equal(frame.head.target, PACKET_ID);
	assert_int_equal(frame.head.group, 7);
	assert_int_equal(frame.head.token_id, token.id);
	assert_int_equal(frame.head.token_mac, UINT64_C(0x0123456789abcdef));
	assert_int_equal(frame.head.token_expiry_s, token.expiry_s);
	assert_int_equal(frame.head.sequence, 5);
}

/* The owner then answers not_member, but a winner still hears his amount. */
static void
a_group_nobody_vouched_for_travels_as_none(void **state)
{
	(void)state;
	assert_int_equal(post(GRAB_PATH, "{\"group\":9," MONEY "}"), 0);
	assert_int_equal(frame.head.group, 0);
	assert_int_equal(post(GRAB_PATH, "{" MONEY "}"), 0);
	assert_int_equal(frame.head.group, 0);
	assert_int_equal(get("/v1/packets/" PACKET, "group=9"), 0);
	assert_int_equal(frame.head.group, 0);
	assert_int_equal(get("/v1/packets/" PACKET, "group=8"), 0);
	assert_int_equal(frame.head.group, 8);
}

static void
nobody_sends_to_a_group_he_is_not_vouched_for(void **state)
{
	(void)state;
	assert_int_equal(post("/v1/packets", "{\"kind\":\"lucky\",\"group\":9,\"total_fen\":5,"
					     "\"count\":1," MONEY "}"),
		403);
	expect_refused(403, "not_member", "group");
}

static void
a_lucky_packet_carries_all_its_parameters(void **state)
{
	(void)state;
	assert_int_equal(post("/v1/packets", "{" LUCKY "\"algorithm\":\"seed\",\"share_min_fen\":2,"
					     "\"share_max_fen\":900,\"lifetime_s\":3600,"
					     "\"greeting\":\"\\u606d\\u559c\"," MONEY "}"),
		0);
	assert_int_equal(frame.create.head.operation, HB_OP_PACKET_CREATE);
	assert_int_equal(frame.create.head.target, ACCOUNT);
	assert_int_equal(frame.create.head.group, 7);
	assert_int_equal(frame.create.kind, HB_PACKET_LUCKY);
	assert_int_equal(frame.create.recipient, 0);
	assert_int_equal(frame.create.total_fen, 1000);
	assert_int_equal(frame.create.count, 10);
	assert_int_equal(frame.create.algorithm, HB_SPLIT_SEED);
	assert_int_equal(frame.create.share_min_fen, 2);
	assert_int_equal(frame.create.share_max_fen, 900);
	assert_int_equal(frame.create.lifetime_s, 3600);
	assert_int_equal(frame.create.greeting_length, 6);
	assert_memory_equal(frame.create.greeting, "\xe6\x81\xad\xe5\x96\x9c\0", 7);
}

static void
a_normal_packet_has_one_share_and_a_recipient(void **state)
{
	(void)state;
	assert_int_equal(post("/v1/packets", "{" NORMAL MONEY "}"), 0);
	assert_int_equal(frame.create.kind, HB_PACKET_NORMAL);
	assert_int_equal(frame.create.recipient, 1002);
	assert_int_equal(frame.create.count, 1);
	assert_int_equal(frame.create.head.group, 0);
	assert_int_equal(frame.create.algorithm, HB_SPLIT_DOUBLE_MEAN);
	assert_int_equal(post("/v1/packets", "{" NORMAL "\"count\":1," MONEY "}"), 0);
}

static void
a_greeting_has_at_most_128_bytes(void **state)
{
	char body[512];

	(void)state;
	snprintf(body, sizeof(body), "{" LUCKY "\"greeting\":\"%0128d\"," MONEY "}", 0);
	assert_int_equal(post("/v1/packets", body), 0);
	assert_int_equal(frame.create.greeting_length, 128);
	snprintf(body, sizeof(body), "{" LUCKY "\"greeting\":\"%0129d\"," MONEY "}", 0);
	assert_int_equal(post("/v1/packets", body), 400);
	expect_refused(400, "bad_request", "greeting: must have");
	assert_int_equal(post("/v1/packets", "{" LUCKY "\"greeting\":\"\"," MONEY "}"), 0);
}

static void
asking_for_a_token_names_operation_and_target(void **state)
{
	(void)state;
	assert_int_equal(
		post("/v1/tokens", "{\"operation\":\"grab\",\"target\":\"" PACKET "\"}"), 0);
	assert_int_equal(frame.head.operation, HB_OP_TOKEN_ASK);
	assert_int_equal(frame.head.target, PACKET_ID);
	assert_int_equal(frame.token.for_operation, HB_OP_GRAB);
	assert_int_equal(post("/v1/tokens", "{\"operation\":\"send\"}"), 0);
	assert_int_equal(frame.head.target, ACCOUNT);
	assert_int_equal(frame.token.for_operation, HB_OP_PACKET_CREATE);
	assert_int_equal(post("/v1/tokens", "{\"operation\":\"transfer\"}"), 0);
	assert_int_equal(frame.head.target, ACCOUNT);
	assert_int_equal(frame.token.for_operation, HB_OP_TRANSFER);
}

static void
a_transfer_goes_to_the_owner_of_its_payer(void **state)
{
	(void)state;
	assert_int_equal(
		post("/v1/transfers", "{\"to\":1002,\"amount_fen\":100000000000," MONEY "}"), 0);
	assert_int_equal(frame.transfer.head.target, ACCOUNT);
	assert_int_equal(frame.transfer.to, 1002);
	assert_int_equal(frame.transfer.amount_fen, INT64_C(100000000000));
}

static void
arguments_are_decimal_known_and_given_once(void **state)
{
	static const struct {
		const char *arguments;
		int http;
	} cases[] = {
		{"", 0},
		{"group=7", 0},
		{"group=7&after=24", 0},
		{"after=0", 0},
		{"&", 400},
		{"group", 400},
		{"group=", 400},
		{"group=x", 400},
		{"group=-7", 400},
		{"group=+7", 400},
		{"group=07", 400},
		{"group=7.0", 400},
		{"group=%37", 400},
		{"group=9007199254740992", 400},
		{"group=99999999999999999", 400},
		{"after=100001", 400},
		{"group=7&group=7", 400},
		{"group=7&limit=5", 400},
		{"=7", 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int http = get("/v1/packets/" PACKET, cases[i].arguments);

		if (http != cases[i].http)
			fail_msg("%s answered %d", cases[i].arguments, http);
		if (http != 0)
			expect_refused(400, "bad_request", "");
	}
	assert_int_equal(get("/v1/packets/" PACKET, "group=7&after=24"), 0);
	assert_int_equal(frame.detail.claim_first, 24);
	assert_int_equal(get("/v1/balance", ""), 0);
	assert_int_equal(frame.head.target, ACCOUNT);
	assert_int_equal(get("/v1/balance", "user=1002"), 400);
}

/* Replies. */

static struct hb_reply
reply_of(uint16_t status)
{
	return (struct hb_reply){.version = 1,
		.length = 64,
		.status = status,
		.amount_fen = 314,
		.other_fen = 686,
		.id = PACKET_ID,
		.order_stamp = UINT64_C(1700000000123) << 14 | 5,
		.index = 3,
		.count = 6,
		.as_of_seq = UINT64_C(18446744073709551615)};
}

static void
expect_text(const char *text)
{
	if (answer.length != strlen(text) || memcmp(answer.text, text, answer.length) != 0)
		fail_msg("\n%.*sinstead of\n%s", (int)answer.length, answer.text, text);
}

static void
a_grab_is_told_with_amount_share_rest_and_order_number(void **state)
{
	struct hb_reply reply = reply_of(HB_STATUS_OK);
	char number[HB_ORDER_NUMBER_LENGTH + 1], text[512];

	(void)state;
	assert_int_equal(post(GRAB_PATH, "{" MONEY "}"), 0);
	hb_order_number_format(number, 21, NODE, 3, ACCOUNT, reply.order_stamp);
	hb_gateway_reply(&answer, &call, NODE, &reply);
	snprintf(text, sizeof(text),
		"{\"status\":\"ok\",\"packet\":\"" PACKET "\",\"amount_fen\":314,\"share\":3,"
		"\"left_fen\":686,\"left_count\":6,\"order_no\":\"%s\",\"already\":false,"
		"\"as_of_seq\":18446744073709551615}\n",
		number);
	assert_int_equal(answer.http, 200);
	expect_text(text);
	reply.flags = HB_REPLY_ALREADY;
	hb_gateway_reply(&answer, &call, NODE, &reply);
	assert_non_null(memmem(answer.text, answer.length, "\"already\":true", 14));
}

static void
a_sent_packet_is_told_with_its_id(void **state)
{
	struct hb_reply reply = reply_of(HB_STATUS_OK);
	char number[HB_ORDER_NUMBER_LENGTH + 1], text[512];

	(void)state;
	assert_int_equal(post("/v1/packets", "{" LUCKY MONEY "}"), 0);
	hb_order_number_format(
		number, 20, NODE, hb_partition_of(ACCOUNT), ACCOUNT, reply.order_stamp);
	hb_gateway_reply(&answer, &call, NODE, &reply);
	snprintf(text, sizeof(text),
		"{\"status\":\"ok\",\"packet\":\"" PACKET "\",\"order_no\":\"%s\","
		"\"already\":false,\"as_of_seq\":18446744073709551615}\n",
		number);
	assert_int_equal(answer.http, 201);
	expect_text(text);
}

static void
a_balance_and_a_transfer_are_told_in_fen(void **state)
{
	struct hb_reply reply = reply_of(HB_STATUS_OK);
	char number[HB_ORDER_NUMBER_LENGTH + 1], text[512];

	(void)state;
	assert_int_equal(get("/v1/balance", ""), 0);
	reply.as_of_seq = 0;
	reply.amount_fen = -1;
	hb_gateway_reply(&answer, &call, NODE, &reply);
	expect_text("{\"status\":\"ok\",\"account\":1001,\"available_fen\":-1,\"frozen_fen\":686,"
		    "\"as_of_seq\":0}\n");
	assert_int_equal(post("/v1/transfers", "{\"to\":1002,\"amount_fen\":5," MONEY "}"), 0);
	reply.amount_fen = INT64_MIN;
	hb_gateway_reply(&answer, &call, NODE, &reply);
	hb_order_number_format(
		number, 30, NODE, hb_partition_of(ACCOUNT), ACCOUNT, reply.order_stamp);
	snprintf(text, sizeof(text),
		"{\"status\":\"ok\",\"to\":1002,\"amount_fen\":-9223372036854775808,"
		"\"order_no\":\"%s\",\"already\":false,\"as_of_seq\":0}\n",
		number);
	expect_text(text);
}

static void
a_token_that_was_asked_for_is_not_in_the_answer(void **state)
{
	struct hb_reply reply = reply_of(HB_STATUS_OK);

	(void)state;
	assert_int_equal(post("/v1/tokens", "{\"operation\":\"send\"}"), 0);
	hb_gateway_reply(&answer, &call, NODE, &reply);
	assert_int_equal(answer.http, 202);
	expect_text("{\"status\":\"asked\"}\n");
}

static void
every_refusal_carries_status_advice_and_sequence(void **state)
{
	(void)state;
	assert_int_equal(post(GRAB_PATH, "{" MONEY "}"), 0);
	for (uint16_t status = 1; status < 60; status++) {
		struct hb_reply reply = reply_of(status);
		json_t *json;

		reply.as_of_seq = 9;
		hb_gateway_reply(&answer, &call, NODE, &reply);
		assert_int_equal(answer.http, hb_status_http(status));
		json = answer_json();
		assert_string_equal(
			json_string_value(json_object_get(json, "status")), hb_status_name(status));
		assert_int_equal(json_integer_value(json_object_get(json, "as_of_seq")), 9);
		json_decref(json);
	}
}

static void
the_front_answers_for_itself_when_there_is_no_reply(void **state)
{
	(void)state;
	hb_gateway_status(&answer, HB_STATUS_BUSY);
	expect_refused(503, "busy", "ask again");
	hb_gateway_status(&answer, HB_STATUS_UNKNOWN_OUTCOME);
	expect_refused(202, "unknown_outcome", "same sequence");
	hb_gateway_health(&answer, false);
	expect_refused(503, "unavailable", "dataplane");
	hb_gateway_health(&answer, true);
	expect_text("{\"status\":\"ok\"}\n");
	hb_gateway_error(
		&answer, 418, "x", "\"\\\n\x7f\xff\xc3(\xed\xa0\x80\xf4\x90\x80\x80\xe6\x81");
	json_decref(answer_json());
}

static struct hb_reply_detail *
full_detail(void)
{
	static _Alignas(64) uint8_t bytes[HB_REPLY_BYTES_MAX];
	struct hb_reply_detail *detail = (struct hb_reply_detail *)(void *)bytes;

	memset(bytes, 0, sizeof(bytes));
	detail->head = reply_of(HB_STATUS_OK);
	detail->head.length = HB_REPLY_BYTES_MAX;
	detail->head.count = HB_DETAIL_CLAIMS_MAX;
	detail->head.flags = HB_REPLY_MORE;
	detail->head.amount_fen = detail->head.other_fen = INT64_MIN;
	detail->sender = detail->group = detail->recipient = UINT64_MAX;
	detail->total_fen = detail->left_fen = detail->refunded_fen = INT64_MIN;
	detail->created_ms = detail->deadline_ms = UINT64_MAX;
	detail->share_count = detail->taken_count = UINT32_MAX;
	detail->luckiest_index = UINT32_MAX - 1;
	detail->state = HB_PACKET_SOLD_OUT;
	detail->kind = HB_PACKET_NORMAL;
	detail->algorithm = HB_SPLIT_SEED;
	detail->greeting_length = HB_GREETING_BYTES_MAX;
	memset(detail->seed, 0xab, sizeof(detail->seed));
	memset(detail->greeting, 0x01, sizeof(detail->greeting));
	for (uint32_t i = 0; i < HB_DETAIL_CLAIMS_MAX; i++)
		detail->claims[i] = (struct hb_reply_claim){UINT64_MAX, INT64_MIN, UINT64_MAX};
	return detail;
}

static void
the_largest_detail_fits_into_an_answer(void **state)
{
	struct hb_reply_detail *detail = full_detail();
	json_t *json;

	(void)state;
	assert_int_equal(get("/v1/packets/" PACKET, ""), 0);
	detail->state = HB_PACKET_REFUNDED;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	assert_int_equal(answer.http, 200);
	assert_in_range(answer.length, 3000, HB_ANSWER_BYTES_MAX);
	/* Numbers above 63 bits are not for jansson: look at the text. */
	assert_non_null(memmem(answer.text, answer.length, "\"more\":true", 11));
	detail = full_detail();
	detail->sender = detail->recipient = 5;
	detail->created_ms = detail->deadline_ms = 1;
	detail->head.as_of_seq = 1;
	detail->head.count = 1;
	detail->claims[0] = (struct hb_reply_claim){1002, 314, 1700000000000};
	detail->head.amount_fen = 2;
	detail->head.other_fen = 900;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	json = answer_json();
	assert_string_equal(json_string_value(json_object_get(json, "state")), "sold_out");
	assert_int_equal(json_string_length(json_object_get(json, "seed")), 64);
	assert_int_equal(json_integer_value(json_object_get(json, "share_min_fen")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "share_max_fen")), 900);
	assert_int_equal(json_array_size(json_object_get(json, "claims")), 1);
	json_decref(json);
}

static void
the_seed_of_an_open_packet_is_not_told(void **state)
{
	struct hb_reply_detail *detail = full_detail();

	(void)state;
	assert_int_equal(get("/v1/packets/" PACKET, ""), 0);
	detail->state = HB_PACKET_OPEN;
	detail->luckiest_index = UINT32_MAX;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	assert_non_null(memmem(answer.text, answer.length, "\"seed\":null,\"luckiest\":null", 27));
	assert_null(memmem(answer.text, answer.length, "abab", 4));
}

static void
a_damaged_detail_is_not_believed(void **state)
{
	struct hb_reply_detail *detail = full_detail();

	(void)state;
	assert_int_equal(get("/v1/packets/" PACKET, ""), 0);
	detail->head.count = HB_DETAIL_CLAIMS_MAX + 1;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	expect_refused(500, "internal", "damaged");
	detail = full_detail();
	detail->head.length = 384;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	expect_refused(500, "internal", "damaged");
	detail = full_detail();
	detail->greeting_length = HB_GREETING_BYTES_MAX + 1;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	expect_refused(500, "internal", "damaged");
	detail = full_detail();
	detail->head.length = 64;
	hb_gateway_reply(&answer, &call, NODE, &detail->head);
	expect_refused(500, "internal", "damaged");
}

/* Changed bytes either make a frame that holds or are refused as JSON: ask_bytes checks both. */
static void
any_bytes_make_a_sound_frame_or_a_refusal(void **state)
{
	static const char *const bodies[] = {"{\"group\":7," MONEY "}",
		"{" LUCKY "\"algorithm\":\"seed\",\"greeting\":\"hi\\u00e9\"," MONEY "}",
		"{\"to\":1002,\"amount_fen\":250," MONEY "}",
		"{\"operation\":\"grab\",\"target\":\"" PACKET "\"}"};
	static const char *const paths[] = {
		GRAB_PATH, "/v1/packets", "/v1/transfers", "/v1/tokens"};
	unsigned seed = 20261123;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < MUTATIONS; i++) {
		size_t which = (size_t)random() % 4, length = strlen(bodies[which]);
		char body[512];
		int changes = 1 + (int)(random() % 3);

		memcpy(body, bodies[which], length);
		while (changes-- > 0)
			body[(size_t)random() % length] =
				random() % 2 != 0 ? (char)random()
						  : "0123456789{}[]\",:-.eE\\"[random() % 22];
		if (random() % 8 == 0)
			length = (size_t)random() % length;
		if (ask_bytes(HB_METHOD_POST, paths[which], "", body, length) != 0)
			json_decref(answer_json());
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_are_exact),
		cmocka_unit_test(a_bad_body_is_refused_and_the_field_is_named),
		cmocka_unit_test(a_body_above_its_bound_is_refused),
		cmocka_unit_test(deep_json_is_refused_without_harm),
		cmocka_unit_test(a_grab_is_one_cache_line_with_the_money_token),
		cmocka_unit_test(a_group_nobody_vouched_for_travels_as_none),
		cmocka_unit_test(nobody_sends_to_a_group_he_is_not_vouched_for),
		cmocka_unit_test(a_lucky_packet_carries_all_its_parameters),
		cmocka_unit_test(a_normal_packet_has_one_share_and_a_recipient),
		cmocka_unit_test(a_greeting_has_at_most_128_bytes),
		cmocka_unit_test(asking_for_a_token_names_operation_and_target),
		cmocka_unit_test(a_transfer_goes_to_the_owner_of_its_payer),
		cmocka_unit_test(arguments_are_decimal_known_and_given_once),
		cmocka_unit_test(a_grab_is_told_with_amount_share_rest_and_order_number),
		cmocka_unit_test(a_sent_packet_is_told_with_its_id),
		cmocka_unit_test(a_balance_and_a_transfer_are_told_in_fen),
		cmocka_unit_test(a_token_that_was_asked_for_is_not_in_the_answer),
		cmocka_unit_test(every_refusal_carries_status_advice_and_sequence),
		cmocka_unit_test(the_front_answers_for_itself_when_there_is_no_reply),
		cmocka_unit_test(the_largest_detail_fits_into_an_answer),
		cmocka_unit_test(the_seed_of_an_open_packet_is_not_told),
		cmocka_unit_test(a_damaged_detail_is_not_believed),
		cmocka_unit_test(any_bytes_make_a_sound_frame_or_a_refusal),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
