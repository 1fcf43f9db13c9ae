/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of hbctl: words to command, options and numbers, and what a wrong one is told.
 * Needs nothing but memory and one file in /tmp.
 */
#include "tests/hbctl/harness.h"

#include <unistd.h>

#define GOOD(line)                                                                                 \
	do {                                                                                       \
		harness_open(&h);                                                                  \
		assert_int_equal(harness_parse(&h, line), HBCTL_OK);                               \
	} while (0)

static void
refused(const char *line, const char *error)
{
	struct harness h;

	harness_open(&h);
	assert_int_equal(harness_parse(&h, line), HBCTL_USAGE);
	assert_string_equal(h.error, error);
	harness_close(&h);
}

static void
global_options_stand_before_or_after_the_verb(void **state)
{
	struct harness h;

	(void)state;
	GOOD("-c /etc/x.conf --json account 5 -o log.debug=1 -o node.number=2");
	assert_string_equal(h.hbctl.command->name, "account");
	assert_string_equal(h.hbctl.config_argument, "/etc/x.conf");
	assert_true(h.hbctl.json);
	assert_int_equal(h.hbctl.assignment_count, 2);
	assert_string_equal(h.hbctl.assignment[1], "node.number=2");
	assert_string_equal(h.hbctl.positional[0], "5");
	harness_close(&h);
	GOOD("status --json");
	assert_true(h.hbctl.json);
	harness_close(&h);
}

static void
two_word_verbs_take_options_between_and_after(void **state)
{
	struct harness h;

	(void)state;
	GOOD("token --json user 1001 --group 7 --group=8 --ttl 15m");
	assert_string_equal(h.hbctl.command->name, "token user");
	assert_int_equal(h.hbctl.option_count, 3);
	assert_string_equal(h.hbctl.option[1].value, "8");
	assert_string_equal(hbctl_option_value(&h.hbctl, "--ttl"), "15m");
	assert_null(hbctl_option_value(&h.hbctl, "--kid"));
	harness_close(&h);
}

static void
a_verb_may_be_the_beginning_of_another(void **state)
{
	struct harness h;

	(void)state;
	GOOD("snapshot");
	assert_string_equal(h.hbctl.command->name, "snapshot");
	harness_close(&h);
	GOOD("snapshot list");
	assert_string_equal(h.hbctl.command->name, "snapshot list");
	harness_close(&h);
}

static void
words_behind_two_dashes_are_not_options(void **state)
{
	struct harness h;

	(void)state;
	GOOD("config -- --json");
	assert_false(h.hbctl.json);
	assert_string_equal(h.hbctl.positional[0], "--json");
	harness_close(&h);
}

static void
help_is_taken_without_the_verb_s_arguments(void **state)
{
	struct harness h;

	(void)state;
	GOOD("packet --help");
	assert_true(h.hbctl.help);
	assert_string_equal(h.hbctl.command->name, "packet");
	harness_close(&h);
}

static void
misuse_is_refused_with_what_would_be_right(void **state)
{
	(void)state;
	refused("stauts", "unknown command 'stauts'; did you mean 'status'?");
	refused("tokne user 5", "unknown command 'tokne'; did you mean 'token'?");
	refused("token usre 5", "unknown command 'token usre'; did you mean 'token user'?");
	refused("xyzzy", "unknown command 'xyzzy'; 'hbctl --help' lists them");
	refused("token", "'token' needs a second word; see 'hbctl help token'");
	refused("account", "account needs more; usage: hbctl account ACCOUNT");
	refused("account 1 2", "account does not take '2'; usage: hbctl account ACCOUNT");
	refused("status now", "status does not take 'now'; usage: hbctl status");
	refused("top --cuont 3", "unknown option '--cuont' of top; see 'hbctl help top'");
	refused("top --count", "option --count needs a value: --count N");
	refused("top --count --json", "option --count needs a value: --count N");
	refused("top --count 1 --count 2", "option --count is given twice");
	refused("--verbose status", "unknown option '--verbose'; see 'hbctl --help'");
	refused("--json", "what shall be done? 'hbctl --help' lists it");
	refused("status -c", "option -c needs a value: -c FILE");
}

static void
an_error_before_json_is_known_to_be_wanted_as_json(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "stauts --json"), HBCTL_USAGE);
	assert_true(h.hbctl.json);
	harness_close(&h);
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "stauts -- --json"), HBCTL_USAGE);
	assert_false(h.hbctl.json);
	harness_close(&h);
}

static void
numbers_are_read_strictly(void **state)
{
	uint64_t n;

	(void)state;
	assert_true(hbctl_parse_u64("0", 0, 10, &n) && n == 0);
	assert_true(hbctl_parse_u64("18446744073709551615", 0, UINT64_MAX, &n) && n == UINT64_MAX);
	assert_false(hbctl_parse_u64("18446744073709551616", 0, UINT64_MAX, &n));
	assert_false(hbctl_parse_u64("11", 0, 10, &n));
	assert_false(hbctl_parse_u64("", 0, 10, &n));
	assert_false(hbctl_parse_u64("-1", 0, 10, &n));
	assert_false(hbctl_parse_u64("+1", 0, 10, &n));
	assert_false(hbctl_parse_u64(" 1", 0, 10, &n));
	assert_false(hbctl_parse_u64("1x", 0, 10, &n));
	assert_false(hbctl_parse_u64("1.5", 0, 10, &n));
}

static void
durations_have_a_unit_or_are_seconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds; /* 0: refused */
	} cases[] = {{"90", 90}, {"90s", 90}, {"15m", 900}, {"1h", 3600}, {"7d", 604800}, {"0", 0},
		{"0s", 0}, {"", 0}, {"h", 0}, {"1w", 0}, {"1hh", 0}, {"-1h", 0}, {"4000d", 0},
		{"99999999999999999999999999", 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t seconds = 0;

		assert_int_equal(
			hbctl_parse_duration(cases[i].text, &seconds), cases[i].seconds != 0);
		assert_int_equal(seconds, cases[i].seconds);
	}
}

static void
packets_and_accounts_are_checked_for_their_kind(void **state)
{
	uint64_t id;

	(void)state;
	assert_true(hbctl_parse_packet("01100000000000aF", &id));
	assert_int_equal(id, UINT64_C(0x01100000000000af));
	assert_false(hbctl_parse_packet("02100000000000af", &id)); /* a hold */
	assert_false(hbctl_parse_packet("1100000000000af", &id));
	assert_false(hbctl_parse_packet("0x10000000000001", &id));
	assert_true(hbctl_parse_account("4503599627370495", &id));
	assert_false(hbctl_parse_account("4503599627370496", &id));
	assert_false(hbctl_parse_account("0", &id));
}

static void
a_configuration_that_is_missing_is_named(void **state)
{
	struct harness h;

	(void)state;
	GOOD("-c /nonexistent/hongbao.conf status");
	assert_int_equal(hbctl_load_config(&h.hbctl, h.error), HBCTL_USAGE);
	assert_non_null(strstr(h.error, "/nonexistent/hongbao.conf"));
	harness_close(&h);
}

static void
the_environment_names_the_configuration_and_o_overrides_it(void **state)
{
	char path[] = "/tmp/hbctl-test-XXXXXX";
	static const char text[] = "node: { number = 42; };\n";
	int fd = mkstemp(path);
	struct harness h;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	setenv("HB_CONFIG", path, 1);
	GOOD("config -o front.workers=3");
	assert_int_equal(hbctl_load_config(&h.hbctl, h.error), HBCTL_OK);
	assert_string_equal(h.hbctl.config_path, path);
	assert_int_equal(h.hbctl.config.node_number, 42);
	assert_int_equal(h.hbctl.config.front_workers, 3);
	harness_close(&h);
	GOOD("config -o front.workers=3000");
	assert_int_equal(hbctl_load_config(&h.hbctl, h.error), HBCTL_USAGE);
	assert_non_null(strstr(h.error, "front.workers"));
	harness_close(&h);
	unsetenv("HB_CONFIG");
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(global_options_stand_before_or_after_the_verb),
		cmocka_unit_test(two_word_verbs_take_options_between_and_after),
		cmocka_unit_test(a_verb_may_be_the_beginning_of_another),
		cmocka_unit_test(words_behind_two_dashes_are_not_options),
		cmocka_unit_test(help_is_taken_without_the_verb_s_arguments),
		cmocka_unit_test(misuse_is_refused_with_what_would_be_right),
		cmocka_unit_test(an_error_before_json_is_known_to_be_wanted_as_json),
		cmocka_unit_test(numbers_are_read_strictly),
		cmocka_unit_test(durations_have_a_unit_or_are_seconds),
		cmocka_unit_test(packets_and_accounts_are_checked_for_their_kind),
		cmocka_unit_test(a_configuration_that_is_missing_is_named),
		cmocka_unit_test(the_environment_names_the_configuration_and_o_overrides_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
