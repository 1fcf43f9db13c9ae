/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One attached dataplane: its journal rings, and the writer thread that drains them to disk.
 *
 * A session begins with FRESH (new rings) or RESUME (rings that a predecessor of ours served) and
 * ends when the dataplane hangs up: then everything published is written and committed first.
 * If persist dies here, the dataplane keeps the rings and brings them to the successor.
 */
#ifndef HB_PERSIST_SESSION_H
#define HB_PERSIST_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "persist/journal.h"
#include "persist/runner.h"
#include "shm/link.h"

struct hb_session {
	struct hb_journal *journal;
	struct hb_segment segment;
	struct hb_journal_rings *rings;
	struct hb_ring_end end[HB_PARTITION_COUNT];
	uint8_t *data[HB_PARTITION_COUNT]; /* mapped twice, read only */
	int wake_fd;			   /* the dataplane rings it when we sleep */
	int lcore_wake[HB_LCORE_COUNT_MAX];
	uint32_t lcore_count;
	bool realtime;		  /* node.realtime */
	struct hb_runner *runner; /* the writer's thread, lent */
	bool running;
	_Atomic bool hang_up; /* drain, then end */
	_Atomic bool abandon; /* end now: the process stops and the rings stay with the dataplane */
	_Atomic bool failed;  /* the rings hold something that is not a record */
	int failed_fd;	      /* eventfd of main, rung when failed is set; -1: none */
};

/** Make a session that owns nothing yet; hb_session_close is safe from here on. */
void hb_session_init(struct hb_session *session, struct hb_journal *journal);

/**
 * Make new journal rings.
 * @return 0 or -errno
 */
int hb_session_fresh(struct hb_session *session);

/**
 * Take rings back from a dataplane that lives. Refused when the journal went on with a later state,
 * when records are missing between the disk and the rings, or when they differ.
 * @param fd of the segment; taken in any case
 * @param epoch of the state that the dataplane has
 * @return 0, -ESTALE, -EPROTO or -errno with `error`
 */
int hb_session_resume(struct hb_session *session, int fd, uint64_t epoch, char error[160]);

/** Let the writer run in this thread, which is idle, until drain or abandon. */
void hb_session_start(struct hb_session *session, struct hb_runner *runner);

/** The dataplane is gone: write what it published, end the thread. */
void hb_session_drain(struct hb_session *session);

/** End the thread after the write under way. */
void hb_session_abandon(struct hb_session *session);

/** Free everything; the thread has ended or was never started. */
void hb_session_close(struct hb_session *session);

/**
 * One turn of the writer: gather a frame, write it, move the tails, wake lcores.
 * @return 1 something was done, 0 nothing was there, -ECANCELED, -EPROTO (session->failed)
 */
int hb_session_turn(struct hb_session *session);

#endif
