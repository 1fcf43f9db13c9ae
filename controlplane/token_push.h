/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Money tokens on their users' event streams (notices.tokens = 1; docs/events.md). One thread takes
 * what users asked for and tells it to all nginx workers; the one that holds a stream of the user
 * writes it there. So a token travels neither in the reply of the request that asked for it nor
 * through the business system.
 *
 * While no worker is there nothing is taken: asks wait in the dataplane. If control dies, tokens
 * that were on the way are lost and their users ask again; workers connect to the next control.
 */
#ifndef HB_CONTROLPLANE_TOKEN_PUSH_H
#define HB_CONTROLPLANE_TOKEN_PUSH_H

#include <sys/types.h>

#include "controlplane/engine_client.h"

#define HB_TOKEN_PUSH_WORKERS_MAX 128 /* those of a reload included */

struct hb_token_push;

/**
 * Listen and start the thread.
 * @param path of the socket; what lies there is replaced
 * @param front_uid whose processes may connect, beside root and ourselves
 * @return 0 or -errno with `error`; the caller ends it with hb_token_push_stop
 */
int hb_token_push_start(struct hb_token_push **push, struct hb_engine *engine, const char *path,
	uid_t front_uid, char error[256]);
/** Safe on NULL. */
void hb_token_push_stop(struct hb_token_push *push);

#endif
