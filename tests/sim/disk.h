/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The simulated disk: the files below /sim, in memory, twice: as processes see them, and as they
 * are after a loss of power. Names, lengths and every sector of 512 bytes differ between the two
 * until they are synced.
 *
 * At a loss of power each sector that was not synced is kept, lost or torn, and of the changed
 * names a random number of the first is kept. A process that dies in a write leaves a random part
 * of it.
 */
#ifndef HB_TESTS_SIM_DISK_H
#define HB_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/machine.h"

struct sim_disk_plan {
	uint32_t death_in;	 /* steps of the disk until the process dies; 0: it does not */
	bool death_is_power;	 /* and the machine with it */
	uint32_t slow_writes;	 /* so many synced writes are slow */
	uint32_t write_error_in; /* synced writes until one fails; 0: none does */
	uint32_t no_space;	 /* so many reservations of space fail */
	uint32_t read_errors;	 /* so many reads fail */
	uint32_t bad_reads;	 /* so many reads bring wrong bytes */
	bool bad_reads_stale;	 /* zeros instead of another place's bytes */
};
extern struct sim_disk_plan disk_plan;

/** Called with every record that a synced write made durable. */
typedef void sim_durable_fn(const void *record);

/** An empty disk. @param during_write called while a synced write is under way */
void sim_disk_reset(void (*during_write)(bool slow), sim_durable_fn *durable);

/** The process's descriptors are closed. */
void sim_disk_process_died(enum sim_process process);

/** The machine lost power: what was not synced is decided. All processes are dead. */
void sim_disk_power_loss(void);

/**
 * Flip one bit of a file, in a place where it must be found or does not matter: not in the newest
 * frame of the journal, which nothing else names yet.
 * @return false when there is no such place
 */
bool sim_disk_rot(void);

#endif
