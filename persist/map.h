/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A hash table from u64 keys to entries of one size; an entry begins with its key, which is not 0.
 * Open addressing, doubled at half load, never shrinks until cleared. Entries move when one is
 * added: keep keys, not pointers. Owned by its user; one thread.
 */
#ifndef HB_PERSIST_MAP_H
#define HB_PERSIST_MAP_H

#include <stddef.h>
#include <stdint.h>

struct hb_map {
	uint8_t *slots;
	size_t entry_bytes;
	uint64_t slot_count; /* a power of two, or 0 */
	uint64_t count;
};

void hb_map_open(struct hb_map *map, size_t entry_bytes);
void hb_map_close(struct hb_map *map);
/** Forget all entries and free their memory. */
void hb_map_clear(struct hb_map *map);
/** @return the entry or NULL */
void *hb_map_find(const struct hb_map *map, uint64_t key);
/** @return the entry, made with zeros behind its key when it was missing; NULL: out of memory */
void *hb_map_get(struct hb_map *map, uint64_t key);
/** Walk: the first entry at slot *cursor or behind it, NULL at the end; moves the cursor past. */
void *hb_map_next(const struct hb_map *map, uint64_t *cursor);

#endif
