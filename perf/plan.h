/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A plan: the requests of a load run, written ahead by a script and mapped by the generator, so
 * that making a request costs three copies.
 *
 * Little endian, no padding:
 *   8 bytes "HBPLAN1\n", u32 header count, u32 request count,
 *   header count  x { u32 length, bytes }: whole header lines that many requests share,
 *                     each ending in CR LF (Host, Authorization, Content-Type),
 *   request count x { u32 header, u16 line length, u16 body length, line, body }: the line is
 *                     "POST /v1/… HTTP/1.1" with CR LF.
 * The generator adds Content-Length and the empty line. The mapping lives as long as the plan.
 */
#ifndef HB_PERF_PLAN_H
#define HB_PERF_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define HB_PLAN_MAGIC		  "HBPLAN1\n"
#define HB_PLAN_REQUEST_BYTES_MAX 4096 /* of one request as it goes out */

struct hb_plan_piece {
	const uint8_t *bytes;
	uint32_t length;
};

struct hb_plan {
	uint8_t *map;
	size_t map_bytes;
	uint32_t header_count;
	uint32_t request_count;
	struct hb_plan_piece *headers;
	const uint8_t **requests; /* where each begins */
};

/**
 * Map a plan and check every length in it.
 * @param error says what is wrong on failure
 * @return 0 or -errno (-EPROTO: not a whole plan)
 */
int hb_plan_open(struct hb_plan *plan, const char *path, char error[256]);
void hb_plan_close(struct hb_plan *plan);

/**
 * Write request `index` as it goes to the server.
 * @return its length in bytes
 */
uint32_t hb_plan_request(
	const struct hb_plan *plan, uint32_t index, uint8_t out[HB_PLAN_REQUEST_BYTES_MAX]);

#endif
