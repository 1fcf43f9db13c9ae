/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing and checking records. */
#include <string.h>

#include "base/crc32c.h"
#include "shm/names.h"
#include "tests/engine/world.h"

static void
test_crc32c_has_the_published_check_value(void **unused)
{
	(void)unused;
	assert_int_equal(hb_crc32c("123456789", 9), 0xE3069283);
}

static uint32_t
crc32c_bit_by_bit(const uint8_t *at, size_t length)
{
	uint32_t crc = UINT32_MAX;

	for (; length > 0; length--, at++) {
		crc ^= *at;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78 & (0u - (crc & 1)));
	}
	return crc ^ UINT32_MAX;
}

/* Short and long ranges take different ways; at every length both must say the same. */
static void
test_crc32c_is_the_same_at_every_length(void **unused)
{
	uint8_t bytes[2 * HB_CRC32C_SHORT_BYTES];

	(void)unused;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167 + 13);
	for (size_t length = 0; length <= sizeof(bytes); length++)
		assert_int_equal(hb_crc32c(bytes, length), crc32c_bit_by_bit(bytes, length));
}

static void
test_every_flipped_bit_of_a_record_is_found(void **unused)
{
	struct hb_record_grab r = {.head = {.ring = 3, .core_sequence = 9, .time_ns = 5},
		.packet = 77,
		.user = 5,
		.amount_fen = 12};
	uint8_t *bytes = (uint8_t *)&r;

	(void)unused;
	hb_record_seal(&r.head, HB_RECORD_GRAB, sizeof(r));
	assert_null(hb_record_verify(&r.head, sizeof(r)));
	for (uint32_t bit = 0; bit < sizeof(r) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_non_null(hb_record_verify(&r.head, sizeof(r)));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (uint32_t n = 0; n < sizeof(r); n++)
		assert_non_null(hb_record_verify(&r.head, n));
}

static void
test_a_greeting_must_fit_its_record(void **unused)
{
	_Alignas(8) uint8_t bytes[HB_RECORD_BYTES_MAX] = {0};
	struct hb_record_packet_create *r = (void *)bytes;

	(void)unused;
	r->greeting_length = 5;
	hb_record_seal(&r->head, HB_RECORD_PACKET_CREATE, sizeof(*r) + 8);
	assert_null(hb_record_verify(&r->head, sizeof(bytes)));
	hb_record_seal(&r->head, HB_RECORD_PACKET_CREATE, sizeof(*r));
	assert_non_null(hb_record_verify(&r->head, sizeof(bytes)));
}

static void
test_states_have_the_names_of_the_interface(void **unused)
{
	(void)unused;
	assert_string_equal(hb_order_state_name(HB_ORDER_UNKNOWN), "outcome_unknown");
	assert_string_equal(hb_order_state_name(0), "unknown");
	assert_string_equal(hb_packet_state_name(HB_PACKET_SOLD_OUT), "sold_out");
	assert_string_equal(hb_packet_state_name(99), "unknown");
	assert_string_equal(hb_packet_kind_name(HB_PACKET_LUCKY), "lucky");
	assert_string_equal(hb_packet_kind_name(0), "unknown");
	assert_string_equal(hb_split_algorithm_name(HB_SPLIT_DOUBLE_MEAN), "double-mean");
	assert_string_equal(hb_business_name(HB_BUSINESS_ADJUSTMENT), "adjustment");
	assert_string_equal(hb_business_name(12), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_has_the_published_check_value),
		cmocka_unit_test(test_crc32c_is_the_same_at_every_length),
		cmocka_unit_test(test_every_flipped_bit_of_a_record_is_found),
		cmocka_unit_test(test_a_greeting_must_fit_its_record),
		cmocka_unit_test(test_states_have_the_names_of_the_interface),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
