/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The benchmark `recovery`: what a start does with a node's journal, in its three steps, each timed
 * apart. Reads beside a living node and changes nothing.
 */
#ifndef HB_PERF_RECOVERY_BENCH_H
#define HB_PERF_RECOVERY_BENCH_H

#include <stdbool.h>

/**
 * Make a state, load the newest snapshot into it, replay the journal behind it and compare its
 * marks; then read the same records once more without applying them. Prints one JSON object.
 * @param config_file of the node
 * @param threads of the replay besides the reader's, 0 = none, -1 = as a start takes
 * @param touch write to every page of the state before the clock of the load starts
 * @param error says what failed
 * @return 0, or -errno
 */
int hb_recovery_bench(const char *config_file, int threads, bool touch, char error[512]);

#endif
