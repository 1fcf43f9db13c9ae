/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends alarms (webhook.h). The thread owns the curl handles; the queue, the options and the keys
 * are under `lock`, which is never held while the network is waited for. libcurl's multi interface
 * is used for one transfer at a time, because it can be woken: a stop does not wait for a receiver.
 */
#include "controlplane/webhook.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <curl/curl.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "controlplane/signature.h"

#define NS_PER_S	  UINT64_C(1000000000)
#define NS_PER_MS	  UINT64_C(1000000)
#define NONCE_BYTES	  12
#define HEADER_BYTES	  192
#define POLL_MS		  1000
#define HTTP_TAKEN_FIRST  200
#define HTTP_TAKEN_BEHIND 300

struct message {
	char *text; /* owned */
	uint64_t number;
	uint64_t since_ns; /* monotonic */
};

struct hb_webhook {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	CURLM *multi;
	bool stopping;
	struct hb_webhook_options options;
	struct hb_business_keys *keys;
	struct message queue[HB_WEBHOOK_QUEUE_MAX]; /* a ring */
	uint32_t first;
	uint32_t count;
	bool sending;
	uint64_t last_number;
	uint64_t done_number;	 /* the newest that was taken */
	uint64_t dropped_number; /* the newest that was dropped */
	struct hb_webhook_counts counts;
};

/* ---- one try ---- */

static size_t
ignore_body(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes;
	(void)context;
	return size * count;
}

/* PATH?QUERY of a URL, as the request line has it. */
static const char *
url_path(const char *url)
{
	const char *host = strstr(url, "://");
	const char *path = host ? strpbrk(host + 3, "/?#") : NULL;

	return path && *path == '/' ? path : "/";
}

static struct curl_slist *
add_header(struct curl_slist *list, const char *name, const char *value)
{
	char header[HEADER_BYTES];
	struct curl_slist *longer;

	snprintf(header, sizeof(header), "%s: %s", name, value);
	longer = curl_slist_append(list, header);
	HB_ASSERT(longer);
	return longer;
}

/* @return headers of a signed try, or NULL with `error` */
static struct curl_slist *
make_headers(const struct hb_business_key *key, const char *url, const char *text,
	char error[HB_WEBHOOK_ERROR_BYTES])
{
	char signature[HB_SIGNATURE_HEX_LENGTH + 1];
	char timestamp[24];
	char nonce[2 * NONCE_BYTES + 1];
	uint8_t random[NONCE_BYTES];
	struct hb_signed_request request = {.method = "POST",
		.uri = url_path(url),
		.key_id = key->id,
		.timestamp = timestamp,
		.nonce = nonce,
		.body = text,
		.body_bytes = strlen(text)};
	struct curl_slist *list = NULL;

	HB_ASSERT(getrandom(random, sizeof(random), 0) == (ssize_t)sizeof(random));
	hb_hex_text(nonce, random, sizeof(random));
	snprintf(timestamp, sizeof(timestamp), "%llu",
		(unsigned long long)(hb_wall_ns() / NS_PER_S));
	if (hb_signature_make(signature, key, &request) != 0) {
		snprintf(error, HB_WEBHOOK_ERROR_BYTES, "the message cannot be signed");
		return NULL;
	}
	list = add_header(list, "Content-Type", "application/json");
	list = add_header(list, "Expect", "");
	list = add_header(list, "X-HB-Key", key->id);
	list = add_header(list, "X-HB-Timestamp", timestamp);
	list = add_header(list, "X-HB-Nonce", nonce);
	return add_header(list, "X-HB-Signature", signature);
}

static void
set_options(CURL *easy, const struct hb_webhook_options *options, struct curl_slist *headers,
	const char *text)
{
	curl_easy_setopt(easy, CURLOPT_URL, options->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (options->ca_file[0] != '\0') {
		curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)options->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(text));
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore_body);
}

static bool
is_stopping(struct hb_webhook *webhook)
{
	bool stopping;

	pthread_mutex_lock(&webhook->lock);
	stopping = webhook->stopping;
	pthread_mutex_unlock(&webhook->lock);
	return stopping;
}

/* Turn the transfer until it ends. @return its outcome; CURLE_ABORTED_BY_CALLBACK on a stop */
static CURLcode
transfer(struct hb_webhook *webhook, CURL *easy)
{
	CURLcode outcome = CURLE_ABORTED_BY_CALLBACK;
	int running = 1;

	if (curl_multi_add_handle(webhook->multi, easy) != CURLM_OK)
		return CURLE_OUT_OF_MEMORY;
	while (running > 0 && !is_stopping(webhook)) {
		CURLMsg *message;
		int left;

		if (curl_multi_perform(webhook->multi, &running) != CURLM_OK)
			break;
		while ((message = curl_multi_info_read(webhook->multi, &left)) != NULL) {
			if (message->msg == CURLMSG_DONE)
				outcome = message->data.result;
		}
		if (running > 0)
			curl_multi_poll(webhook->multi, NULL, 0, POLL_MS, NULL);
	}
	curl_multi_remove_handle(webhook->multi, easy);
	return outcome;
}

/* @return true when the receiver took the message */
static bool
try_once(struct hb_webhook *webhook, const struct hb_webhook_options *options,
	const struct hb_business_key *key, const char *text, char error[HB_WEBHOOK_ERROR_BYTES])
{
	struct curl_slist *headers = make_headers(key, options->url, text, error);
	CURL *easy = headers ? curl_easy_init() : NULL;
	CURLcode outcome;
	long http = 0;

	if (!easy) {
		curl_slist_free_all(headers);
		return false;
	}
	set_options(easy, options, headers, text);
	outcome = transfer(webhook, easy);
	if (outcome == CURLE_OK)
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	if (outcome == CURLE_OK && http >= HTTP_TAKEN_FIRST && http < HTTP_TAKEN_BEHIND)
		return true;
	if (outcome == CURLE_OK)
		snprintf(error, HB_WEBHOOK_ERROR_BYTES, "the receiver answered HTTP %ld", http);
	else
		snprintf(error, HB_WEBHOOK_ERROR_BYTES, "%s", curl_easy_strerror(outcome));
	return false;
}

/* ---- the queue; with the lock held ---- */

static void
drop_first(struct hb_webhook *webhook, const char *why)
{
	struct message *message = &webhook->queue[webhook->first];

	hb_log(HB_LOG_ERROR, "alarm_dropped", "number=%llu reason=\"%s\"",
		(unsigned long long)message->number, why);
	webhook->counts.dropped++;
	webhook->dropped_number = message->number;
	free(message->text);
	message->text = NULL;
	webhook->first = (webhook->first + 1) % HB_WEBHOOK_QUEUE_MAX;
	webhook->count--;
}

static void
wait_until(struct hb_webhook *webhook, uint64_t until_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};

	pthread_cond_timedwait(&webhook->changed, &webhook->lock, &until);
}

/* Send the first message once; the lock is given up meanwhile. @return true when it was taken */
static bool
send_first(struct hb_webhook *webhook)
{
	struct hb_webhook_options options = webhook->options;
	struct message message = webhook->queue[webhook->first];
	char error[HB_WEBHOOK_ERROR_BYTES] = "there is no memory";
	struct hb_business_key key = {0};
	bool has_key = webhook->keys && webhook->keys->count > 0;
	bool taken = false;

	if (has_key)
		key = webhook->keys->key[0];
	/* Out of the queue while it is sent: whoever makes room cannot take it. */
	webhook->first = (webhook->first + 1) % HB_WEBHOOK_QUEUE_MAX;
	webhook->count--;
	webhook->sending = true;
	pthread_mutex_unlock(&webhook->lock);
	if (has_key)
		taken = try_once(webhook, &options, &key, message.text, error);
	else
		snprintf(error, sizeof(error), "key/alarm.keys has no key to sign with");
	explicit_bzero(&key, sizeof(key));
	pthread_mutex_lock(&webhook->lock);
	webhook->sending = false;
	if (taken) {
		webhook->counts.sent++;
		webhook->counts.error[0] = '\0';
		webhook->done_number = message.number;
		free(message.text);
		return true;
	}
	webhook->counts.failed++;
	if (strcmp(webhook->counts.error, error) != 0)
		hb_log(HB_LOG_WARN, "alarm_not_sent", "number=%llu waiting=%u error=\"%s\"",
			(unsigned long long)message.number, webhook->count + 1, error);
	memcpy(webhook->counts.error, error, sizeof(error));
	/* Back to the front, unless newer ones have filled the queue. */
	webhook->first = (webhook->first + HB_WEBHOOK_QUEUE_MAX - 1) % HB_WEBHOOK_QUEUE_MAX;
	webhook->queue[webhook->first] = message;
	webhook->count++;
	return false;
}

static void *
run(void *context)
{
	struct hb_webhook *webhook = context;
	uint64_t pause_ms = HB_WEBHOOK_PAUSE_MS_MIN;
	uint64_t due_ns = 0;

	pthread_mutex_lock(&webhook->lock);
	while (!webhook->stopping) {
		uint64_t now_ns = hb_mono_ns();

		if (webhook->count == 0 || webhook->options.url[0] == '\0') {
			pause_ms = HB_WEBHOOK_PAUSE_MS_MIN;
			due_ns = 0;
			pthread_cond_wait(&webhook->changed, &webhook->lock);
			continue;
		}
		if (now_ns < due_ns) {
			wait_until(webhook, due_ns);
			continue;
		}
		if (now_ns - webhook->queue[webhook->first].since_ns >
			HB_WEBHOOK_AGE_S_MAX * NS_PER_S) {
			drop_first(webhook, "no receiver took it in 24 hours");
			pthread_cond_broadcast(&webhook->changed);
			continue;
		}
		if (send_first(webhook)) {
			pause_ms = HB_WEBHOOK_PAUSE_MS_MIN;
			due_ns = 0;
		} else {
			due_ns = hb_mono_ns() + pause_ms * NS_PER_MS;
			pause_ms = pause_ms * 2 < HB_WEBHOOK_PAUSE_MS_MAX ? pause_ms * 2
									  : HB_WEBHOOK_PAUSE_MS_MAX;
		}
		pthread_cond_broadcast(&webhook->changed);
	}
	pthread_mutex_unlock(&webhook->lock);
	return NULL;
}

/* ---- what others call ---- */

int
hb_webhook_start(struct hb_webhook **out, const struct hb_webhook_options *options)
{
	struct hb_webhook *webhook = calloc(1, sizeof(*webhook));
	pthread_condattr_t attributes;
	int result;

	if (!webhook)
		return -ENOMEM;
	webhook->options = *options;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	webhook->multi = curl_multi_init();
	if (!webhook->multi) {
		free(webhook);
		return -ENOMEM;
	}
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&webhook->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&webhook->lock, NULL);
	result = -pthread_create(&webhook->thread, NULL, run, webhook);
	if (result != 0) {
		curl_multi_cleanup(webhook->multi);
		free(webhook);
		return result;
	}
	*out = webhook;
	return 0;
}

void
hb_webhook_stop(struct hb_webhook *webhook)
{
	if (!webhook)
		return;
	pthread_mutex_lock(&webhook->lock);
	webhook->stopping = true;
	pthread_cond_broadcast(&webhook->changed);
	pthread_mutex_unlock(&webhook->lock);
	curl_multi_wakeup(webhook->multi);
	pthread_join(webhook->thread, NULL);
	for (uint32_t i = 0; i < webhook->count; i++)
		free(webhook->queue[(webhook->first + i) % HB_WEBHOOK_QUEUE_MAX].text);
	curl_multi_cleanup(webhook->multi);
	hb_business_keys_free(webhook->keys);
	pthread_cond_destroy(&webhook->changed);
	pthread_mutex_destroy(&webhook->lock);
	free(webhook);
}

void
hb_webhook_configure(struct hb_webhook *webhook, const struct hb_webhook_options *options)
{
	pthread_mutex_lock(&webhook->lock);
	webhook->options = *options;
	pthread_cond_broadcast(&webhook->changed);
	pthread_mutex_unlock(&webhook->lock);
}

void
hb_webhook_keys(struct hb_webhook *webhook, struct hb_business_keys *keys)
{
	struct hb_business_keys *before;

	pthread_mutex_lock(&webhook->lock);
	before = webhook->keys;
	webhook->keys = keys;
	pthread_mutex_unlock(&webhook->lock);
	hb_business_keys_free(before);
}

uint64_t
hb_webhook_send(struct hb_webhook *webhook, char *text)
{
	uint64_t number = 0;

	pthread_mutex_lock(&webhook->lock);
	if (webhook->options.url[0] == '\0') {
		free(text);
		goto out;
	}
	/* One place stays free for the message that is being sent, should it come back. */
	if (webhook->count + webhook->sending >= HB_WEBHOOK_QUEUE_MAX)
		drop_first(webhook, "too many wait for the receiver");
	number = ++webhook->last_number;
	webhook->queue[(webhook->first + webhook->count) % HB_WEBHOOK_QUEUE_MAX] =
		(struct message){.text = text, .number = number, .since_ns = hb_mono_ns()};
	webhook->count++;
	pthread_cond_broadcast(&webhook->changed);
out:
	pthread_mutex_unlock(&webhook->lock);
	return number;
}

int
hb_webhook_wait(struct hb_webhook *webhook, uint64_t number, uint32_t timeout_ms)
{
	uint64_t until_ns = hb_mono_ns() + timeout_ms * NS_PER_MS;
	int result;

	pthread_mutex_lock(&webhook->lock);
	while (webhook->done_number < number && webhook->dropped_number < number &&
		!webhook->stopping && hb_mono_ns() < until_ns)
		wait_until(webhook, until_ns);
	if (webhook->done_number >= number)
		result = 0;
	else
		result = webhook->dropped_number >= number ? -ECANCELED : -ETIMEDOUT;
	pthread_mutex_unlock(&webhook->lock);
	return result;
}

void
hb_webhook_counts_read(struct hb_webhook *webhook, struct hb_webhook_counts *counts)
{
	pthread_mutex_lock(&webhook->lock);
	*counts = webhook->counts;
	counts->waiting = webhook->count + webhook->sending;
	pthread_mutex_unlock(&webhook->lock);
}
