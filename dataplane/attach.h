/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Attaching clients: the main thread's side. Internal to the dataplane.
 *
 * A slot is the main thread's; while it is ATTACHED each lcore holds copies of its two ring ends.
 * A slot is used again only when every lcore has said that it let go; replies parked for the old
 * client carry its generation and are dropped.
 */
#ifndef HB_DATAPLANE_ATTACH_H
#define HB_DATAPLANE_ATTACH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/bell.h"
#include "shm/client.h"

#define HB_ATTACH_GREETING_NS	 UINT64_C(5000000000) /* to say hello after connecting */
#define HB_ATTACH_RING_BYTES_MAX (UINT32_C(16) << 20)
#define HB_ATTACH_TABLE_ROOM	 16 /* connections beyond clients_max that may be refused in words */

enum hb_client_slot_state {
	HB_SLOT_FREE = 0,
	HB_SLOT_GREETING, /* connected, hello not seen yet */
	HB_SLOT_ATTACHED,
	HB_SLOT_LEAVING, /* hung up; lcores still hold its rings */
};

struct hb_client_slot {
	enum hb_client_slot_state state;
	int socket;
	struct hb_bell bell; /* the client sleeps on it */
	bool trusted;
	uint32_t holders; /* lcores that have not let go */
	uid_t uid;
	pid_t pid;
	uint64_t operation_mask;
	uint64_t generation;
	uint64_t greeting_until_ns;
	char name[32];
	struct hb_segment segment;
	struct hb_ring_end request[HB_LCORE_COUNT_MAX];
	struct hb_ring_end reply[HB_LCORE_COUNT_MAX];
};

struct hb_dataplane;

/** Listen on the node's attach socket. @return 0 or -errno with `error` */
int hb_attach_listen(struct hb_dataplane *dp, char error[256]);

/** The listening socket is readable. */
void hb_attach_accept(struct hb_dataplane *dp);

/** A client's socket is readable or hung up. */
void hb_attach_event(struct hb_dataplane *dp, uint32_t slot);

/** Messages of lcores. */
void hb_attach_messages(struct hb_dataplane *dp);

/** Hang up on those who connected and said nothing. */
void hb_attach_expire(struct hb_dataplane *dp, uint64_t now_ns);

/** Close everything; the lcores have returned. */
void hb_attach_close(struct hb_dataplane *dp);

#endif
