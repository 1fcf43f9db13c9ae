/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * hongbao-dataplane: owns the state of the node and decides. Runs as its own user without any
 * privilege; needs persist to start, and nothing but the attach socket to serve.
 *
 * Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot go on, 2 for a bad configuration.
 */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/paths.h"
#include "base/realtime.h"
#include "base/sandbox.h"
#include "dataplane/dataplane.h"
#include "dataplane/env.h"
#include "dataplane/key_file.h"
#include "dataplane/privileges.h"

#define EXIT_CONFIGURATION 2

static int
user_id(const char *option, const char *name, uid_t *uid, char error[256])
{
	struct passwd *user = getpwnam(name);

	if (user == NULL) {
		snprintf(error, 256, "there is no user \"%.60s\" (%s)", name, option);
		return -ENOENT;
	}
	*uid = user->pw_uid;
	return 0;
}

static int
prepare(struct hb_config *config, struct hb_dataplane_setup *setup, char error[256])
{
	char path[HB_PATH_MAX];
	int result = user_id("user.front", config->user_front, &setup->front_uid, error);

	if (result == 0)
		result = user_id("user.control", config->user_control, &setup->control_uid, error);
	if (result != 0)
		return result;
	hb_path(path, config->node_directory, HB_PATH_KEY_TOKEN);
	setup->config = config;
	return hb_key_file_read(path, &setup->token_keys, error);
}

/* SIGTERM, SIGINT and SIGHUP are read from a descriptor; threads made later inherit the mask. */
static int
stop_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* A socket, a segment and a bell per client: take what the hard limit gives. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int
main(int argc, char **argv)
{
	static struct hb_config config;
	struct hb_dataplane_setup setup = {.stop_fd = -1};
	char error[HB_DATAPLANE_ERROR_MAX] = "";
	int result;

	hb_config_from_arguments(&config, argc, argv,
		"owns the state of a Hongbao node: decides every frame of its clients");
	hb_log_open("dataplane", (int)config.log_debug);
	if (prepare(&config, &setup, error) != 0) {
		hb_log(HB_LOG_ERROR, "bad_configuration", "error=\"%s\"", error);
		return EXIT_CONFIGURATION;
	}
	setup.stop_fd = stop_signals();
	raise_descriptor_limit();
	if (hb_env_start(&config, error) != 0) {
		hb_log(HB_LOG_ERROR, "environment_failed", "error=\"%s\"", error);
		return EXIT_CONFIGURATION;
	}
	hb_realtime_leave(); /* the workers have what we were started with */
	if (config.dataplane_ports[0] != '\0' &&
		(hb_env_ports_open(&setup.port_count, error) != 0 ||
			hb_privileges_drop(error) != 0)) {
		hb_log(HB_LOG_ERROR, "ports_failed", "error=\"%s\"", error);
		return EXIT_CONFIGURATION;
	}
	if (hb_privileges_none(setup.port_count > 0, error) != 0) {
		hb_log(HB_LOG_ERROR, "privileged", "error=\"%s\"", error);
		return EXIT_CONFIGURATION;
	}
	if (hb_sandbox_enter(setup.port_count > 0 ? HB_SANDBOX_PORTS : HB_SANDBOX_DATAPLANE,
		    config.security_seccomp, error) != 0) {
		hb_log(HB_LOG_ERROR, "no_sandbox", "error=\"%s\"", error);
		return EXIT_CONFIGURATION;
	}
	hb_log(HB_LOG_INFO, "started", "pid=%d version=%s lcores=%ld idle=%s", (int)getpid(),
		HB_VERSION, config.dataplane_lcores, config.dataplane_idle);
	result = hb_dataplane_run(&setup, error);
	explicit_bzero(&setup, sizeof(setup));
	hb_env_stop();
	if (result != 0) {
		hb_log(HB_LOG_ERROR, "ended", "error=\"%s\"", error);
		return 1;
	}
	hb_log(HB_LOG_INFO, "ended", "reason=signal");
	return 0;
}
