/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * CPU time of other processes, from /proc, in clock ticks made microseconds.
 */
#ifndef HB_PERF_USAGE_H
#define HB_PERF_USAGE_H

#include <stdint.h>

/**
 * CPU time that the threads of a process, finished ones too, took so far.
 * @return microseconds, or -errno (-ESRCH: there is no such process)
 */
int64_t hb_usage_us(int pid);

/** CPU time of this process, microseconds. */
int64_t hb_usage_self_us(void);

#endif
