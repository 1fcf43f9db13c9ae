/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shared by the files of decide: replies, records, and the checks several operations have.
 */
#ifndef HB_SHM_DECIDE_INTERNAL_H
#define HB_SHM_DECIDE_INTERNAL_H

#include <string.h>

#include "base/assert.h"
#include "shm/engine.h"
#include "shm/ids.h"
#include "shm/order_number.h"
#include "shm/state_internal.h"

/** Begin a reply of head alone. */
static inline struct hb_reply *
hbi_reply(struct hb_decision *decision, const struct hb_frame *frame, enum hb_status status)
{
	struct hb_reply *reply = decision->reply;

	memset(reply, 0, sizeof(*reply));
	reply->version = HB_FRAME_VERSION;
	reply->operation = frame->operation;
	reply->length = sizeof(*reply);
	reply->status = (uint16_t)status;
	reply->correlation = frame->correlation;
	return reply;
}

/** Give a reply a zeroed body. */
static inline void
hbi_reply_extend(struct hb_reply *reply, uint64_t bytes)
{
	uint64_t length = hb_round_up(bytes, HB_FRAME_UNIT_BYTES);

	HB_ASSERT(length <= HB_REPLY_BYTES_MAX);
	memset((uint8_t *)reply + sizeof(*reply), 0, length - sizeof(*reply));
	reply->length = (uint16_t)length;
}

/** Begin a record behind the ones decided so far; finish it with hbi_record_end. */
static inline void *
hbi_record_begin(const struct hb_partition *p, const struct hb_input *input,
	struct hb_decision *decision, uint64_t bytes)
{
	struct hb_record *record = (void *)(decision->records + decision->record_bytes);

	uint64_t ring = p->number; /* with the zeros behind it, see hb_crc32c_words */

	HB_ASSERT(decision->record_count < HB_DECISION_RECORDS_MAX);
	memset(record, 0, bytes);
	memcpy((uint8_t *)record + offsetof(struct hb_record, ring), &ring, sizeof(ring));
	record->core_sequence = p->head->core_sequence + decision->record_count + 1;
	record->time_ns = input->now_ns > p->head->time_ns ? input->now_ns : p->head->time_ns;
	return record;
}

static inline void
hbi_record_end(struct hb_decision *decision, void *record, enum hb_record_type type, uint32_t bytes)
{
	hb_record_seal(record, type, bytes);
	decision->record_bytes += bytes;
	decision->record_count++;
}

/** The ledger time a record made now would carry, in ms. */
static inline uint64_t
hbi_now_ms(const struct hb_partition *p, const struct hb_input *input)
{
	return (input->now_ns > p->head->time_ns ? input->now_ns : p->head->time_ns) / 1000000;
}

/** The stamp of an order made now, marked with its version. @return 0: busy, see hb_stamp_next */
static inline uint64_t
hbi_stamp_next(const struct hb_partition *p, const struct hb_input *input)
{
	uint64_t stamp = hb_stamp_next(p->head->last_stamp, hbi_now_ms(p, input));

	if (stamp != 0 && input->config->order_version == 2)
		stamp |= HB_STAMP_VERSION_2;
	return stamp;
}

/** Is the node as a whole able to change money now? */
static inline enum hb_status
hbi_node_check(const struct hb_input *input, uint32_t level_refused)
{
	if (input->clock_stopped)
		return HB_STATUS_CLOCK_STOPPED;
	if (input->storage_level >= level_refused)
		return HB_STATUS_STORAGE_LOW;
	return HB_STATUS_OK;
}

/** May a member's command take this much? @return OK, or the first reason why not */
static inline enum hb_status
hbi_debit_check(const struct hb_account *account, int64_t amount_fen)
{
	if (account == NULL)
		return HB_STATUS_ACCOUNT_UNKNOWN;
	if (account->barred)
		return HB_STATUS_ACCOUNT_FROZEN;
	return account->available_fen < amount_fen ? HB_STATUS_INSUFFICIENT : HB_STATUS_OK;
}

/** Check the money token of a frame. @param use filled for the record; zero when none is needed */
enum hb_status hbi_token_check(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_token_use *use);

/**
 * Look up a command's key. A key of zeros is replaced by one made of token and sequence.
 * @param entry set when the same command was done before (status OK)
 * @return OK, CONFLICT, TABLE_FULL, SEQUENCE_USED (another command with the same sequence), or what
 *         is wrong with the token when it is not the frame's own
 */
enum hb_status hbi_idempotency_check(const struct hb_partition *p, const struct hb_frame *frame,
	const uint8_t key[16], const void *parameters, uint64_t parameter_bytes,
	const struct hb_input *input, struct hb_idempotency *keep,
	const struct hb_idempotency_entry **entry);

void hbi_decide_packet_create(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_grab(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_detail(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_expire_frame(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_balance(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision);
void hbi_decide_transfer(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_token_issue(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_account_open(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_order_open(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_credit(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_account_freeze(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_hold(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_hold_exit(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_hold_query(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision);
void hbi_decide_order_update(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_order_load(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);
void hbi_decide_adjust(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision);

/* A command's reply when it was done before, or a refusal. @return true when that is all */
bool hbi_done_before(const struct hb_frame *frame, enum hb_status status,
	const struct hb_idempotency_entry *done, int64_t amount_fen, struct hb_decision *decision);
/** Can a channel's clearing account (or another of the node's own) pay this much more? */
bool hbi_system_account_fits(const struct hb_partition *p, uint64_t account, int64_t amount_fen);
/** Is it the number of a channel's clearing account? */
bool hbi_channel_known(uint16_t channel);
void hbi_decide_order_query(
	const struct hb_partition *p, const struct hb_frame *frame, struct hb_decision *decision);

#endif
