/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files. What is taken, printed and read again is the same; what is refused has a
 * reason.
 *
 * Parsers: base/config.c
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX 8192

static void
write_file(int fd, const void *bytes, size_t length)
{
	HB_ASSERT(ftruncate(fd, 0) == 0);
	HB_ASSERT(pwrite(fd, bytes, length, 0) == (ssize_t)length);
}

/* An include would read files that are no part of the input. */
static bool
includes(const uint8_t *bytes, size_t length)
{
	return memmem(bytes, length, "@include", 8) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct hb_config config, again;
	static char printed[1 << 17];
	static int fd = -1;
	char path[64], error[256] = "";
	FILE *out;

	if (length > INPUT_BYTES_MAX || includes(bytes, length))
		return 0;
	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	HB_ASSERT(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	write_file(fd, bytes, length);
	hb_config_defaults(&config);
	if (hb_config_load(&config, path, error) != 0) {
		HB_ASSERT(error[0] != '\0');
		return 0;
	}
	out = fmemopen(printed, sizeof(printed), "w");
	HB_ASSERT(out != NULL);
	hb_config_print(&config, out);
	HB_ASSERT(fclose(out) == 0);
	write_file(fd, printed, strlen(printed));
	hb_config_defaults(&again);
	HB_ASSERT(hb_config_load(&again, path, error) == 0);
	HB_ASSERT(memcmp(&config, &again, sizeof(config)) == 0);
	return 0;
}
