/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Framed TCP: what a frame that a user sent must be before it goes to the dataplane, and the hello
 * that says who he is (docs/frames.md, "Frames over TCP").
 *
 * Plain C without nginx, without input or output and without state, like gateway.h beside it. All
 * memory belongs to the caller; dying in here leaves nothing behind. Any thread.
 */
#ifndef HB_FRONT_FRAMED_H
#define HB_FRONT_FRAMED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "front/jwt.h"
#include "shm/frame.h"

#define HB_FRAMED_HELLO		  0 /* an operation of the front alone; no ring carries it */
#define HB_FRAMED_HELLO_BYTES_MAX (sizeof(struct hb_frame) + HB_JWT_BYTES_MAX)

/**
 * How many bytes the frame at `at` has, by its head.
 * @param bytes that are there; at least sizeof(struct hb_frame)
 * @return its length; 0 when the head breaks the format so that no next frame can be found
 */
uint32_t hb_framed_length(const struct hb_frame *frame);

/**
 * Find the user token of a hello.
 * @param frame whole, its operation is HB_FRAMED_HELLO
 * @param length filled; the text lies behind the head and is not NUL terminated
 * @return the text, or NULL when the hello breaks the format
 */
const char *hb_framed_token(const struct hb_frame *frame, size_t *length);

/**
 * Check a frame for its user and complete it: user and group are what his token vouches for.
 * @param frame whole, its operation is not HB_FRAMED_HELLO; changed only when OK is returned
 * @param identity of the last hello; NULL when there was none
 * @param now_s Unix seconds
 * @return OK; UNAUTHORIZED (no hello, or the token has expired), FRAME_INVALID, FRAME_VERSION;
 *         NOT_ALLOWED (an operation users do not have, another one's account, or an idempotency
 *         key: a user's money token and its sequence are his)
 */
enum hb_status hb_framed_admit(
	struct hb_frame *frame, const struct hb_identity *identity, int64_t now_s);

/**
 * Make a reply of the front itself.
 * @param frame its operation and correlation come back
 */
void hb_framed_reply(struct hb_reply *reply, const struct hb_frame *frame, enum hb_status status);

#endif
