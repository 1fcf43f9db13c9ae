/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing and checking journal records. No state, no memory of its own: what dies with the process
 * is only the record being made, which nobody has seen yet.
 */
#include "shm/record.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "shm/order_number.h"

struct record_type {
	uint8_t type;
	uint16_t length_min;
	const char *name;
};

static const struct record_type record_types[] = {
	{HB_RECORD_EPOCH_START, sizeof(struct hb_record_epoch_start), "EPOCH_START"},
	{HB_RECORD_MARK, sizeof(struct hb_record_mark), "MARK"},
	{HB_RECORD_ACCOUNT_OPEN, sizeof(struct hb_record_account_open), "ACCOUNT_OPEN"},
	{HB_RECORD_ACCOUNT_FREEZE, sizeof(struct hb_record_account_freeze), "ACCOUNT_FREEZE"},
	{HB_RECORD_ACCOUNT_UNFREEZE, sizeof(struct hb_record_account_freeze), "ACCOUNT_UNFREEZE"},
	{HB_RECORD_ORDER_OPEN, sizeof(struct hb_record_order_open), "ORDER_OPEN"},
	{HB_RECORD_ORDER_UPDATE, sizeof(struct hb_record_order_update), "ORDER_UPDATE"},
	{HB_RECORD_ORDER_LOAD, sizeof(struct hb_record_order_load), "ORDER_LOAD"},
	{HB_RECORD_CREDIT, sizeof(struct hb_record_credit), "CREDIT"},
	{HB_RECORD_PACKET_CREATE, sizeof(struct hb_record_packet_create), "PACKET_CREATE"},
	{HB_RECORD_GRAB, sizeof(struct hb_record_grab), "GRAB"},
	{HB_RECORD_PACKET_EXPIRE, sizeof(struct hb_record_packet_expire), "PACKET_EXPIRE"},
	{HB_RECORD_HOLD, sizeof(struct hb_record_hold), "HOLD"},
	{HB_RECORD_POST, sizeof(struct hb_record_hold_exit), "POST"},
	{HB_RECORD_VOID, sizeof(struct hb_record_hold_exit), "VOID"},
	{HB_RECORD_TRANSFER, sizeof(struct hb_record_transfer), "TRANSFER"},
	{HB_RECORD_REFUND_OPEN, sizeof(struct hb_record_refund), "REFUND_OPEN"},
	{HB_RECORD_REFUND_DONE, sizeof(struct hb_record_refund), "REFUND_DONE"},
	{HB_RECORD_REFUND_FAILED, sizeof(struct hb_record_refund), "REFUND_FAILED"},
	{HB_RECORD_ADJUST, sizeof(struct hb_record_adjust), "ADJUST"},
	{HB_RECORD_EVICT, sizeof(struct hb_record_evict), "EVICT"},
};

static const struct record_type *
record_type_find(uint8_t type)
{
	for (size_t i = 0; i < sizeof(record_types) / sizeof(record_types[0]); i++)
		if (record_types[i].type == type)
			return &record_types[i];
	return NULL;
}

/* Where a type names order stamps, 0 = nowhere. An EVICT names one when its object is an order. */
static const uint8_t stamps_at[][2] = {
	[HB_RECORD_ORDER_OPEN] = {offsetof(struct hb_record_order_open, order_stamp)},
	[HB_RECORD_ORDER_UPDATE] = {offsetof(struct hb_record_order_update, order_stamp)},
	[HB_RECORD_ORDER_LOAD] = {offsetof(struct hb_record_order_load, order_stamp)},
	[HB_RECORD_CREDIT] = {offsetof(struct hb_record_credit, order_stamp)},
	[HB_RECORD_PACKET_CREATE] = {offsetof(struct hb_record_packet_create, order_stamp)},
	[HB_RECORD_GRAB] = {offsetof(struct hb_record_grab, order_stamp)},
	[HB_RECORD_PACKET_EXPIRE] = {offsetof(struct hb_record_packet_expire, order_stamp)},
	[HB_RECORD_HOLD] = {offsetof(struct hb_record_hold, order_stamp)},
	[HB_RECORD_POST] = {offsetof(struct hb_record_hold_exit, order_stamp)},
	[HB_RECORD_VOID] = {offsetof(struct hb_record_hold_exit, order_stamp)},
	[HB_RECORD_TRANSFER] = {offsetof(struct hb_record_transfer, order_stamp)},
	[HB_RECORD_REFUND_OPEN] = {offsetof(struct hb_record_refund, order_stamp),
		offsetof(struct hb_record_refund, refund_stamp)},
	[HB_RECORD_REFUND_DONE] = {offsetof(struct hb_record_refund, order_stamp),
		offsetof(struct hb_record_refund, refund_stamp)},
	[HB_RECORD_REFUND_FAILED] = {offsetof(struct hb_record_refund, order_stamp),
		offsetof(struct hb_record_refund, refund_stamp)},
	[HB_RECORD_ADJUST] = {offsetof(struct hb_record_adjust, order_stamp)},
	[HB_RECORD_EVICT] = {offsetof(struct hb_record_evict, object)},
};

/*
 * The version of a record follows from what it says: a program that does not know marked stamps
 * refuses the record by its version, instead of reading a time in the year 11000.
 */
static uint8_t
version_of(const struct hb_record *record)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t at = record->type < sizeof(stamps_at) / sizeof(stamps_at[0])
				     ? stamps_at[record->type][i]
				     : 0;
		uint64_t stamp;

		if (at == 0)
			return 1;
		memcpy(&stamp, (const uint8_t *)record + at, sizeof(stamp));
		if ((stamp & HB_STAMP_VERSION_2) != 0)
			return 2;
	}
	return 1;
}

#define FOUR_AT	 offsetof(struct hb_record, length)
#define WORDS_AT offsetof(struct hb_record, ring)
_Static_assert(FOUR_AT == 4 && offsetof(struct hb_record, type) == 6 &&
		       offsetof(struct hb_record, version) == 7 && WORDS_AT == 8,
	"layout of a record's head");

/*
 * CRC of all but the field itself; the length is a multiple of 8.
 * @param four length, type and version as they lie in the record
 */
static uint32_t
record_crc(const struct hb_record *record, uint32_t four, uint32_t length)
{
	const uint8_t *at = (const uint8_t *)record;

	if (length > HB_CRC32C_SHORT_BYTES)
		return hb_crc32c(at + FOUR_AT, length - FOUR_AT);
	return hb_crc32c_words(four, at + WORDS_AT, (length - WORDS_AT) / 8);
}

void
hb_record_seal(struct hb_record *record, enum hb_record_type type, uint32_t length)
{
	uint32_t four;

	HB_ASSERT(length >= sizeof(*record));
	HB_ASSERT(length <= HB_RECORD_BYTES_MAX);
	HB_ASSERT(length % 8 == 0);

	record->type = (uint8_t)type;
	four = length | (uint32_t)type << 16 | (uint32_t)version_of(record) << 24;
	memcpy((uint8_t *)record + FOUR_AT, &four, sizeof(four));
	record->crc = record_crc(record, four, length);
}

/* What a record must look like before its length may be trusted. */
static const char *
record_check_shape(const struct hb_record *record, size_t bytes_left)
{
	const struct record_type *type;

	if (bytes_left < sizeof(*record))
		return "record header is cut off";
	if (record->length < sizeof(*record) || record->length > HB_RECORD_BYTES_MAX ||
		record->length % 8 != 0)
		return "record length is impossible";
	if (record->length > bytes_left)
		return "record is cut off";
	type = record_type_find(record->type);
	if (type == NULL)
		return "record type is unknown";
	if (record->version != 1 && record->version != 2)
		return "record version is unknown";
	if (record->length < type->length_min)
		return "record is shorter than its type";
	if (record->version != version_of(record))
		return "record version does not fit its order stamp";
	if (record->ring >= HB_RING_COUNT)
		return "record ring does not exist";
	return NULL;
}

const char *
hb_record_verify(const struct hb_record *record, size_t bytes_left)
{
	const char *wrong = record_check_shape(record, bytes_left);
	const struct record_type *type;
	uint32_t length = record->length;
	uint32_t four;

	if (wrong != NULL)
		return wrong;
	type = record_type_find(record->type);
	if (record->type == HB_RECORD_PACKET_CREATE) {
		const struct hb_record_packet_create *create = (const void *)record;

		length -= (create->greeting_length + 7u) & ~7u;
	}
	if (length != type->length_min)
		return "record length is not its type's";
	memcpy(&four, (const uint8_t *)record + FOUR_AT, sizeof(four));
	if (record->crc != record_crc(record, four, record->length))
		return "record checksum does not match";
	return NULL;
}

const char *
hb_record_type_name(uint8_t type)
{
	const struct record_type *found = record_type_find(type);

	return found != NULL ? found->name : "UNKNOWN";
}
