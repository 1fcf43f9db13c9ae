/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a backup (backup_files.h). Descriptors are closed where they are opened; a process that
 * dies here leaves files that no manifest names.
 */
#include "tools/hbctl/backup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"

#define NFTW_DESCRIPTORS   16
#define FILE_BYTES_MAX	   (1 << 20) /* of a key or a configuration */
#define MANIFEST_BYTES_MAX (64 << 20)
#define NAME_CHARACTERS	   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static const char *const folders[] = {"journal", "journal/snapshot", "key", "etc", "cases"};
#define FOLDER_COUNT (sizeof(folders) / sizeof(folders[0]))

void
hbctl_backup_progress(void *context, const char *step, uint64_t bytes)
{
	const struct hbctl *hbctl = context;

	if (isatty(fileno(hbctl->err)) != 1)
		return;
	if (strncmp(step, "records", 7) == 0)
		fprintf(hbctl->err, "\r\033[K%" PRIu64 " %s", bytes, step);
	else
		fprintf(hbctl->err, "\r\033[K%" PRIu64 " MiB %s", bytes >> 20, step);
}

void
hbctl_backup_progress_end(const struct hbctl *hbctl)
{
	if (isatty(fileno(hbctl->err)) == 1)
		fprintf(hbctl->err, "\r\033[K");
}

/* ---- directories ---- */

static int
remove_one(const char *path, const struct stat *file, int type, struct FTW *at)
{
	(void)file;
	(void)type;
	(void)at;
	return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

int
hbctl_remove_tree(const char *path)
{
	if (nftw(path, remove_one, NFTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 ||
		errno == ENOENT)
		return 0;
	return -errno;
}

int
hbctl_make_directory(const char *path, unsigned mode, unsigned uid, unsigned gid)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	if (chown(path, uid, gid) != 0 || chmod(path, mode) != 0)
		return -errno;
	return 0;
}

int
hbctl_sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- owners ---- */

static const char *
owner_user(const struct hbctl *hbctl, const char *owner)
{
	const struct {
		const char *owner;
		const char *user;
	} table[] = {
		{"dataplane", hbctl->config.user_dataplane},
		{"persist", hbctl->config.user_persist},
		{"control", hbctl->config.user_control},
		{"front", hbctl->config.user_front},
		{"mysql", hbctl->config.user_mysql},
		{"root", "root"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(owner, table[i].owner) == 0)
			return table[i].user;
	return NULL;
}

int
hbctl_backup_owner(const struct hbctl *hbctl, const char *owner, unsigned *uid, unsigned *gid,
	char error[HBCTL_ERROR_BYTES])
{
	const char *name = owner_user(hbctl, owner);
	const struct passwd *user = name == NULL ? NULL : getpwnam(name);

	if (user == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"there is no user %s (%s): './hongbao setup' makes the node's users",
			name == NULL ? "for a file's owner" : name, owner);
		return -ENOENT;
	}
	*uid = user->pw_uid;
	*gid = user->pw_gid;
	return 0;
}

static const char *
owner_of(const struct hbctl *hbctl, unsigned uid)
{
	static const char *const owners[] = {"dataplane", "persist", "control", "front", "mysql"};

	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		const struct passwd *user = getpwnam(owner_user(hbctl, owners[i]));

		if (user != NULL && user->pw_uid == uid)
			return owners[i];
	}
	return "root";
}

/* ---- keys and configuration ---- */

static int
copy_into(int from_dir, const char *name, int to_dir, char error[HBCTL_ERROR_BYTES])
{
	uint64_t bytes;
	int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int to =
		from < 0 ? -1 : openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = from < 0 || to < 0 ? -errno : hb_backup_copy_file(from, to, &bytes, NULL);

	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	if (rc != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "cannot copy %s: %s", name, strerror(-rc));
	return rc;
}

static bool
name_ok(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < 200 && name[0] != '.' &&
	       strspn(name, NAME_CHARACTERS) == length;
}

static int
copy_listed(struct hbctl *hbctl, const char *folder, DIR *list, int to_dir, json_t *owners,
	char error[HBCTL_ERROR_BYTES])
{
	const struct dirent *entry;
	int rc = 0;

	while (rc == 0 && (entry = readdir(list)) != NULL) {
		char path[HB_PATH_MAX];
		struct stat file;

		if (fstatat(dirfd(list), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0 ||
			!S_ISREG(file.st_mode) || !name_ok(entry->d_name) ||
			file.st_size > FILE_BYTES_MAX)
			continue;
		rc = copy_into(dirfd(list), entry->d_name, to_dir, error);
		snprintf(path, sizeof(path), "%.100s/%.255s", folder, entry->d_name);
		json_object_set_new(owners, path, json_string(owner_of(hbctl, file.st_uid)));
	}
	return rc;
}

int
hbctl_backup_copy_folder(struct hbctl *hbctl, const char *folder, const char *to, json_t *owners,
	char error[HBCTL_ERROR_BYTES])
{
	char from[HB_PATH_MAX];
	DIR *list;
	int to_dir, rc;

	hb_path(from, hbctl->config.node_directory, folder);
	rc = hbctl_make_directory(to, 0700, geteuid(), getegid());
	list = rc == 0 ? opendir(from) : NULL;
	if (list == NULL) {
		rc = rc != 0 ? rc : -errno;
		snprintf(error, HBCTL_ERROR_BYTES, "cannot copy %.400s: %s", from, strerror(-rc));
		return rc;
	}
	to_dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = to_dir < 0 ? -errno : copy_listed(hbctl, folder, list, to_dir, owners, error);
	if (to_dir >= 0) {
		(void)fsync(to_dir);
		close(to_dir);
	}
	closedir(list);
	return rc;
}

/* ---- the manifest ---- */

static int
hash_path(const char *path, uint64_t *bytes, char hex[2 * HB_SHA256_BYTES + 1])
{
	uint8_t sha256[HB_SHA256_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc = fd < 0 ? -errno : hb_backup_hash_file(fd, bytes, sha256);

	if (fd >= 0)
		close(fd);
	if (rc == 0)
		hb_hex_text(hex, sha256, sizeof(sha256));
	return rc;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_listed(const struct dirent *entry)
{
	return name_ok(entry->d_name) && entry->d_type != DT_DIR;
}

static int
add_files(struct hbctl *hbctl, const char *directory, const char *folder, json_t *files,
	const json_t *owners, uint64_t *total)
{
	char path[2 * HB_PATH_MAX];
	struct dirent **entries;
	int count, rc = 0;

	snprintf(path, sizeof(path), "%.511s/%s", directory, folder);
	count = scandir(path, &entries, is_listed, by_name);
	if (count < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		char name[HB_PATH_MAX], hex[2 * HB_SHA256_BYTES + 1];
		const char *owner;
		uint64_t bytes = 0;

		snprintf(name, sizeof(name), "%s/%.255s", folder, entries[i]->d_name);
		snprintf(path, sizeof(path), "%.511s/%.511s", directory, name);
		free(entries[i]);
		if (rc == 0)
			rc = hash_path(path, &bytes, hex);
		if (rc != 0)
			continue;
		*total += bytes;
		hbctl_backup_progress(hbctl, "hashed", *total);
		owner = json_string_value(json_object_get(owners, name));
		json_array_append_new(files,
			json_pack("{s:s, s:I, s:s, s:s}", "path", name, "bytes", (json_int_t)bytes,
				"sha256", hex, "owner", owner == NULL ? "persist" : owner));
	}
	free(entries);
	return rc;
}

static int
write_named(const char *directory, const json_t *manifest)
{
	char temporary[HB_PATH_MAX + 32], path[HB_PATH_MAX + 32];
	int fd, rc;

	snprintf(path, sizeof(path), "%.511s/" HBCTL_BACKUP_MANIFEST, directory);
	snprintf(temporary, sizeof(temporary), "%.511s/" HBCTL_BACKUP_MANIFEST ".tmp", directory);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = json_dumpfd(manifest, fd, JSON_INDENT(1)) == 0 && write(fd, "\n", 1) == 1 &&
			     fsync(fd) == 0
		     ? 0
		     : -EIO;
	close(fd);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	return rc == 0 ? hbctl_sync_directory(directory) : rc;
}

int
hbctl_manifest_write(struct hbctl *hbctl, const char *directory, json_t *manifest,
	const json_t *owners, char error[HBCTL_ERROR_BYTES])
{
	json_t *files = json_array();
	uint64_t total = 0;
	int rc = 0;

	for (size_t i = 0; i < FOLDER_COUNT && rc == 0; i++)
		rc = add_files(hbctl, directory, folders[i], files, owners, &total);
	json_object_set_new(manifest, "bytes", json_integer((json_int_t)total));
	json_object_set_new(manifest, "files", files);
	if (rc == 0)
		rc = write_named(directory, manifest);
	if (rc != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "cannot write the manifest of %.400s: %s",
			directory, strerror(-rc));
	return rc;
}

static bool
is_whole(const char *directory)
{
	char path[HB_PATH_MAX + 32];
	struct stat file;

	snprintf(path, sizeof(path), "%.511s/" HBCTL_BACKUP_MANIFEST, directory);
	return stat(path, &file) == 0 && S_ISREG(file.st_mode);
}

static int
is_backup(const struct dirent *entry)
{
	size_t prefix = strlen(HBCTL_BACKUP_PREFIX);

	return strncmp(entry->d_name, HBCTL_BACKUP_PREFIX, prefix) == 0 &&
	       strlen(entry->d_name) == prefix + 16 &&
	       strspn(entry->d_name + prefix, "0123456789abcdef") == 16;
}

int
hbctl_backup_find(const char *directory, char path[HB_PATH_MAX], char error[HBCTL_ERROR_BYTES])
{
	struct dirent **entries = NULL;
	bool found = is_whole(directory);
	int count;

	snprintf(path, HB_PATH_MAX, "%s", directory);
	if (found)
		return 0;
	count = scandir(directory, &entries, is_backup, by_name);
	if (count < 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%.400s: %s", directory, strerror(errno));
		return -ENOENT;
	}
	for (int i = count - 1; i >= 0; i--) { /* names sort as sequences do */
		if (!found) {
			snprintf(path, HB_PATH_MAX, "%.400s/%.64s", directory, entries[i]->d_name);
			found = is_whole(path);
		}
		free(entries[i]);
	}
	free(entries);
	if (!found)
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.400s holds no whole backup: a backup is whole when it has "
			"a " HBCTL_BACKUP_MANIFEST,
			directory);
	return found ? 0 : -ENOENT;
}

/* "folder/name" of one of our folders, nothing that leads elsewhere. */
static bool
path_ok(const char *path)
{
	const char *name = strrchr(path, '/');

	if (name == NULL || !name_ok(name + 1))
		return false;
	for (size_t i = 0; i < FOLDER_COUNT; i++)
		if (strlen(folders[i]) == (size_t)(name - path) &&
			strncmp(folders[i], path, (size_t)(name - path)) == 0)
			return true;
	return false;
}

static bool
files_ok(const json_t *files)
{
	size_t index;
	json_t *file;

	if (json_array_size(files) == 0)
		return false;
	json_array_foreach((json_t *)(uintptr_t)files, index, file)
	{
		if (!path_ok(hbctl_json_text(file, "path")) ||
			!json_is_integer(json_object_get(file, "bytes")) ||
			strlen(hbctl_json_text(file, "sha256")) != 2 * HB_SHA256_BYTES ||
			!json_is_string(json_object_get(file, "owner")))
			return false;
	}
	return true;
}

json_t *
hbctl_manifest_read(const char *directory, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX + 32];
	json_error_t why;
	struct stat file;
	json_t *manifest;

	snprintf(path, sizeof(path), "%.511s/" HBCTL_BACKUP_MANIFEST, directory);
	if (stat(path, &file) != 0 || file.st_size > MANIFEST_BYTES_MAX) {
		snprintf(error, HBCTL_ERROR_BYTES, "%.400s: no manifest can be read", path);
		return NULL;
	}
	manifest = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (manifest == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "%.400s, line %d: %s", path, why.line, why.text);
		return NULL;
	}
	if (strcmp(hbctl_json_text(manifest, "format"), HBCTL_BACKUP_FORMAT) != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "%.400s is not the manifest of a backup", path);
	else if (hbctl_json_i64(manifest, "version") > HBCTL_BACKUP_VERSION ||
		 hbctl_json_i64(manifest, "journal_version") > HB_JOURNAL_VERSION ||
		 hbctl_json_i64(manifest, "snapshot_version") > HB_SNAPSHOT_VERSION)
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.300s was made by a newer program (%.40s; its formats are unknown here): "
			"install that program first",
			path, hbctl_json_text(manifest, "program"));
	else if (strlen(hbctl_json_text(manifest, "stream")) != 32 ||
		 hbctl_json_i64(manifest, "cut_seq") < 1 ||
		 !files_ok(json_object_get(manifest, "files")))
		snprintf(error, HBCTL_ERROR_BYTES,
			"%.400s is damaged: a field is missing or a file's name is not allowed",
			path);
	else
		return manifest;
	json_decref(manifest);
	return NULL;
}

int
hbctl_manifest_verify(struct hbctl *hbctl, const char *directory, const json_t *manifest,
	char error[HBCTL_ERROR_BYTES])
{
	const json_t *files = json_object_get(manifest, "files");
	uint64_t total = 0;
	size_t index;
	json_t *file;

	json_array_foreach((json_t *)(uintptr_t)files, index, file)
	{
		const char *name = hbctl_json_text(file, "path");
		char path[2 * HB_PATH_MAX], hex[2 * HB_SHA256_BYTES + 1];
		uint64_t bytes = 0;
		int rc;

		snprintf(path, sizeof(path), "%.511s/%.511s", directory, name);
		rc = hash_path(path, &bytes, hex);
		if (rc != 0) {
			snprintf(error, HBCTL_ERROR_BYTES, "%.400s: %s", path, strerror(-rc));
			return rc;
		}
		if ((json_int_t)bytes != hbctl_json_i64(file, "bytes") ||
			strcmp(hex, hbctl_json_text(file, "sha256")) != 0) {
			snprintf(error, HBCTL_ERROR_BYTES,
				"%.400s is not what was backed up: its %s differs from the "
				"manifest's. Use another backup",
				path,
				(json_int_t)bytes != hbctl_json_i64(file, "bytes") ? "length"
										   : "SHA-256");
			return -EBADMSG;
		}
		total += bytes;
		hbctl_backup_progress(hbctl, "verified", total);
	}
	return 0;
}
