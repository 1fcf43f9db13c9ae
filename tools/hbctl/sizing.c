/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of a node (sizing.h). No state, no input but the arguments.
 */
#include "tools/hbctl/sizing.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "shm/record.h"
#include "shm/state_internal.h"

#define MIB		      UINT64_C(1048576)
#define HUGE_PAGE_BYTES	      (2 * MIB)
#define DAY_S		      86400
#define UNEVEN_PERCENT	      110	  /* a partition has more than its sixteenth */
#define PROGRAMS_BYTES	      (512 * MIB) /* code, stacks, rings, parked replies, nginx */
#define MYSQL_BYTES	      (256 * MIB) /* of a server besides its pool */
#define POOL_BYTES_MIN	      (512 * MIB) /* tools/launcher/mysql.sh */
#define POOL_SHARE	      8		  /* of the machine's memory: an eighth */
#define SHED_PERCENT	      70	  /* of the journal's volume: no new packets */
#define KEPT_DAYS_OF_PACKETS  4		  /* a day open, three over: capacity.retention_s */
#define IDEMPOTENCY_DAYS      (HB_IDEMPOTENCY_KEPT_S / DAY_S)
#define CAPACITY_MAX	      UINT64_C(16777216) /* of capacity.* */
#define ARENA_MIB_MAX	      UINT64_C(16384)
#define GREETING_TYPICAL      24    /* bytes of UTF-8 */
#define ROWS_PER_GRAB	      4	    /* order, claim, two flows */
#define LCORE_FULL_PERCENT    60    /* the rest is for bursts */
#define FRAMES_PER_SECOND_MAX 10000 /* writes of a fast device, each padded to a block */

/* CPU of one grab, microseconds, as measured (README, "How fast"); slower machines need more. */
#define GRAB_DATAPLANE_US 14
#define GRAB_PERSIST_US	  21
#define GRAB_FRONT_US	  25
#define GRAB_MYSQL_US	  37

static uint64_t
power_of_two(uint64_t at_least, uint64_t min)
{
	uint64_t value = min;

	while (value < at_least)
		value *= 2;
	return value;
}

/* Of all partitions together, the share of the fullest. */
static uint64_t
of_partition(uint64_t all)
{
	return (all * UNEVEN_PERCENT / 100 + HB_PARTITION_COUNT - 1) / HB_PARTITION_COUNT;
}

/* Slots of a table that keeps a quarter free. */
static uint64_t
hashed(uint64_t entries, uint64_t min)
{
	return power_of_two(entries * 4 / 3 + 1, min);
}

static void
capacities(struct hb_capacity *c, const struct hbctl_sizing_wish *wish)
{
	uint64_t packets = of_partition(wish->packets);
	uint64_t tokens = of_partition(wish->grabs_per_second * HB_TOKEN_LIFETIME_S);
	uint64_t a_day = packets / KEPT_DAYS_OF_PACKETS + 1;
	uint64_t block_bytes =
		hbi_packet_block_units((uint32_t)wish->shares_per_packet, GREETING_TYPICAL) *
		HBI_ARENA_UNIT_BYTES;

	c->accounts = hashed(of_partition(wish->accounts), 1024);
	c->packets = power_of_two(packets, 1024);
	c->arena_bytes = power_of_two(packets * block_bytes, MIB);
	c->windows = hashed(tokens, 1024);
	/* a send and the recharge before it, each with an order and a key */
	c->orders = hashed(2 * packets, 1024);
	c->idempotency = power_of_two(2 * a_day * IDEMPOTENCY_DAYS, 1024);
	c->holds = 65536;
}

static const char *
beyond(const struct hb_capacity *c)
{
	if (c->accounts > CAPACITY_MAX)
		return "accounts";
	if (c->packets > CAPACITY_MAX || c->orders > CAPACITY_MAX || c->idempotency > CAPACITY_MAX)
		return "packets";
	if (c->arena_bytes > ARENA_MIB_MAX * MIB)
		return "packets times shares";
	return c->windows > CAPACITY_MAX ? "grabs per second" : NULL;
}

static void
journal(struct hbctl_sizing *sizing, const struct hbctl_sizing_wish *wish,
	const struct hb_config *config)
{
	uint64_t packets_per_day = wish->packets / KEPT_DAYS_OF_PACKETS;
	uint64_t frames = wish->grabs_per_second < FRAMES_PER_SECOND_MAX ? wish->grabs_per_second
									 : FRAMES_PER_SECOND_MAX;
	uint64_t of_packet = sizeof(struct hb_record_packet_create) +
			     sizeof(struct hb_record_packet_expire) +
			     sizeof(struct hb_record_evict) + sizeof(struct hb_record_credit) +
			     sizeof(struct hb_record_order_open);

	sizing->grabs_per_day = wish->grabs_per_second * wish->busy_hours * 3600;
	sizing->journal_day_bytes =
		sizing->grabs_per_day * sizeof(struct hb_record_grab) + packets_per_day * of_packet;
	sizing->journal_second_bytes = wish->grabs_per_second * sizeof(struct hb_record_grab) +
				       frames * HB_JOURNAL_BLOCK_BYTES;
	sizing->journal_volume_bytes =
		(sizing->journal_day_bytes * (uint64_t)config->journal_keep_days +
			(uint64_t)config->snapshot_keep * sizing->state_bytes +
			(uint64_t)(config->journal_segments_ready + 2) *
				(uint64_t)config->journal_segment_mib * MIB) /
		SHED_PERCENT * 100;
	sizing->sync_us_max = UINT64_C(1000000) *
			      (HB_JOURNAL_FRAME_BYTES_MAX / sizeof(struct hb_record_grab)) /
			      (wish->grabs_per_second == 0 ? 1 : wish->grabs_per_second);
	sizing->ledger_rows_per_day = sizing->grabs_per_day * ROWS_PER_GRAB + packets_per_day * 4;
}

static void
cores(struct hbctl_sizing *sizing, const struct hbctl_sizing_wish *wish)
{
	uint64_t all_us;

	sizing->dataplane_us = wish->grabs_per_second * GRAB_DATAPLANE_US;
	sizing->persist_us = wish->grabs_per_second * GRAB_PERSIST_US;
	sizing->front_us = wish->grabs_per_second * GRAB_FRONT_US;
	sizing->mysql_us = wish->grabs_per_second * GRAB_MYSQL_US;
	sizing->lcores = 1;
	while (sizing->lcores < HB_LCORE_COUNT_MAX &&
		sizing->lcores * 10000 * LCORE_FULL_PERCENT < sizing->dataplane_us)
		sizing->lcores *= 2;
	all_us = sizing->persist_us + sizing->front_us + sizing->mysql_us;
	sizing->cores = sizing->lcores + 1 + all_us / (10000 * LCORE_FULL_PERCENT);
}

/* The pool is a share of the whole, of which the others are what is left. */
static void
memory(struct hbctl_sizing *sizing)
{
	uint64_t others = sizing->state_bytes + sizing->snapshot_bytes + PROGRAMS_BYTES;
	uint64_t pool = (others + MYSQL_BYTES) / (POOL_SHARE - 1);

	if (pool < POOL_BYTES_MIN)
		pool = POOL_BYTES_MIN;
	sizing->mysql_bytes = MYSQL_BYTES + pool;
	sizing->memory_bytes = others + sizing->mysql_bytes;
}

int
hbctl_sizing_make(struct hbctl_sizing *sizing, const struct hbctl_sizing_wish *wish,
	const struct hb_config *config, const char **too_much)
{
	memset(sizing, 0, sizeof(*sizing));
	capacities(&sizing->capacity, wish);
	*too_much = beyond(&sizing->capacity);
	if (*too_much != NULL)
		return -ERANGE;
	sizing->state_bytes = hb_state_bytes(&sizing->capacity);
	sizing->snapshot_bytes = sizing->state_bytes;
	memory(sizing);
	sizing->huge_pages = (sizing->state_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES;
	journal(sizing, wish, config);
	cores(sizing, wish);
	return 0;
}
