/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl sizing: what a node needs for a wish. Asks nobody and changes nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "shm/limits.h"
#include "tools/hbctl/hbctl.h"
#include "tools/hbctl/sizing.h"

static bool
take_number(struct hbctl *hbctl, const char *name, uint64_t otherwise, uint64_t min, uint64_t max,
	uint64_t *value)
{
	const char *text = hbctl_option_value(hbctl, name);

	*value = otherwise;
	if (text == NULL || hbctl_parse_u64(text, min, max, value))
		return true;
	hbctl_fail(hbctl, HBCTL_USAGE, "%s takes a whole number %" PRIu64 "..%" PRIu64, name, min,
		max);
	return false;
}

static bool
take_wish(struct hbctl *hbctl, struct hbctl_sizing_wish *wish)
{
	return take_number(hbctl, "--accounts", 1000000, 1, HBCTL_SIZING_ACCOUNTS_MAX,
		       &wish->accounts) &&
	       take_number(
		       hbctl, "--packets", 100000, 1, HBCTL_SIZING_PACKETS_MAX, &wish->packets) &&
	       take_number(
		       hbctl, "--shares", 100, 1, HB_PACKET_COUNT_MAX, &wish->shares_per_packet) &&
	       take_number(hbctl, "--grabs-per-second", 1000, 1, HBCTL_SIZING_GRABS_MAX,
		       &wish->grabs_per_second) &&
	       take_number(hbctl, "--busy-hours", 4, 1, 24, &wish->busy_hours);
}

static json_t *
number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *
sizing_json(const struct hbctl_sizing *s)
{
	return json_pack("{s:b, s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o}, s:o, s:o, s:o, s:o, s:o, "
			 "s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"ok", 1, "options", "capacity.accounts", number(s->capacity.accounts),
		"capacity.packets", number(s->capacity.packets), "capacity.arena_mib",
		number(s->capacity.arena_bytes >> 20), "capacity.windows",
		number(s->capacity.windows), "capacity.orders", number(s->capacity.orders),
		"capacity.idempotency", number(s->capacity.idempotency), "dataplane.lcores",
		number(s->lcores), "state_bytes", number(s->state_bytes), "snapshot_bytes",
		number(s->snapshot_bytes), "mysql_bytes", number(s->mysql_bytes), "memory_bytes",
		number(s->memory_bytes), "huge_pages", number(s->huge_pages), "grabs_per_day",
		number(s->grabs_per_day), "journal_day_bytes", number(s->journal_day_bytes),
		"journal_second_bytes", number(s->journal_second_bytes), "journal_volume_bytes",
		number(s->journal_volume_bytes), "sync_us_max", number(s->sync_us_max),
		"ledger_rows_per_day", number(s->ledger_rows_per_day), "lcores", number(s->lcores),
		"cores", number(s->cores));
}

static void
print_sizing(FILE *out, const struct hbctl_sizing *s)
{
	fprintf(out,
		"memory     %8" PRIu64 " MiB: state %" PRIu64 ", a snapshot in the making %" PRIu64
		", MariaDB %" PRIu64 ", programs and rings the rest\n"
		"huge pages %8" PRIu64 " of 2 MiB, transparent; helpful, not needed\n"
		"journal    %8" PRIu64 " MiB a day at most, %" PRIu64
		" KiB a second at the busiest, volume of %" PRIu64 " GiB\n"
		"disk sync  %8" PRIu64
		" us at most, at the busiest; slower, grabs wait for more than one write\n"
		"MySQL      %8" PRIu64 " thousand rows a day\n"
		"cores      %8" PRIu64 ", of which %" PRIu64
		" lcore(s); per second: dataplane %" PRIu64 " ms, persist %" PRIu64
		", nginx %" PRIu64 ", MariaDB %" PRIu64 "\n",
		s->memory_bytes >> 20, s->state_bytes >> 20, s->snapshot_bytes >> 20,
		s->mysql_bytes >> 20, s->huge_pages, s->journal_day_bytes >> 20,
		s->journal_second_bytes >> 10, (s->journal_volume_bytes >> 30) + 1, s->sync_us_max,
		s->ledger_rows_per_day / 1000, s->cores, s->lcores, s->dataplane_us / 1000,
		s->persist_us / 1000, s->front_us / 1000, s->mysql_us / 1000);
	fprintf(out,
		"\ncapacity: { accounts = %" PRIu64 "; packets = %" PRIu64 "; arena_mib = %" PRIu64
		"; windows = %" PRIu64 ";\n            orders = %" PRIu64 "; idempotency = %" PRIu64
		"; };\ndataplane: { lcores = %" PRIu64 "; };\n",
		s->capacity.accounts, s->capacity.packets, s->capacity.arena_bytes >> 20,
		s->capacity.windows, s->capacity.orders, s->capacity.idempotency, s->lcores);
}

int
hbctl_run_sizing(struct hbctl *hbctl)
{
	struct hbctl_sizing_wish wish;
	struct hbctl_sizing sizing;
	const char *too_much;

	if (!take_wish(hbctl, &wish))
		return HBCTL_USAGE;
	if (hbctl_sizing_make(&sizing, &wish, &hbctl->config, &too_much) != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG,
			"so many %s do not fit into one node at the bounds of capacity.*: use "
			"several",
			too_much);
	if (hbctl->json)
		hbctl_print_json(hbctl, sizing_json(&sizing));
	else
		print_sizing(hbctl->out, &sizing);
	return HBCTL_OK;
}
