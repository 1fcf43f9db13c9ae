/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The applier of one server: a thread that follows the journal and writes batches to MySQL.
 *
 * Where it stands is decided by the position row alone. After every doubt (a lost connection, a
 * position that somebody else moved, an error) it forgets what it believed, reads the position
 * and goes on from there, back or forth. If the process dies anywhere here, the same happens.
 */
#include "persist/applier_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "persist/backup.h"
#include "persist/ledger_dump.h"

#define NICE		     10
#define CONNECT_TIMEOUT_S    5
#define BACKOFF_MS_MIN	     50
#define BACKOFF_MS_MAX	     5000
#define RETRIES_BEFORE_ALARM 5
#define POLL_MS		     10 /* while a batch fills */
#define IDLE_WAIT_MS	     500
#define BEHIND_FACTOR	     4 /* how much larger a batch may be when it has fallen behind */

/* ---- what others see ---- */

static void
show(struct hbi_server *s, enum hb_applier_state state, const char *error)
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
show_progress(struct hbi_server *s, uint32_t records)
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
note_level(struct hbi_server *s, uint64_t wall_ns)
{
	pthread_mutex_lock(&s->lock);
	s->level_ns = wall_ns;
	pthread_mutex_unlock(&s->lock);
}

static bool
is_ending(struct hbi_server *s)
{
	pthread_mutex_lock(&s->lock);
	bool ending = s->ending;

	pthread_mutex_unlock(&s->lock);
	return ending;
}

/* Must it leave what it does: for the end, a new map, or to stand without a connection? */
static bool
must_leave(struct hbi_server *s)
{
	pthread_mutex_lock(&s->lock);
	bool leave = s->ending || s->renew || s->park_wanted || s->shards == 0;

	pthread_mutex_unlock(&s->lock);
	return leave;
}

/* How far this applier may go now; *stopping when somebody waits for it to stand there. */
static uint64_t
limit_of(struct hbi_server *s, bool *stopping)
{
	uint64_t committed = hb_committed_seq(s->source->commit);

	pthread_mutex_lock(&s->lock);
	*stopping = s->stop_wanted;
	uint64_t limit = s->stop_wanted && s->stop_seq < committed ? s->stop_seq : committed;

	pthread_mutex_unlock(&s->lock);
	return limit;
}

/* Sleep, but wake for the end, a stop or a resume. */
static void
nap(struct hbi_server *s, uint32_t ms)
{
	struct timespec until = hbi_time_in(ms);

	pthread_mutex_lock(&s->lock);
	if (!s->ending)
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
	pthread_mutex_unlock(&s->lock);
}

/* ---- connection and position ---- */

static void
disconnect(struct hbi_server *s)
{
	hb_batch_connect(s->batch, NULL);
	hb_db_close(s->db);
	s->db = NULL;
}

/* Finish on this server what a move of a shard left to do, and know which shards it has. */
static int
take_map(struct hbi_server *s)
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
connect_server(struct hbi_server *s)
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
import_dump(struct hbi_server *s)
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
create_position(struct hbi_server *s)
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
verify_shards(struct hbi_server *s)
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
read_position(struct hbi_server *s)
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
verify_position(struct hbi_server *s)
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
seek_position(struct hbi_server *s)
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
batch_records_max(const struct hbi_server *s, uint64_t lag)
{
	uint64_t least = (uint64_t)s->config->applier_batch_records_max;
	uint64_t most = least * BEHIND_FACTOR;
	uint64_t records = lag < least ? least : lag < most ? lag : most;

	return records < HB_BATCH_RECORDS_MAX ? (uint32_t)records : HB_BATCH_RECORDS_MAX;
}

/* Read records up to the limit into the batch. */
static int
fill_batch(struct hbi_server *s, uint64_t limit, struct hb_row_position *to)
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
apply_batch(struct hbi_server *s, uint64_t limit)
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
wait_for_records(struct hbi_server *s, uint64_t limit)
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
note_failures(struct hbi_server *s, uint32_t failures)
{
	pthread_mutex_lock(&s->lock);
	s->failures = failures;
	s->status.failures = failures;
	pthread_mutex_unlock(&s->lock);
}

static void
note_success(struct hbi_server *s)
{
	if (s->failures >= RETRIES_BEFORE_ALARM)
		hb_log(HB_LOG_INFO, "applier_alarm_over", "name=%s server=%s failures=%u seq=%lu",
			s->status.name, s->status.server, s->failures,
			(unsigned long)s->position.seq);
	if (s->failures > 0)
		note_failures(s, 0);
}

/*
 * Level: all that is committed is in MySQL. While nothing is committed the server is asked whether
 * it is there, so that one which has ended is known before somebody needs it.
 * @return 0 or the error
 */
static int
wait_for_commits(struct hbi_server *s)
{
	note_level(s, hb_wall_ns());
	if (hb_commit_wait(s->source->commit, s->position.seq, IDLE_WAIT_MS) == s->position.seq) {
		int rc = hb_db_execute(s->db, "DO 0", s->error);

		if (rc != 0)
			return rc;
	}
	note_level(s, hb_wall_ns());
	note_success(s);
	return 0;
}

/* Apply until something is wrong, the applier ends, or it stands. @return 0 or the error */
static int
follow(struct hbi_server *s)
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
			int rc = wait_for_commits(s);

			if (rc != 0)
				return rc;
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
stand_poisoned(struct hbi_server *s)
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
recover(struct hbi_server *s, int rc)
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
stands(struct hbi_server *s)
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

void *
hbi_applier_run(void *argument)
{
	struct hbi_server *s = argument;
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
