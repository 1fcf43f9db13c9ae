/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Stands in for persist: a ring of notices and its socket, told what to publish by lines of
 * standard input. Each line is answered with "ok". It ends with its input; killing it is killing
 * persist.
 *
 *   fake_notices SOCKET SLOTS FIRST_SEQ
 *   grab SEQ SENDER USER GROUP LEFT    a share of 100 fen; LEFT 0 sells the packet out; group 0:
 *                                      whose packet it is is not known
 *   grabs SEQ COUNT SENDER GROUP       that many, with consecutive sequences and users
 *   credit SEQ USER
 *   through SEQ
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/ids.h"
#include "shm/notices.h"

#define LISTEN_BACKLOG 64

static struct hb_notices ring;

static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fake_notices: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int
listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	must(fd >= 0 && strlen(path) < sizeof(address.sun_path), "socket");
	memcpy(address.sun_path, path, strlen(path) + 1);
	unlink(path);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	must(chmod(path, 0666) == 0 && listen(fd, LISTEN_BACKLOG) == 0, "listen");
	return fd;
}

static void
publish_grab(uint64_t seq, uint64_t sender, uint64_t user, uint64_t group, uint32_t left)
{
	struct hb_notice notice = {
		.seq = seq,
		.kind = HB_NOTICE_GRAB,
		.flags = (uint8_t)((left == 0 ? HB_NOTICE_MORE : 0) |
				   (group == 0 ? HB_NOTICE_UNKNOWN : 0)),
		.packet = hb_id_make(HB_ID_PACKET, 3, 1, seq),
		.sender = group == 0 ? 0 : sender,
		.user = user,
		.group = group,
		.amount_fen = 100,
		.count = left,
	};

	hb_notices_publish(&ring, &notice);
	if (left > 0)
		return;
	notice.kind = HB_NOTICE_OVER;
	notice.part = 1;
	notice.flags = (uint8_t)(HB_NOTICE_SOLD | (notice.flags & HB_NOTICE_UNKNOWN));
	notice.amount_fen = 0;
	notice.user = 0;
	hb_notices_publish(&ring, &notice);
}

static void
obey(const char *line)
{
	uint64_t seq, a, b, c, d;

	if (sscanf(line, "grabs %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &seq, &a, &b, &c) ==
		4) {
		for (uint64_t i = 0; i < a; i++)
			publish_grab(seq + i, b, 700000 + i, c, 1);
		hb_notices_through(&ring, seq + a - 1);
	} else if (sscanf(line, "grab %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
			   &seq, &a, &b, &c, &d) == 5) {
		publish_grab(seq, a, b, c, (uint32_t)d);
		hb_notices_through(&ring, seq);
	} else if (sscanf(line, "credit %" SCNu64 " %" SCNu64, &seq, &a) == 2) {
		struct hb_notice notice = {
			.seq = seq, .kind = HB_NOTICE_CREDIT, .user = a, .amount_fen = 100};

		hb_notices_publish(&ring, &notice);
		hb_notices_through(&ring, seq);
	} else if (sscanf(line, "through %" SCNu64, &seq) == 1) {
		hb_notices_through(&ring, seq);
	} else {
		fprintf(stderr, "fake_notices: what is \"%s\"?\n", line);
		exit(1);
	}
	printf("ok\n");
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	char line[256];
	int fd;

	if (argc != 4)
		return 2;
	must(hb_notices_create(&ring, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10)) ==
			0,
		"ring");
	fd = listen_at(argv[1]);
	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		struct pollfd watched[] = {
			{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};

		if (poll(watched, 2, -1) < 0)
			continue;
		/* connections are kept: their life is the ring's */
		if (watched[0].revents != 0)
			(void)hb_notices_hand_out(&ring, accept(fd, NULL, NULL));
		if (watched[1].revents != 0) {
			if (fgets(line, sizeof(line), stdin) == NULL)
				return 0;
			obey(line);
		}
	}
}
