/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a fuzz target is: one function over bytes from outside, in libFuzzer's form. Built twice:
 * with clang and libFuzzer by `./hongbao fuzz`, and with replay.c as a unit test that runs the kept
 * corpus and some thousand mutations of it.
 *
 * A target asserts what must hold for every input (HB_ASSERT ends the process, which a fuzzer
 * reports), so it looks for wrong answers and not only for crashes.
 */
#ifndef HB_TESTS_FUZZ_H
#define HB_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

/** Run one input. @return 0 */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Inputs are read from their front, like a file. */
struct hb_fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t
hb_fuzz_byte(struct hb_fuzz_input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

/* Up to the next byte of zero, which is taken away. */
static inline size_t
hb_fuzz_text(struct hb_fuzz_input *input, const char **text)
{
	size_t n = 0;

	*text = (const char *)input->at;
	while (n < input->left && input->at[n] != 0)
		n++;
	input->at += n < input->left ? n + 1 : n;
	input->left -= n < input->left ? n + 1 : n;
	return n;
}

#endif
