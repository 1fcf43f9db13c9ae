/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Reading the ledger in MySQL: a small pool of connections per server, constant prepared queries,
 * bound values only, each read at one consistent cut whose journal sequence it knows.
 *
 * A read takes a connection from the pool, opens a read-only snapshot transaction, and gives the
 * connection back at its end. Connections are made when needed and made again after an error, so
 * MySQL may come and go; while it is away a read fails at once with a sentence for the caller.
 *
 * A read is of one shard. Which server has it, the servers say themselves (table shard), within the
 * snapshot: a shard that moves is never read where it was. A server's replica is read first, when
 * it is fresh enough, and when the server is away.
 */
#ifndef HB_CONTROLPLANE_READS_H
#define HB_CONTROLPLANE_READS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "shm/limits.h"
#include "shm/order_number.h"

#define HB_READS_CONNECTIONS 4	  /* to each server and to each replica */
#define HB_READS_WAIT_MS     1000 /* for a connection, and for min_seq */
#define HB_READS_ERROR_BYTES 256
#define HB_READS_ROWS_MAX    100 /* of one page */

struct hb_order_row {
	char order_no[HB_ORDER_NUMBER_LENGTH];
	uint64_t account;
	uint16_t business;
	uint8_t state;
	int64_t amount_fen;
	uint64_t packet;
	uint64_t peer;
	uint64_t at_ms;
	uint64_t jseq;
};

struct hb_flow_row {
	uint64_t jseq;
	uint8_t leg;
	int64_t available_delta;
	int64_t frozen_delta;
	int64_t available_after;
	int64_t frozen_after;
	char order_no[HB_ORDER_NUMBER_LENGTH];
	uint64_t at_ms;
};

struct hb_packet_row {
	uint64_t packet;
	uint64_t sender;
	uint64_t group_id;
	uint64_t recipient;
	uint8_t kind;
	uint8_t algorithm;
	uint8_t state;
	int64_t total_fen;
	int64_t left_fen;
	int64_t refunded_fen;
	uint32_t share_count;
	uint32_t left_count;
	uint64_t created_ms;
	uint64_t deadline_ms;
	char order_no[HB_ORDER_NUMBER_LENGTH];
	char greeting[HB_GREETING_BYTES_MAX * 4]; /* VARCHAR counts characters */
	uint64_t jseq;
};

/* A packet with what proves its shares. */
struct hb_old_packet_row {
	uint64_t packet;
	uint64_t sender;
	uint64_t group_id;
	uint64_t recipient;
	uint8_t kind;
	uint8_t algorithm;
	uint8_t state;
	int64_t total_fen;
	int64_t left_fen;
	int64_t refunded_fen;
	uint32_t share_count;
	uint32_t left_count;
	int64_t share_min_fen;
	int64_t share_max_fen;
	uint64_t created_ms;
	uint64_t deadline_ms;
	char greeting[HB_GREETING_BYTES_MAX];
	uint8_t commitment[32];
	uint8_t seed[32];
};

struct hb_claim_row {
	uint64_t account;
	int64_t amount_fen;
	uint32_t share;
	uint64_t at_ms;
};

/* What the placeholders of the queries are bound to. */
struct hb_read_parameters {
	uint64_t account;
	uint64_t before;	/* at_ms, jseq or created_ms: rows before it … */
	uint64_t before_packet; /* … or at it and before this packet */
	uint8_t before_leg;	/* … or leg */
	char before_order_no[HB_ORDER_NUMBER_LENGTH];
	char order_no[HB_ORDER_NUMBER_LENGTH];
	uint64_t deadline_ms;
	uint32_t limit;
	uint64_t packet;
	uint32_t share_first;
};

enum hb_read_query {
	HB_READ_POSITION,	  /* of each stream, and whether the shard is there: reads.c */
	HB_READ_ORDERS,		  /* account, before, before_order_no, limit: hb_order_row */
	HB_READ_PACKETS_RECEIVED, /* the same, grabs only */
	HB_READ_ALL_ORDERS,	  /* before, before_order_no, limit: hb_order_row of everybody */
	HB_READ_HOLDS,		  /* the same, of holds only */
	HB_READ_ORDER,		  /* order_no: hb_order_row */
	HB_READ_STATEMENT,	  /* account, before, before_leg, limit: hb_flow_row */
	HB_READ_PACKETS_SENT,	  /* account, before, before_packet, limit: hb_packet_row */
	HB_READ_OVERDUE,	  /* deadline_ms, limit: hb_packet_row of open packets */
	HB_READ_PACKET,		  /* packet: hb_old_packet_row */
	HB_READ_CLAIMS,		  /* packet, share_first, limit: hb_claim_row by share */
	HB_READ_CLAIM_OF,	  /* packet, account: hb_claim_row */
	HB_READ_LUCKIEST,	  /* packet: the hb_claim_row of the first largest share */
	HB_READ_QUERY_COUNT,
};

struct hb_reads;
struct hb_read;

/** @param config outlives the pool. @return 0, -ENOMEM, or -EINVAL; does not connect yet */
int hb_reads_create(struct hb_reads **reads, const struct hb_config *config);
void hb_reads_destroy(struct hb_reads *reads);

/**
 * Begin a read of a shard at a consistent cut.
 * @param min_seq wait up to HB_READS_WAIT_MS until the cut holds this journal sequence; when it
 * does not come, the read begins anyway and as_of_seq tells
 * @param error filled on failure with a sentence for the caller
 * @return 0; -EBUSY when no connection came free; -ENOTCONN, -EPERM, -EIO
 */
int hb_read_begin(struct hb_reads *reads, uint32_t shard, uint64_t min_seq, struct hb_read **read,
	char error[HB_READS_ERROR_BYTES]);
void hb_read_end(struct hb_read *read);
/** Every record up to this sequence is in what the read sees. */
uint64_t hb_read_as_of_seq(const struct hb_read *read);

/**
 * Run a query on the shard that the read is of.
 * @param row room for one row of the query's type
 * @param each called per row; other than 0 ends the query
 * @return 0, what `each` returned, or an error as above
 */
int hb_read_query(struct hb_read *read, enum hb_read_query query, uint32_t shard,
	const struct hb_read_parameters *parameters, void *row,
	int (*each)(void *context, const void *row), void *context,
	char error[HB_READS_ERROR_BYTES]);

/** Reads that replicas answered since start. */
uint64_t hb_reads_from_replicas(const struct hb_reads *reads);
/** Reads that failed since start. */
uint64_t hb_reads_failed(const struct hb_reads *reads);

#endif
