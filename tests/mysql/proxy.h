/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A proxy in front of the test's MariaDB that breaks one connection at a chosen moment: before a
 * COMMIT reaches the server, after the server has answered it, in the middle of a message, or by
 * answering in the server's place. A thread of the test; unarmed it only passes bytes on.
 */
#ifndef HB_TESTS_MYSQL_PROXY_H
#define HB_TESTS_MYSQL_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum proxy_fault {
	PROXY_NOTHING = 0,
	PROXY_CUT_BEFORE_COMMIT, /* the server never sees it */
	PROXY_CUT_WITH_COMMIT,	 /* passed on and cut at once: either may be */
	PROXY_CUT_AFTER_COMMIT,	 /* the server has committed, and nobody hears of it */
	PROXY_CUT_REQUEST,	 /* after some bytes of requests */
	PROXY_CUT_REPLY,	 /* after some bytes of replies */
	PROXY_REFUSE_BEGIN,	 /* "read only" instead of a transaction */
	PROXY_REFUSE_COMMIT,	 /* "dead lock" instead of a commit */
	PROXY_KILL_SERVER,	 /* with the COMMIT on its way */
	PROXY_FAULT_COUNT
};

struct proxy {
	char path[100];
	char server_path[100];
	int listener;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int fault;	     /* enum proxy_fault; back to PROXY_NOTHING when it is done */
	_Atomic uint64_t bytes_left; /* until a cut of a request or reply */
	_Atomic pid_t server;	     /* to be killed */
};

/** Listen at `path` for the server at `server_path`; fails the test when it cannot. */
void proxy_open(struct proxy *proxy, const char *path, const char *server_path);
void proxy_close(struct proxy *proxy);

#endif
