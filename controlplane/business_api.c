/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API of business systems: every request is signed (signature.h), then a command
 * (commands.h) or a look-up. Nothing is kept between requests but nonces.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
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

union take_reply {
	struct hb_reply head;
	uint8_t bytes[sizeof(struct hb_reply) +
		      HB_TOKENS_PER_REPLY_MAX * sizeof(struct hb_reply_token) + 64];
};

struct taking {
	union hb_any_frame frames[HB_PARTITION_COUNT];
	union take_reply replies[HB_PARTITION_COUNT];
	struct hb_engine_call calls[HB_PARTITION_COUNT];
	uint32_t partition[HB_PARTITION_COUNT]; /* of call i */
	bool dry[HB_PARTITION_COUNT];
};

static void
append_tokens(json_t *items, const struct hb_reply *reply)
{
	uint32_t room =
		(uint32_t)((reply->length - sizeof(*reply)) / sizeof(struct hb_reply_token));

	for (uint32_t i = 0; i < reply->count && i < room; i++) {
		struct hb_reply_token token;

		memcpy(&token, (const uint8_t *)(reply + 1) + i * sizeof(token), sizeof(token));
		json_array_append_new(items, hb_token_json(&token));
	}
}

/*
 * Take from up to `count` partitions that may have more. Taken tokens are handed over whatever the
 * other partitions say. @return calls that failed
 */
static uint32_t
take_round(struct hb_control *control, struct taking *t, uint32_t count, json_t *items,
	uint32_t *called)
{
	uint32_t failed = 0;
	uint32_t calls = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT && calls < count; i++) {
		if (t->dry[i])
			continue;
		hb_frame_begin(&t->frames[calls], HB_OP_TOKEN_TAKE, sizeof(struct hb_frame),
			hb_system_account(HB_SYSTEM_FEES, i), 0);
		t->calls[calls] = (struct hb_engine_call){.frame = &t->frames[calls].head,
			.reply = &t->replies[calls].head,
			.reply_room = sizeof(t->replies[calls])};
		t->partition[calls++] = i;
	}
	hb_engine_call_many(control->engine, t->calls, calls, HB_ENGINE_TIMEOUT_MS);
	for (uint32_t i = 0; i < calls; i++) {
		const struct hb_reply *reply = &t->replies[i].head;
		bool ok = t->calls[i].error == 0 && reply->status == HB_STATUS_OK;

		failed += !ok;
		t->dry[t->partition[i]] = !ok || !(reply->flags & HB_REPLY_MORE);
		if (ok)
			append_tokens(items, reply);
	}
	*called = calls;
	return failed;
}

void
hb_business_tokens_asked(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	static const char *const names[] = {"limit", NULL};
	char values[1][HB_HTTP_QUERY_VALUE_MAX + 1];
	uint64_t limit = ASKED_LIMIT_DEFAULT;
	struct taking *taking;
	json_t *items;
	uint32_t failed = 0;
	uint32_t called = 1;

	if (!signed_by(request, reply) || !hb_http_query(request, reply, names, values))
		return;
	if (values[0][0] && (!hb_decimal_parse(values[0], HB_ITEMS_MAX, &limit) || limit == 0)) {
		hb_http_error(reply, 400, "bad_request", "query parameter limit must be in 1..%d",
			HB_ITEMS_MAX);
		return;
	}
	taking = calloc(1, sizeof(*taking));
	items = json_array();
	while (taking && items && called > 0 && failed == 0 && json_array_size(items) < limit) {
		uint32_t left = (uint32_t)(limit - json_array_size(items));

		failed = take_round(request->context, taking,
			(left + HB_TOKENS_PER_REPLY_MAX - 1) / HB_TOKENS_PER_REPLY_MAX, items,
			&called);
	}
	free(taking);
	if (failed && json_array_size(items) == 0) {
		json_decref(items);
		hb_http_error(reply, 503, "unavailable",
			"the engine cannot be reached; nothing was handed over; ask again");
		return;
	}
	hb_http_json(reply, 200, json_pack("{s:s,s:o}", "status", "ok", "items", items));
}
