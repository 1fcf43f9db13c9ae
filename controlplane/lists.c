/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists and orders of a user, from MySQL, newest first, a page at a time. The cursor of a page is
 * what its last row was sorted by, so rows that come meanwhile shift nothing. Every answer says up
 * to which journal sequence it is complete. Nothing is kept between requests.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "controlplane/degrade.h"
#include "controlplane/engine_json.h"
#include "controlplane/json_fields.h"
#include "controlplane/order_pages.h"
#include "shm/ids.h"
#include "shm/names.h"

#define LIMIT_DEFAULT 20
/* An index stores at_ms unsigned; this is after every time and below what JSON numbers hold. */
#define NEVER (UINT64_C(1) << 62)

enum {
	LIMIT,
	BEFORE,
	MIN_SEQ,
	QUERY_COUNT
};
static const char *const query_names[] = {
	[LIMIT] = "limit", [BEFORE] = "before", [MIN_SEQ] = "min_seq", [QUERY_COUNT] = NULL};

struct page {
	uint64_t account;
	uint64_t min_seq;
	struct hb_read_parameters parameters;
	json_t *items;
	uint32_t limit;
	char next[HB_HTTP_QUERY_VALUE_MAX + 1]; /* cursor behind the last row kept */
	bool more;
};

/* How a list reads its cursor and writes a row with the cursor behind it. */
struct list {
	enum hb_read_query query;
	bool (*cursor)(const char *first, const char *second, struct hb_read_parameters *out);
	int (*row)(void *page, const void *row);
};

/* ---- rows ---- */

json_t *
hb_order_row_json(const struct hb_order_row *row)
{
	char packet[HB_PACKET_ID_TEXT_BYTES];
	json_t *json = json_pack("{s:s%,s:I,s:s,s:s,s:I,s:I,s:I}", "order_no", row->order_no,
		sizeof(row->order_no), "account", (json_int_t)row->account, "business",
		hb_business_name(row->business), "state", hb_order_state_name(row->state),
		"amount_fen", (json_int_t)row->amount_fen, "at_ms", (json_int_t)row->at_ms, "seq",
		(json_int_t)row->jseq);

	HB_ASSERT(json);
	if (row->packet) {
		hb_packet_id_format(packet, row->packet);
		json_object_set_new(json, "packet", json_string(packet));
	}
	if (hb_is_user_account(row->peer))
		json_object_set_new(json, "peer", json_integer((json_int_t)row->peer));
	else if (row->peer)
		json_object_set_new(json, "channel",
			json_string(hb_system_account_name((uint32_t)row->peer & 0xff)));
	return json;
}

/* One row more than asked for tells that there is a next page. @return true when it is that one */
static bool
page_full(struct page *page)
{
	page->more = json_array_size(page->items) == page->limit;
	return page->more;
}

static int
order_row(void *context, const void *data)
{
	struct page *page = context;
	const struct hb_order_row *row = data;

	if (page_full(page))
		return 0;
	json_array_append_new(page->items, hb_order_row_json(row));
	hb_order_cursor_format(page->next, row);
	return 0;
}

static int
flow_row(void *context, const void *data)
{
	struct page *page = context;
	const struct hb_flow_row *row = data;

	if (page_full(page))
		return 0;
	json_array_append_new(
		page->items, json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s%,s:I}", "seq",
				     (json_int_t)row->jseq, "leg", (json_int_t)row->leg,
				     "available_change_fen", (json_int_t)row->available_delta,
				     "frozen_change_fen", (json_int_t)row->frozen_delta,
				     "available_after_fen", (json_int_t)row->available_after,
				     "frozen_after_fen", (json_int_t)row->frozen_after, "order_no",
				     row->order_no, strnlen(row->order_no, sizeof(row->order_no)),
				     "at_ms", (json_int_t)row->at_ms));
	snprintf(
		page->next, sizeof(page->next), "%llu.%u", (unsigned long long)row->jseq, row->leg);
	return 0;
}

static int
packet_row(void *context, const void *data)
{
	struct page *page = context;
	const struct hb_packet_row *row = data;
	bool lucky = row->kind == HB_PACKET_LUCKY;
	char id[HB_PACKET_ID_TEXT_BYTES];

	if (page_full(page))
		return 0;
	hb_packet_id_format(id, row->packet);
	json_array_append_new(page->items,
		json_pack("{s:s,s:s,s:I,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s%,s:s%}", "packet",
			id, "kind", hb_packet_kind_name(row->kind), lucky ? "group" : "recipient",
			(json_int_t)(lucky ? row->group_id : row->recipient), "algorithm",
			hb_split_algorithm_name(row->algorithm), "state",
			hb_packet_state_name(row->state), "total_fen", (json_int_t)row->total_fen,
			"left_fen", (json_int_t)row->left_fen, "refunded_fen",
			(json_int_t)row->refunded_fen, "count", (json_int_t)row->share_count,
			"taken", (json_int_t)(row->share_count - row->left_count), "created_ms",
			(json_int_t)row->created_ms, "deadline_ms", (json_int_t)row->deadline_ms,
			"order_no", row->order_no, sizeof(row->order_no), "greeting", row->greeting,
			strnlen(row->greeting, sizeof(row->greeting))));
	snprintf(
		page->next, sizeof(page->next), "%llu.%s", (unsigned long long)row->created_ms, id);
	return 0;
}

/* ---- cursors ---- */

static bool
order_cursor(const char *first, const char *second, struct hb_read_parameters *out)
{
	struct hb_order_number number;

	if (!hb_decimal_parse(first, NEVER, &out->before) ||
		!hb_order_number_parse(second, &number))
		return false;
	memcpy(out->before_order_no, second, sizeof(out->before_order_no));
	return true;
}

static bool
flow_cursor(const char *first, const char *second, struct hb_read_parameters *out)
{
	uint64_t leg;

	if (!hb_decimal_parse(first, NEVER, &out->before) ||
		!hb_decimal_parse(second, UINT8_MAX, &leg))
		return false;
	out->before_leg = (uint8_t)leg;
	return true;
}

static bool
packet_cursor(const char *first, const char *second, struct hb_read_parameters *out)
{
	return hb_decimal_parse(first, NEVER, &out->before) &&
	       hb_packet_id_parse(second, &out->before_packet);
}

static const struct list list_orders = {HB_READ_ORDERS, order_cursor, order_row};
static const struct list list_received = {HB_READ_PACKETS_RECEIVED, order_cursor, order_row};
static const struct list list_statement = {HB_READ_STATEMENT, flow_cursor, flow_row};
static const struct list list_sent = {HB_READ_PACKETS_SENT, packet_cursor, packet_row};

/* ---- requests ---- */

/* The account that the front verified. */
static bool
user_of(const struct hb_http_request *request, uint64_t *account, struct hb_http_reply *reply)
{
	const char *user = hb_http_header(request, "X-Hongbao-User");

	if (user && hb_account_parse(user, account))
		return true;
	hb_http_error(reply, 401, "unauthorized", "the front did not verify a user");
	return false;
}

static bool
cursor_read(const struct list *list, const char *text, struct hb_read_parameters *out)
{
	char first[HB_HTTP_QUERY_VALUE_MAX + 1];
	const char *dot = strchr(text, '.');

	if (!dot)
		return false;
	memcpy(first, text, (size_t)(dot - text));
	first[dot - text] = '\0';
	return list->cursor(first, dot + 1, out);
}

bool
hb_order_cursor_read(const char *text, struct hb_read_parameters *out)
{
	out->before = NEVER;
	return !text[0] || cursor_read(&list_orders, text, out);
}

void
hb_order_cursor_format(char text[HB_HTTP_QUERY_VALUE_MAX + 1], const struct hb_order_row *row)
{
	snprintf(text, HB_HTTP_QUERY_VALUE_MAX + 1, "%llu.%.32s", (unsigned long long)row->at_ms,
		row->order_no);
}

static bool
page_begin(struct page *page, const struct list *list, const struct hb_http_request *request,
	struct hb_http_reply *reply)
{
	char values[QUERY_COUNT][HB_HTTP_QUERY_VALUE_MAX + 1];
	uint64_t limit = LIMIT_DEFAULT;

	memset(page, 0, sizeof(*page));
	if (!user_of(request, &page->account, reply) ||
		!hb_http_query(request, reply, query_names, values))
		return false;
	if (values[LIMIT][0] &&
		(!hb_decimal_parse(values[LIMIT], HB_READS_ROWS_MAX, &limit) || limit == 0)) {
		hb_http_error(reply, 400, "bad_request", "query parameter limit must be in 1..%d",
			HB_READS_ROWS_MAX);
		return false;
	}
	if (values[MIN_SEQ][0] && !hb_decimal_parse(values[MIN_SEQ], NEVER, &page->min_seq)) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter min_seq must be a journal sequence");
		return false;
	}
	page->parameters.before = NEVER;
	if (values[BEFORE][0] && !cursor_read(list, values[BEFORE], &page->parameters)) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter before must be the \"next\" of the page before");
		return false;
	}
	page->limit = (uint32_t)limit;
	page->parameters.limit = page->limit + 1;
	page->parameters.account = page->account;
	return true;
}

void
hb_mysql_away(struct hb_http_reply *reply)
{
	hb_http_error(reply, 503, "mysql_unavailable",
		"lists and orders come from MySQL, which does not answer now; ask again later");
}

static void
answer_list(
	const struct list *list, const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	char error[HB_READS_ERROR_BYTES] = "";
	struct hb_read *read = NULL;
	struct page page;
	union {
		struct hb_order_row order;
		struct hb_flow_row flow;
		struct hb_packet_row packet;
	} row;
	json_t *json;
	int result;

	if (!page_begin(&page, list, request, reply) || hb_degrade_no_lists(control, reply))
		return;
	page.items = json_array();
	result = hb_read_begin(
		control->reads, hb_partition_of(page.account), page.min_seq, &read, error);
	if (result == 0)
		result = hb_read_query(read, list->query, hb_partition_of(page.account),
			&page.parameters, &row, list->row, &page, error);
	if (result != 0) {
		hb_mysql_away(reply);
		json_decref(page.items);
	} else {
		json = json_pack("{s:s,s:o,s:o,s:I}", "status", "ok", "items", page.items, "next",
			page.more ? json_string(page.next) : json_null(), "as_of_seq",
			(json_int_t)hb_read_as_of_seq(read));
		hb_http_json(reply, 200, json);
	}
	hb_read_end(read);
}

void
hb_list_orders(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	uint64_t account;

	if (strstr(request->query, "page")) { /* by number, not by cursor alone */
		if (user_of(request, &account, reply))
			hb_order_pages_of(request, reply, account);
		return;
	}
	answer_list(&list_orders, request, reply);
}

void
hb_list_packets_received(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	answer_list(&list_received, request, reply);
}

void
hb_list_statement(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	answer_list(&list_statement, request, reply);
}

void
hb_list_packets_sent(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	answer_list(&list_sent, request, reply);
}

/* ---- one order ---- */

static int
order_found(void *context, const void *row)
{
	*(json_t **)context = hb_order_row_json(row);
	return 0;
}

static void
order_answer(
	const struct hb_read *read, json_t *order, uint64_t account, struct hb_http_reply *reply)
{
	json_t *owner = json_object_get(order, "account");

	if (!order || (account && json_integer_value(owner) != (json_int_t)account)) {
		json_decref(order);
		hb_http_error(reply, 404, hb_status_name(HB_STATUS_ORDER_UNKNOWN), "%s",
			hb_status_advice(HB_STATUS_ORDER_UNKNOWN));
		return;
	}
	json_object_set_new(order, "status", json_string("ok"));
	json_object_set_new(order, "as_of_seq", json_integer((json_int_t)hb_read_as_of_seq(read)));
	hb_http_json(reply, 200, order);
}

void
hb_order_get(const struct hb_http_request *request, struct hb_http_reply *reply, uint64_t account)
{
	static const char *const names[] = {"min_seq", NULL};
	const struct hb_control *control = request->context;
	char values[1][HB_HTTP_QUERY_VALUE_MAX + 1];
	char error[HB_READS_ERROR_BYTES] = "";
	struct hb_read_parameters parameters = {0};
	struct hb_order_number number;
	struct hb_order_row row;
	struct hb_read *read = NULL;
	uint64_t min_seq = 0;
	json_t *order = NULL;
	int result;

	if (!hb_order_number_parse(request->parameter[0], &number)) {
		hb_http_error(reply, 400, "bad_request",
			"the order number is not 32 digits of version 1 or 2");
		return;
	}
	if (!hb_http_query(request, reply, names, values))
		return;
	if (values[0][0] && !hb_decimal_parse(values[0], NEVER, &min_seq)) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter min_seq must be a journal sequence");
		return;
	}
	memcpy(parameters.order_no, request->parameter[0], sizeof(parameters.order_no));
	result = hb_read_begin(
		control->reads, number.user_digits % HB_PARTITION_COUNT, min_seq, &read, error);
	if (result == 0)
		result = hb_read_query(read, HB_READ_ORDER, number.user_digits % HB_PARTITION_COUNT,
			&parameters, &row, order_found, &order, error);
	if (result == 0) {
		order_answer(read, order, account, reply);
	} else {
		json_decref(order);
		hb_mysql_away(reply);
	}
	hb_read_end(read);
}

void
hb_list_order_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	uint64_t account;

	if (user_of(request, &account, reply) && !hb_degrade_no_lists(request->context, reply))
		hb_order_get(request, reply, account);
}
