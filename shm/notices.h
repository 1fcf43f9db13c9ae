/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Notices: what was committed and concerns somebody, in a broadcast ring that any number of
 * readers follow (docs/events.md).
 *
 * One segment: guard, hb_notice_head, then `slots` slots of 128 bytes, a power of two. Notice
 * number n, counted from 0, lies in slot n mod slots until n + slots overwrites it. Persist
 * writes; everybody else maps it read only (sealed) and keeps a cursor of its own, so a reader
 * costs the writer nothing and a slow one loses notices instead of holding anybody up: it is told
 * so.
 *
 * Notices are in journal order. Every one is named by the sequence of its record and a part: a
 * record that sells a packet out makes two. All notices with a sequence in
 * first_seq..through_seq are or were in the ring; between two of them there was nothing to tell.
 *
 * Order: the writer marks the slot busy, stores the words of the notice (release, N1), then the
 * slot's stamp (release, N2), then head (release, N3), and now and then through_seq (release, N4).
 * A reader loads head (acquire, N3), the stamp (acquire, N2), the words (acquire, N1) and the stamp
 * again: having seen one word of a later notice it also sees the busy mark, and reports an overrun.
 *
 * If the writer dies here: a slot that was busy stays behind head and is never read; the socket
 * hangs up, and its successor brings a new segment. If a reader dies: nothing.
 */
#ifndef HB_SHM_NOTICES_H
#define HB_SHM_NOTICES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

enum hb_notice_kind {
	HB_NOTICE_PACKET = 1,	/* a packet was created */
	HB_NOTICE_GRAB = 2,	/* a share was taken */
	HB_NOTICE_OVER = 3,	/* sold out, or closed at its deadline */
	HB_NOTICE_TRANSFER = 4, /* money went from one user to another */
	HB_NOTICE_CREDIT = 5,	/* a recharge arrived */
};

/* Flags. */
#define HB_NOTICE_MORE	  1u /* another part of the same record follows */
#define HB_NOTICE_SOLD	  2u /* OVER: the last share was taken; else the deadline passed */
#define HB_NOTICE_HELD	  4u /* CREDIT: the money is held for a packet */
#define HB_NOTICE_UNKNOWN 8u /* GRAB, OVER: whose packet it is could not be found */

/* Fields that a kind has no use for are 0. The seed of a packet is in none. */
struct hb_notice {
	uint64_t seq; /* journal sequence of its record: with part the event's id */
	uint8_t part; /* 0, or 1: the second notice of its record */
	uint8_t kind; /* enum hb_notice_kind */
	uint8_t flags;
	uint8_t allocator; /* partition that made the order's stamp */
	uint32_t count;	   /* PACKET: shares; GRAB: shares left */
	uint64_t packet;
	uint64_t sender;    /* of the packet; TRANSFER: who paid */
	uint64_t user;	    /* GRAB: who took it; TRANSFER: who got it; CREDIT: whose account */
	uint64_t group;	    /* lucky packets: for whom */
	uint64_t recipient; /* normal packets: for whom */
	int64_t amount_fen; /* PACKET: total; OVER: refunded */
	int64_t left_fen;   /* GRAB: of the packet */
	uint64_t order_stamp;
	uint64_t time_ms;     /* ledger time, Unix ms */
	uint64_t deadline_ms; /* PACKET */
	uint32_t share;	      /* GRAB: index */
	uint32_t reserved0;
	uint64_t reserved[2];
};
#define HB_NOTICE_WORDS 15
_Static_assert(sizeof(struct hb_notice) == HB_NOTICE_WORDS * sizeof(uint64_t), "notice");

struct hb_notice_slot {
	_Atomic uint64_t stamp; /* 2 n + 1: being written; 2 n + 2: notice n */
	_Atomic uint64_t word[HB_NOTICE_WORDS];
};
_Static_assert(sizeof(struct hb_notice_slot) == 128, "notice slot");

/* At HB_SEGMENT_GUARD_BYTES of the notice segment. */
struct hb_notice_head {
	uint64_t slots;
	uint64_t first_seq; /* notices of older records are not told here */
	_Alignas(128) _Atomic uint64_t head;
	_Atomic uint64_t through_seq; /* every notice up to this sequence is there */
};
#define HB_NOTICE_SLOTS_OFFSET (HB_SEGMENT_GUARD_BYTES + 4096)
#define HB_NOTICE_SLOTS_MIN    64
_Static_assert(sizeof(struct hb_notice_head) <= 4096, "notice head");

/* One mapping, of the writer or of a reader; private to its process. */
struct hb_notices {
	struct hb_segment segment;
	struct hb_notice_head *head;
	struct hb_notice_slot *slot;
	uint64_t slots;
	uint64_t first_seq;
	uint64_t next; /* writer: number of the next notice */
};

/* ---- the writer ---- */

/**
 * Make a ring. Others can only read it.
 * @param slots a power of two, at least HB_NOTICE_SLOTS_MIN
 * @param first_seq the first record that will be told of; through_seq begins right before it
 * @return 0 or -errno
 */
int hb_notices_create(struct hb_notices *notices, uint64_t slots, uint64_t first_seq);
/** Append one. Sequence and part only grow. */
void hb_notices_publish(struct hb_notices *notices, const struct hb_notice *notice);
/** Say that every notice up to `seq` was published. */
void hb_notices_through(struct hb_notices *notices, uint64_t seq);

/* ---- readers ---- */

/** Map a ring. Takes the descriptor in any case. @return 0 or -errno with `error` */
int hb_notices_attach(struct hb_notices *notices, int fd, char error[160]);
/** Unmap and close; also the writer's. Safe on zeros. */
void hb_notices_close(struct hb_notices *notices);

/** The number that the next notice will have. */
uint64_t hb_notices_head(const struct hb_notices *notices);
/** The sequence up to which everything is in the ring. Load it before head. */
uint64_t hb_notices_through_seq(const struct hb_notices *notices);

/**
 * Copy notice `number`.
 * @return 1, 0 when it is not there yet, -EOVERFLOW when it was overwritten
 */
int hb_notices_read(const struct hb_notices *notices, uint64_t number, struct hb_notice *notice);

/** Where an event stands among all: sequence and part as one number. */
static inline uint64_t
hb_notice_key(uint64_t seq, uint32_t part)
{
	return seq << 1 | part;
}

/**
 * The number of the first notice behind `key`.
 * @return 0 with `number`; -ESTALE when notices behind it may have been overwritten or are older
 *         than the ring
 */
int hb_notices_find(const struct hb_notices *notices, uint64_t key, uint64_t *number);

/* ---- how a reader gets the segment ---- */

#define HB_NOTICES_MAGIC   0x68626e6fu /* "hbno" */
#define HB_NOTICES_VERSION 1

/* The one message of the socket, persist to reader; with error 0 the segment comes along. */
struct hb_notices_welcome {
	uint32_t magic;
	uint32_t version;
	uint64_t layout_hash;
	int32_t error; /* 0, or an errno value; then `message` says why */
	uint32_t reserved;
	char message[160];
};
_Static_assert(sizeof(struct hb_notices_welcome) == 184, "notices welcome");

/**
 * Receive the segment and map it, when the connection to persist (SOCK_SEQPACKET) is readable;
 * after that it only tells of the hang-up.
 * @return 0, -EAGAIN when nothing came yet, or -errno with `error`
 */
int hb_notices_receive(struct hb_notices *notices, int fd, char error[160]);

/** Persist: hand the segment to a connection. @return 0 or -errno */
int hb_notices_hand_out(const struct hb_notices *notices, int fd);
/** Persist: say why not. */
void hb_notices_refuse(int fd, int error, const char *why);

#endif
