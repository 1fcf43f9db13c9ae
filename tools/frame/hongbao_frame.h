/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The client library of frames over UDP (docs/frames.md): for fronts on other machines.
 *
 * One struct hb_front is one UDP socket with one key, for one thread. Requests are put in, sent
 * together in as few datagrams as possible, and asked again until they are answered or their time
 * is over. Asking again is safe: a GRAB of a winner hears the same share, and money operations are
 * kept apart by token and sequence or by idempotency key. A request without an answer in time has
 * an unknown outcome: ask again with the same sequence.
 *
 * The library has no threads, allocates only in hb_front_open, and needs no DPDK. Everything that
 * comes from the network is checked before it is believed. If the process dies, nothing is left.
 */
#ifndef HONGBAO_FRAME_H
#define HONGBAO_FRAME_H

#include <stdint.h>

#include "shm/frame.h"

#define HB_FRONT_REQUESTS_MAX 4096 /* of one hb_front_ask */
#define HB_FRONT_ERROR_BYTES  160

struct hb_front_options {
	const char *address; /* IPv4 of the node's port, such as "10.0.0.1" */
	uint16_t udp_base;   /* the node's port.udp_base; 0 = 7400 */
	uint32_t lcores; /* the node's dataplane.lcores; 0 = 1. A wrong number costs a hop only */
	uint32_t key_id;
	uint8_t key[16];
	uint32_t again_ms;    /* ask again after; doubled each time up to 8 times; 0 = 20 */
	uint32_t deadline_ms; /* give up after; 0 = 2000 */
};

struct hb_front;

/* A request with room for its answer; the caller's. */
struct hb_front_request {
	const struct hb_frame *frame; /* version, length, operation, target and what belongs to it;
				       * issue time and correlation are filled in here */
	struct hb_reply *reply; /* room for HB_REPLY_BYTES_MAX bytes; status is only read here */
	int error;		/* 0: answered; -ETIMEDOUT: outcome unknown; -EMSGSIZE */
};

/**
 * Open the socket.
 * @param error one sentence on failure
 * @return 0 or -errno
 */
int hb_front_open(struct hb_front **front, const struct hb_front_options *options,
	char error[HB_FRONT_ERROR_BYTES]);
void hb_front_close(struct hb_front *front);

/**
 * Ask all requests and wait until each is answered or options.deadline_ms is over. BUSY is asked
 * again like no answer.
 * @param count 1..HB_FRONT_REQUESTS_MAX
 * @return how many were answered; each request says so itself
 */
uint32_t hb_front_ask(struct hb_front *front, struct hb_front_request *requests, uint32_t count);

/** Datagrams sent, and requests asked again, since the opening. */
void hb_front_counts(const struct hb_front *front, uint64_t *datagrams, uint64_t *again);

#endif
