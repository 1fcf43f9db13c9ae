/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every point at which a crash can happen: a script is run up to each point where the disk changes;
 * the machine stops there, and what was not synced is decided in many ways, one after the other;
 * each must recover to a state that the clients' history allows, and to the same state again when
 * power is lost right after. Then the script is run with a process dying at each point, and with
 * each call of the disk failing in each way it knows, and goes on to its end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/crc32c.h"
#include "tests/sim/clients.h"
#include "tests/sim/disk.h"
#include "tests/sim/node.h"
#include "tests/sim/runs.h"
#include "tests/sim/seed.h"

#define OPERATIONS  700 /* of a script */
#define VARIANTS    64	/* of a point */
#define FIRST_DRAWN 4	/* variants before are none, all, contents only, names only */

enum sum {
	SUM_OPERATIONS,
	SUM_POINTS,
	SUM_STATES,
	SUM_DEATHS,
	SUM_CALLS,
	SUM_FAILURES,
	SUM_FAILURES_FELT,
	SUM_COUNT
};
static const char *const sum_names[SUM_COUNT] = {
	"operations", "points", "states", "deaths", "calls", "failures", "failures_felt"};

struct sim_options sim_options = {.every = 1, .variant = UINT64_MAX};

/* Snapshots, a restart of persist below a living dataplane, and one of both, in every script. */
static const struct sim_plan script = {
	.events = {{120, SIM_EVENT_SNAPSHOT}, {220, SIM_EVENT_KILL_PERSIST},
		{330, SIM_EVENT_KILL_BOTH}, {420, SIM_EVENT_SNAPSHOT}, {520, SIM_EVENT_KILL_BOTH},
		{600, SIM_EVENT_SNAPSHOT}},
	.event_count = 6,
	.operations_min = OPERATIONS,
	.burst_max = 12,
};

/* The case under way, for the message. */
static struct {
	uint64_t script;
	const char *what;
	uint64_t number;
	uint64_t variant;
} now;
static uint64_t first_hash[HB_PARTITION_COUNT][2];

/* ---- what a loss of power leaves ---- */

static void
lose_from(struct sim_loss *loss, uint32_t begin, uint32_t end, uint8_t kept)
{
	for (uint32_t i = begin; i < end; i++)
		loss->sector[i] = kept;
}

/* One of the ways to decide; drawn ones are drawn from script, point and variant. */
static void
draw_loss(struct sim_loss *loss, const struct sim_pending *pending, uint32_t variant)
{
	uint32_t n = pending->sectors, cut = n == 0 ? 0 : (uint32_t)sim_below(n + 1);

	memset(loss->sector, 0, n);
	loss->names_kept = (variant == 1 || variant == 3) ? pending->names : 0;
	loss->sizes_kept = variant == 1 || variant == 2;
	if (variant == 1 || variant == 2)
		lose_from(loss, 0, n, SIM_LOSS_KEPT);
	if (variant < FIRST_DRAWN)
		return;
	loss->names_kept = (uint32_t)sim_below(pending->names + 1);
	loss->sizes_kept = sim_chance(500);
	switch (variant % 5) {
	case 0: /* the first ones arrived */
		lose_from(loss, 0, cut, SIM_LOSS_KEPT);
		return;
	case 1: /* the last ones: written in another order */
		lose_from(loss, cut, n, SIM_LOSS_KEPT);
		return;
	case 2: /* the first ones, and a part of the next */
		lose_from(loss, 0, cut, SIM_LOSS_KEPT);
		if (cut < n)
			loss->sector[cut] = (uint8_t)sim_below(SIM_LOSS_KEPT);
		return;
	case 3: /* all but one, which is torn */
		lose_from(loss, 0, n, SIM_LOSS_KEPT);
		if (n > 0)
			loss->sector[sim_below(n)] = (uint8_t)sim_below(SIM_LOSS_KEPT);
		return;
	default: /* any */
		for (uint32_t i = 0; i < n; i++)
			loss->sector[i] = sim_chance(500) ? SIM_LOSS_KEPT : 0;
		return;
	}
}

static uint64_t
hash_of(const struct sim_loss *loss, const struct sim_pending *pending)
{
	uint64_t hash = hb_mix64(loss->names_kept * 2u + (pending->sizes > 0 && loss->sizes_kept));

	for (uint32_t at = 0; at < pending->sectors; at += 256) {
		uint32_t step = pending->sectors - at < 256 ? pending->sectors - at : 256;

		hash = hb_mix64(hash ^ hb_crc32c(loss->sector + at, step));
	}
	return hash;
}

static void
remember_first(const struct hb_state *state)
{
	sim_check_recovered(state);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		first_hash[i][0] = state->partition[i].head->state_hash;
		first_hash[i][1] = state->partition[i].head->balance_hash;
	}
}

/* What was recovered once is durable: the same comes back, whatever was on its way. */
static void
compare_second(const struct hb_state *state)
{
	sim_check_recovered(state);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (state->partition[i].head->state_hash != first_hash[i][0] ||
			state->partition[i].head->balance_hash != first_hash[i][1])
			sim_violation(
				"partition %u: what was recovered is gone after the next loss", i);
}

static void
recover(void (*look)(const struct hb_state *state))
{
	if (sim_persist_start() != SIM_DONE || sim_attach_fresh(look) != SIM_DONE)
		sim_violation("the recovery was refused: %s", node.error);
}

static void
try_loss(const struct sim_loss *loss)
{
	static const struct sim_loss nothing;

	sim_disk_lose(loss);
	recover(remember_first);
	sim_power_off();
	sim_disk_lose(&nothing);
	recover(compare_second);
	sim_power_off();
}

static bool
is_new(uint64_t seen[VARIANTS], uint32_t count, uint64_t hash)
{
	for (uint32_t i = 0; i < count; i++)
		if (seen[i] == hash)
			return false;
	seen[count] = hash;
	return true;
}

/* The machine has stopped: decide what was pending in every way, each once. */
static void
try_losses(uint64_t *states)
{
	static struct sim_loss loss;
	uint64_t seen[VARIANTS];
	uint32_t seen_count = 0;
	struct sim_pending pending;

	sim_power_off();
	memset(&disk_plan, 0, sizeof(disk_plan));
	memset(&disk_watch, 0, sizeof(disk_watch));
	pending = sim_disk_pending();
	sim_disk_save();
	for (uint32_t v = 0; v < VARIANTS; v++) {
		machine.random = hb_mix64(now.script << 40 ^ now.number << 8 ^ v);
		draw_loss(&loss, &pending, v);
		if (!is_new(seen, seen_count, hash_of(&loss, &pending)))
			continue;
		seen_count++;
		if (sim_options.variant != UINT64_MAX && sim_options.variant != v)
			continue;
		now.variant = v;
		sim_note("point %" PRIu64 " variant %u: %u sectors, %u names", now.number, v,
			pending.sectors, pending.names);
		try_loss(&loss);
		(*states)++;
		sim_disk_restore();
	}
}

/* ---- one case ---- */

static bool
violated(void)
{
	fprintf(stderr,
		"script %" PRIu64 ", %s %" PRIu64 ", variant %" PRIu64 ": %s\n"
		"replay: ./hongbao sim --crash-points --from %" PRIu64
		" --scripts 1 --only %" PRIu64 " --log\n",
		now.script, now.what, now.number, now.variant, machine.why, now.script, now.number);
	return false;
}

static void
begin(const char *what, uint64_t number, uint64_t variant)
{
	sim_seed_begin(now.script, &script);
	now.what = what;
	now.number = number;
	now.variant = variant;
}

/* @return false at a violation */
static bool
run_to_end(const char *what, uint64_t number, uint64_t variant,
	void (*arm)(uint64_t number, uint64_t variant))
{
	begin(what, number, variant);
	if (setjmp(machine.violation) != 0)
		return violated();
	arm(number, variant);
	sim_seed_steps();
	sim_seed_finish();
	return true;
}

static bool
run_to_point(uint64_t point, uint64_t *states)
{
	begin("point", point, 0);
	if (setjmp(machine.violation) != 0)
		return violated();
	if (setjmp(machine.halt) == 0) {
		disk_watch.halt_at = point;
		sim_seed_steps();
		sim_seed_finish();
		sim_violation("the script does not come to point %" PRIu64, point);
	}
	try_losses(states);
	return true;
}

static void
arm_nothing(uint64_t number, uint64_t variant)
{
	(void)number;
	(void)variant;
}

static void
arm_death(uint64_t number, uint64_t variant)
{
	(void)variant;
	disk_watch.death_at = number;
}

static void
arm_failure(uint64_t number, uint64_t variant)
{
	disk_watch.fail_at = number;
	disk_watch.failure = (enum sim_failure)variant;
}

/* ---- a script ---- */

static bool
is_wanted(uint64_t number)
{
	if (sim_options.only != 0)
		return number == sim_options.only;
	return (number + now.script) % sim_options.every == 0;
}

static bool
try_points(uint64_t points, uint64_t sums[SIM_SUMS_MAX])
{
	for (uint64_t point = 1; point <= points; point++) {
		if (!is_wanted(point))
			continue;
		if (!run_to_point(point, &sums[SUM_STATES]))
			return false;
		if (!run_to_end("death at", point, 0, arm_death))
			return false;
		sums[SUM_POINTS]++;
		sums[SUM_DEATHS]++;
	}
	return true;
}

static bool
try_failures(uint64_t calls, uint64_t crashes, uint64_t sums[SIM_SUMS_MAX])
{
	for (uint64_t call = 1; call <= calls; call++) {
		if (!is_wanted(call))
			continue;
		sums[SUM_CALLS]++;
		for (uint64_t failure = SIM_FAIL_IO; failure < SIM_FAIL_COUNT; failure++) {
			if (!run_to_end("failing call", call, failure, arm_failure))
				return false;
			sums[SUM_FAILURES] += disk_watch.failed;
			/* a process ended or a start was refused: the rest is gone on from */
			sums[SUM_FAILURES_FELT] +=
				disk_watch.failed && sim_seed_numbers().crashes > crashes;
		}
	}
	return true;
}

static bool
run_script(uint64_t number, uint64_t sums[SIM_SUMS_MAX])
{
	uint64_t points, calls, crashes;

	now.script = number;
	if (!run_to_end("as it is", 0, 0, arm_nothing))
		return false;
	points = disk_watch.points;
	calls = disk_watch.calls;
	crashes = sim_seed_numbers().crashes;
	sums[SUM_OPERATIONS] += sim_clients_numbers()->operations;
	return try_points(points, sums) && try_failures(calls, crashes, sums);
}

const struct sim_run sim_crash_points = {
	.name = "scripts",
	.sum_names = sum_names,
	.sum_count = SUM_COUNT,
	.run = run_script,
	.batch = 2,
	.count = 12,
};
