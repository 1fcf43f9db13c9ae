/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API of operators on control's own socket, and the routes of both sockets in one place.
 * Who may connect is decided by the socket (http_server.h), so nothing here is signed.
 */
#include <errno.h>

#include "controlplane/case_commands.h"
#include "controlplane/commands.h"
#include "controlplane/engine_json.h"
#include "controlplane/holds.h"
#include "controlplane/old_packet.h"
#include "controlplane/order_pages.h"

#define JOB_TIMEOUT_MS 60000

static void
on_all_partitions(enum hb_operation operation, const struct hb_http_request *request,
	struct hb_http_reply *reply)
{
	uint64_t as_of_seq;

	if (hb_call_all_partitions(request->context, operation, &as_of_seq, reply))
		hb_http_json(reply, 200,
			json_pack("{s:s,s:i,s:I}", "status", "ok", "partitions", HB_PARTITION_COUNT,
				"as_of_seq", (json_int_t)as_of_seq));
}

static void
post_mark(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	on_all_partitions(HB_OP_MARK, request, reply);
}

static void
post_clock_confirm(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	on_all_partitions(HB_OP_CLOCK_CONFIRM, request, reply);
}

static void
post_audit(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	on_all_partitions(HB_OP_AUDIT, request, reply);
}

static void
get_jobs(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;

	hb_http_json(reply, 200,
		json_pack("{s:s,s:o}", "status", "ok", "jobs", hb_jobs_json(control->jobs)));
}

static void
post_job_run(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	const struct hb_control *control = request->context;
	json_t *json = NULL;

	switch (hb_jobs_run(control->jobs, request->parameter[0], JOB_TIMEOUT_MS, &json)) {
	case 0:
		json_object_set_new(json, "status", json_string("ok"));
		hb_http_json(reply, 200, json);
		break;
	case -ENOENT:
		hb_http_error(
			reply, 404, "job_unknown", "there is no such job; GET /jobs lists them");
		break;
	default:
		hb_http_error(reply, 202, "job_running",
			"the job was not done in %d s; GET /jobs shows its end",
			JOB_TIMEOUT_MS / 1000);
		break;
	}
}

static void
get_order(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	hb_order_get(request, reply, 0);
}

static void
post_accounts(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	hb_command_run(&hb_command_account_open, "", request, reply);
}

static void
post_credits(const struct hb_http_request *request, struct hb_http_reply *reply)
{
	hb_command_run(&hb_command_credit, "", request, reply);
}

const struct hb_http_route hb_admin_routes[] = {
	{"GET", "/status", hb_status_get},
	{"GET", "/metrics", hb_metrics_get},
	{"GET", "/jobs", get_jobs},
	{"POST", "/jobs/{}/run", post_job_run},
	{"POST", "/config/reload", hb_config_reload_post},
	{"GET", "/degrade", hb_degrade_get},
	{"POST", "/degrade", hb_degrade_post},
	{"GET", "/alarms", hb_alarms_get},
	{"POST", "/alarms/test", hb_alarms_test},
	{"POST", "/alarms/check", hb_alarms_check_post},
	{"GET", "/accounts/{}", hb_account_get},
	{"POST", "/accounts", post_accounts},
	{"POST", "/credits", post_credits},
	{"GET", "/packets/{}", hb_packet_get},
	{"GET", "/orders", hb_order_pages},
	{"GET", "/orders/{}", get_order},
	{"GET", "/holds", hb_hold_list},
	{"GET", "/holds/{}", hb_hold_get},
	{"GET", "/cases", hb_case_list},
	{"POST", "/cases", hb_case_post},
	{"GET", "/cases/{}", hb_case_get},
	{"POST", "/cases/{}/approve", hb_case_approve},
	{"POST", "/cases/{}/withdraw", hb_case_withdraw},
	{"POST", "/mark", post_mark},
	{"POST", "/clock/confirm", post_clock_confirm},
	{"POST", "/audit", post_audit},
	{"POST", "/tokens", hb_admin_tokens},
	{NULL, NULL, NULL},
};

/* What nginx passes on. */
const struct hb_http_route hb_front_routes[] = {
	{"GET", "/v1/orders", hb_list_orders},
	{"GET", "/v1/orders/{}", hb_list_order_get},
	{"GET", "/v1/statement", hb_list_statement},
	{"GET", "/v1/packets/sent", hb_list_packets_sent},
	{"GET", "/v1/packets/received", hb_list_packets_received},
	{"GET", "/v1/packets/{}", hb_old_packet_get},
	{"POST", "/business/v1/accounts", hb_business_accounts},
	{"GET", "/business/v1/accounts/{}", hb_business_account_get},
	{"POST", "/business/v1/credits", hb_business_credits},
	{"POST", "/business/v1/packets", hb_business_packets},
	{"GET", "/business/v1/packets/{}", hb_business_packet_get},
	{"POST", "/business/v1/tokens", hb_business_tokens},
	{"GET", "/business/v1/tokens/asked", hb_business_tokens_asked},
	{"GET", "/business/v1/orders", hb_business_orders},
	{"GET", "/business/v1/orders/{}", hb_business_order_get},
	{"GET", "/metrics", hb_metrics_get},
	{NULL, NULL, NULL},
};
