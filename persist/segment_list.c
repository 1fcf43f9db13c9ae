/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing of segment files. The list belongs to the caller; a process that dies here leaves
 * nothing.
 */
#include "persist/segment_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"

#define PREFIX	     "segment-"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)

static bool
parse_name(const char *name, struct hb_segment_entry *entry)
{
	const char *suffix = name + PREFIX_BYTES + HB_HEX_U64_DIGITS;

	if (strncmp(name, PREFIX, PREFIX_BYTES) != 0 ||
		!hb_hex_u64(name + PREFIX_BYTES, &entry->number))
		return false;
	entry->raw = strcmp(suffix, ".raw") == 0;
	entry->packed = strcmp(suffix, ".packed") == 0;
	return entry->number != 0 && (entry->raw || entry->packed);
}

static int
compare(const void *a, const void *b)
{
	const struct hb_segment_entry *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* raw and packed of one segment become one entry */
static void
merge(struct hb_segment_list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct hb_segment_entry *entry = &list->entry[i];

		if (kept > 0 && list->entry[kept - 1].number == entry->number) {
			list->entry[kept - 1].raw |= entry->raw;
			list->entry[kept - 1].packed |= entry->packed;
			continue;
		}
		list->entry[kept++] = *entry;
	}
	list->count = kept;
}

int
hb_segment_list_read(struct hb_segment_list *list, int dir_fd)
{
	size_t room = 0;
	struct dirent *file;
	DIR *directory;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*list = (struct hb_segment_list){0};
	if (fd < 0)
		return -errno;
	directory = fdopendir(fd);
	if (directory == NULL) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	while ((file = readdir(directory)) != NULL) {
		struct hb_segment_entry entry;

		if (!parse_name(file->d_name, &entry))
			continue;
		if (list->count == room) {
			size_t more = room == 0 ? 64 : room * 2;
			void *grown = reallocarray(list->entry, more, sizeof(*list->entry));

			if (grown == NULL) {
				closedir(directory);
				return -ENOMEM;
			}
			list->entry = grown;
			room = more;
		}
		list->entry[list->count++] = entry;
	}
	closedir(directory);
	if (list->count > 0) {
		qsort(list->entry, list->count, sizeof(*list->entry), compare);
		merge(list);
	}
	return 0;
}

void
hb_segment_list_free(struct hb_segment_list *list)
{
	free(list->entry);
	*list = (struct hb_segment_list){0};
}
