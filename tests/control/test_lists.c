/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists and orders over HTTP from a MariaDB that the applier fills from a journal; and the job that
 * compares it with the engine.
 */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/control.h"
#include "tests/control/engine_owner.h"
#include "tests/control/http_call.h"

#define USERS	   20
#define GRABS	   2000
#define WAIT_MS	   20000
#define HOUR_NS	   UINT64_C(3600000000000)
#define PAGES_MAX  2000
#define STRANGER   999999
#define PAGE_LIMIT 3

static struct bed_server server;
static struct bed bed;
static struct hb_control control;
static struct http_answer last;
static char http_path[128];

static uint64_t
committed(void)
{
	return hb_committed_seq(&bed.journal.commit);
}

static void
open_control(void)
{
	struct hb_http_options options = {.socket_path = http_path,
		.socket_mode = 0600,
		.peers = {getuid()},
		.peer_count = 1,
		.connections_max = 8,
		.routes = hb_front_routes,
		.context = &control};
	char error[256];

	memset(&control, 0, sizeof(control));
	snprintf(bed.config.mysql_control_user, sizeof(bed.config.mysql_control_user), "root");
	snprintf(http_path, sizeof(http_path), "%s/http.sock", server.directory);
	control.config = &bed.config;
	assert_int_equal(hb_reads_create(&control.reads, &bed.config), 0);
	assert_int_equal(hb_http_start(&control.http_server, &options, error), 0);
}

static void
close_control(void)
{
	hb_http_stop(control.http_server);
	hb_reads_destroy(control.reads);
	http_answer_free(&last);
}

static int
set_up_group(void **state)
{
	(void)state;
	bed_server_open(&server);
	bed_open(&bed, &server, "lists", 4096);
	bed_fund(&bed, USERS);
	bed_traffic(&bed, USERS, GRABS);
	bed_applier_start(&bed);
	assert_int_equal(bed_wait(&bed, committed(), WAIT_MS).seq, committed());
	open_control();
	return 0;
}

static int
tear_down_group(void **state)
{
	(void)state;
	close_control();
	bed_close(&bed);
	bed_server_close(&server);
	return 0;
}

/* ---- asking ---- */

static int
get(uint64_t user, const char *uri)
{
	char head[512];

	snprintf(head, sizeof(head),
		"GET %s HTTP/1.1\r\nHost: c\r\nConnection: close\r\nX-Hongbao-User: %lu\r\n\r\n",
		uri, (unsigned long)user);
	return http_exchange(http_path, head, "", 0, &last);
}

/* All items of a list, page by page. @return a new array */
static json_t *
walk(uint64_t user, const char *list)
{
	json_t *all = json_array();
	char uri[256];

	snprintf(uri, sizeof(uri), "%s?limit=%d", list, PAGE_LIMIT);
	for (int page = 0; page < PAGES_MAX; page++) {
		const json_t *items, *next;

		assert_int_equal(get(user, uri), 200);
		items = json_object_get(last.json, "items");
		next = json_object_get(last.json, "next");
		assert_int_equal(http_number(last.json, "as_of_seq"), committed());
		assert_true(json_array_size(items) <= PAGE_LIMIT);
		json_array_extend(all, (json_t *)(uintptr_t)items);
		if (json_is_null(next))
			return all;
		assert_int_equal(json_array_size(items), PAGE_LIMIT);
		snprintf(uri, sizeof(uri), "%s?limit=%d&before=%s", list, PAGE_LIMIT,
			json_string_value(next));
	}
	fail_msg("%s of %lu does not end", list, (unsigned long)user);
	return NULL;
}

/* Newest first, and nothing twice. */
static void
assert_in_order(const json_t *items, const char *time, const char *id)
{
	json_t *seen = json_object();

	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);

		if (i > 0)
			assert_true(http_number(item, time) <=
				    http_number(json_array_get(items, i - 1), time));
		assert_null(json_object_get(seen, http_text(item, id)));
		json_object_set_new(seen, http_text(item, id), json_true());
	}
	json_decref(seen);
}

/* ---- lists ---- */

static void
pages_hold_every_order_of_a_user_once(void **state)
{
	(void)state;
	for (uint64_t user = 1; user <= USERS; user += 7) {
		uint32_t shard = hb_partition_of(user);
		json_t *orders = walk(user, "/v1/orders");
		json_t *received = walk(user, "/v1/packets/received");
		json_t *sent = walk(user, "/v1/packets/sent");

		assert_in_order(orders, "at_ms", "order_no");
		assert_in_order(received, "at_ms", "order_no");
		assert_in_order(sent, "created_ms", "packet");
		assert_int_equal(json_array_size(orders),
			bed_number(&bed, "SELECT COUNT(*) FROM order_%02u WHERE account = %lu",
				shard, (unsigned long)user));
		assert_int_equal(
			json_array_size(received), bed_number(&bed,
							   "SELECT COUNT(*) FROM order_%02u WHERE "
							   "account = %lu AND business = 21",
							   shard, (unsigned long)user));
		assert_true(json_array_size(received) > PAGE_LIMIT);
		assert_int_equal(json_array_size(sent),
			bed_number(&bed, "SELECT COUNT(*) FROM packet_%02u WHERE sender = %lu",
				shard, (unsigned long)user));
		json_decref(orders);
		json_decref(received);
		json_decref(sent);
	}
}

static void
a_statement_leads_from_nothing_to_the_balance(void **state)
{
	(void)state;
	for (uint64_t user = 1; user <= USERS; user += 7) {
		json_t *flows = walk(user, "/v1/statement");
		json_int_t available = 0;
		json_int_t frozen = 0;

		for (size_t i = json_array_size(flows); i-- > 0;) {
			const json_t *flow = json_array_get(flows, i);

			available += http_number(flow, "available_change_fen");
			frozen += http_number(flow, "frozen_change_fen");
			assert_int_equal(http_number(flow, "available_after_fen"), available);
			assert_int_equal(http_number(flow, "frozen_after_fen"), frozen);
		}
		assert_int_equal(available, world_available(&bed.world, user));
		assert_int_equal(frozen, world_frozen(&bed.world, user));
		json_decref(flows);
	}
}

static void
an_order_is_shown_to_its_owner_only(void **state)
{
	char uri[96];

	(void)state;
	assert_int_equal(get(1, "/v1/orders?limit=1"), 200);
	snprintf(uri, sizeof(uri), "/v1/orders/%s",
		http_text(json_array_get(json_object_get(last.json, "items"), 0), "order_no"));
	assert_int_equal(get(1, uri), 200);
	assert_string_equal(http_text(last.json, "order_no"), uri + strlen("/v1/orders/"));
	assert_int_equal(get(2, uri), 404);
	assert_string_equal(http_text(last.json, "status"), "order_unknown");
	uri[strlen(uri) - 1] ^= 1;
	assert_int_equal(get(1, uri), 404);
	assert_int_equal(get(1, "/v1/orders/123"), 400);
}

/* Rows carry the number that the order was made with, and are found by it. */
static void
orders_of_both_versions_are_listed_and_found(void **state)
{
	json_t *orders = walk(1, "/v1/orders");
	uint32_t count[2] = {0};

	(void)state;
	for (size_t i = 0; i < json_array_size(orders); i++) {
		const char *number = http_text(json_array_get(orders, i), "order_no");
		char uri[96];

		assert_true(number[2] == '1' || number[2] == '2');
		count[number[2] - '1']++;
		snprintf(uri, sizeof(uri), "/v1/orders/%s", number);
		assert_int_equal(get(1, uri), 200);
		assert_string_equal(http_text(last.json, "order_no"), number);
	}
	assert_true(count[0] > 0 && count[1] > 0);
	json_decref(orders);
}

static void
a_stranger_has_empty_lists(void **state)
{
	static const char *const lists[] = {
		"/v1/orders", "/v1/statement", "/v1/packets/sent", "/v1/packets/received"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		json_t *items = walk(STRANGER, lists[i]);

		assert_int_equal(json_array_size(items), 0);
		json_decref(items);
	}
}

static void
cursors_and_limits_are_checked(void **state)
{
	static const char *const uris[] = {"/v1/orders?limit=0", "/v1/orders?limit=101",
		"/v1/orders?limit=x", "/v1/orders?before=1", "/v1/orders?before=1.2",
		"/v1/statement?before=1.256", "/v1/packets/sent?before=1.0000000000000001",
		"/v1/orders?min_seq=-1", "/v1/orders?offset=1"};

	(void)state;
	for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
		assert_int_equal(get(1, uris[i]), 400);
		assert_string_equal(http_text(last.json, "status"), "bad_request");
	}
}

static void
min_seq_waits_a_second_for_ones_own_write(void **state)
{
	char uri[64];
	uint64_t began_ns;

	(void)state;
	bed_applier_stop(&bed);
	assert_int_equal(world_fund(&bed.world, USERS + 1, 5), HB_STATUS_OK);
	bed_commit(&bed);
	snprintf(uri, sizeof(uri), "/v1/orders?min_seq=%lu", (unsigned long)committed());
	began_ns = hb_mono_ns();
	assert_int_equal(get(USERS + 1, uri), 200);
	assert_in_range(hb_mono_ns() - began_ns, 900000000, 3000000000);
	assert_true((uint64_t)http_number(last.json, "as_of_seq") < committed());
	assert_int_equal(json_array_size(json_object_get(last.json, "items")), 0);
	bed_applier_start(&bed);
	for (int i = 0; i < 20 && (uint64_t)http_number(last.json, "as_of_seq") < committed(); i++)
		assert_int_equal(get(USERS + 1, uri), 200);
	assert_int_equal(http_number(last.json, "as_of_seq"), committed());
	assert_int_equal(json_array_size(json_object_get(last.json, "items")), 1);
}

static void
mysql_may_go_and_come_back(void **state)
{
	(void)state;
	assert_int_equal(get(1, "/v1/orders"), 200);
	bed_server_end(&server, SIGKILL);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(get(1, "/v1/orders"), 503);
		assert_string_equal(http_text(last.json, "status"), "mysql_unavailable");
	}
	bed_server_start(&server, NULL);
	for (int i = 0; i < 6; i++)
		assert_int_equal(get(1, "/v1/orders"), 200);
}

/* ---- expired but not refunded ---- */

/* A packet whose deadline was an hour ago, open still: in a journal, or in the engine's memory. */
static void
send_overdue(struct world *w, uint64_t *packet)
{
	uint64_t now_ns = hb_wall_ns();

	w->input.now_ns = now_ns - 25 * HOUR_NS;
	assert_int_equal(world_fund(w, 1, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(w, 1, 7, 900, 3, HB_SPLIT_DOUBLE_MEAN, packet), HB_STATUS_OK);
	w->input.now_ns = now_ns;
}

static json_int_t
run_job(bool alarm)
{
	json_t *json = NULL;
	json_int_t found;

	assert_int_equal(hb_jobs_run(control.jobs, "expired-not-refunded", WAIT_MS, &json), 0);
	assert_true(json_is_true(json_object_get(json, "ok")));
	assert_int_equal(json_is_true(json_object_get(json, "alarm")), alarm);
	found = http_number(json, "found");
	json_decref(json);
	return found;
}

static void
wait_attached(void)
{
	static struct hb_engine_view view;
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; i < 600 && !view.attached; i++) {
		hb_engine_look(control.engine, &view);
		nanosleep(&pause, NULL);
	}
	assert_true(view.attached);
}

static void
a_packet_left_open_after_its_deadline_is_closed_and_counted_once(void **state)
{
	struct engine_owner *owner;
	char path[128];
	uint64_t in_engine = 1;
	uint64_t in_journal = 2;

	(void)state;
	close_control();
	bed_close(&bed);
	bed_open(&bed, &server, "overdue", 4096);
	snprintf(path, sizeof(path), "%s/attach.sock", server.directory);
	owner = engine_owner_start(path);
	send_overdue(&bed.world, &in_journal);
	send_overdue(engine_owner_world(owner), &in_engine);
	assert_int_equal(in_engine, in_journal);
	open_control();
	assert_int_equal(hb_engine_start(&control.engine, path), 0);
	assert_int_equal(hb_jobs_create(&control.jobs), 0);
	hb_jobs_register_all(&control);
	assert_int_equal(hb_jobs_start(control.jobs), 0);
	wait_attached();

	bed_applier_start(&bed); /* makes the tables */
	assert_int_equal(bed_wait(&bed, committed(), WAIT_MS).seq, committed());
	assert_int_equal(run_job(false), 0); /* healthy: nothing is overdue */
	bed_commit(&bed);
	assert_int_equal(bed_wait(&bed, committed(), WAIT_MS).seq, committed());
	assert_int_equal(run_job(true), 1);  /* the engine had it open: closed now */
	assert_int_equal(run_job(false), 0); /* MySQL is late, the engine is right */
	hb_jobs_stop(control.jobs);
	hb_engine_stop(control.engine);
	engine_owner_stop(owner);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_hold_every_order_of_a_user_once),
		cmocka_unit_test(a_statement_leads_from_nothing_to_the_balance),
		cmocka_unit_test(an_order_is_shown_to_its_owner_only),
		cmocka_unit_test(orders_of_both_versions_are_listed_and_found),
		cmocka_unit_test(a_stranger_has_empty_lists),
		cmocka_unit_test(cursors_and_limits_are_checked),
		cmocka_unit_test(min_seq_waits_a_second_for_ones_own_write),
		cmocka_unit_test(mysql_may_go_and_come_back),
		cmocka_unit_test(a_packet_left_open_after_its_deadline_is_closed_and_counted_once),
	};

	return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
