/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of orders (order_pages.h). The rows of a request live as long as it does: twice the depth.
 * Tables are read one after the other, each at a cut of its own, and the answer says up to which
 * sequence all of them are complete.
 */
#include "controlplane/order_pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "controlplane/engine_json.h"
#include "controlplane/json_fields.h"
#include "shm/ids.h"

#define PAGE_SIZE_DEFAULT 20

enum {
	ACCOUNT,
	PAGE,
	PAGE_SIZE,
	BEFORE,
	MIN_SEQ,
	QUERY_COUNT
};
static const char *const query_names[] = {[ACCOUNT] = "account",
	[PAGE] = "page",
	[PAGE_SIZE] = "page_size",
	[BEFORE] = "before",
	[MIN_SEQ] = "min_seq",
	[QUERY_COUNT] = NULL};

struct page {
	uint64_t number; /* from 1 */
	uint64_t size;
	uint64_t min_seq;
	uint64_t as_of_seq;
	struct hb_read_parameters parameters;
};

/* ---- merging ---- */

bool
hb_order_newer(const struct hb_order_row *a, const struct hb_order_row *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms > b->at_ms;
	return memcmp(a->order_no, b->order_no, sizeof(a->order_no)) > 0;
}

int
hb_order_merge_open(struct hb_order_merge *merge, uint32_t depth)
{
	HB_ASSERT(depth > 0);
	*merge = (struct hb_order_merge){.depth = depth};
	merge->best = calloc(depth, sizeof(*merge->best));
	merge->next = calloc(depth, sizeof(*merge->next));
	return merge->best && merge->next ? 0 : -ENOMEM;
}

void
hb_order_merge_close(struct hb_order_merge *merge)
{
	free(merge->best);
	free(merge->next);
}

void
hb_order_merge_begin(struct hb_order_merge *merge)
{
	merge->best_at = 0;
	merge->next_count = 0;
}

int
hb_order_merge_row(void *context, const void *data)
{
	struct hb_order_merge *merge = context;
	const struct hb_order_row *row = data;

	while (merge->next_count < merge->depth && merge->best_at < merge->count &&
		hb_order_newer(&merge->best[merge->best_at], row))
		merge->next[merge->next_count++] = merge->best[merge->best_at++];
	if (merge->next_count < merge->depth)
		merge->next[merge->next_count++] = *row;
	return merge->next_count == merge->depth;
}

void
hb_order_merge_end(struct hb_order_merge *merge)
{
	struct hb_order_row *merged = merge->next;

	while (merge->next_count < merge->depth && merge->best_at < merge->count)
		merge->next[merge->next_count++] = merge->best[merge->best_at++];
	merge->next = merge->best;
	merge->best = merged;
	merge->count = merge->next_count;
}

/* ---- reading ---- */

static int
read_shard(const struct hb_control *control, struct page *page, uint32_t shard,
	struct hb_order_merge *merge, char error[HB_READS_ERROR_BYTES])
{
	enum hb_read_query query = page->parameters.account ? HB_READ_ORDERS : HB_READ_ALL_ORDERS;
	struct hb_order_row row;
	struct hb_read *read = NULL;
	int result = hb_read_begin(control->reads, shard, page->min_seq, &read, error);

	if (result != 0)
		return result;
	hb_order_merge_begin(merge);
	result = hb_read_query(
		read, query, shard, &page->parameters, &row, hb_order_merge_row, merge, error);
	hb_order_merge_end(merge);
	if (hb_read_as_of_seq(read) < page->as_of_seq)
		page->as_of_seq = hb_read_as_of_seq(read);
	hb_read_end(read);
	return result < 0 ? result : 0;
}

/* An account's orders are all in one table. */
static int
read_all(const struct hb_control *control, struct page *page, struct hb_order_merge *merge)
{
	char error[HB_READS_ERROR_BYTES] = "";
	uint64_t account = page->parameters.account;
	int result = 0;

	page->as_of_seq = UINT64_MAX;
	if (account)
		return read_shard(control, page, hb_partition_of(account), merge, error);
	for (uint32_t shard = 0; shard < HB_PARTITION_COUNT && result == 0; shard++)
		result = read_shard(control, page, shard, merge, error);
	return result;
}

/* ---- requests ---- */

static bool
refuse(struct hb_http_reply *reply, const char *what)
{
	hb_http_error(reply, 400, "bad_request", "query parameter %s", what);
	return false;
}

static bool
read_page(
	char values[][HB_HTTP_QUERY_VALUE_MAX + 1], struct page *page, struct hb_http_reply *reply)
{
	page->number = 1;
	page->size = PAGE_SIZE_DEFAULT;
	if (values[PAGE][0] &&
		(!hb_decimal_parse(values[PAGE], INT32_MAX, &page->number) || !page->number))
		return refuse(reply, "page must be a number from 1 on");
	if (values[PAGE_SIZE][0] &&
		(!hb_decimal_parse(values[PAGE_SIZE], HB_READS_ROWS_MAX, &page->size) ||
			!page->size))
		return refuse(reply, "page_size must be in 1..100");
	if (values[MIN_SEQ][0] && !hb_decimal_parse(values[MIN_SEQ], INT64_MAX, &page->min_seq))
		return refuse(reply, "min_seq must be a journal sequence");
	if (!hb_order_cursor_read(values[BEFORE], &page->parameters))
		return refuse(reply, "before must be the \"next\" of another page");
	if (page->number * page->size <= HB_PAGE_DEPTH_MAX)
		return true;
	hb_http_error(reply, 422, "page_too_deep",
		"page %" PRIu64 " of %" PRIu64 " rows ends behind row %d, the last one that pages "
		"reach: go on with before= and the \"next\" of an earlier page, pages then count "
		"from there",
		page->number, page->size, HB_PAGE_DEPTH_MAX);
	return false;
}

static json_t *
page_json(const struct page *page, const struct hb_order_merge *merge)
{
	uint64_t first = (page->number - 1) * page->size;
	uint64_t end = first + page->size < merge->count ? first + page->size : merge->count;
	bool more = merge->count > first + page->size;
	char next[HB_HTTP_QUERY_VALUE_MAX + 1];
	json_t *items = json_array();

	for (uint64_t i = first; i < end; i++)
		json_array_append_new(items, hb_order_row_json(&merge->best[i]));
	if (more)
		hb_order_cursor_format(next, &merge->best[end - 1]);
	return json_pack("{s:s,s:o,s:I,s:I,s:o,s:I}", "status", "ok", "items", items, "page",
		(json_int_t)page->number, "page_size", (json_int_t)page->size, "next",
		more ? json_string(next) : json_null(), "as_of_seq", (json_int_t)page->as_of_seq);
}

static void
answer(const struct hb_http_request *request, struct hb_http_reply *reply, struct page *page)
{
	struct hb_order_merge merge;
	/* one more tells whether there is a next page */
	uint32_t depth = (uint32_t)(page->number * page->size) + 1;

	page->parameters.limit = depth;
	if (hb_order_merge_open(&merge, depth) != 0)
		hb_http_error(reply, 503, "busy", "no memory for the request; ask again");
	else if (read_all(request->context, page, &merge) != 0)
		hb_mysql_away(reply);
	else
		hb_http_json(reply, 200, page_json(page, &merge));
	hb_order_merge_close(&merge);
}

void
hb_order_pages(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	char values[QUERY_COUNT][HB_HTTP_QUERY_VALUE_MAX + 1];
	struct page page = {.number = 1};

	if (!hb_http_query(request, reply, query_names, values) || !read_page(values, &page, reply))
		return;
	if (values[ACCOUNT][0] && !hb_account_parse(values[ACCOUNT], &page.parameters.account)) {
		refuse(reply, "account must be an account number");
		return;
	}
	answer(request, reply, &page);
}

void
hb_order_pages_of(
	const struct hb_http_request *request, struct hb_http_reply *reply, uint64_t account)
{
	char values[QUERY_COUNT][HB_HTTP_QUERY_VALUE_MAX + 1];
	struct page page = {.number = 1};

	/* a user has no say in whose orders these are */
	values[ACCOUNT][0] = '\0';
	if (!hb_http_query(request, reply, query_names + PAGE, values + PAGE) ||
		!read_page(values, &page, reply))
		return;
	page.parameters.account = account;
	answer(request, reply, &page);
}
