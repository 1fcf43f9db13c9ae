/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Shared by the files of replay: one record, and the crew of threads that share the partitions.
 */
#ifndef HB_PERSIST_REPLAY_INTERNAL_H
#define HB_PERSIST_REPLAY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/engine.h"

/* What a record contradicts. */
struct hbi_fault {
	uint64_t seq;
	const char *what; /* NULL: nothing */
	bool of_credit;	  /* the record itself was right */
};

/**
 * Check and apply what a record changes in some partitions: its own, and its credit's.
 * @param partitions a bit for each
 * @param fault its seq is the caller's
 * @return false with `fault` when the record contradicts them
 */
bool hbi_replay_record(struct hb_state *state, uint32_t partitions, const struct hb_record *record,
	struct hbi_fault *fault);

/* replay_crew.c */
struct hbi_crew;

/** @return 0, -ENOMEM or -EAGAIN when there are no threads to be had; nothing is left then */
int hbi_crew_start(struct hbi_crew **crew, struct hb_state *state, uint32_t threads);

/**
 * Hand the next record to all; it is copied. Waits when they are far behind.
 * @return false when one of them has found a fault: nothing more is wanted
 */
bool hbi_crew_give(struct hbi_crew *crew, uint64_t seq, const struct hb_record *record);

/** Let them finish with what they were given, and end them. @return the first fault, if any */
struct hbi_fault hbi_crew_end(struct hbi_crew *crew);

#endif
