/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The port lcore on DPDK: one dataplane with two ports, rings of this process (net_ring) and shared
 * memory of another process (net_memif), where a front with an EAL of its own sends and receives.
 * Neither needs huge pages or a device. EAL starts once per process, so one set-up serves all
 * tests, and the front is this program again:
 *
 *   test_dataplane_eal_port front SOCKET FIRST_USER    asks for balances, prints how many it heard
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "base/clock.h"
#include "dataplane/env.h"
#include "datagram.h"
#include "node.h"
#include "shm/ids.h"

#define LCORES	     2
#define ANSWER_NS    UINT64_C(5000000000)
#define LINK_NS	     UINT64_C(20000000000) /* the front's EAL starts, and both ends meet */
#define AGAIN_NS     UINT64_C(200000000)
#define RING_PACKETS 64
#define SENDER	     UINT64_C(1001)
#define WINNERS	     50
#define FIRST_USER   UINT64_C(2000)
#define MEMIF_MAC    "02:00:00:00:00:01"

static const uint8_t memif_mac[6] = {2, 0, 0, 0, 0, 1};
static struct node node;
static struct hb_client *control;
static struct rte_ring *to_node, *from_node;
static char memif_socket[64];
static const char *program;
static uint8_t ring_mac[6];
#define RING_PORT 1 /* memif is port 0 */

static void
pause_shortly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* A port whose wire is two rings that the test holds. */
static void
open_ring_port(void)
{
	to_node = rte_ring_create("to_node", RING_PACKETS, SOCKET_ID_ANY, 0);
	from_node = rte_ring_create("from_node", RING_PACKETS, SOCKET_ID_ANY, 0);
	assert_non_null(to_node);
	assert_non_null(from_node);
	assert_true(rte_eth_from_rings("front", &to_node, 1, &from_node, 1, SOCKET_ID_ANY) >= 0);
}

static int
set_up(void **state)
{
	static struct hb_config config;
	char error[HB_ENV_ERROR_MAX] = "";
	uint64_t packet;

	(void)state;
	hb_config_defaults(&config);
	config.dataplane_lcores = LCORES;
	snprintf(memif_socket, sizeof(memif_socket), "/hongbao-test-%d", (int)getpid());
	snprintf(config.dataplane_ports, sizeof(config.dataplane_ports),
		"--vdev=net_memif0,role=server,id=0,socket=%s,mac=" MEMIF_MAC, memif_socket);
	if (hb_env_start(&config, error) != 0)
		fail_msg("%s", error);
	open_ring_port();
	if (hb_env_ports_open(&node_port_count, error) != 0)
		fail_msg("%s", error);
	assert_int_equal(node_port_count, 2);
	hb_env_port_address(RING_PORT, ring_mac);
	node_frame_keys = "1 000102030405060708090a0b0c0d0e0f front\n";
	node_start(&node, LCORES, 1024);
	control = node_client(&node, "control");
	fund(control, SENDER, 100000);
	packet = send_packet(control, SENDER, 5000, WINNERS, 3600);
	for (uint64_t user = FIRST_USER; user < FIRST_USER + WINNERS; user++) {
		struct hb_frame frame;
		struct hb_reply reply;

		grab_frame(&frame, packet, user);
		assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hb_client_close(control);
	node_stop(&node);
	hb_env_stop();
	return 0;
}

static struct hb_frame
ask_balance(uint64_t user, uint64_t correlation)
{
	struct hb_frame frame;

	frame_begin(&frame, HB_OP_BALANCE, sizeof(frame), user, user);
	frame.correlation = correlation;
	return frame;
}

static void
put_into_ring(const struct hb_frame *frames, uint8_t count, uint16_t udp_port)
{
	struct hb_env_packet packet;
	struct rte_mbuf *buffer;

	assert_true(hb_env_packet_new(&packet));
	buffer = packet.handle;
	buffer->data_len =
		(uint16_t)datagram_make(packet.bytes, ring_mac, 1, udp_port, frames, count);
	buffer->pkt_len = buffer->data_len;
	assert_int_equal(rte_ring_enqueue(to_node, buffer), 0);
}

static uint32_t
take_from_ring(struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX])
{
	uint64_t end_ns = hb_mono_ns() + ANSWER_NS;
	struct rte_mbuf *buffer;
	void *object;
	uint32_t count;

	while (rte_ring_dequeue(from_node, &object) != 0) {
		if (hb_mono_ns() > end_ns)
			fail_msg("no answer came through the ring");
		pause_shortly();
	}
	buffer = object;
	count = datagram_replies(rte_pktmbuf_mtod(buffer, uint8_t *), buffer->data_len, replies);
	rte_pktmbuf_free(buffer);
	return count;
}

static void
a_front_on_rings_is_answered_and_frames_are_steered(void **state)
{
	struct hb_frame frames[HB_DATAGRAM_FRAMES_MAX];
	struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];
	uint64_t before = counter(control, HB_COUNTER_PORT_FRAMES);
	uint32_t seen = 0;

	(void)state;
	for (uint32_t i = 0; i < HB_DATAGRAM_FRAMES_MAX; i++)
		frames[i] = ask_balance(FIRST_USER + i, i);
	put_into_ring(frames, HB_DATAGRAM_FRAMES_MAX, 7400);
	while (seen != (1u << HB_DATAGRAM_FRAMES_MAX) - 1) {
		uint32_t n = take_from_ring(replies);

		for (uint32_t i = 0; i < n; i++) {
			assert_int_equal(replies[i].status, HB_STATUS_OK);
			assert_int_equal(replies[i].amount_fen,
				balance(control, FIRST_USER + replies[i].correlation));
			seen |= 1u << replies[i].correlation;
		}
	}
	assert_int_equal(counter(control, HB_COUNTER_PORT_FRAMES), before + HB_DATAGRAM_FRAMES_MAX);
	assert_true(counter(control, HB_COUNTER_PORT_RESTEERED) > 0);
}

/* Buffers are given back: many times as many packets as the pool has. */
static void
no_buffer_is_lost(void **state)
{
	struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		struct hb_frame frame = ask_balance(FIRST_USER + i % WINNERS, i);

		put_into_ring(&frame, 1, 7400);
		assert_int_equal(take_from_ring(replies), 1);
		assert_int_equal(replies[0].correlation, i);
	}
}

static void
a_front_in_another_process_is_answered_through_memif(void **state)
{
	char command[512], line[64] = "";
	FILE *front;

	(void)state;
	snprintf(command, sizeof(command), "%s front %s %u", program, memif_socket,
		(unsigned)FIRST_USER);
	front = popen(command, "re");
	assert_non_null(front);
	while (fgets(line, sizeof(line), front) != NULL && strncmp(line, "heard ", 6) != 0)
		;
	assert_int_equal(WEXITSTATUS(pclose(front)), 0);
	assert_string_equal(line, "heard 50 of 50, 5000 fen\n");
}

/* ---- the front ---- */

/* Ask until it is told; packets may be lost before both ends have met. @return the amount, or -1 */
static int64_t
front_asks(uint64_t user, uint64_t patience_ns)
{
	struct hb_frame frame = ask_balance(user, user);
	uint64_t now_ns = hb_mono_ns(), end_ns = now_ns + patience_ns, sent_ns = 0;

	for (; now_ns < end_ns; now_ns = hb_mono_ns()) {
		struct hb_reply replies[HB_DATAGRAM_FRAMES_MAX];
		struct hb_env_packet packet;

		if (now_ns - sent_ns > AGAIN_NS && hb_env_packet_new(&packet)) {
			packet.length = datagram_make(packet.bytes, memif_mac, 1, 7400, &frame, 1);
			hb_env_port_send(0, &packet, 1);
			sent_ns = now_ns;
		}
		if (hb_env_port_receive(0, &packet, 1) == 0) {
			pause_shortly();
			continue;
		}
		datagram_replies(packet.bytes, packet.length, replies);
		hb_env_packet_drop(&packet);
		if (replies[0].correlation == user)
			return replies[0].status == HB_STATUS_OK ? replies[0].amount_fen : -1;
	}
	return -1;
}

static int
front(const char *socket, uint64_t first_user)
{
	static struct hb_config config;
	char error[HB_ENV_ERROR_MAX] = "";
	uint32_t ports, heard = 0;
	int64_t sum_fen = 0;

	hb_config_defaults(&config);
	config.dataplane_lcores = 1;
	snprintf(config.dataplane_ports, sizeof(config.dataplane_ports),
		"--vdev=net_memif0,role=client,id=0,socket=%s", socket);
	if (hb_env_start(&config, error) != 0 || hb_env_ports_open(&ports, error) != 0) {
		fprintf(stderr, "front: %s\n", error);
		return 1;
	}
	for (uint64_t user = first_user; user < first_user + WINNERS; user++) {
		int64_t amount_fen = front_asks(user, user == first_user ? LINK_NS : ANSWER_NS);

		if (amount_fen < 0)
			break;
		heard++;
		sum_fen += amount_fen;
	}
	printf("heard %u of %u, %lld fen\n", heard, WINNERS, (long long)sum_fen);
	hb_env_stop();
	return heard == WINNERS ? 0 : 1;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_front_on_rings_is_answered_and_frames_are_steered),
		cmocka_unit_test(no_buffer_is_lost),
		cmocka_unit_test(a_front_in_another_process_is_answered_through_memif),
	};

	program = argv[0];
	if (argc == 4 && strcmp(argv[1], "front") == 0)
		return front(argv[2], strtoull(argv[3], NULL, 10));
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
