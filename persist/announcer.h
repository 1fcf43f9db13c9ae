/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The announcer: follows the journal behind the commit watermark and publishes what was committed
 * as notices (shm/notices.h), for the event streams of the nginx workers.
 *
 * It is one more reader of the journal, in a thread of its own, like an applier: the writer does
 * not know of it and never waits for it. It begins some minutes before the end of the journal, so
 * after a restart of persist the new ring has what the streams may have missed, and nobody hands
 * anything over. Who sent which packet it learns from a snapshot at its begin and from the records.
 *
 * Readers get the segment over a Unix socket, served by the main thread; the connection's life is
 * that of the ring. If the process dies here, readers see the hang-up and come back to the
 * successor with the sequence they stand at.
 */
#ifndef HB_PERSIST_ANNOUNCER_H
#define HB_PERSIST_ANNOUNCER_H

#include <stdint.h>

#include "persist/commit.h"
#include "persist/journal_reader.h"

#define HB_ANNOUNCER_READERS_MAX 256 /* connections: workers, those of before a reload included */

/* What it needs; copied, but for the directory's name and the commit, which outlive it. */
struct hb_announcer_source {
	const char *journal_directory;
	uint8_t stream_id[16];
	struct hb_commit *commit;
	uint64_t slots;	  /* of the ring, a power of two */
	uint64_t packets; /* capacity of one partition's table, a power of two */
};

struct hb_announcer;

/**
 * Make the ring and start the thread.
 * @return 0 or -errno with `error`; end it with hb_announcer_stop
 */
int hb_announcer_start(struct hb_announcer **announcer, const struct hb_announcer_source *source,
	char error[HB_JOURNAL_ERROR_BYTES]);
/** Safe on NULL. */
void hb_announcer_stop(struct hb_announcer *announcer);

/** The sequence up to which everything was announced. Any thread. */
uint64_t hb_announcer_seq(const struct hb_announcer *announcer);

/* ---- readers; one thread ---- */

/** Hand the ring to a connection. Takes the descriptor in any case. @return 0 or -errno */
int hb_announcer_admit(struct hb_announcer *announcer, int fd);
/** Close connections whose reader has gone; call it now and then. @return how many there are */
uint32_t hb_announcer_sweep(struct hb_announcer *announcer);

#endif
