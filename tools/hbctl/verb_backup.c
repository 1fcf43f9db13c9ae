/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl backup, backup verify: everything that a node needs, at one journal sequence.
 *
 * The cut is what is committed when we ask. When the journal is complete from its first record,
 * MySQL follows from it and is not copied. When it is not, the appliers stand at the cut until a
 * consistent view of the rows is open, then they go on while the rows are read; that part runs in
 * a child as the persist user. If hbctl dies, a directory backup.tmp is left that the next one
 * removes; killed in the moment the appliers stand, 'hbctl applier resume' frees them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/ledger_dump.h"
#include "tools/hbctl/backup_files.h"

#define APPLIER_STOP_TIMEOUT_MS 70000
#define CONNECT_TIMEOUT_S	5
#define HOST_BYTES		256

struct backup {
	const char *directory;	      /* where the operator wants it */
	char unfinished[HB_PATH_MAX]; /* being made */
	char earlier[HB_PATH_MAX];    /* "" or a whole one of the same stream */
	char journal[HB_PATH_MAX];    /* the node's */
	struct hb_journal_info info;
	uint64_t cut_seq;
	int journal_lock; /* -1, or held because persist does not run */
	bool with_ledger;
	int ledger_fd;
	uint64_t ledger_seq;
	uint64_t ledger_rows;
	struct hb_backup_cut cut;
	json_t *owners;
};

/* ---- the ledger's rows, in the child ---- */

static int
open_view(struct hbctl *hbctl, struct hb_db **db, char error[HBCTL_ERROR_BYTES])
{
	const struct hb_config *config = &hbctl->config;
	int rc;

	if (config->mysql_servers[0] != '\0') {
		snprintf(error, HBCTL_ERROR_BYTES,
			"the rows are on several servers (mysql.servers): back those up by their "
			"own means, at any later moment; the journal brings them up");
		return -ENOTSUP;
	}
	rc = hb_db_open(db, config, config->mysql_user, CONNECT_TIMEOUT_S, error);
	if (rc == 0)
		rc = hb_schema_use(*db, config->mysql_database, error);
	if (rc == 0)
		rc = hb_db_execute(
			*db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", error);
	return rc;
}

/* The view is open: nobody has to stand any more. */
static void
let_go(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	sigset_t none;

	hbctl_persist_close(hbctl);		   /* the parent's connection: one of our own */
	(void)hbctl_appliers_resume(hbctl, error); /* the parent says so, if it fails */
	hbctl_persist_close(hbctl);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static json_t *
export_ledger(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	const struct backup *b = context;
	struct hb_ledger_dump dump;
	struct hb_db *db = NULL;
	json_t *answer = NULL;
	int rc = open_view(hbctl, &db, error);

	let_go(hbctl);
	if (rc == 0)
		rc = hb_ledger_export(db, b->info.stream_id, b->ledger_fd, &dump, error);
	if (rc == 0)
		answer = json_pack("{s:b, s:I, s:I}", "ok", 1, "seq", (json_int_t)dump.position.seq,
			"rows", (json_int_t)dump.rows);
	hb_db_close(db);
	return answer;
}

/* ---- the cut ---- */

static void
block_ending(sigset_t *before)
{
	sigset_t ending;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, before);
}

static int
ask_cut(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	json_t *answer = hbctl_persist_call(hbctl,
		b->with_ledger ? "{\"cmd\":\"applier_stop\",\"seq\":null}" : "{\"cmd\":\"status\"}",
		APPLIER_STOP_TIMEOUT_MS, error);
	bool ok = json_is_true(json_object_get(answer, "ok"));

	if (ok)
		b->cut_seq =
			(uint64_t)hbctl_json_i64(answer, b->with_ledger ? "seq" : "committed_seq");
	else if (answer != NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "persist: %s", hbctl_json_text(answer, "error"));
	json_decref(answer);
	return ok ? 0 : -EIO;
}

static int
take_ledger(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX + 64];
	json_t *answer;
	bool ok;

	snprintf(path, sizeof(path), "%.400s/journal/" HB_JOURNAL_LEDGER_FILE, b->unfinished);
	b->ledger_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (b->ledger_fd < 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "cannot make %.400s: %s", path, strerror(errno));
		return -errno;
	}
	answer = hbctl_in_child(hbctl, export_ledger, b, NULL, error);
	close(b->ledger_fd);
	ok = json_is_true(json_object_get(answer, "ok"));
	if (ok) {
		b->ledger_seq = (uint64_t)hbctl_json_i64(answer, "seq");
		b->ledger_rows = (uint64_t)hbctl_json_i64(answer, "rows");
	} else if (answer != NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "MySQL: %s", hbctl_json_text(answer, "error"));
	}
	json_decref(answer);
	return ok ? 0 : -EIO;
}

/* With persist: what is committed. The appliers are free again on every way out. */
static int
cut_online(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char why[HBCTL_ERROR_BYTES] = "";
	sigset_t before;
	int rc;

	if (!b->with_ledger)
		return ask_cut(hbctl, b, error);
	if (!hbctl_appliers_alone(hbctl)) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"another check or backup holds the appliers: wait for its end");
		return -EBUSY;
	}
	block_ending(&before);
	rc = ask_cut(hbctl, b, error);
	if (rc == 0)
		rc = take_ledger(hbctl, b, error);
	if (hbctl_persist_open(hbctl, why) == 0 && hbctl_appliers_resume(hbctl, why) != 0)
		fprintf(hbctl->err,
			"hbctl: the appliers may still be stopped: %s; run 'hbctl applier "
			"resume'\n",
			why);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* Without persist: the end of the journal, which nobody may begin to write meanwhile. */
static int
cut_offline(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%.400s/" HB_JOURNAL_LOCK_FILE, b->journal);
	b->journal_lock = open(path, O_RDWR | O_CLOEXEC);
	if (b->journal_lock >= 0 && flock(b->journal_lock, LOCK_EX | LOCK_NB) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"persist holds the journal %.300s but does not answer: look at "
			"'./hongbao status'",
			b->journal);
		return -EBUSY;
	}
	b->cut_seq = HB_BACKUP_CUT_AT_END;
	return b->with_ledger ? take_ledger(hbctl, b, error) : 0;
}

/* ---- making it ---- */

static int
read_info(struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	struct hb_journal_reader *reader = NULL;
	int rc = hb_journal_reader_open(&reader, b->journal, error);

	if (rc == 0)
		rc = hb_journal_reader_info(reader, &b->info);
	hb_journal_reader_close(reader);
	if (rc == 0 && b->info.first_segment == 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "the journal %.400s is empty", b->journal);
		rc = -ENOENT;
	}
	return rc;
}

/* A whole backup of the same stream in this directory: what it has need not be copied. */
static void
find_earlier(struct backup *b)
{
	char why[HBCTL_ERROR_BYTES];
	json_t *manifest, *stream;

	if (hbctl_backup_find(b->directory, b->earlier, why) != 0) {
		b->earlier[0] = '\0';
		return;
	}
	manifest = hbctl_manifest_read(b->earlier, why);
	stream = hbctl_json_hex(b->info.stream_id, sizeof(b->info.stream_id));
	if (manifest == NULL ||
		strcmp(hbctl_json_text(manifest, "stream"), json_string_value(stream)) != 0)
		b->earlier[0] = '\0';
	json_decref(manifest);
	json_decref(stream);
}

/* One backup at a time into a directory; its lock is kept to the exit. */
static int
prepare(struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX];
	int fd, rc = 0;

	if (mkdir(b->directory, 0700) != 0 && errno != EEXIST)
		rc = -errno;
	fd = open(b->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && fd < 0)
		rc = -errno;
	if (rc == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "another backup into %.400s is running",
			b->directory);
		return -EBUSY;
	}
	snprintf(b->unfinished, sizeof(b->unfinished), "%.400s/" HBCTL_BACKUP_UNFINISHED,
		b->directory);
	snprintf(path, sizeof(path), "%.450s/journal", b->unfinished);
	if (rc == 0)
		rc = hbctl_remove_tree(b->unfinished);
	if (rc == 0 && (mkdir(b->unfinished, 0700) != 0 || mkdir(path, 0700) != 0))
		rc = -errno;
	if (rc != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "cannot write to %.400s: %s", b->directory,
			strerror(-rc));
	return rc;
}

static int
copy_journal(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char target[HB_PATH_MAX], earlier[HB_PATH_MAX];
	struct hb_backup_request request = {.journal = b->journal,
		.target = target,
		.cut_seq = b->cut_seq,
		.progress = hbctl_backup_progress,
		.context = hbctl};
	int rc;

	snprintf(target, sizeof(target), "%.450s/journal", b->unfinished);
	if (b->earlier[0] != '\0') {
		snprintf(earlier, sizeof(earlier), "%.450s/journal", b->earlier);
		request.earlier = earlier;
	}
	rc = hb_backup_journal(&request, &b->cut, error);
	if (rc == 0 && b->cut.first_seq > 1 && !b->with_ledger) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"the journal's oldest segment was dropped meanwhile: back up again");
		rc = -EAGAIN;
	}
	if (rc == 0 && b->with_ledger &&
		(b->ledger_seq + 1 < b->cut.first_seq || b->ledger_seq > b->cut.seq)) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"MySQL stands at sequence %" PRIu64 ", outside of the journal's %" PRIu64
			" to %" PRIu64,
			b->ledger_seq, b->cut.first_seq, b->cut.seq);
		rc = -EBADMSG;
	}
	return rc;
}

static int
copy_folders(struct hbctl *hbctl, struct backup *b, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "%.450s/etc", b->unfinished);
	rc = hbctl_backup_copy_folder(hbctl, "etc", path, b->owners, error);
	/* The last line may be torn, as after a death: control cuts it off. */
	hb_path(path, hbctl->config.node_directory, "cases");
	if (rc == 0 && access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "%.450s/cases", b->unfinished);
		rc = hbctl_backup_copy_folder(hbctl, "cases", path, b->owners, error);
	}
	if (rc != 0 || hbctl_option_value(hbctl, "--without-keys") != NULL)
		return rc;
	snprintf(path, sizeof(path), "%.450s/key", b->unfinished);
	return hbctl_backup_copy_folder(hbctl, "key", path, b->owners, error);
}

static json_t *
manifest_head(struct hbctl *hbctl, const struct backup *b)
{
	char host[HOST_BYTES] = "";
	json_t *snapshots = json_array();
	json_t *manifest;

	(void)gethostname(host, sizeof(host) - 1);
	for (uint32_t i = 0; i < b->cut.snapshot_count; i++)
		json_array_append_new(snapshots, json_integer((json_int_t)b->cut.snapshot_seq[i]));
	manifest = json_pack("{s:s, s:i, s:s, s:o, s:I, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:b}",
		"format", HBCTL_BACKUP_FORMAT, "version", HBCTL_BACKUP_VERSION, "program",
		HB_VERSION, "host", hbctl_json_string(host), "made_ms",
		(json_int_t)(hb_wall_ns() / 1000000), "stream", "", "node", (json_int_t)b->cut.node,
		"first_seq", (json_int_t)b->cut.first_seq, "cut_seq", (json_int_t)b->cut.seq,
		"cut_frame", (json_int_t)b->cut.frame_number, "chain",
		hbctl_json_hex(b->cut.chain, sizeof(b->cut.chain)), "epoch",
		(json_int_t)b->cut.epoch, "keys",
		hbctl_option_value(hbctl, "--without-keys") == NULL);
	json_object_set_new(
		manifest, "stream", hbctl_json_hex(b->cut.stream_id, sizeof(b->cut.stream_id)));
	json_object_set_new(manifest, "records", json_integer((json_int_t)b->cut.records));
	json_object_set_new(manifest, "journal_version", json_integer(HB_JOURNAL_VERSION));
	json_object_set_new(manifest, "snapshot_version", json_integer(HB_SNAPSHOT_VERSION));
	json_object_set_new(manifest, "schema_version", json_integer(hb_schema_version()));
	json_object_set_new(manifest, "snapshots", snapshots);
	if (b->with_ledger) {
		json_object_set_new(
			manifest, "ledger_seq", json_integer((json_int_t)b->ledger_seq));
		json_object_set_new(
			manifest, "ledger_rows", json_integer((json_int_t)b->ledger_rows));
	}
	return manifest;
}

/* Give it its name; an older one of the same cut goes. */
static int
name_it(struct backup *b, char final[HB_PATH_MAX], char error[HBCTL_ERROR_BYTES])
{
	int rc = 0;

	snprintf(final, HB_PATH_MAX, "%.400s/" HBCTL_BACKUP_PREFIX "%016" PRIx64, b->directory,
		b->cut.seq);
	if (renameat2(AT_FDCWD, b->unfinished, AT_FDCWD, final, RENAME_NOREPLACE) != 0) {
		rc = -errno;
		if (rc == -EEXIST)
			rc = renameat2(AT_FDCWD, b->unfinished, AT_FDCWD, final, RENAME_EXCHANGE) !=
					     0
				     ? -errno
				     : hbctl_remove_tree(b->unfinished);
	}
	if (rc == 0)
		rc = hbctl_sync_directory(b->directory);
	if (rc != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "cannot name %.400s: %s", final, strerror(-rc));
	return rc;
}

static int
make(struct hbctl *hbctl, struct backup *b, json_t **manifest, char error[HBCTL_ERROR_BYTES])
{
	char why[HBCTL_ERROR_BYTES] = "";
	int rc = read_info(b, error);

	if (rc != 0)
		return rc;
	b->with_ledger =
		b->info.first_segment > 1 || hbctl_option_value(hbctl, "--with-ledger") != NULL;
	rc = prepare(b, error);
	if (rc == 0)
		find_earlier(b);
	if (rc == 0)
		rc = hbctl_persist_open(hbctl, why) == 0 ? cut_online(hbctl, b, error)
							 : cut_offline(hbctl, b, error);
	if (rc == 0)
		rc = copy_journal(hbctl, b, error);
	if (rc == 0)
		rc = copy_folders(hbctl, b, error);
	if (rc == 0) {
		*manifest = manifest_head(hbctl, b);
		rc = hbctl_manifest_write(hbctl, b->unfinished, *manifest, b->owners, error);
	}
	return rc;
}

static void
print_backup(struct hbctl *hbctl, const char *path, const json_t *manifest)
{
	char when[HBCTL_TIME_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(manifest, "made_ms"));
	fprintf(hbctl->out,
		"backup     %s\ncut        sequence %" PRId64 ", made %s on %s by %s\n"
		"journal    from sequence %" PRId64 "%s, stream %s, node %" PRId64 "\n"
		"size       %" PRId64 " bytes in %zu files%s\n",
		path, hbctl_json_i64(manifest, "cut_seq"), when, hbctl_json_text(manifest, "host"),
		hbctl_json_text(manifest, "program"), hbctl_json_i64(manifest, "first_seq"),
		hbctl_json_i64(manifest, "first_seq") == 1 ? " (complete)" : "",
		hbctl_json_text(manifest, "stream"), hbctl_json_i64(manifest, "node"),
		hbctl_json_i64(manifest, "bytes"),
		json_array_size(json_object_get(manifest, "files")),
		json_is_true(json_object_get(manifest, "keys")) ? "" : ", without keys");
	if (json_object_get(manifest, "ledger_seq") != NULL)
		fprintf(hbctl->out, "ledger     %" PRId64 " rows at sequence %" PRId64 "\n",
			hbctl_json_i64(manifest, "ledger_rows"),
			hbctl_json_i64(manifest, "ledger_seq"));
}

static int
show_backup(struct hbctl *hbctl, const char *path, json_t *manifest, const struct backup *b)
{
	json_object_set_new(manifest, "ok", json_true());
	json_object_set_new(manifest, "directory", hbctl_json_string(path));
	if (b != NULL) {
		json_object_set_new(
			manifest, "bytes_copied", json_integer((json_int_t)b->cut.bytes_copied));
		json_object_set_new(
			manifest, "bytes_linked", json_integer((json_int_t)b->cut.bytes_linked));
	}
	if (hbctl->json) {
		hbctl_print_json(hbctl, manifest);
		return HBCTL_OK;
	}
	print_backup(hbctl, path, manifest);
	json_decref(manifest);
	return HBCTL_OK;
}

int
hbctl_run_backup(struct hbctl *hbctl)
{
	struct backup b = {.directory = hbctl->positional[0],
		.journal_lock = -1,
		.ledger_fd = -1,
		.owners = json_object()};
	char error[HBCTL_ERROR_BYTES] = "", path[HB_PATH_MAX] = "";
	json_t *manifest = NULL;
	int rc;

	if (geteuid() != 0) {
		json_decref(b.owners);
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"run hbctl as root: a backup holds journal and secrets");
	}
	hb_path(b.journal, hbctl->config.node_directory, HB_PATH_JOURNAL);
	rc = make(hbctl, &b, &manifest, error);
	if (rc == 0)
		rc = name_it(&b, path, error);
	hbctl_backup_progress_end(hbctl);
	json_decref(b.owners);
	if (b.journal_lock >= 0)
		close(b.journal_lock);
	if (rc == 0)
		return show_backup(hbctl, path, manifest, &b);
	json_decref(manifest);
	if (rc != -EBUSY && b.unfinished[0] != '\0')
		(void)hbctl_remove_tree(b.unfinished);
	return hbctl_fail(hbctl, HBCTL_WRONG, "no backup was made: %s",
		error[0] == '\0' ? strerror(-rc) : error);
}

/* ---- verify ---- */

static int
verify_ledger(const char *directory, const json_t *manifest, char error[HBCTL_ERROR_BYTES])
{
	struct hb_ledger_dump dump;
	char path[HB_PATH_MAX + 64];
	int fd, rc;

	if (json_object_get(manifest, "ledger_seq") == NULL)
		return 0;
	snprintf(path, sizeof(path), "%.400s/journal/" HB_JOURNAL_LEDGER_FILE, directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%.400s: %s", path, strerror(errno));
		return -errno;
	}
	rc = hb_ledger_verify(fd, &dump, error);
	close(fd);
	if (rc == 0 &&
		((json_int_t)dump.rows != hbctl_json_i64(manifest, "ledger_rows") ||
			(json_int_t)dump.position.seq != hbctl_json_i64(manifest, "ledger_seq"))) {
		snprintf(error, HBCTL_ERROR_BYTES, "the ledger's dump is not the manifest's");
		rc = -EBADMSG;
	}
	return rc;
}

/* Files as in the manifest, and the journal readable from its first record to the cut. */
static int
verify(struct hbctl *hbctl, const char *directory, const json_t *manifest,
	char error[HBCTL_ERROR_BYTES])
{
	char journal[HB_PATH_MAX];
	struct hb_backup_cut cut;
	int rc = hbctl_manifest_verify(hbctl, directory, manifest, error);

	if (rc == 0)
		rc = verify_ledger(directory, manifest, error);
	if (rc != 0)
		return rc;
	snprintf(journal, sizeof(journal), "%.450s/journal", directory);
	rc = hb_backup_verify_journal(journal, &cut, hbctl_backup_progress, hbctl, error);
	if (rc == 0 && (json_int_t)cut.seq != hbctl_json_i64(manifest, "cut_seq")) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"the journal ends at sequence %" PRIu64 ", the manifest says %" PRId64,
			cut.seq, hbctl_json_i64(manifest, "cut_seq"));
		rc = -EBADMSG;
	}
	return rc;
}

int
hbctl_run_backup_verify(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "", path[HB_PATH_MAX];
	json_t *manifest;
	int rc;

	if (hbctl_backup_find(hbctl->positional[0], path, error) != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	manifest = hbctl_manifest_read(path, error);
	if (manifest == NULL)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	rc = verify(hbctl, path, manifest, error);
	hbctl_backup_progress_end(hbctl);
	if (rc == 0)
		return show_backup(hbctl, path, manifest, NULL);
	json_decref(manifest);
	return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error[0] == '\0' ? strerror(-rc) : error);
}
