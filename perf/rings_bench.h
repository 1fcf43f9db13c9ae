/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `hongbao-bench rings`: one client process at the rings of a running dataplane.
 */
#ifndef HB_PERF_RINGS_BENCH_H
#define HB_PERF_RINGS_BENCH_H

#include <stdint.h>

#define HB_RINGS_USERS_MIN    10 /* as many as a packet has shares */
#define HB_RINGS_FIRST_SENDER UINT64_C(2000000000000)

struct hb_rings_options {
	const char *socket;
	uint64_t grabs; /* prepared: packets sent and tokens issued before anything is measured */
	uint64_t first_sender; /* account of the first of 256 senders, new to the node */
	uint64_t users;	       /* that grab in turn; 0: one for each grab */
	uint64_t seed;
};

/**
 * Attach, prepare, say so with one line of JSON, then obey lines on standard input and answer each
 * with a line of JSON:
 *   closed KIND IN_FLIGHT COUNT   as fast as answers come, so many requests under way
 *   open KIND RATE COUNT          on a Poisson schedule; latency counts from the intended time
 *   tell all FILE COUNT           write the next COUNT grabs into FILE for another client, one a
 *                                 line: user, packet, token, sequence; they count as used
 * KIND is durable (a grab, each prepared one once) or already (winners ask again).
 * @param error says what failed
 * @return 0, or -errno
 */
int hb_rings_bench(const struct hb_rings_options *options, char error[160]);

#endif
