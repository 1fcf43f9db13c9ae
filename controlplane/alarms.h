/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The watch over the node: measures every alarm.interval_ms what the rules of alarm_book.h are
 * about, keeps the book, logs every change and hands it to the webhook.
 *
 * One thread measures: the dataplane's segment, persist's admin socket (with that client's
 * time-out), the jobs. It changes nothing. Dies with control; the next control raises again what is
 * still wrong.
 */
#ifndef HB_CONTROLPLANE_ALARMS_H
#define HB_CONTROLPLANE_ALARMS_H

#include "controlplane/control.h"
#include "controlplane/webhook.h"

struct hb_alarms;

/** What is counted for /metrics. */
struct hb_alarm_counts {
	uint32_t active;
	uint64_t changes;
	struct hb_webhook_counts webhook;
};

/**
 * Start the watch; the webhook's key comes from key/alarm.keys and may be missing when there is no
 * alarm.webhook.
 * @param error one sentence
 * @return 0 or -errno
 */
int hb_alarms_start(struct hb_alarms **alarms, struct hb_control *control, char error[256]);
/** NULL is fine. */
void hb_alarms_stop(struct hb_alarms *alarms);

/** Take the limits and the webhook from control's options again. */
void hb_alarms_configure(struct hb_alarms *alarms, const struct hb_config *config);
/** Read key/alarm.keys again. @return 0 or -errno with `error`; then the old keys stay */
int hb_alarms_read_keys(struct hb_alarms *alarms, char error[256]);

void hb_alarms_counts_read(struct hb_alarms *alarms, struct hb_alarm_counts *counts);

/** What hbctl check found; a value of the rule check_differences from now on. */
void hb_alarms_check_result(struct hb_alarms *alarms, uint64_t violations);

#endif
