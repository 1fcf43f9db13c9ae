/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Waiting token asks and token numbers: dataplane/tokens.h.
 */
#include "dataplane/tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ids.h"

#define COUNTER_BITS 14

int
hb_token_asks_init(struct hb_token_asks *asks)
{
	memset(asks, 0, sizeof(*asks));
	asks->ask = calloc(HB_TOKEN_ASKS_MAX, sizeof(*asks->ask));
	return asks->ask == NULL ? -ENOMEM : 0;
}

void
hb_token_asks_free(struct hb_token_asks *asks)
{
	free(asks->ask);
	memset(asks, 0, sizeof(*asks));
}

static uint8_t *
waiting_of(struct hb_token_asks *asks, uint64_t user)
{
	return &asks->waiting[hb_mix64(user) % HB_TOKEN_ASK_BUCKETS];
}

bool
hb_token_asks_push(struct hb_token_asks *asks, const struct hb_token_ask *ask)
{
	uint8_t *waiting = waiting_of(asks, ask->user);

	if (asks->count == HB_TOKEN_ASKS_MAX || *waiting == HB_TOKEN_ASKS_OF_USER_MAX)
		return false;
	*waiting += 1;
	asks->ask[(asks->first + asks->count) % HB_TOKEN_ASKS_MAX] = *ask;
	asks->count++;
	return true;
}

bool
hb_token_asks_pop(struct hb_token_asks *asks, struct hb_token_ask *ask)
{
	if (asks->count == 0)
		return false;
	*ask = asks->ask[asks->first];
	*waiting_of(asks, ask->user) -= 1;
	asks->first = (asks->first + 1) % HB_TOKEN_ASKS_MAX;
	asks->count--;
	return true;
}

bool
hb_token_ask_valid(const struct hb_frame_token *frame)
{
	if (!hb_is_user_account(frame->head.user))
		return false;
	if (frame->for_operation == HB_OP_GRAB)
		return hb_id_kind(frame->head.target) == HB_ID_PACKET;
	if (frame->for_operation == HB_OP_PACKET_CREATE || frame->for_operation == HB_OP_TRANSFER)
		return frame->head.target == frame->head.user;
	return false;
}

uint64_t
hb_token_id_first(uint64_t now_ms)
{
	return now_ms << COUNTER_BITS | HB_TOKEN_COUNTER_MAX;
}

uint64_t
hb_token_id_next(uint64_t *last, uint64_t now_ms, uint64_t epoch)
{
	uint64_t ms = *last >> COUNTER_BITS;
	uint64_t counter = *last & ((UINT64_C(1) << COUNTER_BITS) - 1);
	uint64_t first = epoch % HB_TOKEN_STARTS * HB_TOKEN_DIGITS;

	if (now_ms > ms)
		*last = now_ms << COUNTER_BITS | first;
	else if (counter + 1 < first + HB_TOKEN_DIGITS)
		*last += 1;
	else
		*last = (ms + 1) << COUNTER_BITS | first;
	return *last;
}

void
hb_token_mint(struct hb_reply_token *token, const uint8_t key[HB_TOKEN_KEY_BYTES],
	uint64_t token_id, const struct hb_token_ask *ask)
{
	memset(token, 0, sizeof(*token));
	token->token_id = token_id;
	token->user = ask->user;
	token->target = ask->target;
	token->expiry_s = (uint32_t)((token_id >> COUNTER_BITS) / 1000) + HB_TOKEN_LIFETIME_S;
	token->for_operation = ask->for_operation;
	token->token_mac = hb_token_mac(
		key, token_id, ask->user, ask->target, token->expiry_s, ask->for_operation);
	token->sequence = hb_token_initial_sequence(key, token_id, ask->user);
}
