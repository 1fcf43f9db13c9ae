/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's command line: seeds, crash points, corruption. The same number does the same
 * again. Nothing outside this process is touched but the file of --resume.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/clients.h"
#include "tests/sim/machine.h"
#include "tests/sim/runs.h"
#include "tests/sim/seed.h"
#include "tests/sim/work.h"

#define SEEDS_DEFAULT 1000
#define SEEDS_BATCH   200

enum seed_sum {
	SUM_OPERATIONS,
	SUM_ACKED,
	SUM_CLAIMS,
	SUM_CRASHES,
	SUM_RECOVERIES,
	SUM_DETECTED,
	SUM_SIMULATED_NS,
	SUM_WEAK, /* seeds that had less than a seed must have: there are none */
	SUM_FAULTS,
	SUM_COUNT = SUM_FAULTS + SIM_FAULT_COUNT
};
static const char *const seed_sum_names[SUM_FAULTS] = {"operations", "acked", "claims", "crashes",
	"recoveries", "detected", "simulated_ns", "weak_seeds"};

static void
add_seed(uint64_t sums[SIM_SUMS_MAX])
{
	const struct sim_numbers *clients = sim_clients_numbers();
	struct sim_seed_numbers numbers = sim_seed_numbers();

	sums[SUM_OPERATIONS] += clients->operations;
	sums[SUM_ACKED] += clients->acked;
	sums[SUM_CLAIMS] += clients->claims;
	sums[SUM_CRASHES] += numbers.crashes;
	sums[SUM_RECOVERIES] += numbers.recoveries;
	sums[SUM_DETECTED] += numbers.detected;
	sums[SUM_SIMULATED_NS] += machine.boot_ns - SIM_BOOT_NS;
	sums[SUM_WEAK] += clients->operations < SIM_OPERATIONS_MIN ||
			  numbers.kinds < SIM_KINDS_MIN || numbers.crashes == 0 ||
			  numbers.recoveries < 2;
	for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
		sums[SUM_FAULTS + i] += machine.faults[i];
}

static bool
run_seed(uint64_t number, uint64_t sums[SIM_SUMS_MAX])
{
	sim_seed_begin(number, NULL);
	if (setjmp(machine.violation) != 0) {
		fprintf(stderr,
			"seed %" PRIu64 ": %s\nreplay: ./hongbao sim --seed %" PRIu64 " --log\n",
			number, machine.why, number);
		return false;
	}
	sim_seed_steps();
	sim_seed_finish();
	add_seed(sums);
	return true;
}

static const struct sim_run seeds = {
	.name = "seeds",
	.sum_names = seed_sum_names,
	.sum_count = SUM_COUNT,
	.run = run_seed,
	.batch = SEEDS_BATCH,
	.count = SEEDS_DEFAULT,
};

/* ---- what is printed ---- */

static void
print_json(const struct sim_run *run, const struct sim_work *work)
{
	uint32_t plain = run == &seeds ? SUM_FAULTS : run->sum_count;

	printf("{\"%s\":%" PRIu64 ",\"from\":%" PRIu64 ",\"violations\":%" PRIu64, run->name,
		work->done, work->from, work->violations);
	for (uint32_t i = 0; i < plain; i++)
		printf(",\"%s\":%" PRIu64, run->sum_names[i], work->sums[i]);
	if (run == &seeds) {
		printf(",\"simulated_s\":%" PRIu64 ",\"faults\":{",
			work->sums[SUM_SIMULATED_NS] / 1000000000);
		for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
			printf("%s\"%s\":%" PRIu64, i == 0 ? "" : ",",
				sim_fault_name((enum sim_fault)i), work->sums[SUM_FAULTS + i]);
		printf("}");
	}
	printf("}\n");
}

static void
print_text(const struct sim_run *run, const struct sim_work *work)
{
	uint32_t plain = run == &seeds ? SUM_SIMULATED_NS : run->sum_count;

	printf("%" PRIu64 " %s", work->done, run->name);
	for (uint32_t i = 0; i < plain; i++)
		printf(", %" PRIu64 " %s", work->sums[i], run->sum_names[i]);
	if (run == &seeds)
		printf(", %" PRIu64 " s simulated", work->sums[SUM_SIMULATED_NS] / 1000000000);
	printf(": %" PRIu64 " violations\n", work->violations);
}

/* ---- the program ---- */

static void
usage(FILE *out)
{
	fprintf(out,
		"usage: hongbao sim [--seeds N] [--seed S [--log]]\n"
		"       hongbao sim --crash-points [--scripts N] [--every K]\n"
		"       hongbao sim --corruption [--scripts N] [--every K]\n"
		"Simulates clients, dataplane, persist and a disk that fails; checks that nothing\n"
		"acknowledged is lost. Exit 1 at the first violation, with how to see it again.\n\n"
		"  --seeds N       drawn workloads and faults (1000)\n"
		"  --seed S        one seed; --log prints its steps\n"
		"  --crash-points  stop a script at each point of the disk, fail each of its "
		"calls\n"
		"  --corruption    damage each sector of what a script left\n"
		"  --scripts N     of those two (12; 4)\n"
		"  --every K       only each K-th point, call or sector; --only P: this one\n"
		"  --from S        first seed or script (1)\n"
		"  --jobs N        processes at once\n"
		"  --resume FILE   remember there how far it came, and go on from there\n"
		"  --keep-going    after a violation\n"
		"  --json          the result as one JSON object\n");
}

static uint64_t
number_of(const char *text)
{
	char *end = NULL;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno == 0 && end != text && *end == '\0' && *text != '-')
		return value;
	fprintf(stderr, "sim: '%s' is not a number\n", text);
	exit(2);
}

static uint64_t
number_between(const char *text, uint64_t least, uint64_t most)
{
	uint64_t value = number_of(text);

	if (value >= least && value <= most)
		return value;
	fprintf(stderr, "sim: %s is not between %" PRIu64 " and %" PRIu64 "\n", text, least, most);
	exit(2);
}

struct command {
	const struct sim_run *run;
	struct sim_work work;
	bool json;
	bool expect_violation;
};

static bool
take_option(struct command *command, int option)
{
	switch (option) {
	case 'n':
		command->work.count = number_of(optarg);
		return true;
	case 's':
		command->work.from = number_of(optarg);
		command->work.count = 1;
		return true;
	case 'f':
		command->work.from = number_of(optarg);
		return true;
	case 'c':
		command->run = &sim_crash_points;
		return true;
	case 'd':
		command->run = &sim_corruption;
		return true;
	case 'e':
		sim_options.every = (uint32_t)number_between(optarg, 1, UINT32_MAX);
		return true;
	case 'o':
		sim_options.only = number_of(optarg);
		return true;
	case 'J':
		command->work.jobs = (uint32_t)number_between(optarg, 1, SIM_JOBS_MAX);
		return true;
	case 'r':
		command->work.resume = optarg;
		return true;
	case 'j':
		command->json = true;
		return true;
	case 'l':
		machine.log = true;
		return true;
	case 'k':
		command->work.keep_going = true;
		return true;
	case 'x':
		command->expect_violation = true;
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
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
		{"scripts", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
		{"from", required_argument, NULL, 'f'}, {"crash-points", no_argument, NULL, 'c'},
		{"corruption", no_argument, NULL, 'd'}, {"every", required_argument, NULL, 'e'},
		{"only", required_argument, NULL, 'o'}, {"jobs", required_argument, NULL, 'J'},
		{"resume", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
		{"log", no_argument, NULL, 'l'}, {"keep-going", no_argument, NULL, 'k'},
		{"expect-violation", no_argument, NULL, 'x'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	static struct command command = {.run = &seeds, .work = {.from = 1}};
	struct sim_work *work = &command.work;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (!take_option(&command, option)) {
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sim: '%s' is not an option; --help names them\n", argv[optind]);
		return 2;
	}
	work->name = command.run->name;
	work->run = command.run->run;
	work->sum_count = command.run->sum_count;
	work->batch = command.run->batch;
	if (work->count == 0)
		work->count = command.run->count;
	/* large blocks stay in the process: a start takes and gives back the same ones */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	if (sim_work_run(work) != 0)
		return 2;
	if (command.json)
		print_json(command.run, work);
	else
		print_text(command.run, work);
	return (work->violations == 0) == command.expect_violation ? 1 : 0;
}
