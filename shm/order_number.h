/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Order numbers: 32 decimal digits, in two versions.
 *
 *   v1: 2 business | version 1 | 2 node | 2 allocator | 4 user | 17 time | 4 sequence
 *   v2: 2 business | version 2 | 2 node | 2 allocator | 4 user | 1 zero | 20 stamp
 *
 * Version 2 is made without a calendar: its last 20 digits are time and sequence as one number like
 * a snowflake id, and numbers of one kind sort by age as texts.
 *
 * The allocator is the partition that made the number; the user digits are the account's hash
 * (shm/ids.h), and table = user digits mod 16; the time is yyyyMMddHHmmssSSS in Beijing. State
 * keeps time and sequence packed as a stamp: Unix ms << 14 | sequence. Bit 62, which no time before
 * the year 10000 reaches, marks an order whose number is written in version 2; so the text of an
 * order is a function of its record, whatever order.version is now. An allocator never uses a time
 * and sequence twice, with the mark or without, so numbers are unique across nodes, partitions,
 * restarts, clock steps and changes of the version.
 */
#ifndef HB_SHM_ORDER_NUMBER_H
#define HB_SHM_ORDER_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#define HB_ORDER_NUMBER_LENGTH 32

struct hb_order_number {
	uint32_t business;
	uint32_t version;
	uint32_t node;
	uint32_t allocator;
	uint32_t user_digits; /* table = this mod 16 */
	uint64_t stamp;	      /* with the mark of its version, as in the record */
};

/* Of a stamp: the number of the order is written in version 2. */
#define HB_STAMP_VERSION_2 (UINT64_C(1) << 62)

/** Time and sequence alone: what an allocator counts and compares. */
static inline uint64_t
hb_stamp_plain(uint64_t stamp)
{
	return stamp & ~HB_STAMP_VERSION_2;
}

static inline uint64_t
hb_stamp_ms(uint64_t stamp)
{
	return hb_stamp_plain(stamp) >> 14;
}

static inline uint32_t
hb_stamp_sequence(uint64_t stamp)
{
	return (uint32_t)(stamp & 0x3fff);
}

/**
 * The next stamp of an allocator, without a mark.
 * @param last the newest it gave out, without its mark; 0 at the beginning
 * @param now_ms Unix milliseconds
 * @return the next stamp, or 0 when its time would run ahead of now by more than
 *         HB_ORDER_RUN_AHEAD_MS_MAX (busy)
 */
uint64_t hb_stamp_next(uint64_t last, uint64_t now_ms);

/** Write the number of an account's order in the version its stamp says; NUL terminated. */
void hb_order_number_format(char text[HB_ORDER_NUMBER_LENGTH + 1], uint32_t business, uint32_t node,
	uint32_t allocator, uint64_t account, uint64_t stamp);

/** Parse and check every field. @return true when it is a number of version 1 or 2. */
bool hb_order_number_parse(const char *text, struct hb_order_number *number);

/** yyyyMMddHHmmssSSS in Beijing (UTC+8), 17 digits, NUL terminated. Years 1970..9999. */
void hb_beijing_time_format(char text[18], uint64_t unix_ms);
bool hb_beijing_time_parse(const char *text, uint64_t *unix_ms);
/** The day in Beijing as a number, yyyymmdd. */
uint32_t hb_beijing_day(uint64_t unix_ms);

#endif
