/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What the dataplane itself answers: broken frames, tokens, marks, audits, deadlines.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/paths.h"
#include "dataplane/key_file.h"
#include "node.h"
#include "shm/ids.h"

#define SENDER UINT64_C(1001)

static struct node node;
static struct hb_client *control;

static int
setup(void **state)
{
	(void)state;
	node_start(&node, 2, 64);
	control = node_client(&node, "control");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	hb_client_close(control);
	node_stop(&node);
	return 0;
}

static void
frames_that_break_the_format_are_refused_and_the_ring_goes_on(void **state)
{
	struct tally t = {0};
	uint8_t bytes[HB_FRAME_BYTES_MAX] = {
		0}; /* one of the frames claims more than its own length */
	struct hb_frame *frame = (struct hb_frame *)(void *)bytes;

	(void)state;
	fund(control, SENDER, 100);
	for (uint32_t i = 0; i < 6; i++) {
		frame_begin(frame, HB_OP_BALANCE, sizeof(*frame), SENDER, SENDER);
		frame->version = i == 0 ? 9 : HB_FRAME_VERSION;
		frame->operation = i == 1 ? 200 : HB_OP_BALANCE;
		frame->issued_s -= i == 2 ? 601 : 0;
		frame->issued_s += i == 3 ? 62 : 0;
		frame->target = i == 4 ? UINT64_MAX : SENDER;
		if (i == 5)
			frame->length = 128; /* not BALANCE's length */
		assert_int_equal(hb_client_send(control, frame), 0);
	}
	hb_client_flush(control);
	tally_collect(control, &t, 6, 1000);
	assert_int_equal(t.other, 6); /* refused, and the ring goes on */
	assert_int_equal(balance(control, SENDER), 100);
}

static void
tokens_that_users_ask_for_are_taken_by_control_and_work(void **state)
{
	struct hb_frame_token ask;
	struct hb_frame take;
	struct hb_frame_transfer transfer;
	union reply reply;
	const struct hb_reply_token *token = (const void *)(reply.bytes + sizeof(struct hb_reply));
	uint32_t partition = hb_partition_of(SENDER), taken = 0;
	uint16_t flags;

	(void)state;
	fund(control, SENDER, 100);
	for (int i = 0; i < 10; i++) {
		frame_begin(&ask, HB_OP_TOKEN_ASK, sizeof(ask), SENDER, SENDER);
		ask.for_operation = HB_OP_TRANSFER;
		assert_int_equal(call(control, &ask, &reply), HB_STATUS_OK);
		assert_int_equal(reply.head.count, 0); /* the asker does not get the token */
	}
	do {
		frame_begin(&take, HB_OP_TOKEN_TAKE, sizeof(take),
			hb_system_account(HB_SYSTEM_FEES, partition), 0);
		assert_int_equal(call(control, &take, &reply), HB_STATUS_OK);
		taken += reply.head.count;
		flags = reply.head.flags;
		assert_int_equal(
			reply.head.length, (64 + reply.head.count * sizeof(*token) + 63) / 64 * 64);
	} while ((flags & HB_REPLY_MORE) != 0);
	assert_int_equal(taken, 10);
	assert_int_equal(token->user, SENDER);
	frame_begin(&transfer, HB_OP_TRANSFER, sizeof(transfer), SENDER, SENDER);
	transfer.head.token_id = token->token_id;
	transfer.head.token_mac = token->token_mac;
	transfer.head.token_expiry_s = token->expiry_s;
	transfer.head.sequence = token->sequence + 1;
	transfer.to = 1002;
	transfer.amount_fen = 30;
	assert_int_equal(call(control, &transfer, &reply), HB_STATUS_OK);
	assert_int_equal(balance(control, 1002), 30);
	assert_int_equal(balance(control, SENDER), 70);
	transfer.head.token_mac ^= 1;
	transfer.head.sequence++;
	assert_int_equal(call(control, &transfer, &reply), HB_STATUS_TOKEN_INVALID);
}

static void
a_mark_and_an_audit_of_every_partition_are_answered(void **state)
{
	struct hb_frame frame;
	union reply reply;

	(void)state;
	fund(control, SENDER, 100);
	for (uint32_t p = 0; p < HB_PARTITION_COUNT; p++) {
		frame_begin(
			&frame, HB_OP_MARK, sizeof(frame), hb_system_account(HB_SYSTEM_FEES, p), 0);
		assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
		frame_begin(&frame, HB_OP_AUDIT, sizeof(frame),
			hb_system_account(HB_SYSTEM_FEES, p), 0);
		assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	}
	frame_begin(&frame, HB_OP_CLOCK_CONFIRM, sizeof(frame),
		hb_system_account(HB_SYSTEM_FEES, 0), 0);
	assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	assert_int_equal(counter(control, HB_COUNTER_MARKS), HB_PARTITION_COUNT);
	assert_true(counter(control, HB_COUNTER_AUDITS) >= HB_PARTITION_COUNT);
	assert_int_equal(counter(control, HB_COUNTER_AUDIT_FAILURES), 0);
}

static const struct hb_node *
published(void)
{
	return (const struct hb_node *)(const void *)(hb_client_node_segment(control)->base +
						      HB_SEGMENT_GUARD_BYTES);
}

static void
a_level_of_degradation_is_published_and_holds_until_its_time(void **state)
{
	struct hb_frame_degrade frame;
	union reply reply;

	(void)state;
	frame_begin(
		&frame.head, HB_OP_DEGRADE, sizeof(frame), hb_system_account(HB_SYSTEM_FEES, 0), 0);
	memset(&frame.head + 1, 0, sizeof(frame) - sizeof(frame.head));
	frame.level = HB_DEGRADE_COUNT;
	assert_int_equal(call(control, &frame.head, &reply), HB_STATUS_FRAME_INVALID);
	frame.level = HB_DEGRADE_NO_NEW_PACKETS;
	frame.by = HB_DEGRADE_BY_OPERATOR;
	frame.until_s = hb_wall_ns() / 1000000000 + 2;
	assert_int_equal(call(control, &frame.head, &reply), HB_STATUS_OK);
	assert_int_equal(atomic_load(&published()->degrade_level), HB_DEGRADE_NO_NEW_PACKETS);
	for (int i = 0; i < 500 && atomic_load(&published()->degrade_level) != 0; i++)
		usleep(10000);
	assert_int_equal(atomic_load(&published()->degrade_level), 0);
	assert_true(hb_wall_ns() / 1000000000 >= frame.until_s);
}

/* Put a text into the key file, and let the dataplane read it. @return whether it took it */
static bool
keys_reloaded(const char *text)
{
	const struct hb_node *seen = published();
	uint32_t taken = atomic_load(&seen->reloads), refused = atomic_load(&seen->reload_failures);
	char path[HB_PATH_MAX];
	int fd;

	hb_path(path, node.directory, "key");
	mkdir(path, 0755);
	hb_path(path, node.directory, HB_PATH_KEY_TOKEN);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	node_signal(&node, SIGHUP);
	for (int i = 0; i < 5000; i++) {
		if (atomic_load(&seen->reloads) != taken)
			return true;
		if (atomic_load(&seen->reload_failures) != refused)
			return false;
		usleep(1000);
	}
	fail_msg("the dataplane does not read its keys");
	return false;
}

/* A transfer of 1 fen with a token that control issues now. */
static void
transfer_frame(struct hb_frame_transfer *transfer)
{
	struct hb_frame_token ask;
	union reply reply;
	const struct hb_reply_token *token = (const void *)(reply.bytes + sizeof(struct hb_reply));

	frame_begin(&ask, HB_OP_TOKEN_ISSUE, sizeof(ask), SENDER, SENDER);
	ask.for_operation = HB_OP_TRANSFER;
	assert_int_equal(call(control, &ask, &reply), HB_STATUS_OK);
	frame_begin(transfer, HB_OP_TRANSFER, sizeof(*transfer), SENDER, SENDER);
	transfer->head.token_id = token->token_id;
	transfer->head.token_mac = token->token_mac;
	transfer->head.token_expiry_s = token->expiry_s;
	transfer->head.sequence = token->sequence + 1;
	transfer->to = 1002;
	transfer->amount_fen = 1;
}

static void
a_rotated_key_signs_and_those_before_verify_until_their_end(void **state)
{
	static const uint8_t rotated[] = "\x00\x11\x22\x33\x44\x55\x66\x77"
					 "\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
	struct hb_frame_transfer before, now, later;
	union reply reply;
	char text[HB_KEY_FILE_BYTES_MAX];
	uint64_t now_s = hb_wall_ns() / 1000000000;

	(void)state;
	fund(control, SENDER, 100);
	transfer_frame(&before);
	later = before;
	later.head.sequence++;
	/* "0123456789abcdef" is the key of node.c */
	snprintf(text, sizeof(text),
		"00112233445566778899aabbccddeeff\n30313233343536373839616263646566 %llu\n",
		(unsigned long long)now_s + 100);
	assert_true(keys_reloaded(text));
	transfer_frame(&now);
	assert_int_equal(
		now.head.token_mac, hb_token_mac(rotated, now.head.token_id, SENDER, SENDER,
					    now.head.token_expiry_s, HB_OP_TRANSFER));
	assert_int_equal(call(control, &before, &reply), HB_STATUS_OK);
	assert_int_equal(call(control, &now, &reply), HB_STATUS_OK);
	assert_false(keys_reloaded("not a key\n")); /* changes nothing */
	now.head.sequence++;
	assert_int_equal(call(control, &now, &reply), HB_STATUS_OK);
	for (int i = 0; i < 20; i++) /* many in a row: each is at all lcores when it is counted */
		assert_true(keys_reloaded(text));
	assert_true(keys_reloaded("00112233445566778899aabbccddeeff\n"));
	assert_int_equal(call(control, &later, &reply), HB_STATUS_TOKEN_INVALID);
	now.head.sequence++;
	assert_int_equal(call(control, &now, &reply), HB_STATUS_OK);
	assert_int_equal(balance(control, 1002), 4);
}

static void
what_is_left_of_a_packet_goes_back_at_its_deadline(void **state)
{
	struct hb_frame frame;
	union reply reply;
	uint64_t packet;
	int64_t share_fen;

	(void)state;
	fund(control, SENDER, 100);
	packet = send_packet(control, SENDER, 60, 3, 1);
	assert_int_equal(balance(control, SENDER), 40);
	grab_frame(&frame, packet, 2001);
	assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	share_fen = reply.head.amount_fen;
	for (int i = 0; i < 3000 && balance(control, SENDER) == 40; i++)
		usleep(1000);
	assert_int_equal(balance(control, SENDER), 100 - share_fen);
	assert_int_equal(counter(control, HB_COUNTER_PACKETS_EXPIRED), 1);
	grab_frame(&frame, packet, 2002);
	assert_int_equal(call(control, &frame, &reply), HB_STATUS_EXPIRED);
	grab_frame(&frame, packet, 2001); /* a winner always hears his amount */
	assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	assert_int_equal(reply.head.amount_fen, share_fen);
}

static int
setup_forgetful(void **state)
{
	node_retention_s = 1;
	setup(state);
	node_retention_s = 0;
	return 0;
}

static void
what_is_over_is_forgotten_and_a_hold_goes_back_at_its_deadline(void **state)
{
	struct hb_frame_hold hold;
	struct hb_frame frame;
	union reply reply;
	uint64_t packet;

	(void)state;
	fund(control, SENDER, 100);
	frame_begin(&hold, HB_OP_HOLD, sizeof(hold), SENDER, SENDER);
	hold.amount_fen = 30;
	hold.lifetime_s = 1;
	hold.reason = HB_HOLD_WITHDRAWAL;
	assert_int_equal(call(control, &hold, &reply), HB_STATUS_OK);
	packet = send_packet(control, SENDER, 10, 1, 60);
	grab_frame(&frame, packet, 2001);
	assert_int_equal(call(control, &frame, &reply), HB_STATUS_OK);
	assert_int_equal(balance(control, SENDER), 60);
	for (int i = 0; i < 400 && balance(control, SENDER) != 90; i++)
		usleep(10000);
	assert_int_equal(balance(control, SENDER), 90);
	assert_int_equal(counter(control, HB_COUNTER_HOLDS_VOIDED), 1);
	for (int i = 0; i < 400 && call(control, &frame, &reply) == HB_STATUS_OK; i++)
		usleep(10000);
	assert_int_equal(reply.head.status, HB_STATUS_PACKET_GONE);
	assert_true(counter(control, HB_COUNTER_EVICTIONS) >= 1);
	assert_int_equal(balance(control, 2001), 10);
}

/* Give an account of the running dataplane a fen that no record gave it. */
static bool
corrupt_account(uint64_t account, int64_t available_fen)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL) {
		char *end, *begin = (char *)(uintptr_t)strtoull(line, &end, 16);
		uint64_t bytes = strtoull(end + 1, NULL, 16) - (uint64_t)(uintptr_t)begin;

		for (uint64_t at = 0; strstr(line, "hongbao-state") != NULL && at < bytes && !found;
			at += sizeof(struct hb_account)) {
			struct hb_account *a = (struct hb_account *)(void *)(begin + at);

			found = a->id == account && a->available_fen == available_fen;
			if (found)
				a->available_fen++;
		}
	}
	if (maps != NULL)
		fclose(maps);
	return found;
}

static void
memory_that_was_changed_behind_the_engine_ends_the_process(void **state)
{
	struct hb_frame frame;
	union reply reply;
	char *directory = mmap(NULL, sizeof(node.directory), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	(void)state;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		setup(NULL);
		memcpy(directory, node.directory, sizeof(node.directory));
		fund(control, SENDER, 100);
		frame_begin(&frame, HB_OP_AUDIT, sizeof(frame),
			hb_system_account(HB_SYSTEM_FEES, hb_partition_of(SENDER)), 0);
		if (call(control, &frame, &reply) != HB_STATUS_OK || !corrupt_account(SENDER, 100))
			_exit(1);
		hb_client_call(control, &frame, &reply.head, 1000);
		_exit(2);
	}
	waitpid(child, &status, 0);
	node_remove(directory);
	munmap(directory, sizeof(node.directory));
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(frames_that_break_the_format_are_refused_and_the_ring_goes_on),
		TEST(tokens_that_users_ask_for_are_taken_by_control_and_work),
		TEST(a_mark_and_an_audit_of_every_partition_are_answered),
		TEST(a_level_of_degradation_is_published_and_holds_until_its_time),
		TEST(a_rotated_key_signs_and_those_before_verify_until_their_end),
		TEST(what_is_left_of_a_packet_goes_back_at_its_deadline),
		cmocka_unit_test_setup_teardown(
			what_is_over_is_forgotten_and_a_hold_goes_back_at_its_deadline,
			setup_forgetful, teardown),
		cmocka_unit_test(memory_that_was_changed_behind_the_engine_ends_the_process),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
