/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Orders by page number, the newest first, over all 16 tables or of one account.
 *
 * A page is found by merging: each table gives its rows in order, and the first page * page_size of
 * all together are kept. That costs more the deeper a page is, so the depth is bounded; behind it
 * and for reading on for long there is the cursor (`before`), which every answer tells as `next`.
 * Page numbers count from the cursor when there is one, so a reader that keeps the cursor of his
 * first page sees no row twice when new ones come.
 */
#ifndef HB_CONTROLPLANE_ORDER_PAGES_H
#define HB_CONTROLPLANE_ORDER_PAGES_H

#include "controlplane/control.h"

#define HB_PAGE_DEPTH_MAX 5000 /* rows up to the end of the deepest page */

/** GET …/orders?account=&page=&page_size=&before=&min_seq= of an operator or business system. */
hb_http_handler hb_order_pages;
/** The same of one user's orders: GET /v1/orders?page=…. */
void hb_order_pages_of(
	const struct hb_http_request *request, struct hb_http_reply *reply, uint64_t account);

/** The rows that are kept while tables are merged. */
struct hb_order_merge {
	uint32_t depth; /* rows wanted */
	uint32_t count; /* in `best`, newest first */
	struct hb_order_row *best;
	struct hb_order_row *next; /* the merge under way */
	uint32_t best_at;
	uint32_t next_count;
};

/** @return 0 or -ENOMEM */
int hb_order_merge_open(struct hb_order_merge *merge, uint32_t depth);
void hb_order_merge_close(struct hb_order_merge *merge);
/** A table begins; its rows follow, the newest first; then it ends. */
void hb_order_merge_begin(struct hb_order_merge *merge);
/** @return 1 when no later row of this table can be among the wanted, else 0 */
int hb_order_merge_row(void *merge, const void *row);
void hb_order_merge_end(struct hb_order_merge *merge);
/** True when `a` stands before `b` in the list: it is newer, or of the same time and greater. */
bool hb_order_newer(const struct hb_order_row *a, const struct hb_order_row *b);

#endif
