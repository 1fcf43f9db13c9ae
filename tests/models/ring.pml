/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte ring whose sides die at any instruction, and whose memory is weaker than sequential.
 *
 * Models: shm/ring.c - hb_ring_producer, hb_ring_consumer, hb_ring_reserve, hb_ring_room,
 * hb_ring_publish, hb_ring_peek, hb_ring_consume - with a writer of messages of one or two units
 * and a reader that takes what is there. Each side may die between any two of its accesses to the
 * ring; a successor attaches as the code does: a producer at head, a consumer at tail.
 *
 * Memory: the producer's stores of data lie in a buffer and reach memory in any order (weaker than
 * x86). Storing head is seq_cst in the code, so at least a release: it waits for them. When a
 * process dies its stores still reach memory. A message is numbered when it is published; each of
 * its units says which message and which part it is, so a torn or stale one shows.
 *
 * Demanded: the reader finds whole messages in order, each that was published, none before it was;
 * a successor of the reader begins with the first one that was not given back.
 *
 * Bounds: CAPACITY units, MESSAGES messages, DEATHS deaths of either side.
 * Left out: the sleeping flag (sleep.pml), the second mapping (a position is taken modulo
 * CAPACITY), absurd positions of a hostile peer (tests/dataplane/test_hostile.c).
 *
 * short: -DMESSAGES=4 -DDEATHS=1
 * full: -DMESSAGES=6 -DDEATHS=2
 * plant: HEAD_RELAXED: the store of head does not wait for the bytes before it
 * plant: PUBLISH_FIRST: head is stored before the bytes are written
 * plant: NO_ROOM_CHECK: a producer does not wait for room
 * plant: TAIL_FIRST: bytes are given back before they are read
 * plant: SUCCESSOR_AT_HEAD: the reader's successor begins at head
 * plant: SUCCESSOR_BEHIND_TAIL: the writer's successor goes on at tail
 */
#ifndef MESSAGES
#define MESSAGES 4
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#define CAPACITY 4
#define UNIT(message, part, length) ((message) * 4 + (part) * 2 + (length) - 1)
#define AT(position) ((position) % CAPACITY)

/* In shared memory. */
byte data[CAPACITY];
byte head, tail;

/* The producer's store buffer: a bit for each unit that is on its way, and its value. */
byte buffered;
byte buffer[CAPACITY];
#ifdef HEAD_RELAXED
bool head_buffered;
byte head_value;
#define DRAINED	    (!head_buffered) /* one store of head at a time */
#define ALL_ARRIVED (buffered == 0 && !head_buffered)
#else
#define DRAINED	    (buffered == 0)
#define ALL_ARRIVED (buffered == 0)
#endif

byte published; /* messages, counted with the store of head */
byte producer_deaths, consumer_deaths;
bool producer_done;

inline store_unit(position, value)
{
	/* two stores to one place keep their order */
	d_step {
		(buffered & (1 << AT(position))) == 0 ->
		buffer[AT(position)] = value;
		buffered = buffered | (1 << AT(position));
	}
}

active proctype memory()
{
	byte i;

end:	do
	:: buffered != 0 ->
		if
		:: d_step { (buffered & 1) != 0 -> data[0] = buffer[0]; buffered = buffered - 1; buffer[0] = 0 }
		:: d_step { (buffered & 2) != 0 -> data[1] = buffer[1]; buffered = buffered - 2; buffer[1] = 0 }
		:: d_step { (buffered & 4) != 0 -> data[2] = buffer[2]; buffered = buffered - 4; buffer[2] = 0 }
		:: d_step { (buffered & 8) != 0 -> data[3] = buffer[3]; buffered = buffered - 8; buffer[3] = 0 }
		fi
#ifdef HEAD_RELAXED
	:: d_step { head_buffered -> head = head_value; head_buffered = false }
#endif
	od
}

#define MAY_DIE(deaths) deaths < DEATHS -> deaths++; goto dead

active proctype producer()
{
	byte position, peer, length, message, n;

attach:
	n = 0;
	d_step { position = head; peer = tail }
#ifdef SUCCESSOR_BEHIND_TAIL
	if
	:: producer_deaths > 0 -> position = tail
	:: else
	fi;
#endif
	do
	:: published == MESSAGES -> break
	:: published < MESSAGES ->
		if
		:: length = 1
		:: length = 2
		fi;
		message = published;
#ifndef NO_ROOM_CHECK
		/* reserve: what was seen last, and only then a fresh look */
		do
		:: position - peer + length <= CAPACITY -> break
		:: position - peer + length > CAPACITY ->
			if
			:: tail != peer -> peer = tail
			:: MAY_DIE(producer_deaths)
			fi
		od;
#endif
#ifdef PUBLISH_FIRST
		published++;
		head = position + length;
#endif
		n = 0;
		do
		:: n < length ->
			if
			:: store_unit(position + n, UNIT(message, n, length)); n++
			:: MAY_DIE(producer_deaths)
			fi
		:: n == length -> break
		od;
		if
		:: MAY_DIE(producer_deaths)
		:: true
		fi;
		position = position + length;
#ifndef PUBLISH_FIRST
#ifdef HEAD_RELAXED
		d_step { DRAINED -> head_value = position; head_buffered = true; published++ };
#else
		d_step { DRAINED -> head = position; published++ };
#endif
#endif
		length = 0;
		message = 0;
		if
		:: MAY_DIE(producer_deaths)
		:: true
		fi
	od;
	producer_done = true;
	goto over;
dead:
	length = 0;
	message = 0;
	/* what it stored still arrives; only then can its death have been noticed */
	ALL_ARRIVED;
	goto attach;
over:
	skip
}

active proctype consumer()
{
	byte position, peer, first, n, given, seen, unit;

attach:
	n = 0;
	d_step {
		position = tail;
		peer = tail;
#ifdef SUCCESSOR_AT_HEAD
		if
		:: consumer_deaths > 0 -> position = head; peer = head
		:: else
		fi;
#endif
		/* a successor may see again what its predecessor did not give back, and no more */
		seen = given;
	}
	do
	:: position == peer ->
		if
		:: head != position -> peer = head
		:: producer_done && head == position && ALL_ARRIVED -> break
		:: MAY_DIE(consumer_deaths)
		fi
	:: position != peer ->
		assert(peer - position <= CAPACITY);
#ifdef TAIL_FIRST
		unit = data[AT(position)];
		tail = position + 1 + (unit & 1);
#endif
		first = data[AT(position)];
		n = 1;
		assert(first / 4 == seen && (first & 2) == 0);
		do
		:: n <= (first & 1) ->
			unit = data[AT(position + n)];
			assert(unit == UNIT(seen, n, 2));
			n++
		:: else -> break
		od;
		seen++;
		assert(seen <= published);
		if
		:: MAY_DIE(consumer_deaths)
		:: true
		fi;
		position = position + n;
		d_step { tail = position; given = seen; n = 0; first = 0; unit = 0 }
		if
		:: MAY_DIE(consumer_deaths)
		:: true
		fi
	od;
	assert(seen == MESSAGES && given == MESSAGES);
	goto over;
dead:
	first = 0;
	unit = 0;
	goto attach;
over:
	skip
}
