/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What users may ask by frames over TCP: whose account, which operations, which heads; and hellos.
 * Random bytes never pass, and what passes carries the user of the token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "front/framed.h"
#include "shm/ids.h"

#define NOW_S	  INT64_C(1700000000)
#define ACCOUNT	  UINT64_C(1001)
#define OTHER	  UINT64_C(1002)
#define GROUP	  UINT64_C(7)
#define PACKET_ID UINT64_C(0x0130200000000009)
#define MUTATIONS 200000

union any_frame {
	struct hb_frame head;
	struct hb_frame_packet_create create;
	struct hb_frame_transfer transfer;
	struct hb_frame_detail detail;
	struct hb_frame_token token;
	uint8_t bytes[HB_FRAMED_HELLO_BYTES_MAX];
};

static struct hb_identity *identity;

static int
set_up(void **state)
{
	(void)state;
	identity = calloc(1, sizeof(*identity) + sizeof(uint64_t));
	assert_non_null(identity);
	identity->account = ACCOUNT;
	identity->expires_s = NOW_S + 1;
	identity->group_count = 1;
	identity->groups[0] = GROUP;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	free(identity);
	return 0;
}

static union any_frame
frame_of(enum hb_operation operation, uint16_t length, uint64_t target)
{
	union any_frame frame;

	memset(&frame, 0, sizeof(frame));
	frame.head = (struct hb_frame){.version = HB_FRAME_VERSION,
		.operation = (uint8_t)operation,
		.length = length,
		.issued_s = (uint32_t)NOW_S,
		.correlation = 99,
		.target = target};
	return frame;
}

static union any_frame
grab(void)
{
	return frame_of(HB_OP_GRAB, sizeof(struct hb_frame), PACKET_ID);
}

static enum hb_status
admit(union any_frame *frame)
{
	return hb_framed_admit(&frame->head, identity, NOW_S);
}

static void
the_user_and_his_group_come_from_his_token(void **state)
{
	union any_frame frame = grab();

	(void)state;
	frame.head.group = GROUP;
	assert_int_equal(admit(&frame), HB_STATUS_OK);
	assert_int_equal(frame.head.user, ACCOUNT);
	assert_int_equal(frame.head.group, GROUP);

	frame = grab();
	frame.head.user = ACCOUNT;
	frame.head.group = GROUP + 1;
	assert_int_equal(admit(&frame), HB_STATUS_OK);
	assert_int_equal(frame.head.group, 0);
}

static void
nobody_asks_for_another_account(void **state)
{
	static const uint16_t length[] = {[HB_OP_PACKET_CREATE] = 256,
		[HB_OP_BALANCE] = 64,
		[HB_OP_TOKEN_ASK] = 128,
		[HB_OP_TRANSFER] = 128};
	union any_frame frame = grab();

	(void)state;
	frame.head.user = OTHER;
	assert_int_equal(admit(&frame), HB_STATUS_NOT_ALLOWED);
	for (unsigned i = 0; i < sizeof(length) / sizeof(length[0]); i++) {
		if (length[i] == 0)
			continue;
		frame = frame_of(i, length[i], OTHER);
		if (i == HB_OP_TOKEN_ASK)
			frame.token.for_operation = HB_OP_TRANSFER;
		assert_int_equal(admit(&frame), HB_STATUS_NOT_ALLOWED);
		frame.head.target = ACCOUNT;
		assert_int_equal(admit(&frame), HB_STATUS_OK);
	}
	/* His fees account or that of a packet's partition is not his either. */
	frame = frame_of(HB_OP_BALANCE, 64, hb_system_account(HB_SYSTEM_FEES, 3));
	assert_int_equal(admit(&frame), HB_STATUS_NOT_ALLOWED);
	/* A right to grab is asked for a packet. */
	frame = frame_of(HB_OP_TOKEN_ASK, 128, PACKET_ID);
	frame.token.for_operation = HB_OP_GRAB;
	assert_int_equal(admit(&frame), HB_STATUS_OK);
}

static void
operations_of_control_are_not_for_users(void **state)
{
	unsigned allowed = 0;

	(void)state;
	for (unsigned operation = 1; operation < 256; operation++) {
		for (uint16_t length = 64; length <= HB_FRAME_BYTES_MAX; length += 64) {
			union any_frame frame =
				frame_of((enum hb_operation)operation, length, ACCOUNT);
			enum hb_status status = admit(&frame);

			assert_int_not_equal(status, HB_STATUS_UNAUTHORIZED);
			if (status != HB_STATUS_OK)
				continue;
			assert_true(operation < HB_OP_COUNT);
			assert_true((HB_OPS_FRONT & HB_OP_BIT(operation)) != 0);
			allowed++;
		}
	}
	assert_true(allowed >= 3);
}

static void
a_user_has_no_idempotency_keys(void **state)
{
	union any_frame frame = frame_of(HB_OP_TRANSFER, 128, ACCOUNT);

	(void)state;
	frame.transfer.idempotency_key[15] = 1;
	assert_int_equal(admit(&frame), HB_STATUS_NOT_ALLOWED);
	frame = frame_of(HB_OP_PACKET_CREATE, 256, ACCOUNT);
	frame.create.idempotency_key[0] = 1;
	assert_int_equal(admit(&frame), HB_STATUS_NOT_ALLOWED);
}

static void
without_a_valid_login_every_frame_is_unauthorized(void **state)
{
	union any_frame frame = grab();

	(void)state;
	assert_int_equal(hb_framed_admit(&frame.head, NULL, NOW_S), HB_STATUS_UNAUTHORIZED);
	assert_int_equal(hb_framed_admit(&frame.head, identity, NOW_S + 1), HB_STATUS_UNAUTHORIZED);
	assert_int_equal(frame.head.user, 0);
	assert_string_equal(hb_status_name(HB_STATUS_UNAUTHORIZED), "unauthorized");
	assert_int_equal(hb_status_http(HB_STATUS_UNAUTHORIZED), 401);
}

static void
a_head_tells_the_length_or_that_it_is_lost(void **state)
{
	union any_frame frame = grab();

	(void)state;
	assert_int_equal(hb_framed_length(&frame.head), 64);
	for (unsigned length = 0; length <= UINT16_MAX; length++) {
		bool unit = length % 64 == 0 && length >= 64;

		frame.head.length = (uint16_t)length;
		frame.head.operation = HB_OP_GRAB;
		assert_int_equal(hb_framed_length(&frame.head), unit && length <= 256 ? length : 0);
		frame.head.operation = HB_FRAMED_HELLO;
		assert_int_equal(
			hb_framed_length(&frame.head), unit && length <= 64 + 4096 ? length : 0);
	}
	frame = grab();
	frame.head.version = 2;
	assert_int_equal(hb_framed_length(&frame.head), 0);
}

static void
a_hello_carries_a_token_padded_with_less_than_a_unit(void **state)
{
	union any_frame hello = frame_of(HB_FRAMED_HELLO, 192, 0);
	size_t length;

	(void)state;
	assert_null(hb_framed_token(&hello.head, &length));
	memset(hello.bytes + 64, 'a', 65);
	assert_ptr_equal(hb_framed_token(&hello.head, &length), hello.bytes + 64);
	assert_int_equal(length, 65);
	memset(hello.bytes + 64, 'a', 128);
	assert_non_null(hb_framed_token(&hello.head, &length));
	assert_int_equal(length, 128);
	hello.bytes[64 + 64] = 0; /* bytes behind the end */
	assert_null(hb_framed_token(&hello.head, &length));
	memset(hello.bytes + 64 + 64, 0, 64); /* a whole unit of padding */
	assert_null(hb_framed_token(&hello.head, &length));
	memset(hello.bytes + 64, 'a', 128);
	hello.head.user = 1;
	assert_null(hb_framed_token(&hello.head, &length));
}

static void
whatever_passes_is_a_frame_of_the_user(void **state)
{
	unsigned seed = (unsigned)time(NULL), passed = 0;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		union any_frame frame =
			i % 2 == 0 ? grab() : frame_of(HB_OP_TRANSFER, 128, ACCOUNT);

		for (long n = random() % 3; n >= 0; n--)
			frame.bytes[random() % 128] = (uint8_t)random();
		if (hb_framed_length(&frame.head) == 0 || frame.head.operation == HB_FRAMED_HELLO ||
			admit(&frame) != HB_STATUS_OK)
			continue;
		passed++;
		assert_int_equal(frame.head.user, ACCOUNT);
		assert_true(frame.head.group == 0 || frame.head.group == GROUP);
		assert_int_equal(hb_frame_check(&frame.head, frame.head.length), HB_STATUS_OK);
		assert_true((HB_OPS_FRONT & HB_OP_BIT(frame.head.operation)) != 0);
	}
	assert_true(passed > 0 && passed < MUTATIONS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_user_and_his_group_come_from_his_token),
		cmocka_unit_test(nobody_asks_for_another_account),
		cmocka_unit_test(operations_of_control_are_not_for_users),
		cmocka_unit_test(a_user_has_no_idempotency_keys),
		cmocka_unit_test(without_a_valid_login_every_frame_is_unauthorized),
		cmocka_unit_test(a_head_tells_the_length_or_that_it_is_lost),
		cmocka_unit_test(a_hello_carries_a_token_padded_with_less_than_a_unit),
		cmocka_unit_test(whatever_passes_is_a_frame_of_the_user),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
