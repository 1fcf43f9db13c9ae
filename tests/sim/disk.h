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

/* A call of the disk that fails. */
enum sim_failure {
	SIM_FAIL_NOT = 0,
	SIM_FAIL_IO,	/* EIO; of a write any part is left */
	SIM_FAIL_SPACE, /* ENOSPC */
	SIM_FAIL_SHORT, /* half of a read or write is done, and said to be */
	SIM_FAIL_COUNT
};

/*
 * The calls that persist and the snapshot job make, counted, and what is to happen at one of them.
 * A point is a moment at which the disk has just changed; a synced write has one more, while it is
 * under way.
 */
struct sim_disk_watch {
	uint64_t points;
	uint64_t calls;
	uint64_t halt_at;  /* the point where the machine stops: a jump to machine.halt; 0: none */
	uint64_t death_at; /* the point where the process dies */
	uint64_t fail_at;  /* the call that fails, if it knows the failure */
	enum sim_failure failure;
	bool failed; /* it has */
};
extern struct sim_disk_watch disk_watch;

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

/** Flip it back, and every one before, where nothing else was written since. */
void sim_disk_repair_rot(void);

/* ---- every way to lose what was not synced (disk_loss.c) ---- */

#define SIM_PENDING_MAX 4096
#define SIM_LOSS_KEPT	(512 / 8)

/* What a loss of power would decide now. */
struct sim_pending {
	uint32_t sectors; /* that differ from what is durable */
	uint32_t names;	  /* changes of names */
	uint32_t sizes;	  /* files whose length is not durable */
};
struct sim_pending sim_disk_pending(void);

/* One decision. */
struct sim_loss {
	uint32_t names_kept; /* so many of the first */
	bool sizes_kept;
	uint8_t sector[SIM_PENDING_MAX]; /* the first n * 8 bytes are kept: 0 lost, 64 all */
};
/** Lose power in exactly this way. All processes are dead. */
void sim_disk_lose(const struct sim_loss *loss);

/** Remember the disk, and go back to it. All processes are dead, both times. */
void sim_disk_save(void);
void sim_disk_restore(void);

/* ---- damage to what is durable (disk_loss.c) ---- */

enum sim_damage {
	SIM_DAMAGE_FLIP, /* one bit */
	SIM_DAMAGE_ZERO,
	SIM_DAMAGE_COPY, /* it holds what another sector holds */
	SIM_DAMAGE_SWAP, /* two have changed places */
	SIM_DAMAGE_COUNT
};

/* Where a sector lies. */
enum sim_place {
	SIM_PLACE_FRAME,      /* in a frame that a later one, the hint or the witness names */
	SIM_PLACE_LAST_FRAME, /* in the newest frame, which nothing names */
	SIM_PLACE_BEHIND,     /* of a segment, behind the newest frame */
	SIM_PLACE_SNAPSHOT,
	SIM_PLACE_SUPERBLOCK,
	SIM_PLACE_COUNT
};

struct sim_sector {
	int file;
	uint64_t at; /* bytes */
	enum sim_place place;
};

#define SIM_SECTORS_MAX 65536
/**
 * All sectors that were ever written of the journal's files.
 * @param covered the newest sequence that something outside of the frames names
 */
uint32_t sim_disk_sectors(struct sim_sector *sectors, uint64_t covered);
/** Do it. @return false when it changes nothing */
bool sim_disk_damage(
	const struct sim_sector *sector, enum sim_damage damage, const struct sim_sector *other);
/** The hint of the newest good superblock. */
uint64_t sim_disk_hint(void);
/** The newest durable record. */
uint64_t sim_disk_last_seq(void);
/** Frames in all segments. */
uint64_t sim_disk_frames(void);
/** The snapshots are gone. */
void sim_disk_forget_snapshots(void);

#endif
