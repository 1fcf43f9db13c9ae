/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The dataplane's side of the link to persist (shm/link.h). The first connection is FRESH and
 * brings state and journal rings. When persist dies the lcores go on and replies stay parked; the
 * next connection is RESUME and hands the journal rings to the successor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/unix_socket.h"
#include "dataplane/dataplane.h"
#include "dataplane/descriptors.h"

static void
down(struct hb_dataplane *dp)
{
	if (dp->link_socket >= 0)
		close(dp->link_socket);
	dp->link_socket = -1;
	dp->link_state = HB_LINK_DOWN;
	dp->link_retry_ns = hb_mono_ns() + HB_LINK_RETRY_NS;
}

static int
connect_to_persist(struct hb_dataplane *dp)
{
	char path[HB_PATH_MAX];

	hb_path(path, dp->setup.config->node_directory, HB_PATH_PERSIST_SOCKET);
	dp->link_socket = hb_unix_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK);
	return dp->link_socket < 0 ? dp->link_socket : 0;
}

static int
send_hello(struct hb_dataplane *dp)
{
	uint32_t fd_count = dp->shared->lcore_count;
	struct hb_link_hello hello = {.magic = HB_LINK_MAGIC,
		.version = HB_LINK_VERSION,
		.layout_hash = hb_layout_hash(),
		.mode = dp->epoch == 0 ? HB_LINK_FRESH : HB_LINK_RESUME,
		.lcore_count = dp->shared->lcore_count,
		.epoch = dp->epoch};
	int fds[HB_LCORE_COUNT_MAX + 1];

	for (uint32_t i = 0; i < fd_count; i++)
		fds[i] = dp->shared->lcore_bell[i].ring;
	if (hello.mode == HB_LINK_RESUME)
		fds[fd_count++] = dp->journal_segment.fd;
	return hb_descriptors_send(dp->link_socket, &hello, sizeof(hello), fds, fd_count);
}

void
hb_link_try(struct hb_dataplane *dp, uint64_t now_ns)
{
	int result;

	if (dp->link_state != HB_LINK_DOWN || now_ns < dp->link_retry_ns)
		return;
	result = connect_to_persist(dp);
	if (result == 0)
		result = send_hello(dp);
	if (result == 0)
		result = hb_dataplane_watch(dp, dp->link_socket, HB_EVENT_LINK, 0);
	if (result == 0) {
		dp->link_state = HB_LINK_GREETED;
		return;
	}
	down(dp);
	if (!dp->link_complained)
		hb_log(HB_LOG_WARN, "persist_absent", "error=\"%s\" retry_ms=100",
			strerror(-result));
	dp->link_complained = true;
}

/* @return 0, or -errno with `error`; takes the descriptors */
static int
take_segments(struct hb_dataplane *dp, const int fds[2], char error[HB_DATAPLANE_ERROR_MAX])
{
	char detail[160] = "";
	int result =
		hb_segment_attach(&dp->journal_segment, fds[0], HB_SEGMENT_JOURNAL, true, detail);

	if (result != 0) {
		close(fds[1]);
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "journal segment: %s", detail);
		return result;
	}
	if (dp->journal_segment.bytes <
		HB_JOURNAL_DATA_OFFSET + HB_PARTITION_COUNT * HB_JOURNAL_RING_BYTES) {
		close(fds[1]);
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "the journal segment is too short");
		return -EPROTO;
	}
	dp->shared->journal = (struct hb_journal_rings *)(void *)(dp->journal_segment.base +
								  HB_SEGMENT_GUARD_BYTES);
	result = hb_state_attach(dp->state, fds[1], detail);
	if (result != 0)
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "state segment: %s", detail);
	return result;
}

static int
welcomed(struct hb_dataplane *dp, const struct hb_link_welcome *welcome, int *fds,
	uint32_t fd_count, char error[HB_DATAPLANE_ERROR_MAX])
{
	bool fresh = dp->epoch == 0;
	int result = 0;

	if (fd_count != (fresh ? 3u : 1u)) {
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "persist sent %u descriptors", fd_count);
		for (uint32_t i = 0; i < fd_count; i++)
			close(fds[i]);
		return -EPROTO;
	}
	/* The number that the lcores know stays the same. */
	HB_ASSERT(dup3(fds[0], dp->shared->persist_wake, O_CLOEXEC) >= 0);
	close(fds[0]);
	if (fresh) {
		result = take_segments(dp, &fds[1], error);
		if (result != 0)
			return result;
		dp->epoch = welcome->epoch;
		dp->shared->node->epoch = welcome->epoch;
		result = hb_dataplane_start_lcores(dp, error);
	}
	/* Whatever was published while nobody listened. */
	eventfd_write(dp->shared->persist_wake, 1);
	if (result == 0)
		hb_log(HB_LOG_INFO, "persist_attached",
			"mode=%s epoch=%lu node=%u recovered_seq=%lu", fresh ? "fresh" : "resume",
			welcome->epoch, welcome->node, welcome->recovered_seq);
	return result;
}

static int
check_welcome(struct hb_dataplane *dp, const struct hb_link_welcome *welcome, ssize_t got,
	char error[HB_DATAPLANE_ERROR_MAX])
{
	if (got != (ssize_t)sizeof(*welcome) || welcome->magic != HB_LINK_MAGIC) {
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "persist answers in another language");
		return -EPROTO;
	}
	if (welcome->error != 0) {
		snprintf(
			error, HB_DATAPLANE_ERROR_MAX, "persist refused: %.159s", welcome->message);
		return welcome->error > 0 ? -welcome->error : -EPROTO;
	}
	if (welcome->version != HB_LINK_VERSION || welcome->layout_hash != hb_layout_hash()) {
		snprintf(error, HB_DATAPLANE_ERROR_MAX,
			"persist has layout %016lx, this program %016lx: install both from one "
			"build",
			welcome->layout_hash, hb_layout_hash());
		return -EPROTO;
	}
	if (dp->epoch == 0 && welcome->epoch == 0) {
		snprintf(error, HB_DATAPLANE_ERROR_MAX, "persist named no epoch");
		return -EPROTO;
	}
	return 0;
}

void
hb_link_event(struct hb_dataplane *dp, char error[HB_DATAPLANE_ERROR_MAX])
{
	struct hb_link_welcome welcome;
	int fds[HB_DESCRIPTORS_MAX];
	uint32_t fd_count = 0;
	ssize_t got =
		hb_descriptors_receive(dp->link_socket, &welcome, sizeof(welcome), fds, &fd_count);
	int result;

	if (got == -EAGAIN)
		return;
	if (got <= 0 || dp->link_state == HB_LINK_UP) {
		hb_log(HB_LOG_WARN, "persist_gone", "state=%s",
			dp->running ? "replies_parked" : "starting");
		for (uint32_t i = 0; i < fd_count; i++)
			close(fds[i]);
		down(dp);
		return;
	}
	result = check_welcome(dp, &welcome, got, error);
	if (result == 0) {
		result = welcomed(dp, &welcome, fds, fd_count, error);
	} else {
		for (uint32_t i = 0; i < fd_count; i++)
			close(fds[i]);
	}
	if (result == 0) {
		dp->link_state = HB_LINK_UP;
		dp->link_complained = false;
		return;
	}
	/* It still has to do with another dataplane, or was too slow: that passes. */
	if (result == -EBUSY || result == -EAGAIN || result == -ETIMEDOUT) {
		if (!dp->link_complained)
			hb_log(HB_LOG_WARN, "persist_busy", "error=\"%s\"", error);
		dp->link_complained = true;
		down(dp);
		return;
	}
	dp->failed = true;
}
