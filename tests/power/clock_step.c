/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD that lets the wall clock of one node's programs jump while they run:
 * what the kernel says, plus the nanoseconds that stand in the file HB_CLOCK_STEP. Clocks that
 * cannot be set (monotonic, since boot) stay as they are. The file belongs to the test that made
 * it and is mapped for reading; without it the library does nothing. If the process dies, nothing
 * is left.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

static const _Atomic int64_t *step;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("HB_CLOCK_STEP");
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*step), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		step = at;
}

int
clock_gettime(clockid_t clock, struct timespec *at)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, at);
	int64_t ns;

	if (rc != 0 || step == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return rc;
	ns = (int64_t)at->tv_sec * NS_PER_S + at->tv_nsec + atomic_load(step);
	at->tv_sec = ns / NS_PER_S;
	at->tv_nsec = ns % NS_PER_S;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at != NULL)
		*at = now.tv_sec;
	return now.tv_sec;
}
