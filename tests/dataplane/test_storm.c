/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Many clients want the same packet, on 1, 2 and 4 lcores; persist dies in the middle.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node.h"
#include "shm/ids.h"

#define CLIENTS	   200
#define SHARES	   100
#define TOTAL_FEN  12345
#define SENDER	   UINT64_C(1001)
#define FIRST_USER UINT64_C(2000)

struct storm {
	struct node node;
	struct hb_client *control;
	struct hb_client *client[CLIENTS];
	struct hb_reply reply[CLIENTS]; /* version 0 = none yet */
	uint32_t replies;
};

static void
on_reply(void *context, const struct hb_reply *reply)
{
	struct storm *s = context;
	uint64_t i = reply->correlation - FIRST_USER;

	assert_true(i < CLIENTS);
	assert_int_equal(s->reply[i].version, 0);
	s->reply[i] = *reply;
	s->replies++;
}

static void
start(struct storm *s, uint32_t lcores)
{
	memset(s, 0, sizeof(*s));
	node_start(&s->node, lcores, 1024);
	s->control = node_client(&s->node, "control");
	fund(s->control, SENDER, 10 * TOTAL_FEN);
	for (int i = 0; i < CLIENTS; i++)
		s->client[i] = node_client_sized(&s->node, 4096, 4096);
}

static void
stop(struct storm *s)
{
	for (int i = 0; i < CLIENTS; i++)
		hb_client_close(s->client[i]);
	hb_client_close(s->control);
	node_stop(&s->node);
}

static void
everybody_grabs(struct storm *s, uint64_t packet)
{
	memset(s->reply, 0, sizeof(s->reply));
	s->replies = 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct hb_frame frame;

		grab_frame(&frame, packet, FIRST_USER + i);
		assert_int_equal(hb_client_send(s->client[i], &frame), 0);
		hb_client_flush(s->client[i]);
	}
}

static void
collect(struct storm *s, uint32_t expected, uint32_t timeout_ms)
{
	uint64_t until_ns = hb_mono_ns() + timeout_ms * UINT64_C(1000000);

	while (s->replies < expected && hb_mono_ns() < until_ns) {
		for (int i = 0; i < CLIENTS; i++)
			assert_true(hb_client_poll(s->client[i], on_reply, s, 32) >= 0);
		usleep(100);
	}
}

static void
check_shares(const struct storm *s)
{
	bool seen[SHARES] = {false};
	int64_t sum_fen = 0;
	uint32_t winners = 0;

	for (int i = 0; i < CLIENTS; i++) {
		if (s->reply[i].status == HB_STATUS_SOLD_OUT)
			continue;
		assert_int_equal(s->reply[i].status, HB_STATUS_OK);
		assert_true(s->reply[i].index < SHARES && !seen[s->reply[i].index]);
		seen[s->reply[i].index] = true;
		assert_true(s->reply[i].amount_fen >= 1);
		assert_true(s->reply[i].as_of_seq > 0);
		sum_fen += s->reply[i].amount_fen;
		winners++;
	}
	assert_int_equal(winners, SHARES);
	assert_int_equal(sum_fen, TOTAL_FEN);
}

static void
check_retries(struct storm *s, uint64_t packet)
{
	struct hb_reply first[CLIENTS];

	memcpy(first, s->reply, sizeof(first));
	everybody_grabs(s, packet);
	collect(s, CLIENTS, 3000);
	assert_int_equal(s->replies, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(s->reply[i].status, first[i].status);
		if (first[i].status != HB_STATUS_OK)
			continue;
		assert_int_equal(s->reply[i].flags, HB_REPLY_ALREADY);
		assert_int_equal(s->reply[i].amount_fen, first[i].amount_fen);
		assert_int_equal(s->reply[i].index, first[i].index);
	}
}

/* What a winner was told is on his account, and a recovery would find the same. */
static void
check_balances(struct storm *s)
{
	struct hb_state *replayed = &s->node.persist.replayed;

	assert_true(atomic_load(&s->node.persist.seq) > 0);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint64_t user = FIRST_USER + i;
		struct hb_account *account =
			hb_account_find(&replayed->partition[hb_partition_of(user)], user);

		if (s->reply[i].status != HB_STATUS_OK) {
			assert_null(account);
			continue;
		}
		assert_int_equal(balance(s->control, user), s->reply[i].amount_fen);
		assert_non_null(account);
		assert_int_equal(account->available_fen, s->reply[i].amount_fen);
	}
	assert_int_equal(balance(s->control, SENDER), 9 * TOTAL_FEN);
}

static void
storm_on(uint32_t lcores)
{
	static struct storm s;
	uint64_t packet;

	start(&s, lcores);
	assert_int_equal(hb_client_lcore_count(s.control), lcores);
	packet = send_packet(s.control, SENDER, TOTAL_FEN, SHARES, 0);
	everybody_grabs(&s, packet);
	collect(&s, CLIENTS, 3000);
	assert_int_equal(s.replies, CLIENTS);
	check_shares(&s);
	check_retries(&s, packet);
	check_balances(&s);
	assert_int_equal(counter(s.control, HB_COUNTER_GRABS), SHARES);
	assert_int_equal(counter(s.control, HB_COUNTER_CREDITS_SENT), SHARES);
	assert_int_equal(counter(s.control, HB_COUNTER_CREDITS_APPLIED), SHARES);
	stop(&s);
}

static void
a_hundred_shares_make_a_hundred_winners_on_one_lcore(void **state)
{
	(void)state;
	storm_on(1);
}

static void
a_hundred_shares_make_a_hundred_winners_on_two_lcores(void **state)
{
	(void)state;
	storm_on(2);
}

static void
a_hundred_shares_make_a_hundred_winners_on_four_lcores(void **state)
{
	(void)state;
	storm_on(4);
}

static void
nothing_is_told_while_persist_is_dead_and_everything_once_it_is_back(void **state)
{
	static struct storm s;
	uint64_t packet;

	(void)state;
	start(&s, 2);
	packet = send_packet(s.control, SENDER, TOTAL_FEN, SHARES, 0);
	atomic_store(&s.node.persist.hold, true);
	everybody_grabs(&s, packet);
	collect(&s, 1, 60);
	assert_int_equal(s.replies, 0);
	persist_kill(&s.node);
	collect(&s, 1, 30);
	assert_int_equal(s.replies, 0);
	atomic_store(&s.node.persist.hold, false);
	persist_start(&s.node);
	collect(&s, CLIENTS, 3000);
	assert_int_equal(s.replies, CLIENTS);
	check_shares(&s);
	check_balances(&s);
	stop(&s);
}

static void
persist_may_die_at_any_moment_of_a_storm(void **state)
{
	static struct storm s;
	uint64_t packet;

	(void)state;
	start(&s, 2);
	packet = send_packet(s.control, SENDER, TOTAL_FEN, SHARES, 0);
	everybody_grabs(&s, packet);
	for (int life = 0; life < 3; life++) {
		collect(&s, CLIENTS, 1);
		persist_kill(&s.node);
		persist_start(&s.node);
	}
	collect(&s, CLIENTS, 3000);
	assert_int_equal(s.replies, CLIENTS);
	check_shares(&s);
	check_retries(&s, packet);
	check_balances(&s);
	stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hundred_shares_make_a_hundred_winners_on_one_lcore),
		cmocka_unit_test(a_hundred_shares_make_a_hundred_winners_on_two_lcores),
		cmocka_unit_test(a_hundred_shares_make_a_hundred_winners_on_four_lcores),
		cmocka_unit_test(
			nothing_is_told_while_persist_is_dead_and_everything_once_it_is_back),
		cmocka_unit_test(persist_may_die_at_any_moment_of_a_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
