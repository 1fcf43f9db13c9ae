/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The other end of the one port that env_plain.c has: tests put packets in and take answers out.
 */
#ifndef HB_DATAPLANE_ENV_PLAIN_H
#define HB_DATAPLANE_ENV_PLAIN_H

#include "dataplane/env.h"
#include "dataplane/wire.h"

/** Let the port receive a packet. @return false when too many wait */
bool hb_env_plain_put(const uint8_t *bytes, uint32_t length);

/** Take the next packet that was sent. @return its length, 0 when there is none */
uint32_t hb_env_plain_take(uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX]);

#endif
