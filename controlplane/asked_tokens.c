/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOKEN_TAKE to all partitions, in rounds, until they are dry. No memory between calls.
 */
#include "controlplane/asked_tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/engine_json.h"
#include "shm/ids.h"

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
	uint32_t taken;
	hb_asked_token_fn *take;
	void *context;
};

static void
take_tokens(struct taking *t, const struct hb_reply *reply)
{
	uint32_t room =
		(uint32_t)((reply->length - sizeof(*reply)) / sizeof(struct hb_reply_token));

	for (uint32_t i = 0; i < reply->count && i < room; i++) {
		struct hb_reply_token token;

		memcpy(&token, (const uint8_t *)(reply + 1) + i * sizeof(token), sizeof(token));
		t->take(t->context, &token);
		t->taken++;
	}
}

/*
 * Take from up to `count` partitions that may have more. Taken tokens are handed over whatever the
 * other partitions say. @return calls that failed
 */
static uint32_t
take_round(struct hb_engine *engine, struct taking *t, uint32_t count, uint32_t *called)
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
	hb_engine_call_many(engine, t->calls, calls, HB_ENGINE_TIMEOUT_MS);
	for (uint32_t i = 0; i < calls; i++) {
		const struct hb_reply *reply = &t->replies[i].head;
		bool ok = t->calls[i].error == 0 && reply->status == HB_STATUS_OK;

		failed += !ok;
		t->dry[t->partition[i]] = !ok || !(reply->flags & HB_REPLY_MORE);
		if (ok)
			take_tokens(t, reply);
	}
	*called = calls;
	return failed;
}

int
hb_asked_tokens_take(
	struct hb_engine *engine, uint32_t limit, hb_asked_token_fn *take, void *context)
{
	struct taking *t = calloc(1, sizeof(*t));
	uint32_t failed = 0;
	uint32_t called = 1;
	int result;

	if (t == NULL)
		return -ENOMEM;
	t->take = take;
	t->context = context;
	while (called > 0 && failed == 0 && t->taken < limit) {
		uint32_t left = limit - t->taken;

		failed = take_round(engine, t,
			(left + HB_TOKENS_PER_REPLY_MAX - 1) / HB_TOKENS_PER_REPLY_MAX, &called);
	}
	result = failed && t->taken == 0 ? -EIO : (int)t->taken;
	free(t);
	return result;
}
