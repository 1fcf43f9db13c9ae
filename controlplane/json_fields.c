/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict JSON requests (json_fields.h). Pure functions over a parsed document; nothing here
 * outlives a request and nothing is left behind if the process dies.
 */
#include "controlplane/json_fields.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "shm/ids.h"

#define FIELD_NAME_SHOWN_BYTES 32

/*
 * The name of the field whose value stands at `position`: the last string before it that is
 * followed by a colon. Only for messages, so a wrong guess in a broken document does no harm.
 */
static bool
field_at(const char *text, size_t position, char name[FIELD_NAME_SHOWN_BYTES + 1])
{
	size_t begin = 0;
	size_t length = 0;
	bool found = false;

	for (size_t i = 0; i < position; i++) {
		if (text[i] != '"')
			continue;
		begin = ++i;
		while (i < position && text[i] != '"')
			i += text[i] == '\\' ? 2 : 1;
		length = i - begin;
		size_t after = i + 1;
		while (after < position && isspace((unsigned char)text[after]))
			after++;
		if (i < position && after < position && text[after] == ':' &&
			length <= FIELD_NAME_SHOWN_BYTES) {
			memcpy(name, text + begin, length);
			name[length] = '\0';
			found = true;
		}
	}
	return found;
}

json_t *
hb_json_parse(const char *text, size_t length, char error[HB_FIELDS_ERROR_BYTES])
{
	json_error_t where;
	char name[FIELD_NAME_SHOWN_BYTES + 1];
	json_t *document;

	error[0] = '\0';
	document = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
	if (document)
		return document;
	if (json_error_code(&where) == json_error_numeric_overflow &&
		field_at(text, (size_t)where.position < length ? (size_t)where.position : length,
			name))
		snprintf(error, HB_FIELDS_ERROR_BYTES, "%s: the number does not fit into 64 bits",
			name);
	else
		snprintf(error, HB_FIELDS_ERROR_BYTES,
			"the body is not one strict JSON object: %s (line %d, column %d)",
			where.text, where.line, where.column);
	return NULL;
}

void
hb_fields_begin(struct hb_fields *fields, const json_t *object, int item)
{
	memset(fields, 0, sizeof(*fields));
	fields->object = object;
	if (item >= 0)
		snprintf(fields->prefix, sizeof(fields->prefix), "items[%d]", item);
	if (!json_is_object(object)) {
		snprintf(fields->error, sizeof(fields->error), "%s must be a JSON object",
			item >= 0 ? fields->prefix : "the body");
		return;
	}
	if (item >= 0)
		strncat(fields->prefix, ".", sizeof(fields->prefix) - strlen(fields->prefix) - 1);
}

void
hb_fields_refuse(struct hb_fields *fields, const char *name, const char *format, ...)
{
	va_list arguments;
	int used;

	if (fields->error[0])
		return;
	used = snprintf(fields->error, sizeof(fields->error), "%s%.*s: ", fields->prefix,
		FIELD_NAME_SHOWN_BYTES, name);
	va_start(arguments, format);
	vsnprintf(fields->error + used, sizeof(fields->error) - (size_t)used, format, arguments);
	va_end(arguments);
}

/* The value of a field, NULL when it is absent or something was wrong before. */
static const json_t *
ask(struct hb_fields *fields, const char *name)
{
	bool known = false;

	for (uint32_t i = 0; i < fields->asked_count; i++)
		known = known || strcmp(fields->asked[i], name) == 0;
	if (!known) {
		HB_ASSERT(fields->asked_count < HB_FIELDS_MAX);
		fields->asked[fields->asked_count++] = name;
	}
	return fields->error[0] ? NULL : json_object_get(fields->object, name);
}

static const json_t *
ask_required(struct hb_fields *fields, const char *name)
{
	const json_t *value = ask(fields, name);

	if (!value)
		hb_fields_refuse(fields, name, "is required");
	return value;
}

bool
hb_field_present(struct hb_fields *fields, const char *name)
{
	return ask(fields, name) != NULL;
}

static bool
integer(struct hb_fields *fields, const char *name, const json_t *value, int64_t min, int64_t max,
	int64_t *out)
{
	if (!value)
		return false;
	if (!json_is_integer(value)) {
		hb_fields_refuse(fields, name, "must be a whole number");
		return false;
	}
	if (json_integer_value(value) < min || json_integer_value(value) > max) {
		hb_fields_refuse(fields, name, "must be in %" PRId64 "..%" PRId64, min, max);
		return false;
	}
	*out = json_integer_value(value);
	return true;
}

bool
hb_field_integer(
	struct hb_fields *fields, const char *name, int64_t min, int64_t max, int64_t *value)
{
	return integer(fields, name, ask_required(fields, name), min, max, value);
}

bool
hb_field_integer_optional(
	struct hb_fields *fields, const char *name, int64_t min, int64_t max, int64_t *value)
{
	return integer(fields, name, ask(fields, name), min, max, value);
}

bool
hb_field_account(struct hb_fields *fields, const char *name, uint64_t *account)
{
	int64_t value;

	if (!hb_field_integer(fields, name, 1, (int64_t)HB_ACCOUNT_MAX, &value))
		return false;
	*account = (uint64_t)value;
	return true;
}

static bool
id_parse(const char *text, enum hb_id_kind kind, uint64_t *out)
{
	uint64_t id;

	if (!hb_hex_u64(text, &id) || text[HB_HEX_U64_DIGITS] != '\0' || hb_id_kind(id) != kind)
		return false;
	*out = id;
	return true;
}

bool
hb_packet_id_parse(const char *text, uint64_t *packet)
{
	return id_parse(text, HB_ID_PACKET, packet);
}

bool
hb_hold_id_parse(const char *text, uint64_t *hold)
{
	return id_parse(text, HB_ID_HOLD, hold);
}

static bool
field_id(struct hb_fields *fields, const char *name, enum hb_id_kind kind, uint64_t *id)
{
	const json_t *value = ask_required(fields, name);

	if (!value)
		return false;
	if (json_is_string(value) &&
		strlen(json_string_value(value)) == json_string_length(value) &&
		id_parse(json_string_value(value), kind, id))
		return true;
	hb_fields_refuse(fields, name, "must be a %s id, 16 hexadecimal digits in lower case",
		kind == HB_ID_HOLD ? "hold" : "packet");
	return false;
}

bool
hb_field_packet(struct hb_fields *fields, const char *name, uint64_t *packet)
{
	return field_id(fields, name, HB_ID_PACKET, packet);
}

bool
hb_field_hold(struct hb_fields *fields, const char *name, uint64_t *hold)
{
	return field_id(fields, name, HB_ID_HOLD, hold);
}

static bool
choice(struct hb_fields *fields, const char *name, const json_t *value,
	const struct hb_choice *choices, uint32_t *out)
{
	char words[96] = "";

	if (!value)
		return false;
	for (const struct hb_choice *c = choices; c->word; c++) {
		if (json_is_string(value) && strcmp(json_string_value(value), c->word) == 0) {
			*out = c->value;
			return true;
		}
		size_t used = strlen(words);
		snprintf(words + used, sizeof(words) - used, "%s%s", used ? ", " : "", c->word);
	}
	hb_fields_refuse(fields, name, "must be one of: %s", words);
	return false;
}

bool
hb_field_choice(struct hb_fields *fields, const char *name, const struct hb_choice *choices,
	uint32_t *value)
{
	return choice(fields, name, ask_required(fields, name), choices, value);
}

bool
hb_field_choice_optional(struct hb_fields *fields, const char *name,
	const struct hb_choice *choices, uint32_t *value)
{
	return choice(fields, name, ask(fields, name), choices, value);
}

bool
hb_field_text_optional(struct hb_fields *fields, const char *name, size_t bytes_max,
	const char **text, size_t *length)
{
	const json_t *value = ask(fields, name);

	*text = "";
	*length = 0;
	if (!value)
		return fields->error[0] == '\0';
	if (!json_is_string(value)) {
		hb_fields_refuse(fields, name, "must be text");
		return false;
	}
	if (json_string_length(value) > bytes_max) {
		hb_fields_refuse(fields, name, "must have at most %zu bytes of UTF-8", bytes_max);
		return false;
	}
	*text = json_string_value(value);
	*length = json_string_length(value);
	return true;
}

bool
hb_fields_end(struct hb_fields *fields)
{
	const char *name;
	json_t *value;

	if (fields->error[0])
		return false;
	json_object_foreach((json_t *)(uintptr_t)fields->object, name, value)
	{
		bool known = false;

		for (uint32_t i = 0; i < fields->asked_count && !known; i++)
			known = strcmp(fields->asked[i], name) == 0;
		if (!known) {
			hb_fields_refuse(fields, name, "is not a field of this request");
			return false;
		}
	}
	return true;
}

void
hb_text_plain(char *text)
{
	for (char *c = text; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

bool
hb_decimal_parse(const char *text, uint64_t max, uint64_t *value)
{
	uint64_t sum = 0;

	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return false;
	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9' || __builtin_mul_overflow(sum, 10, &sum) ||
			__builtin_add_overflow(sum, (uint64_t)(*c - '0'), &sum))
			return false;
	}
	if (sum > max)
		return false;
	*value = sum;
	return true;
}

bool
hb_account_parse(const char *text, uint64_t *account)
{
	return hb_decimal_parse(text, HB_ACCOUNT_MAX, account) && *account != 0;
}
