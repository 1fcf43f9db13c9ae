/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What control tells the users' event streams: one message per packet of a SEQPACKET socket, from
 * control (controlplane/token_push.c) to every nginx worker (front/ngx_hb_tokens.c). The worker
 * that holds a stream of the user writes it there; the others drop it.
 *
 * Nothing is kept: a message that finds no stream, or a worker too slow to take it, is lost, and
 * its user asks again. Only the format is here.
 */
#ifndef HB_SHM_PUSH_H
#define HB_SHM_PUSH_H

#include <stddef.h>
#include <stdint.h>

#define HB_PUSH_MAGIC	   UINT32_C(0x75706268) /* "hbpu" */
#define HB_PUSH_VERSION	   1
#define HB_PUSH_TEXT_BYTES 480

struct hb_push {
	uint32_t magic;
	uint32_t version;
	uint64_t user;
	char text[HB_PUSH_TEXT_BYTES]; /* JSON in one line; the message ends with it, without NUL */
};
#define HB_PUSH_HEAD_BYTES offsetof(struct hb_push, text)
_Static_assert(sizeof(struct hb_push) == 496, "push");

#endif
