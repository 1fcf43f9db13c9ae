# SPDX-License-Identifier: Apache-2.0
# A winner who asks again after the packet is over is refused.
# source: shm/decide_packet.c
# caught by: simulator
s/if (claim != NULL) {/if (claim != NULL \&\& packet->state == HB_PACKET_OPEN) {/
