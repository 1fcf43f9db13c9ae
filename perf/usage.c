/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time of processes: see usage.h. Keeps nothing. The kernel's clock of a process counts its
 * threads to the nanosecond, those that have ended too; /proc counts in ticks of 10 ms.
 */
#include "perf/usage.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>

int64_t
hb_usage_us(int pid)
{
	struct timespec used;
	clockid_t clock;
	int result = clock_getcpuclockid(pid, &clock);

	if (result != 0)
		return -result;
	if (clock_gettime(clock, &used) != 0)
		return -errno;
	return used.tv_sec * INT64_C(1000000) + used.tv_nsec / 1000;
}

int64_t
hb_usage_self_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}
