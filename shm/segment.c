/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Segments of shared memory (shm/segment.h). The struct hb_segment belongs to its caller; the
 * memory lives until the last mapping and descriptor are gone. A creator that dies before
 * hb_segment_ready leaves a guard without magic, which everybody refuses.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "shm/client.h"
#include "shm/frame.h"
#include "shm/link.h"
#include "shm/node.h"
#include "shm/notices.h"
#include "shm/record.h"
#include "shm/ring.h"
#include "shm/state.h"
#include "shm/state_internal.h"

#define PAGE_BYTES 4096

/* Offset and size of one field, and the size of a structure, as one number each. */
#define AT(type, field)                                                                            \
	((uint64_t)offsetof(struct type, field) << 32 | sizeof(((struct type *)0)->field))
#define SIZE(type) sizeof(struct type)

static const uint64_t layout[] = {
	HB_LAYOUT_VERSION,
	HB_PARTITION_COUNT,
	HB_LCORE_COUNT_MAX,
	HB_RING_COUNT,
	HBI_CLAIM_NUMBER_BITS,
	/* segments */
	SIZE(hb_segment_guard),
	AT(hb_segment_guard, magic),
	AT(hb_segment_guard, kind),
	AT(hb_segment_guard, layout_version),
	AT(hb_segment_guard, layout_hash),
	AT(hb_segment_guard, bytes),
	AT(hb_segment_guard, created_ns),
	AT(hb_segment_guard, creator_pid),
	AT(hb_segment_guard, generation),
	/* rings */
	SIZE(hb_ring),
	AT(hb_ring, head),
	AT(hb_ring, tail),
	AT(hb_ring, sleeping),
	/* client segment */
	SIZE(hb_client_layout),
	AT(hb_client_layout, request),
	AT(hb_client_layout, reply),
	HB_CLIENT_DATA_OFFSET,
	/* journal segment */
	SIZE(hb_journal_rings),
	AT(hb_journal_rings, ring),
	AT(hb_journal_rings, persist_sleeping),
	AT(hb_journal_rings, storage_level),
	AT(hb_journal_rings, committed_seq),
	AT(hb_journal_rings, heartbeat_ns),
	AT(hb_journal_rings, lcore),
	AT(hb_journal_rings, applied),
	HB_JOURNAL_DATA_OFFSET,
	HB_JOURNAL_RING_BYTES,
	/* node segment */
	SIZE(hb_lcore_line),
	AT(hb_lcore_line, sleeping),
	AT(hb_lcore_line, cpu),
	AT(hb_lcore_line, heartbeat_ns),
	AT(hb_lcore_line, busy_ns),
	SIZE(hb_node),
	AT(hb_node, lcore),
	AT(hb_node, lcore_count),
	AT(hb_node, counter_count),
	AT(hb_node, started_ns),
	AT(hb_node, epoch),
	AT(hb_node, clock_stopped),
	AT(hb_node, storage_level),
	AT(hb_node, lcore_of_partition),
	AT(hb_node, degrade_level),
	AT(hb_node, degrade_by),
	AT(hb_node, degrade_until_s),
	AT(hb_node, reloads),
	AT(hb_node, reload_failures),
	AT(hb_node, label),
	AT(hb_node, value),
	SIZE(hb_counter_label),
	AT(hb_counter_label, label),
	AT(hb_counter_label, unit),
	AT(hb_counter_label, kind),
	HB_COUNTER_SLOTS, /* not how many are named: tools print what they do not know */
	HB_COUNTER_COLUMNS,
	/* state segment */
	SIZE(hb_capacity),
	AT(hb_capacity, accounts),
	AT(hb_capacity, packets),
	AT(hb_capacity, arena_bytes),
	AT(hb_capacity, windows),
	AT(hb_capacity, orders),
	AT(hb_capacity, idempotency),
	AT(hb_capacity, holds),
	SIZE(hb_state_head),
	AT(hb_state_head, capacity),
	AT(hb_state_head, node),
	AT(hb_state_head, partition_count),
	AT(hb_state_head, partition_bytes),
	SIZE(hb_account),
	AT(hb_account, id),
	AT(hb_account, available_fen),
	AT(hb_account, frozen_fen),
	AT(hb_account, version),
	AT(hb_account, kind),
	AT(hb_account, barred),
	AT(hb_account, day_count),
	AT(hb_account, day_fen),
	AT(hb_account, day),
	SIZE(hb_packet),
	AT(hb_packet, id),
	AT(hb_packet, sender),
	AT(hb_packet, group),
	AT(hb_packet, created_ms),
	AT(hb_packet, left_fen),
	AT(hb_packet, deadline_ms),
	AT(hb_packet, count),
	AT(hb_packet, left_count),
	AT(hb_packet, block),
	AT(hb_packet, state),
	AT(hb_packet, kind),
	AT(hb_packet, algorithm),
	AT(hb_packet, funding),
	AT(hb_packet, total_fen),
	AT(hb_packet, recipient),
	AT(hb_packet, order_stamp),
	AT(hb_packet, share_min_fen),
	AT(hb_packet, share_max_fen),
	AT(hb_packet, draw_next),
	AT(hb_packet, expand_left_fen),
	AT(hb_packet, refunded_fen),
	AT(hb_packet, hold_id),
	AT(hb_packet, expanded_count),
	AT(hb_packet, article),
	AT(hb_packet, greeting_length),
	AT(hb_packet, final_sequence),
	AT(hb_packet, seed),
	SIZE(hb_claim),
	AT(hb_claim, user),
	AT(hb_claim, amount_fen),
	AT(hb_claim, offset_ms),
	SIZE(hb_window),
	AT(hb_window, token_id),
	AT(hb_window, user),
	AT(hb_window, used),
	AT(hb_window, newest),
	AT(hb_window, expiry_s),
	SIZE(hb_order),
	AT(hb_order, stamp),
	AT(hb_order, account),
	AT(hb_order, amount_fen),
	AT(hb_order, settled_fen),
	AT(hb_order, purpose_id),
	AT(hb_order, hold_id),
	AT(hb_order, business),
	AT(hb_order, channel),
	AT(hb_order, product),
	AT(hb_order, state),
	AT(hb_order, attempt),
	AT(hb_order, ended_s),
	AT(hb_order, refunded_fen),
	AT(hb_order, final_sequence),
	SIZE(hb_hold),
	AT(hb_hold, id),
	AT(hb_hold, account),
	AT(hb_hold, amount_fen),
	AT(hb_hold, deadline_ms),
	AT(hb_hold, order_stamp),
	AT(hb_hold, ended_ms),
	AT(hb_hold, final_sequence),
	AT(hb_hold, day),
	AT(hb_hold, reason),
	AT(hb_hold, state),
	AT(hb_hold, exit_content),
	SIZE(hb_idempotency_entry),
	AT(hb_idempotency_entry, key),
	AT(hb_idempotency_entry, parameter_hash),
	AT(hb_idempotency_entry, result),
	AT(hb_idempotency_entry, time_ms),
	AT(hb_idempotency_entry, record_type),
	SIZE(hb_partition_head),
	AT(hb_partition_head, core_sequence),
	AT(hb_partition_head, time_ns),
	AT(hb_partition_head, last_stamp),
	AT(hb_partition_head, packet_counter),
	AT(hb_partition_head, hold_counter),
	AT(hb_partition_head, state_hash),
	AT(hb_partition_head, account_count),
	AT(hb_partition_head, packet_count),
	AT(hb_partition_head, window_count),
	AT(hb_partition_head, order_count),
	AT(hb_partition_head, window_sweep),
	AT(hb_partition_head, idempotency_first),
	AT(hb_partition_head, idempotency_next),
	AT(hb_partition_head, arena_used),
	AT(hb_partition_head, open_packets_fen),
	AT(hb_partition_head, balance_hash),
	AT(hb_partition_head, grab_count),
	AT(hb_partition_head, hold_count),
	AT(hb_partition_head, arena_live),
	AT(hb_partition_head, content),
	AT(hb_partition_head, open_holds_fen),
	AT(hb_partition_head, evict_count),
	AT(hb_partition_head, sent_count),
	AT(hb_partition_head, sent_fen),
	AT(hb_partition_head, applied_count),
	AT(hb_partition_head, applied_fen),
	/* what travels in the rings */
	SIZE(hb_record),
	AT(hb_record, crc),
	AT(hb_record, length),
	AT(hb_record, type),
	AT(hb_record, version),
	AT(hb_record, ring),
	AT(hb_record, core_sequence),
	AT(hb_record, time_ns),
	SIZE(hb_frame),
	AT(hb_frame, length),
	AT(hb_frame, issued_s),
	AT(hb_frame, correlation),
	AT(hb_frame, target),
	AT(hb_frame, user),
	AT(hb_frame, group),
	AT(hb_frame, token_id),
	AT(hb_frame, token_mac),
	AT(hb_frame, token_expiry_s),
	AT(hb_frame, sequence),
	SIZE(hb_reply),
	AT(hb_reply, length),
	AT(hb_reply, status),
	AT(hb_reply, flags),
	AT(hb_reply, correlation),
	AT(hb_reply, amount_fen),
	AT(hb_reply, other_fen),
	AT(hb_reply, id),
	AT(hb_reply, order_stamp),
	AT(hb_reply, index),
	AT(hb_reply, count),
	AT(hb_reply, as_of_seq),
	SIZE(hb_reply_token),
	SIZE(hb_reply_claim),
	SIZE(hb_reply_detail),
	SIZE(hb_reply_order),
	SIZE(hb_reply_hold),
	HB_FRAME_VERSION,
	HB_OP_COUNT,
	/* notice segment */
	SIZE(hb_notice),
	AT(hb_notice, seq),
	AT(hb_notice, part),
	AT(hb_notice, kind),
	AT(hb_notice, flags),
	AT(hb_notice, allocator),
	AT(hb_notice, count),
	AT(hb_notice, packet),
	AT(hb_notice, sender),
	AT(hb_notice, user),
	AT(hb_notice, group),
	AT(hb_notice, recipient),
	AT(hb_notice, amount_fen),
	AT(hb_notice, left_fen),
	AT(hb_notice, order_stamp),
	AT(hb_notice, time_ms),
	AT(hb_notice, deadline_ms),
	AT(hb_notice, share),
	SIZE(hb_notice_slot),
	SIZE(hb_notice_head),
	AT(hb_notice_head, slots),
	AT(hb_notice_head, first_seq),
	AT(hb_notice_head, head),
	AT(hb_notice_head, through_seq),
	HB_NOTICE_SLOTS_OFFSET,
};

uint64_t
hb_layout_hash(void)
{
	uint64_t hash = 1;

	for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++)
		hash = hb_mix64(hash * 31 + layout[i]);
	return hash;
}

static struct hb_segment_guard *
guard_of(const struct hb_segment *segment)
{
	return (struct hb_segment_guard *)(void *)segment->base;
}

/*
 * State is looked at here and there, so most looks miss the TLB of small pages. A host that allows
 * huge pages for shared memory (transparent_hugepage/shmem_enabled = advise) gives them; on any
 * other this changes nothing.
 */
static void
ask_for_huge_pages(void *base, uint64_t bytes, enum hb_segment_kind kind)
{
	if (kind == HB_SEGMENT_STATE)
		(void)madvise(base, bytes, MADV_HUGEPAGE);
}

void
hb_segment_keep_small_pages(struct hb_segment *segment)
{
	(void)madvise(segment->base, segment->bytes, MADV_NOHUGEPAGE);
}

int
hb_segment_create(
	struct hb_segment *segment, const char *name, enum hb_segment_kind kind, uint64_t bytes)
{
	struct hb_segment_guard *guard;
	void *base;
	int error;

	memset(segment, 0, sizeof(*segment));
	bytes = hb_round_up(bytes, PAGE_BYTES);
	segment->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (segment->fd < 0)
		return -errno;
	if (ftruncate(segment->fd, (off_t)bytes) != 0 ||
		fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		goto out;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
	if (base == MAP_FAILED)
		goto out;
	ask_for_huge_pages(base, bytes, kind);
	segment->base = base;
	segment->bytes = bytes;
	guard = guard_of(segment);
	guard->kind = kind;
	guard->layout_version = HB_LAYOUT_VERSION;
	guard->layout_hash = hb_layout_hash();
	guard->bytes = bytes;
	guard->created_ns = hb_wall_ns();
	guard->creator_pid = (uint32_t)getpid();
	return 0;
out:
	error = errno;
	hb_segment_close(segment);
	return -error;
}

void
hb_segment_ready(struct hb_segment *segment)
{
	atomic_store_explicit(&guard_of(segment)->magic, HB_SEGMENT_MAGIC, memory_order_release);
}

int
hb_segment_seal_read_only(struct hb_segment *segment)
{
	return fcntl(segment->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0 ? 0 : -errno;
}

/* Size and seals, before anything is mapped: a peer must not be able to make a mapping fault. */
static int
check_descriptor(int fd, uint64_t *bytes, char error[160])
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st) != 0) {
		snprintf(error, 160, "the descriptor is not a memfd that can be sealed: %s",
			strerror(errno));
		return -EPROTO;
	}
	if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW)) {
		snprintf(error, 160, "the segment's size is not sealed (seals 0x%x)",
			(unsigned)seals);
		return -EPROTO;
	}
	if (st.st_size < HB_SEGMENT_GUARD_BYTES) {
		snprintf(error, 160, "the segment has %lld bytes, its guard alone needs %d",
			(long long)st.st_size, HB_SEGMENT_GUARD_BYTES);
		return -EPROTO;
	}
	*bytes = (uint64_t)st.st_size;
	return 0;
}

static int
check_guard(const struct hb_segment *segment, enum hb_segment_kind kind, char error[160])
{
	const struct hb_segment_guard *guard = guard_of(segment);
	uint64_t magic = atomic_load_explicit(&guard->magic, memory_order_acquire);

	if (magic != HB_SEGMENT_MAGIC)
		snprintf(error, 160,
			magic == 0 ? "the segment is not ready; its creator (pid %u) may "
				     "have died"
				   : "this is no segment of ours (pid %u)",
			guard->creator_pid);
	else if (guard->layout_version != HB_LAYOUT_VERSION ||
		 guard->layout_hash != hb_layout_hash())
		snprintf(error, 160,
			"the segment has layout %u %016llx, this program %u %016llx: install both "
			"from "
			"one build",
			guard->layout_version, (unsigned long long)guard->layout_hash,
			HB_LAYOUT_VERSION, (unsigned long long)hb_layout_hash());
	else if (guard->kind != kind)
		snprintf(error, 160, "the segment is of kind %u, expected %u", guard->kind, kind);
	else if (guard->bytes != segment->bytes)
		snprintf(error, 160, "the segment has %llu bytes, its guard says %llu",
			(unsigned long long)segment->bytes, (unsigned long long)guard->bytes);
	else
		return 0;
	return -EPROTO;
}

int
hb_segment_attach(struct hb_segment *segment, int fd, enum hb_segment_kind kind, bool writable,
	char error[160])
{
	uint64_t bytes;
	void *base;
	int result;

	memset(segment, 0, sizeof(*segment));
	segment->fd = fd;
	result = check_descriptor(fd, &bytes, error);
	if (result != 0)
		goto out;
	base = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		result = -errno;
		snprintf(error, 160, "cannot map the segment of %llu bytes: %s",
			(unsigned long long)bytes, strerror(errno));
		goto out;
	}
	ask_for_huge_pages(base, bytes, kind);
	segment->base = base;
	segment->bytes = bytes;
	result = check_guard(segment, kind, error);
	if (result == 0)
		return 0;
out:
	hb_segment_close(segment);
	return result;
}

void
hb_segment_close(struct hb_segment *segment)
{
	if (segment->base != NULL)
		munmap(segment->base, segment->bytes);
	if (segment->fd > 0)
		close(segment->fd);
	memset(segment, 0, sizeof(*segment));
}

uint8_t *
hb_segment_map_twice(int fd, uint64_t offset, uint64_t bytes, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	uint8_t *at;

	/* Reserve addresses for both copies at once, so that nothing else lands in between. */
	at = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	for (int copy = 0; copy < 2; copy++) {
		void *here = mmap(at + (uint64_t)copy * bytes, bytes, protection,
			MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

		if (here == MAP_FAILED) {
			int error = errno;

			munmap(at, 2 * bytes);
			errno = error;
			return NULL;
		}
	}
	return at;
}

void
hb_segment_unmap_twice(uint8_t *at, uint64_t bytes)
{
	if (at != NULL)
		munmap(at, 2 * bytes);
}
