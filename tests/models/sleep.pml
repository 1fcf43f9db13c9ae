/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody sleeps while there is work for him: the three sleepers of a node and who rings their bells.
 *
 * Models: hb_client_flush, hb_client_poll, hb_client_sleep, hb_client_awake (shm/client.c);
 * hb_ring_publish, hb_ring_sleep, hb_ring_awake (shm/ring.c); hb_lcore_turn, publish_records,
 * work_waits, hb_lcore_sleep (dataplane/cycle.c); hb_replies_release, hb_replies_publish
 * (dataplane/replies.c); hb_credit_deliver, hb_credits_drain, hb_credits_wake
 * (dataplane/credits.c); publish, wake_lcores, sleep_until_rung (persist/session.c).
 *
 * A client sends REQUESTS, each becomes a record, persist commits it, the reply is released and
 * the client hears it; another lcore hands over CREDITS meanwhile. No poll has a time limit here
 * (in the code each has one, of a second), so a wake-up that is lost ends in a state in which
 * everybody waits.
 *
 * Memory: x86-TSO. Each process has a FIFO of stores that reach memory at any later time. A store
 * that is seq_cst in the code, and a fence, wait until the process's own stores have arrived;
 * release and relaxed stores do not. Bells are eventfds: the kernel's, never buffered.
 *
 * Bounds: REQUESTS, CREDITS, one journal ring, one client, STORES entries in each FIFO.
 * Left out: time, several rings of one kind (each sleeper looks at all of them, in a loop),
 * back-pressure (hb_lcore_sleep looks again after 1 ms while a client is stalled), messages of the
 * main thread (it rings always).
 *
 * short: -DREQUESTS=2 -DCREDITS=1
 * full: -DREQUESTS=3 -DCREDITS=2
 * plant: NO_FENCE: persist looks who waits before the tails it moved are in memory
 * plant: NO_SECOND_LOOK: an lcore does not look again after it raised its flag
 * plant: LOOK_BEFORE_FLAG: an lcore raises its flag after the second look
 * plant: FLAG_RELEASE: an lcore's flag is a release store
 * plant: HEAD_RELEASE: a client's head is a release store
 * plant: NOT_WAITING: an lcore does not say that replies are parked
 * plant: CREDITS_NOT_LOOKED_AT: the second look forgets what other lcores hand over
 * plant: BELL_BEFORE_CREDIT: an lcore rings before the credit can be seen
 * plant: PERSIST_LOOKS_ONCE: persist does not look again after it raised its flag
 * plant: CLIENT_FLAG_RELEASE: a client's flag is a release store
 */
#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef CREDITS
#define CREDITS 1
#endif
#define STORES 3

/* Words of memory; each has one writer. */
#define REQUEST_HEAD	 0
#define CLIENT_SLEEPING	 1
#define LCORE_SLEEPING	 2
#define LCORE_WAITING	 3
#define JOURNAL_HEAD	 4
#define REPLY_HEAD	 5
#define JOURNAL_TAIL	 6
#define PERSIST_SLEEPING 7
#define CREDIT_HEAD	 8
#define WORDS		 9

/* Processes. */
#define CLIENT	   0
#define LCORE	   1
#define PERSIST	   2
#define OTHER	   3
#define PROCESSES  4

byte word[WORDS];
byte stores[PROCESSES];
byte store_word[PROCESSES * STORES];
byte store_value[PROCESSES * STORES];
bool bell[PROCESSES];
byte finished; /* the client and the other lcore, and the lcore's last credit */

/* Relaxed and release stores. */
inline store_later(p, w, v)
{
	d_step {
		stores[p] < STORES ->
		store_word[p * STORES + stores[p]] = w;
		store_value[p * STORES + stores[p]] = v;
		stores[p]++;
	}
}

inline fence(p)
{
	stores[p] == 0
}

inline store_seq_cst(p, w, v)
{
	d_step { stores[p] == 0 -> word[w] = v }
}

#define ARRIVE(p)                                                              \
	d_step {                                                               \
		stores[p] > 0 ->                                               \
		word[store_word[p * STORES]] = store_value[p * STORES];        \
		store_word[p * STORES] = store_word[p * STORES + 1];           \
		store_value[p * STORES] = store_value[p * STORES + 1];         \
		store_word[p * STORES + 1] = store_word[p * STORES + 2];       \
		store_value[p * STORES + 1] = store_value[p * STORES + 2];     \
		store_word[p * STORES + 2] = 0;                                \
		store_value[p * STORES + 2] = 0;                               \
		stores[p]--;                                                   \
	}

active proctype memory()
{
end:	do
	:: ARRIVE(CLIENT)
	:: ARRIVE(LCORE)
	:: ARRIVE(PERSIST)
	:: ARRIVE(OTHER)
	od
}

inline ring(p)
{
	bell[p] = true
}

inline ring_if(p, flag)
{
	if
	:: word[flag] != 0 -> ring(p)
	:: else
	fi
}

active proctype client()
{
	byte sent, got;

	do
	:: sent < REQUESTS ->
		sent++;
#ifdef HEAD_RELEASE
		store_later(CLIENT, REQUEST_HEAD, sent);
#else
		store_seq_cst(CLIENT, REQUEST_HEAD, sent);
#endif
		ring_if(LCORE, LCORE_SLEEPING)
	:: word[REPLY_HEAD] != got ->
		got = word[REPLY_HEAD];
		assert(got <= sent)
	:: got == REQUESTS -> break
	:: got < sent && word[REPLY_HEAD] == got ->
#ifdef CLIENT_FLAG_RELEASE
		store_later(CLIENT, CLIENT_SLEEPING, 1);
#else
		store_seq_cst(CLIENT, CLIENT_SLEEPING, 1);
#endif
		if
		:: word[REPLY_HEAD] != got
		:: word[REPLY_HEAD] == got ->
			bell[CLIENT] /* poll */
		fi;
		store_later(CLIENT, CLIENT_SLEEPING, 0);
		bell[CLIENT] = false
	od;
	finished++
}

active proctype other_lcore()
{
	byte given;

	do
	:: given < CREDITS ->
		given++;
#ifdef BELL_BEFORE_CREDIT
		ring_if(LCORE, LCORE_SLEEPING);
		store_seq_cst(OTHER, CREDIT_HEAD, given)
#else
		store_seq_cst(OTHER, CREDIT_HEAD, given);
		/* several credits of one turn are rung for once, at its end */
		if
		:: given == CREDITS -> ring_if(LCORE, LCORE_SLEEPING)
		:: given < CREDITS -> ring_if(LCORE, LCORE_SLEEPING)
		:: given < CREDITS
		fi
#endif
	:: given == CREDITS -> break
	od;
	finished++
}

#define EVERYTHING_DONE (finished == 3)
#define NOTHING_WAITS(credits, requests, released, recorded)                                       \
	(CREDITS_SEEN(credits) && word[REQUEST_HEAD] == requests &&                                \
		(released == recorded || word[JOURNAL_TAIL] == released))
#ifdef CREDITS_NOT_LOOKED_AT
#define CREDITS_SEEN(credits) true
#else
#define CREDITS_SEEN(credits) (word[CREDIT_HEAD] == credits)
#endif

active proctype lcore()
{
	byte credits, requests, recorded, released;
	bool work;

	do
	:: /* a turn: credits, replies, frames; each look is an access of its own */
		work = false;
		if
		:: word[CREDIT_HEAD] != credits ->
			credits = word[CREDIT_HEAD];
			work = true;
			if
			:: credits == CREDITS -> finished++
			:: else
			fi
		:: else
		fi;
		if
		:: released != recorded && word[JOURNAL_TAIL] != released ->
			released = word[JOURNAL_TAIL];
			assert(released <= recorded);
			work = true;
			store_seq_cst(LCORE, REPLY_HEAD, released);
			ring_if(CLIENT, CLIENT_SLEEPING)
		:: else
		fi;
		if
		:: word[REQUEST_HEAD] != requests ->
			requests = word[REQUEST_HEAD];
			recorded = requests;
			work = true;
			store_seq_cst(LCORE, JOURNAL_HEAD, recorded);
			ring_if(PERSIST, PERSIST_SLEEPING)
		:: else
		fi;
		if
		:: work
		:: !work ->
#ifdef LOOK_BEFORE_FLAG
			work = !NOTHING_WAITS(credits, requests, released, recorded);
#endif
#ifdef NOT_WAITING
			store_seq_cst(LCORE, LCORE_WAITING, 0);
#else
			store_seq_cst(LCORE, LCORE_WAITING, (released != recorded));
#endif
#ifdef FLAG_RELEASE
			store_later(LCORE, LCORE_SLEEPING, 1);
#else
			store_seq_cst(LCORE, LCORE_SLEEPING, 1);
#endif
#if !defined(LOOK_BEFORE_FLAG) && !defined(NO_SECOND_LOOK)
			/* the looks of work_waits, in its order */
			if
			:: CREDITS_SEEN(credits)
			:: !CREDITS_SEEN(credits) -> work = true
			fi;
			if
			:: word[REQUEST_HEAD] == requests
			:: word[REQUEST_HEAD] != requests -> work = true
			fi;
			if
			:: released == recorded || word[JOURNAL_TAIL] == released
			:: released != recorded && word[JOURNAL_TAIL] != released -> work = true
			fi;
#endif
			if
			:: work
			:: !work ->
				if
				:: bell[LCORE] -> bell[LCORE] = false
				:: EVERYTHING_DONE -> break
				fi
			fi;
			store_later(LCORE, LCORE_SLEEPING, 0);
			store_later(LCORE, LCORE_WAITING, 0)
		fi;
		work = false
	od
}

active proctype persist()
{
	byte taken;

	do
	:: word[JOURNAL_HEAD] != taken ->
		taken = word[JOURNAL_HEAD];
		store_later(PERSIST, JOURNAL_TAIL, taken);
#ifndef NO_FENCE
		fence(PERSIST);
#endif
		ring_if(LCORE, LCORE_WAITING)
	:: word[JOURNAL_HEAD] == taken ->
		store_seq_cst(PERSIST, PERSIST_SLEEPING, 1);
		if
#ifdef PERSIST_LOOKS_ONCE
		:: true ->
#else
		:: word[JOURNAL_HEAD] != taken
		:: word[JOURNAL_HEAD] == taken ->
#endif
			if
			:: bell[PERSIST] -> bell[PERSIST] = false
			:: EVERYTHING_DONE -> break
			fi
		fi;
		store_seq_cst(PERSIST, PERSIST_SLEEPING, 0)
	od
}
