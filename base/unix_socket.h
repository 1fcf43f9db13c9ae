/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Unix sockets by path: to listen, and to connect. The descriptors are the caller's and close on
 * exec. If a process dies, its socket file stays and the next listener replaces it.
 */
#ifndef HB_BASE_UNIX_SOCKET_H
#define HB_BASE_UNIX_SOCKET_H

#include <sys/types.h>

#define HB_UNIX_PATH_MAX 107 /* characters of a socket's path */

/**
 * Listen on a path; what lies there is replaced, so the caller has made sure (by a lock) that
 * nobody serves it.
 * @param type SOCK_STREAM or SOCK_SEQPACKET, perhaps with SOCK_NONBLOCK
 * @param mode rights of the socket file
 * @return the descriptor, or -errno (-ENAMETOOLONG: no Unix socket can have this path)
 */
int hb_unix_listen(const char *path, int type, mode_t mode, int backlog);

/**
 * Connect to a path.
 * @param type as above
 * @return the descriptor, or -errno (-ENAMETOOLONG as above)
 */
int hb_unix_connect(const char *path, int type);

#endif
