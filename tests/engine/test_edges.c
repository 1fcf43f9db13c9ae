/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of ranges: numbers that are just too large, tables that are just full, a stamp that
 * would run ahead, names that do not exist.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/state_internal.h"
#include "tests/engine/world.h"

/* White box: a draw that is thrown away comes once in 2^33 draws at best. */
#include "shm/split.c" /* NOLINT */

#define ALICE  1001
#define BOB    1002
#define NOBODY 1003
#define GROUP  7

static const struct hb_capacity sixteen = {.accounts = 16,
	.packets = 16,
	.arena_bytes = 4096,
	.windows = 16,
	.orders = 16,
	.idempotency = 16,
	.holds = 16};

static const char *frames_page;

static struct hb_partition *
home(struct world *w, uint64_t id)
{
	return &w->state.partition[hb_partition_of(id)];
}

static void
test_a_draw_of_the_incomplete_interval_is_thrown_away(void **unused)
{
	struct draws draws = {.next = 0, .first = 0, .made = {UINT64_MAX, UINT64_MAX - 1, 5, 7}};

	(void)unused;
	/* 2^64 mod 3 = 1: the last draw is one too many, the one before it is the last whole one */
	assert_int_equal(draws_below(&draws, 3), (UINT64_MAX - 1) % 3);
	assert_int_equal(draws.next, 2);
	assert_int_equal(draws_below(&draws, 4), 1);
	assert_false(
		hb_split_possible(HB_PACKET_TOTAL_FEN_MAX, HB_PACKET_COUNT_MAX + 1, 1, 1000000));
	assert_true(hb_split_possible(HB_PACKET_TOTAL_FEN_MAX, HB_PACKET_COUNT_MAX, 1, 1000000));
}

/* "| 10 | packet_unknown | 404 | text |" of docs/frames.md */
static void
test_every_status_is_in_the_documents(void **unused)
{
	char line[1024], name[64];
	int http, found = 0, known = 0;
	unsigned number;
	FILE *page = fopen(frames_page, "re");

	(void)unused;
	assert_non_null(page);
	while (fgets(line, sizeof(line), page) != NULL) {
		if (sscanf(line, "| %u | %63[a-z_] | %d |", &number, name, &http) != 3)
			continue;
		assert_string_equal(hb_status_name((uint16_t)number), name);
		assert_int_equal(hb_status_http((uint16_t)number), http);
		assert_int_equal(strlen(hb_status_advice((uint16_t)number)) == 0, number == 0);
		found++;
	}
	fclose(page);
	for (number = 0; number < 1000; number++)
		known += strcmp(hb_status_name((uint16_t)number), "unknown_status") != 0;
	assert_int_equal(found, known);
	assert_int_equal(hb_status_http(999), 500);
	assert_string_equal(hb_status_advice(999), "");
}

static void
test_names_of_levels_and_kinds(void **unused)
{
	(void)unused;
	for (uint32_t level = 0; level < HB_DEGRADE_COUNT; level++)
		assert_int_equal(hb_degrade_find(hb_degrade_name(level)), level);
	assert_string_equal(hb_degrade_name(HB_DEGRADE_COUNT), "unknown");
	assert_int_equal(hb_degrade_find("no-money"), HB_DEGRADE_COUNT);
	assert_string_equal(hb_counter_kind_name(HB_KIND_MAXIMUM), "maximum");
	assert_string_equal(hb_counter_kind_name(3), "unknown");
	assert_string_equal(hb_record_type_name(HB_RECORD_GRAB), "GRAB");
	assert_string_equal(hb_record_type_name(99), "UNKNOWN");
	assert_int_equal(hb_hold_business(HB_HOLD_CHANNEL_REFUND), HB_BUSINESS_REFUND);
	assert_int_equal(hb_hold_business(HB_HOLD_RECHARGE_FOR_PACKET), 0);
	assert_int_equal(hb_account_digits(hb_system_account(HB_SYSTEM_FEES, 11)), 11);
}

static void
test_a_degrade_frame_names_a_level_and_who_it_is_by(void **unused)
{
	struct hb_frame_degrade f = {.head = {.version = HB_FRAME_VERSION,
					     .operation = HB_OP_DEGRADE,
					     .length = sizeof(f),
					     .target = hb_system_account(HB_SYSTEM_FEES, 0)},
		.level = HB_DEGRADE_NO_NEW_PACKETS,
		.by = HB_DEGRADE_BY_OPERATOR};

	(void)unused;
	assert_int_equal(hb_frame_check(&f.head, sizeof(f)), HB_STATUS_OK);
	f.by++;
	assert_int_equal(hb_frame_check(&f.head, sizeof(f)), HB_STATUS_FRAME_INVALID);
	f.by = 0;
	f.level = HB_DEGRADE_COUNT;
	assert_int_equal(hb_frame_check(&f.head, sizeof(f)), HB_STATUS_FRAME_INVALID);
	f.level = 0;
	f.reserved[47] = 1;
	assert_int_equal(hb_frame_check(&f.head, sizeof(f)), HB_STATUS_FRAME_INVALID);
}

/* Each capacity must be a power of two; some have an upper end. */
static void
test_a_state_of_impossible_capacities_is_not_made(void **unused)
{
	struct hb_state state;

	(void)unused;
	for (size_t i = 0; i < sizeof(sixteen) / sizeof(uint64_t); i++) {
		struct hb_capacity bad = sixteen;

		((uint64_t *)&bad)[i] = 17;
		assert_int_equal(hb_state_create(&state, &bad, 7), -EINVAL);
	}
	for (int i = 0; i < 3; i++) {
		struct hb_capacity bad = sixteen;

		*(i == 0	 ? &bad.holds
			: i == 1 ? &bad.idempotency
				 : &bad.arena_bytes) = UINT64_C(1) << 40;
		assert_int_equal(hb_state_create(&state, &bad, 7), -EINVAL);
	}
	assert_int_equal(hb_state_create(&state, &sixteen, HB_NODE_MAX + 1), -EINVAL);
	assert_int_equal(hb_state_create(&state, &sixteen, HB_NODE_MAX), 0);
	assert_null(hb_account_find(&state.partition[0], 0));
	hb_state_close(&state);
}

static void
test_a_state_segment_whose_head_is_damaged_is_not_mapped(void **unused)
{
	(void)unused;
	for (int damage = 0; damage < 5; damage++) {
		struct hb_state state, attached;
		struct hb_state_head *head;
		char error[160] = "";
		int fd, expected = damage == 0 ? 0 : -EPROTO;

		assert_int_equal(hb_state_create(&state, &sixteen, 7), 0);
		head = (void *)(state.segment.base + HB_SEGMENT_GUARD_BYTES);
		if (damage == 1)
			head->capacity.holds = 17;
		if (damage == 2)
			head->partition_count = 15;
		if (damage == 3)
			head->partition_bytes -= 4096;
		if (damage == 4) { /* of another size, which adds up in itself */
			head->capacity.accounts = 1 << 12;
			head->partition_bytes += 4096 * sizeof(struct hb_account) - 4096;
		}
		fd = dup(state.segment.fd);
		assert_int_equal(hb_state_attach(&attached, fd, error), expected);
		assert_int_equal(error[0] == '\0', expected == 0);
		if (expected == 0)
			hb_state_close(&attached);
		hb_state_close(&state);
	}
	{
		struct hb_state attached;
		char error[160] = "";

		assert_true(hb_state_attach(&attached, dup(0), error) != 0);
	}
}

/* Money operations of an allocator whose stamps have run a second ahead. */
static void
test_a_stamp_that_would_run_ahead_is_busy(void **unused)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER,
					      .length = sizeof(f),
					      .target = ALICE,
					      .user = ALICE},
		.to = BOB,
		.amount_fen = 1};
	struct hb_frame_order o = {
		.head = {.operation = HB_OP_ORDER_OPEN, .length = sizeof(o), .target = ALICE},
		.amount_fen = 10,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};
	struct hb_frame expire = {.operation = HB_OP_PACKET_EXPIRE, .length = 64};
	struct hb_partition_head *head;
	static struct world w;
	uint64_t packet, other, hold;

	(void)unused;
	world_open(&w);
	head = home(&w, ALICE)->head;
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 4, 1, &packet), HB_STATUS_OK);
	head->last_stamp = (w.input.now_ns / 1000000 + HB_ORDER_RUN_AHEAD_MS_MAX + 1) << 14;
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 4, 1, &other), HB_STATUS_BUSY);
	assert_int_equal(world_grab(&w, packet, BOB, GROUP), HB_STATUS_BUSY);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_BUSY);
	assert_int_equal(world_ask(&w, &o), HB_STATUS_BUSY);
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_BUSY);
	assert_int_equal(world_adjust(&w, ALICE,
				 hb_system_account(HB_SYSTEM_SUSPENSE, hb_partition_of(ALICE)), 1),
		HB_STATUS_BUSY);
	world_advance_ms(&w, 90000000);
	head->last_stamp = (w.input.now_ns / 1000000 + HB_ORDER_RUN_AHEAD_MS_MAX + 1) << 14;
	expire.target = packet;
	assert_int_equal(world_ask(&w, &expire), HB_STATUS_BUSY);
	assert_int_equal(world_grab(&w, packet, BOB, GROUP), HB_STATUS_BUSY);
	world_advance_ms(&w, 1);
	assert_int_equal(world_grab(&w, packet, BOB, GROUP), HB_STATUS_EXPIRED);
	world_close(&w);
}

static void
test_a_deadline_of_a_packet_that_is_gone_does_nothing(void **unused)
{
	_Alignas(8) uint8_t records[HB_DECISION_BYTES_MAX];
	struct hb_decision decision = {.records = records, .record_count = 1};
	static struct world w;

	(void)unused;
	world_open(&w);
	hb_decide_expire(
		&w.state.partition[3], hb_id_make(HB_ID_PACKET, 3, 7, 5), &w.input, &decision);
	assert_int_equal(decision.record_count, 0);
	world_close(&w);
}

/* What a channel's account owes stays below its part of all money there can be. */
static void
test_a_channel_owes_no_more_than_its_part(void **unused)
{
	uint64_t clearing = hb_system_account(HB_SYSTEM_CLEARING_MANUAL, hb_partition_of(ALICE));
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	hb_account_find(home(&w, ALICE), clearing)->available_fen = 1000 - HB_MONEY_FEN_CAP / 128;
	assert_int_equal(world_fund(&w, ALICE, 1001), HB_STATUS_LIMIT);
	assert_int_equal(world_adjust(&w, clearing, ALICE, 1001), HB_STATUS_LIMIT);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	world_close(&w);
}

static void
test_an_order_through_no_channel_is_refused(void **unused)
{
	struct hb_frame_order o = {
		.head = {.operation = HB_OP_ORDER_OPEN, .length = sizeof(o), .target = ALICE},
		.amount_fen = 10,
		.business = HB_BUSINESS_RECHARGE};
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &o), HB_STATUS_LIMIT);
	world_close(&w);
}

static void
test_an_order_load_says_amounts_that_can_be(void **unused)
{
	const struct hb_frame_order_load good = {
		.head = {.operation = HB_OP_ORDER_LOAD, .length = sizeof(good), .target = ALICE},
		.order_stamp = 5,
		.amount_fen = 10,
		.settled_fen = 10,
		.refunded_fen = 3,
		.business = HB_BUSINESS_RECHARGE,
		.state = HB_ORDER_DONE};
	static struct world w;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	for (int i = 0; i < 6; i++) {
		struct hb_frame_order_load f = good;

		*(i < 2		? &f.amount_fen
			: i < 4 ? &f.settled_fen
				: &f.refunded_fen) =
			(const int64_t[]){0, HB_CREDIT_FEN_MAX + 1, -1, 11, -1, 11}[i];
		assert_int_equal(world_ask(&w, &f), HB_STATUS_LIMIT);
	}
	world_close(&w);
}

/* A snapshot may have lost what a hold hangs on: it is told as far as it is known. */
static void
test_a_hold_is_told_without_the_day_of_an_account_that_is_not_there(void **unused)
{
	struct hb_frame f = {.operation = HB_OP_HOLD_QUERY, .length = 64};
	static struct world w;
	struct hb_hold *hold;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 10, &f.target), HB_STATUS_OK);
	hold = hb_hold_find(home(&w, ALICE), f.target);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 1);
	hold->account = NOBODY;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 0);
	/* a reason that is not counted by day */
	hold->account = ALICE;
	hold->reason = HB_HOLD_RECHARGE_FOR_PACKET;
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.hold.day_count, 0);
	assert_int_equal(world_exit(&w, HB_OP_VOID, f.target, 10, 0), HB_STATUS_OK);
	assert_int_equal(hb_account_find(home(&w, ALICE), ALICE)->day_count[0], 1);
	world_close(&w);
}

static void
test_an_account_has_ten_thousand_holds_of_a_reason_on_a_day(void **unused)
{
	static struct world w;
	uint64_t hold;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_OK);
	hb_account_find(home(&w, ALICE), ALICE)->day_count[0] = HB_HOLDS_PER_DAY_MAX - 1;
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_OK);
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_LIMIT);
	world_advance_ms(&w, 86400000);
	assert_int_equal(world_hold(&w, ALICE, 10, &hold), HB_STATUS_OK);
	world_close(&w);
}

static void
test_a_repeated_hold_is_told_by_its_key_when_it_was_forgotten(void **unused)
{
	struct hb_frame_hold f = {.head = {.operation = HB_OP_HOLD,
					  .length = sizeof(f),
					  .target = ALICE,
					  .user = ALICE},
		.idempotency_key = {9},
		.amount_fen = 10,
		.reason = HB_HOLD_WITHDRAWAL};
	static struct world w;
	uint64_t hold;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	hold = w.reply.head.id;
	assert_int_equal(world_exit(&w, HB_OP_VOID, hold, 10, 0), HB_STATUS_OK);
	world_advance_ms(&w, 1000);
	assert_true(world_evict(&w, 0) >= 2);
	assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
	assert_int_equal(w.reply.head.id, hold);
	assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
	assert_int_equal(w.reply.head.length, 64);
	world_close(&w);
}

static void
test_a_packet_without_a_block_in_the_arena_is_refused(void **unused)
{
	const struct hb_capacity small = {.accounts = 64,
		.packets = 64,
		.arena_bytes = 64,
		.windows = 4,
		.orders = 64,
		.idempotency = 64,
		.holds = 2};
	static struct world w;
	uint64_t packet;

	(void)unused;
	world_open_sized(&w, &small);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 5, 1, &packet), HB_STATUS_TABLE_FULL);
	assert_int_equal(world_send(&w, ALICE, GROUP, 100, 4, 1, &packet), HB_STATUS_OK);
	/* four windows: three may be used */
	for (uint64_t user = 0; user < 4; user++) {
		struct hb_frame grab = world_grab_frame(&w, packet, 2000 + user, GROUP, 1);

		assert_int_equal(
			world_ask(&w, &grab), user < 3 ? HB_STATUS_OK : HB_STATUS_TABLE_FULL);
	}
	world_close(&w);
}

/* The same token number for two users is two tokens: each has its window, not each other's key. */
static void
test_a_token_number_that_two_users_have_is_two_tokens(void **unused)
{
	struct hb_frame_transfer f[2] = {
		{.to = 5000, .amount_fen = 1}, {.to = 5000, .amount_fen = 2}};
	const uint8_t *key;
	static struct world w;
	uint64_t other = ALICE, id;
	uint32_t first, second;

	(void)unused;
	world_open(&w);
	key = w.config.token_keys.key[0];
	do
		other++;
	while (hb_partition_of(other) != hb_partition_of(ALICE));
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	assert_int_equal(world_fund(&w, other, 1000), HB_STATUS_OK);
	for (id = w.input.now_ns / 1000000 << 14;; id++) {
		first = hb_token_initial_sequence(key, id, ALICE);
		second = hb_token_initial_sequence(key, id, other);
		if (second <= first && first - second < 1000)
			break;
	}
	for (int i = 0; i < 2; i++) {
		struct hb_frame *h = &f[i].head;

		h->operation = HB_OP_TRANSFER;
		h->length = sizeof(f[i]);
		h->target = h->user = i == 0 ? ALICE : other;
		h->token_id = id;
		h->token_expiry_s = (uint32_t)((id >> 14) / 1000) + HB_TOKEN_LIFETIME_S;
		h->token_mac = hb_token_mac(
			key, id, h->user, h->target, h->token_expiry_s, HB_OP_TRANSFER);
		h->sequence = first + 1;
	}
	assert_int_equal(world_ask(&w, &f[0]), HB_STATUS_OK);
	assert_int_equal(world_ask(&w, &f[1]), HB_STATUS_SEQUENCE_USED);
	f[1].head.sequence++;
	assert_int_equal(world_ask(&w, &f[1]), HB_STATUS_OK);
	assert_non_null(hb_window_find(home(&w, ALICE), id, ALICE));
	assert_non_null(hb_window_find(home(&w, ALICE), id, other));
	assert_null(hb_window_find(home(&w, ALICE), id, NOBODY));
	world_close(&w);
}

static void
test_a_window_is_found_behind_that_of_another_user(void **unused)
{
	const struct hb_capacity small = {.accounts = 64,
		.packets = 64,
		.arena_bytes = 4096,
		.windows = 4,
		.orders = 64,
		.idempotency = 64,
		.holds = 2};
	struct hb_window *windows[2];
	struct hb_state state;
	struct hb_partition *p;
	uint64_t other = ALICE;

	(void)unused;
	assert_int_equal(hb_state_create(&state, &small, 7), 0);
	p = &state.partition[0];
	do
		other++;
	while ((hb_mix64(77 ^ hb_mix64(other)) & 3) != (hb_mix64(77 ^ hb_mix64(ALICE)) & 3));
	windows[0] = hbi_window_insert(p, 77, ALICE);
	windows[1] = hbi_window_insert(p, 77, other);
	assert_ptr_equal(hb_window_find(p, 77, ALICE), windows[0]);
	assert_ptr_equal(hb_window_find(p, 77, other), windows[1]);
	hb_state_close(&state);
}

static void
test_numbers_beyond_their_width_are_no_numbers(void **unused)
{
	struct hb_order_number number;
	char text[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_token token;
	uint64_t user;
	struct hb_record r = {.length = 1032, .type = HB_RECORD_GRAB};
	/* the largest of 20 digits; just beyond 64 bits; a time before 1971; one after 9999 */
	const char *stamps[] = {"099999999999999999999", "018446744073709551616",
		"000000000000000000001", "004611686018427387903", "004151742824448000000"};

	(void)unused;
	for (int i = 0; i < 5; i++) {
		snprintf(text, sizeof(text), "20207110042%s", stamps[i]);
		text[2] = '2';
		assert_false(hb_order_number_parse(text, &number));
	}
	assert_false(
		hb_token_parse("GR-18446744073709551616-1-20231114221320123-0007-0123456789abcdef",
			66, &token, &user));
	assert_false(hb_token_parse("GR-0-1-20231114221320123-0007-0123456789abcdef",
		HB_TOKEN_TEXT_MAX, &token, &user));
	assert_string_equal(hb_record_verify(&r, 4096), "record length is impossible");
	r.length = 24;
	assert_string_equal(hb_record_verify(&r, 4096), "record length is impossible");
	r.length = 36;
	assert_string_equal(hb_record_verify(&r, 4096), "record length is impossible");
}

static void
test_a_record_with_two_stamps_is_of_version_2_when_either_is(void **unused)
{
	struct hb_record_refund r = {.order_stamp = 1 << 14, .refund_stamp = 2 << 14};

	(void)unused;
	hb_record_seal(&r.head, HB_RECORD_REFUND_OPEN, sizeof(r));
	assert_int_equal(r.head.version, 1);
	r.refund_stamp |= HB_STAMP_VERSION_2;
	hb_record_seal(&r.head, HB_RECORD_REFUND_OPEN, sizeof(r));
	assert_int_equal(r.head.version, 2);
}

/* So few slots that keys meet: each is found until its week is over, and not again. */
static void
test_keys_that_share_their_slots_are_forgotten_one_by_one(void **unused)
{
	const struct hb_capacity small = {.accounts = 64,
		.packets = 4,
		.arena_bytes = 4096,
		.windows = 4,
		.orders = 64,
		.idempotency = 4,
		.holds = 2};
	struct hb_frame_account_freeze f = {.head = {.length = sizeof(f), .target = ALICE}};
	static struct world w;

	(void)unused;
	world_open_sized(&w, &small);
	assert_int_equal(world_fund(&w, ALICE, 1000), HB_STATUS_OK);
	for (uint64_t n = 1; n <= 400; n++) {
		f.head.operation = n % 2 == 1 ? HB_OP_ACCOUNT_FREEZE : HB_OP_ACCOUNT_UNFREEZE;
		memcpy(f.idempotency_key, &n, 8);
		assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
		assert_int_equal(w.reply.head.flags, 0);
		assert_int_equal(world_ask(&w, &f), HB_STATUS_OK);
		assert_int_equal(w.reply.head.flags, HB_REPLY_ALREADY);
		for (uint64_t old = n > 6 ? n - 6 : 1; old < n; old++) {
			uint8_t key[16] = {0};

			memcpy(key, &old, 8);
			assert_int_equal(
				hb_idempotency_find(home(&w, ALICE), key) != NULL, n - old < 4);
		}
		world_advance_ms(&w, UINT64_C(1000) * HB_IDEMPOTENCY_KEPT_S / 4 + 1);
	}
	world_close(&w);
}

static void
test_a_state_without_descriptors_is_not_made(void **unused)
{
	struct rlimit whole, none;
	struct hb_state state;

	(void)unused;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &whole), 0);
	none = whole;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(hb_state_create(&state, &sixteen, 7), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &whole), 0);
}

static void
end_by_assertion(int number)
{
	(void)number;
	exit(42);
}

/* An assertion is a death, not a wrong balance. */
static void
test_applying_a_record_that_this_version_does_not_know_ends_the_process(void **unused)
{
	struct hb_record_refund r = {.head = {.ring = 0, .core_sequence = 1, .time_ns = 1}};
	static struct world w;
	int status;
	pid_t pid;

	(void)unused;
	world_open(&w);
	hb_record_seal(&r.head, HB_RECORD_REFUND_OPEN, sizeof(r));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct hb_credit credit;

		signal(SIGABRT, end_by_assertion);
		hb_apply(&w.state.partition[0], &r.head, &credit);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	world_close(&w);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_draw_of_the_incomplete_interval_is_thrown_away),
		cmocka_unit_test(test_every_status_is_in_the_documents),
		cmocka_unit_test(test_names_of_levels_and_kinds),
		cmocka_unit_test(test_a_degrade_frame_names_a_level_and_who_it_is_by),
		cmocka_unit_test(test_a_state_of_impossible_capacities_is_not_made),
		cmocka_unit_test(test_a_state_segment_whose_head_is_damaged_is_not_mapped),
		cmocka_unit_test(test_a_stamp_that_would_run_ahead_is_busy),
		cmocka_unit_test(test_a_deadline_of_a_packet_that_is_gone_does_nothing),
		cmocka_unit_test(test_a_channel_owes_no_more_than_its_part),
		cmocka_unit_test(test_an_order_through_no_channel_is_refused),
		cmocka_unit_test(test_an_order_load_says_amounts_that_can_be),
		cmocka_unit_test(
			test_a_hold_is_told_without_the_day_of_an_account_that_is_not_there),
		cmocka_unit_test(test_an_account_has_ten_thousand_holds_of_a_reason_on_a_day),
		cmocka_unit_test(test_a_repeated_hold_is_told_by_its_key_when_it_was_forgotten),
		cmocka_unit_test(test_a_packet_without_a_block_in_the_arena_is_refused),
		cmocka_unit_test(test_a_token_number_that_two_users_have_is_two_tokens),
		cmocka_unit_test(test_a_window_is_found_behind_that_of_another_user),
		cmocka_unit_test(test_numbers_beyond_their_width_are_no_numbers),
		cmocka_unit_test(test_a_record_with_two_stamps_is_of_version_2_when_either_is),
		cmocka_unit_test(test_keys_that_share_their_slots_are_forgotten_one_by_one),
		cmocka_unit_test(test_a_state_without_descriptors_is_not_made),
		cmocka_unit_test(
			test_applying_a_record_that_this_version_does_not_know_ends_the_process),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s docs/frames.md\n", argv[0]);
		return 2;
	}
	frames_page = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
