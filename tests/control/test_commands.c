/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The business API over HTTP on a Unix socket, signed, against the real engine in memory: what a
 * business system sends, sends again, and gets wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/control.h"
#include "shm/frame.h"
#include "tests/control/engine_owner.h"
#include "tests/control/http_call.h"

#define SENDER 1001

static char directory[] = "/tmp/control-api-XXXXXX";
static char engine_path[64];
static char http_path[64];
static struct engine_owner *owner;
static struct hb_business_keys keys;
static struct hb_config config;
static struct hb_control control;
static struct http_answer last;
static json_t *answer; /* of the last call */
static uint64_t nonce;

static void
until_attached(void)
{
	static struct hb_engine_view view;
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; i < 600; i++) {
		hb_engine_look(control.engine, &view);
		if (view.attached)
			return;
		nanosleep(&pause, NULL);
	}
	fail_msg("the engine client is not attached in time");
}

static int
set_up(void **state)
{
	struct hb_http_options options = {.socket_path = http_path,
		.socket_mode = 0600,
		.peers = {getuid()},
		.peer_count = 1,
		.connections_max = 8,
		.routes = hb_front_routes,
		.context = &control};
	char error[256];

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(engine_path, sizeof(engine_path), "%s/attach.sock", directory);
	snprintf(http_path, sizeof(http_path), "%s/http.sock", directory);
	hb_config_defaults(&config);
	config.node_number = 7;
	keys.count = 2;
	memcpy(keys.key[0].id, "demo", 5);
	memcpy(keys.key[1].id, "shop", 5);
	keys.key[0].secret_bytes = keys.key[1].secret_bytes = 32;
	control.config = &config;
	control.signatures.keys = &keys;
	assert_int_equal(hb_nonce_cache_create(&control.signatures.nonces, 4096, 600), 0);
	owner = engine_owner_start(engine_path);
	assert_int_equal(hb_engine_start(&control.engine, engine_path), 0);
	assert_int_equal(hb_http_start(&control.http_server, &options, error), 0);
	until_attached();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	http_answer_free(&last);
	hb_http_stop(control.http_server);
	hb_engine_stop(control.engine);
	engine_owner_stop(owner);
	hb_nonce_cache_destroy(control.signatures.nonces);
	unlink(engine_path);
	rmdir(directory);
	memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
	return 0;
}

/* ---- a client ---- */

/* @return the HTTP code; `answer` holds the JSON */
static int
exchange(const char *head, const char *body, size_t body_bytes)
{
	int http = http_exchange(http_path, head, body, body_bytes, &last);

	answer = last.json;
	return http;
}

static int
call_as(int key, const char *method, const char *uri, const char *idempotency, const char *body)
{
	char head[2048];
	char timestamp[24];
	char nonce_text[24];
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	char idempotency_line[128] = "";
	struct hb_signed_request request = {.method = method,
		.uri = uri,
		.timestamp = timestamp,
		.nonce = nonce_text,
		.body = body,
		.body_bytes = strlen(body)};

	snprintf(timestamp, sizeof(timestamp), "%lu", (unsigned long)(hb_wall_ns() / 1000000000));
	snprintf(nonce_text, sizeof(nonce_text), "nonce-%010lu", (unsigned long)++nonce);
	assert_int_equal(hb_signature_make(signature, &keys.key[key], &request), 0);
	if (idempotency)
		snprintf(idempotency_line, sizeof(idempotency_line), "Idempotency-Key: %s\r\n",
			idempotency);
	snprintf(head, sizeof(head),
		"%s %s HTTP/1.1\r\nHost: c\r\nConnection: close\r\nContent-Length: %zu\r\n"
		"X-HB-Key: %s\r\nX-HB-Timestamp: %s\r\nX-HB-Nonce: %s\r\nX-HB-Signature: "
		"%s\r\n%s\r\n",
		method, uri, strlen(body), keys.key[key].id, timestamp, nonce_text, signature,
		idempotency_line);
	return exchange(head, body, strlen(body));
}

static int
post(const char *uri, const char *idempotency, const char *body)
{
	return call_as(0, "POST", uri, idempotency, body);
}

static int
get(const char *uri)
{
	return call_as(0, "GET", uri, NULL, "");
}

static void
open_account(unsigned account)
{
	char body[64];
	char key[32];

	snprintf(body, sizeof(body), "{\"account\":%u,\"kind\":\"user\"}", account);
	snprintf(key, sizeof(key), "open-%u", account);
	assert_int_equal(post("/business/v1/accounts", key, body), 201);
}

static json_int_t
available(unsigned account)
{
	char uri[64];

	snprintf(uri, sizeof(uri), "/business/v1/accounts/%u", account);
	assert_int_equal(get(uri), 200);
	return http_number(answer, "available_fen");
}

/* ---- what a business system does ---- */

static void
an_account_is_opened_once(void **state)
{
	(void)state;
	open_account(SENDER);
	assert_string_equal(http_text(answer, "status"), "ok");
	assert_false(json_is_true(json_object_get(answer, "already")));
	open_account(SENDER);
	assert_true(json_is_true(json_object_get(answer, "already")));
	assert_int_equal(
		post("/business/v1/accounts", "again", "{\"account\":1001,\"kind\":\"user\"}"),
		409);
	assert_string_equal(http_text(answer, "status"), "account_exists");
	assert_int_equal(post("/business/v1/accounts", "open-1001",
				 "{\"account\":1001,\"kind\":\"enterprise\"}"),
		409);
	assert_string_equal(http_text(answer, "status"), "idempotency_conflict");
}

static void
a_credit_sent_again_books_once_and_tells_the_same_order(void **state)
{
	static const char body[] = "{\"account\":1001,\"amount_fen\":500,\"channel\":\"manual\"}";
	char order_no[40];

	(void)state;
	open_account(SENDER);
	assert_int_equal(post("/business/v1/credits", "pay-1", body), 201);
	assert_int_equal(http_number(answer, "amount_fen"), 500);
	snprintf(order_no, sizeof(order_no), "%s", http_text(answer, "order_no"));
	assert_int_equal(strlen(order_no), 32);
	assert_memory_equal(order_no, "10107", 5); /* recharge, version 1, node 07 */
	assert_int_equal(post("/business/v1/credits", "pay-1", body), 201);
	assert_string_equal(http_text(answer, "order_no"), order_no);
	assert_true(json_is_true(json_object_get(answer, "already")));
	assert_int_equal(available(SENDER), 500);
	assert_int_equal(post("/business/v1/credits", "pay-1",
				 "{\"account\":1001,\"amount_fen\":501,\"channel\":\"manual\"}"),
		409);
	assert_string_equal(http_text(answer, "status"), "idempotency_conflict");
	assert_int_equal(call_as(1, "POST", "/business/v1/credits", "pay-1", body), 201);
	assert_string_not_equal(http_text(answer, "order_no"), order_no);
	assert_int_equal(available(SENDER), 1000);
}

static void
a_batch_answers_each_item_in_order(void **state)
{
	static const char body[] =
		"{\"items\":[{\"account\":1001,\"amount_fen\":100,\"channel\":\"manual\"},"
		"{\"account\":999,\"amount_fen\":100,\"channel\":\"manual\"},"
		"{\"account\":1001,\"amount_fen\":100,\"channel\":\"manual\"}]}";
	json_t *items;

	(void)state;
	open_account(SENDER);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(post("/business/v1/credits", "batch", body), 200);
		items = json_object_get(answer, "items");
		assert_int_equal(json_array_size(items), 3);
		assert_string_equal(http_text(json_array_get(items, 0), "status"), "ok");
		assert_string_equal(
			http_text(json_array_get(items, 1), "status"), "account_unknown");
		assert_string_equal(http_text(json_array_get(items, 2), "status"), "ok");
		assert_string_not_equal(http_text(json_array_get(items, 0), "order_no"),
			http_text(json_array_get(items, 2), "order_no"));
		assert_int_equal(available(SENDER), 200);
	}
}

static void
a_packet_is_sent_on_behalf_and_looked_at(void **state)
{
	static const char body[] =
		"{\"sender\":1001,\"kind\":\"lucky\",\"group\":7,\"total_fen\":1000,"
		"\"count\":3,\"greeting\":\"\\u606d\\u559c\",\"lifetime_s\":60}";
	char uri[64];

	(void)state;
	open_account(SENDER);
	assert_int_equal(post("/business/v1/packets", "packet-1", body), 409);
	assert_string_equal(http_text(answer, "status"), "insufficient");
	assert_int_equal(post("/business/v1/credits", "pay",
				 "{\"account\":1001,\"amount_fen\":1000,\"channel\":\"manual\"}"),
		201);
	assert_int_equal(post("/business/v1/packets", "packet-1", body), 201);
	snprintf(uri, sizeof(uri), "/business/v1/packets/%s", http_text(answer, "packet"));
	assert_int_equal(post("/business/v1/packets", "packet-1", body), 201);
	assert_string_equal(uri + strlen("/business/v1/packets/"), http_text(answer, "packet"));
	assert_int_equal(get(uri), 200);
	assert_string_equal(http_text(answer, "state"), "open");
	assert_string_equal(http_text(answer, "kind"), "lucky");
	assert_string_equal(http_text(answer, "greeting"), "\xe6\x81\xad\xe5\x96\x9c");
	assert_int_equal(http_number(answer, "group"), 7);
	assert_int_equal(http_number(answer, "left_fen"), 1000);
	assert_true(json_is_null(json_object_get(answer, "seed")));
	assert_int_equal(strlen(http_text(answer, "commitment")), 64);
	assert_int_equal(available(SENDER), 0);
	assert_int_equal(http_number(answer, "frozen_fen"), 1000);
	assert_int_equal(get("/business/v1/packets/0170700000000099"), 404);
	assert_string_equal(http_text(answer, "status"), "packet_unknown");
}

static void
a_thousand_tokens_come_in_one_request(void **state)
{
	json_t *body = json_object();
	json_t *items = json_array();
	char *body_text;

	(void)state;
	for (int i = 0; i < 1000; i++)
		json_array_append_new(
			items, json_pack("{s:i,s:s}", "user", 5000 + i, "operation", "transfer"));
	json_object_set_new(body, "items", items);
	body_text = json_dumps(body, 0);
	assert_int_equal(post("/business/v1/tokens", NULL, body_text), 200);
	free(body_text);
	json_decref(body);
	items = json_object_get(answer, "items");
	assert_int_equal(json_array_size(items), 1000);
	for (size_t i = 0; i < 1000; i++) {
		json_t *item = json_array_get(items, i);

		assert_string_equal(http_text(item, "status"), "ok");
		assert_int_equal(http_number(item, "user"), 5000 + (json_int_t)i);
		assert_memory_equal(http_text(item, "token"), "TR-", 3);
		assert_in_range(http_number(item, "sequence"), 10000, 99999);
	}
}

static void
asked_tokens_are_handed_over_once(void **state)
{
	(void)state;
	for (uint64_t user = 1; user <= 30; user++)
		engine_owner_ask(owner, user, HB_OP_TRANSFER, user);
	assert_int_equal(get("/business/v1/tokens/asked?limit=1000"), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "items")), 30);
	assert_string_equal(
		http_text(json_array_get(json_object_get(answer, "items"), 0), "operation"),
		"transfer");
	assert_int_equal(get("/business/v1/tokens/asked"), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "items")), 0);
	assert_int_equal(get("/business/v1/tokens/asked?limit=0"), 400);
	assert_int_equal(get("/business/v1/tokens/asked?limit=1001"), 400);
}

/* ---- what goes wrong ---- */

static void
busy_is_asked_again_before_it_is_told(void **state)
{
	(void)state;
	engine_owner_busy(owner, 3);
	open_account(SENDER);
	assert_string_equal(http_text(answer, "status"), "ok");
	engine_owner_busy(owner, 1000);
	assert_int_equal(
		post("/business/v1/accounts", "b", "{\"account\":2,\"kind\":\"user\"}"), 503);
	assert_string_equal(http_text(answer, "status"), "busy");
	assert_non_null(strstr(last.text, "Retry-After: 1\r\n"));
	engine_owner_busy(owner, 0);
}

static void
without_an_engine_nothing_is_done_and_the_caller_may_ask_again(void **state)
{
	(void)state;
	engine_owner_stop(owner);
	assert_int_equal(post("/business/v1/accounts", "b",
				 "{\"items\":[{\"account\":2,\"kind\":\"user\"}]}"),
		503);
	assert_string_equal(http_text(answer, "status"), "unavailable");
	owner = engine_owner_start(engine_path);
	until_attached();
	open_account(2);
}

static void
bad_requests_do_nothing_and_name_the_field(void **state)
{
	static const char *const cases[][3] = {
		{"/business/v1/credits",
			"{\"account\":1001,\"amount_fen\":0,\"channel\":\"manual\"}",
			"amount_fen: "},
		{"/business/v1/credits",
			"{\"account\":1001,\"amount_fen\":1.5,\"channel\":\"manual\"}",
			"amount_fen: "},
		{"/business/v1/credits",
			"{\"account\":1001,\"amount_fen\":99999999999999999999,\"channel\":"
			"\"manual\"}",
			"amount_fen: "},
		{"/business/v1/credits",
			"{\"account\":1001,\"amount_fen\":1,\"channel\":\"wechat\"}", "channel: "},
		{"/business/v1/credits",
			"{\"account\":1001,\"amount_fen\":1,\"channel\":\"manual\",\"x\":1}",
			"x: "},
		{"/business/v1/credits",
			"{\"items\":[{\"account\":1001,\"amount_fen\":1,\"channel\":\"manual\"},"
			"{\"account\":1001,\"amount_fen\":-1,\"channel\":\"manual\"}]}",
			"items[1].amount_fen: "},
		{"/business/v1/credits", "{\"items\":[]}", "items: "},
		{"/business/v1/credits", "{\"items\":7}", "items: "},
		{"/business/v1/credits", "{\"items\":[{}],\"account\":1}", "items: "},
		{"/business/v1/credits", "[]", "the body must be"},
		{"/business/v1/credits", "", "the body is not"},
		{"/business/v1/packets", "{\"sender\":1001,\"kind\":\"lucky\",\"recipient\":2}",
			"group: "},
		{"/business/v1/packets",
			"{\"sender\":1001,\"kind\":\"normal\",\"recipient\":2,\"total_fen\":5,"
			"\"group\":7}",
			"group: "},
		{"/business/v1/tokens", "{\"user\":1,\"operation\":\"grab\"}", "target: "},
		{"/business/v1/tokens",
			"{\"user\":1,\"operation\":\"send\",\"target\":\"0130200000000001\"}",
			"target: "},
	};

	(void)state;
	open_account(SENDER);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(post(cases[i][0], "k", cases[i][1]), 400);
		assert_string_equal(http_text(answer, "status"), "bad_request");
		assert_memory_equal(http_text(answer, "message"), cases[i][2], strlen(cases[i][2]));
	}
	assert_int_equal(available(SENDER), 0);
	assert_int_equal(post("/business/v1/credits", NULL,
				 "{\"account\":1001,\"amount_fen\":1,\"channel\":\"manual\"}"),
		400);
	assert_memory_equal(http_text(answer, "message"), "Idempotency-Key", 15);
}

static void
strange_bytes_come_back_as_question_marks(void **state)
{
	(void)state;
	assert_int_equal(get("/business/v1/tokens/asked?\xff\xc3=1"), 400);
	assert_string_equal(http_text(answer, "status"), "bad_request");
}

static void
an_unsigned_request_is_refused(void **state)
{
	(void)state;
	assert_int_equal(exchange("GET /business/v1/accounts/1 HTTP/1.1\r\nHost: c\r\n"
				  "Connection: close\r\n\r\n",
				 "", 0),
		401);
	assert_string_equal(http_text(answer, "status"), "unauthorized");
	assert_int_equal(
		exchange("GET /v1/orders HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n", "", 0),
		401);
}

static void
too_much_is_refused(void **state)
{
	size_t bytes = HB_HTTP_BODY_BYTES_MAX + 1;
	char *body = malloc(bytes);
	char head[2000];

	(void)state;
	assert_non_null(body);
	memset(body, ' ', bytes);
	snprintf(head, sizeof(head),
		"POST /business/v1/tokens HTTP/1.1\r\nHost: c\r\nConnection: close\r\n"
		"Content-Length: %zu\r\n\r\n",
		bytes);
	assert_int_equal(exchange(head, body, bytes), 413);
	assert_string_equal(http_text(answer, "status"), "too_large");
	snprintf(head, sizeof(head),
		"GET /%01200d HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n", 0);
	assert_int_equal(exchange(head, "", 0), 400);
	free(body);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(an_account_is_opened_once),
		TEST(a_credit_sent_again_books_once_and_tells_the_same_order),
		TEST(a_batch_answers_each_item_in_order),
		TEST(a_packet_is_sent_on_behalf_and_looked_at),
		TEST(a_thousand_tokens_come_in_one_request),
		TEST(asked_tokens_are_handed_over_once),
		TEST(busy_is_asked_again_before_it_is_told),
		TEST(without_an_engine_nothing_is_done_and_the_caller_may_ask_again),
		TEST(bad_requests_do_nothing_and_name_the_field),
		TEST(strange_bytes_come_back_as_question_marks),
		TEST(an_unsigned_request_is_refused),
		TEST(too_much_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
