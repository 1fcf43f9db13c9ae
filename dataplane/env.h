/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The seam to the environment that runs lcores: DPDK's EAL (env_dpdk.c) or plain threads
 * (env_plain.c). Exactly one of them is linked; nothing else in the dataplane knows which.
 *
 * If the process dies here, the kernel takes everything back but the EAL's run-time directory,
 * which lies in a private directory under /tmp.
 */
#ifndef HB_DATAPLANE_ENV_H
#define HB_DATAPLANE_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"

#define HB_ENV_ERROR_MAX 256

typedef int hb_env_lcore_fn(void *argument);

/**
 * Start the environment: as many worker lcores as config->dataplane_lcores, waiting, and one more
 * for the ports when dataplane.ports names any.
 * The calling thread becomes the main lcore.
 * @param error on failure: what is wrong and what to do
 * @return 0 or -errno
 */
int hb_env_start(const struct hb_config *config, char error[HB_ENV_ERROR_MAX]);

/** Run a function on worker lcore 0 .. lcores-1. @return 0 or -errno */
int hb_env_launch(uint32_t worker, hb_env_lcore_fn *fn, void *argument);

/** Wait until every launched function has returned. */
void hb_env_wait(void);

/** Undo hb_env_start; the workers must have returned. */
void hb_env_stop(void);

/** A short pause in a spin loop. */
void hb_env_pause(void);

/* ---- ports: one thread at a time ---- */

#define HB_ENV_PORTS_MAX 4

/* A packet of the environment; `bytes` has room for HB_WIRE_PACKET_BYTES_MAX. */
struct hb_env_packet {
	uint8_t *bytes;
	uint32_t length;
	void *handle;
};

/**
 * Open the ports of the configuration; after hb_env_start.
 * @param count set to how many there are
 * @return 0 or -errno with `error`
 */
int hb_env_ports_open(uint32_t *count, char error[HB_ENV_ERROR_MAX]);

/** The hardware address of a port. */
void hb_env_port_address(uint32_t port, uint8_t mac_address[6]);

/** Take up to `max` packets; each is to be sent or dropped. @return how many */
uint32_t hb_env_port_receive(uint32_t port, struct hb_env_packet *packets, uint32_t max);

/** A new packet to fill. @return false when there is none at the moment */
bool hb_env_packet_new(struct hb_env_packet *packet);
void hb_env_packet_drop(struct hb_env_packet *packet);

/** Send; what the port has no room for is dropped. @return how many were sent */
uint32_t hb_env_port_send(uint32_t port, struct hb_env_packet *packets, uint32_t count);

#endif
