/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine alone: see engine_world.h. The way of a frame is the dataplane's (decisions.c there)
 * without clients, parking and counters: check, decide, copy the records into the journal ring,
 * apply; the credits of a burst are applied behind it.
 */
#include "perf/engine_world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shm/ids.h"
#include "shm/link.h"
#include "shm/node.h"
#include "shm/record.h"

#define READER_NAP_US	  50
#define PAGE_BYTES	  4096
#define TOKENS_PER_MS	  10000
#define PACKET_COUNT_MAX  100000
#define PACKET_LIFETIME_S 2592000
#define WORLD_NODE	  1
#define AUDIT_SLOTS	  65536

static _Thread_local _Alignas(64) uint8_t ask_records[HB_DECISION_BYTES_MAX];
static _Thread_local _Alignas(64) uint8_t ask_reply[HB_REPLY_BYTES_MAX];

uint64_t
hb_world_random(struct hb_world *world)
{
	world->random += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(world->random);
}

/* Empty one ring into the log. @return true when there was something */
static bool
read_ring(struct hb_world *world, uint32_t number)
{
	struct hb_ring_end *ring = &world->consumer[number];
	uint64_t used = atomic_load_explicit(&world->log_used, memory_order_relaxed);
	void *at;
	int64_t bytes = hb_ring_peek(ring, &at);

	HB_ASSERT(bytes >= 0);
	if (bytes == 0)
		return false;
	HB_ASSERT(used + (uint64_t)bytes <= world->log_room);
	memcpy(world->log + used, at, (size_t)bytes);
	atomic_store_explicit(&world->log_used, used + (uint64_t)bytes, memory_order_release);
	hb_ring_consume(ring, (uint64_t)bytes);
	return true;
}

static void *
run_reader(void *argument)
{
	struct hb_world *world = argument;

	while (!atomic_load_explicit(&world->reader_stop, memory_order_acquire)) {
		bool any = false;

		for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
			any |= read_ring(world, i);
		if (!any)
			usleep(READER_NAP_US);
	}
	return NULL;
}

static int
open_journal(struct hb_world *world)
{
	struct hb_journal_rings *rings;
	int result = hb_segment_create(&world->journal, "hongbao-bench-journal", HB_SEGMENT_JOURNAL,
		HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES);

	if (result != 0)
		return result;
	rings = (void *)(world->journal.base + HB_SEGMENT_GUARD_BYTES);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		uint8_t *data = hb_segment_map_twice(world->journal.fd,
			HB_JOURNAL_DATA_OFFSET + i * HB_JOURNAL_RING_BYTES, HB_JOURNAL_RING_BYTES,
			true);

		if (data == NULL)
			return -errno;
		memset(data, 0, HB_JOURNAL_RING_BYTES);
		memset(data + HB_JOURNAL_RING_BYTES, 0, HB_JOURNAL_RING_BYTES);
		hb_ring_producer(&world->producer[i], &rings->ring[i], data, HB_JOURNAL_RING_BYTES);
		hb_ring_consumer(&world->consumer[i], &rings->ring[i], data, HB_JOURNAL_RING_BYTES);
	}
	return 0;
}

/* Pages are made before anything is measured. */
static int
populate(const struct hb_segment *segment)
{
	return madvise(segment->base, segment->bytes, MADV_POPULATE_WRITE) == 0 ? 0 : -errno;
}

void
hb_world_touch(struct hb_world *world)
{
	volatile uint8_t *bytes = world->state.segment.base;

	for (uint64_t at = 0; at < world->state.segment.bytes; at += PAGE_BYTES)
		bytes[at] = bytes[at];
}

int
hb_world_open(struct hb_world *world, const struct hb_capacity *capacity, uint64_t log_room)
{
	int result;

	memset(world, 0, sizeof(*world));
	world->random = 1;
	world->config.token_keys.count = 1;
	memcpy(world->config.token_keys.key[0], "a key of benches", HB_TOKEN_KEY_BYTES);
	world->config.packet_total_fen_max = HB_PACKET_TOTAL_FEN_MAX;
	world->config.packet_count_max = PACKET_COUNT_MAX;
	world->config.packet_lifetime_s_max = PACKET_LIFETIME_S;
	world->config.tokens_required = true;
	world->input.config = &world->config;
	result = hb_state_create(&world->state, capacity, WORLD_NODE);
	if (result == 0)
		result = populate(&world->state.segment);
	if (result == 0)
		result = hb_state_create(&world->replica, capacity, WORLD_NODE);
	if (result == 0)
		result = populate(&world->replica.segment);
	if (result == 0)
		result = open_journal(world);
	if (result != 0)
		return result;
	world->log_room = log_room;
	world->log = malloc(log_room);
	if (world->log == NULL)
		return -ENOMEM;
	memset(world->log, 0, log_room);
	return -pthread_create(&world->reader, NULL, run_reader, world);
}

void
hb_world_close(struct hb_world *world)
{
	atomic_store_explicit(&world->reader_stop, true, memory_order_release);
	pthread_join(world->reader, NULL);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		hb_segment_unmap_twice(world->producer[i].data, HB_JOURNAL_RING_BYTES);
	hb_segment_close(&world->journal);
	hb_state_close(&world->replica);
	hb_state_close(&world->state);
	free(world->log);
}

uint64_t
hb_world_huge_bytes(const struct hb_world *world)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[512];
	bool inside = false;
	uint64_t bytes = 0;

	if (maps == NULL)
		return 0;
	while (fgets(line, sizeof(line), maps) != NULL) {
		uint64_t from, to, kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			inside = from == (uint64_t)(uintptr_t)world->state.segment.base;
		else if (inside && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 ||
					   sscanf(line, "Shared_Hugetlb: %" SCNu64, &kib) == 1 ||
					   sscanf(line, "Private_Hugetlb: %" SCNu64, &kib) == 1))
			bytes += kib * 1024;
	}
	fclose(maps);
	return bytes;
}

static void
look_at_clock(struct hb_world *world)
{
	world->input.now_ns = hb_wall_ns() + world->clock_ahead_ns;
}

/* Copy the records of a decision into the ring and apply them. GRAB makes one credit at most. */
static inline void
perform(struct hb_world *world, struct hb_partition *p, const struct hb_decision *decision,
	struct hb_credit *credit)
{
	struct hb_ring_end *ring = &world->producer[p->number];
	void *room;

	credit->account = 0;
	if (decision->record_count == 0)
		return;
	HB_ASSERT(decision->record_count == 1);
	while ((room = hb_ring_reserve(ring, decision->record_bytes)) == NULL)
		hb_ring_publish(ring);
	memcpy(room, decision->records, decision->record_bytes);
	hb_ring_advance(ring, decision->record_bytes);
	hb_ring_prefetch(ring);
	hb_apply(p, (const struct hb_record *)(const void *)decision->records, credit);
}

static inline struct hb_partition *
owner_of(struct hb_world *world, const struct hb_credit *credit)
{
	return &world->state.partition[hb_partition_of(credit->account)];
}

static inline void
deliver(struct hb_world *world, uint32_t from, const struct hb_credit *credit)
{
	if (credit->account != 0)
		hb_apply_credit(owner_of(world, credit), from, credit);
}

const struct hb_reply *
hb_world_ask(struct hb_world *world, void *frame_bytes)
{
	struct hb_frame *frame = frame_bytes;
	struct hb_partition *p = &world->state.partition[hb_partition_of(frame->target)];
	struct hb_decision decision = {.records = ask_records, .reply = (void *)ask_reply};
	struct hb_credit credit;

	look_at_clock(world);
	frame->version = HB_FRAME_VERSION;
	frame->issued_s = (uint32_t)(world->input.now_ns / 1000000000);
	for (int i = 0; i < 4; i++) {
		uint64_t r = hb_world_random(world);

		memcpy(world->input.seed + 8 * i, &r, 8);
	}
	world->input.trusted = true;
	HB_ASSERT(hb_frame_check(frame, frame->length) == HB_STATUS_OK);
	hb_decide(p, frame, &world->input, &decision);
	HB_ASSERT(decision.reply->status == HB_STATUS_OK);
	perform(world, p, &decision, &credit);
	hb_ring_publish(&world->producer[p->number]);
	deliver(world, p->number, &credit);
	world->input.trusted = false;
	if (atomic_load(&world->log_used) > world->log_room / 4)
		hb_world_settle(world);
	return decision.reply;
}

void
hb_world_open_account(struct hb_world *world, uint64_t account)
{
	struct hb_frame_account_open open = {.head = {.operation = HB_OP_ACCOUNT_OPEN,
						     .length = sizeof(open),
						     .target = account},
		.kind = HB_ACCOUNT_USER};

	hb_world_ask(world, &open);
}

void
hb_world_fund(struct hb_world *world, uint64_t account, int64_t amount_fen)
{
	struct hb_frame_order order = {
		.head = {.operation = HB_OP_ORDER_OPEN, .length = sizeof(order), .target = account},
		.amount_fen = amount_fen,
		.business = HB_BUSINESS_RECHARGE,
		.channel = HB_SYSTEM_CLEARING_MANUAL};

	order.order_stamp = hb_world_ask(world, &order)->order_stamp;
	order.head.operation = HB_OP_CREDIT;
	hb_world_ask(world, &order);
}

uint64_t
hb_world_send(struct hb_world *world, uint64_t sender, int64_t total_fen, uint32_t count,
	uint32_t lifetime_s)
{
	struct hb_frame_packet_create create = {.head = {.operation = HB_OP_PACKET_CREATE,
							.length = sizeof(create),
							.target = sender,
							.user = sender,
							.group = HB_WORLD_GROUP},
		.kind = HB_PACKET_LUCKY,
		.algorithm = HB_SPLIT_DOUBLE_MEAN,
		.count = count,
		.total_fen = total_fen,
		.lifetime_s = lifetime_s};

	return hb_world_ask(world, &create)->id;
}

void
hb_world_token(const struct hb_world *world, struct hb_frame *frame, uint64_t token_id)
{
	const uint8_t *key = world->config.token_keys.key[0];

	frame->token_id = token_id;
	frame->token_expiry_s = (uint32_t)((token_id >> 14) / 1000) + HB_TOKEN_LIFETIME_S;
	frame->token_mac = hb_token_mac(
		key, token_id, frame->user, frame->target, frame->token_expiry_s, frame->operation);
	frame->sequence = hb_token_initial_sequence(key, token_id, frame->user) + 1;
}

void
hb_world_grab_frame(struct hb_world *world, struct hb_frame *frame, uint64_t packet, uint64_t user)
{
	uint64_t count = world->token_counter++;
	uint64_t ms = world->input.now_ns / 1000000 + count / TOKENS_PER_MS;

	*frame = (struct hb_frame){.version = HB_FRAME_VERSION,
		.operation = HB_OP_GRAB,
		.length = sizeof(*frame),
		.issued_s = (uint32_t)(world->input.now_ns / 1000000000),
		.correlation = count,
		.target = packet,
		.user = user,
		.group = HB_WORLD_GROUP};
	hb_world_token(world, frame, ms << 14 | count % TOKENS_PER_MS);
}

static inline void
count_outcome(struct hb_world_outcome *outcome, const struct hb_reply *reply)
{
	outcome->status[reply->status % HB_WORLD_STATUS_MAX]++;
	outcome->already += (reply->flags & HB_REPLY_ALREADY) != 0;
	outcome->amount_fen += reply->amount_fen;
}

static inline struct hb_partition *
partition_of(struct hb_world *world, const struct hb_frame *frame)
{
	return &world->state.partition[hb_partition_of(frame->target)];
}

/* As hb_lcore_turn does: a frame's memory is asked for while its elders are handled. */
static inline void
prefetch_frame(struct hb_world *world, const struct hb_frame *frames, uint32_t i, uint32_t count,
	hb_prefetch_frame_fn *what)
{
	if (i < count)
		what(partition_of(world, &frames[i]), &frames[i]);
}

static inline void
prefetch_credit(struct hb_world *world, const struct hb_credit *credit, uint32_t i, uint32_t count,
	hb_prefetch_credit_fn *what)
{
	if (i < count && credit[i].account != 0)
		what(owner_of(world, &credit[i]), &credit[i]);
}

static void
deliver_burst(struct hb_world *world, const struct hb_credit *credit, const uint32_t *from,
	uint32_t count)
{
	for (uint32_t i = 0; i < HB_PREFETCH_CREDIT_AHEAD; i++)
		prefetch_credit(world, credit, i, count, hb_prefetch_credit);
	for (uint32_t i = 0; i < HB_PREFETCH_CHAIN_AHEAD; i++)
		prefetch_credit(world, credit, i, count, hb_prefetch_credit_chain);
	for (uint32_t i = 0; i < count; i++) {
		prefetch_credit(
			world, credit, i + HB_PREFETCH_CREDIT_AHEAD, count, hb_prefetch_credit);
		prefetch_credit(world, credit, i + HB_PREFETCH_CHAIN_AHEAD, count,
			hb_prefetch_credit_chain);
		deliver(world, from[i], &credit[i]);
	}
}

/* @param expected the burst before saw it waiting @param behind frames that wait behind it */
static void
drive_burst(struct hb_world *world, const struct hb_frame *frames, uint32_t count, bool expected,
	uint64_t behind, struct hb_world_outcome *outcome)
{
	static _Alignas(64) uint8_t records[HB_DECISION_BYTES_MAX];
	static _Alignas(64) uint8_t reply[HB_REPLY_BYTES_MAX];
	static struct hb_token_batch tokens;
	struct hb_decision decision = {.records = records, .reply = (void *)reply};
	struct hb_credit credit[HB_BURST_MAX];
	uint32_t from[HB_BURST_MAX];
	uint32_t touched = 0;

	if (!expected)
		for (uint32_t i = 0; i < HB_PREFETCH_HEAD_AHEAD; i++)
			prefetch_frame(world, frames, i, count, hb_prefetch_head);
	for (uint32_t i = 0; i < HB_PREFETCH_CLAIMS_AHEAD; i++)
		prefetch_frame(world, frames, i, count, hb_prefetch_claims);
	hb_token_batch_begin(&tokens);
	for (uint32_t i = 0; i < count; i++)
		hb_token_batch_add(&tokens, &frames[i]);
	world->input.tokens = &tokens;
	for (uint32_t i = 0; i < count; i++) {
		struct hb_partition *p;

		prefetch_frame(world, frames, i + HB_PREFETCH_HEAD_AHEAD, count, hb_prefetch_head);
		prefetch_frame(
			world, frames, i + HB_PREFETCH_CLAIMS_AHEAD, count, hb_prefetch_claims);
		credit[i].account = 0;
		if (hb_frame_check(&frames[i], frames[i].length) != HB_STATUS_OK) {
			outcome->status[HB_STATUS_FRAME_INVALID]++;
			continue;
		}
		from[i] = hb_partition_of(frames[i].target);
		p = &world->state.partition[from[i]];
		world->input.token_place = i;
		hb_decide(p, &frames[i], &world->input, &decision);
		perform(world, p, &decision, &credit[i]);
		touched |= 1u << from[i];
		count_outcome(outcome, decision.reply);
	}
	for (; touched != 0; touched &= touched - 1)
		hb_ring_publish(&world->producer[__builtin_ctz(touched)]);
	for (uint32_t i = 0; i < HB_PREFETCH_HEAD_AHEAD && i < behind; i++)
		prefetch_frame(world, frames, count + i, count + i + 1, hb_prefetch_head);
	deliver_burst(world, credit, from, count);
	world->input.tokens = NULL;
}

void
hb_world_drive(struct hb_world *world, const struct hb_frame *frames, uint64_t count,
	uint32_t burst, struct hb_world_outcome *outcome)
{
	uint64_t cpu_ns, wall_ns;
	uint64_t look = 0;

	HB_ASSERT(burst >= 1 && burst <= HB_BURST_MAX);
	memset(outcome, 0, sizeof(*outcome));
	hb_world_settle(world);
	wall_ns = hb_mono_ns();
	cpu_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t at = 0; at < count; at += burst) {
		uint32_t n = count - at < burst ? (uint32_t)(count - at) : burst;

		if (at >= look) {
			look_at_clock(world);
			look = at + HB_WORLD_LOOK_EVERY;
		}
		/* a ring that gave less than the longest burst has nothing behind it */
		drive_burst(world, frames + at, n, burst == HB_BURST_MAX && at > 0,
			burst < HB_BURST_MAX ? 0 : count - at - n, outcome);
	}
	outcome->cpu_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	outcome->wall_ns = hb_mono_ns() - wall_ns;
}

static const uint8_t *
look_ahead(struct hb_world *world, const uint8_t *at, const uint8_t *end,
	hb_prefetch_record_fn *prefetch)
{
	if (at >= end)
		return end;
	prefetch(&world->replica, HB_PARTITIONS_ALL, (const void *)at);
	return at + ((const struct hb_record *)(const void *)at)->length;
}

/* As hb_replay does, without a disk. */
static void
replay(struct hb_world *world, const uint8_t *at, uint64_t bytes)
{
	const uint8_t *head = at, *claims = at, *end = at + bytes;

	for (int i = 0; i < HB_PREFETCH_HEAD_AHEAD; i++)
		head = look_ahead(world, head, end, hb_prefetch_record_head);
	for (int i = 0; i < HB_PREFETCH_CLAIMS_AHEAD; i++)
		claims = look_ahead(world, claims, end, hb_prefetch_record_claims);
	while (bytes > 0) {
		const struct hb_record *record = (const void *)at;
		struct hb_partition *p;
		struct hb_credit credit;

		head = look_ahead(world, head, end, hb_prefetch_record_head);
		claims = look_ahead(world, claims, end, hb_prefetch_record_claims);
		HB_ASSERT(hb_record_verify(record, bytes) == NULL);
		p = &world->replica.partition[record->ring];
		HB_ASSERT(hb_apply_check(p, record) == NULL);
		hb_apply(p, record, &credit);
		if (credit.account != 0)
			hb_apply_credit(&world->replica.partition[hb_partition_of(credit.account)],
				p->number, &credit);
		world->replayed_records++;
		at += record->length;
		bytes -= record->length;
	}
}

void
hb_world_settle(struct hb_world *world)
{
	uint64_t begin_ns;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		while (hb_ring_room(&world->producer[i]) != HB_JOURNAL_RING_BYTES)
			usleep(READER_NAP_US);
	begin_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	replay(world, world->log, atomic_load_explicit(&world->log_used, memory_order_acquire));
	world->replay_ns += hb_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
	atomic_store_explicit(&world->log_used, 0, memory_order_release);
}

static int
compare_users(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static const char *
check_packet(const struct hb_partition *p, const struct hb_packet *packet, uint64_t *users,
	struct hb_world_check *check)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t taken = packet->count - packet->left_count;
	int64_t sum = 0;

	for (uint32_t i = 0; i < packet->count; i++) {
		if ((claims[i].user != 0) != (i < taken))
			return "a packet's claims are not the first shares";
		if (i >= taken)
			continue;
		if (claims[i].amount_fen < 1)
			return "a share of nothing";
		sum += claims[i].amount_fen;
		users[i] = claims[i].user;
	}
	if (sum + packet->left_fen + packet->refunded_fen != packet->total_fen)
		return "the shares of a packet do not add up to its total";
	qsort(users, taken, sizeof(*users), compare_users);
	for (uint32_t i = 1; i < taken; i++)
		if (users[i] == users[i - 1])
			return "somebody has two shares of a packet";
	check->packets++;
	check->claims += taken;
	check->claims_fen += sum;
	return NULL;
}

static void
check_partition(
	struct hb_world *world, uint32_t number, uint64_t *users, struct hb_world_check *check)
{
	struct hb_partition *p = &world->state.partition[number];
	const struct hb_partition_head *a = p->head;
	const struct hb_partition_head *b = world->replica.partition[number].head;
	int audit;

	for (uint64_t i = 0; i < p->capacity.accounts; i++)
		check->money_fen += p->accounts[i].available_fen + p->accounts[i].frozen_fen;
	for (uint64_t i = 0; i < p->capacity.packets && check->wrong == NULL; i++)
		if (p->packets[i].id != 0)
			check->wrong = check_packet(p, &p->packets[i], users, check);
	while ((audit = hb_audit_step(p, AUDIT_SLOTS)) == 0)
		;
	if (audit < 0)
		check->wrong = "the audit of balances in memory failed";
	if (a->core_sequence != b->core_sequence || a->state_hash != b->state_hash ||
		a->balance_hash != b->balance_hash || a->grab_count != b->grab_count)
		check->wrong = "the replay of the records gives another state";
}

void
hb_world_check(struct hb_world *world, struct hb_world_check *check)
{
	uint64_t *users = malloc(PACKET_COUNT_MAX * sizeof(*users));

	memset(check, 0, sizeof(*check));
	HB_ASSERT(users != NULL);
	hb_world_settle(world);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		check_partition(world, i, users, check);
	if (check->wrong == NULL && check->money_fen != 0)
		check->wrong = "the balances do not add up to zero";
	free(users);
}

void
hb_world_memory(const struct hb_world *world, struct hb_world_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->account_bytes = sizeof(struct hb_account);
	memory->packet_bytes = sizeof(struct hb_packet);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		const struct hb_partition *p = &world->state.partition[i];

		memory->accounts += p->head->account_count;
		memory->packets += p->head->packet_count;
		memory->windows += p->head->window_count;
		memory->arena_bytes += p->head->arena_live * 16;
		memory->account_room_bytes += p->capacity.accounts * sizeof(struct hb_account);
		memory->packet_room_bytes += p->capacity.packets * sizeof(struct hb_packet);
	}
}
