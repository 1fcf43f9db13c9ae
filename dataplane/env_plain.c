/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Lcores as plain threads, without EAL: for tests, which need neither DPDK nor rights. One port,
 * whose other end is the test (env_plain.h).
 */
#include "dataplane/env_plain.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "dataplane/wire.h"
#include "shm/limits.h"

#define WIRE_PACKETS 4096 /* under way in one direction */

struct worker {
	pthread_t thread;
	bool running;
	hb_env_lcore_fn *fn;
	void *argument;
};

static struct worker workers[HB_LCORE_COUNT_MAX + 1];

/* Packets under way: one writer, one reader, both behind the lock. */
struct wire {
	pthread_mutex_t lock;
	uint64_t first;
	uint64_t next;
	struct {
		uint32_t length;
		uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	} packet[WIRE_PACKETS];
};

static struct wire to_port = {.lock = PTHREAD_MUTEX_INITIALIZER};
static struct wire from_port = {.lock = PTHREAD_MUTEX_INITIALIZER};

int
hb_env_start(const struct hb_config *config, char error[HB_ENV_ERROR_MAX])
{
	(void)config;
	error[0] = '\0';
	return 0;
}

static void *
run_worker(void *argument)
{
	struct worker *worker = argument;

	worker->fn(worker->argument);
	return NULL;
}

int
hb_env_launch(uint32_t worker, hb_env_lcore_fn *fn, void *argument)
{
	struct worker *w = &workers[worker];
	int result;

	w->fn = fn;
	w->argument = argument;
	result = pthread_create(&w->thread, NULL, run_worker, w);
	w->running = result == 0;
	return -result;
}

void
hb_env_wait(void)
{
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX + 1; i++) {
		if (workers[i].running)
			pthread_join(workers[i].thread, NULL);
		workers[i].running = false;
	}
}

void
hb_env_stop(void)
{
}

void
hb_env_pause(void)
{
	__builtin_ia32_pause();
}

static bool
wire_put(struct wire *wire, const uint8_t *bytes, uint32_t length)
{
	bool room;

	HB_ASSERT(length <= HB_WIRE_PACKET_BYTES_MAX);
	pthread_mutex_lock(&wire->lock);
	room = wire->next - wire->first < WIRE_PACKETS;
	if (room) {
		wire->packet[wire->next % WIRE_PACKETS].length = length;
		memcpy(wire->packet[wire->next % WIRE_PACKETS].bytes, bytes, length);
		wire->next++;
	}
	pthread_mutex_unlock(&wire->lock);
	return room;
}

static uint32_t
wire_take(struct wire *wire, uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX])
{
	uint32_t length = 0;

	pthread_mutex_lock(&wire->lock);
	if (wire->first < wire->next) {
		length = wire->packet[wire->first % WIRE_PACKETS].length;
		memcpy(bytes, wire->packet[wire->first % WIRE_PACKETS].bytes, length);
		wire->first++;
	}
	pthread_mutex_unlock(&wire->lock);
	return length;
}

bool
hb_env_plain_put(const uint8_t *bytes, uint32_t length)
{
	return wire_put(&to_port, bytes, length);
}

uint32_t
hb_env_plain_take(uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX])
{
	return wire_take(&from_port, bytes);
}

int
hb_env_ports_open(uint32_t *count, char error[HB_ENV_ERROR_MAX])
{
	error[0] = '\0';
	*count = 1;
	return 0;
}

void
hb_env_port_address(uint32_t port, uint8_t mac_address[6])
{
	static const uint8_t own[6] = {2, 0, 0, 0, 0, 1};

	(void)port;
	memcpy(mac_address, own, sizeof(own));
}

bool
hb_env_packet_new(struct hb_env_packet *packet)
{
	packet->bytes = packet->handle = malloc(HB_WIRE_PACKET_BYTES_MAX);
	packet->length = 0;
	return packet->handle != NULL;
}

void
hb_env_packet_drop(struct hb_env_packet *packet)
{
	free(packet->handle);
	packet->handle = NULL;
}

uint32_t
hb_env_port_receive(uint32_t port, struct hb_env_packet *packets, uint32_t max)
{
	uint32_t n = 0;

	(void)port;
	for (; n < max && hb_env_packet_new(&packets[n]); n++) {
		packets[n].length = wire_take(&to_port, packets[n].bytes);
		if (packets[n].length == 0) {
			hb_env_packet_drop(&packets[n]);
			break;
		}
	}
	return n;
}

uint32_t
hb_env_port_send(uint32_t port, struct hb_env_packet *packets, uint32_t count)
{
	uint32_t sent = 0;

	(void)port;
	for (uint32_t i = 0; i < count; i++) {
		if (sent == i && wire_put(&from_port, packets[i].bytes, packets[i].length))
			sent++;
		hb_env_packet_drop(&packets[i]);
	}
	return sent;
}
