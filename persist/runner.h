/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A thread that is there before it is needed, and does one piece of work after another.
 *
 * The writer of a session must have the scheduling that the process was started with
 * (base/realtime.h), but a session begins long after the main thread has given that up. So the
 * thread is made first and lent to each session. Belongs to whoever started it; one thread hands
 * it work. Dies with its process.
 */
#ifndef HB_PERSIST_RUNNER_H
#define HB_PERSIST_RUNNER_H

#include <pthread.h>
#include <stdbool.h>

typedef void hb_runner_fn(void *argument);

struct hb_runner {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	hb_runner_fn *work; /* NULL: idle */
	void *argument;
	bool ending;
};

/** @return 0 or -errno */
int hb_runner_start(struct hb_runner *runner);

/** Do this; the runner is idle. */
void hb_runner_begin(struct hb_runner *runner, hb_runner_fn *work, void *argument);

/** Wait until it is idle. */
void hb_runner_wait(struct hb_runner *runner);

/** End the thread, which is idle. */
void hb_runner_stop(struct hb_runner *runner);

#endif
