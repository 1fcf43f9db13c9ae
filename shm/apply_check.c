/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all records have in common when they are checked before apply: room in the tables that they
 * change on the way. apply asserts it, as a correct journal in a state of the right capacities has
 * it; a damaged journal or lowered capacities get a reason. Pure functions.
 */
#include "shm/apply_internal.h"

#define ACCOUNTS_OPENED_MAX 3 /* by one record: its account, clearing, fees */

const char *
hbi_check_account_room(const struct hb_partition *p, uint64_t account)
{
	if (p->head->account_count + ACCOUNTS_OPENED_MAX < p->capacity.accounts)
		return NULL;
	return hb_account_find(p, account) != NULL
		       ? NULL
		       : "capacity.accounts is too small for this journal";
}

static const char *
check_token_use(const struct hb_partition *p, const struct hb_token_use *use, uint64_t user)
{
	if (use->token_id == 0 || hbi_window_takes(p, use->token_id, user, use->sequence))
		return NULL;
	return hb_window_find(p, use->token_id, user) != NULL
		       ? "the token's sequence was used before"
		       : "capacity.windows is too small for this journal";
}

static const char *
check_idempotency(const struct hb_partition *p, const struct hb_idempotency *idempotency,
	const struct hb_record *record)
{
	if (hbi_idempotency_is_none(idempotency) ||
		hbi_idempotency_room(p, record->time_ns / 1000000))
		return NULL;
	return "capacity.idempotency is too small for this journal";
}

/* Where a record keeps its token use, its user and its key; NULL: it has none. */
struct keys {
	const struct hb_token_use *use;
	uint64_t user;
	const struct hb_idempotency *idempotency;
};

static struct keys
keys_of(const struct hb_record *record)
{
	const void *at = record;

	switch (record->type) {
	case HB_RECORD_GRAB: {
		const struct hb_record_grab *r = at;

		return (struct keys){&r->token, r->user, NULL};
	}
	case HB_RECORD_PACKET_CREATE: {
		const struct hb_record_packet_create *r = at;

		return (struct keys){&r->token, r->sender, &r->idempotency};
	}
	case HB_RECORD_TRANSFER: {
		const struct hb_record_transfer *r = at;

		return (struct keys){&r->token, r->from, &r->idempotency};
	}
	case HB_RECORD_HOLD: {
		const struct hb_record_hold *r = at;

		return (struct keys){&r->token, r->account, &r->idempotency};
	}
	case HB_RECORD_ACCOUNT_OPEN:
		return (struct keys){
			NULL, 0, &((const struct hb_record_account_open *)at)->idempotency};
	case HB_RECORD_ACCOUNT_FREEZE:
	case HB_RECORD_ACCOUNT_UNFREEZE:
		return (struct keys){
			NULL, 0, &((const struct hb_record_account_freeze *)at)->idempotency};
	case HB_RECORD_ORDER_OPEN:
		return (struct keys){
			NULL, 0, &((const struct hb_record_order_open *)at)->idempotency};
	case HB_RECORD_ORDER_UPDATE:
		return (struct keys){
			NULL, 0, &((const struct hb_record_order_update *)at)->idempotency};
	case HB_RECORD_CREDIT:
		return (struct keys){NULL, 0, &((const struct hb_record_credit *)at)->idempotency};
	case HB_RECORD_ADJUST:
		return (struct keys){NULL, 0, &((const struct hb_record_adjust *)at)->idempotency};
	default:
		return (struct keys){NULL, 0, NULL};
	}
}

const char *
hbi_check_keys(const struct hb_partition *p, const struct hb_record *record)
{
	struct keys keys = keys_of(record);
	const char *fault = NULL;

	if (keys.use != NULL)
		fault = check_token_use(p, keys.use, keys.user);
	if (fault == NULL && keys.idempotency != NULL)
		fault = check_idempotency(p, keys.idempotency, record);
	return fault;
}
