/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Log lines for people and machines: one line of key=value pairs on standard error.
 *
 *   time=2026-11-23T08:00:00.123Z level=info process=persist event=recovered seq=42
 *
 * Values with spaces are quoted, control characters escaped. Secrets are never passed in. Never
 * called per request. Thread safe: one write(2) per line.
 */
#ifndef HB_BASE_LOG_H
#define HB_BASE_LOG_H

enum hb_log_level {
	HB_LOG_DEBUG,
	HB_LOG_INFO,
	HB_LOG_WARN,
	HB_LOG_ERROR,
};

/** Set once at start. */
void hb_log_open(const char *process, int debug);

/** Debug events from now on, or no longer; from any thread. */
void hb_log_debug(int debug);

/**
 * @param event stable name of what happened, snake_case
 * @param format printf format of the pairs, such as "seq=%lu file=%s"; may be ""
 */
void hb_log(enum hb_log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
