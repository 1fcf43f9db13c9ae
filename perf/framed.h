/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A load of grabs by frames over TCP (docs/frames.md): a connection for each user, who says who he
 * is and then has up to `in_flight` frames under way, answered in any order. Closed or open loop,
 * with what it finds in a struct hb_load, as over HTTP; its outcomes have the http code 0.
 *
 * In the open loop grabs leave in the order of their file, each on its user's connection, and one
 * that finds it full waits there while its clock runs. In the closed loop each connection sends
 * its user's grabs as fast as answers come; the loop ends when the time is over or one user has
 * no more. A connection that ends is not made again: what it had under way is counted as reset,
 * what it had left as unsent.
 *
 * One thread. Grabs, tokens and connections belong to hb_framed, connections for one run only. If
 * the process dies, grabs under way have an unknown outcome, as with any client.
 */
#ifndef HB_PERF_FRAMED_H
#define HB_PERF_FRAMED_H

#include <stdint.h>

#include "perf/load.h"

#define HB_FRAMED_IN_FLIGHT_MAX 64 /* that a node takes of one connection */

struct hb_framed_grab;
struct hb_framed_connection;

struct hb_framed {
	uint32_t in_flight; /* given: per connection, 1 to HB_FRAMED_IN_FLIGHT_MAX */
	uint64_t grab_count;
	struct hb_framed_grab *grabs;
	uint32_t user_count;
	char **tokens; /* user tokens, by number of the user */
	struct hb_framed_connection *connections;
};

/**
 * Read grabs and user tokens.
 * @param grabs_path lines of user, packet (16 hex digits), money token and sequence, as
 *        hongbao-bench rings tells them; users are numbered from the smallest on
 * @param tokens_path the user tokens, one a line, in the order of the users
 * @param error says what is wrong on failure
 * @return 0 or -errno (-EPROTO: a line that is none, a user without token)
 */
int hb_framed_open(
	struct hb_framed *framed, const char *grabs_path, const char *tokens_path, char error[256]);
void hb_framed_close(struct hb_framed *framed);

/**
 * Connect every user, run the schedule, wait for what is under way.
 * @param load with request_first and request_count lines of the grabs; `lines` tells how many of
 *        them the run has passed, of which some may not have been sent
 * @param error says why no run took place
 * @return 0 when the run took place (its errors are counted), or -errno
 */
int hb_framed_run(struct hb_framed *framed, struct hb_load *load, uint64_t *lines, char error[256]);

#endif
