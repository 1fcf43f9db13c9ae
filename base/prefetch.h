/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Ask for a line of memory before it is needed. Reads and writes nothing; any address will do.
 *
 * Written as instructions and not with __builtin_prefetch: to gcc 12 a function that only
 * prefetches is one without effect, and it drops the calls of it, even of an inline one.
 * PREFETCHW is a no-operation where a processor does not have it.
 */
#ifndef HB_BASE_PREFETCH_H
#define HB_BASE_PREFETCH_H

/** A line that will be read. */
static inline void
hb_prefetch(const void *at)
{
	__asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)at));
}

/** A line that will be written. */
static inline void
hb_prefetch_write(const void *at)
{
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
}

#endif
