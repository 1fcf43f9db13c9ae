/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A compromised dataplane must not be able to do more than its job: no thread of it may have any
 * capability. A port may need some when it is opened (af_packet: NET_RAW and NET_ADMIN); they are
 * dropped in every thread afterwards.
 *
 * Capabilities belong to threads, and DPDK makes threads of its own: one thread's drop leaves the
 * others with theirs. So each thread drops its own, in a signal handler.
 */
#ifndef HB_DATAPLANE_PRIVILEGES_H
#define HB_DATAPLANE_PRIVILEGES_H

#include <stdbool.h>

/** Let every thread of the process drop all its capabilities. @return 0 or -errno with `error` */
int hb_privileges_drop(char error[256]);

/**
 * Look at every thread's capability sets (inheritable, permitted, effective, bounding, ambient).
 * @param may_bound the bounding set need not be empty: ports needed some of it
 * @param error names the first thread and set that is not empty, and what to do
 * @return 0 when all are empty, -EPERM, or -errno when /proc cannot be read
 */
int hb_privileges_none(bool may_bound, char error[256]);

#endif
