/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl: parse, load the configuration, run one verb, let go of everything.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <sodium.h>

#include "base/log.h"
#include "tools/hbctl/hbctl.h"

static void
show_help(struct hbctl *hbctl)
{
	if (hbctl->command != NULL)
		hbctl_help_command(hbctl->command, hbctl->out);
	else
		hbctl_help_all(hbctl->out);
}

/* @return -1 when a verb is to be run, else the exit code */
static int
prepare(struct hbctl *hbctl, int argc, char **argv)
{
	char error[HBCTL_ERROR_BYTES] = "";

	if (argc == 1) {
		hbctl_help_all(hbctl->err);
		return HBCTL_USAGE;
	}
	if (hbctl_parse(hbctl, argc, argv, error) != HBCTL_OK)
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s", error);
	if (hbctl->help) {
		show_help(hbctl);
		return HBCTL_OK;
	}
	if (hbctl->version) {
		fprintf(hbctl->out, "hbctl %s\n", HB_VERSION);
		return HBCTL_OK;
	}
	if (hbctl_load_config(hbctl, error) != HBCTL_OK)
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s", error);
	return -1;
}

int
main(int argc, char **argv)
{
	struct hbctl hbctl = {.out = stdout, .err = stderr, .persist_fd = -1};
	int result;

	signal(SIGPIPE, SIG_IGN);
	hb_log_open("hbctl", 0);
	if (argc > 1 && strcmp(argv[1], "--complete") == 0) { /* completion.bash */
		hbctl_complete(argc - 2, argv + 2, stdout);
		return HBCTL_OK;
	}
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		fprintf(stderr, "hbctl: libsodium or libcurl could not start\n");
		return HBCTL_USAGE;
	}
	result = prepare(&hbctl, argc, argv);
	if (result < 0)
		result = hbctl.command->run(&hbctl);
	hbctl_engine_close(&hbctl);
	hbctl_persist_close(&hbctl);
	curl_global_cleanup();
	if (fflush(stdout) != 0 && errno != EPIPE && result == HBCTL_OK)
		result = HBCTL_WRONG;
	return result;
}
