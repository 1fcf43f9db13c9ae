/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: every file of its corpus, then mutations of them, drawn
 * from a printed seed. So the corpus is a unit test with any compiler.
 *
 *   fuzz_TARGET CORPUS [MUTATIONS [SEED]]
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fuzz/fuzz.h"

#define FILES_MAX	  4096
#define INPUT_BYTES_MAX	  65536
#define MUTATIONS_DEFAULT 3000

struct file {
	uint8_t *bytes;
	size_t length;
};

static struct file files[FILES_MAX];
static size_t file_count;
static uint64_t random_state;

static uint64_t
draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void
load(const char *folder, const char *name)
{
	char path[4096];
	struct file *file = &files[file_count];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	stream = fopen(path, "re");
	HB_ASSERT(stream != NULL);
	file->bytes = malloc(INPUT_BYTES_MAX);
	HB_ASSERT(file->bytes != NULL);
	file->length = fread(file->bytes, 1, INPUT_BYTES_MAX, stream);
	HB_ASSERT(fclose(stream) == 0);
	file_count++;
}

static void
load_all(const char *folder)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;

	if (directory == NULL) {
		fprintf(stderr, "%s: %s\n", folder, strerror(errno));
		exit(2);
	}
	while ((entry = readdir(directory)) != NULL && file_count < FILES_MAX)
		if (entry->d_name[0] != '.')
			load(folder, entry->d_name);
	closedir(directory);
}

/* Change, insert, remove or copy a few bytes. */
static size_t
mutate(uint8_t *bytes, size_t length)
{
	for (uint64_t n = 1 + draw() % 6; n > 0; n--) {
		size_t at = length == 0 ? 0 : draw() % length;

		switch (draw() % 5) {
		case 0:
			if (length > 0)
				bytes[at] ^= (uint8_t)(1u << draw() % 8);
			break;
		case 1:
			if (length > 0)
				bytes[at] = (uint8_t)draw();
			break;
		case 2:
			if (length < INPUT_BYTES_MAX) {
				memmove(bytes + at + 1, bytes + at, length - at);
				bytes[at] = (uint8_t)draw();
				length++;
			}
			break;
		case 3:
			if (length > 0) {
				memmove(bytes + at, bytes + at + 1, length - at - 1);
				length--;
			}
			break;
		default:
			if (length > 8) {
				size_t from = draw() % (length - 8);

				memmove(bytes + draw() % (length - 8), bytes + from,
					1 + draw() % 8);
			}
		}
	}
	return length;
}

/* Each input in memory of its own length, so that a sanitizer sees what is read beyond. */
static void
run(const uint8_t *bytes, size_t length)
{
	uint8_t *own = malloc(length == 0 ? 1 : length);

	HB_ASSERT(own != NULL);
	memcpy(own, bytes, length);
	(void)LLVMFuzzerTestOneInput(own, length);
	free(own);
}

int
main(int argc, char **argv)
{
	uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 0) : MUTATIONS_DEFAULT;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL);
	uint8_t *bytes = malloc(INPUT_BYTES_MAX);

	if (argc < 2) {
		fprintf(stderr, "usage: %s CORPUS [MUTATIONS [SEED]]\n", argv[0]);
		return 2;
	}
	HB_ASSERT(bytes != NULL);
	load_all(argv[1]);
	HB_ASSERT(file_count > 0);
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	random_state = seed * 2 + 1;
	for (size_t i = 0; i < file_count; i++)
		run(files[i].bytes, files[i].length);
	for (uint64_t n = 0; n < mutations; n++) {
		const struct file *file = &files[draw() % file_count];

		memcpy(bytes, file->bytes, file->length);
		run(bytes, mutate(bytes, file->length));
	}
	printf("%zu files and %llu mutations\n", file_count, (unsigned long long)mutations);
	for (size_t i = 0; i < file_count; i++)
		free(files[i].bytes);
	free(bytes);
	return 0;
}
