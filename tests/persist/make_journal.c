/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a small journal and runs a command on its directory: make_journal COMMAND ARGUMENT…
 * The command gets the directory and what it must find there: --expect, --grabs, --packed.
 * For readers that share no code with the product.
 */
#include "tests/persist/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int
run(struct fixture *f, char **argv, uint64_t expected, uint64_t grabs)
{
	char seq[24], count[24];
	int status = -1;
	pid_t pid;

	snprintf(seq, sizeof(seq), "%llu", (unsigned long long)expected);
	snprintf(count, sizeof(count), "%llu", (unsigned long long)grabs);
	pid = fork();
	if (pid == 0) {
		execl(argv[1], argv[1], f->directory, "--expect", seq, "--grabs", count, "--packed",
			"1", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int
main(int argc, char **argv)
{
	static struct fixture f;
	char error[HB_JOURNAL_ERROR_BYTES];
	uint64_t grabs = 0, last;
	int rc;

	if (argc != 2)
		return 2;
	fixture_begin(&f);
	for (int start = 0; start < 2; start++) {
		assert_int_equal(fixture_open(&f), 0);
		assert_int_equal(hb_journal_begin_epoch(&f.journal, true), 0);
		for (uint32_t i = 0; i < 150; i++) {
			fixture_frame(&f, 1 + i % 7);
			grabs += 1 + i % 7;
		}
		/* roll into segment 2 */
		for (uint32_t i = 0; start == 0 && i < 150; i++) {
			fixture_frame(&f, 1);
			grabs++;
		}
		fixture_close(&f);
	}
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(f.journal.segment_number, 2);
	last = hb_committed_seq(&f.journal.commit);
	assert_int_equal(hb_pack_segment(&f.journal, 1, error), 0);
	fixture_close(&f);
	rc = run(&f, argv, last, grabs);
	/* and it must notice when something is wrong */
	if (rc == 0) {
		fixture_flip(&f, RAW_2, 300);
		rc = run(&f, argv, last, grabs) == 1 ? 0 : 1;
	}
	fixture_end(&f);
	return rc;
}
