/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and grabbing packets, as members see it. */
#include <stdio.h>
#include <string.h>

#include "shm/node.h"
#include "tests/engine/world.h"

#define SENDER 1001
#define GROUP  7

static struct world w;

static int
setup(void **unused)
{
	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, SENDER, 100000), HB_STATUS_OK);
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	assert_int_equal(world_money(&w), 0);
	world_check_replay(&w);
	world_close(&w);
	return 0;
}

static void
test_every_share_is_taken_once_and_the_sum_is_exact(void **unused)
{
	uint64_t packet;
	int64_t sum = 0;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 10000, 100, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_frozen(&w, SENDER), 10000);
	for (uint64_t user = 1; user <= 100; user++) {
		assert_int_equal(world_grab(&w, packet, user, GROUP), HB_STATUS_OK);
		assert_true(w.reply.head.amount_fen >= 1);
		assert_int_equal(w.reply.head.index, user - 1);
		sum += w.reply.head.amount_fen;
	}
	assert_int_equal(sum, 10000);
	assert_int_equal(world_grab(&w, packet, 101, GROUP), HB_STATUS_SOLD_OUT);
	assert_int_equal(world_frozen(&w, SENDER), 0);
	assert_int_equal(world_available(&w, SENDER), 90000);
}

static void
test_a_winner_hears_his_amount_always(void **unused)
{
	uint64_t packet;
	int64_t amount;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 2, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	amount = w.reply.head.amount_fen;
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	assert_int_equal(w.reply.head.amount_fen, amount);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_OK);
	world_advance_ms(&w, UINT64_C(86400) * 1000 + 1);
	assert_int_equal(world_grab(&w, packet, 5, 0), HB_STATUS_OK);
	assert_int_equal(w.reply.head.amount_fen, amount);
	assert_int_equal(world_grab(&w, packet, 8, GROUP), HB_STATUS_EXPIRED);
}

static void
test_only_members_grab(void **unused)
{
	uint64_t packet;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 2, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, packet, 5, GROUP + 1), HB_STATUS_NOT_MEMBER);
	assert_int_equal(world_grab(&w, packet, 5, 0), HB_STATUS_NOT_MEMBER);
	assert_int_equal(world_grab(&w, packet + 1, 5, GROUP), HB_STATUS_PACKET_UNKNOWN);
	assert_int_equal(world_grab(&w, packet, 0, GROUP), HB_STATUS_NOT_MEMBER);
	assert_int_equal(w.record_count, 4);
}

static void
test_a_normal_packet_is_for_its_recipient_alone(void **unused)
{
	struct hb_frame_packet_create f = {.head = {.operation = HB_OP_PACKET_CREATE,
						   .length = sizeof(f),
						   .target = SENDER,
						   .user = SENDER},
		.kind = HB_PACKET_NORMAL,
		.count = 1,
		.total_fen = 500,
		.recipient = 9};
	uint64_t packet;

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	packet = w.reply.head.id;
	assert_int_equal(world_grab(&w, packet, 8, GROUP), HB_STATUS_NOT_MEMBER);
	assert_int_equal(world_grab(&w, packet, 9, 0), HB_STATUS_OK);
	assert_int_equal(w.reply.head.amount_fen, 500);
	f.count = 2;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
}

static void
test_the_first_request_after_the_deadline_refunds_the_rest(void **unused)
{
	uint64_t packet, records;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &packet), HB_STATUS_OK);
	world_advance_ms(&w, UINT64_C(86400) * 1000 - 1);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	world_advance_ms(&w, 1);
	records = w.record_count;
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_EXPIRED);
	assert_int_equal(w.record_count, records + 1);
	assert_int_equal(world_frozen(&w, SENDER), 0);
	assert_int_equal(world_grab(&w, packet, 7, GROUP), HB_STATUS_EXPIRED);
	assert_int_equal(w.record_count, records + 1);
	world_deliver(&w);
	assert_int_equal(world_available(&w, SENDER) + world_available(&w, 5), 100000);
}

static void
test_a_token_serves_its_user_target_and_operation_only(void **unused)
{
	uint64_t packet, other;
	struct hb_frame f;

	(void)unused;
	w.config.tokens_required = true;
	w.input.trusted = true;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &other), HB_STATUS_OK);
	w.input.trusted = false;
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_TOKEN_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, 1);
	f.target = other;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_TOKEN_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, 1);
	f.user = 6;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_TOKEN_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, 1);
	f.token_expiry_s++;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_TOKEN_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, 0);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_SEQUENCE_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, HB_TOKEN_SEQUENCE_AHEAD_MAX + 1);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_SEQUENCE_INVALID);
	f = world_grab_frame(&w, packet, 5, GROUP, 1);
	world_advance_ms(&w, UINT64_C(1000) * (HB_TOKEN_LIFETIME_S + 1));
	assert_int_equal(world_ask(&w, &f), HB_STATUS_TOKEN_EXPIRED);
}

static void
test_a_sequence_works_once_and_retries_hear_the_same(void **unused)
{
	struct hb_frame_packet_create send = {.head = {.operation = HB_OP_PACKET_CREATE,
						      .length = sizeof(send),
						      .target = SENDER,
						      .user = SENDER,
						      .group = GROUP},
		.kind = HB_PACKET_LUCKY,
		.count = 2,
		.total_fen = 200};
	uint64_t packet, id = w.input.now_ns / 1000000 << 14 | 77;
	uint32_t expiry_s = (uint32_t)(w.input.now_ns / 1000000000) + HB_TOKEN_LIFETIME_S;

	(void)unused;
	w.config.tokens_required = true;
	send.head.token_id = id;
	send.head.token_expiry_s = expiry_s;
	send.head.token_mac = hb_token_mac(
		w.config.token_keys.key[0], id, SENDER, SENDER, expiry_s, HB_OP_PACKET_CREATE);
	send.head.sequence = hb_token_initial_sequence(w.config.token_keys.key[0], id, SENDER) + 1;
	assert_int_equal(world_ask(&w, &send), HB_STATUS_OK);
	packet = w.reply.head.id;
	assert_int_equal(world_ask(&w, &send), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(w.reply.head.id, packet);
	send.total_fen = 300;
	assert_int_equal(world_ask(&w, &send), HB_STATUS_SEQUENCE_USED);
	send.head.sequence += 2;
	assert_int_equal(world_ask(&w, &send), HB_STATUS_OK);
	send.head.sequence -= 1;
	assert_int_equal(world_ask(&w, &send), HB_STATUS_OK);
	assert_int_equal(world_available(&w, SENDER), 100000 - 200 - 300 - 300);
}

/* A token that a key before the present one has signed, asked for at a time. */
static enum hb_status
ask_with_key(const uint8_t key[HB_TOKEN_KEY_BYTES], uint32_t nth)
{
	struct hb_frame_packet_create send = {.head = {.operation = HB_OP_PACKET_CREATE,
						      .length = sizeof(send),
						      .target = SENDER,
						      .user = SENDER,
						      .group = GROUP},
		.kind = HB_PACKET_LUCKY,
		.count = 2,
		.total_fen = 200};

	send.head.token_id = w.input.now_ns / 1000000 << 14 | nth;
	send.head.token_expiry_s = (uint32_t)(w.input.now_ns / 1000000000) + HB_TOKEN_LIFETIME_S;
	send.head.token_mac = hb_token_mac(key, send.head.token_id, SENDER, SENDER,
		send.head.token_expiry_s, HB_OP_PACKET_CREATE);
	send.head.sequence = hb_token_initial_sequence(key, send.head.token_id, SENDER) + 1;
	return world_ask(&w, &send);
}

static void
test_a_key_that_was_rotated_away_verifies_until_its_end(void **unused)
{
	static const uint8_t stranger[] = "abcdefghijklmnop", before[] = "0123456789abcdef";
	static const uint8_t now[] = "fedcba9876543210";
	struct hb_token_keys *keys = &w.config.token_keys;
	uint64_t now_s = w.input.now_ns / 1000000000;

	(void)unused;
	w.config.tokens_required = true;
	memcpy(keys->key[0], now, HB_TOKEN_KEY_BYTES);
	memcpy(keys->key[1], before, HB_TOKEN_KEY_BYTES);
	keys->until_s[1] = now_s + 10;
	keys->count = 2;
	assert_int_equal(ask_with_key(now, 1), HB_STATUS_OK);
	assert_int_equal(ask_with_key(before, 2), HB_STATUS_OK);
	assert_int_equal(ask_with_key(stranger, 3), HB_STATUS_TOKEN_INVALID);
	w.input.now_ns += UINT64_C(11000000000);
	assert_int_equal(ask_with_key(before, 4), HB_STATUS_TOKEN_INVALID);
	assert_int_equal(ask_with_key(now, 5), HB_STATUS_OK);
}

static void
test_refusals_use_no_sequence_up(void **unused)
{
	uint64_t packet;
	struct hb_frame f;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &packet), HB_STATUS_OK);
	f = world_grab_frame(&w, packet, 5, GROUP + 1, 1);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_NOT_MEMBER);
	f.group = GROUP;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
}

static void
test_what_cannot_be_split_or_paid_is_refused(void **unused)
{
	uint64_t packet;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 99, 100, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, GROUP, 0, 1, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, GROUP, -5, 1, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, GROUP, INT64_MAX, 1, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 0, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, GROUP, 100, 1, 9, &packet), HB_STATUS_LIMIT);
	assert_int_equal(world_send(&w, SENDER, 0, 100, 1, 0, &packet), HB_STATUS_LIMIT);
	assert_int_equal(
		world_send(&w, SENDER, GROUP, 100001, 10, 0, &packet), HB_STATUS_INSUFFICIENT);
	assert_int_equal(
		world_send(&w, 2222, GROUP, 100, 10, 0, &packet), HB_STATUS_ACCOUNT_UNKNOWN);
	assert_int_equal(w.record_count, 3);
}

static void
test_a_greeting_must_be_text(void **unused)
{
	struct hb_frame_packet_create f = {.head = {.operation = HB_OP_PACKET_CREATE,
						   .length = sizeof(f),
						   .target = SENDER,
						   .user = SENDER,
						   .group = GROUP},
		.kind = HB_PACKET_LUCKY,
		.count = 1,
		.total_fen = 1,
		.greeting_length = 6,
		.greeting = "\xe6\x81\xad\xe5\x96\x9c"};

	(void)unused;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	f.greeting[5] = 'x'; /* cut off in the middle of a character */
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f.greeting[5] = 0x9c;
	f.greeting_length = 3; /* not padded with zeros */
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
	f.greeting_length = 129;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_FRAME_INVALID);
}

static void
test_a_packet_of_thousands_is_drawn_piece_by_piece(void **unused)
{
	uint64_t packet;
	int64_t sum = 0;

	(void)unused;
	assert_int_equal(
		world_send(&w, SENDER, GROUP, 90000, 3000, HB_SPLIT_SEED, &packet), HB_STATUS_OK);
	for (uint64_t user = 1; user <= 3000; user++) {
		assert_int_equal(world_grab(&w, packet, user, GROUP), HB_STATUS_OK);
		sum += w.reply.head.amount_fen;
	}
	assert_int_equal(sum, 90000);
	assert_int_equal(world_grab(&w, packet, 1, GROUP), HB_STATUS_OK);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
}

static void
test_detail_pages_the_claims_and_hides_the_seed_while_open(void **unused)
{
	struct hb_frame_detail f = {
		.head = {.operation = HB_OP_PACKET_DETAIL, .length = sizeof(f), .user = SENDER}};
	static const uint8_t zero[32];

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 3000, 30, 0, &f.head.target), HB_STATUS_OK);
	for (uint64_t user = 1; user < 30; user++)
		assert_int_equal(world_grab(&w, f.head.target, user, GROUP), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.count, HB_DETAIL_CLAIMS_MAX);
	assert_int_equal(w.reply.head.flags, HB_REPLY_MORE);
	assert_int_equal(w.reply.detail.claims[3].user, 4);
	assert_int_equal(w.reply.head.amount_fen, 1); /* the bounds of a share */
	assert_int_equal(w.reply.head.other_fen, 3000);
	assert_memory_equal(w.reply.detail.seed, zero, 32);
	f.claim_first = HB_DETAIL_CLAIMS_MAX;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.count, 29 - HB_DETAIL_CLAIMS_MAX);
	assert_int_equal(world_grab(&w, f.head.target, 30, GROUP), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_true(w.reply.detail.luckiest_index < 30);
	assert_memory_not_equal(w.reply.detail.seed, zero, 32);
	f.head.user = 4444;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_NOT_MEMBER);
}

static void
test_a_stopped_clock_and_a_full_journal_stop_money_but_not_answers(void **unused)
{
	uint64_t packet, other;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &packet), HB_STATUS_OK);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	w.input.storage_level = HB_STORAGE_NO_PACKETS;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &other), HB_STATUS_STORAGE_LOW);
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_OK);
	w.input.storage_level = HB_STORAGE_NO_GRABS;
	assert_int_equal(world_grab(&w, packet, 7, GROUP), HB_STATUS_STORAGE_LOW);
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_OK);
	w.input.storage_level = HB_STORAGE_OK;
	w.input.clock_stopped = true;
	assert_int_equal(world_grab(&w, packet, 7, GROUP), HB_STATUS_CLOCK_STOPPED);
	assert_int_equal(world_grab(&w, packet, 6, GROUP), HB_STATUS_OK);
	w.input.clock_stopped = false;
}

static void
test_a_degraded_node_makes_no_packets_but_grabs_go_on(void **unused)
{
	uint64_t packet, other;

	(void)unused;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &packet), HB_STATUS_OK);
	w.input.degrade_level = HB_DEGRADE_NO_PUSH;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &other), HB_STATUS_OK);
	w.input.degrade_level = HB_DEGRADE_NO_NEW_PACKETS;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &other), HB_STATUS_DEGRADED);
	assert_int_equal(world_grab(&w, packet, 5, GROUP), HB_STATUS_OK);
	w.input.degrade_level = HB_DEGRADE_NORMAL;
	assert_int_equal(world_send(&w, SENDER, GROUP, 1000, 10, 0, &other), HB_STATUS_OK);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_every_share_is_taken_once_and_the_sum_is_exact),
		TEST(test_a_winner_hears_his_amount_always),
		TEST(test_only_members_grab),
		TEST(test_a_normal_packet_is_for_its_recipient_alone),
		TEST(test_the_first_request_after_the_deadline_refunds_the_rest),
		TEST(test_a_token_serves_its_user_target_and_operation_only),
		TEST(test_a_sequence_works_once_and_retries_hear_the_same),
		TEST(test_refusals_use_no_sequence_up),
		TEST(test_what_cannot_be_split_or_paid_is_refused),
		TEST(test_a_greeting_must_be_text),
		TEST(test_a_packet_of_thousands_is_drawn_piece_by_piece),
		TEST(test_detail_pages_the_claims_and_hides_the_seed_while_open),
		TEST(test_a_stopped_clock_and_a_full_journal_stop_money_but_not_answers),
		TEST(test_a_key_that_was_rotated_away_verifies_until_its_end),
		TEST(test_a_degraded_node_makes_no_packets_but_grabs_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
