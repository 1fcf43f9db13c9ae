/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What `hbctl trace` looks for, and the rows that MySQL has of it.
 */
#ifndef HBCTL_TRACE_H
#define HBCTL_TRACE_H

#include "shm/order_number.h"
#include "tools/hbctl/hbctl.h"

#define HBCTL_TRACE_ROWS_MAX 100000 /* of MySQL, in one answer */

enum hbctl_trace_kind {
	HBCTL_TRACE_ACCOUNT,
	HBCTL_TRACE_PACKET, /* or hold */
	HBCTL_TRACE_ORDER,
};

struct hbctl_trace_subject {
	enum hbctl_trace_kind kind;
	uint64_t id;	  /* of account, packet or hold */
	const char *text; /* order number */
	struct hb_order_number order;
	uint64_t since_ms; /* 0: from the beginning */
};

/**
 * Rows of the subject, ascending by the sequence of the record that made them. To be used as work
 * of a child.
 * @param context struct hbctl_trace_subject
 * @return {"ok":true,"as_of_seq":…,"more":…,"rows":[{"table":…,"seq":…,…}]}
 */
hbctl_child_fn hbctl_trace_rows;

#endif
