/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations against a plain reference, then: replay gives the same state, a snapshot in
 * the middle plus the rest of the journal gives the same state, money is conserved.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/engine/world.h"

#define USERS	300
#define PACKETS 64
#define STEPS	20000
#define HOLDS	128
#define DAY_MS	UINT64_C(86400000)

/* What the reference knows: who got what of which packet, and how each hold stands. */
struct reference {
	uint64_t packet[PACKETS];
	uint32_t count[PACKETS];
	uint32_t taken[PACKETS];
	uint64_t deadline_ms[PACKETS];
	int64_t share_fen[PACKETS][USERS + 1];
	int64_t sum_fen[PACKETS];
	int64_t total_fen[PACKETS];
	bool gone[PACKETS];
	uint64_t ended_ms[PACKETS];
	struct {
		uint64_t id, account, stamp, deadline_ms;
		int64_t amount_fen;
		int64_t fee_fen; /* of its POST */
		uint8_t order;	 /* enum hb_order_state */
		uint8_t state;	 /* enum hb_hold_state, 0 = gone or none */
		uint16_t attempt;
		uint64_t ended_ms;
	} hold[HOLDS];
	bool barred[USERS + 1];
};

static struct world w;
static struct reference ref;

static void
step_send(void)
{
	uint32_t i = (uint32_t)(world_random(&w) % PACKETS);
	uint64_t sender = 1 + world_random(&w) % USERS;
	uint32_t count = 1 + (uint32_t)(world_random(&w) % 40);
	int64_t total_fen = count + (int64_t)(world_random(&w) % 2000);
	uint8_t algorithm = world_random(&w) % 2 ? HB_SPLIT_SEED : HB_SPLIT_DOUBLE_MEAN;
	uint64_t packet;

	if (world_send(&w, sender, 7, total_fen, count, algorithm, &packet) != HB_STATUS_OK) {
		assert_true(w.reply.head.status != HB_STATUS_ACCOUNT_FROZEN || ref.barred[sender]);
		return;
	}
	assert_false(ref.barred[sender]);
	memset(ref.share_fen[i], 0, sizeof(ref.share_fen[i]));
	ref.packet[i] = packet;
	ref.count[i] = count;
	ref.taken[i] = 0;
	ref.sum_fen[i] = 0;
	ref.total_fen[i] = total_fen;
	ref.gone[i] = false;
	ref.ended_ms[i] = 0;
	ref.deadline_ms[i] = w.input.now_ns / 1000000 + UINT64_C(86400000);
}

static enum hb_status
expected_grab(uint32_t i, uint64_t user)
{
	if (ref.gone[i])
		return HB_STATUS_PACKET_GONE;
	if (ref.share_fen[i][user] != 0)
		return HB_STATUS_OK;
	if (w.input.now_ns / 1000000 >= ref.deadline_ms[i])
		return HB_STATUS_EXPIRED;
	return ref.taken[i] == ref.count[i] ? HB_STATUS_SOLD_OUT : HB_STATUS_OK;
}

static void
step_grab(void)
{
	uint32_t i = (uint32_t)(world_random(&w) % PACKETS);
	uint64_t user = 1 + world_random(&w) % USERS;
	struct hb_frame f;

	if (ref.packet[i] == 0)
		return;
	f = world_grab_frame(&w, ref.packet[i], user, 7, 1);
	assert_int_equal(expected_grab(i, user), world_ask(&w, &f));
	if (w.reply.head.status != HB_STATUS_OK)
		return;
	if (ref.share_fen[i][user] != 0) {
		assert_int_equal(w.reply.head.amount_fen, ref.share_fen[i][user]);
		return;
	}
	assert_false(w.reply.head.flags & HB_REPLY_ALREADY);
	ref.share_fen[i][user] = w.reply.head.amount_fen;
	ref.sum_fen[i] += w.reply.head.amount_fen;
	if (++ref.taken[i] == ref.count[i]) {
		assert_int_equal(ref.sum_fen[i], ref.total_fen[i]);
		ref.ended_ms[i] = w.input.now_ns / 1000000;
	}
}

static void
step_hold(void)
{
	uint32_t i = (uint32_t)(world_random(&w) % HOLDS);
	uint64_t account = 1 + world_random(&w) % USERS;
	int64_t amount_fen = 1 + (int64_t)(world_random(&w) % 3000);
	uint64_t hold;

	if (ref.hold[i].state == HB_HOLD_OPEN)
		return;
	if (world_hold(&w, account, amount_fen, &hold) != HB_STATUS_OK) {
		assert_true(w.reply.head.status != HB_STATUS_ACCOUNT_FROZEN || ref.barred[account]);
		return;
	}
	assert_false(ref.barred[account]);
	ref.hold[i].id = hold;
	ref.hold[i].account = account;
	ref.hold[i].stamp = w.reply.head.order_stamp;
	ref.hold[i].deadline_ms = w.reply.hold.deadline_ms;
	ref.hold[i].amount_fen = amount_fen;
	ref.hold[i].order = HB_ORDER_REQUESTED;
	ref.hold[i].state = HB_HOLD_OPEN;
	ref.hold[i].attempt = 0;
	ref.hold[i].ended_ms = 0;
}

/* Try one step of a hold's order; the reference says whether it may be. */
static void
step_workflow(void)
{
	uint32_t i = (uint32_t)(world_random(&w) % HOLDS);
	uint8_t before = ref.hold[i].order, after = HB_ORDER_APPROVED;
	uint16_t attempt = ref.hold[i].attempt;
	enum hb_status expected = HB_STATUS_OK;

	if (ref.hold[i].state != HB_HOLD_OPEN)
		return;
	if (before == HB_ORDER_APPROVED) {
		after = HB_ORDER_SENDING;
		attempt++;
		if (w.input.now_ns / 1000000 >= ref.hold[i].deadline_ms)
			expected = HB_STATUS_HOLD_DUE;
		if (ref.barred[ref.hold[i].account])
			expected = HB_STATUS_ACCOUNT_FROZEN;
	} else if (before == HB_ORDER_SENDING && world_random(&w) % 2) {
		after = HB_ORDER_UNKNOWN;
	}
	assert_int_equal(
		world_step(&w, ref.hold[i].account, ref.hold[i].stamp, before, after, attempt),
		expected);
	if (expected != HB_STATUS_OK)
		return;
	ref.hold[i].order = after;
	ref.hold[i].attempt = attempt;
}

static void
step_exit(void)
{
	uint32_t i = (uint32_t)(world_random(&w) % HOLDS);
	bool post = world_random(&w) % 2;
	bool sent = ref.hold[i].order == HB_ORDER_SENDING || ref.hold[i].order == HB_ORDER_UNKNOWN;
	uint8_t state = post ? HB_HOLD_POSTED : HB_HOLD_VOIDED;
	int64_t fee_fen = post ? (int64_t)(world_random(&w) % 2) : 0;
	enum hb_status expected = HB_STATUS_OK;

	if (ref.hold[i].id == 0)
		return;
	if (ref.hold[i].state == 0)
		expected = HB_STATUS_HOLD_GONE;
	else if (ref.hold[i].state != HB_HOLD_OPEN && ref.hold[i].state != state)
		expected = HB_STATUS_HOLD_STATE;
	else if (ref.hold[i].state == HB_HOLD_POSTED && ref.hold[i].fee_fen != fee_fen)
		expected = HB_STATUS_CONFLICT;
	else if (ref.hold[i].state != HB_HOLD_OPEN)
		expected = HB_STATUS_OK;
	else if (post && !sent)
		expected = HB_STATUS_ORDER_STATE;
	assert_int_equal(world_exit(&w, post ? HB_OP_POST : HB_OP_VOID, ref.hold[i].id,
				 ref.hold[i].amount_fen, fee_fen),
		expected);
	if (expected != HB_STATUS_OK || ref.hold[i].state != HB_HOLD_OPEN)
		return;
	ref.hold[i].state = state;
	ref.hold[i].fee_fen = fee_fen;
	ref.hold[i].ended_ms = w.input.now_ns / 1000000;
}

/* Everything that is over for a day goes, and nothing else: the tables are nearly empty. */
static void
step_evict(void)
{
	uint64_t now_ms = w.input.now_ns / 1000000;

	for (uint32_t i = 0; i < HOLDS; i++)
		if (ref.hold[i].state == HB_HOLD_OPEN && now_ms >= ref.hold[i].deadline_ms &&
			(ref.hold[i].order == HB_ORDER_REQUESTED ||
				ref.hold[i].order == HB_ORDER_APPROVED)) {
			ref.hold[i].state = HB_HOLD_VOIDED;
			ref.hold[i].ended_ms = now_ms;
		}
	world_void_due(&w);
	world_evict(&w, DAY_MS);
	for (uint32_t i = 0; i < HOLDS; i++)
		if (ref.hold[i].state > HB_HOLD_OPEN && ref.hold[i].ended_ms + DAY_MS <= now_ms)
			ref.hold[i].state = 0;
	for (uint32_t i = 0; i < PACKETS; i++) {
		const struct hb_packet *packet = hb_packet_find(
			&w.state.partition[hb_partition_of(ref.packet[i])], ref.packet[i]);

		if (ref.packet[i] == 0)
			continue;
		/* A packet past its deadline stays until somebody asks and it is refunded. */
		if (ref.ended_ms[i] != 0)
			ref.gone[i] = ref.gone[i] || ref.ended_ms[i] + DAY_MS <= now_ms;
		else if (packet == NULL)
			ref.gone[i] = true;
		assert_int_equal(packet == NULL, ref.gone[i]);
		assert_true(!ref.gone[i] || ref.ended_ms[i] != 0 ||
			    ref.deadline_ms[i] + DAY_MS <= now_ms);
	}
}

static void
step_operator(void)
{
	uint64_t user = 1 + world_random(&w) % USERS;
	uint64_t suspense = hb_system_account(
		HB_SYSTEM_SUSPENSE, (uint32_t)(world_random(&w) % HB_PARTITION_COUNT));

	switch (world_random(&w) % 3) {
	case 0:
		if (world_freeze(&w, user, !ref.barred[user]) == HB_STATUS_OK)
			ref.barred[user] = !ref.barred[user];
		break;
	case 1:
		world_adjust(&w, user, suspense, 1 + (int64_t)(world_random(&w) % 50));
		break;
	default:
		world_adjust(&w, suspense, user, 1 + (int64_t)(world_random(&w) % 50));
	}
}

static void
step_workflows(void)
{
	switch (world_random(&w) % 8) {
	case 0:
	case 1:
		step_hold();
		break;
	case 2:
	case 3:
	case 4:
		step_workflow();
		break;
	case 5:
		step_exit();
		break;
	case 6:
		step_operator();
		break;
	default:
		if (world_random(&w) % 10 == 0)
			step_evict();
	}
}

static void
step_other(void)
{
	struct hb_frame mark = {.operation = HB_OP_MARK, .length = sizeof(mark)};
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER, .length = sizeof(f)}};

	switch (world_random(&w) % 4) {
	case 0:
		mark.target = hb_system_account(1, (uint32_t)(world_random(&w) % 16));
		assert_int_equal(world_ask(&w, &mark), HB_STATUS_OK);
		break;
	case 1:
		world_advance_ms(&w, world_random(&w) % 1800000);
		w.config.order_version = 1 + (uint32_t)(world_random(&w) % 2);
		break;
	case 2:
		f.head.target = f.head.user = 1 + world_random(&w) % USERS;
		f.to = 1 + world_random(&w) % (2 * USERS);
		f.amount_fen = (int64_t)(world_random(&w) % 3000) - 10;
		world_ask(&w, &f);
		break;
	default:
		world_deliver(&w);
		world_fund(&w, 1 + world_random(&w) % USERS, 5000);
	}
}

struct memory {
	uint8_t *bytes;
	size_t length, at;
};

static int
memory_write(void *context, void *bytes, size_t length)
{
	struct memory *m = context;

	m->bytes = realloc(m->bytes, m->length + length);
	memcpy(m->bytes + m->length, bytes, length);
	m->length += length;
	return 0;
}

static int
memory_read(void *context, void *bytes, size_t length)
{
	struct memory *m = context;

	if (m->length - m->at < length)
		return -EPROTO;
	memcpy(bytes, m->bytes + m->at, length);
	m->at += length;
	return 0;
}

/* The state after the credits were delivered, through a snapshot and into other capacities. */
static void
check_snapshot(void)
{
	struct hb_capacity larger = w.state.partition[0].capacity;
	struct hb_state again;

	larger.accounts *= 2;
	larger.windows *= 2;
	larger.packets *= 2;
	larger.holds *= 2;
	larger.orders *= 2;
	larger.arena_bytes *= 2;
	world_deliver(&w);
	assert_int_equal(hb_state_create(&again, &larger, 7), 0);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct memory m = {0};

		assert_int_equal(hb_state_save(&w.state.partition[i], memory_write, &m), 0);
		assert_int_equal(hb_state_load(&again.partition[i], memory_read, &m), 0);
		assert_int_equal(m.at, m.length);
		free(m.bytes);
	}
	world_check_same(&w.state, &again);
	hb_state_close(&w.state);
	w.state = again; /* go on with the loaded one */
}

static void
run_steps(uint32_t steps)
{
	for (uint32_t n = 0; n < steps; n++) {
		uint64_t kind = world_random(&w) % 20;

		if (kind == 0)
			step_send();
		else if (kind == 1)
			step_other();
		else if (kind <= 4)
			step_workflows();
		else
			step_grab();
		assert_true(w.waiting_count < WORLD_CREDITS_MAX / 2 ||
			    (world_deliver(&w), w.waiting_count == 0));
	}
}

static void
test_random_operations_agree_with_a_plain_reference_and_with_replay(void **unused)
{
	const char *given = getenv("HB_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

	(void)unused;
	printf("seed %lu (set HB_SEED to repeat)\n", (unsigned long)seed);
	world_open(&w);
	w.random = seed;
	w.hold_lifetime_s = 43200;
	for (uint64_t user = 1; user <= USERS; user += 3)
		assert_int_equal(world_fund(&w, user, 20000), HB_STATUS_OK);
	run_steps(STEPS);
	assert_int_equal(world_money(&w), 0);
	world_check_frozen(&w);
	world_check_replay(&w);
	check_snapshot();
	run_steps(STEPS);
	assert_int_equal(world_money(&w), 0);
	world_check_frozen(&w);
	world_check_replay(&w);
	world_close(&w);
}

/* Content 0: no holds, orders of 64 bytes. There are no packets, windows or keys in this one. */
static void
to_first_version(const struct memory *m, struct memory *old)
{
	struct hb_partition_head head;
	uint64_t accounts, orders, nothing = 0;
	size_t at = sizeof(head);

	memcpy(&head, m->bytes, sizeof(head));
	head.content = 0;
	memory_write(old, &head, sizeof(head));
	memcpy(&accounts, m->bytes + at, sizeof(accounts));
	memory_write(old, m->bytes + at, sizeof(accounts) + accounts * sizeof(struct hb_account));
	at += sizeof(accounts) + accounts * sizeof(struct hb_account);
	memory_write(old, &nothing, sizeof(nothing));
	memory_write(old, &nothing, sizeof(nothing));
	at += 2 * sizeof(nothing);
	memcpy(&orders, m->bytes + at, sizeof(orders));
	memory_write(old, &orders, sizeof(orders));
	at += sizeof(orders);
	for (uint64_t i = 0; i < orders; i++, at += sizeof(struct hb_order))
		memory_write(old, m->bytes + at, HB_ORDER_BYTES_0);
	memory_write(old, &nothing, sizeof(nothing));
}

static void
test_a_snapshot_of_the_first_version_is_read(void **unused)
{
	struct memory m = {0}, old = {0};
	uint32_t number = hb_partition_of(5);
	struct hb_state again;

	(void)unused;
	world_open(&w);
	assert_int_equal(world_fund(&w, 5, 100), HB_STATUS_OK);
	assert_int_equal(hb_state_save(&w.state.partition[number], memory_write, &m), 0);
	to_first_version(&m, &old);
	assert_int_equal(hb_state_create(&again, &w.state.partition[0].capacity, 7), 0);
	assert_int_equal(hb_state_load(&again.partition[number], memory_read, &old), 0);
	assert_int_equal(old.at, old.length);
	assert_int_equal(again.partition[number].head->order_count, 1);
	assert_int_equal(hb_account_find(&again.partition[number], 5)->available_fen, 100);
	hb_state_close(&w.state);
	w.state = again;
	w.input.now_ns += UINT64_C(1000000000);
	assert_int_equal(world_evict(&w, 0), 1); /* the order that is done */
	free(m.bytes);
	free(old.bytes);
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_random_operations_agree_with_a_plain_reference_and_with_replay),
		cmocka_unit_test(test_a_snapshot_of_the_first_version_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
