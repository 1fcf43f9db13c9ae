/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The simulated machine: random numbers of a seed, clocks, and processes that can die anywhere.
 *
 * There is one machine in the program and one thread. A "process" is a call into the product's code
 * with a place to jump back to; when it dies, what it had allocated is given back. The linker hands
 * the product's calls of clocks, threads, abort and files to the simulator (meson.build lists
 * them), so shm/, dataplane/ and persist/ are the same object files as in the product.
 */
#ifndef HB_TESTS_SIM_MACHINE_H
#define HB_TESTS_SIM_MACHINE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

/* Kinds of faults, as they are counted and named in the result. */
#define SIM_FAULT_TABLE(X)                                                                         \
	X(KILL_DATAPLANE, "kill_dataplane")                                                        \
	X(KILL_IN_TURN, "kill_in_turn")                                                            \
	X(KILL_PERSIST, "kill_persist")                                                            \
	X(KILL_BOTH, "kill_both")                                                                  \
	X(POWER_LOSS, "power_loss")                                                                \
	X(KILL_IN_RECOVERY, "kill_in_recovery")                                                    \
	X(KILL_IN_SNAPSHOT, "kill_in_snapshot")                                                    \
	X(STALE_DATAPLANE, "stale_dataplane")                                                      \
	X(SECTOR_LOST, "sector_lost")                                                              \
	X(SECTOR_TORN, "sector_torn")                                                              \
	X(NAME_LOST, "name_lost")                                                                  \
	X(SLOW_WRITE, "slow_write")                                                                \
	X(WRITE_ERROR, "write_error")                                                              \
	X(SHORT_WRITE, "short_write")                                                              \
	X(READ_ERROR, "read_error")                                                                \
	X(MISDIRECTED_READ, "misdirected_read")                                                    \
	X(STALE_READ, "stale_read")                                                                \
	X(NO_SPACE, "no_space")                                                                    \
	X(ROT, "rot")                                                                              \
	X(CLOCK_FORWARD, "clock_forward")                                                          \
	X(CLOCK_BACK, "clock_back")

enum sim_fault {
#define SIM_FAULT_ENUM(name, key) SIM_##name,
	SIM_FAULT_TABLE(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
	SIM_FAULT_COUNT
};

enum sim_process {
	SIM_NOBODY = 0, /* the simulator itself */
	SIM_DATAPLANE,
	SIM_PERSIST,
	SIM_SNAPSHOT,
	SIM_PROCESS_COUNT
};

#define SIM_BOOT_NS UINT64_C(1000000000000) /* boot clock at the begin of a seed */

struct sim_machine {
	uint64_t random;
	uint64_t wall_ns;
	uint64_t boot_ns;
	enum sim_process running;
	jmp_buf death[SIM_PROCESS_COUNT];
	jmp_buf violation; /* back to the seed's begin */
	jmp_buf halt;	   /* the machine stops at a chosen point of the disk */
	char why[512];
	char last_event[128];		  /* newest error that the product logged */
	uint32_t snapshots_damaged;	  /* that the product found, since the last recovery */
	bool abort_expected;		  /* the disk failed under it: ending is right */
	bool power_lost;		  /* the death under way is the machine's */
	uint64_t faults[SIM_FAULT_COUNT]; /* of this seed */
	bool log;			  /* print the steps */
	void (*while_waiting)(void);	  /* the pool thread's turn while the writer waits for it */
};
extern struct sim_machine machine;

/** Begin a seed: clocks at 2026-11-23, everything forgotten. */
void sim_machine_reset(uint64_t seed);

uint64_t sim_random(void);
/** 0 .. below-1 */
uint64_t sim_below(uint64_t below);
bool sim_chance(uint32_t per_thousand);
void sim_advance_ns(uint64_t ns);

void sim_count(enum sim_fault fault);
const char *sim_fault_name(enum sim_fault fault);

/** Print a step when steps are printed. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** An oracle says no: ends the seed. */
_Noreturn void sim_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** The running process dies here. */
_Noreturn void sim_die(void);

/*
 * Enter a process: SIM_ENTER(process) is 0, or 1 when it died in there; then its memory is free.
 * Nothing between may be needed afterwards unless it is static.
 */
enum sim_process sim_enter(enum sim_process process);
void sim_leave(enum sim_process before);
/** Give back what a dead process held. */
void sim_bury(enum sim_process process);

#endif
