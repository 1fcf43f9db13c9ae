# SPDX-License-Identifier: Apache-2.0
# A packet that was refunded is refunded again.
# source: shm/decide_packet.c
# caught by: simulator
/^expire(const struct hb_partition \*p/,/^}/s/if (packet->state != HB_PACKET_OPEN)/if (packet->state == HB_PACKET_SOLD_OUT)/
