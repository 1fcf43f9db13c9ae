/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-claims-bench: the table of claims alone. Who has taken a share of which packet: entered
 * once, asked for once, over many packets, in one thread. The engine's (a packet's shares lie
 * together, found through the packet) beside two that are made for any key: DPDK's rte_hash and
 * liburcu's lfht, with (packet, user) as the key. perf/bench_engine.py takes turns with them.
 *
 * Each is used as its documentation advises: sized for what comes, in huge pages, rte_hash with
 * look-ups of a whole burst (they prefetch) before the keys are added, lfht with add_unique, which
 * looks and adds in one, and quiescent-state RCU, whose readers cost nothing. Pages are touched
 * before the clock starts. Everything lives until the program ends.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_memory.h>
#define _LGPL_SOURCE
#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "perf/engine_world.h"
#include "shm/ids.h"

#define SHARES		     10
#define FEN_PER_SHARE	     100
#define BURST_MAX	     32
#define SENDER		     UINT64_C(1000000000000)
#define LIFETIME_S	     86400
#define PAGE_BYTES	     4096
#define HUGE_BYTES	     (UINT64_C(2) << 20)
#define EAL_MIB_MIN	     64
#define RTE_HASH_ENTRY_BYTES 160 /* key, position, free slot, and its part of the buckets: less */
#define LOG_BYTES	     (UINT64_C(64) << 20)
#define SETTLE_EVERY	     65536 /* packets: the log has room for so many */

/* What is entered and asked for. */
struct key {
	uint64_t packet;
	uint64_t user;
};
_Static_assert(sizeof(struct key) == 16, "without holes: it is hashed as bytes");

struct value {
	uint32_t amount_fen;
	uint32_t offset_ms; /* 0: not entered */
};

struct node {
	struct cds_lfht_node link;
	struct key key;
	struct value value;
};

struct bench {
	uint64_t packet_count;
	uint64_t claim_count;
	uint32_t burst;
	uint64_t seed;
	uint64_t *packets; /* ids */
	struct key *keys;  /* claim_count, in the order of entering */
	struct key *asked; /* the same in another */

	struct hb_world world;

	struct rte_hash *hash;
	struct value *values; /* by the position of the key */

	struct cds_lfht *lfht;
	struct node *nodes;
	uint64_t node_next;
};

/* One table. `enter` and `ask` get up to BURST_MAX keys; `ask` returns the sum of their amounts. */
struct table {
	const char *name;
	void (*open)(struct bench *b);
	void (*enter)(struct bench *b, const struct key *keys, uint32_t count);
	uint64_t (*ask)(struct bench *b, const struct key *keys, uint32_t count);
};

static _Noreturn void
fatal(const char *what, const char *why)
{
	fprintf(stderr, "hongbao-claims-bench: %s: %s\n", what, why);
	exit(2);
}

static void *
zeroed(uint64_t bytes)
{
	void *at = aligned_alloc(HUGE_BYTES, hb_round_up(bytes, HUGE_BYTES));

	if (at == NULL)
		fatal("no memory", "the tables of 1,000,000 packets need 4 GiB");
	(void)madvise(at, hb_round_up(bytes, HUGE_BYTES), MADV_HUGEPAGE);
	memset(at, 0, bytes);
	return at;
}

static void
shuffle(struct bench *b, struct key *keys, uint64_t count)
{
	for (uint64_t i = count - 1; i > 0; i--) {
		uint64_t j = hb_world_random(&b->world) % (i + 1);
		struct key kept = keys[i];

		keys[i] = keys[j];
		keys[j] = kept;
	}
}

static struct value
value_of(const struct key *key)
{
	return (struct value){.amount_fen = (uint32_t)(key->user % 199 + 1), .offset_ms = 1};
}

/* ---- the engine's ---- */

static struct hb_partition *
partition_of(struct bench *b, const struct key *key)
{
	return &b->world.state.partition[hb_partition_of(key->packet)];
}

static void
engine_open(struct bench *b)
{
	hb_world_settle(&b->world);
	hb_world_touch(&b->world);
}

static void
engine_frames(struct hb_frame *frames, const struct key *keys, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		frames[i].operation = HB_OP_GRAB;
		frames[i].target = keys[i].packet;
		frames[i].user = keys[i].user;
	}
}

/* As an lcore does with a burst. */
static void
engine_prefetch(struct bench *b, const struct hb_frame *frames, const struct key *keys, uint32_t i,
	uint32_t count)
{
	uint32_t first = i == 0 ? 0 : i + HB_PREFETCH_HEAD_AHEAD;

	for (uint32_t j = first; j <= i + HB_PREFETCH_HEAD_AHEAD && j < count; j++)
		hb_prefetch_head(partition_of(b, &keys[j]), &frames[j]);
	first = i == 0 ? 0 : i + HB_PREFETCH_CLAIMS_AHEAD;
	for (uint32_t j = first; j <= i + HB_PREFETCH_CLAIMS_AHEAD && j < count; j++)
		hb_prefetch_claims(partition_of(b, &keys[j]), &frames[j]);
}

static void
engine_enter(struct bench *b, const struct key *keys, uint32_t count)
{
	struct hb_frame frames[BURST_MAX];

	engine_frames(frames, keys, count);
	for (uint32_t i = 0; i < count; i++) {
		struct hb_partition *p = partition_of(b, &keys[i]);
		struct hb_packet *packet;
		struct hb_claim *claim;

		if (count > 1)
			engine_prefetch(b, frames, keys, i, count);
		packet = hb_packet_find(p, keys[i].packet);
		HB_ASSERT(packet != NULL && packet->left_count > 0);
		HB_ASSERT(hb_claim_find(p, packet, keys[i].user) == NULL);
		claim = &hb_packet_claims(p, packet)[packet->count - packet->left_count];
		packet->left_count--;
		claim->user = keys[i].user;
		claim->amount_fen = value_of(&keys[i]).amount_fen;
		claim->offset_ms = 1;
	}
}

static uint64_t
engine_ask(struct bench *b, const struct key *keys, uint32_t count)
{
	struct hb_frame frames[BURST_MAX];
	uint64_t sum = 0;

	engine_frames(frames, keys, count);
	for (uint32_t i = 0; i < count; i++) {
		struct hb_partition *p = partition_of(b, &keys[i]);
		const struct hb_packet *packet;
		const struct hb_claim *claim;

		if (count > 1)
			engine_prefetch(b, frames, keys, i, count);
		packet = hb_packet_find(p, keys[i].packet);
		HB_ASSERT(packet != NULL);
		claim = hb_claim_find(p, packet, keys[i].user);
		HB_ASSERT(claim != NULL);
		sum += claim->amount_fen;
	}
	return sum;
}

/* ---- rte_hash ---- */

static int
huge_memory(const struct rte_memseg_list *list, const struct rte_memseg *segment, void *argument)
{
	(void)list;
	(void)argument;
	volatile uint8_t *bytes = segment->addr;

	(void)madvise(segment->addr, segment->len, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < segment->len; at += PAGE_BYTES)
		bytes[at] = bytes[at]; /* EAL keeps its own things there */
	return 0;
}

static void
rte_open(struct bench *b)
{
	uint64_t entries = hb_power_of_two_ceil(b->packet_count * SHARES);
	char memory_mib[32];
	char *words[] = {"hongbao-claims-bench", "--no-huge", "-m", memory_mib, "--no-pci",
		"--no-shconf", "--no-telemetry", "--log-level=error", NULL};
	struct rte_hash_parameters parameters = {.name = "claims",
		.entries = (uint32_t)entries,
		.key_len = sizeof(struct key),
		.hash_func = rte_hash_crc};

	/* what EAL writes goes where RUNTIME_DIRECTORY says; the caller removes it */
	snprintf(memory_mib, sizeof(memory_mib), "%" PRIu64,
		EAL_MIB_MIN + (entries * RTE_HASH_ENTRY_BYTES >> 20));
	if (rte_eal_init(sizeof(words) / sizeof(words[0]) - 1, words) < 0)
		fatal("rte_hash", "EAL does not start");
	(void)rte_memseg_walk(huge_memory, NULL);
	b->hash = rte_hash_create(&parameters);
	if (b->hash == NULL)
		fatal("rte_hash", "no table of this size");
	b->values = zeroed((entries + 1) * sizeof(*b->values));
}

static void
rte_enter(struct bench *b, const struct key *keys, uint32_t count)
{
	const void *addresses[BURST_MAX];
	int32_t positions[BURST_MAX];

	for (uint32_t i = 0; i < count; i++)
		addresses[i] = &keys[i];
	if (count > 1 && rte_hash_lookup_bulk(b->hash, addresses, count, positions) != 0)
		fatal("rte_hash", "look-up failed");
	for (uint32_t i = 0; i < count; i++) {
		int32_t position = rte_hash_add_key(b->hash, &keys[i]);

		HB_ASSERT(position >= 0 && b->values[position].offset_ms == 0);
		b->values[position] = value_of(&keys[i]);
	}
}

static uint64_t
rte_ask(struct bench *b, const struct key *keys, uint32_t count)
{
	const void *addresses[BURST_MAX];
	int32_t positions[BURST_MAX];
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		addresses[i] = &keys[i];
	if (count == 1)
		positions[0] = rte_hash_lookup(b->hash, keys);
	else if (rte_hash_lookup_bulk(b->hash, addresses, count, positions) != 0)
		fatal("rte_hash", "look-up failed");
	for (uint32_t i = 0; i < count; i++) {
		HB_ASSERT(positions[i] >= 0);
		sum += b->values[positions[i]].amount_fen;
	}
	return sum;
}

/* ---- lfht ---- */

static int
lfht_match(struct cds_lfht_node *link, const void *key)
{
	const struct node *node = caa_container_of(link, struct node, link);

	return memcmp(&node->key, key, sizeof(node->key)) == 0;
}

static void
lfht_open(struct bench *b)
{
	uint64_t buckets = hb_power_of_two_ceil(b->packet_count * SHARES);

	rcu_register_thread();
	b->lfht = cds_lfht_new(buckets, buckets, buckets, 0, NULL);
	if (b->lfht == NULL)
		fatal("lfht", "no table of this size");
	b->nodes = zeroed(b->claim_count * sizeof(*b->nodes));
}

static void
lfht_enter(struct bench *b, const struct key *keys, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct node *node = &b->nodes[b->node_next++];
		struct cds_lfht_node *found;

		node->key = keys[i];
		node->value = value_of(&keys[i]);
		found = cds_lfht_add_unique(b->lfht, rte_hash_crc(&keys[i], sizeof(keys[i]), 0),
			lfht_match, &keys[i], &node->link);
		HB_ASSERT(found == &node->link);
	}
}

static uint64_t
lfht_ask(struct bench *b, const struct key *keys, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct cds_lfht_iter iter;
		struct cds_lfht_node *link;

		cds_lfht_lookup(b->lfht, rte_hash_crc(&keys[i], sizeof(keys[i]), 0), lfht_match,
			&keys[i], &iter);
		link = cds_lfht_iter_get_node(&iter);
		HB_ASSERT(link != NULL);
		sum += caa_container_of(link, struct node, link)->value.amount_fen;
	}
	return sum;
}

static const struct table tables[] = {
	{"engine", engine_open, engine_enter, engine_ask},
	{"rte_hash", rte_open, rte_enter, rte_ask},
	{"lfht", lfht_open, lfht_enter, lfht_ask},
};

/* ---- the run ---- */

static void
make_packets(struct bench *b)
{
	struct hb_capacity capacity = {.accounts = 1024,
		.windows = 1024,
		.orders = 1024,
		.holds = 1024,
		.idempotency = 1024};
	uint64_t each = b->packet_count / HB_PARTITION_COUNT;

	capacity.packets = hb_power_of_two_ceil(each * 3 / 2 + 64);
	capacity.arena_bytes = hb_power_of_two_ceil(
		each * 3 / 2 * SHARES * sizeof(struct hb_claim) + (UINT64_C(4) << 20));
	if (hb_world_open(&b->world, &capacity, LOG_BYTES) != 0)
		fatal("no memory", "for the engine's state");
	b->world.random = b->seed;
	b->packets = zeroed(b->packet_count * sizeof(*b->packets));
	for (uint64_t i = 0; i < 16 * HB_PARTITION_COUNT; i++) {
		hb_world_open_account(&b->world, SENDER + i);
		hb_world_fund(
			&b->world, SENDER + i, (int64_t)(b->packet_count * SHARES * FEN_PER_SHARE));
	}
	for (uint64_t i = 0; i < b->packet_count; i++) {
		b->packets[i] = hb_world_send(&b->world, SENDER + i % (16 * HB_PARTITION_COUNT),
			SHARES * FEN_PER_SHARE, SHARES, LIFETIME_S);
		if (i % SETTLE_EVERY == 0)
			hb_world_settle(&b->world);
	}
}

/* All shares of all packets in random order; of each as many users as it has shares. */
static void
make_keys(struct bench *b)
{
	uint64_t shares = b->packet_count * SHARES;
	struct key *all = zeroed(shares * sizeof(*all));

	for (uint64_t i = 0; i < shares; i++)
		all[i] = (struct key){
			.packet = b->packets[i / SHARES], .user = 1 + i * UINT64_C(7919) % 1000003};
	shuffle(b, all, shares);
	b->keys = all;
	b->asked = zeroed(b->claim_count * sizeof(*b->asked));
	memcpy(b->asked, b->keys, b->claim_count * sizeof(*b->asked));
	shuffle(b, b->asked, b->claim_count);
}

static void
measure(struct bench *b, const struct table *table)
{
	uint64_t begin_ns, entered_ns, asked_ns, sum = 0, wanted = 0;

	begin_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < b->claim_count; i += b->burst)
		table->enter(b, &b->keys[i], b->burst);
	entered_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
	begin_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < b->claim_count; i += b->burst)
		sum += table->ask(b, &b->asked[i], b->burst);
	asked_ns = hb_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
	for (uint64_t i = 0; i < b->claim_count; i++)
		wanted += value_of(&b->keys[i]).amount_fen;
	if (sum != wanted)
		fatal(table->name, "what was found is not what was entered");
	printf("{\"table\":\"%s\",\"packets\":%" PRIu64 ",\"claims\":%" PRIu64
	       ",\"burst\":%u,\"enter_ns\":%.1f,\"ask_ns\":%.1f}\n",
		table->name, b->packet_count, b->claim_count, b->burst,
		(double)entered_ns / (double)b->claim_count,
		(double)asked_ns / (double)b->claim_count);
}

static uint64_t
number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (end == text || *end != '\0' || value < least || value > most)
		fatal("not a possible number", text);
	return value;
}

static const char help[] =
	"hongbao-claims-bench engine|rte_hash|lfht [--packets N] [--claims N] [--burst N] [--seed "
	"N]\n"
	"  enters claims of packets of 10 shares in random order and asks for them in another:\n"
	"  ns of CPU each, in one thread, as a JSON object\n"
	"    --packets N   there are (1000000)\n"
	"    --claims N    of their shares, in whole bursts (a third)\n"
	"    --burst N     keys handed over at a time, at most 32 (32)\n"
	"    --seed N      of the orders (1)\n";

static const struct table *
parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {{"packets", required_argument, NULL, 'p'},
		{"claims", required_argument, NULL, 'c'}, {"burst", required_argument, NULL, 'b'},
		{"seed", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int option;

	*b = (struct bench){.packet_count = 1000000, .burst = BURST_MAX, .seed = 1};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			b->packet_count = number(optarg, HB_PARTITION_COUNT, 10000000);
		else if (option == 'c')
			b->claim_count = number(optarg, BURST_MAX, 100000000);
		else if (option == 'b')
			b->burst = (uint32_t)number(optarg, 1, BURST_MAX);
		else if (option == 's')
			b->seed = number(optarg, 0, UINT64_MAX);
		else if (option == 'h') {
			fputs(help, stdout);
			exit(0);
		} else
			fatal("unknown option", "see --help");
	}
	if (b->claim_count == 0)
		b->claim_count = b->packet_count * SHARES / 3;
	b->claim_count -= b->claim_count % b->burst;
	if (b->claim_count > b->packet_count * SHARES)
		fatal("more claims than shares", "packets have 10 each");
	for (size_t i = 0; optind < argc && i < sizeof(tables) / sizeof(tables[0]); i++)
		if (strcmp(argv[optind], tables[i].name) == 0)
			return &tables[i];
	fatal("no table named", "engine, rte_hash or lfht; see --help");
}

int
main(int argc, char **argv)
{
	static struct bench bench;
	const struct table *table = parse(&bench, argc, argv);

	make_packets(&bench);
	make_keys(&bench);
	table->open(&bench);
	measure(&bench, table);
	return 0;
}
