/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `hongbao-bench rings`: see rings_bench.h. One thread; it spins for a short while and then sleeps
 * as the front does. The time a request counts from travels in its correlation. If it dies, the
 * dataplane sees the hang-up and forgets it.
 */
#include "perf/rings_bench.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "base/clock.h"
#include "perf/arrivals.h"
#include "perf/histogram.h"
#include "shm/client.h"
#include "shm/ids.h"
#include "shm/node.h"
#include "shm/record.h"
#include "shm/token.h"

#define GROUP	       7
#define SHARES	       10
#define FEN_PER_SHARE  100
#define SENDERS	       256
#define PREPARE_FLIGHT 128
#define CALL_MS	       5000
#define STALL_MS       10000
#define SPIN_NS	       20000
#define TICK_NS	       50000 /* of arrivals that wait for the disk: the client sleeps in between */
#define SPIN_LOOKS     16    /* at the rings, between looks at the clock */
#define POLL_MAX       256
#define FLOOD_GAPS     4096
#define FIRST_GRABBER  UINT64_C(3000000000000)
#define RING_BYTES     (1u << 20)
#define REPLY_BYTES    (1u << 22)
#define PEOPLE	       "hongbao-bench"

struct rings {
	struct hb_rings_options options;
	struct hb_client *client;
	struct hb_frame *grabs;
	uint64_t used; /* grabs that were sent: their users won */
	uint64_t packet_count;
	uint64_t *packets;
	uint64_t random;
	char *error;
	/* of the run under way */
	const char *kind;
	uint32_t issued_s;
	uint64_t now_ns; /* when the batch of replies at hand came; 0: not looked yet */
	uint64_t sent, done, failed;
	int64_t amount_fen;
	struct hb_histogram latency;
	uint64_t refused,
		dropped; /* of a flood: busy, and not even sent because the ring is full */
	struct hb_histogram refusal;
	struct hb_arrivals arrivals;
	uint64_t flood_gap_ns[FLOOD_GAPS];
	void (*prepared)(struct rings *r, const struct hb_reply *reply);
};

static uint64_t
random_next(struct rings *r)
{
	r->random += UINT64_C(0x9e3779b97f4a7c15);
	return hb_mix64(r->random);
}

static int
fail(struct rings *r, int result, const char *what)
{
	snprintf(r->error, 160, "%.100s: %.50s", what, strerror(-result));
	return result;
}

static void
begin(void *frame, enum hb_operation operation, uint32_t length, uint64_t target, uint64_t user)
{
	struct hb_frame *f = frame;

	memset(frame, 0, length);
	f->version = HB_FRAME_VERSION;
	f->operation = (uint8_t)operation;
	f->length = (uint16_t)length;
	f->issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	f->target = target;
	f->user = user;
}

/* Block until a reply comes or the time is over. @return 0, -EPIPE, -ETIMEDOUT */
static int
wait_for_reply(struct rings *r, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = hb_client_wake_fd(r->client), .events = POLLIN},
		{.fd = hb_client_socket_fd(r->client), .events = POLLIN}};
	int n = 1;

	if (hb_client_sleep(r->client))
		n = poll(fds, 2, timeout_ms);
	hb_client_awake(r->client);
	if (n > 0 && fds[1].revents != 0)
		return -EPIPE;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* Take replies; after a while without any, sleep. @return 0 or -errno */
static int
take(struct rings *r, hb_client_reply_fn *fn, int timeout_ms)
{
	uint64_t begin_ns = hb_mono_ns();

	do {
		for (int i = 0; i < SPIN_LOOKS; i++) {
			int n;

			r->now_ns = 0;
			n = hb_client_poll(r->client, fn, r, POLL_MAX);
			if (n != 0)
				return n < 0 ? n : 0;
		}
	} while (hb_mono_ns() - begin_ns < SPIN_NS);
	return wait_for_reply(r, timeout_ms);
}

static int
call_ok(struct rings *r, void *frame, struct hb_reply *reply)
{
	int result = hb_client_call(r->client, frame, reply, CALL_MS);

	if (result != 0)
		return fail(r, result, "the dataplane did not answer");
	if (reply->status != HB_STATUS_OK) {
		snprintf(r->error, 160, "refused: %s", hb_status_name(reply->status));
		return -EPROTO;
	}
	return 0;
}

static int
fund(struct rings *r, uint64_t account, int64_t amount_fen)
{
	struct hb_frame_account_open open;
	struct hb_frame_order order;
	uint64_t room[HB_REPLY_BYTES_MAX / sizeof(uint64_t)];
	struct hb_reply *reply = (void *)room;
	int result;

	begin(&open, HB_OP_ACCOUNT_OPEN, sizeof(open), account, 0);
	open.kind = HB_ACCOUNT_USER;
	result = call_ok(r, &open, reply);
	if (result != 0)
		return result;
	begin(&order, HB_OP_ORDER_OPEN, sizeof(order), account, 0);
	order.amount_fen = amount_fen;
	order.business = HB_BUSINESS_RECHARGE;
	order.channel = HB_SYSTEM_CLEARING_MANUAL;
	result = call_ok(r, &order, reply);
	if (result != 0)
		return result;
	order.head.operation = HB_OP_CREDIT;
	order.order_stamp = reply->order_stamp;
	return call_ok(r, &order, reply);
}

static void
count_prepared(void *context, const struct hb_reply *reply)
{
	struct rings *r = context;

	r->done++;
	if (reply->status != HB_STATUS_OK)
		r->failed++;
	else
		r->prepared(r, reply);
}

/* Send `count` frames that `make` fills, some under way at a time, and take their replies. */
static int
prepare(struct rings *r, uint64_t count, void (*make)(struct rings *r, uint64_t i, void *frame),
	void (*prepared)(struct rings *r, const struct hb_reply *reply))
{
	uint64_t frame[HB_FRAME_BYTES_MAX / sizeof(uint64_t)];

	r->prepared = prepared;
	r->sent = r->done = r->failed = 0;
	while (r->done < count) {
		int result;

		while (r->sent < count && r->sent - r->done < PREPARE_FLIGHT) {
			make(r, r->sent, frame);
			if (hb_client_send(r->client, (void *)frame) != 0)
				break;
			r->sent++;
		}
		hb_client_flush(r->client);
		result = take(r, count_prepared, STALL_MS);
		if (result != 0)
			return fail(r, result, "preparing");
	}
	return r->failed == 0 ? 0 : fail(r, -EPROTO, "preparing: something was refused");
}

static void
make_packet(struct rings *r, uint64_t i, void *frame)
{
	struct hb_frame_packet_create *f = frame;
	uint64_t sender = r->options.first_sender + i % SENDERS;

	begin(f, HB_OP_PACKET_CREATE, sizeof(*f), sender, sender);
	f->head.correlation = i;
	f->head.group = GROUP;
	f->kind = HB_PACKET_LUCKY;
	f->algorithm = HB_SPLIT_DOUBLE_MEAN;
	f->count = SHARES;
	f->total_fen = SHARES * FEN_PER_SHARE;
}

static void
packet_made(struct rings *r, const struct hb_reply *reply)
{
	r->packets[reply->correlation] = reply->id;
}

static void
make_token(struct rings *r, uint64_t i, void *frame)
{
	struct hb_frame_token *f = frame;
	uint64_t users = r->options.users;

	if (users > 0) /* those who grab from a packet are different: SHARES in a row */
		begin(f, HB_OP_TOKEN_ISSUE, sizeof(*f), r->packets[i / SHARES],
			FIRST_GRABBER + i % users);
	else
		begin(f, HB_OP_TOKEN_ISSUE, sizeof(*f), r->packets[i % r->packet_count],
			FIRST_GRABBER + i);
	f->head.correlation = i;
	f->for_operation = HB_OP_GRAB;
}

static void
token_made(struct rings *r, const struct hb_reply *reply)
{
	const struct hb_reply_token *token = (const void *)(reply + 1);
	struct hb_frame *f = &r->grabs[reply->correlation];

	begin(f, HB_OP_GRAB, sizeof(*f), token->target, token->user);
	f->group = GROUP;
	f->token_id = token->token_id;
	f->token_mac = token->token_mac;
	f->token_expiry_s = token->expiry_s;
	f->sequence = token->sequence + 1;
}

static void
count_answer(void *context, const struct hb_reply *reply)
{
	struct rings *r = context;
	bool already = (reply->flags & HB_REPLY_ALREADY) != 0;

	if (r->now_ns == 0) /* the first of a batch says when it came */
		r->now_ns = hb_mono_ns();
	r->done++;
	if (reply->status != HB_STATUS_OK || already != (r->kind[0] == 'a'))
		r->failed++;
	r->amount_fen += reply->amount_fen;
	hb_histogram_add(
		&r->latency, r->now_ns > reply->correlation ? r->now_ns - reply->correlation : 0);
}

/* Send one request that counts from `from_ns`. @return false when the ring is full */
static bool
send_one(struct rings *r, uint64_t from_ns)
{
	struct hb_frame *frame =
		r->kind[0] == 'a' ? &r->grabs[random_next(r) % r->used] : &r->grabs[r->used];

	frame->correlation = from_ns;
	frame->issued_s = r->issued_s;
	if (hb_client_send(r->client, frame) != 0)
		return false;
	r->sent++;
	r->used += r->kind[0] == 'd';
	return true;
}

static int
run_closed(struct rings *r, uint64_t in_flight, uint64_t count)
{
	while (r->done < count) {
		uint64_t now_ns = hb_mono_ns();
		int result;

		while (r->sent < count && r->sent - r->done < in_flight && send_one(r, now_ns))
			;
		hb_client_flush(r->client);
		result = take(r, count_answer, STALL_MS);
		if (result != 0)
			return fail(r, result, "waiting for replies");
	}
	return 0;
}

/*
 * The node needs the CPU for a commit, and so does the kernel: sleep until replies come or arrivals
 * are due, at the next multiple of a tick. What that adds is part of the latency.
 */
static int
rest(struct rings *r, uint64_t now_ns, uint64_t due_ns)
{
	struct pollfd fds[2] = {{.fd = hb_client_wake_fd(r->client), .events = POLLIN},
		{.fd = hb_client_socket_fd(r->client), .events = POLLIN}};
	uint64_t until_ns = due_ns > now_ns ? due_ns : now_ns;
	struct timespec limit = {0};

	until_ns += TICK_NS - until_ns % TICK_NS;
	limit.tv_nsec = until_ns - now_ns < 1000000 ? (long)(until_ns - now_ns) : 1000000;
	if (hb_client_sleep(r->client))
		(void)ppoll(fds, 2, &limit, NULL);
	hb_client_awake(r->client);
	return fds[1].revents != 0 ? -EPIPE : 0;
}

static int
run_open(struct rings *r, uint64_t count)
{
	uint64_t due_ns = hb_mono_ns();

	while (r->done < count) {
		uint64_t now_ns = hb_mono_ns();
		int n;

		while (r->sent < count && now_ns >= due_ns) {
			if (!send_one(r, due_ns))
				break;
			due_ns += hb_arrivals_gap_ns(&r->arrivals);
		}
		hb_client_flush(r->client);
		r->now_ns = 0;
		n = hb_client_poll(r->client, count_answer, r, POLL_MAX);
		if (n < 0)
			return fail(r, n, "waiting for replies");
		if (n == 0 && now_ns > due_ns + STALL_MS * UINT64_C(1000000))
			return fail(r, -ETIMEDOUT, "waiting for replies");
		if (n == 0 && r->kind[0] == 'd' && rest(r, now_ns, due_ns) != 0)
			return fail(r, -EPIPE, "waiting for replies");
	}
	return 0;
}

static void
count_flood(void *context, const struct hb_reply *reply)
{
	struct rings *r = context;
	uint64_t ns = r->now_ns > reply->correlation ? r->now_ns - reply->correlation : 0;

	r->done++;
	if (reply->status == HB_STATUS_BUSY) {
		r->refused++;
		hb_histogram_add(&r->refusal, ns);
		return;
	}
	if (reply->status != HB_STATUS_OK)
		r->failed++;
	r->amount_fen += reply->amount_fen;
	hb_histogram_add(&r->latency, ns);
}

/*
 * Offer a rate whatever comes back, until `count` found room; nobody asks again, and what finds
 * none uses no grab up. Times count from the moment of sending. Gaps between arrivals are picked
 * from some drawn before: ten million logarithms a second would be a third of the client's CPU.
 */
static int
run_flood(struct rings *r, uint64_t count)
{
	uint64_t heard_ns = hb_mono_ns();
	uint64_t due_ns = heard_ns;

	while (r->sent < count || r->done < r->sent) {
		bool full = false;
		int n;

		/* who is due in the same moment need not look at the full ring again */
		for (r->now_ns = hb_mono_ns(); r->sent < count && r->now_ns >= due_ns;) {
			full = full || !send_one(r, r->now_ns);
			r->dropped += full;
			due_ns += r->flood_gap_ns[random_next(r) % FLOOD_GAPS];
		}
		hb_client_flush(r->client);
		r->now_ns = hb_mono_ns();
		n = hb_client_poll(r->client, count_flood, r, POLL_MAX);
		if (n < 0)
			return fail(r, n, "waiting for replies");
		if (n > 0)
			heard_ns = r->now_ns;
		else if (r->now_ns > heard_ns + STALL_MS * UINT64_C(1000000))
			return fail(r, -ETIMEDOUT, "waiting for replies");
	}
	return 0;
}

static void
print_flood(const struct rings *r, const char *load, uint64_t ns)
{
	printf("{\"mode\":\"flood\",\"load\":%s,\"offered\":%" PRIu64 ",\"done\":%" PRIu64
	       ",\"refused\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"amount_fen\":%" PRId64
	       ",\"rate_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.2f"
	       ",\"refusal_p50_us\":%.2f,\"refusal_p99_us\":%.2f,\"refusal_max_us\":%.2f}\n",
		load, r->sent + r->dropped, r->done - r->refused, r->refused, r->dropped, r->failed,
		r->amount_fen, (double)(r->done - r->refused) * 1e9 / (double)(ns + 1),
		(double)hb_histogram_percentile(&r->latency, 500000) / 1e3,
		(double)hb_histogram_percentile(&r->latency, 990000) / 1e3,
		(double)r->latency.max / 1e3,
		(double)hb_histogram_percentile(&r->refusal, 500000) / 1e3,
		(double)hb_histogram_percentile(&r->refusal, 990000) / 1e3,
		(double)r->refusal.max / 1e3);
	fflush(stdout);
}

static void
print_run(const struct rings *r, const char *mode, const char *load, uint64_t ns)
{
	static const struct {
		const char *name;
		uint32_t per_million;
	} ranks[] = {{"p50", 500000}, {"p99", 990000}, {"p999", 999000}};

	printf("{\"mode\":\"%s\",\"kind\":\"%s\",\"load\":%s,\"count\":%" PRIu64
	       ",\"failed\":%" PRIu64 ",\"amount_fen\":%" PRId64 ",\"rate_per_s\":%.1f",
		mode, r->kind, load, r->done, r->failed, r->amount_fen,
		(double)r->done * 1e9 / (double)(ns + 1));
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
		printf(",\"%s_us\":%.2f", ranks[i].name,
			(double)hb_histogram_percentile(&r->latency, ranks[i].per_million) / 1e3);
	printf(",\"max_us\":%.2f}\n", (double)r->latency.max / 1e3);
	fflush(stdout);
}

/* Before the clock starts. A flood goes round a table of gaps, whose mean is that of the rate. */
static void
draw_arrivals(struct rings *r, bool flood, double rate_per_s, uint64_t count)
{
	hb_arrivals_init(&r->arrivals, random_next(r), rate_per_s, flood ? FLOOD_GAPS : count);
	for (uint32_t i = 0; flood && i < FLOOD_GAPS; i++)
		r->flood_gap_ns[i] = hb_arrivals_gap_ns(&r->arrivals);
}

static int
run(struct rings *r, const char *mode, const char *load, uint64_t count)
{
	double amount = strtod(load, NULL);
	uint64_t begin_ns;
	int result;

	if (r->kind[0] == 'd' ? count > r->options.grabs - r->used : r->used == 0)
		return fail(r, -ERANGE, "so many grabs were not prepared");
	r->sent = r->done = r->failed = r->refused = r->dropped = 0;
	r->amount_fen = 0;
	hb_histogram_reset(&r->latency);
	hb_histogram_reset(&r->refusal);
	if (!(amount >= 1))
		return fail(r, -EINVAL, load);
	r->issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	if (mode[0] != 'c')
		draw_arrivals(r, mode[0] == 'f', amount, count);
	begin_ns = hb_mono_ns();
	if (mode[0] == 'c')
		result = run_closed(r, (uint64_t)amount, count);
	else if (mode[0] == 'f')
		result = run_flood(r, count);
	else
		result = run_open(r, count);
	if (result == 0 && mode[0] == 'f')
		print_flood(r, load, hb_mono_ns() - begin_ns);
	else if (result == 0)
		print_run(r, mode, load, hb_mono_ns() - begin_ns);
	return result;
}

/* Hand prepared grabs over to a client that comes another way. */
static int
tell(struct rings *r, const char *path, uint64_t count)
{
	char text[HB_TOKEN_TEXT_MAX];
	FILE *file;

	if (count > r->options.grabs - r->used)
		return fail(r, -ERANGE, "so many grabs were not prepared");
	file = fopen(path, "we");
	if (file == NULL)
		return fail(r, -errno, path);
	for (uint64_t i = 0; i < count; i++) {
		const struct hb_frame *f = &r->grabs[r->used++];
		struct hb_token token = {.operation = HB_OP_GRAB,
			.id = f->token_id,
			.mac = f->token_mac,
			.expiry_s = f->token_expiry_s};

		hb_token_format(text, &token, 0, f->user);
		fprintf(file, "%" PRIu64 " %016" PRIx64 " %s %u\n", f->user, f->target, text,
			f->sequence);
	}
	if (fclose(file) != 0)
		return fail(r, -errno, path);
	printf("{\"told\":%" PRIu64 "}\n", count);
	fflush(stdout);
	return 0;
}

static int
open_rings(struct rings *r)
{
	int result;

	r->packet_count = (r->options.grabs + SHARES - 1) / SHARES;
	r->packets = calloc(r->packet_count, sizeof(*r->packets));
	r->grabs = calloc(r->options.grabs, sizeof(*r->grabs));
	if (r->packets == NULL || r->grabs == NULL)
		return fail(r, -ENOMEM, "preparing");
	result = hb_client_open(
		&r->client, r->options.socket, PEOPLE, RING_BYTES, REPLY_BYTES, r->error);
	for (uint64_t i = 0; i < SENDERS && result == 0; i++)
		result = fund(r, r->options.first_sender + i,
			(int64_t)(r->packet_count / SENDERS + 1) * SHARES * FEN_PER_SHARE);
	if (result == 0)
		result = prepare(r, r->packet_count, make_packet, packet_made);
	if (result == 0)
		result = prepare(r, r->options.grabs, make_token, token_made);
	if (result == 0)
		printf("{\"grabs\":%" PRIu64 ",\"packets\":%" PRIu64 ",\"lcores\":%u}\n",
			r->options.grabs, r->packet_count, hb_client_lcore_count(r->client));
	fflush(stdout);
	return result;
}

int
hb_rings_bench(const struct hb_rings_options *options, char error[160])
{
	static struct rings rings;
	char line[512], mode[16], kind[16], load[400];
	uint64_t count;
	int result;

	rings.options = *options;
	rings.error = error;
	rings.random = options->seed;
	result = open_rings(&rings);
	while (result == 0 && fgets(line, sizeof(line), stdin) != NULL) {
		bool whole =
			sscanf(line, "%15s %15s %399s %" SCNu64, mode, kind, load, &count) == 4;

		rings.kind = kind;
		if (whole && strcmp(mode, "tell") == 0)
			result = tell(&rings, load, count);
		else if (whole && strcmp(mode, "flood") == 0 && strcmp(kind, "durable") == 0)
			result = run(&rings, mode, load, count);
		else if (whole && (strcmp(mode, "closed") == 0 || strcmp(mode, "open") == 0) &&
			 (strcmp(kind, "durable") == 0 || strcmp(kind, "already") == 0))
			result = run(&rings, mode, load, count);
		else
			result = fail(&rings, -EINVAL, "no such command");
	}
	if (rings.client != NULL)
		hb_client_close(rings.client);
	free(rings.packets);
	free(rings.grabs);
	return result;
}
