/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl top: a view a second of rates, lcores, commits and lag, from the dataplane's counters
 * (shared memory, read only) and persist's status. Costs the node nothing. Attaches again when
 * the dataplane was restarted.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/hbctl/hbctl.h"

#define COUNT_MAX	   1000000
#define INTERVAL_S_MAX	   3600
#define PERSIST_TIMEOUT_MS 1000
#define CLEAR_SCREEN	   "\033[H\033[2J"

/* Everything that rates are made of, read at one moment. */
struct sample {
	bool valid;
	uint64_t mono_ns;
	uint64_t epoch;
	uint32_t lcore_count;
	uint64_t counter[HB_COUNTER_COUNT];
	uint64_t busy_ns[HB_LCORE_COUNT_MAX];
	uint32_t cpu[HB_LCORE_COUNT_MAX];
};

static const struct {
	enum hb_counter counter;
	const char *name;
} rates[] = {
	{HB_COUNTER_FRAMES, "frames"},
	{HB_COUNTER_REPLIES, "replies"},
	{HB_COUNTER_GRABS, "grabs"},
	{HB_COUNTER_PACKETS_CREATED, "packets_created"},
	{HB_COUNTER_PACKETS_EXPIRED, "packets_expired"},
	{HB_COUNTER_TRANSFERS, "transfers"},
	{HB_COUNTER_CREDITS, "credits"},
	{HB_COUNTER_RECORDS, "records"},
	{HB_COUNTER_RECORD_BYTES, "record_bytes"},
	{HB_COUNTER_REFUSED_STATE, "refused_state"},
	{HB_COUNTER_REFUSED_TOKEN, "refused_token"},
	{HB_COUNTER_REFUSED_BUSY, "refused_busy"},
};

static volatile sig_atomic_t ended;

static void
end_view(int signal_number)
{
	(void)signal_number;
	ended = 1;
}

static void
take_sample(struct hbctl *hbctl, struct sample *sample, char error[HBCTL_ERROR_BYTES])
{
	const struct hb_node *node;

	memset(sample, 0, sizeof(*sample));
	if (hbctl->client != NULL && hbctl_engine_gone(hbctl))
		hbctl_engine_close(hbctl);
	if (hbctl_engine_open(hbctl, error) != 0)
		return;
	node = hbctl_engine_node(hbctl);
	sample->valid = true;
	sample->mono_ns = hb_mono_ns();
	sample->epoch = node->epoch;
	sample->lcore_count =
		node->lcore_count <= HB_LCORE_COUNT_MAX ? node->lcore_count : HB_LCORE_COUNT_MAX;
	for (unsigned i = 0; i < HB_COUNTER_COUNT; i++)
		sample->counter[i] = hb_counter_sum(node, (enum hb_counter)i);
	for (uint32_t i = 0; i < sample->lcore_count; i++) {
		sample->busy_ns[i] =
			atomic_load_explicit(&node->lcore[i].busy_ns, memory_order_relaxed);
		sample->cpu[i] = node->lcore[i].cpu;
	}
}

static uint64_t
per_second(uint64_t before, uint64_t now, uint64_t elapsed_ns)
{
	if (now < before || elapsed_ns == 0)
		return 0;
	return (uint64_t)((unsigned __int128)(now - before) * 1000000000u / elapsed_ns);
}

static json_t *
lcores_json(const struct sample *before, const struct sample *now, uint64_t elapsed_ns)
{
	json_t *lcores = json_array();

	for (uint32_t i = 0; i < now->lcore_count; i++) {
		uint64_t permille =
			per_second(before->busy_ns[i], now->busy_ns[i], elapsed_ns) / 1000000;

		json_array_append_new(lcores,
			json_pack("{s:i, s:i, s:i}", "lcore", (int)i, "cpu", (int)now->cpu[i],
				"busy_permille", (int)(permille > 1000 ? 1000 : permille)));
	}
	return lcores;
}

/* One view. Rates are there when both samples are of the same dataplane. */
static json_t *
view_json(struct hbctl *hbctl, const struct sample *before, const struct sample *now,
	const char *engine_error)
{
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *view = json_pack(
		"{s:b, s:I}", "ok", now->valid, "wall_ms", (json_int_t)(hb_wall_ns() / 1000000));
	json_t *persist =
		hbctl_persist_call(hbctl, "{\"cmd\":\"status\"}", PERSIST_TIMEOUT_MS, error);

	if (now->valid && before->valid && before->epoch == now->epoch) {
		uint64_t elapsed_ns = now->mono_ns - before->mono_ns;
		json_t *rate = json_object();

		for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
			json_object_set_new(rate, rates[i].name,
				json_integer(
					(json_int_t)per_second(before->counter[rates[i].counter],
						now->counter[rates[i].counter], elapsed_ns)));
		json_object_set_new(view, "per_second", rate);
		json_object_set_new(view, "lcores", lcores_json(before, now, elapsed_ns));
		json_object_set_new(
			view, "parked", json_integer((json_int_t)now->counter[HB_COUNTER_PARKED]));
		json_object_set_new(view, "turn_us_max",
			json_integer((json_int_t)now->counter[HB_COUNTER_TURN_NS_MAX] / 1000));
	}
	if (!now->valid)
		json_object_set_new(view, "dataplane", hbctl_json_string(engine_error));
	if (persist == NULL)
		json_object_set_new(view, "persist", hbctl_json_string(error));
	for (size_t i = 0; persist != NULL && i < 5; i++) {
		static const char *const keys[] = {
			"committed_seq", "sync_us_p50", "sync_us_p99", "storage_level", "appliers"};

		json_object_set(view, keys[i], json_object_get(persist, keys[i]));
	}
	json_decref(persist);
	return view;
}

static void
print_rates(FILE *out, const json_t *view)
{
	const json_t *per_s = json_object_get(view, "per_second");
	const char *key;
	json_t *value;
	size_t index;
	int column = 0;

	json_object_foreach((json_t *)(uintptr_t)per_s, key, value)
		fprintf(out, "%-16s %12" JSON_INTEGER_FORMAT "/s%s", key, json_integer_value(value),
			++column % 2 == 0 ? "\n" : "    ");
	json_array_foreach(json_object_get(view, "lcores"), index, value)
	{
		int64_t permille = hbctl_json_i64(value, "busy_permille");

		fprintf(out,
			"lcore %-2" PRId64 " cpu %-3" PRId64 "  busy %3" PRId64 ".%" PRId64 " %%  ",
			hbctl_json_i64(value, "lcore"), hbctl_json_i64(value, "cpu"), permille / 10,
			permille % 10);
		for (int bar = 0; bar < 40; bar++)
			fputc(bar < permille / 25 ? '#' : '.', out);
		fputc('\n', out);
	}
	if (per_s != NULL)
		fprintf(out, "parked %" PRId64 " replies, longest turn %" PRId64 " us\n",
			hbctl_json_i64(view, "parked"), hbctl_json_i64(view, "turn_us_max"));
}

static void
print_view(FILE *out, const json_t *view)
{
	char when[HBCTL_TIME_BYTES];
	size_t index;
	json_t *applier;

	hbctl_time(when, (uint64_t)hbctl_json_i64(view, "wall_ms"));
	fprintf(out, "hongbao  %s\n", when);
	if (json_object_get(view, "dataplane") != NULL)
		fprintf(out, "dataplane: %s\n", hbctl_json_text(view, "dataplane"));
	print_rates(out, view);
	if (json_object_get(view, "persist") != NULL) {
		fprintf(out, "persist: %s\n", hbctl_json_text(view, "persist"));
		return;
	}
	fprintf(out,
		"commit   p50 %" PRId64 " us, p99 %" PRId64 " us, committed sequence %" PRId64 "\n",
		hbctl_json_i64(view, "sync_us_p50"), hbctl_json_i64(view, "sync_us_p99"),
		hbctl_json_i64(view, "committed_seq"));
	json_array_foreach(json_object_get(view, "appliers"), index, applier) fprintf(out,
		"MySQL    %s %s, lag %" PRId64 " records\n", hbctl_json_text(applier, "server"),
		hbctl_json_text(applier, "state"), hbctl_json_i64(applier, "lag"));
}

static void
show(struct hbctl *hbctl, json_t *view, bool terminal, bool first)
{
	if (hbctl->json) {
		hbctl_print_json(hbctl, view);
	} else {
		if (terminal)
			fputs(CLEAR_SCREEN, hbctl->out);
		else if (!first)
			fputc('\n', hbctl->out);
		print_view(hbctl->out, view);
		json_decref(view);
	}
	fflush(hbctl->out);
}

/* Sleep whole seconds; a signal ends it. */
static void
wait_interval(uint64_t seconds)
{
	struct timespec left = {.tv_sec = (time_t)seconds};

	while (!ended && nanosleep(&left, &left) != 0 && errno == EINTR)
		continue;
}

static int
watch(struct hbctl *hbctl, uint64_t count, uint64_t interval_s)
{
	bool terminal = isatty(fileno(hbctl->out)) == 1;
	char error[HBCTL_ERROR_BYTES] = "";
	struct sample before, now;
	uint64_t shown = 0;

	take_sample(hbctl, &before, error);
	if (!before.valid && count > 0 && hbctl->persist_fd < 0 &&
		hbctl_persist_open(hbctl, error) != 0)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	for (;;) {
		wait_interval(interval_s);
		if (ended)
			return HBCTL_OK;
		take_sample(hbctl, &now, error);
		show(hbctl, view_json(hbctl, &before, &now, error), terminal, shown == 0);
		before = now;
		if (++shown == count || ferror(hbctl->out))
			return HBCTL_OK;
	}
}

int
hbctl_run_top(struct hbctl *hbctl)
{
	const char *count_text = hbctl_option_value(hbctl, "--count");
	const char *interval_text = hbctl_option_value(hbctl, "--interval");
	const struct sigaction end = {.sa_handler = end_view};
	uint64_t count = 0, interval_s = 1;

	if (count_text != NULL && !hbctl_parse_u64(count_text, 1, COUNT_MAX, &count))
		return hbctl_fail(hbctl, HBCTL_USAGE, "--count %s is not a number in 1..%d",
			count_text, COUNT_MAX);
	if (interval_text != NULL &&
		(!hbctl_parse_duration(interval_text, &interval_s) || interval_s > INTERVAL_S_MAX))
		return hbctl_fail(
			hbctl, HBCTL_USAGE, "--interval %s is not a time in 1s..1h", interval_text);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	return watch(hbctl, count, interval_s);
}
