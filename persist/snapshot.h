/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Snapshots: the state of the 16 partitions at a journal sequence, as a file.
 *
 * A snapshot only saves time: every one can be lost and the journal rebuilds the state. Recovery,
 * the snapshot job and the checks use the same three steps: load, replay, compare.
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

struct hb_replay_result {
	uint64_t seq; /* newest applied */
	uint64_t epoch;
	uint64_t frame_number;
	uint64_t frame_wall_ns;
	uint8_t chain[32];
	uint64_t records;
	uint64_t marks; /* compared */
	uint64_t ring_sequence[HB_RING_COUNT];
	uint32_t ring_crc[HB_RING_COUNT];
};

/**
 * Apply the records after a snapshot up to the reader's limit or end: hb_apply_check, hb_apply, and
 * the credit at once.
 * @param start header of the snapshot loaded; seq = 0: from the beginning
 * @param each NULL, or called for every record before it is applied; non-zero ends the replay with
 *        that value (checks count there)
 * @return 0, -EBADMSG when a record contradicts the state, or the reader's error; with `error`
 */
int hb_replay(struct hb_journal_reader *reader, struct hb_state *state,
	const struct hb_snapshot_header *start, struct hb_replay_result *result,
	int (*each)(void *context, const struct hb_record *record,
		const struct hb_journal_position *position),
	void *context, char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * The newest verified snapshot and the journal behind it up to `limit`, into a new, empty state.
 * @param header of the snapshot used, header->seq = 0 when there was none
 * @return 0 or -errno with `error`, as hb_snapshot_load_newest and hb_replay
 */
int hb_state_rebuild(const char *directory, uint64_t limit, const uint8_t stream_id[16],
	struct hb_state *state, struct hb_snapshot_header *header, struct hb_replay_result *result,
	char error[HB_JOURNAL_ERROR_BYTES]);

/**
 * One run of the snapshot job: newest verified snapshot, replay to the durable sequence, write,
 * verify, keep snapshot.keep.
 * @return 0 (also when nothing is new), or -errno after logging why
 */
int hb_snapshot_run(const struct hb_config *config);

#endif
