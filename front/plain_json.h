/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The form that nearly every body has, read without allocating: one flat JSON object of texts
 * without escapes and of whole numbers without a sign.
 *
 * It answers "plain" or "not plain", never "wrong": whatever is not plain is jansson's to read and
 * to refuse, so there is one meaning and one set of messages. What is plain means here exactly what
 * it means there. Members point into the body and own nothing; any thread.
 */
#ifndef HB_FRONT_PLAIN_JSON_H
#define HB_FRONT_PLAIN_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hb_plain_member {
	const char *name; /* not NUL terminated */
	size_t name_length;
	const char *text; /* NULL: the value is the number */
	size_t text_length;
	int64_t number;
};

/**
 * Read a plain object.
 * @param members room for `max`, in the order of the body; a name may be there twice
 * @return how many members it has, -1 when it is not plain or has more than `max`
 */
int hb_plain_json(const char *json, size_t length, struct hb_plain_member *members, int max);

#endif
