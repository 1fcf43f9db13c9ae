/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The byte ring between threads, between processes of which one is killed, and against a peer that
 * lies about its position.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "shm/ring.h"
#include "shm/segment.h"

#define CAPACITY	   4096
#define SUCCEEDED_MESSAGES 20000
#define DATA_OFFSET	   (2 * HB_SEGMENT_GUARD_BYTES)

struct fixture {
	struct hb_segment segment;
	struct hb_ring *ring;
	uint8_t *data;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(
		hb_segment_create(&f->segment, "test", HB_SEGMENT_CLIENT, DATA_OFFSET + CAPACITY),
		0);
	f->ring = (struct hb_ring *)(void *)(f->segment.base + HB_SEGMENT_GUARD_BYTES);
	f->data = hb_segment_map_twice(f->segment.fd, DATA_OFFSET, CAPACITY, true);
	assert_non_null(f->data);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	hb_segment_unmap_twice(f->data, CAPACITY);
	hb_segment_close(&f->segment);
	free(f);
	return 0;
}

static void
a_message_across_the_end_is_contiguous(void **state)
{
	struct fixture *f = *state;
	struct hb_ring_end in, out;
	uint8_t bytes[600];
	void *at;

	hb_ring_producer(&in, f->ring, f->data, CAPACITY);
	hb_ring_consumer(&out, f->ring, f->data, CAPACITY);
	for (int round = 0; round < 50; round++) {
		memset(bytes, round, sizeof(bytes));
		at = hb_ring_reserve(&in, sizeof(bytes));
		assert_non_null(at);
		memcpy(at, bytes, sizeof(bytes));
		hb_ring_advance(&in, sizeof(bytes));
		assert_int_equal(hb_ring_peek(&out, &at), 0); /* not published yet */
		hb_ring_publish(&in);
		assert_int_equal(hb_ring_peek(&out, &at), sizeof(bytes));
		assert_memory_equal(at, bytes, sizeof(bytes));
		hb_ring_consume(&out, sizeof(bytes));
	}
}

static void
a_full_ring_has_no_room_until_the_consumer_gives_back(void **state)
{
	struct fixture *f = *state;
	struct hb_ring_end in, out;
	void *at;

	hb_ring_producer(&in, f->ring, f->data, CAPACITY);
	hb_ring_consumer(&out, f->ring, f->data, CAPACITY);
	assert_null(hb_ring_reserve(&in, CAPACITY + 1));
	assert_non_null(hb_ring_reserve(&in, CAPACITY));
	hb_ring_advance(&in, CAPACITY);
	assert_null(hb_ring_reserve(&in, 1));
	assert_int_equal(hb_ring_room(&in), 0);
	hb_ring_publish(&in);
	assert_int_equal(hb_ring_peek(&out, &at), CAPACITY);
	hb_ring_consume(&out, 64);
	assert_non_null(hb_ring_reserve(&in, 64));
	assert_null(hb_ring_reserve(&in, 65));
}

static void
absurd_positions_of_a_hostile_peer_are_refused(void **state)
{
	static const uint64_t absurd[] = {
		CAPACITY + 1, UINT64_MAX, UINT64_C(1) << 63, CAPACITY + 65};
	struct fixture *f = *state;
	struct hb_ring_end in, out;
	void *at;

	hb_ring_producer(&in, f->ring, f->data, CAPACITY);
	hb_ring_consumer(&out, f->ring, f->data, CAPACITY);
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		atomic_store(&f->ring->head, absurd[i]);
		assert_int_equal(hb_ring_peek(&out, &at), -EPROTO);
		atomic_store(&f->ring->head, 0);
		atomic_store(&f->ring->tail, absurd[i]);
		assert_int_equal(hb_ring_room(&in), 0);
		assert_null(hb_ring_reserve(&in, CAPACITY + 1));
		atomic_store(&f->ring->tail, 0);
	}
	/* A tail in front of the head. */
	hb_ring_reserve(&in, 64);
	hb_ring_advance(&in, 64);
	hb_ring_publish(&in);
	atomic_store(&f->ring->tail, 128);
	assert_int_equal(hb_ring_room(&in), 0);
}

struct stream {
	struct hb_ring_end end;
	int wake;
	uint64_t messages;
	uint64_t wrong;
	bool pause; /* the producer lets the consumer fall asleep now and then */
};

static void *
produce(void *argument)
{
	struct stream *s = argument;

	for (uint64_t i = 0; i < s->messages;) {
		uint64_t *at = hb_ring_reserve(&s->end, 64);

		if (at == NULL) {
			sched_yield();
			continue;
		}
		for (int word = 0; word < 8; word++)
			at[word] = i * 8 + (uint64_t)word;
		hb_ring_advance(&s->end, 64);
		i++;
		if (hb_ring_publish(&s->end))
			eventfd_write(s->wake, 1);
		if (s->pause && i % 64 == 0)
			usleep(i % 128 == 0 ? 50 : 1);
	}
	return NULL;
}

/* Reads all messages, sleeping when empty. A lost wake-up shows as a time-out of 1 s. */
static void
consume_all(struct stream *s)
{
	uint64_t expected = 0;

	while (expected < s->messages * 8) {
		void *at;
		int64_t bytes = hb_ring_peek(&s->end, &at);

		assert_true(bytes >= 0 && bytes % 64 == 0);
		for (int64_t word = 0; word < bytes / 8; word++)
			assert_int_equal(((uint64_t *)at)[word], expected++);
		hb_ring_consume(&s->end, (uint64_t)bytes);
		if (bytes == 0 && hb_ring_sleep(&s->end)) {
			struct pollfd p = {.fd = s->wake, .events = POLLIN};
			eventfd_t rung;

			assert_int_equal(poll(&p, 1, 1000), 1);
			eventfd_read(s->wake, &rung);
		}
		hb_ring_awake(&s->end);
	}
}

static void
run_stream(struct fixture *f, uint64_t messages, bool pause)
{
	struct stream in = {.messages = messages, .pause = pause}, out = in;
	pthread_t thread;

	in.wake = out.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	hb_ring_producer(&in.end, f->ring, f->data, CAPACITY);
	hb_ring_consumer(&out.end, f->ring, f->data, CAPACITY);
	assert_int_equal(pthread_create(&thread, NULL, produce, &in), 0);
	consume_all(&out);
	pthread_join(thread, NULL);
	close(in.wake);
}

static void
every_byte_arrives_in_order_between_threads(void **state)
{
	run_stream(*state, 50000, false);
}

static void
a_sleeping_consumer_is_never_left_asleep(void **state)
{
	run_stream(*state, 3000, true);
}

/* Takes some messages and leaves the rest to whoever comes next. */
static void *
consume_some(void *argument)
{
	struct stream *s = argument;
	uint64_t expected = s->end.position / 8;
	uint64_t until = s->messages;
	uint64_t give_up_ns = hb_mono_ns() + UINT64_C(10000000000);

	while (until > 0 && expected < SUCCEEDED_MESSAGES * 8) {
		void *at;
		int64_t bytes = hb_ring_peek(&s->end, &at);

		if (bytes < 0 || bytes % 64 != 0 || hb_mono_ns() > give_up_ns) {
			s->wrong++;
			return NULL;
		}
		if (bytes == 0) {
			sched_yield();
			continue;
		}
		if ((uint64_t)bytes > until * 64)
			bytes = (int64_t)until * 64;
		for (int64_t word = 0; word < bytes / 8; word++)
			s->wrong += ((uint64_t *)at)[word] != expected++;
		hb_ring_consume(&s->end, (uint64_t)bytes);
		until -= (uint64_t)bytes / 64;
	}
	return NULL;
}

static void
successors_of_a_consumer_go_on_while_the_producer_writes(void **state)
{
	struct fixture *f = *state;
	struct stream in = {.messages = SUCCEEDED_MESSAGES};
	uint64_t taken = 0, some = 1;
	pthread_t producer;

	hb_ring_producer(&in.end, f->ring, f->data, CAPACITY);
	in.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(pthread_create(&producer, NULL, produce, &in), 0);
	while (taken < SUCCEEDED_MESSAGES) {
		struct stream out = {.messages = some = some * 7 % 97 + 1};
		pthread_t consumer;

		hb_ring_consumer(&out.end, f->ring, f->data, CAPACITY);
		assert_int_equal(pthread_create(&consumer, NULL, consume_some, &out), 0);
		pthread_join(consumer, NULL);
		assert_int_equal(out.wrong, 0);
		taken = out.end.position / 64;
	}
	pthread_join(producer, NULL);
	close(in.wake);
}

static void
what_a_killed_producer_published_is_whole_and_a_successor_goes_on(void **state)
{
	struct fixture *f = *state;
	uint64_t expected = 0;

	for (int life = 0; life < 5; life++) {
		struct hb_ring_end out;
		uint64_t killed_ns = hb_mono_ns() + 5000000;
		int status;
		pid_t child = fork();

		if (child == 0) {
			struct stream in = {.messages = UINT64_MAX};
			uint64_t next;

			prctl(PR_SET_PDEATHSIG,
				SIGKILL); /* a test that fails leaves nobody behind */
			hb_ring_producer(&in.end, f->ring, f->data, CAPACITY);
			next = in.end.position / 64;
			for (;;) {
				uint64_t *at = hb_ring_reserve(&in.end, 64);

				if (at == NULL)
					continue;
				for (int word = 0; word < 8; word++)
					at[word] = next;
				next++;
				hb_ring_advance(&in.end, 64);
				hb_ring_publish(&in.end);
			}
		}
		hb_ring_consumer(&out, f->ring, f->data, CAPACITY);
		for (bool alive = true;;) {
			void *at;
			int64_t bytes = hb_ring_peek(&out, &at);

			assert_true(bytes >= 0 && bytes % 64 == 0);
			for (int64_t word = 0; word < bytes / 8; word++)
				assert_int_equal(
					((uint64_t *)at)[word], expected + (uint64_t)word / 8);
			expected += (uint64_t)bytes / 64;
			hb_ring_consume(&out, (uint64_t)bytes);
			if (bytes == 0 && !alive)
				break;
			if (alive && hb_mono_ns() > killed_ns) {
				kill(child, SIGKILL);
				assert_int_equal(waitpid(child, &status, 0), child);
				alive = false;
			}
		}
	}
	assert_true(expected > 0);
}

/* Whoever begins to produce finds positions that cannot be: there is no room, and nothing is
 * written. */
static void
a_ring_that_is_absurd_from_the_beginning_has_no_room(void **state)
{
	struct fixture *f = *state;
	struct hb_ring_end end;

	f->ring->head = 3 * CAPACITY;
	f->ring->tail = CAPACITY;
	hb_ring_producer(&end, f->ring, f->data, CAPACITY);
	assert_int_equal(hb_ring_room(&end), 0);
	assert_null(hb_ring_reserve(&end, 8));
	f->ring->tail = 2 * CAPACITY + 64;
	assert_int_equal(hb_ring_room(&end), 64);
	assert_non_null(hb_ring_reserve(&end, 64));
	assert_null(hb_ring_reserve(&end, 72));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_message_across_the_end_is_contiguous),
		TEST(a_full_ring_has_no_room_until_the_consumer_gives_back),
		TEST(absurd_positions_of_a_hostile_peer_are_refused),
		TEST(every_byte_arrives_in_order_between_threads),
		TEST(a_sleeping_consumer_is_never_left_asleep),
		TEST(successors_of_a_consumer_go_on_while_the_producer_writes),
		TEST(what_a_killed_producer_published_is_whole_and_a_successor_goes_on),
		TEST(a_ring_that_is_absurd_from_the_beginning_has_no_room),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
