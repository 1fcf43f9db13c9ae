/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer thread of a session. Natural batching: a frame holds what arrived while the last one
 * was written; there is no timer. Tails move only after the write, so a ring holds every record
 * that is not on disk.
 *
 * If persist dies here, before the write: the records are in the rings. After it: they are on disk
 * and in the rings, and the successor skips them by core sequence.
 */
#include "persist/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/realtime.h"
#include "shm/bell.h"

#define SLEEP_MS_MAX 1000 /* heartbeat while idle */

static int
map_rings(struct hb_session *session)
{
	session->rings = (void *)(session->segment.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		session->data[i] = hb_segment_map_twice(session->segment.fd,
			HB_JOURNAL_DATA_OFFSET + i * HB_JOURNAL_RING_BYTES, HB_JOURNAL_RING_BYTES,
			false);
		if (session->data[i] == NULL)
			return -errno;
		hb_ring_consumer(&session->end[i], &session->rings->ring[i], session->data[i],
			HB_JOURNAL_RING_BYTES);
	}
	session->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return session->wake_fd < 0 ? -errno : 0;
}

void
hb_session_init(struct hb_session *session, struct hb_journal *journal)
{
	memset(session, 0, sizeof(*session));
	session->journal = journal;
	session->segment.fd = -1;
	session->wake_fd = -1;
	session->failed_fd = -1;
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX; i++)
		session->lcore_wake[i] = -1;
}

int
hb_session_fresh(struct hb_session *session)
{
	int rc = hb_segment_create(&session->segment, "hongbao-journal", HB_SEGMENT_JOURNAL,
		HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES);

	if (rc != 0)
		return rc;
	rc = map_rings(session);
	if (rc != 0)
		return rc;
	atomic_store(&session->rings->committed_seq, hb_committed_seq(&session->journal->commit));
	atomic_store(&session->rings->heartbeat_ns, hb_mono_ns());
	hb_journal_show_level(session->journal, &session->rings->storage_level);
	hb_segment_ready(&session->segment);
	return 0;
}

/* Does the ring go on where the disk ends? The records in between are skipped by the writer. */
static int
check_resumed_ring(struct hb_session *session, uint32_t number, char error[160])
{
	const struct hb_journal *journal = session->journal;
	struct hb_record record;
	void *at = NULL;
	int64_t n = hb_ring_peek(&session->end[number], &at);

	if (n < 0 || (n > 0 && n < (int64_t)sizeof(record))) {
		snprintf(error, 160, "ring %u: its positions are absurd", number);
		return -EPROTO;
	}
	if (n == 0)
		return 0;
	memcpy(&record, at, sizeof(record));
	if (record.core_sequence == 0 ||
		record.core_sequence > journal->ring_sequence[number] + 1) {
		snprintf(error, 160,
			"ring %u begins with core sequence %llu but the journal ends with %llu: "
			"this state is not the journal's",
			number, (unsigned long long)record.core_sequence,
			(unsigned long long)journal->ring_sequence[number]);
		return -EPROTO;
	}
	return 0;
}

/* a state that a later one has replaced may not go on */
static int
check_epoch(const struct hb_session *session, uint64_t epoch, char error[160])
{
	uint64_t state_epoch = session->journal->superblock.state_epoch;

	if (epoch == state_epoch)
		return 0;
	snprintf(error, 160,
		"this state is of epoch %llu, but the journal went on with a state of epoch %llu: "
		"start the dataplane afresh",
		(unsigned long long)epoch, (unsigned long long)state_epoch);
	return -ESTALE;
}

int
hb_session_resume(struct hb_session *session, int fd, uint64_t epoch, char error[160])
{
	int rc = check_epoch(session, epoch, error);

	if (rc != 0) {
		close(fd);
		return rc;
	}
	rc = hb_segment_attach(&session->segment, fd, HB_SEGMENT_JOURNAL, true, error);

	if (rc != 0) {
		session->segment.fd = -1;
		return rc;
	}
	if (session->segment.bytes <
		HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES) {
		snprintf(error, 160, "the journal segment is too short");
		return -EPROTO;
	}
	rc = map_rings(session);
	if (rc != 0) {
		snprintf(error, 160, "cannot map the journal rings: %s", strerror(-rc));
		return rc;
	}
	for (uint32_t i = 0; rc == 0 && i < HB_PARTITION_COUNT; i++)
		rc = check_resumed_ring(session, i, error);
	if (rc == 0)
		hb_journal_show_level(session->journal, &session->rings->storage_level);
	return rc;
}

void
hb_session_close(struct hb_session *session)
{
	HB_ASSERT(!session->running);
	hb_journal_show_level(session->journal, NULL);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (session->data[i] != NULL)
			hb_segment_unmap_twice(session->data[i], HB_JOURNAL_RING_BYTES);
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX; i++)
		if (session->lcore_wake[i] >= 0)
			close(session->lcore_wake[i]);
	if (session->wake_fd >= 0)
		close(session->wake_fd);
	hb_segment_close(&session->segment);
}

/* ---- the writer ---- */

/* What a frame takes from each ring; the tails move by it after the write. */
struct gathered {
	uint64_t bytes[HB_PARTITION_COUNT];
	bool any;
	bool full;
	const char *fault;
	uint32_t fault_ring;
};

static void
gather_ring(struct hb_session *session, uint32_t number, struct gathered *gathered)
{
	void *at = NULL;
	int64_t left = hb_ring_peek(&session->end[number], &at);
	const uint8_t *from = at;

	if (left < 0) {
		gathered->fault = "its positions are absurd";
		gathered->fault_ring = number;
		return;
	}
	while (left > 0) {
		const char *fault = NULL;
		uint32_t taken = 0;
		int rc = hb_frame_add(
			session->journal, (uint16_t)number, from, (size_t)left, &taken, &fault);

		if (rc < 0) {
			gathered->fault = fault;
			gathered->fault_ring = number;
			return;
		}
		if (rc == 0) {
			gathered->full = true;
			return;
		}
		if (rc == 2)
			atomic_fetch_add(&session->journal->gauges.skipped, 1);
		gathered->any = true;
		gathered->bytes[number] += taken;
		from += taken;
		left -= taken;
	}
}

static void
wake_lcores(struct hb_session *session)
{
	/* pairs with the lcore: it stores waiting, then looks at the tails (both seq_cst) */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < session->lcore_count; i++)
		if (atomic_load(&session->rings->lcore[i].waiting) != 0)
			hb_bell_ring(session->lcore_wake[i]);
}

static void
publish(struct hb_session *session, const struct gathered *gathered)
{
	atomic_store_explicit(&session->rings->committed_seq,
		hb_committed_seq(&session->journal->commit), memory_order_release);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (gathered->bytes[i] > 0)
			hb_ring_consume(&session->end[i], gathered->bytes[i]);
	wake_lcores(session);
}

static void
note_fault(struct hb_session *session, const struct gathered *gathered)
{
	hb_log(HB_LOG_ERROR, "journal_ring_damaged",
		"ring=%u fault=\"%s\" advice=\"the dataplane is cut off; it must start afresh\"",
		gathered->fault_ring, gathered->fault);
	atomic_store(&session->failed, true);
	if (session->failed_fd >= 0)
		eventfd_write(session->failed_fd, 1);
}

int
hb_session_turn(struct hb_session *session)
{
	struct gathered gathered = {0};
	uint64_t first = session->journal->next_frame; /* another ring first each time */

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		gather_ring(session, (uint32_t)(first + i) % HB_PARTITION_COUNT, &gathered);
		if (gathered.full)
			break;
	}
	if (gathered.any) {
		if (hb_frame_write(session->journal, &session->abandon) != 0)
			return -ECANCELED;
		publish(session, &gathered);
	}
	if (gathered.fault != NULL) {
		note_fault(session, &gathered);
		return -EPROTO;
	}
	return gathered.any ? 1 : 0;
}

static bool
rings_empty(struct hb_session *session)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		void *at;

		if (hb_ring_peek(&session->end[i], &at) != 0)
			return false;
	}
	return true;
}

static void
sleep_until_rung(struct hb_session *session)
{
	struct pollfd wake = {.fd = session->wake_fd, .events = POLLIN};
	eventfd_t count;

	/* flag, then look again, then block: the dataplane publishes, then looks at the flag */
	atomic_store(&session->rings->persist_sleeping, 1);
	if (rings_empty(session) && !atomic_load(&session->hang_up) &&
		!atomic_load(&session->abandon) && poll(&wake, 1, SLEEP_MS_MAX) > 0)
		(void)eventfd_read(session->wake_fd, &count);
	atomic_store(&session->rings->persist_sleeping, 0);
}

static void
writer_main(void *argument)
{
	struct hb_session *session = argument;

	(void)hb_realtime_stay("writer", session->realtime);
	while (!atomic_load(&session->abandon)) {
		bool last = atomic_load(&session->hang_up);
		int rc = hb_session_turn(session);

		atomic_store_explicit(
			&session->rings->heartbeat_ns, hb_mono_ns(), memory_order_relaxed);
		/* the hang-up was seen before the turn that found nothing: nothing more comes */
		if (rc < 0 || (rc == 0 && last))
			break;
		if (rc == 0)
			sleep_until_rung(session);
	}
}

void
hb_session_start(struct hb_session *session, struct hb_runner *runner)
{
	session->runner = runner;
	session->running = true;
	hb_runner_begin(runner, writer_main, session);
}

static void
end_thread(struct hb_session *session)
{
	if (!session->running)
		return;
	eventfd_write(session->wake_fd, 1);
	hb_runner_wait(session->runner);
	session->running = false;
}

void
hb_session_drain(struct hb_session *session)
{
	atomic_store(&session->hang_up, true);
	end_thread(session);
}

void
hb_session_abandon(struct hb_session *session)
{
	atomic_store(&session->abandon, true);
	end_thread(session);
}
