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
#include "persist/applier.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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
#define LAG_BATCHES	     4 /* further behind than this: larger batches */
#define LAG_FACTOR	     4

struct server {
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
	uint64_t stop_seq;
	struct hb_applier_status status;
	uint64_t applied[HB_PARTITION_COUNT]; /* core sequences in MySQL; 0: not known */

	/* the thread's own */
	uint64_t read[HB_PARTITION_COUNT]; /* core sequences in the batch or before */
	struct hb_db *db;
	struct hb_journal_reader *reader;
	struct hb_batch *batch;
	struct hb_row_position position;
	uint32_t failures; /* in a row */
	char error[HB_JOURNAL_ERROR_BYTES];
};

struct hb_applier {
	uint32_t server_count;
	struct server servers[HB_APPLIER_SERVERS_MAX];
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
			"server=%s state=%s seq=%lu reason=\"%s\"", s->status.server,
			hb_applier_state_name(state), (unsigned long)s->position.seq, error);
	else if (differs)
		hb_log(HB_LOG_INFO, "applier_state", "server=%s state=%s seq=%lu", s->status.server,
			hb_applier_state_name(state), (unsigned long)s->position.seq);
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

static bool
is_ending(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	bool ending = s->ending;

	pthread_mutex_unlock(&s->lock);
	return ending;
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

static int
connect_server(struct server *s)
{
	int rc = hb_db_open(&s->db, s->config, s->config->mysql_user, CONNECT_TIMEOUT_S, s->error);

	if (rc != 0)
		return rc;
	rc = hb_db_check_durability(s->db, s->error);
	if (rc == 0)
		rc = hb_schema_upgrade(s->db, s->config->mysql_database, s->error);
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
	rc = hb_ledger_import(
		s->db, fd, s->source->stream_id, HB_LEDGER_ALL_PARTITIONS, &dump, s->error);
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
	struct hb_db_statement *insert;
	static const struct hb_db_column columns[] = {
		HB_DB_COLUMN(HB_DB_BYTES, struct hb_row_position, stream),
		HB_DB_COLUMN(HB_DB_U64, struct hb_row_position, epoch),
		HB_DB_COLUMN(HB_DB_U64, struct hb_row_position, seq),
		HB_DB_COLUMN(HB_DB_BYTES, struct hb_row_position, chain),
		HB_DB_COLUMN(HB_DB_U64, struct hb_row_position, at_ns),
	};

	int rc = import_dump(s);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	memset(&s->position, 0, sizeof(s->position));
	memcpy(s->position.stream, s->source->stream_id, sizeof(s->position.stream));
	s->position.at_ns = hb_wall_ns();
	rc = hb_db_prepare(s->db,
		"INSERT INTO jpos (stream, epoch, seq, chain, at_ns) VALUES (?, ?, ?, ?, ?)",
		columns, 5, NULL, 0, &insert, s->error);
	if (rc == 0)
		rc = hb_db_bulk(insert, &s->position, sizeof(s->position), 1, NULL, s->error);
	hb_db_release(insert);
	return rc == -EEXIST ? -EAGAIN : rc;
}

static int
read_position(struct server *s)
{
	int rc = hb_position_read(s->db, s->source->stream_id, false, &s->position, s->error);

	memset(s->read, 0, sizeof(s->read));
	if (rc == 0)
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

/* How many records to take at once: more when far behind, as large transactions cost less. */
static uint32_t
batch_records_max(const struct server *s, uint64_t lag)
{
	uint64_t records = (uint64_t)s->config->applier_batch_records_max;

	if (lag > records * LAG_BATCHES)
		records *= LAG_FACTOR;
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

/* Apply until something is wrong, the applier ends, or it stands. @return 0 or the error */
static int
follow(struct server *s)
{
	bool stopping;

	while (!is_ending(s)) {
		uint64_t limit = limit_of(s, &stopping);

		if (stopping && limit <= s->position.seq && s->position.seq >= s->stop_seq) {
			show(s, HB_APPLIER_STOPPED, "");
			nap(s, IDLE_WAIT_MS);
			continue;
		}
		show(s, HB_APPLIER_RUNNING, "");
		if (limit <= s->position.seq) {
			hb_commit_wait(s->source->commit, s->position.seq, IDLE_WAIT_MS);
			continue;
		}
		if (!stopping)
			limit = wait_for_records(s, limit);
		if (limit <= s->position.seq)
			continue;
		int rc = apply_batch(s, limit);
		if (rc != 0)
			return rc;
		s->failures = 0;
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
	while (!s->ending && !s->retry_poisoned)
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
	if (++s->failures >= RETRIES_BEFORE_ALARM || s->db == NULL)
		show(s, HB_APPLIER_WAITING, s->error);
	nap(s, backoff_ms(s->failures));
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
server_start(
	struct server *s, const struct hb_config *config, const struct hb_applier_source *source)
{
	pthread_condattr_t monotonic;
	int rc = hb_batch_create(&s->batch);

	if (rc != 0)
		return rc;
	s->config = config;
	s->source = source;
	s->status.state = HB_APPLIER_WAITING;
	hb_db_server_name(config, s->status.server, sizeof(s->status.server));
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	rc = -pthread_create(&s->thread, NULL, run, s);
	s->started = rc == 0;
	return rc;
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
	a->server_count = 1;
	rc = server_start(&a->servers[0], config, source);
	if (rc != 0) {
		snprintf(error, 256, "applier: %s", strerror(-rc));
		hb_applier_stop(a);
		return rc;
	}
	*applier = a;
	return 0;
}

void
hb_applier_stop(struct hb_applier *applier)
{
	if (applier == NULL)
		return;
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct server *s = &applier->servers[i];

		if (s->started) {
			pthread_mutex_lock(&s->lock);
			s->ending = true;
			pthread_cond_broadcast(&s->changed);
			pthread_mutex_unlock(&s->lock);
			hb_commit_wake(s->source->commit);
			pthread_join(s->thread, NULL);
		}
		hb_batch_destroy(s->batch);
	}
	free(applier);
}

void
hb_applier_resume(struct hb_applier *applier)
{
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		s->stop_wanted = false;
		s->retry_poisoned = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
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
	snprintf(error, 256, "applier of %s at %lu, asked to stop at %lu: %.100s", s->status.server,
		(unsigned long)s->status.seq, (unsigned long)seq, reason);
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

int
hb_applier_stop_at(struct hb_applier *applier, uint64_t seq, uint32_t timeout_ms, char error[256])
{
	struct timespec until = time_in(timeout_ms);
	int rc = 0;

	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		s->stop_wanted = true;
		s->stop_seq = seq;
		if (s->status.state == HB_APPLIER_STOPPED)
			s->status.state = HB_APPLIER_RUNNING;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		hb_commit_wake(s->source->commit);
	}
	for (uint32_t i = 0; i < applier->server_count && rc == 0; i++)
		rc = await_stop(&applier->servers[i], seq, &until, error);
	for (uint32_t i = 0; i < applier->server_count && rc != 0; i++) {
		struct server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		s->stop_wanted = false;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	return rc;
}

uint32_t
hb_applier_status(struct hb_applier *applier, struct hb_applier_status *status, uint32_t max)
{
	for (uint32_t i = 0; i < applier->server_count && i < max; i++) {
		struct server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		status[i] = s->status;
		pthread_mutex_unlock(&s->lock);
	}
	return applier->server_count;
}

void
hb_applier_applied(struct hb_applier *applier, uint64_t applied[HB_PARTITION_COUNT])
{
	memset(applied, 0, HB_PARTITION_COUNT * sizeof(applied[0]));
	for (uint32_t i = 0; i < applier->server_count; i++) {
		struct server *s = &applier->servers[i];

		pthread_mutex_lock(&s->lock);
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			if (i == 0 || s->applied[p] < applied[p])
				applied[p] = s->applied[p];
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
hb_applier_position(
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
