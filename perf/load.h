/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * An open-loop HTTP/1.1 load: requests of a plan leave on a Poisson schedule over keep-alive
 * connections, whatever the server does. No pipelining: one request per connection under way.
 *
 * A request's latency begins at the moment the schedule meant it to leave, so a server that stalls
 * is charged for every request it held up, not only for those under way. When no connection is
 * free a request waits in the schedule and its clock runs; with a patience it is given up after so
 * long, as a user does who is told nothing, and its line of the plan is the next one's.
 *
 * A closed loop has no schedule: a request leaves when a connection is free, and its latency begins
 * there. It finds the most that a server answers; its latency says little.
 *
 * One thread. The schedule is a function of the seed. If the process dies, requests under way have
 * an unknown outcome, as with any client.
 */
#ifndef HB_PERF_LOAD_H
#define HB_PERF_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "perf/histogram.h"
#include "perf/plan.h"

#define HB_LOAD_CONNECTIONS_MAX 16384
#define HB_LOAD_SECONDS_MAX	3600 /* of which the worst latency is kept */
#define HB_LOAD_OUTCOMES_MAX	32   /* different answers that are told apart */

/* What became of the requests that got no whole answer. */
struct hb_load_errors {
	uint64_t connect;  /* no connection could be made */
	uint64_t reset;	   /* the connection ended before the answer was whole */
	uint64_t timeout;  /* no whole answer in time */
	uint64_t protocol; /* the answer was no HTTP/1.1 with Content-Length */
	uint64_t unsent;   /* still in the schedule when the time to drain was over */
};

/* One kind of whole answer: HTTP code and the body's "status". */
struct hb_load_outcome {
	int http;
	char status[32];
	uint64_t count;
};

struct hb_load {
	/* given */
	const struct hb_plan *plan;
	char host[64];
	char port[8];
	uint32_t connection_count;
	double rate_per_s;
	bool closed;		/* no schedule, and no rate */
	uint64_t duration_ms;	/* of a closed loop: nothing leaves later; 0: until all have left */
	uint64_t request_first; /* of the plan's requests: where to begin */
	uint64_t request_count; /* how many of them, in their order, once each; with a patience: how
				   many the schedule has, and it ends early when the plan does */
	uint64_t seed;
	uint32_t timeout_ms;
	uint32_t drain_ms;    /* after the schedule's end, for what is left */
	uint32_t patience_ms; /* a request that is so late is not sent at all; 0: it is */
	uint32_t tick_us;     /* wake for arrivals at multiples of this only; 0: for each in time */
	bool whole_answers;   /* every answer must be 200 with status "ok"; else any 200 counts */

	/* found */
	struct hb_histogram latency; /* ns, of accepted requests, from the intended time */
	uint64_t worst_ns[HB_LOAD_SECONDS_MAX]; /* latency, by second of the intended time */
	struct hb_histogram late;		/* ns from the intended time to the send */
	struct hb_histogram refusal;		/* ns, of refused requests, from the send */
	struct hb_load_errors errors;
	struct hb_load_outcome outcomes[HB_LOAD_OUTCOMES_MAX];
	uint64_t sent;	   /* requests that left; the rest is in given_up and errors.unsent */
	uint64_t given_up; /* out of patience before a connection was free */
	uint64_t accepted; /* 200 (with status ok) */
	uint64_t refused;  /* other whole answers */
	uint64_t reconnects;
	uint64_t amount_fen_sum; /* of the amount_fen of accepted answers */
	uint64_t start_ns;	 /* by the monotonic clock */
	uint64_t schedule_ns;	 /* from the start to the last intended time */
	uint64_t elapsed_ns;	 /* from the start to the last answer */
	uint64_t answering_ns;	 /* from the first answer to the last */
};

/**
 * Connect, run the schedule, wait for what is under way.
 * @param error says why no run took place
 * @return 0 when the run took place (its errors are counted), or -errno
 */
int hb_load_run(struct hb_load *load, char error[256]);

/** A whole answer came: count its kind. For other loads too, whose `http` is 0. */
void hb_load_count_outcome(struct hb_load *load, int http, const char *status);
/** A request that was meant to leave at due_ns was accepted at now_ns. */
void hb_load_count_accepted(struct hb_load *load, uint64_t due_ns, uint64_t now_ns);

/** All requests that did not end as they should. */
uint64_t hb_load_failed(const struct hb_load *load);

#endif
