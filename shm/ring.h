/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A ring of bytes from one producer process to one consumer process (SPSC).
 *
 * Carries frames, replies and journal records: anything that begins with its own length. The data
 * area is mapped twice, one copy behind the other, so a message is always contiguous and there is
 * no padding at the end. Positions are u64 byte counts that never wrap in practice.
 *
 *   line 0 (producer): head      position behind the last published byte
 *   line 2 (consumer): tail      position behind the last consumed byte
 *   line 4 (consumer): sleeping  1 while the consumer blocks on its bell
 *
 * Who writes what: one writer per line, 128 bytes apart (adjacent-line prefetch).
 * Order: P1 `publish` stores head, pairs with C1 `peek` loading it (seq_cst, so that it also orders
 * against the sleeping flag); C2 `consume` stores tail (release), pairs with P2 `reserve` loading
 * it (acquire). Sleep: the consumer stores sleeping = 1, then loads head again (both seq_cst)
 * before it blocks; the producer stores head, then loads sleeping (both seq_cst). One of them sees
 * the other.
 *
 * If a process dies here: bytes that were not published do not exist, as head is stored after
 * them; published bytes stay and the survivor or a successor reads on at tail. Nothing to repair.
 *
 * A peer may be hostile: `peek` and `reserve` check every position they load against the capacity
 * and answer -EPROTO. Contents must be copied or checked once and not read again.
 */
#ifndef HB_SHM_RING_H
#define HB_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/prefetch.h"

/* In shared memory. */
struct hb_ring {
	_Alignas(128) _Atomic uint64_t head;
	_Alignas(128) _Atomic uint64_t tail;
	_Alignas(128) _Atomic uint32_t sleeping;
	uint8_t reserved[124];
};
_Static_assert(sizeof(struct hb_ring) == 384, "ring control");

/* One side's handle, private to its process. */
struct hb_ring_end {
	struct hb_ring *ring;
	uint8_t *data;	   /* capacity bytes, mapped twice in a row */
	uint64_t capacity; /* a power of two and a multiple of the page size */
	uint64_t position; /* producer: next byte to write; consumer: next byte to read */
	uint64_t peer;	   /* last seen position of the other side */
};

/** Make a handle; continues at the ring's current head (producer) or tail (consumer). */
void hb_ring_producer(
	struct hb_ring_end *end, struct hb_ring *ring, uint8_t *data, uint64_t capacity);
void hb_ring_consumer(
	struct hb_ring_end *end, struct hb_ring *ring, uint8_t *data, uint64_t capacity);

/**
 * Producer: room for `bytes` more, behind what was written but not yet published.
 * @return where to write, or NULL when there is no room now (or the peer's position is absurd)
 */
void *hb_ring_reserve(struct hb_ring_end *end, uint64_t bytes);

/** Producer: bytes free now (after a fresh look at the consumer). */
uint64_t hb_ring_room(struct hb_ring_end *end);

/** Producer: bytes free when the consumer was looked at last; there may be more by now. */
static inline uint64_t
hb_ring_room_seen(const struct hb_ring_end *end)
{
	return end->capacity - (end->position - end->peer);
}

/** Producer: count `bytes` written at the reserved place; not yet visible. */
static inline void
hb_ring_advance(struct hb_ring_end *end, uint64_t bytes)
{
	end->position += bytes;
}

/**
 * Producer: fetch the lines that are written next but one. The consumer has had them, or memory;
 * their neighbours come while the next message is made.
 */
static inline void
hb_ring_prefetch(const struct hb_ring_end *end)
{
	const uint8_t *at = end->data + (end->position & (end->capacity - 1));

	hb_prefetch_write(at + 2 * HB_CACHE_LINE_BYTES);
	hb_prefetch_write(at + 3 * HB_CACHE_LINE_BYTES);
}

/** Producer: make everything written visible. @return true when the consumer sleeps: wake it. */
bool hb_ring_publish(struct hb_ring_end *end);

/**
 * Consumer: bytes readable at `*at`, contiguous.
 * @return the number of bytes, 0 when empty, -EPROTO when the producer's position is absurd
 */
int64_t hb_ring_peek(struct hb_ring_end *end, void **at);

/** Consumer: give the producer `bytes` back. */
void hb_ring_consume(struct hb_ring_end *end, uint64_t bytes);

/** Consumer: announce sleep. @return true when it is still empty and blocking is safe. */
bool hb_ring_sleep(struct hb_ring_end *end);
/** Consumer: withdraw the announcement after waking up or when sleep was refused. */
void hb_ring_awake(struct hb_ring_end *end);

#endif
