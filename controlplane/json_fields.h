/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Strict reading of JSON requests: what is not named is refused, what is named is checked.
 *
 * A reader is begun on an object, asked for each field the request may have, and ended. The first
 * mistake sticks and names its field; everything asked after it answers false and changes nothing,
 * so a caller asks for all fields and looks at the result once. hb_fields_end refuses fields that
 * nobody asked for.
 *
 * Values that are read point into the JSON document; the caller keeps that alive.
 */
#ifndef HB_CONTROLPLANE_JSON_FIELDS_H
#define HB_CONTROLPLANE_JSON_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define HB_FIELDS_MAX	       24
#define HB_FIELDS_ERROR_BYTES  224
#define HB_FIELDS_PREFIX_BYTES 32

struct hb_fields {
	const json_t *object;
	const char *asked[HB_FIELDS_MAX];
	uint32_t asked_count;
	char prefix[HB_FIELDS_PREFIX_BYTES]; /* "items[3]." or "" */
	char error[HB_FIELDS_ERROR_BYTES];   /* "" while nothing is wrong */
};

/** A word that a field may have and what it stands for. */
struct hb_choice {
	const char *word; /* NULL ends the list */
	uint32_t value;
};

/**
 * Parse a request body: one JSON value in UTF-8, no duplicate fields, no number outside 64 bits.
 * @param error filled on failure; names the field when the mistake is in one
 * @return the document (the caller frees it with json_decref) or NULL
 */
json_t *hb_json_parse(const char *text, size_t length, char error[HB_FIELDS_ERROR_BYTES]);

/** Begin reading an object. @param item index within "items", or -1 for the request itself */
void hb_fields_begin(struct hb_fields *fields, const json_t *object, int item);

/** Record a mistake in a field, unless there is one already. */
void hb_fields_refuse(struct hb_fields *fields, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** True when the object has the field (which counts as asking for it). */
bool hb_field_present(struct hb_fields *fields, const char *name);

/** A whole number in min..max. @return true when it was there and right */
bool hb_field_integer(
	struct hb_fields *fields, const char *name, int64_t min, int64_t max, int64_t *value);
/** The same, but `value` keeps what it has when the field is absent. */
bool hb_field_integer_optional(
	struct hb_fields *fields, const char *name, int64_t min, int64_t max, int64_t *value);
/** An account number: 1 .. 2^52 - 1. */
bool hb_field_account(struct hb_fields *fields, const char *name, uint64_t *account);
/** A packet id: 16 hexadecimal digits of kind packet. */
bool hb_field_packet(struct hb_fields *fields, const char *name, uint64_t *packet);
/** A hold id: 16 hexadecimal digits of kind hold. */
bool hb_field_hold(struct hb_fields *fields, const char *name, uint64_t *hold);
/** One of the words of a list. */
bool hb_field_choice(struct hb_fields *fields, const char *name, const struct hb_choice *choices,
	uint32_t *value);
bool hb_field_choice_optional(struct hb_fields *fields, const char *name,
	const struct hb_choice *choices, uint32_t *value);
/** Text of at most `bytes_max` bytes of UTF-8; "" when absent. */
bool hb_field_text_optional(struct hb_fields *fields, const char *name, size_t bytes_max,
	const char **text, size_t *length);

/** Refuse fields that were not asked for. @return true when everything was right */
bool hb_fields_end(struct hb_fields *fields);

/**
 * Make a text of unknown origin fit for JSON and logs: every byte that is not printable ASCII
 * becomes a question mark. For messages to people, never for data.
 */
void hb_text_plain(char *text);

/** Parse the 16 hexadecimal digits of a packet id. */
bool hb_packet_id_parse(const char *text, uint64_t *packet);
/** The same of a hold id. */
bool hb_hold_id_parse(const char *text, uint64_t *hold);
/** Parse an account number in decimal, without sign or leading zeros. */
bool hb_account_parse(const char *text, uint64_t *account);
/** Parse a decimal number without sign, 0 .. max. */
bool hb_decimal_parse(const char *text, uint64_t max, uint64_t *value);

#endif
