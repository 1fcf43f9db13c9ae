/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket: one JSON object per line in, one per line out. A thread per connection, so a
 * command that waits (applier_stop) holds up nobody. Threads read atomics and call the appliers'
 * interface; they own nothing that outlives them. If the process dies here, the peer sees the
 * hang-up.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "persist/persist.h"
#include "shm/node.h"

#define COMMANDS	    "status, counters, applier_stop, applier_resume, mysql, mysql_move, mysql_rebuild"
#define LINE_BYTES_MAX	    4096
#define CONNECTIONS_MAX	    32
#define IDLE_MS_MAX	    300000
#define APPLIER_STOP_MS_MAX 60000

struct connection {
	struct hb_persist *persist;
	int fd;
};

static _Atomic uint32_t connection_count;

static json_t *
failure(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static json_t *
number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* ---- status ---- */

json_t *
hb_admin_appliers(struct hb_persist *persist)
{
	struct hb_applier_status status[HB_APPLIER_SERVERS_MAX];
	uint64_t committed = hb_committed_seq(&persist->journal.commit);
	json_t *list = json_array();
	uint32_t count = 0;

	if (persist->applier != NULL)
		count = hb_applier_status(persist->applier, status, HB_APPLIER_SERVERS_MAX);
	for (uint32_t i = 0; i < count && i < HB_APPLIER_SERVERS_MAX; i++) {
		uint64_t lag = committed > status[i].seq ? committed - status[i].seq : 0;

		char shards[64];

		if (status[i].shards == 0)
			lag = 0; /* nothing is to be applied there */
		hb_shards_text(status[i].shards, shards);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:i, s:o, s:o}",
				      "name", status[i].name, "server", status[i].server, "shards",
				      shards, "seq", number(status[i].seq), "lag", number(lag),
				      "lag_ms", number(status[i].lag_ms), "state",
				      hb_applier_state_name(status[i].state), "error",
				      status[i].error, "failures", (int)status[i].failures,
				      "records", number(status[i].records), "transactions",
				      number(status[i].transactions)));
	}
	return list;
}

static json_t *
ring_list(struct hb_persist *persist)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		json_array_append_new(
			list, number(atomic_load(&persist->journal.gauges.ring_sequence[i])));
	return list;
}

static uint32_t
shown_level(struct hb_journal *journal)
{
	return atomic_load(&journal->starved) ? HB_STORAGE_CONTROL_ONLY
					      : atomic_load(&journal->storage_level);
}

static json_t *
status(struct hb_persist *persist)
{
	struct hb_journal *journal = &persist->journal;
	struct hb_journal_gauges *gauges = &journal->gauges;
	char stream[33];
	json_t *answer;

	hb_hex_text(stream, journal->superblock.stream_id, sizeof(journal->superblock.stream_id));
	answer = json_pack("{s:b, s:i, s:s, s:o, s:o, s:i, s:s, s:o, s:o, s:s, s:o, s:o, s:i}",
		"ok", 1, "pid", (int)getpid(), "version", HB_VERSION, "epoch",
		number(atomic_load(&persist->epoch)), "state_epoch",
		number(atomic_load(&persist->state_epoch)), "node", (int)journal->node, "stream",
		stream, "committed_seq", number(hb_committed_seq(&journal->commit)),
		"ring_sequences", ring_list(persist), "dataplane",
		atomic_load(&persist->dataplane_attached) ? "attached" : "absent", "segments",
		number(atomic_load(&gauges->segment_count)), "journal_bytes",
		number(atomic_load(&gauges->directory_bytes)), "storage_level",
		(int)shown_level(journal));
	json_object_set_new(answer, "recovering", json_boolean(atomic_load(&persist->recovering)));
	json_object_set_new(
		answer, "snapshot_running", json_boolean(atomic_load(&persist->snapshot_running)));
	json_object_set_new(answer, "announced_seq",
		number(persist->announcer == NULL ? 0 : hb_announcer_seq(persist->announcer)));
	json_object_set_new(answer, "frames", number(atomic_load(&gauges->frames)));
	json_object_set_new(answer, "records", number(atomic_load(&gauges->records)));
	json_object_set_new(
		answer, "sync_us_p50", number(hb_histogram_quantile(&journal->sync_us, 500)));
	json_object_set_new(
		answer, "sync_us_p99", number(hb_histogram_quantile(&journal->sync_us, 990)));
	json_object_set_new(
		answer, "sync_us_p99_second", number(atomic_load(&gauges->sync_us_p99_second)));
	json_object_set_new(answer, "volume_used", number(atomic_load(&gauges->volume_used)));
	json_object_set_new(answer, "volume_whole", number(atomic_load(&gauges->volume_whole)));
	json_object_set_new(
		answer, "last_snapshot_seq", number(atomic_load(&persist->last_snapshot_seq)));
	json_object_set_new(
		answer, "snapshots_made", number(atomic_load(&persist->snapshots_made)));
	json_object_set_new(
		answer, "snapshots_failed", number(atomic_load(&persist->snapshots_failed)));
	json_object_set_new(answer, "reloads", number(atomic_load(&persist->reloads)));
	json_object_set_new(
		answer, "reload_failures", number(atomic_load(&persist->reload_failures)));
	json_object_set_new(
		answer, "active_segment", number(atomic_load(&journal->active_segment)));
	json_object_set_new(answer, "appliers", hb_admin_appliers(persist));
	return answer;
}

/* key, value; every key is a counter since start, or a gauge where its name says so */
static json_t *
counters(struct hb_persist *persist)
{
	struct hb_journal *journal = &persist->journal;
	struct hb_journal_gauges *gauges = &journal->gauges;
	const struct {
		const char *key;
		uint64_t value;
	} table[] = {
		{"journal_frames", atomic_load(&gauges->frames)},
		{"journal_records", atomic_load(&gauges->records)},
		{"journal_written_bytes", atomic_load(&gauges->bytes)},
		{"journal_waits_for_segment", atomic_load(&gauges->waits)},
		{"journal_records_skipped", atomic_load(&gauges->skipped)},
		{"journal_segments_made", atomic_load(&gauges->segments_made)},
		{"journal_segments_recycled", atomic_load(&gauges->segments_recycled)},
		{"journal_segments_packed", atomic_load(&gauges->segments_packed)},
		{"journal_segments_dropped", atomic_load(&gauges->segments_dropped)},
		{"journal_pack_failures", atomic_load(&gauges->pack_failures)},
		{"journal_pack_bytes_in", atomic_load(&gauges->pack_bytes_in)},
		{"journal_pack_bytes_out", atomic_load(&gauges->pack_bytes_out)},
		{"journal_directory_bytes", atomic_load(&gauges->directory_bytes)},
		{"journal_committed_seq", hb_committed_seq(&journal->commit)},
		{"journal_storage_level", shown_level(journal)},
		{"journal_sync_us_p50", hb_histogram_quantile(&journal->sync_us, 500)},
		{"journal_sync_us_p99", hb_histogram_quantile(&journal->sync_us, 990)},
		{"journal_sync_us_p999", hb_histogram_quantile(&journal->sync_us, 999)},
		{"journal_sync_us_max", atomic_load(&journal->sync_us.max)},
		{"journal_sync_us_p99_second", atomic_load(&gauges->sync_us_p99_second)},
		{"journal_volume_used_bytes", atomic_load(&gauges->volume_used)},
		{"journal_volume_bytes", atomic_load(&gauges->volume_whole)},
		{"snapshots_made", atomic_load(&persist->snapshots_made)},
		{"snapshots_failed", atomic_load(&persist->snapshots_failed)},
		{"snapshot_seq", atomic_load(&persist->last_snapshot_seq)},
		{"recoveries", atomic_load(&persist->recoveries)},
		{"recovery_ms", atomic_load(&persist->recovery_ms)},
		{"recovery_records", atomic_load(&persist->recovery_records)},
	};
	json_t *values = json_object();

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		json_object_set_new(values, table[i].key, number(table[i].value));
	return json_pack("{s:b, s:o}", "ok", 1, "counters", values);
}

/* ---- appliers ---- */

static json_t *
applier_stop(struct hb_persist *persist, const json_t *command)
{
	const json_t *wanted = json_object_get(command, "seq");
	uint64_t committed = hb_committed_seq(&persist->journal.commit);
	uint64_t seq = committed;
	char error[256] = "";

	if (wanted != NULL && !json_is_null(wanted)) {
		if (!json_is_integer(wanted) || json_integer_value(wanted) < 0)
			return failure("seq must be a sequence number or null");
		seq = (uint64_t)json_integer_value(wanted);
	}
	if (seq > committed)
		return failure(
			"seq is above the committed sequence: ask for one that is committed");
	if (persist->applier == NULL)
		return failure("no applier runs: see the log of persist");
	if (hb_applier_stop_at(persist->applier, seq, APPLIER_STOP_MS_MAX, error) != 0)
		return failure(error);
	return json_pack("{s:b, s:o}", "ok", 1, "seq", number(seq));
}

static json_t *
run_command(struct hb_persist *persist, const char *line)
{
	json_error_t where;
	json_t *command = json_loads(line, JSON_REJECT_DUPLICATES, &where);
	const char *name;
	json_t *answer;

	if (!json_is_object(command)) {
		json_decref(command);
		return failure("each line must be one JSON object such as {\"cmd\":\"status\"}");
	}
	name = json_string_value(json_object_get(command, "cmd"));
	if (name == NULL) {
		answer = failure("cmd is missing: " COMMANDS);
	} else if (strcmp(name, "status") == 0) {
		answer = status(persist);
	} else if (strcmp(name, "counters") == 0) {
		answer = counters(persist);
	} else if (strcmp(name, "applier_stop") == 0) {
		answer = applier_stop(persist, command);
	} else if (strcmp(name, "applier_resume") == 0) {
		if (persist->applier != NULL)
			hb_applier_resume(persist->applier);
		answer = json_pack("{s:b}", "ok", 1);
	} else {
		answer = hb_admin_mysql(persist, name, command);
		if (answer == NULL)
			answer = failure("unknown cmd: " COMMANDS);
	}
	json_decref(command);
	return answer;
}

/* ---- connections ---- */

static int
send_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

static int
answer_line(struct connection *connection, const char *line)
{
	json_t *answer = run_command(connection->persist, line);
	char *text = json_dumps(answer, JSON_COMPACT);
	int rc = -1;

	json_decref(answer);
	if (text != NULL) {
		rc = send_all(connection->fd, text, strlen(text));
		if (rc == 0)
			rc = send_all(connection->fd, "\n", 1);
	}
	free(text);
	return rc;
}

/* Answer the whole lines in the buffer. @return bytes left over, or -1 */
static int
answer_lines(struct connection *connection, char *buffer, size_t used)
{
	char *begin = buffer, *end;

	while ((end = memchr(begin, '\n', used - (size_t)(begin - buffer))) != NULL) {
		*end = '\0';
		if (answer_line(connection, begin) != 0)
			return -1;
		begin = end + 1;
	}
	used -= (size_t)(begin - buffer);
	memmove(buffer, begin, used);
	return (int)used;
}

static void *
connection_main(void *argument)
{
	struct connection *connection = argument;
	char buffer[LINE_BYTES_MAX];
	int used = 0;

	while (used >= 0 && used < LINE_BYTES_MAX) {
		struct pollfd ready = {.fd = connection->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&ready, 1, IDLE_MS_MAX) <= 0)
			break;
		n = recv(connection->fd, buffer + used, (size_t)(LINE_BYTES_MAX - used), 0);
		if (n <= 0)
			break;
		used = answer_lines(connection, buffer, (size_t)(used + n));
	}
	close(connection->fd);
	free(connection);
	atomic_fetch_sub(&connection_count, 1);
	return NULL;
}

static void
serve(struct hb_persist *persist, int fd)
{
	struct connection *connection;
	struct timeval timeout = {.tv_sec = 10};
	pthread_t thread;

	if (!hb_peer_allowed(
		    fd, persist->config.user_control, persist->config.user_persist, NULL)) {
		static const char text[] = "{\"ok\":false,\"error\":\"only root and the users of "
					   "user.control and user.persist may ask\"}\n";

		(void)send_all(fd, text, sizeof(text) - 1);
		close(fd);
		return;
	}
	connection = calloc(1, sizeof(*connection));
	if (connection == NULL || atomic_load(&connection_count) >= CONNECTIONS_MAX) {
		static const char text[] = "{\"ok\":false,\"error\":\"too many connections: close "
					   "some and ask again\"}\n";

		(void)send_all(fd, text, sizeof(text) - 1);
		close(fd);
		free(connection);
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	connection->persist = persist;
	connection->fd = fd;
	atomic_fetch_add(&connection_count, 1);
	if (pthread_create(&thread, NULL, connection_main, connection) != 0) {
		atomic_fetch_sub(&connection_count, 1);
		close(fd);
		free(connection);
		return;
	}
	pthread_detach(thread);
}

struct listener {
	struct hb_persist *persist;
	int fd;
};

static void *
listener_main(void *argument)
{
	struct listener *listener = argument;

	for (;;) {
		struct pollfd ready = {.fd = listener->fd, .events = POLLIN};
		int fd;

		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			break;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve(listener->persist, fd);
	}
	return NULL;
}

int
hb_admin_start(struct hb_persist *persist)
{
	/* lives as long as the process */
	static struct listener listener;
	pthread_t thread;
	int rc;

	listener.persist = persist;
	listener.fd = hb_listen_unix(&persist->config, HB_PATH_PERSIST_ADMIN_SOCKET, SOCK_STREAM);
	if (listener.fd < 0) {
		hb_log(HB_LOG_ERROR, "admin_not_listening",
			"path=%s/" HB_PATH_PERSIST_ADMIN_SOCKET " error=\"%s\"",
			persist->config.node_directory, strerror(-listener.fd));
		return listener.fd;
	}
	rc = -pthread_create(&thread, NULL, listener_main, &listener);
	if (rc == 0)
		pthread_detach(thread);
	return rc;
}
