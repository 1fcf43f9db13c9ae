/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Event streams without nginx: whom a notice concerns, what he is told, and an index of who
 * listens (docs/events.md).
 *
 * A notice concerns the users it names, and of a packet for a group everybody whose user token
 * vouches for that group. The text is one server-sent event; the number of an order is told to the
 * order's owner alone. Ids are journal sequences: "17" stands behind all that record 17 tells,
 * "17.0" behind the first of its two events.
 *
 * An index belongs to one thread (an nginx worker); listeners are memory of the caller's. Dying
 * here loses nothing: clients come back with the id they saw last.
 */
#ifndef HB_FRONT_EVENTS_H
#define HB_FRONT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "front/jwt.h"
#include "shm/notices.h"

#define HB_EVENT_TEXT_BYTES_MAX 640
#define HB_EVENT_ID_BYTES_MAX	24

/* ---- who listens ---- */

struct hb_listener;

struct hb_listener_link {
	struct hb_listener_link *next;
	struct hb_listener_link **previous; /* what points at this one; NULL: in no index */
	struct hb_listener *listener;
	uint64_t key; /* user, or group with a mark */
};

/* Room for it: hb_listener_bytes. link[0] is the user, the others are groups, ascending. */
struct hb_listener {
	uint64_t user;
	uint64_t found; /* scan that found it: no listener is told twice */
	uint32_t link_count;
	struct hb_listener_link link[];
};

struct hb_event_index;

/** Bytes of the listener of a user with so many groups. */
size_t hb_listener_bytes(uint32_t group_count);
/** Fill in a listener from a verified user token. */
void hb_listener_init(struct hb_listener *listener, const struct hb_identity *identity);

/** @return NULL: no memory */
struct hb_event_index *hb_event_index_new(void);
/** No listener may be in it any more. */
void hb_event_index_free(struct hb_event_index *index);
void hb_event_index_add(struct hb_event_index *index, struct hb_listener *listener);
/** Safe on one that is in no index. */
void hb_event_index_remove(struct hb_listener *listener);

/** Call `tell` once for every listener that the notice concerns; it must not change the index. */
void hb_event_index_each(struct hb_event_index *index, const struct hb_notice *notice,
	void (*tell)(void *context, struct hb_listener *listener), void *context);

/** Call `tell` once for every listener of a user; it must not change the index. */
void hb_event_index_each_of_user(struct hb_event_index *index, uint64_t user,
	void (*tell)(void *context, struct hb_listener *listener), void *context);

/** Does the notice concern this listener? The same answer as hb_event_index_each. */
bool hb_event_concerns(const struct hb_notice *notice, const struct hb_listener *listener);

/* ---- what is told ---- */

/** Is an order of this user in the notice, so that his text differs from that of others? */
bool hb_event_owns(const struct hb_notice *notice, uint64_t user);

/**
 * The event as a text, with its id, ending in an empty line.
 * @param user who is told; 0: somebody who owns no order in it
 * @param node of order numbers
 * @return its length
 */
uint32_t hb_event_text(char text[HB_EVENT_TEXT_BYTES_MAX], const struct hb_notice *notice,
	uint64_t user, uint32_t node);

/* ---- ids ---- */

/** Where the stream stands behind a notice: all up to this key was told. */
uint64_t hb_event_key(const struct hb_notice *notice);
/** Write the id of a key (hb_notice_key); NUL terminated. @return its length */
uint32_t hb_event_id_format(char text[HB_EVENT_ID_BYTES_MAX], uint64_t key);
/** @return true when it is an id that we could have given out */
bool hb_event_id_parse(const char *text, size_t length, uint64_t *key);

#endif
