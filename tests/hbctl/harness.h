/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of hbctl share: a context that writes into memory, and command lines as one text.
 */
#ifndef TESTS_HBCTL_HARNESS_H
#define TESTS_HBCTL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/hbctl/hbctl.h"

struct harness {
	struct hbctl hbctl;
	char *out;
	char *err;
	size_t out_bytes;
	size_t err_bytes;
	char line[512];
	char *words[32];
	char error[HBCTL_ERROR_BYTES];
};

static inline void
harness_open(struct harness *h)
{
	memset(h, 0, sizeof(*h));
	hb_config_defaults(&h->hbctl.config);
	h->hbctl.persist_fd = -1;
	h->hbctl.out = open_memstream(&h->out, &h->out_bytes);
	h->hbctl.err = open_memstream(&h->err, &h->err_bytes);
	assert_non_null(h->hbctl.out);
	assert_non_null(h->hbctl.err);
}

static inline const char *
harness_out(struct harness *h)
{
	fflush(h->hbctl.out);
	return h->out;
}

static inline const char *
harness_err(struct harness *h)
{
	fflush(h->hbctl.err);
	return h->err;
}

static inline void
harness_close(struct harness *h)
{
	hbctl_persist_close(&h->hbctl);
	fclose(h->hbctl.out);
	fclose(h->hbctl.err);
	free(h->out);
	free(h->err);
}

/* Parse "hbctl <line>", words parted by one space. */
static inline int
harness_parse(struct harness *h, const char *line)
{
	int count = 0;
	char *rest;

	snprintf(h->line, sizeof(h->line), "hbctl %s", line);
	for (char *word = strtok_r(h->line, " ", &rest); word != NULL && count < 31;
		word = strtok_r(NULL, " ", &rest))
		h->words[count++] = word;
	h->words[count] = NULL;
	return hbctl_parse(&h->hbctl, count, h->words, h->error);
}

#endif
