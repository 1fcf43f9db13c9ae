/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A whole dataplane in the test's process: lcores as threads, and a persist that keeps the journal
 * in memory. That persist verifies every record and replays it into a state of its own, so a test
 * can compare what was told with what a recovery would find. It can be held, killed and started
 * again.
 */
#ifndef HB_TESTS_DATAPLANE_NODE_H
#define HB_TESTS_DATAPLANE_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "dataplane/dataplane.h"
#include "shm/client.h"
#include "shm/link.h"
#include "shm/state.h"

struct fake_persist {
	char directory[128];
	pthread_t thread;
	int listener;
	atomic_bool hold; /* commit nothing */
	atomic_bool die;
	atomic_bool attached;
	struct hb_state replayed; /* what a recovery would build */
	_Atomic uint64_t seq;	  /* committed records; load it before you look at replayed */
	uint64_t epoch;
};

struct node {
	char directory[128];
	char socket[192];
	struct hb_config config;
	struct hb_dataplane_setup setup;
	struct fake_persist persist;
	int signals; /* the other end of setup.stop_fd */
	pthread_t thread;
	int result;
	char error[HB_DATAPLANE_ERROR_MAX];
};

/** What a signal does to the process, here to the dataplane in its thread: SIGTERM, SIGHUP. */
void node_signal(struct node *node, uint32_t number);

/** How long what is over stays in memory in nodes started from now on, seconds; 0 = the default. */
extern int64_t node_retention_s;

/** Content of key/frame.keys: nodes started from now on have the port of env_plain.h; NULL: none.
 */
extern const char *node_frame_keys;
/** How many ports the environment has for such nodes; 1 unless a test opened more. */
extern uint32_t node_port_count;

void node_start(struct node *node, uint32_t lcores, uint32_t parked_max);
void node_stop(struct node *node);
/** Remove the files of a node whose process died. */
void node_remove(const char *directory);

void persist_start(struct node *node);
void persist_kill(struct node *node);

struct hb_client *node_client(struct node *node, const char *name);
struct hb_client *node_client_sized(struct node *node, uint32_t request, uint32_t reply);

/** A frame of an operation, complete but for its body. */
void frame_begin(
	void *frame, enum hb_operation operation, uint32_t length, uint64_t target, uint64_t user);

/** Send and wait; fails the test without a reply. @return the status */
uint16_t call(struct hb_client *client, void *frame, void *reply);

/** Open an account and put money into it. */
void fund(struct hb_client *client, uint64_t account, int64_t amount_fen);

/** Send a lucky packet to group 7. @return its id */
uint64_t send_packet(struct hb_client *client, uint64_t sender, int64_t total_fen, uint32_t count,
	uint32_t lifetime_s);

void grab_frame(struct hb_frame *frame, uint64_t packet, uint64_t user);

int64_t balance(struct hb_client *client, uint64_t account);

/** Room for any reply. */
union reply {
	struct hb_reply head;
	uint8_t bytes[HB_REPLY_BYTES_MAX];
};

/** Replies by what they say. */
struct tally {
	uint32_t ok;
	uint32_t busy;
	uint32_t other;
};

/** An hb_client_reply_fn that counts into a struct tally. */
void tally_reply(void *tally, const struct hb_reply *reply);
/** Count replies until there are as many as expected in all, or the time is over. */
void tally_collect(
	struct hb_client *client, struct tally *tally, uint32_t expected, uint32_t timeout_ms);

uint64_t counter(struct hb_client *client, enum hb_counter which);

#endif
