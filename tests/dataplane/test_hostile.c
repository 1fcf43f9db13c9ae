/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A client that has turned hostile: it owns its whole segment and its bells, and does to them
 * whatever it likes, while the dataplane polls them and other clients want to be served. It may be
 * cut off at any time and comes back. Nothing it does may end the dataplane, delay others beyond
 * their patience, or move money that its frames could not move.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/clock.h"
#include "dataplane/descriptors.h"
#include "node.h"
#include "shm/ids.h"

#define SENDER	     UINT64_C(1001)
#define FIRST_USER   UINT64_C(2000)
#define RING_BYTES   4096
#define ROUNDS	     4000
#define PATIENCE_NS  UINT64_C(2000000000)
#define SENDER_FEN   100000
#define GRAB_ROUNDS  40
#define GRAB_SHARES  4
#define PACKET_FEN   400
#define OPERATIONS   64
#define TORN_LENGTHS 8

static struct node node;
static struct hb_client *control;

static int
setup(void **state)
{
	(void)state;
	node_start(&node, 2, 256);
	control = node_client(&node, "control");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	hb_client_close(control);
	node_stop(&node); /* ends well, and says so */
	return 0;
}

/* ---- what a hostile client has ---- */

struct hostile {
	int socket;
	int segment;
	int bell;
	int lcore_bell[HB_LCORE_COUNT_MAX];
	uint8_t *base;
	uint64_t bytes;
	struct hb_attach_welcome welcome;
	uint64_t random;
	_Atomic bool over;
	_Atomic uint64_t rounds;
	uint64_t attached;
	bool trusted; /* it says it is control, and its user may */
};

static uint64_t
draw(struct hostile *h)
{
	h->random = h->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return hb_mix64(h->random);
}

static uint64_t
draw_below(struct hostile *h, uint64_t limit)
{
	return draw(h) % limit;
}

static bool
attach(struct hostile *h)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct hb_attach_hello hello = {.magic = HB_ATTACH_MAGIC,
		.version = HB_ATTACH_VERSION,
		.layout_hash = hb_layout_hash(),
		.request_bytes = RING_BYTES,
		.reply_bytes = RING_BYTES};
	int fds[HB_DESCRIPTORS_MAX];
	uint32_t fd_count = 0;
	struct pollfd ready;

	/* a name that takes the rights of the test's user away: only what a front may */
	snprintf(hello.name, sizeof(hello.name), "%s", h->trusted ? "evil" : HB_PORT_CLIENT_NAME);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", node.socket);
	h->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(h->socket, (struct sockaddr *)&address, sizeof(address)) != 0)
		goto fail;
	if (send(h->socket, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
		goto fail;
	ready = (struct pollfd){.fd = h->socket, .events = POLLIN};
	poll(&ready, 1, 3000);
	if (hb_descriptors_receive(h->socket, &h->welcome, sizeof(h->welcome), fds, &fd_count) !=
			(ssize_t)sizeof(h->welcome) ||
		h->welcome.error != 0)
		goto fail;
	h->segment = fds[0];
	h->bell = fds[1];
	close(fds[2]);
	memcpy(h->lcore_bell, &fds[3], h->welcome.lcore_count * sizeof(int));
	h->bytes = hb_round_up(
		HB_CLIENT_DATA_OFFSET + h->welcome.lcore_count * UINT64_C(2) * RING_BYTES, 4096);
	h->base = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, h->segment, 0);
	assert_ptr_not_equal(h->base, MAP_FAILED);
	h->attached++;
	return true;
fail:
	close(h->socket);
	return false;
}

static void
detach(struct hostile *h)
{
	munmap(h->base, h->bytes);
	close(h->segment);
	close(h->bell);
	for (uint32_t i = 0; i < h->welcome.lcore_count; i++)
		close(h->lcore_bell[i]);
	close(h->socket);
}

static struct hb_client_layout *
rings(const struct hostile *h)
{
	return (struct hb_client_layout *)(void *)(h->base + HB_SEGMENT_GUARD_BYTES);
}

static uint8_t *
request_data(const struct hostile *h, uint32_t lcore)
{
	return h->base + HB_CLIENT_DATA_OFFSET + lcore * UINT64_C(2) * RING_BYTES;
}

static void
ring_all(const struct hostile *h)
{
	for (uint32_t i = 0; i < h->welcome.lcore_count; i++)
		(void)!write(h->lcore_bell[i], &(uint64_t){1}, 8);
}

static bool
cut_off(const struct hostile *h, int timeout_ms)
{
	struct pollfd p = {.fd = h->socket, .events = POLLIN | POLLRDHUP};

	return poll(&p, 1, timeout_ms) > 0;
}

/* ---- what it does ---- */

/* A frame that may be anything, but often looks like one: any operation, anybody's account. */
static void
forge(struct hostile *h, uint8_t *at)
{
	static const uint16_t length[] = {64, 128, 192, 256, 64, 128, 0, 63, 320, 65472};
	struct hb_frame frame = {.version = (uint8_t)(draw_below(h, 16) == 0 ? draw(h) : 1),
		.operation = (uint8_t)draw_below(h, OPERATIONS),
		.length = length[draw_below(h, sizeof(length) / sizeof(length[0]))],
		.issued_s = (uint32_t)(hb_wall_ns() / 1000000000),
		.correlation = draw(h),
		.target = draw_below(h, 2) == 0 ? SENDER : FIRST_USER + draw_below(h, 200),
		.user = draw_below(h, 2) == 0 ? SENDER : FIRST_USER + draw_below(h, 200),
		.group = 7};

	if (draw_below(h, 4) == 0)
		frame.target = hb_id_make(
			HB_ID_PACKET, 1, (uint8_t)draw_below(h, 16), draw_below(h, GRAB_ROUNDS));
	if (draw_below(h, 4) == 0)
		frame.token_mac = draw(h);
	memcpy(at, &frame, sizeof(frame));
}

static void
publish_frames(struct hostile *h, uint32_t lcore)
{
	struct hb_ring *ring = &rings(h)->request[lcore];
	uint64_t frames = 1 + draw_below(h, 32);

	for (uint64_t i = 0; i < RING_BYTES / 64; i++)
		forge(h, request_data(h, lcore) + i * 64);
	atomic_fetch_add(&ring->head, frames * 64);
}

/* Lengths and operations change while the dataplane reads them. */
static void
tear(struct hostile *h, uint32_t lcore)
{
	for (int n = 0; n < 200; n++) {
		struct hb_frame *frame = (struct hb_frame *)(void *)(request_data(h, lcore) +
								     draw_below(h, 64) * 64);

		frame->length = (uint16_t)(64 * draw_below(h, TORN_LENGTHS));
		frame->operation = (uint8_t)draw_below(h, OPERATIONS);
		frame->user = FIRST_USER + draw_below(h, 200);
		frame->length = draw_below(h, 3) == 0 ? (uint16_t)draw(h) : 64;
	}
}

static uint64_t
absurd_position(struct hostile *h, uint64_t now)
{
	switch (draw_below(h, 5)) {
	case 0:
		return draw(h);
	case 1:
		return now + RING_BYTES + 1 + draw_below(h, 4096);
	case 2:
		return now - 64 * draw_below(h, 100);
	case 3:
		return now + draw_below(h, 64);
	default:
		return now + 64 * draw_below(h, 64);
	}
}

static void
bend_positions(struct hostile *h, uint32_t lcore)
{
	struct hb_ring *request = &rings(h)->request[lcore], *reply = &rings(h)->reply[lcore];
	_Atomic uint64_t *word[] = {&request->head, &request->tail, &reply->head, &reply->tail};
	_Atomic uint64_t *which = word[draw_below(h, 4)];

	atomic_store(which, absurd_position(h, atomic_load(which)));
}

static void
fill_with_noise(struct hostile *h, uint64_t from, uint64_t bytes)
{
	for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t noise = draw(h);

		memcpy(h->base + from + i, &noise, 8);
	}
}

/* The polite part, so that it is not cut off at once: reads what it was told. */
static void
read_replies(const struct hostile *h, uint32_t lcore)
{
	struct hb_ring *reply = &rings(h)->reply[lcore];

	atomic_store(&reply->tail, atomic_load(&reply->head));
}

static void
attack(struct hostile *h)
{
	uint32_t lcore = (uint32_t)draw_below(h, h->welcome.lcore_count);

	switch (draw_below(h, 16)) {
	case 0:
		bend_positions(h, lcore);
		break;
	case 1:
		fill_with_noise(h, HB_CLIENT_DATA_OFFSET, h->bytes - HB_CLIENT_DATA_OFFSET);
		break;
	case 2:
		fill_with_noise(h, 0, h->bytes);
		break;
	case 3:
		fill_with_noise(h, HB_SEGMENT_GUARD_BYTES, sizeof(struct hb_client_layout));
		break;
	case 4:
		atomic_store(&rings(h)->reply[lcore].sleeping, (uint32_t)draw(h));
		break;
	case 5:
		fallocate(
			h->segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)h->bytes);
		break;
	default:
		publish_frames(h, lcore);
		ring_all(h);
		tear(h, lcore);
		read_replies(h, lcore);
	}
	ring_all(h);
}

static void *
be_hostile(void *argument)
{
	struct hostile *h = argument;

	while (!atomic_load(&h->over)) {
		if (!attach(h)) {
			usleep(1000);
			continue;
		}
		while (!atomic_load(&h->over) && !cut_off(h, 0)) {
			attack(h);
			atomic_fetch_add(&h->rounds, 1);
		}
		detach(h);
	}
	return NULL;
}

/* ---- what others see meanwhile ---- */

static int64_t
all_money_fen(const struct hb_state *state)
{
	int64_t sum_fen = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &state->partition[i];

		for (uint64_t slot = 0; slot < p->capacity.accounts; slot++)
			if (p->accounts[slot].id != 0)
				sum_fen += p->accounts[slot].available_fen +
					   p->accounts[slot].frozen_fen;
	}
	return sum_fen;
}

static void
timed_call(struct hb_client *client, void *frame, struct hb_reply *reply, uint64_t *longest_ns)
{
	uint64_t begun_ns = hb_mono_ns();

	call(client, frame, reply);
	begun_ns = hb_mono_ns() - begun_ns;
	if (begun_ns > *longest_ns)
		*longest_ns = begun_ns;
}

/* A packet, and everybody takes a share. @return the longest wait */
static uint64_t
grab_round(uint64_t round)
{
	union {
		struct hb_reply head;
		uint8_t bytes[HB_REPLY_BYTES_MAX];
	} reply;
	uint64_t packet = send_packet(control, SENDER, PACKET_FEN, GRAB_SHARES, 3600);
	uint64_t longest_ns = 0;
	int64_t taken_fen = 0;
	struct hb_frame frame;

	for (uint64_t i = 0; i < GRAB_SHARES; i++) {
		grab_frame(&frame, packet, FIRST_USER + round * GRAB_SHARES + i);
		timed_call(control, &frame, &reply.head, &longest_ns);
		assert_int_equal(reply.head.status, HB_STATUS_OK);
		taken_fen += reply.head.amount_fen;
	}
	assert_int_equal(taken_fen, PACKET_FEN);
	return longest_ns;
}

/* On a busy machine the attacker may be cut off for long before a frame of his is looked at. */
static bool
attacked_enough(struct hostile *h)
{
	return atomic_load(&h->rounds) >= ROUNDS &&
	       counter(control, HB_COUNTER_REFUSED_FRAME) > 0 &&
	       counter(control, HB_COUNTER_CLIENTS_DETACHED) > 10;
}

static void
attack_while_others_are_served(bool trusted)
{
	struct hostile h = {.trusted = trusted};
	uint64_t longest_ns = 0, seed;
	int64_t earned_fen = 0;
	pthread_t thread;

	assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	if (getenv("HB_SEED") != NULL)
		seed = strtoull(getenv("HB_SEED"), NULL, 0);
	h.random = seed;
	fund(control, SENDER, SENDER_FEN);
	assert_int_equal(pthread_create(&thread, NULL, be_hostile, &h), 0);
	for (uint64_t round = 0;
		round < GRAB_ROUNDS || (!attacked_enough(&h) && round < 20 * ROUNDS); round++) {
		uint64_t waited_ns = round < GRAB_ROUNDS && !trusted ? grab_round(round) : 0;

		if (waited_ns > longest_ns)
			longest_ns = waited_ns;
		assert_true(balance(control, SENDER) >= 0);
	}
	atomic_store(&h.over, true);
	pthread_join(thread, NULL);
	print_message("seed %llu: %llu rounds over %llu attachments, longest wait %llu us\n",
		(unsigned long long)seed, (unsigned long long)atomic_load(&h.rounds),
		(unsigned long long)h.attached, (unsigned long long)longest_ns / 1000);
	assert_true(atomic_load(&h.rounds) >= ROUNDS);
	assert_true(h.attached > 10); /* it was cut off, again and again */
	assert_true(longest_ns < PATIENCE_NS);
	assert_true(counter(control, HB_COUNTER_REFUSED_FRAME) > 0);
	assert_true(counter(control, HB_COUNTER_CLIENTS_DETACHED) > 10);
	/* what a recovery would find now; frames may still be under way */
	persist_kill(&node);
	assert_int_equal(all_money_fen(&node.persist.replayed), 0);
	persist_start(&node);
	if (trusted)
		return;
	/* every fen is where the honest client put it */
	for (uint64_t i = 0; i < GRAB_ROUNDS * GRAB_SHARES; i++)
		earned_fen += balance(control, FIRST_USER + i);
	assert_int_equal(earned_fen, GRAB_ROUNDS * PACKET_FEN);
	assert_int_equal(balance(control, SENDER), SENDER_FEN - GRAB_ROUNDS * PACKET_FEN);
}

static void
a_front_that_scribbles_over_its_segment_hinders_nobody_and_moves_no_money(void **state)
{
	(void)state;
	attack_while_others_are_served(false);
}

/* One with the rights of control can move money by frames; but it makes and loses none. */
static void
not_even_control_can_make_or_lose_money_by_scribbling(void **state)
{
	(void)state;
	attack_while_others_are_served(true);
}

/* ---- operations outside the mask ---- */

static uint16_t
ask_alone(struct hostile *h, uint8_t operation, uint16_t length)
{
	struct hb_frame frame = {.version = HB_FRAME_VERSION,
		.operation = operation,
		.length = length,
		.issued_s = (uint32_t)(hb_wall_ns() / 1000000000),
		.target = SENDER,
		.user = SENDER};
	uint32_t lcore = h->welcome.lcore_of_partition[hb_partition_of(SENDER)];
	struct hb_ring *request = &rings(h)->request[lcore], *reply = &rings(h)->reply[lcore];
	uint64_t head = atomic_load(&request->head), told = atomic_load(&reply->head);
	uint64_t until_ns = hb_mono_ns() + PATIENCE_NS;
	const struct hb_reply *answer;

	for (uint32_t i = 0; i < length; i++)
		request_data(h, lcore)[(head + i) % RING_BYTES] =
			i < sizeof(frame) ? ((uint8_t *)&frame)[i] : 0;
	atomic_store(&request->head, head + length);
	ring_all(h);
	while (atomic_load(&reply->head) == told && hb_mono_ns() < until_ns)
		usleep(20);
	assert_true(atomic_load(&reply->head) != told);
	answer = (const void *)(request_data(h, lcore) + RING_BYTES + told % RING_BYTES);
	read_replies(h, lcore);
	return answer->status;
}

static void
no_operation_outside_its_mask_is_done_for_a_front(void **state)
{
	struct hostile h = {.trusted = false};
	uint64_t committed;
	uint32_t refused = 0;

	(void)state;
	fund(control, SENDER, SENDER_FEN);
	assert_true(attach(&h));
	assert_int_equal(h.welcome.operation_mask, HB_OPS_FRONT);
	committed = counter(control, HB_COUNTER_RECORDS);
	for (uint32_t operation = 0; operation < OPERATIONS; operation++) {
		if ((HB_OPS_FRONT & HB_OP_BIT(operation)) != 0)
			continue;
		for (uint16_t length = 64; length <= HB_FRAME_BYTES_MAX; length += 64) {
			uint16_t status = ask_alone(&h, (uint8_t)operation, length);

			assert_true(status == HB_STATUS_NOT_ALLOWED ||
				    status == HB_STATUS_FRAME_INVALID);
			refused += status == HB_STATUS_NOT_ALLOWED;
		}
	}
	/* those whose frame of zeros has a possible body got as far as the mask */
	assert_true(refused >= 5);
	assert_int_equal(counter(control, HB_COUNTER_RECORDS), committed);
	assert_false(cut_off(&h, 0)); /* a refusal is an answer */
	detach(&h);
	assert_int_equal(balance(control, SENDER), SENDER_FEN);
}

/* ---- bells ---- */

/*
 * Flags of a descriptor belong to all who have it. A bell that blocks and is full stops whoever
 * rings it: here the lcore, and other clients.
 */
static void
bells_that_were_made_to_block_and_filled_stop_nobody(void **state)
{
	struct hostile h = {.trusted = false};
	uint64_t longest_ns = 0, until_ns = hb_mono_ns() + PATIENCE_NS;
	struct hb_frame frame;
	struct hb_reply reply;
	int bells[1 + HB_LCORE_COUNT_MAX];
	uint32_t count;

	(void)state;
	fund(control, SENDER, SENDER_FEN);
	assert_true(attach(&h));
	count = 1 + h.welcome.lcore_count;
	bells[0] = h.bell;
	memcpy(&bells[1], h.lcore_bell, h.welcome.lcore_count * sizeof(int));
	for (uint32_t lcore = 0; lcore < h.welcome.lcore_count; lcore++)
		atomic_store(&rings(&h)->reply[lcore].sleeping, 1);
	while (hb_mono_ns() < until_ns) {
		for (uint32_t i = 0; i < count; i++) {
			fcntl(bells[i], F_SETFL, O_NONBLOCK);
			for (int n = 0; n < 3; n++)
				if (write(bells[i], &(uint64_t){UINT64_MAX - 1}, 8) < 0)
					break;
			while (write(bells[i], &(uint64_t){1}, 8) > 0)
				;
			fcntl(bells[i], F_SETFL, 0);
		}
		for (uint32_t lcore = 0; lcore < h.welcome.lcore_count; lcore++) {
			struct hb_ring *request = &rings(&h)->request[lcore];

			frame_begin(request_data(&h, lcore) + atomic_load(&request->head) % 4096,
				HB_OP_BALANCE, 64, SENDER, SENDER);
			atomic_fetch_add(&request->head, 64);
			read_replies(&h, lcore);
		}
		for (uint64_t i = 0; i < 16; i++) {
			frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), FIRST_USER + i, 0);
			timed_call(control, &frame, &reply, &longest_ns);
		}
	}
	print_message("longest wait %llu us\n", (unsigned long long)longest_ns / 1000);
	assert_true(longest_ns < PATIENCE_NS);
	detach(&h);
	assert_int_equal(balance(control, SENDER), SENDER_FEN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(no_operation_outside_its_mask_is_done_for_a_front),
		TEST(a_front_that_scribbles_over_its_segment_hinders_nobody_and_moves_no_money),
		TEST(not_even_control_can_make_or_lose_money_by_scribbling),
		TEST(bells_that_were_made_to_block_and_filled_stop_nobody),
#undef TEST
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
