/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * HTTP on a Unix socket: a table of routes, strict limits, errors as JSON with stable codes.
 *
 * libmicrohttpd parses; each connection has a thread, so a handler may block for as long as its
 * own time-outs allow. Only the peers named at start are answered (SO_PEERCRED). The path is
 * compared as it was sent: our paths need no percent escapes, so a path with one is not found.
 *
 * A handler gets a complete request and fills in one reply; both belong to the server.
 * Every error reply is {"status":CODE,"message":TEXT}.
 */
#ifndef HB_CONTROLPLANE_HTTP_SERVER_H
#define HB_CONTROLPLANE_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#define HB_HTTP_BODY_BYTES_MAX	     (1u << 20)
#define HB_HTTP_HEADER_BYTES_MAX     32768 /* request line and headers of one request */
#define HB_HTTP_URI_LENGTH_MAX	     1024
#define HB_HTTP_PARAMETERS_MAX	     2
#define HB_HTTP_PARAMETER_LENGTH_MAX 64
#define HB_HTTP_QUERY_VALUE_MAX	     64
#define HB_HTTP_PEERS_MAX	     4
#define HB_HTTP_IDLE_S		     75 /* above the front's own 60 s, so that it closes first */

struct hb_http_request {
	const char *method;
	const char *uri;   /* PATH?QUERY as it was sent */
	const char *query; /* what is behind the `?`, or "" */
	char parameter[HB_HTTP_PARAMETERS_MAX][HB_HTTP_PARAMETER_LENGTH_MAX + 1];
	const char *body; /* not NUL terminated */
	size_t body_bytes;
	void *context;	  /* the server's */
	void *connection; /* libmicrohttpd's */
};

struct hb_http_reply {
	int http;
	json_t *json; /* owned; or */
	char *text;   /* owned, malloc */
	size_t text_bytes;
	const char *content_type; /* of text; constant */
	const char *retry_after;  /* seconds, of a 503; constant; NULL: 1 */
};

typedef void hb_http_handler(const struct hb_http_request *request, struct hb_http_reply *reply);

/** `pattern` is a path whose segments may be `{}`: request->parameter[0], [1]. */
struct hb_http_route {
	const char *method;
	const char *pattern;
	hb_http_handler *handler;
};

struct hb_http_options {
	const char *socket_path;
	mode_t socket_mode;
	uid_t peers[HB_HTTP_PEERS_MAX];
	uint32_t peer_count;
	uint32_t connections_max;
	const struct hb_http_route *routes; /* ends with method NULL; outlives the server */
	void *context;
};

struct hb_http_counts {
	uint64_t requests;
	uint64_t replies[6]; /* by hundreds of the HTTP code; [0] unused */
	uint64_t refused_peers;
};

struct hb_http_server;

/**
 * Bind (an old socket file is replaced) and serve.
 * @param error one sentence
 * @return 0 or -errno
 */
int hb_http_start(
	struct hb_http_server **server, const struct hb_http_options *options, char error[256]);
/** Finish the requests under way, then free; removes the socket file. */
void hb_http_stop(struct hb_http_server *server);
void hb_http_counts_read(struct hb_http_server *server, struct hb_http_counts *counts);

/** A header's value or NULL. Names do not depend on case. */
const char *hb_http_header(const struct hb_http_request *request, const char *name);

/**
 * Read the query: `name=value` pairs of the names given, each at most once, values of letters,
 * digits and -_. only.
 * @param names ends with NULL; values[i] is "" when names[i] is absent
 * @return true, or false with a bad_request reply filled in
 */
bool hb_http_query(const struct hb_http_request *request, struct hb_http_reply *reply,
	const char *const *names, char values[][HB_HTTP_QUERY_VALUE_MAX + 1]);

/** Reply with JSON; takes the reference. */
void hb_http_json(struct hb_http_reply *reply, int http, json_t *json);
/** Reply with text; takes `text` (malloc). */
void hb_http_text(
	struct hb_http_reply *reply, const char *content_type, char *text, size_t text_bytes);
/** Reply {"status":code,"message":…}; 503 carries Retry-After: 1. */
void hb_http_error(struct hb_http_reply *reply, int http, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

enum hb_http_match {
	HB_HTTP_FOUND,
	HB_HTTP_NO_PATH,
	HB_HTTP_NO_METHOD, /* the path is known with another method */
};

/** Find the route of a request and fill in its parameters; used by the server and its tests. */
enum hb_http_match hb_http_route_find(const struct hb_http_route *routes, const char *method,
	const char *path, size_t path_length, const struct hb_http_route **route,
	char parameter[HB_HTTP_PARAMETERS_MAX][HB_HTTP_PARAMETER_LENGTH_MAX + 1]);

#endif
