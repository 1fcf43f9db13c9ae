/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of cases: what is written is there at the next start, whatever the process died in, and
 * what is no case is never taken for one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/cases.h"
#include "shm/frame.h"

static char directory[] = "/tmp/control-cases-XXXXXX";
static char path[64];
static struct hb_cases *cases;

static void
open_cases(void)
{
	char error[256];

	assert_int_equal(hb_cases_open(&cases, path, error), 0);
}

static void
open_again(void)
{
	hb_cases_close(cases);
	cases = NULL;
	open_cases();
}

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/cases.jsonl", directory);
	open_cases();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hb_cases_close(cases);
	cases = NULL;
	unlink(path);
	rmdir(directory);
	memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
	return 0;
}

static struct hb_case
adjustment(const char *key)
{
	struct hb_case c = {.verb = HB_CASE_ADJUST,
		.state = HB_CASE_ASKED,
		.account = UINT64_C(0x7f30000000000006),
		.to = 1001,
		.amount_fen = INT64_C(99999999999),
		.asked_ms = 1700000000123,
		.expires_ms = 1700000060123,
		.asker = {.uid = 1000, .name = "li"},
		.reason = "credit of 3 May \"lost\" \\ 红包"};

	snprintf(c.key, sizeof(c.key), "%s", key);
	return c;
}

static off_t
file_bytes(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void
add_bytes(const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void
a_case_is_there_again_with_every_field(void **state)
{
	struct hb_case c = adjustment("k");
	struct hb_case found;

	(void)state;
	assert_int_equal(hb_cases_add(cases, &c), 0);
	assert_int_equal(c.number, 1);
	assert_int_not_equal(c.salt, 0);
	c.hold = UINT64_C(0x0230000000000007);
	c.checker = (struct hb_operator){.uid = 1001, .name = "zhao"};
	c.approved_ms = 1700000001000;
	c.over_ms = 1700000001002;
	c.as_of_seq = 4711;
	c.outcome = HB_STATUS_INSUFFICIENT;
	c.state = HB_CASE_REFUSED;
	c.fee_fen = 3;
	c.hold_reason = 1;
	c.lifetime_s = 60;
	c.channel = 4;
	snprintf(c.reference, sizeof(c.reference), "ref 7");
	snprintf(c.order_no, sizeof(c.order_no), "90107126124202611231635016300000");
	assert_int_equal(hb_cases_step(cases, &c, HB_CASE_ASKED), 0);
	open_again();
	assert_int_equal(hb_cases_get(cases, 1, &found), 0);
	assert_memory_equal(&found, &c, sizeof(c));
	assert_int_equal(hb_cases_get(cases, 2, &found), -ENOENT);
	assert_int_equal(hb_cases_get(cases, 0, &found), -ENOENT);
}

static void
a_key_asks_once_and_is_free_again_when_nothing_was_done(void **state)
{
	struct hb_case first = adjustment("same");
	struct hb_case again = adjustment("same");
	struct hb_case other = adjustment("same");

	(void)state;
	other.amount_fen--;
	assert_int_equal(hb_cases_add(cases, &first), 0);
	open_again();
	assert_int_equal(hb_cases_add(cases, &again), 1);
	assert_int_equal(again.number, first.number);
	assert_int_equal(again.salt, first.salt);
	assert_int_equal(hb_cases_add(cases, &other), -EEXIST);
	first.state = HB_CASE_REFUSED;
	assert_int_equal(hb_cases_step(cases, &first, HB_CASE_ASKED), 0);
	assert_int_equal(hb_cases_add(cases, &other), 0);
	assert_int_equal(other.number, 2);
	assert_int_not_equal(other.salt, first.salt);
}

static void
a_step_from_a_state_that_it_is_not_in_changes_nothing(void **state)
{
	struct hb_case c = adjustment("");
	struct hb_case found;
	off_t bytes;

	(void)state;
	assert_int_equal(hb_cases_add(cases, &c), 0);
	bytes = file_bytes();
	c.state = HB_CASE_DONE;
	assert_int_equal(hb_cases_step(cases, &c, HB_CASE_ORDERED), -ESTALE);
	assert_int_equal(hb_cases_get(cases, 1, &found), 0);
	assert_int_equal(found.state, HB_CASE_ASKED);
	assert_int_equal(file_bytes(), bytes);
}

static void
a_line_that_was_torn_anywhere_is_cut_off_and_the_rest_stays(void **state)
{
	struct hb_case c = adjustment("");
	struct hb_case found;
	off_t one;
	off_t two;

	(void)state;
	assert_int_equal(hb_cases_add(cases, &c), 0);
	one = file_bytes();
	assert_int_equal(hb_cases_add(cases, &c), 0);
	two = file_bytes();
	for (off_t bytes = two - 1; bytes >= one; bytes -= 7) {
		hb_cases_close(cases);
		assert_int_equal(truncate(path, bytes), 0);
		open_cases();
		assert_int_equal(file_bytes(), one);
		assert_int_equal(hb_cases_get(cases, 1, &found), 0);
		assert_int_equal(hb_cases_get(cases, 2, &found), -ENOENT);
		assert_int_equal(hb_cases_add(cases, &c), 0);
		assert_int_equal(c.number, 2);
		open_again();
		assert_int_equal(hb_cases_get(cases, 2, &found), 0);
	}
}

static void
a_line_that_is_no_case_is_told_with_its_number(void **state)
{
	static const char *const lines[] = {"nonsense\n", "{}\n", "\n", "[1]\n",
		"{\"number\":3,\"verb\":\"freeze\",\"state\":\"done\",\"asker\":{\"uid\":1,"
		"\"name\":\"li\"}}\n", /* number 2 is missing */
		"{\"number\":2,\"verb\":\"unknown-verb\",\"state\":\"done\",\"asker\":{\"uid\":1,"
		"\"name\":\"li\"}}\n",
		"{\"number\":2,\"verb\":\"freeze\",\"state\":\"done\"}\n",
		"{\"number\":2,\"verb\":\"freeze\",\"state\":\"done\",\"amount_fen\":-1,"
		"\"asker\":{\"uid\":1,\"name\":\"li\"}}\n"};
	struct hb_case c = adjustment("");
	off_t good;

	(void)state;
	assert_int_equal(hb_cases_add(cases, &c), 0);
	good = file_bytes();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char error[256];

		hb_cases_close(cases);
		cases = NULL;
		add_bytes(lines[i]);
		assert_int_equal(hb_cases_open(&cases, path, error), -EBADMSG);
		assert_non_null(strstr(error, "line 2"));
		assert_int_equal(truncate(path, good), 0);
		open_cases();
	}
}

static void
a_list_has_the_newest_first_and_only_what_was_asked_for(void **state)
{
	struct hb_case found[8];
	struct hb_case c;

	(void)state;
	for (uint64_t account = 1; account <= 100; account++) {
		c = adjustment("");
		c.to = account;
		assert_int_equal(hb_cases_add(cases, &c), 0);
	}
	c.state = HB_CASE_WITHDRAWN;
	assert_int_equal(hb_cases_step(cases, &c, HB_CASE_ASKED), 0);
	assert_int_equal(hb_cases_list(cases, &(struct hb_case_filter){.before = 0}, found, 8), 8);
	assert_int_equal(found[0].number, 100);
	assert_int_equal(found[7].number, 93);
	assert_int_equal(hb_cases_list(cases, &(struct hb_case_filter){.before = 3}, found, 8), 2);
	assert_int_equal(found[0].number, 2);
	assert_int_equal(
		hb_cases_list(cases, &(struct hb_case_filter){.account = 55}, found, 8), 1);
	assert_int_equal(found[0].to, 55);
	assert_int_equal(hb_cases_list(cases, &(struct hb_case_filter){.state = HB_CASE_WITHDRAWN},
				 found, 8),
		1);
	assert_int_equal(found[0].number, 100);
	assert_int_equal(hb_cases_list(cases, &(struct hb_case_filter){.hold = 1}, found, 8), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_case_is_there_again_with_every_field),
		TEST(a_key_asks_once_and_is_free_again_when_nothing_was_done),
		TEST(a_step_from_a_state_that_it_is_not_in_changes_nothing),
		TEST(a_line_that_was_torn_anywhere_is_cut_off_and_the_rest_stays),
		TEST(a_line_that_is_no_case_is_told_with_its_number),
		TEST(a_list_has_the_newest_first_and_only_what_was_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
