/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal records as text and JSON, and the filters of `journal dump`.
 */
#include "tests/hbctl/harness.h"

#include "shm/ids.h"
#include "shm/order_number.h"
#include "tools/hbctl/record_fields.h"

static struct hb_record_grab
a_grab(void)
{
	struct hb_record_grab grab;

	memset(&grab, 0, sizeof(grab));
	grab.head.ring = 3;
	grab.head.core_sequence = 17;
	grab.head.time_ns = UINT64_C(1767196800123) * 1000000;
	grab.packet = hb_id_make(HB_ID_PACKET, 3, 1, 9);
	grab.user = 1002;
	grab.amount_fen = 123;
	grab.left_count = 4;
	grab.order_stamp = UINT64_C(1767196800123) << 14 | 5;
	hb_record_seal(&grab.head, HB_RECORD_GRAB, sizeof(grab));
	return grab;
}

static void
a_grab_is_printed_with_its_order_number_and_amounts_in_yuan(void **state)
{
	struct hb_record_grab grab = a_grab();
	json_t *object = hbctl_record_json(&grab.head, 42, 7);
	char number[HB_ORDER_NUMBER_LENGTH + 1];
	char expected[512];
	struct harness h;

	(void)state;
	hb_order_number_format(number, HB_BUSINESS_PACKET_GRAB, 7, 3, 1002, grab.order_stamp);
	assert_string_equal(hbctl_json_text(object, "order_no"), number);
	assert_int_equal(hbctl_json_i64(object, "amount_fen"), 123);
	assert_null(json_object_get(object, "token_id")); /* zero */
	assert_non_null(json_object_get(object, "left_fen"));
	harness_open(&h);
	hbctl_record_print(object, h.hbctl.out);
	snprintf(expected, sizeof(expected),
		"42 03/17 2026-01-01 00:00:00.123 GRAB packet=0130200000000009 user=1002 "
		"amount=1.23 left=0.00 left_count=4 order_no=%s\n",
		number);
	assert_string_equal(harness_out(&h), expected);
	harness_close(&h);
	json_decref(object);
}

static void
filters_look_at_every_field_of_the_kind(void **state)
{
	struct hb_record_grab grab = a_grab();
	struct hb_record_transfer transfer;

	(void)state;
	memset(&transfer, 0, sizeof(transfer));
	transfer.from = 5;
	transfer.to = 6;
	hb_record_seal(&transfer.head, HB_RECORD_TRANSFER, sizeof(transfer));
	assert_true(hbctl_record_has_packet(&grab.head, grab.packet));
	assert_false(hbctl_record_has_packet(&grab.head, 1002));
	assert_true(hbctl_record_has_account(&grab.head, 1002));
	assert_false(hbctl_record_has_account(&grab.head, grab.packet));
	assert_true(hbctl_record_has_account(&transfer.head, 5));
	assert_true(hbctl_record_has_account(&transfer.head, 6));
	assert_false(hbctl_record_has_account(&transfer.head, 7));
}

static void
a_greeting_is_printed_and_damaged_text_does_no_harm(void **state)
{
	_Alignas(8) uint8_t room[HB_RECORD_BYTES_MAX] = {0};
	struct hb_record_packet_create *create = (struct hb_record_packet_create *)(void *)room;
	json_t *object;
	struct harness h;

	(void)state;
	memcpy(create->greeting, "good \"luck\"\xff", 12);
	create->greeting_length = 12;
	hb_record_seal(&create->head, HB_RECORD_PACKET_CREATE, sizeof(*create) + 16);
	object = hbctl_record_json(&create->head, 1, 0);
	assert_string_equal(hbctl_json_text(object, "greeting"), "good \"luck\"?");
	harness_open(&h);
	hbctl_record_print(object, h.hbctl.out);
	assert_non_null(strstr(harness_out(&h), "greeting=\"good \\\"luck\\\"?\""));
	harness_close(&h);
	json_decref(object);
}

static void
every_record_type_has_a_name_and_can_be_shown(void **state)
{
	_Alignas(8) uint8_t room[HB_RECORD_BYTES_MAX];
	unsigned known = 0;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct hb_record *record = (struct hb_record *)(void *)room;
		uint8_t number;
		json_t *object;

		memset(room, 0xa5, sizeof(room));
		record->type = (uint8_t)type;
		record->length = 600;
		object = hbctl_record_json(record, 1, 1);
		assert_non_null(object);
		number = hbctl_record_type_number(hb_record_type_name((uint8_t)type));
		if (number != 0) {
			assert_int_equal(number, type);
			assert_true(json_object_size(object) > 5);
			known++;
		}
		json_decref(object);
		record->length = sizeof(*record); /* too short for its fields */
		object = hbctl_record_json(record, 1, 1);
		assert_int_equal(json_object_size(object), 5);
		json_decref(object);
	}
	assert_int_equal(known, 21);
	assert_int_equal(hbctl_record_type_number("grab"), HB_RECORD_GRAB);
	assert_int_equal(hbctl_record_type_number("UNKNOWN"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grab_is_printed_with_its_order_number_and_amounts_in_yuan),
		cmocka_unit_test(filters_look_at_every_field_of_the_kind),
		cmocka_unit_test(a_greeting_is_printed_and_damaged_text_does_no_harm),
		cmocka_unit_test(every_record_type_has_a_name_and_can_be_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
