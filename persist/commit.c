/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit watermark with futex waiting. The writer's cost is two stores and, only when somebody
 * waits, one system call. Memory belongs to whoever embeds struct hb_commit.
 */
#include "persist/commit.h"

#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void
wake_all(struct hb_commit *commit)
{
	/* pairs with the waiter: it counts itself, then looks at generation (both seq_cst) */
	atomic_fetch_add(&commit->generation, 1);
	if (atomic_load(&commit->waiters) != 0)
		syscall(SYS_futex, &commit->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void
hb_commit_publish(struct hb_commit *commit, uint64_t seq)
{
	atomic_store_explicit(&commit->seq, seq, memory_order_release);
	wake_all(commit);
}

void
hb_commit_wake(struct hb_commit *commit)
{
	wake_all(commit);
}

uint64_t
hb_commit_wait(struct hb_commit *commit, uint64_t seq, uint32_t timeout_ms)
{
	struct timespec timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};
	uint32_t generation;

	atomic_fetch_add(&commit->waiters, 1);
	generation = atomic_load(&commit->generation);
	if (hb_committed_seq(commit) <= seq)
		syscall(SYS_futex, &commit->generation, FUTEX_WAIT_PRIVATE, generation, &timeout,
			NULL, 0);
	atomic_fetch_sub(&commit->waiters, 1);
	return hb_committed_seq(commit);
}
