/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Between HTTP and frames: a verified user's request becomes one frame, the frame's reply becomes
 * one JSON answer.
 *
 * Plain C without nginx, without input or output and without state, so that it can be tested and
 * fuzzed alone. Everything from outside is refused with a message that names the field. All memory
 * belongs to the caller; dying in here leaves nothing behind. Any thread.
 */
#ifndef HB_FRONT_GATEWAY_H
#define HB_FRONT_GATEWAY_H

#include <stddef.h>
#include <stdint.h>

#include "front/jwt.h"
#include "shm/frame.h"

#define HB_BODY_BYTES_MAX   4096
#define HB_ANSWER_BYTES_MAX 8192 /* a detail of 24 claims with an escaped greeting needs 5000 */

enum hb_method {
	HB_METHOD_OTHER,
	HB_METHOD_GET,
	HB_METHOD_POST,
};

enum hb_route {
	HB_ROUTE_HEALTH,
	HB_ROUTE_PACKET_SEND,
	HB_ROUTE_PACKET_GRAB,
	HB_ROUTE_PACKET_DETAIL,
	HB_ROUTE_BALANCE,
	HB_ROUTE_TOKEN_ASK,
	HB_ROUTE_TRANSFER,
	HB_ROUTE_COUNT, /* not a route */
};

/* What must be remembered of a request until its reply comes. */
struct hb_call {
	enum hb_route route;
	uint64_t packet; /* of the path, 0 = none */
	uint64_t user;	 /* filled by hb_gateway_frame */
	uint64_t to;	 /* TRANSFER: filled by hb_gateway_frame */
};

/* Room for the largest frame. */
union hb_any_frame {
	struct hb_frame head;
	struct hb_frame_packet_create create;
	struct hb_frame_transfer transfer;
	struct hb_frame_detail detail;
	struct hb_frame_token token;
};
_Static_assert(sizeof(union hb_any_frame) <= HB_FRAME_BYTES_MAX, "any frame");

struct hb_text {
	const char *at; /* not NUL terminated; may be NULL when length is 0 */
	size_t length;
};

/* The answer to an HTTP request. 503 goes with the header `Retry-After: 1`. */
struct hb_answer {
	int http;
	uint32_t length;
	char text[HB_ANSWER_BYTES_MAX];
};

/**
 * Find the route of a request.
 * @param path decoded, without arguments
 * @return 0, or 404 or 405 with `answer` filled
 */
int hb_gateway_route(
	struct hb_call *call, struct hb_answer *answer, enum hb_method method, struct hb_text path);

/**
 * The group of a query string, when the user token vouches for it.
 * @return 0 when there is none
 */
uint64_t hb_gateway_group(const struct hb_identity *identity, struct hb_text arguments);

/**
 * Make the frame of a request; everything but `correlation` is set.
 * @param call of hb_gateway_route, any route but HEALTH
 * @param arguments of the query string, raw
 * @param body the whole body; ignored for GET
 * @param now_s Unix seconds
 * @return 0, or an HTTP status with `answer` filled
 */
int hb_gateway_frame(struct hb_call *call, union hb_any_frame *frame, struct hb_answer *answer,
	const struct hb_identity *identity, struct hb_text arguments, struct hb_text body,
	uint32_t now_s);

/**
 * Write the answer for a reply.
 * @param node of order numbers
 * @param reply of the frame that was made for this call
 */
void hb_gateway_reply(struct hb_answer *answer, const struct hb_call *call, uint32_t node,
	const struct hb_reply *reply);

/** The answer for a status without a reply: BUSY, UNKNOWN_OUTCOME and the like. */
void hb_gateway_status(struct hb_answer *answer, enum hb_status status);

/**
 * An answer of the front itself.
 * @param status stable name such as "unauthorized"
 * @param message one sentence; any bytes, they are escaped; at most 512 are used
 */
void hb_gateway_error(struct hb_answer *answer, int http, const char *status, const char *message);

/** The answer of GET /health. */
void hb_gateway_health(struct hb_answer *answer, bool attached);

#endif
