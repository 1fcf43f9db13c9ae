/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the applier of one server consists of. For applier.c, which starts and steers them, and
 * applier_thread.c, which is one at work; nobody else looks inside.
 *
 * The thread owns connection, reader and batch; what others see or ask is under `lock`.
 */
#ifndef HB_PERSIST_APPLIER_SERVER_H
#define HB_PERSIST_APPLIER_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "persist/applier_internal.h"
#include "persist/batch.h"
#include "persist/journal_reader.h"
#include "persist/schema.h"

/* One server's applier. */
struct hbi_server {
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
	struct hbi_server servers[HB_APPLIER_SERVERS_MAX];
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

/* For waiting on `changed`, whose clock is the monotonic one. */
static inline struct timespec
hbi_time_in(uint32_t ms)
{
	uint64_t ns = hb_mono_ns() + UINT64_C(1000000) * ms;

	return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

/** The thread: applies until it is ended. @param argument struct hbi_server */
void *hbi_applier_run(void *argument);

#endif
