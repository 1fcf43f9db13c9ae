/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evicted packets and orders (old_packet.h). Rows become the same structure that the engine's reply
 * is, so there is one way to JSON. If the process dies, callers ask again.
 */
#include "controlplane/old_packet.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "controlplane/degrade.h"
#include "controlplane/json_fields.h"
#include "shm/ids.h"
#include "shm/order_number.h"

#define GROUP_MAX ((UINT64_C(1) << 53) - 1)

static int
keep_packet(void *context, const void *row)
{
	*(struct hb_old_packet_row *)context = *(const struct hb_old_packet_row *)row;
	return 0;
}

static int
keep_claim(void *context, const void *data)
{
	struct hb_reply_detail *d = context;
	const struct hb_claim_row *row = data;

	if (d->head.count == HB_DETAIL_CLAIMS_MAX) {
		d->head.flags |= HB_REPLY_MORE;
		return 0;
	}
	d->claims[d->head.count].user = row->account;
	d->claims[d->head.count].amount_fen = row->amount_fen;
	d->claims[d->head.count].time_ms = row->at_ms;
	d->head.count++;
	return 0;
}

static int
keep_share(void *context, const void *row)
{
	*(uint32_t *)context = ((const struct hb_claim_row *)row)->share;
	return 0;
}

static bool
is_addressed(const struct hb_old_packet_row *packet, const struct hb_viewer *viewer)
{
	if (viewer->trusted || viewer->user == packet->sender)
		return true;
	if (packet->kind == HB_PACKET_NORMAL)
		return viewer->user == packet->recipient;
	return viewer->group != 0 && viewer->group == packet->group_id;
}

static void
fill_detail(struct hb_reply_detail *d, const struct hb_old_packet_row *row)
{
	d->head.id = row->packet;
	d->head.amount_fen = row->share_min_fen;
	d->head.other_fen = row->share_max_fen;
	d->sender = row->sender;
	d->group = row->group_id;
	d->recipient = row->recipient;
	d->total_fen = row->total_fen;
	d->left_fen = row->left_fen;
	d->refunded_fen = row->refunded_fen;
	d->created_ms = row->created_ms;
	d->deadline_ms = row->deadline_ms;
	d->share_count = row->share_count;
	d->taken_count = row->share_count - row->left_count;
	d->luckiest_index = UINT32_MAX;
	d->state = row->state;
	d->kind = row->kind;
	d->algorithm = row->algorithm;
	d->greeting_length = (uint8_t)strnlen(row->greeting, HB_GREETING_BYTES_MAX);
	memcpy(d->greeting, row->greeting, d->greeting_length);
	memcpy(d->commitment, row->commitment, sizeof(d->commitment));
	if (row->state != HB_PACKET_OPEN)
		memcpy(d->seed, row->seed, sizeof(d->seed));
}

/* The rows of one packet at one cut. @return 0 with d->head.status, or the read's error */
static int
read_detail(struct hb_read *read, const struct hb_viewer *viewer,
	struct hb_read_parameters *parameters, struct hb_reply_detail *d,
	char error[HB_READS_ERROR_BYTES])
{
	uint32_t shard = hb_partition_of(parameters->packet);
	struct hb_old_packet_row packet = {0}, packet_row;
	struct hb_claim_row row;
	uint32_t share = UINT32_MAX;
	int result = hb_read_query(
		read, HB_READ_PACKET, shard, parameters, &packet_row, keep_packet, &packet, error);

	d->head.status = packet.packet == 0 ? HB_STATUS_PACKET_GONE : HB_STATUS_OK;
	if (result != 0 || packet.packet == 0)
		return result;
	if (!is_addressed(&packet, viewer)) {
		parameters->account = viewer->user;
		result = hb_read_query(
			read, HB_READ_CLAIM_OF, shard, parameters, &row, keep_share, &share, error);
		d->head.status = share == UINT32_MAX ? HB_STATUS_NOT_MEMBER : HB_STATUS_OK;
	}
	if (result != 0 || d->head.status != HB_STATUS_OK)
		return result;
	fill_detail(d, &packet);
	parameters->limit = HB_DETAIL_CLAIMS_MAX + 1;
	result = hb_read_query(read, HB_READ_CLAIMS, shard, parameters, &row, keep_claim, d, error);
	if (result == 0 && d->state != HB_PACKET_OPEN && d->share_count > 1)
		result = hb_read_query(read, HB_READ_LUCKIEST, shard, parameters, &row, keep_share,
			&d->luckiest_index, error);
	return result;
}

static void
answer_detail(const union hb_any_reply *answer, struct hb_http_reply *reply)
{
	int http = 200;
	json_t *json = hb_outcome_json(0, &answer->head, &http);

	if (!json)
		json = hb_detail_json(&answer->detail);
	if (json)
		hb_http_json(reply, http, json);
	else
		hb_http_error(reply, 500, "internal", "the packet's greeting is not UTF-8");
}

void
hb_old_packet_answer(struct hb_control *control, uint64_t packet, uint32_t after,
	const struct hb_viewer *viewer, struct hb_http_reply *reply)
{
	struct hb_read_parameters parameters = {.packet = packet, .share_first = after};
	char error[HB_READS_ERROR_BYTES] = "";
	union hb_any_reply answer;
	struct hb_read *read = NULL;
	int result;

	memset(&answer, 0, sizeof(answer));
	result = hb_read_begin(control->reads, hb_partition_of(packet), 0, &read, error);
	if (result == 0)
		result = read_detail(read, viewer, &parameters, &answer.detail, error);
	if (result == 0) {
		answer.head.as_of_seq = hb_read_as_of_seq(read);
		answer_detail(&answer, reply);
	} else {
		hb_http_error(reply, 503, "mysql_unavailable",
			"the packet is over and comes from MySQL, which does not answer now; ask "
			"again later");
	}
	hb_read_end(read);
}

/* The front verified the user, and vouches for the group. */
static bool
viewer_of(const struct hb_http_request *request, struct hb_viewer *viewer)
{
	const char *user = hb_http_header(request, "X-Hongbao-User");
	const char *group = hb_http_header(request, "X-Hongbao-Group");

	*viewer = (struct hb_viewer){0};
	if (!user || !hb_account_parse(user, &viewer->user))
		return false;
	if (group && !hb_decimal_parse(group, GROUP_MAX, &viewer->group))
		viewer->group = 0;
	return true;
}

void
hb_old_packet_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	static const char *const names[] = {"after", "group", NULL};
	char values[2][HB_HTTP_QUERY_VALUE_MAX + 1];
	struct hb_viewer viewer;
	uint64_t packet;
	uint64_t after;

	if (!viewer_of(request, &viewer)) {
		hb_http_error(reply, 401, "unauthorized", "the front did not verify a user");
		return;
	}
	if (!viewer.trusted && hb_degrade_no_lists(request->context, reply))
		return;
	if (!hb_packet_request_read(request, reply, names, values, &packet, &after))
		return;
	hb_old_packet_answer(request->context, packet, (uint32_t)after, &viewer, reply);
}

/* ---- orders ---- */

static int
keep_order(void *context, const void *row)
{
	*(struct hb_order_row *)context = *(const struct hb_order_row *)row;
	return 0;
}

/* @return 0 with *order (account 0: not there), or the read's error */
static int
read_order(struct hb_control *control, const char *number, uint64_t account,
	struct hb_order_row *order)
{
	struct hb_read_parameters parameters = {0};
	char error[HB_READS_ERROR_BYTES] = "";
	struct hb_read *read = NULL;
	struct hb_order_row row;
	int result;

	memcpy(parameters.order_no, number, sizeof(parameters.order_no));
	result = hb_read_begin(control->reads, hb_partition_of(account), 0, &read, error);
	if (result == 0)
		result = hb_read_query(read, HB_READ_ORDER, hb_partition_of(account), &parameters,
			&row, keep_order, order, error);
	hb_read_end(read);
	return result;
}

static bool
is_final(uint8_t state)
{
	return state == HB_ORDER_DONE || state == HB_ORDER_FAILED || state == HB_ORDER_INVALID;
}

int
hb_old_order_load(
	struct hb_control *control, uint32_t business, uint64_t account, uint64_t order_stamp)
{
	char number[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_order_row order = {.account = 0};
	union hb_any_frame frame;
	union hb_any_reply answer;

	hb_order_number_format(number, business, (uint32_t)control->config->node_number,
		hb_partition_of(account), account, order_stamp);
	if (read_order(control, number, account, &order) != 0)
		return -EIO;
	if (order.account != account || !is_final(order.state))
		return -ENOENT;
	hb_frame_begin(&frame, HB_OP_ORDER_LOAD, sizeof(frame.order_load), account, 0);
	frame.order_load.order_stamp = order_stamp;
	frame.order_load.amount_fen = order.amount_fen;
	frame.order_load.settled_fen = order.state == HB_ORDER_DONE ? order.amount_fen : 0;
	frame.order_load.business = order.business;
	if (hb_is_system_account(order.peer))
		frame.order_load.channel = (uint16_t)(order.peer & 0xff);
	frame.order_load.state = order.state;
	if (hb_engine_call_one(control->engine, &frame.head, &answer.head, sizeof(answer),
		    HB_ENGINE_TIMEOUT_MS) != 0)
		return -EIO;
	hb_log(HB_LOG_INFO, "order_loaded", "order=%s status=%s", number,
		hb_status_name(answer.head.status));
	return answer.head.status == HB_STATUS_OK ? 0 : -ENOENT;
}
