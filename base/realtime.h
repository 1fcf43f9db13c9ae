/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Threads that go before all ordinary ones, and threads that do not.
 *
 * A grab waits for two threads that run for microseconds and then sleep: the lcore that decides it
 * and the writer that puts it on disk. An ordinary scheduler lets them wait for the time slice of
 * whoever is at work on their CPU, milliseconds of a database. As real-time threads (SCHED_FIFO)
 * they do not wait.
 *
 * A process of ours has no right to become real-time. The launcher, or the unit of systemd, starts
 * it so; its threads inherit that, and each that is not meant leaves by itself. The writer's
 * priority is above the lcores', so that lcores which never sleep cannot keep it from committing
 * what they made. Where the host does not allow it everything works, later. Nothing is owned here.
 */
#ifndef HB_BASE_REALTIME_H
#define HB_BASE_REALTIME_H

#include <stdbool.h>

/** The calling thread, and those that it starts from now on, are ordinary threads. */
void hb_realtime_leave(void);

/**
 * The calling thread is one of those that are meant: stay, or leave when it is not wanted.
 * @param thread its name, for the log line that says what it is
 * @param wanted node.realtime, and whatever else must be
 * @return true when the thread is real-time: it must not run without end, as threads of the kernel
 * that a write to disk needs are ordinary ones
 */
bool hb_realtime_stay(const char *thread, bool wanted);

#endif
