/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options by the three ways they come in; the first byte says which. F: a configuration file. O:
 * lines KEY=VALUE as -o takes them. E: lines NAME=VALUE of the environment. What is taken, printed
 * and read again is the same; what is refused has a reason. What a running process takes over from
 * it are options that may change while it runs, and no others.
 *
 * Parsers: base/config.c without hb_config_print* print_* hb_config_*_name refuse parse_arguments
 * hb_config_from_arguments hb_config_read_again hb_config_reload log_change
 *
 * The last six: the command line is read by getopt and a mistake in it ends the process
 * (tests/base/test_config.c starts one for each); a reload reads the same file again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX 8192
#define LINES_MAX	16

static struct hb_config config;
static char path[64];
static int fd = -1;

static void
write_file(const void *bytes, size_t length)
{
	if (fd < 0) {
		fd = memfd_create("config", MFD_CLOEXEC);
		HB_ASSERT(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	HB_ASSERT(ftruncate(fd, 0) == 0);
	HB_ASSERT(pwrite(fd, bytes, length, 0) == (ssize_t)length);
}

static int
from_file(const uint8_t *bytes, size_t length, char error[256])
{
	write_file(bytes, length);
	return hb_config_load(&config, path, error);
}

/* Options -o one after another, as long as they are taken. */
static int
from_assignments(char *text, char error[256])
{
	int result = hb_config_load(&config, NULL, error);
	char *kept = NULL;

	for (char *line = strtok_r(text, "\n", &kept); result == 0 && line != NULL;
		line = strtok_r(NULL, "\n", &kept))
		result = hb_config_set(&config, line, error);
	return result;
}

static int
from_environment(char *text, char error[256])
{
	char *line[LINES_MAX], *kept = NULL;
	int count = 0;
	int result;

	for (char *at = strtok_r(text, "\n", &kept); at != NULL && count < LINES_MAX;
		at = strtok_r(NULL, "\n", &kept)) {
		char *equals = strchr(at, '=');

		if (equals == NULL || strncmp(at, "HB_", 3) != 0)
			continue;
		*equals = '\0';
		HB_ASSERT(setenv(at, equals + 1, 1) == 0);
		line[count++] = at;
	}
	result = hb_config_load(&config, NULL, error);
	while (count > 0)
		HB_ASSERT(unsetenv(line[--count]) == 0);
	return result;
}

static void
count_change(void *context, const char *key, const char *before, const char *after)
{
	HB_ASSERT(strcmp(before, after) != 0);
	*(uint32_t *)context += hb_config_live_of(key) == 0;
}

/* Printed and read again it is the same. */
static void
check_printed(void)
{
	static struct hb_config again;
	static char printed[1 << 17];
	char error[256];
	FILE *out = fmemopen(printed, sizeof(printed), "w");

	HB_ASSERT(out != NULL);
	hb_config_print(&config, out);
	HB_ASSERT(fclose(out) == 0);
	write_file(printed, strlen(printed));
	HB_ASSERT(hb_config_load(&again, path, error) == 0);
	HB_ASSERT(memcmp(&config, &again, sizeof(config)) == 0);
}

/* A process with the defaults takes over what may change, and differs in the rest alone. */
static void
check_reload(void)
{
	static struct hb_config running;
	uint32_t fixed_before = 0, fixed_after = 0;

	hb_config_defaults(&running);
	hb_config_compare(&running, &config, count_change, &fixed_before);
	hb_config_take_live(&running, &config, UINT32_MAX);
	hb_config_compare(&running, &config, count_change, &fixed_after);
	HB_ASSERT(fixed_before == fixed_after);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static char text[INPUT_BYTES_MAX + 1];
	struct hb_fuzz_input input = {bytes, length};
	uint8_t way = hb_fuzz_byte(&input);
	char error[256] = "";
	int result;

	/* An include would read files that are no part of the input. */
	if (input.left > INPUT_BYTES_MAX || memmem(input.at, input.left, "@include", 8) != NULL)
		return 0;
	memcpy(text, input.at, input.left);
	text[input.left] = '\0';
	if (way == 'O')
		result = from_assignments(text, error);
	else if (way == 'E')
		result = from_environment(text, error);
	else
		result = from_file(input.at, input.left, error);
	if (result != 0) {
		HB_ASSERT(error[0] != '\0');
		return 0;
	}
	check_printed();
	check_reload();
	return 0;
}
