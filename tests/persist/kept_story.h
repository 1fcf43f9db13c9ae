/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The story that every kept journal of tests/fixtures tells, and what must be known after it.
 *
 * It uses only what every version of the engine's and the journal's test helpers has, so that it
 * can be built with an older checkout: that is how the fixtures of versions before were made.
 */
#ifndef HB_TESTS_PERSIST_KEPT_STORY_H
#define HB_TESTS_PERSIST_KEPT_STORY_H

#include <stdio.h>

#include "tests/persist/fixture.h"

#define KEPT_USERS 24
#define KEPT_NODE  7

/** The capacities that a kept journal is read with. */
void kept_configure(struct hb_config *config);

/**
 * Play into a new journal: accounts, packets, grabs; a snapshot in the middle; marks at the end.
 * @param expected gets a line per user: account, available and frozen fen
 */
void kept_story(struct fixture *f, FILE *expected);

#endif
