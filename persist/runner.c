/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of persist/runner.h. The lock is held for looks at the work alone, never while it is
 * done.
 */
#include "persist/runner.h"

#include <string.h>

#include "base/assert.h"

static void *
run(void *argument)
{
	struct hb_runner *runner = argument;

	pthread_mutex_lock(&runner->lock);
	for (;;) {
		while (runner->work == NULL && !runner->ending)
			pthread_cond_wait(&runner->changed, &runner->lock);
		if (runner->work == NULL)
			break;
		pthread_mutex_unlock(&runner->lock);
		runner->work(runner->argument);
		pthread_mutex_lock(&runner->lock);
		runner->work = NULL;
		pthread_cond_broadcast(&runner->changed);
	}
	pthread_mutex_unlock(&runner->lock);
	return NULL;
}

int
hb_runner_start(struct hb_runner *runner)
{
	memset(runner, 0, sizeof(*runner));
	pthread_mutex_init(&runner->lock, NULL);
	pthread_cond_init(&runner->changed, NULL);
	return -pthread_create(&runner->thread, NULL, run, runner);
}

void
hb_runner_begin(struct hb_runner *runner, hb_runner_fn *work, void *argument)
{
	pthread_mutex_lock(&runner->lock);
	HB_ASSERT(runner->work == NULL);
	HB_ASSERT(!runner->ending);
	runner->work = work;
	runner->argument = argument;
	pthread_cond_broadcast(&runner->changed);
	pthread_mutex_unlock(&runner->lock);
}

void
hb_runner_wait(struct hb_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	while (runner->work != NULL)
		pthread_cond_wait(&runner->changed, &runner->lock);
	pthread_mutex_unlock(&runner->lock);
}

void
hb_runner_stop(struct hb_runner *runner)
{
	pthread_mutex_lock(&runner->lock);
	HB_ASSERT(runner->work == NULL);
	runner->ending = true;
	pthread_cond_broadcast(&runner->changed);
	pthread_mutex_unlock(&runner->lock);
	pthread_join(runner->thread, NULL);
	pthread_cond_destroy(&runner->changed);
	pthread_mutex_destroy(&runner->lock);
}
