/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Messages with descriptors: dataplane/descriptors.h. The kernel closes what was under way when a
 * process dies.
 */
#include "dataplane/descriptors.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(HB_DESCRIPTORS_MAX * sizeof(int))];
};

int
hb_descriptors_send(int socket, const void *bytes, size_t length, const int *fds, uint32_t fd_count)
{
	struct iovec io = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
	union control control;
	ssize_t sent;

	HB_ASSERT(fd_count <= HB_DESCRIPTORS_MAX);
	memset(&control, 0, sizeof(control));
	if (fd_count != 0) {
		struct cmsghdr *c;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent == (ssize_t)length ? 0 : sent < 0 ? -errno : -EMSGSIZE;
}

ssize_t
hb_descriptors_receive(
	int socket, void *bytes, size_t length, int fds[HB_DESCRIPTORS_MAX], uint32_t *fd_count)
{
	union control control;
	struct iovec io = {.iov_base = bytes, .iov_len = length};
	struct msghdr message = {.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*fd_count = 0;
	if (got < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
		uint32_t n = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		HB_ASSERT(*fd_count + n <= HB_DESCRIPTORS_MAX);
		memcpy(fds + *fd_count, CMSG_DATA(c), n * sizeof(int));
		*fd_count += n;
	}
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
		return got;
	for (uint32_t i = 0; i < *fd_count; i++)
		close(fds[i]);
	*fd_count = 0;
	return -EMSGSIZE;
}
