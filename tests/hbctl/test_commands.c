/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of verbs and what is made from it: help, suggestions, completion. The whole manual is
 * compared with manual.txt; HB_UPDATE_GOLDEN=1 writes it anew.
 */
#include "tests/hbctl/harness.h"

static void
every_command_is_complete(void **state)
{
	int min, max;

	(void)state;
	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		assert_non_null(c->run);
		assert_true(c->summary[0] != '\0' && strlen(c->summary) < 80);
		assert_non_null(c->details);
		assert_memory_equal(c->example, strncmp(c->example, "T=", 2) == 0 ? "T=" : "hb", 2);
		assert_ptr_equal(hbctl_command_find(c->name), c);
		hbctl_arity(c, &min, &max);
		assert_true(min <= max);
		for (const struct hbctl_option *o = c->options; o != NULL && o->name != NULL; o++)
			assert_memory_equal(o->name, "--", 2);
	}
}

static void
arity_is_counted_from_the_arguments(void **state)
{
	int min, max;

	(void)state;
	hbctl_arity(hbctl_command_find("token money"), &min, &max);
	assert_int_equal(min, 2);
	assert_int_equal(max, 3);
	hbctl_arity(hbctl_command_find("status"), &min, &max);
	assert_int_equal(max, 0);
}

static void
suggestions_come_from_near_names_only(void **state)
{
	(void)state;
	assert_string_equal(hbctl_suggest("stauts"), "status");
	assert_string_equal(hbctl_suggest("pakcet"), "packet");
	assert_string_equal(hbctl_suggest("clcok"), "clock");
	assert_string_equal(hbctl_suggest("clock statsu"), "clock status");
	assert_null(hbctl_suggest("reconciliation"));
	assert_null(hbctl_suggest(""));
	assert_null(hbctl_suggest("a-word-that-is-far-longer-than-every-verb-there-is"));
}

static void
completes(int count, const char *const *words, const char *expected)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	hbctl_complete(count, (char **)(uintptr_t)words, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void
completion_offers_verbs_second_words_and_options(void **state)
{
	(void)state;
	completes(1, (const char *[]){"to"}, "top\ntoken\n");
	completes(2, (const char *[]){"token", ""}, "user\nmoney\n");
	completes(3, (const char *[]){"--json", "clock", "c"}, "confirm\n");
	completes(4, (const char *[]){"-c", "status", "clock", "s"}, "status\n");
	completes(4, (const char *[]){"token", "user", "5", "--k"}, "--kid\n");
	completes(2, (const char *[]){"help", "pa"}, "packet\n");
	completes(3, (const char *[]){"help", "token", "m"}, "money\n");
	completes(2, (const char *[]){"account", ""}, "freeze\nunfreeze\n");
	completes(2, (const char *[]){"packet", ""}, "");
	completes(1, (const char *[]){"--ver"}, "--version\n");
}

/* The whole manual is kept as text, so a change of help is seen in review. */
static void
the_manual_is_the_golden_text(void **state)
{
	const char *update = getenv("HB_UPDATE_GOLDEN");
	FILE *file = fopen(TEST_DIRECTORY "/manual.txt", update == NULL ? "re" : "we");
	struct harness h;
	static char golden[1 << 16];
	size_t length;

	(void)state;
	assert_non_null(file);
	harness_open(&h);
	hbctl_help_manual(h.hbctl.out);
	if (update != NULL) {
		fputs(harness_out(&h), file);
	} else {
		length = fread(golden, 1, sizeof(golden) - 1, file);
		golden[length] = '\0';
		assert_string_equal(harness_out(&h), golden);
	}
	fclose(file);
	harness_close(&h);
}

static void
help_of_a_group_shows_each_of_its_verbs(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "help clock"), HBCTL_OK);
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_OK);
	assert_non_null(strstr(harness_out(&h), "usage: hbctl clock status\n"));
	assert_non_null(strstr(harness_out(&h), "usage: hbctl clock confirm\n"));
	harness_close(&h);
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "help stauts"), HBCTL_OK);
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_USAGE);
	assert_non_null(strstr(harness_err(&h), "did you mean 'status'?"));
	harness_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_is_complete),
		cmocka_unit_test(arity_is_counted_from_the_arguments),
		cmocka_unit_test(suggestions_come_from_near_names_only),
		cmocka_unit_test(completion_offers_verbs_second_words_and_options),
		cmocka_unit_test(the_manual_is_the_golden_text),
		cmocka_unit_test(help_of_a_group_shows_each_of_its_verbs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
