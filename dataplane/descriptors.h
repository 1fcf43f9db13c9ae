/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One message with descriptors over a SEQPACKET socket.
 */
#ifndef HB_DATAPLANE_DESCRIPTORS_H
#define HB_DATAPLANE_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HB_DESCRIPTORS_MAX 32

/** Send without blocking. @return 0 or -errno */
int hb_descriptors_send(
	int socket, const void *bytes, size_t length, const int *fds, uint32_t fd_count);

/**
 * Receive without blocking. The caller owns what came in fds.
 * @return bytes, 0 at hang-up, or -errno (-EMSGSIZE: more descriptors or bytes than fit)
 */
ssize_t hb_descriptors_receive(
	int socket, void *bytes, size_t length, int fds[HB_DESCRIPTORS_MAX], uint32_t *fd_count);

#endif
