/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated run: tests/sim/seed.h. Clients, dataplane and persist take their steps in one
 * thread; judged is by the clients' history. Nothing outside this process is touched.
 */
#include "tests/sim/seed.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "tests/sim/clients.h"
#include "tests/sim/disk.h"
#include "tests/sim/node.h"

#define EVENTS_MIN     6
#define BURST_MAX      12
#define STARTS_MAX     40 /* attempts to bring a node up, before it counts as a failure */
#define CHECK_INTERVAL 256
#define MORE_INTERVAL  64 /* steps between the events of a run that had too few faults */
#define STEPS_MAX      200000

/* The run under way; static, as it must survive a jump. */
static struct {
	struct sim_plan plan;
	struct sim_seed_numbers numbers;
	uint32_t event_next;
	bool rot_wanted; /* at the next start */
	bool rot_planted;
	bool death_in_start; /* at the next start */
	bool other_wakes;    /* the stalled dataplane is to come back */
} seed;

/* ---- death and start ---- */

/* After SIM_DIED: the machine may have died with the process. */
static void
after_death(void)
{
	seed.numbers.crashes++;
	if (!machine.power_lost)
		return;
	machine.power_lost = false;
	sim_count(SIM_POWER_LOSS);
	sim_kill_persist();
	sim_kill_dataplane(node.dataplane);
	sim_kill_dataplane(node.other);
	sim_disk_power_loss();
}

static void
notice_deaths(void)
{
	if (machine.power_lost)
		after_death();
	if (!node.dataplane->alive)
		sim_clients_hung_up();
	if (node.persist.attached && !node.persist.served->alive) {
		seed.numbers.crashes++;
		sim_persist_drain();
	}
	if (machine.power_lost)
		after_death();
}

static void
forgive_disk(void)
{
	memset(&disk_plan, 0, sizeof(disk_plan));
}

static bool
reads_were_bad(void)
{
	return disk_watch.failed || machine.faults[SIM_MISDIRECTED_READ] +
						    machine.faults[SIM_STALE_READ] +
						    machine.faults[SIM_READ_ERROR] >
					    0;
}

/* Refused, as it should be: somebody puts the bits right, and the run goes on. */
static void
repair_rot(void)
{
	seed.numbers.detected++;
	seed.rot_planted = false;
	machine.snapshots_damaged = 0;
	sim_disk_repair_rot();
}

/* A start was refused: is it right to? If the fault passes, the next start must succeed. */
static void
judge_refusal(const char *what)
{
	if (node.refusal == -EBADMSG && seed.rot_planted)
		repair_rot();
	else if ((node.refusal == -ENOSPC && machine.faults[SIM_NO_SPACE] > 0) ||
		 (node.refusal == -EIO &&
			 machine.faults[SIM_WRITE_ERROR] + machine.faults[SIM_SHORT_WRITE] > 0) ||
		 reads_were_bad())
		forgive_disk();
	else
		sim_violation("%s was refused and nothing was planted: %s", what, node.error);
}

static void
plan_start(void)
{
	if (seed.rot_wanted) {
		seed.rot_wanted = false;
		seed.rot_planted |= sim_disk_rot();
	}
	if (seed.death_in_start) {
		seed.death_in_start = false;
		sim_count(SIM_KILL_IN_RECOVERY);
		disk_plan.death_in = 1 + (uint32_t)sim_below(24);
		disk_plan.death_is_power = sim_chance(400);
	}
}

static void
start_persist(void)
{
	switch (sim_persist_start()) {
	case SIM_DIED:
		after_death();
		return;
	case SIM_REFUSED:
		judge_refusal("a start of persist");
		return;
	case SIM_DONE:
		return;
	}
}

/* The stalled dataplane asks to go on. It may only if its state is still the journal's. */
static void
wake_other(void)
{
	seed.other_wakes = false;
	if (!node.other->alive)
		return;
	switch (sim_attach_resume(node.other)) {
	case SIM_DIED:
		after_death();
		return;
	case SIM_REFUSED:
		sim_kill_dataplane(node.other);
		return;
	case SIM_DONE:
		sim_violation("a dataplane whose state was replaced was let in again");
	}
}

static void
check_recovered(const struct hb_state *state)
{
	seed.numbers.recoveries++;
	/* an older one helps, once: what has its name must be whole */
	if (machine.snapshots_damaged > 0 && !seed.rot_planted && !reads_were_bad())
		sim_violation(
			"a snapshot was damaged and nothing was planted: %s", machine.last_event);
	machine.snapshots_damaged = 0;
	sim_check_recovered(state);
}

static void
attach(void)
{
	enum sim_outcome outcome;

	if (seed.other_wakes) {
		wake_other();
		return;
	}
	if (node.dataplane->alive)
		outcome = sim_attach_resume(node.dataplane);
	else
		outcome = sim_attach_fresh(check_recovered);
	if (outcome == SIM_DIED)
		after_death();
	else if (outcome == SIM_REFUSED)
		judge_refusal(node.dataplane->alive ? "a living dataplane" : "a recovery");
}

void
sim_seed_bring_up(void)
{
	uint32_t starts = 0;

	while (!node.persist.alive || !node.persist.attached) {
		if (++starts > STARTS_MAX)
			sim_violation("the node does not come up: %s", node.error);
		notice_deaths();
		sim_advance_ns(100000000);
		if (!node.persist.alive) {
			plan_start();
			start_persist();
		} else {
			attach();
		}
	}
}

/* ---- events ---- */

static void
arm_death(bool power)
{
	disk_plan.death_in = 1 + (uint32_t)sim_below(8);
	disk_plan.death_is_power = power;
}

static void
snapshot(bool deadly)
{
	enum sim_outcome outcome;

	if (deadly) {
		sim_count(SIM_KILL_IN_SNAPSHOT);
		disk_plan.death_in = 1 + (uint32_t)sim_below(45);
		disk_plan.death_is_power = sim_chance(300);
	}
	outcome = sim_snapshot();
	if (deadly)
		disk_plan.death_in = 0;
	if (outcome == SIM_DIED)
		after_death();
	else if (outcome == SIM_REFUSED && !seed.rot_planted && !reads_were_bad())
		sim_violation("the snapshot job failed and nothing was planted: %s", node.error);
}

static void
set_clock(void)
{
	uint64_t step_ns = sim_chance(500) ? sim_below(UINT64_C(4000000000))
					   : sim_below(UINT64_C(3600000000000));

	if (sim_chance(500)) {
		sim_count(SIM_CLOCK_FORWARD);
		machine.wall_ns += step_ns;
	} else {
		sim_count(SIM_CLOCK_BACK);
		machine.wall_ns -= step_ns;
	}
}

/* The dataplane hangs, persist dies, and somebody starts another dataplane. */
static void
replace_dataplane(void)
{
	struct sim_dataplane *old = node.dataplane;

	if (node.other->alive || !old->alive)
		return;
	sim_count(SIM_STALE_DATAPLANE);
	old->stalled = true;
	sim_kill_persist();
	node.dataplane = node.other;
	node.other = old;
	sim_clients_hung_up();
}

static void
kill_persist(bool both)
{
	sim_count(both ? SIM_KILL_BOTH : SIM_KILL_PERSIST);
	if (both)
		sim_kill_dataplane(node.dataplane);
	sim_kill_persist();
	seed.numbers.crashes++;
}

static void
perform(enum sim_event_kind kind)
{
	sim_note("event %u", kind);
	switch (kind) {
	case SIM_EVENT_KILL_DATAPLANE:
		sim_count(SIM_KILL_DATAPLANE);
		sim_kill_dataplane(node.dataplane);
		return;
	case SIM_EVENT_KILL_IN_TURN:
		if (node.dataplane->alive)
			node.dataplane->publish_death_in = 1 + (uint32_t)sim_below(6);
		return;
	case SIM_EVENT_KILL_PERSIST:
		if (sim_chance(300)) {
			kill_persist(false);
			return;
		}
		sim_count(SIM_KILL_PERSIST);
		arm_death(false);
		return;
	case SIM_EVENT_KILL_BOTH:
		kill_persist(true);
		return;
	case SIM_EVENT_POWER_LOSS:
		arm_death(true);
		return;
	case SIM_EVENT_KILL_IN_RECOVERY:
		seed.death_in_start = true;
		kill_persist(sim_chance(600));
		return;
	case SIM_EVENT_SNAPSHOT:
		snapshot(false);
		return;
	case SIM_EVENT_KILL_IN_SNAPSHOT:
		snapshot(true);
		return;
	case SIM_EVENT_STALE_DATAPLANE:
		replace_dataplane();
		return;
	case SIM_EVENT_SLOW_WRITES:
		disk_plan.slow_writes = 1 + (uint32_t)sim_below(6);
		return;
	case SIM_EVENT_WRITE_ERROR:
		disk_plan.write_error_in = 1 + (uint32_t)sim_below(3);
		return;
	case SIM_EVENT_READ_ERRORS:
		disk_plan.read_errors = 1 + (uint32_t)sim_below(3);
		return;
	case SIM_EVENT_BAD_READS:
		disk_plan.bad_reads = 1 + (uint32_t)sim_below(4);
		disk_plan.bad_reads_stale = sim_chance(500);
		return;
	case SIM_EVENT_NO_SPACE:
		disk_plan.no_space = 1 + (uint32_t)sim_below(20);
		return;
	case SIM_EVENT_ROT:
		seed.rot_wanted = true;
		kill_persist(sim_chance(700));
		return;
	case SIM_EVENT_CLOCK:
		set_clock();
		return;
	case SIM_EVENT_COUNT:
		return;
	}
}

/* Faults of a seed: a few kinds of all, several times; always a death or two. */
static void
draw_plan(void)
{
	static const enum sim_event_kind deaths[] = {SIM_EVENT_KILL_DATAPLANE,
		SIM_EVENT_KILL_IN_TURN, SIM_EVENT_KILL_PERSIST, SIM_EVENT_KILL_BOTH,
		SIM_EVENT_POWER_LOSS, SIM_EVENT_KILL_IN_RECOVERY};
	enum sim_event_kind kinds[6];
	uint32_t kind_count = 4 + (uint32_t)sim_below(3);

	for (uint32_t i = 0; i < kind_count; i++)
		kinds[i] = (enum sim_event_kind)sim_below(SIM_EVENT_COUNT);
	/* after rot a start reads everything twice, so it is rare */
	for (uint32_t i = 0; i < kind_count; i++)
		if (kinds[i] == SIM_EVENT_ROT && sim_chance(600))
			kinds[i] = SIM_EVENT_SNAPSHOT;
	seed.plan.operations_min = SIM_OPERATIONS_MIN;
	seed.plan.burst_max = BURST_MAX;
	seed.plan.faulty = true;
	seed.plan.event_count = EVENTS_MIN + (uint32_t)sim_below(SIM_EVENTS_MAX - EVENTS_MIN + 1);
	for (uint32_t i = 0; i < seed.plan.event_count; i++) {
		uint64_t slice = (SIM_OPERATIONS_MIN - 100) / seed.plan.event_count;

		seed.plan.events[i].at_operation = 50 + i * slice + sim_below(slice);
		seed.plan.events[i].kind =
			i % 3 == 1 ? deaths[sim_below(6)] : kinds[i % kind_count];
	}
	seed.plan.events[seed.plan.event_count - 1].kind =
		sim_chance(500) ? SIM_EVENT_POWER_LOSS : SIM_EVENT_KILL_BOTH;
	seed.plan.events[0].kind = sim_chance(500) ? SIM_EVENT_SLOW_WRITES : SIM_EVENT_CLOCK;
}

/* ---- the steps of a seed ---- */

static void
advance(void)
{
	uint64_t scale = sim_below(100);

	if (scale < 90)
		sim_advance_ns(sim_below(100000));
	else if (scale < 98)
		sim_advance_ns(sim_below(20000000));
	else
		sim_advance_ns(sim_below(1500000000));
}

/* While a synced write is under way, the others go on. */
static void
during_write(bool slow)
{
	uint32_t turns = slow ? (uint32_t)sim_below(12) : (uint32_t)sim_below(3);

	sim_advance_ns(slow ? 20000000 : 100000);
	for (uint32_t i = 0; i < turns; i++) {
		if (node.persist.served != NULL && node.persist.served == node.dataplane)
			sim_lcore_turn(node.dataplane, (uint32_t)sim_below(node.lcore_count));
		if (node.dataplane->alive)
			sim_clients_listen();
	}
}

static void
pool_while_waiting(void)
{
	hb_pool_turn(&node.persist.journal);
}

static void
step(void)
{
	uint64_t r = sim_below(100);

	advance();
	if (r < 30)
		sim_clients_ask(1 + (uint32_t)sim_below(seed.plan.burst_max));
	else if (r < 58)
		sim_lcore_turn(node.dataplane, (uint32_t)sim_below(node.lcore_count));
	else if (r < 82)
		sim_persist_turn();
	else if (r < 97)
		sim_clients_listen();
	else
		sim_pool_turn();
}

static void
next_event(void)
{
	const struct sim_event *event = &seed.plan.events[seed.event_next];

	if (seed.event_next == seed.plan.event_count ||
		sim_clients_numbers()->operations < event->at_operation)
		return;
	seed.event_next++;
	perform(event->kind);
	if (node.other->alive && node.dataplane->alive && sim_chance(500)) {
		/* it wakes up when persist is free for it */
		seed.other_wakes = true;
		kill_persist(true);
	}
}

/* Let everything under way come to its end. Audits are housekeeping: they need time that passes. */
static void
settle(void)
{
	for (uint32_t i = 0; i < 400; i++) {
		sim_advance_ns(HB_HOUSEKEEPING_NS);
		notice_deaths();
		if (!node.persist.alive || !node.persist.attached)
			sim_seed_bring_up();
		for (uint32_t l = 0; l < node.lcore_count; l++)
			sim_lcore_turn(node.dataplane, l);
		sim_persist_turn();
		for (uint32_t l = 0; l < node.lcore_count; l++)
			sim_lcore_turn(node.dataplane, l);
		if (!node.dataplane->alive || !node.persist.alive)
			continue;
		sim_clients_listen();
		if (sim_clients_waiting() == 0 && sim_all_committed())
			return;
	}
	sim_violation("%u requests are never answered", sim_clients_waiting());
}

static uint64_t living_hash[HB_PARTITION_COUNT][2];

static void
remember_living(void)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		living_hash[i][0] = node.dataplane->state.partition[i].head->state_hash;
		living_hash[i][1] = node.dataplane->state.partition[i].head->balance_hash;
	}
}

bool
sim_seed_is_last_state(const struct hb_state *state, uint32_t *partition)
{
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		*partition = i;
		if (state->partition[i].head->state_hash != living_hash[i][0] ||
			state->partition[i].head->balance_hash != living_hash[i][1])
			return false;
	}
	return true;
}

static void
check_last(const struct hb_state *state)
{
	uint32_t partition;

	check_recovered(state);
	if (!sim_seed_is_last_state(state, &partition))
		sim_violation("partition %u: the recovered state is not the living one", partition);
}

static enum sim_outcome
start_last(void)
{
	enum sim_outcome outcome = sim_persist_start();

	return outcome == SIM_DONE ? sim_attach_fresh(check_last) : outcome;
}

void
sim_seed_finish(void)
{
	enum sim_outcome outcome;

	forgive_disk();
	settle();
	sim_check_living(&node.dataplane->state);
	remember_living();
	sim_power_off();
	sim_disk_power_loss();
	outcome = start_last();
	if (outcome == SIM_REFUSED && seed.rot_planted && node.refusal == -EBADMSG) {
		repair_rot();
		sim_power_off();
		outcome = start_last();
	} else if (outcome == SIM_DIED || disk_watch.failed) {
		/* the death or the failure that was chosen came only now */
		sim_power_off();
		outcome = start_last();
	}
	if (outcome != SIM_DONE)
		sim_violation("the last recovery was refused: %s", node.error);
}

/* Has the run had what a faulty one must have? */
static bool
had_enough(void)
{
	return !seed.plan.faulty ||
	       (sim_seed_numbers().kinds >= SIM_KINDS_MIN && seed.numbers.crashes > 0 &&
		       seed.numbers.recoveries > 1);
}

static bool
is_over(uint64_t steps)
{
	if (sim_clients_numbers()->operations < seed.plan.operations_min ||
		seed.event_next < seed.plan.event_count)
		return false;
	if (had_enough())
		return true;
	if (steps % MORE_INTERVAL == 0)
		perform((enum sim_event_kind)sim_below(SIM_EVENT_COUNT));
	return false;
}

void
sim_seed_steps(void)
{
	sim_seed_bring_up();
	for (uint64_t steps = 1; !is_over(steps); steps++) {
		if (steps > STEPS_MAX)
			sim_violation("the seed makes no progress");
		notice_deaths();
		if (!node.persist.alive || !node.persist.attached || !node.dataplane->alive) {
			/* a dataplane goes on for a while without persist */
			if (node.dataplane->alive && !node.persist.alive && sim_chance(900))
				step();
			else
				sim_seed_bring_up();
			continue;
		}
		next_event();
		step();
		if (steps % CHECK_INTERVAL == 0 && node.dataplane->alive)
			sim_check_living(&node.dataplane->state);
	}
}

void
sim_seed_begin(uint64_t number, const struct sim_plan *plan)
{
	sim_machine_reset(number);
	sim_node_reset(1u << (sim_below(20) < 9 ? 0 : sim_below(20) < 18 ? 1 : 2));
	sim_disk_reset(during_write, sim_clients_durable);
	memset(&seed, 0, sizeof(seed));
	machine.while_waiting = pool_while_waiting;
	if (plan != NULL)
		seed.plan = *plan;
	else
		draw_plan();
	sim_clients_reset();
}

struct sim_seed_numbers
sim_seed_numbers(void)
{
	struct sim_seed_numbers numbers = seed.numbers;

	for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
		numbers.kinds += machine.faults[i] > 0;
	return numbers;
}
