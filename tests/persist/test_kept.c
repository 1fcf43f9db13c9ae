/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What programs before this one wrote is read as they meant it: every directory of tests/fixtures
 * is recovered, replayed and gone on with; what a later program wrote is refused by its version.
 */
#include "tests/persist/kept_story.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "persist/replay.h"
#include "persist/snapshot.h"
#include "shm/ids.h"

#define FIXTURES_MIN 2

static struct fixture f;

/* A copy to write in. */
static void
take(const char *name)
{
	char from[512];
	int status = -1;
	pid_t child;

	fixture_begin(&f);
	kept_configure(&f.config);
	snprintf(from, sizeof(from), "%s/%s/journal", FIXTURES, name);
	child = fork();
	if (child == 0) {
		execlp("cp", "cp", "-r", from, f.root, (char *)NULL);
		_exit(127);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static int
rebuild(struct hb_state *state, struct hb_snapshot_header *header, struct hb_replay_result *result)
{
	struct hb_capacity capacity = hb_capacity_from_config(&f.config);
	struct hb_journal_reader *reader;
	struct hb_journal_info info;

	assert_int_equal(hb_state_create(state, &capacity, KEPT_NODE), 0);
	assert_int_equal(hb_journal_reader_open(&reader, f.directory, f.error), 0);
	assert_int_equal(hb_journal_reader_info(reader, &info), 0);
	hb_journal_reader_close(reader);
	return hb_state_rebuild(
		f.directory, info.durable_seq, info.stream_id, state, 0, header, result, f.error);
}

static void
check_balances(const struct hb_state *state, const char *name)
{
	char path[512];
	unsigned long long user;
	long long available, frozen;
	uint32_t lines = 0;
	FILE *expected;

	snprintf(path, sizeof(path), "%s/%s/expected", FIXTURES, name);
	expected = fopen(path, "re");
	assert_non_null(expected);
	while (fscanf(expected, "%llu %lld %lld", &user, &available, &frozen) == 3) {
		const struct hb_account *account =
			hb_account_find(&state->partition[hb_partition_of(user)], user);

		assert_non_null(account);
		assert_int_equal(account->available_fen, available);
		assert_int_equal(account->frozen_fen, frozen);
		lines++;
	}
	fclose(expected);
	assert_int_equal(lines, KEPT_USERS);
}

/* With its snapshot and without: the marks that the old program wrote agree both times. */
static void
check_replays(const char *name)
{
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	uint64_t hash[HB_PARTITION_COUNT];
	struct hb_state state;
	char path[512];

	if (rebuild(&state, &header, &result) != 0)
		fail_msg("%s: %s", name, f.error);
	assert_true(header.seq > 0);
	assert_int_equal(result.marks, HB_PARTITION_COUNT);
	check_balances(&state, name);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		hash[i] = state.partition[i].head->state_hash;
	hb_state_close(&state);
	snprintf(path, sizeof(path), "%s/snapshot/snapshot-%016llx", f.directory,
		(unsigned long long)header.seq);
	assert_int_equal(unlink(path), 0);
	if (rebuild(&state, &header, &result) != 0)
		fail_msg("%s without snapshot: %s", name, f.error);
	assert_int_equal(header.seq, 0);
	check_balances(&state, name);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		assert_int_equal(hash[i], state.partition[i].head->state_hash);
	hb_state_close(&state);
}

/* A node that is upgraded goes on behind what is there. */
static void
check_goes_on(const char *name)
{
	uint64_t records = 0, before;

	take(name);
	assert_int_equal(fixture_read(&f, &before), 0);
	if (fixture_open(&f) != 0)
		fail_msg("%s: %s", name, f.error);
	assert_int_equal(f.journal.next_seq, before + 1);
	assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
	fixture_close(&f);
	assert_int_equal(hb_snapshot_run(&f.config), 0);
	assert_int_equal(fixture_read(&f, &records), 0);
	assert_int_equal(records, before + 1);
	fixture_end(&f);
}

static int
is_fixture(const struct dirent *entry)
{
	return strncmp(entry->d_name, "journal-", 8) == 0;
}

static void
every_kept_journal_is_recovered_to_the_same_state(void **state)
{
	struct dirent **entries;
	int count = scandir(FIXTURES, &entries, is_fixture, alphasort);

	(void)state;
	assert_true(count >= FIXTURES_MIN);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		print_message("%s\n", name);
		take(name);
		check_replays(name);
		fixture_end(&f);
		check_goes_on(name);
		free(entries[i]);
	}
	free(entries);
}

static void
a_journal_of_a_later_version_is_refused_by_its_version(void **state)
{
	struct hb_superblock copy;

	(void)state;
	take("journal-1-snapshot-2");
	for (uint64_t at = 0; at < 2 * sizeof(copy); at += sizeof(copy)) {
		fixture_peek(&f, HB_JOURNAL_SUPERBLOCK_FILE, at, &copy, sizeof(copy));
		copy.version = HB_JOURNAL_VERSION + 1;
		copy.crc = hb_crc32c(&copy, offsetof(struct hb_superblock, crc));
		fixture_poke(&f, HB_JOURNAL_SUPERBLOCK_FILE, at, &copy, sizeof(copy));
	}
	assert_int_equal(fixture_open(&f), -EBADMSG);
	assert_non_null(strstr(f.error, "version 2"));
	assert_non_null(strstr(f.error, "newer program"));
	fixture_end(&f);
}

/* Going back to an older program: the journal alone gives the state. */
static void
a_snapshot_of_a_later_version_is_passed_over(void **state)
{
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	struct hb_state rebuilt;
	uint64_t seq[HB_SNAPSHOTS_MAX];
	char name[64];

	(void)state;
	take("journal-1-snapshot-2");
	assert_int_equal(hb_snapshot_list(f.directory, seq), 1);
	snprintf(name, sizeof(name), "snapshot/snapshot-%016llx", (unsigned long long)seq[0]);
	fixture_peek(&f, name, 0, &header, sizeof(header));
	header.version = HB_SNAPSHOT_VERSION + 1;
	header.crc = hb_crc32c(&header, offsetof(struct hb_snapshot_header, crc));
	fixture_poke(&f, name, 0, &header, sizeof(header));
	assert_int_equal(rebuild(&rebuilt, &header, &result), 0);
	assert_int_equal(header.seq, 0);
	check_balances(&rebuilt, "journal-1-snapshot-2");
	hb_state_close(&rebuilt);
	fixture_end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kept_journal_is_recovered_to_the_same_state),
		cmocka_unit_test(a_journal_of_a_later_version_is_refused_by_its_version),
		cmocka_unit_test(a_snapshot_of_a_later_version_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
