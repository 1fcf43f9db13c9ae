/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A second engine, to compare the real one with: the meaning of docs/architecture.md,
 * docs/frames.md and docs/fairness.md in the plainest form that can be read in an hour. It shares
 * with shm/ the layout of frames and replies, the numbers of statuses and limits, and nothing
 * else: no table, no record, no formula.
 *
 * One thread, memory from malloc, owned by the model. A model dies with its process; there is
 * nothing to recover. What the model leaves out: where things lie in memory (arena, hash tables),
 * so a world must be large enough never to be short of the arena or of token windows.
 */
#ifndef HB_TESTS_REFERENCE_MODEL_H
#define HB_TESTS_REFERENCE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/engine.h"

struct model;

/* What a command did besides its reply. */
struct model_effect {
	uint32_t records; /* 0 or 1 */
	uint64_t credit;  /* an account that gets money when the record is on disk, 0 = none */
	int64_t credit_fen;
};

union model_reply {
	struct hb_reply head;
	struct hb_reply_detail detail;
	struct hb_reply_order order;
	struct hb_reply_hold hold;
	uint8_t bytes[HB_REPLY_BYTES_MAX];
};

/* Numbers of a partition, to be compared with the engine's. */
struct model_totals {
	uint64_t sequence;
	uint64_t time_ns;
	uint64_t last_stamp;
	uint64_t accounts;
	uint64_t packets;
	uint64_t holds;
	uint64_t orders;
	int64_t open_packets_fen;
	int64_t open_holds_fen;
};

struct model *model_open(const struct hb_capacity *capacity, uint32_t node);
void model_close(struct model *m);

/** What docs/frames.md says of a frame by itself. */
enum hb_status model_check(const struct hb_frame *frame, uint32_t bytes);

/** Do what a frame asks; the reply is complete but for as_of_seq. */
void model_ask(struct model *m, const struct hb_frame *frame, const struct hb_input *input,
	union model_reply *reply, struct model_effect *effect);
/** A credit that was under way arrives. */
void model_credit(struct model *m, uint64_t account, int64_t amount_fen);
/** What a deadline does by itself: close a packet, void a hold. @return did it? */
bool model_expire_due(struct model *m, uint64_t packet, const struct hb_input *input);
bool model_void_due(struct model *m, uint64_t hold, const struct hb_input *input);
/** A MARK that nobody asked for. */
void model_mark(struct model *m, uint32_t partition, const struct hb_input *input);

/** May this object be forgotten now? */
bool model_may_forget(const struct model *m, uint32_t partition, uint32_t object_kind,
	uint64_t object, const struct hb_input *input);
void model_forget(struct model *m, uint32_t partition, uint32_t object_kind, uint64_t object,
	const struct hb_input *input);
/** Is there anything in the partition that may be forgotten now? */
bool model_has_forgettable(const struct model *m, uint32_t partition, const struct hb_input *input);

/** Is some partition's account table down to its reserve? */
bool model_reserve_low(const struct model *m);
struct model_totals model_totals(const struct model *m, uint32_t partition);
/** Sum of all balances in the model. */
int64_t model_money(const struct model *m);
/** A random object of a kind for the maker of commands: packet or hold, with its deadline. */
bool model_pick(const struct model *m, uint32_t object_kind, uint64_t random, uint64_t *id,
	uint64_t *deadline_ms, bool *open);

/* model_formulas.c: formulas that are published, written again. */

uint32_t model_partition(uint64_t id);
uint64_t model_token_mac(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user,
	uint64_t target, uint32_t expiry_s, uint8_t operation);
uint32_t model_token_initial(const uint8_t key[HB_TOKEN_KEY_BYTES], uint64_t id, uint64_t user);
void model_split(const uint8_t seed[32], uint8_t algorithm, int64_t total_fen, uint32_t count,
	int64_t min_fen, int64_t max_fen, int64_t *shares_fen, uint64_t stride_bytes);
void model_commitment(uint8_t out[32], uint64_t packet, const uint8_t seed[32], int64_t total_fen,
	uint32_t count, int64_t min_fen, int64_t max_fen, uint8_t algorithm);
/** The day in Beijing as yyyymmdd. */
uint32_t model_beijing_day(uint64_t unix_ms);

#endif
