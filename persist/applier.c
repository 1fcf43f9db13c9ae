/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The applier of one server: a thread that follows the journal and writes batches to MySQL.
 *
 * Where it stands is decided by the position row alone. After every doubt (a lost connection, a
 * position that somebody else moved, an error) it forgets what it believed, reads the position
 * and goes on from there, back or forth. If the process dies anywhere here, the same happens.
 *
 * The thread owns connection, reader and batch; what others see or ask is under `lock`.
 */
#include "persist/applier_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "persist/backup.h"
#include "persist/batch.h"
#include "persist/journal_reader.h"
#include "persist/ledger_dump.h"
#include "persist/schema.h"

#define NICE		     10
#define CONNECT_TIMEOUT_S    5
#define POSITION_TIMEOUT_S   2
#define BACKOFF_MS_MIN	     50
#define BACKOFF_MS_MAX	     5000
#define RETRIES_BEFORE_ALARM 5
#define POLL_MS		     10 /* while a batch fills, and for the stop of a process */
#define IDLE_WAIT_MS	     500
#define WORK_END_MS_MAX	     10000
#define BEHIND_FACTOR	     4 /* how much larger a batch may be when it has fallen behind */

struct server {
	struct hb_applier *all;
	uint32_t index;
	struct hb_config own_config; /* leads to this server */
	const struct hb_config *config;
	const struct hb_applier_source *source;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool ending;
	bool stop_wanted;
	bool retry_poisoned;
	bool renew; /* the map has changed: connect anew */
	bool park_wanted;
	uint32_t shards;
	uint64_t map_version; /* that it has taken over */
	uint64_t level_ns;    /* wall: when it had everything; at first when the thread began */
	uint64_t stop_seq;
	struct hb_applier_status status;
	uint64_t applied[HB_PARTITION_COUNT]; /* core sequences in MySQL; 0: not known */

	/* the thread's own */
	uint64_t read[HB_PARTITION_COUNT]; /* core sequences in the batch or before */
	uint64_t newest_ns;		   /* time of the newest record in the batch or before */
	struct hb_db *db;
	struct hb_journal_reader *reader;
	struct hb_batch *batch;
	struct hb_row_position position;
	uint32_t taken_shards; /* of the map it has taken over */
	uint32_t failures;     /* in a row */
	char error[HB_JOURNAL_ERROR_BYTES];
};

struct hb_applier {
	uint32_t server_count;
	struct server servers[HB_APPLIER_SERVERS_MAX];
	const struct hb_config *config;
	const struct hb_applier_source *source;

	pthread_mutex_t lock;
	/* under lock */
	bool ending;
	struct hb_server_map map;
	enum hbi_applier_claim claim;
	struct hb_applier_task task;
};

_Static_assert(HB_JOURNAL_ERROR_BYTES >= HB_DB_ERROR_BYTES, "error buffers");

/* ---- what others see ---- */

static void
show(struct server *s, enum hb_applier_state state, const char *error)
{
	pthread_mutex_lock(&s->lock);
	bool differs = s->status.state != state || strcmp(error, s->status.error) != 0;

	s->status.state = state;
	snprintf(s->status.error, sizeof(s->status.error), "%.*s", HB_APPLIER_ERROR_BYTES - 1,
		error);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (differs && error[0] != 0)
		hb_log(state == HB_APPLIER_POISONED ? HB_LOG_ERROR : HB_LOG_WARN, "applier_halted",
			"name=%s server=%s state=%s seq=%lu reason=\"%s\"", s->status.name,
			s->status.server, hb_applier_state_name(state),
			(unsigned long)s->position.seq, error);
	else if (differs)
		hb_log(HB_LOG_INFO, "applier_state", "name=%s server=%s state=%s seq=%lu",
			s->status.name, s->status.server, hb_applier_state_name(state),
			(unsigned long)s->position.seq);
}

static void
show_progress(struct server *s, uint32_t records)
{
	pthread_mutex_lock(&s->lock);
	s->status.seq = s->position.seq;
	s->status.records += records;
	s->status.transactions += records > 0;
	memcpy(s->applied, s->read, sizeof(s->applied));
	pthread_mutex_unlock(&s->lock);
}

/* Everything committed at this time is in MySQL. */
static void
note_level(struct server *s, uint64_t wall_ns)
{
	pthread_mutex_lock(&s->lock);
	s->level_ns = wall_ns;
	pthread_mutex_unlock(&s->lock);
}

static bool
is_ending(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	bool ending = s->ending;

	pthread_mutex_unlock(&s->lock);
	return ending;
}

/* Must it leave what it does: for the end, a new map, or to stand without a connection? */
static bool
must_leave(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	bool leave = s->ending || s->renew || s->park_wanted || s->shards == 0;

	pthread_mutex_unlock(&s->lock);
	return leave;
}

/* How far this applier may go now; *stopping when somebody waits for it to stand there. */
static uint64_t
limit_of(struct server *s, bool *stopping)
{
	uint64_t committed = hb_committed_seq(s->source->commit);

	pthread_mutex_lock(&s->lock);
	*stopping = s->stop_wanted;
	uint64_t limit = s->stop_wanted && s->stop_seq < committed ? s->stop_seq : committed;

	pthread_mutex_unlock(&s->lock);
	return limit;
}

/* For waiting on `changed`, whose clock is the monotonic one. */
static struct timespec
time_in(uint32_t ms)
{
	uint64_t ns = hb_mono_ns() + UINT64_C(1000000) * ms;

	return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

/* Sleep, but wake for the end, a stop or a resume. */
static void
nap(struct server *s, uint32_t ms)
{
	struct timespec until = time_in(ms);

	pthread_mutex_lock(&s->lock);
	if (!s->ending)
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
	pthread_mutex_unlock(&s->lock);
}

/* ---- connection and position ---- */

static void
disconnect(struct server *s)
{
	hb_batch_connect(s->batch, NULL);
	hb_db_close(s->db);
	s->db = NULL;
}

/* Finish on this server what a move of a shard left to do, and know which shards it has. */
static int
take_map(struct server *s)
{
	struct hb_server_map map;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	s->renew = false;
	pthread_mutex_unlock(&s->lock);
	hbi_applier_map(s->all, &map);
	if (map.moved_shard != HB_NO_SHARD && map.moved_to == s->index)
		rc = hb_shard_gained(s->db, map.moved_shard, s->error);
	if (rc == 0 && map.moved_shard != HB_NO_SHARD && map.moved_from == s->index)
		rc = hb_shard_lost(s->db, map.moved_shard, s->error);
	if (rc != 0)
		return rc;
	s->taken_shards = hb_server_map_shards(&map, s->index);
	hb_batch_shards(s->batch, s->taken_shards);
	pthread_mutex_lock(&s->lock);
	s->map_version = map.version;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int
connect_server(struct server *s)
{
	int rc = hb_db_open(&s->db, s->config, s->config->mysql_user, CONNECT_TIMEOUT_S, s->error);

	if (rc != 0)
		return rc;
	rc = hb_db_check_durability(s->db, s->error);
	if (rc == 0)
		rc = hb_schema_upgrade(s->db, s->config->mysql_database, s->error);
	if (rc == 0)
		rc = take_map(s);
	if (rc != 0) {
		disconnect(s);
		return rc == -EEXIST || rc == -EBADMSG ? -EIO : rc;
	}
	hb_batch_connect(s->batch, s->db);
	return 0;
}

/*
 * A restored journal whose oldest segments are gone brings the rows they made (persist/backup.h).
 * @return 1 imported, 0 there is no dump, or the error
 */
static int
import_dump(struct server *s)
{
	struct hb_ledger_dump dump;
	char path[HB_JOURNAL_ERROR_BYTES];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/" HB_JOURNAL_LEDGER_FILE, s->source->journal_directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -EIO;
	rc = hb_ledger_import(s->db, fd, s->source->stream_id, s->taken_shards, &dump, s->error);
	close(fd);
	if (rc != 0)
		return rc;
	hb_log(HB_LOG_INFO, "ledger_imported", "server=%s seq=%lu rows=%lu", s->status.server,
		(unsigned long)dump.position.seq, (unsigned long)dump.rows);
	s->position = dump.position;
	return 1;
}

/* A server without a position begins at 0. If its tables are not empty, their keys will tell. */
static int
create_position(struct server *s)
{
	int rc = import_dump(s);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	memset(&s->position, 0, sizeof(s->position));
	memcpy(s->position.stream, s->source->stream_id, sizeof(s->position.stream));
	s->position.at_ns = hb_wall_ns();
	rc = hb_position_create(s->db, &s->position, s->taken_shards, s->error);
	return rc == -EEXIST ? -EAGAIN : rc;
}

/* The server itself must say that it has the shards which the map gives it. */
static int
verify_shards(struct server *s)
{
	char here[64], map[64];
	uint32_t shards;
	int rc = hb_shards_read(s->db, &shards, s->error);

	if (rc != 0 || shards == s->taken_shards)
		return rc;
	hb_shards_text(shards, here);
	hb_shards_text(s->taken_shards, map);
	snprintf(s->error, sizeof(s->error),
		"the server has the shards %s, but by the shard map (journal/" HB_SERVER_MAP_FILE
		") it has %s: the map or the server is an old or foreign one; restore it, and "
		"start persist again",
		here[0] == 0 ? "none" : here, map);
	return -EBADMSG;
}

static int
read_position(struct server *s)
{
	int rc = hb_position_read(s->db, s->source->stream_id, false, &s->position, s->error);

	memset(s->read, 0, sizeof(s->read));
	if (rc == 1)
		rc = verify_shards(s);
	else if (rc == 0)
		rc = create_position(s);
	if (rc >= 0)
		show_progress(s, 0);
	return rc < 0 ? rc : 0;
}

/* The record at the position must be the one that MySQL says, then the reader stands behind it. */
static int
verify_position(struct server *s)
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc;

	hb_journal_reader_limit(s->reader, s->position.seq);
	rc = hb_journal_reader_seek(s->reader, s->position.seq);
	if (rc == -ENOENT)
		return 0; /* the segment that held it is gone; the next record may be there */
	if (rc == 0)
		rc = hb_journal_reader_next(s->reader, &record, &at);
	if (rc <= 0) {
		snprintf(s->error, sizeof(s->error), "%s", hb_journal_reader_error(s->reader));
		return rc == 0 ? -EBADMSG : rc;
	}
	if (at.epoch != s->position.epoch ||
		memcmp(at.frame->chain, s->position.chain, sizeof(s->position.chain)) != 0) {
		snprintf(s->error, sizeof(s->error),
			"record %lu of the journal is not the one that MySQL has applied: journal "
			"and database do not belong together",
			(unsigned long)s->position.seq);
		return -EBADMSG;
	}
	return 0;
}

/* Put the reader behind the position. */
static int
seek_position(struct server *s)
{
	struct hb_journal_info info;
	int rc = 0;

	if (s->position.seq > hb_committed_seq(s->source->commit)) {
		snprintf(s->error, sizeof(s->error),
			"MySQL has applied record %lu but the journal is committed only up to %lu: "
			"the journal has lost records; do not go on without an operator",
			(unsigned long)s->position.seq,
			(unsigned long)hb_committed_seq(s->source->commit));
		return -EBADMSG;
	}
	if (s->reader == NULL)
		rc = hb_journal_reader_open(&s->reader, s->source->journal_directory, s->error);
	if (rc != 0)
		return rc;
	rc = hb_journal_reader_info(s->reader, &info);
	if (rc == 0)
		hb_batch_node(s->batch, info.node);
	if (rc == 0 && s->position.seq > 0)
		rc = verify_position(s);
	if (rc != 0)
		return rc;
	hb_journal_reader_limit(s->reader, s->position.seq);
	rc = hb_journal_reader_seek(s->reader, s->position.seq + 1);
	if (rc != 0)
		snprintf(s->error, sizeof(s->error), "%s", hb_journal_reader_error(s->reader));
	return rc == -ENOENT || rc == -ERANGE ? -EBADMSG : rc;
}

/* ---- batches ---- */

/*
 * How many records to take at once: all that it is behind, up to a few batches, as a row costs the
 * less the more rows of its table are written with it.
 */
static uint32_t
batch_records_max(const struct server *s, uint64_t lag)
{
	uint64_t least = (uint64_t)s->config->applier_batch_records_max;
	uint64_t most = least * BEHIND_FACTOR;
	uint64_t records = lag < least ? least : lag < most ? lag : most;

	return records < HB_BATCH_RECORDS_MAX ? (uint32_t)records : HB_BATCH_RECORDS_MAX;
}

/* Read records up to the limit into the batch. */
static int
fill_batch(struct server *s, uint64_t limit, struct hb_row_position *to)
{
	uint32_t max = batch_records_max(s, limit - s->position.seq);

	*to = s->position;
	if (limit - s->position.seq > max)
		limit = s->position.seq + max;
	hb_journal_reader_limit(s->reader, limit);
	while (to->seq < limit) {
		const struct hb_record *record;
		struct hb_journal_position at;
		int rc = hb_journal_reader_next(s->reader, &record, &at);

		if (rc <= 0) {
			snprintf(s->error, sizeof(s->error), "record %lu cannot be read: %s",
				(unsigned long)to->seq + 1, hb_journal_reader_error(s->reader));
			return rc == 0 ? -EBADMSG : rc;
		}
		HB_ASSERT(at.seq == to->seq + 1);
		if (!hb_batch_add(s->batch, record, at.seq))
			break;
		if (record->ring < HB_PARTITION_COUNT)
			s->read[record->ring] = record->core_sequence;
		if (record->time_ns > s->newest_ns)
			s->newest_ns = record->time_ns;
		to->seq = at.seq;
		to->epoch = at.epoch;
		memcpy(to->chain, at.frame->chain, sizeof(to->chain));
	}
	to->at_ns = hb_wall_ns();
	return 0;
}

/*
 * One batch. When it was cut short by its memory, the reader is one record ahead; it is then put
 * back. @return 0 or the error; s->error says what
 */
static int
apply_batch(struct server *s, uint64_t limit)
{
	struct hb_row_position to;
	int rc = fill_batch(s, limit, &to);

	if (rc != 0)
		return rc;
	uint32_t records = hb_batch_record_count(s->batch);
	bool cut = to.seq < limit && records < batch_records_max(s, limit - s->position.seq);

	rc = hb_batch_write(s->batch, &s->position, &to, s->error);
	if (rc != 0)
		return rc;
	s->position = to;
	show_progress(s, records);
	note_level(s, s->newest_ns);
	return cut ? hb_journal_reader_seek(s->reader, to.seq + 1) : 0;
}

/* Let a batch fill for the configured time, unless somebody waits: large ones cost less. */
static uint64_t
wait_for_records(struct server *s, uint64_t limit)
{
	uint64_t until_ns =
		hb_mono_ns() + UINT64_C(1000000) * (uint64_t)s->config->applier_interval_ms;
	bool stopping = false;

	while (limit - s->position.seq < (uint64_t)s->config->applier_batch_records_max &&
		hb_mono_ns() < until_ns) {
		nap(s, POLL_MS);
		limit = limit_of(s, &stopping);
		if (stopping || is_ending(s))
			break;
	}
	return limit;
}

static void
note_failures(struct server *s, uint32_t failures)
{
	pthread_mutex_lock(&s->lock);
	s->failures = failures;
	s->status.failures = failures;
	pthread_mutex_unlock(&s->lock);
}

static void
note_success(struct server *s)
{
	if (s->failures >= RETRIES_BEFORE_ALARM)
		hb_log(HB_LOG_INFO, "applier_alarm_over", "name=%s server=%s failures=%u seq=%lu",
			s->status.name, s->status.server, s->failures,
			(unsigned long)s->position.seq);
	if (s->failures > 0)
		note_failures(s, 0);
}

/* Apply until something is wrong, the applier ends, or it stands. @return 0 or the error */
static int
follow(struct server *s)
{
	bool stopping;

	while (!must_leave(s)) {
		uint64_t limit = limit_of(s, &stopping);

		if (stopping && limit <= s->position.seq && s->position.seq >= s->stop_seq) {
			show(s, HB_APPLIER_STOPPED, "");
			nap(s, IDLE_WAIT_MS);
			continue;
		}
		show(s, HB_APPLIER_RUNNING, "");
		if (limit <= s->position.seq) {
			note_level(s, hb_wall_ns());
			hb_commit_wait(s->source->commit, s->position.seq, IDLE_WAIT_MS);
			note_level(s, hb_wall_ns());
			continue;
		}
		if (!stopping)
			limit = wait_for_records(s, limit);
		if (limit <= s->position.seq)
			continue;
		int rc = apply_batch(s, limit);
		if (rc != 0)
			return rc;
		note_success(s);
	}
	return 0;
}

/* ---- when something is wrong ---- */

static uint32_t
backoff_ms(uint32_t failures)
{
	uint32_t ms = BACKOFF_MS_MIN << (failures < 7 ? failures : 7);

	return ms < BACKOFF_MS_MAX ? ms : BACKOFF_MS_MAX;
}

/* Stand until an operator has repaired the cause and resumes, or the process ends. */
static void
stand_poisoned(struct server *s)
{
	show(s, HB_APPLIER_POISONED, s->error);
	disconnect(s);
	pthread_mutex_lock(&s->lock);
	s->retry_poisoned = false;
	while (!s->ending && !s->retry_poisoned && !s->park_wanted && !s->renew)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void
recover(struct server *s, int rc)
{
	if (rc == -EEXIST || rc == -EBADMSG) {
		stand_poisoned(s);
		return;
	}
	hb_batch_forget(s->batch);
	if (rc == -ESTALE) {
		hb_log(HB_LOG_WARN, "applier_position_moved", "server=%s seq=%lu", s->status.server,
			(unsigned long)s->position.seq);
	}
	if (rc != -ESTALE && rc != -EAGAIN)
		disconnect(s);
	note_failures(s, s->failures + 1);
	if (s->failures >= RETRIES_BEFORE_ALARM || s->db == NULL)
		show(s, HB_APPLIER_WAITING, s->error);
	if (s->failures == RETRIES_BEFORE_ALARM)
		hb_log(HB_LOG_ERROR, "applier_alarm",
			"name=%s server=%s failures=%u seq=%lu lag=%lu reason=\"%s\" effect=\"its "
			"shards fall behind; the journal keeps what is not applied\"",
			s->status.name, s->status.server, s->failures,
			(unsigned long)s->position.seq,
			(unsigned long)(hb_committed_seq(s->source->commit) - s->position.seq),
			s->error);
	nap(s, backoff_ms(s->failures));
}

/* Without shard, or parked: nothing to do for a while. */
static bool
stands(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	bool parked = s->park_wanted;
	bool idle = s->shards == 0;

	pthread_mutex_unlock(&s->lock);
	if (!parked && !idle)
		return false;
	show(s, parked ? HB_APPLIER_PARKED : HB_APPLIER_IDLE, "");
	nap(s, IDLE_WAIT_MS);
	return true;
}

static void *
run(void *argument)
{
	struct server *s = argument;
	pid_t thread = (pid_t)syscall(SYS_gettid);

	setpriority(PRIO_PROCESS, (id_t)thread, NICE);
	pthread_setname_np(pthread_self(), "hb-applier");
	while (!is_ending(s)) {
		int rc = 0;

		s->error[0] = 0;
		if (must_leave(s))
			disconnect(s);
		if (stands(s))
			continue;
		if (s->db == NULL)
			rc = connect_server(s);
		if (rc == 0)
			rc = read_position(s);
		if (rc == 0)
			rc = seek_position(s);
		if (rc == 0)
			rc = follow(s);
		if (rc != 0)
			recover(s, rc);
	}
	disconnect(s);
	hb_journal_reader_close(s->reader);
	return NULL;
}

/* ---- the public side ---- */

static int
server_start(struct hb_applier *a, uint32_t index, const struct hb_config *config)
{
	struct server *s = &a->servers[index];
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
	rc = -pthread_create(&s->thread, NULL, run, s);
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
			nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
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
		struct server *s = &applier->servers[i];

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
stop_failed(const struct server *s, uint64_t seq, int rc, char error[256])
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
await_stop(struct server *s, uint64_t seq, const struct timespec *until, char error[256])
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
want_stop(struct server *s, uint64_t seq)
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
		struct server *s = &applier->servers[i];

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
	struct timespec until = time_in(timeout_ms);
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
		struct server *s = &applier->servers[i];

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
want_park(struct server *s, bool park)
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
	struct server *s = &applier->servers[server];
	struct timespec until = time_in(timeout_ms);
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
		struct server *s = &applier->servers[i];
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
	struct server *s = &applier->servers[server];
	struct timespec until = time_in(timeout_ms);
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
lag_ms(const struct server *s, uint64_t committed, uint64_t now_ns)
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
		struct server *s = &applier->servers[i];

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
		struct server *s = &applier->servers[i];

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

struct table_count {
	uint64_t count;
};

static int
keep_count(void *context, const void *row)
{
	*(uint64_t *)context = ((const struct table_count *)row)->count;
	return 0;
}

/* Does the database have a position table at all? */
static int
has_position_table(
	struct hb_db *db, const char *database, uint64_t *found, char error[HB_DB_ERROR_BYTES])
{
	static const struct hb_db_column name_column[] = {
		{"table_schema", HB_DB_TEXT, 0, HB_CONFIG_TEXT_MAX}};
	static const struct hb_db_column count_column[] = {
		HB_DB_COLUMN(HB_DB_U64, struct table_count, count)};
	struct hb_db_statement *select;
	struct table_count row;
	int rc = hb_db_prepare(db,
		"SELECT COUNT(*) FROM information_schema.tables "
		"WHERE table_schema = ? AND table_name = 'jpos'",
		name_column, 1, count_column, 1, &select, error);

	*found = 0;
	return rc != 0 ? rc : hb_db_query(select, database, &row, keep_count, found, error);
}

int
hb_applier_server_position(
	const struct hb_config *config, const uint8_t stream_id[16], uint64_t *seq, char error[256])
{
	struct hb_row_position position;
	struct hb_db *db;
	uint64_t found;
	int rc = hb_db_open(&db, config, config->mysql_user, POSITION_TIMEOUT_S, error);

	*seq = 0;
	if (rc != 0)
		return rc;
	rc = has_position_table(db, config->mysql_database, &found, error);
	if (rc == 0 && found > 0) {
		rc = hb_schema_use(db, config->mysql_database, error);
		if (rc == 0)
			rc = hb_position_read(db, stream_id, false, &position, error);
		if (rc == 1)
			*seq = position.seq;
	}
	hb_db_close(db);
	return rc < 0 ? rc : 0;
}

int
hb_applier_position(
	const struct hb_config *config, const uint8_t stream_id[16], uint64_t *seq, char error[256])
{
	struct hb_server_map map;
	int rc = hb_server_map_from_config(&map, config, error);
	bool known = false;

	*seq = 0;
	for (uint32_t i = 0; i < map.server_count && rc != -EINVAL; i++) {
		struct hb_config one;
		uint64_t position;

		hb_server_config(config, &map.server[i].primary, &one);
		rc = hb_applier_server_position(&one, stream_id, &position, error);
		known = known || rc == 0;
		if (rc == 0 && position > *seq)
			*seq = position;
	}
	return known ? 0 : rc;
}
