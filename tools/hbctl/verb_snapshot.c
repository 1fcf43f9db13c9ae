/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl snapshot, snapshot list. The snapshot is made by hongbao-persist as its own user, in a
 * process of its own: the journal directory is nobody else's. If hbctl dies meanwhile, the
 * snapshot is finished or left as a .tmp file that the next one removes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/hbctl/hbctl.h"

#define PERSIST_PROGRAM "bin/hongbao-persist"
#define SNAPSHOT_PREFIX "snapshot-"
#define SNAPSHOTS_LISTED_MAX 1024

/* In the child. Gives up root for the persist user for good, then becomes hongbao-persist. */
static void
become_persist(const struct hbctl *hbctl, const struct passwd *user, const char *program)
{
	char *arguments[2 * HBCTL_ASSIGNMENTS_MAX + 8];
	char absolute[HB_PATH_MAX * 8];
	int count = 0;

	if (realpath(hbctl->config_path, absolute) == NULL ||
		initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
		setuid(user->pw_uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		fprintf(stderr, "hbctl: cannot become %s: %s\n", user->pw_name, strerror(errno));
		_exit(HBCTL_USAGE);
	}
	arguments[count++] = (char *)(uintptr_t)program;
	arguments[count++] = "snapshot";
	arguments[count++] = "-c";
	arguments[count++] = absolute;
	for (int i = 0; i < hbctl->assignment_count; i++) {
		arguments[count++] = "-o";
		arguments[count++] = (char *)(uintptr_t)hbctl->assignment[i];
	}
	arguments[count] = NULL;
	execv(program, arguments);
	fprintf(stderr, "hbctl: %s: %s\n", program, strerror(errno));
	_exit(HBCTL_USAGE);
}

/* @return exit code of the program, or -errno */
static int
run_as_persist(const struct hbctl *hbctl, const struct passwd *user, const char *program)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0)
		become_persist(hbctl, user, program);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
hbctl_run_snapshot(struct hbctl *hbctl)
{
	const struct passwd *user = getpwnam(hbctl->config.user_persist);
	char program[HB_PATH_MAX];
	int status;

	hb_path(program, hbctl->config.node_directory, PERSIST_PROGRAM);
	if (user == NULL)
		return hbctl_fail(hbctl, HBCTL_USAGE, "there is no user %s (user.persist)",
			hbctl->config.user_persist);
	if (hbctl->config_path[0] == '\0')
		return hbctl_fail(hbctl, HBCTL_USAGE, "a snapshot needs a configuration file: -c FILE");
	if (geteuid() != 0 && geteuid() != user->pw_uid)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"run hbctl as root, or as %s: %s snapshot -c %s", user->pw_name, program,
			hbctl->config_path);
	status = run_as_persist(hbctl, user, program);
	if (status != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG,
			"no snapshot was made: hongbao-persist ended with %d; it said why above",
			status);
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

		json_array_append_new(snapshots,
			json_pack("{s:I, s:I, s:I}", "seq", (json_int_t)found[i].seq, "bytes",
				(json_int_t)found[i].bytes, "made_ms",
				(json_int_t)found[i].made_ms));
		hbctl_time(when, (uint64_t)found[i].made_ms);
		if (!hbctl->json)
			fprintf(hbctl->out,
				"sequence %12" PRIu64 "  %12" PRId64 " bytes  made %s\n",
				found[i].seq, found[i].bytes, when);
	}
	if (hbctl->json) {
		hbctl_print_json(hbctl, json_pack("{s:b, s:o, s:o}", "ok", 1, "directory",
						hbctl_json_string(directory), "snapshots",
						snapshots));
		return HBCTL_OK;
	}
	if (count == 0)
		fprintf(hbctl->out, "no snapshot in %s\n", directory);
	json_decref(snapshots);
	return HBCTL_OK;
}
