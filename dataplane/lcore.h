/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a worker lcore owns, and what lcores share. Internal to the dataplane.
 *
 * An lcore owns its partitions, their parking, deadlines and token asks, and its ends of the
 * clients' rings. It never locks, never allocates after start and never waits for anybody: the
 * main thread speaks to it by messages, other lcores hand it credits. struct hb_shared is filled
 * before the lcores start and read only afterwards, but for what is marked atomic.
 *
 * If the process dies here all of it is gone: persist drains the journal rings and the next
 * dataplane starts from what was committed.
 */
#ifndef HB_DATAPLANE_LCORE_H
#define HB_DATAPLANE_LCORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "dataplane/deadlines.h"
#include "dataplane/ledger_clock.h"
#include "dataplane/parking.h"
#include "dataplane/seeds.h"
#include "dataplane/spsc.h"
#include "dataplane/tokens.h"
#include "shm/bell.h"
#include "shm/engine.h"
#include "shm/frame.h"
#include "shm/link.h"
#include "shm/node.h"
#include "shm/ring.h"

#define HB_AUDIT_WAITERS_MAX	4    /* AUDIT frames of one partition that wait for a pass */
#define HB_AUDIT_SLOTS_PER_TURN 8192 /* while somebody waits for the pass */
#define HB_AUDIT_SLOTS_IDLE	4096 /* of one partition, at most once per idle period */
#define HB_EVICTS_PER_TURN	4    /* objects of one partition forgotten in one turn */
#define HB_EVICT_INTERVAL_NS	UINT64_C(100000000) /* between looks that found nothing */
#define HB_CREDIT_QUEUE_ENTRIES 8192 /* credits under way from one lcore to another */
#define HB_SLOW_CLIENT_NS	UINT64_C(1000000000)
/* Adaptive: looks so long for work before it sleeps; longer while sleeps turn out to be short. */
#define HB_IDLE_SPIN_NS	    3000
#define HB_IDLE_SPIN_NS_MAX 24000
#define HB_HOUSEKEEPING_NS  20000  /* between looks at deadlines, marks, what is over, audits */
#define HB_CLOCK_LOOK_NS    2000   /* ledger and wall clock are looked at this often */
#define HB_HEARTBEAT_NS	    100000 /* what others read of an lcore is renewed this often */
/* A real-time lcore that never sleeps makes room: often while somebody waits for the disk. */
#define HB_GIVE_WAY_NS	      20000
#define HB_GIVE_WAY_PARKED_NS 300000
#define HB_GIVE_WAY_EVERY_NS  20000000
#define HB_SLEEP_MS_MAX	      1000 /* so that deadlines, marks and the audit get their turn */
#define HB_SLEEP_STALLED_MS   1	   /* a client that reads its replies does not wake us */

/* From the main thread to an lcore. */
enum hb_lcore_message_kind {
	HB_LCORE_ATTACH = 1, /* `client` is a struct hb_client_slot, ready */
	HB_LCORE_DETACH,     /* let go of a slot; answered by LET_GO */
	HB_LCORE_STOP,	     /* take no more frames, release what is committed, return */
};

/* From an lcore to the main thread. */
enum hb_main_message_kind {
	HB_MAIN_LET_GO = 1, /* this lcore will not touch the slot's memory again */
	HB_MAIN_KICK,	    /* the client broke its rings or does not read: hang up */
};

struct hb_message {
	uint32_t kind;
	uint32_t slot;
	uint64_t generation;
	struct hb_client_slot *client;
};

/* A credit on its way to the owner of its account. */
struct hb_credit_message {
	struct hb_credit credit;
	uint32_t from_partition;
	uint32_t to_partition;
};

/* A client as one lcore sees it. */
struct hb_lcore_client {
	bool active;
	bool trusted;	  /* a ring of control: no money token needed */
	bool unpublished; /* replies were written in this turn */
	bool stalled;	  /* frames wait for room in its reply ring */
	int bell;	  /* the ringing end of the client's */
	uint64_t generation;
	uint64_t operation_mask;
	struct hb_ring_end request;
	struct hb_ring_end reply;
	uint64_t reply_reserved; /* bytes of its replies that are parked here */
	uint64_t stalled_tail;
	uint64_t stalled_since_ns;
};

struct hb_audit_waiter {
	uint32_t slot;
	uint32_t passes; /* full passes to go */
	uint64_t generation;
	uint64_t correlation;
};

/* A partition with what its owner keeps beside the state. */
struct hb_owned {
	struct hb_partition *partition;
	struct hb_ring_end journal;
	uint64_t committed; /* journal position last seen on disk */
	struct hb_parking parking;
	struct hb_deadlines deadlines; /* of packets */
	struct hb_deadlines hold_deadlines;
	struct hb_evict_cursor evict_cursor;
	uint64_t evict_due_ns;
	struct hb_token_asks asks;
	uint64_t token_last_id;
	uint64_t mark_sequence; /* core sequence of the last MARK */
	uint64_t mark_due_ns;
	struct hb_audit_waiter audit_waiter[HB_AUDIT_WAITERS_MAX];
	uint32_t audit_waiter_count;
};

/* What a reload may change. Each lcore has a copy, so that no frame sees half of a change. */
struct hb_live {
	struct hb_engine_config engine;
	uint64_t mark_interval_ns;
	uint64_t retention_ms; /* of what is over */
};

/* Shared by all lcores of the process. */
struct hb_shared {
	struct hb_live live[2];		  /* by the last bit of their generation */
	_Atomic uint32_t live_generation; /* in force; the main thread fills in the other first */
	struct hb_node *node;
	struct hb_journal_rings *journal;
	struct hb_ledger_clock_shared clock;
	uint32_t lcore_count;
	uint32_t clients_max;
	uint32_t parked_max;
	bool busy_idle;	  /* dataplane.idle = busy */
	bool realtime;	  /* node.realtime, but for lcores that never sleep */
	int persist_wake; /* stays the same number when persist comes back */
	int main_wake;
	struct hb_bell lcore_bell[HB_LCORE_COUNT_MAX];
	uint8_t lcore_of_partition[HB_PARTITION_COUNT];
	struct hb_spsc credits[HB_LCORE_COUNT_MAX][HB_LCORE_COUNT_MAX]; /* [from][to] */
	_Atomic uint32_t accounts_low; /* bit p, written by the owner of partition p */
};

struct hb_lcore {
	struct hb_shared *shared;
	uint32_t number;
	uint32_t owned_count;
	struct hb_owned *owned[HB_PARTITION_COUNT]; /* by partition; NULL: another lcore's */
	struct hb_lcore_client *clients;	    /* shared->clients_max slots */
	uint32_t *active;			    /* slots in use */
	uint32_t active_count;
	struct hb_spsc from_main;
	struct hb_spsc to_main;
	struct hb_ledger_clock clock;
	struct hb_seeds seeds;
	struct hb_input input;
	struct hb_live live;
	_Atomic uint32_t live_seen; /* generation of that copy; the main thread waits for it */
	uint64_t wall_s;	    /* of this turn, for the issue time of frames */
	uint64_t mono_ns;	    /* of this turn */
	uint64_t clock_ns;	    /* mono_ns when ledger and wall clock were looked at */
	uint64_t housekeeping_ns;   /* mono_ns when the partitions had their turn */
	uint64_t heartbeat_ns;	    /* mono_ns when others were told */
	uint64_t busy_ns;	    /* since then */
	uint64_t awake_ns;	    /* mono_ns when it last slept or gave way */
	uint64_t spin_ns;	    /* HB_IDLE_SPIN_NS to HB_IDLE_SPIN_NS_MAX */
	uint32_t parked;	    /* bit p: replies of partition p wait for their commit */
	uint32_t unpublished;	    /* bit p: records of partition p were written in this turn */
	uint64_t idle_audit_ns;
	uint32_t idle_audit_partition;
	uint32_t wake_lcores; /* bit i: credits were handed to lcore i in this turn */
	bool any_unpublished_reply;
	bool stopping;
	uint64_t stop_deadline_ns;
	/* scratch */
	struct hb_token_batch tokens; /* of the burst at work */
	_Alignas(64) uint8_t frames[HB_BURST_MAX][HB_FRAME_BYTES_MAX];
	_Alignas(64) uint8_t records[HB_DECISION_BYTES_MAX];
	_Alignas(64) uint8_t reply[HB_REPLY_BYTES_MAX];
};

static inline void
hb_count(struct hb_lcore *lcore, enum hb_counter counter, uint64_t n)
{
	hb_counter_add(lcore->shared->node, lcore->number, counter, n);
}

/* lcore.c: life of an lcore */

/** Allocate everything an lcore needs and map its journal rings. @return 0 or -errno */
int hb_lcore_init(struct hb_lcore *lcore, struct hb_shared *shared, uint32_t number,
	struct hb_state *state, int journal_fd);
void hb_lcore_free(struct hb_lcore *lcore);

/** Copy what a reload changed (lcore.c). */
void hb_lcore_live_update(struct hb_lcore *lcore);

/* cycle.c: the duty cycle */

/** Run the duty cycle until the main thread says STOP. @param lcore struct hb_lcore */
int hb_lcore_run(void *lcore);

/** One turn. @return true when there was work */
bool hb_lcore_turn(struct hb_lcore *lcore);

/** Block until there may be work (idle.c). */
void hb_lcore_sleep(struct hb_lcore *lcore);

/* decisions.c: from a frame to records and a parked reply */

/** Handle a frame that was copied out of shared memory. `bytes` as published by the client. */
void hb_frame_handle(
	struct hb_lcore *lcore, uint32_t slot, const struct hb_frame *frame, uint32_t bytes);

/** Close what is past its deadline; bounded. @return true when something was done */
bool hb_deadlines_turn(struct hb_lcore *lcore, struct hb_owned *owned);

/** Forget what is over and in MySQL; bounded. @return true when something was forgotten */
bool hb_evict_turn(struct hb_lcore *lcore, struct hb_owned *owned);

/** Write a MARK when one is due. @return true when one was written */
bool hb_mark_turn(struct hb_lcore *lcore, struct hb_owned *owned);

/** Take the next steps of an audit that somebody waits for. @return true while there is one */
bool hb_audit_turn(struct hb_lcore *lcore, struct hb_owned *owned);

/** A step of the audit that always goes on, in one partition; ends the process on a mismatch. */
void hb_audit_idle(struct hb_lcore *lcore);

/* replies.c: parking and releasing */

/**
 * Park the reply in lcore->reply with the credits of its records. Room was reserved.
 * @param slot the client's, or UINT32_MAX for credits without a reply
 */
void hb_reply_park(struct hb_lcore *lcore, struct hb_owned *owned, uint32_t slot,
	const struct hb_credit *credits, uint32_t credit_count);

/** Answer at once with a status that no record stands behind (busy, invalid, not allowed). */
void hb_reply_refuse(
	struct hb_lcore *lcore, uint32_t slot, const struct hb_frame *frame, enum hb_status status);

/** Release what is committed. @return true when something was released */
bool hb_replies_release(struct hb_lcore *lcore, struct hb_owned *owned);

/** Make this turn's replies visible and wake their readers. */
void hb_replies_publish(struct hb_lcore *lcore);

/* credits.c */

/** Hand a committed credit to its owner. @return false when the way there is full: try again */
bool hb_credit_deliver(
	struct hb_lcore *lcore, uint32_t from_partition, const struct hb_credit *credit);

/** Apply what other lcores handed over. @return true when there was something */
bool hb_credits_drain(struct hb_lcore *lcore);

/** Wake the lcores that were handed credits. */
void hb_credits_wake(struct hb_lcore *lcore);

/** Keep shared->accounts_low true for a partition whose account table may have grown. */
void hb_accounts_low_update(struct hb_lcore *lcore, const struct hb_partition *p);

/* clients.c: an lcore's view of its clients */

/** Take the messages of the main thread. @return true when there were any */
bool hb_clients_messages(struct hb_lcore *lcore);

/** Stop talking to a client and ask the main thread to hang up. */
void hb_client_kick(struct hb_lcore *lcore, uint32_t slot, const char *why);

#endif
