/* SPDX-License-Identifier: Apache-2.0 */
/* A plain HTTP client (http_call.h): blocking, one connection per call. */
#include "tests/control/http_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"

#define ANSWER_BYTES_MAX (4u << 20)

static int
connect_http(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	HB_ASSERT(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	HB_ASSERT(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void
send_bytes(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* refused early: the answer says why */
		bytes += sent;
		length -= (size_t)sent;
	}
}

int
http_exchange(const char *socket_path, const char *head, const char *body, size_t body_bytes,
	struct http_answer *answer)
{
	int fd = connect_http(socket_path);
	size_t used = 0;
	ssize_t got;
	int http = 0;
	const char *end;

	http_answer_free(answer);
	answer->text = malloc(ANSWER_BYTES_MAX);
	HB_ASSERT(answer->text);
	send_bytes(fd, head, strlen(head));
	send_bytes(fd, body, body_bytes);
	while ((got = recv(fd, answer->text + used, ANSWER_BYTES_MAX - 1 - used, 0)) > 0)
		used += (size_t)got;
	close(fd);
	answer->text[used] = '\0';
	HB_ASSERT(sscanf(answer->text, "HTTP/1.1 %d", &http) == 1);
	end = strstr(answer->text, "\r\n\r\n");
	HB_ASSERT(end);
	answer->json = json_loads(end + 4, JSON_REJECT_DUPLICATES, NULL);
	HB_ASSERT(answer->json);
	return http;
}

void
http_answer_free(struct http_answer *answer)
{
	json_decref(answer->json);
	free(answer->text);
	memset(answer, 0, sizeof(*answer));
}

const char *
http_text(const json_t *json, const char *name)
{
	const char *value = json_string_value(json_object_get(json, name));

	return value ? value : "";
}

json_int_t
http_number(const json_t *json, const char *name)
{
	return json_integer_value(json_object_get(json, name));
}
