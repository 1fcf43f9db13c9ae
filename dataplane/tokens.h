/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Asks for money tokens that wait in a partition until control takes the minted tokens, and the
 * numbers of tokens.
 *
 * Volatile on purpose: nothing is promised before the token is handed out, and a token needs no
 * record until it is used. If the process dies here, users ask again. Memory is taken once and
 * belongs to the partition's lcore.
 */
#ifndef HB_DATAPLANE_TOKENS_H
#define HB_DATAPLANE_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/frame.h"
#include "shm/limits.h"
#include "shm/token.h"

#define HB_TOKEN_COUNTER_MAX 9999 /* four digits in the token's text */
#define HB_TOKEN_STARTS	     100  /* starts in a row that share no digits */
#define HB_TOKEN_DIGITS	     ((HB_TOKEN_COUNTER_MAX + 1) / HB_TOKEN_STARTS) /* of a start, in a ms */
#define HB_TOKEN_ASKS_OF_USER_MAX                                                                  \
	16			  /* waiting at the same time, so that one cannot fill the queue */
#define HB_TOKEN_ASK_BUCKETS 4096 /* of users, by hash */

struct hb_token_ask {
	uint64_t user;
	uint64_t target;
	uint8_t for_operation;
	uint8_t reserved[7];
};

struct hb_token_asks {
	struct hb_token_ask *ask; /* HB_TOKEN_ASKS_MAX, a ring */
	uint32_t first;
	uint32_t count;
	uint8_t waiting[HB_TOKEN_ASK_BUCKETS]; /* asks by hash of their user */
};

/** @return 0 or -ENOMEM */
int hb_token_asks_init(struct hb_token_asks *asks);
void hb_token_asks_free(struct hb_token_asks *asks);

/** @return false when the queue is full, or too many asks of this user wait */
bool hb_token_asks_push(struct hb_token_asks *asks, const struct hb_token_ask *ask);

/** Take the oldest. @return false when there is none */
bool hb_token_asks_pop(struct hb_token_asks *asks, struct hb_token_ask *ask);

/**
 * May this token be asked for: known operation, and a target that goes with it?
 * A token to grab names a packet, one to send or transfer the user's own account.
 */
bool hb_token_ask_valid(const struct hb_frame_token *frame);

/**
 * The next token id of a partition: issue ms << 14 | counter. Never repeats `*last`, nor what a
 * start before gave out: nobody writes down which ids were, and ledger time stands still after a
 * start whose wall clock is behind the newest record. So each start has digits of its own, by its
 * epoch.
 */
uint64_t hb_token_id_next(uint64_t *last, uint64_t now_ms, uint64_t epoch);
/** What `*last` is at a start: everything up to this millisecond may have been given out. */
uint64_t hb_token_id_first(uint64_t now_ms);

/** Mint the token of an ask. */
void hb_token_mint(struct hb_reply_token *token, const uint8_t key[HB_TOKEN_KEY_BYTES],
	uint64_t token_id, const struct hb_token_ask *ask);

#endif
