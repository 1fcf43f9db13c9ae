/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet's detail is checked against its seed: whole packets of both algorithms match, expired
 * ones as well, and whatever is altered is found and named.
 */
#include "tests/hbctl/harness.h"

#include "tests/engine/split_vectors.inc"

#define VECTOR_COUNT (sizeof(vectors) / sizeof(vectors[0]))

static char error[HBCTL_ERROR_BYTES];

/* The detail of a vector's packet after `taken` grabs. */
static json_t *
detail_of(size_t v, uint32_t taken)
{
	json_t *claims = json_array(), *detail;
	int64_t refund_fen = vectors[v].total_fen;
	uint32_t best = 0;

	for (uint32_t i = 0; i < taken; i++) {
		uint32_t share_fen = vectors[v].shares[i];

		if (share_fen > vectors[v].shares[best])
			best = i;
		refund_fen -= share_fen;
		json_array_append_new(
			claims, json_pack("{s:i, s:I, s:i}", "user", (int)(1000 + i), "amount_fen",
					(json_int_t)share_fen, "time_ms", (int)i));
	}
	detail = json_pack("{s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:i, s:I, s:s, s:s, s:o}", "packet",
		"0110000000000001", "state", taken == vectors[v].count ? "sold_out" : "refunded",
		"algorithm", vectors[v].algorithm == HB_SPLIT_SEED ? "seed" : "double-mean",
		"total_fen", (json_int_t)vectors[v].total_fen, "count", (int)vectors[v].count,
		"share_min_fen", (json_int_t)vectors[v].min_fen, "share_max_fen",
		(json_int_t)vectors[v].max_fen, "taken", (int)taken, "refunded_fen",
		(json_int_t)refund_fen, "seed",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "commitment",
		vectors[v].commitment, "claims", claims);
	assert_non_null(detail);
	if (taken > 0 && vectors[v].count > 1)
		json_object_set_new(detail, "luckiest", json_integer(best));
	return detail;
}

/* The verdict, which is freed by the next call. */
static const json_t *
check(json_t *detail)
{
	static json_t *verdict;

	json_decref(verdict);
	verdict = hbctl_packet_verdict(detail, error);
	json_decref(detail);
	assert_non_null(verdict);
	assert_int_equal(json_is_true(json_object_get(verdict, "ok")),
		strcmp(hbctl_json_text(verdict, "verdict"), "match") == 0);
	return verdict;
}

static void
expect_verdict(json_t *detail, const char *name)
{
	assert_string_equal(hbctl_json_text(check(detail), "verdict"), name);
}

static void
expect_differs(json_t *detail, const char *what)
{
	const json_t *v = check(detail);

	assert_string_equal(hbctl_json_text(v, "verdict"), "differs");
	assert_string_equal(hbctl_json_text(v, "what"), what);
}

static json_t *
with(json_t *detail, const char *key, json_t *value)
{
	json_object_set_new(detail, key, value);
	return detail;
}

static void
sold_out_and_expired_packets_of_both_algorithms_match(void **state)
{
	(void)state;
	for (size_t v = 0; v < VECTOR_COUNT; v++)
		for (uint32_t taken = 0; taken <= vectors[v].count; taken++)
			expect_verdict(detail_of(v, taken), "match");
}

static void
one_altered_share_is_found_at_its_position(void **state)
{
	(void)state;
	for (size_t v = 0; v < VECTOR_COUNT; v++) {
		for (uint32_t i = 0; i < vectors[v].count; i++) {
			json_t *detail = detail_of(v, vectors[v].count);
			json_t *claim = json_array_get(json_object_get(detail, "claims"), i);
			const json_t *verdict;

			json_object_set_new(
				claim, "amount_fen", json_integer(vectors[v].shares[i] + 1));
			verdict = check(detail);
			assert_string_equal(hbctl_json_text(verdict, "what"), "share");
			assert_int_equal(hbctl_json_i64(verdict, "position"), i);
			assert_int_equal(hbctl_json_i64(verdict, "computed"), vectors[v].shares[i]);
		}
	}
}

static void
whatever_else_is_altered_is_named(void **state)
{
	static const char *const terms[] = {"total_fen", "share_min_fen", "share_max_fen"};

	(void)state;
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
		json_t *detail = detail_of(1, 5);
		int64_t changed = hbctl_json_i64(detail, terms[i]) + 1;

		expect_differs(with(detail, terms[i], json_integer(changed)), "commitment");
	}
	expect_differs(with(detail_of(0, 10), "algorithm", json_string("seed")), "commitment");
	expect_differs(
		with(detail_of(0, 10), "packet", json_string("0110000000000002")), "commitment");
	expect_differs(with(detail_of(0, 10), "share_min_fen", json_integer(101)), "terms");
	expect_differs(with(detail_of(0, 10), "total_fen", json_integer(INT64_MAX)), "terms");
	expect_differs(with(detail_of(0, 4), "refunded_fen", json_integer(1)), "refunded_fen");
	expect_differs(with(detail_of(0, 10), "luckiest", json_integer(10)), "luckiest");
	expect_differs(with(detail_of(0, 10), "luckiest", json_null()), "luckiest");
}

static void
an_open_packet_has_no_seed_to_check(void **state)
{
	json_t *detail = detail_of(0, 3);

	(void)state;
	expect_verdict(with(detail, "seed", json_null()), "not_revealed");
	detail = detail_of(0, 3);
	json_object_del(detail, "seed");
	expect_verdict(detail, "not_revealed");
}

static void
expect_unreadable(json_t *detail, const char *part)
{
	error[0] = '\0';
	assert_null(hbctl_packet_verdict(detail, error));
	json_decref(detail);
	if (strstr(error, part) == NULL)
		fail_msg("'%s' does not say '%s'", error, part);
}

static void
a_detail_that_is_not_whole_is_refused(void **state)
{
	json_t *detail = detail_of(0, 10);

	(void)state;
	json_array_remove(json_object_get(detail, "claims"), 9);
	expect_unreadable(detail, "all its pages");
	expect_unreadable(with(detail_of(0, 10), "taken", json_string("10")), "number is missing");
	expect_unreadable(with(detail_of(0, 10), "count", json_integer(0)), "range");
	expect_unreadable(with(detail_of(0, 10), "count", json_integer(1 << 20)), "range");
	expect_unreadable(with(detail_of(0, 10), "seed", json_string("00")), "64 hexadecimal");
	expect_unreadable(with(detail_of(0, 10), "algorithm", json_string("other")), "algorithm");
	expect_unreadable(with(detail_of(0, 10), "packet", json_string("x")), "packet");
	expect_unreadable(json_object(), "number is missing");
}

/* The pages of a file as one detail, or NULL. */
static json_t *
read_text(const char *text)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	json_t *detail;

	assert_non_null(file);
	error[0] = '\0';
	detail = hbctl_packet_read_pages(file, "saved", error);
	fclose(file);
	return detail;
}

static void
pages_of_a_file_are_one_detail(void **state)
{
	json_t *first = detail_of(0, 10), *second = detail_of(0, 10);
	json_t *claims = json_object_get(first, "claims");
	char *texts[2], both[8192];

	(void)state;
	while (json_array_size(claims) > 6)
		json_array_remove(claims, json_array_size(claims) - 1);
	claims = json_object_get(second, "claims");
	for (int i = 0; i < 6; i++)
		json_array_remove(claims, 0);
	texts[0] = json_dumps(first, JSON_INDENT(2));
	texts[1] = json_dumps(second, JSON_COMPACT);
	json_decref(first);
	json_decref(second);
	snprintf(both, sizeof(both), "\n%s\n%s\n\n", texts[0], texts[1]);
	expect_verdict(read_text(both), "match");
	expect_unreadable(read_text(texts[0]), "all its pages");
	snprintf(both, sizeof(both), "%s {\"packet\": \"0110000000000009\"}", texts[0]);
	assert_null(read_text(both));
	assert_non_null(strstr(error, "several packets"));
	snprintf(both, sizeof(both), "%.*s", (int)strlen(texts[0]) / 2, texts[0]);
	assert_null(read_text(both));
	assert_non_null(strstr(error, "saved is not the JSON"));
	assert_null(read_text(" \n"));
	assert_string_equal(error, "saved is empty");
	assert_null(read_text("[1]"));
	free(texts[0]);
	free(texts[1]);
}

static void
the_verb_says_what_it_found(void **state)
{
	char path[] = "/tmp/hbctl-verify-XXXXXX", line[128];
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	json_t *detail = detail_of(0, 10);
	struct harness h;

	(void)state;
	assert_non_null(file);
	json_object_set_new(json_array_get(json_object_get(detail, "claims"), 3), "amount_fen",
		json_integer(1));
	assert_int_equal(json_dumpf(detail, file, 0), 0);
	fclose(file);
	json_decref(detail);
	harness_open(&h);
	snprintf(line, sizeof(line), "packet verify --detail %s", path);
	assert_int_equal(harness_parse(&h, line), HBCTL_OK);
	assert_int_equal(hbctl_run_packet_verify(&h.hbctl), HBCTL_WRONG);
	assert_non_null(strstr(harness_out(&h), "differs at position 3: share is told as 1, "));
	harness_close(&h);
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "packet verify"), HBCTL_OK);
	assert_int_equal(hbctl_run_packet_verify(&h.hbctl), HBCTL_USAGE);
	harness_close(&h);
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "packet verify 77"), HBCTL_OK);
	assert_int_equal(hbctl_run_packet_verify(&h.hbctl), HBCTL_USAGE);
	assert_non_null(strstr(harness_err(&h), "neither a packet"));
	harness_close(&h);
	remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sold_out_and_expired_packets_of_both_algorithms_match),
		cmocka_unit_test(one_altered_share_is_found_at_its_position),
		cmocka_unit_test(whatever_else_is_altered_is_named),
		cmocka_unit_test(an_open_packet_has_no_seed_to_check),
		cmocka_unit_test(a_detail_that_is_not_whole_is_refused),
		cmocka_unit_test(pages_of_a_file_are_one_detail),
		cmocka_unit_test(the_verb_says_what_it_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
