/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests as the front gets them: METHOD byte, path, query and body, each ended by a zero
 * byte. What becomes a frame must pass the engine's own check and be about the token's user; what
 * does not must be answered by JSON with a status and a message.
 *
 * Parsers: front/gateway.c
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "front/gateway.h"
#include "tests/fuzz/fuzz.h"

#define NOW_S	1700000000u
#define ACCOUNT 1001

static void
check_answer(const struct hb_answer *answer, int http)
{
	json_t *json = json_loadb(answer->text, answer->length, JSON_REJECT_DUPLICATES, NULL);

	HB_ASSERT(http == answer->http && http >= 400);
	HB_ASSERT(json_is_string(json_object_get(json, "status")));
	HB_ASSERT(json_is_string(json_object_get(json, "message")));
	json_decref(json);
}

static void
check_frame(const struct hb_call *call, union hb_any_frame *frame, bool in_group)
{
	HB_ASSERT(hb_frame_check(&frame->head, frame->head.length) == HB_STATUS_OK);
	HB_ASSERT(frame->head.user == ACCOUNT && call->user == ACCOUNT);
	HB_ASSERT(frame->head.group == 0 || in_group);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct hb_identity *identity;
	static struct hb_answer answer;
	struct hb_fuzz_input input = {bytes, length};
	union hb_any_frame frame;
	struct hb_text path, arguments, body;
	struct hb_call call;
	uint8_t method = hb_fuzz_byte(&input);
	int http;

	if (identity == NULL) {
		identity = calloc(1, sizeof(*identity) + 2 * sizeof(uint64_t));
		HB_ASSERT(identity != NULL);
		identity->account = ACCOUNT;
		identity->group_count = 2;
		identity->groups[0] = 7;
		identity->groups[1] = 8;
	}
	path.length = hb_fuzz_text(&input, &path.at);
	arguments.length = hb_fuzz_text(&input, &arguments.at);
	body.at = (const char *)input.at;
	body.length = input.left < HB_BODY_BYTES_MAX ? input.left : HB_BODY_BYTES_MAX;
	http = hb_gateway_route(&call, &answer, (enum hb_method)(method % 3), path);
	if (http != 0) {
		check_answer(&answer, http);
		return 0;
	}
	if (call.route == HB_ROUTE_HEALTH)
		return 0;
	memset(&frame, 0, sizeof(frame));
	http = hb_gateway_frame(&call, &frame, &answer, identity, arguments, body, NOW_S);
	if (http != 0) {
		check_answer(&answer, http);
		return 0;
	}
	check_frame(&call, &frame, hb_identity_in_group(identity, frame.head.group));
	return 0;
}
