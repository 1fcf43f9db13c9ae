/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A journal directory of a test's own, and short ways to fill, damage and read it.
 * Each test opens one and removes it; a test that fails leaves its directory for a look.
 */
#ifndef HB_TESTS_PERSIST_FIXTURE_H
#define HB_TESTS_PERSIST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "persist/journal.h"

struct fixture {
	struct hb_config config; /* segments of 1 MiB, 2 ready */
	char root[48];		 /* the node's directory */
	char directory[64];	 /* its journal */
	struct hb_journal journal;
	bool open;
	uint64_t core_sequence[HB_RING_COUNT]; /* last one made by fixture_grab */
	char error[HB_JOURNAL_ERROR_BYTES];
};

/** In memory (/dev/shm), so that a test may damage and read thousands of times. */
void fixture_begin(struct fixture *f);
/** On disk (/tmp). */
void fixture_begin_on_disk(struct fixture *f);
void fixture_end(struct fixture *f);

/** Open the journal for writing. @return hb_journal_open's answer, text in f->error */
int fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/** A GRAB record with this core sequence, sealed. */
struct hb_record_grab fixture_record(uint16_t ring, uint64_t core_sequence);
/** Add the next GRAB of a ring to the frame being built; asserts that it is taken. */
void fixture_add(struct fixture *f, uint16_t ring);
/** Write the frame being built. */
void fixture_write(struct fixture *f);
/** One frame with `count` records, spread over the rings. */
void fixture_frame(struct fixture *f, uint32_t count);

/**
 * Read everything with a new reader, checking that sequences are consecutive from 1.
 * @param records how many came
 * @return what the reader ended with: 0 or -errno, text in f->error
 */
int fixture_read(struct fixture *f, uint64_t *records);

/** Bytes of a file of the directory. */
void fixture_peek(struct fixture *f, const char *name, uint64_t offset, void *bytes, size_t length);
void fixture_poke(
	struct fixture *f, const char *name, uint64_t offset, const void *bytes, size_t length);
void fixture_flip(struct fixture *f, const char *name, uint64_t offset);
bool fixture_exists(struct fixture *f, const char *name);

/** Set the superblock's durable hint. */
void fixture_hint(struct fixture *f, uint64_t seq);

#define RAW_1	 "segment-0000000000000001.raw"
#define RAW_2	 "segment-0000000000000002.raw"
#define PACKED_1 "segment-0000000000000001.packed"

#endif
