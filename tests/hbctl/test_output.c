/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How answers look: money, time, names, failures, options.
 */
#include "tests/hbctl/harness.h"

#include "shm/ids.h"

static void
money_is_yuan_with_two_decimals(void **state)
{
	static const struct {
		int64_t fen;
		const char *text;
	} cases[] = {{0, "0.00"}, {1, "0.01"}, {-1, "-0.01"}, {99, "0.99"}, {100, "1.00"},
		{-12345, "-123.45"}, {INT64_MAX, "92233720368547758.07"},
		{INT64_MIN, "-92233720368547758.08"}};
	char text[HBCTL_MONEY_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hbctl_money(text, cases[i].fen);
		assert_string_equal(text, cases[i].text);
	}
}

static void
time_is_beijing_time(void **state)
{
	char text[HBCTL_TIME_BYTES];

	(void)state;
	hbctl_time(text, 0);
	assert_string_equal(text, "-");
	hbctl_time(text, UINT64_C(1767196799999)); /* a new year's night in Beijing */
	assert_string_equal(text, "2025-12-31 23:59:59.999");
	hbctl_time(text, UINT64_C(1767196800000));
	assert_string_equal(text, "2026-01-01 00:00:00.000");
	hbctl_time(text, UINT64_MAX); /* whatever comes, it ends */
}

static void
system_accounts_have_names(void **state)
{
	char text[HBCTL_NAME_BYTES];

	(void)state;
	hbctl_account_name(text, 1001);
	assert_string_equal(text, "1001");
	hbctl_account_name(text, hb_system_account(HB_SYSTEM_CLEARING_MANUAL, 3));
	assert_string_equal(text, "clearing_manual/3");
	hbctl_account_name(text, hb_system_account((enum hb_system_account)99, 3));
	assert_true(text[0] >= '0' && text[0] <= '9');
}

static void
failures_go_to_standard_error_and_with_json_to_standard_output_too(void **state)
{
	struct harness h;
	json_t *answer;

	(void)state;
	harness_open(&h);
	assert_int_equal(hbctl_fail(&h.hbctl, HBCTL_UNREACHABLE, "no %s", "node"), 3);
	assert_string_equal(harness_err(&h), "hbctl: no node\n");
	assert_string_equal(harness_out(&h), "");
	h.hbctl.json = true;
	hbctl_fail(&h.hbctl, HBCTL_USAGE, "\"%s\" \xff", "quoted");
	answer = json_loads(harness_out(&h), 0, NULL);
	assert_non_null(answer);
	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_int_equal(hbctl_json_i64(answer, "exit"), 2);
	assert_string_equal(hbctl_json_text(answer, "error"), "\"quoted\" ?");
	json_decref(answer);
	harness_close(&h);
}

static void
a_refusal_carries_status_and_advice(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	h.hbctl.json = true;
	assert_int_equal(hbctl_refused(&h.hbctl, "grab", HB_STATUS_SOLD_OUT), HBCTL_WRONG);
	assert_string_equal(harness_err(&h), "hbctl: grab: sold_out: every share has been taken\n");
	assert_string_equal(harness_out(&h), "{\"ok\":false,\"exit\":1,\"status\":\"sold_out\","
					     "\"error\":\"every share has been taken\"}\n");
	harness_close(&h);
}

static void
config_prints_one_value_or_names_the_unknown_key(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "config node.number"), HBCTL_OK);
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_OK);
	assert_string_equal(harness_out(&h), "1\n");
	h.hbctl.json = true;
	h.hbctl.positional[0] = "front.listen";
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_OK);
	assert_non_null(strstr(harness_out(&h),
		"{\"ok\":true,\"key\":\"front.listen\",\"value\":\"127.0.0.1:8080\"}\n"));
	h.hbctl.positional[0] = "front.lisen";
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_USAGE);
	assert_non_null(strstr(harness_err(&h), "there is no option 'front.lisen'"));
	harness_close(&h);
}

/* A segment as a dataplane of another version makes it: two counters more than we know. */
static void
counters_that_we_do_not_know_are_printed_by_their_labels(void **state)
{
	struct hb_node *node = test_calloc(1, sizeof(*node));
	uint32_t unknown = HB_COUNTER_COUNT, nameless = HB_COUNTER_COUNT + 1;
	json_t *answer = json_object(), *label;
	struct harness h;

	(void)state;
	hb_node_init(node, 2);
	node->counter_count = HB_COUNTER_COUNT + 3;
	node->label[unknown] = (struct hb_counter_label){.key = "melons",
		.label = "the heaviest melon",
		.unit = "grams",
		.kind = HB_KIND_MAXIMUM};
	atomic_store(&node->value[0][unknown], 900);
	atomic_store(&node->value[HB_COUNTER_COLUMN_PORT][unknown], 1200);
	memset(&node->label[nameless + 1], 'x', sizeof(node->label[0])); /* no end anywhere */
	hb_counter_add(node, 1, HB_COUNTER_PARKED, 5);
	hbctl_counters_add(answer, node);
	assert_int_equal(
		json_object_size(json_object_get(answer, "dataplane")), HB_COUNTER_COUNT + 2);
	assert_int_equal(hbctl_json_i64(json_object_get(answer, "dataplane"), "melons"), 1200);
	label = json_object_get(json_object_get(answer, "labels"), "melons");
	assert_string_equal(hbctl_json_text(label, "kind"), "maximum");
	assert_string_equal(hbctl_json_text(label, "unit"), "grams");
	label = json_object_get(
		json_object_get(answer, "labels"), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_string_equal(hbctl_json_text(label, "kind"), "unknown");
	harness_open(&h);
	hbctl_counters_print(&h.hbctl, "dataplane", answer);
	assert_non_null(strstr(harness_out(&h), "1200 grams  the heaviest melon (maximum)\n"));
	assert_non_null(strstr(harness_out(&h), "  replies waiting for their commit (gauge)\n"));
	assert_non_null(strstr(harness_out(&h), "  shares taken\n"));
	harness_close(&h);
	json_decref(answer);
	test_free(node);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_that_we_do_not_know_are_printed_by_their_labels),
		cmocka_unit_test(money_is_yuan_with_two_decimals),
		cmocka_unit_test(time_is_beijing_time),
		cmocka_unit_test(system_accounts_have_names),
		cmocka_unit_test(
			failures_go_to_standard_error_and_with_json_to_standard_output_too),
		cmocka_unit_test(a_refusal_carries_status_and_advice),
		cmocka_unit_test(config_prints_one_value_or_names_the_unknown_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
