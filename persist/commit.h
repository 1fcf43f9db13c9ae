/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The commit watermark inside hongbao-persist: the writer moves it, appliers and others wait on it.
 *
 * The writer stores and goes on; it never takes a lock and never waits for a reader. Waiters sleep
 * on a futex of their own count. Nothing here survives the process: the journal does.
 */
#ifndef HB_PERSIST_COMMIT_H
#define HB_PERSIST_COMMIT_H

#include <stdatomic.h>
#include <stdint.h>

struct hb_commit {
	_Alignas(64) _Atomic uint64_t seq; /* newest committed sequence */
	_Atomic uint32_t generation;	   /* counts moves: the futex word */
	_Atomic uint32_t waiters;
};

/** The newest committed global sequence; 0 when the journal is empty. */
static inline uint64_t
hb_committed_seq(const struct hb_commit *commit)
{
	return atomic_load_explicit(&commit->seq, memory_order_acquire);
}

/** Writer: move the watermark and wake who waits. */
void hb_commit_publish(struct hb_commit *commit, uint64_t seq);

/**
 * Wait until the committed sequence is above `seq`, the time is over, or hb_commit_wake.
 * @return the committed sequence now, which may still be `seq`
 */
uint64_t hb_commit_wait(struct hb_commit *commit, uint64_t seq, uint32_t timeout_ms);

/** Wake every waiter without a new sequence (to let it look at a stop flag). */
void hb_commit_wake(struct hb_commit *commit);

#endif
