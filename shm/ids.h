/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The u64 ids and the one function that says which partition owns what.
 *
 *  63      56 55    52 51                 45 44                      0
 * +----------+--------+---------------------+-------------------------+
 * | kind     | part.  | node                | counter of the partition|   packets, holds
 * +----------+--------+---------------------+-------------------------+
 * | 0        | 0      | number given by the business system, 1..2^52-1|   user and enterprise
 * accounts
 * +----------+--------+-----------------------------------------------+
 * | 0x7f     | part.  | which system account (enum hb_system_account) |   clearing, fees, suspense
 * +----------+--------+-----------------------------------------------+
 *
 * Account numbers fit into a JSON number exactly; packet ids are written as 16 hexadecimal digits.
 * A partition is also a shard of MySQL and the number in a table's name.
 */
#ifndef HB_SHM_IDS_H
#define HB_SHM_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "shm/limits.h"

enum hb_id_kind {
	HB_ID_ACCOUNT = 0x00,
	HB_ID_PACKET = 0x01,
	HB_ID_HOLD = 0x02,
	HB_ID_SYSTEM_ACCOUNT = 0x7f,
};

/* System accounts exist once per partition and may be negative. Never renumbered. */
enum hb_system_account {
	HB_SYSTEM_CLEARING_WECHAT = 1,
	HB_SYSTEM_CLEARING_ALIPAY = 2,
	HB_SYSTEM_CLEARING_99BILL = 3,
	HB_SYSTEM_CLEARING_MANUAL = 4, /* money that the business vouches for */
	HB_SYSTEM_FEES = 5,
	HB_SYSTEM_SUSPENSE = 6,
};

#define HB_ACCOUNT_MAX	   ((UINT64_C(1) << 52) - 1)
#define HB_ID_COUNTER_MASK ((UINT64_C(1) << 45) - 1)

static inline uint32_t
hb_id_kind(uint64_t id)
{
	return (uint32_t)(id >> 56);
}

/** True for a number that a user or enterprise account may have. */
static inline bool
hb_is_user_account(uint64_t id)
{
	return id >= 1 && id <= HB_ACCOUNT_MAX;
}

static inline uint64_t
hb_id_make(enum hb_id_kind kind, uint32_t partition, uint32_t node, uint64_t counter)
{
	return (uint64_t)kind << 56 | (uint64_t)partition << 52 | (uint64_t)node << 45 | counter;
}

static inline uint64_t
hb_system_account(enum hb_system_account which, uint32_t partition)
{
	return (uint64_t)HB_ID_SYSTEM_ACCOUNT << 56 | (uint64_t)partition << 52 | (uint64_t)which;
}

/** True for the id of a system account: no other bits than kind, partition and a known number. */
static inline bool
hb_is_system_account(uint64_t id)
{
	uint64_t which = id & HB_ACCOUNT_MAX;

	return hb_id_kind(id) == HB_ID_SYSTEM_ACCOUNT && which >= HB_SYSTEM_CLEARING_WECHAT &&
	       which <= HB_SYSTEM_SUSPENSE;
}

/**
 * The four user digits of an order number: account hash, version 1, in 0..9999.
 * 10000 is a multiple of 16, so the partition taken from it is exactly even over the digits.
 */
static inline uint32_t
hb_account_digits(uint64_t account)
{
	if (hb_id_kind(account) == HB_ID_SYSTEM_ACCOUNT)
		return (uint32_t)(account >> 52) & (HB_PARTITION_COUNT - 1);
	return (uint32_t)(hb_mix64(account) % 10000);
}

/** The partition that owns an account, packet or hold. */
static inline uint32_t
hb_partition_of(uint64_t id)
{
	if (hb_id_kind(id) == HB_ID_ACCOUNT)
		return hb_account_digits(id) % HB_PARTITION_COUNT;
	return (uint32_t)(id >> 52) & (HB_PARTITION_COUNT - 1);
}

#endif
