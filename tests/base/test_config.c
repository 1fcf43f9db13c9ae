/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The option table: precedence, refusals that name file, line, key and bounds, and the printer.
 * Each test writes its own file in the test's temporary folder and removes it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"

static char path[64];

static int
make_file(void **state)
{
	int fd;

	(void)state;
	strncpy(path, "/tmp/hb-test-config-XXXXXX", sizeof(path) - 1);
	fd = mkstemp(path);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int
remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int
load(struct hb_config *config, const char *text, char error[256])
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	error[0] = '\0';
	return hb_config_load(config, path, error);
}

static void
refused(const char *text, const char *line_and_key, const char *reason)
{
	struct hb_config config;
	char error[256];

	assert_int_equal(load(&config, text, error), -EINVAL);
	assert_non_null(strstr(error, path));
	if (strstr(error, line_and_key) == NULL || strstr(error, reason) == NULL)
		fail_msg("got \"%s\", want \"%s\" and \"%s\"", error, line_and_key, reason);
}

static void
an_empty_file_gives_the_defaults(void **state)
{
	struct hb_config config;
	char error[256];

	(void)state;
	assert_int_equal(load(&config, "", error), 0);
	assert_string_equal(config.node_directory, "/var/lib/hongbao");
	assert_int_equal(config.node_number, 1);
	assert_string_equal(config.front_listen, "127.0.0.1:8080");
	assert_int_equal(config.journal_segment_mib, 64);
}

static void
groups_nest_the_dotted_keys(void **state)
{
	struct hb_config config;
	char error[256];

	(void)state;
	assert_int_equal(load(&config,
				 "# comment\nnode: { number = 7; directory = \"/tmp/n\"; };\n"
				 "journal = { volume_mib = 1073741824L; };\n",
				 error),
		0);
	assert_int_equal(config.node_number, 7);
	assert_string_equal(config.node_directory, "/tmp/n");
	assert_int_equal(config.journal_volume_mib, 1073741824);
}

static void
an_unknown_key_is_refused_with_file_line_and_key(void **state)
{
	(void)state;
	refused("node: {\n\tnumbr = 7;\n};\n", ":2: ", "unknown key node.numbr");
	refused("nonsense = 1;\n", ":1: ", "unknown key nonsense");
	refused("node: { number: { deep = 1; }; };\n", ":1: ", "node.number is a group");
}

static void
a_wrong_type_is_refused_with_what_would_be_right(void **state)
{
	(void)state;
	refused("node: {\n number = \"7\";\n};\n", ":2: node.number is text", "0..99");
	refused("node: { number = 1.5; };\n", "a number with a fraction", "0..99");
	refused("node: { number = true; };\n", "a truth value", "0..99");
	refused("node: { directory = 5; };\n", "node.directory is a whole number", "double quotes");
	refused("node: { directory = [\"/a\"]; };\n", "node.directory is a list", "double quotes");
}

static void
a_value_out_of_bounds_is_refused_with_the_bounds(void **state)
{
	(void)state;
	refused("node: {\n\n number = 100;\n};\n", ":3: node.number = 100", "out of bounds 0..99");
	refused("node: { number = -1; };\n", "node.number = -1", "out of bounds 0..99");
	refused("node: { number = 99999999999L; };\n", "99999999999", "out of bounds 0..99");
	refused("dataplane: { lcores = 3; };\n", "dataplane.lcores = 3", "power of two");
	refused("dataplane: { parked_max = 100; };\n", "dataplane.parked_max", "power of two");
	refused("dataplane: { idle = \"lazy\"; };\n", "dataplane.idle", "adaptive");
	refused("node: { directory = \"relative\"; };\n", "node.directory", "absolute path");
	refused("node: { directory = \"/a;b\"; };\n", "node.directory", "letters, digits");
	refused("user: { front = \"Root!\"; };\n", "user.front", "user name");
	refused("front: { listen = \"8080\"; };\n", "front.listen", "ADDRESS:PORT");
	refused("front: { listen = \"a:99999\"; };\n", "front.listen", "ADDRESS:PORT");
	refused("mysql: { host = \"a\\nb\"; };\n", "mysql.host", "control characters");
}

static void
text_that_does_not_fit_is_refused(void **state)
{
	char text[400];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "mysql: { host = \"", 17);
	memcpy(text + 380, "\"; };", 6);
	refused(text, "mysql.host is too long: 363 bytes", "at most 255");
}

static void
a_syntax_error_names_its_line_and_a_missing_file_itself(void **state)
{
	struct hb_config config;
	char error[256];

	(void)state;
	refused("node: {\n number 7;\n};\n", ":2: ", "syntax error");
	assert_int_equal(hb_config_load(&config, "/tmp/hb-test-no-such-file", error), -ENOENT);
	assert_non_null(strstr(error, "/tmp/hb-test-no-such-file"));
}

static void
the_environment_outranks_the_file_and_o_outranks_both(void **state)
{
	struct hb_config config;
	char error[256];

	(void)state;
	setenv("HB_NODE_NUMBER", "8", 1);
	assert_int_equal(load(&config, "node: { number = 7; };", error), 0);
	assert_int_equal(config.node_number, 8);
	assert_int_equal(hb_config_set(&config, "node.number=9", error), 0);
	assert_int_equal(config.node_number, 9);
	setenv("HB_NODE_NUMBER", "8x", 1);
	assert_int_equal(hb_config_load(&config, NULL, error), -EINVAL);
	assert_non_null(strstr(error, "environment HB_NODE_NUMBER"));
	unsetenv("HB_NODE_NUMBER");
}

static void
a_wrong_o_is_refused_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {"node.number", "=1", "node.number=", "node.number= 1",
		"node.number=1 ", "node.number=100", "no.such=1", "node.number=1e1"};
	struct hb_config config, before;
	char error[256];

	(void)state;
	hb_config_defaults(&config);
	before = config;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(hb_config_set(&config, wrong[i], error), -EINVAL);
		assert_non_null(strstr(error, "option -o"));
	}
	assert_memory_equal(&config, &before, sizeof(config));
}

static void
what_is_printed_reads_back_as_the_same_configuration(void **state)
{
	struct hb_config config, again;
	char error[256];
	FILE *file;

	(void)state;
	hb_config_defaults(&config);
	assert_int_equal(hb_config_set(&config, "node.number=42", error), 0);
	assert_int_equal(hb_config_set(&config, "mysql.host=a \"b\" \\c", error), 0);
	file = fopen(path, "we");
	assert_non_null(file);
	hb_config_print(&config, file);
	fclose(file);
	assert_int_equal(hb_config_load(&again, path, error), 0);
	assert_memory_equal(&config, &again, sizeof(config));
}

static void
arguments_may_stand_before_and_after_a_verb(void **state)
{
	char *argv[] = {"prog", "snapshot", "-c", path, "-o", "node.number=3", "last", NULL};
	struct hb_config config;
	char error[256];
	int first;

	(void)state;
	load(&config, "node: { number = 2; };", error);
	first = hb_config_from_arguments(&config, 7, argv, "test");
	assert_int_equal(config.node_number, 3);
	assert_int_equal(first, 5);
	assert_string_equal(argv[first], "snapshot");
	assert_string_equal(argv[first + 1], "last");
}

/* The options that differ, as "key=now" with a mark of who takes them. */
static void
note_change(void *context, const char *key, const char *before, const char *after)
{
	char *text = context;

	assert_string_not_equal(before, after);
	snprintf(text + strlen(text), 256 - strlen(text), "%s=%s/%x ", key, after,
		hb_config_live_of(key));
}

static void
live_options_are_taken_over_by_their_processes_and_no_other(void **state)
{
	struct hb_config running, fresh;
	char text[256] = "", error[256];

	(void)state;
	assert_int_equal(load(&running, "", error), 0);
	assert_int_equal(load(&fresh,
				 "packet: { count_max = 9; }; capacity: { accounts = 2048; };"
				 "alarm: { lag_ms = 500; };",
				 error),
		0);
	hb_config_compare(&running, &fresh, note_change, text);
	assert_string_equal(
		text, "capacity.accounts=2048/0 packet.count_max=9/1 alarm.lag_ms=500/4 ");
	hb_config_take_live(&running, &fresh, HB_CONFIG_OF_DATAPLANE);
	assert_int_equal(running.packet_count_max, 9);
	assert_int_equal(running.alarm_lag_ms, 60000);
	assert_int_equal(running.capacity_accounts, 524288);
	hb_config_take_live(&running, &fresh, HB_CONFIG_OF_CONTROL);
	assert_int_equal(running.alarm_lag_ms, 500);
	assert_int_equal(running.capacity_accounts, 524288);
}

static void
every_live_key_is_an_option(void **state)
{
	static const char *const live[] = {
#define LIVE_KEY(key, processes) key,
		HB_CONFIG_LIVE_TABLE(LIVE_KEY)
#undef LIVE_KEY
	};
	static const char *const options[] = {
#define INT_KEY(field, key, value, min, max, help) key,
#define TEXT_KEY(field, key, value, help)	   key,
		HB_CONFIG_TABLE(INT_KEY, TEXT_KEY)
#undef INT_KEY
#undef TEXT_KEY
	};

	(void)state;
	for (size_t i = 0; i < sizeof(live) / sizeof(live[0]); i++) {
		size_t j = 0;

		while (j < sizeof(options) / sizeof(options[0]) && strcmp(options[j], live[i]) != 0)
			j++;
		assert_true(j < sizeof(options) / sizeof(options[0]));
		assert_true(hb_config_live_of(live[i]) != 0);
	}
	assert_int_equal(hb_config_live_of("node.number"), 0);
}

static void
a_webhook_leaves_the_machine_only_by_https(void **state)
{
	static const char *const good[] = {"", "https://alarm.example.com/x?y=1", "https://[::1]/",
		"http://127.0.0.1:8000/a", "http://[::1]:9/", "http://localhost/"};
	static const char *const bad[] = {"http://alarm.example.com/", "ftp://127.0.0.1/",
		"http://127.0.0.1.example.com/", "https://", "http://localhost@example.com/",
		"127.0.0.1:80"};
	struct hb_config config;
	char assignment[128], error[256];

	(void)state;
	hb_config_defaults(&config);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(assignment, sizeof(assignment), "alarm.webhook=%s", good[i]);
		assert_int_equal(hb_config_set(&config, assignment, error), 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(assignment, sizeof(assignment), "alarm.webhook=%s", bad[i]);
		assert_int_equal(hb_config_set(&config, assignment, error), -EINVAL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(groups_nest_the_dotted_keys),
		cmocka_unit_test(an_unknown_key_is_refused_with_file_line_and_key),
		cmocka_unit_test(a_wrong_type_is_refused_with_what_would_be_right),
		cmocka_unit_test(a_value_out_of_bounds_is_refused_with_the_bounds),
		cmocka_unit_test(text_that_does_not_fit_is_refused),
		cmocka_unit_test(a_syntax_error_names_its_line_and_a_missing_file_itself),
		cmocka_unit_test(the_environment_outranks_the_file_and_o_outranks_both),
		cmocka_unit_test(a_wrong_o_is_refused_and_changes_nothing),
		cmocka_unit_test(what_is_printed_reads_back_as_the_same_configuration),
		cmocka_unit_test(live_options_are_taken_over_by_their_processes_and_no_other),
		cmocka_unit_test(every_live_key_is_an_option),
		cmocka_unit_test(a_webhook_leaves_the_machine_only_by_https),
		cmocka_unit_test(arguments_may_stand_before_and_after_a_verb),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
