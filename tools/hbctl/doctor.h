/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * hbctl doctor: what its parts share. Each part looks at one thing after the other and says one
 * line about it: good, worth a look, or wrong, with what to do. Nothing is changed anywhere; the
 * disk is measured with a file that has no name.
 */
#ifndef HBCTL_DOCTOR_H
#define HBCTL_DOCTOR_H

#include "tools/hbctl/hbctl.h"

enum hbctl_health {
	HBCTL_HEALTH_OK,
	HBCTL_HEALTH_WARN, /* works, but slower or less safe than it could */
	HBCTL_HEALTH_FAIL, /* the node will not start, not last, or not keep its secrets */
};

struct hbctl_doctor {
	struct hbctl *hbctl;
	json_t *checks; /* [{name, state, found, advice?}] */
	int warnings;
	int failures;
};

/**
 * Note one finding.
 * @param advice what to do; "" when all is well
 * @param format of what was found
 */
void hbctl_doctor_say(struct hbctl_doctor *doctor, const char *name, enum hbctl_health health,
	const char *advice, const char *format, ...) __attribute__((format(printf, 5, 6)));

/** Read a short file of /proc or /sys, without its line end. @return false when it is not there */
bool hbctl_doctor_read(const char *path, char *text, size_t bytes);

/** CPU, memory, clock, limits, what dataplane.ports needs: without a node. */
void hbctl_doctor_machine(struct hbctl_doctor *doctor);
/** The journal's disk: kind, speed, room. */
void hbctl_doctor_disk(struct hbctl_doctor *doctor);
/** Users, folders, keys, MySQL, nginx. */
void hbctl_doctor_node(struct hbctl_doctor *doctor);

#endif
