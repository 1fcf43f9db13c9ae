/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a process of the node may still ask of the kernel once it runs: a seccomp filter by the
 * process's part, no new privileges, no memory for debuggers of its user.
 *
 * A list of what is allowed; everything else ends the process at once (SIGSYS), as an assertion
 * would: who got so far that a dataplane executes a program must not go on. Harmless calls are
 * allowed even where nobody is known to make them, so that a rare path of a library does not end
 * a node; what takes hold of other processes, of the system or of other programs is not.
 *
 * The filter stays for ever and is inherited by threads and children. Nothing is allocated that
 * lives on.
 */
#ifndef HB_BASE_SANDBOX_H
#define HB_BASE_SANDBOX_H

#include <stdbool.h>

enum hb_sandbox_part {
	HB_SANDBOX_DATAPLANE, /* threads, Unix sockets, no programs, no new code */
	HB_SANDBOX_PORTS,     /* the same with every kind of socket: drivers of ports want them */
	HB_SANDBOX_PERSIST,   /* and the sockets of MySQL, and itself as a job */
	HB_SANDBOX_CONTROL,   /* and the sockets of MySQL and of receivers of alarms */
};

/* What persist may execute: itself. The filter knows this very text by its address. */
extern const char hb_sandbox_self[];

/**
 * Enter, with all threads of the process.
 * @param mode security.seccomp: enforce, log (the kernel's log says what would have been refused)
 * or off
 * @return 0 or -errno with `error`
 */
int hb_sandbox_enter(enum hb_sandbox_part part, const char *mode, char error[256]);

#endif
