/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every sector damaged: a script is run to its end, and what it left on the disk is damaged one
 * sector at a time, in four ways; each time the node starts. What lies in a frame that something
 * later names must be refused; what is damaged elsewhere must be refused or make no difference.
 * Nothing that was acknowledged may be cut away, and no start may end in an assertion.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "tests/sim/clients.h"
#include "tests/sim/disk.h"
#include "tests/sim/node.h"
#include "tests/sim/runs.h"
#include "tests/sim/seed.h"

#define OPERATIONS   1600 /* of a script */
#define OTHERS_DRAWN 20	  /* attempts to find another sector that makes a difference */

enum sum {
	SUM_OPERATIONS,
	SUM_FRAMES,
	SUM_SECTORS,
	SUM_DAMAGES,
	SUM_FRAME_DAMAGES,
	SUM_FRAME_REFUSED,
	SUM_LATE_DAMAGES,
	SUM_LATE_REFUSED,
	SUM_SNAPSHOT_DAMAGES,
	SUM_SNAPSHOT_PASSED_OVER,
	SUM_SUPERBLOCK_DAMAGES,
	SUM_SUPERBLOCK_SURVIVED,
	SUM_BEHIND_DAMAGES,
	SUM_LAST_FRAME_DAMAGES,
	SUM_LAST_FRAME_CUT,
	SUM_COUNT
};
static const char *const sum_names[SUM_COUNT] = {"operations", "frames", "sectors", "damages",
	"frame_damages", "frame_refused", "last_frame_witnessed", "last_frame_witnessed_refused",
	"snapshot_damages", "snapshot_passed_over", "superblock_damages", "superblock_survived",
	"behind_damages", "last_frame_alone", "last_frame_alone_cut"};

static const struct sim_plan script = {
	.events = {{500, SIM_EVENT_SNAPSHOT}, {900, SIM_EVENT_KILL_BOTH},
		{1300, SIM_EVENT_SNAPSHOT}},
	.event_count = 3,
	.operations_min = OPERATIONS,
	.burst_max = 1,
};

enum outcome {
	OUTCOME_REFUSED,
	OUTCOME_SAME,
	OUTCOME_OTHER, /* the state is another one: only of the last frame alone */
};

static struct sim_sector sectors[SIM_SECTORS_MAX];
static uint32_t sector_count;

/* The case under way, for the message. */
static struct {
	uint64_t script;
	uint32_t sector;
	enum sim_damage damage;
	enum sim_place place;
	bool same;
} now;

static void
look(const struct hb_state *state)
{
	uint32_t partition;

	now.same = sim_seed_is_last_state(state, &partition);
	if (now.same)
		sim_check_recovered(state);
}

/* Start on the damaged disk, then put it back. */
static enum outcome
start(void)
{
	enum sim_outcome outcome = sim_persist_start();

	if (outcome == SIM_DONE)
		outcome = sim_attach_fresh(look);
	sim_power_off();
	sim_disk_restore();
	if (outcome == SIM_DONE)
		return now.same ? OUTCOME_SAME : OUTCOME_OTHER;
	if (node.refusal != -EBADMSG)
		sim_violation("refused, but not as damage: %s", node.error);
	return OUTCOME_REFUSED;
}

/* A second sector that is no part of the last frame, for copies and swaps. */
static const struct sim_sector *
draw_other(void)
{
	const struct sim_sector *other;

	do
		other = &sectors[sim_below(sector_count)];
	while (other->place == SIM_PLACE_LAST_FRAME || other->place == SIM_PLACE_BEHIND);
	return other;
}

/* @return false when it makes no difference */
static bool
damage_one(uint32_t number, enum sim_damage damage)
{
	now.sector = number;
	now.damage = damage;
	now.place = sectors[number].place;
	machine.random = hb_mix64(now.script << 40 ^ (uint64_t)number << 8 ^ damage);
	for (uint32_t i = 0; i < OTHERS_DRAWN; i++) {
		if (sim_disk_damage(&sectors[number], damage, draw_other()))
			return true;
		sim_disk_restore();
	}
	return false;
}

static void
judge_frame(enum outcome outcome, uint64_t sums[SIM_SUMS_MAX])
{
	sums[SUM_FRAME_DAMAGES]++;
	if (outcome != OUTCOME_REFUSED)
		sim_violation("a damaged frame was %s",
			outcome == OUTCOME_SAME ? "not noticed" : "cut away");
	sums[SUM_FRAME_REFUSED]++;
}

static void
judge(enum outcome outcome, uint64_t sums[SIM_SUMS_MAX])
{
	bool refused = outcome == OUTCOME_REFUSED;

	sums[SUM_DAMAGES]++;
	if (now.place == SIM_PLACE_LAST_FRAME) {
		sums[SUM_LAST_FRAME_DAMAGES]++;
		sums[SUM_LAST_FRAME_CUT] += !refused;
		return;
	}
	if (now.place == SIM_PLACE_FRAME) {
		judge_frame(outcome, sums);
		return;
	}
	/* a swap damages a second place, whose rules hold too */
	if (outcome == OUTCOME_OTHER)
		sim_violation("the recovered state is another one");
	if (now.place == SIM_PLACE_SNAPSHOT) {
		sums[SUM_SNAPSHOT_DAMAGES]++;
		if (refused && now.damage != SIM_DAMAGE_SWAP)
			sim_violation("a damaged snapshot was not passed over: %s", node.error);
		sums[SUM_SNAPSHOT_PASSED_OVER] += !refused;
	} else if (now.place == SIM_PLACE_SUPERBLOCK) {
		sums[SUM_SUPERBLOCK_DAMAGES]++;
		if (refused && now.damage != SIM_DAMAGE_SWAP)
			sim_violation("one damaged copy of the superblock stops the node: %s",
				node.error);
		sums[SUM_SUPERBLOCK_SURVIVED] += !refused;
	} else {
		sums[SUM_BEHIND_DAMAGES]++;
	}
}

static bool
is_wanted(uint32_t number)
{
	if (sim_options.only != 0)
		return number == sim_options.only;
	return (number + now.script) % sim_options.every == 0;
}

/* All damages in those places whose bit is set. */
static void
sweep(uint32_t places, uint64_t sums[SIM_SUMS_MAX])
{
	for (uint32_t i = 0; i < sector_count; i++) {
		if ((places & 1u << sectors[i].place) == 0 || !is_wanted(i))
			continue;
		sums[SUM_SECTORS]++;
		for (uint32_t d = 0; d < SIM_DAMAGE_COUNT; d++)
			if (damage_one(i, (enum sim_damage)d))
				judge(start(), sums);
	}
}

/* The newest frame with MySQL's position behind it: refused like any other. */
static void
sweep_witnessed(uint64_t sums[SIM_SUMS_MAX])
{
	node.witness_seq = sim_disk_last_seq();
	for (uint32_t i = 0; i < sector_count; i++) {
		if (sectors[i].place != SIM_PLACE_LAST_FRAME)
			continue;
		for (uint32_t d = 0; d < SIM_DAMAGE_COUNT; d++) {
			if (!damage_one(i, (enum sim_damage)d))
				continue;
			sums[SUM_DAMAGES]++;
			sums[SUM_LATE_DAMAGES]++;
			if (start() != OUTCOME_REFUSED)
				sim_violation("the newest frame is named by MySQL's position and "
					      "its damage was not noticed");
			sums[SUM_LATE_REFUSED]++;
		}
	}
	node.witness_seq = 0;
}

static bool
run_script(uint64_t number, uint64_t sums[SIM_SUMS_MAX])
{
	sim_seed_begin(number, &script);
	memset(&now, 0, sizeof(now));
	now.script = number;
	if (setjmp(machine.violation) != 0) {
		fprintf(stderr,
			"script %" PRIu64 ", sector %u (file %d at %" PRIu64
			", place %u), damage %u: %s\nreplay: ./hongbao sim --corruption --from "
			"%" PRIu64 " --scripts 1 --only %u --log\n",
			number, now.sector, sectors[now.sector].file, sectors[now.sector].at,
			now.place, now.damage, machine.why, number, now.sector);
		return false;
	}
	sim_seed_steps();
	sim_seed_finish();
	sums[SUM_OPERATIONS] += sim_clients_numbers()->operations;
	sim_power_off();
	sim_disk_power_loss();
	/* with snapshots: what they are for, and the superblock */
	sim_disk_save();
	sector_count = sim_disk_sectors(sectors, sim_disk_hint());
	sweep(1u << SIM_PLACE_SNAPSHOT | 1u << SIM_PLACE_SUPERBLOCK | 1u << SIM_PLACE_BEHIND, sums);
	/* without: everything is read from the first frame on */
	sim_disk_forget_snapshots();
	sim_disk_save();
	sector_count = sim_disk_sectors(sectors, sim_disk_hint());
	sweep(1u << SIM_PLACE_FRAME | 1u << SIM_PLACE_LAST_FRAME, sums);
	sweep_witnessed(sums);
	sums[SUM_FRAMES] += sim_disk_frames();
	return true;
}

const struct sim_run sim_corruption = {
	.name = "scripts",
	.sum_names = sum_names,
	.sum_count = SUM_COUNT,
	.run = run_script,
	.batch = 2,
	.count = 4,
};
