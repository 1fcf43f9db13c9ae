/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Looking at holds: one by its id, those of an account. The engine knows a hold while it is in
 * memory; MySQL knows the orders that holds made, and by them the holds of an account are found.
 */
#ifndef HB_CONTROLPLANE_HOLDS_H
#define HB_CONTROLPLANE_HOLDS_H

#include "controlplane/engine_json.h"

/** GET /holds/{}: with the counters of its day. */
hb_http_handler hb_hold_get;
/** GET /holds?account=&limit=&before=: the newest first, `hold` null where it is not in memory. */
hb_http_handler hb_hold_list;

/** @return as hb_engine_call.error */
int hb_hold_query(struct hb_control *control, uint64_t hold, union hb_any_reply *answer);
int hb_order_query(
	struct hb_control *control, uint64_t account, uint64_t stamp, union hb_any_reply *answer);

/** A hold as JSON. @return a new object */
json_t *hb_hold_json(const struct hb_reply_hold *hold);

#endif
