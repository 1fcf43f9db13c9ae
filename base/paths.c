/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Joining of the node directory with the relative paths of paths.h. Keeps no memory.
 */
#include "base/paths.h"

#include <stdio.h>

#include "base/assert.h"

void
hb_path(char out[HB_PATH_MAX], const char *node_directory, const char *relative)
{
	int length = snprintf(out, HB_PATH_MAX, "%s/%s", node_directory, relative);

	HB_ASSERT(length > 0 && length < HB_PATH_MAX);
}
