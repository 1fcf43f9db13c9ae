/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl as a client of the dataplane: attach when first needed, send one frame, wait for its
 * reply. The handle belongs to struct hbctl. When hbctl dies, the dataplane sees the hang-up and
 * frees the ring.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "tools/hbctl/hbctl.h"

int
hbctl_engine_open(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX];
	char why[160] = "";
	int result;

	if (hbctl->client != NULL)
		return 0;
	hb_path(path, hbctl->config.node_directory, HB_PATH_DATAPLANE_SOCKET);
	result = hb_client_open(&hbctl->client, path, "hbctl", 0, 0, why);
	if (result == 0)
		return 0;
	hbctl->client = NULL;
	if (result == -EACCES || result == -EPERM)
		snprintf(error, HBCTL_ERROR_BYTES, "%s may not be used: run hbctl as root", path);
	else
		snprintf(error, HBCTL_ERROR_BYTES, "%s", why[0] == '\0' ? strerror(-result) : why);
	return result;
}

void
hbctl_engine_close(struct hbctl *hbctl)
{
	if (hbctl->client != NULL)
		hb_client_close(hbctl->client);
	hbctl->client = NULL;
}

bool
hbctl_engine_gone(const struct hbctl *hbctl)
{
	struct pollfd hang_up = {.events = POLLIN | POLLRDHUP};

	if (hbctl->client == NULL)
		return true;
	hang_up.fd = hb_client_socket_fd(hbctl->client);
	return poll(&hang_up, 1, 0) > 0;
}

const struct hb_node *
hbctl_engine_node(const struct hbctl *hbctl)
{
	const struct hb_segment *segment = hb_client_node_segment(hbctl->client);

	HB_ASSERT(segment->bytes >= HB_SEGMENT_GUARD_BYTES + sizeof(struct hb_node));
	return (const struct hb_node *)(const void *)(segment->base + HB_SEGMENT_GUARD_BYTES);
}

int
hbctl_engine_call(struct hbctl *hbctl, struct hb_frame *frame, uint32_t frame_bytes,
	struct hb_reply *reply, uint32_t timeout_ms, char error[HBCTL_ERROR_BYTES])
{
	int result = hbctl_engine_open(hbctl, error);

	if (result != 0)
		return result;
	HB_ASSERT(frame_bytes % HB_FRAME_UNIT_BYTES == 0 && frame_bytes <= HB_FRAME_BYTES_MAX);
	frame->version = HB_FRAME_VERSION;
	frame->length = (uint16_t)frame_bytes;
	frame->issued_s = (uint32_t)time(NULL);
	result = hb_client_call(hbctl->client, frame, reply, timeout_ms);
	if (result == 0)
		return 0;
	if (result == -ETIMEDOUT)
		snprintf(error, HBCTL_ERROR_BYTES,
			"no reply within %u ms: the outcome is unknown; is persist running?",
			timeout_ms);
	else if (result == -EPIPE)
		snprintf(error, HBCTL_ERROR_BYTES,
			"the dataplane hung up: the outcome is unknown; ask again");
	else
		snprintf(error, HBCTL_ERROR_BYTES, "the frame could not be sent: %s",
			strerror(-result));
	hbctl_engine_close(hbctl);
	return result;
}

int
hbctl_engine_call_partition(struct hbctl *hbctl, enum hb_operation operation, uint32_t partition,
	struct hb_reply *reply, uint32_t timeout_ms, char error[HBCTL_ERROR_BYTES])
{
	struct hb_frame frame;

	memset(&frame, 0, sizeof(frame));
	frame.operation = (uint8_t)operation;
	frame.target = hb_system_account(HB_SYSTEM_CLEARING_MANUAL, partition);
	return hbctl_engine_call(hbctl, &frame, sizeof(frame), reply, timeout_ms, error);
}

int
hbctl_engine_tell_all(
	struct hbctl *hbctl, enum hb_operation operation, const char *what, uint64_t *as_of_seq)
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply *reply = (struct hb_reply *)(void *)room;
	char error[HBCTL_ERROR_BYTES] = "";

	*as_of_seq = 0;
	for (uint32_t partition = 0; partition < HB_PARTITION_COUNT; partition++) {
		if (hbctl_engine_call_partition(
			    hbctl, operation, partition, reply, HBCTL_CALL_TIMEOUT_MS, error) != 0)
			return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s, partition %" PRIu32 ": %s",
				what, partition, error);
		if (reply->status != HB_STATUS_OK)
			return hbctl_refused(hbctl, what, reply->status);
		if (reply->as_of_seq > *as_of_seq)
			*as_of_seq = reply->as_of_seq;
	}
	return HBCTL_OK;
}
