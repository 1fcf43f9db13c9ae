/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One HTTP exchange over a Unix socket, for control's tests.
 */
#ifndef HB_TESTS_CONTROL_HTTP_CALL_H
#define HB_TESTS_CONTROL_HTTP_CALL_H

#include <stddef.h>

#include <jansson.h>

struct http_answer {
	char *text;   /* all of it, NUL terminated; owned */
	json_t *json; /* of the body; owned */
};

/**
 * Send a request as it is given (with "Connection: close") and read to the end. Asserts that the
 * answer is HTTP with a JSON body.
 * @param answer zero, or of a call before, which is freed
 * @return the HTTP code
 */
int http_exchange(const char *socket_path, const char *head, const char *body, size_t body_bytes,
	struct http_answer *answer);
void http_answer_free(struct http_answer *answer);

/** Members of an object: "" and 0 when absent. */
const char *http_text(const json_t *json, const char *name);
json_int_t http_number(const json_t *json, const char *name);

#endif
