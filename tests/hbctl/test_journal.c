/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl journal verify and dump on a journal that the real writer wrote: what a whole one says,
 * and that damage is named with file and place. Lives in a folder below /var/tmp.
 */
#include "tests/hbctl/harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

#include "persist/journal.h"
#include "shm/ids.h"

#define GRABS  30
#define PACKET UINT64_C(0x0130200000000009)

static char directory[64];
static uint64_t segment; /* all frames lie in this one */

static int
remove_one(const char *path, const struct stat *file, int type, struct FTW *walk)
{
	(void)file;
	(void)type;
	(void)walk;
	return remove(path);
}

static void
write_grab(struct hb_journal *journal, uint64_t number)
{
	struct hb_record_grab grab;
	const char *fault = NULL;
	uint32_t taken;

	memset(&grab, 0, sizeof(grab));
	grab.head.ring = 3;
	grab.head.core_sequence = number;
	grab.head.time_ns = (UINT64_C(1767196800000) + number) * 1000000;
	grab.packet = PACKET;
	grab.user = 1000 + number;
	grab.amount_fen = (int64_t)number;
	grab.order_stamp = (UINT64_C(1767196800000) + number) << 14;
	hb_record_seal(&grab.head, HB_RECORD_GRAB, sizeof(grab));
	assert_int_equal(hb_frame_add(journal, 3, &grab, sizeof(grab), &taken, &fault), 1);
}

/* Epoch start is sequence 1, the grabs follow, ten to a frame. */
static int
make_journal(void **state)
{
	static struct hb_journal journal;
	static const _Atomic bool never;
	struct hb_config config;
	char error[HB_JOURNAL_ERROR_BYTES] = "";

	(void)state;
	snprintf(directory, sizeof(directory), "/var/tmp/hbctl-test-XXXXXX");
	assert_non_null(mkdtemp(directory));
	hb_config_defaults(&config);
	config.journal_segment_mib = 1;
	config.journal_segments_ready = 2;
	if (hb_journal_open(&journal, &config, directory, 0, error) != 0)
		fail_msg("%s", error);
	assert_int_equal(hb_journal_begin_epoch(&journal, true), 0);
	for (uint64_t i = 1; i <= GRABS; i++) {
		write_grab(&journal, i);
		if (i % 10 == 0)
			assert_int_equal(hb_frame_write(&journal, &never), 0);
	}
	segment = journal.segment_number;
	hb_journal_close(&journal);
	return 0;
}

static int
remove_journal(void **state)
{
	(void)state;
	return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Run "hbctl <verb> <directory> <rest>". @return exit code */
static int
run(struct harness *h, const char *verb, const char *rest)
{
	char line[256];

	harness_open(h);
	snprintf(line, sizeof(line), "%s %s %s", verb, directory, rest);
	assert_int_equal(harness_parse(h, line), HBCTL_OK);
	return h->hbctl.command->run(&h->hbctl);
}

static void
a_whole_journal_is_counted(void **state)
{
	struct harness h;
	json_t *answer;

	(void)state;
	assert_int_equal(run(&h, "journal verify", "--json"), HBCTL_OK);
	answer = json_loads(harness_out(&h), 0, NULL);
	assert_non_null(answer);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	assert_int_equal(hbctl_json_i64(answer, "records"), GRABS + 1);
	assert_int_equal(hbctl_json_i64(answer, "frames"), 4);
	assert_int_equal(hbctl_json_i64(answer, "first_seq"), 1);
	assert_int_equal(hbctl_json_i64(answer, "last_seq"), GRABS + 1);
	assert_int_equal(hbctl_json_i64(answer, "epochs"), 1);
	assert_int_equal(hbctl_json_i64(answer, "first_segment"), segment);
	json_decref(answer);
	harness_close(&h);
	assert_int_equal(run(&h, "journal verify", ""), HBCTL_OK);
	assert_non_null(strstr(harness_out(&h), "the journal is whole: 31 records in 4 frames"));
	harness_close(&h);
}

static unsigned
lines_of(const char *text)
{
	unsigned lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static void
dump_prints_the_records_that_are_asked_for(void **state)
{
	struct harness h;

	(void)state;
	assert_int_equal(run(&h, "journal dump", ""), HBCTL_OK);
	assert_int_equal(lines_of(harness_out(&h)), GRABS + 1);
	assert_memory_equal(harness_out(&h), "1 16/1 ", 7);
	assert_non_null(strstr(harness_out(&h), " EPOCH_START epoch=1 "));
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--from 5 --to 9"), HBCTL_OK);
	assert_int_equal(lines_of(harness_out(&h)), 5);
	assert_memory_equal(harness_out(&h), "5 03/4 ", 7);
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--account 1007 --json"), HBCTL_OK);
	assert_int_equal(lines_of(harness_out(&h)), 1);
	assert_non_null(strstr(harness_out(&h), "\"seq\":8,\"ring\":3,\"core_sequence\":7,"));
	assert_non_null(strstr(harness_out(&h), "\"amount_fen\":7"));
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--packet 0130200000000009 --type grab"), 0);
	assert_int_equal(lines_of(harness_out(&h)), GRABS);
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--packet 0130200000000008"), HBCTL_OK);
	assert_string_equal(harness_out(&h), "");
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--from 99"), HBCTL_WRONG);
	harness_close(&h);
	assert_int_equal(run(&h, "journal dump", "--type GRABS"), HBCTL_USAGE);
	harness_close(&h);
}

static void
segment_path(char path[128])
{
	int length = snprintf(path, 128, "%s/", directory);

	snprintf(path + length, 128 - (size_t)length, HB_JOURNAL_RAW_FORMAT,
		(unsigned long long)segment);
}

/* Flip one bit; twice is as before. */
static void
flip(off_t offset)
{
	char path[128];
	uint8_t byte;
	int fd;

	segment_path(path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* The second frame begins at the second block and holds sequences 2..11. */
static void
every_flipped_bit_of_a_frame_is_found_and_its_place_named(void **state)
{
	static const off_t offsets[] = {0, 5, 8, 12, 16, 32, 40, 48, 56, 64, 88, 120, 152, 156, 160,
		192, 200, 250, 192 + 95, 192 + 960, 4095};

	(void)state;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		char path[128];
		struct harness h;
		json_t *answer;

		segment_path(path);
		flip(4096 + offsets[i]);
		assert_int_equal(run(&h, "journal verify", "--json"), HBCTL_WRONG);
		answer = json_loads(harness_out(&h), 0, NULL);
		assert_non_null(answer);
		assert_true(json_is_false(json_object_get(answer, "ok")));
		assert_int_equal(hbctl_json_i64(answer, "last_good_seq"), 1);
		assert_non_null(strstr(hbctl_json_text(answer, "error"), strrchr(path, '/') + 1));
		assert_non_null(strstr(hbctl_json_text(answer, "error"), "4096"));
		json_decref(answer);
		harness_close(&h);
		flip(4096 + offsets[i]);
	}
	a_whole_journal_is_counted(state);
}

static void
a_folder_that_is_no_journal_is_a_usage_error(void **state)
{
	struct harness h;

	(void)state;
	harness_open(&h);
	assert_int_equal(harness_parse(&h, "journal verify /nonexistent"), HBCTL_OK);
	assert_int_equal(h.hbctl.command->run(&h.hbctl), HBCTL_USAGE);
	assert_non_null(strstr(harness_err(&h), "/nonexistent"));
	harness_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_journal_is_counted),
		cmocka_unit_test(dump_prints_the_records_that_are_asked_for),
		cmocka_unit_test(every_flipped_bit_of_a_frame_is_found_and_its_place_named),
		cmocka_unit_test(a_folder_that_is_no_journal_is_a_usage_error),
	};

	return cmocka_run_group_tests(tests, make_journal, remove_journal);
}
