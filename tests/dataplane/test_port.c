/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The port lcore with a whole dataplane of two owners, over packets in memory: frames of a front
 * are answered, and what is not authentic is counted and not answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dataplane/env_plain.h"
#include "datagram.h"
#include "node.h"
#include "shm/ids.h"

#define ANSWER_NS UINT64_C(5000000000)
#define SILENT_NS UINT64_C(100000000)
#define SENDER	  UINT64_C(1001)

static struct node node;
static struct hb_client *control;
static uint64_t packet;

static int
set_up(void **state)
{
	(void)state;
	node_frame_keys = "# fronts\n"
			  "1 000102030405060708090a0b0c0d0e0f front\n"
			  "2 000102030405060708090a0b0c0d0e0f balance\n";
	node_start(&node, 2, 64);
	control = node_client(&node, "control");
	fund(control, SENDER, 100000);
	packet = send_packet(control, SENDER, 1000, 10, 3600);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hb_client_close(control);
	node_stop(&node);
	return 0;
}

/* A datagram with these frames, as a front at 10.0.0.2 sends it. */
static uint32_t
make(uint8_t *bytes, uint32_t key_id, uint16_t port, const struct hb_frame *frames, uint8_t count)
{
	static const uint8_t mac_address[6] = {2, 0, 0, 0, 0, 1};

	return datagram_make(bytes, mac_address, key_id, port, frames, count);
}

static struct hb_frame
frame_of(enum hb_operation operation, uint64_t target, uint64_t user)
{
	struct hb_frame frame;

	frame_begin(&frame, operation, sizeof(frame), target, user);
	frame.group = 7;
	frame.correlation = 77;
	return frame;
}

/* Replies of the next datagram. @return how many; 0 when none came in time */
static uint32_t
answers(struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX], uint64_t patience_ns)
{
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	uint64_t end_ns = hb_mono_ns() + patience_ns;
	uint32_t length;

	while ((length = hb_env_plain_take(bytes)) == 0) {
		if (hb_mono_ns() > end_ns)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return datagram_replies(bytes, length, replies);
}

static uint16_t
ask(uint32_t key_id, uint16_t port, const struct hb_frame *frame)
{
	struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];

	assert_true(hb_env_plain_put(bytes, make(bytes, key_id, port, frame, 1)));
	assert_int_equal(answers(replies, ANSWER_NS), 1);
	assert_int_equal(replies[0].correlation, 77);
	return replies[0].status;
}

static uint16_t
port_of(uint64_t target)
{
	return (uint16_t)(7400 + hb_partition_of(target) % 2);
}

static void
frames_are_answered_and_steered_to_their_owner(void **state)
{
	struct hb_frame frame = frame_of(HB_OP_BALANCE, SENDER, SENDER);
	uint64_t before = counter(control, HB_COUNTER_PORT_RESTEERED);

	(void)state;
	assert_int_equal(ask(1, port_of(SENDER), &frame), HB_STATUS_OK);
	assert_int_equal(counter(control, HB_COUNTER_PORT_RESTEERED), before);
	assert_int_equal(ask(1, (uint16_t)(7400 + 7401 - port_of(SENDER)), &frame), HB_STATUS_OK);
	assert_int_equal(counter(control, HB_COUNTER_PORT_RESTEERED), before + 1);
}

static void
twenty_two_frames_of_one_datagram_are_all_answered(void **state)
{
	struct hb_frame frames[HB_DATAGRAM_FRAMES_MAX];
	struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	uint32_t seen = 0, n;

	(void)state;
	for (uint32_t i = 0; i < HB_DATAGRAM_FRAMES_MAX; i++) {
		frames[i] = frame_of(HB_OP_BALANCE, SENDER, SENDER);
		frames[i].correlation = i;
	}
	assert_true(hb_env_plain_put(
		bytes, make(bytes, 1, port_of(SENDER), frames, HB_DATAGRAM_FRAMES_MAX)));
	while (seen != (1u << HB_DATAGRAM_FRAMES_MAX) - 1) {
		n = answers(replies, ANSWER_NS);
		assert_true(n > 0);
		for (uint32_t i = 0; i < n; i++)
			seen |= 1u << replies[i].correlation;
	}
}

static void
a_front_needs_money_tokens_and_has_no_rights_of_control(void **state)
{
	struct hb_frame grab = frame_of(HB_OP_GRAB, packet, 2000);
	struct hb_frame mark =
		frame_of(HB_OP_MARK, hb_system_account(HB_SYSTEM_FEES, hb_partition_of(SENDER)), 0);

	(void)state;
	assert_int_equal(ask(1, port_of(packet), &grab), HB_STATUS_TOKEN_INVALID);
	assert_int_equal(ask(1, port_of(SENDER), &mark), HB_STATUS_NOT_ALLOWED);
	assert_int_equal(ask(2, port_of(packet), &grab), HB_STATUS_NOT_ALLOWED);
}

static void
old_and_future_frames_are_refused(void **state)
{
	struct hb_frame frame = frame_of(HB_OP_BALANCE, SENDER, SENDER);

	(void)state;
	frame.issued_s -= 700;
	assert_int_equal(ask(1, port_of(SENDER), &frame), HB_STATUS_FRAME_STALE);
	frame.issued_s += 900;
	assert_int_equal(ask(1, port_of(SENDER), &frame), HB_STATUS_FRAME_STALE);
	frame.version = 9;
	assert_int_equal(ask(1, port_of(SENDER), &frame), HB_STATUS_FRAME_VERSION);
}

static void
what_is_not_authentic_is_counted_and_not_answered(void **state)
{
	struct hb_frame frame = frame_of(HB_OP_BALANCE, SENDER, SENDER);
	struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	uint64_t forged = counter(control, HB_COUNTER_PORT_FORGED);
	uint64_t unknown = counter(control, HB_COUNTER_PORT_KEY_UNKNOWN);
	uint64_t broken = counter(control, HB_COUNTER_PORT_BROKEN);
	uint64_t other = counter(control, HB_COUNTER_PORT_OTHER);
	uint32_t length = make(bytes, 1, port_of(SENDER), &frame, 1);

	(void)state;
	bytes[length - 1] ^= 1;
	assert_true(hb_env_plain_put(bytes, length));
	length = make(bytes, 99, port_of(SENDER), &frame, 1);
	assert_true(hb_env_plain_put(bytes, length));
	length = make(bytes, 1, port_of(SENDER), &frame, 1);
	assert_true(hb_env_plain_put(bytes, length - 4));
	length = make(bytes, 1, 7399, &frame, 1);
	assert_true(hb_env_plain_put(bytes, length));
	assert_int_equal(answers(replies, SILENT_NS), 0);
	assert_int_equal(counter(control, HB_COUNTER_PORT_FORGED), forged + 1);
	assert_int_equal(counter(control, HB_COUNTER_PORT_KEY_UNKNOWN), unknown + 1);
	assert_int_equal(counter(control, HB_COUNTER_PORT_BROKEN), broken + 1);
	assert_int_equal(counter(control, HB_COUNTER_PORT_OTHER), other + 1);
}

static void
a_storm_of_garbage_hinders_nobody(void **state)
{
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	struct hb_frame frame = frame_of(HB_OP_BALANCE, SENDER, SENDER);
	unsigned seed = (unsigned)time(NULL);
	uint64_t put = 0;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 100000; i++) {
		uint32_t length = make(bytes, 1, port_of(SENDER), &frame, 1);

		bytes[random() % length] ^= (uint8_t)(1 + random() % 255);
		put += hb_env_plain_put(bytes, length - (uint32_t)random() % 8);
	}
	print_message("%lu of 100000 packets fitted\n", put);
	assert_true(put > 0);
	while (hb_env_plain_take(bytes) != 0)
		continue; /* a changed byte outside the datagram leaves it authentic */
	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	while (hb_env_plain_take(bytes) != 0)
		continue;
	assert_int_equal(ask(1, port_of(SENDER), &frame), HB_STATUS_OK);
	assert_int_equal(balance(control, SENDER), 99000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_answered_and_steered_to_their_owner),
		cmocka_unit_test(twenty_two_frames_of_one_datagram_are_all_answered),
		cmocka_unit_test(a_front_needs_money_tokens_and_has_no_rights_of_control),
		cmocka_unit_test(old_and_future_frames_are_refused),
		cmocka_unit_test(what_is_not_authentic_is_counted_and_not_answered),
		cmocka_unit_test(a_storm_of_garbage_hinders_nobody),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
