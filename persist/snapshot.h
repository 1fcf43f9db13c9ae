/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Snapshots: the state of the 16 partitions at a journal sequence, as a file.
 *
 * A snapshot only saves time: every one can be lost and the journal rebuilds the state. Recovery,
 * the snapshot job and the checks use the same three steps: load, replay (replay.h), compare.
 * Files lie in journal/snapshot, one per sequence; a file with its final name is complete, as it
 * was synced, renamed, read again and verified. If the process dies here, a file with the suffix
 * .tmp is left, which the next job removes.
 */
#ifndef HB_PERSIST_SNAPSHOT_H
#define HB_PERSIST_SNAPSHOT_H

#include <stdint.h>

#include "base/config.h"
#include "persist/journal_format.h"
#include "persist/journal_reader.h"
#include "shm/state.h"

#define HB_SNAPSHOTS_MAX 128 /* looked at in one directory */

/** The capacities of a configuration, rounded up to powers of two. */
struct hb_capacity hb_capacity_from_config(const struct hb_config *config);

/**
 * Verify a snapshot file: header, section CRCs and SHA-256, length.
 * @param stream_id of the journal it must belong to
 * @return 0, -EBADMSG or another -errno with `error`
 */
int hb_snapshot_verify(const char *path, const uint8_t stream_id[16],
	struct hb_snapshot_header *header, char error[HB_JOURNAL_ERROR_BYTES]);

/** Read and check the header of the snapshot at `seq`, and its length. @return 0, -EBADMSG, -errno
 */
int hb_snapshot_read_header(const char *directory, uint64_t seq, const uint8_t stream_id[16],
	struct hb_snapshot_header *header);

/**
 * The sequences of the snapshots of a journal directory, newest first, not verified.
 * @return how many (at most HB_SNAPSHOTS_MAX), or -errno; 0 when there is none
 */
int hb_snapshot_list(const char *directory, uint64_t seq[HB_SNAPSHOTS_MAX]);

/**
 * Load the newest snapshot with sequence <= limit that verifies, into a new, empty state.
 * Damaged ones are passed over and logged.
 * @param state made with hb_state_create, nothing applied yet
 * @param header of the one loaded; header->seq = 0 when there is none: replay from 1
 * @return 0 or -errno with `error`
 */
int hb_snapshot_load_newest(const char *directory, uint64_t limit, const uint8_t stream_id[16],
	struct hb_state *state, struct hb_snapshot_header *header,
	char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * Look at every packet of a snapshot, after verifying the file. Needs no state.
 * @return 0 or -errno with `error`
 */
int hb_snapshot_visit_packets(const char *directory, uint64_t seq, const uint8_t stream_id[16],
	void (*visit)(void *visitor, const struct hb_packet *packet), void *visitor,
	char error[HB_JOURNAL_ERROR_BYTES]);

/** Write a snapshot of a state at header->seq; fills in the rest of the header. Verifies it. */
int hb_snapshot_write(const char *directory, const struct hb_state *state,
	struct hb_snapshot_header *header, char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * One run of the snapshot job: newest verified snapshot, replay to the durable sequence, write,
 * verify, keep snapshot.keep.
 * @return 0 (also when nothing is new), or -errno after logging why
 */
int hb_snapshot_run(const struct hb_config *config);

#endif
