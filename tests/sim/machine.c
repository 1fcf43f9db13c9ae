/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated machine: tests/sim/machine.h. What a process allocates is remembered, so that it
 * can be freed when the process dies in the middle of a call.
 */
#include "tests/sim/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <zstd.h>

#include "base/bits.h"
#include "base/log.h"
#include "persist/journal_frame.h"
#include "shm/state.h"
#include "tests/sim/node.h"
#include "tests/sim/wrapped.h"

#define START_NS    (UINT64_C(1795392000) * 1000000000)
#define HELD_MAX    512
#define STATES_MAX  4
#define DIGESTS_MAX 16

struct sim_machine machine;

/* What processes hold; owner 0 = free place. */
static struct {
	void *at;
	enum sim_process owner;
} held[HELD_MAX];
static uint32_t held_count; /* places in use so far */
static struct {
	struct hb_state state;
	enum sim_process owner;
} states[STATES_MAX];
static struct {
	struct hb_digest digest;
	enum sim_process owner;
} digests[DIGESTS_MAX];
static ZSTD_DCtx *spare_unpackers[8];
static uint32_t spare_count;

void
sim_machine_reset(uint64_t seed)
{
	bool log = machine.log;
	void (*while_waiting)(void) = machine.while_waiting;

	memset(&machine, 0, sizeof(machine));
	machine.log = log;
	machine.while_waiting = while_waiting;
	machine.random = seed;
	machine.wall_ns = START_NS;
	machine.boot_ns = SIM_BOOT_NS;
}

/* splitmix64 */
uint64_t
sim_random(void)
{
	machine.random += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(machine.random);
}

uint64_t
sim_below(uint64_t below)
{
	return sim_random() % below;
}

bool
sim_chance(uint32_t per_thousand)
{
	return sim_below(1000) < per_thousand;
}

void
sim_advance_ns(uint64_t ns)
{
	machine.wall_ns += ns;
	machine.boot_ns += ns;
}

static const char *const fault_names[] = {
#define SIM_FAULT_NAME(name, key) [SIM_##name] = key,
	SIM_FAULT_TABLE(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
};

const char *
sim_fault_name(enum sim_fault fault)
{
	return fault_names[fault];
}

void
sim_note(const char *format, ...)
{
	va_list arguments;

	if (!machine.log)
		return;
	printf("%12.6f  ", (double)(machine.boot_ns - SIM_BOOT_NS) / 1e9);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

void
sim_count(enum sim_fault fault)
{
	machine.faults[fault]++;
	sim_note("fault: %s", fault_names[fault]);
}

void
sim_violation(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(machine.why, sizeof(machine.why), format, arguments);
	va_end(arguments);
	sim_note("violation: %s", machine.why);
	longjmp(machine.violation, 1);
}

/* ---- life and death ---- */

void
sim_die(void)
{
	longjmp(machine.death[machine.running], 1);
}

enum sim_process
sim_enter(enum sim_process process)
{
	enum sim_process before = machine.running;

	machine.running = process;
	machine.abort_expected = false;
	return before;
}

void
sim_leave(enum sim_process before)
{
	machine.running = before;
}

void
sim_bury(enum sim_process process)
{
	for (uint32_t i = 0; i < STATES_MAX; i++) {
		if (states[i].owner != process)
			continue;
		states[i].owner = SIM_NOBODY;
		__real_hb_state_close(&states[i].state);
	}
	for (uint32_t i = 0; i < DIGESTS_MAX; i++) {
		if (digests[i].owner != process)
			continue;
		digests[i].owner = SIM_NOBODY;
		__real_hb_digest_close(&digests[i].digest);
	}
	for (uint32_t i = 0; i < held_count; i++) {
		if (held[i].owner != process)
			continue;
		held[i].owner = SIM_NOBODY;
		__real_free(held[i].at);
	}
}

static bool
remembers(void)
{
	return machine.running == SIM_PERSIST || machine.running == SIM_SNAPSHOT;
}

static void *
hold(void *at)
{
	uint32_t i = 0;

	if (at == NULL || !remembers())
		return at;
	while (i < held_count && held[i].owner != SIM_NOBODY)
		i++;
	if (i == HELD_MAX)
		sim_violation("the simulator has no room to remember allocations");
	if (i == held_count)
		held_count++;
	held[i].at = at;
	held[i].owner = machine.running;
	return at;
}

static void
let_go(void *at)
{
	for (uint32_t i = 0; at != NULL && i < held_count; i++) {
		if (held[i].owner == SIM_NOBODY || held[i].at != at)
			continue;
		held[i].owner = SIM_NOBODY;
		break;
	}
	while (held_count > 0 && held[held_count - 1].owner == SIM_NOBODY)
		held_count--;
}

void *
__wrap_malloc(size_t bytes)
{
	return hold(__real_malloc(bytes));
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
	return hold(__real_calloc(count, bytes));
}

void *
__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return hold(__real_aligned_alloc(alignment, bytes));
}

void *
__wrap_reallocarray(void *at, size_t count, size_t bytes)
{
	let_go(at);
	return hold(__real_reallocarray(at, count, bytes));
}

void
__wrap_free(void *at)
{
	let_go(at);
	__real_free(at);
}

int
__wrap_hb_state_create(struct hb_state *state, const struct hb_capacity *capacity, uint32_t number)
{
	int rc;

	/* a whole MiB of claims, the least that can be configured, is slow to make */
	if (machine.running == SIM_SNAPSHOT)
		capacity = &sim_capacity;
	rc = __real_hb_state_create(state, capacity, number);
	for (uint32_t i = 0; rc == 0 && remembers() && i < STATES_MAX; i++) {
		if (states[i].owner != SIM_NOBODY)
			continue;
		states[i].state = *state;
		states[i].owner = machine.running;
		break;
	}
	return rc;
}

/* The state is no longer the process's: closed, or handed to the dataplane. */
static void
forget_state(const struct hb_state *state)
{
	for (uint32_t i = 0; i < STATES_MAX; i++)
		if (states[i].owner != SIM_NOBODY &&
			states[i].state.segment.base == state->segment.base)
			states[i].owner = SIM_NOBODY;
}

void
sim_state_handed_over(const struct hb_state *state)
{
	forget_state(state);
}

void
__wrap_hb_state_close(struct hb_state *state)
{
	forget_state(state);
	__real_hb_state_close(state);
}

int
__wrap_hb_digest_open(struct hb_digest *digest)
{
	int rc = __real_hb_digest_open(digest);

	for (uint32_t i = 0; rc == 0 && remembers() && i < DIGESTS_MAX; i++) {
		if (digests[i].owner != SIM_NOBODY)
			continue;
		digests[i].digest = *digest;
		digests[i].owner = machine.running;
		break;
	}
	return rc;
}

void
__wrap_hb_digest_close(struct hb_digest *digest)
{
	for (uint32_t i = 0; i < DIGESTS_MAX; i++)
		if (digests[i].owner != SIM_NOBODY && digests[i].digest.context == digest->context)
			digests[i].owner = SIM_NOBODY;
	__real_hb_digest_close(digest);
}

/* Unpackers are large and slow to make: used again, and a dead process's are few. */
ZSTD_DCtx *
__wrap_ZSTD_createDCtx(void)
{
	return spare_count > 0 ? spare_unpackers[--spare_count] : __real_ZSTD_createDCtx();
}

size_t
__wrap_ZSTD_freeDCtx(ZSTD_DCtx *unpacker)
{
	if (unpacker == NULL)
		return 0;
	if (spare_count == sizeof(spare_unpackers) / sizeof(spare_unpackers[0]))
		return __real_ZSTD_freeDCtx(unpacker);
	spare_unpackers[spare_count++] = unpacker;
	return 0;
}

/* ---- clocks, randomness, threads, the end ---- */

int
__wrap_clock_gettime(clockid_t clock, struct timespec *at)
{
	uint64_t ns = clock == CLOCK_REALTIME ? machine.wall_ns : machine.boot_ns;

	at->tv_sec = (time_t)(ns / 1000000000);
	at->tv_nsec = (long)(ns % 1000000000);
	return 0;
}

int
__wrap_nanosleep(const struct timespec *duration, struct timespec *left)
{
	(void)left;
	sim_advance_ns((uint64_t)duration->tv_sec * 1000000000 + (uint64_t)duration->tv_nsec);
	return 0;
}

ssize_t
__wrap_getrandom(void *bytes, size_t length, unsigned flags)
{
	uint8_t *to = bytes;

	(void)flags;
	for (size_t at = 0; at < length; at += 8) {
		uint64_t r = sim_random();

		memcpy(to + at, &r, length - at < 8 ? length - at : 8);
	}
	return (ssize_t)length;
}

/* Threads do not run by themselves: the simulator takes their turns. */
int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
	void *(*function)(void *), void *argument)
{
	(void)attributes;
	(void)function;
	(void)argument;
	memset(thread, 0, sizeof(*thread));
	return 0;
}

int
__wrap_pthread_join(pthread_t thread, void **result)
{
	(void)thread;
	(void)result;
	return 0;
}

int
__wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
	(void)condition;
	(void)until;
	pthread_mutex_unlock(mutex);
	sim_advance_ns(1000000);
	machine.while_waiting();
	pthread_mutex_lock(mutex);
	return 0;
}

void
__wrap_abort(void)
{
	if (machine.abort_expected)
		sim_die();
	sim_violation("a process ended itself (last words: %s)", machine.last_event);
}

void
__wrap_hb_log(enum hb_log_level level, const char *event, const char *format, ...)
{
	char text[400];
	va_list arguments;

	if (level < HB_LOG_ERROR && !machine.log)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (level >= HB_LOG_ERROR)
		snprintf(machine.last_event, sizeof(machine.last_event), "%s %.90s", event, text);
	machine.snapshots_damaged += strcmp(event, "snapshot_damaged") == 0;
	sim_note("log: %s %s", event, text);
}
