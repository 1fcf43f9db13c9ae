/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding: money tokens and idempotency keys. Pure functions.
 */
#include <sodium/crypto_shorthash.h>

#include "shm/decide_internal.h"
#include "shm/token.h"

/* The MAC by the key that signs is made for all of the burst, those of older keys are rare. */
static uint64_t
mac_of(const struct hb_input *input, uint32_t key, const struct hb_frame *frame, uint32_t *initial)
{
	const uint8_t *bytes = input->config->token_keys.key[key];

	if (key == 0 && input->tokens != NULL)
		return hb_token_batch_mac(input->tokens, input->token_place, bytes, initial);
	return hb_token_mac_and_initial(bytes, frame->token_id, frame->user, frame->target,
		frame->token_expiry_s, frame->operation, initial);
}

/* Is the frame's MAC that of a key in force? @param initial of that key */
static bool
mac_fits(const struct hb_input *input, const struct hb_frame *frame, uint64_t now_s,
	uint32_t *initial)
{
	const struct hb_token_keys *keys = &input->config->token_keys;

	for (uint32_t i = 0; i < keys->count; i++) {
		if (i > 0 && now_s > keys->until_s[i])
			continue;
		if (mac_of(input, i, frame, initial) == frame->token_mac)
			return true;
	}
	return false;
}

enum hb_status
hbi_token_check(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_token_use *use)
{
	uint64_t now_s = hbi_now_ms(p, input) / 1000;
	uint32_t initial;

	memset(use, 0, sizeof(*use));
	if (frame->token_id == 0) {
		if (input->trusted || !input->config->tokens_required)
			return HB_STATUS_OK;
		return HB_STATUS_TOKEN_INVALID;
	}
	if (!mac_fits(input, frame, now_s, &initial))
		return HB_STATUS_TOKEN_INVALID;
	if (frame->token_expiry_s < now_s)
		return HB_STATUS_TOKEN_EXPIRED;
	use->token_id = frame->token_id;
	use->sequence = frame->sequence;
	use->expiry_s = frame->token_expiry_s;
	return hbi_window_check(p, frame->token_id, frame->user, frame->sequence, initial);
}

static bool
key_is_zero(const uint8_t key[16])
{
	static const uint8_t zero[16];

	return memcmp(key, zero, sizeof(zero)) == 0;
}

/* Parameters are compared by hash; the key of the hash is public, collisions help nobody. */
static uint64_t
hash_parameters(const void *parameters, uint64_t bytes)
{
	static const unsigned char key[crypto_shorthash_KEYBYTES] = "hongbao-params-1";
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, parameters, bytes, key);
	return hash;
}

/* A stranger with somebody's token hears that it is not his, not what became of it. */
static enum hb_status
token_used_status(
	const struct hb_partition *p, const struct hb_frame *frame, const struct hb_input *input)
{
	struct hb_token_use use;
	enum hb_status status = hbi_token_check(p, frame, input, &use);

	return status == HB_STATUS_OK ? HB_STATUS_SEQUENCE_USED : status;
}

enum hb_status
hbi_idempotency_check(const struct hb_partition *p, const struct hb_frame *frame,
	const uint8_t key[16], const void *parameters, uint64_t parameter_bytes,
	const struct hb_input *input, struct hb_idempotency *keep,
	const struct hb_idempotency_entry **entry)
{
	bool of_token = key_is_zero(key);

	*entry = NULL;
	memset(keep, 0, sizeof(*keep));
	if (of_token && frame->token_id == 0)
		return HB_STATUS_OK;
	if (of_token) {
		uint32_t tail[2] = {frame->sequence, frame->operation};

		memcpy(keep->key, &frame->token_id, sizeof(frame->token_id));
		memcpy(keep->key + 8, tail, sizeof(tail));
	} else {
		memcpy(keep->key, key, sizeof(keep->key));
	}
	keep->parameter_hash = hash_parameters(parameters, parameter_bytes);
	*entry = hb_idempotency_find(p, keep->key);
	if (*entry != NULL && (*entry)->parameter_hash != keep->parameter_hash)
		return of_token ? token_used_status(p, frame, input) : HB_STATUS_CONFLICT;
	if (*entry == NULL && !hbi_idempotency_room(p, hbi_now_ms(p, input)))
		return HB_STATUS_TABLE_FULL;
	return HB_STATUS_OK;
}

void
hbi_decide_token_issue(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_token *f = (const void *)frame;
	bool for_packet = f->for_operation == HB_OP_GRAB;
	struct hb_reply_token *token;
	struct hb_reply *reply;

	if (f->for_operation != HB_OP_GRAB && f->for_operation != HB_OP_PACKET_CREATE &&
		f->for_operation != HB_OP_TRANSFER) {
		hbi_reply(decision, frame, HB_STATUS_FRAME_INVALID);
		return;
	}
	if (!hb_is_user_account(frame->user) || (!for_packet && frame->target != frame->user)) {
		hbi_reply(decision, frame, HB_STATUS_LIMIT);
		return;
	}
	if (for_packet && hb_packet_find(p, frame->target) == NULL) {
		hbi_reply(decision, frame, hb_packet_absent(p, frame->target));
		return;
	}
	reply = hbi_reply(decision, frame, HB_STATUS_OK);
	hbi_reply_extend(reply, sizeof(*reply) + sizeof(*token));
	reply->id = frame->user;
	reply->count = 1;
	token = (void *)(reply + 1);
	token->token_id = input->token_id;
	token->user = frame->user;
	token->target = frame->target;
	token->expiry_s = (uint32_t)(hb_stamp_ms(input->token_id) / 1000) + HB_TOKEN_LIFETIME_S;
	token->for_operation = f->for_operation;
	token->sequence = hb_token_initial_sequence(
		input->config->token_keys.key[0], token->token_id, token->user);
	token->token_mac = hb_token_mac(input->config->token_keys.key[0], token->token_id,
		token->user, token->target, token->expiry_s, token->for_operation);
}
