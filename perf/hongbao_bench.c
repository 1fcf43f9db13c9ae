/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-bench: the load generator and the disk probe as a program. Benchmarks themselves are
 * written in perf/bench, which prepares a node and a plan, runs this and judges the outcome.
 * Results are one JSON object on standard output. If it dies, the node goes on.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/sync_probe.h"
#include "perf/bare_client.h"
#include "perf/engine_bench.h"
#include "perf/framed.h"
#include "perf/load.h"
#include "perf/machine.h"
#include "perf/mariadb_client.h"
#include "perf/recovery_bench.h"
#include "perf/rings_bench.h"
#include "perf/usage.h"
#include "perf/user_tokens.h"
#include "persist/replay.h"

#define PROCESSES_MAX	    64
#define RATE_PER_S_MAX	    10000000.0
#define SLOW_NS		    UINT64_C(10000000)
#define PROBE_COUNT_DEFAULT 1000

struct process {
	char name[32];
	int pid;
	int64_t before_us;
	int64_t used_us; /* -1: it ended during the run */
};

struct options {
	const char *plan;
	const char *framed; /* grabs of a framed load, instead of a plan */
	const char *tokens;
	uint32_t in_flight;
	uint64_t lines; /* of the grabs that a framed load has passed */
	struct hb_load load;
	struct process processes[PROCESSES_MAX];
	uint32_t process_count;
};

static const char help[] =
	"hongbao-bench load --plan FILE --address HOST:PORT --rate R [options]\n"
	"  open-loop HTTP load: the requests of a plan leave on a Poisson schedule\n"
	"    --connections N   keep-alive connections (64)\n"
	"    --requests N      how many of the plan's requests (all)\n"
	"    --first N         begin with this one of the plan's requests (0)\n"
	"    --closed MS       no schedule and no --rate: as fast as answers come, for so long\n"
	"    --seed N          of the schedule (from the clock); printed\n"
	"    --timeout-ms N    for one answer (5000)\n"
	"    --drain-ms N      after the schedule's end (10000)\n"
	"    --patience-ms N   a request that found no connection for so long is given up, and "
	"the\n"
	"                      next has its line of the plan (0: it waits)\n"
	"    --tick-us N       wake for arrivals at multiples of this only (0): less CPU, and up\n"
	"                      to N more latency, which is counted\n"
	"    --any-200         count every 200 as accepted; default: body status must be ok\n"
	"    --process NAME=PID  report its CPU time; may be repeated\n"
	"hongbao-bench load --framed GRABS --tokens FILE --address HOST:PORT --rate R [options]\n"
	"  grabs by frames over TCP, a connection for each user: lines as rings tells them, and\n"
	"  user tokens, one a line; options as above, without those of connections and patience\n"
	"    --in-flight N     of a connection (1; at most 64)\n"
	"hongbao-bench sync DIRECTORY [COUNT]\n"
	"  time of durable 4 KiB overwrites on the directory's file system\n"
	"hongbao-bench machine DIRECTORY\n"
	"  what the machine gives to anybody: random lines of memory, CPUs that are left alone,\n"
	"  durable writes on the directory's file system, alone and beside threads that poll\n"
	"hongbao-bench engine [--accounts N] [--packets N] [--frames N] [--runs N] [--seed N]\n"
	"  the engine in one thread: reads `run KIND BURST COUNT` and `check` from standard input\n"
	"    KIND: hot, many, zipf (both need --packets), sold-out, already, used, expired\n"
	"    --accounts N  that may get shares (1000000; at least 10000, and 100000\n"
	"                  for other kinds than many and zipf)\n"
	"    --frames N    COUNT is at most this (1000000)\n"
	"    --runs N      at most so many runs (20)\n"
	"    --windows N   of tokens, slots of one partition, a power of two: where frames\n"
	"                  are refused, few are used (one for each frame of all runs)\n"
	"hongbao-bench rings --socket PATH [--grabs N] [--seed N]\n"
	"  a client at the rings of a dataplane, as root: reads `closed KIND IN_FLIGHT COUNT` and\n"
	"  `open KIND RATE COUNT` from standard input; KIND: durable or already;\n"
	"  `flood durable RATE COUNT` offers a rate until COUNT found room, and tells refusals "
	"apart\n"
	"    --grabs N     to prepare (100000)\n"
	"    --users N     grab in turn, each at most once in a packet (one user for each grab)\n"
	"    --first-sender N  account of the first of 256 senders, whom the node must not know\n"
	"                  (2000000000000)\n"
	"hongbao-bench jwt --algorithm HS256|EdDSA --secret HEX --kid KID --first N [--count N]\n"
	"                  [--group N] [--lifetime-s N] | --public\n"
	"  user tokens of the accounts N, N + 1, …, one a line; --public: the public key of EdDSA\n"
	"hongbao-bench bare-client --socket PATH --from DATABASE --into DATABASE --after SEQ\n"
	"  writes the rows of the grabs above a record once more, as the applier did, as root\n"
	"    --records-per-commit N  (16384)\n"
	"hongbao-bench mariadb --socket PATH --database NAME --clients N --first N --count N\n"
	"  grabs in MariaDB alone: perf/mariadb_peer.py\n"
	"hongbao-bench recovery --config FILE [--threads N] [--touch]\n"
	"  what a start of a node does with snapshot and journal; changes nothing\n"
	"    --threads N    that replay; 0: the one that reads does it (as many as there are "
	"CPUs)\n"
	"    --touch        write to every page of the state first\n"
	"All print JSON objects, one a line.\n";

static _Noreturn void
usage_error(const char *what, const char *value)
{
	fprintf(stderr, "hongbao-bench: %s: %s; see hongbao-bench --help\n", what, value);
	exit(2);
}

static uint64_t
parse_u64(const char *what, const char *text, uint64_t min, uint64_t max)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);

	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < min ||
		value > max)
		usage_error(what, text);
	return value;
}

static double
parse_rate(const char *text)
{
	char *end;
	double rate = strtod(text, &end);

	if (end == text || *end != '\0' || !(rate > 0.0 && rate <= RATE_PER_S_MAX))
		usage_error(
			"--rate must be above 0 and at most 10000000 requests per second", text);
	return rate;
}

static void
parse_address(struct hb_load *load, const char *text)
{
	const char *colon = strrchr(text, ':');

	if (colon == NULL || (size_t)(colon - text) >= sizeof(load->host) || colon == text ||
		strlen(colon + 1) >= sizeof(load->port))
		usage_error("--address must be HOST:PORT", text);
	memcpy(load->host, text, (size_t)(colon - text));
	load->host[colon - text] = '\0';
	snprintf(load->port, sizeof(load->port), "%s", colon + 1);
}

static void
parse_process(struct options *options, const char *text)
{
	const char *equals = strchr(text, '=');

	if (options->process_count == PROCESSES_MAX)
		usage_error("too many --process", text);
	struct process *process = &options->processes[options->process_count++];

	if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof(process->name))
		usage_error("--process must be NAME=PID", text);
	memcpy(process->name, text, (size_t)(equals - text));
	process->pid = (int)parse_u64("--process", equals + 1, 1, INT32_MAX);
}

static void
parse_options(struct options *options, int argc, char **argv)
{
	static const struct option table[] = {
		{"plan", required_argument, NULL, 'p'},
		{"address", required_argument, NULL, 'a'},
		{"rate", required_argument, NULL, 'r'},
		{"connections", required_argument, NULL, 'c'},
		{"requests", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"closed", required_argument, NULL, 'C'},
		{"seed", required_argument, NULL, 's'},
		{"timeout-ms", required_argument, NULL, 't'},
		{"drain-ms", required_argument, NULL, 'd'},
		{"patience-ms", required_argument, NULL, 'w'},
		{"tick-us", required_argument, NULL, 'T'},
		{"any-200", no_argument, NULL, '2'},
		{"process", required_argument, NULL, 'P'},
		{"framed", required_argument, NULL, 'F'},
		{"tokens", required_argument, NULL, 'k'},
		{"in-flight", required_argument, NULL, 'i'},
		{NULL, 0, NULL, 0},
	};
	struct hb_load *load = &options->load;
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'p':
			options->plan = optarg;
			break;
		case 'a':
			parse_address(load, optarg);
			break;
		case 'r':
			load->rate_per_s = parse_rate(optarg);
			break;
		case 'c':
			load->connection_count = (uint32_t)parse_u64(
				"--connections", optarg, 1, HB_LOAD_CONNECTIONS_MAX);
			break;
		case 'n':
			load->request_count = parse_u64("--requests", optarg, 1, UINT32_MAX);
			break;
		case 'f':
			load->request_first = parse_u64("--first", optarg, 0, UINT32_MAX);
			break;
		case 'C':
			load->closed = true;
			load->duration_ms = parse_u64("--closed", optarg, 1, 3600000);
			break;
		case 's':
			load->seed = parse_u64("--seed", optarg, 0, UINT64_MAX);
			break;
		case 't':
			load->timeout_ms = (uint32_t)parse_u64("--timeout-ms", optarg, 1, 600000);
			break;
		case 'd':
			load->drain_ms = (uint32_t)parse_u64("--drain-ms", optarg, 0, 600000);
			break;
		case 'w':
			load->patience_ms = (uint32_t)parse_u64("--patience-ms", optarg, 0, 600000);
			break;
		case 'T':
			load->tick_us = (uint32_t)parse_u64("--tick-us", optarg, 0, 10000);
			break;
		case '2':
			load->whole_answers = false;
			break;
		case 'P':
			parse_process(options, optarg);
			break;
		case 'F':
			options->framed = optarg;
			break;
		case 'k':
			options->tokens = optarg;
			break;
		case 'i':
			options->in_flight = (uint32_t)parse_u64(
				"--in-flight", optarg, 1, HB_FRAMED_IN_FLIGHT_MAX);
			break;
		default:
			usage_error("unknown option", argv[optind - 1]);
		}
	}
	if (optind != argc)
		usage_error("unexpected argument", argv[optind]);
	if ((options->plan == NULL) == (options->framed == NULL) || load->host[0] == '\0' ||
		(load->rate_per_s > 0) == load->closed)
		usage_error("load needs",
			"--plan or --framed, --address and either --rate or --closed");
	if ((options->framed == NULL) != (options->tokens == NULL))
		usage_error("one needs the other", "--framed and --tokens");
	if (options->framed != NULL && (load->patience_ms > 0 || load->tick_us > 0))
		usage_error("a framed load has neither", "--patience-ms nor --tick-us");
	if (load->patience_ms > 0 && load->closed)
		usage_error("a closed loop has no schedule to be late in", "--patience-ms");
}

static void
processes_before(struct options *options)
{
	for (uint32_t i = 0; i < options->process_count; i++)
		options->processes[i].before_us = hb_usage_us(options->processes[i].pid);
}

static void
processes_after(struct options *options)
{
	for (uint32_t i = 0; i < options->process_count; i++) {
		struct process *process = &options->processes[i];
		int64_t after_us = hb_usage_us(process->pid);

		process->used_us =
			after_us < 0 || process->before_us < 0 ? -1 : after_us - process->before_us;
	}
}

static void
print_latency(const char *name, const struct hb_histogram *histogram)
{
	static const struct {
		const char *name;
		uint32_t per_million;
	} ranks[] = {{"p50", 500000}, {"p90", 900000}, {"p99", 990000}, {"p999", 999000},
		{"p9999", 999900}};

	printf(",\"%s\":{\"count\":%" PRIu64, name, histogram->count);
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
		printf(",\"%s_us\":%.1f", ranks[i].name,
			(double)hb_histogram_percentile(histogram, ranks[i].per_million) / 1e3);
	printf(",\"max_us\":%.1f,\"mean_us\":%.1f}", (double)histogram->max / 1e3,
		histogram->count == 0 ? 0.0
				      : (double)histogram->sum / (double)histogram->count / 1e3);
}

/* When it was slow: pairs of second and worst latency above a bound. */
static void
print_slow_seconds(const struct hb_load *load)
{
	const char *separator = "";

	printf(",\"slow_seconds\":[");
	for (uint32_t i = 0; i < HB_LOAD_SECONDS_MAX; i++) {
		if (load->worst_ns[i] < SLOW_NS)
			continue;
		printf("%s[%u,%" PRIu64 "]", separator, i, load->worst_ns[i] / 1000);
		separator = ",";
	}
	printf("]");
}

/* Status texts come from the server: only what needs no escaping is printed. */
static void
print_outcomes(const struct hb_load *load)
{
	printf(",\"outcomes\":[");
	for (size_t i = 0; i < HB_LOAD_OUTCOMES_MAX && load->outcomes[i].count > 0; i++) {
		printf("%s{\"http\":%d,\"status\":\"", i == 0 ? "" : ",", load->outcomes[i].http);
		for (const char *at = load->outcomes[i].status; *at != '\0'; at++)
			putchar(*at >= ' ' && *at < 127 && *at != '"' && *at != '\\' ? *at : '?');
		printf("\",\"count\":%" PRIu64 "}", load->outcomes[i].count);
	}
	printf("]");
}

static void
print_processes(const struct options *options)
{
	printf(",\"processes\":[");
	for (uint32_t i = 0; i < options->process_count; i++)
		printf("%s{\"name\":\"%s\",\"pid\":%d,\"cpu_us\":%" PRId64 "}", i == 0 ? "" : ",",
			options->processes[i].name, options->processes[i].pid,
			options->processes[i].used_us);
	printf("]");
}

static void
print_load(const struct options *options, int64_t self_us)
{
	const struct hb_load *load = &options->load;
	const struct hb_load_errors *errors = &load->errors;

	printf("{\"seed\":%" PRIu64 ",\"connections\":%u,\"rate_wanted_per_s\":%.1f", load->seed,
		load->connection_count, load->rate_per_s);
	printf(",\"requests\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"given_up\":%" PRIu64,
		load->request_count, load->sent, load->given_up);
	if (load->closed)
		printf(",\"offered_per_s\":null");
	else
		printf(",\"offered_per_s\":%.1f",
			(double)load->request_count * 1e9 / (double)(load->schedule_ns + 1));
	printf(",\"accepted\":%" PRIu64 ",\"accepted_per_s\":%.1f,\"refused\":%" PRIu64,
		load->accepted, (double)load->accepted * 1e9 / (double)(load->answering_ns + 1),
		load->refused);
	printf(",\"failed\":%" PRIu64 ",\"seconds\":%.3f", hb_load_failed(load),
		(double)load->elapsed_ns / 1e9);
	printf(",\"errors\":{\"connect\":%" PRIu64 ",\"reset\":%" PRIu64 ",\"timeout\":%" PRIu64
	       ",\"protocol\":%" PRIu64 ",\"unsent\":%" PRIu64 "}",
		errors->connect, errors->reset, errors->timeout, errors->protocol, errors->unsent);
	printf(",\"reconnects\":%" PRIu64 ",\"amount_fen_sum\":%" PRIu64, load->reconnects,
		load->amount_fen_sum);
	print_latency("latency", &load->latency);
	print_latency("late", &load->late);
	print_latency("refusal", &load->refusal);
	print_slow_seconds(load);
	print_outcomes(load);
	print_processes(options);
	if (options->framed != NULL)
		printf(",\"in_flight\":%u,\"lines\":%" PRIu64, options->in_flight, options->lines);
	printf(",\"generator_cpu_us\":%" PRId64 "}\n", self_us);
}

/* A connection is a descriptor; where the limit is lower, connecting will say so. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* What a load sends: one of the two, and how many there are. */
struct requests {
	struct hb_plan plan;
	struct hb_framed framed;
	uint64_t count;
};

static int
open_requests(struct options *options, struct requests *requests, char error[256])
{
	int result;

	if (options->framed != NULL) {
		result = hb_framed_open(&requests->framed, options->framed, options->tokens, error);
		requests->framed.in_flight = options->in_flight;
		requests->count = requests->framed.grab_count;
		return result;
	}
	result = hb_plan_open(&requests->plan, options->plan, error);
	if (result != 0)
		return result;
	requests->count = requests->plan.request_count;
	options->load.plan = &requests->plan;
	return 0;
}

static void
close_requests(const struct options *options, struct requests *requests)
{
	if (options->framed != NULL)
		hb_framed_close(&requests->framed);
	else
		hb_plan_close(&requests->plan);
}

static int
run_load(int argc, char **argv)
{
	static struct options options;
	struct requests requests = {0};
	char error[256];
	struct hb_load *load = &options.load;

	load->connection_count = 64;
	load->seed = hb_wall_ns();
	load->timeout_ms = 5000;
	load->drain_ms = 10000;
	load->whole_answers = true;
	parse_options(&options, argc, argv);
	options.in_flight = options.in_flight == 0 ? 1 : options.in_flight;
	int result = open_requests(&options, &requests, error);

	if (result != 0) {
		fprintf(stderr, "hongbao-bench: %s\n", error);
		return 2;
	}
	if (load->request_count == 0 && load->request_first < requests.count)
		load->request_count = requests.count - load->request_first;
	if (load->request_count == 0 || load->request_first >= requests.count ||
		(load->patience_ms == 0 &&
			load->request_count > requests.count - load->request_first))
		usage_error("there are fewer requests than --first and --requests",
			options.plan != NULL ? options.plan : options.framed);

	raise_descriptor_limit();
	processes_before(&options);
	int64_t self_us = hb_usage_self_us();

	if (options.framed != NULL)
		result = hb_framed_run(&requests.framed, load, &options.lines, error);
	else
		result = hb_load_run(load, error);
	self_us = hb_usage_self_us() - self_us;
	processes_after(&options);
	if (result != 0)
		fprintf(stderr, "hongbao-bench: %s\n", error);
	else
		print_load(&options, self_us);
	close_requests(&options, &requests);
	if (result != 0)
		return 2;
	return hb_load_failed(load) == 0 ? 0 : 1;
}

static int
run_sync(int argc, char **argv)
{
	static struct hb_histogram latency;
	char error[256] = "no memory";
	uint32_t count = PROBE_COUNT_DEFAULT;
	uint64_t *latency_ns;

	if (argc < 2 || argc > 3)
		usage_error("sync needs", "DIRECTORY [COUNT]");
	if (argc == 3)
		count = (uint32_t)parse_u64("COUNT", argv[2], 1, 10000000);
	latency_ns = calloc(count, sizeof(*latency_ns));
	if (latency_ns == NULL || hb_sync_probe(argv[1], count, latency_ns, error) != 0) {
		fprintf(stderr, "hongbao-bench: %s\n", error);
		free(latency_ns);
		return 2;
	}
	hb_histogram_reset(&latency);
	for (uint32_t i = 0; i < count; i++)
		hb_histogram_add(&latency, latency_ns[i]);
	free(latency_ns);
	printf("{\"bytes\":4096");
	print_latency("sync", &latency);
	printf("}\n");
	return 0;
}

static int
run_machine(int argc, char **argv)
{
	static struct hb_machine machine;
	char error[256] = "";

	if (argc != 2)
		usage_error("machine needs", "DIRECTORY");
	if (hb_machine_measure(&machine, argv[1], error) != 0) {
		fprintf(stderr, "hongbao-bench: machine: %s\n", error);
		return 2;
	}
	printf("{\"line_ns\":%.1f,\"line_of_8_ns\":%.1f,\"first_access_us\":%.2f,\"realtime\":%s"
	       ",\"cpus\":[",
		machine.line_ns, machine.line_of_8_ns, machine.first_access_us,
		machine.realtime ? "true" : "false");
	for (uint32_t i = 0; i < machine.cpu_count; i++)
		printf("%s{\"cpu\":%d,\"lost_percent\":%.2f,\"gaps_per_s\":%" PRIu64
		       ",\"gap_max_us\":%.1f}",
			i == 0 ? "" : ",", machine.cpus[i].cpu, machine.cpus[i].lost_percent,
			machine.cpus[i].gaps_per_s, machine.cpus[i].gap_max_us);
	printf("],\"sync_us_p50\":%.1f,\"sync_us_p99\":%.1f,\"sync_beside_us_p50\":%.1f"
	       ",\"sync_beside_us_p99\":%.1f}\n",
		machine.sync_us_p50, machine.sync_us_p99, machine.sync_beside_us_p50,
		machine.sync_beside_us_p99);
	return 0;
}

static int
run_engine(int argc, char **argv)
{
	static const struct option table[] = {
		{"accounts", required_argument, NULL, 'a'},
		{"packets", required_argument, NULL, 'p'},
		{"frames", required_argument, NULL, 'f'},
		{"runs", required_argument, NULL, 'r'},
		{"windows", required_argument, NULL, 'w'},
		{"seed", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct hb_engine_bench_options options = {
		.accounts = 1000000, .frames_max = 1000000, .runs_max = 20, .seed = hb_wall_ns()};
	int option, result;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'a')
			options.accounts = parse_u64("--accounts", optarg, 10000, 100000000);
		else if (option == 'p')
			options.packets = parse_u64("--packets", optarg, 1, 10000000);
		else if (option == 'f')
			options.frames_max = parse_u64("--frames", optarg, 1, 10000000);
		else if (option == 'r')
			options.runs_max = parse_u64("--runs", optarg, 1, 1000);
		else if (option == 'w')
			options.windows = parse_u64("--windows", optarg, 1024, 67108864);
		else if (option == 's')
			options.seed = parse_u64("--seed", optarg, 0, UINT64_MAX);
		else
			usage_error("unknown option", argv[optind - 1]);
	}
	result = hb_engine_bench(&options);
	if (result != 0)
		fprintf(stderr, "hongbao-bench: engine: %s\n", strerror(-result));
	return result == 0 ? 0 : 2;
}

static int
run_rings(int argc, char **argv)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 'S'},
		{"grabs", required_argument, NULL, 'g'},
		{"users", required_argument, NULL, 'u'},
		{"first-sender", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct hb_rings_options options = {
		.grabs = 100000, .first_sender = HB_RINGS_FIRST_SENDER, .seed = hb_wall_ns()};
	char error[160] = "";
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'S')
			options.socket = optarg;
		else if (option == 'g')
			options.grabs = parse_u64("--grabs", optarg, 1, 100000000);
		else if (option == 'u')
			options.users = parse_u64("--users", optarg, HB_RINGS_USERS_MIN, 100000000);
		else if (option == 'f')
			options.first_sender =
				parse_u64("--first-sender", optarg, 1, UINT64_C(2999999999000));
		else if (option == 's')
			options.seed = parse_u64("--seed", optarg, 0, UINT64_MAX);
		else
			usage_error("unknown option", argv[optind - 1]);
	}
	if (options.socket == NULL)
		usage_error("rings needs", "--socket");
	if (hb_rings_bench(&options, error) == 0)
		return 0;
	fprintf(stderr, "hongbao-bench: rings: %s\n", error);
	return 2;
}

static int
run_bare_client(int argc, char **argv)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 'S'},
		{"from", required_argument, NULL, 'f'},
		{"into", required_argument, NULL, 'i'},
		{"after", required_argument, NULL, 'a'},
		{"records-per-commit", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	struct hb_bare_client client = {.records_per_commit = 16384};
	char error[256] = "";
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'S')
			client.socket = optarg;
		else if (option == 'f')
			client.from = optarg;
		else if (option == 'i')
			client.into = optarg;
		else if (option == 'a')
			client.after = parse_u64("--after", optarg, 0, UINT64_MAX);
		else if (option == 'r')
			client.records_per_commit =
				parse_u64("--records-per-commit", optarg, 1, 1000000);
		else
			usage_error("unknown option", argv[optind - 1]);
	}
	if (client.socket == NULL || client.from == NULL || client.into == NULL)
		usage_error("bare-client needs", "--socket, --from and --into");
	if (hb_bare_client(&client, error) == 0)
		return 0;
	fprintf(stderr, "hongbao-bench: bare-client: %s\n", error);
	return 2;
}

static int
run_mariadb(int argc, char **argv)
{
	static const struct option table[] = {
		{"socket", required_argument, NULL, 'S'},
		{"database", required_argument, NULL, 'd'},
		{"clients", required_argument, NULL, 'c'},
		{"first", required_argument, NULL, 'f'},
		{"count", required_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	struct hb_mariadb_options options = {.clients = 1};
	char error[160] = "";
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'S')
			options.socket = optarg;
		else if (option == 'd')
			options.database = optarg;
		else if (option == 'c')
			options.clients = parse_u64("--clients", optarg, 1, 4096);
		else if (option == 'f')
			options.first = parse_u64("--first", optarg, 0, UINT32_MAX);
		else if (option == 'n')
			options.count = parse_u64("--count", optarg, 1, UINT32_MAX);
		else
			return 2;
	}
	if (options.socket == NULL || options.database == NULL)
		usage_error("mariadb needs", "--socket and --database");
	if (hb_mariadb_client(&options, error) == 0)
		return 0;
	fprintf(stderr, "hongbao-bench: mariadb: %s\n", error);
	return 1;
}

static int
run_recovery(int argc, char **argv)
{
	const char *config = NULL;
	char error[512] = "";
	int threads = -1;
	bool touch = false;

	for (int i = 1; i < argc; i++) {
		if (i + 1 < argc && strcmp(argv[i], "--config") == 0)
			config = argv[++i];
		else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0)
			threads = (int)parse_u64(
				"--threads must be 0 to 4", argv[++i], 0, HB_REPLAY_THREADS_MAX);
		else if (strcmp(argv[i], "--touch") == 0)
			touch = true;
		else
			usage_error("recovery does not know", argv[i]);
	}
	if (config == NULL)
		usage_error("recovery needs", "--config FILE");
	if (hb_recovery_bench(config, threads, touch, error) == 0)
		return 0;
	fprintf(stderr, "hongbao-bench: recovery: %s\n", error);
	return 2;
}

static int
run_jwt(int argc, char **argv)
{
	static const struct option table[] = {
		{"algorithm", required_argument, NULL, 'a'},
		{"secret", required_argument, NULL, 's'},
		{"kid", required_argument, NULL, 'k'},
		{"first", required_argument, NULL, 'f'},
		{"count", required_argument, NULL, 'n'},
		{"group", required_argument, NULL, 'g'},
		{"lifetime-s", required_argument, NULL, 'l'},
		{"public", no_argument, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	struct hb_user_tokens tokens = {.count = 1, .lifetime_s = 7200};
	char error[160] = "";
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'a')
			tokens.algorithm = optarg;
		else if (option == 's')
			tokens.secret_hex = optarg;
		else if (option == 'k')
			tokens.kid = optarg;
		else if (option == 'f')
			tokens.first = parse_u64("--first", optarg, 1, UINT64_C(1) << 53);
		else if (option == 'n')
			tokens.count = parse_u64("--count", optarg, 1, 100000000);
		else if (option == 'g')
			tokens.group = parse_u64("--group", optarg, 0, UINT64_C(1) << 53);
		else if (option == 'l')
			tokens.lifetime_s = parse_u64("--lifetime-s", optarg, 1, 1000000000);
		else if (option == 'p')
			tokens.public_key = true;
		else
			usage_error("unknown option", argv[optind - 1]);
	}
	if (tokens.algorithm == NULL || tokens.secret_hex == NULL ||
		(!tokens.public_key && (tokens.kid == NULL || tokens.first == 0)))
		usage_error("jwt needs", "--algorithm, --secret, --kid and --first");
	if (hb_user_tokens_print(&tokens, error) == 0)
		return 0;
	fprintf(stderr, "hongbao-bench: jwt: %s\n", error);
	return 2;
}

int
main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return 0;
	}
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		puts("hongbao-bench " HB_VERSION);
		return 0;
	}
	if (argc >= 2 && strcmp(argv[1], "load") == 0)
		return run_load(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "sync") == 0)
		return run_sync(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "machine") == 0)
		return run_machine(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "engine") == 0)
		return run_engine(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "rings") == 0)
		return run_rings(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "jwt") == 0)
		return run_jwt(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "bare-client") == 0)
		return run_bare_client(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "mariadb") == 0)
		return run_mariadb(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "recovery") == 0)
		return run_recovery(argc - 1, argv + 1);
	usage_error("the first argument must be",
		"load, sync, machine, engine, rings, jwt, bare-client, mariadb or recovery");
}
