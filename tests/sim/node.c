/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated node: tests/sim/node.h. A process dies by jumping back to where it was entered;
 * then what it held is freed here.
 */
#include "tests/sim/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "persist/replay.h"
#include "persist/snapshot.h"
#include "tests/sim/disk.h"
#include "tests/sim/wrapped.h"

#define DIRECTORY     "/sim/journal"
#define REQUEST_BYTES 16384u
#define REPLY_BYTES   65536u
#define PARKED_MAX    512

struct sim_node node;

static struct sim_dataplane dataplanes[2];
/* The clients' rings are made once; who attaches finds them empty. */
static struct hb_ring request_rings[SIM_CLIENTS][SIM_LCORES_MAX];
static struct hb_ring reply_rings[SIM_CLIENTS][SIM_LCORES_MAX];
static uint8_t *request_data[SIM_CLIENTS][SIM_LCORES_MAX];
static uint8_t *reply_data[SIM_CLIENTS][SIM_LCORES_MAX];
static struct hb_node node_lines;

const struct hb_capacity sim_capacity = {.accounts = 64,
	.packets = 128,
	.arena_bytes = 1 << 16,
	.windows = 256,
	.orders = 128,
	.holds = 128,
	.idempotency = 512};

static void
make_client_rings(void)
{
	struct hb_segment segment;
	uint64_t each = REQUEST_BYTES + REPLY_BYTES, at = HB_SEGMENT_GUARD_BYTES;

	if (request_data[0][0] != NULL)
		return;
	HB_ASSERT(hb_segment_create(&segment, "sim-clients", HB_SEGMENT_CLIENT,
			  HB_SEGMENT_GUARD_BYTES + SIM_CLIENTS * SIM_LCORES_MAX * each) == 0);
	for (uint32_t c = 0; c < SIM_CLIENTS; c++) {
		for (uint32_t l = 0; l < SIM_LCORES_MAX; l++, at += each) {
			request_data[c][l] =
				hb_segment_map_twice(segment.fd, at, REQUEST_BYTES, true);
			reply_data[c][l] = hb_segment_map_twice(
				segment.fd, at + REQUEST_BYTES, REPLY_BYTES, true);
			HB_ASSERT(request_data[c][l] != NULL && reply_data[c][l] != NULL);
		}
	}
}

void
sim_node_reset(uint32_t lcore_count)
{
	for (uint32_t i = 0; i < 2; i++)
		sim_kill_dataplane(&dataplanes[i]);
	sim_kill_persist();
	memset(&node, 0, sizeof(node));
	make_client_rings();
	hb_config_defaults(&node.config);
	snprintf(node.config.node_directory, sizeof(node.config.node_directory), "/sim");
	node.config.node_number = 7;
	node.config.journal_segment_mib = 1;
	node.config.journal_segments_ready = 2;
	node.config.snapshot_keep = 2;
	node.lcore_count = lcore_count;
	node.dataplane = &dataplanes[0];
	node.other = &dataplanes[1];
}

/* ---- persist ---- */

static void
persist_is_dead(void)
{
	struct sim_persist *persist = &node.persist;

	if (persist->session.journal != NULL && persist->attached)
		hb_session_close(&persist->session);
	persist->alive = persist->attached = false;
	persist->served = NULL;
	memset(&persist->session, 0, sizeof(persist->session));
	sim_disk_process_died(SIM_PERSIST);
	sim_bury(SIM_PERSIST);
}

void
sim_kill_persist(void)
{
	if (node.persist.alive)
		persist_is_dead();
}

static enum sim_outcome
persist_died(void)
{
	sim_leave(SIM_NOBODY);
	sim_note("persist died%s", machine.power_lost ? " with the machine" : "");
	persist_is_dead();
	return SIM_DIED;
}

static enum sim_outcome
refused(int rc)
{
	node.refusal = rc;
	sim_note("refused: %s: %s", strerror(-rc), node.error);
	return SIM_REFUSED;
}

enum sim_outcome
sim_persist_start(void)
{
	struct sim_persist *persist = &node.persist;
	int rc;

	HB_ASSERT(!persist->alive);
	if (setjmp(machine.death[SIM_PERSIST]) != 0)
		return persist_died();
	sim_enter(SIM_PERSIST);
	rc = hb_journal_open(
		&persist->journal, &node.config, DIRECTORY, node.witness_seq, node.error);
	if (rc == 0) {
		rc = hb_journal_begin_epoch(&persist->journal, false);
		if (rc != 0)
			hb_journal_close(&persist->journal);
	}
	sim_leave(SIM_NOBODY);
	if (rc != 0) {
		persist_is_dead();
		return refused(rc);
	}
	persist->alive = true;
	sim_note("persist up: seq %llu", (unsigned long long)persist->journal.next_seq - 1);
	return SIM_DONE;
}

static void
hand_over_rings(struct sim_dataplane *dataplane)
{
	char error[160];

	HB_ASSERT(hb_segment_attach(&dataplane->journal_segment, node.persist.session.segment.fd,
			  HB_SEGMENT_JOURNAL, true, error) == 0);
}

static void dataplane_start(struct sim_dataplane *dataplane);

enum sim_outcome
sim_attach_fresh(void (*look)(const struct hb_state *recovered))
{
	static struct hb_state state; /* needed after a death */
	struct sim_persist *persist = &node.persist;
	struct sim_dataplane *dataplane = node.dataplane;
	struct hb_journal *journal = &persist->journal;
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	int rc;

	HB_ASSERT(persist->alive && !persist->attached && !dataplane->alive);
	if (setjmp(machine.death[SIM_PERSIST]) != 0)
		return persist_died();
	sim_enter(SIM_PERSIST);
	HB_ASSERT(hb_state_create(&state, &sim_capacity, journal->node) == 0);
	rc = hb_state_rebuild(journal->directory, hb_committed_seq(&journal->commit),
		journal->superblock.stream_id, &state, 0, &header, &result, node.error);
	if (rc == 0)
		look(&state);
	if (rc == 0)
		rc = hb_journal_begin_epoch(journal, true);
	if (rc != 0) {
		hb_state_close(&state);
		sim_leave(SIM_NOBODY);
		return refused(rc);
	}
	hb_session_init(&persist->session, journal);
	HB_ASSERT(hb_session_fresh(&persist->session) == 0);
	sim_state_handed_over(&state);
	sim_leave(SIM_NOBODY);
	persist->attached = true;
	persist->served = dataplane;
	dataplane->state = state;
	dataplane->epoch = journal->epoch;
	hand_over_rings(dataplane);
	dataplane_start(dataplane);
	sim_note("fresh dataplane: epoch %llu, seq %llu, from snapshot %llu",
		(unsigned long long)journal->epoch, (unsigned long long)result.seq,
		(unsigned long long)header.seq);
	return SIM_DONE;
}

enum sim_outcome
sim_attach_resume(struct sim_dataplane *dataplane)
{
	struct sim_persist *persist = &node.persist;
	int rc;

	HB_ASSERT(persist->alive && !persist->attached && dataplane->alive);
	if (setjmp(machine.death[SIM_PERSIST]) != 0)
		return persist_died();
	sim_enter(SIM_PERSIST);
	hb_session_init(&persist->session, &persist->journal);
	rc = hb_session_resume(
		&persist->session, dataplane->journal_segment.fd, dataplane->epoch, node.error);
	if (rc != 0)
		hb_session_close(&persist->session);
	sim_leave(SIM_NOBODY);
	if (rc != 0) {
		memset(&persist->session, 0, sizeof(persist->session));
		return refused(rc);
	}
	persist->attached = true;
	persist->served = dataplane;
	sim_note("dataplane resumed");
	return SIM_DONE;
}

/* @return the turn's result, or -EINTR when persist died in it */
static int
persist_turn(void)
{
	struct sim_persist *persist = &node.persist;
	int rc;

	if (setjmp(machine.death[SIM_PERSIST]) != 0) {
		persist_died();
		return -EINTR;
	}
	sim_enter(SIM_PERSIST);
	rc = hb_session_turn(&persist->session);
	sim_leave(SIM_NOBODY);
	if (rc == -EPROTO)
		sim_violation("persist cut the dataplane off: %s", machine.last_event);
	return rc;
}

void
sim_persist_turn(void)
{
	if (node.persist.alive && node.persist.attached)
		persist_turn();
}

void
sim_pool_turn(void)
{
	if (!node.persist.alive)
		return;
	if (setjmp(machine.death[SIM_PERSIST]) != 0) {
		persist_died();
		return;
	}
	sim_enter(SIM_PERSIST);
	hb_pool_turn(&node.persist.journal);
	sim_leave(SIM_NOBODY);
}

void
sim_persist_drain(void)
{
	struct sim_persist *persist = &node.persist;

	if (!persist->alive || !persist->attached)
		return;
	while (persist_turn() > 0)
		;
	if (!persist->alive)
		return;
	hb_session_close(&persist->session);
	memset(&persist->session, 0, sizeof(persist->session));
	persist->attached = false;
	persist->served = NULL;
}

enum sim_outcome
sim_snapshot(void)
{
	int rc;

	if (setjmp(machine.death[SIM_SNAPSHOT]) != 0) {
		sim_leave(SIM_NOBODY);
		sim_note("snapshot job died");
		sim_disk_process_died(SIM_SNAPSHOT);
		sim_bury(SIM_SNAPSHOT);
		return SIM_DIED;
	}
	sim_enter(SIM_SNAPSHOT);
	rc = hb_snapshot_run(&node.config);
	sim_leave(SIM_NOBODY);
	sim_disk_process_died(SIM_SNAPSHOT);
	sim_bury(SIM_SNAPSHOT);
	if (rc != 0) {
		snprintf(node.error, sizeof(node.error), "snapshot: %s", machine.last_event);
		return refused(rc);
	}
	return SIM_DONE;
}

/* ---- dataplane ---- */

static void *
zeroed(size_t bytes)
{
	void *at = aligned_alloc(128, hb_round_up(bytes, 128));

	HB_ASSERT(at != NULL);
	memset(at, 0, bytes);
	return at;
}

static void
fill_shared(struct hb_shared *shared)
{
	shared->live[0].engine.token_keys.count = 1;
	memcpy(shared->live[0].engine.token_keys.key[0], "0123456789abcdef", HB_TOKEN_KEY_BYTES);
	shared->live[0].engine.packet_total_fen_max = node.config.packet_total_fen_max;
	shared->live[0].engine.packet_count_max = (uint32_t)node.config.packet_count_max;
	shared->live[0].engine.packet_lifetime_s_max = (uint32_t)node.config.packet_lifetime_s_max;
	shared->live[0].engine.tokens_required = true;
	hb_ledger_clock_shared_init(&shared->clock,
		(uint64_t)node.config.clock_step_ms_max * 1000000,
		(uint64_t)node.config.clock_gap_s_max * 1000000000);
	shared->lcore_count = node.lcore_count;
	shared->clients_max = SIM_CLIENTS;
	shared->parked_max = PARKED_MAX;
	shared->live[0].mark_interval_ns = UINT64_C(300000000);
	shared->node = &node_lines;
	shared->persist_wake = shared->main_wake = -1;
	for (uint32_t i = 0; i < node.lcore_count; i++) {
		shared->lcore_bell[i] = (struct hb_bell){-1, -1};
		for (uint32_t j = 0; j < node.lcore_count; j++)
			HB_ASSERT(i == j || hb_spsc_init(&shared->credits[i][j], 64,
						    sizeof(struct hb_credit_message)) == 0);
	}
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		shared->lcore_of_partition[p] = (uint8_t)(p % shared->lcore_count);
}

static void
attach_client(struct sim_dataplane *dataplane, uint32_t client)
{
	struct hb_client_slot *slot = &node.slots[client];

	*slot = (struct hb_client_slot){.state = HB_SLOT_ATTACHED,
		.bell = {-1, -1},
		.trusted = client == SIM_CLIENT_CONTROL,
		.operation_mask = client == SIM_CLIENT_CONTROL ? HB_OPS_CONTROL : HB_OPS_FRONT,
		.generation = ++node.generation};
	for (uint32_t l = 0; l < node.lcore_count; l++) {
		struct hb_message message = {.kind = HB_LCORE_ATTACH,
			.slot = client,
			.generation = slot->generation,
			.client = slot};

		memset(&request_rings[client][l], 0, sizeof(request_rings[client][l]));
		memset(&reply_rings[client][l], 0, sizeof(reply_rings[client][l]));
		hb_ring_consumer(&slot->request[l], &request_rings[client][l],
			request_data[client][l], REQUEST_BYTES);
		hb_ring_producer(&slot->reply[l], &reply_rings[client][l], reply_data[client][l],
			REPLY_BYTES);
		HB_ASSERT(hb_spsc_push(&dataplane->lcores[l]->from_main, &message));
	}
}

void sim_clients_attached(struct hb_ring (*requests)[SIM_LCORES_MAX],
	uint8_t *(*request_bytes)[SIM_LCORES_MAX], struct hb_ring (*replies)[SIM_LCORES_MAX],
	uint8_t *(*reply_bytes)[SIM_LCORES_MAX]);

static void
dataplane_start(struct sim_dataplane *dataplane)
{
	uint64_t state_ns = 0, wall_ns = hb_wall_ns(), boot_ns = hb_boot_ns();
	struct hb_shared *shared = zeroed(sizeof(*shared));

	fill_shared(shared);
	/* every start changes it: order.version may be changed at any restart */
	node_lines.epoch = dataplane->epoch;
	shared->live[0].engine.order_version = 1 + (uint32_t)(dataplane->epoch % 2);
	shared->journal = (void *)(dataplane->journal_segment.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		if (dataplane->state.partition[p].head->time_ns > state_ns)
			state_ns = dataplane->state.partition[p].head->time_ns;
	hb_ledger_clock_check_start(&shared->clock, state_ns, wall_ns);
	dataplane->shared = shared;
	for (uint32_t i = 0; i < node.lcore_count; i++) {
		struct hb_lcore *lcore = zeroed(sizeof(*lcore));

		hb_ledger_clock_init(&lcore->clock, &shared->clock, state_ns, wall_ns, boot_ns);
		HB_ASSERT(hb_lcore_init(lcore, shared, i, &dataplane->state,
				  dataplane->journal_segment.fd) == 0);
		dataplane->lcores[i] = lcore;
	}
	for (uint32_t c = 0; c < SIM_CLIENTS; c++)
		attach_client(dataplane, c);
	dataplane->alive = true;
	dataplane->stalled = false;
	dataplane->publish_death_in = 0;
	sim_clients_attached(request_rings, request_data, reply_rings, reply_data);
}

void
sim_kill_dataplane(struct sim_dataplane *dataplane)
{
	struct hb_shared *shared = dataplane->shared;

	if (!dataplane->alive)
		return;
	dataplane->alive = false;
	for (uint32_t i = 0; i < shared->lcore_count; i++) {
		hb_lcore_free(dataplane->lcores[i]);
		free(dataplane->lcores[i]);
		for (uint32_t j = 0; j < shared->lcore_count; j++)
			hb_spsc_free(&shared->credits[i][j]);
	}
	free(shared);
	hb_state_close(&dataplane->state);
	hb_segment_close(&dataplane->journal_segment);
	memset(dataplane, 0, sizeof(*dataplane));
}

void
sim_power_off(void)
{
	sim_leave(SIM_NOBODY);
	persist_is_dead();
	sim_disk_process_died(SIM_SNAPSHOT);
	sim_bury(SIM_SNAPSHOT);
	sim_kill_dataplane(node.dataplane);
	sim_kill_dataplane(node.other);
}

static struct sim_dataplane *turning;

bool __real_hb_ring_publish(struct hb_ring_end *end);
bool __wrap_hb_ring_publish(struct hb_ring_end *end);

/* A dataplane may die between any two publications: of records, and of replies. */
bool
__wrap_hb_ring_publish(struct hb_ring_end *end)
{
	if (machine.running == SIM_DATAPLANE && turning->publish_death_in > 0 &&
		--turning->publish_death_in == 0)
		sim_die();
	return __real_hb_ring_publish(end);
}

void
sim_lcore_turn(struct sim_dataplane *dataplane, uint32_t lcore)
{
	/* this may happen in the middle of a write of persist */
	enum sim_process before = machine.running;
	bool abort_expected = machine.abort_expected;

	if (!dataplane->alive || dataplane->stalled)
		return;
	turning = dataplane;
	if (setjmp(machine.death[SIM_DATAPLANE]) != 0) {
		sim_leave(SIM_NOBODY);
		sim_count(SIM_KILL_IN_TURN);
		sim_kill_dataplane(turning);
		sim_leave(before);
		return;
	}
	sim_enter(SIM_DATAPLANE);
	hb_lcore_turn(dataplane->lcores[lcore]);
	sim_leave(before);
	machine.abort_expected = abort_expected;
}

bool
sim_all_committed(void)
{
	const struct sim_dataplane *dataplane = node.dataplane;

	for (uint32_t i = 0; i < node.lcore_count; i++) {
		for (uint32_t j = 0; j < node.lcore_count; j++)
			if (i != j && !hb_spsc_empty(&dataplane->shared->credits[i][j]))
				return false;
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
			const struct hb_owned *owned = dataplane->lcores[i]->owned[p];

			if (owned != NULL && (owned->parking.count != 0 ||
						     atomic_load(&owned->journal.ring->tail) !=
							     owned->journal.position))
				return false;
		}
	}
	return true;
}
