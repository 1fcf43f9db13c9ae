/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets by path. No memory of its own.
 */
#include "base/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket, and the address of the path. @return the descriptor, or -errno */
static int
open_socket(const char *path, int type, struct sockaddr_un *address)
{
	int fd;

	_Static_assert(sizeof(address->sun_path) == HB_UNIX_PATH_MAX + 1, "path of a socket");
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int
hb_unix_listen(const char *path, int type, mode_t mode, int backlog)
{
	struct sockaddr_un address;
	int fd = open_socket(path, type, &address);
	int rc;

	if (fd < 0)
		return fd;
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && chmod(path, mode) == 0 &&
		listen(fd, backlog) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int
hb_unix_connect(const char *path, int type)
{
	struct sockaddr_un address;
	int fd = open_socket(path, type, &address);
	int rc;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}
