/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The main thread of hongbao-dataplane: link to persist, attaching clients, life of the lcores.
 *
 * One epoll loop owns every socket and the client slots. It connects to persist, gets state and
 * journal rings, starts the lcores, and only then listens for clients. The environment
 * (dataplane/env.h) must have been started before.
 *
 * If the process dies here: persist and clients see their sockets hang up.
 */
#ifndef HB_DATAPLANE_DATAPLANE_H
#define HB_DATAPLANE_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"
#include "dataplane/attach.h"
#include "dataplane/lcore.h"
#include "dataplane/port.h"
#include "shm/state.h"

#define HB_DATAPLANE_ERROR_MAX 256
#define HB_LINK_RETRY_NS       UINT64_C(100000000)
#define HB_LINK_MESSAGE_MS_MAX 5000 /* for persist to take a hello */

/* What is decided before the main loop. */
struct hb_dataplane_setup {
	struct hb_config *config; /* a reload changes what is live in it */
	struct hb_token_keys token_keys;
	uid_t front_uid;
	uid_t control_uid;
	uint32_t port_count; /* of hb_env_ports_open; 0: no frames over UDP */
	int stop_fd;	     /* readable: SIGHUP reads keys again, everything else ends cleanly */
};

enum hb_link_state {
	HB_LINK_DOWN = 0,
	HB_LINK_GREETED, /* hello sent, welcome not seen */
	HB_LINK_UP,
};

struct hb_dataplane {
	struct hb_dataplane_setup setup;
	struct hb_shared *shared;
	struct hb_lcore *lcores[HB_LCORE_COUNT_MAX];
	struct hb_port *port; /* NULL: there are no ports */
	struct hb_segment node_segment;
	struct hb_segment journal_segment;
	struct hb_state *state;
	int epoll;
	/* link */
	int link_socket; /* -1 when down */
	enum hb_link_state link_state;
	uint64_t link_retry_ns;
	uint64_t epoch; /* of the state, 0 before the first welcome */
	bool link_complained;
	bool running;		/* the lcores run */
	uint64_t touched_bytes; /* of the state, by node.prefault */
	uint64_t touch_begun_ns;
	bool failed;
	/* clients */
	int listener;
	struct hb_client_slot *slots;
	uint64_t next_generation;
};

/* What an epoll event is about: kind << 32 | slot. */
enum hb_event_kind {
	HB_EVENT_STOP = 1,
	HB_EVENT_MAIN_WAKE,
	HB_EVENT_LINK,
	HB_EVENT_LISTENER,
	HB_EVENT_CLIENT,
};

/**
 * Run until setup->stop_fd is readable.
 * @param error on failure: what is wrong and what to do
 * @return 0 after a clean end, or -errno
 */
int hb_dataplane_run(const struct hb_dataplane_setup *setup, char error[HB_DATAPLANE_ERROR_MAX]);

/* For attach.c and link.c */

/** Watch a descriptor for input and hang-up. @return 0 or -errno */
int hb_dataplane_watch(struct hb_dataplane *dp, int fd, enum hb_event_kind kind, uint32_t slot);

/** Tell an lcore, and wake it. */
void hb_dataplane_tell(struct hb_dataplane *dp, uint32_t lcore, const struct hb_message *message);

/** State and journal are there: make the lcores and run them. @return 0 or -errno */
int hb_dataplane_start_lcores(struct hb_dataplane *dp, char error[HB_DATAPLANE_ERROR_MAX]);

/* link.c */

/** Connect and greet if it is time to. */
void hb_link_try(struct hb_dataplane *dp, uint64_t now_ns);

/** The link's socket is readable or hung up. Sets dp->failed when going on makes no sense. */
void hb_link_event(struct hb_dataplane *dp, char error[HB_DATAPLANE_ERROR_MAX]);

#endif
