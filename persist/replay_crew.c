/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a replay. All get all records, in batches, and each applies what concerns its own
 * partitions: their records, and the credits to their accounts. A credit follows from its record
 * alone (hb_record_credit), so the threads need nothing from one another, and every partition sees
 * what it would see in one thread, in the same order.
 *
 * A thread that finds a fault goes on taking batches and does nothing with them. Another may by
 * then have applied credits of records that nobody would have reached; the state of a failed replay
 * is thrown away. Each has looked at all that lies before its own fault, so the earliest of the
 * faults is the one that a replay in one thread finds.
 *
 * The crew's memory is its maker's. The lock is held for numbers alone.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "persist/replay.h"
#include "persist/replay_internal.h"
#include "shm/ids.h"

#define BATCHES	    8
#define BATCH_BYTES (UINT32_C(1) << 18)
#define ITEMS_MAX   (BATCH_BYTES / sizeof(struct hb_record))

struct batch {
	uint64_t first_seq;
	uint32_t bytes;
	_Alignas(HB_CACHE_LINE_BYTES) uint8_t records[BATCH_BYTES];
};

/* A record of a batch that concerns the thread. */
struct item {
	const struct hb_record *record;
	uint32_t index; /* in the batch */
};

struct member {
	struct hbi_crew *crew;
	pthread_t thread;
	uint32_t partitions; /* a bit for each that is its own */
	struct hbi_fault fault;
	uint64_t done;		      /* batches; under the lock */
	struct item items[ITEMS_MAX]; /* of the batch at work */
} __attribute__((aligned(HB_CACHE_LINE_BYTES)));

struct hbi_crew {
	struct hb_state *state;
	uint32_t threads;
	bool open; /* a batch is being filled: number `given` */
	pthread_mutex_t lock;
	pthread_cond_t given_more;
	pthread_cond_t done_more;
	uint64_t given; /* batches; under the lock, as the next two */
	bool ending;
	bool faulty;
	struct member member[HB_REPLAY_THREADS_MAX];
	struct batch batch[BATCHES];
};

/* ---- a thread ---- */

static bool
concerns(const struct member *member, const struct hb_record *record)
{
	struct hb_credit credit;

	if (record->ring >= HB_PARTITION_COUNT)
		return false;
	if ((member->partitions >> record->ring & 1) != 0)
		return true;
	credit = hb_record_credit(record);
	return credit.account != 0 &&
	       (member->partitions >> hb_partition_of(credit.account) & 1) != 0;
}

static uint32_t
pick(struct member *member, const struct batch *batch)
{
	const uint8_t *at = batch->records, *end = at + batch->bytes;
	uint32_t count = 0, index = 0;

	for (; at < end; index++) {
		const struct hb_record *record = (const void *)at;

		if (concerns(member, record))
			member->items[count++] = (struct item){record, index};
		at += record->length;
	}
	return count;
}

static void
look_ahead(const struct member *member, uint32_t i, uint32_t count, hb_prefetch_record_fn *what)
{
	if (i < count)
		what(member->crew->state, member->partitions, member->items[i].record);
}

static void
replay_batch(struct member *member, const struct batch *batch)
{
	uint32_t count = pick(member, batch);

	for (uint32_t i = 0; i < HB_PREFETCH_HEAD_AHEAD; i++)
		look_ahead(member, i, count, hb_prefetch_record_head);
	for (uint32_t i = 0; i < HB_PREFETCH_CLAIMS_AHEAD; i++)
		look_ahead(member, i, count, hb_prefetch_record_claims);
	for (uint32_t i = 0; i < count; i++) {
		look_ahead(member, i + HB_PREFETCH_HEAD_AHEAD, count, hb_prefetch_record_head);
		look_ahead(member, i + HB_PREFETCH_CLAIMS_AHEAD, count, hb_prefetch_record_claims);
		if (hbi_replay_record(member->crew->state, member->partitions,
			    member->items[i].record, &member->fault))
			continue;
		member->fault.seq = batch->first_seq + member->items[i].index;
		return;
	}
}

/* @return the next batch, NULL when there will be none */
static const struct batch *
take_batch(struct member *member)
{
	struct hbi_crew *crew = member->crew;
	const struct batch *batch = NULL;

	pthread_mutex_lock(&crew->lock);
	while (crew->given == member->done && !crew->ending)
		pthread_cond_wait(&crew->given_more, &crew->lock);
	if (crew->given > member->done)
		batch = &crew->batch[member->done % BATCHES];
	pthread_mutex_unlock(&crew->lock);
	return batch;
}

static void *
run(void *argument)
{
	struct member *member = argument;
	struct hbi_crew *crew = member->crew;
	const struct batch *batch;

	while ((batch = take_batch(member)) != NULL) {
		if (member->fault.what == NULL)
			replay_batch(member, batch);
		pthread_mutex_lock(&crew->lock);
		member->done++;
		crew->faulty |= member->fault.what != NULL;
		pthread_cond_signal(&crew->done_more);
		pthread_mutex_unlock(&crew->lock);
	}
	return NULL;
}

/* ---- the one that reads ---- */

/* Batches that the slowest has behind it; under the lock. */
static uint64_t
done_by_all(const struct hbi_crew *crew)
{
	uint64_t done = crew->member[0].done;

	for (uint32_t i = 1; i < crew->threads; i++)
		if (crew->member[i].done < done)
			done = crew->member[i].done;
	return done;
}

static void
give_batch(struct hbi_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->given++;
	pthread_cond_broadcast(&crew->given_more);
	pthread_mutex_unlock(&crew->lock);
	crew->open = false;
}

/* Wait until the next batch may be filled. @return false when somebody found a fault */
static bool
open_batch(struct hbi_crew *crew, uint64_t first_seq)
{
	struct batch *batch = &crew->batch[crew->given % BATCHES];
	bool faulty;

	pthread_mutex_lock(&crew->lock);
	while (crew->given - done_by_all(crew) == BATCHES)
		pthread_cond_wait(&crew->done_more, &crew->lock);
	faulty = crew->faulty;
	pthread_mutex_unlock(&crew->lock);
	if (faulty)
		return false;
	batch->first_seq = first_seq;
	batch->bytes = 0;
	crew->open = true;
	return true;
}

bool
hbi_crew_give(struct hbi_crew *crew, uint64_t seq, const struct hb_record *record)
{
	struct batch *batch = &crew->batch[crew->given % BATCHES];

	if (crew->open && batch->bytes + record->length > BATCH_BYTES)
		give_batch(crew);
	if (!crew->open) {
		if (!open_batch(crew, seq))
			return false;
		batch = &crew->batch[crew->given % BATCHES];
	}
	memcpy(batch->records + batch->bytes, record, record->length);
	batch->bytes += record->length;
	return true;
}

static void
end_threads(struct hbi_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->ending = true;
	pthread_cond_broadcast(&crew->given_more);
	pthread_mutex_unlock(&crew->lock);
	for (uint32_t i = 0; i < crew->threads; i++)
		pthread_join(crew->member[i].thread, NULL);
	pthread_cond_destroy(&crew->given_more);
	pthread_cond_destroy(&crew->done_more);
	pthread_mutex_destroy(&crew->lock);
}

int
hbi_crew_start(struct hbi_crew **out, struct hb_state *state, uint32_t threads)
{
	struct hbi_crew *crew =
		aligned_alloc(HB_CACHE_LINE_BYTES, hb_round_up(sizeof(*crew), HB_CACHE_LINE_BYTES));
	int rc = 0;

	HB_ASSERT(threads > 0 && threads <= HB_REPLAY_THREADS_MAX);
	if (crew == NULL)
		return -ENOMEM;
	memset(crew, 0, offsetof(struct hbi_crew, batch));
	crew->state = state;
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->given_more, NULL);
	pthread_cond_init(&crew->done_more, NULL);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		crew->member[i % threads].partitions |= UINT32_C(1) << i;
	for (uint32_t i = 0; i < threads && rc == 0; i++) {
		crew->member[i].crew = crew;
		rc = -pthread_create(&crew->member[i].thread, NULL, run, &crew->member[i]);
		if (rc == 0)
			crew->threads++;
	}
	if (rc == 0) {
		*out = crew;
		return 0;
	}
	end_threads(crew);
	free(crew);
	return rc;
}

struct hbi_fault
hbi_crew_end(struct hbi_crew *crew)
{
	struct hbi_fault first = {0};

	if (crew->open)
		give_batch(crew);
	end_threads(crew);
	for (uint32_t i = 0; i < crew->threads; i++) {
		const struct hbi_fault *fault = &crew->member[i].fault;

		if (fault->what == NULL)
			continue;
		/* of one record, what is wrong with itself is seen before its credit */
		if (first.what == NULL || fault->seq < first.seq ||
			(fault->seq == first.seq && first.of_credit))
			first = *fault;
	}
	free(crew);
	return first;
}
