/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * All appliers of a node: starting and ending their threads, letting them stand and go on, the map
 * of shards they go by, and what is told of them. One at work is applier_thread.c.
 *
 * Everything here waits under the lock of one server, or of all, and talks to no server. Claims
 * (applier_internal.h) keep two who want the appliers to stand apart. If the process dies, the map
 * is what the journal's directory says and the positions are what the servers say.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "persist/applier_server.h"

#define WORK_END_MS_MAX	 10000
#define WORK_END_LOOK_MS 10

static int
server_start(struct hb_applier *a, uint32_t index, const struct hb_config *config)
{
	struct hbi_server *s = &a->servers[index];
	pthread_condattr_t monotonic;
	int rc = hb_batch_create(&s->batch);

	if (rc != 0)
		return rc;
	s->all = a;
	s->index = index;
	hb_server_config(config, &a->map.server[index].primary, &s->own_config);
	s->config = &s->own_config;
	s->source = a->source;
	s->shards = hb_server_map_shards(&a->map, index);
	s->level_ns = hb_wall_ns();
	s->status.state = HB_APPLIER_WAITING;
	s->status.shards = s->shards;
	snprintf(s->status.name, sizeof(s->status.name), "%s", a->map.server[index].name);
	hb_db_server_name(s->config, s->status.server, sizeof(s->status.server));
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	rc = -pthread_create(&s->thread, NULL, hbi_applier_run, s);
	s->started = rc == 0;
	return rc;
}

/* The map in force. The first start keeps what the options say: from then on moves decide. */
static int
open_map(struct hb_applier *a, const struct hb_config *config, char error[256])
{
	char now[HB_SERVER_MAP_TEXT_BYTES], option[HB_SERVER_MAP_TEXT_BYTES];
	struct hb_server_map wanted;
	int rc = hb_server_map_load(&a->map, config, a->source->journal_directory, error);

	if (rc != 0)
		return rc;
	if (a->map.version == 0)
		return hb_server_map_store(&a->map, a->source->journal_directory, error);
	if (config->mysql_shards[0] == 0 || hb_server_map_from_config(&wanted, config, error) != 0)
		return 0;
	hb_server_map_text(&a->map, now);
	hb_server_map_text(&wanted, option);
	if (strcmp(now, option) != 0)
		hb_log(HB_LOG_WARN, "shard_map_differs",
			"in_force=\"%s\" version=%lu mysql.shards=\"%s\" advice=\"the shards are "
			"where the first says; move them with hbctl mysql move-shard, or make the "
			"option equal\"",
			now, (unsigned long)a->map.version, option);
	return 0;
}

int
hb_applier_start(struct hb_applier **applier, const struct hb_config *config,
	const struct hb_applier_source *source, char error[256])
{
	struct hb_applier *a = calloc(1, sizeof(*a));
	int rc;

	*applier = NULL;
	if (a == NULL) {
		snprintf(error, 256, "applier: out of memory");
		return -ENOMEM;
	}
	a->source = source;
	a->config = config;
	pthread_mutex_init(&a->lock, NULL);
	rc = open_map(a, config, error);
	for (uint32_t i = 0; i < a->map.server_count && rc == 0; i++) {
		a->server_count = i + 1;
		rc = server_start(a, i, config);
		if (rc != 0)
			snprintf(error, 256, "applier: %s", strerror(-rc));
	}
	if (rc != 0) {
		hb_applier_stop(a);
		return rc;
	}
	*applier = a;
	return 0;
}

/* Work on a server ends at its next step. @return false when it does not in time */
static bool
end_work(struct hb_applier *a)
{
	uint64_t until_ns = hb_mono_ns() + UINT64_C(1000000) * WORK_END_MS_MAX;
	bool working = true;

	while (working && hb_mono_ns() < until_ns) {
		pthread_mutex_lock(&a->lock);
		a->ending = true;
		working = a->claim == HBI_CLAIM_WORK;
		pthread_mutex_unlock(&a->lock);
		if (working)
			nanosleep(&(struct timespec){.tv_nsec = WORK_END_LOOK_MS * 1000000}, NULL);
	}
	return !working;
}

void
hb_applier_stop(struct hb_applier *applier)
{
	if (applier == NULL)
		return;
	bool alone = end_work(applier);

	/* all at once: one that waits for its server's answer must not hold up the others' end */
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct hbi_server *s = &applier->servers[i];

		if (!s->started)
			continue;
		pthread_mutex_lock(&s->lock);
		s->ending = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	hb_commit_wake(applier->source->commit);
	for (uint32_t i = 0; i < applier->server_count; i++) {
		if (applier->servers[i].started)
			pthread_join(applier->servers[i].thread, NULL);
		hb_batch_destroy(applier->servers[i].batch);
	}
	if (!alone)
		return; /* somebody still looks at it; the process is about to end */
	pthread_mutex_destroy(&applier->lock);
	free(applier);
}

static int
stop_failed(const struct hbi_server *s, uint64_t seq, int rc, char error[256])
{
	const char *reason =
		rc == -ETIMEDOUT && s->status.error[0] == 0
			? "did not reach the sequence in time; try again, or look at hbctl status"
			: s->status.error;

	if (rc == -ERANGE)
		reason = "is beyond that sequence already";
	snprintf(error, 256, "applier of %s (%s) at %lu, asked to stop at %lu: %.90s",
		s->status.name, s->status.server, (unsigned long)s->status.seq, (unsigned long)seq,
		reason);
	return rc;
}

/* Wait for one applier to stand at seq. */
static int
await_stop(struct hbi_server *s, uint64_t seq, const struct timespec *until, char error[256])
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (s->status.state == HB_APPLIER_STOPPED && s->status.seq == seq)
			break;
		if (s->status.state == HB_APPLIER_POISONED)
			rc = -EIO;
		else if (s->status.seq > seq)
			rc = -ERANGE;
		else if (pthread_cond_timedwait(&s->changed, &s->lock, until) == ETIMEDOUT)
			rc = -ETIMEDOUT;
		if (rc != 0)
			break;
	}
	if (rc != 0)
		stop_failed(s, seq, rc, error);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static void
want_stop(struct hbi_server *s, uint64_t seq)
{
	pthread_mutex_lock(&s->lock);
	s->stop_wanted = true;
	s->stop_seq = seq;
	if (s->status.state == HB_APPLIER_STOPPED)
		s->status.state = HB_APPLIER_RUNNING;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	hb_commit_wake(s->source->commit);
}

void
hbi_applier_go_on(struct hb_applier *applier, uint32_t mask)
{
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct hbi_server *s = &applier->servers[i];

		if ((mask >> i & 1) == 0)
			continue;
		pthread_mutex_lock(&s->lock);
		s->stop_wanted = false;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
}

int
hbi_applier_stop(struct hb_applier *applier, uint32_t mask, uint64_t seq, uint32_t timeout_ms,
	char error[256])
{
	struct timespec until = hbi_time_in(timeout_ms);
	int rc = 0;

	for (uint32_t i = 0; i < applier->server_count; i++)
		if ((mask >> i & 1) != 0)
			want_stop(&applier->servers[i], seq);
	for (uint32_t i = 0; i < applier->server_count && rc == 0; i++)
		if ((mask >> i & 1) != 0)
			rc = await_stop(&applier->servers[i], seq, &until, error);
	if (rc != 0)
		hbi_applier_go_on(applier, mask);
	return rc;
}

/* The servers that have shards, a bit each. */
static uint32_t
busy_servers(struct hb_applier *applier)
{
	uint32_t mask = 0;

	pthread_mutex_lock(&applier->lock);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		mask |= 1u << applier->map.owner[i];
	pthread_mutex_unlock(&applier->lock);
	return mask;
}

/* Take the claim `from` -> `to`. @return whether it was `from` */
static bool
change_claim(struct hb_applier *a, enum hbi_applier_claim from, enum hbi_applier_claim to)
{
	pthread_mutex_lock(&a->lock);
	bool was = a->claim == from;

	if (was)
		a->claim = to;
	pthread_mutex_unlock(&a->lock);
	return was;
}

static int
claimed_by_work(struct hb_applier *a, char error[256])
{
	struct hb_applier_task task;
	struct hb_server_map map;

	hb_applier_map(a, &map, &task);
	snprintf(error, 256, "'%s' is under way (%s, %lu rows): wait for its end", task.what,
		task.phase, (unsigned long)task.rows);
	return -EBUSY;
}

int
hb_applier_stop_at(struct hb_applier *applier, uint64_t seq, uint32_t timeout_ms, char error[256])
{
	bool again = change_claim(applier, HBI_CLAIM_STOP, HBI_CLAIM_STOP);
	int rc;

	if (!again && !change_claim(applier, HBI_CLAIM_NONE, HBI_CLAIM_STOP))
		return claimed_by_work(applier, error);
	rc = hbi_applier_stop(applier, busy_servers(applier), seq, timeout_ms, error);
	if (rc != 0)
		change_claim(applier, HBI_CLAIM_STOP, HBI_CLAIM_NONE);
	return rc;
}

void
hb_applier_resume(struct hb_applier *applier)
{
	if (change_claim(applier, HBI_CLAIM_STOP, HBI_CLAIM_NONE))
		hbi_applier_go_on(applier, UINT32_MAX);
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct hbi_server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		s->retry_poisoned = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
}

int
hbi_applier_claim(struct hb_applier *applier, char error[256])
{
	pthread_mutex_lock(&applier->lock);
	enum hbi_applier_claim was = applier->claim;

	if (was == HBI_CLAIM_NONE)
		applier->claim = HBI_CLAIM_WORK;
	pthread_mutex_unlock(&applier->lock);
	if (was == HBI_CLAIM_WORK)
		return claimed_by_work(applier, error);
	if (was == HBI_CLAIM_STOP) {
		snprintf(error, 256,
			"the appliers are stopped, by a check or a backup: wait for its "
			"end, or 'hbctl applier resume' when it was killed");
		return -EBUSY;
	}
	return 0;
}

void
hbi_applier_unclaim(struct hb_applier *applier)
{
	for (uint32_t i = 0; i < applier->server_count; i++)
		hbi_applier_unpark(applier, i);
	hbi_applier_go_on(applier, UINT32_MAX);
	change_claim(applier, HBI_CLAIM_WORK, HBI_CLAIM_NONE);
}

void
hbi_applier_abandon(struct hb_applier *applier)
{
	change_claim(applier, HBI_CLAIM_WORK, HBI_CLAIM_NONE);
}

bool
hbi_applier_is_ending(struct hb_applier *applier)
{
	pthread_mutex_lock(&applier->lock);
	bool ending = applier->ending;

	pthread_mutex_unlock(&applier->lock);
	return ending;
}

static void
want_park(struct hbi_server *s, bool park)
{
	pthread_mutex_lock(&s->lock);
	s->park_wanted = park;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	hb_commit_wake(s->source->commit);
}

bool
hbi_applier_park(struct hb_applier *applier, uint32_t server, uint32_t timeout_ms)
{
	struct hbi_server *s = &applier->servers[server];
	struct timespec until = hbi_time_in(timeout_ms);
	int waited = 0;

	want_park(s, true);
	pthread_mutex_lock(&s->lock);
	while (s->status.state != HB_APPLIER_PARKED && waited == 0)
		waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	bool parked = s->status.state == HB_APPLIER_PARKED;

	if (parked)
		s->status.seq = 0; /* nothing of the journal may be dropped now */
	pthread_mutex_unlock(&s->lock);
	return parked;
}

void
hbi_applier_unpark(struct hb_applier *applier, uint32_t server)
{
	want_park(&applier->servers[server], false);
}

void
hbi_applier_map(struct hb_applier *applier, struct hb_server_map *map)
{
	pthread_mutex_lock(&applier->lock);
	*map = applier->map;
	pthread_mutex_unlock(&applier->lock);
}

void
hb_applier_map(struct hb_applier *applier, struct hb_server_map *map, struct hb_applier_task *task)
{
	pthread_mutex_lock(&applier->lock);
	*map = applier->map;
	*task = applier->task;
	pthread_mutex_unlock(&applier->lock);
}

void
hbi_applier_task(struct hb_applier *applier, const struct hb_applier_task *task)
{
	pthread_mutex_lock(&applier->lock);
	applier->task = *task;
	pthread_mutex_unlock(&applier->lock);
}

void
hbi_applier_map_set(struct hb_applier *applier, const struct hb_server_map *map)
{
	pthread_mutex_lock(&applier->lock);
	applier->map = *map;
	pthread_mutex_unlock(&applier->lock);
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct hbi_server *s = &applier->servers[i];
		uint32_t shards = hb_server_map_shards(map, i);

		pthread_mutex_lock(&s->lock);
		s->renew = s->renew || shards != s->shards;
		s->shards = shards;
		s->status.shards = shards;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
}

bool
hbi_applier_await_map(
	struct hb_applier *applier, uint32_t server, uint64_t version, uint32_t timeout_ms)
{
	struct hbi_server *s = &applier->servers[server];
	struct timespec until = hbi_time_in(timeout_ms);
	int waited = 0;

	pthread_mutex_lock(&s->lock);
	while (s->map_version < version && waited == 0)
		waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	bool taken = s->map_version >= version;

	pthread_mutex_unlock(&s->lock);
	return taken;
}

const struct hb_config *
hbi_applier_node_config(const struct hb_applier *applier)
{
	return applier->config;
}

const struct hb_config *
hbi_applier_config(const struct hb_applier *applier, uint32_t server)
{
	return applier->servers[server].config;
}

const struct hb_applier_source *
hbi_applier_source(const struct hb_applier *applier)
{
	return applier->source;
}

/* How long ago the server was level with the journal. */
static uint64_t
lag_ms(const struct hbi_server *s, uint64_t committed, uint64_t now_ns)
{
	if (s->status.seq >= committed || s->level_ns >= now_ns)
		return 0;
	return (now_ns - s->level_ns) / 1000000;
}

uint32_t
hb_applier_status(struct hb_applier *applier, struct hb_applier_status *status, uint32_t max)
{
	uint64_t committed = hb_committed_seq(applier->source->commit);
	uint64_t now_ns = hb_wall_ns();

	for (uint32_t i = 0; i < applier->server_count && i < max; i++) {
		struct hbi_server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		status[i] = s->status;
		if (s->shards != 0)
			status[i].lag_ms = lag_ms(s, committed, now_ns);
		pthread_mutex_unlock(&s->lock);
	}
	return applier->server_count;
}

void
hb_applier_applied(struct hb_applier *applier, uint64_t applied[HB_PARTITION_COUNT])
{
	bool first = true;

	/* a record of one ring has rows on several servers: of a grab, at the grabber's too */
	memset(applied, 0, HB_PARTITION_COUNT * sizeof(applied[0]));
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct hbi_server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		for (uint32_t p = 0; p < HB_PARTITION_COUNT && s->shards != 0; p++)
			if (first || s->applied[p] < applied[p])
				applied[p] = s->applied[p];
		first = first && s->shards == 0;
		pthread_mutex_unlock(&s->lock);
	}
}

const char *
hb_applier_state_name(enum hb_applier_state state)
{
	switch (state) {
	case HB_APPLIER_RUNNING:
		return "running";
	case HB_APPLIER_STOPPED:
		return "stopped";
	case HB_APPLIER_WAITING:
		return "waiting";
	case HB_APPLIER_POISONED:
		return "poisoned";
	case HB_APPLIER_IDLE:
		return "idle";
	case HB_APPLIER_PARKED:
		return "parked";
	}
	return "unknown";
}
