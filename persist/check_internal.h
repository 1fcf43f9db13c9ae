/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the files of the check share: see check.h.
 */
#ifndef HB_PERSIST_CHECK_INTERNAL_H
#define HB_PERSIST_CHECK_INTERNAL_H

#include "persist/check.h"
#include "persist/expected.h"
#include "persist/journal_reader.h"
#include "persist/replay.h"
#include "persist/schema.h"
#include "persist/snapshot.h"

#define HBI_PROGRESS_NS UINT64_C(1000000000)

/* One run. */
struct hbi_check {
	const struct hb_check_options *options;
	struct hb_check_result *result;
	struct hb_expected *expected;
	struct hb_state state;
	bool state_open;
	bool journal_broken; /* the replay did not reach the cut: nothing to compare */
	char directory[512];
	struct hb_journal_info info;
	struct hb_snapshot_header start; /* what the replay began with; seq 0: nothing */
	uint64_t cut_epoch;
	uint8_t cut_chain[32];
	uint64_t progress_ns; /* when it was last called */
	char *error;	      /* of 256 bytes */
};

/** Count a violation, and describe it while there is room. */
void hbi_violation(struct hbi_check *check, const char *kind, const char *where,
	const char *expected, const char *found);
void hbi_progress(struct hbi_check *check, const char *phase, uint64_t done, uint64_t total);

/** Invariants of the replayed state at the cut, and state against the sums of rows. */
void hbi_check_invariants(struct hbi_check *check);

/** MySQL against the sums of rows. @return 0 or -errno with check->error */
int hbi_check_mysql(struct hbi_check *check);

/** Read the records again and collect the rows that are wanted. @return 0 or -errno */
int hbi_collect_rows(struct hbi_check *check);

#endif
