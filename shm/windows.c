/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows of used token sequences: open addressing with linear probing. A window is changed only
 * by the money record that uses the sequence, so it comes back by replay. Expired windows are
 * deleted by a sweep of a few slots per money record, by that record's time. Which slot an entry
 * has depends on the history of the table, so two replays may forget an expired window at different
 * records; nothing depends on it, since its token is refused as expired, and the state hash counts
 * uses, not windows.
 */
#include <string.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

#define WINDOW_BITS 64

/* Slot of the window, or the free slot where it would go. The table is never full. */
static struct hb_window *
window_slot(const struct hb_partition *p, uint64_t token_id, uint64_t user)
{
	uint64_t mask = p->capacity.windows - 1;
	uint64_t i = hbi_window_home(p, token_id, user);

	while (p->windows[i].token_id != 0 &&
		(p->windows[i].token_id != token_id || p->windows[i].user != user))
		i = (i + 1) & mask;
	return &p->windows[i];
}

struct hb_window *
hb_window_find(const struct hb_partition *p, uint64_t token_id, uint64_t user)
{
	struct hb_window *slot = window_slot(p, token_id, user);

	return slot->token_id != 0 ? slot : NULL;
}

enum hb_status
hbi_window_check(const struct hb_partition *p, uint64_t token_id, uint64_t user, uint32_t sequence,
	uint32_t initial)
{
	const struct hb_window *window = hb_window_find(p, token_id, user);
	uint32_t newest = window != NULL ? window->newest : initial;

	if (sequence <= initial || sequence > newest + HB_TOKEN_SEQUENCE_AHEAD_MAX)
		return HB_STATUS_SEQUENCE_INVALID;
	if (window == NULL)
		return p->head->window_count >= p->capacity.windows - p->capacity.windows / 4
			       ? HB_STATUS_TABLE_FULL
			       : HB_STATUS_OK;
	if (sequence > newest)
		return HB_STATUS_OK;
	/* What has left the window counts as used. */
	if (newest - sequence >= WINDOW_BITS || (window->used >> (newest - sequence) & 1) != 0)
		return HB_STATUS_SEQUENCE_USED;
	return HB_STATUS_OK;
}

bool
hbi_window_takes(const struct hb_partition *p, uint64_t token_id, uint64_t user, uint32_t sequence)
{
	const struct hb_window *window = hb_window_find(p, token_id, user);

	if (window == NULL)
		return p->head->window_count + 1 < p->capacity.windows;
	if (sequence > window->newest)
		return true;
	return window->newest - sequence < WINDOW_BITS &&
	       (window->used >> (window->newest - sequence) & 1) == 0;
}

static void
window_open(struct hb_partition *p, struct hb_window *slot, uint64_t token_id, uint64_t user)
{
	HB_ASSERT(token_id != 0);
	HB_ASSERT(p->head->window_count + 1 < p->capacity.windows);
	slot->token_id = token_id;
	slot->user = user;
	p->head->window_count++;
}

struct hb_window *
hbi_window_insert(struct hb_partition *p, uint64_t token_id, uint64_t user)
{
	uint64_t mask = p->capacity.windows - 1;
	uint64_t i = hbi_window_home(p, token_id, user);

	while (p->windows[i].token_id != 0)
		i = (i + 1) & mask;
	window_open(p, &p->windows[i], token_id, user);
	return &p->windows[i];
}

/* Delete a slot and move later entries of its chain back, so there are no tombstones. */
static void
window_delete(struct hb_partition *p, uint64_t hole)
{
	uint64_t mask = p->capacity.windows - 1;
	uint64_t i = hole;

	for (;;) {
		uint64_t home;

		i = (i + 1) & mask;
		if (p->windows[i].token_id == 0)
			break;
		home = hbi_window_home(p, p->windows[i].token_id, p->windows[i].user);
		/* May move only if its home is not between the hole (exclusive) and itself. */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			p->windows[hole] = p->windows[i];
			hole = i;
		}
	}
	memset(&p->windows[hole], 0, sizeof(p->windows[hole]));
	p->head->window_count--;
}

static void
window_sweep(struct hb_partition *p, uint32_t now_s)
{
	uint64_t mask = p->capacity.windows - 1;
	const struct hb_window *ahead;

	for (int n = 0; n < HB_WINDOW_SWEEP_SLOTS; n++) {
		uint64_t i = p->head->window_sweep & mask;

		/* One condition: whether a slot is free is known to no branch predictor. */
		if ((p->windows[i].token_id != 0) & (p->windows[i].expiry_s < now_s))
			window_delete(p, i); /* another may have moved here: look again */
		else
			p->head->window_sweep = (i + 1) & mask;
	}
	/* The next record's, and the one's after it: with many partitions nobody else fetches them.
	 */
	ahead = &p->windows[p->head->window_sweep & mask];
	hb_prefetch((const uint8_t *)ahead + HB_CACHE_LINE_BYTES);
	hb_prefetch((const uint8_t *)ahead + 2 * HB_CACHE_LINE_BYTES);
}

static void
window_mark_used(struct hb_window *window, uint32_t sequence)
{
	if (window->used == 0) {
		window->newest = sequence;
		window->used = 1;
	} else if (sequence > window->newest) {
		uint32_t ahead = sequence - window->newest;

		window->used = ahead >= WINDOW_BITS ? 1 : window->used << ahead | 1;
		window->newest = sequence;
	} else {
		uint32_t behind = window->newest - sequence;

		HB_ASSERT(behind < WINDOW_BITS);
		HB_ASSERT((window->used >> behind & 1) == 0);
		window->used |= UINT64_C(1) << behind;
	}
}

void
hbi_window_use(
	struct hb_partition *p, const struct hb_token_use *use, uint64_t user, uint64_t time_ns)
{
	struct hb_window *window;

	if (use->token_id == 0)
		return;
	window_sweep(p, (uint32_t)(time_ns / UINT64_C(1000000000)));
	window = window_slot(p, use->token_id, user);
	if (window->token_id == 0) {
		window_open(p, window, use->token_id, user);
		window->expiry_s = use->expiry_s;
	}
	window_mark_used(window, use->sequence);
	p->head->state_hash += hbi_token_use_hash(use, user);
}
