/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The node segment's labels and sums (shm/node.h). Memory belongs to the dataplane's segment.
 */
#include "shm/node.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

void
hb_node_init(struct hb_node *node, uint32_t lcore_count)
{
	static const struct {
		const char *key;
		const char *label;
	} table[HB_COUNTER_COUNT] = {
#define HB_COUNTER_ROW(name, text_key, text_label) {text_key, text_label},
		HB_COUNTER_TABLE(HB_COUNTER_ROW)
#undef HB_COUNTER_ROW
	};

	HB_ASSERT(lcore_count <= HB_LCORE_COUNT_MAX);
	node->lcore_count = lcore_count;
	node->counter_count = HB_COUNTER_COUNT;
	node->started_ns = hb_wall_ns();
	for (uint32_t i = 0; i < HB_COUNTER_COUNT; i++) {
		snprintf(node->label[i].key, sizeof(node->label[i].key), "%s", table[i].key);
		snprintf(node->label[i].label, sizeof(node->label[i].label), "%s", table[i].label);
	}
}

/* The label may be of a newer program, and not end with a zero byte. */
static bool
is_maximum(const struct hb_counter_label *label)
{
	size_t length = strnlen(label->key, sizeof(label->key));

	return length > 4 && memcmp(label->key + length - 4, "_max", 4) == 0;
}

uint64_t
hb_counter_sum(const struct hb_node *node, uint32_t counter)
{
	bool maximum = is_maximum(&node->label[counter]);
	uint64_t result = 0;

	for (uint32_t column = 0; column < HB_COUNTER_COLUMNS; column++) {
		uint64_t value =
			atomic_load_explicit(&node->value[column][counter], memory_order_relaxed);

		if (!maximum)
			result += value;
		else if (value > result)
			result = value;
	}
	return result;
}

static const char *const degrade_names[HB_DEGRADE_COUNT] = {
	[HB_DEGRADE_NORMAL] = "normal",
	[HB_DEGRADE_NO_LISTS] = "no-lists",
	[HB_DEGRADE_NO_PUSH] = "no-push",
	[HB_DEGRADE_NO_NEW_PACKETS] = "no-new-packets",
};

const char *
hb_degrade_name(uint32_t level)
{
	return level < HB_DEGRADE_COUNT ? degrade_names[level] : "unknown";
}

uint32_t
hb_degrade_find(const char *name)
{
	uint32_t level = 0;

	while (level < HB_DEGRADE_COUNT && strcmp(name, degrade_names[level]) != 0)
		level++;
	return level;
}
