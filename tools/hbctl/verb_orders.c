/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl orders: a page of orders, which control reads from MySQL. This only asks and prints.
 */
#include <inttypes.h>

#include "tools/hbctl/hbctl.h"

#define PATH_BYTES 320

static void
print_order_line(struct hbctl *hbctl, const json_t *order)
{
	char when[HBCTL_TIME_BYTES];
	char money[HBCTL_MONEY_BYTES];
	char account[HBCTL_NAME_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(order, "at_ms"));
	hbctl_money(money, hbctl_json_i64(order, "amount_fen"));
	hbctl_account_name(account, (uint64_t)hbctl_json_i64(order, "account"));
	fprintf(hbctl->out, "%s  %s  %-13s %-9s %14s  %s\n", when,
		hbctl_json_text(order, "order_no"), hbctl_json_text(order, "business"),
		hbctl_json_text(order, "state"), money, account);
}

int
hbctl_run_orders(struct hbctl *hbctl)
{
	static const char *const options[][2] = {{"--account", "account"}, {"--page", "page"},
		{"--page-size", "page_size"}, {"--before", "before"}};
	char path[PATH_BYTES] = "/orders";
	char error[HBCTL_ERROR_BYTES] = "";
	int result = HBCTL_OK;
	int status = 0;
	json_t *answer;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && result == HBCTL_OK; i++)
		result = hbctl_add_query(hbctl, path, sizeof(path), options[i][0], options[i][1]);
	if (result != HBCTL_OK)
		return result;
	answer = hbctl_control_call(hbctl, "GET", path, NULL, &status, error);
	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status != 200)
		return hbctl_control_refused(hbctl, answer, status);
	return hbctl_show_list(hbctl, answer, print_order_line);
}
