/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-frame: asks a node over UDP, for people and scripts. One request a call; the answer is
 * one JSON object on standard output. Exit 0 answered ok, 1 answered otherwise, 2 wrong usage,
 * 3 no answer in time.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/front_keys.h"
#include "shm/token.h"
#include "tools/frame/hongbao_frame.h"

#define REPEAT_MAX HB_FRONT_REQUESTS_MAX

struct request {
	const char *verb;
	uint64_t target;
	uint64_t user;
	uint64_t group;
	uint64_t repeat;
	const char *token;
	uint64_t sequence;
};

union any_frame {
	struct hb_frame head;
	struct hb_frame_detail detail;
	struct hb_frame_token token;
};

static void
usage(FILE *out)
{
	fputs("usage: hongbao-frame --node ADDRESS --keys FILE [options] VERB ...\n"
	      "\n"
	      "  balance USER                      available and frozen\n"
	      "  grab PACKET USER --group N --token TOKEN --sequence N\n"
	      "  detail PACKET USER [--group N]    how a packet stands\n"
	      "  ask-token PACKET USER             a money token, pushed to the user's stream\n"
	      "\n"
	      "  --node ADDRESS   IPv4 address of the node's port (port.address)\n"
	      "  --keys FILE      lines \"ID HEX-KEY OPERATIONS\", as the node's key/frame.keys\n"
	      "  --key ID         which of them; default the first\n"
	      "  --base PORT      port.udp_base; default 7400\n"
	      "  --lcores N       dataplane.lcores; default 1; a wrong number costs a hop only\n"
	      "  --timeout MS     give up after this long; default 2000\n"
	      "  --repeat N       ask N times at once and tell the rate (1..4096)\n"
	      "  --help, --version\n"
	      "\n"
	      "Exit: 0 ok, 1 another answer, 2 usage, 3 no answer in time (outcome unknown: ask\n"
	      "again with the same sequence).\n",
		out);
}

__attribute__((noreturn, format(printf, 1, 2))) static void
wrong(const char *format, ...)
{
	va_list arguments;

	fputs("hongbao-frame: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("; --help says how\n", stderr);
	exit(2);
}

static uint64_t
number(const char *what, const char *text, int base, uint64_t max)
{
	char *end = NULL;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, base);
	if (errno != 0 || *text == '-' || end == text || *end != '\0' || value > max)
		wrong("%s '%.40s' is no number up to %" PRIu64, what, text, max);
	return value;
}

static void
take_token(struct hb_frame *frame, const struct request *request)
{
	struct hb_token token;
	uint64_t user;

	if (request->token == NULL)
		wrong("a grab needs --token and --sequence");
	if (!hb_token_parse(request->token, (uint32_t)strlen(request->token), &token, &user))
		wrong("'%.60s' is no money token", request->token);
	frame->token_id = token.id;
	frame->token_mac = token.mac;
	frame->token_expiry_s = token.expiry_s;
	frame->sequence = (uint32_t)request->sequence;
}

static void
make_frame(union any_frame *frame, const struct request *request)
{
	static const struct {
		const char *verb;
		uint8_t operation;
		uint16_t length;
	} verbs[] = {{"balance", HB_OP_BALANCE, sizeof(struct hb_frame)},
		{"grab", HB_OP_GRAB, sizeof(struct hb_frame)},
		{"detail", HB_OP_PACKET_DETAIL, sizeof(struct hb_frame_detail)},
		{"ask-token", HB_OP_TOKEN_ASK, sizeof(struct hb_frame_token)}};

	memset(frame, 0, sizeof(*frame));
	frame->head.version = HB_FRAME_VERSION;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(request->verb, verbs[i].verb) == 0) {
			frame->head.operation = verbs[i].operation;
			frame->head.length = verbs[i].length;
		}
	if (frame->head.length == 0)
		wrong("there is no verb '%.20s'", request->verb);
	frame->head.target = request->target;
	frame->head.user = request->user;
	frame->head.group = request->group;
	if (frame->head.operation == HB_OP_GRAB)
		take_token(&frame->head, request);
	if (frame->head.operation == HB_OP_TOKEN_ASK)
		frame->token.for_operation = HB_OP_GRAB;
}

static const char *
status_name(uint32_t status)
{
	switch (status) {
#define STATUS_NAME(number, name, text, http, advice)                                              \
	case number:                                                                               \
		return text;
		HB_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
	default:
		return "unknown";
	}
}

static int
print_reply(const struct hb_reply *reply)
{
	printf("{\"status\":\"%s\"", status_name(reply->status));
	if (reply->status == HB_STATUS_OK && reply->operation == HB_OP_BALANCE)
		printf(",\"available_fen\":%" PRId64 ",\"frozen_fen\":%" PRId64, reply->amount_fen,
			reply->other_fen);
	if (reply->status == HB_STATUS_OK && reply->operation == HB_OP_GRAB)
		printf(",\"amount_fen\":%" PRId64 ",\"share\":%u,\"left_fen\":%" PRId64
		       ",\"left_count\":%u,\"already\":%s",
			reply->amount_fen, reply->index, reply->other_fen, reply->count,
			(reply->flags & HB_REPLY_ALREADY) != 0 ? "true" : "false");
	if (reply->status == HB_STATUS_OK && reply->operation == HB_OP_PACKET_DETAIL) {
		const struct hb_reply_detail *detail = (const void *)reply;

		printf(",\"sender\":%" PRIu64 ",\"total_fen\":%" PRId64 ",\"left_fen\":%" PRId64
		       ",\"count\":%u,\"taken\":%u",
			detail->sender, detail->total_fen, detail->left_fen, detail->share_count,
			detail->taken_count);
	}
	printf(",\"as_of_seq\":%" PRIu64 "}\n", reply->as_of_seq);
	return reply->status == HB_STATUS_OK ? 0 : 1;
}

static int
ask(struct hb_front *front, const union any_frame *frame, uint32_t repeat)
{
	struct hb_front_request *requests = calloc(repeat, sizeof(*requests));
	uint8_t *replies = aligned_alloc(64, (size_t)repeat * HB_REPLY_BYTES_MAX);
	struct timespec before, after;
	uint32_t answered;
	int result = 3;

	if (requests == NULL || replies == NULL)
		wrong("no memory for %u requests", repeat);
	for (uint32_t i = 0; i < repeat; i++)
		requests[i] = (struct hb_front_request){.frame = &frame->head,
			.reply = (void *)(replies + (size_t)i * HB_REPLY_BYTES_MAX)};
	clock_gettime(CLOCK_MONOTONIC, &before);
	answered = hb_front_ask(front, requests, repeat);
	clock_gettime(CLOCK_MONOTONIC, &after);
	if (repeat > 1) {
		uint64_t us = (uint64_t)(after.tv_sec - before.tv_sec) * 1000000 +
			      (uint64_t)((after.tv_nsec - before.tv_nsec) / 1000);

		fprintf(stderr, "%u of %u answered in %" PRIu64 " us\n", answered, repeat, us);
	}
	if (answered == repeat)
		result = print_reply(requests[0].reply);
	else
		fputs("{\"status\":\"unknown_outcome\"}\n", stdout);
	free(requests);
	free(replies);
	return result;
}

static void
take_key(struct hb_front_options *options, const char *path, uint64_t id)
{
	static struct hb_front_keys keys;
	const struct hb_front_key *key;
	char error[256];

	if (hb_front_keys_read(&keys, path, error) != 0)
		wrong("%s", error);
	key = id == 0 && keys.count > 0 ? &keys.key[0] : hb_front_key_find(&keys, (uint32_t)id);
	if (key == NULL)
		wrong("%.100s has no key %" PRIu64, path, id);
	options->key_id = key->id;
	memcpy(options->key, key->key, sizeof(options->key));
	explicit_bzero(&keys, sizeof(keys));
}

int
main(int argc, char **argv)
{
	static const struct option long_options[] = {{"node", required_argument, NULL, 'n'},
		{"keys", required_argument, NULL, 'k'}, {"key", required_argument, NULL, 'i'},
		{"base", required_argument, NULL, 'b'}, {"lcores", required_argument, NULL, 'l'},
		{"timeout", required_argument, NULL, 't'}, {"group", required_argument, NULL, 'g'},
		{"token", required_argument, NULL, 'T'}, {"sequence", required_argument, NULL, 's'},
		{"repeat", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
	struct hb_front_options options = {0};
	struct request request = {.repeat = 1};
	const char *keys = NULL;
	uint64_t key_id = 0;
	struct hb_front *front;
	union any_frame frame;
	char error[HB_FRONT_ERROR_BYTES];
	int option, result;

	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (option) {
		case 'n':
			options.address = optarg;
			break;
		case 'k':
			keys = optarg;
			break;
		case 'i':
			key_id = number("--key", optarg, 10, UINT32_MAX);
			break;
		case 'b':
			options.udp_base = (uint16_t)number("--base", optarg, 10, 65000);
			break;
		case 'l':
			options.lcores = (uint32_t)number("--lcores", optarg, 10, 16);
			break;
		case 't':
			options.deadline_ms = (uint32_t)number("--timeout", optarg, 10, 600000);
			break;
		case 'g':
			request.group = number("--group", optarg, 10, UINT64_MAX);
			break;
		case 'T':
			request.token = optarg;
			break;
		case 's':
			request.sequence = number("--sequence", optarg, 10, UINT32_MAX);
			break;
		case 'r':
			request.repeat = number("--repeat", optarg, 10, REPEAT_MAX);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'v':
			puts("hongbao-frame " HB_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind < 2)
		wrong("a verb and its object are needed");
	if (options.address == NULL || keys == NULL)
		wrong("--node and --keys are needed");
	request.verb = argv[optind];
	if (strcmp(request.verb, "balance") == 0) {
		request.target = request.user = number("USER", argv[optind + 1], 10, UINT64_MAX);
	} else {
		if (argc - optind < 3)
			wrong("%s needs PACKET and USER", request.verb);
		request.target = number("PACKET", argv[optind + 1], 16, UINT64_MAX);
		request.user = number("USER", argv[optind + 2], 10, UINT64_MAX);
	}
	make_frame(&frame, &request);
	take_key(&options, keys, key_id);
	if (hb_front_open(&front, &options, error) != 0)
		wrong("%s", error);
	result = ask(front, &frame, request.repeat == 0 ? 1 : (uint32_t)request.repeat);
	hb_front_close(front);
	return result;
}
