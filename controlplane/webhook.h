/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The way out for alarms: JSON texts to one URL, in order, each until it was taken.
 *
 * One thread sends one message at a time, so that a clear never overtakes its raise. A message
 * counts as taken when the receiver answers 2xx; anything else is tried again with a pause that
 * doubles from HB_WEBHOOK_PAUSE_MS_MIN to HB_WEBHOOK_PAUSE_MS_MAX, until it is taken or
 * HB_WEBHOOK_AGE_S_MAX old. At most HB_WEBHOOK_QUEUE_MAX wait; one more takes the place of the
 * oldest. A receiver may see a message twice (its answer was lost): `id` and `state` tell.
 *
 * Each try is a POST, signed as business systems sign their requests (signature.h): X-HB-Key,
 * X-HB-Timestamp, X-HB-Nonce, X-HB-Signature, with the first key of key/alarm.keys.
 *
 * Waiting messages are lost with the process; what is still wrong is raised again by the next one.
 */
#ifndef HB_CONTROLPLANE_WEBHOOK_H
#define HB_CONTROLPLANE_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/business_keys.h"

#define HB_WEBHOOK_QUEUE_MAX	256
#define HB_WEBHOOK_PAUSE_MS_MIN 500
#define HB_WEBHOOK_PAUSE_MS_MAX 60000
#define HB_WEBHOOK_AGE_S_MAX	86400
#define HB_WEBHOOK_ERROR_BYTES	160
#define HB_WEBHOOK_URL_BYTES	256

struct hb_webhook;

struct hb_webhook_options {
	char url[HB_WEBHOOK_URL_BYTES];	    /* "": nothing is sent */
	char ca_file[HB_WEBHOOK_URL_BYTES]; /* "": the machine's certificates */
	int64_t timeout_ms;
};

struct hb_webhook_counts {
	uint64_t sent;
	uint64_t failed; /* tries */
	uint64_t dropped;
	uint32_t waiting;		    /* the one being sent included */
	char error[HB_WEBHOOK_ERROR_BYTES]; /* of the last try; "" when it was taken */
};

/** Start the thread. @return 0 or -errno */
int hb_webhook_start(struct hb_webhook **webhook, const struct hb_webhook_options *options);
/** Ends also a try under way. NULL is fine. */
void hb_webhook_stop(struct hb_webhook *webhook);

/** Other options from the next try on. */
void hb_webhook_configure(struct hb_webhook *webhook, const struct hb_webhook_options *options);
/** Other keys from the next try on; takes them, and frees the old ones. NULL: cannot sign. */
void hb_webhook_keys(struct hb_webhook *webhook, struct hb_business_keys *keys);

/**
 * Hand over a message; without a URL it is dropped at once, uncounted.
 * @param text JSON; taken (malloc)
 * @return its number, 0 when there is no URL
 */
uint64_t hb_webhook_send(struct hb_webhook *webhook, char *text);

/** Wait until a message was taken. @return 0, -ETIMEDOUT, or -ECANCELED when it was dropped */
int hb_webhook_wait(struct hb_webhook *webhook, uint64_t number, uint32_t timeout_ms);

void hb_webhook_counts_read(struct hb_webhook *webhook, struct hb_webhook_counts *counts);

#endif
