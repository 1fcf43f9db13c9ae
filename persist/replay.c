/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay in the caller's thread, and the reading side of one in several (replay_crew.c). Keeps
 * nothing; the state is the caller's.
 */
#include "persist/replay.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/notify.h"
#include "persist/replay_internal.h"
#include "persist/snapshot.h"
#include "shm/engine.h"
#include "shm/ids.h"

#define RECORDS_PER_SIGN UINT64_C(65536)

static int
contradiction(const struct hb_journal_position *at, const struct hb_record *record,
	const char *fault, char error[HB_JOURNAL_ERROR_BYTES])
{
	snprintf(error, HB_JOURNAL_ERROR_BYTES,
		"sequence %llu (%s, ring %u, core sequence %llu; segment %llu, frame %llu): %s",
		(unsigned long long)at->seq, hb_record_type_name(record->type), record->ring,
		(unsigned long long)record->core_sequence, (unsigned long long)at->segment_number,
		(unsigned long long)at->frame->frame_number, fault);
	return -EBADMSG;
}

static bool
among(uint32_t partitions, uint32_t partition)
{
	return (partitions >> partition & 1) != 0;
}

bool
hbi_replay_record(struct hb_state *state, uint32_t partitions, const struct hb_record *record,
	struct hbi_fault *fault)
{
	struct hb_credit credit = hb_record_credit(record), handed_out;
	struct hb_partition *p, *to;

	if (record->ring == HB_RING_PERSIST)
		return true;
	if (among(partitions, record->ring)) {
		p = &state->partition[record->ring];
		fault->what = hb_apply_check(p, record);
		if (fault->what != NULL)
			return false;
		hb_apply(p, record, &handed_out);
		HB_ASSERT(handed_out.account == credit.account);
		HB_ASSERT(handed_out.amount_fen == credit.amount_fen);
	}
	if (credit.account == 0 || !among(partitions, hb_partition_of(credit.account)))
		return true;
	to = &state->partition[hb_partition_of(credit.account)];
	fault->what = hb_apply_credit_check(to, &credit);
	fault->of_credit = fault->what != NULL;
	if (fault->what != NULL)
		return false;
	hb_apply_credit(to, record->ring, &credit);
	return true;
}

/* A record that is applied soon, in the frame that is read now: all of it was checked. */
struct ahead {
	const struct hb_record *record;
	uint32_t left; /* in the frame, with this one */
};

static void
look_ahead(struct ahead *ahead, const struct hb_state *state, hb_prefetch_record_fn *what)
{
	if (ahead->left == 0)
		return;
	what(state, HB_PARTITIONS_ALL, ahead->record);
	ahead->record = (const void *)((const uint8_t *)ahead->record + ahead->record->length);
	ahead->left--;
}

/* Where what the next records change lies in memory, before each is applied: see engine.h. */
static void
prefetch(struct ahead *head, struct ahead *claims, const struct hb_state *state,
	const struct hb_record *record, const struct hb_journal_position *at)
{
	if (at->seq == at->frame->first_seq) {
		*head = (struct ahead){.record = record, .left = at->frame->record_count};
		*claims = *head;
		for (int i = 0; i < HB_PREFETCH_HEAD_AHEAD; i++)
			look_ahead(head, state, hb_prefetch_record_head);
		for (int i = 0; i < HB_PREFETCH_CLAIMS_AHEAD; i++)
			look_ahead(claims, state, hb_prefetch_record_claims);
	}
	look_ahead(head, state, hb_prefetch_record_head);
	look_ahead(claims, state, hb_prefetch_record_claims);
}

/* ---- reading ---- */

static void
begin_result(struct hb_replay_result *result, const struct hb_snapshot_header *start)
{
	*result = (struct hb_replay_result){
		.seq = start->seq,
		.epoch = start->epoch,
		.frame_number = start->frame_number,
		.frame_wall_ns = start->frame_wall_ns,
	};
	memcpy(result->chain, start->chain, sizeof(result->chain));
	memcpy(result->ring_sequence, start->ring_sequence, sizeof(result->ring_sequence));
	memcpy(result->ring_crc, start->ring_crc, sizeof(result->ring_crc));
}

static int
begin(struct hb_journal_reader *reader, const struct hb_snapshot_header *start,
	struct hb_replay_result *result, char error[HB_JOURNAL_ERROR_BYTES])
{
	int rc;

	begin_result(result, start);
	rc = hb_journal_reader_seek(reader, start->seq + 1);
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	return rc;
}

/* @return 1 with the next record, 0 at the end, or -errno with `error` */
static int
next(struct hb_journal_reader *reader, const struct hb_snapshot_header *start,
	const struct hb_replay_result *result, const struct hb_record **record,
	struct hb_journal_position *at, char error[HB_JOURNAL_ERROR_BYTES])
{
	int rc = hb_journal_reader_next(reader, record, at);

	if (rc < 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", hb_journal_reader_error(reader));
	if (rc <= 0)
		return rc;
	/* the journal continues the very frame the snapshot ends with */
	if (result->records == 0 && start->seq != 0 &&
		memcmp(at->frame->previous_chain, start->chain, sizeof(start->chain)) != 0)
		return contradiction(
			at, *record, "the chain does not continue the snapshot", error);
	return 1;
}

static void
note_frame(struct hb_replay_result *result, const struct hb_journal_position *at)
{
	result->epoch = at->epoch;
	result->frame_number = at->frame->frame_number;
	result->frame_wall_ns = at->frame->wall_ns;
	memcpy(result->chain, at->frame->chain, sizeof(result->chain));
}

static void
note_record(struct hb_replay_result *result, const struct hb_record *record,
	const struct hb_journal_position *at)
{
	result->records++;
	if (result->records % RECORDS_PER_SIGN == 0)
		hb_notify_alive(hb_mono_ns()); /* a long replay is no hang */
	if (record->type == HB_RECORD_MARK && record->ring != HB_RING_PERSIST)
		result->marks++;
	result->seq = at->seq;
	result->ring_sequence[record->ring] = record->core_sequence;
	result->ring_crc[record->ring] = record->crc;
	if (at->frame_end)
		note_frame(result, at);
}

/* ---- in one thread ---- */

int
hb_replay(struct hb_journal_reader *reader, struct hb_state *state,
	const struct hb_snapshot_header *start, struct hb_replay_result *result,
	int (*each)(void *context, const struct hb_record *record,
		const struct hb_journal_position *position),
	void *context, char error[HB_JOURNAL_ERROR_BYTES])
{
	const struct hb_record *record;
	struct hb_journal_position at;
	struct ahead head = {0}, claims = {0};
	struct hbi_fault fault = {0};
	int rc = begin(reader, start, result, error);

	if (rc != 0)
		return rc;
	while ((rc = next(reader, start, result, &record, &at, error)) > 0) {
		if (each != NULL) {
			rc = each(context, record, &at);
			if (rc != 0)
				return rc;
		}
		prefetch(&head, &claims, state, record, &at);
		if (!hbi_replay_record(state, HB_PARTITIONS_ALL, record, &fault))
			return contradiction(&at, record, fault.what, error);
		note_record(result, record, &at);
	}
	return rc;
}

/* ---- in several ---- */

uint32_t
hb_replay_threads(void)
{
	cpu_set_t set;
	int count;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 0;
	count = CPU_COUNT(&set);
	if (count < 2)
		return 0;
	return count < HB_REPLAY_THREADS_MAX ? (uint32_t)count : HB_REPLAY_THREADS_MAX;
}

/* Say what a thread found as one thread would: read the record once more for its place. */
static int
tell_fault(struct hb_journal_reader *reader, const struct hbi_fault *fault,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	const struct hb_record *record;
	struct hb_journal_position at;

	if (hb_journal_reader_seek(reader, fault->seq) == 0 &&
		hb_journal_reader_next(reader, &record, &at) > 0)
		return contradiction(&at, record, fault->what, error);
	snprintf(error, HB_JOURNAL_ERROR_BYTES, "sequence %llu: %s", (unsigned long long)fault->seq,
		fault->what);
	return -EBADMSG;
}

int
hb_replay_in_threads(struct hb_journal_reader *reader, struct hb_state *state,
	const struct hb_snapshot_header *start, uint32_t threads, struct hb_replay_result *result,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	const struct hb_record *record;
	struct hb_journal_position at;
	struct hbi_crew *crew;
	struct hbi_fault fault;
	int rc;

	if (threads == 0 || hbi_crew_start(&crew, state, threads) != 0)
		return hb_replay(reader, state, start, result, NULL, NULL, error);
	rc = begin(reader, start, result, error);
	while (rc == 0 && (rc = next(reader, start, result, &record, &at, error)) > 0) {
		if (!hbi_crew_give(crew, at.seq, record))
			break;
		note_record(result, record, &at);
		rc = 0;
	}
	/* whatever they found lies before what ended the reading */
	fault = hbi_crew_end(crew);
	return fault.what != NULL ? tell_fault(reader, &fault, error) : rc;
}

int
hb_state_rebuild(const char *directory, uint64_t limit, const uint8_t stream_id[16],
	struct hb_state *state, uint32_t threads, struct hb_snapshot_header *header,
	struct hb_replay_result *result, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal_reader *reader;
	int rc = hb_journal_reader_open(&reader, directory, error);

	if (rc != 0)
		return rc;
	hb_journal_reader_limit(reader, limit);
	rc = hb_snapshot_load_newest(directory, limit, stream_id, state, header, error);
	if (rc == 0)
		rc = hb_replay_in_threads(reader, state, header, threads, result, error);
	hb_journal_reader_close(reader);
	return rc;
}
