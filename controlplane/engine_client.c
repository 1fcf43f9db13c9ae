/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine thread (engine_client.h).
 *
 * Batches wait in a list under `lock`; the thread takes them over and from then on touches them
 * alone until it reports them done under the same lock. A frame in flight holds a slot whose
 * number and serial make up its correlation id, so a reply that comes after its caller gave up
 * finds another serial and is dropped. If the process dies, the dataplane sees the hang-up; what
 * was in flight is decided or not, and the callers' idempotency keys tell on the next try.
 */
#include "controlplane/engine_client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "controlplane/json_fields.h"
#include "shm/client.h"
#include "shm/segment.h"

#define REQUEST_RING_BYTES 262144
#define REPLY_RING_BYTES   (1u << 20)
#define POLL_REPLIES_MAX   256
#define RING_FULL_WAIT_MS  1
#define NO_SLOT		   UINT32_MAX

struct batch {
	struct batch *next;
	struct hb_engine_call *calls;
	uint32_t count;
	uint32_t sent;
	uint32_t left; /* without outcome */
	uint64_t deadline_ns;
	bool done;
	pthread_cond_t done_changed;
};

struct slot {
	struct batch *batch; /* NULL = free */
	struct hb_engine_call *call;
	uint32_t serial;
	uint32_t next_free;
};

struct hb_engine {
	pthread_t thread;
	char socket_path[256];
	int submit_fd;
	_Atomic bool stopping;

	pthread_mutex_t lock; /* submitted and every batch's done */
	struct batch *submitted_first;
	struct batch **submitted_last;

	pthread_mutex_t client_lock; /* view, and the client while it is opened or closed */
	struct hb_client *client;
	struct hb_engine_view view; /* the part that does not come from the node segment */

	/* the thread's own */
	struct batch *active; /* taken over, oldest first */
	struct slot slots[HB_ENGINE_IN_FLIGHT_MAX];
	uint32_t free_slot;
	_Atomic uint32_t in_flight;
	_Atomic uint64_t frames;
	_Atomic uint64_t unknown;
};

/* ---- outcomes ---- */

static void
slot_free(struct hb_engine *engine, uint32_t number)
{
	struct slot *slot = &engine->slots[number];

	slot->batch = NULL;
	slot->call = NULL;
	slot->serial++;
	slot->next_free = engine->free_slot;
	engine->free_slot = number;
	atomic_fetch_sub_explicit(&engine->in_flight, 1, memory_order_relaxed);
}

static void
outcome(struct batch *batch, struct hb_engine_call *call, int error)
{
	call->error = error;
	HB_ASSERT(batch->left > 0);
	batch->left--;
}

/* Give every call of the batch that has no outcome one: unknown if it was sent. */
static void
abandon(struct hb_engine *engine, struct batch *batch, int error)
{
	for (uint32_t i = 0; i < batch->sent; i++) {
		struct hb_engine_call *call = &batch->calls[i];

		if (call->slot == NO_SLOT)
			continue;
		slot_free(engine, call->slot);
		call->slot = NO_SLOT;
		atomic_fetch_add_explicit(&engine->unknown, 1, memory_order_relaxed);
		outcome(batch, call, error);
	}
	for (; batch->sent < batch->count; batch->sent++)
		outcome(batch, &batch->calls[batch->sent], -EAGAIN);
}

/* Report and drop the batches that are complete. */
static void
report(struct hb_engine *engine)
{
	struct batch **link = &engine->active;

	pthread_mutex_lock(&engine->lock);
	while (*link) {
		struct batch *batch = *link;

		if (batch->left > 0) {
			link = &batch->next;
			continue;
		}
		*link = batch->next;
		batch->done = true;
		pthread_cond_signal(&batch->done_changed);
	}
	pthread_mutex_unlock(&engine->lock);
}

static void
abandon_all(struct hb_engine *engine, int error)
{
	for (struct batch *batch = engine->active; batch; batch = batch->next)
		abandon(engine, batch, error);
	report(engine);
}

static void
expire(struct hb_engine *engine, uint64_t now_ns)
{
	for (struct batch *batch = engine->active; batch; batch = batch->next) {
		if (now_ns >= batch->deadline_ns)
			abandon(engine, batch, -ETIMEDOUT);
	}
}

/* ---- the client ---- */

static void
note_down(struct hb_engine *engine, const char *error)
{
	if (strcmp(engine->view.error, error) != 0)
		hb_log(HB_LOG_WARN, "engine_away", "error=\"%s\"", error);
	pthread_mutex_lock(&engine->client_lock);
	snprintf(engine->view.error, sizeof(engine->view.error), "%s", error);
	hb_text_plain(engine->view.error);
	pthread_mutex_unlock(&engine->client_lock);
}

static void
detach(struct hb_engine *engine, const char *why)
{
	struct hb_client *client = engine->client;

	pthread_mutex_lock(&engine->client_lock);
	engine->client = NULL;
	hb_client_close(client);
	pthread_mutex_unlock(&engine->client_lock);
	if (!atomic_load(&engine->stopping))
		note_down(engine, why);
	abandon_all(engine, -EPIPE);
}

static bool
attach(struct hb_engine *engine)
{
	struct hb_client *client = NULL;
	char error[160] = "";
	int result = hb_client_open(&client, engine->socket_path, "control", REQUEST_RING_BYTES,
		REPLY_RING_BYTES, error);

	if (result != 0) {
		note_down(engine, error[0] ? error : strerror(-result));
		return false;
	}
	pthread_mutex_lock(&engine->client_lock);
	engine->client = client;
	engine->view.attaches++;
	engine->view.error[0] = '\0';
	pthread_mutex_unlock(&engine->client_lock);
	hb_log(HB_LOG_INFO, "engine_attached", "lcores=%u", hb_client_lcore_count(client));
	return true;
}

static void
on_reply(void *context, const struct hb_reply *reply)
{
	struct hb_engine *engine = context;
	uint32_t number = (uint32_t)reply->correlation;
	struct slot *slot;
	struct hb_engine_call *call;
	int error = 0;

	if (number >= HB_ENGINE_IN_FLIGHT_MAX)
		return;
	slot = &engine->slots[number];
	if (!slot->batch || slot->serial != (uint32_t)(reply->correlation >> 32))
		return;
	call = slot->call;
	if (reply->length < sizeof(*reply) || reply->length > call->reply_room)
		error = -EMSGSIZE;
	else
		memcpy(call->reply, reply, reply->length);
	call->slot = NO_SLOT;
	outcome(slot->batch, call, error);
	slot_free(engine, number);
	atomic_fetch_add_explicit(&engine->frames, 1, memory_order_relaxed);
}

/* ---- sending ---- */

static int
send_one(struct hb_engine *engine, struct batch *batch)
{
	struct hb_engine_call *call = &batch->calls[batch->sent];
	uint32_t number = engine->free_slot;
	struct slot *slot;
	int result;

	if (number == NO_SLOT)
		return -EAGAIN;
	slot = &engine->slots[number];
	call->frame->version = HB_FRAME_VERSION;
	call->frame->issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	call->frame->correlation = (uint64_t)slot->serial << 32 | number;
	result = hb_client_send(engine->client, call->frame);
	if (result != 0)
		return result;
	engine->free_slot = slot->next_free;
	slot->batch = batch;
	slot->call = call;
	call->slot = number;
	batch->sent++;
	atomic_fetch_add_explicit(&engine->in_flight, 1, memory_order_relaxed);
	return 0;
}

/* Send what fits. @return true when frames are left that found no room */
static bool
send_waiting(struct hb_engine *engine)
{
	bool full = false;
	bool sent = false;

	for (struct batch *batch = engine->active; batch && !full; batch = batch->next) {
		while (batch->sent < batch->count && !full) {
			if (send_one(engine, batch) == 0)
				sent = true;
			else
				full = true;
		}
	}
	if (sent)
		hb_client_flush(engine->client);
	return full;
}

static void
take_submitted(struct hb_engine *engine)
{
	struct batch **last = &engine->active;

	pthread_mutex_lock(&engine->lock);
	while (*last)
		last = &(*last)->next;
	*last = engine->submitted_first;
	engine->submitted_first = NULL;
	engine->submitted_last = &engine->submitted_first;
	pthread_mutex_unlock(&engine->lock);
}

/* ---- sleeping ---- */

static void
drain(int fd)
{
	uint64_t count;
	ssize_t got = read(fd, &count, sizeof(count));

	(void)got;
}

static int
sleep_ms(const struct hb_engine *engine, bool full)
{
	uint64_t now_ns = hb_mono_ns();
	uint64_t nearest_ns = UINT64_MAX;

	if (full)
		return RING_FULL_WAIT_MS;
	for (const struct batch *batch = engine->active; batch; batch = batch->next) {
		if (batch->deadline_ns < nearest_ns)
			nearest_ns = batch->deadline_ns;
	}
	if (nearest_ns == UINT64_MAX)
		return -1;
	return nearest_ns <= now_ns ? 0 : (int)((nearest_ns - now_ns) / 1000000) + 1;
}

/* Block until a reply, a new batch, the hang-up or a deadline. @return false on the hang-up */
static bool
wait_attached(struct hb_engine *engine, bool full)
{
	struct pollfd fds[] = {
		{.fd = engine->submit_fd, .events = POLLIN},
		{.fd = hb_client_socket_fd(engine->client), .events = POLLIN | POLLRDHUP},
		{.fd = hb_client_wake_fd(engine->client), .events = POLLIN},
	};

	if (hb_client_sleep(engine->client))
		poll(fds, 3, sleep_ms(engine, full));
	hb_client_awake(engine->client);
	if (fds[0].revents)
		drain(engine->submit_fd);
	return fds[1].revents == 0;
}

static void
wait_detached(struct hb_engine *engine)
{
	struct pollfd fd = {.fd = engine->submit_fd, .events = POLLIN};
	uint64_t until_ns = hb_mono_ns() + HB_ENGINE_REATTACH_MS * UINT64_C(1000000);

	for (;;) {
		uint64_t now_ns = hb_mono_ns();

		take_submitted(engine);
		abandon_all(engine, -EPIPE);
		if (now_ns >= until_ns || atomic_load(&engine->stopping))
			return;
		if (poll(&fd, 1, (int)((until_ns - now_ns) / 1000000) + 1) > 0)
			drain(engine->submit_fd);
	}
}

static void
serve_attached(struct hb_engine *engine)
{
	bool full;
	int got;

	take_submitted(engine);
	full = send_waiting(engine);
	got = hb_client_poll(engine->client, on_reply, engine, POLL_REPLIES_MAX);
	expire(engine, hb_mono_ns());
	report(engine);
	if (got < 0)
		detach(engine, "the rings of the dataplane are damaged");
	else if (got == 0 && !wait_attached(engine, full))
		detach(engine, "the dataplane hung up");
}

static void *
run(void *context)
{
	struct hb_engine *engine = context;

	while (!atomic_load(&engine->stopping)) {
		if (engine->client)
			serve_attached(engine);
		else if (!attach(engine))
			wait_detached(engine);
	}
	take_submitted(engine);
	if (engine->client)
		detach(engine, "stopping");
	abandon_all(engine, -EPIPE);
	return NULL;
}

/* ---- life and calls ---- */

int
hb_engine_start(struct hb_engine **out, const char *socket_path)
{
	struct hb_engine *engine = calloc(1, sizeof(*engine));
	int result = -ENOMEM;

	if (!engine)
		return result;
	snprintf(engine->socket_path, sizeof(engine->socket_path), "%s", socket_path);
	engine->submitted_last = &engine->submitted_first;
	for (uint32_t i = 0; i < HB_ENGINE_IN_FLIGHT_MAX; i++)
		engine->slots[i].next_free = i + 1 < HB_ENGINE_IN_FLIGHT_MAX ? i + 1 : NO_SLOT;
	pthread_mutex_init(&engine->lock, NULL);
	pthread_mutex_init(&engine->client_lock, NULL);
	engine->submit_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (engine->submit_fd < 0) {
		result = -errno;
		goto out;
	}
	result = -pthread_create(&engine->thread, NULL, run, engine);
	if (result == 0) {
		*out = engine;
		return 0;
	}
	close(engine->submit_fd);
out:
	free(engine);
	return result;
}

static void
wake(struct hb_engine *engine)
{
	uint64_t one = 1;
	ssize_t wrote = write(engine->submit_fd, &one, sizeof(one));

	(void)wrote; /* a full eventfd is awake already */
}

void
hb_engine_stop(struct hb_engine *engine)
{
	if (!engine)
		return;
	atomic_store(&engine->stopping, true);
	wake(engine);
	pthread_join(engine->thread, NULL);
	close(engine->submit_fd);
	pthread_mutex_destroy(&engine->lock);
	pthread_mutex_destroy(&engine->client_lock);
	free(engine);
}

void
hb_engine_call_many(
	struct hb_engine *engine, struct hb_engine_call *calls, uint32_t count, uint32_t timeout_ms)
{
	struct batch batch = {.calls = calls,
		.count = count,
		.left = count,
		.deadline_ns = hb_mono_ns() + timeout_ms * UINT64_C(1000000)};

	if (count == 0)
		return;
	for (uint32_t i = 0; i < count; i++)
		calls[i].slot = NO_SLOT;
	pthread_cond_init(&batch.done_changed, NULL);
	pthread_mutex_lock(&engine->lock);
	*engine->submitted_last = &batch;
	engine->submitted_last = &batch.next;
	wake(engine);
	while (!batch.done)
		pthread_cond_wait(&batch.done_changed, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
	pthread_cond_destroy(&batch.done_changed);
}

int
hb_engine_call_one(struct hb_engine *engine, struct hb_frame *frame, struct hb_reply *reply,
	uint32_t reply_room, uint32_t timeout_ms)
{
	struct hb_engine_call call = {.frame = frame, .reply = reply, .reply_room = reply_room};

	hb_engine_call_many(engine, &call, 1, timeout_ms);
	return call.error;
}

static void
look_at_node(const struct hb_node *node, struct hb_engine_view *view)
{
	view->lcore_count =
		node->lcore_count < HB_LCORE_COUNT_MAX ? node->lcore_count : HB_LCORE_COUNT_MAX;
	view->counter_count =
		node->counter_count < HB_COUNTER_SLOTS ? node->counter_count : HB_COUNTER_SLOTS;
	view->started_ns = node->started_ns;
	view->epoch = node->epoch;
	view->clock_stopped = atomic_load(&node->clock_stopped) != 0;
	view->storage_level = atomic_load(&node->storage_level);
	view->degrade_level = atomic_load(&node->degrade_level);
	view->degrade_by = atomic_load(&node->degrade_by);
	view->degrade_until_s = atomic_load(&node->degrade_until_s);
	memcpy(view->lcore_of_partition, node->lcore_of_partition,
		sizeof(view->lcore_of_partition));
	for (uint32_t i = 0; i < view->lcore_count; i++) {
		view->lcore[i].cpu = node->lcore[i].cpu;
		view->lcore[i].sleeping = atomic_load(&node->lcore[i].sleeping) != 0;
		view->lcore[i].heartbeat_ns = atomic_load(&node->lcore[i].heartbeat_ns);
		view->lcore[i].busy_ns = atomic_load(&node->lcore[i].busy_ns);
	}
	for (uint32_t i = 0; i < view->counter_count; i++) {
		hb_counter_label_read(node, i, &view->label[i]);
		view->counter[i] = hb_counter_sum(node, i);
	}
}

void
hb_engine_look(struct hb_engine *engine, struct hb_engine_view *view)
{
	pthread_mutex_lock(&engine->client_lock);
	*view = engine->view;
	view->attached = engine->client != NULL;
	if (engine->client) {
		const struct hb_segment *segment = hb_client_node_segment(engine->client);

		look_at_node(
			(const struct hb_node *)(segment->base + HB_SEGMENT_GUARD_BYTES), view);
	}
	pthread_mutex_unlock(&engine->client_lock);
	view->in_flight = atomic_load_explicit(&engine->in_flight, memory_order_relaxed);
	view->frames = atomic_load_explicit(&engine->frames, memory_order_relaxed);
	view->unknown = atomic_load_explicit(&engine->unknown, memory_order_relaxed);
}
