/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSV (csv.h). Pure but for the writing of one field; memory is the caller's.
 */
#include "tools/hbctl/csv.h"

#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

void
hbctl_csv_begin(struct hbctl_csv *csv, const char *text, size_t bytes)
{
	bool marked = bytes >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0;

	*csv = (struct hbctl_csv){.text = text, .bytes = bytes, .at = marked ? 3 : 0, .line = 1};
}

/* Length of the line end at a place, 0 when there is none. */
static size_t
line_end(const struct hbctl_csv *csv, size_t at)
{
	if (at < csv->bytes && csv->text[at] == '\n')
		return 1;
	return at + 1 < csv->bytes && csv->text[at] == '\r' && csv->text[at + 1] == '\n' ? 2 : 0;
}

static void
refuse(struct hbctl_csv_record *record, const char *error)
{
	if (record->error == NULL)
		record->error = error;
}

struct building {
	struct hbctl_csv_record *record;
	size_t used;
};

static void
put(struct building *b, char c)
{
	if (b->used == sizeof(b->record->bytes)) {
		refuse(b->record, "the record is longer than 4096 bytes");
		return;
	}
	b->record->bytes[b->used++] = c;
}

static void
begin_field(struct building *b)
{
	struct hbctl_csv_record *record = b->record;

	if (record->count == HBCTL_CSV_FIELDS_MAX) {
		refuse(record, "the record has more than 16 fields");
		return;
	}
	record->field[record->count++] =
		record->bytes + (b->used < sizeof(record->bytes) ? b->used : 0);
}

/* The inside of a field in quotes; `at` is behind the first of them. */
static void
read_quoted(struct hbctl_csv *csv, struct building *b)
{
	while (csv->at < csv->bytes) {
		char c = csv->text[csv->at++];

		if (c == '"' && csv->at < csv->bytes && csv->text[csv->at] == '"') {
			csv->at++;
		} else if (c == '"') {
			return;
		} else if (c == '\0') {
			refuse(b->record, "the record has a zero byte");
		}
		csv->line += c == '\n';
		put(b, c);
	}
	refuse(b->record, "a quote is never closed");
}

/* Up to the comma or line end; in a field that had quotes nothing may be there. */
static void
read_plain(struct hbctl_csv *csv, struct building *b, bool had_quotes)
{
	while (csv->at < csv->bytes && csv->text[csv->at] != ',' && line_end(csv, csv->at) == 0) {
		char c = csv->text[csv->at++];

		if (had_quotes)
			refuse(b->record, "there is text behind a closing quote");
		else if (c == '"')
			refuse(b->record, "a quote stands inside a field that has none around it");
		else if (c == '\r')
			refuse(b->record, "a carriage return stands inside a field");
		else if (c == '\0')
			refuse(b->record, "the record has a zero byte");
		put(b, c);
	}
}

static void
read_record(struct hbctl_csv *csv, struct hbctl_csv_record *record)
{
	struct building b = {.record = record};

	for (;;) {
		bool quotes = csv->at < csv->bytes && csv->text[csv->at] == '"';

		begin_field(&b);
		if (quotes) {
			csv->at++;
			read_quoted(csv, &b);
		}
		read_plain(csv, &b, quotes);
		put(&b, '\0');
		if (csv->at == csv->bytes || csv->text[csv->at] != ',')
			return;
		csv->at++;
	}
}

bool
hbctl_csv_next(struct hbctl_csv *csv, struct hbctl_csv_record *record)
{
	size_t length;

	while ((length = line_end(csv, csv->at)) > 0) {
		csv->at += length;
		csv->line++;
	}
	if (csv->at == csv->bytes)
		return false;
	record->line = csv->line;
	record->begin = csv->at;
	record->count = 0;
	record->error = NULL;
	read_record(csv, record);
	record->end = csv->at;
	length = line_end(csv, csv->at);
	csv->at += length;
	csv->line += length > 0;
	return true;
}

void
hbctl_csv_write(FILE *out, const char *text, size_t bytes)
{
	fputc('"', out);
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] == '"')
			fputc('"', out);
		fputc(text[i], out);
	}
	fputc('"', out);
}
