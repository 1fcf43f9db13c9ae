/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading a CSV file as RFC 4180 has it: fields separated by commas, in quotes where they hold a
 * comma, a quote (doubled) or a line end; lines end in LF or CRLF; a byte order mark is passed
 * over, and so are empty lines.
 *
 * The text belongs to the caller and is not changed. A record that breaks the rules is told with
 * its reason, and the next one begins behind its line end.
 */
#ifndef HBCTL_CSV_H
#define HBCTL_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HBCTL_CSV_FIELDS_MAX	   16
#define HBCTL_CSV_RECORD_BYTES_MAX 4096

struct hbctl_csv {
	const char *text;
	size_t bytes;
	size_t at;
	uint64_t line; /* that `at` is in, from 1 */
};

struct hbctl_csv_record {
	uint64_t line;				 /* where it begins */
	size_t begin;				 /* in the text … */
	size_t end;				 /* … without its line end */
	uint32_t count;				 /* of fields */
	const char *field[HBCTL_CSV_FIELDS_MAX]; /* into `bytes`, NUL terminated */
	const char *error;			 /* NULL when it keeps the rules */
	char bytes[HBCTL_CSV_RECORD_BYTES_MAX];
};

void hbctl_csv_begin(struct hbctl_csv *csv, const char *text, size_t bytes);
/** Read the next record. @return false at the end */
bool hbctl_csv_next(struct hbctl_csv *csv, struct hbctl_csv_record *record);
/** Write text as one field in quotes. */
void hbctl_csv_write(FILE *out, const char *text, size_t bytes);

#endif
