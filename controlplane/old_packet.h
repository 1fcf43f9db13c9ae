/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the engine has forgotten, from MySQL: details of evicted packets in the form that the
 * engine's have, and old orders that an operation needs in memory again (ORDER_LOAD).
 *
 * The engine evicts only what MySQL has, so an object that is gone there is found here. Nothing is
 * kept between calls.
 */
#ifndef HB_CONTROLPLANE_OLD_PACKET_H
#define HB_CONTROLPLANE_OLD_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/engine_json.h"

/* Who looks at a packet: what the engine would have seen in the frame. */
struct hb_viewer {
	bool trusted; /* business system or operator: may see every packet */
	uint64_t user;
	uint64_t group; /* that the user's token vouches for, 0 = none */
};

/** Answer with the detail of an evicted packet, claims from number `after` on. */
void hb_old_packet_answer(struct hb_control *control, uint64_t packet, uint32_t after,
	const struct hb_viewer *viewer, struct hb_http_reply *reply);

/** GET /v1/packets/{} of a user, where the front was told that the packet is gone. */
void hb_old_packet_get(const struct hb_http_request *request, struct hb_http_reply *reply);

/**
 * Bring an order back into the engine's memory.
 * @return 0 it is there now, -ENOENT MySQL does not have it in a final state, -EIO MySQL or the
 *         engine does not answer
 */
int hb_old_order_load(
	struct hb_control *control, uint32_t business, uint64_t account, uint64_t order_stamp);

#endif
