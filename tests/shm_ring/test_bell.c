/* SPDX-License-Identifier: Apache-2.0 */
/* White box: bells that cannot be made or shared, and what is left of them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static bool no_more_files;

static int
pipe2_of_test(int ends[2], int flags)
{
	if (!no_more_files)
		return pipe2(ends, flags);
	errno = EMFILE;
	return -1;
}

#define pipe2 pipe2_of_test
#include "shm/bell.c" /* NOLINT */
#undef pipe2

static void
a_bell_rings_once_however_often_it_is_rung(void **unused)
{
	struct hb_bell bell;
	uint64_t rung;

	(void)unused;
	assert_int_equal(hb_bell_make(&bell), 0);
	for (int i = 0; i < 10000; i++)
		hb_bell_ring(bell.ring); /* full means rung already */
	hb_bell_clear(bell.wait);
	assert_int_equal(read(bell.wait, &rung, sizeof(rung)), -1);
	assert_int_equal(errno, EAGAIN);
	hb_bell_close(&bell);
	hb_bell_close(&bell); /* nothing is left to close */
	assert_int_equal(bell.wait, -1);
}

static void
a_bell_that_cannot_be_made_leaves_nothing(void **unused)
{
	struct hb_bell bell;

	(void)unused;
	no_more_files = true;
	assert_int_equal(hb_bell_make(&bell), -EMFILE);
	no_more_files = false;
	assert_int_equal(bell.wait, -1);
	assert_int_equal(bell.ring, -1);
	hb_bell_close(&bell);
}

static void
an_end_that_is_closed_cannot_be_shared(void **unused)
{
	struct hb_bell bell;
	int shared, closed;

	(void)unused;
	assert_int_equal(hb_bell_make(&bell), 0);
	shared = hb_bell_share(bell.ring);
	assert_true(shared >= 0);
	hb_bell_ring(shared);
	close(shared);
	closed = bell.ring;
	hb_bell_close(&bell);
	assert_int_equal(hb_bell_share(closed), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bell_rings_once_however_often_it_is_rung),
		cmocka_unit_test(a_bell_that_cannot_be_made_leaves_nothing),
		cmocka_unit_test(an_end_that_is_closed_cannot_be_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
