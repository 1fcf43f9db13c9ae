/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP by libcurl: control's admin API over its Unix socket, and the front's /health. One handle
 * per request; answers are bounded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/unix_socket.h"
#include "tools/hbctl/hbctl.h"

#define ANSWER_BYTES_MAX   (8 << 20)
#define CONNECT_TIMEOUT_MS 1000
#define HEALTH_TIMEOUT_MS  2000
#define CONTROL_TIMEOUT_MS 65000
#define KEY_LINE_BYTES	   128

struct body {
	char *text;
	size_t bytes;
};

static size_t
take_body(char *bytes, size_t size, size_t count, void *context)
{
	struct body *body = context;
	size_t more = size * count;
	char *grown;

	if (more > ANSWER_BYTES_MAX - body->bytes)
		return 0;
	grown = realloc(body->text, body->bytes + more + 1);
	if (grown == NULL)
		return 0;
	memcpy(grown + body->bytes, bytes, more);
	body->text = grown;
	body->bytes += more;
	return more;
}

/* @return HTTP status, or -1 with `error` */
static int
request(CURL *curl, const char *url, const char *unix_socket, const char *method, const char *text,
	const char *key, struct body *body, long timeout_ms, char error[HBCTL_ERROR_BYTES])
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char key_line[KEY_LINE_BYTES];
	long status = -1;
	CURLcode code;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	if (key != NULL) {
		snprintf(key_line, sizeof(key_line), "Idempotency-Key: %s", key);
		headers = curl_slist_append(headers, key_line);
	}
	if (unix_socket != NULL)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, unix_socket);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	if (strcmp(method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text == NULL ? "" : text);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	}
	code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	else
		snprintf(error, HBCTL_ERROR_BYTES, "%s: %s",
			unix_socket == NULL ? url : unix_socket, curl_easy_strerror(code));
	curl_slist_free_all(headers);
	return (int)status;
}

static json_t *
control_request(struct hbctl *hbctl, const char *method, const char *path, const char *text,
	const char *key, int *status, char error[HBCTL_ERROR_BYTES])
{
	char unix_socket[HB_PATH_MAX];
	char url[HB_PATH_MAX];
	struct body body = {NULL, 0};
	CURL *curl = curl_easy_init();
	json_t *answer = NULL;
	json_error_t why;
	int pid, probed;

	if (curl == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "libcurl could not start");
		return NULL;
	}
	hb_path(unix_socket, hbctl->config.node_directory, HB_PATH_CONTROL_SOCKET);
	snprintf(url, sizeof(url), "http://control%s", path);
	probed = hbctl_probe_unix(unix_socket, &pid);
	if (probed != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "no control at %s: %s%s", unix_socket,
			strerror(-probed),
			probed == -EACCES ? "; run hbctl as root" : "; is it running?");
		goto out;
	}
	*status = request(
		curl, url, unix_socket, method, text, key, &body, CONTROL_TIMEOUT_MS, error);
	if (*status < 0)
		goto out;
	if (body.bytes == 0) {
		answer = json_null();
		goto out;
	}
	answer = json_loadb(body.text, body.bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (answer == NULL)
		snprintf(error, HBCTL_ERROR_BYTES,
			"control's answer to %s (HTTP %d) is not JSON: %s", path, *status,
			why.text);
out:
	curl_easy_cleanup(curl);
	free(body.text);
	return answer;
}

json_t *
hbctl_control_call(struct hbctl *hbctl, const char *method, const char *path, const char *text,
	int *status, char error[HBCTL_ERROR_BYTES])
{
	return control_request(hbctl, method, path, text, NULL, status, error);
}

json_t *
hbctl_control_post(struct hbctl *hbctl, const char *path, const char *text, const char *key,
	int *status, char error[HBCTL_ERROR_BYTES])
{
	return control_request(hbctl, "POST", path, text, key, status, error);
}

int
hbctl_control_refused(struct hbctl *hbctl, json_t *answer, int status)
{
	const char *message = hbctl_json_text(answer, "message");
	const char *name = hbctl_json_text(answer, "status");
	int64_t number = hbctl_json_i64(json_object_get(answer, "case"), "number");
	char text[HBCTL_ERROR_BYTES];

	snprintf(text, sizeof(text), "%s%s%s (HTTP %d)", name, message[0] == '\0' ? "" : ": ",
		message, status);
	if (number != 0)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "; case %" PRId64,
			number);
	fprintf(hbctl->err, "hbctl: control: %s\n", text);
	if (hbctl->json)
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:i, s:s, s:o, s:I}", "ok", 0, "exit", HBCTL_WRONG,
				       "status", name, "error", hbctl_json_string(text), "case",
				       (json_int_t)number));
	json_decref(answer);
	return HBCTL_WRONG;
}

int
hbctl_front_health(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	char url[HB_CONFIG_TEXT_MAX + 32];
	struct body body = {NULL, 0};
	CURL *curl = curl_easy_init();
	bool tls = hbctl->config.front_tls_certificate[0] != '\0';
	int status;

	if (curl == NULL)
		return -ENOMEM;
	snprintf(
		url, sizeof(url), "http%s://%s/health", tls ? "s" : "", hbctl->config.front_listen);
	/* Whether it lives, not who it is: the certificate is of the name that clients use. */
	if (tls) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	status = request(curl, url, NULL, "GET", NULL, NULL, &body, HEALTH_TIMEOUT_MS, error);
	curl_easy_cleanup(curl);
	if (status >= 0 && status != 200)
		snprintf(error, HBCTL_ERROR_BYTES, "%s answers HTTP %d: %.*s", url, status,
			(int)strcspn(body.text == NULL ? "" : body.text, "\r\n"),
			body.text == NULL ? "" : body.text);
	free(body.text);
	if (status < 0)
		return -EIO;
	return status == 200 ? 0 : -EAGAIN;
}

int
hbctl_probe_unix(const char *path, int *pid)
{
	struct ucred peer = {.pid = 0};
	socklen_t length = sizeof(peer);
	int fd = hb_unix_connect(path, SOCK_STREAM);

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		*pid = (int)peer.pid;
	close(fd);
	return 0;
}
