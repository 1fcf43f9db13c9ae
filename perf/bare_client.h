/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The peer of the benchmark `drain`: a client of MariaDB that writes the rows of grabs with the
 * applier's statements and durability, and does nothing else: no journal to read, no rows to work
 * out, no balances to look up.
 *
 * It reads what the applier has written into one database, keeps it in memory, sorts it as the
 * applier does, and writes it into a second database of the same server. It makes the tables there
 * when they are missing; else it adds to them, so that run after run they grow as the ledger's do.
 */
#ifndef HB_PERF_BARE_CLIENT_H
#define HB_PERF_BARE_CLIENT_H

#include <stdint.h>

struct hb_bare_client {
	const char *socket; /* of the server */
	const char *from;   /* database of the ledger */
	const char *into;   /* a database, made when it is not there; has no rows above `after` */
	uint64_t after;	    /* rows of records above this sequence: all are of grabs */
	uint64_t records_per_commit;
};

/**
 * Read, prepare, write, count; prints one JSON object.
 * @param error says what failed
 * @return 0, -ENOENT when there are no such rows, -EPROTO when what was written is not what was
 *         read, or as in persist/db.h
 */
int hb_bare_client(const struct hb_bare_client *options, char error[256]);

#endif
