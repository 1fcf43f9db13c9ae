/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published formulas of docs/frames.md and docs/fairness.md, written again for the model, and
 * what docs/frames.md says of a frame by itself. Pure functions.
 */
#include <stdlib.h>
#include <string.h>

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <sodium/crypto_shorthash.h>

#include "shm/ids.h"
#include "shm/node.h"
#include "tests/reference/model.h"

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
	x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

uint32_t
model_partition(uint64_t id)
{
	if (id >> 56 == 0)
		return (uint32_t)(mix(id) % 10000 % 16);
	return (uint32_t)(id >> 52 & 15);
}

uint64_t
model_token_mac(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user, uint64_t target,
	uint32_t expiry_s, uint8_t operation)
{
	uint64_t words[4] = {id, user, target, expiry_s | (uint64_t)operation << 32};
	uint64_t mac;

	crypto_shorthash((unsigned char *)&mac, (const unsigned char *)words, 32, key);
	return mac;
}

uint32_t
model_token_initial(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user)
{
	uint64_t words[3] = {id, user, 1}, hash;

	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)words, 24, key);
	return 10000 + (uint32_t)(hash % 90000);
}

/* ---- shares ---- */

struct draws {
	const uint8_t *seed;
	uint64_t next;
	uint64_t block[4];
};

static void
put(SHA256_CTX *sha, uint64_t value, size_t bytes)
{
	SHA256_Update(sha, &value, bytes); /* little endian */
}

static uint64_t
draw(struct draws *d)
{
	if (d->next % 4 == 0) {
		SHA256_CTX sha;

		SHA256_Init(&sha);
		SHA256_Update(&sha, "hongbao-draw-v1", 15);
		SHA256_Update(&sha, d->seed, 32);
		put(&sha, d->next / 4, 8);
		SHA256_Final((unsigned char *)d->block, &sha);
	}
	return d->block[d->next++ % 4];
}

/* Uniform below n: what is not below the last whole multiple of n in 2^64 is thrown away. */
static int64_t
below(struct draws *d, uint64_t n)
{
	uint64_t rest = (UINT64_MAX % n + 1) % n;
	uint64_t x = draw(d);

	while (x > UINT64_MAX - rest)
		x = draw(d);
	return (int64_t)(x % n);
}

void
model_split(const uint8_t seed[32], uint8_t algorithm, int64_t total_fen, uint32_t count,
	int64_t min_fen, int64_t max_fen, int64_t *shares_fen, uint64_t stride_bytes)
{
	struct draws d = {.seed = seed};
	int64_t left = total_fen;

	for (int64_t n = count; n >= 1; n--) {
		int64_t low = left - max_fen * (n - 1), high = left - min_fen * (n - 1), share;
		int64_t spare = left - n * min_fen;

		if (n == 1) {
			share = left;
		} else if (algorithm == HB_SPLIT_SEED) {
			share = 1 + below(&d, (uint64_t)left);
		} else {
			int64_t upper = 2 * spare / n, rest = 2 * spare % n;

			if (rest > 0 && below(&d, (uint64_t)n) < rest)
				upper++;
			share = min_fen + below(&d, (uint64_t)upper + 1);
		}
		low = low > min_fen ? low : min_fen;
		high = high < max_fen ? high : max_fen;
		if (n > 1 && share > high)
			share = high;
		if (n > 1 && share < low)
			share = low;
		*shares_fen = share;
		shares_fen = (int64_t *)(void *)((uint8_t *)shares_fen + stride_bytes);
		left -= share;
	}
}

void
model_commitment(uint8_t out[32], uint64_t packet, const uint8_t seed[32], int64_t total_fen,
	uint32_t count, int64_t min_fen, int64_t max_fen, uint8_t algorithm)
{
	SHA256_CTX sha;

	SHA256_Init(&sha);
	SHA256_Update(&sha, "hongbao-packet-v1", 17);
	put(&sha, packet, 8);
	SHA256_Update(&sha, seed, 32);
	put(&sha, (uint64_t)total_fen, 8);
	put(&sha, count, 4);
	put(&sha, (uint64_t)min_fen, 8);
	put(&sha, (uint64_t)max_fen, 8);
	put(&sha, algorithm, 1);
	SHA256_Final(out, &sha);
}

/* ---- calendar ---- */

uint32_t
model_beijing_day(uint64_t unix_ms)
{
	static const uint32_t days_of[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	static _Thread_local uint64_t known_days;
	static _Thread_local uint32_t known;
	uint64_t days = (unix_ms / 1000 + 8 * 3600) / 86400;
	uint32_t year = 1970, month = 0;

	if (days == known_days && known != 0)
		return known;
	known_days = days;
	for (;; year++) {
		uint32_t leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

		for (month = 0; month < 12; month++) {
			uint32_t n = days_of[month] + (month == 1 ? leap : 0);

			if (days < n) {
				known = year * 10000 + (month + 1) * 100 + (uint32_t)days + 1;
				return known;
			}
			days -= n;
		}
	}
}

/* ---- a frame by itself ---- */

enum target_kind {
	OF_PACKET = 1,
	OF_HOLD,
	OF_USER,
	OF_SYSTEM,
	OF_ACCOUNT,
	OF_USER_OR_PACKET
};

/* Length, kind of target, and two reserved ranges of each operation. */
static const struct format {
	uint16_t length;
	uint8_t target;
	uint8_t reserved[2][2]; /* offset, bytes */
} formats[HB_OP_COUNT] = {
	[HB_OP_GRAB] = {64, OF_PACKET, {{0}}},
	[HB_OP_PACKET_CREATE] = {256, OF_USER, {{83, 1}, {124, 4}}},
	[HB_OP_PACKET_DETAIL] = {128, OF_PACKET, {{68, 60}}},
	[HB_OP_BALANCE] = {64, OF_ACCOUNT, {{0}}},
	[HB_OP_TOKEN_ASK] = {128, OF_USER_OR_PACKET, {{65, 63}}},
	[HB_OP_TRANSFER] = {128, OF_USER, {{96, 32}}},
	[HB_OP_TOKEN_ISSUE] = {128, OF_USER_OR_PACKET, {{65, 63}}},
	[HB_OP_TOKEN_TAKE] = {64, OF_SYSTEM, {{0}}},
	[HB_OP_ACCOUNT_OPEN] = {128, OF_USER, {{81, 47}}},
	[HB_OP_ORDER_OPEN] = {128, OF_USER, {{112, 16}}},
	[HB_OP_CREDIT] = {128, OF_USER, {{112, 16}}},
	[HB_OP_ORDER_QUERY] = {128, OF_USER, {{112, 16}}},
	[HB_OP_PACKET_EXPIRE] = {64, OF_PACKET, {{0}}},
	[HB_OP_ACCOUNT_FREEZE] = {128, OF_USER, {{96, 32}}},
	[HB_OP_ACCOUNT_UNFREEZE] = {128, OF_USER, {{96, 32}}},
	[HB_OP_HOLD] = {128, OF_USER, {{96, 32}}},
	[HB_OP_POST] = {128, OF_HOLD, {{84, 44}}},
	[HB_OP_VOID] = {128, OF_HOLD, {{84, 44}, {72, 8}}},
	[HB_OP_HOLD_QUERY] = {64, OF_HOLD, {{0}}},
	[HB_OP_ORDER_UPDATE] = {192, OF_USER, {{106, 6}, {160, 32}}},
	[HB_OP_ORDER_LOAD] = {128, OF_USER, {{109, 19}}},
	[HB_OP_ADJUST] = {128, OF_ACCOUNT, {{124, 4}}},
	[HB_OP_MARK] = {64, OF_SYSTEM, {{0}}},
	[HB_OP_CLOCK_CONFIRM] = {64, OF_SYSTEM, {{0}}},
	[HB_OP_AUDIT] = {64, OF_SYSTEM, {{0}}},
	[HB_OP_DEGRADE] = {128, OF_SYSTEM, {{80, 48}}},
};

static bool
is_user(uint64_t id)
{
	return id >= 1 && id < UINT64_C(1) << 52;
}

static bool
target_fits(uint64_t id, uint8_t operation, uint8_t kind)
{
	uint64_t top = id >> 56;

	switch (kind) {
	case OF_PACKET:
		return top == 1;
	case OF_HOLD:
		return top == 2;
	case OF_USER:
		return is_user(id);
	case OF_SYSTEM:
		return top == 0x7f;
	case OF_USER_OR_PACKET:
		return is_user(id) || top == 1;
	default: /* money moves only between system accounts that there are */
		if (top == 0x7f && operation == HB_OP_ADJUST)
			return (id & HB_ACCOUNT_MAX) >= 1 && (id & HB_ACCOUNT_MAX) <= 6;
		return is_user(id) || top == 0x7f;
	}
}

static bool
zeros(const uint8_t *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* Decode and look whether the number is one that this many bytes may say. */
static bool
utf8_fits(const uint8_t *at, uint32_t left)
{
	while (left > 0) {
		uint32_t more = at[0] < 0x80 ? 0 : at[0] < 0xe0 ? 1 : at[0] < 0xf0 ? 2 : 3;
		uint32_t code = at[0] < 0x80 ? at[0] : at[0] & (0x3fu >> more);
		uint32_t least = more == 0 ? 1 : more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;

		if ((at[0] >= 0x80 && at[0] < 0xc0) || at[0] >= 0xf8 || more >= left)
			return false;
		for (uint32_t i = 1; i <= more; i++) {
			if (at[i] >> 6 != 2)
				return false;
			code = code << 6 | (at[i] & 0x3fu);
		}
		if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return false;
		at += more + 1;
		left -= more + 1;
	}
	return true;
}

static bool
texts_fit(const uint8_t *bytes, uint8_t operation)
{
	uint32_t length = 0;

	if (operation == HB_OP_PACKET_CREATE) {
		length = bytes[82];
		return length <= 128 && utf8_fits(bytes + 128, length) &&
		       zeros(bytes + 128 + length, 128 - length);
	}
	if (operation == HB_OP_ORDER_UPDATE) {
		while (length < 48 && bytes[112 + length] > 0x20 && bytes[112 + length] < 0x7f)
			length++;
		return zeros(bytes + 112 + length, 48 - length);
	}
	if (operation == HB_OP_DEGRADE) {
		const struct hb_frame_degrade *f = (const void *)bytes;

		return f->level <= 3 && f->by <= 1;
	}
	return true;
}

enum hb_status
model_check(const struct hb_frame *frame, uint32_t bytes)
{
	const uint8_t *at = (const void *)frame;
	const struct format *format;

	if (bytes < 64)
		return HB_STATUS_FRAME_INVALID;
	if (frame->version != 1)
		return HB_STATUS_FRAME_VERSION;
	if (frame->operation >= HB_OP_COUNT || formats[frame->operation].length == 0)
		return HB_STATUS_FRAME_INVALID;
	format = &formats[frame->operation];
	if (frame->length != format->length || frame->length > bytes ||
		!target_fits(frame->target, frame->operation, format->target))
		return HB_STATUS_FRAME_INVALID;
	for (int i = 0; i < 2; i++)
		if (!zeros(at + format->reserved[i][0], format->reserved[i][1]))
			return HB_STATUS_FRAME_INVALID;
	return texts_fit(at, frame->operation) ? HB_STATUS_OK : HB_STATUS_FRAME_INVALID;
}
