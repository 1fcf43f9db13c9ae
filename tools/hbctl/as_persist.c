/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming the persist user: the journal directory and the ledger in MySQL are its own, so what
 * looks at them from hbctl runs in a child that gave up root for good. The child hands its answer
 * over a pipe as JSON. Should an assertion end it, the parent lives on and says so.
 */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/hbctl/hbctl.h"

#define ANSWER_BYTES_MAX (64 << 20)
#define POLL_MS		 200

int
hbctl_become_persist(const struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	const char *name = hbctl->config.user_persist;
	const struct passwd *user = getpwnam(name);

	if (user == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "there is no user %s (user.persist)", name);
		return -ENOENT;
	}
	if (geteuid() == user->pw_uid)
		return 0;
	if (geteuid() != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "run hbctl as root or as %s", name);
		return -EPERM;
	}
	if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
		setuid(user->pw_uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "cannot become %s: %s", name, strerror(errno));
		return -errno;
	}
	return 0;
}

static void
child_main(struct hbctl *hbctl, int pipe_fd, hbctl_child_fn *work, const void *context)
{
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *answer = NULL;
	int result;

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (hbctl_become_persist(hbctl, error) == 0)
		answer = work(hbctl, context, error);
	if (answer == NULL)
		answer = json_pack("{s:b, s:o}", "ok", 0, "error", hbctl_json_string(error));
	result = json_dumpfd(answer, pipe_fd, JSON_COMPACT);
	_exit(result == 0 ? 0 : 1);
}

/* All that the child writes until it closes the pipe, or until `stop` says so. */
static char *
read_all(int fd, const volatile sig_atomic_t *stop)
{
	char *text = malloc(1);
	size_t length = 0;

	while (text != NULL && length < ANSWER_BYTES_MAX && (stop == NULL || !*stop)) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		char piece[65536];
		char *grown;
		ssize_t n;

		if (poll(&readable, 1, POLL_MS) <= 0)
			continue;
		n = read(fd, piece, sizeof(piece));
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		if (n < 0)
			continue;
		grown = realloc(text, length + (size_t)n + 1);
		if (grown == NULL)
			break;
		text = grown;
		memcpy(text + length, piece, (size_t)n);
		length += (size_t)n;
	}
	if (text != NULL)
		text[length] = '\0';
	return text;
}

/* @return the child's answer, or NULL with `error` */
static json_t *
take_answer(const char *text, int status, char error[HBCTL_ERROR_BYTES])
{
	json_t *answer;

	if (text == NULL || text[0] == '\0') {
		snprintf(error, HBCTL_ERROR_BYTES, "it ended with %s %d; what it said is above",
			WIFSIGNALED(status) ? "signal" : "exit code",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		return NULL;
	}
	answer = json_loads(text, 0, NULL);
	if (answer == NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "its answer is not JSON");
	return answer;
}

json_t *
hbctl_in_child(struct hbctl *hbctl, hbctl_child_fn *work, const void *context,
	const volatile sig_atomic_t *stop, char error[HBCTL_ERROR_BYTES])
{
	int pipe_fds[2];
	json_t *answer = NULL;
	char *text;
	pid_t child;
	int status = 0;

	fflush(hbctl->out);
	if (pipe(pipe_fds) != 0 || (child = fork()) < 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "cannot start a child: %s", strerror(errno));
		return NULL;
	}
	if (child == 0) {
		close(pipe_fds[0]);
		child_main(hbctl, pipe_fds[1], work, context);
	}
	close(pipe_fds[1]);
	text = read_all(pipe_fds[0], stop);
	close(pipe_fds[0]);
	if (stop != NULL && *stop)
		kill(child, SIGTERM);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	if (stop != NULL && *stop)
		snprintf(error, HBCTL_ERROR_BYTES, "interrupted");
	else
		answer = take_answer(text, status, error);
	free(text);
	return answer;
}
