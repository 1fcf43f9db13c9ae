/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Cases: every command of an operator has a number, a reason in words, and the people who asked
 * for it and approved it. The journal's records name the number; the words are here.
 *
 * A case is a line of JSON in one file that only grows (HB_PATH_CASES), on disk before anything is
 * done about it. A later line of the same number is the same case a step on. All of them are in
 * memory too, so that lists need no index. If the process dies, a line that was not whole is cut
 * off at the next start: nobody was told of it. A case whose outcome was not written is driven
 * again (case_commands.c), under the same idempotency key.
 *
 * Calls may come from any thread; cases are copied in and out.
 */
#ifndef HB_CONTROLPLANE_CASES_H
#define HB_CONTROLPLANE_CASES_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "controlplane/idempotency_key.h"
#include "shm/order_number.h"

#define HB_CASES_MAX		    1000000
#define HB_CASE_REASON_BYTES_MAX    200 /* UTF-8 */
#define HB_CASE_REFERENCE_BYTES_MAX 47	/* of a channel, visible ASCII */
#define HB_OPERATOR_NAME_MAX	    32	/* as of Unix users */

/* Numbers and words are written to disk: only appended. */
enum hb_case_verb {
	HB_CASE_FREEZE = 1,
	HB_CASE_UNFREEZE = 2,
	HB_CASE_HOLD = 3,
	HB_CASE_POST = 4,
	HB_CASE_VOID = 5,
	HB_CASE_ADJUST = 6,
};

enum hb_case_state {
	HB_CASE_ASKED = 1,     /* waits for another operator */
	HB_CASE_ORDERED = 2,   /* to be done; its outcome is not known yet */
	HB_CASE_DONE = 3,      /* final, as are the following */
	HB_CASE_REFUSED = 4,   /* nothing was done; `outcome` says why */
	HB_CASE_WITHDRAWN = 5, /* before it was approved */
};

struct hb_operator {
	uint32_t uid; /* of the Unix user; 0: root, nobody in particular */
	char name[HB_OPERATOR_NAME_MAX + 1];
};

struct hb_case {
	/* Given by hb_cases_add. */
	uint64_t number; /* 1, 2, … */
	uint64_t salt;	 /* makes its idempotency key unlike those of any other history */

	/* What is asked for; never changes. Fields that a verb does not need are zero. */
	uint8_t verb;	      /* enum hb_case_verb */
	uint16_t channel;     /* POST: system account that pays out */
	uint32_t hold_reason; /* HOLD: enum hb_hold_reason */
	uint32_t lifetime_s;  /* HOLD */
	uint64_t account;     /* FREEZE, UNFREEZE, HOLD; ADJUST: who pays */
	uint64_t to;	      /* ADJUST */
	uint64_t hold;	      /* POST, VOID; the outcome of HOLD */
	int64_t amount_fen;   /* HOLD, ADJUST */
	int64_t fee_fen;      /* POST */
	uint64_t expires_ms;  /* until when it may be approved; 0: needs no approval */
	uint64_t asked_ms;
	struct hb_operator asker;
	char key[HB_IDEMPOTENCY_TEXT_MAX + 1]; /* of the request, "": none */
	char reference[HB_CASE_REFERENCE_BYTES_MAX + 1];
	char reason[HB_CASE_REASON_BYTES_MAX + 1];

	/* What became of it. */
	uint8_t state;		    /* enum hb_case_state */
	uint16_t outcome;	    /* enum hb_status, when DONE or REFUSED */
	struct hb_operator checker; /* who approved or withdrew it; name "" while nobody did */
	uint64_t approved_ms;
	uint64_t over_ms; /* when the outcome was known */
	uint64_t as_of_seq;
	char order_no[HB_ORDER_NUMBER_LENGTH + 1]; /* that it made, or "" */
};

/* Which cases a list is of; fields that are 0 or "" do not matter. */
struct hb_case_filter {
	uint64_t account; /* pays or gets */
	uint64_t hold;
	char order_no[HB_ORDER_NUMBER_LENGTH + 1];
	uint8_t state;
	uint64_t before; /* numbers below this one */
};

struct hb_cases;

/**
 * Read the file, or make it; a torn last line is cut off.
 * @param error one sentence that names file and line
 * @return 0, -EBADMSG for a line that is no case, -ENOMEM, or -errno of the file
 */
int hb_cases_open(struct hb_cases **cases, const char *path, char error[256]);
void hb_cases_close(struct hb_cases *cases);

/**
 * Write a new case.
 * @param c all but number and salt; filled in
 * @return 0; 1 when a request with this key asked for the same before: `c` is that case;
 *         -EEXIST when it asked for something else; -ENOSPC at HB_CASES_MAX; -EIO: not on disk
 */
int hb_cases_add(struct hb_cases *cases, struct hb_case *c);
/** @return 0 or -ENOENT */
int hb_cases_get(struct hb_cases *cases, uint64_t number, struct hb_case *c);
/**
 * Write the next step of a case.
 * @param state_before what it must be in now
 * @return 0, -ESTALE when it is in another state, -EIO: not on disk, nothing has changed
 */
int hb_cases_step(struct hb_cases *cases, const struct hb_case *c, uint8_t state_before);
/** Copy up to `max` cases, the newest first. @return how many */
uint32_t hb_cases_list(struct hb_cases *cases, const struct hb_case_filter *filter,
	struct hb_case *found, uint32_t max);

const char *hb_case_verb_name(uint8_t verb);
const char *hb_case_state_name(uint8_t state);
/** True for 1..32 characters that Unix user names may have. */
bool hb_operator_name_valid(const char *name);

/** A case as JSON, the same as in the file. @return a new object, or NULL without memory */
json_t *hb_case_json(const struct hb_case *c);
/** @return true when it is a case */
bool hb_case_from_json(struct hb_case *c, const json_t *json);

#endif
