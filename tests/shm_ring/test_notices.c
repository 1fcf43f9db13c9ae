/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The broadcast ring of notices: order, wrap, slow readers, a writer that laps its readers while
 * they copy, finding one's place again, and the way of the segment to a reader.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/notices.h"

#define SLOTS	     64
#define RACED	     40000
#define RACE_READERS 2

/* A notice whose every word says which one it is. */
static struct hb_notice
make(uint64_t number)
{
	return (struct hb_notice){
		.seq = 1000 + number,
		.kind = HB_NOTICE_GRAB,
		.packet = number * 3,
		.sender = number * 5,
		.user = number * 7,
		.group = number * 11,
		.amount_fen = (int64_t)number,
		.left_fen = -(int64_t)number,
		.order_stamp = number * 13,
		.time_ms = number * 17,
		.deadline_ms = number * 19,
	};
}

static void
expect_notice(const struct hb_notice *notice, uint64_t number)
{
	struct hb_notice expected = make(number);

	assert_memory_equal(notice, &expected, sizeof(expected));
}

static void
publish(struct hb_notices *ring, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		struct hb_notice notice = make(i);

		hb_notices_publish(ring, &notice);
	}
}

static void
notices_are_read_in_order_and_what_is_not_there_yet_is_not_read(void **state)
{
	struct hb_notices ring;
	struct hb_notice notice;

	(void)state;
	assert_int_equal(hb_notices_create(&ring, SLOTS, 1000), 0);
	assert_int_equal(hb_notices_through_seq(&ring), 999);
	assert_int_equal(hb_notices_read(&ring, 0, &notice), 0);
	publish(&ring, 0, 10);
	for (uint64_t i = 0; i < 10; i++) {
		assert_int_equal(hb_notices_read(&ring, i, &notice), 1);
		expect_notice(&notice, i);
	}
	assert_int_equal(hb_notices_read(&ring, 10, &notice), 0);
	hb_notices_through(&ring, 1012);
	assert_int_equal(hb_notices_through_seq(&ring), 1012);
	hb_notices_close(&ring);
}

static void
a_slow_reader_is_told_that_it_was_overrun(void **state)
{
	struct hb_notices ring;
	struct hb_notice notice;

	(void)state;
	assert_int_equal(hb_notices_create(&ring, SLOTS, 1000), 0);
	publish(&ring, 0, SLOTS);
	assert_int_equal(hb_notices_read(&ring, 0, &notice), 1);
	publish(&ring, SLOTS, 5 * SLOTS + 3);
	assert_int_equal(hb_notices_read(&ring, 0, &notice), -EOVERFLOW);
	assert_int_equal(hb_notices_read(&ring, 5 * SLOTS + 2, &notice), -EOVERFLOW);
	for (uint64_t i = 5 * SLOTS + 3; i < 6 * SLOTS + 3; i++) {
		assert_int_equal(hb_notices_read(&ring, i, &notice), 1);
		expect_notice(&notice, i);
	}
	hb_notices_close(&ring);
}

static void
a_place_is_found_by_its_key_and_one_that_was_overwritten_is_refused(void **state)
{
	struct hb_notices ring;
	struct hb_notice sold = make(3);
	uint64_t number;

	(void)state;
	assert_int_equal(hb_notices_create(&ring, SLOTS, 900), 0);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(899, 1), &number), 0);
	assert_int_equal(number, 0);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(899, 0), &number), -ESTALE);
	publish(&ring, 0, 4);
	sold.part = 1;
	sold.kind = HB_NOTICE_OVER;
	hb_notices_publish(&ring, &sold);
	publish(&ring, 4, 10);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(1002, 1), &number), 0);
	assert_int_equal(number, 3);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(1003, 0), &number), 0);
	assert_int_equal(number, 4);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(1003, 1), &number), 0);
	assert_int_equal(number, 5);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(5000, 1), &number), 0);
	assert_int_equal(number, 15);
	publish(&ring, 14, 3 * SLOTS);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(1003, 1), &number), -ESTALE);
	assert_int_equal(hb_notices_find(&ring, hb_notice_key(1000 + 3 * SLOTS, 1), &number), 0);
	assert_int_equal(number, 3 * SLOTS + 2);
	hb_notices_close(&ring);
}

/* ---- between threads ---- */

struct race {
	struct hb_notices *ring;
	_Atomic bool over;
};

static void *
write_all(void *argument)
{
	struct race *race = argument;

	for (uint64_t i = 0; i < RACED; i += 8) {
		publish(race->ring, i, 8);
		sched_yield();
	}
	atomic_store(&race->over, true);
	return NULL;
}

struct reading {
	struct race *race;
	uint64_t read;
	uint64_t overruns;
	uint64_t wrong;
	bool slow;
};

/* After an overrun it goes on near the tail, where the writer comes next. */
static void *
read_all(void *argument)
{
	struct reading *reading = argument;
	struct hb_notices *ring = reading->race->ring;
	uint64_t number = 0;

	for (;;) {
		bool over = atomic_load(&reading->race->over);
		struct hb_notice notice, expected = make(number);
		int rc = hb_notices_read(ring, number, &notice);

		if (rc == 1) {
			reading->read++;
			reading->wrong += memcmp(&notice, &expected, sizeof(notice)) != 0;
			number++;
			if (reading->slow && reading->read % 1024 == 0)
				usleep(200);
		} else if (rc == -EOVERFLOW) {
			reading->overruns++;
			number = hb_notices_head(ring) - SLOTS + 4;
		} else if (over) {
			return NULL;
		} else {
			sched_yield();
		}
	}
}

static void
no_reader_sees_a_torn_notice_while_the_writer_laps_it(void **state)
{
	struct hb_notices ring;
	struct race race = {.ring = &ring};
	struct reading reading[RACE_READERS] = {
		{.race = &race},
		{.race = &race, .slow = true},
	};
	pthread_t writer, reader[RACE_READERS];

	(void)state;
	assert_int_equal(hb_notices_create(&ring, SLOTS, 1000), 0);
	for (int i = 0; i < RACE_READERS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_all, &reading[i]), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_all, &race), 0);
	pthread_join(writer, NULL);
	for (int i = 0; i < RACE_READERS; i++) {
		pthread_join(reader[i], NULL);
		assert_int_equal(reading[i].wrong, 0);
		assert_true(reading[i].read > SLOTS);
	}
	print_message("read %llu and %llu of %d, overrun %llu and %llu times\n",
		(unsigned long long)reading[0].read, (unsigned long long)reading[1].read, RACED,
		(unsigned long long)reading[0].overruns, (unsigned long long)reading[1].overruns);
	/* a ring of 64 and a reader that pauses: it was lapped, and was told */
	assert_true(reading[1].overruns > 0);
	hb_notices_close(&ring);
}

/* ---- the way to a reader ---- */

static void
a_reader_gets_a_mapping_it_cannot_write_and_hears_the_writer_hang_up(void **state)
{
	struct hb_notices ring, reader;
	struct hb_notice notice;
	char error[160], byte;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(hb_notices_create(&ring, SLOTS, 7), 0);
	assert_int_equal(hb_notices_receive(&reader, pair[1], error), -EAGAIN);
	assert_int_equal(hb_notices_hand_out(&ring, pair[0]), 0);
	assert_int_equal(hb_notices_receive(&reader, pair[1], error), 0);
	assert_int_equal(reader.slots, SLOTS);
	assert_int_equal(reader.first_seq, 7);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader.segment.fd, 0),
		MAP_FAILED);
	publish(&ring, 0, 1);
	assert_int_equal(hb_notices_read(&reader, 0, &notice), 1);
	expect_notice(&notice, 0);
	close(pair[0]);
	assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
	/* what was mapped stays readable after the writer has gone */
	hb_notices_close(&ring);
	assert_int_equal(hb_notices_read(&reader, 0, &notice), 1);
	hb_notices_close(&reader);
	close(pair[1]);
}

static void
a_refusal_arrives_with_its_reason_and_a_foreign_segment_is_not_mapped(void **state)
{
	struct hb_notices reader;
	struct hb_segment other;
	char error[160];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	hb_notices_refuse(pair[0], EACCES, "who are you");
	assert_int_equal(hb_notices_receive(&reader, pair[1], error), -EACCES);
	assert_string_equal(error, "who are you");
	close(pair[0]);
	assert_int_equal(hb_notices_receive(&reader, pair[1], error), -ECONNRESET);
	close(pair[1]);

	assert_int_equal(hb_segment_create(&other, "test", HB_SEGMENT_NODE, 65536), 0);
	hb_segment_ready(&other);
	assert_int_equal(hb_notices_attach(&reader, dup(other.fd), error), -EPROTO);
	hb_segment_close(&other);
	/* the right kind with an absurd number of slots */
	assert_int_equal(hb_segment_create(&other, "test", HB_SEGMENT_NOTICES, 65536), 0);
	((struct hb_notice_head *)(void *)(other.base + HB_SEGMENT_GUARD_BYTES))->slots =
		UINT64_C(1) << 60;
	hb_segment_ready(&other);
	assert_int_equal(hb_notices_attach(&reader, dup(other.fd), error), -EPROTO);
	assert_non_null(strstr(error, "slots"));
	hb_segment_close(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notices_are_read_in_order_and_what_is_not_there_yet_is_not_read),
		cmocka_unit_test(a_slow_reader_is_told_that_it_was_overrun),
		cmocka_unit_test(
			a_place_is_found_by_its_key_and_one_that_was_overwritten_is_refused),
		cmocka_unit_test(no_reader_sees_a_torn_notice_while_the_writer_laps_it),
		cmocka_unit_test(
			a_reader_gets_a_mapping_it_cannot_write_and_hears_the_writer_hang_up),
		cmocka_unit_test(
			a_refusal_arrives_with_its_reason_and_a_foreign_segment_is_not_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
