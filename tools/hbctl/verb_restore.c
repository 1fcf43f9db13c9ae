/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl restore: a backup becomes the journal and the keys of a node that does not run.
 *
 * Everything is verified before anything is changed, then made beside its place in restore.tmp, and
 * put there by one rename. What was there is kept under another name. If hbctl dies anywhere, the
 * same command does it again: until the rename the node has no journal or its old one.
 *
 * The restored journal begins its epochs at the Unix time of the restore. So it never gives out an
 * epoch that the node of the backup gives out after the cut, should that one still live: records
 * of both tell themselves apart by epoch and chain, and MySQL's position accepts one of them only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "persist/applier.h"
#include "persist/superblock.h"
#include "tools/hbctl/backup_files.h"

#define TEMPORARY     "restore.tmp"
#define LAUNCHER_LOCK ".lock"
#define PATH_BYTES    (2 * HB_PATH_MAX)

struct placed {
	int placed;
	int kept;
};

struct restore {
	char backup[HB_PATH_MAX];
	const char *node;
	json_t *manifest;
	bool force;
	bool journal_there; /* of the same stream: goes aside */
	bool mysql_there;   /* the private server's files: go aside */
	char aside[64];	    /* what is appended to names that go aside */
	uint64_t end_seq;   /* of the journal that is there */
	struct placed keys;
};

static void
node_path(const struct restore *r, const char *relative, char path[PATH_BYTES])
{
	snprintf(path, PATH_BYTES, "%.500s/%.500s", r->node, relative);
}

/* ---- does anything run here? ---- */

/* Field 22 of /proc/PID/stat, counted behind the name. @return 0 when there is no such process */
static uint64_t
start_time_of(int pid)
{
	char path[64], text[1024];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* "pid start-time" as the launcher writes it. */
static bool
process_lives(const char *path)
{
	char text[64] = "";
	char *rest;
	uint64_t start;
	long pid;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	pid = strtol(text, &rest, 10);
	start = strtoull(rest, NULL, 10);
	return pid > 0 && pid <= INT32_MAX && start != 0 && start_time_of((int)pid) == start;
}

static int
refuse_running(const struct restore *r, const char *what, char error[HBCTL_ERROR_BYTES])
{
	snprintf(error, HBCTL_ERROR_BYTES,
		"%s of the node %.300s runs: a restore is for a node that is down "
		"(./hongbao down)",
		what, r->node);
	return -EBUSY;
}

static int
check_locks(const struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	char path[PATH_BYTES];
	int fd;

	node_path(r, LAUNCHER_LOCK, path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* kept to the exit */
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"./hongbao or another restore works on %.300s just now", r->node);
		return -EBUSY;
	}
	node_path(r, HB_PATH_JOURNAL "/" HB_JOURNAL_LOCK_FILE, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return refuse_running(r, "persist", error);
	}
	return 0;
}

static int
check_down(const struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	static const char *const names[] = {"nginx", "control", "dataplane", "persist", "mysql"};
	static const char *const sockets[] = {
		HB_PATH_PERSIST_ADMIN_SOCKET, HB_PATH_CONTROL_SOCKET, HB_PATH_MYSQL_SOCKET};
	char path[PATH_BYTES], relative[64];
	int pid;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(relative, sizeof(relative), "pid/%s", names[i]);
		node_path(r, relative, path);
		if (process_lives(path))
			return refuse_running(r, names[i], error);
	}
	for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
		node_path(r, sockets[i], path);
		if (hbctl_probe_unix(path, &pid) == 0)
			return refuse_running(r, "a process", error);
	}
	return check_locks(r, error);
}

/* ---- what is there ---- */

static bool
has_entries(const char *path)
{
	DIR *list = opendir(path);
	const struct dirent *entry;
	bool found = false;

	while (list != NULL && (entry = readdir(list)) != NULL)
		found = found || entry->d_name[0] != '.';
	if (list != NULL)
		closedir(list);
	return found;
}

static int
check_node_number(const struct hbctl *hbctl, const struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	int64_t node = hbctl_json_i64(r->manifest, "node");

	if (node == hbctl->config.node_number)
		return 0;
	snprintf(error, HBCTL_ERROR_BYTES,
		"the backup is of node %" PRId64 ", but node.number in %.200s is %" PRId64
		": set node.number = %" PRId64 " when this node shall take its place",
		node, hbctl->config_path, (int64_t)hbctl->config.node_number, node);
	return -EXDEV;
}

/* Another journal is never touched; the same one only with --force, and then kept. */
static int
check_journal(struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	char path[PATH_BYTES], why[HB_JOURNAL_ERROR_BYTES];
	struct hb_journal_reader *reader = NULL;
	struct hb_journal_info info;
	json_t *stream;
	int rc;

	node_path(r, HB_PATH_JOURNAL, path);
	if (!has_entries(path))
		return 0;
	rc = hb_journal_reader_open(&reader, path, why);
	if (rc == 0)
		rc = hb_journal_reader_info(reader, &info);
	hb_journal_reader_close(reader);
	if (rc == -ENOENT) { /* something else lies there */
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.400s holds files but no superblock: look at them, then move the "
			"directory away",
			path);
		return -EEXIST;
	}
	if (rc != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%s", why);
		return rc;
	}
	stream = hbctl_json_hex(info.stream_id, sizeof(info.stream_id));
	if (strcmp(json_string_value(stream), hbctl_json_text(r->manifest, "stream")) != 0)
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.300s is the journal of another cluster (stream %s, node %u); the backup "
			"is of stream %.32s: give the restored node a directory of its own",
			path, json_string_value(stream), info.node,
			hbctl_json_text(r->manifest, "stream"));
	else if (!r->force)
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.300s has this journal already, durable up to sequence %" PRIu64
			"; the backup ends at %" PRId64
			". With --force it goes aside and everything "
			"behind the cut with it; nothing is deleted",
			path, info.durable_seq, hbctl_json_i64(r->manifest, "cut_seq"));
	else
		r->journal_there = true;
	r->end_seq = info.durable_seq;
	json_decref(stream);
	return r->journal_there ? 0 : -EEXIST;
}

static json_t *
ask_position(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	uint64_t seq = 0;

	if (hb_applier_position(&hbctl->config, context, &seq, error) != 0)
		return NULL;
	return json_pack("{s:b, s:I}", "ok", 1, "seq", (json_int_t)seq);
}

/* A server elsewhere that is ahead of the cut would stop the restored node: say so now. */
static int
check_foreign_mysql(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	uint8_t stream[16];
	char why[HBCTL_ERROR_BYTES] = "";
	const char *text = hbctl_json_text(r->manifest, "stream");
	json_t *answer;
	int64_t seq;

	for (size_t i = 0; i < sizeof(stream); i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		stream[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	answer = hbctl_in_child(hbctl, ask_position, stream, NULL, why);
	seq = hbctl_json_i64(answer, "seq");
	if (!json_is_true(json_object_get(answer, "ok")))
		fprintf(hbctl->err,
			"hbctl: the MySQL server of the configuration does not answer (%s): if it "
			"is ahead of the cut, the restored node will refuse to start\n",
			answer == NULL ? why : hbctl_json_text(answer, "error"));
	json_decref(answer);
	if (seq <= hbctl_json_i64(r->manifest, "cut_seq"))
		return 0;
	snprintf(error, HBCTL_ERROR_BYTES,
		"the MySQL server of the configuration has this ledger up to sequence %" PRId64
		", the backup ends at %" PRId64
		": another node lives on, or the server must begin with an empty database",
		seq, hbctl_json_i64(r->manifest, "cut_seq"));
	return -EXDEV;
}

static int
check_mysql(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	char path[PATH_BYTES];

	if (hbctl->config.mysql_socket[0] != '\0' || hbctl->config.mysql_host[0] != '\0')
		return check_foreign_mysql(hbctl, r, error);
	node_path(r, "mysql", path);
	if (!has_entries(path))
		return 0;
	r->mysql_there = true;
	if (r->force)
		return 0;
	snprintf(error, HBCTL_ERROR_BYTES,
		"%.300s holds the database of a node; with --force it goes aside and is made again "
		"from the journal; nothing is deleted",
		path);
	return -EEXIST;
}

/* ---- making ---- */

static int
failed(char error[HBCTL_ERROR_BYTES], const char *what, const char *path, int rc)
{
	snprintf(error, HBCTL_ERROR_BYTES, "%s %.400s: %s", what, path, strerror(-rc));
	return rc;
}

/* Copy one file of the manifest and compare its hash on the way. */
static int
place_file(struct hbctl *hbctl, const struct restore *r, const json_t *file, const char *to,
	unsigned mode, char error[HBCTL_ERROR_BYTES])
{
	char from[PATH_BYTES];
	uint8_t sha256[HB_SHA256_BYTES];
	uint64_t bytes = 0;
	unsigned uid, gid;
	json_t *hex;
	int in, out, rc;

	snprintf(from, sizeof(from), "%.500s/%.500s", r->backup, hbctl_json_text(file, "path"));
	rc = hbctl_backup_owner(hbctl, hbctl_json_text(file, "owner"), &uid, &gid, error);
	if (rc != 0)
		return rc;
	in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return failed(error, "cannot read", from, -errno);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0) {
		close(in);
		return failed(error, "cannot make", to, -errno);
	}
	rc = hb_backup_copy_file(in, out, &bytes, sha256);
	if (rc == 0 && (fchown(out, uid, gid) != 0 || fchmod(out, mode) != 0))
		rc = -errno;
	close(in);
	close(out);
	if (rc != 0)
		return failed(error, "cannot write", to, rc);
	hex = hbctl_json_hex(sha256, sizeof(sha256));
	if (strcmp(json_string_value(hex), hbctl_json_text(file, "sha256")) != 0)
		rc = failed(error, "read back differently:", from, -EBADMSG);
	json_decref(hex);
	return rc;
}

static int
make_folders(struct hbctl *hbctl, const char *temporary, char error[HBCTL_ERROR_BYTES])
{
	char path[PATH_BYTES + 32];
	unsigned uid, gid;
	int rc = hbctl_backup_owner(hbctl, "persist", &uid, &gid, error);

	if (rc != 0)
		return rc;
	rc = hbctl_remove_tree(temporary);
	if (rc == 0)
		rc = hbctl_make_directory(temporary, 0700, 0, 0);
	snprintf(path, sizeof(path), "%s/journal", temporary);
	if (rc == 0)
		rc = hbctl_make_directory(path, 0700, uid, gid);
	snprintf(path, sizeof(path), "%s/journal/snapshot", temporary);
	if (rc == 0)
		rc = hbctl_make_directory(path, 0700, uid, gid);
	return rc == 0 ? 0 : failed(error, "cannot make", temporary, rc);
}

static int
copy_journal(struct hbctl *hbctl, const struct restore *r, const char *temporary,
	char error[HBCTL_ERROR_BYTES])
{
	const json_t *files = json_object_get(r->manifest, "files");
	uint64_t total = 0;
	size_t index;
	json_t *file;
	int rc = 0;

	json_array_foreach((json_t *)(uintptr_t)files, index, file)
	{
		const char *name = hbctl_json_text(file, "path");
		char to[PATH_BYTES];

		if (strncmp(name, "journal/", 8) != 0)
			continue;
		snprintf(to, sizeof(to), "%.500s/%.500s", temporary, name);
		rc = place_file(hbctl, r, file, to, 0600, error);
		if (rc != 0)
			return rc;
		total += (uint64_t)hbctl_json_i64(file, "bytes");
		hbctl_backup_progress(hbctl, "restored", total);
	}
	return 0;
}

/* Epochs of the restored journal begin at the time of the restore. */
static int
move_epoch(struct hbctl *hbctl, const char *journal, char error[HBCTL_ERROR_BYTES])
{
	struct hb_superblock superblock;
	unsigned uid, gid;
	uint64_t now_s = (uint64_t)time(NULL);
	int fd = open(journal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : hb_superblock_read(fd, &superblock, error);

	if (rc == 0) {
		if (superblock.epoch < now_s)
			superblock.epoch = now_s;
		rc = hb_superblock_create(fd, &superblock);
	}
	if (rc == 0)
		rc = hbctl_backup_owner(hbctl, "persist", &uid, &gid, error);
	if (rc == 0 && fchownat(fd, HB_JOURNAL_SUPERBLOCK_FILE, uid, gid, 0) != 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc == 0 ? 0 : failed(error, "cannot write the superblock of", journal, rc);
}

/* The journal beside its place, verified once more where it lies. */
static int
make_journal(struct hbctl *hbctl, const struct restore *r, const char *temporary,
	char error[HBCTL_ERROR_BYTES])
{
	char journal[PATH_BYTES], snapshots[PATH_BYTES];
	struct hb_backup_cut cut;
	int rc = make_folders(hbctl, temporary, error);

	snprintf(journal, sizeof(journal), "%.500s/journal", temporary);
	snprintf(snapshots, sizeof(snapshots), "%.500s/journal/snapshot", temporary);
	if (rc == 0)
		rc = copy_journal(hbctl, r, temporary, error);
	if (rc == 0)
		rc = move_epoch(hbctl, journal, error);
	if (rc == 0)
		rc = hb_backup_verify_journal(journal, &cut, hbctl_backup_progress, hbctl, error);
	if (rc == 0 && (json_int_t)cut.seq != hbctl_json_i64(r->manifest, "cut_seq")) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"the restored journal ends at %" PRIu64 ", not at the cut", cut.seq);
		rc = -EBADMSG;
	}
	if (rc == 0)
		rc = hbctl_sync_directory(snapshots);
	return rc == 0 ? hbctl_sync_directory(journal) : rc;
}

/* Files of a folder of the backup, where the node has none of that name. */
static int
place_folder(struct hbctl *hbctl, struct restore *r, const char *prefix, unsigned mode,
	struct placed *placed, char error[HBCTL_ERROR_BYTES])
{
	const json_t *files = json_object_get(r->manifest, "files");
	size_t index;
	json_t *file;

	json_array_foreach((json_t *)(uintptr_t)files, index, file)
	{
		const char *name = hbctl_json_text(file, "path");
		char path[PATH_BYTES], temporary[PATH_BYTES + 16];
		int rc;

		if (strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		node_path(r, name, path);
		if (access(path, F_OK) == 0) {
			placed->kept++;
			continue;
		}
		snprintf(temporary, sizeof(temporary), "%s.restore", path);
		(void)unlink(temporary);
		rc = place_file(hbctl, r, file, temporary, mode, error);
		if (rc == 0 && rename(temporary, path) != 0)
			rc = failed(error, "cannot name", path, -errno);
		if (rc != 0)
			return rc;
		placed->placed++;
	}
	return 0;
}

static int
place_keys(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	char folder[PATH_BYTES];
	int rc;

	node_path(r, "key", folder);
	rc = hbctl_make_directory(folder, 0711, 0, 0);
	if (rc != 0)
		return failed(error, "cannot make", folder, rc);
	rc = place_folder(hbctl, r, "key/", 0400, &r->keys, error);
	return rc == 0 ? hbctl_sync_directory(folder) : rc;
}

/* What operators wanted. `up` makes the folder of a node that never ran, with its owner. */
static int
place_cases(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	struct placed placed = {0, 0};
	char folder[PATH_BYTES];
	unsigned uid = 0, gid = 0;
	int rc;

	node_path(r, "cases", folder);
	rc = hbctl_backup_owner(hbctl, "control", &uid, &gid, error);
	if (rc != 0)
		return rc;
	rc = hbctl_make_directory(folder, 0700, uid, gid);
	if (rc != 0)
		return failed(error, "cannot make", folder, rc);
	rc = place_folder(hbctl, r, "cases/", 0600, &placed, error);
	return rc == 0 ? hbctl_sync_directory(folder) : rc;
}

static int
go_aside(const struct restore *r, const char *name, char error[HBCTL_ERROR_BYTES])
{
	char from[PATH_BYTES], to[PATH_BYTES + 64];

	node_path(r, name, from);
	snprintf(to, sizeof(to), "%s.%s", from, r->aside);
	if (rename(from, to) != 0)
		return failed(error, "cannot move aside", from, -errno);
	return 0;
}

static int
place_all(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	char temporary[PATH_BYTES], from[PATH_BYTES], to[PATH_BYTES];
	int rc;

	node_path(r, TEMPORARY, temporary);
	node_path(r, TEMPORARY "/journal", from);
	node_path(r, HB_PATH_JOURNAL, to);
	rc = make_journal(hbctl, r, temporary, error);
	if (rc == 0)
		rc = place_keys(hbctl, r, error);
	if (rc == 0)
		rc = place_cases(hbctl, r, error);
	if (rc == 0 && r->mysql_there)
		rc = go_aside(r, "mysql", error);
	if (rc == 0 && r->journal_there)
		rc = go_aside(r, HB_PATH_JOURNAL, error);
	/* over an empty directory, or none */
	if (rc == 0 && rename(from, to) != 0)
		rc = failed(error, "cannot name", to, -errno);
	if (rc == 0)
		rc = hbctl_sync_directory(r->node);
	if (rc == 0)
		(void)hbctl_remove_tree(temporary);
	return rc;
}

static int
check_target(struct hbctl *hbctl, struct restore *r, char error[HBCTL_ERROR_BYTES])
{
	int rc = check_node_number(hbctl, r, error);

	if (rc != 0)
		return rc;
	rc = mkdir(r->node, 0755) != 0 && errno != EEXIST ? -errno : 0;
	if (rc != 0)
		return failed(error, "cannot make", r->node, rc);
	rc = check_down(r, error);
	if (rc == 0)
		rc = check_journal(r, error);
	return rc == 0 ? check_mysql(hbctl, r, error) : rc;
}

static int
show_restored(struct hbctl *hbctl, const struct restore *r)
{
	int64_t cut = hbctl_json_i64(r->manifest, "cut_seq");

	if (hbctl->json) {
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:o, s:o, s:I, s:O, s:i, s:i, s:o}", "ok", 1, "node",
				hbctl_json_string(r->node), "backup", hbctl_json_string(r->backup),
				"cut_seq", (json_int_t)cut, "stream",
				json_object_get(r->manifest, "stream"), "keys_placed",
				r->keys.placed, "keys_kept", r->keys.kept, "aside",
				r->journal_there || r->mysql_there ? json_string(r->aside)
								   : json_null()));
		return HBCTL_OK;
	}
	fprintf(hbctl->out,
		"restored %s\n"
		"to       %s, up to sequence %" PRId64 "\n"
		"keys     %d placed, %d were there and stay\n",
		r->backup, r->node, cut, r->keys.placed, r->keys.kept);
	if (r->journal_there || r->mysql_there)
		fprintf(hbctl->out, "aside    what was there is now named *.%s\n", r->aside);
	fprintf(hbctl->out,
		"\nMake sure that the node of the backup never starts again: both would give out "
		"the "
		"same\nids and order numbers. Then:\n"
		"  ./hongbao up --config %s\n  hbctl -c %s check\n",
		hbctl->config_path, hbctl->config_path);
	return HBCTL_OK;
}

int
hbctl_run_restore(struct hbctl *hbctl)
{
	struct restore r = {.node = hbctl->config.node_directory,
		.force = hbctl_option_value(hbctl, "--force") != NULL};
	char error[HBCTL_ERROR_BYTES] = "";
	int rc;

	if (geteuid() != 0)
		return hbctl_fail(hbctl, HBCTL_USAGE, "run hbctl as root");
	snprintf(r.aside, sizeof(r.aside), "before-%lld", (long long)time(NULL));
	if (hbctl_backup_find(hbctl->positional[0], r.backup, error) != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	r.manifest = hbctl_manifest_read(r.backup, error);
	if (r.manifest == NULL)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	rc = check_target(hbctl, &r, error);
	if (rc == 0)
		rc = hbctl_manifest_verify(hbctl, r.backup, r.manifest, error);
	if (rc == 0)
		rc = place_all(hbctl, &r, error);
	hbctl_backup_progress_end(hbctl);
	rc = rc == 0 ? show_restored(hbctl, &r)
		     : hbctl_fail(hbctl, HBCTL_WRONG, "nothing was restored: %s",
			       error[0] == '\0' ? strerror(-rc) : error);
	json_decref(r.manifest);
	return rc;
}
