/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table says which field of which record type lies where and what it means; printing and
 * filtering walk it. Nothing is kept.
 */
#include "tools/hbctl/record_fields.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "shm/order_number.h"
#include "tools/hbctl/hbctl.h"

#define STAMP_MS_MAX UINT64_C(253402271999999) /* the year 9999 in Beijing */

enum kind {
	END,
	U8,
	U16,
	U32,
	U64,
	ID, /* packet or hold: 16 hexadecimal digits */
	ACCOUNT,
	FEN,
	TIME_MS,
	HASH,	 /* u64 in hexadecimal */
	KEY16,	 /* 16 bytes in hexadecimal */
	BYTES32, /* 32 bytes in hexadecimal */
	TEXT32,	 /* NUL padded */
	TEXT48,
	GREETING, /* rest of the record, its length in greeting_length */
};

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
};

#define FIELD(type, member, kind)                                                                  \
	{                                                                                          \
#member, kind, offsetof(struct type, member)                                       \
	}
#define TOKEN(type)                                                                                \
	{"token_id", U64, offsetof(struct type, token.token_id)},                                  \
	{                                                                                          \
		"token_sequence", U32, offsetof(struct type, token.sequence)                       \
	}
#define IDEMPOTENCY(type)                                                                          \
	{                                                                                          \
		"idempotency_key", KEY16, offsetof(struct type, idempotency.key)                   \
	}
#define LAST                                                                                       \
	{                                                                                          \
		NULL, END, 0                                                                       \
	}

static const struct field epoch_start_fields[] = {
	FIELD(hb_record_epoch_start, epoch, U64),
	FIELD(hb_record_epoch_start, node, U32),
	FIELD(hb_record_epoch_start, partition_count, U32),
	FIELD(hb_record_epoch_start, build, TEXT32),
	LAST,
};

static const struct field mark_fields[] = {
	FIELD(hb_record_mark, state_hash, HASH),
	LAST,
};

static const struct field account_open_fields[] = {
	FIELD(hb_record_account_open, account, ACCOUNT),
	FIELD(hb_record_account_open, kind, U8),
	IDEMPOTENCY(hb_record_account_open),
	LAST,
};

static const struct field account_freeze_fields[] = {
	FIELD(hb_record_account_freeze, account, ACCOUNT),
	FIELD(hb_record_account_freeze, case_id, U64),
	FIELD(hb_record_account_freeze, operator_id, U64),
	IDEMPOTENCY(hb_record_account_freeze),
	LAST,
};

static const struct field order_open_fields[] = {
	FIELD(hb_record_order_open, account, ACCOUNT),
	FIELD(hb_record_order_open, amount_fen, FEN),
	FIELD(hb_record_order_open, business, U16),
	FIELD(hb_record_order_open, channel, U16),
	FIELD(hb_record_order_open, product, U32),
	FIELD(hb_record_order_open, purpose_id, ID),
	FIELD(hb_record_order_open, order_stamp, U64),
	IDEMPOTENCY(hb_record_order_open),
	LAST,
};

static const struct field order_update_fields[] = {
	FIELD(hb_record_order_update, account, ACCOUNT),
	FIELD(hb_record_order_update, state_before, U8),
	FIELD(hb_record_order_update, state_after, U8),
	FIELD(hb_record_order_update, attempt, U16),
	FIELD(hb_record_order_update, reason, U32),
	FIELD(hb_record_order_update, operator_id, U64),
	FIELD(hb_record_order_update, channel_reference, TEXT48),
	FIELD(hb_record_order_update, business, U16),
	FIELD(hb_record_order_update, channel, U16),
	FIELD(hb_record_order_update, order_stamp, U64),
	IDEMPOTENCY(hb_record_order_update),
	LAST,
};

static const struct field order_load_fields[] = {
	FIELD(hb_record_order_load, account, ACCOUNT),
	FIELD(hb_record_order_load, amount_fen, FEN),
	FIELD(hb_record_order_load, settled_fen, FEN),
	FIELD(hb_record_order_load, refunded_fen, FEN),
	FIELD(hb_record_order_load, business, U16),
	FIELD(hb_record_order_load, channel, U16),
	FIELD(hb_record_order_load, state, U8),
	FIELD(hb_record_order_load, hold_id, ID),
	FIELD(hb_record_order_load, order_stamp, U64),
	LAST,
};

static const struct field credit_fields[] = {
	FIELD(hb_record_credit, account, ACCOUNT),
	FIELD(hb_record_credit, amount_fen, FEN),
	FIELD(hb_record_credit, hold_id, ID),
	FIELD(hb_record_credit, channel, U16),
	FIELD(hb_record_credit, order_stamp, U64),
	IDEMPOTENCY(hb_record_credit),
	LAST,
};

static const struct field packet_create_fields[] = {
	FIELD(hb_record_packet_create, packet, ID),
	FIELD(hb_record_packet_create, sender, ACCOUNT),
	FIELD(hb_record_packet_create, group, U64),
	FIELD(hb_record_packet_create, recipient, ACCOUNT),
	FIELD(hb_record_packet_create, total_fen, FEN),
	FIELD(hb_record_packet_create, count, U32),
	FIELD(hb_record_packet_create, share_min_fen, FEN),
	FIELD(hb_record_packet_create, share_max_fen, FEN),
	FIELD(hb_record_packet_create, deadline_ms, TIME_MS),
	FIELD(hb_record_packet_create, hold_id, ID),
	FIELD(hb_record_packet_create, kind, U8),
	FIELD(hb_record_packet_create, algorithm, U8),
	FIELD(hb_record_packet_create, funding, U8),
	FIELD(hb_record_packet_create, article, U32),
	FIELD(hb_record_packet_create, commitment, BYTES32),
	FIELD(hb_record_packet_create, order_stamp, U64),
	TOKEN(hb_record_packet_create),
	IDEMPOTENCY(hb_record_packet_create),
	FIELD(hb_record_packet_create, greeting, GREETING),
	LAST,
};

static const struct field grab_fields[] = {
	FIELD(hb_record_grab, packet, ID),
	FIELD(hb_record_grab, user, ACCOUNT),
	FIELD(hb_record_grab, amount_fen, FEN),
	FIELD(hb_record_grab, share_index, U32),
	FIELD(hb_record_grab, left_fen, FEN),
	FIELD(hb_record_grab, left_count, U32),
	FIELD(hb_record_grab, order_stamp, U64),
	TOKEN(hb_record_grab),
	LAST,
};

static const struct field packet_expire_fields[] = {
	FIELD(hb_record_packet_expire, packet, ID),
	FIELD(hb_record_packet_expire, refund_fen, FEN),
	FIELD(hb_record_packet_expire, refund_hold_id, ID),
	FIELD(hb_record_packet_expire, order_stamp, U64),
	LAST,
};

static const struct field hold_fields[] = {
	FIELD(hb_record_hold, hold_id, ID),
	FIELD(hb_record_hold, account, ACCOUNT),
	FIELD(hb_record_hold, amount_fen, FEN),
	FIELD(hb_record_hold, deadline_ms, TIME_MS),
	FIELD(hb_record_hold, reason, U32),
	FIELD(hb_record_hold, day, U32),
	FIELD(hb_record_hold, order_stamp, U64),
	TOKEN(hb_record_hold),
	IDEMPOTENCY(hb_record_hold),
	LAST,
};

static const struct field hold_exit_fields[] = {
	FIELD(hb_record_hold_exit, hold_id, ID),
	FIELD(hb_record_hold_exit, account, ACCOUNT),
	FIELD(hb_record_hold_exit, amount_fen, FEN),
	FIELD(hb_record_hold_exit, fee_fen, FEN),
	FIELD(hb_record_hold_exit, channel, U16),
	FIELD(hb_record_hold_exit, business, U8),
	FIELD(hb_record_hold_exit, state_after, U8),
	FIELD(hb_record_hold_exit, reason, U32),
	FIELD(hb_record_hold_exit, order_stamp, U64),
	IDEMPOTENCY(hb_record_hold_exit),
	LAST,
};

static const struct field transfer_fields[] = {
	FIELD(hb_record_transfer, from, ACCOUNT),
	FIELD(hb_record_transfer, to, ACCOUNT),
	FIELD(hb_record_transfer, amount_fen, FEN),
	FIELD(hb_record_transfer, order_stamp, U64),
	TOKEN(hb_record_transfer),
	IDEMPOTENCY(hb_record_transfer),
	LAST,
};

static const struct field refund_fields[] = {
	FIELD(hb_record_refund, account, ACCOUNT),
	FIELD(hb_record_refund, amount_fen, FEN),
	FIELD(hb_record_refund, refunded_after_fen, FEN),
	FIELD(hb_record_refund, refund_stamp, U64),
	FIELD(hb_record_refund, hold_id, ID),
	FIELD(hb_record_refund, channel, U16),
	FIELD(hb_record_refund, attempt, U16),
	FIELD(hb_record_refund, reason, U32),
	FIELD(hb_record_refund, order_stamp, U64),
	IDEMPOTENCY(hb_record_refund),
	LAST,
};

static const struct field adjust_fields[] = {
	FIELD(hb_record_adjust, from, ACCOUNT),
	FIELD(hb_record_adjust, to, ACCOUNT),
	FIELD(hb_record_adjust, amount_fen, FEN),
	FIELD(hb_record_adjust, case_id, U64),
	FIELD(hb_record_adjust, maker_id, U64),
	FIELD(hb_record_adjust, checker_id, U64),
	FIELD(hb_record_adjust, reason, U32),
	FIELD(hb_record_adjust, order_stamp, U64),
	IDEMPOTENCY(hb_record_adjust),
	LAST,
};

static const struct field evict_fields[] = {
	FIELD(hb_record_evict, object, ID),
	FIELD(hb_record_evict, object_kind, U32),
	LAST,
};

#define BUSINESS_IN_RECORD 100 /* above all numbers: the record has a field of that name */

/* The order number that a record made, where business and account are known from the type. */
static const struct layout {
	const struct field *fields;
	uint32_t bytes;	   /* of the fixed part */
	uint32_t business; /* 0: no order number can be told */
	const char *account_field;
} layouts[] = {
	[HB_RECORD_EPOCH_START] = {epoch_start_fields, sizeof(struct hb_record_epoch_start), 0,
		NULL},
	[HB_RECORD_MARK] = {mark_fields, sizeof(struct hb_record_mark), 0, NULL},
	[HB_RECORD_ACCOUNT_OPEN] = {account_open_fields, sizeof(struct hb_record_account_open), 0,
		NULL},
	[HB_RECORD_ACCOUNT_FREEZE] = {account_freeze_fields,
		sizeof(struct hb_record_account_freeze), 0, NULL},
	[HB_RECORD_ACCOUNT_UNFREEZE] = {account_freeze_fields,
		sizeof(struct hb_record_account_freeze), 0, NULL},
	[HB_RECORD_ORDER_OPEN] = {order_open_fields, sizeof(struct hb_record_order_open),
		HB_BUSINESS_RECHARGE, "account"},
	[HB_RECORD_ORDER_UPDATE] = {order_update_fields, sizeof(struct hb_record_order_update),
		BUSINESS_IN_RECORD, "account"},
	[HB_RECORD_ORDER_LOAD] = {order_load_fields, sizeof(struct hb_record_order_load),
		BUSINESS_IN_RECORD, "account"},
	[HB_RECORD_CREDIT] = {credit_fields, sizeof(struct hb_record_credit), HB_BUSINESS_RECHARGE,
		"account"},
	[HB_RECORD_PACKET_CREATE] = {packet_create_fields, sizeof(struct hb_record_packet_create),
		HB_BUSINESS_PACKET_SEND, "sender"},
	[HB_RECORD_GRAB] = {grab_fields, sizeof(struct hb_record_grab), HB_BUSINESS_PACKET_GRAB,
		"user"},
	[HB_RECORD_PACKET_EXPIRE] = {packet_expire_fields, sizeof(struct hb_record_packet_expire),
		0, NULL},
	[HB_RECORD_HOLD] = {hold_fields, sizeof(struct hb_record_hold), 0, NULL},
	[HB_RECORD_POST] = {hold_exit_fields, sizeof(struct hb_record_hold_exit),
		BUSINESS_IN_RECORD, "account"},
	[HB_RECORD_VOID] = {hold_exit_fields, sizeof(struct hb_record_hold_exit),
		BUSINESS_IN_RECORD, "account"},
	[HB_RECORD_TRANSFER] = {transfer_fields, sizeof(struct hb_record_transfer),
		HB_BUSINESS_TRANSFER_OUT, "from"},
	[HB_RECORD_REFUND_OPEN] = {refund_fields, sizeof(struct hb_record_refund), 0, NULL},
	[HB_RECORD_REFUND_DONE] = {refund_fields, sizeof(struct hb_record_refund), 0, NULL},
	[HB_RECORD_REFUND_FAILED] = {refund_fields, sizeof(struct hb_record_refund), 0, NULL},
	[HB_RECORD_ADJUST] = {adjust_fields, sizeof(struct hb_record_adjust), 0, NULL},
	[HB_RECORD_EVICT] = {evict_fields, sizeof(struct hb_record_evict), 0, NULL},
};
#define LAYOUT_COUNT (sizeof(layouts) / sizeof(layouts[0]))

/* NULL for a type of another version, or one that is too short for its fields. */
static const struct layout *
layout_of(const struct hb_record *record)
{
	const struct layout *layout;

	if (record->type >= LAYOUT_COUNT)
		return NULL;
	layout = &layouts[record->type];
	return layout->fields == NULL || record->length < layout->bytes ? NULL : layout;
}

static uint64_t
read_number(const struct hb_record *record, const struct field *field)
{
	const uint8_t *at = (const uint8_t *)record + field->offset;
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;

	switch (field->kind) {
	case U8:
		return *at;
	case U16:
		memcpy(&u16, at, sizeof(u16));
		return u16;
	case U32:
		memcpy(&u32, at, sizeof(u32));
		return u32;
	default:
		memcpy(&u64, at, sizeof(u64));
		return u64;
	}
}

static bool
is_zero(const uint8_t *bytes, size_t count)
{
	while (count-- > 0)
		if (*bytes++ != 0)
			return false;
	return true;
}

static json_t *
text_json(const uint8_t *at, size_t bytes_max)
{
	char text[256];

	snprintf(text, sizeof(text), "%.*s", (int)bytes_max, (const char *)at);
	return hbctl_json_string(text);
}

/* @return NULL when the field is zero */
static json_t *
field_json(const struct hb_record *record, const struct field *field)
{
	const uint8_t *at = (const uint8_t *)record + field->offset;
	char text[24];

	switch (field->kind) {
	case KEY16:
		return is_zero(at, 16) ? NULL : hbctl_json_hex(at, 16);
	case BYTES32:
		return is_zero(at, 32) ? NULL : hbctl_json_hex(at, 32);
	case TEXT32:
		return *at == '\0' ? NULL : text_json(at, 32);
	case TEXT48:
		return *at == '\0' ? NULL : text_json(at, 48);
	case GREETING:
		return record->length == field->offset
			       ? NULL
			       : text_json(at, record->length - field->offset);
	default:
		break;
	}
	if (read_number(record, field) == 0 && field->kind != FEN && field->kind != HASH)
		return NULL;
	if (field->kind != ID && field->kind != HASH)
		return json_integer((json_int_t)read_number(record, field));
	snprintf(text, sizeof(text), "%016" PRIx64, read_number(record, field));
	return json_string(text);
}

static void
add_order_number(
	json_t *object, const struct hb_record *record, const struct layout *layout, uint32_t node)
{
	char number[HB_ORDER_NUMBER_LENGTH + 1];
	uint64_t stamp = (uint64_t)hbctl_json_i64(object, "order_stamp");
	uint32_t business = layout->business;

	if (json_object_get(object, "business") != NULL)
		business = (uint32_t)hbctl_json_i64(object, "business");
	if (layout->business == 0 || stamp == 0 || business > 99 || node > HB_NODE_MAX ||
		record->ring > 99 || hb_stamp_sequence(stamp) > 9999 ||
		hb_stamp_ms(stamp) > STAMP_MS_MAX)
		return; /* somebody's own journal may say anything */
	hb_order_number_format(number, business, node, record->ring,
		(uint64_t)hbctl_json_i64(object, layout->account_field), stamp);
	json_object_set_new(object, "order_no", json_string(number));
}

json_t *
hbctl_record_json(const struct hb_record *record, uint64_t seq, uint32_t node)
{
	const struct layout *layout = layout_of(record);
	json_t *object = json_pack("{s:I, s:i, s:I, s:I, s:s}", "seq", (json_int_t)seq, "ring",
		(int)record->ring, "core_sequence", (json_int_t)record->core_sequence, "time_ms",
		(json_int_t)(record->time_ns / 1000000), "type", hb_record_type_name(record->type));

	if (layout == NULL)
		return object;
	for (const struct field *f = layout->fields; f->name != NULL; f++) {
		json_t *value = field_json(record, f);

		if (value != NULL)
			json_object_set_new(object, f->name, value);
	}
	add_order_number(object, record, layout, node);
	return object;
}

static bool
name_ends(const char *name, const char *end)
{
	size_t length = strlen(name), end_length = strlen(end);

	return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

static bool
is_account_name(const char *name)
{
	static const char *const names[] = {"account", "sender", "recipient", "user", "from", "to"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void
print_value(const char *name, const json_t *value, FILE *out)
{
	char text[HBCTL_NAME_BYTES];
	char *quoted;

	if (json_is_string(value)) {
		const char *s = json_string_value(value);

		if (strcspn(s, " \"\\") == strlen(s)) {
			fprintf(out, " %s=%s", name, s);
			return;
		}
		quoted = json_dumps(value, JSON_ENCODE_ANY);
		fprintf(out, " %s=%s", name, quoted == NULL ? "" : quoted);
		free(quoted);
		return;
	}
	if (name_ends(name, "_fen")) {
		hbctl_money(text, json_integer_value(value));
		fprintf(out, " %.*s=%s", (int)strlen(name) - 4, name, text);
	} else if (is_account_name(name)) {
		hbctl_account_name(text, (uint64_t)json_integer_value(value));
		fprintf(out, " %s=%s", name, text);
	} else if (name_ends(name, "_ms")) {
		hbctl_time(text, (uint64_t)json_integer_value(value));
		text[10] = 'T';
		fprintf(out, " %.*s=%s", (int)strlen(name) - 3, name, text);
	} else {
		fprintf(out, " %s=%" JSON_INTEGER_FORMAT, name, json_integer_value(value));
	}
}

void
hbctl_record_print(const json_t *object, FILE *out)
{
	static const char *const shown[] = {
		"seq", "ring", "core_sequence", "time_ms", "type", "order_stamp"};
	char when[HBCTL_TIME_BYTES];
	const char *name;
	json_t *value;

	hbctl_time(when, (uint64_t)hbctl_json_i64(object, "time_ms"));
	fprintf(out, "%" PRId64 " %02" PRId64 "/%" PRId64 " %s %s", hbctl_json_i64(object, "seq"),
		hbctl_json_i64(object, "ring"), hbctl_json_i64(object, "core_sequence"), when,
		hbctl_json_text(object, "type"));
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
	{
		bool again = false;

		for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
			again = again || strcmp(shown[i], name) == 0;
		if (!again)
			print_value(name, value, out);
	}
	fputc('\n', out);
}

bool
hbctl_record_has_packet(const struct hb_record *record, uint64_t packet)
{
	const struct layout *layout = layout_of(record);

	for (const struct field *f = layout == NULL ? NULL : layout->fields;
		f != NULL && f->name != NULL; f++) {
		if (f->kind == ID && read_number(record, f) == packet)
			return true;
	}
	return false;
}

bool
hbctl_record_has_account(const struct hb_record *record, uint64_t account)
{
	const struct layout *layout = layout_of(record);

	for (const struct field *f = layout == NULL ? NULL : layout->fields;
		f != NULL && f->name != NULL; f++) {
		if (f->kind == ACCOUNT && read_number(record, f) == account)
			return true;
	}
	return false;
}

bool
hbctl_record_has_order(const struct hb_record *record, uint32_t allocator, uint64_t stamp)
{
	const struct layout *layout = layout_of(record);
	const struct hb_record_evict *evict = (const void *)record;

	if (layout == NULL || record->ring != allocator)
		return false;
	if (record->type == HB_RECORD_EVICT)
		return evict->object_kind == HB_OBJECT_ORDER && evict->object == stamp;
	for (const struct field *f = layout->fields; f->name != NULL; f++) {
		if ((strcmp(f->name, "order_stamp") == 0 || strcmp(f->name, "refund_stamp") == 0) &&
			read_number(record, f) == stamp)
			return true;
	}
	return false;
}

uint8_t
hbctl_record_type_number(const char *name)
{
	for (uint8_t type = 1; type < LAYOUT_COUNT; type++)
		if (layouts[type].fields != NULL &&
			strcasecmp(hb_record_type_name(type), name) == 0)
			return type;
	return 0;
}
