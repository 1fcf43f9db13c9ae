/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl snapshot, snapshot list. The snapshot is made by hongbao-persist as its own user, in a
 * process of its own: the journal directory is nobody else's. If hbctl dies meanwhile, the
 * snapshot is finished or left as a .tmp file that the next one removes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/hbctl/hbctl.h"

#define PERSIST_PROGRAM	     "bin/hongbao-persist"
#define SNAPSHOT_PREFIX	     "snapshot-"
#define SNAPSHOTS_LISTED_MAX 1024

/* In the child. */
static void
run_program(const struct hbctl *hbctl, const char *config, const char *program)
{
	char *arguments[2 * HBCTL_ASSIGNMENTS_MAX + 8];
	char error[HBCTL_ERROR_BYTES] = "";
	int count = 0;

	if (hbctl_become_persist(hbctl, error) != 0) {
		fprintf(stderr, "hbctl: %s\n", error);
		_exit(HBCTL_USAGE);
	}
	arguments[count++] = (char *)(uintptr_t)program;
	arguments[count++] = (char *)(uintptr_t) "snapshot";
	arguments[count++] = (char *)(uintptr_t) "-c";
	arguments[count++] = (char *)(uintptr_t)config;
	for (int i = 0; i < hbctl->assignment_count; i++) {
		arguments[count++] = (char *)(uintptr_t) "-o";
		arguments[count++] = (char *)(uintptr_t)hbctl->assignment[i];
	}
	arguments[count] = NULL;
	execv(program, arguments);
	fprintf(stderr, "hbctl: %s: %s\n", program, strerror(errno));
	_exit(HBCTL_USAGE);
}

/* @return exit code of the program, or -errno */
static int
run_as_persist(const struct hbctl *hbctl, const char *config, const char *program)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0)
		run_program(hbctl, config, program);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
hbctl_run_snapshot(struct hbctl *hbctl)
{
	char *config = realpath(hbctl->config_path, NULL);
	char program[HB_PATH_MAX];
	int status;

	if (config == NULL)
		return hbctl_fail(
			hbctl, HBCTL_USAGE, "a snapshot needs a configuration file: -c FILE");
	hb_path(program, hbctl->config.node_directory, PERSIST_PROGRAM);
	status = run_as_persist(hbctl, config, program);
	free(config);
	if (status == HBCTL_USAGE)
		return hbctl_fail(hbctl, HBCTL_USAGE, "no snapshot was made");
	if (status != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG,
			"no snapshot was made: hongbao-persist ended with %d", status);
	return hbctl_run_snapshot_list(hbctl);
}

struct found {
	uint64_t seq;
	int64_t bytes;
	int64_t made_ms;
};

static int
by_sequence(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* "snapshot-<16 hex>" and nothing behind it (.tmp is being written). */
static bool
take_name(const char *name, uint64_t *seq)
{
	const char *digits = name + strlen(SNAPSHOT_PREFIX);

	if (strncmp(name, SNAPSHOT_PREFIX, strlen(SNAPSHOT_PREFIX)) != 0 || strlen(digits) != 16 ||
		strspn(digits, "0123456789abcdef") != 16)
		return false;
	*seq = strtoull(digits, NULL, 16);
	return true;
}

/* @return how many, or -errno */
static int
list(const char *directory, struct found *found)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	struct stat file;
	int count = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir)) != NULL && count < SNAPSHOTS_LISTED_MAX) {
		if (!take_name(entry->d_name, &found[count].seq) ||
			fstatat(dirfd(dir), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		found[count].bytes = file.st_size;
		found[count].made_ms =
			file.st_mtim.tv_sec * INT64_C(1000) + file.st_mtim.tv_nsec / 1000000;
		count++;
	}
	closedir(dir);
	qsort(found, (size_t)count, sizeof(found[0]), by_sequence);
	return count;
}

int
hbctl_run_snapshot_list(struct hbctl *hbctl)
{
	static struct found found[SNAPSHOTS_LISTED_MAX];
	char directory[HB_PATH_MAX];
	json_t *snapshots = json_array();
	int count;

	hb_path(directory, hbctl->config.node_directory, HB_PATH_SNAPSHOTS);
	count = list(directory, found);
	if (count < 0) {
		json_decref(snapshots);
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s: %s%s", directory, strerror(-count),
			count == -EACCES ? "; run hbctl as root" : "");
	}
	for (int i = 0; i < count; i++) {
		char when[HBCTL_TIME_BYTES];

		json_array_append_new(
			snapshots, json_pack("{s:I, s:I, s:I}", "seq", (json_int_t)found[i].seq,
					   "bytes", (json_int_t)found[i].bytes, "made_ms",
					   (json_int_t)found[i].made_ms));
		hbctl_time(when, (uint64_t)found[i].made_ms);
		if (!hbctl->json)
			fprintf(hbctl->out,
				"sequence %12" PRIu64 "  %12" PRId64 " bytes  made %s\n",
				found[i].seq, found[i].bytes, when);
	}
	if (hbctl->json) {
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:o, s:o}", "ok", 1, "directory",
				       hbctl_json_string(directory), "snapshots", snapshots));
		return HBCTL_OK;
	}
	if (count == 0)
		fprintf(hbctl->out, "no snapshot in %s\n", directory);
	json_decref(snapshots);
	return HBCTL_OK;
}
