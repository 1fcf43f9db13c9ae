/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The byte ring of shm/ring.h. Handles belong to their caller, the ring to its segment. If either
 * process dies in here, the ring stays as its head and tail say; there is nothing to repair.
 */
#include "shm/ring.h"

#include <errno.h>

#include "base/assert.h"
#include "base/bits.h"

static void
ring_end(struct hb_ring_end *end, struct hb_ring *ring, uint8_t *data, uint64_t capacity)
{
	HB_ASSERT(hb_is_power_of_two(capacity));
	end->ring = ring;
	end->data = data;
	end->capacity = capacity;
}

void
hb_ring_producer(struct hb_ring_end *end, struct hb_ring *ring, uint8_t *data, uint64_t capacity)
{
	ring_end(end, ring, data, capacity);
	end->position = atomic_load_explicit(&ring->head, memory_order_relaxed);
	end->peer = atomic_load_explicit(&ring->tail, memory_order_acquire);
}

void
hb_ring_consumer(struct hb_ring_end *end, struct hb_ring *ring, uint8_t *data, uint64_t capacity)
{
	ring_end(end, ring, data, capacity);
	end->position = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	end->peer = end->position;
}

uint64_t
hb_ring_room(struct hb_ring_end *end)
{
	uint64_t tail = atomic_load_explicit(&end->ring->tail, memory_order_acquire); /* P2 */

	/* A tail in front of us, behind where it was or a whole ring behind is absurd: no room. */
	if (tail - end->peer > end->position - end->peer || end->position - tail > end->capacity)
		return 0;
	end->peer = tail;
	return end->capacity - (end->position - tail);
}

void *
hb_ring_reserve(struct hb_ring_end *end, uint64_t bytes)
{
	uint64_t used = end->position - end->peer;

	if (used > end->capacity || bytes > end->capacity - used) {
		if (bytes > hb_ring_room(end))
			return NULL;
	}
	return end->data + (end->position & (end->capacity - 1));
}

bool
hb_ring_publish(struct hb_ring_end *end)
{
	/* P1, and one half of the sleep protocol: store head, then look at the flag. */
	atomic_store_explicit(&end->ring->head, end->position, memory_order_seq_cst);
	return atomic_load_explicit(&end->ring->sleeping, memory_order_seq_cst) != 0;
}

int64_t
hb_ring_peek(struct hb_ring_end *end, void **at)
{
	uint64_t head = atomic_load_explicit(&end->ring->head, memory_order_seq_cst); /* C1 */

	if (head - end->position > end->capacity)
		return -EPROTO;
	end->peer = head;
	*at = end->data + (end->position & (end->capacity - 1));
	return (int64_t)(head - end->position);
}

void
hb_ring_consume(struct hb_ring_end *end, uint64_t bytes)
{
	HB_ASSERT(bytes <= end->peer - end->position);
	end->position += bytes;
	atomic_store_explicit(&end->ring->tail, end->position, memory_order_release); /* C2 */
}

bool
hb_ring_sleep(struct hb_ring_end *end)
{
	atomic_store_explicit(&end->ring->sleeping, 1, memory_order_seq_cst);
	return atomic_load_explicit(&end->ring->head, memory_order_seq_cst) == end->position;
}

void
hb_ring_awake(struct hb_ring_end *end)
{
	atomic_store_explicit(&end->ring->sleeping, 0, memory_order_relaxed);
}
