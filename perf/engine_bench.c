/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `hongbao-bench engine`: see engine_bench.h. Frames are prepared before each run and read in
 * order; everything the engine looks at for a frame is where the state has it. The memory belongs
 * to one struct that lives as long as the program.
 */
#include "perf/engine_bench.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "perf/engine_world.h"
#include "shm/ids.h"

#define SENDERS_PER_PARTITION 64
#define SENDERS		      (SENDERS_PER_PARTITION * HB_PARTITION_COUNT)
#define HOT_SHARES	      100000
#define MANY_SHARES	      10
#define FEN_PER_SHARE	      100
#define REJECT_SHARES	      1000  /* of a packet that is sold out or whose winners ask again */
#define USED_SHARES	      10000 /* per partition: windows whose sequence is used */
#define SOLD_OUT_PER_SHARE    1000  /* 99.9 % come too late */
#define LIFETIME_S	      86400
#define ZIPF_THETA	      0.99
#define RECORD_ROOM	      128 /* bytes of log per frame; a GRAB record is shorter */
#define LOG_ROOM_MIN	      (UINT64_C(16) << 20) /* for what is prepared */
#define FIRST_SENDER	      UINT64_C(1000000000000)

struct bench {
	struct hb_engine_bench_options options;
	struct hb_world world;
	uint64_t senders[SENDERS];
	uint64_t sender_next;
	uint64_t *users;    /* all accounts in random order */
	uint64_t user_next; /* start of the next packet's users */
	uint64_t *packets;  /* of `many` */
	uint32_t *shares;   /* their shares in random order, by index of the packet */
	uint64_t share_next;
	double zipf_zeta;
	uint64_t run_count;
	struct hb_frame *frames;
	struct hb_world_outcome outcome;
};

/* Senders evenly over the partitions; their packets are too. */
static void
make_senders(struct bench *b, int64_t each_fen)
{
	uint32_t filled[HB_PARTITION_COUNT] = {0};
	uint64_t account = FIRST_SENDER;

	for (uint32_t n = 0; n < SENDERS; account++) {
		uint32_t p = hb_partition_of(account);

		if (filled[p] == SENDERS_PER_PARTITION)
			continue;
		b->senders[filled[p] * HB_PARTITION_COUNT + p] = account;
		filled[p]++;
		n++;
	}
	for (uint32_t i = 0; i < SENDERS; i++) {
		hb_world_open_account(&b->world, b->senders[i]);
		hb_world_fund(&b->world, b->senders[i], each_fen);
	}
}

static uint64_t
send_packet(struct bench *b, uint32_t shares, uint32_t lifetime_s)
{
	return hb_world_send(&b->world, b->senders[b->sender_next++ % SENDERS],
		(int64_t)shares * FEN_PER_SHARE, shares, lifetime_s);
}

static void
shuffle_u64(struct bench *b, uint64_t *of, uint64_t count)
{
	for (uint64_t i = count - 1; i > 0; i--) {
		uint64_t j = hb_world_random(&b->world) % (i + 1);
		uint64_t kept = of[i];

		of[i] = of[j];
		of[j] = kept;
	}
}

static void
make_users(struct bench *b)
{
	for (uint64_t i = 0; i < b->options.accounts; i++) {
		b->users[i] = i + 1;
		hb_world_open_account(&b->world, i + 1);
	}
	shuffle_u64(b, b->users, b->options.accounts);
}

static double
zeta(uint64_t n)
{
	double sum = 0;

	for (uint64_t i = 1; i <= n; i++)
		sum += pow((double)i, -ZIPF_THETA);
	return sum;
}

static void
make_packets(struct bench *b)
{
	uint64_t count = b->options.packets;
	uint64_t shares = count * MANY_SHARES;

	for (uint64_t i = 0; i < count; i++)
		b->packets[i] = send_packet(b, MANY_SHARES, LIFETIME_S);
	shuffle_u64(b, b->packets, count);
	for (uint64_t i = 0; i < shares; i++)
		b->shares[i] = (uint32_t)(i / MANY_SHARES);
	for (uint64_t i = shares - 1; i > 0; i--) {
		uint64_t j = hb_world_random(&b->world) % (i + 1);
		uint32_t kept = b->shares[i];

		b->shares[i] = b->shares[j];
		b->shares[j] = kept;
	}
	b->zipf_zeta = zeta(count);
}

/*
 * Index of a packet by Zipf's law.
 * Source: J. Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994.
 */
static uint64_t
zipf_packet(struct bench *b)
{
	double n = (double)b->options.packets;
	double u = (double)(hb_world_random(&b->world) >> 11) * 0x1p-53;
	double uz = u * b->zipf_zeta;
	double second = 1.0 + pow(0.5, ZIPF_THETA);
	double eta = (1.0 - pow(2.0 / n, 1.0 - ZIPF_THETA)) / (1.0 - second / b->zipf_zeta);
	uint64_t rank;

	if (uz < 1.0)
		return 0;
	if (uz < second)
		return 1;
	rank = (uint64_t)(n * pow(eta * u - eta + 1.0, 1.0 / (1.0 - ZIPF_THETA)));
	return rank < b->options.packets ? rank : b->options.packets - 1;
}

/* Another user each time; within `accounts` calls no user twice. */
static uint64_t
next_user(struct bench *b)
{
	return b->users[b->user_next++ % b->options.accounts];
}

static void
grab(struct bench *b, uint64_t i, uint64_t packet, uint64_t user)
{
	hb_world_grab_frame(&b->world, &b->frames[i], packet, user);
}

/* A packet in each partition, all of its shares taken, asked for in b->frames. */
static uint64_t
sell_out(struct bench *b, uint32_t shares)
{
	struct hb_world_outcome outcome;
	uint64_t n = 0;

	for (uint32_t k = 0; k < HB_PARTITION_COUNT; k++) {
		uint64_t packet = send_packet(b, shares, LIFETIME_S);

		for (uint32_t i = 0; i < shares; i++)
			grab(b, n++, packet, next_user(b));
	}
	hb_world_drive(&b->world, b->frames, n, HB_BURST_MAX, &outcome);
	HB_ASSERT(outcome.status[HB_STATUS_OK] == n && outcome.already == 0);
	return n;
}

static void
prepare_hot(struct bench *b, uint64_t count)
{
	uint64_t packet = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (i % HOT_SHARES == 0)
			packet = send_packet(b, HOT_SHARES, LIFETIME_S);
		grab(b, i, packet, next_user(b));
	}
}

static void
prepare_many(struct bench *b, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		grab(b, i, b->packets[b->shares[b->share_next++]], next_user(b));
}

static void
prepare_zipf(struct bench *b, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		grab(b, i, b->packets[zipf_packet(b)], next_user(b));
}

static void
prepare_sold_out(struct bench *b, uint64_t count)
{
	uint32_t shares = (uint32_t)(count / SOLD_OUT_PER_SHARE);
	uint64_t packet = send_packet(b, shares == 0 ? 1 : shares, LIFETIME_S);

	for (uint64_t i = 0; i < count; i++)
		grab(b, i, packet, next_user(b));
}

/* Winners ask again, in random order. */
static void
prepare_already(struct bench *b, uint64_t count)
{
	uint64_t winners = sell_out(b, REJECT_SHARES);

	for (uint64_t i = winners; i < count; i++)
		b->frames[i] = b->frames[hb_world_random(&b->world) % winners];
}

/* Tokens whose sequence was used, asked with at a packet where the user has nothing. */
static void
prepare_used(struct bench *b, uint64_t count)
{
	uint64_t winners = sell_out(b, USED_SHARES);
	uint64_t fresh[HB_PARTITION_COUNT];

	for (uint32_t k = 0; k < HB_PARTITION_COUNT; k++) {
		uint64_t packet = send_packet(b, REJECT_SHARES, LIFETIME_S);

		fresh[hb_partition_of(packet)] = packet;
	}
	for (uint64_t i = 0; i < winners; i++) {
		struct hb_frame *frame = &b->frames[i];

		frame->target = fresh[hb_partition_of(frame->target)];
		hb_world_token(&b->world, frame, frame->token_id);
	}
	for (uint64_t i = winners; i < count; i++)
		b->frames[i] = b->frames[hb_world_random(&b->world) % winners];
}

static void
prepare_expired(struct bench *b, uint64_t count)
{
	uint64_t packet[HB_PARTITION_COUNT];

	for (uint32_t k = 0; k < HB_PARTITION_COUNT; k++)
		packet[k] = send_packet(b, REJECT_SHARES, 1);
	b->world.clock_ahead_ns += UINT64_C(2000000000);
	for (uint64_t i = 0; i < count; i++)
		grab(b, i, packet[hb_world_random(&b->world) % HB_PARTITION_COUNT], next_user(b));
}

static const struct {
	const char *name;
	uint64_t count_min; /* it asks so many people before it is measured */
	void (*prepare)(struct bench *b, uint64_t count);
} kinds[] = {
	{"hot", 1, prepare_hot},
	{"many", 1, prepare_many},
	{"zipf", 1, prepare_zipf},
	{"sold-out", 1, prepare_sold_out},
	{"already", REJECT_SHARES *HB_PARTITION_COUNT, prepare_already},
	{"used", USED_SHARES *HB_PARTITION_COUNT, prepare_used},
	{"expired", 1, prepare_expired},
};

static void
print_outcome(const char *kind, uint32_t burst, uint64_t count, const struct hb_world_outcome *o)
{
	printf("{\"kind\":\"%s\",\"burst\":%u,\"count\":%" PRIu64 ",\"wall_ns\":%" PRIu64
	       ",\"cpu_ns\":%" PRIu64 ",\"amount_fen\":%" PRId64 ",\"already\":%" PRIu64
	       ",\"outcomes\":{",
		kind, burst, count, o->wall_ns, o->cpu_ns, o->amount_fen, o->already);
	for (uint32_t i = 0, n = 0; i < HB_WORLD_STATUS_MAX; i++)
		if (o->status[i] > 0)
			printf("%s\"%s\":%" PRIu64, n++ > 0 ? "," : "", hb_status_name((uint16_t)i),
				o->status[i]);
	printf("}}\n");
	fflush(stdout);
}

/* Would the run ask for more than was made ready? */
static bool
fits(const struct bench *b, const char *kind, uint64_t count)
{
	if (count > b->options.frames_max || b->run_count == b->options.runs_max)
		return false;
	if (strcmp(kind, "zipf") == 0)
		return b->options.packets > 0;
	if (strcmp(kind, "many") != 0) /* nobody twice in a packet of the largest kind */
		return b->options.accounts >= HOT_SHARES;
	return count <= b->options.packets * MANY_SHARES - b->share_next;
}

static int
command_run(struct bench *b, const char *kind, uint32_t burst, uint64_t count)
{
	if (burst < 1 || burst > HB_BURST_MAX || !fits(b, kind, count))
		return -ERANGE;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kind, kinds[i].name) != 0)
			continue;
		if (count < kinds[i].count_min)
			return -ERANGE;
		if (b->run_count++ == 0)
			hb_world_touch(&b->world);
		kinds[i].prepare(b, count);
		hb_world_drive(&b->world, b->frames, count, burst, &b->outcome);
		print_outcome(kind, burst, count, &b->outcome);
		return 0;
	}
	return -EINVAL;
}

static void
command_check(struct bench *b)
{
	struct hb_world_check check;
	struct hb_world_memory memory;

	hb_world_check(&b->world, &check);
	hb_world_memory(&b->world, &memory);
	printf("{\"ok\":%s,\"wrong\":\"%s\",\"packets\":%" PRIu64 ",\"claims\":%" PRIu64
	       ",\"claims_fen\":%" PRId64 ",\"money_fen\":%" PRId64 ",\"replayed_records\":%" PRIu64
	       ",\"replay_ns\":%" PRIu64,
		check.wrong == NULL ? "true" : "false", check.wrong == NULL ? "" : check.wrong,
		check.packets, check.claims, check.claims_fen, check.money_fen,
		b->world.replayed_records, b->world.replay_ns);
	printf(",\"memory\":{\"accounts\":%" PRIu64 ",\"account_bytes\":%" PRIu64
	       ",\"account_room_bytes\":%" PRIu64 ",\"packets\":%" PRIu64
	       ",\"packet_bytes\":%" PRIu64 ",\"packet_room_bytes\":%" PRIu64
	       ",\"arena_bytes\":%" PRIu64 ",\"claim_bytes\":%zu,\"windows\":%" PRIu64
	       ",\"window_bytes\":%zu}}\n",
		memory.accounts, memory.account_bytes, memory.account_room_bytes, memory.packets,
		memory.packet_bytes, memory.packet_room_bytes, memory.arena_bytes,
		sizeof(struct hb_claim), memory.windows, sizeof(struct hb_window));
	fflush(stdout);
}

/* Room for what the runs will make, evenly over the partitions and with slack for unevenness. */
static struct hb_capacity
capacity_for(const struct hb_engine_bench_options *o)
{
	uint64_t grabs = o->frames_max * o->runs_max + o->packets * MANY_SHARES;
	uint64_t accounts = o->accounts + SENDERS;
	uint64_t packets = o->packets + (grabs / HOT_SHARES + HB_PARTITION_COUNT * 2) * 2;
	uint64_t bytes = o->packets * MANY_SHARES * sizeof(struct hb_claim) +
			 o->frames_max * o->runs_max * 2 * sizeof(struct hb_claim);
	struct hb_capacity c = {.orders = 1024, .holds = 1024, .idempotency = 1024};

	c.accounts = hb_power_of_two_ceil(accounts / HB_PARTITION_COUNT * 3 / 2 + 1024);
	c.packets = hb_power_of_two_ceil(packets / HB_PARTITION_COUNT + 64);
	c.arena_bytes = hb_power_of_two_ceil(bytes / HB_PARTITION_COUNT + (UINT64_C(4) << 20));
	/* each frame has a token of its own, a hot packet's are all in one partition, and a quarter
	 * of the slots stays free */
	c.windows = o->windows != 0 ? o->windows
				    : hb_power_of_two_ceil(o->frames_max * o->runs_max /
								   HB_PARTITION_COUNT * 4 / 3 +
							   2 * (uint64_t)HOT_SHARES);
	return c;
}

static int
bench_open(struct bench *b)
{
	const struct hb_engine_bench_options *o = &b->options;
	struct hb_capacity capacity = capacity_for(o);
	uint64_t shares = o->packets * MANY_SHARES;
	uint64_t log_room = o->frames_max * RECORD_ROOM;
	int result = hb_world_open(
		&b->world, &capacity, log_room < LOG_ROOM_MIN ? LOG_ROOM_MIN : log_room);

	if (result != 0)
		return result;
	b->world.random = o->seed;
	b->users = calloc(o->accounts, sizeof(*b->users));
	b->frames = calloc(o->frames_max, sizeof(*b->frames));
	b->packets = calloc(o->packets + 1, sizeof(*b->packets));
	b->shares = calloc(shares + 1, sizeof(*b->shares));
	if (b->users == NULL || b->frames == NULL || b->packets == NULL || b->shares == NULL)
		return -ENOMEM;
	make_senders(b, (int64_t)(o->frames_max * o->runs_max + shares) * FEN_PER_SHARE);
	make_users(b);
	if (o->packets > 0)
		make_packets(b);
	hb_world_settle(&b->world);
	printf("{\"state_bytes\":%" PRIu64 ",\"huge_bytes\":%" PRIu64 ",\"accounts\":%" PRIu64
	       ",\"packets\":%" PRIu64 ",\"seed\":%" PRIu64 "}\n",
		b->world.state.segment.bytes, hb_world_huge_bytes(&b->world), o->accounts,
		o->packets, o->seed);
	fflush(stdout);
	return 0;
}

int
hb_engine_bench(const struct hb_engine_bench_options *options)
{
	static struct bench bench = {0};
	char line[128], kind[32];
	uint32_t burst;
	uint64_t count;
	int result;

	bench.options = *options;
	result = bench_open(&bench);
	while (result == 0 && fgets(line, sizeof(line), stdin) != NULL) {
		if (sscanf(line, "run %31s %" SCNu32 " %" SCNu64, kind, &burst, &count) == 3)
			result = command_run(&bench, kind, burst, count);
		else if (strcmp(line, "check\n") == 0)
			command_check(&bench);
		else
			result = -EINVAL;
	}
	if (result == 0)
		hb_world_close(&bench.world);
	free(bench.users);
	free(bench.frames);
	free(bench.packets);
	free(bench.shares);
	return result;
}
