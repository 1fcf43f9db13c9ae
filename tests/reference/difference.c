/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against the reference model: both are asked the same random commands, and every reply
 * is compared byte by byte; now and then so are all balances, packets, holds, orders and sums, also
 * after a replay of the records or a snapshot. Seeds are worlds of 20,000 operations; the same seed
 * does the same again. Nothing outside the process is touched but the file of --resume.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "tests/reference/world.h"
#include "tests/sim/work.h"

#define NODE		7
#define COMPARE_EVERY	2000
#define STATUS_SLOTS	51
#define BATCH		25
#define OPERATIONS_UNIT 1000000

enum sum {
	SUM_OPERATIONS,
	SUM_RECORDS,
	SUM_CREDITS,
	SUM_DEADLINES,
	SUM_FORGOTTEN,
	SUM_COMPARED,
	SUM_REPLAYS,
	SUM_SNAPSHOTS,
	SUM_STATUS, /* one per status */
	SUM_COUNT = SUM_STATUS + STATUS_SLOTS
};
_Static_assert(SUM_COUNT <= SIM_SUMS_MAX, "sums");
static const char *const sum_names[SUM_STATUS] = {"operations", "records", "credits", "deadlines",
	"forgotten", "compared", "replays", "snapshots"};

static struct {
	bool log;
	uint64_t until; /* the operation to stop behind */

} options = {.until = WORLD_OPERATIONS};

/* Of the world at hand, for the handler of an assertion that failed. */
static uint64_t at_seed, at_operation;

/* ---- what is said about a difference ---- */

static void
say_replay(uint64_t seed, uint64_t operation)
{
	fprintf(stderr,
		"replay: ./hongbao difference --seed %" PRIu64 " --until %" PRIu64 " --log\n", seed,
		operation);
}

static void
on_abort(int number)
{
	(void)number;
	fprintf(stderr, "difference: seed %" PRIu64 " operation %" PRIu64 ": an assertion failed\n",
		at_seed, at_operation);
	say_replay(at_seed, at_operation);
}

static bool
differs(const struct world *w, const char *what, uint64_t engine, uint64_t model)
{
	fprintf(stderr,
		"difference: seed %" PRIu64 " operation %" PRIu64 ": %s: engine %" PRId64
		" (0x%" PRIx64 "), model %" PRId64 " (0x%" PRIx64 ")\n",
		w->seed, w->operation, what, (int64_t)engine, engine, (int64_t)model, model);
	say_replay(w->seed, w->operation);
	return false;
}

static void
print_frame(FILE *out, const struct world *w, const struct hb_frame *f)
{
	fprintf(out,
		"%" PRIu64 " t=%" PRIu64 ".%09" PRIu64 " op=%u target=%" PRIx64 " user=%" PRIx64
		" group=%" PRIu64 " token=%" PRIx64 " sequence=%u%s%s",
		w->operation, w->input.now_ns / 1000000000, w->input.now_ns % 1000000000,
		f->operation, f->target, f->user, f->group, f->token_id, f->sequence,
		w->input.trusted ? " trusted" : "", w->input.clock_stopped ? " stopped" : "");
	for (uint32_t i = 64; i < f->length && i < HB_FRAME_BYTES_MAX; i++)
		fprintf(out, "%s%02x", i % 8 == 0 ? " " : "", ((const uint8_t *)f)[i]);
	fprintf(out, "\n");
}

static void
print_reply(FILE *out, const char *who, const union model_reply *r)
{
	fprintf(out,
		"  %-6s %s length=%u flags=%u amount=%" PRId64 " other=%" PRId64 " id=%" PRIx64
		" stamp=%" PRIx64 " index=%u count=%u\n",
		who, hb_status_name(r->head.status), r->head.length, r->head.flags,
		r->head.amount_fen, r->head.other_fen, r->head.id, r->head.order_stamp,
		r->head.index, r->head.count);
}

static bool
reply_differs(const struct world *w, const union frame *f)
{
	uint32_t at = 0;

	while (at < HB_REPLY_BYTES_MAX - 1 && w->said.bytes[at] == w->expected.bytes[at])
		at++;
	fprintf(stderr,
		"difference: seed %" PRIu64 " operation %" PRIu64
		": the replies differ at byte %u\n",
		w->seed, w->operation, at);
	print_frame(stderr, w, &f->head);
	print_reply(stderr, "engine", &w->said);
	print_reply(stderr, "model", &w->expected);
	say_replay(w->seed, w->operation);
	return false;
}

/* ---- the engine, as an lcore has it ---- */

static void
journal_append(struct world *w, const uint8_t *bytes, uint64_t length)
{
	if (w->journal_bytes + length > w->journal_room) {
		w->journal_room = 2 * w->journal_room + (1 << 20);
		w->journal = realloc(w->journal, w->journal_room);
		HB_ASSERT(w->journal != NULL);
	}
	memcpy(w->journal + w->journal_bytes, bytes, length);
	w->journal_bytes += length;
}

static void
deliver(struct world *w, uint32_t number)
{
	const struct hb_credit credit = w->waiting[number].credit;

	hb_apply_credit(&w->state.partition[hb_partition_of(credit.account)],
		w->waiting[number].from, &credit);
	model_credit(w->model, credit.account, credit.amount_fen);
	w->waiting[number] = w->waiting[--w->waiting_count];
}

static void
deliver_all(struct world *w)
{
	while (w->waiting_count > 0)
		deliver(w, w->waiting_count - 1);
}

/* Apply what was decided; the credit waits for its commit. @return false at a difference */
static bool
take(struct world *w, struct hb_partition *p, const struct hb_decision *decision,
	const struct model_effect *effect)
{
	const struct hb_record *record = (const void *)decision->records;
	struct hb_credit credit = {0};

	if (decision->record_count != effect->records)
		return differs(w, "records", decision->record_count, effect->records);
	if (decision->record_count == 1) {
		const char *fault = w->check_records ? hb_apply_check(p, record) : NULL;

		if (fault != NULL)
			return differs(w, fault, 1, 0);
		journal_append(w, decision->records, decision->record_bytes);
		hb_apply(p, record, &credit);
	}
	if (credit.account != effect->credit || credit.amount_fen != effect->credit_fen)
		return differs(w, "credit", credit.account, effect->credit);
	if (credit.account == 0)
		return true;
	if (w->waiting_count == WORLD_CREDITS_MAX)
		deliver(w, 0);
	w->waiting[w->waiting_count].from = p->number;
	w->waiting[w->waiting_count++].credit = credit;
	w->credits++;
	return true;
}

/* Ask both. @return false at a difference */
static bool
ask(struct world *w, const union frame *f, uint32_t bytes)
{
	struct hb_decision decision = {.records = w->records, .reply = &w->said.head};
	enum hb_status status = hb_frame_check(&f->head, bytes);
	enum hb_status expected = model_check(&f->head, bytes);
	struct model_effect effect;
	struct hb_partition *p;

	if (status != expected)
		return differs(w, "frame check", status, expected);
	if (status != HB_STATUS_OK) {
		w->said.head.status = (uint16_t)status;
		w->said.head.flags = 0;
		w->said.head.index = 0;
		return true;
	}
	p = &w->state.partition[hb_partition_of(f->head.target)];
	w->input.credits_reserve_low = model_reserve_low(w->model);
	hb_decide(p, &f->head, &w->input, &decision);
	model_ask(w->model, &f->head, &w->input, &w->expected, &effect);
	if (w->said.head.length != w->expected.head.length ||
		memcmp(&w->said, &w->expected, w->expected.head.length) != 0)
		return reply_differs(w, f);
	return take(w, p, &decision, &effect);
}

/* ---- what happens besides commands ---- */

/* A deadline is looked at by itself. */
static bool
deadline(struct world *w, uint64_t sums[SIM_SUMS_MAX])
{
	struct hb_decision decision = {.records = w->records, .reply = &w->said.head};
	uint32_t kind = world_one_in(w, 2) ? HB_OBJECT_PACKET : HB_OBJECT_HOLD;
	struct model_effect effect = {0};
	struct hb_partition *p;
	uint64_t id, deadline_ms;
	bool open;

	if (!model_pick(w->model, kind, world_random(w), &id, &deadline_ms, &open))
		return true;
	p = &w->state.partition[model_partition(id)];
	if (kind == HB_OBJECT_PACKET) {
		hb_decide_expire(p, id, &w->input, &decision);
		effect.records = model_expire_due(w->model, id, &w->input);
	} else {
		hb_decide_hold_due(p, id, &w->input, &decision);
		effect.records = model_void_due(w->model, id, &w->input);
	}
	sums[SUM_DEADLINES] += effect.records;
	return take(w, p, &decision, &effect);
}

/*
 * Forget: each object that the engine chooses must be one that may go; and when it finds none in a
 * whole pass there is none.
 */
static bool
forget(struct world *w, uint64_t sums[SIM_SUMS_MAX])
{
	static const uint64_t kept_ms[] = {0, 1000, 600000, 86400000, 86400000, 86400000};
	struct hb_decision decision = {.records = w->records, .reply = &w->said.head};
	const struct model_effect one = {.records = 1};
	uint32_t number = model_partition(w->users[world_below(w, w->user_count)]);
	struct hb_partition *p = &w->state.partition[number];
	uint64_t sequence = model_totals(w->model, number).sequence;
	struct hb_evict_cursor cursor = {0};

	w->input.retention_ms = kept_ms[world_below(w, 6)];
	w->input.applied_sequence =
		world_one_in(w, 2) ? sequence : sequence - world_random(w) % (sequence + 1);
	for (uint32_t left = 1 + world_below(w, 16); left > 0 && cursor.passes < 1; left--) {
		const struct hb_record_evict *r = (const void *)w->records;

		if (!hb_decide_evict(p, &cursor, &w->input, &decision))
			continue;
		if (!model_may_forget(w->model, number, r->object_kind, r->object, &w->input))
			return differs(w, "forgotten", r->object, 0);
		if (!take(w, p, &decision, &one))
			return false;
		model_forget(w->model, number, r->object_kind, r->object, &w->input);
		sums[SUM_FORGOTTEN]++;
	}
	/* with the clock stopped nothing is forgotten, and no cursor moves */
	if (w->input.clock_stopped || !world_one_in(w, 4))
		return true;
	memset(&cursor, 0, sizeof(cursor));
	while (cursor.passes < 1)
		if (hb_decide_evict(p, &cursor, &w->input, &decision))
			return true;
	return !model_has_forgettable(w->model, number, &w->input) ||
	       differs(w, "nothing more to forget", 1, 0);
}

static bool
mark(struct world *w)
{
	struct hb_decision decision = {.records = w->records, .reply = &w->said.head};
	const struct model_effect one = {.records = 1};
	uint32_t number = model_partition(w->users[world_below(w, w->user_count)]);

	hb_decide_mark(&w->state.partition[number], &w->input, &decision);
	model_mark(w->model, number, &w->input);
	return take(w, &w->state.partition[number], &decision, &one);
}

/* ---- comparing everything ---- */

static bool
look(struct world *w, uint8_t operation, uint64_t target, uint32_t first, uint64_t stamp)
{
	union frame f;

	memset(&f, 0, sizeof(f));
	f.head = (struct hb_frame){.version = HB_FRAME_VERSION,
		.operation = operation,
		.length = operation == HB_OP_PACKET_DETAIL || operation == HB_OP_ORDER_QUERY ? 128
											     : 64,
		.target = target};
	if (operation == HB_OP_PACKET_DETAIL)
		f.detail.claim_first = first;
	if (operation == HB_OP_ORDER_QUERY)
		f.order.order_stamp = stamp;
	return ask(w, &f, sizeof(f));
}

static bool
look_at_all(struct world *w, uint32_t kind, uint8_t operation)
{
	uint64_t slots = kind == HB_OBJECT_PACKET ? w->capacity.packets : w->capacity.holds;
	uint64_t id, deadline_ms;
	bool open;

	for (uint64_t i = 0; i < slots * HB_PARTITION_COUNT; i++) {
		uint32_t first = 0;

		if (!model_pick(w->model, kind, i, &id, &deadline_ms, &open))
			continue;
		do {
			if (!look(w, operation, id, first, 0))
				return false;
			first += w->said.head.count;
		} while ((w->said.head.flags & HB_REPLY_MORE) != 0);
	}
	return true;
}

static bool
compare_totals(struct world *w, uint32_t number)
{
	struct hb_partition *p = &w->state.partition[number];
	const struct hb_partition_head *h = p->head;
	struct model_totals t = model_totals(w->model, number);
	const struct {
		const char *what;
		uint64_t engine, model;
	} pairs[] = {
		{"core sequence", h->core_sequence, t.sequence},
		{"ledger time", h->time_ns, t.time_ns},
		{"last stamp", h->last_stamp, t.last_stamp},
		{"accounts", h->account_count, t.accounts},
		{"packets", h->packet_count, t.packets},
		{"holds", h->hold_count, t.holds},
		{"orders", h->order_count, t.orders},
		{"open packets", (uint64_t)h->open_packets_fen, (uint64_t)t.open_packets_fen},
		{"open holds", (uint64_t)h->open_holds_fen, (uint64_t)t.open_holds_fen},
		{"accounts low", hb_accounts_low(p),
			t.accounts >= w->capacity.accounts - w->capacity.accounts / 4},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (pairs[i].engine != pairs[i].model)
			return differs(w, pairs[i].what, pairs[i].engine, pairs[i].model);
	if (hb_audit_step(p, UINT32_MAX) != 1)
		return differs(w, "memory audit", 0, 1);
	return true;
}

static bool
compare_all(struct world *w)
{
	int64_t money_fen = model_money(w->model);
	bool same = true;

	w->input.trusted = true;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT && same; i++) {
		same = compare_totals(w, i);
		for (uint32_t n = 1; n <= 6 && same; n++)
			same = look(w, HB_OP_BALANCE,
				hb_system_account((enum hb_system_account)n, i), 0, 0);
	}
	for (uint32_t i = 0; i < w->user_count && same; i++)
		same = look(w, HB_OP_BALANCE, w->users[i], 0, 0);
	same = same && look_at_all(w, HB_OBJECT_PACKET, HB_OP_PACKET_DETAIL) &&
	       look_at_all(w, HB_OBJECT_HOLD, HB_OP_HOLD_QUERY);
	for (uint32_t i = 0; i < w->order_count && i < WORLD_ORDERS && same; i++)
		same = look(w, HB_OP_ORDER_QUERY, w->orders[i].account, 0, w->orders[i].stamp);
	for (uint32_t i = 0; i < w->waiting_count; i++)
		money_fen += w->waiting[i].credit.amount_fen;
	if (same && money_fen != 0)
		return differs(w, "sum of all money", 0, (uint64_t)money_fen);
	return same;
}

/* ---- a death: the next engine comes from records or a snapshot ---- */

static bool
replay(struct world *w)
{
	struct hb_state next;

	HB_ASSERT(hb_state_create(&next, &w->capacity, NODE) == 0);
	for (uint64_t at = 0; at < w->journal_bytes;) {
		const struct hb_record *record = (const void *)(w->journal + at);
		struct hb_partition *p = &next.partition[record->ring];
		const char *fault = hb_record_verify(record, w->journal_bytes - at);
		struct hb_credit credit;

		if (fault == NULL)
			fault = hb_apply_check(p, record);
		if (fault != NULL)
			return differs(w, fault, at, 0);
		hb_apply(p, record, &credit);
		if (credit.account != 0)
			hb_apply_credit(&next.partition[hb_partition_of(credit.account)], p->number,
				&credit);
		at += record->length;
	}
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (next.partition[i].head->state_hash != w->state.partition[i].head->state_hash)
			return differs(w, "state hash after replay",
				w->state.partition[i].head->state_hash,
				next.partition[i].head->state_hash);
	/* a replay applies credits at once */
	for (uint32_t i = 0; i < w->waiting_count; i++)
		model_credit(
			w->model, w->waiting[i].credit.account, w->waiting[i].credit.amount_fen);
	w->waiting_count = 0;
	hb_state_close(&w->state);
	w->state = next;
	return true;
}

struct memory {
	uint8_t *bytes;
	uint64_t length, room, at;
};

static int
save(void *context, void *bytes, size_t length)
{
	struct memory *m = context;

	if (m->length + length > m->room) {
		m->room = 2 * m->room + length + (1 << 20);
		m->bytes = realloc(m->bytes, m->room);
		HB_ASSERT(m->bytes != NULL);
	}
	memcpy(m->bytes + m->length, bytes, length);
	m->length += length;
	return 0;
}

static int
load(void *context, void *bytes, size_t length)
{
	struct memory *m = context;

	if (length > m->length - m->at)
		return -EPROTO;
	memcpy(bytes, m->bytes + m->at, length);
	m->at += length;
	return 0;
}

static bool
snapshot(struct world *w)
{
	struct memory memory = {0};
	struct hb_state next;
	int result = 0;

	deliver_all(w);
	HB_ASSERT(hb_state_create(&next, &w->capacity, NODE) == 0);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT && result == 0; i++)
		result = hb_state_save(&w->state.partition[i], save, &memory);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT && result == 0; i++)
		result = hb_state_load(&next.partition[i], load, &memory);
	free(memory.bytes);
	if (result != 0)
		return differs(w, "snapshot", (uint64_t)(int64_t)result, 0);
	hb_state_close(&w->state);
	w->state = next;
	return true;
}

/* ---- a seed ---- */

static bool
happen(struct world *w, uint64_t sums[SIM_SUMS_MAX])
{
	uint64_t draw = world_random(w);
	bool same = true;

	if (draw % 8 == 0)
		deliver_all(w);
	else if (draw % 8 == 1 && w->waiting_count > 0)
		deliver(w, world_below(w, w->waiting_count));
	if (draw >> 8 & 63)
		return true;
	switch (draw >> 16 & 15) {
	case 0:
	case 1:
	case 2:
		same = forget(w, sums);
		break;
	case 3:
		same = (draw >> 20 & 7) != 0 || mark(w);
		break;
	case 4:
		if (draw >> 20 & 31)
			break;
		sums[draw >> 25 & 1 ? SUM_REPLAYS : SUM_SNAPSHOTS]++;
		same = draw >> 25 & 1 ? replay(w) : snapshot(w);
		break;
	default:
		same = deadline(w, sums);
	}
	return same;
}

static bool
step(struct world *w, uint64_t sums[SIM_SUMS_MAX])
{
	uint32_t bytes = HB_FRAME_BYTES_MAX;
	union frame f;

	if (!happen(w, sums))
		return false;
	commands_next(w, &f);
	if (world_one_in(w, 1024))
		bytes = world_below(w, HB_FRAME_BYTES_MAX);
	if (options.log)
		print_frame(stdout, w, &f.head);
	w->said.head.index = 0;
	if (!ask(w, &f, bytes))
		return false;
	if (options.log)
		print_reply(stdout, "", &w->said);
	sums[SUM_OPERATIONS]++;
	sums[SUM_STATUS + w->said.head.status]++;
	if (w->said.head.status < HB_STATUS_FRAME_INVALID ||
		w->said.head.status > HB_STATUS_FRAME_VERSION)
		commands_learn(w, &f);
	if (w->operation % COMPARE_EVERY != 0)
		return true;
	sums[SUM_COMPARED]++;
	return compare_all(w);
}

static bool
run_seed(uint64_t seed, uint64_t sums[SIM_SUMS_MAX])
{
	static struct world world;
	struct world *w = &world;
	uint8_t *journal = w->journal;
	uint64_t journal_room = w->journal_room;
	bool same = true;

	memset(w, 0, sizeof(*w));
	w->journal = journal;
	w->journal_room = journal_room;
	w->seed = w->random = seed;
	at_seed = seed;
	commands_begin(w);
	HB_ASSERT(hb_state_create(&w->state, &w->capacity, NODE) == 0);
	w->model = model_open(&w->capacity, NODE);
	for (w->operation = 1; w->operation <= options.until && same; w->operation++) {
		at_operation = w->operation;
		same = step(w, sums);
	}
	same = same && compare_all(w) && replay(w) && compare_all(w);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		sums[SUM_RECORDS] += w->state.partition[i].head->core_sequence;
	sums[SUM_CREDITS] += w->credits;
	model_close(w->model);
	hb_state_close(&w->state);
	return same;
}

/* ---- the program ---- */

static void
print_json(const struct sim_work *work)
{
	printf("{\"differences\":%" PRIu64 ",\"seeds\":%" PRIu64 ",\"from\":%" PRIu64,
		work->violations, work->done, work->from);
	for (uint32_t i = 0; i < SUM_STATUS; i++)
		printf(",\"%s\":%" PRIu64, sum_names[i], work->sums[i]);
	printf(",\"statuses\":{");
	for (uint32_t i = 0, any = 0; i < STATUS_SLOTS; i++)
		if (work->sums[SUM_STATUS + i] != 0)
			printf("%s\"%s\":%" PRIu64, any++ == 0 ? "" : ",",
				hb_status_name((uint16_t)i), work->sums[SUM_STATUS + i]);
	printf("}}\n");
}

static void
print_text(const struct sim_work *work)
{
	printf("%" PRIu64 " seeds", work->done);
	for (uint32_t i = 0; i < SUM_STATUS; i++)
		printf(", %" PRIu64 " %s", work->sums[i], sum_names[i]);
	printf(": %" PRIu64 " differences\n", work->violations);
}

static void
usage(FILE *out)
{
	fprintf(out,
		"usage: hongbao difference [--operations N] [--from S] [--jobs N] [--resume FILE] "
		"[--json]\n"
		"       hongbao difference --seed S [--until K] [--log]\n"
		"Asks the engine and a plain reference model the same random commands and "
		"compares\n"
		"each reply, and now and then the whole state. Exit 1 at the first difference.\n\n"
		"  --operations N  in seeds of 20000 (1000000); 1m is a million, 1g a thousand of "
		"them\n"
		"  --from S        first seed (1)\n"
		"  --seed S        one seed; --until K: its first K operations; --log prints them\n"
		"  --jobs N        processes at once (1)\n"
		"  --resume FILE   remember there how far it came, and go on from there\n"
		"  --keep-going    after a difference\n"
		"  --expect-difference  exit 0 when there is one\n"
		"  --json          the result as one JSON object\n");
}

static uint64_t
number_of(const char *text)
{
	char *end = NULL;
	uint64_t value, unit = 1;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (*end == 'm' || *end == 'g')
		unit = *end++ == 'm' ? OPERATIONS_UNIT : OPERATIONS_UNIT * UINT64_C(1000);
	if (errno == 0 && end != text && *end == '\0' && *text != '-' &&
		value <= UINT64_MAX / OPERATIONS_UNIT / 1000)
		return value * unit;
	fprintf(stderr, "difference: '%s' is not a number\n", text);
	exit(2);
}

struct command {
	struct sim_work work;
	bool json, expect_difference, one;
};

static bool
take_option(struct command *command, int option)
{
	switch (option) {
	case 'n':
		command->work.count = (number_of(optarg) + WORLD_OPERATIONS - 1) / WORLD_OPERATIONS;
		return true;
	case 's':
		command->one = true;
		command->work.from = number_of(optarg);
		command->work.count = 1;
		return true;
	case 'f':
		command->work.from = number_of(optarg);
		return true;
	case 'u':
		options.until = number_of(optarg);
		return true;
	case 'J':
		command->work.jobs = (uint32_t)number_of(optarg);
		return command->work.jobs >= 1 && command->work.jobs <= SIM_JOBS_MAX;
	case 'r':
		command->work.resume = optarg;
		return true;
	case 'l':
		options.log = true;
		return true;
	case 'j':
		command->json = true;
		return true;
	case 'k':
		command->work.keep_going = true;
		return true;
	case 'x':
		command->expect_difference = true;
		return true;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		return false;
	}
}

int
main(int argc, char **argv)
{
	static const struct option names[] = {{"operations", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
		{"until", required_argument, NULL, 'u'}, {"jobs", required_argument, NULL, 'J'},
		{"resume", required_argument, NULL, 'r'}, {"log", no_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'}, {"keep-going", no_argument, NULL, 'k'},
		{"expect-difference", no_argument, NULL, 'x'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	static struct command command = {.work = {.name = "seeds",
						 .from = 1,
						 .count = OPERATIONS_UNIT / WORLD_OPERATIONS,
						 .jobs = 1,
						 .batch = BATCH,
						 .sum_count = SUM_COUNT,
						 .run = run_seed}};
	int option;

	while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		if (!take_option(&command, option)) {
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || (options.log && !command.one)) {
		usage(stderr);
		return 2;
	}
	if (command.one)
		command.work.jobs = 0;
	signal(SIGABRT, on_abort);
	if (sim_work_run(&command.work) != 0)
		return 2;
	if (command.json)
		print_json(&command.work);
	else
		print_text(&command.work);
	return (command.work.violations == 0) == command.expect_difference ? 1 : 0;
}
