/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The port lcore: frames of fronts on other machines, in UDP datagrams (docs/frames.md).
 *
 * It is a client of the dataplane like any other: it attaches through the same socket, puts each
 * frame on the ring of its owner, and sends what comes back. So the lcores that own partitions know
 * nothing of networks, frames are steered to their owner in software whatever queue or UDP port
 * they came through, and nobody waits for a network. What it owns: the ports, the keys, and a table
 * of requests under way. If the process dies, requests under way have an unknown outcome and the
 * fronts ask again; an owner answers a repeated request as it did the first.
 *
 * The main thread makes and ends it, and gives it new keys; everything else is its own.
 */
#ifndef HB_DATAPLANE_PORT_H
#define HB_DATAPLANE_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "dataplane/front_keys.h"
#include "shm/node.h"

#define HB_PORT_CLIENT_NAME "port" /* it attaches by this name, and is never trusted */
#define HB_PORT_PENDING_MAX 65536  /* frames under way; more are answered busy */

struct hb_port;

/**
 * Make it; hb_env_ports_open was called.
 * @param node the node segment of this process
 * @param port_count of the environment
 * @param error what is wrong and what to do
 * @return 0 or -errno
 */
int hb_port_create(struct hb_port **port, const struct hb_config *config, struct hb_node *node,
	uint32_t port_count, char error[256]);
/** Its lcore has returned. */
void hb_port_destroy(struct hb_port *port);

/** Read the keys again; on failure the old ones go on. Main thread. @return 0 or -errno */
int hb_port_reload(struct hb_port *port, char error[256]);

/** The lcore's function. @param port struct hb_port */
int hb_port_run(void *port);

/** Ask it to return. Any thread. */
void hb_port_stop(struct hb_port *port);

#endif
