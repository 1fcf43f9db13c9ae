/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Which segment files a journal directory has. A snapshot of a moment: files come and go while
 * the writer lives, so users cope with a name that has vanished.
 */
#ifndef HB_PERSIST_SEGMENT_LIST_H
#define HB_PERSIST_SEGMENT_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hb_segment_entry {
	uint64_t number;
	bool raw;
	bool packed;
};

struct hb_segment_list {
	struct hb_segment_entry *entry; /* ascending by number; from malloc */
	size_t count;
};

/** @return 0 or -errno; free with hb_segment_list_free in any case */
int hb_segment_list_read(struct hb_segment_list *list, int dir_fd);
void hb_segment_list_free(struct hb_segment_list *list);

#endif
