/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Assertions that stay on in every build.
 *
 * An assertion states what our own code guarantees; input from outside is never asserted, it is
 * refused. A failed assertion ends the process at once: the journal is the truth and a restart
 * heals, while wrong money in memory does not. This header depends on no other of ours.
 */
#ifndef HB_BASE_ASSERT_H
#define HB_BASE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

/** Report the failed expression on standard error and abort. */
_Noreturn static inline void
hb_assert_failed(const char *expression, const char *file, int line)
{
	fprintf(stderr, "level=fatal event=assertion_failed expression=\"%s\" at=%s:%d\n",
		expression, file, line);
	abort();
}

#define HB_ASSERT(expression)                                                                      \
	do {                                                                                       \
		if (__builtin_expect(!(expression), 0))                                            \
			hb_assert_failed(#expression, __FILE__, __LINE__);                         \
	} while (0)

#endif
