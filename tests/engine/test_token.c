/* SPDX-License-Identifier: Apache-2.0 */
/* Text form of money tokens. */
#include <stdlib.h>
#include <string.h>

#include <sodium/crypto_shorthash.h>

#include "tests/engine/world.h"

static const uint8_t key[HB_TOKEN_KEY_BYTES] = "0123456789abcde";

static struct hb_token
make(void)
{
	struct hb_token t = {.id = UINT64_C(1795392000123) << 14 | 42,
		.expiry_s = 1795392000 + HB_TOKEN_LIFETIME_S,
		.operation = HB_OP_GRAB};

	t.mac = hb_token_mac(key, t.id, 1001, 77, t.expiry_s, t.operation);
	return t;
}

static void
test_the_text_comes_back_as_it_was(void **unused)
{
	struct hb_token t = make(), back;
	char text[HB_TOKEN_TEXT_MAX];
	uint64_t user;

	(void)unused;
	hb_token_format(text, &t, 88, 1001);
	assert_int_equal(strncmp(text, "GR-88-1001-20261123080000123-0042-", 34), 0);
	assert_true(hb_token_parse(text, (uint32_t)strlen(text), &back, &user));
	assert_int_equal(user, 1001);
	assert_int_equal(back.id, t.id);
	assert_int_equal(back.mac, t.mac);
	assert_int_equal(back.expiry_s, t.expiry_s);
	assert_int_equal(back.operation, t.operation);
}

static void
test_every_shortened_or_changed_text_is_refused_or_another_token(void **unused)
{
	struct hb_token t = make(), back;
	char text[HB_TOKEN_TEXT_MAX];
	uint64_t user;

	(void)unused;
	hb_token_format(text, &t, 88, 1001);
	for (uint32_t n = 0; n < strlen(text); n++)
		assert_false(hb_token_parse(text, n, &back, &user));
	for (uint32_t n = 0; n < strlen(text); n++) {
		char kept = text[n];

		text[n] ^= 1;
		if (hb_token_parse(text, (uint32_t)strlen(text), &back, &user) && n > 5)
			assert_true(user != 1001 || back.id != t.id || back.mac != t.mac);
		text[n] = 'Z';
		if (n > 1)
			assert_false(hb_token_parse(text, (uint32_t)strlen(text), &back, &user));
		text[n] = kept;
	}
}

static void
test_the_initial_sequence_has_five_digits(void **unused)
{
	(void)unused;
	for (uint64_t id = 1; id < 10000; id++)
		assert_in_range(hb_token_initial_sequence(key, id, 1001), 10000, 99999);
}

/* Two versions of one function: ours, and the library's that tokens were signed with before. */
static void
test_mac_and_initial_sequence_are_siphash_of_the_documented_bytes(void **unused)
{
	(void)unused;
	for (uint64_t n = 0; n < 1000; n++) {
		uint64_t word[4] = {hb_mix64(4 * n + 1), hb_mix64(4 * n + 2), hb_mix64(4 * n + 3),
			(uint64_t)HB_OP_GRAB << 32 | (uint32_t)hb_mix64(4 * n + 4)};
		uint64_t first[3] = {word[0], word[1], 1};
		uint64_t mac, hash;
		uint32_t initial;

		crypto_shorthash((unsigned char *)&mac, (void *)word, sizeof(word), key);
		crypto_shorthash((unsigned char *)&hash, (void *)first, sizeof(first), key);
		assert_true(hb_token_mac(key, word[0], word[1], word[2], (uint32_t)word[3],
				    HB_OP_GRAB) == mac);
		assert_int_equal(
			hb_token_initial_sequence(key, word[0], word[1]), 10000 + hash % 90000);
		assert_true(hb_token_mac_and_initial(key, word[0], word[1], word[2],
				    (uint32_t)word[3], HB_OP_GRAB, &initial) == mac);
		assert_int_equal(initial, 10000 + hash % 90000);
	}
}

/* A frame whose fields are anybody's. */
static struct hb_frame
frame_of(uint64_t n)
{
	return (struct hb_frame){.operation = (uint8_t)(HB_OP_GRAB + n % 3),
		.token_id = hb_mix64(5 * n + 1),
		.user = hb_mix64(5 * n + 2),
		.target = hb_mix64(5 * n + 3),
		.token_expiry_s = (uint32_t)hb_mix64(5 * n + 4)};
}

static void
expect_alone(const struct hb_frame *frame, uint64_t mac, uint32_t initial)
{
	uint32_t initial_alone;

	assert_true(hb_token_mac_and_initial(key, frame->token_id, frame->user, frame->target,
			    frame->token_expiry_s, frame->operation, &initial_alone) == mac);
	assert_int_equal(initial, initial_alone);
}

static void
test_macs_of_a_burst_are_those_of_its_frames_alone_on_every_processor(void **unused)
{
	struct hb_frame frames[HB_BURST_MAX];
	struct hb_token_batch batch;
	uint32_t made = 0;

	(void)unused;
	for (uint32_t by = 0; by < HB_TOKEN_LANES_BY_COUNT; by++) {
		hb_token_batch_begin(&batch);
		for (uint32_t i = 0; i < HB_BURST_MAX; i++) {
			frames[i] = frame_of(by * HB_BURST_MAX + i);
			hb_token_batch_add(&batch, &frames[i]);
		}
		for (uint32_t group = 0; group < HB_BURST_MAX / HB_TOKEN_LANES; group++) {
			if (!hb_token_batch_make(&batch, group, key, by))
				continue;
			made++;
			for (uint32_t i = 0; i < HB_TOKEN_LANES; i++) {
				uint32_t place = group * HB_TOKEN_LANES + i;

				expect_alone(&frames[place], batch.mac[place],
					hb_token_initial_of(batch.initial[place]));
			}
		}
	}
	assert_true(made >= HB_BURST_MAX / HB_TOKEN_LANES); /* plain ones at least */
}

static void
test_a_burst_of_any_length_may_be_asked_in_any_order(void **unused)
{
	struct hb_frame frames[HB_BURST_MAX];
	struct hb_token_batch batch;

	(void)unused;
	for (uint32_t count = 1; count <= HB_BURST_MAX; count++) {
		hb_token_batch_begin(&batch);
		for (uint32_t i = 0; i < count; i++) {
			frames[i] = frame_of(count * HB_BURST_MAX + i);
			hb_token_batch_add(&batch, &frames[i]);
		}
		for (uint32_t n = 0; n < 2 * count; n++) {
			uint32_t place = (uint32_t)(hb_mix64(count * 100 + n) % count);
			uint32_t initial;
			uint64_t mac = hb_token_batch_mac(&batch, place, key, &initial);

			expect_alone(&frames[place], mac, initial);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mac_and_initial_sequence_are_siphash_of_the_documented_bytes),
		cmocka_unit_test(test_the_text_comes_back_as_it_was),
		cmocka_unit_test(test_every_shortened_or_changed_text_is_refused_or_another_token),
		cmocka_unit_test(test_the_initial_sequence_has_five_digits),
		cmocka_unit_test(
			test_macs_of_a_burst_are_those_of_its_frames_alone_on_every_processor),
		cmocka_unit_test(test_a_burst_of_any_length_may_be_asked_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
