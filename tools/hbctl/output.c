/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How answers look: money, time, names, JSON, and the one way to fail. Pure formatting; nothing
 * here outlives a call.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/hex.h"
#include "shm/ids.h"
#include "tools/hbctl/hbctl.h"

#define BEIJING_OFFSET_S (8 * 3600)

void
hbctl_money(char text[HBCTL_MONEY_BYTES], int64_t fen)
{
	uint64_t absolute = fen < 0 ? -(uint64_t)fen : (uint64_t)fen;

	snprintf(text, HBCTL_MONEY_BYTES, "%s%" PRIu64 ".%02" PRIu64, fen < 0 ? "-" : "",
		absolute / 100, absolute % 100);
}

void
hbctl_time(char text[HBCTL_TIME_BYTES], uint64_t unix_ms)
{
	time_t seconds = (time_t)(unix_ms / 1000) + BEIJING_OFFSET_S;
	struct tm t;
	size_t length;

	if (unix_ms == 0 || gmtime_r(&seconds, &t) == NULL) {
		snprintf(text, HBCTL_TIME_BYTES, "-");
		return;
	}
	length = strftime(text, HBCTL_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &t);
	snprintf(text + length, HBCTL_TIME_BYTES - length, ".%03u", (unsigned)(unix_ms % 1000));
}

void
hbctl_account_name(char text[HBCTL_NAME_BYTES], uint64_t account)
{
	static const char *const names[] = {
		[HB_SYSTEM_CLEARING_WECHAT] = "clearing_wechat",
		[HB_SYSTEM_CLEARING_ALIPAY] = "clearing_alipay",
		[HB_SYSTEM_CLEARING_99BILL] = "clearing_99bill",
		[HB_SYSTEM_CLEARING_MANUAL] = "clearing_manual",
		[HB_SYSTEM_FEES] = "fees",
		[HB_SYSTEM_SUSPENSE] = "suspense",
	};
	uint64_t which = account & HB_ACCOUNT_MAX;

	if (hb_id_kind(account) == HB_ID_SYSTEM_ACCOUNT && which >= 1 &&
		which < sizeof(names) / sizeof(names[0]))
		snprintf(text, HBCTL_NAME_BYTES, "%s/%" PRIu32, names[which],
			hb_partition_of(account));
	else
		snprintf(text, HBCTL_NAME_BYTES, "%" PRIu64, account);
}

const char *
hbctl_storage_name(uint32_t level)
{
	switch (level) {
	case HB_STORAGE_OK:
		return "ok";
	case HB_STORAGE_NO_PACKETS:
		return "no_packets";
	case HB_STORAGE_NO_GRABS:
		return "no_grabs";
	case HB_STORAGE_CONTROL_ONLY:
		return "control_only";
	}
	return "unknown";
}

void
hbctl_print_json(struct hbctl *hbctl, json_t *answer)
{
	HB_ASSERT(answer != NULL);
	HB_ASSERT(json_dumpf(answer, hbctl->out, JSON_COMPACT) == 0);
	fputc('\n', hbctl->out);
	json_decref(answer);
}

int
hbctl_fail(struct hbctl *hbctl, int exit_code, const char *format, ...)
{
	char message[HBCTL_ERROR_BYTES * 2];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	fprintf(hbctl->err, "hbctl: %s\n", message);
	if (hbctl->json)
		hbctl_print_json(hbctl, json_pack("{s:b, s:i, s:o}", "ok", 0, "exit", exit_code,
						"error", hbctl_json_string(message)));
	return exit_code;
}

int
hbctl_refused(struct hbctl *hbctl, const char *what, uint16_t status)
{
	fprintf(hbctl->err, "hbctl: %s: %s: %s\n", what, hb_status_name(status),
		hb_status_advice(status));
	if (hbctl->json)
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:i, s:s, s:s}", "ok", 0, "exit", HBCTL_WRONG, "status",
				hb_status_name(status), "error", hb_status_advice(status)));
	return HBCTL_WRONG;
}

int64_t
hbctl_json_i64(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *
hbctl_json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

json_t *
hbctl_json_string(const char *text)
{
	json_t *string = json_string(text);
	char copy[HBCTL_ERROR_BYTES * 2];

	if (string != NULL)
		return string;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c != '\0'; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(copy);
}

json_t *
hbctl_json_hex(const uint8_t *bytes, size_t count)
{
	char text[2 * 64 + 1];

	HB_ASSERT(count <= 64);
	hb_hex_text(text, bytes, count);
	return json_string(text);
}

json_t *
hbctl_json_packet(uint64_t packet)
{
	char text[17];

	snprintf(text, sizeof(text), "%016" PRIx64, packet);
	return json_string(text);
}
