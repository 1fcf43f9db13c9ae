/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Between the engine's frames and the JSON of the HTTP APIs: frame heads, outcomes as
 * {"status":…,"message":…}, packet details, names of enumerations.
 */
#ifndef HB_CONTROLPLANE_ENGINE_JSON_H
#define HB_CONTROLPLANE_ENGINE_JSON_H

#include <stdint.h>

#include <jansson.h>

#include "controlplane/control.h"
#include "shm/frame.h"

union hb_any_frame {
	struct hb_frame head;
	struct hb_frame_packet_create packet_create;
	struct hb_frame_detail detail;
	struct hb_frame_token token;
	struct hb_frame_account_open account_open;
	struct hb_frame_order order;
	struct hb_frame_order_load order_load;
	struct hb_frame_account_freeze account_freeze;
	struct hb_frame_hold hold;
	struct hb_frame_hold_exit hold_exit;
	struct hb_frame_order_update order_update;
	struct hb_frame_adjust adjust;
	struct hb_frame_degrade degrade;
};

union hb_any_reply {
	struct hb_reply head;
	struct hb_reply_order order;
	struct hb_reply_detail detail;
	struct hb_reply_hold hold;
	uint8_t bytes[HB_REPLY_BYTES_MAX];
};

#define HB_PACKET_ID_TEXT_BYTES 17

/** Zero a frame and set operation, length, target and user. */
void hb_frame_begin(union hb_any_frame *frame, enum hb_operation operation, uint16_t length,
	uint64_t target, uint64_t user);

void hb_packet_id_format(char text[HB_PACKET_ID_TEXT_BYTES], uint64_t packet);

/**
 * The outcome of a call that is not "ok", as an object.
 * @param error as hb_engine_call.error
 * @param http set to the HTTP code
 * @return a new object, or NULL when the call is ok
 */
json_t *hb_outcome_json(int error, const struct hb_reply *reply, int *http);

/** Send one frame and answer with the outcome when it is not ok. @return true when it is ok */
bool hb_call_or_answer(struct hb_control *control, union hb_any_frame *frame,
	union hb_any_reply *answer, struct hb_http_reply *reply);

/** Send one frame. @return as hb_engine_call.error, the answer zero where nothing came */
int hb_engine_ask(
	struct hb_control *control, union hb_any_frame *frame, union hb_any_reply *answer);

/**
 * Run an operation on every partition.
 * @param as_of_seq the newest sequence of the replies
 * @return true when every partition said ok; else the reply is made
 */
bool hb_call_all_partitions(struct hb_control *control, enum hb_operation operation,
	uint64_t *as_of_seq, struct hb_http_reply *reply);

/**
 * The packet of a request's path and, of its query, the number of the first claim wanted.
 * @param names of the query's parameters; the first is "after"
 * @param values filled, one for each name
 * @return true; else the reply is made
 */
bool hb_packet_request_read(const struct hb_http_request *request, struct hb_http_reply *reply,
	const char *const names[], char values[][HB_HTTP_QUERY_VALUE_MAX + 1], uint64_t *packet,
	uint64_t *after);

/**
 * A packet's detail, with the same members as the front's GET /v1/packets/{id}.
 * @return NULL when the greeting is not UTF-8
 */
json_t *hb_detail_json(const struct hb_reply_detail *detail);

/** Names of enumerations in JSON; "unknown" for other numbers. */
const char *hb_hold_state_name(uint32_t state);
const char *hb_hold_reason_name(uint32_t reason);
const char *hb_system_account_name(uint32_t which);

#endif
