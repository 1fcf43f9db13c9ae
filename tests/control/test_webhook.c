/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alarms reach a receiver signed and in order, wait for one that is away, and the oldest give way
 * when too many wait. The receiver is a thread of the test on a loopback port.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/signature.h"
#include "controlplane/webhook.h"

#define BODIES_MAX    512
#define REQUEST_BYTES 8192
#define WAIT_MS	      10000

struct receiver {
	int listener;
	uint16_t port;
	pthread_t thread;
	_Atomic int http; /* what it answers */
	_Atomic int count;
	char request[BODIES_MAX][REQUEST_BYTES];
};

static struct receiver receiver;
static const struct hb_business_key key = {
	.id = "alarm", .secret = "0123456789abcdef0123456789abcdef", .secret_bytes = 32};

/* Read head and body of one request. @return 0 or -1 */
static int
read_request(int fd, char text[REQUEST_BYTES])
{
	size_t used = 0, whole = REQUEST_BYTES;

	while (used < whole) {
		ssize_t n = read(fd, text + used, REQUEST_BYTES - 1 - used);
		const char *end, *length;

		if (n <= 0)
			return -1;
		used += (size_t)n;
		text[used] = '\0';
		end = strstr(text, "\r\n\r\n");
		length = strcasestr(text, "content-length:");
		if (end && length)
			whole = (size_t)(end + 4 - text) + strtoul(length + 15, NULL, 10);
	}
	return 0;
}

static void *
receive(void *context)
{
	(void)context;
	for (;;) {
		int fd = accept(receiver.listener, NULL, NULL);
		char answer[128];
		int count = atomic_load(&receiver.count);

		if (fd < 0)
			return NULL;
		assert_true(count < BODIES_MAX);
		if (read_request(fd, receiver.request[count]) == 0) {
			snprintf(answer, sizeof(answer),
				"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
				atomic_load(&receiver.http));
			atomic_store(&receiver.count, count + 1); /* before the sender knows */
			assert_int_equal(write(fd, answer, strlen(answer)), strlen(answer));
		}
		close(fd);
	}
}

static void
bind_receiver(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int one = 1;

	receiver.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(receiver.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(receiver.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	getsockname(receiver.listener, (struct sockaddr *)&address, &length);
	receiver.port = ntohs(address.sin_port);
}

static void
serve_receiver(int http)
{
	atomic_store(&receiver.http, http);
	assert_int_equal(listen(receiver.listener, 8), 0);
	assert_int_equal(pthread_create(&receiver.thread, NULL, receive, NULL), 0);
}

static void
end_receiver(void)
{
	shutdown(receiver.listener, SHUT_RDWR);
	pthread_join(receiver.thread, NULL);
	close(receiver.listener);
}

static struct hb_webhook *
start(const char *path)
{
	struct hb_webhook_options options = {.timeout_ms = 2000};
	struct hb_business_keys *keys = calloc(1, sizeof(*keys));
	struct hb_webhook *webhook = NULL;

	assert_non_null(keys);
	keys->key[keys->count++] = key;
	if (path)
		snprintf(options.url, sizeof(options.url), "http://127.0.0.1:%u%s", receiver.port,
			path);
	assert_int_equal(hb_webhook_start(&webhook, &options), 0);
	hb_webhook_keys(webhook, keys);
	return webhook;
}

static uint64_t
send_number(struct hb_webhook *webhook, int number)
{
	char *text = NULL;

	assert_true(asprintf(&text, "{\"n\":%d}", number) > 0);
	return hb_webhook_send(webhook, text);
}

/* The value of a header, in a buffer that the next call of the same slot takes. */
static const char *
header(const char *request, const char *name, int slot)
{
	static char value[4][128];
	const char *at = strcasestr(request, name);

	assert_non_null(at);
	at += strlen(name) + 2;
	snprintf(value[slot], sizeof(value[slot]), "%.*s", (int)strcspn(at, "\r\n"), at);
	return value[slot];
}

static void
a_message_arrives_once_and_its_signature_is_right(void **state)
{
	char expected[HB_SIGNATURE_HEX_LENGTH + 1];
	struct hb_signed_request request = {.method = "POST", .uri = "/alarm?team=1"};
	struct hb_webhook_counts counts;
	struct hb_webhook *webhook;
	const char *text = receiver.request[0];

	(void)state;
	atomic_store(&receiver.count, 0);
	bind_receiver(0);
	serve_receiver(204);
	webhook = start("/alarm?team=1");
	assert_int_equal(hb_webhook_wait(webhook, send_number(webhook, 7), WAIT_MS), 0);
	assert_int_equal(atomic_load(&receiver.count), 1);
	assert_memory_equal(text, "POST /alarm?team=1 HTTP/1.1\r\n", 29);
	request.body = strstr(text, "\r\n\r\n") + 4;
	request.body_bytes = strlen(request.body);
	assert_string_equal(request.body, "{\"n\":7}");
	assert_string_equal(header(text, "X-HB-Key", 0), "alarm");
	request.timestamp = header(text, "X-HB-Timestamp", 1);
	request.nonce = header(text, "X-HB-Nonce", 2);
	assert_int_equal(hb_signature_make(expected, &key, &request), 0);
	assert_string_equal(header(text, "X-HB-Signature", 3), expected);
	hb_webhook_counts_read(webhook, &counts);
	assert_int_equal(counts.sent, 1);
	assert_int_equal(counts.failed, 0);
	hb_webhook_stop(webhook);
	end_receiver();
}

static void
messages_wait_for_a_receiver_that_is_away_and_come_in_order(void **state)
{
	struct hb_webhook_counts counts;
	struct hb_webhook *webhook;
	uint64_t last = 0;

	(void)state;
	atomic_store(&receiver.count, 0);
	bind_receiver(0); /* bound but not listening: connections are refused */
	webhook = start("/");
	for (int i = 0; i < 20; i++)
		last = send_number(webhook, i);
	assert_int_equal(hb_webhook_wait(webhook, last, 300), -ETIMEDOUT);
	hb_webhook_counts_read(webhook, &counts);
	assert_true(counts.failed >= 1 && counts.waiting == 20 && counts.error[0] != '\0');
	serve_receiver(200);
	assert_int_equal(hb_webhook_wait(webhook, last, WAIT_MS), 0);
	assert_int_equal(atomic_load(&receiver.count), 20);
	for (int i = 0; i < 20; i++) {
		char body[32];

		snprintf(body, sizeof(body), "\r\n\r\n{\"n\":%d}", i);
		assert_non_null(strstr(receiver.request[i], body));
	}
	hb_webhook_stop(webhook);
	end_receiver();
}

static void
an_error_answer_is_no_receipt(void **state)
{
	struct hb_webhook_counts counts;
	struct hb_webhook *webhook;
	uint64_t number;

	(void)state;
	atomic_store(&receiver.count, 0);
	bind_receiver(0);
	serve_receiver(500);
	webhook = start("/");
	number = send_number(webhook, 1);
	assert_int_equal(hb_webhook_wait(webhook, number, 200), -ETIMEDOUT);
	hb_webhook_counts_read(webhook, &counts);
	assert_string_equal(counts.error, "the receiver answered HTTP 500");
	atomic_store(&receiver.http, 200);
	assert_int_equal(hb_webhook_wait(webhook, number, WAIT_MS), 0);
	hb_webhook_stop(webhook);
	end_receiver();
}

static void
when_too_many_wait_the_oldest_give_way_and_are_counted(void **state)
{
	struct hb_webhook_counts counts;
	struct hb_webhook *webhook;
	uint64_t last = 0;
	char body[32];

	(void)state;
	atomic_store(&receiver.count, 0);
	bind_receiver(0);
	webhook = start("/");
	for (int i = 0; i < HB_WEBHOOK_QUEUE_MAX + 10; i++)
		last = send_number(webhook, i);
	hb_webhook_counts_read(webhook, &counts);
	assert_int_equal(counts.waiting, HB_WEBHOOK_QUEUE_MAX);
	assert_int_equal(counts.dropped, 10);
	serve_receiver(200);
	assert_int_equal(hb_webhook_wait(webhook, last, WAIT_MS), 0);
	assert_int_equal(atomic_load(&receiver.count), HB_WEBHOOK_QUEUE_MAX);
	snprintf(body, sizeof(body), "\r\n\r\n{\"n\":%d}", HB_WEBHOOK_QUEUE_MAX + 9);
	assert_non_null(strstr(receiver.request[HB_WEBHOOK_QUEUE_MAX - 1], body));
	hb_webhook_stop(webhook);
	end_receiver();
}

static void
without_a_url_or_a_key_nothing_leaves(void **state)
{
	struct hb_webhook_counts counts;
	struct hb_webhook *webhook = start(NULL);
	uint64_t number;

	(void)state;
	assert_int_equal(send_number(webhook, 1), 0);
	hb_webhook_stop(webhook);
	atomic_store(&receiver.count, 0);
	bind_receiver(0);
	serve_receiver(200);
	webhook = start("/");
	hb_webhook_keys(webhook, NULL);
	number = send_number(webhook, 1);
	assert_int_equal(hb_webhook_wait(webhook, number, 200), -ETIMEDOUT);
	hb_webhook_counts_read(webhook, &counts);
	assert_non_null(strstr(counts.error, "key"));
	assert_int_equal(atomic_load(&receiver.count), 0);
	hb_webhook_stop(webhook);
	end_receiver();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_arrives_once_and_its_signature_is_right),
		cmocka_unit_test(messages_wait_for_a_receiver_that_is_away_and_come_in_order),
		cmocka_unit_test(an_error_answer_is_no_receipt),
		cmocka_unit_test(when_too_many_wait_the_oldest_give_way_and_are_counted),
		cmocka_unit_test(without_a_url_or_a_key_nothing_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
