/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Grabs in MariaDB alone, as a peer of the benchmark `durable`: a unique claim and what is left of
 * the packet, in one transaction and one round trip. perf/mariadb_peer.py makes server and tables.
 */
#ifndef HB_PERF_MARIADB_CLIENT_H
#define HB_PERF_MARIADB_CLIENT_H

#include <stdint.h>

struct hb_mariadb_options {
	const char *socket;
	const char *database;
	uint64_t clients;
	uint64_t first; /* number of the first grab; each is another user's, ten share a packet */
	uint64_t count;
};

/** One run, closed loop, told as JSON. @return 0 or -errno with `error` */
int hb_mariadb_client(const struct hb_mariadb_options *options, char error[160]);

#endif
