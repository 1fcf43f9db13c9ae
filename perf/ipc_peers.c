/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See ipc_peers.h. Two processes and one way there, one way back: the parent asks, the child
 * answers with the same 64 bytes, nothing is decided. The parent keeps so many messages under way,
 * counts from when each was sent, and ends the child by a message. If the parent dies, the kernel
 * ends the child (PR_SET_PDEATHSIG).
 */
#include "perf/ipc_peers.h"

#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_pause.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "base/clock.h"
#include "perf/histogram.h"

#define MESSAGE_BYTES 64
#define BURST	      32
#define RING_MESSAGES 4096
#define LAST	      UINT64_MAX

struct message {
	uint64_t sent_ns; /* LAST: the child shall end */
	uint8_t rest[MESSAGE_BYTES - sizeof(uint64_t)];
};
_Static_assert(sizeof(struct message) == MESSAGE_BYTES, "as a frame and its reply");

/* One direction. */
struct way {
	struct rte_ring *ring; /* NULL: a pipe */
	int fd[2];	       /* read, write */
};

static _Noreturn void
fatal(const char *what)
{
	fprintf(stderr, "ipc peers: %s: %s\n", what, strerror(errno));
	exit(2);
}

static struct rte_ring *
shared_ring(const char *name)
{
	ssize_t bytes = rte_ring_get_memsize_elem(MESSAGE_BYTES, RING_MESSAGES);
	struct rte_ring *ring = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (ring == MAP_FAILED ||
		rte_ring_init(ring, name, RING_MESSAGES, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
		fatal("no rte_ring");
	return ring;
}

static void
way_open(struct way *way, const char *kind, const char *name)
{
	way->ring = NULL;
	if (strcmp(kind, "ring") == 0)
		way->ring = shared_ring(name);
	else if (pipe(way->fd) != 0)
		fatal("no pipe");
}

/* Hand over all; the other side has room for what is under way. */
static void
put(struct way *way, const struct message *messages, uint32_t count)
{
	const uint8_t *at = (const uint8_t *)messages;
	size_t left = (size_t)count * MESSAGE_BYTES;

	if (way->ring != NULL) {
		if (rte_ring_sp_enqueue_bulk_elem(
			    way->ring, messages, MESSAGE_BYTES, count, NULL) != count)
			fatal("the ring is full");
		return;
	}
	while (left > 0) {
		ssize_t n = write(way->fd[1], at, left);

		if (n <= 0)
			fatal("write to a pipe");
		at += n;
		left -= (size_t)n;
	}
}

/* @return how many, at least one; a ring is asked until there is one, a pipe waits */
static uint32_t
take(struct way *way, struct message *messages)
{
	size_t got = 0;
	unsigned n;

	while (way->ring != NULL) {
		n = rte_ring_sc_dequeue_burst_elem(way->ring, messages, MESSAGE_BYTES, BURST, NULL);
		if (n > 0)
			return n;
		rte_pause();
	}
	do {
		ssize_t n_bytes =
			read(way->fd[0], (uint8_t *)messages + got, BURST * MESSAGE_BYTES - got);

		if (n_bytes <= 0)
			fatal("read from a pipe");
		got += (size_t)n_bytes;
	} while (got % MESSAGE_BYTES != 0);
	return (uint32_t)(got / MESSAGE_BYTES);
}

static void
pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fatal("no such CPU");
}

static _Noreturn void
child(struct way *to, struct way *from, int cpu)
{
	struct message messages[BURST];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cpu);
	for (;;) {
		uint32_t n = take(to, messages);

		put(from, messages, n);
		if (messages[n - 1].sent_ns == LAST)
			_exit(0);
	}
}

static void
parent(struct way *to, struct way *from, const struct hb_ipc_options *o,
	struct hb_histogram *latency, uint64_t *ns)
{
	struct message messages[BURST] = {0};
	uint64_t sent = 0, done = 0, begin_ns = hb_mono_ns();

	while (done < o->count) {
		uint64_t now_ns = hb_mono_ns();
		uint32_t n = 0;

		while (sent < o->count && sent - done < o->in_flight) {
			messages[n++].sent_ns = now_ns;
			sent++;
			if (n == BURST || sent - done == o->in_flight || sent == o->count) {
				put(to, messages, n);
				n = 0;
			}
		}
		n = take(from, messages);
		now_ns = hb_mono_ns();
		for (uint32_t i = 0; i < n; i++)
			hb_histogram_add(latency, now_ns - messages[i].sent_ns);
		done += n;
	}
	*ns = hb_mono_ns() - begin_ns;
	messages[0].sent_ns = LAST;
	put(to, messages, 1);
}

int
hb_ipc_peer(const struct hb_ipc_options *options)
{
	static struct hb_histogram latency;
	struct way to, from;
	uint64_t ns = 0;
	pid_t pid;

	if (options->in_flight < 1 || options->in_flight > RING_MESSAGES / 2) {
		errno = EINVAL;
		fatal("--in-flight 1 to 2048");
	}
	way_open(&to, options->kind, "to");
	way_open(&from, options->kind, "from");
	hb_histogram_reset(&latency);
	pid = fork();
	if (pid < 0)
		fatal("fork");
	if (pid == 0)
		child(&to, &from, options->cpu_of_server);
	pin(options->cpu_of_client);
	parent(&to, &from, options, &latency, &ns);
	waitpid(pid, NULL, 0);
	printf("{\"rate_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.2f}\n",
		(double)options->count * 1e9 / (double)ns,
		(double)hb_histogram_percentile(&latency, 500000) / 1e3,
		(double)hb_histogram_percentile(&latency, 990000) / 1e3, (double)latency.max / 1e3);
	return 0;
}
