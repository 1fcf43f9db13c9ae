/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Whom a notice concerns, its text, and the index of listeners (front/events.h).
 */
#include "front/events.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/order_number.h"
#include "shm/record.h"

#define BUCKETS	      8192
#define KEYS_MAX      4
#define GROUP_MARK    (UINT64_C(1) << 63) /* users and groups are numbers below it */
#define ID_SEQ_MAX    (UINT64_MAX >> 2)
#define ID_DIGITS_MAX 19

struct hb_event_index {
	uint64_t scan;
	struct hb_listener_link *bucket[BUCKETS];
};

/* ---- whom it concerns ---- */

static uint32_t
add_key(uint64_t keys[KEYS_MAX], uint32_t count, uint64_t key)
{
	if ((key & ~GROUP_MARK) == 0)
		return count;
	keys[count] = key;
	return count + 1;
}

/* Senders, users, recipients and the group; fields a kind has no use for are 0. */
static uint32_t
keys_of(const struct hb_notice *notice, uint64_t keys[KEYS_MAX])
{
	uint32_t count = 0;

	count = add_key(keys, count, notice->sender);
	count = add_key(keys, count, notice->user);
	count = add_key(keys, count, notice->recipient);
	return add_key(keys, count, notice->group | GROUP_MARK);
}

bool
hb_event_concerns(const struct hb_notice *notice, const struct hb_listener *listener)
{
	uint64_t keys[KEYS_MAX];
	uint32_t count = keys_of(notice, keys);

	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < listener->link_count; j++)
			if (listener->link[j].key == keys[i])
				return true;
	return false;
}

/* ---- the index ---- */

size_t
hb_listener_bytes(uint32_t group_count)
{
	return sizeof(struct hb_listener) + (1 + group_count) * sizeof(struct hb_listener_link);
}

void
hb_listener_init(struct hb_listener *listener, const struct hb_identity *identity)
{
	memset(listener, 0, hb_listener_bytes(identity->group_count));
	listener->user = identity->account;
	listener->link[listener->link_count++].key = identity->account;
	for (uint32_t i = 0; i < identity->group_count; i++)
		listener->link[listener->link_count++].key = identity->groups[i] | GROUP_MARK;
	for (uint32_t i = 0; i < listener->link_count; i++)
		listener->link[i].listener = listener;
}

struct hb_event_index *
hb_event_index_new(void)
{
	return calloc(1, sizeof(struct hb_event_index));
}

void
hb_event_index_free(struct hb_event_index *index)
{
	if (index == NULL)
		return;
	for (uint32_t i = 0; i < BUCKETS; i++)
		HB_ASSERT(index->bucket[i] == NULL);
	free(index);
}

void
hb_event_index_add(struct hb_event_index *index, struct hb_listener *listener)
{
	for (uint32_t i = 0; i < listener->link_count; i++) {
		struct hb_listener_link *link = &listener->link[i];
		struct hb_listener_link **bucket = &index->bucket[hb_mix64(link->key) % BUCKETS];

		HB_ASSERT(link->previous == NULL);
		link->next = *bucket;
		link->previous = bucket;
		if (link->next != NULL)
			link->next->previous = &link->next;
		*bucket = link;
	}
}

void
hb_event_index_remove(struct hb_listener *listener)
{
	for (uint32_t i = 0; i < listener->link_count; i++) {
		struct hb_listener_link *link = &listener->link[i];

		if (link->previous == NULL)
			continue;
		*link->previous = link->next;
		if (link->next != NULL)
			link->next->previous = link->previous;
		link->previous = NULL;
	}
}

/* Those of a key that this scan has not found yet. */
static void
tell_key(struct hb_event_index *index, uint64_t key,
	void (*tell)(void *context, struct hb_listener *listener), void *context)
{
	struct hb_listener_link *link = index->bucket[hb_mix64(key) % BUCKETS];

	for (; link != NULL; link = link->next) {
		if (link->key != key || link->listener->found == index->scan)
			continue;
		link->listener->found = index->scan;
		tell(context, link->listener);
	}
}

void
hb_event_index_each(struct hb_event_index *index, const struct hb_notice *notice,
	void (*tell)(void *context, struct hb_listener *listener), void *context)
{
	uint64_t keys[KEYS_MAX];
	uint32_t count = keys_of(notice, keys);

	index->scan++;
	for (uint32_t i = 0; i < count; i++)
		tell_key(index, keys[i], tell, context);
}

void
hb_event_index_each_of_user(struct hb_event_index *index, uint64_t user,
	void (*tell)(void *context, struct hb_listener *listener), void *context)
{
	index->scan++;
	tell_key(index, user, tell, context);
}

/* ---- texts ---- */

struct text {
	char *at;
	uint32_t length;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *text, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(
		text->at + text->length, HB_EVENT_TEXT_BYTES_MAX - text->length, format, arguments);
	va_end(arguments);
	HB_ASSERT(n >= 0 && (uint32_t)n < HB_EVENT_TEXT_BYTES_MAX - text->length);
	text->length += (uint32_t)n;
}

static void
put_order_number(struct text *text, const struct hb_notice *notice, enum hb_business business,
	uint64_t account, uint32_t node)
{
	char number[HB_ORDER_NUMBER_LENGTH + 1];

	hb_order_number_format(
		number, business, node, notice->allocator, account, notice->order_stamp);
	put(text, ",\"order_no\":\"%s\"", number);
}

static void
put_packet(struct text *text, const struct hb_notice *notice)
{
	put(text, "{\"packet\":\"%016" PRIx64 "\"", notice->packet);
	if (notice->sender != 0)
		put(text, ",\"sender\":%" PRIu64, notice->sender);
	if (notice->group != 0)
		put(text, ",\"kind\":\"lucky\",\"group\":%" PRIu64, notice->group);
	if (notice->recipient != 0)
		put(text, ",\"kind\":\"normal\",\"recipient\":%" PRIu64, notice->recipient);
}

static void
text_of_packet(struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node)
{
	put_packet(text, notice);
	put(text, ",\"amount_fen\":%" PRId64 ",\"count\":%u,\"deadline_ms\":%" PRIu64,
		notice->amount_fen, notice->count, notice->deadline_ms);
	if (user == notice->sender)
		put_order_number(text, notice, HB_BUSINESS_PACKET_SEND, user, node);
}

static void
text_of_grab(struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node)
{
	put_packet(text, notice);
	put(text,
		",\"user\":%" PRIu64 ",\"amount_fen\":%" PRId64
		",\"share\":%u,\"left_fen\":%" PRId64 ",\"left_count\":%u",
		notice->user, notice->amount_fen, notice->share, notice->left_fen, notice->count);
	if (user == notice->user)
		put_order_number(text, notice, HB_BUSINESS_PACKET_GRAB, user, node);
}

static void
text_of_over(struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node)
{
	put_packet(text, notice);
	put(text, ",\"reason\":\"%s\",\"refunded_fen\":%" PRId64,
		(notice->flags & HB_NOTICE_SOLD) != 0 ? "sold_out" : "expired", notice->amount_fen);
	if (user == notice->sender && notice->order_stamp != 0)
		put_order_number(text, notice, HB_BUSINESS_PACKET_REFUND, user, node);
}

static void
text_of_transfer(struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node)
{
	put(text, "{\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"amount_fen\":%" PRId64,
		notice->sender, notice->user, notice->amount_fen);
	if (user == notice->sender)
		put_order_number(text, notice, HB_BUSINESS_TRANSFER_OUT, user, node);
	else if (user == notice->user)
		put_order_number(text, notice, HB_BUSINESS_TRANSFER_IN, user, node);
}

static void
text_of_credit(struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node)
{
	put(text, "{\"account\":%" PRIu64 ",\"amount_fen\":%" PRId64 ",\"held\":%s", notice->user,
		notice->amount_fen, (notice->flags & HB_NOTICE_HELD) != 0 ? "true" : "false");
	if (user == notice->user)
		put_order_number(text, notice, HB_BUSINESS_RECHARGE, user, node);
}

static const struct {
	const char *name;
	void (*put)(
		struct text *text, const struct hb_notice *notice, uint64_t user, uint32_t node);
} kinds[] = {
	[HB_NOTICE_PACKET] = {"packet", text_of_packet},
	[HB_NOTICE_GRAB] = {"grab", text_of_grab},
	[HB_NOTICE_OVER] = {"over", text_of_over},
	[HB_NOTICE_TRANSFER] = {"transfer", text_of_transfer},
	[HB_NOTICE_CREDIT] = {"credit", text_of_credit},
};

bool
hb_event_owns(const struct hb_notice *notice, uint64_t user)
{
	switch (notice->kind) {
	case HB_NOTICE_PACKET:
		return user == notice->sender;
	case HB_NOTICE_OVER:
		return user == notice->sender && notice->order_stamp != 0;
	case HB_NOTICE_TRANSFER:
		return user == notice->sender || user == notice->user;
	default:
		return user == notice->user;
	}
}

uint32_t
hb_event_text(char at[HB_EVENT_TEXT_BYTES_MAX], const struct hb_notice *notice, uint64_t user,
	uint32_t node)
{
	struct text text = {.at = at};
	char id[HB_EVENT_ID_BYTES_MAX];

	HB_ASSERT(notice->kind >= HB_NOTICE_PACKET && notice->kind <= HB_NOTICE_CREDIT);
	hb_event_id_format(id, hb_event_key(notice));
	put(&text, "event: %s\nid: %s\ndata: ", kinds[notice->kind].name, id);
	kinds[notice->kind].put(&text, notice, user, node);
	put(&text, ",\"time_ms\":%" PRIu64 "}\n\n", notice->time_ms);
	return text.length;
}

/* ---- ids ---- */

uint64_t
hb_event_key(const struct hb_notice *notice)
{
	return hb_notice_key(notice->seq, (notice->flags & HB_NOTICE_MORE) != 0 ? 0 : 1);
}

uint32_t
hb_event_id_format(char text[HB_EVENT_ID_BYTES_MAX], uint64_t key)
{
	int n = snprintf(
		text, HB_EVENT_ID_BYTES_MAX, "%" PRIu64 "%s", key >> 1, (key & 1) != 0 ? "" : ".0");

	return (uint32_t)n;
}

bool
hb_event_id_parse(const char *text, size_t length, uint64_t *key)
{
	uint64_t seq = 0;
	uint32_t part = 1;

	if (length > 2 && memcmp(text + length - 2, ".0", 2) == 0) {
		part = 0;
		length -= 2;
	}
	if (length == 0 || length > ID_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		seq = seq * 10 + (uint64_t)(text[i] - '0');
	}
	*key = hb_notice_key(seq, part);
	return seq <= ID_SEQ_MAX;
}
