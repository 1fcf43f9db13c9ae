/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reads /proc/self/task for dataplane/privileges.h. Run once, after the last thread was made.
 */
#include "dataplane/privileges.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
check_status(const char *thread, char error[256])
{
	char path[64], line[256];
	int result = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", thread);
	file = fopen(path, "re");
	if (file == NULL)
		return errno == ENOENT ? 0 : -errno; /* the thread has ended */
	while (result == 0 && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "Cap", 3) != 0 || strlen(line) < 8)
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
hb_privileges_none(char error[256])
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
			result = check_status(entry->d_name, error);
	closedir(tasks);
	return result;
}
