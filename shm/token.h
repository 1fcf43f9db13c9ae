/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Money tokens: a short-lived right of one user to do one kind of operation on one target.
 *
 * Text (docs/frames.md): TYPE-ENTERPRISE-USER-yyyyMMddHHmmssSSS-dddd-MAC, where TYPE is GR, SE or
 * TR, the time is Beijing time of issue, dddd the partition's counter and MAC 16 hexadecimal
 * digits. Frames carry it as id (issue ms << 14 | dddd), expiry and MAC; everything the MAC covers
 * is in the frame, so a token needs no record and no memory until it is used:
 *
 *   mac     = SipHash-2-4(key, id | user | target | expiry_s | operation)   little endian, 32 bytes
 *   initial = 10000 + SipHash-2-4(key, id | user | 1) mod 90000
 *
 * The first request uses initial + 1. Used sequences are kept in the window of the target's
 * partition and changed only by the money record that uses them (shm/state.h).
 */
#ifndef HB_SHM_TOKEN_H
#define HB_SHM_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/frame.h"

#define HB_TOKEN_KEY_BYTES 16
#define HB_TOKEN_TEXT_MAX  96
#define HB_TOKEN_KEYS_MAX  4 /* that verify at the same time: one signs, the others end */

struct hb_token {
	uint64_t id;
	uint64_t mac;
	uint32_t expiry_s;
	uint8_t operation; /* enum hb_operation: GRAB, PACKET_CREATE, TRANSFER */
};

/* The first key signs. The others verify the tokens they signed, each until none is left. */
struct hb_token_keys {
	uint8_t key[HB_TOKEN_KEYS_MAX][HB_TOKEN_KEY_BYTES];
	uint64_t until_s[HB_TOKEN_KEYS_MAX]; /* Unix seconds; of the first unused */
	uint32_t count;
	uint32_t reserved;
};

uint64_t hb_token_mac(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user,
	uint64_t target, uint32_t expiry_s, uint8_t operation);

/** The initial sequence of a token, 10000..99999. */
uint32_t hb_token_initial_sequence(
	const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user);

/* Words that the hashes are made of. */
#define HB_TOKEN_MAC_WORDS     4
#define HB_TOKEN_INITIAL_WORDS 3

/** The last word of the MAC. */
static inline uint64_t
hb_token_last_word(uint32_t expiry_s, uint8_t operation)
{
	return (uint64_t)operation << 32 | expiry_s;
}

/** The initial sequence from its hash. */
static inline uint32_t
hb_token_initial_of(uint64_t hash)
{
	return 10000 + (uint32_t)(hash % 90000);
}

/** Both at once, as a request needs both. @param initial set @return the MAC */
uint64_t hb_token_mac_and_initial(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user,
	uint64_t target, uint32_t expiry_s, uint8_t operation, uint32_t *initial);

/** Write the text form. @param enterprise for people only, not covered by the MAC */
void hb_token_format(char text[HB_TOKEN_TEXT_MAX], const struct hb_token *token,
	uint64_t enterprise, uint64_t user);

/** Parse the text form strictly; expiry is issue time + HB_TOKEN_LIFETIME_S. @return true when
 *  well formed (which says nothing about the MAC) */
bool hb_token_parse(const char *text, uint32_t length, struct hb_token *token, uint64_t *user);

#endif
