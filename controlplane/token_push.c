/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of token_push.h and its workers' connections.
 */
#include "controlplane/token_push.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "controlplane/asked_tokens.h"
#include "controlplane/commands.h"
#include "shm/push.h"

#define PACE_MS	    50	 /* between looks: what a user waits for his token at most */
#define SETTLE_MS   1500 /* from the first worker on: the others of a restart are on their way */
#define TAKE_MAX    1024
#define BACKLOG	    64
#define SOCKET_MODE 0660

struct hb_token_push {
	struct hb_engine *engine;
	uid_t front_uid;
	int listener;
	pthread_t thread;
	_Atomic bool stop;

	/* the thread's */
	int workers[HB_TOKEN_PUSH_WORKERS_MAX];
	uint32_t worker_count;
	uint64_t settled_ns; /* before it nothing is taken: who holds the stream may not be here */
	bool complained;
};

/* One that is too slow loses the message, not its connection. */
static void
tell_workers(void *context, const struct hb_reply_token *token)
{
	struct hb_token_push *push = context;
	struct hb_push message = {
		.magic = HB_PUSH_MAGIC, .version = HB_PUSH_VERSION, .user = token->user};
	json_t *json = hb_token_json(token);
	size_t length;

	json_object_del(json, "status");
	length = json_dumpb(json, message.text, sizeof(message.text), JSON_COMPACT);
	json_decref(json);
	HB_ASSERT(length > 0 && length <= sizeof(message.text));
	for (uint32_t i = 0; i < push->worker_count; i++)
		(void)!send(push->workers[i], &message, HB_PUSH_HEAD_BYTES + length,
			MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
admit(struct hb_token_push *push)
{
	int fd = accept4(push->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t length = sizeof(peer);

	if (fd < 0)
		return;
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
	if ((peer.uid != 0 && peer.uid != getuid() && peer.uid != push->front_uid) ||
		push->worker_count == HB_TOKEN_PUSH_WORKERS_MAX) {
		hb_log(HB_LOG_WARN, "token_reader_refused", "uid=%d workers=%u", (int)peer.uid,
			push->worker_count);
		close(fd);
		return;
	}
	if (push->worker_count == 0)
		push->settled_ns = hb_mono_ns() + SETTLE_MS * UINT64_C(1000000);
	push->workers[push->worker_count++] = fd;
}

/* Workers never say anything: what is readable has gone. */
static void
sweep(struct hb_token_push *push)
{
	for (uint32_t i = 0; i < push->worker_count;) {
		char byte;
		ssize_t n = recv(push->workers[i], &byte, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			i++;
			continue;
		}
		close(push->workers[i]);
		push->workers[i] = push->workers[--push->worker_count];
	}
}

static void *
push_main(void *argument)
{
	struct hb_token_push *push = argument;

	while (!atomic_load(&push->stop)) {
		struct pollfd listener = {.fd = push->listener, .events = POLLIN};

		if (poll(&listener, 1, PACE_MS) > 0)
			admit(push);
		sweep(push);
		if (push->worker_count == 0 || hb_mono_ns() < push->settled_ns)
			continue;
		if (hb_asked_tokens_take(push->engine, TAKE_MAX, tell_workers, push) >= 0) {
			push->complained = false;
		} else if (!push->complained) {
			hb_log(HB_LOG_WARN, "tokens_wait",
				"error=\"the dataplane does not hand over what users asked for\"");
			push->complained = true;
		}
	}
	return NULL;
}

int
hb_token_push_start(struct hb_token_push **out, struct hb_engine *engine, const char *path,
	uid_t front_uid, char error[256])
{
	struct hb_token_push *push = calloc(1, sizeof(*push));
	int rc = -ENOMEM;

	*out = NULL;
	if (push == NULL)
		goto fail;
	push->engine = engine;
	push->front_uid = front_uid;
	push->listener = rc =
		hb_unix_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, SOCKET_MODE, BACKLOG);
	if (rc < 0)
		goto fail;
	rc = -pthread_create(&push->thread, NULL, push_main, push);
	if (rc == 0) {
		*out = push;
		return 0;
	}
	close(push->listener);
fail:
	snprintf(error, 256, "cannot serve tokens on %s: %s", path, strerror(-rc));
	free(push);
	return rc;
}

void
hb_token_push_stop(struct hb_token_push *push)
{
	if (push == NULL)
		return;
	atomic_store(&push->stop, true);
	pthread_join(push->thread, NULL);
	for (uint32_t i = 0; i < push->worker_count; i++)
		close(push->workers[i]);
	close(push->listener);
	free(push);
}
