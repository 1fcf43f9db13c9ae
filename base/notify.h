/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a process tells its supervisor: that it is ready, that it is ending, that it makes progress.
 *
 * The protocol is systemd's: datagrams to the Unix socket that NOTIFY_SOCKET names. Without that
 * variable nothing is sent and nothing fails, so the launcher and tests see the same program. A
 * lost message is not repeated: the supervisor's time-outs are the answer to it.
 *
 * Whoever calls hb_notify_alive() vouches for work that was done, not for a thread that turns.
 * Each process has one thread that calls these.
 */
#ifndef HB_BASE_NOTIFY_H
#define HB_BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/** Serving from now on. */
void hb_notify_ready(void);

/** Ending in order. */
void hb_notify_stopping(void);

/**
 * Progress was made. May be called often: one datagram goes out per third of the watchdog's
 * interval (WATCHDOG_USEC), none when no watchdog waits for us.
 */
void hb_notify_alive(uint64_t mono_ns);

/** Send one message; for the three above and for tests. @return 0, -ENOENT nobody waits, -errno */
int hb_notify_send(const char *message);

#endif
