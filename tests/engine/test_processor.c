/* SPDX-License-Identifier: Apache-2.0 */
/*
 * White box: processors of all kinds give the same shares and the same MACs, whatever they know.
 * What this one knows is hidden from the code under test; what it lacks is left out.
 */
#include <cpuid.h>
#include <pthread.h>
#include <string.h>

#include "tests/engine/world.h"

static struct {
	bool knows_nothing; /* no CPUID leaf of features, no vectors */
	bool no_sha;
	bool no_avx512, no_avx2;
} processor;

static int cpuid_of_test(unsigned leaf, unsigned subleaf, unsigned *eax, unsigned *ebx,
	unsigned *ecx, unsigned *edx);
static int supports_of_test(const char *what);

#define __get_cpuid_count cpuid_of_test
#include "shm/draws.c" /* NOLINT */
#undef __get_cpuid_count

#define __builtin_cpu_supports supports_of_test
#include "shm/token_batch.c" /* NOLINT */
#undef __builtin_cpu_supports

static int
cpuid_of_test(
	unsigned leaf, unsigned subleaf, unsigned *eax, unsigned *ebx, unsigned *ecx, unsigned *edx)
{
	if (processor.knows_nothing || __get_cpuid_count(leaf, subleaf, eax, ebx, ecx, edx) == 0)
		return 0;
	if (processor.no_sha)
		*ebx &= ~CPUID_SHA;
	return 1;
}

static int
supports_of_test(const char *what)
{
	__builtin_cpu_init();
	if (strcmp(what, "avx512f") == 0)
		return !processor.no_avx512 && __builtin_cpu_supports("avx512f");
	assert_string_equal(what, "avx2");
	return !processor.no_avx2 && __builtin_cpu_supports("avx2");
}

static const uint8_t seed[HB_DRAWS_SEED_BYTES] = "thirty-two bytes of a test's see";

/* What the processor knows is asked once in each thread: each way in a thread of its own. */
static void *
draw(void *out)
{
	hb_draws_blocks(out, seed, 10);
	hb_draws_blocks((uint64_t *)out + HB_DRAWS_AT_ONCE, seed, 12);
	return NULL;
}

static void
expect_draws(const uint64_t expected[2 * HB_DRAWS_AT_ONCE])
{
	uint64_t out[2 * HB_DRAWS_AT_ONCE];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, draw, out), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_memory_equal(out, expected, sizeof(out));
}

static void
test_shares_are_the_same_on_processors_with_and_without_sha(void **unused)
{
	uint64_t expected[2 * HB_DRAWS_AT_ONCE];

	(void)unused;
	hb_draws_blocks_plain(expected, seed, 10);
	hb_draws_blocks_plain(expected + HB_DRAWS_AT_ONCE, seed, 12);
	memset(&processor, 0, sizeof(processor));
	expect_draws(expected);
	processor.no_sha = true;
	expect_draws(expected);
	processor.knows_nothing = true;
	expect_draws(expected);
}

static void
test_macs_are_the_same_on_processors_with_and_without_vectors(void **unused)
{
	static const uint8_t key[HB_TOKEN_KEY_BYTES] = "0123456789abcde";
	struct hb_frame frames[HB_BURST_MAX];
	struct hb_token_batch batch;

	(void)unused;
	for (uint32_t way = 0; way < 4; way++) {
		memset(&processor, 0, sizeof(processor));
		processor.no_avx512 = (way & 1) != 0;
		processor.no_avx2 = (way & 2) != 0;
		hb_token_batch_begin(&batch);
		for (uint32_t i = 0; i < HB_BURST_MAX; i++) {
			frames[i] = (struct hb_frame){.operation = HB_OP_GRAB,
				.token_id = hb_mix64(i + 1),
				.user = i,
				.target = hb_mix64(i + 9),
				.token_expiry_s = i};
			hb_token_batch_add(&batch, &frames[i]);
		}
		for (uint32_t i = 0; i < HB_BURST_MAX; i++) {
			uint32_t initial, alone;
			uint64_t mac = hb_token_batch_mac(&batch, i, key, &initial);

			assert_true(mac == hb_token_mac_and_initial(key, frames[i].token_id,
						   frames[i].user, frames[i].target,
						   frames[i].token_expiry_s, frames[i].operation,
						   &alone));
			assert_int_equal(initial, alone);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares_are_the_same_on_processors_with_and_without_sha),
		cmocka_unit_test(test_macs_are_the_same_on_processors_with_and_without_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
