/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a fixture of tests/fixtures: make_kept DIR [JOURNAL]. Without JOURNAL the story is played
 * now; with it, a journal that an older checkout has played is made small, its `expected` beside
 * it. HACKING.md says when.
 */
#include "tests/persist/kept_story.h"

#include <errno.h>
#include <sys/stat.h>

#include "persist/backup.h"

int
main(int argc, char **argv)
{
	static struct fixture f;
	char error[HB_JOURNAL_ERROR_BYTES] = "", target[256], path[256];
	struct hb_backup_request request = {.target = target, .cut_seq = HB_BACKUP_CUT_AT_END};
	struct hb_backup_cut cut;
	FILE *expected;
	int rc;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: make_kept DIR [JOURNAL]\n");
		return 2;
	}
	snprintf(target, sizeof(target), "%s/journal", argv[1]);
	snprintf(path, sizeof(path), "%s/expected", argv[1]);
	if (mkdir(argv[1], 0755) != 0 || mkdir(target, 0755) != 0) {
		perror(argv[1]);
		return 1;
	}
	request.journal = argc == 3 ? argv[2] : f.directory;
	if (argc == 2) {
		expected = fopen(path, "we");
		if (expected == NULL)
			return 1;
		fixture_begin(&f);
		kept_story(&f, expected);
		fclose(expected);
	}
	rc = hb_backup_journal(&request, &cut, error);
	if (argc == 2)
		fixture_end(&f);
	if (rc != 0)
		fprintf(stderr, "make_kept: %s\n", error);
	else
		printf("%s: sequence %llu, %llu records\n", argv[1], (unsigned long long)cut.seq,
			(unsigned long long)cut.records);
	return rc == 0 ? 0 : 1;
}
