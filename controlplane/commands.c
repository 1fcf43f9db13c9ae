/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs commands (commands.h). The frames and replies of a request are in one allocation that lives
 * as long as the request. If the process dies in the middle, the caller repeats the request with
 * its Idempotency-Key and meets what was done.
 */
#include "controlplane/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "controlplane/idempotency_key.h"
#include "controlplane/old_packet.h"

#define BUSY_ROUNDS_MAX 20
#define BUSY_PAUSE_MS	5

union short_reply {
	struct hb_reply head;
	uint8_t bytes[128]; /* TOKEN_ISSUE has the longest */
};

struct item {
	union hb_any_frame frame;
	union short_reply reply;
	int error;
	bool over; /* has the outcome it will be answered with */
};

struct run {
	struct hb_control *control;
	const struct hb_command *command;
	const char *key_id;
	const char *key_text; /* "" when the command is not keyed */
	struct item *items;
	struct hb_engine_call *calls;
	uint32_t count;
	bool batch;
};

/* ---- reading ---- */

/* The array of a request {"items":[…]}, NULL for a single one. @return false: refused */
static bool
find_items(const json_t *document, const json_t **items, struct hb_http_reply *reply)
{
	*items = json_object_get(document, "items");
	if (!*items)
		return true;
	if (json_object_size(document) != 1) {
		hb_http_error(reply, 400, "bad_request",
			"items: must be the only field of a request that has it");
		return false;
	}
	if (!json_is_array(*items) || json_array_size(*items) < 1 ||
		json_array_size(*items) > HB_ITEMS_MAX) {
		hb_http_error(reply, 400, "bad_request", "items: must be an array of 1..%d objects",
			HB_ITEMS_MAX);
		return false;
	}
	return true;
}

/*
 * The key of an item: its number under the request's key, or for operators, who bring rows of a
 * file in any portions, a key of its own, which is then that of a request with this item alone.
 */
static void
read_item_key(const struct run *run, struct hb_fields *fields, const char **key, uint32_t *number)
{
	const char *text;
	size_t length;

	if (!run->command->keyed)
		return;
	if (run->batch && run->key_id[0] == '\0' &&
		hb_field_text_optional(fields, "key", HB_IDEMPOTENCY_TEXT_MAX, &text, &length) &&
		text[0] != '\0') {
		if (strlen(text) != length || !hb_idempotency_text_valid(text))
			hb_fields_refuse(fields, "key", "must be 1..%d visible ASCII characters",
				HB_IDEMPOTENCY_TEXT_MAX);
		*key = text;
		*number = 0;
	} else if (run->key_text[0] == '\0') {
		hb_fields_refuse(fields, "key", "is required in a request without Idempotency-Key");
	}
}

static bool
read_item(struct run *run, uint32_t number, const json_t *object, struct hb_http_reply *reply)
{
	struct hb_fields fields;
	union hb_any_frame *frame = &run->items[number].frame;
	const char *key = run->key_text;
	uint32_t key_number = number;

	hb_fields_begin(&fields, object, run->batch ? (int)number : -1);
	if (fields.error[0] == '\0')
		run->command->read(&fields, frame);
	if (fields.error[0] == '\0')
		read_item_key(run, &fields, &key, &key_number);
	if (!hb_fields_end(&fields)) {
		hb_http_error(reply, 400, "bad_request", "%s", fields.error);
		return false;
	}
	if (run->command->keyed && hb_idempotency_key((uint8_t *)frame + run->command->key_offset,
					   run->key_id, key, key_number) != 0) {
		hb_http_error(reply, 500, "internal", "the key cannot be derived");
		return false;
	}
	return true;
}

static bool
read_all(struct run *run, const json_t *document, struct hb_http_reply *reply)
{
	const json_t *items;

	if (!find_items(document, &items, reply))
		return false;
	run->batch = items != NULL;
	run->count = items ? (uint32_t)json_array_size(items) : 1;
	run->items = calloc(run->count, sizeof(*run->items));
	run->calls = calloc(run->count, sizeof(*run->calls));
	if (!run->items || !run->calls) {
		hb_http_error(reply, 503, "busy", "no memory for the request; ask again");
		return false;
	}
	for (uint32_t i = 0; i < run->count; i++) {
		if (!read_item(run, i, items ? json_array_get(items, i) : document, reply))
			return false;
	}
	return true;
}

/* ---- sending ---- */

static bool
is_busy(const struct item *item)
{
	return item->error == 0 && item->reply.head.status == HB_STATUS_BUSY;
}

static bool
is_ok(const struct item *item)
{
	return item->error == 0 && item->reply.head.status == HB_STATUS_OK;
}

/* Send the items that are not over. @return how many were answered busy */
static uint32_t
send_round(struct run *run, uint64_t until_ns)
{
	uint64_t now_ns = hb_mono_ns();
	uint32_t count = 0;
	uint32_t busy = 0;

	for (uint32_t i = 0; i < run->count; i++) {
		struct item *item = &run->items[i];

		if (!item->over)
			run->calls[count++] = (struct hb_engine_call){.frame = &item->frame.head,
				.reply = &item->reply.head,
				.reply_room = sizeof(item->reply)};
	}
	hb_engine_call_many(run->control->engine, run->calls, count,
		until_ns > now_ns ? (uint32_t)((until_ns - now_ns) / 1000000) + 1 : 1);
	count = 0;
	for (uint32_t i = 0; i < run->count; i++) {
		struct item *item = &run->items[i];

		if (item->over)
			continue;
		item->error = run->calls[count++].error;
		item->over = !is_busy(item);
		busy += !item->over;
	}
	return busy;
}

static void
send_all(struct run *run)
{
	const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000};
	uint64_t until_ns = hb_mono_ns() + HB_ENGINE_TIMEOUT_MS * UINT64_C(1000000);

	for (int round = 0; send_round(run, until_ns) > 0; round++) {
		if (round == BUSY_ROUNDS_MAX || hb_mono_ns() >= until_ns)
			break;
		nanosleep(&pause, NULL);
	}
}

/*
 * A command repeated after its order was evicted: the key is still known, the order is not. It is
 * brought back from MySQL and the second frame sent again, which then meets what was done.
 */
static void
bring_back_orders(struct run *run)
{
	bool any = false;

	for (uint32_t i = 0; i < run->count; i++) {
		struct item *item = &run->items[i];

		if (item->error != 0 || item->reply.head.status != HB_STATUS_ORDER_UNKNOWN ||
			hb_old_order_load(run->control, run->command->order_business,
				item->frame.head.target, item->frame.order.order_stamp) != 0)
			continue;
		item->over = false;
		any = true;
	}
	if (any)
		send_all(run);
}

/* The second frame of those whose first was ok; the others keep their outcome. */
static void
send_then(struct run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		struct item *item = &run->items[i];

		item->over = !is_ok(item);
		if (!item->over)
			run->command->then(&item->frame, &item->reply.head);
	}
	send_all(run);
	if (run->command->order_business != 0)
		bring_back_orders(run);
}

/* ---- answering ---- */

static json_t *
answer_item(const struct run *run, const struct item *item, int *http)
{
	json_t *json = hb_outcome_json(item->error, &item->reply.head, http);

	if (json)
		return json;
	*http = run->command->http_done;
	json = run->command->answer(run->control, &item->frame, &item->reply.head);
	HB_ASSERT(json);
	return json;
}

static void
answer_all(const struct run *run, struct hb_http_reply *reply)
{
	json_t *answers;
	uint32_t unsent = 0;
	int http = 200;

	for (uint32_t i = 0; i < run->count; i++)
		unsent += run->items[i].error == -EAGAIN;
	/* Nothing of it was done: one outcome for all, which the caller can retry by its code. */
	if (!run->batch || unsent == run->count) {
		json_t *json = answer_item(run, &run->items[0], &http);

		hb_http_json(reply, http, json);
		return;
	}
	answers = json_array();
	for (uint32_t i = 0; i < run->count; i++)
		json_array_append_new(answers, answer_item(run, &run->items[i], &http));
	hb_http_json(reply, 200, json_pack("{s:o}", "items", answers));
}

static bool
take_key(struct run *run, const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const char *text = hb_http_header(request, "Idempotency-Key");

	run->key_text = text ? text : "";
	if (text && !hb_idempotency_text_valid(text)) {
		hb_http_error(reply, 400, "bad_request",
			"Idempotency-Key must be 1..%d visible ASCII characters",
			HB_IDEMPOTENCY_TEXT_MAX);
		return false;
	}
	if (!text && run->command->keyed && run->key_id[0] != '\0') {
		hb_http_error(reply, 400, "bad_request",
			"Idempotency-Key: the header is required, so that a retry is safe");
		return false;
	}
	return true;
}

void
hb_command_run(const struct hb_command *command, const char *key_id,
	const struct hb_http_request *request, struct hb_http_reply *reply)
{
	struct run run = {.control = request->context, .command = command, .key_id = key_id};
	char error[HB_FIELDS_ERROR_BYTES];
	json_t *document = NULL;

	if (!take_key(&run, request, reply))
		return;
	document = hb_json_parse(request->body, request->body_bytes, error);
	if (!document) {
		hb_http_error(reply, 400, "bad_request", "%s", error);
		return;
	}
	if (!read_all(&run, document, reply))
		goto out;
	send_all(&run);
	if (command->then)
		send_then(&run);
	answer_all(&run, reply);
out:
	free(run.items);
	free(run.calls);
	json_decref(document);
}
