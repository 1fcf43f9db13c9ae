/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading of plans (plan.h). The plan owns its mapping and its two index tables. A plan is input:
 * what is wrong with it is said, never asserted. If the process dies nothing is left behind.
 */
#include "perf/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

#define REQUEST_HEAD_BYTES   8	/* u32 header, u16 line length, u16 body length */
#define CONTENT_LENGTH_BYTES 40 /* room for "Content-Length: 65535" and the empty line */

static uint32_t
load_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint16_t
load_u16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static int
map_file(struct hb_plan *plan, const char *path, char error[256])
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = 0;

	if (fd < 0 || fstat(fd, &status) != 0) {
		result = -errno;
		goto out;
	}
	if (status.st_size < 16) {
		result = -EPROTO;
		goto out;
	}
	plan->map_bytes = (size_t)status.st_size;
	plan->map = mmap(NULL, plan->map_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (plan->map == MAP_FAILED) {
		plan->map = NULL;
		result = -errno;
	}
out:
	if (fd >= 0)
		close(fd);
	if (result != 0)
		snprintf(error, 256, "plan %s: %s", path, strerror(-result));
	return result;
}

/* Index the shared headers. Returns the offset behind them, 0 when they are damaged. */
static size_t
index_headers(struct hb_plan *plan, size_t at)
{
	for (uint32_t i = 0; i < plan->header_count; i++) {
		if (plan->map_bytes - at < 4)
			return 0;
		uint32_t length = load_u32(plan->map + at);

		at += 4;
		if (plan->map_bytes - at < length)
			return 0;
		plan->headers[i].bytes = plan->map + at;
		plan->headers[i].length = length;
		at += length;
	}
	return at;
}

/* Index the requests and check that each fits into what goes out. */
static size_t
index_requests(struct hb_plan *plan, size_t at)
{
	for (uint32_t i = 0; i < plan->request_count; i++) {
		if (plan->map_bytes - at < REQUEST_HEAD_BYTES)
			return 0;
		const uint8_t *head = plan->map + at;
		uint32_t header = load_u32(head);
		size_t tail = (size_t)load_u16(head + 4) + load_u16(head + 6);

		if (header >= plan->header_count ||
			plan->map_bytes - at - REQUEST_HEAD_BYTES < tail ||
			tail + plan->headers[header].length + CONTENT_LENGTH_BYTES >
				HB_PLAN_REQUEST_BYTES_MAX)
			return 0;
		plan->requests[i] = head;
		at += REQUEST_HEAD_BYTES + tail;
	}
	return at;
}

int
hb_plan_open(struct hb_plan *plan, const char *path, char error[256])
{
	memset(plan, 0, sizeof(*plan));
	int result = map_file(plan, path, error);

	if (result != 0)
		return result;
	plan->header_count = load_u32(plan->map + 8);
	plan->request_count = load_u32(plan->map + 12);
	plan->headers = calloc((size_t)plan->header_count + 1, sizeof(*plan->headers));
	plan->requests = calloc((size_t)plan->request_count + 1, sizeof(*plan->requests));
	if (plan->headers == NULL || plan->requests == NULL) {
		snprintf(error, 256, "plan %s: no memory for its index", path);
		hb_plan_close(plan);
		return -ENOMEM;
	}

	size_t end = 0;

	if (memcmp(plan->map, HB_PLAN_MAGIC, 8) == 0)
		end = index_headers(plan, 16);
	if (end != 0)
		end = index_requests(plan, end);
	if (end != plan->map_bytes) {
		snprintf(error, 256, "plan %s: not a whole plan of this version; write it anew",
			path);
		hb_plan_close(plan);
		return -EPROTO;
	}
	return 0;
}

void
hb_plan_close(struct hb_plan *plan)
{
	if (plan->map != NULL)
		munmap(plan->map, plan->map_bytes);
	free(plan->headers);
	free(plan->requests);
	memset(plan, 0, sizeof(*plan));
}

static uint32_t
append(uint8_t *out, uint32_t at, const void *bytes, uint32_t length)
{
	memcpy(out + at, bytes, length);
	return at + length;
}

uint32_t
hb_plan_request(const struct hb_plan *plan, uint32_t index, uint8_t out[HB_PLAN_REQUEST_BYTES_MAX])
{
	HB_ASSERT(index < plan->request_count);
	const uint8_t *head = plan->requests[index];
	const struct hb_plan_piece *header = &plan->headers[load_u32(head)];
	uint16_t line_length = load_u16(head + 4);
	uint16_t body_length = load_u16(head + 6);
	const uint8_t *line = head + REQUEST_HEAD_BYTES;
	uint32_t at = append(out, 0, line, line_length);

	at = append(out, at, header->bytes, header->length);
	if (body_length > 0)
		at += (uint32_t)snprintf((char *)out + at, CONTENT_LENGTH_BYTES,
			"Content-Length: %u\r\n\r\n", body_length);
	else
		at = append(out, at, "\r\n", 2);
	return append(out, at, line + line_length, body_length);
}
