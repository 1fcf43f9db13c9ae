/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One simulated run: a workload and a schedule of events, both drawn from a number. The same number
 * does the same again, step by step. There is one run at a time; beginning one forgets the other.
 *
 * Oracles end a run with a jump to machine.violation, which the caller sets.
 */
#ifndef HB_TESTS_SIM_SEED_H
#define HB_TESTS_SIM_SEED_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/state.h"

#define SIM_EVENTS_MAX	   12
#define SIM_OPERATIONS_MIN 2000 /* of a seed */
#define SIM_KINDS_MIN	   3	/* of faults in a seed */

enum sim_event_kind {
	SIM_EVENT_KILL_DATAPLANE,
	SIM_EVENT_KILL_IN_TURN,
	SIM_EVENT_KILL_PERSIST,
	SIM_EVENT_KILL_BOTH,
	SIM_EVENT_POWER_LOSS,
	SIM_EVENT_KILL_IN_RECOVERY,
	SIM_EVENT_SNAPSHOT,
	SIM_EVENT_KILL_IN_SNAPSHOT,
	SIM_EVENT_STALE_DATAPLANE,
	SIM_EVENT_SLOW_WRITES,
	SIM_EVENT_WRITE_ERROR,
	SIM_EVENT_READ_ERRORS,
	SIM_EVENT_BAD_READS,
	SIM_EVENT_NO_SPACE,
	SIM_EVENT_ROT,
	SIM_EVENT_CLOCK,
	SIM_EVENT_COUNT
};

struct sim_event {
	uint64_t at_operation;
	enum sim_event_kind kind;
};

struct sim_plan {
	struct sim_event events[SIM_EVENTS_MAX];
	uint32_t event_count;
	uint64_t operations_min;
	uint32_t burst_max; /* operations asked at once; few make many frames */
	bool faulty;	    /* goes on until it has had a crash and SIM_KINDS_MIN kinds of faults */
};

struct sim_seed_numbers {
	uint64_t crashes;
	uint64_t recoveries; /* states that the oracles have seen after a start */
	uint64_t detected;   /* planted rot that a start refused */
	uint32_t kinds;	     /* of faults */
};

/** Everything new, drawn from `number`. @param plan kept by value; NULL: drawn too */
void sim_seed_begin(uint64_t number, const struct sim_plan *plan);

/** Start what is dead until the node answers. */
void sim_seed_bring_up(void);

/** Bring up, then the plan's operations and events. */
void sim_seed_steps(void);

/** Let everything come to its end; then the state that a loss of power leaves is the living one. */
void sim_seed_finish(void);

/** The state at the end, by partition: what every later recovery of this disk must bring back. */
bool sim_seed_is_last_state(const struct hb_state *state, uint32_t *partition);

struct sim_seed_numbers sim_seed_numbers(void);

#endif
