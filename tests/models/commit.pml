/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing is told before it is on disk, and money between two partitions is neither lost nor made,
 * whoever dies.
 *
 * Models: perform, decide, hb_reply_park (dataplane/decisions.c, replies.c), publish_records
 * (dataplane/cycle.c), hb_replies_release and release_one (dataplane/replies.c), hb_credit_deliver
 * and hb_credits_drain (dataplane/credits.c), the drain before a burst in take_burst; of persist
 * gather_ring, hb_frame_write, publish, hb_session_turn, hb_session_resume, hb_session_drain
 * (persist/session.c) and the skipping by core sequence in hb_frame_add; recovery as replay.
 *
 * Partition 0 has a packet of GRABS shares of one fen and an account Y, partition 1 the account G;
 * each belongs to an lcore of its own. A GRAB (ring 0) brings a fen to G, a PAY (ring 1) takes one
 * from G to Y, a BACK (ring 0) from Y to G: each record takes in its own partition and implies a
 * credit in the other. A queue of QUEUE entries per direction carries credits.
 *
 * Who dies: persist, between any two of its steps (PERSIST_DEATHS); the dataplane, between any two
 * of an lcore's: persist drains its rings and the next one starts from the disk (CRASHES); both
 * and the rings with them, as when power is lost (the same count).
 *
 * Demanded: a reply leaves when the record it rests on is on disk; so every share that was told is
 * there after every recovery; each record is on disk once, in the order of its ring; replay never
 * finds an account below zero, not even between two records; live balances never go below zero; a
 * client that was told of his share finds it when he asks the other partition; in the end the live
 * state is the replayed one and no fen is missing; nobody waits for ever.
 *
 * Bounds: above, PAYS payments and as many BACKs, one entry per turn of a release.
 * Left out: memory order (ring.pml, sleep.pml), torn frames and failing disks (the simulator),
 * several frames' sequences, holds, tokens, claims: who may take is the engine's tests' business.
 *
 * short: -DGRABS=3 -DPAYS=2 -DPERSIST_DEATHS=1 -DCRASHES=1
 * full: -DGRABS=4 -DPAYS=3 -DPERSIST_DEATHS=2 -DCRASHES=2
 * plant: TAIL_BEFORE_WRITE: persist moves the tails before the frame is on disk
 * plant: RELEASED_ONE_EARLY: a reply leaves when the record before its own is on disk
 * plant: CREDIT_BEFORE_COMMIT: a credit is handed over when its record is made
 * plant: CREDIT_LOST_WHEN_FULL: an entry leaves the parking although its credit found no room
 * plant: CREDIT_TWICE_WHEN_FULL: an entry that stayed gives its credit again
 * plant: REPLY_BEFORE_CREDIT: the reply leaves before the credit is handed over
 * plant: FRAMES_BEFORE_CREDITS: a frame is decided before waiting credits are taken in
 * plant: SUCCESSOR_ONE_TOO_LATE: persist's successor goes on one record behind the tail
 * plant: SUCCESSOR_WRITES_AGAIN: persist's successor does not skip what is on disk
 * plant: START_BEFORE_DRAIN: the next dataplane gets its state before the rings are drained
 */
#ifndef GRABS
#define GRABS 2
#endif
#ifndef PAYS
#define PAYS 1
#endif
#ifndef PERSIST_DEATHS
#define PERSIST_DEATHS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define QUEUE	    1
#define RECORDS_MAX 8

#define GRAB 1
#define PAY  2
#define BACK 3

/* Disk: which records each ring has there, and what a replay of them gives. */
byte disk_count[2];
byte disk_kind[2 * RECORDS_MAX];
byte disk_shares = GRABS;
byte disk_G, disk_Y;

/* Journal rings; positions count records since the journal began. */
byte made[2], head[2], tail[2];
byte ring_kind[2 * RECORDS_MAX];

/* The dataplane's memory. */
byte shares = GRABS;
byte balance[2]; /* Y of partition 0, G of partition 1 */
byte parked_from[2]; /* entries are records: parked_from + 1 .. made wait for their commit */
byte backs_made, pays_made; /* what took money out of the own partition */
byte credit_given[2]; /* of the first parked entry */
byte queue[2]; /* credits under way to partition i */

/* What clients know; it survives everything. */
byte told[2];
byte asked[2]; /* credits of told records that partition i must show */
byte pays, backs;

byte persist_deaths, crashes;
bool draining; /* the dataplane is dead, its rings are not empty */
byte taken[2]; /* what the frame under way holds */
byte persist_at[2]; /* persist's position in each ring */
byte step;
byte first;
byte over; /* processes that have nothing more to do */

#define KIND(ring, number) ring_kind[(ring) * RECORDS_MAX + (number) - 1]
#define OTHER(i)	   (1 - (i))

#define QUIET                                                                                      \
	(shares == 0 && pays == PAYS && backs == PAYS && parked_from[0] == made[0] &&              \
		parked_from[1] == made[1] && queue[0] == 0 && queue[1] == 0 &&                     \
		head[0] == made[0] && head[1] == made[1] && !draining)

inline drain_credits(i)
{
	balance[i] = balance[i] + queue[i];
	queue[i] = 0
}

/* perform and park: applied at once, visible to persist when published */
inline record(i, kind)
{
	made[i]++;
	KIND(i, made[i]) = kind;
#ifdef CREDIT_BEFORE_COMMIT
	balance[OTHER(i)]++;
#endif
}

#define GIVEN_AWAY(i) (i == 0 -> backs_made : pays_made)

/* A frame to partition i: credits first, then decide; who was told finds what he was told of. */
inline take(i)
{
#ifndef FRAMES_BEFORE_CREDITS
	drain_credits(i);
#endif
	assert(balance[i] + GIVEN_AWAY(i) >= asked[i])
}

proctype lcore(byte i)
{
	byte entry;

	do
	/* turn: credits */
	:: d_step { !draining && queue[i] > 0 -> drain_credits(i) }
	/* turn: a burst of one frame */
	:: d_step {
		i == 0 && !draining && shares > 0 ->
		take(0);
		shares--;
		record(0, GRAB)
	}
	:: d_step {
		i == 0 && !draining && backs < PAYS &&
			(balance[0] + queue[0] > 0) ->
		take(0);
		if
		:: balance[0] > 0 -> balance[0]--; backs_made++; backs++; record(0, BACK)
		:: else
		fi
	}
	:: d_step {
		i == 1 && !draining && pays < PAYS && (balance[1] + queue[1] > 0) ->
		take(1);
		if
		:: balance[1] > 0 -> balance[1]--; pays_made++; pays++; record(1, PAY)
		:: else
		fi
	}
	/* who heard nothing, because the dataplane died, asks again and gets the same answer */
	:: d_step {
		!draining && told[i] < parked_from[i] ->
		told[i] = parked_from[i];
		asked[OTHER(i)] = told[i];
		assert(disk_count[i] >= told[i])
	}
	/* publish_records */
	:: d_step { !draining && head[i] != made[i] -> head[i] = made[i] }
	/* release the first entry, if what it rests on is committed */
#ifdef RELEASED_ONE_EARLY
	:: !draining && parked_from[i] < made[i] && parked_from[i] < tail[i] + 1 ->
#else
	:: !draining && parked_from[i] < made[i] && parked_from[i] < tail[i] ->
#endif
		d_step {
			/* a crash in between has emptied the parking */
			if
			:: !draining && parked_from[i] < made[i] -> entry = parked_from[i] + 1
			:: else -> entry = 0
			fi
		};
#ifdef REPLY_BEFORE_CREDIT
		d_step {
			if
			:: entry != 0 && !draining && parked_from[i] == entry - 1 ->
				told[i] = (told[i] > entry -> told[i] : entry);
				asked[OTHER(i)] = told[i]
			:: else
			fi
		};
#endif
		d_step {
			if
			:: entry != 0 && !draining && parked_from[i] == entry - 1 ->
#ifdef CREDIT_BEFORE_COMMIT
				credit_given[i] = 1;
#else
				if
				:: credit_given[i] == 0 && queue[OTHER(i)] < QUEUE ->
					queue[OTHER(i)]++;
					credit_given[i] = 1
				:: else ->
#ifdef CREDIT_LOST_WHEN_FULL
					credit_given[i] = 1
#endif
#ifdef CREDIT_TWICE_WHEN_FULL
					balance[OTHER(i)]++
#endif
				fi;
#endif
				if
				:: credit_given[i] == 1 ->
					credit_given[i] = 0;
					parked_from[i] = entry;
					/* told: hand_over and hb_replies_publish */
					assert(disk_count[i] >= entry);
					if
					:: entry > told[i] ->
						told[i] = entry;
						asked[OTHER(i)] = entry
					:: else
					fi
				:: else
				fi
			:: else
			fi;
			entry = 0
		}
	:: QUIET -> break
	od;
	over++
}

/* hb_frame_write: one synchronous write; what is on disk already is skipped by its sequence. */
inline write_ring(i)
{
	do
	:: persist_at[i] + n < taken[i] ->
		n++;
#ifdef SUCCESSOR_WRITES_AGAIN
		if
		:: true ->
#else
		if
		:: persist_at[i] + n > disk_count[i] ->
#endif
			assert(persist_at[i] + n == disk_count[i] + 1);
			disk_count[i]++;
			disk_kind[i * RECORDS_MAX + disk_count[i] - 1] = KIND(i, disk_count[i]);
			if
			:: KIND(i, disk_count[i]) == GRAB ->
				assert(disk_shares > 0);
				disk_shares--;
				disk_G++
			:: KIND(i, disk_count[i]) == PAY ->
				assert(disk_G > 0);
				disk_G--;
				disk_Y++
			:: KIND(i, disk_count[i]) == BACK ->
				assert(disk_Y > 0);
				disk_Y--;
				disk_G++
			fi
		:: else
		fi
	:: else -> break
	od;
	n = 0
}

inline move_tail(i)
{
	if
	:: taken[i] > tail[i] -> tail[i] = taken[i]
	:: else
	fi;
	persist_at[i] = taken[i]
}

#ifdef TAIL_BEFORE_WRITE
#define STEP_TAILS 3
#define STEP_WRITE 5
#define LAST_STEP  5
#else
#define STEP_WRITE 3
#define STEP_TAILS 4
#define LAST_STEP  5
#endif

/* Frame and tails are done, or lost with the process. */
inline begin_again()
{
	step = 0;
	first = 0;
	taken[0] = 0;
	taken[1] = 0
}

inline next_step()
{
	if
	:: step == LAST_STEP -> begin_again()
	:: else -> step++
	fi
}

active proctype persist()
{
	byte n;

	do
	/* gather: the rings one after the other, another one first each time */
	:: d_step {
		step == 0 && (head[0] != persist_at[0] || head[1] != persist_at[1]) ->
		taken[0] = persist_at[0];
		taken[1] = persist_at[1];
		step = 1
	}
	:: d_step { step == 1 -> first = 0; taken[0] = head[0]; step = 2 }
	:: d_step { step == 1 -> first = 1; taken[1] = head[1]; step = 2 }
	:: d_step { step == 2 -> taken[1 - first] = head[1 - first]; step = 3 }
	/* write; within a frame the rings stand in the order they were gathered in */
	:: d_step {
		step == STEP_WRITE ->
		if
		:: first == 0 -> write_ring(0); write_ring(1)
		:: else -> write_ring(1); write_ring(0)
		fi;
		next_step()
	}
	/* publish: the tails one after the other */
	:: d_step { step == STEP_TAILS -> move_tail(0); next_step() }
	:: d_step { step == STEP_TAILS + 1 -> move_tail(1); next_step() }
	/* it dies; the successor takes the rings at their tails */
	:: d_step {
		persist_deaths < PERSIST_DEATHS && !QUIET ->
		persist_deaths++;
		begin_again();
		persist_at[0] = tail[0];
		persist_at[1] = tail[1]
#ifdef SUCCESSOR_ONE_TOO_LATE
		; if
		:: persist_at[0] < head[0] -> persist_at[0]++
		:: else
		fi
#endif
	}
	:: QUIET && step == 0 && persist_at[0] == head[0] && persist_at[1] == head[1] -> break
	od;
	over++
}

/* The next dataplane: its state is what the disk says, its rings are new. */
inline start_dataplane()
{
	shares = disk_shares;
	balance[0] = disk_Y;
	balance[1] = disk_G;
	pays_made = disk_count[1];
	backs_made = disk_count[0] - (GRABS - disk_shares);
	pays = disk_count[1];
	backs = backs_made;
	parked_from[0] = disk_count[0];
	parked_from[1] = disk_count[1];
	credit_given[0] = 0;
	credit_given[1] = 0;
	queue[0] = 0;
	queue[1] = 0;
	draining = false;
	/* everything that was told is there */
	assert(told[0] <= disk_count[0] && told[1] <= disk_count[1])
}

inline new_rings()
{
	made[0] = disk_count[0];
	made[1] = disk_count[1];
	head[0] = made[0];
	head[1] = made[1];
	tail[0] = made[0];
	tail[1] = made[1];
	persist_at[0] = made[0];
	persist_at[1] = made[1];
	begin_again()
}

active proctype fate()
{
	do
	/* the dataplane dies: what it did not publish never was; persist drains the rest */
	:: d_step {
		crashes < CRASHES && !QUIET && !draining ->
		crashes++;
		made[0] = head[0];
		made[1] = head[1];
#ifdef START_BEFORE_DRAIN
		start_dataplane();
#endif
		draining = true
	}
	:: d_step {
		draining && step == 0 && persist_at[0] == head[0] && persist_at[1] == head[1] ->
#ifdef START_BEFORE_DRAIN
		parked_from[0] = disk_count[0];
		parked_from[1] = disk_count[1];
		draining = false;
#else
		start_dataplane();
#endif
		new_rings()
	}
	/* power is lost: both die, and the rings with them */
	:: d_step {
		crashes < CRASHES && !QUIET && !draining ->
		crashes++;
		start_dataplane();
		new_rings()
	}
	:: QUIET -> break
	od;
	over++
}

init {
	run lcore(0);
	run lcore(1);
	/* all over: live is what a replay finds, and every fen is somewhere */
	over == 4;
	assert(shares == disk_shares && balance[0] == disk_Y && balance[1] == disk_G);
	assert(shares + balance[0] + balance[1] == GRABS);
	assert(disk_count[0] == GRABS + PAYS && disk_count[1] == PAYS)
}
