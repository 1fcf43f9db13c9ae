/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The files of a backup and their manifest.
 *
 *	DIR/backup-<cut, 16 hexadecimal digits>/
 *		manifest.json	written last: with it, the backup is whole
 *		journal/	a journal directory that ends at the cut
 *		key/  etc/	secrets and configuration, as they were
 *
 * A manifest is input from outside: only names of these folders are believed, every file is
 * compared with its length and SHA-256. Nothing here outlives a call.
 */
#ifndef HBCTL_BACKUP_FILES_H
#define HBCTL_BACKUP_FILES_H

#include "persist/backup.h"
#include "tools/hbctl/hbctl.h"

#define HBCTL_BACKUP_FORMAT	"hongbao-backup"
#define HBCTL_BACKUP_VERSION	1
#define HBCTL_BACKUP_MANIFEST	"manifest.json"
#define HBCTL_BACKUP_PREFIX	"backup-"
#define HBCTL_BACKUP_UNFINISHED "backup.tmp"

/** Progress of copying and reading, on a terminal only. `context` is the struct hbctl. */
hb_backup_progress_fn hbctl_backup_progress;
/** End the line of progress. */
void hbctl_backup_progress_end(const struct hbctl *hbctl);

/** Remove a directory and what is in it. A missing one is fine. @return 0 or -errno */
int hbctl_remove_tree(const char *path);

/** Make a directory, if need be, with exactly these rights. @return 0 or -errno */
int hbctl_make_directory(const char *path, unsigned mode, unsigned uid, unsigned gid);

/** fsync a directory. @return 0 or -errno */
int hbctl_sync_directory(const char *path);

/**
 * Copy the regular files of a folder of the node (key, etc).
 * @param from,to directories; `to` is made
 * @param files owners are added here: name -> "dataplane", "persist", "control", "front", "mysql"
 *        or "root"
 * @return 0 or -errno with `error`
 */
int hbctl_backup_copy_folder(struct hbctl *hbctl, const char *folder, const char *to,
	json_t *owners, char error[HBCTL_ERROR_BYTES]);

/** uid and gid of an owner's name in a manifest. @return 0, or -ENOENT with `error` */
int hbctl_backup_owner(const struct hbctl *hbctl, const char *owner, unsigned *uid, unsigned *gid,
	char error[HBCTL_ERROR_BYTES]);

/**
 * List and hash every file below the four folders into `manifest`, write it, sync it and name it.
 * @param manifest owned by the caller
 */
int hbctl_manifest_write(struct hbctl *hbctl, const char *directory, json_t *manifest,
	const json_t *owners, char error[HBCTL_ERROR_BYTES]);

/**
 * Find the backup: DIR itself, or the newest whole one in it.
 * @return 0, or -ENOENT with `error`
 */
int hbctl_backup_find(const char *directory, char path[HB_PATH_MAX], char error[HBCTL_ERROR_BYTES]);

/** Read a manifest; everything it says has the right form afterwards. @return NULL with `error` */
json_t *hbctl_manifest_read(const char *directory, char error[HBCTL_ERROR_BYTES]);

/** Compare every file with length and hash. @return 0, -EBADMSG or -errno with `error` */
int hbctl_manifest_verify(struct hbctl *hbctl, const char *directory, const json_t *manifest,
	char error[HBCTL_ERROR_BYTES]);

#endif
