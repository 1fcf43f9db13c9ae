/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: runs seeds. Each draws a workload and a schedule of faults, runs clients,
 * dataplane and persist step by step in one thread, and judges by the clients' history. The same
 * seed does the same again. Nothing outside this process is touched.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/sim/clients.h"
#include "tests/sim/disk.h"
#include "tests/sim/node.h"

#define OPERATIONS_MIN 2000 /* of a seed */
#define EVENTS_MIN     6
#define EVENTS_MAX     12
#define STARTS_MAX     40 /* attempts to bring a node up, before it counts as a failure */
#define CHECK_INTERVAL 256
#define STEPS_MAX      200000

enum event_kind {
	EVENT_KILL_DATAPLANE,
	EVENT_KILL_IN_TURN,
	EVENT_KILL_PERSIST,
	EVENT_KILL_BOTH,
	EVENT_POWER_LOSS,
	EVENT_KILL_IN_RECOVERY,
	EVENT_SNAPSHOT,
	EVENT_KILL_IN_SNAPSHOT,
	EVENT_STALE_DATAPLANE,
	EVENT_SLOW_WRITES,
	EVENT_WRITE_ERROR,
	EVENT_READ_ERRORS,
	EVENT_BAD_READS,
	EVENT_NO_SPACE,
	EVENT_ROT,
	EVENT_CLOCK,
	EVENT_COUNT
};

struct event {
	uint64_t at_operation;
	enum event_kind kind;
};

enum result {
	RESULT_GOOD,
	RESULT_DETECTED, /* rot was planted and the start refused */
	RESULT_VIOLATION,
};

/* The seed under way; static, as it must survive a jump. */
static struct {
	struct event events[EVENTS_MAX];
	uint32_t event_count;
	uint32_t event_next;
	uint64_t crashes;
	bool rot_wanted; /* at the next start */
	bool rot_planted;
	bool death_in_start; /* at the next start */
	bool other_wakes;    /* the stalled dataplane is to come back */
	bool clock_free;     /* clocks may be set */
	bool detected;
} seed;

/* Sums over seeds. */
static struct {
	uint64_t seeds;
	uint64_t violations;
	uint64_t operations;
	uint64_t acked;
	uint64_t claims;
	uint64_t crashes;
	uint64_t detected;
	uint64_t simulated_ns;
	uint64_t faults[SIM_FAULT_COUNT];
} total;

/* ---- death and start ---- */

/* After SIM_DIED: the machine may have died with the process. */
static void
after_death(void)
{
	seed.crashes++;
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
		seed.crashes++;
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
	return machine.faults[SIM_MISDIRECTED_READ] + machine.faults[SIM_STALE_READ] +
		       machine.faults[SIM_READ_ERROR] >
	       0;
}

/* A start was refused: is it right to? If the fault passes, the next start must succeed. */
static void
judge_refusal(const char *what)
{
	if (node.refusal == -EBADMSG && seed.rot_planted)
		seed.detected = true;
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
		outcome = sim_attach_fresh(sim_check_recovered);
	if (outcome == SIM_DIED)
		after_death();
	else if (outcome == SIM_REFUSED)
		judge_refusal(node.dataplane->alive ? "a living dataplane" : "a recovery");
}

static void
bring_up(void)
{
	uint32_t starts = 0;

	while (!seed.detected && !(node.persist.alive && node.persist.attached)) {
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
	seed.crashes++;
}

static void
perform(enum event_kind kind)
{
	sim_note("event %u", kind);
	switch (kind) {
	case EVENT_KILL_DATAPLANE:
		sim_count(SIM_KILL_DATAPLANE);
		sim_kill_dataplane(node.dataplane);
		return;
	case EVENT_KILL_IN_TURN:
		if (node.dataplane->alive)
			node.dataplane->publish_death_in = 1 + (uint32_t)sim_below(6);
		return;
	case EVENT_KILL_PERSIST:
		if (sim_chance(300)) {
			kill_persist(false);
			return;
		}
		sim_count(SIM_KILL_PERSIST);
		arm_death(false);
		return;
	case EVENT_KILL_BOTH:
		kill_persist(true);
		return;
	case EVENT_POWER_LOSS:
		arm_death(true);
		return;
	case EVENT_KILL_IN_RECOVERY:
		seed.death_in_start = true;
		kill_persist(sim_chance(600));
		return;
	case EVENT_SNAPSHOT:
		snapshot(false);
		return;
	case EVENT_KILL_IN_SNAPSHOT:
		snapshot(true);
		return;
	case EVENT_STALE_DATAPLANE:
		replace_dataplane();
		return;
	case EVENT_SLOW_WRITES:
		disk_plan.slow_writes = 1 + (uint32_t)sim_below(6);
		return;
	case EVENT_WRITE_ERROR:
		disk_plan.write_error_in = 1 + (uint32_t)sim_below(3);
		return;
	case EVENT_READ_ERRORS:
		disk_plan.read_errors = 1 + (uint32_t)sim_below(3);
		return;
	case EVENT_BAD_READS:
		disk_plan.bad_reads = 1 + (uint32_t)sim_below(4);
		disk_plan.bad_reads_stale = sim_chance(500);
		return;
	case EVENT_NO_SPACE:
		disk_plan.no_space = 1 + (uint32_t)sim_below(20);
		return;
	case EVENT_ROT:
		seed.rot_wanted = true;
		kill_persist(sim_chance(700));
		return;
	case EVENT_CLOCK:
		set_clock();
		return;
	case EVENT_COUNT:
		return;
	}
}

/* Faults of a seed: a few kinds of all, several times; always a death or two. */
static void
draw_events(void)
{
	static const enum event_kind deaths[] = {EVENT_KILL_DATAPLANE, EVENT_KILL_IN_TURN,
		EVENT_KILL_PERSIST, EVENT_KILL_BOTH, EVENT_POWER_LOSS, EVENT_KILL_IN_RECOVERY};
	enum event_kind kinds[6];
	uint32_t kind_count = 4 + (uint32_t)sim_below(3);

	for (uint32_t i = 0; i < kind_count; i++)
		kinds[i] = (enum event_kind)sim_below(EVENT_COUNT);
	/* rot ends most seeds early, so it is rare */
	for (uint32_t i = 0; i < kind_count; i++)
		if (kinds[i] == EVENT_ROT && sim_chance(600))
			kinds[i] = EVENT_SNAPSHOT;
	seed.event_count = EVENTS_MIN + (uint32_t)sim_below(EVENTS_MAX - EVENTS_MIN + 1);
	for (uint32_t i = 0; i < seed.event_count; i++) {
		uint64_t slice = (OPERATIONS_MIN - 100) / seed.event_count;

		seed.events[i].at_operation = 50 + i * slice + sim_below(slice);
		seed.events[i].kind = i % 3 == 1 ? deaths[sim_below(6)] : kinds[i % kind_count];
	}
	seed.events[seed.event_count - 1].kind =
		sim_chance(500) ? EVENT_POWER_LOSS : EVENT_KILL_BOTH;
	seed.events[0].kind = sim_chance(500) ? EVENT_SLOW_WRITES : EVENT_CLOCK;
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
		sim_clients_ask(1 + (uint32_t)sim_below(12));
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
	const struct event *event = &seed.events[seed.event_next];

	if (seed.event_next == seed.event_count ||
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

/* Let everything under way come to its end. */
static void
settle(void)
{
	for (uint32_t i = 0; i < 400 && !seed.detected; i++) {
		notice_deaths();
		if (!node.persist.alive || !node.persist.attached)
			bring_up();
		if (seed.detected)
			return;
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
	if (!seed.detected)
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

static void
check_last(const struct hb_state *state)
{
	sim_check_recovered(state);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (state->partition[i].head->state_hash != living_hash[i][0] ||
			state->partition[i].head->balance_hash != living_hash[i][1])
			sim_violation("partition %u: the recovered state is not the living one", i);
}

/* At the end: the living state, and what a loss of power leaves of it, are the same. */
static void
finish(void)
{
	enum sim_outcome outcome;

	forgive_disk();
	settle();
	if (seed.detected)
		return;
	sim_check_living(&node.dataplane->state);
	remember_living();
	sim_kill_persist();
	sim_kill_dataplane(node.dataplane);
	sim_kill_dataplane(node.other);
	sim_disk_power_loss();
	outcome = sim_persist_start();
	if (outcome == SIM_DONE)
		outcome = sim_attach_fresh(check_last);
	if (outcome == SIM_REFUSED && seed.rot_planted && node.refusal == -EBADMSG)
		seed.detected = true;
	else if (outcome != SIM_DONE)
		sim_violation("the last recovery was refused: %s", node.error);
}

static void
run_steps(void)
{
	uint64_t steps = 0;

	while (!seed.detected && (sim_clients_numbers()->operations < OPERATIONS_MIN ||
					 seed.event_next < seed.event_count)) {
		if (++steps > STEPS_MAX)
			sim_violation("the seed makes no progress");
		notice_deaths();
		if (!node.persist.alive || !node.persist.attached || !node.dataplane->alive) {
			/* a dataplane goes on for a while without persist */
			if (node.dataplane->alive && !node.persist.alive && sim_chance(900)) {
				step();
				continue;
			}
			bring_up();
			continue;
		}
		next_event();
		step();
		if (steps % CHECK_INTERVAL == 0 && node.dataplane->alive)
			sim_check_living(&node.dataplane->state);
	}
	if (!seed.detected)
		finish();
}

static enum result
run_seed(uint64_t number)
{
	sim_machine_reset(number);
	sim_node_reset(1u << (sim_below(20) < 9 ? 0 : sim_below(20) < 18 ? 1 : 2));
	sim_disk_reset(during_write, sim_clients_durable);
	memset(&seed, 0, sizeof(seed));
	machine.while_waiting = pool_while_waiting;
	draw_events();
	sim_clients_reset();
	if (setjmp(machine.violation) != 0)
		return RESULT_VIOLATION;
	bring_up();
	run_steps();
	return seed.detected ? RESULT_DETECTED : RESULT_GOOD;
}

/* ---- the program ---- */

static void
add_up(enum result result)
{
	const struct sim_numbers *numbers = sim_clients_numbers();

	total.seeds++;
	total.operations += numbers->operations;
	total.acked += numbers->acked;
	total.claims += numbers->claims;
	total.crashes += seed.crashes;
	total.simulated_ns += machine.boot_ns - UINT64_C(1000000000000);
	for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
		total.faults[i] += machine.faults[i];
	if (result == RESULT_DETECTED)
		total.detected++;
	if (result == RESULT_VIOLATION)
		total.violations++;
}

static void
print_json(void)
{
	const char *comma = "";

	printf("{\"seeds\":%" PRIu64 ",\"violations\":%" PRIu64 ",\"operations\":%" PRIu64
	       ",\"acked\":%" PRIu64 ",\"claims\":%" PRIu64 ",\"crashes\":%" PRIu64 ",\"faults\":{",
		total.seeds, total.violations, total.operations, total.acked, total.claims,
		total.crashes);
	for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
		printf("%s\"%s\":%" PRIu64, comma, sim_fault_name((enum sim_fault)i),
			total.faults[i]);
		comma = ",";
	}
	printf("},\"detected\":%" PRIu64 ",\"simulated_s\":%" PRIu64 "}\n", total.detected,
		total.simulated_ns / 1000000000);
}

static void
print_text(void)
{
	printf("%" PRIu64 " seeds, %" PRIu64 " operations, %" PRIu64 " acknowledged, %" PRIu64
	       " crashes, %" PRIu64 " times rot was detected, %" PRIu64 " s simulated: %" PRIu64
	       " violations\n",
		total.seeds, total.operations, total.acked, total.crashes, total.detected,
		total.simulated_ns / 1000000000, total.violations);
}

static void
usage(FILE *out)
{
	fprintf(out, "usage: hongbao sim [--seeds N] [--from S] [--seed S [--log]] [--json] "
		     "[--keep-going]\n"
		     "Simulates clients, dataplane, persist and a disk that fails; checks that "
		     "nothing\nacknowledged is lost. --seed runs one seed, --log prints its "
		     "steps.\n");
}

static uint64_t
number_of(const char *text)
{
	char *end = NULL;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno == 0 && end != text && *end == '\0')
		return value;
	fprintf(stderr, "sim: '%s' is not a number\n", text);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
		{"json", no_argument, NULL, 'j'}, {"log", no_argument, NULL, 'l'},
		{"keep-going", no_argument, NULL, 'k'},
		{"expect-violation", no_argument, NULL, 'x'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	uint64_t count = 1000, from = 1;
	bool json = false, keep_going = false, expect_violation = false;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			count = number_of(optarg);
			break;
		case 's':
			from = number_of(optarg);
			count = 1;
			break;
		case 'f':
			from = number_of(optarg);
			break;
		case 'j':
			json = true;
			break;
		case 'l':
			machine.log = true;
			break;
		case 'k':
			keep_going = true;
			break;
		case 'x':
			expect_violation = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	/* large blocks stay in the process: a start takes and gives back the same ones */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	for (uint64_t i = 0; i < count; i++) {
		enum result result = run_seed(from + i);

		add_up(result);
		if (result != RESULT_VIOLATION)
			continue;
		fprintf(stderr,
			"seed %" PRIu64 ": %s\nreplay: ./hongbao sim --seed %" PRIu64 " --log\n",
			from + i, machine.why, from + i);
		if (!keep_going)
			break;
	}
	if (json)
		print_json();
	else
		print_text();
	return (total.violations == 0) == expect_violation ? 1 : 0;
}
