/* SPDX-License-Identifier: Apache-2.0 */
/** @file From records to sums of rows: see the header. Memory only; nothing to lose. */
#include "persist/expected.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/ids.h"

/* An order that may still change. */
struct expected_order {
	uint64_t key;
	struct hb_row_order row;
};

static const char out_of_memory[] = "out of memory";

void
hb_row_mask(enum hb_table table, void *row)
{
	struct hb_row_account *account = row;

	if (table != HB_TABLE_ACCOUNT)
		return;
	account->version = 0;
	account->opened_jseq = 0;
}

uint64_t
hb_row_hash(enum hb_table table, const void *row)
{
	uint32_t bytes = hb_table_layouts[table].row_bytes;
	uint64_t hash = bytes;

	HB_ASSERT(bytes % sizeof(uint64_t) == 0);
	for (uint32_t at = 0; at < bytes; at += (uint32_t)sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, (const uint8_t *)row + at, sizeof(word));
		hash = hb_mix64(hash + word + at + 1) + hash;
	}
	return hash;
}

uint32_t
hb_row_bucket(enum hb_table table, const void *row)
{
	const struct hb_table_layout *layout = &hb_table_layouts[table];
	uint64_t hash = 1;

	for (uint32_t i = 0; i < layout->key_count; i++) {
		const struct hb_db_column *column = &layout->columns[i];

		for (uint32_t at = 0; at < column->bytes; at += (uint32_t)sizeof(uint64_t)) {
			uint64_t word = 0;
			size_t n = column->bytes - at < sizeof(word) ? column->bytes - at
								     : sizeof(word);

			memcpy(&word, (const uint8_t *)row + column->offset + at, n);
			hash = hb_mix64(hash * 3 + word);
		}
	}
	return (uint32_t)(hash % HB_ROW_BUCKETS);
}

void
hb_table_sum_add(struct hb_table_sum *sum, enum hb_table table, const void *row)
{
	struct hb_row_sum *bucket = &sum->bucket[hb_row_bucket(table, row)];

	bucket->count++;
	bucket->hash += hb_row_hash(table, row);
}

struct hb_row_sum
hb_table_total(const struct hb_table_sum *sum)
{
	struct hb_row_sum total = {0};

	for (uint32_t i = 0; i < HB_ROW_BUCKETS; i++) {
		total.count += sum->bucket[i].count;
		total.hash += sum->bucket[i].hash;
	}
	return total;
}

int
hb_row_set_add(struct hb_row_set *set, enum hb_table table, const void *row)
{
	uint32_t bytes = hb_table_layouts[table].row_bytes;

	if (!set->wanted[hb_row_bucket(table, row)])
		return 0;
	if (set->count == set->room) {
		uint64_t room = set->room == 0 ? 256 : set->room * 2;
		uint8_t *larger = realloc(set->rows, room * bytes);

		if (larger == NULL)
			return -ENOMEM;
		set->rows = larger;
		set->room = room;
	}
	memcpy(set->rows + set->count++ * bytes, row, bytes);
	return 0;
}

void
hb_expected_open(struct hb_expected *e, uint32_t node)
{
	memset(e, 0, sizeof(*e));
	e->node = node;
	hb_map_open(&e->accounts, sizeof(struct hb_row_account));
	hb_map_open(&e->packets, sizeof(struct hb_expected_packet));
	hb_map_open(&e->orders, sizeof(struct expected_order));
}

void
hb_expected_restart(struct hb_expected *e, uint32_t node)
{
	hb_map_clear(&e->accounts);
	hb_map_clear(&e->packets);
	hb_map_clear(&e->orders);
	memset(e->sum, 0, sizeof(e->sum));
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			e->collected[t][p].count = 0;
	e->node = node;
	e->claim_count = 0;
	e->claim_fen = 0;
	e->grab_order_fen = 0;
	e->flow_fen = 0;
}

void
hb_expected_close(struct hb_expected *e)
{
	hb_map_close(&e->accounts);
	hb_map_close(&e->packets);
	hb_map_close(&e->orders);
	for (uint32_t t = 0; t < HB_TABLE_COUNT; t++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			free(e->collected[t][p].rows);
}

int
hb_expected_account(struct hb_expected *e, const struct hb_row_account *account)
{
	struct hb_row_account *known = hb_map_get(&e->accounts, account->account);

	if (known == NULL)
		return -ENOMEM;
	*known = *account;
	return 0;
}

int
hb_expected_packet(struct hb_expected *e, const struct hb_packet_origin *origin)
{
	struct hb_expected_packet *known = hb_map_get(&e->packets, origin->packet);

	if (known == NULL)
		return -ENOMEM;
	known->older = true;
	known->row.sender = origin->sender;
	known->row.order_stamp = origin->order_stamp;
	return 0;
}

/* A row that will not change any more. */
static int
add_final(struct hb_expected *e, enum hb_table table, uint32_t partition, const void *row)
{
	hb_table_sum_add(&e->sum[table][partition], table, row);
	return hb_row_set_add(&e->collected[table][partition], table, row);
}

static struct hb_row_account *
touch_account(struct hb_expected *e, uint64_t id, uint64_t seq)
{
	struct hb_row_account *account = hb_map_get(&e->accounts, id);

	if (account == NULL)
		return NULL;
	if (account->opened_jseq == 0) {
		account->opened_jseq = seq;
		account->kind = hb_rows_account_kind(id);
	}
	account->version++;
	return account;
}

static int
add_flow(struct hb_expected *e, struct hb_row_flow *flow)
{
	struct hb_row_account *account = touch_account(e, flow->account, flow->jseq);

	if (account == NULL)
		return -ENOMEM;
	account->available_fen += flow->available_delta;
	account->frozen_fen += flow->frozen_delta;
	flow->available_after = account->available_fen;
	flow->frozen_after = account->frozen_fen;
	e->flow_fen += flow->available_delta + flow->frozen_delta;
	return add_final(e, HB_TABLE_FLOW, hb_partition_of(flow->account), flow);
}

static int
add_account_event(struct hb_expected *e, const struct hb_rows *rows, uint64_t seq)
{
	struct hb_row_account *account = touch_account(e, rows->account_event.account, seq);

	if (account == NULL)
		return -ENOMEM;
	if (rows->account_event.event == HB_ACCOUNT_OPENED)
		account->kind = rows->account_event.kind;
	else
		account->barred = rows->account_event.event == HB_ACCOUNT_BARRED;
	return 0;
}

static uint64_t
order_key(const char order_no[HB_ROW_ORDER_NO_BYTES])
{
	uint64_t words[4];

	memcpy(words, order_no, sizeof(words));
	return hb_mix64(words[0] + hb_mix64(words[1] + hb_mix64(words[2] + hb_mix64(words[3])))) |
	       1;
}

static int
add_order(struct hb_expected *e, const struct hb_row_order *order)
{
	struct expected_order *kept;

	if (order->business == HB_BUSINESS_PACKET_GRAB)
		e->grab_order_fen += order->amount_fen;
	if (order->state == HB_ORDER_DONE)
		return add_final(e, HB_TABLE_ORDER, hb_partition_of(order->account), order);
	kept = hb_map_get(&e->orders, order_key(order->order_no));
	if (kept == NULL)
		return -ENOMEM;
	kept->row = *order;
	return 0;
}

static const char *
add_order_change(struct hb_expected *e, const struct hb_rows *rows)
{
	struct expected_order *kept =
		hb_map_find(&e->orders, order_key(rows->order_change.order_no));

	if (kept == NULL)
		return NULL; /* opened before the first record */
	if (memcmp(kept->row.order_no, rows->order_change.order_no, HB_ROW_ORDER_NO_BYTES) != 0)
		return "two order numbers share a hash; the check cannot tell them apart";
	kept->row.state = rows->order_change.state;
	return NULL;
}

static int
add_packet(struct hb_expected *e, const struct hb_row_packet *row)
{
	struct hb_expected_packet *packet = hb_map_get(&e->packets, row->packet);

	if (packet == NULL)
		return -ENOMEM;
	packet->older = false;
	packet->row = *row;
	return 0;
}

static void
add_packet_change(struct hb_expected *e, const struct hb_packet_change *change)
{
	struct hb_expected_packet *packet = hb_map_find(&e->packets, change->packet);

	HB_ASSERT(packet != NULL);
	packet->row.left_fen += change->left_fen;
	packet->row.left_count = (uint32_t)((int64_t)packet->row.left_count + change->left_count);
	packet->row.refunded_fen += change->refunded_fen;
	packet->row.state = change->state;
}

static const char *
add_rows(struct hb_expected *e, struct hb_rows *rows, uint64_t seq)
{
	int rc = 0;

	if (rows->account_event.account != 0)
		rc = add_account_event(e, rows, seq);
	for (uint32_t i = 0; i < rows->order_count && rc == 0; i++)
		rc = add_order(e, &rows->order[i]);
	for (uint32_t i = 0; i < rows->flow_count && rc == 0; i++)
		rc = add_flow(e, &rows->flow[i]);
	if (rc == 0 && rows->packet_count > 0)
		rc = add_packet(e, &rows->packet);
	if (rc == 0 && rows->claim_count > 0) {
		e->claim_count++;
		e->claim_fen += rows->claim.amount_fen;
		rc = add_final(
			e, HB_TABLE_CLAIM, hb_partition_of(rows->claim.packet), &rows->claim);
	}
	if (rc != 0)
		return out_of_memory;
	if (rows->packet_change.packet != 0)
		add_packet_change(e, &rows->packet_change);
	return rows->order_change.account != 0 ? add_order_change(e, rows) : NULL;
}

const char *
hb_expected_add(struct hb_expected *e, const struct hb_record *record, uint64_t seq)
{
	uint64_t needed = hb_rows_packet_needed(record);
	struct hb_packet_origin origin = {0};
	struct hb_rows rows;

	if (record->type == HB_RECORD_EPOCH_START)
		e->node = ((const struct hb_record_epoch_start *)(const void *)record)->node;
	if (needed != 0) {
		const struct hb_expected_packet *packet = hb_map_find(&e->packets, needed);

		if (packet == NULL)
			return "the packet was never created";
		origin = (struct hb_packet_origin){
			needed, packet->row.sender, packet->row.order_stamp};
	}
	const char *why = hb_rows_of(record, seq, e->node, &origin, &rows);

	return why != NULL ? why : add_rows(e, &rows, seq);
}

/* As the server of its shard has it, and as every other has it. */
static int
add_final_packet(struct hb_expected *e, const struct hb_row_packet *packet)
{
	const struct hb_row_origin origin = {
		packet->packet, packet->sender, packet->order_stamp, packet->jseq};
	uint32_t partition = hb_partition_of(packet->packet);
	int rc = add_final(e, HB_TABLE_PACKET, partition, packet);

	return rc == 0 ? add_final(e, HB_TABLE_ORIGIN, partition, &origin) : rc;
}

int
hb_expected_finish(struct hb_expected *e)
{
	const struct hb_row_account *account;
	const struct hb_expected_packet *packet;
	const struct expected_order *order;
	uint64_t cursor = 0;
	int rc = 0;

	while (rc == 0 && (account = hb_map_next(&e->accounts, &cursor)) != NULL) {
		struct hb_row_account row = *account;

		if (e->partial)
			hb_row_mask(HB_TABLE_ACCOUNT, &row);
		rc = add_final(e, HB_TABLE_ACCOUNT, hb_partition_of(row.account), &row);
	}
	for (cursor = 0; rc == 0 && (packet = hb_map_next(&e->packets, &cursor)) != NULL;)
		if (!packet->older)
			rc = add_final_packet(e, &packet->row);
	for (cursor = 0; rc == 0 && (order = hb_map_next(&e->orders, &cursor)) != NULL;)
		rc = add_final(e, HB_TABLE_ORDER, hb_partition_of(order->row.account), &order->row);
	return rc;
}
