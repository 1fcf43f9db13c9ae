/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The clocks of the machine in nanoseconds. Only thin drivers call these; decide and apply get
 * time as input.
 */
#ifndef HB_BASE_CLOCK_H
#define HB_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t
hb_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/** Unix time. */
static inline uint64_t
hb_wall_ns(void)
{
	return hb_clock_ns(CLOCK_REALTIME);
}

/** Time that never jumps; stands still while the machine is suspended. */
static inline uint64_t
hb_mono_ns(void)
{
	return hb_clock_ns(CLOCK_MONOTONIC);
}

/** Time that never jumps and counts suspension. */
static inline uint64_t
hb_boot_ns(void)
{
	return hb_clock_ns(CLOCK_BOOTTIME);
}

#endif
