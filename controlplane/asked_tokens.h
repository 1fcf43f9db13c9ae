/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Money tokens that users asked for: taken from the dataplane, each once. Whoever takes one hands
 * it to its user; lost on the way it is lost, and the user asks again.
 */
#ifndef HB_CONTROLPLANE_ASKED_TOKENS_H
#define HB_CONTROLPLANE_ASKED_TOKENS_H

#include <stdint.h>

#include "controlplane/engine_client.h"
#include "shm/frame.h"

/** Called for each token that was taken. */
typedef void hb_asked_token_fn(void *context, const struct hb_reply_token *token);

/**
 * Take tokens until none is left, or about `limit` were taken (one reply more at most).
 * @return how many, or -EIO when a partition did not answer and nothing was taken; -ENOMEM
 */
int hb_asked_tokens_take(
	struct hb_engine *engine, uint32_t limit, hb_asked_token_fn *take, void *context);

#endif
