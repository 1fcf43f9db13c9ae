/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The node segment: what the dataplane lets everybody read. Lcore lines (sleep flag, heartbeat)
 * and counters with their labels, kinds and units, so a tool can print them without knowing the
 * program.
 *
 * Written by the dataplane alone: line i and counter column i by lcore i; column
 * HB_COUNTER_COLUMN_MAIN by the main thread, HB_COUNTER_COLUMN_PORT by the port lcore. Everybody
 * else maps it read only (sealed). What the columns of a counter make together is its kind. If the
 * dataplane dies, the segment dies with it.
 *
 * Wake-up: an lcore stores sleeping = 1, then looks at all its rings once more (seq_cst) before it
 * blocks on its bell; a client publishes, then loads sleeping (hb_ring's order) and writes the
 * bell when it is 1. The flags inside client request rings are not used.
 */
#ifndef HB_SHM_NODE_H
#define HB_SHM_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/limits.h"

/* name, key, label. Append only; the key is also the Prometheus name without hongbao_ and _total.
 */
#define HB_COUNTER_TABLE(X)                                                                        \
	X(FRAMES, "frames", "frames taken from client rings and ports")                            \
	X(REPLIES, "replies", "replies handed to clients")                                         \
	X(GRABS, "grabs", "shares taken")                                                          \
	X(GRABS_ALREADY, "grabs_already", "winners told their share again")                        \
	X(PACKETS_CREATED, "packets_created", "packets created")                                   \
	X(PACKETS_EXPIRED, "packets_expired", "packets closed at their deadline")                  \
	X(TRANSFERS, "transfers", "transfers made")                                                \
	X(CREDITS, "credits", "recharges credited")                                                \
	X(REFUSED_BUSY, "refused_busy", "frames answered busy for want of room")                   \
	X(REFUSED_TOKEN, "refused_token", "frames refused for token or sequence")                  \
	X(REFUSED_STATE, "refused_state", "other refusals: sold out, expired, not a member …")     \
	X(REFUSED_FRAME, "refused_frame", "frames that break the format or the operation mask")    \
	X(REPLIES_DROPPED, "replies_dropped", "replies whose client had gone")                     \
	X(RECORDS, "records", "journal records made")                                              \
	X(RECORD_BYTES, "record_bytes", "bytes of journal records made")                           \
	X(CREDITS_SENT, "credits_sent", "credits handed to other partitions")                      \
	X(CREDITS_APPLIED, "credits_applied", "credits applied")                                   \
	X(TOKENS_ISSUED, "tokens_issued", "money tokens issued")                                   \
	X(MARKS, "marks", "state hashes written to the journal")                                   \
	X(AUDITS, "audits", "full passes of the memory audit over a partition")                    \
	X(AUDIT_FAILURES, "audit_failures", "passes that found memory changed behind the engine")  \
	X(TURNS, "turns", "duty cycles")                                                           \
	X(TURNS_IDLE, "turns_idle", "duty cycles without work")                                    \
	X(SLEEPS, "sleeps", "times an lcore blocked on its bell")                                  \
	X(CLIENTS_ATTACHED, "clients_attached", "clients attached since start")                    \
	X(CLIENTS_DETACHED, "clients_detached", "clients gone since start")                        \
	X(CLIENTS_REFUSED, "clients_refused", "attach attempts refused")                           \
	X(TURN_NS_MAX, "turn_ns_max", "longest duty cycle")                                        \
	X(PARKED, "parked", "replies waiting for their commit")                                    \
	X(HOLDS, "holds", "holds made")                                                            \
	X(HOLDS_POSTED, "holds_posted", "holds whose money went out")                              \
	X(HOLDS_VOIDED, "holds_voided", "holds whose money went back")                             \
	X(ADJUSTMENTS, "adjustments", "correcting entries")                                        \
	X(EVICTIONS, "evictions", "objects that are over and were forgotten")                      \
	X(PORT_PACKETS, "port_packets", "packets received on ports")                               \
	X(PORT_DATAGRAMS, "port_datagrams", "datagrams whose MAC was right")                       \
	X(PORT_FRAMES, "port_frames", "frames taken from datagrams")                               \
	X(PORT_RESTEERED, "port_resteered", "frames that came to another owner's UDP port")        \
	X(PORT_SENT, "port_sent", "packets sent on ports")                                         \
	X(PORT_ARP, "port_arp", "ARP requests answered")                                           \
	X(PORT_ICMP, "port_icmp", "ICMP echo requests answered")                                   \
	X(PORT_OTHER, "port_other", "packets that are not for us")                                 \
	X(PORT_BROKEN, "port_broken", "packets and datagrams that break their format")             \
	X(PORT_KEY_UNKNOWN, "port_key_unknown", "datagrams of an unknown key")                     \
	X(PORT_FORGED, "port_forged", "datagrams whose MAC was wrong")                             \
	X(PORT_NOT_ALLOWED, "port_not_allowed", "frames outside their key's operations")           \
	X(PORT_BUSY, "port_busy", "frames of ports answered busy for want of room")                \
	X(PORT_UNSENT, "port_unsent", "packets the port had no room to send")

enum hb_counter {
#define HB_COUNTER_ENUM(name, key, label) HB_COUNTER_##name,
	HB_COUNTER_TABLE(HB_COUNTER_ENUM)
#undef HB_COUNTER_ENUM
	HB_COUNTER_COUNT
};
#define HB_COUNTER_SLOTS 128
_Static_assert(HB_COUNTER_COUNT <= HB_COUNTER_SLOTS, "room for counters");

/* Columns behind those of the lcores. */
#define HB_COUNTER_COLUMN_MAIN HB_LCORE_COUNT_MAX
#define HB_COUNTER_COLUMN_PORT (HB_LCORE_COUNT_MAX + 1)
#define HB_COUNTER_COLUMNS     (HB_LCORE_COUNT_MAX + 2)

/* How the columns of a counter are read. */
enum hb_counter_kind {
	HB_KIND_SUM = 0,     /* the sum, which only grows */
	HB_KIND_GAUGE = 1,   /* the sum, which goes up and down */
	HB_KIND_MAXIMUM = 2, /* the largest */
};

/* name, kind, unit of the counters that are no plain number of things that happened. */
#define HB_COUNTER_KIND_TABLE(X)                                                                   \
	X(RECORD_BYTES, SUM, "bytes")                                                              \
	X(TURN_NS_MAX, MAXIMUM, "ns")                                                              \
	X(PARKED, GAUGE, "")

struct hb_counter_label {
	char key[32];
	char label[80];
	char unit[12]; /* "" for a number of things */
	uint32_t kind; /* enum hb_counter_kind */
};
_Static_assert(sizeof(struct hb_counter_label) == 128, "counter label");

struct hb_lcore_line {
	_Alignas(128) _Atomic uint32_t sleeping;
	uint32_t cpu;
	_Atomic uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the last duty cycle */
	_Atomic uint64_t busy_ns;
	uint8_t reserved[104];
};
_Static_assert(sizeof(struct hb_lcore_line) == 128, "lcore line");

/* At HB_SEGMENT_GUARD_BYTES of the node segment. */
struct hb_node {
	struct hb_lcore_line lcore[HB_LCORE_COUNT_MAX];
	uint32_t lcore_count;
	uint32_t counter_count;
	uint64_t started_ns; /* wall */
	uint64_t epoch;
	_Atomic uint32_t clock_stopped; /* money operations wait for an operator */
	_Atomic uint32_t storage_level; /* enum hb_storage_level */
	uint8_t lcore_of_partition[HB_PARTITION_COUNT];
	_Atomic uint32_t degrade_level;	  /* enum hb_degrade_level: what is off now */
	_Atomic uint32_t degrade_by;	  /* enum hb_degrade_by */
	_Atomic uint64_t degrade_until_s; /* Unix seconds; 0: until changed */
	_Atomic uint32_t reloads;	  /* of keys and options that were complete */
	_Atomic uint32_t reload_failures;
	uint8_t reserved[56];
	struct hb_counter_label label[HB_COUNTER_SLOTS];
	_Alignas(128) _Atomic uint64_t value[HB_COUNTER_COLUMNS][HB_COUNTER_SLOTS];
};

/* How full the journal volume is: shedding at 70, 85 and 95 %. */
enum hb_storage_level {
	HB_STORAGE_OK = 0,
	HB_STORAGE_NO_PACKETS = 1,
	HB_STORAGE_NO_GRABS = 2,
	HB_STORAGE_CONTROL_ONLY = 3,
};

/*
 * What is off to keep the rest alive, each level with all before it. Control decides
 * (HB_OP_DEGRADE); the dataplane publishes it here, and itself refuses what makes packets. Whoever
 * serves lists or pushes reads degrade_level before each answer and each event: relaxed is enough,
 * a level is late by a turn anyway. Grabs, balances and transfers are never off.
 */
enum hb_degrade_level {
	HB_DEGRADE_NORMAL = 0,
	HB_DEGRADE_NO_LISTS = 1,
	HB_DEGRADE_NO_PUSH = 2,
	HB_DEGRADE_NO_NEW_PACKETS = 3,
	HB_DEGRADE_COUNT = 4, /* not a level */
};

enum hb_degrade_by {
	HB_DEGRADE_BY_MEASURE = 0,  /* storage, lag, overload */
	HB_DEGRADE_BY_OPERATOR = 1, /* hbctl degrade */
};

/** "normal", "no-lists", "no-push", "no-new-packets"; "unknown" for other numbers. */
const char *hb_degrade_name(uint32_t level);
/** The level of a name, or HB_DEGRADE_COUNT. */
uint32_t hb_degrade_find(const char *name);

/** Fill in counter_count and the labels; called once by the dataplane before the segment is ready.
 */
void hb_node_init(struct hb_node *node, uint32_t lcore_count);

/** Add to a counter of one column; the column's own thread only. */
static inline void
hb_counter_add(struct hb_node *node, uint32_t column, enum hb_counter counter, uint64_t n)
{
	_Atomic uint64_t *value = &node->value[column][counter];

	atomic_store_explicit(
		value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

/** What a counter's columns make together, by its kind; of a kind we do not know, the sum. */
uint64_t hb_counter_sum(const struct hb_node *node, uint32_t counter);
/** "sum", "gauge", "maximum"; "unknown" for the kind of a newer program. */
const char *hb_counter_kind_name(uint32_t kind);
/** A label of a segment that anybody may have made, its texts ended. @return false: no key */
bool hb_counter_label_read(
	const struct hb_node *node, uint32_t counter, struct hb_counter_label *label);

#endif
