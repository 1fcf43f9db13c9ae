/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hongbao-frames-bench: frames in UDP datagrams as a front on another machine sends them, over a
 * net_memif port or a kernel socket, and the peers that only send datagrams back.
 * perf/bench_frames.py prepares the grabs and judges.
 *
 * Datagrams are made and sealed ahead. One thread sends while fewer than so many frames are without
 * an answer; what is not answered for a while counts as lost and is asked again. Nothing is kept.
 * If it dies, the node sees a port without a peer, and goes on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "base/assert.h"
#include "base/clock.h"
#include "dataplane/wire.h"
#include "perf/histogram.h"
#include "perf/ipc_peers.h"
#include "shm/frame.h"
#include "shm/token.h"

#define BURST		32
#define POOL_PACKETS	8191
#define QUEUE_PACKETS	1024
#define LOST_NS		UINT64_C(100000000)
#define LINK_WAIT_MS	30000
#define GROUP		7
#define CLIENT_PORT	7399
#define MAC_CHECK_EVERY 64 /* datagrams of the node whose MAC is checked */
#define SOCKET_BYTES	(8 << 20)
#define FRAMES_MAX	1000000
#define SERVER_MAC	"02:00:00:00:00:01" /* of the node's end too */

enum way {
	WAY_MEMIF,
	WAY_UDP
};

struct datagram {
	uint8_t bytes[HB_WIRE_PACKET_BYTES_MAX];
	uint32_t length; /* with Ethernet, IPv4 and UDP */
	uint64_t sent_ns;
};

struct options {
	const char *command; /* durable, already, echo, mac-swap, udp-echo */
	const char *grabs;
	const char *socket; /* of the memif */
	const char *address;
	uint16_t udp_port; /* where datagrams go */
	uint32_t key_id;
	uint8_t key[HB_DATAGRAM_KEY_BYTES];
	uint32_t per_datagram;
	uint32_t in_flight; /* frames */
	double seconds;
	enum way way;
};

struct bench {
	struct options options;
	struct datagram *datagrams;
	uint64_t datagram_count;
	uint64_t frame_count;
	bool *answered; /* by frame */
	struct rte_mempool *pool;
	int fd;
	struct hb_wire_self self;
	struct hb_wire_peer node;
	/* of the run */
	uint64_t next; /* datagram */
	uint64_t sent, outstanding, replies, ok, already, bad, lost, datagrams_in;
	int64_t amount_fen;
	uint64_t answered_count;
	uint64_t now_ns, last_reply_ns;
	struct hb_histogram latency;
};

static volatile sig_atomic_t ending;

static const char help[] =
	"hongbao-frames-bench durable|already|echo --grabs FILE --per-datagram N [options]\n"
	"  durable: each grab once, until all are answered; already: winners ask again;\n"
	"  echo: whatever comes back counts\n"
	"hongbao-frames-bench mac-swap --memif SOCKET    sends every packet back, MACs changed "
	"over\n"
	"hongbao-frames-bench udp-echo --port N          the same with recvmmsg and sendmmsg\n"
	"hongbao-frames-bench ring|pipe IN-FLIGHT COUNT CPU CPU    two processes, nothing decided\n"
	"    --memif SOCKET   a net_memif port; without it a kernel socket to 127.0.0.1\n"
	"    --address A --port N --key-id N --key HEX   of the node (10.78.0.1, 7400)\n"
	"    --in-flight N    frames without an answer, at most (512)\n"
	"    --seconds S      length (2)\n";

static _Noreturn void
fatal(const char *what, const char *why)
{
	fprintf(stderr, "hongbao-frames-bench: %s: %s\n", what, why);
	exit(2);
}

static void
on_signal(int number)
{
	(void)number;
	ending = 1;
}

/* ---- DPDK ---- */

static void
eal_open(struct bench *b, bool server)
{
	char vdev[320], prefix[64];
	char *words[] = {"hongbao-frames-bench", "--no-huge", "-m", "64", "--no-pci", "--no-shconf",
		"--no-telemetry", "--log-level=error", prefix, vdev, NULL};
	struct rte_eth_conf configuration = {.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE};
	uint16_t receive = QUEUE_PACKETS, send = QUEUE_PACKETS;

	/* what EAL writes goes where RUNTIME_DIRECTORY says, perf/bench_frames.py removes it */
	snprintf(prefix, sizeof(prefix), "--file-prefix=frames-%d", (int)getpid());
	snprintf(vdev, sizeof(vdev), "--vdev=net_memif0,role=%s,socket=%s,socket-abstract=no%s",
		server ? "server" : "client", b->options.socket, server ? ",mac=" SERVER_MAC : "");
	if (rte_eal_init(sizeof(words) / sizeof(words[0]) - 1, words) < 0)
		fatal("DPDK does not start", b->options.socket);
	b->pool = rte_pktmbuf_pool_create(
		"frames", POOL_PACKETS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (b->pool == NULL || rte_eth_dev_configure(0, 1, 1, &configuration) != 0 ||
		rte_eth_dev_adjust_nb_rx_tx_desc(0, &receive, &send) != 0 ||
		rte_eth_rx_queue_setup(0, 0, receive, SOCKET_ID_ANY, NULL, b->pool) != 0 ||
		rte_eth_tx_queue_setup(0, 0, send, SOCKET_ID_ANY, NULL) != 0 ||
		rte_eth_dev_start(0) != 0)
		fatal("the memif port does not start", b->options.socket);
}

static void
link_wait(const struct bench *b)
{
	struct rte_eth_link link = {0};

	for (uint32_t ms = 0; ms < LINK_WAIT_MS && !ending; ms++) {
		if (rte_eth_link_get_nowait(0, &link) == 0 && link.link_status == RTE_ETH_LINK_UP)
			return;
		usleep(1000);
	}
	fatal("nobody is at the other end of the memif", b->options.socket);
}

static void
mac_swap(struct bench *b)
{
	struct rte_mbuf *burst[BURST];

	eal_open(b, true);
	puts("{\"ready\":true}");
	fflush(stdout);
	while (!ending) {
		uint16_t n = rte_eth_rx_burst(0, 0, burst, BURST);

		for (uint16_t i = 0; i < n; i++) {
			struct rte_ether_hdr *head =
				rte_pktmbuf_mtod(burst[i], struct rte_ether_hdr *);
			struct rte_ether_addr kept = head->dst_addr;

			head->dst_addr = head->src_addr;
			head->src_addr = kept;
		}
		uint16_t sent = n == 0 ? 0 : rte_eth_tx_burst(0, 0, burst, n);

		while (sent < n)
			rte_pktmbuf_free(burst[sent++]);
	}
	/* takes the socket's file away, which the next one would stumble over */
	rte_eth_dev_stop(0);
	rte_eth_dev_close(0);
}

/* ---- kernel sockets ---- */

static int
udp_open(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = SOCKET_BYTES;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fatal("no UDP socket", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return fd;
}

static void
udp_echo(struct bench *b)
{
	static uint8_t room[BURST][HB_WIRE_PACKET_BYTES_MAX];
	struct sockaddr_in from[BURST];
	struct iovec vectors[BURST];
	struct mmsghdr messages[BURST];
	int fd = udp_open(b->options.udp_port);
	struct timeval wait = {.tv_usec = 100000}; /* to look whether it is to end */

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	puts("{\"ready\":true}");
	fflush(stdout);
	while (!ending) {
		for (int i = 0; i < BURST; i++) {
			vectors[i] = (struct iovec){room[i], sizeof(room[i])};
			messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i],
							       .msg_namelen = sizeof(from[i]),
							       .msg_iov = &vectors[i],
							       .msg_iovlen = 1}};
		}
		int n = recvmmsg(fd, messages, BURST, MSG_WAITFORONE, NULL);

		for (int i = 0; i < n; i++)
			vectors[i].iov_len = messages[i].msg_len;
		for (int sent = 0; sent < n;) {
			int some = sendmmsg(fd, messages + sent, (unsigned int)(n - sent), 0);

			if (some <= 0)
				break;
			sent += some;
		}
	}
	close(fd);
}

/* ---- making datagrams ---- */

static void
frame_make(struct bench *b, struct hb_frame *frame, const char *line, uint64_t index)
{
	char text[HB_TOKEN_TEXT_MAX];
	uint64_t user, token_user;
	struct hb_token token;

	memset(frame, 0, sizeof(*frame));
	if (sscanf(line, "%" SCNu64 " %" SCNx64 " %95s %" SCNu32, &user, &frame->target, text,
		    &frame->sequence) != 4 ||
		!hb_token_parse(text, (uint32_t)strlen(text), &token, &token_user))
		fatal("no grab", line);
	frame->version = HB_FRAME_VERSION;
	frame->operation = HB_OP_GRAB;
	frame->length = sizeof(*frame);
	frame->issued_s = (uint32_t)(hb_wall_ns() / 1000000000);
	frame->correlation = index;
	frame->user = user;
	frame->group = GROUP;
	frame->token_id = token.id;
	frame->token_mac = token.mac;
	frame->token_expiry_s = token.expiry_s;
	(void)b;
}

/* The frames of lines behind each other, `count` of them, as one sealed datagram. */
static void
datagram_finish(struct bench *b, struct datagram *datagram, uint32_t count)
{
	struct hb_datagram head = {.magic = HB_DATAGRAM_MAGIC,
		.version = HB_DATAGRAM_VERSION,
		.count = (uint8_t)count,
		.key_id = b->options.key_id,
		.bytes = count * (uint32_t)sizeof(struct hb_frame),
		.number = (uint64_t)(datagram - b->datagrams) + 1};
	uint8_t *payload = datagram->bytes + HB_WIRE_HEADERS_BYTES;

	memcpy(payload, &head, sizeof(head));
	hb_datagram_seal(payload, b->options.key);
	datagram->length = hb_wire_head(&b->self, &b->node, CLIENT_PORT, datagram->bytes,
		(uint32_t)sizeof(head) + head.bytes);
}

static void
datagrams_make(struct bench *b)
{
	FILE *file = fopen(b->options.grabs, "re");
	uint32_t per = b->options.per_datagram, held = 0;
	char line[256];

	if (file == NULL)
		fatal(b->options.grabs, strerror(errno));
	b->datagrams = calloc(FRAMES_MAX / per + 1, sizeof(*b->datagrams));
	b->answered = calloc(FRAMES_MAX, sizeof(*b->answered));
	if (b->datagrams == NULL || b->answered == NULL)
		fatal("datagrams", "no memory");
	while (b->frame_count < FRAMES_MAX && fgets(line, sizeof(line), file) != NULL) {
		struct datagram *datagram = &b->datagrams[b->datagram_count];
		struct hb_frame frame;

		frame_make(b, &frame, line, b->frame_count++);
		memcpy(datagram->bytes + HB_WIRE_HEADERS_BYTES + HB_DATAGRAM_HEAD_BYTES +
				held * sizeof(frame),
			&frame, sizeof(frame));
		if (++held < per)
			continue;
		datagram_finish(b, datagram, held);
		b->datagram_count++;
		held = 0;
	}
	if (held > 0)
		datagram_finish(b, &b->datagrams[b->datagram_count++], held);
	fclose(file);
	if (b->datagram_count == 0)
		fatal(b->options.grabs, "no grabs in it");
}

static uint32_t
frames_of(const struct bench *b, uint64_t datagram)
{
	uint64_t first = datagram * b->options.per_datagram;
	uint64_t left = b->frame_count - first;

	return left < b->options.per_datagram ? (uint32_t)left : b->options.per_datagram;
}

/* ---- the run ---- */

static void
take_replies(struct bench *b, const uint8_t *payload, const struct hb_datagram *head)
{
	const uint8_t *at = payload + sizeof(*head), *end = at + head->bytes;

	for (uint32_t i = 0; i < head->count && at < end; i++) {
		const struct hb_reply *reply = (const void *)at;
		uint64_t frame = reply->correlation;

		if (reply->length < sizeof(*reply) || frame >= b->frame_count) {
			b->bad++;
			return;
		}
		at += reply->length;
		b->replies++;
		b->ok += reply->status == HB_STATUS_OK;
		b->already += (reply->flags & HB_REPLY_ALREADY) != 0;
		b->amount_fen += b->answered[frame] ? 0 : reply->amount_fen;
		b->answered_count += !b->answered[frame];
		b->answered[frame] = true;
		b->outstanding -= b->outstanding > 0;
		hb_histogram_add(&b->latency,
			b->now_ns - b->datagrams[frame / b->options.per_datagram].sent_ns);
	}
}

/* One packet that came: its UDP payload. */
static void
take_payload(struct bench *b, const uint8_t *payload, uint32_t bytes)
{
	bool echo = b->options.command[0] == 'e';
	struct hb_datagram head;

	b->last_reply_ns = b->now_ns;
	b->datagrams_in++;
	if (bytes < sizeof(head))
		goto bad;
	memcpy(&head, payload, sizeof(head));
	if (!hb_datagram_shape_ok(&head, bytes, echo ? 0 : HB_DATAGRAM_FLAG_REPLY))
		goto bad;
	if (echo) {
		uint64_t datagram = head.number - 1;

		b->replies += head.count;
		b->ok += head.count;
		b->outstanding -= b->outstanding < head.count ? b->outstanding : head.count;
		if (datagram < b->datagram_count)
			hb_histogram_add(&b->latency, b->now_ns - b->datagrams[datagram].sent_ns);
		return;
	}
	if (b->datagrams_in % MAC_CHECK_EVERY == 1 &&
		!hb_datagram_authentic(payload, b->options.key))
		goto bad;
	take_replies(b, payload, &head);
	return;
bad:
	b->bad++;
}

static void
receive_memif(struct bench *b)
{
	struct rte_mbuf *burst[BURST];
	uint16_t n;

	do {
		n = rte_eth_rx_burst(0, 0, burst, BURST);
		b->now_ns = hb_mono_ns();
		for (uint16_t i = 0; i < n; i++) {
			uint32_t length = burst[i]->data_len;
			const uint8_t *bytes = rte_pktmbuf_mtod(burst[i], const uint8_t *);

			if (burst[i]->nb_segs == 1 && length > HB_WIRE_HEADERS_BYTES)
				take_payload(b, bytes + HB_WIRE_HEADERS_BYTES,
					length - HB_WIRE_HEADERS_BYTES);
			rte_pktmbuf_free(burst[i]);
		}
	} while (n == BURST);
}

static void
receive_udp(struct bench *b)
{
	static uint8_t room[BURST][HB_WIRE_PACKET_BYTES_MAX];
	struct iovec vectors[BURST];
	struct mmsghdr messages[BURST] = {0};
	int n;

	for (int i = 0; i < BURST; i++) {
		vectors[i] = (struct iovec){room[i], sizeof(room[i])};
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	do {
		n = recvmmsg(b->fd, messages, BURST, MSG_DONTWAIT, NULL);
		b->now_ns = hb_mono_ns();
		for (int i = 0; i < n; i++)
			take_payload(b, room[i], messages[i].msg_len);
	} while (n == BURST);
}

/* @return how many datagrams left */
static uint32_t
send_memif(struct bench *b, const uint64_t *which, uint32_t count)
{
	struct rte_mbuf *burst[BURST];
	uint32_t n = 0, sent;

	for (; n < count; n++) {
		const struct datagram *datagram = &b->datagrams[which[n]];

		burst[n] = rte_pktmbuf_alloc(b->pool);
		if (burst[n] == NULL)
			break;
		memcpy(rte_pktmbuf_mtod(burst[n], void *), datagram->bytes, datagram->length);
		burst[n]->data_len = (uint16_t)datagram->length;
		burst[n]->pkt_len = datagram->length;
	}
	sent = n == 0 ? 0 : rte_eth_tx_burst(0, 0, burst, (uint16_t)n);
	for (uint32_t i = sent; i < n; i++)
		rte_pktmbuf_free(burst[i]);
	return sent;
}

static uint32_t
send_udp(struct bench *b, const uint64_t *which, uint32_t count)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(b->options.udp_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct iovec vectors[BURST];
	struct mmsghdr messages[BURST] = {0};

	for (uint32_t i = 0; i < count; i++) {
		struct datagram *datagram = &b->datagrams[which[i]];

		vectors[i] = (struct iovec){datagram->bytes + HB_WIRE_HEADERS_BYTES,
			datagram->length - HB_WIRE_HEADERS_BYTES};
		messages[i].msg_hdr.msg_name = &to;
		messages[i].msg_hdr.msg_namelen = sizeof(to);
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int sent = sendmmsg(b->fd, messages, count, MSG_DONTWAIT);

	return sent < 0 ? 0 : (uint32_t)sent;
}

/* The datagram to send next: durable ones each once, those without all answers again. */
static bool
next_datagram(struct bench *b, uint64_t *which)
{
	bool once = b->options.command[0] == 'd';

	while (b->next < b->datagram_count) {
		uint64_t first = b->next * b->options.per_datagram;
		bool whole = once;

		for (uint32_t i = 0; whole && i < frames_of(b, b->next); i++)
			whole = b->answered[first + i];
		*which = b->next++;
		if (!whole)
			return true;
	}
	if (!once)
		b->next = 0;
	return false;
}

static void
send_some(struct bench *b)
{
	uint64_t which[BURST];
	uint32_t count = 0, sent, frames = 0;

	while (count < BURST &&
		b->outstanding + frames + b->options.per_datagram <= b->options.in_flight) {
		if (!next_datagram(b, &which[count]))
			break;
		b->datagrams[which[count]].sent_ns = b->now_ns;
		frames += frames_of(b, which[count++]);
	}
	if (count == 0)
		return;
	sent = b->options.way == WAY_MEMIF ? send_memif(b, which, count)
					   : send_udp(b, which, count);
	for (uint32_t i = 0; i < sent; i++) {
		b->sent += frames_of(b, which[i]);
		b->outstanding += frames_of(b, which[i]);
	}
	if (sent < count)
		b->next = which[sent];
}

static void
run(struct bench *b)
{
	bool once = b->options.command[0] == 'd';
	uint64_t begin_ns = hb_mono_ns(), end_ns = begin_ns + (uint64_t)(b->options.seconds * 1e9);

	hb_histogram_reset(&b->latency);
	b->now_ns = b->last_reply_ns = begin_ns;
	while (!ending && b->now_ns < end_ns && !(once && b->answered_count == b->frame_count)) {
		if (b->options.way == WAY_MEMIF)
			receive_memif(b);
		else
			receive_udp(b);
		if (b->outstanding > 0 && b->now_ns - b->last_reply_ns > LOST_NS) {
			b->lost += b->outstanding;
			b->outstanding = 0;
			b->last_reply_ns = b->now_ns;
			b->next = once ? 0 : b->next;
		}
		send_some(b);
	}
	uint64_t ns = b->now_ns - begin_ns + 1;

	printf("{\"frames\":%" PRIu64 ",\"per_datagram\":%u,\"in_flight\":%u,\"sent\":%" PRIu64
	       ",\"replies\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"already\":%" PRIu64
	       ",\"answered\":%" PRIu64 ",\"bad\":%" PRIu64 ",\"lost\":%" PRIu64
	       ",\"amount_fen\":%" PRId64 ",\"seconds\":%.3f,\"rate_per_s\":%.1f"
	       ",\"p50_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.2f}\n",
		b->frame_count, b->options.per_datagram, b->options.in_flight, b->sent, b->replies,
		b->ok, b->already, b->answered_count, b->bad, b->lost, b->amount_fen,
		(double)ns / 1e9, (double)b->ok * 1e9 / (double)ns,
		(double)hb_histogram_percentile(&b->latency, 500000) / 1e3,
		(double)hb_histogram_percentile(&b->latency, 990000) / 1e3,
		(double)b->latency.max / 1e3);
}

static void
client(struct bench *b)
{
	static const uint8_t own[HB_MAC_ADDRESS_BYTES] = {2, 0, 0, 0, 0, 2};

	if (b->options.grabs == NULL || b->options.per_datagram < 1 ||
		b->options.per_datagram > HB_DATAGRAM_FRAMES_MAX)
		fatal("needed", "--grabs, and --per-datagram 1 to 22");
	memcpy(b->self.mac_address, own, sizeof(own));
	memcpy(b->node.mac_address, own, sizeof(own));
	b->node.mac_address[HB_MAC_ADDRESS_BYTES - 1] = 1; /* as its memif is told: SERVER_MAC */
	b->node.udp_port = htons(b->options.udp_port);
	if (!hb_wire_address_parse(b->options.address, &b->node.address))
		fatal("--address", b->options.address);
	b->self.address = b->node.address ^ htonl(3); /* another one beside it */
	datagrams_make(b);
	if (b->options.way == WAY_MEMIF) {
		eal_open(b, false);
		link_wait(b);
	} else {
		b->fd = udp_open(0);
	}
	run(b);
}

static void
parse_options(struct bench *b, int argc, char **argv)
{
	static const struct option table[] = {
		{"grabs", required_argument, NULL, 'g'},
		{"memif", required_argument, NULL, 'm'},
		{"address", required_argument, NULL, 'a'},
		{"port", required_argument, NULL, 'p'},
		{"key-id", required_argument, NULL, 'i'},
		{"key", required_argument, NULL, 'k'},
		{"per-datagram", required_argument, NULL, 'n'},
		{"in-flight", required_argument, NULL, 'f'},
		{"seconds", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct options *o = &b->options;
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == 'g')
			o->grabs = optarg;
		else if (option == 'm')
			o->socket = optarg;
		else if (option == 'a')
			o->address = optarg;
		else if (option == 'p')
			o->udp_port = (uint16_t)strtoul(optarg, NULL, 10);
		else if (option == 'i')
			o->key_id = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'n')
			o->per_datagram = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'f')
			o->in_flight = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 's')
			o->seconds = strtod(optarg, NULL);
		else if (option != 'k' || strlen(optarg) != 2 * HB_DATAGRAM_KEY_BYTES)
			fatal("unknown option or bad key", argv[optind - 1]);
		for (uint32_t i = 0; option == 'k' && i < HB_DATAGRAM_KEY_BYTES; i++)
			if (sscanf(optarg + i * 2, "%2hhx", &o->key[i]) != 1)
				fatal("--key is not hexadecimal", "see key/frame.keys");
	}
	o->way = o->socket != NULL ? WAY_MEMIF : WAY_UDP;
}

/* ring|pipe IN-FLIGHT COUNT CPU CPU */
static int
between_processes(int argc, char **argv)
{
	struct hb_ipc_options options = {.kind = argv[1]};

	if (argc != 6)
		fatal("wanted", "IN-FLIGHT COUNT CPU-OF-SERVER CPU-OF-CLIENT");
	options.in_flight = strtoull(argv[2], NULL, 10);
	options.count = strtoull(argv[3], NULL, 10);
	options.cpu_of_server = (int)strtoul(argv[4], NULL, 10);
	options.cpu_of_client = (int)strtoul(argv[5], NULL, 10);
	return hb_ipc_peer(&options);
}

int
main(int argc, char **argv)
{
	static struct bench bench = {
		.options = {
			.address = "10.78.0.1", .udp_port = 7400, .in_flight = 512, .seconds = 2}};
	static const struct {
		const char *name;
		void (*function)(struct bench *b);
	} commands[] = {{"durable", client}, {"already", client}, {"echo", client},
		{"mac-swap", mac_swap}, {"udp-echo", udp_echo}};
	struct sigaction action = {.sa_handler = on_signal};

	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		fputs(help, argc < 2 ? stderr : stdout);
		return argc < 2 ? 2 : 0;
	}
	if (strcmp(argv[1], "ring") == 0 || strcmp(argv[1], "pipe") == 0)
		return between_processes(argc, argv);
	bench.options.command = argv[1];
	parse_options(&bench, argc - 1, argv + 1);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			commands[i].function(&bench);
			return 0;
		}
	}
	fatal("no such command", argv[1]);
}
