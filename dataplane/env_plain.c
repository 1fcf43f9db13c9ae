/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Lcores as plain threads, without EAL: for tests, which need neither DPDK nor rights.
 */
#include "dataplane/env.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "shm/limits.h"

struct worker {
	pthread_t thread;
	bool running;
	hb_env_lcore_fn *fn;
	void *argument;
};

static struct worker workers[HB_LCORE_COUNT_MAX];

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
	for (uint32_t i = 0; i < HB_LCORE_COUNT_MAX; i++) {
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
