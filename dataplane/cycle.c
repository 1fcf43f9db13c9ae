/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The duty cycle of a worker lcore: messages, credits, frames, deadlines, marks, replies; and when
 * there is nothing to do, sleep. If the process dies anywhere in here, what was not published does
 * not exist and nobody was told of it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/realtime.h"
#include "dataplane/env.h"
#include "dataplane/lcore.h"
#include "shm/ids.h"

#define STOP_DRAIN_NS UINT64_C(2000000000) /* on STOP, wait this long for commits */

/* What is off now. A level that has had its time ends here, also for those who read the segment. */
static uint32_t
degrade_level(struct hb_lcore *lcore)
{
	struct hb_node *node = lcore->shared->node;
	uint64_t until_s = atomic_load_explicit(&node->degrade_until_s, memory_order_relaxed);

	if (until_s != 0 && lcore->wall_s >= until_s) {
		if (lcore->number == 0) {
			hb_log(HB_LOG_INFO, "degrade_over", "level=%s",
				hb_degrade_name(atomic_load(&node->degrade_level)));
			atomic_store(&node->degrade_level, HB_DEGRADE_NORMAL);
			atomic_store(&node->degrade_by, HB_DEGRADE_BY_MEASURE);
			atomic_store(&node->degrade_until_s, 0);
		}
		return HB_DEGRADE_NORMAL;
	}
	return atomic_load_explicit(&node->degrade_level, memory_order_relaxed);
}

/*
 * What others read of us. Not in every turn: the line also has the flag that clients look at after
 * each request, and they would fetch it anew each time.
 */
static void
tell(struct hb_lcore *lcore)
{
	struct hb_lcore_line *line = &lcore->shared->node->lcore[lcore->number];

	lcore->heartbeat_ns = lcore->mono_ns;
	atomic_store_explicit(&line->heartbeat_ns, lcore->mono_ns, memory_order_relaxed);
	if (lcore->busy_ns == 0)
		return;
	atomic_store_explicit(&line->busy_ns,
		atomic_load_explicit(&line->busy_ns, memory_order_relaxed) + lcore->busy_ns,
		memory_order_relaxed);
	lcore->busy_ns = 0;
}

static void
look_at_clocks(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;
	uint64_t wall_ns;

	if (atomic_load_explicit(&shared->live_generation, memory_order_relaxed) !=
		atomic_load_explicit(&lcore->live_seen, memory_order_relaxed))
		hb_lcore_live_update(lcore);
	lcore->mono_ns = hb_mono_ns();
	if (lcore->mono_ns - lcore->heartbeat_ns >= HB_HEARTBEAT_NS)
		tell(lcore);
	if (lcore->mono_ns - lcore->clock_ns < HB_CLOCK_LOOK_NS)
		return;
	lcore->clock_ns = lcore->mono_ns;
	wall_ns = hb_wall_ns();
	lcore->wall_s = wall_ns / 1000000000;
	if (hb_ledger_clock_look(&lcore->clock, wall_ns, hb_boot_ns()) == HB_CLOCK_JUMPED) {
		atomic_store_explicit(&shared->node->clock_stopped, 1, memory_order_relaxed);
		hb_log(HB_LOG_ERROR, "clock_jumped",
			"lcore=%u advice=\"money operations are stopped; set the clock right, "
			"then: "
			"hbctl clock confirm\"",
			lcore->number);
	}
	lcore->input.now_ns = lcore->clock.now_ns;
	lcore->input.clock_stopped = hb_ledger_clock_stopped(&shared->clock);
	lcore->input.storage_level =
		atomic_load_explicit(&shared->journal->storage_level, memory_order_relaxed);
	lcore->input.degrade_level = degrade_level(lcore);
	if (lcore->number == 0) {
		atomic_store_explicit(&shared->node->storage_level, lcore->input.storage_level,
			memory_order_relaxed);
		atomic_store_explicit(&shared->node->clock_stopped, lcore->input.clock_stopped,
			memory_order_relaxed);
	}
}

/*
 * A client that has frames but no room for their replies: back-pressure. It is hung up on when it
 * reads nothing for a second, but not while all that fills its ring is parked here.
 */
static void
stalled(struct hb_lcore *lcore, uint32_t slot)
{
	struct hb_lcore_client *client = &lcore->clients[slot];
	uint64_t tail = atomic_load_explicit(&client->reply.ring->tail, memory_order_relaxed);

	if (!client->stalled || tail != client->stalled_tail || tail == client->reply.position) {
		client->stalled = true;
		client->stalled_tail = tail;
		client->stalled_since_ns = lcore->mono_ns;
	} else if (lcore->mono_ns - client->stalled_since_ns > HB_SLOW_CLIENT_NS) {
		hb_client_kick(lcore, slot, "it does not read its replies");
	}
}

/* Frames of this client that may be taken now: each may need the longest reply. */
static uint32_t
frames_with_room(struct hb_lcore_client *client)
{
	uint64_t room = hb_ring_room_seen(&client->reply);
	uint64_t frames;

	/* The client's line is fetched only when what it showed last is not enough for a burst. */
	if (room < client->reply_reserved + HB_BURST_MAX * HB_REPLY_BYTES_MAX)
		room = hb_ring_room(&client->reply);
	if (room <= client->reply_reserved)
		return 0;
	frames = (room - client->reply_reserved) / HB_REPLY_BYTES_MAX;
	return frames < HB_BURST_MAX ? (uint32_t)frames : HB_BURST_MAX;
}

/*
 * Copy frames out of shared memory; what the client writes there later changes nothing.
 * @return how many, or -EPROTO when the stream of frames is broken
 */
static int
copy_frames(struct hb_lcore *lcore, struct hb_lcore_client *client, uint32_t max, int64_t available,
	const uint8_t *at)
{
	uint64_t taken = 0;
	uint32_t n = 0;

	for (; n < max && available > 0; n++) {
		struct hb_frame *frame = (struct hb_frame *)(void *)lcore->frames[n];
		uint32_t length;

		if (available < (int64_t)sizeof(*frame))
			return -EPROTO;
		memcpy(frame, at, sizeof(*frame));
		length = frame->length;
		if (length < sizeof(*frame) || length > HB_FRAME_BYTES_MAX ||
			length % HB_FRAME_UNIT_BYTES != 0 || length > available)
			return -EPROTO;
		memcpy(lcore->frames[n] + sizeof(*frame), at + sizeof(*frame),
			length - sizeof(*frame));
		at += length;
		available -= length;
		taken += length;
	}
	hb_ring_consume(&client->request, taken);
	return (int)n;
}

static const struct hb_frame *
frame_at(const struct hb_lcore *lcore, int i)
{
	return (const struct hb_frame *)(const void *)lcore->frames[i];
}

/* What a frame names, if it is ours. */
static inline void
prefetch(const struct hb_lcore *lcore, const struct hb_frame *frame, hb_prefetch_frame_fn *what)
{
	const struct hb_owned *owned = lcore->owned[hb_partition_of(frame->target)];

	if (owned != NULL)
		what(owned->partition, frame);
}

/*
 * What frames name that wait behind a burst: it comes while this burst's replies are seen to.
 * They are in shared memory still, and whatever they say, a prefetch of it harms nobody.
 */
static void
prefetch_behind(struct hb_lcore *lcore, const uint8_t *at, int64_t available)
{
	for (int i = 0; i < HB_PREFETCH_HEAD_AHEAD; i++) {
		struct hb_frame frame;

		if (available < (int64_t)sizeof(frame))
			return;
		memcpy(&frame, at, sizeof(frame));
		prefetch(lcore, &frame, hb_prefetch_head);
		at += frame.length;
		available -= frame.length;
	}
}

/* The first frames' memory is asked for at once, the others' while their elders are decided. */
static void
handle_frames(struct hb_lcore *lcore, uint32_t slot, int n)
{
	hb_token_batch_begin(&lcore->tokens);
	for (int i = 0; i < n; i++)
		hb_token_batch_add(&lcore->tokens, frame_at(lcore, i));
	lcore->input.tokens = &lcore->tokens;
	for (int i = 0; i < n && i < HB_PREFETCH_HEAD_AHEAD; i++)
		prefetch(lcore, frame_at(lcore, i), hb_prefetch_head);
	for (int i = 0; i < n && i < HB_PREFETCH_CLAIMS_AHEAD; i++)
		prefetch(lcore, frame_at(lcore, i), hb_prefetch_claims);
	for (int i = 0; i < n && lcore->clients[slot].active; i++) {
		if (i + HB_PREFETCH_HEAD_AHEAD < n)
			prefetch(lcore, frame_at(lcore, i + HB_PREFETCH_HEAD_AHEAD),
				hb_prefetch_head);
		if (i + HB_PREFETCH_CLAIMS_AHEAD < n)
			prefetch(lcore, frame_at(lcore, i + HB_PREFETCH_CLAIMS_AHEAD),
				hb_prefetch_claims);
		lcore->input.token_place = (uint32_t)i;
		hb_frame_handle(lcore, slot, frame_at(lcore, i), frame_at(lcore, i)->length);
	}
	lcore->input.tokens = NULL;
}

static void
publish_records(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;
	bool any = lcore->unpublished != 0;

	for (; lcore->unpublished != 0; lcore->unpublished &= lcore->unpublished - 1)
		hb_ring_publish(&lcore->owned[__builtin_ctz(lcore->unpublished)]->journal);
	if (any && atomic_load_explicit(&shared->journal->persist_sleeping, memory_order_seq_cst))
		eventfd_write(shared->persist_wake, 1);
}

/* Take up to a burst of one client. @return true when there was something */
static bool
take_burst(struct hb_lcore *lcore, uint32_t slot)
{
	struct hb_lcore_client *client = &lcore->clients[slot];
	uint64_t begin = client->request.position, taken;
	void *at = NULL;
	int64_t available = hb_ring_peek(&client->request, &at);
	uint32_t room;
	int n;

	if (available == 0)
		return false;
	if (available < 0) {
		hb_client_kick(lcore, slot, "its request ring has absurd positions");
		return true;
	}
	room = frames_with_room(client);
	if (room == 0) {
		stalled(lcore, slot);
		return false;
	}
	client->stalled = false;
	n = copy_frames(lcore, client, room, available, at);
	if (n < 0) {
		hb_client_kick(lcore, slot, "a frame in its request ring has no possible length");
		return true;
	}
	taken = client->request.position - begin;
	/* A reply that brought the client here may rest on a credit handed over just now. */
	hb_credits_drain(lcore);
	handle_frames(lcore, slot, n);
	if (client->active)
		prefetch_behind(lcore, (const uint8_t *)at + taken, available - (int64_t)taken);
	publish_records(lcore);
	return true;
}

static bool
release_all(struct hb_lcore *lcore)
{
	bool any = false;

	for (uint32_t parked = lcore->parked; parked != 0; parked &= parked - 1)
		any |= hb_replies_release(lcore, lcore->owned[__builtin_ctz(parked)]);
	return any;
}

static bool
housekeeping_is_due(const struct hb_lcore *lcore)
{
	return !lcore->stopping && lcore->mono_ns - lcore->housekeeping_ns >= HB_HOUSEKEEPING_NS;
}

static bool
partitions_turn(struct hb_lcore *lcore)
{
	bool any = false;

	lcore->housekeeping_ns = lcore->mono_ns;
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		struct hb_owned *owned = lcore->owned[p];

		if (owned == NULL)
			continue;
		any |= hb_deadlines_turn(lcore, owned);
		any |= hb_evict_turn(lcore, owned);
		any |= hb_mark_turn(lcore, owned);
		any |= hb_audit_turn(lcore, owned);
	}
	return any;
}

bool
hb_lcore_turn(struct hb_lcore *lcore)
{
	bool any;

	look_at_clocks(lcore);
	any = hb_clients_messages(lcore);
	any |= hb_credits_drain(lcore);
	any |= release_all(lcore);
	hb_replies_publish(lcore);
	/* Backwards: a client that is hung up on leaves the list. */
	for (uint32_t i = lcore->stopping ? 0 : lcore->active_count; i-- > 0;)
		any |= take_burst(lcore, lcore->active[i]);
	/* What rests on committed records leaves at once, before the housekeeping. */
	any |= release_all(lcore);
	hb_replies_publish(lcore);
	if (housekeeping_is_due(lcore) && partitions_turn(lcore)) {
		any = true;
		publish_records(lcore);
	}
	hb_credits_wake(lcore);
	return any;
}

static bool
anything_parked(const struct hb_lcore *lcore)
{
	return lcore->parked != 0;
}

/* The second look of the sleep protocol. @return true when there is work after all */
static bool
work_waits(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;

	if (!hb_spsc_empty(&lcore->from_main))
		return true;
	for (uint32_t from = 0; from < shared->lcore_count; from++)
		if (from != lcore->number && !hb_spsc_empty(&shared->credits[from][lcore->number]))
			return true;
	for (uint32_t i = 0; i < lcore->active_count && !lcore->stopping; i++) {
		struct hb_lcore_client *client = &lcore->clients[lcore->active[i]];
		void *at;

		if (!client->stalled && hb_ring_peek(&client->request, &at) != 0)
			return true;
	}
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		struct hb_owned *owned = lcore->owned[p];
		struct hb_parked *first = owned == NULL ? NULL : hb_parking_first(&owned->parking);

		if (first != NULL &&
			first->position <= atomic_load_explicit(&owned->journal.ring->tail,
						   memory_order_seq_cst))
			return true;
	}
	return false;
}

/* @return milliseconds until somebody has to look again even if nothing comes */
static int
sleep_ms_max(const struct hb_lcore *lcore)
{
	uint64_t into_second_ms = lcore->input.now_ns / 1000000 % 1000;

	/* Nobody wakes us when a client reads. One that has read everything waits for persist. */
	for (uint32_t i = 0; i < lcore->active_count; i++) {
		const struct hb_lcore_client *client = &lcore->clients[lcore->active[i]];

		if (client->stalled && client->stalled_tail != client->reply.position)
			return HB_SLEEP_STALLED_MS;
	}
	if (lcore->stopping)
		return HB_SLEEP_STALLED_MS;
	/* Deadlines fall on full seconds. */
	return (int)(HB_SLEEP_MS_MAX - into_second_ms) + 1;
}

void
hb_lcore_sleep(struct hb_lcore *lcore)
{
	struct hb_shared *shared = lcore->shared;
	_Atomic uint32_t *sleeping = &shared->node->lcore[lcore->number].sleeping;
	_Atomic uint32_t *waiting = &shared->journal->lcore[lcore->number].waiting;
	struct pollfd bell = {.fd = shared->lcore_bell[lcore->number].wait, .events = POLLIN};

	/* Announce first, then look again: whoever published before saw us awake, or we see it. */
	atomic_store_explicit(waiting, anything_parked(lcore), memory_order_seq_cst);
	atomic_store_explicit(sleeping, 1, memory_order_seq_cst);
	if (!work_waits(lcore)) {
		hb_count(lcore, HB_COUNTER_SLEEPS, 1);
		if (poll(&bell, 1, sleep_ms_max(lcore)) > 0)
			hb_bell_clear(bell.fd);
	}
	atomic_store_explicit(sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(waiting, 0, memory_order_relaxed);
}

static void
measure(struct hb_lcore *lcore)
{
	struct hb_node *node = lcore->shared->node;
	_Atomic uint64_t *longest = &node->value[lcore->number][HB_COUNTER_TURN_NS_MAX];
	uint64_t ns = hb_mono_ns() - lcore->mono_ns;

	lcore->busy_ns += ns;
	if (ns > atomic_load_explicit(longest, memory_order_relaxed))
		atomic_store_explicit(longest, ns, memory_order_relaxed);
}

static bool
finished(struct hb_lcore *lcore)
{
	if (!lcore->stopping)
		return false;
	if (lcore->stop_deadline_ns == 0)
		lcore->stop_deadline_ns = lcore->mono_ns + STOP_DRAIN_NS;
	return !anything_parked(lcore) || lcore->mono_ns > lcore->stop_deadline_ns;
}

static void
idle(struct hb_lcore *lcore, uint64_t *idle_since_ns)
{
	if (lcore->mono_ns - lcore->idle_audit_ns > UINT64_C(1000000000)) {
		lcore->idle_audit_ns = lcore->mono_ns;
		hb_audit_idle(lcore);
	}
	if (*idle_since_ns == 0)
		*idle_since_ns = lcore->mono_ns;
	if (lcore->shared->busy_idle || lcore->mono_ns - *idle_since_ns < lcore->spin_ns) {
		hb_env_pause();
		return;
	}
	/* The turn before a sleep must have found nothing in the partitions either. */
	if (lcore->housekeeping_ns != lcore->mono_ns && !lcore->stopping) {
		lcore->housekeeping_ns = 0;
		lcore->clock_ns = 0;
		return;
	}
	tell(lcore);
	hb_lcore_sleep(lcore);
	lcore->awake_ns = hb_mono_ns();
	/* Work that comes a few microseconds apart is not worth a sleep, which costs as much. */
	if (lcore->awake_ns - lcore->mono_ns >= HB_IDLE_SPIN_NS_MAX)
		lcore->spin_ns = HB_IDLE_SPIN_NS;
	else if (lcore->spin_ns < HB_IDLE_SPIN_NS_MAX)
		lcore->spin_ns *= 2;
}

/*
 * Threads of the kernel on this CPU are ordinary: those that complete a write to disk among them. A
 * real-time lcore that always finds work would keep them waiting until the kernel takes the CPU
 * away, for most of a second.
 */
static void
give_way(struct hb_lcore *lcore)
{
	const struct timespec pause = {.tv_nsec = HB_GIVE_WAY_NS};
	uint64_t awake_ns = lcore->mono_ns - lcore->awake_ns;

	if (awake_ns < (anything_parked(lcore) ? HB_GIVE_WAY_PARKED_NS : HB_GIVE_WAY_EVERY_NS))
		return;
	nanosleep(&pause, NULL);
	lcore->awake_ns = hb_mono_ns();
}

int
hb_lcore_run(void *argument)
{
	struct hb_lcore *lcore = argument;
	bool realtime = hb_realtime_stay("lcore", lcore->shared->realtime);
	uint64_t idle_since_ns = 0;

	do {
		bool any = hb_lcore_turn(lcore);

		hb_count(lcore, HB_COUNTER_TURNS, 1);
		if (any) {
			idle_since_ns = 0;
			measure(lcore);
			if (realtime)
				give_way(lcore);
		} else {
			hb_count(lcore, HB_COUNTER_TURNS_IDLE, 1);
			idle(lcore, &idle_since_ns);
		}
	} while (!finished(lcore));
	return 0;
}
