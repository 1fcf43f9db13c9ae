/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What tests of the ledger stand on: a private MariaDB of their own, a world of the engine whose
 * records go into a real journal directory, and shortcuts to look at tables.
 *
 * Everything lies in one directory under /tmp, which bed_close removes. mariadbd runs as nobody
 * when the test is root. Each journal uses a database of its own on the same server.
 */
#ifndef HB_TESTS_MYSQL_BED_H
#define HB_TESTS_MYSQL_BED_H

#include "tests/engine/world.h"

#include <sys/types.h>

#include "base/config.h"
#include "base/paths.h"
#include "persist/applier.h"
#include "persist/db.h"
#include "persist/journal.h"

struct bed_server {
	char directory[64];
	char data[128]; /* data directory; changed by a restore */
	pid_t pid;
};

/* One node: engine, journal, database. */
struct bed {
	struct bed_server *server;
	struct hb_config config;
	struct world world;
	struct hb_journal journal;
	struct hb_applier_source source;
	struct hb_applier *applier;
	uint64_t fed_bytes; /* of the world's journal */
	uint64_t packets[64];
	uint32_t packet_count;
};

/** Install a data directory and start the server; fails the test when it cannot. */
void bed_server_open(struct bed_server *server);
void bed_server_close(struct bed_server *server);
/** Start it (again), with more arguments or NULL. */
void bed_server_start(struct bed_server *server, const char *argument);
/** End it at once (SIGKILL) or cleanly (SIGTERM). */
void bed_server_end(struct bed_server *server, int signal);

/** @param name database and node directory; @param accounts capacity per partition */
void bed_open(struct bed *bed, struct bed_server *server, const char *name, uint32_t accounts);
void bed_close(struct bed *bed);

/** Write the world's new records to the journal, committed. */
void bed_commit(struct bed *bed);
/** A MARK record in every partition, credits delivered before. */
void bed_mark(struct bed *bed);

/** Fund users 1..n with 1,000,000 fen each. */
void bed_fund(struct bed *bed, uint64_t users);
/** Some of everything: sends, grabs, transfers, expiries; about `grabs` grabs by users 1..n. */
void bed_traffic(struct bed *bed, uint64_t users, uint32_t grabs);

void bed_applier_start(struct bed *bed);
void bed_applier_stop(struct bed *bed);
/** Wait until the applier has applied everything committed. @return its state */
struct hb_applier_status bed_wait(struct bed *bed, uint64_t seq, uint32_t timeout_ms);
/** Wait until the applier has that state. */
struct hb_applier_status bed_wait_state(
	struct bed *bed, enum hb_applier_state state, uint32_t timeout_ms);

/** Run SQL in the bed's database as root; fails the test on an error. */
void bed_sql(struct bed *bed, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** First column of the first row as a number. */
int64_t bed_number(struct bed *bed, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Sum of a SELECT of one number over the 16 tables; NN is replaced. */
int64_t bed_number_all(struct bed *bed, const char *sql);

#endif
