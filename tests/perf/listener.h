/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Where the small servers of the load tests listen: a free port of the loopback interface. The
 * descriptor is the caller's. Include after cmocka.h.
 */
#ifndef HB_TESTS_PERF_LISTENER_H
#define HB_TESTS_PERF_LISTENER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

/** @param port set to the port, as text @return the listening socket */
static inline int
listen_on_loopback(char port[8], int connections_max)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, connections_max), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(port, 8, "%u", ntohs(address.sin_port));
	return fd;
}

#endif
