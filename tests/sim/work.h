/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Runs numbered items of work, such as seeds, in this process or in several, adds up what they
 * counted and remembers in a file how far it came.
 */
#ifndef HB_TESTS_SIM_WORK_H
#define HB_TESTS_SIM_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_SUMS_MAX 64
#define SIM_JOBS_MAX 64

struct sim_work {
	const char *name;   /* of the items, for people and in the file: one word */
	uint64_t from;	    /* first item */
	uint64_t count;	    /* in all, those of earlier calls included */
	uint32_t jobs;	    /* processes; 0: this one */
	uint32_t batch;	    /* items between two looks at the clock and writes of the file */
	bool keep_going;    /* after a violation */
	const char *resume; /* file; NULL: none */
	uint32_t sum_count;
	uint64_t sums[SIM_SUMS_MAX]; /* the result */
	uint64_t done;		     /* items behind us */
	uint64_t violations;
	/** Run one item and add to sums. @return false at a violation, about which it has spoken */
	bool (*run)(uint64_t item, uint64_t sums[SIM_SUMS_MAX]);
};

/**
 * Run the items that are left. A process that dies is a violation of the item it was at. The file
 * is of one build of this program: another one's is refused.
 * @return 0, or -errno after a message
 */
int sim_work_run(struct sim_work *work);

#endif
