/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Plain objects of front/plain_json.h. One pass over bytes of the caller; nothing is kept.
 */
#include "front/plain_json.h"

#define DIGITS_MAX 18 /* of any number that fits into int64_t whatever its digits are */

struct scan {
	const char *at;
	const char *end;
};

static void
skip_space(struct scan *scan)
{
	while (scan->at < scan->end &&
		(*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
}

/* The character comes next, perhaps behind white space. */
static bool
take(struct scan *scan, char character)
{
	skip_space(scan);
	if (scan->at == scan->end || *scan->at != character)
		return false;
	scan->at++;
	return true;
}

/* What is between two quotes: printable ASCII without a backslash. */
static bool
take_text(struct scan *scan, const char **text, size_t *length)
{
	if (!take(scan, '"'))
		return false;
	*text = scan->at;
	while (scan->at < scan->end && *scan->at != '"') {
		if (*scan->at < 0x20 || *scan->at > 0x7e || *scan->at == '\\')
			return false;
		scan->at++;
	}
	*length = (size_t)(scan->at - *text);
	return take(scan, '"');
}

static bool
take_number(struct scan *scan, int64_t *number)
{
	const char *first = scan->at;

	*number = 0;
	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
		if (scan->at - first == DIGITS_MAX)
			return false;
		*number = *number * 10 + (*scan->at++ - '0');
	}
	return scan->at > first && (*first != '0' || scan->at == first + 1);
}

static bool
take_member(struct scan *scan, struct hb_plain_member *member)
{
	if (!take_text(scan, &member->name, &member->name_length) || !take(scan, ':'))
		return false;
	skip_space(scan);
	if (scan->at < scan->end && *scan->at == '"')
		return take_text(scan, &member->text, &member->text_length);
	member->text = NULL;
	member->text_length = 0;
	return take_number(scan, &member->number);
}

/* @return how many members are behind the opening brace, -1 when they are not plain */
static int
take_members(struct scan *scan, struct hb_plain_member *members, int max)
{
	int count = 0;

	if (take(scan, '}'))
		return 0;
	do {
		if (count == max || !take_member(scan, &members[count]))
			return -1;
		count++;
	} while (take(scan, ','));
	return take(scan, '}') ? count : -1;
}

int
hb_plain_json(const char *json, size_t length, struct hb_plain_member *members, int max)
{
	struct scan scan = {json, json + length};
	int count;

	if (!take(&scan, '{'))
		return -1;
	count = take_members(&scan, members, max);
	skip_space(&scan);
	return scan.at == scan.end ? count : -1;
}
