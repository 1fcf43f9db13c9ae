/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The simulated clients with their own history, and the oracles that judge by it.
 *
 * The history is what users saw: what they asked and what they were told. It survives every crash,
 * as users do. The oracles compare it with the recovered state and with what is durable on the
 * disk; they use look-ups of shm/state.h and nothing else of the product.
 */
#ifndef HB_TESTS_SIM_CLIENTS_H
#define HB_TESTS_SIM_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/state.h"

struct sim_numbers {
	uint64_t operations; /* frames sent */
	uint64_t acked;	     /* answered OK */
	uint64_t claims;     /* shares that were acknowledged */
};

void sim_clients_reset(void);
const struct sim_numbers *sim_clients_numbers(void);

/** Ask something new, or something old again. */
void sim_clients_ask(uint32_t burst);
/** Take replies and judge them. @return how many */
uint32_t sim_clients_listen(void);
/** Requests that have no reply yet. */
uint32_t sim_clients_waiting(void);
/** The dataplane is gone: what waits has an unknown outcome. */
void sim_clients_hung_up(void);

/** A record is on the disk for good (sim_durable_fn). */
void sim_clients_durable(const void *record);

/** Judge a state in which no credit is under way: after a recovery. */
void sim_check_recovered(const struct hb_state *state);
/** Judge the living state: packets only, as credits may be under way. */
void sim_check_living(const struct hb_state *state);

#endif
