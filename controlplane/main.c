/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-control: the control plane of a node.
 *
 * Threads: one that owns the way to the engine, one for jobs, one per HTTP connection; this one
 * waits for SIGTERM, and reads the business keys again on SIGHUP. It starts without dataplane,
 * persist or MySQL and answers what does not need them. Nothing it holds in memory is a promise: if
 * it dies, callers ask again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/paths.h"
#include "base/sandbox.h"
#include "controlplane/alarms.h"
#include "controlplane/control.h"
#include "controlplane/token_push.h"
#include "controlplane/degrade.h"

#define LOCK_PATH	      "socket/control/control.lock"
#define ADMIN_CONNECTIONS_MAX 32
#define HTTP_CONNECTIONS_MAX  256
#define EXIT_CONFIGURATION    2

static struct hb_config config;
static struct hb_control control = {.config = &config};

static int
fail(const char *message)
{
	hb_log(HB_LOG_ERROR, "start_failed", "error=\"%s\"", message);
	fprintf(stderr, "hongbao-control: %s\n", message);
	return EXIT_CONFIGURATION;
}

/* One control per node: the lock ends with the process. */
static int
lock_node(char error[256])
{
	char path[HB_PATH_MAX];
	int fd;

	hb_path(path, config.node_directory, LOCK_PATH);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		snprintf(error, 256, "cannot open %.180s: %s", path, strerror(errno));
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(error, 256, "another hongbao-control runs on this node (%.180s is locked)",
			path);
		return -EBUSY;
	}
	return 0; /* kept open on purpose */
}

/* Ourselves, root and the named user. A user that does not exist yet is nobody. */
static uint32_t
peers_of(const char *user, uid_t peers[HB_HTTP_PEERS_MAX])
{
	const struct passwd *entry = getpwnam(user);
	uint32_t count = 0;

	peers[count++] = 0;
	peers[count++] = getuid();
	if (entry)
		peers[count++] = entry->pw_uid;
	else
		hb_log(HB_LOG_WARN, "user_unknown", "user=%s", user);
	return count;
}

static int
serve(char error[256])
{
	char path[HB_PATH_MAX];
	struct hb_http_options options = {.socket_path = path,
		.socket_mode = 0600,
		.connections_max = ADMIN_CONNECTIONS_MAX,
		.routes = hb_admin_routes,
		.context = &control};
	int result;

	options.peer_count = peers_of(config.user_control, options.peers);
	hb_path(path, config.node_directory, HB_PATH_CONTROL_SOCKET);
	result = hb_http_start(&control.admin_server, &options, error);
	if (result != 0)
		return result;
	options.peer_count = peers_of(config.user_front, options.peers);
	options.socket_mode = 0660;
	options.connections_max = HTTP_CONNECTIONS_MAX;
	options.routes = hb_front_routes;
	hb_path(path, config.node_directory, HB_PATH_CONTROL_HTTP_SOCKET);
	return hb_http_start(&control.http_server, &options, error);
}

static int
load_keys(struct hb_business_keys **keys, char error[256])
{
	char path[HB_PATH_MAX];

	hb_path(path, config.node_directory, HB_PATH_KEY_BUSINESS);
	return hb_business_keys_load(keys, path, error);
}

/* On SIGHUP: what cannot be read changes nothing. */
static void
reload_keys(void)
{
	struct hb_business_keys *keys = NULL;
	char error[256] = "";

	hb_reload_options(&control, NULL, error);

	if (load_keys(&keys, error) != 0) {
		hb_log(HB_LOG_ERROR, "keys_not_reloaded", "error=\"%s\"", error);
		return;
	}
	hb_log(HB_LOG_INFO, "keys_reloaded", "count=%u", keys->count);
	hb_signature_keys_swap(&control.signatures, keys);
	if (hb_alarms_read_keys(control.alarms, error) != 0)
		hb_log(HB_LOG_ERROR, "alarm_keys_not_reloaded", "error=\"%s\"", error);
}

/* Without them everything but the commands of operators works. */
static void
open_cases(void)
{
	char path[HB_PATH_MAX];
	char error[256];

	hb_path(path, config.node_directory, HB_PATH_CASES);
	if (hb_cases_open(&control.cases, path, error) != 0)
		hb_log(HB_LOG_ERROR, "cases_unavailable", "error=\"%s\"", error);
}

/* Nobody's uid when the user does not exist yet: then nobody may come. */
static int
start_token_push(char error[256])
{
	const struct passwd *front = getpwnam(config.user_front);
	char path[HB_PATH_MAX];

	if (!config.notices_tokens)
		return 0;
	hb_path(path, config.node_directory, HB_PATH_TOKENS_SOCKET);
	return hb_token_push_start(&control.token_push, control.engine, path,
		front != NULL ? front->pw_uid : (uid_t)-1, error);
}

static int
start(char error[256])
{
	char path[HB_PATH_MAX];
	int result = lock_node(error);

	if (result == 0)
		result = load_keys(&control.signatures.keys, error);
	if (result != 0)
		return result;
	snprintf(error, 256, "no memory or no threads");
	control.started_ns = hb_wall_ns();
	control.signatures.started_s = control.started_ns / 1000000000;
	hb_path(control.persist.socket_path, config.node_directory, HB_PATH_PERSIST_ADMIN_SOCKET);
	hb_path(path, config.node_directory, HB_PATH_DATAPLANE_SOCKET);
	result = hb_nonce_cache_create(
		&control.signatures.nonces, HB_NONCES_MAX, 2 * HB_SIGNATURE_WINDOW_S);
	if (result == 0)
		result = hb_reads_create(&control.reads, &config);
	if (result == 0)
		result = hb_jobs_create(&control.jobs);
	if (result == 0)
		result = hb_degrade_create(&control.degrade, &control);
	if (result == 0)
		result = hb_engine_start(&control.engine, path);
	if (result != 0)
		return result;
	open_cases();
	hb_jobs_register_all(&control);
	result = hb_jobs_start(control.jobs);
	if (result == 0)
		result = hb_alarms_start(&control.alarms, &control, error);
	if (result == 0)
		result = start_token_push(error);
	return result != 0 ? result : serve(error);
}

/* In the reverse order; each part waits for the calls that are in it. */
static void
stop(void)
{
	hb_http_stop(control.http_server);
	hb_http_stop(control.admin_server);
	hb_token_push_stop(control.token_push);
	hb_alarms_stop(control.alarms);
	hb_jobs_stop(control.jobs);
	hb_engine_stop(control.engine);
	hb_cases_close(control.cases);
	hb_degrade_destroy(control.degrade);
	hb_reads_destroy(control.reads);
	hb_nonce_cache_destroy(control.signatures.nonces);
	hb_signature_keys_swap(&control.signatures, NULL);
}

int
main(int argc, char **argv)
{
	char error[256] = "";
	sigset_t signals;
	int number;
	int exit_code = 0;

	hb_config_from_arguments(&config, argc, argv, "The control plane of a Hongbao node.");
	hb_log_open("control", (int)config.log_debug);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread, so that all inherit it */
	if (hb_sandbox_enter(HB_SANDBOX_CONTROL, config.security_seccomp, error) != 0 ||
		start(error) != 0) {
		exit_code = fail(error);
	} else {
		hb_log(HB_LOG_INFO, "ready", "version=%s node=%d", HB_VERSION,
			(int)config.node_number);
		hb_notify_ready();
		while (sigwait(&signals, &number) == 0 && number == SIGHUP)
			reload_keys();
		hb_notify_stopping();
		hb_log(HB_LOG_INFO, "stopping", "signal=%d", number);
	}
	stop();
	return exit_code;
}
