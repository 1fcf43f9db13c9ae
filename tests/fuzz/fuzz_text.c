/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts that name things: money tokens, order numbers, times, packet ids, account numbers. What is
 * parsed must come back as the same text.
 *
 * Parsers: shm/token.c without hb_token_mac* hb_token_initial_sequence,
 * shm/order_number.c without hb_stamp_next hb_beijing_day put_stamp_1 hb_order_number_format
 */
#include <stdio.h>
#include <string.h>

#include "controlplane/json_fields.h"
#include "shm/ids.h"
#include "shm/order_number.h"
#include "shm/token.h"
#include "tests/fuzz/fuzz.h"

static void
try_token(const char *text, size_t length)
{
	char again[HB_TOKEN_TEXT_MAX];
	struct hb_token token;
	uint64_t user;

	if (!hb_token_parse(text, (uint32_t)length, &token, &user))
		return;
	/* the enterprise is for people: it is not kept */
	hb_token_format(again, &token, 0, user);
	HB_ASSERT(strcmp(strrchr(again, '-'), strrchr(text, '-')) == 0);
	HB_ASSERT(memcmp(again, text, 3) == 0);
}

static void
try_order(const char *text)
{
	struct hb_order_number number;

	if (!hb_order_number_parse(text, &number))
		return;
	HB_ASSERT(strlen(text) == HB_ORDER_NUMBER_LENGTH);
	HB_ASSERT(number.business <= 99 && number.node <= 99 && number.user_digits <= 9999);
	HB_ASSERT(number.version == 1 || number.version == 2);
}

static void
try_numbers(const char *text)
{
	char again[32];
	uint64_t value;

	if (hb_account_parse(text, &value)) {
		HB_ASSERT(hb_is_user_account(value));
		snprintf(again, sizeof(again), "%llu", (unsigned long long)value);
		HB_ASSERT(strcmp(again, text) == 0);
	}
	if (hb_packet_id_parse(text, &value)) {
		snprintf(again, sizeof(again), "%016llx", (unsigned long long)value);
		HB_ASSERT(strcasecmp(again, text) == 0);
	}
	if (hb_decimal_parse(text, 1000000, &value))
		HB_ASSERT(value <= 1000000);
}

static void
try_time(const char *text)
{
	char again[18];
	uint64_t ms;

	if (strlen(text) < 17 || !hb_beijing_time_parse(text, &ms))
		return;
	hb_beijing_time_format(again, ms);
	HB_ASSERT(memcmp(again, text, 17) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char text[512];

	if (length >= sizeof(text))
		return 0;
	memcpy(text, bytes, length);
	text[length] = '\0';
	if (strlen(text) != length)
		return 0;
	try_token(text, length);
	try_order(text);
	try_numbers(text);
	try_time(text);
	return 0;
}
