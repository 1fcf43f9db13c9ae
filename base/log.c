/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The log line: formatted into a buffer on the caller's stack and written with one write(2), so
 * lines of several threads never mix. A line longer than the buffer is cut and marked. When the
 * process dies inside, at worst one line is missing; nothing depends on it.
 */
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX	2048
#define PAIRS_BYTES_MAX 1536
#define CUT_MARK	" cut=1"

static const char *process_name = "unknown";
static _Atomic int debug_on;

struct line {
	char text[LINE_BYTES_MAX];
	size_t length;
};

void
hb_log_open(const char *process, int debug)
{
	process_name = process;
	debug_on = debug;
}

void
hb_log_debug(int debug)
{
	debug_on = debug;
}

static void
put(struct line *line, char c)
{
	if (line->length < sizeof(line->text) - sizeof(CUT_MARK))
		line->text[line->length++] = c;
}

static void
put_text(struct line *line, const char *text)
{
	while (*text != '\0')
		put(line, *text++);
}

static void
put_escaped(struct line *line, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	if (c == '\n') {
		put_text(line, "\\n");
	} else if (c < 0x20 || c == 0x7f) {
		put_text(line, "\\x");
		put(line, hex[c >> 4]);
		put(line, hex[c & 15]);
	} else {
		put(line, (char)c);
	}
}

/** Is there a space at `at`, followed by the "key=" of the next pair (or by nothing)? */
static bool
next_pair_at(const char *at)
{
	if (*at++ != ' ')
		return false;
	if (!islower((unsigned char)*at))
		return false;
	while (islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_')
		at++;
	return *at == '=';
}

/** Put one value, in quotes when it has spaces; returns what follows it. */
static const char *
put_value(struct line *line, const char *value)
{
	bool quoted_by_caller = *value == '"';
	bool has_space = false;
	const char *end = value;

	if (quoted_by_caller) {
		end++;
		while (*end != '\0' && !(end[0] == '"' && (end[1] == ' ' || end[1] == '\0')))
			end++;
		end += *end == '"';
	}
	while (*end != '\0' && !next_pair_at(end)) {
		has_space |= *end == ' ';
		end++;
	}
	if (has_space && !quoted_by_caller)
		put(line, '"');
	for (; value < end; value++) {
		if (*value == '"' && has_space && !quoted_by_caller)
			put(line, '\\');
		put_escaped(line, (unsigned char)*value);
	}
	if (has_space && !quoted_by_caller)
		put(line, '"');
	return end;
}

static void
put_pairs(struct line *line, const char *pairs)
{
	while (*pairs != '\0') {
		put_escaped(line, (unsigned char)*pairs);
		if (*pairs++ == '=')
			pairs = put_value(line, pairs);
	}
}

static void
put_time(struct line *line)
{
	char text[64];
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	snprintf(text, sizeof(text), "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ",
		utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
		utc.tm_sec, now.tv_nsec / 1000000);
	put_text(line, text);
}

static void
write_line(const struct line *line)
{
	ssize_t written;

	do {
		written = write(STDERR_FILENO, line->text, line->length);
	} while (written < 0 && errno == EINTR);
}

void
hb_log(enum hb_log_level level, const char *event, const char *format, ...)
{
	static const char *const level_names[] = {"debug", "info", "warn", "error"};
	char pairs[PAIRS_BYTES_MAX];
	struct line line = {.length = 0};
	va_list arguments;
	int length;

	if (level == HB_LOG_DEBUG && !debug_on)
		return;
	va_start(arguments, format);
	length = vsnprintf(pairs, sizeof(pairs), format, arguments);
	va_end(arguments);

	put_time(&line);
	put_text(&line, " level=");
	put_text(&line, level_names[level]);
	put_text(&line, " process=");
	put_text(&line, process_name);
	put_text(&line, " event=");
	put_text(&line, event);
	if (length > 0) {
		put(&line, ' ');
		put_pairs(&line, pairs);
	}
	if (length >= (int)sizeof(pairs) || line.length >= sizeof(line.text) - sizeof(CUT_MARK)) {
		memcpy(line.text + line.length, CUT_MARK, sizeof(CUT_MARK) - 1);
		line.length += sizeof(CUT_MARK) - 1;
	}
	line.text[line.length++] = '\n';
	write_line(&line);
}
