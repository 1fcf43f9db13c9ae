/* SPDX-License-Identifier: Apache-2.0 */
/*
 * persist's admin socket: one JSON object a line each way. The connection stays open until hbctl
 * ends; persist may hang up at any time (it died), which the next call reports.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/unix_socket.h"
#include "tools/hbctl/hbctl.h"

#define LINE_BYTES_MAX (1 << 20)
#define READ_BYTES     65536

int
hbctl_persist_open(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX];
	int fd;

	if (hbctl->persist_fd >= 0)
		return 0;
	hb_path(path, hbctl->config.node_directory, HB_PATH_PERSIST_ADMIN_SOCKET);
	fd = hb_unix_connect(path, SOCK_STREAM);
	if (fd == -ENAMETOOLONG)
		snprintf(error, HBCTL_ERROR_BYTES, "the socket path %s is too long", path);
	else if (fd < 0)
		snprintf(error, HBCTL_ERROR_BYTES, "no persist at %s: %s%s", path, strerror(-fd),
			fd == -EACCES ? "; run hbctl as root" : "; is it running?");
	if (fd < 0)
		return fd;
	hbctl->persist_fd = fd;
	return 0;
}

void
hbctl_persist_close(struct hbctl *hbctl)
{
	if (hbctl->persist_fd >= 0)
		close(hbctl->persist_fd);
	hbctl->persist_fd = -1;
	free(hbctl->persist_unread);
	hbctl->persist_unread = NULL;
	hbctl->persist_unread_bytes = 0;
}

static int
send_line(int fd, const char *line)
{
	size_t length = strlen(line);
	char *text = malloc(length + 1);
	ssize_t sent;
	int result;

	if (text == NULL)
		return -ENOMEM;
	memcpy(text, line, length);
	text[length] = '\n';
	sent = send(fd, text, length + 1, MSG_NOSIGNAL); /* short line: all of it or nothing */
	result = sent == (ssize_t)length + 1 ? 0 : (sent < 0 ? -errno : -EIO);
	free(text);
	return result;
}

/* @return 0 when something is readable, -ETIMEDOUT, or -EINTR when a signal came */
static int
wait_readable(int fd, uint64_t deadline_ns)
{
	uint64_t now_ns = hb_mono_ns();
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	int ready;

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	ready = poll(&readable, 1, (int)((deadline_ns - now_ns) / 1000000 + 1));
	if (ready < 0)
		return -errno;
	return ready == 0 ? -ETIMEDOUT : 0;
}

static int
read_more(struct hbctl *hbctl)
{
	char *grown;
	ssize_t got;

	if (hbctl->persist_unread_bytes > LINE_BYTES_MAX)
		return -EMSGSIZE;
	grown = realloc(hbctl->persist_unread, hbctl->persist_unread_bytes + READ_BYTES);
	if (grown == NULL)
		return -ENOMEM;
	hbctl->persist_unread = grown;
	got = read(hbctl->persist_fd, grown + hbctl->persist_unread_bytes, READ_BYTES);
	if (got <= 0)
		return got == 0 ? -EPIPE : -errno;
	hbctl->persist_unread_bytes += (size_t)got;
	return 0;
}

/* Cut the first line off what was read. @return the answer, or NULL when it is not JSON */
static json_t *
take_line(struct hbctl *hbctl, size_t length, char error[HBCTL_ERROR_BYTES])
{
	json_error_t why;
	json_t *answer = json_loadb(hbctl->persist_unread, length, JSON_REJECT_DUPLICATES, &why);

	hbctl->persist_unread_bytes -= length + 1;
	memmove(hbctl->persist_unread, hbctl->persist_unread + length + 1,
		hbctl->persist_unread_bytes);
	if (answer == NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "persist's answer is not JSON: %s", why.text);
	return answer;
}

json_t *
hbctl_persist_call(
	struct hbctl *hbctl, const char *command, int timeout_ms, char error[HBCTL_ERROR_BYTES])
{
	uint64_t deadline_ns = hb_mono_ns() + (uint64_t)timeout_ms * 1000000;
	int result = hbctl_persist_open(hbctl, error);
	const char *end = NULL;

	if (result != 0)
		return NULL;
	result = send_line(hbctl->persist_fd, command);
	while (result == 0) {
		if (hbctl->persist_unread_bytes > 0)
			end = memchr(hbctl->persist_unread, '\n', hbctl->persist_unread_bytes);
		if (end != NULL)
			return take_line(hbctl, (size_t)(end - hbctl->persist_unread), error);
		result = wait_readable(hbctl->persist_fd, deadline_ns);
		if (result == 0)
			result = read_more(hbctl);
	}
	if (result == -EPIPE || result == -ECONNRESET)
		snprintf(error, HBCTL_ERROR_BYTES, "persist hung up");
	else if (result == -ETIMEDOUT)
		snprintf(error, HBCTL_ERROR_BYTES, "persist did not answer within %d ms",
			timeout_ms);
	else
		snprintf(error, HBCTL_ERROR_BYTES, "persist: %s", strerror(-result));
	hbctl_persist_close(hbctl);
	return NULL;
}
