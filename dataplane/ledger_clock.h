/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Ledger time: the wall clock, as long as it can be believed.
 *
 * It never decreases. The wall clock (CLOCK_REALTIME) is compared with CLOCK_BOOTTIME, which
 * nobody can set: when they drift apart by more than a named step, ledger time follows
 * CLOCK_BOOTTIME alone and money operations stop until an operator confirms the clock. Slow
 * corrections of the wall clock, up to 1 ms per second, are followed. At start the newest ledger
 * time in the state is compared with the wall clock in the same way.
 *
 * Each lcore has its own struct hb_ledger_clock; what they tell each other is in the shared part.
 * A confirmation has a number; "stopped" means: at the present number. So a late discoverer of a
 * jump that was confirmed already stops nobody.
 */
#ifndef HB_DATAPLANE_LEDGER_CLOCK_H
#define HB_DATAPLANE_LEDGER_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hb_ledger_clock_shared {
	_Atomic uint64_t confirmation; /* number of the last one, from 1 */
	_Atomic uint64_t stopped_at;   /* confirmation number at which it stopped, 0 = never */
	uint64_t step_ns_max;
	uint64_t gap_ns_max;
};

struct hb_ledger_clock {
	struct hb_ledger_clock_shared *shared;
	uint64_t confirmation; /* followed by this lcore */
	int64_t offset_ns;     /* wall - boottime, as believed */
	uint64_t boot_ns;      /* of the last look */
	uint64_t now_ns;       /* ledger time of the last look */
};

/** Why a clock stopped. */
enum hb_clock_verdict {
	HB_CLOCK_GOOD = 0,
	HB_CLOCK_JUMPED,
	HB_CLOCK_BEHIND_STATE,
	HB_CLOCK_GAP,
};

void hb_ledger_clock_shared_init(
	struct hb_ledger_clock_shared *shared, uint64_t step_ns_max, uint64_t gap_ns_max);

/**
 * Compare the wall clock with the newest time in the state, once, before the lcores start.
 * @param state_ns 0 when the state is empty
 */
enum hb_clock_verdict hb_ledger_clock_check_start(
	struct hb_ledger_clock_shared *shared, uint64_t state_ns, uint64_t wall_ns);

void hb_ledger_clock_init(struct hb_ledger_clock *clock, struct hb_ledger_clock_shared *shared,
	uint64_t state_ns, uint64_t wall_ns, uint64_t boot_ns);

/**
 * Look at the clocks. Updates clock->now_ns.
 * @return HB_CLOCK_JUMPED when this look found a jump (and stopped the clock), else GOOD
 */
enum hb_clock_verdict hb_ledger_clock_look(
	struct hb_ledger_clock *clock, uint64_t wall_ns, uint64_t boot_ns);

bool hb_ledger_clock_stopped(const struct hb_ledger_clock_shared *shared);

/** An operator confirmed the wall clock: every lcore believes it again from its next look on. */
void hb_ledger_clock_confirm(struct hb_ledger_clock_shared *shared);

#endif
