/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The supervisor's protocol of notify.h: one datagram per message, sent and forgotten. Keeps the
 * time of the last sign of life, nothing else; dies with the process.
 */
#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SIGNS_PER_INTERVAL   3
#define WATCHDOG_USEC_MAX    UINT64_C(86400000000)
#define NANOSECONDS_PER_USEC 1000

int
hb_notify_send(const char *message)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length;
	int fd, result = 0;

	if (path == NULL || (path[0] != '/' && path[0] != '@'))
		return -ENOENT;
	length = strlen(path);
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@') /* a name without a file */
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		result = -errno;
	close(fd);
	return result;
}

/* How often a sign of life is due; 0: nobody waits for one, or it is another process's. */
static uint64_t
interval_ns(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t usec;

	if (text == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	usec = strtoull(text, NULL, 10);
	if (usec > WATCHDOG_USEC_MAX)
		return 0;
	return usec * NANOSECONDS_PER_USEC / SIGNS_PER_INTERVAL;
}

void
hb_notify_alive(uint64_t mono_ns)
{
	static bool known;
	static uint64_t every_ns, next_ns;

	if (!known) {
		every_ns = interval_ns();
		known = true;
	}
	if (every_ns == 0 || mono_ns < next_ns)
		return;
	next_ns = mono_ns + every_ns;
	(void)hb_notify_send("WATCHDOG=1");
}

void
hb_notify_ready(void)
{
	(void)hb_notify_send("READY=1");
}

void
hb_notify_stopping(void)
{
	(void)hb_notify_send("STOPPING=1");
}
