/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of a packet: vectors, sums, bounds, fairness. */
#include <stdio.h>
#include <string.h>

#include "shm/draws.h"
#include "shm/split.h"
#include "tests/engine/world.h"

static void
draw_all(uint8_t algorithm, const uint8_t seed[32], int64_t total_fen, uint32_t count,
	int64_t min_fen, int64_t max_fen, uint32_t *out)
{
	struct hb_split s = {.left_fen = total_fen,
		.share_min_fen = min_fen,
		.share_max_fen = max_fen,
		.left_count = count,
		.algorithm = algorithm};

	hb_split_draw(&s, seed, out, sizeof(*out), count);
}

static void
test_the_published_vectors_come_out(void **unused)
{
#include "tests/engine/split_vectors.inc"
	uint8_t seed[32];
	uint32_t shares[16];
	uint8_t commitment[32];
	char hex[65];

	(void)unused;
	for (uint8_t i = 0; i < 32; i++)
		seed[i] = i;
	for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
		draw_all(vectors[v].algorithm, seed, vectors[v].total_fen, vectors[v].count,
			vectors[v].min_fen, vectors[v].max_fen, shares);
		for (uint32_t i = 0; i < vectors[v].count; i++)
			assert_int_equal(shares[i], vectors[v].shares[i]);
		hb_split_commitment(commitment, UINT64_C(0x0110000000000001), seed,
			vectors[v].total_fen, vectors[v].count, vectors[v].min_fen,
			vectors[v].max_fen, vectors[v].algorithm);
		for (int i = 0; i < 32; i++)
			snprintf(hex + 2 * i, 3, "%02x", commitment[i]);
		assert_string_equal(hex, vectors[v].commitment);
	}
}

static void
test_drawing_in_pieces_gives_the_same_shares(void **unused)
{
	uint8_t seed[32] = "any seed will do for this test.";
	uint32_t whole[1000], pieces[1000];
	struct hb_split s = {.left_fen = 50000,
		.share_min_fen = 1,
		.share_max_fen = 50000,
		.left_count = 1000,
		.algorithm = HB_SPLIT_DOUBLE_MEAN};

	(void)unused;
	draw_all(HB_SPLIT_DOUBLE_MEAN, seed, 50000, 1000, 1, 50000, whole);
	for (uint32_t at = 0; at < 1000; at += 125)
		hb_split_draw(&s, seed, pieces + at, sizeof(*pieces), 125);
	assert_memory_equal(whole, pieces, sizeof(whole));
}

static void
test_sums_are_exact_and_bounds_hold(void **unused)
{
	struct world w = {.random = 4711};

	(void)unused;
	for (int n = 0; n < 20000; n++) {
		uint32_t count = 1 + (uint32_t)(world_random(&w) % 50), shares[50];
		int64_t min_fen = 1 + (int64_t)(world_random(&w) % 5);
		int64_t max_fen = min_fen + (int64_t)(world_random(&w) % 50);
		int64_t total_fen =
			min_fen * count +
			(int64_t)(world_random(&w) % (uint64_t)((max_fen - min_fen) * count + 1));
		int64_t sum = 0;
		uint64_t seed[4] = {world_random(&w), 2, 3, 4};

		if (max_fen > total_fen)
			max_fen = total_fen;
		assert_true(hb_split_possible(total_fen, count, min_fen, max_fen));
		draw_all(n % 2 ? HB_SPLIT_SEED : HB_SPLIT_DOUBLE_MEAN, (uint8_t *)seed, total_fen,
			count, min_fen, max_fen, shares);
		for (uint32_t i = 0; i < count; i++) {
			assert_in_range(shares[i], min_fen, max_fen);
			sum += shares[i];
		}
		assert_int_equal(sum, total_fen);
	}
}

static void
test_double_mean_gives_every_position_the_same_expectation(void **unused)
{
	/* 100,000 packets of 17 fen in 10 shares: mean 1.7; sd of a mean below 0.005. */
	uint64_t sum[10] = {0};

	(void)unused;
	for (uint64_t n = 0; n < 100000; n++) {
		uint64_t seed[4] = {n, 5, 6, 7};
		uint32_t shares[10];

		draw_all(HB_SPLIT_DOUBLE_MEAN, (uint8_t *)seed, 17, 10, 1, 17, shares);
		for (int i = 0; i < 10; i++)
			sum[i] += shares[i];
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(sum[i], 167500, 172500);
}

static void
test_impossible_splits_are_named_so(void **unused)
{
	(void)unused;
	assert_false(hb_split_possible(0, 1, 1, 1));
	assert_false(hb_split_possible(9, 10, 1, 9));
	assert_false(hb_split_possible(100, 10, 1, 9));
	assert_false(hb_split_possible(100, 0, 1, 100));
	assert_false(hb_split_possible(100, 1, 0, 100));
	assert_false(hb_split_possible(HB_PACKET_TOTAL_FEN_MAX + 1, 1, 1, 100));
	assert_true(hb_split_possible(100, 10, 10, 10));
}

static void
test_draws_are_the_same_with_the_processors_instructions_and_without(void **unused)
{
	uint8_t seed[HB_DRAWS_SEED_BYTES];
	uint64_t a[HB_DRAWS_AT_ONCE], b[HB_DRAWS_AT_ONCE];

	(void)unused;
	for (uint64_t n = 0; n < 1000; n++) {
		for (uint32_t i = 0; i < sizeof(seed); i++)
			seed[i] = (uint8_t)(n * 31 + i * i);
		hb_draws_blocks(a, seed, n << (n % 50));
		hb_draws_blocks_plain(b, seed, n << (n % 50));
		assert_memory_equal(a, b, sizeof(a));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_draws_are_the_same_with_the_processors_instructions_and_without),
		cmocka_unit_test(test_the_published_vectors_come_out),
		cmocka_unit_test(test_drawing_in_pieces_gives_the_same_shares),
		cmocka_unit_test(test_sums_are_exact_and_bounds_hold),
		cmocka_unit_test(test_double_mean_gives_every_position_the_same_expectation),
		cmocka_unit_test(test_impossible_splits_are_named_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
