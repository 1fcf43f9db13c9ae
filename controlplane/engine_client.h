/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The way of control's threads to the engine: frames in, replies out, from any thread.
 *
 * One thread owns the hb_client. Callers hand it their frames and sleep; it keeps up to
 * HB_ENGINE_IN_FLIGHT_MAX frames in flight, matches replies by correlation id, and wakes each
 * caller once, when all its frames are answered or its time is over. It sleeps when there is
 * nothing to do. When the dataplane hangs up, frames under way have an unknown outcome, frames not
 * yet sent were not sent, and the thread attaches again every HB_ENGINE_REATTACH_MS.
 *
 * Frames and reply rooms belong to the caller and must live until the call returns.
 */
#ifndef HB_CONTROLPLANE_ENGINE_CLIENT_H
#define HB_CONTROLPLANE_ENGINE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/frame.h"
#include "shm/node.h"

#define HB_ENGINE_IN_FLIGHT_MAX 4096
#define HB_ENGINE_REATTACH_MS	100
#define HB_ENGINE_TIMEOUT_MS	2000 /* what handlers give a call */

struct hb_engine;

struct hb_engine_call {
	struct hb_frame *frame; /* version, issued_s, correlation are filled in */
	struct hb_reply *reply;
	uint32_t reply_room; /* bytes */
	/* 0 replied; -EAGAIN not sent, ask again; -EPIPE, -ETIMEDOUT outcome unknown; -EMSGSIZE the
	 * reply is longer than its room */
	int error;
	uint32_t slot; /* of the engine thread */
};

/** Start the thread. It attaches when there is a dataplane. @return 0 or -errno */
int hb_engine_start(struct hb_engine **engine, const char *socket_path);
/** Stop the thread; callers still waiting get -EPIPE or -EAGAIN. */
void hb_engine_stop(struct hb_engine *engine);

/** Send frames and wait until each has its outcome. */
void hb_engine_call_many(struct hb_engine *engine, struct hb_engine_call *calls, uint32_t count,
	uint32_t timeout_ms);

/** One frame. @return as hb_engine_call.error */
int hb_engine_call_one(struct hb_engine *engine, struct hb_frame *frame, struct hb_reply *reply,
	uint32_t reply_room, uint32_t timeout_ms);

/** What everybody may know about the engine now. */
struct hb_engine_view {
	bool attached;
	uint64_t attaches; /* since start */
	uint64_t frames;   /* answered since start */
	uint64_t unknown;  /* outcomes unknown since start */
	uint32_t in_flight;
	char error[160]; /* why it is not attached */
	uint32_t lcore_count;
	uint32_t counter_count;
	uint64_t started_ns;
	uint64_t epoch;
	bool clock_stopped;
	uint32_t storage_level;
	uint32_t degrade_level;
	uint32_t degrade_by;
	uint64_t degrade_until_s;
	uint8_t lcore_of_partition[HB_PARTITION_COUNT];
	struct {
		uint32_t cpu;
		bool sleeping;
		uint64_t heartbeat_ns;
		uint64_t busy_ns;
	} lcore[HB_LCORE_COUNT_MAX];
	struct hb_counter_label label[HB_COUNTER_SLOTS];
	uint64_t counter[HB_COUNTER_SLOTS];
};

/** Copy the view; the part from lcore_count on is zero when not attached. */
void hb_engine_look(struct hb_engine *engine, struct hb_engine_view *view);

#endif
