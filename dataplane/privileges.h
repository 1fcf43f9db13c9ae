/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Proving that the process has no privileges.
 */
#ifndef HB_DATAPLANE_PRIVILEGES_H
#define HB_DATAPLANE_PRIVILEGES_H

/**
 * Look at every thread's capability sets (inheritable, permitted, effective, bounding, ambient).
 * @param error names the first thread and set that is not empty, and what to do
 * @return 0 when all are empty, -EPERM, or -errno when /proc cannot be read
 */
int hb_privileges_none(char error[256]);

#endif
