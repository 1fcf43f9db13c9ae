/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Commands of operators, each a case (cases.h): handlers of the admin socket, and the job that
 * finishes what was interrupted.
 *
 * POST /cases takes {"verb", "reason", "operator_uid", "operator_name", …} with an Idempotency-Key
 * and answers with {"status", "case", …}; docs/hbctl.md lists the fields of a case.
 */
#ifndef HB_CONTROLPLANE_CASE_COMMANDS_H
#define HB_CONTROLPLANE_CASE_COMMANDS_H

#include "controlplane/engine_json.h"

/** POST /cases: freeze, unfreeze, hold, post, void are done; adjust waits for an approval. */
hb_http_handler hb_case_post;
/** POST /cases/{}/approve: by another operator, in time; then it is done. */
hb_http_handler hb_case_approve;
/** POST /cases/{}/withdraw: what waits is not wanted any more. */
hb_http_handler hb_case_withdraw;
/** GET /cases/{} and GET /cases?account=&hold=&order=&state=&before=&limit=, the newest first. */
hb_http_handler hb_case_get;
hb_http_handler hb_case_list;

/** Drive cases again whose outcome is not known. `context` is the control. */
void hb_run_unfinished_cases(void *context, struct hb_job_result *result);

#endif
