/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The watermark between threads: lcores that publish records, park, sleep and release by the tails
 * of their rings; the writer of a session, and the successor that takes the rings over; waiters on
 * the commit watermark. Made for the thread sanitizer too (tests/races).
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fixture.h"

#include "base/assert.h"
#include "base/clock.h"
#include "persist/session.h"
#include "shm/bell.h"

#define LCORES	     2
#define RECORDS	     3000 /* of each lcore */
#define PARKED_MAX   64
#define SUCCESSORS   3
#define WAITERS	     3
#define COMMITS	     20000
#define LOST_WAKE_MS 3000
#define RECORD_BYTES sizeof(struct hb_record_grab)

struct lcore {
	uint32_t number; /* it owns the ring of this number */
	struct hb_segment segment;
	struct hb_journal_rings *rings;
	struct hb_ring_end end;
	struct hb_bell bell;
	int persist_wake;	     /* stays the same number when persist is succeeded */
	uint64_t parked[PARKED_MAX]; /* positions, a FIFO */
	uint64_t first, next;
	uint64_t released;
	uint64_t sleeps;
};

static void
lcore_open(struct lcore *lcore, const struct hb_session *session)
{
	char error[160];
	uint8_t *data;

	assert_int_equal(hb_bell_make(&lcore->bell), 0);
	assert_int_equal(hb_segment_attach(&lcore->segment, dup(session->segment.fd),
				 HB_SEGMENT_JOURNAL, true, error),
		0);
	lcore->rings = (void *)(lcore->segment.base + HB_SEGMENT_GUARD_BYTES);
	data = hb_segment_map_twice(lcore->segment.fd,
		HB_JOURNAL_DATA_OFFSET + lcore->number * HB_JOURNAL_RING_BYTES,
		HB_JOURNAL_RING_BYTES, true);
	assert_non_null(data);
	hb_ring_producer(
		&lcore->end, &lcore->rings->ring[lcore->number], data, HB_JOURNAL_RING_BYTES);
}

static void
lcore_close(struct lcore *lcore)
{
	hb_segment_unmap_twice(lcore->end.data, HB_JOURNAL_RING_BYTES);
	hb_segment_close(&lcore->segment);
	hb_bell_close(&lcore->bell);
}

static void
make_record(struct lcore *lcore, uint64_t number)
{
	struct hb_record_grab grab = fixture_record((uint16_t)lcore->number, number);
	void *at = hb_ring_reserve(&lcore->end, sizeof(grab));

	HB_ASSERT(at != NULL);
	memcpy(at, &grab, sizeof(grab));
	hb_ring_advance(&lcore->end, sizeof(grab));
	lcore->parked[lcore->next++ % PARKED_MAX] = lcore->end.position;
	hb_ring_publish(&lcore->end);
	if (atomic_load(&lcore->rings->persist_sleeping) != 0)
		(void)!write(lcore->persist_wake, &(uint64_t){1}, 8);
}

static bool
release_committed(struct lcore *lcore)
{
	uint64_t tail = atomic_load_explicit(&lcore->end.ring->tail, memory_order_acquire);
	uint64_t before = lcore->released;

	while (lcore->first < lcore->next && lcore->parked[lcore->first % PARKED_MAX] <= tail) {
		lcore->first++;
		lcore->released++;
	}
	/* stored before the tails: it covers what is released */
	HB_ASSERT(atomic_load_explicit(&lcore->rings->committed_seq, memory_order_acquire) >=
		  lcore->released);
	return lcore->released != before;
}

/* As hb_lcore_sleep does it; whoever is not woken shows by waiting too long. */
static void
sleep_until_committed(struct lcore *lcore)
{
	struct pollfd bell = {.fd = lcore->bell.wait, .events = POLLIN};
	_Atomic uint32_t *waiting = &lcore->rings->lcore[lcore->number].waiting;

	atomic_store(waiting, 1);
	if (lcore->parked[lcore->first % PARKED_MAX] > atomic_load(&lcore->end.ring->tail)) {
		HB_ASSERT(poll(&bell, 1, LOST_WAKE_MS) == 1);
		hb_bell_clear(bell.fd);
		lcore->sleeps++;
	}
	atomic_store_explicit(waiting, 0, memory_order_relaxed);
}

static void *
run_lcore(void *argument)
{
	struct lcore *lcore = argument;
	uint64_t made = 0;

	while (lcore->released < RECORDS) {
		if (made < RECORDS && lcore->next - lcore->first < PARKED_MAX)
			make_record(lcore, ++made);
		else if (!release_committed(lcore))
			sleep_until_committed(lcore);
		else
			release_committed(lcore);
	}
	return NULL;
}

static struct hb_runner runner; /* the thread of one session after the other */

static void
give_bells(struct hb_session *session, struct lcore *lcores)
{
	session->lcore_count = LCORES;
	for (uint32_t i = 0; i < LCORES; i++)
		session->lcore_wake[i] = hb_bell_share(lcores[i].bell.ring);
}

/* The writer is stopped in the middle; the next session goes on with the same rings. */
static void
hand_over(struct hb_session *session, struct fixture *f, struct lcore *lcores, int wake)
{
	int fd = dup(session->segment.fd);
	char error[160] = "";

	hb_session_abandon(session);
	hb_session_close(session);
	hb_session_init(session, &f->journal);
	assert_int_equal(
		hb_session_resume(session, fd, f->journal.superblock.state_epoch, error), 0);
	give_bells(session, lcores);
	assert_int_equal(dup3(session->wake_fd, wake, O_CLOEXEC), wake);
	eventfd_write(wake, 1); /* whatever was published while nobody listened */
	hb_session_start(session, &runner);
}

static void
parked_replies_leave_by_the_tail_while_persist_is_succeeded(void **state)
{
	static struct fixture f;
	static struct lcore lcores[LCORES];
	struct hb_session session;
	pthread_t thread[LCORES];
	uint64_t records;
	int wake;

	(void)state;
	fixture_begin(&f);
	assert_int_equal(fixture_open(&f), 0);
	hb_session_init(&session, &f.journal);
	assert_int_equal(hb_session_fresh(&session), 0);
	wake = dup(session.wake_fd);
	for (uint32_t i = 0; i < LCORES; i++) {
		lcores[i] = (struct lcore){.number = i, .persist_wake = wake};
		lcore_open(&lcores[i], &session);
	}
	give_bells(&session, lcores);
	assert_int_equal(hb_runner_start(&runner), 0);
	hb_session_start(&session, &runner);
	for (uint32_t i = 0; i < LCORES; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_lcore, &lcores[i]), 0);
	for (int i = 0; i < SUCCESSORS; i++) {
		usleep(3000);
		hand_over(&session, &f, lcores, wake);
	}
	for (uint32_t i = 0; i < LCORES; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(lcores[i].released, RECORDS);
	}
	hb_session_drain(&session);
	assert_int_equal(atomic_load(&lcores[0].rings->committed_seq), LCORES * RECORDS);
	hb_session_close(&session);
	hb_runner_stop(&runner);
	print_message("slept %llu and %llu times\n", (unsigned long long)lcores[0].sleeps,
		(unsigned long long)lcores[1].sleeps);
	for (uint32_t i = 0; i < LCORES; i++)
		lcore_close(&lcores[i]);
	close(wake);
	fixture_close(&f);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, LCORES * RECORDS);
	fixture_end(&f);
}

/* ---- waiters of the commit watermark ---- */

static struct hb_commit commit;
static uint64_t payload[COMMITS + 1]; /* plain: the watermark alone makes it safe to read */

static void *
commit_all(void *argument)
{
	for (uint64_t seq = 1; seq <= COMMITS; seq++) {
		payload[seq] = seq * 3;
		hb_commit_publish(&commit, seq);
		if (seq % 512 == 0)
			usleep(50); /* they catch up, and sleep */
	}
	return argument;
}

static void *
wait_for_all(void *argument)
{
	uint64_t *wrong = argument;
	uint64_t seen = 0;

	while (seen < COMMITS) {
		uint64_t begun_ns = hb_mono_ns();
		uint64_t now = hb_commit_wait(&commit, seen, LOST_WAKE_MS);

		/* it may return early for nothing, but not late */
		*wrong += hb_mono_ns() - begun_ns > LOST_WAKE_MS * UINT64_C(1000000);
		for (; seen < now; seen++)
			*wrong += payload[seen + 1] != (seen + 1) * 3;
	}
	return NULL;
}

static void
whoever_waits_for_a_commit_sees_what_was_written_before_it(void **state)
{
	pthread_t writer, waiter[WAITERS];
	uint64_t wrong[WAITERS] = {0};

	(void)state;
	for (int i = 0; i < WAITERS; i++)
		assert_int_equal(pthread_create(&waiter[i], NULL, wait_for_all, &wrong[i]), 0);
	assert_int_equal(pthread_create(&writer, NULL, commit_all, NULL), 0);
	pthread_join(writer, NULL);
	for (int i = 0; i < WAITERS; i++) {
		pthread_join(waiter[i], NULL);
		assert_int_equal(wrong[i], 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_waits_for_a_commit_sees_what_was_written_before_it),
		cmocka_unit_test(parked_replies_leave_by_the_tail_while_persist_is_succeeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
