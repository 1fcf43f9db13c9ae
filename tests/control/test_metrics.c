/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of the dataplane's counters follow their labels, also those that we do not know.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/control.h"

static char *
exposed(const struct hb_engine_view *view)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	assert_non_null(out);
	hb_metrics_put_counters(out, view);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void
expect_lines(const char *text, const char *lines)
{
	if (strstr(text, lines) == NULL)
		fail_msg("\n%s\nhas not:\n%s", text, lines);
}

static void
each_kind_has_its_type_and_help(void **state)
{
	static struct hb_engine_view view;
	char *text;

	(void)state;
	view.counter_count = 6;
	view.label[0] = (struct hb_counter_label){.key = "melons", .label = "melons sold"};
	view.label[1] = (struct hb_counter_label){
		.key = "melon_bytes", .label = "weight\\of them", .unit = "bytes"};
	view.label[2] = (struct hb_counter_label){
		.key = "waiting", .label = "in the queue", .kind = HB_KIND_GAUGE};
	view.label[3] = (struct hb_counter_label){
		.key = "pause_max", .label = "longest", .unit = "ns", .kind = HB_KIND_MAXIMUM};
	view.label[4] = (struct hb_counter_label){
		.key = "of tomorrow", .label = "of a newer program", .kind = 77};
	/* label 5 has no key: it is passed over */
	for (uint64_t i = 0; i < view.counter_count; i++)
		view.counter[i] = 100 + i;
	text = exposed(&view);
	assert_string_equal(text, "# HELP hongbao_melons_total melons sold\n"
				  "# TYPE hongbao_melons_total counter\n"
				  "hongbao_melons_total 100\n"
				  "# HELP hongbao_melon_bytes_total weight\\\\of them, in bytes\n"
				  "# TYPE hongbao_melon_bytes_total counter\n"
				  "hongbao_melon_bytes_total 101\n"
				  "# HELP hongbao_waiting in the queue\n"
				  "# TYPE hongbao_waiting gauge\n"
				  "hongbao_waiting 102\n"
				  "# HELP hongbao_pause_max longest, in ns\n"
				  "# TYPE hongbao_pause_max gauge\n"
				  "hongbao_pause_max 103\n"
				  "# HELP hongbao_of_tomorrow of a newer program\n"
				  "# TYPE hongbao_of_tomorrow untyped\n"
				  "hongbao_of_tomorrow 104\n");
	free(text);
}

/* Names that dashboards and alarms already use. */
static void
our_own_counters_keep_their_names_and_types(void **state)
{
	static struct hb_engine_view view;
	struct hb_node *node = test_calloc(1, sizeof(*node));
	char *text;

	(void)state;
	hb_node_init(node, 1);
	view.counter_count = HB_COUNTER_COUNT;
	for (uint32_t i = 0; i < HB_COUNTER_COUNT; i++)
		assert_true(hb_counter_label_read(node, i, &view.label[i]));
	text = exposed(&view);
	expect_lines(text, "# TYPE hongbao_grabs_total counter\nhongbao_grabs_total 0\n");
	expect_lines(text, "# TYPE hongbao_record_bytes_total counter\n");
	expect_lines(text, "# TYPE hongbao_turn_ns_max gauge\nhongbao_turn_ns_max 0\n");
	expect_lines(text, "# TYPE hongbao_parked gauge\nhongbao_parked 0\n");
	free(text);
	test_free(node);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_has_its_type_and_help),
		cmocka_unit_test(our_own_counters_keep_their_names_and_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
