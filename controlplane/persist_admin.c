/* SPDX-License-Identifier: Apache-2.0 */
/* Asks persist's admin socket (persist_admin.h). The buffer lives as long as one question. */
#include "controlplane/persist_admin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/json_fields.h"

static int
connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = HB_PERSIST_ADMIN_TIMEOUT_MS / 1000};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int result = -errno;

		close(fd);
		return result;
	}
	return fd;
}

/* Read up to the newline. @return bytes before it, or -errno */
static ssize_t
read_line(int fd, char *line, size_t room)
{
	uint64_t until_ns = hb_mono_ns() + HB_PERSIST_ADMIN_TIMEOUT_MS * UINT64_C(1000000);
	size_t used = 0;

	while (used < room) {
		uint64_t now_ns = hb_mono_ns();
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		const char *end;
		ssize_t got;

		if (now_ns >= until_ns ||
			poll(&pollfd, 1, (int)((until_ns - now_ns) / 1000000) + 1) <= 0)
			return -ETIMEDOUT;
		got = recv(fd, line + used, room - used, 0);
		if (got <= 0)
			return got == 0 ? -EPIPE : -errno;
		end = memchr(line + used, '\n', (size_t)got);
		if (end)
			return end - line;
		used += (size_t)got;
	}
	return -EMSGSIZE;
}

static int
exchange(const struct hb_persist_admin *persist, const char *command, char *line, ssize_t *length)
{
	char question[64];
	int bytes = snprintf(question, sizeof(question), "{\"cmd\":\"%s\"}\n", command);
	int fd = connect_to(persist->socket_path);

	if (fd < 0)
		return fd;
	if (send(fd, question, (size_t)bytes, MSG_NOSIGNAL) != bytes)
		*length = -EPIPE;
	else
		*length = read_line(fd, line, HB_PERSIST_ADMIN_LINE_MAX);
	close(fd);
	return *length < 0 ? (int)*length : 0;
}

int
hb_persist_admin_ask(const struct hb_persist_admin *persist, const char *command, json_t **answer,
	char error[256])
{
	char *line = malloc(HB_PERSIST_ADMIN_LINE_MAX);
	ssize_t length = 0;
	json_t *object = NULL;
	int result = -ENOMEM;

	snprintf(error, 256, "no memory");
	if (!line)
		goto out;
	result = exchange(persist, command, line, &length);
	if (result != 0) {
		snprintf(error, 256, "persist does not answer: %s", strerror(-result));
		goto out;
	}
	object = json_loadb(line, (size_t)length, 0, NULL);
	if (!json_is_object(object)) {
		result = -EPROTO;
		snprintf(error, 256, "persist answered something that is not a JSON object");
		goto out;
	}
	if (!json_is_true(json_object_get(object, "ok"))) {
		const char *why = json_string_value(json_object_get(object, "error"));

		result = -EIO;
		snprintf(error, 256, "persist: %s", why ? why : "refused without a reason");
		hb_text_plain(error);
		goto out;
	}
	*answer = object;
	object = NULL;
	error[0] = '\0';
out:
	json_decref(object);
	free(line);
	return result;
}
