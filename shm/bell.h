/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Bells: how one process wakes another that sleeps. The sleeper polls one end, others ring the
 * other end.
 *
 * A bell is a pipe of one page and not an eventfd, because flags and contents of a descriptor
 * belong to all who have it: who was given an eventfd can make it block, fill it, and so stop
 * whoever rings it next; or read it, and steal the wake-up. Here the sleeper's end is its own, each
 * ringer gets an end of his own (hb_bell_share), and what one does to his changes nobody else's. A
 * full pipe has been rung already.
 *
 * Descriptors belong to whoever made or received them. If the sleeper dies, ringing does nothing
 * (SIGPIPE must be ignored); if a ringer dies, nothing happens.
 */
#ifndef HB_SHM_BELL_H
#define HB_SHM_BELL_H

struct hb_bell {
	int wait; /* the sleeper's: readable when it was rung */
	int ring;
};

/** @return 0 or -errno; both ends are non-blocking and close on exec */
int hb_bell_make(struct hb_bell *bell);
/** Close both ends; -1 is none. */
void hb_bell_close(struct hb_bell *bell);

/** A ringer's end to give away, with flags of its own. @return a descriptor or -errno */
int hb_bell_share(int ring);

/** Ring. Never blocks on an end that nobody else has. */
void hb_bell_ring(int ring);
/** Forget that it was rung. */
void hb_bell_clear(int wait);

#endif
