/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The three kinds of runs that the simulator knows, as items of work: one seed; one script whose
 * disk is stopped at each point and fails at each call; one script whose disk is damaged in each
 * sector.
 */
#ifndef HB_TESTS_SIM_RUNS_H
#define HB_TESTS_SIM_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/work.h"

/* What narrows a run down: to fewer cases, or to the one that failed. */
struct sim_options {
	uint32_t every;	  /* of points, calls and sectors only each n-th; 1: all */
	uint64_t only;	  /* this point, call or sector; 0: all */
	uint64_t variant; /* and this variant of it; UINT64_MAX: all */
};
extern struct sim_options sim_options;

/* A kind of run: its sums, in the order of its names. */
struct sim_run {
	const char *name;
	const char *const *sum_names;
	uint32_t sum_count;
	bool (*run)(uint64_t item, uint64_t sums[SIM_SUMS_MAX]);
	uint32_t batch;
	uint64_t count; /* of items, when nobody says */
};
extern const struct sim_run sim_crash_points;
extern const struct sim_run sim_corruption;

#endif
