/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Threads of /proc/self/task for dataplane/privileges.h. Run once, after the last thread was made.
 */
#include "dataplane/privileges.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DROP_SIGNAL    SIGUSR2
#define DROP_WAITS_MAX 2000 /* of 1 ms, for all threads together */

static _Atomic uint32_t dropped;

static void
drop_own(int signal_number)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};
	int error_number = errno;

	(void)signal_number;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	(void)syscall(SYS_capset, &head, none);
	atomic_fetch_add(&dropped, 1);
	errno = error_number;
}

static bool
wait_for_drops(uint32_t wanted)
{
	for (int i = 0; i < DROP_WAITS_MAX; i++) {
		if (atomic_load(&dropped) >= wanted)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

int
hb_privileges_drop(char error[256])
{
	struct sigaction drop = {.sa_handler = drop_own, .sa_flags = SA_RESTART};
	struct sigaction before;
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	uint32_t asked = 0;
	int result = 0;

	if (tasks == NULL || sigaction(DROP_SIGNAL, &drop, &before) != 0) {
		result = -errno;
		snprintf(error, 256, "cannot drop privileges: %s", strerror(errno));
		if (tasks != NULL)
			closedir(tasks);
		return result;
	}
	atomic_store(&dropped, 0);
	while ((entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.' &&
			syscall(SYS_tgkill, getpid(), (int)strtol(entry->d_name, NULL, 10),
				DROP_SIGNAL) == 0)
			asked++;
	closedir(tasks);
	if (!wait_for_drops(asked)) {
		snprintf(error, 256, "a thread did not drop its privileges in time");
		result = -ETIMEDOUT;
	}
	sigaction(DROP_SIGNAL, &before, NULL);
	return result;
}

static int
check_status(const char *thread, bool may_bound, char error[256])
{
	char path[64], line[256];
	int result = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", thread);
	file = fopen(path, "re");
	if (file == NULL)
		return errno == ENOENT ? 0 : -errno; /* the thread has ended */
	while (result == 0 && fgets(line, sizeof(line), file) != NULL) {
		/* the bounding set gives nothing by itself, and only who has SETPCAP may shrink it
		 */
		if (strncmp(line, "Cap", 3) != 0 || strlen(line) < 8 ||
			(may_bound && strncmp(line, "CapBnd", 6) == 0))
			continue;
		if (strtoull(line + 7, NULL, 16) == 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(error, 256,
			"thread %.20s has privileges (%.6s=%.16s); start the dataplane as its own "
			"user "
			"with setpriv --inh-caps=-all --bounding-set=-all --no-new-privs",
			thread, line, line + 8);
		result = -EPERM;
	}
	fclose(file);
	return result;
}

int
hb_privileges_none(bool may_bound, char error[256])
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int result = 0;

	if (tasks == NULL) {
		result = -errno;
		snprintf(error, 256, "cannot read /proc/self/task: %s", strerror(errno));
		return result;
	}
	while (result == 0 && (entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.')
			result = check_status(entry->d_name, may_bound, error);
	closedir(tasks);
	return result;
}
