/* SPDX-License-Identifier: Apache-2.0 */
/* Paths lead to exactly one handler; queries are read strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "controlplane/http_server.h"

static void
orders(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	(void)request;
	(void)reply;
}

static const struct hb_http_route routes[] = {
	{"GET", "/v1/orders", orders},
	{"GET", "/v1/orders/{}", orders},
	{"POST", "/jobs/{}/run", orders},
	{"GET", "/a/{}/b/{}", orders},
	{NULL, NULL, NULL},
};

static char parameter[HB_HTTP_PARAMETERS_MAX][HB_HTTP_PARAMETER_LENGTH_MAX + 1];

static enum hb_http_match
find(const char *method, const char *path, const struct hb_http_route **route)
{
	return hb_http_route_find(routes, method, path, strlen(path), route, parameter);
}

static void
a_path_finds_its_route_and_parameters(void **state)
{
	const struct hb_http_route *route = NULL;

	(void)state;
	assert_int_equal(find("GET", "/v1/orders", &route), HB_HTTP_FOUND);
	assert_ptr_equal(route, &routes[0]);
	assert_int_equal(find("GET", "/v1/orders/2110", &route), HB_HTTP_FOUND);
	assert_ptr_equal(route, &routes[1]);
	assert_string_equal(parameter[0], "2110");
	assert_int_equal(find("POST", "/jobs/mark/run", &route), HB_HTTP_FOUND);
	assert_string_equal(parameter[0], "mark");
	assert_int_equal(find("GET", "/a/x/b/y", &route), HB_HTTP_FOUND);
	assert_string_equal(parameter[0], "x");
	assert_string_equal(parameter[1], "y");
}

static void
other_paths_are_not_found(void **state)
{
	static const char *const paths[] = {"", "/", "/v1", "/v1/orders/", "/v1/orders/1/2",
		"/v1/ordersx", "/v1//orders", "v1/orders", "/jobs//run", "/jobs/run", "/V1/orders",
		"/v1/orders%2f1/x"};
	const struct hb_http_route *route = NULL;
	char longer[100] = "/v1/orders/";

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(find("GET", paths[i], &route), HB_HTTP_NO_PATH);
	memset(longer + 11, '1', HB_HTTP_PARAMETER_LENGTH_MAX + 1);
	assert_int_equal(find("GET", longer, &route), HB_HTTP_NO_PATH);
}

static void
another_method_is_told_apart_from_another_path(void **state)
{
	const struct hb_http_route *route = NULL;

	(void)state;
	assert_int_equal(find("DELETE", "/v1/orders", &route), HB_HTTP_NO_METHOD);
	assert_int_equal(find("GET", "/jobs/mark/run", &route), HB_HTTP_NO_METHOD);
	assert_int_equal(find("get", "/v1/orders", &route), HB_HTTP_NO_METHOD);
}

static bool
query(const char *text, char values[2][HB_HTTP_QUERY_VALUE_MAX + 1])
{
	static const char *const names[] = {"limit", "before", NULL};
	struct hb_http_request request = {.query = text};
	struct hb_http_reply reply = {0};
	bool right = hb_http_query(&request, &reply, names, values);

	assert_int_equal(reply.http, right ? 0 : 400);
	json_decref(reply.json);
	return right;
}

static void
queries_are_read_strictly(void **state)
{
	char values[2][HB_HTTP_QUERY_VALUE_MAX + 1];
	char longer[100] = "limit=";

	(void)state;
	assert_true(query("", values));
	assert_string_equal(values[0], "");
	assert_true(query("before=1.a-b_C&limit=20", values));
	assert_string_equal(values[0], "20");
	assert_string_equal(values[1], "1.a-b_C");
	assert_false(query("limit", values));
	assert_false(query("limit=", values));
	assert_false(query("limit=1&limit=2", values));
	assert_false(query("limi=1", values));
	assert_false(query("limits=1", values));
	assert_false(query("limit=1%20", values));
	assert_false(query("&limit=1", values));
	assert_false(query("limit=\xff", values));
	assert_false(query("\xff=1", values));
	memset(longer + 6, '1', HB_HTTP_QUERY_VALUE_MAX + 1);
	assert_false(query(longer, values));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_finds_its_route_and_parameters),
		cmocka_unit_test(other_paths_are_not_found),
		cmocka_unit_test(another_method_is_told_apart_from_another_path),
		cmocka_unit_test(queries_are_read_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
