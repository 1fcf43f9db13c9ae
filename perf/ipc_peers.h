/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What messages of 64 bytes between two processes cost when nobody decides anything: DPDK's
 * rte_ring (one producer, one consumer, in shared memory, both sides look without end) and pipes
 * of the kernel. Peers of the benchmark `rings`.
 */
#ifndef HB_PERF_IPC_PEERS_H
#define HB_PERF_IPC_PEERS_H

#include <stdint.h>

struct hb_ipc_options {
	const char *kind; /* "ring" or "pipe" */
	uint64_t in_flight;
	uint64_t count;
	int cpu_of_server;
	int cpu_of_client;
};

/** One run, told as JSON. @return 0; ends the process when it cannot be measured */
int hb_ipc_peer(const struct hb_ipc_options *options);

#endif
