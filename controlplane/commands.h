/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Commands that come as JSON, singly or up to HB_ITEMS_MAX in {"items":[…]}: what each reads into
 * a frame and what it answers. All items of a request are in flight at once.
 *
 * A request is refused as a whole, before anything is done, when one item is malformed. After
 * that each item has its own outcome. Items answered busy are sent again for a while, as nothing
 * was done. Used by business_api.c (signed) and admin_api.c (operators, whose items may each have
 * a "key" of their own in the place of the Idempotency-Key).
 */
#ifndef HB_CONTROLPLANE_COMMANDS_H
#define HB_CONTROLPLANE_COMMANDS_H

#include "controlplane/engine_json.h"
#include "controlplane/json_fields.h"

#define HB_ITEMS_MAX 1000

struct hb_command {
	int http_done;	     /* of a single item that is ok */
	bool keyed;	     /* needs an Idempotency-Key */
	uint32_t key_offset; /* of the 16-byte key in the frame, when keyed */
	/* Read the fields of one item into a frame. */
	void (*read)(struct hb_fields *fields, union hb_any_frame *frame);
	/* A second frame that follows when the first was ok; NULL: none. Changes the frame. */
	void (*then)(union hb_any_frame *frame, const struct hb_reply *reply);
	/* Of the order that the second frame is about: it may have been evicted. 0: none */
	uint32_t order_business;
	/* The answer of an item that is ok. */
	json_t *(*answer)(const struct hb_control *control, const union hb_any_frame *frame,
		const struct hb_reply *reply);
};

extern const struct hb_command hb_command_account_open;
extern const struct hb_command hb_command_credit;
extern const struct hb_command hb_command_packet_create;
extern const struct hb_command hb_command_token_issue;

/**
 * Run a request.
 * @param key_id whose Idempotency-Key it is: the business key, or "" for the operator
 */
void hb_command_run(const struct hb_command *command, const char *key_id,
	const struct hb_http_request *request, struct hb_http_reply *reply);

/** A money token as JSON: text, first sequence less one, whose it is and for what. */
json_t *hb_token_json(const struct hb_reply_token *token);

#endif
