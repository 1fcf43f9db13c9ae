/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl doctor, the node: users, folders, keys, whether MySQL would be refused, whether nginx loads
 * our module. MySQL is asked by a child as the persist user, nginx by its own test of a
 * configuration that has nothing but the modules.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "persist/db.h"
#include "tools/hbctl/doctor.h"

#define GROUPS_MAX	64
#define MYSQL_TIMEOUT_S 2
#define NGINX_PROGRAM	"/usr/sbin/nginx"
#define NGINX_CONFIG	"etc/nginx.conf"
#define MODULE_FILE	"bin/ngx_hb_module.so"
#define STREAM_MODULE	"/usr/lib/nginx/modules/ngx_stream_module.so" /* ours rests on it */

extern char **environ;

/* ---- users ---- */

static bool
in_group(const struct passwd *user, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	int count = GROUPS_MAX;

	if (getgrouplist(user->pw_name, user->pw_gid, groups, &count) < 0)
		return false;
	for (int i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return false;
}

static void
look_at_users(struct hbctl_doctor *doctor)
{
	const struct hb_config *config = &doctor->hbctl->config;
	const struct {
		const char *option, *name;
	} users[] = {
		{"user.dataplane", config->user_dataplane},
		{"user.persist", config->user_persist},
		{"user.control", config->user_control},
		{"user.front", config->user_front},
		{"user.mysql", config->user_mysql},
	};
	int missing = 0;

	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		if (getpwnam(users[i].name) != NULL)
			continue;
		missing++;
		hbctl_doctor_say(doctor, "users", HBCTL_HEALTH_FAIL,
			"./hongbao setup or the package creates it", "%s: there is no user '%s'",
			users[i].option, users[i].name);
	}
	if (missing == 0)
		hbctl_doctor_say(doctor, "users", HBCTL_HEALTH_OK, "", "all are there");
}

/* ---- folders ---- */

struct folder {
	const char *path;
	const char *user;    /* who must own it, NULL: root or we */
	mode_t mode_max;     /* bits that may be set */
	const char *visitor; /* who must get in by the group, or NULL */
};

static void
look_at_folder(struct hbctl_doctor *doctor, const struct folder *folder, int *wrong)
{
	const struct passwd *owner, *visitor;
	char path[HB_PATH_MAX];
	struct stat found;

	hb_path(path, doctor->hbctl->config.node_directory, folder->path);
	if (stat(path, &found) != 0 || (errno = ENOTDIR, !S_ISDIR(found.st_mode))) {
		hbctl_doctor_say(doctor, folder->path, HBCTL_HEALTH_FAIL,
			"./hongbao up or the package makes it; a journal that was there is money: "
			"look for it before a start makes a new one",
			"%s: %s", path, strerror(errno));
		(*wrong)++;
		return;
	}
	owner = folder->user == NULL ? NULL : getpwnam(folder->user);
	if (owner != NULL && found.st_uid != owner->pw_uid) {
		hbctl_doctor_say(doctor, folder->path, HBCTL_HEALTH_FAIL,
			"chown -R it to that user", "%s belongs to uid %u, not to %s", path,
			found.st_uid, folder->user);
		(*wrong)++;
	}
	if ((found.st_mode & 0777 & ~folder->mode_max) != 0) {
		hbctl_doctor_say(doctor, folder->path, HBCTL_HEALTH_FAIL,
			"chmod it: others could read or change what is in it",
			"%s has mode %04o, at most %04o is right", path, found.st_mode & 07777,
			folder->mode_max);
		(*wrong)++;
	}
	visitor = folder->visitor == NULL ? NULL : getpwnam(folder->visitor);
	if (visitor != NULL && visitor->pw_uid != found.st_uid &&
		!in_group(visitor, found.st_gid)) {
		hbctl_doctor_say(doctor, folder->path, HBCTL_HEALTH_FAIL,
			"add the user to that group (usermod -a -G)", "%s is not in group %u of %s",
			folder->visitor, found.st_gid, path);
		(*wrong)++;
	}
}

static void
look_at_folders(struct hbctl_doctor *doctor)
{
	const struct hb_config *c = &doctor->hbctl->config;
	const struct folder folders[] = {
		{"journal", c->user_persist, 0700, NULL},
		{"key", NULL, 0755, NULL},
		{"cases", c->user_control, 0700, NULL},
		{"socket/dataplane", c->user_dataplane, 0750, c->user_front},
		{"socket/persist", c->user_persist, 0750, c->user_dataplane},
		{"socket/control", c->user_control, 0750, c->user_front},
		{"socket/mysql", c->user_mysql, 0750, c->user_persist},
		{"mysql", c->user_mysql, 0700, NULL},
	};
	bool own_mysql = c->mysql_socket[0] == '\0' && c->mysql_host[0] == '\0';
	int wrong = 0;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (own_mysql || strstr(folders[i].path, "mysql") == NULL)
			look_at_folder(doctor, &folders[i], &wrong);
	if (wrong == 0)
		hbctl_doctor_say(
			doctor, "folders", HBCTL_HEALTH_OK, "", "owners and rights are right");
}

/* ---- keys ---- */

/* A secret that its one user can read and nobody else. @return false when something was said */
static bool
look_at_key(struct hbctl_doctor *doctor, const char *path, const char *user, bool or_root)
{
	const struct passwd *owner = getpwnam(user);
	char full[HB_PATH_MAX];
	struct stat found;

	if (path[0] == '/')
		snprintf(full, sizeof(full), "%s", path);
	else
		hb_path(full, doctor->hbctl->config.node_directory, path);
	if (stat(full, &found) != 0) {
		hbctl_doctor_say(doctor, path, HBCTL_HEALTH_FAIL,
			errno == EACCES ? "run hbctl as root"
					: "restore it from the backup; a new one makes tokens of "
					  "the old one worthless",
			"%s: %s", full, strerror(errno));
		return false;
	}
	if ((found.st_mode & 0077) != 0) {
		hbctl_doctor_say(doctor, path, HBCTL_HEALTH_FAIL,
			"chmod 400 it, and change the key: others may have read it",
			"%s has mode %04o: others can read or change it", full,
			found.st_mode & 07777);
		return false;
	}
	if (owner != NULL && found.st_uid != owner->pw_uid && !(or_root && found.st_uid == 0)) {
		hbctl_doctor_say(doctor, path, HBCTL_HEALTH_FAIL, "chown it to that user",
			"%s belongs to uid %u, but %s must read it", full, found.st_uid, user);
		return false;
	}
	if (found.st_size == 0) {
		hbctl_doctor_say(doctor, path, HBCTL_HEALTH_FAIL, "restore it from the backup",
			"%s is empty", full);
		return false;
	}
	return true;
}

static void
look_at_alarms(struct hbctl_doctor *doctor)
{
	if (doctor->hbctl->config.alarm_webhook[0] == '\0')
		hbctl_doctor_say(doctor, "alarms", HBCTL_HEALTH_WARN,
			"set alarm.webhook, 'hbctl config reload', then 'hbctl alarms test'",
			"alarm.webhook is empty: alarms are in control's log only");
	else
		hbctl_doctor_say(doctor, "alarms", HBCTL_HEALTH_OK, "",
			"are sent; 'hbctl alarms test' shows whether they arrive");
}

static void
look_at_keys(struct hbctl_doctor *doctor)
{
	const struct hb_config *config = &doctor->hbctl->config;
	bool good = look_at_key(doctor, HB_PATH_KEY_TOKEN, config->user_dataplane, false);

	good &= look_at_key(doctor, HB_PATH_KEY_BUSINESS, config->user_control, false);
	if (config->alarm_webhook[0] != '\0')
		good &= look_at_key(doctor, HB_PATH_KEY_ALARM, config->user_control, false);
	/* root's where nginx's master is root; the front's own in the package */
	good &= look_at_key(doctor, HB_PATH_KEY_JWT, config->user_front, true);
	if (config->mysql_password_file[0] != '\0')
		good &= look_at_key(
			doctor, config->mysql_password_file, config->user_persist, false);
	if (good)
		hbctl_doctor_say(doctor, "keys", HBCTL_HEALTH_OK, "",
			"each is readable by its one user alone");
}

static void
look_at_options(struct hbctl_doctor *doctor)
{
	struct stat found;

	if (doctor->hbctl->config_path[0] == '\0' || stat(doctor->hbctl->config_path, &found) != 0)
		return;
	if ((found.st_mode & 0022) != 0)
		hbctl_doctor_say(doctor, "options", HBCTL_HEALTH_FAIL, "chmod 644 it",
			"%s has mode %04o: others can change it", doctor->hbctl->config_path,
			found.st_mode & 07777);
	else
		hbctl_doctor_say(
			doctor, "options", HBCTL_HEALTH_OK, "", "%s", doctor->hbctl->config_path);
}

/* ---- what the processes may ask of the kernel ---- */

/* Who listens on a socket of the node. @return 0 when nobody does */
static pid_t
listener_of(struct hbctl *hbctl, const char *relative, int type)
{
	struct ucred peer = {.pid = 0};
	socklen_t length = sizeof(peer);
	char path[HB_PATH_MAX];
	int fd;

	hb_path(path, hbctl->config.node_directory, relative);
	fd = hb_unix_connect(path, type);
	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		peer.pid = 0;
	close(fd);
	return peer.pid;
}

/* @return false when a thread of it has no filter; an ended one counts as good */
static bool
is_filtered(pid_t pid)
{
	char path[64], text[4096];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (!hbctl_doctor_read(path, text, sizeof(text)))
		return true;
	at = strstr(text, "\nSeccomp:");
	return at != NULL && strtol(at + strlen("\nSeccomp:"), NULL, 10) == 2;
}

static void
look_at_seccomp(struct hbctl_doctor *doctor)
{
	static const struct {
		const char *name;
		const char *socket;
		int type;
	} process[] = {{"persist", HB_PATH_PERSIST_ADMIN_SOCKET, SOCK_STREAM},
		{"dataplane", HB_PATH_DATAPLANE_SOCKET, SOCK_SEQPACKET},
		{"control", HB_PATH_CONTROL_SOCKET, SOCK_STREAM}};
	const char *mode = doctor->hbctl->config.security_seccomp;

	if (strcmp(mode, "enforce") != 0) {
		hbctl_doctor_say(doctor, "seccomp", HBCTL_HEALTH_WARN,
			"set security.seccomp = \"enforce\" and restart",
			"security.seccomp is \"%s\": nothing ends a process that does what it "
			"never "
			"does",
			mode);
		return;
	}
	for (size_t i = 0; i < sizeof(process) / sizeof(process[0]); i++) {
		pid_t pid = listener_of(doctor->hbctl, process[i].socket, process[i].type);

		if (pid == 0 || is_filtered(pid))
			continue;
		hbctl_doctor_say(doctor, "seccomp", HBCTL_HEALTH_FAIL,
			"restart it; it runs with an older option or as an older program",
			"%s (pid %d) has no filter", process[i].name, (int)pid);
		return;
	}
	hbctl_doctor_say(doctor, "seccomp", HBCTL_HEALTH_OK, "",
		"each process may ask the kernel for what it needs and no more");
}

/* ---- MySQL ---- */

static json_t *
ask_mysql(struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES])
{
	char why[HB_DB_ERROR_BYTES] = "";
	struct hb_db *db = NULL;
	int rc;

	(void)context;
	rc = hbctl_become_persist(hbctl, error);
	if (rc != 0)
		return NULL;
	rc = hb_db_open(&db, &hbctl->config, hbctl->config.mysql_user, MYSQL_TIMEOUT_S, why);
	if (rc == 0)
		rc = hb_db_check_durability(db, why);
	hb_db_close(db);
	return json_pack(
		"{s:b, s:i, s:o}", "ok", rc == 0, "code", rc, "error", hbctl_json_string(why));
}

static void
look_at_mysql(struct hbctl_doctor *doctor)
{
	char error[HBCTL_ERROR_BYTES] = "", server[256];
	json_t *answer = hbctl_in_child(doctor->hbctl, ask_mysql, NULL, NULL, error);
	const char *why = answer == NULL ? error : hbctl_json_text(answer, "error");

	hb_db_server_name(&doctor->hbctl->config, server, sizeof(server));
	if (answer != NULL && json_is_true(json_object_get(answer, "ok")))
		hbctl_doctor_say(doctor, "mysql", HBCTL_HEALTH_OK, "",
			"%s keeps what it has committed", server);
	else if (answer != NULL && hbctl_json_i64(answer, "code") == -EPERM)
		hbctl_doctor_say(doctor, "mysql", HBCTL_HEALTH_FAIL,
			"the appliers refuse this server; grabs go on, lists and orders stay old",
			"%s: %s", server, why);
	else
		hbctl_doctor_say(doctor, "mysql", HBCTL_HEALTH_WARN,
			"it could not be asked; is the node up, and is this run as root?", "%s: %s",
			server, why);
	json_decref(answer);
}

/* ---- nginx ---- */

/* The load_module lines of the node's nginx.conf, else those it would have. */
static bool
write_test_config(struct hbctl_doctor *doctor, const char *folder)
{
	char path[HB_PATH_MAX], line[1024];
	bool any = false;
	FILE *out, *in;

	snprintf(path, sizeof(path), "%s/nginx.conf", folder);
	out = fopen(path, "we");
	if (out == NULL)
		return false;
	hb_path(path, doctor->hbctl->config.node_directory, NGINX_CONFIG);
	in = fopen(path, "re");
	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		if (strncmp(line, "load_module ", 12) != 0)
			continue;
		fputs(line, out);
		any = true;
	}
	if (in != NULL)
		fclose(in);
	hb_path(path, doctor->hbctl->config.node_directory, MODULE_FILE);
	if (!any)
		fprintf(out, "load_module %s;\nload_module %s;\n", STREAM_MODULE, path);
	fprintf(out, "pid %s/pid;\nerror_log stderr;\nevents {}\n", folder);
	return fclose(out) == 0;
}

/* @return exit status of nginx -t, or -errno; `said` is the line of its error */
static int
test_nginx(const char *folder, char *said, size_t bytes)
{
	char config[HB_PATH_MAX], text[4096] = "";
	char *const arguments[] = {NGINX_PROGRAM, "-t", "-q", "-p", (char *)(uintptr_t)folder, "-c",
		config, "-e", "stderr", NULL};
	posix_spawn_file_actions_t actions;
	size_t used = 0;
	int ends[2], status = -1, rc;
	ssize_t n;
	pid_t pid;

	snprintf(config, sizeof(config), "%s/nginx.conf", folder);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	rc = posix_spawn(&pid, NGINX_PROGRAM, &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	while (rc == 0 && used < sizeof(text) - 1 &&
		(n = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(ends[0]);
	if (rc != 0)
		return -rc;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	const char *emergency = strstr(text, "[emerg]");

	snprintf(said, bytes, "%.*s", (int)strcspn(emergency == NULL ? text : emergency, "\n"),
		emergency == NULL ? text : emergency);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void
look_at_nginx(struct hbctl_doctor *doctor)
{
	char folder[] = "/tmp/hongbao-doctor-XXXXXX";
	char path[HB_PATH_MAX], said[300] = "";
	int rc;

	if (mkdtemp(folder) == NULL)
		return;
	rc = write_test_config(doctor, folder) ? test_nginx(folder, said, sizeof(said)) : -EIO;
	snprintf(path, sizeof(path), "%s/nginx.conf", folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/pid", folder);
	unlink(path);
	rmdir(folder);
	if (rc == -ENOENT)
		hbctl_doctor_say(doctor, "nginx", HBCTL_HEALTH_FAIL,
			"apt-get install nginx, or ./hongbao setup", NGINX_PROGRAM " is not there");
	else if (rc != 0)
		hbctl_doctor_say(doctor, "nginx", HBCTL_HEALTH_FAIL,
			strstr(said, "binary compatible") != NULL || strstr(said, "version") != NULL
				? "the module was built for another nginx: build it again with "
				  "this one's nginx-dev, or install the matching nginx"
				: "./hongbao build, or install the package again",
			"%s", said[0] != '\0' ? said : strerror(rc < 0 ? -rc : EIO));
	else
		hbctl_doctor_say(doctor, "nginx", HBCTL_HEALTH_OK, "", "it loads our module");
}

void
hbctl_doctor_node(struct hbctl_doctor *doctor)
{
	look_at_options(doctor);
	look_at_users(doctor);
	look_at_folders(doctor);
	look_at_keys(doctor);
	look_at_alarms(doctor);
	look_at_seccomp(doctor);
	look_at_mysql(doctor);
	look_at_nginx(doctor);
}
