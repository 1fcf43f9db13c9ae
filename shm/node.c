/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The node segment's labels and sums (shm/node.h). Memory belongs to the dataplane's segment.
 */
#include "shm/node.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

#define HB_COUNTER_FITS(name, text_key, text_label)                                                \
	_Static_assert(                                                                            \
		sizeof(text_key) <= sizeof(((struct hb_counter_label *)0)->key) &&                 \
			sizeof(text_label) <= sizeof(((struct hb_counter_label *)0)->label),       \
		"key and label of " #name);
HB_COUNTER_TABLE(HB_COUNTER_FITS)
#undef HB_COUNTER_FITS

void
hb_node_init(struct hb_node *node, uint32_t lcore_count)
{
	static const struct hb_counter_label table[HB_COUNTER_COUNT] = {
#define HB_COUNTER_ROW(name, text_key, text_label)                                                 \
	[HB_COUNTER_##name] = {.key = text_key, .label = text_label},
		HB_COUNTER_TABLE(HB_COUNTER_ROW)
#undef HB_COUNTER_ROW
	};

	HB_ASSERT(lcore_count <= HB_LCORE_COUNT_MAX);
	node->lcore_count = lcore_count;
	node->counter_count = HB_COUNTER_COUNT;
	node->started_ns = hb_wall_ns();
	memcpy(node->label, table, sizeof(table));
#define HB_COUNTER_ROW(name, its_kind, its_unit)                                                   \
	node->label[HB_COUNTER_##name].kind = HB_KIND_##its_kind;                                  \
	snprintf(node->label[HB_COUNTER_##name].unit, sizeof(node->label[0].unit), "%s", its_unit);
	HB_COUNTER_KIND_TABLE(HB_COUNTER_ROW)
#undef HB_COUNTER_ROW
}

uint64_t
hb_counter_sum(const struct hb_node *node, uint32_t counter)
{
	bool maximum = node->label[counter].kind == HB_KIND_MAXIMUM;
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

const char *
hb_counter_kind_name(uint32_t kind)
{
	static const char *const names[] = {"sum", "gauge", "maximum"};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

bool
hb_counter_label_read(const struct hb_node *node, uint32_t counter, struct hb_counter_label *label)
{
	memcpy(label, &node->label[counter], sizeof(*label));
	label->key[sizeof(label->key) - 1] = '\0';
	label->label[sizeof(label->label) - 1] = '\0';
	label->unit[sizeof(label->unit) - 1] = '\0';
	return label->key[0] != '\0';
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
