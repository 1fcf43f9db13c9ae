/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * `hongbao-bench engine`: the engine in one thread, without network, disk or DPDK.
 */
#ifndef HB_PERF_ENGINE_BENCH_H
#define HB_PERF_ENGINE_BENCH_H

#include <stdint.h>

struct hb_engine_bench_options {
	uint64_t accounts;   /* that may get shares */
	uint64_t packets;    /* of `many`, made before its first run; 0 = none */
	uint64_t frames_max; /* of one run */
	uint64_t runs_max;   /* the tables are made for so many runs */
	uint64_t windows; /* of tokens, slots of one partition; 0: one for each frame of all runs */
	uint64_t seed;
};

/**
 * Prepare, say so with one line of JSON, then obey lines on standard input and answer each with a
 * line of JSON, so that a peer can be measured in between:
 *   run KIND BURST COUNT   KIND is hot, many, zipf, sold-out, already, used or expired
 *   check                  replay and books
 * @return 0, or -errno
 */
int hb_engine_bench(const struct hb_engine_bench_options *options);

#endif
