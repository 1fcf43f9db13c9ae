/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The client of a dataplane on the same machine: attach, send frames, get replies.
 *
 * Used by nginx workers (no ngx_ type here), control, hbctl and the benchmarks. One handle belongs
 * to one thread. The attach socket is the ring's lifetime: when it hangs up, every request without
 * a reply has an unknown outcome, and the client attaches again.
 *
 * Handshake on the dataplane's SEQPACKET socket: the client sends hb_attach_hello; the dataplane
 * answers hb_attach_welcome with descriptors (SCM_RIGHTS): client segment, client's bell, node
 * segment (read only), then one bell per lcore (shm/bell.h). Which operations the ring may carry is
 * decided by the dataplane from the peer's uid, never by the client.
 *
 * The client segment: guard, then per lcore a request ring (client -> lcore) and a reply ring
 * (lcore -> client), control parts in hb_client_layout, data behind. Frames are put on the ring of
 * the lcore that owns the partition of their target.
 */
#ifndef HB_SHM_CLIENT_H
#define HB_SHM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/frame.h"
#include "shm/limits.h"
#include "shm/ring.h"
#include "shm/segment.h"

#define HB_ATTACH_MAGIC	  0x68626174u /* "hbat" */
#define HB_ATTACH_VERSION 1

struct hb_attach_hello {
	uint32_t magic;
	uint32_t version;
	uint64_t layout_hash;
	uint32_t request_bytes; /* wanted per ring, a power of two >= 4096; 0 = default */
	uint32_t reply_bytes;
	char name[32]; /* for people */
};
_Static_assert(sizeof(struct hb_attach_hello) == 56, "attach hello");

struct hb_attach_welcome {
	uint32_t magic;
	uint32_t version;
	uint64_t layout_hash;
	int32_t error; /* 0, or an errno value; then no descriptors come and `message` says why */
	uint32_t lcore_count;
	uint64_t operation_mask;
	uint64_t generation;
	uint32_t request_bytes;
	uint32_t reply_bytes;
	uint8_t lcore_of_partition[HB_PARTITION_COUNT];
	char message[160];
};
_Static_assert(sizeof(struct hb_attach_welcome) == 224, "attach welcome");

/* At HB_SEGMENT_GUARD_BYTES of the client segment. */
struct hb_client_layout {
	struct hb_ring request[HB_LCORE_COUNT_MAX];
	struct hb_ring reply[HB_LCORE_COUNT_MAX];
};
#define HB_CLIENT_DATA_OFFSET (HB_SEGMENT_GUARD_BYTES + 12288)
_Static_assert(sizeof(struct hb_client_layout) <= 12288, "client layout");
/* request data of lcore i at DATA + i * (request + reply bytes), its reply data behind it. */

#define HB_CLIENT_REQUEST_BYTES_DEFAULT 65536
#define HB_CLIENT_REPLY_BYTES_DEFAULT	262144

struct hb_client;

/** A reply; valid during the call only. */
typedef void hb_client_reply_fn(void *context, const struct hb_reply *reply);

/**
 * Attach. SIGPIPE is ignored from then on, unless the program handles it.
 * @param name for people, at most 31 bytes
 * @param error filled on failure with a sentence that says what is wrong
 * @return 0, or -errno (-ECONNREFUSED and -ENOENT: no dataplane there)
 */
int hb_client_open(struct hb_client **client, const char *socket_path, const char *name,
	uint32_t request_bytes, uint32_t reply_bytes, char error[160]);
void hb_client_close(struct hb_client *client);

/** Readable when replies came while the client slept. Read 8 bytes to reset it (non-blocking). */
int hb_client_wake_fd(const struct hb_client *client);
/** Hangs up (readable, EOF) when the dataplane is gone. */
int hb_client_socket_fd(const struct hb_client *client);
uint64_t hb_client_operation_mask(const struct hb_client *client);
uint32_t hb_client_lcore_count(const struct hb_client *client);
/** The dataplane's counters and lcore lines, read only: shm/node.h. */
const struct hb_segment *hb_client_node_segment(const struct hb_client *client);

/**
 * Put a frame on its owner's ring; it becomes visible with hb_client_flush.
 * @param frame its `length` bytes are copied; version, length and issued_s must be set
 * @return 0, -EAGAIN when the ring is full (nothing was sent)
 */
int hb_client_send(struct hb_client *client, const struct hb_frame *frame);
/** Publish what was sent and wake owners that sleep. */
void hb_client_flush(struct hb_client *client);

/**
 * Deliver up to `max` replies.
 * @return how many, or -EPROTO when the rings are damaged: close and attach again
 */
int hb_client_poll(struct hb_client *client, hb_client_reply_fn *fn, void *context, unsigned max);

/** Announce sleep. @return true when nothing is there and blocking on the wake fd is safe. */
bool hb_client_sleep(struct hb_client *client);
/** After waking, or when sleep was refused. Resets the wake fd. */
void hb_client_awake(struct hb_client *client);

/**
 * Send one frame and wait for its reply (tools and control; never in nginx).
 * @param reply room for HB_REPLY_BYTES_MAX bytes
 * @return 0, -ETIMEDOUT or -EPIPE (outcome unknown), -EAGAIN (not sent)
 */
int hb_client_call(struct hb_client *client, struct hb_frame *frame, struct hb_reply *reply,
	uint32_t timeout_ms);

#endif
