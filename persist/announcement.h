/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a journal record tells to whom: records to notices (shm/notices.h). Pure, but for a table
 * of packets.
 *
 * A GRAB says neither who sent the packet nor for whom it is, so this is remembered of every
 * packet, in a table like the engine's: a slot per packet by the counter in its id, so with the
 * capacity of the engine's table no packet that can still be grabbed is ever pushed out. The table
 * is filled by PACKET_CREATE records and from a snapshot. A packet that is not in it gives notices
 * with HB_NOTICE_UNKNOWN. One thread; memory is taken as packets come and belongs to the table.
 */
#ifndef HB_PERSIST_ANNOUNCEMENT_H
#define HB_PERSIST_ANNOUNCEMENT_H

#include <stdint.h>

#include "shm/notices.h"
#include "shm/record.h"
#include "shm/state.h"

#define HB_NOTICES_OF_RECORD_MAX 2

struct hb_packet_origins;

/** @param capacity packets of one partition, a power of two. @return NULL: no memory */
struct hb_packet_origins *hb_packet_origins_new(uint64_t capacity);
void hb_packet_origins_free(struct hb_packet_origins *origins);
/** Remember a packet of a snapshot. */
void hb_packet_origins_add(struct hb_packet_origins *origins, const struct hb_packet *packet);

/**
 * The notices of a committed record; remembers the packet of a PACKET_CREATE.
 * @return how many, 0 when it concerns nobody
 */
uint32_t hb_notices_of(struct hb_packet_origins *origins, const struct hb_record *record,
	uint64_t seq, struct hb_notice notices[HB_NOTICES_OF_RECORD_MAX]);

#endif
