/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The simulated node: persist and one or two dataplanes, built of the product's own parts. What is
 * written anew here is only what the product's main programs do with sockets and threads.
 */
#ifndef HB_TESTS_SIM_NODE_H
#define HB_TESTS_SIM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "dataplane/attach.h"
#include "dataplane/lcore.h"
#include "persist/journal.h"
#include "persist/session.h"
#include "shm/state.h"
#include "tests/sim/machine.h"

#define SIM_LCORES_MAX	   4
#define SIM_CLIENTS	   3
#define SIM_CLIENT_CONTROL 0 /* trusted: needs no money tokens */

struct sim_dataplane {
	bool alive;
	bool stalled; /* does nothing, as if stopped by its machine */
	struct hb_shared *shared;
	struct hb_lcore *lcores[SIM_LCORES_MAX];
	struct hb_state state;
	struct hb_segment journal_segment;
	uint64_t epoch;
	uint32_t publish_death_in; /* it dies at this publication of records; 0: it does not */
};

struct sim_persist {
	bool alive;
	bool attached;
	struct hb_journal journal;
	struct hb_session session;
	struct sim_dataplane *served;
};

enum sim_outcome {
	SIM_DONE = 0,
	SIM_DIED,    /* killed on the way */
	SIM_REFUSED, /* said no: sim_node.error */
};

struct sim_node {
	struct hb_config config;
	struct sim_persist persist;
	struct sim_dataplane *dataplane; /* the one that clients talk to; always set */
	struct sim_dataplane *other;	 /* a stalled one of before */
	uint32_t lcore_count;
	uint64_t witness_seq; /* what MySQL's position says when persist starts */
	int refusal;	      /* -errno of the newest refusal */
	char error[HB_JOURNAL_ERROR_BYTES];
	struct hb_client_slot slots[SIM_CLIENTS];
	uint64_t generation;
};
extern struct sim_node node;

/** Of every state, the snapshot job's too. */
extern const struct hb_capacity sim_capacity;

void sim_node_reset(uint32_t lcore_count);

/** Start persist: lock, recovery, a new epoch. */
enum sim_outcome sim_persist_start(void);
/** A fresh dataplane; `look` sees the recovered state before anybody uses it. */
enum sim_outcome sim_attach_fresh(void (*look)(const struct hb_state *recovered));
/** A living dataplane hands its rings to a new persist. */
enum sim_outcome sim_attach_resume(struct sim_dataplane *dataplane);

/** One turn of persist's writer, and of its pool thread. Nothing when it is dead or idle. */
void sim_persist_turn(void);
void sim_pool_turn(void);
/** One turn of an lcore. */
void sim_lcore_turn(struct sim_dataplane *dataplane, uint32_t lcore);
/** The snapshot job, as a process of its own. */
enum sim_outcome sim_snapshot(void);

/** kill -9 between two steps. */
void sim_kill_persist(void);
void sim_kill_dataplane(struct sim_dataplane *dataplane);
/** All of them, wherever they are; what the disk holds is not decided yet. */
void sim_power_off(void);
/** After a dataplane's death: persist writes what it had published. */
void sim_persist_drain(void);

/** Is every record of the clients' dataplane on disk, every reply and credit delivered? */
bool sim_all_committed(void);

#endif
