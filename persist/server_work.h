/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Work on whole servers while the node runs: moving a shard, building a server's tables anew.
 *
 * Both run in the caller's thread and hold back the appliers of the servers concerned; the others
 * go on, and so do grabs: the journal keeps what is not applied. One work at a time; a check has to
 * wait. If the process dies at any point, the next start goes on with the map that is stored, and
 * the command can be given again.
 */
#ifndef HB_PERSIST_SERVER_WORK_H
#define HB_PERSIST_SERVER_WORK_H

#include "persist/applier.h"

/* Points of a move at which a test lets the process die. */
enum hb_move_step {
	HB_MOVE_STOPPED, /* both servers stand at one sequence */
	HB_MOVE_JOINED,	 /* a server that had no shard knows position and origins */
	HB_MOVE_HALF,	 /* the first table is copied */
	HB_MOVE_COPIED,	 /* all rows are there, counted and compared */
	HB_MOVE_STORED,	 /* the map on disk says so: from here on the shard is moved */
	HB_MOVE_TOLD,	 /* the appliers know it and go on */
	HB_MOVE_TAKEN,	 /* both servers know it */
	HB_MOVE_CLEARED, /* the old rows are gone */
	HB_MOVE_STEP_COUNT,
};

/**
 * Move a shard to another server. Moving it to where it is does nothing, or finishes what an
 * interrupted move left.
 * @param at_step NULL, or for tests: other than 0 leaves everything as a dying process would; the
 *        appliers then have to be stopped
 * @return 0; -ENOENT no such server; -EBUSY other work, a check, or another move to be finished;
 *         -ECANCELED by at_step; else as in persist/db.h and hb_applier_stop_at. Nothing has
 *         changed unless `error` says so
 */
int hb_server_move_shard(struct hb_applier *applier, uint32_t shard, const char *server,
	int (*at_step)(void *context, enum hb_move_step step), void *context, char error[256]);

/**
 * Empty the ledger's tables of a server and fill them again from the whole journal; returns when
 * it has everything that was committed at the call.
 * @return 0; -ENOENT no such server; -EBUSY; -ENODATA the journal does not reach back to its
 *         beginning, nothing has changed; -EIO the applier is poisoned; else as in persist/db.h
 */
int hb_server_rebuild(struct hb_applier *applier, const char *server, char error[256]);

#endif
