/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Replay: the records behind a snapshot, applied to the state that was loaded from it.
 *
 * Recovery replays in several threads when there are CPUs for them; the snapshot job and the
 * checks, which run beside a node that serves, in their own. The state is the same to the last
 * byte, and so is what is said of a journal that contradicts itself.
 *
 * The state belongs to the caller. If the process dies here, it goes with it: the journal is only
 * read.
 */
#ifndef HB_PERSIST_REPLAY_H
#define HB_PERSIST_REPLAY_H

#include <stdint.h>

#include "persist/journal_format.h"
#include "persist/journal_reader.h"
#include "shm/state.h"

#define HB_REPLAY_THREADS_MAX 4 /* more would wait for the one that reads and checks */

/* After a replay that ended with 0. */
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
 * The same in so many threads besides the caller's, which reads and checks the journal meanwhile.
 * Each has its partitions and does with them what hb_replay does, in the same order.
 * @param threads at most HB_REPLAY_THREADS_MAX; 0, or when there are none to be had: hb_replay
 * @return as hb_replay
 */
int hb_replay_in_threads(struct hb_journal_reader *reader, struct hb_state *state,
	const struct hb_snapshot_header *start, uint32_t threads, struct hb_replay_result *result,
	char error[HB_JOURNAL_ERROR_BYTES]);

/** As many threads as there are CPUs for this process; 0 when there is one. */
uint32_t hb_replay_threads(void);

/**
 * The newest verified snapshot and the journal behind it up to `limit`, into a new, empty state.
 * @param threads of hb_replay_in_threads
 * @param header of the snapshot used, header->seq = 0 when there was none
 * @return 0 or -errno with `error`, as hb_snapshot_load_newest and hb_replay
 */
int hb_state_rebuild(const char *directory, uint64_t limit, const uint8_t stream_id[16],
	struct hb_state *state, uint32_t threads, struct hb_snapshot_header *header,
	struct hb_replay_result *result, char error[HB_JOURNAL_ERROR_BYTES]);

#endif
