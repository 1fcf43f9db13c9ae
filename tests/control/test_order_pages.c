/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of orders over HTTP, from one MySQL server and from two: every page is what sorting all
 * rows of all tables gives, and what is too deep says how to go on.
 */
#include "tests/mysql/bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/control.h"
#include "controlplane/order_pages.h"
#include "shm/ids.h"
#include "tests/control/engine_owner.h"
#include "tests/control/http_call.h"

#define USERS	 20
#define GRABS	 1500
#define WAIT_MS	 20000
#define ROWS_MAX 20000
#define TIE_ROWS 20 /* of each table */

static struct bed_server server_a, server_b;
static struct bed bed;
static struct hb_control control;
static struct http_answer last;
static char http_path[128];

struct reference {
	uint64_t at_ms;
	char order_no[HB_ORDER_NUMBER_LENGTH + 1];
};
static struct reference reference[ROWS_MAX];
static uint32_t reference_count;

static int
set_up_group(void **state)
{
	(void)state;
	bed_server_open(&server_a);
	bed_server_open(&server_b);
	return 0;
}

static int
tear_down_group(void **state)
{
	(void)state;
	bed_server_close(&server_a);
	bed_server_close(&server_b);
	return 0;
}

static void
wait_applied(void)
{
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * WAIT_MS;
	uint64_t seq = hb_committed_seq(&bed.journal.commit);
	uint32_t level = 0;
	uint32_t count = 1;

	while (level < count && hb_mono_ns() < until) {
		usleep(2000);
		level = 0;
		count = hb_applier_status(bed.applier, status, HB_APPLIER_SERVERS_MAX);
		for (uint32_t i = 0; i < count; i++)
			level += status[i].shards == 0 || status[i].seq >= seq;
	}
	assert_int_equal(level, count);
}

static void
open_node(const char *name, bool two)
{
	struct hb_http_options options = {.socket_path = http_path,
		.socket_mode = 0600,
		.peers = {getuid()},
		.peer_count = 1,
		.connections_max = 8,
		.routes = hb_admin_routes,
		.context = &control};
	char error[256];

	bed_open(&bed, &server_a, name, 4096);
	snprintf(bed.config.mysql_control_user, sizeof(bed.config.mysql_control_user), "root");
	if (two) {
		bed.config.mysql_socket[0] = 0;
		snprintf(bed.config.mysql_servers, sizeof(bed.config.mysql_servers),
			"a=unix:%s/mysql.sock b=unix:%s/mysql.sock", server_a.directory,
			server_b.directory);
		snprintf(bed.config.mysql_shards, sizeof(bed.config.mysql_shards), "a:0-7 b:8-15");
	}
	bed_fund(&bed, USERS);
	bed_traffic(&bed, USERS, GRABS);
	bed_applier_start(&bed);
	wait_applied();
	memset(&control, 0, sizeof(control));
	snprintf(http_path, sizeof(http_path), "%s/admin.sock", server_a.directory);
	control.config = &bed.config;
	assert_int_equal(hb_reads_create(&control.reads, &bed.config), 0);
	assert_int_equal(hb_http_start(&control.admin_server, &options, error), 0);
}

static void
close_node(void)
{
	hb_http_stop(control.admin_server);
	hb_reads_destroy(control.reads);
	http_answer_free(&last);
	bed_close(&bed);
}

static int
get(const char *format, ...)
{
	char uri[256];
	char head[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(uri, sizeof(uri), format, arguments);
	va_end(arguments);
	snprintf(
		head, sizeof(head), "GET %s HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n", uri);
	return http_exchange(http_path, head, "", 0, &last);
}

/* ---- the reference: every row by its table, sorted here ---- */

static int
compare(const void *a, const void *b)
{
	const struct reference *x = a;
	const struct reference *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms > y->at_ms ? -1 : 1;
	return -strcmp(x->order_no, y->order_no);
}

static int
take_row(void *context, const void *data)
{
	const struct hb_order_row *row = data;
	struct reference *r = &reference[reference_count++];

	(void)context;
	assert_true(reference_count <= ROWS_MAX);
	r->at_ms = row->at_ms;
	memcpy(r->order_no, row->order_no, HB_ORDER_NUMBER_LENGTH);
	r->order_no[HB_ORDER_NUMBER_LENGTH] = '\0';
	return 0;
}

/* By user, through the other query: nothing is shared with what is tested but the rows. */
static void
make_reference(void)
{
	char error[HB_READS_ERROR_BYTES];

	reference_count = 0;
	for (uint64_t user = 1; user <= USERS; user++) {
		struct hb_read_parameters parameters = {
			.account = user, .before = INT64_MAX, .limit = ROWS_MAX};
		struct hb_order_row row;
		struct hb_read *read = NULL;
		uint32_t shard = hb_partition_of(user);

		assert_int_equal(hb_read_begin(control.reads, shard, 0, &read, error), 0);
		assert_int_equal(hb_read_query(read, HB_READ_ORDERS, shard, &parameters, &row,
					 take_row, NULL, error),
			0);
		hb_read_end(read);
	}
	qsort(reference, reference_count, sizeof(reference[0]), compare);
	assert_true(reference_count > 500);
}

/* Rows of one moment, at which one of another table is anyway: made so in MySQL itself. */
static void
make_ties(uint32_t end)
{
	struct hb_config config = bed.config;

	make_reference();
	snprintf(bed.config.mysql_socket, sizeof(bed.config.mysql_socket), "%s/mysql.sock",
		server_a.directory);
	for (uint32_t shard = 0; shard < end; shard++)
		bed_sql(&bed, "UPDATE order_%02u SET at_ms = %lu ORDER BY order_no DESC LIMIT %d",
			shard, (unsigned long)reference[reference_count / 2].at_ms, TIE_ROWS);
	bed.config = config;
}

static void
assert_page(uint64_t first, uint64_t size)
{
	const json_t *items = json_object_get(last.json, "items");
	uint64_t left = first < reference_count ? reference_count - first : 0;

	assert_int_equal(json_array_size(items), left < size ? left : size);
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);

		assert_string_equal(http_text(item, "order_no"), reference[first + i].order_no);
		assert_int_equal(http_number(item, "at_ms"), reference[first + i].at_ms);
	}
	assert_int_equal(json_is_string(json_object_get(last.json, "next")), left > size);
}

static void
every_page_is_what_a_sort_gives(void)
{
	static const unsigned sizes[] = {1, 7, 20, 100};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned pages = reference_count / sizes[s] + 2;
		unsigned step = sizes[s] < 20 ? 61 : 1;

		for (unsigned page = 1; page <= pages && page * sizes[s] <= HB_PAGE_DEPTH_MAX;
			page += step) {
			assert_int_equal(get("/orders?page=%u&page_size=%u", page, sizes[s]), 200);
			assert_page((uint64_t)(page - 1) * sizes[s], sizes[s]);
		}
	}
}

/* The cursor of one page leads on, by pages that count from it or one by one. */
static void
cursors_go_on_where_a_page_ends(void)
{
	char next[80];

	assert_int_equal(get("/orders?page=3&page_size=50"), 200);
	snprintf(next, sizeof(next), "%s", http_text(last.json, "next"));
	assert_int_equal(get("/orders?before=%s&page=2&page_size=30", next), 200);
	assert_page(150 + 30, 30);
	for (uint64_t row = 150; row < reference_count; row += 100) {
		assert_int_equal(get("/orders?before=%s&page_size=100", next), 200);
		assert_page(row, 100);
		snprintf(next, sizeof(next), "%s", http_text(last.json, "next"));
	}
}

static void
pages_of_one_server_are_exact(void **state)
{
	(void)state;
	open_node("pages_one", false);
	make_ties(16);
	make_reference();
	every_page_is_what_a_sort_gives();
	cursors_go_on_where_a_page_ends();
	close_node();
}

static void
pages_of_two_servers_are_exact(void **state)
{
	(void)state;
	open_node("pages_two", true);
	make_ties(8);
	make_reference();
	every_page_is_what_a_sort_gives();
	cursors_go_on_where_a_page_ends();
	close_node();
}

static void
what_pages_do_not_have_is_refused_and_says_what_to_do(void **state)
{
	static const char *const bad[] = {"page=0", "page=x", "page=-1", "page_size=0",
		"page_size=101", "before=1", "account=0", "min_seq=x", "size=3",
		"page=99999999999999999999"};

	(void)state;
	open_node("pages_bad", false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(get("/orders?%s", bad[i]), 400);
	assert_int_equal(get("/orders?page=51&page_size=100"), 422);
	assert_string_equal(http_text(last.json, "status"), "page_too_deep");
	assert_non_null(strstr(http_text(last.json, "message"), "before="));
	assert_int_equal(get("/orders?page=50&page_size=100"), 200);
	assert_int_equal(get("/orders?page=2147483647&page_size=100"), 422);
	assert_int_equal(get("/orders?account=3&page=2&page_size=5"), 200);
	for (size_t i = 0; i < json_array_size(json_object_get(last.json, "items")); i++)
		assert_int_equal(http_number(json_array_get(json_object_get(last.json, "items"), i),
					 "account"),
			3);
	close_node();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_of_one_server_are_exact),
		cmocka_unit_test(pages_of_two_servers_are_exact),
		cmocka_unit_test(what_pages_do_not_have_is_refused_and_says_what_to_do),
	};

	return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
