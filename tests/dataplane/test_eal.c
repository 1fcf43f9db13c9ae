/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The same dataplane on DPDK's lcores: four workers on however few CPUs there are; and how little
 * it costs when nobody asks anything. EAL starts once per process, so this is one test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dataplane/env.h"
#include "node.h"

#define LCORES	    4
#define IDLE_S	    3
#define IDLE_NS_MAX (IDLE_S * UINT64_C(10000000)) /* 1 % of one core */

static void
lcores_of_dpdk_serve_and_sleep_when_idle(void **state)
{
	static struct node node;
	static struct hb_config config;
	char error[HB_ENV_ERROR_MAX] = "";
	struct hb_client *client;
	struct hb_frame frame;
	struct hb_reply reply;
	uint64_t before_ns, packet;
	int64_t sum_fen = 0;

	(void)state;
	hb_config_defaults(&config);
	config.dataplane_lcores = LCORES;
	if (hb_env_start(&config, error) != 0)
		fail_msg("%s", error);
	node_start(&node, LCORES, 1024);
	client = node_client(&node, "test");
	assert_int_equal(hb_client_lcore_count(client), LCORES);
	fund(client, 1001, 1000);
	packet = send_packet(client, 1001, 500, 50, 3600);
	for (uint64_t user = 2000; user < 2050; user++) {
		grab_frame(&frame, packet, user);
		assert_int_equal(call(client, &frame, &reply), HB_STATUS_OK);
		assert_int_equal(balance(client, user), reply.amount_fen);
		sum_fen += reply.amount_fen;
	}
	assert_int_equal(sum_fen, 500);
	before_ns = hb_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	sleep(IDLE_S);
	before_ns = hb_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before_ns;
	print_message("idle: %.2f %% of one core\n", (double)before_ns / IDLE_S / 1e7);
	assert_true(before_ns < IDLE_NS_MAX);
	hb_client_close(client);
	node_stop(&node);
	hb_env_stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lcores_of_dpdk_serve_and_sleep_when_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
