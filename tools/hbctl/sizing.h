/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a node needs for a wish: capacities, memory, journal, disk, cores. Pure; from the sizes of
 * the engine's own structures and records, so that it cannot lag behind them. docs/sizing.md says
 * how each number comes about.
 */
#ifndef HBCTL_SIZING_H
#define HBCTL_SIZING_H

#include <stdint.h>

#include "base/config.h"
#include "shm/state.h"

/* Bounds of a wish; more is another machine for every number. */
#define HBCTL_SIZING_ACCOUNTS_MAX UINT64_C(150000000)
#define HBCTL_SIZING_PACKETS_MAX  UINT64_C(200000000)
#define HBCTL_SIZING_GRABS_MAX	  UINT64_C(10000000)

struct hbctl_sizing_wish {
	uint64_t accounts;
	uint64_t packets;	    /* in memory at once: open, and over for capacity.retention_s */
	uint64_t shares_per_packet; /* on average */
	uint64_t grabs_per_second;  /* at the busiest */
	uint64_t busy_hours;	    /* of a day at that rate */
};

struct hbctl_sizing {
	struct hb_capacity capacity; /* per partition; a value for each capacity.* option */
	uint64_t state_bytes;	     /* of the state segment, as the engine makes it */
	uint64_t snapshot_bytes;     /* a second state, while a snapshot is made */
	uint64_t mysql_bytes;	     /* buffer pool and log buffers of the private server */
	uint64_t memory_bytes;	     /* all, with what the programs themselves take */
	uint64_t huge_pages;	     /* of 2 MiB, that the state fills when the kernel gives them */
	uint64_t grabs_per_day;
	uint64_t journal_day_bytes;    /* kept, upper bound: records without padding, not packed */
	uint64_t journal_second_bytes; /* written at the busiest, with padding to blocks */
	uint64_t journal_volume_bytes; /* for journal.keep_days, below the first shedding level */
	uint64_t sync_us_max; /* T_sync at which one write still takes what came meanwhile */
	uint64_t ledger_rows_per_day;
	uint64_t dataplane_us; /* CPU of one second at the busiest, microseconds */
	uint64_t persist_us;
	uint64_t front_us;
	uint64_t mysql_us;
	uint64_t lcores; /* 1, 2, 4, 8, 16 */
	uint64_t cores;	 /* whole ones, all together */
};

/**
 * @param config for journal.keep_days and the journal's segments
 * @return 0, or -ERANGE with what is too much when no capacity.* holds it
 */
int hbctl_sizing_make(struct hbctl_sizing *sizing, const struct hbctl_sizing_wish *wish,
	const struct hb_config *config, const char **too_much);

#endif
