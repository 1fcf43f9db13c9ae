/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of both split algorithms over many packets: every sum exact, every share within its
 * bounds; with `double-mean` and without bounds every position has the same expectation, and with
 * `seed` the first one has the one its formula gives. Means are judged by their distance from the
 * expectation in standard errors; that such a judge sees something is shown with a splitter that
 * favours the first.
 *
 *   test_fairness [PACKETS [SEED]]     (30,000)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/limits.h"
#include "shm/split.h"

#define PACKETS_DEFAULT 30000
#define TOTAL_FEN	10000
#define COUNT		10
#define COUNT_MAX	200
#define ERRORS_MAX	5.5 /* one in 10^7 of this many looks is beyond by chance */

static uint64_t random_state;

static uint64_t
draw(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return hb_mix64(random_state);
}

static void
draw_seed(uint8_t seed[32])
{
	for (int i = 0; i < 4; i++) {
		uint64_t part = draw();

		memcpy(seed + 8 * i, &part, sizeof(part));
	}
}

static void
split(uint8_t algorithm, int64_t total_fen, uint32_t count, int64_t min_fen, int64_t max_fen,
	uint32_t *shares)
{
	struct hb_split split = {.left_fen = total_fen,
		.share_min_fen = min_fen,
		.share_max_fen = max_fen,
		.left_count = count,
		.algorithm = algorithm};
	uint8_t seed[32];

	draw_seed(seed);
	hb_split_draw(&split, seed, shares, sizeof(*shares), count);
	HB_ASSERT(split.left_fen == 0 && split.left_count == 0);
}

/* Any packet that is possible: its shares add up and lie within the bounds. */
static void
check_any_packet(uint8_t algorithm)
{
	uint32_t shares[COUNT_MAX], count = 1 + (uint32_t)(draw() % COUNT_MAX);
	int64_t total_fen = count + (int64_t)(draw() % 100000);
	int64_t mean_fen = total_fen / count, sum_fen = 0;
	int64_t min_fen = 1 + (int64_t)(draw() % (uint64_t)mean_fen);
	int64_t max_fen = mean_fen + 1 + (int64_t)(draw() % 5000);

	if (max_fen > total_fen)
		max_fen = total_fen;
	HB_ASSERT(hb_split_possible(total_fen, count, min_fen, max_fen));
	split(algorithm, total_fen, count, min_fen, max_fen, shares);
	for (uint32_t i = 0; i < count; i++) {
		HB_ASSERT(shares[i] >= min_fen && shares[i] <= max_fen);
		sum_fen += shares[i];
	}
	HB_ASSERT(sum_fen == total_fen);
}

/* Sums of the shares at each position, and of their squares. */
struct positions {
	double sum[COUNT];
	double squares[COUNT];
};

static void
add_packet(struct positions *positions, const uint32_t *shares)
{
	for (int i = 0; i < COUNT; i++) {
		positions->sum[i] += shares[i];
		positions->squares[i] += (double)shares[i] * shares[i];
	}
}

/* Distance of a position's mean from an expectation, in standard errors. */
static double
distance(const struct positions *positions, int i, uint64_t packets, double expected_fen)
{
	double n = (double)packets;
	double mean = positions->sum[i] / n;
	double variance = positions->squares[i] / n - mean * mean;

	return fabs(mean - expected_fen) / sqrt(variance / n);
}

static double
farthest(const struct positions *positions, uint64_t packets, double expected_fen)
{
	double most = 0;

	for (int i = 0; i < COUNT; i++)
		most = fmax(most, distance(positions, i, packets, expected_fen));
	return most;
}

/* seed: uniform in 1..total, clamped to what leaves 1 fen for each other. */
static double
seed_first_expected(void)
{
	double high = TOTAL_FEN - (COUNT - 1);

	return (high * (high + 1) / 2 + (TOTAL_FEN - high) * high) / TOTAL_FEN;
}

int
main(int argc, char **argv)
{
	uint64_t packets = argc > 1 ? strtoull(argv[1], NULL, 0) : PACKETS_DEFAULT;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct positions fair = {0}, first = {0}, unfair = {0};
	uint32_t shares[COUNT];

	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	random_state = seed;
	for (uint64_t n = 0; n < packets; n++) {
		check_any_packet(HB_SPLIT_DOUBLE_MEAN);
		check_any_packet(HB_SPLIT_SEED);
		split(HB_SPLIT_SEED, TOTAL_FEN, COUNT, 1, TOTAL_FEN, shares);
		add_packet(&first, shares);
		split(HB_SPLIT_DOUBLE_MEAN, TOTAL_FEN, COUNT, 1, TOTAL_FEN, shares);
		add_packet(&fair, shares);
		/* one packet in ten: the first two change places when the second is better */
		if (n % 10 == 0 && shares[1] > shares[0]) {
			uint32_t better = shares[1];

			shares[1] = shares[0];
			shares[0] = better;
		}
		add_packet(&unfair, shares);
	}
	printf("%llu packets of each kind: double-mean at most %.2f standard errors from the mean "
	       "at any position, seed %.2f from its formula at the first; a splitter that favours "
	       "the first %.2f\n",
		(unsigned long long)packets, farthest(&fair, packets, TOTAL_FEN / COUNT),
		distance(&first, 0, packets, seed_first_expected()),
		farthest(&unfair, packets, TOTAL_FEN / COUNT));
	HB_ASSERT(farthest(&fair, packets, TOTAL_FEN / COUNT) < ERRORS_MAX);
	HB_ASSERT(distance(&first, 0, packets, seed_first_expected()) < ERRORS_MAX);
	HB_ASSERT(farthest(&unfair, packets, TOTAL_FEN / COUNT) > ERRORS_MAX);
	return 0;
}
