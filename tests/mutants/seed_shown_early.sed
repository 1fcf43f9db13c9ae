# SPDX-License-Identifier: Apache-2.0
# The seed of an open packet is shown.
# source: shm/decide_packet.c
# caught by: unit:engine packets
s/if (packet->state != HB_PACKET_OPEN)$/if (packet->state != 77)/
