/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds as JSON (holds.h). Reads only; nothing is kept between requests.
 */
#include "controlplane/holds.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "controlplane/json_fields.h"
#include "shm/ids.h"
#include "shm/names.h"
#include "shm/order_number.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     50 /* two questions to the engine each */

enum {
	ACCOUNT,
	LIMIT,
	BEFORE,
	QUERY_COUNT
};
static const char *const query_names[] = {
	[ACCOUNT] = "account", [LIMIT] = "limit", [BEFORE] = "before", [QUERY_COUNT] = NULL};

int
hb_hold_query(struct hb_control *control, uint64_t hold, union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame, HB_OP_HOLD_QUERY, sizeof(frame.head), hold, 0);
	return hb_engine_ask(control, &frame, answer);
}

int
hb_order_query(
	struct hb_control *control, uint64_t account, uint64_t stamp, union hb_any_reply *answer)
{
	union hb_any_frame frame;

	hb_frame_begin(&frame, HB_OP_ORDER_QUERY, sizeof(frame.order), account, 0);
	frame.order.order_stamp = stamp;
	return hb_engine_ask(control, &frame, answer);
}

json_t *
hb_hold_json(const struct hb_reply_hold *hold)
{
	char id[HB_PACKET_ID_TEXT_BYTES];
	json_t *json;

	hb_packet_id_format(id, hold->head.id);
	json = json_pack("{s:s,s:I,s:I,s:s,s:s,s:I,s:s,s:I,s:I,s:I}", "hold", id, "account",
		(json_int_t)hold->account, "amount_fen", (json_int_t)hold->head.amount_fen, "state",
		hb_hold_state_name(hold->state), "kind", hb_hold_reason_name(hold->reason),
		"deadline_ms", (json_int_t)hold->deadline_ms, "order_state",
		hb_order_state_name(hold->order_state), "day", (json_int_t)hold->day, "day_count",
		(json_int_t)hold->day_count, "day_fen", (json_int_t)hold->day_fen);
	HB_ASSERT(json);
	return json;
}

void
hb_hold_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	union hb_any_reply answer;
	uint64_t hold;
	json_t *json;
	int http = 200;

	if (!hb_hold_id_parse(request->parameter[0], &hold)) {
		hb_http_error(reply, 400, "bad_request",
			"the hold id is not 16 hexadecimal digits in lower case beginning with 02");
		return;
	}
	json = hb_outcome_json(hb_hold_query(request->context, hold, &answer), &answer.head, &http);
	if (!json)
		json = json_pack("{s:s,s:o,s:I}", "status", "ok", "hold",
			hb_hold_json(&answer.hold), "as_of_seq", (json_int_t)answer.head.as_of_seq);
	hb_http_json(reply, http, json);
}

/* ---- the holds of an account ---- */

struct found {
	struct hb_order_row row[LIMIT_MAX + 1];
	uint32_t count;
};

static int
keep_row(void *context, const void *row)
{
	struct found *found = context;

	HB_ASSERT(found->count <= LIMIT_MAX);
	found->row[found->count++] = *(const struct hb_order_row *)row;
	return 0;
}

/* @return the hold of an order, or NULL when the engine does not have it in memory */
static json_t *
hold_of(struct hb_control *control, const struct hb_order_row *row)
{
	char text[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_order_number number;
	union hb_any_reply answer;

	memcpy(text, row->order_no, HB_ORDER_NUMBER_LENGTH);
	text[HB_ORDER_NUMBER_LENGTH] = '\0';
	if (!hb_order_number_parse(text, &number) ||
		hb_order_query(control, row->account, number.stamp, &answer) != 0 ||
		answer.head.status != HB_STATUS_OK || answer.order.hold_id == 0 ||
		hb_hold_query(control, answer.order.hold_id, &answer) != 0 ||
		answer.head.status != HB_STATUS_OK)
		return NULL;
	return hb_hold_json(&answer.hold);
}

static json_t *
item_json(struct hb_control *control, const struct hb_order_row *row)
{
	json_t *hold = hold_of(control, row);

	return json_pack("{s:s%,s:I,s:s,s:s,s:I,s:I,s:o}", "order_no", row->order_no,
		sizeof(row->order_no), "account", (json_int_t)row->account, "business",
		hb_business_name(row->business), "state", hb_order_state_name(row->state),
		"amount_fen", (json_int_t)row->amount_fen, "at_ms", (json_int_t)row->at_ms, "hold",
		hold ? hold : json_null());
}

/* @return false: refused */
static bool
read_query(const struct hb_http_request *request, struct hb_read_parameters *parameters,
	struct hb_http_reply *reply)
{
	char values[QUERY_COUNT][HB_HTTP_QUERY_VALUE_MAX + 1];
	uint64_t limit = LIMIT_DEFAULT;

	if (!hb_http_query(request, reply, query_names, values))
		return false;
	if (!hb_account_parse(values[ACCOUNT], &parameters->account)) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter account must be an account number");
		return false;
	}
	if (values[LIMIT][0] && (!hb_decimal_parse(values[LIMIT], LIMIT_MAX, &limit) || !limit)) {
		hb_http_error(reply, 400, "bad_request", "query parameter limit must be in 1..%d",
			LIMIT_MAX);
		return false;
	}
	if (!hb_order_cursor_read(values[BEFORE], parameters)) {
		hb_http_error(reply, 400, "bad_request",
			"query parameter before must be the \"next\" of the page before");
		return false;
	}
	parameters->limit = (uint32_t)limit + 1;
	return true;
}

static json_t *
list_json(struct hb_control *control, const struct found *found, uint32_t limit, uint64_t as_of_seq)
{
	bool more = found->count > limit;
	uint32_t shown = more ? limit : found->count;
	char next[HB_HTTP_QUERY_VALUE_MAX + 1];
	json_t *items = json_array();

	for (uint32_t i = 0; i < shown; i++)
		json_array_append_new(items, item_json(control, &found->row[i]));
	if (more)
		hb_order_cursor_format(next, &found->row[shown - 1]);
	return json_pack("{s:s,s:o,s:o,s:I}", "status", "ok", "items", items, "next",
		more ? json_string(next) : json_null(), "as_of_seq", (json_int_t)as_of_seq);
}

void
hb_hold_list(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct hb_control *control = request->context;
	struct hb_read_parameters parameters = {.account = 0};
	char error[HB_READS_ERROR_BYTES] = "";
	struct found found = {.count = 0};
	struct hb_order_row row;
	struct hb_read *read = NULL;
	uint64_t as_of_seq = 0;
	uint32_t shard;
	int result;

	if (!read_query(request, &parameters, reply))
		return;
	shard = hb_partition_of(parameters.account);
	result = hb_read_begin(control->reads, shard, 0, &read, error);
	if (result == 0)
		result = hb_read_query(
			read, HB_READ_HOLDS, shard, &parameters, &row, keep_row, &found, error);
	if (result == 0)
		as_of_seq = hb_read_as_of_seq(read);
	hb_read_end(read);
	if (result != 0)
		hb_mysql_away(reply);
	else
		hb_http_json(
			reply, 200, list_json(control, &found, parameters.limit - 1, as_of_seq));
}
