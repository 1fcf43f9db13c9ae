/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the node leaves out to keep the rest alive: the level, who chose it, and until when.
 *
 * Control measures and decides (with the alarms' thread), or an operator does; the dataplane
 * publishes the level in the node segment (shm/node.h) and refuses new packets itself; control
 * refuses lists. Grabs are never off by a level: the engine sheds them only when the journal's
 * volume is nearly full.
 *
 * If control dies, a level that it measured ends after HB_DEGRADE_AUTO_S; an operator's goes on
 * until its time, and the next control takes it over from the segment. If the dataplane dies,
 * control tells the next one. When both die at once, an operator's level is forgotten.
 */
#ifndef HB_CONTROLPLANE_DEGRADE_H
#define HB_CONTROLPLANE_DEGRADE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "controlplane/control.h"
#include "shm/node.h"

#define HB_DEGRADE_AUTO_S      60    /* a measured level holds so long without control */
#define HB_DEGRADE_FOR_S_MAX   86400 /* an operator's, at most */
#define HB_DEGRADE_RETRY_AFTER "10"  /* seconds, for clients */

/* What is measured. */
struct hb_degrade_measures {
	uint32_t storage_level; /* enum hb_storage_level */
	int64_t lag_ms;		/* of the slowest MySQL server */
	int64_t busy_per_s;	/* frames answered busy */
};

struct hb_degrade_limits {
	int64_t lag_ms;
	int64_t busy_per_s;
	uint64_t step_ns; /* pressure lasts so long before the next level */
	uint64_t calm_ns; /* and calm before the level below */
};

/* The measured level and since when it should be another. Begins as zeros. */
struct hb_degrade_auto {
	uint32_t level;
	uint64_t rising_ns; /* monotonic, 0: not */
	uint64_t falling_ns;
};

void hb_degrade_limits_take(struct hb_degrade_limits *limits, const struct hb_config *config);

/**
 * Judge one measure; pure. A volume that sheds packets turns them off at once. MySQL behind turns
 * lists off. Overload goes up a level each step_ns while it lasts. Back goes one level each
 * calm_ns.
 * @return the level from now on
 */
uint32_t hb_degrade_judge(struct hb_degrade_auto *state, const struct hb_degrade_limits *limits,
	const struct hb_degrade_measures *measures, uint64_t mono_ns);

struct hb_degrade;

/** @return 0 or -ENOMEM */
int hb_degrade_create(struct hb_degrade **degrade, struct hb_control *control);
/** NULL is fine. */
void hb_degrade_destroy(struct hb_degrade *degrade);
void hb_degrade_configure(struct hb_degrade *degrade, const struct hb_config *config);

/**
 * Take a measure, and tell the dataplane when it should know another level. By the alarms' thread.
 * @param status persist's, or NULL when it does not answer
 */
void hb_degrade_turn(
	struct hb_degrade *degrade, const struct hb_engine_view *view, const json_t *status);

/** The level in force. */
uint32_t hb_degrade_now(const struct hb_degrade *degrade);

/** Refuse with 503 when lists are off. @return true when the reply is made */
bool hb_degrade_no_lists(const struct hb_control *control, struct hb_http_reply *reply);

#endif
