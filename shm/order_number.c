/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order numbers: stamps, text form and Beijing time. Pure functions.
 */
#include "shm/order_number.h"

#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/limits.h"

#define STAMP_SEQUENCE_BITS 14
#define STAMP_SEQUENCE_MAX  9999
#define BEIJING_OFFSET_MS   (UINT64_C(8) * 3600 * 1000)
#define DAY_MS		    (UINT64_C(86400) * 1000)
/* Years that both versions can say: 1971 .. 9999 in Beijing. */
#define STAMP_MS_MIN (UINT64_C(31536000) * 1000 - BEIJING_OFFSET_MS)
#define STAMP_MS_MAX (UINT64_C(253402300799999) - BEIJING_OFFSET_MS)
_Static_assert(STAMP_MS_MAX < HB_STAMP_VERSION_2 >> STAMP_SEQUENCE_BITS, "the mark is no time");

uint64_t
hb_stamp_next(uint64_t last, uint64_t now_ms)
{
	uint64_t next = last + 1;

	if (hb_stamp_sequence(last) >= STAMP_SEQUENCE_MAX)
		next = (hb_stamp_ms(last) + 1) << STAMP_SEQUENCE_BITS;
	if (next < now_ms << STAMP_SEQUENCE_BITS)
		next = now_ms << STAMP_SEQUENCE_BITS;
	if (hb_stamp_ms(next) > now_ms + HB_ORDER_RUN_AHEAD_MS_MAX)
		return 0;
	return next;
}

static void
put_digits(char *at, uint32_t digits, uint64_t value)
{
	for (uint32_t i = digits; i > 0; i--) {
		at[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	HB_ASSERT(value == 0);
}

static bool
get_digits(const char *at, uint32_t digits, uint64_t *value)
{
	*value = 0;
	for (uint32_t i = 0; i < digits; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		*value = *value * 10 + (uint64_t)(at[i] - '0');
	}
	return true;
}

/*
 * Days since 1970-01-01 to civil date and back.
 * Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days counted from
 * 0000-03-01 in eras of 400 years.
 */
static void
civil_from_days(uint64_t days, uint64_t *year, uint64_t *month, uint64_t *day)
{
	uint64_t z = days + 719468;
	uint64_t era = z / 146097;
	uint64_t day_of_era = z % 146097;
	uint64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	uint64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	uint64_t shifted = (5 * day_of_year + 2) / 153;

	*day = day_of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
	*year = year_of_era + era * 400 + (*month <= 2);
}

static uint64_t
days_from_civil(uint64_t year, uint64_t month, uint64_t day)
{
	uint64_t y = year - (month <= 2);
	uint64_t era = y / 400;
	uint64_t year_of_era = y % 400;
	uint64_t shifted = month > 2 ? month - 3 : month + 9;
	uint64_t day_of_year = (153 * shifted + 2) / 5 + day - 1;
	uint64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

void
hb_beijing_time_format(char text[18], uint64_t unix_ms)
{
	uint64_t local = unix_ms + BEIJING_OFFSET_MS;
	uint64_t in_day = local % DAY_MS;
	uint64_t year, month, day;

	civil_from_days(local / DAY_MS, &year, &month, &day);
	HB_ASSERT(year <= 9999);
	put_digits(text, 4, year);
	put_digits(text + 4, 2, month);
	put_digits(text + 6, 2, day);
	put_digits(text + 8, 2, in_day / 3600000);
	put_digits(text + 10, 2, in_day / 60000 % 60);
	put_digits(text + 12, 2, in_day / 1000 % 60);
	put_digits(text + 14, 3, in_day % 1000);
	text[17] = '\0';
}

uint32_t
hb_beijing_day(uint64_t unix_ms)
{
	uint64_t year, month, day;

	civil_from_days((unix_ms + BEIJING_OFFSET_MS) / DAY_MS, &year, &month, &day);
	return (uint32_t)(year * 10000 + month * 100 + day);
}

bool
hb_beijing_time_parse(const char *text, uint64_t *unix_ms)
{
	uint64_t year, month, day, hour, minute, second, ms;
	char again[18];

	if (!get_digits(text, 4, &year) || !get_digits(text + 4, 2, &month) ||
		!get_digits(text + 6, 2, &day) || !get_digits(text + 8, 2, &hour) ||
		!get_digits(text + 10, 2, &minute) || !get_digits(text + 12, 2, &second) ||
		!get_digits(text + 14, 3, &ms))
		return false;
	if (year < 1971 || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	*unix_ms = days_from_civil(year, month, day) * DAY_MS + hour * 3600000 + minute * 60000 +
		   second * 1000 + ms - BEIJING_OFFSET_MS;
	/* Hours above 23 or a 31st of April come back as another text. */
	hb_beijing_time_format(again, *unix_ms);
	return memcmp(text, again, 17) == 0;
}

static void
put_stamp_1(char *at, uint64_t stamp)
{
	char time[18];

	hb_beijing_time_format(time, hb_stamp_ms(stamp));
	memcpy(at, time, 17);
	put_digits(at + 17, 4, hb_stamp_sequence(stamp));
}

void
hb_order_number_format(char text[HB_ORDER_NUMBER_LENGTH + 1], uint32_t business, uint32_t node,
	uint32_t allocator, uint64_t account, uint64_t stamp)
{
	bool version_2 = (stamp & HB_STAMP_VERSION_2) != 0;

	put_digits(text, 2, business);
	text[2] = version_2 ? '2' : '1';
	put_digits(text + 3, 2, node);
	put_digits(text + 5, 2, allocator);
	put_digits(text + 7, 4, hb_account_digits(account));
	if (version_2)
		put_digits(text + 11, 21, hb_stamp_plain(stamp));
	else
		put_stamp_1(text + 11, stamp);
	text[HB_ORDER_NUMBER_LENGTH] = '\0';
}

static bool
parse_stamp_1(const char *text, uint64_t *stamp)
{
	uint64_t ms, sequence;

	if (!hb_beijing_time_parse(text + 11, &ms) || !get_digits(text + 28, 4, &sequence))
		return false;
	*stamp = ms << STAMP_SEQUENCE_BITS | sequence;
	return true;
}

static bool
parse_stamp_2(const char *text, uint64_t *stamp)
{
	uint64_t high, low;

	/* Two halves, so that nothing wraps. */
	if (text[11] != '0' || !get_digits(text + 12, 10, &high) ||
		!get_digits(text + 22, 10, &low) ||
		__builtin_mul_overflow(high, UINT64_C(10000000000), stamp) ||
		__builtin_add_overflow(*stamp, low, stamp))
		return false;
	if (hb_stamp_sequence(*stamp) > STAMP_SEQUENCE_MAX || *stamp >= HB_STAMP_VERSION_2 ||
		hb_stamp_ms(*stamp) < STAMP_MS_MIN || hb_stamp_ms(*stamp) > STAMP_MS_MAX)
		return false;
	*stamp |= HB_STAMP_VERSION_2;
	return true;
}

bool
hb_order_number_parse(const char *text, struct hb_order_number *number)
{
	uint64_t business, version, node, allocator, user, stamp;

	if (strnlen(text, HB_ORDER_NUMBER_LENGTH + 1) != HB_ORDER_NUMBER_LENGTH)
		return false;
	if (!get_digits(text, 2, &business) || !get_digits(text + 2, 1, &version) ||
		!get_digits(text + 3, 2, &node) || !get_digits(text + 5, 2, &allocator) ||
		!get_digits(text + 7, 4, &user))
		return false;
	if (business < 10 || allocator >= HB_PARTITION_COUNT)
		return false;
	if (version == 1 ? !parse_stamp_1(text, &stamp)
			 : version != 2 || !parse_stamp_2(text, &stamp))
		return false;
	number->business = (uint32_t)business;
	number->version = (uint32_t)version;
	number->node = (uint32_t)node;
	number->allocator = (uint32_t)allocator;
	number->user_digits = (uint32_t)user;
	number->stamp = stamp;
	return true;
}
