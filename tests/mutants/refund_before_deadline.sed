# SPDX-License-Identifier: Apache-2.0
# A packet is closed before its deadline.
# source: shm/decide_packet.c
# caught by: unit:engine packets
s/if (hbi_now_ms(p, input) < packet->deadline_ms)/if (hbi_now_ms(p, input) + 3600000 < packet->deadline_ms)/
s/if (hbi_now_ms(p, input) >= packet->deadline_ms) {/if (hbi_now_ms(p, input) + 3600000 >= packet->deadline_ms) {/
