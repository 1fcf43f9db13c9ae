/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to persist's admin socket, against a scripted server in a thread.
 */
#include "tests/hbctl/harness.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A persist that answers each line with the next of its script, in pieces; NULL: hangs up. */
struct server {
	char directory[32];
	char socket[96];
	int listener;
	pthread_t thread;
	const char *const *pieces;
};

static void *
serve(void *context)
{
	struct server *server = context;
	int fd = accept(server->listener, NULL, NULL);
	const char *const *piece = server->pieces;
	char line[256];

	while (fd >= 0 && read(fd, line, sizeof(line)) > 0) {
		for (; *piece != NULL; piece++) {
			size_t length = strlen(*piece);

			if (send(fd, *piece, length, MSG_NOSIGNAL) != (ssize_t)length)
				break; /* the client did not wait */
			usleep(2000);  /* so that the pieces arrive apart */
			if ((*piece)[length - 1] == '\n')
				break;
		}
		if (*piece == NULL)
			break;
		piece++;
	}
	close(fd);
	return NULL;
}

static void
server_open(struct server *server, struct harness *h, const char *const *pieces)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char folder[64];

	memcpy(server->directory, "/tmp/hbctl-test-XXXXXX", sizeof("/tmp/hbctl-test-XXXXXX"));
	assert_non_null(mkdtemp(server->directory));
	snprintf(folder, sizeof(folder), "%s/socket", server->directory);
	mkdir(folder, 0700);
	snprintf(folder, sizeof(folder), "%s/socket/persist", server->directory);
	mkdir(folder, 0700);
	snprintf(server->socket, sizeof(server->socket), "%s/%s", server->directory,
		HB_PATH_PERSIST_ADMIN_SOCKET);
	memcpy(address.sun_path, server->socket, sizeof(server->socket));
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	server->pieces = pieces;
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	harness_open(h);
	snprintf(h->hbctl.config.node_directory, sizeof(h->hbctl.config.node_directory), "%s",
		server->directory);
}

static void
server_close(struct server *server, struct harness *h)
{
	char folder[64];

	harness_close(h);
	pthread_join(server->thread, NULL);
	close(server->listener);
	unlink(server->socket);
	snprintf(folder, sizeof(folder), "%s/socket/persist", server->directory);
	rmdir(folder);
	snprintf(folder, sizeof(folder), "%s/socket", server->directory);
	rmdir(folder);
	rmdir(server->directory);
}

static void
answers_in_pieces_and_one_after_the_other_are_read(void **state)
{
	static const char *const pieces[] = {
		"{\"ok\":", "true,\"se", "q\":5}\n", "{\"ok\":false}\n", NULL};
	struct server server;
	struct harness h;
	json_t *answer;

	(void)state;
	server_open(&server, &h, pieces);
	answer = hbctl_persist_call(&h.hbctl, "{\"cmd\":\"a\"}", 1000, h.error);
	assert_non_null(answer);
	assert_int_equal(hbctl_json_i64(answer, "seq"), 5);
	json_decref(answer);
	answer = hbctl_persist_call(&h.hbctl, "{\"cmd\":\"b\"}", 1000, h.error);
	assert_true(json_is_false(json_object_get(answer, "ok")));
	json_decref(answer);
	server_close(&server, &h);
}

static void
a_persist_that_hangs_up_or_talks_nonsense_is_reported(void **state)
{
	static const char *const nonsense[] = {"what?\n", NULL};
	struct server server;
	struct harness h;

	(void)state;
	server_open(&server, &h, nonsense);
	assert_null(hbctl_persist_call(&h.hbctl, "{}", 1000, h.error));
	assert_non_null(strstr(h.error, "not JSON"));
	assert_null(hbctl_persist_call(&h.hbctl, "{}", 1000, h.error));
	assert_string_equal(h.error, "persist hung up");
	server_close(&server, &h);
}

static void
a_persist_that_is_silent_ends_the_wait(void **state)
{
	static const char *const silence[] = {" ", "\t", "{}\n", NULL};
	struct server server;
	struct harness h;

	(void)state;
	server_open(&server, &h, silence);
	assert_null(hbctl_persist_call(&h.hbctl, "{}", 1, h.error));
	assert_non_null(strstr(h.error, "did not answer within 1 ms"));
	server_close(&server, &h);
}

static void
a_missing_persist_is_named_by_its_socket(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	snprintf(h.hbctl.config.node_directory, sizeof(h.hbctl.config.node_directory),
		"/nonexistent");
	assert_null(hbctl_persist_call(&h.hbctl, "{}", 1000, h.error));
	assert_non_null(strstr(h.error, "/nonexistent/socket/persist/admin.sock"));
	harness_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_pieces_and_one_after_the_other_are_read),
		cmocka_unit_test(a_persist_that_hangs_up_or_talks_nonsense_is_reported),
		cmocka_unit_test(a_persist_that_is_silent_ends_the_wait),
		cmocka_unit_test(a_missing_persist_is_named_by_its_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
