/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the handlers and jobs of hongbao-control share. Made by main before the first request and
 * freed after the last; nothing in it changes but through its own functions.
 */
#ifndef HB_CONTROLPLANE_CONTROL_H
#define HB_CONTROLPLANE_CONTROL_H

#include "base/config.h"
#include "controlplane/cases.h"
#include "controlplane/engine_client.h"
#include "controlplane/http_server.h"
#include "controlplane/jobs.h"
#include "controlplane/persist_admin.h"
#include "controlplane/reads.h"
#include "controlplane/signature.h"

struct hb_alarms;
struct hb_degrade;
struct hb_token_push;

struct hb_control {
	struct hb_config *config; /* what is live in it is read through the configure functions */
	uint64_t started_ns;	  /* wall */
	struct hb_engine *engine;
	struct hb_reads *reads;
	struct hb_jobs *jobs;
	struct hb_cases *cases; /* NULL: their file could not be read */
	struct hb_alarms *alarms;
	struct hb_degrade *degrade;
	struct hb_token_push *token_push; /* NULL: the business system takes tokens */
	struct hb_persist_admin persist;
	struct hb_signature_checker signatures;
	struct hb_http_server *admin_server;
	struct hb_http_server *http_server;
};

/** The route tables of the two sockets: admin_api.c and front_api.c. */
extern const struct hb_http_route hb_admin_routes[];
extern const struct hb_http_route hb_front_routes[];

/* Handlers, by file. Each fills in the reply. */

/* business_api.c: signed, and the same for operators without a signature. */
hb_http_handler hb_business_accounts;
hb_http_handler hb_business_credits;
hb_http_handler hb_business_packets;
hb_http_handler hb_business_tokens;
hb_http_handler hb_business_tokens_asked;
hb_http_handler hb_business_account_get;
hb_http_handler hb_business_packet_get;
hb_http_handler hb_business_order_get;
hb_http_handler hb_business_orders;
hb_http_handler hb_admin_tokens;

/* lists.c: for the user that the front verified. */
hb_http_handler hb_list_orders;
hb_http_handler hb_list_statement;
hb_http_handler hb_list_packets_sent;
hb_http_handler hb_list_packets_received;
hb_http_handler hb_list_order_get;
/** Answer that MySQL does not answer. */
void hb_mysql_away(struct hb_http_reply *reply);
/** An order of MySQL as JSON. @return a new object */
json_t *hb_order_row_json(const struct hb_order_row *row);
/** A list of orders goes on before this one. */
void hb_order_cursor_format(char text[HB_HTTP_QUERY_VALUE_MAX + 1], const struct hb_order_row *row);
/** Read what hb_order_cursor_format wrote; "": from the newest on. @return true when it is right */
bool hb_order_cursor_read(const char *text, struct hb_read_parameters *out);
/** An order by number; `account` 0: of anybody. */
void hb_order_get(
	const struct hb_http_request *request, struct hb_http_reply *reply, uint64_t account);

/* engine_json.c: one account or packet of the engine, by request->parameter[0]. */
hb_http_handler hb_account_get;
hb_http_handler hb_packet_get;

/* metrics.c */
hb_http_handler hb_metrics_get;
/** The dataplane's counters, each with the type and help that its label says. */
void hb_metrics_put_counters(FILE *out, const struct hb_engine_view *view);

/* alarms.c */
hb_http_handler hb_alarms_get;
hb_http_handler hb_alarms_test;
hb_http_handler hb_alarms_check_post;

/* reload.c */
hb_http_handler hb_config_reload_post;
/**
 * Read the options again and take over those that are live.
 * @param changes NULL, or an array to append {key, before, now, live} to
 * @return 0 or -errno with `error`; then nothing is changed
 */
int hb_reload_options(struct hb_control *control, json_t *changes, char error[256]);

/* degrade.c */
hb_http_handler hb_degrade_get;
hb_http_handler hb_degrade_post;

/* status.c */
hb_http_handler hb_status_get;

/** Register the shipped jobs (job_list.c). */
void hb_jobs_register_all(struct hb_control *control);

#endif
