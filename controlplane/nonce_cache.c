/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nonces seen (nonce_cache.h): two open-addressed tables of 128-bit fingerprints under one
 * mutex. The cache owns them; they are anonymous mappings, so pages cost nothing until used and
 * forgetting a generation is one madvise. If the process dies they are gone.
 */
#include "controlplane/nonce_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/bits.h"

struct fingerprint {
	uint64_t high; /* both 0 = free slot */
	uint64_t low;
};

struct generation {
	struct fingerprint *slots; /* twice the capacity, so probes stay short */
	uint32_t count;
};

struct hb_nonce_cache {
	pthread_mutex_t lock;
	struct generation young;
	struct generation old;
	uint32_t capacity;
	uint64_t period_s;
	uint64_t turned_s; /* when the young generation began */
};

static size_t
table_bytes(const struct hb_nonce_cache *cache)
{
	return (size_t)cache->capacity * 2 * sizeof(struct fingerprint);
}

static struct fingerprint *
table_map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

int
hb_nonce_cache_create(struct hb_nonce_cache **out, uint32_t capacity, uint64_t period_s)
{
	struct hb_nonce_cache *cache = calloc(1, sizeof(*cache));

	HB_ASSERT(hb_is_power_of_two(capacity));
	if (!cache)
		return -ENOMEM;
	cache->capacity = capacity;
	cache->period_s = period_s;
	pthread_mutex_init(&cache->lock, NULL);
	cache->young.slots = table_map(table_bytes(cache));
	cache->old.slots = table_map(table_bytes(cache));
	if (!cache->young.slots || !cache->old.slots) {
		hb_nonce_cache_destroy(cache);
		return -ENOMEM;
	}
	*out = cache;
	return 0;
}

void
hb_nonce_cache_destroy(struct hb_nonce_cache *cache)
{
	if (!cache)
		return;
	if (cache->young.slots)
		munmap(cache->young.slots, table_bytes(cache));
	if (cache->old.slots)
		munmap(cache->old.slots, table_bytes(cache));
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* The slot of a fingerprint, or the free slot where it would go. */
static struct fingerprint *
slot_of(const struct hb_nonce_cache *cache, const struct generation *generation,
	const struct fingerprint *wanted)
{
	uint32_t mask = cache->capacity * 2 - 1;

	for (uint32_t i = (uint32_t)wanted->low & mask;; i = (i + 1) & mask) {
		struct fingerprint *slot = &generation->slots[i];

		if ((slot->high == wanted->high && slot->low == wanted->low) ||
			(slot->high == 0 && slot->low == 0))
			return slot;
	}
}

static bool
is_free(const struct fingerprint *slot)
{
	return slot->high == 0 && slot->low == 0;
}

static void
forget(struct hb_nonce_cache *cache, struct generation *generation)
{
	/* Anonymous private pages come back as zeros. */
	HB_ASSERT(madvise(generation->slots, table_bytes(cache), MADV_DONTNEED) == 0);
	generation->count = 0;
}

static void
turn(struct hb_nonce_cache *cache, uint64_t now_s)
{
	uint64_t age_s = now_s - cache->turned_s;
	struct generation oldest = cache->old;

	if (cache->turned_s != 0 && (now_s < cache->turned_s || age_s < cache->period_s))
		return;
	cache->old = cache->young;
	cache->young = oldest;
	forget(cache, &cache->young);
	if (age_s >= 2 * cache->period_s)
		forget(cache, &cache->old);
	cache->turned_s = now_s;
}

int
hb_nonce_cache_add(struct hb_nonce_cache *cache, const uint8_t fingerprint[16], uint64_t now_s)
{
	struct fingerprint wanted;
	struct fingerprint *slot;
	int result = 0;

	memcpy(&wanted, fingerprint, sizeof(wanted));
	if (is_free(&wanted))
		wanted.high = 1;
	pthread_mutex_lock(&cache->lock);
	turn(cache, now_s);
	slot = slot_of(cache, &cache->young, &wanted);
	if (!is_free(slot) || !is_free(slot_of(cache, &cache->old, &wanted))) {
		result = -EEXIST;
	} else if (cache->young.count == cache->capacity) {
		result = -ENOSPC;
	} else {
		*slot = wanted;
		cache->young.count++;
	}
	pthread_mutex_unlock(&cache->lock);
	return result;
}
