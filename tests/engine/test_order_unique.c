/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order numbers never come twice: many nodes and all their allocators give out numbers of both
 * versions through restarts, clocks that are set forward and back, and milliseconds that are full.
 * Every text is parsed again, must name its table, and is compared with all others exactly: its 32
 * digits are one number of 107 bits, and all numbers are sorted.
 *
 *   test_order_unique [NUMBERS [SEED]]     (2,000,000; 16 bytes of memory each)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/bits.h"
#include "shm/ids.h"
#include "shm/limits.h"
#include "shm/order_number.h"

#define NUMBERS_DEFAULT 2000000
#define ACCOUNTS	64 /* of each partition */
#define BURST_MAX	30000
#define START_MS	UINT64_C(1795564800000) /* 2026-11-25 in Beijing */

typedef unsigned __int128 whole;

static const uint32_t nodes[] = {0, 1, 42, 99};
#define NODES (sizeof(nodes) / sizeof(nodes[0]))

/* What a node keeps of an allocator: the newest stamp in memory, and in the journal. */
struct allocator {
	uint64_t last;
	uint64_t journaled;
	uint64_t now_ns;
};

static struct allocator allocators[NODES][HB_PARTITION_COUNT];
static uint64_t accounts[HB_PARTITION_COUNT][ACCOUNTS];
static whole *numbers;
static uint64_t count, wanted, busy, restarts, steps_back, given_up;
static uint64_t random_state;

static uint64_t
draw(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return hb_mix64(random_state);
}

static void
find_accounts(void)
{
	uint32_t found[HB_PARTITION_COUNT] = {0}, all = 0;

	while (all < HB_PARTITION_COUNT * ACCOUNTS) {
		uint64_t account = 1 + draw() % HB_ACCOUNT_MAX;
		uint32_t p = hb_partition_of(account);

		if (found[p] == ACCOUNTS)
			continue;
		accounts[p][found[p]++] = account;
		all++;
	}
}

/* The text of an order that is in the journal: parsed, compared, kept. */
static void
keep(uint32_t node, uint32_t partition, uint64_t stamp)
{
	static const uint32_t businesses[] = {10, 11, 20, 21, 22, 30, 31, 40, 90};
	uint64_t account = accounts[partition][draw() % ACCOUNTS];
	uint32_t business = businesses[draw() % (sizeof(businesses) / sizeof(businesses[0]))];
	uint32_t version = 1 + (uint32_t)(draw() % 2);
	char text[HB_ORDER_NUMBER_LENGTH + 1];
	struct hb_order_number parsed;
	whole number = 0;

	if (version == 2)
		stamp |= HB_STAMP_VERSION_2;
	hb_order_number_format(text, business, node, partition, account, stamp);
	HB_ASSERT(strlen(text) == HB_ORDER_NUMBER_LENGTH);
	HB_ASSERT(hb_order_number_parse(text, &parsed));
	HB_ASSERT(parsed.version == version && parsed.business == business);
	HB_ASSERT(parsed.node == node && parsed.allocator == partition && parsed.stamp == stamp);
	HB_ASSERT(parsed.user_digits % HB_PARTITION_COUNT == partition);
	HB_ASSERT(parsed.user_digits == hb_account_digits(account));
	for (int i = 0; i < HB_ORDER_NUMBER_LENGTH; i++)
		number = number * 10 + (whole)(text[i] - '0');
	numbers[count++] = number;
}

/*
 * The clock of a node: mostly forward, sometimes set. Ledger time never goes back while the process
 * lives, and a start begins at the newest record's time or the wall clock.
 */
static void
pass_time(struct allocator *a)
{
	uint64_t dice = draw() % 1000;

	if (dice < 15 && a->now_ns > (START_MS + 3600000) * 1000000) {
		a->now_ns -= draw() % UINT64_C(3600000000000);
		steps_back++;
	} else if (dice < 30) {
		a->now_ns += draw() % UINT64_C(3600000000000);
	} else {
		a->now_ns += draw() % UINT64_C(3000000);
	}
}

/* Memory is gone: what was not in the journal was told to nobody, and may be given out again. */
static void
restart(struct allocator *a)
{
	restarts++;
	given_up += a->last != a->journaled;
	a->last = a->journaled;
}

/* Some orders of one allocator; the last ones may miss the journal by a restart. */
static void
burst(uint32_t n, uint32_t partition)
{
	struct allocator *a = &allocators[n][partition];
	uint64_t size = draw() % 50 == 0 ? draw() % BURST_MAX : draw() % 8;

	pass_time(a);
	for (uint64_t i = 0; i < size && count < wanted; i++) {
		uint64_t stamp = hb_stamp_next(a->last, a->now_ns / 1000000);

		if (stamp == 0) {
			busy++;
			break;
		}
		HB_ASSERT(stamp > a->last);
		HB_ASSERT(hb_stamp_sequence(stamp) <= 9999);
		a->last = stamp;
		if (draw() % 100000 == 0) {
			restart(a);
			continue;
		}
		a->journaled = stamp;
		keep(nodes[n], partition, stamp);
	}
	if (draw() % 1000 == 0)
		restart(a);
}

static int
compare(const void *a, const void *b)
{
	const whole *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);

	wanted = argc > 1 ? strtoull(argv[1], NULL, 0) : NUMBERS_DEFAULT;
	random_state = seed;
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	numbers = malloc(wanted * sizeof(*numbers));
	HB_ASSERT(numbers != NULL && wanted > 0);
	find_accounts();
	for (uint32_t n = 0; n < NODES; n++)
		for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++)
			allocators[n][p].now_ns =
				(START_MS + 86400000) * 1000000 + draw() % 1000000000;
	while (count < wanted)
		burst((uint32_t)(draw() % NODES), (uint32_t)(draw() % HB_PARTITION_COUNT));
	qsort(numbers, count, sizeof(*numbers), compare);
	for (uint64_t i = 1; i < count; i++)
		if (numbers[i] == numbers[i - 1]) {
			fprintf(stderr, "a number came twice\n");
			return 1;
		}
	printf("%llu numbers of versions 1 and 2, no two the same; %llu restarts (%llu with stamps "
	       "that were given out again), %llu clocks set back, %llu times busy\n",
		(unsigned long long)count, (unsigned long long)restarts,
		(unsigned long long)given_up, (unsigned long long)steps_back,
		(unsigned long long)busy);
	if (wanted >= NUMBERS_DEFAULT)
		HB_ASSERT(restarts > 0 && given_up > 0 && steps_back > 0 && busy > 0);
	free(numbers);
	return 0;
}
