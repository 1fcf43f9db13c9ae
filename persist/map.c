/* SPDX-License-Identifier: Apache-2.0 */
/** @file Open addressing with linear probing over entries of one size: see the header. */
#include "persist/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"

#define SLOTS_AT_FIRST 1024

static uint64_t
key_of(const uint8_t *entry)
{
	uint64_t key;

	memcpy(&key, entry, sizeof(key));
	return key;
}

void
hb_map_open(struct hb_map *map, size_t entry_bytes)
{
	HB_ASSERT(entry_bytes >= sizeof(uint64_t));
	*map = (struct hb_map){.entry_bytes = entry_bytes};
}

void
hb_map_clear(struct hb_map *map)
{
	free(map->slots);
	map->slots = NULL;
	map->slot_count = 0;
	map->count = 0;
}

void
hb_map_close(struct hb_map *map)
{
	hb_map_clear(map);
}

/* The key's entry, or the free slot where it belongs. */
static uint8_t *
slot_of(const struct hb_map *map, uint64_t key)
{
	uint64_t mask = map->slot_count - 1;

	for (uint64_t i = hb_mix64(key) & mask;; i = (i + 1) & mask) {
		uint8_t *entry = map->slots + i * map->entry_bytes;
		uint64_t found = key_of(entry);

		if (found == key || found == 0)
			return entry;
	}
}

static int
grow(struct hb_map *map)
{
	struct hb_map larger = *map;

	larger.slot_count = map->slot_count == 0 ? SLOTS_AT_FIRST : map->slot_count * 2;
	larger.slots = calloc(larger.slot_count, map->entry_bytes);
	if (larger.slots == NULL)
		return -1;
	for (uint64_t i = 0; i < map->slot_count; i++) {
		const uint8_t *entry = map->slots + i * map->entry_bytes;

		if (key_of(entry) != 0)
			memcpy(slot_of(&larger, key_of(entry)), entry, map->entry_bytes);
	}
	free(map->slots);
	*map = larger;
	return 0;
}

void *
hb_map_find(const struct hb_map *map, uint64_t key)
{
	if (map->count == 0 || key == 0)
		return NULL;
	uint8_t *entry = slot_of(map, key);

	return key_of(entry) == key ? entry : NULL;
}

void *
hb_map_get(struct hb_map *map, uint64_t key)
{
	HB_ASSERT(key != 0);
	if (map->count * 2 >= map->slot_count && grow(map) != 0)
		return NULL;
	uint8_t *entry = slot_of(map, key);

	if (key_of(entry) == 0) {
		memcpy(entry, &key, sizeof(key));
		map->count++;
	}
	return entry;
}

void *
hb_map_next(const struct hb_map *map, uint64_t *cursor)
{
	while (*cursor < map->slot_count) {
		uint8_t *entry = map->slots + *cursor * map->entry_bytes;

		++*cursor;
		if (key_of(entry) != 0)
			return entry;
	}
	return NULL;
}
