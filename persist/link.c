/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persist's side of the link (shm/link.h): FRESH recovers a state and makes rings, RESUME takes
 * rings back. Main thread; one dataplane at a time.
 *
 * If persist dies here during FRESH: the dataplane never got a state and asks again. During
 * RESUME: it still has the rings and asks again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "persist/persist.h"
#include "persist/replay.h"
#include "persist/snapshot.h"
#include "shm/notices.h"

#define HELLO_TIMEOUT_MS 1000
#define DESCRIPTORS_MAX	 (HB_LCORE_COUNT_MAX + 1)
#define BACKLOG		 16

int
hb_listen_unix(const struct hb_config *config, const char *relative, int type)
{
	char path[HB_PATH_MAX];

	/* the journal's lock says that no other persist serves this node */
	hb_path(path, config->node_directory, relative);
	return hb_unix_listen(path, type | SOCK_NONBLOCK, 0660, BACKLOG);
}

static bool
is_user(uid_t uid, const char *name)
{
	char buffer[4096];
	struct passwd entry, *found = NULL;

	return name != NULL && name[0] != '\0' &&
	       getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL &&
	       found->pw_uid == uid;
}

bool
hb_peer_allowed(int fd, const char *user_a, const char *user_b, pid_t *pid)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return false;
	if (pid != NULL)
		*pid = peer.pid;
	return peer.uid == 0 || peer.uid == geteuid() || is_user(peer.uid, user_a) ||
	       is_user(peer.uid, user_b);
}

int
hb_link_listen(struct hb_persist *persist)
{
	persist->link_fd = -1;
	persist->listen_fd =
		hb_listen_unix(&persist->config, HB_PATH_PERSIST_SOCKET, SOCK_SEQPACKET);
	if (persist->listen_fd >= 0)
		return 0;
	hb_log(HB_LOG_ERROR, "link_not_listening",
		"path=%s/" HB_PATH_PERSIST_SOCKET
		" error=\"%s\" advice=\"the folder must exist and belong to this user\"",
		persist->config.node_directory, strerror(-persist->listen_fd));
	return persist->listen_fd;
}

int
hb_notices_listen(struct hb_persist *persist)
{
	persist->notices_fd =
		hb_listen_unix(&persist->config, HB_PATH_NOTICES_SOCKET, SOCK_SEQPACKET);
	if (persist->notices_fd >= 0)
		return 0;
	hb_log(HB_LOG_ERROR, "notices_not_listening",
		"path=%s/" HB_PATH_NOTICES_SOCKET " error=\"%s\"", persist->config.node_directory,
		strerror(-persist->notices_fd));
	return persist->notices_fd;
}

void
hb_notices_accept(struct hb_persist *persist)
{
	int fd = accept4(persist->notices_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!hb_peer_allowed(fd, persist->config.user_front, persist->config.user_control, NULL)) {
		hb_notices_refuse(fd, EACCES,
			"only the users of user.front and user.control may follow the notices");
	} else if (persist->announcer == NULL) {
		hb_notices_refuse(fd, ENOMEM, "persist keeps no notices; its log says why");
	} else {
		(void)hb_announcer_admit(persist->announcer, fd);
		return;
	}
	close(fd);
}

/* ---- messages ---- */

struct greeting {
	struct hb_link_hello hello;
	int fds[DESCRIPTORS_MAX];
	uint32_t fd_count;
};

static void
close_fds(const int *fds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void
take_fds(struct msghdr *message, struct greeting *greeting)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
		part = CMSG_NXTHDR(message, part)) {
		uint32_t count;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		count = (uint32_t)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		HB_ASSERT(greeting->fd_count + count <= DESCRIPTORS_MAX);
		memcpy(greeting->fds + greeting->fd_count, CMSG_DATA(part), count * sizeof(int));
		greeting->fd_count += count;
	}
}

static int
receive_hello(int fd, struct greeting *greeting)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
	} control;
	struct iovec part = {.iov_base = &greeting->hello, .iov_len = sizeof(greeting->hello)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	if (poll(&ready, 1, HELLO_TIMEOUT_MS) != 1)
		return -ETIMEDOUT;
	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	take_fds(&message, greeting);
	if (n != (ssize_t)sizeof(greeting->hello) ||
		(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return -EPROTO;
	return 0;
}

static int
send_welcome(int fd, const struct hb_link_welcome *welcome, const int *fds, uint32_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 3)];
	} control = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)welcome, .iov_len = sizeof(*welcome)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (count > 0) {
		struct cmsghdr *rights;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(*welcome) ? 0 : -errno;
}

static void
refuse(struct hb_persist *persist, int fd, int rc, const char *why)
{
	struct hb_link_welcome welcome = {
		.magic = HB_LINK_MAGIC,
		.version = HB_LINK_VERSION,
		.layout_hash = hb_layout_hash(),
		.error = rc < 0 ? -rc : EPROTO,
		.node = persist->journal.node,
	};

	snprintf(welcome.message, sizeof(welcome.message), "%.*s", (int)sizeof(welcome.message) - 1,
		why);
	/* one that waits for another to end asks ten times a second: said once */
	if (rc != -EBUSY || !persist->busy_told)
		hb_log(HB_LOG_ERROR, "dataplane_refused", "error=\"%s\"", why);
	persist->busy_told = rc == -EBUSY;
	(void)send_welcome(fd, &welcome, NULL, 0);
}

static int
check_hello(const struct greeting *greeting, char error[256])
{
	const struct hb_link_hello *hello = &greeting->hello;
	uint32_t wanted = hello->lcore_count + (hello->mode == HB_LINK_RESUME ? 1u : 0u);

	if (hello->magic != HB_LINK_MAGIC || hello->version != HB_LINK_VERSION) {
		snprintf(error, 256,
			"the link speaks version %u, this persist speaks %u: install "
			"both programs from one build",
			hello->version, HB_LINK_VERSION);
		return -EPROTO;
	}
	if (hello->layout_hash != hb_layout_hash()) {
		snprintf(error, 256,
			"shared memory layout %016llx here, %016llx there: install both programs "
			"from one build",
			(unsigned long long)hb_layout_hash(),
			(unsigned long long)hello->layout_hash);
		return -EPROTO;
	}
	if (hello->lcore_count == 0 || hello->lcore_count > HB_LCORE_COUNT_MAX ||
		greeting->fd_count != wanted ||
		(hello->mode != HB_LINK_FRESH && hello->mode != HB_LINK_RESUME)) {
		snprintf(error, 256,
			"the hello does not add up: mode %u, %u lcores, %u descriptors",
			hello->mode, hello->lcore_count, greeting->fd_count);
		return -EPROTO;
	}
	return 0;
}

/* ---- FRESH ---- */

/* Newest verified snapshot and journal, into a new state. */
static int
recover_state(
	struct hb_persist *persist, struct hb_state *state, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_capacity capacity = hb_capacity_from_config(&persist->config);
	struct hb_journal *journal = &persist->journal;
	struct hb_snapshot_header header;
	struct hb_replay_result result;
	uint64_t begun_ns = hb_mono_ns(), limit = hb_committed_seq(&journal->commit);
	int rc = hb_state_create(state, &capacity, journal->node);

	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES,
			"no memory for the state: %s: lower the capacity.* options", strerror(-rc));
		return rc;
	}
	rc = hb_state_rebuild(journal->directory, limit, journal->superblock.stream_id, state,
		hb_replay_threads(), &header, &result, error);
	if (rc != 0)
		return rc;
	atomic_fetch_add(&persist->recoveries, 1);
	atomic_store(&persist->recovery_ms, (hb_mono_ns() - begun_ns) / 1000000);
	atomic_store(&persist->recovery_records, result.records);
	hb_log(HB_LOG_INFO, "recovered",
		"seq=%llu from_snapshot=%llu records=%llu marks=%llu ms=%llu",
		(unsigned long long)result.seq, (unsigned long long)header.seq,
		(unsigned long long)result.records, (unsigned long long)result.marks,
		(unsigned long long)((hb_mono_ns() - begun_ns) / 1000000));
	return 0;
}

static int
greet_fresh(struct hb_persist *persist, int fd, char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal *journal = &persist->journal;
	struct hb_session *session = &persist->session;
	struct hb_state state = {0};
	struct hb_link_welcome welcome = {
		.magic = HB_LINK_MAGIC,
		.version = HB_LINK_VERSION,
		.layout_hash = hb_layout_hash(),
		.node = journal->node,
	};
	int rc;

	atomic_store(&persist->recovering, true);
	rc = recover_state(persist, &state, error);
	atomic_store(&persist->recovering, false);
	if (rc == 0) {
		rc = hb_journal_begin_epoch(journal, true);
		if (rc != 0)
			snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot begin an epoch: %s",
				strerror(-rc));
	}
	if (rc == 0) {
		rc = hb_session_fresh(session);
		if (rc != 0)
			snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot make the journal rings: %s",
				strerror(-rc));
	}
	if (rc == 0) {
		welcome.epoch = journal->epoch;
		welcome.recovered_seq = hb_committed_seq(&journal->commit);
		rc = send_welcome(fd, &welcome,
			(int[]){session->wake_fd, session->segment.fd, state.segment.fd}, 3);
		if (rc != 0)
			snprintf(error, HB_JOURNAL_ERROR_BYTES, "the dataplane hung up: %s",
				strerror(-rc));
	}
	if (state.segment.base != NULL)
		hb_state_close(&state);
	return rc;
}

/* ---- RESUME ---- */

static int
greet_resume(struct hb_persist *persist, int fd, struct greeting *greeting,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_journal *journal = &persist->journal;
	struct hb_session *session = &persist->session;
	struct hb_link_welcome welcome = {
		.magic = HB_LINK_MAGIC,
		.version = HB_LINK_VERSION,
		.layout_hash = hb_layout_hash(),
		.node = journal->node,
		.epoch = greeting->hello.epoch,
		.recovered_seq = hb_committed_seq(&journal->commit),
	};
	char why[160] = "";
	int rc;

	rc = hb_session_resume(
		session, greeting->fds[greeting->fd_count - 1], greeting->hello.epoch, why);
	greeting->fd_count--;
	if (rc != 0) {
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "%s", why);
		return rc;
	}
	rc = send_welcome(fd, &welcome, &session->wake_fd, 1);
	if (rc != 0)
		snprintf(error, HB_JOURNAL_ERROR_BYTES, "the dataplane hung up: %s", strerror(-rc));
	return rc;
}

/* ---- life of the link ---- */

static void
give_lcore_wakes(struct hb_session *session, struct greeting *greeting)
{
	session->lcore_count = greeting->hello.lcore_count;
	for (uint32_t i = 0; i < session->lcore_count; i++) {
		int fd = greeting->fds[i];

		/* the writer must never wait for a dataplane */
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		session->lcore_wake[i] = fd;
		greeting->fds[i] = -1;
	}
}

static int
greet(struct hb_persist *persist, int fd, struct greeting *greeting,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_session *session = &persist->session;
	int rc;

	hb_session_init(session, &persist->journal);
	rc = greeting->hello.mode == HB_LINK_FRESH ? greet_fresh(persist, fd, error)
						   : greet_resume(persist, fd, greeting, error);
	if (rc == 0) {
		give_lcore_wakes(session, greeting);
		session->failed_fd = persist->failed_fd;
		session->realtime = persist->config.node_realtime != 0;
		hb_session_start(session, &persist->writer);
	}
	if (rc != 0)
		hb_session_close(session);
	return rc;
}

void
hb_link_accept(struct hb_persist *persist)
{
	struct greeting greeting = {.fd_count = 0};
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	pid_t pid = 0;
	int rc;
	int fd = accept4(persist->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (!hb_peer_allowed(fd, persist->config.user_dataplane, NULL, &pid)) {
		refuse(persist, fd, -EACCES,
			"only the user of user.dataplane may attach to this socket");
		goto out;
	}
	if (persist->attached) {
		refuse(persist, fd, -EBUSY, "another dataplane is attached");
		goto out;
	}
	rc = receive_hello(fd, &greeting);
	if (rc == 0)
		rc = check_hello(&greeting, error);
	else
		snprintf(error, sizeof(error), "no hello came: %s", strerror(-rc));
	if (rc == 0)
		rc = greet(persist, fd, &greeting, error);
	if (rc != 0) {
		refuse(persist, fd, rc, error);
		goto out;
	}
	hb_log(HB_LOG_INFO, "dataplane_attached", "mode=%s pid=%d epoch=%llu lcores=%u seq=%llu",
		greeting.hello.mode == HB_LINK_FRESH ? "fresh" : "resume", (int)pid,
		(unsigned long long)persist->journal.superblock.state_epoch,
		greeting.hello.lcore_count,
		(unsigned long long)hb_committed_seq(&persist->journal.commit));
	persist->link_fd = fd;
	persist->link_pid = pid;
	persist->attached = true;
	atomic_store(&persist->epoch, persist->journal.epoch);
	atomic_store(&persist->state_epoch, persist->journal.superblock.state_epoch);
	atomic_store(&persist->dataplane_attached, true);
	fd = -1;
out:
	close_fds(greeting.fds, greeting.fd_count);
	if (fd >= 0)
		close(fd);
}

static void
detach(struct hb_persist *persist)
{
	hb_session_close(&persist->session);
	close(persist->link_fd);
	persist->link_fd = -1;
	persist->attached = false;
	persist->busy_told = false;
	atomic_store(&persist->dataplane_attached, false);
}

void
hb_link_hang_up(struct hb_persist *persist)
{
	if (!persist->attached)
		return;
	hb_session_drain(&persist->session);
	hb_log(HB_LOG_WARN, "dataplane_detached", "pid=%d committed_seq=%llu",
		(int)persist->link_pid,
		(unsigned long long)hb_committed_seq(&persist->journal.commit));
	detach(persist);
}

void
hb_link_close(struct hb_persist *persist)
{
	if (persist->attached) {
		hb_session_abandon(&persist->session);
		detach(persist);
	}
	if (persist->listen_fd >= 0)
		close(persist->listen_fd);
	persist->listen_fd = -1;
}
