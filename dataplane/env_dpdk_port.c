/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Ports of DPDK's ethdev for dataplane/env.h: one queue pair each, packets in mbufs of one pool.
 *
 * Any poll-mode driver will do: nothing is asked of it but to receive and send. The pool belongs to
 * EAL; when the process dies, the driver's own rules say what becomes of packets under way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "base/assert.h"
#include "base/log.h"
#include "dataplane/env.h"
#include "dataplane/wire.h"

#define POOL_PACKETS  4095 /* of 2 KiB; best when a power of two less one */
#define POOL_CACHED   128
#define QUEUE_PACKETS 512
#define BURST_MAX     64

static struct rte_mempool *pool;

static int
open_port(uint16_t port, char error[HB_ENV_ERROR_MAX])
{
	struct rte_eth_conf configuration = {.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE};
	uint16_t receive = QUEUE_PACKETS, send = QUEUE_PACKETS;
	const char *step = "configured";
	int result = rte_eth_dev_configure(port, 1, 1, &configuration);

	if (result == 0)
		result = rte_eth_dev_adjust_nb_rx_tx_desc(port, &receive, &send);
	if (result == 0) {
		step = "given a queue";
		result = rte_eth_rx_queue_setup(port, 0, receive, SOCKET_ID_ANY, NULL, pool);
	}
	if (result == 0)
		result = rte_eth_tx_queue_setup(port, 0, send, SOCKET_ID_ANY, NULL);
	if (result == 0) {
		step = "started";
		result = rte_eth_dev_start(port);
	}
	if (result != 0)
		snprintf(error, HB_ENV_ERROR_MAX, "port %u cannot be %s: %s; see dataplane.ports",
			port, step, strerror(-result));
	return result;
}

int
hb_env_ports_open(uint32_t *count, char error[HB_ENV_ERROR_MAX])
{
	uint16_t there = rte_eth_dev_count_avail();

	*count = 0;
	if (there == 0 || there > HB_ENV_PORTS_MAX) {
		snprintf(error, HB_ENV_ERROR_MAX,
			"dataplane.ports gives %u ports, 1..%d are needed: name them as DPDK does, "
			"such "
			"as --vdev=net_af_packet0,iface=eth1",
			there, HB_ENV_PORTS_MAX);
		return -ENODEV;
	}
	pool = rte_pktmbuf_pool_create(
		"hongbao", POOL_PACKETS, POOL_CACHED, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (pool == NULL) {
		snprintf(error, HB_ENV_ERROR_MAX, "no memory for packets");
		return -ENOMEM;
	}
	for (uint16_t port = 0; port < there; port++) {
		int result = open_port(port, error);

		if (result != 0)
			return result;
	}
	*count = there;
	return 0;
}

void
hb_env_port_address(uint32_t port, uint8_t mac_address[6])
{
	struct rte_ether_addr address = {0};

	(void)rte_eth_macaddr_get((uint16_t)port, &address);
	memcpy(mac_address, address.addr_bytes, 6);
}

uint32_t
hb_env_port_receive(uint32_t port, struct hb_env_packet *packets, uint32_t max)
{
	struct rte_mbuf *burst[BURST_MAX];
	uint16_t n = rte_eth_rx_burst(
		(uint16_t)port, 0, burst, (uint16_t)(max < BURST_MAX ? max : BURST_MAX));
	uint32_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		/* nothing we speak needs more than one buffer, or is longer */
		if (burst[i]->nb_segs != 1 || burst[i]->data_len > HB_WIRE_PACKET_BYTES_MAX) {
			rte_pktmbuf_free(burst[i]);
			continue;
		}
		packets[kept++] =
			(struct hb_env_packet){.bytes = rte_pktmbuf_mtod(burst[i], uint8_t *),
				.length = burst[i]->data_len,
				.handle = burst[i]};
	}
	return kept;
}

bool
hb_env_packet_new(struct hb_env_packet *packet)
{
	struct rte_mbuf *buffer = rte_pktmbuf_alloc(pool);

	if (buffer == NULL)
		return false;
	HB_ASSERT(rte_pktmbuf_tailroom(buffer) >= HB_WIRE_PACKET_BYTES_MAX);
	*packet = (struct hb_env_packet){
		.bytes = rte_pktmbuf_mtod(buffer, uint8_t *), .handle = buffer};
	return true;
}

void
hb_env_packet_drop(struct hb_env_packet *packet)
{
	rte_pktmbuf_free(packet->handle);
	packet->handle = NULL;
}

uint32_t
hb_env_port_send(uint32_t port, struct hb_env_packet *packets, uint32_t count)
{
	struct rte_mbuf *burst[BURST_MAX];
	uint32_t sent = 0;

	HB_ASSERT(count <= BURST_MAX);
	for (uint32_t i = 0; i < count; i++) {
		burst[i] = packets[i].handle;
		burst[i]->data_len = (uint16_t)packets[i].length;
		burst[i]->pkt_len = packets[i].length;
	}
	if (count > 0)
		sent = rte_eth_tx_burst((uint16_t)port, 0, burst, (uint16_t)count);
	for (uint32_t i = sent; i < count; i++)
		rte_pktmbuf_free(burst[i]);
	return sent;
}
