/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See mariadb_client.h. A thread and a connection for each grab under way; the call is prepared
 * and its numbers are bound. The clock starts when all are connected. If it dies, the server rolls
 * back what was not committed.
 */
#include "perf/mariadb_client.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mysql.h>

#include "base/clock.h"
#include "perf/histogram.h"

#define STACK_BYTES	  (256u << 10)
#define SHARES_PER_PACKET 10

struct clients {
	const struct hb_mariadb_options *options;
	pthread_barrier_t connected;
	_Atomic uint64_t next;
	_Atomic bool failed;
	pthread_mutex_t lock; /* of what follows */
	struct hb_histogram latency;
	char error[160];
};

static void
note(struct clients *all, const char *what, const char *why)
{
	pthread_mutex_lock(&all->lock);
	if (!atomic_exchange(&all->failed, true))
		snprintf(all->error, sizeof(all->error), "%.40s: %.100s", what, why);
	pthread_mutex_unlock(&all->lock);
}

static MYSQL_STMT *
prepare(MYSQL *connection, uint64_t values[2])
{
	static const char call[] = "CALL grab(?, ?)";
	MYSQL_STMT *statement = mysql_stmt_init(connection);
	MYSQL_BIND bind[2] = {0};

	for (int i = 0; i < 2; i++) {
		bind[i].buffer_type = MYSQL_TYPE_LONGLONG;
		bind[i].buffer = &values[i];
		bind[i].is_unsigned = true;
	}
	if (statement == NULL)
		return NULL;
	if (mysql_stmt_prepare(statement, call, sizeof(call) - 1) == 0 &&
		mysql_stmt_bind_param(statement, bind) == 0)
		return statement;
	mysql_stmt_close(statement);
	return NULL;
}

static void
grab(struct clients *all, MYSQL_STMT *statement, uint64_t values[2], struct hb_histogram *latency)
{
	const struct hb_mariadb_options *o = all->options;

	while (!atomic_load(&all->failed)) {
		uint64_t number = atomic_fetch_add(&all->next, 1);
		uint64_t begin_ns = hb_mono_ns();

		if (number >= o->count)
			return;
		values[0] = (o->first + number) / SHARES_PER_PACKET;
		values[1] = o->first + number;
		if (mysql_stmt_execute(statement) != 0) {
			note(all, "CALL grab", mysql_stmt_error(statement));
			return;
		}
		while (mysql_stmt_next_result(statement) == 0)
			;
		hb_histogram_add(latency, hb_mono_ns() - begin_ns);
	}
}

static void *
client(void *argument)
{
	struct clients *all = argument;
	struct hb_histogram *latency = malloc(sizeof(*latency));
	MYSQL *connection = mysql_init(NULL);
	MYSQL_STMT *statement = NULL;
	uint64_t values[2];

	if (latency != NULL && connection != NULL) {
		hb_histogram_reset(latency);
		if (mysql_real_connect(connection, NULL, "root", NULL, all->options->database, 0,
			    all->options->socket, 0) != NULL)
			statement = prepare(connection, values);
	}
	if (statement == NULL)
		note(all, "connect",
			connection == NULL ? "out of memory" : mysql_error(connection));
	pthread_barrier_wait(&all->connected);
	if (statement != NULL) {
		grab(all, statement, values, latency);
		mysql_stmt_close(statement);
	}
	pthread_mutex_lock(&all->lock);
	if (latency != NULL)
		hb_histogram_merge(&all->latency, latency);
	pthread_mutex_unlock(&all->lock);
	free(latency);
	if (connection != NULL)
		mysql_close(connection);
	mysql_thread_end();
	return NULL;
}

static void
print(const struct clients *all, uint64_t ns)
{
	printf("{\"rate_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.2f}\n",
		(double)all->latency.count * 1e9 / (double)(ns + 1),
		(double)hb_histogram_percentile(&all->latency, 500000) / 1e3,
		(double)hb_histogram_percentile(&all->latency, 990000) / 1e3,
		(double)all->latency.max / 1e3);
}

int
hb_mariadb_client(const struct hb_mariadb_options *options, char error[160])
{
	static struct clients all;
	pthread_t *threads = calloc(options->clients, sizeof(*threads));
	pthread_attr_t attributes;
	uint64_t begin_ns;
	int result = 0;

	if (threads == NULL)
		return -ENOMEM;
	all.options = options;
	hb_histogram_reset(&all.latency);
	pthread_mutex_init(&all.lock, NULL);
	pthread_barrier_init(&all.connected, NULL, (unsigned)options->clients + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	mysql_library_init(0, NULL, NULL);
	for (uint64_t i = 0; i < options->clients; i++) {
		if (pthread_create(&threads[i], &attributes, client, &all) != 0) {
			snprintf(error, 160, "cannot start %" PRIu64 " threads", options->clients);
			return -EAGAIN; /* the process ends, and the threads that wait with it */
		}
	}
	pthread_barrier_wait(&all.connected);
	begin_ns = hb_mono_ns();
	for (uint64_t i = 0; i < options->clients; i++)
		pthread_join(threads[i], NULL);
	if (atomic_load(&all.failed)) {
		snprintf(error, 160, "%.159s", all.error);
		result = -EPROTO;
	} else {
		print(&all, hb_mono_ns() - begin_ns);
	}
	pthread_attr_destroy(&attributes);
	free(threads);
	return result;
}
