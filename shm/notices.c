/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The broadcast ring of notices (shm/notices.h). The struct hb_notices belongs to its caller; the
 * memory lives until the last mapping is gone. Dying here: see the header.
 */
#include "shm/notices.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

static void
place(struct hb_notices *notices)
{
	notices->head = (void *)(notices->segment.base + HB_SEGMENT_GUARD_BYTES);
	notices->slot = (void *)(notices->segment.base + HB_NOTICE_SLOTS_OFFSET);
}

static uint64_t
segment_bytes(uint64_t slots)
{
	return HB_NOTICE_SLOTS_OFFSET + slots * sizeof(struct hb_notice_slot);
}

int
hb_notices_create(struct hb_notices *notices, uint64_t slots, uint64_t first_seq)
{
	int rc;

	HB_ASSERT(slots >= HB_NOTICE_SLOTS_MIN && (slots & (slots - 1)) == 0 && first_seq > 0);
	memset(notices, 0, sizeof(*notices));
	rc = hb_segment_create(
		&notices->segment, "hongbao-notices", HB_SEGMENT_NOTICES, segment_bytes(slots));
	if (rc != 0)
		return rc;
	place(notices);
	notices->slots = notices->head->slots = slots;
	notices->first_seq = notices->head->first_seq = first_seq;
	atomic_store_explicit(&notices->head->through_seq, first_seq - 1, memory_order_relaxed);
	rc = hb_segment_seal_read_only(&notices->segment);
	if (rc != 0) {
		hb_notices_close(notices);
		return rc;
	}
	hb_segment_ready(&notices->segment);
	return 0;
}

void
hb_notices_publish(struct hb_notices *notices, const struct hb_notice *notice)
{
	struct hb_notice_slot *slot = &notices->slot[notices->next & (notices->slots - 1)];
	uint64_t word[HB_NOTICE_WORDS];

	memcpy(word, notice, sizeof(word));
	atomic_store_explicit(&slot->stamp, 2 * notices->next + 1, memory_order_relaxed);
	for (int i = 0; i < HB_NOTICE_WORDS; i++)
		atomic_store_explicit(&slot->word[i], word[i], memory_order_release);	  /* N1 */
	atomic_store_explicit(&slot->stamp, 2 * notices->next + 2, memory_order_release); /* N2 */
	notices->next++;
	atomic_store_explicit(&notices->head->head, notices->next, memory_order_release); /* N3 */
}

void
hb_notices_through(struct hb_notices *notices, uint64_t seq)
{
	atomic_store_explicit(&notices->head->through_seq, seq, memory_order_release); /* N4 */
}

int
hb_notices_attach(struct hb_notices *notices, int fd, char error[160])
{
	int rc;

	memset(notices, 0, sizeof(*notices));
	rc = hb_segment_attach(&notices->segment, fd, HB_SEGMENT_NOTICES, false, error);
	if (rc != 0)
		return rc;
	place(notices);
	notices->slots = notices->head->slots;
	notices->first_seq = notices->head->first_seq;
	if (notices->slots >= HB_NOTICE_SLOTS_MIN && (notices->slots & (notices->slots - 1)) == 0 &&
		notices->slots <= notices->segment.bytes / sizeof(struct hb_notice_slot) &&
		segment_bytes(notices->slots) <= notices->segment.bytes)
		return 0;
	snprintf(error, 160, "the notices' segment has %llu bytes, too few for %llu slots",
		(unsigned long long)notices->segment.bytes, (unsigned long long)notices->slots);
	hb_notices_close(notices);
	return -EPROTO;
}

void
hb_notices_close(struct hb_notices *notices)
{
	hb_segment_close(&notices->segment);
	memset(notices, 0, sizeof(*notices));
}

uint64_t
hb_notices_head(const struct hb_notices *notices)
{
	return atomic_load_explicit(&notices->head->head, memory_order_acquire); /* N3 */
}

uint64_t
hb_notices_through_seq(const struct hb_notices *notices)
{
	return atomic_load_explicit(&notices->head->through_seq, memory_order_acquire); /* N4 */
}

int
hb_notices_read(const struct hb_notices *notices, uint64_t number, struct hb_notice *notice)
{
	struct hb_notice_slot *slot = &notices->slot[number & (notices->slots - 1)];
	uint64_t word[HB_NOTICE_WORDS];

	if (number >= hb_notices_head(notices))
		return 0;
	if (atomic_load_explicit(&slot->stamp, memory_order_acquire) != 2 * number + 2) /* N2 */
		return -EOVERFLOW;
	for (int i = 0; i < HB_NOTICE_WORDS; i++)
		word[i] = atomic_load_explicit(&slot->word[i], memory_order_acquire); /* N1 */
	if (atomic_load_explicit(&slot->stamp, memory_order_relaxed) != 2 * number + 2)
		return -EOVERFLOW;
	memcpy(notice, word, sizeof(*notice));
	return 1;
}

/* The oldest notice that can be read; head when there is none. */
static uint64_t
oldest(const struct hb_notices *notices, struct hb_notice *notice)
{
	for (;;) {
		uint64_t head = hb_notices_head(notices);
		uint64_t number = head > notices->slots ? head - notices->slots : 0;

		/* the slot that is written now, and some that will be before we get to them */
		if (number > 0)
			number += notices->slots / 64;
		if (number == head || hb_notices_read(notices, number, notice) == 1)
			return number;
	}
}

int
hb_notices_find(const struct hb_notices *notices, uint64_t key, uint64_t *number)
{
	struct hb_notice notice;
	uint64_t low = oldest(notices, &notice), high = hb_notices_head(notices);

	if (key < hb_notice_key(notices->first_seq - 1, 1))
		return -ESTALE;
	if (low > 0 && hb_notice_key(notice.seq, notice.part) > key)
		return -ESTALE;
	/* what is below low is not behind the key, what is at high or above is */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (hb_notices_read(notices, middle, &notice) == 1 &&
			hb_notice_key(notice.seq, notice.part) > key)
			high = middle;
		else
			low = middle + 1;
	}
	*number = low;
	/* the one before it is still there, so nothing behind the key was overwritten meanwhile */
	return low == 0 || hb_notices_read(notices, low - 1, &notice) == 1 ? 0 : -ESTALE;
}

/* ---- the socket ---- */

/* The descriptor that came with a message, -1: none. */
static int
take_fd(struct msghdr *message)
{
	int fd = -1;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
		part = CMSG_NXTHDR(message, part))
		if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
			part->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(part), sizeof(fd));
	return fd;
}

static int
check_welcome(const struct hb_notices_welcome *welcome, ssize_t length, char error[160])
{
	if (length != (ssize_t)sizeof(*welcome) || welcome->magic != HB_NOTICES_MAGIC ||
		welcome->version != HB_NOTICES_VERSION) {
		snprintf(error, 160, "%s",
			length == 0 ? "persist hung up"
				    : "persist speaks another version: install both programs "
				      "from one build");
		return length == 0 ? -ECONNRESET : -EPROTO;
	}
	if (welcome->error == 0)
		return 0;
	snprintf(error, 160, "%.*s", (int)strnlen(welcome->message, 159), welcome->message);
	return welcome->error > 0 ? -welcome->error : -EPROTO;
}

int
hb_notices_receive(struct hb_notices *notices, int fd, char error[160])
{
	struct hb_notices_welcome welcome;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int segment_fd, rc;

	error[0] = '\0';
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	segment_fd = take_fd(&message);
	rc = check_welcome(&welcome, n, error);
	if (rc == 0 && segment_fd < 0) {
		snprintf(error, 160, "persist sent no segment");
		rc = -EPROTO;
	}
	if (rc == 0)
		return hb_notices_attach(notices, segment_fd, error);
	if (segment_fd >= 0)
		close(segment_fd);
	return rc;
}

static struct hb_notices_welcome
make_welcome(void)
{
	return (struct hb_notices_welcome){
		.magic = HB_NOTICES_MAGIC,
		.version = HB_NOTICES_VERSION,
		.layout_hash = hb_layout_hash(),
	};
}

int
hb_notices_hand_out(const struct hb_notices *notices, int fd)
{
	struct hb_notices_welcome welcome = make_welcome();
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &notices->segment.fd, sizeof(int));
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(welcome)
		       ? 0
		       : -errno;
}

void
hb_notices_refuse(int fd, int error, const char *why)
{
	struct hb_notices_welcome welcome = make_welcome();

	welcome.error = error;
	snprintf(welcome.message, sizeof(welcome.message), "%.*s", (int)sizeof(welcome.message) - 1,
		why);
	(void)!send(fd, &welcome, sizeof(welcome), MSG_NOSIGNAL | MSG_DONTWAIT);
}
