/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Money tokens: MAC, initial sequence and text form. Pure functions; the key stays the caller's.
 */
#include "shm/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/siphash.h"
#include "shm/ids.h"
#include "shm/limits.h"
#include "shm/order_number.h"

_Static_assert(HB_TOKEN_KEY_BYTES == HB_SIPHASH_KEY_BYTES, "SipHash-2-4 key");

uint64_t
hb_token_mac(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user, uint64_t target,
	uint32_t expiry_s, uint8_t operation)
{
	uint64_t word[HB_TOKEN_MAC_WORDS] = {
		id, user, target, hb_token_last_word(expiry_s, operation)};

	return hb_siphash_words(key, word, HB_TOKEN_MAC_WORDS);
}

uint32_t
hb_token_initial_sequence(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user)
{
	uint64_t word[HB_TOKEN_INITIAL_WORDS] = {id, user, 1};

	return hb_token_initial_of(hb_siphash_words(key, word, HB_TOKEN_INITIAL_WORDS));
}

uint64_t
hb_token_mac_and_initial(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user,
	uint64_t target, uint32_t expiry_s, uint8_t operation, uint32_t *initial)
{
	uint64_t word[HB_TOKEN_MAC_WORDS] = {
		id, user, target, hb_token_last_word(expiry_s, operation)};
	struct hb_siphash mac = hb_siphash_begin(key);
	struct hb_siphash first;

	/* Both begin with id and user. */
	hb_siphash_word(&mac, word[0]);
	hb_siphash_word(&mac, word[1]);
	first = mac;
	hb_siphash_word(&mac, word[2]);
	hb_siphash_word(&first, 1);
	hb_siphash_word(&mac, word[3]);
	*initial = hb_token_initial_of(hb_siphash_end(&first, HB_TOKEN_INITIAL_WORDS));
	return hb_siphash_end(&mac, HB_TOKEN_MAC_WORDS);
}

static const struct {
	uint8_t operation;
	char text[3];
} token_types[] = {
	{HB_OP_GRAB, "GR"},
	{HB_OP_PACKET_CREATE, "SE"},
	{HB_OP_TRANSFER, "TR"},
};

void
hb_token_format(char text[HB_TOKEN_TEXT_MAX], const struct hb_token *token, uint64_t enterprise,
	uint64_t user)
{
	const char *type = NULL;
	char time[18];
	int length;

	for (size_t i = 0; i < sizeof(token_types) / sizeof(token_types[0]); i++)
		if (token_types[i].operation == token->operation)
			type = token_types[i].text;
	HB_ASSERT(type != NULL);
	hb_beijing_time_format(time, hb_stamp_ms(token->id));
	length = snprintf(text, HB_TOKEN_TEXT_MAX, "%s-%" PRIu64 "-%" PRIu64 "-%s-%04u-%016" PRIx64,
		type, enterprise, user, time, hb_stamp_sequence(token->id), token->mac);
	HB_ASSERT(length > 0 && length < HB_TOKEN_TEXT_MAX);
}

/* Take decimal digits up to a dash, no leading zero but "0" itself, at most 20. */
static bool
take_number(const char **at, const char *end, uint64_t *value)
{
	const char *begin = *at;

	*value = 0;
	while (*at < end && **at >= '0' && **at <= '9') {
		if (__builtin_mul_overflow(*value, 10u, value) ||
			__builtin_add_overflow(*value, (uint64_t)(**at - '0'), value))
			return false;
		(*at)++;
	}
	if (*at == begin || (*begin == '0' && *at - begin > 1))
		return false;
	if (*at == end || **at != '-')
		return false;
	(*at)++;
	return true;
}

bool
hb_token_parse(const char *text, uint32_t length, struct hb_token *token, uint64_t *user)
{
	const char *end = text + length;
	const char *at = text + 3;
	uint64_t enterprise, ms, digits;

	if (length < 3 || length >= HB_TOKEN_TEXT_MAX || text[2] != '-')
		return false;
	token->operation = 0;
	for (size_t i = 0; i < sizeof(token_types) / sizeof(token_types[0]); i++)
		if (memcmp(text, token_types[i].text, 2) == 0)
			token->operation = token_types[i].operation;
	if (token->operation == 0)
		return false;
	if (!take_number(&at, end, &enterprise) || !take_number(&at, end, user))
		return false;
	/* 17 time, dash, 4 digits, dash, 16 MAC */
	if (end - at != 39 || at[17] != '-' || at[22] != '-')
		return false;
	if (!hb_beijing_time_parse(at, &ms))
		return false;
	digits = 0;
	for (int i = 18; i < 22; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		digits = digits * 10 + (uint64_t)(at[i] - '0');
	}
	if (!hb_hex_u64(at + 23, &token->mac))
		return false;
	token->id = ms << 14 | digits;
	token->expiry_s = (uint32_t)(ms / 1000) + HB_TOKEN_LIFETIME_S;
	return true;
}
