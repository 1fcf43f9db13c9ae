/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time of processes: see usage.h. Keeps nothing.
 */
#include "perf/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Fields 14 and 15 of /proc/PID/stat; the name in field 2 may hold anything but ends with ')'. */
static int
stat_ticks(const char *text, uint64_t *ticks)
{
	const char *at = strrchr(text, ')');
	uint64_t user, kernel;

	if (at == NULL ||
		sscanf(at + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %" SCNu64,
			&user, &kernel) != 2)
		return -EPROTO;
	*ticks = user + kernel;
	return 0;
}

int64_t
hb_usage_us(int pid)
{
	char path[64], text[1024];
	uint64_t ticks;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	if (n <= 0)
		return -ENOENT;
	text[n] = '\0';
	int result = stat_ticks(text, &ticks);

	if (result != 0)
		return result;
	return (int64_t)(ticks * (UINT64_C(1000000) / (uint64_t)sysconf(_SC_CLK_TCK)));
}

int64_t
hb_usage_self_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}
