/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The proof behind `hbctl check`: journal, state and MySQL say the same, and no fen is missing.
 *
 * The journal is replayed from its beginning (or the oldest snapshot that it continues) to a cut
 * with the engine's own apply; every frame, chain, record CRC, MARK hash and credit sum is checked
 * on the way. At the cut the invariants must hold:
 *
 *  I1  for each packet: total = claimed + left + refunded, shares likewise
 *  I2  for each account: frozen = left of its open packets (+ open holds); no user below zero
 *  I3  all balances, system accounts included, add up to zero
 *  I4  each claim is one record, one order, one credit: claims = GRAB records
 *
 * Then every row that MySQL should hold is computed from the records and compared with what it
 * holds: per table the number of rows and an order-independent sum of row hashes. Where a table
 * differs, the rows are named.
 *
 * Every snapshot file must be whole as well.
 *
 * The caller stops the appliers exactly at the cut and resumes them afterwards. Read only. If the
 * process dies here, nothing is left behind.
 */
#ifndef HB_PERSIST_CHECK_H
#define HB_PERSIST_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"

#define HB_CHECK_VIOLATIONS_MAX 64 /* described; more are counted */
#define HB_CHECK_ROWS_NAMED_MAX 20 /* rows named per run */

struct hb_check_violation {
	/*
	 * Stable name: "journal", "record", "credit_sums", "invariant_1" to "invariant_4",
	 * "balance", "position", "shards", "table", "row_missing", "row_extra",
	 * "row_differs". Where there are several servers, `where` begins with "server NAME, ".
	 */
	char kind[32];
	char where[128];    /* table and key, packet, account or journal position */
	char expected[320]; /* as far as known, else empty */
	char found[320];
};

struct hb_check_options {
	const struct hb_config *config; /* node.directory, mysql.*, capacity.* */
	uint64_t cut_seq;  /* journal sequence to check at; the appliers stand exactly here */
	bool journal_only; /* do not compare with MySQL */
	/* NULL, or called about once a second: phase is "journal", "invariants", "mysql", "rows" */
	void (*progress)(void *context, const char *phase, uint64_t done, uint64_t total);
	void *context;
};

struct hb_check_result {
	bool ok;	       /* no violation */
	uint64_t journal_seq;  /* reached by the replay */
	uint64_t first_seq;    /* where the replay began: 1, or after a snapshot */
	uint64_t mysql_seq;    /* of the position row; of several servers the lowest */
	uint64_t record_count; /* replayed */
	uint64_t grab_count;
	uint64_t mark_count; /* marks whose hash was compared */
	uint64_t account_count;
	uint64_t packet_count;
	uint64_t row_count; /* rows read from MySQL */
	uint64_t elapsed_ms;
	uint32_t violation_count; /* found; min(this, max) are described */
	struct hb_check_violation violation[HB_CHECK_VIOLATIONS_MAX];
};

/**
 * Check the node at a cut.
 * @param result filled in also when the check could not be finished
 * @param error when it could not be finished: what is wrong and what to do
 * @return 0 when the check came to its end (see result->ok), else -errno with `error`
 */
int hb_check_run(
	const struct hb_check_options *options, struct hb_check_result *result, char error[256]);

/**
 * The result as one JSON object for the contract of `hbctl check --json`.
 * @param mysql_lag as the caller knows it: committed sequence minus position
 * @return text from malloc, the caller frees it; NULL when out of memory
 */
char *hb_check_json(const struct hb_check_result *result, uint64_t mysql_lag);

#endif
