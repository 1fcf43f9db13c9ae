/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of any thread reach the engine, and each caller hears of his own and of nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/engine_client.h"
#include "shm/ids.h"
#include "tests/control/engine_owner.h"

#define MANY	     1000
#define TIMEOUT_MS   2000
#define UNTIL_MS_MAX 3000

static char directory[] = "/tmp/control-engine-XXXXXX";
static char path[64];
static struct engine_owner *owner;
static struct hb_engine *engine;

static void
pause_ms(long ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static void
until_attached(bool attached)
{
	static struct hb_engine_view view;

	for (int ms = 0; ms < UNTIL_MS_MAX; ms += 5) {
		hb_engine_look(engine, &view);
		if (view.attached == attached)
			return;
		pause_ms(5);
	}
	fail_msg("the engine client is not %s in time", attached ? "attached" : "detached");
}

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/attach.sock", directory);
	owner = engine_owner_start(path);
	assert_int_equal(hb_engine_start(&engine, path), 0);
	until_attached(true);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hb_engine_stop(engine);
	engine_owner_stop(owner);
	unlink(path);
	rmdir(directory);
	memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
	return 0;
}

static void
ask_balance(struct hb_frame *frame, uint64_t account)
{
	memset(frame, 0, sizeof(*frame));
	frame->operation = HB_OP_BALANCE;
	frame->length = sizeof(*frame);
	frame->target = account;
}

static void
ask_open(struct hb_frame_account_open *frame, uint64_t account)
{
	memset(frame, 0, sizeof(*frame));
	frame->head.operation = HB_OP_ACCOUNT_OPEN;
	frame->head.length = sizeof(*frame);
	frame->head.target = account;
	frame->kind = HB_ACCOUNT_USER;
}

static int
open_one(uint64_t account, struct hb_reply *reply)
{
	struct hb_frame_account_open frame;

	ask_open(&frame, account);
	return hb_engine_call_one(engine, &frame.head, reply, sizeof(*reply), TIMEOUT_MS);
}

static void
one_frame_gets_its_reply(void **state)
{
	struct hb_reply reply;
	struct hb_frame frame;

	(void)state;
	assert_int_equal(open_one(1001, &reply), 0);
	assert_int_equal(reply.status, HB_STATUS_OK);
	ask_balance(&frame, 1001);
	assert_int_equal(hb_engine_call_one(engine, &frame, &reply, sizeof(reply), TIMEOUT_MS), 0);
	assert_int_equal(reply.id, 1001);
	ask_balance(&frame, 1002);
	assert_int_equal(hb_engine_call_one(engine, &frame, &reply, sizeof(reply), TIMEOUT_MS), 0);
	assert_int_equal(reply.status, HB_STATUS_ACCOUNT_UNKNOWN);
}

static void *
open_many(void *context)
{
	uint64_t first = *(uint64_t *)context;
	struct hb_frame_account_open *frames = calloc(MANY, sizeof(*frames));
	struct hb_engine_call *calls = calloc(MANY, sizeof(*calls));
	struct hb_reply *replies = calloc(MANY, sizeof(*replies));
	uintptr_t wrong = 0;

	for (uint32_t i = 0; i < MANY; i++) {
		ask_open(&frames[i], first + i);
		calls[i] = (struct hb_engine_call){.frame = &frames[i].head,
			.reply = &replies[i],
			.reply_room = sizeof(replies[i])};
	}
	hb_engine_call_many(engine, calls, MANY, TIMEOUT_MS);
	for (uint32_t i = 0; i < MANY; i++)
		wrong += calls[i].error != 0 || replies[i].status != HB_STATUS_OK ||
			 replies[i].id != first + i;
	free(frames);
	free(calls);
	free(replies);
	return (void *)wrong;
}

static void
six_callers_with_a_thousand_frames_each_hear_of_their_own(void **state)
{
	uint64_t first[6];
	pthread_t threads[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		first[i] = 10000 + (uint64_t)i * MANY;
		assert_int_equal(pthread_create(&threads[i], NULL, open_many, &first[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

static void
a_lost_reply_is_an_unknown_outcome_and_a_late_one_reaches_nobody(void **state)
{
	struct hb_reply reply = {.id = 5};
	struct hb_frame frame;
	uint64_t began_ns;

	(void)state;
	engine_owner_silent(owner, true);
	ask_balance(&frame, 1);
	began_ns = hb_mono_ns();
	assert_int_equal(hb_engine_call_one(engine, &frame, &reply, sizeof(reply), 50), -ETIMEDOUT);
	assert_true(hb_mono_ns() - began_ns >= 50000000);
	assert_int_equal(reply.id, 5);
	engine_owner_silent(owner, false);
	assert_int_equal(open_one(7, &reply), 0);
	assert_int_equal(reply.id, 7);
}

static void *
call_silent(void *context)
{
	struct hb_reply reply;
	struct hb_frame frame;

	(void)context;
	ask_balance(&frame, 1);
	return (void *)(intptr_t)hb_engine_call_one(
		engine, &frame, &reply, sizeof(reply), TIMEOUT_MS);
}

static void
a_hang_up_ends_what_is_under_way_and_it_attaches_again(void **state)
{
	uint64_t frames = engine_owner_frames(owner);
	struct hb_reply reply;
	pthread_t thread;
	void *error;

	(void)state;
	engine_owner_silent(owner, true);
	assert_int_equal(pthread_create(&thread, NULL, call_silent, NULL), 0);
	while (engine_owner_frames(owner) == frames)
		pause_ms(1);
	engine_owner_hang_up(owner);
	pthread_join(thread, &error);
	assert_int_equal((intptr_t)error, -EPIPE);
	engine_owner_silent(owner, false);
	until_attached(true);
	assert_int_equal(open_one(9, &reply), 0);
	assert_int_equal(reply.status, HB_STATUS_OK);
}

static void
without_a_dataplane_nothing_is_sent_and_the_caller_hears_at_once(void **state)
{
	struct hb_reply reply;
	uint64_t began_ns;

	(void)state;
	engine_owner_stop(owner);
	until_attached(false);
	began_ns = hb_mono_ns();
	assert_int_equal(open_one(9, &reply), -EAGAIN);
	assert_true(hb_mono_ns() - began_ns < 500000000);
	owner = engine_owner_start(path);
	until_attached(true);
	assert_int_equal(open_one(9, &reply), 0);
}

static void
a_reply_longer_than_its_room_is_not_copied(void **state)
{
	struct hb_reply reply = {.id = 5};
	struct hb_frame frame;

	(void)state;
	ask_balance(&frame, 1);
	assert_int_equal(hb_engine_call_one(engine, &frame, &reply, 32, TIMEOUT_MS), -EMSGSIZE);
	assert_int_equal(reply.id, 5);
}

static void
the_view_tells_the_counters(void **state)
{
	static struct hb_engine_view view;

	(void)state;
	hb_engine_look(engine, &view);
	assert_true(view.attached);
	assert_int_equal(view.lcore_count, 1);
	assert_int_equal(view.counter_count, HB_COUNTER_COUNT);
	assert_string_equal(view.label[HB_COUNTER_GRABS].key, "grabs");
	assert_int_equal(view.in_flight, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(one_frame_gets_its_reply),
		TEST(six_callers_with_a_thousand_frames_each_hear_of_their_own),
		TEST(a_lost_reply_is_an_unknown_outcome_and_a_late_one_reaches_nobody),
		TEST(a_hang_up_ends_what_is_under_way_and_it_attaches_again),
		TEST(without_a_dataplane_nothing_is_sent_and_the_caller_hears_at_once),
		TEST(a_reply_longer_than_its_room_is_not_copied),
		TEST(the_view_tells_the_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
