/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of operators over the admin socket against the real engine in memory: what is done, what
 * is refused, what needs two people, and what is finished after an interruption.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/case_commands.h"
#include "shm/ids.h"
#include "tests/control/engine_owner.h"
#include "tests/control/http_call.h"
#include "tests/engine/world.h"

#define USER 1001
#define LI   "\"operator_uid\":1000,\"operator_name\":\"li\""
#define ZHAO "\"operator_uid\":1002,\"operator_name\":\"zhao\""
#define ROOT "\"operator_uid\":0,\"operator_name\":\"root\""
#define WHY  "\"reason\":\"ticket 4711\","

static char directory[] = "/tmp/control-case-XXXXXX";
static char engine_path[64];
static char http_path[64];
static char cases_path[64];
static struct engine_owner *owner;
static struct hb_config config;
static struct hb_control control;
static struct http_answer last;
static json_t *answer; /* of the last call */
static unsigned key_number;

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

static void
start_control(void)
{
	struct hb_http_options options = {.socket_path = http_path,
		.socket_mode = 0600,
		.peers = {getuid()},
		.peer_count = 1,
		.connections_max = 8,
		.routes = hb_admin_routes,
		.context = &control};
	char error[256];

	assert_int_equal(hb_cases_open(&control.cases, cases_path, error), 0);
	assert_int_equal(hb_engine_start(&control.engine, engine_path), 0);
	assert_int_equal(hb_http_start(&control.admin_server, &options, error), 0);
	until_attached();
}

static void
stop_control(void)
{
	hb_http_stop(control.admin_server);
	hb_engine_stop(control.engine);
	hb_cases_close(control.cases);
}

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(engine_path, sizeof(engine_path), "%s/attach.sock", directory);
	snprintf(http_path, sizeof(http_path), "%s/admin.sock", directory);
	snprintf(cases_path, sizeof(cases_path), "%s/cases.jsonl", directory);
	hb_config_defaults(&config);
	config.node_number = 7;
	control.config = &config;
	owner = engine_owner_start(engine_path);
	assert_int_equal(world_fund(engine_owner_world(owner), USER, 100000), HB_STATUS_OK);
	world_deliver(engine_owner_world(owner));
	start_control();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	http_answer_free(&last);
	stop_control();
	engine_owner_stop(owner);
	unlink(cases_path);
	unlink(engine_path);
	rmdir(directory);
	memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
	return 0;
}

/* ---- a client ---- */

static int
exchange(const char *method, const char *uri, const char *key, const char *body)
{
	char head[512];
	int http;

	snprintf(head, sizeof(head),
		"%s %s HTTP/1.1\r\nHost: c\r\nConnection: close\r\nContent-Length: "
		"%zu\r\n%s%s%s\r\n",
		method, uri, strlen(body), key ? "Idempotency-Key: " : "", key ? key : "",
		key ? "\r\n" : "");
	http = http_exchange(http_path, head, body, strlen(body), &last);
	answer = last.json;
	return http;
}

static int
ask_with(const char *key, const char *format, ...)
{
	char body[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(body, sizeof(body), format, arguments);
	va_end(arguments);
	return exchange("POST", "/cases", key, body);
}

/* A command of li's under a new key. */
#define ask(...) (snprintf(key, sizeof(key), "key-%u", ++key_number), ask_with(key, __VA_ARGS__))
static char key[32];

static int
about(json_int_t number, const char *what, const char *who)
{
	char uri[64];
	char body[128];

	snprintf(uri, sizeof(uri), "/cases/%lld/%s", (long long)number, what);
	snprintf(body, sizeof(body), "{%s}", who);
	return exchange("POST", uri, NULL, body);
}

static const char *
status(void)
{
	return http_text(answer, "status");
}

static const json_t *
the_case(void)
{
	const json_t *c = json_object_get(answer, "case");

	assert_non_null(c);
	return c;
}

static const json_t *
account(uint64_t number)
{
	char uri[64];

	snprintf(uri, sizeof(uri), "/accounts/%" PRIu64, number);
	assert_int_equal(exchange("GET", uri, NULL, ""), 200);
	return answer;
}

static void
make_hold(int64_t amount_fen, char id[17])
{
	assert_int_equal(ask("{\"verb\":\"hold\",\"account\":%d,\"amount_fen\":%lld," WHY LI "}",
				 USER, (long long)amount_fen),
		200);
	snprintf(id, 17, "%s", http_text(json_object_get(answer, "hold"), "hold"));
	assert_int_equal(strlen(id), 16);
}

/* ---- freezing ---- */

static void
a_frozen_account_pays_nothing_until_it_is_unfrozen(void **state)
{
	(void)state;
	assert_false(json_is_true(json_object_get(account(USER), "barred")));
	assert_int_equal(ask("{\"verb\":\"freeze\",\"account\":%d," WHY LI "}", USER), 200);
	assert_string_equal(http_text(the_case(), "state"), "done");
	assert_string_equal(http_text(the_case(), "reason"), "ticket 4711");
	assert_true(json_is_true(json_object_get(account(USER), "barred")));
	assert_int_equal(
		ask("{\"verb\":\"hold\",\"account\":%d,\"amount_fen\":1," WHY LI "}", USER), 403);
	assert_string_equal(status(), "account_frozen");
	assert_string_equal(http_text(the_case(), "state"), "refused");
	assert_int_equal(ask("{\"verb\":\"freeze\",\"account\":%d," WHY LI "}", USER), 200);
	assert_true(json_is_true(json_object_get(answer, "already")));
	assert_int_equal(ask("{\"verb\":\"unfreeze\",\"account\":%d," WHY ZHAO "}", USER), 200);
	assert_false(json_is_true(json_object_get(account(USER), "barred")));
	assert_int_equal(
		ask("{\"verb\":\"hold\",\"account\":%d,\"amount_fen\":1," WHY LI "}", USER), 200);
}

/* ---- holds ---- */

static void
a_hold_is_posted_and_then_cannot_be_voided(void **state)
{
	char id[17];
	char uri[64];

	(void)state;
	make_hold(2500, id);
	assert_int_equal(http_number(json_object_get(answer, "hold"), "day_count"), 1);
	assert_int_equal(http_number(json_object_get(answer, "hold"), "day_fen"), 2500);
	assert_memory_equal(http_text(the_case(), "order_no"), "11107", 5);
	assert_int_equal(http_number(account(USER), "frozen_fen"), 2500);
	assert_int_equal(ask("{\"verb\":\"post\",\"hold\":\"%s\",\"fee_fen\":100,\"reference\":"
			     "\"bank-7\"," WHY LI "}",
				 id),
		200);
	assert_string_equal(http_text(json_object_get(answer, "hold"), "state"), "posted");
	assert_string_equal(http_text(json_object_get(answer, "hold"), "order_state"), "done");
	assert_int_equal(http_number(account(USER), "frozen_fen"), 0);
	assert_int_equal(http_number(answer, "available_fen"), 97500);
	assert_int_equal(
		http_number(account(hb_system_account(HB_SYSTEM_FEES, hb_partition_of(USER))),
			"available_fen"),
		100);
	assert_int_equal(ask("{\"verb\":\"void\",\"hold\":\"%s\"," WHY LI "}", id), 409);
	assert_string_equal(status(), "hold_state");
	assert_int_equal(ask("{\"verb\":\"post\",\"hold\":\"%s\"," WHY LI "}", id), 200);
	assert_true(json_is_true(json_object_get(answer, "already")));
	snprintf(uri, sizeof(uri), "/holds/%s", id);
	assert_int_equal(exchange("GET", uri, NULL, ""), 200);
	assert_string_equal(http_text(json_object_get(answer, "hold"), "state"), "posted");
}

static void
a_voided_hold_gives_the_money_back_and_leaves_the_days_counters(void **state)
{
	char id[17];

	(void)state;
	make_hold(100, id);
	make_hold(40, id);
	assert_int_equal(http_number(json_object_get(answer, "hold"), "day_count"), 2);
	assert_int_equal(ask("{\"verb\":\"void\",\"hold\":\"%s\"," WHY LI "}", id), 200);
	assert_int_equal(http_number(json_object_get(answer, "hold"), "day_count"), 1);
	assert_int_equal(http_number(json_object_get(answer, "hold"), "day_fen"), 100);
	assert_string_equal(http_text(json_object_get(answer, "hold"), "order_state"), "invalid");
	assert_int_equal(http_number(account(USER), "frozen_fen"), 100);
	assert_int_equal(ask("{\"verb\":\"post\",\"hold\":\"%s\"," WHY LI "}", id), 409);
	assert_string_equal(status(), "hold_state");
}

static void
a_hold_is_not_sent_after_its_deadline(void **state)
{
	char id[17];

	(void)state;
	assert_int_equal(
		ask("{\"verb\":\"hold\",\"account\":%d,\"amount_fen\":5,\"lifetime_s\":1," WHY LI
		    "}",
			USER),
		200);
	snprintf(id, sizeof(id), "%s", http_text(json_object_get(answer, "hold"), "hold"));
	/* The engine of the test voids nothing by itself, so the refusal is the deadline's. */
	engine_owner_pass_ms(owner, 1100);
	assert_int_equal(ask("{\"verb\":\"post\",\"hold\":\"%s\"," WHY LI "}", id), 409);
	assert_string_equal(status(), "hold_due");
	assert_int_equal(ask("{\"verb\":\"void\",\"hold\":\"%s\"," WHY LI "}", id), 200);
}

/* ---- two operators ---- */

static uint64_t
suspense(void)
{
	return hb_system_account(HB_SYSTEM_SUSPENSE, hb_partition_of(USER));
}

static json_int_t
ask_adjustment(const char *who, int within_s)
{
	assert_int_equal(ask("{\"verb\":\"adjust\",\"account\":%" PRIu64 ",\"to\":%d,"
			     "\"amount_fen\":1250,\"within_s\":%d," WHY "%s}",
				 suspense(), USER, within_s, who),
		201);
	assert_string_equal(http_text(the_case(), "state"), "asked");
	return http_number(the_case(), "number");
}

static void
an_adjustment_is_done_when_another_operator_approves_it(void **state)
{
	json_int_t number;

	(void)state;
	number = ask_adjustment(LI, 3600);
	assert_int_equal(http_number(account(USER), "available_fen"), 100000);
	assert_int_equal(about(number, "approve", LI), 403);
	assert_string_equal(status(), "same_person");
	assert_int_equal(about(number, "approve", ROOT), 403);
	assert_string_equal(status(), "operator_unnamed");
	assert_int_equal(http_number(account(USER), "available_fen"), 100000);
	stop_control(); /* the ask persists */
	start_control();
	assert_int_equal(about(number, "approve", ZHAO), 200);
	assert_string_equal(http_text(the_case(), "state"), "done");
	assert_memory_equal(http_text(the_case(), "order_no"), "90107", 5);
	assert_int_equal(http_number(account(USER), "available_fen"), 101250);
	assert_int_equal(about(number, "approve", ZHAO), 200);
	assert_int_equal(http_number(account(USER), "available_fen"), 101250);
	assert_int_equal(about(number, "withdraw", LI), 409);
	assert_int_equal(about(number + 1, "approve", ZHAO), 404);
}

static void
nobody_approves_what_is_too_old_or_was_withdrawn(void **state)
{
	const struct timespec pause = {.tv_sec = 1, .tv_nsec = 50000000};
	json_int_t late;
	json_int_t withdrawn;

	(void)state;
	late = ask_adjustment(LI, 1);
	withdrawn = ask_adjustment(LI, 3600);
	assert_int_equal(about(withdrawn, "withdraw", LI), 200);
	assert_int_equal(about(withdrawn, "approve", ZHAO), 409);
	assert_string_equal(status(), "case_state");
	nanosleep(&pause, NULL);
	assert_int_equal(about(late, "approve", ZHAO), 410);
	assert_string_equal(status(), "case_expired");
	assert_int_equal(http_number(account(USER), "available_fen"), 100000);
}

static void
root_cannot_ask_for_an_adjustment_but_can_freeze(void **state)
{
	(void)state;
	assert_int_equal(ask("{\"verb\":\"adjust\",\"account\":%" PRIu64 ",\"to\":%d,"
			     "\"amount_fen\":1250," WHY ROOT "}",
				 suspense(), USER),
		403);
	assert_string_equal(status(), "operator_unnamed");
	assert_int_equal(ask("{\"verb\":\"freeze\",\"account\":%d," WHY ROOT "}", USER), 200);
}

/* ---- again ---- */

static void
the_same_key_does_a_thing_once(void **state)
{
	static const char body[] =
		"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":30," WHY LI "}";
	json_int_t number;

	(void)state;
	assert_int_equal(ask_with("once", body), 200);
	number = http_number(the_case(), "number");
	assert_int_equal(ask_with("once", body), 200);
	assert_int_equal(http_number(the_case(), "number"), number);
	assert_int_equal(http_number(account(USER), "frozen_fen"), 30);
	assert_int_equal(
		ask_with("once",
			"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":31," WHY LI "}"),
		409);
	assert_string_equal(status(), "idempotency_conflict");
}

static void
what_was_interrupted_is_finished_by_the_job_and_not_doubled(void **state)
{
	struct hb_job_result result = {.ok = true};
	struct hb_case c;
	char id[17];

	(void)state;
	make_hold(700, id);
	engine_owner_silent(owner, true); /* decided, but nobody hears of it */
	assert_int_equal(
		ask("{\"verb\":\"hold\",\"account\":%d,\"amount_fen\":30," WHY LI "}", USER), 202);
	assert_string_equal(status(), "unknown_outcome");
	assert_string_equal(http_text(the_case(), "state"), "ordered");
	engine_owner_silent(owner, false);
	hb_run_unfinished_cases(&control, &result); /* too fresh: a request may be under way */
	assert_int_equal(hb_cases_get(control.cases, 2, &c), 0);
	assert_int_equal(c.state, HB_CASE_ORDERED);
	c.asked_ms -= 60000;
	assert_int_equal(hb_cases_step(control.cases, &c, HB_CASE_ORDERED), 0);
	hb_run_unfinished_cases(&control, &result);
	assert_true(result.ok && !result.alarm);
	assert_int_equal(hb_cases_get(control.cases, 2, &c), 0);
	assert_int_equal(c.state, HB_CASE_DONE);
	assert_int_not_equal(c.hold, 0);
	assert_int_equal(http_number(account(USER), "frozen_fen"), 730);
}

static void
without_an_engine_a_command_is_refused_and_the_case_is_over(void **state)
{
	(void)state;
	engine_owner_stop(owner);
	assert_int_equal(ask("{\"verb\":\"freeze\",\"account\":%d," WHY LI "}", USER), 503);
	assert_string_equal(http_text(the_case(), "state"), "refused");
	owner = engine_owner_start(engine_path);
	until_attached();
	assert_int_equal(ask_with(key, "{\"verb\":\"freeze\",\"account\":%d," WHY LI "}", USER),
		404); /* a new state: nobody is there; but the key was free */
	assert_string_equal(status(), "account_unknown");
}

/* ---- bad input ---- */

static void
bad_requests_do_nothing_and_name_the_field(void **state)
{
	static const struct {
		const char *body;
		const char *message;
	} cases[] = {
		{"{\"verb\":\"freeze\",\"account\":1001," LI "}", "reason"},
		{"{\"verb\":\"freeze\",\"account\":1001,\"reason\":\"\"," LI "}", "reason"},
		{"{\"verb\":\"freeze\",\"account\":1001,\"reason\":\"a\\u0007\"," LI "}", "reason"},
		{"{\"verb\":\"freeze\",\"account\":0," WHY LI "}", "account"},
		{"{\"verb\":\"freeze\",\"account\":1001," WHY "\"operator_uid\":1}",
			"operator_name"},
		{"{\"verb\":\"freeze\",\"account\":1001," WHY
		 "\"operator_uid\":1,\"operator_name\":\"a b\"}",
			"operator_name"},
		{"{\"verb\":\"freeze\",\"account\":1001,\"amount_fen\":1," WHY LI "}",
			"amount_fen"},
		{"{\"verb\":\"melt\",\"account\":1001," WHY LI "}", "verb"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":0," WHY LI "}", "amount_fen"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":-5," WHY LI "}", "amount_fen"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":9223372036854775808," WHY LI
		 "}",
			"amount_fen"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":1,\"kind\":\"x\"," WHY LI "}",
			"kind"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":1,\"lifetime_s\":7776001," WHY
				LI "}",
			"lifetime_s"},
		{"{\"verb\":\"post\",\"hold\":\"0110000000000001\"," WHY LI "}", "hold"},
		{"{\"verb\":\"adjust\",\"account\":1001,\"to\":1002,\"amount_fen\":1," WHY LI "}",
			"to"},
		{"{\"verb\":\"adjust\",\"account\":1001,\"to\":1001,\"amount_fen\":1," WHY LI "}",
			"to"},
		{"{\"verb\":\"adjust\",\"account\":1001,\"to\":9223372036854775807,"
		 "\"amount_fen\":1," WHY LI "}",
			"to"},
	};
	struct hb_case c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ask("%s", cases[i].body), 400);
		if (!strstr(http_text(answer, "message"), cases[i].message))
			fail_msg("%s: %s", cases[i].body, http_text(answer, "message"));
	}
	assert_int_equal(exchange("POST", "/cases", NULL,
				 "{\"verb\":\"freeze\",\"account\":1001," WHY LI "}"),
		400);
	assert_int_equal(exchange("GET", "/cases/0", NULL, ""), 400);
	assert_int_equal(exchange("GET", "/cases?state=x", NULL, ""), 400);
	assert_int_equal(exchange("GET", "/holds/0110000000000001", NULL, ""), 400);
	assert_int_not_equal(hb_cases_get(control.cases, 1, &c), 0);
}

static void
the_engine_refuses_what_does_not_fit_and_says_why(void **state)
{
	static const struct {
		const char *body;
		int http;
		const char *status;
	} cases[] = {
		{"{\"verb\":\"freeze\",\"account\":777," WHY LI "}", 404, "account_unknown"},
		{"{\"verb\":\"hold\",\"account\":777,\"amount_fen\":1," WHY LI "}", 404,
			"account_unknown"},
		{"{\"verb\":\"hold\",\"account\":1001,\"amount_fen\":100001," WHY LI "}", 409,
			"insufficient"},
		{"{\"verb\":\"post\",\"hold\":\"0210000000000001\"," WHY LI "}", 404,
			"hold_unknown"},
		{"{\"verb\":\"void\",\"hold\":\"0210000000000001\"," WHY LI "}", 404,
			"hold_unknown"},
	};
	char id[17];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ask("%s", cases[i].body), cases[i].http);
		assert_string_equal(status(), cases[i].status);
		assert_string_equal(http_text(the_case(), "outcome"), cases[i].status);
	}
	make_hold(100, id);
	assert_int_equal(
		ask("{\"verb\":\"post\",\"hold\":\"%s\",\"fee_fen\":101," WHY LI "}", id), 422);
	assert_string_equal(status(), "limit");
	assert_int_equal(http_number(account(USER), "frozen_fen"), 100);
	assert_int_equal(exchange("GET", "/cases?account=777", NULL, ""), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "items")), 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_frozen_account_pays_nothing_until_it_is_unfrozen),
		TEST(a_hold_is_posted_and_then_cannot_be_voided),
		TEST(a_voided_hold_gives_the_money_back_and_leaves_the_days_counters),
		TEST(a_hold_is_not_sent_after_its_deadline),
		TEST(an_adjustment_is_done_when_another_operator_approves_it),
		TEST(nobody_approves_what_is_too_old_or_was_withdrawn),
		TEST(root_cannot_ask_for_an_adjustment_but_can_freeze),
		TEST(the_same_key_does_a_thing_once),
		TEST(what_was_interrupted_is_finished_by_the_job_and_not_doubled),
		TEST(without_an_engine_a_command_is_refused_and_the_case_is_over),
		TEST(bad_requests_do_nothing_and_name_the_field),
		TEST(the_engine_refuses_what_does_not_fit_and_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
