/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See machine.h. Each part has its memory and threads for itself and gives them back.
 */
#include "perf/machine.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/sync_probe.h"
#include "perf/histogram.h"

#define MEMORY_BYTES (UINT64_C(512) << 20)
#define LINE_BYTES   64
#define LINES	     (MEMORY_BYTES / LINE_BYTES)
#define STEPS	     (UINT64_C(1) << 22)
#define CHAINS	     8
#define FRESH_BYTES  (UINT64_C(64) << 20)
#define PAGE_BYTES   4096
#define LOOK_NS	     UINT64_C(333000000)
#define GAP_NS	     10000
#define PROBES	     1000
#define POLL_NS	     300000
#define PAUSE_NS     20000
#define TICK_NS	     50000
#define PRIORITY     1

static int
fail(char error[256], int result, const char *what)
{
	snprintf(error, 256, "%s: %s", what, strerror(-result));
	return result;
}

/* ---- memory ---- */

/* Each line holds the number of the next: one random cycle through all (Sattolo's algorithm). */
static void
make_cycle(uint64_t (*lines)[LINE_BYTES / sizeof(uint64_t)])
{
	for (uint64_t i = 0; i < LINES; i++)
		lines[i][0] = i;
	for (uint64_t i = LINES - 1; i > 0; i--) {
		uint64_t j = hb_mix64(i) % i, kept = lines[i][0];

		lines[i][0] = lines[j][0];
		lines[j][0] = kept;
	}
}

static double
walk(uint64_t (*lines)[LINE_BYTES / sizeof(uint64_t)], uint32_t chains)
{
	uint64_t at[CHAINS], sum = 0, begin_ns;

	for (uint32_t c = 0; c < chains; c++)
		at[c] = LINES / chains * c;
	begin_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < STEPS / chains; i++)
		for (uint32_t c = 0; c < chains; c++)
			at[c] = lines[at[c]][0];
	begin_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
	for (uint32_t c = 0; c < chains; c++)
		sum += at[c];
	atomic_signal_fence(memory_order_seq_cst);
	return sum == UINT64_MAX ? 0 : (double)begin_ns / (double)STEPS;
}

static int
measure_memory(struct hb_machine *machine)
{
	uint64_t(*lines)[LINE_BYTES / sizeof(uint64_t)] = mmap(
		NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile uint8_t *fresh;
	uint64_t begin_ns;

	if (lines == MAP_FAILED)
		return -errno;
	(void)madvise(lines, MEMORY_BYTES, MADV_HUGEPAGE);
	make_cycle(lines);
	machine->line_ns = walk(lines, 1);
	machine->line_of_8_ns = walk(lines, CHAINS);
	munmap(lines, MEMORY_BYTES);

	fresh = mmap(NULL, FRESH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fresh == MAP_FAILED)
		return -errno;
	(void)madvise((void *)fresh, FRESH_BYTES, MADV_NOHUGEPAGE);
	begin_ns = hb_mono_ns();
	for (uint64_t at = 0; at < FRESH_BYTES; at += PAGE_BYTES)
		fresh[at] = 1;
	machine->first_access_us =
		(double)(hb_mono_ns() - begin_ns) / 1e3 / (double)(FRESH_BYTES / PAGE_BYTES);
	munmap((void *)fresh, FRESH_BYTES);
	return 0;
}

/* ---- CPUs ---- */

struct thread {
	pthread_t id;
	int cpu;
	bool realtime;
	struct hb_machine_cpu *found;
	const atomic_bool *stop;
};

static bool
be_realtime(int priority)
{
	struct sched_param parameter = {.sched_priority = priority};

	return sched_setscheduler(0, SCHED_FIFO, &parameter) == 0;
}

static void
settle_on(struct thread *thread)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(thread->cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	thread->realtime = be_realtime(PRIORITY);
}

static void *
look_at_clock(void *argument)
{
	struct thread *thread = argument;
	uint64_t lost_ns = 0, gaps = 0, longest_ns = 0, begin_ns, last_ns;

	settle_on(thread);
	begin_ns = last_ns = hb_mono_ns();
	while (last_ns - begin_ns < LOOK_NS) {
		uint64_t now_ns = hb_mono_ns(), gap_ns = now_ns - last_ns;

		last_ns = now_ns;
		if (gap_ns > longest_ns)
			longest_ns = gap_ns;
		if (gap_ns <= GAP_NS)
			continue;
		lost_ns += gap_ns;
		gaps++;
	}
	*thread->found = (struct hb_machine_cpu){.cpu = thread->cpu,
		.lost_percent = (double)lost_ns * 100 / (double)(last_ns - begin_ns),
		.gaps_per_s = gaps * UINT64_C(1000000000) / (last_ns - begin_ns),
		.gap_max_us = (double)longest_ns / 1e3};
	return NULL;
}

static int
measure_cpus(struct hb_machine *machine)
{
	struct thread threads[HB_MACHINE_CPUS_MAX] = {0};
	cpu_set_t set;
	uint32_t started = 0;
	int result = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return -errno;
	machine->realtime = true;
	for (int cpu = 0; cpu < CPU_SETSIZE && started < HB_MACHINE_CPUS_MAX; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		threads[started] = (struct thread){.cpu = cpu, .found = &machine->cpus[started]};
		result = -pthread_create(
			&threads[started].id, NULL, look_at_clock, &threads[started]);
		if (result != 0)
			break;
		started++;
	}
	for (uint32_t i = 0; i < started; i++) {
		pthread_join(threads[i].id, NULL);
		machine->realtime = machine->realtime && threads[i].realtime;
	}
	machine->cpu_count = started;
	return result;
}

/* ---- the disk ---- */

static void
pause_ns(long ns)
{
	const struct timespec pause = {.tv_nsec = ns};

	nanosleep(&pause, NULL);
}

static void
spin_ns(uint64_t ns)
{
	uint64_t begin_ns = hb_mono_ns();

	while (hb_mono_ns() - begin_ns < ns)
		;
}

static void *
poll_as_lcore(void *argument)
{
	struct thread *thread = argument;

	settle_on(thread);
	while (!atomic_load(thread->stop)) {
		spin_ns(POLL_NS);
		pause_ns(PAUSE_NS);
	}
	return NULL;
}

static void *
poll_as_client(void *argument)
{
	struct thread *thread = argument;

	settle_on(thread);
	while (!atomic_load(thread->stop)) {
		spin_ns(TICK_NS / 2);
		pause_ns(TICK_NS / 2);
	}
	return NULL;
}

static int
probe(const char *directory, double *p50_us, double *p99_us, char error[256])
{
	static struct hb_histogram latency;
	static uint64_t latency_ns[PROBES];
	int result = hb_sync_probe(directory, PROBES, latency_ns, error);

	if (result != 0)
		return result;
	hb_histogram_reset(&latency);
	for (uint32_t i = 0; i < PROBES; i++)
		hb_histogram_add(&latency, latency_ns[i]);
	*p50_us = (double)hb_histogram_percentile(&latency, 500000) / 1e3;
	*p99_us = (double)hb_histogram_percentile(&latency, 990000) / 1e3;
	return 0;
}

/* The write goes before those that poll, as the writer's do. */
static int
probe_first(struct hb_machine *machine, const char *directory, char error[256])
{
	const struct sched_param ordinary = {0};
	int result;

	(void)be_realtime(PRIORITY + 1);
	result =
		probe(directory, &machine->sync_beside_us_p50, &machine->sync_beside_us_p99, error);
	(void)sched_setscheduler(0, SCHED_OTHER, &ordinary);
	return result;
}

static int
measure_sync(struct hb_machine *machine, const char *directory, char error[256])
{
	static atomic_bool stop;
	uint32_t last = machine->cpu_count - 1;
	struct thread lcore = {.cpu = machine->cpus[0].cpu, .stop = &stop};
	struct thread client = {.cpu = machine->cpus[last].cpu, .stop = &stop};
	int result = probe(directory, &machine->sync_us_p50, &machine->sync_us_p99, error);

	if (result != 0)
		return result;
	atomic_store(&stop, false);
	result = -pthread_create(&lcore.id, NULL, poll_as_lcore, &lcore);
	if (result != 0)
		return fail(error, result, "no thread");
	result = -pthread_create(&client.id, NULL, poll_as_client, &client);
	if (result != 0) {
		fail(error, result, "no thread");
		goto out;
	}
	result = probe_first(machine, directory, error);
	atomic_store(&stop, true);
	pthread_join(client.id, NULL);
out:
	atomic_store(&stop, true);
	pthread_join(lcore.id, NULL);
	return result;
}

int
hb_machine_measure(struct hb_machine *machine, const char *directory, char error[256])
{
	int result;

	memset(machine, 0, sizeof(*machine));
	result = measure_memory(machine);
	if (result != 0)
		return fail(error, result, "no memory");
	result = measure_cpus(machine);
	if (result != 0)
		return fail(error, result, "no threads");
	return measure_sync(machine, directory, error);
}
