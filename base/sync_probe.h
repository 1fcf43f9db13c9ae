/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * T_sync: what one durable 4 KiB overwrite costs on a file system, measured the way the journal
 * writes (O_DIRECT, O_DSYNC, preallocated and zeroed).
 */
#ifndef HB_BASE_SYNC_PROBE_H
#define HB_BASE_SYNC_PROBE_H

#include <stdint.h>

/**
 * Overwrite a file of its own `count` times, then remove it.
 * @param directory on the file system to be measured
 * @param latency_ns room for `count`, filled with the time of each write
 * @return 0 or -errno with `error` (-EINVAL: no O_DIRECT there)
 */
int hb_sync_probe(const char *directory, uint32_t count, uint64_t *latency_ns, char error[256]);

#endif
