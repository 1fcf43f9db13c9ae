/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API of business systems: every request is signed (signature.h), then a command
 * (commands.h) or a look-up. Nothing is kept between requests but nonces.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "controlplane/asked_tokens.h"
#include "controlplane/commands.h"
#include "controlplane/order_pages.h"
#include "shm/ids.h"

#define ASKED_LIMIT_DEFAULT 100

/* @return the id of the caller's key, or NULL with the refusal in `reply` */
static const char *
signed_by(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	const struct hb_signed_request what = {.method = request->method,
		.uri = request->uri,
		.key_id = hb_http_header(request, "X-HB-Key"),
		.timestamp = hb_http_header(request, "X-HB-Timestamp"),
		.nonce = hb_http_header(request, "X-HB-Nonce"),
		.signature = hb_http_header(request, "X-HB-Signature"),
		.body = request->body,
		.body_bytes = request->body_bytes};
	enum hb_signature_result result =
		hb_signature_check(&control->signatures, &what, hb_wall_ns() / 1000000000);

	if (result == HB_SIGNATURE_OK)
		return what.key_id;
	if (result == HB_SIGNATURE_BUSY)
		hb_http_error(reply, 503, "busy", "%s", hb_signature_message(result));
	else
		hb_http_error(reply, 401, "unauthorized", "%s", hb_signature_message(result));
	return NULL;
}

static void
run_signed(const struct hb_command *command, const struct hb_http_request *request,
	struct hb_http_reply *reply)
{
	const char *key_id = signed_by(request, reply);

	if (key_id)
		hb_command_run(command, key_id, request, reply);
}

void
hb_business_accounts(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	run_signed(&hb_command_account_open, request, reply);
}

void
hb_business_credits(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	run_signed(&hb_command_credit, request, reply);
}

void
hb_business_packets(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	run_signed(&hb_command_packet_create, request, reply);
}

void
hb_business_tokens(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	run_signed(&hb_command_token_issue, request, reply);
}

void
hb_admin_tokens(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	hb_command_run(&hb_command_token_issue, "", request, reply);
}

void
hb_business_account_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	if (signed_by(request, reply))
		hb_account_get(request, reply);
}

void
hb_business_packet_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	if (signed_by(request, reply))
		hb_packet_get(request, reply);
}

void
hb_business_order_get(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	if (signed_by(request, reply))
		hb_order_get(request, reply, 0);
}

void
hb_business_orders(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	if (signed_by(request, reply))
		hb_order_pages(request, reply);
}

/* ---- tokens that users asked for ---- */

static void
append_token(void *items, const struct hb_reply_token *token)
{
	json_array_append_new(items, hb_token_json(token));
}

void
hb_business_tokens_asked(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	static const char *const names[] = {"limit", NULL};
	char values[1][HB_HTTP_QUERY_VALUE_MAX + 1];
	uint64_t limit = ASKED_LIMIT_DEFAULT;
	const struct hb_control *control = request->context;
	json_t *items;
	int taken;

	if (!signed_by(request, reply) || !hb_http_query(request, reply, names, values))
		return;
	if (values[0][0] && (!hb_decimal_parse(values[0], HB_ITEMS_MAX, &limit) || limit == 0)) {
		hb_http_error(reply, 400, "bad_request", "query parameter limit must be in 1..%d",
			HB_ITEMS_MAX);
		return;
	}
	items = json_array();
	taken = hb_asked_tokens_take(control->engine, (uint32_t)limit, append_token, items);
	if (taken < 0) {
		json_decref(items);
		hb_http_error(reply, 503, "unavailable",
			"the engine cannot be reached; nothing was handed over; ask again");
		return;
	}
	hb_http_json(reply, 200, json_pack("{s:s,s:o}", "status", "ok", "items", items));
}
