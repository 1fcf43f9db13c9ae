/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A queue of fixed-size entries from one thread to another of this process.
 *
 * Carries messages between the main thread and lcores, and credits between lcores. The memory is
 * taken once, at start, and belongs to whoever called hb_spsc_init. Positions are stored and
 * loaded seq_cst where the sleep protocol of shm/node.h needs it. Dies with its process.
 */
#ifndef HB_DATAPLANE_SPSC_H
#define HB_DATAPLANE_SPSC_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

struct hb_spsc {
	_Alignas(128) _Atomic uint64_t head; /* written by the producer */
	_Alignas(128) _Atomic uint64_t tail; /* written by the consumer */
	_Alignas(128) uint8_t *entries;
	uint64_t capacity; /* a power of two */
	uint32_t entry_bytes;
};

/** @return 0 or -ENOMEM */
static inline int
hb_spsc_init(struct hb_spsc *queue, uint64_t entries, uint32_t entry_bytes)
{
	memset(queue, 0, sizeof(*queue));
	queue->capacity = hb_power_of_two_ceil(entries);
	queue->entry_bytes = entry_bytes;
	queue->entries = calloc(queue->capacity, entry_bytes);
	return queue->entries == NULL ? -ENOMEM : 0;
}

static inline void
hb_spsc_free(struct hb_spsc *queue)
{
	free(queue->entries);
	queue->entries = NULL;
}

/** Producer. @return false when it is full */
static inline bool
hb_spsc_push(struct hb_spsc *queue, const void *entry)
{
	uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&queue->tail, memory_order_acquire) == queue->capacity)
		return false;
	memcpy(queue->entries + (head & (queue->capacity - 1)) * queue->entry_bytes, entry,
		queue->entry_bytes);
	atomic_store_explicit(&queue->head, head + 1, memory_order_seq_cst);
	return true;
}

/** Consumer. */
static inline bool
hb_spsc_empty(struct hb_spsc *queue)
{
	return atomic_load_explicit(&queue->head, memory_order_seq_cst) ==
	       atomic_load_explicit(&queue->tail, memory_order_relaxed);
}

/** Consumer. @return false when it is empty */
static inline bool
hb_spsc_pop(struct hb_spsc *queue, void *entry)
{
	uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);

	if (hb_spsc_empty(queue))
		return false;
	memcpy(entry, queue->entries + (tail & (queue->capacity - 1)) * queue->entry_bytes,
		queue->entry_bytes);
	atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
	return true;
}

#endif
