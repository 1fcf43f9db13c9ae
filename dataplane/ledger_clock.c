/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Ledger time of dataplane/ledger_clock.h. Takes clock readings as input, so tests need no clock.
 */
#include "dataplane/ledger_clock.h"

#include <string.h>

#define SLEW_PER_SECOND 1000 /* the wall clock may be corrected by 1/1000 of the time passed */

void
hb_ledger_clock_shared_init(
	struct hb_ledger_clock_shared *shared, uint64_t step_ns_max, uint64_t gap_ns_max)
{
	memset(shared, 0, sizeof(*shared));
	atomic_init(&shared->confirmation, 1);
	shared->step_ns_max = step_ns_max;
	shared->gap_ns_max = gap_ns_max;
}

static void
stop(struct hb_ledger_clock_shared *shared, uint64_t confirmation)
{
	atomic_store_explicit(&shared->stopped_at, confirmation, memory_order_relaxed);
}

enum hb_clock_verdict
hb_ledger_clock_check_start(
	struct hb_ledger_clock_shared *shared, uint64_t state_ns, uint64_t wall_ns)
{
	if (state_ns == 0)
		return HB_CLOCK_GOOD;
	if (state_ns > wall_ns + shared->step_ns_max) {
		stop(shared, 1);
		return HB_CLOCK_BEHIND_STATE;
	}
	if (wall_ns > state_ns + shared->gap_ns_max) {
		stop(shared, 1);
		return HB_CLOCK_GAP;
	}
	return HB_CLOCK_GOOD;
}

void
hb_ledger_clock_init(struct hb_ledger_clock *clock, struct hb_ledger_clock_shared *shared,
	uint64_t state_ns, uint64_t wall_ns, uint64_t boot_ns)
{
	clock->shared = shared;
	clock->confirmation = 1;
	clock->offset_ns = (int64_t)(wall_ns - boot_ns);
	clock->boot_ns = boot_ns;
	/* A stopped clock begins where the state stands: a wrong wall clock leaves no trace. */
	clock->now_ns = state_ns;
	if (!hb_ledger_clock_stopped(shared) && wall_ns > state_ns)
		clock->now_ns = wall_ns;
}

bool
hb_ledger_clock_stopped(const struct hb_ledger_clock_shared *shared)
{
	return atomic_load_explicit(&shared->stopped_at, memory_order_relaxed) ==
	       atomic_load_explicit(&shared->confirmation, memory_order_relaxed);
}

void
hb_ledger_clock_confirm(struct hb_ledger_clock_shared *shared)
{
	atomic_fetch_add_explicit(&shared->confirmation, 1, memory_order_relaxed);
}

enum hb_clock_verdict
hb_ledger_clock_look(struct hb_ledger_clock *clock, uint64_t wall_ns, uint64_t boot_ns)
{
	struct hb_ledger_clock_shared *shared = clock->shared;
	uint64_t confirmation = atomic_load_explicit(&shared->confirmation, memory_order_relaxed);
	uint64_t passed_ns = boot_ns > clock->boot_ns ? boot_ns - clock->boot_ns : 0;
	int64_t slew_ns = (int64_t)(passed_ns / SLEW_PER_SECOND);
	int64_t apart_ns = (int64_t)(wall_ns - boot_ns) - clock->offset_ns;
	int64_t step_ns = (int64_t)shared->step_ns_max;
	uint64_t now_ns = wall_ns;
	enum hb_clock_verdict verdict = HB_CLOCK_GOOD;

	if (confirmation != clock->confirmation) {
		clock->confirmation = confirmation;
		clock->offset_ns = (int64_t)(wall_ns - boot_ns);
	} else if (hb_ledger_clock_stopped(shared)) {
		now_ns = clock->now_ns + passed_ns;
	} else if (apart_ns > step_ns || apart_ns < -step_ns) {
		stop(shared, confirmation);
		verdict = HB_CLOCK_JUMPED;
		now_ns = clock->now_ns + passed_ns;
	} else {
		clock->offset_ns += apart_ns > slew_ns	  ? slew_ns
				    : apart_ns < -slew_ns ? -slew_ns
							  : apart_ns;
	}
	clock->boot_ns = boot_ns;
	if (now_ns > clock->now_ns)
		clock->now_ns = now_ns;
	return verdict;
}
