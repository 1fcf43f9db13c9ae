/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The benchmark `recovery`: what a start does with a node's journal, in its three steps, each timed
 * apart. Reads beside a living node and changes nothing.
 */
#ifndef HB_PERF_RECOVERY_BENCH_H
#define HB_PERF_RECOVERY_BENCH_H

/**
 * Make a state, load the newest snapshot into it, replay the journal behind it and compare its
 * marks; then read the same records once more without applying them. Prints one JSON object.
 * @param config_file of the node
 * @param error says what failed
 * @return 0, or -errno
 */
int hb_recovery_bench(const char *config_file, char error[512]);

#endif
