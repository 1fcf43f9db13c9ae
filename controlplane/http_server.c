/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server (http_server.h) over libmicrohttpd. Per request one struct exchange, made when
 * its line was read and freed when libmicrohttpd says it is over, whatever the reason. If the
 * process dies, connections break and nothing else is lost: handlers keep nothing in memory that
 * was promised to anybody.
 */
#include "controlplane/http_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "controlplane/json_fields.h"

#define BACKLOG		   128
#define THREAD_STACK_BYTES (256u << 10)
#define QUERY_ALPHABET	   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

struct hb_http_server {
	struct MHD_Daemon *daemon;
	struct hb_http_options options;
	char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	_Atomic uint64_t requests;
	_Atomic uint64_t replies[6];
	_Atomic uint64_t refused_peers;
};

struct exchange {
	char uri[HB_HTTP_URI_LENGTH_MAX + 1];
	bool uri_too_long;
	bool begun;
	bool body_too_long;
	char *body;
	size_t body_bytes;
	size_t body_room;
};

/* ---- replies ---- */

void
hb_http_json(struct hb_http_reply *reply, int http, json_t *json)
{
	HB_ASSERT(json);
	json_decref(reply->json);
	reply->http = http;
	reply->json = json;
}

void
hb_http_text(struct hb_http_reply *reply, const char *content_type, char *text, size_t text_bytes)
{
	reply->http = 200;
	reply->text = text;
	reply->text_bytes = text_bytes;
	reply->content_type = content_type;
}

void
hb_http_error(struct hb_http_reply *reply, int http, const char *code, const char *format, ...)
{
	char message[320];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	hb_text_plain(message); /* may quote what the client sent, and be cut */
	hb_http_json(reply, http, json_pack("{s:s,s:s}", "status", code, "message", message));
}

const char *
hb_http_header(const struct hb_http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* One `name=value` of a query into its place. @return NULL or what is wrong */
static const char *
query_pair(const char *pair, size_t length, const char *const *names,
	char values[][HB_HTTP_QUERY_VALUE_MAX + 1])
{
	const char *equals = memchr(pair, '=', length);
	size_t name_length = equals ? (size_t)(equals - pair) : length;
	size_t value_length = equals ? length - name_length - 1 : 0;

	if (value_length == 0 || value_length > HB_HTTP_QUERY_VALUE_MAX)
		return "needs a value of 1..64 characters";
	for (int i = 0; names[i]; i++) {
		if (strlen(names[i]) != name_length || memcmp(names[i], pair, name_length) != 0)
			continue;
		if (values[i][0] != '\0')
			return "comes twice";
		memcpy(values[i], equals + 1, value_length);
		values[i][value_length] = '\0';
		if (strspn(values[i], QUERY_ALPHABET) != value_length)
			return "has characters other than letters, digits, -, _ and .";
		return NULL;
	}
	return "is not a parameter of this request";
}

bool
hb_http_query(const struct hb_http_request *request, struct hb_http_reply *reply,
	const char *const *names, char values[][HB_HTTP_QUERY_VALUE_MAX + 1])
{
	for (int i = 0; names[i]; i++)
		values[i][0] = '\0';
	for (const char *at = request->query; *at;) {
		size_t length = strcspn(at, "&");
		const char *wrong = query_pair(at, length, names, values);

		if (wrong) {
			hb_http_error(reply, 400, "bad_request", "query parameter %.*s %s",
				(int)strcspn(at, "=&"), at, wrong);
			return false;
		}
		at += length;
		at += *at == '&';
	}
	return true;
}

/* ---- routes ---- */

static bool
pattern_matches(const char *pattern, const char *path, size_t path_length,
	char parameter[HB_HTTP_PARAMETERS_MAX][HB_HTTP_PARAMETER_LENGTH_MAX + 1])
{
	const char *end = path + path_length;
	uint32_t count = 0;

	while (*pattern && path < end) {
		if (pattern[0] == '{' && pattern[1] == '}') {
			const char *slash = memchr(path, '/', (size_t)(end - path));
			size_t length = (size_t)((slash ? slash : end) - path);

			if (length == 0 || length > HB_HTTP_PARAMETER_LENGTH_MAX)
				return false;
			HB_ASSERT(count < HB_HTTP_PARAMETERS_MAX);
			memcpy(parameter[count], path, length);
			parameter[count++][length] = '\0';
			pattern += 2;
			path += length;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *pattern == '\0' && path == end;
}

enum hb_http_match
hb_http_route_find(const struct hb_http_route *routes, const char *method, const char *path,
	size_t path_length, const struct hb_http_route **route,
	char parameter[HB_HTTP_PARAMETERS_MAX][HB_HTTP_PARAMETER_LENGTH_MAX + 1])
{
	enum hb_http_match match = HB_HTTP_NO_PATH;

	for (const struct hb_http_route *r = routes; r->method; r++) {
		if (!pattern_matches(r->pattern, path, path_length, parameter))
			continue;
		if (strcmp(r->method, method) == 0) {
			*route = r;
			return HB_HTTP_FOUND;
		}
		match = HB_HTTP_NO_METHOD;
	}
	return match;
}

/* ---- one request ---- */

static bool
peer_allowed(const struct hb_http_server *server, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return false;
	for (uint32_t i = 0; i < server->options.peer_count; i++) {
		if (server->options.peers[i] == peer.uid)
			return true;
	}
	return false;
}

static void
dispatch(struct hb_http_server *server, struct MHD_Connection *connection,
	const struct exchange *exchange, const char *method, struct hb_http_reply *reply)
{
	struct hb_http_request request = {.method = method,
		.uri = exchange->uri,
		.body = exchange->body ? exchange->body : "",
		.body_bytes = exchange->body_bytes,
		.context = server->options.context,
		.connection = connection};
	size_t path_length = strcspn(exchange->uri, "?");
	const struct hb_http_route *route = NULL;

	request.query = exchange->uri + path_length;
	request.query += *request.query == '?';
	switch (hb_http_route_find(server->options.routes, method, exchange->uri, path_length,
		&route, request.parameter)) {
	case HB_HTTP_FOUND:
		route->handler(&request, reply);
		HB_ASSERT(reply->http >= 200 && reply->http <= 599);
		break;
	case HB_HTTP_NO_METHOD:
		hb_http_error(reply, 405, "method_not_allowed", "%s is not a method of this path",
			method);
		break;
	case HB_HTTP_NO_PATH:
		hb_http_error(reply, 404, "not_found", "there is no such path");
		break;
	}
}

/* What can be refused before the body is read. @return true when the reply is made */
static bool
refuse_early(struct hb_http_server *server, struct MHD_Connection *connection,
	const struct exchange *exchange, struct hb_http_reply *reply)
{
	if (!peer_allowed(server, connection)) {
		atomic_fetch_add_explicit(&server->refused_peers, 1, memory_order_relaxed);
		hb_http_error(reply, 403, "not_allowed", "this user may not use this socket");
		return true;
	}
	if (exchange->uri_too_long) {
		hb_http_error(reply, 400, "bad_request",
			"path and query have at most %d characters", HB_HTTP_URI_LENGTH_MAX);
		return true;
	}
	return false;
}

static enum MHD_Result
send_reply(struct hb_http_server *server, struct MHD_Connection *connection,
	struct hb_http_reply *reply)
{
	const char *type = reply->json ? "application/json" : reply->content_type;
	char *text = reply->json ? json_dumps(reply->json, JSON_COMPACT) : reply->text;
	size_t bytes = reply->json ? (text ? strlen(text) : 0) : reply->text_bytes;
	struct MHD_Response *response;
	enum MHD_Result result;

	json_decref(reply->json);
	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (reply->http == 503)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER,
			reply->retry_after ? reply->retry_after : "1");
	result = MHD_queue_response(connection, (unsigned)reply->http, response);
	MHD_destroy_response(response);
	atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&server->replies[reply->http / 100], 1, memory_order_relaxed);
	return result;
}

static void
take_body(struct exchange *exchange, const char *data, size_t bytes)
{
	if (exchange->body_too_long || bytes > HB_HTTP_BODY_BYTES_MAX - exchange->body_bytes) {
		exchange->body_too_long = true;
		return;
	}
	if (exchange->body_bytes + bytes > exchange->body_room) {
		size_t room = (exchange->body_bytes + bytes) * 2;
		char *body = realloc(exchange->body, room);

		if (!body) {
			exchange->body_too_long = true;
			return;
		}
		exchange->body = body;
		exchange->body_room = room;
	}
	memcpy(exchange->body + exchange->body_bytes, data, bytes);
	exchange->body_bytes += bytes;
}

static enum MHD_Result
on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *data, size_t *data_bytes, void **state)
{
	struct hb_http_server *server = context;
	struct exchange *exchange = *state;
	struct hb_http_reply reply = {0};

	(void)url;
	(void)version;
	if (!exchange)
		return MHD_NO;
	if (!exchange->begun) {
		exchange->begun = true;
		if (refuse_early(server, connection, exchange, &reply))
			return send_reply(server, connection, &reply);
		return MHD_YES;
	}
	if (*data_bytes) {
		take_body(exchange, data, *data_bytes);
		*data_bytes = 0;
		return MHD_YES;
	}
	if (exchange->body_too_long)
		hb_http_error(&reply, 413, "too_large", "a body has at most %u bytes",
			HB_HTTP_BODY_BYTES_MAX);
	else
		dispatch(server, connection, exchange, method, &reply);
	return send_reply(server, connection, &reply);
}

static void *
on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	size_t length = strlen(uri);

	(void)context;
	(void)connection;
	if (!exchange)
		return NULL;
	if (length > HB_HTTP_URI_LENGTH_MAX)
		exchange->uri_too_long = true;
	else
		memcpy(exchange->uri, uri, length + 1);
	return exchange;
}

static void
on_completed(void *context, struct MHD_Connection *connection, void **state,
	enum MHD_RequestTerminationCode how)
{
	struct exchange *exchange = *state;

	(void)context;
	(void)connection;
	(void)how;
	if (exchange)
		free(exchange->body);
	free(exchange);
	*state = NULL;
}

static void
on_library_log(void *context, const char *format, va_list arguments)
{
	char text[200];

	(void)context;
	vsnprintf(text, sizeof(text), format, arguments);
	hb_log(HB_LOG_DEBUG, "http_library", "message=\"%s\"", text);
}

/* ---- life ---- */

static int
listen_on(const struct hb_http_options *options, char error[256])
{
	int fd = hb_unix_listen(options->socket_path, SOCK_STREAM, options->socket_mode, BACKLOG);

	if (fd == -ENAMETOOLONG)
		snprintf(error, 256, "socket path %s is too long", options->socket_path);
	else if (fd < 0)
		snprintf(
			error, 256, "cannot listen on %s: %s", options->socket_path, strerror(-fd));
	return fd;
}

int
hb_http_start(struct hb_http_server **out, const struct hb_http_options *options, char error[256])
{
	struct hb_http_server *server = calloc(1, sizeof(*server));
	int fd;

	if (!server)
		return -ENOMEM;
	HB_ASSERT(options->peer_count <= HB_HTTP_PEERS_MAX);
	server->options = *options;
	fd = listen_on(options, error);
	if (fd < 0) {
		free(server);
		return fd;
	}
	memcpy(server->socket_path, options->socket_path, strlen(options->socket_path) + 1);
	server->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION |
						  MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
						  MHD_USE_ITC | MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)options->connections_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)HB_HTTP_HEADER_BYTES_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)HB_HTTP_IDLE_S, MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	if (!server->daemon) {
		snprintf(error, 256, "the HTTP library cannot serve %s", options->socket_path);
		close(fd);
		free(server);
		return -EIO;
	}
	*out = server;
	return 0;
}

void
hb_http_stop(struct hb_http_server *server)
{
	if (!server)
		return;
	MHD_stop_daemon(server->daemon);
	unlink(server->socket_path);
	free(server);
}

void
hb_http_counts_read(struct hb_http_server *server, struct hb_http_counts *counts)
{
	counts->requests = atomic_load_explicit(&server->requests, memory_order_relaxed);
	for (int i = 0; i < 6; i++)
		counts->replies[i] =
			atomic_load_explicit(&server->replies[i], memory_order_relaxed);
	counts->refused_peers = atomic_load_explicit(&server->refused_peers, memory_order_relaxed);
}
