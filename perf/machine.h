/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the machine gives to anybody: memory, CPUs that are left alone, a durable write. Bounds of
 * what the benchmarks can show on it. Nothing of the product runs here.
 */
#ifndef HB_PERF_MACHINE_H
#define HB_PERF_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#define HB_MACHINE_CPUS_MAX 64

/* A real-time thread that only looks at the clock, for a third of a second on each CPU at once. */
struct hb_machine_cpu {
	int cpu;
	double lost_percent; /* of the time, in gaps of more than 10 µs */
	uint64_t gaps_per_s;
	double gap_max_us;
};

struct hb_machine {
	double line_ns;		/* a random line of 512 MiB, when the next address is in it */
	double line_of_8_ns;	/* the same with eight such chains side by side */
	double first_access_us; /* to a page of 4 KiB that nobody has used yet */
	struct hb_machine_cpu cpus[HB_MACHINE_CPUS_MAX];
	uint32_t cpu_count;
	bool realtime; /* threads could be real-time; otherwise the next figures say little */
	double sync_us_p50, sync_us_p99;
	/* With a polling thread on the first CPU that sleeps 20 µs after each 300, as an lcore with
	 * parked replies does, and one on the last that is at work half of each 50 µs, as a client.
	 */
	double sync_beside_us_p50, sync_beside_us_p99;
};

/**
 * @param directory of the disk whose durable writes are measured
 * @return 0, or -errno with `error`
 */
int hb_machine_measure(struct hb_machine *machine, const char *directory, char error[256]);

#endif
