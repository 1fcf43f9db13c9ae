/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The main loop of hongbao-dataplane: dataplane/dataplane.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/paths.h"
#include "dataplane/dataplane.h"
#include "dataplane/env.h"
#include "dataplane/key_file.h"

#define EVENTS_MAX     64
#define TICK_MS	       1000
#define PAGE_BYTES     4096
#define TOUCH_BYTES    (UINT64_C(2) << 20) /* a huge page */
#define TOUCH_PAUSE_MS 1
#define LIVE_TAKEN_NS  UINT64_C(3000000000) /* for all lcores to take what a reload changed */
#define LIVE_LOOK_US   1000
#define LCORE_STUCK_NS UINT64_C(10000000000) /* ten times its longest sleep */

int
hb_dataplane_watch(struct hb_dataplane *dp, int fd, enum hb_event_kind kind, uint32_t slot)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLRDHUP, .data.u64 = (uint64_t)kind << 32 | slot};

	return epoll_ctl(dp->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void
hb_dataplane_tell(struct hb_dataplane *dp, uint32_t lcore, const struct hb_message *message)
{
	/* At most one attach and one detach per slot are under way, so it is never full. */
	HB_ASSERT(hb_spsc_push(&dp->lcores[lcore]->from_main, message));
	hb_bell_ring(dp->shared->lcore_bell[lcore].ring);
}

static uint64_t
state_time_ns(const struct hb_state *state)
{
	uint64_t newest_ns = 0;

	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		if (state->partition[p].head->time_ns > newest_ns)
			newest_ns = state->partition[p].head->time_ns;
	return newest_ns;
}

static void
check_clock(struct hb_dataplane *dp, uint64_t state_ns, uint64_t wall_ns)
{
	static const char *const why[] = {[HB_CLOCK_GOOD] = "",
		[HB_CLOCK_JUMPED] = "jumped",
		[HB_CLOCK_BEHIND_STATE] = "the clock is behind the newest record",
		[HB_CLOCK_GAP] = "the newest record is older than clock.gap_s_max"};
	enum hb_clock_verdict verdict =
		hb_ledger_clock_check_start(&dp->shared->clock, state_ns, wall_ns);

	if (verdict == HB_CLOCK_GOOD)
		return;
	atomic_store(&dp->shared->node->clock_stopped, 1);
	hb_log(HB_LOG_ERROR, "clock_stopped",
		"reason=\"%s\" state_s=%lu wall_s=%lu advice=\"money operations are stopped; set "
		"the "
		"clock right, then: hbctl clock confirm\"",
		why[verdict], state_ns / 1000000000, wall_ns / 1000000000);
}

int
hb_dataplane_start_lcores(struct hb_dataplane *dp, char error[HB_DATAPLANE_ERROR_MAX])
{
	uint64_t state_ns = state_time_ns(dp->state);
	uint64_t wall_ns = hb_wall_ns();
	uint64_t boot_ns = hb_boot_ns();
	int result;

	check_clock(dp, state_ns, wall_ns);
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		struct hb_lcore *lcore = dp->lcores[i];

		hb_ledger_clock_init(&lcore->clock, &dp->shared->clock, state_ns, wall_ns, boot_ns);
		result = hb_lcore_init(lcore, dp->shared, i, dp->state, dp->journal_segment.fd);
		if (result != 0) {
			snprintf(error, HB_DATAPLANE_ERROR_MAX,
				"cannot get memory for lcore %u: %s; lower dataplane.parked_max", i,
				strerror(-result));
			return result;
		}
	}
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		result = hb_env_launch(i, hb_lcore_run, dp->lcores[i]);
		if (result != 0) {
			snprintf(error, HB_DATAPLANE_ERROR_MAX, "cannot start lcore %u: %s", i,
				strerror(-result));
			return result;
		}
		dp->running = true;
	}
	result = hb_attach_listen(dp, error);
	if (result == 0 && dp->port != NULL)
		result = hb_env_launch(dp->shared->lcore_count, hb_port_run, dp->port);
	if (result == 0)
		hb_notify_ready();
	return result;
}

/* What the options and the key file say now. */
static void
fill_live(const struct hb_dataplane *dp, struct hb_live *live)
{
	const struct hb_config *config = dp->setup.config;

	live->engine.token_keys = dp->setup.token_keys;
	live->engine.packet_total_fen_max = config->packet_total_fen_max;
	live->engine.packet_count_max = (uint32_t)config->packet_count_max;
	live->engine.packet_lifetime_s_max = (uint32_t)config->packet_lifetime_s_max;
	live->engine.order_version = (uint32_t)config->order_version;
	live->engine.tokens_required = true;
	live->mark_interval_ns = (uint64_t)config->dataplane_mark_interval_s * 1000000000;
	live->retention_ms = (uint64_t)config->capacity_retention_s * 1000;
}

static void
fill_shared(struct hb_dataplane *dp)
{
	const struct hb_config *config = dp->setup.config;
	struct hb_shared *shared = dp->shared;

	fill_live(dp, &shared->live[0]);
	hb_ledger_clock_shared_init(&shared->clock, (uint64_t)config->clock_step_ms_max * 1000000,
		(uint64_t)config->clock_gap_s_max * 1000000000);
	shared->lcore_count = (uint32_t)config->dataplane_lcores;
	shared->clients_max = (uint32_t)config->dataplane_clients_max;
	shared->parked_max = (uint32_t)config->dataplane_parked_max;
	shared->busy_idle = strcmp(config->dataplane_idle, "busy") == 0;
	shared->realtime = config->node_realtime != 0 && !shared->busy_idle;
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
		shared->lcore_of_partition[p] = (uint8_t)(p % shared->lcore_count);
}

static int
make_node_segment(struct hb_dataplane *dp)
{
	struct hb_node *node;
	int result = hb_segment_create(&dp->node_segment, "hongbao-node", HB_SEGMENT_NODE,
		HB_SEGMENT_GUARD_BYTES + sizeof(*node));

	if (result != 0)
		return result;
	node = (struct hb_node *)(void *)(dp->node_segment.base + HB_SEGMENT_GUARD_BYTES);
	hb_node_init(node, dp->shared->lcore_count);
	memcpy(node->lcore_of_partition, dp->shared->lcore_of_partition,
		sizeof(node->lcore_of_partition));
	dp->shared->node = node;
	hb_segment_ready(&dp->node_segment);
	return hb_segment_seal_read_only(&dp->node_segment);
}

static int
make_bells(struct hb_dataplane *dp)
{
	struct hb_shared *shared = dp->shared;

	shared->main_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shared->persist_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (shared->main_wake < 0 || shared->persist_wake < 0)
		return -errno;
	for (uint32_t i = 0; i < shared->lcore_count; i++) {
		int result = hb_bell_make(&shared->lcore_bell[i]);

		if (result != 0)
			return result;
		for (uint32_t j = 0; j < shared->lcore_count; j++)
			if (i != j && hb_spsc_init(&shared->credits[i][j], HB_CREDIT_QUEUE_ENTRIES,
					      sizeof(struct hb_credit_message)) != 0)
				return -ENOMEM;
	}
	return 0;
}

static void *
aligned_zeroed(size_t bytes)
{
	void *at = aligned_alloc(128, hb_round_up(bytes, 128));

	if (at != NULL)
		memset(at, 0, bytes);
	return at;
}

static int
open_all(struct hb_dataplane *dp)
{
	int result;

	dp->link_socket = dp->listener = -1;
	dp->shared = aligned_zeroed(sizeof(*dp->shared));
	dp->state = calloc(1, sizeof(*dp->state));
	if (dp->shared == NULL || dp->state == NULL)
		return -ENOMEM;
	fill_shared(dp);
	dp->slots = calloc(dp->shared->clients_max, sizeof(*dp->slots));
	if (dp->slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++) {
		dp->lcores[i] = aligned_zeroed(sizeof(*dp->lcores[i]));
		if (dp->lcores[i] == NULL)
			return -ENOMEM;
	}
	result = make_node_segment(dp);
	if (result == 0)
		result = make_bells(dp);
	if (result != 0)
		return result;
	dp->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (dp->epoll < 0)
		return -errno;
	result = hb_dataplane_watch(dp, dp->setup.stop_fd, HB_EVENT_STOP, 0);
	if (result == 0)
		result = hb_dataplane_watch(dp, dp->shared->main_wake, HB_EVENT_MAIN_WAKE, 0);
	return result;
}

static void
close_all(struct hb_dataplane *dp)
{
	struct hb_shared *shared = dp->shared;

	if (shared == NULL)
		return;
	hb_attach_close(dp);
	for (uint32_t i = 0; i < shared->lcore_count; i++) {
		if (dp->lcores[i] != NULL) {
			hb_lcore_free(dp->lcores[i]);
			explicit_bzero(&dp->lcores[i]->live, sizeof(dp->lcores[i]->live));
		}
		free(dp->lcores[i]);
		for (uint32_t j = 0; j < shared->lcore_count; j++)
			hb_spsc_free(&shared->credits[i][j]);
		if (shared->lcore_bell[i].wait > 0)
			hb_bell_close(&shared->lcore_bell[i]);
	}
	if (dp->link_socket >= 0)
		close(dp->link_socket);
	if (shared->main_wake > 0)
		close(shared->main_wake);
	if (shared->persist_wake > 0)
		close(shared->persist_wake);
	if (dp->epoll > 0)
		close(dp->epoll);
	if (dp->state != NULL)
		hb_state_close(dp->state);
	hb_segment_close(&dp->journal_segment);
	hb_segment_close(&dp->node_segment);
	explicit_bzero(shared->live, sizeof(shared->live));
	free(dp->state);
	free(dp->slots);
	free(shared);
}

/* Have all lcores taken the generation in force? */
static bool
live_is_taken(const struct hb_dataplane *dp)
{
	uint32_t generation = atomic_load(&dp->shared->live_generation);

	for (uint32_t i = 0; dp->running && i < dp->shared->lcore_count; i++)
		if (atomic_load_explicit(&dp->lcores[i]->live_seen, memory_order_acquire) !=
			generation)
			return false;
	return true;
}

/* Wake the lcores until all have taken it. @return false when one does not turn */
static bool
wait_live_taken(const struct hb_dataplane *dp)
{
	uint64_t until_ns = hb_mono_ns() + LIVE_TAKEN_NS;

	while (!live_is_taken(dp)) {
		if (hb_mono_ns() > until_ns)
			return false;
		for (uint32_t i = 0; i < dp->shared->lcore_count; i++)
			hb_bell_ring(dp->shared->lcore_bell[i].ring);
		usleep(LIVE_LOOK_US);
	}
	return true;
}

/* Put what is live in force at all lcores. @return false when one does not turn */
static bool
give_live(struct hb_dataplane *dp)
{
	struct hb_shared *shared = dp->shared;
	uint32_t next = atomic_load(&shared->live_generation) + 1;

	if (!wait_live_taken(dp)) {
		hb_log(HB_LOG_ERROR, "live_not_taken", "effect=\"nothing is changed\"");
		return false;
	}
	fill_live(dp, dp->running ? &shared->live[next & 1] : &shared->live[0]);
	if (!dp->running)
		return true;
	atomic_store_explicit(&shared->live_generation, next, memory_order_release);
	return wait_live_taken(dp);
}

/* Options that are live and all keys; what cannot be read changes nothing. */
static void
reload(struct hb_dataplane *dp)
{
	struct hb_node *node = dp->shared->node;
	struct hb_token_keys keys;
	char path[HB_PATH_MAX];
	char error[256];
	bool good = true;

	if (dp->port != NULL && hb_port_reload(dp->port, error) != 0) {
		good = false;
		hb_log(HB_LOG_ERROR, "front_keys_not_read",
			"error=\"%s\" effect=\"the old keys go on\"", error);
	}
	hb_path(path, dp->setup.config->node_directory, HB_PATH_KEY_TOKEN);
	if (hb_key_file_read(path, &keys, error) == 0) {
		dp->setup.token_keys = keys;
	} else {
		good = false;
		hb_log(HB_LOG_ERROR, "token_keys_not_read",
			"error=\"%s\" effect=\"the old keys go on\"", error);
	}
	explicit_bzero(&keys, sizeof(keys));
	if (hb_config_reload(dp->setup.config, HB_CONFIG_OF_DATAPLANE, error) != 0) {
		good = false;
		hb_log(HB_LOG_ERROR, "options_not_read",
			"error=\"%s\" effect=\"the old options go on\"", error);
	}
	good &= give_live(dp);
	hb_log(HB_LOG_INFO, "reloaded", "complete=%d token_keys=%u", good,
		dp->setup.token_keys.count);
	/* whoever asked for it waits for one of these */
	atomic_fetch_add(good ? &node->reloads : &node->reload_failures, 1);
}

/* @return false when it is time to end */
static bool
take_signal(struct hb_dataplane *dp)
{
	struct signalfd_siginfo information;

	if (read(dp->setup.stop_fd, &information, sizeof(information)) !=
			(ssize_t)sizeof(information) ||
		information.ssi_signo != SIGHUP)
		return false;
	reload(dp);
	return true;
}

/* @return false when it is time to end */
static bool
handle(struct hb_dataplane *dp, uint64_t data, char error[HB_DATAPLANE_ERROR_MAX])
{
	eventfd_t rung;

	switch ((enum hb_event_kind)(data >> 32)) {
	case HB_EVENT_STOP:
		return take_signal(dp);
	case HB_EVENT_MAIN_WAKE:
		eventfd_read(dp->shared->main_wake, &rung);
		hb_attach_messages(dp);
		return true;
	case HB_EVENT_LINK:
		if (dp->link_socket >= 0)
			hb_link_event(dp, error);
		return !dp->failed;
	case HB_EVENT_LISTENER:
		hb_attach_accept(dp);
		return true;
	case HB_EVENT_CLIENT:
		hb_attach_event(dp, (uint32_t)data);
		return true;
	}
	return true;
}

/* The main thread turns; every lcore that runs must have had a duty cycle lately. */
static bool
making_progress(const struct hb_dataplane *dp, uint64_t now_ns)
{
	for (uint32_t i = 0; dp->running && i < dp->shared->lcore_count; i++) {
		uint64_t beat_ns = atomic_load_explicit(
			&dp->shared->node->lcore[i].heartbeat_ns, memory_order_relaxed);

		/* 0: not yet; later than now: it turned since we looked at the clock */
		if (beat_ns != 0 && beat_ns < now_ns && now_ns - beat_ns > LCORE_STUCK_NS)
			return false;
	}
	return true;
}

static bool
pages_are_left(const struct hb_dataplane *dp)
{
	return dp->setup.config->node_prefault != 0 && dp->running &&
	       dp->touched_bytes < dp->state->segment.bytes;
}

/*
 * The first access to a page costs whoever makes it microseconds, and with huge pages or a
 * hypervisor milliseconds, in the middle of a grab. With node.prefault this thread, which is
 * ordinary and has little to do, goes through the state before the lcores get there, a piece at a
 * time. It only reads, which is enough for shared memory to have the page.
 */
static void
touch_pages(struct hb_dataplane *dp)
{
	const volatile uint8_t *base = dp->state->segment.base;
	uint64_t bytes = dp->state->segment.bytes, end = dp->touched_bytes + TOUCH_BYTES;

	if (dp->touched_bytes == 0)
		dp->touch_begun_ns = hb_mono_ns();
	for (; dp->touched_bytes < end && dp->touched_bytes < bytes;
		dp->touched_bytes += PAGE_BYTES)
		(void)base[dp->touched_bytes];
	if (dp->touched_bytes >= bytes)
		hb_log(HB_LOG_INFO, "memory_touched", "mib=%lu ms=%lu", bytes >> 20,
			(hb_mono_ns() - dp->touch_begun_ns) / 1000000);
}

static int
wait_ms(const struct hb_dataplane *dp)
{
	if (pages_are_left(dp))
		return TOUCH_PAUSE_MS;
	return dp->link_state == HB_LINK_DOWN ? (int)(HB_LINK_RETRY_NS / 1000000) : TICK_MS;
}

static void
loop(struct hb_dataplane *dp, char error[HB_DATAPLANE_ERROR_MAX])
{
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		uint64_t now_ns = hb_mono_ns();
		int n;

		if (making_progress(dp, now_ns))
			hb_notify_alive(now_ns);
		hb_link_try(dp, now_ns);
		hb_attach_expire(dp, now_ns);
		n = epoll_wait(dp->epoll, events, EVENTS_MAX, wait_ms(dp));
		for (int i = 0; i < n; i++)
			if (!handle(dp, events[i].data.u64, error))
				return;
		if (pages_are_left(dp))
			touch_pages(dp);
	}
}

static void
stop_lcores(struct hb_dataplane *dp)
{
	struct hb_message stop = {.kind = HB_LCORE_STOP};

	if (!dp->running)
		return;
	if (dp->port != NULL)
		hb_port_stop(dp->port);
	for (uint32_t i = 0; i < dp->shared->lcore_count; i++)
		hb_dataplane_tell(dp, i, &stop);
	hb_env_wait();
}

int
hb_dataplane_run(const struct hb_dataplane_setup *setup, char error[HB_DATAPLANE_ERROR_MAX])
{
	struct hb_dataplane dp = {.setup = *setup};
	int result;

	error[0] = '\0';
	result = open_all(&dp);
	if (result != 0) {
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "cannot get memory or descriptors: %s",
			strerror(-result));
		goto out;
	}
	if (setup->port_count > 0)
		result = hb_port_create(
			&dp.port, setup->config, dp.shared->node, setup->port_count, error);
	if (result != 0)
		goto out;
	loop(&dp, error);
	hb_notify_stopping();
	stop_lcores(&dp);
	if (dp.failed)
		result = -EPROTO;
out:
	hb_port_destroy(dp.port);
	close_all(&dp);
	explicit_bzero(&dp.setup, sizeof(dp.setup));
	return result;
}
