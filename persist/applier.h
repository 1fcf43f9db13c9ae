/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The appliers: from committed journal records to rows in MySQL, one thread per server.
 *
 * They run inside hongbao-persist but apart from the writer: the writer never waits for them. Each
 * opens its own journal reader (persist/journal_reader.h) on the source's directory and reads
 * records up to the committed sequence, never past it. The position lives in MySQL, in the
 * transaction of the rows, so a dead process or a lost connection loses nothing.
 *
 * An applier that finds its server's position above the committed sequence must not go on: the
 * journal has lost records that MySQL knows. It takes the state POISONED and says so.
 */
#ifndef HB_PERSIST_APPLIER_H
#define HB_PERSIST_APPLIER_H

#include <stdint.h>

#include "base/config.h"
#include "persist/commit.h"
#include "persist/server_map.h"
#include "shm/limits.h"

#define HB_APPLIER_SERVERS_MAX	HB_SERVERS_MAX
#define HB_APPLIER_SERVER_BYTES 64
#define HB_APPLIER_ERROR_BYTES	192

/* What an applier needs of persist. Outlives the appliers. */
struct hb_applier_source {
	const char *journal_directory;
	uint8_t stream_id[16];		/* of the journal: key of the position row */
	struct hb_commit *commit;	/* hb_committed_seq, hb_commit_wait */
	_Atomic uint64_t *release_mark; /* segments below may be dropped; NULL: nobody drops any */
};

enum hb_applier_state {
	HB_APPLIER_RUNNING = 1,	 /* applies, or waits for new records */
	HB_APPLIER_STOPPED = 2,	 /* stands at the sequence asked for by stop_at */
	HB_APPLIER_WAITING = 3,	 /* the server cannot be reached or refuses us; tries again */
	HB_APPLIER_POISONED = 4, /* a record cannot be applied; a person must look. Not skipped */
	HB_APPLIER_IDLE = 5,	 /* the server has no shard: nothing is applied there */
	HB_APPLIER_PARKED = 6,	 /* stands while its server is emptied for a rebuild */
};

struct hb_applier_status {
	char name[HB_SERVER_NAME_BYTES];      /* as in mysql.servers */
	char server[HB_APPLIER_SERVER_BYTES]; /* socket or host:port, for people */
	uint32_t shards;		      /* a bit per shard it has */
	uint64_t seq;			      /* committed in MySQL; 0 before the first contact */
	enum hb_applier_state state;
	char error[HB_APPLIER_ERROR_BYTES]; /* "" when all is well */
	uint64_t records;		    /* applied since start */
	uint64_t transactions;
	uint64_t lag_ms;   /* how long ago it was level with the journal; 0 when it is */
	uint32_t failures; /* in a row */
};

/* Work on servers that is under way, or how the last one ended. */
struct hb_applier_task {
	char what[48];	/* "move-shard 5 b", "rebuild b"; "" when there was none */
	char phase[24]; /* "stopping", "copying", …, "done", "failed" */
	uint64_t rows;	/* done so far */
	char error[256];
};

struct hb_applier; /* all appliers of the node */

/**
 * Start one thread per configured server. Does not wait for any server to answer. Writes the shard
 * map when there is none yet (persist/server_map.h).
 * @param source kept by reference
 * @return 0 or -errno with `error`
 */
int hb_applier_start(struct hb_applier **applier, const struct hb_config *config,
	const struct hb_applier_source *source, char error[256]);

/** End the threads (a transaction under way is committed or rolled back) and free. NULL is fine. */
void hb_applier_stop(struct hb_applier *applier);

/**
 * Let every applier run up to exactly `seq` and stand there until hb_applier_resume.
 * Blocks the caller, nobody else.
 * @param seq committed already
 * @return 0; -ERANGE when one is beyond seq already, -ETIMEDOUT, -EIO when one is poisoned, each
 *         with `error` naming the server. After an error nothing is stopped.
 */
int hb_applier_stop_at(
	struct hb_applier *applier, uint64_t seq, uint32_t timeout_ms, char error[256]);
void hb_applier_resume(struct hb_applier *applier);

/** @return how many servers; fills up to `max` entries. */
uint32_t hb_applier_status(
	struct hb_applier *applier, struct hb_applier_status *status, uint32_t max);

/** The shard map in force, and the work under way. */
void hb_applier_map(
	struct hb_applier *applier, struct hb_server_map *map, struct hb_applier_task *task);

/** Core sequence per ring up to which every server has the records; 0 where it is not known. */
void hb_applier_applied(struct hb_applier *applier, uint64_t applied[HB_PARTITION_COUNT]);

/** "running", "stopped", "waiting", "poisoned", "idle" or "parked". */
const char *hb_applier_state_name(enum hb_applier_state state);

/**
 * The newest position that any server has for this stream; a single attempt of at most about 2 s
 * each. Recovery uses it as one more witness of what was durable.
 * @param seq 0 when a server answers and has no position
 * @return 0, or -errno with `error` when no server answers (then nothing is known)
 */
int hb_applier_position(const struct hb_config *config, const uint8_t stream_id[16], uint64_t *seq,
	char error[256]);

/** The same of one server; `config` leads to it (hb_server_config). */
int hb_applier_server_position(const struct hb_config *config, const uint8_t stream_id[16],
	uint64_t *seq, char error[256]);

#endif
